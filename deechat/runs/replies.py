"""A person's answers to a run's request, checked against that request: a yes or no, or answers to questions."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from deechat.agents.state import Request, RunState
from deechat.agents.tools.ask import answers_to, shown, skipped
from deechat.agents.tools.base import Tool, ToolError
from deechat.errors import BadRequestError, ConflictError, NotFoundError
from deechat.events import ClarificationRequest, ClientCall, InputReceived, ToolApprovalRequest
from deechat.locale import say

LONGEST_SUMMARY = 300
LONGEST_ARGUMENTS = 100_000  # bytes of JSON: they go to the model with every later step


@dataclass(frozen=True, slots=True)
class Reply:
    """The fields that were sent for a request, unchecked but for `request_id`; None where one was left out."""

    request_id: str
    approved: object = None
    arguments: object = None
    always: object = None
    skipped: object = None
    answers: object = None
    output: object = None


def check_issued(request_id: str, issued: Container[str], answered: Container[str]) -> None:
    """Raise `NotFoundError` for a request that this run never issued, `ConflictError` for one that was answered."""
    if request_id not in issued:
        raise NotFoundError(f"This run never issued a request {request_id[:80]!r}.")
    if request_id in answered:
        raise ConflictError("Somebody has answered this request already.", code="already_answered")


def open_request(state: RunState, request_id: str) -> Request:
    """Return the request that a reply is for. Raises like `check_issued`."""
    check_issued(request_id, state.requests, state.replies)
    return state.requests[request_id]


def validate_reply(request: Request, reply: Reply, tools: Mapping[str, Tool], language: str) -> InputReceived:
    """Return the event of a reply. Raises `BadRequestError` in words when it does not fit the request."""
    if isinstance(request, ToolApprovalRequest):
        return _approval(request, reply, tools, language)
    if isinstance(request, ClientCall):
        return _output(request, reply)
    return _answers(request, reply, language)


def _approval(request: ToolApprovalRequest, reply: Reply, tools: Mapping[str, Tool], language: str) -> InputReceived:
    if not isinstance(reply.approved, bool):
        raise BadRequestError("This request is for an approval: send approved, true or false.")
    always = _flag("always", reply.always)
    if not reply.approved:
        if always:
            raise BadRequestError("always goes with a yes only: to refuse for good, set the tool's policy to deny.")
        return InputReceived(request.request_id, say("agent", language, "reply.no"), approved=False)
    arguments = _edited(request, reply.arguments, tools)
    said = "reply.yes_always" if always else "reply.yes" if arguments is None else "reply.yes_changed"
    summary = say("agent", language, said)
    return InputReceived(request.request_id, summary, approved=True, arguments=arguments, always=always)


def _edited(request: ToolApprovalRequest, given: object, tools: Mapping[str, Tool]) -> dict[str, Any] | None:
    """Return the arguments that a person wrote, fitted to the tool's schema; None where they are the model's."""
    if given is None:
        return None
    tool = tools.get(request.name)
    if tool is None:
        raise BadRequestError(f"There is no tool {request.name!r} any more; it can only be refused.")
    try:
        fitted = tool.fit(given)
        tool.check_scope(fitted)
    except ToolError as exc:
        raise BadRequestError(exc.message) from exc
    if len(json.dumps(fitted)) > LONGEST_ARGUMENTS:
        raise BadRequestError(f"The arguments are longer than the {LONGEST_ARGUMENTS} bytes that are taken.")
    return None if fitted == request.arguments else fitted


def _answers(request: ClarificationRequest, reply: Reply, language: str) -> InputReceived:
    if _flag("skipped", reply.skipped):
        if not request.allow_skip:
            raise BadRequestError("These questions must not be skipped.")
        answers = skipped(request.questions)
    else:
        try:
            answers = answers_to(request.questions, reply.answers, allow_skip=request.allow_skip)
        except ValueError as exc:
            raise BadRequestError(f"The answer does not fit: {exc}.") from exc
    words = "; ".join(text for each in answers if (text := " ".join(shown(each).split())))
    summary = _shortened(words) or say("agent", language, "reply.skipped")
    return InputReceived(request.request_id, summary, answers=answers)


def _shortened(words: str) -> str:
    return words if len(words) <= LONGEST_SUMMARY else words[:LONGEST_SUMMARY] + " …"


def _output(request: ClientCall, reply: Reply) -> InputReceived:
    if not isinstance(reply.output, str):
        raise BadRequestError("This request is for the result of a tool that the client runs: send output, a text.")
    return InputReceived(request.request_id, _shortened(" ".join(reply.output.split())), output=reply.output)


def _flag(name: str, given: object) -> bool:
    if given is not None and not isinstance(given, bool):
        raise BadRequestError(f"The field {name!r} does not fit: expected true or false.")
    return bool(given)
