"""The input of AG-UI: `RunAgentInput`, as far as it is read here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from flask import request
from msgspec import Meta, Struct

from deechat.agents.plugins.agui import BEGINNING, Cursor
from deechat.agents.plugins.parts import ids_of
from deechat.errors import BadRequestError
from deechat.events import ClientTool
from deechat.web.foreign import check_prompt

ThreadId = Annotated[str, Meta(min_length=1, max_length=200)]


class Answer(Struct, rename="camel"):
    """What a person said to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: dict[str, Any] | None = None


class Tool(Struct):
    """A tool that the client runs; `parameters` is a JSON schema."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str = ""
    parameters: dict[str, Any] | None = None


class RunAgentInput(Struct, rename="camel"):
    """`state`, `context` and `forwardedProps` are taken and not read."""

    thread_id: ThreadId
    run_id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: list[dict[str, Any]] = []
    resume: list[Answer] | None = None
    tools: list[Tool] = []


def read_prompt(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last message, which must be the user's. Raises `BadRequestError`."""
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        raise BadRequestError("The last of the messages must be the user's: it is the one that is answered.")
    return check_prompt(_text(last.get("content") or last.get("parts")))


def read_tools(tools: list[Tool]) -> tuple[ClientTool, ...]:
    """Return the client's tools. Raises `BadRequestError` where two have one name."""
    found: dict[str, ClientTool] = {}
    for each in tools:
        if each.name in found:
            raise BadRequestError(f"Two tools have the name {each.name!r}.")
        parameters = each.parameters or {"type": "object", "properties": {}}
        found[each.name] = ClientTool(each.name, each.description, parameters)
    return tuple(found.values())


def read_outputs(messages: list[dict[str, Any]]) -> dict[str, str]:
    """Return the results of the client's own tools at the end of the messages, by the ids of the calls.

    Raises `BadRequestError`.
    """
    outputs: dict[str, str] = {}
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        call_id = message.get("toolCallId")
        if isinstance(call_id, str) and ids_of(call_id)[1]:  # the id of a call that ran here names no run
            outputs.setdefault(call_id, _text(message.get("content") or message.get("error") or ""))
    return outputs


def _text(content: object) -> str:
    pieces = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts: list[str] = []
    for piece in pieces if isinstance(pieces, list) else []:
        text = (piece.get("text") or piece.get("content")) if isinstance(piece, dict) else None
        if not isinstance(text, str) or piece.get("type") != "text":
            raise BadRequestError("A message can be text only: pictures and files are not taken yet.")
        texts.append(text)
    return "\n".join(texts)


def read_event_cursor() -> Cursor:
    """Read from `Last-Event-ID` which event was the last one seen. Raises `BadRequestError`: `bad_cursor`."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return BEGINNING
    found = re.fullmatch(r"([0-9]{1,12})\.([0-9]{1,6})", text)
    if not found:
        raise BadRequestError(
            f"Last-Event-ID is {text[:40]!r}, but the id of an event of this run is expected.", code="bad_cursor"
        )
    return int(found[1]), int(found[2])
