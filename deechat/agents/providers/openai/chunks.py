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
from deechat.events import Usage

# Lists that a server wants back with the turn, to go on from its own thoughts: OpenRouter's and LiteLLM's names.
KEPT_FIELDS = ("reasoning_details", "thinking_blocks")
# The fields in which thinking comes, the most usual first; it goes back beside calls in the one it came in.
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Function(msgspec.Struct, gc=False):
    """What is called. `arguments` is text, in pieces or whole; some servers send the object itself."""

    name: str | None = None
    arguments: Any = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of a call. `extra_content` is Gemini's, who refuses the call's result without it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None


class Delta(msgspec.Struct, gc=False):
    """What is new in a choice."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    tool_calls: list[CallPiece] | None = None
    function_call: Function | None = None
    reasoning_details: Any = None
    thinking_blocks: Any = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers; only the first is ever asked for."""

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """What one line says."""

    choices: Sequence[Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(Chunk)


def decode(line: bytes) -> Chunk:
    """Reads a line. What is not JSON in UTF-8, or not of a chunk's shape, raises `ModelError`."""
    try:
        return _decoder.decode(line)
    except UnicodeDecodeError:
        raise broken("it sent bytes that are not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as exc:
        # msgspec takes no lone surrogates; the standard library does, and a pair may be split across two lines.
        if not isinstance(exc, msgspec.ValidationError) and _ESCAPED_SURROGATE.search(line):
            return _decode_slowly(line)
        raise broken(f"it sent a line that is not a chunk of JSON ({exc})") from None


def _decode_slowly(line: bytes) -> Chunk:
    try:
        return msgspec.convert(json.loads(line, parse_constant=_refuse), Chunk)
    except (ValueError, RecursionError):  # json's, Unicode's and msgspec's errors are all ValueErrors
        raise broken("it sent a line that is not a chunk of JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


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
        for item in content:
            yield from _item(item)


def _item(item: Any) -> Iterator[Said]:
    """Gives what a piece of a content list says: OpenAI's text, Mistral's thinking."""
    if isinstance(item, dict):
        if isinstance(item.get("text"), str):
            yield Text, item["text"]
        for _, thought in _content(item.get("thinking")):
            yield Reasoning, thought


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
            yield name, value
