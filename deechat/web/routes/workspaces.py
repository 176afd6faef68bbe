"""Routes of workspaces, their settings and their tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Blueprint, Response, jsonify
from msgspec import UNSET

from deechat.agents.tools.base import Tool
from deechat.errors import BadRequestError
from deechat.store.base import OLDEST, Workspace
from deechat.web.bodies import (
    NewWorkspace,
    UpdateWorkspace,
    not_blank,
    position,
    read_body,
    read_count,
    read_position,
)
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.shapes import FETCH, tool_json, workspace_json

MOST_WORKSPACES = 1000


def make(services: Services) -> Blueprint:
    """Make the routes of workspaces."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("workspaces", __name__, url_prefix="/api")

    @blueprint.get("/workspaces")
    def list_workspaces() -> Response:
        limit = read_count("limit", MOST_WORKSPACES, MOST_WORKSPACES)
        page = store.workspaces(asker(), limit, read_position(OLDEST))
        after = {"next": position(page[-1].created_at, page[-1].id)} if page.more else {}
        return jsonify({"workspaces": [workspace_json(each) for each in page], **after})

    @blueprint.post("/workspace/new")
    def new_workspace() -> Response:
        name = not_blank("name", read_body(NewWorkspace).name)
        return _workspace(store.new_workspace(asker(), name.strip()))

    @blueprint.get("/workspace/<slug>")
    def show_workspace(slug: str) -> Response:
        return jsonify({"workspace": workspace_json(store.workspace(asker(), slug))})

    @blueprint.post("/workspace/<slug>/update")
    def update_workspace(slug: str) -> Response:
        principal = asker()
        workspace = store.workspace(principal, slug)
        changes = _changes(read_body(UpdateWorkspace), services.tools)
        return _workspace(store.update_workspace(principal, workspace, **changes))

    @blueprint.get("/workspace/<slug>/tools")
    def list_tools(slug: str) -> Response:
        workspace = store.workspace(asker(), slug)
        return jsonify({"tools": [tool_json(tool, workspace) for tool in services.tools.values()]})

    @blueprint.delete("/workspace/<slug>")
    def delete_workspace(slug: str) -> Response:
        principal = asker()
        runs.delete_workspace(principal, store.workspace(principal, slug))
        return jsonify({"message": None})

    return blueprint


def _workspace(workspace: Workspace) -> Response:
    return jsonify({"workspace": workspace_json(workspace), "message": None})


def _changes(body: UpdateWorkspace, tools: Mapping[str, Tool]) -> dict[str, Any]:
    """Return the workspace's fields that the body changes. Raises `BadRequestError` for impossible ones."""
    changes = {name: getattr(body, name) for name in body.__struct_fields__ if getattr(body, name) is not UNSET}
    if "name" in changes:
        changes["name"] = not_blank("name", changes["name"]).strip()
    if changes.get("model") is not None:
        changes["model"] = not_blank("model", changes["model"]).strip()
    if changes.get("mode") == "query":
        raise BadRequestError("The mode 'query' answers from documents, and there are none yet: take agent or chat.")
    if "system_prompt" in changes:
        changes["system_prompt"] = changes["system_prompt"] or ""
    if "transport" in changes:
        changes["transport"] = changes["transport"] or ""
    if "context" in changes:
        changes["context"] = changes["context"] or 0
    if "allowed_hosts" in changes:
        changes["allowed"] = {FETCH: changes.pop("allowed_hosts"), **changes.get("allowed", {})}
    for field in ("tools", "policies", "allowed", "revoked"):
        _check_tools(field, changes.get(field, ()), tools)
    for field in {"tools", "policies"} & changes.keys():  # None: as the tool has it by itself
        changes[field] = {
            name: policy if policy != tools[name].policy else None for name, policy in changes[field].items()
        }
    return changes


def _check_tools(field: str, names: Iterable[str], tools: Mapping[str, Tool]) -> None:
    for name in names:
        if name not in tools:
            raise BadRequestError(f"{field}: there is no tool {name[:80]!r}; the tools are {', '.join(sorted(tools))}.")
        if field in {"allowed", "revoked"} and tools[name].scope is None:
            raise BadRequestError(f"{field}: {name} is allowed as a whole or not at all, so set its policy.")
