"""Thinking that has to be put aside: models that take tools over chat completions only when told not to think."""

from __future__ import annotations

from typing import Any

from model_server import Answer, reply, status, tool_calls

from zoo.animal import Animal

WORDS = (
    "Function tools with reasoning_effort are not supported for gpt-5.6-luna in /v1/chat/completions. "
    "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
)


def thinks_unless_told(body: Any) -> Answer | str:
    """Refuses tools beside thinking, as the newer models of OpenAI do, then calls the calculator and answers."""
    if "tools" in body and body.get("reasoning_effort") != "none":
        error = {"message": WORDS, "type": "invalid_request_error", "param": "reasoning_effort", "code": None}
        return status(400, {"error": error})
    done = body["messages"][-1]["role"] == "tool"
    return "It is 42." if done else reply(tool_calls(("calculator", {"expression": "6*7"})))


def refused_once_and_kept_its_tools(asked: list[dict[str, Any]]) -> None:
    assert ["reasoning_effort" in body for body in asked] == [False, *[True] * (len(asked) - 1)]
    assert all("tools" in body for body in asked)


def says_nothing_of_effort(asked: list[dict[str, Any]]) -> None:
    assert not any("reasoning_effort" in body for body in asked)


ANIMALS = (
    Animal(
        "tools-or-thinking",
        "danny-avila/LibreChat #14231, langflow-ai/langflow #14361, HKUDS/DeepTutor #708 (lost its tools by it)",
        rule=thinks_unless_told,
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
        calls=[("calculator", {"expression": "6*7"})],
        notices=[],
        asked=refused_once_and_kept_its_tools,
    ),
    Animal(
        "thinks-in-a-chat-without-tools",
        "aronjanosch/chronicle-keeper #15: without tools it works",
        rule=lambda body: "Hello" if "tools" not in body else thinks_unless_told(body),
        settings={"mode": "chat"},
        text="Hello",
        notices=[],
        asked=says_nothing_of_effort,
    ),
)
