"""The Responses API: a run's piece as its events, and as the resource that it is at any moment.

Events are numbered from 0. The text of all messages of a run's responses, joined, is the text of its answer.

What a restart makes void has no word in the protocol: the open item ends as `incomplete`, the step's items leave the
output, and the next ones have new places. The specification wants an incomplete item to be the last; here it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from deechat.agents.plugins.base import Frame, Json
from deechat.agents.plugins.openai.items import (
    Event,
    OurCall,
    Piecewise,
    Said,
    Thought,
    approval,
    approval_id,
    their_call,
)
from deechat.agents.plugins.openai.segments import DONE, Segments, Table, call_id, failure_json, short
from deechat.events import (
    CUT,
    FILTERED,
    ClarificationRequest,
    ClientCall,
    Entry,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStopped,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
)

_LACKS = {CUT: "max_output_tokens", FILTERED: "content_filter"}
# The fields that a resource has always, and the values of those that the request left out.
_FIELDS: Json = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}


def response_id(run_id: str, segment: int) -> str:
    """Return the id of the response that a run's piece is."""
    return f"resp_{short(run_id)}_{segment}"


class Responses(Segments):
    """`after`: the number of the last event that the viewer has, -1 for none."""

    def __init__(self, segment: int, after: int = -1) -> None:
        super().__init__(segment)
        self.numbered = 0
        self.status = "in_progress"
        self._after = after
        self._items: dict[int, Json] = {}  # those that are done, by their place
        self._places = 0
        self._first = 0  # the first place of the step
        self._open: Piecewise | None = None
        self._calls: dict[str, OurCall] = {}
        self._done_at: float | None = None
        self._lacks: str | None = None

    # -- the resource --------------------------------------------------------------------------------------------------

    def resource(self) -> Json:
        """Return the response as it is now."""
        echo, asked, said = self.echo, *self.tokens
        previous = response_id(self.run_id, self.segment - 1) if self.segment else echo.get("previous_response_id")
        return {
            "id": response_id(self.run_id, self.segment),
            "object": "response",
            "created_at": int(self.began_at),
            "completed_at": None if self._done_at is None else int(self._done_at),
            "status": self.status,
            "error": {"code": self.failure.code, "message": self.failure.message} if self.failure else None,
            "incomplete_details": {"reason": self._lacks} if self._lacks else None,
            "model": echo.get("model", ""),
            **{name: echo.get(name, value) for name, value in _FIELDS.items()},
            "previous_response_id": previous,
            "output": [self._items[at] for at in sorted(self._items)],
            "usage": None
            if self.status == "in_progress"
            else {
                "input_tokens": asked,
                "output_tokens": said,
                "total_tokens": asked + said,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def inputs(self) -> list[Json]:
        """Return the answers that the piece began with, as items of an input."""
        items: list[Json] = []
        for each in self.answers:
            request = self.state.requests[each.request_id]
            if isinstance(request, ClientCall):
                fields: Json = {"call_id": call_id(self.run_id, request.call_id), "output": each.output or ""}
                items.append({"type": "function_call_output", "status": "completed", **fields})
            elif isinstance(request, ToolApprovalRequest):
                fields = {"approval_request_id": approval_id(each.request_id), "approve": each.approved}
                items.append({"type": "mcp_approval_response", **fields})
        return [{"id": f"item_{number}", **item} for number, item in enumerate(items)]

    # -- events --------------------------------------------------------------------------------------------------------

    def _frames(self, events: Iterable[Event]) -> Iterable[Frame]:
        for kind, fields in events:
            number = self.numbered
            self.numbered += 1
            if kind == "response.output_item.done":
                self._items[fields["output_index"]] = fields["item"]
            if number > self._after:
                yield Frame({"type": kind, "sequence_number": number, **fields}, name=kind)

    def begin(self, _entry: Entry) -> Iterable[Frame]:
        for kind in ("response.created", "response.in_progress"):
            yield from self._frames([(kind, {"response": self.resource()})])

    def rest(self, _entry: Entry) -> Iterable[Frame]:
        return self._end("completed", _entry)

    def _end(self, status: str, entry: Entry, *before: Event) -> Iterable[Frame]:
        yield from self._close("completed" if status == "completed" else "incomplete")
        yield from self._frames(before)
        self.status, self._done_at = status, entry.at if status == "completed" else None
        # No event is named after a response that was cancelled; its resource says it.
        kind = "incomplete" if status == "cancelled" else status
        yield from self._frames([(f"response.{kind}", {"response": self.resource()})])
        yield DONE

    def _place(self) -> int:
        self._places += 1
        return self._places - 1

    def _item_id(self, prefix: str, entry: Entry) -> str:
        return f"{prefix}_{short(self.run_id)}_{entry.seq}"

    def _close(self, status: str = "completed") -> Iterable[Frame]:
        if self._open is not None:
            closing, self._open = self._open, None
            yield from self._frames(closing.end(status))

    def _say(self, kind: type[Piecewise], text: str, entry: Entry) -> Iterable[Frame]:
        if not isinstance(self._open, kind):
            yield from self._close()
            self._open = kind(self._item_id(kind.prefix, entry), self._place())
            yield from self._frames(self._open.begin())
        yield from self._frames(self._open.grow(text))

    # -- the table -----------------------------------------------------------------------------------------------------

    def _on_text(self, event: TextChunk, entry: Entry) -> Iterable[Frame]:
        return self._say(Said, event.text, entry)

    def _on_reasoning(self, event: ReasoningChunk, entry: Entry) -> Iterable[Frame]:
        return self._say(Thought, event.text, entry)

    def _on_step(self, _event: StepStarted, _entry: Entry) -> Iterable[Frame]:
        self._first = self._places
        return ()

    def _on_void(self, _event: StepRestarted | StepRetold, _entry: Entry) -> Iterable[Frame]:
        yield from self._close("incomplete")
        for at in [at for at in self._items if at >= self._first]:
            del self._items[at]

    def _on_step_finished(self, _event: StepFinished, _entry: Entry) -> Iterable[Frame]:
        return self._close()

    def _on_client_call(self, event: ClientCall, entry: Entry) -> Iterable[Frame]:
        item_id = self._item_id("fc", entry)
        return self._frames(their_call(item_id, self._place(), self.run_id, event))

    def _on_approval(self, event: ToolApprovalRequest, _entry: Entry) -> Iterable[Frame]:
        return self._frames(approval(self._place(), event))

    def _on_questions(self, event: ClarificationRequest, entry: Entry) -> Iterable[Frame]:
        said = "\n".join(str(each.get("question", "")) for each in event.questions)
        yield from self._say(Said, said, entry)
        yield from self._close()

    def _on_invocation(self, event: ToolCallInvocation, entry: Entry) -> Iterable[Frame]:
        if event.call_id not in self._calls:  # or it runs again after a restart
            yield from self._begin_call(event.call_id, event.name, event.arguments, entry)

    def _begin_call(self, own: str, name: str, arguments: Json, entry: Entry) -> Iterable[Frame]:
        request = self.state.calls[own].request
        asked = approval_id(request.request_id) if isinstance(request, ToolApprovalRequest) else None
        call = self._calls[own] = OurCall(self._item_id("mcp", entry), self._place(), name, arguments, asked)
        yield from self._frames(call.begin())

    def _on_result(self, event: ToolCallResult, entry: Entry) -> Iterable[Frame]:
        if isinstance(self.state.calls[event.call_id].request, ClientCall):
            return
        if event.call_id not in self._calls:
            yield from self._begin_call(event.call_id, event.name, {}, entry)
        yield from self._frames(self._calls[event.call_id].end(event.content, is_error=event.is_error))

    def _on_completed(self, event: RunCompleted, entry: Entry) -> Iterable[Frame]:
        self._lacks = _LACKS.get(event.finish_reason)
        return self._end("incomplete" if self._lacks else "completed", entry)

    def _on_stopped(self, _event: RunStopped, entry: Entry) -> Iterable[Frame]:
        return self._end("cancelled", entry)

    def _on_failed(self, event: RunFailed, entry: Entry) -> Iterable[Frame]:
        # OpenAI's fields stand at the top, those of Open Responses below `error`.
        error = failure_json(event)
        return self._end("failed", entry, ("error", {**error, "type": "error", "error": error}))

    table: ClassVar[Table] = {
        TextChunk: _on_text,
        ReasoningChunk: _on_reasoning,
        StepStarted: _on_step,
        StepRestarted: _on_void,
        StepRetold: _on_void,
        StepFinished: _on_step_finished,
        ClientCall: _on_client_call,
        ToolApprovalRequest: _on_approval,
        ClarificationRequest: _on_questions,
        ToolCallInvocation: _on_invocation,
        ToolCallResult: _on_result,
        RunCompleted: _on_completed,
        RunStopped: _on_stopped,
        RunFailed: _on_failed,
    }
