"""The bytes of a streamed completion to the parts of a turn. It knows no sockets, no SDK and no request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable
from typing import Any

from deechat.agents.providers.base import Part, Reasoning, Text, Turn
from deechat.agents.providers.openai import sse
from deechat.agents.providers.openai.calls import Calls
from deechat.agents.providers.openai.chunks import (
    CallPiece,
    Choice,
    Chunk,
    Delta,
    counted,
    decode,
    kept,
    spoken,
    thought_field,
)
from deechat.agents.providers.openai.faults import broken
from deechat.agents.providers.openai.plain import said_plainly
from deechat.agents.providers.openai.speech import Mender, ThinkSplitter, mend, mend_all
from deechat.errors import ModelError
from deechat.events import Usage

MAX_ANSWER = 1_000_000
MAX_KEPT = 4 * MAX_ANSWER  # its pieces say what the answer counts already, with their types and numbers around them
_LEGACY_CALL = -1  # the index of a `function_call`, of which there is at most one


_REASON = re.compile("[a-z_]{1,40}")


class Assembler:
    """A turn being put together.

    `feed` gives the parts of one read, neighbours of the same kind joined; `end` the rest and the `Turn`. `finished`:
    the server gave a finish reason, or it is `done`:
    the server said that nothing follows. `spoke`: text or thinking came. `said` makes the error of an error object.
    `thought_in` names the field in which thinking came, None while none did.
    """

    def __init__(self, said: Callable[[Any], ModelError]) -> None:
        self._said = said
        self._lines = sse.Lines()
        self._event = b""
        self._text_mender, self._thought_mender = Mender(), Mender()
        self._splitter = ThinkSplitter()
        self._calls = Calls()
        self._usage: Usage | None = None
        self._kept: dict[str, list[Any]] = {}
        self._finish = ""
        self._size = self._kept_size = 0
        self._pending: list[tuple[type[Text] | type[Reasoning], list[str]]] = []
        self.finished = self.done = self.spoke = False
        self.thought_in: str | None = None

    def feed(self, data: bytes) -> Iterable[Part]:
        """Gives the parts of a read; what was said before a fault comes before the fault.

        Where all of it does nothing but say more, what comes of taking it at once is what comes of taking it line by
        line: no half of a pair is held, and what it says, at four bytes a letter, stays below the limit.
        """
        says = not (self.done or self._event or self._text_mender.held or self._thought_mender.held)
        lines = self._lines.feed(data)
        many = said_plainly(lines) if says else None
        if many is None:
            return self._read(self._take, lines)
        kind, pieces, field = many
        text = "".join(pieces)
        if self._size + 4 * len(text) > MAX_ANSWER or not text:
            return self._read(self._take, lines)
        if kind is Text and not self._splitter.is_past:
            return self._read(self._hear_at_head, pieces)
        self._size += len(text) if text.isascii() else len(text.encode())
        self.spoke = True
        self.thought_in = self.thought_in or field
        return (kind(text),)

    def end(self) -> Generator[Part, None, None]:
        """Gives the rest and the turn. Raises `ModelError` when the stream ended without saying so."""
        yield from self._read(self._leftover)
        if not self.finished:
            raise broken("it ended with neither a finish_reason nor [DONE]")
        calls = self._calls.whole()
        yield Turn(self._reason(), calls, self._usage, self._extra())

    def _read(self, take: Callable[..., None], *taken: Any) -> Generator[Part, None, None]:
        fault = None
        try:
            take(*taken)
        except ModelError as exc:
            fault = exc
        for kind, pieces in self._pending:
            yield kind("".join(pieces))
        self._pending = []
        if fault:
            raise fault

    def _leftover(self) -> None:
        """Takes the last line, which has no line break, and lets out what was held back."""
        rest = self._lines.end()
        if rest and not self.done:
            try:
                self._line(rest)
            except ModelError:
                if not self._finish:
                    raise
        self._hear(Reasoning, self._thought_mender.end())
        self._hear(Text, self._text_mender.end())
        for kind, text in self._splitter.end():
            self._add(kind, text)

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            self._line(line)

    def _hear_at_head(self, pieces: list[str]) -> None:
        """Hears one piece after the other until the text is past its head, and the others at once."""
        rest = iter(pieces)
        while self._splitter.at_head and (piece := next(rest, "")):
            self._hear(Text, piece)
        self._hear(Text, "".join(rest))

    def _line(self, line: bytes) -> None:
        if not line:
            self._event = b""
        if not line or self.done:
            return
        name, value = sse.field(line)
        if name == b"event":
            self._event = value
        elif name == b"data" and value:
            self._data(value)

    def _data(self, value: bytes) -> None:
        if value == b"[DONE]":
            self.finished = self.done = True
        elif self._event == b"error":
            raise self._said(_loosely(value))
        else:
            try:
                self._chunk(decode(value))
            except RecursionError as exc:
                raise broken("what it sent is nested too deeply") from exc

    def _chunk(self, chunk: Chunk) -> None:
        if chunk.error or chunk.object == "error":
            raise self._said(chunk.error or {"message": chunk.message})
        self._usage = counted(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if not choice.index:
                self._choice(choice)

    def _choice(self, choice: Choice) -> None:
        if choice.delta is not None:
            self._delta(choice.delta)
        if choice.finish_reason:
            self.finished = True
            # A word for programs. What does not look like one may be anything, a secret among it.
            self._finish = choice.finish_reason if _REASON.fullmatch(choice.finish_reason) else "other"

    def _delta(self, delta: Delta) -> None:
        if self.thought_in is None:
            self.thought_in = thought_field(delta)
        for kind, piece in spoken(delta):
            self._hear(kind, (self._text_mender if kind is Text else self._thought_mender).feed(piece))
        for call in delta.tool_calls or ():
            self._count(self._calls.feed(call))
        if delta.function_call is not None:
            self._count(self._calls.feed(CallPiece(index=_LEGACY_CALL, function=delta.function_call)))
        for name, items in kept(delta):
            self._keep(name, items)

    def _hear(self, kind: type[Text] | type[Reasoning], text: str) -> None:
        self._count(len(text) if text.isascii() else len(text.encode()))
        for told, piece in self._splitter.feed(text) if kind is Text else [(kind, text)]:
            self._add(told, piece)

    def _add(self, kind: type[Text] | type[Reasoning], text: str) -> None:
        if not text:
            return
        self.spoke = True
        if not self._pending or self._pending[-1][0] is not kind:
            self._pending.append((kind, []))
        self._pending[-1][1].append(text)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_ANSWER:
            raise ModelError("The answer is longer than the limit of 1 MB.", code="answer_too_long")

    def _keep(self, name: str, items: list[Any]) -> None:
        """Keeps a list that comes in pieces; the pieces of one text become one."""
        mine = self._kept.setdefault(name, [])
        for item in mend_all(items):
            if not (mine and _continues(mine[-1], item)):
                mine.append(item)
        self._kept_size += len(str(items))
        if self._kept_size > MAX_KEPT:
            raise ModelError(
                "The answer's reasoning details are longer than the limit of 4 MB.", code="answer_too_long"
            )

    def _reason(self) -> str:
        """Names why the turn ended; the calls count, whatever the server says."""
        if self._calls:
            return "tool_calls" if self._finish in {"", "stop", "function_call"} else mend(self._finish)
        return "stop" if self._finish in {"", "tool_calls", "function_call"} else mend(self._finish)

    def _extra(self) -> dict[str, Any]:
        extras = self._calls.extras()
        return {**self._kept, "tool_calls": extras} if extras else dict(self._kept)


def _loosely(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value.decode(errors="replace")


def _continues(last: Any, item: Any) -> bool:
    """Adds a piece of a text to the piece before it; says whether it belonged there."""
    if not (isinstance(last, dict) and isinstance(item, dict)):
        return False
    if any(last.get(key) != item.get(key) for key in ("type", "index", "id")):
        return False
    grown = [key for key in ("text", "summary", "thinking") if isinstance(item.get(key), str)]
    if not all(isinstance(last.get(key), str) for key in grown) or not (grown or "signature" in item):
        return False
    last.update({key: value for key, value in item.items() if value is not None and key not in grown})
    last.update({key: last[key] + item[key] for key in grown})
    return True
