"""The runs of a server: start, continue, look, follow, answer, steer, stop.

Everything that a person does to an answer goes through here. What a run does by itself is in `runner`, what it knows in
`agents.state`, what it said in `journal`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import gevent
from gevent.lock import BoundedSemaphore

from deechat.agents.state import Request, RunState
from deechat.agents.tools.base import Tool
from deechat.errors import (
    BusyError,
    Cancelled,
    ConflictError,
    DamagedError,
    NotFoundError,
    RunEndedError,
    StorageUnavailableError,
    UnprocessableError,
)
from deechat.events import LACKING, Entry, InputReceived, RunStopped, Steered, ToolApprovalRequest
from deechat.log.journal import Journal, Log
from deechat.runs.registry import Active
from deechat.runs.replies import Reply, check_issued, open_request, received
from deechat.runs.runner import Runner
from deechat.runs.start import Opened, Opening, Prompt
from deechat.store.base import Page, RunRow, StoredMessage, Thread, Workspace
from deechat.store.sqlite.database import Work
from deechat.store.sqlite.store import Store, allowing

PIECE = 2_000  # entries that are folded before others have their turn
STOP_WORDS = frozenset({"/exit", "/stop", "/halt"})  # as a message to a run that is under way, they stop it


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands on disk, for whoever asks. `pending` are the entries of requests that nobody has answered."""

    record: RunRow
    workspace: Workspace
    thread: Thread
    status: str
    pending: list[Entry]
    last_seq: int


class Runs:
    """The service."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        opening: Opening,
        active: Active,
        tools: Mapping[str, Tool],
        max_runs: int,
    ) -> None:
        self._journal = journal
        self._records = journal.records
        self._store = store
        self._opening = opening
        self._active = active
        self._tools = tools
        self._max_runs = max_runs
        self._starting = 0
        self._locks: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()
        self._leaving: set[str] = set()  # ids of threads and workspaces that are being deleted

    # -- starting ------------------------------------------------------------------------------------------------------

    def start(self, workspace: Workspace, thread: Thread, prompt: Prompt) -> RunRow:
        """Stores the prompt with a new run, lets it run, and gives its record; all is on disk by then.

        A `client_request_id` that came before gives the run that it started. Raises `UnprocessableError` when it came
        with another message, `ConflictError` while another run of the thread is open, `NotFoundError` for an unknown
        parent, `BusyError` when all places are taken and `StorageUnavailableError`; nothing is stored then.
        """
        with self._lock(thread.id):
            known = self._known(thread, prompt)
            if known is not None:
                return known
            self._check_free(thread)
            return self._begin(lambda: self._opening.answer(workspace, thread, prompt))

    def go_on(self, run_id: str, language: str) -> RunRow:
        """Starts a new run that goes on from an ended one, and gives its record; it is on disk by then.

        Raises `NotFoundError`, `BusyError`, `StorageUnavailableError`, and `ConflictError` unless it is the last run of
        its thread and did not complete, or its answer lacks something.
        """
        thread = self._store.thread_by_id(self._records.run(run_id).thread_id)
        workspace = self._store.workspace_by_id(thread.workspace_id)
        with self._lock(thread.id):
            self._check_free(thread)
            before = self._records.run(run_id)
            if before.reason == "completed" and not self._lacks_something(thread, before):
                raise ConflictError("The answer is complete: there is nothing to continue.", code="run_completed")
            if self._records.last_in(thread.id) != run_id:
                raise ConflictError("Only the thread's last answer can be continued.", code="not_the_last_run")
            return self._begin(lambda: self._opening.continuation(workspace, thread, before, language))

    def _lacks_something(self, thread: Thread, record: RunRow) -> bool:
        return self._store.message(thread, record.message_id).details.get("finishReason") in LACKING

    def _lock(self, name: str) -> BoundedSemaphore:
        return self._locks.setdefault(name, BoundedSemaphore(1))

    def _known(self, thread: Thread, prompt: Prompt) -> RunRow | None:
        if prompt.client_request_id is None:
            return None
        known = self._records.run_by_request(thread.id, prompt.client_request_id)
        if known is not None and self._store.message(thread, known.parent_id).content != prompt.message:
            raise UnprocessableError(
                f"The clientRequestId {prompt.client_request_id!r} was used for another message; use a fresh one."
            )
        return known

    def _check_free(self, thread: Thread) -> None:
        active = self._open_in(thread)
        if active is not None:
            raise ConflictError(
                "An answer is still being made in this thread; wait for it or stop it.", code="run_active", runId=active
            )
        if self._active.leaving:
            raise BusyError("The server is being restarted; try again in a moment.", retry_after=2)
        if len(self._active) + self._starting >= self._max_runs:
            raise BusyError(f"{self._max_runs} answers are being made already; try again soon.", retry_after=5)

    def _open_in(self, thread: Thread) -> str | None:
        """Gives the id of the thread's open run; closes one whose row is damaged, unless somebody works on it."""
        try:
            return self._records.open_in(thread.id)
        except DamagedError:  # the database tells of it
            for runner in self._active:
                if runner.record.thread_id == thread.id:
                    return runner.record.id
            self._journal.abandon_damaged(thread.id)
            return None

    def _begin(self, open_run: Callable[[], Opened]) -> RunRow:
        self._starting += 1
        try:
            opened = open_run()
        finally:
            self._starting -= 1
        if not self._active.leaving:  # or else the next process takes it up
            self._active.take(opened.record, opened.log).ensure_running(begun=True)
        return opened.record

    # -- looking -------------------------------------------------------------------------------------------------------

    def chats(self, thread: Thread, limit: int, before: str | None) -> tuple[Page[StoredMessage], str | None]:
        """Gives the thread's messages and the id of its run that has not ended, as of one moment.

        An answer stands among the messages or is being made, never both and never neither. Raises `NotFoundError` while
        the thread is being deleted: whoever sees its run end by that and looks finds it gone.
        """
        if thread.id in self._leaving or thread.workspace_id in self._leaving:
            raise NotFoundError("The thread was deleted.")
        with self._store.snapshot():
            history, active = self._store.messages(thread, limit, before), None
            with suppress(DamagedError):  # the database tells of it, and the messages are sound
                active = self._records.open_in(thread.id)
        return history, active

    def view(self, run_id: str) -> RunView:
        """Gives a run as it stands on disk. Raises `NotFoundError`."""
        view = self._look(run_id)
        status, pending = self._stands(view.record)
        if status == "ended" and view.record.ended_at is None:  # while its log was read
            view = self._look(run_id)
        return replace(view, status=status, pending=pending)

    def _look(self, run_id: str) -> RunView:
        """Gives a run as its row has it, of one moment; its log tells the rest."""
        with self._store.snapshot():
            record = self._records.run(run_id)
            thread = self._store.thread_by_id(record.thread_id)
            workspace = self._store.workspace_by_id(thread.workspace_id)
            last_seq = self._journal.last_seq(run_id)
        return RunView(record, workspace, thread, "ended", [], last_seq)

    def _stands(self, record: RunRow) -> tuple[str, list[Entry]]:
        """Gives where a run stands on disk, and its open requests; looks at little of a long log."""
        if record.ended_at is not None:
            return "ended", []
        runner = self._active.get(record.id)
        if runner is not None:
            entries = runner.log.entries
            status, asks = runner.state.before(entries[runner.log.committed :])
            return status, [entries[seq - 1] for seq in asks]
        log = self._journal.in_memory(record.id)
        if log is not None and log.rested and log.asks is not None:
            return "waiting", [log.entries[seq - 1] for seq in log.asks]
        if record.rests and record.asks is not None:
            return "waiting", [self._journal.entry(record.id, seq) for seq in json.loads(record.asks)]
        log = self._journal.load(record.id)
        state = _fold(log)
        return state.status, [] if state.ending else [log.entries[seq - 1] for seq in state.asks]

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Yields the run's committed entries after the SEQ `after`; see `Journal.follow`."""
        return self._journal.follow(run_id, after, silence)

    # -- what a person says meanwhile ----------------------------------------------------------------------------------

    def respond(self, run_id: str, reply: Reply) -> None:
        """Answers a request of the run, which goes on with it; returns when the answer is on disk.

        The first answer wins. Raises `NotFoundError` for a request that the run never issued, `ConflictError` when it
        was answered or the run has ended, `BadRequestError` when the reply does not fit, and `StorageUnavailableError`.
        """
        try:
            with self._taken(run_id) as runner:
                request = open_request(runner.state, reply.request_id)
                if not runner.allows("respond"):
                    raise RunEndedError
                event = received(request, reply, self._tools, runner.record.language)
                self._add(runner, event, *self._allowing(runner.record, runner, event))
        except RunEndedError:
            if self._records.run(run_id).ended_at is not None:
                self._check_issued(run_id, reply.request_id)
            raise

    def _check_issued(self, run_id: str, request_id: str) -> None:
        issued: set[str] = set()
        answered: set[str] = set()
        for entries in self._journal.pages(run_id):
            events = [entry.event for entry in entries]
            issued |= {event.request_id for event in events if isinstance(event, Request)}
            answered |= {event.request_id for event in events if isinstance(event, InputReceived)}
        check_issued(request_id, issued, answered)

    def _add(self, runner: Runner, event: InputReceived | Steered, *works: Work[None]) -> None:
        """Adds what a person says, and returns when it is on disk."""
        self._journal.check_available()
        entry = runner.add(event, *works)
        try:
            self._journal.wait_committed(runner.log, entry.seq)
        except StorageUnavailableError as exc:
            raise StorageUnavailableError(
                "Nothing can be stored at the moment. What you sent is kept and counts as soon as storing works again: "
                "look at the run before you send it again."
            ) from exc

    def _allowing(self, record: RunRow, runner: Runner, event: InputReceived) -> list[Work[None]]:
        """Gives the work that notes an "always": for the tool in this workspace, or for what its arguments name."""
        request = runner.state.requests[event.request_id]
        tool = self._tools.get(request.name) if isinstance(request, ToolApprovalRequest) else None
        if not event.always or tool is None or not isinstance(request, ToolApprovalRequest):
            return []
        arguments = request.arguments if event.arguments is None else event.arguments
        scope = tool.scope(arguments) if tool.scope else None
        policy = None if tool.policy == "allow" else "allow"
        return [allowing(self._store.thread_by_id(record.thread_id).workspace_id, tool.name, policy, scope)]

    def steer(self, run_id: str, message: str) -> None:
        """Gives the run a message that the model reads before it is asked next; returns when that is on disk.

        A word such as /stop stops it instead. Raises `NotFoundError`, `ConflictError` when the run has ended, and
        `StorageUnavailableError`.
        """
        if self._records.run(run_id).ended_at is not None:
            raise RunEndedError
        if message.strip().lower() in STOP_WORDS:
            self.stop(run_id)
            return
        with self._taken(run_id) as runner:
            if not runner.allows("steer"):
                raise RunEndedError
            self._add(runner, Steered(message))

    @contextmanager
    def _taken(self, run_id: str) -> Iterator[Runner]:
        """Gives the runner of a run. Raises `RunEndedError` when it has ended, `NotFoundError` and `BrokenLogError`."""
        if self._records.run(run_id).ended_at is not None:
            raise RunEndedError
        log = self._journal.load(run_id)  # held, and read while others have their turn
        state = _fold(log) if self._active.get(run_id) is None else None
        record = self._records.run(run_id)
        if record.ended_at is not None:
            raise RunEndedError
        runner = self._active.take(record, log, state)
        try:
            yield runner
        finally:
            self._active.rest(runner)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, run_id: str) -> bool:
        """Ends the run now and returns when its ending is on disk; true for the one caller that ended it.

        Raises `NotFoundError`, and `StorageUnavailableError` when the ending cannot be stored yet.
        """
        if self._records.run(run_id).ended_at is not None:
            return False
        self._journal.check_available()
        try:
            with self._taken(run_id) as runner:
                first = runner.claim()
                if first:
                    stop = Cancelled()
                    runner.cancel(stop)
                    runner.end(RunStopped(stop.upstream_closed_ms))
                self._journal.wait_ended(runner.log)
        except RunEndedError:
            return False
        return first

    def _stop_to_delete(self, run_ids: Sequence[str]) -> set[str]:
        """Stops the runs, and gives the ids of those that are damaged: nobody works on them."""
        stopping = {run_id: gevent.spawn(self._is_stopped, run_id) for run_id in run_ids}
        return {run_id for run_id, greenlet in stopping.items() if not greenlet.get()}

    def _is_stopped(self, run_id: str) -> bool:
        try:
            self.stop(run_id)
        except NotFoundError:
            pass  # it was deleted meanwhile
        except DamagedError:
            return False
        return True

    def delete_thread(self, thread: Thread) -> None:
        """Stops the thread's run and deletes the thread: it is gone for everybody when this returns."""
        with self._lock(thread.id), self._leaves(thread.id):
            damaged: set[str] = set()
            while run_ids := self._store.delete_thread(thread, damaged):
                damaged |= self._stop_to_delete(run_ids)
        self._journal.remove_deleted()

    def delete_workspace(self, workspace: Workspace) -> None:
        """Stops the workspace's runs and deletes it. Raises `ConflictError` when it is the last one."""
        with self._lock("deleting workspaces"):
            if self._store.is_last(workspace):
                raise ConflictError("The last workspace cannot be deleted.", code="last_workspace")
            with self._leaves(workspace.id):
                damaged: set[str] = set()
                while run_ids := self._store.delete_workspace(workspace, damaged):  # some may begin meanwhile
                    damaged |= self._stop_to_delete(run_ids)
        self._journal.remove_deleted()

    @contextmanager
    def _leaves(self, name: str) -> Iterator[None]:
        self._leaving.add(name)
        try:
            yield
        finally:
            self._leaving.discard(name)


def _fold(log: Log) -> RunState:
    """Folds a log; others have their turn while a long one is folded."""
    state = RunState()
    while rest := log.entries[state.last_seq : state.last_seq + PIECE]:
        for entry in rest:
            state.apply(entry)
        if len(rest) == PIECE:
            gevent.sleep(0)
    return state
