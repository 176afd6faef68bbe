"""The bytes of every frame. A log that was written once is replayed for ever, so they may never change."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from golden import GOLDEN

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.deechat import dumps, frame_of
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

IDS = [f"{number}-{type(event).__name__}" for number, (event, _, _) in enumerate(GOLDEN)]


@pytest.mark.parametrize(("event", "kept", "fields"), GOLDEN, ids=IDS)
def test_an_event_lies_on_disk_and_goes_over_the_wire_as_it_always_did(event: AnyEvent, kept: str, fields: str) -> None:
    assert encode(event).decode() == kept
    assert decode(kept.encode()) == event
    frame = SSE("i").frame(Entry(7, 1.5, event)).decode()
    assert frame == f'id: 7\ndata: {{"id":"i",{fields}}}\n\n'
    assert NDJSON("i").frame(Entry(7, 1.5, event)).decode() == f'{{"id":"i",{fields},"seq":7}}\n'


def test_every_event_has_its_golden_bytes() -> None:
    assert {type(event) for event, _, _ in GOLDEN} == set(get_args(AnyEvent))


def test_a_block_is_one_line_of_data_whatever_the_text_holds() -> None:
    for text in ("a\r\nb", "a\n\ndata: forged\n\n", "\x00\x1f\u2028\u2029\x85", "😀", '"\\'):
        block = SSE("i").frame(Entry(1, 0.0, TextChunk(text)))
        head, data, *rest = block.split(b"\n")
        assert (head, rest) == (b"id: 1", [b"", b""])
        assert json.loads(data.removeprefix(b"data: "))["textResponse"] == text
        assert b"\r" not in block
        line = NDJSON("i").frame(Entry(1, 0.0, TextChunk(text)))
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        assert json.loads(line)["textResponse"] == text
        assert b"\r" not in line


@pytest.mark.parametrize(
    ("plugin", "mark"), [(SSE("i", introspection=False), b"id: 4\n"), (NDJSON("i", introspection=False), b'"seq":4')]
)
def test_introspection_off_leaves_status_and_progress_out_and_keeps_the_numbers(plugin: Plugin, mark: bytes) -> None:
    assert plugin.frame(Entry(2, 0.0, Status("x", "tool_call"))) == b""
    assert plugin.frame(Entry(3, 0.0, ToolProgress("c", "x", "Reading"))) == b""
    assert mark in plugin.frame(Entry(4, 0.0, StepStarted(1)))


def test_estimates_are_marked_and_counts_are_not() -> None:
    estimate = Metrics(1, 1, 2, 0.0, None, 0.1, None, estimated=True)
    assert frame_of(Entry(1, 0.0, RunCompleted("stop", estimate)), "i")["metrics"]["estimated"] is True


def test_what_is_no_event_has_no_number() -> None:
    plugin = SSE("i")
    assert plugin.opening() == b"retry: 1500\n"
    assert plugin.heartbeat(9) == b'event: heartbeat\ndata: {"type":"heartbeat","lastEventId":9}\n\n'
    assert plugin.resync() == b'data: {"type":"resync"}\n\n'


def test_a_line_of_json_that_is_no_event_has_no_number_either() -> None:
    plugin = NDJSON("i")
    assert plugin.content_type == "application/x-ndjson"
    assert plugin.opening() == b""
    assert plugin.heartbeat(9) == b'{"type":"heartbeat","lastEventId":9}\n'
    assert plugin.resync() == b'{"type":"resync"}\n'


@pytest.mark.parametrize("message_id", ["i", "%d%%(seq)d", 'a":0"b', "\\u0000:0"])
@pytest.mark.parametrize("kind", [TextChunk, ReasoningChunk])
@pytest.mark.parametrize("text", ["x", 'Zo\u00eb said "%(text)b" \\ %s', "\0", "\u2028\n", '","id":0'])
def test_a_piece_written_into_its_form_is_the_frame_as_any_other_is_written(
    message_id: str, kind: type[TextChunk] | type[ReasoningChunk], text: str
) -> None:
    plugin = SSE(message_id)
    for seq in (1, 10**6):
        entry = Entry(seq, 1.0, kind(text))
        assert plugin.frame(entry) == b"id: %d\ndata: %b\n\n" % (seq, dumps(frame_of(entry, message_id)))
