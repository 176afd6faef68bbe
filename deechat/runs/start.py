"""How runs begin: the prompt with a new run, or a new run that goes on from one which did not get through.

The first step begins with its run: it has to be on disk before the model is asked, and so waits for no other commit.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

import gevent
import msgspec

from deechat.agents.history import pack
from deechat.agents.providers.base import Provider
from deechat.errors import ModelError, NotFoundError
from deechat.events import AnyEvent, RunStarted, StepStarted, Terms, ThreadRenamed
from deechat.log.journal import Journal, Log
from deechat.messages import Message, ToolMessage, UserMessage
from deechat.principal import Principal
from deechat.store.base import (
    PROMPT,
    Change,
    InsertMessage,
    NameThread,
    RunRow,
    Store,
    StoredMessage,
    Thread,
    Workspace,
)

NAME_LENGTH = 48
MODEL_PATIENCE = 2.0  # seconds that a start waits to learn the default model's name

log = logging.getLogger(__name__)


class Prompt(msgspec.Struct, frozen=True):
    """A message that was sent. `parent_id` None follows the thread's last message, '' starts a branch of its own.

    `before` are messages that a client brought along; they stand before the message. That one is '' where they end with
    results of tools. `images` are its pictures, `terms` the request's wishes for its run.
    """

    message: str
    parent_id: str | None = None
    client_request_id: str | None = None
    language: str = "en"
    images: tuple[str, ...] = ()
    before: tuple[Message, ...] = ()
    terms: Terms | None = None

    @property
    def told(self) -> list[Message]:
        """All messages, in order."""
        return [*self.before, *([UserMessage(self.message, self.images)] if self.message or self.images else [])]


class Opened(NamedTuple):
    """A run that has just begun, with its first step, of which the model was not asked yet.

    Its holder keeps the log in memory.
    """

    run: RunRow
    log: Log


class Starter:
    """Stores the beginning of a run, in one transaction. Each thread has one start at a time.

    `choose` gives the provider for a new question, `going_on` for one that goes on from a run of this model.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        choose: Callable[[], Provider],
        going_on: Callable[[str | None], Provider],
    ) -> None:
        self._journal = journal
        self._store = store
        self._choose = choose
        self._going_on = going_on

    def create_run(self, principal: Principal, workspace: Workspace, thread: Thread, prompt: Prompt) -> Opened:
        """Begin the run that answers a prompt.

        Raises `NotFoundError`, `ConflictError` when another process was quicker, and `StorageUnavailableError`.
        """
        model = _model(workspace, self._choose())
        # The thread may have been renamed while the model server was asked; no message can have come meanwhile.
        thread, parent = self._store.thread_by_id(principal, thread.id), self._parent(principal, thread, prompt)
        messages = _stored(thread.id, parent, prompt.told)
        run = _new_run(thread, messages[-1].id, model, prompt.language, client_request_id=prompt.client_request_id)
        events: list[AnyEvent] = [_started(run, workspace, thread, prompt.terms)]
        changes: list[Change] = [InsertMessage(message) for message in messages]
        if thread.name is None and (name := name_from(prompt.message)):
            events.append(ThreadRenamed(thread.slug, name))
            changes.append(NameThread(thread.id, name, only_unnamed=True))
        return self._open(run, events, *changes)

    def create_continuation(
        self, principal: Principal, workspace: Workspace, thread: Thread, before: RunRow, language: str
    ) -> Opened:
        """Begin the run that goes on from an ended one. Raises like `create_run`."""
        model = _model(workspace, self._going_on(before.model))
        parent = before.parent_id
        with suppress(NotFoundError):  # a run whose log could not be read has left no message
            parent = self._store.message(principal, thread, before.message_id).id
        run = _new_run(thread, parent, model, language, continues=before.id)
        return self._open(run, [_started(run, workspace, thread)])

    def _open(self, run: RunRow, events: list[AnyEvent], *changes: Change) -> Opened:
        return Opened(run, self._journal.open(run, [*events, StepStarted(1)], *changes))

    def _parent(self, principal: Principal, thread: Thread, prompt: Prompt) -> str | None:
        if prompt.parent_id is None:
            return self._store.last_message_id(principal, thread)
        return self._store.message(principal, thread, prompt.parent_id).id if prompt.parent_id else None


def name_from(prompt: str) -> str:
    """Return a thread's name: the prompt's first words, up to about `NAME_LENGTH` characters."""
    words = " ".join(prompt.split())
    if len(words) <= NAME_LENGTH:
        return words
    head = words[:NAME_LENGTH]
    cut = head.rfind(" ")
    return (head[:cut] if cut > NAME_LENGTH // 2 else head).rstrip(" ,;:，；：") + " …"


def _new_run(
    thread: Thread,
    parent_id: str,
    model: str | None,
    language: str,
    *,
    continues: str | None = None,
    client_request_id: str | None = None,
) -> RunRow:
    return RunRow(
        id=_new_id(),
        thread_id=thread.id,
        message_id=_new_id(),
        parent_id=parent_id,
        continues=continues,
        client_request_id=client_request_id,
        model=model,
        language=language,
        started_at=time.time(),
    )


def _stored(thread_id: str, parent: str | None, told: Sequence[Message]) -> list[StoredMessage]:
    """Return messages as a branch behind `parent`: each of a person, and the turns between two of them as one."""
    stored: list[StoredMessage] = []
    for is_user, group in groupby(told, lambda each: isinstance(each, UserMessage)):
        turns = list(group)
        for each in [[turn] for turn in turns] if is_user else [turns]:
            at = stored[-1].id if stored else parent
            text = "\n\n".join(turn.text for turn in each if not isinstance(turn, ToolMessage) and turn.text)
            packed = PROMPT if each == [UserMessage(text)] else pack(each, text)
            role = "user" if is_user else "assistant"
            stored.append(StoredMessage(_new_id(), thread_id, at, role, text, time.time(), turns=packed))
    return stored


def _new_id() -> str:
    return str(uuid.uuid4())


def _started(run: RunRow, workspace: Workspace, thread: Thread, terms: Terms | None = None) -> RunStarted:
    return RunStarted(
        run_id=run.id,
        message_id=run.message_id,
        workspace=workspace.slug,
        thread=thread.slug,
        name=thread.name,
        model=run.model,
        language=run.language,
        continues=run.continues,
        terms=terms,
    )


def _model(workspace: Workspace, provider: Provider) -> str | None:
    """Name the model that will answer; None when the model server does not say so in time."""
    # The step asks again and fails in words; here it only must not keep the first frame waiting.
    try:
        with gevent.Timeout(MODEL_PATIENCE, ModelError("it does not answer")):
            return provider.model_for(workspace.model)
    except ModelError as exc:
        log.warning("the default model is not known yet: %s", exc)
        return None
