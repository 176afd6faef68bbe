"""Routes of the AI SDK's transports: send a message, answer a request, come back to a stream."""

from __future__ import annotations

from flask import Blueprint, Response

from deechat.agents.plugins.aisdk import AISDK
from deechat.agents.plugins.parts import ids_of, public_id
from deechat.errors import BadRequestError, ConflictError, NotFoundError
from deechat.principal import Principal
from deechat.runs.service import RunView
from deechat.runs.start import Prompt
from deechat.store.base import Store, Thread, Workspace
from deechat.web.aisdk.bodies import Approval, Messages, read_approvals, read_prompt, read_start, reply_of
from deechat.web.bodies import JSON, PLAIN, read_body, read_language, read_left_stops
from deechat.web.foreign import requests_of, respond, thread_of
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.streams import View


def make(services: Services) -> Blueprint:
    """Make the routes below `/api/ai`; in an address with a thread that one counts, else the body's `id`."""
    store, runs = services.store, services.runs
    blueprint = Blueprint("aisdk", __name__, url_prefix="/api/ai/<slug>")

    @blueprint.post("", defaults={"thread_slug": None})
    @blueprint.post("/<thread_slug>")
    def chat(slug: str, thread_slug: str | None) -> Response:
        body, principal = read_body(Messages, types=(JSON, PLAIN)), asker()
        thread_id = thread_slug or body.id
        if not thread_id or not body.messages:
            raise BadRequestError("The chat's id and its messages are expected: {id, messages}.")
        workspace = store.workspace(principal, slug)
        if approvals := read_approvals(body.messages[-1]):
            return _resume(services, store.thread(principal, workspace, thread_id), approvals)
        return _start(services, workspace, thread_id, body)

    @blueprint.get("/<thread_slug>/stream", defaults={"run_id": None})
    @blueprint.get("/<thread_slug>/<run_id>/stream")
    def stream(slug: str, thread_slug: str, run_id: str | None) -> Response:
        principal, start = asker(), read_start()
        workspace = store.workspace(principal, slug)
        is_placed = run_id not in (None, thread_slug)  # a transport that knows no run names the thread twice
        run_id, request_id = ids_of(run_id or thread_slug)
        if not is_placed and (thread := _known_thread(store, principal, workspace, thread_slug)):
            active = store.open_run(principal, thread.id)
            if active is None:
                return Response(status=204)
            run_id, request_id = active, ""
        view = runs.view(principal, run_id)
        if view.workspace.id != workspace.id or (is_placed and view.thread.slug != thread_slug):
            raise NotFoundError(f"There is no run {run_id!r}.")
        return _follow(services, view, request_id, start)

    return blueprint


def _known_thread(store: Store, principal: Principal, workspace: Workspace, slug: str) -> Thread | None:
    try:
        return store.thread(principal, workspace, slug)
    except NotFoundError:
        return None


def _start(services: Services, workspace: Workspace, thread_id: str, body: Messages) -> Response:
    """Start a run, or join the one that this message started before; a message sent anew is a branch of its own.

    The thread is made once nothing of the request can be refused any more.
    """
    store, runs, principal, last = services.store, services.runs, asker(), body.messages[-1]
    message, language, left_stops = read_prompt(last), read_language(), read_left_stops()
    given = last.get("id")
    message_id = given if isinstance(given, str) and 1 <= len(given) <= 200 else None
    if body.trigger == "regenerate-message" or body.message_id:
        thread = store.thread(principal, workspace, thread_id)
        parent = _parent(store, principal, thread, message_id)
        prompt = Prompt(message, parent_id=parent, language=language)
    else:
        thread = thread_of(store, principal, workspace, thread_id)
        prompt = Prompt(message, client_request_id=message_id, language=language)
    response = services.streams.open(
        lambda: View(runs.start(principal, workspace, thread, prompt), 0, 1),
        lambda _run: AISDK(),
        left_stops=left_stops,
    )
    return _with_headers(response, response.headers["X-Run-Id"])


def _parent(store: Store, principal: Principal, thread: Thread, message_id: str | None) -> str:
    """Return the id of the message that a user's message follows, by its id there or here. Raises `NotFoundError`."""
    if message_id is None:
        raise BadRequestError("The user's message must have its id to be sent anew.")
    known = store.run_by_request(principal, thread.id, message_id)
    prompt = store.message(principal, thread, known.parent_id if known else message_id)
    return prompt.parent_id or ""


def _resume(services: Services, thread: Thread, approvals: list[Approval]) -> Response:
    """Answer requests, and show the run from there on; the same answers again show it again."""
    runs, principal = services.runs, asker()
    said = {ids_of(each.id)[1]: each for each in approvals}
    run_id = ids_of(approvals[0].id)[0]
    view = runs.view(principal, run_id)
    if view.thread.id != thread.id or any(ids_of(each.id)[0] != run_id for each in approvals):
        raise NotFoundError("The thread has no such request.")
    pending = requests_of(view.pending)
    if not pending.keys() <= said.keys():
        raise ConflictError("All open requests have to be answered at once.")
    replies = [reply_of(request_id, each, pending.get(request_id)) for request_id, each in said.items()]

    def answered() -> View:
        for reply in replies:
            respond(runs, principal, run_id, reply)
        return View(view.run, 0, view.last_seq)

    left_stops = read_left_stops()
    response = services.streams.open(answered, lambda _run: AISDK(resumed=said), left_stops=left_stops)
    return _with_headers(response, public_id(run_id, next(iter(said))))


def _follow(services: Services, view: RunView, request_id: str, start: int) -> Response:
    """Return the stream of a run, or of the part of it behind a request. Raises `NotFoundError` for an unknown one."""
    resumed, name = ((request_id,), public_id(view.run.id, request_id)) if request_id else ((), view.run.id)
    log, first, tail = View(view.run, 0, view.last_seq), start, None
    if request_id or start < 0:
        so_far = services.streams.now(log, AISDK(resumed=resumed, until=view.last_seq))
        if request_id and request_id not in so_far.asked:
            raise NotFoundError(f"The run {view.run.id!r} has no request {request_id[:80]!r}.")
        if start < 0:
            first, tail = max(0, so_far.count + start), so_far.count - 1
    response = services.streams.open(lambda: log, lambda _run: AISDK(first, resumed=resumed, until=view.last_seq))
    if tail is not None:
        response.headers["x-workflow-stream-tail-index"] = str(tail)
    return _with_headers(response, name)


def _with_headers(response: Response, name: str) -> Response:
    response.headers["x-workflow-run-id"] = name
    response.headers["x-vercel-ai-ui-message-stream"] = "v1"
    return response
