"""Contexts: how servers tell, refuse or hide how much a model reads at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from model_server import Answer, reply, status, text

from zoo.animal import Animal, Rule

LIMIT = 4096
# Four questions of 1,500 tokens each: the third is more than the model reads.
LONG = tuple(f"Part {number} of my notes. " + "word of the notes " * 330 for number in range(1, 5))
SAID = "Noted."
Refuse = Callable[[int], Answer]  # from the tokens that were sent


def tokens(question: dict[str, Any]) -> int:
    """Counts as these servers do: about four letters make a token."""
    return len(json.dumps(question["messages"])) // 4


def narrow(refuse: Refuse, limit: int = LIMIT) -> Rule:
    """Makes the rule of a server that refuses what is longer than the limit."""

    def rule(question: Any) -> Answer | str:
        sent = tokens(question)
        return refuse(sent) if sent > limit else reply(text(SAID), tokens=(sent, 2))

    return rule


def words(message: str, refused: int = 400, /, **fields: Any) -> Refuse:
    """Makes the refusal with these words; `{sent}` is what was sent, `{limit}` the model's context."""

    def refuse(sent: int) -> Answer:
        said = message.format(sent=sent, limit=LIMIT, more=sent + 1024)
        numbers = {name: {"SENT": sent, "LIMIT": LIMIT}.get(value, value) for name, value in fields.items()}
        return status(refused, {"error": {"message": said, "type": "invalid_request_error", **numbers}})

    return refuse


def begins_with_user(bodies: list[dict[str, Any]]) -> None:
    """Checks what every server wants of each request: after the system's words comes a person's."""
    for body in bodies:
        roles = [message["role"] for message in body["messages"] if message["role"] != "system"]
        assert roles[0] == "user"
        assert roles[-1] == "user"


def has_the_newest(bodies: list[dict[str, Any]]) -> None:
    """Checks that the last answer was asked for with its question whole."""
    begins_with_user(bodies)
    assert LONG[-1].strip() in bodies[-1]["messages"][-1]["content"]


def refusing(name: str, source: str, refuse: Refuse) -> Animal:
    """Makes an animal that refuses a long conversation in these words."""
    return Animal(name, source, rule=narrow(refuse), says=LONG, text=SAID, finish="stop", asked=has_the_newest)


def never_too_long(sent: int) -> Answer:
    """Refuses without a hint: whoever was told the length has no excuse."""
    return status(418, f"{sent} tokens")


def telling(name: str, source: str, row: dict[str, Any] | None = None, **more: Any) -> Animal:
    """Makes an animal that tells its length before: it has never to refuse."""
    rule = narrow(never_too_long)
    return Animal(
        name, source, rule=rule, says=LONG, text=SAID, finish="stop", asked=has_the_newest, row=row or {}, **more
    )


REFUSALS = (
    refusing(
        "context-openai",
        "ChatGPTNextWeb/NextChat#625",
        words(
            "This model's maximum context length is {limit} tokens. However, your messages resulted in {sent} tokens. "
            "Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        ),
    ),
    refusing(
        "context-vllm",
        "vllm-project/vllm#20409",
        lambda sent: status(
            400,
            {
                "object": "error",
                "message": f"This model's maximum context length is {LIMIT} tokens. However, you requested "
                f"{sent + 1024} tokens ({sent} in the messages, 1024 in the completion). Please reduce the length of "
                "the messages or completion.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
    ),
    refusing(
        "context-llama-cpp",
        "ggml-org/llama.cpp#15780",
        words(
            "the request exceeds the available context size. try increasing the context size or enable context shift",
            n_prompt_tokens="SENT",
            n_ctx="LIMIT",
        ),
    ),
    refusing(
        "context-llama-cpp-without-numbers",
        "continuedev/continue#9797",
        words("the request exceeds the available context size, try increasing it"),
    ),
    refusing(
        "context-llama-cpp-says-500",
        "oobabooga/textgen#7257",
        words("the request exceeds the available context size.", 500, n_prompt_tokens="SENT", n_ctx="LIMIT"),
    ),
    refusing(
        "context-llama-cpp-python",
        "rllm-team/rllm#55",
        words("Requested tokens ({sent}) exceed context window of {limit}"),
    ),
    refusing(
        "context-mistral",
        "docs.mistral.ai/resources/known-limitations",
        lambda sent: status(
            400,
            {
                "object": "error",
                "message": f"Prompt contains {sent} tokens and 0 draft tokens, too large for model with {LIMIT} "
                "maximum context length",
                "type": "invalid_request_prompt",
                "code": "3051",
            },
        ),
    ),
    refusing(
        "context-anthropic",
        "anthropics/claude-code#12186",
        words("prompt is too long: {sent} tokens > {limit} maximum"),
    ),
    refusing(
        "context-anthropic-with-the-answer",
        "docker/docker-agent#569",
        words(
            "input length and `max_tokens` exceed context limit: {sent} + 1024 > {limit}, decrease input length or "
            "`max_tokens` and try again"
        ),
    ),
    refusing(
        "context-groq",
        "assafelovic/gpt-researcher#985",
        words(
            "Request too large for model `llama-3.1-70b-versatile` in organization `org_1` on tokens per minute (TPM): "
            "Limit {limit}, Requested {sent}, please reduce your message size and try again.",
            413,
            type="tokens",
            code="rate_limit_exceeded",
        ),
    ),
    refusing(
        "context-tokens-per-minute",
        "vanna-ai/vanna-flask#11",
        words(
            "Request too large for gpt-4o on tokens per min (TPM): Limit {limit}, Requested {sent}. The input or "
            "output tokens must be reduced in order to run successfully.",
            429,
            type="tokens",
            code="rate_limit_exceeded",
        ),
    ),
    refusing(
        "context-lm-studio",
        "lmstudio-ai/lmstudio-bug-tracker#546",
        lambda sent: status(
            400,
            {
                "error": f"Trying to keep the first {sent} tokens when context the overflows. However, the model is "
                f"loaded with context length of only {LIMIT} tokens, which is not enough. Try to load the model with a "
                "larger context length, or provide a shorter input"
            },
        ),
    ),
    refusing(
        "context-lm-studio-keeps",
        "tinyhumansai/openhuman#3550",
        lambda sent: status(
            400,
            {
                "error": "The number of tokens to keep from the initial prompt is greater than the context length "
                f"(n_keep: {sent} >= n_ctx: {LIMIT}). Try to load the model with a larger context length, or provide a "
                "shorter prompt"
            },
        ),
    ),
    refusing(
        "context-gemini",
        "google-gemini/gemini-cli#12098",
        words("The input token count ({sent}) exceeds the maximum number of tokens allowed ({limit})."),
    ),
    refusing(
        "context-of-the-prompt-alone",
        "stanford-crfm/helm#94",
        words(
            "This model's maximum context length is {limit} tokens, however you requested {more} tokens ({sent} in "
            "your prompt; 1024 for the completion). Please reduce your prompt; or completion length."
        ),
    ),
    refusing(
        "context-in-the-stream",
        "oobabooga/textgen#7257",
        lambda sent: reply(
            b'data: {"error": {"code": 400, "message": "the request exceeds the available context size", '
            b'"type": "exceed_context_size_error", "n_prompt_tokens": %d, "n_ctx": %d}}\n\n' % (sent, LIMIT),
            finish=None,
        ),
    ),
)

OLLAMA = {"models": [{"name": "context-ollama-ps", "model": "context-ollama-ps", "context_length": LIMIT}]}
SHOWN = {"model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960}, "parameters": ""}

TOLD = (
    telling("context-told-openrouter", "openrouter.ai/docs/api/api-reference/models", {"context_length": LIMIT}),
    telling(
        "context-told-of-the-provider",
        "openrouter.ai/docs/api/api-reference/models",
        {"context_length": 131072, "top_provider": {"context_length": LIMIT, "max_completion_tokens": None}},
    ),
    telling("context-told-vllm", "gpustack/gpustack#929", {"max_model_len": LIMIT}),
    telling("context-told-groq", "console.groq.com/docs/models", {"context_window": LIMIT}),
    telling("context-told-mistral", "docs.mistral.ai/api", {"max_context_length": LIMIT}),
    telling(
        "context-told-lm-studio",
        "zed-industries/zed#33938",
        {"loaded_context_length": LIMIT, "max_context_length": 131072},
    ),
    telling(
        "context-told-llama-cpp",
        "github.com/ggml-org/llama.cpp/tree/master/tools/server",
        {"meta": {"n_ctx": LIMIT, "n_ctx_train": 131072}},
    ),
    telling(
        "context-props-llama-cpp",
        "NousResearch/hermes-agent/agent/model_metadata_llamacpp.py",
        {"meta": {"n_ctx_train": 131072}},
        routes={"/props": {"default_generation_settings": {"n_ctx": LIMIT}, "total_slots": 1}},
    ),
    telling(
        "context-lm-studio-v0",
        "zed-industries/zed#33938",
        routes={
            "/api/v0/models": {
                "data": [
                    {
                        "id": "context-lm-studio-v0",
                        "state": "loaded",
                        "max_context_length": 131072,
                        "loaded_context_length": LIMIT,
                    }
                ]
            }
        },
    ),
    telling("context-ollama-ps", "ollama/ollama#17889", routes={"/api/ps": OLLAMA, "/api/show": SHOWN}),
    telling(
        "context-ollama-num-ctx",
        "NousResearch/hermes-agent#43900",
        routes={"/api/ps": {"models": []}, "/api/show": {**SHOWN, "parameters": f"num_ctx    {LIMIT}\nstop x"}},
    ),
    telling(
        "context-ollama-not-loaded",
        "anomalyco/opencode#10759",
        routes={"/api/ps": {"models": []}, "/api/show": SHOWN},
    ),
)


def clips(question: Any) -> Answer:
    """Answers as Ollama does where nobody asked it for its length: what does not fit is left out without a word."""
    sent = tokens(question)
    return reply(text(SAID if sent <= LIMIT else "Sorry, what was it?"), tokens=(sent if sent <= LIMIT else 2050, 2))


ANIMALS = (
    *REFUSALS,
    *TOLD,
    Animal(
        "context-clipped-silently",
        "Stirling-Tools/Stirling-PDF#7770",
        rule=clips,
        says=(*LONG, "And now?"),
        text=SAID,
    ),
    Animal(
        "context-of-a-single-message",
        "lmstudio-ai/lmstudio-bug-tracker#546",
        rule=narrow(words("prompt is too long: {sent} tokens > {limit} maximum")),
        says=("word " * 6000,),
        reason="failed",
        code="context_length",
        words=("prompt is too long", "shorter"),
    ),
)
