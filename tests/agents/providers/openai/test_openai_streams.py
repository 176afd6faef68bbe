"""Streams of ordinary and odd lines, made by chance: what becomes of one depends neither on its cuts nor on the way.

The short way (`said_plainly`) is held to the general one, which reads each line for itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from model_server import DONE, delta, frame

from deechat.agents.providers.base import Part, Reasoning, Retold, Text
from deechat.agents.providers.openai import thinking as splitting
from deechat.agents.providers.openai import turn as turns
from deechat.agents.providers.openai.chunks import Chunk, PlainChoice, PlainChunk, PlainDelta, said_plainly
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import ModelError

WORDS = ["word ", "a", "", " ", "   \n  ", "é", "😀", "\u2028", "data: {", "\n\ndata: ", "<think>", "</think>"]
WORDS += [".</think>\n", "`", "[/THINK]", "<|channel|>", "final<|message|>", "<|end|>"]
PIECES = ["<th", "ink>", "</th", "ink", "<", "\ud83d", "\ude00", "x" * 30]
THINKING = ["reasoning_content", "reasoning", "thinking"]


def said(error: Any) -> ModelError:
    return ModelError(f"said: {error!r}")


def ordinary(chance: random.Random) -> bytes:
    return frame(delta(content=chance.choice(WORDS)))


def thinking(chance: random.Random) -> bytes:
    names = chance.choices(THINKING, weights=[8, 4, 1], k=chance.choice([1, 1, 1, 2]))
    same = chance.choice(WORDS)
    fields = {name: chance.choice([same, same, chance.choice(WORDS)]) for name in names}
    return frame(delta(**{**chance.choice([{}, {}, {"content": None}, {"content": ""}]), **fields}))


def unusual(chance: random.Random) -> bytes:
    """A line that has its place in a stream, though few are such."""
    word = chance.choice(WORDS + PIECES)
    content: Any = [
        {"type": "text", "text": word},
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
        "text",
    ]
    call = {"index": chance.choice([0, 1, None]), "id": chance.choice(["i", None]), "function": {"name": "f"}}
    call["function"]["arguments"] = chance.choice(['{"x"', ": 1}", "{}", {"x": 1}, None])
    chunks: list[Any] = [
        delta(content=word),
        delta(content=word, reasoning_content=chance.choice(WORDS)),
        delta(reasoning_content=word),
        delta(reasoning=chance.choice(PIECES)),
        delta(role="assistant", content=""),
        delta(content=content),
        delta(content=3),
        delta(refusal=word),
        delta(tool_calls=[call]),
        delta(tool_calls=[], content=word),
        delta(function_call={"name": "g", "arguments": "{}"}),
        delta(reasoning_details=[{"type": "t", "text": word}], content=word),
        delta(thinking_blocks=[{"type": "t", "thinking": word}]),
        delta(chance.choice(["stop", "", "length", "a b"]), content=chance.choice(WORDS)),
        {**delta(content=word), "usage": {"prompt_tokens": 1, "completion_tokens": chance.randrange(9)}},
        {**delta(content=word), "object": chance.choice(["", "chat.completion", None, 3])},
        {**delta(content=word), "error": chance.choice([None, "", False, {}, []])},
        {**delta(content=word), "message": "m"},
        {"choices": []},
        {"choices": None},
        {},
        {"choices": [{"delta": {"content": word}}] * 2},
        {"choices": [{"index": index, "delta": {"content": word}} for index in (1, 0)]},
        {"choices": [{"index": chance.choice([1, -1, 2**70]), "delta": {"content": word}}]},
        {"choices": [{"index": None, "delta": {"content": word}}]},
        {"choices": [{"delta": None}]},
        {"choices": [{}]},
    ]
    return frame(chance.choice(chunks))


def odd(chance: random.Random) -> bytes:
    """A line that means nothing, means something else than it seems to, or is spelled as few would."""
    plain = ordinary(chance)
    value = plain[6:-2]
    again = [b'"content":"no","content"', b'"tool_calls":null,"content"', b'"refusal":[{}],"content"']
    return chance.choice(
        [
            b": comment\n\n",
            b"\n",
            b"\n\n\n",
            b"event: message\nid: 7\n",
            b"retry\n",
            b"data\n\ndata: \n\ndata:   \n\n",
            b"data:" + value + b"\n\n",
            b"data:  " + value + b" \t\x0b\x0c\n\n",
            b"data: " + value + b"\n",
            value + b"\n",
            b" " + value + b"\n",
            b"\xef\xbb\xbf" + plain,
            b"DATA: " + value + b"\n\n",
            b"data : " + value + b"\n\n",
            plain.replace(b'"content"', chance.choice(again)),
            plain.replace(b'"content"', b'"unknown":"\xff","content"'),
            plain.replace(b'"content"', b'"c\\u006fntent"'),
            plain.replace(b'"content"', b'"x":NaN,"content"'),
            plain.replace(b'"content":"', b'"content":"\xff\t'),
            plain.replace(b'"choices":', b'"choices":\ndata:'),
            plain.replace(b'"index": 0', chance.choice([b'"index": 0.0', b'"index": "0"', b'"index": true'])),
            plain.replace(b'"finish_reason": null', chance.choice([b'"finish_reason": 7', b'"finish_reason": "null"'])),
            plain[:-2] + b" " + value + b"\n\n",
            plain[:-2] + plain,
            b"data: [" + value + b"," + value + b"]\n\n",
            b"data: " + plain,
            b"event: ping\ndata: pong\n\n",
            b"data: null\n\ndata: [1]\n\ndata: 2024-04-27 01:35:43.68\n\n",
            b'data: {"message": "loading"}\n\n',
            b"words without a name\n",
        ]
    )


def faulty(chance: random.Random) -> bytes:
    """A line that ends it, by a fault or not."""
    value = ordinary(chance)[6:-2]
    return chance.choice(
        [
            DONE,
            b"data: {not json}\n\n",
            b"data: " + value + b"{\n\n",
            b"data: " + value.replace(b'"choices":', b'"choices":\n') + b"\n\n",
            b"data: " + value.replace(b'"choices"', b'"choices":[],\n"choices"') + b"\n\n",
            b'error: {"message":"no"}\n\n',
            b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"error"}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"x"},"error":"no"}]}\n\n',
            b'data: {"x":' + b"[" * 5_000 + b"]" * 5_000 + b',"choices":[{"delta":{"content":"x"}}]}\n\n',
            b'data: {"error":{"message":"no"}}\n\n',
            b'data: {"object":"error","message":"no"}\n\n',
            b'{"error":"no field name"}\n',
            b'event: error\ndata: {"message":"no"}\n\n',
            b"event: error\n" + ordinary(chance),
        ]
    )


def stream(chance: random.Random) -> bytes:
    """A stream: many ordinary lines, few others; seldom a fault before its end."""
    kinds: list[Callable[[random.Random], bytes]] = [ordinary, thinking, unusual, odd, faulty]
    mix = chance.choice([[90, 0, 5, 5, 1], [5, 80, 13, 2, 1], [20, 20, 30, 30, 3], [40, 0, 60, 0, 1], [95, 0, 0, 0, 5]])
    lines = [kind(chance) for kind in chance.choices(kinds, mix, k=chance.choice([4, 20, 60]))]
    if chance.random() < 0.5:
        heads = [["<think>"], [" <thi", "nk>"], [" " * 5, " " * 5, "<think>"], ["x"], ["\ud83d"], [" ", "a"]]
        heads += [["<thi", "nk> "], ["Hm", "m"], ["<|channel|>analysis<|mess", "age|>"], ["[TH", "INK]"]]
        lines[:0] = [frame(delta(content=piece)) for piece in chance.choice(heads)]
    if chance.random() < 0.8:
        lines += [frame(delta("stop")), DONE]
    whole = b"".join(lines).replace(b"\n", chance.choice([b"\n", b"\n", b"\r\n", b"\r"]))
    return whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.1 else whole


def cut(chance: random.Random, whole: bytes) -> list[bytes]:
    """Cuts a stream into reads: long ones, short ones, or such as hold whole chunks."""
    if chance.random() < 0.4:
        ends = [at + 1 for at in range(len(whole)) if whole[at : at + 1] in {b"\n", b"\r"}]
    else:
        ends = list(range(len(whole)))
    borders = sorted({0, len(whole), *chance.sample(ends, min(len(ends), chance.choice([0, 1, 3, 10, 100])))})
    return [whole[start:end] for start, end in pairwise(borders)]


def outcome(pieces: Iterable[bytes]) -> tuple[list[Part], str | None]:
    """What is told, neighbours of a kind joined, and the fault at its end."""
    assembler, fault = Assembler(said), None
    parts: list[Part] = []
    try:
        for piece in pieces:
            for part in assembler.feed(piece):
                parts.append(part)  # noqa: PERF402 - those before a fault are kept
        parts += assembler.end()
    except ModelError as exc:
        fault = f"{exc.code}: {exc}"
    told: list[Part] = []
    for part in parts:
        if isinstance(part, Text | Reasoning):
            assert part.text
            if told and isinstance(told[-1], type(part)):
                told[-1] = type(part)(told[-1].text + part.text)
                continue
        if isinstance(part, Retold):
            told = retold(told, part)
            continue
        told.append(part)
    return told, fault


def retold(told: list[Part], part: Retold) -> list[Part]:
    """What was told, as it should have been."""
    thought = "".join(each.text for each in told if isinstance(each, Reasoning))
    words = "".join(each.text for each in told if isinstance(each, Text))
    if part.kind == "thinking":
        assert words == part.said
        return [Reasoning(thought + part.anew)]
    left = thought.removesuffix(part.said)
    return [*([Reasoning(left)] if left else []), Text(words + part.anew)]


@pytest.mark.parametrize("seed", range(10))
def test_a_stream_is_the_same_however_it_is_cut_and_by_either_way(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(splitting, "LONGEST_HEAD", 8)
    taken = begun = faults = 0

    def counting(lines: list[bytes]) -> Any:
        nonlocal taken, begun
        found = said_plainly(lines)
        taken += found[1] != []
        begun += found[1] != [] and found[2] < len(lines)
        return found

    for number in range(60):
        monkeypatch.setattr(turns, "MAX_ANSWER", chance.choice([1_000_000, 1_000_000, 300, 60]))
        whole = stream(chance)
        bytewise = [whole[at : at + 1] for at in range(len(whole))]
        eventwise = re.findall(rb"(?s).*?\n\n|.+", whole)
        cuts = [[whole], cut(chance, whole), cut(chance, whole), bytewise, eventwise]
        monkeypatch.setattr(turns, "said_plainly", lambda _lines: (Text, [], 0, None))
        general = [outcome(pieces) for pieces in cuts]
        monkeypatch.setattr(turns, "said_plainly", counting)
        short = [outcome(pieces) for pieces in cuts]
        assert short == general, (seed, number)
        assert general == [general[0]] * len(cuts), (seed, number)
        faults += general[0][1] is not None
    assert taken > 150, "the short way is taken"
    assert begun > 50, "and left within a read"
    assert 5 < faults < 55


@pytest.mark.parametrize("narrow", [PlainChunk, PlainChoice, PlainDelta])
def test_a_plain_chunk_says_of_every_field_what_may_stand_there(narrow: type[msgspec.Struct]) -> None:
    assert set(narrow.__annotations__) == set(narrow.__struct_fields__)


def test_what_is_a_plain_chunk_is_a_chunk_with_the_same_values() -> None:
    chance = random.Random(7)
    plain = 0
    for _ in range(3_000):
        value = chance.choice([ordinary, thinking, unusual, odd, faulty])(chance).removeprefix(b"data: ")
        try:
            chunk = msgspec.json.decode(value, type=PlainChunk)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        plain += 1
        same = msgspec.json.decode(value, type=Chunk)
        assert msgspec.json.encode(chunk, order="sorted") == msgspec.json.encode(same, order="sorted")
    assert plain > 300
