"""The reply to a request, out of the next message of a page that has no card for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from deechat.errors import BadRequestError
from deechat.events import ClarificationRequest, ClientCall, ToolApprovalRequest
from deechat.locale import say
from deechat.runs.replies import Reply
from deechat.typed import ALWAYS, NO, YES, meant

SKIP = "/skip"


class Said(NamedTuple):
    """A reply; `message` are the words that go with a no, for the agent."""

    reply: Reply
    message: str | None = None


def reply_to(request: Any, message: str, language: str) -> Said:
    """Return the reply that a message means. Raises `BadRequestError` in words for a person."""
    if isinstance(request, ToolApprovalRequest):
        return _approval(request, message)
    if isinstance(request, ClientCall):
        raise BadRequestError(say("anythingllm", language, "elsewhere", name=request.name))
    return Said(_answers(request, message, language))


def _approval(request: ToolApprovalRequest, message: str) -> Said:
    word = message.strip().strip(".!。！").lower()
    if word in YES | ALWAYS:
        return Said(Reply(request.request_id, approved=True, always=word in ALWAYS))
    return Said(Reply(request.request_id, approved=False), None if word in NO else message)


def _answers(request: ClarificationRequest, message: str, language: str) -> Reply:
    text = message.strip()
    if text.lower() == SKIP:
        return Reply(request.request_id, skipped=True)
    count = len(request.questions)
    lines = [text] if count == 1 else [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != count:
        raise BadRequestError(say("anythingllm", language, "linesWanted", count=count))
    answers = [_answer(*pair) for pair in zip(request.questions, lines, strict=True)]
    return Reply(request.request_id, answers=answers)


def _answer(question: Any, line: str) -> dict[str, Any]:
    if line.lower() == SKIP:
        return {"skipped": True, "answer": None}
    answer = meant(question, line)
    return {"skipped": False, "answer": line if answer is None else answer}  # refused in words, with the options
