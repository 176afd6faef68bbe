"""How long a commit waits: not at all while there are few, longer when the hub is short of time, and never long."""

from __future__ import annotations

import pytest

from deechat.store.sqlite import commit_rate
from deechat.store.sqlite.commit_rate import A_RUN, BURST, MOST_BY_LOAD, MOST_BY_RUNS, CommitRate


class Clock:
    """A clock whose thread works as much of the time as `load` says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.load = 0.0
        self._worked = 0.0
        self._until = 100.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        self._worked += (self.now - self._until) * self.load
        self._until = self.now
        return self._worked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(commit_rate, "time", clock)
    return clock


def commits(it: CommitRate, clock: Clock, seconds: float) -> list[float]:
    """What a writer waits that always has something to commit."""
    waits, until = [], clock.now + seconds
    while clock.now < until:
        waits.append(it.delay())
        clock.now += waits[-1] + 0.0001  # and the commit itself
    return waits


def test_the_first_commits_wait_for_nothing(clock: Clock) -> None:
    it = CommitRate()
    assert [it.delay() for _ in range(BURST)] == [0.0] * BURST
    assert it.delay() > 0


@pytest.mark.parametrize(("runs", "interval"), [(40, 0.005), (200, 0.025), (1000, MOST_BY_RUNS), (9000, MOST_BY_RUNS)])
def test_a_busy_writer_commits_in_an_interval_that_grows_with_the_runs(
    clock: Clock, runs: int, interval: float
) -> None:
    it = CommitRate()
    it.runs = runs
    waits = commits(it, clock, 10.0)
    assert len(waits) == pytest.approx(10.0 / interval + BURST, rel=0.02)
    assert max(waits) <= interval + 1e-9


@pytest.mark.parametrize(
    ("load", "interval"), [(0.2, 0.025), (0.5, 0.025), (0.6, 0.0375), (0.7, 0.0583), (1.0, MOST_BY_LOAD)]
)
def test_the_fuller_the_hub_the_longer_the_interval(clock: Clock, load: float, interval: float) -> None:
    it = CommitRate()
    it.runs = 200
    clock.load = load
    commits(it, clock, 2.0)
    waits = commits(it, clock, 10.0)
    assert len(waits) == pytest.approx(10.0 / interval, rel=0.03)


def test_a_full_hub_does_not_keep_a_few_runs_waiting(clock: Clock) -> None:
    it = CommitRate()
    it.runs = 2
    clock.load = 0.9
    commits(it, clock, 2.0)
    assert max(commits(it, clock, 1.0)) < 0.01


def test_a_load_that_is_over_is_soon_forgotten(clock: Clock) -> None:
    it = CommitRate()
    it.runs = 200
    clock.load = 1.0
    commits(it, clock, 2.0)
    clock.load = 0.1
    commits(it, clock, 1.0)
    assert len(commits(it, clock, 1.0)) == pytest.approx(1.0 / 0.025, rel=0.03)


def test_after_a_rest_the_next_commits_wait_for_nothing_again(clock: Clock) -> None:
    it = CommitRate()
    commits(it, clock, 1.0)
    clock.now += BURST * A_RUN
    assert [it.delay() for _ in range(BURST - 1)] == [0.0] * (BURST - 1)


def test_where_there_are_many_runs_a_rest_saves_up_nothing(clock: Clock) -> None:
    it = CommitRate()
    it.runs = 200
    commits(it, clock, 1.0)
    clock.now += 1.0
    waits = [it.delay() for _ in range(3)]
    assert waits[0] == 0.0
    assert all(waits[1:])
