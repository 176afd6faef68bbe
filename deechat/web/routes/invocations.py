"""The route of an agent's WebSocket."""

from __future__ import annotations

from flask import Blueprint, Response, request

from deechat.web.agent_socket import AgentSession, Cursor
from deechat.web.bodies import read_language
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.streams import read_number


def make(services: Services) -> Blueprint:
    """Make the route below `/api/agent-invocation`."""
    blueprint = Blueprint("invocations", __name__, url_prefix="/api/agent-invocation")

    @blueprint.get("/<run_id>", websocket=True)
    def converse(run_id: str) -> Response:
        principal = asker()
        view = services.runs.view(principal, run_id)
        session = AgentSession(
            services.runs,
            services.transports,
            principal,
            view,
            _cursor(view.last_seq),
            language=read_language(),
            heartbeat=services.streams.heartbeat,
        )
        return services.sockets.serve(session)

    return blueprint


def _cursor(last_seq: int) -> Cursor:
    """Read up to which SEQ the viewer has the run; one beyond the log's end is no cursor of this log."""
    way: Cursor = (read_number("since"), "since") if "since" in request.args else (read_number("after"), "after")
    return way if way[0] <= last_seq else (0, "after")
