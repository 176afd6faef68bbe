"""Parts that the routes of protocols share whose clients name their threads and answer requests in their own words."""

from __future__ import annotations

import re

from deechat.errors import BadRequestError, ConflictError, NotFoundError
from deechat.events import ClarificationRequest, Entry, ToolApprovalRequest
from deechat.principal import Principal
from deechat.runs.replies import Reply
from deechat.runs.service import Runs
from deechat.store.base import HIDDEN, Store, Thread, Workspace

Request = ToolApprovalRequest | ClarificationRequest
LONGEST_PROMPT = 200_000
_THREAD_ID = re.compile(r"[0-9A-Za-z][-0-9A-Za-z._~:]{0,199}")  # goes into addresses as a slug
_SAID_BEFORE = frozenset({"already_answered", "run_ended"})


def check_thread_id(text: str) -> str:
    """Return the id when a thread can have it as its slug. Raises `BadRequestError`."""
    if not _THREAD_ID.fullmatch(text) or text.startswith(HIDDEN):
        raise BadRequestError(
            f"The thread's id is {text[:40]!r}, but 1 to 200 letters, digits and any of - . _ ~ : are expected, "
            f"a letter or a digit first; {HIDDEN} is no beginning."
        )
    return text


def thread_of(store: Store, principal: Principal, workspace: Workspace, thread_id: str) -> Thread:
    """Return the thread with the id as its slug; make it where there is none. Raises `BadRequestError`."""
    try:
        return store.thread(principal, workspace, check_thread_id(thread_id))
    except NotFoundError:
        return store.new_thread(principal, workspace, None, thread_id)


def check_prompt(text: str) -> str:
    """Return the text when it can be a prompt. Raises `BadRequestError`."""
    if not text.strip() or len(text) > LONGEST_PROMPT:
        raise BadRequestError("The user's message must have 1 to 200,000 characters that are not all blank.")
    return text


def requests_of(pending: list[Entry]) -> dict[str, Request]:
    """Return the open requests by their ids."""
    events = [entry.event for entry in pending]
    return {each.request_id: each for each in events if isinstance(each, ToolApprovalRequest | ClarificationRequest)}


def respond(runs: Runs, principal: Principal, run_id: str, reply: Reply) -> None:
    """Hand an answer on; one that came before is no error, since a client that was cut off sends it again."""
    try:
        runs.respond(principal, run_id, reply)
    except ConflictError as exc:
        if exc.code not in _SAID_BEFORE:
            raise
