"""Bytes to lines, lines to fields: as much of Server-Sent Events as a model server speaks."""

from __future__ import annotations

from deechat.agents.providers.openai.faults import broken

MAX_LINE = 4_000_000
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Splits a stream into lines on CR, LF and CRLF, wherever its reads were cut.

    A CRLF that is cut in two gives an empty line more, which means nothing here. No line passes `MAX_LINE` bytes: a
    longer one raises `ModelError`, so that memory is bounded.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Takes a read, gives the lines that are whole by now."""
        if b"\r" in data:
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
                raise broken(f"it sent a line of more than {MAX_LINE // 1_000_000} MB")
        return lines

    def end(self) -> bytes:
        """Gives what came after the last line break."""
        return b"".join(self._rest)


def field(line: bytes) -> tuple[bytes, bytes]:
    """Gives a line's field name and value, both empty for a comment.

    A line that begins with a brace is taken for data: some servers say an error so, without a field name.
    """
    line = line.removeprefix(_BOM)
    if line.startswith(b"{"):
        return b"data", line
    name, _, value = line.partition(b":")
    return name, value.strip()
