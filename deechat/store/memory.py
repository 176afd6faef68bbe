"""A store in memory, for tests: it yields to other greenlets in every read, before it looks and before it gives.

So a test finds code that looks at the store and acts on it as if nobody could come between. What is committed is one
immutable state; a commit makes another one of it. Nothing is ever damaged, and it always takes writes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import gevent
import msgspec
from gevent.event import AsyncResult, Event

from deechat.errors import BrokenLogError, ConflictError, NotFoundError
from deechat.events import Entry, decode
from deechat.store.base import (
    DEFAULT_THREAD,
    GIVEN_UP,
    NEWEST,
    OLDEST,
    PAGE_BYTES,
    AllowTool,
    Before,
    BeginRun,
    Change,
    EndRun,
    EventBatch,
    EventRow,
    GiveUpRun,
    InsertMessage,
    KeepSummary,
    NameThread,
    NoteRetries,
    Page,
    PlacedRun,
    Position,
    Receipt,
    RestRun,
    RunRow,
    StoredMessage,
    Thread,
    WakeRun,
    Workspace,
    allowance,
    slug_of,
    update_permissions,
)

P = ParamSpec("P")
T = TypeVar("T")
LOG_PAGE = 2_000  # entries
_CHANGEABLE = ("name", "system_prompt", "model", "mode", "temperature", "max_tokens", "context")


def yielding(read: Callable[P, T]) -> Callable[P, T]:
    """Let others have their turn before and after a read."""

    @wraps(read)
    def look(*arguments: P.args, **named: P.kwargs) -> T:
        gevent.sleep(0)
        try:
            return read(*arguments, **named)
        finally:
            gevent.sleep(0)

    return look


@dataclass(frozen=True, slots=True)
class _State:
    """All that is committed, by id and in the order in which it was written."""

    workspaces: dict[str, Workspace] = field(default_factory=dict)
    threads: dict[str, Thread] = field(default_factory=dict)
    messages: dict[str, StoredMessage] = field(default_factory=dict)
    runs: dict[str, RunRow] = field(default_factory=dict)
    events: dict[str, tuple[EventRow, ...]] = field(default_factory=dict)
    summaries: dict[str, str] = field(default_factory=dict)
    logins: dict[str, float] = field(default_factory=dict)

    def copy(self) -> _State:
        return replace(self, **{name: dict(getattr(self, name)) for name in self.__dataclass_fields__})

    def thread_is_there(self, thread_id: str) -> bool:
        return thread_id in self.threads and self.threads[thread_id].workspace_id in self.workspaces

    def messages_of(self, thread_id: str) -> list[StoredMessage]:
        return [each for each in self.messages.values() if each.thread_id == thread_id]

    def open_runs(self, *thread_ids: str) -> list[str]:
        return [run.id for run in self.runs.values() if run.thread_id in thread_ids and run.ended_at is None]

    def add_thread(self, workspace_id: str, slug: str, name: str | None) -> Thread:
        thread = Thread(str(uuid.uuid4()), workspace_id, slug, name, time.time(), time.time())
        self.threads[thread.id] = thread
        return thread

    def remove_thread(self, thread_id: str) -> None:
        del self.threads[thread_id]
        for run_id in [run.id for run in self.runs.values() if run.thread_id == thread_id]:
            del self.runs[run_id]
            self.events.pop(run_id, None)
        for message in self.messages_of(thread_id):
            del self.messages[message.id]
            self.summaries.pop(message.id, None)

    def update_run(self, run_id: str, **changes: Any) -> None:
        if run_id in self.runs:
            self.runs[run_id] = msgspec.structs.replace(self.runs[run_id], **changes)

    def apply(self, change: Change) -> None:  # noqa: C901, PLR0912 - one case for each change
        match change:
            case InsertMessage(message):
                self.messages[message.id] = message
                thread = self.threads[message.thread_id]
                self.threads[thread.id] = msgspec.structs.replace(thread, updated_at=float(message.sent_at))
            case NameThread(thread_id, name, only_unnamed):
                found = self.threads.get(thread_id)
                if found is not None and not (only_unnamed and found.name is not None):
                    self.threads[thread_id] = msgspec.structs.replace(found, name=name)
            case KeepSummary(message_id, text):
                if message_id in self.messages:
                    self.summaries.setdefault(message_id, text)
            case AllowTool(thread_id, tool, policy, scope):
                workspace = self.workspaces[self.threads[thread_id].workspace_id]
                self.change_permissions(workspace, allowance(tool, policy, scope, workspace.allowed))
            case BeginRun(run, rows):
                self._begin(run, rows)
            case NoteRetries(run_id, retries):
                self.update_run(run_id, retries=retries)
            case RestRun(run_id, _, asks):
                self.update_run(run_id, rests=1, asks=msgspec.json.encode(asks).decode())
            case WakeRun(run_id):
                self.update_run(run_id, rests=0)
            case EndRun(run_id, at, reason):
                self.update_run(run_id, ended_at=at, reason=reason)
            case GiveUpRun(run_id):
                if run_id in self.runs and self.runs[run_id].ended_at is None:
                    self.update_run(run_id, ended_at=time.time(), reason=GIVEN_UP)

    def _begin(self, run: RunRow, rows: Sequence[EventRow]) -> None:
        if not self.thread_is_there(run.thread_id):
            raise NotFoundError("The thread was deleted.")
        same = (run.thread_id, run.client_request_id)
        known = [each for each in self.runs.values() if (each.thread_id, each.client_request_id) == same]
        if self.open_runs(run.thread_id) or (run.client_request_id is not None and known):
            raise ConflictError("Another answer began in this thread just now.", code="run_active")
        self.runs[run.id] = run
        self.events[run.id] = tuple(rows)

    def change_permissions(self, workspace: Workspace, changes: Mapping[str, Any]) -> None:
        tools, allowed = dict(workspace.tools), dict(workspace.allowed)
        update_permissions(tools, allowed, changes)
        self.workspaces[workspace.id] = msgspec.structs.replace(workspace, tools=tools, allowed=allowed)


class _Job:
    """Something to write. `work` changes a copy of the state; `then` is called when it is committed."""

    def __init__(self, work: Callable[[_State], Any], then: Callable[[], object]) -> None:
        self.work = work
        self.then = then
        self.outcome: AsyncResult[Any] = AsyncResult()


class MemoryStore:
    """A `Store`, with the workspace and the thread that each begins with."""

    def __init__(self) -> None:
        self._state = _State()
        workspace = Workspace(str(uuid.uuid4()), "default", "DeeChat", "", None, "agent", None, {}, {}, None, 1.0)
        self._state.workspaces[workspace.id] = workspace
        self._state.add_thread(workspace.id, DEFAULT_THREAD, None)
        self.before = Before()
        self.damage: str | None = None
        self.available = True
        self._queue: list[_Job | EventBatch] = []
        self._wake = Event()
        self._writer = gevent.spawn(self._commit_for_ever)

    def close(self) -> None:
        while self._queue:
            gevent.sleep(0)
        self._writer.kill()

    def take_over(self) -> None:
        pass

    def check_available(self) -> None:
        pass

    def check_alive(self) -> None:
        pass

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, *changes: Change) -> None:
        def work(state: _State) -> None:
            for each in changes:
                state.apply(each)

        self._do(work)

    def submit(self, change: Change, then: Callable[[], object] = lambda: None) -> Receipt:
        return self._put(_Job(lambda state: state.apply(change), then)).outcome

    def append(self, batch: EventBatch, logs: int) -> None:  # noqa: ARG002 - nothing is gained by waiting
        self._queue.append(batch)
        self._wake.set()

    def _put(self, job: _Job) -> _Job:
        self._queue.append(job)
        self._wake.set()
        return job

    def _do(self, work: Callable[[_State], T]) -> T:
        result = self._put(_Job(work, lambda: None)).outcome.get()
        gevent.sleep(0)
        return cast("T", result)

    def _commit_for_ever(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            gevent.sleep(0)
            self._commit_queue()  # in which nothing is held longer than on its way

    def _commit_queue(self) -> None:
        queue, self._queue = self._queue, []
        for each in queue:
            if not isinstance(each, _Job):
                each.seal()
        gevent.sleep(0.001)  # on its way to the disk
        for each in queue:
            if isinstance(each, _Job):
                self._commit(each)
            else:
                self._commit_batch(each)

    def _commit(self, job: _Job) -> None:
        state = self._state.copy()
        try:
            result = job.work(state)
        except Exception as exc:  # noqa: BLE001 - its caller's
            job.outcome.set_exception(exc)
            return
        self._state = state
        job.then()
        job.outcome.set(result)

    def _commit_batch(self, batch: EventBatch) -> None:
        rejected: dict[str, Exception] = {}
        for share in batch.shares():
            state = self._state.copy()
            try:
                state.events[share.run_id] = (*state.events[share.run_id], *share)
                for change in share.changes:
                    state.apply(change)
            except Exception as exc:  # noqa: BLE001 - the share's alone
                rejected[share.run_id] = exc
            else:
                self._state = state
        batch.stored(rejected)

    # -- workspaces ----------------------------------------------------------------------------------------------------

    @yielding
    def workspaces(self, limit: int = -1, after: Position = OLDEST) -> Page[Workspace]:
        found = sorted(self._state.workspaces.values(), key=lambda each: (each.created_at, each.id))
        return _page(
            [each for each in found if (each.created_at, each.id) > after], limit, lambda each: [each.system_prompt]
        )

    @yielding
    def workspace(self, slug: str) -> Workspace:
        return _only(
            [each for each in self._state.workspaces.values() if each.slug == slug],
            f"There is no workspace {slug!r}.",
        )

    @yielding
    def workspace_by_id(self, workspace_id: str) -> Workspace:
        return self._workspace(workspace_id)

    def _workspace(self, workspace_id: str) -> Workspace:
        if workspace_id not in self._state.workspaces:
            raise NotFoundError("The workspace was deleted.")
        return self._state.workspaces[workspace_id]

    def new_workspace(self, name: str) -> Workspace:
        def work(state: _State) -> Workspace:
            slug, number = slug_of(name), 1
            taken = {each.slug for each in state.workspaces.values()}
            while (free := slug if number == 1 else f"{slug}-{number}") in taken:
                number += 1
            workspace = Workspace(str(uuid.uuid4()), free, name, "", None, "agent", None, {}, {}, None, time.time())
            state.workspaces[workspace.id] = workspace
            state.add_thread(workspace.id, DEFAULT_THREAD, None)
            return workspace

        return self._do(work)

    def update_workspace(self, workspace: Workspace, **changes: Any) -> Workspace:
        def work(state: _State) -> Workspace:
            if workspace.id not in state.workspaces:
                raise NotFoundError("The workspace was deleted.")
            columns = {name: changes[name] for name in _CHANGEABLE if name in changes}
            changed = msgspec.structs.replace(state.workspaces[workspace.id], **columns)
            state.change_permissions(changed, changes)
            return state.workspaces[workspace.id]

        return self._do(work)

    @yielding
    def is_last(self, workspace: Workspace) -> bool:
        return self._state.workspaces.keys() <= {workspace.id}

    def delete_workspace(self, workspace: Workspace, damaged: Collection[str] = ()) -> list[str]:
        def work(state: _State) -> list[str]:
            if workspace.id not in state.workspaces:
                raise NotFoundError("The workspace was deleted.")
            if len(state.workspaces) == 1:
                raise ConflictError("The last workspace cannot be deleted.", code="last_workspace")
            threads = [each.id for each in state.threads.values() if each.workspace_id == workspace.id]
            open_runs = [run_id for run_id in state.open_runs(*threads) if run_id not in damaged]
            if not open_runs:
                for thread_id in threads:
                    state.remove_thread(thread_id)
                del state.workspaces[workspace.id]
            return open_runs

        return self._do(work)

    # -- threads -------------------------------------------------------------------------------------------------------

    @yielding
    def threads(self, workspace: Workspace, limit: int = -1, after: Position = NEWEST) -> Page[Thread]:
        spoken = {each.thread_id for each in self._state.messages.values()}
        found = [
            each
            for each in self._state.threads.values()
            if each.workspace_id == workspace.id
            and (each.updated_at, each.id) < after
            and (each.slug != DEFAULT_THREAD or each.id in spoken)
        ]
        found.sort(key=lambda each: (each.updated_at, each.id), reverse=True)
        return _page(found, limit, lambda each: [each.name])

    @yielding
    def thread(self, workspace: Workspace, slug: str) -> Thread:
        return _only(
            [each for each in self._state.threads.values() if (each.workspace_id, each.slug) == (workspace.id, slug)],
            f"There is no thread {slug!r} in the workspace {workspace.slug!r}.",
        )

    @yielding
    def thread_by_id(self, thread_id: str) -> Thread:
        return self._thread(thread_id)

    def _thread(self, thread_id: str) -> Thread:
        if thread_id not in self._state.threads:
            raise NotFoundError("The thread was deleted.")
        return self._state.threads[thread_id]

    def new_thread(self, workspace: Workspace, name: str | None) -> Thread:
        def work(state: _State) -> Thread:
            if workspace.id not in state.workspaces:
                raise NotFoundError("The workspace was deleted.")
            return state.add_thread(workspace.id, str(uuid.uuid4()), name)

        return self._do(work)

    def rename_thread(self, thread: Thread, name: str) -> Thread:
        self.write(NameThread(thread.id, name))
        return self.thread_by_id(thread.id)

    def delete_thread(self, thread: Thread, damaged: Collection[str] = ()) -> list[str]:
        def work(state: _State) -> list[str]:
            open_runs = [run_id for run_id in state.open_runs(thread.id) if run_id not in damaged]
            if not open_runs and thread.id in state.threads:
                state.remove_thread(thread.id)
                if thread.slug == DEFAULT_THREAD:
                    state.add_thread(thread.workspace_id, DEFAULT_THREAD, None)
            return open_runs

        return self._do(work)

    # -- messages ------------------------------------------------------------------------------------------------------

    @yielding
    def message(self, thread: Thread, message_id: str) -> StoredMessage:
        return self._message(thread, message_id)

    def _message(self, thread: Thread, message_id: str) -> StoredMessage:
        message = self._state.messages.get(message_id)
        if message is None or message.thread_id != thread.id:
            raise NotFoundError(f"There is no message {message_id!r} in this thread.")
        return message

    @yielding
    def messages(self, thread: Thread, limit: int = -1, before: str | None = None) -> Page[StoredMessage]:
        return self._messages(thread, limit, before)

    def _messages(self, thread: Thread, limit: int, before: str | None) -> Page[StoredMessage]:
        found = self._state.messages_of(thread.id)
        if before is not None:
            found = found[: found.index(self._message(thread, before))]
        page = _page(found[::-1], limit, lambda each: [each.content, msgspec.json.encode(each.details).decode()])
        page.more = bool(page) and page.more
        page.reverse()
        return page

    @yielding
    def chats(self, thread: Thread, limit: int, before: str | None) -> tuple[Page[StoredMessage], str | None]:
        return self._messages(thread, limit, before), next(iter(self._state.open_runs(thread.id)), None)

    @yielding
    def last_message_id(self, thread: Thread) -> str | None:
        found = self._state.messages_of(thread.id)
        return found[-1].id if found else None

    @yielding
    def branch(self, thread: Thread, last_id: str | None, length: int) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        at = self._state.messages.get(last_id or "")
        while at is not None and at.thread_id == thread.id and len(found) < length:
            found.append(at)
            at = self._state.messages.get(at.parent_id or "")
        return found[::-1]

    @yielding
    def summary(self, messages: Sequence[StoredMessage]) -> tuple[int, str] | None:
        for index in reversed(range(len(messages))):
            if messages[index].id in self._state.summaries:
                return index, self._state.summaries[messages[index].id]
        return None

    # -- log-ins -------------------------------------------------------------------------------------------------------

    @yielding
    def ended_logins(self) -> dict[str, float]:
        return dict(self._state.logins)

    def end_login(self, digest: str, until: float) -> None:
        def work(state: _State) -> None:
            for each in [each for each, end in state.logins.items() if end < time.time()]:
                del state.logins[each]
            state.logins[digest] = until

        self._do(work)

    # -- runs ----------------------------------------------------------------------------------------------------------

    @yielding
    def run(self, run_id: str) -> RunRow:
        return self._run(run_id)

    def _run(self, run_id: str) -> RunRow:
        if run_id not in self._state.runs:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return self._state.runs[run_id]

    @yielding
    def find_run(self, run_id: str) -> RunRow | None:
        return self._state.runs.get(run_id)

    @yielding
    def placed_run(self, run_id: str) -> PlacedRun:
        run = self._run(run_id)
        thread = self._thread(run.thread_id)
        last_seq = len(self._state.events[run_id]) if run.ended_at is not None or run.rests else None
        return PlacedRun(run, thread, self._workspace(thread.workspace_id), last_seq)

    @yielding
    def run_by_request(self, thread_id: str, client_request_id: str) -> RunRow | None:
        same = (thread_id, client_request_id)
        return next((run for run in self._state.runs.values() if (run.thread_id, run.client_request_id) == same), None)

    @yielding
    def open_run(self, thread_id: str) -> str | None:
        return next(iter(self._state.open_runs(thread_id)), None)

    @yielding
    def last_run(self, thread_id: str) -> str | None:
        found = [run.id for run in self._state.runs.values() if run.thread_id == thread_id]
        return found[-1] if found else None

    @yielding
    def unfinished_runs(self) -> list[RunRow]:
        return [run for run in self._state.runs.values() if run.ended_at is None and not run.rests]

    def give_up_damaged(self, thread_id: str) -> list[str]:  # noqa: ARG002 - no row is damaged
        return []

    # -- logs ----------------------------------------------------------------------------------------------------------

    def log_pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        while True:
            gevent.sleep(0)
            rows = self._state.events.get(run_id, ())[after : after + LOG_PAGE]
            page = [Entry(seq, at, decode(body)) for seq, at, body in rows]
            gevent.sleep(0)
            if not page:
                return
            yield page
            after = page[-1].seq

    @yielding
    def check_log(self, run_id: str, after: int) -> None:  # noqa: ARG002 - none is half there
        if run_id in self._state.runs and not self._state.events[run_id]:
            raise BrokenLogError(f"There is nothing of the log of the run {run_id}.")

    @yielding
    def last_seq(self, run_id: str) -> int:
        return len(self._state.events.get(run_id, ()))


def _only(found: Sequence[T], otherwise: str) -> T:
    if not found:
        raise NotFoundError(otherwise)
    return found[0]


def _page(rows: Sequence[T], limit: int, texts: Callable[[T], Sequence[str | None]]) -> Page[T]:
    """Return the first rows: up to `limit`, and as many as fit into `PAGE_BYTES`, but one in any case."""
    page, left = Page[T](), PAGE_BYTES
    for row in rows:
        left -= sum(len((text or "").encode()) for text in texts(row))
        if len(page) == limit or (page and left < 0):
            page.more = True
            break
        page.append(row)
    return page
