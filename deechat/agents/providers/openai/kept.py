"""What a server wants back with a turn: lists that come in pieces, of which the pieces of one text become one."""

from __future__ import annotations

from typing import Any

from deechat.agents.providers.openai.speech import mend_all
from deechat.errors import ModelError

MAX_KEPT = 4_000_000  # its pieces say what the answer counts already, with their types and numbers around them
_SAME = ("type", "index", "id")  # fields that the pieces of one text have in common
_TEXTS = ("text", "summary", "thinking")


class _Item:
    """An item of a list, which may go on in the next one. Its texts are joined when all has come."""

    def __init__(self, value: Any) -> None:
        self._value = value
        fields = value if isinstance(value, dict) else {}
        self._pieces = {name: [fields[name]] for name in _TEXTS if isinstance(fields.get(name), str)}

    def takes(self, item: Any) -> bool:
        """Adds a piece of a text to the pieces before it; says whether it belonged there."""
        mine = self._value
        if not (isinstance(mine, dict) and isinstance(item, dict)):
            return False
        if any(mine.get(name) != item.get(name) for name in _SAME):
            return False
        grown = [name for name in _TEXTS if isinstance(item.get(name), str)]
        if not self._pieces.keys() >= set(grown) or not (grown or "signature" in item):
            return False
        for name, value in item.items():
            if name in grown:
                self._pieces[name].append(value)
            elif value is not None:
                mine[name] = value
                self._pieces.pop(name, None)
        return True

    def whole(self) -> Any:
        """Gives the item."""
        if not self._pieces:
            return self._value
        return {**self._value, **{name: "".join(pieces) for name, pieces in self._pieces.items()}}


class Kept:
    """The lists of a turn, by the names of their fields. It is true once any came."""

    def __init__(self) -> None:
        self._lists: dict[str, list[_Item]] = {}
        self._size = 0

    def __bool__(self) -> bool:
        return self._size > 0

    def feed(self, name: str, items: list[Any]) -> None:
        """Takes some items of a list. Raises `ModelError` where all are longer than the limit."""
        self._size += len(str(items))
        if self._size > MAX_KEPT:
            raise ModelError(
                "The answer's reasoning details are longer than the limit of 4 MB.", code="answer_too_long"
            )
        mine = self._lists.setdefault(name, [])
        for item in mend_all(items):
            if not (mine and mine[-1].takes(item)):
                mine.append(_Item(item))

    def whole(self) -> dict[str, list[Any]]:
        """Gives the lists."""
        return {name: [item.whole() for item in items] for name, items in self._lists.items()}
