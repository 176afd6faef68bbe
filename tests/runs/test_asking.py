"""The agent asks and a person answers: questions, approvals, policies, and who is first."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client import Client, Stream
from model_server import ModelServer, reply, text, tool_calls
from server import Server, wait_until

LOOK = ("look", {"at": "it"})


@pytest.fixture(scope="module")
def asking_server(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from conftest import _run, model_settings

    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "go").touch()
    settings = model_settings(shared_model) | {"HOOKS": str(hooks)}
    yield from _run(tmp_path_factory.mktemp("asking"), app="tooled:app", **settings)


@pytest.fixture
def asking(asking_server: Server, model: ModelServer) -> Iterator[Client]:
    """A client in a workspace of its own, where `look` and `pay` need a yes."""
    client = Client(asking_server)
    client.workspace = client.post("/api/workspace/new", {"name": "Mine"}).json()["workspace"]["slug"]
    policies(client, look="ask", pay="ask")
    client = client.new_thread()
    yield client
    client.check_all()


def policies(client: Client, **tools: str) -> None:
    assert client.post(f"/api/workspace/{client.workspace}/update", {"tools": tools}).status_code == 200


def set_policies(client: Client) -> dict[str, str]:
    return client.get(f"/api/workspace/{client.workspace}")["workspace"]["tools"]  # type: ignore[no-any-return]


def asked(client: Client, model: ModelServer, *calls: tuple[str, Any], then: str = "Done.") -> Stream:
    """Lets the model make these calls, and reads until the run waits."""
    model.script(reply(tool_calls(*calls)), then, "And more.")
    stream = client.send("Go")
    for block in stream:
        if block.seq and client.run(stream.run_id)["status"] == "waiting":
            break
    while stream.last_seq < client.run(stream.run_id)["lastEventId"]:
        next(iter(stream))
    return stream


def requests_of(stream: Stream) -> list[Any]:
    return [frame for frame in stream.frames if "requestId" in frame and frame["type"] != "inputReceived"]


def respond(client: Client, stream: Stream, request: Any, **body: Any) -> Any:
    return client.post(f"/api/runs/{stream.run_id}/respond", {"requestId": request["requestId"], **body})


def results_of(stream: Stream) -> list[Any]:
    return [frame for frame in stream.frames if frame.get("type") == "toolCallResult"]


# -- approvals ---------------------------------------------------------------------------------------------------------


def test_the_request_shows_name_arguments_and_what_will_happen(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK)
    (request,) = requests_of(stream)
    assert (request["skillName"], request["payload"]) == ("look", {"at": "it"})
    assert "look" in request["description"]
    assert "toolCallInvocation" not in stream.types, "it ran before anyone said yes"
    assert respond(asking, stream, request, approved=True).status_code == 200
    types = [frame.get("type") for frame in stream.read().frames]
    tail = ["inputReceived", "statusResponse", "toolCallInvocation", "toolCallResult", "stepStarted"]
    assert types[types.index("inputReceived") :][:5] == tail
    received = next(frame for frame in stream.frames if frame.get("type") == "inputReceived")
    assert (received["approved"], received["summary"]) == (True, "Approved")
    assert "answers" not in received


def test_edited_arguments_are_those_that_are_used(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK)
    (request,) = requests_of(stream)
    assert respond(asking, stream, request, approved=True, arguments={"at": "that"}).status_code == 200
    used = next(frame for frame in stream.read().frames if frame.get("type") == "toolCallInvocation")
    assert used["arguments"] == {"at": "that"}
    assert asking.history()[-1]["toolCalls"][0]["arguments"] == {"at": "that"}
    for asked_then in range(2):  # in this run, and in later turns
        (call,) = [call for each in model.asked[-1]["messages"] for call in each.get("tool_calls") or ()]
        assert json.loads(call["function"]["arguments"]) == {"at": "that"}, "the result is not of what is shown"
        if not asked_then:
            asking.ask("And?")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:8201/", "127.0.0.1 is not an address of the public Internet, so it is refused."),
        ("http://127.0.0.1/", "127.0.0.1 is not an address of the public Internet, so it is refused."),
        ("http://localhost/", "Only public hosts are fetched from."),
        ("file:///etc/passwd", "The scheme 'file' is not fetched."),
    ],
)
def test_edited_arguments_that_are_never_fetched_are_refused_in_the_tool_s_own_words(
    asking: Client, model: ModelServer, url: str, words: str
) -> None:
    stream = asked(asking, model, ("web_fetch", {"url": "https://one.invalid/"}))
    (request,) = requests_of(stream)
    for always in (False, True):
        response = respond(asking, stream, request, approved=True, arguments={"url": url}, always=always)
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
    assert respond(asking, stream, request, approved=False).status_code == 200
    stream.read()


def test_nobody_is_asked_about_a_private_address(asking: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(("web_fetch", {"url": "http://127.0.0.1/"}))), "Well.")
    stream = asking.send("Go").read()
    assert requests_of(stream) == []
    (result,) = results_of(stream)
    assert result["content"] == "127.0.0.1 is not an address of the public Internet, so it is refused."


def test_a_refused_call_is_a_result_that_the_model_can_work_with(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK)
    respond(asking, stream, requests_of(stream)[0], approved=False)
    (result,) = results_of(stream.read())
    assert result["isError"]
    assert "refused" in result["content"]
    assert "toolCallInvocation" not in stream.types
    assert "refused" in model.asked[-1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"approved": None},
        {"approved": "yes"},
        {"approved": 1},
        {"answers": []},
        {"skipped": True},
        {"approved": True, "arguments": []},
        {"approved": True, "arguments": {"at": 5, "what": 1}},
        {"approved": True, "arguments": "at"},
        {"approved": True, "always": "yes"},
        {"approved": False, "always": True},
    ],
)
def test_an_answer_that_does_not_fit_is_400_and_the_request_stays_open(
    asking: Client, model: ModelServer, body: dict[str, Any]
) -> None:
    stream = asked(asking, model, LOOK)
    (request,) = requests_of(stream)
    response = respond(asking, stream, request, **body)
    assert response.status_code == 400, response.text
    assert asking.run(stream.run_id)["pending"] == [request]
    assert respond(asking, stream, request, approved=False).status_code == 200
    stream.read()


def test_several_requests_are_answered_in_any_order_and_run_after_the_last(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK, ("calculator", {"expression": "1+1"}), ("pay", {"amount": 3}))
    look, pay = requests_of(stream)
    assert [each["content"] for each in results_of(stream)] == ["2"], "what needs no yes was kept waiting"
    assert respond(asking, stream, pay, approved=True).status_code == 200
    assert asking.run(stream.run_id)["pending"] == [look]
    assert asking.run(stream.run_id)["status"] == "waiting"
    assert respond(asking, stream, look, approved=True).status_code == 200
    types = [frame.get("type") for frame in stream.read().frames]
    last = len(types) - types[::-1].index("inputReceived")
    assert types[last:].count("toolCallInvocation") == 2
    sent = [each["content"] for each in model.asked[-1]["messages"] if each["role"] == "tool"]
    assert sent == ["look is done", "2", "pay is done"], "not in the model's order"


def test_an_approved_call_does_not_wait_for_a_slow_one_beside_it(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path
) -> None:
    client = Client(serve(model=model, app="tooled:app", HOOKS=str(tmp_path)))
    policies(client, pay="ask")
    model.script(reply(tool_calls(LOOK, ("pay", {}))), "Done.")
    stream = client.send("Go")
    request = stream.read_until("toolApprovalRequest").data
    stream.read_until("toolCallInvocation") if "toolCallInvocation" not in stream.types else None
    assert respond(client, stream, request, approved=True).status_code == 200
    ran, deadline = tmp_path / "ran", time.monotonic() + 20
    while not ran.exists() or ran.read_text().split() != ["look", "pay"]:
        assert time.monotonic() < deadline, "the approved call waited for the other one"
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert stream.read().frames[-1]["type"] == "finalizeResponseStream"
    client.check_all()


def test_what_was_approved_is_not_said_to_be_unanswered(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK, ("pay", {}))
    look, _pay = requests_of(stream)
    respond(asking, stream, look, approved=True)
    asking.stop(stream.run_id)
    contents = {frame["name"]: frame["content"] for frame in results_of(stream.read())}
    assert "not started" in contents["look"]
    assert "not answered" in contents["pay"]


def test_edited_arguments_have_a_bound(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK)
    (request,) = requests_of(stream)
    assert respond(asking, stream, request, approved=True, arguments={"at": "x" * 100_000}).status_code == 400
    respond(asking, stream, request, approved=False)
    stream.read()


def test_a_workspace_that_is_deleted_lets_its_waiting_runs_and_their_viewers_go(
    asking: Client, model: ModelServer
) -> None:
    stream = asked(asking, model, LOOK)
    asking.gone.add(stream.run_id)
    assert asking.call("DELETE", f"/api/workspace/{asking.workspace}").status_code == 200
    assert stream.read().frames[-1]["type"] == "stopGeneration"
    assert asking.call("DELETE", f"/api/workspace/{asking.workspace}").status_code == 404


def test_always_changes_the_policy_of_this_workspace(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK)
    respond(asking, stream, requests_of(stream)[0], approved=True, always=True)
    stream.read()
    assert set_policies(asking) == {"pay": "ask"}, "look's own policy is allow"
    model._script.clear()
    model.script(reply(tool_calls(LOOK)), "Again.")
    assert asking.ask("Again").frames[-1]["type"] == "finalizeResponseStream"


def test_a_tool_denied_meanwhile_is_not_run_whatever_was_said(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, LOOK, ("pay", {}))
    look, pay = requests_of(stream)
    respond(asking, stream, look, approved=True)
    policies(asking, look="deny", pay="ask")
    respond(asking, stream, pay, approved=True)
    contents = {frame["name"]: frame["content"] for frame in results_of(stream.read())}
    assert "switched off" in contents["look"]
    assert contents["pay"] == "pay is done"


def test_the_tools_of_a_workspace_are_listed_with_their_policies(asking: Client) -> None:
    tools = {each["name"]: each for each in asking.get(f"/api/workspace/{asking.workspace}/tools")["tools"]}
    assert (tools["look"]["default"], tools["look"]["policy"]) == ("allow", "ask")
    assert (tools["ask_user"]["default"], tools["ask_user"]["policy"]) == ("allow", "allow")
    assert tools["calculator"]["description"]


# -- questions ---------------------------------------------------------------------------------------------------------

QUESTIONS = [
    {"kind": "input", "question": "Which city?", "inputType": "text", "placeholder": "Paris"},
    {"kind": "choice", "question": "Which way?", "options": ["Train", "Plane"]},
    {"kind": "choice", "question": "With whom?", "options": ["Ann", "Bob"], "multiSelect": True, "allowOther": True},
    {"kind": "input", "question": "How many?", "inputType": "number"},
]


def test_questions_of_each_kind_are_asked_and_answered(asking: Client, model: ModelServer) -> None:
    stream = asked(asking, model, ("ask_user", {"questions": QUESTIONS}))
    (request,) = requests_of(stream)
    assert request["allowSkip"] is True
    assert request["questions"][0] == QUESTIONS[0]
    assert request["questions"][1] == {
        **QUESTIONS[1],
        "optionDescriptions": [],
        "multiSelect": False,
        "allowOther": False,
    }
    answers = [
        {"skipped": False, "answer": "Rome"},
        {"skipped": True},
        {"answer": ["Bob", "Eve"]},
        {"skipped": False, "answer": 2},
    ]
    assert respond(asking, stream, request, answers=answers).status_code == 200
    received = next(frame for frame in stream.read().frames if frame.get("type") == "inputReceived")
    assert received["answers"][2] == {"skipped": False, "answer": ["Bob", "Eve"]}
    assert received["summary"] == "Rome; Bob, Eve; 2"
    (result,) = results_of(stream)
    assert result["content"] == "Which city?: Rome\nWhich way?: (skipped)\nWith whom?: Bob, Eve\nHow many?: 2"
    assert not result["isError"]


@pytest.mark.parametrize(
    "answers",
    [
        None,
        "Rome",
        [],
        [{"answer": "Rome"}],
        [{"answer": "Rome"}] * 5,
        ["Rome", "Train", ["Ann"], 2],
        [{"answer": ""}, {"answer": "Train"}, {"answer": ["Ann"]}, {"answer": 2}],
        [{"answer": "Rome"}, {"answer": "Bus"}, {"answer": ["Ann"]}, {"answer": 2}],
        [{"answer": "Rome"}, {"answer": ["Train"]}, {"answer": ["Ann"]}, {"answer": 2}],
        [{"answer": "Rome"}, {"answer": "Train"}, {"answer": []}, {"answer": 2}],
        [{"answer": "Rome"}, {"answer": "Train"}, {"answer": [1]}, {"answer": 2}],
        [{"answer": "Rome"}, {"answer": "Train"}, {"answer": ["Ann"]}, {"answer": "two"}],
        [{"answer": "Rome"}, {"answer": "Train"}, {"answer": ["Ann"]}, {"answer": True}],
        [{"answer": "Rome", "skipped": "no"}, {"answer": "Train"}, {"answer": ["Ann"]}, {"answer": 2}],
        [{"answer": "x" * 20_001}, {"answer": "Train"}, {"answer": ["Ann"]}, {"answer": 2}],
    ],
)
def test_answers_that_do_not_fit_are_400_and_the_questions_stay_open(
    asking: Client, model: ModelServer, answers: Any
) -> None:
    stream = asked(asking, model, ("ask_user", {"questions": QUESTIONS}))
    (request,) = requests_of(stream)
    assert respond(asking, stream, request, answers=answers).status_code == 400
    assert respond(asking, stream, request, approved=True).status_code == 400
    assert respond(asking, stream, request, skipped=True).status_code == 200
    (result,) = results_of(stream.read())
    assert result["content"].count("(skipped)") == 4


@pytest.mark.parametrize(
    "questions",
    [
        [],
        [QUESTIONS[0]] * 5,
        [{"question": " "}],
        [{"question": "Which?", "kind": "choice", "options": ["one"]}],
        [{"question": "Which?", "kind": "choice", "options": ["one", "one"]}],
        [{"question": "Which?", "kind": "riddle"}],
        ["Which?"],
        "Which?",
    ],
)
def test_questions_that_do_not_fit_go_back_to_the_model(asking: Client, model: ModelServer, questions: Any) -> None:
    model.script(reply(tool_calls(("ask_user", {"questions": questions}))), "Well.")
    stream = asking.ask("Go")
    (result,) = results_of(stream)
    assert result["isError"]
    assert "clarificationRequest" not in stream.types


# -- who is first ------------------------------------------------------------------------------------------------------


def at_once(*works: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(works))
    answers: list[Any] = [None] * len(works)

    def run(index: int) -> None:
        barrier.wait()
        answers[index] = works[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_of_two_answers_at_once_one_wins_a_hundred_times(asking: Client, model: ModelServer) -> None:
    model.answer = lambda question: (
        reply(text("Fine.")) if question["messages"][-1]["role"] == "tool" else reply(tool_calls(LOOK))
    )
    for number in range(100):
        stream = asking.send(f"Go {number}")
        request = stream.read_until("toolApprovalRequest").data
        answers = at_once(
            lambda s=stream, r=request: respond(asking, s, r, approved=True).status_code,
            lambda s=stream, r=request: respond(asking, s, r, approved=False).status_code,
        )
        assert sorted(answers) == [200, 409]
        (result,) = results_of(stream.read())
        assert result["isError"] == (answers[1] == 200)
    asking.streams[:] = asking.streams[-10:]


def test_an_answer_and_a_stop_at_once_make_one_ending_a_hundred_times(asking: Client, model: ModelServer) -> None:
    model.answer = lambda question: (
        reply(text("Fine.")) if question["messages"][-1]["role"] == "tool" else reply(tool_calls(LOOK))
    )
    for number in range(100):
        stream = asking.send(f"Go {number}")
        request = stream.read_until("toolApprovalRequest").data
        answered, stopped = at_once(
            lambda s=stream, r=request: respond(asking, s, r, approved=True).status_code,
            lambda s=stream: asking.stop(s.run_id)["stopped"],
        )
        ending = stream.read().frames[-1]["type"]
        assert ending == ("stopGeneration" if stopped else "finalizeResponseStream")
        assert answered == 200 or (answered == 409 and stopped)
    asking.streams[:] = asking.streams[-10:]


def test_waiting_runs_cost_no_place_and_no_memory(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model, DEECHAT_MAX_RUNS="2")
    client = Client(server)
    model.answer = lambda _question: reply(tool_calls(("ask_user", {"questions": [QUESTIONS[0]]})))
    before = 0
    for number in range(150):
        stream = client.new_thread().send("Go")
        stream.read_until("clarificationRequest")
        stream.close()
        before = before or (resident(server) if number == 20 else 0)
    client.streams.clear()
    assert resident(server) - before < 10_000_000  # 5,000 of them took 10 MB more
    wait_until(lambda: server.rows("SELECT count(*) FROM run WHERE ended_at IS NULL AND rests = 1") == [(150,)])


def resident(server: Server) -> int:
    (worker,) = server.workers
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096
