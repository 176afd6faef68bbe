"""How often is committed, and how often what has come is read.

A commit costs much the same whatever it holds, and so does the round of wake-ups that follows it. So a busy writer lets
work gather for a moment, after which everyone is woken and served in one go; an idle one is never waited for.
"""

from __future__ import annotations

import time

RUNS_A_COMMIT = 8
BURST = 8  # commits at once on a quiet server: a run's start, its step and its first words wait for nothing
# Seconds of the interval for each open log: where there are many each has little to say. At the usual pace of 50 tokens
# a second two of a run go together only where it is longer than the 20 ms between them.
A_RUN = 0.000_125
MOST_BY_RUNS = 0.033  # seconds that it comes to by their number
# Seconds of it where `MANY` logs keep the hub at work half of the time. As in a queue it grows by how much longer that
# works than rests, to three times as much at three quarters: the fuller the hub is the more each run says at once,
# until there is room for all. It falls with the third power of their number: half as many fill the hub by what they say
# and not by their number, and gain little by waiting.
AT_HALF_LOAD = 0.025
MANY = 200
MOST_BY_LOAD = 0.100  # seconds that it comes to by the load
MEMORY = 0.2  # seconds over which the hub's load is measured


class CommitRate:
    """A token bucket: `BURST` commits at once, then one in an `interval`, in seconds.

    The interval grows with `runs`, the number of logs in memory, and as the thread that asks, the hub's, gets short of
    time. Each `RUNS_A_COMMIT` of them take one from the burst: where there are many, a commit has always come just now.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.interval = A_RUN
        self._load = 0.0  # of this thread, from 0 to 1
        self._tokens = float(BURST)
        self._at = time.monotonic()
        self._worked = time.thread_time()

    def delay(self) -> float:
        """Take a token; return the seconds until there is one."""
        passed = self._measure()
        by_runs = min(max(1, self.runs) * A_RUN, MOST_BY_RUNS)
        by_load = AT_HALF_LOAD * min(self.runs / MANY, 1.0) ** 3 * self._load / (1 - self._load)
        self.interval = max(by_runs, min(by_load, MOST_BY_LOAD))
        burst = max(1, BURST - self.runs // RUNS_A_COMMIT)
        self._tokens = min(burst, self._tokens + passed / self.interval) - 1
        return max(0.0, -self._tokens * self.interval)

    def _measure(self) -> float:
        """Return the seconds since the last call, and notes how much of them this thread worked."""
        now, worked = time.monotonic(), time.thread_time()
        passed = max(now - self._at, 1e-6)
        load = min((worked - self._worked) / passed, 0.99)
        self._load += (load - self._load) * min(passed / MEMORY, 1.0)
        self._at, self._worked = now, worked
        return passed
