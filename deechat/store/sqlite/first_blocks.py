"""How logs were compacted when migration m008 was released: a copy that is never changed, as the migration is not.

Each of its blocks can be read by `compaction`, which is free to write others.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

import msgspec

from deechat.events import AnyEvent, Entry, ReasoningChunk, TextChunk, decode, encode
from deechat.store.sqlite import checksums

ENTRIES = 2_000  # of one block
CHARACTERS = 250_000  # of one block, but for an entry that is larger alone
SLICE = 20_000  # rows that become blocks together: the more, the fewer blocks
VERSION = b"\x02"

log = logging.getLogger(__name__)


class _Block(msgspec.Struct, omit_defaults=True):
    """Entries of a log; see `compaction`. A block that holds a whole log has no `of`, and begins with zlib's 0x78."""

    at: list[int]
    entries: list[int | AnyEvent]
    text: str | None = ""
    reasoning: str = ""
    before: int = 0
    of: int | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Block)


def compact_whole(connection: sqlite3.Connection, run_id: str, last_seq: int, body: bytes) -> None:
    """Write a log that is one block as several; one that cannot be read stays as it is."""
    try:
        content = _content(connection, run_id)
        if content is None:
            raise ValueError("its message is damaged")
        _compact(connection, run_id, _unpack(body, content))
    except ValueError:
        log.warning("the log of the run %s cannot be read, and is left as it is", run_id)
        _insert(connection, run_id, last_seq, body)


def compact_rows(connection: sqlite3.Connection) -> None:
    """Make blocks of all rows of events. A log that cannot be read stays in rows."""
    first, last = connection.execute(
        "SELECT (SELECT min(number) FROM event), (SELECT max(number) FROM event)"
    ).fetchone()
    for at in range(first, last + 1, SLICE) if last is not None else ():
        numbers = (at, min(at + SLICE, last + 1))
        rows = connection.execute(
            "SELECT run_id, seq, at, body, checksum FROM event WHERE number >= ? AND number < ? ORDER BY run_id, seq",
            numbers,
        ).fetchall()
        for run_id, its_rows in groupby(rows, key=itemgetter(0)):
            if connection.execute("SELECT 1 FROM run WHERE id = ?", (run_id,)).fetchone() is None:
                continue  # deleted
            try:
                _compact(connection, run_id, [_entry(*row) for row in its_rows])
            except ValueError:
                log.warning("the log of the run %s cannot be read, and is left as it is", run_id)
        connection.execute(
            "DELETE FROM event WHERE number >= ? AND number < ?"
            " AND (seq <= (SELECT max(last_seq) FROM block WHERE block.run_id = event.run_id)"
            " OR NOT EXISTS (SELECT 1 FROM run WHERE run.id = event.run_id))",
            numbers,
        )


def _entry(run_id: str, seq: int, at: float, body: bytes, checksum: int) -> Entry:
    if not checksums.is_event_sound(run_id, seq, at, body, checksum):
        raise ValueError(f"its entry {seq!r:.20} is damaged")
    return Entry(seq, at, decode(body))


def _content(connection: sqlite3.Connection, run_id: str) -> str | None:
    """Return the content of the message that a run made: '' without one, None if it is damaged."""
    columns = checksums.COVERED["message"].columns
    row = connection.execute(f"SELECT {columns} FROM message WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return ""
    content: str = row[checksums.COVERED["message"].fixed.index("content")]
    return content if checksums.is_sound("message", row) else None


def _compact(connection: sqlite3.Connection, run_id: str, entries: Sequence[Entry]) -> None:
    (stored,) = connection.execute("SELECT max(last_seq) FROM block WHERE run_id = ?", (run_id,)).fetchone()
    stored, content = stored or 0, _content(connection, run_id) or ""
    if not isinstance(stored, int):
        raise ValueError("a block is damaged")  # noqa: TRY004 - as for what else is damaged
    fresh = entries[max(0, stored + 1 - entries[0].seq) :] if entries else entries
    if not fresh:
        return
    if (fresh[0].seq, fresh[-1].seq) != (stored + 1, stored + len(fresh)):
        raise ValueError(f"entries {fresh[0].seq} to {fresh[-1].seq} cannot follow entry {stored}")
    before = len(content) - sum(len(each.event.text) for each in fresh if isinstance(each.event, TextChunk))
    for piece in _cut(fresh):
        body = _pack(piece, content, before) if before >= 0 else _pack(piece, "", 0)
        _insert(connection, run_id, piece[-1].seq, body)
        before += sum(len(each.event.text) for each in piece if isinstance(each.event, TextChunk))


def _insert(connection: sqlite3.Connection, run_id: str, last_seq: int, body: bytes) -> None:
    connection.execute(
        "INSERT INTO block (run_id, last_seq, body, checksum) VALUES (?, ?, ?, ?)",
        (run_id, last_seq, body, checksums.of_block(run_id, last_seq, body)),
    )


def _cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    first = size = 0
    for number, entry in enumerate(entries, start=1):
        event = entry.event
        size += len(event.text) if isinstance(event, TextChunk | ReasoningChunk) else len(encode(event))
        if number - first == ENTRIES or size >= CHARACTERS:
            yield entries[first:number]
            first, size = number, 0
    if first < len(entries):
        yield entries[first:]


def _pack(entries: Sequence[Entry], content: str, before: int) -> bytes:
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
    said = "".join(text)
    block = _Block(times[:1] + [after - before for before, after in pairwise(times)], short, said, "".join(reasoning))
    if said and content.startswith(said, before):
        block.text, block.before, block.of = None, before, len(content)
    return VERSION + entries[0].seq.to_bytes(4) + zlib.compress(_encoder.encode(block), 9)


def _unpack(body: bytes, content: str) -> list[Entry]:
    """Return the entries of a block that holds a whole log. Raises `ValueError` when it is something else."""
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
