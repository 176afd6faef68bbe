"""A long conversation with the strictest model server: nothing that it refuses ever reaches the person."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from client import Client, Stream
from model_server import Answer, ModelServer, reasoning, reply, status, text, tool_calls
from server import Server
from strict_server import STRICTEST, Body, Rule, strict

Serve = Callable[..., Server]

QUESTIONS = 60
# Most of what is refused is learnt at the first question: no system, null content.
LESSONS = 2
CONTEXT = 4_096  # tokens


def narrow(body: Body) -> str | None:
    """Refuses what is more than a small model reads, its tools included."""
    sent = len(json.dumps([body["messages"], body.get("tools")])) // 3
    if sent + body.get("max_tokens", 256) <= CONTEXT:
        return None
    return f"This model's maximum context length is {CONTEXT} tokens. However, your messages resulted in {sent} tokens."


class Strict:
    """A model server that refuses all that strict ones refuse, and answers sums by its calculator.

    What a question says decides: "fail" has it fail once, "wait" stand at a gate in its answer, "late" at one behind
    the result of its tool, "twice" call two tools in a turn, and "mute" call without a thought.
    """

    def __init__(self, model: ModelServer, *rules: Rule) -> None:
        self.refusals: list[str] = []
        self.thoughts: dict[str, str] = {}
        self.summaries = 0
        self._model = model
        self._failed: set[str] = set()
        self.gates: dict[str, Any] = {}
        model.answer = strict(self._answer, *STRICTEST, self._thoughts_back, *rules, refusals=self.refusals)

    def _thoughts_back(self, body: Body) -> str | None:
        """Refuses a thought that comes back beside another call than it was thought for."""
        for message in body["messages"]:
            for call in message.get("tool_calls") or ():
                thought = self.thoughts.get(call["function"]["arguments"])
                if thought is not None and message.get("reasoning_content") != thought:
                    return f"reasoning_content is not the one of {call['function']['arguments']}"
        return None

    def _gate(self, question: str) -> Any:
        return self.gates.setdefault(question, self._model.gate())

    def _answer(self, body: Body) -> Answer | str:
        last = body["messages"][-1]
        if "Summarize the conversation" in body["messages"][0]["content"]:
            self.summaries += 1
            return "They worked out many sums."
        said = [each["content"] for each in body["messages"] if each["role"] == "user"][-1].rpartition("\n\n")[2]
        if last["role"] == "tool":
            stands = [self._gate(said)] if "late" in said else []
            return reply(*stands, reasoning("So."), text(f"It is {last['content']}."))
        if "fail" in said and said not in self._failed:
            self._failed.add(said)
            return status(418, "the upstream is not well")
        if "wait" in said:
            return reply(text("Let me see. "), self._gate(said), text("Done."))
        if said.startswith(("steer", "Your answer was broken off")):
            return f"Then: {said}"
        return self._calls(said)

    def _calls(self, said: str) -> Answer:
        number = said.rsplit(maxsplit=1)[-1]
        sums = [f"{number}*7", f"{number}+7"] if "twice" in said else [f"{number}*7"]
        thought = "" if "mute" in said else f"I work out {number}."
        for each in sums:
            self.thoughts[f'{{"expression": "{each}"}}'] = thought
        calls = tool_calls(*[("calculator", {"expression": each}) for each in sums])
        return reply(*([reasoning(thought)] if thought else []), calls)


def continued(client: Client, run_id: str) -> Stream:
    response = client.post(f"/api/runs/{run_id}/continue", stream=True)
    assert response.status_code == 200, response.text
    return client._keep(Stream(response)).read()


def converse(client: Client, server: Server, strict_model: Strict, number: int) -> Stream:
    """Asks one question in the way that its number chooses; gives the stream of its answer."""
    way = (
        "plain",
        "late stop",
        "plain twice",
        "wait stop",
        "fail",
        "late steer",
        "mute",
        "fail on",
        "wait on",
        "twice",
    )
    words = f"{way[number % len(way)]} question {number}"
    if "stop" not in words and "late" not in words and "wait" not in words:
        stream = client.ask(words)
        return continued(client, stream.run_id) if "fail on" in words else stream
    stream = client.send(words)
    stream.read_until("toolCallResult" if "late" in words else "Let me see")
    gate = strict_model._gate(words)
    gate.wait_reached()
    if "steer" in words:
        assert client.post(f"/api/runs/{stream.run_id}/steer", {"message": f"steer {number}"}).status_code == 202
        gate.release()
    else:
        client.stop(stream.run_id)
        gate.release()
    stream.read()
    return continued(client, stream.run_id) if "wait on" in words else stream


@pytest.mark.parametrize("rules", [(), (narrow,)], ids=["any context", "4,096 tokens"])
def test_sixty_questions_with_tools_stops_steers_and_failures_and_not_one_refusal_that_reaches_the_person(
    serve: Serve, model: ModelServer, rules: tuple[Rule, ...]
) -> None:
    strict_model = Strict(model, *rules)
    server = serve(model)
    client = Client(server).new_thread()
    reasons: list[str] = []
    for number in range(QUESTIONS):
        if number == QUESTIONS // 2:
            server.kill()  # what was learnt goes with it
            server.start()
        ending = converse(client, server, strict_model, number).ending
        assert ending is not None
        failed = ending.get("error") or ""
        assert not any(words in failed for words in strict_model.refusals), (number, failed)
        reasons.append(ending["reason"])
    assert reasons.count("failed") == QUESTIONS // 10
    assert reasons.count("stopped") == 2 * (QUESTIONS // 10)
    assert reasons.count("completed") == QUESTIONS - 3 * (QUESTIONS // 10)
    assert len(strict_model.refusals) <= 2 * (LESSONS + len(rules)), strict_model.refusals
    assert bool(strict_model.summaries) == bool(rules)
    client.check_all()
