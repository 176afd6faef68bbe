"""The bytes of a streamed completion to chunks, and a chunk to text, thinking and calls, for the habits of all servers.

Bytes become lines, lines become objects, objects become chunks with the fields that are needed; nothing here depends on
earlier chunks. Nearly all lines are one chunk with a little more text: `said_plainly` reads those at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from deechat.agents.providers.base import Reasoning, Text
from deechat.agents.providers.openai.faults import broken
from deechat.errors import ModelError
from deechat.events import Usage

MAX_LINE = 4_000_000
BARE = b"{"  # the name of a line that has none: an object of JSON by itself
FIELDS = frozenset({b"data", b"event", b"id", b"retry", b"error"})
# Lists that a server wants back with the turn, to go on from its own thoughts: OpenRouter's and LiteLLM's names.
KEPT_FIELDS = ("reasoning_details", "thinking_blocks")
# The fields in which thinking comes, the most usual first; it goes back beside calls in the one it came in.
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
MOST_OBJECTS = 1_000  # in one line
MOST_ITEMS = 1_000  # in one list of a chunk

Kind = type[Text] | type[Reasoning]
Said = tuple[Kind, str]

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_TWICE = re.compile(rb"(?:data:\s*)+")
_DONE = re.compile(rb'"?\[done\]"?', re.IGNORECASE)
_SENTENCE = re.compile(rb"[A-Za-z]{3,} ")
_SURROGATE = re.compile("[\ud800-\udfff]")


# -- bytes to lines ----------------------------------------------------------------------------------------------------


class Lines:
    """Splits a stream into lines on CR, LF and CRLF, across its reads.

    No line passes `MAX_LINE` bytes: a longer one raises `ModelError`, so that memory is bounded.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take a read, return the lines that are whole by now."""
        if self._after_cr:
            data, self._after_cr = data.removeprefix(b"\n"), False  # the other half of a CRLF
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._rest:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest, self._size = [], 0
        if rest:
            self._rest.append(rest)
            self._size += len(rest)
            if self._size > MAX_LINE:
                raise _too_long()
        return lines

    def end(self) -> bytes:
        """Return the bytes after the last line break."""
        return b"".join(self._rest)


def _too_long() -> ModelError:
    return broken(f"it sent a line of more than {MAX_LINE // 1_000_000} MB")


def field(line: bytes) -> tuple[bytes, bytes]:
    """Return a line's field name and value, both empty for a comment.

    A line that begins with a brace has the name `BARE`: some servers send errors, or all objects, without field names.
    """
    line = line.removeprefix(_BOM).strip()
    if line.startswith(b"{"):
        return BARE, line
    if line == b"[DONE]":
        return b"data", line
    name, _, value = line.partition(b":")
    return name if name == b"data" else name.rstrip().lower(), value.strip()


# -- an object of JSON to a chunk --------------------------------------------------------------------------------------


class Function(msgspec.Struct, gc=False):
    """The function of a call. `arguments` is text, in pieces or whole; some servers send the object itself."""

    name: Any = None
    arguments: Any = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of a call. `extra_content` is Gemini's, which refuses the call's result without it.

    An index may be text and an id a number: `calls` reads both.
    """

    index: Any = None
    id: Any = None
    function: Function | None = None
    extra_content: Any = None


class Delta(msgspec.Struct, gc=False):
    """The new part of a choice."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    tool_calls: list[CallPiece | None] | CallPiece | None = None
    function_call: Function | None = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    error: Any = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers; only the first is ever asked for.

    `message` is a whole answer, and `text` a piece of one, of servers that send no `delta`.
    """

    index: int | None = None
    delta: Delta | None = None
    finish_reason: Any = None
    message: Any = None
    text: Any = None
    usage: Any = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """The content of one line."""

    choices: Sequence[Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(Chunk)
_loose = json.JSONDecoder(strict=False)
_BETWEEN = re.compile(r"(?:[\s,]++|data:)*+")


def decode(line: bytes) -> tuple[Sequence[tuple[Chunk, Any]], bytes]:
    """Return the chunks of a line that begins with a brace, nearly always one, and the rest of the line.

    Each has the object it was made from beside it, or None where it is all of the line.

    A line with another shape than a chunk, or not quite JSON, is read a second time, strict in nothing but braces and
    quotes: fields of a wrong type are left out one by one, bytes that are not UTF-8 become U+FFFD, as an event stream
    is read by its standard. Raises `RecursionError` for too deep a nesting, `ModelError` for too many objects.
    """
    try:
        return ((_decoder.decode(line), None),), b""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_loosely(line.decode(errors="replace"))


def _decode_loosely(text: str) -> tuple[Sequence[tuple[Chunk, Any]], bytes]:
    chunks: list[tuple[Chunk, Any]] = []
    at = 0
    while text.startswith("{", at):
        if len(chunks) == MOST_OBJECTS:
            raise broken(f"it sent more than {MOST_OBJECTS:,} objects in one line")
        try:
            value, end = _loose.raw_decode(text, at)
        except ValueError:
            break
        chunks.append((_chunk_of(value), value))
        between = _BETWEEN.match(text, end)  # always there
        at = between.end() if between else end
    return chunks, text[at:].encode()


def _chunk_of(value: dict[str, Any]) -> Chunk:
    choices = [_choice_of(each) for each in _objects(value.get("choices"))]
    return Chunk(choices, *(value.get(name) for name in ("usage", "error", "object", "message")))


def _choice_of(value: dict[str, Any]) -> Choice:
    delta = value.get("delta")
    return Choice(
        number(value.get("index")),
        delta_of(delta) if isinstance(delta, dict) else None,
        *(value.get(name) for name in ("finish_reason", "message", "text", "usage", "error")),
    )


def delta_of(value: dict[str, Any]) -> Delta:
    """Return the needed fields of a delta or a whole message."""
    given = {name: value.get(name) for name in Delta.__struct_fields__}
    given["tool_calls"] = [_piece_of(each) for each in _objects(value.get("tool_calls"))]
    given["function_call"] = _function_of(value.get("function_call"))
    return Delta(**given)


def _piece_of(value: dict[str, Any]) -> CallPiece:
    return CallPiece(
        value.get("index"), value.get("id"), _function_of(value.get("function")), value.get("extra_content")
    )


def _function_of(value: Any) -> Function | None:
    return Function(value.get("name"), value.get("arguments")) if isinstance(value, dict) else None


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value] if value else []
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def number(value: Any) -> int | None:
    """Return an index, which may be written as text, or with a point."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


# -- lines to chunks ---------------------------------------------------------------------------------------------------


# A part of a stream: its chunk, None where it is none; the object as it came, in bytes or read, else the words; whether
# it says that something failed; whether it came without a field name.
Item = tuple[Chunk | None, Any, bool, bool]


class ChunkReader:
    """Bytes of a stream to chunks, for all ways in which servers frame them.

    `done`: the server said that nothing follows, and nothing that follows is read. A line depends on those before it
    while `event` or `held` has something: the name of an event, the beginning of an object of JSON that goes on in the
    next line. While `reads_bare` is true an object without a field name is read.
    """

    def __init__(self) -> None:
        self.done = False
        self.reads_bare = True
        self.lines = Lines()
        self.event = b""
        self.held: list[bytes] = []
        self._held_size = 0
        self._held_is_bare = False
        self._items: list[Item] = []  # of the line that is being read

    def read(self, lines: Iterable[bytes | None]) -> Iterator[Item]:
        """Read whole lines. Raises `ModelError` where one is no chunk and should be, after the items before it."""
        for line in lines:
            if self.done:
                return
            fault = None
            try:
                self._line(line)
            except (ModelError, RecursionError) as exc:
                fault = exc
            items, self._items = self._items, []
            yield from items
            if fault is not None:
                raise fault

    def end(self) -> Iterator[Item]:
        """Read the last line, which has no line break, and the object that was held."""
        rest = self.lines.end()
        return self.read([rest, None] if rest else [None])

    def _line(self, line: bytes | None) -> None:
        """Read a line; None is the stream's end."""
        if not line:
            if line is None or not self._held_is_bare:
                self._close()
            self.event = b""
            return
        name, value = field(line)
        if value.startswith(b"data:"):  # a gateway's field name before the server's own
            value = _TWICE.sub(b"", value, count=1)
        if self.held and self._goes_on(name, value, line):
            return
        if name == b"event":
            self.event = value.lower()
        elif name == b"data":
            self._data(value)
        elif name == b"error" and value:
            self._items.append((None, loosely(value), True, False))
        elif name == BARE and self.reads_bare:
            self._object(value, is_bare=True)
        elif name not in FIELDS and name:
            self._items.append((None, line, False, False))

    def _goes_on(self, name: bytes, value: bytes, line: bytes) -> bool:
        """Return whether a line is more of the object that is held, and hold it too; else the object has ended."""
        more = name not in FIELDS if self._held_is_bare else name == b"data"
        if more and not _is_chunk(value):
            self._hold(line if self._held_is_bare else value)
            return True
        self._close()
        return False

    def _data(self, value: bytes) -> None:
        if value[:1] == b"{":
            self._object(value)
        elif _DONE.fullmatch(value):
            self.done = True
        elif value.startswith(b"[{") and value.endswith(b"}]"):
            self._object(value[1:-1])
        elif self.event == b"error" and value:
            self._items.append((None, loosely(value), True, False))
        elif not value.startswith(b":") and _SENTENCE.search(value):
            self._items.append((None, value, False, False))

    def _object(self, value: bytes, *, is_bare: bool = False) -> None:
        """Read an object of JSON. One that is not whole may go on in the next line."""
        chunks, rest = decode(value)
        if self.event == b"error" and not rest:
            self._items.append((None, loosely(value), True, False))
            return
        for chunk, read in chunks:
            self._items.append((chunk, value if read is None else read, False, is_bare))
        if not rest:
            return
        if rest.startswith(b"{"):
            self._held_is_bare = is_bare
            self._hold(rest)
        elif _DONE.fullmatch(rest):
            self.done = True
        elif b"{" in rest:
            raise broken("it sent a line that is not a chunk of JSON")

    def _hold(self, part: bytes) -> None:
        self.held.append(part)
        self._held_size += len(part)
        if self._held_size > MAX_LINE:
            raise _too_long()

    def _close(self) -> None:
        """Read the object that was held; it has ended."""
        if not self.held:
            return
        whole, is_bare = b"\n".join(self.held), self._held_is_bare
        self.held, self._held_size, self._held_is_bare = [], 0, False
        self._object(whole, is_bare=is_bare)
        if self.held:
            self.held, self._held_is_bare = [], False
            raise broken("it sent a line that is not a chunk of JSON")


def _is_chunk(value: bytes) -> bool:
    """Return whether a line is a chunk by itself, so that it cannot be the rest of a torn one."""
    if not value.startswith(b"{"):
        return False
    chunks, rest = decode(value)
    return not rest and bool(chunks[0][0].choices)


def loosely(value: bytes) -> Any:
    """Return the JSON that bytes are, or else their text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value.decode(errors="replace")


# -- lines that only say more ------------------------------------------------------------------------------------------


class PlainDelta(Delta, gc=False):
    """A delta that holds text or thinking and nothing else."""

    content: str | None = None
    refusal: None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning_details: None = None
    thinking_blocks: None = None
    error: None = None


class PlainChoice(Choice, kw_only=True, gc=False):
    """The first of the answers, which goes on."""

    index: Literal[0] | None = None
    delta: PlainDelta
    finish_reason: Literal[""] | None = None
    message: None = None
    text: None = None
    usage: None = None
    error: None = None


class PlainChunk(Chunk, kw_only=True, gc=False):
    """A chunk of one plain delta.

    It has a chunk's fields with fewer values allowed in each, so that a line which is a `PlainChunk` is a `Chunk` with
    the same values, and any other line raises an error.
    """

    choices: tuple[PlainChoice]
    usage: None = None
    error: None = None
    object: Literal["chat.completion.chunk"] | None = None
    message: None = None


_decode_plain = msgspec.json.Decoder(PlainChunk).decode


def said_plainly(lines: Sequence[bytes]) -> tuple[Kind, list[str], int, str | None]:
    """Read lines from the first on while each is empty or a plain chunk, and all say text or all thinking.

    Return the kind, the pieces, how many lines were read, and the name of the field that thinking came in. No piece is
    empty, and none holds half of a surrogate pair: the decoder refuses such.
    """
    kind: Kind = Text
    pieces: list[str] = []
    field = None
    at = 0
    try:
        for line in lines:
            if line:
                if not line.startswith(_DATA):
                    break
                delta = _decode_plain(line[len(_DATA) :]).choices[0].delta
                text = delta.content
                if thought := delta.reasoning_content or delta.reasoning:
                    if text or (delta.reasoning and delta.reasoning != thought) or (pieces and kind is Text):
                        break
                    kind, text = Reasoning, thought
                    field = "reasoning_content" if delta.reasoning_content else "reasoning"
                elif text and kind is Reasoning:
                    break
                if text:
                    pieces.append(text)
            at += 1
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the line is another
    return kind, pieces, at, field


# -- the content of a chunk --------------------------------------------------------------------------------------------


def first_of(choices: Sequence[Choice]) -> Sequence[Choice]:
    """Return the choices of the first answer: one is asked for, and some servers count tokens with its index."""
    if len(choices) > MOST_ITEMS:  # no call more: this is done for each token
        raise _too_many_items()
    return [choice for choice in choices if not choice.index] or choices[:1]


def _too_many_items() -> ModelError:
    return broken(f"it sent a list of more than {MOST_ITEMS:,} items in one chunk")


def _few(items: list[Any]) -> list[Any]:
    if len(items) > MOST_ITEMS:
        raise _too_many_items()
    return items


def spoken(delta: Delta) -> Iterator[Said]:
    """Yield the words of a delta: thinking first, once even if it stands in several fields, then the answer."""
    thoughts = [getattr(delta, field) for field in THOUGHT_FIELDS]
    for thought in dict.fromkeys([thought for thought in thoughts if isinstance(thought, str)]):
        yield Reasoning, thought
    yield from _content(delta.content)
    if isinstance(delta.refusal, str):
        yield Text, delta.refusal


def thought_field(delta: Delta) -> str | None:
    """Name the field in which a delta has thinking, if only an empty one."""
    return next((field for field in THOUGHT_FIELDS if isinstance(getattr(delta, field), str)), None)


def _content(content: Any) -> Iterator[Said]:
    if isinstance(content, str):
        yield Text, content
    elif isinstance(content, list):
        for item in _few(content):
            yield from _item(item)
    else:
        yield from _item(content)


def _item(item: Any) -> Iterator[Said]:
    """Yield the words of an item of a content list: OpenAI's text, Mistral's thinking."""
    if isinstance(item, str):
        yield Text, item
    elif isinstance(item, dict):
        if isinstance(item.get("text"), str):
            yield Text, item["text"]
        for _, thought in _content(item.get("thinking")):
            yield Reasoning, thought


def called(delta: Delta) -> Iterator[CallPiece]:
    """Return the pieces of calls: a list of them as OpenAI has it, or one alone."""
    pieces = _few(delta.tool_calls) if isinstance(delta.tool_calls, list) else [delta.tool_calls]
    yield from (piece for piece in pieces if piece is not None)


def counted(usage: Any) -> Usage | None:
    """Return the tokens where the server counted both kinds of them."""
    if not isinstance(usage, dict):
        return None
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if not all(isinstance(count, int | float) and 0 <= count < 1e15 for count in counts):
        return None
    prompt, completion = counts
    return Usage(int(prompt), int(completion))  # type: ignore[arg-type]


def kept(delta: Delta) -> Iterator[tuple[str, list[Any]]]:
    """Return the lists that belong back in the history."""
    for name in KEPT_FIELDS:
        value = getattr(delta, name)
        if isinstance(value, list) and value:
            yield name, _few(value)


# -- text as it is kept ------------------------------------------------------------------------------------------------


def mend(text: str) -> str:
    """Join surrogate pairs and make lone surrogates U+FFFD, so that the text can be written as UTF-8."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mend_all(value: Any) -> Any:
    """Mend every text in a JSON value."""
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
        """Take a piece, return the text that is sure."""
        if not self.held and piece.isascii():
            return piece
        piece, self.held = self.held + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self.held = piece[:-1], piece[-1]
        return mend(piece)

    def end(self) -> str:
        """Return the half that was still held, mended."""
        held, self.held = self.held, ""
        return mend(held)
