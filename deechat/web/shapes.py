"""Values as the contract's JSON."""

from __future__ import annotations

from typing import Any

from deechat.agents.plugins.deechat import frame_of, metrics_of, sources_of
from deechat.agents.tools.base import Tool
from deechat.events import Metrics, Source
from deechat.runs.service import RunView
from deechat.store.base import StoredMessage, Thread, Workspace

Json = dict[str, Any]
FETCH = "web_fetch"  # whose list of hosts has a name of its own beside `allowed`


def workspace_json(workspace: Workspace) -> Json:
    return {
        "id": workspace.id,
        "slug": workspace.slug,
        "name": workspace.name,
        "systemPrompt": workspace.system_prompt,
        "model": workspace.model,
        "mode": workspace.mode,
        "temperature": workspace.temperature,
        "maxTokens": workspace.max_tokens,
        "context": workspace.context or None,
        "transport": workspace.transport or None,
        "tools": workspace.tools,
    }


def tool_json(tool: Tool, workspace: Workspace) -> Json:
    shape: Json = {
        "name": tool.name,
        "description": tool.description,
        "default": tool.policy,
        "policy": workspace.tools.get(tool.name, tool.policy),
    }
    if tool.scope is not None:
        shape |= {"scope": tool.scope_name, "allowed": workspace.allowed.get(tool.name, [])}
    if tool.name == FETCH:
        shape["allowedHosts"] = shape.get("allowed", [])
    return shape


def thread_json(thread: Thread) -> Json:
    return {
        "id": thread.id,
        "slug": thread.slug,
        "name": thread.name,
        "createdAt": thread.created_at,
        "updatedAt": thread.updated_at,
    }


def message_json(message: StoredMessage) -> Json:
    shape: Json = {
        "role": message.role,
        "content": message.content,
        "chatId": message.id,
        "parentId": message.parent_id,
        "sentAt": message.sent_at,
    }
    if message.role == "assistant":
        shape |= {"type": "chat", "run": message.run_id, **answer_json(message.details)}
        if "parts" in message.details:
            shape["parts"] = _parts_json(message)
    return shape


def answer_json(details: Json) -> Json:
    """Return an answer's further fields; those that a version before kept are in these words already."""
    if "tool_calls" not in details:
        return details  # but for `parts`, which `message_json` replaces
    shape = {
        "reasoning": details["reasoning"],
        "toolCalls": [_call_json(each) for each in details["tool_calls"]],
        "steered": details["steered"],
        "metrics": metrics_of(Metrics(**details["metrics"])),
        "sources": _sources_json(details["sources"]),
        "reason": details["reason"],
    }
    if "finish_reason" in details:
        shape["finishReason"] = details["finish_reason"]
    return shape | {name: details[name] for name in ("summary", "error", "code") if name in details}


def _call_json(call: Json) -> Json:
    shape = {
        "toolCallId": call["id"],
        "name": call["name"],
        "arguments": call["arguments"],
        "content": call["content"],
        "isError": call["is_error"],
        "seconds": call["seconds"],
    }
    if "sources" in call:
        shape["sources"] = _sources_json(call["sources"])
    return shape | {name: call[name] for name in ("parts", "cut") if name in call}


_PART_FIELDS = {"call_id": "toolCallId", "request_id": "requestId"}


def _parts_json(message: StoredMessage) -> list[Json]:
    texts = {"text": message.content, "reasoning": message.details.get("reasoning", "")}
    wide = {kind for kind, text in texts.items() if not text.isascii()}
    at = dict.fromkeys(texts, 0)
    shapes: list[Json] = []
    for part in message.details["parts"]:
        kind = part["kind"]
        if kind in wide:
            begin, at[kind] = at[kind], at[kind] + part["length"]
            shapes.append({"kind": kind, "length": _units(texts[kind][begin : at[kind]])})
        elif kind in texts:
            shapes.append(part)
        else:
            shapes.append({_PART_FIELDS.get(name, name): value for name, value in part.items()})
    return shapes


def _units(text: str) -> int:
    """Return the length of a text in UTF-16, as a browser counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _sources_json(sources: list[Json]) -> list[Json]:
    return sources_of(tuple(Source(**each) for each in sources))


def run_json(view: RunView) -> Json:
    run = view.run
    return {
        "id": run.id,
        "status": view.status,
        "reason": run.reason,
        "thread": {"workspace": view.workspace.slug, "slug": view.thread.slug, "name": view.thread.name},
        "model": run.model,
        "startedAt": run.started_at,
        "endedAt": run.ended_at,
        "pending": [frame_of(entry, run.message_id) for entry in view.pending],
        "lastEventId": view.last_seq,
    }
