"""Server-Sent Events, as the HTML Standard has them (section 9.2, "Server-sent events").

One frame is one block: `id:` with the SEQ, `data:` with one line of JSON. `event:` stands in blocks that are no events
only, such as heartbeats, so that every event reaches a plain `onmessage`.
"""

from __future__ import annotations

from deechat.agents.plugins.base import Frame, dumps

RETRY_MS = 1500  # what a native EventSource waits before it comes again


class SSE:
    """The encoding of `text/event-stream`."""

    content_type = "text/event-stream; charset=utf-8"
    # No block of its own, which some clients take for an event without data: a line of the block that comes next.
    opening = b"retry: %d\n" % RETRY_MS

    def encode(self, frame: Frame) -> bytes:
        number = b"" if frame.seq is None else b"id: %d\n" % frame.seq
        name = b"" if frame.name is None else b"event: %b\n" % frame.name.encode()
        return b"%b%bdata: %b\n\n" % (number, name, dumps(frame.data))

    def pattern(self, data: bytes) -> bytes:
        return b"id: %%(seq)d\ndata: %b\n\n" % data
