"""The folds of OpenAI's dialects over fixed logs: frozen, since a change moves the cursors of all clients.

`golden/openai` has the frames of each log and piece. A frame that a test finds changed is a number in some client's
hands: add a new kind of log instead, or a new fold for new logs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from open_responses import check_stream
from openai_logs import LOGS, entries

from deechat.agents.plugins.base import Frame, bytes_of
from deechat.agents.plugins.openai.chat import Chat
from deechat.agents.plugins.openai.responses import Responses
from deechat.agents.plugins.openai.segments import Segments

GOLDEN = Path(__file__).with_name("golden") / "openai"
PIECES = [(name, segment) for name, (_, count) in LOGS.items() for segment in range(count)]
each_piece = pytest.mark.parametrize(("name", "segment"), PIECES)
CHANGED = "the frames of a log that was written once have changed, and with them the cursors of everybody's clients"


def fold(dialect: Segments, name: str) -> list[Frame]:
    return [frame for entry in entries(name) for frame in dialect.fold(entry)]


def lines(frames: list[Frame]) -> str:
    return "".join(f"{bytes_of(frame.data).decode()}\n" for frame in frames)


@each_piece
def test_the_frames_of_a_log_are_those_that_they_always_were(name: str, segment: int) -> None:
    for kind, dialect in (("chat", Chat(segment, counts=True)), ("responses", Responses(segment))):
        golden = (GOLDEN / f"{name}.{segment}.{kind}.jsonl").read_text()
        assert lines(fold(dialect, name)) == golden, CHANGED
        assert dialect.over


def test_each_golden_file_has_its_log() -> None:
    names = {f"{name}.{segment}.{kind}.jsonl" for name, segment in PIECES for kind in ("chat", "responses")}
    assert {path.name for path in GOLDEN.iterdir()} == names


@each_piece
def test_a_replay_from_each_number_is_the_rest_of_what_was_live(name: str, segment: int) -> None:
    live = fold(Responses(segment), name)
    for number in range(len(live)):
        assert fold(Responses(segment, number - 1), name) == live[number:]


@each_piece
def test_each_response_is_valid_as_others_see_it(name: str, segment: int) -> None:
    *frames, done = fold(Responses(segment), name)
    assert done.data == b"[DONE]"
    seen = [(frame.name, frame.data) for frame in frames if isinstance(frame.data, dict)]
    resource = check_stream(seen)
    assert [item["id"] for item in resource["output"]] == list(dict.fromkeys(item["id"] for item in resource["output"]))


@each_piece
def test_the_resource_at_the_end_is_that_of_the_last_event(name: str, segment: int) -> None:
    dialect = Responses(segment)
    frames = fold(dialect, name)
    last = frames[-2].data
    assert isinstance(last, dict)
    assert last["response"] == dialect.resource()


def test_a_piece_that_is_not_there_has_no_frame() -> None:
    for name, (_, count) in LOGS.items():
        assert fold(Responses(count), name) == []


def test_the_pieces_of_a_run_have_all_of_its_text_and_nothing_twice() -> None:
    said = []
    for segment in range(LOGS["their_tools"][1]):
        dialect = Responses(segment)
        fold(dialect, "their_tools")
        said += [item["content"][0]["text"] for item in dialect.resource()["output"] if item["type"] == "message"]
    assert said == ["Let me see.", "Rain.", "Sun."]
