"""The data folder: where everything that is kept lies, who may hold it, and the secret that signs log-ins."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import IO

from deechat.errors import SettingError


class DataFolder:
    """A folder that one process at a time holds.

    The hold is an flock on the file `lock` in it: the system lets go of it when the process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[bytes] | None = None

    @property
    def database(self) -> Path:
        return self.path / "deechat.sqlite3"

    def hold(self, patience: float = 10.0) -> None:
        """Makes the folder with mode 0700 when it is missing, and holds it.

        Waits up to `patience` seconds for a process that holds it to leave. Raises `SettingError` in words when it does
        not leave, or when the folder cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / "lock").open("ab")
        except (FileExistsError, NotADirectoryError):
            raise SettingError(
                f"The data folder {self.path} cannot be used: a file is in its place. Set DEECHAT_DATA to a folder."
            ) from None
        except OSError as exc:
            raise SettingError(
                f"The data folder {self.path} cannot be used ({exc.strerror}): make it writable, or set DEECHAT_DATA."
            ) from exc
        deadline = time.monotonic() + patience
        while not _try_lock(lock):
            if time.monotonic() >= deadline:
                lock.close()
                raise SettingError(
                    f"The data folder {self.path} is in use by another DeeChat: stop that one, "
                    "or set DEECHAT_DATA to another folder."
                )
            time.sleep(0.1)
        self._lock = lock

    def release(self) -> None:
        """Lets go of the folder; harmless when it is not held."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def secret(self) -> bytes:
        """Gives the 32 bytes that sign log-ins; they are made at the first call, in a file of mode 0600.

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


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
