"""Lines that a person types or a pipe brings: at the prompt, and beside an answer, without taking more than are wanted.

At the prompt of a terminal `input` reads, with readline's editing and history. Beside an answer a thread reads, since
the program is busy with the answer; it can be stopped before the line came, and then nothing is lost.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TextIO


class StoppedError(Exception):
    """The line is not wanted any more."""


class Keyboard:
    """Read the lines of a stream; None stands for their end. A stream without a file (None) has ended."""

    def __init__(self, stream: TextIO | None, *, interactive: bool) -> None:
        self.interactive = interactive
        self._fd: int | None = None
        if stream is not None:
            with suppress(OSError, ValueError):
                self._fd = stream.fileno()
        self._buffer = b""
        self._reader: threading.Thread | None = None
        self._wanted = False  # a line is wanted that was not delivered yet
        self._handing_over = threading.Lock()  # held while it is delivered, so that `_wanted` is true until then
        self._wake, self._wakes = os.pipe()
        self._readline: ModuleType | None = None
        if interactive:
            with suppress(ImportError):  # some Pythons have none
                self._readline = import_module("readline")  # which alone gives `input` its editing and history

    def read(self, prompt: str) -> str | None:
        """Return the next line at the prompt. Ctrl-C raises `KeyboardInterrupt`."""
        if b"\n" in self._buffer or not self.interactive:
            return self._read_line()
        begun, self._buffer = _text(self._buffer), b""  # during an answer, with the last piece of a read
        try:
            if not begun:
                return input(prompt)
            if self._readline is None:
                return begun + input(prompt + begun)
            readline = self._readline
            readline.set_startup_hook(lambda: readline.insert_text(begun))
            try:
                return input(prompt)
            finally:
                readline.set_startup_hook(None)
        except EOFError:
            return None

    def start_reading(self, deliver: Callable[[str | None], object]) -> None:
        """Have the next line delivered, from a thread; do nothing while one is wanted already.

        `deliver` must not wait for a caller of this method.
        """
        # The thread's life does not tell: one that has delivered its line lives on for a while, and brings no other.
        with self._handing_over:
            if self._wanted:
                return
            self._wanted = True
        self._reader = threading.Thread(target=self._deliver_line, args=(deliver,), daemon=True)
        self._reader.start()

    def stop_reading(self) -> None:
        """Return when no line is wanted any more: one that had come was delivered, none comes after this."""
        if self._reader is not None:
            os.write(self._wakes, b".")
            self._reader.join()
            self._reader, self._wanted = None, False
            os.read(self._wake, 1)

    def _deliver_line(self, deliver: Callable[[str | None], object]) -> None:
        with suppress(StoppedError):
            line = self._read_line()
            with self._handing_over:
                deliver(line)
                self._wanted = False

    def _read_line(self) -> str | None:
        while b"\n" not in self._buffer:
            data = b""
            if self._fd is not None:
                ready, _, _ = select.select([self._fd, self._wake], [], [])
                if self._fd not in ready:
                    raise StoppedError
                with suppress(OSError):  # EIO: the terminal was closed
                    data = os.read(self._fd, 65_536)
            if not data:
                last, self._buffer = self._buffer, b""
                return _text(last) if last else None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return _text(line)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
