"""Whole logs that freeze the dialects: lines of tests/agents/plugins/golden, and some drawn by chance."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from some_answers import QUESTION, some_log

from deechat.agents.plugins.base import Dialect, Frame
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    Entry,
    HistorySummarized,
    InputReceived,
    Link,
    Metrics,
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
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
)

GOLDEN = Path(__file__).parents[1] / "agents" / "plugins" / "golden"
WARNING = (
    "The frames of a fold for an old log have changed. Every client that is cut off comes back with a cursor that "
    "counts them, so this breaks everybody's cursors: fold new kinds of entries instead, and leave the old ones."
)
SOURCE = Source("s1", "Title", "Passage", "https://s.example/", 0.5)
METRICS = Metrics(10, 5, 15, 2.5, 0.25, 2.0, "m")
USAGE = Usage(10, 5)
STARTED = RunStarted("r", "m", "w", "t", None, "model")


def _log(*events: AnyEvent) -> list[Entry]:
    return [Entry(seq, float(seq), event) for seq, event in enumerate((STARTED, *events), 1)]


LOGS: dict[str, list[Entry]] = {
    "plain": _log(
        ThreadRenamed("t", "Hello"),
        StepStarted(1),
        ReasoningChunk("Hm"),
        ReasoningChunk("m."),
        TextChunk("One\n"),
        TextChunk("two \u2028 😀"),
        StepFinished(1, "stop", USAGE),
        TextClosed((SOURCE,)),
        RunCompleted("stop", METRICS, (SOURCE,)),
    ),
    "tools": _log(
        StepStarted(1),
        TextChunk("Let me look."),
        StepFinished(1, "tool_calls", USAGE, (ToolCall("a", "look", '{"at":1}'), ToolCall("b", "nothing", "no JSON"))),
        Status("🔧 look", "tool_call", {"name": "look"}),
        ToolCallInvocation("a", "look", {"at": 1}),
        ToolCallResult("b", "nothing", "There is no tool.", is_error=True),
        ToolProgress("a", "look", "Half", 0.5),
        Steered("And that?"),
        ToolCallInvocation("a", "look", {"at": 1}),
        ToolCallResult("a", "look", "seen", False, 0.5, (SOURCE,), (Link("https://l.example/", "L"),)),
        StepStarted(2),
        HistorySummarized("p", "All before.", USAGE),
        TextChunk("\n\nSeen."),
        StepFinished(2, "length", USAGE),
        TextClosed(),
        RunCompleted("length", METRICS),
    ),
    "asked": _log(
        StepStarted(1),
        StepFinished(
            1,
            "tool_calls",
            USAGE,
            (ToolCall("a", "pay", '{"amount":1}'), ToolCall("b", "ask_user", "{}"), ToolCall("c", "look", "{}")),
        ),
        ToolApprovalRequest("qa", "a", "pay", {"amount": 1}, "It pays."),
        ClarificationRequest("qb", "b", (QUESTION,)),
        ToolCallInvocation("c", "look", {}),
        ToolCallResult("c", "look", "seen"),
        Steered("Be quick."),
        InputReceived("qb", "Here", answers=({"skipped": False, "answer": "Here"},)),
        InputReceived("qa", "Yes, changed", approved=True, arguments={"amount": 2}),
        ToolCallInvocation("a", "pay", {"amount": 2}),
        ToolCallInvocation("b", "ask_user", {"questions": [QUESTION]}),
        ToolCallResult("b", "ask_user", "Where?: Here"),
        ToolCallResult("a", "pay", "paid"),
        StepStarted(2),
        StepFinished(2, "tool_calls", USAGE, (ToolCall("d", "pay", '{"amount":9}'),)),
        ToolApprovalRequest("qd", "d", "pay", {"amount": 9}, "It pays."),
        InputReceived("qd", "No", approved=False),
        ToolCallResult("d", "pay", "A person refused.", is_error=True),
        StepStarted(3),
        TextChunk("Paid once."),
        StepFinished(3, "stop", USAGE),
        TextClosed(),
        RunCompleted("stop", METRICS),
    ),
    "void": _log(
        StepStarted(1),
        ReasoningChunk("Th"),
        TextChunk("It is"),
        StepRestarted(1, 2),
        TextChunk("It was thought"),
        StepRetold(1, 2, "thinking"),
        ReasoningChunk("It was thought"),
        TextChunk("No."),
        StepFinished(1, "stop", USAGE),
        TextClosed(),
        RunCompleted("stop", METRICS),
    ),
    "stopped": _log(
        StepStarted(1),
        StepFinished(1, "tool_calls", USAGE, (ToolCall("a", "pay", "{}"),)),
        ToolApprovalRequest("qa", "a", "pay", {}, "It pays."),
        RunStopped(),
    ),
    "failed": _log(StepStarted(1), ReasoningChunk("Hm"), RunFailed("model_error", "It failed.")),
    "early": _log(RunFailed("interrupted", "The server went away.", "interrupted")),
    "client": _log(
        StepStarted(1),
        TextChunk("Let me see."),
        StepFinished(
            1,
            "tool_calls",
            USAGE,
            (ToolCall("a", "weather", '{"city":"Paris"}'), ToolCall("b", "look", "{}"), ToolCall("c", "pay", "{}")),
        ),
        ClientCall("qa", "a", "weather", '{"city":"Paris"}'),
        ToolCallInvocation("b", "look", {}),
        ToolApprovalRequest("qc", "c", "pay", {}, "It pays."),
        ToolCallResult("b", "look", "seen"),
        InputReceived("qa", "rain", output="rain"),
        ToolCallResult("a", "weather", "rain"),
        InputReceived("qc", "No", approved=False),
        ToolCallResult("c", "pay", "A person refused.", is_error=True),
        StepStarted(2),
        StepFinished(2, "tool_calls", USAGE, (ToolCall("d", "weather", "no JSON"),)),
        ClientCall("qd", "d", "weather", "no JSON"),
        InputReceived("qd", "sun", output="sun"),
        ToolCallResult("d", "weather", "sun"),
        StepStarted(3),
        TextChunk("Sun."),
        StepFinished(3, "tool_calls", USAGE, (ToolCall("e", "weather", "{}"),)),
        ClientCall("qe", "e", "weather", "{}"),
        ToolCallResult("e", "weather", "Not done.", is_error=True),
        RunStopped(),
    ),
}


def some_logs(count: int) -> Iterator[list[Entry]]:
    """Yield the fixed logs, and others drawn by chance."""
    yield from LOGS.values()
    for seed in range(count):
        yield some_log(random.Random(seed))


def folded(dialect: Dialect, entries: list[Entry]) -> list[Frame]:
    """Return the frames of a log up to the dialect's end."""
    frames: list[Frame] = []
    for entry in entries:
        frames += dialect.fold(entry)
        if dialect.over:
            break
    return frames


def check_golden(name: str, make: Callable[[str], list[Frame]]) -> None:
    """Compare the frames of each fixed log with those of the file `name`."""
    path = GOLDEN / f"{name}.jsonl"
    frozen: dict[str, list[Any]] = {log: [] for log in LOGS}
    for line in path.read_text().rstrip("\n").split("\n"):
        log, *frame = json.loads(line)
        frozen[log].append(frame)
    for log in LOGS:
        now = [[frame.id, _plain(frame.data)] for frame in make(log)]
        assert now == frozen[log], f"{log}: {WARNING}"


def _plain(data: Any) -> Any:
    return data.decode() if isinstance(data, bytes) else json.loads(json.dumps(data))
