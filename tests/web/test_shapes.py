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


PARTS = [
    {"kind": "reasoning", "length": 3},
    {"kind": "approval", "request_id": "a", "call_id": "c1", "name": "look", "approved": True, "summary": "Yes"},
    {"kind": "tool", "call_id": "c1"},
]


def test_parts_are_named_like_all_else_and_counted_like_a_browser_does() -> None:
    message = StoredMessage("m", "t", "p", "assistant", "a😀b数", 1.5, "r", KEPT | {
        "parts": [*PARTS, {"kind": "text", "length": 2}, {"kind": "steered"}, {"kind": "text", "length": 2}]
    })  # fmt: skip
    assert message_json(message)["parts"] == [
        {"kind": "reasoning", "length": 3},
        {"kind": "approval", "requestId": "a", "toolCallId": "c1", "name": "look", "approved": True, "summary": "Yes"},
        {"kind": "tool", "toolCallId": "c1"},
        {"kind": "text", "length": 3},
        {"kind": "steered"},
        {"kind": "text", "length": 2},
    ]


def test_parts_stand_beside_the_words_of_a_version_before_too() -> None:
    assert shown(SHOWN | {"parts": PARTS}) == shown(KEPT | {"parts": PARTS})
    assert shown(SHOWN | {"parts": PARTS})["parts"] != PARTS


def test_a_call_says_what_the_message_has_no_room_for() -> None:
    call = {**KEPT["tool_calls"][0], "cut": True}  # type: ignore[index]
    assert shown(KEPT | {"tool_calls": [call]})["toolCalls"] == [{**SHOWN["toolCalls"][0], "cut": True}]  # type: ignore[index]


def test_a_failed_answer_says_why() -> None:
    failed = {"error": "It failed.", "code": "model_error"}
    assert shown(KEPT | failed) == shown(SHOWN | failed)
