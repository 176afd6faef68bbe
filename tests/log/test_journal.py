"""The log: what is committed is shown, what is not is not, and a follower misses nothing wherever it begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import gevent
import pytest
from journal_rig import entries_of, on_disk, start

from deechat.errors import NotFoundError, StorageUnavailableError
from deechat.events import Entry, RunStopped, Steered, TextChunk, encode
from deechat.log.batch import Batch
from deechat.log.journal import PAGE, Journal, Log
from deechat.principal import OWNER
from deechat.store.base import BeginRun, Change, InsertMessage, RunRow, StoredMessage, Thread
from deechat.store.sqlite import compaction
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import AppendJob, SQLiteStore

# A run of a thread that is not there: every store refuses it.
REFUSED = BeginRun(RunRow("none", "nowhere", "none-message", "none-prompt", None, None, None, "en", 1.0), [])


def texts(entries: list[Entry]) -> list[str]:
    return [entry.event.text for entry in entries if isinstance(entry.event, TextChunk)]


class Heard:
    """Notes of which runs a journal told."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.lost: list[str] = []

    def run_ended(self, run_id: str) -> None:
        self.ended.append(run_id)

    def run_lost(self, run_id: str) -> None:
        self.lost.append(run_id)


def everything(journal: Journal, run_id: str = "r", after: int = 0) -> list[Entry]:
    return [entry for batch in journal.follow(run_id, after, 5.0) for entry in batch]


def test_nobody_sees_an_entry_before_it_is_on_disk(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    seen: list[int] = []

    def watch() -> None:
        for batch in journal.follow("r", 0, 5.0):
            for entry in batch:
                assert on_disk(database) >= entry.seq
                seen.append(entry.seq)

    watcher = gevent.spawn(watch)
    for number in range(50):
        journal.append(log, TextChunk(str(number)))
        if number % 7 == 0:
            gevent.sleep(0)
    assert log.committed < len(log.entries)
    journal.append(log, RunStopped())
    watcher.join(10)
    assert watcher.successful()
    assert seen == list(range(1, 53))


def test_a_follower_may_begin_anywhere_at_any_time_and_misses_nothing(journal: Journal, thread: Thread) -> None:
    log = start(journal, thread)
    followers = []
    for number in range(20):
        journal.append(log, TextChunk(str(number)))
        followers.append((number, gevent.spawn(everything, journal, "r", number)))
        gevent.sleep(0.001)
    journal.append(log, RunStopped())
    gevent.joinall([follower for _, follower in followers], timeout=10)
    for after, follower in followers:
        assert [entry.seq for entry in follower.get()] == list(range(after + 1, 23))


def test_memory_and_disk_show_the_same(journal: Journal, thread: Thread) -> None:
    log = start(journal, thread)
    for number in range(3 * PAGE):
        journal.append(log, TextChunk(str(number)))
    live = gevent.spawn(everything, journal)
    gevent.sleep(0)
    journal.append(log, RunStopped())
    from_memory = live.get(timeout=10)
    assert everything(journal) == from_memory
    assert len(from_memory) == 3 * PAGE + 2


def test_silence_is_told_and_is_no_end(journal: Journal, thread: Thread) -> None:
    log = start(journal, thread)
    follower = journal.follow("r", 1, 0.01)
    assert [next(follower), next(follower)] == [[], []]
    journal.append(log, TextChunk("Hi"))
    assert texts(next(filter(None, follower))) == ["Hi"]
    follower.close()


def test_an_ending_is_in_the_runs_row_with_the_message_it_made(
    journal: Journal, database: Database, thread: Thread, store: SQLiteStore
) -> None:
    heard = Heard()
    journal = Journal(store, heard)
    log = start(journal, thread)
    message = StoredMessage("r-message", thread.id, None, "assistant", "Hi", 2.0)
    entry = journal.append(log, RunStopped(), InsertMessage(message))
    assert store.run(OWNER, "r").reason is None
    journal.wait_committed(log, entry.seq)
    assert (store.run(OWNER, "r").reason, store.run(OWNER, "r").ended_at) == ("stopped", entry.at)
    assert [each.id for each in SQLiteStore(database).messages(OWNER, thread)] == ["r-message"]
    assert heard.ended == ["r"]
    assert store.unfinished_runs() == []


def test_a_run_is_stored_whole_or_not_at_all(
    journal: Journal, database: Database, thread: Thread, store: SQLiteStore
) -> None:
    gone = Thread("nowhere", thread.workspace_id, "x", None, 0.0, 0.0)
    with pytest.raises(NotFoundError):
        start(journal, gone)
    assert on_disk(database) == 0
    with pytest.raises(NotFoundError):
        store.run(OWNER, "r")


def test_followers_of_a_suspended_log_are_let_go_without_an_ending(journal: Journal, thread: Thread) -> None:
    log = start(journal, thread)
    follower = gevent.spawn(everything, journal)
    gevent.sleep(0)
    journal.suspend(log)
    assert [entry.seq for entry in follower.get(timeout=5)] == [1]
    entry = journal.append(log, TextChunk("kept"))
    with pytest.raises(StorageUnavailableError):
        journal.wait_committed(log, entry.seq)
    journal.unsuspend(log)
    journal.append(log, RunStopped())
    assert texts(everything(journal)) == ["kept"]


def test_a_closing_process_lets_followers_go(journal: Journal, thread: Thread) -> None:
    start(journal, thread)
    follower = gevent.spawn(everything, journal)
    gevent.sleep(0)
    journal.close()
    assert len(follower.get(timeout=5)) == 1


def test_a_thread_is_not_deleted_under_a_run_that_goes_on(journal: Journal, database: Database, thread: Thread) -> None:
    store = SQLiteStore(database)
    log = start(journal, thread)
    assert store.delete_thread(OWNER, thread) == ["r"]
    assert store.delete_workspace(OWNER, store.new_workspace(OWNER, "Other")) == []
    assert store.thread_by_id(OWNER, thread.id) == thread
    journal.append(log, RunStopped())
    journal.wait_ended(log)
    assert store.delete_thread(OWNER, thread) == []
    with pytest.raises(NotFoundError):
        store.thread_by_id(OWNER, thread.id)
    with pytest.raises(NotFoundError):
        store.run(OWNER, "r")


def test_a_workspace_is_not_deleted_under_a_run_that_stands_behind_many_damaged_ones(
    journal: Journal, database: Database
) -> None:
    store = SQLiteStore(database)
    workspace = store.new_workspace(OWNER, "Other")
    for number in range(130):
        start(journal, store.new_thread(OWNER, workspace, None), f"r{number}")
    damaged: set[str] = set()
    while run_ids := set(store.delete_workspace(OWNER, workspace, damaged)):
        assert not run_ids & damaged
        damaged |= run_ids
    assert len(damaged) == 130
    with pytest.raises(NotFoundError):
        store.workspace_by_id(OWNER, workspace.id)


def test_no_run_begins_in_a_thread_that_is_deleted(journal: Journal, database: Database, thread: Thread) -> None:
    store = SQLiteStore(database)
    store.delete_thread(OWNER, thread)
    with pytest.raises(NotFoundError):
        start(journal, thread)
    other = store.new_workspace(OWNER, "Other")
    doomed = store.new_thread(OWNER, other, None)
    store.delete_workspace(OWNER, other)
    with pytest.raises(NotFoundError):
        start(journal, doomed)
    with pytest.raises(NotFoundError):
        store.new_thread(OWNER, other, None)
    assert database.read("SELECT id FROM run") == []


def test_rows_that_cannot_be_stored_end_the_run_for_its_followers(store: SQLiteStore, thread: Thread) -> None:
    heard = Heard()
    journal = Journal(store, heard)
    log = start(journal, thread)
    follower = gevent.spawn(everything, journal)
    gevent.sleep(0)
    journal.append(log, TextChunk("never stored"), REFUSED)
    assert len(follower.get(timeout=5)) == 1
    assert heard.lost == ["r"]
    with pytest.raises(StorageUnavailableError):  # nothing may follow: it would leave a gap
        journal.append(log, TextChunk("later still"))


def test_what_follows_rows_that_were_kept_out_is_kept_out_in_the_same_commit_too(
    journal: Journal, database: Database, thread: Thread
) -> None:
    """While the lock is held a second batch gathers behind the first, and both go into one transaction."""
    store = SQLiteStore(database)
    other_thread = store.new_thread(OWNER, store.workspaces(OWNER)[0], None)
    bad, sound = start(journal, thread, "bad"), start(journal, other_thread, "sound")

    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.append(bad, TextChunk("never stored"), REFUSED)
        journal.append(sound, TextChunk("one"))
        gevent.sleep(0.1)  # the first batch was taken by now; SQLite waits a second for the lock
        journal.append(bad, TextChunk("would leave a gap"))
        journal.append(sound, TextChunk("two"))
        gevent.sleep(1.3)
        other.execute("ROLLBACK")
        journal.wait_committed(sound, 3)
    assert (bad.lost, bad.committed) == (True, 1)
    assert on_disk(database, "bad") == 1
    assert texts(entries_of(journal, "sound")) == ["one", "two"]


def test_what_was_kept_out_stays_out_of_all_rows_that_follow_in_a_transaction() -> None:
    """Also where rows without any of that log stand between."""
    told: list[tuple[set[str], set[str]]] = []
    batches: list[Batch[Log]] = []
    jobs: list[AppendJob] = []
    for _ in range(3):
        batches.append(
            Batch(
                lambda: None,
                lambda shares, rejected: told.append(
                    ({log.run_id for log in shares}, {log.run_id for log in rejected})
                ),
            )
        )
        sweeper = SimpleNamespace(wrote=lambda _rows: None, died=lambda _rows: None)
        jobs.append(AppendJob(batches[-1], sweeper, jobs[-1] if jobs else None))  # type: ignore[arg-type]
    bad, sound = Log("bad"), Log("sound")
    batches[0].add(bad, "bad", (2, 1.0, b"{}"), [REFUSED])
    batches[1].add(sound, "sound", (2, 1.0, b"{}"))
    batches[2].add(bad, "bad", (3, 1.0, b"{}"))
    batches[2].add(sound, "sound", (3, 1.0, b"{}"))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE event (run_id, seq, at, body, checksum)")
        for each in jobs:
            each.work(connection)
        assert connection.execute("SELECT run_id, seq FROM event").fetchall() == [("sound", 2), ("sound", 3)]
    for each in jobs:
        each.done(None)
    assert told == [({"bad"}, {"bad"}), ({"sound"}, set()), ({"bad", "sound"}, {"bad"})]


def test_who_looks_at_a_run_in_the_moment_of_its_commit_follows_it_to_its_end(
    journal: Journal, store: SQLiteStore, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may see it before the one who opens it goes on."""
    quicker: list[Log] = []
    write = store.write

    def looked_at(*changes: Change) -> None:
        write(*changes)
        quicker.append(journal.load("r"))

    monkeypatch.setattr(store, "write", looked_at)
    log = start(journal, thread)
    assert [log] == quicker


@pytest.mark.parametrize("how", ["it goes on", "it is given up", "it is deleted"])
def test_a_log_that_changes_while_it_is_read_is_read_to_an_end(
    journal: Journal, database: Database, thread: Thread, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    log = start(journal, thread)
    for number in range(3 * PAGE):
        journal.append(log, TextChunk(str(number)))
    journal.wait_committed(log, len(log.entries))
    expected = list(log.entries)
    del log
    pages, reader = journal.pages, Journal(SQLiteStore(database))

    def changing(run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        yield from pages(run_id, after)
        monkeypatch.setattr(reader, "pages", pages)
        if how == "it goes on":
            expected.append(journal.append(journal.load(run_id), TextChunk("more")))
            journal.wait_committed(journal.load(run_id), len(expected))
        elif how == "it is given up":
            journal.abandon(run_id).wait()
        else:
            database.write(lambda connection: connection.execute("DELETE FROM run"))

    monkeypatch.setattr(reader, "pages", changing)
    with gevent.Timeout(10):
        loaded = reader.load("r")
    assert loaded.entries == expected
    assert (reader.in_memory("r") is loaded) == (how == "it goes on")


def test_a_run_that_ends_while_its_log_is_read_is_read_with_the_message_that_it_left(
    journal: Journal, database: Database, thread: Thread, monkeypatch: pytest.MonkeyPatch, store: SQLiteStore
) -> None:
    """Its last block leaves out the text of a message that was not there when the reader began."""
    log = start(journal, thread)
    for _ in range(3 * compaction.ENTRIES):
        journal.append(log, Steered("more"))
    journal.wait_committed(log, len(log.entries))
    journal.rest(log, [])
    with gevent.Timeout(10):
        while not store.run(OWNER, "r").rests:
            gevent.sleep(0.01)
    elsewhere = Journal(SQLiteStore(database))  # which does not have it in memory
    pages = elsewhere.pages

    def ending_after_a_page(run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        reader = pages(run_id, after)
        yield next(reader)
        journal.append(log, TextChunk("Hello world"))
        message = StoredMessage("r-message", thread.id, None, "assistant", "Hello world", 2.0, "r")
        journal.append(log, RunStopped(), InsertMessage(message))
        journal.wait_ended(log)
        yield from reader

    monkeypatch.setattr(elsewhere, "pages", ending_after_a_page)
    assert elsewhere.load("r").entries == log.entries
    monkeypatch.undo()
    assert everything(elsewhere) == log.entries
    elsewhere.abandon("r").wait()
    assert store.run(OWNER, "r").reason == "stopped"


def test_a_runaway_waits_for_the_writer(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    for _ in range(11):
        journal.append(log, TextChunk("x" * 100_000))
    assert log.uncommitted_bytes > 1_000_000
    journal.wait_for_room(log)
    assert log.uncommitted_bytes == 0
    assert on_disk(database) == 12


def test_what_cannot_be_encoded_is_told_at_once_and_leaves_the_log_as_it_was(journal: Journal, thread: Thread) -> None:
    log = start(journal, thread)
    with pytest.raises(UnicodeEncodeError):
        journal.append(log, TextChunk("\ud83d"))
    journal.append(log, RunStopped())
    assert [entry.seq for entry in everything(journal)] == [1, 2]


def test_rows_hold_what_events_encode_to(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    entry = journal.append(log, TextChunk("Hi"))
    journal.wait_committed(log, entry.seq)
    assert database.read_one("SELECT body FROM event WHERE seq = 2") == (encode(TextChunk("Hi")),)
