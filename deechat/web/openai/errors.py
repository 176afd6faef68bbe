"""Errors in the shape of OpenAI's API: its SDKs make their classes of the status, and show the message."""

from __future__ import annotations

from typing import Any

from deechat.errors import BadRequestError

Json = dict[str, Any]

PREFIX = "/v1/"
# The SDKs ask again by themselves at 409: an answer that is still being made is no reason for that.
_STATUS = {409: 400, 415: 400}
_CODES = {"login_required": "invalid_api_key"}
_TYPES = {
    401: "invalid_request_error",
    403: "permission_error",
    404: "not_found",
    429: "too_many_requests",
    502: "model_error",
}


class FieldError(BadRequestError):
    """A field of the request that is wrong, or not served; `param` names it."""

    def __init__(self, message: str, param: str | None, code: str = "invalid_value") -> None:
        super().__init__(message, code=code)
        self.details = {"param": param} if param else {}


def error_json(status: int, code: str, message: str, details: dict[str, str]) -> Json:
    """Return the object below `error`."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    rest = {name: value for name, value in details.items() if name != "param"}
    return {"message": message, "type": kind, "param": details.get("param"), "code": _CODES.get(code, code), **rest}


def shape(status: int, code: str, message: str, details: dict[str, str]) -> tuple[int, Json]:
    """Return the status and the body of an error's response."""
    status = _STATUS.get(status, status)
    return status, {"error": error_json(status, code, message, details)}
