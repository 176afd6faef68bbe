"""Routes that change what was said. The page names an exchange by the id of its prompt or of its answer."""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify

from deechat.errors import BadRequestError, NotFoundError
from deechat.store.base import DEFAULT_THREAD, Thread
from deechat.web.anythingllm.bodies import Chats, EditedChats, Feedback, UpdateChat
from deechat.web.bodies import not_blank, read_body
from deechat.web.gate import asker
from deechat.web.services import Services

_THOUGHTS = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)  # as `history` writes them


def add(blueprint: Blueprint, services: Services) -> None:
    """Add the routes."""
    store, edits = services.store, services.runs.edits
    done = {"success": True, "error": None}

    @blueprint.post("/api/workspace/<slug>/update-chat", defaults={"thread_slug": DEFAULT_THREAD})
    @blueprint.post("/api/workspace/<slug>/thread/<thread_slug>/update-chat")
    def update_chat(slug: str, thread_slug: str) -> Response:
        thread = _thread(slug, thread_slug)
        body = read_body(UpdateChat)
        text = not_blank("newText", body.new_text)
        if body.role == "assistant":
            text = _THOUGHTS.sub("", text, count=1)
        edits.rewrite(asker(), store.message(asker(), thread, body.chat_id).id, body.role, text)
        return jsonify(done)

    @blueprint.delete("/api/workspace/<slug>/delete-edited-chats", defaults={"thread_slug": DEFAULT_THREAD})
    @blueprint.delete("/api/workspace/<slug>/thread/<thread_slug>/delete-edited-chats")
    def delete_edited_chats(slug: str, thread_slug: str) -> Response:
        thread = _thread(slug, thread_slug)
        edits.rewind(asker(), store.message(asker(), thread, read_body(EditedChats).starting_id).id)
        return jsonify(done)

    @blueprint.delete("/api/workspace/<slug>/delete-chats")
    def delete_chats(slug: str) -> Response:
        store.workspace(asker(), slug)
        for chat_id in read_body(Chats).chat_ids:
            edits.remove(asker(), chat_id)
        return jsonify(done)

    @blueprint.put("/api/workspace/workspace-chats/<chat_id>")
    def delete_chat(chat_id: str) -> Response:
        edits.remove(asker(), chat_id)
        return jsonify(done)

    @blueprint.post("/api/workspace/<slug>/chat-feedback/<chat_id>")
    def feedback(slug: str, chat_id: str) -> Response:
        store.workspace(asker(), slug)
        score = read_body(Feedback).feedback
        try:
            edits.rate(asker(), chat_id, score)
        except NotFoundError as exc:
            raise BadRequestError(exc.message) from exc
        return jsonify(done)

    def _thread(slug: str, thread_slug: str) -> Thread:
        return store.thread(asker(), store.workspace(asker(), slug), thread_slug)
