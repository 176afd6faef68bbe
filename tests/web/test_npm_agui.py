"""AG-UI's clients of npm, unmodified: TanStack's across cuts and a killed server, and the protocol's own verifier."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from cutting_proxy import EventCutter
from model_server import ModelServer, reasoning, reply, status, text, tool_calls
from npm_client import Npm
from server import Server
from some_answers import some_log
from whole_logs import LOGS, folded

from deechat.agents.plugins.agui import AGUI

Json = dict[str, Any]
WHOLE = 10**9  # no wait before it ends anything
LAST = (b'"RUN_FINISHED"', b'"RUN_ERROR"')
PAY = ("pay", {"amount": 1})
WEATHER = {"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object", "properties": {}}}
QUESTION = {"kind": "input", "question": "Where?", "inputType": "text", "placeholder": ""}


@dataclass
class House:
    """A server with tools that ask, and the address of its agent."""

    server: Server
    model: ModelServer

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/agui/default"

    def recorded(self, run: str) -> list[Json]:
        """Gives the events of all parts of a run as they are on the wire."""
        body = requests.get(self.url, params={"runId": run}, timeout=60).content.decode()
        blocks = [block.partition("data: ")[2] for block in body.split("\n\n") if not block.startswith(":")]
        return [json.loads(data) for data in blocks if data]


@pytest.fixture
def house(asking_server: Server, model: ModelServer) -> House:
    return House(asking_server, model)


# -- TanStack's client -------------------------------------------------------------------------------------------------


@dataclass
class Chat:
    """TanStack's client in a thread of its own, at any address of the server."""

    npm: Npm
    url: str
    tools: list[Json] = field(default_factory=list)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.npm.call("chat", name=self.name, url=self.url, threadId=self.name, tools=self.tools)

    def wait(self, words: str) -> None:
        """Waits until it has got the words."""
        self.npm.wait(lambda: words in self.text())

    def text(self) -> str:
        told = [each for each in self.npm.told if each["name"] == self.name]
        return "".join(each.get("delta") or "" for each in told if each["type"] == "TEXT_MESSAGE_CONTENT")


def runs_of(chunks: list[Json]) -> list[str]:
    return [chunk["runId"] for chunk in chunks if chunk["type"] == "RUN_STARTED"]


def text_of(chunks: list[Json]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "TEXT_MESSAGE_CONTENT")


def test_tanstacks_client_gets_a_run_whole_that_is_cut_after_every_fourth_event_and_outlives_its_server(
    house: House, npm: Callable[[str], Npm]
) -> None:
    gate, never = house.model.gate(), house.model.gate()
    house.model.script(
        reply(reasoning("Let me think about it.", 3), text("Let me look. ", 2), tool_calls(("look", {"at": "it"}))),
        reply(text("One two three ", 2), never),
        reply(text("Four five six ", 2), gate, text("seven eight.", 2)),
    )
    node = npm("agui.js")
    with EventCutter(house.server, every=4, last=LAST) as proxy:
        chat = Chat(node, f"{proxy.url}/api/agui/default")
        said = node.begin("say", name=chat.name, text="Go")
        chat.wait("One two three ")
        house.server.kill()
        house.server.start()
        chat.wait("Four five six ")
        gate.release()
        shown = said()
        assert proxy.cuts >= len(shown["chunks"]) // 4 - 2  # the death cut one too, and the end needs none
    assert shown["errors"] == []
    [run] = runs_of(shown["chunks"])
    assert node.call("join", url=house.url, runId=run) == shown["chunks"]
    recorded = house.recorded(run)
    assert node.call("verify", logs={"run": recorded}) == 1
    assert [each["type"] for each in recorded] == [each["type"] for each in shown["chunks"]]
    assert (shown["chunks"][0]["type"], shown["chunks"][-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert text_of(shown["chunks"]).endswith("Four five six seven eight.")
    assert len(house.model.asked) == 3  # coming back asked nothing anew


def test_tanstacks_client_answers_an_interrupt_and_gets_the_rest_across_cuts(
    house: House, npm: Callable[[str], Npm]
) -> None:
    house.model.script(reply(text("I would pay. ", 2), tool_calls(PAY)), reply(text("It is paid now.", 2)))
    node = npm("agui.js")
    with EventCutter(house.server, every=4, last=LAST) as proxy:
        chat = Chat(node, f"{proxy.url}/api/agui/default")
        asked = node.call("say", name=chat.name, text="Pay")
        [interrupt] = asked["interrupts"]
        resume = [{"interruptId": interrupt, "status": "resolved", "payload": {"approved": True}}]
        shown = node.call("answer", name=chat.name, resume=resume)
        assert proxy.cuts >= 4  # each part has ten events at least
    assert shown["errors"] == []
    runs = runs_of(shown["chunks"])
    assert len(runs) == 2
    joined = node.call("join", url=house.url, runId=runs[0])
    named = [chunk | ({"runId": runs[0]} if "runId" in chunk else {}) for chunk in shown["chunks"]]
    assert joined == named  # who joins knows all parts by the first one's name
    assert [chunk["content"] for chunk in shown["chunks"] if chunk["type"] == "TOOL_CALL_RESULT"] == ["pay is done"]
    hydrated = node.call("hydrate", url=house.url, threadId=chat.name)
    assert [each["role"] for each in hydrated["messages"]] == ["user", "assistant"]
    kept = [[each for each in message["parts"] if each["type"] == "text"] for message in hydrated["messages"]]
    seen = [[each for each in message["parts"] if each["type"] == "text"] for message in shown["messages"]]
    assert ["".join(part["content"] for part in parts) for parts in kept] == ["Pay", "I would pay. \n\nIt is paid now."]
    assert "".join(part["content"] for parts in seen for part in parts) == "PayI would pay. \n\nIt is paid now."
    assert (hydrated["activeRun"], hydrated["interrupts"]) == (None, None)


def test_tanstacks_client_gives_the_result_of_its_own_tool(house: House, npm: Callable[[str], Npm]) -> None:
    house.model.script(reply(text("Let me see. ", 2), tool_calls(("weather", {"city": "Paris"}))), reply("Rain."))
    node = npm("agui.js")
    tool = {"name": "weather", "description": "Tells the weather.", "inputSchema": {"type": "object"}}
    with EventCutter(house.server, every=4, last=LAST) as proxy:
        chat = Chat(node, f"{proxy.url}/api/agui/default", [tool])
        asked = node.call("say", name=chat.name, text="Weather?")
        [call] = asked["chunks"][-1]["outcome"]["pendingToolCallIds"]
        node.call("result", name=chat.name, toolCallId=call, tool="weather", output="It rains.")
        chat.wait("Rain.")
    assert house.model.asked[-1]["messages"][-1]["content"] == "It rains."
    assert [each["function"]["name"] for each in house.model.asked[0]["tools"]].count("weather") == 1


# -- the protocol's own client -----------------------------------------------------------------------------------------


def test_the_verifier_passes_whole_logs_of_every_kind(npm: Callable[[str], Npm]) -> None:
    logs = LOGS | {f"seed {seed}": some_log(random.Random(seed)) for seed in range(150)}
    events = {name: [frame.data for frame in folded(AGUI("run", until=WHOLE), log)] for name, log in logs.items()}
    assert npm("agui.js").call("verify", logs=events) == len(logs)


@dataclass
class Agent:
    """AG-UI's `HttpAgent` in a thread of its own, which holds all that it reads to the protocol."""

    npm: Npm
    house: House
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.npm.call("agent", name=self.name, url=self.house.url, threadId=self.name)

    def begin(self, *messages: str | Json, **given: Any) -> Callable[[], Json]:
        self.runs.append(uuid.uuid4().hex)
        said = [
            {"id": uuid.uuid4().hex, "role": "user", "content": each} if isinstance(each, str) else each
            for each in messages
        ]
        return self.npm.begin("run", name=self.name, runId=self.runs[-1], messages=said, **given)

    def run(self, *messages: str | Json, **given: Any) -> Json:
        return self.begin(*messages, **given)()

    def recorded(self) -> list[Json]:
        """Gives all parts of the run as a client gets them that joins it now, once they are verified."""
        events = self.house.recorded(self.runs[0])
        assert self.npm.call("verify", logs={"recorded": events}) == 1
        return events

    def act(self, what: str, **body: Any) -> None:
        """Acts on the run beside the protocol, when it is under way."""
        hydrated = requests.get(self.house.url, params={"threadId": self.name}, timeout=60).json()
        assert hydrated["activeRun"] == {"runId": self.runs[0]}
        found = requests.get(self.house.url, params={"runId": self.runs[0]}, stream=True, timeout=60)
        run_id = found.headers["X-Run-Id"]
        found.close()
        answer = requests.post(f"{self.house.server.url}/api/runs/{run_id}/{what}", json=body, timeout=60)
        assert answer.ok, answer.text


@pytest.fixture
def agent(house: House, npm: Callable[[str], Npm]) -> Agent:
    return Agent(npm("agui.js"), house)


def said_in(shown: Json) -> list[tuple[str, str]]:
    """Gives role and text of each message that a client has, calls by their names."""
    return [
        (each["role"], each.get("content") or " ".join(call["function"]["name"] for call in each["toolCalls"]))
        for each in shown["messages"]
    ]


def test_text_and_thinking(agent: Agent) -> None:
    agent.house.model.script(reply(reasoning("Hm", 1), text("Hello there", 4)))
    shown = agent.run("Hi")
    assert said_in(shown) == [("user", "Hi"), ("reasoning", "Hm"), ("assistant", "Hello there")]
    assert shown["events"] == agent.recorded()


def test_tools_of_ours(agent: Agent) -> None:
    agent.house.model.script(reply(tool_calls(("look", {}), ("no_such", {}))), reply("Seen."))
    shown = agent.run("Look")
    roles = [role for role, _ in said_in(shown)]
    assert sorted(roles) == sorted(["user", "assistant", "tool", "tool", "assistant"])
    assert ("tool", "look is done") in said_in(shown)
    assert shown["events"] == agent.recorded()


@pytest.mark.parametrize("approved", [True, False])
def test_an_approval_is_an_interrupt_and_a_resume(agent: Agent, approved: bool) -> None:
    agent.house.model.script(reply(tool_calls(PAY)), reply("So be it."))
    [interrupt] = agent.run("Pay")["interrupts"]
    resume = [{"interruptId": interrupt["id"], "status": "resolved", "payload": {"approved": approved}}]
    shown = agent.run(resume=resume)
    assert (shown["interrupts"], said_in(shown)[-1][1].strip()) == ([], "So be it.")
    assert (("tool", "pay is done") in said_in(shown)) == approved
    assert [each["type"] for each in agent.recorded()].count("RUN_FINISHED") == 2


def test_questions_are_an_interrupt_and_a_resume(agent: Agent) -> None:
    agent.house.model.script(reply(tool_calls(("ask_user", {"questions": [QUESTION]}))), reply("Here, then."))
    [interrupt] = agent.run("Ask me")["interrupts"]
    assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Where?")
    answers = [{"skipped": False, "answer": "Here"}]
    resume = [{"interruptId": interrupt["id"], "status": "resolved", "payload": {"answers": answers}}]
    assert said_in(agent.run(resume=resume))[-1][1].strip() == "Here, then."
    agent.recorded()


def test_tools_of_the_client(agent: Agent) -> None:
    agent.house.model.script(reply(text("Let me see."), tool_calls(("weather", {"city": "Paris"}))), reply("Rain."))
    asked = agent.run("Weather?", tools=[WEATHER])
    [call] = [each for message in asked["messages"] for each in message.get("toolCalls", ())]
    assert (asked["pendingToolCallIds"], asked["interrupts"]) == ([call["id"]], [])
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Paris"})
    output = {"id": "o", "role": "tool", "toolCallId": call["id"], "content": "It rains."}
    shown = agent.run(output, tools=[WEATHER])
    assert [(role, words.strip()) for role, words in said_in(shown)][-2:] == [
        ("tool", "It rains."),
        ("assistant", "Rain."),
    ]
    assert agent.house.model.asked[-1]["messages"][-1]["content"] == "It rains."
    assert len([each for each in agent.recorded() if each["type"] == "TOOL_CALL_START"]) == 1
    agent.house.model.script(reply("Gladly."))
    agent.runs.clear()
    assert said_in(agent.run("Thanks", tools=[WEATHER]))[-1] == ("assistant", "Gladly.")


def test_a_stop(agent: Agent) -> None:
    agent.house.model.script(reply("One ", agent.house.model.gate(), "two"))
    running = agent.begin("Go")
    agent.house.model.wait_asked()
    agent.act("stop")
    shown = running()
    assert shown["events"][-1]["result"] == {"reason": "stopped"}
    assert agent.recorded() == shown["events"]


def test_a_failure(agent: Agent) -> None:
    agent.house.model.script(status(400, "That will not do."))
    shown = agent.run("Go")
    assert "That will not do." in shown["error"]["message"]
    assert agent.recorded()[-1]["type"] == "RUN_ERROR"


def test_a_message_that_joins(agent: Agent) -> None:
    gate = agent.house.model.gate()
    agent.house.model.script(reply("One ", gate, "two. "), reply("Three."))
    running = agent.begin("Go")
    gate.wait_reached()
    agent.act("steer", message="And three?")
    gate.release()
    shown = running()
    steered = [each["value"] for each in shown["events"] if each.get("name") == "steered"]
    assert steered == [{"message": "And three?"}]
    assert said_in(shown)[-1][1].strip() == "Three."
    assert agent.recorded() == shown["events"]


def test_a_step_that_is_told_anew(agent: Agent) -> None:
    agent.house.model.script(reply(text("It was thought.</think>It is said.", 2)))
    shown = agent.run("Go")
    [void] = [each["value"]["messageIds"] for each in shown["events"] if each.get("name") == "messagesVoid"]
    kept = [each for each in shown["messages"] if each["id"] not in void]
    assert [(each["role"], each["content"]) for each in kept[1:]] == [
        ("reasoning", "It was thought."),
        ("assistant", "It is said."),
    ]
    assert agent.recorded() == shown["events"]
