"""The store's interface: the values that it keeps, the changes that it writes, and its methods.

A workspace has an owner; its threads, messages and runs are its owner's. Reads give plain values and lists, never lazy
rows. A change is a value too: each store writes it in its own way, several of them in one transaction. Times are Unix
seconds.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from deechat.events import Entry
from deechat.net.clock import steady
from deechat.principal import Principal

T = TypeVar("T")

DEFAULT_THREAD = "default"
HIDDEN = "api-"  # the slugs of threads that stand in no list begin with it; no other's does
PROMPT = "[]"
RECENT_THREADS = 100  # that are looked through for a run whose thread nobody names
PATIENCE_AT_START = 5.0  # seconds that a start waits for the disk; reading goes on without it
PAGE_BYTES = 2_000_000  # of one page of a list, but for one row that is larger alone

Position = tuple[float, str]  # in a list: a time and an id
OLDEST: Position = (-1.0, "")
NEWEST: Position = (1e300, "")


class Workspace(msgspec.Struct, frozen=True):
    """Threads that share a prompt, a model and tool policies.

    `model`, `temperature` and `max_tokens` None: the server's default. `context` is how many tokens the model reads at
    once, 0 where nobody said; `transport` is the way of its answers, '' where nobody said. `tools` are policies by a
    tool's name, where they differ from its own. `allowed` is what a person has said yes to for good, by a tool's name:
    what its `scope` gives, such as hosts, for a tool that asks for each of them. `owner` is the id of the principal
    whose it is.
    """

    id: str
    slug: str
    name: str
    system_prompt: str
    model: str | None
    mode: str
    temperature: float | None
    tools: dict[str, str]
    allowed: dict[str, list[str]]
    max_tokens: int | None
    created_at: float
    owner: str
    context: int = 0
    transport: str = ""


class Thread(msgspec.Struct, frozen=True):
    """A conversation; `name` is None until somebody, or its first prompt, names it."""

    id: str
    workspace_id: str
    slug: str
    name: str | None
    created_at: float
    updated_at: float


class StoredMessage(msgspec.Struct, frozen=True):
    """A prompt or an answer of a thread. `details` are an answer's further fields, see `runs.answers.answer`.

    Those without `tool_calls` were written by a version before, which kept them in the words of the HTTP API; those
    without `parts` by one that kept no order.

    `turns` is JSON of what a model is shown of the message later; '' where the content says it all, `PROMPT` for a
    prompt of text alone.

    `next` in the details of the message that was written last: the id of the message that the one after it follows
    instead, '' for none (`followed`). So a branch that was left stays as it is.
    """

    id: str
    thread_id: str
    parent_id: str | None
    role: str
    content: str
    sent_at: float
    run_id: str | None = None
    details: dict[str, Any] = {}
    turns: str = PROMPT


class RunRow(msgspec.Struct, frozen=True):
    """A run as its row has it; `ended_at` and `reason` are None while it has not ended.

    `retries`: how often it was entered again since its last whole step because the process had died. `rests` 1: it
    waits for a person and has nothing else to do, and its whole log is compacted. `asks` says then where in the log the
    open requests stand, as JSON; None where only the log tells.
    """

    id: str
    thread_id: str
    message_id: str
    parent_id: str
    continues: str | None
    client_request_id: str | None
    model: str | None
    language: str
    started_at: float
    ended_at: float | None = None
    reason: str | None = None
    retries: int = 0
    rests: int = 0
    asks: str | None = None


class Page(list[T]):
    """A part of a list, in the list's order. `more`: whether there is something beyond it."""

    more = False


class PlacedRun(NamedTuple):
    """A run with its thread and its workspace, as of one moment.

    `last_seq`: the SEQ of its log's last entry; None where only the log itself tells.
    """

    run: RunRow
    thread: Thread
    workspace: Workspace
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Before:
    """The process that had the store before this one: when it took it, in Unix seconds, and whether it was killed.

    `started_at` is None where there was none, or none that noted it. `steady_at` is the same moment on the steady
    clock; None where the machine was started anew since, or cannot tell.
    """

    started_at: float | None = None
    killed: bool = False
    steady_at: float | None = None

    def age(self, at: float) -> float:
        """Return how many seconds ago the process noted the time `at`.

        The wall clock may have been set meanwhile, so within one boot of the machine the steady clock is asked too,
        and the smaller answer counts.
        """
        age = time.time() - at
        if self.started_at is None or self.steady_at is None:
            return age
        return min(age, steady() - self.steady_at - (at - self.started_at))

    def lived(self, last_at: float) -> float:
        """Return how many seconds the process lived, when `last_at` is the last time that it noted."""
        seconds = last_at - (self.started_at or 0.0)
        return seconds if self.steady_at is None else min(seconds, steady() - self.steady_at)


# -- changes -----------------------------------------------------------------------------------------------------------

EventRow = tuple[int, float, bytes]  # of a log: SEQ, Unix time in whole ms, `deechat.events.encode`


class InsertMessage(msgspec.Struct, frozen=True):
    """Writes a message; its thread's time of last activity moves with it."""

    message: StoredMessage


class ChangeMessage(msgspec.Struct, frozen=True):
    """Writes the parent, content, details and turns of a message anew; does nothing when it is gone."""

    message: StoredMessage


class NameThread(msgspec.Struct, frozen=True):
    """Names a thread; `only_unnamed` leaves a name that somebody gave meanwhile."""

    thread_id: str
    name: str
    only_unnamed: bool = False


class KeepSummary(msgspec.Struct, frozen=True):
    """Keeps the model's summary of a branch up to this message; the first text stays."""

    message_id: str
    text: str


class AllowTool(msgspec.Struct, frozen=True):
    """Allows a tool for good in the workspace of a thread: within the scope, or else by the policy.

    `policy` None says that the tool's own policy allows it.
    """

    thread_id: str
    tool: str
    policy: str | None
    scope: str | None


class BeginRun(msgspec.Struct, frozen=True):
    """Inserts a run with the rows of its first events.

    Refused with `NotFoundError` when its thread is gone, and with `ConflictError` while another run of the thread is
    open, or when its `client_request_id` was used in the thread.
    """

    run: RunRow
    rows: Sequence[EventRow]


class NoteRetries(msgspec.Struct, frozen=True):
    """Notes how often a run was entered again."""

    run_id: str
    retries: int


class RestRun(msgspec.Struct, frozen=True):
    """Notes that a run waits for a person, and for which entries; compacts its log, which is `entries`."""

    run_id: str
    entries: Sequence[Entry]
    asks: Sequence[int]


class WakeRun(msgspec.Struct, frozen=True):
    """Notes that a run does not rest any more."""

    run_id: str


class EndRun(msgspec.Struct, frozen=True):
    """Notes how a run ended."""

    run_id: str
    at: float
    reason: str


class GiveUpRun(msgspec.Struct, frozen=True):
    """Ends a run without an ending in its log; one that has ended meanwhile stays as it is."""

    run_id: str


class CompactLog(msgspec.Struct, frozen=True):
    """Hands a log over from its first entry on, to be kept in less room than as rows of events."""

    run_id: str
    entries: Sequence[Entry]


Change = (
    InsertMessage
    | ChangeMessage
    | NameThread
    | KeepSummary
    | AllowTool
    | BeginRun
    | NoteRetries
    | RestRun
    | WakeRun
    | EndRun
    | GiveUpRun
    | CompactLog
)
GIVEN_UP = "interrupted"  # the reason of a run that was closed without an ending in its log, and of others


class Share(list[EventRow]):
    """One log's part of a batch: the rows of its new events, and the changes that belong into the same savepoint.

    `size`: bytes of its events. `ends`: its last event is the ending; the changes hand the whole log over then, and the
    rows need not be stored.
    """

    run_id = ""
    size = 0
    changes: tuple[Change, ...] = ()
    ends = False


class EventBatch(Protocol):
    """The events of many logs that go into one commit. A store may call `shares` from a thread of its own."""

    def seal(self) -> None:
        """Take nothing more in from here on."""

    def shares(self) -> Sequence[Share]:
        """Return the shares to be stored, one a run: each whole or not at all, whatever becomes of the others."""

    def stored(self, rejected: Mapping[str, Exception]) -> None:
        """Note that the shares are on disk, but for those of these runs, which never will be. Must not wait."""


class Receipt(Protocol):
    """A change that is queued."""

    def wait(self, timeout: float | None = None) -> object:
        """Return when it is on disk or refused, or after `timeout` seconds."""


class StoreListener(Protocol):
    """Is told by a store whether it takes writes."""

    def storage_changed(self, available: bool) -> None:
        """Note that nothing can be stored any more, or that it can be again. Must not wait."""


# -- alike in every store ----------------------------------------------------------------------------------------------


def slug_of(name: str) -> str:
    """Return the slug of a workspace's name, which another one may have."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:50].strip("-") or "workspace"


def followed(last: StoredMessage) -> str | None:
    """Return the id of the message that the next one of a thread follows, where `last` was written last."""
    return last.details.get("next", last.id) or None


def update_permissions(tools: dict[str, str], allowed: dict[str, list[str]], changes: Mapping[str, Any]) -> None:
    """Change a workspace's policies and scopes by the changes of `Store.update_workspace`; leave no empty list."""
    if "tools" in changes:
        tools.clear()
    for name, policy in {**changes.get("tools", {}), **changes.get("policies", {})}.items():
        if policy is None:
            tools.pop(name, None)
        else:
            tools[name] = policy
    for name, scopes in changes.get("allowed", {}).items():
        allowed[name] = sorted(set(scopes))
    for name, scopes in changes.get("revoked", {}).items():
        allowed[name] = [each for each in allowed.get(name, []) if each not in set(scopes)]
    for name in [name for name, scopes in allowed.items() if not scopes]:
        del allowed[name]


def allowance(tool: str, policy: str | None, scope: str | None, allowed: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the changes for `update_permissions` that allow a tool for good, where these scopes are allowed."""
    return {"policies": {tool: policy}} if scope is None else {"allowed": {tool: [*allowed.get(tool, []), scope]}}


# -- the interface -----------------------------------------------------------------------------------------------------


class PersonalStore(Protocol):
    """The reads and writes for a person. Each method takes the principal first, and reaches the principal's rows alone.

    Rows of another principal are as good as gone: a method that may raise `NotFoundError` does, lists are empty, a
    value that may be missing is None, and nothing is written.
    """

    # -- workspaces

    def workspaces(self, principal: Principal, limit: int = -1, after: Position = OLDEST) -> Page[Workspace]:
        """Return workspaces, oldest first: up to `limit` behind the one with this time and id; -1 is no limit.

        A principal begins with none, but for the owner of a new store, who has one.
        """

    def workspace(self, principal: Principal, slug: str) -> Workspace:
        """Return the workspace with the slug. Raises `NotFoundError`."""

    def workspace_by_id(self, principal: Principal, workspace_id: str) -> Workspace:
        """Return the workspace with the id. Raises `NotFoundError`."""

    def new_workspace(self, principal: Principal, name: str) -> Workspace:
        """Make a workspace with its default thread; its slug comes from the name and never changes.

        No two workspaces have the same slug, whosever they are.
        """

    def update_workspace(self, principal: Principal, workspace: Workspace, **changes: Any) -> Workspace:
        """Write these fields of the workspace and leave the others as they are by then.

        `tools` replaces all policies. `policies` (None: the tool's own), `allowed` (a tool's new list) and `revoked`
        (scopes taken from it) change the tools that they name. Raises `NotFoundError`.
        """

    def is_last(self, principal: Principal, workspace: Workspace) -> bool:
        """Say whether the workspace is the only one that the principal has."""

    def delete_workspace(self, principal: Principal, workspace: Workspace, damaged: Collection[str] = ()) -> list[str]:
        """Delete the workspace with everything in it, for everybody and at once.

        While some of its runs have not ended nothing is done: return the ids of a number of them then. Runs that are
        `damaged` are in nobody's way. Raises `NotFoundError`, and `ConflictError` when it is the principal's last one.
        """

    # -- threads

    def threads(
        self, principal: Principal, workspace: Workspace, limit: int = -1, after: Position = NEWEST
    ) -> Page[Thread]:
        """Return the workspace's threads, newest activity first; the default one once it has messages.

        Up to `limit` behind the one with this time of activity and id; -1 is no limit.
        """

    def thread(self, principal: Principal, workspace: Workspace, slug: str) -> Thread:
        """Return the thread with the slug. Raises `NotFoundError`."""

    def thread_by_id(self, principal: Principal, thread_id: str) -> Thread:
        """Return the thread with the id. Raises `NotFoundError`."""

    def new_thread(
        self, principal: Principal, workspace: Workspace, name: str | None, slug: str | None = None
    ) -> Thread:
        """Make a thread; its slug is a UUID, or the one given, whose thread is returned where there is one.

        No list shows a thread whose slug begins with `HIDDEN`.

        Raises `NotFoundError` when the workspace is gone.
        """

    def rename_thread(self, principal: Principal, thread: Thread, name: str) -> Thread:
        """Name the thread. Raises `NotFoundError` when it is gone."""

    def delete_thread(self, principal: Principal, thread: Thread, damaged: Collection[str] = ()) -> list[str]:
        """Delete the thread, for everybody and at once; the default one is there again, empty, in the same moment.

        While its run has not ended nothing is done: return the run's id then. Runs that are `damaged` are in nobody's
        way, and nothing is done to a thread that is gone already. Raises `NotFoundError` for another's.
        """

    # -- messages

    def message(self, principal: Principal, thread: Thread, message_id: str) -> StoredMessage:
        """Return a message of the thread. Raises `NotFoundError`."""

    def messages(
        self, principal: Principal, thread: Thread, limit: int = -1, before: str | None = None
    ) -> Page[StoredMessage]:
        """Return the thread's last messages, oldest first; those before the message `before`, when that is given.

        As many as `limit`, and as fit into `PAGE_BYTES`, but one in any case; -1 is no limit. Raises `NotFoundError`
        when there is no such message, and `DamagedError` when one of them is not as it was written, or missing.
        """

    def chats(
        self, principal: Principal, thread: Thread, limit: int, before: str | None
    ) -> tuple[Page[StoredMessage], str | None]:
        """Return the thread's messages like `messages`, and the id of its open run, as of one moment."""

    def message_by_id(self, principal: Principal, message_id: str) -> StoredMessage:
        """Return a message of any thread. Raises `NotFoundError`."""

    def last_message_id(self, principal: Principal, thread: Thread) -> str | None:
        """Return the id of the message that the next one follows: of the last one, unless that says otherwise."""

    def branch(self, principal: Principal, thread_id: str, last_id: str | None, length: int) -> list[StoredMessage]:
        """Return up to `length` messages that end with `last_id`, each followed by the one whose parent it is."""

    def summary(self, principal: Principal, messages: Sequence[StoredMessage]) -> tuple[int, str] | None:
        """Return the summary that reaches furthest of those that end with one of these messages of a branch.

        As the index of that message and the text; None where there is none.
        """

    # -- runs

    def run(self, principal: Principal, run_id: str) -> RunRow:
        """Return the row of a run. Raises `NotFoundError`."""

    def placed_run(self, principal: Principal, run_id: str) -> PlacedRun:
        """Return a run with its thread and workspace. Raises `NotFoundError`."""

    def run_by_request(self, principal: Principal, thread_id: str, client_request_id: str) -> RunRow | None:
        """Return the run that this `clientRequestId` started in the thread."""

    def run_by_request_in(self, principal: Principal, workspace: Workspace, client_request_id: str) -> RunRow | None:
        """Return the run that this `clientRequestId` started last, in the `RECENT_THREADS` with the newest activity."""

    def open_run(self, principal: Principal, thread_id: str) -> str | None:
        """Return the id of the thread's run without an ending; there is one at most."""

    def last_run(self, principal: Principal, thread_id: str) -> str | None:
        """Return the id of the thread's run that was started last."""


class ServerStore(Protocol):
    """The server's own reads and writes, for all principals: the work on runs, their logs, log-ins."""

    # -- runs

    def find_run(self, run_id: str) -> RunRow | None:
        """Return the row of a run, if it is there."""

    def workspace_of(self, thread_id: str) -> Workspace:
        """Return the workspace of a thread. Raises `NotFoundError` when either is gone."""

    def unfinished_runs(self) -> list[RunRow]:
        """Return the runs without an ending, oldest first, but for those that rest until a person answers."""

    def give_up_damaged(self, thread_id: str) -> list[str]:
        """End a thread's open run whose row is damaged; return the run's id. The row stays damaged."""

    # -- log-ins

    def ended_logins(self) -> dict[str, float]:
        """Return the digests of log-in cookies that are worth nothing any more, each with when it can be forgotten."""

    def end_login(self, digest: str, until: float) -> None:
        """Keep the digest of a log-in cookie until then, and forget those whose time is over."""

    # -- logs

    def log_pages(self, run_id: str, after: int = 0) -> Iterator[list[Entry]]:
        """Return the entries after the SEQ `after`, as many at a time as can be read in a moment.

        Raises `BrokenLogError`.
        """

    def check_log(self, run_id: str, after: int) -> None:
        """Check what there is of a log after the SEQ `after`. Raises `BrokenLogError`."""

    def last_seq(self, run_id: str) -> int:
        """Return the SEQ of a log's last entry; 0 when the run is gone. Raises `BrokenLogError`."""

    # -- writing

    def write(self, *changes: Change) -> None:
        """Write the changes in one transaction, and return when they are on disk; nothing is kept of those refused."""

    def submit(self, change: Change, then: Callable[[], object] = lambda: None) -> Receipt:
        """Queue a change that must not be lost while nothing can be stored. Never yields.

        `then` is called when it is on disk, before anyone is told, and must not wait.
        """

    def append(self, batch: EventBatch, logs: int) -> None:
        """Queue events, which are not lost while nothing can be stored. Never yields.

        The batch is taken as it stands when it is sealed. `logs`: how many are in memory, by which a store may let more
        gather.
        """

    # -- the store itself

    @property
    def before(self) -> Before:
        """The process that had the store before this one."""

    @property
    def damage(self) -> str | None:
        """What is known to be damaged, in words for a person; None while nothing is."""

    @property
    def available(self) -> bool:
        """Whether it takes writes."""

    def check_available(self) -> None:
        """Raise `StorageUnavailableError` while nothing can be written. Never yields."""

    def check_alive(self) -> None:
        """Raise `StorageUnavailableError` in words when a new process would do better. Never yields."""

    def take_over(self) -> None:
        """Go on with the work that an earlier process left to this one; returns after a few seconds in any case."""

    def close(self) -> None:
        """Store what is queued, as far as that can be, and close."""


class Store(PersonalStore, ServerStore, Protocol):
    """All that is kept. Every read may yield to other greenlets, and gives what is committed.

    A row that is damaged raises `DamagedError`; lists leave it out. Writes that wait raise `StorageUnavailableError`
    while nothing can be stored.
    """
