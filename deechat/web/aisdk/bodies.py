"""The input of the AI SDK's transports, as far as it is read here."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from flask import request
from msgspec import Struct

from deechat.errors import BadRequestError
from deechat.events import ClarificationRequest
from deechat.runs.replies import Reply
from deechat.web.foreign import Request, check_prompt

Json = dict[str, Any]


class Messages(Struct, rename="camel"):
    """The chat's messages. `id` is the thread's, where the address does not say it."""

    messages: list[Json]
    id: str | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None


class Approval(Struct):
    """What a person said to a request."""

    id: str
    approved: bool
    reason: str | None = None


def read_prompt(message: Json) -> str:
    """Return the text of the user's message. Raises `BadRequestError`."""
    if message.get("role") != "user":
        raise BadRequestError("The last message must be the user's, or an answer of which a request was responded to.")
    texts = []
    for part in _parts(message):
        if part.get("type") == "file":
            raise BadRequestError("A message can be text only: pictures and files are not taken yet.")
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
    return check_prompt("\n".join(texts))


def read_approvals(message: Json) -> list[Approval]:
    """Return a person's answers to the requests of the answer that was shown; none in a message of the user.

    Raises `BadRequestError`.
    """
    if message.get("role") != "assistant":
        return []
    responded = [each.get("approval") for each in _parts(message) if each.get("state") == "approval-responded"]
    try:
        return msgspec.convert(responded, list[Approval])
    except msgspec.ValidationError as exc:
        raise BadRequestError("A part approval-responded must have approval: {id, approved, reason?}.") from exc


def _parts(message: Json) -> list[Json]:
    parts = message.get("parts")
    return [each for each in parts if isinstance(each, dict)] if isinstance(parts, list) else []


def reply_of(request_id: str, approval: Approval, event: Request | None) -> Reply:
    """Return the reply. Questions are answered by `reason`: JSON of the answers, or the one answer's text.

    Raises `BadRequestError` for a yes to questions without one.
    """
    if not isinstance(event, ClarificationRequest):
        return Reply(request_id, approved=approval.approved)
    if not approval.approved:
        return Reply(request_id, skipped=True)
    if not approval.reason:
        raise BadRequestError("Questions are answered in reason: a text, or JSON of the list of answers.")
    try:
        answers = msgspec.json.decode(approval.reason)
    except msgspec.DecodeError:
        answers = None
    if not isinstance(answers, list):
        answers = [{"skipped": False, "answer": approval.reason}]
    return Reply(request_id, answers=answers)


def read_start() -> int:
    """Read from `?startIndex=` which chunk is wanted first; below 0 from the end. Raises `BadRequestError`."""
    text = request.args.get("startIndex") or "0"
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise BadRequestError(f"startIndex is {text[:40]!r}, but a whole number is expected.", code="bad_cursor")
    return int(text)
