"""Server-Sent Events, as the HTML Standard has them (section 9.2, "Server-sent events").

One event is one block: `id:` with the SEQ, `data:` with one line of JSON. `event:` names heartbeats only, so that every
other block reaches a plain `onmessage`.
"""

from __future__ import annotations

from deechat.agents.plugins.deechat import dumps, frame_of, pattern_of
from deechat.events import Entry, ReasoningChunk, Status, TextChunk, ToolProgress

RETRY_MS = 1500  # what a native EventSource waits before it comes again
_PIECES = (TextChunk, ReasoningChunk)


class SSE:
    """The plugin of `text/event-stream`.

    `introspection` off leaves status and progress out: what the agent and its tools say of their own doings. The
    numbers stay those of the log.
    """

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, message_id: str, *, introspection: bool = True) -> None:
        self._message_id = message_id
        self._introspection = introspection
        self._patterns = {kind: b"id: %%(seq)d\ndata: %b\n\n" % pattern_of(kind, message_id) for kind in _PIECES}

    def opening(self) -> bytes:
        # No block of its own, which some clients take for an event without data: a line of the block that comes next.
        return b"retry: %d\n" % RETRY_MS

    def frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, _PIECES):
            return self._patterns[type(event)] % {b"seq": entry.seq, b"text": dumps(event.text)}
        if isinstance(event, Status | ToolProgress) and not self._introspection:
            return b""
        return b"id: %d\ndata: %b\n\n" % (entry.seq, dumps(frame_of(entry, self._message_id)))

    def heartbeat(self, last_seq: int) -> bytes:
        return b"event: heartbeat\ndata: %b\n\n" % dumps({"type": "heartbeat", "lastEventId": last_seq})

    def resync(self) -> bytes:
        return b"data: %b\n\n" % dumps({"type": "resync"})
