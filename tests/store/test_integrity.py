"""Nothing that was damaged is shown as if it were true, and nothing is lost without a word."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from client import Client
from damage_rig import addresses, build, change_kind, heads_of, one_round
from journal_rig import entries_of
from server import Server

from deechat.errors import BrokenLogError, DamagedError, SealedError, SettingError
from deechat.events import RunStopped, TextChunk
from deechat.log.journal import Journal
from deechat.principal import OWNER
from deechat.store.base import EndRun, InsertMessage, RunRow, StoredMessage, Thread
from deechat.store.sqlite import integrity
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore


def break_row(database: Database, sql: str) -> None:
    """Changes what is stored as a flipped bit would: past everything that keeps checksums."""
    with closing(sqlite3.connect(database.path, isolation_level=None, timeout=5)) as other:
        assert other.execute(sql).rowcount == 1


def say(database: Database, thread: Thread, *texts: str) -> None:
    for text in texts:
        store = SQLiteStore(database)
        message = StoredMessage(text, thread.id, store.last_message_id(OWNER, thread), "user", text, 1_795_000_000.5)
        store.write(InsertMessage(message))


@pytest.fixture
def spoken(database: Database, thread: Thread) -> SQLiteStore:
    """A store whose thread has messages."""
    say(database, thread, "one", "two 世界", "three")
    return SQLiteStore(database)


def contents(store: SQLiteStore, thread: Thread, limit: int = -1, before: str | None = None) -> list[str]:
    return [message.content for message in store.messages(OWNER, thread, limit, before)]


def test_sound_messages_are_read_from_any_place(spoken: SQLiteStore, thread: Thread) -> None:
    assert contents(spoken, thread) == ["one", "two 世界", "three"]
    assert contents(spoken, thread, 2) == ["two 世界", "three"]
    assert contents(spoken, thread, 2, "two 世界") == ["one"]
    assert contents(spoken, thread, -1, "one") == []
    assert contents(spoken, thread, 0) == []
    assert [each.content for each in spoken.branch(OWNER, thread.id, "three", 2)] == ["two 世界", "three"]


@pytest.mark.parametrize(
    "change", ["content = 'twO'", "role = 'assistant'", "sent_at = 1.0", "id = 'x'", "turns = '[1]'"]
)
def test_a_changed_message_is_an_error_in_words(
    database: Database, spoken: SQLiteStore, thread: Thread, change: str
) -> None:
    break_row(database, f"UPDATE message SET {change} WHERE content LIKE 'two%'")
    for read in (lambda: spoken.messages(OWNER, thread), lambda: spoken.branch(OWNER, thread.id, "three", 9)):
        with pytest.raises(DamagedError, match=r"test\.sqlite3 is damaged.*docs/deploy\.md") as caught:
            read()
        assert (caught.value.status, caught.value.code) == (500, "storage_damaged")
    assert contents(spoken, thread, 1) == ["three"], "what is sound can be reached"
    assert "test.sqlite3" in (database.damage.words or "")


@pytest.mark.parametrize("gone", ["one", "two 世界", "three"])
def test_a_message_that_vanished_is_missed(database: Database, spoken: SQLiteStore, thread: Thread, gone: str) -> None:
    break_row(database, f"DELETE FROM message WHERE content = '{gone}'")
    with pytest.raises(DamagedError):
        spoken.messages(OWNER, thread)
    if gone == "three":
        with pytest.raises(DamagedError):
            spoken.last_message_id(OWNER, thread)
    else:
        with pytest.raises(DamagedError):
            spoken.branch(OWNER, thread.id, "three", 9)


def test_messages_that_all_vanished_are_missed(database: Database, thread: Thread) -> None:
    say(database, thread, "only")
    break_row(database, "DELETE FROM message")
    for read in (SQLiteStore(database).messages, SQLiteStore(database).last_message_id):
        with pytest.raises(DamagedError):
            read(OWNER, thread)


@pytest.mark.parametrize("value", ["NULL", "'3'", "3.5"])
def test_a_place_that_is_no_number_is_an_error_in_words(
    database: Database, spoken: SQLiteStore, thread: Thread, value: str
) -> None:
    change_kind(database.path, "message", "position", "content = 'three'", value)
    with pytest.raises(DamagedError):
        spoken.messages(OWNER, thread, 2, "three")
    with pytest.raises(DamagedError):
        spoken.messages(OWNER, thread)
    assert contents(spoken, thread, -1, "two 世界") == ["one"], "what is sound is read"


@pytest.mark.parametrize("value", ["NULL", "'3'"])
def test_a_count_that_is_no_number_is_an_error_in_words(
    database: Database, spoken: SQLiteStore, thread: Thread, value: str
) -> None:
    change_kind(database.path, "thread", "messages", f"id = '{thread.id}'", value)
    with pytest.raises(DamagedError):
        spoken.messages(OWNER, thread)


def test_a_damaged_thread_is_left_out_of_the_list_in_words_and_an_error_by_itself(
    database: Database, spoken: SQLiteStore, thread: Thread
) -> None:
    workspace = spoken.workspace(OWNER, "default")
    other = spoken.new_thread(OWNER, workspace, "Sound")
    spoken.rename_thread(OWNER, other, "Sound still")
    assert database.damage.words is None
    break_row(database, f"UPDATE thread SET name = 'Wrong' WHERE id = '{thread.id}'")
    assert [each.name for each in spoken.threads(OWNER, workspace)] == ["Sound still"]
    assert database.damage.words is not None
    with pytest.raises(DamagedError):
        spoken.thread(OWNER, workspace, thread.slug)


@pytest.mark.parametrize("value", ["'ownes'", "NULL", "x'6f776e6572'"])
def test_an_owner_that_is_another_one_is_told_and_hides_nothing(
    database: Database, spoken: SQLiteStore, thread: Thread, log_of_a_run: str, value: str
) -> None:
    change_kind(database.path, "workspace", "owner", "TRUE", value)
    for read in (
        lambda: spoken.workspace(OWNER, "default"),
        lambda: spoken.workspace_by_id(OWNER, thread.workspace_id),
        lambda: spoken.workspace_of(thread.id),
        lambda: spoken.thread_by_id(OWNER, thread.id),
        lambda: spoken.run(OWNER, log_of_a_run),
        lambda: spoken.placed_run(OWNER, log_of_a_run),
    ):
        with pytest.raises(DamagedError, match="the workspace"):
            read()
    assert spoken.workspaces(OWNER) == []
    check = integrity.Check(database.path)
    check.run()
    assert check.rows == [f"the workspace {thread.workspace_id!r}"]


def test_the_last_bit_of_a_time_counts(database: Database, spoken: SQLiteStore, thread: Thread) -> None:
    later = math.nextafter(spoken.thread_by_id(OWNER, thread.id).updated_at, math.inf)
    break_row(database, f"UPDATE thread SET updated_at = {later!r} WHERE id = '{thread.id}'")
    with pytest.raises(DamagedError):
        spoken.thread_by_id(OWNER, thread.id)


def test_a_change_of_a_damaged_row_does_not_make_it_true(
    database: Database, spoken: SQLiteStore, thread: Thread
) -> None:
    break_row(database, f"UPDATE thread SET created_at = 5.0 WHERE id = '{thread.id}'")
    with pytest.raises(DamagedError):
        spoken.rename_thread(OWNER, thread, "A name")
    say(database, thread, "four")
    with pytest.raises(DamagedError):
        spoken.thread_by_id(OWNER, thread.id)


def test_every_change_of_a_workspace_keeps_its_checksum(spoken: SQLiteStore) -> None:
    workspace = spoken.new_workspace(OWNER, "Küche 厨房")
    workspace = spoken.update_workspace(OWNER, workspace, temperature=1, name="Küche", tools={"x": "allow"}, model=None)
    assert spoken.workspace(OWNER, workspace.slug).temperature == 1.0


@pytest.fixture
def log_of_a_run(database: Database, thread: Thread, journal: Journal) -> str:
    record = RunRow("run", thread.id, "answer", "prompt", None, None, "m", "en", 1_795_000_000.5)
    log = journal.open(record, [TextChunk("begin")])
    journal.append(log, TextChunk(" more"))
    journal.append(log, RunStopped(None))
    journal.wait_ended(log)
    return "run"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE block SET body = x'00'",
        "UPDATE block SET last_seq = 2",
        "DELETE FROM block",
        "UPDATE block SET run_id = 'other'",
    ],
)
def test_a_damaged_log_fails_before_its_first_entry(
    database: Database, journal: Journal, log_of_a_run: str, change: str
) -> None:
    assert [len(each) for each in journal.follow(log_of_a_run, 0, 1.0)] == [3]
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        assert other.execute(change).rowcount == 1
    with pytest.raises(BrokenLogError, match=r"test\.sqlite3"):
        journal.follow(log_of_a_run, 0, 1.0)


@pytest.mark.parametrize("change", ["seq = 3", "at = at + 1", "body = CAST(replace(body, 'more', 'mode') AS BLOB)"])
def test_a_damaged_row_of_a_log_is_found(database: Database, thread: Thread, journal: Journal, change: str) -> None:
    record = RunRow("run", thread.id, "answer", "prompt", None, None, "m", "en", 1_795_000_000.5)
    log = journal.open(record, [TextChunk("begin")])
    journal.append(log, TextChunk(" more"))
    journal.wait_committed(log, 2)
    break_row(database, f"UPDATE event SET {change} WHERE seq = 2")
    with pytest.raises(BrokenLogError):
        entries_of(journal, "run")


def test_a_damaged_run_is_an_error_and_its_ending_does_not_make_it_true(
    database: Database, store: SQLiteStore, log_of_a_run: str
) -> None:
    assert store.run(OWNER, log_of_a_run).reason == "stopped"
    break_row(database, "UPDATE run SET reason = 'completed'")
    store.write(EndRun(log_of_a_run, 5.0, "interrupted"))
    with pytest.raises(DamagedError):
        store.run(OWNER, log_of_a_run)


# -- the structure -----------------------------------------------------------------------------------------------------


def overwrite_page(path: Path, of: str) -> None:
    """Writes over the root page of a table or an index."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (of,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 200)


def test_a_damaged_structure_takes_no_writes_and_what_is_sound_is_read(tmp_path: Path) -> None:
    database = Database(tmp_path / "test.sqlite3")
    database.start()
    thread = SQLiteStore(database).new_thread(OWNER, SQLiteStore(database).workspace(OWNER, "default"), "Sound")
    say(database, thread, "one")
    database.close()
    overwrite_page(database.path, "message_by_run")
    database = Database(tmp_path / "test.sqlite3")
    database.start()
    try:
        assert database.damage.words is not None
        assert contents(SQLiteStore(database), thread) == ["one"]
        with pytest.raises(SealedError, match="nothing more is stored") as caught:
            say(database, thread, "two")
        assert (caught.value.status, caught.value.code) == (500, "storage_damaged")
    finally:
        database.close()


def test_damage_that_is_met_while_it_runs_is_said_and_stops_the_writes(
    database: Database, spoken: SQLiteStore, thread: Thread
) -> None:
    class Malformed(sqlite3.DatabaseError):
        sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def meet(_connection: sqlite3.Connection) -> None:
        raise Malformed("database disk image is malformed")

    with pytest.raises(DamagedError):
        database.look(meet)
    with pytest.raises(SealedError):
        say(database, thread, "four")
    assert contents(spoken, thread) == ["one", "two 世界", "three"]


def test_damage_that_a_write_meets_is_said_and_takes_no_other_with_it(database: Database) -> None:
    class Malformed(sqlite3.DatabaseError):
        sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def meet(_connection: sqlite3.Connection) -> None:
        raise Malformed("database disk image is malformed")

    with pytest.raises(DamagedError):
        database.write(meet)
    assert not database.available


def test_a_text_that_is_no_utf8_is_damage_of_its_row_alone(
    database: Database, spoken: SQLiteStore, thread: Thread
) -> None:
    break_row(database, "UPDATE message SET content = CAST(x'ff41' AS TEXT) WHERE content = 'one'")
    with pytest.raises(DamagedError):
        spoken.messages(OWNER, thread)
    assert contents(spoken, thread, 2) == ["two 世界", "three"]


# -- the start ---------------------------------------------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def without_its_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")


def no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def log_without_database(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(b"x" * 5000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _path: None, "is missing, but the file 'secret'"),
        (empty, "is empty, but the file 'secret'"),
        (without_its_log, "is empty, but the file 'secret'"),
        (of_another_program, "belongs to another program"),
        (no_database, "is no SQLite database"),
        (log_without_database, "is missing, but a part of it"),
    ],
)
def test_what_is_no_database_of_ours_is_not_replaced_without_a_word(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "test.sqlite3"
    make(path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(SettingError, match=words) as caught:
        Database(path).start(used=True)
    assert "docs/deploy.md" in str(caught.value)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_changed_definition_of_a_table_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite3"
    database = Database(path)
    database.start()
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE INDEX by_hand ON run(started_at)")
    database = Database(path)
    database.start()
    database.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'reason TEXT', 'reasoN TEXT') WHERE name = 'run'"
        )
    with pytest.raises(SettingError, match="its tables are not as they were made"):
        Database(path).start()


def test_a_check_finds_what_no_reader_has_met(database: Database, spoken: SQLiteStore, thread: Thread) -> None:
    check = integrity.Check(database.path)
    check.run()
    assert check.is_sound
    assert "all is sound" in check.words()
    break_row(database, "DELETE FROM message WHERE content = 'one'")
    break_row(database, "UPDATE message SET details = '{}x' WHERE content = 'three'")
    check = integrity.Check(database.path)
    check.run()
    assert check.rows == ["the message 'three'", f"the messages of the thread {thread.slug!r}"]


def test_a_server_without_its_database_says_in_one_line_what_to_do(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    server.terminate()
    server.database.unlink()
    server.log_file.unlink()
    with pytest.raises(AssertionError, match="the server ended at its start"):
        server.start()
    (line,) = [each for each in server.log.splitlines() if "cannot start" in each]
    assert "To begin anew with nothing, remove" in line
    assert "Traceback" not in server.log
    (tmp_path / "data" / "secret").unlink()
    server.start()
    server.kill()


def test_the_events_of_a_damaged_log_are_an_error_and_no_stream(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server).new_thread()
    run = client.ask("2+3").run_id
    client.streams.clear()
    server.kill()
    with closing(sqlite3.connect(server.database, isolation_level=None)) as connection:
        connection.execute("UPDATE block SET body = x'0102' WHERE run_id = ?", (run,))
    server.start()
    for query in ("", "?after=2", "?wait=0"):
        response = client.call("GET", f"/api/runs/{run}/events{query}")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "log_unreadable")
        assert "deechat.sqlite3" in response.json()["error"]["message"]
        assert response.headers["X-Storage"] == "damaged"
    assert client.get("/api/ping") == {"online": True, "storage": "damaged"}
    assert any("is damaged" in str(line["message"]) for line in server.log_lines if line["level"] == "error")
    assert client.ask("3+4").text, "what is sound goes on"
    client.streams.clear()


@pytest.mark.parametrize(
    ("target", "places"), [("database", 200), ("database", 3), ("heads", 3), ("wal", 200), ("wal", 3)]
)
def test_flipped_bits_are_never_shown_as_true_and_nothing_is_lost_in_silence(
    damaged: tuple[Path, Path, dict[str, object]], tmp_path: Path, target: str, places: int
) -> None:
    whole, killed, truth = damaged
    compared, seed = 0, 0
    while seed < 2 or (not compared and seed < 12):
        template = killed if target == "wal" else whole
        found = one_round(template, truth, tmp_path / "round", target, places=places, seed=seed)
        assert found.wrong == []
        assert "WITHOUT" not in found.refused
        assert found.refused or found.counts["true"] or found.told
        compared += not found.refused and sum(found.counts.values()) == len(truth)
        seed += 1
    assert compared, "each start was refused, so nothing was compared"


def test_the_truth_that_is_compared_has_the_logs_of_runs_that_ended(
    damaged: tuple[Path, Path, dict[str, object]],
) -> None:
    _, _, truth = damaged
    logs = [str(value) for path, value in truth.items() if "/events?" in path]
    assert sum("finalizeResponseStream" in each for each in logs) >= 20


def test_the_heads_of_rows_are_found(damaged: tuple[Path, Path, dict[str, object]]) -> None:
    whole, _, _ = damaged
    body = (whole / "deechat.sqlite3").read_bytes()
    places = heads_of(body)
    with closing(sqlite3.connect(whole / "deechat.sqlite3")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)
    assert len(set(places)) == len(places) > 8 * rows


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, object]]:
    """A data folder after a clean stop, the same one after a kill, and all that is in it."""
    import shutil

    folder = tmp_path_factory.mktemp("damaged")
    server = build(folder)
    truth = addresses(server)
    server.kill()
    shutil.copytree(folder / "data", folder / "whole")
    with closing(sqlite3.connect(folder / "whole" / "deechat.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return folder / "whole", folder / "data", truth
