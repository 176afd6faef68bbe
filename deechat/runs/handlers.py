"""The handler of a run, made of its stored rows alone: any process can go on with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from deechat.agents import window
from deechat.agents.context import AgentHandler, Cut, Policies, always_fits, length_of, room_of
from deechat.agents.history import unpack
from deechat.agents.providers.base import Provider, ToolSpec
from deechat.agents.tools.base import Tool
from deechat.events import Terms
from deechat.locale import say
from deechat.messages import AssistantMessage, Message, UserMessage
from deechat.principal import Principal
from deechat.store.base import PROMPT, RunRow, Store, StoredMessage, Workspace

_Said = tuple[StoredMessage, list[Message]]  # a stored message, and its turns as a model is shown them

FIRST, FURTHER = 20, 100  # messages that are read at once: most threads are read whole by the first


class _History(NamedTuple):
    """The turns of a branch, where a window of them may begin, and the summary of the messages before them."""

    turns: list[Message]
    cuts: list[Cut]
    summary: str


class Handlers:
    """Builds the handlers of runs. `choose` gives the provider of a run by the model that it was begun with.

    `context` is the one of workspaces without a context of their own; none is below `least_context`.
    """

    def __init__(
        self,
        store: Store,
        *,
        choose: Callable[[str | None], Provider],
        tools: Mapping[str, Tool],
        max_tool_rounds: int,
        max_tokens: int | None = None,
        context: int | None = None,
        least_context: int = 0,
    ) -> None:
        self._store = store
        self._choose = choose
        self._tools = tools
        self._max_tool_rounds = max_tool_rounds
        self._max_tokens = max_tokens
        self._context = context
        self._always_fits = always_fits(least_context)

    def build_handler(self, run: RunRow, terms: Terms | None = None) -> AgentHandler:
        """Return a run's handler, under the terms of its log. Raises `NotFoundError` when its thread is gone."""
        terms = terms or Terms(approvals=True)
        workspace = self._store.workspace_of(run.thread_id)
        principal = Principal(workspace.owner)
        provider, context = self._choose(run.model), workspace.context or self._context
        history = self._history(principal, run, partial(_length, provider, run.model, context))
        return AgentHandler(
            provider=provider,
            history=history.turns,
            cuts=history.cuts,
            summary=history.summary,
            context=context,
            system_prompt="\n\n".join(filter(None, (workspace.system_prompt.strip(), terms.instructions))),
            model=run.model,
            temperature=workspace.temperature if terms.temperature is None else terms.temperature,
            max_tokens=terms.max_tokens or workspace.max_tokens or self._max_tokens,
            language=run.language,
            tools=self._usable(workspace, terms),
            client_tools={each.name: ToolSpec(each.name, each.description, each.parameters) for each in terms.tools},
            may_call=terms.calls,
            unasked=None if terms.approvals else terms.page,
            policy=partial(self._policy, principal, workspace.id),
            policies=partial(self._policies, principal, workspace.id),
            max_tool_rounds=self._max_tool_rounds,
            thread=run.thread_id,
            principal=principal,
        )

    def _usable(self, workspace: Workspace, terms: Terms) -> Mapping[str, Tool]:
        """Return the tools of ours that the run may use: a protocol with terms has no word for questions."""
        if workspace.mode != "agent":
            return {}
        taken = {each.name for each in terms.tools}
        can_ask = not terms.page
        return {name: tool for name, tool in self._tools.items() if name not in taken and (can_ask or not tool.asks)}

    def _history(self, principal: Principal, run: RunRow, limit: Callable[[], int]) -> _History:
        """Read the branch from its newest message back: to a summary, to its beginning, or until `limit` is full."""
        read, summary = self._read(principal, run, limit)
        turns: list[Message] = []
        cuts: list[Cut] = []
        for message, said in read:
            if message.role == "user" and turns:
                cuts.append(Cut(len(turns), message.parent_id or ""))
            if message.role == "user" or turns:  # a page that was cut begins with a person's message
                turns += said
        if run.continues and turns and isinstance(turns[-1], AssistantMessage):
            # Model servers answer a person's message; many take an own turn at the end as an answer that is complete.
            turns.append(UserMessage(say("agent", run.language, "go_on")))
        return _History(turns, cuts, summary)

    def _read(self, principal: Principal, run: RunRow, limit: Callable[[], int]) -> tuple[list[_Said], str]:
        read: list[_Said] = []
        tokens, at, rows = 0, run.parent_id, FIRST
        while page := self._store.branch(principal, run.thread_id, at, rows):
            said: list[_Said] = [(each, turns_of(each)) for each in page]
            tokens += sum(window.weigh([turn for _, turns in said for turn in turns], shrunk=True))
            first = page[0].parent_id
            # Messages that fit into any context were never summarized: a short thread costs one read.
            found = self._store.summary(principal, page) if first is not None or tokens > self._always_fits else None
            if found is not None:
                number, summary = found
                return [*said[number + 1 :], *read], summary
            read = [*said, *read]
            if first is None or tokens > limit():
                break
            at, rows = first, FURTHER
        return read, ""

    def _policy(self, principal: Principal, workspace_id: str, tool: Tool, arguments: dict[str, Any] | None) -> str:
        return self._policies(principal, workspace_id)(tool, arguments)

    def _policies(self, principal: Principal, workspace_id: str) -> Policies:
        # Read anew each time: a person may change them while the run goes on.
        return partial(_policy_in, self._store.workspace_by_id(principal, workspace_id))


def turns_of(message: StoredMessage) -> list[Message]:
    """Return a stored message as a model is shown it."""
    if message.role == "user" and message.turns == PROMPT:
        return [UserMessage(message.content)]
    return unpack(message.turns, message.content)


def _length(provider: Provider, model: str | None, context: int | None) -> int:
    """Return how many tokens are worth reading: messages beyond a context of so many can still be summarized."""
    room = room_of(provider, model)
    return int(length_of(room, context) / room.ratio)


def _policy_in(workspace: Workspace, tool: Tool, arguments: dict[str, Any] | None) -> str:
    policy = workspace.tools.get(tool.name, tool.policy)
    if policy == "ask" and arguments is not None and tool.scope is not None:
        return "allow" if tool.scope(arguments) in workspace.allowed.get(tool.name, []) else policy
    return policy
