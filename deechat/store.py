"""Workspaces, threads and messages: what a person has, apart from the logs of runs.

Reads give plain values, never lazy rows. Writes are committed when the method returns, or are functions over a
connection that belong into somebody else's transaction.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
import unicodedata
import uuid
from typing import Any

import msgspec

from deechat import checksums
from deechat.checksums import COVERED, TICKS
from deechat.database import Database, Row, Work
from deechat.errors import NotFoundError

DEFAULT_THREAD = "default"


class Workspace(msgspec.Struct, frozen=True):
    """Threads that share a prompt, a model and tool policies. `model` and `temperature` None: the server's default.

    `tools` are policies by a tool's name, where they differ from its own. `allowed` is what a person has said yes to
    for good, by a tool's name: hosts, for a tool that asks for each of them.
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


class Thread(msgspec.Struct, frozen=True):
    """A conversation; `name` is None until somebody, or its first prompt, names it. Times are Unix seconds."""

    id: str
    workspace_id: str
    slug: str
    name: str | None
    created_at: float
    updated_at: float


class Message(msgspec.Struct, frozen=True):
    """What was said. `details` are an assistant message's further fields, in the contract's words.

    `turns` is JSON of what a model is shown of the message later; '' where the content says it all, '[]' for a user's.
    """

    id: str
    thread_id: str
    parent_id: str | None
    role: str
    content: str
    sent_at: float
    run_id: str | None = None
    details: dict[str, Any] = {}
    turns: str = "[]"


_WORKSPACE = COVERED["workspace"].columns
_THREAD = COVERED["thread"].columns
_CHANGEABLE = ("name", "system_prompt", "model", "mode", "temperature", "tools", "allowed")
_AS_JSON = frozenset({"tools", "allowed"})
_MESSAGE = COVERED["message"].columns
_PARENT = COVERED["message"].fixed.index("parent_id")


def _workspace(row: Row) -> Workspace:
    return Workspace(*(*row[:7], msgspec.json.decode(row[7]), msgspec.json.decode(row[8])))


def _thread(row: Row) -> Thread:
    return Thread(*row[:6])


def _message(row: Row) -> Message:
    return Message(*(*row[:7], msgspec.json.decode(row[7]), row[8]))


class Store:
    """Workspaces, threads and messages of one database. `snapshot` lets several reads see one and the same commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.snapshot = database.snapshot

    # -- workspaces ----------------------------------------------------------------------------------------------------

    def workspaces(self) -> list[Workspace]:
        """Gives all workspaces, oldest first; without those that are damaged, of which the database tells."""
        rows = self._database.read(f"SELECT {_WORKSPACE} FROM workspace ORDER BY created_at")
        return [_workspace(row) for row in self._database.damage.sound("workspace", rows)]

    def workspace(self, slug: str) -> Workspace:
        """Gives the workspace with the slug. Raises `NotFoundError`."""
        row = self._database.read_one(f"SELECT {_WORKSPACE} FROM workspace WHERE slug = ?", slug)
        if row is None:
            raise NotFoundError(f"There is no workspace {slug!r}.")
        return _workspace(self._database.damage.checked("workspace", row, slug=slug))

    def workspace_by_id(self, workspace_id: str) -> Workspace:
        """Gives the workspace with the id. Raises `NotFoundError`."""
        row = self._database.read_one(f"SELECT {_WORKSPACE} FROM workspace WHERE id = ?", workspace_id)
        if row is None:
            raise NotFoundError("The workspace was deleted.")
        return _workspace(self._database.damage.checked("workspace", row, id=workspace_id))

    def new_workspace(self, name: str) -> Workspace:
        """Makes a workspace with its default thread; its slug comes from the name and never changes."""

        def work(connection: sqlite3.Connection) -> str:
            slug, workspace_id = _free_slug(connection, _slug(name) or "workspace"), str(uuid.uuid4())
            values = (workspace_id, slug, name, "", None, "agent", None, "{}", "{}")
            connection.execute(
                f"INSERT INTO workspace ({_WORKSPACE}, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, checksums.of_row("workspace", values), time.time()),
            )
            _insert_thread(connection, workspace_id, DEFAULT_THREAD, None)
            return slug

        return self.workspace(self._database.write(work))

    def update_workspace(self, workspace: Workspace, **changes: Any) -> Workspace:
        """Writes these fields of the workspace and leaves the others as they are by then."""
        values = {
            name: json.dumps(changes[name]) if name in _AS_JSON else changes[name]
            for name in _CHANGEABLE
            if name in changes
        }
        if values:
            self._database.write(lambda connection: checksums.change(connection, "workspace", workspace.id, **values))
        return self.workspace(workspace.slug)

    def delete_workspace(self, workspace: Workspace) -> None:
        """Deletes the workspace with everything in it. Raises `NotFoundError`."""

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM workspace WHERE id = ?", (workspace.id,)).fetchone() is None:
                raise NotFoundError("The workspace was deleted.")
            connection.execute("DELETE FROM workspace WHERE id = ?", (workspace.id,))

        self._database.write(work)

    # -- threads -------------------------------------------------------------------------------------------------------

    def threads(self, workspace: Workspace) -> list[Thread]:
        """Gives the workspace's threads, newest activity first; the default one once it has messages.

        Those that are damaged are left out, and the database tells of them.
        """
        rows = self._database.read(
            f"SELECT {_THREAD} FROM thread WHERE workspace_id = ? AND (slug != ? OR EXISTS"
            " (SELECT 1 FROM message WHERE message.thread_id = thread.id)) ORDER BY updated_at DESC, created_at DESC",
            workspace.id,
            DEFAULT_THREAD,
        )
        return [_thread(row) for row in self._database.damage.sound("thread", rows)]

    def thread(self, workspace: Workspace, slug: str) -> Thread:
        """Gives the thread with the slug. Raises `NotFoundError`."""
        row = self._database.read_one(
            f"SELECT {_THREAD} FROM thread WHERE workspace_id = ? AND slug = ?", workspace.id, slug
        )
        if row is None:
            raise NotFoundError(f"There is no thread {slug!r} in the workspace {workspace.slug!r}.")
        return _thread(self._database.damage.checked("thread", row, slug=slug, workspace_id=workspace.id))

    def thread_by_id(self, thread_id: str) -> Thread:
        """Gives the thread with the id. Raises `NotFoundError`."""
        row = self._database.read_one(f"SELECT {_THREAD} FROM thread WHERE id = ?", thread_id)
        if row is None:
            raise NotFoundError("The thread was deleted.")
        return _thread(self._database.damage.checked("thread", row, id=thread_id))

    def new_thread(self, workspace: Workspace, name: str | None) -> Thread:
        """Makes a thread; its slug is a UUID."""
        slug = str(uuid.uuid4())
        self._database.write(lambda connection: _insert_thread(connection, workspace.id, slug, name))
        return self.thread(workspace, slug)

    def rename_thread(self, thread: Thread, name: str) -> Thread:
        """Names the thread. Raises `NotFoundError` when it is gone."""
        self._database.write(naming(thread.id, name))
        return self.thread_by_id(thread.id)

    def delete_thread(self, thread: Thread) -> None:
        """Deletes the thread with its messages and runs; the default one is there again, empty, in the same moment."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM thread WHERE id = ?", (thread.id,))
            if thread.slug == DEFAULT_THREAD:
                _insert_thread(connection, thread.workspace_id, DEFAULT_THREAD, None)

        self._database.write(work)

    def threads_of_workspace(self, workspace: Workspace) -> list[str]:
        """Gives the ids of all threads of a workspace, empty ones too."""
        return [row[0] for row in self._database.read("SELECT id FROM thread WHERE workspace_id = ?", workspace.id)]

    # -- messages ------------------------------------------------------------------------------------------------------

    def message(self, thread: Thread, message_id: str) -> Message:
        """Gives a message of the thread. Raises `NotFoundError`."""
        row = self._database.read_one(
            f"SELECT {_MESSAGE} FROM message WHERE thread_id = ? AND id = ?", thread.id, message_id
        )
        if row is None:
            raise NotFoundError(f"There is no message {message_id!r} in this thread.")
        return _message(self._database.damage.checked("message", row, id=message_id, thread_id=thread.id))

    def messages(self, thread: Thread, limit: int = -1, before: str | None = None) -> list[Message]:
        """Gives the thread's last messages, oldest first; those before the message `before`, when that is given.

        -1 is no limit. Raises `NotFoundError` when there is no such message.
        """
        below: int = 2**62
        top: int | None = None  # the place of the last of them
        if before is not None:
            row = self._database.read_one(
                "SELECT number, position FROM message WHERE thread_id = ? AND id = ?", thread.id, before
            )
            if row is None:
                raise NotFoundError(f"There is no message {before!r} in this thread.")
            below, top = row[0], row[1] - 1
        rows = self._database.read(
            f"SELECT {_MESSAGE}, position, (SELECT messages FROM thread WHERE id = ?1) FROM message"
            " WHERE thread_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
            thread.id,
            below,
            limit,
        )
        if not rows and limit != 0:
            self._check_none_before(thread, top)
        if rows and rows[0][-1] is None:
            self.thread_by_id(thread.id)  # it is being deleted
            raise self._database.damage.note(f"the thread {thread.slug!r}")
        for index, row in enumerate(rows):
            self._database.damage.checked("message", row[:-2], thread_id=thread.id)
            if row[-2] != (row[-1] if top is None else top) - index:
                raise self._database.damage.note(f"the place of the message {row[0]!r}")
        if rows and len(rows) != limit and rows[-1][-2] != 1:
            raise self._database.damage.note(f"what comes before the message {rows[-1][0]!r}")
        return [_message(row) for row in reversed(rows)]

    def _check_none_before(self, thread: Thread, position: int | None) -> None:
        """Check that no message is missing from the place `position`, or from the thread, although none was found."""
        if position is None:
            (row,) = self._database.read(
                "SELECT coalesce(max(messages), 0) FROM thread WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM message WHERE thread_id = ?1)",
                thread.id,
            )
            position = row[0]
        if position != 0:
            raise self._database.damage.note(f"the messages of the thread {thread.slug!r}")

    def last_message_id(self, thread: Thread) -> str | None:
        """Gives the id of the message that was written last."""
        row = self._database.read_one(
            f"SELECT {_MESSAGE}, position, (SELECT messages FROM thread WHERE id = ?1) FROM message"
            " WHERE thread_id = ?1 ORDER BY number DESC LIMIT 1",
            thread.id,
        )
        if row is None:
            self._check_none_before(thread, None)
            return None
        if row[-2] != row[-1] and row[-1] is not None:
            raise self._database.damage.note(f"the last message of the thread {thread.slug!r}")
        return str(self._database.damage.checked("message", row[:-2], thread_id=thread.id)[0])

    def branch(self, thread: Thread, last_id: str | None, length: int) -> list[Message]:
        """Gives up to `length` messages that end with `last_id`, each followed by the one whose parent it is."""
        rows = self._database.read(
            f"WITH RECURSIVE branch(depth, {_MESSAGE}) AS ("
            f" SELECT 0, {_MESSAGE} FROM message WHERE thread_id = ?1 AND id = ?2 UNION ALL"
            f" SELECT branch.depth + 1, {', '.join('m.' + column for column in _MESSAGE.split(', '))}"
            " FROM branch JOIN message AS m ON m.id = branch.parent_id AND m.thread_id = ?1"
            " WHERE branch.depth + 1 < ?3)"
            f" SELECT {_MESSAGE} FROM branch ORDER BY depth DESC",
            thread.id,
            last_id,
            length,
        )
        for row, parent in zip(rows, [None, *rows[:-1]], strict=True):
            self._database.damage.checked("message", row, thread_id=thread.id)
            if row[_PARENT] != (parent[0] if parent else None) and (parent or len(rows) < length):
                raise self._database.damage.note(f"what comes before the message {row[0]!r}")
        return [_message(row) for row in rows]


# -- pieces of other transactions --------------------------------------------------------------------------------------


def inserting(message: Message) -> Work[None]:
    """Gives the work that writes a message; the thread's time of last activity and its count move with it."""
    values = (
        message.id, message.thread_id, message.parent_id, message.role, message.content, message.sent_at,
        message.run_id, json.dumps(message.details), message.turns,
    )  # fmt: skip

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            f"INSERT INTO message ({_MESSAGE}, position) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " coalesce((SELECT messages + 1 FROM thread WHERE id = ?), 1))",
            (*values, checksums.of_row("message", values), message.thread_id),
        )
        connection.execute(
            "UPDATE thread SET updated_at = ?1, messages = messages + 1, checksum = checksum + 1"
            f" + CAST(?1 * {TICKS} AS INTEGER) - CAST(updated_at * {TICKS} AS INTEGER) WHERE id = ?2",
            (float(message.sent_at), message.thread_id),
        )

    return work


def naming(thread_id: str, name: str, *, only_unnamed: bool = False) -> Work[None]:
    """Gives the work that names a thread; `only_unnamed` leaves a name that somebody gave meanwhile."""

    def work(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT name FROM thread WHERE id = ?", (thread_id,)).fetchone()
        if row is not None and (row[0] is None or not only_unnamed):
            checksums.change(connection, "thread", thread_id, name=name)

    return work


def allowing(workspace_id: str, tool: str, policy: str | None, scope: str | None) -> Work[None]:
    """Gives the work that allows a tool for good in a workspace: within the scope, or else by the policy.

    `policy` None says that the tool's own policy allows it.
    """

    def work(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT tools, allowed FROM workspace WHERE id = ?", (workspace_id,)).fetchone()
        if row is None:
            return  # deleted meanwhile
        tools, allowed = msgspec.json.decode(row[0]), msgspec.json.decode(row[1])
        if scope is not None:
            allowed[tool] = sorted({*allowed.get(tool, []), scope})
        else:
            tools.pop(tool, None)
            tools |= {tool: policy} if policy else {}
        checksums.change(connection, "workspace", workspace_id, tools=json.dumps(tools), allowed=json.dumps(allowed))

    return work


def _insert_thread(connection: sqlite3.Connection, workspace_id: str, slug: str, name: str | None) -> None:
    # OR IGNORE: the default thread may be deleted by two at once.
    now = time.time()
    values = (str(uuid.uuid4()), workspace_id, slug, name, now, now, 0)
    connection.execute(
        f"INSERT OR IGNORE INTO thread ({_THREAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, checksums.of_row("thread", values)),
    )


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:50].strip("-")


def _free_slug(connection: sqlite3.Connection, wanted: str) -> str:
    taken = {row[0] for row in connection.execute("SELECT slug FROM workspace WHERE slug LIKE ?", (wanted + "%",))}
    slug, number = wanted, 1
    while slug in taken:
        number += 1
        slug = f"{wanted}-{number}"
    return slug
