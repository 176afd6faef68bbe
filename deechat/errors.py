"""All foreseen errors, as one tree.

Each error has an HTTP status, a code for programs and words for a person. It knows nothing of HTTP frameworks, frames
or storage; `deechat.web` turns it into a response and `deechat.runs.service` into the `abort` that ends a run.
"""

from __future__ import annotations


class DeeChatError(Exception):
    """The root. `str(error)` is the sentence for a person: the fault, the value, the remedy.

    `retry_after` is in seconds. `details` are further fields of the JSON error, all of them JSON values.
    """

    status = 500
    code = "internal_error"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: float | None = None, **details: str
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.details = details


class SettingError(DeeChatError):
    """A setting or the machine does not allow a start. It stops the start with its one line."""

    code = "bad_setting"


class UnsupportedServerError(DeeChatError):
    """A server other than ours has the application, in which one stream may keep all others waiting."""

    code = "unsupported_server"

    def __init__(self, server: str) -> None:
        super().__init__(
            f"It was started by {server}, which does not serve many streams at once as it needs. Start it with "
            "`deechat` or `python app.py`, or in the folder of its gunicorn.conf.py with `gunicorn app:app`; from "
            "elsewhere with `gunicorn --config FOLDER/gunicorn.conf.py --chdir FOLDER app:app`."
        )


class BadRequestError(DeeChatError):
    """The request cannot be understood, or a value in it is outside the contract."""

    status = 400
    code = "bad_request"


class UnauthorizedError(DeeChatError):
    """A password is set, and the request shows neither the cookie nor the password."""

    status = 401
    code = "login_required"


class ForbiddenError(DeeChatError):
    """The client, or the place it asks from, is not allowed in."""

    status = 403
    code = "forbidden"


class NotFoundError(DeeChatError):
    """Nothing has that name or id."""

    status = 404
    code = "not_found"


class ConflictError(DeeChatError):
    """The request is sound, but the present state does not allow it."""

    status = 409
    code = "conflict"


class RunEndedError(ConflictError):
    """The run has ended, so it takes no answer and no message."""

    code = "run_ended"

    def __init__(self) -> None:
        super().__init__("The run has ended: what you have to say is the next message.")


class TooLargeError(DeeChatError):
    """The body is over the limit."""

    status = 413
    code = "too_large"


class UnsupportedMediaError(DeeChatError):
    """The body is not `application/json`."""

    status = 415
    code = "unsupported_media_type"


class UpgradeRequiredError(DeeChatError):
    """The address is a WebSocket's, and the request is no handshake that can be accepted."""

    status = 426
    code = "upgrade_required"


class TooManyAttemptsError(DeeChatError):
    """Wrong passwords came too often, from this peer or in all."""

    status = 429
    code = "too_many_attempts"


class UnprocessableError(DeeChatError):
    """A `clientRequestId` came again with another message."""

    status = 422
    code = "request_id_reused"


class BusyError(DeeChatError):
    """All places are taken for the moment."""

    status = 503
    code = "busy"


class StorageUnavailableError(DeeChatError):
    """The database does not take writes now: the disk is full, or another program holds its lock."""

    status = 503
    code = "storage_unavailable"


class SealedError(StorageUnavailableError):
    """Nothing is stored any more, since the database is damaged and a write would damage more of it."""

    status = 500
    code = "storage_damaged"


class DamagedError(DeeChatError):
    """Stored data cannot be read as it was written: the file was damaged."""

    code = "storage_damaged"


class BrokenLogError(DamagedError):
    """The log of a run cannot be read: a newer version wrote it, or the file was damaged."""

    code = "log_unreadable"


class ModelError(DeeChatError):
    """The model server did not answer as it was asked; `code` is one of `MODEL_CODES`."""

    status = 502
    code = "model_error"


MODEL_CODES = frozenset(
    {
        "model_auth",
        "model_not_found",
        "model_rate_limited",
        "context_length",
        "model_unreachable",
        "model_timeout",
        "model_error",
        "model_protocol",
        "answer_too_long",
        "repetition",
    }
)


class Cancelled(BaseException):
    """Raised inside a run's greenlet, or a tool's, to end it now.

    A `BaseException`, so that no `except Exception` of a library between keeps it. The one instance travels through the
    greenlet and back: the holder of an open connection to a model server closes it and notes the time it took.

    `upstream_closed_ms` is None as long as no connection was closed for it.
    """

    def __init__(self) -> None:
        super().__init__("cancelled")
        self.upstream_closed_ms: int | None = None
