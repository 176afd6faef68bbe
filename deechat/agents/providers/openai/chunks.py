"""A line of JSON to a chunk of a chat completion: only the fields that are needed, whichever server's habit they are.

It knows single chunks and nothing of what came before them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from deechat.agents.providers.base import Reasoning, Text
from deechat.agents.providers.openai.faults import broken
from deechat.agents.providers.openai.speech import Said
from deechat.errors import ModelError
from deechat.events import Usage

# Lists that a server wants back with the turn, to go on from its own thoughts: OpenRouter's and LiteLLM's names.
KEPT_FIELDS = ("reasoning_details", "thinking_blocks")
# The fields in which thinking comes, the most usual first; it goes back beside calls in the one it came in.
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
MOST_OBJECTS = 1_000  # in one line
MOST_ITEMS = 1_000  # in one list of a chunk


class Function(msgspec.Struct, gc=False):
    """What is called. `arguments` is text, in pieces or whole; some servers send the object itself."""

    name: Any = None
    arguments: Any = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of a call. `extra_content` is Gemini's, who refuses the call's result without it.

    An index may be text and an id a number: `calls` reads both.
    """

    index: Any = None
    id: Any = None
    function: Function | None = None
    extra_content: Any = None


class Delta(msgspec.Struct, gc=False):
    """What is new in a choice."""

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
    """What one line says."""

    choices: Sequence[Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(Chunk)
_loose = json.JSONDecoder(strict=False)
_BETWEEN = re.compile(r"(?:[\s,]++|data:)*+")


def decode(line: bytes) -> tuple[Sequence[tuple[Chunk, Any]], bytes]:
    """Gives the chunks of a line that begins with a brace, nearly always one, and what is left of it.

    Each has the object it was made from beside it, or None where it is all of the line.

    What has another shape than a chunk, or is not quite JSON, is read a second time, strict in nothing but braces and
    quotes: fields of a wrong type are left out one by one, bytes that are not UTF-8 become U+FFFD, as an event stream
    is read by its standard. Raises `RecursionError` for what is nested too deeply, `ModelError` for too many objects.
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


# -- an object of JSON to a chunk, whatever the types of its fields ----------------------------------------------------


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
    """Gives what a delta, or a whole message, holds of what is needed."""
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
    """Gives an index, which may be written as text, or with a point."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


# -- what a chunk says -------------------------------------------------------------------------------------------------


def first_of(choices: Sequence[Choice]) -> Sequence[Choice]:
    """Gives what is of the first answer: one alone is asked for, and some servers count tokens with its index."""
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
    """Gives what a delta says: thinking first, once even if it stands in several fields, then the answer."""
    thoughts = [getattr(delta, field) for field in THOUGHT_FIELDS]
    for thought in dict.fromkeys([thought for thought in thoughts if isinstance(thought, str)]):
        yield Reasoning, thought
    yield from _content(delta.content)
    if isinstance(delta.refusal, str):
        yield Text, delta.refusal


def thought_field(delta: Delta) -> str | None:
    """Names the field in which a delta has thinking, if only an empty one."""
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
    """Gives what a piece of a content list says: OpenAI's text, Mistral's thinking."""
    if isinstance(item, str):
        yield Text, item
    elif isinstance(item, dict):
        if isinstance(item.get("text"), str):
            yield Text, item["text"]
        for _, thought in _content(item.get("thinking")):
            yield Reasoning, thought


def called(delta: Delta) -> Iterator[CallPiece]:
    """Gives the pieces of calls: a list of them as OpenAI has it, or one alone."""
    pieces = _few(delta.tool_calls) if isinstance(delta.tool_calls, list) else [delta.tool_calls]
    yield from (piece for piece in pieces if piece is not None)


def counted(usage: Any) -> Usage | None:
    """Gives the tokens where the server counted both kinds of them."""
    if not isinstance(usage, dict):
        return None
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if not all(isinstance(count, int | float) and 0 <= count < 1e15 for count in counts):
        return None
    prompt, completion = counts
    return Usage(int(prompt), int(completion))  # type: ignore[arg-type]


def kept(delta: Delta) -> Iterator[tuple[str, list[Any]]]:
    """Gives the lists that belong back in the history."""
    for name in KEPT_FIELDS:
        value = getattr(delta, name)
        if isinstance(value, list) and value:
            yield name, _few(value)
