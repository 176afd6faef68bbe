"""The log for those who cannot have an event stream: as JSON by long polls, and as a line an event."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from client import Client
from model_server import ModelServer, reply, text, tool_calls
from server import Server


def poll(client: Client, run_id: str, after: int = 0, wait: str = "5") -> Any:
    return client.get(f"/api/runs/{run_id}/events", params={"after": str(after), "wait": wait})


def test_polls_give_the_same_log_as_the_stream(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("One "), gate, text("two")))
    stream = agent.send("Count")
    stream.read_until("One")
    first = poll(agent, stream.run_id)
    assert [each["data"] for each in first["frames"]] == stream.frames
    assert [each["id"] for each in first["frames"]] == list(range(1, first["lastEventId"] + 1))
    assert first["ended"] is False
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(poll(agent, stream.run_id, first["lastEventId"], "20")))
    waiting.start()
    time.sleep(0.1)
    assert not answers, "there was nothing to give yet"
    gate.release()
    waiting.join(10)
    frames = first["frames"] + answers[0]["frames"]
    while not answers[-1]["ended"]:
        answers.append(poll(agent, stream.run_id, answers[-1]["lastEventId"]))
        frames += answers[-1]["frames"]
    assert [each["data"] for each in frames] == stream.read().frames


def test_a_poll_without_news_ends_after_its_time(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("So"), gate))
    stream = agent.send("Go")
    last = stream.read_until("So").seq or 0
    began = time.monotonic()
    assert poll(agent, stream.run_id, last, "0.3") == {"frames": [], "lastEventId": last, "ended": False}
    assert time.monotonic() - began >= 0.3
    assert poll(agent, stream.run_id, last, "0")["frames"] == []
    agent.stop(stream.run_id)


def test_after_the_end_there_is_nothing_and_it_says_so(client: Client) -> None:
    stream = client.ask("2+2")
    last = stream.last_seq
    assert poll(client, stream.run_id, last) == {"frames": [], "lastEventId": last, "ended": True}
    whole = poll(client, stream.run_id)
    assert (len(whole["frames"]), whole["lastEventId"], whole["ended"]) == (last, last, True)


def test_a_cursor_beyond_the_log_begins_anew(client: Client) -> None:
    stream = client.ask("2+2")
    answer = poll(client, stream.run_id, 999)
    assert answer["frames"][0] == {"data": {"type": "resync"}}
    assert [each["id"] for each in answer["frames"][1:]] == list(range(1, stream.last_seq + 1))


def test_a_long_log_comes_in_several_answers(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("word " * 2000, size=5), rate=20_000))
    stream = agent.ask("Go")
    seen, after = [], 0
    while True:
        answer = poll(agent, stream.run_id, after)
        seen += answer["frames"]
        after = answer["lastEventId"]
        if answer["ended"]:
            break
    assert [each["data"] for each in seen] == stream.frames


@pytest.mark.parametrize("wait", ["", "x", "-1", "31", "30.5", "1e3", "nan", "５"])
def test_a_wait_that_is_no_time_is_refused(client: Client, wait: str) -> None:
    run = client.ask("2+2").run_id
    response = client.call("GET", f"/api/runs/{run}/events", params={"wait": wait})
    assert response.status_code == 400
    assert "0 to 30" in response.json()["error"]["message"]


def lines(response: Any) -> list[Any]:
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.iter_lines()]


def test_scripts_get_an_object_a_line(client: Client) -> None:
    accept = {"Accept": "application/x-ndjson"}
    said = lines(client.post(f"{client.thread_path}/stream-chat", {"message": "2+2"}, headers=accept, stream=True))
    run = said[0]["runId"]
    stream = client.follow(run).read()
    assert [{k: v for k, v in each.items() if k != "seq"} for each in said] == stream.frames
    assert [each["seq"] for each in said] == list(range(1, len(said) + 1))
    assert lines(client.call("GET", f"/api/runs/{run}/events?after=3", headers=accept)) == said[3:]
    assert lines(client.call("GET", f"/api/runs/{run}/events?after=99", headers=accept)) == [{"type": "resync"}, *said]


@pytest.mark.parametrize(
    "accept", ["*/*", "text/html", "application/json", "application/x-ndjson;q=0.1, text/event-stream", ""]
)
def test_everyone_else_gets_server_sent_events(client: Client, accept: str) -> None:
    run = client.ask("2+2").run_id
    assert (
        client.follow(run, headers={"Accept": accept}).response.headers["Content-Type"].startswith("text/event-stream")
    )


def test_polls_of_a_waiting_run_and_its_answer(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model=model)).new_thread()
    model.script(reply(tool_calls(("ask_user", {"questions": [{"question": "Which?"}]}))), "Fine.")
    stream = client.send("Go")
    request = stream.read_until("clarificationRequest").data or {}
    last = stream.last_seq
    assert poll(client, stream.run_id, last, "0.2")["frames"] == []
    client.post(f"/api/runs/{stream.run_id}/respond", {"requestId": request["requestId"], "skipped": True})
    assert poll(client, stream.run_id, last)["frames"][0]["data"]["summary"] == "Skipped"
    stream.read()
    client.check_all()
