"""A run's log as a streaming response: a cursor, a plugin's frames, a heartbeat when nothing happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import closing

from flask import Response, request

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.sse import SSE
from deechat.errors import BadRequestError, BusyError
from deechat.events import Entry
from deechat.journal import RunRecord
from deechat.runs import Runs

SEND_TIMEOUT = 60.0  # seconds that a viewer may read nothing before its connection is given up
FARTHEST = 10**15  # a cursor beyond it is beyond every log

Place = Callable[[], None]


class Streams:
    """All open streams; more than `most` are refused, since a full worker would not even answer a health check."""

    def __init__(self, runs: Runs, *, most: int, heartbeat: float) -> None:
        self._runs = runs
        self._most = most
        self._heartbeat = heartbeat
        self._open = 0

    def take_place(self) -> Place:
        """Takes a place and gives the function that gives it back, once. Raises `BusyError`."""
        if self._open >= self._most:
            raise BusyError(f"{self._most} streams are open already; try again soon.", retry_after=5)
        self._open += 1
        taken = [True]

        def give_back() -> None:
            if taken:
                taken.clear()
                self._open -= 1

        return give_back

    def respond(self, record: RunRecord, after: int, last_seq: int, place: Place) -> Response:
        """Gives the response that shows the run's log after the cursor, then live; its end gives the place back."""
        lost = after > last_seq
        plugin = SSE(record.message_id)
        entries = self._runs.follow(record.id, 0 if lost else after, self._heartbeat)
        response = Response(_frames(entries, plugin, 0 if lost else after, lost), content_type=plugin.content_type)
        response.headers["Cache-Control"] = "no-cache, no-transform"
        response.headers["X-Accel-Buffering"] = "no"
        response.headers["X-Run-Id"] = record.id
        # Not in the generator: one that never started, as with HEAD, runs no `finally`.
        response.call_on_close(place)
        _limit_sending()
        return response


def read_cursor() -> int:
    """Reads after which SEQ a follower wants to go on: `Last-Event-ID`, else `?after=`; 0 is from the start.

    Raises `BadRequestError` with the code `bad_cursor`.
    """
    text = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    if not re.fullmatch(r"[0-9]+", text):
        raise BadRequestError(f"The cursor is {text[:40]!r}, but digits are expected.", code="bad_cursor")
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= 15 else FARTHEST


def _frames(
    entries: Generator[list[Entry], None, None], plugin: Plugin, after: int, lost: bool
) -> Generator[bytes, None, None]:
    yield plugin.opening() + (plugin.resync() if lost else b"")
    last = after
    with closing(entries):
        for batch in entries:
            if not batch:
                yield plugin.heartbeat(last)
                continue
            last = batch[-1].seq
            yield b"".join(plugin.frame(entry) for entry in batch)


def _limit_sending() -> None:
    # gunicorn's own socket: a viewer that reads nothing would hold `sendall`, and with it the place, for ever.
    socket = request.environ.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(SEND_TIMEOUT)
