"""What the tests of the OpenAI provider share: a fake model server and a provider that asks it."""

from __future__ import annotations

from typing import Any

import pytest
from model_server import (
    ModelServer,
)

from deechat.agents.providers.base import Notice, Part, Question, Reasoning, Text, ToolSpec
from deechat.agents.providers.openai.provider import OpenAIProvider
from deechat.errors import ModelError
from deechat.messages import UserMessage

HELLO = Question([UserMessage("Hello")])
CLOCK = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {"zone": {"type": "string"}}})


class Rig:
    """A server, a `provider` that asks it, more that `make` makes, and the waits that were not slept but noted."""

    def __init__(self) -> None:
        self.server = ModelServer()
        self.slept: list[float] = []
        self._made: list[OpenAIProvider] = []

    def __enter__(self) -> Rig:
        self.server.__enter__()
        self.provider = self.make()
        return self

    def __exit__(self, *_: object) -> None:
        for provider in self._made:
            provider.close()
        self.server.__exit__()

    def make(self, **settings: Any) -> OpenAIProvider:
        defaults = {
            "base_url": self.server.base_url,
            "api_key": "sk-test-0123456789",
            "first_byte_timeout": 20,
            "stall_timeout": 20,
            "sleep": self.slept.append,
        }
        self._made.append(OpenAIProvider(**{**defaults, **settings}))
        return self._made[-1]

    def ask(self, question: Question = HELLO, provider: OpenAIProvider | None = None) -> list[Part]:
        return list((provider or self.provider).ask(question))

    def fails(self, question: Question = HELLO, provider: OpenAIProvider | None = None) -> ModelError:
        with pytest.raises(ModelError) as caught:
            self.ask(question, provider)
        return caught.value


def joined(parts: list[Part], kind: type[Text] | type[Reasoning]) -> str:
    return "".join(part.text for part in parts if isinstance(part, kind))


def notices(parts: list[Part]) -> list[str]:
    return [part.code for part in parts if isinstance(part, Notice)]
