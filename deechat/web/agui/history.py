"""A thread's messages for clients of AG-UI that load one: as TanStack's client has them, whose question this is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from deechat.agents.plugins.base import dumps
from deechat.store.base import StoredMessage
from deechat.web.shapes import answer_json

Json = dict[str, Any]
_KINDS = {"text": "text", "reasoning": "thinking"}


def message_json(message: StoredMessage) -> Json:
    """Return a message with its parts in the order in which they came; `content` is its text in one piece."""
    shape: Json = {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "createdAt": datetime.fromtimestamp(message.sent_at, UTC).isoformat(),
    }
    is_answer = message.role == "assistant"
    return shape | {"parts": list(_parts(message)) if is_answer else [_said("text", message.content)]}


def _parts(message: StoredMessage) -> Iterator[Json]:
    answer = answer_json(message.details)
    texts = {"text": message.content, "reasoning": answer.get("reasoning") or ""}
    calls = {call["toolCallId"]: call for call in answer.get("toolCalls") or ()}
    for part in message.details.get("parts") or _order(texts, calls):
        kind = part["kind"]
        if kind in texts:
            said, texts[kind] = texts[kind][: part["length"]], texts[kind][part["length"] :]
            yield _said(kind, said)
        elif call := calls.pop(part.get("call_id"), None):
            yield from _call(call)


def _order(texts: Json, calls: Json) -> list[Json]:
    """Return an order for an answer of a version that kept none."""
    thought, said = ({"kind": kind, "length": len(texts[kind])} for kind in ("reasoning", "text"))
    tools = [{"kind": "tool", "call_id": call_id} for call_id in calls]
    return [*([thought] if thought["length"] else []), *tools, said]


def _said(kind: str, text: str) -> Json:
    return {"type": _KINDS[kind], "content": text}


def _call(call: Json) -> Iterator[Json]:
    arguments, content = call["arguments"], call["content"] or ""
    words = arguments if isinstance(arguments, str) else dumps(arguments).decode()
    state = "error" if call["isError"] else "complete"
    head = {"type": "tool-call", "id": call["toolCallId"], "name": call["name"], "arguments": words}
    yield {**head, "state": state, "output": content}
    result = {"type": "tool-result", "toolCallId": call["toolCallId"], "content": content, "state": state}
    yield result | ({"error": content} if call["isError"] else {})
