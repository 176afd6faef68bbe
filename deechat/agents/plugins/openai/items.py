"""The items of a response's output, from the event that begins each to the one that ends it.

An item gives the events of the protocol and the object that stands in the output. Its id and its place are fixed at its
beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from deechat.agents.plugins.base import Json, dumps
from deechat.agents.plugins.openai.segments import call_id
from deechat.events import ClientCall, ToolApprovalRequest

Event = tuple[str, Json]  # the type, and the fields of its own
SERVER = "deechat"  # the label of our tools


class Piecewise:
    """A message or a piece of thinking, which grows by deltas."""

    prefix = ""

    def __init__(self, item_id: str, index: int) -> None:
        self.index = index
        self.text: list[str] = []
        self._at = {"item_id": item_id, "output_index": index}
        self._id = item_id

    @property
    def whole(self) -> str:
        """The text so far."""
        return "".join(self.text)

    def item(self, status: str, text: str | None) -> Json:
        """Return the object of the output; `text` None: nothing is there yet."""
        raise NotImplementedError

    def part(self, text: str) -> Json:
        """Return the one part of its content."""
        raise NotImplementedError

    def begin(self) -> Iterable[Event]:
        """Return the events of the beginning."""
        item = self.item("in_progress", None)
        yield "response.output_item.added", {"output_index": self.index, "item": item}

    def grow(self, text: str) -> Iterable[Event]:
        """Return the events of one more delta."""
        raise NotImplementedError

    def end(self, status: str = "completed") -> Iterable[Event]:
        """Return the events of the end."""
        yield "response.output_item.done", {"output_index": self.index, "item": self.item(status, self.whole)}


class Said(Piecewise):
    """A message of the assistant."""

    prefix = "msg"

    def item(self, status: str, text: str | None) -> Json:
        content = [] if text is None else [self.part(text)]
        return {"type": "message", "id": self._id, "status": status, "role": "assistant", "content": content}

    def part(self, text: str) -> Json:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    @property
    def _place(self) -> Json:
        return {**self._at, "content_index": 0}

    def begin(self) -> Iterable[Event]:
        yield from super().begin()
        yield "response.content_part.added", {**self._place, "part": self.part("")}

    def grow(self, text: str) -> Iterable[Event]:
        self.text.append(text)
        yield "response.output_text.delta", {**self._place, "delta": text, "logprobs": []}

    def end(self, status: str = "completed") -> Iterable[Event]:
        yield "response.output_text.done", {**self._place, "text": self.whole, "logprobs": []}
        yield "response.content_part.done", {**self._place, "part": self.part(self.whole)}
        yield from super().end(status)


class Thought(Piecewise):
    """Thinking, as the summary that all dialects of the protocol know."""

    prefix = "rs"

    def item(self, status: str, text: str | None) -> Json:
        summary = [] if text is None else [self.part(text)]
        return {"type": "reasoning", "id": self._id, "status": status, "summary": summary}

    def part(self, text: str) -> Json:
        return {"type": "summary_text", "text": text}

    @property
    def _place(self) -> Json:
        return {**self._at, "summary_index": 0}

    def begin(self) -> Iterable[Event]:
        yield from super().begin()
        yield "response.reasoning_summary_part.added", {**self._place, "part": self.part("")}

    def grow(self, text: str) -> Iterable[Event]:
        self.text.append(text)
        yield "response.reasoning_summary_text.delta", {**self._place, "delta": text}

    def end(self, status: str = "completed") -> Iterable[Event]:
        yield "response.reasoning_summary_text.done", {**self._place, "text": self.whole}
        yield "response.reasoning_summary_part.done", {**self._place, "part": self.part(self.whole)}
        yield from super().end(status)


class OurCall:
    """A call of a tool of ours, which the server runs."""

    def __init__(self, item_id: str, index: int, name: str, arguments: Json, approval: str | None) -> None:
        self.index = index
        self._at = {"item_id": item_id, "output_index": index}
        self._arguments = dumps(arguments).decode()
        self._item: Json = {
            "type": "mcp_call",
            "id": item_id,
            "server_label": SERVER,
            "name": name,
            "arguments": "",
            "output": None,
            "error": None,
            "approval_request_id": approval,
            "status": "in_progress",
        }

    def begin(self) -> Iterable[Event]:
        """Return the events of the beginning."""
        yield "response.output_item.added", {"output_index": self.index, "item": dict(self._item)}
        yield "response.mcp_call.in_progress", dict(self._at)
        self._item["arguments"] = self._arguments
        yield "response.mcp_call_arguments.done", {**self._at, "arguments": self._arguments}

    def end(self, output: str, *, is_error: bool) -> Iterable[Event]:
        """Return the events of the result."""
        error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": output}]}
        self._item |= {"status": "failed", "error": error} if is_error else {"status": "completed", "output": output}
        yield f"response.mcp_call.{self._item['status']}", dict(self._at)
        yield "response.output_item.done", {"output_index": self.index, "item": dict(self._item)}


def their_call(item_id: str, index: int, run_id: str, event: ClientCall) -> Iterable[Event]:
    """Return the events of a call of a tool that the client runs."""
    at = {"item_id": item_id, "output_index": index}
    item: Json = {
        "type": "function_call",
        "id": item_id,
        "call_id": call_id(run_id, event.call_id),
        "name": event.name,
        "arguments": "",
        "status": "in_progress",
    }
    yield "response.output_item.added", {"output_index": index, "item": item}
    yield "response.function_call_arguments.delta", {**at, "delta": event.arguments}
    yield "response.function_call_arguments.done", {**at, "name": event.name, "arguments": event.arguments}
    done = {**item, "arguments": event.arguments, "status": "completed"}
    yield "response.output_item.done", {"output_index": index, "item": done}


def approval_id(request_id: str) -> str:
    """Return the id of the item that asks for a yes."""
    return f"mcpr_{request_id}"


def approval(index: int, event: ToolApprovalRequest) -> Iterable[Event]:
    """Return the events of a request for a yes."""
    item = {
        "type": "mcp_approval_request",
        "id": approval_id(event.request_id),
        "server_label": SERVER,
        "name": event.name,
        "arguments": dumps(event.arguments).decode(),
    }
    yield "response.output_item.added", {"output_index": index, "item": item}
    yield "response.output_item.done", {"output_index": index, "item": item}
