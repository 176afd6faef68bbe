"""Places and deadlines: slow connections wait for each other, and nobody else for them."""

from __future__ import annotations

from deechat.server.places import (
    ANSWER_SECONDS,
    BODY_RATE,
    BODY_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    SPARE,
    Place,
    Places,
    Step,
)


def place_of(peer: str = "203.0.113.1", now: float = 0.0) -> Place:
    return Place(peer, now)


def test_the_oldest_of_the_network_that_holds_most_makes_room() -> None:
    places = Places(most=100 + SPARE, outside=6)
    honest = place_of("198.51.100.7")
    greedy = [place_of() for _ in range(5)]
    assert [places.take(each) for each in (honest, *greedy)] == [None] * 6
    for expected in greedy:
        assert places.take(place_of()) is expected
        assert expected.made_room
    assert not honest.made_room


def test_where_all_are_one_network_a_new_connection_always_has_a_place() -> None:
    places = Places(most=100 + SPARE, outside=6)
    for _ in range(50):
        new = place_of()
        assert places.take(new) is not new


def test_who_is_named_by_a_proxy_counts_for_that_name() -> None:
    places = Places(most=100 + SPARE, outside=6)
    dripping = [place_of("127.0.0.1") for _ in range(6)]
    for each in dripping:
        places.take(each)
        each.peer = "203.0.113.9"
    new = [place_of("127.0.0.1") for _ in range(3)]
    assert [places.take(each) for each in new] == dripping[:3]


def test_connections_behind_the_gate_are_not_touched_by_those_before_it() -> None:
    places = Places(most=100 + SPARE, outside=6)
    inside = [place_of() for _ in range(50)]
    for each in inside:
        places.take(each)
        places.go_inside(each)
    for _ in range(100):
        places.take(place_of())
    assert not [each for each in inside if each.made_room]
    places.go_outside(inside[0])
    assert not inside[0].inside


def test_when_all_places_are_taken_those_who_only_wait_make_room_idle_ones_first() -> None:
    places = Places(most=8 + SPARE, outside=4)
    inside = [place_of(now=number) for number in range(8)]
    for each in inside:
        places.take(each)
        places.go_inside(each)
        each.enter_step(Step.ANSWER, each.since)
    inside[2].enter_step(Step.BODY, 2.0)
    inside[5].enter_step(Step.HEAD, 5.0)
    first, second, third = place_of("a"), place_of("b"), place_of("c")
    assert places.take(first) is inside[5]
    assert places.take(second) is inside[2]
    assert places.take(third) is first, "streams and answers stay"


def test_a_place_that_made_room_comes_in_no_more_and_leaves_only_once() -> None:
    places = Places(most=100 + SPARE, outside=1)
    first, second = place_of(), place_of()
    places.take(first)
    assert places.take(second) is first
    places.go_inside(first)
    assert not first.inside
    places.leave(first)
    assert places.overdue(1e9) == [second]


def test_each_step_has_a_deadline_as_a_whole() -> None:
    place = place_of()
    assert not place.overdue(IDLE_SECONDS)
    assert place.overdue(IDLE_SECONDS + 1)
    place.received = 1
    assert place.overdue(HEAD_SECONDS + 1)
    place.enter_step(Step.BODY, 0.0)
    for received, seconds in ((0, BODY_SECONDS), (20, BODY_SECONDS), (8_000_000, BODY_SECONDS + 8_000_000 / BODY_RATE)):
        place.received = received
        assert not place.overdue(seconds)
        assert place.overdue(seconds + 1)
    place.enter_step(Step.ANSWER, 0.0)
    assert place.overdue(ANSWER_SECONDS + 1)
    place.inside = True
    assert not place.overdue(1e9), "a stream may be as long as it is"
