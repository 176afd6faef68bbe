"""A row fits its checksum as it comes back from SQLite, and does not when a value of it is another one."""

from __future__ import annotations

import json
import math
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from client import Client
from damage_rig import change_kind
from journal_rig import entries_of
from server import Server

from deechat.application import Application
from deechat.config import Settings
from deechat.errors import BrokenLogError, DamagedError
from deechat.events import Entry, RunStopped, TextChunk
from deechat.log.journal import Journal
from deechat.principal import OWNER
from deechat.store.base import RunRow, Thread
from deechat.store.sqlite import checksums, compaction, integrity
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database

TEXTS = [
    "",
    "a",
    "x\x1fy",
    "\x1f\x1f",
    "nul \x00 in it",
    "\x00",
    "\u2028\u2029\x85",
    "世界 😀 \uffff\U0010ffff",
    "None",
    "1.0",
]
NUMBERS = [0, -0.0, 1, 2.0, -1, 0.1, 2**53, 2**62, 1e300, -1e-300, 5e-324, math.inf, math.nan]
MOMENTS = [0, -0.0, 1.5, 1_795_000_000.123456, 2.0**40, math.nextafter(1_795_000_000.5, math.inf)]
COUNTS = [0, 1, 2**40]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    database = Database(tmp_path_factory.mktemp("checksums") / "test.sqlite3")
    database.start()
    database.close()
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        yield connection  # its foreign keys are off


def columns(table: str, connection: sqlite3.Connection) -> Iterator[tuple[str, str, bool]]:
    """The covered columns, each with its type and whether it may be NULL."""
    known = {
        name: (kind, not is_set) for _, name, kind, is_set, *_ in connection.execute(f"PRAGMA table_info({table})")
    }
    for name in COVERED[table].names:
        kind, may_be_null = known[name]
        yield name, kind, may_be_null


def hard_values(table: str, name: str, kind: str) -> list[Any]:
    if kind == "TEXT":
        return TEXTS
    if name in COVERED[table].moving:
        return COUNTS if kind == "INTEGER" else MOMENTS
    return [number for number in NUMBERS if kind == "REAL" or isinstance(number, int)]


def row_of(table: str, connection: sqlite3.Connection) -> dict[str, Any]:
    plain = {"TEXT": lambda: str(uuid.uuid4()), "REAL": lambda: 1.5, "INTEGER": lambda: 7}
    return {name: plain[kind]() for name, kind, _ in columns(table, connection)}


@pytest.mark.parametrize("table", COVERED)
def test_every_value_that_can_be_stored_fits_when_it_comes_back(connection: sqlite3.Connection, table: str) -> None:
    for name, kind, may_be_null in columns(table, connection):
        for value in [*hard_values(table, name, kind), *([None] if may_be_null else [])]:
            if isinstance(value, float) and math.isnan(value) and not may_be_null:
                continue  # SQLite takes it for NULL, and refuses that
            row = row_of(table, connection) | {name: value}
            values = [*row.values(), checksums.of_row(table, row.values())]
            places = ", ".join("?" * len(values))
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} ({COVERED[table].columns}) VALUES ({places})", values)
            found = connection.execute(f"SELECT {COVERED[table].columns} FROM {table}").fetchone()
            assert checksums.is_sound(table, found), (name, value, found)


def test_a_text_that_utf8_cannot_hold_is_refused_before_there_is_a_row() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        checksums.of_values(["lone \ud800"])


@pytest.mark.parametrize("table", COVERED)
def test_a_value_of_another_kind_does_not_fit_and_is_no_error(connection: sqlite3.Connection, table: str) -> None:
    row = row_of(table, connection)
    sound = [*row.values(), checksums.of_row(table, row.values())]
    assert checksums.is_sound(table, tuple(sound))
    for place in range(len(sound)):
        for other in (None, "7", b"7", "", 2**62, -1, 1e300, math.inf, math.nan, str(sound[place])[:-1]):
            damaged = (*sound[:place], other, *sound[place + 1 :])
            assert not checksums.is_sound(table, damaged), (place, other)


@pytest.mark.parametrize(
    ("is_sound", "row"),
    [
        (checksums.is_event_sound, ("run", 2, 5.25, b"body", checksums.of_event("run", 2, 5.25, b"body"))),
        (checksums.is_block_sound, ("run", 2, b"body", checksums.of_block("run", 2, b"body"))),
    ],
)
def test_a_value_of_another_kind_in_a_log_does_not_fit_and_is_no_error(
    is_sound: Callable[..., bool], row: tuple[Any, ...]
) -> None:
    assert is_sound(*row)
    for place in range(len(row)):
        for other in (None, "7", b"7", "body", 7, 7.5, 2**62, 1e300, math.inf, math.nan):
            assert not is_sound(*row[:place], other, *row[place + 1 :]), (place, other)


def test_a_temperature_of_minus_nothing_is_stored_and_read(server: Server) -> None:
    client = Client(server)
    slug = client.post("/api/workspace/new", {"name": "Cold"}).json()["workspace"]["slug"]
    body = '{"temperature": -0.0}'
    answer = client.call(
        "POST", f"/api/workspace/{slug}/update", data=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["workspace"]["temperature"]) == (200, 0.0)
    assert "X-Storage" not in client.call("GET", "/api/workspaces").headers
    assert json.loads(body)["temperature"] == client.get(f"/api/workspace/{slug}")["workspace"]["temperature"]


# -- bits of the kinds of values ---------------------------------------------------------------------------------------


KINDS = [
    ("seq", "NULL"),
    ("seq", "'2'"),
    ("at", "x'00'"),
    ("body", "CAST(body AS TEXT)"),
    ("body", "NULL"),
    ("body", "5"),
]


@pytest.mark.parametrize(("column", "value"), KINDS)
def test_a_row_of_a_log_whose_values_changed_their_kind_is_found_and_the_start_goes_on(
    tmp_path: Path, column: str, value: str
) -> None:
    application = Application(Settings(data=tmp_path / "data", provider="offline"))
    application.start()
    database, journal = application._database, application._runs.journal
    store = application._store
    thread = store.new_thread(OWNER, store.workspace(OWNER, "default"), "A")
    record = RunRow("run", thread.id, "answer", "prompt", None, None, "m", "en", 1_795_000_000.5)
    log = journal.open(record, [TextChunk("begin")])
    journal.append(log, TextChunk(" more"))
    journal.wait_committed(log, 2)
    application.close()
    change_kind(database.path, "event", column, "seq = 2", value)
    application = Application(Settings(data=tmp_path / "data", provider="offline"))
    application.start()
    try:
        assert application._database.damage.words is not None
        if (column, value) != ("seq", "NULL"):  # without a number the row is found by no reader, but by the check
            with pytest.raises((BrokenLogError, DamagedError)):
                entries_of(application._runs.journal, "run")
        assert application._store.thread_by_id(OWNER, thread.id).name == "A", "what is sound is read"
    finally:
        application.close()


@pytest.mark.parametrize(("column", "value"), [("last_seq", "'3'"), ("body", "CAST(body AS TEXT)"), ("body", "NULL")])
def test_a_block_whose_values_changed_their_kind_is_a_log_that_cannot_be_read(
    database: Database, thread: Thread, journal: Journal, column: str, value: str
) -> None:
    record = RunRow("run", thread.id, "answer", "prompt", None, None, "m", "en", 1_795_000_000.5)
    log = journal.open(record, [TextChunk("begin")])
    journal.append(log, RunStopped(None))
    journal.wait_ended(log)
    del log
    change_kind(database.path, "block", column, "run_id = 'run'", value)
    check = integrity.Check(database.path)
    check.run()
    assert "the log of the run 'run'" in check.rows
    with pytest.raises(BrokenLogError):
        journal.follow("run", 0, 1.0)
    if column == "last_seq":
        with pytest.raises(ValueError, match="a block is damaged"):
            database.write(lambda connection: compaction.compact(connection, "run", [Entry(1, 1.0, TextChunk("more"))]))


def test_a_check_that_ends_in_an_error_tells_of_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: integrity.Check, _connection: sqlite3.Connection) -> None:
        self.rows.append("the thread 'x'")
        raise TypeError("a mistake of the check's own")

    monkeypatch.setattr(integrity.Check, "_check_logs", breaks)
    database = Database(tmp_path / "test.sqlite3")
    database.start()
    assert "the thread 'x'" in (database.damage.words or "")
    database.close()


def test_no_more_of_a_damaged_row_is_quoted_than_an_id(tmp_path: Path) -> None:
    damage = integrity.Damage(tmp_path / "test.sqlite3")
    words = damage.note(integrity._named("thread", ("private " * 20,))).message
    assert words.count("private") < 6
