"""Routes about the system: the log-in, and what the page asks at its start. Most have the one answer that says no."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from deechat.errors import UnauthorizedError
from deechat.web.bodies import JSON, LARGEST_LOG_IN, PLAIN, LogIn, read_body
from deechat.web.gate import Gate, asker
from deechat.web.services import Services

Json = dict[str, Any]

# Answers that hold nothing of anyone. The page of the log-in reads them too.
OPEN: dict[str, Json] = {
    "/onboarding": {"onboardingComplete": True},
    "/system/footer-data": {"footerData": "[]"},
    "/system/support-email": {"supportEmail": None},
    "/system/custom-app-name": {"customAppName": None},
    "/system/is-default-logo": {"isDefaultLogo": True},
}
# Lists of things that DeeChat does not have, each as the page expects an empty one, and a person who is logged in.
EMPTY: dict[str, Json] = {
    "/system/check-token": {"valid": True},
    "/system/refresh-user": {"success": True, "user": None, "message": None},
    "/system/multi-user-mode": {"multiUserMode": False},
    "/system/accepted-document-types": {"types": {}},
    "/system/slash-command-presets": {"presets": []},
    "/system/prompt-variables": {"variables": []},
    "/admin/system-preferences-for": {"settings": {}},
    "/agent-flows/list": {"success": True, "flows": []},
    "/mcp-servers/list": {"success": True, "servers": []},
    "/agent-skills/filesystem-agent/is-available": {"available": False},
    "/agent-skills/create-files-agent/is-available": {"available": False},
}
EMPTY_IN_WORKSPACE: dict[str, Json] = {
    "/workspaces/<slug>/memories": {"memories": {"global": [], "workspace": []}},
    "/workspace/<slug>/suggested-messages": {"success": True, "suggestedMessages": []},
    "/workspace/<slug>/is-agent-command-available": {"showAgentCommand": False},
}


def add(blueprint: Blueprint, services: Services, gate: Gate) -> None:
    """Add the routes."""

    def fixed(answer: Json, slug: str | None = None) -> Response:
        if slug is not None:
            services.store.workspace(asker(), slug)
        return jsonify(answer)

    for endpoint, answers in (("open", OPEN), ("empty", EMPTY | EMPTY_IN_WORKSPACE)):
        for path, answer in answers.items():
            blueprint.add_url_rule(f"/api{path}", endpoint, fixed, methods=["GET"], defaults={"answer": answer})

    @blueprint.get("/api/setup-complete")
    def setup() -> Response:
        # `native`: the browser's own voice and ear.
        voices = {"TextToSpeechProvider": "native", "SpeechToTextProvider": "native"}
        results = {"RequiresAuth": gate.guarded, "MultiUserMode": False, "MemoryEnabled": False, **voices}
        return jsonify({"results": {**results, "LLMProvider": "generic-openai", "LLMModel": None}})

    @blueprint.get("/api/system/logo")
    def logo() -> Response:
        return Response(status=204)

    @blueprint.get("/api/system/document-processing-status")
    def documents() -> tuple[Response, int]:
        return jsonify({"online": False}), 503

    @blueprint.post("/api/agent-skills/whitelist/add")
    def whitelist() -> Response:
        # It names no workspace and no request, and a yes for all pages of the web is not what a person meant.
        words = "A tool is allowed for good in its workspace: answer always, or set its policy."
        return jsonify({"success": False, "error": words})

    _add_log_in(blueprint, gate)


def _add_log_in(blueprint: Blueprint, gate: Gate) -> None:
    @blueprint.post("/api/request-token")
    def request_token() -> tuple[Response, int] | Response:
        password = read_body(LogIn, LARGEST_LOG_IN, types=(JSON, PLAIN)).password
        try:
            token = gate.let_in(password)
        except UnauthorizedError as exc:
            return jsonify({"valid": False, "token": None, "message": exc.message}), exc.status
        response = jsonify({"valid": True, "token": token, "message": None})
        gate.set_cookie(response, token)  # a socket sends no other header
        return response
