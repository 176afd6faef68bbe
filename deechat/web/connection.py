"""Tells the server that holds a request's connection of its steps, so that it can keep places and deadlines.

`deechat.server.worker.Connection` listens to it; under another WSGI server nobody does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from flask import request

from deechat.net.hangup import when_hung_up


class Connection(Protocol):
    """The connection that a request came on."""

    def come_in(self) -> None:
        """Note that the request has passed the gate."""

    def stay_outside(self, peer: str) -> None:
        """Note that the request has not passed the gate, at least not yet, and from whom it is."""

    def begin_body(self) -> None:
        """Note that somebody reads the body."""

    def end_body(self, *, whole: bool) -> None:
        """Note that nobody reads on, and whether the body came whole."""


class _Unheard:
    def come_in(self) -> None:
        pass

    def stay_outside(self, peer: str) -> None:
        pass

    def begin_body(self) -> None:
        pass

    def end_body(self, *, whole: bool) -> None:
        pass


_UNHEARD = _Unheard()


def watch(then: Callable[[], object]) -> Callable[[], object]:
    """Call `then` once the client of the request that is being answered hangs up; return what ends the watch."""
    known = request.environ.get("gunicorn.socket")
    return when_hung_up(known, then) if known is not None else lambda: None


def connection() -> Connection:
    """Return the connection of the request that is being answered."""
    known = request.environ.get("gunicorn.socket")
    return cast("Connection", known) if hasattr(known, "stay_outside") else _UNHEARD


def is_handshake() -> bool:
    """Check whether the request asks for a WebSocket."""
    return "websocket" in str(request.environ.get("HTTP_UPGRADE", "")).lower()
