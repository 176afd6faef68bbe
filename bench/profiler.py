"""Where DeeChat's processor time goes, by part, while a workload is on it.

    python bench/profiler.py                     W1, W2 and W3
    python bench/profiler.py --only W4 --top 30  and the thirty functions that it met most often

bench/sampler.py defines the parts, and the part of a moment. Times are in microseconds a token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure
import servers
import workloads
from sampler import PARTS
from workloads import WORKLOADS, Workload

MORE = {"idle": 10}  # times the repeats, for looks enough


def main() -> int:
    options = _options()
    measure.many_files()
    measure.no_collections()
    results = {}
    with servers.upstream() as upstream:
        for name in options.only.split(","):
            (workload,) = [each for each in WORKLOADS if each.name == name]
            workload = workload.small() if options.small else workload
            print(f"{name} …", file=sys.stderr, flush=True)
            results[name] = asyncio.run(_profile(workload, upstream))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": measure.machine(), "results": results}, indent=1))
    _print_parts(results)
    for name, result in results.items():
        _print_top(name, result, options.top)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="W1,W2,W3", help="workloads, of " + ",".join(each.name for each in WORKLOADS))
    parser.add_argument("--top", type=int, default=12, help="how many functions of each workload to name")
    parser.add_argument("--small", action="store_true", help="tiny numbers, to try this program itself")
    parser.add_argument("--json", type=Path, default=measure.ROOT / "build" / "profile.json")
    return parser.parse_args()


async def _profile(workload: Workload, upstream: servers.Upstream) -> dict[str, Any]:
    """Gives the processor time a token (µs) of the whole, of the parts and of the functions."""
    workload = replace(workload, repeats=workload.repeats * MORE.get(workload.name, 1))
    with servers.server(servers.DEECHAT, upstream, BENCH_SAMPLE="1") as server:
        await workloads.warm_up(server.wait_ready())
        before = await server.report()
        figures = await workloads.measure(workload, server, upstream)
        after = await server.report()
    each = 1e6 / figures["tokens"]
    sampled = {key: (seconds - before["sampled"].get(key, 0.0)) * each for key, seconds in after["sampled"].items()}
    hub = (after["hub"] - before["hub"]) * each
    whole = (after["process"] - before["process"]) * each
    parts: defaultdict[str, float] = defaultdict(float)
    for key, spent in sampled.items():
        parts[key.split(" ")[0]] += spent
    parts["writer"] = whole - hub
    parts["other"] += hub - sum(sampled.values())  # since the last look
    return {"figures": figures, "whole": whole, "hub": hub, "parts": dict(parts), "functions": sampled}


def _print_parts(results: Mapping[str, Any]) -> None:
    print(f"{'µs a token':58}", *(f"{name:>14}" for name in results))
    for part, words in PARTS.items():
        cells = []
        for result in results.values():
            spent = result["parts"].get(part, 0.0)
            cells.append(f"{spent:8.2f} {spent / result['whole']:4.0%} ")
        print(f"{part:8} {words:49}", *cells)
    print(f"{'all':58}", *(f"{result['whole']:8.2f}      " for result in results.values()))


def _print_top(name: str, result: Mapping[str, Any], count: int) -> None:
    print(f"\n{name}")
    for key, spent in sorted(result["functions"].items(), key=lambda each: -each[1])[:count]:
        print(f"{spent:8.2f} {spent / result['whole']:4.0%}  {key}")


if __name__ == "__main__":
    sys.exit(main())
