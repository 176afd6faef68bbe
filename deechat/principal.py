"""The person for whom something is done: one value, whatever credential showed it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, known by an id that never changes. There is one today, `OWNER`."""

    id: str


OWNER = Principal("owner")
