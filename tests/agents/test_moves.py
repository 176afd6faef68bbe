"""The contract's table: what stop, respond, steer and a restart do to a run, wherever it stands."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from client import ENDINGS, Client, Stream
from conftest import _run, model_settings
from model_server import ModelServer, reply, text, tool_calls
from server import Server, wait_until

QUESTION = {"question": "Which city?", "kind": "input"}


@dataclass
class Scene:
    """A run in a state, and what it takes to let it go on."""

    client: Client
    model: ModelServer
    stream: Stream
    release: Callable[[], None]

    @property
    def request(self) -> str:
        """The open request's id; one that was never issued where there is none."""
        pending = self.client.run(self.stream.run_id)["pending"]
        return pending[0]["requestId"] if pending else "never-issued"

    def post(self, move: str, body: Any = None) -> int:
        return self.client.post(f"/api/runs/{self.stream.run_id}/{move}", body).status_code

    def finished(self) -> list[dict[str, Any]]:
        """The whole log, read anew once it has ended."""
        self.client.wait_ended(self.stream.run_id)
        return self.client.follow(self.stream.run_id).read().frames


def first_byte(client: Client, model: ModelServer, _hooks: Path) -> Scene:
    gate = model.gate()
    model.script(reply(gate, text("Late.")), "Again.", "More.")
    stream = client.send("Go")
    gate.wait_reached()
    return Scene(client, model, stream, gate.release)


def streaming(client: Client, model: ModelServer, _hooks: Path) -> Scene:
    gate = model.gate()
    model.script(reply(text("Half"), gate, text(" done.")), "Again.", "More.")
    stream = client.send("Go")
    stream.read_until("Half")
    return Scene(client, model, stream, gate.release)


def in_a_tool(client: Client, model: ModelServer, hooks: Path, tool: str = "look") -> Scene:
    model.script(reply(tool_calls((tool, {}))), "Again.", "More.")
    stream = client.send("Go")
    stream.read_until("toolCallInvocation")
    wait_until(lambda: (hooks / "ran").exists() and (hooks / "ran").read_text() != "")
    return Scene(client, model, stream, (hooks / "go").touch)


def in_a_tool_that_pays(client: Client, model: ModelServer, hooks: Path) -> Scene:
    return in_a_tool(client, model, hooks, "pay")


def after_a_result(client: Client, model: ModelServer, hooks: Path) -> Scene:
    (hooks / "go").touch()
    gate = model.gate()
    model.script(reply(tool_calls(("look", {}))), reply(gate, text("Late.")), "Again.", "More.")
    stream = client.send("Go")
    stream.read_until("toolCallResult")
    gate.wait_reached()
    return Scene(client, model, stream, gate.release)


def waiting_for_approval(client: Client, model: ModelServer, hooks: Path) -> Scene:
    (hooks / "go").touch()
    client.post("/api/workspace/default/update", {"tools": {"look": "ask"}})
    model.script(reply(tool_calls(("look", {"at": "it"}))), "Again.", "More.")
    stream = client.send("Go")
    stream.read_until("toolApprovalRequest")
    return Scene(client, model, stream, lambda: None)


def waiting_for_an_answer(client: Client, model: ModelServer, _hooks: Path) -> Scene:
    model.script(reply(text("Hm. "), tool_calls(("ask_user", {"questions": [QUESTION]}))), "Again.", "More.")
    stream = client.send("Go")
    stream.read_until("clarificationRequest")
    return Scene(client, model, stream, lambda: None)


def completed(client: Client, model: ModelServer, _hooks: Path) -> Scene:
    model.script("Done.", "More.")
    return Scene(client, model, client.ask("Go"), lambda: None)


def answered_and_completed(client: Client, model: ModelServer, hooks: Path) -> Scene:
    scene = waiting_for_approval(client, model, hooks)
    request = scene.request
    assert scene.post("respond", {"requestId": request, "approved": True}) == 200
    client.wait_ended(scene.stream.run_id)
    return scene


def failed(client: Client, model: ModelServer, _hooks: Path) -> Scene:
    model.script(reply(text("Half"), finish=None, done=False), "More.")
    return Scene(client, model, client.ask("Go"), lambda: None)


RUNNING = [first_byte, streaming, in_a_tool, in_a_tool_that_pays, after_a_result]
WAITING = [waiting_for_approval, waiting_for_an_answer]
ENDED = [completed, failed, answered_and_completed]
State = Callable[[Client, ModelServer, Path], Scene]


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


@pytest.fixture(scope="module")
def tooled(shared_model: ModelServer, hooks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that each test of the module may kill, and leaves running."""
    settings = model_settings(shared_model) | {"HOOKS": str(hooks), "DEECHAT_HEARTBEAT": "0.3"}
    yield from _run(tmp_path_factory.mktemp("tooled"), app="tooled:app", **settings)


@pytest.fixture
def at(tooled: Server, model: ModelServer, hooks: Path) -> Iterator[Callable[[State], Scene]]:
    """Brings a run into a state."""
    for file in hooks.iterdir():
        file.unlink()
    scenes: list[Scene] = []

    def bring(state: State) -> Scene:
        client = Client(tooled)
        client.post("/api/workspace/default/update", {"tools": {}})
        scenes.append(state(client.new_thread(), model, hooks))
        return scenes[-1]

    yield bring
    for scene in scenes:
        scene.client.check_all()


# -- stop --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNING + WAITING)
def test_stop_ends_it_once_and_leaves_a_valid_next_turn(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    answer = scene.client.stop(scene.stream.run_id)
    assert (answer["stopped"], answer["run"]["status"], answer["run"]["pending"]) == (True, "ended", [])
    frames = scene.finished()
    assert [frame["type"] for frame in frames if frame.get("type") in ENDINGS] == ["stopGeneration"]
    assert (frames[-1]["upstreamClosedMs"] is not None) == (state in (first_byte, streaming, after_a_result))
    said = {streaming: "Half", waiting_for_an_answer: "Hm. "}.get(state, "")
    assert scene.client.history()[-1]["content"] == said
    scene.model._script.clear()
    scene.model.script("Next.")
    assert scene.client.ask("Next?").text == "Next."
    roles = [each["role"] for each in scene.model.asked[-1]["messages"]]
    calls = sum(len(each.get("tool_calls") or ()) for each in scene.model.asked[-1]["messages"])
    assert roles.count("tool") == calls, "a call without a result"


@pytest.mark.parametrize("state", ENDED)
def test_stop_of_an_ended_run_is_no_stop(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    assert scene.client.stop(scene.stream.run_id)["stopped"] is False


# -- respond -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNING + WAITING + ENDED)
def test_a_request_that_was_never_issued_is_404_always(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    for body in ({"approved": True}, {"approved": "what?"}, {"skipped": True}, {"answers": [1, 2]}, {}):
        assert scene.post("respond", {"requestId": "never-issued", **body}) == 404
    scene.client.stop(scene.stream.run_id)


@pytest.mark.parametrize("state", WAITING)
def test_the_first_answer_lets_it_go_on_and_the_second_is_409(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    run, request = scene.client.run(scene.stream.run_id), scene.request
    assert run["status"] == "waiting"
    assert [each["requestId"] for each in run["pending"]] == [request]
    assert run["pending"][0] == next(each for each in scene.stream.frames if each.get("requestId") == request)
    answers = [{"skipped": False, "answer": "Paris"}]
    body = {"requestId": request, **({"approved": True} if state is waiting_for_approval else {"answers": answers})}
    assert scene.post("respond", body) == 200
    assert scene.post("respond", body) == 409
    frames = scene.stream.read().frames
    assert [each.get("type") for each in frames].count("inputReceived") == 1
    result = next(each for each in frames if each.get("type") == "toolCallResult")
    assert not result["isError"]
    assert result["content"] == ("look is done" if state is waiting_for_approval else "Which city?: Paris")
    assert frames[-1]["type"] == "finalizeResponseStream"
    assert scene.post("respond", body) == 409


def test_a_request_of_an_ended_run_is_409(at: Callable[[State], Scene]) -> None:
    scene = at(waiting_for_approval)
    request = scene.request
    scene.client.stop(scene.stream.run_id)
    assert scene.post("respond", {"requestId": request, "approved": True}) == 409


# -- steer -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNING + WAITING)
def test_a_message_that_was_taken_is_read(at: Callable[[State], Scene], state: State, hooks: Path) -> None:
    scene = at(state)
    assert scene.post("steer", {"message": "In euros."}) == 202
    if state in WAITING:
        assert scene.client.run(scene.stream.run_id)["status"] == "waiting", "it is kept, and read with the answer"
        reply = {"approved": False} if state is waiting_for_approval else {"skipped": True}
        assert scene.post("respond", {"requestId": scene.request, **reply}) == 200
    scene.release()
    frames = scene.stream.read().frames
    assert [each["message"] for each in frames if each.get("type") == "steered"] == ["In euros."]
    assert frames[-1]["type"] == "finalizeResponseStream"
    assert {"role": "user", "content": "In euros."} in scene.model.asked[-1]["messages"]
    assert scene.client.history()[-1]["steered"] == ["In euros."]


@pytest.mark.parametrize("state", ENDED)
def test_steering_an_ended_run_is_409(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    assert scene.post("steer", {"message": "In euros."}) == 409
    assert scene.post("steer", {"message": "/stop"}) == 409


@pytest.mark.parametrize("word", ["/exit", "/stop", "/halt"])
def test_a_word_stops_it(at: Callable[[State], Scene], word: str) -> None:
    scene = at(streaming)
    assert scene.post("steer", {"message": word}) == 202
    assert scene.stream.read().frames[-1]["type"] == "stopGeneration"


def test_unread_messages_stand_in_the_history_after_a_stop(at: Callable[[State], Scene]) -> None:
    scene = at(streaming)
    scene.post("steer", {"message": "In euros."})
    scene.client.stop(scene.stream.run_id)
    scene.model._script.clear()
    scene.model.script("Yes.")
    scene.client.ask("Now?")
    said = [each["content"] for each in scene.model.asked[-1]["messages"][1:]]
    assert said == ["Go", "Half", "In euros.\n\nNow?"]


# -- restart -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNING)
def test_a_running_run_goes_on_after_a_kill(at: Callable[[State], Scene], state: State, hooks: Path) -> None:
    scene = at(state)
    run = scene.stream.run_id
    seen = scene.stream.last_seq
    scene.client.server.kill()
    scene.release()
    scene.client.server.start()
    rest = scene.client.follow(run, after=seen).read()
    frames = scene.finished()
    assert frames[-1]["type"] == "finalizeResponseStream"
    again = [each.get("type") for each in frames].count("stepRestarted")
    assert again == (1 if state in (first_byte, streaming, after_a_result) else 0)
    newcomer = scene.client.follow(run).read()
    assert newcomer.text == "Again."
    assert [block.raw for block in rest.numbered] == [block.raw for block in newcomer.numbered[seen:]]
    assert scene.client.history()[-1]["content"] == "Again."
    if state in (in_a_tool, in_a_tool_that_pays):
        results = [each for each in frames if each.get("type") == "toolCallResult"]
        assert len(results) == 1
        ran = (hooks / "ran").read_text().split()
        if state is in_a_tool:
            assert (ran, results[0]["content"]) == (["look", "look"], "look is done")
        else:
            assert ran == ["pay"]
            assert results[0]["isError"]
            assert "may have happened" in results[0]["content"]


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_run_waits_on_after_a_kill_and_is_answered(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    run, request, seen = scene.stream.run_id, scene.request, scene.stream.last_seq
    scene.client.server.kill()
    scene.client.server.start()
    assert scene.client.run(run)["status"] == "waiting"
    assert scene.request == request
    viewer = scene.client.follow(run, after=seen)
    viewer.read_until("heartbeat")
    assert len(scene.model.requests) == 1, "the model was asked again"
    body = {"approved": True} if state is waiting_for_approval else {"answers": [{"answer": "Paris"}]}
    assert scene.post("respond", {"requestId": request, **body}) == 200
    assert viewer.read().frames[-1]["type"] == "finalizeResponseStream"
    assert scene.client.history()[-1]["content"].endswith("Again.")


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_run_stays_as_it_was_after_a_kill(at: Callable[[State], Scene], state: State) -> None:
    scene = at(state)
    before = scene.client.follow(scene.stream.run_id).read()
    scene.client.server.kill()
    scene.client.server.start()
    after = scene.client.follow(scene.stream.run_id).read()
    assert [block.raw for block in after.blocks] == [block.raw for block in before.blocks]


@pytest.mark.parametrize("tool", ["look", "pay"])
def test_a_death_after_the_work_and_before_its_result_repeats_only_what_may_happen_twice(
    tooled: Server, model: ModelServer, at: Callable[[State], Scene], hooks: Path, tool: str
) -> None:
    client = Client(tooled).new_thread()
    model.script(reply(tool_calls((f"{tool}_and_die", {}))), "Again.")
    stream = client.send("Go").read()  # to the death of the worker, whose place gunicorn fills
    wait_until(tooled.answers)
    client.wait_ended(stream.run_id)
    frames = client.follow(stream.run_id).read().frames
    (result,) = [each for each in frames if each.get("type") == "toolCallResult"]
    expected = (["look", "look"], "look is done", False)
    if tool == "pay":
        expected = (["pay"], "Interrupted: the server was restarted. It may have happened.", True)
    assert ((hooks / "ran").read_text().split(), result["content"], result["isError"]) == expected
    assert client.history()[-1]["content"] == "Again."
    client.check_all()


@pytest.mark.parametrize("milliseconds", [1, 3, 5])
def test_a_kill_in_the_middle_of_answering_loses_no_answer_that_was_taken(
    at: Callable[[State], Scene], milliseconds: int
) -> None:
    scene = at(waiting_for_approval)
    request, codes = scene.request, []

    def respond() -> None:
        try:
            codes.append(scene.post("respond", {"requestId": request, "approved": True}))
        except OSError:
            codes.append(0)

    thread = threading.Thread(target=respond)
    thread.start()
    time.sleep(milliseconds / 1000)
    scene.client.server.kill()
    thread.join(20)
    scene.client.server.start()
    run = scene.client.run(scene.stream.run_id)
    if run["status"] == "waiting":
        assert codes == [0], "an answer that was taken is gone"
        assert scene.post("respond", {"requestId": request, "approved": True}) == 200
    frames = scene.finished()
    types = [each.get("type") for each in frames]
    assert types.count("inputReceived") == 1
    assert types.count("toolCallResult") == 1
    assert types[-1] == "finalizeResponseStream"


def test_a_life_lost_in_one_step_is_back_in_the_next(
    tooled: Server, model: ModelServer, at: Callable[[State], Scene], hooks: Path
) -> None:
    client = Client(tooled).new_thread()
    gate = model.gate()
    model.script(reply(tool_calls(("look_and_die", {}))), reply(gate, text("Well.")))
    stream = client.send("Go").read()
    gate.wait_reached()
    wait_until(lambda: tooled.rows("SELECT retries FROM run WHERE id = ?", stream.run_id) == [(1,)])
    tooled.kill()
    model.script(reply(text("It is "), text("well.")))
    tooled.start()
    client.wait_ended(stream.run_id)
    assert tooled.rows("SELECT retries FROM run WHERE id = ?", stream.run_id) == [(0,)], "the step got through"
    client.check_all()


def test_a_log_that_cannot_be_read_is_given_up_and_its_thread_goes_on(
    tooled: Server, model: ModelServer, at: Callable[[State], Scene]
) -> None:
    scene = at(waiting_for_an_answer)
    run = scene.stream.run_id
    scene.client.gone.add(run)
    wait_until(lambda: tooled.rows("SELECT rests FROM run WHERE id = ?", run) == [(1,)])
    tooled.kill()
    connection = sqlite3.connect(tooled.database)
    with connection:
        connection.execute("UPDATE block SET body = CAST('{}' AS BLOB) WHERE run_id = ?", (run,))
    connection.close()
    tooled.start()
    assert scene.client.post(f"/api/runs/{run}/stop").json()["error"]["code"] == "log_unreadable"
    wait_until(lambda: tooled.rows("SELECT ended_at FROM run WHERE id = ?", run) != [(None,)])
    assert scene.client.run(run)["status"] == "ended"
    scene.model._script.clear()
    scene.model.script("Yes.")
    assert scene.client.ask("Still there?").text == "Yes."


def test_a_step_that_kills_the_process_is_given_up_and_the_others_go_on(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path
) -> None:
    server = serve(model=model, app="tooled:app", HOOKS=str(tmp_path))
    client = Client(server)
    gates = [model.gate() for _ in range(3)]
    model.script(*[reply(text("Half"), gate) for gate in gates])
    others = [client.new_thread().send(f"Go {number}") for number in range(3)]
    for stream in others:
        stream.read_until("Half")
    model.answer = lambda question: reply(
        tool_calls(("die", {}))
        if "Die" in json.dumps(question["messages"]) and "tool" not in {m["role"] for m in question["messages"]}
        else text("Well.")
    )
    killer = client.new_thread().send("Die")
    killer.read()

    def is_given_up() -> bool:
        if not server.running:
            server.start()
        with suppress(requests.ConnectionError):  # it may die at any moment
            return bool(client.run(killer.run_id)["status"] == "ended")
        return False

    wait_until(is_given_up, 60)
    assert client.run(killer.run_id)["reason"] == "interrupted"
    assert (tmp_path / "ran").read_text().split() == ["die"] * 3
    for stream in others:
        assert client.wait_ended(stream.run_id)["reason"] == "completed"
        assert client.follow(stream.run_id).read().text == "Well."
    client.check_all()
