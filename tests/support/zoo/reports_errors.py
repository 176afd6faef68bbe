"""Public reports, most of the last two years: how servers say that something is wrong."""

from __future__ import annotations

from model_server import frame, status, stream

from zoo.animal import Animal

LLAMA_CONTEXT = {
    "error": {
        "code": 400,
        "message": "request (8071 tokens) exceeds the available context size (7500 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 8071,
        "n_ctx": 7500,
    }
}
LLAMA_CPP_PYTHON = status(
    400,
    {
        "error": {
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5010 tokens "
            "(5010 in the messages, None in the completion). Please reduce the length of the messages or completion.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    },
)
OPENROUTER_RAW = status(
    400,
    {
        "message": "Provider returned error",
        "code": 400,
        "metadata": {
            "raw": '{"object":"error","message":"Model is overloaded in this region","type":"service_error"}',
            "provider_name": "Mistral",
        },
    },
)
CLOUDFLARE = status(
    404,
    {
        "result": None,
        "success": False,
        "errors": [{"code": 7003, "message": "Could not route to /client/v4/accounts/1/ai/v1/chat/completions"}],
        "messages": [],
    },
)
GEMINI_LIST = status(
    400,
    [{"error": {"code": 400, "message": "Function calling is not enabled here", "status": "INVALID_ARGUMENT"}}],
)
TIMED_OUT = status(
    524,
    b"<!DOCTYPE html>\n<html>\n<head>\n<title>example.org | 524: A timeout occurred</title>\n</head></html>",
    content_type="text/html; charset=UTF-8",
)

ANIMALS = (
    Animal(
        "vllm-context-of-a-single-question",
        "hotovo/aider-desk PR #919",
        rule=lambda _: status(
            400,
            "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens and your "
            "prompt contains at least 262145 input tokens, for a total of at least 262145 tokens.",
        ),
        reason="failed",
        code="context_length",
        words=("262144",),
    ),
    Animal(
        "sglang-says-its-context-in-a-stream",
        "sgl-project/sglang PR #20027: 200, and the error object as its only line",
        rule=lambda _: stream(
            frame(
                {
                    "error": {
                        "object": "error",
                        "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
                        "type": "BadRequestError",
                        "param": None,
                        "code": 400,
                    }
                }
            ),
            b"data: [DONE]\n\n",
        ),
        reason="failed",
        code="context_length",
        words=("4096",),
    ),
    Animal(
        "cloudflare-lists-its-errors",
        "anomalyco/opencode #23773, cloudflare/cloudflare-docs #15116",
        rule=lambda _: CLOUDFLARE,
        reason="failed",
        code="model_not_found",
        words=("Could not route to",),
    ),
    Animal(
        "gemini-puts-its-error-into-a-list",
        "TokenRhythm/opensquilla #225, 0xsline/OpenChatCut #6",
        rule=lambda _: GEMINI_LIST,
        reason="failed",
        code="model_error",
        words=("Function calling is not enabled here",),
        settings={"mode": "chat"},
    ),
    Animal(
        "cloudflare-in-front-gives-up",
        "su-kaka/gcli2api #354, anthropics/claude-code #3197",
        rule=lambda _: TIMED_OUT,
        reason="failed",
        code="model_error",
        words=("524: A timeout occurred",),
    ),
    Animal(
        "modelscope-balance-is-no-rate-limit",
        "modelscope/modelscope #1691: its words stay",
        rule=lambda _: status(
            429,
            {"error": {"http_code": "429", "message": "insufficient balance (1008)", "type": "insufficient_balance"}},
            retry_after="3600",
        ),
        reason="failed",
        code="model_rate_limited",
        words=("insufficient balance (1008)",),
    ),
    Animal(
        "llama-says-its-context-under-200",
        "oobabooga/textgen #7257: an error object, as JSON, without a status of its own",
        rule=lambda _: status(200, LLAMA_CONTEXT),
        reason="failed",
        code="context_length",
        words=("7500 tokens",),
    ),
    Animal(
        "tgi-says-its-context-in-a-stream",
        "huggingface/huggingface_hub #2514, huggingface/text-generation-inference #2749",
        rule=lambda _: stream(
            b'data: {"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: '
            b'18 `inputs` tokens and 4091 `max_new_tokens`","error_type":"validation"}\n\n'
        ),
        reason="failed",
        code="context_length",
        words=("must be <= 4096",),
    ),
    Animal(
        "llama-cpp-python-ends-its-stream-at-once",
        "seen: llama-cpp-python 0.3.36, scripts/real_model.py: 200 and nothing; not streamed, its words and a 400",
        rule=lambda question: stream() if question.get("stream") else LLAMA_CPP_PYTHON,
        reason="failed",
        code="model_protocol",  # its words are not to be had: nothing is asked a second time without a reason
    ),
    Animal(
        "openrouter-hides-the-provider-words",
        "charmbracelet/crush #279: `Provider returned error` says nothing, its `metadata.raw` does",
        rule=lambda _: OPENROUTER_RAW,
        reason="failed",
        code="model_error",
        words=("Model is overloaded in this region",),
    ),
    Animal(
        "minimax-says-its-error-as-base-resp",
        "RooCodeInc/Roo-Code PR #9105, adrianlyjak/obsidian-aloud-tts PR #114: 200, `choices: null`",
        rule=lambda _: stream(
            frame(
                {
                    "id": "",
                    "choices": None,
                    "model": "",
                    "object": "",
                    "usage": None,
                    "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
                }
            )
        ),
        reason="failed",
        code="model_error",
        words=("insufficient balance",),
    ),
)
