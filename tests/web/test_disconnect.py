"""A viewer that hangs up stops the run where it asked for that, in each protocol, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from client import Client
from model_server import ModelServer, reply
from server import Server

Json = dict[str, Any]


def own(thread: str) -> tuple[str, Json]:
    return f"/api/workspace/default/thread/{thread}/stream-chat", {"message": "Go"}


def agui(thread: str) -> tuple[str, Json]:
    return "/api/agui/default", {"threadId": thread, "runId": "r", "messages": [{"role": "user", "content": "Go"}]}


def aisdk(thread: str) -> tuple[str, Json]:
    return f"/api/ai/default/{thread}", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "Go"}]}]}


@pytest.fixture(scope="module")
def shared_beating(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that soon notices who is gone: it finds out when it sends something."""
    settings = {"DEECHAT_PROVIDER": "openai", "OPENAI_BASE_URL": shared_model.base_url, "OPENAI_API_KEY": "k"}
    settings |= {"DEECHAT_MODEL": "fake-1", "DEECHAT_HEARTBEAT": "0.2"}
    server = Server(tmp_path_factory.mktemp("beating"), **settings)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.mark.parametrize("route", [own, agui, aisdk])
@pytest.mark.parametrize("asked", ["?disconnect=stop", "?disconnect=keep", ""])
def test_who_hangs_up_stops_the_run_where_that_was_asked_for(
    asked: str, route: Callable[[str], tuple[str, Json]], shared_beating: Server, model: ModelServer
) -> None:
    gate = model.gate()
    model.script(reply("One ", gate, "two"))
    client = Client(shared_beating).new_thread()
    path, body = route(client.thread)
    with requests.post(shared_beating.url + path + asked, json=body, stream=True, timeout=60) as response:
        run_id = response.headers["X-Run-Id"]
        gate.wait_reached()
        assert next(response.iter_content(None))
    if "stop" in asked:
        assert client.wait_ended(run_id)["reason"] == "stopped"
        gate.release()
    else:
        gate.release()
        assert client.wait_ended(run_id)["reason"] == "completed"
        assert client.history()[-1]["content"] == "One two"


@pytest.mark.parametrize("route", [own, agui, aisdk])
def test_a_stream_that_is_read_to_its_end_stops_nothing(
    route: Callable[[str], tuple[str, Json]], shared_beating: Server, model: ModelServer
) -> None:
    model.script(reply("One"))
    client = Client(shared_beating).new_thread()
    path, body = route(client.thread)
    response = requests.post(f"{shared_beating.url}{path}?disconnect=stop", json=body, timeout=60)
    assert client.wait_ended(response.headers["X-Run-Id"])["reason"] == "completed"


@pytest.mark.parametrize("route", [own, agui, aisdk])
def test_a_wish_that_is_none_of_these_starts_nothing(
    route: Callable[[str], tuple[str, Json]], shared_beating: Server, model: ModelServer
) -> None:
    client = Client(shared_beating).new_thread()
    path, body = route(client.thread)
    refused = requests.post(f"{shared_beating.url}{path}?disconnect=abort", json=body, timeout=60)
    assert (refused.status_code, "disconnect" in refused.json()["error"]["message"]) == (400, True)
    assert (client.history(), model.asked) == ([], [])
