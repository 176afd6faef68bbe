"""The agent's loop over the scripted provider: what it asks, what it runs, and that its state is its log's fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from deechat.agents import loop
from deechat.agents.context import AgentHandler
from deechat.agents.providers.base import Notice, Part, Reasoning, Retold, Scripted, Text, Turn
from deechat.agents.state import RunState, UseTools, Wait, fold
from deechat.agents.tools.base import ToolError, make_tool
from deechat.agents.tools.context import ToolContext, ToolResult
from deechat.errors import Cancelled, ModelError
from deechat.events import (
    AnyEvent,
    Entry,
    InputReceived,
    Link,
    ReasoningChunk,
    RunCompleted,
    RunStarted,
    Source,
    Status,
    Steered,
    StepFinished,
    StepRetold,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
    encode,
)
from deechat.messages import AssistantMessage, ToolMessage, UserMessage
from deechat.principal import Principal


def double(number: int) -> str:
    """Doubles a number.

    number: what to double
    """
    if number == 13:
        raise ToolError("13 is not doubled here.")
    if number == 666:
        raise ZeroDivisionError
    return str(number * 2)


DOUBLE = make_tool(double, repeatable=True, policy="allow")


class InOrder:
    """A crew that runs each tool when its result is asked for, last started first: an order no model wrote."""

    def __init__(self) -> None:
        self._works: list[Callable[[], ToolCallResult]] = []
        self.lines: list[ToolProgress] = []

    def start(self, work: Callable[[], ToolCallResult]) -> None:
        self._works.append(work)

    def report(self, progress: ToolProgress) -> None:
        self.lines.append(progress)

    def results(self) -> Iterator[ToolCallResult | ToolProgress]:
        while self._works:
            result = self._works.pop()()
            yield from self.lines
            self.lines.clear()
            yield result


def call(arguments: str, name: str = "double") -> ToolCall:
    return ToolCall("", name, arguments)


def calls(*each: ToolCall) -> Turn:
    return Turn("tool_calls", each)


def drive(handler: AgentHandler, state: RunState | None = None) -> tuple[list[AnyEvent], RunState]:
    """Drives the loop as a runner does, and checks that folding its log again gives the same state."""
    entries = [Entry(1, 0.0, RunStarted("r", "i", "w", "t", None, "m"))]
    if state is None:
        state = fold(entries)
    else:
        entries = []
    for event in loop.run(handler, state, InOrder()):
        entry = Entry(state.last_seq + 1, time.time(), event)
        state.apply(entry)
        entries.append(entry)
    if entries and entries[0].seq == 1:
        assert fold(entries) == state
    return [entry.event for entry in entries], state


def handler(provider: Scripted, **options: object) -> AgentHandler:
    return AgentHandler(provider=provider, history=[UserMessage("Go")], tools={"double": DOUBLE}, **options)  # type: ignore[arg-type]


def kinds(events: list[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_an_answer_without_tools_is_one_step() -> None:
    events, state = drive(handler(Scripted([Reasoning("Hm"), Text("Hi"), Text("!"), Turn("stop", usage=Usage(3, 2))])))
    assert kinds(events) == [
        "RunStarted",
        "StepStarted",
        "ReasoningChunk",
        "TextChunk",
        "TextChunk",
        "StepFinished",
        "RunCompleted",
    ]
    assert state.status == "ended"
    assert state.transcript() == [AssistantMessage("Hi!")]


def test_results_reach_the_model_in_its_own_order_whatever_order_they_came_in() -> None:
    provider = Scripted(
        [calls(call('{"number": 1}'), call('{"number": 2}'), call('{"number": 3}'))], [Text("Done"), Turn("stop")]
    )
    events, _ = drive(handler(provider))
    came = [event.content for event in events if isinstance(event, ToolCallResult)]
    assert came == ["6", "4", "2"]
    assert [m.content for m in provider.asked[1].messages if isinstance(m, ToolMessage)] == ["2", "4", "6"]


def test_every_call_has_an_id_of_ours_that_every_model_server_takes() -> None:
    provider = Scripted([calls(*[call('{"number": 1}')] * 5)], [Turn("stop")])
    _, state = drive(handler(provider))
    assert len(state.calls) == 5
    assert all(len(each) == 9 and each.isalnum() for each in state.calls)


def test_a_call_that_cannot_start_is_a_result_alone_and_the_others_run() -> None:
    provider = Scripted(
        [calls(call("not json"), call('{"number": "x"}'), call("{}", "nothing"), call('{"number": 4}'))],
        [Turn("stop")],
    )
    events, _ = drive(handler(provider))
    assert len([event for event in events if isinstance(event, ToolCallInvocation)]) == 1
    results = {event.content: event.is_error for event in events if isinstance(event, ToolCallResult)}
    assert list(results.values()) == [True, True, True, False]
    assert "There is no tool 'nothing'" in list(results)[2]


def test_a_tool_that_fails_gives_the_model_words_and_no_traceback() -> None:
    provider = Scripted([calls(call('{"number": 13}'), call('{"number": 666}'))], [Turn("stop")])
    events, _ = drive(handler(provider))
    results = [event for event in events if isinstance(event, ToolCallResult)]
    assert [(each.content, each.is_error) for each in results] == [
        ("The tool failed: ZeroDivisionError.", True),
        ("13 is not doubled here.", True),
    ]


LINKS = (Link("https://example.com/", "Example"),)
PAGE = Source("https://example.com/", "Example", "", "https://example.com/")


def walk(context: ToolContext, steps: int, way: str = "on") -> ToolResult:
    """Walks, and says how far it is.

    steps: how many
    """
    context.source("Example", PAGE.id)
    for step in range(1, steps + 1):
        context.progress(f"step {step}", step / steps)
    if way == "wrong":
        raise ToolError("It is the wrong way.")
    if way == "endless":
        raise Cancelled
    return ToolResult(f"{context.thread} {context.principal.id} {context.language}", parts=LINKS)


WALK = make_tool(walk, policy="allow")


def walker(provider: Scripted, **options: object) -> AgentHandler:
    return AgentHandler(provider=provider, history=[UserMessage("Go")], tools={"walk": WALK}, **options)  # type: ignore[arg-type]


def test_progress_stands_between_a_call_and_its_result_and_the_model_reads_the_text_alone() -> None:
    provider = Scripted([calls(call('{"steps": 2}', "walk"))], [Text("Done"), Turn("stop")])
    agent = walker(provider, thread="t", principal=Principal("somebody"), language="zh")
    events, state = drive(agent)
    at = kinds(events).index("ToolCallInvocation")
    assert kinds(events)[at + 1 : at + 4] == ["ToolProgress", "ToolProgress", "ToolCallResult"]
    (call_id,) = state.calls
    assert events[at + 1 : at + 3] == [
        ToolProgress(call_id, "walk", "step 1", 0.5),
        ToolProgress(call_id, "walk", "step 2", 1.0),
    ]
    result = events[at + 3]
    assert isinstance(result, ToolCallResult)
    assert (result.content, result.sources, result.parts) == ("t somebody zh", (PAGE,), LINKS)
    read = provider.asked[1].messages[-1]
    assert read == ToolMessage(call_id, "walk", "t somebody zh", is_error=False)
    assert provider.asked[0].tools[0].parameters["required"] == ["steps"]


def test_progress_changes_nothing_of_a_state_but_its_place_in_the_log() -> None:
    provider = Scripted([calls(call('{"steps": 3}', "walk"))], [Text("Done"), Turn("stop")])
    events, state = drive(walker(provider))
    silent = fold([Entry(at, 0.0, each) for at, each in enumerate(without_progress(events), 1)])
    assert len(without_progress(events)) == len(events) - 3
    assert (silent.status, silent.turns, silent.calls, silent.transcript()) == (
        state.status, state.turns, state.calls, state.transcript()
    )  # fmt: skip


def without_progress(events: list[AnyEvent]) -> list[AnyEvent]:
    return [each for each in events if not isinstance(each, ToolProgress)]


def test_a_call_that_fails_has_no_sources() -> None:
    provider = Scripted([calls(call('{"steps": 1, "way": "wrong"}', "walk"))], [Turn("stop")])
    events, _ = drive(walker(provider))
    (result,) = [each for each in events if isinstance(each, ToolCallResult)]
    assert (result.content, result.is_error, result.sources) == ("It is the wrong way.", True, ())


def test_what_a_tool_started_elsewhere_can_see_that_the_call_was_stopped_and_reports_no_more() -> None:
    seen: list[ToolContext] = []
    crew = InOrder()

    def stay(context: ToolContext) -> str:
        """Keeps its context, and is stopped."""
        seen.append(context)
        context.progress("in time")
        raise Cancelled

    agent = walker(Scripted([calls(call("{}", "stay"))]))
    agent.tools = {"stay": make_tool(stay, policy="allow")}
    state = fold([Entry(1, 0.0, RunStarted("r", "i", "w", "t", None, "m"))])
    events = loop.run(agent, state, crew)
    while not seen:
        with suppress(Cancelled):
            state.apply(Entry(state.last_seq + 1, 0.0, next(events)))
    seen[0].progress("too late")
    assert seen[0].cancelled
    assert [each.text for each in crew.lines] == ["in time"]


def test_of_sources_and_parts_so_much_is_kept_as_the_log_takes() -> None:
    def collect(context: ToolContext) -> ToolResult:
        """Collects."""
        for number in range(3_000):
            context.source("x" * 100, f"https://example.com/{number}")
        return ToolResult("", parts=(Link("https://example.com/", "x" * 300_000), *LINKS))

    agent = walker(Scripted([calls(call("{}", "collect"))], [Turn("stop")]))
    agent.tools = {"collect": make_tool(collect, policy="allow")}
    events, _ = drive(agent)
    (result,) = [each for each in events if isinstance(each, ToolCallResult)]
    assert 500 < len(result.sources) < 3_000
    assert result.parts == ()
    assert len(encode(result)) < loop.BESIDE_BYTES + 1_000


def test_a_tool_that_is_denied_is_neither_offered_nor_run() -> None:
    provider = Scripted([calls(call('{"number": 4}'))], [Turn("stop")])
    events, _ = drive(handler(provider, policy=lambda _tool, _arguments: "deny"))
    assert provider.asked[0].tools == []
    assert "ToolCallInvocation" not in kinds(events)


def test_after_the_last_round_the_answer_is_asked_for_without_tools() -> None:
    rounds = [[calls(call(f'{{"number": {number}}}'))] for number in range(3)]
    provider = Scripted(*rounds, [Text("So"), calls(call('{"number": 9}'))])
    events, _ = drive(handler(provider, max_tool_rounds=3))
    assert [question.tool_choice for question in provider.asked] == ["auto", "auto", "auto", "none"]
    assert kinds(events)[-2:] == ["StepFinished", "RunCompleted"]
    assert [event.code for event in events if isinstance(event, Status)][-1] == "tool_rounds_used_up"


def test_the_same_call_three_times_in_a_row_ends_the_rounds() -> None:
    same = [calls(call('{"number": 1}'))]
    provider = Scripted(same, same, same, [Text("Fine"), Turn("stop")])
    events, _ = drive(handler(provider))
    assert [question.tool_choice for question in provider.asked] == ["auto", "auto", "auto", "none"]
    assert "tool_call_repeated" in [event.code for event in events if isinstance(event, Status)]


def test_the_same_call_with_another_in_between_goes_on() -> None:
    one, other = [calls(call('{"number": 1}'))], [calls(call('{"number": 2}'))]
    provider = Scripted(one, one, other, one, [Turn("stop")])
    drive(handler(provider))
    assert {question.tool_choice for question in provider.asked} == {"auto"}


def test_a_later_steps_text_is_set_apart_from_what_stood_before() -> None:
    provider = Scripted([Text("Look:"), calls(call('{"number": 1}'))], [Text("It"), Text(" is 2."), Turn("stop")])
    events, _ = drive(handler(provider))
    assert "".join(event.text for event in events if isinstance(event, TextChunk)) == "Look:\n\nIt is 2."


@pytest.mark.parametrize(
    ("parts", "finish"),
    [
        ([Reasoning("Hm"), Turn("stop")], "no_text"),
        ([Text(" \n"), Turn("stop")], "no_text"),
        ([Turn("odd")], "no_text"),
        ([Turn("length")], "length"),
        ([Turn("content_filter")], "content_filter"),
        ([Text("x"), Turn("odd")], "odd"),
    ],
)
def test_an_ending_says_what_the_last_step_lacks(parts: list[Part], finish: str) -> None:
    first = [Text("Look:"), calls(call('{"number": 1}'))]
    for script in ([parts], [first, parts]):
        events, _ = drive(handler(Scripted(*script)))
        assert isinstance(events[-1], RunCompleted)
        assert events[-1].finish_reason == finish


def test_a_notice_becomes_a_status_in_the_runs_language() -> None:
    provider = Scripted([Notice("tools_refused", {"model": "m"}), Text("Hi"), Turn("stop")])
    events, _ = drive(handler(provider, language="zh"))
    (status,) = [event for event in events if isinstance(event, Status)]
    assert (status.code, status.params) == ("tools_refused", {"model": "m"})
    assert "不支持工具" in status.text


def test_a_provider_that_ends_without_a_turn_is_a_protocol_error() -> None:
    with pytest.raises(ModelError) as caught:
        drive(handler(Scripted([Text("half")])))
    assert caught.value.code == "model_protocol"


def test_more_than_a_megabyte_of_answer_is_too_long() -> None:
    with pytest.raises(ModelError) as caught:
        drive(handler(Scripted([Text("x" * 600_000), Text("x" * 600_000), Turn("stop")])))
    assert caught.value.code == "answer_too_long"


def test_a_long_result_is_cut_with_a_note() -> None:
    def long() -> str:
        """Says much."""
        return "é" * 20_000

    provider = Scripted([calls(call("{}", "long"))], [Turn("stop")])
    agent = AgentHandler(provider=provider, tools={"long": make_tool(long, policy="allow")})
    events, _ = drive(agent)
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert len(result.content.encode()) <= 16_000
    assert result.content.endswith("… cut: 40000 bytes in all")


def test_a_cancel_reaches_the_provider_wherever_the_loop_stands() -> None:
    seen: list[BaseException] = []

    class Watching(Scripted):
        def ask(self, question):  # type: ignore[no-untyped-def]
            try:
                yield from super().ask(question)
            except Cancelled as stop:
                stop.upstream_closed_ms = 7
                seen.append(stop)
                raise

    events = loop.run(handler(Watching([Text("a"), Text("b"), Turn("stop")])), fold([]), InOrder())
    state = RunState()
    for event in events:
        if isinstance(event, TextChunk):
            break
        state.apply(Entry(state.last_seq + 1, 0.0, event))
    stop = Cancelled()
    with pytest.raises(Cancelled):
        events.throw(stop)
    assert seen == [stop]


def test_side_effects_come_after_an_event_that_is_committed_first() -> None:
    order: list[str] = []

    def note() -> str:
        """Notes that it ran."""
        order.append("tool ran")
        return "ok"

    class Noting(Scripted):
        def ask(self, question):  # type: ignore[no-untyped-def]
            order.append("model asked")
            return super().ask(question)

    provider = Noting([calls(call("{}", "note"))], [Turn("stop")])
    agent = AgentHandler(provider=provider, tools={"note": make_tool(note, policy="allow")})
    state = RunState()
    for event in loop.run(agent, state, InOrder()):
        if event.commit_first:
            order.append(type(event).__name__)
        state.apply(Entry(state.last_seq + 1, 0.0, event))
    assert order == ["StepStarted", "model asked", "ToolCallInvocation", "tool ran", "StepStarted", "model asked"]


def test_the_loop_goes_on_from_a_log_that_was_cut_off_anywhere() -> None:
    first = [Reasoning("Hm"), Text("One"), Text(" more"), calls(call('{"number": 1}'), call('{"number": 2}'))]
    second = [Text("Two"), Turn("stop")]
    whole, done = drive(handler(Scripted(first, second)))
    answer = "One more\n\nTwo"
    for length in range(1, len(whole)):
        head = [Entry(number, 0.0, event) for number, event in enumerate(whole[:length], start=1)]
        steps = sum(isinstance(event, StepFinished) for event in whole[:length])
        again = Scripted(*[first, second][steps:])
        events, state = drive(handler(again), fold(head))
        where = f"cut off after {kinds(whole)[length - 1]} ({length})"
        assert "".join(state.text) == answer, where
        assert [shape(turn) for turn in state.transcript()] == [shape(turn) for turn in done.transcript()], where
        assert all(each.result is not None and not each.result.is_error for each in state.calls.values()), where
        assert kinds(events).count("RunCompleted") == 1, where
        if isinstance(whole[length - 1], TextChunk):
            assert kinds(events)[0] == "StepRestarted", where


def shape(turn: object) -> tuple[str, str]:
    return type(turn).__name__, turn.content if isinstance(turn, ToolMessage) else turn.text  # type: ignore[attr-defined]


THOUGHT = [Reasoning("So. "), Text("Hm"), Text("m."), Retold("thinking", "Hmm.", "Hmm."), Reasoning(" Yes.")]


def test_text_that_was_thinking_is_void_and_said_as_thinking() -> None:
    events, state = drive(handler(Scripted([*THOUGHT, Text("42"), Turn("stop")])))
    assert ("".join(state.reasoning), "".join(state.text), state.step_text) == ("So. Hmm. Yes.", "42", "42")
    assert [turn.text for turn in state.transcript() if isinstance(turn, AssistantMessage)] == ["42"]
    assert state.answer_bytes == len("So. Hmm. Yes.42")
    at = kinds(events).index("StepRetold")
    assert events[at : at + 2] == [StepRetold(1, 2, "thinking"), ReasoningChunk("So. Hmm.")]


def test_only_the_step_in_progress_is_told_anew_and_its_text_is_set_apart_as_ever() -> None:
    first = [Text("Let me see."), calls(call('{"number": 1}'))]
    _, state = drive(handler(Scripted(first, [*THOUGHT, Text("Two"), Turn("stop")])))
    assert "".join(state.text) == "Let me see.\n\nTwo"
    unclosed = [Reasoning("So. "), Reasoning("2"), Retold("text", "2", "<think>2"), Text("!"), Turn("stop")]
    _, state = drive(handler(Scripted(first, unclosed)))
    assert ("".join(state.reasoning), "".join(state.text)) == ("So. ", "Let me see.\n\n<think>2!")


def test_a_step_that_was_told_anew_and_is_cut_off_runs_again_from_its_beginning() -> None:
    whole, _ = drive(handler(Scripted([*THOUGHT, Text("42"), Turn("stop")])))
    for length in range(3, len(whole) - 1):
        head = [Entry(number, 0.0, event) for number, event in enumerate(whole[:length], start=1)]
        steps = sum(isinstance(event, StepFinished) for event in whole[:length])
        _, state = drive(handler(Scripted(*[[*THOUGHT, Text("43"), Turn("stop")]][steps:])), fold(head))
        assert ("".join(state.reasoning), "".join(state.text)) == ("So. Hmm. Yes.", "42" if steps else "43"), length


def test_a_tool_that_may_not_run_twice_is_not_run_again() -> None:
    ran: list[str] = []

    def pay() -> str:
        """Pays."""
        ran.append("paid")
        return "ok"

    log = [
        RunStarted("r", "i", "w", "t", None, "m"),
        StepStarted(1),
        StepFinished(1, "tool_calls", Usage(1, 1), (ToolCall("c", "pay", "{}"),)),
        ToolCallInvocation("c", "pay", {}),
    ]
    agent = AgentHandler(
        provider=Scripted([Turn("stop")]), tools={"pay": make_tool(pay, policy="allow", repeatable=False)}
    )
    events, _ = drive(agent, fold([Entry(seq, 0.0, event) for seq, event in enumerate(log, start=1)]))
    assert ran == []
    assert isinstance(events[0], ToolCallResult)
    assert events[0].content == loop.INTERRUPTED


def test_the_move_is_a_persons_while_a_request_is_open_and_knows_the_answer_afterwards() -> None:
    asked = ToolApprovalRequest("q", "b", "pay", {}, "It pays.")
    log = [
        RunStarted("r", "i", "w", "t", None, "m"),
        StepStarted(1),
        StepFinished(
            1, "tool_calls", Usage(1, 1), (ToolCall("a", "double", '{"number": 1}'), ToolCall("b", "pay", "{}"))
        ),
        asked,
    ]
    state = fold([Entry(seq, 0.0, event) for seq, event in enumerate(log, start=1)])
    move = state.next_move(10)
    assert isinstance(move, UseTools)
    assert [each.call.id for each in move.calls] == ["a"], "what needs no yes is not kept waiting"
    state.apply(Entry(5, 0.0, ToolCallResult("a", "double", "2")))
    assert (state.next_move(10), state.status, state.pending) == (Wait(), "waiting", [asked])
    state.apply(Entry(6, 0.0, InputReceived("q", "No", approved=False)))
    move = state.next_move(10)
    assert isinstance(move, UseTools)
    (denied,) = move.calls
    assert denied.reply is not None
    assert (denied.call.id, denied.reply.approved, state.status) == ("b", False, "running")
    assert "q" in state.requests


def test_a_message_that_joins_the_run_is_read_before_the_next_step_and_never_ends_it_unread() -> None:
    log = [
        RunStarted("r", "i", "w", "t", None, "m"),
        StepStarted(1),
        TextChunk("Half"),
        Steered("Shorter, please"),
        StepFinished(1, "stop", Usage(1, 1)),
    ]
    provider = Scripted([Text("Short."), Turn("stop")])
    _, state = drive(handler(provider), fold([Entry(seq, 0.0, event) for seq, event in enumerate(log, start=1)]))
    assert provider.asked[0].messages[-2:] == [AssistantMessage("Half"), UserMessage("Shorter, please")]
    assert state.steered == ["Shorter, please"]
    assert state.unread == []
