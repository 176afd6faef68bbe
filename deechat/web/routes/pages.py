"""The page, and the sign of life."""

from __future__ import annotations

from pathlib import Path

import msgspec
from flask import Blueprint, Response, jsonify, make_response, render_template, request

from deechat.locale import LANGUAGES, tag_of, words
from deechat.web.bodies import Forget, read_body, read_language
from deechat.web.services import Services

_PACKAGE = Path(__file__).parents[2]


def _addresses(pattern: str) -> list[str]:
    """Return the addresses of the static files that match, relative to the page, sorted."""
    return sorted(path.relative_to(_PACKAGE).as_posix() for path in (_PACKAGE / "static").glob(pattern))


def _as_data(language: str) -> str:
    """Return the words of the page as JSON that may stand in HTML: its own, and the agent's for codes."""
    coded = {key: said for key, said in words("agent", language).items() if key.startswith(("status.", "habit."))}
    shown = msgspec.json.encode(coded | dict(words("page", language))).decode()
    return shown.replace("&", "\\u0026").replace("<", "\\u003c")


def make(services: Services) -> Blueprint:
    """Make the routes of the page, of `ping`, of `models` and of the habits that were learnt of them."""
    blueprint = Blueprint("pages", __name__)
    # In the order of the cascade: base.css is the first of those for all, and an element's own come after them.
    sheets = _addresses("css/*.css") + _addresses("css/elements/*.css")
    # What is loaded on first need stands in folders of its own: the workers, and the libraries below `vendor/`.
    modules = [each for each in _addresses("js/**/*.js") if "/workers/" not in each] + _addresses("vendor/*.js")

    shown = {language: _as_data(language) for language in LANGUAGES}

    @blueprint.get("/")
    def index() -> Response:
        language = read_language()
        page = render_template(
            "index.html",
            sheets=sheets,
            modules=modules,
            tag=tag_of(language),
            words=shown[language],
            no_script=words("page", language)["noScript"],
        )
        response = make_response(page)
        response.vary.add("Accept-Language")
        return response

    @blueprint.get("/api/ping")
    def ping() -> Response:
        services.store.check_alive()
        damage = services.store.damage
        # For everybody, so it says no more than that.
        return jsonify({"online": True} | ({"storage": "damaged"} if damage else {}))

    @blueprint.get("/api/models")
    def models() -> Response:
        return jsonify(services.models())

    @blueprint.get("/api/models/profile")
    def profile() -> Response:
        return jsonify({"profile": services.profile(request.args.get("model") or None, read_language())})

    @blueprint.post("/api/models/forget")
    def forget() -> Response:
        body = read_body(Forget)
        services.forget(body.code, body.model)
        return jsonify({"profile": services.profile(body.model, read_language())})

    return blueprint
