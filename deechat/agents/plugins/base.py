"""The seam between the log and a transport: entries in, bytes out."""

from __future__ import annotations

from typing import Protocol

from deechat.events import Entry


class Plugin(Protocol):
    """One transport. It makes bytes and sends nothing."""

    content_type: str

    def opening(self) -> bytes:
        """Return the bytes that a stream begins with; they may be the beginning of the first frame that follows."""
        ...

    def frame(self, entry: Entry) -> bytes:
        """Return the entry's bytes; none where the transport leaves it out."""
        ...

    def heartbeat(self, last_seq: int) -> bytes:
        """Return a sign of life that is no event; `last_seq` is the last one sent on this stream."""
        ...

    def resync(self) -> bytes:
        """Return the order to forget everything: the log comes again from its first entry."""
        ...
