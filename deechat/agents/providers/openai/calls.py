"""Pieces of tool calls to whole ones, for servers that number them, name them, or neither.

An index, an id, a name and the brackets of the arguments each hint at the call to which a piece belongs, and each may
be missing, constant or wrong. While pieces come they are sorted by the hints that agree. At the end, when all arguments
are there, the pieces of one call are told from those of several calls, and from a call that was said once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from itertools import accumulate, islice
from typing import Any, NamedTuple

from deechat.agents.providers.openai.chunks import CallPiece, mend, mend_all, number
from deechat.agents.providers.openai.faults import broken
from deechat.errors import ModelError
from deechat.events import ToolCall

MOST_CALLS = 1_000  # in one turn
LONGEST_NAME = 10_000
SURELY_GROWING = 3  # pieces in a row that each begin with all of the one before
_STRUCTURE = re.compile(r'["{}\[\]\\]')
_MARKUP = re.compile(r"<\||\s")  # of the harmony format, left in a name
_BLANKS = re.compile(r"\s*")
_read = json.JSONDecoder(strict=False).raw_decode


class _Hints(NamedTuple):
    """Hints of a piece at the call that it belongs to, and its part of that call; '' and None where it has none."""

    number: int | None
    id: str
    name: str
    arguments: str
    extra: Any

    @classmethod
    def of(cls, piece: CallPiece) -> _Hints:
        function = piece.function
        name, arguments = (function.name, function.arguments) if function else (None, None)
        if not isinstance(arguments, str):  # an object is whole
            arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        name = name if isinstance(name, str) else ""
        return cls(number(piece.index), _label(piece.id), name, arguments, piece.extra_content)

    @property
    def begins(self) -> bool:
        """Whether its arguments may be a call's first."""
        return self.arguments.lstrip().startswith("{")

    @property
    def goes_on(self) -> bool:
        """Whether its arguments can be no call's first."""
        return bool(self.arguments.strip()) and not self.begins


def _label(name: Any) -> str:
    """Return an id that may be a number."""
    return name if isinstance(name, str) else "" if name is None or isinstance(name, bool) else json.dumps(name)


class _Call:
    """A call on its way, or several that no hint told apart while they came."""

    def __init__(self, number: int | None, place: int) -> None:
        self.number, self.place = number, place
        self.id = ""
        self.name = ""
        self.extra: Any = None
        self._parts = 0
        self._pieces: list[str] = []
        self._growing = 0  # pieces that began with all of the one before; -1 once one did not
        self._depth, self._in_string, self._escaped_at, self._length, self._closed = 0, False, -1, 0, False

    def _scan(self, text: str) -> None:
        """Follow the brackets, which tell whether the arguments are whole without reading them again."""
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
                self._depth = max(0, self._depth + (1 if sign in "{[" else -1))
                self._closed = self._depth == 0
        self._length += len(text)

    def add(self, piece: _Hints) -> int:
        """Take a piece; return how many bytes are new."""
        self._parts += 1
        self.id = self.id or piece.id
        self.number = piece.number if self.number is None else self.number
        self.extra = piece.extra if piece.extra is not None else self.extra
        return self._add_name(piece.name) + self._add_arguments(piece.arguments)

    def _add_name(self, name: str) -> int:
        """A name comes once, again and again, grown by its next letters, or in parts."""
        before = self.name
        if name.startswith(before):
            self.name = name
        elif name and name != before:
            self.name += name
        if len(self.name) > LONGEST_NAME:
            raise broken(f"it sent a tool's name of more than {LONGEST_NAME:,} characters")
        return len(self.name) - len(before)

    def _add_arguments(self, text: str) -> int:
        if not text:
            return 0
        last = self._pieces[-1] if self._pieces else ""
        if last and self._growing >= 0:
            self._growing = self._growing + 1 if text.startswith(last) else -1
        if self._growing >= SURELY_GROWING:  # this piece holds all that came
            self._pieces = [text]
            return len(text) - len(last)
        self._pieces.append(text)
        self._scan(text)
        return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))

    @property
    def _is_open(self) -> bool:
        return self._length > 0 and not self._closed

    def is_other(self, piece: _Hints, tools: Collection[str]) -> bool:
        """Return whether a piece that some hint leads here begins another call."""
        if piece.goes_on and self._is_open and piece.name in {"", self.name}:
            return False
        if piece.id and self.id and piece.id != self.id:
            return bool(piece.name) or (self._closed and piece.begins)
        if not (piece.name and self.name) or piece.name == self.name:
            return False
        return self._length > 0 or {piece.name, self.name} <= set(tools)

    def takes(self, piece: _Hints) -> bool:
        """Return whether a piece belongs here though its number is a new one: some servers count pieces, not calls."""
        if piece.goes_on:
            return not piece.name or piece.name == self.name
        is_ours = piece.id == self.id if piece.id else not piece.name
        is_waiting = self._is_open or (self._length == 0 and self.name != "")
        return is_ours and is_waiting and piece.name in {"", self.name}

    def is_repeated(self, piece: _Hints) -> bool:
        """Return whether a piece without number and id is a second call with this one's name: each came whole.

        Where this one came in parts, the other is the whole call again, with which some servers end.
        """
        return self._parts == 1 and self._closed and piece.begins and piece.name == self.name

    @property
    def is_nothing(self) -> bool:
        """Whether neither a name nor arguments came."""
        return not self.name and self._length == 0

    def whole(self, before: str, tools: Collection[str]) -> Iterator[ToolCall]:
        """Return the call, or the calls; no arguments at all are an empty object. `before`: the name of the call
        before, which a call without a name takes. Harmony's markup is cut off a name where that leaves a tool's.
        """
        name = self.name or before
        if not name:
            raise broken("it sent a tool call without a name")
        name = mend(name)
        meant = _MARKUP.split(name.strip().removeprefix("functions."), maxsplit=1)[0]
        name = meant if name not in tools and meant in tools else name
        for arguments in _told_apart(self._pieces, grew=self._growing > 0):
            yield ToolCall("", name, mend(arguments) if arguments.strip() else "{}")


def _told_apart(pieces: list[str], *, grew: bool) -> list[str]:
    """Return the arguments in pieces, mostly those of one call.

    A piece that begins an object after a whole one begins another call's, of which there are `MOST_CALLS` at most. An
    empty object beside others is none, and an object that is there already is said once more.
    """
    text = "".join(pieces)
    if _is_object(text):
        return [text]
    if grew and _is_object(pieces[-1]):
        return [pieces[-1]]
    objects = list(islice(_parted(text, {0, *accumulate(map(len, pieces))}), MOST_CALLS + 1))
    if len(objects) > MOST_CALLS:
        raise _too_many()
    full = [each for each in objects if each.strip() != "{}"] or objects[:1]
    once: dict[str, str] = {}
    for each in dict.fromkeys(full):
        once.setdefault(canonical(each), each)
    return list(once.values())


def _behind_blanks(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # the pattern matches nothing too


def _parted(text: str, begins: set[int]) -> Iterator[str]:
    """Yield the objects in a text whose pieces begin at these places; other text stays with the object before it."""
    at, first = 0, 0
    while at < len(text):
        try:
            value, end = _read(text, _behind_blanks(text, at))
        except (ValueError, RecursionError):
            break
        following = _behind_blanks(text, end)
        begun = any(place in begins for place in range(end, following + 1))
        if not isinstance(value, dict) or not text.startswith("{", following) or not begun:
            break
        yield text[first:end]
        at = first = end
    yield text[first:]


def _is_object(text: str) -> bool:
    return canonical(text).startswith("{")


def canonical(arguments: str) -> str:
    """Return arguments as JSON with sorted keys, the same for equal ones; behind a "?" where they are no JSON."""
    try:
        return json.dumps(json.loads(arguments, strict=False), sort_keys=True)
    except (ValueError, RecursionError):
        return f"?{arguments}"


def _too_many() -> ModelError:
    return broken(f"it called more than {MOST_CALLS} tools at once")


class Calls:
    """The calls of a turn, in the order in which they began. `tools`: the names of the tools that may be called."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        self._tools = tools
        self._calls: list[_Call] = []
        self._by_number: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}  # the last that was begun of those with one id

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, piece: CallPiece) -> int:
        """Take a piece; return how many bytes it added. Raises `ModelError` where there are too many calls."""
        hints = _Hints.of(piece)
        if not (hints.id or hints.name or hints.arguments or hints.extra):
            return 0
        call = self._unnumbered(hints) if hints.number is None else self._numbered(hints, hints.number)
        if call is None:
            call = self._new(hints.number)
        if hints.number is not None:
            self._by_number[hints.number] = call
        size = call.add(hints)
        if hints.id and self._by_id.setdefault(call.id, call).place < call.place:
            self._by_id[call.id] = call
        return size

    def _numbered(self, piece: _Hints, number: int) -> _Call | None:
        named = self._by_id.get(piece.id)
        if named is not None and named.number in {number, None}:
            return named
        if number in self._by_number:
            known = self._by_number[number]
            return None if known.is_other(piece, self._tools) else known
        last = named or (self._calls[-1] if self._calls else None)
        return last if last is not None and last.takes(piece) else None

    def _unnumbered(self, piece: _Hints) -> _Call | None:
        named = self._by_id.get(piece.id)
        if named is not None or not self._calls:
            return named
        last = self._calls[-1]
        is_another = last.is_other(piece, self._tools) or (not piece.id and last.is_repeated(piece))
        return None if is_another else last

    def _new(self, number: int | None) -> _Call:
        if len(self._calls) >= MOST_CALLS:
            raise _too_many()
        call = _Call(number, len(self._calls))
        self._calls.append(call)
        return call

    def whole(self) -> tuple[tuple[ToolCall, ...], list[Any]]:
        """Return the calls, and the `extra_content` that the server wants back with each; no list where it wants none.

        A call with the id, or else the number, and with the name and arguments of an earlier one is that one again.
        """
        found: dict[Any, tuple[ToolCall, Any]] = {}
        name = ""
        for call in self._calls:
            if call.is_nothing and len(self._calls) > 1:
                continue
            extra = mend_all(call.extra)
            for one in call.whole(name, self._tools):
                label = call.id or (len(found) if call.number is None else call.number)
                found.setdefault((label, one.name, canonical(one.arguments)), (one, extra))
                name, extra = one.name, None
            if len(found) > MOST_CALLS:
                raise _too_many()
        extras = [extra for _, extra in found.values()]
        return tuple(call for call, _ in found.values()), extras if any(extra is not None for extra in extras) else []
