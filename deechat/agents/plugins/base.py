"""From the log to a transport: a dialect says which objects an entry is in a protocol, an encoding how they are bytes.

Neither knows the other. A route chooses the dialect, the client the encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from deechat.events import Entry, ReasoningChunk, TextChunk

Json = dict[str, Any]
PieceKind = type[TextChunk] | type[ReasoningChunk]
_PIECES = (TextChunk, ReasoningChunk)

dumps: Callable[[Json | str], bytes] = msgspec.json.Encoder().encode
"""Return a value as one line of JSON, which never holds a line break."""


class Frame(NamedTuple):
    """One object of a protocol. `seq`: the entry's number, None where it is no event. `name`: its kind, for encodings
    that can show one beside the object.
    """

    data: Json
    seq: int | None = None
    name: str | None = None


class Dialect(Protocol):
    """A protocol's objects. An entry gives the same frames for ever, whatever process is asked."""

    def frames(self, entry: Entry) -> Iterable[Frame]:
        """Return the entry's frames; none where the protocol leaves it out."""
        ...

    def patterns(self) -> Mapping[PieceKind, bytes]:
        """Return the JSON of the frames of pieces, to be filled with `%` by `seq` and `text`; `text` as `dumps` has it.

        Nearly all frames are of pieces. One kind is here or goes through `frames`, and both give the same bytes.
        """
        ...

    def heartbeat(self, last_seq: int) -> Frame:
        """Return a sign of life that is no event; `last_seq` is the last one sent on this stream."""
        ...

    def resync(self) -> Frame:
        """Return the order to forget everything: the log comes again from its first entry."""
        ...


class Encoding(Protocol):
    """Frames as bytes."""

    content_type: str
    opening: bytes
    """The beginning of a stream, which may be the beginning of the first frame that follows."""

    def encode(self, frame: Frame) -> bytes:
        """Return the frame's bytes."""
        ...

    def pattern(self, data: bytes) -> bytes:
        """Return the bytes of an event with this pattern of its JSON, as a pattern for the same values."""
        ...


class Plugin:
    """A dialect in an encoding. It makes bytes and sends nothing."""

    def __init__(self, dialect: Dialect, encoding: Encoding) -> None:
        self.content_type = encoding.content_type
        self._dialect = dialect
        self._encoding = encoding
        self._patterns: dict[type, bytes] = {
            kind: encoding.pattern(pattern) for kind, pattern in dialect.patterns().items()
        }

    def opening(self, *, lost: bool) -> bytes:
        """Return the bytes that a stream begins with; `lost`: the viewer's cursor fits no entry."""
        return self._encoding.opening + (self._encoding.encode(self._dialect.resync()) if lost else b"")

    def frame(self, entry: Entry) -> bytes:
        """Return the entry's bytes."""
        event = entry.event
        if isinstance(event, _PIECES) and (pattern := self._patterns.get(type(event))):
            return pattern % {b"seq": entry.seq, b"text": dumps(event.text)}
        return b"".join(map(self._encoding.encode, self._dialect.frames(entry)))

    def heartbeat(self, last_seq: int) -> bytes:
        """Return the bytes of a sign of life."""
        return self._encoding.encode(self._dialect.heartbeat(last_seq))
