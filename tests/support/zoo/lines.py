"""Lines of a stream that mean nothing, are labelled as something else, or are spelled as few would spell them."""

from __future__ import annotations

import json
from typing import Any

from model_server import DONE, Answer, delta, frame, stream

from zoo.animal import Animal

FIRST, SECOND, END = frame(delta(content="It is ")), frame(delta(content="42.")), frame(delta("stop"))
WHOLE = (FIRST, SECOND, END, DONE)


def harmless(name: str, source: str, *odd: bytes) -> Animal:
    """Gives an animal that has odd lines between two of its chunks, and before the first."""
    return Animal(
        name, source, answers=(stream(*odd, FIRST, *odd, SECOND, END, DONE),), text="It is 42.", remark="stop"
    )


def labelled(name: str, source: str, content_type: str | None) -> Animal:
    """Gives an animal with an event stream that is called something else."""
    headers = {"content-type": content_type} if content_type else {}
    return Animal(name, source, answers=(Answer(list(WHOLE), headers=headers),), text="It is 42.", remark="stop")


def spelled(name: str, source: str, *lines: bytes, text: str = "It is 42.", **more: Any) -> Animal:
    """Gives an animal that spells its chunks in an odd way."""
    return Animal(name, source, answers=(stream(*lines),), text=text, **more)


def chunk(**fields: Any) -> dict[str, Any]:
    return {**delta(content="42."), **fields}


def lines_of(value: Any, field: str) -> bytes:
    return b"".join(b"%b%b\n" % (field.encode(), line.encode()) for line in json.dumps(value, indent=1).splitlines())


def numbered(index: Any, content: str, finish: str | None = None) -> bytes:
    return frame({"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish}]})


ANIMALS = (
    # -- signs of life -------------------------------------------------------------------------------------------------
    harmless("a-time-as-data", "lanqian528/chat2api#25", b"data: 2024-04-27 01:35:43.68\n\n"),
    harmless("a-comment-as-data", "mnfst/llm-gateway#2053", b"data: : OPENROUTER PROCESSING\n\n"),
    harmless("an-event-ping-with-a-word", "uniai-lab/GLM-API#1", b"event: ping\ndata: ping\n\n"),
    harmless("an-event-ping-with-a-time", "betalgo/openai#472", b"event: ping\ndata: 2024-01-09 10:11:12\n\n"),
    harmless("a-ping-object", "openai-php/client#556", b'data: {"type": "ping"}\n\n'),
    harmless("data-null", "lanqian528/chat2api#25", b"data: null\n\n"),
    harmless("data-of-an-empty-text", "caozhiyuan/copilot-api#88", b'event: ping\ndata: ""\n\n'),
    harmless("data-of-nothing", "openai/openai-python#2721", b"retry: 3000\n\nid: 7\n\ndata:\n\nevent: keepalive\n\n"),
    harmless("data-that-is-a-list", "lanqian528/chat2api#25", b"data: []\n\ndata: [1, 2]\n\ndata: true\n\n"),
    harmless("colons-alone", "ggml-org/llama.cpp#24013", b":\n\n:\n\n"),
    harmless("half-a-text-of-limits", "TheR1D/shell_gpt#353", b'data: "{\\"rate_limit_usage\\": {\\\n\n'),
    # -- labels --------------------------------------------------------------------------------------------------------
    labelled("a-stream-labelled-json", "microsoft/foundry-dev-tools#195", "application/json"),
    labelled("a-stream-labelled-json-by-a-gateway", "mnfst/llm-gateway#2716", "application/json; charset=utf-8"),
    labelled("a-stream-labelled-text", "xiaoliu10/claude-code-router-next#45", "text/plain"),
    labelled("a-stream-with-two-labels", "florimondmanca/httpx-sse#19", "application/json, text/event-stream"),
    labelled("a-stream-with-no-known-label", "danielmiessler/Fabric#2128", "text/readystream"),
    labelled("a-stream-without-a-label", "ktorio/ktor#5836", None),
    Animal(
        "json-lines",
        "BerriAI/litellm#20278",
        answers=(
            Answer([line.removeprefix(b"data: ") for line in WHOLE], headers={"content-type": "application/x-ndjson"}),
        ),
        text="It is 42.",
    ),
    # -- spellings -----------------------------------------------------------------------------------------------------
    spelled(
        "no-space-after-data",
        "huggingface/huggingface_hub#4536",
        *(line.replace(b"data: ", b"data:") for line in WHOLE),
    ),
    spelled("data-twice", "openclaw/openclaw#97474", *(line.replace(b"data: ", b"data: data: ") for line in WHOLE)),
    spelled(
        "an-event-over-several-lines", "cloudwego/eino-ext#925", FIRST, lines_of(chunk(), "data: ") + b"\n", END, DONE
    ),
    spelled("one-line-break-an-event", "SillyTavern/SillyTavern#1482", *(line[:-1] for line in WHOLE)),
    spelled("two-objects-in-a-line", "ggml-org/llama.cpp#14268", FIRST[:-2] + SECOND[6:-2] + b"\n\n", END, DONE),
    spelled("two-events-in-a-line", "ggml-org/llama.cpp#14268", FIRST[:-2] + SECOND[:-2] + END[:-2] + DONE),
    spelled("crlf", "farion1231/cc-switch#1787", *(line.replace(b"\n", b"\r\n") for line in WHOLE)),
    spelled(
        "a-number-that-is-none",
        "infiniflow/ragflow#15266",
        FIRST,
        frame(chunk(reference={"similarity": float("nan")})),
        frame(chunk(choices=[{"delta": {"content": ""}, "logprobs": {"content": [{"logprob": float("-inf")}]}}])),
        END,
        DONE,
    ),
    spelled(
        "a-tab-in-a-text",
        "openai/openai-python#1230",
        FIRST.replace(b"It", b"\tIt"),
        SECOND,
        END,
        DONE,
        text="\tIt is 42.",
    ),
    spelled(
        "half-a-letter",
        "abetlen/llama-cpp-python#57",
        FIRST.replace(b"is ", b"is \xf0\x9f"),
        SECOND,
        END,
        DONE,
        text="It is \ufffd42.",
    ),
    spelled(
        "chunks-in-lists",
        "ggml-org/llama.cpp#14268",
        b"data: [" + FIRST[6:-2] + b", " + SECOND[6:-2] + b"]\n\n",
        END,
        DONE,
    ),
    # -- types ---------------------------------------------------------------------------------------------------------
    spelled(
        "the-choice-counts-tokens",
        "microsoft/foundry-local#263",
        numbered(0, "It "),
        numbered(1, "is "),
        numbered(2, "42.", "stop"),
        DONE,
    ),
    spelled(
        "the-choice-counts-from-one",
        "huggingface/text-generation-inference#1648",
        numbered(1, "It is "),
        numbered(2, "42.", "stop"),
    ),
    spelled("the-choice-is-a-text", "Effect-TS/effect#6346", numbered("0", "It is "), numbered(0.0, "42."), END, DONE),
    spelled(
        "a-call-whose-place-is-a-text",
        "wrtnlabs/agentica#342",
        frame(delta(content="It is ", tool_calls={})),
        frame(delta(content="42.", function_call={"name": None, "arguments": ""}, audio=[1])),
        END,
        DONE,
    ),
    spelled(
        "the-end-is-an-object",
        "wrtnlabs/agentica#342",
        FIRST,
        SECOND,
        frame({"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "stop", "matched": 2}}]}),
    ),
    spelled(
        "delta-and-message-at-once",
        "microsoft/foundry-local#263",
        *(
            frame({"choices": [{"delta": {"content": piece}, "message": {"content": whole}}]})
            for piece, whole in (("It is ", "It is "), ("42.", "It is 42."))
        ),
        END,
        DONE,
    ),
    # -- what stays a fault --------------------------------------------------------------------------------------------
    Animal(
        "a-torn-chunk",
        "openai/openai-python#1230",
        answers=(stream(FIRST, b'data: {"choices":[{"index":0,"delta":{"content":" \n\n', SECOND, END, DONE),),
        text="It is ",
        reason="failed",
        code="model_protocol",
        words=["not a chunk of JSON"],
    ),
)
