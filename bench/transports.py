"""The comparison of transports for agents, measured: A WebSocket, B Server-Sent Events, C a hybrid of both.

    python bench/transports.py                     all rows, in about six minutes
    python bench/transports.py --only first,cut    some of them
    python bench/transports.py --small             the bench itself, tried with tiny numbers

One DeeChat serves all three: they are plugins over the same log. docs/transports.md says what each row means. The rows
go to build/transports.json, and their chart to docs/transports.svg with `--chart`.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import load
import measure
import proxies
import servers
from chart import draw
from measure import ROOT, cpu_seconds, median, memory_mib, percentile
from viewers import Events, Hybrid, Socket, Viewer

LETTERS: dict[str, type[Viewer]] = {"A": Socket, "B": Events, "C": Hybrid}
SIZES = {"first": (60, 5), "viewers": (1_000, 20), "cut": (40, 4), "words": (30, 4)}  # in full, and small
# The files that are there for one way alone; both share the log, its plugins' seam and the routes that answer.
SERVER = {
    "A": [
        *("agents/plugins/websocket.py", "web/websocket.py", "web/agent_socket.py", "web/routes/invocations.py"),
        "web/transports.py",
    ],
    "B": ["agents/plugins/sse.py", "agents/plugins/deechat.py", "web/streams.py"],
}
CLIENT = {"A": "Socket", "B": "Events", "C": "Hybrid"}
Row = dict[str, Any]


def main() -> int:
    options = _options()
    measure.many_files()
    measure.no_collections()
    report: Row = {"machine": measure.machine(), "rows": {}}
    with servers.upstream() as upstream, servers.server(servers.DEECHAT, upstream) as server:
        server.wait_ready()
        for name in options.only:
            print(f"{name} …", file=sys.stderr, flush=True)
            report["rows"][name] = asyncio.run(ROWS[name](server, options.small))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1))
    for name, by_letter in report["rows"].items():
        for letter, figures in by_letter.items():
            print(f"{name:8} {letter}  " + "  ".join(f"{key} {_said(value)}" for key, value in figures.items()))
    if options.chart:
        options.chart.write_text(draw(report["rows"]))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default=",".join(ROWS), help=f"which rows, of {','.join(ROWS)}")
    parser.add_argument("--small", action="store_true", help="tiny numbers, to try the bench itself")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "transports.json")
    parser.add_argument("--chart", type=Path, help="where to draw the figures as SVG")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := {*options.only} - {*ROWS}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    return options


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


async def _viewers(server: servers.Server, kind: type[Viewer], count: int) -> list[Viewer]:
    return [kind(server.port, path) for path in await server.paths(count)]


def _size(name: str, *, small: bool) -> int:
    return SIZES[name][small]


# -- the rows ----------------------------------------------------------------------------------------------------------


async def lines(_server: servers.Server, _small: bool) -> dict[str, Row]:
    """Count the lines of code that are there for one transport alone, on the server and in a whole small client."""
    at_server = {letter: sum(map(_lines_of, files)) for letter, files in SERVER.items()}
    at_server["C"] = at_server["A"] + at_server["B"]
    tree = ast.parse((ROOT / "bench" / "viewers.py").read_text())
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    own = {name: len(_code_lines(classes[name])) for name in ("Viewer", *CLIENT.values())}
    # The smaller client of A reads the event stream that tells it where to go, and C is both.
    events = own["Viewer"] + own["Events"]
    client = {"A": events + own["Socket"], "B": events, "C": events + own["Socket"] + own["Hybrid"]}
    return {letter: {"server": at_server[letter], "client": client[letter]} for letter in LETTERS}


def _lines_of(file: str) -> int:
    return len(_code_lines(ast.parse((ROOT / "deechat" / file).read_text())))


def _code_lines(tree: ast.AST) -> set[int]:
    """Return the numbers of lines with code: no comments, no docstrings."""
    docs = {
        id(each.body[0])
        for each in ast.walk(tree)
        if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and each.body
        and isinstance(each.body[0], ast.Expr)
        and isinstance(each.body[0].value, ast.Constant)
    }
    found: set[int] = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.stmt | ast.arg | ast.expr) and id(each) not in docs:
            found.add(each.lineno)
    constants = {each.lineno for each in ast.walk(tree) if isinstance(each, ast.Expr) and id(each) in docs}
    return found - constants


async def first(server: servers.Server, small: bool) -> dict[str, Row]:
    """Ask for one token, one question after the other; connections, round trips and seconds before it."""
    figures = {}
    (early,) = await _viewers(server, Events, 1)  # not counted: a server's first answer imports the SDK
    await early.begin(load.Order(1, text="#").prompt)
    await early.until(lambda: early.seen.ended)
    early.cut()
    for letter, kind in LETTERS.items():
        times: list[float] = []
        viewer: Viewer | None = None
        for viewer in await _viewers(server, kind, _size("first", small=small)):
            await viewer.begin(load.Order(1, text="#").prompt)
            await viewer.until(lambda seen=viewer.seen: seen.first)
            times.append(viewer.seen.first - viewer.seen.sent)
            await viewer.until(lambda seen=viewer.seen: seen.ended)
            viewer.cut()
        assert viewer
        figures[letter] = {
            "connections": viewer.seen.connections,
            "round_trips": viewer.seen.round_trips,
            "first_token_ms": 1000 * median(times),
            "first_token_p99_ms": 1000 * percentile(times, 0.99),
        }
    return figures


async def viewers(server: servers.Server, small: bool) -> dict[str, Row]:
    """Read so many answers at once, each of 40 tokens at 2 a second."""
    order = load.Order(40, 2.0, "#") if not small else load.Order(20, 20.0, "#")
    figures = {}
    for letter, kind in LETTERS.items():
        all_of_them = await _viewers(server, kind, _size("viewers", small=small))
        await asyncio.sleep(1.0)
        before, used = memory_mib(server.pid), cpu_seconds(server.pid)
        watch = measure.Watch(server.pid)
        watching = asyncio.create_task(watch.run())
        for viewer in all_of_them:
            await viewer.begin(order.prompt)
            await asyncio.sleep(10.0 / len(all_of_them) if not small else 0)
        for viewer in all_of_them:
            await viewer.until(lambda seen=viewer.seen: seen.ended, order.seconds + 60)
        used = cpu_seconds(server.pid) - used
        watching.cancel()
        tokens = order.tokens * len(all_of_them)
        wrong = [each.seen.lost_and_doubled(order.tokens) for each in all_of_them]
        figures[letter] = {
            "cpu_us_per_token": 1e6 * used / tokens,
            "memory_kib_per_viewer": 1024 * (watch.most_mib - before) / len(all_of_them),
            "bytes_per_token": sum(each.seen.taken for each in all_of_them) / tokens,
            "lost": sum(lost for lost, _ in wrong),
            "doubled": sum(doubled for _, doubled in wrong),
        }
        for viewer in all_of_them:
            viewer.cut()
    return figures


async def cut(server: servers.Server, small: bool) -> dict[str, Row]:
    """Cut the connection at a random moment, come back at once, and read to the end."""
    order = load.Order(150, 50.0, "#")
    chance = random.Random(7)
    figures = {}
    for letter, kind in LETTERS.items():
        all_of_them = await _viewers(server, kind, _size("cut", small=small))
        waits = await asyncio.gather(*(_cut_once(each, order, chance.uniform(0.2, 2.5)) for each in all_of_them))
        wrong = [each.seen.lost_and_doubled(order.tokens) for each in all_of_them]
        figures[letter] = {
            "next_token_ms": 1000 * median(waits),
            "next_token_p99_ms": 1000 * percentile(waits, 0.99),
            "lost": sum(lost for lost, _ in wrong),
            "doubled": sum(doubled for _, doubled in wrong),
        }
    return figures


async def _cut_once(viewer: Viewer, order: load.Order, after: float) -> float:
    await viewer.begin(order.prompt)
    await viewer.until(lambda: viewer.seen.first)
    await asyncio.sleep(after)
    viewer.cut()
    came, at = len(viewer.seen.moments), time.monotonic()
    await viewer.come_back()
    await viewer.until(lambda: len(viewer.seen.moments) > came)
    waited = viewer.seen.moments[came] - at
    await viewer.until(lambda: viewer.seen.ended)
    viewer.cut()
    return waited


async def words(server: servers.Server, small: bool) -> dict[str, Row]:
    """Say yes to an approval, until the answer goes on; then stop, until the ending is on disk."""
    await _ask_for_sums(server, "ask")
    figures = {}
    for letter, kind in LETTERS.items():
        answers, stops = [], []
        for viewer in await _viewers(server, kind, _size("words", small=small)):
            await viewer.begin(load.Order(500, 100.0, "#").prompt + " ask=1")
            await viewer.until(lambda seen=viewer.seen: seen.request)
            answers.append(await _until(viewer, viewer.answer, lambda seen=viewer.seen: seen.moments))
            stops.append(await _stopped(server, viewer))
            viewer.cut()
        figures[letter] = {"answer_ms": 1000 * median(answers), "stop_ms": 1000 * median(stops)}
    await _ask_for_sums(server, "allow")
    return figures


async def _stopped(server: servers.Server, viewer: Viewer) -> float:
    """Stop the run; return the seconds until a look at it shows its ending, which is on disk then."""
    began = time.monotonic()
    await viewer.stop()
    while json.loads(await load.ask(server.port, "GET", f"/api/runs/{viewer.seen.run}"))["run"]["status"] != "ended":
        await asyncio.sleep(0.001)
    return time.monotonic() - began


async def _until(viewer: Viewer, do: Callable[[], Awaitable[None]], there: Callable[[], Any]) -> float:
    began = time.monotonic()
    await do()
    await viewer.until(there)
    return time.monotonic() - began


async def fronts(server: servers.Server, small: bool) -> dict[str, Row]:
    """Ask through each proxy, as it comes and with the lines that it needs: does the answer come word by word?"""
    figures: dict[str, Row] = {letter: {} for letter in LETTERS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for front in proxies.every(Path(folder), server.port):
            if small and not front.is_ours:
                continue
            with front.running() as port:
                for letter, kind in LETTERS.items():
                    figures[letter][front.name] = await _passes(server, port, kind)
    return figures


async def idle(_server: servers.Server, _small: bool) -> dict[str, Row]:
    """Wait for a person behind a proxy that cuts idle connections, at the same ratio to the heartbeat as 60 s to 15."""
    figures: dict[str, Row] = {}
    with (
        servers.upstream() as upstream,
        servers.server(servers.DEECHAT, upstream, DEECHAT_HEARTBEAT=str(proxies.IDLE_SECONDS / 4)) as server,
    ):
        server.wait_ready()
        await _ask_for_sums(server, "ask")
        with proxies.bad("cuts when idle", server.port).running() as port:
            for letter, kind in LETTERS.items():
                (path,) = await server.paths(1)
                viewer = kind(port, path)
                await viewer.begin(load.Order(20, 20.0, "#").prompt + " ask=1")
                await viewer.until(lambda seen=viewer.seen: seen.request)
                await asyncio.sleep(2.5 * proxies.IDLE_SECONDS)
                connections = viewer.seen.connections
                figures[letter] = {"stays": "cut" if viewer.over() else "yes", "connections": connections}
                await viewer.answer()
                await viewer.until(lambda seen=viewer.seen: seen.ended)
                viewer.cut()
    return figures


async def _ask_for_sums(server: servers.Server, policy: str) -> None:
    body: Row = {"policies": {"calculator": policy}}
    await load.ask(server.port, "POST", "/api/workspace/default/update", body)


async def _passes(server: servers.Server, port: int, kind: type[Viewer]) -> str:
    """Return how an answer of two seconds comes through: "yes", "late" (in one piece), or the fault."""
    (path,) = await server.paths(1)
    viewer = kind(port, path)
    order = load.Order(40, 20.0, "#")
    await viewer.begin(order.prompt)
    try:
        await viewer.until(lambda: viewer.seen.ended, 8.0)
    except TimeoutError:
        fault = viewer.fault()
        return fault or "silent"
    finally:
        viewer.cut()
    moments = viewer.seen.moments
    return "yes" if moments and moments[-1] - moments[0] > order.seconds / 2 else "late" if moments else "nothing"


ROWS: dict[str, Callable[[servers.Server, bool], Awaitable[dict[str, Row]]]] = {
    "lines": lines,
    "first": first,
    "viewers": viewers,
    "cut": cut,
    "words": words,
    "fronts": fronts,
    "idle": idle,
}


if __name__ == "__main__":
    sys.exit(main())
