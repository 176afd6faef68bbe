"""A reusable wait with a lazy timer, for waits that nearly always end before their time is up.

A reader of a model server's answer, or of a log, waits for each token anew, with a limit that is hardly ever reached.
A timer that is set and dropped for each wait costs more than the rest of it. The timer is set once; when it goes off,
it is set again for the time that the wait of that moment may still take. This is the third way of "Be smart about
timeouts" in libev's manual.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import gevent
from gevent import get_hub, getcurrent


def give_turn() -> None:
    """Let others have their turn, those that wait for a socket or a timer too.

    gevent looks at those after fifty callbacks only: work that parts itself by `sleep(0)` holds them for fifty parts.
    """
    gevent.sleep(0.000_001)


class Waiter:
    """Waits of one greenlet at a time, one after the other. Made, used and closed on one thread's hub."""

    __slots__ = ("_due", "_greenlet", "_hub", "_timer", "_until")

    def __init__(self) -> None:
        self._hub: Any = get_hub()
        self._greenlet: Any = None  # the one that waits
        self._until: float | None = None  # when its wait ends in any case
        self._timer: Any = None
        self._due: float | None = None  # when the timer goes off, if it is set

    def wait(self, seconds: float | None = None) -> bool:
        """Return True once it is resumed, False after so many seconds.

        It may be resumed for something that was true a moment ago: look, and wait again.
        """
        if seconds is None:
            self._until = None
        else:
            self._until = time.monotonic() + seconds
            if self._due is None or self._until < self._due:
                self._set(seconds)
        self._greenlet = getcurrent()
        try:
            return self._hub.switch()  # type: ignore[no-any-return] # `resume` sends True, the timer False
        finally:
            self._greenlet = None

    def close(self) -> None:
        """Drop the timer, which would keep this in memory until it goes off."""
        self._drop_timer()

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = self._due = None

    def _set(self, seconds: float) -> None:
        self._drop_timer()
        self._timer = self._hub.loop.timer(seconds)
        self._timer.start(self._ring)
        self._due = self._until

    def _ring(self) -> None:
        self._due = None
        if self._greenlet is None or self._until is None:
            return
        left = self._until - time.monotonic()
        if left > 0:
            self._set(left)
        else:
            self._greenlet.switch(False)

    @staticmethod
    def resume(waiters: Iterable[Waiter]) -> None:
        """Resume each that still waits, at once. Called by the event loop alone: a greenlet that waits comes back here.

        An error of one greenlet, which comes up to the hub, delays the others by one turn of the loop.
        """
        rest = iter(waiters)
        try:
            for waiter in rest:
                if waiter._greenlet is not None:
                    waiter._greenlet.switch(True)
        finally:
            if left := list(rest):
                Waiter.resume_soon(left)

    @staticmethod
    def resume_soon(waiters: Iterable[Waiter]) -> None:
        """Resume all, one after the other, in the next turn of the event loop. Never yields to another greenlet.

        It goes through them then, and has no effect on those that do not wait.
        """
        get_hub().loop.run_callback(Waiter.resume, waiters)
