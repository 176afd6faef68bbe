"""The route of a run's log as a stream: look at its end, read what there is, wait for more."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, request

from deechat.agents.plugins.durable import Controlled, Durable, array_of, offset_of
from deechat.errors import BadRequestError
from deechat.events import Entry
from deechat.runs.service import RunView
from deechat.web.caching import revalidated
from deechat.web.durable.reading import LONG_POLL, SSE, next_cursor, read_query
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.streams import FOREIGN, View

PATIENCE = 20.0  # seconds of a long poll
LASTS = 60.0  # seconds of a connection, as the specification advises


def make(services: Services) -> Blueprint:
    """Make the route below `/api/durable`."""
    runs, streams = services.runs, services.streams
    blueprint = Blueprint("durable", __name__, url_prefix="/api/durable")

    @blueprint.get("/<run_id>")
    def read(run_id: str) -> Response:
        view, wish = runs.view(asker(), run_id), read_query()
        if request.method == "HEAD":
            return _with_headers(Response(content_type="application/json"), view.last_seq, closed=_has_ended(view))
        after = view.last_seq if wish.after is None else wish.after
        if after > view.last_seq:
            raise BadRequestError("The offset is behind the end of the stream.", code="bad_cursor")
        if wish.live == SSE:
            return _follow(services, view, after)
        if wish.live is None and wish.after is None:
            response = Response(b"[]", content_type="application/json")
            return _with_headers(response, after, up_to_date=True, closed=_has_ended(view))
        waits = wish.live == LONG_POLL and not _has_ended(view)
        is_at_end = after == view.last_seq
        entries = [] if is_at_end and not waits else streams.read(View(view.run, after, view.last_seq), PATIENCE)
        return _answer(view, after, entries, live=wish.live is not None)

    return blueprint


def _answer(view: RunView, after: int, entries: Sequence[Entry], *, live: bool) -> Response:
    last = entries[-1].seq if entries else after
    is_at_end = last >= view.last_seq
    closed = entries[-1].event.ends if entries else is_at_end and _has_ended(view)
    if live and not entries:
        response = Response(status=204)
    else:
        body = array_of(entries, view.run.message_id)
        tag = f"{view.run.id}:{offset_of(after)}:{offset_of(last)}{':c' * closed}"
        response = revalidated(tag, lambda: Response(body, content_type="application/json"))
    if live:
        response.headers["Stream-Cursor"] = next_cursor()
    return _with_headers(response, last, up_to_date=is_at_end, closed=closed)


def _follow(services: Services, view: RunView, after: int) -> Response:
    dialect = Durable(view.run.message_id, view.last_seq, next_cursor())
    is_at_end = after == view.last_seq
    encoding = Controlled(dialect.control(after, closed=_has_ended(view))) if is_at_end else FOREIGN
    response = services.streams.open(
        lambda: View(view.run, after, view.last_seq), lambda _run: dialect, encoding=encoding, lasts=LASTS
    )
    return _with_headers(response, after, up_to_date=is_at_end)


def _with_headers(response: Response, seq: int, *, up_to_date: bool = False, closed: bool = False) -> Response:
    response.headers["Stream-Next-Offset"] = offset_of(seq)
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    if up_to_date:
        response.headers["Stream-Up-To-Date"] = "true"
    if closed:
        response.headers["Stream-Closed"] = "true"
    return response


def _has_ended(view: RunView) -> bool:
    return view.status == "ended"
