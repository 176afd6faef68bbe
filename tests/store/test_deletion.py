"""What is deleted is gone at once for everybody, goes from the file in small pieces, and hinders nobody meanwhile."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from client import Client
from model_answers import reply, text
from model_server import ModelServer
from server import Server, wait_until

from deechat.errors import ConflictError, NotFoundError
from deechat.events import Entry, RunStarted, TextChunk
from deechat.log.journal import Journal
from deechat.principal import OWNER
from deechat.store.base import BeginRun, EndRun, InsertMessage, RunRow, StoredMessage, Thread
from deechat.store.sqlite import compaction, deletion
from deechat.store.sqlite.changes import apply
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore

TABLES = ("workspace", "thread", "message", "run", "block")


def fill(connection: sqlite3.Connection, thread_id: str, runs: int, size: int = 10) -> None:
    """Writes runs that have ended, each with a prompt, an answer of so many characters and a log."""
    for number in range(runs):
        run_id, answer_id = str(uuid.uuid4()), str(uuid.uuid4())
        for change in (
            BeginRun(RunRow(run_id, thread_id, answer_id, "p", None, None, None, "en", 1.0), []),
            EndRun(run_id, 2.0, "stopped"),
            InsertMessage(StoredMessage(str(uuid.uuid4()), thread_id, None, "user", f"Say {number}", 1.0)),
            InsertMessage(StoredMessage(answer_id, thread_id, None, "assistant", "x" * size, 2.0, run_id)),
        ):
            apply(connection, change)
        entries = [RunStarted(run_id, answer_id, "w", "t", None, "m"), TextChunk("x" * size)]
        compaction.compact(connection, run_id, [Entry(seq, 1.0, event) for seq, event in enumerate(entries, 1)])


def counts(database: Database) -> dict[str, int]:
    return {name: database.read(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}


def wait_removed(store: SQLiteStore) -> None:
    store.deletion.wake()
    with gevent.Timeout(60):
        while store.deletion._greenlet is not None:
            gevent.sleep(0.01)


def test_what_is_deleted_is_found_by_nobody_before_it_is_removed(
    database: Database, store: SQLiteStore, thread: Thread, journal: Journal
) -> None:
    workspace = store.workspace(OWNER, "default")
    database.write(lambda connection: fill(connection, thread.id, 3))
    (run_id,) = database.read_one("SELECT id FROM run") or ("",)
    assert store.run(OWNER, run_id).id == run_id
    assert store.delete_thread(OWNER, thread) == []
    assert counts(database)["message"] == 6
    for look in (
        lambda: store.thread(OWNER, workspace, thread.slug),
        lambda: store.thread_by_id(OWNER, thread.id),
        lambda: store.rename_thread(OWNER, thread, "Again"),
        lambda: store.run(OWNER, run_id),
    ):
        with pytest.raises(NotFoundError):
            look()
    assert thread.slug not in [each.slug for each in store.threads(OWNER, workspace)]
    other = store.new_workspace(OWNER, "Other")
    in_it = store.new_thread(OWNER, other, "In it")
    database.write(lambda connection: fill(connection, in_it.id, 2))
    last = database.read("SELECT id FROM run WHERE thread_id = ?", in_it.id)[0][0]
    assert store.delete_workspace(OWNER, other) == []
    for look in (
        lambda: store.workspace(OWNER, "other"),
        lambda: store.workspace_by_id(OWNER, other.id),
        lambda: store.thread_by_id(OWNER, in_it.id),
        lambda: store.update_workspace(OWNER, other, name="Again"),
        lambda: store.delete_workspace(OWNER, other),
        lambda: store.run(OWNER, last),
    ):
        with pytest.raises(NotFoundError):
            look()
    assert [each.slug for each in store.workspaces(OWNER)] == ["default"]
    with pytest.raises(ConflictError):
        store.delete_workspace(OWNER, workspace)
    assert store.new_workspace(OWNER, "Other").slug == "other", "its slug is free again"
    wait_removed(store)
    assert counts(database) == {"workspace": 2, "thread": 2, "message": 0, "run": 0, "block": 0}


def test_the_default_thread_is_there_again_in_the_same_moment_and_empty(
    database: Database, store: SQLiteStore, journal: Journal
) -> None:
    workspace = store.workspace(OWNER, "default")
    before = store.thread(OWNER, workspace, "default")
    database.write(lambda connection: fill(connection, before.id, 2))
    store.delete_thread(OWNER, before)
    store.delete_thread(OWNER, before)  # two at once
    after = store.thread(OWNER, workspace, "default")
    assert after.id != before.id
    assert store.messages(OWNER, after) == []
    wait_removed(store)
    assert counts(database)["thread"] == 1


def test_each_piece_is_small_however_much_is_deleted(
    database: Database, store: SQLiteStore, thread: Thread, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "SECONDS", 60.0)  # a slow machine makes them smaller still
    pieces: list[int] = []
    delete_slice = deletion.delete_slice

    def counted(connection: sqlite3.Connection) -> bool:
        before = connection.total_changes
        more = delete_slice(connection)
        pieces.append(connection.total_changes - before)
        return more

    monkeypatch.setattr(deletion, "delete_slice", counted)
    database.write(lambda connection: fill(connection, thread.id, 1_000))
    store.delete_thread(OWNER, thread)
    wait_removed(store)
    assert sum(pieces) == 4 * 1_000 + 1  # two messages, a block and a run each; the thread
    assert max(pieces) <= deletion.ROWS + 2
    assert len(pieces) <= sum(pieces) / deletion.ROWS + 3
    pieces.clear()
    other = store.new_thread(OWNER, store.workspace(OWNER, "default"), None)
    database.write(lambda connection: fill(connection, other.id, 30, size=300_000))
    store.delete_thread(OWNER, other)
    wait_removed(store)
    assert max(pieces[: len(pieces) // 2]) <= 10, "a piece ends by its bytes too"  # the logs, at the end, are small


def test_many_empty_threads_share_a_piece(database: Database, store: SQLiteStore, journal: Journal) -> None:
    other = store.new_workspace(OWNER, "Other")
    rows = [(str(uuid.uuid4()), other.id, str(number)) for number in range(2_000)]
    database.write(
        lambda connection: connection.executemany(
            "INSERT INTO thread (id, workspace_id, slug, created_at, updated_at) VALUES (?, ?, ?, 1, 1)", rows
        )
    )
    store.delete_workspace(OWNER, other)
    wait_removed(store)
    assert counts(database)["thread"] == 1


def test_a_start_goes_on_with_what_an_earlier_process_left(tmp_path: Path) -> None:
    path = tmp_path / "left.sqlite3"
    database = Database(path)
    database.start()
    store = SQLiteStore(database)
    thread = store.new_thread(OWNER, store.workspace(OWNER, "default"), None)
    database.write(lambda connection: fill(connection, thread.id, 300))
    store.delete_thread(OWNER, thread)
    database.write(deletion.delete_slice)
    assert 0 < counts(database)["message"] < 600
    database.close()
    database = Database(path)
    database.start()
    store = SQLiteStore(database)
    store.take_over()
    wait_removed(store)
    assert counts(database) == {"workspace": 1, "thread": 1, "message": 0, "run": 0, "block": 0}
    assert database.read("PRAGMA integrity_check") == [("ok",)]
    assert database.read("PRAGMA foreign_key_check") == []
    database.close()


def test_rows_of_runs_that_are_gone_are_swept(
    database: Database, store: SQLiteStore, thread: Thread, journal: Journal
) -> None:
    database.write(lambda connection: fill(connection, thread.id, 1))
    (run_id,) = database.read_one("SELECT id FROM run") or ("",)
    database.write(
        lambda connection: connection.executemany(
            "INSERT INTO event (run_id, seq, at, body) VALUES (?, ?, 1.0, x'7b7d')",
            [(run_id, seq) for seq in range(50)],
        )
    )
    store.delete_thread(OWNER, thread)
    wait_removed(store)
    with gevent.Timeout(10):
        while database.read("SELECT 1 FROM event LIMIT 1"):
            gevent.sleep(0.02)


def test_damaged_rows_keep_nothing_else_from_being_removed(
    database: Database, store: SQLiteStore, thread: Thread, journal: Journal
) -> None:
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO thread (id, workspace_id, slug, name, created_at, updated_at, deleted_at)"
            " SELECT '0', id, '0', CAST(x'ff41' AS TEXT), 1, 1, 5 FROM workspace"
        )
    )
    database.write(lambda connection: fill(connection, thread.id, 3))
    store.delete_thread(OWNER, thread)
    wait_removed(store)
    assert database.read("SELECT id FROM thread WHERE slug != 'default'") == [("0",)]
    assert counts(database)["message"] == 0


def test_the_room_of_what_was_deleted_is_used_again(database: Database, store: SQLiteStore, journal: Journal) -> None:
    sizes = []
    for _ in range(4):
        thread = store.new_thread(OWNER, store.workspace(OWNER, "default"), None)
        database.write(lambda connection, of=thread.id: fill(connection, of, 100, size=20_000))  # type: ignore[misc]
        store.delete_thread(OWNER, thread)
        wait_removed(store)
        sizes.append(database.read("PRAGMA page_count")[0][0])
    assert sizes[-1] <= 1.1 * sizes[0]


# -- with a server -----------------------------------------------------------------------------------------------------


def put_runs(server: Server, slug: str, runs: int, events: int = 1) -> None:
    """Writes ended runs into a server's thread, from beside it, and rows of events that were not swept yet."""
    with closing(sqlite3.connect(server.database, timeout=10)) as connection:
        (thread_id,) = connection.execute("SELECT id FROM thread WHERE slug = ?", (slug,)).fetchone()
        fill(connection, thread_id, runs)
        connection.execute(
            "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
            " INSERT INTO event (run_id, seq, at, body) SELECT (SELECT id FROM run LIMIT 1), n, 1.0, x'7b7d' FROM many",
            (events,),
        )
        connection.commit()


def test_answers_go_on_while_thousands_of_runs_are_deleted(
    serve: Callable[..., Server], shared_model: ModelServer
) -> None:
    server = serve(shared_model)
    shared_model.answer = lambda _request: reply(*[text(f"word{number} ") for number in range(40)], rate=20.0)
    doomed = Client(server).new_thread()
    put_runs(server, doomed.thread, 3_000, events=100_000)
    clients = [Client(server).new_thread() for _ in range(10)]
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda each=each: answers.append(each.ask("Go"))) for each in clients]
    for each in threads:
        each.start()
    doomed.delete()
    assert doomed.call("GET", f"{doomed.thread_path}/chats").status_code == 404
    for each in threads:
        each.join(120)
    assert [answer.ending["type"] for answer in answers] == ["finalizeResponseStream"] * 10
    wait_until(lambda: server.rows("SELECT count(*) FROM run") == [(10,)], timeout=60)
    shared_model.answer = None
    for each in clients:
        each.check_all()


def test_a_kill_in_the_middle_of_deleting_leaves_nothing_half(serve: Callable[..., Server]) -> None:
    server = serve()
    kept, doomed = Client(server).new_thread(), Client(server).new_thread()
    kept.ask("what is 17% of 2,340?")
    put_runs(server, doomed.thread, 3_000)
    doomed.delete()
    wait_until(lambda: server.rows("SELECT count(*) FROM message") < [(6_002,)])
    server.kill()
    assert server.rows("SELECT count(*) FROM message") > [(2,)], "it was not in the middle"
    server.start()
    assert doomed.call("GET", f"{doomed.thread_path}/chats").status_code == 404
    wait_until(lambda: server.rows("SELECT count(*) FROM message") == [(2,)], timeout=60)
    wait_until(lambda: server.rows("SELECT count(*) FROM thread") == [(2,)], timeout=60)
    assert server.rows("PRAGMA integrity_check") == [("ok",)]
    kept.check_all()
