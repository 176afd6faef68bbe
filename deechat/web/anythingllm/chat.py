"""A prompt of that page, and the run that answers it: a new one, or the thread's open one."""

from __future__ import annotations

import uuid

from flask import Response

from deechat.agents.plugins.anythingllm import AnythingLLM, failure
from deechat.agents.plugins.base import Dialect, Frame
from deechat.agents.plugins.sse import SSE
from deechat.errors import BadRequestError, DeeChatError, RunEndedError
from deechat.locale import say
from deechat.principal import Principal
from deechat.runs.service import STOP_WORDS, Runs
from deechat.runs.start import Prompt
from deechat.store.base import RunRow, Thread, Workspace
from deechat.web.anythingllm.lists import View as Route
from deechat.web.anythingllm.replies import reply_to
from deechat.web.bodies import StreamChat, not_blank, read_body, read_language
from deechat.web.foreign import requests_of
from deechat.web.gate import asker
from deechat.web.services import Services
from deechat.web.streams import View
from deechat.web.transports import SSE as OVER_SSE


def make(services: Services) -> Route:
    """Make the page's view of `stream-chat`.

    It shows no words of a refused request, so they are the stream. Its stop button only hangs up, and so stops the run.
    """
    store, runs, streams, transports = services.store, services.runs, services.streams, services.transports

    def stream_chat(slug: str, thread_slug: str) -> Response:
        principal, language = asker(), read_language()
        try:
            body = read_body(StreamChat)
            if body.attachments:
                raise BadRequestError(say("anythingllm", language, "attachments"))
            workspace = store.workspace(principal, slug)
            thread = store.thread(principal, workspace, thread_slug)
            prompt = Prompt(not_blank("message", body.message), language=language)
            if transports.of(workspace, body.transport) != OVER_SSE:
                over = body.transport
                return transports.start(principal, workspace, thread, prompt, over, left_stops=True, shown=_dialect)
            asked = _Asked(runs, principal, workspace, thread, prompt)
            return streams.open(asked.find, asked.dialect, left_stops=True)
        except DeeChatError as exc:
            return Response(SSE().encode(Frame(failure(str(uuid.uuid4()), exc.message))), content_type=SSE.content_type)

    return stream_chat


def _dialect(run: RunRow) -> Dialect:
    return AnythingLLM(run.message_id)


class _Asked:
    """One prompt. `find` starts its run or joins the open one; `dialect` shows that from the fitting place on."""

    def __init__(self, runs: Runs, principal: Principal, workspace: Workspace, thread: Thread, prompt: Prompt) -> None:
        self._runs = runs
        self._principal = principal
        self._workspace = workspace
        self._thread = thread
        self._prompt = prompt
        self._after = 0
        self._answered = 0

    def find(self) -> View:
        active = self._runs.open_run(self._principal, self._thread)
        if active is not None:
            try:
                return self._join(active)
            except RunEndedError:  # just now: the prompt begins the next one, once that ending is on disk
                self._runs.stop(self._principal, active)
        run = self._runs.start(self._principal, self._workspace, self._thread, self._prompt)
        return View(run, after=0, last_seq=1)

    def dialect(self, run: RunRow) -> AnythingLLM:
        return AnythingLLM(run.message_id, after=self._after, answered=self._answered)

    def _join(self, run_id: str) -> View:
        """Reply to the first open request that is for a person, or else give the run the message.

        It is shown behind that, or from its start.

        Raises `RunEndedError`.
        """
        view = self._runs.view(self._principal, run_id)
        if view.status == "ended":
            raise RunEndedError
        if not view.pending:
            self._answered = view.last_seq
            self._runs.steer(self._principal, run_id, self._prompt.message)
        elif self._prompt.message.strip().lower() in STOP_WORDS:
            self._after = view.last_seq
            self._runs.stop(self._principal, run_id)
        else:
            self._after = view.last_seq
            request = next(iter(requests_of(view.pending).values()), view.pending[0].event)
            said = reply_to(request, self._prompt.message, self._prompt.language)
            if said.message is not None:
                self._runs.steer(self._principal, run_id, said.message)
            self._runs.respond(self._principal, run_id, said.reply)
        return View(view.run, after=0, last_seq=view.last_seq)
