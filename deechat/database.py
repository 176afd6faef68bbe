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
broken disk.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from deechat.clock import boot_id, steady
from deechat.errors import SettingError, StorageUnavailableError
from deechat.pace import Pace
from deechat.schema import migrate

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
        """Takes nothing more in from here on: the job's batch is taken. May be said again."""

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


@dataclass(frozen=True, slots=True)
class Before:
    """The process that had the database before this one: when it took it, in Unix seconds, and whether it was killed.

    `started_at` is None where there was none, or none that noted it. `steady_at` is the same moment on the steady
    clock; None where the machine was started anew since, or cannot tell.
    """

    started_at: float | None = None
    killed: bool = False
    steady_at: float | None = None

    def age(self, at: float) -> float:
        """Return how many seconds ago the process noted the time `at`.

        The wall clock may have been set meanwhile, so within one boot of the machine the steady clock is asked too,
        and the smaller answer counts.
        """
        age = time.time() - at
        if self.started_at is None or self.steady_at is None:
            return age
        return min(age, steady() - self.steady_at - (at - self.started_at))

    def lived(self, last_at: float) -> float:
        """Return how many seconds the process lived, when `last_at` is the last time that it noted."""
        seconds = last_at - (self.started_at or 0.0)
        return seconds if self.steady_at is None else min(seconds, steady() - self.steady_at)


class Database:
    """The file and its connections; nothing is opened before `start`."""

    def __init__(self, path: Path, patience: float = 10.0) -> None:
        self.path = path
        self._patience = patience
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
        self.pace = Pace()
        # Called just before a batch is taken: what it lets have a turn then can still join it.
        self.before_commit: Callable[[], object] = lambda: None
        self.on_change: Callable[[bool], None] = lambda _available: None

    def start(self) -> None:
        """Opens the file, brings its tables up to date and starts to write. Raises `SettingError` in words."""
        self._threads = ThreadPool(1)
        try:
            self._writer = self._in_thread(_open_writer, self.path)
            self._writer.set_progress_handler(self._note_sign, STEPS)
            self._reader = _open_reader(self.path)
            self.before = self._in_thread(_take_over, self._writer)
        except sqlite3.Error as exc:
            raise SettingError(f"The database {self.path} cannot be opened: {exc}.") from exc
        self._loop = gevent.spawn(self._write_for_ever)

    def close(self) -> None:
        """Commits what is queued, as far as the disk takes it, and closes."""
        if self._loop is not None and self._threads is not None:
            if self.available:  # behind whatever is under way, and may be tried again just now
                self.submit(Job(lambda _: None)).outcome.wait(self._patience)
            self._loop.kill()
            if self._writer is not None:
                self._in_thread(_let_go, self._writer)
            self._threads.kill()
        if self._reader is not None:
            self._reader.close()
        self._threads = self._writer = self._reader = self._loop = None

    # -- reading -------------------------------------------------------------------------------------------------------

    def look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Gives what `work` reads of what is committed. It must not yield to another greenlet."""
        if self._reader is None:
            raise RuntimeError("the database is not started")
        return work(self._reader)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Lets several reads see one and the same commit. No greenlet may be switched inside."""
        self.look(lambda connection: connection.execute("BEGIN"))
        try:
            yield
        finally:
            self.look(lambda connection: connection.execute("COMMIT"))

    def read(self, sql: str, *values: object) -> list[Row]:
        """Gives all rows of a query over what is committed. Never yields to another greenlet in between."""
        return self.look(lambda connection: connection.execute(sql, values).fetchall())

    def read_one(self, sql: str, *values: object) -> Row | None:
        """Gives the first row, or None."""
        rows = self.read(sql, *values)
        return rows[0] if rows else None

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, work: Work[T]) -> T:
        """Runs `work` in the next commit and gives what it gave, once that is on disk.

        Raises what `work` raised (nothing of it is kept then), or `StorageUnavailableError`.
        """
        return cast(T, self.submit(Job(work)).outcome.get())

    def submit(self, job: Job[T]) -> Job[T]:
        """Queues a job. Raises `StorageUnavailableError` at once when writing does not work and the job cannot wait."""
        if not job.lasting:
            self.check_available()
        self._queue.append(job)
        self._wake.set()
        return job

    def check_available(self) -> None:
        """Raises `StorageUnavailableError` while writing does not work."""
        if not self.available:
            raise _unavailable()

    def _write_for_ever(self) -> None:
        while True:
            self._wake.wait()
            gevent.sleep(self.pace.take())
            self.before_commit()
            gevent.sleep(0)
            batch = self._take([])
            failing_since: float | None = None
            while batch or not self.available:
                began = time.monotonic()
                try:
                    outcomes = self._commit(batch)
                except Exception as exc:  # noqa: BLE001 - the one writer must outlive whatever a commit meets
                    failing_since = failing_since or began
                    self._note_trouble(exc, time.monotonic() - failing_since)
                    gevent.sleep(_RETRY_SECONDS)
                    batch = self._take(batch)
                    continue
                self._report(batch, outcomes)
                batch = []

    def _take(self, batch: list[Job[Any]]) -> list[Job[Any]]:
        """Seals what has gathered and adds it to the batch; while it is unavailable, gives back what does not last."""
        self._wake.clear()
        gathered, self._queue = self._queue, []
        for job in gathered:
            job.seal()
        batch = batch + gathered
        if self.available:
            return batch
        for job in batch:
            if not job.lasting:
                job.failed(_unavailable())
        return [job for job in batch if job.lasting]

    def _commit(self, batch: Sequence[Job[Any]]) -> list[Any]:
        return self._in_thread(
            _transaction, self._writer, batch, not self.available, self._note_sign, on_silence=self._note_silence
        )

    def _note_sign(self) -> int:
        """Notes that the writer thread gets on, from there; the 0 lets SQLite go on."""
        self._signs += 1
        return 0

    def _in_thread(self, work: Callable[..., T], *arguments: Any, on_silence: Callable[[], None] | None = None) -> T:
        """Gives what `work` gives in the writer thread; `on_silence` is called when there was no sign of life from it
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
        """Notes that the disk, or the thread, does not answer: what waits behind this commit is given back."""
        self.answers = False
        self._note_trouble(TimeoutError("a commit does not come back"), self._patience)
        self._queue = self._take([])
        self._wake.set()

    def _note_trouble(self, error: Exception, seconds: float) -> None:
        if self.available and seconds >= self._patience:
            log.error("nothing could be written for %.0f s (%s); new work is refused until it can", seconds, error)
            self.available = False
            self.on_change(False)

    def _report(self, batch: Sequence[Job[Any]], outcomes: Sequence[Any]) -> None:
        was_available, self.available = self.available, True
        self.answers = True
        for job, outcome in zip(batch, outcomes, strict=True):
            try:
                if isinstance(outcome, _Failure):
                    job.failed(outcome.error)
                else:
                    job.done(outcome)
            except Exception:
                log.exception("what follows a commit failed")  # and must not take the one writer with it
        if not was_available:
            log.info("writing works again")
            self.on_change(True)


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


def _open_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    path.chmod(0o600)
    return connection


def _take_over(connection: sqlite3.Connection) -> Before:
    columns = "started_at, closed_at, steady_at, boot"
    started_at, closed_at, steady_at, its_boot = connection.execute(f"SELECT {columns} FROM pulse").fetchone()
    boot = boot_id()
    with suppress(sqlite3.Error):  # a full disk does not keep anybody from reading
        connection.execute(
            "UPDATE pulse SET started_at = ?, steady_at = ?, boot = ?, closed_at = NULL", (time.time(), steady(), boot)
        )
    is_same_boot = boot is not None and its_boot == boot
    killed = started_at is not None and closed_at is None
    return Before(started_at, killed, steady_at if is_same_boot else None)


def _let_go(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # then the next process thinks that this one was killed, and takes more care
        connection.execute("UPDATE pulse SET closed_at = ?", (time.time(),))
    connection.close()


def _open_reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _transaction(
    connection: sqlite3.Connection, batch: Sequence[Job[Any]], probe: bool, note_sign: Callable[[], object]
) -> list[Any]:
    """Commits a batch, or raises and leaves nothing of it. `probe` writes in any case, to see whether writing works.

    Hardly ever does a job fail, so there is no savepoint for each; when one does, all begins anew with them.
    """
    try:
        return _committed(connection, batch, probe, note_sign, lambda connection, work: work(connection))
    except Exception as exc:
        if is_disk(exc):
            raise
    return _committed(connection, batch, probe, note_sign, _in_savepoint)


def _committed(
    connection: sqlite3.Connection,
    batch: Sequence[Job[Any]],
    probe: bool,
    note_sign: Callable[[], object],
    do: Callable[[sqlite3.Connection, Work[Any]], Any],
) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = []
        for job in batch:
            outcomes.append(do(connection, job.work))
            note_sign()
        if probe:
            connection.execute("UPDATE pulse SET at = ?", (time.time(),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


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
    """Says whether the disk or the lock is at fault, so that trying again may help."""
    # The low byte is the primary code, the rest says more of it.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_AT_FAULT
