"""Batches socket reads: collects ready sockets in one epoll and resumes all their readers in the same loop iteration.

A token that is waited for alone costs an iteration of the loop and a thread that was asleep, with cold caches: a read
that takes 4 µs in a row takes 30 to 130 after a sleep of some milliseconds. An epoll of our own, which the hub watches
in turn, therefore watches all descriptors, and a round may be put off for a moment in which more comes. All reads of a
round are in one commit, and reach their viewers in one more iteration.

The connections to model servers are read so. Where the system has no epoll each descriptor is waited for alone.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import Any, Protocol

from gevent import get_hub, monkey

from deechat.net.wait import Waiter

MOST = 1_000  # descriptors of a round, as many as streams are open by default; further ones wait for the next round
AHEAD = 0.002  # seconds: a round that is at least so far off is set at once; if nearer, the next arrival is waited for
LARGE = 4_096  # bytes of a read: a server that sends so much writes faster than it is read, so no round is put off


class Pace(Protocol):
    """Says how far apart rounds are: `interval` seconds, read anew for each."""

    @property
    def interval(self) -> float: ...


class ReadRounds:
    """The rounds of one hub, that of its first reader. It opens nothing before there is one; to be closed.

    `is_behind`: a read was `LARGE`, so the next round is not put off.
    """

    def __init__(self, pace: Pace) -> None:
        self.is_behind = False
        self._pace = pace
        self._last = 0.0
        self._loop: Any = None
        self._epoll: Any = None
        self._watcher: Any = None
        self._timer: Any = None
        self._readers: dict[int, _Batched] = {}
        self._is_closed = False

    def readable(self, descriptor: int) -> Readable:
        """Return a descriptor to be read in these rounds.

        It waits alone where the system has no epoll, in another thread than the first, and once these are closed.
        """
        loop = get_hub().loop
        if self._loop is None and not self._is_closed and hasattr(select, "EPOLLET"):
            self._loop = loop
            self._epoll = monkey.get_original("select", "epoll")()
            self._watcher = loop.io(self._epoll.fileno(), 1)
        return _Batched(descriptor, self) if self._loop is loop else Alone(descriptor)

    def close(self) -> None:
        """Let go of the epoll; nothing resumes its readers from here on."""
        self._is_closed = True
        if self._epoll is not None:
            self._drop_timer()
            self._watcher.close()
            self._epoll.close()
            self._loop = self._epoll = self._watcher = None
            self._readers.clear()

    def add(self, descriptor: int, reader: _Batched) -> None:
        """Watch a descriptor from now on; bytes that came before count too."""
        # Each arrival is told once, so that the hub is not woken again for bytes that their reader leaves for later.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self._readers[descriptor] = reader
        if self._timer is None and not self._watcher.active:
            self._watcher.start(self._notice)

    def remove(self, descriptor: int, reader: _Batched) -> None:
        """Watch it no longer, unless the number belongs to another reader by now."""
        if self._readers.get(descriptor) is reader:
            del self._readers[descriptor]
            with suppress(OSError, ValueError):  # it was closed too early
                self._epoll.unregister(descriptor)

    def run(self) -> None:
        """Resume every reader that has something to read. Called by the event loop alone."""
        if self._is_closed:
            return
        self._last = time.monotonic()
        self.is_behind = False
        ready: list[Waiter] = []
        for descriptor, events in self._epoll.poll(0, MOST):
            reader = self._readers.get(descriptor)
            if reader is not None:
                reader.is_empty = False
                reader.has_ended |= events != select.EPOLLIN
                ready.append(reader)
        try:
            Waiter.resume(ready)
        finally:  # an error of one greenlet comes up to here and must not end the rounds of the others
            if not self._is_closed:
                self._schedule(bool(ready))

    def _schedule(self, much_comes: bool) -> None:
        # Under load the next round will find something, so nothing is watched until then: each arrival would wake both
        # epolls, and to watch one in the other again takes longer the more descriptors it has.
        seconds = self._seconds_left() if much_comes else 0.0
        if seconds >= AHEAD:
            self._run_after(seconds)
            return
        self._drop_timer()
        if not self._watcher.active:
            self._watcher.start(self._notice)

    def _seconds_left(self) -> float:
        """Return how long the next round is put off."""
        return 0.0 if self.is_behind else self._last + self._pace.interval - time.monotonic()

    def run_soon(self) -> None:
        """Run a round in the next iteration of the loop, before callbacks that are added from now on."""
        if self._readers:
            self._loop.run_callback(self.run)

    def _run_after(self, seconds: float) -> None:
        """Run a round after so many seconds, not sooner for arrivals until then."""
        self._drop_timer()
        self._watcher.stop()
        self._timer = self._loop.timer(seconds)
        self._timer.start(self.run)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _notice(self) -> None:
        seconds = self._seconds_left()
        if seconds <= 0:
            self.run()
        else:
            self._run_after(seconds)


class Readable(Waiter):
    """A descriptor that does not block, and its one reader; to be closed before the descriptor is.

    `is_empty`: all that had come was read. `has_ended`: the other side has closed, so after a short read the end is
    still to be read.
    """

    __slots__ = ("descriptor", "has_ended", "is_empty")

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.is_empty = True  # a read before the first wait would nearly always fail
        self.has_ended = False

    def read(self, size: int, seconds: float | None) -> bytes:
        """Return the bytes that came, b"" at the end, within so many seconds. Raises `TimeoutError` or `OSError`."""
        while True:
            is_late = self.is_empty and not self.wait(seconds)
            try:
                data = os.read(self.descriptor, size)  # too late too: it may be that only its round had not come yet
            except BlockingIOError:  # or it was told of bytes that had been read already
                if is_late:
                    raise TimeoutError("timed out") from None
                self.is_empty = True
                continue
            self.is_empty = len(data) < size and not self.has_ended
            if len(data) >= LARGE:
                self.hurry()
            return data

    def hurry(self) -> None:
        """Note that a read was `LARGE`, so more will come at once."""


class _Batched(Readable):
    __slots__ = ("_rounds",)

    def __init__(self, descriptor: int, rounds: ReadRounds) -> None:
        super().__init__(descriptor)
        self._rounds = rounds
        rounds.add(descriptor, self)

    def hurry(self) -> None:
        self._rounds.is_behind = True

    def close(self) -> None:
        super().close()
        self._rounds.remove(self.descriptor, self)


class Alone(Readable):
    """A descriptor that is waited for by itself."""

    __slots__ = ("_watcher",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._watcher: Any = self._hub.loop.io(descriptor, 1)

    def wait(self, seconds: float | None = None) -> bool:
        self._watcher.start(Waiter.resume, (self,))
        try:
            return super().wait(seconds)
        finally:
            self._watcher.stop()

    def close(self) -> None:
        super().close()
        self._watcher.close()
