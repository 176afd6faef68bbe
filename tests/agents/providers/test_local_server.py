"""A model server that was found by itself may stop, come back, or have other models: another one is asked, and who
answers is said. No run that a model began is answered by the offline helper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from client import Stream
from local_rig import finding, until
from model_server import ModelServer, drop, reply, status, text, tool_calls
from server import Server

from deechat.agents.providers.base import Notice, Provider, Question, Scripted, Text, Turn
from deechat.agents.providers.chooser import Chooser
from deechat.agents.providers.local import LOOK_AGAIN, LOOK_SOON, MOVES, Local
from deechat.agents.providers.offline import OfflineProvider
from deechat.agents.providers.openai.faults import ADVICE, TABLE, Faults
from deechat.errors import ModelError
from deechat.messages import UserMessage

HELLO = Question([UserMessage("Hello")], model="old")
GONE = ModelError("cannot be reached", code="model_unreachable")


class Machine:
    """A machine whose model servers come and go: `runs` are their URLs in order, `looks` counts, `now` is the time."""

    def __init__(self, **servers: Provider) -> None:
        self.servers = servers
        self.runs: list[str] = list(servers)
        self.looks = 0
        self.now = 1_000.0
        self.local = Local(find=self._find, connect=self.servers.__getitem__, clock=lambda: self.now)

    def _find(self) -> str | None:
        self.looks += 1
        return next(iter(self.runs), None)

    def ask(self, question: Question = HELLO) -> list[Any]:
        return list(self.local.ask(question))


def test_a_server_that_answers_is_not_looked_for_again() -> None:
    machine = Machine(a=Scripted(*[[Text("x"), Turn("stop")]] * 3))
    for _ in range(3):
        machine.now += 100
        assert machine.local.is_there()
        assert machine.ask()[0] == Text("x")
    assert machine.looks == 1


def test_where_there_is_none_it_looks_now_and_then_only() -> None:
    machine = Machine()
    for _ in range(50):
        assert not machine.local.is_there()
        machine.now += 1
    assert machine.looks == 1 + 49 // int(LOOK_AGAIN)
    machine.servers["later"] = Scripted()
    machine.runs = ["later"]
    machine.now += LOOK_AGAIN
    assert machine.local.is_there()


def test_a_question_goes_on_at_another_server_with_its_own_model_if_nothing_was_shown() -> None:
    other = Scripted([Text("Hi"), Turn("stop")], model="new")
    other.model_for = lambda _: "new"  # type: ignore[method-assign]
    machine = Machine(a=Scripted([Notice("model_retry"), GONE]), b=other)
    assert machine.local.is_there()
    machine.runs = ["b"]
    parts = machine.ask()
    assert parts == [
        Notice("model_retry"),
        Notice("model_server_changed", {"before": "a", "server": "b", "model": "new"}),
        Text("Hi"),
        Turn("stop"),
    ]
    assert [question.model for question in other.asked] == ["new"]
    assert machine.local.lost is None


def test_what_was_shown_is_not_said_again_by_another() -> None:
    machine = Machine(a=Scripted([Text("Ha"), GONE]), b=Scripted([Text("no")]))
    machine.local.is_there()
    machine.runs = ["b"]
    with pytest.raises(ModelError, match="cannot be reached"):
        machine.ask()


def test_where_none_is_left_it_says_so_and_a_new_one_is_found_soon() -> None:
    machine = Machine(a=Scripted([GONE], [Text("back"), Turn("stop")]))
    machine.local.is_there()
    machine.runs = []
    with pytest.raises(ModelError) as caught:
        machine.ask()
    words = "The model server at a that was found on this machine no longer answers; no other one runs here."
    assert caught.value.message.startswith(words)
    assert caught.value.code == "model_unreachable"
    assert "OPENAI" not in caught.value.message
    assert machine.looks == 2
    for _ in range(5):
        assert not machine.local.is_there()
    assert machine.looks == 2
    machine.runs = ["a"]
    machine.now += LOOK_SOON
    assert machine.local.is_there()
    assert machine.local.lost is None
    assert machine.ask()[0] == Text("back")


def test_a_server_that_breaks_off_before_its_first_word_is_asked_once_more_where_it_is_gone() -> None:
    broken = ModelError("broken off", code="model_protocol")
    still = Machine(a=Scripted([broken], [Text("no")]))
    still.local.is_there()
    with pytest.raises(ModelError, match="broken off"):  # it runs, so that is its answer
        still.ask()
    gone = Machine(a=Scripted([broken], [GONE]), b=Scripted([Text("Hi"), Turn("stop")]))
    gone.local.is_there()
    gone.runs = ["b"]
    assert Text("Hi") in gone.ask()


def test_servers_that_come_and_go_are_not_asked_for_ever() -> None:
    machine = Machine(a=Scripted(*[[GONE]] * 9), b=Scripted(*[[GONE]] * 9))
    moves = 0
    machine.local.is_there()
    machine.runs = ["b", "a"]
    with suppress(ModelError):
        for part in machine.local.ask(HELLO):
            assert isinstance(part, Notice)
            moves += 1
            machine.runs.reverse()
    assert moves == MOVES - 1


# -- who answers -------------------------------------------------------------------------------------------------------


def test_a_run_stays_with_the_kind_that_began_it() -> None:
    machine, offline = Machine(a=Scripted()), OfflineProvider()
    chooser = Chooser(fixed=None, offline=offline, local=machine.local)
    assert chooser.current() is machine.local
    assert chooser.of_run("offline") is offline
    assert chooser.of_run("qwen") is machine.local
    assert chooser.of_run(None) is machine.local
    assert chooser.going_on("offline") is machine.local  # a new run, that may have more than the one before
    machine.runs, machine.local._server = [], None
    machine.now += LOOK_AGAIN
    assert chooser.current().name == "offline"
    assert chooser.of_run("qwen") is machine.local
    assert chooser.going_on("qwen") is machine.local
    with pytest.raises(ModelError, match="none runs here now"):
        list(chooser.of_run("qwen").ask(HELLO))


def test_the_offline_helper_of_the_settings_does_not_answer_for_a_model_either() -> None:
    offline = OfflineProvider()
    chooser = Chooser(fixed=offline, offline=offline, local=Machine().local)
    assert chooser.of_run("offline") is offline
    with pytest.raises(ModelError, match="begun with the model qwen, and DEECHAT_PROVIDER is 'offline'"):
        chooser.of_run("qwen")


@pytest.mark.parametrize("origin", ["default", "found"])
def test_no_setting_is_blamed_that_nobody_made(origin: Any) -> None:
    assert all("Check OPENAI_BASE_URL" not in words for words in ADVICE[origin].values())
    assert not [row.words for row in TABLE if "OPENAI_" in row.words or "DEECHAT_" in row.words]
    assert Faults("http://x", (), origin).advice is ADVICE[origin]


# -- with servers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[ModelServer, ModelServer]]:
    with ModelServer() as first, ModelServer() as second:
        first.models, second.models = ["first-1"], ["second-1"]
        yield first, second


def codes(stream: Stream) -> list[str]:
    return [frame["code"] for frame in stream.frames if frame.get("type") == "statusResponse"]


def ending(stream: Stream) -> dict[str, Any]:
    assert stream.ending is not None
    return stream.ending


def test_an_answer_goes_on_at_another_server_and_the_first_is_found_when_it_comes_back(
    serve: Callable[..., Server], pair: tuple[ModelServer, ModelServer]
) -> None:
    first, second = pair
    client = finding(serve, first, second)
    client.post("/api/workspace/default/update", {"model": "first-1"})
    first.script(reply(tool_calls(("calculator", {"expression": "6*7"}))))
    first.script(reply("Yes."))
    assert client.ask("Hello").frames[0]["model"] == "first-1"

    # It ends between two questions; the workspace's model is one of its own.
    first.end()
    second.script("Second here.", "Again.")
    answer = client.ask("Still there?")
    assert answer.text == "Second here."
    assert codes(answer)[-1] == "model_server_changed"
    said = next(frame for frame in answer.frames if frame.get("code") == "model_server_changed")
    assert f"http://127.0.0.1:{first.port} no longer answers" in said["textResponse"]
    assert second.asked[-1]["model"] == "second-1"
    assert ending(answer)["metrics"]["model"] == "second-1"
    assert client.history()[-1]["metrics"]["model"] == "second-1"
    models = client.get("/api/models")
    assert (models["current"], models["provider"], models["found"]) == ("second-1", "openai", True)

    # From now on it is asked at once, and by its own name.
    asked = first.connections
    answer = client.ask("And now?")
    assert (answer.text, codes(answer)) == ("Again.", [])
    assert first.connections == asked

    # Both are gone: a new question is answered without a model, and says so; what a model began is not.
    second.end()
    failed = client.ask("Anyone?")
    assert ending(failed)["code"] == "model_unreachable"
    assert f"The model server at http://127.0.0.1:{second.port} that was found" in ending(failed)["error"]
    assert "OPENAI" not in ending(failed)["error"]
    assert client.get("/api/models")["provider"] == "offline"
    again = client.go_on(failed.run_id).read()
    assert ending(again)["code"] == "model_unreachable"
    offline = client.ask("What is 17% of 2,340?")
    assert offline.frames[0]["model"] == "offline"
    assert codes(offline)[0] == "model_server_gone"

    # The first one comes back, with its model.
    first.listen()
    until(lambda: client.get("/api/models")["current"] == "first-1")
    first.script("Here I am.")
    answer = client.ask("Hello again")
    assert (answer.text, answer.frames[0]["model"]) == ("Here I am.", "first-1")
    client.check_all()


def test_a_server_that_ends_before_the_first_word_of_a_step_is_followed_by_another_in_the_same_run(
    serve: Callable[..., Server], pair: tuple[ModelServer, ModelServer]
) -> None:
    first, second = pair
    client = finding(serve, first, second)

    def leave(connection: Any) -> None:
        first.end()  # not this connection alone: a program that ends takes the idle ones of the pool with it
        drop()(connection)

    first.script(reply(text("Let me see."), tool_calls(("calculator", {"expression": "6*7"}))), reply(leave))
    second.script("It is 42.")
    answer = client.ask("6*7?")
    assert answer.text == "Let me see.\n\nIt is 42."
    assert ending(answer)["reason"] == "completed"
    assert "model_server_changed" in codes(answer)
    assert "stepRestarted" not in answer.types
    assert [message["role"] for message in second.asked[-1]["messages"]][1:] == ["user", "assistant", "tool"]
    client.check_all()


def test_a_server_that_comes_back_with_another_model_answers_with_that_and_says_so(
    serve: Callable[..., Server], pair: tuple[ModelServer, ModelServer]
) -> None:
    first, _ = pair
    client = finding(serve, first)
    first.script("One.")
    assert client.ask("Hello").frames[0]["model"] == "first-1"
    first.models = ["first-2"]

    def rule(question: Any) -> Any:

        known = question["model"] == "first-2"
        return "Two." if known else status(404, f"model '{question['model']}' not found, try pulling it first")

    first.answer = rule
    answer = client.ask("And now?")
    assert (answer.text, codes(answer)) == ("Two.", ["model_changed"])
    assert ending(answer)["metrics"]["model"] == "first-2"
    assert client.get("/api/models")["current"] == "first-2"
    answer = client.ask("And then?")
    assert (answer.frames[0]["model"], codes(answer)) == ("first-2", [])
    client.post("/api/workspace/default/update", {"model": "first-1"})  # as it was chosen before
    answer = client.ask("With the old one")
    assert (answer.text, ending(answer)["metrics"]["model"]) == ("Two.", "first-2")
    client.check_all()


def test_a_run_that_a_model_began_waits_for_a_model_across_a_restart(
    serve: Callable[..., Server], pair: tuple[ModelServer, ModelServer]
) -> None:
    first, _ = pair
    client = finding(serve, first)
    first.script(reply(tool_calls(("ask_user", {"questions": [{"kind": "input", "question": "Where?"}]}))))
    stream = client.send("Weather")
    request = stream.read_until("clarificationRequest").data
    assert request is not None
    client.server.kill()
    first.end()
    client.server.start()
    body = {"requestId": request["requestId"], "skipped": True}
    assert client.post(f"/api/runs/{stream.run_id}/respond", body).status_code == 200
    run = client.wait_ended(stream.run_id)
    assert run["reason"] == "failed"
    message = client.history()[-1]
    assert "begun with a model server that was found on this machine" in message["error"]
    assert message["content"] == ""
    first.listen()
    first.script("Sunny.")
    assert client.go_on(stream.run_id).read().text == "Sunny."


def test_a_server_is_never_its_own_model_server(serve: Callable[..., Server]) -> None:
    with ModelServer() as other:
        client = finding(serve, other)
        # Served on another port than PORT says: what it listens on counts.
        server = client.server
        server.kill()
        server.settings["PORTS"] = f"{server.port},{other.port}"
        server.settings["DEECHAT_LOG_LEVEL"] = "debug"
        server.start()
        other.script("Hello.")
        assert client.ask("Hi").text == "Hello."
        assert "/v1/models" not in server.log
