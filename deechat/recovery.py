"""What becomes of open runs when the process, the disk or their rows went away: each gets its one ending yet."""

from __future__ import annotations

import logging
from contextlib import suppress

import gevent
from gevent.lock import BoundedSemaphore

from deechat.agents.loop import INTERRUPTED
from deechat.errors import Cancelled, NotFoundError, StorageUnavailableError
from deechat.events import RunFailed
from deechat.journal import Journal, RunRecord
from deechat.runner import Runner

PATIENCE_AT_START = 5.0  # seconds

log = logging.getLogger(__name__)


class Recovery:
    """Watches over the runs in `active`, by their id: adds those that it takes up and removes those that are lost."""

    def __init__(self, journal: Journal, active: dict[str, Runner]) -> None:
        self._journal = journal
        self._active = active
        self._storage_lock = BoundedSemaphore(1)
        journal.on_lost = self._lose

    def at_start(self) -> None:
        """Ends the runs that an earlier process left open; what they said is kept.

        Returns when the endings are on disk, so that the first request finds their threads free, but after
        `PATIENCE_AT_START` in any case: reading goes on without a disk that takes writes.
        """
        for record in self._journal.unfinished():
            ending = RunFailed(
                "interrupted", "The server was restarted while it answered; what it said is kept.", "interrupted"
            )
            self._close(record, ending)
        waits = [gevent.spawn(self._wait_ended, runner) for runner in self._active.values()]
        gevent.joinall(waits, timeout=PATIENCE_AT_START)

    def _wait_ended(self, runner: Runner) -> None:
        with suppress(StorageUnavailableError):  # its ending comes when writing works again
            self._journal.wait_ended(runner.log)

    def _close(self, record: RunRecord, ending: RunFailed) -> None:
        """Ends a run of which only the log is left; gives it up when that cannot be read."""
        try:
            runner = Runner(record, self._journal.resume(record.id), self._journal)
            runner.last_try = True
            runner.claim()
            self._active[record.id] = runner
            runner.end(ending, cut_off=INTERRUPTED)
        except Exception:
            log.exception("the log of the run %s cannot be read; it is given up", record.id)
            self._active.pop(record.id, None)
            self._journal.abandon(record.id)

    def _lose(self, run_id: str) -> None:
        # Called by the one writer, which must not wait.
        runner = self._active.pop(run_id, None)
        if runner is not None:
            gevent.spawn(self._bury, runner)

    def _bury(self, runner: Runner) -> None:
        """Ends a run whose rows could not be stored by what is on disk of it."""
        if runner.claim():
            runner.cancel(Cancelled())
        try:
            record = self._journal.run(runner.record.id)
        except NotFoundError:
            return  # deleted with its thread
        if runner.last_try:
            self._journal.abandon(record.id)
        else:
            self._close(record, RunFailed("internal_error", "A part of the answer could not be stored."))

    def on_storage(self, available: bool) -> None:
        """Ends all work when nothing can be written, and says so in the logs when it can be again. Returns at once."""
        gevent.spawn(self._on_storage, available)

    def _on_storage(self, available: bool) -> None:
        with self._storage_lock:
            for runner in list(self._active.values()):
                if available:
                    self._end_failed(runner)
                else:
                    self._suspend(runner)

    def _suspend(self, runner: Runner) -> None:
        self._journal.suspend(runner.log)
        if runner.claim():
            runner.owes_ending = True
            runner.cancel(Cancelled())

    def _end_failed(self, runner: Runner) -> None:
        if runner.owes_ending:
            runner.owes_ending = False
            runner.end(
                RunFailed("storage_failed", "Nothing could be stored for a while, so the answer was ended there.")
            )
        self._journal.unsuspend(runner.log)
