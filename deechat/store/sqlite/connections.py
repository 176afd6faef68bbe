"""The connections to the one SQLite file: how they are opened and closed, and what a process notes of its time."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from deechat.net.clock import boot_id, steady
from deechat.store.base import Before
from deechat.store.sqlite import integrity
from deechat.store.sqlite.schema import migrate

log = logging.getLogger(__name__)


def open_writer(path: Path, used: bool) -> sqlite3.Connection:
    """Open the file for writing and bring its tables up to date. Raises `SettingError` in words."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
    connection.text_factory = integrity.decode_leniently  # one damaged text is no error of a whole job
    try:
        integrity.check_ours(connection, path, used=used)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, path)
        checkpoint(connection, "TRUNCATE")
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)
    return connection


def checkpoint(connection: sqlite3.Connection, kind: str) -> None:
    """Bring the write-ahead log into the file, so that the file alone is whole."""
    try:
        connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchall()
    except sqlite3.Error as exc:
        log.warning("the write-ahead log stays beside the database, which is not whole without it: %s", exc)


def read_before(connection: sqlite3.Connection) -> Before:
    """Return what the process before this one noted."""
    columns = "started_at, closed_at, steady_at, boot"
    started_at, closed_at, steady_at, boot = connection.execute(f"SELECT {columns} FROM pulse").fetchone()
    is_same_boot = boot is not None and boot == boot_id()
    killed = started_at is not None and closed_at is None
    if killed:
        log.warning("the last end was not a clean one: the process or the machine was cut off")
    return Before(_time(started_at), killed, _time(steady_at) if is_same_boot else None)


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None  # anything else is damaged, and says nothing


def take_over(connection: sqlite3.Connection) -> None:
    """Note that this process has the database now."""
    with suppress(sqlite3.Error):  # a full disk does not keep anybody from reading
        connection.execute(
            "UPDATE pulse SET started_at = ?, steady_at = ?, boot = ?, closed_at = NULL",
            (time.time(), steady(), boot_id()),
        )


def let_go(connection: sqlite3.Connection, may_write: bool) -> None:
    """Note a clean end, make the one file whole and close it."""
    if may_write:
        note_end(connection)
        checkpoint(connection, "TRUNCATE")
    connection.close()


def note_end(connection: sqlite3.Connection) -> None:
    """Note a clean end, as far as that can be written: without it the next process takes this one for killed."""
    with suppress(sqlite3.Error):
        connection.execute("UPDATE pulse SET closed_at = ?", (time.time(),))


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading alone."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
    connection.execute("PRAGMA query_only = ON")
    return connection
