"""Rows of events: those of all runs that go into one commit, in few statements.

The table is only appended to. With a primary key on run and place each row went to a page of its own, which took 20 µs
an event and not 4.

The writer thread gives Python's lock away at each statement, and while the hub is busy it waits for up to the switch
interval until it has it again: with 200 runs a savepoint and a statement for each took 225-614 ms, one statement for
all 7-18 ms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from zlib import crc32

from deechat.store.base import EventRow, Share
from deechat.store.sqlite import checksums

# Rows of a statement, up to fifteen of them empty: each is prepared once, and is one turn at the lock.
SIZES = (4, *range(16, 257, 16))
_COLUMNS = 5
_INSERT = {
    size: "INSERT INTO event (run_id, seq, at, body, checksum) SELECT * FROM (VALUES "
    + ",".join(["(?,?,?,?,?)"] * size)
    + ") WHERE column1 IS NOT NULL"
    for size in SIZES
}


def insert(connection: sqlite3.Connection, shares: Sequence[Share]) -> None:
    """Insert rows of events, all or none, and many with each statement."""
    values = _values(shares)
    if not values:
        return
    most = SIZES[-1] * _COLUMNS
    if len(values) <= most:
        _insert(connection, values)
        return
    with savepoint(connection):
        for at in range(0, len(values), most):
            _insert(connection, values[at : at + most])


def _values(shares: Sequence[Share]) -> list[object]:
    """Return the columns of all rows, one after the other, with their checksums; `checksums.of_event` a call less."""
    values: list[object] = []
    for share in shares:
        run_id = share.run_id
        seed, mask = checksums.seed_of(run_id), checksums.MASK
        for seq, at, body in share:
            values += (run_id, seq, at, body, crc32(body, (seed + seq + round(at * 1000)) & mask))
    return values


def _insert(connection: sqlite3.Connection, values: list[object]) -> None:
    rows = len(values) // _COLUMNS
    size = next(each for each in SIZES if each >= rows)
    connection.execute(_INSERT[size], values + [None] * ((size - rows) * _COLUMNS))


def insert_rows(connection: sqlite3.Connection, run_id: str, rows: Sequence[EventRow]) -> None:
    """Insert rows of one log."""
    share = Share(rows)
    share.run_id = run_id
    insert(connection, [share])


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep what is done within whole, or nothing of it."""
    connection.execute("SAVEPOINT share")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK TO share")
            connection.execute("RELEASE share")
        raise
    connection.execute("RELEASE share")
