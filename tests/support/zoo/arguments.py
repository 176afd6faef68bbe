"""Arguments as models and proxies write them: what can mean one thing only is taken for it, the rest is an error."""

from __future__ import annotations

import json
from typing import Any

from model_server import Answer, delta, reply, text

from zoo.animal import Animal

DONE = "It is 42."
USED = [("calculator", {"expression": "6*7"})]
PLAIN = '{"expression": "6*7"}'


def calling(*arguments: Any) -> tuple[Answer, Answer]:
    """Gives an answer that calls the calculator with these pieces of arguments, and the one that follows."""
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": each}} for each in arguments]
    return reply([delta(tool_calls=[each]) for each in (head, *rest)], finish="tool_calls"), reply(text(DONE))


def sent_back(bodies: list[dict[str, Any]]) -> None:
    """Asserts that each call in the history has the arguments of an object that a server can read."""
    calls = [call for message in bodies[-1]["messages"] for call in message.get("tool_calls") or ()]
    assert calls
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)


def sent_back_as_used(bodies: list[dict[str, Any]]) -> None:
    calls = [call for message in bodies[-1]["messages"] for call in message.get("tool_calls") or ()]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"expression": "6*7"}]


def taken(name: str, source: str, *arguments: Any) -> Animal:
    """Gives an animal whose arguments have one meaning."""
    return Animal(name, source, calling(*arguments), text=DONE, calls=USED, asked=sent_back_as_used)


def refused(name: str, source: str, *arguments: Any) -> Animal:
    """Gives an animal whose arguments may mean this or that, so that the model is told of it."""
    return Animal(name, source, calling(*arguments), text=DONE, calls=[], asked=sent_back)


ANIMALS = (
    taken("empty-object-first", "BerriAI/litellm#4537", "{}", "", '{"expr', 'ession": "6*7"}'),
    taken("empty-object-first-in-one-piece", "agno-agi/agno#3826", "{}" + PLAIN),
    taken("code-fence", "earendil-works/pi#8858", f"```json\n{PLAIN}\n```"),
    taken("code-fence-without-a-language", "NousResearch/hermes-agent#79333", f"```\n{PLAIN}```\n"),
    taken("one-brace-too-many", "QwenLM/Qwen-Agent#734", PLAIN, "}"),
    taken("wrapped-in-braces", "tinyhumansai/tinyagents#68", "{" + PLAIN + "}"),
    taken("same-object-twice", "simonw/llm#1130", PLAIN + '{"expression":"6*7"}'),
    taken("text-in-text", "tailcallhq/forgecode#2764", json.dumps(PLAIN)),
    taken("an-object-not-its-text", "ollama/ollama#6155", {"expression": "6*7"}),
    taken("two-quotes-behind", "UKGovernmentBEIS/inspect_ai#4822", PLAIN + '""'),
    taken("line-breaks-as-letters", "OpenHands/software-agent-sdk#2488", '{"expression": \\n"6*7"\\n\\n}'),
    taken("without-its-first-brace", "vllm-project/vllm#35266", PLAIN[1:]),
    taken("trailing-comma", "NousResearch/hermes-agent#79333", '{"expression": "6*7",}'),
    refused("cut-off", "brightwave-inc/tidebreak#1129", '{"expression": "6*'),
    refused("object-and-prose", "huggingface/smolagents#2427", PLAIN + ' or perhaps {"expression": "7*6"}'),
    refused("two-objects-in-one-piece", "mcowger/plexus#691", PLAIN + '{"expression": "1+1"}'),
)
