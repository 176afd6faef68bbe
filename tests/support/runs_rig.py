"""Runs over a real file, wired as the application wires them, without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gevent

from deechat.agents.providers.base import Provider
from deechat.agents.tools.base import Tool
from deechat.events import AnyEvent
from deechat.principal import OWNER
from deechat.runs.service import Runs
from deechat.runs.start import Prompt
from deechat.store.base import Thread, Workspace
from deechat.store.memory import MemoryStore
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore


class House:
    """Runs over a store, as the application wires them: over one in a file, or in memory where a `store` is given."""

    def __init__(
        self,
        path: Path,
        provider: Provider,
        tools: tuple[Tool, ...] = (),
        *,
        max_runs: int = 10,
        recover: float = 900,
        store: MemoryStore | None = None,
    ) -> None:
        self._provider = provider
        self.store: SQLiteStore | MemoryStore
        if store is None:
            self.database = Database(path)
            self.database.start()
            self.store = SQLiteStore(self.database)
        else:
            self.store = store
        self.runs = Runs(
            self.store,
            self,
            {tool.name: tool for tool in tools},
            max_runs=max_runs,
            max_tool_rounds=10,
            recover=recover,
        )
        self.journal, self.registry, self.recovery = self.runs.journal, self.runs.registry, self.runs.recovery

    def current(self) -> Provider:
        return self._provider

    def going_on(self, _model: str | None) -> Provider:
        return self._provider

    def of_run(self, _model: str | None) -> Provider:
        return self._provider

    @property
    def workspace(self) -> Workspace:
        return self.store.workspace(OWNER, "default")

    def thread(self) -> Thread:
        return self.store.new_thread(OWNER, self.workspace, None)

    def start(self, thread: Thread, message: str = "Go") -> str:
        return self.runs.start(OWNER, self.workspace, thread, Prompt(message)).id

    def events(self, run_id: str) -> list[AnyEvent]:
        return [entry.event for batch in self.runs.follow(OWNER, run_id, 0, 10.0) for entry in batch]


def wait_until(claim: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not claim():
            gevent.sleep(0.005)
