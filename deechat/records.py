"""The rows of runs: what is known of a run without its log, and what its log alone would be slow to tell."""

from __future__ import annotations

import sqlite3
import time

import msgspec

from deechat.database import Database, Job, LastingJob, Work
from deechat.errors import NotFoundError


class RunRecord(msgspec.Struct, frozen=True):
    """A run as its row has it; times are Unix seconds, `ended_at` and `reason` None while it has not ended.

    `retries`: how often it was entered again since its last whole step because the process had died.
    """

    id: str
    thread_id: str
    message_id: str
    parent_id: str
    continues: str | None
    client_request_id: str | None
    model: str | None
    language: str
    started_at: float
    ended_at: float | None = None
    reason: str | None = None
    retries: int = 0


class Records:
    """The rows of all runs. Those that change with an entry of the log are written with it, by the works below."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, run_id: str) -> RunRecord:
        """Gives the row of a run. Raises `NotFoundError`."""
        record = self.find(run_id)
        if record is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return record

    def find(self, run_id: str) -> RunRecord | None:
        """Gives the row of a run, if it is there."""
        rows = self._runs("id = ?", run_id)
        return rows[0] if rows else None

    def run_by_request(self, thread_id: str, client_request_id: str) -> RunRecord | None:
        """Gives the run that this `clientRequestId` started in the thread."""
        rows = self._runs("thread_id = ? AND client_request_id = ?", thread_id, client_request_id)
        return rows[0] if rows else None

    def open_in(self, thread_id: str) -> str | None:
        """Gives the id of the thread's run without an ending; there is one at most."""
        row = self._database.read_one("SELECT id FROM run WHERE thread_id = ? AND ended_at IS NULL", thread_id)
        return row[0] if row else None

    def open_in_workspace(self, workspace_id: str) -> list[str]:
        """Gives the ids of the workspace's runs without an ending."""
        sql = "SELECT run.id FROM run JOIN thread ON thread.id = thread_id WHERE workspace_id = ? AND ended_at IS NULL"
        return [row[0] for row in self._database.read(sql, workspace_id)]

    def last_in(self, thread_id: str) -> str | None:
        """Gives the id of the thread's run that was started last."""
        row = self._database.read_one("SELECT id FROM run WHERE thread_id = ? ORDER BY rowid DESC LIMIT 1", thread_id)
        return row[0] if row else None

    def unfinished(self) -> list[RunRecord]:
        """Gives the runs without an ending, oldest first, but for those that rest until a person answers."""
        return self._runs("ended_at IS NULL AND rests = 0")

    def _runs(self, condition: str, *values: str) -> list[RunRecord]:
        columns = (
            "id, thread_id, message_id, parent_id, continues, client_request_id, model, language, started_at, "
            "ended_at, reason, retries"
        )
        rows = self._database.read(f"SELECT {columns} FROM run WHERE {condition} ORDER BY started_at", *values)
        return [RunRecord(*row) for row in rows]

    def note(self, run_id: str, **columns: int) -> Job[None]:
        """Queues what `noting` writes; it is not lost while the disk is at fault."""
        return self._database.submit(LastingJob(noting(run_id, **columns)))

    def close(self, run_id: str, reason: str) -> Job[None]:
        """Queues the end of a run that has no ending in its log."""
        return self._database.submit(LastingJob(ending(run_id, time.time(), reason)))


# -- pieces of other transactions --------------------------------------------------------------------------------------


def begin(connection: sqlite3.Connection, run: RunRecord) -> None:
    """Inserts the row of a new run."""
    connection.execute(
        "INSERT INTO run (id, thread_id, message_id, parent_id, continues, client_request_id, model, language,"
        " started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (run.id, run.thread_id, run.message_id, run.parent_id, run.continues, run.client_request_id,
         run.model, run.language, run.started_at),
    )  # fmt: skip


def noting(run_id: str, **columns: int) -> Work[None]:
    """Gives the work that notes in a run's row how often it was tried again (`retries`), or whether it `rests`."""

    def work(connection: sqlite3.Connection) -> None:
        for column, value in columns.items():
            connection.execute(f"UPDATE run SET {column} = ? WHERE id = ?", (value, run_id))

    return work


def ending(run_id: str, at: float, reason: str) -> Work[None]:
    """Gives the work that notes how a run ended."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE run SET ended_at = ?, reason = ? WHERE id = ?", (at, reason, run_id))

    return work
