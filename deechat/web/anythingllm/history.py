"""Stored messages as that page's bubbles, alike to those of a live stream (`agents.plugins.anythingllm`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deechat.agents.plugins.anythingllm import call_line, result_line
from deechat.store.base import StoredMessage
from deechat.web.shapes import message_json

Json = dict[str, Any]


def bubbles(message: StoredMessage) -> list[Json]:
    """Return the bubbles of a message; the last one of an answer has its id, and the whole of its figures."""
    shape = message_json(message)
    if message.role == "user":
        return [{**shape, "attachments": []}]
    made = list(_answer(message, shape))
    text = made[-1]
    text |= {"chatId": message.id, "sources": shape.get("sources", []), "metrics": shape.get("metrics", {})}
    text["feedbackScore"] = message.details.get("feedback")
    if questions := list(_surveys(message, shape)):
        made[0]["clarifyingQuestions"] = questions
    if error := shape.get("error"):
        made += [{**_bubble(message, ""), "error": error}]
    return made


def _bubble(message: StoredMessage, content: str) -> Json:
    shape = {"type": "chat", "role": "assistant", "content": content, "chatId": None, "sentAt": message.sent_at}
    return {**shape, "sources": [], "metrics": {}, "outputs": [], "clarifyingQuestions": [], "feedbackScore": None}


def _answer(message: StoredMessage, shape: Json) -> Iterator[Json]:
    """Yield bubbles: thoughts and calls, then text; what comes behind text begins the next one."""
    thoughts, text = "", ""
    for kind, words in _pieces(message, shape):
        if text and kind != "text":
            yield _bubble(message, _joined(thoughts, text))
            thoughts, text = "", ""
        if kind == "text":
            text += words
        elif kind == "steered":
            if thoughts:
                yield _bubble(message, _joined(thoughts, ""))
            thoughts = ""
            yield {"role": "user", "content": words, "chatId": None, "sentAt": message.sent_at, "attachments": []}
        else:
            thoughts += words
    yield _bubble(message, _joined(thoughts, text))


def _joined(thoughts: str, text: str) -> str:
    return f"<think>{thoughts}\n</think>\n\n{text}" if thoughts.strip() else text


def _pieces(message: StoredMessage, shape: Json) -> Iterator[tuple[str, str]]:
    """Yield an answer's parts as kind and words: `text`, `steered`, or what goes into thoughts."""
    calls = {each["toolCallId"]: each for each in shape.get("toolCalls", ())}
    at = {"text": 0, "reasoning": 0}
    whole = {"text": message.content, "reasoning": shape.get("reasoning") or ""}
    steered = iter(shape.get("steered") or ())
    for part in message.details["parts"]:
        kind = part["kind"]
        if kind in whole:
            begin, at[kind] = at[kind], at[kind] + part["length"]
            yield kind, whole[kind][begin : at[kind]]
        elif kind == "tool" and (call := calls.get(part["call_id"])):
            said = [call_line(call["name"], call["arguments"]), result_line(call["content"] or "")]
            yield kind, "".join(f"\n\n{each}\n\n" for each in said)
        elif kind == "steered":
            yield kind, next(steered, "")
        elif kind == "approval":
            yield kind, f"\n\n{part['name']}: {part['summary']}\n\n"
        elif kind == "notice":
            yield kind, f"\n\n{part['text']}\n\n"


def _surveys(message: StoredMessage, shape: Json) -> Iterator[Json]:
    """Yield the questions that were asked, with their answers."""
    calls = {each["toolCallId"]: each for each in shape.get("toolCalls", ())}
    for part in message.details["parts"]:
        if part["kind"] == "questions" and part.get("answers") is not None:
            arguments = calls.get(part["call_id"], {}).get("arguments")
            given = arguments.get("questions") if isinstance(arguments, dict) else None
            if questions := part.get("questions") or given:
                yield {"questions": questions, "result": {"skipped": False, "answers": part["answers"]}}
