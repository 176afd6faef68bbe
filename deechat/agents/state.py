"""Where a run stands: the fold of its log, and what may happen next.

`RunState.apply` takes one entry after the other, from the first to the last; two folds of the same log are equal. The
loop asks `next_move` what to do, and the answer depends on the log and the settings alone: that is why a run can be
entered again at any time, by any process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from deechat.agents.repetition import without_repeats
from deechat.events import (
    LACKING,
    SILENT,
    ClarificationRequest,
    ClientCall,
    Ending,
    Entry,
    HistorySummarized,
    InputReceived,
    Metrics,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)
from deechat.messages import INTERRUPTED, THOUGHT, AssistantMessage, Message, ToolMessage, UserMessage, is_object

RunStatus = Literal["running", "waiting", "ended"]
Move = Literal["respond", "steer", "stop"]
Request = ToolApprovalRequest | ClarificationRequest | ClientCall

# What a person may do to a run, by where it stands.
LEGAL: dict[RunStatus, frozenset[Move]] = {
    "running": frozenset({"respond", "steer", "stop"}),
    "waiting": frozenset({"respond", "steer", "stop"}),
    "ended": frozenset(),
}

# The high bytes in UTF-16 of characters from U+2F00 on; of a pair for one beyond U+FFFF the first. Below are radicals.
_WIDE = bytes([*range(0x2F, 0xDC), *range(0xE0, 0x100)])
_RADICALS = re.compile("[\u2e80-\u2eff]+")
MODEL_CHANGES = frozenset({"model_changed", "model_server_changed"})  # codes of statuses that name who answers now
LASTING = frozenset({"context_small", "history_left_out"})  # of those about something that a person may change
REPEATS = 3  # rounds in a row that make the same call end the rounds
LONGEST_RUN = 3600.0  # seconds of work


class CallState(msgspec.Struct):
    """One tool call, and what became of it.

    `request` and its `reply` are there when a person had to say yes, or was asked something, or the client runs it.
    `arguments` are those it ran with, None while it has not started, and of a call that the client runs.
    """

    call: ToolCall
    request: Request | None = None
    reply: InputReceived | None = None
    arguments: dict[str, Any] | None = None
    result: ToolCallResult | None = None

    @property
    def is_open(self) -> bool:
        """Whether a person or the client was asked about the call and has not answered."""
        return self.request is not None and self.reply is None

    @property
    def untouched(self) -> bool:
        """Whether nothing has happened to the call yet."""
        return self.request is None and self.arguments is None and self.result is None


class Said(msgspec.Struct, frozen=True):
    """Text or thinking that came without anything between: from the piece `first` of the state's `text` or `reasoning`
    to where the next one of its kind begins.
    """

    kind: Literal["text", "reasoning"]
    first: int


# A piece of an answer that a person sees; of statuses only those of `LASTING`.
AnswerPart = Said | CallState | ToolApprovalRequest | ClarificationRequest | Steered | Status | HistorySummarized


class Ask(msgspec.Struct, frozen=True):
    """Ask the model.

    `restarted`: the step has begun in the log. It was cut off when a process died, so that what it said is void, unless
    whoever drives the loop knows that it is new. `may_use_tools` false asks for the last answer, for the `reason` code
    that a person may read.
    """

    step: int
    restarted: bool = False
    may_use_tools: bool = True
    reason: str | None = None


class UseTools(msgspec.Struct, frozen=True):
    """Run these calls of the last step: nobody was asked about them yet, or a person has answered."""

    calls: tuple[CallState, ...]


class Resume(msgspec.Struct, frozen=True):
    """These calls had started when a process died: run the repeatable ones again, note of the others what is known."""

    calls: tuple[CallState, ...]


class Finish(msgspec.Struct, frozen=True):
    """The answer is whole."""

    finish_reason: str


class Wait(msgspec.Struct, frozen=True):
    """A person, or the client, has to answer first."""


class RunState(msgspec.Struct):
    """The fold of a run's log. Times are Unix seconds; text, reasoning and calls are in the order they came.

    `parts` are the pieces of the answer that a person sees, in order: a call at its start, or at its result where it
    never started. A call that is a question, or was refused, is none beside its request.

    `request_seqs` says where in the log each request stands, by its id.

    A run works while the model is asked or a tool is under way. The rest of the time, which a person takes to answer or
    which there was no server, counts in none of the metrics.
    """

    started: RunStarted | None = None
    started_at: float = 0.0
    last_seq: int = 0
    last_at: float = 0.0
    step: int = 0
    step_seq: int = 0
    finished: StepFinished | None = None
    text: list[str] = []
    reasoning: list[str] = []
    answer_bytes: int = 0
    calls: dict[str, CallState] = {}
    parts: list[AnswerPart] = []
    requests: dict[str, Request] = {}
    request_seqs: dict[str, int] = {}
    replies: dict[str, InputReceived] = {}
    steered: list[str] = []
    unread: list[str] = []
    turns: list[Message] = []
    summary: HistorySummarized | None = None
    ending: Ending | None = None
    _aside: list[Usage] = []  # of summaries: they are no part of the answer
    _model: str | None = None
    _saying: str = ""  # the kind of the last part, where that is text or reasoning that goes on
    _text_mark: int = 0
    _reasoning_mark: int = 0
    _rounds: list[frozenset[tuple[str, str]]] = []
    _usage: list[Usage] = []
    _first_output_at: float | None = None
    _step_output_at: float | None = None
    _output_seconds: float = 0.0
    _at_work: int = 0  # the step in progress, and the calls that started and have no result
    _idle: float = 0.0  # seconds in which nothing was at work

    # -- what is so ----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> RunStatus:
        """Where the run stands. A run waits when a request is open and no started call lacks its result."""
        if self.ending is not None:
            return "ended"
        return "waiting" if self.pending and not self.open_calls else "running"

    @property
    def has_work(self) -> bool:
        """Whether the loop has something to do now, without anybody's answer."""
        return self.status == "running" or (self.ending is None and any(each.untouched for each in self.calls.values()))

    def allows(self, move: Move) -> bool:
        """Whether the move is legal now."""
        return move in LEGAL[self.status]

    @property
    def at_work(self) -> bool:
        """Whether the model is asked or a tool is under way."""
        return self._at_work > 0

    @property
    def asking(self) -> bool:
        """Whether a step is in progress: the model was asked, and its turn is not whole."""
        return self.step > 0 and (self.finished is None or self.finished.step < self.step)

    @property
    def pending(self) -> list[Request]:
        """The requests that nobody has answered, oldest first."""
        return [request for request_id, request in self.requests.items() if request_id not in self.replies]

    @property
    def asks(self) -> list[int]:
        """Where in the log the requests stand that nobody has answered, oldest first."""
        return [self.request_seqs[each.request_id] for each in self.pending]

    def before(self, later: Sequence[Entry]) -> tuple[RunStatus, list[int]]:
        """Say where the run stood before the log's last entries, `later`: its status, and where the open requests
        stand.

        As the fold of the others would, without folding them.
        """
        events = [entry.event for entry in later]
        since = later[0].seq if later else self.last_seq + 1
        answered = {event.request_id for event in events if isinstance(event, InputReceived)}
        asks = [
            seq
            for request_id, seq in self.request_seqs.items()
            if seq < since and (request_id not in self.replies or request_id in answered)
        ]
        began = {event.call_id for event in events if isinstance(event, ToolCallInvocation)}
        came = {event.call_id for event in events if isinstance(event, ToolCallResult)}
        at_work = any(
            each.arguments is not None and each.call.id not in began and (each.result is None or each.call.id in came)
            for each in self.calls.values()
        )
        if self.ending is not None and self.last_seq < since:
            return "ended", []
        return "waiting" if asks and not at_work else "running", asks

    @property
    def open_calls(self) -> list[CallState]:
        """The calls that started and have no result."""
        return [each for each in self.calls.values() if each.arguments is not None and each.result is None]

    @property
    def answered_calls(self) -> tuple[CallState, ...]:
        """The calls that a person has answered for and that nothing has come of yet."""
        return tuple(each for each in self.calls.values() if each.reply and each.arguments is None and not each.result)

    @property
    def step_text(self) -> str:
        """The text of the step in progress, or of the last one."""
        return "".join(self.text[self._text_mark :])

    @property
    def step_reasoning(self) -> str:
        """The thinking of the step in progress, or of the last one."""
        return "".join(self.reasoning[self._reasoning_mark :])

    def next_move(self, max_tool_rounds: int) -> Ask | UseTools | Resume | Finish | Wait:
        """Say what the loop has to do now.

        The run has not ended, and no step or tool of this process is under way: what looks so was cut off in another,
        or is a step that has only just begun.
        """
        if self.asking:
            return self._ask(self.step, max_tool_rounds, restarted=True)
        if move := self._move_of_calls():
            return move
        if self.finished is not None and not self.finished.calls and not self.unread:
            is_silent = self.finished.finish_reason not in LACKING and not self.step_text.strip()
            return Finish(SILENT if is_silent else self.finished.finish_reason)
        return self._ask(self.step + 1, max_tool_rounds)

    def _move_of_calls(self) -> UseTools | Resume | Wait | None:
        if cut_off := self.open_calls:
            return Resume(tuple(cut_off))
        if fresh := [each for each in self.calls.values() if each.untouched]:
            return UseTools(tuple(fresh))
        if self.pending:
            return Wait()
        return UseTools(self.answered_calls) if self.answered_calls else None

    def _ask(self, step: int, max_tool_rounds: int, *, restarted: bool = False) -> Ask:
        if len(self._rounds) >= max_tool_rounds:
            return Ask(step, restarted, may_use_tools=False, reason="tool_rounds_used_up")
        last = self._rounds[-REPEATS:]
        if len(last) == REPEATS and frozenset.intersection(*last):
            return Ask(step, restarted, may_use_tools=False, reason="tool_call_repeated")
        return Ask(step, restarted)

    def transcript(self) -> list[Message]:
        """What a model is shown of this run in later turns: whole turns, text broken off, messages nobody read.

        Of what it repeated again and again it is shown the first time alone, or it would go on like that.
        """
        turns = list(self.turns)
        if self.asking and (text := without_repeats(self.step_text).strip()):
            turns.append(AssistantMessage(text))
        return turns + [UserMessage(message) for message in self.unread]

    def metrics(self, now: float | None = None) -> Metrics:
        """Sum up what the run took until `now`, by the log's clock; without it, until the last entry."""
        worked = (now if now is not None and self.at_work else self.last_at) - self._idle
        usage = list(self._usage)
        output_seconds = self._output_seconds
        if self.asking and self._step_output_at is not None:
            usage.append(Usage(0, estimate_tokens(self.step_text), estimated=True))
            output_seconds += max(0.0, worked - self._step_output_at)
        said = prompt = completion = 0
        for each in usage:
            said += each.completion_tokens
        tps = round(said / output_seconds, 2) if output_seconds > 0.001 else 0.0
        usage += self._aside
        for each in usage:
            prompt += each.prompt_tokens
            completion += each.completion_tokens
        first = self._first_output_at
        return Metrics(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            output_tps=tps,
            ttft=None if first is None else round(max(0.0, first - self.started_at), 4),
            duration=round(max(0.0, worked - self.started_at), 4),
            model=self._model,
            estimated=any(each.estimated for each in usage),
        )

    # -- the fold ------------------------------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> None:
        """Take the next entry. Raises `ValueError` when it is not the next one, or the run has ended."""
        if entry.seq != self.last_seq + 1 or self.ending is not None:
            raise ValueError(f"entry {entry.seq} cannot follow entry {self.last_seq}")
        self.last_seq = entry.seq
        # A longer silence than a whole run may take was none of work: the machine slept, or its clock was set.
        if not self._at_work or entry.at - self.last_at > LONGEST_RUN:
            self.take_up(entry.at)
        step = _FOLD.get(type(entry.event))
        if step is not None:
            step(self, entry.event, entry.at)
        self.last_at = entry.at

    def _on_started(self, event: RunStarted, at: float) -> None:
        self.started, self.started_at, self._idle, self._model = event, at, 0.0, event.model

    def _on_step_started(self, event: StepStarted, _at: float) -> None:
        self.step, self.step_seq = event.step, self.last_seq
        self._at_work += 1
        self._begin_output()

    def _on_status(self, event: Status, _at: float) -> None:
        if event.code in MODEL_CHANGES:
            self._model = event.params.get("model")
        if event.code in LASTING:
            self._show(event)

    def take_up(self, at: float) -> None:
        """Leave the time since the last entry out of what the run took: nothing was at work."""
        self._idle += max(0.0, at - self.last_at)
        self.last_at = max(at, self.last_at)

    def _on_step_restarted(self, _event: StepRestarted, at: float) -> None:
        self.take_up(at)
        self._forget_step()
        self._begin_output()

    def _on_step_retold(self, _event: StepRetold, _at: float) -> None:
        self._forget_step()

    def _forget_step(self) -> None:
        void = self.text[self._text_mark :] + self.reasoning[self._reasoning_mark :]
        self.answer_bytes -= sum(len(text.encode()) for text in void)
        del self.text[self._text_mark :]
        del self.reasoning[self._reasoning_mark :]
        marks = {"text": self._text_mark, "reasoning": self._reasoning_mark}
        self.parts = [each for each in self.parts if not isinstance(each, Said) or each.first < marks[each.kind]]
        self._saying = ""

    def _begin_output(self) -> None:
        # The model reads now what joined the run before.
        self.turns += [UserMessage(message) for message in self.unread]
        self.unread.clear()
        self._text_mark, self._reasoning_mark = len(self.text), len(self.reasoning)
        self._step_output_at, self._saying = None, ""

    def _on_summarized(self, event: HistorySummarized, _at: float) -> None:
        self.summary = event
        self._aside.append(event.usage)
        if event.text:
            self._show(event)

    def _show(self, part: AnswerPart) -> None:
        self.parts.append(part)
        self._saying = ""

    def _say(self, kind: Literal["text", "reasoning"], first: int, at: float) -> None:
        """Begin a part of the kind, unless the last part is one; note when the step's output began."""
        if self._step_output_at is None:
            self._step_output_at = at - self._idle
            self._first_output_at = self._first_output_at or self._step_output_at
        last = self.parts[-1] if self.parts else None
        if not (isinstance(last, Said) and last.kind == kind):
            self.parts.append(Said(kind, first))
        self._saying = kind

    def _on_text(self, event: TextChunk, at: float) -> None:
        if self._saying != "text":
            self._say("text", len(self.text), at)
        self.text.append(event.text)
        self._count(event.text)

    def _on_reasoning(self, event: ReasoningChunk, at: float) -> None:
        if self._saying != "reasoning":
            self._say("reasoning", len(self.reasoning), at)
        self.reasoning.append(event.text)
        self._count(event.text)

    def _count(self, text: str) -> None:
        self.answer_bytes += len(text) if text.isascii() else len(text.encode())

    def _on_step_finished(self, event: StepFinished, at: float) -> None:
        self.finished = event
        self._at_work -= 1
        self._usage.append(event.usage)
        if self._step_output_at is not None:
            self._output_seconds += max(0.0, at - self._idle - self._step_output_at)
        self.calls.update({call.id: CallState(call) for call in event.calls})
        # Rounds of the client's tools alone are its own to end.
        terms = self.started.terms if self.started else None
        theirs = {tool.name for tool in terms.tools} if terms else frozenset[str]()
        if ours := frozenset((call.name, call.arguments) for call in event.calls if call.name not in theirs):
            self._rounds.append(ours)
        text = self.step_text.strip()
        if text or event.calls:
            # The log has the thought once, as it came; a turn that has to give it back is where it is needed again.
            thought = self.step_reasoning if event.calls and THOUGHT in event.extra else ""
            self.turns.append(AssistantMessage(text, event.calls, event.extra, thought))

    def _on_invocation(self, event: ToolCallInvocation, at: float) -> None:
        each = self.calls[event.call_id]
        if each.arguments is None:
            self._at_work += 1
            self._show_call(each)
        else:
            self.take_up(at)  # it was cut off by a restart, and runs again
        each.arguments = event.arguments
        is_edited = each.reply is not None and each.reply.arguments is not None
        if is_edited or not is_object(each.call.arguments):
            self._rewrite(ToolCall(each.call.id, each.call.name, json.dumps(event.arguments, ensure_ascii=False)))

    def _rewrite(self, call: ToolCall) -> None:
        """Let the model see the arguments that its call ran with, which are those that the result is of.

        They are not its own where a person gave others, or where its own were an object only as it was meant.
        """
        for at, turn in enumerate(self.turns):
            if isinstance(turn, AssistantMessage):
                calls = tuple(call if call.id == each.id else each for each in turn.calls)
                self.turns[at] = msgspec.structs.replace(turn, calls=calls)

    def _on_result(self, event: ToolCallResult, at: float) -> None:
        each = self.calls[event.call_id]
        if event.content == INTERRUPTED:
            self.take_up(at)
        if each.arguments is not None:
            self._at_work -= 1
        else:
            self._show_call(each)
        each.result = event
        last = self.finished.calls if self.finished else ()
        results = [self.calls[call.id].result for call in last]
        if all(results):  # all are in: the model reads them in its own order, not in that of their coming
            self.turns += [
                ToolMessage(each.call_id, each.name, each.content, each.is_error) for each in results if each
            ]

    def _show_call(self, each: CallState) -> None:
        is_refused = each.reply is not None and each.reply.approved is False
        if not (is_refused or isinstance(each.request, ClarificationRequest | ClientCall)):
            self._show(each)

    def _on_request(self, event: Request, _at: float) -> None:
        self._show(self.calls[event.call_id] if isinstance(event, ClientCall) else event)
        self.requests[event.request_id] = event
        self.request_seqs[event.request_id] = self.last_seq
        if event.call_id in self.calls:
            self.calls[event.call_id].request = event

    def _on_input(self, event: InputReceived, _at: float) -> None:
        self.replies[event.request_id] = event
        for each in self.calls.values():
            if each.request is not None and each.request.request_id == event.request_id:
                each.reply = event

    def _on_steered(self, event: Steered, _at: float) -> None:
        self._show(event)
        self.steered.append(event.message)
        self.unread.append(event.message)

    def _on_ending(self, event: Ending, _at: float) -> None:
        self.ending = event


_FOLD: dict[type, Callable[[RunState, Any, float], None]] = {
    RunStarted: RunState._on_started,
    Status: RunState._on_status,
    StepStarted: RunState._on_step_started,
    StepRestarted: RunState._on_step_restarted,
    StepRetold: RunState._on_step_retold,
    HistorySummarized: RunState._on_summarized,
    TextChunk: RunState._on_text,
    ReasoningChunk: RunState._on_reasoning,
    StepFinished: RunState._on_step_finished,
    ToolCallInvocation: RunState._on_invocation,
    ToolCallResult: RunState._on_result,
    ToolApprovalRequest: RunState._on_request,
    ClarificationRequest: RunState._on_request,
    ClientCall: RunState._on_request,
    InputReceived: RunState._on_input,
    Steered: RunState._on_steered,
    RunCompleted: RunState._on_ending,
    RunStopped: RunState._on_ending,
    RunFailed: RunState._on_ending,
}


def fold(entries: Iterable[Entry]) -> RunState:
    """Fold a log from its first entry on."""
    state = RunState()
    for entry in entries:
        state.apply(entry)
    return state


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text: four letters of an alphabet make one, and so does each wide character.

    A history is weighed at each question, so they are counted as bytes: for mixed letters a pattern takes 15 times as
    long.
    """
    wide = 0
    if not text.isascii():
        high = text.encode("utf-16-le", "surrogatepass")[1::2]
        wide = len(high) - len(high.translate(None, _WIDE))
        if b"\x2e" in high:
            wide += len(text) - len(_RADICALS.sub("", text))
    return wide + (len(text) - wide + 3) // 4
