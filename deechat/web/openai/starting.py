"""A request's run: a new one, or the one that waits for the results or the yes that the request brings."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import NamedTuple

from deechat.agents.plugins.openai.segments import Segments, call_id
from deechat.errors import DeeChatError, NotFoundError
from deechat.events import ClientCall, Entry, Terms, ToolApprovalRequest
from deechat.messages import UserMessage
from deechat.principal import Principal
from deechat.runs.replies import Reply
from deechat.runs.service import Runs, RunView
from deechat.runs.start import Prompt
from deechat.store.base import HIDDEN, RunRow, Store, Thread, Workspace
from deechat.web.bodies import read_language
from deechat.web.openai.errors import FieldError
from deechat.web.openai.messages import Told, run_of
from deechat.web.services import Services
from deechat.web.streams import Streams, View

_KEYS = uuid.UUID("6c0a9a3e-5f0e-4b43-9f6c-2f1a7d3c0b11")  # the namespace of `Idempotency-Key`s


class Piece(NamedTuple):
    """The part of a run that answers a request."""

    run: RunRow
    segment: int


class Starting:
    """Begins runs, and lets those go on that wait for a client."""

    def __init__(self, services: Services) -> None:
        self._store: Store = services.store
        self._runs: Runs = services.runs
        self._streams: Streams = services.streams

    def thread(self, principal: Principal, workspace: Workspace, key: str | None) -> Thread:
        """Return the thread of a new conversation; with a key, the one that the key made before."""
        name = uuid.uuid5(_KEYS, key) if key else uuid.uuid4()
        return self._store.new_thread(principal, workspace, None, f"{HIDDEN}{name}")

    def begin(
        self,
        principal: Principal,
        workspace: Workspace,
        thread: Thread | None,
        told: Told,
        terms: Terms,
        *,
        where: str,
        key: str | None = None,
        parent_id: str = "",
    ) -> Piece:
        """Begin the run that answers a conversation, behind the message `parent_id`; without a thread in a new one.

        Raises as `Runs.start` does, and `FieldError` where nothing is to be answered. A new thread is gone then.
        """
        before, prompt = told.split(where)
        place = thread or self.thread(principal, workspace, key)
        words = Prompt(
            message=prompt.text,
            parent_id=parent_id,
            client_request_id=key,
            language=read_language(),
            images=prompt.images,
            before=before,
            terms=terms,
        )
        try:
            return Piece(self._runs.start(principal, workspace, place, words), 0)
        except DeeChatError:
            if thread is None and key is None:  # one with a key may hold the run of an earlier request
                self._runs.delete_left(principal, place)
            raise

    def stand(self, principal: Principal, run_id: str, segment: int = -1) -> tuple[RunView, Segments]:
        """Return a run as it stands, and in which piece. Raises `NotFoundError`."""
        view = self._runs.view(principal, run_id)
        return view, self._streams.now(View(view.run, 0, view.last_seq), Segments(segment))

    def of_results(self, principal: Principal, workspace: Workspace, told: Told) -> Piece | None:
        """Let the workspace's run go on that waits for exactly the results at the end; None where there is none."""
        named = [run_of(each) for each in told.trailing]
        runs = {each[0] for each in named if each}
        if len(runs) != 1 or None in named:
            return None
        try:
            view, stand = self.stand(principal, runs.pop())
        except NotFoundError:
            return None
        waits = {event.call_id for entry in view.pending if isinstance(event := entry.event, ClientCall)}
        if view.workspace.id != workspace.id or view.status != "waiting" or len(view.pending) != len(waits):
            return None
        if waits != {each[1] for each in named if each}:
            return None
        self._reply(principal, view, told)
        return Piece(view.run, stand.at + 1)

    def go_on(self, principal: Principal, view: RunView, stand: Segments, told: Told) -> Piece:
        """Let a run that waits go on with all that it waits for. Raises `FieldError` when something is missing."""
        for entry in view.pending:
            _check_answered(view.run.id, entry, told)
        if said := "\n\n".join(each.text for each in told.messages if isinstance(each, UserMessage) and each.text):
            self._runs.steer(principal, view.run.id, said)
        self._reply(principal, view, told)
        return Piece(view.run, stand.at + 1)

    def _reply(self, principal: Principal, view: RunView, told: Told) -> None:
        for entry in view.pending:
            self._runs.respond(principal, view.run.id, _reply_to(view.run.id, entry, told))

    def came_before(self, principal: Principal, run_id: str, segment: int, told: Told) -> Piece | None:
        """Return the piece that the same answers began, where they come once more; None where they do not."""
        view, stand = self.stand(principal, run_id, segment)
        requests = stand.state.requests
        given = {each.request_id: each for each in stand.answers}
        asked = {each: requests[each] for each in given}
        outputs = {
            call_id(run_id, request.call_id): given[each].output
            for each, request in asked.items()
            if isinstance(request, ClientCall)
        }
        approvals = {
            each: given[each].approved for each, request in asked.items() if isinstance(request, ToolApprovalRequest)
        }
        is_same = bool(given) and outputs == _of(told.outputs, outputs) and approvals == told.approvals
        return Piece(view.run, segment) if is_same else None


def _of(outputs: Mapping[str, str], known: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in outputs.items() if name in known}


def _check_answered(run_id: str, entry: Entry, told: Told) -> None:
    event = entry.event
    if isinstance(event, ClientCall) and (name := call_id(run_id, event.call_id)) not in told.outputs:
        raise FieldError(f"No tool output found for function call {name}.", "input", "missing_output")
    if isinstance(event, ToolApprovalRequest) and event.request_id not in told.approvals:
        words = f"No answer found for the approval request mcpr_{event.request_id}: send an mcp_approval_response."
        raise FieldError(words, "input", "missing_output")


def _reply_to(run_id: str, entry: Entry, told: Told) -> Reply:
    event = entry.event
    if isinstance(event, ClientCall):
        return Reply(event.request_id, output=told.outputs[call_id(run_id, event.call_id)])
    if isinstance(event, ToolApprovalRequest):
        return Reply(event.request_id, approved=told.approvals[event.request_id])
    raise FieldError("The agent asks questions, which are answered on DeeChat's page.", "input")
