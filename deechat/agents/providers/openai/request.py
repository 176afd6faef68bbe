"""A question to the body of a request, as OpenAI's protocol has it, less what the server refuses to take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from deechat.agents.providers.base import AssistantMessage, Message, Question, SystemMessage, ToolMessage, UserMessage
from deechat.agents.providers.openai.chunks import KEPT_FIELDS
from deechat.agents.providers.openai.faults import ModelFault
from deechat.agents.providers.openai.speech import mend

_DENIED = (
    r"(n't support|not support|unsupported|no support|no endpoints found|only the default|deprecated|requires? -"
    r"|not (enabled|available|allowed|permitted|implemented)|unknown|unrecognized|unexpected|extra (inputs|fields))"
)


def _near(what: str) -> re.Pattern[str]:
    return re.compile(rf"{what}.{{0,120}}{_DENIED}|{_DENIED}.{{0,120}}{what}", re.DOTALL)


class Refusal(NamedTuple):
    """Something in a request that servers refuse: its name in the body, how they say so, and how far that holds."""

    field: str
    statuses: frozenset[int]
    words: re.Pattern[str]
    per_model: bool


REFUSALS = (
    Refusal("stream_options", frozenset({400, 422}), re.compile("stream_options|include_usage"), per_model=False),
    Refusal("temperature", frozenset({400, 422}), _near("temperature"), per_model=True),
    Refusal("max_tokens", frozenset({400, 422}), _near(r"\bmax_tokens\b"), per_model=True),
    Refusal("max_completion_tokens", frozenset({400, 422}), _near(r"\bmax_completion_tokens\b"), per_model=True),
    Refusal(
        "tools",
        frozenset({400, 404, 405, 422, 500, 501}),
        _near(r"(\btools?\b|\btool[_ -](choice|calls?|calling|use)|\bfunctions?\b|\bfunction[_ -]?call\w*)"),
        per_model=True,
    ),
)


_LIMITS = ("max_tokens", "max_completion_tokens")  # the second where the first is refused


class Body:
    """A request's body. `model`, `fields` and the names of `tools` say what it asks with; `take` gives its bytes.

    They are as long as the conversation, and an answer may take an hour: once taken they are not kept here.
    """

    __slots__ = ("_raw", "fields", "model", "tools")

    def __init__(self, body: dict[str, Any]) -> None:
        self.model: str = body["model"]
        self.fields = tuple(body)
        self.tools = frozenset(tool["function"]["name"] for tool in body.get("tools", ()))
        self._raw = msgspec.json.encode(body)

    def take(self) -> bytes:
        """Gives the bytes, once."""
        raw, self._raw = self._raw, b""
        return raw


class Refused:
    """Remembers what a server, or a model of it, does not take."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str | None]] = set()

    def learn(self, fault: ModelFault, body: Body) -> str | None:
        """Gives what the server refused in this request with this fault, and remembers it; None for nothing.

        A refusal of tools that came with `tool_choice` may be one of that field alone and is remembered as its name.
        """
        if fault.code == "context_length" or "schema" in fault.evidence:
            return None
        for field, statuses, words, per_model in REFUSALS:
            if field in body.fields and fault.status_said in statuses and words.search(fault.evidence):
                refused = "tool_choice" if field == "tools" and "tool_choice" in body.fields else field
                self._known.add((refused, body.model if per_model else None))
                return refused
        return None

    def knows(self, field: str, model: str) -> bool:
        """Says whether this field must not be sent to this model."""
        return (field, model) in self._known or (field, None) in self._known


def body_of(question: Question, model: str, refused: Refused) -> Body:
    """Gives the request's body."""
    toolless = refused.knows("tools", model) or (question.tool_choice == "none" and refused.knows("tool_choice", model))
    messages = [_message(message) for message in (_told(question.messages) if toolless else question.messages)]
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
    if not refused.knows("stream_options", model):
        body["stream_options"] = {"include_usage": True}
    if question.temperature is not None and not refused.knows("temperature", model):
        body["temperature"] = question.temperature
    limit = next((field for field in _LIMITS if not refused.knows(field, model)), None)
    if question.max_tokens is not None and limit is not None:
        body[limit] = question.max_tokens
    if question.tools and not toolless:
        body["tools"] = [_tool(tool.name, tool.description, tool.parameters) for tool in question.tools]
        if question.tool_choice == "none":  # "auto" is the default, and not every server knows the field
            body["tool_choice"] = "none"
    return Body(body)


def _tool(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": mend(text)}
        case UserMessage(text):
            return {"role": "user", "content": mend(text)}
        case ToolMessage(call_id, _, content):
            return {"role": "tool", "tool_call_id": call_id, "content": mend(content)}
        case AssistantMessage(text, (), extra):
            return {"role": "assistant", "content": mend(text), **_kept(extra)}
        case AssistantMessage(text, _, extra):
            calls = _calls(message)
            return {"role": "assistant", "content": mend(text) or None, "tool_calls": calls, **_kept(extra)}


def _kept(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: extra[name] for name in KEPT_FIELDS if name in extra}


_NO_NAME = re.compile("[^a-zA-Z0-9_-]")


def _calls(message: AssistantMessage) -> list[dict[str, Any]]:
    extras = [*message.extra.get("tool_calls", ()), *[None] * len(message.calls)]
    calls: list[dict[str, Any]] = []
    for call, extra in zip(message.calls, extras, strict=False):
        # A name that a model made up may hold what servers refuse in a request: it would fail every later turn.
        function = {"name": _NO_NAME.sub("_", call.name)[:64] or "_", "arguments": _object(call.arguments)}
        kept = {} if extra is None else {"extra_content": extra}
        calls.append({"id": call.id, "type": "function", "function": function, **kept})
    return calls


def _object(arguments: str) -> str:
    """Gives arguments that a server can read: the model's own where they are a JSON object, else an empty one."""
    try:
        msgspec.json.decode(mend(arguments), type=dict[str, Any])
    except (ValueError, RecursionError):
        return "{}"
    return mend(arguments)


def _told(messages: Iterable[Message]) -> list[Message]:
    """Gives a history without calls, for a model that knows no tools: they and their results are told as text.

    Neighbours with the same speaker become one message, because such models' templates often want them to alternate.
    """
    told: list[Message] = []
    for message in messages:
        plain = _plain(message)
        last = told[-1] if told else None
        if isinstance(plain, UserMessage) and isinstance(last, UserMessage):
            told[-1] = UserMessage(f"{last.text}\n\n{plain.text}")
        else:
            told.append(plain)
    return told


def _plain(message: Message) -> Message:
    match message:
        case ToolMessage(_, name, content):
            return UserMessage(f"[Result of {name}]\n{content}")
        case AssistantMessage(text, calls) if calls:
            lines = [f"[Called {call.name} with {call.arguments}]" for call in calls]
            return AssistantMessage("\n".join([text, *lines] if text else lines))
        case _:
            return message
