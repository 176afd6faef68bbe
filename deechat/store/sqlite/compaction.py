"""Logs in compressed pieces: the blocks of a run.

While a run is at work each of its events is a row of `event`, at the end of a table that is only appended to. When it
has ended, waits for a person or has said very much, its entries become blocks, and the rows are swept away in time. A
log is its blocks and the rows that follow them, so a sweep may come at any time, and may be cut off anywhere.

A block has at most `ENTRIES` entries of about `CHARACTERS` characters: a cursor anywhere in a log reads one block, and
what is added to a log is a block more.

An answer is mostly pieces of text: a block holds of each piece its length, and the text once, or not at all where it is
that of the run's message. 1,000 tokens that came one by one are 110 kB as rows and 1.5 kB as a block.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby, pairwise
from operator import itemgetter

import msgspec

from deechat.events import AnyEvent, Entry, ReasoningChunk, TextChunk, decode, encode
from deechat.store.base import GIVEN_UP
from deechat.store.sqlite import checksums

ENTRIES = 2_000  # of one block: 1 to 2 ms to read
CHARACTERS = 250_000  # of one block, but for an entry that is larger alone
SLICE = 1_000  # rows that one sweep looks at
SLICE_AT_START = 20_000  # rows that become blocks in one transaction: the more, the fewer blocks
VERSION = b"\x02"  # a block begins with it, and the SEQ of its first entry; one of before with zlib's own 0x78
HEAD = len(VERSION) + 4  # bytes
LEVEL = 9  # of zlib: the slowest, and still 0.4 ms for 1,000 tokens

log = logging.getLogger(__name__)


class _Block(msgspec.Struct, omit_defaults=True):
    """Entries of a log, one after the other.

    `at`: the Unix time of the first entry in ms, and for each further one how many passed since the one before.
    `entries`: events; N stands for the next N characters of `text`, -N for those of `reasoning`. `text` None is the
    content of the run's message from its character `before` on, and the whole content has `of` characters. Blocks of
    the first version hold a whole log and have no `of`: theirs is all of the content.
    """

    at: list[int]
    entries: list[int | AnyEvent]
    text: str | None = ""
    reasoning: str = ""
    before: int = 0
    of: int | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Block)


def pack(entries: Sequence[Entry], content: str = "", before: int = 0) -> bytes:
    """Return entries of a log as a block; `content` is that of the run's message, of which earlier ones hold `before`
    characters.
    """
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
    block = _Block(at, short, said, "".join(reasoning))
    if said and content.startswith(said, before):
        block.text, block.before, block.of = None, before, len(content)
    return VERSION + entries[0].seq.to_bytes(4) + zlib.compress(_encoder.encode(block), LEVEL)


def unpack(body: bytes, content: str = "", last_seq: int | None = None) -> list[Entry]:
    """Read what `pack` wrote, with the same `content`; `last_seq` None is a log's beginning.

    Raises `ValueError` when it is something else.
    """
    block = _decode(body)
    text = _text(block, content)
    first = 1 if last_seq is None else last_seq - len(block.entries) + 1
    entries: list[Entry] = []
    at = said = thought = 0
    for seq, (passed, short) in enumerate(zip(block.at, block.entries, strict=True), start=first):
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


def _decode(body: bytes) -> _Block:
    try:
        return _decoder.decode(zlib.decompress(body[HEAD:] if body.startswith(VERSION) else body))
    except zlib.error as exc:
        raise ValueError(f"a block is damaged: {exc}") from exc


def _first(body: bytes, last_seq: int) -> int:
    """Return the SEQ of a block's first entry. Raises `ValueError`."""
    if body.startswith(VERSION):
        return int.from_bytes(body[len(VERSION) : HEAD])
    return last_seq - len(_decode(body).entries) + 1


def _text(block: _Block, content: str) -> str:
    if block.text is not None:
        return block.text
    if block.of is None:
        return content
    if block.of != len(content):
        raise ValueError(f"a block is of a text of {block.of} characters, and there are {len(content)}")
    said = sum(short for short in block.entries if isinstance(short, int) and short > 0)
    return content[block.before : block.before + said]


def _cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Return the entries in pieces that are small enough for a block."""
    first = size = 0
    for number, entry in enumerate(entries, start=1):
        event = entry.event
        size += len(event.text) if isinstance(event, TextChunk | ReasoningChunk) else len(encode(event))
        if number - first == ENTRIES or size >= CHARACTERS:
            yield entries[first:number]
            first, size = number, 0
    if first < len(entries):
        yield entries[first:]


# -- pieces of transactions --------------------------------------------------------------------------------------------


def compact(connection: sqlite3.Connection, run_id: str, entries: Sequence[Entry]) -> int:
    """Add to a run's blocks those of these entries that they lack; return how many these were.

    Raises `ValueError` when there would be a gap.
    """
    stored, content = _stored(connection, run_id)
    if not isinstance(stored, int):
        raise ValueError("a block is damaged")  # noqa: TRY004 - as `_check` says it
    fresh = entries[max(0, stored + 1 - entries[0].seq) :] if entries else entries
    if not fresh:
        return 0
    if (fresh[0].seq, fresh[-1].seq) != (stored + 1, stored + len(fresh)):
        raise ValueError(f"entries {fresh[0].seq} to {fresh[-1].seq} cannot follow entry {stored}")
    content = content or ""
    # Where the message is there, its content ends with what these entries say, or it is not theirs.
    before = len(content) - sum(len(each.event.text) for each in fresh if isinstance(each.event, TextChunk))
    for piece in _cut(fresh):
        body = pack(piece, content, before) if before >= 0 else pack(piece)
        _insert(connection, run_id, piece[-1].seq, body)
        before += sum(len(each.event.text) for each in piece if isinstance(each.event, TextChunk))
    return len(fresh)


def keep_text(connection: sqlite3.Connection, run_id: str) -> None:
    """Put the text of a run's message into the blocks that refer to it, before that message changes.

    A block that cannot be read stays as it is.
    """
    for row in connection.execute(_BLOCKS, (run_id, 0)).fetchall():
        try:
            _check(run_id, row)
            if _decode(row[2]).text is not None:
                continue
            body = pack(unpack(row[2], message_content(connection, run_id), row[1]))
        except ValueError:
            log.warning("a block of the run %s cannot be read, and is left as it is", run_id)
            continue
        connection.execute(
            "UPDATE block SET body = ?, checksum = ? WHERE run_id = ? AND last_seq = ?",
            (body, checksums.of_block(run_id, row[1], body), run_id, row[1]),
        )


def _insert(connection: sqlite3.Connection, run_id: str, last_seq: int, body: bytes) -> None:
    connection.execute(
        "INSERT INTO block (run_id, last_seq, body, checksum) VALUES (?, ?, ?, ?)",
        (run_id, last_seq, body, checksums.of_block(run_id, last_seq, body)),
    )


def compact_rows(connection: sqlite3.Connection, numbers: range) -> None:
    """Make blocks of the rows with these numbers, which nobody adds to, and delete them.

    A log that cannot be read stays in rows.
    """
    rows = connection.execute(
        "SELECT run_id, seq, at, body, checksum FROM event WHERE number >= ? AND number < ? ORDER BY run_id, seq",
        (numbers.start, numbers.stop),
    ).fetchall()
    for run_id, its_rows in groupby(rows, key=itemgetter(0)):
        if connection.execute("SELECT 1 FROM run WHERE id = ?", (run_id,)).fetchone() is None:
            continue  # deleted: the sweep takes them
        try:
            compact(connection, run_id, [_entry(*row) for row in its_rows])
        except ValueError:
            log.warning("the log of the run %s cannot be read, and is left as it is", run_id)
    delete_compacted(connection, numbers)


def _entry(run_id: str, seq: int, at: float, body: bytes, checksum: int) -> Entry:
    if not checksums.is_event_sound(run_id, seq, at, body, checksum):
        raise ValueError(f"its entry {seq!r:.20} is damaged")  # damaged, it may be a text
    return Entry(seq, at, decode(body))


_BLOCKS = "SELECT run_id, last_seq, body, checksum FROM block WHERE run_id = ? AND last_seq > ? ORDER BY last_seq"
_CONTENT = checksums.COVERED["message"].fixed.index("content")
_MESSAGE = checksums.COVERED["message"].columns_of("message")


def _stored(connection: sqlite3.Connection, run_id: str) -> tuple[int, str | None]:
    """Return the SEQ up to which a run's blocks go, and its message's content: '' without one, None if damaged."""
    packed, *row = connection.execute(
        f"SELECT (SELECT max(last_seq) FROM block WHERE run_id = ?), {_MESSAGE}"
        " FROM (SELECT 1) LEFT JOIN message ON message.run_id = ?",
        (run_id, run_id),
    ).fetchone()
    content = row[_CONTENT] if checksums.is_sound("message", tuple(row)) else None
    return packed or 0, "" if row[0] is None else content


def message_content(connection: sqlite3.Connection, run_id: str) -> str:
    """Return the content of the message that a run made; '' while there is none.

    Raises `ValueError` when it is damaged.
    """
    _, content = _stored(connection, run_id)
    if content is None:
        raise ValueError("its message is damaged")
    return content


def next_block(connection: sqlite3.Connection, run_id: str, after: int) -> tuple[int, bytes] | None:
    """Return the block with the entry behind `after`: the SEQ of its last entry, and its body; None when all is read.

    Raises `ValueError` when it is damaged.
    """
    row = connection.execute(
        f"{_BLOCKS} LIMIT 1",
        (run_id, after),
    ).fetchone()
    if row is None:
        return None
    _check(run_id, row)
    return row[1], row[2]


def _check(run_id: str, row: tuple[str, int, bytes, int]) -> None:
    if row[0] != run_id or not checksums.is_block_sound(*row):
        raise ValueError("a block is damaged")


def check(connection: sqlite3.Connection, run_id: str, after: int) -> list[Entry]:
    """Check what a run's blocks hold after the SEQ `after`, without unpacking it, and return the last block's entries.

    Raises `ValueError` when something is damaged or missing.
    """
    content, last = message_content(connection, run_id), None
    with closing(connection.execute(_BLOCKS, (run_id, after))) as rows:
        for row in rows:
            _check(run_id, row)
            if _first(row[2], row[1]) > after + 1:
                raise ValueError(f"entry {after + 1} is missing")
            last, after = row, row[1]
    return [] if last is None else unpack(last[2], content, last[1])


def rest(connection: sqlite3.Connection, run_id: str, after: int) -> list[Entry]:
    """Return the entries in rows after the SEQ `after`, where the blocks end. Raises `ValueError`."""
    if _is_packed(connection, run_id):
        return []
    # No index: there are few rows, and logs that somebody works on or looks at are in memory.
    rows = connection.execute(
        "SELECT run_id, seq, at, body, checksum FROM event WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, after)
    ).fetchall()  # one that is left in the middle, by an error too, would hold the reader at this commit
    if rows and (rows[0][1], rows[-1][1]) != (after + 1, after + len(rows)):
        raise ValueError(f"it has entries {rows[0][1]} to {rows[-1][1]} behind entry {after}")
    return [_entry(*row) for row in rows]


def _is_packed(connection: sqlite3.Connection, run_id: str) -> bool:
    """Say whether a run's whole log is in blocks: it rests, it has its ending, or the run is gone.

    A run that was given up has ended without an ending in its log, and may have rows. Raises `ValueError` when its last
    block, which tells, is damaged.
    """
    row = connection.execute("SELECT ended_at, reason, rests FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None or row[2]:
        return True
    if row[0] is None or row[1] != GIVEN_UP:
        return row[0] is not None
    last = connection.execute(f"{_BLOCKS} DESC LIMIT 1", (run_id, 0)).fetchone()
    if last is None:
        return False
    _check(run_id, last)
    event = _decode(last[2]).entries[-1]
    return not isinstance(event, int) and event.ends


def last_packed(connection: sqlite3.Connection, run_id: str) -> int:
    """Return the SEQ of the last entry in a run's blocks; 0 where there is none."""
    found: int | None = connection.execute("SELECT max(last_seq) FROM block WHERE run_id = ?", (run_id,)).fetchone()[0]
    return found or 0


def last_seq(connection: sqlite3.Connection, run_id: str) -> int:
    """Return the SEQ of a log's last entry; 0 where there is none. Raises `ValueError`."""
    packed = last_packed(connection, run_id)
    if _is_packed(connection, run_id):
        return packed
    return max(packed, connection.execute("SELECT max(seq) FROM event WHERE run_id = ?", (run_id,)).fetchone()[0] or 0)


def numbers(connection: sqlite3.Connection) -> range:
    """Return the numbers that rows have, and perhaps some that none has any more."""
    # Asked for in one SELECT, the two would be looked for in the whole table.
    first, last = connection.execute(
        "SELECT (SELECT min(number) FROM event), (SELECT max(number) FROM event)"
    ).fetchone()
    return range(0) if last is None else range(first, last + 1)


def slices(numbers: range, size: int) -> Iterator[range]:
    """Return the numbers in pieces of this size."""
    for at in numbers[::size]:
        yield range(at, min(at + size, numbers.stop))


def delete_compacted(connection: sqlite3.Connection, numbers: range) -> int:
    """Delete the rows with these numbers that are in a block too, or whose run was deleted; gives how many they were.

    Ids of runs are never used again, so no row needs its run to be there: a foreign key would look for the rows of each
    run that is deleted, in a table without an index for it.
    """
    return connection.execute(
        "DELETE FROM event WHERE number >= ? AND number < ?"
        " AND (seq <= (SELECT max(last_seq) FROM block WHERE block.run_id = event.run_id)"
        " OR NOT EXISTS (SELECT 1 FROM run WHERE run.id = event.run_id))",
        (numbers.start, numbers.stop),
    ).rowcount
