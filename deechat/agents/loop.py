"""The agent's loop: ask the model, run its tools, repeat. A generator of events, and nothing else.

The loop keeps nothing of its own: each turn of it asks the state, which is the fold of what it yielded, what comes
next. Whoever drives it applies every event to that state before asking for the next one, and for an event with
`commit_first` waits until it is on disk; so entering the loop again on a state that was folded from disk is the same as
going on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import msgspec

from deechat.agents.handler import AgentHandler, new_call_id
from deechat.agents.providers.base import Notice, Part, Provider, Question, Reasoning, Text, Turn
from deechat.agents.state import REPEATS, Ask, CallState, Finish, Resume, RunState, UseTools, Wait
from deechat.agents.tools.base import Tool, ToolError
from deechat.agents.words import say
from deechat.errors import Cancelled, ModelError
from deechat.events import (
    AnyEvent,
    ReasoningChunk,
    RunCompleted,
    Status,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextChunk,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
)

ANSWER_BYTES = 1_000_000
RESULT_BYTES = 16_000
INTERRUPTED = "Interrupted: the server was restarted. It may have happened."

log = logging.getLogger(__name__)
Events = Generator[AnyEvent, None, None]


class Crew(Protocol):
    """Where tools run, side by side. Whoever stops the run cancels its crew by name."""

    def start(self, work: Callable[[], ToolCallResult]) -> None:
        """Starts the work and returns at once."""
        ...

    def results(self) -> Iterator[ToolCallResult]:
        """Yields each result as it comes, until nothing that was started is left."""
        ...


def run(handler: AgentHandler, state: RunState, crew: Crew) -> Events:
    """Goes on from the state until it has an ending, or waits for a person.

    A `RunCompleted` is an offer: when something joined the run meanwhile its driver leaves it out and the loop goes on.
    Raises `ModelError` when the model server fails, and whatever a mistake in the program raises.
    """
    while state.ending is None:
        match state.next_move(handler.max_tool_rounds):
            case Ask() as ask:
                yield from _ask(handler, state, ask)
            case UseTools(calls):
                yield from _use_tools(handler, calls, crew)
            case Resume(calls):
                yield from _resume(handler, calls, crew)
            case Finish(finish_reason):
                yield RunCompleted(finish_reason, state.metrics(time.time()))
            case Wait():
                return


# -- a step ------------------------------------------------------------------------------------------------------------


def _ask(handler: AgentHandler, state: RunState, ask: Ask) -> Events:
    if ask.reason is not None:
        yield _why_no_more_tools(handler, state, ask.reason)
    yield StepRestarted(ask.step, state.step_seq) if ask.restarted else StepStarted(ask.step)
    question = handler.question(state, may_use_tools=ask.may_use_tools)
    turn = None
    with _asked(handler.provider, question) as parts:
        for part in parts:
            match part:
                case Text(text):
                    yield TextChunk(_after_a_gap(state, text))
                case Reasoning(text):
                    yield ReasoningChunk(text)
                case Notice(code, params):
                    yield Status(say(code, params, handler.language), code, params)
                case Turn():
                    turn = part
            _check_length(state)
    if turn is None:
        raise ModelError("The model server ended its answer without saying so.", code="model_protocol")
    yield _finished(handler, state, ask, question, turn)


@contextmanager
def _asked(provider: Provider, question: Question) -> Iterator[Iterator[Part]]:
    """Asks, and closes what was opened, whoever ends it. The provider sees a `Cancelled` and notes its time on it."""
    parts = provider.ask(question)
    try:
        yield parts
    except Cancelled as stop:
        with suppress(Cancelled):
            parts.throw(stop)
        raise
    finally:
        parts.close()


def _finished(handler: AgentHandler, state: RunState, ask: Ask, question: Question, turn: Turn) -> StepFinished:
    # A server that calls tools although it was told not to is not listened to.
    calls = turn.calls if ask.may_use_tools else ()
    taken = set(state.calls)
    named = tuple(msgspec.structs.replace(call, id=new_call_id(taken)) for call in calls)
    said = state.step_text + "".join(call.name + call.arguments for call in calls)
    usage = turn.usage or handler.estimate(question, said)
    return StepFinished(ask.step, turn.finish_reason, usage, named, turn.extra)


def _after_a_gap(state: RunState, text: str) -> str:
    """Sets a later step's text apart from the text before it."""
    return "\n\n" + text if state.text and not state.has_step_text else text


def _check_length(state: RunState) -> None:
    if state.answer_bytes > ANSWER_BYTES:
        raise ModelError(
            f"The answer grew beyond {ANSWER_BYTES // 1_000_000} MB and was ended there.", code="answer_too_long"
        )


def _why_no_more_tools(handler: AgentHandler, state: RunState, reason: str) -> Status:
    names = sorted({call.name for call in state.finished.calls}) if state.finished else []
    params = {"rounds": handler.max_tool_rounds, "name": ", ".join(names), "times": REPEATS}
    return Status(say(reason, params, handler.language), reason, params)


# -- tools -------------------------------------------------------------------------------------------------------------


def _use_tools(handler: AgentHandler, calls: tuple[CallState, ...], crew: Crew) -> Events:
    """Starts every call that may start, side by side, and yields results as they come."""
    for each in calls:
        call = each.call
        try:
            tool, arguments = _prepared(handler, call)
        except ToolError as refusal:
            yield ToolCallResult(call.id, call.name, _cut(refusal.message), is_error=True)
            continue
        yield Status(say("tool_call", {"name": call.name}, handler.language), "tool_call", {"name": call.name})
        yield ToolCallInvocation(call.id, call.name, arguments)
        crew.start(_Work(call, tool, arguments))
    yield from crew.results()


def _resume(handler: AgentHandler, calls: tuple[CallState, ...], crew: Crew) -> Events:
    """Starts again what may run twice; of the rest says that it may have happened."""
    for each in calls:
        call, tool = each.call, handler.tools.get(each.call.name)
        if tool is None or not tool.repeatable or each.arguments is None:
            yield ToolCallResult(call.id, call.name, INTERRUPTED, is_error=True)
            continue
        yield ToolCallInvocation(call.id, call.name, each.arguments)
        crew.start(_Work(call, tool, each.arguments))
    yield from crew.results()


def _prepared(handler: AgentHandler, call: ToolCall) -> tuple[Tool, dict[str, object]]:
    """Gives what a call needs to start. Raises `ToolError` with words for the model when it may not."""
    tool = handler.tools.get(call.name)
    if tool is None:
        known = ", ".join(sorted(handler.tools)) or "none"
        raise ToolError(f"There is no tool {call.name[:80]!r}. The tools are: {known}.")
    policy = handler.policy(tool)
    if policy != "allow":
        raise ToolError(f"The tool {tool.name} may not be used in this workspace without a person's yes ({policy}).")
    return tool, tool.arguments(call.arguments)


class _Work:
    """One call, ready to run on a greenlet of the crew: gives a result, whatever the tool does."""

    def __init__(self, call: ToolCall, tool: Tool, arguments: dict[str, object]) -> None:
        self._call, self._tool, self._arguments = call, tool, arguments

    def __call__(self) -> ToolCallResult:
        began = time.monotonic()
        is_error = False
        try:
            content = self._tool.run(self._arguments)
        except ToolError as exc:
            content, is_error = exc.message, True
        except Cancelled:
            raise
        except BaseException as exc:  # a `gevent.Timeout` too: a tool may fail in any way, and a model can cope
            log.exception("the tool %s failed", self._tool.name)
            content, is_error = f"The tool failed: {type(exc).__name__}.", True
        seconds = round(time.monotonic() - began, 4)
        return ToolCallResult(self._call.id, self._call.name, _cut(content), is_error, seconds)


def _cut(content: str) -> str:
    """Cuts a tool's text to what a model is given, and says so at its end."""
    raw = content.encode()
    if len(raw) <= RESULT_BYTES:
        return content
    note = f"\n… cut: {len(raw)} bytes in all"
    return raw[: RESULT_BYTES - len(note.encode())].decode(errors="ignore") + note
