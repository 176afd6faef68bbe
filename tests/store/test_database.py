"""The writer thread, its group commit and its savepoints, over real files."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from sqlite_utils import Database as Tables

from deechat.errors import DamagedError, SettingError, StorageUnavailableError
from deechat.principal import OWNER, Principal
from deechat.store.sqlite import schema
from deechat.store.sqlite.database import Database, Job, LastingJob
from deechat.store.sqlite.integrity import Check
from deechat.store.sqlite.store import SQLiteStore


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "test.sqlite3", patience=0.6)
    database.start()
    database.write(lambda connection: connection.execute("CREATE TABLE note (text TEXT UNIQUE NOT NULL)"))
    yield database
    database.close()


def note(text: str | None) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO note VALUES (?)", (text,))

    return work


def notes(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT text FROM note ORDER BY rowid")]


def test_a_write_is_on_disk_when_it_returns(database: Database) -> None:
    database.write(note("a"))
    other = sqlite3.connect(database.path)
    assert other.execute("SELECT text FROM note").fetchall() == [("a",)]
    other.close()


def heard(database: Database) -> list[bool]:
    """Return the list to which the database will add whether it is available, whenever that changes."""
    changes: list[bool] = []
    database._listener = SimpleNamespace(storage_changed=changes.append)  # type: ignore[assignment]
    return changes


def test_what_gathered_is_one_commit(database: Database) -> None:
    batches = []
    report = database._report
    database._report = lambda batch, outcomes: (batches.append(len(batch)), report(batch, outcomes))  # type: ignore[method-assign,func-returns-value]
    jobs = [database.submit(Job(note(str(number)))) for number in range(100)]
    gevent.joinall([gevent.spawn(job.outcome.get) for job in jobs])
    assert batches == [100]
    assert notes(database) == [str(number) for number in range(100)]


def test_a_bad_row_takes_no_other_with_it(database: Database) -> None:
    jobs = [database.submit(Job(note(text))) for text in ("a", "a", None, "b")]
    assert jobs[0].outcome.get() is None
    for job in jobs[1:3]:
        with pytest.raises(sqlite3.IntegrityError):
            job.outcome.get()
    assert jobs[3].outcome.get() is None
    assert notes(database) == ["a", "b"]


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        database.read("INSERT INTO note VALUES ('x')")


class Kept(Job[None]):
    lasting = True


def test_a_lock_that_goes_away_in_time_only_delays(database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    job = database.submit(Job(note("late")))
    gevent.sleep(0.2)
    assert not job.outcome.ready()
    other.execute("ROLLBACK")
    other.close()
    job.outcome.get()
    assert notes(database) == ["late"]


def test_a_lasting_job_that_is_refused_is_told_of_though_nobody_waits(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.submit(LastingJob(note(None)))
    database.write(note("behind it"))
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], sqlite3.IntegrityError)


def test_what_is_being_tried_when_it_closes_is_stored_before(tmp_path: Path) -> None:
    database = Database(tmp_path / "test.sqlite3", patience=10.0)
    database.start()
    database.write(lambda connection: connection.execute("CREATE TABLE note (text TEXT)"))
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    job = database.submit(Kept(note("under way")))
    gevent.sleep(1.05)  # SQLite waits a second for the lock; then it is tried again after a moment
    gevent.spawn_later(0.1, other.execute, "ROLLBACK")
    database.close()
    assert job.outcome.ready()
    assert other.execute("SELECT text FROM note").fetchall() == [("under way",)]
    other.close()


def test_a_lock_that_stays_gives_back_what_cannot_wait_and_keeps_the_rest(database: Database) -> None:
    changes = heard(database)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting, kept = database.submit(Job(note("given back"))), database.submit(Kept(note("kept")))
    with pytest.raises(StorageUnavailableError):
        waiting.outcome.get()
    assert changes == [False]
    with pytest.raises(StorageUnavailableError):
        database.write(note("refused at once"))
    assert notes(database) == []
    other.execute("ROLLBACK")
    other.close()
    kept.outcome.get()
    assert changes == [False, True]
    assert notes(database) == ["kept"]
    database.write(note("works again"))


def test_it_notices_that_writing_works_again_although_nobody_writes(database: Database) -> None:
    changes = heard(database)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError):
        database.write(note("x"))
    other.execute("ROLLBACK")
    other.close()
    with gevent.Timeout(20):
        while changes != [False, True]:
            gevent.sleep(0.02)


def test_a_commit_that_does_not_come_back_gives_back_what_waits_behind_it(database: Database) -> None:
    hangs = threading.Event()
    stuck = database.submit(Job(lambda _: hangs.wait(30)))
    gevent.sleep(0.1)
    behind, kept = database.submit(Job(lambda _: 1)), database.submit(Kept(lambda _: None))
    with pytest.raises(StorageUnavailableError):
        behind.outcome.get(timeout=5)
    assert (database.available, database.answers) == (False, False)
    with pytest.raises(StorageUnavailableError):
        database.write(lambda _: 2)
    assert not stuck.outcome.ready()
    assert not kept.outcome.ready()
    hangs.set()
    assert stuck.outcome.get(timeout=5) is True
    kept.outcome.get(timeout=5)
    assert (database.available, database.answers) == (True, True)
    assert database.write(lambda _: 3) == 3


COUNTING = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c"


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda connection, _: connection.execute(COUNTING).fetchone()[0], id="a long statement"),
        pytest.param(lambda _, wait: wait(0.25), id="many jobs"),
    ],
)
def test_a_batch_that_takes_long_and_gets_on_is_no_broken_disk(
    database: Database, work: Callable[[sqlite3.Connection, Callable[[float], object]], object]
) -> None:
    """Four times the patience, and nothing is refused meanwhile."""
    changes = heard(database)
    wait, deadline = threading.Event().wait, time.monotonic() + 4 * 0.6

    def many_times(connection: sqlite3.Connection) -> None:
        while work(connection, wait) and time.monotonic() < deadline:
            pass

    jobs = [database.submit(Job(many_times)), *(database.submit(Job(lambda c: work(c, wait))) for _ in range(9))]
    for job in jobs:
        job.outcome.get(timeout=60)
    assert changes == []


def test_a_new_file_is_readable_by_its_owner_alone(database: Database) -> None:
    assert database.path.stat().st_mode & 0o777 == 0o600


# -- migrations --------------------------------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_stops_the_start_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite3"
    database = Database(path)
    database.start()
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('deechat', 'm999_future', '')"
        )
    )
    database.close()
    before = path.read_bytes()
    with pytest.raises(SettingError, match=r"newer version of DeeChat .*m999_future"):
        Database(path).start()
    assert path.read_bytes() == before


def all_migrations() -> list[Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        return list(schema.migrations.pending(Tables(empty)))


def test_a_copy_is_kept_beside_before_the_tables_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.sqlite3"
    database = Database(path)
    database.start()
    database.close()
    assert list(tmp_path.glob("*.before-*")) == []
    later = schema.Migrations("deechat")
    for known in all_migrations():
        later(name=known.name)(known.fn)

    @later(name="m999_note")
    def note_table(tables: Tables) -> None:
        tables.execute("CREATE TABLE note (text TEXT)")

    monkeypatch.setattr(schema, "migrations", later)
    database = Database(path)
    database.start()
    assert database.read("SELECT * FROM note") == []
    database.close()
    (copy,) = tmp_path.glob("*.before-*")
    assert copy.name == "test.sqlite3.before-m999_note"
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT slug FROM workspace").fetchall() == [("default",)]
    with pytest.raises(sqlite3.OperationalError):
        kept.execute("SELECT * FROM note")
    kept.close()


def test_a_migration_that_fails_leaves_the_tables_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.sqlite3"
    database = Database(path)
    database.start()
    database.close()
    broken = schema.Migrations("deechat")
    for known in all_migrations():
        broken(name=known.name)(known.fn)

    @broken(name="m999_broken")
    def half(tables: Tables) -> None:
        tables.execute("CREATE TABLE half (text TEXT)")
        tables.execute("CREATE TABEL oops")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", broken)
        with pytest.raises(SettingError, match="cannot be opened"):
            Database(path).start()
    database = Database(path)
    database.start()
    assert database.read("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    database.close()


KILLED_AT_THE_NOTE = """
import os, signal, sys
from pathlib import Path
from deechat.store.sqlite import schema
from deechat.store.sqlite.database import Database
schema._note_definitions = lambda _connection: os.kill(os.getpid(), signal.SIGKILL)
later = schema.Migrations("deechat")
for known in schema.migrations._migrations:
    later(name=known.name)(known.fn)
if len(sys.argv) > 2:
    later(name=sys.argv[2])(lambda tables: tables.execute("ALTER TABLE pulse ADD COLUMN later TEXT"))
schema.migrations = later
Database(Path(sys.argv[1])).start()
"""


@pytest.mark.parametrize("later", [None, "m999_later"])
def test_a_start_that_is_killed_before_it_noted_the_tables_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str | None
) -> None:
    path = tmp_path / "test.sqlite3"
    if later is not None:
        database = Database(path)
        database.start()
        database.close()
    command = [sys.executable, "-c", KILLED_AT_THE_NOTE, path, *([later] if later else [])]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if later is not None:
        known = schema.Migrations("deechat")
        for each in all_migrations():
            known(name=each.name)(each.fn)
        known(name=later)(lambda _tables: None)
        monkeypatch.setattr(schema, "migrations", known)
    for _ in range(2):
        database = Database(path)
        database.start()
        assert isinstance(database.read("SELECT tables FROM pulse")[0][0], int)
        database.close()


def older(path: Path, stop_before: str = "m004_cost_by_size", *statements: str) -> None:
    """Makes a database of a version of before, with what these statements write."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.migrations.apply(Tables(connection), stop_before=stop_before)
        for statement in statements:
            connection.execute(statement)


def test_a_database_without_contexts_is_sound_before_and_after_it_is_brought_along(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite3"
    older(path, "m009_contexts")
    check = Check(path)
    check.run()
    assert check.is_sound, check.words()
    database = Database(path)
    database.start(used=True)
    store = SQLiteStore(database)
    assert store.workspace(OWNER, "default").context == 0
    assert store.update_workspace(OWNER, store.workspace(OWNER, "default"), context=8192).context == 8192
    assert store.new_workspace(OWNER, "Another").context == 0
    assert [each.context for each in store.workspaces(OWNER)] == [8192, 0]
    assert database.damage.words is None
    database.close()
    check.run()
    assert check.is_sound, check.words()


@pytest.mark.parametrize("version", ["m004_cost_by_size", "m009_contexts", "m010_owners"])
def test_a_database_without_owners_is_the_owners_and_as_sound_and_as_damaged_as_before(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "test.sqlite3"
    damaged = "INSERT INTO workspace (id, slug, name, created_at{}) VALUES ('bad', 'bad', 'Bad', 5.0{})"
    has_checksums = version > "m008"
    older(path, version, damaged.format(", checksum", ", 7") if has_checksums else damaged.format("", ""))
    found = ["the workspace 'bad'"] if has_checksums else []
    if has_checksums:
        check = Check(path)
        check.run()
        assert check.rows == found
    database = Database(path)
    database.start(used=True)
    store = SQLiteStore(database)
    assert [each.slug for each in store.workspaces(OWNER)] == (["default"] if found else ["bad", "default"])
    if found:
        with pytest.raises(DamagedError):
            store.workspace(OWNER, "bad")
    changed = store.update_workspace(OWNER, store.workspace(OWNER, "default"), name="New", context=8192)
    assert (changed.name, changed.owner, store.workspaces(Principal("stranger"))) == ("New", OWNER.id, [])
    assert store.new_workspace(Principal("stranger"), "Another").owner == "stranger"
    database.close()
    assert (tmp_path / f"test.sqlite3.before-{version}").exists()
    check = Check(path)
    check.run()
    assert check.rows == found


def test_a_second_try_keeps_the_copy_that_the_first_one_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.sqlite3"
    older(path)
    with monkeypatch.context() as patched:
        patched.setattr(schema.checksums, "fill", lambda _connection: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Database(path).start()
    database = Database(path)
    database.start()
    database.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "test.sqlite3.before-m004_cost_by_size")) as kept:
        assert kept.execute("SELECT max(name) FROM _sqlite_migrations").fetchone() == ("m003_logs_in_blocks",)


def test_a_text_that_is_no_utf8_does_not_keep_a_database_of_before_from_being_brought_along(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite3"
    message = (
        "INSERT INTO message (id, thread_id, role, content, sent_at)"
        " SELECT {}, id, 'user', CAST({} AS TEXT), 5.5 FROM thread"
    )
    run = (
        "INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at)"
        " SELECT CAST(x'72ff' AS TEXT), id, 'm', 'p', 'en', 1.5 FROM thread"
    )
    event = "INSERT INTO event (run_id, seq, at, body) VALUES (CAST(x'72ff' AS TEXT), 1, 1.5, x'7b7d')"
    older(
        path,
        "m004_cost_by_size",
        message.format("'sound'", "'One'"),
        message.format("'bad'", "x'ff41'"),
        run,
        event,
    )
    database = Database(path)
    database.start(used=True)
    store = SQLiteStore(database)
    thread = store.thread(OWNER, store.workspace(OWNER, "default"), "default")
    assert store.message(OWNER, thread, "sound").content == "One"
    with pytest.raises(DamagedError):
        store.message(OWNER, thread, "bad")
    database.close()
    check = Check(path)
    check.run()
    assert "the message 'bad'" in check.rows


def test_the_words_of_an_error_quote_no_text(database: Database) -> None:
    error = sqlite3.OperationalError("Could not decode to UTF-8 column 'content' with text 'private'")
    assert "private" not in database._met(error).message
    assert "UTF-8" in database._met(error).message


def test_a_job_reads_beside_a_text_that_is_no_utf8(database: Database) -> None:
    database.write(lambda connection: connection.execute("INSERT INTO note VALUES (CAST(x'ff41' AS TEXT))"))
    found = database.write(lambda connection: connection.execute("SELECT text FROM note").fetchall())
    assert found == [("\ufffdA",)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite3"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(SettingError, match=str(path)):
        Database(path).start()


def test_nothing_that_was_opened_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    opened: list[sqlite3.Connection] = []

    def noting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options | {"check_same_thread": False}))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noting)
    for _ in range(2):  # the second finds its tables
        database = Database(tmp_path / "test.sqlite3")
        database.start()
        database.close()
    assert len(opened) >= 4
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
