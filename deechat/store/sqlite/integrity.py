"""Whether the database is what was written: what a start refuses, what a check finds, and how it is told.

SQLite finds a damaged structure; damaged texts are found by the checksums of rows. Nothing that is damaged is shown as
if it were true: reading it raises `DamagedError`, or, in a list, leaves it out while `Damage.words` tells of it.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from deechat.errors import DamagedError, SettingError
from deechat.store.sqlite import checksums, wal

RESTORE = 'Restore a backup: see "Backup" in docs/deploy.md.'
ID = 38  # characters of an id in quotation marks
MOST = 20  # findings of a check that are told of
MAGIC = b"SQLite format 3\0"
_STRUCTURE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = logging.getLogger(__name__)


def is_structure(error: Exception) -> bool:
    """Say whether SQLite met a file that is not built as it should be."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _STRUCTURE


def is_text(error: Exception) -> bool:
    """Say whether a text was no UTF-8, that of an error itself included."""
    return isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error)


def is_damage(error: Exception) -> bool:
    """Say whether what was read is damaged, and the statement is not at fault."""
    return is_structure(error) or is_text(error)


def decode_leniently(text: bytes) -> str:
    """Decode a text that may be damaged: its row's checksum does not fit then."""
    return text.decode(errors="replace")


def words_of(error: Exception) -> str:
    """Return the words of an error for a person and the log; SQLite's own quote a text that is no UTF-8."""
    return "a text in it is no UTF-8" if is_text(error) else str(error)


def _named(kind: str, row: tuple[Any, ...]) -> str:
    """Name a row by its id, up to the length of one: a damaged id may run on into a text beside it."""
    return f"the {kind} {row[0]!r:.{ID}}"


class Damage:
    """What is known to be damaged of a database. `words` are for a person; None while nothing is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: set[str] = set()
        self.words: str | None = None

    def note(self, what: str) -> DamagedError:
        """Note what is not as it was written, and return the error that says so."""
        if self.words is None:
            self.words = f"{self._path.name} is damaged: {what}. {RESTORE}"
        if what not in self._noted and len(self._noted) < 1_000:
            self._noted.add(what)
            log.error("the database %s is damaged: %s. %s", self._path, what, RESTORE)
        return DamagedError(f"{self._path.name} is damaged, and this cannot be read: {what}. {RESTORE}")

    def checked(self, table: str, row: tuple[Any, ...], **expected: object) -> tuple[Any, ...]:
        """Return a row, read by the covered columns of its table, when it is as it was written.

        `expected` are values by which it was looked for. Raises `DamagedError`.
        """
        fixed = checksums.COVERED[table].fixed
        if not checksums.is_sound(table, row) or expected != {name: row[fixed.index(name)] for name in expected}:
            raise self.note(_named(table, row))
        return row

    def sound(self, table: str, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return the rows that are as they were written, and note the others."""
        sound = []
        for row in rows:
            if checksums.is_sound(table, row):
                sound.append(row)
            else:
                self.note(_named(table, row))
        return sound


def before_opening(path: Path, *, used: bool) -> str | None:
    """Check what can be seen before SQLite opens the files; return what is damaged in the write-ahead log.

    `used` says that there was a database before. A damaged log is copied aside, since SQLite cuts it. Raises
    `SettingError` when there is nothing to open, and it would be replaced by an empty database without a word.
    """
    log_file = path.with_name(f"{path.name}-wal")
    size = path.stat().st_size if path.exists() else 0
    log_size = log_file.stat().st_size if log_file.exists() else 0
    if size == 0 and log_size > 0:
        raise SettingError(
            f"The database {path} is {'empty' if path.exists() else 'missing'}, but a part of it, {log_file.name}, is "
            f"there: put the file back beside it. {RESTORE}"
        )
    if size == 0 and used:
        raise SettingError(missing(path, "empty" if path.exists() else "missing"))
    if size == 0:
        return None
    with path.open("rb") as file:
        if file.read(16) != MAGIC:
            raise SettingError(
                f"The file {path} is no SQLite database, or its beginning is damaged. {RESTORE} "
                "Or set DEECHAT_DATA to another folder."
            )
    found = wal.damage(log_file) if log_size else None
    if found is not None:
        copy = log_file.with_name(f"{log_file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        shutil.copy2(log_file, copy)
        found += f" (a copy of it is kept as {copy.name})"
    return found


def check_ours(connection: sqlite3.Connection, path: Path, *, used: bool) -> None:
    """Check that the database is DeeChat's, or a new one, and that its tables are as they were made.

    Raises `SettingError`.
    """
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not names and used:
        raise SettingError(missing(path, "empty"))
    if names and "_sqlite_migrations" not in names:
        raise SettingError(
            f"The database {path} belongs to another program, or is damaged. Set DEECHAT_DATA to another folder. "
            f"{RESTORE}"
        )


def missing(path: Path, state: str) -> str:
    """Say that there is no database where there was one."""
    return (
        f"The database {path} is {state}, but the file 'secret' beside it shows that there was one. {RESTORE} "
        f"To begin anew with nothing, remove {path.with_name('secret')} too."
    )


class Check:
    """A check of a whole database, on a connection of its own, in whichever thread calls `run`.

    `structure` and `rows` are what it found, in words; both are empty when all is sound. A database of a version
    before checksums has none.
    """

    def __init__(self, path: Path, *, has_checksums: bool = True) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._has_checksums = has_checksums
        self._connection: sqlite3.Connection | None = None
        self.stopped = False
        self.structure: list[str] = []
        self.rows: list[str] = []
        self.pages = self.checked = 0
        self.seconds = 0.0

    @property
    def is_sound(self) -> bool:
        return not self.structure and not self.rows

    def run(self) -> None:
        """Check everything, or as much as can be until `stop`."""
        began = time.monotonic()
        with closing(sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)) as connection:
            self._connection = connection
            connection.text_factory = decode_leniently
            try:
                (self.pages,) = connection.execute("PRAGMA page_count").fetchone()
                self._check_structure(connection)
                if self._has_checksums:
                    for table in checksums.COVERED:
                        self._check_rows(connection, table)
                    self._check_logs(connection)
                    self._check_counts(connection)
            except (sqlite3.Error, UnicodeDecodeError) as exc:
                if self.stopped:
                    return
                if not is_damage(exc):
                    raise
                self.structure.append(words_of(exc))
            finally:
                self._connection = None
                self.seconds = time.monotonic() - began

    def stop(self) -> None:
        """End a check that is under way in another thread."""
        self.stopped = True
        if self._connection is not None:
            self._connection.interrupt()

    def words(self) -> str:
        """Say what was found, in one line."""
        if self.stopped:
            return "the check of the database was cut off"
        found = [*self.structure, *self.rows]
        result = f"damaged: {'; '.join(found[:3])}" if found else "all is sound"
        return f"checked {self.pages} pages and {self.checked} rows of the database in {self.seconds:.1f} s: {result}"

    def _check_structure(self, connection: sqlite3.Connection) -> None:
        found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST})")]
        if found != ["ok"]:
            self.structure += [" ".join(each.removeprefix("*** in database main ***").split()) for each in found]

    def _check_rows(self, connection: sqlite3.Connection, table: str) -> None:
        columns = checksums.columns_in(connection, table)  # of a backup of an earlier version there may be fewer
        for row in connection.execute(f"SELECT {columns} FROM {table}") if columns else ():
            self._note(checksums.is_sound(table, row), _named(table, row))

    def _check_logs(self, connection: sqlite3.Connection) -> None:
        for row in connection.execute("SELECT run_id, last_seq, body, checksum FROM block"):
            self._note(checksums.is_block_sound(*row), _named("log of the run", row))
        for row in connection.execute("SELECT run_id, seq, at, body, checksum FROM event"):
            self._note(checksums.is_event_sound(*row), _named("log of the run", row))

    def _check_counts(self, connection: sqlite3.Connection) -> None:
        for (slug,) in connection.execute(
            "SELECT thread.slug FROM thread JOIN workspace ON workspace.id = workspace_id"
            " WHERE thread.deleted_at IS NULL AND workspace.deleted_at IS NULL"
            " AND messages != (SELECT count(*) FROM message WHERE thread_id = thread.id)"
        ):
            self._note(False, f"the messages of the thread {slug!r}")

    def _note(self, sound: bool, what: str) -> None:
        self.checked += 1
        if self.stopped:
            raise sqlite3.OperationalError("interrupted")
        if not sound and len(self.rows) < MOST and what not in self.rows:
            self.rows.append(what)
