"""What strict model servers refuse in a request, each as a rule with the words that people saw.

    model.answer = strict(lambda body: reply(text("Hello")), *STRICTEST)

A rule looks at a request's body and gives the words of its refusal, or None. `strict` makes of rules and an answer what
`ModelServer.answer` takes: the first rule that refuses answers with 400. `refusals` collects what was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from model_server import Answer, status

Body = dict[str, Any]
Rule = Callable[[Body], str | None]


def spoken(body: Body) -> list[dict[str, Any]]:
    """Gives the messages but for the system's."""
    return [message for message in body["messages"] if message["role"] != "system"]


def no_system(body: Body) -> str | None:
    """Refuses a system message wherever it stands."""
    refused = any(message["role"] == "system" for message in body["messages"])
    return "System role not supported" if refused else None


def system_first(body: Body) -> str | None:
    """Refuses a system message behind the first place."""
    refused = any(message["role"] == "system" for message in body["messages"][1:])
    return "System message must be at the beginning." if refused else None


def user_first(body: Body) -> str | None:
    """Refuses a conversation that begins with somebody else than the user."""
    first = next(iter(spoken(body)), {"role": "nobody"})
    return None if first["role"] == "user" else 'messages: first message must use the "user" role'


def alternating(body: Body) -> str | None:
    """Refuses neighbours of one role, but for results of tools."""
    same = any(one["role"] == two["role"] != "tool" for one, two in pairwise(spoken(body)))
    return "Conversation roles must alternate user/assistant/user/assistant/..." if same else None


def no_user_after_tool(body: Body) -> str | None:
    """Refuses a user's message right behind a tool's result."""
    after = any(one["role"] == "tool" and two["role"] == "user" for one, two in pairwise(spoken(body)))
    return "Unexpected role 'user' after role 'tool'" if after else None


def answered_calls(body: Body) -> str | None:
    """Refuses a call without its result, and a result without its call."""
    open_calls: list[str] = []
    for message in spoken(body):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return "Unexpected tool call id in tool results"
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            return "Not the same number of function calls and responses"
        else:
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    return "Not the same number of function calls and responses" if open_calls else None


def no_null_content(body: Body) -> str | None:
    """Refuses a message whose content is null or missing."""
    refused = any(message.get("content") is None for message in body["messages"])
    return "Invalid 'content': 'content' field must be a string or an array of objects." if refused else None


def no_empty_turn(body: Body) -> str | None:
    """Refuses an assistant's message with neither content nor calls."""
    empty = any(
        message["role"] == "assistant" and not message.get("content") and not message.get("tool_calls")
        for message in body["messages"]
    )
    return "Assistant message must have either content or tool_calls, but not none." if empty else None


def single_calls(body: Body) -> str | None:
    """Refuses several calls in one message."""
    many = any(len(message.get("tool_calls") or ()) > 1 for message in body["messages"])
    return "This model only supports single tool-calls at once!" if many else None


def thought_back(field: str = "reasoning_content") -> Rule:
    """Makes the rule that demands this field, also an empty one, beside all calls."""

    def rule(body: Body) -> str | None:
        for at, message in enumerate(body["messages"]):
            if message.get("tool_calls") and not isinstance(message.get(field), str):
                return f"thinking is enabled but {field} is missing in assistant tool call message at index {at}"
        return None

    return rule


def one_voice(body: Body) -> str | None:
    """Refuses text and a thought beside the same calls."""
    both = any(
        message.get("tool_calls")
        and message["content"]
        and (message.get("reasoning") or message.get("reasoning_content"))
        for message in body["messages"]
    )
    return "Cannot pass both content and thinking in an assistant message with tool calls!" if both else None


def no_field(*fields: str) -> Rule:
    """Makes the rule that takes none of these fields in a message."""

    def rule(body: Body) -> str | None:
        for at, message in enumerate(body["messages"]):
            for field in fields:
                if field in message:
                    return f"'messages.{at}' : property '{field}' is unsupported"
        return None

    return rule


def no_tools(body: Body) -> str | None:
    """Refuses tools."""
    return f"registry.example/library/{body['model']} does not support tools" if body.get("tools") else None


def context(tokens: int) -> Rule:
    """Makes the rule that refuses what has more tokens, four characters of the messages' and tools' JSON being one."""

    def rule(body: Body) -> str | None:
        used = len(str([body["messages"], body.get("tools")])) // 4
        limit = f"This model's maximum context length is {tokens} tokens."
        return f"{limit} However, your messages resulted in {used} tokens." if used > tokens else None

    return rule


# What the strictest of all servers would refuse, but for a length.
STRICTEST: tuple[Rule, ...] = (
    no_system,
    user_first,
    alternating,
    no_user_after_tool,
    answered_calls,
    no_null_content,
    no_empty_turn,
    thought_back(),
)


def strict(
    answer: Callable[[Body], Answer | str], *rules: Rule, refusals: list[str] | None = None, code: int = 400
) -> Callable[[Body], Answer | str]:
    """Makes an answer that comes when no rule refuses; what was refused is added to `refusals`."""

    def answered(body: Body) -> Answer | str:
        words = next(filter(None, (rule(body) for rule in rules)), None)
        if words is None:
            return answer(body)
        if refusals is not None:
            refusals.append(words)
        return status(code, words)

    return answered
