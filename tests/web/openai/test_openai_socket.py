"""Responses over a WebSocket, spoken by `websockets`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from model_server import ModelServer, reply, text, tool_calls
from open_responses import check_stream
from openai_sdk import WEATHER
from server import Server, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

TOOL: Any = {"type": "function", **WEATHER["function"]}  # type: ignore[dict-item]
ENDS = {"response.completed", "response.failed", "response.incomplete"}


@pytest.fixture
def dial(agent_server: Server, model: ModelServer) -> Iterator[Callable[[], ClientConnection]]:
    with ExitStack() as opened:
        address = f"ws://127.0.0.1:{agent_server.port}/v1/responses"
        yield lambda: opened.enter_context(connect(address))


def ask(socket: ClientConnection, **fields: Any) -> dict[str, Any]:
    """Asks for a response; gives its resource, or the error."""
    socket.send(json.dumps({"type": "response.create", "model": "deechat", **fields}))
    seen: list[tuple[str | None, dict[str, Any]]] = []
    while True:
        event = json.loads(socket.recv(timeout=30))
        if event["type"] == "error" and "status" in event:
            return event  # type: ignore[no-any-return]
        seen.append((event["type"], event))
        if event["type"] in ENDS:
            return check_stream(seen)


def test_responses_come_in_turn_and_follow_each_other(
    dial: Callable[[], ClientConnection], model: ModelServer, agent_server: Server
) -> None:
    model.script(reply(text("One.", 2)), "Two.")
    socket = dial()
    one = ask(socket, input="1")
    two = ask(socket, input="2", previous_response_id=one["id"])
    assert two["previous_response_id"] == one["id"]
    assert [each["content"] for each in model.asked[1]["messages"][1:]] == ["1", "One.", "2"]
    shown = requests.get(f"{agent_server.url}/v1/responses/{two['id']}", timeout=10).json()
    assert shown == two


def test_one_that_is_not_stored_lives_as_long_as_its_connection(
    dial: Callable[[], ClientConnection], model: ModelServer, agent_server: Server
) -> None:
    model.script("One.", "Two.")
    socket, other = dial(), dial()
    one = ask(socket, input="1", store=False)
    assert ask(other, input="2", previous_response_id=one["id"])["error"]["code"] == "previous_response_not_found"
    two = ask(socket, input="2", previous_response_id=one["id"], store=False)
    assert two["output"][0]["content"][0]["text"] == "Two."
    socket.close()
    wait_until(lambda: requests.get(f"{agent_server.url}/v1/responses/{two['id']}", timeout=10).status_code == 404)


def test_a_turn_that_fails_takes_the_one_before_with_it(
    dial: Callable[[], ClientConnection], model: ModelServer
) -> None:
    model.script("One.", "Again.")
    socket = dial()
    one = ask(socket, input="1", store=False)
    lost = [{"type": "function_call_output", "call_id": "call_nowhere", "output": "x"}]
    failed = ask(socket, input=lost, previous_response_id=one["id"], store=False)
    assert (failed["status"], failed["error"]["code"]) == (400, "missing_call")
    failed = ask(socket, input="2", previous_response_id=one["id"], store=False)
    assert failed["error"]["code"] == "previous_response_not_found"
    assert ask(socket, input="3")["status"] == "completed"


def test_calls_of_the_clients_tools_are_answered_in_the_next_message(
    dial: Callable[[], ClientConnection], model: ModelServer
) -> None:
    model.script(reply(tool_calls(("get_weather", {"city": "Paris"}))), "Rain.")
    socket = dial()
    one = ask(socket, input="Weather?", tools=[TOOL])
    result = {"type": "function_call_output", "call_id": one["output"][0]["call_id"], "output": "rain"}
    two = ask(socket, input=[result], previous_response_id=one["id"])
    assert two["output"][0]["content"][0]["text"] == "Rain."


def test_what_does_not_fit_is_told_and_the_connection_stays(
    dial: Callable[[], ClientConnection], model: ModelServer
) -> None:
    model.script("Hi.")
    socket = dial()
    for said, code in (("{", "bad_json"), ("[]", "bad_json"), ('{"type":"response.cancel"}', "invalid_value")):
        socket.send(said)
        error = json.loads(socket.recv(timeout=30))
        assert (error["type"], error["status"], error["error"]["code"]) == ("error", 400, code)
    assert ask(socket, input="Hello", temperature="hot")["error"]["param"] == "temperature"
    assert ask(socket, input="Hello", model="gpt-4o")["error"]["code"] == "model_not_found"
    assert ask(socket, input="Hello")["status"] == "completed"


def test_the_key_is_checked_in_the_handshake(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD="a-long-password")
    address = f"ws://127.0.0.1:{server.port}/v1/responses"
    with pytest.raises(InvalidStatus) as caught:
        connect(address, additional_headers={"Authorization": "Bearer wrong"})
    assert caught.value.response.status_code == 401
    with connect(address, additional_headers={"Authorization": "Bearer a-long-password"}) as socket:
        assert ask(socket, input="hello")["status"] == "completed"
