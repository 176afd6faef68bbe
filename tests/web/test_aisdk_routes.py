"""The AI SDK's transports over HTTP, against a real server: send, come back by numbers, requests, sending anew."""

from __future__ import annotations

import json
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
PAY = ("pay", {"amount": 1})


def chunks_of(body: bytes) -> list[Json]:
    """Gives the chunks of a whole stream: lines of data alone, or comments, and `[DONE]` at its end."""
    blocks = [block for block in body.decode().split("\n\n")[:-1] if not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


def said_by(who: str, *parts: Json | str, message_id: str = "") -> Json:
    shown = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"id": message_id or str(uuid.uuid4()), "role": who, "parts": shown}


@dataclass
class Chat:
    """A client of the protocol, in a thread of its own."""

    server: Server
    thread: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/ai/default"

    def post(self, *messages: Json, **more: Any) -> requests.Response:
        body = {"id": self.thread, "messages": messages, "trigger": "submit-message", **more}
        return requests.post(self.url, json=body, timeout=60)

    def send(self, *messages: Json, **more: Any) -> tuple[list[Json], str]:
        """Sends messages and gives the chunks, and the name under which they are found again."""
        response = self.post(*messages, **more)
        assert response.status_code == 200, response.text
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        return chunks_of(response.content), response.headers["x-workflow-run-id"]

    def get(self, name: str, start: int | None = None) -> requests.Response:
        params = {} if start is None else {"startIndex": str(start)}
        return requests.get(f"{self.url}/{name}/stream", params=params, timeout=60)

    def follow(self, name: str, start: int | None = None) -> list[Json]:
        response = self.get(name, start)
        assert response.status_code == 200, response.text
        return chunks_of(response.content)


def text_of(chunks: list[Json]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


@pytest.fixture
def chat(agent_server: Server, model: ModelServer) -> Chat:
    return Chat(agent_server)


@pytest.fixture
def tooled(serve: Callable[..., Server], model: ModelServer, tmp_path: Path) -> tuple[Chat, ModelServer]:
    """A client of a server with a tool that a person is asked about."""
    (tmp_path / "go").touch()
    server = serve(model, app="tooled:app", HOOKS=str(tmp_path))
    update = f"{server.url}/api/workspace/default/update"
    assert requests.post(update, json={"policies": {"pay": "ask"}}, timeout=60).status_code == 200
    return Chat(server), model


def test_an_answer_is_found_again_from_each_number(chat: Chat, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm"), text("Hello there", 3)))
    message = said_by("user", "Go")
    chunks, name = chat.send(message)
    assert (chunks[0]["type"], chunks[-1]["finishReason"], text_of(chunks)) == ("start", "stop", "Hello there")
    for start in range(len(chunks) + 1):
        assert chat.follow(name, start) == chunks[start:]
    tail = chat.get(name, -3)
    assert chunks_of(tail.content) == chunks[-3:]
    assert tail.headers["x-workflow-stream-tail-index"] == str(len(chunks) - 1)
    assert chat.follow(name, -1000) == chunks
    assert chat.follow(f"{chat.thread}/{name}", 2) == chunks[2:]
    assert chat.send(message) == (chunks, name)
    assert chat.get(chat.thread).status_code == 204
    assert len(model.asked) == 1


def test_a_chat_that_is_opened_again_joins_the_run_that_goes_on(chat: Chat, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply("One ", gate, "two"))
    body = json.dumps({"messages": [said_by("user", "Go")]})
    # As text, with the thread in the address: the way of the transport that has no id of the chat.
    with requests.post(
        f"{chat.url}/{chat.thread}", data=body, headers={"Content-Type": "text/plain"}, stream=True, timeout=60
    ) as response:
        seen = b""
        for piece in response.iter_content(None):
            seen += piece
            if b"One " in seen:
                break
    name = response.headers["x-workflow-run-id"]
    with requests.get(f"{chat.url}/{chat.thread}/stream", stream=True, timeout=60) as joined:
        assert joined.headers["x-workflow-run-id"] == name
        gate.release()
        whole = chunks_of(joined.content)
    assert text_of(whole) == "One two"
    got = seen.count(b"data: ")
    assert chat.follow(name, got) == whole[got:]


def test_a_request_is_answered_by_sending_the_messages_again(tooled: tuple[Chat, ModelServer]) -> None:
    chat, model = tooled
    model.script(reply(tool_calls(PAY, PAY)), reply("Paid."))
    question = said_by("user", "Pay")
    first, name = chat.send(question)
    asked = [chunk for chunk in first if chunk["type"] == "tool-approval-request"]
    assert (len(asked), first[-1]["finishReason"]) == (2, "tool-calls")
    assert chat.follow(chat.thread) == first

    def answer(*approved: bool) -> Json:
        parts = [
            {
                "type": "dynamic-tool",
                "toolCallId": each["toolCallId"],
                "state": "approval-responded",
                "approval": {"id": each["approvalId"], "approved": yes},
            }
            for each, yes in zip(asked, approved, strict=False)
        ]
        return said_by("assistant", {"type": "step-start"}, *parts, message_id=first[0]["messageId"])

    assert chat.post(question, answer(True)).status_code == 409
    rest, second = chat.send(question, answer(True, False))
    assert rest[0] == {"type": "start", "messageId": first[0]["messageId"]}
    assert (text_of(rest), rest[-1]["finishReason"]) == ("Paid.", "stop")
    kinds = [chunk["type"] for chunk in rest]
    assert (kinds.count("tool-output-available"), kinds.count("tool-output-denied")) == (1, 1)
    assert chat.send(question, answer(True, False)) == (rest, second)
    for start in range(len(rest)):
        assert chat.follow(second, start) == rest[start:]
    assert chat.follow(name) == first + rest
    assert len(model.asked) == 2


def test_an_answer_is_made_anew_after_the_same_message(chat: Chat, model: ModelServer) -> None:
    model.script(reply("One"), reply("Two"), reply("Three"))
    question = said_by("user", "Go", message_id="mine")
    chat.send(question)
    again, _ = chat.send(question, trigger="regenerate-message", messageId="any")
    edited, _ = chat.send(said_by("user", "Go on", message_id="mine"), messageId="mine")
    assert (text_of(again), text_of(edited)) == ("Two", "Three")
    users = [[each["content"] for each in asked["messages"] if each["role"] == "user"] for asked in model.asked]
    assert users == [["Go"], ["Go"], ["Go on"]]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda body: body.pop("id"), 400, "chat's id"),
        (lambda body: body.update(id="../x"), 400, "thread's id"),
        (lambda body: body.update(messages=[]), 400, "messages"),
        (lambda body: body.update(messages=[said_by("assistant", "x")]), 400, "last message"),
        (lambda body: body.update(messages=[said_by("user", {"type": "file"})]), 400, "text only"),
        (lambda body: body.update(messages=[{"role": "user", "parts": 3}]), 400, "blank"),
        (lambda body: body.update(trigger="other"), 400, "trigger"),
        (
            lambda body: body.update(messages=[said_by("assistant", {"state": "approval-responded", "approval": 1})]),
            400,
            "approval",
        ),
        (
            lambda body: body.update(
                messages=[
                    said_by("assistant", {"state": "approval-responded", "approval": {"id": "a:b", "approved": True}})
                ]
            ),
            404,
            "no thread",
        ),
        (lambda body: body.update(trigger="regenerate-message"), 404, "no thread"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_words(
    chat: Chat, change: Callable[[Json], Any], status: int, words: str
) -> None:
    body: Json = {"id": chat.thread, "messages": [said_by("user", "x")]}
    change(body)
    response = requests.post(chat.url, json=body, timeout=60)
    assert (response.status_code, words in response.json()["error"]["message"]) == (status, True), response.text


def test_what_is_not_there_is_not_found(chat: Chat) -> None:
    assert chat.get("never").status_code == 404
    refused = requests.get(f"{chat.url}/never/stream?startIndex=x", timeout=60)
    assert refused.json()["error"]["code"] == "bad_cursor"


def test_a_part_behind_a_request_that_never_was_is_not_found_and_takes_no_place(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    chat = Chat(serve(model, DEECHAT_MAX_STREAMS="1"))
    model.script("Hi.")
    _, run = chat.send(said_by("user", "Go"))
    for request in ("never", "x%0Ay", "%E2%98%83"):
        assert chat.get(f"{run}:{request}").status_code == 404
    assert text_of(chat.follow(run)) == "Hi."


def test_a_message_that_is_refused_makes_no_thread(chat: Chat) -> None:
    answer = {"type": "dynamic-tool", "state": "approval-responded", "approval": {"id": "a:b", "approved": True}}
    anew = {"trigger": "regenerate-message"}
    assert chat.post(said_by("user")).status_code == 400
    assert chat.post(said_by("assistant", answer)).status_code == 404
    assert chat.post(said_by("user", "x", message_id="m"), **anew).status_code == 404
    shown = requests.get(f"{chat.server.url}/api/workspace/default/threads", timeout=60).json()["threads"]
    assert chat.thread not in [each["slug"] for each in shown]
