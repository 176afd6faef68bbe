"""Streams of every documented dialect, and what chance makes of them: the material of the fuzz.

Each letter that a model says is a letter of its own, Chinese in an answer and Korean in a thought, so that one which is
lost, or said twice, shows.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any

from model_answers import CHUNK_HEAD, delta, tool_calls, usage

Event = dict[str, Any] | bytes  # a chunk, or lines as they are
DONE = b"data: [DONE]\n\n"


class Writer:
    """Gives words of letters that were not used before."""

    def __init__(self) -> None:
        self._text, self._thought = count(0x4E00), count(0xAC00)

    def text(self, size: int = 3) -> str:
        return "".join(chr(next(self._text)) for _ in range(size))

    def thought(self, size: int = 2) -> str:
        return "".join(chr(next(self._thought)) for _ in range(size))


# -- the dialects ------------------------------------------------------------------------------------------------------


def plain(write: Writer) -> list[Event]:
    body = [delta(content=write.text()) for _ in range(5)]
    return [delta(role="assistant", content=""), *body, delta("stop"), usage(9, 4), DONE]


def filtered_prompt(write: Writer) -> list[Event]:
    results = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}
    return [results, *plain(write)]


def thinking(key: str) -> Callable[[Writer], list[Event]]:
    def dialect(write: Writer) -> list[Event]:
        thoughts = [delta(**{key: write.thought(), "content": None}) for _ in range(3)]
        return [*thoughts, *[delta(content=write.text()) for _ in range(3)], delta("stop"), DONE]

    return dialect


def thinking_in_tags(write: Writer) -> list[Event]:
    pieces = ["<thi", "nk>", write.thought(), write.thought(), "</think>", write.text(), write.text()]
    return [*[delta(content=piece) for piece in pieces], delta("stop"), DONE]


def routed(write: Writer) -> list[Event]:
    thought = write.thought()
    details = [{"type": "reasoning.text", "text": thought, "index": 0}]
    return [
        b": OPENROUTER PROCESSING\n\n",
        delta(role="assistant", content="", reasoning=thought, reasoning_details=details),
        b": OPENROUTER PROCESSING\n\n",
        *[{**delta(content=write.text()), "provider": "X", "native_finish_reason": None} for _ in range(4)],
        {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "STOP"}]},
        usage(7, 8),
        DONE,
    ]


def in_lists(write: Writer) -> list[Event]:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": write.thought()}]}]
    texts = [[{"type": "text", "text": write.text()}] for _ in range(3)]
    return [delta(content=thought), *[delta(content=text) for text in texts], delta("stop", content=write.text()), DONE]


def named_events(write: Writer) -> list[Event]:
    return [b'event: ping\ndata: {"type": "ping"}\n\n', b"retry: 3000\n\n", *plain(write)]


def with_every_field(write: Writer) -> list[Event]:
    fields = {"function_call": None, "tool_calls": [], "refusal": None, "audio": None}
    body = [{**delta(content=write.text(), **fields), "usage": None, "error": None} for _ in range(4)]
    return [*body, {**delta("stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, DONE]


def counting_tokens(write: Writer) -> list[Event]:
    choices = [{"index": at, "delta": {"content": write.text()}, "finish_reason": None} for at in range(4)]
    end = {"index": 4, "delta": {"content": ""}, "finish_reason": "stop"}
    return [*[{**CHUNK_HEAD, "choices": [choice]} for choice in [*choices, end]], DONE]


def with_the_whole(write: Writer) -> list[Event]:
    said, events = "", []
    for _ in range(3):
        piece = write.text()
        said += piece
        events.append({"choices": [{"index": 0, "delta": {"content": piece}, "message": {"content": said}}]})
    return [*events, delta("stop"), DONE]


def calling(write: Writer) -> list[Event]:
    calls = tool_calls(("calculator", {"expression": "6*7"}), ("current_time", {}), size=5)
    return [delta(content=write.text()), *calls, delta("tool_calls"), usage(9, 4), DONE]


def calling_whole(write: Writer) -> list[Event]:
    call = {"id": "", "type": "function", "function": {"name": "calculator", "arguments": '{"expression":"6*7"}'}}
    return [delta(content=write.text()), delta("stop", tool_calls=[call]), DONE]


def calling_as_before(write: Writer) -> list[Event]:
    pieces = [{"name": "calculator", "arguments": ""}, {"arguments": '{"expression":'}, {"arguments": '"6*7"}'}]
    calls = [delta(function_call=piece) for piece in pieces]
    return [delta(content=write.text()), *calls, delta("function_call"), DONE]


def breaking(write: Writer) -> list[Event]:
    body = [delta(content=write.text()) for _ in range(3)]
    return [*body, {"choices": [], "error": {"code": 502, "message": "the upstream hung up"}}, DONE]


def not_streamed(write: Writer) -> list[Event]:
    message = {"role": "assistant", "content": write.text(9), "reasoning_content": write.thought()}
    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return [json.dumps(whole, indent=2, ensure_ascii=False).encode()]


DIALECTS: list[Callable[[Writer], list[Event]]] = [
    plain,
    filtered_prompt,
    *map(thinking, ("reasoning_content", "reasoning", "thinking")),
    thinking_in_tags,
    routed,
    in_lists,
    named_events,
    with_every_field,
    counting_tokens,
    with_the_whole,
    calling,
    calling_whole,
    calling_as_before,
    breaking,
    not_streamed,
]

# -- what chance makes of them -----------------------------------------------------------------------------------------

ODD_VALUES: list[Any] = [
    None,
    "",
    "x y",
    0,
    1,
    -1,
    7.5,
    2**70,
    True,
    False,
    [],
    {},
    [1],
    ["x"],
    {"x": 1},
    [[]],
    float("nan"),
]
NOISE = [
    b"\n",
    b": comment\n\n",
    b"data: null\n\n",
    b"data: : PROCESSING\n\n",
    b"data: 2024-04-27 01:35:43.68\n\n",
    b'data: ""\n\n',
    b"data: [1]\n\n",
    b"event: ping\ndata: word\n\n",
    b"id: 7\nretry: 1\n",
    b"data:\n\n",
    b'data: {"type":"ping"}\n\n',
    b'data: {"choices":[]}\n\n',
    b"nonsense\n",
    b"\xff\xfe\n\n",
]
ERRORS = [
    b'error: {"code":500,"message":"it burns"}\n\n',
    b'data: {"error":{"message":"it burns"}}\n\n',
    b'data: {"error":"it burns"}\n\n',
    b'event: error\ndata: {"message":"it burns"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n',
    b'{"error":{"message":"it burns"}}\n',
]


def holders(value: Any) -> Iterator[dict[str, Any]]:
    """Gives every object in a chunk."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from holders(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from holders(inner)


def change_a_field(chance: random.Random, chunk: dict[str, Any]) -> None:
    """Drops, retypes, reorders or adds a field somewhere."""
    holder = chance.choice([each for each in holders(chunk) if each] or [chunk])
    if not holder:
        return
    name = chance.choice(list(holder))
    match chance.randrange(6):
        case 0 | 1:
            del holder[name]
        case 2 | 3:
            holder[name] = chance.choice(ODD_VALUES)
        case 4:
            items = list(holder.items())
            chance.shuffle(items)
            holder.clear()
            holder.update(items)
        case _:
            holder[chance.choice(["x", "logprobs", "type", "status"])] = chance.choice(ODD_VALUES)


def as_lines(chance: random.Random, chunk: dict[str, Any]) -> bytes:
    """Writes a chunk in one of the ways in which servers write them."""
    whole = json.dumps(chunk, ensure_ascii=chance.random() < 0.5).encode()
    match chance.randrange(30):
        case 0:
            return b"data:" + whole + b"\n\n"
        case 1:
            return b"data: " + whole + b"\n"
        case 2:
            return whole + b"\n"
        case 3:
            return b"data: data: " + whole + b"\n\n"
        case 4:
            lines = json.dumps(chunk, indent=1, ensure_ascii=False).encode().split(b"\n")
            return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
        case _:
            return b"data: " + whole + b"\n\n"


def tear(chance: random.Random, lines: bytes) -> bytes:
    """Cuts the middle out of a line, or its end off."""
    at = chance.randrange(len(lines))
    return lines[:at] + chance.choice([b"", b"\n\n", lines[chance.randrange(at, len(lines)) :]])


def fuzzed(chance: random.Random) -> bytes:
    """Makes a stream: one of a dialect, changed in a few places."""
    events = copy.deepcopy(chance.choice(DIALECTS)(Writer()))
    changes = chance.choice([0, 1, 1, 2, 2, 3, 5])
    for _ in range(changes):
        at = chance.randrange(len(events))
        event = events[at]
        kind = chance.randrange(12)
        if kind < 4 and isinstance(event, dict):
            change_a_field(chance, event)
        elif kind < 5:
            del events[at : at + 1]
        elif kind < 6:
            events.insert(at, copy.deepcopy(event))
        elif kind < 7 and len(events) > 1:
            other = chance.randrange(len(events))
            events[at], events[other] = events[other], events[at]
        elif kind < 10:
            events.insert(at, chance.choice(NOISE))
        elif kind < 11 and chance.random() < 0.4:
            events.insert(at, chance.choice(ERRORS))
        events = events or [DONE]
    lines = [event if isinstance(event, bytes) else as_lines(chance, event) for event in events]
    if chance.random() < 0.08:
        at = chance.randrange(len(lines))
        lines[at] = tear(chance, lines[at])
    whole = b"".join(lines)
    if chance.random() < 0.08:
        whole = whole[: chance.randrange(len(whole) + 1)]
    return whole.replace(b"\n", chance.choice([b"\n"] * 6 + [b"\r\n", b"\r"]))


def reads(chance: random.Random, whole: bytes) -> list[bytes]:
    """Splits a stream at any bytes."""
    places = chance.sample(range(len(whole)), min(len(whole), chance.choice([0, 1, 3, 20])))
    return [whole[start:end] for start, end in pairwise(sorted({0, len(whole), *places}))]
