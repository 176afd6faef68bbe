"""How often is committed.

A commit costs much the same whatever it holds, and so does the round of wake-ups that follows it. So a busy writer lets
work gather for a moment, after which everyone is woken and served in one go; an idle one is never waited for.
"""

from __future__ import annotations

import time

BURST = 8  # commits at once: a run's start, its step and its first words wait for nothing
A_RUN = 0.000_04  # seconds between two commits for each run that is open: with many of them each has little to say
LONGEST = 0.025  # seconds


class Pace:
    """A token bucket: `BURST` commits at once, then one in an interval that grows with the number of open runs."""

    def __init__(self) -> None:
        self.runs = 0
        self._tokens = float(BURST)
        self._at = time.monotonic()

    def take(self) -> float:
        """Takes a token; gives the seconds until there is one."""
        interval = min(max(1, self.runs) * A_RUN, LONGEST)
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._at) / interval) - 1
        self._at = now
        return max(0.0, -self._tokens * interval)
