"""Open runs after the process, the disk or their rows went away.

After a death of the process a run goes on where its log ends, by entering the loop again. A run that may itself be the
cause does not get to kill the process for ever: it has three lives a step, and after a process that died young the runs
are entered one after the other, so that each life is lost to one run alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing, suppress

import gevent
from gevent.lock import BoundedSemaphore

from deechat.errors import Cancelled, DamagedError, RunEndedError, StorageUnavailableError
from deechat.events import RunFailed
from deechat.log.journal import Journal
from deechat.messages import INTERRUPTED
from deechat.runs.registry import Registry
from deechat.runs.runner import Runner
from deechat.store.base import PATIENCE_AT_START, NoteRetries, RunRow, ServerStore

MAX_ATTEMPTS = 3  # of a step: the first, and two after a death of the process
CRASH_LOOP_SECONDS = 60.0  # a process that died younger may have been killed by a run that it took up
SOLO_SECONDS = 10.0  # that a run then has for itself, unless it gets through its step before

log = logging.getLogger(__name__)


class Recovery:
    """Watches over the runs in the registry: adds those that it takes up and removes those that are lost.

    A run whose last event is older than `recover` seconds is not taken up again.
    """

    def __init__(self, store: ServerStore, journal: Journal, registry: Registry, *, recover: float) -> None:
        self._store = store
        self._journal = journal
        self._registry = registry
        self._recover = recover
        self._storage_lock = BoundedSemaphore(1)

    # -- after a start -------------------------------------------------------------------------------------------------

    def at_start(self) -> None:
        """Let the runs that an earlier process left go on, and end those that shall not; their text is kept.

        Returns when the endings are on disk, so that the first request finds their threads free, but after
        `PATIENCE_AT_START` in any case: reading goes on without a disk that takes writes.
        """
        before = self._store.before
        taken = [runner for run in self._store.unfinished_runs() if (runner := self._acquire(run))]
        last_at = max((runner.state.last_at for runner in taken), default=0.0)
        again = [runner for runner in taken if self._may_go_on(runner)]
        if before.killed and before.lived(last_at) < CRASH_LOOP_SECONDS:
            self._go_on_in_turn(again)
        else:
            self._go_on_at_once(again, count=before.killed)
        waits = [gevent.spawn(self._wait_ended, runner) for runner in taken if runner.state.ending]
        gevent.joinall(waits, timeout=PATIENCE_AT_START)

    def _acquire(self, run: RunRow) -> Runner | None:
        """Take a run into memory, unless it ends while its log is read; give it up when that cannot be read."""
        try:
            return self._registry.acquire(run, self._journal.load(run.id))
        except RunEndedError:
            return None
        except DamagedError:
            log.exception("the run %s cannot go on", run.id)
            self._give_up(run.id)
            return None

    def _may_go_on(self, runner: Runner) -> bool:
        """End a run that is too old or has no life left, and let one rest that waits for a person."""
        if not runner.state.has_work:
            self._registry.release(runner)
            return False
        age = self._store.before.age(runner.state.last_at)
        runner.state.take_up(runner.log.now())  # there was no process to work on it
        if runner.run.retries >= MAX_ATTEMPTS - 1:
            words = (
                f"The server went down {MAX_ATTEMPTS} times in the same step, so it is not tried again; "
                "what it said is kept."
            )
        elif age > self._recover or not self._recover:
            words = "The server was away for too long while it answered; what it said is kept."
        else:
            return True
        self._end(runner, RunFailed("interrupted", words, "interrupted"))
        return False

    def _go_on_at_once(self, runners: Sequence[Runner], *, count: bool) -> None:
        if count:
            self._count(runners)
        for runner in runners:
            runner.ensure_running()

    def _go_on_in_turn(self, runners: Sequence[Runner]) -> None:
        for runner in runners:
            runner.held = True
        if runners:
            log.warning("the server died soon after its last start: %d answers go on one after the other", len(runners))
            gevent.spawn(self._one_after_the_other, sorted(runners, key=lambda each: each.run.retries))

    def _one_after_the_other(self, runners: Sequence[Runner]) -> None:
        for runner in runners:
            if self._registry.leaving:
                return
            self._count([runner])
            runner.held = False
            runner.ensure_running()
            self._watch(runner, min(SOLO_SECONDS, CRASH_LOOP_SECONDS / len(runners)))

    def _count(self, runners: Sequence[Runner]) -> None:
        """Count an attempt of each, on disk before it is entered."""
        for each in runners:
            each.retried = True
        notes = [self._store.submit(NoteRetries(each.run.id, each.run.retries + 1)) for each in runners]
        deadline = time.monotonic() + PATIENCE_AT_START
        for note in notes:
            note.wait(max(0.0, deadline - time.monotonic()))

    def _watch(self, runner: Runner, seconds: float) -> None:
        """Return when the run got through a step, has nothing to do any more, or has lived for so long."""
        finished, deadline = runner.state.finished, time.monotonic() + seconds
        with closing(runner.log.watch()) as watcher:
            while runner.working and runner.state.finished is finished and time.monotonic() < deadline:
                watcher.wait(min(0.5, seconds))  # leaving is no change of the log

    def _wait_ended(self, runner: Runner) -> None:
        with suppress(StorageUnavailableError):  # its ending comes when writing works again
            self._journal.wait_ended(runner.log)

    # -- endings -------------------------------------------------------------------------------------------------------

    def _end(self, runner: Runner, ending: RunFailed) -> None:
        """End a run of which only the log is left."""
        runner.last_try = True
        if runner.claim():
            runner.end(ending, cut_off=INTERRUPTED)

    def _give_up(self, run_id: str) -> None:
        self._registry.forget(run_id)
        self._journal.abandon(run_id).wait(PATIENCE_AT_START)

    def run_lost(self, run_id: str) -> None:
        """End a run whose rows could not be stored. Returns at once."""
        runner = self._registry.forget(run_id)
        if runner is not None:
            gevent.spawn(self._bury, runner)

    def _bury(self, runner: Runner) -> None:
        """End a run whose rows could not be stored, by its rows on disk."""
        if runner.claim():
            runner.cancel(Cancelled())
        try:
            run = self._store.find_run(runner.run.id)
        except DamagedError:  # the database tells of it
            self._give_up(runner.run.id)
            return
        if run is None:
            return  # deleted with its thread
        again = None if runner.last_try else self._acquire(run)
        if again is None:
            self._give_up(run.id)
        else:
            self._end(again, RunFailed("internal_error", "A part of the answer could not be stored."))

    # -- the disk ------------------------------------------------------------------------------------------------------

    def on_storage(self, available: bool) -> None:
        """End all work when nothing can be written, and say so in the logs when it can be again. Returns at once."""
        gevent.spawn(self._on_storage, available)

    def _on_storage(self, available: bool) -> None:
        with self._storage_lock:
            for runner in self._registry:
                if available:
                    self._end_failed(runner)
                else:
                    self._suspend(runner)

    def _suspend(self, runner: Runner) -> None:
        self._journal.suspend(runner.log)
        if runner.state.has_work and runner.claim():  # a run that waits for a person waits on
            runner.owes_ending = True
            runner.cancel(Cancelled())

    def _end_failed(self, runner: Runner) -> None:
        if runner.owes_ending:
            runner.owes_ending = False
            runner.end(
                RunFailed("storage_failed", "Nothing could be stored for a while, so the answer was ended there.")
            )
        self._journal.unsuspend(runner.log)
        self._registry.release(runner)
