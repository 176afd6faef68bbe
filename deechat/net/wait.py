"""Waits that nearly always end before their time is up.

Who reads a model server's answer, or follows a log, waits for each token anew, with a limit that is hardly ever
reached; a timer that is set and dropped for each of these waits costs more than all else about it. So a timer is set
once, and when it goes off it looks how long the wait of that moment may still take. This is the third way of "Be smart
about timeouts" in libev's manual.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from gevent import get_hub, getcurrent


class Waiter:
    """The waits of one greenlet at a time, one after the other. Made, used and closed on one thread's hub."""

    __slots__ = ("_due", "_greenlet", "_hub", "_timer", "_until")

    def __init__(self) -> None:
        self._hub: Any = get_hub()
        self._greenlet: Any = None  # who waits
        self._until: float | None = None  # when that ends in any case
        self._timer: Any = None
        self._due: float | None = None  # when the timer goes off, if it is set

    def wait(self, seconds: float | None = None) -> bool:
        """Gives true once it is woken, false after so many seconds.

        It may be woken for what was true a moment ago: look, and wait again.
        """
        if seconds is None:
            self._until = None
        else:
            self._until = time.monotonic() + seconds
            if self._due is None or self._until < self._due:
                self._set(seconds)
        self._greenlet = getcurrent()
        try:
            return self._hub.switch()  # type: ignore[no-any-return] # whoever wakes gives true, the timer false
        finally:
            self._greenlet = None

    def close(self) -> None:
        """Lets go of the timer, which would keep this in memory until it goes off."""
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


def wake_all(waiters: Iterable[Waiter]) -> None:
    """Ends the waits of all, soon, one after the other in one turn of the loop. Never yields to another greenlet.

    It goes through them later, and means nothing to those that do not wait then.
    """
    get_hub().loop.run_callback(go_on, waiters)


def go_on(waiters: Iterable[Waiter]) -> None:
    """Lets each go on at once, if it still waits. Called by the event loop alone: who waits again comes back here."""
    rest = iter(waiters)
    try:
        for waiter in rest:
            if waiter._greenlet is not None:
                waiter._greenlet.switch(True)
    finally:
        if left := list(rest):  # a greenlet's error came up to the hub: it is none of the others' business
            wake_all(left)
