"""Many streams on one worker: do all complete, and how long does the hub keep a ready greenlet waiting?

    python bench/streams.py                 200 streams at 50 tokens a second for 10 s, all begun at once
    python bench/streams.py --quick         20 streams for 2 s
    python bench/streams.py --runs 5        the same five times, a column each

Three processes share the machine: a model server with a set rate, the real server, and this one, the client of all
streams. It ends with 1 when a stream was not complete. Times are in milliseconds unless their row says otherwise.

Other work on the machine makes everything late. Then the worker's wait for a processor is long, and the hub's own
processor time from tick to tick (10 ms of which are no lateness) says what of the lateness is of its own making.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import load
import rig

WARM_UP_STREAMS = 5
SETTLE_SECONDS = 1.0


def main() -> int:
    options = _options()
    columns: list[rig.Figures] = []
    complete = True
    for number in range(options.runs):
        if options.runs > 1:
            print(f"run {number + 1} of {options.runs} …", file=sys.stderr)
        figures, lost = _measure(options)
        columns.append(figures)
        for stream in lost[:5]:
            print(f"lost: {stream.words}", file=sys.stderr)
        complete = complete and not lost
    print(f"{options.streams} streams × {options.rate:g} tokens/s × {options.seconds:g} s, {os.cpu_count()} processors")
    rig.print_table(columns)
    return 0 if complete else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second of each stream")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ramp", type=float, default=0.0, help="seconds over which the streams begin")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="20 streams for 2 seconds")
    options = parser.parse_args()
    if options.quick:
        options.streams, options.seconds = 20, 2.0
    return options


def _measure(options: argparse.Namespace) -> tuple[rig.Figures, list[load.Stream]]:
    """Makes one measurement with fresh processes; gives its figures and the streams that were not complete."""
    with tempfile.TemporaryDirectory(prefix="deechat-bench-") as folder, rig.upstream() as (model_port, model_pid):
        settings = rig.model_settings(model_port) | {
            "DEECHAT_MAX_RUNS": str(max(200, options.streams)),
            "DEECHAT_MAX_STREAMS": str(max(1000, options.streams)),
        }
        with rig.server(Path(folder), **settings) as server:
            return asyncio.run(_load(options, server, model_pid))


async def _load(
    options: argparse.Namespace, server: rig.Server, model_pid: int
) -> tuple[rig.Figures, list[load.Stream]]:
    slugs = await load.new_threads(server.port, WARM_UP_STREAMS + options.streams)
    await load.follow_all(server.port, slugs[:WARM_UP_STREAMS], options.rate, max(1, int(options.rate)))
    await asyncio.sleep(SETTLE_SECONDS)

    client = load.Ticker()
    ticking = asyncio.create_task(client.run())
    rows, memory = server.rows(), rig.memory_mib(server.pid)
    pids = {"worker": server.pid, "model server": model_pid, "client": os.getpid()}
    before = {name: rig.cpu_seconds(pid) for name, pid in pids.items()}
    queued = rig.queued_seconds(server.pid)
    tokens = max(1, int(options.rate * options.seconds))
    streams = await load.follow_all(server.port, slugs[WARM_UP_STREAMS:], options.rate, tokens, options.ramp)
    used = {name: rig.cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    ticking.cancel()

    lost = [stream for stream in streams if not stream.complete]
    figures = _figures(streams, lost, server.report(), used)
    figures["worker's memory before, after (MiB)"] = f"{memory:.0f}, {rig.memory_mib(server.pid):.0f}"
    figures["events stored"] = f"{server.rows() - rows}"
    figures["worker's wait for a processor (s)"] = f"{rig.queued_seconds(server.pid) - queued:.2f}"
    figures["client's own lateness, max"] = rig.ms(client.latest)
    return figures, lost


def _figures(
    streams: list[load.Stream], lost: list[load.Stream], report: dict[str, Any], used: dict[str, float]
) -> rig.Figures:
    began = min(stream.sent for stream in streams)
    ended = max((stream.ended for stream in streams), default=began)
    running = max(stream.first_token for stream in streams)
    ending = min((stream.ended for stream in streams if stream.ended), default=ended)
    delays = [delay for stream in streams for delay in stream.delays]
    commits = [each for each in report["commits"] if began <= each[0] <= ended]
    processors = {f"processor seconds of the {name}": f"{seconds:.1f}" for name, seconds in used.items()}
    return {
        "streams complete": f"{len(streams) - len(lost)} of {len(streams)}",
        "streams lost": f"{len(lost)}",
        "tokens a second, all streams": f"{len(delays) / (ended - began):.0f}" if ended > began else "-",
        "hub's lateness while warming up, max": rig.ms(max(_within(report["ticks"], 0, began), default=0)),
        "hub's lateness while starting: p50 p99 max": rig.spread(_within(report["ticks"], began, running)),
        "hub's lateness while streaming: p50 p99 max": rig.spread(_within(report["ticks"], running, ending)),
        "hub's lateness while ending: p50 p99 max": rig.spread(_within(report["ticks"], ending, ended)),
        "HUB'S LATENESS, ALL OF IT: p50 p99 max": rig.spread(_within(report["ticks"], began, ended)),
        "hub's processor time from tick to tick: max": rig.ms(
            max(_within(report["ticks"], began, ended, 2), default=0)
        ),
        "first frame after the POST: p50 p99 max": rig.spread([_since(each, each.first_frame) for each in streams]),
        "first token after the POST: p50 p99 max": rig.spread([_since(each, each.first_token) for each in streams]),
        "token from server to client: p50 p99 max": rig.spread(delays),
        "worker's processor time a token (µs)": f"{used['worker'] / max(1, len(delays)) * 1e6:.0f}",
        "commits, jobs in them": f"{len(commits)}, {sum(each[2] for each in commits)}",
        "commit as the hub sees it: p50 p99 max": rig.spread([each[1] for each in commits]),
        "full garbage collections: number, max": _collections(_within(report["collections"], began, ended)),
        "frames sent": f"{sum(stream.frames for stream in streams)}",
        **processors,
    }


def _since(stream: load.Stream, moment: float) -> float:
    return max(0.0, moment - stream.sent)


def _within(noted: list[list[float]], began: float, ended: float, column: int = 1) -> list[float]:
    """Gives the seconds of what lies in a span of time at least in part."""
    return [each[column] for each in noted if each[0] <= ended and each[0] + each[1] >= began]


def _collections(seconds: list[float]) -> str:
    return f"{len(seconds)}, {rig.ms(max(seconds, default=0))}"


if __name__ == "__main__":
    sys.exit(main())
