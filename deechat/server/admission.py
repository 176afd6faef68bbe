"""The places of a worker: which connections have one, how long a request may take, and which connection makes room.

A connection is *outside* until the gate has let its request pass, and outside again when a later request is open to
all, such as the log-in or the sign of life. When all places are taken a new connection still gets one. As long as those
outside have more than `OUTSIDE`, the network that holds most of them loses its oldest; else a connection inside that
only waits is closed. Thousands of slow connections thus wait for each other alone.

Each step of a request has a deadline as a whole, however often a byte arrives. It is looked at once a second for all
connections, so a request starts no timer.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

OUTSIDE = 200  # places before the gate
INSIDE = 200  # places behind it for requests that are no streams
SPARE = 10  # places for connections that are just being closed

IDLE_SECONDS = 20.0  # between two requests, and before the first
HEAD_SECONDS = 15.0  # for a request line with its headers, from its first byte on
BODY_SECONDS = 20.0  # for a body, and a second more for each `BODY_RATE` bytes that came
BODY_RATE = 50_000
HELD_BYTES = 32_000_000  # of all bodies before the gate together
ANSWER_SECONDS = 60.0  # for the answer to a request that did not pass the gate


class Step(Enum):
    """The present state of a connection."""

    HEAD = "waits for a request, or for the rest of its head"
    BODY = "waits for a body"
    ANSWER = "is answered"


class Place:
    """One connection's place. `peer` is counted by: an address or a network."""

    def __init__(self, peer: str, now: float) -> None:
        self.peer = peer
        self.step = Step.HEAD
        self.since = now  # when the step began; for a head, when its first byte came
        self.received = 0  # bytes in this step
        self.inside = False

    def enter_step(self, step: Step, now: float) -> None:
        self.step, self.since, self.received = step, now, 0

    @property
    def idle(self) -> bool:
        return self.step is Step.HEAD and not self.received

    def overdue(self, now: float) -> bool:
        """Return whether the step takes longer than it may. An answer behind the gate has no limit."""
        if self.step is Step.HEAD:
            return now > self.since + (HEAD_SECONDS if self.received else IDLE_SECONDS)
        if self.step is Step.BODY:
            return now > self.since + BODY_SECONDS + self.received / BODY_RATE
        return not self.inside and now > self.since + ANSWER_SECONDS


class Places:
    """All places that are taken, at most `most`, of which `outside` are for connections before the gate at least."""

    def __init__(self, most: int, outside: int = OUTSIDE) -> None:
        self._most = max(2, most - SPARE)
        self._share_outside = max(1, min(outside, self._most // 2))
        self._outside: dict[Place, None] = {}  # in the order in which they came
        self._inside: dict[Place, None] = {}

    def take(self, place: Place) -> Place | None:
        """Enter the place as one outside, and return the one that has to make room for it, if any."""
        self._outside[place] = None
        chosen = None
        if len(self._outside) + len(self._inside) > self._most:
            if len(self._outside) <= self._share_outside:
                chosen = self._who_only_waits_inside()
            chosen = chosen or self._first_of_the_greediest()
            self.leave(chosen)
        return chosen

    def receive(self, place: Place, count: int) -> Place | None:
        """Count bytes of a step, and return the body before the gate that has to end because all hold too much."""
        place.received += count
        if place.inside or place.step is not Step.BODY or place.received < HELD_BYTES // self._most:
            return None
        bodies = [each for each in self._outside if each.step is Step.BODY]
        if sum(each.received for each in bodies) <= HELD_BYTES:
            return None
        chosen = max(bodies, key=lambda each: each.received)
        self.leave(chosen)
        return chosen

    def leave(self, place: Place) -> None:
        self._outside.pop(place, None)
        self._inside.pop(place, None)

    def go_inside(self, place: Place) -> None:
        if not place.inside and self._outside.pop(place, place) is None:
            place.inside = True
            self._inside[place] = None

    def go_outside(self, place: Place) -> None:
        if place.inside and self._inside.pop(place, place) is None:
            place.inside = False
            self._outside[place] = None

    def overdue(self, now: float) -> list[Place]:
        return [place for places in (self._outside, self._inside) for place in places if place.overdue(now)]

    def _first_of_the_greediest(self) -> Place:
        counts = Counter(place.peer for place in self._outside)
        most = max(counts.values())
        return next(place for place in self._outside if counts[place.peer] == most)

    def _who_only_waits_inside(self) -> Place | None:
        """Return an idle connection, else one that is still sending. One that is being answered is never chosen."""
        waiting = [place for place in self._inside if place.step is not Step.ANSWER]
        return min(waiting, key=lambda place: (not place.idle, place.since), default=None)
