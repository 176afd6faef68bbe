"""Public reports, most of the last two years: what servers refuse in a request.

How errors are said is in `zoo.reports_errors`, what answers look like in `zoo.reports_streams`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from model_server import Answer, delta, reasoning, reply, status, tool_calls

from zoo.animal import Animal, Rule
from zoo.reports_errors import LLAMA_CONTEXT

SUM = ("calculator", {"expression": "6*7"})
Message = dict[str, Any]
Check = Callable[[Message], bool]


def sums(key: str | None = None) -> Rule:
    """Gives a model that calculates with a tool, if it may, and says what came; it thinks first, under this key."""

    def answer(question: Any) -> Answer | str:
        if question["messages"][-1]["role"] == "tool" or "tools" not in question:
            return "It is 42."
        return reply(reasoning("I add it up.", key=key) if key else [], tool_calls(SUM))

    return answer


def refusing(refusal: Answer, wrong: Callable[[Any], bool], then: Rule) -> Rule:
    """Gives a server that refuses a question of which `wrong` holds."""
    return lambda question: refusal if wrong(question) else then(question)


def any_message(check: Check) -> Callable[[Any], bool]:
    return lambda question: any(check(message) for message in question["messages"])


def neighbours(first: str, second: str) -> Callable[[Any], bool]:
    """Says whether two roles follow one another somewhere."""

    def check(question: Any) -> bool:
        roles = [message["role"] for message in question["messages"]]
        return (first, second) in itertools.pairwise(roles)

    return check


def no_calls_like(pattern: str) -> Callable[[Any], bool]:
    """Says whether an id of a call does not look like this."""

    def check(message: Message) -> bool:
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        ids += [message["tool_call_id"]] if message["role"] == "tool" else []
        return not all(re.fullmatch(pattern, each) for each in ids)

    return any_message(check)


def first_signature_is_missing(message: Message) -> bool:
    calls = message.get("tool_calls") or ()
    return bool(calls) and "extra_content" not in calls[0]


def bad_arguments(message: Message) -> bool:
    for call in message.get("tool_calls") or ():
        arguments = call["function"]["arguments"]
        try:
            whole = isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
        except ValueError:
            whole = False
        if not whole:
            return True
    return False


def has_calls(message: Message) -> bool:
    return bool(message.get("tool_calls"))


def always_tools(bodies: Sequence[Message]) -> None:
    assert all(body.get("tools") for body in bodies)


def longer_than(size: int) -> Callable[[Any], bool]:
    return lambda question: sum(len(message["content"] or "") for message in question["messages"]) > size


def failing_after(users: int, refusal: Answer, then: Rule) -> Rule:
    """Gives a model that breaks down after its tool's result, in the thread's first question."""

    def answer(question: Any) -> Answer | str:
        said = [message["role"] for message in question["messages"]]
        return refusal if said[-1] == "tool" and said.count("user") == users else then(question)

    return answer


def calling_until_refused(refusal: Answer) -> Rule:
    """Gives a model that calls the same tool for ever, and a server that minds it when it was told not to."""

    def answer(question: Any) -> Answer | str:
        if question.get("tool_choice") == "none":
            return refusal
        return reply(tool_calls(SUM)) if "tools" in question else "It is 42."

    return answer


def two_signed(question: Any) -> Answer | str:
    if question["messages"][-1]["role"] == "tool":
        return "It is 42 and 2."
    signed = {"google": {"thought_signature": "AVSoXO4="}}
    first = {"id": "function-call-1", "type": "function", "extra_content": signed}
    second = {"id": "function-call-2", "type": "function"}
    return reply(
        delta(tool_calls=[{**first, "function": {"name": "calculator", "arguments": '{"expression":"6*7"}'}}]),
        delta(tool_calls=[{**second, "function": {"name": "calculator", "arguments": '{"expression":"1+1"}'}}]),
    )


def broken_first(question: Any) -> Answer | str:
    if question["messages"][-1]["role"] == "tool":
        return "It is 42."
    return reply(tool_calls(("calculator", '{"expression": "6*7')))


CEREBRAS = status(
    400,
    {
        "message": "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' "
        "is unsupported",
        "type": "invalid_request_error",
        "param": "validation_error",
        "code": "wrong_api_format",
    },
)
GROQ_REASONING = status(
    400,
    "'messages.1' : for 'role:assistant' the following must be satisfied"
    "[('messages.1' : property 'reasoning_content' is unsupported)]",
)
MISTRAL_EXTRA = status(
    422,
    {
        "object": "error",
        "message": {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "messages", 2, "assistant", "reasoning_content"],
                    "msg": "Extra inputs are not permitted",
                    "input": "I add it up.",
                }
            ]
        },
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    },
)
DEEPSEEK = status(400, "The reasoning_content in the thinking mode must be passed back to the API.")
MINIMAX_SYSTEM = status(
    400,
    {
        "type": "error",
        "error": {
            "type": "bad_request_error",
            "message": "invalid params, chat content has invalid message role: system (2013)",
            "http_code": "400",
        },
        "request_id": "0660b098aa1e9dd5a6773a48c479fc89",
    },
)
LITELLM_PARSE = status(
    500,
    "litellm.InternalServerError: InternalServerError: Custom_openaiException - Failed to parse tool call arguments "
    "as JSON: [json.exception.parse_error.101] parse error at line 1, column 131: syntax error while parsing value - "
    "unexpected end of input; expected '[', '{', or a literal. Received Model Group=qwen3.6-35b",
)
LLAMA_PARSE = status(500, "Failed to parse tool call arguments as JSON: parse error at line 1, column 17")
GROQ_SCHEMA = status(
    400,
    {
        "request_id": "req_01kgpzetg3egxr9y54ttb37bm3",
        "error": {
            "message": "tool call validation failed: parameters for tool calculator did not match schema: "
            "errors: [`/expression`: expected string, but got number]",
            "type": "invalid_request_error",
            "param": "",
            "code": "tool_use_failed",
        },
    },
)
GROQ_NONE = status(
    400,
    {
        "error": {
            "message": "Tool choice is none, but model called a tool",
            "type": "invalid_request_error",
            "code": "tool_use_failed",
            "failed_generation": '{"name": "calculator", "arguments": {"expression": "6*7"}}',
        }
    },
)
LONG = tuple(f"{number}: " + "a long letter " * 650 for number in range(4))  # 9 kB each
QWEN_SYSTEM = "litellm.BadRequestError: OpenAIException - System message must be at the beginning."

ANIMALS = (
    Animal(
        "cerebras-takes-no-reasoning-content",
        "Kilo-Org/kilocode #10375, QwenLM/qwen-code #11045: thoughts come as `reasoning`, and only so go back",
        rule=refusing(CEREBRAS, any_message(lambda each: "reasoning_content" in each), sums("reasoning")),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
    ),
    Animal(
        "groq-takes-no-reasoning-content",
        "janhq/jan #8136, SimonSchubert/Kai #265",
        rule=refusing(GROQ_REASONING, any_message(lambda each: "reasoning_content" in each), sums("reasoning")),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "mistral-behind-litellm-gives-reasoning-content-and-refuses-it",
        "BerriAI/litellm #30835, charmbracelet/crush #1590",
        rule=refusing(MISTRAL_EXTRA, any_message(lambda each: "reasoning_content" in each), sums("reasoning_content")),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "gemini-signs-the-first-of-two-calls",
        "googleapis/js-genai #1275, 0xsline/OpenChatCut #6: the signature goes back with it, in one turn",
        rule=refusing(
            status(400, [{"error": {"code": 400, "message": "Function call is missing a thought_signature"}}]),
            any_message(first_signature_is_missing),
            two_signed,
        ),
        says=("What are 6*7 and 1+1?", "And again?"),
        text="It is 42 and 2.",
        calls=[SUM, ("calculator", {"expression": "1+1"})],
    ),
    Animal(
        "qwen-wants-one-system-message-and-first",
        "vllm-project/vllm #41114, duolahypercho/codex-router PR #259",
        rule=refusing(
            status(400, QWEN_SYSTEM),
            lambda question: any(message["role"] == "system" for message in question["messages"][1:]),
            sums(),
        ),
        says=("What is 6*7?", "And again?"),
        settings={"systemPrompt": "You are terse."},
        text="It is 42.",
    ),
    Animal(
        "mistral-wants-ids-of-nine-letters",
        "anomalyco/opencode #1680, karthink/gptel #1203",
        rule=refusing(
            status(400, "Tool call id was call_0 but must be a-z, A-Z, 0-9, with a length of 9."),
            no_calls_like("[a-zA-Z0-9]{9}"),
            sums(),
        ),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
    ),
    Animal(
        "gemini-proxy-takes-no-empty-text-beside-calls",
        "router-for-me/CLIProxyAPI #749",
        rule=refusing(
            status(400, "messages.1.content.0.text.text: Field required"),
            any_message(lambda each: has_calls(each) and each.get("content") == ""),
            sums(),
        ),
        text="It is 42.",
    ),
    Animal(
        "mistral-takes-no-empty-turn",
        "OpenHands/OpenHands #8685, tidyverse/ellmer #709: after an answer that said nothing",
        rule=refusing(
            status(400, "Assistant message must have either content or tool_calls, but not none."),
            any_message(lambda each: each["role"] == "assistant" and not each.get("content") and not has_calls(each)),
            lambda question: reply() if question["messages"][-1]["content"] == "Say nothing." else "It is 42.",
        ),
        says=("Say nothing.", "What is 6*7?"),
        text="It is 42.",
    ),
    Animal(
        "llama-takes-no-broken-arguments-back",
        "OpenHands/OpenHands #13949, am17an/llama.cpp #43, charmbracelet/crush #3153: refused for ever",
        rule=refusing(LLAMA_PARSE, any_message(bad_arguments), broken_first),
        text="It is 42.",
        calls=[],
    ),
    Animal(
        "ollama-cloud-wants-arguments-as-text-and-llama-gives-an-object",
        "openclaw/openclaw PR #97355, ggml-org/llama.cpp #20198",
        rule=refusing(
            status(400, "json: cannot unmarshal object into Go struct field .messages.tool_calls of type string"),
            any_message(bad_arguments),
            lambda question: (
                "It is 42."
                if question["messages"][-1]["role"] == "tool"
                else reply(delta(tool_calls=[{"index": 0, "function": {"name": SUM[0], "arguments": SUM[1]}}]))
            ),
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "vllm-without-a-tool-parser",
        "QwenLM/Qwen-Agent #344, vllm-project/vllm PR #30613",
        rule=refusing(
            status(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
            lambda question: "tools" in question,
            sums(),
        ),
        text="It is 42.",
        notices=["tools_refused"],
    ),
    Animal(
        "vllm-takes-no-tool-choice-without-tools",
        "vllm-project/vllm #9426, duolahypercho/codex-router PR #258",
        rule=refusing(
            status(400, "Value error, When using `tool_choice`, `tools` must be set."),
            lambda question: "tool_choice" in question or question.get("tools") == [],
            sums(),
        ),
        settings={"mode": "chat"},
        text="It is 42.",
    ),
    Animal(
        "litellm-repeats-a-bad-throw-of-llama",
        "vxcontrol/pentagi #313, ggml-org/llama.cpp #22072: once; the tools stay",
        answers=(LITELLM_PARSE, reply(tool_calls(SUM)), "It is 42."),
        text="It is 42.",
        calls=[SUM],
        asked=always_tools,
    ),
    Animal(
        "deepseek-wants-its-thoughts-back-in-later-turns",
        "JohnnyZ93/oai-compatible-copilot #215, anywhere-labs/dsh-desktop #635",
        rule=refusing(
            DEEPSEEK,
            any_message(lambda each: has_calls(each) and not each.get("reasoning_content")),
            sums("reasoning_content"),
        ),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "devstral-wants-the-model-between-tool-and-user",
        "aliou/pi-neuralwatt #12, avante-corp/avante.nvim #2562: after a question that failed behind its tool",
        rule=refusing(
            status(400, "Unexpected role 'user' after role 'tool'"),
            neighbours("tool", "user"),
            failing_after(1, status(400, "The response was filtered."), sums()),
        ),
        says=("What is 6*7?", "And again?"),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "minimax-takes-no-system-role",
        "BigPizzaV3/CodexPlusPlus #267",
        rule=refusing(MINIMAX_SYSTEM, any_message(lambda each: each["role"] == "system"), sums()),
        settings={"systemPrompt": "You are terse."},
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "ollama-takes-no-null-beside-calls",
        "lifemate-ai/familiar-ai PR #52",
        rule=refusing(
            status(400, "invalid message content type: <nil>"),
            any_message(lambda each: each.get("content") is None),
            sums(),
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "groq-checks-a-call-against-the-schema",
        "HunorLaczko/ha-groq-cloud-api #20: a bad throw of the model; the tools stay",
        answers=(GROQ_SCHEMA, reply(tool_calls(SUM)), "It is 42."),
        text="It is 42.",
        calls=[SUM],
        asked=always_tools,
    ),
    Animal(
        "gemini-knows-no-additional-properties",
        "tashfeenahmed/freellmapi #97, pydantic/pydantic-ai #3538, QwenLM/qwen-code #1186",
        rule=refusing(
            status(400, "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'"),
            lambda question: re.search("additionalProperties|\\$schema", json.dumps(question.get("tools"))) is not None,
            sums(),
        ),
        text="It is 42.",
        calls=[SUM],
    ),
    Animal(
        "groq-minds-a-call-that-was-not-asked-for",
        "BerriAI/litellm #21242, OpenHands/OpenHands #11725: asked without tools it answers",
        rule=calling_until_refused(GROQ_NONE),
        text="It is 42.",
    ),
    Animal(
        "llama-has-a-small-context",
        "can1357/oh-my-pi #3752, cline/kanban #504: the fourth long question goes on by itself",
        rule=refusing(status(400, LLAMA_CONTEXT), longer_than(30_000), lambda _: "It is 42."),
        says=LONG,
        text="It is 42.",
    ),
    Animal(
        "ollama-drops-the-question-and-misses-it",
        "ollama/ollama #18107: what passed its context was cut from the front, and the error speaks of something else",
        rule=refusing(status(500, "no user query found in messages"), longer_than(30_000), lambda _: "It is 42."),
        says=LONG,
        text="It is 42.",
    ),
    Animal(
        "claude-behind-litellm-wants-tools-beside-old-calls",
        "earendil-works/pi #149, anomalyco/opencode #8246, pydantic/pydantic-ai #1966: a summary too",
        rule=refusing(
            status(
                400, "litellm.UnsupportedParamsError: Anthropic doesn't support tool calling without `tools=` param"
            ),
            lambda question: not question.get("tools") and any_message(has_calls)(question),
            refusing(status(400, LLAMA_CONTEXT), longer_than(30_000), sums()),
        ),
        says=LONG,
        text="It is 42.",
        calls=[SUM],
    ),
)
