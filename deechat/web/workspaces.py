"""Routes of workspaces and their threads."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify
from msgspec import UNSET

from deechat.errors import BadRequestError
from deechat.store import Thread, Workspace
from deechat.web.bodies import NewThread, NewWorkspace, UpdateThread, UpdateWorkspace, not_blank, read_body
from deechat.web.services import Services
from deechat.web.shapes import thread_json, workspace_json


def make(services: Services) -> Blueprint:
    """Makes the routes below `/api/workspace`, those of chats apart."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("workspaces", __name__, url_prefix="/api")

    @blueprint.get("/workspaces")
    def list_workspaces() -> Response:
        return jsonify({"workspaces": [workspace_json(each) for each in store.workspaces()]})

    @blueprint.post("/workspace/new")
    def new_workspace() -> Response:
        name = not_blank("name", read_body(NewWorkspace).name)
        return _workspace(store.new_workspace(name.strip()))

    @blueprint.get("/workspace/<slug>")
    def show_workspace(slug: str) -> Response:
        return jsonify({"workspace": workspace_json(store.workspace(slug))})

    @blueprint.post("/workspace/<slug>/update")
    def update_workspace(slug: str) -> Response:
        workspace = store.workspace(slug)
        changes = _changes(read_body(UpdateWorkspace), services.tool_policies)
        return _workspace(store.update_workspace(workspace, **changes))

    @blueprint.delete("/workspace/<slug>")
    def delete_workspace(slug: str) -> Response:
        runs.delete_workspace(store.workspace(slug))
        return jsonify({"message": None})

    @blueprint.get("/workspace/<slug>/threads")
    def list_threads(slug: str) -> Response:
        return jsonify({"threads": [thread_json(each) for each in store.threads(store.workspace(slug))]})

    @blueprint.post("/workspace/<slug>/thread/new")
    def new_thread(slug: str) -> Response:
        workspace, name = store.workspace(slug), read_body(NewThread).name
        return _thread(store.new_thread(workspace, None if name is None else not_blank("name", name).strip()))

    @blueprint.post("/workspace/<slug>/thread/<thread_slug>/update")
    def update_thread(slug: str, thread_slug: str) -> Response:
        thread = store.thread(store.workspace(slug), thread_slug)
        name = not_blank("name", read_body(UpdateThread).name)
        return _thread(store.rename_thread(thread, name.strip()))

    @blueprint.delete("/workspace/<slug>/thread/<thread_slug>")
    def delete_thread(slug: str, thread_slug: str) -> Response:
        runs.delete_thread(store.thread(store.workspace(slug), thread_slug))
        return jsonify({"message": None})

    return blueprint


def _workspace(workspace: Workspace) -> Response:
    return jsonify({"workspace": workspace_json(workspace), "message": None})


def _thread(thread: Thread) -> Response:
    return jsonify({"thread": thread_json(thread), "message": None})


def _changes(body: UpdateWorkspace, policies: dict[str, str]) -> dict[str, Any]:
    """Gives the workspace's fields that the body changes. Raises `BadRequestError` for what cannot be."""
    changes = {name: getattr(body, name) for name in body.__struct_fields__ if getattr(body, name) is not UNSET}
    if "name" in changes:
        changes["name"] = not_blank("name", changes["name"]).strip()
    if changes.get("model") is not None:
        changes["model"] = not_blank("model", changes["model"]).strip()
    if changes.get("mode") == "query":
        raise BadRequestError("The mode 'query' answers from documents, and there are none yet: take agent or chat.")
    if "system_prompt" in changes:
        changes["system_prompt"] = changes["system_prompt"] or ""
    if "tools" in changes:
        changes["tools"] = _differing(changes["tools"], policies)
    return changes


def _differing(wanted: dict[str, str], policies: dict[str, str]) -> dict[str, str]:
    for name in wanted:
        if name not in policies:
            raise BadRequestError(f"There is no tool {name[:80]!r}; the tools are {', '.join(sorted(policies))}.")
    return {name: policy for name, policy in wanted.items() if policy != policies[name]}
