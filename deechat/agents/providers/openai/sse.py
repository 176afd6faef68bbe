"""Bytes to lines, lines to fields: as much of Server-Sent Events as a model server speaks."""

from __future__ import annotations

from deechat.agents.providers.openai.faults import broken
from deechat.errors import ModelError

MAX_LINE = 4_000_000
BARE = b"{"  # the name of a line that has none: an object of JSON by itself
FIELDS = frozenset({b"data", b"event", b"id", b"retry", b"error"})
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Splits a stream into lines on CR, LF and CRLF, wherever its reads were cut.

    No line passes `MAX_LINE` bytes: a longer one raises `ModelError`, so that memory is bounded.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Takes a read, gives the lines that are whole by now."""
        if self._after_cr:
            data, self._after_cr = data.removeprefix(b"\n"), False  # the other half of a CRLF
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._rest:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest, self._size = [], 0
        if rest:
            self._rest.append(rest)
            self._size += len(rest)
            if self._size > MAX_LINE:
                raise too_long()
        return lines

    def end(self) -> bytes:
        """Gives what came after the last line break."""
        return b"".join(self._rest)


def too_long() -> ModelError:
    """Gives the error of a line, or of an object over several lines, that passes `MAX_LINE`."""
    return broken(f"it sent a line of more than {MAX_LINE // 1_000_000} MB")


def field(line: bytes) -> tuple[bytes, bytes]:
    """Gives a line's field name and value, both empty for a comment.

    A line that begins with a brace has the name `BARE`: some servers say errors, or all they say, without field names.
    """
    line = line.removeprefix(_BOM).strip()
    if line.startswith(b"{"):
        return BARE, line
    if line == b"[DONE]":
        return b"data", line
    name, _, value = line.partition(b":")
    return name if name == b"data" else name.rstrip().lower(), value.strip()
