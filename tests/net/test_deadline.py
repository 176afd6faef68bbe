"""A deadline tells the time that is left, and says once that none is."""

from __future__ import annotations

import pytest

from deechat.net import deadline as deadline_module
from deechat.net.deadline import Deadline


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one, as `time.monotonic` tells it."""
    now = [1000.0]
    monkeypatch.setattr(deadline_module.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_shrinks(now: list[float]) -> None:
    deadline = Deadline(10)
    assert deadline.left() == 10
    now[0] += 9.5
    assert (deadline.left(), deadline.is_over) == (0.5, False)


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_with_none_left_it_raises(now: list[float], late: float) -> None:
    deadline = Deadline(10)
    now[0] += 10 + late
    assert deadline.is_over
    with pytest.raises(TimeoutError):
        deadline.left()


def test_a_least_is_never_undercut_and_never_raises(now: list[float]) -> None:
    deadline = Deadline(10)
    assert deadline.left(least=0.25) == 10
    now[0] += 9.9
    assert deadline.left(least=0.25) == 0.25
    now[0] += 9
    assert (deadline.left(least=0.25), deadline.left(least=0.0)) == (0.25, 0.0)


def test_it_may_count_from_a_moment_before(now: list[float]) -> None:
    assert Deadline(10, since=now[0] - 4).left() == 6
