"""The history's order: what servers refuse in the messages of a request, and what they demand back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model_server import Answer, delta, frame, reasoning, reply, status, stream, text, tool_calls
from strict_server import (
    STRICTEST,
    Body,
    alternating,
    answered_calls,
    no_empty_turn,
    no_field,
    no_null_content,
    no_system,
    no_user_after_tool,
    one_voice,
    single_calls,
    strict,
    thought_back,
    user_first,
)

from zoo.animal import Animal

CALL = tool_calls(("calculator", {"expression": "6*7"}))
TWICE = ("What is 6*7?", "And again?")


def turn_of(body: Body) -> list[dict[str, Any]]:
    """Gives the messages from the last one of the user on."""
    messages: list[dict[str, Any]] = body["messages"]
    last = max(at for at, message in enumerate(messages) if message["role"] == "user")
    return messages[last:]


def calls_first(*call: Any, then: str = "It is 42.") -> Callable[[Body], Answer | str]:
    """Makes the answer that calls the calculator, and says something once it has the result."""

    def answer(body: Body) -> Answer | str:
        done = len(turn_of(body)) > 1 or "[Result of" in turn_of(body)[0]["content"]
        return then if done else reply(*call or CALL)

    return answer


def thinks(key: str = "reasoning_content") -> Callable[[Body], Answer | str]:
    """Makes the answer that thinks, calls the calculator, thinks again and answers."""
    call = (*reasoning("I multiply.", key=key), *CALL)
    return lambda body: (
        reply(reasoning("I see.", key=key), text("It is 42.")) if len(turn_of(body)) > 1 else reply(call)
    )


def thought(body: Body, key: str = "reasoning_content") -> list[Any]:
    """Gives what is sent of thoughts, message by message of the assistant; None where there is no such field."""
    return [message.get(key) for message in body["messages"] if message["role"] == "assistant"]


def check_thoughts(asked: list[Body]) -> None:
    assert [thought(body) for body in asked] == [
        [],
        ["I multiply."],
        ["I multiply.", None],
        ["I multiply.", None, "I multiply."],
    ]


def check_empty_thoughts(asked: list[Body]) -> None:
    assert [thought(body) for body in asked] == [[], ["I multiply."], ["I multiply.", ""]]


def check_thoughts_made_up(asked: list[Body]) -> None:
    assert thought(asked[-1]) == ["", None, ""]


def check_other_name(asked: list[Body]) -> None:
    assert thought(asked[-1], "reasoning") == ["I multiply.", None, "I multiply."]


def check_none_sent(asked: list[Body]) -> None:
    assert [thought(body) for body in asked[2:]] == [[None], [None, None], [None, None, None]]


def check_never_sent(asked: list[Body]) -> None:
    assert not any("reasoning_content" in message for body in asked for message in body["messages"])


def check_folded(asked: list[Body]) -> None:
    """The system's words stand in front of the first thing the user said, and one request is lost at most."""
    first = asked[-1]["messages"][0]
    assert first["role"] == "user"
    assert first["content"].endswith("\n\nWhat is 6*7?")
    assert "helpful assistant" in first["content"]
    assert sum(body["messages"][0]["role"] == "system" for body in asked) <= 1


def check_known(asked: list[Body]) -> None:
    assert all(message["role"] != "system" for body in asked for message in body["messages"])


def check_joined(asked: list[Body]) -> None:
    assert [message["role"] for message in asked[-1]["messages"]] == ["system", "user"]
    assert asked[-1]["messages"][1]["content"] == "What is 6*7?\n\nAnd again?"


def check_bridge(asked: list[Body]) -> None:
    roles = [message["role"] for message in asked[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


def check_empty_content(asked: list[Body]) -> None:
    contents = [[m["content"] for m in body["messages"] if m.get("tool_calls")] for body in asked]
    assert contents == [[], [None], [""], [""], ["", ""]]


def check_split(asked: list[Body]) -> None:
    roles = [message["role"] for message in asked[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert asked[-1].get("tools")


def failing_first(code: int, words: str, answer: Callable[[Body], Answer | str]) -> Callable[[Body], Answer | str]:
    """Makes the answer that fails while the conversation has one message of the user and what belongs to it."""

    def answered(body: Body) -> Answer | str:
        said = str(body["messages"])
        return answer(body) if "And again?" in said else status(code, words)

    return answered


def called_then_failing(body: Body) -> Answer | str:
    if "And again?" in str(body["messages"]):
        return "42, as I said."
    return reply(CALL) if len(turn_of(body)) == 1 else status(400, "the upstream is not well")


def empty_thought_second(body: Body) -> Answer | str:
    """Thinks before the first call, and not before the second one."""
    calls = [reply(reasoning("I multiply."), CALL), reply(tool_calls(("calculator", {"expression": "6*7+0"})))]
    made = sum(message["role"] == "tool" for message in body["messages"])
    return calls[made] if made < 2 else "It is 42."


EXTRA_FORBIDDEN = {
    "type": "extra_forbidden",
    "loc": ["body", "messages", 2, "assistant", "reasoning_content"],
    "msg": "Extra inputs are not permitted",
    "input": "I multiply.",
}

ANIMALS = (
    Animal(
        "thought-back-beside-calls",
        "continuedev/continue#10193",
        rule=strict(thinks(), thought_back()),
        says=TWICE,
        text="It is 42.",
        thought="I multiply.I see.",
        notices=[],
        asked=check_thoughts,
    ),
    Animal(
        "thought-back-though-empty",
        "mastra-ai/mastra#12592",
        rule=strict(empty_thought_second, thought_back()),
        text="It is 42.",
        notices=[],
        asked=check_empty_thoughts,
    ),
    Animal(
        "thought-back-under-its-own-name",
        "QwenLM/qwen-code#11045",
        rule=strict(thinks("reasoning"), thought_back("reasoning"), no_field("reasoning_content")),
        says=TWICE,
        text="It is 42.",
        asked=check_other_name,
    ),
    Animal(
        "thought-not-taken-back",
        "janhq/jan#8136",
        rule=strict(thinks(), no_field("reasoning_content")),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_none_sent,
    ),
    Animal(
        "thought-not-taken-back-extra-forbidden",
        "charmbracelet/crush#1590",
        rule=lambda body: (
            status(422, {"detail": [EXTRA_FORBIDDEN]})
            if any("reasoning_content" in message for message in body["messages"])
            else thinks()(body)
        ),
        says=TWICE,
        text="It is 42.",
        asked=check_none_sent,
    ),
    Animal(
        "thought-demanded-that-never-came",
        "decolua/9router#355",
        rule=strict(calls_first(), thought_back()),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_thoughts_made_up,
    ),
    Animal(
        "thought-never-sent-to-who-never-sent-one",
        "egoist/chatwise-releases#1442",
        rule=strict(calls_first(), no_field("reasoning_content", "reasoning", "thinking")),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_never_sent,
    ),
    Animal(
        "begins-with-user",
        "FlowiseAI/Flowise#2516",
        rule=strict(lambda body: f"{len(body['messages'])}", user_first, alternating),
        says=tuple(f"Question {number}" for number in range(1, 14)),
        notices=[],
    ),
    Animal(
        "begins-with-user-after-tools",
        "lobehub/lobehub#1601",
        rule=strict(calls_first(), user_first, alternating, answered_calls, no_user_after_tool),
        says=tuple(f"Question {number}" for number in range(1, 14)),
        text="It is 42.",
        notices=[],
    ),
    Animal(
        "neighbours-joined-after-a-failure",
        "charmbracelet/crush#279",
        rule=failing_first(400, "no", strict(lambda _: "42, twice.", alternating)),
        says=TWICE,
        text="42, twice.",
        asked=check_joined,
    ),
    Animal(
        "neighbours-joined-after-an-empty-answer",
        "etkecc/baibot#13",
        rule=failing_first(403, "quota", strict(lambda _: "42, twice.", alternating, no_empty_turn)),
        says=TWICE,
        text="42, twice.",
        asked=check_joined,
    ),
    Animal(
        "no-user-right-after-tool",
        "NousResearch/hermes-agent#20154",
        rule=strict(called_then_failing, no_user_after_tool, alternating),
        says=TWICE,
        text="42, as I said.",
        asked=check_bridge,
    ),
    Animal(
        "no-user-right-after-tool-nor-an-empty-assistant",
        "mistralai/mistral-vibe#578",
        rule=strict(called_then_failing, no_user_after_tool, alternating, no_empty_turn),
        says=TWICE,
        text="42, as I said.",
        asked=check_bridge,
    ),
    Animal(
        "no-system-role",
        "huggingface/chat-ui#1386",
        rule=strict(calls_first(), no_system),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_folded,
    ),
    Animal(
        "no-system-role-with-this-model",
        "tailcallhq/forgecode#1177",
        rule=strict(
            calls_first(),
            lambda body: (
                "Unsupported value: 'messages[0].role' does not support 'system' with this model."
                if no_system(body)
                else None
            ),
        ),
        says=TWICE,
        text="It is 42.",
        asked=check_folded,
    ),
    Animal(
        "no-system-role-in-words-of-order",
        "microsoft/autogen#1037",
        rule=strict(
            calls_first(),
            lambda body: (
                "Conversation roles must alternate user/assistant/user/assistant/..." if no_system(body) else None
            ),
        ),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_folded,
    ),
    Animal(
        "text-or-thought-beside-calls",
        "lmstudio-ai/lmstudio-bug-tracker#842",
        rule=strict(
            lambda body: (
                reply(reasoning("I multiply.", key="reasoning"), text("Let me see."), CALL)
                if len(turn_of(body)) == 1
                else "It is 42."
            ),
            one_voice,
        ),
        says=TWICE,
        text="Let me see.\n\nIt is 42.",
        notices=[],
    ),
    Animal(
        "no-system-role-says-the-stream",
        "voideditor/void#238",
        rule=lambda body: (
            stream(
                b"event: error\n" + frame({"error": {"message": "Error rendering prompt: System role not supported"}})
            )
            if no_system(body)
            else calls_first()(body)
        ),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_folded,
    ),
    Animal(
        "gemma-2-9b-it",  # a model family of which it is known: some servers fail without a word
        "sgl-project/sglang#892",
        rule=strict(calls_first(), lambda body: "Internal Server Error" if no_system(body) else None, code=500),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_known,
    ),
    Animal(
        "no-null-beside-calls",
        "lmstudio-ai/lmstudio-bug-tracker#261",
        rule=strict(calls_first(), no_null_content),
        says=TWICE,
        text="It is 42.",
        notices=[],
        asked=check_empty_content,
    ),
    Animal(
        "no-nil-beside-calls",
        "SAIL-Research-Lab/cheetahclaws#72",
        rule=strict(
            calls_first(), lambda body: "invalid message content type: <nil>" if no_null_content(body) else None
        ),
        says=TWICE,
        text="It is 42.",
        asked=check_empty_content,
    ),
    Animal(
        "no-null-beside-calls-expected-a-string",
        "docker/docker-agent#63",
        rule=strict(
            calls_first(),
            lambda body: "Invalid value for 'content': expected a string, got null." if no_null_content(body) else None,
        ),
        says=TWICE,
        text="It is 42.",
        asked=check_empty_content,
    ),
    Animal(
        "single-tool-calls-at-once",
        "vllm-project/vllm#25108",
        rule=strict(
            calls_first(*tool_calls(("calculator", {"expression": "6*7"}), ("calculator", {"expression": "7*6"}))),
            single_calls,
            answered_calls,
        ),
        text="It is 42.",
        notices=[],
        asked=check_split,
    ),
    Animal(
        "strictest",
        "all of the above at once",
        rule=strict(thinks(), *STRICTEST),
        says=tuple(f"Question {number}" for number in range(1, 14)),
        text="It is 42.",
        thought="I multiply.I see.",
        notices=[],
    ),
    Animal(
        "details-of-another-server",
        "agentjido/req_llm#772",
        rule=strict(
            lambda body: (
                reply(delta(reasoning_details=[{"type": "reasoning.text", "text": "I multiply."}]), CALL)
                if len(turn_of(body)) == 1
                else "It is 42."
            ),
            no_field("reasoning_details"),
        ),
        says=TWICE,
        text="It is 42.",
        notices=[],
    ),
)
