"""Durable Streams 1.0, live over Server-Sent Events: DeeChat's own frames in batches, each with its place behind it.

A batch is `event: data`, a JSON array, and `event: control` follows it. An offset is the SEQ of the last entry before
it, in 16 digits, so that offsets sort as texts. They are DeeChat's own cursors in another form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deechat.agents.plugins.base import Frame, Json, PieceKind, dumps
from deechat.agents.plugins.deechat import frame_of
from deechat.agents.plugins.sse import SSE
from deechat.events import Entry

DIGITS = 16


def offset_of(seq: int) -> str:
    """Return the offset behind the entry `seq`; of 0, that before the first one."""
    return f"{seq:0{DIGITS}}"


def array_of(entries: Iterable[Entry], message_id: str) -> bytes:
    """Return the frames of entries as a JSON array."""
    return b"[%b]" % b",".join(dumps(frame_of(entry, message_id)) for entry in entries)


class Durable:
    """The events of one connection. `tail` is where the log ended when it began: a viewer that is there, or further,
    is up to date. `cursor` is the connection's place in time, by which caches tell it from others.
    """

    from_start = False
    over = False  # the log ends it

    def __init__(self, message_id: str, tail: int, cursor: str) -> None:
        self._message_id = message_id
        self._tail = tail
        self._cursor = cursor

    def fold(self, entry: Entry) -> Iterable[Frame]:
        array = array_of([entry], self._message_id)
        return Frame(array, name="data"), self.control(entry.seq, closed=entry.event.ends)

    def control(self, seq: int, *, closed: bool) -> Frame:
        """Return the event that says where the viewer is, behind the entry `seq`; `closed`: nothing follows."""
        control: Json = {"streamNextOffset": offset_of(seq), "streamCursor": self._cursor}
        if seq >= self._tail:
            control["upToDate"] = True
        if closed:
            control["streamClosed"] = True
        return Frame(control, name="control")

    def patterns(self) -> Mapping[PieceKind, bytes]:
        return {}

    def heartbeat(self, _last_seq: int) -> Frame | None:
        return None

    def cut_off(self) -> Iterable[Frame]:
        return ()

    def resync(self) -> Frame:
        raise NotImplementedError("an offset behind the log's end is refused")


class Controlled(SSE):
    """Server-Sent Events that begin with a control event, for a viewer that has all there is."""

    def __init__(self, control: Frame) -> None:
        super().__init__(retries=False)
        self.opening = self.encode(control)
