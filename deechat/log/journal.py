"""The log of runs: append, commit, follow.

A run's log is a list of entries that only grows. `append` puts an event at its end in memory and queues it for the next
commit; `follow` shows the part that is committed, and nothing else, from any place on. The log of an open run is in
memory as long as its runner or a follower holds it; one that has ended is shown from disk: to a follower both are the
same. A run that waits for a person and has no follower is a block on disk, and takes no memory.

A follower is a place in the log, no queue: a slow one delays no other and misses nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec
from gevent.lock import BoundedSemaphore

from deechat.errors import BrokenLogError, StorageUnavailableError
from deechat.events import AnyEvent, Ending, Entry, encode
from deechat.log.batch import Batch
from deechat.net.clock import steady
from deechat.net.wait import Waiter, give_turn
from deechat.store.base import (
    BeginRun,
    Change,
    CompactLog,
    EndRun,
    EventRow,
    GiveUpRun,
    Receipt,
    RestRun,
    RunRow,
    ServerStore,
    Share,
    WakeRun,
)

logger = logging.getLogger(__name__)

PAGE = 500  # entries that a follower is given at once
HANDED_OVER = 2_000  # entries by which a log at work is handed over to be compacted, when twice as many are in rows
UNCOMMITTED_BYTES = 1_000_000  # more than this, and `append`'s caller should wait for the writer


class LogListener(Protocol):
    """Is told of ended and of lost logs, before their followers. Neither method may wait."""

    def run_ended(self, run_id: str) -> None:
        """Note that the run's ending is on disk."""

    def run_lost(self, run_id: str) -> None:
        """Note that rows of the run cannot be stored."""


class Log:
    """The log of one open run, in memory. Only the journal changes it; others read, and watch.

    `entries`: all that was appended. `committed`: the number of them that are on disk; followers see these alone.
    `handed_over`: the number given to the store to compact. `ended`: the ending is committed, and nothing follows it.
    `suspended`: nothing can be stored at the moment, so followers leave and waits end. `lost`: rows are missing for
    good or the run was given up, so nothing may follow. `rested`: the number of entries when it was laid to rest, 0
    where it was not; `asks`: where its open requests stood then, None where that was not noted.

    `ahead`: by how much the log's clock is ahead of `steady`. It is set by the wall clock once, so that a wall clock
    which jumps meanwhile makes no entry look late or early, and never set to before the last entry.
    """

    def __init__(self, run_id: str, entries: Sequence[Entry] = ()) -> None:
        self.run_id = run_id
        self.entries: list[Entry] = list(entries)
        self.committed = len(self.entries)
        self.ended = bool(entries) and entries[-1].event.ends
        self.suspended = False
        self.lost = False
        self.uncommitted_bytes = 0
        self.handed_over = 0
        self.rested = 0
        self.asks: tuple[int, ...] | None = None
        self.watchers: set[Waiter] = set()
        self.set_clock()

    def set_clock(self) -> None:
        """Set the log's clock by the wall clock, or to just after the last entry where that is later."""
        last_at = self.entries[-1].at if self.entries else 0.0
        self.ahead = max(time.time(), last_at + 0.001) - steady()

    def now(self) -> float:
        """Return the time of the log's clock, in Unix seconds."""
        return self.ahead + steady()

    def watch(self) -> Watcher:
        """Return a watcher, whose waits end with the next change; to be closed."""
        return Watcher(self)

    def notify(self) -> None:
        Waiter.resume_soon(list(self.watchers))


class Watcher(Waiter):
    """Waits for changes of a log: look, and wait when there was nothing. Nothing that comes between is missed.

    It is one of the log's `watchers` until it is closed, waiting or not: waking one that does not wait has no effect.
    """

    __slots__ = ("_log",)

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        log.watchers.add(self)

    def close(self) -> None:
        super().close()
        self._log.watchers.discard(self)


class Journal:
    """All logs of a store. `listener` is told of runs that end and that are lost."""

    def __init__(self, store: ServerStore, listener: LogListener | None = None) -> None:
        self._store = store
        self._listener = listener
        # Weak: the runner, the followers and the rows on their way hold a log; without them it is read anew from disk.
        self._logs: WeakValueDictionary[str, Log] = WeakValueDictionary()
        self._loading: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()
        self._let_gos = 0  # how many runs were given up
        self._batch: Batch[Log] | None = None  # the one that more can be added to
        self._closed = False

    # -- writing -------------------------------------------------------------------------------------------------------

    def open(self, run: RunRow, events: Sequence[AnyEvent], *changes: Change) -> Log:
        """Store a new run with its first events and the changes, in one transaction, and return its log.

        Raises `NotFoundError` when the thread is gone, `ConflictError` when another run of it was quicker, and
        `StorageUnavailableError`; nothing is kept then.
        """
        at = _to_the_ms(run.started_at)
        entries = [Entry(seq, at, event) for seq, event in enumerate(events, start=1)]
        self._store.write(*changes, BeginRun(run, [row_of(entry) for entry in entries]))
        # A follower may have loaded this log since the commit: keep that copy.
        return self._logs.setdefault(run.id, Log(run.id, entries))

    def check_available(self) -> None:
        """Raise `StorageUnavailableError` while nothing can be written."""
        self._store.check_available()

    def load(self, run_id: str) -> Log:
        """Return the log of a run that has not ended; it is kept in memory for as long as the caller holds it.

        Other greenlets go on while a long one is read. One that cannot be read is abandoned. Raises `BrokenLogError`
        then. Nothing can be appended to the log of a run that has ended meanwhile.
        """
        log = self._logs.get(run_id)
        if log is not None:
            return log
        # An append needs the log in memory, and no other greenlet brings it there, so it is read as it stands.
        with self._loading.setdefault(run_id, BoundedSemaphore(1)):
            while (log := self._logs.get(run_id)) is None:
                log = self._read(run_id)
                if log is not None:
                    return log
                give_turn()  # it went on meanwhile
            return log

    def _read(self, run_id: str) -> Log | None:
        """Read a log into memory; None when it has changed meanwhile."""
        entries: list[Entry] = []
        let_gos = self._let_gos
        try:
            for page in self.pages(run_id):
                entries += page
        except BrokenLogError:
            self.abandon(run_id)  # or else its thread could not even be deleted
            raise
        if (known := self._logs.get(run_id)) is not None:
            return known  # it has just begun
        run = self._store.find_run(run_id)
        log = Log(run_id, entries)
        if run is None or run.ended_at is not None:
            log.lost = not log.ended
            return log
        if self._store.last_seq(run_id) != len(entries) or let_gos != self._let_gos:
            return None
        if log.ended:
            return log
        log.handed_over = len(entries)
        if run.rests:
            log.rested = len(entries)
            log.asks = tuple(msgspec.json.decode(run.asks)) if run.asks is not None else None
        return self._logs.setdefault(run_id, log)

    def in_memory(self, run_id: str) -> Log | None:
        """Return the log of a run while its runner or a follower holds it; None else."""
        return self._logs.get(run_id)

    def append(self, log: Log, event: AnyEvent, *changes: Change) -> Entry:
        """Put the event at the log's end and queue it; the changes are written in the same transaction.

        An ending goes into the run's row too. No follower sees the entry before it is committed. Never yields to
        another greenlet. Raises `StorageUnavailableError` when rows of this log were lost.
        """
        if log.lost:
            raise StorageUnavailableError("The run's log cannot be written any more.")
        # `now`, `_to_the_ms` and `row_of`, without a call for each token.
        at = int((log.ahead + steady()) * 1000) / 1000
        seq, body = len(log.entries) + 1, encode(event)
        entry = Entry(seq, at, event)
        if log.rested:  # a log at rest has no rows, and this is one
            log.rested, changes = 0, (*changes, WakeRun(log.run_id))
        batch = self._batch or self._next_batch()
        log.entries.append(entry)
        log.uncommitted_bytes += len(body)
        if isinstance(event, Ending):
            # The log last: it leaves out the text that is in the run's message by then.
            ending = EndRun(log.run_id, at, event.reason), CompactLog(log.run_id, log.entries)
            batch.add(log, log.run_id, (seq, at, body), (*changes, *ending), ends=True)
        else:
            batch.add(log, log.run_id, (seq, at, body), changes)
        return entry

    def _next_batch(self) -> Batch[Log]:
        self._batch = batch = Batch(self._seal, self._stored)
        self._store.append(batch, len(self._logs))
        return batch

    def _seal(self) -> None:
        self._batch = None

    def _stored(self, shares: Mapping[Log, Share], rejected: Mapping[Log, Exception]) -> None:
        """Note that the logs' rows are on disk, or that those rejected never will be; for the writer's greenlet.

        First all logs are marked, then all waits end together: every waiter sees the whole commit.
        """
        woken: list[Waiter] = []
        try:
            for log, share in shares.items():
                woken += log.watchers
                if log in rejected:
                    self._give_up(log, rejected[log])
                    continue
                log.committed = share[-1][0]
                log.uncommitted_bytes -= share.size
                if share.ends:
                    self._end(log)
                elif log.committed - log.handed_over >= 2 * HANDED_OVER:
                    self._hand_over(log)
        finally:
            Waiter.resume_soon(woken)

    def _end(self, log: Log) -> None:
        # Right after the commit and before a follower sees the ending, which shall find a run that is over.
        log.ended = True
        self._logs.pop(log.run_id, None)
        if self._listener is not None:
            self._listener.run_ended(log.run_id)

    def _hand_over(self, log: Log) -> None:
        """Let a long log's oldest rows be compacted, so that its ending has little to do."""
        log.handed_over += HANDED_OVER
        self._store.submit(CompactLog(log.run_id, log.entries[: log.handed_over]))

    def _give_up(self, log: Log, error: Exception) -> None:
        # Most often the thread was deleted under the run. Nothing may follow in this log: it would leave a gap.
        if not log.lost:
            logger.error("rows of the run %s could not be stored", log.run_id, exc_info=error)
            self._lose(log)

    def wait_committed(self, log: Log, seq: int) -> None:
        """Return when the entry `seq` is on disk. Raises `StorageUnavailableError` when the log is suspended."""
        self._wait(log, lambda: log.committed >= seq, "The run's log cannot be written at the moment.")

    def wait_ended(self, log: Log) -> None:
        """Return when the ending is on disk. Raises `StorageUnavailableError` when it cannot get there now."""
        self._wait(log, lambda: log.ended, "The ending cannot be stored at the moment.")

    def _wait(self, log: Log, there: Callable[[], bool], otherwise: str) -> None:
        if there():
            return
        with closing(log.watch()) as watcher:
            while not there():
                if log.suspended:
                    raise StorageUnavailableError(otherwise, retry_after=5)
                watcher.wait()

    def wait_for_room(self, log: Log) -> None:
        """Return when less than `UNCOMMITTED_BYTES` of the log wait for the writer."""
        if log.uncommitted_bytes > UNCOMMITTED_BYTES:
            self.wait_committed(log, len(log.entries))

    def suspend(self, log: Log) -> None:
        """End the log's followers without an ending, and its waits by an error, until `unsuspend`."""
        log.suspended = True
        log.notify()

    def unsuspend(self, log: Log) -> None:
        """Let the log be followed to its end again."""
        log.suspended = False
        log.notify()

    def _lose(self, log: Log) -> None:
        log.suspended = log.lost = True
        self._logs.pop(log.run_id, None)
        if self._listener is not None:
            self._listener.run_lost(log.run_id)

    def rest(self, log: Log, asks: Sequence[int]) -> None:
        """Queue the note that the run waits for a person, with its log to be compacted.

        All of the log is on disk. `asks`: where in the log the requests stand that it waits for.
        """
        log.rested, log.asks = len(log.entries), tuple(asks)
        # An event appended from here on comes after the note, and takes it back.
        self._batch = None
        self._store.submit(RestRun(log.run_id, log.entries[:], log.asks), partial(self._note_rest, log, log.rested))

    def _note_rest(self, log: Log, length: int) -> None:
        log.handed_over = length  # and the log was held until here, so that it is not read from rows

    # -- reading -------------------------------------------------------------------------------------------------------

    def abandon(self, run_id: str) -> Receipt:
        """Queue closing the row of a run whose log is no longer read or written, so that its thread goes on.

        Until that is on disk, the log may be read and followed.
        """
        return self._store.submit(GiveUpRun(run_id), partial(self._let_go, run_id))

    def abandon_damaged(self, thread_id: str) -> None:
        """Close the row of the thread's open run, which is damaged, so that the thread goes on without it.

        Raises `StorageUnavailableError`.
        """
        for run_id in self._store.give_up_damaged(thread_id):
            self._let_go(run_id)

    def _let_go(self, run_id: str) -> None:
        """End the followers of a log to which nothing is added any more; those that come again read it from disk."""
        self._let_gos += 1
        log = self._logs.pop(run_id, None)
        if log is not None:
            log.lost = True
            self.suspend(log)

    def pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        """Return committed entries after the SEQ `after`, from disk, as many at a time as can be read in a moment.

        Other greenlets go on in between. Raises `BrokenLogError`.
        """
        for page in self._store.log_pages(run_id, after):
            yield page
            if len(page) >= PAGE:
                give_turn()

    def entry(self, run_id: str, seq: int) -> Entry:
        """Return one committed entry, from disk. Raises `BrokenLogError`, also when it is not there."""
        for page in self._store.log_pages(run_id, seq - 1):
            return page[0]
        raise BrokenLogError(f"The run {run_id} has no entry {seq}.")

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Return the committed entries after the SEQ `after`, as many at a time as there are, until the ending.

        An empty list says that nothing came for `silence` seconds. Ends without an ending when the log is suspended,
        the run is deleted or the journal is closed: the follower may come again. Raises `BrokenLogError` at once, not
        at the first entry, when the log cannot be read.
        """
        log = self._logs.get(run_id) or self._log_if_open(run_id)
        if log is not None:
            return self._follow_log(log, after, silence)
        self._store.check_log(run_id, after)
        return self._follow_disk(run_id, after)

    def _follow_log(self, log: Log, after: int, silence: float) -> Generator[list[Entry], None, None]:
        with closing(log.watch()) as watcher:
            while not self._closed:
                entries = log.entries[after : min(log.committed, after + PAGE)]
                if entries:
                    after = entries[-1].seq
                    yield entries
                    if entries[-1].event.ends:
                        return
                    if len(entries) == PAGE:
                        give_turn()  # a fast reader of a long log must not keep the hub from the others
                elif log.suspended or log.ended:
                    return
                elif not watcher.wait(silence):
                    yield []

    def _log_if_open(self, run_id: str) -> Log | None:
        """Return the log of an open run; None when the run has ended or is gone."""
        run = self._store.find_run(run_id)
        if run is None or run.ended_at is not None:
            return None
        log = self.load(run_id)
        return log if run_id in self._logs or log.ended else None  # or else it was deleted meanwhile

    def _follow_disk(self, run_id: str, after: int) -> Generator[list[Entry], None, None]:
        for page in self._store.log_pages(run_id, after):
            for at in range(0, len(page), PAGE):
                if self._closed:
                    return
                yield page[at : at + PAGE]
                give_turn()  # as above

    def close(self) -> None:
        """End every follower without an ending: the process is going away."""
        self._closed = True
        for log in list(self._logs.values()):
            log.notify()


def row_of(entry: Entry) -> EventRow:
    """Return an entry as the store takes it."""
    return entry.seq, entry.at, encode(entry.event)


def _to_the_ms(at: float) -> float:
    """Return the time, in seconds, as it is kept: the same entry has the same time for ever."""
    return int(at * 1000) / 1000
