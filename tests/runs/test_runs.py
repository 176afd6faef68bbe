"""Runs in one process: a stop in the middle of a tool, a tool that fails to leave, what a restart makes of a log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from inspect import isfunction, signature
from pathlib import Path

import gevent
import pytest
from journal_rig import entries_of, start
from runs_rig import House, wait_until

from deechat.agents.providers.base import Provider, Scripted, Text, Turn
from deechat.agents.tools.base import Tool, make_tool
from deechat.agents.tools.context import ToolContext
from deechat.errors import BusyError, ConflictError, DeeChatError
from deechat.events import (
    AnyEvent,
    Entry,
    InputReceived,
    RunCompleted,
    RunFailed,
    RunStopped,
    Steered,
    TextChunk,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
)
from deechat.log.journal import Journal
from deechat.principal import OWNER, Principal
from deechat.runs.replies import Reply
from deechat.runs.service import Runs
from deechat.runs.start import Prompt, name_from
from deechat.store.base import BeginRun, RunRow
from deechat.store.memory import MemoryStore
from deechat.store.sqlite import checksums, compaction
from deechat.store.sqlite.store import SQLiteStore

# A run of a thread that is not there: every store refuses it.
REFUSED = BeginRun(RunRow("none", "nowhere", "none-message", "none-prompt", None, None, None, "en", 1.0), [])
SLOW = Turn("tool_calls", (ToolCall("", "slow", '{"seconds": 60}'), ToolCall("", "slow", '{"seconds": 0}')))


def houses(path: Path, store: MemoryStore | None) -> Iterator[Callable[..., House]]:
    built: list[House] = []

    def build(provider: Provider, *tools: Tool, **options: float) -> House:
        built.append(House(path, provider, tools, store=store, **options))
        return built[-1]

    yield build
    for each in built:
        each.store.close()


@pytest.fixture(params=["sqlite", "memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Builds houses over one file, or over one store in memory, which yields in every read."""
    yield from houses(tmp_path / "test.sqlite3", MemoryStore() if request.param == "memory" else None)


@pytest.fixture
def house_on_disk(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Builds houses over one file, which the test damages."""
    yield from houses(tmp_path / "test.sqlite3", None)


left: list[str] = []


def slow(seconds: float) -> str:
    """Takes its time.

    seconds: how long
    """
    try:
        gevent.sleep(seconds)
    finally:
        left.append(f"after {seconds}")
    return "done"


def test_a_stop_in_the_middle_of_a_tool_cancels_it_and_records_that(house: Callable[..., House]) -> None:
    left.clear()
    home = house(Scripted([Text("Wait."), SLOW]), make_tool(slow, policy="allow"))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: left == ["after 0.0"])
    stops = [gevent.spawn(home.runs.stop, OWNER, run) for _ in range(2)]
    assert sorted(stop.get(timeout=10) for stop in stops) == [False, True]
    assert left == ["after 0.0", "after 60.0"], "the tool's greenlet was left running"
    events = home.events(run)
    results = [(event.content, event.is_error) for event in events if isinstance(event, ToolCallResult)]
    assert results == [("done", False), ("Cancelled before it was done.", True)]
    assert isinstance(events[-1], RunStopped)
    answer = home.store.messages(OWNER, thread)[-1]
    assert answer.content == "Wait."
    assert [each["content"] for each in answer.details["tool_calls"]] == ["Cancelled before it was done.", "done"]


def test_after_that_stop_the_next_turn_is_valid(house: Callable[..., House]) -> None:
    provider = Scripted([SLOW], [Text("Then."), Turn("stop")])
    home = house(provider, make_tool(slow, policy="allow"))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: len(entries_of(home.journal, run)) >= 7)
    home.runs.stop(OWNER, run)
    home.events(home.start(thread, "And now?"))
    roles = [type(message).__name__ for message in provider.asked[-1].messages]
    calls = ["AssistantMessage", "ToolMessage", "ToolMessage"]
    assert roles == ["SystemMessage", "UserMessage", *calls, "AssistantMessage", "UserMessage"]


def test_a_mistake_in_the_program_ends_the_run_with_a_number_and_no_secret(house: Callable[..., House]) -> None:
    home = house(Scripted([Text("So"), RuntimeError("sk-secret")]))
    ending = home.events(home.start(home.thread()))[-1]
    assert isinstance(ending, RunFailed)
    assert ending.code == "internal_error"
    assert "sk-secret" not in ending.message


def test_one_run_a_thread_and_so_many_in_all(house: Callable[..., House]) -> None:
    hold = gevent.event.Event()
    home = house(Scripted([hold.wait, Turn("stop")], [hold.wait, Turn("stop")]), max_runs=2)
    first, second, third = home.thread(), home.thread(), home.thread()
    run = home.start(first)
    with pytest.raises(ConflictError) as caught:
        home.start(first)
    assert caught.value.details == {"runId": run}
    home.start(second)
    with pytest.raises(BusyError):
        home.start(third)
    assert home.store.messages(OWNER, third) == []
    hold.set()
    home.events(run)
    assert home.runs.chats(OWNER, first, -1, None)[1] is None


def test_of_two_answers_to_a_request_at_once_one_counts(house: Callable[..., House]) -> None:
    call = Turn("tool_calls", (ToolCall("", "pay", '{"amount": 1}'),))
    paid: list[int] = []

    def pay(amount: int) -> str:
        """Pays.

        amount: how much
        """
        paid.append(amount)
        return "paid"

    home = house(Scripted([call], [Text("Done."), Turn("stop")]), make_tool(pay, policy="ask"))
    run = home.start(home.thread())
    wait_until(lambda: bool(home.runs.view(OWNER, run).pending) and home.registry.get(run) is None)
    request = home.runs.view(OWNER, run).pending[0].event.request_id
    replies = [
        Reply(request, approved=True, always=True),
        Reply(request, approved=False),
        Reply(request, approved=True),
    ]
    answers = [gevent.spawn(outcome, lambda reply=each: home.runs.respond(OWNER, run, reply)) for each in replies]
    told = [answer.get(timeout=10) for answer in answers]
    assert sorted(map(str, told)) == ["None", "already_answered", "already_answered"]
    events = home.events(run)
    assert isinstance(events[-1], RunCompleted)
    assert len([event for event in events if isinstance(event, InputReceived)]) == 1
    assert len(paid) == (0 if told[1] is None else 1)
    wait_until(lambda: len(home.registry) == 0)


def outcome(move: Callable[[], object]) -> object:
    """Return what a move gives, or the code of its error."""
    try:
        return move()
    except DeeChatError as exc:
        return exc.code


def test_of_two_prompts_at_once_one_begins(house: Callable[..., House]) -> None:
    home = house(Scripted(*[[Text("Yes"), Turn("stop")] for _ in range(9)]))
    thread = home.thread()
    starts = [gevent.spawn(outcome, lambda: home.start(thread)) for _ in range(3)]
    told = [start.get(timeout=10) for start in starts]
    assert sorted(each == "run_active" for each in told) == [False, True, True]
    assert home.store.messages(OWNER, thread)[0].role == "user"
    same = [
        gevent.spawn(outcome, lambda: home.runs.start(OWNER, home.workspace, home.thread(), Prompt("Go")))
        for _ in range(3)
    ]
    assert all(isinstance(start.get(timeout=10), RunRow) for start in same)


def test_a_prompt_that_comes_twice_at_once_begins_one_run(house: Callable[..., House]) -> None:
    home = house(Scripted(*[[Text("Yes"), Turn("stop")] for _ in range(9)]))
    thread, prompt = home.thread(), Prompt("Go", client_request_id="once")
    starts = [gevent.spawn(home.runs.start, OWNER, home.workspace, thread, prompt) for _ in range(3)]
    assert len({start.get(timeout=10).id for start in starts}) == 1
    assert [message.content for message in home.store.messages(OWNER, thread) if message.role == "user"] == ["Go"]


def test_no_more_begin_at_once_than_there_are_places(house: Callable[..., House]) -> None:
    hold = gevent.event.Event()
    home = house(Scripted(*[[hold.wait, Turn("stop")] for _ in range(9)]), max_runs=2)
    threads = [home.thread() for _ in range(5)]
    starts = [gevent.spawn(outcome, lambda thread=each: home.start(thread)) for each in threads]
    told = [start.get(timeout=10) for start in starts]
    assert told.count("busy") == 3
    hold.set()


def test_of_two_that_continue_an_answer_at_once_one_begins(house: Callable[..., House]) -> None:
    hold = gevent.event.Event()
    home = house(Scripted([hold.wait], *[[Text("Yes"), hold.wait, Turn("stop")] for _ in range(9)]))
    run = home.start(home.thread())
    home.runs.stop(OWNER, run)
    moves = [gevent.spawn(outcome, lambda: home.runs.go_on(OWNER, run, "en")) for _ in range(3)]
    told = [move.get(timeout=10) for move in moves]
    assert told.count("run_active") == 2
    hold.set()


@pytest.mark.parametrize("first", ["stop", "respond"])
def test_a_stop_and_an_answer_at_once_leave_one_ending_and_no_runner(house: Callable[..., House], first: str) -> None:
    call = Turn("tool_calls", (ToolCall("", "slow", '{"seconds": 0}'),))
    home = house(Scripted([call], [Text("Done."), Turn("stop")]), make_tool(slow, policy="ask"))
    run = home.start(home.thread())
    wait_until(lambda: bool(home.runs.view(OWNER, run).pending) and home.registry.get(run) is None)
    reply = Reply(home.runs.view(OWNER, run).pending[0].event.request_id, approved=True)
    moves = {"stop": lambda: home.runs.stop(OWNER, run), "respond": lambda: home.runs.respond(OWNER, run, reply)}
    order = [first, *moves.keys() - {first}]
    said = [gevent.spawn(outcome, moves[name]) for name in order]
    told = dict(zip(order, [each.get(timeout=10) for each in said], strict=True))
    assert told["stop"] in {True, False}
    assert told["respond"] in {None, "run_ended", "already_answered"}
    events = home.events(run)
    assert [event.ends for event in events].count(True) == 1
    wait_until(lambda: len(home.registry) == 0)


@pytest.mark.parametrize("look", [1, 2])
def test_a_row_that_is_old_when_it_is_looked_at_brings_no_ended_run_into_memory(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    call = Turn("tool_calls", (ToolCall("", "slow", '{"seconds": 0}'),))
    home = house(Scripted([call]), make_tool(slow, policy="ask"))
    run = home.start(home.thread())
    wait_until(lambda: bool(home.runs.view(OWNER, run).pending) and home.registry.get(run) is None)
    reply = Reply(home.runs.view(OWNER, run).pending[0].event.request_id, approved=True)
    read, looks = home.store.run, 0

    def slowly(principal: Principal, run_id: str) -> RunRow:
        nonlocal looks
        looks += 1
        row = read(principal, run_id)
        if looks == look:
            assert home.runs.stop(OWNER, run_id) is True
        return row

    monkeypatch.setattr(home.store, "run", slowly)
    assert outcome(lambda: home.runs.respond(OWNER, run, reply)) == "run_ended"
    assert isinstance(home.events(run)[-1], RunStopped)
    home.thread()  # what was queued before is written
    assert (len(home.registry), home.store.run(OWNER, run).rests) == (0, 0)


def test_a_waiting_run_that_many_look_at_at_once_has_one_log(house: Callable[..., House]) -> None:
    call = Turn("tool_calls", (ToolCall("", "slow", '{"seconds": 0}'),))
    home = house(Scripted([call], [Text("Done."), Turn("stop")]), make_tool(slow, policy="ask"))
    run = home.start(home.thread())
    wait_until(lambda: bool(home.store.run(OWNER, run).rests) and home.journal.in_memory(run) is None)
    logs = [gevent.spawn(home.journal.load, run) for _ in range(5)]
    assert len({id(each.get(timeout=10)) for each in logs}) == 1


def test_a_run_is_over_before_anyone_sees_its_ending(house: Callable[..., House]) -> None:
    home = house(Scripted([Text("1"), Turn("stop")], [Text("2"), Turn("stop")]))
    thread = home.thread()
    for number in range(2):
        for batch in home.runs.follow(OWNER, home.start(thread, str(number)), 0, 10.0):
            if batch[-1].event.ends:
                assert home.runs.chats(OWNER, thread, -1, None)[1] is None
                assert home.store.messages(OWNER, thread)[-1].role == "assistant"


def test_a_restart_ends_what_is_too_old_to_go_on_and_keeps_what_was_said(house: Callable[..., House]) -> None:
    home = house(Scripted([Text("Half"), SLOW]), make_tool(slow, policy="allow"))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: any(isinstance(each.event, ToolCallResult) for each in entries_of(home.journal, run)))
    later = house(Scripted([Text("Then."), Turn("stop")]), make_tool(slow, policy="allow"), recover=0)
    later.recovery.at_start()
    assert later.runs.chats(OWNER, thread, -1, None)[1] is None, "the first request would be refused"
    events = later.events(run)
    assert isinstance(events[-1], RunFailed)
    assert (events[-1].code, events[-1].reason) == ("interrupted", "interrupted")
    cut = [event.content for event in events if isinstance(event, ToolCallResult) and event.is_error]
    assert cut == ["Interrupted: the server was restarted. It may have happened."]
    assert later.store.messages(OWNER, thread)[-1].content == "Half"
    assert later.store.unfinished_runs() == []
    later.recovery.at_start()
    assert later.events(run) == events


def leave_by_timeout() -> str:
    """Gives up as code does that knows nothing of us."""
    with gevent.Timeout(0.01):
        gevent.sleep(10)
    return "never"


def test_a_tool_that_leaves_by_no_exception_gives_a_result_all_the_same(house: Callable[..., House]) -> None:
    turn = Turn("tool_calls", (ToolCall("", "leave_by_timeout", "{}"),))
    home = house(Scripted([turn], [Turn("stop")]), make_tool(leave_by_timeout, policy="allow"))
    events = home.events(home.start(home.thread()))
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert (result.content, result.is_error) == ("The tool failed: Timeout.", True)
    assert isinstance(events[-1], RunCompleted)


def test_a_provider_that_leaves_by_no_exception_ends_the_run(house: Callable[..., House]) -> None:
    home = house(Scripted([Text("So"), lambda: gevent.Timeout(0.01).start() or gevent.sleep(10)]))
    ending = home.events(home.start(home.thread()))[-1]
    assert isinstance(ending, RunFailed)
    assert ending.code == "internal_error"


def stubborn() -> str:
    """Does not leave when it is asked to."""
    try:
        gevent.sleep(60)
    finally:
        gevent.sleep(1)
    return "never"


def test_a_clean_up_that_takes_too_long_does_not_keep_the_run_open(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deechat.runs.runner.PATIENCE_WITH_CANCELLED", 0.05)
    home = house(Scripted([Turn("tool_calls", (ToolCall("", "stubborn", "{}"),))]), make_tool(stubborn, policy="allow"))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: len(entries_of(home.journal, run)) >= 6)
    assert home.runs.stop(OWNER, run) is True
    assert isinstance(home.events(run)[-1], RunStopped)
    assert home.runs.chats(OWNER, thread, -1, None)[1] is None


def test_a_stop_before_a_sibling_started_keeps_what_the_others_gave(house: Callable[..., House]) -> None:
    def quick() -> str:
        """Is done at once."""
        return "paid 100"

    calls = (ToolCall("", "quick", "{}"), ToolCall("", "quick", "{}"))
    home = house(Scripted([Turn("tool_calls", calls)]), make_tool(quick, policy="allow"))
    thread = home.thread()
    seen: list[AnyEvent] = []
    append = home.journal.append

    def stop_at_the_second(log, event, *also):  # type: ignore[no-untyped-def]
        entry = append(log, event, *also)
        seen.append(event)
        if [type(each) for each in seen].count(ToolCallInvocation) == 1 and isinstance(event, ToolCallInvocation):
            gevent.spawn(home.runs.stop, OWNER, log.run_id)
        return entry

    home.journal.append = stop_at_the_second  # type: ignore[method-assign]
    home.events(home.start(thread))
    results = [event for event in seen if isinstance(event, ToolCallResult)]
    assert len(results) == 2
    assert "was not started" in results[-1].content
    assert '"role":"tool"' in home.store.message(OWNER, thread, home.store.messages(OWNER, thread)[-1].id).turns


def test_rows_that_cannot_be_stored_end_the_run_by_what_is_on_disk(house_on_disk: Callable[..., House]) -> None:
    hold = gevent.event.Event()
    home = house_on_disk(Scripted([Text("So"), hold.wait, Text("on"), Turn("stop")], [Text("Well."), Turn("stop")]))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: len(entries_of(home.journal, run)) >= 4)
    # The next row is refused, whatever the reason.
    home.database.write(
        lambda connection: connection.execute(
            "CREATE TRIGGER refusing BEFORE INSERT ON event WHEN NEW.seq = 5 BEGIN SELECT raise(ABORT, 'no'); END"
        )
    )
    hold.set()
    wait_until(lambda: home.runs.view(OWNER, run).status == "ended")
    ending = home.events(run)[-1]
    assert isinstance(ending, RunFailed)
    assert ending.code == "internal_error"
    assert home.events(home.start(thread))[-1].ends


def test_a_log_that_cannot_be_read_does_not_stop_the_start(house_on_disk: Callable[..., House]) -> None:
    home = house_on_disk(Scripted([Text("Half"), gevent.event.Event().wait]))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: len(entries_of(home.journal, run)) >= 4)
    home.database.write(lambda connection: connection.execute("UPDATE event SET body = CAST('{}' AS BLOB)"))
    later = house_on_disk(Scripted([Text("Then."), Turn("stop")]))
    later.recovery.at_start()
    wait_until(lambda: later.runs.view(OWNER, run).status == "ended")
    assert later.events(later.start(thread))[-1].ends


def test_a_prompt_in_the_history_has_its_answer_there_too_or_a_run_that_makes_it(house: Callable[..., House]) -> None:
    home = house(Scripted(*[[Text("Yes"), Turn("stop")] for _ in range(10)]))
    thread = home.thread()
    odd: list[object] = []

    def poll() -> None:
        while True:
            messages, active = home.runs.chats(OWNER, thread, -1, None)
            if bool(active) != (len(messages) % 2 == 1):
                odd.append((active, messages))
            gevent.sleep(0)

    poller = gevent.spawn(poll)
    for number in range(10):
        home.events(home.start(thread, str(number)))
    poller.kill()
    assert odd == []


def test_two_changes_of_a_workspace_at_once_are_both_kept(house: Callable[..., House]) -> None:
    home = house(Scripted())
    workspace = home.workspace
    changes = [{"name": "New"}, {"tools": {"slow": "deny"}}]
    gevent.joinall([gevent.spawn(home.store.update_workspace, OWNER, workspace, **change) for change in changes])
    assert (home.workspace.name, home.workspace.tools) == ("New", {"slow": "deny"})


# -- principals --------------------------------------------------------------------------------------------------------

STRANGER = Principal("stranger")


def test_to_another_principal_no_thread_and_no_run_is_there(house: Callable[..., House]) -> None:
    """Each method of the service that a person causes is called with what is another's."""
    home = house(Scripted([SLOW]), make_tool(slow, policy="ask"))
    workspace, thread, runs = home.workspace, home.thread(), home.runs
    run = home.start(thread)
    wait_until(lambda: len(runs.view(OWNER, run).pending) == 2)
    reply = Reply(runs.view(OWNER, run).pending[0].event.request_id, approved=True)
    calls: dict[str, Callable[[Principal], object]] = {
        "start": lambda who: runs.start(who, workspace, thread, Prompt("Go", client_request_id="once")),
        "go_on": lambda who: runs.go_on(who, run, "en"),
        "chats": lambda who: runs.chats(who, thread, 9, None),
        "conversation": lambda who: runs.conversation(who, run),
        "branch": lambda who: runs.branch(who, thread, 9),
        "open_run": lambda who: runs.open_run(who, thread),
        "view": lambda who: runs.view(who, run),
        "follow": lambda who: runs.follow(who, run, 0, 1.0),
        "respond": lambda who: runs.respond(who, run, reply),
        "steer": lambda who: runs.steer(who, run, "/stop"),
        "stop": lambda who: runs.stop(who, run),
        "delete_thread": lambda who: runs.delete_thread(who, thread),
        "delete_workspace": lambda who: runs.delete_workspace(who, workspace),
    }
    nothing = {"chats": ([], None), "branch": [], "open_run": None}  # the others find no thread and no run
    listens = {"run_ended", "run_lost"}
    later = {"stop_left": runs.stop_left, "delete_left": runs.delete_left}  # they return before anything is done
    methods = {name: each for name, each in vars(Runs).items() if isfunction(each) and not name.startswith("_")}
    assert set(methods) - listens == {*calls, *later}
    for name in (*calls, *later):
        assert list(signature(methods[name]).parameters)[1] == "principal", name
    for has_workspace in (False, True):
        if has_workspace:
            home.store.new_workspace(STRANGER, "Theirs")
        for name, call in calls.items():
            assert outcome(lambda call=call: call(STRANGER)) == nothing.get(name, "not_found"), name
    runs.stop_left(STRANGER, run)
    runs.delete_left(STRANGER, thread)
    gevent.sleep(0.1)
    assert [each.content for each in home.store.messages(OWNER, thread)] == ["Go"]
    assert len(runs.view(OWNER, run).pending) == 2
    assert runs.stop(OWNER, run)


def test_a_tool_learns_whose_the_run_is(house: Callable[..., House]) -> None:
    def whose(context: ToolContext) -> str:
        """Names who asks."""
        return context.principal.id

    call = Turn("tool_calls", (ToolCall("", "whose", "{}"),))
    home = house(Scripted([call], [Text("Yes"), Turn("stop")]), make_tool(whose, policy="allow"))
    workspace = home.store.new_workspace(STRANGER, "Theirs")
    thread = home.store.thread(STRANGER, workspace, "default")
    run = home.runs.start(STRANGER, workspace, thread, Prompt("Go")).id
    events = [entry.event for batch in home.runs.follow(STRANGER, run, 0, 10.0) for entry in batch]
    assert [event.content for event in events if isinstance(event, ToolCallResult)] == [STRANGER.id]


def test_a_name_is_the_prompts_first_words() -> None:
    assert name_from("  Hello\n there ") == "Hello there"
    assert name_from("word " * 40) == "word word word word word word word word word …"
    assert name_from("汉" * 100) == "汉" * 48 + " …"
    assert len(name_from("x" * 500)) <= 50


def test_a_run_whose_rows_and_row_are_both_lost_frees_its_thread(house_on_disk: Callable[..., House]) -> None:
    home = house_on_disk(Scripted([SLOW], [Text("Then."), Turn("stop")]), make_tool(slow, policy="allow"))
    thread = home.thread()
    run = home.start(thread)
    wait_until(lambda: len(entries_of(home.journal, run)) >= 7)
    with closing(sqlite3.connect(home.database.path, isolation_level=None, timeout=5)) as other:
        other.execute("UPDATE run SET language = 'eo'")
    runner = home.registry.get(run)
    assert runner is not None
    home.journal.append(runner.log, TextChunk("never stored"), REFUSED)
    wait_until(lambda: home.database.read("SELECT ended_at FROM run") != [(None,)])
    assert home.registry.get(run) is None
    assert isinstance(home.events(home.start(thread, "And now?"))[-1], RunCompleted)


def test_a_view_of_a_run_that_ends_while_its_log_is_read_is_of_one_moment(
    house_on_disk: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view that says that the run has ended names the ending's place: who has all up to there is told of no more."""
    home = house_on_disk(Scripted())
    thread, elsewhere = home.thread(), Journal(SQLiteStore(home.database))
    log = start(elsewhere, thread)
    for _ in range(3 * compaction.ENTRIES):
        elsewhere.append(log, Steered("more"))
    elsewhere.wait_committed(log, len(log.entries))
    elsewhere.rest(log, [])
    wait_until(lambda: home.store.run(OWNER, "r").rests == 1)
    home.database.write(lambda connection: checksums.change(connection, "run", "r", asks=None))  # as versions before
    pages = home.journal.pages

    def ending_after_a_page(run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        reader = pages(run_id, after)
        yield next(reader)
        elsewhere.append(log, RunStopped())
        elsewhere.wait_ended(log)
        yield from reader

    monkeypatch.setattr(home.journal, "pages", ending_after_a_page)
    view = home.runs.view(OWNER, "r")
    assert (view.status, view.run.reason, view.last_seq) == ("ended", "stopped", len(log.entries))
