"""Calls in pieces: by which hints servers tell them apart, and by which they do not."""

from __future__ import annotations

from typing import Any

from model_server import Answer, delta, reply, text

from zoo.animal import Animal

DONE = "Both are done."
SUM, PRODUCT = {"expression": "1+1"}, {"expression": "2*3"}
ONE = [("calculator", SUM)]
TWO = [("calculator", SUM), ("calculator", PRODUCT)]


def piece(arguments: Any = None, *, name: Any = None, **fields: Any) -> dict[str, Any]:
    """Gives a piece of a call; a name that is None stays out."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {**fields, "type": "function", "function": function}


def calling(*pieces: dict[str, Any], finish: str = "tool_calls") -> tuple[Answer, Answer]:
    """Gives an answer that calls in these pieces, one a chunk, and the one that follows the results."""
    return reply([delta(tool_calls=[each]) for each in pieces], finish=finish), reply(text(DONE))


def named(name: str, source: str, *pieces: dict[str, Any], calls: Any, **fields: Any) -> Animal:
    return Animal(name, source, answers=calling(*pieces), calls=calls, text=DONE, finish="stop", **fields)


ANIMALS = (
    named(
        "index-0-and-no-id",
        "NousResearch/hermes-agent#62937",
        piece("", name="calculator", index=0),
        piece('{"expression":"1+1"}', index=0),
        piece('{"expression":"2*3"}', index=0),
        calls=TWO,
    ),
    named(
        "index-0-for-every-call-with-its-id",
        "ollama/ollama#15457",
        piece('{"expression":"1+1"}', name="calculator", index=0, id="call_a"),
        piece('{"expression":"2*3"}', name="calculator", index=0, id="call_b"),
        calls=TWO,
    ),
    named(
        "index-0-ids-at-heads-only",
        "google-deepmind/amplio#3",
        piece("", name="calculator", index=0, id="call_a"),
        piece('{"expression":', index=0),
        piece('"1+1"}', index=0),
        piece("", name="calculator", index=0, id="call_b"),
        piece('{"expression":', index=0),
        piece('"2*3"}', index=0),
        calls=TWO,
    ),
    named(
        "index-null",
        "Alishahryar1/free-claude-code#633",
        piece('{"expression":"1+1"}', name="calculator", index=None, id="call_a"),
        piece('{"expression":"2*3"}', name="calculator", index=None, id="call_b"),
        calls=TWO,
    ),
    named(
        "no-index",
        "THU-MAIC/OpenMAIC#1556",
        piece('{"expression":"1+1"}', name="calculator", id="call_297140"),
        calls=ONE,
    ),
    named(
        "index-is-text",
        "anvia-hq/anvia#262",
        piece('{"expression":', name="calculator", index="0", id="call_a"),
        piece('"1+1"}', index="0"),
        piece('{"expression":', name="calculator", index="1", id="call_b"),
        piece('"2*3"}', index="1"),
        calls=TWO,
    ),
    named(
        "ids-are-numbers",
        "anomalyco/opencode#24026",
        piece('{"expression":', name="calculator", index=0, id=0),
        piece('"1+1"}', index=0, id=0),
        piece('{"expression":"2*3"}', name="calculator", index=1, id=1),
        calls=TWO,
    ),
    named(
        "ids-empty-in-later-pieces",
        "ThinkInAIXYZ/deepchat#355",
        piece('{"expre', name="calculator", index=0, id="call_477c"),
        piece('ssion": "', index=0, id=""),
        piece('1+1"}', index=0, id=""),
        calls=ONE,
    ),
    named(
        "index-counts-pieces",
        "oracle/langchain-oracle#253",
        piece("", name="calculator", index=0, id="call_a"),
        piece('{"expression":', index=1),
        piece('"1+1"}', index=2),
        piece("", name="calculator", index=3, id="call_b"),
        piece('{"expression":', index=4),
        piece('"2*3"}', index=5),
        calls=TWO,
    ),
    named(
        "index-from-1",
        "microsoft/semantic-kernel#6106",
        piece('{"expression":"1+1"}', name="calculator", index=1, id="a"),
        piece('{"expression":"2*3"}', name="calculator", index=2, id="b"),
        calls=TWO,
    ),
    named(
        "one-id-for-all",
        "oracle/langchain-oracle#254",
        piece('{"expression":"1+1"}', name="calculator", index=0, id="call"),
        piece('{"expression":"2*3"}', name="calculator", index=1, id="call"),
        calls=TWO,
    ),
    named(
        "name-in-every-piece",
        "NousResearch/hermes-agent#11984",
        piece("", name="calculator", index=0, id="a"),
        piece('{"expression":', name="calculator", index=0, id="a"),
        piece('"1+1"}', name="calculator", index=0, id="a"),
        calls=ONE,
    ),
    named(
        "name-in-parts",
        "openclaw/openclaw#130532",
        piece(name="calcu", index=0, id="a"),
        piece(name="lator", index=0, id="a"),
        piece('{"expression":"1+1"}', index=0, id="a"),
        calls=ONE,
    ),
    named(
        "name-last",
        "openclaw/openclaw#130532",
        piece('{"expression":', index=0, id="a"),
        piece('"1+1"}', index=0),
        piece("", name="calculator", index=0),
        calls=ONE,
    ),
    named(
        "two-tools-index-0-no-id-no-arguments-first",
        "huggingface/smolagents#1958",
        piece("", name="current_time", index=0),
        piece("", name="calculator", index=0),
        piece('{"expression":"1+1"}', index=0),
        calls=[("current_time", {}), *ONE],
    ),
    named(
        "arguments-again-at-the-end",
        "lidge-jun/opencodex#361",
        piece("", name="calculator", index=0, id="tool_x"),
        piece('{"expression":', index=0),
        piece('"1+1"}', index=0),
        piece('{"expression": "1+1"}', index=0),
        calls=ONE,
    ),
    named(
        "call-again-at-the-end",
        "elizaOS/eliza#16973",
        piece("", name="calculator", index=0, id="tool_x"),
        piece('{"expression":"1+1"}', index=0),
        piece('{"expression":"1+1"}', name="calculator", index=0, id="tool_x"),
        calls=ONE,
    ),
    named(
        "calls-again-at-the-end-without-index",
        "anomalyco/opencode#17339",
        piece('{"expression":"1+1"}', name="calculator", index=0, id="a"),
        piece('{"expression":"2*3"}', name="calculator", index=1, id="b"),
        piece('{"expression":"1+1"}', name="calculator", id="a"),
        piece('{"expression":"2*3"}', name="calculator", id="b"),
        calls=TWO,
    ),
    named(
        "arguments-grow",
        "NousResearch/hermes-agent#35718",
        piece("", name="calculator", index=0, id="a"),
        piece('{"expr', index=0, id="a"),
        piece('{"expression":', index=0, id="a"),
        piece('{"expression": "1+1"', index=0, id="a"),
        piece('{"expression": "1+1"}', index=0, id="a"),
        calls=ONE,
    ),
    named(
        "markup-in-a-name",
        "vllm-project/vllm#32587",
        piece('{"expression":"1+1"}', name="calculator<|channel|>commentary", index=0, id="a"),
        piece('{"expression":"2*3"}', name="functions.calculator", index=1, id="b"),
        calls=TWO,
    ),
    Animal(
        "calls-are-one-object-not-a-list",
        "DROOdotFOO/raxol#652",
        answers=(reply(delta(tool_calls=piece('{"expression":"1+1"}', name="calculator"))), reply(text(DONE))),
        calls=ONE,
        text=DONE,
    ),
)
