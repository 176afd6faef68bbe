"""What every store does, whatever it is made of: one set of tests for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import isfunction, signature
from pathlib import Path

import gevent
import pytest
from msgspec.structs import replace

from deechat.errors import ConflictError, NotFoundError
from deechat.events import Entry, RunStarted, RunStopped, TextChunk, encode
from deechat.principal import OWNER, Principal
from deechat.store.base import (
    HIDDEN,
    OLDEST,
    AllowTool,
    BeginRun,
    Change,
    ChangeMessage,
    CompactLog,
    EndRun,
    GiveUpRun,
    InsertMessage,
    KeepSummary,
    NameThread,
    NoteRetries,
    PersonalStore,
    RestRun,
    RunRow,
    ServerStore,
    Share,
    Store,
    StoredMessage,
    Thread,
    WakeRun,
)
from deechat.store.memory import MemoryStore
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "sqlite":
        database = Database(tmp_path / "test.sqlite3")
        database.start()
        made = SQLiteStore(database)
    else:
        made = MemoryStore()
    yield made
    made.close()


@pytest.fixture
def thread(store: Store) -> Thread:
    return store.new_thread(OWNER, store.workspace(OWNER, "default"), None)


def message(thread: Thread, name: str, parent: str | None = None, role: str = "user", run: str | None = None) -> Change:
    details = {"reason": "stopped"} if role == "assistant" else {}
    return InsertMessage(StoredMessage(name, thread.id, parent, role, f"Say {name}", 2e9, run, details))


def begin(thread: Thread, run_id: str = "r", request: str | None = None) -> BeginRun:
    run = RunRow(run_id, thread.id, f"{run_id}-answer", "p", None, request, "m", "en", 1_795_000_000.5)
    first = RunStarted(run_id, run.message_id, "w", "t", None, "m")
    return BeginRun(run, [(1, 1_795_000_000.5, encode(first))])


class Batch:
    """What the journal appends, of one log or of several."""

    def __init__(self, *shares: Share) -> None:
        self._shares = shares
        self.sealed = False
        self.rejected: Mapping[str, Exception] | None = None

    def seal(self) -> None:
        self.sealed = True

    def shares(self) -> Sequence[Share]:
        return self._shares

    def stored(self, rejected: Mapping[str, Exception]) -> None:
        self.rejected = rejected


def share(run_id: str, seqs: Sequence[int], *changes: Change, ends: bool = False) -> Share:
    events = [RunStopped() if ends and seq == seqs[-1] else TextChunk(f"{seq} ") for seq in seqs]
    made = Share((seq, 1_795_000_000 + seq / 1000, encode(event)) for seq, event in zip(seqs, events, strict=True))
    made.run_id, made.changes, made.ends = run_id, changes, ends
    return made


def append(store: Store, *shares: Share) -> Mapping[str, Exception]:
    batch = Batch(*shares)
    store.append(batch, logs=1)
    with gevent.Timeout(10):
        while batch.rejected is None:
            gevent.sleep(0.001)
    assert batch.sealed
    return batch.rejected


def log_of(store: Store, run_id: str, after: int = 0) -> list[Entry]:
    return [entry for page in store.log_pages(run_id, after) for entry in page]


# -- workspaces and threads --------------------------------------------------------------------------------------------


def test_a_store_begins_with_a_workspace_and_its_thread(store: Store) -> None:
    (workspace,) = store.workspaces(OWNER)
    assert (workspace.slug, workspace.name, store.is_last(OWNER, workspace)) == ("default", "DeeChat", True)
    assert store.thread(OWNER, workspace, "default").workspace_id == workspace.id
    assert store.threads(OWNER, workspace) == [], "the default thread is listed once it has messages"


def test_a_slug_comes_from_the_name_and_is_not_used_twice(store: Store) -> None:
    assert [store.new_workspace(OWNER, name).slug for name in ("Küche 厨房", "Küche", "Küche", "厨房")] == [
        "kuche",
        "kuche-2",
        "kuche-3",
        "workspace",
    ]
    with pytest.raises(NotFoundError):
        store.workspace(OWNER, "nowhere")
    with pytest.raises(NotFoundError):
        store.workspace_by_id(OWNER, "nowhere")


def test_lists_come_in_pages(store: Store) -> None:
    made = [store.workspace(OWNER, "default"), *(store.new_workspace(OWNER, f"W{number}") for number in range(4))]
    page, seen = store.workspaces(OWNER, 2), []
    while page:
        seen += [each.id for each in page]
        page = store.workspaces(OWNER, 2, (page[-1].created_at, page[-1].id))
    assert sorted(seen) == sorted(each.id for each in made)
    assert [store.workspaces(OWNER, limit, OLDEST).more for limit in (-1, 4, 5, 6)] == [False, True, False, False]


def test_a_change_of_a_workspace_leaves_what_it_does_not_name(store: Store) -> None:
    workspace = store.workspace(OWNER, "default")
    store.update_workspace(OWNER, workspace, name="New", tools={"web": "deny"}, allowed={"web": ["b", "a", "a"]})
    changed = store.update_workspace(OWNER, workspace, temperature=0.5, policies={"clock": "ask", "web": None})
    assert (changed.name, changed.temperature, changed.tools, changed.allowed) == (
        "New",
        0.5,
        {"clock": "ask"},
        {"web": ["a", "b"]},
    )
    assert store.update_workspace(OWNER, workspace, revoked={"web": ["a", "b"]}).allowed == {}
    assert store.workspace_by_id(OWNER, workspace.id).tools == {"clock": "ask"}


def test_a_tool_is_allowed_for_good_by_its_scope_or_its_policy(store: Store, thread: Thread) -> None:
    store.write(AllowTool(thread.id, "web", None, "b"), AllowTool(thread.id, "web", None, "a"))
    store.write(AllowTool(thread.id, "pay", "allow", None), AllowTool(thread.id, "clock", None, None))
    workspace = store.workspace(OWNER, "default")
    assert (workspace.allowed, workspace.tools) == ({"web": ["a", "b"]}, {"pay": "allow"})


def test_a_thread_moves_to_the_top_of_its_list_with_a_message(store: Store) -> None:
    workspace = store.workspace(OWNER, "default")
    first, second = store.new_thread(OWNER, workspace, "First"), store.new_thread(OWNER, workspace, None)
    assert [each.id for each in store.threads(OWNER, workspace)] == [second.id, first.id]
    store.write(message(first, "a"))
    assert [each.id for each in store.threads(OWNER, workspace)] == [first.id, second.id]
    assert store.thread_by_id(OWNER, first.id).updated_at == 2e9
    default = store.thread(OWNER, workspace, "default")
    store.write(message(default, "b"))
    assert default.id in [each.id for each in store.threads(OWNER, workspace)]


def test_a_hidden_thread_is_found_by_its_key_and_stands_in_no_list(store: Store) -> None:
    workspace = store.workspace(OWNER, "default")
    hidden = store.new_thread(OWNER, workspace, None, f"{HIDDEN}k")
    assert store.new_thread(OWNER, workspace, None, f"{HIDDEN}k") == hidden
    store.write(message(hidden, "a"))
    assert store.threads(OWNER, workspace) == []
    assert store.thread(OWNER, workspace, hidden.slug).id == hidden.id
    assert [each.id for each in store.messages(OWNER, hidden)] == ["a"]


def test_a_name_that_somebody_gave_stays_where_only_an_unnamed_thread_is_named(store: Store, thread: Thread) -> None:
    store.write(NameThread(thread.id, "From the prompt", only_unnamed=True))
    store.write(NameThread(thread.id, "Another prompt", only_unnamed=True))
    assert store.thread_by_id(OWNER, thread.id).name == "From the prompt"
    assert store.rename_thread(OWNER, thread, "Mine").name == "Mine"
    assert store.thread(OWNER, store.workspace(OWNER, "default"), thread.slug).name == "Mine"


def test_what_is_deleted_is_gone_with_all_that_is_in_it(store: Store, thread: Thread) -> None:
    store.write(message(thread, "p"), begin(thread))
    assert store.delete_thread(OWNER, thread) == ["r"], "its run has not ended"
    store.write(EndRun("r", 2.0, "stopped"))
    assert store.delete_thread(OWNER, thread) == []
    for read in (
        lambda: store.thread_by_id(OWNER, thread.id),
        lambda: store.run(OWNER, "r"),
        lambda: store.placed_run(OWNER, "r"),
        lambda: store.thread(OWNER, store.workspace(OWNER, "default"), thread.slug),
    ):
        with pytest.raises(NotFoundError):
            read()
    with pytest.raises(NotFoundError):
        store.write(begin(thread, "later"))


def test_the_default_thread_is_there_again_and_the_last_workspace_stays(store: Store) -> None:
    workspace = store.workspace(OWNER, "default")
    default = store.thread(OWNER, workspace, "default")
    assert store.delete_thread(OWNER, default) == []
    assert store.thread(OWNER, workspace, "default").id != default.id
    with pytest.raises(ConflictError):
        store.delete_workspace(OWNER, workspace)
    other = store.new_workspace(OWNER, "Other")
    thread = store.new_thread(OWNER, other, None)
    store.write(begin(thread))
    assert store.delete_workspace(OWNER, other) == ["r"]
    assert store.delete_workspace(OWNER, other, damaged={"r"}) == []
    with pytest.raises(NotFoundError):
        store.delete_workspace(OWNER, other)
    with pytest.raises(NotFoundError):
        store.new_thread(OWNER, other, None)
    assert store.is_last(OWNER, workspace)


# -- messages ----------------------------------------------------------------------------------------------------------


def test_messages_are_read_from_the_last_one_back(store: Store, thread: Thread) -> None:
    store.write(*[message(thread, name) for name in "abcde"])
    pages = [
        store.messages(OWNER, thread, limit, before) for limit, before in ((2, None), (2, "d"), (2, "b"), (0, None))
    ]
    assert [[each.id for each in page] for page in pages] == [["d", "e"], ["b", "c"], ["a"], []]
    assert [page.more for page in pages] == [True, True, False, False]
    assert store.last_message_id(OWNER, thread) == "e"
    assert store.message(OWNER, thread, "c").content == "Say c"
    with pytest.raises(NotFoundError):
        store.message(OWNER, thread, "x")
    with pytest.raises(NotFoundError):
        store.messages(OWNER, thread, 2, "x")


def test_a_message_is_written_anew_in_its_place(store: Store, thread: Thread) -> None:
    store.write(message(thread, "a"), message(thread, "b", "a", "assistant"), message(thread, "c", "b"))
    changed = replace(store.message_by_id(OWNER, "b"), content="B", parent_id=None, details={"x": 1}, turns="")
    store.write(ChangeMessage(changed), ChangeMessage(replace(changed, id="gone")))
    assert store.message(OWNER, thread, "b") == changed
    assert [each.id for each in store.messages(OWNER, thread)] == ["a", "b", "c"]
    assert [each.id for each in store.branch(OWNER, thread.id, "c", 9)] == ["b", "c"]
    with pytest.raises(NotFoundError):
        store.message_by_id(OWNER, "gone")


def test_the_last_message_may_say_which_one_is_followed_until_another_is_written(store: Store, thread: Thread) -> None:
    store.write(message(thread, "a"), message(thread, "b", "a"))
    last = store.message_by_id(OWNER, "b")
    for followed, then in (("a", "a"), ("", None)):
        store.write(ChangeMessage(replace(last, details={"next": followed})))
        assert store.last_message_id(OWNER, thread) == then
    store.write(message(thread, "c"))
    assert store.last_message_id(OWNER, thread) == "c"


def test_a_page_of_large_messages_ends_before_its_limit(store: Store, thread: Thread) -> None:
    for name in "abc":
        store.write(InsertMessage(StoredMessage(name, thread.id, None, "user", "x" * 1_500_000, 2.0)))
    page = store.messages(OWNER, thread, 10)
    assert ([each.id for each in page], page.more) == (["c"], True)


def test_a_branch_follows_the_parents(store: Store, thread: Thread) -> None:
    store.write(message(thread, "a"), message(thread, "b", "a"), message(thread, "c", "b"), message(thread, "d", "a"))
    assert [each.id for each in store.branch(OWNER, thread.id, "c", 9)] == ["a", "b", "c"]
    assert [each.id for each in store.branch(OWNER, thread.id, "c", 2)] == ["b", "c"]
    assert [each.id for each in store.branch(OWNER, thread.id, "d", 9)] == ["a", "d"]
    assert store.branch(OWNER, thread.id, None, 9) == []


def test_the_summary_that_reaches_furthest_counts_and_the_first_text_stays(store: Store, thread: Thread) -> None:
    store.write(message(thread, "a"), message(thread, "b", "a"), message(thread, "c", "b"))
    branch = store.branch(OWNER, thread.id, "c", 9)
    assert store.summary(OWNER, branch) is None
    store.write(KeepSummary("a", "A."), KeepSummary("b", "B."), KeepSummary("b", "Another."), KeepSummary("x", "X."))
    assert store.summary(OWNER, branch) == (1, "B.")


def test_what_a_log_out_ended_is_kept_until_its_time(store: Store) -> None:
    store.end_login("old", 1.0)
    store.end_login("new", 4e9)
    assert store.ended_logins() == {"new": 4e9}


# -- runs and logs -----------------------------------------------------------------------------------------------------


def test_a_thread_of_a_given_slug_is_made_once(store: Store) -> None:
    workspace = store.workspaces(OWNER)[0]
    made = store.new_thread(OWNER, workspace, None, "mine")
    assert made.slug == "mine"
    assert store.new_thread(OWNER, workspace, "Again", "mine") == made == store.thread(OWNER, workspace, "mine")
    assert store.new_thread(OWNER, store.new_workspace(OWNER, "Other"), None, "mine").id != made.id


def test_a_run_begins_with_its_prompt_or_not_at_all(store: Store, thread: Thread) -> None:
    store.write(message(thread, "p"), begin(thread, request="once"))
    assert (store.open_run(OWNER, thread.id), store.last_run(OWNER, thread.id)) == ("r", "r")
    assert store.run_by_request(OWNER, thread.id, "once") == store.run(OWNER, "r") == store.find_run("r")
    workspace = store.workspace_by_id(OWNER, thread.workspace_id)
    assert store.run_by_request_in(OWNER, workspace, "once") == store.run(OWNER, "r")
    assert store.run_by_request_in(OWNER, workspace, "never") is None
    assert store.run_by_request_in(OWNER, store.new_workspace(OWNER, "Other"), "once") is None
    assert store.chats(OWNER, thread, 9, None) == (store.messages(OWNER, thread), "r")
    with pytest.raises(ConflictError):
        store.write(message(thread, "q"), begin(thread, "s"))
    store.write(EndRun("r", 2.0, "stopped"))
    with pytest.raises(ConflictError):
        store.write(message(thread, "q"), begin(thread, "s", request="once"))
    assert [each.id for each in store.messages(OWNER, thread)] == ["p"]
    assert store.find_run("s") is None
    store.write(begin(thread, "s"))
    assert store.last_run(OWNER, thread.id) == "s"


def test_a_batch_is_kept_whole_for_each_run(store: Store, thread: Thread) -> None:
    other = store.new_thread(OWNER, store.workspace(OWNER, "default"), None)
    store.write(begin(thread, "good"))
    store.write(begin(other, "bad"))
    refused = begin(Thread("nowhere", "x", "x", None, 0.0, 0.0), "none")
    rejected = append(store, share("bad", [2, 3], message(other, "m"), refused), share("good", [2, 3]))
    assert list(rejected) == ["bad"]
    assert [len(log_of(store, run_id)) for run_id in ("good", "bad")] == [3, 1]
    assert store.messages(OWNER, other) == []


def test_an_ending_comes_with_its_message_and_the_whole_log(store: Store, thread: Thread) -> None:
    begun = begin(thread)
    store.write(begun)
    assert append(store, share("r", [2, 3])) == {}
    assert store.unfinished_runs() == [store.run(OWNER, "r")]
    before = log_of(store, "r")
    last = share("r", [4, 5], ends=True)
    entries = [*before, Entry(4, last[0][1], TextChunk("4 ")), Entry(5, last[1][1], RunStopped())]
    last.changes = (
        InsertMessage(StoredMessage("r-answer", thread.id, "p", "assistant", "2 3 4 ", 2.0, "r")),
        EndRun("r", 1_795_000_009.5, "stopped"),
        CompactLog("r", entries),
    )
    assert append(store, last) == {}
    assert log_of(store, "r") == entries
    assert [entry.seq for entry in log_of(store, "r", 3)] == [4, 5]
    assert [encode(entry.event) for entry in log_of(store, "r")] == [encode(entry.event) for entry in entries]
    store.check_log("r", 0)
    placed = store.placed_run(OWNER, "r")
    assert (placed.run.ended_at, placed.run.reason, placed.last_seq) == (1_795_000_009.5, "stopped", 5)
    assert (placed.thread.id, placed.workspace.slug, store.last_seq("r")) == (thread.id, "default", 5)
    assert (store.unfinished_runs(), store.open_run(OWNER, thread.id)) == ([], None)


def test_a_run_that_rests_is_not_unfinished_and_goes_on(store: Store, thread: Thread) -> None:
    store.write(begin(thread))
    append(store, share("r", [2]))
    noted: list[bool] = []
    store.submit(RestRun("r", log_of(store, "r"), [2]), lambda: noted.append(True)).wait(10)
    assert noted == [True]
    assert (store.run(OWNER, "r").rests, store.run(OWNER, "r").asks, store.unfinished_runs()) == (1, "[2]", [])
    assert store.placed_run(OWNER, "r").last_seq == 2
    append(store, share("r", [3], WakeRun("r")))
    assert (store.run(OWNER, "r").rests, store.placed_run(OWNER, "r").last_seq, store.last_seq("r")) == (0, None, 3)
    assert [entry.seq for entry in log_of(store, "r")] == [1, 2, 3]


def test_what_is_noted_of_a_run_is_in_its_row(store: Store, thread: Thread) -> None:
    store.write(begin(thread))
    store.submit(NoteRetries("r", 2)).wait(10)
    assert store.run(OWNER, "r").retries == 2
    store.submit(GiveUpRun("r")).wait(10)
    assert store.run(OWNER, "r").reason == "interrupted"
    ended_at = store.run(OWNER, "r").ended_at
    store.submit(GiveUpRun("r")).wait(10)
    assert store.run(OWNER, "r").ended_at == ended_at, "one that has ended stays as it is"
    assert store.last_seq("r") == 1


def test_what_is_queued_first_is_written_first(store: Store, thread: Thread) -> None:
    store.write(begin(thread))
    first, second = Batch(share("r", [2])), Batch(share("r", [3], WakeRun("r")))
    store.append(first, logs=1)
    store.submit(RestRun("r", [], []))
    store.append(second, logs=1)
    store.submit(NoteRetries("r", 1)).wait(10)
    assert (store.run(OWNER, "r").rests, [entry.seq for entry in log_of(store, "r")]) == (0, [1, 2, 3])


def test_a_run_that_is_not_there_has_no_log(store: Store) -> None:
    assert (log_of(store, "r"), store.last_seq("r"), store.find_run("r")) == ([], 0, None)
    store.check_log("r", 0)
    with pytest.raises(NotFoundError):
        store.run(OWNER, "r")


# -- principals --------------------------------------------------------------------------------------------------------

STRANGER = Principal("stranger")


def methods_of(protocol: type) -> dict[str, list[str]]:
    """Gives the parameters of the methods that a protocol itself has."""
    methods = {name: each for name, each in vars(protocol).items() if isfunction(each) and not name.startswith("_")}
    return {name: list(signature(each).parameters)[1:] for name, each in methods.items()}


def test_what_is_done_for_a_person_takes_the_principal_first_and_what_the_server_does_takes_none() -> None:
    assert {name for name, names in methods_of(PersonalStore).items() if names[:1] != ["principal"]} == set()
    assert {name for name, names in methods_of(ServerStore).items() if "principal" in names} == set()


Call = Callable[[Principal], object]


def outcome(call: Call, principal: Principal) -> object:
    try:
        return call(principal)
    except (NotFoundError, ConflictError) as exc:
        return type(exc)


def test_to_another_principal_nothing_of_a_workspace_is_there(store: Store, thread: Thread) -> None:
    """Each method for a person is called with what is another's: nothing comes, and nothing changes."""
    workspace = store.workspace(OWNER, "default")
    store.write(message(thread, "p"), begin(thread, request="once"), KeepSummary("p", "P."))
    said = store.messages(OWNER, thread)
    assert outcome(store.workspaces, STRANGER) == [], "a principal begins with none"
    theirs = store.new_workspace(STRANGER, "Theirs")
    reads: dict[str, tuple[object, Call]] = {
        "workspaces": ([theirs], store.workspaces),
        "workspace": (NotFoundError, lambda who: store.workspace(who, "default")),
        "workspace_by_id": (NotFoundError, lambda who: store.workspace_by_id(who, workspace.id)),
        "is_last": (False, lambda who: store.is_last(who, workspace)),
        "threads": ([], lambda who: store.threads(who, workspace)),
        "thread": (NotFoundError, lambda who: store.thread(who, workspace, thread.slug)),
        "thread_by_id": (NotFoundError, lambda who: store.thread_by_id(who, thread.id)),
        "message": (NotFoundError, lambda who: store.message(who, thread, "p")),
        "messages": ([], lambda who: store.messages(who, thread)),
        "chats": (([], None), lambda who: store.chats(who, thread, 9, None)),
        "message_by_id": (NotFoundError, lambda who: store.message_by_id(who, "p")),
        "last_message_id": (None, lambda who: store.last_message_id(who, thread)),
        "branch": ([], lambda who: store.branch(who, thread.id, "p", 9)),
        "summary": (None, lambda who: store.summary(who, said)),
        "run": (NotFoundError, lambda who: store.run(who, "r")),
        "placed_run": (NotFoundError, lambda who: store.placed_run(who, "r")),
        "run_by_request": (None, lambda who: store.run_by_request(who, thread.id, "once")),
        "run_by_request_in": (None, lambda who: store.run_by_request_in(who, workspace, "once")),
        "open_run": (None, lambda who: store.open_run(who, thread.id)),
        "last_run": (None, lambda who: store.last_run(who, thread.id)),
    }
    writes: dict[str, Call] = {
        "update_workspace": lambda who: store.update_workspace(who, workspace, name="New", tools={"web": "deny"}),
        "new_thread": lambda who: store.new_thread(who, workspace, "New"),
        "rename_thread": lambda who: store.rename_thread(who, thread, "New"),
        "delete_thread": lambda who: store.delete_thread(who, thread, damaged={"r"}),
        "delete_workspace": lambda who: store.delete_workspace(who, workspace, damaged={"r"}),
    }
    assert {*reads, *writes, "new_workspace"} == {
        name for name, names in methods_of(PersonalStore).items() if names[0] == "principal"
    }

    def seen() -> dict[str, object]:
        return {name: outcome(call, OWNER) for name, (_, call) in reads.items()}

    before = seen()
    for name, (nothing, call) in reads.items():
        assert outcome(call, STRANGER) == nothing, name
        assert before[name] != nothing, name
    assert outcome(lambda who: store.messages(who, thread, 9, "p"), STRANGER) is NotFoundError
    assert outcome(lambda who: store.thread(who, theirs, thread.slug), STRANGER) is NotFoundError
    for name, write in writes.items():
        assert outcome(write, STRANGER) is NotFoundError, name
    assert seen() == before
    assert [each.slug for each in store.threads(STRANGER, theirs)] == []
    assert outcome(writes["delete_workspace"], OWNER) is ConflictError, "another's is no other one of mine"
    assert store.new_workspace(STRANGER, "DeeChat").owner == STRANGER.id
    for name in ("update_workspace", "new_thread", "rename_thread", "delete_thread"):
        assert outcome(writes[name], OWNER) is not NotFoundError, name


def test_each_principal_has_a_last_workspace_and_no_two_have_the_same_slug(store: Store) -> None:
    first, second = store.new_workspace(STRANGER, "Other"), store.new_workspace(OWNER, "Other")
    assert (first.slug, second.slug) == ("other", "other-2")
    assert store.is_last(STRANGER, first)
    assert not store.is_last(OWNER, second)
    with pytest.raises(ConflictError):
        store.delete_workspace(STRANGER, first)
    assert store.delete_workspace(OWNER, second) == []
    thread = store.thread(STRANGER, first, "default")
    assert store.workspace_of(thread.id) == first
    with pytest.raises(NotFoundError):
        store.workspace_of("nowhere")


def test_the_memory_store_lets_others_have_their_turn_in_every_read() -> None:
    store = MemoryStore()
    workspace, turns = store.workspace(OWNER, "default"), 0

    def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    greenlet = gevent.spawn(others)
    gevent.sleep(0)
    thread = store.thread(OWNER, workspace, "default")
    reads: dict[str, tuple[object, ...]] = {
        "workspaces": (OWNER,), "workspace": (OWNER, "default"), "workspace_by_id": (OWNER, workspace.id),
        "is_last": (OWNER, workspace), "threads": (OWNER, workspace), "thread": (OWNER, workspace, "default"),
        "thread_by_id": (OWNER, thread.id), "messages": (OWNER, thread), "chats": (OWNER, thread, 1, None),
        "last_message_id": (OWNER, thread), "branch": (OWNER, thread.id, "x", 1), "summary": (OWNER, []),
        "run_by_request": (OWNER, thread.id, "x"), "open_run": (OWNER, thread.id), "last_run": (OWNER, thread.id),
        "run_by_request_in": (OWNER, workspace, "x"),
        "workspace_of": (thread.id,), "ended_logins": (), "find_run": ("r",), "unfinished_runs": (),
        "check_log": ("r", 0), "last_seq": ("r",),
    }  # fmt: skip
    for name, arguments in reads.items():
        before = turns
        getattr(store, name)(*arguments)
        assert turns >= before + 2, name
    before = turns
    list(store.log_pages("r"))
    assert turns >= before + 2
    greenlet.kill()
    store.close()
