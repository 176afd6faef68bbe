"""A model that goes round in circles is told from one that was asked for the same again and again."""

from __future__ import annotations

import base64
import random

import pytest
from client import Client
from model_server import ModelServer, delta, frame, reasoning, reply, text

from deechat.agents.repetition import EVERY, Watch, repetition, without_repeats

LETTERS = "etaoin shrdlu, cmfwypvbgk. ETAOIN"
STORY = "".join(random.Random(7).choices(LETTERS, k=30_000))
ROW = "| Alice Smith | 1970-01-01 | Springfield | yes |\n"


def noticed(text: str, size: int = 4) -> int | None:
    """Feeds a text in tokens, looks as the loop does, and gives how many characters there were when it was noticed."""
    watch, since = Watch(), 0
    for at in range(0, len(text), size):
        watch.pieces.append(text[at : at + size])
        since += len(text[at : at + size].encode())
        if since >= EVERY:
            since = 0
            if watch.look():
                return at + size
    return None


@pytest.mark.parametrize("period", [*range(6, 60), *range(60, 210, 7), 199, 200, 350, 777, 1_500, 2_000])
def test_a_circle_of_any_length_is_noticed_after_four_times_and_not_before(period: int) -> None:
    piece = ("qwertz" + STORY)[:period]
    said = "Once upon a time. " + STORY[5_000:7_000]
    needed = 4 * period * -(-200 // period)
    at = noticed(said + piece * (2 * needed // period))
    assert at is not None
    assert needed <= at - len(said) + period <= needed + EVERY + 8 + period
    assert noticed(said + piece * (needed // period - 1) + STORY[8_000:9_000]) is None


@pytest.mark.parametrize("piece", ["- the same item as before\n", ROW, "x = compute(x)\n\n"])
def test_short_lines_are_noticed_too_but_late(piece: str) -> None:
    said = piece * 1_000
    at = noticed(said)
    assert at is not None
    assert 5_000 <= len(said[:at].encode()) <= 5_000 + 2 * EVERY


@pytest.mark.parametrize("piece", ["我不知道该怎么说。", "So it goes on and on. ", "abcdefghij", "0123456789"])
def test_what_says_something_is_noticed_soon(piece: str) -> None:
    at = noticed(piece * 1_000)
    assert at is not None
    assert at <= 1_000


LEGIT = {
    "a rule of dashes": "-" * 100_000,
    "one word": "word " * 20_000,
    "rules of a table": ("|" + "-" * 30) * 20 + "|\n",
    "headings": "=" * 600 + "\n" + "~" * 600,
    "fifty equal rows": "| name | born | city | here |\n|---|---|---|---|\n" + ROW * 50,
    "a list of a thousand zeros": "[" + "0, " * 10_000 + "0]",
    "lines of zeros": ("0 " * 20 + "\n") * 100,
    "hexadecimal zeros": "0x00, " * 600,
    "base64 of noise": base64.encodebytes(random.Random(1).randbytes(6_000)).decode(),
    "base64 of nothing": base64.encodebytes(bytes(3_000)).decode(),
    "a program with equal lines": "def f():\n" + "    counter += 1\n" * 60 + "    return counter\n",
    "a hundred lines to write": "I will not talk in class again.\n" * 100,
    "art": ("    /\\    " * 7 + "\n" + "   /  \\   " * 7 + "\n") * 12,
    "a numbered list": "".join(f"{number}. The same words with another number.\n" for number in range(200)),
    "json": "".join(f'{{"id": {number}, "name": null, "tags": [], "ok": true}},\n' for number in range(100)),
    "a refrain, three times": (STORY[:400] + "\n\n") * 3 + STORY[400:600],
    "a story": STORY,
}


@pytest.mark.parametrize("name", LEGIT)
@pytest.mark.parametrize("size", [1, 4, 999])
def test_what_people_ask_for_is_left_alone(name: str, size: int) -> None:
    assert noticed("Here it is:\n\n" + LEGIT[name] + "\n\nThat is all.", size) is None


def test_of_a_circle_the_first_time_stays() -> None:
    piece = "And so it goes on, and on. "
    said = "A story. " + piece * 100
    assert without_repeats(said) == "A story. " + piece
    cut = said[:-9]  # wherever it was cut off
    assert cut.startswith(without_repeats(cut))
    assert len(without_repeats(cut)) < len("A story. ") + 2 * len(piece)
    assert without_repeats(STORY) == STORY
    assert without_repeats("") == ""
    assert repetition("") is None


def test_hard_texts_take_no_longer_than_others() -> None:
    """Tries are bounded: a text whose end stands in it everywhere, and never as a circle."""
    tail = "a" * 100
    text = "".join(f"{number:04}{tail}" for number in range(80))
    assert repetition(text) is None


# -- in an answer ------------------------------------------------------------------------------------------------------

PIECE = "And once more it says the very same sentence. "


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_an_answer_that_goes_round_in_circles_ends_in_words_and_the_model_server_is_let_go(
    agent: Client, model: ModelServer, field: str
) -> None:
    gate = model.gate()
    begin = text("Well. ") if field == "content" else reasoning("Well. ")
    model.script(reply(begin, *[frame(delta(**{field: PIECE}))] * 100, gate))
    answer = agent.ask("Go")
    ending = answer.ending
    assert ending is not None
    assert (ending["type"], ending["reason"], ending["code"]) == ("abort", "failed", "repetition")
    assert f"the same {len(PIECE)} characters" in ending["error"]
    assert model.wait_closed()
    said = agent.history()[-1]["content" if field == "content" else "reasoning"]
    assert said.startswith("Well. " + PIECE)
    assert len(said) <= len("Well. ") + 100 * len(PIECE)
    model.script("The end.")
    assert agent.go_on(answer.run_id).read().text == "The end."
    sent = [each["content"] for each in model.asked[-1]["messages"][1:]]
    assert sent[:2] == (["Go", ("Well. " + PIECE).strip()] if field == "content" else ["Go"])


def test_a_circle_that_comes_by_itself_to_its_end_is_an_answer(agent: Client, model: ModelServer) -> None:
    model.script(reply(text(ROW * 50, size=50)))
    answer = agent.ask("Fifty equal rows")
    assert answer.text == ROW * 50
    assert answer.ending is not None
    assert answer.ending["type"] == "finalizeResponseStream"
