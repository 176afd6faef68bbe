"""One SQLite file: one thread that writes, one connection that reads.

Everything that writes is a `Job` in one queue. What has gathered there is committed together; where a job fails, all is
done again with a savepoint for each, so that it takes no other with it. No greenlet waits for a write to reach the disk
but those that ask for it: the writer's greenlet hands each batch to the one writer thread, learns what came of it and
wakes whoever waits. Reads are done where they are asked for: what is asked for often is in memory, and a hand-over to a
thread takes longer than to look.

When nothing can be committed for `patience` seconds (the disk is full, another program holds the lock), or the writer
thread gives no sign of life for so long, the database is *unavailable*: jobs of callers who wait are given back with
`StorageUnavailableError` and will not happen; jobs that must not be lost stay and are tried until writing works again.
Of a commit that does not come back nobody can say yet: its callers wait on. A job that takes long and gets on is no
broken disk. It is unavailable at once when the file is no longer where it was opened (`in_place`), and for good when
its structure is damaged: a write would only spread that.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from deechat.errors import DamagedError, SealedError, SettingError, StorageUnavailableError
from deechat.store.base import Before, StoreListener
from deechat.store.sqlite import integrity
from deechat.store.sqlite.commit_rate import CommitRate
from deechat.store.sqlite.connections import (
    checkpoint,
    let_go,
    open_reader,
    open_writer,
    read_before,
    take_over,
)
from deechat.store.sqlite.integrity import RESTORE, Damage, is_damage, is_structure, is_text, words_of

T = TypeVar("T")
Row = tuple[Any, ...]
Work = Callable[[sqlite3.Connection], T]

log = logging.getLogger(__name__)

# What says that the disk or the lock is at fault, and not the statement: https://www.sqlite.org/rescode.html
_DISK_AT_FAULT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_RETRY_SECONDS = 0.25
_OPENING_SECONDS = 3.0  # after which the log says that opening takes long
_WATCH_SECONDS = 1.0  # between two looks whether the file is in its place
_IDLE_SECONDS = 5.0  # without a commit, after which the write-ahead log is brought into the file
# That a start waits for the check of the file, which goes on beside the server; longer after an end that was unclean.
_CLEAN_CHECK_SECONDS, _CHECK_SECONDS = 0.25, 2.0
STEPS = 20_000  # of SQLite's machine between two signs of life in one statement: a millisecond of work


class Job(Generic[T]):
    """Something to write. `work` runs in the writer thread, the rest in the writer's greenlet, where it must not wait.

    `work` may run several times, until a commit succeeds. `lasting` jobs are kept while the database is unavailable.
    """

    lasting = False

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.outcome: AsyncResult[T] = AsyncResult()

    def seal(self) -> None:
        """Take nothing more in from here on: the job's batch is taken. May be said again."""

    def done(self, value: T) -> None:
        """Is told of the commit."""
        self.outcome.set(value)

    def failed(self, error: Exception) -> None:
        """Is told that the job was rolled back and will not be tried again."""
        self.outcome.set_exception(error)


class LastingJob(Job[T]):
    """A job that is tried until writing works again. Few wait for one, so what becomes of it is noted in any case."""

    lasting = True

    def failed(self, error: Exception) -> None:
        super().failed(error)
        log.error("what was to be stored was refused", exc_info=error)


class Database:
    """The file and its connections; nothing is opened before `start`."""

    def __init__(
        self,
        path: Path,
        patience: float = 10.0,
        *,
        in_place: Callable[[], object] = lambda: None,
        listener: StoreListener | None = None,
    ) -> None:
        """`in_place` raises `StorageUnavailableError` when the file is not where it was; for the writer thread."""
        self.path = path
        self._patience = patience
        self._in_place = in_place
        self._threads: ThreadPool | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._queue: list[Job[Any]] = []
        self._wake = Event()
        self._loop: gevent.Greenlet[[], None] | None = None
        self._signs = 0  # of life of the writer thread: jobs done, and steps of long statements
        self.available = True
        self.answers = True  # false while a commit does not come back, whether the disk hangs or the thread is dead
        self.before = Before()
        self.damage = Damage(path)
        self._trouble: StorageUnavailableError | None = None  # why it is unavailable, where that is known
        self._may_write = True  # false for good once the structure is known to be damaged
        self._check: integrity.Check | None = None
        self._checks: ThreadPool | None = None
        self._helpers: list[gevent.Greenlet[..., None]] = []
        self._commits = 0
        self.commit_rate = CommitRate()
        self._listener = listener
        self._before_commit: Callable[[], object] = lambda: None

    def start(self, *, used: bool = False, before_commit: Callable[[], object] = lambda: None) -> None:
        """Open the file, bring its tables up to date, begin to check it and to write.

        `used` says that there was a database before. `before_commit` is called just before a batch is taken: what it
        lets have a turn then can still join it. Raises `SettingError` in words when there is none now, or it cannot be
        opened.
        """
        self._before_commit = before_commit
        self._threads = ThreadPool(1)
        try:
            found, self._writer = self._open(used)
            self._writer.set_progress_handler(self._note_sign, STEPS)
            self._reader = open_reader(self.path)
            if found is not None:
                self.damage.note(found)
            self.before = self._in_thread(read_before, self._writer)
            self._begin_check(_CHECK_SECONDS if self.before.killed else _CLEAN_CHECK_SECONDS)
            if self._may_write:
                self._in_thread(take_over, self._writer)
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            self._release()
            hint = f" {RESTORE}" if is_damage(exc) else ""
            raise SettingError(f"The database {self.path} cannot be opened: {words_of(exc)}.{hint}") from exc
        except BaseException:
            self._release()
            raise
        self._loop = gevent.spawn(self._write_for_ever)
        self._helpers.append(gevent.spawn(self._watch))

    def _open(self, used: bool) -> tuple[str | None, sqlite3.Connection]:
        """Open the file for writing; return what is damaged of its write-ahead log too. Its greenlet alone waits."""
        words = gevent.spawn_later(_OPENING_SECONDS, self._say_opening, used)
        try:
            found = self._in_thread(partial(integrity.before_opening, self.path, used=used))
            return found, self._in_thread(open_writer, self.path, used)
        finally:
            words.kill()

    def _say_opening(self, used: bool) -> None:
        if not used:
            log.info("the new database %s is not open yet: the disk takes its time", self.path)
            return
        log.info(
            "the database %s (%.0f MB) is not open yet: after an update of DeeChat it is copied and brought up to date "
            "first, about half a minute for 1 GB",
            self.path,
            self.path.stat().st_size / 1e6 if self.path.exists() else 0,
        )

    def close(self) -> None:
        """Commit what is queued, as far as the disk takes it, and close. Then the one file is whole."""
        if self._loop is not None and self._threads is not None:
            if self.available:  # behind whatever is under way, and may be tried again just now
                self.submit(Job(lambda _: None)).outcome.wait(self._patience)
            self._loop.kill()
        self._release()

    def _release(self) -> None:
        gevent.killall(self._helpers)
        if self._check is not None:
            self._check.stop()
        if self._checks is not None:
            self._checks.kill()
        # The connection that is closed last brings the write-ahead log into the file, unless it only reads, and removes
        # the log by its name. So the writer comes last, unless another database may have that name by now.
        if self._reader is not None and not self._is_gone():
            self._reader.close()
        if self._writer is not None:
            self._in_thread(let_go, self._writer, self._may_write)
        if self._reader is not None:
            self._reader.close()
        if self._threads is not None:
            self._threads.kill()
        self._threads = self._checks = self._writer = self._reader = self._loop = self._check = None
        self._helpers = []

    def _is_gone(self) -> bool:
        try:
            self._in_place()
        except StorageUnavailableError:
            return True
        return False

    def check_alive(self) -> None:
        """Raise `StorageUnavailableError` in words while the disk does not answer, or the file is not in its place."""
        if not self.answers:
            raise self._refusal()

    # -- damage --------------------------------------------------------------------------------------------------------

    def _begin_check(self, seconds: float) -> None:
        """Begin to check the file, and waits up to so many seconds for the end of it, which small ones reach."""
        self._check, self._checks = integrity.Check(self.path), ThreadPool(1)
        done = self._checks.spawn(_outcome, self._check.run)
        done.wait(seconds)
        if done.ready():
            self._learn(self._check, done)
        else:
            log.info("the database %s is large, so it is checked beside the start", self.path)
            self._helpers.append(gevent.spawn(self._learn, self._check, done))

    def _learn(self, check: integrity.Check, done: AsyncResult[Any]) -> None:
        outcome = done.get()
        for what in [*check.structure, *check.rows]:
            self.damage.note(what)
        if check.structure:
            self._seal_off()
        if isinstance(outcome, _Failure):  # what it had found by then counts
            log.error("the database %s could not be checked to its end", self.path, exc_info=outcome.error)
            return
        log.log(logging.INFO if check.is_sound else logging.ERROR, "%s", check.words())

    def _met(self, error: Exception) -> DamagedError:
        """Note that a statement met damage, and return the error that says so."""
        noted = self.damage.note(words_of(error))
        if is_structure(error):
            self._seal_off()
        return noted

    def _seal_off(self) -> None:
        """Take no more writes: where the structure of the file is damaged, a write may overwrite what is sound."""
        if self._may_write:
            self._may_write = False
            self._refuse(
                SealedError(f"{self.path.name} is damaged, so nothing more is stored in it; reading goes on. {RESTORE}")
            )

    # -- reading -------------------------------------------------------------------------------------------------------

    def look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` reads of what is committed. It must not yield to another greenlet."""
        if self._reader is None:
            raise RuntimeError("the database is not started")
        try:
            return work(self._reader)
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            if is_text(exc) and self._reader.text_factory is str:
                self._reader.text_factory = integrity.decode_leniently  # the row's checksum tells
                return self.look(work)
            if not is_damage(exc):
                raise
            raise self._met(exc) from exc

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let several reads see one and the same commit. No greenlet may be switched inside."""
        self.look(lambda connection: connection.execute("BEGIN"))
        try:
            yield
        finally:
            self.look(lambda connection: connection.execute("COMMIT"))

    def read(self, sql: str, *values: object) -> list[Row]:
        """Return all rows of a query over what is committed. Never yields to another greenlet in between."""
        return self.look(lambda connection: connection.execute(sql, values).fetchall())

    def read_one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        rows = self.read(sql, *values)
        return rows[0] if rows else None

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, work: Work[T]) -> T:
        """Run `work` in the next commit and return what it gave, once that is on disk.

        Raises what `work` raised (nothing of it is kept then), or `StorageUnavailableError`.
        """
        return cast(T, self.submit(Job(work)).outcome.get())

    def submit(self, job: Job[T]) -> Job[T]:
        """Queue a job. Raises `StorageUnavailableError` at once when writing does not work and the job cannot wait."""
        if not job.lasting:
            self.check_available()
        self._queue.append(job)
        self._wake.set()
        return job

    def check_available(self) -> None:
        """Raise `StorageUnavailableError` while writing does not work."""
        if not self.available:
            raise self._refusal()

    def _write_for_ever(self) -> None:
        while True:
            self._wake.wait()
            gevent.sleep(self.commit_rate.delay())
            self._before_commit()
            gevent.sleep(0)
            batch = self._take([])
            failing_since: float | None = None
            while batch or not self.available:
                if not self._may_write:
                    batch = self._take(batch)
                    gevent.sleep(_RETRY_SECONDS)
                    continue
                began = time.monotonic()
                try:
                    outcomes = self._commit(batch)
                except Exception as exc:  # noqa: BLE001 - the one writer must outlive whatever a commit meets
                    failing_since = failing_since or began
                    if is_damage(exc):
                        self._met(exc)
                    elif isinstance(exc, StorageUnavailableError):
                        self._note_gone(exc)
                    self._note_trouble(exc, time.monotonic() - failing_since)
                    gevent.sleep(_RETRY_SECONDS)
                    batch = self._take(batch)
                    continue
                self._report(batch, outcomes)
                batch = []

    def _take(self, batch: list[Job[Any]]) -> list[Job[Any]]:
        """Seal what has gathered and add it to the batch; while it is unavailable, give back what does not last."""
        self._wake.clear()
        gathered, self._queue = self._queue, []
        for job in gathered:
            job.seal()
        batch = batch + gathered
        if self.available:
            return batch
        for job in batch:
            if not job.lasting:
                job.failed(self._refusal())
        return [job for job in batch if job.lasting]

    def _commit(self, batch: Sequence[Job[Any]]) -> list[Any]:
        probe = not self.available
        # Rows of events alone are many commits a second, and the watch looks for those.
        in_place = self._in_place if probe or any(not job.lasting for job in batch) else None
        return self._in_thread(
            _transaction, self._writer, batch, probe, in_place, self._note_sign, on_silence=self._note_silence
        )

    def _note_sign(self) -> int:
        """Note that the writer thread gets on, from there; the 0 lets SQLite go on."""
        self._signs += 1
        return 0

    def _in_thread(self, work: Callable[..., T], *arguments: Any, on_silence: Callable[[], None] | None = None) -> T:
        """Return what `work` gives in the writer thread; `on_silence` is called when there was no sign of life from it
        for `patience` seconds: much work is no broken disk.
        """
        if self._threads is None:
            raise RuntimeError("the database is not started")
        answer = self._threads.spawn(_outcome, work, *arguments)
        if on_silence is not None:
            signs = -1
            while not answer.ready() and signs != self._signs:
                signs = self._signs
                answer.wait(self._patience)
            if not answer.ready():
                on_silence()
        outcome = answer.get()
        if isinstance(outcome, _Failure):
            raise outcome.error
        return cast(T, outcome)

    def _note_silence(self) -> None:
        """Note that the disk, or the thread, does not answer: what waits behind this commit is given back."""
        self.answers = False
        self._note_trouble(TimeoutError("a commit does not come back"), self._patience)
        self._trouble = StorageUnavailableError(
            "The disk does not answer: what is written now is neither kept nor refused.", retry_after=5
        )
        self._queue = self._take([])
        self._wake.set()

    def _note_trouble(self, error: Exception, seconds: float) -> None:
        if self.available and seconds >= self._patience:
            log.error("nothing could be written for %.0f s (%s); new work is refused until it can", seconds, error)
            self._trouble = None
            self.available = False
            self._tell(False)

    def _note_gone(self, error: StorageUnavailableError) -> None:
        """Note that the file is not in its place any more: what is written now would be in no file."""
        if self._may_write:
            self.answers = False
            self._refuse(error)

    def _refuse(self, trouble: StorageUnavailableError) -> None:
        """Is unavailable from now on, for a reason that waiting does not change."""
        if self._trouble is None or self._trouble.message != trouble.message:
            log.error("%s", trouble)
        self._trouble = trouble
        self._wake.set()
        if self.available:
            self.available = False
            self._tell(False)

    def _tell(self, available: bool) -> None:
        if self._listener is not None:
            self._listener.storage_changed(available)

    def _refusal(self) -> StorageUnavailableError:
        trouble = self._trouble
        if trouble is None:
            return _unavailable()
        return type(trouble)(trouble.message, retry_after=trouble.retry_after)

    def _watch(self) -> None:
        """Look now and then whether the file is in its place, and bring its log into it in quiet times."""
        seen, quiet, is_whole, told = self._commits, 0.0, False, ""
        while True:
            gevent.sleep(_WATCH_SECONDS)
            quiet, is_whole = (quiet + _WATCH_SECONDS, is_whole) if seen == self._commits else (0.0, False)
            seen = self._commits
            try:
                self._in_thread(self._in_place)
                if self._may_write and not is_whole and quiet >= _IDLE_SECONDS:
                    is_whole = True  # once in a quiet time
                    self._in_thread(checkpoint, self._writer, "PASSIVE")
            except StorageUnavailableError as exc:
                self._note_gone(exc)
            except Exception as exc:
                if str(exc) != told:
                    told = str(exc)
                    log.exception("the watch over %s met an error, and goes on", self.path)

    def _report(self, batch: Sequence[Job[Any]], outcomes: Sequence[Any]) -> None:
        was_available, self.available = self.available, True
        self.answers, self._trouble = True, None
        self._commits += 1
        for job, outcome in zip(batch, outcomes, strict=True):
            try:
                if isinstance(outcome, _Failure):
                    job.failed(self._met(outcome.error) if is_damage(outcome.error) else outcome.error)
                else:
                    job.done(outcome)
            except Exception:
                log.exception("what follows a commit failed")  # and must not take the one writer with it
        if not was_available:
            log.info("writing works again")
            self._tell(True)


class _Failure:
    """What a job raised, told apart from anything that it could return."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _outcome(work: Callable[..., Any], *arguments: Any) -> Any:
    # An error is handed over as a value: gevent's pool would print each one that it sees.
    try:
        return work(*arguments)
    except Exception as exc:  # noqa: BLE001 - raised again on the hub
        return _Failure(exc)


def _unavailable() -> StorageUnavailableError:
    return StorageUnavailableError(
        "Nothing can be stored at the moment: the disk is full, or another program holds the database. "
        "Nothing was lost; try again when there is room.",
        retry_after=5,
    )


def _transaction(
    connection: sqlite3.Connection,
    batch: Sequence[Job[Any]],
    probe: bool,
    in_place: Callable[[], object] | None,
    note_sign: Callable[[], object],
) -> list[Any]:
    """Commit a batch, or raise and leave nothing of it. `probe` writes in any case, to see whether writing works.

    `in_place` is called right before the commit, and its error is raised; `note_sign` after each job.

    Hardly ever does a job fail, so there is no savepoint for each; when one does, all begins anew with them.
    """

    def do_all(do: Callable[[sqlite3.Connection, Work[Any]], Any]) -> list[Any]:
        outcomes = []
        for job in batch:
            outcomes.append(do(connection, job.work))
            note_sign()
        if probe:
            connection.execute("UPDATE pulse SET at = ?", (time.time(),))
        if in_place is not None:
            in_place()
        return outcomes

    try:
        return _committed(connection, lambda: do_all(lambda connection, work: work(connection)))
    except Exception as exc:
        if is_disk(exc):
            raise
    return _committed(connection, lambda: do_all(_in_savepoint))


def _committed(connection: sqlite3.Connection, do: Callable[[], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcome = do()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcome


def _in_savepoint(connection: sqlite3.Connection, work: Work[Any]) -> Any:
    connection.execute("SAVEPOINT job")
    try:
        value = work(connection)
    except Exception as exc:
        if is_disk(exc):
            raise
        connection.execute("ROLLBACK TO job")
        value = _Failure(exc)
    connection.execute("RELEASE job")
    return value


def is_disk(error: Exception) -> bool:
    """Say whether the disk or the lock is at fault, so that trying again may help."""
    # The low byte is the primary code, the rest says more of it.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_AT_FAULT
