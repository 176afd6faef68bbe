"""The measurements run through and lose nothing; what they measure is for a person to read, not for a test to judge."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def bench(program: str, *options: str) -> str:
    """Runs a program of the bench and gives what it prints."""
    process = subprocess.Popen(
        [sys.executable, BENCH / program, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started goes with it
    )
    try:
        said, problems = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, problems
    return said


def test_every_workload_goes_through_on_every_contestant_and_nothing_is_lost(tmp_path: Path) -> None:
    said = bench("run.py", "--small", "--json", str(tmp_path / "bench.json"))
    report: dict[str, Any] = json.loads((tmp_path / "bench.json").read_text())
    results = report["results"]
    assert list(results) == ["idle", "W1", "W2", "W3", "W4", "W5", "memory", "disk"]
    for name in ("idle", "W1", "W2"):
        assert list(results[name]) == ["deechat", "socket", "urllib3", "canned"]
    assert list(results["W3"]) == list(results["W4"]) == ["deechat", "socket"]
    for name in ("idle", "W1", "W2", "W3", "W4", "W5"):
        for contestant, (figures,) in results[name].items():
            assert figures["lost_streams"] == figures["lost_tokens"] == 0, (name, contestant)
            assert figures["tokens"] > 0
            assert figures["cpu_us_per_token"] > 0
            assert ("pace" in figures) == (name in {"W3", "W4", "W5"})
    goals = [row["what"] for row in report["goals"]]
    assert len(goals) == len(set(goals)) == 21, "a goal has no figure"
    written = bench("report.py", str(tmp_path / "bench.json"))
    for what in goals:
        assert what in said
        assert f"| {what} |" in written


def test_a_profile_names_the_parts_of_the_work(tmp_path: Path) -> None:
    said = bench("profiler.py", "--small", "--only", "W1", "--json", str(tmp_path / "profile.json"))
    (result,) = json.loads((tmp_path / "profile.json").read_text())["results"].values()
    assert sum(result["parts"].values()) == pytest.approx(result["whole"])
    assert "the writer thread" in said


def test_what_is_asked_of_a_server_that_has_stored_much_is_measured() -> None:
    said = bench("stored.py", "--sizes", "50", "--runs", "20", "--large", "1000", "--tokens", "12")
    assert len(re.findall(r"50 rows  this +(?:chats|threads|events|run) ", said)) == 4
    assert re.search(r"this +deleting 20 runs: answered after \d+ ms; removed after", said)
    assert "0 of 30 answers lost" in said


def test_the_parts_of_a_profile_name_files_that_are_there() -> None:
    rules = re.findall(r'^    \("([^"]*\.py)', (BENCH / "sampler.py").read_text(), re.MULTILINE)
    files = [str(path) for path in [*(BENCH.parent / "deechat").rglob("*.py"), *BENCH.glob("*.py")]]
    foreign = [rule for rule in rules if not any(path.endswith(rule) for path in files)]
    assert foreign == [
        "gevent/hub.py",
        "gevent/timeout.py",
        "gunicorn/http/wsgi.py",
        "gunicorn/util.py",
        "werkzeug/wsgi.py",
    ]


def test_each_transport_shows_a_whole_answer_across_a_cut_and_through_bad_proxies(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    options = ("--small", "--json", str(tmp_path / "transports.json"), "--chart", str(chart))
    bench("transports.py", *options, "--only", "lines,first,viewers,cut,words,fronts")
    rows: dict[str, Any] = json.loads((tmp_path / "transports.json").read_text())["rows"]
    assert [list(row) for row in rows.values()] == [["A", "B", "C"]] * 6
    for row in ("viewers", "cut"):
        assert [figures["lost"] + figures["doubled"] for figures in rows[row].values()] == [0, 0, 0]
    assert [rows["first"][each]["connections"] for each in "ABC"] == [2, 1, 1]
    assert "426" in rows["fronts"]["A"]["no Upgrade"], "a WebSocket needs its Upgrade"
    assert rows["fronts"]["B"] == rows["fronts"]["C"] == {"no Upgrade": "yes", "buffers": "late"}
    assert chart.read_text().count("<rect") > 30
