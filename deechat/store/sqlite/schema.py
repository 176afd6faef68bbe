"""The tables, and how a database of an earlier version becomes one of this version.

A migration is never changed once it was released; a new one is added below it. It calls only code that is as old.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import closing
from itertools import chain
from pathlib import Path

from sqlite_utils import Database as Tables
from sqlite_utils import Migrations

from deechat.errors import SettingError
from deechat.store.sqlite import checksums, first_blocks
from deechat.store.sqlite.integrity import RESTORE

migrations = Migrations("deechat")

FIRST_TABLES = """
CREATE TABLE workspace (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    system_prompt TEXT NOT NULL DEFAULT '',
    model TEXT,
    mode TEXT NOT NULL DEFAULT 'agent',
    temperature REAL,
    tools TEXT NOT NULL DEFAULT '{}',      -- JSON: tool name to policy, only what differs from the default
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE thread (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace(id) ON DELETE CASCADE,
    slug TEXT NOT NULL,
    name TEXT,                             -- NULL until somebody, or the first prompt, names it
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (workspace_id, slug)
) STRICT;

CREATE TABLE run (
    id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL REFERENCES thread(id) ON DELETE CASCADE,
    message_id TEXT NOT NULL UNIQUE,       -- of the assistant's message that it makes
    parent_id TEXT NOT NULL,               -- of the message that its answer follows: the prompt
    continues TEXT,                        -- the run that it goes on from
    client_request_id TEXT,
    model TEXT,
    language TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,                         -- NULL: not ended
    reason TEXT,
    UNIQUE (thread_id, client_request_id)
) STRICT;
CREATE UNIQUE INDEX run_open ON run(thread_id) WHERE ended_at IS NULL;

CREATE TABLE event (
    run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,                  -- from 1, without gaps
    at REAL NOT NULL,
    body BLOB NOT NULL,                    -- deechat.events.encode
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    number INTEGER PRIMARY KEY,            -- the order in which they were written
    id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL REFERENCES thread(id) ON DELETE CASCADE,
    parent_id TEXT,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    sent_at REAL NOT NULL,
    run_id TEXT REFERENCES run(id) ON DELETE CASCADE,
    details TEXT NOT NULL DEFAULT '{}',    -- JSON: the further fields of an assistant's message
    turns TEXT NOT NULL DEFAULT '[]'       -- JSON: what the model is shown of it in later turns
) STRICT;
CREATE INDEX message_by_thread ON message(thread_id, number);
CREATE INDEX message_by_run ON message(run_id);

-- Written to see whether writing works.
CREATE TABLE pulse (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL) STRICT;
"""


@migrations()
def m001_first_tables(tables: Tables) -> None:
    for statement in _statements(FIRST_TABLES):
        tables.execute(statement)
    now = time.time()
    workspace = str(uuid.uuid4())
    tables.execute(
        "INSERT INTO workspace (id, slug, name, created_at) VALUES (?, 'default', 'DeeChat', ?)", (workspace, now)
    )
    tables.execute(
        "INSERT INTO thread (id, workspace_id, slug, created_at, updated_at) VALUES (?, ?, 'default', ?, ?)",
        (str(uuid.uuid4()), workspace, now, now),
    )
    tables.execute("INSERT INTO pulse (id, at) VALUES (1, ?)", (now,))


@migrations()
def m002_going_on(tables: Tables) -> None:
    # How often a run was entered again since its last whole step because the process had died.
    tables.execute("ALTER TABLE run ADD COLUMN retries INTEGER NOT NULL DEFAULT 0")
    # 1: it waits for a person and has nothing else to do, so a start need not look into its log.
    tables.execute("ALTER TABLE run ADD COLUMN rests INTEGER NOT NULL DEFAULT 0")
    # JSON: tool name to what a person has allowed of it for good, such as hosts.
    tables.execute("ALTER TABLE workspace ADD COLUMN allowed TEXT NOT NULL DEFAULT '{}'")
    # When a process took the database, and when it let go of it; NULL after that, until it has.
    tables.execute("ALTER TABLE pulse ADD COLUMN started_at REAL")
    tables.execute("ALTER TABLE pulse ADD COLUMN closed_at REAL")


LOGS_IN_BLOCKS = """
CREATE TABLE block (
    run_id TEXT PRIMARY KEY REFERENCES run(id) ON DELETE CASCADE,
    last_seq INTEGER NOT NULL,
    body BLOB NOT NULL                     -- deechat.blocks.pack: the log from its first entry up to `last_seq`
) STRICT;

CREATE TABLE appended (
    number INTEGER PRIMARY KEY,            -- the order in which they were written
    run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,                  -- from 1, without gaps; what a block has too is as good as gone
    at REAL NOT NULL,
    body BLOB NOT NULL                     -- deechat.events.encode
) STRICT;
INSERT INTO appended (run_id, seq, at, body) SELECT run_id, seq, at, body FROM event ORDER BY run_id, seq;
DROP TABLE event;
ALTER TABLE appended RENAME TO event;
"""


@migrations()
def m003_logs_in_blocks(tables: Tables) -> None:
    for statement in _statements(LOGS_IN_BLOCKS):
        tables.execute(statement)


COST_BY_SIZE = """
-- Deleted: gone for everybody, and removed slice by slice.
ALTER TABLE workspace ADD COLUMN deleted_at REAL;
ALTER TABLE thread ADD COLUMN deleted_at REAL;
-- JSON: where in the log the requests stand that a run which rests waits for; NULL: its log tells.
ALTER TABLE run ADD COLUMN asks TEXT;
-- Only what has no rows rests: earlier versions left it so when a message joined.
UPDATE run SET rests = 0 WHERE rests = 1 AND id IN (SELECT run_id FROM event);

CREATE INDEX workspace_listed ON workspace(created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspace_deleted ON workspace(id) WHERE deleted_at IS NOT NULL;
CREATE INDEX thread_listed ON thread(workspace_id, updated_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX thread_deleted ON thread(id) WHERE deleted_at IS NOT NULL;
CREATE INDEX run_by_thread ON run(thread_id);
CREATE INDEX run_at_work ON run(started_at) WHERE ended_at IS NULL AND rests = 0;

-- Without a foreign key: nothing finds the rows of one run but a look at all, so the sweep removes those of gone runs.
CREATE TABLE rows_of_events (
    number INTEGER PRIMARY KEY,            -- the order in which they were written
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,                  -- from 1, without gaps; what a block has too is as good as gone
    at REAL NOT NULL,
    body BLOB NOT NULL                     -- deechat.events.encode
) STRICT;
INSERT INTO rows_of_events SELECT number, run_id, seq, at, body FROM event ORDER BY number;
DROP TABLE event;
ALTER TABLE rows_of_events RENAME TO event;

ALTER TABLE block RENAME TO whole_log;
CREATE TABLE block (
    run_id TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE,
    last_seq INTEGER NOT NULL,
    body BLOB NOT NULL,                    -- deechat.blocks.pack: from where the block before ends up to `last_seq`
    PRIMARY KEY (run_id, last_seq)
) STRICT;
"""
SMALL_BLOCK = 100_000  # bytes


@migrations()
def m004_cost_by_size(tables: Tables) -> None:
    for statement in _statements(COST_BY_SIZE):
        tables.execute(statement)
    small = f"last_seq <= {first_blocks.ENTRIES} AND length(body) <= {SMALL_BLOCK}"
    tables.execute(f"INSERT INTO block SELECT run_id, last_seq, body FROM whole_log WHERE {small}")
    tables.execute(f"DELETE FROM whole_log WHERE {small}")  # m008 makes several of each that is left


@migrations()
def m005_steady_start(tables: Tables) -> None:
    # When a process took the database on the clock that counts evenly, and in which boot of the machine.
    tables.execute("ALTER TABLE pulse ADD COLUMN steady_at REAL")
    tables.execute("ALTER TABLE pulse ADD COLUMN boot TEXT")


@migrations()
def m006_ended_logins(tables: Tables) -> None:
    # Log-in cookies that a log-out made worthless. `until`: when they would have ended by themselves.
    tables.execute("CREATE TABLE ended_login (digest TEXT PRIMARY KEY, until REAL NOT NULL) STRICT, WITHOUT ROWID")


@migrations()
def m007_max_tokens(tables: Tables) -> None:
    # How many tokens the model may answer with; NULL: the server's default.
    tables.execute("ALTER TABLE workspace ADD COLUMN max_tokens INTEGER")


CHECKSUMS = """
ALTER TABLE workspace ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;  -- deechat.checksums, here and below
ALTER TABLE thread ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE thread ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;     -- how many it has
ALTER TABLE run ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE block ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN position INTEGER NOT NULL DEFAULT 0;    -- in its thread, from 1, without gaps
ALTER TABLE pulse ADD COLUMN tables INTEGER;                           -- the checksum of the tables' definitions
"""


@migrations()
def m008_checksums(tables: Tables) -> None:
    for statement in _statements(CHECKSUMS):
        tables.execute(statement)
    checksums.fill(tables.conn)
    for (row,) in tables.execute("SELECT rowid FROM whole_log").fetchall():
        found = tables.execute("SELECT run_id, last_seq, body FROM whole_log WHERE rowid = ?", (row,)).fetchone()
        first_blocks.compact_whole(tables.conn, *found)
    tables.execute("DROP TABLE whole_log")
    first_blocks.compact_rows(tables.conn)


CONTEXTS = """
-- How many tokens the model reads at once; 0: what its server tells, or the server's default.
ALTER TABLE workspace ADD COLUMN context INTEGER NOT NULL DEFAULT 0;
CREATE TABLE summary (
    message_id TEXT PRIMARY KEY REFERENCES message(id) ON DELETE CASCADE,
    text TEXT NOT NULL,                    -- what the model wrote of the branch up to this message
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@migrations()
def m009_contexts(tables: Tables) -> None:
    for statement in _statements(CONTEXTS):
        tables.execute(statement)


OWNERS = """
-- The id of the principal that owns the workspace. Rows of before belong to the one person of then.
ALTER TABLE workspace ADD COLUMN owner TEXT NOT NULL DEFAULT 'owner';
DROP INDEX workspace_listed;
CREATE INDEX workspace_listed ON workspace(owner, created_at, id) WHERE deleted_at IS NULL;
"""


@migrations()
def m010_owners(tables: Tables) -> None:
    for statement in _statements(OWNERS):
        tables.execute(statement)


@migrations()
def m011_transports(tables: Tables) -> None:
    # The way of the workspace's answers; '': the server's default.
    tables.execute("ALTER TABLE workspace ADD COLUMN transport TEXT NOT NULL DEFAULT ''")


HIDDEN_THREADS = """
-- Threads of clients of another protocol stand in no list; there may be very many of them.
DROP INDEX thread_listed;
CREATE INDEX thread_listed ON thread(workspace_id, updated_at DESC, id DESC)
    WHERE deleted_at IS NULL AND slug NOT GLOB 'api-*';
"""


@migrations()
def m012_hidden_threads(tables: Tables) -> None:
    for statement in _statements(HIDDEN_THREADS):
        tables.execute(statement)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to this version's tables, each migration in a transaction of its own.

    A database that has tables already is copied to `NAME.before-MIGRATION` beside it first, by the first one that it
    lacks: where a start is cut off between two, the next one leaves the copy of the old version as it is.
    Raises `SettingError` when a newer version of the program has written it; nothing is changed then.
    """
    pending, applied = pending_of(connection, path), migrations.applied(Tables(connection))
    if pending and applied:
        _check_structure(connection, path)
        _keep_copy(connection, path.with_name(f"{path.name}.before-{pending[0]}"))
    if pending:
        if has_checksums(connection):
            connection.execute("UPDATE pulse SET tables = NULL")  # until they are as this version makes them
        migrations.apply(Tables(connection))
    noted = connection.execute("SELECT tables FROM pulse").fetchone()
    if noted == (None,):  # they have just been made, here or by a start that was cut off
        _note_definitions(connection)
    elif noted != (_definitions(connection),):
        raise SettingError(f"The database {path} is damaged: its tables are not as they were made. {RESTORE}")


def has_checksums(connection: sqlite3.Connection) -> bool:
    """Say whether the database is of a version that gave its rows checksums."""
    return any(migration.name == "m008_checksums" for migration in migrations.applied(Tables(connection)))


def pending_of(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Return the names of the migrations that the database lacks.

    Raises `SettingError` when a newer version of the program has written it.
    """
    tables = Tables(connection)
    with closing(sqlite3.connect(":memory:")) as empty:
        ours = {migration.name for migration in migrations.pending(Tables(empty))}
    if newer := {migration.name for migration in migrations.applied(tables)} - ours:
        raise SettingError(
            f"The database {path} was written by a newer version of DeeChat ({', '.join(sorted(newer))}): "
            "use that version, or set DEECHAT_DATA to another folder."
        )
    return [migration.name for migration in migrations.pending(tables)]


def _note_definitions(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE pulse SET tables = ?", (_definitions(connection),))


def _definitions(connection: sqlite3.Connection) -> int:
    """Return the checksum of the tables' definitions; indexes may be added by hand."""
    made = (*checksums.COVERED, "event", "block", "pulse")
    sql = f"SELECT name, sql FROM sqlite_master WHERE name IN ({','.join('?' * len(made))}) ORDER BY name"
    return checksums.of_values(chain.from_iterable(connection.execute(sql, made)))


def _check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Check what a migration reads: it would give what is damaged a checksum that fits."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise SettingError(f"The database {path} is damaged ({found}), so its tables are not changed. {RESTORE}")


def _keep_copy(connection: sqlite3.Connection, copy: Path) -> None:
    draft = copy.with_name(copy.name + ".part")
    draft.unlink(missing_ok=True)
    target = sqlite3.connect(draft)
    try:
        connection.backup(target)
    finally:
        target.close()
    draft.replace(copy)


def _statements(script: str) -> list[str]:
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    if statement.strip():
        raise ValueError(f"this is no whole statement: {statement!r}")
    return statements
