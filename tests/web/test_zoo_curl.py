"""The zoo past a real curl, by the line of docs/curl.md that sends a message and watches."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
from client import text_of
from test_curl import events, sections
from zoo.animal import Animal
from zoo_rig import ANIMALS, House, called

WORKSPACE = "/workspace/default/"
MESSAGE = """'{"message": "what is 17% of 2,340?"}'"""


def line(workspace: str, words: str) -> str:
    """Gives the documented line for another workspace and another message."""
    documented = sections()["Start and watch"].strip()
    assert WORKSPACE in documented
    assert MESSAGE in documented
    body = shlex.quote(json.dumps({"message": words}))
    return documented.replace(WORKSPACE, f"/workspace/{workspace}/").replace(MESSAGE, body)


@pytest.mark.parametrize("animal", ANIMALS, ids=repr)
def test_what_curl_prints_of_it(house: House, animal: Animal) -> None:
    client = house.admit(animal)
    begin = sections()[""].replace("http://127.0.0.1:8000", house.server.url)
    script = begin + "\n".join(line(client.workspace, words) for words in animal.says)
    done = subprocess.run(["bash", "-u", "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    frames = events(done.stdout.split("retry: 1500\n")[-1])
    ending = frames[-1]
    assert (ending["reason"], ending.get("code")) == (animal.reason, animal.code)
    for words in animal.words:
        assert words in ending["error"]
    if animal.text is not None:
        assert text_of(frames) == animal.text
    if animal.thought is not None:
        assert text_of(frames, "reasoningChunk") == animal.thought
    if animal.calls is not None:
        assert called(frames) == list(animal.calls)
