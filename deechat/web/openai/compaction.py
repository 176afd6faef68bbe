"""`POST /v1/responses/compact`: a conversation as a summary that the client carries and hands back."""

from __future__ import annotations

import time
import uuid
from typing import Any

from flask import request
from msgspec import Struct

from deechat.agents.plugins.openai.responses import Responses
from deechat.errors import NotFoundError
from deechat.events import Terms
from deechat.messages import AssistantMessage, UserMessage
from deechat.web.gate import asker
from deechat.web.openai.chat import failed
from deechat.web.openai.creating import Creating, run_id_of, unknown_previous
from deechat.web.openai.messages import Told, compacted, read_items
from deechat.web.openai.models import workspace_of
from deechat.web.openai.parameters import read
from deechat.web.services import Services
from deechat.web.streams import View

Json = dict[str, Any]

INSTRUCTION = (
    "Summarize our conversation so far, for yourself: you will go on with it and see nothing of it but your summary. "
    "Keep facts, names, numbers, decisions, my wishes and what is still open. Write the summary and nothing else."
)


class _Body(Struct):
    model: str
    input: str | list[Json] = ""
    instructions: str | None = None
    previous_response_id: str | None = None


def compact(services: Services, creating: Creating) -> Json:
    """Read the request, and return the compaction of its conversation. Raises `FieldError` and `ModelError`."""
    body, _ = read(_Body)
    principal, runs = asker(), services.runs
    workspace = workspace_of(services.store, principal, body.model)
    told = Told()
    if body.previous_response_id is not None:
        run_id, segment = run_id_of(body.previous_response_id) or ("", 0)
        try:
            made = services.streams.now(_view(services, run_id), Responses(segment))
            for _, turns in runs.conversation(principal, run_id):
                told.messages += turns
        except NotFoundError as exc:
            raise unknown_previous(body.previous_response_id) from exc
        told.messages.append(AssistantMessage("".join(made.state.text)))
    given = read_items(body.input)
    told.messages += [*given.messages, UserMessage(INSTRUCTION)]
    terms = Terms(
        instructions="\n\n".join(filter(None, (body.instructions, *given.instructions))),
        calls=False,
        page=request.host_url,
        echo={"model": body.model},
    )
    thread = creating.starting.thread(principal, workspace, None)

    def find() -> View:
        return View(creating.starting.begin(principal, workspace, thread, told, terms, where="input").run, 0, 1)

    try:
        _, made = services.streams.whole(find, lambda _run: Responses(0), left_stops=True)
    finally:
        runs.delete_left(principal, thread)
    if made.failure:
        raise failed(made.failure)
    item = {
        "type": "compaction",
        "id": f"cmp_{uuid.uuid4().hex}",
        "encrypted_content": compacted("".join(made.state.text)),
    }
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [item],
        "usage": made.resource()["usage"],
    }


def _view(services: Services, run_id: str) -> View:
    view = services.runs.view(asker(), run_id)
    return View(view.run, 0, view.last_seq)
