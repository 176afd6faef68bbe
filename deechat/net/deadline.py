"""The time left until a moment, for work of many waits that has one limit as a whole."""

from __future__ import annotations

import time


class Deadline:
    """The moment `seconds` after `since`, a time of `time.monotonic`, or after now."""

    __slots__ = ("_moment",)

    def __init__(self, seconds: float, since: float | None = None) -> None:
        self._moment = (time.monotonic() if since is None else since) + seconds

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._moment

    def left(self, least: float | None = None) -> float:
        """Return the seconds that are left, `least` where they are fewer.

        Raises `TimeoutError` when none are left and no `least` is given.
        """
        left = self._moment - time.monotonic()
        if least is not None:
            return max(left, least)
        if left <= 0:
            raise TimeoutError("timed out")
        return left
