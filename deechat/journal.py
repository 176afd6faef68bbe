"""The log of runs: append, commit, follow.

A run's log is a list of entries that only grows. `append` puts an event at its end in memory and queues it for the next
commit; `follow` shows the part that is committed, and nothing else, from any place on. The log of an open run is in
memory as long as anybody works on it or looks at it; one that has ended is shown from disk: to a follower both are the
same. A run that waits for a person and is watched by nobody is a block on disk, and takes no memory.

A follower is a place in the log, no queue: it holds nobody back and misses nothing, however slow it is.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from weakref import WeakValueDictionary
from zlib import crc32

import gevent

from deechat import blocks, checksums
from deechat.database import Before, Database, Job, LastingJob, Work
from deechat.errors import BrokenLogError, DamagedError, NotFoundError, StorageUnavailableError
from deechat.events import AnyEvent, Ending, Entry, encode
from deechat.integrity import RESTORE
from deechat.records import Records, RunRecord, begin, ending, noting
from deechat.rows import EventRow, Rows, Share, insert
from deechat.sweeper import Sweeper
from deechat.waits import Waiter, wake_all

logger = logging.getLogger(__name__)

PAGE = 500  # entries that a follower is given at once
PATIENCE_AT_START = 5.0  # seconds
UNCOMMITTED_BYTES = 1_000_000  # more than this, and `append`'s caller should wait for the writer


class Log:
    """The log of one open run, in memory. Only the journal changes it; others read, and watch.

    `entries`: all that was appended. `committed`: how many of them are on disk, which is what followers see. `packed`:
    how many are in its block. `ended`: the ending is committed, and nothing follows it. `suspended`: nothing can be
    stored at the moment, so followers leave and nobody waits. `lost`: rows are missing for good, so nothing may follow.
    """

    def __init__(self, run_id: str, entries: Sequence[Entry] = ()) -> None:
        self.run_id = run_id
        self.seed = checksums.seed_of(run_id)  # of its rows' checksums
        self.entries: list[Entry] = list(entries)
        self.committed = len(self.entries)
        self.ended = bool(entries) and entries[-1].event.ends
        self.suspended = False
        self.lost = False
        self.uncommitted_bytes = 0
        self.packed = 0
        self.watchers: set[Waiter] = set()

    def watch(self) -> Watcher:
        """Gives waits that end when something has changed; to be closed."""
        return Watcher(self)

    def notify(self) -> None:
        wake_all(list(self.watchers))


class Watcher(Waiter):
    """Waits for changes of a log: look, and wait when there was nothing. Nothing that comes between is missed.

    It is one of the log's `watchers` until it is closed, waiting or not: to wake one that does not wait means nothing.
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
    """All logs of a database, and the rows of their runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.records = Records(database)
        # Weak: the runner, the followers and the rows on their way hold a log; without them it is read anew from disk.
        self._logs: WeakValueDictionary[str, Log] = WeakValueDictionary()
        self._rows: Rows[Log] | None = None  # those that more can be added to
        self._latest: Rows[Log] | None = None  # those that come before the next ones
        self._sweeper = Sweeper(database)
        self._closed = False
        # Called with a run's id when its ending is on disk, or its rows are lost, before anyone is told; must not wait.
        self.on_end: Callable[[str], object] = lambda _run_id: None
        self.on_lost: Callable[[str], object] = lambda _run_id: None

    # -- writing -------------------------------------------------------------------------------------------------------

    def open(self, run: RunRecord, events: Sequence[AnyEvent], *also: Work[None]) -> Log:
        """Stores a new run with its first events and what `also` writes, in one transaction, and gives its log.

        Raises `NotFoundError` when the thread is gone and `StorageUnavailableError`; nothing is kept then.
        """
        at = _to_the_ms(run.started_at)
        entries = [Entry(seq, at, event) for seq, event in enumerate(events, start=1)]
        rows = [row_of(run.id, entry) for entry in entries]

        def work(connection: sqlite3.Connection) -> None:
            for each in also:
                each(connection)
            begin(connection, run)
            insert(connection, rows)

        try:
            self._database.write(work)
        except sqlite3.IntegrityError as exc:
            if exc.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
                raise NotFoundError("The thread was deleted.") from exc
            raise
        self._sweeper.wrote(len(rows))
        # Who was quicker, between the commit and this moment, has read it from disk, and may be waiting already.
        return self._logs.setdefault(run.id, Log(run.id, entries))

    def check_available(self) -> None:
        """Raises `StorageUnavailableError` while nothing can be written."""
        self._database.check_available()

    def log(self, run_id: str) -> Log:
        """Gives the log of a run that has not ended; it is kept in memory for as long as the caller holds it.

        One that cannot be read is abandoned. Raises `BrokenLogError` then.
        """
        log = self._logs.get(run_id)
        if log is None:
            try:
                log = self._logs[run_id] = Log(run_id, self.entries(run_id))
                log.packed = self._database.look(lambda connection: blocks.last_seq(connection, run_id, rows=False))
            except BrokenLogError:
                self.abandon(run_id)  # or else its thread could not even be deleted
                raise
        return log

    def append(self, log: Log, event: AnyEvent, *also: Work[None]) -> Entry:
        """Puts the event at the log's end and queues it; `also` is written in the same transaction.

        An ending goes into the run's row too. Nobody sees the entry before it is committed. Never yields to another
        greenlet. Raises `StorageUnavailableError` when rows of this log were lost.
        """
        if log.lost:
            raise StorageUnavailableError("The run's log cannot be written any more.")
        # `_to_the_ms` and `row_of`, without a call for each token.
        ms = int(time.time() * 1000)
        at, seq, body = ms / 1000, len(log.entries) + 1, encode(event)
        entry = Entry(seq, at, event)
        row = (log.run_id, seq, at, body, crc32(body, (log.seed + seq + ms) & checksums.MASK))
        rows = self._rows or self._next_rows()
        if isinstance(event, Ending):
            # The block last: it leaves out the text that is in the run's message by then.
            rows.add(log, row, (*also, ending(log.run_id, at, event.reason), _packing(log)), packed=True)
        else:
            rows.add(log, row, also)
        log.entries.append(entry)
        log.uncommitted_bytes += len(body)
        return entry

    def _next_rows(self) -> Rows[Log]:
        rows = Rows(before=self._latest, sealed=self._seal, written=self._written, is_lost=lambda log: log.lost)
        self._rows = self._latest = rows
        self._database.pace.runs = len(self._logs)
        self._database.submit(rows)
        return rows

    def _seal(self) -> None:
        self._rows = None

    def _written(self, shares: Mapping[Log, Share], kept_out: Mapping[Log, Exception]) -> None:
        """Notes that the logs' rows are on disk, or that those kept out never will be; for the writer's greenlet.

        First all logs are marked, then all waits end together: whoever goes on sees the whole commit.
        """
        woken: list[Waiter] = []
        plain = 0
        try:
            for log, share in shares.items():
                woken += log.watchers
                if log in kept_out:
                    self._give_up(log, kept_out[log])
                    continue
                log.committed = share[-1][1]
                log.uncommitted_bytes -= share.size
                if share.is_packed:
                    self._end(log, share)
                else:
                    plain += len(share)
        finally:
            self._sweeper.wrote(plain)
            wake_all(woken)

    def _end(self, log: Log, share: Share) -> None:
        # Right after the commit and before anyone sees the ending: whoever does sees a run that is over.
        self._sweeper.died(log.committed - len(share) - log.packed)
        log.ended = True
        self._logs.pop(log.run_id, None)
        self.on_end(log.run_id)

    def _give_up(self, log: Log, error: Exception) -> None:
        # Most often the thread was deleted under the run. Nothing may follow in this log: it would leave a gap.
        if not log.lost:
            logger.error("rows of the run %s could not be stored", log.run_id, exc_info=error)
            self._lose(log)

    def wait_committed(self, log: Log, seq: int) -> None:
        """Returns when the entry `seq` is on disk. Raises `StorageUnavailableError` when the log is suspended."""
        self._wait(log, lambda: log.committed >= seq, "The run's log cannot be written at the moment.")

    def wait_ended(self, log: Log) -> None:
        """Returns when the ending is on disk. Raises `StorageUnavailableError` when it cannot get there now."""
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
        """Returns when less than `UNCOMMITTED_BYTES` of the log wait for the writer."""
        if log.uncommitted_bytes > UNCOMMITTED_BYTES:
            self.wait_committed(log, len(log.entries))

    def suspend(self, log: Log) -> None:
        """Ends the log's followers without an ending, and lets nobody wait for it, until `unsuspend`."""
        log.suspended = True
        log.notify()

    def unsuspend(self, log: Log) -> None:
        """Lets the log be followed to its end again."""
        log.suspended = False
        log.notify()

    def _lose(self, log: Log) -> None:
        log.suspended = log.lost = True
        self._logs.pop(log.run_id, None)
        self.on_lost(log.run_id)

    def rest(self, log: Log) -> None:
        """Queues the note that the run waits for a person, with its log as a block, unless something is appended."""
        self._database.submit(_Resting(log, self._sweeper.died))

    # -- reading -------------------------------------------------------------------------------------------------------

    def abandon(self, run_id: str) -> Job[None]:
        """Queues closing the row of a run whose log cannot be read, so that its thread goes on without it."""
        self._logs.pop(run_id, None)
        return self.records.close(run_id, "interrupted")

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        """Gives committed entries after the SEQ `after`, from disk. Raises `BrokenLogError`."""
        record = self.records.find(run_id)  # before the log: one that has ended by then has its ending
        try:
            entries = self._database.look(lambda connection: blocks.log_of(connection, run_id))
        except (ValueError, DamagedError) as exc:
            raise self._broken(run_id, exc) from exc
        if record is not None and not entries:
            raise self._broken(run_id, "there is nothing of it")
        # One that was given up is closed without an ending in its log.
        has_ending = record is not None and record.ended_at is not None and record.reason != "interrupted"
        if has_ending and not entries[-1].event.ends:
            raise self._broken(run_id, "its ending is missing")
        return entries[after:]

    def _broken(self, run_id: str, why: object) -> BrokenLogError:
        self._database.damage.note(f"the log of the run {run_id}")
        return BrokenLogError(
            f"The log of the run {run_id} cannot be read ({why}): {self._database.path.name} is damaged, or a newer "
            f"version wrote it. {RESTORE}"
        )

    def last_seq(self, run_id: str) -> int:
        """Gives the SEQ of the last committed entry; 0 when the run is gone. Raises `BrokenLogError`."""
        log = self._logs.get(run_id)
        stored = self._database.look(lambda connection: blocks.last_seq(connection, run_id, rows=log is None))
        # A block may be on disk a moment before it is noted here.
        if log is None and not stored:
            record = self.records.find(run_id)
            if record is not None and record.reason != "interrupted":
                raise self._broken(run_id, "there is nothing of it")
        return stored if log is None else max(stored, log.committed)

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Return the committed entries after the SEQ `after`, as many at a time as there are, until the ending.

        An empty list says that nothing came for `silence` seconds. Ends without an ending when the log is suspended,
        the run is deleted or the journal is closed: the follower may come again. Raises `BrokenLogError` at once, not
        at the first entry, when the log cannot be read.
        """
        log = self._logs.get(run_id) or self._log_if_open(run_id)
        if log is None:
            return self._follow_disk(self.entries(run_id, after))
        return self._follow_log(log, after, silence)

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
                        gevent.sleep(0)  # a fast reader of a long log must not keep the hub from everybody else
                elif log.suspended or log.ended:
                    return
                elif not watcher.wait(silence):
                    yield []

    def _log_if_open(self, run_id: str) -> Log | None:
        """Gives the log of a run that waits for somebody; None when it has ended or is gone."""
        record = self.records.find(run_id)
        return self.log(run_id) if record is not None and record.ended_at is None else None

    def _follow_disk(self, entries: list[Entry]) -> Generator[list[Entry], None, None]:
        for at in range(0, len(entries), PAGE):
            if self._closed:
                return
            yield entries[at : at + PAGE]
            gevent.sleep(0)  # as above

    # -- beginning and leaving -----------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Makes a block of every log that an earlier process left as rows: reading one then looks at no other's rows.

        Returns after `PATIENCE_AT_START` in any case: a log in rows can be read too.
        """
        if self._database.look(blocks.numbers):
            self._database.submit(LastingJob(blocks.put_all)).outcome.wait(PATIENCE_AT_START)

    def tidy(self) -> None:
        """Sweeps what is left of packed logs; to be called when nothing is appended any more."""
        self._sweeper.close()

    def close(self) -> None:
        """Ends every follower without an ending: the process is going away."""
        self._closed = True
        for log in list(self._logs.values()):
            log.notify()

    @property
    def before(self) -> Before:
        """The process that had the journal before this one."""
        return self._database.before

    def forget_gone(self) -> None:
        """Lets go of the logs whose runs were deleted, and of those who follow them."""
        for run_id, log in list(self._logs.items()):
            if self.records.find(run_id) is None:
                self._lose(log)
                log.notify()


class _Resting(LastingJob[bool]):
    """Notes that a run waits for a person, and makes its log a block, unless something is appended meanwhile."""

    def __init__(self, log: Log, count_dead: Callable[[int], object]) -> None:
        super().__init__(self._note)
        self._log = log  # held until then, so that nobody has to read it from rows
        self._entries = log.entries[: log.committed]
        self._count_dead = count_dead

    def _note(self, connection: sqlite3.Connection) -> bool:
        if len(self._log.entries) > len(self._entries):
            return False
        if self._log.packed < len(self._entries):
            blocks.put(connection, self._log.run_id, self._entries)
        noting(self._log.run_id, rests=1)(connection)
        return True

    def done(self, value: bool) -> None:
        super().done(value)
        if value:
            self._count_dead(len(self._entries) - self._log.packed)
            self._log.packed = len(self._entries)


def row_of(run_id: str, entry: Entry) -> EventRow:
    """Return an entry as its row is stored."""
    body = encode(entry.event)
    return run_id, entry.seq, entry.at, body, checksums.of_event(run_id, entry.seq, entry.at, body)


def _packing(log: Log) -> Work[None]:
    """Gives the work that makes a log whose ending is appended a block."""

    def work(connection: sqlite3.Connection) -> None:
        blocks.put(connection, log.run_id, log.entries)

    return work


def _to_the_ms(at: float) -> float:
    """Gives the time, in seconds, as it is kept: the same entry has the same time for ever."""
    return int(at * 1000) / 1000
