"""What comes on sockets, let in by rounds: everyone who has something to read goes on in one turn of the event loop.

A token that is waited for alone costs a turn of the loop and a thread that was asleep, with caches gone cold: a read
that takes 4 µs in a row takes 30 to 130 after a sleep of some milliseconds. So descriptors are watched by an epoll of
our own, which the hub watches in turn, and a round may be put off for a moment in which more comes. What is read in one
round is in one commit, and reaches its viewers in one round more.

These are the connections to model servers. Where the system has no epoll each descriptor is waited for alone.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent import get_hub, monkey

from deechat.net.wait import Waiter, go_on

MOST = 1_000  # descriptors of a round, as many as streams are open by default; what is beyond is for the next one
AHEAD = 0.002  # seconds: a round that is at least so far off is set at once; if nearer, the next arrival is waited for
LARGE = 4_096  # bytes of a read that say of a server that it writes faster than it is read, with nothing to wait for

_here = monkey.get_original("threading", "local")()  # gevent's own is of each greenlet


class Arrivals:
    """The rounds of one thread's hub. `interval` gives how many seconds there are to be between two of them, and is
    asked in each for the next.

    `is_behind`: somebody has read so much that more is to come, for which the next round is not put off.
    """

    def __init__(self) -> None:
        self.interval: Callable[[], float] = no_interval
        self.is_behind = False
        self._last = 0.0
        self._loop: Any = get_hub().loop
        self._epoll: Any = monkey.get_original("select", "epoll")() if _can_gather() else None
        self._watcher: Any = self._loop.io(self._epoll.fileno(), 1) if self._epoll else None
        self._timer: Any = None
        self._readers: dict[int, _Gathered] = {}

    @classmethod
    def here(cls) -> Arrivals:
        """Gives those of this thread's hub."""
        arrivals: Arrivals | None = getattr(_here, "arrivals", None)
        if arrivals is None:
            arrivals = _here.arrivals = cls()
        return arrivals

    def add(self, descriptor: int, reader: _Gathered) -> None:
        """Watches a descriptor from now on, and tells what has come before too."""
        # Each arrival is told once, so that the hub is left alone however long the reader lets it lie.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self._readers[descriptor] = reader
        if self._timer is None and not self._watcher.active:
            self._watcher.start(self._notice)

    def remove(self, descriptor: int, reader: _Gathered) -> None:
        """Watches it no longer, unless the number belongs to another reader by now."""
        if self._readers.get(descriptor) is reader:
            del self._readers[descriptor]
            with suppress(OSError, ValueError):  # it was closed too early
                self._epoll.unregister(descriptor)

    def let_in(self) -> None:
        """Lets everyone go on who has something to read, now. Called by the event loop alone."""
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
            go_on(ready)
        finally:  # whatever error of a greenlet's comes up to here: it is none of the others' business
            self._wait_for_the_next(bool(ready))

    def _wait_for_the_next(self, much_comes: bool) -> None:
        # Where much comes, something will have come by then: it is not watched for until the round. To watch an epoll
        # in another again takes the system the longer the more there is in it, and what comes wakes both.
        seconds = self._seconds_left() if much_comes else 0.0
        if seconds >= AHEAD:
            self._let_in_after(seconds)
            return
        self._drop_timer()
        if not self._watcher.active:
            self._watcher.start(self._notice)

    def _seconds_left(self) -> float:
        """Gives how long the next round is put off."""
        return 0.0 if self.is_behind else self._last + self.interval() - time.monotonic()

    def let_in_soon(self) -> None:
        """Lets everyone go on who has something to read, before those who wait for their turn from now on."""
        if self._readers:
            self._loop.run_callback(self.let_in)

    def _let_in_after(self, seconds: float) -> None:
        """Waits for the next round, whatever arrives until then."""
        self._drop_timer()
        self._watcher.stop()
        self._timer = self._loop.timer(seconds)
        self._timer.start(self.let_in)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _notice(self) -> None:
        seconds = self._seconds_left()
        if seconds <= 0:
            self.let_in()
        else:
            self._let_in_after(seconds)


def no_interval() -> float:
    """Lets a round come as soon as there is something to read."""
    return 0.0


def _can_gather() -> bool:
    return hasattr(select, "EPOLLET")


class Readable(Waiter):
    """A descriptor that does not block, and its one reader; to be closed before the descriptor is.

    `is_empty`: all that had come was read. `has_ended`: the other side has closed, so that after a short read there is
    still the end to be read.
    """

    __slots__ = ("descriptor", "has_ended", "is_empty")

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.is_empty = True  # to look first would nearly always be in vain, and tell so by an error
        self.has_ended = False

    @staticmethod
    def of(descriptor: int) -> Readable:
        """Gives one that is let in with others where the system can tell of many, else one that waits alone."""
        return _Gathered(descriptor) if _can_gather() else _Alone(descriptor)

    def read(self, size: int, seconds: float | None) -> bytes:
        """Gives what is there, b"" at the end, waiting so long for it. Raises `TimeoutError` and other `OSError`s."""
        while True:
            is_late = self.is_empty and not self.wait(seconds)
            try:
                data = os.read(self.descriptor, size)  # too late too: it may be that only its round had not come yet
            except BlockingIOError:  # or it was told of what had been read already
                if is_late:
                    raise TimeoutError("timed out") from None
                self.is_empty = True
                continue
            self.is_empty = len(data) < size and not self.has_ended
            if len(data) >= LARGE:
                self.hurry()
            return data

    def hurry(self) -> None:
        """Notes that a read was `LARGE`, so that more will come at once."""


class _Gathered(Readable):
    __slots__ = ("_arrivals",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._arrivals = Arrivals.here()
        self._arrivals.add(descriptor, self)

    def hurry(self) -> None:
        self._arrivals.is_behind = True

    def close(self) -> None:
        super().close()
        self._arrivals.remove(self.descriptor, self)


class _Alone(Readable):
    __slots__ = ("_watcher",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._watcher: Any = self._hub.loop.io(descriptor, 1)

    def wait(self, seconds: float | None = None) -> bool:
        self._watcher.start(go_on, (self,))
        try:
            return super().wait(seconds)
        finally:
            self._watcher.stop()

    def close(self) -> None:
        super().close()
        self._watcher.close()
