"""The figures against the goals, and both as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from measure import median
from servers import DEECHAT, SOCKET

Results = dict[str, Any]  # workload → contestant → a dict of figures a round; `memory` and `disk` → one dict


class MissingError(Exception):
    """A figure of a goal was not measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: `value` gives our figure and the floor's (None where it is no ratio) as words, and the judged number."""

    what: str
    bound: str
    value: Callable[[Results], tuple[str, str, float]]
    least: float | None = None
    most: float | None = None

    def row(self, results: Results) -> dict[str, Any] | None:
        """Gives the row's cells; None when a figure is missing."""
        try:
            ours, floor, judged = self.value(results)
        except MissingError:
            return None
        met = (self.least is None or judged >= self.least) and (self.most is None or judged <= self.most)
        return {"what": self.what, "goal": self.bound, "deechat": ours, "socket": floor, "value": judged, "met": met}


def rounds(results: Results, workload: str, contestant: str, key: str) -> list[float]:
    """Gives a figure of each round."""
    try:
        return [each[key] for each in results[workload][contestant]]
    except KeyError:
        raise MissingError from None


def middle(results: Results, workload: str, contestant: str, key: str) -> float:
    """Gives a figure's median over the rounds."""
    return median(rounds(results, workload, contestant, key))


def _ratio(workload: str, key: str, form: str) -> Callable[[Results], tuple[str, str, float]]:
    def value(results: Results) -> tuple[str, str, float]:
        ours, floor = (rounds(results, workload, name, key) for name in (DEECHAT, SOCKET))
        ratios = [mine / theirs for mine, theirs in zip(ours, floor, strict=True) if theirs]
        return form.format(median(ours)), form.format(median(floor)), median(ratios)

    return value


def _more(workload: str, key: str, form: str) -> Callable[[Results], tuple[str, str, float]]:
    def value(results: Results) -> tuple[str, str, float]:
        ours, floor = (rounds(results, workload, name, key) for name in (DEECHAT, SOCKET))
        more = [mine - theirs for mine, theirs in zip(ours, floor, strict=True)]
        return form.format(median(ours)), form.format(median(floor)), median(more)

    return value


def _own(workload: str, key: str, form: str) -> Callable[[Results], tuple[str, str, float]]:
    def value(results: Results) -> tuple[str, str, float]:
        ours = middle(results, workload, DEECHAT, key)
        try:
            floor = form.format(middle(results, workload, SOCKET, key))
        except MissingError:
            floor = ""
        return form.format(ours), floor, ours

    return value


def _single(part: str, key: str, form: str) -> Callable[[Results], tuple[str, str, float]]:
    def value(results: Results) -> tuple[str, str, float]:
        if part not in results:
            raise MissingError
        return form.format(results[part][key]), "", results[part][key]

    return value


def _lost(results: Results) -> tuple[str, str, float]:
    names = [name for name in ("idle", "W1", "W2", "W3", "W4", "W5") if name in results]
    if not names:
        raise MissingError
    lost, theirs = (
        sum(sum(rounds(results, name, who, "lost_streams")) for name in names if who in results[name])
        for who in (DEECHAT, SOCKET)
    )
    return f"{lost:.0f}", f"{theirs:.0f}", lost


MS, COUNT, MICRO, SHARE, MIB, TIMES = "{:.1f} ms", "{:,.0f}", "{:.0f} µs", "{:.3f}", "{:.1f} MiB", "{:.2f} ×"
GOALS = (
    Goal("idle: text after the model server's first byte", "≤ 2.5 ms more", _more("idle", "added_ms", MS), most=2.5),
    Goal("idle: request to first frame, p50", "≤ 6 ms", _own("idle", "first_frame_ms", MS), most=6.0),
    Goal("idle: request to first text, p50", "≤ 6 ms", _own("idle", "first_text_ms", MS), most=6.0),
    Goal("W1: tokens/s", "≥ 0.8 ×", _ratio("W1", "tokens_per_second", COUNT), least=0.8),
    Goal("W2: tokens/s", "≥ 0.8 ×", _ratio("W2", "tokens_per_second", COUNT), least=0.8),
    Goal("W3: processor time a token", "≤ 1.0 ×", _ratio("W3", "cpu_us_per_token", MICRO), most=1.0),
    Goal("W3: pace", "1.0", _own("W3", "pace", SHARE), least=0.9995),
    Goal("W3: p99 steady", "≤ 15 ms", _own("W3", "steady_p99_ms", MS), most=15.0),
    Goal("W3: p99 whole", "≤ 40 ms", _own("W3", "late_p99_ms", MS), most=40.0),
    Goal("W4: processor time a token", "≤ 1.4 ×", _ratio("W4", "cpu_us_per_token", MICRO), most=1.4),
    Goal("W4: pace", "1.0", _own("W4", "pace", SHARE), least=0.9995),
    Goal("W4: p99 whole", "≤ 50 ms", _own("W4", "late_p99_ms", MS), most=50.0),
    Goal("W5: pace", "1.0", _own("W5", "pace", SHARE), least=0.9995),
    Goal("W5: p99 steady", "≤ 180 ms", _own("W5", "steady_p99_ms", MS), most=180.0),
    Goal("streams lost, all workloads", "0", _lost, most=0.0),
    Goal("memory before the first model call", "≤ 75 MiB", _single("memory", "before_first_call_mib", MIB), most=75.0),
    Goal("memory after it", "≤ 100 MiB", _single("memory", "after_more_calls_mib", MIB), most=100.0),
    Goal("memory per 100 streams (W4)", "≤ 6 MiB", _own("W4", "memory_per_100_mib", MIB), most=6.0),
    Goal("an ended run: (disk use − 2 kB) / text", "≤ 1.5 ×", _single("disk", "run_disk_over_text", TIMES), most=1.5),
    Goal("100,000 runs: start", "≤ 1 s", _single("disk", "start_s", "{:.2f} s"), most=1.0),
    Goal("100,000 runs: a thread, p50", "≤ 10 ms", _single("disk", "thread_ms", MS), most=10.0),
)

NOISE_MS = 25.0  # on a quiet machine it is 10 at most, while the workload itself takes all of both processors

# The columns of the second table, of which a workload's row shows those that were measured.
COLUMNS = (
    ("added", "added_ms", "{:.1f} ms"),
    ("to first text", "first_text_ms", "{:.1f} ms"),
    ("tokens/s", "tokens_per_second", "{:,.0f}"),
    ("with request", "tokens_per_second_from_request", "{:,.0f}"),
    ("µs/token", "cpu_us_per_token", "{:.0f}"),
    ("pace", "pace", "{:.3f}"),
    ("p50", "late_p50_ms", "{:.1f}"),
    ("p99", "late_p99_ms", "{:.0f}"),
    ("steady p50", "steady_p50_ms", "{:.1f}"),
    ("p99", "steady_p99_ms", "{:.0f}"),
    ("lost", "lost_streams", "{:.0f}"),
    ("MiB", "memory_before_mib", "{:.0f}"),
    ("+/100", "memory_per_100_mib", "{:.1f}"),
    ("frames/token", "frames_per_token", "{:.2f}"),
    ("hub late p99", "hub_late_p99_ms", "{:.0f}"),
    ("commits", "commits", "{:.0f}"),
    ("rig late p99", "upstream_late_p99_ms", "{:.1f}"),
)


def goals(results: Results) -> list[dict[str, Any]]:
    """Gives the rows of the goals for which there are figures."""
    return [row for goal in GOALS if (row := goal.row(results)) is not None]


def goal_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Says the goals, each with the figure that was reached."""
    cells = [["", "goal", "DeeChat", "socket", "ratio, difference", "met"]]
    for row in rows:
        met = "yes" if row["met"] else "NO"
        cells.append([row["what"], row["goal"], row["deechat"], row["socket"], compared(row), met])
    return _lines(cells)


def compared(row: dict[str, Any]) -> str:
    """Says a goal's ratio, or difference, where it is about one."""
    if not row["socket"]:
        return ""
    if row["goal"].endswith("more"):
        return f"{row['value']:+.1f} ms"
    return f"{row['value']:.2f} ×" if row["goal"].endswith("×") else ""


def noise_lines(results: Results) -> list[str]:
    """Names the rounds in which the model server itself was so late that other work must have been on the machine."""
    return [
        f"not to be trusted, the model server was {each['upstream_late_p99_ms']:.0f} ms late: {name} {who} {number}"
        for name, who in _measured(results)
        for number, each in enumerate(results[name][who], start=1)
        if each["upstream_late_p99_ms"] > NOISE_MS
    ]


def figure_lines(results: Results) -> list[str]:
    """Says the medians of all figures, a line for each contestant and workload."""
    cells = figure_cells(results)
    return _lines(cells) if len(cells) > 1 else []


def figure_cells(results: Results) -> list[list[str]]:
    """Gives the same as cells, heads first."""
    measured = _measured(results)
    columns = [each for each in COLUMNS if any(each[1] in results[name][who][0] for name, who in measured)]
    cells = [["", "", *(head for head, _, _ in columns)]]
    for name, who in measured:
        found = results[name][who][0]
        values = [form.format(middle(results, name, who, key)) if key in found else "" for _, key, form in columns]
        cells.append([name, who, *values])
    return cells


def _measured(results: Results) -> list[tuple[str, str]]:
    return [(name, who) for name, found in results.items() for who, each in found.items() if isinstance(each, list)]


def _lines(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in cells) for number in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *padded]).rstrip())
    return lines
