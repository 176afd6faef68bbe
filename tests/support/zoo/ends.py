"""Ends of answers: what says that an answer is whole, and what does not."""

from __future__ import annotations

from typing import Any

from model_server import DONE, Answer, delta, frame, nap, reasoning, reply, stream, text, tool_calls, usage

from zoo.animal import Animal

EXCEEDED = "the request exceeds the available context size, try increasing it"


def finished(reason: Any, **fields: Any) -> dict[str, Any]:
    """Gives a chunk that ends the answer, with further fields in its choice."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **fields}]}


def failing(name: str, source: str, *answers: Answer, words: str, code: str = "model_error", **more: Any) -> Animal:
    """Gives an animal whose answer is none: the run fails with these words."""
    return Animal(name, source, answers=answers, reason="failed", code=code, words=[words], **more)


ANIMALS = (
    Animal(
        "as-documented",
        "platform.openai.com/docs/api-reference/chat/streaming",
        answers=(reply(tool_calls(("calculator", {"expression": "6*7"}))), reply(text("It is 42.", 3))),
        text="It is 42.",
        calls=[("calculator", {"expression": "6*7"})],
        finish="stop",
        remark="stop",
        notices=[],
    ),
    # -- an error within the stream is no answer -----------------------------------------------------------------------
    failing(
        "error-is-a-field-of-its-own",
        "ggml-org/llama.cpp#16104",
        stream(frame(delta(content="Half")), b'error: {"code":500,"message":"the slot is gone"}\n\n', DONE),
        words="the slot is gone",
        text="Half",
    ),
    failing(
        "error-field-before-all-else",
        "coddy-project/coddy-agent#106",
        stream(b'error: {"code":400,"message":"%s","type":"invalid_request_error"}\n\n' % EXCEEDED.encode(), DONE),
        words="exceeds the available context size",
        code="context_length",
    ),
    failing(
        "error-chunk-then-done",
        "BerriAI/litellm#40578",
        stream(frame({"error": {"object": "error", "message": "The queue is full.", "code": 400}}), DONE),
        words="The queue is full.",
    ),
    failing(
        "error-string-then-done",
        "fox1245/NeoGraph#124",
        stream(b'data: {"error":"STREAM_EXPLODED"}\n\n', DONE),
        words="STREAM_EXPLODED",
    ),
    failing(
        "error-beside-no-choices",
        "diegosouzapw/OmniRoute#8210",
        stream(frame({"choices": [], "error": {"code": 502, "message": "limit reached (33/32)"}}), DONE),
        words="limit reached (33/32)",
    ),
    failing(
        "error-beside-text-and-finish",
        "damianvtran/local-operator#223",
        stream(
            frame(delta(content="So ")),
            frame({**delta("error", content="far"), "error": {"code": 502, "message": "Provider disconnected"}}),
            DONE,
        ),
        words="Provider disconnected",
        text="So far",
    ),
    failing(
        "finish-error-words-in-the-choice",
        "maximhq/bifrost#5425",
        reply("par", finished("error", error={"message": "upstream hung up", "code": 502}), finish=None),
        words="upstream hung up",
        text="par",
    ),
    failing(
        "finish-error-words-nowhere",
        "maximhq/bifrost#5425",
        reply('{"events": [{"title": "partial', finished("error"), finish=None),
        words="no reason",
    ),
    failing(
        "finish-error-in-other-words",
        "genkit-ai/genkit#6259",
        reply("Half", finish="network_error"),
        words="network_error",
    ),
    failing(
        "event-error",
        "BerriAI/litellm#4562",
        stream(
            frame(delta(content="Half")),
            b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Internal server error"}}\n\n',
        ),
        words="Internal server error",
    ),
    # -- a stream that says nothing is no answer -----------------------------------------------------------------------
    failing(
        "stop-and-nothing-said",
        "anomalyco/opencode#37735",
        reply(delta(role="assistant")),
        words="without saying anything",
        code="model_protocol",
    ),
    failing(
        "nothing-said-after-a-tool",
        "earendil-works/pi#8462",
        reply(tool_calls(("calculator", {"expression": "6*7"}))),
        reply(delta(role="assistant", content="")),
        words="without saying anything",
        code="model_protocol",
        calls=[("calculator", {"expression": "6*7"})],
    ),
    failing(
        "a-death-swallowed-into-done",
        "maximhq/bifrost#5546",
        reply({"id": "", "choices": [{"index": 0, "delta": {}}], "usage": {"total_tokens": 0}}, finish=None),
        words="without saying anything",
        code="model_protocol",
    ),
    failing(
        "an-empty-body",
        "earendil-works/pi#2537",
        stream(),
        words="neither a finish_reason nor [DONE]",
        code="model_protocol",
    ),
    # -- a finish reason that comes too early --------------------------------------------------------------------------
    Animal(
        "stop-first-then-six-silent-seconds",
        "open-webui/open-webui#23921",
        answers=(reply(delta("stop", role="assistant", content=""), nap(6), reasoning("Hm."), "Here it is."),),
        text="Here it is.",
        thought="Hm.",
        remark="stop",
    ),
    Animal(
        "stop-with-each-thought",
        "open-webui/open-webui#16377",
        answers=(reply(delta("stop", reasoning_content="Let "), delta("stop", reasoning_content="me"), nap(6), "42"),),
        text="42",
        thought="Let me",
    ),
    Animal(
        "text-in-the-chunk-that-ends",
        "jeremychone/rust-genai#164",
        answers=(reply("It is ", delta("stop", content="42."), finish=None, done=False),),
        text="It is 42.",
    ),
    Animal(
        "text-after-the-end",
        "lobehub/lobehub#3252",
        answers=(reply("It ", delta("stop", content="is "), delta("stop", content="42."), usage(3, 4), finish=None),),
        text="It is 42.",
    ),
    Animal(
        "no-finish-reason-but-done",
        "jakobdylanc/llmcord#84",
        answers=(reply("It is 42.", finish=None),),
        text="It is 42.",
        remark="stop",
    ),
    # -- an answer that lacks something says so ------------------------------------------------------------------------
    Animal(
        "cut-at-the-limit",
        "willdady/platypus#420",
        answers=(reply("It is the answer to", finish="length"),),
        text="It is the answer to",
        remark="length",
    ),
    Animal(
        "cut-in-other-words",
        "genkit-ai/genkit#6259",
        answers=(reply("It is the", finish="model_context_window_exceeded"),),
        text="It is the",
        remark="length",
    ),
    Animal(
        "cut-before-a-word",
        "openai/openai-agents-python#4510",
        answers=(reply(delta(content=""), finish="length"),),
        text="",
        remark="length",
    ),
    Animal(
        "cut-while-thinking",
        "open-pencil/open-pencil#454",
        answers=(reply(reasoning("Let me see. " * 9, 12), finish="length"),),
        text="",
        remark="length",
    ),
    Animal(
        "filtered-before-a-word",
        "anomalyco/opencode#31744",
        answers=(reply(delta(content=""), finish="content_filter"),),
        text="",
        remark="content_filter",
    ),
    Animal(
        "filtered-in-the-midst",
        "danny-avila/LibreChat#4039",
        answers=(reply("We the People", finish="content_filter"),),
        text="We the People",
        remark="content_filter",
    ),
    Animal(
        "filtered-in-other-words",
        "genkit-ai/genkit#6259",
        answers=(reply("We the", finish="sensitive"),),
        text="We the",
        remark="content_filter",
    ),
    Animal(
        "all-of-it-thinking",
        "anomalyco/opencode#41469",
        answers=(reply(reasoning("All cleared.", 4)),),
        text="",
        thought="All cleared.",
        finish="stop",
        remark="no_text",
    ),
    Animal(
        "thinking-alone-after-a-tool",
        "NousResearch/hermes-agent#58148",
        answers=(
            reply("Let me see.", tool_calls(("calculator", {"expression": "6*7"}))),
            reply(reasoning("So it is 42.")),
        ),
        text="Let me see.",
        remark="no_text",
    ),
)
