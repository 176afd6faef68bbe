"""The zoo: every habit of a model server that people reported, past the HTTP interface."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import zoo
from client import Client, Stream
from conftest import model_settings
from model_server import ModelServer
from server import Server
from zoo.animal import Animal

KINDS = [module.name for module in pkgutil.iter_modules(zoo.__path__) if module.name != "animal"]
ANIMALS: list[Animal] = [each for kind in KINDS for each in importlib.import_module(f"zoo.{kind}").ANIMALS]


@pytest.fixture(scope="module")
def keeper() -> Iterator[ModelServer]:
    with ModelServer() as model:
        model.models = ["fake-1", *(animal.name for animal in ANIMALS)]
        yield model


@pytest.fixture(scope="module")
def cage(keeper: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("zoo"), **model_settings(keeper))
    yield server.start()
    server.kill()


def admit(cage: Server, keeper: ModelServer, animal: Animal) -> Client:
    """Lets the animal answer in a workspace and under a model's name of its own, so that none learns of others."""
    keeper._script.clear()
    keeper.requests.clear()
    keeper.answer = animal.rule
    if animal.answers:
        keeper.script(*animal.answers)
    client = Client(cage)
    made = client.post("/api/workspace/new", {"name": animal.name}).json()["workspace"]
    settings = {"model": animal.name, **animal.settings}
    assert client.post(f"/api/workspace/{made['slug']}/update", settings).status_code == 200
    return Client(cage, workspace=made["slug"])


def thought_in(stream: Stream) -> str:
    """Gives the answer's thinking, as a page would show it."""
    pieces: list[tuple[int, str]] = []
    for seq, frame in enumerate(stream.frames, start=1):
        if frame.get("type") == "reasoningChunk":
            pieces.append((seq, frame["textResponse"]))
        if frame.get("type") == "stepRestarted":
            pieces = [piece for piece in pieces if piece[0] <= frame["afterId"]]
    return "".join(text for _, text in pieces)


def called(stream: Stream) -> list[tuple[str, Any]]:
    frames = [frame for frame in stream.frames if frame.get("type") == "toolCallInvocation"]
    return [(frame["name"], frame["arguments"]) for frame in frames]


@pytest.mark.parametrize("animal", ANIMALS, ids=repr)
def test_what_comes_of_it(cage: Server, keeper: ModelServer, animal: Animal) -> None:
    client = admit(cage, keeper, animal)
    for words in animal.says:
        stream = client.ask(words)
    ending = stream.ending
    assert ending is not None
    assert not ending.get("error") or animal.code, ending
    assert (ending["reason"], ending.get("code")) == (animal.reason, animal.code), ending
    for words in animal.words:
        assert words in ending["error"]
    if animal.text is not None:
        assert stream.text == animal.text
    if animal.thought is not None:
        assert thought_in(stream) == animal.thought
    if animal.calls is not None:
        assert called(stream) == list(animal.calls)
    if animal.finish is not None:
        assert [frame["finishReason"] for frame in stream.frames if frame.get("type") == "stepFinished"][
            -1
        ] == animal.finish
    if animal.remark is not None:
        assert ending["finishReason"] == animal.remark
    if animal.notices is not None:
        codes = [frame["code"] for frame in stream.frames if frame.get("type") == "statusResponse"]
        assert [code for code in codes if code != "tool_call"] == list(animal.notices)
    if animal.asked is not None:
        animal.asked([question for question in keeper.asked if question["model"] == animal.name])
    client.check_all()


def test_no_two_have_one_name() -> None:
    names = [animal.name for animal in ANIMALS]
    assert len(names) == len(set(names))
    assert all(animal.source for animal in ANIMALS)
