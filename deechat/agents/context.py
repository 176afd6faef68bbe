"""AgentHandler: the history, the model and the tools of one run made ready, so that the loop only has to ask."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from deechat.agents import window
from deechat.agents.history import well_formed
from deechat.agents.providers.base import Provider, Question, Room, ToolSpec
from deechat.agents.state import RunState
from deechat.agents.tools.base import Tool
from deechat.errors import ModelError
from deechat.messages import Message, SystemMessage
from deechat.principal import OWNER, Principal

DEFAULT_PROMPT = (
    "You are a helpful assistant. Answer in the language of the question, in Markdown. "
    "Use the tools for what they do better than you, such as calculating and telling the time."
)
# Nine letters and digits: the one form of a call's id that every model server takes, the strictest included.
_ID_LENGTH = 9
_ID_LETTERS = string.ascii_letters + string.digits

SMALL = 1_000  # estimated tokens of a conversation that fits into a context of which nothing is known
ASSUMED = 32_768  # tokens of a context that nobody knows: enough for a long talk, and a refusal teaches better
MOST_TOLD = 131_072  # of a length that a server tells: more is paid for at every question, so a person sets it
ANSWER = 4_096  # tokens that are left free for the answer, at most a quarter of the context
MARGIN = 0.9  # of the room is used, since tokens are estimated
SUMMARY_ANSWER = 2_000  # tokens that a summary may take to write, its thoughts included, at most a quarter
SUMMARY_SHARE = 8  # a summary that is kept is at most an eighth of the context

Policies = Callable[[Tool, dict[str, Any] | None], str]


def own_policy(tool: Tool, _arguments: dict[str, Any] | None) -> str:
    """Return the policy that a tool has where nobody decided otherwise."""
    return tool.policy


class Cut(NamedTuple):
    """A place in the history where a window may begin: the number of a person's message there, and what it follows.

    `after` is the id of the stored message before it.
    """

    at: int
    after: str


class Plan(NamedTuple):
    """Messages that the model is asked with, and those that no longer fit.

    `messages` fit, and are estimated at `tokens`. `left` stand before them and are left out, up to the stored message
    `upto`, '' where nothing is. `summary` stands for what comes before `messages`.
    """

    messages: list[Message]
    tokens: int
    left: Sequence[Message] = ()
    upto: str = ""
    summary: str = ""


@dataclass(slots=True)
class AgentHandler:
    """Everything that a run's agent works with; all of it is passed in.

    `history` are the turns up to the prompt, which is the last. `policy` says whether a tool may be used with arguments
    (None: at all): allow, ask or deny. `policies` gives what it would say now, to be asked about many tools. `model` is
    None when nobody chose one and the provider uses its default. `summary` stands for what comes before the history, in
    which `cuts` are the places where a window may begin. `context` is how many tokens the model reads at once, None
    where nobody said; `ceiling` how many estimated ones may be sent since a server refused more. `client_tools` are run
    by the client and come before ours of the same name; `may_call` false: the model may call no tool. `unasked` is the
    address of the page where nobody can be asked for a yes, None where somebody can. `thread` is the id of the run's
    thread and `principal` whose it is, both for the tools.
    """

    provider: Provider
    history: Sequence[Message] = ()
    cuts: Sequence[Cut] = ()
    summary: str = ""
    context: int | None = None
    ceiling: int | None = None
    system_prompt: str = ""
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    language: str = "en"
    tools: Mapping[str, Tool] = field(default_factory=dict)
    policy: Policies = own_policy
    policies: Callable[[], Policies] | None = None
    max_tool_rounds: int = 10
    client_tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    may_call: bool = True
    unasked: str | None = None
    thread: str = ""
    principal: Principal = OWNER
    _weighed: list[int] | None = field(default=None, init=False, repr=False)

    def plan(self, state: RunState) -> Plan:
        """Say what of the conversation the next step is asked with, and what of it no longer fits."""
        begin, summary = self._begin(state)
        messages = [*self.history[begin:], *state.turns]
        weights = [*self._history_weights[begin:], *window.weigh(state.turns)]
        tokens = sum(weights)
        if not summary and self.ceiling is None and tokens <= always_fits(self.context):
            return Plan(messages, tokens)
        room = self.room()
        length = self._length(room)
        answer = min(ANSWER, length // 4) if self.max_tokens is None else min(self.max_tokens, length * 3 // 4)
        free = self._free(room, answer) - window.weigh_beside(*self._beside, summary)
        cuts = [cut for cut in self.cuts if cut.at > begin]
        fitted = window.fit(messages, weights, free, [cut.at - begin for cut in cuts])
        upto = next((cut.after for cut in cuts if cut.at - begin == fitted.start), "")
        return Plan(fitted.messages, fitted.tokens, messages[: fitted.start], upto, summary if room.writes else "")

    @property
    def _history_weights(self) -> list[int]:
        """Estimated tokens of each message of the history; the same for all of the run's questions."""
        if self._weighed is None:
            self._weighed = window.weigh(self.history)
        return self._weighed

    def _begin(self, state: RunState) -> tuple[int, str]:
        """Return where the history begins for this step, and the summary of what was before."""
        told = state.summary
        if told is None:
            return 0, self.summary
        at = next((cut.at for cut in self.cuts if cut.after == told.upto), 0)
        return at, told.text or self.summary

    def summarizes(self, state: RunState, plan: Plan) -> bool:
        """Whether the model is to be asked for a summary: once it could not write one the run goes on without."""
        failed = state.summary is not None and not state.summary.text
        return bool(plan.left and plan.upto) and not failed and self.room().writes

    def question(self, state: RunState, *, may_use_tools: bool, plan: Plan | None = None) -> Question:
        """Put together what the model is asked in the next step."""
        plan = plan or self.plan(state)
        system, tools = self._beside
        return Question(
            messages=[system, *well_formed(window.with_summary(plan.messages, plan.summary))],
            model=self.model,
            tools=tools,
            tool_choice="auto" if may_use_tools and self.may_call else "none",
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            tokens=plan.tokens + window.weigh_beside(system, tools, plan.summary),
            language=self.language,
        )

    def summary_question(self, plan: Plan, share: int = 1) -> Question:
        """Put together what asks for a summary of what the plan leaves out, in a `share`th of the context."""
        room = self.room()
        answer = min(SUMMARY_ANSWER, self._length(room) // 4)
        messages = window.to_summarize(plan.summary, plan.left, self._free(room, answer) // share, answer)
        tokens = sum(window.weigh(messages))
        return Question(messages=messages, model=self.model, max_tokens=answer, tokens=tokens)

    def kept(self, summary: str) -> str:
        """Cut a summary to what is kept of it."""
        return window.cut_middle(summary.strip(), self._length(self.room()) // SUMMARY_SHARE)

    def refused(self, question: Question) -> None:
        """Take in that a server refused a question as too long: from now on less is asked."""
        self.ceiling = question.tokens * 9 // 10

    @property
    def _beside(self) -> tuple[SystemMessage, list[ToolSpec]]:
        """The system's words and the tools, which go beside the conversation."""
        policy = self.policies() if self.policies else self.policy
        return SystemMessage(self.system_prompt.strip() or DEFAULT_PROMPT), [
            *[_spec(tool) for tool in self.tools.values() if policy(tool, None) != "deny"],
            *self.client_tools.values(),
        ]

    def room(self) -> Room:
        """Say what is known of how much the model reads."""
        return room_of(self.provider, self.model)

    def _length(self, room: Room) -> int:
        """Return the context's tokens; a refusal in this run counts more than a person's number."""
        length = length_of(room, self.context)
        return length if self.ceiling is None else min(length, room.length or length)

    def _free(self, room: Room, answer: int) -> int:
        """Return the estimated tokens that may be sent where so many are left for the answer."""
        most = int((self._length(room) - answer) * MARGIN / room.ratio)
        return most if self.ceiling is None else min(most, self.ceiling)


@lru_cache(maxsize=1_000)
def _spec(tool: Tool) -> ToolSpec:
    return ToolSpec(tool.name, tool.description, tool.parameters)


def always_fits(context: int | None) -> int:
    """Return the estimated tokens of a conversation that fits, so that no server is asked for its context's length."""
    return SMALL if context is None else min(SMALL, context // 4)


def room_of(provider: Provider, model: str | None) -> Room:
    """Say what the provider knows of how much a model reads."""
    with suppress(ModelError):  # the question itself will say what is wrong
        return provider.room(model)
    return Room()


def length_of(room: Room, context: int | None) -> int:
    """Return a context's tokens: as a person set them, else as its provider knows them, else as they are assumed."""
    return context or min(room.length or ASSUMED, MOST_TOLD)


def new_call_id(taken: set[str]) -> str:
    """Return an id for a tool call that is not among those taken, and take it."""
    while True:
        call_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        if call_id not in taken:
            taken.add(call_id)
            return call_id
