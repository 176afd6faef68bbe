"""Requests to a server that has stored very much: how long they take, and how long all others wait meanwhile.

    python bench/stored.py                              this checkout
    python bench/stored.py --beside PATH                another one too, in the same run
    python bench/stored.py --sizes 0,1000 --runs 100    quickly

Pages of chats, of threads and of a log beside 0, 10,000 and 100,000 rows; chats of large messages; deleting runs while
answers are being made. It asserts nothing. `others` is the longest time between two answers to a ping that is sent
every 5 ms while the question is on its way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import load
from load import Order
from measure import ROOT, machine, peak_mib
from servers import DEECHAT, Server, Upstream, server, upstream

LOOKS = 5
LARGE = 100  # messages
LARGE_BYTES = 1_000_000  # of each
EVENTS_AT_WORK = 100_000  # rows of a log that is at work, beside which runs are deleted
ANSWERS = 30
MOST_SECONDS = 120.0  # for deleting
RATE = 30.0  # tokens a second of each

# Runs inside the checkout, since a log is packed in its own way.
FILL = (
    """
import importlib.util, sqlite3, sys, uuid
try:
    from deechat.store.sqlite import compaction
    from deechat.store.sqlite import checksums
except ImportError:  # an older checkout, to be compared with
    from deechat import blocks as compaction
    checksums = importlib.util.find_spec("deechat.checksums") and importlib.import_module("deechat.checksums")
from deechat.events import Entry, RunStarted, TextChunk, RunStopped

path, threads, messages, size, events, runs = sys.argv[1], *map(int, sys.argv[2:])
put = getattr(compaction, "compact", None) or compaction.put
with sqlite3.connect(path) as connection:
    (workspace,) = connection.execute("SELECT id FROM workspace").fetchone()

    def thread(slug, at):
        row = (slug, workspace, slug, slug, at, at)
        connection.execute(
            "INSERT INTO thread (id, workspace_id, slug, name, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)", row
        )

    def run(run_id, thread_id, count):
        connection.execute(
            "INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, ended_at, reason)"
            " VALUES (?, ?, ?, 'p', 'en', 1, 2, 'stopped')", (run_id, thread_id, run_id + "-message"))
        log = [Entry(1, 1.0, RunStarted(run_id, run_id + "-message", "default", thread_id, None, "m"))]
        log += [Entry(seq, 1.0 + seq / 50, TextChunk("word ")) for seq in range(2, count)]
        put(connection, run_id, [*log, Entry(count, 1.0 + count / 50, RunStopped())])

    def message(thread_id, text, run_id=None):
        connection.execute(
            "INSERT INTO message (id, thread_id, role, content, sent_at, run_id) VALUES (?, ?, 'assistant', ?, 1, ?)",
            (str(uuid.uuid4()), thread_id, text, run_id))

    for number in range(threads):
        thread(f"thread-{number}", float(number))
    for name in ("messages", "large", "log", "doomed"):
        thread(name, 1.0)
    for number in range(messages):
        message("messages", f"Message {number} " * 20)
    for number in range(size and """
    + str(LARGE)
    + """):
        message("large", "x" * size)
    run("log", "log", max(events, 10))
    for number in range(runs):
        run(f"doomed-{number}", "doomed", 20)
        message("doomed", "Hello", f"doomed-{number}")
    if checksums:
        checksums.fill(connection)
"""
)


@contextlib.contextmanager
def filled(
    tree: Path, model: Upstream | None = None, *, rows: int = 0, large: int = 0, runs: int = 0
) -> Iterator[Server]:
    """Runs a checkout's server over a database with so many rows."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with server(DEECHAT, model, folder=folder, leaves=True, tree=tree) as running:
            running.wait_ready()
        arguments = [str(each) for each in (running.database, rows, rows, large, rows, runs)]
        environment = os.environ | {"PYTHONPATH": str(tree)}
        subprocess.run([sys.executable, "-c", FILL, *arguments], cwd=tree, env=environment, check=True)
        with server(DEECHAT, model, folder=folder, tree=tree) as running:
            yield running.wait_ready()


async def _pinging(port: int, gaps: list[float]) -> None:
    """Asks for a sign of life again and again, and notes how long each took."""
    while True:
        began = time.monotonic()
        await load.ask(port, "GET", "/api/ping")
        gaps.append(time.monotonic() - began)
        await asyncio.sleep(0.005)


async def _beside_pings(port: int, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Gives how long the work took, and the longest ping beside it; milliseconds."""
    gaps: list[float] = []
    pinging = asyncio.create_task(_pinging(port, gaps))
    await asyncio.sleep(0.1)
    gaps.clear()
    began = time.monotonic()
    await work()
    took = time.monotonic() - began
    while not gaps:  # one was under way all the time
        await asyncio.sleep(0.005)
    pinging.cancel()
    return 1000 * took, 1000 * max(gaps)


async def _ask(port: int, path: str) -> bytes:
    """Asks with room for any answer; one without a length is refused by `load.ask`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**31)
    try:
        return await load._exchange(reader, writer, load._request("GET", path, {}))
    finally:
        writer.close()


def look(running: Server, path: str) -> str:
    """Asks several times, and gives the least of the figures in words: the rest is other programs."""
    times, others, size = [], [], 0
    for _ in range(LOOKS):

        async def once() -> None:
            nonlocal size
            size = len(await _ask(running.port, path))

        took, longest = asyncio.run(_beside_pings(running.port, once))
        times.append(took)
        others.append(longest)
    return f"{min(times):8.1f} ms  others {min(others):7.1f} ms  {size / 1000:9.1f} kB"


def deleting(tree: Path, model: Upstream, runs: int, tokens: int) -> list[str]:
    """Deletes a thread with so many runs while answers are made beside it; gives the figures in words."""
    with filled(tree, model, runs=runs) as running:
        with contextlib.closing(sqlite3.connect(running.database, timeout=30)) as connection:
            connection.execute(
                "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
                " INSERT INTO event (run_id, seq, at, body) SELECT 'log', n + 1000000, 1.0, x'7b7d' FROM many",
                (EVENTS_AT_WORK,),
            )
            connection.commit()
        return asyncio.run(_delete_beside_answers(running, runs, Order(tokens, RATE)))


async def _delete_beside_answers(running: Server, runs: int, order: Order) -> list[str]:
    paths = await running.paths(ANSWERS)
    answers = asyncio.create_task(load.follow_all(running.port, paths, order))
    await asyncio.sleep(order.seconds / 6)
    began = time.monotonic()
    try:
        asking = load.ask(running.port, "DELETE", "/api/workspace/default/thread/doomed")
        await asyncio.wait_for(asking, MOST_SECONDS)
        answered = f"{1000 * (time.monotonic() - began):.0f} ms"
    except (AssertionError, asyncio.IncompleteReadError, TimeoutError) as exc:
        answered = f"{time.monotonic() - began:.1f} s with {type(exc).__name__} {str(exc)[:60]}"
    removed = asyncio.create_task(_removed(running.database, began))
    streams = await answers
    lost = [stream.trouble for stream in streams if stream.trouble]
    late = [each for stream in streams for each in stream.late]
    return [
        f"deleting {runs:,} runs: answered after {answered}; {await removed}",
        f"    {len(lost)} of {ANSWERS} answers lost; the latest token {1000 * max(late, default=0.0):.0f} ms late",
        *(f"    such as: {trouble[:150]}" for trouble in lost[:1]),
    ]


async def _removed(database: Path, began: float) -> str:
    while (left := _runs_left(database)) and time.monotonic() - began < MOST_SECONDS:
        await asyncio.sleep(0.1)
    return f"{left} left" if left else f"removed after {time.monotonic() - began:.1f} s"


def _runs_left(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM run WHERE thread_id = 'doomed'").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--sizes", default="0,10000,100000")
    parser.add_argument("--runs", type=int, default=5_000, help="how many are deleted")
    parser.add_argument("--large", type=int, default=LARGE_BYTES, help="bytes of a large message")
    parser.add_argument("--tokens", type=int, default=600, help="of each answer that is made meanwhile")
    options = parser.parse_args()
    trees = {"this": ROOT} | ({"beside": options.beside.resolve()} if options.beside else {})
    print(json.dumps(machine()), flush=True)
    for size in map(int, filter(None, options.sizes.split(","))):
        for name, tree in trees.items():
            with filled(tree, rows=size) as running:
                for what, path in (
                    ("chats", "/api/workspace/default/thread/messages/chats"),
                    ("threads", "/api/workspace/default/threads"),
                    ("events", f"/api/runs/log/events?wait=0&after={max(size, 10) - 3}"),
                    ("run", "/api/runs/log"),
                ):
                    print(f"{size:7,} rows  {name:6}  {what:8}  {look(running, path)}", flush=True)
    for name, tree in trees.items() if options.large else ():
        with filled(tree, large=options.large) as running:
            figures = look(running, "/api/workspace/default/thread/large/chats")
            print(
                f"{LARGE} × {options.large:,} B  {name:6}  chats  {figures}; {peak_mib(running.pid):.0f} MiB at most",
                flush=True,
            )
    with upstream() as model:
        for name, tree in trees.items():
            print(
                *(f"{name:6}  {line}" for line in deleting(tree, model, options.runs, options.tokens)),
                sep="\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
