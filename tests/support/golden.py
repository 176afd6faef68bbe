"""Each event, how it lies on disk and its frame on the wire: what a log that was written once is replayed with."""

from __future__ import annotations

from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    ClientTool,
    HistorySummarized,
    Image,
    InputReceived,
    Link,
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
    Table,
    Terms,
    TextChunk,
    TextClosed,
    ThreadRenamed,
    ToolApprovalRequest,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
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
        RunStarted("r", "i", "w", "t", None, "m", terms=Terms("Be brief.", 0.5, tools=(ClientTool("x"),))),
        (
            '{"event":"RunStarted","run_id":"r","message_id":"i","workspace":"w","thread":"t","name":null,"model":"m",'
            '"terms":{"instructions":"Be brief.","temperature":0.5,"tools":[{"name":"x"}]}}'
        ),
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
        ToolCallResult(
            "c",
            "x",
            "ok",
            sources=(SOURCE,),
            parts=(Image("data:image/png;base64,AA=="), Link("https://a.example/", "A"), Table(("a",), (("1",),))),
        ),
        (
            '{"event":"ToolCallResult","call_id":"c","name":"x","content":"ok","sources":[{"id":"s1","title":"Title",'
            '"text":"Passage","chunkSource":"file://a","score":0.5}],"parts":[{"kind":"image",'
            '"url":"data:image/png;base64,AA=="},{"kind":"link","url":"https://a.example/","title":"A"},'
            '{"kind":"table","head":["a"],"rows":[["1"]]}]}'
        ),
        (
            '"uuid":"i:7","type":"toolCallResult","toolCallId":"c","name":"x","content":"ok","isError":false,'
            '"seconds":0.0,"sources":[{"id":"s1","title":"Title","text":"Passage","chunkSource":"file://a",'
            '"score":0.5}],"parts":[{"kind":"image","url":"data:image/png;base64,AA=="},{"kind":"link",'
            '"url":"https://a.example/","title":"A"},{"kind":"table","head":["a"],"rows":[["1"]]}]'
        ),
    ),
    (
        ToolProgress("c", "x", "Reading"),
        '{"event":"ToolProgress","call_id":"c","name":"x","text":"Reading"}',
        '"uuid":"i:7","type":"toolProgress","toolCallId":"c","name":"x","text":"Reading","share":null',
    ),
    (
        ToolProgress("c", "x", "Reading 120 kB", 0.25),
        '{"event":"ToolProgress","call_id":"c","name":"x","text":"Reading 120 kB","share":0.25}',
        '"uuid":"i:7","type":"toolProgress","toolCallId":"c","name":"x","text":"Reading 120 kB","share":0.25',
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
        ClientCall("q", "c", "x", '{"a": 1}'),
        '{"event":"ClientCall","request_id":"q","call_id":"c","name":"x","arguments":"{\\"a\\": 1}"}',
        '"uuid":"i:7","type":"clientCall","requestId":"q","toolCallId":"c","name":"x","arguments":"{\\"a\\": 1}"',
    ),
    (
        InputReceived("q", "12 degrees", output="12 degrees"),
        '{"event":"InputReceived","request_id":"q","summary":"12 degrees","output":"12 degrees"}',
        '"uuid":"i:7","type":"inputReceived","requestId":"q","output":"12 degrees","summary":"12 degrees"',
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
