"""What a model is shown of a thread: an order that every model server accepts, kept and read again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from deechat.agents.history import NO_RESULT, pack, unpack, well_formed
from deechat.agents.state import fold
from deechat.events import (
    Entry,
    ReasoningChunk,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextChunk,
    ToolCall,
    ToolCallResult,
    Usage,
)
from deechat.messages import UNSAID, AssistantMessage, Message, SystemMessage, ToolMessage, UserMessage

SYSTEM = SystemMessage("Be kind.")
ASK, AGAIN = UserMessage("What is it?"), UserMessage("And again?")
SAID = AssistantMessage("42.")
CALLED = AssistantMessage("", (ToolCall("a", "sum", "{}"),))
GAVE = ToolMessage("a", "sum", "42")

ORDERS: list[tuple[list[Message], list[Message]]] = [
    ([ASK, SAID, AGAIN], [ASK, SAID, AGAIN]),
    ([SAID, ASK], [ASK]),
    ([SYSTEM, CALLED, GAVE, SAID, ASK], [SYSTEM, ASK]),
    ([SYSTEM, SAID], [SYSTEM, SAID]),
    ([ASK, AGAIN], [UserMessage("What is it?\n\nAnd again?")]),
    ([ASK, AssistantMessage(" "), AGAIN], [UserMessage("What is it?\n\nAnd again?")]),
    ([ASK, SAID, SAID, AGAIN], [ASK, AssistantMessage("42.\n\n42."), AGAIN]),
    ([ASK, CALLED, GAVE, AGAIN], [ASK, CALLED, GAVE, AssistantMessage(UNSAID), AGAIN]),
    ([ASK, CALLED, GAVE], [ASK, CALLED, GAVE]),
    ([ASK, CALLED, GAVE, SAID, SAID], [ASK, CALLED, GAVE, AssistantMessage("42.\n\n42.")]),
    ([ASK, CALLED, AGAIN], [ASK, CALLED, ToolMessage("a", "sum", NO_RESULT, True), AssistantMessage(UNSAID), AGAIN]),
    ([ASK, GAVE, AGAIN], [UserMessage("What is it?\n\nAnd again?")]),
    ([ASK, SAID, CALLED, GAVE], [ASK, AssistantMessage("42.", CALLED.calls), GAVE]),
]


@pytest.mark.parametrize(("messages", "whole"), ORDERS)
def test_a_history_gets_an_order_that_all_take(messages: list[Message], whole: list[Message]) -> None:
    assert well_formed(messages) == whole
    assert well_formed(whole) == whole


def test_whatever_comes_together_the_order_holds_and_nothing_that_was_said_is_lost() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        messages = [ASK, *chance.choices([ASK, AGAIN, SAID, CALLED, GAVE, AssistantMessage("")], k=chance.randrange(9))]
        whole = well_formed([SYSTEM, *messages])
        roles = [type(message).__name__[0] for message in whole]
        pairs = {one + two for one, two in pairwise(roles)}
        assert roles[:2] == ["S", "U"]
        assert pairs <= {"SU", "UA", "AU", "AT", "TT", "TA"}, roles
        said = "".join(message.text for message in whole if not isinstance(message, ToolMessage))
        asked = sum(isinstance(message, UserMessage) for message in messages)
        assert said.count("?") == asked
        assert said.count("42.") == messages.count(SAID)
        assert len([message for message in whole if isinstance(message, ToolMessage)]) == messages.count(CALLED)


def log(extra: dict[str, object]) -> list[Entry]:
    events = [
        RunStarted("r", "m", "w", "t", None, "fake-1"),
        StepStarted(1),
        ReasoningChunk("Void."),
        StepRestarted(1, 2),
        ReasoningChunk("I mul"),
        ReasoningChunk("tiply."),
        TextChunk("Let me see."),
        StepFinished(1, "tool_calls", Usage(1, 1), CALLED.calls, extra),
        ToolCallResult("a", "sum", "42"),
        StepStarted(2),
        ReasoningChunk("I see."),
        TextChunk("\n\n42."),
        StepFinished(2, "stop", Usage(1, 1)),
    ]
    return [Entry(seq, 1.0, event) for seq, event in enumerate(events, 1)]


CAME = {"thought": {"field": "reasoning_content", "server": "http://x/v1", "model": "fake-1"}}


def test_a_turn_carries_its_thought_where_its_provider_wants_it_back_and_nowhere_else() -> None:
    turns = fold(log(CAME)).transcript()
    assert turns == [
        AssistantMessage("Let me see.", CALLED.calls, CAME, "I multiply."),
        GAVE,
        AssistantMessage("42."),
    ]
    assert unpack(pack(turns, "Let me see.\n\n42."), "") == turns
    assert fold(log({})).transcript()[0] == AssistantMessage("Let me see.", CALLED.calls)


def test_turns_that_were_stored_before_are_read() -> None:
    stored = '[{"role":"assistant","text":"","calls":[{"id":"a","name":"sum","arguments":"{}"}]},{"role":"tool",'
    stored += '"call_id":"a","name":"sum","content":"42"},{"role":"assistant","text":"42."}]'
    assert unpack(stored, "42.") == [CALLED, GAVE, SAID]
