"""The store in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import gevent

from deechat.errors import ConflictError, DamagedError, NotFoundError
from deechat.store.base import (
    PATIENCE_AT_START,
    Before,
    BeginRun,
    Change,
    EventBatch,
    Page,
    PlacedRun,
    Receipt,
    StoredMessage,
    Thread,
)
from deechat.store.sqlite import compaction
from deechat.store.sqlite.changes import apply, give_up_damaged
from deechat.store.sqlite.conversations import Conversations
from deechat.store.sqlite.database import Database, LastingJob
from deechat.store.sqlite.deletion import Deletion
from deechat.store.sqlite.jobs import AppendJob, SubmitJob
from deechat.store.sqlite.logs import LogReads
from deechat.store.sqlite.sweeper import Sweeper

_REFUSED = {
    "SQLITE_CONSTRAINT_FOREIGNKEY": NotFoundError("The thread was deleted."),
    "SQLITE_CONSTRAINT_UNIQUE": ConflictError("Another answer began in this thread just now.", code="run_active"),
}


class SQLiteStore(Conversations, LogReads):
    """A `Store` over a database that was started. Its reads do not yield."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._sweeper = Sweeper(self.database)
        self.deletion = Deletion(self.database, done=lambda: self._sweeper.died(1))
        self._appended: AppendJob | None = None  # last
        self._taking_over: gevent.Greenlet[..., None] | None = None

    # -- from start to end ---------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Make blocks of all rows that an earlier process left: reading a log then looks at no other's rows. Go on with
        removing what was deleted.

        Returns after `PATIENCE_AT_START` in any case: a log in rows can be read too.
        """
        self._taking_over = gevent.spawn(self._compact_rows, self.database.look(compaction.numbers))
        self._taking_over.join(PATIENCE_AT_START)

    def _compact_rows(self, numbers: range) -> None:
        for each in compaction.slices(numbers, compaction.SLICE_AT_START):
            self.database.submit(LastingJob(partial(compaction.compact_rows, numbers=each))).outcome.wait()
        self.deletion.wake()

    def tidy(self) -> None:
        """Delete the rows of compacted logs that are left; nothing may be appended any more."""
        if self._taking_over is not None:
            self._taking_over.kill()
        self.deletion.close()
        self._sweeper.close()

    def close(self) -> None:
        self.tidy()
        self.database.close()

    @property
    def before(self) -> Before:
        return self.database.before

    @property
    def damage(self) -> str | None:
        return self.database.damage.words

    @property
    def available(self) -> bool:
        return self.database.available

    def check_available(self) -> None:
        self.database.check_available()

    def check_alive(self) -> None:
        self.database.check_alive()

    # -- reading what belongs together ---------------------------------------------------------------------------------

    def chats(self, thread: Thread, limit: int, before: str | None) -> tuple[Page[StoredMessage], str | None]:
        with self.database.snapshot():
            history, active = self.messages(thread, limit, before), None
            with suppress(DamagedError):  # the database tells of it, and the messages are sound
                active = self.open_run(thread.id)
        return history, active

    def placed_run(self, run_id: str) -> PlacedRun:
        with self.database.snapshot():
            run = self.run(run_id)
            thread = self.thread_by_id(run.thread_id)
            workspace = self.workspace_by_id(thread.workspace_id)
            compacted = run.ended_at is not None or run.rests == 1
            return PlacedRun(run, thread, workspace, self.last_seq(run_id) if compacted else None)

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, *changes: Change) -> None:
        try:
            self.database.write(partial(_write, changes=changes))
        except sqlite3.IntegrityError as exc:
            refused = _REFUSED.get(exc.sqlite_errorname)
            if refused is None:
                raise
            raise type(refused)(refused.message, code=refused.code) from exc
        for each in changes:
            if isinstance(each, BeginRun):
                self._sweeper.wrote(len(each.rows))

    def submit(self, change: Change, then: Callable[[], object] = lambda: None) -> Receipt:
        return self.database.submit(SubmitJob(change, self._sweeper, then)).outcome

    def append(self, batch: EventBatch, logs: int) -> None:
        self.database.commit_rate.runs = logs
        self._appended = AppendJob(batch, self._sweeper, self._appended)
        self.database.submit(self._appended)

    def give_up_damaged(self, thread_id: str) -> list[str]:
        return self.database.write(partial(give_up_damaged, thread_id=thread_id))


def _write(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    for each in changes:
        apply(connection, each)
