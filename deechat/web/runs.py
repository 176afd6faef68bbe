"""Routes of runs: look at one, follow it, stop it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from deechat.web.bodies import Nothing, read_body
from deechat.web.services import Services
from deechat.web.shapes import run_json
from deechat.web.streams import View, read_cursor


def make(services: Services) -> Blueprint:
    """Makes the routes below `/api/runs`."""
    runs, streams = services.runs, services.streams
    blueprint = Blueprint("runs", __name__, url_prefix="/api/runs/<run_id>")

    @blueprint.get("")
    def show(run_id: str) -> Response:
        return jsonify({"run": run_json(runs.view(run_id))})

    @blueprint.get("/events")
    def events(run_id: str) -> Response:
        after, view = read_cursor(), runs.view(run_id)
        if view.status == "ended" and after == view.last_seq:
            return Response(status=204)
        return streams.open(lambda: View(view.record, after, view.last_seq))

    @blueprint.post("/stop")
    def stop(run_id: str) -> Response:
        read_body(Nothing)
        stopped = runs.stop(run_id)
        return jsonify({"run": run_json(runs.view(run_id)), "stopped": stopped})

    return blueprint
