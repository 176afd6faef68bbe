"""Logs of whole answers, drawn by chance: text and thinking, calls that are asked about, questions, restarts."""

from __future__ import annotations

import json
import random

from deechat.agents.state import RunState, fold
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    Entry,
    HistorySummarized,
    Image,
    InputReceived,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Source,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    Table,
    TextChunk,
    TextClosed,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)
from deechat.runs.answers import answer
from deechat.store.base import RunRow, StoredMessage

RUN = RunRow("r", "t", "m", "p", None, None, "model", "en", 1.0)
QUESTION = {"kind": "input", "question": "Where?", "inputType": "text", "placeholder": ""}
PIECES = ("Well. ", "Hmm.", "数", "😀!", "\n\nSo")
BESIDE = (
    (Source("s", "T", "Text", "https://s.example/"),),
    (Image("data:image/gif;base64,AA=="), Table(("a",), (("1",),))),
)


def some_log(chance: random.Random) -> list[Entry]:
    """Return the log of an answer that has ended."""
    events: list[AnyEvent] = [RunStarted("r", "m", "w", "t", None, "model")]
    for step in range(1, chance.randrange(2, 6)):
        begun = len(events) + 1
        events.append(StepStarted(step))
        if chance.random() < 0.2:
            events.append(HistorySummarized("p", chance.choice(("", "All before.")), Usage(1, 1)))
        if chance.random() < 0.2:
            events.append(Status("Left out", "history_left_out", {"why": "it"}))
        events += _said(chance)
        if chance.random() < 0.3:
            events.append(StepRestarted(step, begun))
            events += _said(chance)
        if chance.random() < 0.2:
            events.append(StepRetold(step, begun, "thinking"))
            events += _said(chance)
        calls = tuple(_call(f"c{step}-{number}", chance) for number in range(chance.randrange(4)))
        events.append(StepFinished(step, "tool_calls" if calls else "stop", Usage(1, 1), calls))
        lanes = [_lane(call, chance) for call in calls]
        while lane := chance.choice([each for each in lanes if each] or [[]]):
            events.append(lane.pop(0))
            if chance.random() < 0.15:
                events.append(Steered(f"And {len(events)}?"))
        if not calls:
            events.append(Steered("Go on."))
    entries = [Entry(seq, float(seq), event) for seq, event in enumerate(events, 1)]
    state = fold(entries)
    open_calls = [each.call for each in state.calls.values() if each.result is None]
    last: list[AnyEvent] = [ToolCallResult(call.id, call.name, "Cancelled.", is_error=True) for call in open_calls]
    ending = chance.choice(
        (RunCompleted("length", state.metrics()), RunStopped(), RunFailed("model_error", "It failed."))
    )
    last += [TextClosed(), ending] if isinstance(ending, RunCompleted) else [ending]
    return entries + [Entry(seq, float(seq), event) for seq, event in enumerate(last, len(entries) + 1)]


def _said(chance: random.Random) -> list[AnyEvent]:
    kinds = (TextChunk, ReasoningChunk)
    return [chance.choice(kinds)(chance.choice(PIECES)) for _ in range(chance.randrange(8))]


def _call(name: str, chance: random.Random) -> ToolCall:
    tool = chance.choice(("look", "ask_user", "theirs"))
    arguments = {"questions": [QUESTION]} if tool == "ask_user" else {"at": "it"}
    return ToolCall(name, tool, chance.choice((json.dumps(arguments), "no JSON")))


def _lane(call: ToolCall, chance: random.Random) -> list[AnyEvent]:
    """Return what becomes of a call, or a beginning of that."""
    request = f"q{call.id}"
    if call.name == "ask_user":
        given = chance.choice((({"skipped": False, "answer": "Here"},), ({"skipped": True, "answer": None},)))
        lane: list[AnyEvent] = [
            ClarificationRequest(request, call.id, (QUESTION,)),
            InputReceived(request, "Here", answers=given),
            ToolCallInvocation(call.id, call.name, {"questions": [QUESTION]}),
            ToolCallResult(call.id, call.name, "Where?: Here"),
        ]
    elif call.name == "theirs":
        lane = [
            ClientCall(request, call.id, call.name, call.arguments),
            InputReceived(request, "Rain", output="Rain"),
            ToolCallResult(call.id, call.name, "Rain"),
        ]
    else:
        edited = chance.choice(({"at": "it"}, {"at": "that"}))
        run: list[AnyEvent] = [ToolCallInvocation(call.id, call.name, edited)]
        run += run if chance.random() < 0.2 else []  # after a restart
        run.append(ToolCallResult(call.id, call.name, "seen", False, 0.5, *chance.choice((((), ()), BESIDE))))
        ask: list[AnyEvent] = [ToolApprovalRequest(request, call.id, call.name, {"at": "it"}, "It looks.")]
        yes = [*ask, InputReceived(request, "Yes", approved=True), *run]
        no = [
            *ask,
            InputReceived(request, "No", approved=False),
            ToolCallResult(call.id, call.name, "Refused.", is_error=True),
        ]
        lane = chance.choice((run, yes, no, [ToolCallResult(call.id, call.name, "Unknown.", is_error=True)]))
    return lane if chance.random() < 0.8 else lane[: chance.randrange(len(lane))]


def answer_of(entries: list[Entry]) -> StoredMessage:
    """Return the message that the run of this log leaves."""
    state: RunState = fold(entries[:-1])
    ending = entries[-1].event
    assert isinstance(ending, RunCompleted | RunStopped | RunFailed)
    return answer(RUN, state, ending, state.metrics(), entries[-1].at)
