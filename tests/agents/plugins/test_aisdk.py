"""The fold of the AI SDK: frozen chunks, what its client holds them to, and the same chunks from any number on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import pytest
from whole_logs import LOGS, check_golden, folded, some_logs

from deechat.agents.plugins.aisdk import _FOLD, AISDK, DONE
from deechat.agents.plugins.base import Frame
from deechat.events import AnyEvent, Entry

Json = dict[str, Any]
WHOLE = 10**9  # no wait before it ends anything
MANY = 150
PLAIN = {"start", "start-step", "finish-step", "finish", "abort", "error", "source-url", "source-document"}


def whole(entries: list[Entry], start: int = 0) -> list[Frame]:
    """Return the chunks of all parts of a run."""
    return folded(AISDK(start, until=WHOLE), entries)


def data(frames: Iterable[Frame]) -> list[Json]:
    return [frame.data for frame in frames if isinstance(frame.data, dict)]


class Reader:
    """A reader of chunks as strict as the client's; raises `AssertionError` at the first one that it would not take.

    `anywhere`: a call may be of an earlier step, as in logs that chance draws.
    """

    def __init__(self, *, anywhere: bool = False) -> None:
        self.anywhere = anywhere
        self.parts: list[Json] = []
        self.open: dict[str, Json] = {}
        self.steps = 0

    def _step(self) -> list[Json]:
        begins = [at for at, part in enumerate(self.parts) if part["type"] == "step-start"]
        return self.parts[begins[-1] + 1 if begins else 0 :]

    def _call(self, call_id: str) -> Json:
        among = self.parts if self.anywhere else self._step()
        found = [part for part in among if part.get("call") == call_id]
        assert found, f"{call_id} is no call of the step"
        return found[-1]

    def take(self, chunk: Json) -> None:
        kind = chunk["type"]
        name, _, what = kind.rpartition("-")
        if kind == "reset-step":
            del self.parts[len(self.parts) - len(self._step()) :]
            self.open.clear()
        elif kind == "start-step":
            self.parts.append({"type": "step-start"})
            self.steps += 1
        elif kind == "finish-step":
            self.steps -= 1
            assert self.steps == 0
        elif kind == "finish":
            assert not self.open, self.open
            assert self.steps == 0
        elif name in {"text", "reasoning"}:
            self._take_piece(name, what, chunk)
        elif name.startswith("tool"):
            self._take_call(kind, chunk)
        else:
            assert kind in PLAIN or kind.startswith("data-"), kind

    def _take_piece(self, name: str, what: str, chunk: Json) -> None:
        key = name + chunk["id"]
        if what == "start":
            assert key not in self.open
            self.open[key] = {"type": name, "text": ""}
            self.parts.append(self.open[key])
        elif what == "delta":
            self.open[key]["text"] += chunk["delta"]
        else:
            del self.open[key]

    def _take_call(self, kind: str, chunk: Json) -> None:
        if kind == "tool-input-available":
            assert (chunk["dynamic"], chunk["providerExecuted"]) == (True, True)
            if not any(part.get("call") == chunk["toolCallId"] for part in self.parts):
                self.parts.append({"type": "tool", "call": chunk["toolCallId"]})
            self._call(chunk["toolCallId"])["input"] = chunk["input"]
        elif kind == "tool-approval-request":
            self._call(chunk["toolCallId"])["approval"] = chunk["approvalId"]
        elif kind == "tool-approval-response":
            assert any(part.get("approval") == chunk["approvalId"] for part in self.parts)
        else:
            assert kind in {"tool-output-available", "tool-output-error", "tool-output-denied"}, kind
            self._call(chunk["toolCallId"])["state"] = kind


def read(frames: list[Frame], *, anywhere: bool = False) -> Reader:
    reader = Reader(anywhere=anywhere)
    for chunk in data(frames):
        reader.take(chunk)
    return reader


def test_the_chunks_are_frozen() -> None:
    check_golden("aisdk", lambda log: whole(LOGS[log]))


def test_each_kind_of_entry_is_folded() -> None:
    assert set(_FOLD) == set(get_args(AnyEvent))


def test_a_client_takes_every_chunk_and_nothing_is_left_open() -> None:
    for number, entries in enumerate(some_logs(MANY)):
        frames = whole(entries)
        reader = read(frames, anywhere=number >= len(LOGS))
        assert (reader.open, frames[-1].data) == ({}, DONE)
        assert [chunk["type"] for chunk in data(frames)][-1] == "finish"


@pytest.mark.parametrize(
    "bad",
    [
        [{"type": "text-start", "id": "1"}, {"type": "finish"}],
        [{"type": "start-step"}, {"type": "finish"}],
        [{"type": "statusResponse"}],
        [{"type": "tool-output-available", "toolCallId": "a"}],
    ],
)
def test_the_reader_refuses_what_the_client_does(bad: list[Json]) -> None:
    reader = Reader()
    for chunk in bad[:-1]:
        reader.take(chunk)
    with pytest.raises(AssertionError):
        reader.take(bad[-1])


def test_from_each_number_come_the_chunks_that_live_came_from_there_on() -> None:
    for entries in some_logs(MANY):
        live = whole(entries)
        for start in range(len(live)):
            assert whole(entries, start) == live[start:]
        assert [frame.data for frame in whole(entries, len(live) + 3)] == [DONE]


def test_each_part_is_counted_for_itself_and_joined_from_its_own_beginning() -> None:
    first = folded(AISDK(), LOGS["asked"])
    assert (data(first)[-1], first[-1].data) == ({"type": "finish", "finishReason": "tool-calls"}, DONE)
    second = folded(AISDK(resumed=["qa", "qb"]), LOGS["asked"])
    third = folded(AISDK(resumed=["qd"]), LOGS["asked"])
    assert data(first) + data(second) + data(third) == data(whole(LOGS["asked"]))
    assert {each["messageId"] for each in data(first + second + third) if each["type"] == "start"} == {"m"}
    for start in range(len(second)):
        assert folded(AISDK(start, resumed=["qa", "qb"]), LOGS["asked"]) == second[start:]
    joined = folded(AISDK(2, resumed=["qb"], until=WHOLE), LOGS["asked"])
    assert data(joined) == (data(second) + data(third))[2:]


def test_a_no_is_shown_as_one_and_edited_arguments_are_those_of_the_call() -> None:
    calls = {part["call"]: part for part in read(whole(LOGS["asked"])).parts if "call" in part}
    assert (calls["d"]["state"], calls["a"]["input"]) == ("tool-output-denied", {"amount": 2})


def test_void_text_is_taken_back() -> None:
    parts = read(whole(LOGS["void"])).parts
    assert [(part["type"], part.get("text")) for part in parts] == [
        ("step-start", None),
        ("reasoning", "It was thought"),
        ("text", "No."),
    ]
