"""How runs begin: the prompt with a new run, or a new run that goes on from one which did not get through.

The first step begins with its run: it has to be on disk before the model is asked, and so waits for no other commit.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import gevent
import msgspec

from deechat.agents.providers.base import Provider
from deechat.errors import ModelError, NotFoundError
from deechat.events import AnyEvent, RunStarted, StepStarted, ThreadRenamed
from deechat.log.journal import Journal, Log
from deechat.store.base import RunRow, StoredMessage, Thread, Workspace
from deechat.store.sqlite.database import Work
from deechat.store.sqlite.store import Store, inserting, naming

NAME_LENGTH = 48
MODEL_PATIENCE = 2.0  # seconds that a start waits to learn the default model's name

log = logging.getLogger(__name__)


class Prompt(msgspec.Struct, frozen=True):
    """What a person sends. `parent_id` None follows the thread's last message, '' starts a branch at its beginning."""

    message: str
    parent_id: str | None = None
    client_request_id: str | None = None
    language: str = "en"


class Opened(NamedTuple):
    """A run that has just begun, with its first step, of which the model was not asked yet.

    Whoever has it holds its log in memory.
    """

    record: RunRow
    log: Log


class Opening:
    """Stores what a run begins with, in one transaction.

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

    def answer(self, workspace: Workspace, thread: Thread, prompt: Prompt) -> Opened:
        """Begins the run that answers a prompt. Raises `NotFoundError` and `StorageUnavailableError`."""
        model = _model(workspace, self._choose())
        # What may have changed while the model server was asked is read here; nothing yields before it is queued.
        thread, parent = self._store.thread_by_id(thread.id), self._parent(thread, prompt)
        message = StoredMessage(str(uuid.uuid4()), thread.id, parent, "user", prompt.message, time.time())
        record = _record(thread, message.id, model, prompt.language, client_request_id=prompt.client_request_id)
        events: list[AnyEvent] = [_started(record, workspace, thread)]
        works = [inserting(message)]
        if thread.name is None:
            events.append(ThreadRenamed(thread.slug, name_from(prompt.message)))
            works.append(naming(thread.id, name_from(prompt.message), only_unnamed=True))
        return self._open(record, events, *works)

    def continuation(self, workspace: Workspace, thread: Thread, before: RunRow, language: str) -> Opened:
        """Begins the run that goes on from an ended one. Raises like `answer`."""
        model = _model(workspace, self._going_on(before.model))
        parent = before.parent_id
        with suppress(NotFoundError):  # a run whose log could not be read has left no message
            parent = self._store.message(thread, before.message_id).id
        record = _record(thread, parent, model, language, continues=before.id)
        return self._open(record, [_started(record, workspace, thread)])

    def _open(self, record: RunRow, events: list[AnyEvent], *works: Work[None]) -> Opened:
        return Opened(record, self._journal.open(record, [*events, StepStarted(1)], *works))

    def _parent(self, thread: Thread, prompt: Prompt) -> str | None:
        if prompt.parent_id is None:
            return self._store.last_message_id(thread)
        return self._store.message(thread, prompt.parent_id).id if prompt.parent_id else None


def name_from(prompt: str) -> str:
    """Gives a thread's name: the prompt's first words, up to about `NAME_LENGTH` characters."""
    words = " ".join(prompt.split())
    if len(words) <= NAME_LENGTH:
        return words
    head = words[:NAME_LENGTH]
    cut = head.rfind(" ")
    return (head[:cut] if cut > NAME_LENGTH // 2 else head).rstrip(" ,;:，；：") + " …"


def _record(
    thread: Thread,
    parent_id: str,
    model: str | None,
    language: str,
    *,
    continues: str | None = None,
    client_request_id: str | None = None,
) -> RunRow:
    return RunRow(
        id=str(uuid.uuid4()),
        thread_id=thread.id,
        message_id=str(uuid.uuid4()),
        parent_id=parent_id,
        continues=continues,
        client_request_id=client_request_id,
        model=model,
        language=language,
        started_at=time.time(),
    )


def _started(record: RunRow, workspace: Workspace, thread: Thread) -> RunStarted:
    return RunStarted(
        run_id=record.id,
        message_id=record.message_id,
        workspace=workspace.slug,
        thread=thread.slug,
        name=thread.name,
        model=record.model,
        language=record.language,
        continues=record.continues,
    )


def _model(workspace: Workspace, provider: Provider) -> str | None:
    """Names the model that will answer; None when the model server does not say so in time."""
    # The step asks again and fails in words; here it only must not keep the first frame waiting.
    try:
        with gevent.Timeout(MODEL_PATIENCE, ModelError("it does not answer")):
            return provider.model_for(workspace.model)
    except ModelError as exc:
        log.warning("the default model is not known yet: %s", exc)
        return None
