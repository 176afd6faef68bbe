"""What is said, piece by piece, made whole: surrogates joined, thinking between tags told from the answer."""

from __future__ import annotations

import re
from typing import Any

from deechat.agents.providers.base import Reasoning, Text

_SURROGATE = re.compile("[\ud800-\udfff]")
_OPEN, _CLOSE = "<think>", "</think>"
LONGEST_HEAD = 1_000  # white space that is waited through for a tag

Said = tuple[type[Text] | type[Reasoning], str]


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


class ThinkSplitter:
    """Tells `<think>` … `</think>` at the head of a text from the text, wherever the pieces are cut.

    White space may stand before the first tag and is dropped with it. An unclosed tag leaves everything reasoning. Tags
    anywhere else are text like any other, and so is what only looked like the beginning of one.

    Once a text is past its head, which may yet begin with a tag, it does not matter into which pieces it is cut. Once
    `is_past` is true all that comes is text.
    """

    def __init__(self) -> None:
        self.at_head = True
        self.is_past = False
        self._state = self._head
        self._held = ""

    def feed(self, piece: str) -> list[Said]:
        """Takes a piece, gives what is sure, in order and without empty texts."""
        return self._state(self._held + piece)

    def end(self) -> list[Said]:
        """Gives what was held back until now."""
        kind = Reasoning if self._state == self._inside else Text
        held, self._held = self._held, ""
        return _told(kind, held)

    def _head(self, text: str) -> list[Said]:
        begun = text.lstrip()
        if begun.startswith(_OPEN):
            self.at_head, self._state = False, self._inside
            return self._inside(begun.removeprefix(_OPEN))
        if _OPEN.startswith(begun) and len(text) <= LONGEST_HEAD:
            self._held = text
            return []
        self.at_head = False
        return self._begin_text(text)

    def _inside(self, text: str) -> list[Said]:
        thought, tag, answer = text.partition(_CLOSE)
        if tag:
            return _told(Reasoning, thought) + self._begin_text(answer)
        kept = _overlap(text)
        self._held = text[len(text) - kept :]
        return _told(Reasoning, text[: len(text) - kept])

    def _begin_text(self, text: str) -> list[Said]:
        self.is_past, self._state, self._held = True, self._after, ""
        return self._after(text)

    def _after(self, text: str) -> list[Said]:
        return _told(Text, text)


def _told(kind: type[Text] | type[Reasoning], text: str) -> list[Said]:
    return [(kind, text)] if text else []


def _overlap(text: str) -> int:
    """Gives how many characters at the end of a text may be the beginning of the closing tag."""
    return next((size for size in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:size])), 0)
