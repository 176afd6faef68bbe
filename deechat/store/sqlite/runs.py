"""Reading the rows of runs: what is known of a run without its log, and what its log alone would be slow to tell."""

from __future__ import annotations

from deechat.errors import NotFoundError
from deechat.store.base import RunRow
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database, Row

# Runs of threads that are there. The order is fixed: there are few runs that fit, and any number of threads.
_THERE = (
    "run CROSS JOIN thread ON thread.id = run.thread_id CROSS JOIN workspace ON workspace.id = thread.workspace_id"
    " WHERE thread.deleted_at IS NULL AND workspace.deleted_at IS NULL AND "
)
_COLUMNS = COVERED["run"].columns_of("run")


class RunReads:
    """The part of the store that reads the rows of runs."""

    database: Database

    def run(self, run_id: str) -> RunRow:
        run = self.find_run(run_id)
        if run is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return run

    def find_run(self, run_id: str) -> RunRow | None:
        rows = self._runs("run.id = ?", run_id)
        return _run(self.database.damage.checked("run", rows[0], id=run_id)) if rows else None

    def run_by_request(self, thread_id: str, client_request_id: str) -> RunRow | None:
        rows = self._runs("thread_id = ? AND client_request_id = ?", thread_id, client_request_id)
        return _run(self.database.damage.checked("run", rows[0], thread_id=thread_id)) if rows else None

    def open_run(self, thread_id: str) -> str | None:
        row = self.database.read_one(f"SELECT {_COLUMNS} FROM run WHERE thread_id = ? AND ended_at IS NULL", thread_id)
        return None if row is None else _run(self.database.damage.checked("run", row, thread_id=thread_id)).id

    def last_run(self, thread_id: str) -> str | None:
        row = self.database.read_one("SELECT id FROM run WHERE thread_id = ? ORDER BY rowid DESC LIMIT 1", thread_id)
        return row[0] if row else None

    def unfinished_runs(self) -> list[RunRow]:
        rows = self._runs("ended_at IS NULL AND rests = 0")
        return [_run(row) for row in self.database.damage.sound("run", rows)]

    def _runs(self, condition: str, *values: str) -> list[Row]:
        return self.database.read(f"SELECT {_COLUMNS} FROM {_THERE}{condition} ORDER BY started_at", *values)


def _run(row: Row) -> RunRow:
    *fixed, asks, retries, rests, _ = row
    return RunRow(*(*fixed, retries, rests, asks))
