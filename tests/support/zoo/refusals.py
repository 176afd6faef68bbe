"""Refusals: what is learnt from an error, and what is none: a bad throw of the model, or somebody else's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from model_server import Answer, frame, reply, status, stream, text, tool_calls
from strict_server import Body, no_tools, strict

from zoo.animal import Animal

CALL = reply(tool_calls(("calculator", {"expression": "6*7"})))
SAID = reply(text("It is 42."))
CALLED = [("calculator", {"expression": "6*7"})]
GARBLED = """error parsing tool call: raw='{"expression":"6*7', err=unexpected end of JSON input"""


def groq(words: str, **fields: Any) -> dict[str, Any]:
    """Gives a body as Groq's."""
    return {"error": {"message": words, "type": "invalid_request_error", "code": "tool_use_failed", **fields}}


FAILED = groq(
    "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.",
    failed_generation='<function=calculator>{"expression": "6*7"}</function> tools are not supported',
)


def tools_sent(asked: list[Body]) -> list[bool]:
    return [bool(body.get("tools")) for body in asked]


def check_tools_always(asked: list[Body]) -> None:
    assert all(tools_sent(asked))


def check_tools_once(asked: list[Body]) -> None:
    assert tools_sent(asked) == [True, False, False]


def check_told_twice(asked: list[Body]) -> None:
    assert tools_sent(asked) == [True, True, False, False]


def check_asked_again(asked: list[Body]) -> None:
    """The retry without tools failed too, so the next question is asked with them."""
    assert tools_sent(asked) == [True, False, True]


def failing_at_first(*failures: Answer, then: Callable[[Body], Answer | str]) -> Callable[[Body], Answer | str]:
    """Makes the answers that fail so often, and then as often as asked do not."""
    left: Iterator[Answer] = iter(failures)
    return lambda body: next(left, None) or then(body)


def calls(body: Body) -> Answer | str:
    return SAID if body["messages"][-1]["role"] == "tool" else CALL


def echoing(body: Body) -> Answer | str:
    """Refuses a field in the way of FastAPI, with all that was sent: the user's words among it."""
    if "stream_options" not in body:
        return "They are."
    detail = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
    return status(422, {"detail": [{**detail, "input": {"messages": body["messages"]}}]})


def unwell(body: Body) -> Answer | str:
    """Refuses every question of the first message, with words that name tools while there are any."""
    if "And again?" in str(body["messages"]):
        return "Well again."
    return status(400, "tools are not supported" if body.get("tools") else "the queue is full")


ANIMALS = (
    Animal(
        "garbled-call-500",
        "ollama/ollama#12884",
        rule=failing_at_first(status(500, GARBLED), then=calls),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
        calls=CALLED,
        asked=check_tools_always,
    ),
    Animal(
        "garbled-call-500-once",
        "ollama/ollama#17638",
        answers=(status(500, GARBLED), CALL, SAID),
        text="It is 42.",
        calls=CALLED,
        notices=["call_garbled"],
        asked=check_tools_always,
    ),
    Animal(
        "garbled-call-failed-to-parse-json",
        "ollama/ollama#14492",
        answers=(status(500, "failed to parse JSON: unexpected end of JSON input"), CALL, SAID),
        text="It is 42.",
        notices=["call_garbled"],
        asked=check_tools_always,
    ),
    Animal(
        "tool-use-failed",
        "pipecat-ai/pipecat#1168",
        answers=(status(400, FAILED), status(400, FAILED), CALL, SAID),
        text="It is 42.",
        calls=CALLED,
        notices=["call_garbled", "call_garbled"],
        asked=check_tools_always,
    ),
    Animal(
        "tool-use-failed-in-the-stream",
        "anomalyco/opencode#1018",
        answers=(stream(b"event: error\n" + frame({"error": {**FAILED["error"], "status_code": 400}})), CALL, SAID),
        text="It is 42.",
        calls=CALLED,
        notices=["call_garbled"],
        asked=check_tools_always,
    ),
    Animal(
        "tool-call-did-not-match-the-schema",
        "HunorLaczko/ha-groq-cloud-api#20",
        answers=(
            status(400, groq("tool call validation failed: parameters for tool calculator did not match schema")),
            CALL,
            SAID,
        ),
        text="It is 42.",
        notices=["call_garbled"],
        asked=check_tools_always,
    ),
    Animal(
        "tool-use-failed-for-ever",
        "huggingface/smolagents#1119",
        rule=lambda _: status(400, FAILED),
        reason="failed",
        code="model_error",
        words=("Failed to call a function.",),
        notices=["call_garbled", "call_garbled"],
        asked=lambda asked: check_tools_always(asked) if len(asked) == 3 else check_tools_once(asked),
    ),
    Animal(
        "takes-no-tools",
        "cline/cline#460",
        rule=strict(lambda _: "About forty-two.", no_tools),
        says=("What is 6*7?", "And again?"),
        text="About forty-two.",
        notices=[],
        asked=check_tools_once,
    ),
    Animal(
        "takes-no-tools-says-a-500",
        "defilantech/LLMKube#126",
        rule=lambda body: status(500, "tools param requires --jinja flag") if body.get("tools") else "About forty-two.",
        text="About forty-two.",
        notices=["model_retry", "tools_refused"],
        asked=lambda asked: check_told_twice([*asked, {}]),
    ),
    Animal(
        "a-500-about-tools-once",
        "containers/ramalama#1106",
        answers=(status(500, "tools param requires --jinja flag"), CALL, SAID),
        text="It is 42.",
        calls=CALLED,
        notices=["model_retry"],
        asked=check_tools_always,
    ),
    Animal(
        "refusal-that-is-not-believed",
        "pydantic/pydantic-ai#703",
        rule=unwell,
        says=("What is 6*7?", "And again?"),
        text="Well again.",
        asked=check_asked_again,
    ),
    Animal(
        "refusal-that-repeats-the-question",
        "BerriAI/litellm#30835",
        rule=echoing,
        says=("Are tools not supported, and is temperature unknown?",),
        text="They are.",
        notices=[],
        asked=check_tools_always,
    ),
)
