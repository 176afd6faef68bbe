"""Checksums of rows: SQLite has none, so a flipped bit in a text would be read as if it had been written.

A row's checksum is the CRC-32 of its fixed columns plus the sum of its moving ones. So a statement that moves one of
these moves the checksum by the same amount, without reading the row, and a row that was damaged before stays damaged.
A text that goes wrong by chance passes once in four billion times.

A column that a later version brings adds CRC-32(value) - CRC-32(the value of the rows of before), so that none of those
is written for it: its checksum fits as well, or as badly, as before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

MASK = 0xFFFFFFFF
UNSOUND = -1  # fits no row
TICKS = 2**22  # a second: what a double can tell apart of a Unix time, so that no bit of one is left out


class Covered(NamedTuple):
    """The columns of a table that its rows' checksums cover. `moving` are numbers; times count in `TICKS`.

    `later` are texts of later versions, each with the value that the rows of before have.
    """

    fixed: tuple[str, ...]
    moving: tuple[str, ...] = ()
    later: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The covered columns in the order in which `of_row` takes them."""
        return (*self.fixed, *self.moving, *(name for name, _ in self.later))

    @property
    def columns(self) -> str:
        """The covered columns and the checksum, as in a SELECT."""
        return ", ".join((*self.names, "checksum"))

    def columns_of(self, table: str) -> str:
        """The same with the table's name, for a SELECT of several tables."""
        return ", ".join(f"{table}.{name}" for name in self.columns.split(", "))


COVERED = {
    "workspace": Covered(
        ("id", "slug", "name", "system_prompt", "model", "mode", "temperature", "tools", "allowed", "max_tokens",
         "created_at", "deleted_at"),
        ("context",),
        (("owner", "owner"), ("transport", "")),
    ),
    "thread": Covered(("id", "workspace_id", "slug", "name", "created_at", "deleted_at"), ("updated_at", "messages")),
    "message": Covered(
        ("id", "thread_id", "parent_id", "role", "content", "sent_at", "run_id", "details", "turns")
    ),
    "run": Covered(
        ("id", "thread_id", "message_id", "parent_id", "continues", "client_request_id", "model", "language",
         "started_at", "ended_at", "reason", "asks"),
        ("retries", "rests"),
    ),
    "summary": Covered(("message_id", "text")),
}  # fmt: skip


def of_row(table: str, values: Iterable[Any]) -> int:
    """Return the checksum of a row, from the values of its covered columns. Raises `ValueError` when one has none."""
    values, covered = tuple(values), COVERED[table]
    fixed = len(covered.fixed)
    moving = fixed + len(covered.moving)
    try:
        moved = sum([int(value * TICKS) if isinstance(value, float) else value for value in values[fixed:moving]])
    except (OverflowError, TypeError) as exc:
        raise ValueError(f"a number of the {table} is {values[fixed:moving]}") from exc
    for value, (_, before) in zip(values[moving:], covered.later, strict=False):
        if value != before:
            moved += of_values([value]) - of_values([before])
    return of_values(values[:fixed]) + moved


def is_sound(table: str, row: tuple[Any, ...]) -> bool:
    """Say whether a row, read by `Covered.columns`, is as it was written."""
    stored: object = row[-1]
    try:
        return of_row(table, row[:-1]) == stored
    except ValueError:
        return False


def of_values(values: Iterable[Any]) -> int:
    """Return the CRC-32 of some values; the same for ever, since stored checksums are compared with it."""
    texts = [
        value if isinstance(value, str) else "None" if value is None else _as_text(value)  # nearly all others are None
        for value in values
    ]
    return crc32("\x1f".join(texts).encode())


def _as_text(value: object) -> str:
    # As SQLite gives it back: a whole number in a REAL column as a float, -0.0 as 0.0 (its sum with 0.0), NaN as NULL.
    # A float's repr is exact, and the same in every Python.
    if isinstance(value, int | float):
        return repr(float(value) + 0.0 if value == value else None)  # noqa: PLR0124 - true of all but NaN
    return repr(value)


def of_event(run_id: str, seq: int, at: float, body: bytes) -> int:
    """Return the checksum of a row of `event`, whose time has whole ms."""
    return crc32(body, (seed_of(run_id) + seq + round(at * 1000)) & MASK)


def seed_of(run_id: str) -> int:
    """Return what the checksums of a run's events begin with; the journal keeps it for each log."""
    return crc32(run_id.encode())


def of_block(run_id: str, last_seq: int, body: bytes) -> int:
    """Return the checksum of a row of `block`."""
    return crc32(body, (seed_of(run_id) + last_seq) & MASK)


def is_event_sound(*row: Any) -> bool:
    """Say whether a row of `event`, as `of_event` takes it and its checksum, is as it was written."""
    return _fits(of_event, row)


def is_block_sound(*row: Any) -> bool:
    """Say whether a row of `block`, as `of_block` takes it and its checksum, is as it was written."""
    return _fits(of_block, row)


def _fits(checksum: Callable[..., int], row: tuple[Any, ...]) -> bool:
    try:
        return bool(checksum(*row[:-1]) == row[-1])
    except (TypeError, AttributeError, ValueError, OverflowError):  # a flipped bit makes a number a text, or none
        return False


def change(connection: sqlite3.Connection, table: str, row_id: str, **changes: Any) -> None:
    """Write these fixed columns of a row, and its checksum. Does nothing when the row is gone.

    A row that is damaged stays so: its checksum fits no better than before.
    """
    covered = COVERED[table]
    row = connection.execute(f"SELECT {covered.columns} FROM {table} WHERE id = ?", (row_id,)).fetchone()
    if row is None:
        return
    after = [changes.get(name, value) for name, value in zip(covered.names, row, strict=False)]
    checksum = of_row(table, after) if is_sound(table, row) else row[-1]
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE {table} SET {columns}, checksum = ? WHERE id = ?", (*changes.values(), checksum, row_id)
    )


def columns_in(connection: sqlite3.Connection, table: str) -> str:
    """Return the covered columns of a table as in a SELECT; '' where the database has no such table yet.

    One that a later version brings has the value that it will have: 0 where it moves. So the checksum fits.
    """
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    lacking = {name: f"'{before}'" for name, before in COVERED[table].later}
    names = COVERED[table].columns.split(", ")
    return ", ".join(name if name in there else lacking.get(name, "0") for name in names) if there else ""


def fill(connection: sqlite3.Connection) -> None:
    """Number the messages of each thread and give every row the checksum of what it holds, which counts as true.

    Tables and columns that later versions bring are left out: they add nothing to a checksum. A row with a text that is
    no UTF-8 is given one that does not fit, so that it is told of.
    """
    connection.execute(
        "UPDATE message SET position = numbered.position FROM"
        " (SELECT number, row_number() OVER (PARTITION BY thread_id ORDER BY number) AS position FROM message)"
        " AS numbered WHERE message.number = numbered.number"
    )
    connection.execute("UPDATE thread SET messages = (SELECT count(*) FROM message WHERE thread_id = thread.id)")
    for table, covered in COVERED.items():
        connection.create_function(f"{table}_checksum", -1, partial(_of_stored, table))
        there = columns_in(connection, table).split(", ")
        names = ", ".join(_undecoded(name) for name in covered.names if name in there)
        if names:
            connection.execute(f"UPDATE {table} SET checksum = {table}_checksum({names})")
    for table, checksum, others in (("event", of_event, "seq, at, body"), ("block", of_block, "last_seq, body")):
        connection.create_function(f"{table}_checksum", -1, partial(_of_stored_log, checksum))
        connection.execute(f"UPDATE {table} SET checksum = {table}_checksum({_undecoded('run_id')}, {others})")


def _undecoded(name: str) -> str:
    """Return SQL for a column whose texts are given as bytes.

    A function's argument that is no UTF-8 would be an error of the whole statement.
    """
    return f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"


def _of_stored(table: str, *values: Any) -> int:
    """Return the checksum of a row whose texts are bytes; `UNSOUND` where one of them is no UTF-8."""
    try:
        return of_row(table, [value.decode() if isinstance(value, bytes) else value for value in values])
    except ValueError:
        return UNSOUND


def _of_stored_log(checksum: Callable[..., int], run_id: bytes, *values: Any) -> int:
    try:
        return checksum(run_id.decode(), *values)
    except ValueError:
        return UNSOUND
