"""Places and deadlines: slow connections wait for each other, and nobody else for them."""

from __future__ import annotations

from deechat.server.admission import (
    ANSWER_SECONDS,
    BODY_RATE,
    BODY_SECONDS,
    HEAD_SECONDS,
    HELD_BYTES,
    IDLE_SECONDS,
    SPARE,
    Place,
    Places,
    Step,
)


def place_of(peer: str = "203.0.113.1", now: float = 0.0) -> Place:
    return Place(peer, now)


def test_the_oldest_of_the_network_that_holds_most_makes_room() -> None:
    places = Places(most=6 + SPARE, outside=2)
    honest = place_of("198.51.100.7")
    greedy = [place_of() for _ in range(5)]
    assert [places.take(each) for each in (honest, *greedy)] == [None] * 6
    for expected in greedy:
        assert places.take(place_of()) is expected
    assert places.overdue(1e9)[0] is honest


def test_where_all_are_one_network_a_new_connection_always_has_a_place() -> None:
    places = Places(most=6 + SPARE, outside=2)
    for _ in range(50):
        new = place_of()
        assert places.take(new) is not new


def test_who_is_named_by_a_proxy_counts_for_that_name() -> None:
    places = Places(most=6 + SPARE, outside=2)
    dripping = [place_of("127.0.0.1") for _ in range(6)]
    for each in dripping:
        places.take(each)
        each.peer = "203.0.113.9"
    new = [place_of("127.0.0.1") for _ in range(3)]
    assert [places.take(each) for each in new] == dripping[:3]


def test_connections_behind_the_gate_are_not_touched_by_those_before_it() -> None:
    places = Places(most=60 + SPARE, outside=10)
    inside = [place_of() for _ in range(50)]
    for each in inside:
        places.take(each)
        places.go_inside(each)
    chosen = [places.take(place_of()) for _ in range(100)]
    assert chosen[:10] == [None] * 10
    assert not set(chosen) & set(inside)
    places.go_outside(inside[0])
    assert not inside[0].inside


def test_connections_before_the_gate_may_use_what_is_free() -> None:
    places = Places(most=60 + SPARE, outside=10)
    assert [places.take(place_of()) for _ in range(60)] == [None] * 60


def test_bodies_before_the_gate_hold_so_much_together_and_the_heaviest_ends() -> None:
    places = Places(most=100 + SPARE, outside=10)
    bodies = [place_of() for _ in range(70)]
    for each in bodies:
        places.take(each)
        each.enter_step(Step.BODY, 0.0)
    size = HELD_BYTES // 70
    assert [places.receive(each, size) for each in bodies] == [None] * 70
    assert places.receive(bodies[3], 100) is bodies[3]
    assert [places.receive(each, 10) for each in bodies[:3]] == [None] * 3, "its bytes are gone with it"
    places.go_inside(bodies[5])
    assert places.receive(bodies[5], HELD_BYTES) is None, "who is inside has the limit of the route"


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
    places = Places(most=2 + SPARE, outside=1)
    first, second, third = place_of(), place_of(), place_of()
    assert [places.take(each) for each in (first, second, third)] == [None, None, first]
    places.go_inside(first)
    assert not first.inside
    places.leave(first)
    assert places.overdue(1e9) == [second, third]


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
