"""Each change of `store.base` as statements: pieces of a transaction, in the writer thread."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec

from deechat.errors import NotFoundError
from deechat.store import base
from deechat.store.base import GIVEN_UP, Change
from deechat.store.sqlite import checksums, compaction, events
from deechat.store.sqlite.checksums import COVERED, TICKS

_MESSAGE = COVERED["message"].columns
_SUMMARY = COVERED["summary"].columns
Permissions = Callable[[dict[str, list[str]]], dict[str, Any]]  # from the scopes to changes of `update_permissions`


def apply(connection: sqlite3.Connection, change: Change) -> int:
    """Write a change; return how many rows of events are not needed any more."""
    return _APPLY[type(change)](connection, change) or 0


def _insert_message(connection: sqlite3.Connection, change: base.InsertMessage) -> None:
    message = change.message
    values = (
        message.id, message.thread_id, message.parent_id, message.role, message.content, message.sent_at,
        message.run_id, json.dumps(message.details), message.turns,
    )  # fmt: skip
    connection.execute(
        f"INSERT INTO message ({_MESSAGE}, position) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
        " coalesce((SELECT messages + 1 FROM thread WHERE id = ?), 1))",
        (*values, checksums.of_row("message", values), message.thread_id),
    )
    connection.execute(
        "UPDATE thread SET updated_at = ?, messages = messages + 1, checksum = checksum + 1"
        f" + CAST(? * {TICKS} AS INTEGER) - CAST(updated_at * {TICKS} AS INTEGER) WHERE id = ?",
        (float(message.sent_at), float(message.sent_at), message.thread_id),
    )


def _change_message(connection: sqlite3.Connection, change: base.ChangeMessage) -> None:
    message = change.message
    row = connection.execute("SELECT run_id, content FROM message WHERE id = ?", (message.id,)).fetchone()
    if row is not None and row[0] is not None and row[1] != message.content:
        compaction.keep_text(connection, row[0])
    checksums.change(
        connection,
        "message",
        message.id,
        parent_id=message.parent_id,
        content=message.content,
        details=json.dumps(message.details),
        turns=message.turns,
    )


def _name_thread(connection: sqlite3.Connection, change: base.NameThread) -> None:
    row = connection.execute("SELECT name FROM thread WHERE id = ?", (change.thread_id,)).fetchone()
    if row is not None and (row[0] is None or not change.only_unnamed):
        checksums.change(connection, "thread", change.thread_id, name=change.name)


def _keep_summary(connection: sqlite3.Connection, change: base.KeepSummary) -> None:
    values = (change.message_id, change.text)
    connection.execute(
        f"INSERT OR IGNORE INTO summary ({_SUMMARY}) SELECT ?, ?, ? FROM message WHERE id = ?",
        (*values, checksums.of_row("summary", values), change.message_id),
    )


def _allow_tool(connection: sqlite3.Connection, change: base.AllowTool) -> None:
    row = connection.execute("SELECT workspace_id FROM thread WHERE id = ?", (change.thread_id,)).fetchone()
    if row is not None:
        change_permissions(
            connection, row[0], lambda allowed: base.allowance(change.tool, change.policy, change.scope, allowed)
        )


def change_permissions(connection: sqlite3.Connection, workspace_id: str, changes: Permissions) -> None:
    """Change a workspace's policies and scopes, as they are by then: two changes at once are both kept."""
    row = connection.execute("SELECT tools, allowed FROM workspace WHERE id = ?", (workspace_id,)).fetchone()
    if row is None:
        return  # deleted meanwhile
    tools, allowed = msgspec.json.decode(row[0]), msgspec.json.decode(row[1])
    base.update_permissions(tools, allowed, changes(allowed))
    checksums.change(connection, "workspace", workspace_id, tools=json.dumps(tools), allowed=json.dumps(allowed))


def _begin_run(connection: sqlite3.Connection, change: base.BeginRun) -> None:
    run = change.run
    values = (
        run.id, run.thread_id, run.message_id, run.parent_id, run.continues, run.client_request_id,
        run.model, run.language, run.started_at,
    )  # fmt: skip
    row = connection.execute(
        "INSERT INTO run (id, thread_id, message_id, parent_id, continues, client_request_id, model, language,"
        " started_at, checksum) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
        " FROM thread JOIN workspace ON workspace.id = workspace_id"
        " WHERE thread.id = ? AND thread.deleted_at IS NULL AND workspace.deleted_at IS NULL",
        (*values, checksums.of_row("run", (*values, None, None, None, 0, 0)), run.thread_id),
    )
    if row.rowcount != 1:
        raise NotFoundError("The thread was deleted.")
    events.insert_rows(connection, run.id, change.rows)


def _note_retries(connection: sqlite3.Connection, change: base.NoteRetries) -> None:
    _move(connection, change.run_id, "retries", change.retries)


def _rest_run(connection: sqlite3.Connection, change: base.RestRun) -> int:
    dead = compaction.compact(connection, change.run_id, change.entries)
    _move(connection, change.run_id, "rests", 1)
    checksums.change(connection, "run", change.run_id, asks=json.dumps(change.asks))
    return dead


def _wake_run(connection: sqlite3.Connection, change: base.WakeRun) -> None:
    _move(connection, change.run_id, "rests", 0)


def _move(connection: sqlite3.Connection, run_id: str, column: str, value: int) -> None:
    connection.execute(
        f"UPDATE run SET {column} = :value, checksum = checksum + :value - {column} WHERE id = :id",
        {"value": value, "id": run_id},
    )


def _end_run(connection: sqlite3.Connection, change: base.EndRun) -> None:
    checksums.change(connection, "run", change.run_id, ended_at=change.at, reason=change.reason)


def _give_up_run(connection: sqlite3.Connection, change: base.GiveUpRun) -> None:
    if connection.execute("SELECT 1 FROM run WHERE id = ? AND ended_at IS NULL", (change.run_id,)).fetchone():
        checksums.change(connection, "run", change.run_id, ended_at=time.time(), reason=GIVEN_UP)


def give_up_damaged(connection: sqlite3.Connection, thread_id: str) -> list[str]:
    """End a thread's open run whose row is damaged, and return its id. Its checksum is left as it is."""
    # By its number: the id may be what is damaged.
    rows = connection.execute(
        "SELECT rowid, id FROM run WHERE thread_id = ? AND ended_at IS NULL", (thread_id,)
    ).fetchall()
    for number, _ in rows:
        connection.execute("UPDATE run SET ended_at = ?, reason = ? WHERE rowid = ?", (time.time(), GIVEN_UP, number))
    return [run_id for _, run_id in rows]


def _compact_log(connection: sqlite3.Connection, change: base.CompactLog) -> int:
    return compaction.compact(connection, change.run_id, change.entries)


_APPLY: dict[type, Callable[[sqlite3.Connection, Any], int | None]] = {
    base.InsertMessage: _insert_message,
    base.ChangeMessage: _change_message,
    base.NameThread: _name_thread,
    base.KeepSummary: _keep_summary,
    base.AllowTool: _allow_tool,
    base.BeginRun: _begin_run,
    base.NoteRetries: _note_retries,
    base.RestRun: _rest_run,
    base.WakeRun: _wake_run,
    base.EndRun: _end_run,
    base.GiveUpRun: _give_up_run,
    base.CompactLog: _compact_log,
}
