"""Waits: woken, or over in time, and one timer for all of them."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from deechat.net.wait import Waiter

LONG = 30.0  # seconds that no test waits


def wake(waiter: Waiter) -> None:
    Waiter.resume_soon([waiter])


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every timer that is set."""
    seconds: list[float] = []
    hub = gevent.get_hub()

    class Loop:
        def __getattr__(self, name: str) -> Any:
            return getattr(hub.loop, name)

        def timer(self, after: float) -> Any:
            seconds.append(after)
            return hub.loop.timer(after)

    class Hub:
        loop = Loop()
        switch = hub.switch

    monkeypatch.setattr("deechat.net.wait.get_hub", Hub)
    return seconds


def test_it_is_woken() -> None:
    waiter = Waiter()
    gevent.spawn(wake, waiter)
    assert waiter.wait(LONG) is True
    waiter.close()


def test_without_a_limit_it_is_woken_too() -> None:
    waiter = Waiter()
    gevent.spawn_later(0.01, wake, waiter)
    assert waiter.wait() is True


def test_its_time_is_up() -> None:
    waiter = Waiter()
    began = time.monotonic()
    assert waiter.wait(0.05) is False
    assert time.monotonic() - began >= 0.05


def test_many_waits_set_one_timer(timers: list[float]) -> None:
    waiter = Waiter()
    for _ in range(100):
        gevent.spawn(wake, waiter)
        assert waiter.wait(LONG) is True
    assert len(timers) == 1
    waiter.close()


def test_a_timer_that_goes_off_early_waits_for_the_rest(timers: list[float]) -> None:
    waiter = Waiter()
    gevent.spawn(wake, waiter)
    assert waiter.wait(0.05) is True
    gevent.sleep(0.03)
    began = time.monotonic()
    assert waiter.wait(0.05) is False
    assert time.monotonic() - began >= 0.05
    assert len(timers) == 2  # the second for what was left when the first went off


def test_a_shorter_wait_than_the_one_before_is_not_late(timers: list[float]) -> None:
    waiter = Waiter()
    gevent.spawn(wake, waiter)
    waiter.wait(LONG)
    assert waiter.wait(0.01) is False
    assert timers == [LONG, pytest.approx(0.01)]
    waiter.close()


def test_a_wait_without_a_limit_outlasts_the_timer_of_the_one_before() -> None:
    waiter = Waiter()
    gevent.spawn(wake, waiter)
    waiter.wait(0.01)
    gevent.spawn_later(0.05, wake, waiter)
    assert waiter.wait() is True


def test_a_wake_up_means_nothing_when_nobody_waits() -> None:
    waiter = Waiter()
    wake(waiter)
    gevent.sleep(0.01)
    assert waiter.wait(0.01) is False


def test_who_waits_can_be_killed_and_another_can_wait() -> None:
    waiter = Waiter()
    greenlet = gevent.spawn(waiter.wait, LONG)
    gevent.sleep(0)
    greenlet.kill()
    wake(waiter)  # for whoever is not there any more
    gevent.sleep(0)
    assert waiter.wait(0.01) is False


def test_all_are_woken_in_one_turn_of_the_loop() -> None:
    waiters, seen = [Waiter() for _ in range(10)], []

    def wait(number: int) -> None:
        assert waiters[number].wait(LONG) is True
        seen.append(number)

    greenlets = [gevent.spawn(wait, number) for number in range(10)]
    gevent.sleep(0)
    turns = gevent.get_hub().loop.iteration
    Waiter.resume_soon(waiters)
    gevent.joinall(greenlets, timeout=LONG)
    assert seen == [*range(10)], "in their order"
    assert gevent.get_hub().loop.iteration - turns <= 2
    for waiter in waiters:
        waiter.close()


def test_who_was_woken_meanwhile_is_not_woken_twice() -> None:
    one, other = Waiter(), Waiter()
    seen = []

    def first() -> None:
        assert one.wait(LONG) is True
        greenlet.kill(block=False)

    def second() -> None:
        seen.append(other.wait(LONG))
        seen.append(other.wait(0.01))

    gevent.spawn(first)
    greenlet = gevent.spawn(second)
    gevent.sleep(0)
    Waiter.resume_soon([one, other, one])
    gevent.sleep(0.05)
    assert seen in ([True], []), "a greenlet that is being killed waits for nothing any more"
    one.close()
    other.close()


def test_an_error_that_comes_up_to_the_hub_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, errors = gevent.get_hub(), []
    monkeypatch.setattr(hub, "handle_error", lambda *error: errors.append(error[1]))

    class Broken:
        def switch(self, _value: object) -> None:
            raise ZeroDivisionError

    broken, other = Waiter(), Waiter()
    broken._greenlet = Broken()
    greenlet = gevent.spawn(other.wait, LONG)
    gevent.sleep(0)
    Waiter.resume_soon([broken, other])
    assert greenlet.get(timeout=LONG) is True
    assert errors == [ZeroDivisionError]
    other.close()
