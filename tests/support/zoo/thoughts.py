"""Dialects of thinking: how models and servers tell thoughts from the answer, and how they fail to."""

from __future__ import annotations

from typing import Any

from model_server import delta, reasoning, reply, text, tool_calls

from zoo.animal import Animal

ANSWER = "It is 42."
THOUGHT = "The user wants 6*7.\nThat is 42."


def keeps_thoughts_back(bodies: list[dict[str, Any]]) -> None:
    """Asserts that no thought went back to the model as what it had answered."""
    said = [message["content"] or "" for message in bodies[-1]["messages"] if message["role"] == "assistant"]
    assert said
    assert not any("The user wants" in words for words in said)


def thinking(name: str, source: str, words: str, size: int | None = 3, thought: str = THOUGHT, **fields: Any) -> Animal:
    """Gives an animal that thinks in its text."""
    fields = {"text": ANSWER, "thought": thought, **fields}
    return Animal(name, source, answers=(reply(text(words, size=size)),), **fields)


def tagged(name: str, source: str, begin: str, end: str, **fields: Any) -> Animal:
    return thinking(name, source, f"{begin}{THOUGHT}{end}{ANSWER}", **fields)


def prose(name: str, source: str, words: str, **fields: Any) -> Animal:
    """Gives an animal whose text is nothing but its answer."""
    return thinking(name, source, words, thought="", text=words, **fields)


FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"
UNOPENED = f"{THOUGHT}\n</think>\n\n{ANSWER}"

ANIMALS = (
    # the opening tag is in the template
    thinking(
        "only-the-end-of-thinking",
        "open-webui/open-webui#9808",
        UNOPENED,
        thought=f"{THOUGHT}\n",
    ),
    tagged("only-the-end-within-a-line", "nbramia/LifeOS#568", "", "</think>"),
    tagged("only-the-end-of-thinking-kin", "anomalyco/opencode#36522", "", "</thinking>"),
    tagged("only-the-end-of-a-channel", "ollama/ollama#18288", "", "\n<channel|>", thought=f"{THOUGHT}\n"),
    tagged("only-the-end-in-one-chunk", "perplexityai/api-discussion#177", "", "</think>", size=None),
    Animal(
        "only-the-end-time-and-again",
        "deepseek-ai/DeepSeek-R1#506",
        says=("What is 6*7?", "And now?"),
        answers=(reply(text(f"{THOUGHT}</think>Hm.", size=3)), reply(text(f"{THOUGHT}</think>{ANSWER}", size=3))),
        text=ANSWER,
        thought=THOUGHT,
        asked=keeps_thoughts_back,
    ),
    Animal(
        "only-the-end-and-a-call",
        "SharpAI/SwiftLM#115",
        answers=(
            reply(text(f"{THOUGHT}</think>", size=5), tool_calls(("calculator", {"expression": "6*7"}))),
            reply(text(f"I have it.</think>{ANSWER}", size=5)),
        ),
        text=ANSWER,
        thought=f"{THOUGHT}I have it.",
        asked=keeps_thoughts_back,
    ),
    Animal(
        "a-lone-end-behind-a-field",
        "huggingface/chat-ui#2127",
        answers=(reply(reasoning(THOUGHT, size=4), text(f"</think>{ANSWER}", size=3)),),
        text=ANSWER,
        thought=THOUGHT,
    ),
    # pairs of tags
    tagged("thought", "NousResearch/hermes-agent#8562", "<thought>", "</thought>"),
    tagged("thinking", "badrisnarayanan/antigravity-claude-proxy#293", "<thinking>", "</thinking>"),
    tagged("reasoning", "open-webui/open-webui, default reasoning tags", "<reasoning>", "</reasoning>"),
    tagged("magistral", "LostRuins/koboldcpp#1745", "[THINK]", "[/THINK]"),
    tagged("seed", "open-webui/open-webui, default reasoning tags", "<seed:think>", "</seed:think>"),
    tagged("kimi", "open-webui/open-webui, default reasoning tags", "◁think▷", "◁/think▷"),
    tagged("gemma-4", "NousResearch/hermes-agent#67632", "<|channel>thought\n", "<channel|>"),
    tagged("medgemma", "ollama/ollama#15754", "<unused94>thought\n", "<unused95>"),
    tagged("capitals", "danny-avila/LibreChat#13405", "<Think>", "</Think>"),
    # the harmony format
    tagged("harmony", "scouzi1966/maclocal-api#121", ANALYSIS, f"<|end|><|start|>assistant{FINAL}"),
    tagged("harmony-to-its-end", "kekzl/imp#768", f"<|start|>assistant{ANALYSIS}", f"<|end|>{FINAL}", size=1),
    thinking(
        "harmony-with-its-last-token",
        "odysseus-dev/odysseus#2419",
        f"{ANALYSIS}{THOUGHT}<|end|><|start|>assistant{FINAL}{ANSWER}<|return|>",
        size=7,
    ),
    thinking("harmony-without-thoughts", "ggml-org/llama.cpp#15181", f"{FINAL}{ANSWER}", thought=""),
    # thoughts of nothing
    thinking("an-empty-block", "Mintplex-Labs/anything-llm#3757", f"<think>\n\n</think>\n\n{ANSWER}", thought=""),
    Animal(
        "blanks-in-a-field",
        "editor-code-assistant/eca#78",
        answers=(reply(reasoning("\n\n"), reasoning(" "), text(ANSWER)),),
        text=ANSWER,
        thought="",
    ),
    # answers that speak of tags
    prose("think-as-a-word", "openclaw/openclaw#37696", "<think> is a tag that some models write before they answer."),
    prose("think-as-code", "CodebuffAI/freebuff#1173", "`<think>` begins and `</think>` ends a thought."),
    prose("end-as-a-word", "openclaw/openclaw#9456", "A thought ends with </think> and nothing else."),
    prose("a-pair-as-words", "nbramia/LifeOS#568", "Use <think>draft</think> as the example."),
    prose("end-in-a-block", "QwenLM/qwen-code#8818", "As so:\n```xml\n<p>\n</think>\n</p>\n```\nDone."),
    prose("never-closed", "openclaw/openclaw#37696", "<think>Hello! How are you?"),
    Animal(
        "cut-within-a-tag",
        "kekzl/imp#800",
        answers=(reply(text("<think>The user wants"), finish="length"),),
        text="",
        thought="The user wants",
        finish="length",
    ),
    Animal(
        "thinks-in-a-tag-and-calls",
        "ggml-org/llama.cpp#14679",
        answers=(
            reply(delta(content="<think>The user wants 6*7."), tool_calls(("calculator", {"expression": "6*7"}))),
            reply(text(ANSWER)),
        ),
        text=ANSWER,
        thought="The user wants 6*7.",
        asked=keeps_thoughts_back,
    ),
)
