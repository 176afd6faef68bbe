"""A person at a pseudo-terminal, and a pipe: what the tests of `deechat chat` sit down with."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from server import Server

COMMAND = Path(sys.executable).with_name("deechat")


def environment(server: Server, **settings: str) -> dict[str, str]:
    """Gives the environment of a person at the machine of the server, whose settings they share."""
    shell = {"LANG": "en_US.UTF-8", "TERM": "xterm", "NO_COLOR": "1", "PORT": str(server.port)}
    plain = {name: value for name, value in server.environment().items() if not name.startswith("LC_")}
    return plain | shell | settings


def chat(
    server: Server, said: str, *options: str, together: bool = False, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command over a pipe, until it leaves; `together` has both of its streams go to one."""
    return subprocess.run(
        [COMMAND, "chat", *options],
        input=said,
        env=environment(server, **settings),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        encoding="utf-8",
        timeout=40,
        cwd=server.folder,
    )


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as at a terminal: tests in the background are begun deaf to it


class Person:
    """Somebody at a terminal: reads what appears, and types."""

    def __init__(self, server: Server, *options: str, **settings: str) -> None:
        self._terminal, theirs = pty.openpty()
        self.seen = ""
        self._read = 0
        self._bytes = b""
        self.process = subprocess.Popen(
            [COMMAND, "chat", *options],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(server, **settings),
            cwd=server.folder,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - the tests' threads hold no lock that this wants
        )
        os.close(theirs)

    def see(self, wanted: str | re.Pattern[str], timeout: float = 15) -> str:
        """Reads on until the text, or what fits the pattern, appears and gives what came up to its end."""
        pattern = re.compile(re.escape(wanted)) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + timeout
        while not (found := pattern.search(self.seen, self._read)):
            assert time.monotonic() < deadline, f"{wanted!r} did not appear; the terminal shows:\n{self.seen}"
            assert self.look(), f"the chat left before {wanted!r} appeared; the terminal shows:\n{self.seen}"
        shown, self._read = self.seen[self._read : found.end()], found.end()
        return shown

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def interrupt_at_the_prompt(self) -> None:
        """Presses Ctrl-C once the chat waits: Python's readline misses one in the instant in which it begins."""
        self.see("> ")
        deadline = time.monotonic() + 15
        before = None
        while before != (now := self._waits()) or now is None:
            assert time.monotonic() < deadline, f"the chat does not wait at its prompt:\n{self.seen}"
            before = now
            time.sleep(0.1)
        self.type("\x03")

    def _waits(self) -> str | None:
        """Gives how often the chat has begun to wait; None while it works."""
        said = Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
        return fields["voluntary_ctxt_switches"] if fields["State"].startswith("S") else None

    def say(self, line: str) -> None:
        """Types a line at the prompt."""
        self.see("\n> ")
        self.type(line + "\n")

    def leave(self, timeout: float = 25) -> int:
        """Reads to the end and gives the exit code."""
        deadline = time.monotonic() + timeout
        while self.look():
            assert time.monotonic() < deadline, f"the chat did not leave; the terminal shows:\n{self.seen}"
        return self.process.wait(timeout)

    def look(self, patience: float = 0.1) -> bool:
        """Reads what appears within so many seconds; False when the chat has left."""
        ready, _, _ = select.select([self._terminal], [], [], patience)
        if ready:
            try:
                self._bytes += os.read(self._terminal, 65_536)
            except OSError:  # EIO: nobody has the other end any more
                return False
            self.seen = self._bytes.decode(errors="ignore").replace("\r\n", "\n")
        return True

    def close(self) -> None:
        deadline = time.monotonic() + 25
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the chat does not end"
            self.process.terminate()  # again, since readline misses a signal in the instant in which it begins
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        os.close(self._terminal)
