"""The strict model server itself: each rule refuses what it is there for, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import strict_server as rules
from model_server import Answer

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hello"}
SAID = {"role": "assistant", "content": "Hi."}


def called(*ids: str, **fields: Any) -> dict[str, Any]:
    calls = [{"id": each, "type": "function", "function": {"name": "clock", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls, **fields}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "noon"}


WHOLE = [SYSTEM, USER, called("a", "b", reasoning_content=""), result("a"), result("b"), SAID, USER]

REFUSED = [
    (rules.no_system, [SYSTEM, USER]),
    (rules.system_first, [USER, SYSTEM, USER]),
    (rules.user_first, [SYSTEM, SAID, USER]),
    (rules.alternating, [USER, USER]),
    (rules.alternating, [USER, SAID, SAID, USER]),
    (rules.no_user_after_tool, [USER, called("a"), result("a"), USER]),
    (rules.answered_calls, [USER, called("a", "b"), result("a"), USER]),
    (rules.answered_calls, [USER, called("a")]),
    (rules.answered_calls, [USER, result("a")]),
    (rules.no_null_content, [USER, called("a", content=None), result("a")]),
    (rules.no_empty_turn, [USER, {"role": "assistant", "content": ""}, USER]),
    (rules.single_calls, [USER, called("a", "b"), result("a"), result("b")]),
    (rules.thought_back("reasoning"), [USER, called("a", reasoning_content="So."), result("a")]),
    (rules.one_voice, [USER, called("a", reasoning="Hm.") | {"content": "So."}, result("a")]),
    (rules.no_field("reasoning_content"), [USER, called("a", reasoning_content=""), result("a")]),
    (rules.context(10), [USER, called("a"), result("a")]),
]


@pytest.mark.parametrize(("rule", "messages"), REFUSED)
def test_a_rule_refuses_what_it_is_there_for(rule: rules.Rule, messages: list[dict[str, Any]]) -> None:
    assert rule({"model": "m", "messages": messages})


STRICT_BUT_FOR_THE_SYSTEM = [rule for rule in rules.STRICTEST if rule is not rules.no_system]


@pytest.mark.parametrize(
    "rule", [*STRICT_BUT_FOR_THE_SYSTEM, rules.one_voice, rules.system_first, rules.context(1000), rules.no_tools]
)
def test_a_rule_takes_a_conversation_in_order(rule: rules.Rule) -> None:
    assert rule({"model": "m", "messages": WHOLE}) is None


def test_the_first_rule_that_refuses_answers_and_is_noted() -> None:
    refusals: list[str] = []
    ask = rules.strict(lambda _: "Hello", *rules.STRICTEST, refusals=refusals, code=422)
    refused = ask({"model": "m", "messages": [SYSTEM, SAID]})
    assert isinstance(refused, Answer)
    assert refused.status == 422
    assert refusals == ["System role not supported"]
    assert ask({"model": "m", "messages": [USER]}) == "Hello"
