"""Lines that a person types or a pipe brings: at the prompt, and beside an answer, without taking more than are wanted.

At the prompt of a terminal `input` reads, with readline's editing and history. Beside an answer a thread reads, since
the program is busy with the answer; it can be called off before the line came, and then nothing is lost.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

Deliver = Callable[[str | None], None]


class CalledOffError(Exception):
    """The line is not wanted any more."""


class Keyboard:
    """The lines of a file descriptor; None stands for their end. `fd` None: there never was an input."""

    def __init__(self, fd: int | None, *, interactive: bool) -> None:
        self.interactive = interactive
        self._fd = fd
        self._buffer = b""
        self._reader: threading.Thread | None = None
        self._wake, self._wakes = os.pipe()
        if interactive:
            with suppress(ImportError):  # editing and history, where Python has them
                __import__("readline")

    def take(self, prompt: str) -> str | None:
        """Waits for the next line at the prompt, in the calling thread. Ctrl-C raises `KeyboardInterrupt`."""
        if b"\n" not in self._buffer and self.interactive:
            try:
                return input(prompt)
            except EOFError:
                return None
        return self._read()

    def want(self, deliver: Deliver) -> None:
        """Has the next line delivered, from a thread; does nothing while one is wanted already."""
        if self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(target=self._bring, args=(deliver,), daemon=True)
            self._reader.start()

    def call_off(self) -> None:
        """Returns when no line is wanted any more: one that had come was delivered, none comes after this."""
        if self._reader is not None:
            os.write(self._wakes, b".")
            self._reader.join()
            self._reader = None
            os.read(self._wake, 1)

    def _bring(self, deliver: Deliver) -> None:
        with suppress(CalledOffError):
            deliver(self._read())

    def _read(self) -> str | None:
        while b"\n" not in self._buffer:
            data = self._more()
            if not data:
                last, self._buffer = self._buffer, b""
                return _text(last) if last else None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return _text(line)

    def _more(self) -> bytes:
        if self._fd is None:
            return b""
        ready, _, _ = select.select([self._fd, self._wake], [], [])
        if self._fd not in ready:
            raise CalledOffError
        try:
            return os.read(self._fd, 65_536)
        except OSError:  # EIO: the terminal was closed
            return b""


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
