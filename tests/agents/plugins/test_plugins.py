"""The bytes of every frame. A log that was written once is replayed for ever, so they may never change."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from golden import GOLDEN

from deechat.agents.plugins.base import Encoding, Frame, Plugin, dumps
from deechat.agents.plugins.deechat import DeeChat, frame_of
from deechat.agents.plugins.ndjson import NDJSON
from deechat.agents.plugins.sse import SSE
from deechat.events import (
    AnyEvent,
    Entry,
    Metrics,
    ReasoningChunk,
    RunCompleted,
    Status,
    StepStarted,
    TextChunk,
    ToolProgress,
    decode,
    encode,
)


def plugin(encoding: Encoding, message_id: str = "i", *, introspection: bool = True) -> Plugin:
    return Plugin(DeeChat(message_id, introspection=introspection), encoding)


IDS = [f"{number}-{type(event).__name__}" for number, (event, _, _) in enumerate(GOLDEN)]


@pytest.mark.parametrize(("event", "kept", "fields"), GOLDEN, ids=IDS)
def test_an_event_lies_on_disk_and_goes_over_the_wire_as_it_always_did(event: AnyEvent, kept: str, fields: str) -> None:
    assert encode(event).decode() == kept
    assert decode(kept.encode()) == event
    frame = plugin(SSE()).frame(Entry(7, 1.5, event)).decode()
    assert frame == f'id: 7\ndata: {{"id":"i",{fields}}}\n\n'
    assert plugin(NDJSON()).frame(Entry(7, 1.5, event)).decode() == f'{{"id":"i",{fields},"seq":7}}\n'


def test_every_event_has_its_golden_bytes() -> None:
    assert {type(event) for event, _, _ in GOLDEN} == set(get_args(AnyEvent))


def test_a_block_is_one_line_of_data_whatever_the_text_holds() -> None:
    for text in ("a\r\nb", "a\n\ndata: forged\n\n", "\x00\x1f\u2028\u2029\x85", "😀", '"\\'):
        block = plugin(SSE()).frame(Entry(1, 0.0, TextChunk(text)))
        head, data, *rest = block.split(b"\n")
        assert (head, rest) == (b"id: 1", [b"", b""])
        assert json.loads(data.removeprefix(b"data: "))["textResponse"] == text
        assert b"\r" not in block
        line = plugin(NDJSON()).frame(Entry(1, 0.0, TextChunk(text)))
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        assert json.loads(line)["textResponse"] == text
        assert b"\r" not in line


@pytest.mark.parametrize(("encoding", "mark"), [(SSE(), b"id: 4\n"), (NDJSON(), b'"seq":4')])
def test_introspection_off_leaves_status_and_progress_out_and_keeps_the_numbers(
    encoding: Encoding, mark: bytes
) -> None:
    quiet = plugin(encoding, introspection=False)
    assert quiet.frame(Entry(2, 0.0, Status("x", "tool_call"))) == b""
    assert quiet.frame(Entry(3, 0.0, ToolProgress("c", "x", "Reading"))) == b""
    assert mark in quiet.frame(Entry(4, 0.0, StepStarted(1)))


def test_estimates_are_marked_and_counts_are_not() -> None:
    estimate = Metrics(1, 1, 2, 0.0, None, 0.1, None, estimated=True)
    assert frame_of(Entry(1, 0.0, RunCompleted("stop", estimate)), "i")["metrics"]["estimated"] is True


def test_what_is_no_event_has_no_number() -> None:
    sse = plugin(SSE())
    assert sse.opening(lost=False) == b"retry: 1500\n"
    assert sse.opening(lost=True) == b'retry: 1500\ndata: {"type":"resync"}\n\n'
    assert sse.heartbeat(9) == b'event: heartbeat\ndata: {"type":"heartbeat","lastEventId":9}\n\n'


def test_a_line_of_json_that_is_no_event_has_no_number_either() -> None:
    lines = plugin(NDJSON())
    assert lines.content_type == "application/x-ndjson"
    assert lines.opening(lost=False) == b""
    assert lines.opening(lost=True) == b'{"type":"resync"}\n'
    assert lines.heartbeat(9) == b'{"type":"heartbeat","lastEventId":9}\n'


class Doubled(DeeChat):
    """A dialect in which a step's beginning is two frames and a piece none."""

    def fold(self, entry: Entry) -> list[Frame]:
        return [Frame({"at": entry.seq}, name="one"), Frame({"at": entry.seq}, entry.seq)] * (
            entry.event == StepStarted(1)
        )

    def patterns(self) -> dict[type[TextChunk] | type[ReasoningChunk], bytes]:
        return {}


def test_another_dialect_goes_through_the_same_encodings_with_as_many_frames_as_it_has() -> None:
    other = Doubled("i")
    step, piece = Entry(4, 0.0, StepStarted(1)), Entry(5, 0.0, TextChunk("x"))
    assert Plugin(other, SSE()).frame(step) == b'event: one\ndata: {"at":4}\n\nid: 4\ndata: {"at":4}\n\n'
    assert Plugin(other, NDJSON()).frame(step) == b'{"at":4}\n{"at":4,"seq":4}\n'
    assert Plugin(other, SSE()).frame(piece) == b""


@pytest.mark.parametrize("message_id", ["i", "%d%%(seq)d", 'a":0"b', "\\u0000:0"])
@pytest.mark.parametrize("kind", [TextChunk, ReasoningChunk])
@pytest.mark.parametrize("text", ["x", 'Zo\u00eb said "%(text)b" \\ %s', "\0", "\u2028\n", '","id":0'])
def test_a_piece_written_into_its_form_is_the_frame_as_any_other_is_written(
    message_id: str, kind: type[TextChunk] | type[ReasoningChunk], text: str
) -> None:
    for seq in (1, 10**6):
        entry = Entry(seq, 1.0, kind(text))
        frame = frame_of(entry, message_id)
        assert plugin(SSE(), message_id).frame(entry) == b"id: %d\ndata: %b\n\n" % (seq, dumps(frame))
        assert plugin(NDJSON(), message_id).frame(entry) == dumps({**frame, "seq": seq}) + b"\n"
