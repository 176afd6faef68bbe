"""A conversation as clients of OpenAI's API send it: messages of chat completions, and items of the Responses API."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from deechat.events import ToolCall
from deechat.messages import GOES_ON, AssistantMessage, Message, ToolMessage, UserMessage, quoted
from deechat.web.openai.errors import FieldError

Json = dict[str, Any]

_OURS = re.compile(r"call_([0-9a-f]{32})_([0-9A-Za-z]{9})")
_TEXTS = frozenset({"text", "input_text", "output_text", "summary_text", "refusal"})
_COMPACTED = "deechat:"


@dataclass(slots=True)
class Told:
    """A conversation, read.

    `instructions` are the words of the system and of developers. `outputs` are results of calls by the id that the
    client sent, `approvals` answers to requests for a yes by the request's id: they may be for a run that waits.
    """

    messages: list[Message] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, bool] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def say(self, role: str, text: str, images: tuple[str, ...], where: str) -> None:
        """Take a message that is text. Raises `FieldError`."""
        if role in {"system", "developer"}:
            self.instructions.append(text)
        elif role == "user":
            self.messages.append(UserMessage(text, images))
        elif role == "assistant":
            self.messages.append(AssistantMessage(text))
        else:
            raise FieldError(f"There is no role {role[:80]!r}.", f"{where}.role")

    def call(self, calls: Sequence[ToolCall], text: str = "") -> None:
        """Take calls of one turn, by the ids that the client knows them by."""
        self._names.update({each.id: each.name for each in calls})
        named = tuple(ToolCall(own_id(each.id), each.name, each.arguments) for each in calls)
        last = self.messages[-1] if self.messages else None
        if isinstance(last, AssistantMessage) and not text:
            self.messages[-1] = AssistantMessage(last.text, (*last.calls, *named))
        else:
            self.messages.append(AssistantMessage(text, named))

    def result(self, call_id: str, output: str) -> None:
        """Take the result of a call."""
        self.outputs[call_id] = output
        self.messages.append(ToolMessage(own_id(call_id), self._names.get(call_id, "tool"), output))

    @property
    def trailing(self) -> list[str]:
        """The ids of the calls whose results stand at the end."""
        count = 0
        while count < len(self.messages) and isinstance(self.messages[-1 - count], ToolMessage):
            count += 1
        return list(self.outputs)[len(self.outputs) - count :] if count else []

    def check_calls(self, where: str) -> None:
        """Raise `FieldError` for the result of a call that is nowhere."""
        if lost := [each for each in self.outputs if each not in self._names]:
            words = f"No tool call found for the function call output with the call_id {lost[0][:100]!r}."
            raise FieldError(words, where, "missing_call")

    def split(self, where: str) -> tuple[tuple[Message, ...], UserMessage]:
        """Return the messages before the prompt, and the prompt, which is empty where results of tools end them.

        Raises `FieldError` when there is nothing to answer.
        """
        last = self.messages[-1] if self.messages else None
        if isinstance(last, UserMessage):
            if not (last.text.strip() or last.images):
                raise FieldError("The last message is blank.", where)
            return tuple(self.messages[:-1]), last
        if isinstance(last, ToolMessage):
            return tuple(self.messages), UserMessage("")
        raise FieldError("The last message must be the user's, or the result of a tool.", where)


def own_id(call_id: str) -> str:
    """Return a call's id in the form that every model server takes."""
    found = _OURS.fullmatch(call_id)
    return found[2] if found else hashlib.sha256(call_id.encode()).hexdigest()[:9]


def run_of(call_id: str) -> tuple[str, str] | None:
    """Return the ids of the run and of its call that a client's id of a call names; None for an id of its own."""
    found = _OURS.fullmatch(call_id)
    return (long(found[1]), found[2]) if found else None


def long(short: str) -> str:
    """Return a run's id, which stands in ids of the protocol without its hyphens."""
    return "-".join((short[:8], short[8:12], short[12:16], short[16:20], short[20:]))


# -- content -----------------------------------------------------------------------------------------------------------


def _content(content: object, where: str) -> tuple[str, tuple[str, ...]]:
    """Return a content's text and its pictures. Raises `FieldError`."""
    if content is None:
        return "", ()
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list):
        raise FieldError("A content is a text, or a list of parts.", where)
    texts: list[str] = []
    images: list[str] = []
    for number, part in enumerate(content):
        place = f"{where}[{number}]"
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        if kind in _TEXTS:
            texts.append(_text(part, "refusal" if kind == "refusal" else "text", place))
        elif kind in {"image_url", "input_image"}:
            images.append(_image(part, place))
        else:
            raise FieldError(
                f"A part of the type {kind[:80]!r} is not taken: text and images are.",
                place,
                "unsupported_content",
            )
    return "\n".join(texts), tuple(images)


def _text(fields: Json, name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise FieldError(f"{name} must be a text.", f"{where}.{name}")
    return value


def _image(part: Json, where: str) -> str:
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not (isinstance(url, str) and url.startswith(("data:image/", "https://", "http://"))):
        raise FieldError("An image is a data URL or an address.", f"{where}.image_url", "unsupported_content")
    return url


# -- chat completions --------------------------------------------------------------------------------------------------


def read_chat(messages: Sequence[Json]) -> Told:
    """Read the messages of a chat completion. Raises `FieldError`."""
    told = Told()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role = _text(message, "role", where)
        text, images = _content(message.get("content"), f"{where}.content")
        if role == "tool":
            told.result(_text(message, "tool_call_id", where), text)
        elif role == "assistant" and message.get("tool_calls"):
            told.call(_chat_calls(message["tool_calls"], f"{where}.tool_calls"), text)
        else:
            told.say(role, text, images, where)
    return told


def _chat_calls(calls: object, where: str) -> list[ToolCall]:
    found = []
    for number, call in enumerate(calls if isinstance(calls, list) else [None]):
        place = f"{where}[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not (isinstance(call, dict) and isinstance(function, dict)):
            raise FieldError("A call is an object with id and function.", place)
        name, arguments = (_text(function, each, f"{place}.function") for each in ("name", "arguments"))
        found.append(ToolCall(_text(call, "id", place), name, arguments))
    return found


# -- the Responses API -------------------------------------------------------------------------------------------------


def read_items(given: str | Sequence[Json]) -> Told:
    """Read the input of a response. Raises `FieldError`."""
    told = Told()
    if isinstance(given, str):
        told.say("user", given, (), "input")
        return told
    for number, item in enumerate(given):
        where = f"input[{number}]"
        kind = item.get("type", "message")
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise FieldError(f"An item of the type {str(kind)[:80]!r} is not taken.", where, "unsupported_content")
        reader(told, item, where)
    return told


def _message(told: Told, item: Json, where: str) -> None:
    text, images = _content(item.get("content"), f"{where}.content")
    told.say(_text(item, "role", where), text, images, where)


def _call(told: Told, item: Json, where: str) -> None:
    call_id, name, arguments = (_text(item, each, where) for each in ("call_id", "name", "arguments"))
    told.call([ToolCall(call_id, name, arguments)])


def _output(told: Told, item: Json, where: str) -> None:
    told.result(_text(item, "call_id", where), _content(item.get("output"), f"{where}.output")[0])


def _our_call(told: Told, item: Json, where: str) -> None:
    call_id, name = (_text(item, each, where) for each in ("id", "name"))
    told.call([ToolCall(call_id, name, str(item.get("arguments") or "{}"))])
    output = item.get("output") or item.get("error") or ""
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    told.messages.append(ToolMessage(own_id(call_id), name, text, is_error=item.get("output") is None))


def _approval(told: Told, item: Json, where: str) -> None:
    approve = item.get("approve")
    if not isinstance(approve, bool):
        raise FieldError("approve must be true or false.", f"{where}.approve")
    told.approvals[_text(item, "approval_request_id", where).removeprefix("mcpr_")] = approve


def _compaction(told: Told, item: Json, where: str) -> None:
    try:
        raw = _text(item, "encrypted_content", where).removeprefix(_COMPACTED)
        text = base64.b64decode(raw, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise FieldError("This is no compaction that DeeChat made.", f"{where}.encrypted_content") from exc
    told.messages.append(UserMessage(f"[What was said before, as a summary.]\n\n{quoted(text)}\n\n{GOES_ON}"))


def compacted(summary: str) -> str:
    """Return a summary as the content of a compaction, which the client carries and hands back."""
    return _COMPACTED + base64.b64encode(summary.encode()).decode()


def _nothing(_told: Told, _item: Json, _where: str) -> None:
    """Leave out an item that says nothing to a model."""


_READERS: Mapping[str, Callable[[Told, Json, str], None]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "mcp_call": _our_call,
    "mcp_approval_response": _approval,
    "mcp_approval_request": _nothing,
    "reasoning": _nothing,
    "compaction": _compaction,
}


def as_items(messages: Sequence[Message]) -> list[Json]:
    """Return messages as items of an input, for those who ask what a response was made of."""
    items: list[Json] = []
    for message in messages:
        at = len(items)
        if isinstance(message, ToolMessage):
            items.append(
                {"type": "function_call_output", "call_id": f"call_{message.call_id}", "output": message.content}
            )
        elif isinstance(message, UserMessage):
            parts = [{"type": "input_text", "text": message.text}]
            parts += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in message.images]
            items.append({"type": "message", "role": "user", "status": "completed", "content": parts})
        elif isinstance(message, AssistantMessage):
            if message.text:
                content = [{"type": "output_text", "text": message.text, "annotations": [], "logprobs": []}]
                items.append({"type": "message", "role": "assistant", "status": "completed", "content": content})
            for call in message.calls:
                fields = {"name": call.name, "arguments": call.arguments, "status": "completed"}
                items.append({"type": "function_call", "call_id": f"call_{call.id}", **fields})
        for each in items[at:]:
            digest = hashlib.sha256(msgspec.json.encode(each)).hexdigest()[:16]
            each["id"] = f"item_{len(items)}_{digest}"
    return items
