"""Responses over a WebSocket: each message asks for one, whose events are the messages that come back.

Responses with `store: false` can be gone on from on their own connection alone, and are deleted with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
from flask import Blueprint, Response

from deechat.agents.plugins.base import dumps
from deechat.agents.plugins.openai.responses import Responses, response_id
from deechat.errors import BadRequestError, BusyError, DeeChatError
from deechat.principal import Principal
from deechat.store.base import Thread
from deechat.web.gate import asker
from deechat.web.openai.creating import Body, Creating
from deechat.web.openai.errors import FieldError, shape
from deechat.web.openai.parameters import convert
from deechat.web.services import Services
from deechat.web.websocket import WebSocket

Json = dict[str, Any]
LOOK = 15.0  # seconds between two looks at a log in which nothing happens


def make(services: Services) -> Blueprint:
    """Make the WebSocket of responses."""
    blueprint = Blueprint("openai_socket", __name__)

    @blueprint.get("/v1/responses", websocket=True)
    def talk() -> Response:
        return services.sockets.serve(_Talk(services, asker()).session)

    return blueprint


class _Talk:
    """One connection. `_kept`: the threads of its responses that are not stored, by their ids."""

    def __init__(self, services: Services, principal: Principal) -> None:
        self._services = services
        self._creating = Creating(services)
        self._principal = principal
        self._kept: dict[str, Thread] = {}
        self._threads: dict[str, Thread] = {}

    def session(self, socket: WebSocket) -> None:
        """Answer each message in its turn, until the client leaves."""
        try:
            while (said := socket.receive()) is not None:
                self._answer(socket, said)
        finally:
            for thread in self._threads.values():
                self._services.runs.delete_left(self._principal, thread)

    def _answer(self, socket: WebSocket, said: str) -> None:
        previous: str | None = None
        try:
            fields = _read(said)
            name = fields.get("previous_response_id")
            previous = name if isinstance(name, str) else None
            for event in self._events(fields, lambda: socket.closed is not None):
                socket.send(dumps(event))
                if event["type"] == "response.failed":
                    self._kept.pop(previous or "", None)
        except DeeChatError as exc:
            # A turn that failed may have left anything behind: its client begins a new chain.
            self._kept.pop(previous or "", None)
            status, body = shape(exc.status, exc.code, exc.message, exc.details)
            socket.send(dumps({"type": "error", "status": status, **body}))

    def _events(self, fields: Json, has_left: Callable[[], bool]) -> Iterator[Json]:
        """Yield the events of a response to its end, or until the client has left. Raises `DeeChatError`."""
        wish = self._creating.read(*convert(fields, Body))
        runs = self._services.runs
        piece = self._creating.piece(self._principal, wish, None, kept=self._kept)
        if not wish.store:
            thread = runs.view(self._principal, piece.run.id).thread
            self._threads[thread.id] = self._kept[response_id(piece.run.id, piece.segment)] = thread
        made = Responses(piece.segment)
        with closing(runs.follow(self._principal, piece.run.id, 0, LOOK)) as entries:
            for batch in entries:
                for entry in batch:
                    for frame in made.fold(entry):
                        if isinstance(frame.data, dict):  # or it is the end of a stream over HTTP
                            yield frame.data
                if made.over or has_left():
                    return
        raise BusyError("The events cannot be told to their end just now; fetch the response again.", retry_after=2)


def _read(said: str) -> Json:
    """Return the fields of a message. Raises `BadRequestError`."""
    try:
        message = msgspec.json.decode(said, type=dict[str, Any])
    except (ValueError, RecursionError) as exc:
        raise BadRequestError("A message is a JSON object.", code="bad_json") from exc
    if message.get("type") != "response.create":
        raise FieldError('The type of a message is "response.create".', "type")
    return {name: value for name, value in message.items() if name != "type"}
