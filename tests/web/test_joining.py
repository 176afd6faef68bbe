"""A prompt into a thread whose run is just ending: it neither joins that run nor holds up the server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import gevent
import pytest
from runs_rig import House, wait_until

from deechat.agents.providers.base import Scripted, Text, Turn
from deechat.agents.tools.base import make_tool
from deechat.events import ToolCall
from deechat.principal import OWNER
from deechat.runs.start import Prompt
from deechat.web.streams import Streams
from deechat.web.transports import Transports

GUARD = 30  # seconds after which a loop that lets nobody else go on is broken off
begun: list[str] = []


def leave_slowly() -> str:
    """Works, and takes its time to leave."""
    begun.append("it")
    try:
        gevent.sleep(60)
    finally:
        gevent.sleep(0.05)
    return "done"


@pytest.fixture
def guarded() -> Iterator[None]:
    def break_off(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail("nobody else could go on")

    before = signal.signal(signal.SIGALRM, break_off)
    signal.alarm(GUARD)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("guarded")
def test_a_prompt_while_the_run_is_being_stopped_begins_the_next_one(tmp_path: Path) -> None:
    provider = Scripted([Turn("tool_calls", (ToolCall("", "leave_slowly", "{}"),))], [Text("Next."), Turn("stop")])
    house = House(tmp_path / "test.sqlite3", provider, (make_tool(leave_slowly, policy="allow"),))
    transports = Transports(house.store, house.runs, Streams(house.runs, most=5, heartbeat=15.0), "websocket")
    thread = house.thread()
    first = house.start(thread)
    wait_until(lambda: bool(begun))
    stop = gevent.spawn(house.runs.stop, OWNER, first)
    gevent.sleep(0)  # it has claimed the ending, and waits for the tool to leave
    run, is_new = transports.start_or_join(OWNER, house.workspace, thread, Prompt("And?"))
    assert stop.get(timeout=10)
    assert (is_new, run.id != first) == (True, True)
    assert [type(each).__name__ for each in house.events(run.id)][-1] == "RunCompleted"
    house.store.close()
