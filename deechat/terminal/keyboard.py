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
from functools import partial
from importlib import import_module
from types import ModuleType

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
        self._wanted = False  # a line is wanted that was not delivered yet
        self._handing_over = threading.Lock()  # held while it is delivered, so that `_wanted` is true until then
        self._wake, self._wakes = os.pipe()
        self._editor = _editor() if interactive else None

    def take(self, prompt: str) -> str | None:
        """Waits for the next line at the prompt, in the calling thread. Ctrl-C raises `KeyboardInterrupt`."""
        if b"\n" not in self._buffer and self.interactive:
            begun, self._buffer = _text(self._buffer), b""
            try:
                return self._input(prompt, begun)
            except EOFError:
                return None
        return self._read()

    def _input(self, prompt: str, begun: str) -> str:
        """Reads a line, whose beginning may have come during an answer already, with the last piece of a read."""
        if not begun:
            return input(prompt)
        if self._editor is None:
            return begun + input(prompt + begun)
        self._editor.set_startup_hook(partial(self._editor.insert_text, begun))
        try:
            return input(prompt)
        finally:
            self._editor.set_startup_hook(None)

    def want(self, deliver: Deliver) -> None:
        """Has the next line delivered, from a thread; does nothing while one is wanted already.

        `deliver` must not wait for a caller of this method.
        """
        # Not by whether the thread lives: one that has delivered its line lives on for a while, and brings no other.
        with self._handing_over:
            if self._wanted:
                return
            self._wanted = True
        self._reader = threading.Thread(target=self._bring, args=(deliver,), daemon=True)
        self._reader.start()

    def call_off(self) -> None:
        """Returns when no line is wanted any more: one that had come was delivered, none comes after this."""
        if self._reader is not None:
            os.write(self._wakes, b".")
            self._reader.join()
            self._reader, self._wanted = None, False
            os.read(self._wake, 1)

    def _bring(self, deliver: Deliver) -> None:
        with suppress(CalledOffError):
            line = self._read()
            with self._handing_over:
                deliver(line)
                self._wanted = False

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


def _editor() -> ModuleType | None:
    """Gives readline, whose import alone gives `input` its editing and history; None where Python has none."""
    with suppress(ImportError):
        return import_module("readline")
    return None


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
