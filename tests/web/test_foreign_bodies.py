"""Bodies of other protocols with a wrong value anywhere in them are refused in words: none is a mistake of the program.

Their fields are read by hand where a protocol nests them, so each place of a good body gets values of each kind.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from server import Server

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
PICTURE = "data:image/png;base64,aaaa"
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THEIRS = {"X-Timezone": "UTC"}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat completions": (
        "/v1/chat/completions",
        {
            "model": "deechat",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c", "content": "x"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "1+1"},
                        {"type": "image_url", "image_url": {"url": PICTURE}},
                    ],
                },
            ],
            "tools": [{"type": "function", "function": TOOL}],
            "tool_choice": "auto",
            "stream_options": {"include_usage": True},
            "temperature": 1,
        },
    ),
    "responses": (
        "/v1/responses",
        {
            "model": "deechat",
            "input": [
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "1+1"},
                        {"type": "input_image", "image_url": PICTURE},
                    ],
                },
            ],
            "tools": [{"type": "function", **TOOL}],
            "metadata": {"a": "b"},
            "text": {"format": {"type": "text"}},
            "background": False,
        },
    ),
    "an approval": (
        "/v1/responses",
        {
            "model": "deechat",
            "previous_response_id": None,
            "input": [{"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}],
        },
    ),
    "compact": ("/v1/responses/compact", {"model": "deechat", "input": "hello"}),
    "AG-UI": (
        "/api/agui/default",
        {
            "threadId": "t",
            "runId": "r",
            "messages": [
                {"id": "m1", "role": "assistant", "toolCalls": [CALL]},
                {"id": "m2", "role": "tool", "toolCallId": "c", "content": "x"},
                {"id": "m3", "role": "user", "content": [{"type": "text", "text": "1+1"}]},
            ],
            "tools": [TOOL],
            "resume": [{"interruptId": "i", "status": "resolved", "payload": {"approved": True}}],
        },
    ),
    "AI SDK": (
        "/api/ai/default",
        {
            "id": "c",
            "messages": [
                {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "1+1"}]},
                {
                    "id": "m2",
                    "role": "assistant",
                    "parts": [
                        {
                            "type": "dynamic-tool",
                            "toolName": "x",
                            "toolCallId": "c",
                            "state": "approval-responded",
                            "input": {},
                            "approval": {"id": "a", "approved": True},
                        }
                    ],
                },
            ],
            "trigger": "submit-message",
            "messageId": "m1",
        },
    ),
    "AnythingLLM's edit": ("/api/workspace/default/update-chat", {"chatId": "x", "newText": "y", "role": "user"}),
    "AnythingLLM's fork": ("/api/workspace/default/thread/fork", {"threadSlug": "default", "chatId": "x"}),
    "AnythingLLM's score": ("/api/workspace/default/chat-feedback/x", {"feedback": True}),
    "AnythingLLM's search": ("/api/workspace/search", {"searchTerm": "a"}),
}
WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**40, "", "\0", "x" * 5_000, "😀" * 60, "__proto__", "../..", "api-x"),
    *([], {}, [[]], [None], {"a": {"b": [1]}}, {"type": "object"}, [{"type": "text"}]),
)
TRIED = 4  # values at each place


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Gives the path to each value below this one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Gives a copy of the body with the value there."""
    made = at = copy.deepcopy(body)
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = copy.deepcopy(value)
    return made


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_value_anywhere_is_refused_in_words(name: str, server: Server) -> None:
    address, body = BODIES[name]
    chance = random.Random(name)
    refused, logged = 0, len(server.log)
    for path in places(body):
        for value in chance.sample(WRONG, TRIED):
            answer = requests.post(server.url + address, json=changed(body, path, value), headers=THEIRS, timeout=30)
            assert answer.status_code < 500, (path, value, answer.text[:300])
            if answer.status_code >= 400:
                refused += 1
                assert answer.json()["error"]["message"], (path, value)
    assert refused
    assert not re.search(r'Traceback|"level": "error"', server.log[logged:])
