"""Workspaces, threads, messages and log-ins: what a person has, apart from runs and their logs."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Any, TypeVar

import msgspec

from deechat.errors import ConflictError, NotFoundError
from deechat.principal import Principal
from deechat.store.base import (
    DEFAULT_THREAD,
    HIDDEN,
    NEWEST,
    OLDEST,
    PAGE_BYTES,
    NameThread,
    Page,
    Position,
    StoredMessage,
    Thread,
    Workspace,
    followed,
    slug_of,
)
from deechat.store.sqlite import checksums
from deechat.store.sqlite.changes import apply, change_permissions
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database, Row
from deechat.store.sqlite.deletion import Deletion

_WORKSPACE = COVERED["workspace"].columns
_THREAD = COVERED["thread"].columns
_OF_THREAD = COVERED["thread"].columns_of("thread")
_WORKSPACE_AND_THREAD = f"{COVERED['workspace'].columns_of('workspace')}, {_OF_THREAD}"
_CHANGEABLE = ("name", "system_prompt", "model", "mode", "temperature", "max_tokens", "context", "transport")
_MESSAGE = COVERED["message"].columns
_SUMMARY = COVERED["summary"].columns
_PARENT = COVERED["message"].fixed.index("parent_id")
_OWNER = COVERED["workspace"].names.index("owner")
_WIDTH = len(_WORKSPACE.split(", "))
_DELETED = {table: COVERED[table].fixed.index("deleted_at") for table in ("workspace", "thread")}
_T = TypeVar("_T")

# The condition of the index of listed threads, word for word.
LISTED = f"deleted_at IS NULL AND slug NOT GLOB '{HIDDEN}*'"

# Conditions of a statement, with an id and the id of the principal as its values.
IS_OWN_WORKSPACE = "EXISTS (SELECT 1 FROM workspace WHERE id = ? AND owner = ?)"
IS_OWN_THREAD = (
    "EXISTS (SELECT 1 FROM thread AS t CROSS JOIN workspace AS w ON w.id = t.workspace_id"
    " WHERE t.id = ? AND w.owner = ?)"
)


def _size(*texts: object) -> int:
    """Return how many bytes some texts take; what is none, as in a damaged row, takes nothing."""
    return sum([len(text) if text.isascii() else len(text.encode()) for text in texts if isinstance(text, str)])


def _one_more(limit: int) -> int:
    return limit + 1 if limit >= 0 else limit


def _limited(page: Page[_T], limit: int, *, more: bool) -> Page[_T]:
    """Leave the one out that was read beyond the limit."""
    page.more = more or 0 <= limit < len(page)
    del page[limit if limit >= 0 else len(page) :]
    return page


def _workspace(row: Row) -> Workspace:
    return Workspace(
        *(*row[:7], msgspec.json.decode(row[7]), msgspec.json.decode(row[8]), *row[9:11], row[_OWNER], row[12], row[14])
    )


def _thread(row: Row) -> Thread:
    return Thread(*(*row[:5], row[6]))


def _message(row: Row) -> StoredMessage:
    return StoredMessage(*(*row[:7], msgspec.json.decode(row[7]), row[8]))


class Conversations:
    """The part of the store that has workspaces, threads, messages and log-ins."""

    database: Database
    deletion: Deletion

    # -- workspaces ----------------------------------------------------------------------------------------------------

    def workspaces(self, principal: Principal, limit: int = -1, after: Position = OLDEST) -> Page[Workspace]:
        rows = self._page(
            f"SELECT {_WORKSPACE} FROM workspace"
            " WHERE owner = ? AND deleted_at IS NULL AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
            (principal.id, *after, _one_more(limit)),
            lambda row: _size(row[3]),
        )
        return self._sound("workspace", _limited(rows, limit, more=rows.more), _workspace)

    def _sound(self, table: str, rows: Page[Row], make: Callable[[Row], _T]) -> Page[_T]:
        page = Page(make(row) for row in self.database.damage.sound(table, rows))
        page.more = rows.more and bool(page)
        return page

    def workspace(self, principal: Principal, slug: str) -> Workspace:
        row = self.database.read_one(f"SELECT {_WORKSPACE} FROM workspace WHERE slug = ?", slug)
        # The owner is compared after the row was checked: a bit that was flipped must hide nothing.
        if row is None or self._is_deleted("workspace", row, slug=slug) or row[_OWNER] != principal.id:
            raise NotFoundError(f"There is no workspace {slug!r}.")
        return _workspace(row)

    def _is_deleted(self, table: str, row: Row, **expected: object) -> bool:
        """Say whether a row is marked as deleted. Raises `DamagedError`: a bit that was flipped must hide nothing."""
        return self.database.damage.checked(table, row, **expected)[_DELETED[table]] is not None

    def workspace_by_id(self, principal: Principal, workspace_id: str) -> Workspace:
        row = self.database.read_one(f"SELECT {_WORKSPACE} FROM workspace WHERE id = ?", workspace_id)
        if row is None or self._is_deleted("workspace", row, id=workspace_id) or row[_OWNER] != principal.id:
            raise NotFoundError("The workspace was deleted.")
        return _workspace(row)

    def workspace_of(self, thread_id: str) -> Workspace:
        row = self.database.read_one(
            f"SELECT {_WORKSPACE_AND_THREAD}"
            " FROM thread JOIN workspace ON workspace.id = workspace_id WHERE thread.id = ?",
            thread_id,
        )
        if row is None or self._is_deleted("thread", row[_WIDTH:], id=thread_id):
            raise NotFoundError("The thread was deleted.")
        if self._is_deleted("workspace", row[:_WIDTH]):
            raise NotFoundError("The workspace was deleted.")
        return _workspace(row)

    def new_workspace(self, principal: Principal, name: str) -> Workspace:
        def work(connection: sqlite3.Connection) -> str:
            slug, workspace_id = _free_slug(connection, slug_of(name)), str(uuid.uuid4())
            now, owner = time.time(), principal.id
            values = (workspace_id, slug, name, "", None, "agent", None, "{}", "{}", None, now, None, 0, owner, "")
            connection.execute(
                f"INSERT INTO workspace ({_WORKSPACE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, checksums.of_row("workspace", values)),
            )
            _insert_thread(connection, principal, workspace_id, DEFAULT_THREAD, None)
            return slug

        return self.workspace(principal, self.database.write(work))

    def update_workspace(self, principal: Principal, workspace: Workspace, **changes: Any) -> Workspace:
        columns = {name: changes[name] for name in _CHANGEABLE if name in changes}
        has_permissions = not changes.keys().isdisjoint({"tools", "policies", "allowed", "revoked"})

        def work(connection: sqlite3.Connection) -> None:
            _check_workspace(connection, principal, workspace.id)
            if columns:
                checksums.change(connection, "workspace", workspace.id, **columns)
            if has_permissions:
                change_permissions(connection, workspace.id, lambda _allowed: changes)

        self.database.write(work)
        return self.workspace(principal, workspace.slug)

    def is_last(self, principal: Principal, workspace: Workspace) -> bool:
        return self.database.look(lambda connection: _is_last(connection, principal, workspace.id))

    def delete_workspace(self, principal: Principal, workspace: Workspace, damaged: Collection[str] = ()) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            _check_workspace(connection, principal, workspace.id)
            if _is_last(connection, principal, workspace.id):
                raise ConflictError("The last workspace cannot be deleted.", code="last_workspace")
            open_runs = connection.execute(
                "SELECT run.id FROM thread CROSS JOIN run ON run.thread_id = thread.id AND run.ended_at IS NULL"
                " WHERE thread.workspace_id = ? AND thread.deleted_at IS NULL LIMIT ?",
                (workspace.id, 100 + len(damaged)),
            ).fetchall()
            open_runs = [row for row in open_runs if row[0] not in damaged]
            if not open_runs:  # no name has a blank in its slug, so this one takes the place of none
                slug = f"deleted {workspace.id}"
                checksums.change(connection, "workspace", workspace.id, deleted_at=time.time(), slug=slug)
            return [row[0] for row in open_runs]

        open_runs = self.database.write(work)
        if not open_runs:
            self.deletion.wake()
        return open_runs

    # -- threads -------------------------------------------------------------------------------------------------------

    def threads(
        self, principal: Principal, workspace: Workspace, limit: int = -1, after: Position = NEWEST
    ) -> Page[Thread]:
        rows = self._page(
            f"SELECT {_THREAD} FROM thread WHERE workspace_id = ? AND {IS_OWN_WORKSPACE} AND {LISTED}"
            " AND (updated_at, id) < (?, ?) AND (slug != ? OR EXISTS"
            " (SELECT 1 FROM message WHERE message.thread_id = thread.id)) ORDER BY updated_at DESC, id DESC LIMIT ?",
            (workspace.id, workspace.id, principal.id, *after, DEFAULT_THREAD, _one_more(limit)),
            lambda row: _size(row[3]),
        )
        return self._sound("thread", _limited(rows, limit, more=rows.more), _thread)

    def _page(self, sql: str, values: tuple[object, ...], size: Callable[[Row], int]) -> Page[Row]:
        """Return the query's first rows: as many as fit into `PAGE_BYTES` by `size`, but one in any case."""

        def work(connection: sqlite3.Connection) -> Page[Row]:
            page, left = Page[Row](), PAGE_BYTES
            with closing(connection.execute(sql, values)) as rows:
                for row in rows:
                    left -= size(row)
                    if page and left < 0:
                        page.more = True
                        break
                    page.append(row)
            return page

        return self.database.look(work)

    def thread(self, principal: Principal, workspace: Workspace, slug: str) -> Thread:
        row = self.database.read_one(
            f"SELECT {_THREAD} FROM thread WHERE workspace_id = ? AND slug = ? AND {IS_OWN_WORKSPACE}",
            workspace.id,
            slug,
            workspace.id,
            principal.id,
        )
        if row is None or self._is_deleted("thread", row, slug=slug, workspace_id=workspace.id):
            raise NotFoundError(f"There is no thread {slug!r} in the workspace {workspace.slug!r}.")
        return _thread(row)

    def thread_by_id(self, principal: Principal, thread_id: str) -> Thread:
        row = self.database.read_one(
            f"SELECT {_OF_THREAD}, workspace.deleted_at, workspace.owner"
            " FROM thread JOIN workspace ON workspace.id = workspace_id WHERE thread.id = ?",
            thread_id,
        )
        if row is None or self._is_deleted("thread", row[:-2], id=thread_id):
            raise NotFoundError("The thread was deleted.")
        if row[-2:] != (None, principal.id):
            self.workspace_by_id(principal, row[1])  # raises what is true
        return _thread(row)

    def new_thread(
        self, principal: Principal, workspace: Workspace, name: str | None, slug: str | None = None
    ) -> Thread:
        place = slug or str(uuid.uuid4())
        self.database.write(lambda connection: _insert_thread(connection, principal, workspace.id, place, name))
        return self.thread(principal, workspace, place)

    def rename_thread(self, principal: Principal, thread: Thread, name: str) -> Thread:
        def work(connection: sqlite3.Connection) -> None:
            _check_thread(connection, principal, thread.id)
            apply(connection, NameThread(thread.id, name))

        self.database.write(work)
        return self.thread_by_id(principal, thread.id)

    def delete_thread(self, principal: Principal, thread: Thread, damaged: Collection[str] = ()) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            _check_thread(connection, principal, thread.id)
            open_runs = connection.execute(
                "SELECT id FROM run WHERE thread_id = ? AND ended_at IS NULL", (thread.id,)
            ).fetchall()
            open_runs = [row for row in open_runs if row[0] not in damaged]
            if not open_runs:
                slug = f"deleted {thread.id}"
                checksums.change(connection, "thread", thread.id, deleted_at=time.time(), slug=slug)
                if thread.slug == DEFAULT_THREAD:
                    _insert_thread(connection, principal, thread.workspace_id, DEFAULT_THREAD, None)
            return [row[0] for row in open_runs]

        open_runs = self.database.write(work)
        if not open_runs:
            self.deletion.wake()
        return open_runs

    # -- messages ------------------------------------------------------------------------------------------------------

    def message(self, principal: Principal, thread: Thread, message_id: str) -> StoredMessage:
        row = self.database.read_one(
            f"SELECT {_MESSAGE} FROM message WHERE thread_id = ? AND id = ? AND {IS_OWN_THREAD}",
            thread.id,
            message_id,
            thread.id,
            principal.id,
        )
        if row is None:
            raise NotFoundError(f"There is no message {message_id!r} in this thread.")
        return _message(self.database.damage.checked("message", row, id=message_id, thread_id=thread.id))

    def message_by_id(self, principal: Principal, message_id: str) -> StoredMessage:
        row = self.database.read_one(f"SELECT {_MESSAGE} FROM message WHERE id = ?", message_id)
        if row is None:
            raise NotFoundError(f"There is no message {message_id!r}.")
        message = _message(self.database.damage.checked("message", row, id=message_id))
        self.thread_by_id(principal, message.thread_id)
        return message

    def messages(
        self, principal: Principal, thread: Thread, limit: int = -1, before: str | None = None
    ) -> Page[StoredMessage]:
        below: int = 2**62
        top: int | None = None  # the place of the last of them
        if before is not None:
            row = self.database.read_one(
                f"SELECT number, position FROM message WHERE thread_id = ? AND id = ? AND {IS_OWN_THREAD}",
                thread.id,
                before,
                thread.id,
                principal.id,
            )
            if row is None:
                raise NotFoundError(f"There is no message {before!r} in this thread.")
            if not isinstance(row[1], int):
                raise self.database.damage.note(f"the place of the message {before!r}")
            below, top = row[0], row[1] - 1
        rows = self._page(
            f"SELECT {_MESSAGE}, position, (SELECT messages FROM thread WHERE id = ?) FROM message"
            f" WHERE thread_id = ? AND number < ? AND {IS_OWN_THREAD} ORDER BY number DESC LIMIT ?",
            (thread.id, thread.id, below, thread.id, principal.id, limit),
            lambda row: _size(row[4], row[7]),
        )
        if not rows and limit != 0:
            self._check_none_before(thread, top)
        if rows and not isinstance(rows[0][-1], int):
            self.thread_by_id(principal, thread.id)  # it is being deleted
            raise self.database.damage.note(f"the thread {thread.slug!r}")
        for index, row in enumerate(rows):
            self.database.damage.checked("message", row[:-2], thread_id=thread.id)
            if row[-2] != (row[-1] if top is None else top) - index:
                raise self.database.damage.note(f"the place of the message {row[0]!r}")
        page = Page(_message(row) for row in reversed(rows))
        page.more = bool(rows) and rows[-1][-2] != 1
        if page.more and not rows.more and len(rows) != limit:
            raise self.database.damage.note(f"what comes before the message {rows[-1][0]!r}")
        return page

    def _check_none_before(self, thread: Thread, position: int | None) -> None:
        """Check that no message is missing from the place `position`, or from the thread, although none was found."""
        if position is None:
            (row,) = self.database.read(
                "SELECT coalesce(max(messages), 0) FROM thread WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM message WHERE thread_id = ?)",
                thread.id,
                thread.id,
            )
            position = row[0]
        if position != 0:
            raise self.database.damage.note(f"the messages of the thread {thread.slug!r}")

    def last_message_id(self, principal: Principal, thread: Thread) -> str | None:
        row = self.database.read_one(
            f"SELECT {_MESSAGE}, position, (SELECT messages FROM thread WHERE id = ?) FROM message"
            f" WHERE thread_id = ? AND {IS_OWN_THREAD} ORDER BY number DESC LIMIT 1",
            *(thread.id, thread.id, thread.id, principal.id),
        )
        if row is None:
            self._check_none_before(thread, None)
            return None
        if row[-2] != row[-1] and row[-1] is not None:
            raise self.database.damage.note(f"the last message of the thread {thread.slug!r}")
        return followed(_message(self.database.damage.checked("message", row[:-2], thread_id=thread.id)))

    def branch(self, principal: Principal, thread_id: str, last_id: str | None, length: int) -> list[StoredMessage]:
        rows = self.database.read(
            f"WITH RECURSIVE branch(depth, {_MESSAGE}) AS ("
            f" SELECT 0, {_MESSAGE} FROM message WHERE thread_id = ? AND id = ? AND {IS_OWN_THREAD} UNION ALL"
            f" SELECT branch.depth + 1, {', '.join('m.' + column for column in _MESSAGE.split(', '))}"
            " FROM branch JOIN message AS m ON m.id = branch.parent_id AND m.thread_id = ?"
            " WHERE branch.depth + 1 < ?)"
            f" SELECT {_MESSAGE} FROM branch ORDER BY depth DESC",
            *(thread_id, last_id, thread_id, principal.id, thread_id, length),
        )
        for row, parent in zip(rows, [None, *rows], strict=False):
            self.database.damage.checked("message", row, thread_id=thread_id)
            if row[_PARENT] != (parent[0] if parent else None) and (parent or len(rows) < length):
                raise self.database.damage.note(f"what comes before the message {row[0]!r}")
        return [_message(row) for row in rows]

    def summary(self, principal: Principal, messages: Sequence[StoredMessage]) -> tuple[int, str] | None:
        marks = ",".join("?" * len(messages))
        ids = [message.id for message in messages]
        rows = self.database.read(
            f"SELECT {COVERED['summary'].columns_of('summary')} FROM summary"
            " CROSS JOIN message ON message.id = message_id CROSS JOIN thread ON thread.id = thread_id"
            f" CROSS JOIN workspace ON workspace.id = workspace_id WHERE message_id IN ({marks}) AND owner = ?",
            *ids,
            principal.id,
        )
        sound = self.database.damage.sound("summary", rows)
        return max(((ids.index(row[0]), row[1]) for row in sound), default=None)

    # -- log-ins -------------------------------------------------------------------------------------------------------

    def ended_logins(self) -> dict[str, float]:
        return dict(self.database.read("SELECT digest, until FROM ended_login"))

    def end_login(self, digest: str, until: float) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM ended_login WHERE until < ?", (time.time(),))
            connection.execute("INSERT OR REPLACE INTO ended_login (digest, until) VALUES (?, ?)", (digest, until))

        self.database.write(work)


# -- pieces of transactions --------------------------------------------------------------------------------------------


def _check_workspace(connection: sqlite3.Connection, principal: Principal, workspace_id: str) -> None:
    """Raise `NotFoundError` unless the workspace is there and the principal's."""
    found = connection.execute(
        "SELECT 1 FROM workspace WHERE id = ? AND owner = ? AND deleted_at IS NULL", (workspace_id, principal.id)
    ).fetchone()
    if found is None:
        raise NotFoundError("The workspace was deleted.")


def _check_thread(connection: sqlite3.Connection, principal: Principal, thread_id: str) -> None:
    """Raise `NotFoundError` when the thread is another's."""
    owner = connection.execute(
        "SELECT owner FROM thread JOIN workspace ON workspace.id = workspace_id WHERE thread.id = ?", (thread_id,)
    ).fetchone()
    if owner not in {None, (principal.id,)}:
        raise NotFoundError("The thread was deleted.")


def _insert_thread(
    connection: sqlite3.Connection, principal: Principal, workspace_id: str, slug: str, name: str | None
) -> None:
    # OR IGNORE: the default thread may be deleted by two at once, and one of a given slug be made by two.
    now = time.time()
    values = (str(uuid.uuid4()), workspace_id, slug, name, now, None, now, 0)
    connection.execute(
        f"INSERT OR IGNORE INTO thread ({_THREAD})"
        " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? FROM workspace WHERE id = ? AND owner = ? AND deleted_at IS NULL",
        (*values, checksums.of_row("thread", values), workspace_id, principal.id),
    )


def _is_last(connection: sqlite3.Connection, principal: Principal, workspace_id: str) -> bool:
    first = connection.execute(
        "SELECT id FROM workspace WHERE owner = ? AND deleted_at IS NULL ORDER BY created_at, id LIMIT 2",
        (principal.id,),
    ).fetchall()
    return first == [(workspace_id,)]


def _free_slug(connection: sqlite3.Connection, wanted: str) -> str:
    """Return the slug itself, or else one with a number: found by halves, since very many may have the same name."""

    def is_taken(number: int) -> bool:
        slug = _numbered(wanted, number)
        return connection.execute("SELECT 1 FROM workspace WHERE slug = ?", (slug,)).fetchone() is not None

    free = 1
    while is_taken(free):
        free *= 2
    taken = free // 2
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(middle) else (taken, middle)
    return _numbered(wanted, free)


def _numbered(slug: str, number: int) -> str:
    return slug if number == 1 else f"{slug}-{number}"
