"""A server with nothing else to do: what memory its worker holds, and how soon the first frame of an answer comes.

python bench/idle.py --runs 3

The model server answers at once, so the time to the first token is the server's own. Times are in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import load
import rig

REQUESTS = 50
OFFLINE_REQUESTS = 10  # the offline provider speaks at a person's pace
RATE = 1000.0  # the first token comes one thousandth of a second after the model server was asked
SETTLE_SECONDS = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    rig.print_table([_measure() for _ in range(options.runs)])
    return 0


def _measure() -> rig.Figures:
    with rig.upstream() as (model_port, _):
        return _of("offline", OFFLINE_REQUESTS, DEECHAT_PROVIDER="offline", DEECHAT_LOG_LEVEL="warning") | _of(
            "openai", REQUESTS, **rig.model_settings(model_port)
        )


def _of(name: str, requests: int, **settings: str) -> rig.Figures:
    figures = {}
    with (
        tempfile.TemporaryDirectory(prefix="deechat-bench-") as folder,
        rig.server(Path(folder), **settings) as server,
    ):
        figures[f"{name}: worker's memory as it first answers (MiB)"] = f"{rig.memory_mib(server.pid):.0f}"
        time.sleep(SETTLE_SECONDS)
        figures[f"{name}: … once it has settled"] = f"{rig.memory_mib(server.pid):.0f}"
        first = asyncio.run(_ask(server, 1))
        figures[f"{name}: … after the first answer"] = f"{rig.memory_mib(server.pid):.0f}"
        figures[f"{name}: first frame of the first answer"] = rig.ms(first[0].first_frame - first[0].sent)
        streams = asyncio.run(_ask(server, requests))
        figures[f"{name}: … after {requests} more"] = f"{rig.memory_mib(server.pid):.0f}"
        frames = [stream.first_frame - stream.sent for stream in streams]
        figures[f"{name}: first frame, then: p50 p99 max"] = rig.spread(frames)
        tokens = [stream.first_token - stream.sent for stream in streams if stream.first_token]
        if tokens:
            figures[f"{name}: first token, then: p50 p99 max"] = rig.spread(tokens)
    return figures


async def _ask(server: rig.Server, count: int) -> list[load.Stream]:
    slugs = await load.new_threads(server.port, count)
    return [await load.follow(server.port, slug, RATE, 1) for slug in slugs]


if __name__ == "__main__":
    sys.exit(main())
