"""How often is committed.

A commit costs much the same whatever it holds, and so does the round of wake-ups that follows it. So a busy writer lets
work gather for a moment, after which everyone is woken and served in one go; an idle one is never waited for.
"""

from __future__ import annotations

import time

BURST = 8  # commits at once on a quiet server: a run's start, its step and its first words wait for nothing
A_RUN = 0.000_04  # seconds between two commits for each run that is open: with many of them each has little to say
LONGEST = 0.025  # seconds that it comes to
LOADED = 0.002  # seconds between two commits when the hub works half of the time: as in a queue, twice as long when it
MOST = 0.050  # has half of that left, so that the fuller it is the more is done in one go; seconds that it comes to
MEMORY = 0.2  # seconds over which that is measured


class Pace:
    """A token bucket: `BURST` commits at once, then one in an interval.

    The interval grows with the number of open runs, and when the thread that asks, the hub's, gets short of time. Each
    eight runs take one from the burst: where there are many, a commit has always come just now.
    """

    def __init__(self) -> None:
        self.runs = 0
        self._load = 0.0  # of this thread, from 0 to 1
        self._tokens = float(BURST)
        self._at = time.monotonic()
        self._worked = time.thread_time()

    def take(self) -> float:
        """Takes a token; gives the seconds until there is one."""
        passed = self._measure()
        interval = max(min(max(1, self.runs) * A_RUN, LONGEST), min(LOADED * self._load / (1 - self._load), MOST))
        self._tokens = min(max(1, BURST - self.runs // 8), self._tokens + passed / interval) - 1
        return max(0.0, -self._tokens * interval)

    def _measure(self) -> float:
        """Gives the seconds since the last call, and notes how much of them this thread worked."""
        now, worked = time.monotonic(), time.thread_time()
        passed = max(now - self._at, 1e-6)
        load = min((worked - self._worked) / passed, 0.99)
        self._load += (load - self._load) * min(passed / MEMORY, 1.0)
        self._at, self._worked = now, worked
        return passed
