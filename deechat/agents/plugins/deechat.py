"""DeeChat's own dialect: one table, from the vocabulary of the log to that of the wire contract.

A frame depends on the entry and the message's id alone, so the same entry gives the same frame for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from deechat.agents.plugins.base import Frame, Json, PieceKind, dumps
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    Entry,
    HistorySummarized,
    InputReceived,
    Metrics,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Source,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    TextClosed,
    ThreadRenamed,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
)

_MARK = "\0"  # a text that stands nowhere else in a frame


class DeeChat:
    """The dialect of the page and of docs/protocol.md.

    `introspection` off leaves status and progress out, which the agent and its tools say of their own doings. The
    numbers stay those of the log.
    """

    from_start = False
    over = False  # the log ends it

    def __init__(self, message_id: str, *, introspection: bool = True) -> None:
        self._message_id = message_id
        self._introspection = introspection

    def fold(self, entry: Entry) -> Iterable[Frame]:
        if isinstance(entry.event, Status | ToolProgress) and not self._introspection:
            return ()
        return (Frame(frame_of(entry, self._message_id), entry.seq),)

    def patterns(self) -> Mapping[PieceKind, bytes]:
        return {kind: _pattern_of(kind, self._message_id) for kind in (TextChunk, ReasoningChunk)}

    def cut_off(self) -> Iterable[Frame]:
        return ()

    def heartbeat(self, last_seq: int) -> Frame:
        return Frame({"type": "heartbeat", "lastEventId": last_seq}, name="heartbeat")

    def resync(self) -> Frame:
        return Frame({"type": "resync"})


def frame_of(entry: Entry, message_id: str) -> Json:
    """Return the frame of an entry, with the assistant message's id first.

    Text and endings share the message's id as `uuid`, since a front end of the AnythingLLM family groups by it; every
    other frame has a `uuid` of its own.
    """
    event = entry.event
    uuid = message_id if isinstance(event, _GROUPED) else f"{message_id}:{entry.seq}"
    return {"id": message_id, "uuid": uuid, **_FIELDS[type(event)](event, message_id)}


def _pattern_of(kind: PieceKind, message_id: str) -> bytes:
    frame = frame_of(Entry(0, 0.0, kind(_MARK)), message_id)
    pattern = dumps(frame).replace(b"%", b"%%").replace(dumps(_MARK), b"%(text)b")
    numbered = dumps(f"{message_id}:").replace(b"%", b"%%")[:-1]
    return pattern if kind in _GROUPED else pattern.replace(numbered + b'0"', numbered + b'%(seq)d"')


def metrics_of(metrics: Metrics) -> Json:
    """Return metrics in the contract's words; `estimated` stands there only when it is true."""
    frame = {
        "prompt_tokens": metrics.prompt_tokens,
        "completion_tokens": metrics.completion_tokens,
        "total_tokens": metrics.total_tokens,
        "outputTps": metrics.output_tps,
        "ttft": metrics.ttft,
        "duration": metrics.duration,
        "model": metrics.model,
    }
    return {**frame, "estimated": True} if metrics.estimated else frame


def sources_of(sources: tuple[Source, ...]) -> list[Json]:
    """Return sources in the contract's words."""
    return [
        {"id": each.id, "title": each.title, "text": each.text, "chunkSource": each.chunk_source, "score": each.score}
        for each in sources
    ]


def beside(result: ToolCallResult) -> Json:
    """Return the fields for a result's sources and parts; none where it is text alone."""
    frame: Json = {"sources": sources_of(result.sources)} if result.sources else {}
    return {**frame, "parts": msgspec.to_builtins(result.parts)} if result.parts else frame


# -- the table ---------------------------------------------------------------------------------------------------------


def _run_started(event: RunStarted, _id: str) -> Json:
    return {
        "type": "runStarted",
        "runId": event.run_id,
        "thread": {"workspace": event.workspace, "slug": event.thread, "name": event.name},
        "model": event.model,
        "continues": event.continues,
        "close": False,
    }


def _thread_renamed(event: ThreadRenamed, _id: str) -> Json:
    return {"action": "rename_thread", "thread": {"slug": event.thread, "name": event.name}}


def _step_started(event: StepStarted, _id: str) -> Json:
    return {"type": "stepStarted", "step": event.step}


def _status(event: Status, _id: str) -> Json:
    return {
        "type": "statusResponse",
        "textResponse": event.text,
        "code": event.code,
        "params": event.params,
        "sources": [],
        "close": False,
        "animate": True,
    }


def _reasoning(event: ReasoningChunk, _id: str) -> Json:
    return {"type": "reasoningChunk", "textResponse": event.text, "close": False}


def _text(event: TextChunk, _id: str) -> Json:
    return {"type": "textResponseChunk", "textResponse": event.text, "sources": [], "close": False, "error": None}


def _text_closed(event: TextClosed, _id: str) -> Json:
    sources = sources_of(event.sources)
    return {"type": "textResponseChunk", "textResponse": "", "sources": sources, "close": True, "error": None}


def _step_finished(event: StepFinished, _id: str) -> Json:
    return {"type": "stepFinished", "step": event.step, "finishReason": event.finish_reason}


def _invocation(event: ToolCallInvocation, _id: str) -> Json:
    return {
        "type": "toolCallInvocation",
        "toolCallId": event.call_id,
        "name": event.name,
        "arguments": event.arguments,
        "close": False,
    }


def _progress(event: ToolProgress, _id: str) -> Json:
    return {
        "type": "toolProgress",
        "toolCallId": event.call_id,
        "name": event.name,
        "text": event.text,
        "share": event.share,
    }


def _result(event: ToolCallResult, _id: str) -> Json:
    return {
        "type": "toolCallResult",
        "toolCallId": event.call_id,
        "name": event.name,
        "content": event.content,
        "isError": event.is_error,
        "seconds": event.seconds,
        **beside(event),
    }


def _approval(event: ToolApprovalRequest, _id: str) -> Json:
    return {
        "type": "toolApprovalRequest",
        "requestId": event.request_id,
        "toolCallId": event.call_id,
        "skillName": event.name,
        "payload": event.arguments,
        "description": event.description,
    }


def _clarification(event: ClarificationRequest, _id: str) -> Json:
    return {
        "type": "clarificationRequest",
        "requestId": event.request_id,
        "toolCallId": event.call_id,
        "questions": list(event.questions),
        "allowSkip": event.allow_skip,
    }


def _client_call(event: ClientCall, _id: str) -> Json:
    return {
        "type": "clientCall",
        "requestId": event.request_id,
        "toolCallId": event.call_id,
        "name": event.name,
        "arguments": event.arguments,
    }


def _input(event: InputReceived, _id: str) -> Json:
    if event.output is not None:
        given: Json = {"output": event.output}
    elif event.approved is not None:
        given = {"approved": event.approved}
    else:
        given = {"answers": list(event.answers or ())}
    return {"type": "inputReceived", "requestId": event.request_id, **given, "summary": event.summary}


def _steered(event: Steered, _id: str) -> Json:
    return {"type": "steered", "message": event.message}


def _step_restarted(event: StepRestarted, _id: str) -> Json:
    return {"type": "stepRestarted", "step": event.step, "afterId": event.after}


def _step_retold(event: StepRetold, _id: str) -> Json:
    # Whoever takes back what a restart made void takes this back too, without knowing the field.
    return {"type": "stepRestarted", "step": event.step, "afterId": event.after, "retold": event.kind}


def _summarized(event: HistorySummarized, _id: str) -> Json:
    return {"type": "historySummarized", "upTo": event.upto, "summary": event.text}


def _completed(event: RunCompleted, message_id: str) -> Json:
    return {
        "type": "finalizeResponseStream",
        "sources": sources_of(event.sources),
        "metrics": metrics_of(event.metrics),
        "chatId": message_id,
        "finishReason": event.finish_reason,
        "reason": "completed",
        "close": True,
        "error": False,
    }


def _stopped(event: RunStopped, message_id: str) -> Json:
    return {
        "type": "stopGeneration",
        "reason": "stopped",
        "chatId": message_id,
        "upstreamClosedMs": event.upstream_closed_ms,
        "close": True,
    }


def _failed(event: RunFailed, message_id: str) -> Json:
    return {
        "type": "abort",
        "textResponse": None,
        "sources": [],
        "close": True,
        "error": event.message,
        "code": event.code,
        "reason": event.reason,
        "chatId": message_id,
    }


_GROUPED = (TextChunk, TextClosed, RunCompleted, RunStopped, RunFailed)
_FIELDS: dict[type[AnyEvent], Callable[[Any, str], Json]] = {
    RunStarted: _run_started,
    ThreadRenamed: _thread_renamed,
    StepStarted: _step_started,
    Status: _status,
    ReasoningChunk: _reasoning,
    TextChunk: _text,
    TextClosed: _text_closed,
    StepFinished: _step_finished,
    ToolCallInvocation: _invocation,
    ToolProgress: _progress,
    ToolCallResult: _result,
    ToolApprovalRequest: _approval,
    ClarificationRequest: _clarification,
    ClientCall: _client_call,
    InputReceived: _input,
    Steered: _steered,
    StepRestarted: _step_restarted,
    StepRetold: _step_retold,
    HistorySummarized: _summarized,
    RunCompleted: _completed,
    RunStopped: _stopped,
    RunFailed: _failed,
}
