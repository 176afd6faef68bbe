"""A run that was closed without an ending in its log: who follows it comes to an end, and no damage is passed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import gevent
import pytest
from client import Client
from journal_rig import start
from model_server import ModelServer, reply, text, tool_calls
from server import Server, wait_until

from deechat.errors import BrokenLogError
from deechat.events import Entry, RunStarted, TextChunk
from deechat.log.journal import Journal, row_of
from deechat.store.base import BeginRun, GiveUpRun, RunRow, Thread
from deechat.store.sqlite import compaction
from deechat.store.sqlite.changes import apply
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore

LENGTH = 6


@contextmanager
def connected(server: Server) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(server.database, isolation_level=None, timeout=5)) as connection:
        yield connection


def give_up_a_run(server: Server, thread: str, packed: int) -> str:
    """Writes a run that was given up with all that it said in rows, but for its first `packed` entries."""
    with connected(server) as connection:
        (thread_id,) = connection.execute("SELECT id FROM thread WHERE slug = ?", (thread,)).fetchone()
        record = RunRow("given-up", thread_id, "its-message", "its-prompt", None, None, "m", "en", 1.0)
        events = [RunStarted(record.id, "its-message", "w", "t", None, "m"), *[TextChunk("word ")] * (LENGTH - 1)]
        entries = [Entry(seq, 1.0, event) for seq, event in enumerate(events, start=1)]
        connection.execute("BEGIN IMMEDIATE")
        apply(connection, BeginRun(record, [row_of(entry) for entry in entries]))
        compaction.compact(connection, record.id, entries[:packed])
        apply(connection, GiveUpRun(record.id))
        connection.execute("COMMIT")
    return record.id


@pytest.mark.parametrize("packed", [0, 3, LENGTH])
def test_a_viewer_of_a_run_that_was_given_up_sees_what_there_is_and_then_that_nothing_follows(
    serve: Callable[..., Server], packed: int
) -> None:
    server = serve()
    client = Client(server).new_thread()
    run = give_up_a_run(server, client.thread or "", packed)
    for _ in ("as it was left", "after a restart"):
        found = client.run(run)
        assert (found["status"], found["reason"], found["lastEventId"]) == ("ended", "interrupted", LENGTH)
        for after in range(LENGTH):
            with closing(client.follow(run, after=after)) as stream:
                assert [block.seq for block in stream.read().blocks] == list(range(after + 1, LENGTH + 1))
        polls = [0]
        while not (polled := client.get(f"/api/runs/{run}/events?after={polls[-1]}&wait=0"))["ended"]:
            assert len(polled["frames"]) == polled["lastEventId"] - polls[-1] > 0
            polls.append(polled["lastEventId"])
        assert polls[-1] == LENGTH
        assert client.call("GET", f"/api/runs/{run}/events?after={LENGTH}").status_code == 204
        assert polled == {"frames": [], "lastEventId": LENGTH, "ended": True}
        server.kill()
        server.start()
    client.streams.clear()


@pytest.mark.parametrize("damage", ["UPDATE event SET at = at + 1 WHERE seq = 2", "DELETE FROM event"])
def test_the_log_of_a_run_that_was_given_up_because_it_is_damaged_is_an_error(
    serve: Callable[..., Server], model: ModelServer, damage: str
) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script(reply(text("Half"), model.gate()), "Whole")
    stream = client.send("Go")
    stream.read_until("Half")
    server.kill()
    stream.close()
    client.streams.clear()
    with connected(server) as connection:
        assert connection.execute(damage).rowcount
    for _ in range(2):
        server.start()
        for query in ("", "?after=1", "?wait=0"):
            response = client.call("GET", f"/api/runs/{stream.run_id}/events{query}")
            assert (response.status_code, response.json()["error"]["code"]) == (500, "log_unreadable"), query
        server.kill()
    server.start()
    assert client.ask("Well?").text == "Whole"
    client.streams.clear()


def test_who_follows_a_log_while_its_run_is_given_up_is_let_go(journal: Journal, thread: Thread) -> None:
    """Also when it was read anew from disk, before the row was closed."""
    log = start(journal, thread)
    follower = gevent.spawn(lambda: [entry for batch in journal.follow("r", 0, 5.0) for entry in batch])
    gevent.sleep(0)
    journal.abandon("r").wait()
    assert follower.get(timeout=5) == log.entries
    assert journal.in_memory("r") is None
    assert list(journal.follow("r", 1, 5.0)) == []


def test_a_given_up_log_whose_last_block_is_damaged_is_an_error(
    journal: Journal, database: Database, thread: Thread, store: SQLiteStore
) -> None:
    entries = start(journal, thread).entries  # the log itself is held by nobody
    database.write(lambda connection: compaction.compact(connection, "r", entries))
    journal.abandon("r").wait()
    assert store.last_seq("r") == 1
    database.write(lambda connection: connection.execute("UPDATE block SET body = x'00'"))
    with pytest.raises(BrokenLogError):
        store.last_seq("r")


@pytest.mark.parametrize("when", ["at work", "while it waits", "while it waits, found after a restart"])
def test_a_thread_goes_on_without_a_run_whose_row_is_damaged(
    serve: Callable[..., Server], model: ModelServer, when: str
) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    gate = model.gate()
    asks = tool_calls(("ask_user", {"questions": [{"question": "Which?"}]}))
    model.script(reply(text("Half"), gate) if when == "at work" else reply(asks), "Whole")
    stream = client.send("Go")
    stream.read_until("Half" if when == "at work" else "clarificationRequest")
    if when != "at work":
        wait_until(lambda: server.rows("SELECT 1 FROM run WHERE rests = 1"))
    if when != "while it waits":
        server.kill()
    with connected(server) as connection:
        assert connection.execute("UPDATE run SET language = 'eo' WHERE ended_at IS NULL").rowcount == 1
    if when != "while it waits":
        server.start()
    client.streams.clear()
    chats = client.call("GET", f"{client.thread_path}/chats")
    assert (chats.json()["activeRun"], chats.headers["X-Storage"]) == (None, "damaged")
    assert client.ask("Well?").text == "Whole"
    stream.read()
    assert stream.ending is None
    for path in ("", "/events"):
        assert client.call("GET", f"/api/runs/{stream.run_id}{path}").json()["error"]["code"] == "storage_damaged"
    client.streams.clear()


def test_a_run_at_work_whose_row_is_damaged_meanwhile_keeps_its_thread_until_it_ends(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    gate = model.gate()
    model.script(reply(text("One "), gate, text("two")), "Three")
    stream = client.send("Go")
    stream.read_until("One")
    with connected(server) as connection:
        connection.execute("UPDATE run SET language = 'eo'")
    refused = client.post(f"{client.thread_path}/stream-chat", {"message": "More"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "run_active")
    gate.release()
    assert stream.read().text == "One two"
    assert client.ask("More").text == "Three"
    client.streams.clear()
