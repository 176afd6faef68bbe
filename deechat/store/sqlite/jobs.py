"""What is queued for the writer: changes, and batches of events."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from deechat.errors import StorageUnavailableError
from deechat.store.base import Change, EventBatch, Share
from deechat.store.sqlite.changes import apply
from deechat.store.sqlite.database import LastingJob, is_disk
from deechat.store.sqlite.events import insert, savepoint
from deechat.store.sqlite.sweeper import Sweeper


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
