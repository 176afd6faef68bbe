"""One commit's events: the rows that all logs append until the store seals it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from deechat.errors import StorageUnavailableError
from deechat.store.base import Change, EventRow, Share


class Key(Protocol):
    """A log, as a key. `lost`: nothing may follow in it, as it would leave a gap."""

    lost: bool


Log = TypeVar("Log", bound=Key)


class Batch(Generic[Log]):
    """Rows of events by log; see `store.base.EventBatch`.

    `seal` is called when nothing more may be added; `stored` after the commit, with all shares and with the errors by
    which logs were rejected. A lost log is rejected from the first.
    """

    def __init__(
        self, seal: Callable[[], None], stored: Callable[[Mapping[Log, Share], Mapping[Log, Exception]], None]
    ) -> None:
        self.seal = seal
        self._stored = stored
        self._shares: dict[Log, Share] = {}

    def add(self, log: Log, run_id: str, row: EventRow, changes: Sequence[Change] = (), *, ends: bool = False) -> None:
        """Add a row of the log, and the changes that belong to it; `ends` when it is the log's ending."""
        share = self._shares.get(log)
        if share is None:
            share = self._shares[log] = Share()
            share.run_id = run_id
        share.append(row)
        share.size += len(row[2])
        if changes:
            share.changes += (*changes,)
        if ends:
            share.ends = True

    def shares(self) -> list[Share]:
        return [share for log, share in self._shares.items() if not log.lost]

    def stored(self, rejected: Mapping[str, Exception]) -> None:
        shares, self._shares = self._shares, {}  # which would hold the logs
        errors: dict[Log, Exception] = {}
        for log, share in shares.items():
            if share.run_id in rejected:
                errors[log] = rejected[share.run_id]
            elif log.lost:
                errors[log] = StorageUnavailableError("Rows before these were lost.")
        self._stored(shares, errors)
