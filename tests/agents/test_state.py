"""Where a run stood before its log's last entries: as the fold of the others says, without folding them."""

from __future__ import annotations

import random

import pytest

from deechat.agents.state import fold
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    Entry,
    InputReceived,
    RunStarted,
    RunStopped,
    Steered,
    StepFinished,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)


def some_log(chance: random.Random) -> list[Entry]:
    """A log of steps whose calls are asked about, answered, begun and done in any order."""
    events: list[AnyEvent] = [RunStarted("r", "m", "w", "t", None, "model")]
    number = 0
    for step in range(1, chance.randrange(2, 5)):
        calls = tuple(ToolCall(f"c{number + each}", "look", "{}") for each in range(chance.randrange(1, 4)))
        events += [StepStarted(step), TextChunk("Well."), StepFinished(step, "tool_calls", Usage(1, 1), calls)]
        lanes: list[list[AnyEvent]] = []
        for call in calls:
            number += 1
            lane: list[AnyEvent] = []
            if chance.random() < 0.7:
                request = f"q{number}"
                lane += [
                    ToolApprovalRequest(request, call.id, "look", {}, "Look")
                    if chance.random() < 0.5
                    else ClarificationRequest(request, call.id, ({},)),
                    InputReceived(request, "Yes", approved=True),
                ]
            lanes.append([*lane, ToolCallInvocation(call.id, "look", {}), ToolCallResult(call.id, "look", "done")])
        while lane := chance.choice([each for each in lanes if each] or [[]]):
            events.append(lane.pop(0))
            if chance.random() < 0.1:
                events.append(Steered("And?"))
    events = events[: chance.randrange(2, len(events) + 1)]
    if chance.random() < 0.3:
        events.append(RunStopped())
    return [Entry(seq, float(seq), event) for seq, event in enumerate(events, 1)]


@pytest.mark.parametrize("seed", range(100))
def test_the_state_tells_where_the_run_stood_a_few_entries_before(seed: int) -> None:
    chance = random.Random(seed)
    entries = some_log(chance)
    state = fold(entries)
    for length in range(1, len(entries) + 1):
        earlier = fold(entries[:length])
        status, asks = state.before(entries[length:])
        assert status == earlier.status
        assert asks == ([] if earlier.ending else earlier.asks)
