"""Chat completions: a run's piece as chunks, and the same as one object.

There is no word for text that is void: a viewer that was cut off cannot come back, so only a server's correction while
it streams (`StepRetold`) is lost on it. The whole answer is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from deechat.agents.plugins.base import Frame, Json
from deechat.agents.plugins.openai.segments import DONE, Segments, Table, call_id, failure_json, short
from deechat.events import (
    CUT,
    FILTERED,
    ClientCall,
    Entry,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStopped,
    Status,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
)

_REASONS = {CUT: "length", FILTERED: "content_filter"}


class Chat(Segments):
    """`counts`: a last chunk tells the tokens."""

    def __init__(self, segment: int, *, counts: bool = False) -> None:
        super().__init__(segment)
        self._counts = counts
        self._said: list[str] = []
        self._thought: list[str] = []
        self._marks = (0, 0)
        self._calls: list[Json] = []
        self._reason: str | None = None

    @property
    def _head(self) -> Json:
        return {
            "id": f"chatcmpl-{short(self.run_id)}-{self.segment}",
            "created": int(self.began_at),
            "model": self.echo.get("model", ""),
        }

    def _chunk(self, delta: Json, reason: str | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return Frame({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def begin(self, _entry: Entry) -> Iterable[Frame]:
        yield self._chunk({"role": "assistant", "content": ""})

    def rest(self, _entry: Entry) -> Iterable[Frame]:
        return self._end("tool_calls")

    def _end(self, reason: str) -> Iterable[Frame]:
        self._reason = reason
        yield self._chunk({}, reason)
        if self._counts:
            yield Frame({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage})
        yield DONE

    @property
    def _usage(self) -> Json:
        asked, said = self.tokens
        return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}

    def whole(self) -> Json:
        """Return the answer as one object, once it is over."""
        message: Json = {"role": "assistant", "content": "".join(self._said) or None, "refusal": None}
        if self._thought:
            message["reasoning_content"] = "".join(self._thought)
        if self._calls:
            message["tool_calls"] = [
                {name: value for name, value in each.items() if name != "index"} for each in self._calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage}

    # -- the table -----------------------------------------------------------------------------------------------------

    def _on_step(self, _event: StepStarted, _entry: Entry) -> Iterable[Frame]:
        self._marks = len(self._said), len(self._thought)
        return ()

    def _on_void(self, _event: StepRestarted | StepRetold, _entry: Entry) -> Iterable[Frame]:
        del self._said[self._marks[0] :], self._thought[self._marks[1] :]
        return ()

    def _on_text(self, event: TextChunk, _entry: Entry) -> Iterable[Frame]:
        self._said.append(event.text)
        yield self._chunk({"content": event.text})

    def _on_reasoning(self, event: ReasoningChunk, _entry: Entry) -> Iterable[Frame]:
        self._thought.append(event.text)
        yield self._chunk({"reasoning_content": event.text})

    def _on_status(self, event: Status, _entry: Entry) -> Iterable[Frame]:
        line = f"{event.text}\n"
        if self._thought and not self._thought[-1].endswith("\n"):
            line = "\n" + line
        self._thought.append(line)
        yield self._chunk({"reasoning_content": line})

    def _on_call(self, event: ClientCall, _entry: Entry) -> Iterable[Frame]:
        function = {"name": event.name, "arguments": event.arguments}
        call = {
            "index": len(self._calls),
            "id": call_id(self.run_id, event.call_id),
            "type": "function",
            "function": function,
        }
        self._calls.append(call)
        yield self._chunk({"tool_calls": [call]})

    def _on_completed(self, event: RunCompleted, _entry: Entry) -> Iterable[Frame]:
        return self._end(_REASONS.get(event.finish_reason, "stop"))

    def _on_stopped(self, _event: RunStopped, _entry: Entry) -> Iterable[Frame]:
        return self._end("stop")

    def _on_failed(self, event: RunFailed, _entry: Entry) -> Iterable[Frame]:
        yield Frame({"error": failure_json(event)})

    table: ClassVar[Table] = {
        StepStarted: _on_step,
        StepRestarted: _on_void,
        StepRetold: _on_void,
        TextChunk: _on_text,
        ReasoningChunk: _on_reasoning,
        Status: _on_status,
        ClientCall: _on_call,
        RunCompleted: _on_completed,
        RunStopped: _on_stopped,
        RunFailed: _on_failed,
    }
