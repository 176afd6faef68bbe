"""A run in pieces: each is from a request to the next moment in which the run rests until somebody answers.

OpenAI's protocols end an answer there, and the next request brings the rest. So one run is one piece, or several; which
entries are of which follows from the log alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from deechat.agents.plugins.base import Frame, FromStart, Json
from deechat.agents.state import RunState
from deechat.events import (
    AnyEvent,
    Entry,
    HistorySummarized,
    InputReceived,
    ReasoningChunk,
    RunFailed,
    StepFinished,
    TextChunk,
    Usage,
)

Table = dict[type, Callable[[Any, Any, Entry], Iterable[Frame]]]
DONE = Frame(b"[DONE]")
_PIECES = (TextChunk, ReasoningChunk)


def short(run_id: str) -> str:
    """Return a run's id as it stands in ids of the protocol."""
    return run_id.replace("-", "")


def call_id(run_id: str, own: str) -> str:
    """Return the id by which a client knows a call of its tools: it names the run too."""
    return f"call_{short(run_id)}_{own}"


class Segments(FromStart):
    """The fold of a run's piece number `segment`, from 0. A subclass has a table of frames by the type of event.

    `at` is the number of the piece that the log is in, `resting` whether the run waits for an answer just now.
    `answers` are those that the piece began with.
    """

    table: ClassVar[Table] = {}

    def __init__(self, segment: int) -> None:
        self.state = RunState()
        self.at = 0
        self.resting = False
        self.over = False
        self.began_at = 0.0
        self.usage: list[Usage] = []
        self.failure: RunFailed | None = None
        self.answers: list[InputReceived] = []
        self.segment = segment

    @property
    def run_id(self) -> str:
        return self.state.started.run_id if self.state.started else ""

    @property
    def echo(self) -> Json:
        """The fields of the request that answers repeat."""
        terms = self.state.started.terms if self.state.started else None
        return terms.echo if terms else {}

    def fold(self, entry: Entry) -> Iterable[Frame]:
        if self.over:
            return ()
        event, rested = entry.event, self.resting
        self.state.apply(entry)
        if not isinstance(event, _PIECES):
            self.resting = self.state.ending is None and not self.state.has_work
        frames: list[Frame] = []
        begins = rested and self.state.has_work
        self.at += begins
        if rested and isinstance(event, InputReceived) and self.at + (not begins) == self.segment:
            self.answers.append(event)
        if self.at != self.segment or (rested and not begins):
            return ()
        if begins or entry.seq == 1:
            self.began_at = entry.at
            frames += self.begin(entry)
        frames += self._take(event, entry)
        if self.resting:
            frames += self.rest(entry)
        self.over = self.resting or event.ends
        return frames

    def _take(self, event: AnyEvent, entry: Entry) -> Iterable[Frame]:
        if isinstance(event, StepFinished | HistorySummarized):
            self.usage.append(event.usage)
        if isinstance(event, RunFailed):
            self.failure = event
        frames = self.table.get(type(event))
        return () if frames is None else frames(self, event, entry)

    def begin(self, _entry: Entry) -> Iterable[Frame]:
        """Return the frames before all others of the piece."""
        return ()

    def rest(self, _entry: Entry) -> Iterable[Frame]:
        """Return the frames that end a piece whose run waits."""
        return ()

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens of the piece's questions and of its answers."""
        return sum(each.prompt_tokens for each in self.usage), sum(each.completion_tokens for each in self.usage)


def failure_json(failure: RunFailed) -> Json:
    """Return the error that a stream shows for a run that failed."""
    kind = "server_error" if failure.code == "internal_error" else "model_error"
    return {"message": failure.message, "type": kind, "param": None, "code": failure.code}
