"""10,000 streams made by chance: none is a completed answer without an end, none loses a letter, none breaks the code.

What should come of a stream is judged by `Judge`, a second reader, which knows the standard of event streams and
OpenAI's documentation and nothing of the code.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from client import Client
from fuzzed_streams import fuzzed, reads
from model_server import Answer, ModelServer, reply, stream

from deechat.agents.providers.base import Part, Reasoning, Text, Turn
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import MODEL_CODES, ModelError

LETTER = re.compile("[\u4e00-\u9fff\uac00-\ud7a3]")


def letters(text: str) -> list[str]:
    return LETTER.findall(text)


class Judge:
    """Reads a stream by the book.

    `said` are the letters of each line's well-formed deltas; `ends` says that a finish reason or `[DONE]` came, `fails`
    that the server reported an error. `may_fail`: something came that no reader has to make sense of.
    """

    def __init__(self, whole: bytes) -> None:
        self.lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", whole)
        self.said: list[list[str]] = []
        self.ends = self.fails = self.may_fail = False
        self._event, self._over = b"", False
        for line in self.lines:
            self.said.append([])
            if not self._over:
                self._line(line.rstrip(b"\r\n"))

    def _line(self, line: bytes) -> None:
        if not line:
            self._event = b""
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.strip()
        elif line.startswith(b"{"):
            self._object(line)
        elif name == b"error":
            self.fails = True
        elif name == b"data":
            self._data(value.strip())

    def _data(self, value: bytes) -> None:
        if value == b"[DONE]":
            self.ends = self._over = True
        elif value.startswith(b"data:"):
            self._data(value[5:].strip())  # not by the book, and often seen
        elif self._event == b"error":
            self.fails = True
        else:
            self._object(value)

    def _object(self, value: bytes) -> None:
        try:
            chunk = json.loads(value)
        except ValueError:
            self.may_fail |= b"{" in value
            return
        if not isinstance(chunk, dict):
            return
        choices = chunk.get("choices")
        if isinstance(choices, list):
            self._choices([choice for choice in choices if isinstance(choice, dict)])
        elif "choices" in chunk or "delta" in chunk:
            self.may_fail = True
        error = chunk.get("error")
        self.fails |= isinstance(error, str | dict) and bool(error if isinstance(error, str) else error.get("message"))
        # An error of another shape, words beside the answer, or a whole answer in an odd place.
        self.may_fail |= bool(error) or not {"message", "title", "status", "code", "type"}.isdisjoint(chunk)

    def _choices(self, choices: list[dict[str, Any]]) -> None:
        for choice in choices[:1]:
            delta, reason = choice.get("delta"), choice.get("finish_reason")
            if isinstance(delta, dict):
                for name in ("reasoning_content", "reasoning", "thinking", "content"):
                    said = letters(delta[name]) if isinstance(delta.get(name), str) else []
                    self.said[-1] += [letter for letter in said if letter not in self.said[-1]]
                self.may_fail |= any(delta.get(name) for name in ("tool_calls", "function_call"))
            if isinstance(reason, str) and reason:
                self.ends |= reason != "error"
                self.fails |= reason == "error"
            elif reason is not None:
                self.may_fail = True


def outcome(pieces: Iterable[bytes]) -> tuple[list[Part], ModelError | None, int]:
    """Gives what is told, the fault that ends it, and how many pieces were read before that."""
    assembler = Assembler(lambda error: ModelError(f"said: {error!r}"))
    parts: list[Part] = []
    number = 0
    try:
        for piece in pieces:
            for part in assembler.feed(piece):
                parts.append(part)  # noqa: PERF402 - those before a fault are kept
            number += 1
        for part in assembler.end():
            parts.append(part)  # noqa: PERF402 - likewise
    except ModelError as fault:
        return parts, fault, number
    return parts, None, number


def told(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text | Reasoning))


def is_within(few: Iterable[str], many: Iterator[str]) -> bool:
    return all(letter in many for letter in few)


def check(whole: bytes, chance: random.Random) -> str:
    judge = Judge(whole)
    parts, fault, number = outcome(judge.lines)
    heard = letters(told(parts))
    due = [letter for line in judge.said[: None if fault is None else number] for letter in line]
    assert is_within(due, iter(heard)), (due, heard)
    held = Counter(
        letters(json.dumps(re.sub(rb"\\u([0-9a-f]{4})", _letter, whole).decode(errors="replace"), ensure_ascii=False))
    )
    assert not Counter(heard) - held, "a letter was said more often than it was sent"
    again, same_fault, _ = outcome(reads(chance, whole))
    assert (told(again), str(same_fault)) == (told(parts), str(fault))
    if fault is None:
        assert isinstance(parts[-1], Turn)
        assert sum(isinstance(part, Turn) for part in parts) == 1
        assert judge.ends or judge.may_fail, "it has no end"
        assert not judge.fails, "it reported an error"
        assert told(parts) or parts[-1].calls, "it says nothing"
        return "completed"
    assert fault.code in MODEL_CODES
    assert judge.fails or judge.may_fail or not judge.ends or not due, f"it is a whole answer: {fault}"
    return fault.code


def _letter(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode(errors="replace")


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_streams(seed: int) -> None:
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for number in range(1_000):
        whole = fuzzed(chance)
        try:
            outcomes[check(whole, chance)] += 1
        except BaseException as exc:
            exc.add_note(f"stream {number} of seed {seed}:\n{whole.decode(errors='backslashreplace')}")
            raise
    assert outcomes["completed"] > 500
    assert outcomes["model_protocol"] > 30


def answering(whole: bytes) -> Any:
    """Makes the rule of a server that says this stream once, and something short after a tool."""

    def rule(question: Any) -> Answer:
        if question["messages"][-1]["role"] == "tool" or "assistant" in {each["role"] for each in question["messages"]}:
            return reply("Done.")
        return stream(whole)

    return rule


def test_three_hundred_streams_through_a_server(agent: Client, model: ModelServer) -> None:
    chance = random.Random(4711)
    reasons: Counter[str] = Counter()
    for number in range(300):
        whole = fuzzed(chance)
        parts, fault, _ = outcome([whole])
        model.answer = answering(whole)
        said = agent.new_thread().ask("Go")
        ending = said.ending
        assert ending is not None
        reasons[ending["reason"]] += 1
        assert ending.get("code") in {None, *MODEL_CODES}, (ending, number, whole)
        assert (ending["reason"] == "failed") == (fault is not None), (ending, number, whole)
        assert said.text.startswith("".join(part.text for part in parts if isinstance(part, Text))), (number, whole)
    assert reasons["completed"] > 150
    assert reasons["failed"] > 30
