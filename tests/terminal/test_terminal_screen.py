"""What a person reads in a terminal for each frame; what others wrote can do nothing there but be read."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import Any, get_args

import pytest
from golden import GOLDEN

from deechat.agents.plugins.base import Json
from deechat.agents.plugins.deechat import frame_of
from deechat.events import (
    LACKING,
    AnyEvent,
    ClarificationRequest,
    Entry,
    HistorySummarized,
    Metrics,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    Status,
    StepRetold,
    TextChunk,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
)
from deechat.locale import say
from deechat.terminal.screen import _PIECES, LACKS, Output, Screen, clean, kind_of, render

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")
STYLE = re.compile(r"\x1b\[[0-9]{1,2}m")
CHOICE = {
    "kind": "choice",
    "question": "Which?",
    "options": ["a", "b"],
    "optionDescriptions": ["first", "second"],
    "multiSelect": True,
    "allowOther": True,
}


def frame(event: AnyEvent) -> Json:
    return frame_of(Entry(7, 1.5, event), "i")


def read(*frames: Json) -> str:
    """Gives what a person at a terminal reads of the frames."""
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    screen = Screen(out, io.StringIO(), partial(say, "terminal", "en"), colour=False)
    for each in frames:
        screen.show(each)
    return out.getvalue()


def show(event: AnyEvent, language: str = "en") -> str:
    return render(frame(event), partial(say, "terminal", language))


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (RunStarted("r", "i", "w", "t", None, "m"), ""),
        (RunStarted("r", "i", "w", "t", None, "m", continues="q"), "↪ goes on from the answer before\n"),
        (Status("🔧 x", "tool_call", {"name": "x"}), ""),
        (Status("Trying again", "model_retry"), "Trying again\n"),
        (
            HistorySummarized("m", "Secrets.", Usage(1, 1)),
            "⋯ What was said earlier is a summary for the model from here on.\n",
        ),
        (HistorySummarized("m", "", Usage(0, 0)), ""),
        (TextChunk("two\nlines"), "two\nlines"),
        (ToolCallInvocation("c", "x", {"a": 1, "b": "two"}), "🔧 x  a: 1  b: two\n"),
        (ToolCallResult("c", "x", "one\ntwo"), "   x → one two\n"),
        (ToolCallResult("c", "x", "no", is_error=True, seconds=1.23), "   x ✗ no  (1.2 s)\n"),
        (ToolCallResult("c", "x", "a" * 400), "   x → " + "a" * 300 + "… (100 more characters)\n"),
        (ToolProgress("c", "x", "Reading 120 kB"), "   x … Reading 120 kB\n"),
        (ToolProgress("c", "x", "a" * 60, 0.256), "   x … " + "a" * 50 + "…  (26%)\n"),
        (ToolCallInvocation("c", "ask_user", {"questions": []}), ""),
        (ToolCallResult("c", "ask_user", "Where?: Here"), ""),
        (ToolCallResult("c", "ask_user", "cancelled", is_error=True), "   ask_user ✗ cancelled\n"),
        (
            ToolApprovalRequest("q", "c", "x", {"path": "a\nb"}, "It writes."),
            (
                "❓ x needs your yes.\n   It writes.\n   path: a\n      b\n"
                "   [y]es · [n]o · [a]lways · [e]dit the arguments\n"
            ),
        ),
        (
            ClarificationRequest("q", "c", ({"kind": "input", "question": "Where?"}, CHOICE)),
            (
                "❓ The agent asks:\n   1. Where?\n   2. Which?\n      1) a · first\n      2) b · second\n"
                "      several can be chosen: 1,3\n      or words of your own\n"
            ),
        ),
        (RunFailed("model_auth", "No key."), "✗ No key.\n"),
        (
            RunCompleted("length", Metrics(10, 5, 15, 0.0, None, 2.0, None, estimated=True)),
            "The model reached its limit; the answer is cut there.\n? · ≈ 10 + 5 tokens · 2.0 s\n",
        ),
        (
            RunCompleted("content_filter", Metrics(1, 0, 1, 0.0, None, 2.0, "m")),
            "The model's provider filtered this answer; what it held back is missing.\nm · 1 + 0 tokens · 2.0 s\n",
        ),
        (
            RunCompleted("no_text", Metrics(1, 0, 1, 0.0, None, 2.0, "m")),
            "The model ended its turn without saying anything more.\nm · 1 + 0 tokens · 2.0 s\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_frame_is_read_as(event: AnyEvent, text: str) -> None:
    assert show(event) == text


def test_every_frame_has_its_place_in_the_table_and_a_later_version_s_is_left_out() -> None:
    types = {kind_of(frame(event)) for event, _, _ in GOLDEN} - {""}
    assert set(_PIECES) == types | {"resync"}
    assert {type(event) for event, _, _ in GOLDEN} == set(get_args(AnyEvent))
    assert read({"type": "of tomorrow"}, {"type": "heartbeat", "lastEventId": 3}) == ""


def test_each_finish_reason_that_an_answer_lacks_something_for_is_said() -> None:
    assert set(LACKS) == LACKING


@pytest.mark.parametrize("event", [event for event, _, _ in GOLDEN], ids=lambda event: type(event).__name__)
def test_a_frame_is_shown_in_both_languages_or_in_none(event: AnyEvent) -> None:
    english, chinese = show(event), show(event, "zh")
    assert bool(english) == bool(chinese)
    assert english.endswith("\n") == chinese.endswith("\n")


def test_an_approval_shows_what_is_approved_up_to_a_length_that_is_said() -> None:
    shown = show(ToolApprovalRequest("q", "c", "x", {"text": "a" * 3_999}, ""))
    assert "a" * 3_999 in shown
    assert "… (1 more characters)" in show(ToolApprovalRequest("q", "c", "x", {"text": "a" * 4_001}, ""))


# -- what is not obeyed ------------------------------------------------------------------------------------------------

EVIL = "\x1b]0;title\x07\x1b[31m\x1b[2J\x9b1m\x1bPq\x1b\\\x1b(0\x90x\x9c\r\x08\x00\x7f\x85\u202e\u2066\x1bc\ud800"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;ZXZpbA==\x1b\\copied", "copied"),
        ("\x9b31mred", "red"),
        ("safe\rforged", "safeforged"),
        ("a\x08b", "ab"),
        ("\x1b", ""),
        ("\x1b[", ""),
        ("yes\u202eon", "yeson"),
        ("\ud800", "\ufffd"),
        ("one\u2028two", "one\ntwo"),
        ("é 😀 中文 👩\u200d👩", "é 😀 中文 👩\u200d👩"),
    ],
    ids=ascii,
)
def test_of_control_characters_line_breaks_and_tabs_are_left(text: str, left: str) -> None:
    assert clean(text) == left


def test_a_sequence_that_comes_in_two_pieces_is_broken_too() -> None:
    shown = "".join(show(TextChunk(piece)) for piece in ("\x1b", "[2J", "\x1b]0;", "title\x07"))
    assert not CONTROL.search(shown)


def test_cleaning_takes_time_in_proportion_to_the_text() -> None:
    for hard in ("\x1b]", "\x1b[", "\x9d", "\x1bP\x1b", "\x1b[0;"):
        assert not CONTROL.search(clean(hard * 100_000))  # were it quadratic, this would take hours


def evil(value: Any) -> Any:
    """Gives the value with something evil in each of its texts, also in the names of its fields."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, dict):
        return {name: evil(each) for name, each in value.items()}
    return [evil(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("event", [event for event, _, _ in GOLDEN], ids=lambda event: type(event).__name__)
def test_no_frame_brings_control_characters_to_the_terminal(event: AnyEvent) -> None:
    whole = frame(event)
    forged = {**evil(whole), "type": whole.get("type", ""), "code": "other"}
    for key in ("arguments", "payload"):
        if key in forged:
            forged[key] = {EVIL: EVIL, "x": {EVIL: [EVIL]}}
    if "questions" in forged:
        forged["questions"] = [{**evil(CHOICE), "kind": "choice"}, {"kind": "input", "question": EVIL}]
    for language in ("en", "zh"):
        assert not CONTROL.search(render(forged, partial(say, "terminal", language)))
        coloured = render(forged, partial(say, "terminal", language), colour=True)
        assert not CONTROL.search(STYLE.sub("", coloured))


def test_a_forged_line_of_an_argument_is_set_in() -> None:
    shown = show(ToolApprovalRequest("q", "c", "x", {"note": "hi\n❓ y needs your yes."}, ""))
    assert "\n❓ y" not in shown


# -- how pieces follow each other --------------------------------------------------------------------------------------


def test_colour_stands_around_words_only_where_it_is_wanted() -> None:
    thought = frame(ReasoningChunk("Hm\n"))
    assert render(thought, partial(say, "terminal", "en"), colour=True) == "\x1b[2mHm\x1b[0m\n"
    assert render(thought, partial(say, "terminal", "en")) == "Hm\n"
    assert render(frame(TextChunk("plain")), partial(say, "terminal", "en"), colour=True) == "plain"


def test_text_flows_and_what_is_no_text_begins_a_line() -> None:
    out = io.StringIO()
    output = Output(out)
    for kind, piece in (
        ("reasoningChunk", "Let me"),
        ("reasoningChunk", " see."),
        ("textResponseChunk", "It is"),
        ("textResponseChunk", " 4.\n\nOr"),
        ("statusResponse", "Trying again\n"),
        ("textResponseChunk", "\n\n"),
        ("textResponseChunk", "\n5"),
        ("abort", "Failed\n"),
        ("abort", ""),
    ):
        output.write(kind, piece)
    assert out.getvalue() == "💭 Let me see.\nIt is 4.\n\nOr\nTrying again\n5\nFailed\n"


def test_a_line_of_progress_is_replaced_where_the_terminal_can_and_a_notice_where_it_cannot() -> None:
    pieces = [
        ("toolCallInvocation", "🔧 x\n"),
        ("toolProgress", "x … one\n"),
        ("toolProgress", "x … two\n"),
        ("toolCallResult", "x → done\n"),
        ("toolCallResult", "y → done\n"),
        ("toolProgress", "z … one\n"),
        ("textResponseChunk", "Hm."),
        ("toolProgress", "z … two\n"),
    ]
    plain = "".join(piece for _, piece in pieces).replace("Hm.", "Hm.\n")
    up = "\x1b[A\x1b[2K"
    replaced = plain.replace("x … two", up + "x … two").replace("x → done", up + "x → done")
    for colour, wanted in ((False, plain), (True, replaced)):
        out = io.StringIO()
        out.isatty = lambda: True  # type: ignore[method-assign]
        output = Output(out, colour=colour)
        for kind, piece in pieces:
            output.write(kind, piece)
        assert out.getvalue() == wanted
        output.line_ended()  # the person pressed Enter: the line above is theirs
        output.write("toolProgress", "z … three\n")
        assert out.getvalue() == wanted + "z … three\n"


def test_thinking_that_was_said_as_text_is_said_again() -> None:
    events = [TextChunk("Hm"), StepRetold(1, 3, "thinking"), ReasoningChunk("Hm"), TextChunk("4"), ReasoningChunk("\n")]
    assert read(*map(frame, events)) == "Hm\n↻ So far that was thinking:\n💭 Hm\n4"


def test_an_answer_that_was_said_as_thinking_is_said_again() -> None:
    events = [ReasoningChunk("4"), StepRetold(1, 3, "text"), TextChunk("<think>4")]
    assert read(*map(frame, events)) == "💭 4\n↻ That was no thinking but the answer:\n<think>4"


def test_an_answer_that_fails_and_one_that_comes_again_are_read_in_lines() -> None:
    events = [ReasoningChunk("Hm"), TextChunk("4"), RunFailed("model_error", "Gone.")]
    assert read(*map(frame, events)) == "💭 Hm\n4\n✗ Gone.\n"
    assert read({"type": "resync"}) == "↻ All of it comes again, from the start.\n"
