"""A session on an agent's WebSocket: the log of a run goes out, and a person's words come in.

The socket is one more viewer of the log. What comes in becomes the same moves as the POSTs: an answer to a request, a
message to the run, a stop. When the run has ended, the next message starts the thread's next run on the same socket.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import Any, Literal

import msgspec

from deechat.agents.plugins.base import Json, Plugin, dumps
from deechat.agents.plugins.ndjson import NDJSON
from deechat.agents.plugins.websocket import WAITING, AgentSocket, failure
from deechat.errors import BadRequestError, DeeChatError
from deechat.events import ClarificationRequest, Entry, RunFailed, RunStopped, ToolApprovalRequest
from deechat.principal import Principal
from deechat.runs.replies import Reply
from deechat.runs.service import STOP_WORDS, Runs, RunView
from deechat.runs.start import Prompt
from deechat.store.base import RunRow, Thread, Workspace
from deechat.web.bodies import Id, Message, not_blank
from deechat.web.transports import Transports
from deechat.web.websocket import INTERNAL, NO_CODE, NORMAL, RESTART, WebSocket

EXIT_WORDS = STOP_WORDS | {"exit", "stop", "halt", "/reset"}
LEFT_ON_PURPOSE = frozenset({NORMAL, NO_CODE})
"""Closes of a stop button. A page that is left sends 1001, and a network that is lost nothing."""


class AwaitingFeedback(msgspec.Struct, tag_field="type", tag="awaitingFeedback"):
    """A message to the run, or the thread's next prompt."""

    feedback: Message
    attachments: list[Any] | None = None


class ToolApprovalResponse(msgspec.Struct, tag_field="type", tag="toolApprovalResponse", rename="camel"):
    request_id: Id
    approved: Any = None
    arguments: Any = None
    always: Any = None


class ClarificationResponse(msgspec.Struct, tag_field="type", tag="clarificationResponse", rename="camel"):
    request_id: Id
    skipped: Any = None
    answers: Any = None


class AgentToolToggle(msgspec.Struct, tag_field="type", tag="agentToolToggle"):
    """A switch of AnythingLLM's tools menu, which has no meaning here."""


Incoming = AwaitingFeedback | ToolApprovalResponse | ClarificationResponse | AgentToolToggle
_decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(Incoming)
Cursor = tuple[int, Literal["after", "since"]]
"""The SEQ up to which the viewer has the run: its messages (`after`), or its frames over a stream (`since`)."""


class AgentSession:
    """One socket's session, which begins with one run of a thread."""

    def __init__(
        self,
        runs: Runs,
        transports: Transports,
        principal: Principal,
        view: RunView,
        cursor: Cursor,
        *,
        language: str,
        heartbeat: float,
    ) -> None:
        self._runs = runs
        self._transports = transports
        self._principal = principal
        self._workspace: Workspace = view.workspace
        self._thread: Thread = view.thread
        self._run = view.run  # the last one
        self._first = view
        self._cursor = cursor
        self._language = language
        self._heartbeat = heartbeat
        self._waiting: deque[RunRow] = deque()  # runs whose turn to be shown comes
        self._showing = False
        self._socket: WebSocket

    def __call__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._show(self._run)
        while (text := socket.receive()) is not None:
            try:
                self._take(text)
            except DeeChatError as exc:
                self._say(failure(exc.message), *([] if self._showing else [WAITING]))
        close = socket.closed
        if close is not None and not close.ours and close.code in LEFT_ON_PURPOSE:
            self._runs.stop_left(self._principal, self._run.id)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def _take(self, text: str) -> None:
        """Do what a message says. Raises `DeeChatError` in words."""
        try:
            said = _decoder.decode(text)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise BadRequestError(f"That is no message that is known here: {exc}.") from exc
        match said:
            case AwaitingFeedback(feedback, attachments):
                if attachments:
                    raise BadRequestError("Attachments are not taken yet.")
                self._hear(not_blank("feedback", feedback))
            case ToolApprovalResponse(request_id, approved, arguments, always):
                self._respond(Reply(request_id, approved=approved, arguments=arguments, always=always))
            case ClarificationResponse(request_id, skipped, answers):
                self._respond(Reply(request_id, skipped=skipped, answers=answers))
            case AgentToolToggle():
                pass

    def _respond(self, reply: Reply) -> None:
        self._runs.respond(self._principal, self._run.id, reply)

    def _hear(self, message: str) -> None:
        if message.strip().lower() in EXIT_WORDS:
            self._runs.stop(self._principal, self._run.id)
            self._socket.close()
            return
        prompt = Prompt(message, language=self._language)
        run, is_new = self._transports.start_or_join(self._principal, self._workspace, self._thread, prompt)
        if is_new or run.id != self._run.id:
            self._run = run
            self._show(run)

    # -- what goes out -------------------------------------------------------------------------------------------------

    def _show(self, run: RunRow) -> None:
        """Show a run once those before it are shown."""
        self._waiting.append(run)
        if not self._showing:
            self._showing = True
            self._socket.spawn(self._show_all)

    def _show_all(self) -> None:
        while self._waiting:
            run = self._waiting.popleft()
            try:
                last = self._follow(run)
            except DeeChatError as exc:  # its log cannot be read
                self._say(failure(exc.message))
                self._socket.close(INTERNAL)
                return
            if last is None or not last.event.ends:
                self._socket.close(RESTART, "The stream was interrupted; come again in a moment.")
                return
            if isinstance(last.event, RunStopped | RunFailed) and not self._waiting:
                self._socket.close()
                return
        self._showing = False

    def _follow(self, run: RunRow) -> Entry | None:
        """Send the run's messages to its end, and return the last entry. Raises `DeeChatError` at once."""
        is_first = run.id == self._first.run.id
        after, way = self._cursor if is_first else (0, "after")
        plugin = Plugin(AgentSocket(run.message_id, after, streamed=way == "since"), NDJSON())
        last = None
        with closing(self._runs.follow(self._principal, run.id, 0, self._heartbeat)) as batches:
            for entries in batches:
                messages = b"".join(
                    lines for entry in entries if (lines := plugin.frame(entry)) and not self._is_settled(run, entry)
                )
                if messages:
                    self._socket.send(*messages.splitlines())
                last = entries[-1] if entries else last
        return last

    def _is_settled(self, run: RunRow, entry: Entry) -> bool:
        """Say whether it is a request that had its answer when the viewer came: the page would ask for another."""
        event, first = entry.event, self._first
        if not isinstance(event, ToolApprovalRequest | ClarificationRequest) or run.id != first.run.id:
            return False
        return entry.seq <= first.last_seq and entry.seq not in {each.seq for each in first.pending}

    def _say(self, *messages: Json) -> None:
        self._socket.send(*map(dumps, messages))
