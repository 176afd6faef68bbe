"""The UI message stream of the AI SDK: one table from the vocabulary of the log to that protocol's chunks.

The cursor is a number of chunks: the client counts those that it was sent, from 0 at the stream's beginning. A run that
waits for a person ends the stream; the rest, under the same message, is the stream that the answer is sent for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from deechat.agents.plugins.base import Frame, Json
from deechat.agents.plugins.parts import InParts, public_id
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    HistorySummarized,
    InputReceived,
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

DONE = b"[DONE]"
# The protocol's words for how a model ends; any other one is `other`.
_FINISH = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}


class AISDK(InParts):
    """The chunks of a run, or of one part of it, from the chunk `start` on of those that are shown."""

    def __init__(self, start: int = 0, *, resumed: Collection[str] = (), until: int | None = None) -> None:
        super().__init__(resumed, until)
        self._start = start
        self.count = 0  # chunks so far, those that the viewer has included
        self._run = RunStarted("", "", "", "", None, None)
        self._open: str | None = None  # the kind of the piece that is open, `text` or `reasoning`
        self._piece = ""  # its id
        self._in_step = False
        self._arguments: dict[str, str] = {}  # of each call as the model wrote them
        self._told: dict[str, Any] = {}  # calls that were shown, with their input
        self.asked: dict[str, str] = {}  # the call of each request
        self._denied: set[str] = set()

    def events(self, event: AnyEvent) -> list[Json]:
        return _FOLD[type(event)](self, event)

    def begin(self) -> list[Json]:
        return [{"type": "start", "messageId": self._run.message_id}]

    def pause(self) -> list[Json]:
        return [*self._step_closed(), {"type": "finish", "finishReason": "tool-calls"}]

    def frames(self, events: list[Json], *, last: bool) -> list[Frame]:
        skipped = max(0, self._start - self.count)
        self.count += len(events)
        frames = [Frame(event) for event in events[skipped:]]
        return [*frames, Frame(DONE)] if last else frames

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _closed(self) -> list[Json]:
        """Return the end of the piece that is open."""
        kind, self._open = self._open, None
        return [] if kind is None else [{"type": f"{kind}-end", "id": self._piece}]

    def _step_closed(self) -> list[Json]:
        closed = self._closed()
        if self._in_step:
            closed.append({"type": "finish-step"})
        self._in_step = False
        return closed

    def _say(self, kind: str, text: str) -> list[Json]:
        events: list[Json] = []
        if self._open != kind:
            events = self._closed()
            self._open, self._piece = kind, str(self.seq)
            events.append({"type": f"{kind}-start", "id": self._piece})
        events.append({"type": f"{kind}-delta", "id": self._piece, "delta": text})
        return events

    def _call(self, call_id: str, name: str, given: Any) -> list[Json]:
        """Return a call, unless it was shown with this input."""
        if call_id in self._told and self._told[call_id] == given:
            return []
        self._told[call_id] = given
        chunk = {"type": "tool-input-available", "toolCallId": call_id, "toolName": name, "input": given}
        return [chunk | {"dynamic": True, "providerExecuted": True}]

    def _again(self) -> list[Json]:
        """Return the order to forget the step's pieces."""
        return [*self._closed(), {"type": "reset-step"}]

    # -- the table's functions -----------------------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> list[Json]:
        self._run = event
        metadata = {"runId": event.run_id, "threadId": event.thread, "model": event.model}
        return [{"type": "start", "messageId": event.message_id, "messageMetadata": metadata}]

    def _on_renamed(self, event: ThreadRenamed) -> list[Json]:
        return [_passing("thread", slug=event.thread, name=event.name)]

    def _on_step_started(self, _event: StepStarted) -> list[Json]:
        closed = self._step_closed()
        self._in_step = True
        return [*closed, {"type": "start-step"}]

    def _on_step_finished(self, event: StepFinished) -> list[Json]:
        self._arguments.update({call.id: call.arguments for call in event.calls})
        return self._closed()  # the step's tools belong to it

    def _on_restarted(self, _event: StepRestarted) -> list[Json]:
        again = self._again()
        if self._in_step:
            return again
        self._in_step = True
        return [{"type": "start-step"}]

    def _on_retold(self, _event: StepRetold) -> list[Json]:
        return self._again()

    def _on_text(self, event: TextChunk) -> list[Json]:
        return self._say("text", event.text)

    def _on_reasoning(self, event: ReasoningChunk) -> list[Json]:
        return self._say("reasoning", event.text)

    def _on_status(self, event: Status) -> list[Json]:
        return [_passing("status", text=event.text, code=event.code, params=event.params)]

    def _on_progress(self, event: ToolProgress) -> list[Json]:
        return [_passing("progress", toolCallId=event.call_id, text=event.text, share=event.share)]

    def _on_invocation(self, event: ToolCallInvocation) -> list[Json]:
        return [*self._closed(), *self._call(event.call_id, event.name, event.arguments)]

    def _on_result(self, event: ToolCallResult) -> list[Json]:
        events = self._closed()
        if event.call_id not in self._told:
            events += self._call(event.call_id, event.name, _read(self._arguments.get(event.call_id, "")))
        head = {"toolCallId": event.call_id}
        ran = {**head, "dynamic": True, "providerExecuted": True}
        if event.call_id in self._denied:
            events.append({"type": "tool-output-denied", **head})
        elif event.is_error:
            events.append({"type": "tool-output-error", **ran, "errorText": event.content})
        else:
            events.append({"type": "tool-output-available", **ran, "output": event.content})
        if event.parts:
            events.append({"type": "data-parts", "data": {**head, "parts": msgspec.to_builtins(event.parts)}})
        return [*events, *map(_source, event.sources)]

    def _on_approval(self, event: ToolApprovalRequest) -> list[Json]:
        call = self._call(event.call_id, event.name, event.arguments)
        return [*self._closed(), *call, self._request(event.request_id, event.call_id, event.description)]

    def _on_questions(self, event: ClarificationRequest) -> list[Json]:
        questions = list(event.questions)
        call = self._call(event.call_id, "ask_user", {"questions": questions})
        words = "\n".join(str(each.get("question", "")) for each in questions)
        return [*self._closed(), *call, self._request(event.request_id, event.call_id, words)]

    def _request(self, request_id: str, call_id: str, words: str) -> Json:
        self.asked[request_id] = call_id
        approval_id = public_id(self._run.run_id, request_id)
        return {"type": "tool-approval-request", "approvalId": approval_id, "toolCallId": call_id, "reason": words}

    def _on_client_call(self, event: ClientCall) -> list[Json]:
        return [*self._closed(), *self._call(event.call_id, event.name, _read(event.arguments))]

    def _on_input(self, event: InputReceived) -> list[Json]:
        if isinstance(self.pending.get(event.request_id), ClientCall):
            return []  # its result follows
        approved = event.approved is not False
        if not approved:
            self._denied.add(self.asked.get(event.request_id, ""))
        approval_id = public_id(self._run.run_id, event.request_id)
        return [
            {"type": "tool-approval-response", "approvalId": approval_id, "approved": approved, "reason": event.summary}
        ]

    def _on_steered(self, event: Steered) -> list[Json]:
        return [{"type": "data-steered", "data": {"message": event.message}}]

    def _on_summarized(self, event: HistorySummarized) -> list[Json]:
        return [_passing("summary", upTo=event.upto, summary=event.text)]

    def _on_text_closed(self, event: TextClosed) -> list[Json]:
        return [*self._closed(), *map(_source, event.sources)]

    def _on_completed(self, event: RunCompleted) -> list[Json]:
        reason = _FINISH.get(event.finish_reason, "other")
        metadata = {"metrics": msgspec.to_builtins(event.metrics), "finishReason": event.finish_reason}
        return [*self._step_closed(), {"type": "finish", "finishReason": reason, "messageMetadata": metadata}]

    def _on_stopped(self, _event: RunStopped) -> list[Json]:
        # A transport that comes back does so until there is a `finish`.
        finish = {"type": "finish", "finishReason": "other"}
        return [*self._step_closed(), {"type": "abort", "reason": "stopped"}, finish]

    def _on_failed(self, event: RunFailed) -> list[Json]:
        finish = {"type": "finish", "finishReason": "error"}
        return [*self._step_closed(), {"type": "error", "errorText": event.message}, finish]


def _read(arguments: str) -> Any:
    """Return a call's arguments as a value, or as their text where they are none."""
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments


def _passing(name: str, /, **data: Any) -> Json:
    """Return data that is shown and not kept in the message."""
    return {"type": f"data-{name}", "data": data, "transient": True}


def _source(source: Source) -> Json:
    if source.chunk_source.startswith(("https://", "http://")):
        return {"type": "source-url", "sourceId": source.id, "url": source.chunk_source, "title": source.title}
    return {"type": "source-document", "sourceId": source.id, "mediaType": "text/plain", "title": source.title}


_FOLD: dict[type[AnyEvent], Callable[[AISDK, Any], list[Json]]] = {
    RunStarted: AISDK._on_started,
    ThreadRenamed: AISDK._on_renamed,
    StepStarted: AISDK._on_step_started,
    Status: AISDK._on_status,
    ReasoningChunk: AISDK._on_reasoning,
    TextChunk: AISDK._on_text,
    TextClosed: AISDK._on_text_closed,
    StepFinished: AISDK._on_step_finished,
    ToolCallInvocation: AISDK._on_invocation,
    ToolProgress: AISDK._on_progress,
    ToolCallResult: AISDK._on_result,
    ToolApprovalRequest: AISDK._on_approval,
    ClarificationRequest: AISDK._on_questions,
    ClientCall: AISDK._on_client_call,
    InputReceived: AISDK._on_input,
    Steered: AISDK._on_steered,
    StepRestarted: AISDK._on_restarted,
    StepRetold: AISDK._on_retold,
    HistorySummarized: AISDK._on_summarized,
    RunCompleted: AISDK._on_completed,
    RunStopped: AISDK._on_stopped,
    RunFailed: AISDK._on_failed,
}
