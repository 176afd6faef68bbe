"""The runs that somebody works on, or talks to, just now: one runner each, and none for a run that only waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent

from deechat.agents.context import AgentHandler
from deechat.agents.state import RunState
from deechat.errors import RunEndedError
from deechat.events import Terms
from deechat.log.journal import Journal, Log
from deechat.runs.runner import Runner
from deechat.store.base import RunRow


class Registry:
    """Runners by the id of their run. There is never more than one for a run, so its moves come one after the other."""

    def __init__(self, journal: Journal, build: Callable[[RunRow, Terms | None], AgentHandler]) -> None:
        self._journal = journal
        self._build = build
        self._runners: dict[str, Runner] = {}
        self.leaving = False

    def __iter__(self) -> Iterator[Runner]:
        return iter(list(self._runners.values()))

    def __len__(self) -> int:
        return len(self._runners)

    def get(self, run_id: str) -> Runner | None:
        """Return the runner of a run that is in memory."""
        return self._runners.get(run_id)

    def acquire(self, run: RunRow, log: Log, state: RunState | None = None) -> Runner:
        """Return the runner of a run whose log is in memory. Never yields.

        `state` is the fold of the log where that was made already. Who acquires a runner hands it to `release`
        afterwards. The row may be older than the log. Raises `RunEndedError` when the run has ended.
        """
        if run.ended_at is not None or log.ended or log.lost:
            raise RunEndedError
        runner = self._runners.get(run.id)
        if runner is None:
            runner = Runner(run, log, self._journal, build=self._build, on_rest=self.release, state=state)
            self._runners[run.id] = runner
            if self.leaving:
                runner.leave()
        return runner

    def release(self, runner: Runner) -> None:
        """Forget a run that has nothing to do and nothing on its way. Never yields."""
        if runner.settled and self._runners.get(runner.run.id) is runner:
            del self._runners[runner.run.id]
            self._journal.rest(runner.log, runner.state.asks)

    def forget(self, run_id: str) -> Runner | None:
        """Forget a run at once: it has ended, or its log is lost. Return the runner that it had."""
        return self._runners.pop(run_id, None)

    def leave(self, patience: float) -> None:
        """Let every step in progress finish, within `patience` seconds, and nothing new begin; write no ending."""
        self.leaving = True
        runners = list(self)
        for runner in runners:
            runner.leave()
        gevent.joinall([gevent.spawn(runner.join, patience) for runner in runners])
