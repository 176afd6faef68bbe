"""The page, and the sign of life."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template

from deechat.errors import StorageUnavailableError
from deechat.web.services import Services


def make(services: Services) -> Blueprint:
    """Makes the routes of the page, of `ping` and of `models`."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/")
    def index() -> str:
        return render_template("index.html")

    @blueprint.get("/api/ping")
    def ping() -> Response:
        if not services.is_alive():
            raise StorageUnavailableError("The disk does not answer: what is written now is neither kept nor refused.")
        return jsonify({"online": True})

    @blueprint.get("/api/models")
    def models() -> Response:
        return jsonify(services.models())

    return blueprint
