"""Calls are put together whichever hints are missing, repeated, split or constant, wherever a stream is cut."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from model_server import delta, reply

from deechat.agents.providers.base import Turn
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import ModelError

TOOLS = ("a", "b", "ab")


def turn_of(stream: bytes, cut: int | None = None) -> Turn:
    assembler = Assembler(lambda error: ModelError(str(error)), tools=TOOLS)
    cuts = [stream] if cut is None else [stream[at : at + cut] for at in range(0, len(stream), cut)]
    *_, turn = [*(part for piece in cuts for part in assembler.feed(piece)), *assembler.end()]
    assert isinstance(turn, Turn)
    return turn


def calls_of(*pieces: Any) -> list[tuple[str, str]]:
    stream = reply(*(delta(tool_calls=[piece]) for piece in pieces)).whole()
    calls = [(call.name, call.arguments) for call in turn_of(stream).calls]
    assert [(call.name, call.arguments) for call in turn_of(stream, 7).calls] == calls
    return calls


def piece(arguments: Any = None, name: Any = None, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


X, Y = '{"x": 1}', '{"y": {"z": "}{"}}'


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        # a piece that begins an object after a whole one
        ([piece("", "a", index=0), piece(X, index=0), piece(Y, index=0)], [("a", X), ("a", Y)]),
        ([piece(X, "a"), piece(Y)], [("a", X), ("a", Y)]),
        ([piece(X, "a", id="1"), piece(Y, id="2")], [("a", X), ("a", Y)]),
        ([piece('{"x"', "a"), piece(": 1}"), piece('{"y":'), piece("2}")], [("a", X), ("a", '{"y":2}')]),
        ([piece(X, "a", index=0), piece({"y": 2}, index=0)], [("a", X), ("a", '{"y": 2}')]),
        # one that does not is the same call's, whatever is wrong with it
        ([piece(X, "a", index=0), piece("}", index=0)], [("a", X + "}")]),
        ([piece('{"x": ', "a", index=0), piece('{"z": 1}', index=0), piece("}", index=0)], [("a", '{"x": {"z": 1}}')]),
        ([piece(X + Y, "a", index=0)], [("a", X + Y)]),
        # the brackets in texts are none
        ([piece('{"x": "}', "a", index=0), piece('{"}', index=0)], [("a", '{"x": "}{"}')]),
        ([piece('{"x": "\\', "a", index=0), piece('"}', index=0), piece('{"}', index=0)], [("a", '{"x": "\\"}{"}')]),
        # said once more
        ([piece('{"x"', "a", index=0), piece(": 1}", index=0), piece('{"x":1}', index=0)], [("a", X)]),
        ([piece('{"x"', "a"), piece(": 1}"), piece(X, "a")], [("a", X)]),
        ([piece(X, "a", index=0, id="1"), piece(X, "a", index=1, id="1")], [("a", X)]),
        ([piece(X, "a", index=0), piece(Y, "b", index=0), piece(X, "a", index=0)], [("a", X), ("b", Y)]),
        ([piece(X, "a", index=0, id="1"), piece(X, "a", index=1, id="2")], [("a", X), ("a", X)]),
        # nothing before the real ones
        ([piece({}, "a", index=0), piece('{"x"', index=0), piece(": 1}", index=0)], [("a", X)]),
        ([piece("{}", "a", index=0), piece("{}", index=0)], [("a", "{}")]),
        # each piece all of it so far
        ([piece(X[:size], "a", index=0) for size in range(1, 9)], [("a", X)]),
        ([piece('{"x":', "a", index=0), piece('{"x":1}', index=0), piece("}", index=0)], [("a", '{"x":{"x":1}}')]),
        # numbers: from 1, as text, of pieces, of another type
        (
            [piece('{"x"', "a", index="1", id="1"), piece(": 1}", index="1"), piece(Y, "b", index="2")],
            [("a", X), ("b", Y)],
        ),
        ([piece("", "a", index=0, id="1"), piece('{"x"', index=1), piece(": 1}", index=2)], [("a", X)]),
        ([piece("", "a", index=0, id="1"), piece('{"x"', index=1, id="1"), piece(": 1}", index=2, id="1")], [("a", X)]),
        (
            [piece("", "a", index=0, id="1"), piece('{"x"', "a", index=1, id="1"), piece(": 1}", "a", index=2, id="1")],
            [("a", X)],
        ),
        ([piece(X, "a", index=0), piece(Y, index=1)], [("a", X), ("a", Y)]),
        ([piece(X, "a", index=0), piece("", index=1)], [("a", X)]),
        ([piece(X, "a", index=True), piece(Y, "b", index=-1.5)], [("a", X), ("b", Y)]),
        ([piece(X, "a", index=[0], id={}), piece(Y, "b", index={}, id=True)], [("a", X), ("b", Y)]),
        # ids: numbers, of all calls the same, others in each piece
        ([piece('{"x"', "a", id=7), piece(Y, "b", id=8), piece(": 1}", id=7)], [("a", X), ("b", Y)]),
        ([piece(X, "a", index=0, id="1"), piece(Y, "b", index=1, id="1")], [("a", X), ("b", Y)]),
        ([piece("", "a", index=0, id="1"), piece('{"x"', index=0, id="2"), piece(": 1}", index=0, id="3")], [("a", X)]),
        ([piece('{"x"', "a", id="1"), piece(": 1}", "a", id="2")], [("a", X)]),
        # names: in parts, at the end, of another type, two that no arguments follow
        ([piece(None, "a", index=0), piece(None, "b", index=0), piece(X, index=0)], [("a", "{}"), ("b", X)]),
        ([piece(None, "x", index=0), piece(None, "y", index=0), piece(X, index=0)], [("xy", X)]),
        ([piece('{"x"', index=0), piece(": 1}", index=0), piece("", "a", index=0)], [("a", X)]),
        (
            [piece(X, index=0), piece(Y, index=1), piece("", "a", index=0), piece("", "b", index=1)],
            [("a", X), ("b", Y)],
        ),
        ([piece(X, "a", index=0), piece("", 7, index=0)], [("a", X)]),
    ],
)
def test_no_hint_is_trusted_alone(pieces: list[Any], calls: list[tuple[str, str]]) -> None:
    assert calls_of(*pieces) == calls


def test_a_list_may_have_holes_and_a_piece_may_come_without_one() -> None:
    turn = turn_of(reply(delta(tool_calls=[None, piece(X, "a")]), delta(tool_calls=piece(Y, "b"))).whole())
    assert [call.name for call in turn.calls] == ["a", "b"]


def test_a_call_without_any_name_is_an_error() -> None:
    with pytest.raises(ModelError, match="without a name"):
        calls_of(piece(X, index=0))


def test_calls_that_no_hint_told_apart_are_bounded() -> None:
    many = [piece(json.dumps({"x": number}), index=0) for number in range(1_001)]
    with pytest.raises(ModelError, match="more than 1000"):
        calls_of(piece("", "a", index=0), *many)


def test_arguments_that_grow_count_once_against_the_limit_of_an_answer() -> None:
    long = json.dumps({"x": "word " * 4_000})
    pieces = [piece(long[:size], index=0) for size in range(10, len(long) + 10, 10)]
    assert calls_of(piece("", "a", index=0), *pieces) == [("a", long)]


def test_what_a_server_wants_back_goes_with_the_first_of_the_calls_that_it_came_with() -> None:
    signed = [piece(X, "a", index=0, extra_content={"s": 1}), piece(Y, index=0)]
    assert turn_of(reply(*(delta(tool_calls=[each]) for each in signed)).whole()).extra == {
        "tool_calls": [{"s": 1}, None]
    }


# Ways to say which call a piece is of; each tells calls apart that come one after the other.
HINTS = {
    "index": lambda call, first, at: {"index": call},
    "index as text": lambda call, first, at: {"index": str(call)},
    "index from 1": lambda call, first, at: {"index": call + 1},
    "index of pieces": lambda call, first, at: {"index": at},
    "index 0": lambda call, first, at: {"index": 0},
    "index 0, id first": lambda call, first, at: {"index": 0, **({"id": f"c{call}"} if first else {})},
    "index 0, id": lambda call, first, at: {"index": 0, "id": f"c{call}"},
    "id": lambda call, first, at: {"id": f"c{call}"},
    "id a number": lambda call, first, at: {"id": call},
    "id first": lambda call, first, at: {"id": f"c{call}" if first else ""},
    "id of pieces": lambda call, first, at: {"index": call, "id": f"c{at}"},
    "id the same": lambda call, first, at: {"index": call, "id": "c"},
    "null": lambda call, first, at: {"index": None, "id": None},
    "nothing": lambda call, first, at: {},
}
NAMES = ("first", "each", "null", "empty")


# A piece with a name and a number or an id of its own is a call: nothing says that the one before has more to come.
TELLING = [pair for pair in itertools.product(HINTS, NAMES) if pair[1] != "each" or "pieces" not in pair[0]]


@pytest.mark.parametrize(("hint", "names"), TELLING)
def test_every_way_to_tell_calls_apart_gives_the_same_calls(hint: str, names: str) -> None:
    chance = random.Random(f"{hint} {names}")
    for _ in range(20):
        wanted = [
            (chance.choice("ab"), json.dumps({"x": number, "y": [{}, chance.choice(['"', "}{", "é", {"x": number}])]}))
            for number in range(chance.randint(1, 4))
        ]
        pieces, count = [], itertools.count()
        for call, (name, arguments) in enumerate(wanted):
            cuts = sorted(chance.sample(range(1, len(arguments)), chance.randint(0, 5)))
            heads = [""] * chance.randint(0, 1)
            parts = heads + [arguments[at:to] for at, to in itertools.pairwise([0, *cuts, len(arguments)])]
            for number, part in enumerate(parts):
                later = {"first": {}, "each": {"name": name}, "null": {"name": None}, "empty": {"name": ""}}[names]
                function = {"arguments": part, **(later if number else {"name": name})}
                pieces.append({**HINTS[hint](call, number == 0, next(count)), "function": function})
        assert calls_of(*pieces) == wanted
