"""The part of a thread that a model is shown: the last messages, each whole, in an order that all servers accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from deechat.messages import UNSAID, AssistantMessage, Message, SystemMessage, ToolMessage, UserMessage, joined

NO_RESULT = "No result was recorded: the call was interrupted."

_turns = msgspec.json.Decoder(list[AssistantMessage | ToolMessage | UserMessage])


def pack(turns: Sequence[Message], content: str) -> str:
    """Return turns as the JSON text that a message with this content keeps; "" where its content says it all."""
    return "" if turns == _plain(content) else msgspec.json.encode(turns).decode()


def unpack(turns: str, content: str) -> list[Message]:
    """Read the text that `pack` wrote."""
    return list(_turns.decode(turns)) if turns else _plain(content)


def _plain(content: str) -> list[Message]:
    text = content.strip()
    return [AssistantMessage(text)] if text else []


def well_formed(messages: Iterable[Message]) -> list[Message]:
    """Make a history valid in the form that all model servers accept.

    It begins with a user's message after the system's, and the roles alternate: neighbours of one role are joined,
    empty turns of the model are gone, and a message of the assistant stands between a result and the user. Every call
    is followed by its result: a missing result is replaced by one that says so, a result without a call is left out.
    """
    valid: list[Message] = []
    for message in joined(_begun(_answered(messages))):
        if isinstance(message, UserMessage) and valid and isinstance(valid[-1], ToolMessage):
            valid.append(AssistantMessage(UNSAID))
        valid.append(message)
    return valid


def _begun(messages: list[Message]) -> list[Message]:
    """Leave out the messages before the first of a user, but for the system's."""
    first = next((at for at, message in enumerate(messages) if isinstance(message, UserMessage)), 0)
    return [message for message in messages[:first] if isinstance(message, SystemMessage)] + messages[first:]


def _answered(messages: Iterable[Message]) -> list[Message]:
    """Put its result behind each call, and leave out empty turns."""
    valid: list[Message] = []
    results: dict[str, ToolMessage] = {}
    pending: AssistantMessage | None = None
    for message in [*messages, SystemMessage("")]:  # the last one only closes an open call
        if isinstance(message, ToolMessage):
            results[message.call_id] = message
            continue
        if pending is not None:
            valid += [
                results.get(call.id, ToolMessage(call.id, call.name, NO_RESULT, is_error=True))
                for call in pending.calls
            ]
        results, pending = {}, message if isinstance(message, AssistantMessage) else None
        if not _is_empty(message):
            valid.append(message)
    return valid


def _is_empty(message: Message) -> bool:
    if isinstance(message, ToolMessage) or message.text.strip():
        return False
    return not (getattr(message, "calls", ()) or getattr(message, "images", ()))
