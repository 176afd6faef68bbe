"""DeeChat beside the least possible cost, in one run, alternating; against the goals of its design.

    python bench/run.py                                all of it, in under five minutes
    python bench/run.py --only W1,W2 --rounds 3        some of it
    python bench/run.py --small                        the bench itself, tried with tiny numbers

The machine is shared by the model server, the server that is measured, and this process, the client of all streams.
Figures are medians over the rounds, ratios medians of the rounds' ratios. It asserts nothing and ends with 0.
docs/performance.md says how each figure is made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import disk
import measure
import memory
import servers
import table
import workloads
from workloads import WORKLOADS, Workload

PARTS = ("memory", "disk")


def main() -> int:
    options = _options()
    measure.many_files()
    measure.no_collections()
    report: dict[str, Any] = {"machine": measure.machine(), "results": {}}
    began = time.monotonic()
    with servers.upstream() as upstream, Stage(upstream, keep=options.small) as stage:
        for name in options.only:
            _say(name)
            report["results"][name] = _part(name, options, stage)
    report["seconds"] = time.monotonic() - began
    report["goals"] = table.goals(report["results"])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1))
    about = report["machine"]
    print(f"{about['date']}, {about['processors']} × {about['processor']}, load before: {about['load_before']:.1f}\n")
    for lines in (table.goal_lines(report["goals"]), table.figure_lines(report["results"])):
        print(*lines, "", sep="\n")
    print(*table.noise_lines(report["results"]), sep="\n")
    _say(f"{report['seconds']:.0f} s; everything is in {options.json}")
    return 0


def _options() -> argparse.Namespace:
    names = [*(each.name for each in WORKLOADS), *PARTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default=",".join(names), help=f"what to measure, of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=0, help="instead of each workload's own")
    parser.add_argument("--floors", default="", help="what to compare with, instead of each workload's own")
    parser.add_argument("--small", action="store_true", help="tiny numbers, to try the bench itself")
    parser.add_argument("--json", type=Path, default=measure.ROOT / "build" / "bench.json")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := {*options.only} - {*names}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if unknown := {*filter(None, options.floors.split(","))} - {*servers.FLOORS}:
        parser.error(f"there is no floor {', '.join(sorted(unknown))}")
    return options


class Stage(contextlib.ExitStack):
    """The contestants' servers; each workload has new ones, unless they are kept."""

    def __init__(self, upstream: servers.Upstream, *, keep: bool) -> None:
        super().__init__()
        self.upstream = upstream
        self._keep = keep
        self._running: dict[str, servers.Server] = {}

    def clear(self) -> None:
        """Ends all servers that are not to be kept."""
        if not self._keep:
            self._running.clear()
            self.close()

    def enter(self, names: Sequence[str]) -> list[servers.Server]:
        """Gives servers that are warm."""
        self.clear()
        started = {
            name: self.enter_context(servers.server(name, self.upstream)) for name in names if name not in self._running
        }
        for each in started.values():
            asyncio.run(workloads.warm_up(each.wait_ready()))
        self._running |= started
        return [self._running[name] for name in names]


def _part(name: str, options: argparse.Namespace, stage: Stage) -> Any:
    if name in PARTS:
        stage.clear()
    if name == "memory":
        return memory.measure(stage.upstream, settle=0.2 if options.small else memory.SETTLE_SECONDS)
    if name == "disk":
        small = {"runs": 200, "tokens": 50} if options.small else {}
        return disk.measure(stage.upstream, **small)
    (workload,) = [each for each in WORKLOADS if each.name == name]
    if options.small:
        workload = workload.small()
    if options.rounds:
        workload = replace(workload, rounds=options.rounds)
    if options.floors:
        workload = replace(workload, contestants=(servers.DEECHAT, *options.floors.split(",")))
    return _alternating(workload, stage)


def _alternating(workload: Workload, stage: Stage) -> dict[str, list[workloads.Figures]]:
    """Measures all contestants in turn; gives each one's figures by round."""
    _say(f"  {workload.words}; rounds: {workload.rounds}; {', '.join(workload.contestants)}")
    results: dict[str, list[workloads.Figures]] = {name: [] for name in workload.contestants}
    running = stage.enter(workload.contestants)
    for number in range(workload.rounds):
        for each in _turned(running, number):
            results[each.name].append(asyncio.run(workloads.measure(workload, each, stage.upstream)))
    return results


def _turned(running: Sequence[servers.Server], number: int) -> Sequence[servers.Server]:
    """Gives the contestants in their turn, backwards in every other round."""
    return running[::-1] if number % 2 else running


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
