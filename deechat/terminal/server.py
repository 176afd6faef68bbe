"""Which server the chat talks to: one that is running, or one of its own.

A server of its own is the real one, in a process and a session of its own, so that Ctrl-C does not reach it; it serves
a free port of 127.0.0.1 over the same settings and data folder, and ends with the chat.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from deechat.terminal.link import Link

START = 30.0  # seconds
LEAVE = 20.0  # seconds, somewhat more than gunicorn's own graceful_timeout
TAIL = 6  # lines of a log that are shown

# What would have gunicorn listen elsewhere than it is told to.
_GUNICORN = {"GUNICORN_CMD_ARGS", "GUNICORN_FD", "LISTEN_FDS", "LISTEN_PID"}
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104 - no address to go to


def address(host: str, port: int) -> str:
    """Gives the address of the server that the settings describe, as this machine reaches it."""
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class StartError(Exception):
    """The server did not start; `str(error)` is the end of its log."""


class OwnServer:
    """A server in a child process, from `start` to `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {name: value for name, value in environment.items() if name not in _GUNICORN}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, link: Link) -> None:
        """Starts it and returns when it answers over the link. Raises `StartError`."""
        log, name = tempfile.mkstemp(prefix="deechat-chat-", suffix=".log")
        self._log = Path(name)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from deechat.server.serving import serve; serve()"],
                env={**self._environment, "DEECHAT_HOST": "127.0.0.1", "PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        deadline = time.monotonic() + START
        while not link.online():
            if not self.alive() or time.monotonic() > deadline:
                raise StartError(self.tail())
            time.sleep(0.05)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tail(self) -> str:
        """Gives the last lines of its log."""
        text = self._log.read_text(errors="replace") if self._log else ""
        return "\n".join(text.splitlines()[-TAIL:])

    def close(self) -> None:
        """Ends it and waits until it has let go of the data folder."""
        if self._process is not None:
            # Nothing may come between: a server that is left behind holds the data folder.
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
            try:
                self._end(self._process)
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
            self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(LEAVE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
