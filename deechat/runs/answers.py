"""The message that a run leaves in its thread when it ends, and the order of its parts.

The parts say in which order things came, and hold nothing that stands elsewhere in the message: of a text its length,
of a call its id. Answers that an earlier version wrote have none; theirs are made of the run's log at each reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from deechat.agents.history import pack
from deechat.agents.state import CallState, RunState, Said
from deechat.errors import DamagedError
from deechat.events import (
    LACKING,
    ClarificationRequest,
    ClientCall,
    Ending,
    Entry,
    HistorySummarized,
    Metrics,
    RunCompleted,
    RunFailed,
    Status,
    Steered,
    ToolApprovalRequest,
    ToolCallResult,
)
from deechat.messages import is_object
from deechat.store.base import RunRow, StoredMessage

Json = dict[str, Any]

BESIDE_BYTES = 1_000_000  # of all sources and parts of an answer's results as JSON; the log has the others
MOST_SAID = 1_000  # parts, from which on text and thinking begin no further one

log = logging.getLogger(__name__)


# -- at the ending -----------------------------------------------------------------------------------------------------


def answer(run: RunRow, state: RunState, ending: Ending, metrics: Metrics, at: float) -> StoredMessage:
    """Return the assistant's message that a run leaves in its thread when it ends.

    `metrics` are those of a run that did not complete: a `RunCompleted` brings its own.
    """
    details = {
        "reasoning": "".join(state.reasoning),
        "tool_calls": _tool_calls(state.calls.values()),
        "steered": list(state.steered),
        "parts": _parts(state),
        "metrics": asdict(ending.metrics if isinstance(ending, RunCompleted) else metrics),
        "sources": [asdict(each) for each in (ending.sources if isinstance(ending, RunCompleted) else ())],
        "reason": ending.reason,
    }
    if isinstance(ending, RunCompleted) and ending.finish_reason in LACKING:
        details["finish_reason"] = ending.finish_reason
    if state.summary is not None and state.summary.text:
        details["summary"] = state.summary.text
    if isinstance(ending, RunFailed):
        details |= {"error": ending.message, "code": ending.code}
    content = "".join(state.text)
    return StoredMessage(
        id=run.message_id,
        thread_id=run.thread_id,
        parent_id=run.parent_id,
        role="assistant",
        content=content,
        sent_at=at,
        run_id=run.id,
        details=details,
        turns=pack(state.transcript(), content),
    )


def _tool_calls(calls: Iterable[CallState]) -> list[Json]:
    """Return calls with their results. Sources and parts are `cut` where the room is used up."""
    kept, room = [], BESIDE_BYTES
    for each in calls:
        shape, beside = _tool_call(each), _beside(each.result)
        size = len(msgspec.json.encode(beside)) if beside else 0
        if size <= room:
            room -= size
            shape |= beside
        else:
            shape["cut"] = True
        kept.append(shape)
    return kept


def _tool_call(call: CallState) -> Json:
    result = call.result
    return {
        "id": call.call.id,
        "name": call.call.name,
        "arguments": _arguments(call),
        "content": result.content if result else None,
        "is_error": result.is_error if result else True,
        "seconds": result.seconds if result else 0.0,
    }


def _arguments(call: CallState) -> Json | str:
    """Return the arguments of a call that started, here or at the client, as an object; else as they were written."""
    if call.arguments is not None:
        return call.arguments
    written = call.call.arguments
    if not isinstance(call.request, ClientCall):
        return written
    return msgspec.json.decode(written, type=Json) if is_object(written) else {"arguments": written}


def _beside(result: ToolCallResult | None) -> Json:
    beside: Json = {}
    if result and result.sources:
        beside["sources"] = [asdict(each) for each in result.sources]
    if result and result.parts:
        beside["parts"] = msgspec.to_builtins(result.parts)
    return beside


# -- parts -------------------------------------------------------------------------------------------------------------


def _parts(state: RunState) -> list[Json]:
    pieces = {"text": state.text, "reasoning": state.reasoning}
    ends = {kind: len(each) for kind, each in pieces.items()}
    parts: list[Json] = []
    for part in reversed(state.parts):
        if isinstance(part, Said):
            said = pieces[part.kind][part.first : ends[part.kind]]
            parts.append({"kind": part.kind, "length": sum(map(len, said))})
            ends[part.kind] = part.first
        else:
            parts.append(_part(part, state))
    return _joined(parts[::-1])


def _part(
    part: CallState | ToolApprovalRequest | ClarificationRequest | Steered | Status | HistorySummarized, state: RunState
) -> Json:
    match part:
        case CallState(call):
            return {"kind": "tool", "call_id": call.id}
        case ToolApprovalRequest() | ClarificationRequest():
            return _request(part, state)
        case Steered():
            return {"kind": "steered"}
        case Status(text, code, params):
            return {"kind": "notice", "code": code, "params": params, "text": text}
        case HistorySummarized(_, text):
            return {"kind": "summary"} if part is state.summary else {"kind": "summary", "text": text}


def _request(request: ToolApprovalRequest | ClarificationRequest, state: RunState) -> Json:
    """Return a request with its reply; its subject stands in its call, where that ran with just this."""
    call, reply = state.calls.get(request.call_id), state.replies.get(request.request_id)
    ran, summary = call.arguments if call else None, reply.summary if reply else ""
    part: Json = {"request_id": request.request_id, "call_id": request.call_id, "summary": summary}
    if isinstance(request, ToolApprovalRequest):
        part |= {"kind": "approval", "name": request.name, "description": request.description}
        part["approved"] = reply.approved if reply else None
        return part if _same(ran, request.arguments) else {**part, "arguments": request.arguments}
    part |= {"kind": "questions", "answers": list(reply.answers or ()) if reply else None}
    questions = list(request.questions)
    return part if _same(ran, {"questions": questions}) else {**part, "questions": questions}


def _same(one: Any, other: Any) -> bool:
    return msgspec.json.encode(one) == msgspec.json.encode(other)  # 1, 1.0 and True are equal, and look different


def _joined(parts: list[Json]) -> list[Json]:
    """Return the parts; from `MOST_SAID` on, text and thinking are added to the last part of their kind."""
    kept: list[Json] = []
    last: dict[str, Json] = {}  # text and thinking, by kind
    for part in parts:
        if len(kept) >= MOST_SAID and part["kind"] in last:
            last[part["kind"]]["length"] += part["length"]
            continue
        kept.append(part)
        if "length" in part:
            last[part["kind"]] = part
    return kept


# -- answers of before -------------------------------------------------------------------------------------------------


def lacks_parts(message: StoredMessage) -> bool:
    """Say whether a message is an answer that a version without parts wrote."""
    return message.role == "assistant" and "parts" not in message.details


def with_parts(message: StoredMessage, pages: Callable[[str], Iterable[Sequence[Entry]]]) -> StoredMessage:
    """Return such an answer with parts in the order of its run's log, which `pages` reads by the run's id.

    The order is thinking, calls, messages that joined, text where the log cannot tell, or need not: without calls and
    messages that joined there is no other.
    """
    parts = _usual(message)
    if message.run_id is not None and any("length" not in each for each in parts):
        parts = _logged(message, pages(message.run_id)) or parts
    return replace(message, details={**message.details, "parts": parts})


def _usual(message: StoredMessage) -> list[Json]:
    details = message.details
    calls = details.get("tool_calls") or details.get("toolCalls") or ()  # `StoredMessage` says why two
    said = {"reasoning": len(details.get("reasoning") or ""), "text": len(message.content)}
    thinking, text = ([{"kind": kind, "length": length}] if length else [] for kind, length in said.items())
    return [
        *([{"kind": "summary"}] if details.get("summary") else []),
        *thinking,
        *({"kind": "tool", "call_id": each.get("id") or each.get("toolCallId")} for each in calls),
        *({"kind": "steered"} for _ in details.get("steered") or ()),
        *text,
    ]


def _logged(message: StoredMessage, pages: Iterable[Sequence[Entry]]) -> list[Json] | None:
    state = RunState()
    try:
        for entry in chain.from_iterable(pages):
            state.apply(entry)
    except (DamagedError, LookupError, ValueError):
        log.warning("the log of the run %s does not tell the order of its answer", message.run_id)
        return None
    said = "".join(state.reasoning), "".join(state.text)
    return _parts(state) if said == (message.details.get("reasoning") or "", message.content) else None
