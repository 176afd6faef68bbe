"""The zoo: every habit of a model server that people reported, past the HTTP interface."""

from __future__ import annotations

import pytest
from client import text_of
from zoo.animal import Animal
from zoo_rig import ANIMALS, House, called


@pytest.mark.parametrize("animal", ANIMALS, ids=repr)
def test_what_comes_of_it(house: House, animal: Animal) -> None:
    client = house.admit(animal)
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
        assert text_of(stream.frames, "reasoningChunk") == animal.thought
    if animal.calls is not None:
        assert called(stream.frames) == list(animal.calls)
    if animal.finish is not None:
        finished = [frame["finishReason"] for frame in stream.frames if frame.get("type") == "stepFinished"]
        assert finished[-1] == animal.finish
    if animal.remark is not None:
        assert ending["finishReason"] == animal.remark
    if animal.notices is not None:
        codes = [frame["code"] for frame in stream.frames if frame.get("type") == "statusResponse"]
        assert [code for code in codes if code != "tool_call"] == list(animal.notices)
    if animal.asked is not None:
        animal.asked(house.asked(animal))
    client.check_all()


def test_no_two_have_one_name() -> None:
    names = [animal.name for animal in ANIMALS]
    assert len(names) == len(set(names))
    assert all(animal.source for animal in ANIMALS)
