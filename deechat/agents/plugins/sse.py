"""Server-Sent Events, as the HTML Standard has them (section 9.2, "Server-sent events").

One frame is one block: `id:` with its cursor, `data:` with one line of JSON. `event:` stands in blocks whose frame has
a name; of DeeChat's own dialect these are no events, such as heartbeats: every event reaches a plain `onmessage`.
"""

from __future__ import annotations

from deechat.agents.plugins.base import Frame, bytes_of

RETRY_MS = 1500  # what a native EventSource waits before it comes again


class SSE:
    """The encoding of `text/event-stream`. `retries` off leaves out how soon a client shall come again."""

    content_type = "text/event-stream; charset=utf-8"
    sign_of_life = b": ping\n\n"

    def __init__(self, *, retries: bool = True) -> None:
        # No block of its own, which some clients take for an event without data: a line of the block that comes next.
        self.opening = b"retry: %d\n" % RETRY_MS if retries else b""

    def encode(self, frame: Frame) -> bytes:
        cursor = b"" if frame.id is None else b"id: %b\n" % str(frame.id).encode()
        name = b"" if frame.name is None else b"event: %b\n" % frame.name.encode()
        return b"%b%bdata: %b\n\n" % (cursor, name, bytes_of(frame.data))

    def pattern(self, data: bytes) -> bytes:
        return b"id: %%(seq)d\ndata: %b\n\n" % data
