"""Tools that the client runs: their calls are requests, on which a run waits, and their results come as replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from deechat.agents import loop
from deechat.agents.context import AgentHandler
from deechat.agents.providers.base import Part, Scripted, Text, ToolSpec, Turn
from deechat.agents.state import RunState
from deechat.agents.tools import builtin_tools
from deechat.errors import BadRequestError
from deechat.events import (
    AnyEvent,
    ClientCall,
    ClientTool,
    Entry,
    InputReceived,
    RunCompleted,
    RunStarted,
    Terms,
    ToolCall,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
)
from deechat.messages import ToolMessage, UserMessage
from deechat.runs.replies import Reply, validate_reply

WEATHER = ClientTool("get_weather", "Tells the weather.", {"type": "object", "properties": {}})
CALL = Turn("tool_calls", (ToolCall("", "get_weather", '{"city":"Paris"}'),))


class Rig:
    """A run without a server: `go_on` lets the loop work until it waits or ends."""

    def __init__(self, *scripts: Iterable[Part]) -> None:
        self.provider = Scripted(*scripts)
        self.handler = AgentHandler(
            provider=self.provider,
            history=[UserMessage("How is it there?")],
            tools={tool.name: tool for tool in builtin_tools()},
            client_tools={WEATHER.name: ToolSpec(WEATHER.name, WEATHER.description, WEATHER.parameters)},
        )
        self.state = RunState()
        self.events: list[AnyEvent] = []
        self._results: list[ToolCallResult] = []
        self.say(RunStarted("r", "m", "w", "t", None, "scripted-1", terms=Terms(tools=(WEATHER,))))

    def say(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.state.apply(Entry(self.state.last_seq + 1, float(self.state.last_seq), event))

    def go_on(self) -> None:
        for event in loop.run(self.handler, self.state, self):
            self.say(event)

    def start(self, work: object) -> None:
        self._results.append(work())  # type: ignore[operator]

    def report(self, progress: ToolProgress) -> None:
        pass

    def results(self) -> Iterator[ToolCallResult]:
        while self._results:
            yield self._results.pop(0)

    def asked(self) -> list[ClientCall]:
        return [each for each in self.state.pending if isinstance(each, ClientCall)]


def test_a_call_is_handed_out_and_its_result_comes_as_a_reply() -> None:
    rig = Rig([CALL], [Text("Fine."), Turn("stop")])
    rig.go_on()
    (request,) = rig.asked()
    assert (request.name, request.arguments) == ("get_weather", '{"city":"Paris"}')
    assert rig.state.status == "waiting"
    assert not any(isinstance(event, ToolCallInvocation) for event in rig.events)
    rig.say(validate_reply(request, Reply(request.request_id, output="12 degrees"), {}, "en"))
    rig.go_on()
    assert isinstance(rig.state.ending, RunCompleted)
    assert [(each.name, each.content) for each in rig.provider.asked[1].messages if isinstance(each, ToolMessage)] == [
        ("get_weather", "12 degrees")
    ]
    assert [tool.name for tool in rig.provider.asked[0].tools][-1] == "get_weather"


def test_calls_of_ours_run_beside_those_of_the_client() -> None:
    calls = (ToolCall("", "get_weather", "{}"), ToolCall("", "calculator", '{"expression":"6*7"}'))
    rig = Rig([Turn("tool_calls", calls)], [Text("Done."), Turn("stop")])
    rig.go_on()
    assert rig.state.status == "waiting"
    assert [each.content for each in rig.events if isinstance(each, ToolCallResult)] == ["42"]
    (request,) = rig.asked()
    rig.say(InputReceived(request.request_id, "", output=""))
    rig.go_on()
    assert [each.content for each in rig.provider.asked[1].messages if isinstance(each, ToolMessage)] == ["", "42"]


def test_a_client_may_take_as_many_rounds_as_it_likes() -> None:
    rig = Rig(*[[CALL]] * 12, [Text("Done."), Turn("stop")])
    rig.handler.max_tool_rounds = 2
    while rig.state.ending is None:
        rig.go_on()
        for request in rig.asked():
            rig.say(InputReceived(request.request_id, "", output="rain"))
    assert len(rig.provider.asked) == 13


def test_where_nobody_can_be_asked_a_tool_that_needs_a_yes_is_refused_with_words() -> None:
    call = Turn("tool_calls", (ToolCall("", "web_fetch", '{"url":"https://example.org/"}'),))
    rig = Rig([call], [Text("Sorry."), Turn("stop")])
    rig.handler.unasked = "http://127.0.0.1:8000/"
    rig.go_on()
    (result,) = [each for each in rig.events if isinstance(each, ToolCallResult)]
    assert result.is_error
    assert "http://127.0.0.1:8000/" in result.content
    assert isinstance(rig.state.ending, RunCompleted)


def test_a_result_is_text_and_nothing_else() -> None:
    request = ClientCall("q", "c", "get_weather", "{}")
    for reply in (Reply("q"), Reply("q", approved=True), Reply("q", output={"a": 1})):
        with pytest.raises(BadRequestError, match="output"):
            validate_reply(request, reply, {}, "en")
