"""The workloads, and the figures of one measurement of one of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import load
from load import Order, Stream
from measure import SHARES, Watch, cpu_seconds, median, memory_mib, percentile, queued_seconds
from servers import DEECHAT, FLOORS, SOCKET, Server, Upstream

STARTS_A_SECOND = 100  # how fast the streams of a paced workload begin
STEADY_AFTER = 1.5  # seconds after the ramp
IN_TIME = 0.5  # seconds: a token that comes later than this was not delivered in time
WARM_UPS = 5

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """`streams` at once, `repeats` times one after the other; those of a paced order begin over a ramp.

    The server has `settle` seconds for itself before.
    """

    name: str
    streams: int
    order: Order
    repeats: int = 1
    rounds: int = 1
    contestants: tuple[str, ...] = (DEECHAT, SOCKET)
    settle: float = 0.3

    @property
    def ramp(self) -> float:
        return self.streams / STARTS_A_SECOND if self.order.rate else 0.0

    @property
    def words(self) -> str:
        """Describes it."""
        if not self.order.rate:
            return f"{self.streams} × {self.order.tokens:,} tokens at once"
        pace = f"{self.order.rate:g} tokens/s × {self.order.seconds:g} s"
        return f"{self.streams:,} × {pace}, begun within {self.ramp:g} s"

    def small(self) -> Workload:
        """Gives the same with few streams and tokens, to try the bench itself."""
        tokens = min(self.order.tokens, 20)
        rate = self.order.rate and 50.0
        streams = min(self.streams, 8)
        few = {"repeats": min(self.repeats, 2), "rounds": 1, "settle": 0.0}
        return replace(self, streams=streams, order=Order(tokens, rate), **few)


ALL = (DEECHAT, *FLOORS)
WORKLOADS = (
    Workload("idle", 1, Order(1), repeats=50, rounds=3, contestants=ALL),
    Workload("W1", 1, Order(2_000), repeats=200, rounds=3, contestants=ALL),
    Workload("W2", 50, Order(400), repeats=20, rounds=3, contestants=ALL),
    Workload("W3", 200, Order(500, 50.0), rounds=2),
    Workload("W4", 1_000, Order(40, 2.0)),
    Workload("W5", 500, Order(500, 50.0), contestants=(DEECHAT,)),
)


async def warm_up(server: Server) -> None:
    """Lets a fresh server do the work of its first requests."""
    for path in await server.paths(WARM_UPS):
        stream = await load.follow(server.port, path, Order(20))
        if stream.trouble:
            raise SystemExit(f"{server.name} does not answer: {stream.trouble}")


async def measure(workload: Workload, server: Server, upstream: Upstream) -> Figures:
    """Puts the workload on the server; gives the figures, times in milliseconds but for processor time (µs a token)."""
    paths = await server.paths(workload.streams * workload.repeats)
    await asyncio.sleep(workload.settle)
    await upstream.lateness()
    watch = Watch(server.pid)
    watching = asyncio.create_task(watch.run())
    pids = {"cpu": server.pid, "upstream": upstream.pid, "client": os.getpid()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    memory, queued, began = memory_mib(server.pid), queued_seconds(server.pid), time.monotonic()
    groups = []
    for number in range(workload.repeats):
        own = paths[number * workload.streams : (number + 1) * workload.streams]
        groups.append(await load.follow_all(server.port, own, workload.order, workload.ramp))
    ended = time.monotonic()
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    watching.cancel()
    streams = [stream for group in groups for stream in group]
    tokens = max(1, sum(stream.tokens for stream in streams))
    figures = _counts(streams, used, tokens)
    figures |= _first(streams) if workload.order.tokens == 1 else {}
    figures |= _paced(workload, streams) if workload.order.rate else _speed(groups)
    figures["memory_before_mib"] = memory
    figures["memory_most_mib"] = watch.most_mib
    if workload.order.rate:
        figures["memory_per_100_mib"] = (watch.most_mib - memory) / workload.streams * 100
    figures["processor_wait_s"] = queued_seconds(server.pid) - queued
    figures["client_late_p99_ms"] = 1000 * percentile(watch.late, 0.99)
    figures |= {f"upstream_late_{name}_ms": late for name, late in (await upstream.lateness()).items()}
    return figures | hub(await server.report(), began, ended)


def _counts(streams: Sequence[Stream], used: dict[str, float], tokens: int) -> Figures:
    lost = [stream for stream in streams if stream.trouble]
    for stream in lost[:3]:
        print(f"  lost: {stream.trouble}", flush=True)
    return {
        "streams": len(streams),
        "lost_streams": len(lost),
        "tokens": tokens,
        "lost_tokens": sum(stream.order.tokens - stream.tokens for stream in streams),
        "frames_per_token": sum(stream.frames for stream in streams) / tokens,
        "cpu_s": used["cpu"],
        **{f"{name}_us_per_token": seconds / tokens * 1e6 for name, seconds in used.items()},
    }


def _first(streams: Sequence[Stream]) -> Figures:
    """Gives how soon the first token came: after the model server wrote it, and after the request."""
    return {
        "added_ms": 1000 * median([stream.first_text - stream.began for stream in streams]),
        "added_p99_ms": 1000 * percentile([stream.first_text - stream.began for stream in streams], 0.99),
        "first_frame_ms": 1000 * median([stream.first_frame - stream.sent for stream in streams]),
        "first_text_ms": 1000 * median([stream.first_text - stream.sent for stream in streams]),
        "first_text_p99_ms": 1000 * percentile([stream.first_text - stream.sent for stream in streams], 0.99),
    }


def _speed(groups: Sequence[Sequence[Stream]]) -> Figures:
    """Gives tokens a second, from the model server's first byte to the last token, and from the request on."""
    return {
        "tokens_per_second": median([_rate(group, "began") for group in groups]),
        "tokens_per_second_from_request": median([_rate(group, "sent") for group in groups]),
    }


def _rate(group: Sequence[Stream], since: str) -> float:
    seconds = max(stream.last_text for stream in group) - min(getattr(stream, since) for stream in group)
    return sum(stream.tokens for stream in group) / seconds if seconds > 0 else 0.0


def _paced(workload: Workload, streams: Sequence[Stream]) -> Figures:
    """Gives how late tokens came. Steady are those due from `STEADY_AFTER` seconds after the last stream began."""
    from_then = max(stream.sent for stream in streams) + STEADY_AFTER
    every = sorted(late for stream in streams for late in stream.late)
    steady = sorted(
        late
        for stream in streams
        for number, late in enumerate(stream.late)
        if stream.began + number / workload.order.rate >= from_then
    )
    due = len(streams) * workload.order.tokens
    return {
        "pace": sum(late <= IN_TIME for late in every) / due,
        **{f"late_{name}_ms": 1000 * percentile(every, share) for name, share in SHARES.items()},
        **{f"steady_{name}_ms": 1000 * percentile(steady, share) for name, share in SHARES.items()},
    }


def hub(report: dict[str, Any], began: float, ended: float) -> Figures:
    """Gives the notes of DeeChat's observer between two moments."""
    if not report:
        return {}
    ticks = _within(report["ticks"], began, ended)
    commits = [each for each in report["commits"] if began <= each[0] <= ended]
    collections = _within(report["collections"], began, ended)
    return {
        **{f"hub_late_{name}_ms": 1000 * percentile(ticks, share) for name, share in SHARES.items()},
        "commits": len(commits),
        "commit_p50_ms": 1000 * median([each[1] for each in commits]),
        "commit_p99_ms": 1000 * percentile([each[1] for each in commits], 0.99),
        "full_collections": len(collections),
        "full_collection_max_ms": 1000 * max(collections, default=0.0),
    }


def _within(noted: Sequence[Sequence[float]], began: float, ended: float) -> list[float]:
    """Gives the seconds of the notes that lie in a span of time at least in part."""
    return [each[1] for each in noted if each[0] <= ended and each[0] + each[1] >= began]
