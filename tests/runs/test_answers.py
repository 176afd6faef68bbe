"""The message that a run leaves: its parts in the order of the log, each thing once, and of a bounded size."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs_rig import House
from some_answers import RUN, answer_of, some_log

from deechat.agents.providers.base import Reasoning, Scripted, Text, Turn
from deechat.agents.tools.base import make_tool
from deechat.agents.tools.context import ToolResult
from deechat.errors import BrokenLogError, DamagedError
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    Entry,
    HistorySummarized,
    Image,
    InputReceived,
    ReasoningChunk,
    RunStarted,
    RunStopped,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)
from deechat.principal import OWNER
from deechat.runs.answers import BESIDE_BYTES, MOST_SAID, lacks_parts, with_parts
from deechat.store.base import StoredMessage
from deechat.store.memory import MemoryStore
from deechat.store.sqlite import checksums
from deechat.store.sqlite.store import SQLiteStore

LOOK, ASK = ToolCall("c1", "look", '{"at": "it"}'), ToolCall("c2", "ask_user", '{"questions": [{"question": "?"}]}')
QUESTION = {"kind": "input", "question": "?", "inputType": "text", "placeholder": ""}


def log(*events: AnyEvent) -> list[Entry]:
    return [
        Entry(seq, float(seq), event)
        for seq, event in enumerate((RunStarted("r", "m", "w", "t", None, None), *events), 1)
    ]


def details(*events: AnyEvent) -> dict[str, Any]:
    return answer_of(log(*events, RunStopped())).details


def without_parts(message: StoredMessage) -> StoredMessage:
    kept = {name: value for name, value in message.details.items() if name != "parts"}
    return msgspec.structs.replace(message, details=kept)


def test_an_answer_keeps_its_parts_in_order_and_says_nothing_twice() -> None:
    kept = details(
        StepStarted(1),
        ReasoningChunk("Hm"),
        ReasoningChunk("m."),
        TextChunk("I "),
        TextChunk("look."),
        StepFinished(1, "tool_calls", Usage(1, 1), (LOOK, ASK)),
        ToolApprovalRequest("a", "c1", "look", {"at": "it"}, "It looks."),
        ClarificationRequest("q", "c2", (QUESTION,)),
        Steered("Quickly."),
        InputReceived("a", "Allowed", approved=True),
        InputReceived("q", "Here", answers=({"skipped": False, "answer": "Here"},)),
        ToolCallInvocation("c2", "ask_user", {"questions": [QUESTION]}),
        ToolCallInvocation("c1", "look", {"at": "it"}),
        ToolCallResult("c2", "ask_user", "?: Here"),
        ToolCallResult("c1", "look", "seen"),
        StepStarted(2),
        HistorySummarized("p", "All before.", Usage(1, 1)),
        Status("Left out", "history_left_out", {"why": "it"}),
        Status("Thinking", "thinking", {}),
        TextChunk("\n\nThere."),
    )
    assert kept["parts"] == [
        {"kind": "reasoning", "length": 4},
        {"kind": "text", "length": 7},
        {"kind": "approval", "request_id": "a", "call_id": "c1", "name": "look", "description": "It looks.",
         "approved": True, "summary": "Allowed"},
        {"kind": "questions", "request_id": "q", "call_id": "c2", "answers": [{"skipped": False, "answer": "Here"}],
         "summary": "Here"},
        {"kind": "steered"},
        {"kind": "tool", "call_id": "c1"},
        {"kind": "summary"},
        {"kind": "notice", "code": "history_left_out", "params": {"why": "it"}, "text": "Left out"},
        {"kind": "text", "length": 8},
    ]  # fmt: skip
    assert kept["steered"] == ["Quickly."]


def test_what_nobody_answered_and_arguments_that_were_edited_stand_in_the_request() -> None:
    calls = (LOOK, ASK, ToolCall("c3", "look", '{"at": "it"}'))
    parts = details(
        StepStarted(1),
        StepFinished(1, "tool_calls", Usage(1, 1), calls),
        ToolApprovalRequest("a", "c1", "look", {"at": "it"}, ""),
        ClarificationRequest("q", "c2", (QUESTION,)),
        ToolApprovalRequest("b", "c3", "look", {"at": "it"}, ""),
        InputReceived("b", "Changed", approved=True, arguments={"at": "that"}),
        ToolCallInvocation("c3", "look", {"at": "that"}),
    )["parts"]
    assert [(each.get("approved"), each.get("answers")) for each in parts] == [
        (None, None),
        (None, None),
        (True, None),
        (None, None),
    ]
    assert [each.get("arguments", each.get("questions")) for each in parts] == [
        {"at": "it"},
        [QUESTION],
        {"at": "it"},
        None,
    ]


def test_a_restarted_step_leaves_no_part_of_what_it_had_said() -> None:
    said = (StepStarted(1), TextChunk("Lost"), ReasoningChunk("lost"), TextChunk("lost"), StepRestarted(1, 2))
    assert details(*said, ReasoningChunk("Hm"), TextChunk("Yes"))["parts"] == [
        {"kind": "reasoning", "length": 2}, {"kind": "text", "length": 3}
    ]  # fmt: skip
    assert details(*said)["parts"] == []


@pytest.mark.parametrize("seed", range(50))
def test_the_lengths_are_those_of_the_content_and_the_thinking(seed: int) -> None:
    message = answer_of(some_log(random.Random(seed)))
    lengths = {"text": 0, "reasoning": 0}
    for part in message.details["parts"]:
        lengths[part["kind"]] = lengths.get(part["kind"], 0) + part.get("length", 0)
    assert lengths["text"] == len(message.content)
    assert lengths["reasoning"] == len(message.details["reasoning"])


def test_thinking_that_alternates_with_text_for_ever_is_kept_in_few_parts() -> None:
    said = [kind("x" * 3) for _ in range(2 * MOST_SAID) for kind in (ReasoningChunk, TextChunk)]
    parts = details(StepStarted(1), *said)["parts"]
    assert len(parts) == MOST_SAID
    assert [each["length"] for each in parts[-3:]] == [
        3,
        3 * (2 * MOST_SAID - MOST_SAID // 2 + 1),
        3 * (2 * MOST_SAID - MOST_SAID // 2 + 1),
    ]


def test_pictures_that_do_not_fit_into_a_message_are_left_to_the_log() -> None:
    picture = (Image("data:image/png;base64," + "A" * (BESIDE_BYTES // 3)),)
    calls = tuple(ToolCall(f"c{number}", "draw", "{}") for number in range(4))
    results = [ToolCallResult(each.id, "draw", "Drawn.", parts=picture) for each in calls[:3]]
    kept = details(
        StepStarted(1),
        StepFinished(1, "tool_calls", Usage(1, 1), calls),
        *results,
        ToolCallResult("c3", "draw", "Drawn too.", parts=(Image("data:image/png;base64,AA=="),)),
    )
    assert [("parts" in each, each.get("cut")) for each in kept["tool_calls"]] == [
        (True, None), (True, None), (False, True), (True, None)
    ]  # fmt: skip
    assert len(msgspec.json.encode(kept)) < BESIDE_BYTES * 1.1


# -- answers of before -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_an_answer_without_parts_has_them_from_its_log(seed: int) -> None:
    entries = some_log(random.Random(seed))
    whole = answer_of(entries)
    old = without_parts(whole)
    assert lacks_parts(old)
    assert not lacks_parts(whole)
    asked: list[str] = []

    def pages(run_id: str) -> Iterator[list[Entry]]:
        asked.append(run_id)
        yield from (entries[:3], entries[3:])

    made = with_parts(old, pages)
    if any(old.details.get(name) for name in ("tool_calls", "steered", "summary")):
        assert asked == [RUN.id]
        assert made == whole
    else:
        assert not asked, "the order is known without"
        assert [each["kind"] for each in made.details["parts"]] in (["reasoning", "text"], ["reasoning"], ["text"], [])


FAULTS = {"broken": BrokenLogError("It is broken."), "damaged": DamagedError("The row of its run is damaged.")}


@pytest.mark.parametrize("entries", ["none", "of another answer", *FAULTS])
def test_where_the_log_does_not_tell_the_order_is_the_usual_one(entries: str) -> None:
    old = StoredMessage("m", "t", "p", "assistant", "Text", 1.0, "r", {
        "reasoning": "Hm.", "steered": ["And?"], "summary": "All.",
        "toolCalls": [{"toolCallId": "c1", "name": "look", "arguments": {}, "content": "x", "isError": False}],
    })  # fmt: skip

    def pages(_run_id: str) -> Iterator[list[Entry]]:
        if entries in FAULTS:
            raise FAULTS[entries]
        yield [] if entries == "none" else some_log(random.Random(1))

    assert with_parts(old, pages).details["parts"] == [
        {"kind": "summary"},
        {"kind": "reasoning", "length": 3},
        {"kind": "tool", "call_id": "c1"},
        {"kind": "steered"},
        {"kind": "text", "length": 4},
    ]


@pytest.fixture(params=["sqlite", "memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., House]]:
    built: list[House] = []

    def build(*turns: list[Any]) -> House:
        store = MemoryStore() if request.param == "memory" else None
        built.append(
            House(tmp_path / "test.sqlite3", Scripted(*turns), (make_tool(draw, policy="allow"),), store=store)
        )
        return built[-1]

    yield build
    for each in built:
        each.store.close()


def draw() -> ToolResult:
    """Draws something."""
    return ToolResult("Drawn.", parts=(Image("data:image/png;base64,AA=="),))


def forget_parts(home: House, message: StoredMessage) -> None:
    """Leave the message as a version without parts wrote it."""
    old = without_parts(message)
    if isinstance(home.store, SQLiteStore):
        text = msgspec.json.encode(old.details).decode()
        home.database.write(lambda connection: checksums.change(connection, "message", old.id, details=text))
    else:
        home.store._state.messages[old.id] = old


def test_every_store_keeps_the_parts_and_answers_of_before_have_them_too(house: Callable[..., House]) -> None:
    home = house(
        [Text("I draw."), Turn("tool_calls", (ToolCall("", "draw", "{}"),))],
        [Reasoning("Well."), Text("Done."), Turn("stop")],
    )
    thread = home.thread()
    home.events(home.start(thread))
    history, _ = home.runs.chats(OWNER, thread, 10, None)
    parts = history[-1].details["parts"]
    assert [each["kind"] for each in parts] == ["text", "tool", "reasoning", "text"]
    forget_parts(home, history[-1])
    assert lacks_parts(home.store.messages(OWNER, thread)[-1])
    again, active = home.runs.chats(OWNER, thread, 10, None)
    assert active is None
    assert again[-1].details["parts"] == parts
    assert lacks_parts(home.store.messages(OWNER, thread)[-1]), "they were stored"
