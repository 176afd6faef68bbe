"""OpenAI's SDK for Node, unmodified: streams left after each event, responses in the background, errors by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from model_server import ModelServer, nap, reply, text
from npm_client import Npm
from server import Server

KEY = "correct-horse-battery"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def sdk(npm: Callable[[str], Npm]) -> Npm:
    return npm("openai.js")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password."""
    server = Server(tmp_path_factory.mktemp("guarded"), DEECHAT_PASSWORD=KEY).start()
    yield server
    server.kill()


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_that_is_left_after_each_event_is_whole(
    background: bool, sdk: Npm, agent_server: Server, model: ModelServer
) -> None:
    words = [part for word in ("One ", "two ", "three ", "four") for part in (text(word), nap(0.1))]
    model.script(reply(*words))
    events = sdk.call("cut", url=agent_server.url, input="Count", background=background)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert sum(event["type"] == "response.output_text.delta" for event in events) > 3
    assert sdk.call("replay", url=agent_server.url, id=events[0]["response"]["id"]) == events
    assert len(model.requests) == 1, "the model was asked once"


def test_a_response_in_the_background_is_cancelled(sdk: Npm, agent_server: Server, model: ModelServer) -> None:
    model.script(reply(text("Some words"), model.gate()))
    first, *later = sdk.call("cancel", url=agent_server.url, input="Talk")
    assert first in {"queued", "in_progress"}
    assert later == ["cancelled", "cancelled"]


def test_a_chat_comes_in_pieces(sdk: Npm, agent_server: Server, model: ModelServer) -> None:
    model.script(reply(text("Hello there", size=3)))
    assert sdk.call("chat", url=agent_server.url, messages=HELLO) == "Hello there"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/models/gpt-4o", None, ["NotFoundError", 404, "model_not_found"]),
        ("/responses/resp_x", None, ["NotFoundError", 404, "not_found"]),
        ("/chat/completions", {"model": "deechat", "messages": []}, ["BadRequestError", 400, "invalid_value"]),
        ("/responses", {"model": "deechat"}, ["BadRequestError", 400, "invalid_value"]),
    ],
)
def test_what_is_wrong_is_the_error_of_its_class(
    path: str, body: dict[str, object] | None, expected: list[object], sdk: Npm, guarded: Server
) -> None:
    assert sdk.call("fail", url=guarded.url, key=KEY, path=path, body=body) == expected


def test_a_wrong_key_is_an_error_of_its_own_and_so_are_too_many(sdk: Npm, guarded: Server) -> None:
    def fail() -> list[object]:
        error: list[object] = sdk.call("fail", url=guarded.url, key="wrong", path="/models")
        return error

    assert fail() == ["AuthenticationError", 401, "invalid_api_key"]
    last = next(error for error in (fail() for _ in range(30)) if error[1] != 401)
    assert last[:2] == ["RateLimitError", 429]
