"""Every run of the suite through every dialect: the logs that a test left are folded live and replayed when it is over.

Logs come from the files of its servers, and from journals in the tests' own process. Those of one shape, but for the
number of pieces in a row, are folded once in a worker. A plugin of pytest, registered by conftest.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import groupby
from typing import Any

import pytest
from dialects import check
from log_reader import log_of
from server import Server

from deechat.agents.state import RunState
from deechat.events import AnyEvent, Entry, InputReceived, ReasoningChunk, RunFailed, RunStarted, TextChunk
from deechat.log.journal import Journal, Log

MOST = 24  # cursors of one dialect that are tried in one log
WORK = 4_000  # entries that one dialect folds for one log, at about 5 µs
_NUMBERS = ("runs", "shapes", "cursors", "seconds")


def shape_of(log: list[Entry]) -> tuple[object, ...]:
    """Return the kinds of a log's entries; pieces of a kind in a row are one."""
    kinds = [_kind(entry.event) for entry in log]
    return tuple(kind for kind, _ in groupby(kinds))


def _kind(event: AnyEvent) -> object:
    if isinstance(event, TextChunk | ReasoningChunk):
        return type(event), not event.text
    if isinstance(event, InputReceived):
        return type(event), event.approved
    if isinstance(event, RunFailed):
        return type(event), event.reason
    return type(event)


class EveryRun:
    """The plugin."""

    def __init__(self) -> None:
        self._shapes: set[tuple[object, ...]] = set()
        self._seen: set[tuple[str, str, bool]] = set()
        self._logs: dict[str, list[Entry]] = {}
        self.sums = dict.fromkeys(_NUMBERS, 0.0)
        self._listen()

    def _listen(self) -> None:
        """Keep what journals of this process are given."""
        logs, opened, append = self._logs, Journal.open, Journal.append

        def open_too(journal: Journal, *arguments: Any) -> Log:
            log = opened(journal, *arguments)
            logs[log.run_id] = log.entries[:]
            return log

        def append_too(journal: Journal, log: Log, *arguments: Any) -> Entry:
            entry = append(journal, log, *arguments)
            if log.run_id in logs:
                logs[log.run_id].append(entry)
            return entry

        Journal.open, Journal.append = open_too, append_too  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        yield
        began = time.perf_counter()
        try:
            for run_id, log in self._left():
                self._check(item.nodeid, run_id, log)
        finally:
            self._logs.clear()
            self.sums["seconds"] += time.perf_counter() - began

    def _left(self) -> Iterator[tuple[str, list[Entry]]]:
        yield from list(self._logs.items())
        for server in list(Server.started):
            if not server.running:
                Server.started.discard(server)
            with suppress(sqlite3.Error):  # a test broke the file
                yield from self._of_server(server)

    def _of_server(self, server: Server) -> Iterator[tuple[str, list[Entry]]]:
        if not server.database.is_file():
            return
        with closing(sqlite3.connect(f"{server.database.as_uri()}?mode=ro", uri=True)) as connection:
            for run_id, ended in connection.execute("SELECT id, ended_at IS NOT NULL FROM run").fetchall():
                key = (str(server.database), run_id, bool(ended))
                if key not in self._seen:
                    with suppress(ValueError, AssertionError):  # likewise
                        yield run_id, log_of(connection, run_id)
                    if ended:
                        self._seen.add(key)

    def _check(self, test: str, run_id: str, log: list[Entry]) -> None:
        self.sums["runs"] += 1
        shape = shape_of(log)
        if shape in self._shapes or not is_of_a_run(log):
            return
        self._shapes.add(shape)
        self.sums["shapes"] += 1
        try:
            self.sums["cursors"] += check(log, min(MOST, max(6, WORK // len(log))))
        except Exception as exc:
            raise AssertionError(f"{test}: the run {run_id} with {len(log)} entries: {exc}") from exc

    # -- the figures ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["every_run"] = self.sums

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for name, number in getattr(node, "workeroutput", {}).get("every_run", {}).items():
            self.sums[name] += number

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        runs, shapes, cursors, seconds = (self.sums[name] for name in _NUMBERS)
        if runs:
            terminalreporter.write_line(
                f"{runs:.0f} runs of {shapes:.0f} shapes were folded live and replayed from {cursors:.0f} cursors "
                f"in all dialects: {seconds:.1f} s"
            )


def is_of_a_run(log: list[Entry]) -> bool:
    """Say whether a run can have such a log; tests of the journal write others too."""
    if not log or not isinstance(log[0].event, RunStarted) or [entry.seq for entry in log] != [*range(1, len(log) + 1)]:
        return False
    state = RunState()
    try:
        for entry in log:
            state.apply(entry)
    except KeyError:  # of a call that was never made
        return False
    return True
