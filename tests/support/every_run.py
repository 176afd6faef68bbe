"""The runs of the whole suite, each in every dialect: folded live it gives the frames of the fold from each cursor.

A cursor that a client holds leads to the same frames for ever, in any process. So when the tests are over, the logs of
the runs that they left in databases are folded from the start, and again from the cursor of each frame.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from log_reader import log_of

from deechat.agents.plugins.agui import AGUI
from deechat.agents.plugins.aisdk import AISDK
from deechat.agents.plugins.anythingllm import AnythingLLM
from deechat.agents.plugins.base import Dialect, Frame
from deechat.agents.plugins.deechat import DeeChat
from deechat.agents.plugins.openai.chat import Chat
from deechat.agents.plugins.openai.responses import Responses
from deechat.agents.plugins.websocket import AgentSocket
from deechat.events import Entry, InputReceived, RunStarted

ALL_PARTS = 10**9  # a place in the log that no wait is behind
SAME_SHAPE = 2  # logs of one shape that are folded
MOST_CURSORS = 40  # of one log, spread over it
Fold = Callable[[Any], list[Frame]]


class Way(NamedTuple):
    """A dialect's fold of one log. `fold` makes it from a cursor, `cursor` names that behind frame number `at`, None
    where the protocol gives none there.
    """

    start: Any
    fold: Fold
    cursor: Callable[[list[Frame], int], Any]


def folded(dialect: Dialect, entries: list[Entry]) -> list[Frame]:
    """Return the frames of entries up to the dialect's end."""
    frames: list[Frame] = []
    for entry in entries:
        frames += dialect.fold(entry)
        if dialect.over:
            break
    return frames


def _behind_entry(frames: list[Frame], at: int) -> Any:
    """Return the SEQ of a frame that is the last one of its entry."""
    return frames[at].id


def _deechat(entries: list[Entry], run: RunStarted) -> Iterator[Way]:
    yield Way(0, lambda after: folded(DeeChat(run.message_id), entries[after:]), _behind_entry)


def _agent_socket(entries: list[Entry], run: RunStarted) -> Iterator[Way]:
    yield Way(0, lambda after: folded(AgentSocket(run.message_id, after), entries), _behind_entry)


def _agui(entries: list[Entry], run: RunStarted) -> Iterator[Way]:
    def behind(frames: list[Frame], at: int) -> tuple[int, ...]:
        return tuple(map(int, str(frames[at].id).split(".")))

    yield Way((0, 0), lambda cursor: folded(AGUI(run.run_id, cursor, until=ALL_PARTS), entries), behind)
    for resumed in ((), *((each,) for each in _answered(entries))):
        yield Way(
            (0, 0), lambda cursor, resumed=resumed: folded(AGUI(run.run_id, cursor, resumed=resumed), entries), behind
        )


def _aisdk(entries: list[Entry], _run: RunStarted) -> Iterator[Way]:
    def behind(frames: list[Frame], at: int) -> int | None:
        return at + 1 if isinstance(frames[at].data, dict) else None  # the end counts as none

    yield Way(0, lambda start: folded(AISDK(start, until=ALL_PARTS), entries), behind)
    for resumed in ((), *((each,) for each in _answered(entries))):
        yield Way(0, lambda start, resumed=resumed: folded(AISDK(start, resumed=resumed), entries), behind)


def _responses(entries: list[Entry], _run: RunStarted) -> Iterator[Way]:
    for segment in range(_segments(entries)):
        yield Way(
            -1,
            lambda number, segment=segment: folded(Responses(segment, number), entries),
            lambda frames, at: at if isinstance(frames[at].data, dict) else None,
        )


def _chat(entries: list[Entry], _run: RunStarted) -> Iterator[Way]:
    for segment in range(_segments(entries)):  # without a cursor: a client that was cut off asks anew
        yield Way(None, lambda _, segment=segment: folded(Chat(segment), entries), lambda _frames, _at: None)


def _anythingllm(entries: list[Entry], run: RunStarted) -> Iterator[Way]:
    yield Way(None, lambda _: folded(AnythingLLM(run.message_id), entries), lambda _frames, _at: None)
    for entry in entries:
        if isinstance(entry.event, InputReceived):  # the rest of the run behind a reply
            yield Way(
                None,
                lambda _, after=entry.seq - 1: folded(AnythingLLM(run.message_id, after=after), entries),
                lambda _frames, _at: None,
            )


DIALECTS: dict[type, Callable[[list[Entry], RunStarted], Iterator[Way]]] = {
    DeeChat: _deechat,
    AgentSocket: _agent_socket,
    AGUI: _agui,
    AISDK: _aisdk,
    Responses: _responses,
    Chat: _chat,
    AnythingLLM: _anythingllm,
}


def _answered(entries: list[Entry]) -> list[str]:
    return [entry.event.request_id for entry in entries if isinstance(entry.event, InputReceived)]


def _segments(entries: list[Entry]) -> int:
    return 1 + len(_answered(entries))


@dataclass
class Looked:
    """What was looked at: logs, those left out since others have their shape, files that no log could be read of, and
    the cursors of each dialect.
    """

    logs: int = 0
    alike: int = 0
    unreadable: int = 0
    cursors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cursors = ", ".join(f"{name} {count:,}" for name, count in self.cursors.items())
        return (
            f"{self.logs:,} logs of the tests' runs were folded live and from each cursor ({cursors}); "
            f"{self.alike:,} more have the shape of two of them, {self.unreadable} files could not be read"
        )


def faults_of(entries: list[Entry], cursors: Counter[str] | None = None) -> Iterator[str]:
    """Yield a line for each dialect and cursor whose frames are not those of the live fold."""
    run = entries[0].event
    assert isinstance(run, RunStarted)
    for dialect, ways in DIALECTS.items():
        name = dialect.__name__
        for way in ways(entries, run):
            live = way.fold(way.start)
            if way.fold(way.start) != live:
                yield f"{name}: two folds from the start differ"
            places = range(0, len(live), max(1, len(live) // MOST_CURSORS))
            known = [(at, cursor) for at in places if (cursor := way.cursor(live, at)) is not None]
            if cursors is not None:
                cursors[name] += len(known) + 1
            for at, cursor in known:
                if way.fold(cursor) != live[at + 1 :]:
                    yield f"{name}: from the cursor {cursor!r} others come than live"
                    break


def look_at(folder: Path) -> Looked:
    """Fold the logs of all databases below the folder."""
    looked, shapes = Looked(), Counter[tuple[str, ...]]()
    for path in sorted(folder.rglob("deechat.sqlite3")):
        try:
            for run_id, entries in _logs(path):
                shape = _shape(entries)
                shapes[shape] += 1
                if shapes[shape] > SAME_SHAPE:
                    looked.alike += 1
                    continue
                looked.logs += 1
                place = path.parent.relative_to(folder)
                looked.faults += [f"{place}, run {run_id}: {each}" for each in faults_of(entries, looked.cursors)]
        except (sqlite3.Error, ValueError, AssertionError):
            looked.unreadable += 1  # damaged on purpose, or not of this version
    return looked


def _logs(path: Path) -> Iterator[tuple[str, list[Entry]]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        for (run_id,) in connection.execute("SELECT id FROM run ORDER BY rowid").fetchall():
            entries = log_of(connection, run_id)
            if entries and isinstance(entries[0].event, RunStarted):
                yield run_id, entries


def _shape(entries: list[Entry]) -> tuple[str, ...]:
    """Return the kinds of the events, with pieces of one kind behind each other as one or several."""
    shape: list[str] = []
    for entry in entries:
        kind = type(entry.event).__name__
        if shape[-2:] != [kind, kind]:
            shape.append(kind)
    return tuple(shape)
