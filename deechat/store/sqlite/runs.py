"""Reading runs: their rows, which say what a log alone would be slow to tell, and their logs.

A log is its blocks, and the rows of events that follow them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from deechat.errors import BrokenLogError, NotFoundError
from deechat.events import Entry
from deechat.principal import Principal
from deechat.store.base import GIVEN_UP, RECENT_THREADS, RunRow, Workspace
from deechat.store.sqlite import compaction
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.conversations import IS_OWN_THREAD, LISTED, Conversations
from deechat.store.sqlite.database import Row
from deechat.store.sqlite.integrity import RESTORE

# Runs of threads that are there. The order is fixed: there are few runs that fit, and any number of threads.
_THERE = (
    "run CROSS JOIN thread ON thread.id = run.thread_id CROSS JOIN workspace ON workspace.id = thread.workspace_id"
    " WHERE thread.deleted_at IS NULL AND workspace.deleted_at IS NULL AND "
)
_COLUMNS = COVERED["run"].columns_of("run")


class RunReads(Conversations):
    """The part of the store that reads runs and their logs, beside what they are in."""

    def run(self, principal: Principal, run_id: str) -> RunRow:
        row = self.database.read_one(
            f"SELECT {_COLUMNS}, workspace.id, workspace.owner FROM {_THERE}run.id = ?", run_id
        )
        if row is not None and row[-1] != principal.id:
            with suppress(NotFoundError):
                self.workspace_by_id(principal, row[-2])  # raises what is true of a damaged one
            row = None
        if row is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return _run(self.database.damage.checked("run", row[:-2], id=run_id))

    def find_run(self, run_id: str) -> RunRow | None:
        rows = self._runs("run.id = ?", run_id)
        return _run(self.database.damage.checked("run", rows[0], id=run_id)) if rows else None

    def run_by_request(self, principal: Principal, thread_id: str, client_request_id: str) -> RunRow | None:
        own = "thread_id = ? AND client_request_id = ? AND owner = ?"
        rows = self._runs(own, thread_id, client_request_id, principal.id)
        return _run(self.database.damage.checked("run", rows[0], thread_id=thread_id)) if rows else None

    def run_by_request_in(self, principal: Principal, workspace: Workspace, client_request_id: str) -> RunRow | None:
        rows = self.database.read(  # thread by thread: runs have no index of these ids alone
            f"SELECT {_COLUMNS} FROM (SELECT id FROM thread WHERE workspace_id = (SELECT id FROM workspace WHERE id = ?"
            f" AND owner = ? AND deleted_at IS NULL) AND {LISTED} ORDER BY updated_at DESC, id DESC LIMIT ?)"
            " AS recent CROSS JOIN run ON run.thread_id = recent.id WHERE run.client_request_id = ?",
            *(workspace.id, principal.id, RECENT_THREADS, client_request_id),
        )
        found = [_run(row) for row in self.database.damage.sound("run", rows)]
        return max(found, key=lambda run: run.started_at, default=None)

    def open_run(self, principal: Principal, thread_id: str) -> str | None:
        row = self.database.read_one(
            f"SELECT {_COLUMNS} FROM run WHERE thread_id = ? AND ended_at IS NULL AND {IS_OWN_THREAD}",
            *(thread_id, thread_id, principal.id),
        )
        return None if row is None else _run(self.database.damage.checked("run", row, thread_id=thread_id)).id

    def last_run(self, principal: Principal, thread_id: str) -> str | None:
        row = self.database.read_one(
            f"SELECT id FROM run WHERE thread_id = ? AND {IS_OWN_THREAD} ORDER BY rowid DESC LIMIT 1",
            *(thread_id, thread_id, principal.id),
        )
        return row[0] if row else None

    def unfinished_runs(self) -> list[RunRow]:
        rows = self._runs("ended_at IS NULL AND rests = 0")
        return [_run(row) for row in self.database.damage.sound("run", rows)]

    def _runs(self, condition: str, *values: str) -> list[Row]:
        return self.database.read(f"SELECT {_COLUMNS} FROM {_THERE}{condition} ORDER BY started_at", *values)

    # -- logs ---------------------------------------------------------------------------------------------------------

    def log_pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        try:
            yield from self._blocks_and_rows(run_id, after)
        except ValueError as exc:
            raise self._broken(run_id, exc) from exc

    def _blocks_and_rows(self, run_id: str, after: int) -> Iterator[list[Entry]]:
        run = self.find_run(run_id)  # before the log: one that has ended by then has its ending
        look, at, last, content = self.database.look, after, None, None
        while block := look(partial(compaction.next_block, run_id=run_id, after=at)):
            last_seq, body = block
            if content is None:  # once: each block has a part of it
                content = look(partial(compaction.message_content, run_id=run_id))
            try:
                page = compaction.unpack(body, content, last_seq)
            except ValueError:
                if self.find_run(run_id) is None:
                    return  # deleted, and its message is removed already
                # Between two pages the run may have ended, with a message that this block leaves its text to.
                content = look(partial(compaction.message_content, run_id=run_id))
                page = compaction.unpack(body, content, last_seq)
            if not page or page[0].seq > at + 1:
                if self.find_run(run_id) is None:
                    return  # deleted, and its blocks are being removed
                raise ValueError(f"entry {at + 1} is missing")
            yield page[at + 1 - page[0].seq :]
            at, last = last_seq, page[-1]
        rows = look(partial(compaction.rest, run_id=run_id, after=at))
        if rows:
            yield rows
        self._check_end(run, after, rows[-1] if rows else last)

    def _check_end(self, run: RunRow | None, after: int, last: Entry | None) -> None:
        """Check that a log ends where its run's row says, when `last` came last of what follows `after`.

        Raises `ValueError`.
        """
        is_bare = last is None and after == 0
        # One that was given up is closed without an ending in its log.
        has_ending = run is not None and run.ended_at is not None and run.reason != GIVEN_UP
        if not is_bare and not (has_ending and last is not None and not last.event.ends):
            return
        if run is not None and self.find_run(run.id) is not None:  # or else it is being deleted
            raise ValueError("there is nothing of it" if is_bare else "its ending is missing")

    def check_log(self, run_id: str, after: int) -> None:
        try:
            with self.database.snapshot():  # the run may end between two reads
                run = self.find_run(run_id)
                if run is None:
                    return  # deleted, and its log is being removed
                packed = self.database.look(partial(compaction.check, run_id=run_id, after=after))
                at = packed[-1].seq if packed else after
                last = self.database.look(partial(compaction.rest, run_id=run_id, after=at)) or packed
                self._check_end(run, after, last[-1] if last else None)
        except ValueError as exc:
            raise self._broken(run_id, exc) from exc

    def last_seq(self, run_id: str) -> int:
        try:
            stored = self.database.look(partial(compaction.last_seq, run_id=run_id))
        except ValueError as exc:
            raise self._broken(run_id, exc) from exc
        if stored == 0 and self.find_run(run_id) is not None:
            raise self._broken(run_id, "there is nothing of it")
        return stored

    def _broken(self, run_id: str, why: object) -> BrokenLogError:
        self.database.damage.note(f"the log of the run {run_id}")
        return BrokenLogError(
            f"The log of the run {run_id} cannot be read ({why}): {self.database.path.name} is damaged, or a newer "
            f"version wrote it. {RESTORE}"
        )


def _run(row: Row) -> RunRow:
    *fixed, asks, retries, rests, _ = row
    return RunRow(*(*fixed, retries, rests, asks))
