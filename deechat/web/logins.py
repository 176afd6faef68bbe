"""Log-ins that a person has ended before their time."""

from __future__ import annotations

import hashlib
import time

from deechat.store.base import ServerStore


class EndedLogins:
    """The cookies that log-outs made worthless, known by a digest. They are kept until they would have ended anyway."""

    def __init__(self, store: ServerStore) -> None:
        self._store = store
        self._read: dict[str, float] | None = None

    @property
    def _until(self) -> dict[str, float]:
        if self._read is None:
            stored = self._store.ended_logins()
            if self._read is None:  # nobody was quicker, and may have added to it
                self._read = stored
        return self._read

    def end(self, cookie: str, until: float) -> None:
        """Make a cookie worthless until that time, on disk when it returns."""
        now = time.time()
        for digest in [digest for digest, end in self._until.items() if end < now]:
            del self._until[digest]
        self._until[_digest(cookie)] = until
        self._store.end_login(_digest(cookie), until)

    def __contains__(self, cookie: str) -> bool:
        return bool(self._until) and _digest(cookie) in self._until


def _digest(cookie: str) -> str:
    # Without the signature, which can be written in several ways that all fit.
    return hashlib.sha256(cookie.rpartition(".")[0].encode()).hexdigest()
