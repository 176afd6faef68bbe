"""How entries get to disk: the rows of all runs that go into one commit, as one job and in few statements.

The table is only appended to. With a primary key on run and place each row went to a page of its own, which took 20 µs
an event and not 4.

The writer thread gives Python's lock away at each statement, and while the hub is busy it waits for up to the switch
interval until it has it again: with 200 runs a savepoint and a statement for each took 225-614 ms, one statement for
all 7-18 ms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Generic, TypeVar

from deechat.errors import StorageUnavailableError
from deechat.store.sqlite.database import LastingJob, Work, is_disk

Log = TypeVar("Log", bound=Hashable)  # a key, and nothing else is known of it here
EventRow = tuple[str, int, float, bytes, int]  # run_id, seq, at, body, checksum

# Rows of a statement, up to fifteen of them empty: each is prepared once, and is one turn at the lock.
SIZES = (4, *range(16, 257, 16))
_NO_ROW = (None, None, None, None, None)
_INSERT = {
    size: "INSERT INTO event (run_id, seq, at, body, checksum) SELECT * FROM (VALUES "
    + ",".join(["(?,?,?,?,?)"] * size)
    + ") WHERE column1 IS NOT NULL"
    for size in SIZES
}


class Share(list[EventRow]):
    """What one log adds to a commit: rows of events, and whatever else belongs into the same savepoint.

    `size`: bytes of its events. `is_packed`: all of the log becomes a block in it, so that the rows need not be stored.
    """

    size = 0
    also: tuple[Work[None], ...] = ()
    is_packed = False


class Rows(LastingJob[None], Generic[Log]):
    """Rows that go into a commit together, by log. Each log's share is stored whole or not at all, whatever becomes of
    the others.

    `sealed` is called when nothing more may be added; `written` after the commit, with all shares and with the errors
    that kept logs out. A log must not have gaps: what `is_lost` says yes to is kept out from the first, and so is what
    was kept out of the rows `before`, which may be in the same transaction when that had to be tried again.
    """

    def __init__(
        self,
        *,
        before: Rows[Log] | None,
        sealed: Callable[[], None],
        written: Callable[[Mapping[Log, Share], Mapping[Log, Exception]], None],
        is_lost: Callable[[Log], bool],
    ) -> None:
        super().__init__(self._write)
        self._before = before
        self._sealed = sealed
        self._written = written
        self._is_lost = is_lost
        self._shares: dict[Log, Share] = {}
        self._kept_out: dict[Log, Exception] = {}

    def add(self, log: Log, row: EventRow, also: Sequence[Work[None]] = (), *, packed: bool = False) -> None:
        """Adds a row of the log, and what belongs to it; `packed` when that stores the whole log."""
        share = self._shares.get(log)
        if share is None:
            share = self._shares[log] = Share()
        share.append(row)
        share.size += len(row[3])
        if also:
            share.also += (*also,)
        if packed:
            share.is_packed = True

    def seal(self) -> None:
        self._sealed()

    def done(self, value: None) -> None:
        super().done(value)
        self._tell(self._kept_out)

    def failed(self, error: Exception) -> None:
        super().failed(error)
        self._tell(dict.fromkeys(self._shares, error))

    def _tell(self, kept_out: Mapping[Log, Exception]) -> None:
        shares, self._shares, self._kept_out, self._before = self._shares, {}, {}, None  # which would hold the logs
        self._written(shares, kept_out)

    def _write(self, connection: sqlite3.Connection) -> None:
        lost = StorageUnavailableError("Rows before these were lost.")
        earlier = self._before._kept_out if self._before else {}  # those of all rows before, for those that follow
        self._kept_out = dict.fromkeys([*earlier, *filter(self._is_lost, self._shares)], lost)
        sound = {log: share for log, share in self._shares.items() if log not in self._kept_out}
        plain = [log for log, share in sound.items() if not share.also]
        try:
            insert(connection, list(chain.from_iterable(sound[log] for log in plain)))
        except Exception as exc:
            if is_disk(exc):
                raise
            plain = []  # one of them is bad: each is tried alone, so that the others lose nothing by it
        for log in sound.keys() - set(plain):
            self._write_alone(connection, log)

    def _write_alone(self, connection: sqlite3.Connection, log: Log) -> None:
        share = self._shares[log]
        try:
            with _savepoint(connection):
                if not share.is_packed:
                    insert(connection, share)
                for work in share.also:
                    work(connection)
        except Exception as exc:
            if is_disk(exc):
                raise
            self._kept_out[log] = exc


def insert(connection: sqlite3.Connection, rows: Sequence[EventRow]) -> None:
    """Inserts the rows, all or none, and many with each statement."""
    if len(rows) <= SIZES[-1]:
        _insert(connection, rows)
        return
    with _savepoint(connection):
        for at in range(0, len(rows), SIZES[-1]):
            _insert(connection, rows[at : at + SIZES[-1]])


def _insert(connection: sqlite3.Connection, rows: Sequence[EventRow]) -> None:
    size = next(each for each in SIZES if each >= len(rows))
    connection.execute(_INSERT[size], list(chain(*rows, *[_NO_ROW] * (size - len(rows)))))


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT share")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK TO share")
            connection.execute("RELEASE share")
        raise
    connection.execute("RELEASE share")
