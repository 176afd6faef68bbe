"""The seam between the agent and its provider: one question in, the parts of one turn out.

`Scripted` is the seam's fake: a provider that yields the parts of a test's script.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Literal, Protocol

import msgspec

from deechat.errors import Cancelled
from deechat.events import ToolCall, Usage
from deechat.messages import Message


class ToolSpec(msgspec.Struct, frozen=True, dict=True):
    """A tool as a model sees it; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]

    @cached_property
    def json(self) -> bytes:
        """The three fields as an object of JSON: encoded once, since every question weighs and sends it."""
        return msgspec.json.encode(self)


class Question(msgspec.Struct, frozen=True):
    """The question of one step. `model`, `temperature` and `max_tokens` None mean the server's default.

    Every call in `messages` is followed by its result, in order, before any other message. `tokens`: our estimate.
    `language` is the person's.
    """

    messages: Sequence[Message]
    model: str | None = None
    tools: Sequence[ToolSpec] = ()
    tool_choice: Literal["auto", "none"] = "auto"
    temperature: float | None = None
    max_tokens: int | None = None
    tokens: int = 0
    language: str = "en"


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer; all that one read of the socket brought. Never empty, no lone surrogates."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """A piece of thinking, likewise."""

    text: str


class Retold(msgspec.Struct, frozen=True):
    """A correction: part of the turn was told apart wrongly, and `anew` is how it should have been said.

    Of `kind` "thinking" `said` is all of the turn's text so far, and is thinking. Of `kind` "text" `said` is the end of
    the turn's thinking, and is text.
    """

    kind: Literal["thinking", "text"]
    said: str
    anew: str


class Notice(msgspec.Struct, frozen=True):
    """A notice for a waiting person: a code, and the values for its words, `status.CODE` of the agent."""

    code: str
    params: dict[str, Any] = {}


class Turn(msgspec.Struct, frozen=True):
    """The end of a turn. `calls` have the model's arguments as text and no id of ours yet: their `id` is ''.

    `usage` is None when the server did not count; the loop then estimates.
    """

    finish_reason: str
    calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    extra: dict[str, Any] = {}


Part = Text | Reasoning | Retold | Notice | Turn


class Room(msgspec.Struct, frozen=True):
    """How much a model reads at once, as far as its provider knows.

    `length` is in the server's tokens, question and answer together; None: unknown. `ratio`: the server's tokens for
    one of our estimated ones. `could`: the length that the model could have where its server was given less, and
    `remedy` the server's setting for that. `writes` false: it is no model, so it is asked for no summaries.
    """

    length: int | None = None
    ratio: float = 1.0
    could: int | None = None
    remedy: str = ""
    writes: bool = True


class Provider(Protocol):
    """Answers questions.

    `ask` yields parts as they come, and exactly one `Turn`, last; without one it raises `ModelError`. It never yields
    after raising. Closing the generator, or throwing `Cancelled` into it, closes the connection at once, and
    `Cancelled` then carries how long that took.
    """

    name: str

    def models(self) -> list[str]:
        """List the models that can be asked for, in the server's order. Raises `ModelError`."""
        ...

    def default_model(self) -> str | None:
        """Name the model that is used where none was chosen; None when there is none. Raises `ModelError`."""
        ...

    def model_for(self, wanted: str | None) -> str | None:
        """Name the model that answers where this one, or none, was chosen. Raises `ModelError`."""
        ...

    def room(self, model: str | None) -> Room:
        """Say how much the model that `model_for` names reads at once; may look it up. Raises `ModelError`."""
        ...

    def ask(self, question: Question) -> Generator[Part, None, None]:
        """Ask, and yield the parts of the turn."""
        ...


@contextmanager
def asking(provider: Provider, question: Question) -> Iterator[Iterator[Part]]:
    """Ask, and close the generator in any case. The provider sees a `Cancelled` and notes its time on it."""
    parts = provider.ask(question)
    try:
        yield parts
    except Cancelled as stop:
        with suppress(Cancelled):
            parts.throw(stop)
        raise
    finally:
        parts.close()


Script = Iterable[Part | Exception | Callable[[], None]]


class Scripted:
    """A provider that follows a script: one list of parts a question, in order.

    An exception in the list is raised there; a callable is called there (to wait for a test, say). `asked` holds the
    questions; `length` is its `Room`'s. A question beyond the script is a mistake of the test and raises
    `AssertionError`.
    """

    name = "scripted"

    def __init__(self, *scripts: Script, model: str = "scripted-1") -> None:
        self._scripts = iter(scripts)
        self._model = model
        self.asked: list[Question] = []
        self.length: int | None = None

    def models(self) -> list[str]:
        return [self._model]

    def default_model(self) -> str | None:
        return self._model

    def model_for(self, wanted: str | None) -> str | None:
        return wanted or self._model

    def room(self, model: str | None) -> Room:  # noqa: ARG002 - there is one
        return Room(self.length)

    def ask(self, question: Question) -> Generator[Part, None, None]:
        self.asked.append(question)
        script = next(self._scripts, None)
        if script is None:
            raise AssertionError(f"question {len(self.asked)} is beyond the script")
        for item in script:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
            else:
                yield item
