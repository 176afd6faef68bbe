"""Public reports, most of the last two years: what answers look like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from model_answers import Chunk
from model_server import DONE, Answer, delta, frame, reasoning, reply, status, stream, text, usage

from zoo.animal import Animal

SUM = ("calculator", {"expression": "6*7"})
TWO = ("calculator", {"expression": "1+1"})
WORDS = '{"expression":"6*7"}'
FORTY_TWO = reply(text("It is 42."))


def piece(index: int | None = None, call_id: str | None = None, name: str | None = None, words: Any = None) -> Chunk:
    """Gives a piece of a call with just these fields."""
    function = {key: value for key, value in (("name", name), ("arguments", words)) if value is not None}
    fields = {"index": index, "id": call_id, "type": "function" if name else None, "function": function}
    return delta(tool_calls=[{key: value for key, value in fields.items() if value is not None}])


def call(arguments: str, finish: str | None = "tool_calls") -> Answer:
    """Gives an answer that calls the calculator with this text as arguments, in one piece."""
    return reply(piece(0, "call_1", "calculator", arguments), finish=finish)


def single_bytes(chunk: str) -> list[bytes]:
    """Gives a line of data byte by byte."""
    line = f"data: {chunk}\n\n".encode()
    return [line[at : at + 1] for at in range(len(line))]


def one_call_a_turn(bodies: Sequence[dict[str, Any]]) -> None:
    turns = [message for question in bodies for message in question["messages"]]
    assert all(len(message.get("tool_calls") or ()) <= 1 for message in turns)


def body(*fields: tuple[str, Any]) -> bytes:
    """Gives a chunk as MiniMax, Azure or others shape it: with these fields and no others."""
    return frame(dict(fields))


FILTERED = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1787443200,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is 42."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
}

ANIMALS = (
    # -- ends
    Animal(
        "openrouter-says-an-error-in-its-last-chunk",
        "damianvtran/local-operator PR #223",
        rule=lambda _: reply(
            text("It is"),
            {
                **delta(finish="error", content=""),
                "error": {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider"}},
            },
            finish=None,
        ),
        reason="failed",
        code="model_error",
        text="It is",
        words=("Provider disconnected",),
    ),
    Animal(
        "nim-ends-without-a-reason-after-a-call",
        "earendil-works/pi #6226: what was cut off may lack its best part, so nothing is called",
        rule=lambda _: reply(piece(0, "call_1", "calculator", WORDS), finish=None, done=False),
        reason="failed",
        code="model_protocol",
        calls=[],
    ),
    Animal(
        "a-gateway-ends-without-a-reason-after-text",
        "CherryHQ/cherry-studio #19793: what came stays",
        rule=lambda _: reply(text("It is"), finish=None, done=False),
        reason="failed",
        code="model_protocol",
        text="It is",
    ),
    Animal(
        "a-gemini-proxy-ends-with-done-alone",
        "open-learning-exchange/planet PR #10281",
        rule=lambda _: reply(text("It is 42."), finish=None),
        text="It is 42.",
        finish="stop",
    ),
    Animal(
        "moderation-ends-an-answer",
        "CherryHQ/cherry-studio PR #16079",
        rule=lambda _: reply(text("It is"), finish="content_filter"),
        text="It is",
        finish="content_filter",
    ),
    Animal(
        "all-of-the-budget-was-thought",
        "BerriAI/litellm PR #37710, letta-ai/letta-code #3508",
        rule=lambda _: reply(reasoning("Let me see"), finish="length"),
        text="",
        thought="Let me see",
        finish="length",
    ),
    Animal(
        "vllm-breaks-down-behind-its-thoughts",
        "yoloyash/overtchat PR #42, use-agent-os/agent-os PR #2608: 200, thoughts, an error, and `[DONE]`",
        rule=lambda _: reply(
            reasoning("Let me see"),
            body(("error", {"object": "error", "message": "xgrammar failed", "type": "InternalServerError"})),
            finish=None,
        ),
        reason="failed",
        code="model_error",
        thought="Let me see",
        words=("xgrammar failed",),
    ),
    Animal(
        "alibaba-inspects-what-was-said",
        "theopenco/llmgateway PR #1901",
        rule=lambda _: reply(
            "It is",
            body(("error", {"code": "data_inspection_failed", "message": "Output data may be inappropriate."})),
            finish=None,
            done=False,
        ),
        reason="failed",
        code="model_error",
        text="It is",
        words=("Output data may be inappropriate.",),
    ),
    # -- odd lines and odd chunks
    Animal(
        "zen-cuts-a-letter-in-two",
        "anomalyco/opencode #39694, mrpulor-gh/nuphus #41, danielmiessler/Fabric PR #2203: raw UTF-8, cut anywhere",
        rule=lambda _: stream(*single_bytes('{"choices":[{"index":0,"delta":{"content":"修复方法 🌍"}}]}'), DONE),
        text="修复方法 🌍",
    ),
    Animal(
        "llmgateway-comments-with-a-blank-line",
        "theopenco/llmgateway PR #2334, openai/openai-python #2722, mckinsey/agents-at-scale-ark PR #2519",
        rule=lambda _: stream(
            b"id: 1\n",
            frame(delta(content="It is ")),
            b": ping\n\n",
            b": ping - 2026-06-17 10:00:00\n\n",
            b"id: 2\n",
            frame(delta(content="42.")),
            b":\n\n",
            frame(delta(finish="stop")),
            DONE,
        ),
        text="It is 42.",
    ),
    Animal(
        "a-proxy-keeps-alive-with-empty-data",
        "netease-lcap/wave-agent PR #1326, ollamaflow/ollamaflow #7",
        rule=lambda _: reply(b"data:\n\n", "It is ", b"data: \n\n", "42."),
        text="It is 42.",
    ),
    Animal(
        "copilot-api-pings-with-an-object",
        "caozhiyuan/copilot-api PR #88",
        rule=lambda _: reply(b'event: ping\ndata: {"type":"ping"}\n\n', "It is 42."),
        text="It is 42.",
    ),
    Animal(
        "azure-filters-the-prompt-first",
        "AbanteAI/archive-old-cli-mentat #429, microsoft/semantic-kernel #3650",
        rule=lambda _: reply(
            body(
                ("id", ""),
                ("choices", []),
                ("created", 0),
                ("model", ""),
                ("object", ""),
                ("system_fingerprint", None),
                ("prompt_filter_results", [{"prompt_index": 0, "content_filter_results": FILTERED}]),
            ),
            "It is 42.",
        ),
        text="It is 42.",
    ),
    Animal(
        "azure-annotates-without-a-delta",
        "microsoft/autogen #6465, langchain-ai/langchain #18977",
        rule=lambda _: reply(
            "It is 42.",
            body(
                ("id", ""),
                ("object", ""),
                ("created", 0),
                ("model", ""),
                ("usage", None),
                (
                    "choices",
                    [
                        {
                            "index": 0,
                            "finish_reason": None,
                            "content_filter_results": FILTERED,
                            "content_filter_raw": [],
                            "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
                        }
                    ],
                ),
            ),
        ),
        text="It is 42.",
    ),
    Animal(
        "the-last-delta-is-null",
        "microsoft/agent-framework PR #5734, bagofwords1/bagofwords PR #742",
        rule=lambda _: reply(
            "It is 42.",
            body(("choices", [{"index": 0, "delta": None, "finish_reason": "stop"}])),
            finish=None,
        ),
        text="It is 42.",
    ),
    Animal(
        "the-tokens-come-without-choices",
        "cline/cline #8384, cline/cline PR #8527",
        rule=lambda _: reply("It is 42.", {**usage(9, 5), "choices": None}, usage(9, 5)),
        text="It is 42.",
    ),
    Animal(
        "sglang-thinks-with-a-role-of-null",
        "sgl-project/sglang #18335, MiniMax-AI/MiniMax-M2.5 #2",
        rule=lambda _: reply(
            delta(role=None, content=None, reasoning_content="I add."),
            delta(role="", reasoning_content=""),
            "It is 42.",
        ),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "mistral-says-its-answer-in-a-list",
        "symfony/ai #2422, openclaw/openclaw PR #68418, meilisearch/meilisearch PR #6327",
        rule=lambda _: reply(
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "I add."}]}]),
            delta(content=[{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "It is "}]),
            delta(content="42."),
        ),
        text="It is 42.",
        thought="I add.",
    ),
    # -- calls
    Animal(
        "nim-repeats-the-name-in-every-piece",
        "NousResearch/hermes-agent PR #11984, PR #12230",
        answers=(
            reply(
                piece(0, "call_1", "calculator", ""),
                piece(0, "call_1", "calculator", '{"expression"'),
                piece(0, "call_1", "calculator", ':"6*7"}'),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "a-backend-omits-the-index-of-two-calls",
        "SamSaffron/term-llm PR #314, openai/openai-python PR #3246, AstrBotDevs/AstrBot PR #6692",
        answers=(
            reply(
                piece(None, "call_1", "calculator", ""),
                piece(words=WORDS),
                piece(None, "call_2", "calculator", ""),
                piece(words='{"expression":"1+1"}'),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM, TWO],
    ),
    Animal(
        "two-entries-of-one-index-in-one-chunk",
        "openai/openai-python PR #3438, PR #3241",
        answers=(
            reply(
                delta(
                    tool_calls=[
                        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "calculator"}},
                        {"index": 0, "function": {"arguments": '{"expression"'}},
                    ]
                ),
                piece(0, words=':"6*7"}'),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "vllm-gives-two-calls-one-index",
        "InternLM/lmdeploy #3412, ai-dynamo/dynamo PR #4723, AIPentest/CyberStrikeAI PR #231",
        answers=(
            reply(
                piece(0, "chatcmpl-tool-c9Z", "calculator", ""),
                piece(0, "", words=WORDS),
                piece(0, "chatcmpl-tool-Hfz", "calculator", ""),
                piece(0, "", words='{"expression":"1+1"}'),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM, TWO],
    ),
    Animal(
        "claude-counts-its-text-before-the-call",
        "NVIDIA-NeMo/Switchyard PR #712, BerriAI/litellm #5231: the only call has the index 1",
        answers=(reply("I add.", piece(1, "toolu_1", "calculator", ""), piece(1, words=WORDS)), FORTY_TWO),
        text="I add.\n\nIt is 42.",
        calls=[SUM],
    ),
    Animal(
        "arguments-that-were-cut-are-not-guessed",
        "14790897/MiqroForge-Desktop PR #1100: `length` in the midst of a call",
        answers=(call('{"expression":"6*7', finish="length"), FORTY_TWO),
        text="It is 42.",
        calls=[],
    ),
    # -- ends
    Animal(
        "vllm-aborts-and-says-done",
        "vllm-project/vllm #57082",
        rule=lambda _: reply(text("It is"), finish="abort"),
        reason="failed",
        code="model_error",
        text="It is",
    ),
    Animal(
        "zen-ends-with-network-error-and-nothing",
        "NousResearch/hermes-agent PR #92161",
        rule=lambda _: reply(finish="network_error"),
        reason="failed",
        code="model_error",
    ),
    Animal(
        "gemini-filters-its-own-malformed-call",
        "NousResearch/hermes-agent #11171, PR #83882, mastra-ai/mastra PR #20302: an end that is none",
        rule=lambda _: reply(finish="function_call_filter: MALFORMED_FUNCTION_CALL"),
        reason="failed",
        code="model_protocol",
    ),
    Animal(
        "openrouter-says-stop-and-means-an-error",
        "OleksandrChekhovskyi/hax PR #15: nothing said, `stop`, and the truth in `native_finish_reason`",
        rule=lambda _: reply(
            body(("choices", [{"delta": {}, "finish_reason": "stop", "native_finish_reason": "network_error"}])),
            finish=None,
        ),
        reason="failed",
        code="model_protocol",
    ),
    # -- whole answers and other labels
    Animal(
        "9router-gives-a-whole-answer-as-an-event-stream",
        "decolua/9router #3492",
        rule=lambda _: stream(json.dumps(WHOLE).encode() + b"\n\n", DONE),
        text="It is 42.",
    ),
    Animal(
        "a-buffered-model-gives-a-whole-answer",
        "router-for-me/CLIProxyAPI #460, continuedev/continue #1108",
        rule=lambda _: status(200, WHOLE),
        text="It is 42.",
    ),
    Animal(
        "foundry-labels-its-stream-json",
        "microsoft/foundry-dev-tools #195",
        rule=lambda _: reply("It is 42.", headers={"content-type": "application/json"}),
        text="It is 42.",
    ),
    # -- calls
    Animal(
        "a-gateway-writes-the-index-as-text",
        "anvia-hq/anvia PR #262",
        answers=(
            reply(
                delta(tool_calls=[{"index": "0", "id": "call_1", "function": {"name": SUM[0], "arguments": WORDS}}]),
                delta(tool_calls=[{"index": "1", "id": "call_2", "function": {"name": TWO[0], "arguments": ""}}]),
                delta(tool_calls=[{"index": "1", "function": {"arguments": '{"expression":"1+1"}'}}]),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM, TWO],
    ),
    Animal(
        "localai-gives-one-call-several-indexes",
        "mudler/LocalAI #9722: one id is one call",
        answers=(
            reply(
                piece(0, "LipwoT0puK4tQY6nxW39FNRyvQ6Hrh8p", "calculator", ""),
                piece(1, "LipwoT0puK4tQY6nxW39FNRyvQ6Hrh8p", "calculator", WORDS),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM],
        asked=one_call_a_turn,
    ),
    Animal(
        "gemini-gives-a-name-in-two-pieces",
        "continuedev/continue PR #5849",
        answers=(reply(piece(0, "call_1", "calcu", ""), piece(0, None, "lator", ""), piece(0, words=WORDS)), FORTY_TWO),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "opencodex-sends-all-arguments-twice",
        "lidge-jun/opencodex #361, anomalyco/opencode #33064",
        answers=(
            reply(piece(0, "tool_1", "calculator", ""), piece(0, words=WORDS), piece(0, words=WORDS)),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "codex-lb-says-one-object-thrice",
        "Soju06/codex-lb #284",
        answers=(call(WORDS * 3), FORTY_TWO),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "one-index-two-objects-the-name-again",
        "open-webui/open-webui PR #22235: two queries under one index are two calls",
        answers=(
            reply(
                piece(0, "call_1", "calculator", ""),
                piece(0, None, "calculator", WORDS),
                piece(0, None, "calculator", '{"expression":"1+1"}'),
            ),
            FORTY_TWO,
        ),
        text="It is 42.",
        calls=[SUM, TWO],
    ),
    Animal(
        "qwq-closes-once-too-often",
        "yigit353/langchain-qwq #30",
        answers=(call(WORDS + "}"), FORTY_TWO),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "vllm-forgets-the-first-brace",
        "vllm-project/vllm #35266: what is left can mean one object only",
        answers=(call('"expression": "6*7"}'), FORTY_TWO),
        text="It is 42.",
        calls=[SUM],
    ),
    # -- dialects of thinking
    Animal(
        "minimax-only-closes-its-thoughts",
        "cubist38/mlx-openai-server #179, SimonSchubert/Kai #301, openvinotoolkit/model_server #3829",
        rule=lambda _: reply(text("The user greets me.\n</think>\nHi! How can I help you today?", 7)),
        text="Hi! How can I help you today?",
        thought="The user greets me.\n",
    ),
    Animal(
        "minimax-thinks-in-thinking-tags",
        "QwenLM/qwen-code #3228",
        rule=lambda _: reply(text("<thinking>I add.</thinking>\n\nIt is 42.", 5)),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "gemma-thinks-in-a-channel",
        "qwersyk/Newelle #427, jundot/omlx #560",
        rule=lambda _: reply(text("<|channel>thought\nI add.<channel|>It is 42.", 6)),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "gemma-thinks-of-nothing",
        "qwersyk/Newelle #427: an empty block even where thinking is off",
        rule=lambda _: reply(text("<|channel>thought\n<channel|>It is 42.", 6)),
        text="It is 42.",
        thought="",
    ),
    Animal(
        "medgemma-thinks-in-unused-tokens",
        "ollama/ollama #15754",
        rule=lambda _: reply(text("<unused94>thought\nI add.<unused95>It is 42.", 4)),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "ministral-thinks-in-brackets",
        "LostRuins/koboldcpp #1883, #1745",
        rule=lambda _: reply(text("[THINK]I add.[/THINK]It is 42.", 3)),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "harmony-comes-through",
        "scouzi1966/maclocal-api #121, ml-explore/mlx-lm PR #1867",
        rule=lambda _: reply(
            text(
                "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant<|channel|>final<|message|>"
                "It is 42.<|return|>",
                9,
            )
        ),
        text="It is 42.",
        thought="I add.",
    ),
    Animal(
        "harmony-has-a-final-of-json",
        "openai/harmony #56",
        rule=lambda _: reply(
            text(
                "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant<|channel|>final json<|message|>"
                '{"sum": 42}',
                11,
            )
        ),
        text='{"sum": 42}',
        thought="I add.",
    ),
    Animal(
        "qwen-thinks-of-blanks",
        "QwenLM/Qwen-Agent #542, a-ghorbani/pocketpal-ai PR #299: thinking is off",
        rule=lambda _: reply(text("<think>\n\n</think>\n\nIt is 42.", 5)),
        text="It is 42.",
        thought="",
    ),
)
