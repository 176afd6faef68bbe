"""What a model server may send to keep us busy costs no more than reading it: counted in characters and calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from model_server import delta, frame

from deechat.agents.providers.base import Part, Text
from deechat.agents.providers.openai import calls as calls_module
from deechat.agents.providers.openai import faults, thinking
from deechat.agents.providers.openai import turn as turn_module
from deechat.agents.providers.openai.calls import LONGEST_NAME, MOST_CALLS, Calls
from deechat.agents.providers.openai.chunks import MOST_OBJECTS, CallPiece, Function
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import ModelError

DONE = b"data: [DONE]\n\n"


def said(error: Any) -> ModelError:
    return ModelError(str(error), code="model_error")


def read(*pieces: bytes) -> list[Part]:
    """Gives the parts of a stream that comes in these reads."""
    turn = Assembler(said)
    return [part for piece in (*pieces, DONE) for part in turn.feed(piece)] + list(turn.end())


def noted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Notes the last argument of each call of a function."""
    plain, seen = getattr(owner, name), []

    def noting(*arguments: Any, **named: Any) -> Any:
        seen.append(arguments[-1])
        return plain(*arguments, **named)

    monkeypatch.setattr(owner, name, noting)
    return seen


# -- thinking that only its end tells ----------------------------------------------------------------------------------

LINES = "\n" * (thinking.WATCHED - 2_000)


@pytest.mark.parametrize(
    "pieces",
    [
        [f"x{LINES}a ", "</think>", *[" "] * 900, "b"],  # what follows the tag is waited for
        [f"x{LINES}", '"</think>" ' * 15],
        [f"x{LINES}", *['"</think>" '] * 15],
        [*["line\n"] * 10_000, *['"</think>" ', "and so on\n"] * 15],
    ],
    ids=["undecided", "words in one piece", "words in many", "many pieces"],
)
def test_the_text_before_a_closing_tag_is_looked_at_once(
    pieces: Iterable[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = noted(monkeypatch, thinking._Before, "add")
    parts = read(*[frame(delta(content=piece)) for piece in pieces])
    text = "".join(part.text for part in parts if isinstance(part, Text))
    assert text == "".join(pieces)
    assert 0 < sum(map(len, looked)) <= len(text)


def test_a_closing_tag_far_behind_is_not_looked_for_even_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = noted(monkeypatch, thinking._Before, "add")
    text = "a" * (thinking.WATCHED + 1) + "</think>b" * 30
    assert read(frame(delta(content=text)))[0] == Text(text)
    assert looked == []


def test_white_space_that_may_be_thinking_is_joined_once() -> None:
    blanks = [frame(delta(reasoning=" "))] * 20_000
    turn = Assembler(said)
    assert [part for piece in blanks for part in turn.feed(piece)] == []
    assert len(turn._blanks) == 20_000
    assert read(*blanks[:50], frame(delta(content="a")))[0] == Text("a")


# -- many things in one line -------------------------------------------------------------------------------------------


def test_objects_in_one_line_are_read_once_and_no_more_than_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    again = noted(monkeypatch, turn_module, "loosely")
    hello = frame(delta(content="Hello"))
    assert read(b"data: " + b"{}" * MOST_OBJECTS + b"\n\n", hello)[0] == Text("Hello")
    assert again == []
    with pytest.raises(ModelError, match="more than 1,000 objects in one line") as caught:
        read(b"data: " + b"{}" * 60_000 + b"\n\n", hello)
    assert caught.value.code == "model_protocol"


def test_words_beside_others_in_one_line_are_heard() -> None:
    with pytest.raises(ModelError, match="out of memory"):
        read(b'data: {"id":"a"}{"message":"out of memory"}\n\n')


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{}] * 1_001},
        {**delta(tool_calls=[{"index": 0, "id": "a"}] * 1_001)},
        delta(content=[{"type": "text", "text": "a"}] * 1_001),
        delta(content=[{"thinking": [{"text": "a"}] * 1_001}]),
        delta(reasoning_details=[{"type": "t", "text": "a"}] * 1_001),
    ],
    ids=["choices", "calls", "content", "thinking", "kept"],
)
def test_a_list_in_a_chunk_has_at_most_a_thousand_items(chunk: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="a list of more than 1,000 items") as caught:
        read(frame(chunk))
    assert caught.value.code == "model_protocol"


# -- what is gathered until the end ------------------------------------------------------------------------------------


def test_the_pieces_of_a_kept_text_are_joined_at_the_end() -> None:
    lists = turn_module.Kept()
    for _ in range(50):
        lists.feed("reasoning_details", [{"type": "t", "text": "a"}] * 1_000)
    (item,) = lists._lists["reasoning_details"]
    assert list(map(len, item._pieces["text"])) == [1] * 50_000
    assert lists.whole() == {"reasoning_details": [{"type": "t", "text": "a" * 50_000}]}


def test_what_is_too_long_to_be_kept_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = noted(monkeypatch, turn_module, "mend_all")
    with pytest.raises(ModelError, match="limit of 4 MB"):
        turn_module.Kept().feed("thinking_blocks", [{"thinking": "a" * turn_module.MAX_KEPT}])
    assert mended == []


def test_a_call_is_found_by_its_id_however_many_there_are() -> None:
    calls = Calls()
    for number in range(MOST_CALLS):
        calls.feed(CallPiece(number, f"i{number}", Function("a")))
    compared = []

    class Label(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

    for _ in range(1_000):
        calls.feed(CallPiece(0, Label("i0"), Function("a")))
    assert len(compared) <= 3 * 1_000  # 1,000 times that when all calls were looked through
    assert len(calls.whole()[0]) == MOST_CALLS


def test_no_more_objects_are_told_apart_than_calls_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = noted(monkeypatch, calls_module, "canonical")
    calls = Calls()
    for number in range(20_000):
        calls.feed(CallPiece(0, "i", Function("a", f'{{"a":{number}}}')))
    with pytest.raises(ModelError, match="more than 1000 tools"):
        calls.whole()
    assert len(compared) <= 2


def test_a_name_has_an_end() -> None:
    calls = Calls()
    for number in range(LONGEST_NAME):
        calls.feed(CallPiece(0, "i", Function("ab"[number % 2])))
    with pytest.raises(ModelError, match="more than 10,000 characters") as caught:
        calls.feed(CallPiece(0, "i", Function("a")))
    assert caught.value.code == "model_protocol"


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        {"message": "gone", **{f"k{number}": "v" for number in range(200_000)}},
        {"message": "gone", "all": [{"a": 1}] * 200_000},
        [{"message": "gone"}, *[{"b": 1}] * 200_000],
        {"message": "gone", "code": {f"k{number}": "v" for number in range(200_000)}},
    ],
    ids=["fields", "items", "a list", "its code"],
)
def test_of_an_error_the_first_fields_are_looked_at(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = noted(monkeypatch, faults, "_own")
    dumped = noted(monkeypatch, faults, "_lower")
    fault = faults.Faults("http://x/v1").said(error, "m")
    assert "gone" in fault.message
    assert len(looked) <= 2 * faults.MOST_FIELDS + 10
    assert all(len(str(each)) <= 20 * faults.MOST_FIELDS for each in dumped)


def test_what_lies_deep_in_an_error_is_left_out() -> None:
    error: Any = "gone"
    for _ in range(900):
        error = {"error": error}
    assert "gone" not in faults.Faults("http://x/v1").said(error, "m").message
    assert "gone" in faults.Faults("http://x/v1").said({"error": {"error": {"detail": "gone"}}}, "m").message
