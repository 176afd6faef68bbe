"""A wall clock that is set while runs go on, or between two processes, ends no run and shows in no duration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client, Stream
from conftest import _run, model_settings
from model_server import ModelServer, reply, text, tool_calls
from server import Server, wait_until

from deechat.agents.state import fold
from deechat.events import (
    AnyEvent,
    Entry,
    InputReceived,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextChunk,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
)
from deechat.log.journal import Log
from deechat.messages import INTERRUPTED
from deechat.net import clock
from deechat.store import base
from deechat.store.base import Before
from deechat.store.sqlite import database

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


@pytest.fixture(scope="module")
def tooled(shared_model: ModelServer, hooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose wall clock the tests set, and which they may kill, and leave running."""
    settings = model_settings(shared_model) | {"HOOKS": str(hooks), "DEECHAT_HEARTBEAT": "0.3"}
    yield from _run(tmp_path_factory.mktemp("tooled"), app="tooled:app", **settings)


@pytest.fixture
def client(tooled: Server, hooks: Path) -> Iterator[Client]:
    for file in hooks.iterdir():
        file.unlink()
    client = Client(tooled)
    client.post("/api/workspace/default/update", {"tools": {"look": "ask"}})
    yield client.new_thread()
    client.check_all()


@pytest.fixture
def go(client: Client, hooks: Path) -> None:
    """Lets every tool be done at once."""
    (hooks / "go").touch()


@pytest.fixture
def killed(client: Client, hooks: Path) -> Iterator[Client]:
    """The client of a server that the test kills, whose clock is right again afterwards from its start on."""
    yield client
    client.server.kill()
    (hooks / "clock").unlink(missing_ok=True)
    client.server.start()


@pytest.fixture
def set_off(hooks: Path) -> Callable[[float], None]:
    """Sets the server's wall clock off by so many seconds, in one move."""

    def set_off(seconds: float) -> None:
        draft = hooks / "clock.part"
        draft.write_text(str(seconds))
        draft.replace(hooks / "clock")

    return set_off


def approve(client: Client, run_id: str) -> None:
    (request,) = client.run(run_id)["pending"]
    answer = {"requestId": request["requestId"], "approved": True}
    assert client.post(f"/api/runs/{run_id}/respond", answer).status_code == 200


def check_well(client: Client, stream: Stream) -> None:
    """Claims that the run completed, by metrics of the seconds that the test took, in entries that follow in time."""
    client.wait_ended(stream.run_id)
    ending = client.follow(stream.run_id).read().frames[-1]
    assert ending["type"] == "finalizeResponseStream", ending
    metrics = ending["metrics"]
    assert 0 <= metrics["ttft"] <= metrics["duration"] < 5 * MINUTE
    assert metrics["outputTps"] >= 0
    times = [entry.at for entry in client.server.entries(stream.run_id)]
    assert times == sorted(times)


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize("seconds", [DAY, -DAY, 20 * MINUTE])
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "left"])
def test_a_clock_that_is_set_before_an_approval(
    client: Client, model: ModelServer, set_off: Callable[[float], None], seconds: float, watched: bool
) -> None:
    model.script(reply(text("Hm. "), tool_calls(("look", {"at": "it"}))), "Done.")
    stream = client.send("Go")
    stream.read_until("toolApprovalRequest")
    if not watched:  # then its log is on disk alone
        stream.close()
        wait_until(lambda: client.server.rows("SELECT rests FROM run WHERE id = ?", stream.run_id) == [(1,)])
    set_off(seconds)
    approve(client, stream.run_id)
    check_well(client, stream)


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize("seconds", [50 * MINUTE, DAY, -DAY])
def test_a_clock_that_is_set_while_the_model_says_what_will_be_asked(
    client: Client, model: ModelServer, set_off: Callable[[float], None], seconds: float
) -> None:
    gate = model.gate()
    model.script(reply(text("Hm. "), gate, tool_calls(("look", {"at": "it"}))), "Done.")
    stream = client.send("Go")
    stream.read_until("Hm. ")
    set_off(seconds)
    gate.release()
    stream.read_until("toolApprovalRequest")
    approve(client, stream.run_id)
    check_well(client, stream)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_clock_that_is_set_in_mid_stream(
    client: Client, model: ModelServer, set_off: Callable[[float], None], seconds: float
) -> None:
    gate = model.gate()
    model.script(reply(text("Half"), gate, text(" done.")))
    stream = client.send("Go")
    stream.read_until("Half")
    set_off(seconds)
    gate.release()
    assert stream.read().text == "Half done."
    check_well(client, stream)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_clock_that_is_set_before_a_stop(
    client: Client, model: ModelServer, set_off: Callable[[float], None], seconds: float
) -> None:
    gate = model.gate()
    model.script(reply(text("Half"), gate))
    stream = client.send("Go")
    stream.read_until("Half")
    set_off(seconds)
    client.stop(stream.run_id)
    gate.release()
    metrics = client.history()[-1]["metrics"]
    assert 0 <= metrics["ttft"] <= metrics["duration"] < 5 * MINUTE
    assert metrics["outputTps"] >= 0


@pytest.mark.parametrize("seconds", [20 * MINUTE, DAY, -DAY])
def test_a_clock_that_is_set_at_a_restart_interrupts_nothing(
    killed: Client, model: ModelServer, set_off: Callable[[float], None], seconds: float
) -> None:
    client = killed
    gate = model.gate()
    model.script(reply(text("Half"), gate), "Whole.")
    stream = client.send("Go")
    stream.read_until("Half")
    client.server.kill()
    set_off(seconds)
    gate.release()
    client.server.start()
    check_well(client, stream)
    assert client.history()[-1]["content"] == "Whole."


def test_the_time_without_a_server_is_still_left_out_when_the_log_is_read_again(
    killed: Client, model: ModelServer, hooks: Path, set_off: Callable[[float], None]
) -> None:
    client = killed
    client.post("/api/workspace/default/update", {"tools": {"pay": "ask"}})
    model.script(reply(tool_calls(("look", {}))), reply(tool_calls(("pay", {}))), "Done.")
    stream = client.send("Go")
    stream.read_until("toolCallInvocation")
    wait_until((hooks / "ran").exists)
    client.server.kill()
    set_off(2 * HOUR)
    (hooks / "go").touch()
    client.server.start()
    wait_until(lambda: client.server.rows("SELECT rests FROM run WHERE id = ?", stream.run_id) == [(1,)])
    approve(client, stream.run_id)
    check_well(client, stream)


# -- the fold ----------------------------------------------------------------------------------------------------------

CALL = ToolCall("c", "look", "{}")
ASKED = StepFinished(1, "tool_calls", Usage(1, 1), (CALL,))


def taken(*events: tuple[float, AnyEvent], now: float | None = None) -> float:
    """Gives the duration of a run whose first step begins at 1000, from what follows and when."""
    started: list[tuple[float, AnyEvent]] = [(1000, RunStarted("r", "i", "w", "t", None, "m")), (1000, StepStarted(1))]
    state = fold(Entry(seq, at, event) for seq, (at, event) in enumerate([*started, *events], start=1))
    metrics = state.metrics(now)
    assert metrics.output_tps >= 0
    return metrics.duration


@pytest.mark.parametrize("away", [600, 3 * HOUR, DAY])
def test_only_what_the_model_and_tools_took_counts(away: float) -> None:
    work = [(1002, TextChunk("Hm.")), (1003, ASKED)]
    assert taken(*work, now=1003 + away) == 3  # a restart between the turn and what it asks for
    asked = [*work, (1003, ToolApprovalRequest("q", "c", "look", {}, "Look"))]
    assert taken(*asked, now=1003 + away) == 3
    back = 1003 + away
    answered = [*asked, (back, InputReceived("q", "Yes", approved=True))]
    ran = [*answered, (back, ToolCallInvocation("c", "look", {})), (back + 4, ToolCallResult("c", "look", "it"))]
    assert taken(*ran) == 7
    assert taken(*ran, (back + 4 + away, StepStarted(2)), now=back + 5 + away) == 8


@pytest.mark.parametrize("away", [600, 3 * HOUR, DAY, -DAY])
def test_what_a_restart_cut_off_does_not_count_until_it_begins_anew(away: float) -> None:
    work = [(1002, TextChunk("Hm."))]
    again = [*work, (1002 + away, StepRestarted(1, 2)), (1003 + away, TextChunk("Hm."))]
    if away > 0:
        assert taken(*again) == 3
    tool = [(1003, ASKED), (1003, ToolCallInvocation("c", "look", {}))]
    if away > 0:
        assert taken(*tool, (1003 + away, ToolCallInvocation("c", "look", {})), now=1005 + away) == 5
        assert taken(*tool, (1003 + away, ToolCallResult("c", "look", INTERRUPTED, is_error=True))) == 3
    assert taken(*again) >= 0


def test_a_log_of_before_with_a_clock_that_was_set_in_mid_stream_has_no_absurd_metrics() -> None:
    assert taken((1001, TextChunk("Hm.")), (1001 + DAY, TextChunk(" So.")), (1002 + DAY, ASKED)) == 2
    assert taken((1001, TextChunk("Hm.")), (1001 - DAY, TextChunk(" So.")), (1002 - DAY, ASKED)) >= 0


# -- the clocks --------------------------------------------------------------------------------------------------------


def test_the_clock_of_a_log_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    log = Log("r", [Entry(1, real(), RunStarted("r", "i", "w", "t", None, "m"))])
    before = log.now()
    monkeypatch.setattr(time, "time", lambda: real() - DAY)
    assert log.now() >= before
    log.set_clock()
    assert int(log.now() * 1000) > int(log.entries[-1].at * 1000)
    monkeypatch.setattr(time, "time", lambda: real() + DAY)
    assert log.now() < before + DAY / 2
    log.set_clock()
    assert log.now() > before + DAY / 2, "who answers days later does so days later"


def test_an_age_within_one_boot_is_what_the_steady_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "steady", lambda: 500.0)
    monkeypatch.setattr(time, "time", lambda: 10_000.0 + DAY)  # a day ahead since 10,000
    before = Before(started_at=9_900.0, killed=True, steady_at=400.0)
    assert before.age(9_950.0) == 50
    assert before.lived(9_950.0) == 50
    assert before.lived(9_950.0 + DAY) == 100, "it cannot have lived for longer than since its start"
    assert Before(9_900.0, killed=True).age(9_950.0) == 50 + DAY, "in another boot only the wall clock can tell"
    monkeypatch.setattr(time, "time", lambda: 10_000.0 - DAY)
    assert before.age(9_950.0) < 0


def test_a_start_notes_its_boot_and_reads_that_of_the_process_before(
    database: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again() -> Before:
        database.close()
        database.start()
        return database.before

    assert again().steady_at == (pytest.approx(clock.steady(), abs=HOUR) if clock.boot_id() else None)
    monkeypatch.setattr("deechat.store.sqlite.connections.boot_id", lambda: "another")
    assert again().steady_at is None, "the machine was started anew"
    assert again().steady_at is not None
    monkeypatch.setattr("deechat.store.sqlite.connections.boot_id", lambda: None)
    assert again().steady_at is None
    assert again().steady_at is None, "two boots that have no name are not the same"


def test_a_machine_without_a_boot_id_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "_BOOT", tmp_path / "not-there")
    assert clock.boot_id() is None
