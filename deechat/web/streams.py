"""A run's log as a streaming response: a cursor, a plugin's frames, a heartbeat when nothing happens."""

from __future__ import annotations

import errno
import math
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple, TypeVar, cast

from flask import Response, jsonify, request

from deechat.agents.plugins.base import Dialect, Encoding, Json, Plugin
from deechat.agents.plugins.deechat import DeeChat, frame_of
from deechat.agents.plugins.ndjson import NDJSON
from deechat.agents.plugins.sse import SSE
from deechat.errors import BadRequestError, BusyError
from deechat.events import Entry
from deechat.runs.service import Runs
from deechat.store.base import RunRow
from deechat.web.caching import revalidated
from deechat.web.connection import watch
from deechat.web.gate import asker

PAUSE = 1.0  # seconds
FARTHEST = 10**15  # a cursor beyond it is beyond every log
# The encodings that a client may ask for by `Accept`; the first one is for clients that take anything.
ENCODINGS: dict[str, Encoding] = {"text/event-stream": SSE(), "application/x-ndjson": NDJSON()}
Whole = TypeVar("Whole", bound=Dialect)
FOREIGN = SSE(retries=False)


class _Streamed(Response):
    """A response whose pieces are bytes already, so that nothing need look at each on its way."""

    def iter_encoded(self) -> Iterator[bytes]:
        return cast("Iterator[bytes]", self.response)


class View(NamedTuple):
    """The wish of a viewer: a run's log after the SEQ `after`; `last_seq` is where the log ends now."""

    run: RunRow
    after: int
    last_seq: int

    @property
    def lost(self) -> bool:
        """Whether the cursor is beyond the log's end, so that the viewer has to begin anew."""
        return self.after > self.last_seq


class Streams:
    """All open streams; more than `most` are refused, since a full worker would not even answer a health check.

    `heartbeat` is how many seconds a stream is silent before it shows a sign of life.
    """

    def __init__(self, runs: Runs, *, most: int, heartbeat: float) -> None:
        self._runs = runs
        self._most = most
        self.heartbeat = heartbeat
        self._open: set[object] = set()

    def open(
        self,
        find: Callable[[], View],
        dialect: Callable[[RunRow], Dialect] | None = None,
        *,
        left_stops: bool = False,
        encoding: Encoding = FOREIGN,
        lasts: float | None = None,
    ) -> Response:
        """Return the response that shows the run of `find`: its log after a cursor, then live.

        `find` is called when there is a place for one more stream, and may raise; `BusyError` is raised before it is.
        `dialect` makes that of a run, in the `encoding`; without it, it is our own, in the encoding that the client
        takes. `left_stops`: a viewer that hangs up stops the run. `lasts`: the seconds after which the stream ends at
        the next entry or sign of life, so that the viewer comes again.
        """
        leave = self.take_place()
        try:
            view = find()
            plugin = Plugin(dialect(view.run), encoding) if dialect else _own(view.run)
            response = self._respond(view, plugin, left_stops=left_stops, lasts=lasts)
        except BaseException:
            leave()
            raise
        # Not in the generator: one that never started, as with HEAD, runs no `finally`.
        response.call_on_close(leave)
        return response

    def take_place(self) -> Callable[[], None]:
        """Return a function that frees the place, called once or more often. Raises `BusyError` when all are taken."""
        if len(self._open) >= self._most:
            raise BusyError(f"{self._most} streams are open already; try again soon.", retry_after=5)
        place = object()
        self._open.add(place)
        return partial(self._open.discard, place)

    def whole(
        self, find: Callable[[], View], dialect: Callable[[RunRow], Whole], *, left_stops: bool = False
    ) -> tuple[RunRow, Whole]:
        """Return the run of `find`, and its dialect once that is over; the parameters are those of `open`.

        Raises `BusyError` when the server leaves before.
        """
        leave, unwatch = self.take_place(), _nothing
        try:
            view = find()
            made = dialect(view.run)
            if left_stops:
                unwatch = watch(partial(self._runs.stop_left, asker(), view.run.id))
            with closing(self._runs.follow(asker(), view.run.id, 0, PAUSE)) as entries:
                for batch in entries:
                    if _is_over(made, batch):
                        return view.run, made
            raise BusyError("The server is being restarted; ask again in a moment.", retry_after=2)
        finally:
            unwatch()
            leave()

    def now(self, view: View, dialect: Whole) -> Whole:
        """Return the dialect after all entries that there are by now."""
        with closing(self._runs.follow(asker(), view.run.id, 0, PAUSE)) as entries:
            for batch in entries:
                is_all = view.run.ended_at is None and (not batch or batch[-1].seq >= view.last_seq)
                if _is_over(dialect, batch) or is_all:
                    break
        return dialect

    def poll(self, view: View, wait: float) -> Response:
        """Return as JSON the entries after the cursor: at once if there are some, else after up to `wait` seconds."""
        entries = self.read(view, wait)
        tag = f"{view.run.id}:{view.after}:{entries[-1].seq if entries else view.after}:json"
        return revalidated(tag if view.run.ended_at else None, lambda: _as_json(view, entries))

    def read(self, view: View, wait: float) -> list[Entry]:
        """Return entries after the cursor: at once if there are some, else after up to `wait` seconds."""
        leave = self.take_place()
        try:
            return self._next(view, wait)
        finally:
            leave()

    def _next(self, view: View, wait: float) -> list[Entry]:
        after = 0 if view.lost else view.after
        with closing(self._runs.follow(asker(), view.run.id, after, wait)) as entries:
            batch = next(entries, None)
        if batch is None and view.run.ended_at is None:
            # The log cannot be followed just now; a client that polls shall not do so without a pause.
            time.sleep(min(wait, PAUSE))
        return batch or []

    def _respond(self, view: View, plugin: Plugin, *, left_stops: bool, lasts: float | None) -> Response:
        after = 0 if view.lost or plugin.from_start else view.after
        principal, run_id = asker(), view.run.id
        entries = self._runs.follow(principal, run_id, after, self.heartbeat)
        until = math.inf if lasts is None else time.monotonic() + lasts
        frames = _frames(entries, plugin, after, view, until)
        unwatch = _nothing
        if left_stops:
            left = partial(self._runs.stop_left, principal, run_id)
            unwatch = watch(left)  # a stream that is silent writes nothing, and would not see it
            frames = _until_left(frames, left, unwatch)
        response = _Streamed(frames, content_type=plugin.content_type)
        response.call_on_close(unwatch)
        response.headers["Cache-Control"] = "no-cache, no-transform"
        response.headers["X-Accel-Buffering"] = "no"
        response.headers["X-Run-Id"] = view.run.id
        return response


def _nothing() -> object:
    return None


def _is_over(dialect: Dialect, batch: Sequence[Entry]) -> bool:
    for entry in batch:
        for _ in dialect.fold(entry):
            pass  # the frames are not shown, and the dialect has their sum
        if dialect.over:
            return True
    return False


def _own(run: RunRow) -> Plugin:
    return Plugin(DeeChat(run.message_id), ENCODINGS[wanted_encoding()])


def wanted_encoding() -> str:
    """Return which of `ENCODINGS` the client asks for."""
    return request.accept_mimetypes.best_match(list(ENCODINGS), "text/event-stream")


def read_cursor() -> int:
    """Read after which SEQ a follower wants to go on: `Last-Event-ID`, else `?after=`; 0 is from the start.

    Raises `BadRequestError` with the code `bad_cursor`.
    """
    return _as_number(request.headers.get("Last-Event-ID") or request.args.get("after") or "0")


def read_number(name: str) -> int:
    """Read a SEQ out of the query string, 0 where it is not there. Raises `BadRequestError` likewise."""
    return _as_number(request.args.get(name) or "0")


def _as_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise BadRequestError(f"The cursor is {text[:40]!r}, but digits are expected.", code="bad_cursor")
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= 15 else FARTHEST


def _frames(
    entries: Generator[list[Entry], None, None], plugin: Plugin, after: int, view: View, until: float
) -> Generator[bytes, None, None]:
    yield plugin.opening(lost=view.lost)
    last, has_ended = after, False
    with closing(entries):
        for batch in entries:
            if not batch:
                yield plugin.heartbeat(last)
            else:
                last, has_ended = batch[-1].seq, batch[-1].event.ends
                yield b"".join(map(plugin.frame, batch))
            if plugin.over or time.monotonic() > until:
                return
    if view.run.ended_at is not None and last < view.last_seq:
        # The server leaves. A cache would take an end in order for the whole answer, which has a tag.
        raise ConnectionResetError(errno.ECONNRESET, "the rest of the log was not sent")
    if not has_ended and (words := plugin.cut_off()):
        yield words


def _until_left(
    frames: Generator[bytes, None, None], left: Callable[[], object], ended: Callable[[], object]
) -> Generator[bytes, None, None]:
    """Yield the frames; call `left` when they are closed before their end, else `ended` before the last bytes go."""
    try:
        yield from frames
        ended()
    except GeneratorExit:
        left()
        raise


def _as_json(view: View, entries: list[Entry]) -> Response:
    frames: list[Json] = [{"data": {"type": "resync"}}] if view.lost else []
    frames += [{"id": entry.seq, "data": frame_of(entry, view.run.message_id)} for entry in entries]
    last = entries[-1].seq if entries else 0 if view.lost else view.after
    ended = entries[-1].event.ends if entries else view.run.ended_at is not None
    return jsonify({"frames": frames, "lastEventId": last, "ended": ended})
