"""Runs over a real file, wired as the application wires them, without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gevent

from deechat.agents.providers.base import Provider
from deechat.agents.tools.base import Tool
from deechat.events import AnyEvent
from deechat.log.journal import Journal
from deechat.runs.handlers import Handlers
from deechat.runs.recovery import Recovery
from deechat.runs.registry import Active
from deechat.runs.service import Runs
from deechat.runs.start import Opening, Prompt
from deechat.store.base import Thread, Workspace
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import Store


class House:
    """A store, a journal and runs over one file, as the application wires them."""

    def __init__(
        self, path: Path, provider: Provider, tools: tuple[Tool, ...] = (), max_runs: int = 10, recover: float = 900
    ) -> None:
        self.database = Database(path)
        self.database.start()
        self.store = Store(self.database)
        self.journal = Journal(self.database)
        by_name = {tool.name: tool for tool in tools}
        handlers = Handlers(self.store, choose=lambda _: provider, tools=by_name, max_tool_rounds=10)
        self.active = Active(self.journal, handlers.of)
        self.recovery = Recovery(self.journal, self.active, recover=recover)
        self.runs = Runs(
            journal=self.journal,
            store=self.store,
            opening=Opening(self.journal, self.store, lambda: provider, lambda _: provider),
            active=self.active,
            tools=by_name,
            max_runs=max_runs,
        )

    @property
    def workspace(self) -> Workspace:
        return self.store.workspace("default")

    def thread(self) -> Thread:
        return self.store.new_thread(self.workspace, None)

    def start(self, thread: Thread, message: str = "Go") -> str:
        return self.runs.start(self.workspace, thread, Prompt(message)).id

    def events(self, run_id: str) -> list[AnyEvent]:
        return [entry.event for batch in self.runs.follow(run_id, 0, 10.0) for entry in batch]


def wait_until(claim: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not claim():
            gevent.sleep(0.005)
