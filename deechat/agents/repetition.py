"""Tells when a model goes round in circles: its text ends with the same piece, again and again.

A piece counts when it is said four times in a row and holds 200 characters or more, or is made of a shorter one over
and over. Wanted texts repeat too: a short line, as of a table or a program, has to go on for 5,000 bytes, and a piece
that says next to nothing, such as a rule of dashes, zeros or one short word, never counts.
"""

from __future__ import annotations

from typing import NamedTuple

TIMES = 4  # in a row
LEAST = 200  # characters that are said so often
LONGEST = 2_000  # characters of a piece; repeats of longer ones are left to the other limits
ENOUGH = 5_000  # bytes of equal short lines
EVERY = 200  # bytes from one look to the next
_WINDOW = TIMES * (LONGEST + LEAST)
_PROBE = 64  # characters at the end, which a repeated piece has been said with before
_TRIES = 32  # of its places; where more are in vain, the next look begins at another one
_TELLING = 6  # different letters and digits that a piece has at least if it says something
_IDEOGRAPH = "\u2e80"  # from here on a sign says as much as several letters


class Repetition(NamedTuple):
    """The shortest piece that a text ends with again and again, and how often at least."""

    piece: str
    times: int


def repetition(text: str) -> Repetition | None:
    """Return the piece that the text's end repeats too often; None when there is none."""
    if len(text) < TIMES * LEAST:
        return None
    probe = text[-_PROBE:]
    at = len(text) - len(probe)
    for _ in range(_TRIES):
        at = text.rfind(probe, max(0, len(text) - LONGEST - _PROBE), at + len(probe) - 1)
        if at < 0:
            return None
        piece = text[at + len(probe) :]
        times = TIMES * -(-LEAST // len(piece))
        if text.endswith(piece * times):
            if "\n" in piece and len(piece) < LEAST:
                times = max(times, -(-ENOUGH // len(piece.encode())))
            return Repetition(piece, times) if _is_telling(piece) and text.endswith(piece * times) else None
    return None


def without_repeats(text: str) -> str:
    """Return the text with the first of its end's repeated pieces alone."""
    found = repetition(text)
    if found is None:
        return text
    end = len(text)
    while text.endswith(found.piece, 0, end):
        end -= len(found.piece)
    return text[: end + len(found.piece)]


class Watch:
    """The last words of a model. `pieces` is added to for each token; `look` is asked now and then."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._tail = ""

    def look(self) -> Repetition | None:
        """Return the piece that is repeated by now; None when there is none."""
        self._tail = (self._tail + "".join(self.pieces))[-_WINDOW:]
        self.pieces.clear()
        return repetition(self._tail)


def _is_telling(piece: str) -> bool:
    signs = {sign for sign in piece if sign.isalnum()}
    return sum(3 if sign >= _IDEOGRAPH else 1 for sign in signs) >= _TELLING
