"""The lines of docs/curl.md, as they stand there, in a real shell against a real server, and what comes out of each."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from server import ROOT, Server

PAGE = (ROOT / "docs" / "curl.md").read_text()
MARK = "=== "


def sections() -> dict[str, str]:
    """Gives the page's commands by the heading that they stand below; those before the first one have none."""
    found = {}
    for section in re.split(r"^## ", "\n" + PAGE, flags=re.MULTILINE):
        for block in re.findall(r"^```sh\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE):
            found[section.split("\n")[0] if found else ""] = block
    return found


@pytest.fixture(scope="module")
def said(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs the whole page in one shell, twice, and gives what each section printed the second time."""
    script = "".join(f"echo; echo '{MARK}{name}'\n{block}" for name, block in sections().items())
    script = script.replace("http://127.0.0.1:8000", server.url)
    folder: Path = tmp_path_factory.mktemp("shell")
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-u", "-c", script], check=False, cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
    parts = [part.partition("\n") for part in done.stdout.split(f"\n{MARK}")[1:]]
    return {name: text for name, _, text in parts}


def events(text: str) -> list[dict[str, Any]]:
    """Gives the frames of an event stream; heartbeats are none."""
    return [json.loads(data) for data in re.findall(r"^id: \d+\ndata: (.*)$", text, flags=re.MULTILINE)]


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame.get("type") or frame["action"] for frame in frames]


def answer(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["textResponse"] for frame in frames if frame.get("type") == "textResponseChunk")


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_each_thing_is_done_by_one_line_that_says_what_it_does() -> None:
    lines = [line for block in sections().values() for line in block.splitlines()]
    assert all(line.startswith(("curl ", "RUN=$(curl ", "REQUEST=$(curl ", "API=")) for line in lines)
    assert not {"jq", "python"} & set(re.findall(r"\w+", "\n".join(lines)))
    for section in PAGE.split("\n## ")[1:]:
        words = section.split("\n", 1)[1].split("```")[0].strip()
        assert words.count("\n") <= 2, section
        assert len(words) > 100


def test_a_message_streams_its_answer(said: dict[str, str]) -> None:
    frames = events(said["Start and watch"])
    assert types(frames)[0] == "runStarted"
    assert types(frames)[-1] == "finalizeResponseStream"
    assert answer(frames) == "`17% of 2,340` = **397.8**"


def test_lines_of_json_are_numbered(said: dict[str, str]) -> None:
    frames = objects(said["Lines of JSON instead"])
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
    assert answer(frames) == "`2^10` = **1024**"


def test_a_run_that_nobody_watches_waits_and_says_for_what(said: dict[str, str]) -> None:
    (stands,) = objects(said["See where it stands"])
    assert stands["run"]["status"] == "waiting"
    assert [each["type"] for each in stands["run"]["pending"]] == ["clarificationRequest"]


def test_what_is_steered_is_read_with_the_answer(said: dict[str, str]) -> None:
    assert "error" not in said["Steer"]
    assert "error" not in said["Answer a question"]
    frames = events(said["Come back after a break"])
    assert "inputReceived" in types(frames)
    assert types(frames)[-1] == "finalizeResponseStream"
    text = answer(frames)
    for words in ("Paris", "(skipped)", "Writing, dancing", "`6*7` = **42**"):
        assert words in text


def test_the_cursor_gives_what_follows_it_and_polling_the_same(said: dict[str, str]) -> None:
    text = said["Come back after a break"]
    assert [int(seq) for seq in re.findall(r"^id: (\d+)$", text, flags=re.MULTILINE)][:2] == [6, 7]
    (polled,) = objects(said["Poll"])
    assert [each["data"] for each in polled["frames"]] == events(text)
    assert polled["ended"] is True


def test_a_yes_may_change_the_arguments(said: dict[str, str]) -> None:
    frames = events(said["Approve"])
    (used,) = [frame["arguments"] for frame in frames if frame.get("type") == "toolCallInvocation"]
    assert used == {"url": "https://two.invalid/"}
    (result,) = [frame for frame in frames if frame.get("type") == "toolCallResult"]
    assert result["isError"]
    assert types(frames)[-1] == "finalizeResponseStream"


def test_a_yes_for_good_is_not_asked_for_again(said: dict[str, str]) -> None:
    approved, again = said["Approve for good"].split("retry: 1500\n")[1:]
    assert types(events(approved))[-1] == "finalizeResponseStream"
    assert types(events(again))[-1] == "finalizeResponseStream"
    assert "toolCallInvocation" in types(events(again))
    assert "toolApprovalRequest" not in types(events(again))


def test_what_was_allowed_for_good_is_shown_and_taken_back(said: dict[str, str]) -> None:
    before, after = objects(said["Take it back"].replace("}{", "}\n{"))
    assert [each["allowed"] for each in before["tools"] if "allowed" in each] == [["three.invalid"]]
    assert after["message"] is None


def test_a_stop_ends_it_and_a_new_run_goes_on_from_there(said: dict[str, str]) -> None:
    (stopped,) = objects(said["Stop"])
    assert stopped["stopped"] is True
    assert stopped["run"]["reason"] == "stopped"
    frames = events(said["Continue"])
    assert frames[0]["continues"] == stopped["run"]["id"]
    assert types(frames)[-1] == "finalizeResponseStream"
