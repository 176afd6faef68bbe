"""Errors as responses: `{"error": {"code", "message"}}` with a fitting status, never a traceback.

Routes of another protocol have its shape: `shapes` gives one for the beginning of a path, unknown ones included.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from deechat.errors import DeeChatError, UpgradeRequiredError
from deechat.web.connection import is_handshake

log = logging.getLogger(__name__)

# From the status, the code, the message and further fields to the status and the body.
Shape = Callable[[int, str, str, dict[str, str]], tuple[int, dict[str, Any]]]
Shapes = Mapping[str, Shape]

# Refusals of the framework itself, in the contract's words.
_WORDS = {
    400: ("bad_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", "The body is larger than the 8 MB that are taken."),
}


def answer_errors(app: Flask, shapes: Shapes) -> None:
    """Let the application answer every error so. `shapes` are by the beginning of a path."""
    app.register_error_handler(DeeChatError, partial(_ours, shapes))
    app.register_error_handler(HTTPException, partial(_the_frameworks, shapes))
    app.register_error_handler(Exception, partial(_unforeseen, shapes))


def _ours(shapes: Shapes, error: DeeChatError) -> Response:
    response = _response(shapes, error.status, error.code, error.message, error.details)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, UpgradeRequiredError):
        response.headers["Sec-WebSocket-Version"] = "13"
    return response


def _the_frameworks(shapes: Shapes, error: HTTPException) -> Response:
    if isinstance(error, WebsocketMismatch) and not is_handshake():
        return _ours(
            shapes, UpgradeRequiredError("At this address a WebSocket is spoken: ask with an Upgrade (RFC 6455).")
        )
    status = error.code or 500
    code, words = _WORDS.get(status, (error.name.lower().replace(" ", "_"), error.name + "."))
    response = _response(shapes, status, code, words, {})
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unforeseen(shapes: Shapes, error: Exception) -> Response:
    number = uuid.uuid4().hex[:12]
    log.error("a request met a mistake in the program (%s)", number, exc_info=error)
    words = f"Something went wrong inside DeeChat; its log names it as {number}."
    return _response(shapes, 500, "internal_error", words, {})


def _response(shapes: Shapes, status: int, code: str, message: str, details: dict[str, str]) -> Response:
    shape = next((shapes[start] for start in shapes if request.path.startswith(start)), _own)
    status, body = shape(status, code, message, details)
    response = jsonify(body)
    response.status_code = status
    return response


def _own(status: int, code: str, message: str, details: dict[str, str]) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": code, "message": message, **details}}
