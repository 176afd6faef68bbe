"""The runs that somebody works on, or talks to, just now: one runner each, and none for a run that only waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent

from deechat.agents.context import AgentHandler
from deechat.agents.state import RunState
from deechat.log.journal import Journal, Log
from deechat.runs.runner import Runner
from deechat.store.base import RunRow


class Active:
    """Runners by the id of their run. There is never more than one for a run, so its moves come one after the other."""

    def __init__(self, journal: Journal, make: Callable[[RunRow], AgentHandler]) -> None:
        self._journal = journal
        self._make = make
        self._runners: dict[str, Runner] = {}
        self.leaving = False
        journal.on_end = self.drop

    def __iter__(self) -> Iterator[Runner]:
        return iter(list(self._runners.values()))

    def __len__(self) -> int:
        return len(self._runners)

    def get(self, run_id: str) -> Runner | None:
        """Gives the runner of a run that is in memory."""
        return self._runners.get(run_id)

    def take(self, record: RunRow, log: Log, state: RunState | None = None) -> Runner:
        """Gives the runner of a run that has not ended, and whose log is in memory. Never yields.

        `state` is the fold of the log where that was made already. Whoever takes a run hands it to `rest` afterwards.
        """
        runner = self._runners.get(record.id)
        if runner is None:
            runner = Runner(record, log, self._journal, make=self._make, on_rest=self.rest, state=state)
            self._runners[record.id] = runner
            if self.leaving:
                runner.leave()
        return runner

    def rest(self, runner: Runner) -> None:
        """Forgets a run that has nothing to do and nothing on its way. Never yields."""
        if runner.settled and self._runners.get(runner.record.id) is runner:
            del self._runners[runner.record.id]
            self._journal.rest(runner.log, runner.state.asks)

    def drop(self, run_id: str) -> Runner | None:
        """Forgets a run whatever it does: it has ended, or its log is lost. Gives the runner that it had."""
        return self._runners.pop(run_id, None)

    def leave(self, patience: float) -> None:
        """Lets every step in progress finish, within `patience` seconds, and nothing new begin; writes no ending."""
        self.leaving = True
        runners = list(self)
        for runner in runners:
            runner.leave()
        gevent.joinall([gevent.spawn(runner.join, patience) for runner in runners])
