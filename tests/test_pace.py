"""How long a commit waits: not at all while there are few, and never long."""

from __future__ import annotations

import pytest

from deechat import pace
from deechat.pace import A_RUN, BURST, LONGEST, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def commits(it: Pace, clock: Clock, seconds: float) -> list[float]:
    """What a writer waits that always has something to commit."""
    waits, until = [], clock.now + seconds
    while clock.now < until:
        waits.append(it.take())
        clock.now += waits[-1] + 0.0001  # and the commit itself
    return waits


def test_the_first_commits_wait_for_nothing(clock: Clock) -> None:
    it = Pace()
    assert [it.take() for _ in range(BURST)] == [0.0] * BURST
    assert it.take() > 0


@pytest.mark.parametrize(("runs", "interval"), [(100, 0.004), (200, 0.008), (1000, LONGEST), (9000, LONGEST)])
def test_a_busy_writer_commits_in_an_interval_that_grows_with_the_runs(
    clock: Clock, runs: int, interval: float
) -> None:
    it = Pace()
    it.runs = runs
    waits = commits(it, clock, 10.0)
    assert len(waits) == pytest.approx(10.0 / interval + BURST, rel=0.02)
    assert max(waits) <= interval + 1e-9


def test_after_a_rest_the_next_commits_wait_for_nothing_again(clock: Clock) -> None:
    it = Pace()
    commits(it, clock, 1.0)
    clock.now += BURST * A_RUN
    assert [it.take() for _ in range(BURST - 1)] == [0.0] * (BURST - 1)
