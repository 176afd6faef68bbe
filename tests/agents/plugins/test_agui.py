"""The fold of AG-UI: frozen events, the order that the protocol's client enforces, the same events from any cursor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import pytest
from whole_logs import LOGS, check_golden, folded, some_logs

from deechat.agents.plugins.agui import _FOLD, AGUI, Cursor
from deechat.agents.plugins.base import Frame
from deechat.events import AnyEvent, Entry

Json = dict[str, Any]
WHOLE = 10**9  # no wait before it ends anything
MANY = 150


def whole(entries: list[Entry], cursor: Cursor = (0, 0)) -> list[Frame]:
    """Return the events of all parts of a run."""
    return folded(AGUI("run", cursor, until=WHOLE), entries)


def data(frames: Iterable[Frame]) -> list[Json]:
    return [frame.data for frame in frames if isinstance(frame.data, dict)]


def open_after(events: list[Json]) -> list[str]:
    """Return the ids of the interrupts, and of the client's calls, that events leave open which end with a wait."""
    outcome = events[-1].get("outcome", {})
    if not (outcome.get("interrupts") or outcome.get("pendingToolCallIds")):
        return []
    begun = [each["toolCallId"] for each in events if each["type"] == "TOOL_CALL_START"]
    ended = [each["value"]["toolCallId"] for each in events if each.get("name") == "toolOutput"]
    return [each["id"] for each in outcome.get("interrupts", ())] + [
        each for each in begun if ":" in each and each not in ended
    ]


def waits_twice(events: list[Json]) -> bool:
    """Say whether a request is open in two waits: chance draws such logs, and the loop starts nothing before the last
    answer.
    """
    ids = [each for at in range(len(events)) for each in open_after(events[: at + 1])]
    return len(ids) != len(set(ids))


class Order:
    """The order that the official client holds a stream of events to; raises `AssertionError` at the first breach."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.thoughts: set[str] = set()
        self.calls: set[str] = set()
        self.steps: set[str] = set()
        self.state = "new"
        self.ever: set[str] = set()

    def take(self, event: Json) -> None:
        kind = event["type"]
        if kind == "RUN_STARTED":
            assert self.state in {"new", "finished"}, event
            self.state = "open"
            return
        if kind == "RUN_ERROR":
            assert self.state in {"new", "open", "finished"}, event
            self.state = "error"
            return
        assert self.state == "open", (self.state, event)
        if kind == "RUN_FINISHED":
            assert not self.texts | self.thoughts | self.calls | self.steps, (event, vars(self))
            self.state = "finished"
        elif kind.startswith("STEP_"):
            self._pair(self.steps, kind, event["stepName"])
        elif kind.startswith("TEXT_MESSAGE_"):
            self._pair(self.texts, kind, event["messageId"])
        elif kind.startswith("REASONING_MESSAGE_"):
            self._pair(self.thoughts, kind, event["messageId"])
        elif kind.startswith("TOOL_CALL_") and kind != "TOOL_CALL_RESULT":
            self._pair(self.calls, kind, event["toolCallId"])
        elif kind == "TOOL_CALL_RESULT":
            assert event["toolCallId"] in self.ever, event

    def _pair(self, opened: set[str], kind: str, name: str) -> None:
        if kind.endswith(("_START", "_STARTED")):
            assert name not in opened, (kind, name)
            if not kind.startswith("STEP"):
                assert name not in self.ever, f"{name} begins twice"
            opened.add(name)
            self.ever.add(name)
            return
        assert name in opened, (kind, name)
        if kind.endswith(("_END", "_FINISHED")):
            opened.discard(name)


def test_the_events_are_frozen() -> None:
    check_golden("agui", lambda log: whole(LOGS[log]))


def test_each_kind_of_entry_is_folded_and_in_a_fixed_log() -> None:
    assert set(_FOLD) == set(get_args(AnyEvent))
    assert {type(entry.event) for entries in LOGS.values() for entry in entries} == set(_FOLD)


def test_a_run_keeps_the_order_that_the_protocols_client_enforces() -> None:
    for entries in some_logs(MANY):
        order = Order()
        for event in data(whole(entries)):
            order.take(event)
        assert order.state in {"finished", "error"}


def test_the_order_is_checked_at_all() -> None:
    for bad in (
        [{"type": "STEP_STARTED", "stepName": "a"}],
        [{"type": "RUN_STARTED"}, {"type": "RUN_FINISHED"}, {"type": "STEP_STARTED", "stepName": "a"}],
        [{"type": "RUN_STARTED"}, {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "x"}],
        [{"type": "RUN_STARTED"}, {"type": "STEP_STARTED", "stepName": "a"}, {"type": "RUN_FINISHED"}],
        [{"type": "RUN_ERROR"}, {"type": "RUN_STARTED"}],
    ):
        order = Order()
        for event in bad[:-1]:
            order.take(event)
        with pytest.raises(AssertionError):
            order.take(bad[-1])


def test_from_each_cursor_come_the_events_that_live_came_after_it() -> None:
    for entries in some_logs(MANY):
        live = whole(entries)
        for at, frame in enumerate(live):
            seq, _, number = str(frame.id).partition(".")
            assert whole(entries, (int(seq), int(number))) == live[at + 1 :]
        assert len({frame.id for frame in live}) == len(live)


def test_a_run_is_cut_into_parts_at_its_waits_and_they_are_the_whole() -> None:
    tried = 0
    for entries in some_logs(MANY):
        expected = data(whole(entries))
        if waits_twice(expected):
            continue
        tried += 1
        parts = data(folded(AGUI("run"), entries))
        while open_after(parts):
            assert parts == expected[: len(parts)]
            answered = [each.partition(":")[2] for each in open_after(parts)]
            more = data(folded(AGUI("run", resumed=answered), entries))
            assert more == expected[len(parts) : len(parts) + len(more)]
            if not more:
                break
            assert more[0]["type"] == "RUN_STARTED"
            parts += more
        assert parts == expected
    assert tried > MANY / 2


def test_a_wait_ends_the_stream_with_all_that_is_open_and_its_answers_begin_the_next_part() -> None:
    first = folded(AGUI("one"), LOGS["asked"])
    finished = data(first)[-1]
    assert [each["id"] for each in finished["outcome"]["interrupts"]] == ["r:qa", "r:qb"]
    assert [each["reason"] for each in finished["outcome"]["interrupts"]] == ["tool_call", "input_required"]
    second = data(folded(AGUI("two", resumed=["qa", "qb"]), LOGS["asked"]))
    assert [each["type"] for each in second[:4]] == ["RUN_STARTED", "CUSTOM", "CUSTOM", "CUSTOM"]
    assert [each["name"] for each in second[1:4]] == ["steered", "inputReceived", "inputReceived"]
    assert {"type": "CUSTOM", "name": "toolCallEdited", "value": {"toolCallId": "a", "arguments": {"amount": 2}}} in (
        second
    )
    assert second[-1]["outcome"]["interrupts"][0]["id"] == "r:qd"
    third = data(folded(AGUI("three", resumed=["qd"]), LOGS["asked"]))
    assert (third[0]["runId"], third[-1]["outcome"]) == ("three", {"type": "success"})
    assert not folded(AGUI("four", resumed=["never"]), LOGS["asked"])


def test_a_wait_that_goes_on_ends_a_stream_that_was_joined_and_one_that_is_over_does_not() -> None:
    entries = LOGS["asked"]
    waits = next(seq for seq in range(1, 99) if data(whole(entries[:seq]))[-1]["type"] == "RUN_FINISHED")
    for until in range(waits, waits + 2):  # the message that joins meanwhile begins nothing
        joined = AGUI("run", until=until)
        assert data(folded(joined, entries[:until]))[-1]["outcome"]["type"] == "interrupt"
        assert joined.over
    joined = AGUI("run", until=waits + 3)
    assert data(folded(joined, entries[: waits + 3]))[-1]["type"] == "CUSTOM"
    assert not joined.over


def test_void_text_is_named_and_said_anew_in_a_message_of_its_own() -> None:
    events = data(whole(LOGS["void"]))
    void = [each["value"]["messageIds"] for each in events if each.get("name") == "messagesVoid"]
    assert void == [["m:3", "m:4"], ["m:6"]]
    kept = [each["delta"] for each in events if "delta" in each and each["messageId"] not in {*void[0], *void[1]}]
    assert kept == ["It was thought", "No."]
