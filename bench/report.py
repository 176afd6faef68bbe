"""Results as the tables of docs/performance.md, in Markdown.

    python bench/report.py build/bench.json [another run's …] --profile build/profile.json

With several runs the goals have a column for each; the figures are those of the last one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import table
from sampler import PARTS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    runs = [json.loads(path.read_text()) for path in options.runs]
    about = runs[-1]["machine"]
    print(
        f"{about['date']}, {about['processors']} × {about['processor']}, {about['system']}, Python {about['python']},"
        f" commit {about['commit']}.\n"
    )
    _print_table(_goals(runs))
    _print_table(table.figure_cells(runs[-1]["results"]))
    if options.profile:
        _print_table(_shares(json.loads(options.profile.read_text())["results"]))
    return 0


def _goals(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    found = [{row["what"]: row for row in run["goals"]} for run in runs]
    heads = [f"run {number}" for number in range(1, len(runs) + 1)] if len(runs) > 1 else ["DeeChat, socket"]
    cells = [["", "goal", *heads, "met"]]
    for goal in table.GOALS:
        rows = [each[goal.what] for each in found if goal.what in each]
        if len(rows) == len(runs):
            met = "yes" if all(row["met"] for row in rows) else "**no**"
            cells.append([goal.what, goal.bound, *map(_reached, rows), met])
    return cells


def _reached(row: dict[str, Any]) -> str:
    both = ", ".join(filter(None, (row["deechat"], row["socket"])))
    compared = table.compared(row)
    return f"{both}: **{compared}**" if compared else both


def _shares(results: dict[str, Any]) -> list[list[str]]:
    cells = [["part", "", *results]]
    for part, words in PARTS.items():
        spent = [(result["parts"].get(part, 0.0), result["whole"]) for result in results.values()]
        cells.append([f"`{part}`", words, *(f"{own:.1f} µs, {own / whole:.0%}" for own, whole in spent)])
    return [*cells, ["all", "", *(f"{result['whole']:.1f} µs" for result in results.values())]]


def _print_table(cells: Sequence[Sequence[str]]) -> None:
    head, *rows = cells
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    print()


if __name__ == "__main__":
    sys.exit(main())
