"""From the log to a transport: a dialect says which objects an entry is in a protocol, an encoding how they are bytes.

Neither knows the other. A route chooses the dialect, the client the encoding.

A dialect is a fold of the log: the frames of an entry depend on it and on the entries before it, and on nothing else,
so that every process gives the same ones for ever and a cursor stays valid. One that needs the entries before says so
by `from_start`; it is given all of them, and leaves out those frames that its viewer has. tests/agents/plugins holds
each to its golden file: a change of a fold for old entries would be a change of everybody's cursors.
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


def bytes_of(data: Json | bytes) -> bytes:
    """Return a frame's data as it is written."""
    return data if isinstance(data, bytes) else dumps(data)


class Frame(NamedTuple):
    """One object of a protocol; bytes stand for themselves. `id`: the cursor behind it, None where it has none. `name`:
    its kind, for encodings that can show one beside the object.
    """

    data: Json | bytes
    id: int | str | None = None
    name: str | None = None


class Dialect(Protocol):
    """A protocol's objects. An entry gives the same frames for ever, whatever process is asked."""

    from_start: bool
    """Whether an entry's frames depend on those before it: then all are folded, from the log's first one on."""

    @property
    def over(self) -> bool:
        """Whether the protocol's stream has ended; the log may go on."""
        ...

    def fold(self, entry: Entry) -> Iterable[Frame]:
        """Return the entry's frames; none where the protocol leaves it out or the viewer has it."""
        ...

    def patterns(self) -> Mapping[PieceKind, bytes]:
        """Return the JSON of the frames of pieces, to be filled with `%` by `seq` and `text`; `text` as `dumps` has it.

        Nearly all frames are of pieces. One kind is here or goes through `frames`, and both give the same bytes.
        """
        ...

    def heartbeat(self, last_seq: int) -> Frame | None:
        """Return a sign of life that is no event; `last_seq` is the last one sent on this stream.

        None where the protocol has none: then the encoding has.
        """
        ...

    def cut_off(self) -> Iterable[Frame]:
        """Return the last frames of a stream that ends before its log, as when the server leaves.

        None where clients of the protocol come again by themselves.
        """
        ...

    def resync(self) -> Frame:
        """Return the order to forget everything: the log comes again from its first entry.

        Only a dialect that does not fold from the start is asked: it alone is given a cursor of the log.
        """
        ...


class FromStart:
    """The common part of dialects that fold the log from its first entry on and count their own frames."""

    from_start = True
    over = False

    def patterns(self) -> Mapping[PieceKind, bytes]:
        return {}

    def heartbeat(self, _last_seq: int) -> Frame | None:
        return None

    def cut_off(self) -> Iterable[Frame]:
        return ()

    def resync(self) -> Frame:
        raise NotImplementedError("a viewer's cursor is of this dialect's frames")


class Encoding(Protocol):
    """Frames as bytes."""

    content_type: str
    opening: bytes
    """The beginning of a stream, which may be the beginning of the first frame that follows."""

    sign_of_life: bytes
    """Bytes that are no frame."""

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
        self.from_start = dialect.from_start
        self._dialect = dialect
        self._encoding = encoding
        self._patterns: dict[type, bytes] = {
            kind: encoding.pattern(pattern) for kind, pattern in dialect.patterns().items()
        }

    @property
    def over(self) -> bool:
        """Whether nothing follows, though the log may go on."""
        return self._dialect.over

    def opening(self, *, lost: bool) -> bytes:
        """Return the bytes that a stream begins with; `lost`: the viewer's cursor fits no entry."""
        return self._encoding.opening + (self._encoding.encode(self._dialect.resync()) if lost else b"")

    def frame(self, entry: Entry) -> bytes:
        """Return the entry's bytes."""
        event = entry.event
        if isinstance(event, _PIECES) and (pattern := self._patterns.get(type(event))):
            return pattern % {b"seq": entry.seq, b"text": dumps(event.text)}
        return b"".join(map(self._encoding.encode, self._dialect.fold(entry)))

    def cut_off(self) -> bytes:
        """Return the last bytes of a stream that ends before its log."""
        return b"".join(map(self._encoding.encode, self._dialect.cut_off()))

    def heartbeat(self, last_seq: int) -> bytes:
        """Return the bytes of a sign of life."""
        frame = self._dialect.heartbeat(last_seq)
        return self._encoding.sign_of_life if frame is None else self._encoding.encode(frame)
