"""Messages: the history that a model is shown, in an order that every server accepts.

A history is a list of messages; a person's view of it is made of events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from deechat.events import ToolCall


class SystemMessage(msgspec.Struct, frozen=True, tag_field="role", tag="system"):
    """The instructions to the model; they stand before all other messages."""

    text: str


class UserMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="user"):
    """A message of a person; `images` are URLs of pictures beside it, data URLs among them."""

    text: str
    images: tuple[str, ...] = ()


THOUGHT = "thought"  # in `Turn.extra`: the provider wants the turn's thinking back with it, and keeps there how


class AssistantMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="assistant"):
    """A turn of the model: text, the calls it made, and the provider's own fields of it (`StepFinished.extra`).

    `thought` is the turn's thinking where `extra` says by `THOUGHT` that it is wanted back, else "".
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    extra: dict[str, Any] = {}
    thought: str = ""


# The results of calls that no tool was asked for, in words for a model.
REFUSED = "The user refused this call. Do not repeat it: go on without it, or ask what to do instead."
UNASKED = (
    "This call needs a person's yes, and nobody can be asked over this connection, so it was not done. Go on without "
    "it, and say that {name} can be allowed in the settings of the workspace at {page}"
)
INTERRUPTED = "Interrupted: the server was restarted. It may have happened."
UNANSWERED = "The user had not answered when the run ended, so it was not done."
# Stands between results and a person's next message, where the model was stopped or steered: many servers refuse a
# user's message right behind a tool's, and an empty turn of the assistant too.
UNSAID = "(The next message came before I said anything about this.)"


class ToolMessage(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="role", tag="tool"):
    """The result of a call of the turn before; `is_error`: it has none, and `content` says why."""

    call_id: str
    name: str
    content: str
    is_error: bool = False


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


def joined(messages: Iterable[Message]) -> list[Message]:
    """Join neighbours of one role: many templates want the roles to alternate."""
    whole: list[Message] = []
    for message in messages:
        last = whole[-1] if whole else None
        if isinstance(message, UserMessage) and isinstance(last, UserMessage):
            whole[-1] = UserMessage(f"{last.text}\n\n{message.text}", (*last.images, *message.images))
        elif isinstance(message, SystemMessage) and isinstance(last, SystemMessage):
            whole[-1] = SystemMessage(f"{last.text}\n\n{message.text}")
        elif isinstance(message, AssistantMessage) and isinstance(last, AssistantMessage) and not last.calls:
            text = "\n\n".join(filter(None, (last.text, message.text)))
            whole[-1] = msgspec.structs.replace(message, text=text)
        else:
            whole.append(message)
    return whole


GOES_ON, END_OF_RESULT = "[The conversation goes on from here.]", "[End of the result.]"
_MARKS = re.compile(rf"\[(?:{'|'.join([re.escape(mark[1:-1]) for mark in (GOES_ON, END_OF_RESULT)])})\]", re.IGNORECASE)


def quoted(text: str) -> str:
    """Quote a text within a message: each line of it begins with "> ", and no mark of ours is in it.

    A page, a tool or a summary could otherwise go on in the words of a person.
    """
    return "\n".join([f"> {line}" for line in _MARKS.sub("[…]", text).splitlines() or [""]])


def is_object(text: str) -> bool:
    """Return whether a text is a JSON object as it stands, which model servers ask of arguments in a history."""
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return False
    return True
