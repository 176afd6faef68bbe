"""A log as a block, as rows, and as both: it is the same log, whatever was swept and whenever the process died."""

from __future__ import annotations

import random
import sqlite3
import zlib
from itertools import pairwise
from pathlib import Path

import gevent
import msgspec
import pytest
from journal_rig import entries_of, on_disk, start

from deechat.errors import BrokenLogError
from deechat.events import (
    Entry,
    ReasoningChunk,
    RunStarted,
    RunStopped,
    Status,
    Steered,
    StepFinished,
    TextChunk,
    ToolCall,
    ToolCallResult,
    Usage,
    encode,
)
from deechat.log.journal import Journal
from deechat.principal import OWNER
from deechat.store.base import EndRun, InsertMessage, StoredMessage, Thread
from deechat.store.sqlite import checksums, compaction, schema, sweeper
from deechat.store.sqlite.changes import apply
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore


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
    again = compaction.unpack(compaction.pack(entries))
    assert again == entries
    assert [encode(entry.event) for entry in again] == [encode(entry.event) for entry in entries]


@pytest.mark.parametrize("seed", range(10))
def test_a_block_needs_no_copy_of_the_messages_text(seed: int) -> None:
    entries = some_log(seed)
    content = "".join(entry.event.text for entry in entries if isinstance(entry.event, TextChunk))
    body = compaction.pack(entries, content)
    assert len(body) <= len(compaction.pack(entries))
    assert compaction.unpack(body, content) == entries
    assert compaction.unpack(compaction.pack(entries, content + "!"), content + "!") == entries
    if content:
        with pytest.raises(ValueError, match="characters"):
            compaction.unpack(body, content + "!")


@pytest.mark.parametrize(
    "body", [b"", b"{}", zlib.compress(b"{}"), zlib.compress(b'{"at":[1],"entries":[]}'), zlib.compress(b"no")]
)
def test_what_is_no_block_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        compaction.unpack(body)


def test_text_that_came_piece_by_piece_takes_little_more_room_than_the_text() -> None:
    words = Path(__file__).read_text().split()[:1000]
    entries = [Entry(seq, 1_795_000_000 + seq / 50, TextChunk(f" {word}")) for seq, word in enumerate(words, 1)]
    text = "".join(f" {word}" for word in words)
    assert len(compaction.pack(entries)) < len(zlib.compress(text.encode(), 9)) + 1.2 * len(words)


def test_what_has_ended_is_a_block_and_its_rows_go(
    journal: Journal, database: Database, thread: Thread, store: SQLiteStore
) -> None:
    log = start(journal, thread)
    for number in range(100):
        journal.append(log, TextChunk(str(number)))
    journal.wait_committed(log, len(log.entries))
    assert count(database, "event") == 101
    journal.append(log, RunStopped())
    journal.wait_ended(log)
    assert entries_of(journal, "r") == log.entries
    assert store.last_seq("r") == 102
    wait_swept(database)
    assert (count(database, "event"), count(database, "block")) == (0, 1)
    assert entries_of(journal, "r") == log.entries
    assert [entry for batch in journal.follow("r", 60, 5.0) for entry in batch] == log.entries[60:]


def test_a_sweep_leaves_the_rows_of_others(journal: Journal, database: Database, thread: Thread) -> None:
    store = SQLiteStore(database)
    other = start(journal, store.new_thread(OWNER, store.workspace(OWNER, "default"), None), "other")
    log = start(journal, thread)
    for number in range(50):
        for each in (log, other):
            journal.append(each, TextChunk(str(number)))
    journal.append(log, RunStopped())
    journal.wait_ended(log)
    journal.wait_committed(other, len(other.entries))
    wait_swept(database, rows=51)
    assert count(database, "event") == 51
    assert entries_of(journal, "other") == other.entries


def test_a_log_that_rests_is_a_block_and_goes_on_in_rows(
    journal: Journal, database: Database, thread: Thread, store: SQLiteStore
) -> None:
    log = start(journal, thread)
    journal.append(log, TextChunk("Half "))
    journal.wait_committed(log, 2)
    journal.rest(log, [])
    wait_swept(database)
    assert entries_of(journal, "r") == log.entries
    assert (store.last_seq("r"), on_disk(database)) == (2, 2)
    entry = journal.append(log, TextChunk("and half"))
    journal.wait_committed(log, entry.seq)
    assert count(database, "event") == 1
    assert entries_of(journal, "r") == log.entries


def test_a_log_to_which_something_is_added_does_not_rest(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    journal.rest(log, [])
    entry = journal.append(log, TextChunk("Not yet"))
    journal.wait_committed(log, entry.seq)
    assert database.read("SELECT rests FROM run") == [(0,)]
    assert entries_of(journal, "r") == log.entries


def test_a_start_makes_the_logs_that_were_left_blocks(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    for number in range(10):
        journal.append(log, TextChunk(str(number)))
    journal.wait_committed(log, 11)
    later = SQLiteStore(database)
    later.take_over()
    assert (count(database, "event"), count(database, "block")) == (0, 1)
    assert entries_of(Journal(later), "r") == log.entries


def test_a_start_leaves_a_log_that_it_cannot_read(journal: Journal, database: Database, thread: Thread) -> None:
    log = start(journal, thread)
    journal.append(log, TextChunk("Hi"))
    journal.wait_committed(log, 2)
    database.write(lambda connection: connection.execute("UPDATE event SET seq = 7 WHERE seq = 2"))
    SQLiteStore(database).take_over()
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
        assert entries_of(Journal(SQLiteStore(database)), "r") == entries
        assert count(database, "event") == 0
    finally:
        database.close()


# -- blocks of a long log ----------------------------------------------------------------------------------------------


def words(length: int, first: int = 2) -> list[Entry]:
    return [Entry(seq, 1000 + seq / 100, TextChunk(f"word{seq} ")) for seq in range(first, first + length)]


def blocks_of(database: Database, run_id: str = "r") -> list[int]:
    return [row[0] for row in database.read("SELECT last_seq FROM block WHERE run_id = ? ORDER BY last_seq", run_id)]


def test_a_long_log_is_packed_on_the_way_and_its_ending_packs_the_rest(
    journal: Journal, database: Database, thread: Thread
) -> None:
    log = start(journal, thread)
    for entry in words(5 * compaction.ENTRIES):
        journal.append(log, entry.event)
        if entry.seq % 1_000 == 0:
            journal.wait_committed(log, entry.seq)
    assert blocks_of(database)[:2] == [compaction.ENTRIES, 2 * compaction.ENTRIES]
    content = "".join(entry.event.text for entry in log.entries if isinstance(entry.event, TextChunk))
    message = StoredMessage("r-message", thread.id, None, "assistant", content, 2.0, "r")
    journal.append(log, RunStopped(), InsertMessage(message))
    journal.wait_ended(log)
    assert blocks_of(database)[-1] == len(log.entries)
    assert max(after - before for before, after in pairwise([0, *blocks_of(database)])) <= compaction.ENTRIES
    assert entries_of(journal, "r") == log.entries
    wait_swept(database)
    for after in (0, 1, 1_999, 2_000, 2_001, 5_555, len(log.entries) - 1, len(log.entries), len(log.entries) + 1):
        assert entries_of(journal, "r", after) == log.entries[after:]
        assert [entry for batch in journal.follow("r", after, 5.0) for entry in batch] == log.entries[after:]


def test_blocks_of_an_ending_need_no_copy_of_the_messages_text(
    database: Database, journal: Journal, thread: Thread
) -> None:
    log = start(journal, thread)
    text = "".join(random.Random(1).choices("abcdefgh 世界", k=200_000))
    entries = [*log.entries, *(Entry(seq, 1.0, TextChunk(text[40 * seq : 40 * seq + 40])) for seq in range(2, 5_000))]
    content = text[80 : 40 * 5_000]
    message = StoredMessage("m", thread.id, None, "assistant", content, 1.0, "r")
    database.write(
        lambda connection: (apply(connection, InsertMessage(message)), compaction.compact(connection, "r", entries))
    )
    assert entries_of(journal, "r") == entries
    (size,) = database.read_one("SELECT sum(length(body)) FROM block") or (0,)
    assert size < len(content) / 10
    database.write(lambda connection: checksums.change(connection, "message", "m", content=f"{content}!"))
    with pytest.raises(BrokenLogError, match="characters"):
        entries_of(journal, "r")


def test_large_entries_make_blocks_of_few(database: Database, thread: Thread, journal: Journal) -> None:
    log = start(journal, thread)
    result = [ToolCallResult(str(seq), "look", "x" * 16_000) for seq in range(2, 102)]
    entries = [*log.entries, *(Entry(seq, 1.0, event) for seq, event in enumerate(result, 2))]
    database.write(lambda connection: compaction.compact(connection, "r", entries))
    assert max(after - before for before, after in pairwise([0, *blocks_of(database)])) <= 17
    assert entries_of(journal, "r", 50) == entries[50:]


def test_blocks_take_what_they_lack_and_nothing_behind_a_gap(
    database: Database, thread: Thread, journal: Journal
) -> None:
    entries = [*start(journal, thread).entries, *words(30)]
    for until in (10, 5, 20, 20):
        database.write(lambda connection, until=until: compaction.compact(connection, "r", entries[:until]))  # type: ignore[misc]
    assert blocks_of(database) == [10, 20]
    database.write(lambda connection: compaction.compact(connection, "r", entries[15:25]))
    assert blocks_of(database) == [10, 20, 25]
    for broken in (entries[27:], [*entries[25:27], *entries[28:]]):
        with pytest.raises(ValueError, match="cannot follow"):
            database.write(lambda connection, broken=broken: compaction.compact(connection, "r", broken))  # type: ignore[misc]
    assert blocks_of(database) == [10, 20, 25]


@pytest.mark.parametrize("of_before", [False, True])
@pytest.mark.parametrize("gone", [10, 20, 30])
def test_a_block_that_is_missing_is_an_error_before_anything_is_shown(
    database: Database, thread: Thread, journal: Journal, gone: int, of_before: bool
) -> None:
    entries = [*start(journal, thread).entries, *words(28), Entry(30, 2000.0, RunStopped())]
    for until in (10, 20, 30):
        database.write(lambda connection, until=until: compaction.compact(connection, "r", entries[:until]))  # type: ignore[misc]
    SQLiteStore(database).write(EndRun("r", 5.0, "stopped"))
    if of_before:
        database.write(without_their_first)
    assert [entry for page in journal.follow("r", 0, 5.0) for entry in page] == entries
    database.write(lambda connection: connection.execute("DELETE FROM block WHERE last_seq = ?", (gone,)))
    for after in range(gone if gone < 30 else 20):
        with pytest.raises(BrokenLogError, match="missing"):
            journal.follow("r", after, 5.0)
        with pytest.raises(BrokenLogError, match="missing"):
            entries_of(journal, "r", after)
    if gone < 30:
        assert [entry for page in journal.follow("r", gone, 5.0) for entry in page] == entries[gone:]


def without_their_first(connection: sqlite3.Connection) -> None:
    """Writes all blocks as versions before did, which did not say where a block begins."""
    for run_id, last_seq, written in connection.execute("SELECT run_id, last_seq, body FROM block").fetchall():
        body = written.removeprefix(compaction.VERSION)[4:]
        connection.execute(
            "UPDATE block SET body = ?, checksum = ? WHERE run_id = ? AND last_seq = ?",
            (body, checksums.of_block(run_id, last_seq, body), run_id, last_seq),
        )


def test_a_start_packs_what_many_runs_left_in_slices(
    journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SLICE_AT_START", 64)
    store = SQLiteStore(database)
    threads = [store.new_thread(OWNER, store.workspace(OWNER, "default"), None) for _ in range(5)]
    logs = [start(journal, each, f"run{number}") for number, each in enumerate(threads)]
    for number in range(100):
        for log in logs:
            journal.append(log, TextChunk(f"{number} "))
    for log in logs:
        journal.wait_committed(log, 101)
    later = SQLiteStore(database)
    later.take_over()
    assert count(database, "event") == 0
    for log in logs:
        assert entries_of(Journal(later), log.run_id) == log.entries
        assert later.last_seq(log.run_id) == 101


def test_a_database_of_before_keeps_its_long_logs_and_reads_them_by_parts(tmp_path: Path, store: SQLiteStore) -> None:
    """Of the version whose blocks held whole logs: byte for byte."""
    path = tmp_path / "old.sqlite3"
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrations.apply(schema.Tables(old), stop_before="m004_cost_by_size")
    (thread_id,) = old.execute("SELECT id FROM thread").fetchone()
    logs: dict[str, list[Entry]] = {}
    for run_id, length in (
        ("short", 5),
        ("long", 3 * compaction.ENTRIES),
        ("waits", 9),
        ("damaged", 2 * compaction.ENTRIES),
    ):
        started = RunStarted(run_id, f"{run_id}-message", "w", "t", None, "m")
        logs[run_id] = [Entry(1, 999.5, started), *words(length)]
        ended = None if run_id == "waits" else 5.0
        old.execute(
            "INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, ended_at, rests)"
            " VALUES (?, ?, ?, 'p', 'en', 1, ?, ?)",
            (run_id, thread_id, f"{run_id}-message", ended, run_id == "waits"),
        )
        content = "".join(entry.event.text for entry in logs[run_id] if isinstance(entry.event, TextChunk))
        if ended:
            logs[run_id].append(Entry(length + 2, 5000.0, RunStopped()))
            old.execute(
                "INSERT INTO message (id, thread_id, role, content, sent_at, run_id)"
                " VALUES (?, ?, 'assistant', ?, 1, ?)",
                (f"{run_id}-message", thread_id, content + "!" * (run_id == "damaged"), run_id),
            )
        times = [round(entry.at * 1000) for entry in logs[run_id]]
        block = {
            "at": [times[0], *(after - before for before, after in pairwise(times))],
            "entries": [
                len(entry.event.text) if isinstance(entry.event, TextChunk) else entry.event for entry in logs[run_id]
            ],
            "text": None if ended else content,
        }
        body = zlib.compress(msgspec.json.encode(block), 9)
        old.execute("INSERT INTO block VALUES (?, ?, ?)", (run_id, len(logs[run_id]), body))
    logs["waits"].append(Entry(11, 3000.0, Steered("In short.")))  # since it rests
    old.execute(
        "INSERT INTO event (run_id, seq, at, body) VALUES ('waits', 11, 3000.0, ?)", (encode(Steered("In short.")),)
    )
    old.close()
    database = Database(path)
    database.start()
    try:
        store = SQLiteStore(database)
        journal = Journal(store)
        for run_id in ("short", "long", "waits"):
            assert entries_of(journal, run_id) == logs[run_id]
            assert store.last_seq(run_id) == len(logs[run_id])
        assert [len(blocks_of(database, run_id)) for run_id in ("short", "long", "waits", "damaged")] == [1, 4, 2, 1]
        assert count(database, "event") == 0
        with pytest.raises(BrokenLogError, match="characters"):
            entries_of(journal, "damaged")
        assert [record.id for record in store.unfinished_runs()] == ["waits"]
        assert database.read("PRAGMA foreign_key_check") == []
    finally:
        database.close()
