"""Logs that nobody adds to, each as one compressed row: its block.

While a run is at work each of its events is a row of `event`, at the end of a table that is only appended to. When it
has ended, or waits for a person, all of them become a block, and the rows are swept away in time. A log is its block
and the rows that follow it, so a sweep may come at any time, and may be cut off anywhere.

An answer is mostly pieces of text: a block holds of each piece its length, and the text once, or not at all where it is
that of the run's message. 1,000 tokens that came one by one are 110 kB as rows and 1.5 kB as a block.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import msgspec

from deechat import checksums
from deechat.events import AnyEvent, Entry, ReasoningChunk, TextChunk, decode

SLICE = 1_000  # rows that one sweep looks at
LEVEL = 9  # of zlib: the slowest, and still 0.4 ms for 1,000 tokens

log = logging.getLogger(__name__)


class _Block(msgspec.Struct, omit_defaults=True):
    """A log from its first entry on.

    `at`: the Unix time of the first entry in ms, and for each further one how many passed since the one before.
    `entries`: events; N stands for the next N characters of `text`, -N for those of `reasoning`. `text` None is the
    content of the run's message.
    """

    at: list[int]
    entries: list[int | AnyEvent]
    text: str | None = ""
    reasoning: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Block)


def pack(entries: Sequence[Entry], content: str = "") -> bytes:
    """Gives a log, from its first entry on, as a block; `content` is that of the run's message."""
    text: list[str] = []
    reasoning: list[str] = []
    short: list[int | AnyEvent] = []
    for entry in entries:
        event = entry.event
        if isinstance(event, TextChunk) and event.text:
            text.append(event.text)
            short.append(len(event.text))
        elif isinstance(event, ReasoningChunk) and event.text:
            reasoning.append(event.text)
            short.append(-len(event.text))
        else:
            short.append(event)
    times = [round(entry.at * 1000) for entry in entries]
    at = times[:1] + [after - before for before, after in pairwise(times)]
    said = "".join(text)
    block = _Block(at, short, None if said and said == content else said, "".join(reasoning))
    return zlib.compress(_encoder.encode(block), LEVEL)


def unpack(body: bytes, content: str = "") -> list[Entry]:
    """Reads what `pack` wrote, with the same `content`. Raises `ValueError` when it is something else."""
    try:
        block = _decoder.decode(zlib.decompress(body))
    except zlib.error as exc:
        raise ValueError(f"a block is damaged: {exc}") from exc
    text = content if block.text is None else block.text
    entries: list[Entry] = []
    at = said = thought = 0
    for seq, (passed, short) in enumerate(zip(block.at, block.entries, strict=True), start=1):
        at += passed
        event: AnyEvent
        if not isinstance(short, int):
            event = short
        elif short >= 0:
            event = TextChunk(text[said : said + short])
            said += short
        else:
            event = ReasoningChunk(block.reasoning[thought : thought - short])
            thought -= short
        entries.append(Entry(seq, at / 1000, event))
    if (said, thought) != (len(text), len(block.reasoning)):
        raise ValueError(f"a block is of {said} characters of text, and there are {len(text)}")
    return entries


# -- pieces of transactions --------------------------------------------------------------------------------------------


def put(connection: sqlite3.Connection, run_id: str, entries: Sequence[Entry]) -> None:
    """Makes the log of a run, all of it, its block."""
    message = _message(connection, run_id)
    is_sound = message is not None and checksums.is_sound("message", message)
    body = pack(entries, message[_CONTENT] if message is not None and is_sound else "")
    connection.execute(
        "INSERT INTO block (run_id, last_seq, body, checksum) VALUES (?, ?, ?, ?) ON CONFLICT (run_id)"
        " DO UPDATE SET last_seq = excluded.last_seq, body = excluded.body, checksum = excluded.checksum",
        (run_id, len(entries), body, checksums.of_block(run_id, len(entries), body)),
    )


def put_all(connection: sqlite3.Connection) -> None:
    """Makes the log of every run that has rows a block, and sweeps the rows. One that cannot be read stays in rows."""
    rows = connection.execute("SELECT run_id, seq, at, body, checksum FROM event ORDER BY run_id, seq").fetchall()
    for run_id, its_rows in groupby(rows, key=itemgetter(0)):
        try:
            put(connection, run_id, joined(run_id, read(connection, run_id), [row[1:] for row in its_rows]))
        except ValueError:
            log.warning("the log of the run %s cannot be read, and is left as it is", run_id)
    sweep_all(connection)


def read(connection: sqlite3.Connection, run_id: str) -> list[Entry]:
    """Gives the block of a run; nothing where it has none. Raises `ValueError` when it cannot be read."""
    row = connection.execute(
        "SELECT run_id, last_seq, body, checksum FROM block WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is None:
        return []
    if row[0] != run_id or checksums.of_block(*row[:3]) != row[3]:
        raise ValueError("a block is damaged")
    message = _message(connection, run_id)
    if message is not None and not checksums.is_sound("message", message):
        raise ValueError("its message is damaged")
    return unpack(row[2], message[_CONTENT] if message else "")


_CONTENT = checksums.COVERED["message"].fixed.index("content")


def _message(connection: sqlite3.Connection, run_id: str) -> tuple[Any, ...] | None:
    columns = checksums.COVERED["message"].columns
    row: tuple[Any, ...] | None
    row = connection.execute(f"SELECT {columns} FROM message WHERE run_id = ?", (run_id,)).fetchone()
    return row


def log_of(connection: sqlite3.Connection, run_id: str) -> list[Entry]:
    """Gives a log from its first entry on: its block, and the rows that follow it. Raises `ValueError`."""
    entries = read(connection, run_id)
    if entries and entries[-1].event.ends:
        return entries
    # No index: there are few rows, and logs that somebody works on or looks at are in memory.
    rows = connection.execute(
        "SELECT seq, at, body, checksum FROM event WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, len(entries))
    )
    return joined(run_id, entries, rows.fetchall())


def last_seq(connection: sqlite3.Connection, run_id: str, *, rows: bool) -> int:
    """Gives the SEQ of a log's last entry, that of its block alone without `rows`; 0 where there is none."""
    row = connection.execute("SELECT last_seq FROM block WHERE run_id = ?", (run_id,)).fetchone()
    packed: int = row[0] if row else 0
    if not rows or _has_ended(connection, run_id):
        return packed
    return max(packed, connection.execute("SELECT max(seq) FROM event WHERE run_id = ?", (run_id,)).fetchone()[0] or 0)


def _has_ended(connection: sqlite3.Connection, run_id: str) -> bool:
    row = connection.execute("SELECT ended_at FROM run WHERE id = ?", (run_id,)).fetchone()
    return row is not None and row[0] is not None


def joined(run_id: str, entries: list[Entry], rows: Sequence[tuple[int, float, bytes, int]]) -> list[Entry]:
    """Gives what is in a block and what is in rows (seq, at, body, checksum) as one log. Raises `ValueError`."""
    for seq, at, body, checksum in rows:
        if checksums.of_event(run_id, seq, at, body) != checksum:
            raise ValueError(f"its entry {seq} is damaged")
    rest = [Entry(seq, at, decode(body)) for seq, at, body, _ in rows if seq > len(entries)]
    whole = entries + rest
    if rest and (rest[0].seq, rest[-1].seq) != (len(entries) + 1, len(whole)):
        raise ValueError(f"it has {len(whole)} entries up to {rest[-1].seq}")
    return whole


def numbers(connection: sqlite3.Connection) -> range:
    """Gives the numbers that rows have, and perhaps some that none has any more."""
    first, last = connection.execute("SELECT min(number), max(number) FROM event").fetchone()
    return range(0) if last is None else range(first, last + 1)


def sweep(connection: sqlite3.Connection, numbers: range) -> int:
    """Deletes the rows with these numbers that are in a block too; gives how many they were."""
    return connection.execute(
        "DELETE FROM event WHERE number >= ? AND number < ?"
        " AND seq <= (SELECT last_seq FROM block WHERE block.run_id = event.run_id)",
        (numbers.start, numbers.stop),
    ).rowcount


def sweep_all(connection: sqlite3.Connection) -> None:
    """Deletes every row that is in a block too."""
    sweep(connection, numbers(connection))
