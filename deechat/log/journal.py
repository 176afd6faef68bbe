"""The log of runs: append, commit, follow.

A run's log is a list of entries that only grows. `append` puts an event at its end in memory and queues it for the next
commit; `follow` shows the part that is committed, and nothing else, from any place on. The log of an open run is in
memory as long as anybody works on it or looks at it; one that has ended is shown from disk: to a follower both are the
same. A run that waits for a person and is watched by nobody is a block on disk, and takes no memory.

A follower is a place in the log, no queue: it holds nobody back and misses nothing, however slow it is.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from weakref import WeakValueDictionary
from zlib import crc32

import gevent

from deechat.errors import BrokenLogError, NotFoundError, StorageUnavailableError
from deechat.events import AnyEvent, Ending, Entry, encode
from deechat.log import compaction
from deechat.log.batch import EventRow, Rows, Share, insert
from deechat.log.sweeper import Sweeper
from deechat.net.clock import steady
from deechat.net.wait import Waiter, wake_all
from deechat.store.base import RunRow
from deechat.store.sqlite import checksums
from deechat.store.sqlite.connections import Before
from deechat.store.sqlite.database import Database, Job, LastingJob, Work
from deechat.store.sqlite.deletion import Deletion
from deechat.store.sqlite.integrity import RESTORE
from deechat.store.sqlite.runs import Records, begin, ending, giving_up, giving_up_in, noting

logger = logging.getLogger(__name__)

PAGE = 500  # entries that a follower is given at once
PATIENCE_AT_START = 5.0  # seconds
PACKED_AT_WORK = 2 * compaction.ENTRIES  # more entries in rows than this, and a log at work gets a block
UNCOMMITTED_BYTES = 1_000_000  # more than this, and `append`'s caller should wait for the writer


class Log:
    """The log of one open run, in memory. Only the journal changes it; others read, and watch.

    `entries`: all that was appended. `committed`: how many of them are on disk, which is what followers see. `packed`:
    how many are in its blocks, or on their way there. `ended`: the ending is committed, and nothing follows it.
    `suspended`: nothing can be stored at the moment, so followers leave and nobody waits. `lost`: rows are missing for
    good, so nothing may follow. `rested`: how many entries it had when it was laid to rest, 0 where it was not; `asks`:
    where its open requests stood then, None where that was not noted.

    `ahead`: by how much the log's clock is ahead of `steady`. It is set by the wall clock once, so that a wall clock
    which jumps meanwhile makes no entry look late or early, and never set to before the last entry.
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
        self.rested = 0
        self.asks: tuple[int, ...] | None = None
        self.watchers: set[Waiter] = set()
        self.set_clock()

    def set_clock(self) -> None:
        """Sets the log's clock by the wall clock, or to just after the last entry where that is later."""
        last_at = self.entries[-1].at if self.entries else 0.0
        self.ahead = max(time.time(), last_at + 0.001) - steady()

    def now(self) -> float:
        """Return the time of the log's clock, in Unix seconds."""
        return self.ahead + steady()

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
        self._deletion = Deletion(database, done=lambda: self._sweeper.died(1))
        self._take_over: gevent.Greenlet[..., None] | None = None
        self._closed = False
        # Called with a run's id when its ending is on disk, or its rows are lost, before anyone is told; must not wait.
        self.on_end: Callable[[str], object] = lambda _run_id: None
        self.on_lost: Callable[[str], object] = lambda _run_id: None

    # -- writing -------------------------------------------------------------------------------------------------------

    def open(self, run: RunRow, events: Sequence[AnyEvent], *also: Work[None]) -> Log:
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

    def load(self, run_id: str) -> Log:
        """Gives the log of a run that has not ended; it is kept in memory for as long as the caller holds it.

        Others have their turn while a long one is read. One that cannot be read is abandoned. Raises `BrokenLogError`
        then.
        """
        while (log := self._logs.get(run_id)) is None:
            entries: list[Entry] = []
            try:
                for page in self.pages(run_id):
                    entries += page
            except BrokenLogError:
                self.abandon(run_id)  # or else its thread could not even be deleted
                raise
            if run_id in self._logs:
                continue
            record = self.records.find(run_id)
            over = record is None or record.ended_at is not None
            if over or self.last_seq(run_id) == len(entries):
                return self._keep(run_id, entries)
            gevent.sleep(0)  # it went on meanwhile
        return log

    def in_memory(self, run_id: str) -> Log | None:
        """Gives the log of a run that somebody works on or looks at."""
        return self._logs.get(run_id)

    def _keep(self, run_id: str, entries: list[Entry]) -> Log:
        log, record = Log(run_id, entries), self.records.find(run_id)
        if record is not None and record.ended_at is None and not log.ended:  # or else nothing more comes
            log.packed = self._database.look(partial(compaction.last_packed, run_id=run_id))
            if record.rests:
                log.rested = len(entries)
                log.asks = tuple(json.loads(record.asks)) if record.asks is not None else None
            self._logs[run_id] = log
        return log

    def append(self, log: Log, event: AnyEvent, *also: Work[None]) -> Entry:
        """Puts the event at the log's end and queues it; `also` is written in the same transaction.

        An ending goes into the run's row too. Nobody sees the entry before it is committed. Never yields to another
        greenlet. Raises `StorageUnavailableError` when rows of this log were lost.
        """
        if log.lost:
            raise StorageUnavailableError("The run's log cannot be written any more.")
        # `now`, `_to_the_ms` and `row_of`, without a call for each token.
        ms = int((log.ahead + steady()) * 1000)
        at, seq, body = ms / 1000, len(log.entries) + 1, encode(event)
        entry = Entry(seq, at, event)
        row = (log.run_id, seq, at, body, crc32(body, (log.seed + seq + ms) & checksums.MASK))
        if log.rested:  # what rests has no rows, and this is one
            log.rested, also = 0, (*also, noting(log.run_id, rests=0))
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
                    if log.committed - log.packed >= PACKED_AT_WORK:
                        self._pack(log)
        finally:
            self._sweeper.wrote(plain)
            wake_all(woken)

    def _end(self, log: Log, share: Share) -> None:
        # Right after the commit and before anyone sees the ending: whoever does sees a run that is over.
        self._sweeper.died(log.committed - len(share) - log.packed)
        log.ended = True
        self._logs.pop(log.run_id, None)
        self.on_end(log.run_id)

    def _pack(self, log: Log) -> None:
        """Queues a block of a long log's oldest rows, so that its ending has little to do."""
        entries = log.entries[log.packed : log.packed + compaction.ENTRIES]
        log.packed += len(entries)
        self._database.submit(_Packing(log.run_id, entries, self._sweeper.died))

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

    def rest(self, log: Log, asks: Sequence[int]) -> None:
        """Queues the note that the run waits for a person, with its log in blocks, unless something is appended.

        `asks`: where in the log the requests stand that it waits for.
        """
        log.rested, log.asks = len(log.entries), tuple(asks)
        self._database.submit(_Resting(log, self._sweeper.died))

    # -- reading -------------------------------------------------------------------------------------------------------

    def abandon(self, run_id: str) -> Job[None]:
        """Queues closing the row of a run whose log is no longer read or written, so that its thread goes on."""
        return self._database.submit(_Closing(run_id, self._let_go))

    def abandon_damaged(self, thread_id: str) -> None:
        """Closes the row of the thread's open run, which is damaged, so that the thread goes on without it.

        Raises `StorageUnavailableError`.
        """
        for run_id in self._database.write(giving_up_in(thread_id, compaction.GIVEN_UP)):
            self._let_go(run_id)

    def _let_go(self, run_id: str) -> None:
        """Ends the followers of a log to which nothing is added any more; those that come again read it from disk."""
        log = self._logs.pop(run_id, None)
        if log is not None:
            log.lost = True
            self.suspend(log)

    def pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        """Gives committed entries after the SEQ `after`, from disk, as many at a time as can be read in a moment.

        Others have their turn in between. Raises `BrokenLogError`.
        """
        for page in self._pages(run_id, after):
            yield page
            if len(page) >= PAGE:
                gevent.sleep(0)

    def _pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        try:
            yield from self._blocks_and_rows(run_id, after)
        except ValueError as exc:
            raise self._broken(run_id, exc) from exc

    def _blocks_and_rows(self, run_id: str, after: int) -> Iterator[list[Entry]]:
        record = self.records.find(run_id)  # before the log: one that has ended by then has its ending
        look, at, last, content = self._database.look, after, None, None
        while block := look(partial(compaction.next_block, run_id=run_id, after=at)):
            last_seq, body = block
            if content is None:  # once: each block has a part of it
                content = look(partial(compaction.message_content, run_id=run_id))
            try:
                page = compaction.unpack(body, content, last_seq)
            except ValueError:
                if self.records.find(run_id) is None:
                    return  # deleted, and its message is removed already
                # Between two pages the run may have ended, with a message that this block leaves its text to.
                content = look(partial(compaction.message_content, run_id=run_id))
                page = compaction.unpack(body, content, last_seq)
            if not page or page[0].seq > at + 1:
                if self.records.find(run_id) is None:
                    return  # deleted, and its blocks are being removed
                raise ValueError(f"entry {at + 1} is missing")
            yield page[at + 1 - page[0].seq :]
            at, last = last_seq, page[-1]
        rows = look(partial(compaction.rest, run_id=run_id, after=at))
        if rows:
            yield rows
        self._check_end(record, after, rows[-1] if rows else last)

    def _check_end(self, record: RunRow | None, after: int, last: Entry | None) -> None:
        """Checks that a log ends where its run's row says, when `last` came last of what follows `after`.

        Raises `ValueError`.
        """
        is_bare = last is None and after == 0
        # One that was given up is closed without an ending in its log.
        has_ending = record is not None and record.ended_at is not None and record.reason != compaction.GIVEN_UP
        if not is_bare and not (has_ending and last is not None and not last.event.ends):
            return
        if record is not None and self.records.find(record.id) is not None:  # or else it is being deleted
            raise ValueError("there is nothing of it" if is_bare else "its ending is missing")

    def entry(self, run_id: str, seq: int) -> Entry:
        """Gives one committed entry, from disk. Raises `BrokenLogError`, also when it is not there."""
        for page in self._pages(run_id, seq - 1):
            return page[0]
        raise BrokenLogError(f"The run {run_id} has no entry {seq}.")

    def _broken(self, run_id: str, why: object) -> BrokenLogError:
        self._database.damage.note(f"the log of the run {run_id}")
        return BrokenLogError(
            f"The log of the run {run_id} cannot be read ({why}): {self._database.path.name} is damaged, or a newer "
            f"version wrote it. {RESTORE}"
        )

    def last_seq(self, run_id: str) -> int:
        """Gives the SEQ of the last committed entry; 0 when the run is gone. Raises `BrokenLogError`."""
        log = self._logs.get(run_id)
        if log is None:
            try:
                stored = self._database.look(partial(compaction.last_seq, run_id=run_id))
            except ValueError as exc:
                raise self._broken(run_id, exc) from exc
            if stored == 0 and self.records.find(run_id) is not None:
                raise self._broken(run_id, "there is nothing of it")
            return stored
        # A block may be on disk a moment before it is noted here.
        return max(self._database.look(partial(compaction.last_packed, run_id=run_id)), log.committed)

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Return the committed entries after the SEQ `after`, as many at a time as there are, until the ending.

        An empty list says that nothing came for `silence` seconds. Ends without an ending when the log is suspended,
        the run is deleted or the journal is closed: the follower may come again. Raises `BrokenLogError` at once, not
        at the first entry, when the log cannot be read.
        """
        log = self._logs.get(run_id) or self._log_if_open(run_id)
        if log is not None:
            return self._follow_log(log, after, silence)
        self._check(run_id, after)
        return self._follow_disk(run_id, after)

    def _check(self, run_id: str, after: int) -> None:
        """Checks what there is of a log after the SEQ `after`, without unpacking it. Raises `BrokenLogError`."""
        try:
            with self._database.snapshot():  # the run may end between two reads
                record = self.records.find(run_id)
                if record is None:
                    return  # deleted, and its log is being removed
                packed = self._database.look(partial(compaction.check, run_id=run_id, after=after))
                at = packed[-1].seq if packed else after
                last = self._database.look(partial(compaction.rest, run_id=run_id, after=at)) or packed
                self._check_end(record, after, last[-1] if last else None)
        except ValueError as exc:
            raise self._broken(run_id, exc) from exc

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
        if record is None or record.ended_at is not None:
            return None
        log = self.load(run_id)
        return log if run_id in self._logs or log.ended else None  # or else it was deleted meanwhile

    def _follow_disk(self, run_id: str, after: int) -> Generator[list[Entry], None, None]:
        for page in self._pages(run_id, after):
            for at in range(0, len(page), PAGE):
                if self._closed:
                    return
                yield page[at : at + PAGE]
                gevent.sleep(0)  # as above

    # -- beginning and leaving -----------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Makes blocks of all rows that an earlier process left: reading a log then looks at no other's rows. Goes on
        with removing what was deleted.

        Returns after `PATIENCE_AT_START` in any case: a log in rows can be read too.
        """
        self._take_over = gevent.spawn(self._add_rows, self._database.look(compaction.numbers))
        self._take_over.join(PATIENCE_AT_START)

    def _add_rows(self, numbers: range) -> None:
        for each in compaction.slices(numbers, compaction.SLICE_AT_START):
            self._database.submit(LastingJob(partial(compaction.add_rows, numbers=each))).outcome.wait()
        self._deletion.wake()

    def remove_deleted(self) -> None:
        """Begins to remove what was deleted from the file."""
        self._deletion.wake()

    def tidy(self) -> None:
        """Sweeps what is left of packed logs; to be called when nothing is appended any more."""
        if self._take_over is not None:
            self._take_over.kill()
        self._deletion.close()
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


class _Packing(LastingJob[None]):
    """Makes blocks of entries that are rows, of a log that goes on."""

    def __init__(self, run_id: str, entries: Sequence[Entry], count_dead: Callable[[int], object]) -> None:
        super().__init__(partial(compaction.add, run_id=run_id, entries=entries))
        self._count = len(entries)
        self._count_dead = count_dead

    def done(self, value: None) -> None:
        super().done(value)
        self._count_dead(self._count)


class _Closing(LastingJob[None]):
    """Ends a run without an ending in its log. Until that is on disk, somebody may read the log and follow it."""

    def __init__(self, run_id: str, let_go: Callable[[str], object]) -> None:
        super().__init__(giving_up(run_id, compaction.GIVEN_UP))
        self._run_id = run_id
        self._let_go = let_go

    def done(self, value: None) -> None:
        self._let_go(self._run_id)
        super().done(value)


class _Resting(LastingJob[bool]):
    """Notes that a run waits for a person, and makes blocks of its log, unless something is appended meanwhile."""

    def __init__(self, log: Log, count_dead: Callable[[int], object]) -> None:
        super().__init__(self._note)
        self._log = log  # held until then, so that nobody has to read it from rows
        self._length, self._asks = log.rested, log.asks
        self._count_dead = count_dead

    def _note(self, connection: sqlite3.Connection) -> bool:
        if len(self._log.entries) > self._length:
            return False
        compaction.add(connection, self._log.run_id, self._log.entries[: self._length])
        noting(self._log.run_id, rests=1, asks=json.dumps(self._asks))(connection)
        return True

    def done(self, value: bool) -> None:
        super().done(value)
        if value:
            self._count_dead(self._length - self._log.packed)
            self._log.packed = self._length


def row_of(run_id: str, entry: Entry) -> EventRow:
    """Return an entry as its row is stored."""
    body = encode(entry.event)
    return run_id, entry.seq, entry.at, body, checksums.of_event(run_id, entry.seq, entry.at, body)


def _packing(log: Log) -> Work[None]:
    """Gives the work that makes blocks of a log whose ending is appended."""
    return partial(compaction.add, run_id=log.run_id, entries=log.entries)


def _to_the_ms(at: float) -> float:
    """Gives the time, in seconds, as it is kept: the same entry has the same time for ever."""
    return int(at * 1000) / 1000
