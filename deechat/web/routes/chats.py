"""Routes of a thread's messages: read them, and send one."""

from __future__ import annotations

from flask import Blueprint, Response, request
from msgspec.json import encode

from deechat.errors import BadRequestError
from deechat.runs.start import Prompt
from deechat.store.base import DEFAULT_THREAD
from deechat.web.bodies import StreamChat, not_blank, read_body, read_count, read_language, read_left_stops
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.shapes import message_json

MOST_MESSAGES = 1000


def make(services: Services) -> Blueprint:
    """Make the routes of chats; without a thread in their path they mean the default one."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("chats", __name__, url_prefix="/api/workspace/<slug>")

    @blueprint.get("/chats", defaults={"thread_slug": DEFAULT_THREAD})
    @blueprint.get("/thread/<thread_slug>/chats")
    def chats(slug: str, thread_slug: str) -> Response:
        principal = asker()
        thread = store.thread(principal, store.workspace(principal, slug), thread_slug)
        limit = read_count("limit", MOST_MESSAGES, MOST_MESSAGES)
        history, active = runs.chats(principal, thread, limit, request.args.get("before") or None)
        page = {"history": [message_json(each) for each in history], "activeRun": active}
        # Of 2 MB Flask's own encoder takes 13 ms of everybody's time, this one 2.
        return Response(encode(page | {"more": True} if history.more else page), content_type="application/json")

    @blueprint.post("/stream-chat", defaults={"thread_slug": DEFAULT_THREAD})
    @blueprint.post("/thread/<thread_slug>/stream-chat")
    def stream_chat(slug: str, thread_slug: str) -> Response:
        principal, body = asker(), read_body(StreamChat)
        prompt = _prompt(body)
        workspace = store.workspace(principal, slug)
        thread = store.thread(principal, workspace, thread_slug)
        asked, left_stops = body.transport, read_left_stops()
        return services.transports.start(principal, workspace, thread, prompt, asked, left_stops=left_stops)

    return blueprint


def _prompt(body: StreamChat) -> Prompt:
    if body.attachments:
        raise BadRequestError("Attachments are not taken yet: send [] or leave them out.")
    return Prompt(
        message=not_blank("message", body.message),
        parent_id=body.parent_id,
        client_request_id=body.client_request_id,
        language=read_language(),
    )
