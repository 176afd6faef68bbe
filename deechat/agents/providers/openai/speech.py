"""What is said, piece by piece, made whole: surrogates joined, and lone ones replaced."""

from __future__ import annotations

import re
from typing import Any

from deechat.agents.providers.base import Reasoning, Text

_SURROGATE = re.compile("[\ud800-\udfff]")

Kind = type[Text] | type[Reasoning]
Said = tuple[Kind, str]


def mend(text: str) -> str:
    """Joins surrogate pairs and makes lone surrogates U+FFFD, so that the text can be written as UTF-8."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_all(value: Any) -> Any:
    """Mends every text in a JSON value."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        return [mend_all(item) for item in value]
    if isinstance(value, dict):
        return {mend(key): mend_all(item) for key, item in value.items()}
    return value


class Mender:
    """Mends a text that comes in pieces: the first half of a pair is `held` until the second comes."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, piece: str) -> str:
        """Takes a piece, gives what is sure."""
        if not self.held and piece.isascii():
            return piece
        piece, self.held = self.held + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self.held = piece[:-1], piece[-1]
        return mend(piece)

    def end(self) -> str:
        """Gives what was still held."""
        held, self.held = self.held, ""
        return mend(held)
