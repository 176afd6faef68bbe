"""Chunks to the parts of a turn: text and thinking as they come, calls, tokens, and why it ended.

It knows no sockets, no SDK and no request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import Any

from deechat.agents.providers.base import Part, Reasoning, Retold, Text, Turn
from deechat.agents.providers.openai.calls import Calls
from deechat.agents.providers.openai.chunks import (
    CallPiece,
    Choice,
    Chunk,
    ChunkReader,
    Delta,
    Function,
    Item,
    Kind,
    Mender,
    called,
    counted,
    delta_of,
    first_of,
    kept,
    loosely,
    mend_all,
    said_plainly,
    spoken,
    thought_field,
)
from deechat.agents.providers.openai.faults import MAX_READ, broken, reason_in, words_in
from deechat.agents.providers.openai.thinking import ThinkSplitter, Told
from deechat.errors import ModelError
from deechat.events import CUT, FILTERED, Usage

MAX_ANSWER = 1_000_000
_LEGACY_CALL = -1  # the index of a `function_call`, of which there is at most one
_STREAM = {"", "text/event-stream"}


class Assembler:
    """A turn being put together.

    `feed` gives the parts of one read, neighbours of the same kind joined; `end` the rest and the `Turn`. `finished`:
    the server gave a finish reason, or it is `done`: the server said that nothing follows. `spoke`: text or thinking
    came. `said` makes the error of an error object, `clean` makes foreign words fit for an error. `label` is the
    content type, which is only named in the error where no answer came: the body itself shows its kind. `tools` are the
    names that may be called. `thinks`: the model is known to begin with thinking that nothing opens. `thought_in` names
    the field in which thinking came, None while none did.
    """

    def __init__(
        self,
        said: Callable[[Any], ModelError],
        clean: Callable[[str], str] = str,
        label: str = "text/event-stream",
        *,
        tools: Collection[str] = (),
        thinks: bool = False,
    ) -> None:
        self._said, self._clean, self._label = said, clean, label
        self._reader = ChunkReader()
        self._text_mender, self._thought_mender = Mender(), Mender()
        self._splitter = ThinkSplitter(thinks=thinks)
        self._blanks: list[str] = []  # thinking of nothing but white space, while nothing else of it came
        self._thought = self._beside = False  # whether thinking came at all, and beside the text
        self._calls = Calls(tools)
        self._usage: Usage | None = None
        self._kept = Kept()
        self._finish = ""
        self._size = 0
        self._answered = False
        self._odd = b""  # words that are no chunk, from before the first that says something
        self._aside: Any = None  # an object with words for a person and no choices, if nothing was said after it
        self._settled = self._finished_early = False
        self._pending: list[tuple[Kind, list[str]] | Retold] = []
        self._kind: Kind | None = None  # of the last of them
        self._pieces: list[str] = []  # its text
        self.finished = self.done = self.spoke = False
        self.thought_in: str | None = None

    @property
    def settled(self) -> bool:
        """Whether the answer is whole: nothing more has to be waited for.

        Some servers give a finish reason before the first word, or with every one. A reason settles an answer that has
        begun; none settles that of a server that went on after one.
        """
        return self.done or self._settled

    def feed(self, data: bytes) -> Iterable[Part]:
        """Return the parts of a read; the parts before a fault come before the fault.

        The lines of a read that only say more are taken at once. The result is the same as line by line: no half of a
        pair is held, and their text, at four bytes a letter, stays below the limit.
        """
        reader = self._reader
        amid = reader.held or reader.event or self._text_mender.held or self._thought_mender.held
        lines = reader.lines.feed(data)
        kind, pieces, read, field = said_plainly(() if amid or self.finished else lines)
        text = "".join(pieces)
        if self._size + 4 * len(text) > MAX_ANSWER or not text:
            return self._read(self._take, reader.read(lines))
        self.thought_in = self.thought_in or field
        if read < len(lines):
            return self._read(self._hear_all, kind, pieces, lines[read:])
        if not (self._splitter.is_past or self._splitter.passes(text) if kind is Text else self._beside):
            return self._read(self._hear_all, kind, pieces, ())
        self._size += len(text) if text.isascii() else len(text.encode())
        self.spoke = True
        self._aside = None
        if kind is Text:
            self._answered = True
        return (kind(text),)

    def end(self) -> Generator[Part, None, None]:
        """Yield the rest and the turn. Raises `ModelError` when the stream ended without saying so, or said nothing."""
        yield from self._read(self._leftover)
        self._check_end()
        calls, extras = self._calls.whole()
        yield Turn(
            self._reason(), calls, self._usage, {**self._kept.whole(), **({"tool_calls": extras} if extras else {})}
        )

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
        except RecursionError:
            fault = broken("what it sent is nested too deeply")
        if fault:
            self._let_out(is_answer=False)
        yield from self._told()
        if fault:
            raise fault

    def _told(self) -> Iterator[Part]:
        for each in self._pending:
            yield each if isinstance(each, Retold) else each[0]("".join(each[1]))
        self._pending, self._kind = [], None

    def rest(self) -> Iterator[Part]:
        """Yield the text that was held back as a possible half of something, once the stream has broken off."""
        self._let_out(is_answer=False)
        yield from self._told()

    def _let_out(self, *, is_answer: bool) -> None:
        self._add(Reasoning, self._thought_mender.end())
        for told in [*self._splitter.feed(self._text_mender.end()), *self._splitter.end(is_answer=is_answer)]:
            self._tell(told)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _leftover(self) -> None:
        """Take the last line, which has no line break, and let out the text that was held back."""
        try:
            self._take(self._reader.end())
        except ModelError as exc:
            if not self._finish or exc.code != "model_protocol":
                raise
        self._let_out(is_answer=self.finished and not self._calls and self._finish not in CUT_SHORT)

    def _take(self, items: Iterable[Item]) -> None:
        for chunk, value, is_error, is_bare in items:
            if is_error:
                raise self._said(value)
            if chunk is None:
                self._note(value)
                continue
            self._chunk(chunk, bare=is_bare)
            if chunk.usage is None and not chunk.choices:
                self._hear_aside(loosely(value) if isinstance(value, bytes) else value)
        if self._reader.done:
            self.finished = self.done = True

    def _note(self, words: bytes) -> None:
        """Note words that are no chunk. They are a sign of life, or all words of a body that is no answer."""
        if not self._has_spoken and len(self._odd) < MAX_READ:
            self._odd += words[:MAX_READ] + b"\n"
            self._reader.reads_bare = not self._odd.startswith(b"<")

    def _hear_all(self, kind: Kind, pieces: list[str], lines: Iterable[bytes]) -> None:
        """Hear one piece after the other until the text is past its head, the others at once, and read more lines."""
        rest = iter(pieces)
        while kind is Text and self._splitter.at_head and (piece := next(rest, "")):
            self._hear(kind, piece)
        self._hear(kind, "".join(rest))
        self._take(self._reader.read(lines))

    def _chunk(self, chunk: Chunk, *, bare: bool) -> None:
        choices = first_of(chunk.choices or ())
        for choice in choices:
            self._choice(choice)
        holders: list[Chunk | Choice | Delta] = [chunk, *choices, *[each.delta for each in choices if each.delta]]
        errors = [holder.error for holder in holders if holder.error]
        if errors or chunk.object == "error":
            self._fail(errors, chunk)
        for choice in choices:
            if choice.finish_reason or bare:
                self._end_by(choice, bare=bare)
        if chunk.usage is not None:
            self._usage = counted(chunk.usage) or self._usage

    def _fail(self, errors: list[Any], chunk: Chunk) -> None:
        """Raise the first error that says anything: some servers have an empty one in every chunk."""
        error = next((each for each in errors if not isinstance(each, dict) or any(each.values())), None)
        if error is not None or chunk.object == "error":
            raise self._said(error if isinstance(error, str | dict | list) else {"message": chunk.message})

    def _hear_aside(self, value: Any) -> None:
        if isinstance(value, dict) and reason_in(value):
            self._aside = value
            if value.get("type") == "error":
                raise self._said(value)

    def _choice(self, choice: Choice) -> None:
        if choice.usage is not None:
            self._usage = counted(choice.usage) or self._usage
        if choice.delta is not None:
            self._delta(choice.delta)
        elif isinstance(choice.message, dict) and not self._has_spoken:
            self._delta(delta_of(choice.message))
        elif isinstance(choice.text, str):
            self._hear(Text, self._text_mender.feed(choice.text))

    def _end_by(self, choice: Choice, *, bare: bool) -> None:
        word = word_of(choice.finish_reason)
        meaning = meaning_of(word)
        if meaning == FAULT:
            words = choice.message if isinstance(choice.message, str) else f"no reason given ({word})"
            raise self._said({"message": words})
        if meaning:
            self._finish = meaning
        elif not bare or choice.delta is not None or not isinstance(choice.message, dict):
            return  # a whole answer, in contrast, ends with itself
        self.finished = True
        self._settled = (self._answered or bool(self._calls)) and not self._finished_early

    def _delta(self, delta: Delta) -> None:
        thinks = not (delta.reasoning_content is delta.reasoning is delta.thinking is None)
        if thinks and self.thought_in is None:
            self.thought_in = thought_field(delta)
        for kind, piece in spoken(delta):
            self._hear(kind, (self._text_mender if kind is Text else self._thought_mender).feed(piece))
        for call in called(delta):
            self._call(call)
        if delta.function_call is not None:
            self._call(CallPiece(index=_LEGACY_CALL, function=delta.function_call))
        for name, items in kept(delta):
            self._kept.feed(name, items)

    def _call(self, piece: CallPiece) -> None:
        function = piece.function or Function()
        parts = (piece.id, function.name, function.arguments, piece.extra_content)
        if any(part not in (None, "") for part in parts):  # some say in each chunk that there is no call
            self._go_on()
            self._count(self._calls.feed(piece))

    def _hear(self, kind: Kind, text: str) -> None:
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
        """Add to the parts that come next."""
        if not isinstance(told, Retold):
            self._add(*told)
            return
        anew = self._told_thought(told.anew) if told.kind == "thinking" else told.anew
        self._go_on()
        self._pending.append(Retold(told.kind, told.said, anew))
        self._kind, self.spoke, self._answered = None, True, told.kind == "text"

    def _add(self, kind: Kind, text: str) -> None:
        """Add to the parts that come next; neighbours of the same kind become one."""
        if kind is Reasoning:
            text = self._told_thought(text)
        if not text:
            return
        self._go_on()
        self.spoke = True
        self._answered |= kind is Text
        if kind is not self._kind:
            self._kind, self._pieces = kind, []
            self._pending.append((kind, self._pieces))
        self._pieces.append(text)

    def _told_thought(self, text: str) -> str:
        """Return the thinking to be told: none while all of it is white space."""
        if self._thought:
            return text
        self._blanks.append(text)
        self._thought = bool(text.strip())
        return "".join(self._blanks) if self._thought else ""

    def _go_on(self) -> None:
        """Note that the answer goes on: no aside and no finish reason before was its end."""
        self._aside, self._settled = None, False
        self._finished_early |= self.finished

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_ANSWER:
            raise ModelError("The answer is longer than the limit of 1 MB.", code="answer_too_long")

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def _has_spoken(self) -> bool:
        return self.spoke or bool(self._kept or self._calls)

    def _check_end(self) -> None:
        """Raise `ModelError` unless there is an answer, and an end to it.

        An object beside the chunks with words for a person is the error where there is no whole answer.
        """
        explained = self._has_spoken or self._finish in CUT_SHORT
        if self._aside is not None and not (self._finish and explained):
            raise self._said(self._aside)
        if not self.finished:
            raise self._no_end()
        if not explained:
            raise broken(f"it ended without saying anything{self._words(' but: ')}")

    def _no_end(self) -> ModelError:
        label = self._label.partition(";")[0].strip().lower()
        if label not in _STREAM:
            label = repr(self._clean(label)[:80])
        else:
            label = "a web page" if self._odd.startswith(b"<") else ""
        if self._has_spoken or not label:
            return broken(f"it ended with neither a finish_reason nor [DONE]{self._words(', but said: ')}")
        return broken(f"it is {label}, not an event stream{self._words(': ')}")

    def _words(self, before: str) -> str:
        """Return the words that are no chunk, if any."""
        words = "" if self._has_spoken else self._clean(words_in(self._odd.decode(errors="replace")))
        return words and before + words

    def _reason(self) -> str:
        """Name the reason for the turn's end; calls count more than the server's word."""
        if self._calls:
            return "tool_calls" if self._finish in {"", "stop", "function_call"} else self._finish
        return "stop" if self._finish in {"", "tool_calls", "function_call"} else self._finish


# -- why it ended ------------------------------------------------------------------------------------------------------


FAULT = "error"
CUT_SHORT = frozenset({CUT, FILTERED})  # more was to come; with these an answer of no words at all is explained
_WORD = re.compile("[a-z_]{1,40}")
_FAILS = re.compile("error|fail|exception|abort|overload|crash")  # in a word that the table does not know

# Several servers' words for one thing. The words for "" are said while the answer still goes on.
_MEANINGS = {
    **{word: word for word in ("stop", "tool_calls", "function_call", CUT, FILTERED, FAULT)},
    **dict.fromkeys(("null", "none", "finish_reason_unspecified"), ""),
    **dict.fromkeys(
        (
            "max_tokens",
            "max_output_tokens",
            "max_length",
            "model_length",
            "token_limit",
            "model_context_window_exceeded",
        ),
        CUT,
    ),
    **dict.fromkeys(
        (
            "blocked",
            "blocklist",
            "content_filtered",
            "error_toxic",
            "guardrail_intervened",
            "prohibited_content",
            "recitation",
            "refusal",
            "safety",
            "sensitive",
            "spii",
        ),
        FILTERED,
    ),
    **dict.fromkeys(
        (
            "abort",
            "aborted",
            "canceled",
            "cancelled",
            "insufficient_system_resource",
            "malformed_function_call",
            "network_error",
            "timeout",
        ),
        FAULT,
    ),
}


def word_of(finish_reason: Any) -> str:
    """Return the word of a finish reason; "" for none, "other" for one that is neither known nor small letters.

    It is for programs. A text that looks like no word may hold anything, even a secret: it is `FAULT` where it tells of
    a failure.
    """
    if isinstance(finish_reason, dict):
        finish_reason = finish_reason.get("type") or finish_reason.get("reason")
    if not isinstance(finish_reason, str) or not finish_reason:
        return ""
    known = finish_reason.lower().replace("-", "_")
    if known in _MEANINGS:
        return known
    if _FAILS.search(known):
        return known if _WORD.fullmatch(known) else FAULT
    return finish_reason if _WORD.fullmatch(finish_reason) else "other"


def meaning_of(word: str) -> str:
    """Return the meaning of a word: `length`, `content_filter`, `FAULT` for a failure, else the server's own word."""
    return _MEANINGS.get(word, FAULT if _FAILS.search(word) else word)


# -- lists that a server wants back with a turn: they come in pieces, and the pieces of one text become one ------------


MAX_KEPT = 4_000_000  # its pieces repeat text that the answer counts already, with types and numbers around it
_SAME = ("type", "index", "id")  # fields that the pieces of one text have in common
_TEXTS = ("text", "summary", "thinking")


class _Item:
    """An item of a list, which may go on in the next one. Its texts are joined when all has come."""

    def __init__(self, value: Any) -> None:
        self._value = value
        fields = value if isinstance(value, dict) else {}
        self._pieces = {name: [fields[name]] for name in _TEXTS if isinstance(fields.get(name), str)}

    def takes(self, item: Any) -> bool:
        """Add a piece of a text to the pieces before it; say whether it belonged there."""
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
        """Return the item."""
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
        """Take some items of a list. Raises `ModelError` where all are longer than the limit."""
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
        """Return the lists."""
        return {name: [item.whole() for item in items] for name, items in self._lists.items()}
