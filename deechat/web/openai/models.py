"""`/v1/models`: each workspace is a model."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from deechat.errors import NotFoundError
from deechat.principal import Principal
from deechat.store.base import PersonalStore, Workspace
from deechat.web.bodies import read_count
from deechat.web.gate import asker
from deechat.web.services import Services

NAME = "deechat"
DEFAULT = "default"
MOST = 1_000


def model_id(workspace: Workspace) -> str:
    """Return a workspace's name as a model."""
    return NAME if workspace.slug == DEFAULT else f"{NAME}/{workspace.slug}"


def workspace_of(store: PersonalStore, principal: Principal, model: str) -> Workspace:
    """Return the workspace that a model's name means. Raises `NotFoundError` with the code `model_not_found`."""
    name, _, slug = model.partition("/")
    try:
        if name == NAME and (slug or model == NAME):
            return store.workspace(principal, slug or DEFAULT)
    except NotFoundError:
        pass
    raise NotFoundError(
        f"There is no model {model[:200]!r} here: a model is a workspace, and GET /v1/models lists them.",
        code="model_not_found",
        param="model",
    )


def make(services: Services) -> Blueprint:
    """Make the routes below `/v1/models`."""
    store = services.store
    blueprint = Blueprint("openai_models", __name__, url_prefix="/v1/models")

    @blueprint.get("")
    def list_models() -> Response:
        workspaces = store.workspaces(asker(), read_count("limit", MOST, MOST))
        return jsonify({"object": "list", "data": [_json(each) for each in workspaces]})

    @blueprint.get("/<path:model>")
    def show_model(model: str) -> Response:
        return jsonify(_json(workspace_of(store, asker(), model)))

    return blueprint


def _json(workspace: Workspace) -> dict[str, Any]:
    created = int(workspace.created_at)
    return {"id": model_id(workspace), "object": "model", "created": created, "owned_by": workspace.name}
