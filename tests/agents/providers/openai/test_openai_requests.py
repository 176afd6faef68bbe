"""What goes out is what the SDK would send, and what came of it keeps nothing of what was asked."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from model_server import DONE, delta, frame, stream
from openai_rig import CLOCK, HELLO, Rig, joined

from deechat.agents.providers.base import Question, Text, Turn
from deechat.agents.providers.openai.provider import load_sdk
from deechat.agents.providers.openai.request import body_of
from deechat.messages import UserMessage


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def heads(rig: Rig) -> list[dict[str, str]]:
    """What the heads of all completions that were asked for say, but for their lengths."""
    asked = [request for request in rig.server.requests if request.path.endswith("/chat/completions")]
    heads = [{name.lower(): value for name, value in request.headers.items()} for request in asked]
    return [{name: value for name, value in head.items() if name != "content-length"} for head in heads]


def held(*kinds: type) -> set[int]:
    gc.collect()
    # By their types: the SDK has stand-ins that load what they stand for when they are asked for their class.
    return {id(each) for each in gc.get_objects() if issubclass(type(each), kinds)}


def test_every_request_is_as_the_sdk_makes_it_but_for_its_body(rig: Rig) -> None:
    provider = rig.make(model="m", api_key="sk-test-0123456789", first_byte_timeout=20)
    rig.server.script("one", "two", "three")
    rig.ask(HELLO, provider)
    rig.ask(Question([UserMessage("Hello again")], tools=[CLOCK]), provider)
    with httpx2.Client(timeout=httpx2.Timeout(20, connect=10.0, pool=None)) as http_client:
        sdk: Any = load_sdk().OpenAI(
            base_url=rig.server.base_url, api_key="sk-test-0123456789", max_retries=0, http_client=http_client
        )
        ask = sdk.chat.completions.with_streaming_response.create
        with ask(model="m", messages=[{"role": "user", "content": "Hello"}], stream=True) as response:
            response.read()
    first, second, sdks = heads(rig)
    assert first == second == sdks
    assert [body["messages"][-1]["content"] for body in rig.server.asked] == ["Hello", "Hello again", "Hello"]


def test_an_open_answer_holds_no_request_and_no_response(rig: Rig) -> None:
    gate = rig.server.gate()
    rig.server.script("warm", stream(frame(delta(content="Hello")), gate, frame(delta("stop")), DONE))
    rig.ask()
    before = held(httpx2.Request, httpx2.Response, httpx2.Headers)
    parts = rig.provider.ask(HELLO)
    assert next(parts) == Text("Hello")
    assert held(httpx2.Request, httpx2.Response, httpx2.Headers) <= before
    gate.release()
    assert isinstance(next(parts), Turn)
    parts.close()


def test_a_server_that_is_named_by_its_number_is_not_looked_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> Any:
        raise AssertionError("looked up")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    rig.server.script("Hello")
    assert joined(rig.ask(), Text) == "Hello"


def test_the_bytes_of_a_body_are_taken_once() -> None:
    body = body_of(HELLO, "m", {})
    assert b'"Hello"' in body.take()
    assert body.take() == b""
    assert body.model == "m"
    assert body.shows == {"model", "messages", "stream", "stream_options", "role", "content"}
