"""An animal: a habit of a model server with its source, and what a person should see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_answers import Answer

Rule = Callable[[Any], Answer | str]  # from a question's body to its answer


@dataclass(frozen=True)
class Animal:
    """A habit of a model server.

    `answers` are given one a question, in order; or `rule` makes each from the request's body, which is how a server
    refuses. `says` are what a person says, one message after the other in one thread. What should come of the last:

    - `text` and `thought`: the whole answer and its whole thinking;
    - `calls`: each call's name and the arguments it ran with;
    - `reason`: how the run ended, `finish`: the last step's finish reason, None where it does not matter;
    - `remark`: the `finishReason` of a completed run's ending, which says what an answer lacks;
    - `code` and `words`: of an error, and what its words must hold;
    - `notices`: codes of statuses that a person must have been shown, in order (tool calls left out);
    - `asked`: looks at all bodies that the server was asked with, and asserts.

    `source` says where it was seen: a repository with its issue, or a page.
    """

    name: str
    source: str
    answers: Sequence[Answer | str] = ()
    rule: Rule | None = None
    says: Sequence[str] = ("What is 6*7?",)
    text: str | None = None
    thought: str | None = None
    calls: Sequence[tuple[str, dict[str, Any]]] | None = None
    reason: str = "completed"
    finish: str | None = None
    remark: str | None = None
    code: str | None = None
    words: Sequence[str] = ()
    notices: Sequence[str] | None = None
    asked: Callable[[list[dict[str, Any]]], None] | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # of its workspace
    row: dict[str, Any] = field(default_factory=dict)  # what its row in the list of models says beside its name
    routes: dict[str, Any] = field(default_factory=dict)  # what the server tells beside the protocol, by path

    def __repr__(self) -> str:
        return self.name
