"""Routes of runs: look at one, follow it, say something to it, stop it, go on from it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from deechat.runs.replies import Reply
from deechat.web.bodies import Nothing, Respond, Steer, not_blank, read_body, read_language, read_wait
from deechat.web.caching import revalidated
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.shapes import run_json
from deechat.web.streams import View, read_cursor, wanted_encoding


def make(services: Services) -> Blueprint:
    """Make the routes below `/api/runs`."""
    runs, streams = services.runs, services.streams
    blueprint = Blueprint("runs", __name__, url_prefix="/api/runs/<run_id>")

    @blueprint.get("")
    def show(run_id: str) -> Response:
        return jsonify({"run": run_json(runs.view(asker(), run_id))})

    @blueprint.get("/events")
    def events(run_id: str) -> Response:
        after, wait, view = read_cursor(), read_wait(), runs.view(asker(), run_id)
        if wait is not None:
            return streams.poll(View(view.run, after, view.last_seq), wait)
        if view.status == "ended" and after == view.last_seq:
            return Response(status=204)
        tag = f"{run_id}:{after}:{view.last_seq}:{wanted_encoding()}"
        return revalidated(
            tag if view.run.ended_at else None, lambda: streams.open(lambda: View(view.run, after, view.last_seq))
        )

    @blueprint.post("/respond")
    def respond(run_id: str) -> Response:
        body = read_body(Respond)
        not_blank("requestId", body.request_id)
        runs.respond(asker(), run_id, Reply(**{name: getattr(body, name) for name in body.__struct_fields__}))
        return jsonify({"run": run_json(runs.view(asker(), run_id))})

    @blueprint.post("/steer")
    def steer(run_id: str) -> tuple[Response, int]:
        runs.steer(asker(), run_id, not_blank("message", read_body(Steer).message))
        return jsonify({"run": run_json(runs.view(asker(), run_id))}), 202

    @blueprint.post("/stop")
    def stop(run_id: str) -> Response:
        read_body(Nothing)
        stopped = runs.stop(asker(), run_id)
        return jsonify({"run": run_json(runs.view(asker(), run_id)), "stopped": stopped})

    @blueprint.post("/continue")
    def go_on(run_id: str) -> Response:
        read_body(Nothing)
        language = read_language()
        return streams.open(lambda: View(runs.go_on(asker(), run_id, language), after=0, last_seq=1))

    return blueprint
