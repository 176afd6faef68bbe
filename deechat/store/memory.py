"""A store in memory, for tests: it yields to other greenlets in every read, before it looks and before it gives.

So a test finds code that looks at the store and acts on it as if nobody could come between. What is committed is one
immutable state; a commit makes another one of it. Nothing is ever damaged, and it always takes writes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import gevent
import msgspec
from gevent.event import AsyncResult, Event

from deechat.errors import BrokenLogError, ConflictError, NotFoundError
from deechat.events import Entry, decode
from deechat.principal import OWNER, Principal
from deechat.store.base import (
    DEFAULT_THREAD,
    HIDDEN,
    NEWEST,
    OLDEST,
    PAGE_BYTES,
    RECENT_THREADS,
    Before,
    Change,
    EventBatch,
    NameThread,
    Page,
    PlacedRun,
    Position,
    Receipt,
    RunRow,
    StoredMessage,
    Thread,
    Workspace,
    followed,
    slug_of,
)
from deechat.store.memory_state import State

P = ParamSpec("P")
T = TypeVar("T")
LOG_PAGE = 2_000  # entries
_CHANGEABLE = ("name", "system_prompt", "model", "mode", "temperature", "max_tokens", "context", "transport")


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


class _Job:
    """Something to write. `work` changes a copy of the state; `then` is called when it is committed."""

    def __init__(self, work: Callable[[State], Any], then: Callable[[], object]) -> None:
        self.work = work
        self.then = then
        self.outcome: AsyncResult[Any] = AsyncResult()


class MemoryStore:
    """A `Store`, with the workspace and the thread that each begins with."""

    def __init__(self) -> None:
        self._state = State()
        workspace = _new_workspace("default", "DeeChat", 1.0, OWNER)
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
        def work(state: State) -> None:
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

    def _do(self, work: Callable[[State], T]) -> T:
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
    def workspaces(self, principal: Principal, limit: int = -1, after: Position = OLDEST) -> Page[Workspace]:
        found = sorted(self._state.owned_by(principal).values(), key=lambda each: (each.created_at, each.id))
        return _page(
            [each for each in found if (each.created_at, each.id) > after], limit, lambda each: [each.system_prompt]
        )

    @yielding
    def workspace(self, principal: Principal, slug: str) -> Workspace:
        return _only(
            [each for each in self._state.owned_by(principal).values() if each.slug == slug],
            f"There is no workspace {slug!r}.",
        )

    @yielding
    def workspace_by_id(self, principal: Principal, workspace_id: str) -> Workspace:
        self._state.check_workspace(principal, workspace_id)
        return self._state.workspaces[workspace_id]

    @yielding
    def workspace_of(self, thread_id: str) -> Workspace:
        if not self._state.thread_is_there(thread_id):
            raise NotFoundError("The thread was deleted.")
        return self._state.workspaces[self._state.threads[thread_id].workspace_id]

    def new_workspace(self, principal: Principal, name: str) -> Workspace:
        def work(state: State) -> Workspace:
            slug, number = slug_of(name), 1
            taken = {each.slug for each in state.workspaces.values()}
            while (free := slug if number == 1 else f"{slug}-{number}") in taken:
                number += 1
            workspace = _new_workspace(free, name, time.time(), principal)
            state.workspaces[workspace.id] = workspace
            state.add_thread(workspace.id, DEFAULT_THREAD, None)
            return workspace

        return self._do(work)

    def update_workspace(self, principal: Principal, workspace: Workspace, **changes: Any) -> Workspace:
        def work(state: State) -> Workspace:
            state.check_workspace(principal, workspace.id)
            columns = {name: changes[name] for name in _CHANGEABLE if name in changes}
            changed = msgspec.structs.replace(state.workspaces[workspace.id], **columns)
            state.change_permissions(changed, changes)
            return state.workspaces[workspace.id]

        return self._do(work)

    @yielding
    def is_last(self, principal: Principal, workspace: Workspace) -> bool:
        return self._state.owned_by(principal).keys() == {workspace.id}

    def delete_workspace(self, principal: Principal, workspace: Workspace, damaged: Collection[str] = ()) -> list[str]:
        def work(state: State) -> list[str]:
            state.check_workspace(principal, workspace.id)
            if len(state.owned_by(principal)) == 1:
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
    def threads(
        self, principal: Principal, workspace: Workspace, limit: int = -1, after: Position = NEWEST
    ) -> Page[Thread]:
        spoken = {each.thread_id for each in self._state.messages.values()}
        found = [
            each
            for each in self._state.threads.values()
            if each.workspace_id == workspace.id
            and self._state.owns_thread(principal, each.id)
            and (each.updated_at, each.id) < after
            and (each.slug != DEFAULT_THREAD or each.id in spoken)
            and not each.slug.startswith(HIDDEN)
        ]
        found.sort(key=lambda each: (each.updated_at, each.id), reverse=True)
        return _page(found, limit, lambda each: [each.name])

    @yielding
    def thread(self, principal: Principal, workspace: Workspace, slug: str) -> Thread:
        found = [
            each for each in self._state.threads.values() if (each.workspace_id, each.slug) == (workspace.id, slug)
        ]
        return _only(
            [each for each in found if self._state.owns_thread(principal, each.id)],
            f"There is no thread {slug!r} in the workspace {workspace.slug!r}.",
        )

    @yielding
    def thread_by_id(self, principal: Principal, thread_id: str) -> Thread:
        if not self._state.owns_thread(principal, thread_id):
            raise NotFoundError("The thread was deleted.")
        return self._state.threads[thread_id]

    def new_thread(
        self, principal: Principal, workspace: Workspace, name: str | None, slug: str | None = None
    ) -> Thread:
        def work(state: State) -> Thread:
            state.check_workspace(principal, workspace.id)
            known = (each for each in state.threads.values() if (each.workspace_id, each.slug) == (workspace.id, slug))
            return next(known, None) or state.add_thread(workspace.id, slug or str(uuid.uuid4()), name)

        return self._do(work)

    def rename_thread(self, principal: Principal, thread: Thread, name: str) -> Thread:
        def work(state: State) -> None:
            state.check_thread(principal, thread.id)
            state.apply(NameThread(thread.id, name))

        self._do(work)
        return self.thread_by_id(principal, thread.id)

    def delete_thread(self, principal: Principal, thread: Thread, damaged: Collection[str] = ()) -> list[str]:
        def work(state: State) -> list[str]:
            state.check_thread(principal, thread.id)
            open_runs = [run_id for run_id in state.open_runs(thread.id) if run_id not in damaged]
            if not open_runs and thread.id in state.threads:
                state.remove_thread(thread.id)
                if thread.slug == DEFAULT_THREAD:
                    state.add_thread(thread.workspace_id, DEFAULT_THREAD, None)
            return open_runs

        return self._do(work)

    # -- messages ------------------------------------------------------------------------------------------------------

    @yielding
    def message(self, principal: Principal, thread: Thread, message_id: str) -> StoredMessage:
        return self._message(principal, thread, message_id)

    def _message(self, principal: Principal, thread: Thread, message_id: str) -> StoredMessage:
        message = self._state.messages.get(message_id)
        if message is None or message.thread_id != thread.id or not self._state.owns_thread(principal, thread.id):
            raise NotFoundError(f"There is no message {message_id!r} in this thread.")
        return message

    @yielding
    def message_by_id(self, principal: Principal, message_id: str) -> StoredMessage:
        message = self._state.messages.get(message_id)
        if message is None or not self._state.owns_thread(principal, message.thread_id):
            raise NotFoundError(f"There is no message {message_id!r}.")
        return message

    @yielding
    def messages(
        self, principal: Principal, thread: Thread, limit: int = -1, before: str | None = None
    ) -> Page[StoredMessage]:
        return self._messages(principal, thread, limit, before)

    def _messages(self, principal: Principal, thread: Thread, limit: int, before: str | None) -> Page[StoredMessage]:
        found = self._messages_of(principal, thread.id)
        if before is not None:
            found = found[: found.index(self._message(principal, thread, before))]
        page = _page(found[::-1], limit, lambda each: [each.content, msgspec.json.encode(each.details).decode()])
        page.more = bool(page) and page.more
        page.reverse()
        return page

    def _messages_of(self, principal: Principal, thread_id: str) -> list[StoredMessage]:
        return self._state.messages_of(thread_id) if self._state.owns_thread(principal, thread_id) else []

    @yielding
    def chats(
        self, principal: Principal, thread: Thread, limit: int, before: str | None
    ) -> tuple[Page[StoredMessage], str | None]:
        return self._messages(principal, thread, limit, before), self._open_run(principal, thread.id)

    @yielding
    def last_message_id(self, principal: Principal, thread: Thread) -> str | None:
        found = self._messages_of(principal, thread.id)
        return followed(found[-1]) if found else None

    @yielding
    def branch(self, principal: Principal, thread_id: str, last_id: str | None, length: int) -> list[StoredMessage]:
        there = {each.id: each for each in self._messages_of(principal, thread_id)}
        found: list[StoredMessage] = []
        at = there.get(last_id or "")
        while at is not None and len(found) < length:
            found.append(at)
            at = there.get(at.parent_id or "")
        return found[::-1]

    @yielding
    def summary(self, principal: Principal, messages: Sequence[StoredMessage]) -> tuple[int, str] | None:
        for index in reversed(range(len(messages))):
            message = messages[index]
            if message.id in self._state.summaries and self._state.owns_thread(principal, message.thread_id):
                return index, self._state.summaries[message.id]
        return None

    # -- log-ins -------------------------------------------------------------------------------------------------------

    @yielding
    def ended_logins(self) -> dict[str, float]:
        return dict(self._state.logins)

    def end_login(self, digest: str, until: float) -> None:
        def work(state: State) -> None:
            for each in [each for each, end in state.logins.items() if end < time.time()]:
                del state.logins[each]
            state.logins[digest] = until

        self._do(work)

    # -- runs ----------------------------------------------------------------------------------------------------------

    @yielding
    def run(self, principal: Principal, run_id: str) -> RunRow:
        return self._run(principal, run_id)

    def _run(self, principal: Principal, run_id: str) -> RunRow:
        run = self._state.runs.get(run_id)
        if run is None or not self._state.owns_thread(principal, run.thread_id):
            raise NotFoundError(f"There is no run {run_id!r}.")
        return run

    @yielding
    def find_run(self, run_id: str) -> RunRow | None:
        return self._state.runs.get(run_id)

    @yielding
    def placed_run(self, principal: Principal, run_id: str) -> PlacedRun:
        run = self._run(principal, run_id)
        thread = self._state.threads[run.thread_id]
        last_seq = len(self._state.events[run_id]) if run.ended_at is not None or run.rests else None
        return PlacedRun(run, thread, self._state.workspaces[thread.workspace_id], last_seq)

    @yielding
    def run_by_request(self, principal: Principal, thread_id: str, client_request_id: str) -> RunRow | None:
        runs = self._runs_of(principal, thread_id)
        return next((run for run in runs if run.client_request_id == client_request_id), None)

    @yielding
    def run_by_request_in(self, principal: Principal, workspace: Workspace, client_request_id: str) -> RunRow | None:
        threads = [each for each in self._state.threads.values() if each.workspace_id == workspace.id]
        threads.sort(key=lambda each: (each.updated_at, each.id), reverse=True)
        runs = [run for each in threads[:RECENT_THREADS] for run in self._runs_of(principal, each.id)]
        found = [run for run in runs if run.client_request_id == client_request_id]
        return max(found, key=lambda run: run.started_at, default=None)

    @yielding
    def open_run(self, principal: Principal, thread_id: str) -> str | None:
        return self._open_run(principal, thread_id)

    def _open_run(self, principal: Principal, thread_id: str) -> str | None:
        return next((run.id for run in self._runs_of(principal, thread_id) if run.ended_at is None), None)

    @yielding
    def last_run(self, principal: Principal, thread_id: str) -> str | None:
        found = self._runs_of(principal, thread_id)
        return found[-1].id if found else None

    def _runs_of(self, principal: Principal, thread_id: str) -> list[RunRow]:
        owns = self._state.owns_thread(principal, thread_id)
        return [run for run in self._state.runs.values() if owns and run.thread_id == thread_id]

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


def _new_workspace(slug: str, name: str, created_at: float, owner: Principal) -> Workspace:
    return Workspace(str(uuid.uuid4()), slug, name, "", None, "agent", None, {}, {}, None, created_at, owner.id)


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
