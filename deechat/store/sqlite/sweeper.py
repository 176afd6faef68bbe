"""When the rows of packed logs are swept away: soon, in small pieces, and never in anybody's way."""

from __future__ import annotations

import time
from functools import partial

import gevent

from deechat.errors import StorageUnavailableError
from deechat.store.sqlite import compaction
from deechat.store.sqlite.database import Database

DELAY = 1.0  # seconds in which more may end
PAUSE = 0.02  # seconds between two slices, for everybody else's commits
SELDOM = 10.0  # seconds between two rounds while most rows are of runs that are at work
AT_CLOSE = 2.0  # seconds that a server which leaves sweeps; the next one sweeps the rest


class Sweeper:
    """Goes through the rows of `event` by their numbers, from the first to the last, when it was told of dead ones."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = self._dead = 0
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def wrote(self, rows: int) -> None:
        """Count rows that were added."""
        self._rows += rows

    def died(self, rows: int) -> None:
        """Count rows that are in a block now."""
        self._dead += rows
        if rows and self._greenlet is None:
            self._greenlet = gevent.spawn(self._sweep)

    def close(self) -> None:
        """Sweep what is left, as far as that is soon done."""
        if self._greenlet is None:
            return
        self._greenlet.kill()
        deadline = time.monotonic() + AT_CLOSE
        try:
            for numbers in compaction.slices(self._database.look(compaction.numbers), compaction.SLICE):
                if time.monotonic() < deadline:
                    self._database.write(partial(compaction.delete_compacted, numbers=numbers))
        except StorageUnavailableError:
            pass

    def _sweep(self) -> None:
        try:
            while self._dead > 0:
                gevent.sleep(DELAY if 2 * self._dead >= self._rows else SELDOM)
                self._go_through()
        except StorageUnavailableError:
            pass  # the next one that is packed lets it begin anew
        finally:
            self._greenlet = None

    def _go_through(self) -> None:
        self._dead = 0  # those that are packed meanwhile are for the next time
        for numbers in compaction.slices(self._database.look(compaction.numbers), compaction.SLICE):
            self._rows -= self._database.write(partial(compaction.delete_compacted, numbers=numbers))
            gevent.sleep(PAUSE)
