"""The ways of an answer that `stream-chat` begins: SSE, a WebSocket, or SSE that hands over to one.

`websocket`: the response says that the run goes on over `GET /api/agent-invocation/RUN`, and ends. `hybrid`: it is the
run's stream until the run waits for a person, says the same and ends. In both a prompt into a thread whose run has not
ended joins that run: a front end that lost its socket knows no other way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from flask import Response

from deechat.agents.plugins.base import Dialect, Frame, FromStart, Json
from deechat.agents.plugins.deechat import DeeChat
from deechat.errors import ConflictError, RunEndedError
from deechat.events import ClarificationRequest, Entry, ToolApprovalRequest
from deechat.principal import Principal
from deechat.runs.service import Runs
from deechat.runs.start import Prompt
from deechat.store.base import RunRow, Store, Thread, Workspace
from deechat.web.streams import Streams, View

SSE, WEBSOCKET, HYBRID = "sse", "websocket", "hybrid"
_GOES_ON = "The agent goes on over a WebSocket."


class Switch(FromStart):
    """A run's stream that ends with the word that the run goes on over a WebSocket.

    It says so when the run first needs a person, and shows what was before that by `shown`; without `shown` at once.
    """

    def __init__(self, run: RunRow, shown: Dialect | None) -> None:
        self._run = run
        self._shown = shown

    def fold(self, entry: Entry) -> Iterable[Frame]:
        if self.over:
            return ()
        if self._shown is not None and not isinstance(entry.event, ToolApprovalRequest | ClarificationRequest):
            return self._shown.fold(entry)
        self.over = True
        # The page puts this into the socket's address as it is: so it has a cursor without knowing it.
        address = self._run.id if self._shown is None else f"{self._run.id}?since={entry.seq - 1}"
        common: Json = {"id": self._run.message_id, "sources": [], "error": None}
        init = {"type": "agentInitWebsocketConnection", "textResponse": None, "close": False, "websocketUUID": address}
        if self._shown is not None:
            return (Frame({**common, **init}),)  # a status would take the text from the page
        said = {"type": "statusResponse", "textResponse": _GOES_ON, "close": True, "animate": True}
        return (Frame({**common, **init}), Frame({**common, "uuid": f"{self._run.message_id}:switch", **said}))

    def cut_off(self) -> Iterable[Frame]:
        return () if self._shown is None else self._shown.cut_off()


class Transports:
    """Begins answers over the transport that was asked for. `default`: that of workspaces which name none."""

    def __init__(self, store: Store, runs: Runs, streams: Streams, default: str) -> None:
        self._store = store
        self._runs = runs
        self._streams = streams
        self._default = default

    def start(
        self,
        principal: Principal,
        workspace: Workspace,
        thread: Thread,
        prompt: Prompt,
        asked: str | None,
        *,
        left_stops: bool,
        shown: Callable[[RunRow], Dialect] | None = None,
    ) -> Response:
        """Return the response of a prompt; `left_stops` as in `Streams.open`.

        `shown` makes the dialect of `hybrid` before it hands over; without it, it is our own.
        Raises as `Runs.start` does, and `BusyError`.
        """
        transport = self.of(workspace, asked)
        if transport == SSE:
            run = partial(self._runs.start, principal, workspace, thread, prompt)
            return self._streams.open(lambda: _from_start(run()), left_stops=left_stops)
        joined: set[str] = set()

        def find() -> View:
            run, is_new = self.start_or_join(principal, workspace, thread, prompt)
            joined.update(() if is_new else (run.id,))
            return _from_start(run)

        def switch(run: RunRow) -> Dialect:
            is_shown = transport == HYBRID and run.id not in joined
            return Switch(run, (shown or _own)(run) if is_shown else None)

        # The first stream of a WebSocket ends while its run goes on.
        return self._streams.open(find, switch, left_stops=left_stops and transport == HYBRID)

    def of(self, workspace: Workspace, asked: str | None) -> str:
        """Return the transport of an answer in the workspace."""
        return asked or workspace.transport or self._default

    def start_or_join(
        self, principal: Principal, workspace: Workspace, thread: Thread, prompt: Prompt
    ) -> tuple[RunRow, bool]:
        """Start the run that answers a prompt, or say the prompt to the thread's run that has not ended.

        Return the run, and whether it is new. Raises as `Runs.start` and `Runs.steer` do.
        """
        ended = None
        while True:
            try:
                return self._runs.start(principal, workspace, thread, prompt), True
            except ConflictError as exc:
                run_id = exc.details.get("runId")
                if run_id in (None, ended):
                    raise
            try:
                self._runs.steer(principal, run_id, prompt.message)
                return self._store.run(principal, run_id), False
            except RunEndedError:  # just now: then the prompt starts a run, once that ending is on disk
                self._runs.stop(principal, run_id)
                ended = run_id


def _own(run: RunRow) -> Dialect:
    return DeeChat(run.message_id)


def _from_start(run: RunRow) -> View:
    return View(run, after=0, last_seq=1)
