"""The data folder: the place of all that is kept, its one holder, and the secret that signs log-ins."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import tempfile
import time
from pathlib import Path

from deechat.errors import SettingError, StorageUnavailableError

log = logging.getLogger(__name__)


def keep_temporary_files(folder: Path) -> Path | None:
    """Use this folder for temporary files where no other can be written, and return it then; None else.

    A read-only root, or a full `/tmp`, leaves no other. Children and SQLite want it as `TMPDIR`.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = str(folder.absolute())
        return folder.absolute()
    return None


class DataFolder:
    """A folder that one process at a time holds.

    The hold is an flock on the folder itself and one on the file `lock` in it; versions up to 0.1 took the latter
    alone. The system lets go of both when the process ends in any way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._folder: int | None = None
        self._lock: int | None = None
        self._database: tuple[int, int] | None = None  # device and inode

    @property
    def database(self) -> Path:
        return self.path / "deechat.sqlite3"

    @property
    def was_used(self) -> bool:
        """Whether there was a database here before: the secret is made after it."""
        return (self.path / "secret").exists()

    def hold(self, patience: float = 10.0) -> None:
        """Make the folder with mode 0700 when it is missing, and hold it.

        Waits up to `patience` seconds for a process that holds it to leave. Raises `SettingError` in words when it does
        not leave, or when the folder cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            self._lock = self._open_lock()
        except (FileExistsError, NotADirectoryError):
            self.release()
            raise SettingError(
                f"The data folder {self.path} cannot be used: a file is in its place. Set DEECHAT_DATA to a folder."
            ) from None
        except OSError as exc:
            self.release()
            raise SettingError(
                f"The data folder {self.path} cannot be used ({exc.strerror}): make it writable, or set DEECHAT_DATA."
            ) from exc
        deadline = time.monotonic() + patience
        while not (_try_lock(self._folder) and _try_lock(self._lock)):
            if time.monotonic() >= deadline:
                self.release()
                raise SettingError(
                    f"The data folder {self.path} is in use by another DeeChat: stop that one, "
                    "or set DEECHAT_DATA to another folder."
                )
            time.sleep(0.1)

    def release(self) -> None:
        """Let go of the folder; harmless when it is not held."""
        for descriptor in (self._folder, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._folder = self._lock = self._database = None

    def check_in_place(self) -> None:
        """Raise `StorageUnavailableError` when the database is no longer the file that was there at the first call,
        or another process took the folder. A `lock` that was removed is made again.
        """
        try:
            database = _identity(self.database.stat())
        except OSError as exc:
            raise _gone(f"{self.database} was removed ({exc.strerror})") from exc
        if self._database is None:
            self._database = database
        if database != self._database:
            raise _gone(f"{self.database} was replaced by another file")
        if self._lock is not None and not _is_at(self._lock, self.path / "lock"):
            self._renew_lock()

    def _renew_lock(self) -> None:
        fresh: int | None = None
        try:
            fresh = self._open_lock()
            is_ours = _try_lock(fresh)
        except OSError as exc:
            if fresh is not None:
                os.close(fresh)
            raise _gone(f"{self.path / 'lock'} was removed and cannot be made again ({exc.strerror})") from exc
        if not is_ours:
            os.close(fresh)
            raise _gone(f"{self.path / 'lock'} was removed, and another DeeChat has taken {self.path}")
        if self._lock is not None:
            os.close(self._lock)
        self._lock = fresh
        log.warning("the file %s was removed, and is made again: it keeps other processes out", self.path / "lock")

    def _open_lock(self) -> int:
        return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def secret(self) -> bytes:
        """Return the 32 bytes that sign log-ins; they are made at the first call, in a file of mode 0600.

        Raises `SettingError` when the file is damaged, or cannot be read or written.
        """
        file = self.path / "secret"
        try:
            known = bytes.fromhex(file.read_text("ascii")) if file.exists() else b""
            return known if len(known) == 32 else _write_secret(file)
        except ValueError:
            raise SettingError(f"The file {file} is damaged: remove it, and everyone logs in again.") from None
        except OSError as exc:
            raise SettingError(f"The file {file} cannot be used ({exc.strerror}).") from exc


def _write_secret(file: Path) -> bytes:
    # Written beside and renamed, so that a crash in between leaves no half secret.
    fresh = secrets.token_bytes(32)
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(fresh.hex())
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    return fresh


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return _identity(os.fstat(descriptor)) == _identity(path.stat())
    except OSError:
        return False


def _gone(what: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"{what} while the server runs, so nothing can be stored. Put it back, or stop the server, "
        "restore a backup and start it again.",
        retry_after=5,
    )
