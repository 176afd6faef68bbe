"""AgentHandler: the history, the model and the tools of one run made ready, so that the loop only has to ask."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deechat.agents.history import well_formed
from deechat.agents.providers.base import Message, Provider, Question, SystemMessage, ToolMessage, ToolSpec
from deechat.agents.state import RunState, estimate_tokens
from deechat.agents.tools.base import Tool
from deechat.events import Usage

DEFAULT_PROMPT = (
    "You are a helpful assistant. Answer in the language of the question, in Markdown. "
    "Use the tools for what they do better than you, such as calculating and telling the time."
)
# Nine letters and digits: the one form of a call's id that every model server takes, the strictest included.
_ID_LENGTH = 9
_ID_LETTERS = string.ascii_letters + string.digits

Policies = Callable[[Tool, dict[str, Any] | None], str]


def own_policy(tool: Tool, _arguments: dict[str, Any] | None) -> str:
    """Gives the policy that a tool has where nobody decided otherwise."""
    return tool.policy


@dataclass(slots=True)
class AgentHandler:
    """Everything that a run's agent works with; all of it is passed in.

    `history` are the turns up to the prompt, which is the last. `policy` says whether a tool may be used with arguments
    (None: at all): allow, ask or deny. `policies` gives what it would say now, to be asked about many tools. `model` is
    None when nobody chose one and the provider uses its default.
    """

    provider: Provider
    history: Sequence[Message] = ()
    system_prompt: str = ""
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    language: str = "en"
    tools: Mapping[str, Tool] = field(default_factory=dict)
    policy: Policies = own_policy
    policies: Callable[[], Policies] | None = None
    max_tool_rounds: int = 10

    def question(self, state: RunState, *, may_use_tools: bool) -> Question:
        """Puts together what the model is asked in the next step."""
        messages = [
            SystemMessage(self.system_prompt.strip() or DEFAULT_PROMPT),
            *well_formed([*self.history, *state.turns]),
        ]
        policy = self.policies() if self.policies else self.policy
        specs = [
            ToolSpec(tool.name, tool.description, tool.parameters)
            for tool in self.tools.values()
            if policy(tool, None) != "deny"
        ]
        return Question(
            messages=messages,
            model=self.model,
            tools=specs,
            tool_choice="auto" if may_use_tools else "none",
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    def estimate(self, question: Question, answer: str) -> Usage:
        """Guesses the tokens of a step whose model server did not count them."""
        asked = [_words(message) for message in question.messages]
        asked += [tool.description + json.dumps(tool.parameters) for tool in question.tools]
        prompt = sum(estimate_tokens(text) for text in asked)
        return Usage(prompt, estimate_tokens(answer), estimated=True)


def _words(message: Message) -> str:
    return message.content if isinstance(message, ToolMessage) else message.text


def new_call_id(taken: set[str]) -> str:
    """Gives an id for a tool call that is not among those taken, and takes it."""
    while True:
        call_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        if call_id not in taken:
            taken.add(call_id)
            return call_id
