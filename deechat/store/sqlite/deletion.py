"""Removes deleted threads and workspaces from the file: slice by slice, each small, so that nobody has to wait for one.

Deleting marks a row, and nobody finds it any more, nor what is in it. Its messages, logs and runs go from here on, in
jobs that are as small however much there is; a process that dies in between leaves the rest to the next one. The pages
that this frees are used again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import gevent

from deechat.errors import DamagedError, StorageUnavailableError
from deechat.store.sqlite import checksums
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database

ROWS = 200  # of one slice
BYTES = 1_000_000  # of one slice, but for a row that is larger alone
SECONDS = 0.05  # of one slice, where the disk is slow
PAUSE = 0.02  # seconds between two slices, for everybody else's commits
LATER = 10.0  # seconds until it is tried again when nothing could be stored


class Deletion:
    """Removes what was deleted, until nothing is left of it; `done` is called then."""

    def __init__(self, database: Database, done: Callable[[], object]) -> None:
        self._database = database
        self._done = done
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def wake(self) -> None:
        """Begin, unless it is at it."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._delete)

    def close(self) -> None:
        """Leave what is left to the next process."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _delete(self) -> None:
        try:
            while self._delete_some():
                gevent.sleep(PAUSE)
            self._done()
        finally:
            self._greenlet = None

    def _delete_some(self) -> bool:
        try:
            return self._database.write(delete_slice)
        except (StorageUnavailableError, DamagedError):  # damage was told of; its rows are passed over, so others go on
            gevent.sleep(LATER)
            return True


class _Budget:
    """How much more one slice may delete."""

    def __init__(self) -> None:
        self._rows, self._bytes, self._until = ROWS, BYTES, time.monotonic() + SECONDS

    def spend(self, size: int = 0) -> None:
        self._rows -= 1
        self._bytes -= size

    @property
    def is_left(self) -> bool:
        return self._rows > 0 and self._bytes > 0 and time.monotonic() < self._until


def delete_slice(connection: sqlite3.Connection) -> bool:
    """Delete some of what is marked as deleted, children first; say whether there may be more."""
    budget = _Budget()
    while budget.is_left:
        thread_id = _thread(connection)
        if thread_id is not None:
            _delete_thread(connection, thread_id, budget)
        elif not _delete_workspace(connection):
            return False
        budget.spend()
    return True


def _marked(connection: sqlite3.Connection, table: str) -> str | None:
    """Return the id of a row that is marked as deleted; a mark in a damaged row may be a bit that was flipped."""
    sql = f"SELECT {COVERED[table].columns} FROM {table} WHERE deleted_at IS NOT NULL"
    with closing(connection.execute(sql)) as rows:
        return next((row[0] for row in rows if checksums.is_sound(table, row)), None)


def _thread(connection: sqlite3.Connection) -> str | None:
    thread_id, workspace_id = _marked(connection, "thread"), None
    if thread_id is None:
        workspace_id = _marked(connection, "workspace")
    if workspace_id is not None:
        row = connection.execute("SELECT id FROM thread WHERE workspace_id = ? LIMIT 1", (workspace_id,)).fetchone()
        thread_id = row[0] if row else None
    return thread_id


def _delete_workspace(connection: sqlite3.Connection) -> bool:
    """Delete a workspace that has no threads any more, if there is one."""
    workspace_id = _marked(connection, "workspace")
    if workspace_id is not None:
        connection.execute("DELETE FROM workspace WHERE id = ?", (workspace_id,))
    return workspace_id is not None


def _delete_thread(connection: sqlite3.Connection, thread_id: str, budget: _Budget) -> None:
    messages = connection.execute(
        "SELECT number, length(CAST(content AS BLOB)) + length(CAST(details AS BLOB)) + length(CAST(turns AS BLOB))"
        " FROM message WHERE thread_id = ? ORDER BY number",
        (thread_id,),
    )
    if not _delete_rows(connection, "DELETE FROM message WHERE number = ?", messages, budget):
        return
    while budget.is_left:
        run = connection.execute("SELECT id FROM run WHERE thread_id = ? LIMIT 1", (thread_id,)).fetchone()
        if run is None:
            connection.execute("DELETE FROM thread WHERE id = ?", (thread_id,))
            return
        logs = connection.execute("SELECT rowid, length(body) FROM block WHERE run_id = ?", run)
        if _delete_rows(connection, "DELETE FROM block WHERE rowid = ?", logs, budget):
            connection.execute("DELETE FROM run WHERE id = ?", run)
            budget.spend()


def _delete_rows(connection: sqlite3.Connection, sql: str, rows: sqlite3.Cursor, budget: _Budget) -> bool:
    """Delete rows, given by number and size, as far as the budget goes; say whether these were all."""
    numbers: list[tuple[int]] = []
    is_all = True
    with closing(rows):
        for number, size in rows:
            if not budget.is_left:
                is_all = False
                break
            numbers.append((number,))
            budget.spend(size or 0)  # NULL in a damaged row
    connection.executemany(sql, numbers)
    return is_all
