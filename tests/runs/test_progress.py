"""What a tool says of its work: on disk before it is shown, in its place, seldom, and the same at each look."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
from client import Client
from conftest import _run, model_settings
from model_answers import Answer, reply, text, tool_calls
from model_server import ModelServer
from runs_rig import House, wait_until
from server import Server

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.deechat import DeeChat, frame_of
from deechat.agents.plugins.ndjson import NDJSON
from deechat.agents.plugins.sse import SSE
from deechat.agents.providers.base import Provider, Scripted, Turn
from deechat.agents.tools.base import Tool, make_tool
from deechat.agents.tools.context import LONGEST_LINE, ToolContext
from deechat.events import (
    AnyEvent,
    Entry,
    RunStopped,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    decode,
    encode,
)
from deechat.locale import say
from deechat.runs.runner import PROGRESS_SECONDS
from deechat.terminal.screen import render

# -- in one process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def build(provider: Provider, *tools: Tool) -> House:
        houses.append(House(tmp_path / "test.sqlite3", provider, tools))
        return houses[-1]

    yield build
    for each in houses:
        each.database.close()


def calling(*names: str) -> Scripted:
    return Scripted([Turn("tool_calls", tuple(ToolCall("", name, "{}") for name in names))], [Turn("stop")])


def lines(events: list[AnyEvent]) -> list[ToolProgress]:
    return [each for each in events if isinstance(each, ToolProgress)]


def check_order(events: list[AnyEvent]) -> None:
    """Checks that each line stands between its call's invocation and its result."""
    at_work: set[str] = set()
    for each in events:
        if isinstance(each, ToolCallInvocation):
            at_work.add(each.call_id)
        elif isinstance(each, ToolCallResult):
            at_work.discard(each.call_id)
        elif isinstance(each, ToolProgress):
            assert each.call_id in at_work


def test_a_tool_that_reports_in_a_tight_loop_fills_no_log_and_holds_nobody_up(house: Callable[..., House]) -> None:
    turns: list[int] = []

    def rush(context: ToolContext) -> str:
        """Reports for 1.2 seconds without a pause."""
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 1.2:
            count += 1
            context.progress(f"{count} done")
        return str(count)

    home = house(calling("rush", "rush"), make_tool(rush, policy="allow"))
    run = home.start(home.thread())
    other = gevent.spawn(lambda: [turns.append(gevent.sleep(0.01) or 1) for _ in range(50)])  # type: ignore[func-returns-value]
    events = home.events(run)
    other.join(10)
    check_order(events)
    counts = [int(each.content) for each in events if isinstance(each, ToolCallResult)]
    assert len(counts) == 2
    assert min(counts) > 100
    for call_id in {each.call_id for each in lines(events)}:
        said = [int(each.text.split()[0]) for each in lines(events) if each.call_id == call_id]
        assert 2 <= len(said) <= 1.2 / PROGRESS_SECONDS + 2  # one at once, and one each half second
        assert said == sorted(said)
        assert said[1] > said[0] + 10, "the newest is shown, not the next"
    assert len(turns) == 50


def test_the_last_line_is_shown_in_time_though_nothing_follows_it(house: Callable[..., House]) -> None:
    go = gevent.event.Event()

    def work(context: ToolContext) -> str:
        """Says three things at once, and works."""
        for word in ("one", "two", "three"):
            context.progress(word)
        go.wait(10)
        return "done"

    home = house(calling("work"), make_tool(work, policy="allow"))
    run = home.start(home.thread())
    seen: list[str] = []
    for batch in home.runs.follow(run, 0, 10.0):
        seen += [each.text for each in lines([entry.event for entry in batch])]
        if "three" in seen:
            go.set()
    assert seen == ["one", "three"]


def test_nothing_is_reported_after_the_result_or_after_a_stop(house: Callable[..., House]) -> None:
    kept: list[ToolContext] = []

    def leave(context: ToolContext) -> str:
        """Leaves, and lets somebody report for it."""
        kept.append(context)
        gevent.spawn(lambda: [gevent.sleep(0.01) or context.progress(str(n)) for n in range(100)])  # type: ignore[func-returns-value]
        return "done"

    def stay(context: ToolContext) -> str:
        """Stays, and reports."""
        kept.append(context)
        for number in range(10_000):
            context.progress(f"still {number}")
            gevent.sleep(0.005)
        return "never"

    home = house(calling("leave", "stay"), make_tool(leave, policy="allow"), make_tool(stay, policy="allow"))
    run = home.start(home.thread())
    wait_until(lambda: len(kept) == 2)
    gevent.sleep(0.7)
    assert home.runs.stop(run)
    gevent.sleep(0.7)
    events = home.events(run)
    check_order(events)
    assert {each.name for each in lines(events)} == {"stay"}
    assert isinstance(events[-1], RunStopped)
    assert [context.cancelled for context in kept] == [False, True]


SAYINGS = [
    "two\nlines\r\n\ndata: forged\n\nid: 9\u2028\u2029\x85end",
    "\x1b]0;title\x07\x1b[31mred\x1b[2J\x9b1m\x1bPq\x1b\\ \u202eyes\x00\x7f",
    "lone \ud800 and \udfff, and a pair \ud83d\ude00",
    "x" * 1_000_000,
    "\n" * 1_000_000,
    '{"type":"resync"}</script><img src=x onerror=alert(1)>',
    "中文" * 10_000,
]


def test_whatever_a_tool_says_of_its_work_is_one_short_line_in_every_transport(house: Callable[..., House]) -> None:
    def shout(context: ToolContext, number: int) -> str:
        """Says something that nobody should.

        number: which saying
        """
        context.progress(SAYINGS[number], float("nan"))
        gevent.sleep(0.05)
        return "done"

    calls = tuple(ToolCall("", "shout", f'{{"number": {number}}}') for number in range(len(SAYINGS)))
    home = house(Scripted([Turn("tool_calls", calls)], [Turn("stop")]), make_tool(shout, policy="allow"))
    events = home.events(home.start(home.thread()))
    check_order(events)
    said = lines(events)
    assert len(said) == len(SAYINGS)
    for each in said:
        assert (len(each.text) <= LONGEST_LINE, each.share, each.text.split("\n")) == (True, None, [each.text])
        assert decode(encode(each)) == each
        entry = Entry(7, 1.0, each)
        block = Plugin(DeeChat("i"), SSE()).frame(entry)
        assert (block.startswith(b"id: 7\ndata: "), block.count(b"\n"), block.count(b"\r")) == (True, 3, 0)
        assert json.loads(block.split(b"\n")[1].removeprefix(b"data: "))["text"] == each.text
        assert Plugin(DeeChat("i"), NDJSON()).frame(entry).count(b"\n") == 1
        shown = render(frame_of(entry, "i"), partial(say, "terminal", "en"))
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
        assert shown.count("\n") == 1


# -- over HTTP ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


@pytest.fixture(scope="module")
def tooled(shared_model: ModelServer, hooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = model_settings(shared_model) | {"HOOKS": str(hooks)}
    yield from _run(tmp_path_factory.mktemp("tooled"), app="tooled:app", **settings)


@pytest.fixture
def client(tooled: Server, hooks: Path) -> Iterator[Client]:
    """A client whose runs are looked at again at the end: live, replayed and stored they are the same bytes."""
    for file in hooks.iterdir():
        file.unlink()
    client = Client(tooled).new_thread()
    yield client
    client.check_all()


def walking(steps: int = 3) -> Answer:
    return reply(tool_calls(("walk", {"steps": steps})))


def shown(frames: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(each["text"], each["share"]) for each in frames if each.get("type") == "toolProgress"]


def test_progress_comes_over_the_wire_as_it_happens_and_again_to_whoever_comes_later(
    client: Client, model: ModelServer, hooks: Path
) -> None:
    model.script(walking(), reply(text("Well.")))
    stream = client.send("Walk")
    stream.read_until("toolProgress")
    late = client.follow(stream.run_id)
    late.read_until("toolProgress")
    (hooks / "step-1").touch()
    stream.read_until("toolProgress")
    (hooks / "go").touch()
    stream.read()
    late.read()
    assert shown(stream.frames)[:2] == [("Step 1 of 3", 0.333), ("Step 2 of 3", 0.667)]
    assert late.frames == stream.frames
    types = stream.types
    at = types.index("toolCallInvocation")
    assert types[at + 1] == "toolProgress"
    assert "toolProgress" not in types[types.index("toolCallResult") :]
    (frame,) = [each for each in stream.frames[at : at + 2] if each["type"] == "toolProgress"]
    assert set(frame) == {"id", "uuid", "type", "toolCallId", "name", "text", "share"}
    assert frame["uuid"] == f"{frame['id']}:{at + 2}"
    lines = client.call("GET", f"/api/runs/{stream.run_id}/events", headers={"Accept": "application/x-ndjson"}).text
    assert shown([json.loads(line) for line in lines.splitlines()]) == shown(stream.frames)


def test_sources_and_parts_stand_in_the_result_and_in_the_history_and_no_model_reads_them(
    client: Client, model: ModelServer, hooks: Path
) -> None:
    (hooks / "go").touch()
    model.script(walking(), reply(tool_calls(("look", {}))), reply(text("Well.")), "Next.")
    stream = client.ask("Walk")
    walked, looked = [each for each in stream.frames if each.get("type") == "toolCallResult"]
    source = {
        "id": "https://map.example/", "title": "The <b>map</b>", "text": "", "chunkSource": "https://map.example/",
        "score": None,
    }  # fmt: skip
    assert walked["sources"] == [source]
    assert walked["parts"] == [
        {"kind": "link", "url": "javascript:alert(1)", "title": "Bad"},
        {"kind": "link", "url": "https://way.example/", "title": "Way"},
    ]
    assert {"sources", "parts"} & set(looked) == set(), "a result of text alone is as it always was"
    first, second = client.history()[-1]["toolCalls"]
    assert (first["sources"], first["parts"]) == (walked["sources"], walked["parts"])
    assert {"sources", "parts"} & set(second) == set()
    client.ask("And now?")
    for asked in model.asked:
        assert "map.example" not in json.dumps(asked)
        assert "context" not in json.dumps(asked["tools"])
    assert [each["content"] for each in model.asked[-1]["messages"] if each["role"] == "tool"] == [
        "It is there.", "look is done"
    ]  # fmt: skip


def test_a_model_that_gives_a_context_is_told_that_there_is_none(
    client: Client, model: ModelServer, hooks: Path
) -> None:
    (hooks / "go").touch()
    model.script(reply(tool_calls(("walk", {"context": {"thread": "another"}}))), reply(text("Well.")))
    stream = client.ask("Walk")
    (result,) = [each for each in stream.frames if each.get("type") == "toolCallResult"]
    assert result["isError"]
    assert 'unknown parameter "context"' in result["content"]


def test_a_stop_in_the_midst_ends_the_lines(client: Client, model: ModelServer) -> None:
    model.script(walking())
    stream = client.send("Walk")
    stream.read_until("toolProgress")
    assert client.stop(stream.run_id)["stopped"]
    types = stream.read().types
    assert types[types.index("toolProgress") :] == ["toolProgress", "toolCallResult", "stopGeneration"]


def test_a_line_that_was_seen_is_there_after_a_kill_and_the_call_starts_anew(
    client: Client, model: ModelServer, hooks: Path
) -> None:
    model.script(walking(), reply(text("Well.")))
    stream = client.send("Walk")
    stream.read_until("toolProgress")
    (hooks / "step-1").touch()
    seen = stream.read_until("toolProgress")
    client.server.kill()
    stream.read()
    (hooks / "go").touch()
    client.server.start()
    again = client.follow(stream.run_id, after=0).read()
    assert again.numbered[(seen.seq or 0) - 1].raw == seen.raw
    types = again.types
    first = types.index("toolCallInvocation")
    assert types[first : first + 4] == ["toolCallInvocation", "toolProgress", "toolProgress", "toolCallInvocation"]
    assert again.text == "Well."


def test_asked_to_leave_a_server_lets_the_tool_finish_and_keeps_its_lines(
    client: Client, model: ModelServer, hooks: Path
) -> None:
    model.script(walking(), reply(text("Well.")))
    stream = client.send("Walk")
    stream.read_until("toolProgress")
    with ThreadPoolExecutor(1) as beside:
        left = beside.submit(client.server.terminate)
        time.sleep(0.2)
        (hooks / "step-1").touch()
        wait_until(lambda: len(lines([each.event for each in client.server.entries(stream.run_id)])) > 1)
        (hooks / "go").touch()
        assert left.result(30) == 0
    stream.read()
    client.server.start()
    again = client.follow(stream.run_id, after=0).read()
    assert again.types.count("toolCallInvocation") == 1
    assert shown(again.frames)[:2] == [("Step 1 of 3", 0.333), ("Step 2 of 3", 0.667)]
    assert again.text == "Well."
