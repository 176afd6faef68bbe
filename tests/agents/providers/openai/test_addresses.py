"""The address of a model server as people write it: made right where it can mean one thing, or told in words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from client import Client
from model_server import Answer, ModelServer, Request, reply, status, text
from openai_rig import Rig, joined
from server import Server

from deechat.agents.providers.base import Text
from deechat.agents.providers.openai.client import Address
from deechat.config import Settings
from deechat.errors import SettingError

LM_STUDIO = "Unexpected endpoint or method. ({} {})"


class Picky(ModelServer):
    """Knows the paths of `roots` alone; to any other it gives `otherwise`."""

    def __init__(self, *roots: str) -> None:
        super().__init__()
        self.roots = roots
        self.otherwise: Callable[[Request], Answer] = lambda asked: status(404, "404 page not found")

    def _answer_to(self, request: Request) -> Answer:
        known = {f"{root}{page}" for root in self.roots for page in ("/models", "/chat/completions")}
        return super()._answer_to(request) if request.page in known else self.otherwise(request)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


def as_lm_studio(request: Request) -> Answer:
    return status(200, {"error": LM_STUDIO.format(request.method, request.path)})


OTHERWISE: dict[str, Callable[[Request], Answer]] = {
    # lmstudio-ai/lmstudio-bug-tracker#618 and #1323, vijayk1989/TheStoryNexusTauriApp#17, pssah4/vault-operator#73
    "lm studio": as_lm_studio,
    # ollama/ollama server/routes.go, awaescher/OllamaSharp#356
    "ollama": lambda asked: status(404, "404 page not found"),
    # vllm-project/vllm, and whatever else is FastAPI
    "fastapi": lambda asked: status(404, {"detail": "Not Found"}),
    # ml-explore/mlx-examples#1060
    "another method": lambda asked: status(501, b"<!DOCTYPE HTML><title>Error response</title>"),
    "a page": lambda asked: status(200, b"<!doctype html><title>Welcome</title>"),
    "words": lambda asked: status(200, b"Ollama is running"),
    "a gateway": lambda asked: status(302, location="/login"),
    "a gateway that wants a key": lambda asked: status(401, {"error": "no key"}),
}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def picky() -> Iterator[Picky]:
    with Picky("/v1") as server:
        yield server


def root(server: ModelServer) -> str:
    return f"http://127.0.0.1:{server.port}"


# -- without its path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("otherwise", OTHERWISE)
@pytest.mark.parametrize("model", [None, "fake-1"])
def test_a_server_without_its_path_is_asked_below_v1(
    rig: Rig, picky: Picky, otherwise: str, model: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    picky.otherwise = OTHERWISE[otherwise]
    provider = rig.make(base_url=root(picky) + "/" * bool(model), model=model)
    picky.script("Hello", "again")
    with caplog.at_level(logging.INFO):
        assert joined(rig.ask(provider=provider), Text) == "Hello"
        assert joined(rig.ask(provider=provider), Text) == "again"
        assert provider.models() == ["fake-1"]
    assert picky.paths[0] == "/models"
    assert set(picky.paths[1:]) == {"/v1/models", "/v1/chat/completions"}, "it is remembered"
    assert [record.message for record in caplog.records if "is asked at" in record.message] == [
        f"the model server at {root(picky)} is asked at {root(picky)}/v1"
    ]


@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_the_address_that_works_is_the_one_that_is_shown(rig: Rig, picky: Picky, otherwise: str) -> None:
    picky.otherwise = OTHERWISE[otherwise]
    provider = rig.make(base_url=root(picky))
    assert provider.models() == ["fake-1"]
    picky.script(status(404, {"error": {"message": "model 'fake-1' not found"}}))
    assert f"{root(picky)}/v1 " in rig.fails(provider=provider).message


def test_a_server_that_answers_without_a_path_is_left_alone(rig: Rig) -> None:
    with Picky("") as server:
        provider = rig.make(base_url=root(server), model="m")
        server.script("Hello", "again")
        rig.ask(provider=provider)
        rig.ask(provider=provider)
        assert server.paths == ["/models", "/chat/completions", "/chat/completions"]


def test_a_server_without_a_list_is_asked_where_the_address_says_and_looked_at_once(rig: Rig, picky: Picky) -> None:
    picky.roots = ("",)
    picky.models = status(404, "no list")
    provider = rig.make(base_url=root(picky), model="m")
    picky.script("Hello", "again")
    rig.ask(provider=provider)
    rig.ask(provider=provider)
    assert picky.paths == ["/models", "/v1/models", "/chat/completions", "/chat/completions"]


@pytest.mark.parametrize("path", ["/api", "/openai", "/v2", "/v1"])
@pytest.mark.parametrize("model", [None, "m"])
def test_an_address_with_a_path_is_meant_as_it_is(rig: Rig, picky: Picky, path: str, model: str | None) -> None:
    picky.roots = ("/elsewhere",)
    assert rig.fails(provider=rig.make(base_url=root(picky) + path, model=model)).code == "model_not_found"
    assert picky.paths == [f"{path}/{'chat/completions' if model else 'models'}"]


def test_a_server_that_knows_neither_says_its_own_words_and_the_hint(rig: Rig, picky: Picky) -> None:
    picky.roots = ()
    picky.otherwise = as_lm_studio
    error = rig.fails(provider=rig.make(base_url=root(picky)))
    assert error.code == "model_error"
    for words in (root(picky), LM_STUDIO.format("GET", "/models"), "/v1"):
        assert words in error.message


def test_a_key_that_is_refused_below_v1_is_told_of_that_address(rig: Rig, picky: Picky) -> None:
    picky.models = status(401, "no")
    error = rig.fails(provider=rig.make(base_url=root(picky)))
    assert error.code == "model_auth"
    assert f"{root(picky)}/v1 " in error.message


def test_a_server_that_is_not_there_yet_is_looked_at_again(rig: Rig, picky: Picky) -> None:
    provider = rig.make(base_url=root(picky), model="m")
    picky.refuse()
    assert rig.fails(provider=provider).code == "model_unreachable"
    picky.listen()
    picky.script("Hello")
    assert joined(rig.ask(provider=provider), Text) == "Hello"


def test_who_is_about_to_ask_while_another_finds_the_path_still_can(rig: Rig, picky: Picky) -> None:
    picky.otherwise = as_lm_studio
    provider = rig.make(base_url=root(picky))
    early = provider._client()
    assert provider.models() == ["fake-1"]
    with early.models(5) as response:  # it had its client before the path was found
        assert response.status_code == 200
    provider.close()


def test_the_whole_program_finds_the_path(serve: Callable[..., Server], picky: Picky) -> None:
    picky.otherwise = as_lm_studio
    client = Client(serve(DEECHAT_PROVIDER="openai", OPENAI_BASE_URL=root(picky)))
    picky.script("Hello")
    assert client.ask("Hi").text == "Hello"
    assert client.get("/api/models") == {"models": [{"id": "fake-1"}], "provider": "openai", "current": "fake-1"}
    assert "is asked at" in client.server.log


# -- a query -----------------------------------------------------------------------------------------------------------


# openclaw/openclaw#48107, ax-llm/ax#19, ThinkInAIXYZ/deepchat#262, daodao97/chatmcp#82
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1?api-version=2024-10-21", "/v1{}?api-version=2024-10-21"),
        ("/v1/?api-version=2024-10-21", "/v1{}?api-version=2024-10-21"),
        ("/azure/d?api-version=2024-10-21&a=%2B&a=b%20c", "/azure/d{}?api-version=2024-10-21&a=%2B&a=b%20c"),
        ("/v1/chat/completions?key=a/b", "/v1{}?key=a/b"),
        ("/v1?", "/v1{}"),
        ("/v1#part", "/v1{}"),
    ],
)
def test_a_query_follows_the_path_of_each_request(rig: Rig, path: str, expected: str) -> None:
    provider = rig.make(base_url=root(rig.server) + path)
    rig.server.script("Hello")
    rig.ask(provider=provider)
    asked = [request.path for request in rig.server.requests]
    assert asked == [expected.format("/models"), expected.format("/chat/completions")]


def test_a_query_follows_the_path_that_was_found_too(rig: Rig, picky: Picky) -> None:
    provider = rig.make(base_url=f"{root(picky)}/?api-version=1", model="m")
    picky.script("Hello")
    rig.ask(provider=provider)
    assert picky.paths[1:] == ["/v1/models?api-version=1", "/v1/chat/completions?api-version=1"]


# -- as people write it ------------------------------------------------------------------------------------------------

# Pasted requests: harry0703/MoneyPrinterTurbo#57, yoloshii/ClawMem#19; a slash too much: n4ze3m/dialoqbase#146.
MADE_RIGHT = {
    "http://localhost:1234/v1": "http://localhost:1234/v1",
    "http://localhost:1234/v1/": "http://localhost:1234/v1",
    "http://localhost:1234//v1//": "http://localhost:1234/v1",
    "http://localhost:1234/v1/chat/completions": "http://localhost:1234/v1",
    "http://localhost:1234/v1/chat/completions/": "http://localhost:1234/v1",
    "http://localhost:1234/chat/completions": "http://localhost:1234",
    "http://localhost:1234/v1/completions": "http://localhost:1234/v1",
    "http://localhost:1234/v1/models": "http://localhost:1234/v1",
    "https://example.services.ai.azure.com/models": "https://example.services.ai.azure.com/models",
    " http://localhost:1234/v1 ": "http://localhost:1234/v1",
    '"http://localhost:1234/v1"': "http://localhost:1234/v1",
    "'http://localhost:1234/v1'": "http://localhost:1234/v1",
    "HTTP://localhost:1234/v1": "http://localhost:1234/v1",
    "Https://Models.example/v1": "https://Models.example/v1",
    "localhost:1234": "http://localhost:1234",
    "localhost:1234/v1": "http://localhost:1234/v1",
    "LOCALHOST": "http://LOCALHOST",
    "127.0.0.1:11434/v1": "http://127.0.0.1:11434/v1",
    "[::1]:8080/v1": "http://[::1]:8080/v1",
    "ollama:11434": "http://ollama:11434",
    "192.168.1.7:8000/v1": "http://192.168.1.7:8000/v1",
    "host.docker.internal:11434/v1": "http://host.docker.internal:11434/v1",
    "api.groq.com/openai/v1": "https://api.groq.com/openai/v1",
    "models.example:443/v1": "https://models.example:443/v1",
    "//localhost:1234/v1": "http://localhost:1234/v1",
}


@pytest.mark.parametrize("written", MADE_RIGHT)
def test_an_address_that_can_mean_one_thing_is_taken_as_that(written: str) -> None:
    settings = Settings.read({"OPENAI_BASE_URL": written})
    assert Address.of(settings.base_url, None).url == MADE_RIGHT[written]


NONE = ["http:/localhost:1234", "http//localhost:1234", "http://", "http:", "ftp://localhost", "ws://localhost:1"]
NONE += ["localhost:", "local host:1", "localhost:99999", "1234", "v1", ":1234", "ollama", "http://a b/v1"]
NONE += ["http://localhost:1234 /v1"]


@pytest.mark.parametrize("written", NONE)
def test_an_address_that_is_none_is_refused_in_words(written: str) -> None:
    with pytest.raises(SettingError, match=r"OPENAI_BASE_URL .* an address such as http"):
        Settings.read({"OPENAI_BASE_URL": written})


@pytest.mark.parametrize("written", ["sk-proj-abcdef0123456789", "sk-abc.def:1234", "gsk_" + "a1" * 26])
def test_a_key_in_the_addresss_place_is_no_address(written: str) -> None:
    with pytest.raises(SettingError, match="Its value is not shown"):
        Settings.read({"OPENAI_BASE_URL": written})


def test_a_pasted_example_works(rig: Rig) -> None:
    provider = rig.make(base_url=f"{rig.server.base_url}/chat/completions")
    rig.server.answer = lambda question: reply(text("Hello"))
    assert joined(rig.ask(provider=provider), Text) == "Hello"
    assert [request.path for request in rig.server.requests] == ["/v1/models", "/v1/chat/completions"]


def test_the_settings_and_the_provider_take_the_same_addresses(rig: Rig) -> None:
    for written in (rig.server.base_url, f"127.0.0.1:{rig.server.port}"):
        settings: Any = Settings.read({"OPENAI_BASE_URL": written})
        rig.server.script("Hello")
        assert joined(rig.ask(provider=rig.make(base_url=settings.base_url, model="m")), Text) == "Hello"


def test_twenty_who_ask_at_once_find_the_path_together(serve: Callable[..., Server], picky: Picky) -> None:
    picky.otherwise = as_lm_studio
    picky.answer = lambda question: reply(text("Hello"))
    server = serve(DEECHAT_PROVIDER="openai", OPENAI_BASE_URL=root(picky), DEECHAT_MODEL="fake-1")
    clients = [Client(server).new_thread() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(lambda client: client.ask("Hi").text, clients))
    assert said == ["Hello"] * 20
    assert server.log.count("is asked at") == 1
