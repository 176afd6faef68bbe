"""Errors as responses: always `{"error": {"code", "message"}}` with a fitting status, never a traceback."""

from __future__ import annotations

import logging
import math
import uuid

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from deechat.errors import DeeChatError, UpgradeRequiredError
from deechat.web.connection import is_handshake

log = logging.getLogger(__name__)

# Refusals of the framework itself, in the contract's words.
_WORDS = {
    400: ("bad_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", "The body is larger than the 8 MB that are taken."),
}


def answer_errors(app: Flask) -> None:
    """Let the application answer every error so."""
    app.register_error_handler(DeeChatError, _ours)
    app.register_error_handler(HTTPException, _the_frameworks)
    app.register_error_handler(Exception, _unforeseen)


def _ours(error: DeeChatError) -> Response:
    response = _response(error.status, error.code, error.message, error.details)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, UpgradeRequiredError):
        response.headers["Sec-WebSocket-Version"] = "13"
    return response


def _the_frameworks(error: HTTPException) -> Response:
    if isinstance(error, WebsocketMismatch) and not is_handshake():
        return _ours(UpgradeRequiredError("At this address a WebSocket is spoken: ask with an Upgrade (RFC 6455)."))
    status = error.code or 500
    code, words = _WORDS.get(status, (error.name.lower().replace(" ", "_"), error.name + "."))
    response = _response(status, code, words, {})
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unforeseen(error: Exception) -> Response:
    number = uuid.uuid4().hex[:12]
    log.error("a request met a mistake in the program (%s)", number, exc_info=error)
    return _response(500, "internal_error", f"Something went wrong inside DeeChat; its log names it as {number}.", {})


def _response(status: int, code: str, message: str, details: dict[str, str]) -> Response:
    response = jsonify({"error": {"code": code, "message": message, **details}})
    response.status_code = status
    return response
