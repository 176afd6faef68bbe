"""The server under test: the real one, under gunicorn, in a process of its own, over a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import requests
from log_reader import log_of
from model_server import free_port

from deechat.events import Entry

ROOT = Path(__file__).parents[2]
GUNICORN = Path(sys.executable).with_name("gunicorn")
Command = list[str | Path]
UNSET = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PORT", "DYNO", "WEB_CONCURRENCY")


def wait_until(claim: Callable[[], object], timeout: float = 30) -> None:
    """Waits until a claim holds; raises `AssertionError` when it does not come to that in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


class Server:
    """`gunicorn app:app` on a free port, or another application of the tests.

    `settings` are environment variables; what the machine has set is left out. `started` are all that were started in
    this process and not looked through since.
    """

    started: ClassVar[set[Server]] = set()

    def __init__(self, folder: Path, app: str = "app:app", **settings: str) -> None:
        self.app = app
        self.folder = folder
        self.root = ROOT  # where the program is
        self.port = free_port()
        self.settings = {
            "PYTHONPATH": str(Path(__file__).parent),
            "DEECHAT_PROVIDER": "offline",
            "DEECHAT_DATA": str(folder / "data"),
            **settings,
        }
        self.log_file = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return Path(self.settings["DEECHAT_DATA"]) / "deechat.sqlite3"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def log_lines(self) -> list[dict[str, object]]:
        """What the server logged as JSON."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def environment(self) -> dict[str, str]:
        ours = {name for name in os.environ if name.startswith("DEECHAT_") or name in UNSET}
        return {name: value for name, value in os.environ.items() if name not in ours} | self.settings

    def start(self) -> Server:
        """Starts it and returns when it answers."""
        Server.started.add(self)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [GUNICORN, self.app, "--bind", f"127.0.0.1:{self.port}"],
                cwd=self.root,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self._process.poll() is None, f"the server ended at its start:\n{self.log}"
            assert time.monotonic() < deadline, f"the server did not answer within 30 s:\n{self.log}"
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/ping", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """Ends the master and its worker at once, as a power cut would."""
        if self._process is None:
            return
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def terminate(self, timeout: float = 60) -> int:
        """Asks it to leave and gives its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(timeout)
        self._process = None
        return code

    def entries(self, run_id: str) -> list[Entry]:
        """Reads a run's log from the server's database, likewise."""
        connection = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)
        try:
            return log_of(connection, run_id)
        finally:
            connection.close()

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Reads from the server's database, on a connection of one's own."""
        connection = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


def spawn(server: Server, command: Command, cwd: Path = ROOT, **settings: str) -> subprocess.Popen[bytes]:
    Server.started.add(server)
    filled = [str(part).replace("{port}", str(server.port)) for part in command]
    with server.log_file.open("ab") as log:
        return subprocess.Popen(
            filled,
            cwd=cwd,
            env={**server.environment(), "PORT": str(server.port), **settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
