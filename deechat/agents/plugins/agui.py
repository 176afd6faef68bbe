"""AG-UI 1.0: one table from the vocabulary of the log to that protocol's events.

A run of ours is one AG-UI run or several: one ends, as interrupted, when the run waits for a person, or with the calls
that are pending when it waits for the client's tools alone. The next one begins with the answer. The cursor is `SEQ.K`:
the event K of those that the log's entry SEQ has, counted from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from deechat.agents.plugins.base import Frame, Json, dumps
from deechat.agents.plugins.parts import InParts, Request, public_id
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

Cursor = tuple[int, int]
BEGINNING: Cursor = (0, 0)

_APPROVAL_SCHEMA: Json = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}},
    "required": ["approved"],
}
_ANSWERS_SCHEMA: Json = {
    "type": "object",
    "properties": {"answers": {"type": "array", "items": {"type": "object"}}},
    "required": ["answers"],
}


def interrupt_of(run_id: str, event: Request) -> Json:
    """Return a request as the protocol's interrupt."""
    head = {"id": public_id(run_id, event.request_id), "toolCallId": event.call_id}
    if isinstance(event, ToolApprovalRequest):
        return {
            **head,
            "reason": "tool_call",
            "message": event.description,
            "responseSchema": _APPROVAL_SCHEMA,
            "metadata": {"name": event.name, "arguments": event.arguments},
        }
    questions = list(event.questions)
    return {
        **head,
        "reason": "input_required",
        "message": "\n".join(str(each.get("question", "")) for each in questions),
        "responseSchema": _ANSWERS_SCHEMA,
        "metadata": {"questions": questions, "allowSkip": event.allow_skip},
    }


class AGUI(InParts):
    """The events of a run, or of one part of it. `run_id` is the client's name for it."""

    def __init__(
        self, run_id: str, cursor: Cursor = BEGINNING, *, resumed: Collection[str] = (), until: int | None = None
    ) -> None:
        super().__init__(resumed, until)
        self._run_id = run_id
        self._cursor = cursor
        self._run = RunStarted("", "", "", "", None, None)
        self._text: str | None = None  # the id of the message that is open
        self._reasoning: str | None = None
        self._step: str | None = None
        self._said: dict[str, int] = {}  # where in the log each message of the step began
        self._parent = ""
        self._arguments: dict[str, str] = {}  # of each call as the model wrote them
        self._told: dict[str, Json | None] = {}  # calls that were shown, with the arguments that are an object
        self._public: dict[str, str] = {}  # the ids of the client's calls, which name their run and request
        self._answered: set[str] = set()  # calls whose results are the client's own

    def events(self, event: AnyEvent) -> list[Json]:
        return _FOLD[type(event)](self, event)

    def begin(self) -> list[Json]:
        return [self._started()]

    def pause(self) -> list[Json]:
        pending = self.pending.values()
        interrupts = [interrupt_of(self._run.run_id, each) for each in pending if not isinstance(each, ClientCall)]
        if interrupts:
            return self._finished(outcome={"type": "interrupt", "interrupts": interrupts})
        calls = [self._public[each.call_id] for each in pending]
        return self._finished(outcome={"type": "success", "pendingToolCallIds": calls})

    def frames(self, events: list[Json], *, last: bool) -> list[Frame]:  # noqa: ARG002 - its last event says it
        return [Frame(event, f"{self.seq}.{at}") for at, event in enumerate(events) if (self.seq, at) > self._cursor]

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _started(self) -> Json:
        return {"type": "RUN_STARTED", "threadId": self._run.thread, "runId": self._run_id}

    def _finished(self, **fields: Any) -> list[Json]:
        head = {"type": "RUN_FINISHED", "threadId": self._run.thread, "runId": self._run_id}
        return [*self._closed(), *self._step_closed(), {**head, **fields}]

    def _closed(self) -> list[Json]:
        """Return the end of the message that is open."""
        events: list[Json] = []
        if self._reasoning is not None:
            events = [
                {"type": "REASONING_MESSAGE_END", "messageId": self._reasoning},
                {"type": "REASONING_END", "messageId": self._reasoning},
            ]
        if self._text is not None:
            events = [{"type": "TEXT_MESSAGE_END", "messageId": self._text}]
        self._text = self._reasoning = None
        return events

    def _step_closed(self) -> list[Json]:
        name, self._step = self._step, None
        return [] if name is None else [{"type": "STEP_FINISHED", "stepName": name}]

    def _new_id(self) -> str:
        message_id = f"{self._run.message_id}:{self.seq}"
        self._said[message_id] = self.seq
        return message_id

    def _call(self, call_id: str, name: str, words: str, arguments: Json | None) -> list[Json]:
        """Return a call, unless it was shown."""
        if call_id in self._told:
            return []
        self._told[call_id] = arguments
        head = {"toolCallId": self._public.get(call_id, call_id)}
        return [
            {"type": "TOOL_CALL_START", **head, "toolCallName": name, "parentMessageId": self._parent},
            *([{"type": "TOOL_CALL_ARGS", **head, "delta": words}] if words else []),
            {"type": "TOOL_CALL_END", **head},
        ]

    def _void(self, after: int) -> list[Json]:
        """Return the order to forget the messages that began after a place in the log."""
        closed = self._closed()
        void = [message_id for message_id, seq in self._said.items() if seq > after]
        self._said.clear()
        if self._parent in void:
            self._parent = f"{self._run.message_id}:{self.seq}"
        return [*closed, *([_custom("messagesVoid", messageIds=void)] if void else [])]

    # -- the table's functions -----------------------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> list[Json]:
        self._run = event
        return [self._started()]

    def _on_renamed(self, event: ThreadRenamed) -> list[Json]:
        return [_custom("threadRenamed", threadId=event.thread, name=event.name)]

    def _on_step_started(self, event: StepStarted) -> list[Json]:
        closed = [*self._closed(), *self._step_closed()]
        self._step = f"step {event.step}"
        self._said.clear()
        self._parent = f"{self._run.message_id}:{self.seq}"
        return [*closed, {"type": "STEP_STARTED", "stepName": self._step}]

    def _on_step_finished(self, event: StepFinished) -> list[Json]:
        self._arguments.update({call.id: call.arguments for call in event.calls})
        return [*self._closed(), *self._step_closed()]

    def _on_restarted(self, event: StepRestarted) -> list[Json]:
        void = self._void(event.after)
        if self._step is not None:
            return void
        self._step = f"step {event.step}"
        return [*void, {"type": "STEP_STARTED", "stepName": self._step}]

    def _on_retold(self, event: StepRetold) -> list[Json]:
        return self._void(event.after)

    def _on_text(self, event: TextChunk) -> list[Json]:
        events: list[Json] = []
        if self._text is None:
            events = self._closed()
            self._text = self._parent = self._new_id()
            events.append({"type": "TEXT_MESSAGE_START", "messageId": self._text, "role": "assistant"})
        if event.text:  # the protocol knows no empty piece
            events.append({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text, "delta": event.text})
        return events

    def _on_reasoning(self, event: ReasoningChunk) -> list[Json]:
        events: list[Json] = []
        if self._reasoning is None:
            events = self._closed()
            self._reasoning = self._new_id()
            head = {"messageId": self._reasoning}
            events.append({"type": "REASONING_START", **head})
            events.append({"type": "REASONING_MESSAGE_START", **head, "role": "reasoning"})
        if event.text:
            events.append({"type": "REASONING_MESSAGE_CONTENT", "messageId": self._reasoning, "delta": event.text})
        return events

    def _on_status(self, event: Status) -> list[Json]:
        return [_custom("status", text=event.text, code=event.code, params=event.params)]

    def _on_progress(self, event: ToolProgress) -> list[Json]:
        return [_custom("toolProgress", toolCallId=event.call_id, text=event.text, share=event.share)]

    def _on_invocation(self, event: ToolCallInvocation) -> list[Json]:
        call = [*self._closed(), *self._call(event.call_id, event.name, _words(event.arguments), event.arguments)]
        if self._told[event.call_id] == event.arguments:
            return call
        self._told[event.call_id] = event.arguments  # a person changed them
        return [*call, _custom("toolCallEdited", toolCallId=event.call_id, arguments=event.arguments)]

    def _on_result(self, event: ToolCallResult) -> list[Json]:
        if event.call_id in self._answered:
            return self._closed()
        events = [*self._closed(), *self._call(event.call_id, event.name, self._arguments.get(event.call_id, ""), None)]
        call_id = self._public.get(event.call_id, event.call_id)
        result = {"messageId": f"{self._run.message_id}:{self.seq}", "toolCallId": call_id}
        events.append({"type": "TOOL_CALL_RESULT", **result, "content": event.content, "role": "tool"})
        if event.sources:
            events.append(_sources(event.sources, toolCallId=event.call_id))
        if event.parts:
            events.append(_custom("parts", toolCallId=event.call_id, parts=msgspec.to_builtins(event.parts)))
        return events

    def _on_approval(self, event: ToolApprovalRequest) -> list[Json]:
        return [*self._closed(), *self._call(event.call_id, event.name, _words(event.arguments), event.arguments)]

    def _on_questions(self, event: ClarificationRequest) -> list[Json]:
        arguments = {"questions": list(event.questions)}
        return [*self._closed(), *self._call(event.call_id, "ask_user", _words(arguments), arguments)]

    def _on_client_call(self, event: ClientCall) -> list[Json]:
        self._public[event.call_id] = public_id(self._run.run_id, event.request_id)
        return [*self._closed(), *self._call(event.call_id, event.name, event.arguments, None)]

    def _on_input(self, event: InputReceived) -> list[Json]:
        request = self.pending.get(event.request_id)
        if isinstance(request, ClientCall):
            self._answered.add(request.call_id)
            return [_custom("toolOutput", toolCallId=self._public[request.call_id], content=event.output)]
        interrupt = public_id(self._run.run_id, event.request_id)
        return [_custom("inputReceived", interruptId=interrupt, approved=event.approved, summary=event.summary)]

    def _on_steered(self, event: Steered) -> list[Json]:
        return [_custom("steered", message=event.message)]

    def _on_summarized(self, event: HistorySummarized) -> list[Json]:
        return [_custom("historySummarized", upTo=event.upto, summary=event.text)]

    def _on_text_closed(self, event: TextClosed) -> list[Json]:
        return [*self._closed(), *([_sources(event.sources)] if event.sources else [])]

    def _on_completed(self, event: RunCompleted) -> list[Json]:
        metrics = event.metrics
        used = {
            "model": metrics.model,
            "inputTokens": metrics.prompt_tokens,
            "outputTokens": metrics.completion_tokens,
            "totalTokens": metrics.total_tokens,
        }
        result = {"reason": "completed", "finishReason": event.finish_reason}
        return self._finished(outcome={"type": "success"}, result=result, usage=[used])

    def _on_stopped(self, _event: RunStopped) -> list[Json]:
        return self._finished(result={"reason": "stopped"})

    def _on_failed(self, event: RunFailed) -> list[Json]:
        return [*self._closed(), *self._step_closed(), run_error(event.message, event.code)]


def run_error(message: str, code: str) -> Json:
    """Return the event that ends a run that failed, or one that never began."""
    return {"type": "RUN_ERROR", "message": message, "code": code}


def _words(arguments: Json) -> str:
    return dumps(arguments).decode()


def _custom(name: str, /, **value: Any) -> Json:
    return {"type": "CUSTOM", "name": name, "value": value}


def _sources(sources: tuple[Source, ...], **fields: Any) -> Json:
    return _custom("sources", **fields, sources=msgspec.to_builtins(sources))


_FOLD: dict[type[AnyEvent], Callable[[AGUI, Any], list[Json]]] = {
    RunStarted: AGUI._on_started,
    ThreadRenamed: AGUI._on_renamed,
    StepStarted: AGUI._on_step_started,
    Status: AGUI._on_status,
    ReasoningChunk: AGUI._on_reasoning,
    TextChunk: AGUI._on_text,
    TextClosed: AGUI._on_text_closed,
    StepFinished: AGUI._on_step_finished,
    ToolCallInvocation: AGUI._on_invocation,
    ToolProgress: AGUI._on_progress,
    ToolCallResult: AGUI._on_result,
    ToolApprovalRequest: AGUI._on_approval,
    ClarificationRequest: AGUI._on_questions,
    ClientCall: AGUI._on_client_call,
    InputReceived: AGUI._on_input,
    Steered: AGUI._on_steered,
    StepRestarted: AGUI._on_restarted,
    StepRetold: AGUI._on_retold,
    HistorySummarized: AGUI._on_summarized,
    RunCompleted: AGUI._on_completed,
    RunStopped: AGUI._on_stopped,
    RunFailed: AGUI._on_failed,
}
