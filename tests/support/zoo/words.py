"""The server's own words: an answer that is not streamed, and errors in every shape."""

from __future__ import annotations

import json
from typing import Any

from model_server import DONE, Answer, frame, status, stream

from zoo.animal import Animal

MESSAGE = {"role": "assistant", "content": "It is 42."}


def completion(message: Any = MESSAGE, finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    """Gives a whole completion, as a server sends it that was not asked to stream."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], **fields}


def spread(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


CALL = {"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": '{"expression": "6*7"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
USED = {"prompt_tokens": 3, "completion_tokens": 4}


def whole(name: str, source: str, *answers: Answer, **more: Any) -> Animal:
    return Animal(name, source, answers=answers, text="It is 42.", remark="stop", **more)


def saying(name: str, source: str, answer: Answer, *words: str, code: str = "model_error") -> Animal:
    return Animal(name, source, answers=(answer,), reason="failed", code=code, words=words)


def wrapped(message: str, raw: Any) -> dict[str, Any]:
    return {"error": {"message": message, "code": 400, "metadata": {"raw": raw, "provider_name": "Crucible"}}}


ANIMALS = (
    # -- a whole completion --------------------------------------------------------------------------------------------
    whole("not-streamed", "mistralai/mistral-vibe#619", status(200, completion())),
    whole(
        "not-streamed-with-calls",
        "mistralai/mistral-vibe#619",
        status(200, completion(CALLING, "tool_calls", usage=USED)),
        status(200, completion(usage=USED)),
        calls=[("calculator", {"expression": "6*7"})],
    ),
    whole("not-streamed-over-many-lines", "betalgo/openai#73", status(200, spread(completion()))),
    whole("not-streamed-without-a-finish-reason", "betalgo/openai#73", status(200, completion(finish=None))),
    whole(
        "not-streamed-and-done",
        "decolua/9router#3492",
        stream(json.dumps(completion()).encode() + b"\n\n", DONE),
    ),
    whole(
        "not-streamed-over-many-lines-and-done", "decolua/9router#3492", stream(spread(completion()) + b"\n\n", DONE)
    ),
    whole("not-streamed-as-one-event", "liustack/modlens#94", stream(frame(completion()))),
    whole(
        "not-streamed-thinking",
        "jundot/omlx#2860",
        status(200, completion({**MESSAGE, "reasoning_content": "Hm."})),
        thought="Hm.",
    ),
    # -- errors under 200 ----------------------------------------------------------------------------------------------
    saying(
        "a-path-without-v1",
        "lmstudio-ai/lmstudio-bug-tracker#618",
        status(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        "Unexpected endpoint or method. (POST /chat/completions)",
    ),
    saying(
        "an-error-over-many-lines", "betalgo/openai#73", status(200, spread({"error": {"message": "no key"}})), "no key"
    ),
    saying(
        "an-error-labelled-as-a-stream",
        "ggml-org/llama.cpp#14566",
        stream(spread({"error": {"code": 400, "message": "it is too busy"}})),
        "it is too busy",
    ),
    saying("a-detail-under-200", "basketikun/chatgpt2api#171", status(200, {"detail": "Not Found"}), "Not Found"),
    saying(
        "a-code-and-a-message-under-200",
        "labring/FastGPT#422",
        status(200, {"code": 500, "statusText": "", "message": "no channel for model M3E", "data": None}),
        "no channel for model M3E",
    ),
    saying(
        "a-status-beside-no-choices",
        "CherryHQ/cherry-studio#11287",
        status(200, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        "insufficient balance",
    ),
    saying(
        "a-status-in-a-stream",
        "MiniMax-AI/MiniMax-M2.5#18",
        stream(b'data: {"base_resp":{"status_code":2049,"status_msg":"invalid api key"}}\n\n', DONE),
        "invalid api key",
    ),
    saying(
        "an-error-as-words-in-a-stream",
        "stacklok/codegate#149",
        stream(b"data: 'async for' requires an object with __aiter__ method, got ModelResponse\n\n", DONE),
        "'async for' requires an object",
        code="model_protocol",
    ),
    saying(
        "a-web-page",
        "JuiceBoxxGames/utsuwa#67",
        Answer(
            [b"<!doctype html>\n<html><head>\n", b"<title>Welcome to X</title>"], headers={"content-type": "text/html"}
        ),
        "text/html",
        "Welcome to X",
        code="model_protocol",
    ),
    saying(
        "a-web-page-labelled-as-a-stream",
        "WolframResearch/Chatbook#183",
        stream(b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>x</body></html>"),
        "503 Service Temporarily Unavailable",
        code="model_protocol",
    ),
    saying(
        "words-that-are-no-answer",
        "huggingface/chat-ui#430",
        Answer([b"Model is loading"], headers={"content-type": "text/plain"}),
        "text/plain",
        "Model is loading",
        code="model_protocol",
    ),
    # -- errors with a status ------------------------------------------------------------------------------------------
    saying(
        "an-error-that-is-a-text",
        "PsycherosAI/Psycheros#44",
        status(402, {"error": "Insufficient balance"}),
        "Insufficient balance",
    ),
    saying(
        "an-error-that-is-a-flag",
        "songquanpeng/one-api#1560",
        status(400, {"error": True, "message": "the tokens are used up"}),
        "the tokens are used up",
    ),
    saying(
        "an-error-that-names-its-status",
        "raullenchai/Rapid-MLX#491",
        status(400, {"statusCode": 400, "error": "Bad Request", "message": "messages must not be empty"}),
        "messages must not be empty",
    ),
    saying(
        "a-title-and-a-detail",
        "openai/openai-openapi#43",
        status(409, {"type": "urn:x", "title": "Conflict", "status": 409, "detail": "The account is closed."}),
        "The account is closed.",
    ),
    saying(
        "the-real-words-are-wrapped",
        "open-webui/computer#293",
        status(400, wrapped("Provider returned error", "glm-5 takes one image at most")),
        "glm-5 takes one image at most",
    ),
    saying(
        "the-real-words-are-wrapped-as-json",
        "diegosouzapw/OmniRoute#3044",
        status(
            400, wrapped("Provider returned error", '{"error":{"message":"at most 1 image per prompt","code":"x"}}')
        ),
        "at most 1 image per prompt",
    ),
    saying(
        "an-error-as-an-event-with-a-status",
        "BerriAI/litellm#25492",
        Answer([b'data: {"error": {"message": "no such tool"}}\n\n'], 400),
        "(400): no such tool",
    ),
    saying(
        "a-list-of-errors",
        "ClankerNation/OpenAgents#519",
        status(400, {"success": False, "errors": [{"code": 7, "message": "no route"}]}),
        "no route",
    ),
)
