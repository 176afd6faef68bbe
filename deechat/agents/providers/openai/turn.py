"""The bytes of a streamed completion to the parts of a turn. It knows no sockets, no SDK and no request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Generator, Iterable
from typing import Any

from deechat.agents.providers.base import Part, Reasoning, Retold, Text, Turn
from deechat.agents.providers.openai import sse
from deechat.agents.providers.openai.calls import Calls
from deechat.agents.providers.openai.chunks import (
    CallPiece,
    Choice,
    Chunk,
    Delta,
    called,
    counted,
    decode,
    kept,
    spoken,
    thought_field,
)
from deechat.agents.providers.openai.faults import broken
from deechat.agents.providers.openai.plain import said_plainly
from deechat.agents.providers.openai.speech import Mender, mend, mend_all
from deechat.agents.providers.openai.thinking import ThinkSplitter, Told
from deechat.errors import ModelError
from deechat.events import Usage

MAX_ANSWER = 1_000_000
MAX_KEPT = 4 * MAX_ANSWER  # its pieces say what the answer counts already, with their types and numbers around them
_LEGACY_CALL = -1  # the index of a `function_call`, of which there is at most one


_REASON = re.compile("[a-z_]{1,40}")
CUT_SHORT = {"length", "content_filter", "error"}  # reasons of turns in which more was to come


class Assembler:
    """A turn being put together.

    `feed` gives the parts of one read, neighbours of the same kind joined; `end` the rest and the `Turn`. `finished`:
    the server gave a finish reason, or it is `done`:
    the server said that nothing follows. `spoke`: text or thinking came. `said` makes the error of an error object,
    `tools` are the names that may be called, `thinks`: the model is known to begin with thinking that nothing opens.
    `thought_in` names the field in which thinking came, None while none did.
    """

    def __init__(self, said: Callable[[Any], ModelError], *, tools: Collection[str] = (), thinks: bool = False) -> None:
        self._said = said
        self._lines = sse.Lines()
        self._event = b""
        self._text_mender, self._thought_mender = Mender(), Mender()
        self._splitter = ThinkSplitter(thinks=thinks)
        self._blank = ""  # thinking of nothing but white space, while nothing else of it came
        self._thought = self._beside = False  # whether thinking came at all, and beside the text
        self._calls = Calls(tools)
        self._usage: Usage | None = None
        self._kept: dict[str, list[Any]] = {}
        self._finish = ""
        self._size = self._kept_size = 0
        self._pending: list[tuple[type[Text] | type[Reasoning], list[str]] | Retold] = []
        self._kind: type[Text] | type[Reasoning] | None = None  # of the last of them
        self._pieces: list[str] = []  # its text
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
        self.thought_in = self.thought_in or field
        if not (self._splitter.is_past or self._splitter.passes(text) if kind is Text else self._beside):
            return self._read(self._hear_all, kind, pieces)
        self._size += len(text) if text.isascii() else len(text.encode())
        self.spoke = True
        return (kind(text),)

    def end(self) -> Generator[Part, None, None]:
        """Gives the rest and the turn. Raises `ModelError` when the stream ended without saying so."""
        yield from self._read(self._leftover)
        if not self.finished:
            raise broken("it ended with neither a finish_reason nor [DONE]")
        calls, extras = self._calls.whole()
        yield Turn(self._reason(), calls, self._usage, {**self._kept, **({"tool_calls": extras} if extras else {})})

    @property
    def learnt(self) -> bool | None:
        """Whether the model began with thinking that nothing opened; None where nothing showed it."""
        return self._splitter.learnt

    def _read(self, take: Callable[..., None], *taken: Any) -> Generator[Part, None, None]:
        fault = None
        try:
            take(*taken)
        except ModelError as exc:
            fault = exc
            self._let_out(is_answer=False)
        for each in self._pending:
            yield each if isinstance(each, Retold) else each[0]("".join(each[1]))
        self._pending, self._kind = [], None
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
        self._let_out(is_answer=self.finished and not self._calls and self._reason() not in CUT_SHORT)

    def _let_out(self, *, is_answer: bool) -> None:
        for told in self._splitter.end(is_answer=is_answer):
            self._tell(told)

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            self._line(line)

    def _hear_all(self, kind: type[Text] | type[Reasoning], pieces: list[str]) -> None:
        """Hears one piece after the other until the text is past its head, and the others at once."""
        rest = iter(pieces)
        while kind is Text and self._splitter.at_head and (piece := next(rest, "")):
            self._hear(kind, piece)
        self._hear(kind, "".join(rest))

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
        for call in called(delta):
            self._count(self._calls.feed(call))
        if delta.function_call is not None:
            self._count(self._calls.feed(CallPiece(index=_LEGACY_CALL, function=delta.function_call)))
        for name, items in kept(delta):
            self._keep(name, items)

    def _hear(self, kind: type[Text] | type[Reasoning], text: str) -> None:
        self._count(len(text) if text.isascii() else len(text.encode()))
        if kind is Reasoning and not self._beside and text.strip():
            self._beside = True
            self._splitter.think_beside()
        if kind is Reasoning or self._splitter.is_past or self._splitter.passes(text):
            self._add(kind, text)
            return
        for told in self._splitter.feed(text):
            self._tell(told)

    def _tell(self, told: Told) -> None:
        """Adds to the parts that come next."""
        if not isinstance(told, Retold):
            self._add(*told)
            return
        anew = self._told_thought(told.anew) if told.kind == "thinking" else told.anew
        self._pending.append(Retold(told.kind, told.said, anew))
        self._kind, self.spoke = None, True

    def _add(self, kind: type[Text] | type[Reasoning], text: str) -> None:
        """Adds to the parts that come next; neighbours of the same kind become one."""
        if kind is Reasoning:
            text = self._told_thought(text)
        if not text:
            return
        self.spoke = True
        if kind is not self._kind:
            self._kind, self._pieces = kind, []
            self._pending.append((kind, self._pieces))
        self._pieces.append(text)

    def _told_thought(self, text: str) -> str:
        """Gives what is to be told of thinking: nothing while all of it is white space."""
        if not self._thought:
            text, self._blank = self._blank + text, ""
            self._thought = bool(text.strip())
            if not self._thought:
                self._blank, text = text, ""
        return text

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
