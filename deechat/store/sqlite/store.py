"""The store in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import gevent

from deechat.errors import ConflictError, DamagedError, NotFoundError, StorageUnavailableError
from deechat.principal import Principal
from deechat.store.base import (
    PATIENCE_AT_START,
    Before,
    BeginRun,
    Change,
    EventBatch,
    Page,
    PlacedRun,
    Receipt,
    Share,
    StoredMessage,
    Thread,
)
from deechat.store.sqlite import compaction
from deechat.store.sqlite.changes import apply, give_up_damaged
from deechat.store.sqlite.database import Database, LastingJob, is_disk
from deechat.store.sqlite.deletion import Deletion
from deechat.store.sqlite.events import insert, savepoint
from deechat.store.sqlite.runs import RunReads
from deechat.store.sqlite.sweeper import Sweeper

_REFUSED = {
    "SQLITE_CONSTRAINT_FOREIGNKEY": NotFoundError("The thread was deleted."),
    "SQLITE_CONSTRAINT_UNIQUE": ConflictError("Another answer began in this thread just now.", code="run_active"),
}


class SQLiteStore(RunReads):
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

    def chats(
        self, principal: Principal, thread: Thread, limit: int, before: str | None
    ) -> tuple[Page[StoredMessage], str | None]:
        with self.database.snapshot():
            history, active = self.messages(principal, thread, limit, before), None
            with suppress(DamagedError):  # the database tells of it, and the messages are sound
                active = self.open_run(principal, thread.id)
        return history, active

    def placed_run(self, principal: Principal, run_id: str) -> PlacedRun:
        with self.database.snapshot():
            run = self.run(principal, run_id)
            thread = self.thread_by_id(principal, run.thread_id)
            workspace = self.workspace_by_id(principal, thread.workspace_id)
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


# -- what is queued for the writer -------------------------------------------------------------------------------------


def _write(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    for each in changes:
        apply(connection, each)


class SubmitJob(LastingJob[int]):
    """Writes a change that is not lost while the disk is at fault, and calls `then` when it is on disk."""

    def __init__(self, change: Change, sweeper: Sweeper, then: Callable[[], object]) -> None:
        super().__init__(lambda connection: apply(connection, change))
        self._sweeper = sweeper
        self._then = then

    def done(self, value: int) -> None:
        self._sweeper.died(value)
        self._then()
        super().done(value)


class AppendJob(LastingJob[None]):
    """Writes a batch. A log must not have gaps, so a run that was rejected by the job `before` is rejected by this one.

    Both may be in the same transaction, when that had to be tried again.
    """

    def __init__(self, batch: EventBatch, sweeper: Sweeper, before: AppendJob | None) -> None:
        super().__init__(self._write)
        self._batch = batch
        self._sweeper = sweeper
        self._before = before
        self._rejected: dict[str, Exception] = {}
        self._wrote = self._dead = 0  # rows

    def seal(self) -> None:
        self._batch.seal()

    def done(self, _value: None) -> None:  # nobody waits for its outcome
        rejected, self._rejected, self._before = self._rejected, {}, None
        self._sweeper.wrote(self._wrote)
        if self._dead:
            self._sweeper.died(self._dead)
        self._batch.stored(rejected)

    def failed(self, error: Exception) -> None:
        super().failed(error)
        self._rejected, self._before = {}, None
        self._batch.stored({share.run_id: error for share in self._batch.shares()})

    def _write(self, connection: sqlite3.Connection) -> None:
        lost = StorageUnavailableError("Rows before these were lost.")
        # Those of all jobs before, for those that follow.
        self._rejected = dict.fromkeys(self._before._rejected, lost) if self._before else {}
        self._wrote = self._dead = 0
        shares = [share for share in self._batch.shares() if share.run_id not in self._rejected]
        plain = [share for share in shares if not share.changes]
        try:
            insert(connection, plain)
        except Exception as exc:
            if is_disk(exc):
                raise
            plain = []  # one of them is bad: each is tried alone, so that the others lose nothing by it
        self._wrote = sum(map(len, plain))
        for share in shares:
            if share.changes or not plain:
                self._write_alone(connection, share)

    def _write_alone(self, connection: sqlite3.Connection, share: Share) -> None:
        try:
            with savepoint(connection):
                if not share.ends:
                    insert(connection, [share])
                dead = sum([apply(connection, each) for each in share.changes])
        except Exception as exc:
            if is_disk(exc):
                raise
            self._rejected[share.run_id] = exc
        else:
            self._wrote += 0 if share.ends else len(share)
            self._dead += dead - len(share) if share.ends else dead
