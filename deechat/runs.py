"""The runs of a server: start, continue, look, follow, answer, steer, stop.

Everything that a person does to an answer goes through here. What a run does by itself is in `runner`, what it knows in
`agents.state`, what it said in `journal`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

from gevent.lock import BoundedSemaphore

from deechat.active import Active
from deechat.agents.state import fold
from deechat.agents.tools.base import Tool
from deechat.database import Work
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
from deechat.events import Entry, InputReceived, RunStopped, Steered, ToolApprovalRequest
from deechat.journal import Journal
from deechat.opening import Opened, Opening, Prompt
from deechat.records import RunRecord
from deechat.replies import Reply, check_issued, open_request, received
from deechat.runner import Runner
from deechat.store import Message, Store, Thread, Workspace, allowing

STOP_WORDS = frozenset({"/exit", "/stop", "/halt"})  # as a message to a run that is under way, they stop it


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands on disk, for whoever asks. `pending` are the entries of requests that nobody has answered."""

    record: RunRecord
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

    def start(self, workspace: Workspace, thread: Thread, prompt: Prompt) -> RunRecord:
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

    def go_on(self, run_id: str, language: str) -> RunRecord:
        """Starts a new run that goes on from an ended one, and gives its record; it is on disk by then.

        Raises `NotFoundError`, `ConflictError` unless it is the thread's last run and did not complete, `BusyError` and
        `StorageUnavailableError`.
        """
        thread = self._store.thread_by_id(self._records.run(run_id).thread_id)
        workspace = self._store.workspace_by_id(thread.workspace_id)
        with self._lock(thread.id):
            self._check_free(thread)
            before = self._records.run(run_id)
            if before.reason == "completed":
                raise ConflictError("The answer is complete: there is nothing to continue.", code="run_completed")
            if self._records.last_in(thread.id) != run_id:
                raise ConflictError("Only the thread's last answer can be continued.", code="not_the_last_run")
            return self._begin(lambda: self._opening.continuation(workspace, thread, before, language))

    def _lock(self, name: str) -> BoundedSemaphore:
        return self._locks.setdefault(name, BoundedSemaphore(1))

    def _known(self, thread: Thread, prompt: Prompt) -> RunRecord | None:
        if prompt.client_request_id is None:
            return None
        known = self._records.run_by_request(thread.id, prompt.client_request_id)
        if known is not None and self._store.message(thread, known.parent_id).content != prompt.message:
            raise UnprocessableError(
                f"The clientRequestId {prompt.client_request_id!r} was used for another message; use a fresh one."
            )
        return known

    def _check_free(self, thread: Thread) -> None:
        active = self._records.open_in(thread.id)
        if active is not None:
            raise ConflictError(
                "An answer is still being made in this thread; wait for it or stop it.", code="run_active", runId=active
            )
        if self._active.leaving:
            raise BusyError("The server is being restarted; try again in a moment.", retry_after=2)
        if len(self._active) + self._starting >= self._max_runs:
            raise BusyError(f"{self._max_runs} answers are being made already; try again soon.", retry_after=5)

    def _begin(self, open_run: Callable[[], Opened]) -> RunRecord:
        self._starting += 1
        try:
            opened = open_run()
        finally:
            self._starting -= 1
        if not self._active.leaving:  # or else the next process takes it up
            self._active.take(opened.record).ensure_running(begun=True)
        return opened.record

    # -- looking -------------------------------------------------------------------------------------------------------

    def chats(self, thread: Thread, limit: int, before: str | None) -> tuple[list[Message], str | None]:
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
        with self._store.snapshot():
            record = self._records.run(run_id)
            thread = self._store.thread_by_id(record.thread_id)
            workspace = self._store.workspace_by_id(thread.workspace_id)
            last_seq = self._journal.last_seq(run_id)
        status, pending = self._stands(record)
        return RunView(record, workspace, thread, status, pending, last_seq)

    def _stands(self, record: RunRecord) -> tuple[str, list[Entry]]:
        if record.ended_at is not None:
            return "ended", []
        runner = self._active.get(record.id)
        if runner is not None and not runner.state.requests:
            return "running", []  # it asked for nothing yet: no need to look into a long log
        log = self._journal.log(record.id)
        is_whole = runner is not None and log.committed == runner.state.last_seq
        state = runner.state if runner is not None and is_whole else fold(log.entries[: log.committed])
        pending = [log.entries[state.request_seqs[each.request_id] - 1] for each in state.pending]
        return state.status, [] if state.ending else pending

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Yields the run's committed entries after the SEQ `after`; see `Journal.follow`."""
        return self._journal.follow(run_id, after, silence)

    # -- what a person says meanwhile ----------------------------------------------------------------------------------

    def respond(self, run_id: str, reply: Reply) -> None:
        """Answers a request of the run, which goes on with it; returns when the answer is on disk.

        The first answer wins. Raises `NotFoundError` for a request that the run never issued, `ConflictError` when it
        was answered or the run has ended, `BadRequestError` when the reply does not fit, and `StorageUnavailableError`.
        """
        record = self._records.run(run_id)
        if record.ended_at is not None:
            check_issued(fold(self._journal.entries(run_id)), reply.request_id)
            raise RunEndedError
        with self._taken(record) as runner:
            request = open_request(runner.state, reply.request_id)
            if not runner.allows("respond"):
                raise RunEndedError
            event = received(request, reply, self._tools, record.language)
            self._add(runner, event, *self._allowing(record, runner, event))

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

    def _allowing(self, record: RunRecord, runner: Runner, event: InputReceived) -> list[Work[None]]:
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
        record = self._records.run(run_id)
        if record.ended_at is not None:
            raise RunEndedError
        if message.strip().lower() in STOP_WORDS:
            self.stop(run_id)
            return
        with self._taken(record) as runner:
            if not runner.allows("steer"):
                raise RunEndedError
            self._add(runner, Steered(message))

    @contextmanager
    def _taken(self, record: RunRecord) -> Iterator[Runner]:
        runner = self._active.take(record)
        try:
            yield runner
        finally:
            self._active.rest(runner)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, run_id: str) -> bool:
        """Ends the run now and returns when its ending is on disk; true for the one caller that ended it.

        Raises `NotFoundError`, and `StorageUnavailableError` when the ending cannot be stored yet.
        """
        record = self._records.run(run_id)
        if record.ended_at is not None:
            return False
        self._journal.check_available()
        with self._taken(record) as runner:
            first = runner.claim()
            if first:
                stop = Cancelled()
                runner.cancel(stop)
                runner.end(RunStopped(stop.upstream_closed_ms))
            self._journal.wait_ended(runner.log)
        return first

    def _stop_to_delete(self, run_id: str) -> None:
        with suppress(DamagedError, NotFoundError):  # then there is nothing to stop
            self.stop(run_id)

    def delete_thread(self, thread: Thread) -> None:
        """Stops the thread's run and deletes the thread."""
        with self._lock(thread.id), self._leaves(thread.id):
            with suppress(DamagedError):
                run_id = self._records.open_in(thread.id)
                if run_id is not None:
                    self._stop_to_delete(run_id)
            self._store.delete_thread(thread)
            self._journal.forget_gone()

    def delete_workspace(self, workspace: Workspace) -> None:
        """Stops the workspace's runs and deletes it. Raises `ConflictError` when it is the last one."""
        with self._lock("deleting workspaces"):
            if [each.id for each in self._store.workspaces()] == [workspace.id]:
                raise ConflictError("The last workspace cannot be deleted.", code="last_workspace")
            with self._leaves(workspace.id):
                while run_ids := self._records.open_in_workspace(workspace.id):  # some may begin meanwhile
                    for run_id in run_ids:
                        self._stop_to_delete(run_id)
                self._store.delete_workspace(workspace)
            self._journal.forget_gone()

    @contextmanager
    def _leaves(self, name: str) -> Iterator[None]:
        self._leaving.add(name)
        try:
            yield
        finally:
            self._leaving.discard(name)
