"""Going on from an answer that did not get through: a new run, from where the old one ends."""

from __future__ import annotations

import pytest
from client import Client, Stream
from model_server import ModelServer, reply, text, tool_calls


def broken_off(agent: Client, model: ModelServer, said: str = "Half an answ") -> Stream:
    gate = model.gate()
    model.script(reply(text(said), gate) if said else reply(gate))
    stream = agent.send("Go")
    stream.read_until("Half" if said else "stepStarted")
    gate.wait_reached()
    agent.stop(stream.run_id)
    return stream.read()


def test_a_stopped_answer_goes_on_in_a_new_run(agent: Client, model: ModelServer) -> None:
    before = broken_off(agent, model)
    model.script("er, whole.")
    after = agent.go_on(before.run_id).read()
    assert after.run_id != before.run_id
    assert after.frames[0]["continues"] == before.run_id
    assert before.frames[0]["continues"] is None
    assert after.text == "er, whole."
    sent = model.asked[-1]["messages"][1:]
    assert [each["role"] for each in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == "Half an answ"
    history = agent.history()
    assert [(each["role"], each["content"]) for each in history] == [
        ("user", "Go"),
        ("assistant", "Half an answ"),
        ("assistant", "er, whole."),
    ]
    assert history[2]["parentId"] == history[1]["chatId"]
    model.script("Fine.")
    agent.ask("Thanks")
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == [
        "Go",
        "Half an answ\n\ner, whole.",
        "Thanks",
    ]


def test_an_answer_of_no_words_is_asked_for_again(agent: Client, model: ModelServer) -> None:
    before = broken_off(agent, model, said="")
    model.script("Here.")
    assert agent.go_on(before.run_id).read().text == "Here."
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == ["Go"]


def test_an_answer_that_was_stopped_after_its_tool_goes_on_with_the_result(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(tool_calls(("calculator", {"expression": "2+3"}))), reply(gate), "Five.")
    stream = agent.send("2+3?")
    stream.read_until("toolCallResult")
    gate.wait_reached()
    agent.stop(stream.run_id)
    assert agent.go_on(stream.run_id).read().text == "Five."
    assert [each["role"] for each in model.asked[-1]["messages"][1:]] == ["user", "assistant", "tool"]


def test_a_failed_answer_goes_on_and_so_does_its_continuation(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("One "), finish=None, done=False), reply(text("two "), finish=None, done=False), "three")
    first = agent.ask("Count")
    assert first.frames[-1]["type"] == "abort"
    second = agent.go_on(first.run_id).read()
    third = agent.go_on(second.run_id).read()
    assert third.frames[0]["continues"] == second.run_id
    assert [each["content"] for each in agent.history()[1:]] == ["One ", "two ", "three"]


@pytest.mark.parametrize("case", ["completed", "running", "not the last", "unknown"])
def test_what_cannot_go_on_is_refused_and_stores_nothing(agent: Client, model: ModelServer, case: str) -> None:
    gate = model.gate()
    if case == "not the last":
        run_id = broken_off(agent, model).run_id
        model.script("Yes.")
        agent.ask("Next")
    elif case == "running":
        model.script(reply(text("So"), gate))
        stream = agent.send("Go")
        stream.read_until("So")
        run_id = stream.run_id
    else:
        model.script("Done.")
        run_id = agent.ask("Go").run_id
    before = agent.history()
    response = agent.post(f"/api/runs/{'nothing' if case == 'unknown' else run_id}/continue")
    codes = {
        "completed": (409, "run_completed"),
        "running": (409, "run_active"),
        "not the last": (409, "not_the_last_run"),
        "unknown": (404, "not_found"),
    }
    assert (response.status_code, response.json()["error"]["code"]) == codes[case]
    assert agent.history() == before
    agent.stop(run_id)
