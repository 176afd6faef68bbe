"""The rows of runs: what is known of a run without its log, and what its log alone would be slow to tell."""

from __future__ import annotations

import sqlite3
import time

from deechat.errors import NotFoundError
from deechat.store.base import RunRow
from deechat.store.sqlite import checksums
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database, Job, LastingJob, Row, Work

# Runs of threads that are there. The order is fixed: there are few runs that fit, and any number of threads.
_THERE = (
    "run CROSS JOIN thread ON thread.id = run.thread_id CROSS JOIN workspace ON workspace.id = thread.workspace_id"
    " WHERE thread.deleted_at IS NULL AND workspace.deleted_at IS NULL AND "
)
_COLUMNS = COVERED["run"].columns_of("run")


class Records:
    """The rows of all runs. Those that change with an entry of the log are written with it, by the works below."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, run_id: str) -> RunRow:
        """Gives the row of a run. Raises `NotFoundError`."""
        record = self.find(run_id)
        if record is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return record

    def find(self, run_id: str) -> RunRow | None:
        """Gives the row of a run, if it is there."""
        rows = self._rows("run.id = ?", run_id)
        return _record(self._database.damage.checked("run", rows[0], id=run_id)) if rows else None

    def run_by_request(self, thread_id: str, client_request_id: str) -> RunRow | None:
        """Gives the run that this `clientRequestId` started in the thread."""
        rows = self._rows("thread_id = ? AND client_request_id = ?", thread_id, client_request_id)
        return _record(self._database.damage.checked("run", rows[0], thread_id=thread_id)) if rows else None

    def open_in(self, thread_id: str) -> str | None:
        """Gives the id of the thread's run without an ending; there is one at most. Raises `DamagedError`."""
        row = self._database.read_one(f"SELECT {_COLUMNS} FROM run WHERE thread_id = ? AND ended_at IS NULL", thread_id)
        return None if row is None else _record(self._database.damage.checked("run", row, thread_id=thread_id)).id

    def last_in(self, thread_id: str) -> str | None:
        """Gives the id of the thread's run that was started last."""
        row = self._database.read_one("SELECT id FROM run WHERE thread_id = ? ORDER BY rowid DESC LIMIT 1", thread_id)
        return row[0] if row else None

    def unfinished(self) -> list[RunRow]:
        """Gives the runs without an ending, oldest first, but for those that rest until a person answers.

        Those whose rows are damaged are left out, and the database tells of them.
        """
        rows = self._rows("ended_at IS NULL AND rests = 0")
        return [_record(row) for row in self._database.damage.sound("run", rows)]

    def _rows(self, condition: str, *values: str) -> list[Row]:
        return self._database.read(f"SELECT {_COLUMNS} FROM {_THERE}{condition} ORDER BY started_at", *values)

    def note(self, run_id: str, **columns: int | str) -> Job[None]:
        """Queues what `noting` writes; it is not lost while the disk is at fault."""
        return self._database.submit(LastingJob(noting(run_id, **columns)))


def _record(row: Row) -> RunRow:
    *fixed, asks, retries, rests, _ = row
    return RunRow(*(*fixed, retries, rests, asks))


# -- pieces of other transactions --------------------------------------------------------------------------------------


def begin(connection: sqlite3.Connection, run: RunRow) -> None:
    """Inserts the row of a new run. Raises `NotFoundError` when its thread is not there any more."""
    values = (
        run.id, run.thread_id, run.message_id, run.parent_id, run.continues, run.client_request_id,
        run.model, run.language, run.started_at,
    )  # fmt: skip
    row = connection.execute(
        "INSERT INTO run (id, thread_id, message_id, parent_id, continues, client_request_id, model, language,"
        " started_at, checksum) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
        " FROM thread JOIN workspace ON workspace.id = workspace_id"
        " WHERE thread.id = ? AND thread.deleted_at IS NULL AND workspace.deleted_at IS NULL",
        (*values, checksums.of_row("run", (*values, None, None, None, 0, 0)), run.thread_id),
    )
    if row.rowcount != 1:
        raise NotFoundError("The thread was deleted.")


def noting(run_id: str, **columns: int | str) -> Work[None]:
    """Gives the work that notes something in a run's row: how often it was tried again (`retries`), that it `rests` and
    what it `asks`.
    """

    def work(connection: sqlite3.Connection) -> None:
        for column, value in columns.items():
            if column in COVERED["run"].moving:
                connection.execute(
                    f"UPDATE run SET {column} = :value, checksum = checksum + :value - {column} WHERE id = :id",
                    {"value": value, "id": run_id},
                )
            else:
                checksums.change(connection, "run", run_id, **{column: value})

    return work


def ending(run_id: str, at: float, reason: str) -> Work[None]:
    """Gives the work that notes how a run ended."""

    def work(connection: sqlite3.Connection) -> None:
        checksums.change(connection, "run", run_id, ended_at=at, reason=reason)

    return work


def giving_up(run_id: str, reason: str) -> Work[None]:
    """Gives the work that ends a run without an ending in its log; one that has ended meanwhile stays as it is."""

    def work(connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT 1 FROM run WHERE id = ? AND ended_at IS NULL", (run_id,)).fetchone():
            ending(run_id, time.time(), reason)(connection)

    return work


def giving_up_in(thread_id: str, reason: str) -> Work[list[str]]:
    """Gives the work that ends a thread's open run whose row is damaged; it gives the run's id.

    The row stays damaged: its checksum is left as it is.
    """

    def work(connection: sqlite3.Connection) -> list[str]:
        # By its number: the id may be what is damaged.
        rows = connection.execute(
            "SELECT rowid, id FROM run WHERE thread_id = ? AND ended_at IS NULL", (thread_id,)
        ).fetchall()
        for number, _ in rows:
            connection.execute("UPDATE run SET ended_at = ?, reason = ? WHERE rowid = ?", (time.time(), reason, number))
        return [run_id for _, run_id in rows]

    return work
