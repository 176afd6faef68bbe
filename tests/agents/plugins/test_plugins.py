"""The bytes of every frame. A log that was written once is replayed for ever, so they may never change."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from deechat.agents.plugins.base import Plugin, dumps, frame_of
from deechat.agents.plugins.ndjson import NDJSON
from deechat.agents.plugins.sse import SSE
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    Entry,
    HistorySummarized,
    InputReceived,
    Metrics,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Source,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    TextClosed,
    ThreadRenamed,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    Usage,
    decode,
    encode,
)

QUESTION = {"kind": "input", "question": "Where?", "inputType": "text", "placeholder": ""}
SOURCE = Source("s1", "Title", "Passage", "file://a", 0.5)
METRICS = Metrics(10, 5, 15, 2.5, 0.25, 2.0, "m")

# Each event, how it lies on disk, and the fields of its frame after `id`. An edit here is a break of every kept log.
GOLDEN: list[tuple[AnyEvent, str, str]] = [
    (
        RunStarted("r", "i", "w", "t", None, "m"),
        '{"event":"RunStarted","run_id":"r","message_id":"i","workspace":"w","thread":"t","name":null,"model":"m"}',
        (
            '"uuid":"i:7","type":"runStarted","runId":"r","thread":{"workspace":"w","slug":"t","name":null},"model":"m",'
            '"continues":null,"close":false'
        ),
    ),
    (
        ThreadRenamed("t", "Hello"),
        '{"event":"ThreadRenamed","thread":"t","name":"Hello"}',
        '"uuid":"i:7","action":"rename_thread","thread":{"slug":"t","name":"Hello"}',
    ),
    (StepStarted(1), '{"event":"StepStarted","step":1}', '"uuid":"i:7","type":"stepStarted","step":1'),
    (
        Status("🔧 x", "tool_call", {"name": "x"}),
        '{"event":"Status","text":"🔧 x","code":"tool_call","params":{"name":"x"}}',
        (
            '"uuid":"i:7","type":"statusResponse","textResponse":"🔧 x","code":"tool_call","params":{"name":"x"},'
            '"sources":[],"close":false,"animate":true'
        ),
    ),
    (
        ReasoningChunk("Hm"),
        '{"event":"ReasoningChunk","text":"Hm"}',
        '"uuid":"i:7","type":"reasoningChunk","textResponse":"Hm","close":false',
    ),
    (
        TextChunk("line\nbreak \u2028"),
        '{"event":"TextChunk","text":"line\\nbreak \u2028"}',
        (
            '"uuid":"i","type":"textResponseChunk","textResponse":"line\\nbreak \u2028","sources":[],"close":false,'
            '"error":null'
        ),
    ),
    (
        StepFinished(1, "stop", Usage(10, 5), (ToolCall("c", "x", "{}"),), {"secret": 1}),
        (
            '{"event":"StepFinished","step":1,"finish_reason":"stop","usage":{"prompt_tokens":10,"completion_tokens":5},'
            '"calls":[{"id":"c","name":"x","arguments":"{}"}],"extra":{"secret":1}}'
        ),
        '"uuid":"i:7","type":"stepFinished","step":1,"finishReason":"stop"',
    ),
    (
        ToolCallInvocation("c", "x", {"a": 1}),
        '{"event":"ToolCallInvocation","call_id":"c","name":"x","arguments":{"a":1}}',
        '"uuid":"i:7","type":"toolCallInvocation","toolCallId":"c","name":"x","arguments":{"a":1},"close":false',
    ),
    (
        ToolCallResult("c", "x", "ok", seconds=0.5),
        '{"event":"ToolCallResult","call_id":"c","name":"x","content":"ok","seconds":0.5}',
        '"uuid":"i:7","type":"toolCallResult","toolCallId":"c","name":"x","content":"ok","isError":false,"seconds":0.5',
    ),
    (
        ToolApprovalRequest("q", "c", "x", {"a": 1}, "It writes."),
        (
            '{"event":"ToolApprovalRequest","request_id":"q","call_id":"c","name":"x","arguments":{"a":1},'
            '"description":"It writes."}'
        ),
        (
            '"uuid":"i:7","type":"toolApprovalRequest","requestId":"q","toolCallId":"c","skillName":"x","payload":{"a":1},'
            '"description":"It writes."'
        ),
    ),
    (
        ClarificationRequest("q", "c", (QUESTION,)),
        (
            '{"event":"ClarificationRequest","request_id":"q","call_id":"c","questions":[{"kind":"input",'
            '"question":"Where?","inputType":"text","placeholder":""}]}'
        ),
        (
            '"uuid":"i:7","type":"clarificationRequest","requestId":"q","toolCallId":"c","questions":[{"kind":"input",'
            '"question":"Where?","inputType":"text","placeholder":""}],"allowSkip":true'
        ),
    ),
    (
        InputReceived("q", "Yes", approved=True),
        '{"event":"InputReceived","request_id":"q","summary":"Yes","approved":true}',
        '"uuid":"i:7","type":"inputReceived","requestId":"q","approved":true,"summary":"Yes"',
    ),
    (
        InputReceived("q", "Here", answers=({"skipped": False, "answer": "Here"},)),
        '{"event":"InputReceived","request_id":"q","summary":"Here","answers":[{"skipped":false,"answer":"Here"}]}',
        (
            '"uuid":"i:7","type":"inputReceived","requestId":"q","answers":[{"skipped":false,"answer":"Here"}],'
            '"summary":"Here"'
        ),
    ),
    (Steered("Hurry"), '{"event":"Steered","message":"Hurry"}', '"uuid":"i:7","type":"steered","message":"Hurry"'),
    (
        StepRestarted(2, 5),
        '{"event":"StepRestarted","step":2,"after":5}',
        '"uuid":"i:7","type":"stepRestarted","step":2,"afterId":5',
    ),
    (
        StepRetold(2, 5, "thinking"),
        '{"event":"StepRetold","step":2,"after":5,"kind":"thinking"}',
        '"uuid":"i:7","type":"stepRestarted","step":2,"afterId":5,"retold":"thinking"',
    ),
    (
        HistorySummarized("m", "They spoke.", Usage(5, 2)),
        (
            '{"event":"HistorySummarized","upto":"m","text":"They spoke.",'
            '"usage":{"prompt_tokens":5,"completion_tokens":2}}'
        ),
        '"uuid":"i:7","type":"historySummarized","upTo":"m","summary":"They spoke."',
    ),
    (
        TextClosed((SOURCE,)),
        (
            '{"event":"TextClosed","sources":[{"id":"s1","title":"Title","text":"Passage","chunkSource":"file://a",'
            '"score":0.5}]}'
        ),
        (
            '"uuid":"i","type":"textResponseChunk","textResponse":"","sources":[{"id":"s1","title":"Title",'
            '"text":"Passage","chunkSource":"file://a","score":0.5}],"close":true,"error":null'
        ),
    ),
    (
        RunCompleted("stop", METRICS),
        (
            '{"event":"RunCompleted","finish_reason":"stop","metrics":{"prompt_tokens":10,"completion_tokens":5,'
            '"total_tokens":15,"output_tps":2.5,"ttft":0.25,"duration":2.0,"model":"m","estimated":false}}'
        ),
        (
            '"uuid":"i","type":"finalizeResponseStream","sources":[],"metrics":{"prompt_tokens":10,"completion_tokens":5,'
            '"total_tokens":15,"outputTps":2.5,"ttft":0.25,"duration":2.0,"model":"m"},"chatId":"i","finishReason":"stop",'
            '"reason":"completed","close":true,"error":false'
        ),
    ),
    (
        RunStopped(12),
        '{"event":"RunStopped","upstream_closed_ms":12}',
        '"uuid":"i","type":"stopGeneration","reason":"stopped","chatId":"i","upstreamClosedMs":12,"close":true',
    ),
    (
        RunFailed("model_auth", "No."),
        '{"event":"RunFailed","code":"model_auth","message":"No."}',
        (
            '"uuid":"i","type":"abort","textResponse":null,"sources":[],"close":true,"error":"No.","code":"model_auth",'
            '"reason":"failed","chatId":"i"'
        ),
    ),
]
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
def test_introspection_off_leaves_status_out_and_keeps_the_numbers(plugin: Plugin, mark: bytes) -> None:
    assert plugin.frame(Entry(3, 0.0, Status("x", "tool_call"))) == b""
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
