"""A log as a block, as rows, and as both: it is the same log, whatever was swept and whenever the process died."""

from __future__ import annotations

import random
import sqlite3
import zlib
from pathlib import Path

import gevent
import pytest
from journal_rig import on_disk, start

from deechat import blocks, schema, sweeper
from deechat.database import Database
from deechat.events import (
    Entry,
    ReasoningChunk,
    RunStarted,
    RunStopped,
    Status,
    StepFinished,
    TextChunk,
    ToolCall,
    Usage,
    encode,
)
from deechat.journal import Journal
from deechat.store import Store, Thread


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "DELAY", 0.01)
    monkeypatch.setattr(sweeper, "SELDOM", 0.01)
    monkeypatch.setattr(sweeper, "PAUSE", 0.0)


def count(database: Database, table: str) -> int:
    return int(database.read(f"SELECT count(*) FROM {table}")[0][0])


def wait_swept(database: Database, rows: int = 0) -> None:
    with gevent.Timeout(10):
        while count(database, "event") > rows:
            gevent.sleep(0.01)


def some_log(seed: int) -> list[Entry]:
    chance = random.Random(seed)
    kinds = [
        lambda: TextChunk(chance.choice(["a", "ü 世界", "😀", "word ", "", '\n"\\'])),
        lambda: ReasoningChunk(chance.choice(["hm", "", "思考"])),
        lambda: Status("It reads.", "reading", {"n": chance.random()}),
        lambda: StepFinished(1, "tool_calls", Usage(1, 2), (ToolCall("c1", "look", '{"a": 1}'),), {"x": [None, 1.5]}),
        lambda: RunStarted("r", "m", "w", "t", None, "model"),
    ]
    at = 1_795_000_000_000
    entries = []
    for seq in range(1, chance.randrange(2, 400)):
        at += chance.choice([0, 1, 20, 86_400_000, -5_000])  # a clock may be set back
        entries.append(Entry(seq, at / 1000, chance.choice(kinds)()))
    return entries


@pytest.mark.parametrize("seed", range(30))
def test_a_block_gives_back_what_was_packed(seed: int) -> None:
    entries = some_log(seed)
    again = blocks.unpack(blocks.pack(entries))
    assert again == entries
    assert [encode(entry.event) for entry in again] == [encode(entry.event) for entry in entries]


@pytest.mark.parametrize("seed", range(10))
def test_a_block_needs_no_copy_of_the_messages_text(seed: int) -> None:
    entries = some_log(seed)
    content = "".join(entry.event.text for entry in entries if isinstance(entry.event, TextChunk))
    body = blocks.pack(entries, content)
    assert len(body) <= len(blocks.pack(entries))
    assert blocks.unpack(body, content) == entries
    assert blocks.unpack(blocks.pack(entries, content + "!"), content + "!") == entries
    if content:
        with pytest.raises(ValueError, match="characters"):
            blocks.unpack(body, content + "!")


@pytest.mark.parametrize(
    "body", [b"", b"{}", zlib.compress(b"{}"), zlib.compress(b'{"at":[1],"entries":[]}'), zlib.compress(b"no")]
)
def test_what_is_no_block_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        blocks.unpack(body)


def test_text_that_came_piece_by_piece_takes_little_more_room_than_the_text() -> None:
    words = Path(__file__).read_text().split()[:1000]
    entries = [Entry(seq, 1_795_000_000 + seq / 50, TextChunk(f" {word}")) for seq, word in enumerate(words, 1)]
    text = "".join(f" {word}" for word in words)
    assert len(blocks.pack(entries)) < len(zlib.compress(text.encode(), 9)) + 1.2 * len(words)


def test_what_has_ended_is_a_block_and_its_rows_go(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    for number in range(100):
        journal.append(log, TextChunk(str(number)))
    journal.wait_committed(log, len(log.entries))
    assert count(database, "event") == 101
    journal.append(log, RunStopped())
    journal.wait_ended(log)
    assert journal.entries("r") == log.entries
    assert journal.last_seq("r") == 102
    wait_swept(database)
    assert (count(database, "event"), count(database, "block")) == (0, 1)
    assert journal.entries("r") == log.entries
    assert [entry for batch in journal.follow("r", 60, 5.0) for entry in batch] == log.entries[60:]


def test_a_sweep_leaves_the_rows_of_others(journal: Journal, database: Database, thread: Thread) -> None:
    store = Store(database)
    other = start(journal, store.new_thread(store.workspace("default"), None), "other")
    log = start(journal, thread)
    for number in range(50):
        for each in (log, other):
            journal.append(each, TextChunk(str(number)))
    journal.append(log, RunStopped())
    journal.wait_ended(log)
    journal.wait_committed(other, len(other.entries))
    wait_swept(database, rows=51)
    assert count(database, "event") == 51
    assert journal.entries("other") == other.entries


def test_a_log_that_rests_is_a_block_and_goes_on_in_rows(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    journal.append(log, TextChunk("Half "))
    journal.wait_committed(log, 2)
    journal.rest(log, [])
    wait_swept(database)
    assert journal.entries("r") == log.entries
    assert (journal.last_seq("r"), on_disk(database)) == (2, 2)
    entry = journal.append(log, TextChunk("and half"))
    journal.wait_committed(log, entry.seq)
    assert count(database, "event") == 1
    assert journal.entries("r") == log.entries


def test_a_log_to_which_something_is_added_does_not_rest(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    journal.rest(log, [])
    entry = journal.append(log, TextChunk("Not yet"))
    journal.wait_committed(log, entry.seq)
    assert database.read("SELECT rests FROM run") == [(0,)]
    assert journal.entries("r") == log.entries


def test_a_start_makes_the_logs_that_were_left_blocks(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    for number in range(10):
        journal.append(log, TextChunk(str(number)))
    journal.wait_committed(log, 11)
    later = Journal(database)
    later.take_over()
    assert (count(database, "event"), count(database, "block")) == (0, 1)
    assert later.entries("r") == log.entries


def test_a_start_leaves_a_log_that_it_cannot_read(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    journal.append(log, TextChunk("Hi"))
    journal.wait_committed(log, 2)
    database.write(lambda connection: connection.execute("UPDATE event SET seq = 7 WHERE seq = 2"))
    Journal(database).take_over()
    assert (count(database, "event"), count(database, "block")) == (2, 0)


def test_a_database_of_an_earlier_version_keeps_every_log(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    old = sqlite3.connect(path, isolation_level=None)
    tables = schema.Tables(old)
    schema.migrations.apply(tables, stop_before="m003_logs_in_blocks")
    (thread_id,) = old.execute("SELECT id FROM thread").fetchone()
    entries = [Entry(1, 1.5, RunStarted("r", "m", "w", "t", None, "model")), Entry(2, 2.25, TextChunk("Hi"))]
    old.execute(
        "INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at)"
        " VALUES ('r', ?, 'm', 'p', 'en', 1)",
        (thread_id,),
    )
    old.executemany(
        "INSERT INTO event (run_id, seq, at, body) VALUES ('r', ?, ?, ?)",
        [(entry.seq, entry.at, encode(entry.event)) for entry in reversed(entries)],
    )
    old.close()
    database = Database(path)
    database.start()
    try:
        assert Journal(database).entries("r") == entries
        assert count(database, "event") == 0
    finally:
        database.close()
