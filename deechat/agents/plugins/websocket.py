"""The dialect of agents over a WebSocket, as AnythingLLM's page speaks it: the messages that go to the page.

The page keeps a list of messages, each with a `uuid`. A chunk appends to the message of its `uuid` or begins it,
`removeStatusResponse` takes one away, `toolCallInvocation` writes one anew. So text that is void is taken away, and the
part of it that stays is said once more. Thinking is text within `<think>`, which the page folds; each stretch of
thinking with the text behind it is a message of its own, named by the SEQ of its first piece.

The last message of an entry has the entry's SEQ as its cursor. The page itself has no cursor, and begins at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from deechat.agents.plugins.base import Frame, FromStart, Json, dumps
from deechat.agents.plugins.deechat import metrics_of, sources_of
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    Entry,
    InputReceived,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStopped,
    Status,
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

LONGEST_LINE = 300  # characters of a call's arguments, and of its result: the page shows them as one line
WAITING: Json = {"type": "WAITING_ON_INPUT", "question": ""}
"""Gives the page its send button back."""


class _Block:
    """A stretch of thinking with the text behind it: one message of the page.

    `pieces` are the texts that it is made of, by SEQ. Until the first that is not blank the page shows none of it.
    """

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.pieces: list[tuple[int, str]] = []
        self.thinks = False  # `<think>` is open
        self.has_text = False

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.pieces)

    @property
    def shown(self) -> bool:
        return any(text.strip() for _, text in self.pieces)


class AgentSocket(FromStart):
    """The messages of one run. `after`: the SEQ up to which the viewer has them.

    `streamed`: it has them as frames of the run's stream. There the message's id names all text.
    """

    def __init__(self, message_id: str, after: int = 0, *, streamed: bool = False) -> None:
        self._message_id = message_id
        self._after = after
        self._streamed = streamed
        self._blocks: list[_Block] = []  # of the run, but for those that are void
        self._open: _Block | None = None  # the one that the next piece belongs to
        self._calls: dict[str, str] = {}  # the line of each call, by its id

    def fold(self, entry: Entry) -> Iterable[Frame]:
        make = _TABLE.get(type(entry.event))
        messages = list(make(self, entry.event, entry.seq)) if make else []
        if entry.seq <= self._after or not messages:
            return ()
        *first, last = messages
        return [*(Frame(message) for message in first), Frame(last, entry.seq)]

    # -- text and thinking ---------------------------------------------------------------------------------------------

    def _reasoning(self, event: ReasoningChunk, seq: int) -> Iterator[Json]:
        block = self._open
        if block is None or block.has_text:
            block = self._begin_block(seq)
        opening = "" if block.thinks else "<think>"
        block.thinks = True
        yield from self._say(block, seq, opening + event.text)

    def _text(self, event: TextChunk, seq: int) -> Iterator[Json]:
        block = self._open or self._begin_block(seq)
        closing = "</think>" if block.thinks else ""
        block.thinks, block.has_text = False, True
        yield from self._say(block, seq, closing + event.text)

    def _begin_block(self, seq: int) -> _Block:
        is_streamed = self._streamed and seq <= self._after
        self._open = _Block(self._message_id if is_streamed else f"{self._message_id}:{seq}")
        self._blocks.append(self._open)
        return self._open

    def _say(self, block: _Block, seq: int, text: str) -> Iterator[Json]:
        # The page drops a blank beginning, so that it waits here for the text behind it.
        was_shown, held = block.shown, block.text if not block.shown else ""
        block.pieces.append((seq, text))
        if was_shown:
            yield _report("textResponseChunk", block.uuid, content=text)
        elif text.strip():
            # A page that lost its socket and came back without a cursor may show an earlier beginning.
            yield _report("removeStatusResponse", block.uuid, content="")
            yield _report("textResponseChunk", block.uuid, content=held + text)

    def _close_block(self, seq: int) -> Iterator[Json]:
        block, self._open = self._open, None
        if block is not None and block.thinks:
            block.thinks = False
            yield from self._say(block, seq, "</think>")

    def _step_started(self, _event: StepStarted, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)

    def _step_finished(self, _event: StepFinished, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)

    def _void(self, event: StepRestarted | StepRetold, _seq: int) -> Iterator[Json]:
        """Take text and thinking after the SEQ `after` away; the part of a message before it is said once more."""
        self._open = None
        for block in list(self._blocks):
            if block.pieces[-1][0] <= event.after:
                continue
            if block.shown:
                yield _report("removeStatusResponse", block.uuid, content="")
            block.pieces = [piece for piece in block.pieces if piece[0] <= event.after]
            if block.text.startswith("<think>") and "</think>" not in block.text:
                block.pieces.append((event.after, "</think>"))
            if block.shown:
                yield _report("fullTextResponse", block.uuid, content=block.text)
            else:
                self._blocks.remove(block)

    # -- tools and people ----------------------------------------------------------------------------------------------

    def _invocation(self, event: ToolCallInvocation, _seq: int) -> Iterator[Json]:
        yield from self._call(event.call_id, _line(f"{event.name}({dumps(event.arguments).decode()})"))

    def _progress(self, event: ToolProgress, _seq: int) -> Iterator[Json]:
        share = "" if event.share is None else f" {event.share:.0%}"
        yield self._beside_call(event.call_id, event.name, f"…{share} {event.text}")

    def _result(self, event: ToolCallResult, _seq: int) -> Iterator[Json]:
        yield self._beside_call(event.call_id, event.name, f"{'✗' if event.is_error else '→'} {_line(event.content)}")

    def _call(self, call_id: str, line: str) -> Iterator[Json]:
        self._calls[call_id] = line
        yield self._beside_call(call_id, line, "")

    def _beside_call(self, call_id: str, name: str, said: str) -> Json:
        line = f"{self._calls.get(call_id, name)} {said}".rstrip()
        return _report("toolCallInvocation", f"{self._message_id}:{call_id}", content=line)

    def _approval(self, event: ToolApprovalRequest, _seq: int) -> Iterator[Json]:
        yield {
            "type": "toolApprovalRequest",
            "requestId": event.request_id,
            "skillName": event.name,
            "payload": event.arguments,
            "description": event.description,
        }

    def _clarification(self, event: ClarificationRequest, _seq: int) -> Iterator[Json]:
        yield {
            "type": "clarificationRequest",
            "requestId": event.request_id,
            "questions": list(event.questions),
            "allowSkip": event.allow_skip,
        }

    def _input(self, event: InputReceived, _seq: int) -> Iterator[Json]:
        yield _status(event.summary)

    def _said_status(self, event: Status, _seq: int) -> Iterator[Json]:
        yield _status(event.text)

    def _renamed(self, event: ThreadRenamed, _seq: int) -> Iterator[Json]:
        yield {"type": "rename_thread", "content": {"slug": event.thread, "name": event.name}}

    # -- endings -------------------------------------------------------------------------------------------------------

    def _text_closed(self, event: TextClosed, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)
        if event.sources and (uuid := self._last_shown()):
            yield _report("citations", uuid, citations=sources_of(event.sources))

    def _completed(self, event: RunCompleted, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)
        if uuid := self._last_shown():
            yield _report("usageMetrics", uuid, metrics=metrics_of(event.metrics))
        yield from self._identified()
        yield WAITING

    def _stopped(self, _event: RunStopped, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)
        yield from self._identified()
        yield WAITING

    def _failed(self, event: RunFailed, seq: int) -> Iterator[Json]:
        yield from self._close_block(seq)
        yield from self._identified()
        yield failure(event.message)
        yield WAITING

    def _identified(self) -> Iterator[Json]:
        """Name the answer's message, by which the page deletes it or asks anew."""
        if uuid := self._last_shown():
            yield _report("chatId", uuid, chatId=self._message_id)

    def _last_shown(self) -> str | None:
        """Return the page's name of the answer's last message; it would take another one for a status."""
        return next((block.uuid for block in reversed(self._blocks) if block.shown), None)


def failure(words: str) -> Json:
    """Return the message that says an error to a person."""
    return {"type": "wssFailure", "content": words}


def _status(words: str) -> Json:
    return {"type": "statusResponse", "content": words, "animate": True}


def _report(kind: str, uuid: str, **fields: Any) -> Json:
    return {"type": "reportStreamEvent", "content": {"type": kind, "uuid": uuid, **fields}}


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"


# Events that are not here are no message: the page has no word for them.
_TABLE: dict[type[AnyEvent], Callable[[AgentSocket, Any, int], Iterator[Json]]] = {
    ThreadRenamed: AgentSocket._renamed,
    StepStarted: AgentSocket._step_started,
    Status: AgentSocket._said_status,
    ReasoningChunk: AgentSocket._reasoning,
    TextChunk: AgentSocket._text,
    TextClosed: AgentSocket._text_closed,
    StepFinished: AgentSocket._step_finished,
    ToolCallInvocation: AgentSocket._invocation,
    ToolProgress: AgentSocket._progress,
    ToolCallResult: AgentSocket._result,
    ToolApprovalRequest: AgentSocket._approval,
    ClarificationRequest: AgentSocket._clarification,
    InputReceived: AgentSocket._input,
    StepRestarted: AgentSocket._void,
    StepRetold: AgentSocket._void,
    RunCompleted: AgentSocket._completed,
    RunStopped: AgentSocket._stopped,
    RunFailed: AgentSocket._failed,
}
