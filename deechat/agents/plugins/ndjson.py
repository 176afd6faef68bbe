"""Newline-delimited JSON: one event is one line, for programs and shells that have no reader of event streams.

A line is the frame with its number as `seq`. What is no event has no `seq`.
"""

from __future__ import annotations

from deechat.agents.plugins.deechat import dumps, frame_of
from deechat.events import Entry, Status, ToolProgress


class NDJSON:
    """The plugin of `application/x-ndjson`.

    `introspection` off leaves status and progress out: what the agent and its tools say of their own doings. The
    numbers stay those of the log.
    """

    content_type = "application/x-ndjson"

    def __init__(self, message_id: str, *, introspection: bool = True) -> None:
        self._message_id = message_id
        self._introspection = introspection

    def opening(self) -> bytes:
        return b""

    def frame(self, entry: Entry) -> bytes:
        if isinstance(entry.event, Status | ToolProgress) and not self._introspection:
            return b""
        return dumps({**frame_of(entry, self._message_id), "seq": entry.seq}) + b"\n"

    def heartbeat(self, last_seq: int) -> bytes:
        return dumps({"type": "heartbeat", "lastEventId": last_seq}) + b"\n"

    def resync(self) -> bytes:
        return dumps({"type": "resync"}) + b"\n"
