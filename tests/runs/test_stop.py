"""Stopping: at each of the moments, by two at once. One ending, one `true`, and what was said stays in the thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from client import ENDINGS, Client, Stream
from model_server import ModelServer, reasoning, reply, status, text, tool_calls
from server import Server

ZONES = [("current_time", {"timezone": "Asia/Tokyo"})]
# The moments: how the model server answers up to a gate, the frame after which to stop, and the text that stays.
MOMENTS: dict[str, tuple[list[Any], str, str]] = {
    "before the first byte": ([], "stepStarted", ""),
    "while it thinks": ([reasoning("Let me think")], "reasoningChunk", ""),
    "in the middle of text": ([text("The answer is")], "The answer is", "The answer is"),
    "while it writes a tool call": ([text("Look:"), tool_calls(*ZONES)], "Look:", "Look:"),
}


def stop_twice(client: Client, run_id: str) -> list[Any]:
    """Stops with two requests at once and gives their answers."""
    answers: list[Any] = []
    barrier = threading.Barrier(2)

    def stop() -> None:
        barrier.wait()
        answers.append(client.stop(run_id))

    threads = [threading.Thread(target=stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


@pytest.mark.parametrize("moment", MOMENTS)
def test_two_stops_at_once_make_one_ending(agent: Client, model: ModelServer, moment: str) -> None:
    pieces, wanted, kept = MOMENTS[moment]
    gate = model.gate()
    model.script(reply(*pieces, gate, text("never said")))
    stream = agent.send("Go")
    stream.read_until(wanted)
    gate.wait_reached()
    answers = stop_twice(agent, stream.run_id)
    assert sorted(answer["stopped"] for answer in answers) == [False, True]
    assert all(answer["run"]["reason"] == "stopped" for answer in answers)
    assert model.wait_closed(), "the model server's connection stayed open"
    frames = stream.read().frames
    assert [frame["type"] for frame in frames if frame.get("type") in ENDINGS] == ["stopGeneration"]
    assert frames[-1]["reason"] == "stopped"
    assert 0 <= frames[-1]["upstreamClosedMs"] < 1000
    assert agent.stop(stream.run_id)["stopped"] is False
    answer = agent.history()[-1]
    assert (answer["content"], answer["reason"]) == (kept, "stopped")
    assert answer["reasoning"] == "".join(f["textResponse"] for f in frames if f.get("type") == "reasoningChunk")


def test_what_was_said_before_a_stop_is_known_in_the_next_turn(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Half an answ"), gate), "The rest.")
    stream = agent.send("Go")
    stream.read_until("Half")
    agent.stop(stream.run_id)
    agent.ask("Go on")
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == ["Go", "Half an answ", "Go on"]


def test_a_stop_while_a_retry_is_waited_for_closes_nothing(agent: Client, model: ModelServer) -> None:
    model.script(status(503, "busy", headers={"retry-after": "20"}))
    stream = agent.send("Go")
    stream.read_until("statusResponse")
    agent.stop(stream.run_id)
    assert stream.read().frames[-1]["upstreamClosedMs"] is None


def test_a_stop_of_ourselves_closes_nothing(client: Client) -> None:
    stream = client.send("help")
    stream.read_until("textResponseChunk")
    assert client.stop(stream.run_id)["stopped"] is True
    ending = stream.read().frames[-1]
    assert (ending["type"], ending["upstreamClosedMs"]) == ("stopGeneration", None)
    assert client.history()[-1]["content"] == stream.text


def test_a_stop_of_an_ended_run_changes_nothing_and_of_an_unknown_one_is_404(client: Client) -> None:
    stream = client.ask("hi")
    answer = client.stop(stream.run_id)
    assert (answer["stopped"], answer["run"]["reason"]) == (False, "completed")
    assert client.post("/api/runs/nowhere/stop").status_code == 404


def test_many_runs_stopped_at_once_all_end(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model=model))
    gate = model.gate()
    model.answer = lambda _question: reply(text("So"), gate, text("never"))
    streams: list[Stream] = []
    for _ in range(20):
        thread = client.new_thread()
        streams.append(thread.send("Go"))
        streams[-1].read_until("So")
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda run=stream.run_id: answers.append(client.stop(run)["stopped"]))
        for stream in streams
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sorted(answers) == [False] * 20 + [True] * 20
    assert model.wait_closed(20)
    assert {stream.read().frames[-1]["type"] for stream in streams} == {"stopGeneration"}
    client.check_all()


def test_a_stop_in_the_rush_of_a_fast_stream_closes_its_connection(agent: Client, model: ModelServer) -> None:
    model.answer = lambda _question: reply(text("word " * 180_000, size=25))
    for number in range(3):
        stream = agent.send(f"Go {number}")
        stream.read_until("word")
        agent.stop(stream.run_id)
        assert "stepFinished" not in stream.read().types, "it was over before it was stopped"
        assert isinstance(stream.frames[-1]["upstreamClosedMs"], int)


def test_a_stop_races_the_natural_end_and_one_of_them_wins(agent: Client, model: ModelServer) -> None:
    model.answer = lambda _question: reply(text("Quick."))
    for number in range(20):
        stream = agent.send(f"Go {number}")
        stream.read_until("stepStarted")
        stopped = agent.stop(stream.run_id)["stopped"]
        ending = stream.read().frames[-1]["type"]
        assert ending == ("stopGeneration" if stopped else "finalizeResponseStream")
