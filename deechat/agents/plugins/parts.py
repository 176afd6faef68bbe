"""The common part of protocols whose stream ends when a run waits for an answer: the run is several of theirs.

A run waits when a request is open, no call is at work and none is left that nothing has happened to. The next part
begins when it goes on, or ends; things that happen meanwhile are told at that part's beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from deechat.agents.plugins.base import Frame, FromStart, Json
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    ClientCall,
    Entry,
    InputReceived,
    StepFinished,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
)

Request = ToolApprovalRequest | ClarificationRequest
Pending = Request | ClientCall


def public_id(run_id: str, request_id: str) -> str:
    """Return the id of a request for clients; it names its run, so that an answer finds it at any time."""
    return f"{run_id}:{request_id}"


def ids_of(public: str) -> tuple[str, str]:
    """Return the ids of the run and of the request that `public_id` made one of."""
    run_id, _, request_id = public.partition(":")
    return run_id, request_id


class InParts(FromStart):
    """A fold in parts. `resumed` are the ids of the requests that were answered: shown is the part after the wait for
    them; without any it is the first part. With `until`, a place in the log, all parts from there on are shown, and a
    wait before that place, which is over, ends nothing.
    """

    def __init__(self, resumed: Collection[str] = (), until: int | None = None) -> None:
        self.over = False
        self.seq = 0
        self.pending: dict[str, Pending] = {}
        self._resumed = frozenset(resumed)
        self._until = until
        self._shown = not resumed
        self._waits = False
        self._untouched: set[str] = set()
        self._at_work: set[str] = set()
        self._held: list[Json] = []

    def fold(self, entry: Entry) -> Iterable[Frame]:
        if self.over:
            return ()
        self.seq = entry.seq
        shown, waited = self._shown, self._waits
        events = self._events_of(entry.event)
        if self._waits and not waited:
            self._wait()
        if self._until is not None and self._shown:
            self.over = self._waits and entry.seq >= self._until
        return self.frames(events, last=self.over or entry.event.ends) if shown else ()

    def _events_of(self, event: AnyEvent) -> list[Json]:
        waited = self._waits
        events = self.events(event)
        self._follow(event)
        if not waited:
            return [*events, *self.pause()] if self._waits else events
        if self._waits:
            self._held += events
            return []
        held, self._held = self._held, []
        return [*self.begin(), *held, *events]

    def _follow(self, event: AnyEvent) -> None:
        match event:
            case StepFinished():
                self._untouched |= {call.id for call in event.calls}
            case ToolCallInvocation():
                self._untouched.discard(event.call_id)
                self._at_work.add(event.call_id)
            case ToolCallResult():
                self._untouched.discard(event.call_id)
                self._at_work.discard(event.call_id)
            case ToolApprovalRequest() | ClarificationRequest() | ClientCall():
                self._untouched.discard(event.call_id)
                self.pending[event.request_id] = event
            case InputReceived():
                self.pending.pop(event.request_id, None)
        self._waits = bool(self.pending) and not self._at_work and not self._untouched and not event.ends

    def _wait(self) -> None:
        """Let the part that was shown end, and decide whether the next one is shown."""
        begins = not self._resumed.isdisjoint(self.pending)
        if self._until is not None:
            self._shown = self._shown or begins
            return
        self.over = self._shown
        self._shown = not self._shown and begins

    # -- the protocol's own --------------------------------------------------------------------------------------------

    def events(self, event: AnyEvent) -> list[Json]:
        """Return the protocol's events of one of ours."""
        raise NotImplementedError

    def begin(self) -> list[Json]:
        """Return the events that begin a later part."""
        raise NotImplementedError

    def pause(self) -> list[Json]:
        """Return the events that end a part with a wait for what is `pending`."""
        raise NotImplementedError

    def frames(self, events: list[Json], *, last: bool) -> list[Frame]:
        """Return the frames of an entry's events that the viewer lacks; `last`: nothing follows them."""
        raise NotImplementedError
