"""Routes of a workspace's threads."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from deechat.store.base import NEWEST, Thread
from deechat.web.bodies import NewThread, UpdateThread, not_blank, position, read_body, read_count, read_position
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.shapes import thread_json

MOST_THREADS = 1000


def make(services: Services) -> Blueprint:
    """Make the routes of threads, those of their messages apart."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("threads", __name__, url_prefix="/api/workspace/<slug>")

    @blueprint.get("/threads")
    def list_threads(slug: str) -> Response:
        principal = asker()
        workspace = store.workspace(principal, slug)
        if wanted := request.args.get("slug"):
            return jsonify({"threads": [thread_json(store.thread(principal, workspace, wanted))]})
        limit = read_count("limit", MOST_THREADS, MOST_THREADS)
        page = store.threads(principal, workspace, limit, read_position(NEWEST))
        after = {"next": position(page[-1].updated_at, page[-1].id)} if page.more else {}
        return jsonify({"threads": [thread_json(each) for each in page], **after})

    @blueprint.post("/thread/new")
    def new_thread(slug: str) -> Response:
        principal = asker()
        workspace, name = store.workspace(principal, slug), read_body(NewThread).name
        named = None if name is None else not_blank("name", name).strip()
        return _thread(store.new_thread(principal, workspace, named))

    @blueprint.post("/thread/<thread_slug>/update")
    def update_thread(slug: str, thread_slug: str) -> Response:
        principal = asker()
        thread = store.thread(principal, store.workspace(principal, slug), thread_slug)
        name = not_blank("name", read_body(UpdateThread).name)
        return _thread(store.rename_thread(principal, thread, name.strip()))

    @blueprint.delete("/thread/<thread_slug>")
    def delete_thread(slug: str, thread_slug: str) -> Response:
        principal = asker()
        runs.delete_thread(principal, store.thread(principal, store.workspace(principal, slug), thread_slug))
        return jsonify({"message": None})

    return blueprint


def _thread(thread: Thread) -> Response:
    return jsonify({"thread": thread_json(thread), "message": None})
