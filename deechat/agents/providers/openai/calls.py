"""Pieces of tool calls to whole ones, for servers that number them, name them, or neither."""

from __future__ import annotations

import json
import re
from typing import Any

from deechat.agents.providers.openai.chunks import CallPiece
from deechat.agents.providers.openai.faults import broken
from deechat.agents.providers.openai.speech import Mender, mend, mend_all
from deechat.events import ToolCall

MOST_CALLS = 1_000  # in one turn
_STRUCTURE = re.compile(r'["{}\[\]\\]')


class _Call:
    """A call on its way."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.extra: Any = None
        self._arguments: list[str] = []
        self._mender = Mender()
        self._depth, self._in_string, self._escaped_at, self._length, self._closed = 0, False, -1, 0, False

    def _scan(self, text: str) -> None:
        """Follows the brackets, so that whether the arguments are whole is known without reading them again."""
        for match in _STRUCTURE.finditer(text):
            at, sign = self._length + match.start(), match[0]
            if at == self._escaped_at:
                continue
            if self._in_string:
                self._in_string = sign != '"'
                self._escaped_at = at + 1 if sign == "\\" else -1
            elif sign == '"':
                self._in_string = True
            elif sign != "\\":
                self._depth += 1 if sign in "{[" else -1
                self._closed = self._depth <= 0
        self._length += len(text)

    def add(self, piece: CallPiece) -> int:
        """Takes a piece; gives how many characters are new."""
        self.id = self.id or piece.id or ""
        self.extra = piece.extra_content if piece.extra_content is not None else self.extra
        if piece.function is None:
            return 0
        return self._add_name(piece.function.name or "") + self._add_arguments(piece.function.arguments)

    def _add_name(self, name: str) -> int:
        """A name comes once, again and again, grown by its next letters, or (never seen, but allowed) in parts."""
        before = self.name
        if name.startswith(before):
            self.name = name
        elif name != before:
            self.name += name
        return len(self.name) - len(before)

    def _add_arguments(self, arguments: Any) -> int:
        if arguments is None:
            return 0
        if isinstance(arguments, str):
            self._arguments.append(self._mender.feed(arguments))
            self._scan(self._arguments[-1])
        else:  # an object is whole
            self._closed = True
            self._arguments = [json.dumps(mend_all(arguments), ensure_ascii=False)]
        return len(self._arguments[-1].encode())

    def is_other(self, piece: CallPiece) -> bool:
        """Says whether a piece with this call's number begins another: some servers give all calls the same one."""
        name = piece.function.name if piece.function else None
        if not name or not self.name:
            return False
        if piece.id and self.id:
            return piece.id != self.id
        return name != self.name and bool(self._arguments)

    def goes_on(self, name: str) -> bool:
        """Says whether a piece with only a name belongs here: it is the same, and the arguments are not whole."""
        if name != self.name:
            return False
        return not self._closed

    def whole(self) -> ToolCall:
        """Gives the call; no arguments at all are an empty object."""
        if not self.name:
            raise broken("it sent a tool call without a name")
        arguments = "".join([*self._arguments, self._mender.end()])
        return ToolCall("", mend(self.name), arguments if arguments.strip() else "{}")


class Calls:
    """The calls of a turn, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, piece: CallPiece) -> int:
        """Takes a piece; gives how many characters it added."""
        call = self._numbered(piece, piece.index) if piece.index is not None else self._unnumbered(piece)
        return call.add(piece)

    def _numbered(self, piece: CallPiece, index: int) -> _Call:
        call = self._by_index.get(index)
        if call is None or call.is_other(piece):
            call = self._by_index[index] = self._new()
        return call

    def _unnumbered(self, piece: CallPiece) -> _Call:
        if piece.id:
            for call in self._calls:
                if call.id == piece.id:
                    return call
        name = piece.function.name if piece.function else None
        last = self._calls[-1] if self._calls else self._new()
        begins = name and last.name and (piece.id or not last.goes_on(name))
        return self._new() if begins else last

    def _new(self) -> _Call:
        if len(self._calls) >= MOST_CALLS:
            raise broken(f"it called more than {MOST_CALLS} tools at once")
        call = _Call()
        self._calls.append(call)
        return call

    def whole(self) -> tuple[ToolCall, ...]:
        """Gives the calls."""
        return tuple(call.whole() for call in self._calls)

    def extras(self) -> list[Any]:
        """Gives what the server wants back with each call; empty when it wants nothing."""
        extras = [mend_all(call.extra) for call in self._calls]
        return extras if any(extra is not None for extra in extras) else []
