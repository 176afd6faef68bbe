"""Changes of what was said: an exchange left or taken out, a text written anew, a conversation forked.

A branch that is left stays in the thread, and so does an exchange that is taken out: only the parents change, and
the message that the next prompt follows. An exchange is a prompt with its answers up to the next prompt.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from msgspec.structs import replace

from deechat.errors import NotFoundError
from deechat.principal import Principal
from deechat.store.base import ChangeMessage, InsertMessage, Store, StoredMessage, Thread

MOST = 10_000  # messages of a branch that are looked at


class Edits:
    """Changes of a thread's messages, one at a time.

    `lock` is the thread's, under which runs begin; `stop` ends a run and returns when its answer is on disk.
    """

    def __init__(
        self,
        store: Store,
        lock: Callable[[str], AbstractContextManager[object]],
        stop: Callable[[Principal, str], object],
    ) -> None:
        self._store = store
        self._lock = lock
        self._stop = stop

    def branch(self, principal: Principal, thread: Thread, most: int = MOST) -> list[StoredMessage]:
        """Return the last messages of the branch that the next prompt follows, oldest first."""
        return self._store.branch(principal, thread.id, self._store.last_message_id(principal, thread), most)

    def rewind(self, principal: Principal, message_id: str) -> None:
        """Let the next prompt take the place of this message's one; a run of the thread is stopped first.

        Raises `NotFoundError` and `StorageUnavailableError`.
        """
        message = self._store.message_by_id(principal, message_id)
        thread = self._store.thread_by_id(principal, message.thread_id)
        active = self._store.open_run(principal, thread.id)
        if active is not None:
            with suppress(NotFoundError):
                self._stop(principal, active)
        with self._lock(thread.id):
            self._go_on_from(principal, thread, self._prompt_of(principal, thread, message).parent_id)

    def remove(self, principal: Principal, message_id: str) -> None:
        """Take the exchange that the message belongs to out of the conversation.

        A run that answers it is stopped first. Raises like `rewind`.
        """
        message = self._store.message_by_id(principal, message_id)
        thread = self._store.thread_by_id(principal, message.thread_id)
        self._stop_answering(principal, thread, self._prompt_of(principal, thread, message))
        with self._lock(thread.id):
            prompt = self._prompt_of(principal, thread, message)
            branch = self.branch(principal, thread)
            if prompt not in branch:
                return  # it was taken out before
            following = branch[branch.index(prompt) + 1 :]
            next_prompt = next((each for each in following if each.role == "user"), None)
            if next_prompt is None:
                self._go_on_from(principal, thread, prompt.parent_id)
            else:
                self._store.write(ChangeMessage(replace(next_prompt, parent_id=prompt.parent_id)))

    def rewrite(self, principal: Principal, message_id: str, role: str, text: str) -> None:
        """Write a prompt anew, or the text of an answer behind its last call. Raises `NotFoundError`."""
        message = self._store.message_by_id(principal, message_id)
        thread = self._store.thread_by_id(principal, message.thread_id)
        with self._lock(thread.id):
            message = self._store.message(principal, thread, message_id)
            if role == "user":
                changed = replace(self._prompt_of(principal, thread, message), content=text)
            elif message.role == "assistant":
                changed = _with_text(message, text)
            else:
                raise NotFoundError(f"The message {message_id!r} is no answer.")
            self._store.write(ChangeMessage(changed))

    def rate(self, principal: Principal, message_id: str, score: bool | None) -> None:
        """Keep whether an answer was good; None takes that back. Raises `NotFoundError`."""
        message = self._store.message_by_id(principal, message_id)
        with self._lock(message.thread_id):
            message = self._store.message_by_id(principal, message_id)
            self._store.write(ChangeMessage(replace(message, details={**message.details, "feedback": score})))

    def fork(self, principal: Principal, thread: Thread, message_id: str | None) -> Thread:
        """Return a new thread with copies of the branch up to the message, or of all. Raises `NotFoundError`."""
        last = message_id or self._store.last_message_id(principal, thread)
        branch = self._store.branch(principal, thread.id, last, MOST)
        if message_id and not branch:
            raise NotFoundError(f"There is no message {message_id!r} in this thread.")
        workspace = self._store.workspace_by_id(principal, thread.workspace_id)
        made = self._store.new_thread(principal, workspace, thread.name)
        parent, copies = None, []
        for each in branch:
            details = {name: value for name, value in each.details.items() if name != "next"}
            # Without its run, with which the copy would be deleted.
            copy = replace(
                each, id=str(uuid.uuid4()), thread_id=made.id, parent_id=parent, run_id=None, details=details
            )
            copies.append(InsertMessage(copy))
            parent = copy.id
        self._store.write(*copies)
        return self._store.thread_by_id(principal, made.id)

    def _stop_answering(self, principal: Principal, thread: Thread, prompt: StoredMessage) -> None:
        """Stop the thread's run when it answers the prompt: its answer would bring the exchange back."""
        with suppress(NotFoundError):
            active = self._store.open_run(principal, thread.id)
            if active is None:
                return
            asked = self._store.message(principal, thread, self._store.run(principal, active).parent_id)
            if self._prompt_of(principal, thread, asked).id == prompt.id:
                self._stop(principal, active)

    def _prompt_of(self, principal: Principal, thread: Thread, message: StoredMessage) -> StoredMessage:
        while message.role != "user" and message.parent_id is not None:
            message = self._store.message(principal, thread, message.parent_id)
        return message

    def _go_on_from(self, principal: Principal, thread: Thread, message_id: str | None) -> None:
        for last in self._store.messages(principal, thread, 1):
            self._store.write(ChangeMessage(replace(last, details={**last.details, "next": message_id or ""})))


def _with_text(message: StoredMessage, text: str) -> StoredMessage:
    """Return an answer with another text behind its last call; the model is shown its text alone from now on."""
    parts = message.details.get("parts")
    if parts is None:
        return replace(message, content=text, turns="")
    behind = len(parts)
    while behind and parts[behind - 1]["kind"] == "text":
        behind -= 1
    kept = message.content[: sum(each["length"] for each in parts[:behind] if each["kind"] == "text")]
    before = message.content[len(kept) :]
    text = before[: len(before) - len(before.lstrip())] + text
    details = {**message.details, "parts": [*parts[:behind], {"kind": "text", "length": len(text)}]}
    return replace(message, content=kept + text, details=details, turns="")
