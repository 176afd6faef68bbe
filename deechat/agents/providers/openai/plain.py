"""The short way for what nearly all lines of a stream are: one chunk that says a little more text, or more thinking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from deechat.agents.providers.base import Reasoning, Text
from deechat.agents.providers.openai.chunks import Choice, Chunk, Delta
from deechat.agents.providers.openai.speech import Kind

_FIELD = b"data: "
_SIZE = len(_FIELD)


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
    the same values, and one that is not says so by an error.
    """

    choices: tuple[PlainChoice]
    usage: None = None
    error: None = None
    object: Literal["chat.completion.chunk"] | None = None
    message: None = None


_decode = msgspec.json.Decoder(PlainChunk).decode


def said_plainly(lines: Iterable[bytes]) -> tuple[Kind, list[str], str | None] | None:
    """Gives what lines say, piece by piece, where each is empty or a plain chunk's and all say text, or all thinking,
    and in which field thinking came.

    None where any is another; then nothing is known of any. No piece is empty, and none holds half of a surrogate pair:
    the decoder refuses such.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    field = None
    try:
        for line in lines:
            if not line:
                continue
            if not line.startswith(_FIELD):
                return None
            delta = _decode(line[_SIZE:]).choices[0].delta
            if delta.content:
                texts.append(delta.content)
            if thought := delta.reasoning_content or delta.reasoning:
                if delta.reasoning and delta.reasoning != thought:
                    return None
                thoughts.append(thought)
                field = "reasoning_content" if delta.reasoning_content else "reasoning"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if texts and thoughts:
        return None
    return (Reasoning, thoughts, field) if thoughts else (Text, texts, None)
