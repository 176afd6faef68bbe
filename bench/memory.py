"""The memory of DeeChat's worker, before and after it first asked a model server."""

from __future__ import annotations

import asyncio
import time

import load
from load import Order
from measure import memory_mib
from servers import DEECHAT, Server, Upstream, server

SETTLE_SECONDS = 2.0
MORE_CALLS = 20


def measure(upstream: Upstream, settle: float = SETTLE_SECONDS) -> dict[str, float]:
    """Gives memory in MiB: with no model server configured, and with one before and after its first calls."""
    figures = {}
    with server(DEECHAT) as offline:
        offline.wait_ready()
        time.sleep(settle)
        figures["offline_mib"] = memory_mib(offline.pid)
    with server(DEECHAT, upstream) as asking:
        asking.wait_ready()
        time.sleep(settle)
        figures["before_first_call_mib"] = memory_mib(asking.pid)
        asyncio.run(_ask(asking, 1))
        figures["after_first_call_mib"] = memory_mib(asking.pid)
        asyncio.run(_ask(asking, MORE_CALLS))
        figures["after_more_calls_mib"] = memory_mib(asking.pid)
    return figures


async def _ask(asked: Server, count: int) -> None:
    for path in await asked.paths(count):
        stream = await load.follow(asked.port, path, Order(200))
        if stream.trouble:
            raise SystemExit(f"no answer: {stream.trouble}")
