"""Backup and restore: one file, made while the server runs, and checked before anyone relies on it.

The file holds the database alone. The secret that signs log-ins stays where it is: after a restore elsewhere everyone
logs in again.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import chain, count
from pathlib import Path

from deechat.errors import SettingError
from deechat.server.folder import DataFolder
from deechat.store.sqlite import integrity
from deechat.store.sqlite.connections import note_end
from deechat.store.sqlite.schema import has_checksums, pending_of

STEP = 2_000  # pages between two words about the progress
Progress = Callable[[int, int], None]  # pages that are copied, and how many there are


def backup(folder: DataFolder, target: Path, *, force: bool, progress: Progress) -> str:
    """Copy the database to `target` as it stands at this moment, and return what was made, in words.

    `force` replaces a file that is there, and keeps a copy of a damaged database. Raises `SettingError`.
    """
    if target.is_dir():
        raise SettingError(f"{target} is a folder: name a file in it.")
    if target.exists() and not force:
        raise SettingError(f"{target} is there already: name another file, or add --force to replace it.")
    if not folder.database.exists():
        raise SettingError(f"There is no database {folder.database} to make a backup of: set DEECHAT_DATA.")
    if _is_one_of_ours(folder, target):
        raise SettingError(f"{target} is a file of the data folder itself: name another one.")
    draft = _draft(target)
    try:
        _copy(folder.database, draft, progress)
        check = _check(draft)
        if not check.is_sound and not force:
            raise SettingError(
                f"No backup was made, for the database is damaged. Its {check.words().removeprefix('checked ')}. "
                "With --force it is copied as it is."
            )
        draft.replace(target)
        _sync_folder(target)
    finally:
        draft.unlink(missing_ok=True)
    return f"{target}, {target.stat().st_size:,} bytes; {check.words()}"


def restore(folder: DataFolder, source: Path, *, force: bool, progress: Progress) -> str:
    """Put a backup in the database's place, and return what was done, in words. The database of before is kept.

    `force` takes a damaged backup. Raises `SettingError` while a server runs, and when the file is no sound backup.
    """
    if not source.is_file():
        raise SettingError(f"There is no file {source}.")
    folder.hold(patience=0.0)
    try:
        if folder.database.exists() and folder.database.samefile(source):
            raise SettingError(f"{source} is the database itself.")
        draft = _draft(folder.database)
        try:
            _copy(source, draft, progress)
            check = _check(draft)
            if not check.is_sound and not force:
                raise SettingError(
                    f"{source} is damaged, so it was not put in place: {check.words()}. With --force it is."
                )
            kept = _put_aside(folder.database)
            draft.replace(folder.database)
            _sync_folder(folder.database)
        finally:
            draft.unlink(missing_ok=True)
    finally:
        folder.release()
    aside = f"; the database of before is kept as {kept}" if kept else ""
    return f"{source} is in place{aside}; {check.words()}"


def _is_one_of_ours(folder: DataFolder, target: Path) -> bool:
    ours = [folder.path / "lock", folder.path / "secret", folder.database]
    ours += [folder.database.with_name(f"{folder.database.name}{end}") for end in ("-wal", "-shm")]
    return target.resolve() in {each.resolve() for each in ours} or (
        target.exists() and any(each.exists() and each.samefile(target) for each in ours)
    )


def _draft(target: Path) -> Path:
    """Make an empty file beside the target, of a name that no other has, which its owner alone can read."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.absolute().parent)
    except OSError as exc:
        raise SettingError(f"{target} cannot be written: {target.absolute().parent}: {exc.strerror}.") from exc
    os.close(descriptor)
    return Path(name)


def _copy(source: Path, draft: Path, progress: Progress) -> None:
    with source.open("rb") as file:
        if file.read(16) != integrity.MAGIC:
            raise SettingError(f"{source} is no SQLite database, or its beginning is damaged.")
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as there:
            there.isolation_level = None
            there.execute("BEGIN")
            there.execute("PRAGMA schema_version").fetchone()  # from here on it is read as it stands now
            integrity.check_ours(there, source, used=True)
            pending_of(there, source)
            with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                there.backup(copy, pages=STEP, progress=lambda _status, left, pages: progress(pages - left, pages))
                copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # so that it is one file
                note_end(copy)  # the server that it was taken from is not the one that opens it
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise SettingError(
            f"{source} cannot be read as a database ({integrity.words_of(exc)}), with --force neither: "
            "take another backup."
        ) from exc
    with draft.open("rb") as file:
        os.fsync(file.fileno())


def _check(draft: Path) -> integrity.Check:
    with closing(sqlite3.connect(f"{draft.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        check = integrity.Check(draft, has_checksums=has_checksums(connection))
    check.run()
    return check


def _put_aside(database: Path) -> Path | None:
    """Rename the database with its write-ahead log."""
    if not database.exists():
        return None
    name = f"{database.name}.until-{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    kept = next(
        each
        for each in map(database.with_name, names)
        if not (each.exists() or each.with_name(f"{each.name}-wal").exists())
    )
    # The database first: a start that finds a log without it says so, one without its log would not.
    database.rename(kept)
    with suppress(FileNotFoundError):
        database.with_name(f"{database.name}-wal").rename(kept.with_name(f"{kept.name}-wal"))
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    return kept


def _sync_folder(file: Path) -> None:
    folder = os.open(file.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
