"""A run over a WebSocket: what the page is told, what it says, and how it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from client import Client
from model_server import ModelServer, reply, status, text, tool_calls
from raw_socket import RawSocket
from raw_socket import closing as close_frame
from server import Server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

Message = dict[str, Any]
QUESTION = {"kind": "input", "question": "Where?", "inputType": "text", "placeholder": ""}


@pytest.fixture(scope="module")
def socket_server(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from conftest import _run, model_settings

    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "go").touch()
    settings = model_settings(shared_model) | {"HOOKS": str(hooks), "DEECHAT_TRANSPORT": "websocket"}
    yield from _run(tmp_path_factory.mktemp("sockets"), app="tooled:app", **settings)


@pytest.fixture
def page(socket_server: Server, model: ModelServer) -> Iterator[Page]:
    """A page in a workspace of its own, where `look` needs a yes."""
    client = Client(socket_server)
    client.workspace = client.post("/api/workspace/new", {"name": "Mine"}).json()["workspace"]["slug"]
    client.post(f"/api/workspace/{client.workspace}/update", {"tools": {"look": "ask"}})
    with ExitStack() as stack:
        yield Page(client.new_thread(), stack)


class Shown(dict[str, Any]):
    """A message on the page."""


class Page:
    """A page as AnythingLLM's keeps its list of messages, by the rules of its reducer."""

    def __init__(self, client: Client, stack: ExitStack) -> None:
        self.client = client
        self._stack = stack
        self.shown: list[Shown] = []
        self.got: list[Message] = []
        self.socket: ClientConnection
        self.runs: list[str] = []

    def prompt(self, message: str, **body: Any) -> list[Message]:
        """Sends a prompt over HTTP, gives the frames of the answer, and connects where they say so."""
        path = f"{self.client.thread_path}/stream-chat"
        with closing(self.client.post(path, {"message": message, **body}, stream=True)) as response:
            assert response.status_code == 200, response.text
            lines = [line for line in response.iter_lines() if line.startswith(b"data: ")]
        frames = [json.loads(line.removeprefix(b"data: ")) for line in lines]
        for frame in frames:
            if frame.get("type") == "agentInitWebsocketConnection":
                self.runs.append(response.headers["X-Run-Id"])
                assert frame["websocketUUID"].startswith(self.runs[-1])
                self.connect(frame["websocketUUID"])
        return frames

    def connect(self, address: str) -> None:
        url = f"ws://127.0.0.1:{self.client.server.port}/api/agent-invocation/{address}"
        self.socket = self._stack.enter_context(connect(url, max_size=None))

    def another(self, address: str | None = None, seen: Iterable[Message] = ()) -> Page:
        """Gives a second page of the run, which has seen these messages."""
        other = Page(self.client, self._stack)
        other.runs = self.runs
        for message in seen:
            other._reduce(message)
        other.connect(address or self.runs[-1])
        return other

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def read_until(self, done: Callable[[Message], object]) -> Message:
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            self.got.append(message)
            self._reduce(message)
            if done(message):
                return message

    def read_until_type(self, kind: str) -> Message:
        return self.read_until(lambda message: message["type"] == kind)

    def read_close(self) -> int | None:
        """Reads to the end and gives the server's close code."""
        try:
            while True:
                self.read_until(lambda message: False)
        except ConnectionClosed as exc:
            return exc.rcvd.code if exc.rcvd else None

    @property
    def text(self) -> str:
        return "".join(each["content"] for each in self.shown if each["type"] == "textResponse")

    def _reduce(self, message: Message) -> None:
        if message["type"] == "reportStreamEvent":
            self._reduce_report(message["content"])
        elif message["type"] in {"statusResponse", "wssFailure"}:
            self.shown.append(Shown(type=message["type"], content=message["content"]))

    def _reduce_report(self, message: Message) -> None:
        kind, uuid, content = message["type"], message["uuid"], message.get("content", "")
        known = next((each for each in self.shown if each.get("uuid") == uuid), None)
        if kind == "removeStatusResponse":
            self.shown = [each for each in self.shown if each.get("uuid") != uuid]
        elif known is None:
            assert content, f"the page would make an empty status of {kind}"
            is_text = kind in {"fullTextResponse", "textResponseChunk"}
            self.shown.append(Shown(type="textResponse" if is_text else "statusResponse", uuid=uuid, content=content))
        elif kind == "toolCallInvocation":
            self.shown.remove(known)
            self.shown.append(Shown(known, content=content))
        elif kind in {"usageMetrics", "chatId", "citations"}:
            known.update(message, type=known["type"])
        else:
            assert kind == "textResponseChunk", "anything else would be appended as a status"
            known["content"] += content


def asked(page: Page, model: ModelServer, *then: Any) -> Message:
    """Lets the model want to look, for which a person is asked."""
    model.script(reply(text("Let me "), text("see."), tool_calls(("look", {"at": "it"}))), *then)
    page.prompt("Look")
    return page.read_until_type("toolApprovalRequest")


# -- websocket ---------------------------------------------------------------------------------------------------------


def test_a_prompt_is_answered_over_the_socket_and_the_next_on_the_same_one(page: Page, model: ModelServer) -> None:
    model.script(reply(text("Hello "), text("you.")), "Again.")
    init, word = page.prompt("Hi")
    assert (init["type"], init["close"]) == ("agentInitWebsocketConnection", False)
    assert (word["type"], word["close"]) == ("statusResponse", True)
    page.read_until_type("WAITING_ON_INPUT")
    assert page.text == "Hello you."
    answer = page.client.history()[-1]
    (shown,) = [each for each in page.shown if each["type"] == "textResponse"]
    assert (shown["chatId"], shown["metrics"]["model"]) == (answer["chatId"], answer["metrics"]["model"])
    assert {"type": "rename_thread", "content": {"slug": page.client.thread, "name": "Hi"}} in [
        {key: value for key, value in each.items() if key != "seq"} for each in page.got
    ]
    page.say("awaitingFeedback", feedback="And now?", attachments=[])
    page.read_until_type("WAITING_ON_INPUT")
    assert page.text == "Hello you.Again."
    assert [each["content"] for each in page.client.history()] == ["Hi", "Hello you.", "And now?", "Again."]


def test_thinking_is_folded_text_of_its_own(page: Page, model: ModelServer) -> None:
    page.client.post(f"/api/workspace/{page.client.workspace}/update", {"tools": {"look": "allow"}})
    think = [{"choices": [{"index": 0, "delta": {"reasoning_content": each}}]} for each in ("Hm, ", "so.")]
    model.script(reply(*think, text("Wait."), tool_calls(("look", {"at": "it"}))), reply(*think, text("It is there.")))
    page.prompt("Look")
    page.read_until_type("WAITING_ON_INPUT")
    texts = [each["content"] for each in page.shown if each["type"] == "textResponse"]
    assert texts == ["<think>Hm, so.</think>Wait.", "<think>Hm, so.</think>\n\nIt is there."]
    (call,) = [each["content"] for each in page.shown if each.get("content", "").startswith("look(")]
    assert call == 'look({"at":"it"}) → look is done'


def test_an_approval_and_a_question_are_answered_over_the_socket(page: Page, model: ModelServer) -> None:
    request = asked(page, model, reply(tool_calls(("ask_user", {"questions": [QUESTION]}))), "In the garden.")
    assert (request["skillName"], request["payload"]) == ("look", {"at": "it"})
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    question = page.read_until_type("clarificationRequest")
    assert question["questions"][0]["question"] == "Where?"
    page.say(
        "clarificationResponse",
        requestId=question["requestId"],
        skipped=False,
        answers=[{"skipped": False, "answer": "Here"}],
    )
    page.read_until_type("WAITING_ON_INPUT")
    assert page.text.endswith("In the garden.")


def test_a_refusal_is_one_and_an_answer_that_comes_second_is_told_in_words(page: Page, model: ModelServer) -> None:
    request = asked(page, model, "Then not.")
    other = page.another()
    other.read_until_type("toolApprovalRequest")
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=False)
    page.read_until_type("WAITING_ON_INPUT")
    other.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    assert "already" in other.read_until_type("wssFailure")["content"]
    other.read_until_type("WAITING_ON_INPUT")
    assert page.text == other.text == "Let me see.\n\nThen not."


def test_a_message_joins_the_run_that_waits_and_a_viewer_who_comes_late_is_not_asked_again(
    page: Page, model: ModelServer
) -> None:
    request = asked(page, model, "Done.")
    page.say("awaitingFeedback", feedback="Be quick")
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    page.read_until_type("WAITING_ON_INPUT")
    assert "Be quick" in json.dumps(model.requests[-1].body)
    late = page.another()
    late.read_until_type("WAITING_ON_INPUT")
    assert "toolApprovalRequest" not in {each["type"] for each in late.got}
    assert late.text == page.text


def test_a_viewer_goes_on_after_each_of_its_cursors(page: Page, model: ModelServer) -> None:
    request = asked(page, model, reply(text("Do"), text("ne.")))
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    page.read_until_type("WAITING_ON_INPUT")
    cursors = [each["seq"] for each in page.got if "seq" in each]
    assert cursors == sorted(set(cursors))
    for cursor in cursors[:-1]:
        at = [each.get("seq") for each in page.got].index(cursor) + 1
        seen, rest = page.got[:at], page.got[at:]
        other = page.another(f"{page.runs[-1]}?after={cursor}", seen)
        other.read_until_type("WAITING_ON_INPUT")
        assert other.text == page.text
        assert other.got == [each for each in rest if each["type"] != "toolApprovalRequest"]
    beyond = page.another(f"{page.runs[-1]}?after=9999")
    beyond.read_until_type("WAITING_ON_INPUT")
    assert beyond.text == page.text


@pytest.mark.parametrize("word", ["/exit", "stop", " /Reset "])
def test_a_word_ends_the_run_and_the_session(word: str, page: Page, model: ModelServer) -> None:
    asked(page, model)
    page.say("awaitingFeedback", feedback=word)
    assert page.read_close() == 1000
    assert page.client.wait_ended(page.runs[-1])["reason"] == "stopped"


@pytest.mark.parametrize(("code", "stops"), [(1000, True), (None, True), (1001, False), (0, False)])
def test_a_stop_button_stops_and_a_page_that_is_left_does_not(
    code: int | None, stops: bool, page: Page, model: ModelServer
) -> None:
    request = asked(page, model, "Done.")
    path = f"/api/agent-invocation/{page.runs[-1]}"
    with RawSocket(page.client.server.port, path) as raw:
        if code == 0:
            raw.reset()  # the network is lost
        else:
            raw.send(close_frame(code))
            assert raw.read_close() == code
            assert raw.at_end()
    if stops:
        assert page.client.wait_ended(page.runs[-1])["reason"] == "stopped"
        assert page.read_close() == 1000
    else:
        page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
        page.read_until_type("WAITING_ON_INPUT")
        assert page.text.endswith("Done.")


def test_a_run_that_fails_says_why_and_the_socket_ends(page: Page, model: ModelServer) -> None:
    model.script(status(401, {"error": {"message": "no"}}))
    page.prompt("Hi")
    assert page.read_close() == 1000
    assert page.shown[-1]["type"] == "wssFailure"
    assert "key" in page.shown[-1]["content"]


def test_nonsense_is_told_in_words_and_the_run_goes_on(page: Page, model: ModelServer) -> None:
    request = asked(page, model, "Done.")
    wrong = ['{"type":"nonsense"}', "no JSON", "[]", '{"type":"awaitingFeedback"}', "[" * 100_000]
    wrong += [json.dumps({"type": "awaitingFeedback", "feedback": said}) for said in ("", "  ", "x" * 200_001)]
    wrong += [json.dumps({"type": "awaitingFeedback", "feedback": "see", "attachments": [{"name": "a.png"}]})]
    wrong += [json.dumps({"type": "toolApprovalResponse", "requestId": "none", "approved": True})]
    wrong += [json.dumps({"type": "toolApprovalResponse", "requestId": request["requestId"], "approved": "yes"})]
    for said in wrong:
        page.socket.send(said)
        words = page.read_until_type("wssFailure")["content"]
        assert words[-1] in ".;", words
        assert "Traceback" not in words
    page.say("agentToolToggle", skill="look", enabled=False)
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    page.read_until_type("WAITING_ON_INPUT")


def test_an_unknown_run_is_404_and_no_socket(page: Page) -> None:
    with RawSocket(page.client.server.port, "/api/agent-invocation/none") as raw:
        assert raw.status == 404
    with RawSocket(page.client.server.port, "/api/agent-invocation/none", "Origin: http://evil.example") as raw:
        assert raw.status == 403
    response = page.client.call("GET", "/api/agent-invocation/none")
    assert (response.status_code, response.json()["error"]["code"]) == (426, "upgrade_required")
    assert response.headers["Sec-WebSocket-Version"] == "13"


# -- which transport ---------------------------------------------------------------------------------------------------


def test_the_body_counts_more_than_the_workspace_and_that_more_than_the_server(page: Page, model: ModelServer) -> None:
    update = f"/api/workspace/{page.client.workspace}/update"
    assert page.client.get(f"/api/workspace/{page.client.workspace}")["workspace"]["transport"] is None
    assert page.client.post(update, {"transport": "carrier pigeon"}).status_code == 400
    model.script("Over the socket.")
    page.prompt("Hi")
    page.read_until_type("WAITING_ON_INPUT")
    model.script("Over SSE.")
    assert page.prompt("Hi", transport="sse")[-1]["type"] == "finalizeResponseStream"
    assert page.client.post(update, {"transport": "sse"}).json()["workspace"]["transport"] == "sse"
    model.script("Over SSE.")
    assert page.prompt("Hi")[-1]["type"] == "finalizeResponseStream"
    model.script("Over the socket.")
    assert page.prompt("Hi", transport="websocket")[0]["type"] == "agentInitWebsocketConnection"
    page.read_until_type("WAITING_ON_INPUT")
    assert page.client.post(update, {"transport": None}).json()["workspace"]["transport"] is None


def test_hybrid_is_sse_to_its_end_where_nobody_is_needed(page: Page, model: ModelServer) -> None:
    model.script("Yes.")
    frames = page.prompt("Hi", transport="hybrid")
    assert frames[-1]["type"] == "finalizeResponseStream"
    assert page.runs == []


def test_hybrid_hands_over_when_the_run_needs_a_person_and_nothing_is_said_twice(
    page: Page, model: ModelServer
) -> None:
    model.script(reply(text("Let me "), text("see."), tool_calls(("look", {"at": "it"}))), "It is there.")
    frames = page.prompt("Look", transport="hybrid")
    assert [each["type"] for each in frames if "type" in each][-1] == "agentInitWebsocketConnection"
    assert "toolApprovalRequest" not in [each.get("type") for each in frames]
    before = "".join(each["textResponse"] for each in frames if each.get("type") == "textResponseChunk")
    page.shown.append(Shown(type="textResponse", uuid=frames[0]["id"], content=before))
    request = page.read_until_type("toolApprovalRequest")
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    page.read_until_type("WAITING_ON_INPUT")
    assert page.text == page.client.history()[-1]["content"] == "Let me see.\n\nIt is there."


@pytest.mark.parametrize("transport", ["websocket", "hybrid"])
def test_a_prompt_into_a_thread_whose_run_waits_joins_it(transport: str, page: Page, model: ModelServer) -> None:
    request = asked(page, model, "Done.")
    page.socket.close(1001)
    frames = page.prompt("Are you there?", transport=transport)
    assert frames[0]["type"] == "agentInitWebsocketConnection"
    assert page.runs[0] == page.runs[1]
    assert page.read_until_type("toolApprovalRequest")["requestId"] == request["requestId"]
    page.say("toolApprovalResponse", requestId=request["requestId"], approved=True)
    page.read_until_type("WAITING_ON_INPUT")
    assert page.text == "Let me see.\n\nDone."
    assert "Are you there?" in json.dumps(model.requests[-1].body)


def test_over_sse_a_second_prompt_is_still_a_conflict(page: Page, model: ModelServer) -> None:
    asked(page, model)
    path = f"{page.client.thread_path}/stream-chat"
    response = page.client.post(path, {"message": "Hi", "transport": "sse"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "run_active")
    page.client.stop(page.runs[-1])


# -- many, and the end -------------------------------------------------------------------------------------------------


def test_two_hundred_viewers_of_a_run_see_it_whole_across_a_kill_and_are_told_when_the_server_leaves(
    shared_model: ModelServer, tmp_path: Path
) -> None:
    from conftest import model_settings

    (tmp_path / "go").touch()
    server = Server(tmp_path, "tooled:app", HOOKS=str(tmp_path), **model_settings(shared_model)).start()
    try:
        client = Client(server)
        client.post("/api/workspace/default/update", {"tools": {"look": "ask"}})
        shared_model.script(reply(text("Let me see."), tool_calls(("look", {"at": "it"}))), "It is there.")
        with ExitStack() as stack:
            page = Page(client, stack)
            page.prompt("Look", transport="websocket")
            request = page.read_until_type("toolApprovalRequest")
            viewers = [page.another() for _ in range(200)]
            cursors = [each.read_until_type("toolApprovalRequest")["seq"] for each in viewers]
            server.kill()
            assert {each.read_close() for each in viewers} == {None}
            server.start()
            for each, cursor in zip(viewers, cursors, strict=True):
                each.connect(f"{page.runs[-1]}?after={cursor}")
            client.post(f"/api/runs/{page.runs[-1]}/respond", {"requestId": request["requestId"], "approved": True})
            for each in viewers:
                each.read_until_type("WAITING_ON_INPUT")
            assert {each.text for each in viewers} == {"Let me see.\n\nIt is there."}
            assert server._process is not None
            server._process.terminate()
            assert {each.read_close() for each in viewers} == {1012}
            assert server.terminate() == 0
    finally:
        server.kill()
    assert "Traceback" not in server.log
