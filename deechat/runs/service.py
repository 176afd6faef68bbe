"""The runs of a server: start, continue, look, follow, answer, steer, stop.

Everything that a person does to an answer goes through here. Each method takes the principal first; things of
another one are not found. The run's own work is in `runner`, its state in `agents.state`, its log in `journal`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import gevent
import msgspec
from gevent.lock import BoundedSemaphore

from deechat.agents.providers.base import Provider
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
from deechat.messages import Message
from deechat.net.wait import give_turn
from deechat.principal import Principal
from deechat.runs.answers import lacks_parts, with_parts
from deechat.runs.edits import Edits
from deechat.runs.handlers import FURTHER, Handlers, turns_of
from deechat.runs.recovery import Recovery
from deechat.runs.registry import Registry
from deechat.runs.replies import Reply, check_issued, open_request, validate_reply
from deechat.runs.runner import Runner
from deechat.runs.start import Opened, Prompt, Starter
from deechat.store.base import AllowTool, Change, Page, RunRow, Store, StoredMessage, Thread, Workspace

PIECE = 2_000  # entries that are folded before others have their turn
STOP_WORDS = frozenset({"/exit", "/stop", "/halt"})  # as a message to a run that is under way, they stop it


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands on disk. `pending` are the entries of its requests without an answer."""

    run: RunRow
    workspace: Workspace
    thread: Thread
    status: str
    pending: list[Entry]
    last_seq: int


class Providers(Protocol):
    """Which provider answers: a new question, one that goes on from a run of this model, and a run of this model."""

    def current(self) -> Provider: ...
    def going_on(self, model: str | None) -> Provider: ...
    def of_run(self, model: str | None) -> Provider: ...


class Runs:
    """The service. It makes all that works on runs over a store, and is told by the log and the store of changes."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        tools: Mapping[str, Tool],
        *,
        max_runs: int,
        max_tool_rounds: int,
        max_tokens: int | None = None,
        context: int | None = None,
        least_context: int = 0,
        recover: float,
    ) -> None:
        self._store = store
        self._tools = tools
        self._max_runs = max_runs
        handlers = Handlers(
            store,
            choose=providers.of_run,
            tools=tools,
            max_tool_rounds=max_tool_rounds,
            max_tokens=max_tokens,
            context=context,
            least_context=least_context,
        )
        self.journal = Journal(store, listener=self)
        self.registry = Registry(self.journal, handlers.build_handler)
        self.recovery = Recovery(store, self.journal, self.registry, recover=recover)
        self._starter = Starter(self.journal, store, providers.current, providers.going_on)
        self._starting = 0
        self._locks: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()
        self.edits = Edits(store, self._lock, self.stop)
        self._leaving: set[str] = set()  # ids of threads and workspaces that are being deleted

    def run_ended(self, run_id: str) -> None:
        self.registry.forget(run_id)

    def run_lost(self, run_id: str) -> None:
        self.recovery.run_lost(run_id)

    # -- starting ------------------------------------------------------------------------------------------------------

    def start(self, principal: Principal, workspace: Workspace, thread: Thread, prompt: Prompt) -> RunRow:
        """Store the prompt with a new run, let it run, and return its row; all is on disk by then.

        A `client_request_id` that came before gives the run that it started. Raises `UnprocessableError` when it came
        with another message, `ConflictError` while another run of the thread is open, `NotFoundError` for an unknown
        parent, `BusyError` when all places are taken and `StorageUnavailableError`; nothing is stored then.
        """
        with self._lock(thread.id):
            known = self._known(principal, thread, prompt)
            if known is not None:
                return known
            self._check_free(principal, thread)
            try:
                with self._place():
                    return self._begin(self._starter.create_run(principal, workspace, thread, prompt))
            except ConflictError:  # another process was quicker
                known = self._known(principal, thread, prompt)
                if known is None:
                    self._check_free(principal, thread)
                    raise
                return known

    def go_on(self, principal: Principal, run_id: str, language: str) -> RunRow:
        """Start a new run that goes on from an ended one, and return its row; it is on disk by then.

        Raises `NotFoundError`, `BusyError`, `StorageUnavailableError`, and `ConflictError` unless it is the last run of
        its thread and did not complete, or its answer lacks something.
        """
        thread = self._store.thread_by_id(principal, self._store.run(principal, run_id).thread_id)
        workspace = self._store.workspace_by_id(principal, thread.workspace_id)
        with self._lock(thread.id):
            self._check_free(principal, thread)
            with self._place():
                before = self._store.run(principal, run_id)
                if before.reason == "completed" and not self._lacks_something(principal, thread, before):
                    raise ConflictError("The answer is complete: there is nothing to continue.", code="run_completed")
                if self._store.last_run(principal, thread.id) != run_id:
                    raise ConflictError("Only the thread's last answer can be continued.", code="not_the_last_run")
                return self._begin(self._starter.create_continuation(principal, workspace, thread, before, language))

    def _lacks_something(self, principal: Principal, thread: Thread, run: RunRow) -> bool:
        details = self._store.message(principal, thread, run.message_id).details
        return details.get("finish_reason", details.get("finishReason")) in LACKING  # `StoredMessage` says why two

    def _lock(self, name: str) -> BoundedSemaphore:
        return self._locks.setdefault(name, BoundedSemaphore(1))

    def _known(self, principal: Principal, thread: Thread, prompt: Prompt) -> RunRow | None:
        if prompt.client_request_id is None:
            return None
        known = self._store.run_by_request(principal, thread.id, prompt.client_request_id)
        if not prompt.message:  # it began with results of tools
            return known
        if known is not None and self._store.message(principal, thread, known.parent_id).content != prompt.message:
            raise UnprocessableError(
                f"The clientRequestId {prompt.client_request_id!r} was used for another message; use a fresh one."
            )
        return known

    def _check_free(self, principal: Principal, thread: Thread) -> None:
        active = self._open_in(principal, thread)
        if active is not None:
            raise ConflictError(
                "An answer is still being made in this thread; wait for it or stop it.", code="run_active", runId=active
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take one of the places for runs while one begins. Never yields before it has it. Raises `BusyError`."""
        if self.registry.leaving:
            raise BusyError("The server is being restarted; try again in a moment.", retry_after=2)
        if len(self.registry) + self._starting >= self._max_runs:
            raise BusyError(f"{self._max_runs} answers are being made already; try again soon.", retry_after=5)
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def _open_in(self, principal: Principal, thread: Thread) -> str | None:
        """Return the id of the thread's open run; close one whose row is damaged, unless somebody works on it."""
        try:
            return self._store.open_run(principal, thread.id)
        except DamagedError:  # the database tells of it
            for runner in self.registry:
                if runner.run.thread_id == thread.id:
                    return runner.run.id
            self.journal.abandon_damaged(thread.id)
            return None

    def _begin(self, opened: Opened) -> RunRow:
        if not self.registry.leaving:  # or else the next process takes it up
            with suppress(RunEndedError):  # somebody was quick to stop it
                self.registry.acquire(opened.run, opened.log).ensure_running(begun=True)
        return opened.run

    # -- looking -------------------------------------------------------------------------------------------------------

    def chats(
        self, principal: Principal, thread: Thread, limit: int, before: str | None
    ) -> tuple[Page[StoredMessage], str | None]:
        """Return the thread's messages, answers with their parts, and the id of its run that has not ended, as of one
        moment.

        An answer stands among the messages or is being made, never both and never neither. Raises `NotFoundError` while
        the thread is being deleted: a viewer that sees its run end by that and looks finds it gone.
        """
        if thread.id in self._leaving or thread.workspace_id in self._leaving:
            raise NotFoundError("The thread was deleted.")
        history, active = self._store.chats(principal, thread, limit, before)
        for at, message in enumerate(history):
            if lacks_parts(message):
                history[at] = with_parts(message, self._whole_log)
        return history, active

    def conversation(self, principal: Principal, run_id: str) -> list[tuple[StoredMessage, list[Message]]]:
        """Return the branch that the run answers, each message with its turns as a model is shown them.

        Raises `NotFoundError`.
        """
        run = self._store.run(principal, run_id)
        branch: list[StoredMessage] = []
        at: str | None = run.parent_id
        while page := self._store.branch(principal, run.thread_id, at, FURTHER) if at else []:
            branch[:0] = page
            at = page[0].parent_id
        return [(each, turns_of(each)) for each in branch]

    def branch(self, principal: Principal, thread: Thread, most: int) -> list[StoredMessage]:
        """Return the last messages of the branch that the next prompt follows, answers with their parts."""
        branch = self.edits.branch(principal, thread, most)
        return [with_parts(each, self._whole_log) if lacks_parts(each) else each for each in branch]

    def open_run(self, principal: Principal, thread: Thread) -> str | None:
        """Return the id of the thread's run that has not ended."""
        return self._open_in(principal, thread)

    def _whole_log(self, run_id: str) -> Iterator[list[Entry]]:
        """Return the entries of an ended run, after which others have their turn."""
        yield from self.journal.pages(run_id)
        give_turn()

    def view(self, principal: Principal, run_id: str) -> RunView:
        """Return a run as it stands on disk, as of one moment. Raises `NotFoundError`."""
        view = self._view(principal, run_id)
        return self._view(principal, run_id) if view.status == "ended" and view.run.ended_at is None else view

    def _view(self, principal: Principal, run_id: str) -> RunView:
        """Return a run by its row and by its log; looks at little of a long log.

        The status is "ended" and the row is not when it ended between two reads.
        """
        run, thread, workspace, last_seq = self._store.placed_run(principal, run_id)
        if run.ended_at is not None:
            return RunView(run, workspace, thread, "ended", [], last_seq or 0)
        # Memory is later than the row, and nothing yields until the view is made.
        runner, log = self.registry.get(run_id), self.journal.in_memory(run_id)
        if runner is not None:
            entries = runner.log.entries
            status, asks = runner.state.before(entries[runner.log.committed :])
            return RunView(run, workspace, thread, status, _at(entries, asks), runner.log.committed)
        if log is not None and log.rested and log.asks is not None:
            return RunView(run, workspace, thread, "waiting", _at(log.entries, log.asks), log.committed)
        if run.rests and run.asks is not None and last_seq is not None:
            pending = [self.journal.entry(run_id, seq) for seq in msgspec.json.decode(run.asks)]
            return RunView(run, workspace, thread, "waiting", pending, last_seq)
        log = self.journal.load(run_id)
        state = _fold(log)
        if self.registry.get(run_id) is not None:
            return self._view(principal, run_id)  # it goes on
        has_ended = log.lost or state.ending is not None
        pending = [] if has_ended else _at(log.entries, state.asks)
        status = "ended" if has_ended else state.status
        return RunView(run, workspace, thread, status, pending, len(log.entries))

    def follow(
        self, principal: Principal, run_id: str, after: int, silence: float
    ) -> Generator[list[Entry], None, None]:
        """Return the run's committed entries after the SEQ `after`; see `Journal.follow`. Raises `NotFoundError`."""
        self._store.run(principal, run_id)
        return self.journal.follow(run_id, after, silence)

    # -- what a person says meanwhile ----------------------------------------------------------------------------------

    def respond(self, principal: Principal, run_id: str, reply: Reply) -> None:
        """Answer a request of the run, which goes on with it; return when the answer is on disk.

        The first answer wins. Raises `NotFoundError` for a request that the run never issued, `ConflictError` when it
        was answered or the run has ended, `BadRequestError` when the reply does not fit, and `StorageUnavailableError`.
        """
        try:
            with self._taken(principal, run_id) as runner:
                request = open_request(runner.state, reply.request_id)
                if not runner.allows("respond"):
                    raise RunEndedError
                event = validate_reply(request, reply, self._tools, runner.run.language)
                self._add(runner, event, *self._allowing(runner, event))
        except RunEndedError:
            if self._store.run(principal, run_id).ended_at is not None:
                self._check_issued(run_id, reply.request_id)
            raise

    def _check_issued(self, run_id: str, request_id: str) -> None:
        issued: set[str] = set()
        answered: set[str] = set()
        for entries in self.journal.pages(run_id):
            events = [entry.event for entry in entries]
            issued |= {event.request_id for event in events if isinstance(event, Request)}
            answered |= {event.request_id for event in events if isinstance(event, InputReceived)}
        check_issued(request_id, issued, answered)

    def _add(self, runner: Runner, event: InputReceived | Steered, *changes: Change) -> None:
        """Add a person's answer or message, and return when it is on disk."""
        self.journal.check_available()
        entry = runner.add(event, *changes)
        try:
            self.journal.wait_committed(runner.log, entry.seq)
        except StorageUnavailableError as exc:
            raise StorageUnavailableError(
                "Nothing can be stored at the moment. What you sent is kept and counts as soon as storing works again: "
                "look at the run before you send it again."
            ) from exc

    def _allowing(self, runner: Runner, event: InputReceived) -> list[Change]:
        """Return the change that notes an "always": for the tool in this workspace, or for its arguments' scope."""
        request = runner.state.requests[event.request_id]
        tool = self._tools.get(request.name) if isinstance(request, ToolApprovalRequest) else None
        if not event.always or tool is None or not isinstance(request, ToolApprovalRequest):
            return []
        arguments = request.arguments if event.arguments is None else event.arguments
        scope = tool.scope(arguments) if tool.scope else None
        return [AllowTool(runner.run.thread_id, tool.name, None if tool.policy == "allow" else "allow", scope)]

    def steer(self, principal: Principal, run_id: str, message: str) -> None:
        """Give the run a message that the model reads before it is asked next; return when that is on disk.

        A word such as /stop stops it instead. Raises `NotFoundError`, `ConflictError` when the run has ended, and
        `StorageUnavailableError`.
        """
        if self._store.run(principal, run_id).ended_at is not None:
            raise RunEndedError
        if message.strip().lower() in STOP_WORDS:
            self.stop(principal, run_id)
            return
        with self._taken(principal, run_id) as runner:
            if not runner.allows("steer"):
                raise RunEndedError
            self._add(runner, Steered(message))

    @contextmanager
    def _taken(self, principal: Principal, run_id: str) -> Iterator[Runner]:
        """Return a run's runner. Raises `RunEndedError` when it has ended, `NotFoundError` and `BrokenLogError`."""
        if self._store.run(principal, run_id).ended_at is not None:
            raise RunEndedError
        log = self.journal.load(run_id)  # held, and read while others have their turn
        state = _fold(log) if self.registry.get(run_id) is None else None
        # The row may be old by now; the log says whether the run has ended, and nothing yields from here on.
        runner = self.registry.acquire(self._store.run(principal, run_id), log, state)
        try:
            yield runner
        finally:
            self.registry.release(runner)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, principal: Principal, run_id: str) -> bool:
        """End the run now and return when its ending is on disk; true for the one caller that ended it.

        Raises `NotFoundError`, and `StorageUnavailableError` when the ending cannot be stored yet.
        """
        if self._store.run(principal, run_id).ended_at is not None:
            return False
        self.journal.check_available()
        try:
            with self._taken(principal, run_id) as runner:
                first = runner.claim()
                if first:
                    stop = Cancelled()
                    runner.cancel(stop)
                    runner.end(RunStopped(stop.upstream_closed_ms))
                self.journal.wait_ended(runner.log)
        except RunEndedError:
            return False
        return first

    def stop_left(self, principal: Principal, run_id: str) -> None:
        """Stop a run that its viewer has left, and return at once. A server that leaves was not left by its viewers."""
        if not self.registry.leaving:
            gevent.spawn(self._stop_left, principal, run_id)

    def _stop_left(self, principal: Principal, run_id: str) -> None:
        with suppress(NotFoundError, StorageUnavailableError):  # gone, or it goes on: nobody is there to be told
            self.stop(principal, run_id)

    def delete_left(self, principal: Principal, thread: Thread) -> None:
        """Delete a thread that nobody needs any more, and return at once. A server that leaves keeps it."""
        if not self.registry.leaving:
            gevent.spawn(self._delete_left, principal, thread)

    def _delete_left(self, principal: Principal, thread: Thread) -> None:
        with suppress(NotFoundError, StorageUnavailableError):
            self.delete_thread(principal, thread)

    def _stop_to_delete(self, principal: Principal, run_ids: Sequence[str]) -> set[str]:
        """Stop the runs, and return the ids of those that are damaged: nobody works on them."""
        stopping = {run_id: gevent.spawn(self._is_stopped, principal, run_id) for run_id in run_ids}
        return {run_id for run_id, greenlet in stopping.items() if not greenlet.get()}

    def _is_stopped(self, principal: Principal, run_id: str) -> bool:
        try:
            self.stop(principal, run_id)
        except NotFoundError:
            pass  # it was deleted meanwhile
        except DamagedError:
            return False
        return True

    def delete_thread(self, principal: Principal, thread: Thread) -> None:
        """Stop the thread's run and deletes the thread: it is gone for everybody when this returns."""
        with self._lock(thread.id), self._leaves(thread.id):
            damaged: set[str] = set()
            while run_ids := self._store.delete_thread(principal, thread, damaged):
                damaged |= self._stop_to_delete(principal, run_ids)

    def delete_workspace(self, principal: Principal, workspace: Workspace) -> None:
        """Stop the workspace's runs and deletes it. Raises `ConflictError` when it is the last one."""
        with self._lock(f"deleting workspaces of {principal.id}"):
            if self._store.is_last(principal, workspace):
                raise ConflictError("The last workspace cannot be deleted.", code="last_workspace")
            with self._leaves(workspace.id):
                damaged: set[str] = set()
                # Some may begin meanwhile.
                while run_ids := self._store.delete_workspace(principal, workspace, damaged):
                    damaged |= self._stop_to_delete(principal, run_ids)

    @contextmanager
    def _leaves(self, name: str) -> Iterator[None]:
        self._leaving.add(name)
        try:
            yield
        finally:
            self._leaving.discard(name)


def _at(entries: Sequence[Entry], asks: Sequence[int]) -> list[Entry]:
    return [entries[seq - 1] for seq in asks]


def _fold(log: Log) -> RunState:
    """Fold a log; others have their turn while a long one is folded."""
    state = RunState()
    while rest := log.entries[state.last_seq : state.last_seq + PIECE]:
        for entry in rest:
            state.apply(entry)
        if len(rest) == PIECE:
            give_turn()
    return state
