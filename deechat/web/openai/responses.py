"""The Responses API: a response is a run's piece, and its log gives each event again, at any age."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify, request

from deechat.agents.plugins.openai.responses import Responses
from deechat.errors import ConflictError, NotFoundError
from deechat.messages import Message
from deechat.runs.service import RunView
from deechat.store.base import HIDDEN, RunRow, Thread
from deechat.web.bodies import Nothing, read_body
from deechat.web.gate import asker
from deechat.web.openai.compaction import compact
from deechat.web.openai.creating import Body, Creating, run_id_of
from deechat.web.openai.errors import FieldError
from deechat.web.openai.messages import as_items
from deechat.web.openai.parameters import read, read_key
from deechat.web.services import Services
from deechat.web.streams import View

Json = dict[str, Any]


def make(services: Services) -> Blueprint:
    """Make the routes below `/v1/responses`."""
    routes = _Routes(services)
    blueprint = Blueprint("openai_responses", __name__, url_prefix="/v1/responses")
    blueprint.post("", endpoint="create")(routes.create)
    blueprint.post("/compact", endpoint="compact")(routes.compact)
    blueprint.get("/<response_id>", endpoint="show")(routes.show)
    blueprint.post("/<response_id>/cancel", endpoint="cancel")(routes.cancel)
    blueprint.delete("/<response_id>", endpoint="delete")(routes.delete)
    blueprint.get("/<response_id>/input_items", endpoint="input_items")(routes.input_items)
    return blueprint


class _Routes:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._runs, self._streams, self._creating = services.runs, services.streams, Creating(services)

    def create(self) -> Response:
        wish = self._creating.read(*read(Body))
        principal, key = asker(), read_key()
        segments: list[int] = []
        passing: list[Thread] = []  # that is deleted with the response's end

        def find() -> View:
            piece = self._creating.piece(principal, wish, key)
            segments.append(piece.segment)
            if not wish.store:
                passing.append(self._runs.view(principal, piece.run.id).thread)
            return View(piece.run, after=0, last_seq=1)

        def dialect(_run: RunRow) -> Responses:
            return Responses(segments[0])

        if wish.stream:
            response = self._streams.open(find, dialect)
        elif wish.background:
            view = find()
            made = self._streams.now(view, dialect(view.run))
            response = _answer(made.resource() | {"status": "queued"}, view.run.id)
        else:
            run, made = self._streams.whole(find, dialect)
            response = _answer(made.resource(), run.id)
        for thread in passing:
            response.call_on_close(partial(self._runs.delete_left, principal, thread))
        return response

    def show(self, response_id: str) -> Response:
        after = _after()
        view, made = self._find(response_id)
        if request.args.get("stream") != "true":
            return _answer(made.resource(), view.run.id)
        if after >= made.numbered:
            raise FieldError(f"The response has {made.numbered} events so far, from 0 on.", "starting_after")
        return self._streams.open(lambda: _as_view(view), lambda _run: Responses(made.segment, after))

    def cancel(self, response_id: str) -> Response:
        read_body(Nothing)
        view, made = self._find(response_id)
        if made.at == made.segment and view.status != "ended":
            self._runs.stop(asker(), view.run.id)
            view, made = self._find(response_id)
        return _answer(made.resource(), view.run.id)

    def delete(self, response_id: str) -> Response:
        principal = asker()
        view, _ = self._find(response_id)
        if not view.thread.slug.startswith(HIDDEN):
            raise ConflictError("This answer was made on DeeChat's page, and is deleted there.")
        if self._services.store.last_run(principal, view.thread.id) != view.run.id:
            words = "Other responses follow this one. Delete the last of the chain: all of it goes with it."
            raise ConflictError(words, code="not_the_last_run")
        self._runs.delete_thread(principal, view.thread)
        return jsonify({"id": response_id, "object": "response", "deleted": True})

    def input_items(self, response_id: str) -> Response:
        view, made = self._find(response_id)
        items = made.inputs() if made.segment else as_items(self._asked(view))
        ends = {"first_id": items[-1]["id"] if items else None, "last_id": items[0]["id"] if items else None}
        return jsonify({"object": "list", "data": items[::-1], **ends, "has_more": False})

    def compact(self) -> Response:
        return jsonify(compact(self._services, self._creating))

    def _find(self, response_id: str) -> tuple[RunView, Responses]:
        """Return the run of a response, and the response as it stands. Raises `NotFoundError`."""
        unknown = NotFoundError(f"There is no response {response_id[:100]!r}.")
        run_id, segment = run_id_of(response_id) or ("", 0)
        try:
            view = self._runs.view(asker(), run_id)
        except NotFoundError as exc:
            raise unknown from exc
        made = self._streams.now(_as_view(view), Responses(segment))
        if made.at < segment:
            raise unknown
        return view, made

    def _asked(self, view: RunView) -> list[Message]:
        """Return the messages that came with the run's request: those behind the last answer of the branch."""
        asked: list[Message] = []
        for message, turns in self._runs.conversation(asker(), view.run.id):
            asked = [] if message.run_id else asked + turns
        return asked


def _as_view(view: RunView) -> View:
    return View(view.run, after=0, last_seq=view.last_seq)


def _answer(resource: Json, run_id: str) -> Response:
    response = jsonify(resource)
    response.headers["X-Run-Id"] = run_id
    return response


def _after() -> int:
    text = request.args.get("starting_after", "")
    if not text:
        return -1
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise FieldError("starting_after is the sequence_number of the last event that you have.", "starting_after")
    return int(text)
