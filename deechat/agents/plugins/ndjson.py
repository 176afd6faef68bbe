"""Newline-delimited JSON: one frame is one line, for programs and shells that have no reader of event streams.

A line is the frame with its number as `seq`. A frame that is no event has no `seq`.
"""

from __future__ import annotations

from deechat.agents.plugins.base import Frame, dumps


class NDJSON:
    """The encoding of `application/x-ndjson`."""

    content_type = "application/x-ndjson"
    opening = b""

    def encode(self, frame: Frame) -> bytes:
        return dumps(frame.data if frame.seq is None else {**frame.data, "seq": frame.seq}) + b"\n"

    def pattern(self, data: bytes) -> bytes:
        return data.removesuffix(b"}") + b',"seq":%(seq)d}\n'
