"""The runs of a server: start, stop, follow, and what becomes of those that an earlier process left.

Everything that a person does to an answer goes through here. What a run does by itself is in `runner`, what it knows in
`agents.state`, what it said in `journal`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

import gevent
from gevent.lock import BoundedSemaphore

from deechat.agents.handler import AgentHandler
from deechat.agents.history import LENGTH, unpack
from deechat.agents.providers.base import Message as ModelMessage
from deechat.agents.providers.base import Provider, UserMessage
from deechat.agents.tools.base import Tool
from deechat.errors import (
    BusyError,
    Cancelled,
    ConflictError,
    ModelError,
    UnprocessableError,
)
from deechat.events import AnyEvent, Entry, RunStarted, RunStopped, ThreadRenamed
from deechat.journal import Journal, RunRecord
from deechat.recovery import Recovery
from deechat.runner import Runner
from deechat.store import Message, Store, Thread, Workspace, inserting, naming

NAME_LENGTH = 48
MODEL_PATIENCE = 2.0  # seconds that a start waits to learn the default model's name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person sends. `parent_id` None follows the thread's last message, '' starts a branch at its beginning."""

    message: str
    parent_id: str | None = None
    client_request_id: str | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands, for whoever asks."""

    record: RunRecord
    workspace: Workspace
    thread: Thread
    status: str
    last_seq: int


class Runs:
    """The service. `choose` gives the provider that answers now."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        choose: Callable[[], Provider],
        tools: dict[str, Tool],
        max_runs: int,
        max_tool_rounds: int,
    ) -> None:
        self._journal = journal
        self._store = store
        self._choose = choose
        self._tools = tools
        self._max_runs = max_runs
        self._max_tool_rounds = max_tool_rounds
        self._active: dict[str, Runner] = {}
        self._starting = 0
        self._locks: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()
        journal.on_end = self._forget
        self.recovery = Recovery(journal, self._active)

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
            self._starting += 1
            try:
                runner = self._open(workspace, thread, prompt)
            finally:
                self._starting -= 1
            runner.start(self._handler(runner.record))
        return runner.record

    def _lock(self, thread_id: str) -> BoundedSemaphore:
        return self._locks.setdefault(thread_id, BoundedSemaphore(1))

    def _known(self, thread: Thread, prompt: Prompt) -> RunRecord | None:
        if prompt.client_request_id is None:
            return None
        known = self._journal.run_by_request(thread.id, prompt.client_request_id)
        if known is not None and self._store.message(thread, known.parent_id).content != prompt.message:
            raise UnprocessableError(
                f"The clientRequestId {prompt.client_request_id!r} was used for another message; use a fresh one."
            )
        return known

    def _check_free(self, thread: Thread) -> None:
        active = self._journal.open_in(thread.id)
        if active is not None:
            raise ConflictError(
                "An answer is still being made in this thread; wait for it or stop it.", code="run_active", runId=active
            )
        if len(self._active) + self._starting >= self._max_runs:
            raise BusyError(f"{self._max_runs} answers are being made already; try again soon.", retry_after=5)

    def _open(self, workspace: Workspace, thread: Thread, prompt: Prompt) -> Runner:
        model = _model(workspace, self._choose())
        # What may have changed while the model server was asked is read here; nothing yields before it is queued.
        thread, parent, now = self._store.thread_by_id(thread.id), self._parent(thread, prompt), time.time()
        message = Message(str(uuid.uuid4()), thread.id, parent, "user", prompt.message, now)
        record = RunRecord(
            id=str(uuid.uuid4()),
            thread_id=thread.id,
            message_id=str(uuid.uuid4()),
            parent_id=message.id,
            continues=None,
            client_request_id=prompt.client_request_id,
            model=model,
            language=prompt.language,
            started_at=now,
        )
        events: list[AnyEvent] = [_started(record, workspace, thread)]
        works = [inserting(message)]
        if thread.name is None:
            events.append(ThreadRenamed(thread.slug, name_from(prompt.message)))
            works.append(naming(thread.id, name_from(prompt.message), only_unnamed=True))
        runner = Runner(record, self._journal.open(record, events, *works), self._journal)
        self._active[record.id] = runner
        return runner

    def _parent(self, thread: Thread, prompt: Prompt) -> str | None:
        if prompt.parent_id is None:
            return self._store.last_message_id(thread)
        return self._store.message(thread, prompt.parent_id).id if prompt.parent_id else None

    def _handler(self, record: RunRecord) -> AgentHandler:
        """Makes ready what a run works with, from what is stored of it alone."""
        thread = self._store.thread_by_id(record.thread_id)
        workspace = self._store.workspace_by_id(thread.workspace_id)
        return AgentHandler(
            provider=self._choose(),
            history=self._history(thread, record.parent_id),
            system_prompt=workspace.system_prompt,
            model=record.model,
            temperature=workspace.temperature,
            language=record.language,
            tools=self._tools if workspace.mode == "agent" else {},
            policy=partial(self._policy, workspace.id),
            max_tool_rounds=self._max_tool_rounds,
        )

    def _history(self, thread: Thread, last_id: str) -> list[ModelMessage]:
        turns: list[ModelMessage] = []
        for message in self._store.branch(thread, last_id, LENGTH):
            turns += [UserMessage(message.content)] if message.role == "user" else unpack(message.turns)
        return turns

    def _policy(self, workspace_id: str, tool: Tool) -> str:
        # Read anew each time: a person may change it while the run goes on.
        return self._store.workspace_by_id(workspace_id).tools.get(tool.name, tool.policy)

    # -- looking -------------------------------------------------------------------------------------------------------

    def chats(self, thread: Thread, limit: int, before: str | None) -> tuple[list[Message], str | None]:
        """Gives the thread's messages and the id of its run that has not ended, as of one moment.

        An answer stands among the messages or is being made, never both and never neither.
        """
        with self._store.snapshot():
            return self._store.messages(thread, limit, before), self._journal.open_in(thread.id)

    def view(self, run_id: str) -> RunView:
        """Gives a run as it stands on disk. Raises `NotFoundError`."""
        with self._store.snapshot():
            record = self._journal.run(run_id)
            thread = self._store.thread_by_id(record.thread_id)
            workspace = self._store.workspace_by_id(thread.workspace_id)
            last_seq = self._journal.last_seq(run_id)
        runner = self._active.get(run_id)
        waiting = runner is not None and runner.state.status == "waiting"
        status = "ended" if record.ended_at is not None else "waiting" if waiting else "running"
        return RunView(record, workspace, thread, status, last_seq)

    def follow(self, run_id: str, after: int, silence: float) -> Generator[list[Entry], None, None]:
        """Yields the run's committed entries after the SEQ `after`; see `Journal.follow`."""
        return self._journal.follow(run_id, after, silence)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, run_id: str) -> bool:
        """Ends the run now and returns when its ending is on disk; true for the one caller that ended it.

        Raises `NotFoundError`, and `StorageUnavailableError` when the ending cannot be stored yet.
        """
        runner = self._active.get(run_id)
        if runner is None:
            self._journal.run(run_id)
            return False
        first = runner.claim()
        if first:
            stop = Cancelled()
            runner.cancel(stop)
            runner.end(RunStopped(stop.upstream_closed_ms))
        self._journal.wait_ended(runner.log)
        return first

    def _stop_in(self, thread_ids: list[str]) -> None:
        wanted = set(thread_ids)
        for run_id in [run_id for run_id, each in self._active.items() if each.record.thread_id in wanted]:
            self.stop(run_id)

    def delete_thread(self, thread: Thread) -> None:
        """Stops the thread's run and deletes the thread."""
        with self._lock(thread.id):
            self._stop_in([thread.id])
            self._store.delete_thread(thread)

    def delete_workspace(self, workspace: Workspace) -> None:
        """Stops the workspace's runs and deletes it. Raises `ConflictError` when it is the last one."""
        with ExitStack() as locks:
            if len(self._store.workspaces()) > 1:
                threads = self._store.threads_of_workspace(workspace)
                for thread_id in sorted(threads):
                    locks.enter_context(self._lock(thread_id))
                self._stop_in(threads)
            self._store.delete_workspace(workspace)

    def _forget(self, run_id: str) -> None:
        self._active.pop(run_id, None)


def name_from(prompt: str) -> str:
    """Gives a thread's name: the prompt's first words, up to about `NAME_LENGTH` characters."""
    words = " ".join(prompt.split())
    if len(words) <= NAME_LENGTH:
        return words
    head = words[:NAME_LENGTH]
    cut = head.rfind(" ")
    return (head[:cut] if cut > NAME_LENGTH // 2 else head).rstrip(" ,;:，；：") + " …"


def _started(record: RunRecord, workspace: Workspace, thread: Thread) -> RunStarted:
    return RunStarted(
        run_id=record.id,
        message_id=record.message_id,
        workspace=workspace.slug,
        thread=thread.slug,
        name=thread.name,
        model=record.model,
        language=record.language,
        continues=record.continues,
    )


def _model(workspace: Workspace, provider: Provider) -> str | None:
    """Names the model that will answer; None when the model server does not say so in time."""
    if workspace.model and provider.name != "offline":  # which has no other than its own
        return workspace.model
    # The step asks again and fails in words; here it only must not keep the first frame waiting.
    try:
        with gevent.Timeout(MODEL_PATIENCE, ModelError("it does not answer")):
            return provider.default_model()
    except ModelError as exc:
        log.warning("the default model is not known yet: %s", exc)
        return None
