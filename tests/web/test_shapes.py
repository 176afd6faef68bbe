"""An answer is shown in the words of the HTTP API, whichever version stored it."""

from __future__ import annotations

from msgspec.structs import asdict

from deechat.events import Metrics, Source
from deechat.store.base import StoredMessage
from deechat.web.shapes import message_json

SHOWN = {
    "reasoning": "Hm.",
    "toolCalls": [
        {"toolCallId": "c1", "name": "look", "arguments": {"a": 1}, "content": "x", "isError": False, "seconds": 0.5},
        {
            "toolCallId": "c2",
            "name": "read",
            "arguments": {},
            "content": "y",
            "isError": False,
            "seconds": 1.5,
            "sources": [{"id": "p", "title": "Page", "text": "", "chunkSource": "link://y", "score": None}],
            "parts": [{"kind": "link", "url": "https://y.example/"}],
        },
    ],
    "steered": ["In short."],
    "metrics": {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "outputTps": 4.5,
        "ttft": None,
        "duration": 6.5,
        "model": "m",
        "estimated": True,
    },
    "sources": [{"id": "s", "title": "T", "text": "Text", "chunkSource": "link://x", "score": None}],
    "reason": "completed",
    "finishReason": "length",
    "summary": "All before.",
}
KEPT = {
    "reasoning": "Hm.",
    "tool_calls": [
        {"id": "c1", "name": "look", "arguments": {"a": 1}, "content": "x", "is_error": False, "seconds": 0.5},
        {
            "id": "c2",
            "name": "read",
            "arguments": {},
            "content": "y",
            "is_error": False,
            "seconds": 1.5,
            "sources": [asdict(Source("p", "Page", "", "link://y"))],
            "parts": [{"kind": "link", "url": "https://y.example/"}],
        },
    ],
    "steered": ["In short."],
    "metrics": asdict(Metrics(1, 2, 3, 4.5, None, 6.5, "m", estimated=True)),
    "sources": [asdict(Source("s", "T", "Text", "link://x"))],
    "reason": "completed",
    "finish_reason": "length",
    "summary": "All before.",
}


def shown(details: dict[str, object]) -> dict[str, object]:
    return message_json(StoredMessage("m", "t", "p", "assistant", "Hi", 1.5, "r", details))


def test_an_answer_is_kept_in_words_of_its_own_and_shown_in_those_of_the_api() -> None:
    assert shown(KEPT) == {
        "role": "assistant",
        "content": "Hi",
        "chatId": "m",
        "parentId": "p",
        "sentAt": 1.5,
        "type": "chat",
        "run": "r",
        **SHOWN,
    }
    assert list(shown(KEPT)) == list(shown(SHOWN))


def test_an_answer_that_a_version_before_kept_is_shown_as_it_was() -> None:
    assert shown(SHOWN) == shown(KEPT)


def test_a_failed_answer_says_why() -> None:
    failed = {"error": "It failed.", "code": "model_error"}
    assert shown(KEPT | failed) == shown(SHOWN | failed)
