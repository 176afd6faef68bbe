"""AG-UI over HTTP, against a real server: start, join, cut and come back, interrupts, a thread's messages."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from model_server import ModelServer, reasoning, reply, text, tool_calls
from server import Server

Json = dict[str, Any]
Event = tuple[str | None, Json]  # with its id
BLOCK = re.compile(r"(?:id: (\S+)\n)?data: (.*)\n")
PAY = ("pay", {"amount": 1})


def events_of(body: str) -> list[Event]:
    """Gives the events of a stream, held to the shape that its clients read: an id, one line of data, or a comment."""
    found = []
    for block in body.split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        match = BLOCK.fullmatch(block + "\n")
        assert match, block
        found.append((match[1], json.loads(match[2])))
    return found


@dataclass
class Agent:
    """A client of the protocol, in a thread of its own."""

    server: Server
    thread: str = field(default_factory=lambda: str(uuid.uuid4()))
    slug: str = "default"

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/agui/{self.slug}"

    def post(self, run: str, message: str | None = "Go", headers: Json | None = None, **more: Any) -> requests.Response:
        messages = [] if message is None else [{"id": "u", "role": "user", "content": message}]
        body = {"threadId": self.thread, "runId": run, "state": {}, "messages": messages, "tools": [], "context": []}
        body |= {"forwardedProps": {}, "protocolVersion": "1.0"} | more
        return requests.post(self.url, json=body, headers=headers, timeout=60)

    def run(self, run: str, message: str | None = "Go", headers: Json | None = None, **more: Any) -> list[Event]:
        response = self.post(run, message, headers, **more)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return events_of(response.content.decode())

    def get(self, headers: Json | None = None, **query: str) -> requests.Response:
        return requests.get(self.url, params=query, headers=headers, timeout=60)

    def joined(self, headers: Json | None = None, **query: str) -> list[Event]:
        response = self.get(headers, **query)
        assert response.status_code == 200, response.text
        return events_of(response.content.decode())


def types(events: list[Event]) -> list[str]:
    return [event["type"] for _, event in events if event["type"] != "CUSTOM"]


def text_of(events: list[Event]) -> str:
    return "".join(event["delta"] for _, event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


@pytest.fixture
def agent(agent_server: Server, model: ModelServer) -> Agent:
    return Agent(agent_server)


@pytest.fixture
def tooled(serve: Callable[..., Server], model: ModelServer, tmp_path: Path) -> tuple[Agent, ModelServer]:
    """A client of a server with a tool that a person is asked about."""
    (tmp_path / "go").touch()
    server = serve(model, app="tooled:app", HOOKS=str(tmp_path))
    update = f"{server.url}/api/workspace/default/update"
    assert requests.post(update, json={"policies": {"pay": "ask"}}, timeout=60).status_code == 200
    return Agent(server), model


def test_a_run_of_a_new_thread_is_found_again_by_both_ids(agent: Agent, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm"), text("Hello there", 3)))
    run = str(uuid.uuid4())
    events = agent.run(run)
    assert events[0][1] == {"type": "RUN_STARTED", "threadId": agent.thread, "runId": run}
    assert (types(events)[-2:], text_of(events)) == (["STEP_FINISHED", "RUN_FINISHED"], "Hello there")
    asked = len(model.asked)
    for again in (
        agent.run(run),
        agent.joined(offset="-1", runId=run),
        agent.joined(runId=run, threadId=agent.thread),
        agent.joined(runId=agent.post(run).headers["X-Run-Id"]),
    ):
        assert [cursor for cursor, _ in again] == [cursor for cursor, _ in events]
        assert again[1:-1] == events[1:-1]
    assert agent.run(run) == events
    assert len(model.asked) == asked
    hydrated = agent.get(threadId=agent.thread).json()
    assert [(each["role"], each["content"]) for each in hydrated["messages"]] == [
        ("user", "Go"),
        ("assistant", "Hello there"),
    ]
    assert [each["parts"] for each in hydrated["messages"]] == [
        [{"type": "text", "content": "Go"}],
        [{"type": "thinking", "content": "Hm"}, {"type": "text", "content": "Hello there"}],
    ]
    assert (hydrated["activeRun"], hydrated["interrupts"]) == (None, None)
    path = f"/api/workspace/default/thread/{agent.thread}/chats"
    assert len(requests.get(agent.server.url + path, timeout=60).json()["history"]) == 2
    model.script(reply("More"))
    assert text_of(agent.run(str(uuid.uuid4()), [{"type": "text", "text": "And"}])) == "More"
    assert [each["content"] for each in model.asked[-1]["messages"][-3:]] == ["Go", "Hello there", "And"]


def test_after_each_event_the_same_input_brings_the_rest(agent: Agent, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm", 1), text("Hello there", 4)))
    run = str(uuid.uuid4())
    events = agent.run(run)
    assert len(events) > 8
    for at, (cursor, _) in enumerate(events):
        headers = {"Last-Event-ID": str(cursor), "X-Run-Id": run}
        assert agent.run(run, headers=headers) == events[at + 1 :]
        assert agent.joined(headers, runId=run, offset="-1") == events[at + 1 :]


def test_one_that_was_cut_off_comes_back_to_a_run_that_goes_on(agent: Agent, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply("One ", gate, "two"))
    run = str(uuid.uuid4())
    body = {"threadId": agent.thread, "runId": run, "messages": [{"id": "u", "role": "user", "content": "Go"}]}
    seen = ""
    with requests.post(agent.url, json=body, stream=True, timeout=60) as response:
        for piece in response.iter_content(None):
            seen += piece.decode()
            if "One " in seen:
                break
    before = events_of(seen[: seen.rindex("\n\n") + 2])
    assert agent.get(threadId=agent.thread).json()["activeRun"] == {"runId": run}
    gate.release()
    after = agent.run(run, headers={"Last-Event-ID": str(before[-1][0])})
    assert text_of(before + after) == "One two"
    assert before + after == agent.run(run)
    assert len(model.asked) == 1


def test_interrupts_are_answered_by_the_next_run(tooled: tuple[Agent, ModelServer]) -> None:
    agent, model = tooled
    model.script(reply(tool_calls(PAY, PAY)), reply("Paid."))
    first = agent.run("one")
    assert first[-1][1]["type"] == "RUN_FINISHED"
    interrupts = first[-1][1]["outcome"]["interrupts"]
    hydrated = agent.get(threadId=agent.thread).json()
    assert hydrated["interrupts"] == {"runId": "one", "pending": interrupts}
    assert agent.joined(runId="one", offset="-1") == first

    def answers(*given: Json) -> list[Json]:
        return [
            {"interruptId": each["id"], "status": "resolved", "payload": payload}
            for each, payload in zip(interrupts, given, strict=False)
        ]

    for refused in (agent.run("two"), agent.run("two", None, resume=answers({"approved": True}))):
        assert [(each["type"], each["code"]) for _, each in refused] == [("RUN_ERROR", "interrupts_open")]
    resume = answers({"approved": True, "editedArgs": {"amount": 5}}, {"approved": False})
    second = agent.run("two", None, resume=resume)
    assert (second[0][1]["type"], second[0][1]["runId"]) == ("RUN_STARTED", "two")
    assert (text_of(second), second[-1][1]["outcome"]) == ("Paid.", {"type": "success"})
    results = [each["content"] for _, each in second if each["type"] == "TOOL_CALL_RESULT"]
    assert "pay is done" in results
    assert len(results) == 2
    assert "TOOL_CALL_START" not in types(second)
    for at, (cursor, _) in enumerate(second):
        headers = {"Last-Event-ID": str(cursor)}
        assert agent.run("two", None, headers, resume=resume) == second[at + 1 :]
    assert agent.run("two", None, resume=resume) == second
    assert len(model.asked) == 2
    whole = agent.joined(runId="one")
    assert [cursor for cursor, _ in whole] == [cursor for cursor, _ in first + second]
    shown = agent.get(threadId=agent.thread).json()["messages"]
    assert [each["role"] for each in shown] == ["user", "assistant"]
    parts = [(each["type"], each.get("state"), each["content"]) for each in shown[1]["parts"] if "content" in each]
    assert [each[:2] for each in parts] == [("tool-result", "complete"), ("tool-result", "error"), ("text", None)]
    assert [json.loads(each["arguments"]) for each in shown[1]["parts"] if "arguments" in each] == [
        {"amount": 5},
        {"amount": 1},
    ]


WEATHER = {"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object", "properties": {}}}


def test_calls_of_the_clients_tools_are_answered_by_messages(tooled: tuple[Agent, ModelServer]) -> None:
    agent, model = tooled
    model.script(reply(text("Let me see."), tool_calls(("weather", {"city": "Paris"}), PAY)), reply("Rain."))
    first = agent.run("one", tools=[WEATHER])
    assert [each["function"] for each in model.asked[-1]["tools"] if each["function"]["name"] == "weather"] == [WEATHER]
    calls = {each["toolCallName"]: each["toolCallId"] for _, each in first if each["type"] == "TOOL_CALL_START"}
    [interrupt] = first[-1][1]["outcome"]["interrupts"]
    resume = [{"interruptId": interrupt["id"], "status": "cancelled"}]
    output = [{"id": "o", "role": "tool", "toolCallId": calls["weather"], "content": "rain"}]
    for number, half in enumerate(({"resume": resume}, {"messages": output}, {"message": "And?"})):
        [(_, refused)] = agent.run(f"half {number}", half.pop("message", None), **half)
        assert refused["code"] == "interrupts_open"
    second = agent.run("two", None, resume=resume, messages=output)
    assert text_of(second).strip() == "Rain."
    told = [each["toolCallId"] for _, each in second if each["type"] == "TOOL_CALL_RESULT"]
    assert told == [calls["pay"]]  # the other one is the client's own
    assert next(each["content"] for each in model.asked[-1]["messages"] if each["role"] == "tool") == "rain"
    for at, (cursor, _) in enumerate(second):
        headers = {"Last-Event-ID": str(cursor)}
        assert agent.run("two", None, headers, resume=resume, messages=output) == second[at + 1 :]
    assert [cursor for cursor, _ in agent.joined(runId="one")] == [cursor for cursor, _ in first + second]


def test_a_run_that_waits_for_the_clients_tools_alone_ends_with_their_names(agent: Agent, model: ModelServer) -> None:
    model.script(reply(tool_calls(("weather", {}))), reply("Rain."))
    first = agent.run("one", tools=[WEATHER])
    [call] = [each["toolCallId"] for _, each in first if each["type"] == "TOOL_CALL_START"]
    assert first[-1][1]["outcome"] == {"type": "success", "pendingToolCallIds": [call]}
    hydrated = agent.get(threadId=agent.thread).json()
    assert (hydrated["activeRun"], hydrated["interrupts"]) == ({"runId": "one"}, None)
    [(_, refused)] = agent.run("two")
    assert (refused["code"], call in refused["message"]) == ("interrupts_open", True)
    failed = {"id": "o", "role": "tool", "toolCallId": call, "content": "", "error": "No network."}
    assert text_of(agent.run("two", None, messages=[failed])) == "Rain."
    assert model.asked[-1]["messages"][-1]["content"] == "No network."


def test_a_clients_tool_stands_for_ours_of_the_same_name(agent: Agent, model: ModelServer) -> None:
    model.script(reply("Yes."))
    agent.run("one", tools=[{"name": "calculator", "description": "Mine."}])
    mine = [each["function"] for each in model.asked[-1]["tools"] if each["function"]["name"] == "calculator"]
    assert [each["description"] for each in mine] == ["Mine."]


def test_a_cancelled_interrupt_is_a_no(tooled: tuple[Agent, ModelServer]) -> None:
    agent, model = tooled
    model.script(reply(tool_calls(PAY)), reply("As you like."))
    interrupt = agent.run("one")[-1][1]["outcome"]["interrupts"][0]
    wrong = [{"interruptId": interrupt["id"], "status": "resolved", "payload": {"approved": "perhaps"}}]
    assert agent.post("two", None, resume=wrong).status_code == 400
    rest = agent.run("two", None, resume=[{"interruptId": interrupt["id"], "status": "cancelled"}])
    assert text_of(rest) == "As you like."
    assert not [each for _, each in rest if each.get("content") == "pay is done"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body.pop("threadId"), "threadId"),
        (lambda body: body.update(threadId="../x"), "thread's id"),
        (lambda body: body.update(messages=[]), "last of the messages"),
        (lambda body: body.update(messages=[{"role": "assistant", "content": "x"}]), "last of the messages"),
        (lambda body: body.update(messages=[{"role": "user", "content": [{"type": "image"}]}]), "text only"),
        (lambda body: body.update(messages=[{"role": "user", "content": [3]}]), "text only"),
        (lambda body: body.update(messages=[{"role": "user", "content": " "}]), "blank"),
        (lambda body: body.update(resume=[{"interruptId": "a:b", "status": "maybe"}]), "status"),
        (lambda body: body.update(tools=[{"name": "a b"}]), "name"),
        (lambda body: body.update(tools=[{"name": "a"}, {"name": "a"}]), "Two tools"),
        (lambda body: body.update(messages=[{"role": "tool", "toolCallId": "a:b", "content": [3]}]), "text only"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_words(agent: Agent, change: Callable[[Json], Any], words: str) -> None:
    body: Json = {"threadId": "a", "runId": "r", "messages": [{"role": "user", "content": "x"}]}
    change(body)
    response = requests.post(agent.url, json=body, timeout=60)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_what_is_not_there_is_not_found(agent: Agent, model: ModelServer) -> None:
    resume = [{"interruptId": f"{uuid.uuid4()}:x", "status": "cancelled"}]
    assert agent.post("r", None, resume=resume).status_code == 404
    assert agent.get(runId="never").status_code == 404
    assert agent.get().status_code == 400
    assert agent.get(threadId="new").json() == {"messages": [], "activeRun": None, "interrupts": None}
    model.script(reply("Yes"))
    run = str(uuid.uuid4())
    agent.run(run)
    for cursor in ("3", "x.y", "1.2.3", "999.0"):
        refused = agent.post(run, headers={"Last-Event-ID": cursor})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_cursor")
    assert Agent(agent.server, slug="nowhere").post("r").status_code == 404


def test_an_input_that_is_refused_makes_no_thread(agent: Agent) -> None:
    body = {"threadId": agent.thread, "runId": "r", "messages": [{"role": "user", "content": "x"}]}
    assert requests.post(f"{agent.url}?disconnect=maybe", json=body, timeout=60).status_code == 400
    shown = requests.get(f"{agent.server.url}/api/workspace/default/threads", timeout=60).json()["threads"]
    assert agent.thread not in [each["slug"] for each in shown]
