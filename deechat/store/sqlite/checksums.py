"""Checksums of rows: SQLite has none, so a flipped bit in a text would be read as if it had been written.

A row's checksum is the CRC-32 of its fixed columns plus the sum of its moving ones. So a statement that moves one of
these moves the checksum by the same amount, without reading the row, and a row that was damaged before stays damaged.
A text that goes wrong by chance passes once in four billion times.
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
    """The columns of a table that its rows' checksums cover. `moving` are numbers; times count in `TICKS`."""

    fixed: tuple[str, ...]
    moving: tuple[str, ...] = ()

    @property
    def columns(self) -> str:
        """The covered columns and the checksum, as in a SELECT."""
        return ", ".join((*self.fixed, *self.moving, "checksum"))

    def columns_of(self, table: str) -> str:
        """The same with the table's name, for a SELECT of several tables."""
        return ", ".join(f"{table}.{name}" for name in self.columns.split(", "))


COVERED = {
    "workspace": Covered(
        ("id", "slug", "name", "system_prompt", "model", "mode", "temperature", "tools", "allowed", "max_tokens",
         "created_at", "deleted_at"),
        ("context",),
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
    values = tuple(values)
    fixed = len(COVERED[table].fixed)
    try:
        moved = sum([int(value * TICKS) if isinstance(value, float) else value for value in values[fixed:]])
    except (OverflowError, TypeError) as exc:
        raise ValueError(f"a number of the {table} is {values[fixed:]}") from exc
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
    return crc32("\x1f".join([value if isinstance(value, str) else _as_text(value) for value in values]).encode())


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
    names = covered.fixed + covered.moving
    after = [changes.get(name, value) for name, value in zip(names, row, strict=False)]
    checksum = of_row(table, after) if is_sound(table, row) else row[-1]
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE {table} SET {columns}, checksum = ? WHERE id = ?", (*changes.values(), checksum, row_id)
    )


def columns_in(connection: sqlite3.Connection, table: str) -> str:
    """Return the covered columns of a table as in a SELECT; '' where the database has no such table yet.

    A moving column that a later version brings is 0, as it will be: so the checksum fits.
    """
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    covered = COVERED[table]
    names = (*covered.fixed, *covered.moving, "checksum")
    return ", ".join(name if name in there else "0" for name in names) if there else ""


def fill(connection: sqlite3.Connection) -> None:
    """Number the messages of each thread and give every row the checksum of what it holds, which counts as true.

    Tables and moving columns that later versions bring are left out: they begin with none and with 0. A row with a text
    that is no UTF-8 is given one that does not fit, so that it is told of.
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
        names = ", ".join(_undecoded(name) for name in covered.fixed + covered.moving if name in there)
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
