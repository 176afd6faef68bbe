"""A run's whole log as another program finds it in the file."""

from __future__ import annotations

import sqlite3

from deechat.events import Entry
from deechat.store.sqlite import compaction


def log_of(connection: sqlite3.Connection, run_id: str) -> list[Entry]:
    """Return a log from its first entry on: its blocks, and the rows that follow them. Raises `ValueError`."""
    entries: list[Entry] = []
    content = compaction.message_content(connection, run_id)
    while block := compaction.next_block(connection, run_id, len(entries)):
        entries += compaction.unpack(block[1], content, block[0])
        assert len(entries) == block[0], "entries are missing"
    return entries + compaction.rest(connection, run_id, len(entries))
