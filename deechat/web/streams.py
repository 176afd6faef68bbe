"""A run's log as a streaming response: a cursor, a plugin's frames, a heartbeat when nothing happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from flask import Response, request

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.sse import SSE
from deechat.errors import BadRequestError, BusyError
from deechat.events import Entry
from deechat.journal import RunRecord
from deechat.runs import Runs

SEND_TIMEOUT = 60.0  # seconds that a viewer may read nothing before its connection is given up
FARTHEST = 10**15  # a cursor beyond it is beyond every log


@dataclass(frozen=True, slots=True)
class View:
    """What a viewer wants to see: a run's log after the SEQ `after`; `last_seq` is where the log ends now."""

    record: RunRecord
    after: int
    last_seq: int


class Streams:
    """All open streams; more than `most` are refused, since a full worker would not even answer a health check."""

    def __init__(self, runs: Runs, *, most: int, heartbeat: float) -> None:
        self._runs = runs
        self._most = most
        self._heartbeat = heartbeat
        self._open = 0

    def open(self, find: Callable[[], View]) -> Response:
        """Gives the response that shows what `find` says: a run's log after a cursor, then live.

        `find` is called when there is a place for one more stream, and may raise; `BusyError` is raised before it is.
        """
        if self._open >= self._most:
            raise BusyError(f"{self._most} streams are open already; try again soon.", retry_after=5)
        self._open += 1
        try:
            response = self._respond(find())
        except BaseException:
            self._give_back()
            raise
        # Not in the generator: one that never started, as with HEAD, runs no `finally`.
        response.call_on_close(self._give_back)
        return response

    def _give_back(self) -> None:
        self._open -= 1

    def _respond(self, view: View) -> Response:
        lost = view.after > view.last_seq
        after = 0 if lost else view.after
        plugin = SSE(view.record.message_id)
        entries = self._runs.follow(view.record.id, after, self._heartbeat)
        response = Response(_frames(entries, plugin, after, lost), content_type=plugin.content_type)
        response.headers["Cache-Control"] = "no-cache, no-transform"
        response.headers["X-Accel-Buffering"] = "no"
        response.headers["X-Run-Id"] = view.record.id
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
