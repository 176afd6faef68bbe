"""A question to the body of a request, as OpenAI's protocol has it, in the form that the server takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from deechat.agents.providers.base import Question
from deechat.agents.providers.openai.chunks import KEPT_FIELDS, THOUGHT_FIELDS, mend
from deechat.agents.providers.openai.profiles import (
    NO_EFFORT,
    NO_FIELD,
    NO_NULL,
    NO_SYSTEM,
    NO_TOOL_CHOICE,
    NO_TOOLS,
    ONE_CALL,
    ONE_VOICE,
    THINKS_IN,
    UNOPENED,
)
from deechat.events import ToolCall
from deechat.messages import (
    END_OF_RESULT,
    THOUGHT,
    AssistantMessage,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
    is_object,
    joined,
    quoted,
)

_LIMITS = ("max_tokens", "max_completion_tokens")  # the second where the first is refused


# Names in `Body.shows` beside those of its own and its messages' fields.
CALLS, TOOL_ROLE = "calls", "tool_role"
_THOUGHTS = frozenset(THOUGHT_FIELDS)

Habits = Mapping[str, Mapping[str, Any]]


class Body:
    """A request's body. `shows` names its parts that a server may refuse. `thinks`: the model's text is known to begin
    with thinking. `take` gives the bytes.

    The bytes are as long as the conversation, and an answer may take an hour: once taken they are not kept here.
    """

    __slots__ = ("_raw", "model", "shows", "thinks", "tools")

    def __init__(self, body: dict[str, Any], tools: list[str], *, thinks: bool = False) -> None:
        self.model: str = body["model"]
        self.shows = _shown(body)
        self.tools = tools
        self.thinks = thinks
        self._raw = msgspec.json.encode(body)

    def take(self) -> bytes:
        """Return the bytes, once."""
        raw, self._raw = self._raw, b""
        return raw


def _shown(body: dict[str, Any]) -> set[str]:
    shown = set(body)
    for message in body["messages"]:
        shown.update(message)
        role, content, calls = message["role"], message["content"], message.get("tool_calls")
        if role == "system":
            shown.add("system")
        elif role == "tool":
            shown.add(TOOL_ROLE)
        if content is None:
            shown.add("null_content")
        if calls:
            shown |= _shown_of_calls(calls)
            if content and not _THOUGHTS.isdisjoint(message):
                shown.add("text_and_thought")
    return shown


def _shown_of_calls(calls: list[dict[str, Any]]) -> set[str]:
    return {CALLS, *(("several_calls",) if len(calls) > 1 else ()), *(name for call in calls for name in call)}


def body_of(question: Question, model: str, habits: Habits, server: str = "") -> Body:
    """Return the request's body for a server and a model with these habits."""
    # Calls without tools beside them are refused by some: where there are none, old calls are told as text.
    toolless = not question.tools or NO_TOOLS in habits or (question.tool_choice == "none" and NO_TOOL_CHOICE in habits)
    messages = _sent(_shaped(question.messages, habits, toolless=toolless), model, habits, server)
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
    if _takes("stream_options", habits):
        body["stream_options"] = {"include_usage": True}
    if question.temperature is not None and _takes("temperature", habits):
        body["temperature"] = question.temperature
    limit = next((field for field in _LIMITS if _takes(field, habits)), None)
    if question.max_tokens is not None and limit is not None:
        body[limit] = question.max_tokens
    if question.tools and not toolless:
        body["tools"] = [{"type": "function", "function": msgspec.Raw(tool.json)} for tool in question.tools]
        if question.tool_choice == "none":  # "auto" is the default, and not every server knows the field
            body["tool_choice"] = "none"
        if NO_EFFORT in habits:
            body["reasoning_effort"] = "none"
    return Body(body, [tool.name for tool in question.tools] if "tools" in body else [], thinks=UNOPENED in habits)


def _takes(field: str, habits: Habits) -> bool:
    return f"{NO_FIELD}:{field}" not in habits


def _sent(messages: Sequence[Message], model: str, habits: Habits, server: str) -> list[dict[str, Any]]:
    field = _thought_field(messages, model, habits, server)
    kept = [name for name in KEPT_FIELDS if _takes(name, habits)]
    empty = "" if NO_NULL in habits else None
    sent: list[dict[str, Any]] = []
    for message in messages:
        match message:
            case SystemMessage(text):
                sent.append({"role": "system", "content": mend(text)})
            case UserMessage(text, images):
                sent.append({"role": "user", "content": _with_images(mend(text), images) if images else mend(text)})
            case ToolMessage(call_id, _, content):
                sent.append({"role": "tool", "tool_call_id": call_id, "content": mend(content)})
            case AssistantMessage(text, calls, extra):
                fields = {name: extra[name] for name in kept if name in extra}
                if calls:
                    fields["tool_calls"] = _calls(message, signed=_takes("extra_content", habits))
                    if field is not None and not (text and ONE_VOICE in habits):
                        fields[field] = mend(message.thought) if _thought_at(message)[1:2] == (server,) else ""
                sent.append({"role": "assistant", "content": mend(text) or (empty if calls else ""), **fields})
    return sent


def _with_images(text: str, images: Sequence[str]) -> list[dict[str, Any]]:
    """Return the content of a message with pictures; text alone stays text, which every server takes."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return [*([{"type": "text", "text": text}] if text else []), *pictures]


def _thought_field(messages: Sequence[Message], model: str, habits: Habits, server: str) -> str | None:
    """Name the field in which a model's thoughts go back; None where none goes.

    It is known of a server that sent one since the start, or else by a turn that this model made before.
    """
    field = habits.get(THINKS_IN, {}).get("field")
    for message in messages if field is None else ():
        if isinstance(message, AssistantMessage) and message.calls and _thought_at(message)[1:] == (server, model):
            field = _thought_at(message)[0]
    return field if field in THOUGHT_FIELDS and _takes(field, habits) else None


def _thought_at(message: AssistantMessage) -> tuple[Any, ...]:
    """Return the field in which a turn's thought came, from which server and model; nothing where none came."""
    came = message.extra.get(THOUGHT)
    return (came.get("field"), came.get("server"), came.get("model")) if isinstance(came, dict) else ()


_NO_NAME = re.compile("[^a-zA-Z0-9_-]")


def _named(name: str) -> str:
    return _NO_NAME.sub("_", name)[:64] or "_"


def _calls(message: AssistantMessage, *, signed: bool) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for call, sign in _signed(message):
        arguments = mend(call.arguments)
        # Servers refuse some characters in a name, which a model may have made up, and arguments that are no object:
        # either would fail every later turn.
        function = {"name": _named(call.name), "arguments": arguments if is_object(arguments) else "{}"}
        kept = {"extra_content": sign} if signed and sign is not None else {}
        calls.append({"id": call.id, "type": "function", "function": function, **kept})
    return calls


def _signed(message: AssistantMessage) -> Iterator[tuple[ToolCall, Any]]:
    """Return each call with the `extra_content` that its server wants back; None for none."""
    return zip_longest(message.calls, message.extra.get("tool_calls", ())[: len(message.calls)])


def _shaped(messages: Sequence[Message], habits: Habits, *, toolless: bool) -> list[Message]:
    """Return a history in the form that a model with these habits takes."""
    shaped = list(messages)
    if toolless:
        shaped = [_plain(message) for message in shaped]
    if ONE_CALL in habits:
        shaped = _one_by_one(shaped)
    if NO_SYSTEM in habits:
        shaped = [UserMessage(each.text) if isinstance(each, SystemMessage) else each for each in shaped]
    return joined(shaped)


def _one_by_one(messages: Iterable[Message]) -> list[Message]:
    """Make a turn of each call, with its result behind it, for a model that takes one call a turn."""
    waiting: list[AssistantMessage] = []
    apart: list[Message] = []
    for message in messages:
        if isinstance(message, AssistantMessage) and len(message.calls) > 1:
            waiting = _apart(message)
            continue
        if waiting:
            apart.append(waiting.pop(0))
        apart.append(message)
    return apart


def _apart(message: AssistantMessage) -> list[AssistantMessage]:
    turns = [AssistantMessage("", (call,), {**message.extra, "tool_calls": [sign]}) for call, sign in _signed(message)]
    turns[0] = msgspec.structs.replace(turns[0], text=message.text, thought=message.thought)
    return turns


def _plain(message: Message) -> Message:
    """Tell a call or its result as text, for a model that knows no tools."""
    match message:
        case ToolMessage(_, name, content):
            head = f"[Result of {_named(name)}, in lines that begin with >]"
            return UserMessage(f"{head}\n{quoted(content)}\n{END_OF_RESULT}")
        case AssistantMessage(text, calls) if calls:
            lines = [f"[Called {call.name} with {call.arguments}]" for call in calls]
            return AssistantMessage("\n".join([text, *lines] if text else lines))
        case _:
            return message
