"""The store's interface: the values that it keeps.

Reads give plain values and lists, never lazy rows. Times are Unix seconds.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

DEFAULT_THREAD = "default"
PAGE_BYTES = 2_000_000  # of one page of a list, but for one row that is larger alone

Position = tuple[float, str]  # in a list: a time and an id
OLDEST: Position = (-1.0, "")
NEWEST: Position = (1e300, "")


class Workspace(msgspec.Struct, frozen=True):
    """Threads that share a prompt, a model and tool policies.

    `model`, `temperature` and `max_tokens` None: the server's default. `context` is how many tokens the model reads at
    once, 0 where nobody said. `tools` are policies by a tool's name, where
    they differ from its own. `allowed` is what a person has said yes to for good, by a tool's name: what its `scope`
    gives, such as hosts, for a tool that asks for each of them.
    """

    id: str
    slug: str
    name: str
    system_prompt: str
    model: str | None
    mode: str
    temperature: float | None
    tools: dict[str, str]
    allowed: dict[str, list[str]]
    max_tokens: int | None
    created_at: float
    context: int = 0


class Thread(msgspec.Struct, frozen=True):
    """A conversation; `name` is None until somebody, or its first prompt, names it."""

    id: str
    workspace_id: str
    slug: str
    name: str | None
    created_at: float
    updated_at: float


class StoredMessage(msgspec.Struct, frozen=True):
    """A prompt or an answer of a thread. `details` are an answer's further fields, in the contract's words.

    `turns` is JSON of what a model is shown of the message later; '' where the content says it all, '[]' for a prompt.
    """

    id: str
    thread_id: str
    parent_id: str | None
    role: str
    content: str
    sent_at: float
    run_id: str | None = None
    details: dict[str, Any] = {}
    turns: str = "[]"


class RunRow(msgspec.Struct, frozen=True):
    """A run as its row has it; `ended_at` and `reason` are None while it has not ended.

    `retries`: how often it was entered again since its last whole step because the process had died. `rests` 1: it
    waits for a person and has nothing else to do, and its whole log is compacted. `asks` says then where in the log the
    open requests stand, as JSON; None where only the log tells.
    """

    id: str
    thread_id: str
    message_id: str
    parent_id: str
    continues: str | None
    client_request_id: str | None
    model: str | None
    language: str
    started_at: float
    ended_at: float | None = None
    reason: str | None = None
    retries: int = 0
    rests: int = 0
    asks: str | None = None


class Page(list[T]):
    """A part of a list, in the list's order. `more`: whether there is something beyond it."""

    more = False
