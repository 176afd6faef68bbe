"""How often is committed, and how often what has come is read.

A commit costs much the same whatever it holds, and so does the round of wake-ups that follows it. So a busy writer lets
work gather for a moment, after which everyone is woken and served in one go; an idle one is never waited for.
"""

from __future__ import annotations

import time

BURST = 8  # commits at once on a quiet server: a run's start, its step and its first words wait for nothing
A_RUN = 0.000_04  # seconds of the interval for each run that is open: with many of them each has little to say
LONGEST = 0.025  # seconds that it comes to
# Seconds of it where `MANY` runs keep the hub at work half of the time; as in a queue, twice as long where it has half
# of that left: the fuller it is the more each run says at once, until there is room for all of them. Few runs fill it
# by what they say and not by their number, and gain nothing by waiting.
LOADED = 0.025
MANY = 200
MOST = 0.100  # seconds that it comes to
MEMORY = 0.2  # seconds over which the hub's load is measured


class Pace:
    """A token bucket: `BURST` commits at once, then one in an `interval`, in seconds.

    The interval grows with the number of open runs, and when the thread that asks, the hub's, gets short of time. Each
    eight runs take one from the burst: where there are many, a commit has always come just now.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.interval = A_RUN
        self._load = 0.0  # of this thread, from 0 to 1
        self._tokens = float(BURST)
        self._at = time.monotonic()
        self._worked = time.thread_time()

    def take(self) -> float:
        """Takes a token; gives the seconds until there is one."""
        passed = self._measure()
        by_runs = min(max(1, self.runs) * A_RUN, LONGEST)
        by_load = LOADED * min(self.runs / MANY, 1.0) ** 3 * self._load / (1 - self._load)
        self.interval = max(by_runs, min(by_load, MOST))
        self._tokens = min(max(1, BURST - self.runs // 8), self._tokens + passed / self.interval) - 1
        return max(0.0, -self._tokens * self.interval)

    def _measure(self) -> float:
        """Gives the seconds since the last call, and notes how much of them this thread worked."""
        now, worked = time.monotonic(), time.thread_time()
        passed = max(now - self._at, 1e-6)
        load = min((worked - self._worked) / passed, 0.99)
        self._load += (load - self._load) * min(passed / MEMORY, 1.0)
        self._at, self._worked = now, worked
        return passed
