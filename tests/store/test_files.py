"""The files of a real server: whole after a stop, missed when they go, copied and put back by the commands."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from operator import attrgetter
from pathlib import Path

import gevent
import pytest
import requests
from client import Client
from model_server import ModelServer, reply, text
from server import Server, wait_until

from deechat.application import Application
from deechat.config import Settings
from deechat.server.folder import DataFolder
from deechat.store.sqlite import database as database_module
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore


def messages(file: Path) -> list[str]:
    """What somebody has who was given this one file."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in connection.execute("SELECT content FROM message ORDER BY number")]


def copy_of(server: Server, tmp_path: Path) -> Path:
    """Copies the one file, and nothing beside it."""
    (tmp_path / "copy").mkdir(exist_ok=True)
    return Path(shutil.copy(server.database, tmp_path / "copy" / "alone.sqlite3"))


def kept(server: Server) -> set[str]:
    return {each.name for each in server.database.parent.iterdir()}


def remove(folder: Path) -> None:
    """Removes a folder in which a server may still be making files."""

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_gone)


# -- after a clean stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_after_a_clean_stop_the_one_file_is_whole(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path, how: signal.Signals
) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script("Said before.")
    client.ask("Before")
    gate = model.gate()
    model.answer = lambda _request: reply(text("Half"), gate, text(" and half."))
    streams = [client.new_thread().send(f"Stream {number}") for number in range(30)]
    for stream in streams:
        stream.read_until("Half")
    process = server._process
    assert process is not None
    process.send_signal(how)
    gate.release()
    process.wait(40)
    for stream in streams:
        stream.close()
    assert kept(server) == {"deechat.sqlite3", "secret", "lock"}
    said = messages(copy_of(server, tmp_path))
    assert said[:2] == ["Before", "Said before."]
    assert {f"Stream {number}" for number in range(30)} <= set(said)


def test_ctrl_c_of_the_command_leaves_the_one_file_whole_with_a_run_that_waits(tmp_path: Path) -> None:
    server = Server(tmp_path)
    environment = server.environment() | {"PORT": str(server.port)}
    command = [sys.executable, "-c", "from deechat.cli import main; main()"]
    with server.log_file.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(server.answers)
        Client(server).send("ask me something").read_until("clarificationRequest")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
        process.wait(40)
    finally:
        process.kill()
        process.wait()
    assert kept(server) == {"deechat.sqlite3", "secret", "lock"}
    assert messages(copy_of(server, tmp_path)) == ["ask me something"]


def test_after_the_first_start_the_file_is_whole_too(serve: Callable[..., Server], tmp_path: Path) -> None:
    assert messages(copy_of(serve(), tmp_path)) == []


def test_in_a_quiet_time_the_log_is_brought_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(database_module, "_IDLE_SECONDS", 0.05)
    database = Database(tmp_path / "test.sqlite3")
    database.start()
    store = SQLiteStore(database)
    for name in ("first", "second"):  # once in each quiet time
        store.new_thread(store.workspace("default"), name)
        with gevent.Timeout(10):
            while name not in names_in(shutil.copy(database.path, tmp_path / "alone.sqlite3")):
                gevent.sleep(0.02)
    database.close()


def names_in(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM thread")}


# -- while it runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", ["folder", "database", "replaced"])
def test_a_server_whose_files_went_takes_nothing_and_says_so(serve: Callable[..., Server], lose: str) -> None:
    server = serve()
    client = Client(server)
    client.ask("2+3")
    place = server.database.parent if lose == "folder" else server.database
    aside = place.with_name("aside")
    place.rename(aside)
    if lose == "replaced":
        place.write_bytes(b"")
    refused = client.post("/api/workspace/default/thread/new", {"name": "lost"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
    assert "while the server runs" in refused.json()["error"]["message"]
    ping = client.call("GET", "/api/ping")
    assert (ping.status_code, ping.json()["error"]["code"]) == (503, "storage_unavailable")
    assert int(ping.headers["Retry-After"]) > 0
    assert client.get("/api/workspace/default/chats")["history"][0]["content"] == "2+3"
    assert any(line["level"] == "error" for line in server.log_lines)
    if lose == "replaced":
        place.unlink()
    aside.rename(place)
    wait_until(lambda: client.post("/api/workspace/default/thread/new", {"name": "kept"}).status_code == 200)
    assert client.get("/api/ping") == {"online": True}
    assert [each["name"] for each in client.get("/api/workspace/default/threads")["threads"]].count("lost") == 0


def test_an_idle_server_notices_by_itself_that_its_folder_went(serve: Callable[..., Server]) -> None:
    server = serve()
    remove(server.database.parent)
    wait_until(lambda: requests.get(f"{server.url}/api/ping", timeout=5).status_code == 503)
    assert server.terminate() == 0


def test_a_server_that_lost_its_folder_leaves_the_files_of_the_next_one_alone(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    data = server.database.parent
    remove(data)
    wait_until(lambda: requests.get(f"{server.url}/api/ping", timeout=5).status_code == 503)
    (tmp_path / "next").mkdir()
    following = Server(tmp_path / "next", DEECHAT_DATA=str(data)).start()
    try:
        Client(following).ask("2+3")
        log = data / "deechat.sqlite3-wal"
        size = log.stat().st_size
        assert size > 0
        server.terminate()
        assert log.stat().st_size >= size
        following.kill()
        assert "2+3" in messages(data / "deechat.sqlite3")
    finally:
        following.kill()


# -- backup and restore ------------------------------------------------------------------------------------------------


def command(server: Server, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from deechat.cli import main; main()", *arguments],
        env=server.environment(),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_backup_of_a_running_server_comes_back(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    client.ask("2+3")
    stream = client.send("help")
    stream.read_until("textResponseChunk")
    made = command(server, "backup", "b.sqlite3")
    assert (made.returncode, made.stderr) == (0, "")
    assert "all is sound" in made.stdout
    copy = server.folder / "b.sqlite3"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in server.folder.glob("b.sqlite3*")} == {"b.sqlite3"}
    assert messages(copy)[:2] == ["2+3", "`2+3` = **5**"]
    stream.read()
    client.ask("3+4")
    running = command(server, "restore", "b.sqlite3")
    assert running.returncode == 1
    assert "in use by another DeeChat" in running.stderr
    server.terminate()
    restored = command(server, "restore", "b.sqlite3")
    assert (restored.returncode, restored.stderr) == (0, "")
    (aside,) = server.database.parent.glob("deechat.sqlite3.until-*")
    assert aside.name in restored.stdout
    assert "3+4" in messages(aside)
    server.start()
    said = [each["content"] for each in Client(server).history()]
    assert said[:2] == ["2+3", "`2+3` = **5**"]
    assert "3+4" not in said
    told = [line["message"] for line in server.log_lines]
    assert not any("the last end was not a clean one" in str(each) for each in told), "the backup's server is another"


def test_two_restores_at_once_keep_what_was_before_each(serve: Callable[..., Server]) -> None:
    server = serve()
    command(server, "backup", "b.sqlite3")
    Client(server).ask("2+3")
    server.terminate()
    for _ in range(3):  # likely within one second, which is what names say
        assert command(server, "restore", "b.sqlite3").returncode == 0
    kept = list(server.database.parent.glob("deechat.sqlite3.until-*"))
    assert len(kept) == 3
    assert sum("2+3" in messages(each) for each in kept) == 1


@pytest.mark.parametrize("name", ["deechat.sqlite3", "deechat.sqlite3-wal", "secret", "lock", "../data/secret"])
def test_a_backup_takes_the_place_of_no_file_of_the_data_folder(serve: Callable[..., Server], name: str) -> None:
    server = serve()
    folder = server.database.parent
    before = server.database.stat().st_ino
    refused = command(server, "backup", folder / name, "--force")
    assert refused.returncode == 1
    assert "the data folder itself" in refused.stderr
    assert server.database.stat().st_ino == before
    assert server.answers()


def test_a_backup_leaves_drafts_of_others_alone(serve: Callable[..., Server]) -> None:
    server = serve()
    (server.folder / "b.sqlite3.part").write_text("mine")
    assert command(server, "backup", "b.sqlite3").returncode == 0
    assert (server.folder / "b.sqlite3.part").read_text() == "mine"


def test_a_backup_replaces_no_file_unless_it_is_told_to(serve: Callable[..., Server]) -> None:
    server = serve()
    (server.folder / "there").write_text("mine")
    refused = command(server, "backup", "there")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "--force" in refused.stderr
    assert (server.folder / "there").read_text() == "mine"
    assert command(server, "backup", "there", "--force").returncode == 0
    assert messages(server.folder / "there") == []
    named = command(server, "backup")
    assert list(server.folder.glob("deechat-2*.sqlite3")), named.stderr


def test_what_is_no_sound_backup_is_not_put_in_place(serve: Callable[..., Server]) -> None:
    server = serve()
    Client(server).ask("2+3")
    command(server, "backup", "b.sqlite3")
    server.terminate()
    before = server.database.read_bytes()
    (server.folder / "text").write_text("no database" * 100)
    shutil.copy(server.folder / "b.sqlite3", server.folder / "newer")
    with closing(sqlite3.connect(server.folder / "newer", isolation_level=None)) as connection:
        connection.execute("INSERT INTO _sqlite_migrations VALUES (99, 'deechat', 'm999_future', '')")
    shutil.copy(server.folder / "b.sqlite3", server.folder / "damaged")
    with closing(sqlite3.connect(server.folder / "damaged", isolation_level=None)) as connection:
        connection.execute("UPDATE message SET content = 'wrong' WHERE content = '2+3'")
    with closing(sqlite3.connect(server.folder / "other", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")
    for name, words in (
        ("missing", "no file"),
        ("text", "no SQLite database"),
        ("newer", "newer version"),
        ("damaged", "is damaged"),
        ("other", "another program"),
        (str(server.database), "the database itself"),
    ):
        refused = command(server, "restore", name)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert words in refused.stderr
        assert server.database.read_bytes() == before
    assert kept(server) == {"deechat.sqlite3", "secret", "lock"}


def test_a_damaged_database_gives_no_backup_without_a_word(serve: Callable[..., Server]) -> None:
    server = serve()
    Client(server).ask("2+3")
    server.kill()
    with closing(sqlite3.connect(server.database, isolation_level=None)) as connection:
        connection.execute("UPDATE message SET content = 'wrong' WHERE content = '2+3'")
    refused = command(server, "backup", "b.sqlite3")
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert not list(server.folder.glob("b.sqlite3*"))
    assert command(server, "backup", "b.sqlite3", "--force").returncode == 0


def test_a_backup_of_an_earlier_version_is_brought_along(serve: Callable[..., Server]) -> None:
    server = serve()
    server.terminate()
    from sqlite_utils import Database as Tables

    from deechat.store.sqlite import schema

    old = server.folder / "old.sqlite3"
    with closing(sqlite3.connect(":memory:")) as empty:
        first = schema.migrations.pending(Tables(empty))[:3]
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        for migration in first:
            migration.fn(Tables(connection))
        Tables(connection).execute(
            "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
        )
        for name in ("m001_first_tables", "m002_going_on", "m003_logs_in_blocks"):
            connection.execute("INSERT INTO _sqlite_migrations VALUES (NULL, 'deechat', ?, '')", (name,))
        connection.execute(
            "INSERT INTO message (id, thread_id, role, content, sent_at)"
            " SELECT 'm', id, 'user', 'From before', 5.5 FROM thread"
        )
    restored = command(server, "restore", "old.sqlite3")
    assert restored.returncode == 0, restored.stderr
    server.start()
    assert [each["content"] for each in Client(server).history()] == ["From before"]


# -- the start ---------------------------------------------------------------------------------------------------------


def test_a_start_may_take_longer_than_the_master_waits_for_a_sign_of_life(tmp_path: Path) -> None:
    server = Server(tmp_path, app="slow_start:app", SECONDS="8", GUNICORN_CMD_ARGS="--timeout 2")
    try:
        for told in (["new "], ["new ", ""]):
            server.start()
            assert "WORKER TIMEOUT" not in server.log
            assert re.findall(r"the (new )?database \S+ .*is not open yet", server.log) == told
            server.terminate()
    finally:
        server.kill()


@pytest.mark.parametrize("at", ["_runs.recovery.at_start", "_folder.secret", "_store.take_over"])
def test_a_start_that_fails_leaves_nothing_open_and_another_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError("a fault")

    application = Application(Settings(data=tmp_path, provider="offline"))
    part, name = at.rsplit(".", 1)
    with monkeypatch.context() as patched:
        patched.setattr(attrgetter(part)(application), name, fails)
        with pytest.raises(OSError, match="a fault"):
            application.start()
    with closing(sqlite3.connect(tmp_path / "deechat.sqlite3")) as connection:
        assert connection.execute("SELECT closed_at FROM pulse").fetchone() != (None,), "it ended cleanly"
    folder = DataFolder(tmp_path)
    folder.hold(patience=0)
    folder.release()
    application.start()
    assert not application._database.before.killed
    application.close()


def test_the_watch_goes_on_whatever_it_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "_WATCH_SECONDS", 0.01)
    errors: list[Exception] = [OSError(errno.ENOLCK, "No locks available"), OSError(errno.ENOLCK, "No locks available")]
    looks: list[bool] = []

    def in_place() -> None:
        looks.append(True)
        if errors:
            raise errors.pop()

    database = Database(tmp_path / "test.sqlite3", in_place=in_place)
    database.start()
    with gevent.Timeout(10):
        while len(looks) < 5:
            gevent.sleep(0.01)
    assert [each.levelname for each in caplog.records if "goes on" in each.message] == ["ERROR"], "it is said once"
    database.close()


def test_the_log_comes_into_the_file_once_in_a_quiet_time_whatever_the_steps_of_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(database_module, "_IDLE_SECONDS", 0.3)  # no sum of three tenths
    brought: list[str] = []
    checkpoint = database_module.checkpoint
    monkeypatch.setattr(
        database_module, "checkpoint", lambda connection, kind: (brought.append(kind), checkpoint(connection, kind))
    )
    database = Database(tmp_path / "test.sqlite3")
    database.start()
    for times in (1, 2):
        database.write(lambda connection: connection.execute("UPDATE pulse SET at = at + 1"))
        with gevent.Timeout(10):
            while len(brought) < times:
                gevent.sleep(0.02)
        gevent.sleep(0.5)
        assert brought == ["PASSIVE"] * times
    database.close()
