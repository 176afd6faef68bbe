"""The processes of a measurement: the model server, DeeChat as it is served anywhere, and the floors beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import load
from measure import ROOT, cpu_seconds

HERE = Path(__file__).parent
DEECHAT, SOCKET, URLLIB3, CANNED = "deechat", "socket", "urllib3", "canned"
FLOORS = (SOCKET, URLLIB3, CANNED)
GUNICORN = Path(sys.executable).with_name("gunicorn")
START_SECONDS = 60.0
MOST_STREAMS = 2_000
MOST_PROBLEMS, LONGEST = 5, 1_500
NOT_OURS = ("DEECHAT_", "OPENAI_", "PORT", "WEB_CONCURRENCY", "DYNO", "GUNICORN_", "BENCH_")


class Upstream:
    """The model server, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.port = int(process.stdout.readline())

    def settings(self) -> dict[str, str]:
        """Gives the settings of a DeeChat that asks it."""
        return {
            "DEECHAT_PROVIDER": "openai",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self.port}/v1",
            "OPENAI_API_KEY": "none",
            "DEECHAT_MODEL": "bench",
        }

    async def lateness(self) -> dict[str, float]:
        """Gives how late it wrote tokens since the last call, in milliseconds."""
        return dict(json.loads(await load.ask(self.port, "GET", "/late")))


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """Runs the model server."""
    process = subprocess.Popen(
        [sys.executable, HERE / "upstream.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Upstream(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


class Server:
    """A server under measurement, once it is ready. `pid` is its one worker's.

    `seconds` is the time until it answered, `cpu_seconds` its processor time until then, other programs aside.
    """

    def __init__(self, name: str, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self._process = process
        self._began = time.monotonic()
        self.pid = 0
        self.seconds = self.cpu_seconds = 0.0

    def wait_ready(self) -> Server:
        """Returns when it answers."""
        _wait_for(self.port, self._process)
        self.seconds = time.monotonic() - self._began
        self.pid = _children(self._process)[0]
        self.cpu_seconds = cpu_seconds(self._process.pid) + cpu_seconds(self.pid)
        return self

    @property
    def database(self) -> Path:
        return self.folder / "data" / "deechat.sqlite3"

    async def paths(self, count: int) -> Sequence[str]:
        """Gives the paths for so many prompts: those of threads of their own, where there are threads."""
        return await load.new_threads(self.port, count) if self.name == DEECHAT else [f"/{self.name}"] * count

    async def report(self) -> dict[str, Any]:
        """Asks DeeChat's observer for its notes until now; a floor has none."""
        if self.name != DEECHAT:
            return {}
        file = self.folder / "report.json"
        file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while not file.exists():
            if time.monotonic() > deadline:
                raise SystemExit("the server's observer does not answer")
            await asyncio.sleep(0.01)
        return dict(json.loads(file.read_text()))


@contextlib.contextmanager
def server(
    name: str,
    model: Upstream | None = None,
    *,
    folder: Path | None = None,
    leaves: bool = False,
    tree: Path = ROOT,
    **more: str,
) -> Iterator[Server]:
    """Runs DeeChat or one of the floors; it is not yet ready. Its log is printed when it ends.

    Without a model server DeeChat answers by itself. It `leaves` in order, so that its `folder` can be used again, or
    else is killed, which is quicker. `tree` is another checkout of DeeChat, `more` are environment variables.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = _free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(NOT_OURS)}
        environment |= _deechat(folder, model, tree) if name == DEECHAT else _floor(model)
        command = [GUNICORN, *(_DEECHAT if name == DEECHAT else _FLOOR), "--bind", f"127.0.0.1:{port}"]
        log_file = folder / "server.log"
        with log_file.open("wb") as log:
            where = tree if name == DEECHAT else HERE  # gunicorn takes settings from where it is started
            process = subprocess.Popen(command, cwd=where, env=environment | more, stdout=log, stderr=log)
        try:
            yield Server(name, folder, port, process)
        finally:
            (_leave if leaves else _kill)(process)
            print(*_problems(log_file), sep="", end="", file=sys.stderr)


_DEECHAT = ("-c", str(HERE / "observed.py"), "app:app")
_FLOOR = (
    *("--worker-class", "gevent", "--worker-connections", str(MOST_STREAMS + 200)),
    *("--no-control-socket", "--log-level", "warning", "floors:app"),
)


def _deechat(folder: Path, model: Upstream | None, tree: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(tree),
        "DEECHAT_DATA": f"{folder}/data",
        "DEECHAT_LOG_LEVEL": "warning",
        "DEECHAT_MAX_RUNS": str(MOST_STREAMS),
        "DEECHAT_MAX_STREAMS": str(MOST_STREAMS),
        "BENCH_REPORT": f"{folder}/report.json",
        **(model.settings() if model else {"DEECHAT_PROVIDER": "offline"}),
    }


def _floor(model: Upstream | None) -> dict[str, str]:
    return {"BENCH_UPSTREAM": str(model.port)} if model else {}


def _leave(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    workers = _children(process)
    process.kill()  # first: it would start another worker
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:  # it is gone
        return []


def _problems(log_file: Path) -> list[str]:
    lines = log_file.read_text(errors="replace").splitlines(keepends=True)
    problems = [line for line in lines if line.strip() and '"level": "info"' not in line]
    return [f"{line.rstrip()[:LONGEST]}\n" for line in problems[:MOST_PROBLEMS]]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/ping", timeout=5):
            return
        time.sleep(0.01)
    raise SystemExit("the server did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
