"""Clients that npm has, in a node of their own: a script of tests/web/npm that a test tells what to do.

The test calls the script's commands by name and gets their values; beside that the script tells of things as they
happen. The packages are installed by scripts/programs.sh; where they are missing, the tests that need them are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "web" / "npm"
PACKAGES = Path(__file__).parents[1] / ".artifacts" / "npm"
OLDEST_NODE = 20

Json = dict[str, Any]


def find_node() -> str:
    """Gives the program that runs what npm has; skips the test where it, or what npm has, is missing."""
    node = shutil.which("node")
    pinned, installed = (folder / "package-lock.json" for folder in (SCRIPTS, PACKAGES))
    if node is None or not (PACKAGES / "node_modules").is_dir():
        pytest.skip("node or npm's clients are missing: scripts/programs.sh installs them, or says why not")
    if installed.read_bytes() != pinned.read_bytes():
        pytest.skip("npm's clients are of other versions than tests/web/npm pins: scripts/programs.sh installs them")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"this node is too old for npm's clients: it is {version.strip()}, they need {OLDEST_NODE}")
    return node


class NpmError(Exception):
    """A command failed in the client's own words."""


class Npm:
    """A node that runs a script, from now until `close`. `told` holds what it told, in order."""

    def __init__(self, script: str) -> None:
        source = "".join((SCRIPTS / name).read_text() for name in ("remote.js", script)) + "listen();\n"
        self._process = subprocess.Popen(
            [find_node(), "--input-type=module", "--eval", source],
            cwd=PACKAGES,  # where it finds its packages
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.told: list[Json] = []
        self._results: dict[int, Json] = {}
        self._count = 0
        self._errors = ""
        self._has_ended = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            with self._changed:
                if "id" in message:
                    self._results[message["id"]] = message
                else:
                    self.told.append(message)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._errors += line

    def begin(self, command: str, **given: Any) -> Callable[[], Any]:
        """Begins a command, and gives a function that waits for its value. That raises `NpmError` when it failed."""
        self._count += 1
        number = self._count
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"id": number, "command": command, "given": given}) + "\n")
        self._process.stdin.flush()

        def result() -> Any:
            self.wait(lambda: number in self._results, f"{command} did not end")
            message = self._results[number]
            if "error" in message:
                raise NpmError(message["error"])
            return message.get("value")

        return result

    def call(self, command: str, **given: Any) -> Any:
        """Carries out a command and gives its value. Raises `NpmError` when it failed."""
        return self.begin(command, **given)()

    def wait(self, claim: Callable[[], object], words: str = "the client never came to that") -> None:
        """Waits until a claim about what came holds. Raises `AssertionError` with the script's errors otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: claim() or self._has_ended, 60)
            assert claim(), f"{words}: {self.told[-3:]} {self._errors[-3000:]}"

    def close(self) -> None:
        assert self._process.stdin
        self._process.kill()
        self._process.wait(30)
        for thread in self._threads:
            thread.join(30)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream
            stream.close()
