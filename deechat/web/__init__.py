"""HTTP: requests to calls of the services, values to JSON, logs to streams. Nothing below it knows of a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, Response, request

from deechat.web import anythingllm
from deechat.web.agui import routes as agui
from deechat.web.aisdk import routes as aisdk
from deechat.web.bodies import LARGEST_BODY
from deechat.web.errors import answer_errors
from deechat.web.forwarded import PROXIES, Network
from deechat.web.gate import Gate, check_needs
from deechat.web.openai import chat as openai_chat
from deechat.web.openai import errors as openai_errors
from deechat.web.openai import models as openai_models
from deechat.web.openai import responses as openai_responses
from deechat.web.openai import socket as openai_socket
from deechat.web.routes import chats, invocations, pages, runs, threads, workspaces
from deechat.web.services import Services

_CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class _Flask(Flask):
    """Flask without a look at each function, for each request, whether it is a coroutine: there are none here."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def make_app(services: Services, gate: Gate, proxies: tuple[Network, ...] = ()) -> Flask:
    """Make the WSGI application over services that are ready before the first request.

    `proxies` are trusted to say who asks, besides those on this machine. Raises `LookupError` for a route whose
    needs the gate does not know.
    """
    app = _Flask("deechat")
    app.config[PROXIES] = proxies
    # One more than is taken: the framework cuts a body without a length there, and a cut one must not pass as whole.
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY + 1
    # An address means one thing and is answered there: a redirect would lose a POST's stream on most clients.
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    answer_errors(app, {openai_errors.PREFIX: openai_errors.shape})
    gate.guard(app)
    theirs = (openai_models, openai_chat, openai_responses, openai_socket, agui, aisdk)
    for module in (pages, workspaces, threads, chats, runs, invocations, *theirs):
        app.register_blueprint(module.make(services))
    app.register_blueprint(anythingllm.make(services, gate))
    check_needs(app)
    app.after_request(_with_headers)
    app.after_request(partial(_with_heartbeat, f"{services.streams.heartbeat:g}"))
    app.after_request(partial(_with_damage, services))
    return app


def _with_heartbeat(seconds: str, response: Response) -> Response:
    # Clients give a stream up when its heartbeats stay away, so that each has to know how often they come.
    if request.path.startswith("/api/"):
        response.headers["X-Heartbeat"] = seconds
    return response


def _with_damage(services: Services, response: Response) -> Response:
    # A list may lack rows that cannot be read, so each response says it.
    if services.store.damage is not None:
        response.headers["X-Storage"] = "damaged"
    return response


def _with_headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Content-Security-Policy"] = _CONTENT_POLICY
    if response.mimetype == "application/json":
        response.headers["Cache-Control"] = "no-store"
    return response
