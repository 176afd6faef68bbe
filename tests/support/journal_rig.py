"""What the tests of the log share: a run that begins, and what another program finds on disk of it."""

from __future__ import annotations

import sqlite3

from log_reader import log_of

from deechat.events import Entry, RunStarted
from deechat.log.journal import Journal, Log
from deechat.store.base import RunRow, Thread
from deechat.store.sqlite.database import Database


def start(journal: Journal, thread: Thread, run_id: str = "r") -> Log:
    record = RunRow(run_id, thread.id, f"{run_id}-message", f"{run_id}-prompt", None, None, "m", "en", 1.0)
    return journal.open(record, [RunStarted(run_id, record.message_id, "w", "t", None, "m")])


def on_disk(database: Database, run_id: str = "r") -> int:
    """Gives how many entries another program finds in the file."""
    other = sqlite3.connect(database.path)
    try:
        return len(log_of(other, run_id))
    finally:
        other.close()


def entries_of(journal: Journal, run_id: str, after: int = 0) -> list[Entry]:
    """Return the committed entries after the SEQ `after`, from disk. Raises `BrokenLogError`."""
    return [entry for page in journal.pages(run_id, after) for entry in page]
