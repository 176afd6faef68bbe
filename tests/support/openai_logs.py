"""Whole logs of runs that clients of OpenAI's API began, for the folds of that API's dialects."""

from __future__ import annotations

from deechat.events import (
    CUT,
    AnyEvent,
    ClientCall,
    ClientTool,
    Entry,
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
    Terms,
    TextChunk,
    TextClosed,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)

RUN = "0c9b4b6e-6a3e-4d5f-8a77-0123456789ab"
WEATHER = ClientTool("get_weather", "Tells the weather.", {"type": "object", "properties": {}})
METRICS = Metrics(10, 5, 15, 2.5, 0.25, 2.0, "m")
DONE = (TextClosed(), RunCompleted("stop", METRICS))


def _started(*tools: ClientTool) -> RunStarted:
    terms = Terms(tools=tools, approvals=True, page="http://127.0.0.1:8000/", echo={"model": "deechat", "store": True})
    return RunStarted(RUN, "m", "default", "api-t", None, "m", terms=terms)


def _turn(step: int, *calls: ToolCall, reason: str = "stop") -> StepFinished:
    return StepFinished(step, "tool_calls" if calls else reason, Usage(10, 5), calls)


PLAIN = (_started(), StepStarted(1), ReasoningChunk("Hm."), TextChunk("Hi "), TextChunk("there."), _turn(1), *DONE)
OUR_TOOL = (
    *(_started(), StepStarted(1), TextChunk("Wait."), _turn(1, ToolCall("c1", "calculator", '{"expression":"6*7"}'))),
    *(Status("🔧 calculator", "tool_call", {"name": "calculator"}),),
    *(ToolCallInvocation("c1", "calculator", {"expression": "6*7"}), ToolCallResult("c1", "calculator", "42")),
    *(StepStarted(2), TextChunk("\n\n42."), _turn(2), *DONE),
)
THEIR_TOOLS = (
    *(_started(WEATHER), StepStarted(1), TextChunk("Let me see.")),
    _turn(1, ToolCall("c1", "get_weather", '{"city":"Paris"}'), ToolCall("c2", "calculator", '{"expression":"1+1"}')),
    ClientCall("q1", "c1", "get_weather", '{"city":"Paris"}'),
    *(ToolCallInvocation("c2", "calculator", {"expression": "1+1"}), ToolCallResult("c2", "calculator", "2")),
    *(Steered("In short."), InputReceived("q1", "rain", output="rain"), ToolCallResult("c1", "get_weather", "rain")),
    *(StepStarted(2), TextChunk("Rain."), _turn(2, ToolCall("c3", "get_weather", "{}"))),
    *(ClientCall("q2", "c3", "get_weather", "{}"), InputReceived("q2", "sun", output="sun")),
    *(ToolCallResult("c3", "get_weather", "sun"), StepStarted(3), TextChunk("Sun."), _turn(3), *DONE),
)
APPROVALS = (
    *(_started(), StepStarted(1)),
    _turn(1, ToolCall("c1", "web_fetch", "{}"), ToolCall("c2", "web_fetch", "{}")),
    *(ToolApprovalRequest("a1", "c1", "web_fetch", {"url": "https://a.example/"}, "Fetch a page"),),
    *(ToolApprovalRequest("a2", "c2", "web_fetch", {"url": "https://b.example/"}, "Fetch a page"),),
    *(InputReceived("a1", "Yes", approved=True), InputReceived("a2", "No", approved=False)),
    *(ToolCallInvocation("c1", "web_fetch", {"url": "https://a.example/"}), ToolCallResult("c1", "web_fetch", "A")),
    ToolCallResult("c2", "web_fetch", "The user refused this call.", is_error=True),
    *(StepStarted(2), TextChunk("A."), _turn(2), *DONE),
)
RESTARTED = (
    *(_started(), StepStarted(1), ReasoningChunk("Hm."), TextChunk("Half"), StepRestarted(1, 2)),
    *(
        TextChunk("Whole."),
        StepRetold(1, 2, "thinking"),
        ReasoningChunk("Whole."),
        TextChunk("Really."),
        _turn(1),
        *DONE,
    ),
)
CUT_OFF = (
    _started(),
    StepStarted(1),
    TextChunk("Half"),
    _turn(1, reason=CUT),
    TextClosed(),
    RunCompleted(CUT, METRICS),
)
STOPPED = (_started(), StepStarted(1), TextChunk("Half"), RunStopped(3))
STOPPED_WAITING = (
    *(_started(WEATHER), StepStarted(1), _turn(1, ToolCall("c1", "get_weather", "{}"))),
    *(ClientCall("q1", "c1", "get_weather", "{}"), ToolCallResult("c1", "get_weather", "Not done.", is_error=True)),
    RunStopped(),
)
FAILED = (_started(), StepStarted(1), TextChunk("Half"), RunFailed("model_auth", "No."))

LOGS: dict[str, tuple[tuple[AnyEvent, ...], int]] = {  # each with the number of its pieces
    "plain": (PLAIN, 1),
    "our_tool": (OUR_TOOL, 1),
    "their_tools": (THEIR_TOOLS, 3),
    "approvals": (APPROVALS, 2),
    "restarted": (RESTARTED, 1),
    "cut_off": (CUT_OFF, 1),
    "stopped": (STOPPED, 1),
    "stopped_waiting": (STOPPED_WAITING, 1),
    "failed": (FAILED, 1),
}


def entries(name: str) -> list[Entry]:
    """The log's entries, a second apart."""
    return [Entry(seq, 1_800_000_000.0 + seq, event) for seq, event in enumerate(LOGS[name][0], start=1)]
