"""The page, and the sign of life."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template

from deechat.web.services import Services


def make(services: Services) -> Blueprint:
    """Makes the routes of the page, of `ping` and of `models`."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/")
    def index() -> str:
        return render_template("index.html")

    @blueprint.get("/api/ping")
    def ping() -> Response:
        services.check_alive()
        damage = services.damage()
        # For everybody, so it says no more than that.
        return jsonify({"online": True} | ({"storage": "damaged"} if damage else {}))

    @blueprint.get("/api/models")
    def models() -> Response:
        return jsonify(services.models())

    return blueprint
