"""What a run works with, made from what is stored of it alone: so any process can go on with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from deechat.agents.handler import AgentHandler, Policies
from deechat.agents.history import LENGTH, unpack
from deechat.agents.providers.base import AssistantMessage, Message, Provider, UserMessage
from deechat.agents.tools.base import Tool
from deechat.agents.words import say
from deechat.records import RunRecord
from deechat.store import Store, Thread, Workspace


class Handlers:
    """Makes the handlers of runs. `choose` gives the provider of a run by the model that it was begun with."""

    def __init__(
        self,
        store: Store,
        *,
        choose: Callable[[str | None], Provider],
        tools: Mapping[str, Tool],
        max_tool_rounds: int,
        max_tokens: int | None = None,
    ) -> None:
        self._store = store
        self._choose = choose
        self._tools = tools
        self._max_tool_rounds = max_tool_rounds
        self._max_tokens = max_tokens

    def of(self, record: RunRecord) -> AgentHandler:
        """Makes a run's handler. Raises `NotFoundError` when its thread is gone."""
        thread = self._store.thread_by_id(record.thread_id)
        workspace = self._store.workspace_by_id(thread.workspace_id)
        return AgentHandler(
            provider=self._choose(record.model),
            history=self._history(thread, record),
            system_prompt=workspace.system_prompt,
            model=record.model,
            temperature=workspace.temperature,
            max_tokens=workspace.max_tokens or self._max_tokens,
            language=record.language,
            tools=self._tools if workspace.mode == "agent" else {},
            policy=partial(self._policy, workspace.id),
            policies=partial(self._policies, workspace.id),
            max_tool_rounds=self._max_tool_rounds,
        )

    def _history(self, thread: Thread, record: RunRecord) -> list[Message]:
        turns: list[Message] = []
        for message in self._store.branch(thread, record.parent_id, LENGTH):
            if message.role == "user":
                turns.append(UserMessage(message.content))
            else:
                turns += unpack(message.turns, message.content)
        if record.continues and turns and isinstance(turns[-1], AssistantMessage):
            # Model servers answer what a person said; many take an own turn at the end as an answer that is complete.
            turns.append(UserMessage(say("go_on", {}, record.language)))
        return turns

    def _policy(self, workspace_id: str, tool: Tool, arguments: dict[str, Any] | None) -> str:
        return self._policies(workspace_id)(tool, arguments)

    def _policies(self, workspace_id: str) -> Policies:
        # Read anew each time: a person may change them while the run goes on.
        return partial(_policy_in, self._store.workspace_by_id(workspace_id))


def _policy_in(workspace: Workspace, tool: Tool, arguments: dict[str, Any] | None) -> str:
    policy = workspace.tools.get(tool.name, tool.policy)
    if policy == "ask" and arguments is not None and tool.scope is not None:
        return "allow" if tool.scope(arguments) in workspace.allowed.get(tool.name, []) else policy
    return policy
