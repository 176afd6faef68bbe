"""Lists as that page reads them: workspaces, threads, the messages of a thread, and what a search finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request
from msgspec.json import encode

from deechat.agents.plugins.anythingllm import request_words
from deechat.errors import NotFoundError
from deechat.locale import ENGLISH
from deechat.store.base import DEFAULT_THREAD, Thread, Workspace
from deechat.web.anythingllm.bodies import Fork, Search, Slugs
from deechat.web.anythingllm.history import bubbles
from deechat.web.bodies import is_anythingllm, read_body
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.shapes import thread_json, workspace_json

MOST = 1000
MOST_FOUND = 50
MOST_SEARCHED = 100  # workspaces, and of each the threads with the newest activity
UNNAMED = "Thread"  # a thread that its first prompt will name; the page wants a name

View = Callable[..., Response]


def views(services: Services, others: Mapping[str, View]) -> Callable[[], Response | None]:
    """Return a function that answers the page where it shares a route with ours, by the route's endpoint."""
    store, runs = services.store, services.runs

    def list_workspaces() -> Response:
        return jsonify({"workspaces": [_workspace(each) for each in store.workspaces(asker(), MOST)]})

    def show_workspace(slug: str) -> Response:
        workspace = store.workspace(asker(), slug)
        shape = _workspace(workspace)
        shape["chatModel"] = workspace.model or services.models()["current"]
        return jsonify({"workspace": shape})

    def list_threads(slug: str) -> Response:
        principal = asker()
        workspace = store.workspace(principal, slug)
        threads = [each for each in store.threads(principal, workspace, MOST) if each.slug != DEFAULT_THREAD]
        default = store.thread(principal, workspace, DEFAULT_THREAD)
        count = len(store.branch(principal, default.id, store.last_message_id(principal, default), 2))
        return jsonify({"threads": [_thread(each) for each in threads], "defaultThreadChatCount": count})

    def chats(slug: str, thread_slug: str) -> Response:
        principal = asker()
        thread = store.thread(principal, store.workspace(principal, slug), thread_slug)
        active = store.open_run(principal, thread.id)
        history = [bubble for each in runs.branch(principal, thread, MOST) for bubble in bubbles(each)]
        if active is not None:
            history += _waiting(active)
        return Response(encode({"history": history, "activeRun": active}), content_type="application/json")

    def _waiting(run_id: str) -> list[dict[str, Any]]:
        try:
            view = runs.view(asker(), run_id)
        except NotFoundError:
            return []
        said = [request_words(cast("Any", entry.event), view.run.language or ENGLISH) for entry in view.pending[:1]]
        return [{"role": "assistant", "content": each, "chatId": None, "sources": []} for each in said]

    table: dict[str, View] = {
        "workspaces.list_workspaces": list_workspaces,
        "workspaces.show_workspace": show_workspace,
        "threads.list_threads": list_threads,
        "chats.chats": chats,
        **others,
    }

    def answer() -> Response | None:
        view = table.get(request.endpoint or "") if is_anythingllm() else None
        return view(**(request.view_args or {})) if view else None

    return answer


def add(blueprint: Blueprint, services: Services) -> None:
    """Add the routes of lists that are that page's alone."""
    store, runs = services.store, services.runs

    @blueprint.get("/api/workspace/<slug>/parsed-files")
    def parsed_files(slug: str) -> Response:
        workspace = store.workspace(asker(), slug)
        context = workspace.context or None
        return jsonify({"files": [], "contextWindow": context, "currentContextTokenCount": 0})

    @blueprint.post("/api/workspace/search")
    def search() -> Response:
        principal, term = asker(), read_body(Search).search_term.strip().lower()
        workspaces, threads = [], []
        for workspace in store.workspaces(principal, MOST_SEARCHED) if term else ():
            if term in workspace.name.lower():
                workspaces.append(_named(workspace))
            threads += [
                {**_named(each), "workspace": _named(workspace)}
                for each in store.threads(principal, workspace, MOST_SEARCHED)
                if each.slug != DEFAULT_THREAD and term in (each.name or "").lower()
            ]
            if len(workspaces) + len(threads) >= MOST_FOUND:
                break
        return jsonify({"workspaces": workspaces[:MOST_FOUND], "threads": threads[:MOST_FOUND]})

    @blueprint.post("/api/workspace/<slug>/thread/fork")
    def fork(slug: str) -> Response:
        principal = asker()
        workspace, body = store.workspace(principal, slug), read_body(Fork)
        thread = store.thread(principal, workspace, body.thread_slug or DEFAULT_THREAD)
        return jsonify({"newThreadSlug": runs.edits.fork(principal, thread, body.chat_id).slug})

    @blueprint.get("/api/workspace/<slug>/tts/<chat_id>")
    def speech(slug: str, chat_id: str) -> Response:  # noqa: ARG001 - the browser has the voices
        store.workspace(asker(), slug)
        return Response(status=204)

    @blueprint.delete("/api/workspace/<slug>/thread-bulk-delete")
    def delete_threads(slug: str) -> Response:
        principal = asker()
        workspace = store.workspace(principal, slug)
        for thread_slug in read_body(Slugs).slugs:
            with suppress(NotFoundError):  # gone, as it shall be
                runs.delete_thread(principal, store.thread(principal, workspace, thread_slug))
        return jsonify({"success": True, "error": None})


def _workspace(workspace: Workspace) -> dict[str, Any]:
    return {**workspace_json(workspace), "chatModel": workspace.model, "chatMode": workspace.mode}


def _thread(thread: Thread) -> dict[str, Any]:
    return {**thread_json(thread), "name": thread.name or UNNAMED}


def _named(each: Workspace | Thread) -> dict[str, Any]:
    return {"slug": each.slug, "name": each.name}
