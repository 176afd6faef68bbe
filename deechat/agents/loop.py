"""The agent's loop: ask the model, run its tools, repeat. A generator of events, and nothing else.

The loop keeps no state of its own: each turn asks the `RunState`, the fold of the events so far, for the next move. The
driver applies every event to that state before it asks for the next one, and waits until an event with `commit_first`
is on disk. Entering the loop again on a state that was folded from disk is therefore the same as going on. The log does
not tell whether the step in progress was cut off or has only just begun.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from deechat.agents.context import AgentHandler, Plan, new_call_id
from deechat.agents.providers.base import Notice, Question, Reasoning, Retold, Text, Turn, asking
from deechat.agents.repetition import EVERY, Repetition, Watch
from deechat.agents.state import (
    REPEATS,
    Ask,
    CallState,
    Finish,
    Request,
    Resume,
    RunState,
    UseTools,
    Wait,
    estimate_tokens,
)
from deechat.agents.tools.ask import questions_of, skipped, told
from deechat.agents.tools.base import Tool, ToolError
from deechat.agents.tools.context import ToolContext, ToolResult
from deechat.errors import Cancelled, ModelError
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    HistorySummarized,
    ReasoningChunk,
    RunCompleted,
    Status,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
)
from deechat.locale import say, words
from deechat.messages import INTERRUPTED, REFUSED, UNASKED

TOO_LONG = "context_length"  # the code of a refusal of more tokens than the model reads
SHORTER = (
    "Write a shorter message, or begin a new chat. Where the model could read more than that, its server has a setting "
    "for it."
)
ANSWER_BYTES = 1_000_000
RESULT_BYTES = 16_000
BESIDE_BYTES = 200_000  # of a result's sources as JSON, and as much of its parts

Value = TypeVar("Value")
log = logging.getLogger(__name__)
Events = Generator[AnyEvent, None, None]


class Crew(Protocol):
    """Runs tools side by side. A stop of the run cancels its crew by name."""

    def start(self, work: Callable[[], ToolCallResult]) -> None:
        """Start the work and return at once."""
        ...

    def report(self, progress: ToolProgress) -> None:
        """Take a line of a tool at work, in the place of its last one that was not yielded yet."""
        ...

    def results(self) -> Iterator[ToolCallResult | ToolProgress | None]:
        """Yield each result as it comes, until all started work has ended; None when a person said something.

        Some of a call's progress lines are yielded too, the newest last, none after its result.
        """
        ...


def run(handler: AgentHandler, state: RunState, crew: Crew, *, begun: bool = False) -> Events:
    """Go on from the state until it has an ending or waits for a person, whose answer is a later entry in the log.

    `begun`: the state's step has only just begun, so that the model is asked for it and it is not restarted.
    A `RunCompleted` is an offer: when a message joined the run meanwhile its driver leaves it out and the loop goes on.
    Raises `ModelError` when the model server fails; the errors of a mistake in the program pass through.
    """
    while state.ending is None:
        match state.next_move(handler.max_tool_rounds):
            case Ask() as ask:
                if not begun:
                    yield from _begin_step(handler, state, ask)
                begun = False
                yield from _ask(handler, state, ask)
            case UseTools(calls):
                yield from _use_tools(handler, state, calls, crew)
            case Resume(calls):
                yield from _resume(handler, state, calls, crew)
            case Finish(finish_reason):
                yield RunCompleted(finish_reason, state.metrics())
            case Wait():
                return


# -- a step ------------------------------------------------------------------------------------------------------------


def _begin_step(handler: AgentHandler, state: RunState, ask: Ask) -> Events:
    if ask.reason is not None:
        yield _why_no_more_tools(handler, state, ask.reason)
    yield StepRestarted(ask.step, state.step_seq) if ask.restarted else StepStarted(ask.step)


def _ask(handler: AgentHandler, state: RunState, ask: Ask) -> Events:
    """Ask the model; once more with less where the server says that it was too much."""
    plan = yield from _make_room(handler, state)
    said, refusal = Watch(), ""
    for again in (True, False):
        question = handler.question(state, may_use_tools=ask.may_use_tools, plan=plan)
        try:
            yield from _ask_once(handler, state, ask, question, said)
        except ModelError as exc:
            if exc.code != TOO_LONG:
                raise
            refusal = exc.message  # the error itself would hold the question
        else:
            return
        handler.refused(question)
        if said.pieces or not again or handler.plan(state).tokens >= plan.tokens:
            break
        yield _status(handler, "context_refused", model=_model(handler, state))
        plan = yield from _make_room(handler, state)
    raise ModelError(f"{refusal.rstrip('.')}. {SHORTER}", code=TOO_LONG)


def _make_room(handler: AgentHandler, state: RunState) -> Generator[AnyEvent, None, Plan]:
    """Put a summary in the place of the oldest turns where they no longer fit; the model writes it.

    Return the plan of the next question.
    """
    plan = handler.plan(state)
    if not (plan.left and handler.summarizes(state, plan)):
        return plan
    model, room = _model(handler, state), handler.room()
    if room.length and room.could and room.could > room.length and not (plan.summary or state.summary):
        yield _status(handler, "context_small", model=model, could=room.could, length=room.length, remedy=room.remedy)
    yield _status(handler, "summarizing", model=model)
    try:
        summary = yield from _summary(handler, plan)
    except ModelError as exc:
        yield HistorySummarized(plan.upto, "", Usage(0, 0))
        yield _status(handler, "history_left_out", why=exc.message.rstrip("."))
    else:
        yield summary
    return handler.plan(state)


def _summary(handler: AgentHandler, plan: Plan) -> Generator[AnyEvent, None, HistorySummarized]:
    """Ask the model for a summary; in a half, then a quarter of the room where the server says that it was too much.

    Raises `ModelError`. The summary's text is not streamed. A stop of the run ends it too.
    """
    for share in (1, 2, 4):
        question = handler.summary_question(plan, share)
        said, turn = Watch(), None
        try:
            with asking(handler.provider, question) as parts:
                for part in parts:
                    match part:
                        case Text(text):
                            said.pieces.append(text)
                        case Retold():
                            said.pieces[:] = [part.anew] if part.kind == "text" else []
                        case Notice(code, params):
                            yield _status(handler, code, **params)
                        case Turn():
                            turn = part
        except ModelError as exc:
            if exc.code != TOO_LONG or share == 4:
                raise
            continue
        text = handler.kept("".join(said.pieces))
        if turn is None or not text:
            raise ModelError("the model wrote nothing", code="model_protocol")
        return HistorySummarized(plan.upto, text, turn.usage or _estimated(question, text))
    raise AssertionError("the last share raises")


def _model(handler: AgentHandler, state: RunState) -> str:
    return handler.model or (state.started.model if state.started else None) or "the model"


def _status(handler: AgentHandler, code: str, **params: Any) -> Status:
    return Status(say("agent", handler.language, f"status.{code}", **params), code, params)


def _ask_once(handler: AgentHandler, state: RunState, ask: Ask, question: Question, said: Watch) -> Events:
    gap = _gap(state)
    turn = None
    look_at = state.answer_bytes + EVERY
    with asking(handler.provider, question) as parts:
        for part in parts:
            match part:
                case Text(text):
                    said.pieces.append(text)
                    yield TextChunk(gap + text)
                    gap = ""
                case Reasoning(text):
                    said.pieces.append(text)
                    yield ReasoningChunk(text)
                case Retold():
                    yield from _retell(state, part)
                    gap = "" if state.step_text else _gap(state)
                case Notice(code, params):
                    yield _status(handler, code, **params)
                case Turn():
                    turn = part
            if state.answer_bytes >= look_at:
                look_at = min(state.answer_bytes + EVERY, ANSWER_BYTES + 1)
                _check(state, said)
    if turn is None:
        raise ModelError("The model server ended its answer without saying so.", code="model_protocol")
    yield _finished(state, ask, question, turn)


def _gap(state: RunState) -> str:
    """Return the separator between the text of a step and that of the steps before."""
    return "\n\n" if state.text else ""


def _retell(state: RunState, retold: Retold) -> Events:
    """Void the step's text and thinking, and yield both again as they should have been told apart."""
    thought = state.step_reasoning
    if retold.kind == "text":
        thought = thought.removesuffix(retold.said)
    else:
        thought += retold.anew
    yield StepRetold(state.step, state.step_seq, retold.kind)
    if thought:
        yield ReasoningChunk(thought)
    if retold.kind == "text":
        yield TextChunk(_gap(state) + retold.anew)


def _finished(state: RunState, ask: Ask, question: Question, turn: Turn) -> StepFinished:
    # Calls of a server that was told to call no tools are dropped.
    calls = turn.calls if ask.may_use_tools else ()
    taken = set(state.calls)
    named = tuple(msgspec.structs.replace(call, id=new_call_id(taken)) for call in calls)
    said = state.step_text + "".join(call.name + call.arguments for call in calls)
    usage = turn.usage or _estimated(question, said)
    return StepFinished(ask.step, turn.finish_reason, usage, named, turn.extra)


def _estimated(question: Question, said: str) -> Usage:
    """Return the tokens of a step whose model server did not count them, as the question was weighed."""
    return Usage(question.tokens, estimate_tokens(said), estimated=True)


def _check(state: RunState, said: Watch) -> None:
    """Raise `ModelError` when the answer is too long, or the model only repeats itself."""
    if state.answer_bytes > ANSWER_BYTES:
        words = f"The answer grew beyond {ANSWER_BYTES // 1_000_000} MB and was ended there."
        raise ModelError(words, code="answer_too_long")
    if repeated := said.look():
        raise _circling(repeated)


def _circling(repeated: Repetition) -> ModelError:
    words = (
        f"The model goes round in circles: it said the same {len(repeated.piece)} characters {repeated.times} times "
    )
    words += "in a row, so the answer was ended there. Continue lets it go on from before that."
    return ModelError(words, code="repetition")


def _why_no_more_tools(handler: AgentHandler, state: RunState, reason: str) -> Status:
    names = sorted({call.name for call in state.finished.calls}) if state.finished else []
    return _status(handler, reason, rounds=handler.max_tool_rounds, name=", ".join(names), times=REPEATS)


# -- tools -------------------------------------------------------------------------------------------------------------


def _use_tools(handler: AgentHandler, state: RunState, calls: tuple[CallState, ...], crew: Crew) -> Events:
    """Start every call that may start, side by side, ask a person about the others, and yield results as they come.

    A call that was asked about starts when the step's last request is answered; other calls may still run then.
    """
    yield from _begun(handler, state, calls, crew)
    yield from _results(handler, state, crew)


def _results(handler: AgentHandler, state: RunState, crew: Crew) -> Events:
    for result in crew.results():
        if result is not None:
            yield result
        elif not state.pending:
            yield from _begun(handler, state, state.answered_calls, crew)


def _begun(handler: AgentHandler, state: RunState, calls: tuple[CallState, ...], crew: Crew) -> Events:
    """Start calls, or ask about them. A call that may not start gets a result alone, with words for the model."""
    for each in calls:
        call = each.call
        try:
            ready = _ready(handler, state, each, crew)
        except ToolError as refusal:
            yield ToolCallResult(call.id, call.name, _cut(refusal.message), is_error=True)
            continue
        if not isinstance(ready, _Work):
            yield ready
            continue
        yield _status(handler, "tool_call", name=call.name)
        yield ToolCallInvocation(call.id, call.name, ready.arguments)
        crew.start(ready)


def _resume(handler: AgentHandler, state: RunState, calls: tuple[CallState, ...], crew: Crew) -> Events:
    """Start the calls again that may run twice; the results of the others say that they may have happened."""
    for each in calls:
        call, tool = each.call, handler.tools.get(each.call.name)
        if tool is None or not tool.repeatable or each.arguments is None:
            yield ToolCallResult(call.id, call.name, INTERRUPTED, is_error=True)
            continue
        yield ToolCallInvocation(call.id, call.name, each.arguments)
        crew.start(_Work(handler, crew, tool, each, each.arguments))
    yield from _results(handler, state, crew)


def _ready(handler: AgentHandler, state: RunState, each: CallState, crew: Crew) -> _Work | Request | ToolCallResult:
    """Return a call ready to start, or the request that a person or the client has to answer first, or its result.

    Raises `ToolError` with words for the model when it may not start at all.
    """
    call = each.call
    if isinstance(each.request, ClientCall):
        return ToolCallResult(call.id, call.name, (each.reply.output if each.reply else None) or "")
    if call.name in handler.client_tools:
        return ClientCall(new_call_id(set(state.requests)), call.id, call.name, call.arguments)
    tool = handler.tools.get(call.name)
    if tool is None:
        known = ", ".join(sorted({*handler.tools, *handler.client_tools})) or "none"
        raise ToolError(f"There is no tool {call.name[:80]!r}. The tools are: {known}.")
    arguments = _answered(each) if each.request else tool.arguments(call.arguments)
    policy = handler.policy(tool, arguments)
    if policy == "deny":
        raise ToolError(f"The tool {tool.name} is switched off in this workspace. Go on without it.")
    tool.check_scope(arguments)
    if each.request or (policy == "allow" and not tool.asks):
        return _Work(handler, crew, tool, each, arguments)
    if handler.unasked is not None:
        raise ToolError(UNASKED.format(name=tool.name, page=handler.unasked))
    request_id = new_call_id(set(state.requests))
    if tool.asks:
        return ClarificationRequest(request_id, call.id, questions_of(arguments))
    return ToolApprovalRequest(request_id, call.id, tool.name, arguments, _effect(handler, tool, arguments))


def _answered(each: CallState) -> dict[str, Any]:
    """Return the arguments that a person said yes to. Raises `ToolError` when it was a no."""
    if isinstance(each.request, ClarificationRequest):
        return {"questions": list(each.request.questions)}
    if not isinstance(each.request, ToolApprovalRequest) or each.reply is None or not each.reply.approved:
        raise ToolError(REFUSED)
    return each.request.arguments if each.reply.arguments is None else each.reply.arguments


def _effect(handler: AgentHandler, tool: Tool, arguments: dict[str, Any]) -> str:
    """Tell a person the effect of the call."""
    key = f"approve.{tool.name}"
    if key not in words("agent", handler.language):
        key = "approve.tool"
    return say("agent", handler.language, key, **{**arguments, "name": tool.name})


class _Work:
    """One call, ready to run on a greenlet of the crew. An error of the tool becomes a result."""

    def __init__(
        self, handler: AgentHandler, crew: Crew, tool: Tool, each: CallState, arguments: dict[str, Any]
    ) -> None:
        self._tool, self._call, self._reply, self._crew = tool, each.call, each.reply, crew
        self._context = ToolContext(
            thread=handler.thread, principal=handler.principal, language=handler.language, report=self._report
        )
        self.arguments = arguments

    def __call__(self) -> ToolCallResult:
        began = time.monotonic()
        try:
            result, is_error = self._done(), False
        except ToolError as exc:
            result, is_error = ToolResult(exc.message), True
        except Cancelled:
            self._context.end(cancelled=True)
            raise
        except BaseException as exc:  # a `gevent.Timeout` too: a tool may fail in any way, and a model can cope
            log.exception("the tool %s failed", self._tool.name)
            result, is_error = ToolResult(f"The tool failed: {type(exc).__name__}."), True
        self._context.end()
        seconds = round(time.monotonic() - began, 4)
        sources = () if is_error else self._fitting((*self._context.sources, *result.sources))
        parts = self._fitting(result.parts)
        return ToolCallResult(self._call.id, self._call.name, _cut(result.text), is_error, seconds, sources, parts)

    def _done(self) -> ToolResult:
        if self._tool.asks:
            answers = self._reply.answers if self._reply else None
            return ToolResult(told(self.arguments["questions"], answers or skipped(self.arguments["questions"])))
        return self._tool.run(self.arguments, self._context)

    def _report(self, text: str, share: float | None) -> None:
        self._crew.report(ToolProgress(self._call.id, self._call.name, text, share))

    def _fitting(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return the first values that fit into `BESIDE_BYTES`, with the commas between them."""
        room = BESIDE_BYTES
        for at, each in enumerate(values):
            room -= len(msgspec.json.encode(each)) + 1
            if room < 0:
                log.warning("the tool %s gives more beside its text than is kept", self._tool.name)
                return values[:at]
        return values


def _cut(content: str) -> str:
    """Cut a tool's text to `RESULT_BYTES`, and say so at its end."""
    raw = content.encode()
    if len(raw) <= RESULT_BYTES:
        return content
    note = f"\n… cut: {len(raw)} bytes in all"
    return raw[: RESULT_BYTES - len(note.encode())].decode(errors="ignore") + note
