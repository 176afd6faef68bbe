"""Newline-delimited JSON: one frame is one line, for programs and shells that have no reader of event streams.

A line is the frame with its number as `seq`. A frame that is no event has no `seq`.
"""

from __future__ import annotations

from deechat.agents.plugins.base import Frame, bytes_of, dumps


class NDJSON:
    """The encoding of `application/x-ndjson`."""

    content_type = "application/x-ndjson"
    opening = b""
    sign_of_life = b"\n"

    def encode(self, frame: Frame) -> bytes:
        if frame.id is None or isinstance(frame.data, bytes):
            return bytes_of(frame.data) + b"\n"
        return dumps({**frame.data, "seq": frame.id}) + b"\n"

    def pattern(self, data: bytes) -> bytes:
        return data.removesuffix(b"}") + b',"seq":%(seq)d}\n'
