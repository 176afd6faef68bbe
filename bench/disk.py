"""The disk use of an ended run, and the start and the answers of a database with very many of them.

It knows the tables' names and no more: a large database is made of copies of a thread that a real server has written,
row by row with fresh ids, with all columns that the tables have by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import load
from load import Order
from measure import median, percentile
from servers import DEECHAT, Server, Upstream, server

from deechat.store.sqlite import checksums

PACE = 250.0  # tokens a second, at which nearly every token is an event of its own
TOKENS = 1_000
RUNS = 8
RUNS_IN_A_THREAD = 10
TEMPLATE = Order(60, 0.0, "*")
LOOKS = 50

Figures = dict[str, float]


def measure(upstream: Upstream, runs: int = 100_000, tokens: int = TOKENS) -> Figures:
    """Gives the figures of the log's goals; sizes in bytes, times in milliseconds."""
    return _use(upstream, tokens) | _large(upstream, runs)


def _use(upstream: Upstream, tokens: int) -> Figures:
    """Measures the disk use of runs whose tokens came one by one, once they have ended and the server has left."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with server(DEECHAT, upstream, folder=folder, leaves=True) as running:
            paths = asyncio.run(_threads(running.wait_ready(), RUNS))
            database = running.database
            empty = _used_bytes(database)
            streams = asyncio.run(load.follow_all(running.port, paths, Order(tokens, PACE, "*")))
            if lost := [stream.trouble for stream in streams if stream.trouble]:
                raise SystemExit(f"no answer: {lost[0]}")
        grown = (_used_bytes(database) - empty) / RUNS
        with contextlib.closing(sqlite3.connect(database)) as connection:
            (text,) = connection.execute(
                "SELECT avg(length(CAST(content AS BLOB))) FROM message WHERE role = 'assistant'"
            ).fetchone()
    return {"run_text_bytes": text, "run_disk_bytes": grown, "run_disk_over_text": (grown - 2_000) / text}


async def _threads(running: Server, count: int) -> Sequence[str]:
    return await running.paths(count)


def _used_bytes(database: Path) -> int:
    """Gives the pages in use; free ones are used again."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def _large(upstream: Upstream, runs: int) -> Figures:
    """Measures a start and a look at a thread, with so many runs in the database and, for the start, with none."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with server(DEECHAT, upstream, folder=folder, leaves=True) as running:
            running.wait_ready()
            figures = {"start_empty_s": running.seconds}
            database = running.database
            asyncio.run(_write_template(running))
        began = time.monotonic()
        slugs = copy_thread(database, runs // RUNS_IN_A_THREAD)
        figures["copying_s"] = time.monotonic() - began
        figures["database_mib"] = database.stat().st_size / 2**20
        with server(DEECHAT, upstream, folder=folder) as running:
            running.wait_ready()
            figures |= {"start_s": running.seconds, "start_cpu_s": running.cpu_seconds}
            looks = asyncio.run(_look(running, slugs[:: max(1, len(slugs) // LOOKS)][:LOOKS]))
    return figures | {"runs": runs, "thread_ms": median(looks), "thread_p99_ms": percentile(looks, 0.99)}


async def _write_template(running: Server) -> None:
    (path,) = await running.paths(1)
    for _ in range(RUNS_IN_A_THREAD):
        stream = await load.follow(running.port, path, TEMPLATE)
        if stream.trouble:
            raise SystemExit(f"no answer: {stream.trouble}")


async def _look(running: Server, slugs: Sequence[str]) -> list[float]:
    times = []
    for slug in slugs:
        began = time.monotonic()
        body = await load.ask(running.port, "GET", f"/api/workspace/default/thread/{slug}/chats")
        times.append(1000 * (time.monotonic() - began))
        assert len(json.loads(body)["history"]) == 2 * RUNS_IN_A_THREAD, body[:500]
    return times[1:]  # the first one opens files and prepares statements


def copy_thread(database: Path, times: int) -> list[str]:
    """Copies the thread that has messages, with all that belongs to it, so often; gives the slugs of the copies."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for pragma in ("foreign_keys = OFF", "journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (thread,) = connection.execute("SELECT DISTINCT thread_id FROM message").fetchall()[0]
        connection.execute("CREATE TEMP TABLE old (id PRIMARY KEY)")
        connection.execute("INSERT INTO old VALUES (?)", (thread,))
        for table in ("run", "message"):
            connection.execute(f"INSERT INTO old SELECT id FROM {table} WHERE thread_id = ?", (thread,))
        connection.execute("INSERT INTO old SELECT slug FROM thread WHERE id = ?", (thread,))
        connection.execute("INSERT INTO old SELECT DISTINCT message_id FROM run WHERE message_id NOT IN old")
        connection.execute("BEGIN")
        for table, condition in _belonging(connection):
            _copy_rows(connection, table, condition, times)
        checksums.fill(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        slug = connection.execute("SELECT slug FROM thread WHERE id = ?", (thread,)).fetchone()[0]
    return [f"{slug}-{number}" for number in range(1, times + 1)]


def _belonging(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Gives each table with rows of the thread, and which rows these are."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if table == "thread":
            yield table, "id IN old"
        else:
            for column in ("thread_id", "run_id"):
                if column in columns:
                    yield table, f"{column} IN old"
                    break


def _copy_rows(connection: sqlite3.Connection, table: str, condition: str, times: int) -> None:
    values = []
    for _, name, kind, *_, key in connection.execute(f"PRAGMA table_info({table})").fetchall():
        if key == 1 and kind.upper() == "INTEGER":
            values.append("NULL")  # it numbers its rows itself
        else:
            values.append(f"CASE WHEN {name} IN old THEN {name} || '-' || copy.number ELSE {name} END")
    connection.execute(
        f"INSERT INTO {table} WITH RECURSIVE copy(number) AS"
        " (SELECT 1 UNION ALL SELECT number + 1 FROM copy WHERE number < ?)"
        f" SELECT {', '.join(values)} FROM copy CROSS JOIN (SELECT * FROM {table} WHERE {condition})",
        (times,),
    )
