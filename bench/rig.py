"""The processes of a measurement, a model server and the real server, and what the system says of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
START_SECONDS = 30.0
Figures = dict[str, str]
NOT_OURS = ("DEECHAT_", "OPENAI_", "PORT", "WEB_CONCURRENCY", "DYNO", "GUNICORN_")


@contextlib.contextmanager
def upstream() -> Iterator[tuple[int, int]]:
    """Runs the model server; gives its port and its process id."""
    process = subprocess.Popen(
        [sys.executable, HERE / "upstream.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.communicate(timeout=10)


def model_settings(port: int) -> dict[str, str]:
    """Gives the settings of a server that asks the model server on this port."""
    return {
        "DEECHAT_PROVIDER": "openai",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": "none",
        "DEECHAT_MODEL": "bench",
        "DEECHAT_LOG_LEVEL": "warning",
    }


@dataclass(slots=True)
class Server:
    """The real server under measurement. `pid` is its one worker's."""

    port: int
    pid: int
    folder: Path

    def report(self) -> dict[str, Any]:
        """Asks the observer for what it noted until now."""
        file = self.folder / "report.json"
        file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while not file.exists():
            if time.monotonic() > deadline:
                raise SystemExit("the server's observer does not answer")
            time.sleep(0.01)
        return dict(json.loads(file.read_text()))

    def rows(self) -> int:
        """Counts the events on disk."""
        connection = sqlite3.connect(f"file:{self.folder}/data/deechat.sqlite3?mode=ro", uri=True)
        with contextlib.closing(connection):
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])


@contextlib.contextmanager
def server(folder: Path, **settings: str) -> Iterator[Server]:
    """Runs `gunicorn app:app` with the observer over a data folder of its own; its log is printed when it fails."""
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    environment |= {"DEECHAT_DATA": f"{folder}/data", "BENCH_REPORT": f"{folder}/report.json", "PYTHONPATH": str(ROOT)}
    command = [Path(sys.executable).with_name("gunicorn"), "-c", HERE / "observed.py", "app:app"]
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}"], cwd=ROOT, env=environment | settings, stdout=log, stderr=log
        )
    try:
        _wait_for(port, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Server(port, int(children[0]), folder)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if said := log_file.read_text(errors="replace"):
            problems = [line for line in said.splitlines() if '"level": "info"' not in line]
            print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/ping", timeout=2):
            return
        time.sleep(0.02)
    raise SystemExit("the server did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """Gives the processor time that a process has used, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def queued_seconds(pid: int) -> float:
    """Gives how long a process's main thread was ready and had no processor, where the kernel says so."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def memory_mib(pid: int) -> float:
    """Gives the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: list[float], share: float) -> float:
    """Gives the value that `share` of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def spread(values: list[float]) -> str:
    """Says the median, the 99th percentile and the maximum of seconds, in milliseconds."""
    return " ".join(ms(percentile(values, share)) for share in (0.5, 0.99, 1.0))


def ms(seconds: float) -> str:
    """Says seconds as milliseconds."""
    return f"{seconds * 1000:.1f}"


def print_table(columns: list[Figures]) -> None:
    """Prints figures, a column for each measurement."""
    wide = max(map(len, columns[0]))
    widths = [max(map(len, column.values())) for column in columns]
    for name in columns[0]:
        cells = (column[name].rjust(width) for column, width in zip(columns, widths, strict=True))
        print(name.ljust(wide), *cells, sep="  ")
