"""All that a store in memory has committed: one immutable state; each change makes the next one of a copy."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from deechat.errors import ConflictError, NotFoundError
from deechat.principal import Principal
from deechat.store.base import (
    GIVEN_UP,
    AllowTool,
    BeginRun,
    Change,
    ChangeMessage,
    EndRun,
    EventRow,
    GiveUpRun,
    InsertMessage,
    KeepSummary,
    NameThread,
    NoteRetries,
    RestRun,
    RunRow,
    StoredMessage,
    Thread,
    WakeRun,
    Workspace,
    allowance,
    update_permissions,
)


@dataclass(frozen=True, slots=True)
class State:
    """All that is committed, by id and in the order in which it was written."""

    workspaces: dict[str, Workspace] = field(default_factory=dict)
    threads: dict[str, Thread] = field(default_factory=dict)
    messages: dict[str, StoredMessage] = field(default_factory=dict)
    runs: dict[str, RunRow] = field(default_factory=dict)
    events: dict[str, tuple[EventRow, ...]] = field(default_factory=dict)
    summaries: dict[str, str] = field(default_factory=dict)
    logins: dict[str, float] = field(default_factory=dict)

    def copy(self) -> State:
        return replace(self, **{name: dict(getattr(self, name)) for name in self.__dataclass_fields__})

    def owned_by(self, principal: Principal) -> dict[str, Workspace]:
        return {each.id: each for each in self.workspaces.values() if each.owner == principal.id}

    def owns_thread(self, principal: Principal, thread_id: str) -> bool:
        return thread_id in self.threads and self.threads[thread_id].workspace_id in self.owned_by(principal)

    def check_workspace(self, principal: Principal, workspace_id: str) -> None:
        if workspace_id not in self.owned_by(principal):
            raise NotFoundError("The workspace was deleted.")

    def check_thread(self, principal: Principal, thread_id: str) -> None:
        if thread_id in self.threads and not self.owns_thread(principal, thread_id):
            raise NotFoundError("The thread was deleted.")

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
            case ChangeMessage(message):
                if message.id in self.messages:
                    self.messages[message.id] = message
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
