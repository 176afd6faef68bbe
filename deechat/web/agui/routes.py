"""Routes of AG-UI: start or join a run, answer its interrupts and its calls of the client's tools, look at a thread."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from flask import Blueprint, Response, jsonify, request

from deechat.agents.plugins.agui import AGUI, Cursor, interrupt_of, run_error
from deechat.agents.plugins.base import Frame
from deechat.agents.plugins.parts import ids_of, public_id
from deechat.errors import BadRequestError, NotFoundError
from deechat.events import ClarificationRequest, ClientCall, Terms
from deechat.principal import Principal
from deechat.runs.replies import Reply
from deechat.runs.service import Runs, RunView
from deechat.runs.start import Prompt
from deechat.store.base import RunRow, Store, Thread, Workspace
from deechat.web.agui.bodies import Answer, RunAgentInput, read_event_cursor, read_outputs, read_prompt, read_tools
from deechat.web.agui.history import message_json
from deechat.web.bodies import JSON, PLAIN, read_body, read_language, read_left_stops
from deechat.web.foreign import Request, check_thread_id, requests_of, respond, thread_of
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.streams import FOREIGN, View

Json = dict[str, Any]
MOST_MESSAGES = 1000


def make(services: Services) -> Blueprint:
    """Make the routes below `/api/agui`."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("agui", __name__, url_prefix="/api/agui/<slug>")

    @blueprint.post("")
    def run(slug: str) -> Response:
        body = read_body(RunAgentInput, types=(JSON, PLAIN))
        check_thread_id(body.thread_id)
        workspace = store.workspace(asker(), slug)
        outputs = read_outputs(body.messages)
        if body.resume or outputs:
            return _resume(services, workspace, body, outputs)
        return _start(services, workspace, body)

    @blueprint.get("")
    def look(slug: str) -> Response:
        principal = asker()
        workspace = store.workspace(principal, slug)
        if run_id := request.args.get("runId"):
            cursor = read_event_cursor()
            view = _view(runs, principal, _joined(store, principal, workspace, run_id).id, cursor)
            return services.streams.open(lambda: view, lambda _run: AGUI(run_id, cursor, until=view.last_seq))
        if thread_id := request.args.get("threadId"):
            return _hydrate(store, runs, principal, workspace, check_thread_id(thread_id))
        raise BadRequestError("Ask with ?runId= for a run's events, or with ?threadId= for a thread's messages.")

    return blueprint


def _start(services: Services, workspace: Workspace, body: RunAgentInput) -> Response:
    """Start a run, or join the one that this input started before."""
    store, runs, principal, cursor = services.store, services.runs, asker(), read_event_cursor()
    tools, left_stops = read_tools(body.tools), read_left_stops()
    prompt = Prompt(
        read_prompt(body.messages),
        client_request_id=body.run_id,
        language=read_language(),
        terms=Terms(tools=tools, approvals=True) if tools else None,
    )
    thread = thread_of(store, principal, workspace, body.thread_id)
    known = store.run_by_request(principal, thread.id, body.run_id)
    if known is None and (waiting := _waiting(runs, store, principal, thread)):
        return _refused(f"The thread waits for an answer: send {waiting}.")

    def started() -> View:
        begun = runs.start(principal, workspace, thread, prompt)
        return _view(runs, principal, begun.id, cursor)

    return services.streams.open(started, lambda _run: AGUI(body.run_id, cursor), left_stops=left_stops)


def _resume(services: Services, workspace: Workspace, body: RunAgentInput, outputs: dict[str, str]) -> Response:
    """Answer interrupts and calls, and show the run from there on; the same answers again show it again."""
    runs, principal, cursor, answers = services.runs, asker(), read_event_cursor(), body.resume or []
    named = {each.interrupt_id for each in answers} | outputs.keys()
    run_id = _run_of(named)
    view = runs.view(principal, run_id)
    if (view.workspace.id, view.thread.slug) != (workspace.id, body.thread_id):
        raise NotFoundError(f"The thread {body.thread_id!r} has no such interrupt.")
    if lacking := _open(view, named):
        return _refused(f"All that the run waits for has to be answered at once; lacking: {lacking}.")

    def answered() -> View:
        requests = requests_of(view.pending)
        replies = [_reply(_request_id(each), each, requests.get(_request_id(each))) for each in answers]
        replies += [Reply(ids_of(call_id)[1], output=output) for call_id, output in outputs.items()]
        for reply in replies:
            respond(runs, principal, run_id, reply)
        return _view(runs, principal, run_id, cursor)

    resumed, left_stops = [ids_of(each)[1] for each in named], read_left_stops()
    return services.streams.open(
        answered, lambda _run: AGUI(body.run_id, cursor, resumed=resumed), left_stops=left_stops
    )


def _joined(store: Store, principal: Principal, workspace: Workspace, run_id: str) -> RunRow:
    """Return the run that a client, or this server, gave this id, with `threadId` beside it in that thread.

    Raises `NotFoundError`.
    """
    if thread_id := request.args.get("threadId"):
        known = store.run_by_request(principal, store.thread(principal, workspace, thread_id).id, run_id)
    else:
        known = store.run_by_request_in(principal, workspace, run_id)
    if known is not None:
        return known
    placed = store.placed_run(principal, run_id)
    if placed.workspace.id != workspace.id:
        raise NotFoundError(f"There is no run {run_id!r}.")
    return placed.run


def _view(runs: Runs, principal: Principal, run_id: str, cursor: Cursor) -> View:
    """Return the run for its stream. Raises `BadRequestError` for a cursor that is beyond its log."""
    view = runs.view(principal, run_id)
    if cursor[0] > view.last_seq:
        raise BadRequestError("Last-Event-ID is beyond this run's events.", code="bad_cursor")
    return View(view.run, 0, view.last_seq)


# -- interrupts --------------------------------------------------------------------------------------------------------


def _run_of(named: Set[str]) -> str:
    found = {ids_of(each)[0] for each in named}
    if len(found) > 1:
        raise BadRequestError("The interrupts and calls that are answered must be those of one run.")
    return found.pop()


def _request_id(answer: Answer) -> str:
    return ids_of(answer.interrupt_id)[1]


def _open(view: RunView, named: Set[str] = frozenset()) -> str:
    """Return in words all that the run waits for and that is not named; empty for nothing."""
    calls = [
        public_id(view.run.id, entry.event.request_id) for entry in view.pending if isinstance(entry.event, ClientCall)
    ]
    interrupts = [each["id"] for each in _interrupts(view)]
    return ", ".join(
        [
            *(f"resume for {each}" for each in interrupts if each not in named),
            *(f"a tool message for {each}" for each in calls if each not in named),
        ]
    )


def _interrupts(view: RunView) -> list[Json]:
    return [interrupt_of(view.run.id, event) for event in requests_of(view.pending).values()]


def _waiting(runs: Runs, store: Store, principal: Principal, thread: Thread) -> str:
    """Return in words what the thread waits for; empty while no run of it waits."""
    active = store.open_run(principal, thread.id)
    if active is None:
        return ""
    view = runs.view(principal, active)
    return _open(view) if view.status == "waiting" else ""


def _reply(request_id: str, answer: Answer, event: Request | None) -> Reply:
    given = answer.payload or {}
    cancelled = answer.status == "cancelled"
    if isinstance(event, ClarificationRequest):
        return Reply(request_id, skipped=True) if cancelled else Reply(request_id, answers=given.get("answers"))
    if cancelled:
        return Reply(request_id, approved=False)
    return Reply(request_id, approved=given.get("approved"), arguments=given.get("editedArgs"))


def _refused(words: str) -> Response:
    """Return a run that fails at once, as the specification has it for input that does not fit the open interrupts."""
    frame = FOREIGN.encode(Frame(run_error(words, "interrupts_open")))
    return Response(frame, content_type=FOREIGN.content_type)


# -- a thread ----------------------------------------------------------------------------------------------------------


def _hydrate(store: Store, runs: Runs, principal: Principal, workspace: Workspace, thread_id: str) -> Response:
    try:
        thread = store.thread(principal, workspace, thread_id)
    except NotFoundError:  # one that begins with its first message
        return jsonify({"messages": [], "activeRun": None, "interrupts": None})
    history, active = runs.chats(principal, thread, MOST_MESSAGES, None)
    shape: Json = {
        "messages": [message_json(message) for message in history],
        "activeRun": None,
        "interrupts": None,
    }
    if active is not None:
        view = runs.view(principal, active)
        run_id = view.run.client_request_id or view.run.id
        shape["activeRun"] = {"runId": run_id}
        if view.status == "waiting" and _interrupts(view):
            shape["interrupts"] = {"runId": run_id, "pending": _interrupts(view)}
    return jsonify(shape)
