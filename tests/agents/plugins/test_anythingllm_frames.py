"""The frames for AnythingLLM's page: frozen bytes, and what its reducer makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anythingllm_page import Page
from golden import METRICS, QUESTION, SOURCE

from deechat.agents.plugins.anythingllm import AnythingLLM, request_words
from deechat.agents.plugins.base import FromStart, Plugin
from deechat.agents.plugins.sse import SSE
from deechat.events import (
    AnyEvent,
    ClarificationRequest,
    Entry,
    InputReceived,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Status,
    Steered,
    StepFinished,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    TextClosed,
    ThreadRenamed,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
    ToolProgress,
    Usage,
)

GOLDEN = Path(__file__).parent / "golden" / "anythingllm.json"
STARTED = RunStarted("r", "m", "w", "t", None, "model")
CALL = ToolCallInvocation("c", "calculator", {"expression": "1+1"})
RESULT = ToolCallResult("c", "calculator", "2")
APPROVAL = ToolApprovalRequest("a1", "c", "web_fetch", {"url": "https://a.example/"}, "A page will be fetched.")
APPROVED = InputReceived("a1", "Approved", approved=True)
SECOND = ToolApprovalRequest("a2", "d", "web_fetch", {"url": "https://b.example/"}, "A page will be fetched.")
REFUSED = InputReceived("a2", "Refused", approved=False)
ASKS = ClarificationRequest("q1", "c", (QUESTION,))
ANSWERED = InputReceived("q1", "Here", answers=({"skipped": False, "answer": "Here"},))
DONE = RunCompleted("stop", METRICS)


def finished(step: int, reason: str = "tool_calls") -> StepFinished:
    return StepFinished(step, reason, Usage(1, 1))


LOGS: dict[str, list[AnyEvent]] = {
    "plain": [STARTED, ThreadRenamed("t", "Hi"), StepStarted(1), TextChunk("Hel"), TextChunk("lo"), finished(1, "stop"),
              TextClosed((SOURCE,)), DONE],
    "thoughts": [STARTED, StepStarted(1), ReasoningChunk("Hm"), ReasoningChunk("."), TextChunk("Yes"),
                 TextClosed(), DONE],
    "a call": [STARTED, StepStarted(1), TextChunk("Wait."), finished(1), Status("🔧 x", "tool_call"), CALL,
               ToolProgress("c", "calculator", "half", 0.5), RESULT, StepStarted(2), ReasoningChunk("So"),
               TextChunk("\n\n2"), TextClosed(), DONE],
    "a status after text": [STARTED, StepStarted(1), TextChunk("One"), finished(1), StepStarted(2),
                            Status("Trying again", "model_retry"), TextChunk(" two"), TextClosed(), DONE],
    "three bubbles": [STARTED, StepStarted(1), TextChunk("A"), CALL, RESULT, StepStarted(2), TextChunk("B"), CALL,
                      RESULT, StepStarted(3), TextChunk("C"), TextClosed(), DONE],
    "failed in mid-text": [STARTED, StepStarted(1), TextChunk("Half"), RunFailed("model_error", "It broke.")],
    "failed at once": [STARTED, StepStarted(1), RunFailed("model_auth", "No key.")],
    "stopped in mid-text": [STARTED, StepStarted(1), ReasoningChunk("Hm"), TextChunk("Half"), RunStopped(1)],
    "stopped in a thought": [STARTED, StepStarted(1), ReasoningChunk("Hm"), RunStopped()],
    "stopped at once": [STARTED, StepStarted(1), RunStopped()],
    "restarted": [STARTED, StepStarted(1), ReasoningChunk("Hm"), TextChunk("Hal"), StepRestarted(1, 2),
                  TextChunk("Whole"), TextClosed(), DONE],
    "restarted in its second step": [STARTED, StepStarted(1), TextChunk("First."), CALL, RESULT, StepStarted(2),
                                     TextChunk("Hal"), StepRestarted(2, 6), TextChunk(" Whole"), TextClosed(), DONE],
    "retold": [STARTED, StepStarted(1), TextChunk("I think"), StepRetold(1, 2, "thinking"), ReasoningChunk("I think"),
               TextChunk("Yes"), TextClosed(), DONE],
    "an approval": [STARTED, StepStarted(1), TextChunk("Look."), finished(1), APPROVAL, APPROVED, CALL, RESULT,
                    StepStarted(2), TextChunk("Read."), TextClosed(), DONE],
    "two approvals": [STARTED, StepStarted(1), finished(1), APPROVAL, SECOND, RESULT, APPROVED, REFUSED, StepStarted(2),
                      TextChunk("Read."), TextClosed(), DONE],
    "a question": [STARTED, StepStarted(1), finished(1), ASKS, ANSWERED, RESULT, StepStarted(2), TextChunk("Here."),
                   DONE],
    "stopped while it asks": [STARTED, StepStarted(1), finished(1), ASKS, RunStopped()],
    "failed while it asks": [STARTED, StepStarted(1), finished(1), ASKS, RunFailed("storage_failed", "No room.")],
    "a message joins": [STARTED, StepStarted(1), TextChunk("A"), Steered("In euros."), StepStarted(2), TextChunk("B"),
                        TextClosed(), DONE],
    "no text": [STARTED, StepStarted(1), ReasoningChunk("Hm"), finished(1, "stop"), RunCompleted("no_text", METRICS)],
    "cut": [STARTED, StepStarted(1), TextChunk("Hal"), finished(1, "length"), RunCompleted("length", METRICS)],
}  # fmt: skip


def entries(name: str) -> list[Entry]:
    return [Entry(seq, 1.0, event) for seq, event in enumerate(LOGS[name], start=1)]


def frames(log: list[Entry], after: int = 0, answered: int = 0) -> list[dict[str, Any]]:
    """Gives the frames of one stream, as far as it goes."""
    dialect = AnythingLLM("m", after=after, answered=answered)
    found = []
    for entry in log:
        found += [frame.data for frame in dialect.fold(entry)]
        if dialect.over:
            break
    assert all(isinstance(each, dict) for each in found)
    return found  # type: ignore[return-value]


def streams(log: list[Entry]) -> list[list[dict[str, Any]]]:
    """Gives the frames of all streams of a run: each further one begins behind the last entry before a reply."""
    found, after = [frames(log)], 0
    asked = [entry.seq for entry in log if isinstance(entry.event, InputReceived)]
    for seq in asked:
        after = seq - 1
        found.append(frames(log, after))
    return found


def page_of(name: str) -> Page:
    """Gives the page after a run, each of whose requests was answered by a prompt."""
    page = Page()
    for each in streams(entries(name)):
        page.send("prompt")
        page.take(each)
    return page


# -- frozen ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGS)
def test_an_old_log_gives_the_frames_that_it_always_gave(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    assert json.loads(json.dumps(streams(entries(name)))) == golden, (
        "the fold has changed for logs that are stored: what this page was shown of them is no longer what it will be"
    )


def test_the_golden_file_has_no_other_logs() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(LOGS)


@pytest.mark.parametrize("name", LOGS)
def test_a_stream_that_begins_later_is_the_rest_of_the_whole_one(name: str) -> None:
    log = entries(name)
    whole = [each for each in log if not isinstance(each.event, ToolApprovalRequest | ClarificationRequest)]
    all_frames = AnythingLLM("m")
    counts = [list(all_frames.fold(entry)) for entry in whole]
    for after, cut in enumerate(whole, start=1):
        rest = AnythingLLM("m", after=cut.seq)
        again = [frame for entry in whole for frame in rest.fold(entry)]
        assert again == [frame for each in counts[after:] for frame in each]


def test_what_is_encoded_is_one_line_of_data_without_an_id() -> None:
    plugin = Plugin(AnythingLLM("m"), SSE(retries=False))
    assert isinstance(AnythingLLM("m"), FromStart)
    blocks = [plugin.frame(entry) for entry in entries("plain")]
    assert blocks[0] == b""
    assert blocks[3].startswith(b'data: {"id":"m","uuid":"m:1","type":"textResponseChunk","textResponse":"Hel"')
    assert plugin.heartbeat(3) == b": ping\n\n"


# -- what the page makes of it -----------------------------------------------------------------------------------------

TEXTS = {
    "plain": "Hello",
    "thoughts": "\n\nYes",
    "a call": "Wait.\n\n2",
    "a status after text": "One two",
    "three bubbles": "ABC",
    "failed in mid-text": "Half",
    "stopped in mid-text": "Half",
    "restarted": "Whole",
    "restarted in its second step": "First. Whole",
    "retold": "Yes",
    "a message joins": "AB",
}


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_the_text_stands_there_once_and_whole(name: str, text: str) -> None:
    assert "".join(page_of(name).text.split()) == "".join(text.split())


@pytest.mark.parametrize("name", LOGS)
def test_no_text_that_counts_ever_vanishes_and_the_stop_button_stays_to_the_end(name: str) -> None:
    page = Page()
    for stream in streams(entries(name)):
        page.send("prompt")
        for number, frame in enumerate(stream):
            before, voids = page.text.strip(), len(page.errors)
            loading = page.loading
            page.take([frame])
            if len(page.errors) == voids:
                assert page.text.strip().startswith(before), frame
            final = any(
                each.get("type") in {"finalizeResponseStream", "stopGeneration", "abort"} for each in stream[number:]
            )
            assert not loading or page.loading or final
            assert loading or frame.get("type") != "textResponseChunk" or frame["textResponse"] == ""
        assert not page.loading


@pytest.mark.parametrize("name", LOGS)
def test_no_frame_puts_itself_in_place_of_what_was_said(name: str) -> None:
    for stream in streams(entries(name)):
        types = [each.get("type") for each in stream]
        assert "statusResponse" not in types
        assert "abort" not in types or types == ["abort"]


def test_a_failure_stands_behind_the_text_and_alone_where_there_is_none() -> None:
    page = page_of("failed in mid-text")
    assert (page.text, page.errors) == ("Half", ["It broke."])
    assert page_of("failed at once").errors == ["No key."]


@pytest.mark.parametrize("name", ["plain", "thoughts", "a call", "restarted", "failed at once"])
def test_a_stream_that_ends_before_its_log_keeps_what_was_said_and_gives_the_send_button_back(name: str) -> None:
    log = entries(name)
    for count in range(1, len(log)):
        dialect, page = AnythingLLM("m"), Page()
        page.send("Hi")
        page.take(frame.data for entry in log[:count] for frame in dialect.fold(entry))  # type: ignore[misc]
        text, thoughts = page.text, page.thoughts
        assert page.loading
        page.take(frame.data for frame in dialect.cut_off())  # type: ignore[misc]
        assert not page.loading
        assert page.text.startswith(text)
        assert thoughts in page.thoughts
        assert "again in a moment" in page.text + "".join(page.errors)
        assert set(page.ids) <= {None}, "it may get its id when it has ended"


def test_thoughts_calls_and_statuses_are_thoughts() -> None:
    assert page_of("thoughts").thoughts.strip() == "Hm."
    thoughts = page_of("a call").thoughts
    assert thoughts.split() == ["🔧", "calculator", '`{"expression":"1+1"}`', "→", "2", "So"]
    assert page_of("a status after text").thoughts.strip() == "Trying again"
    assert page_of("stopped in a thought").thoughts.strip() == "Hm"


@pytest.mark.parametrize("name", [name for name in LOGS if name in TEXTS])
def test_the_message_id_is_bound_to_the_prompt_and_the_last_bubble_alone(name: str) -> None:
    ids = page_of(name).ids
    assert (ids[0], ids[-1]) == ("m", "m")
    assert set(ids[1:-1]) <= {None}


def test_metrics_and_sources_are_the_last_bubbles() -> None:
    page = page_of("plain")
    assert page.answers[-1]["sources"][0]["title"] == "Title"
    assert page.answers[-1]["metrics"]["total_tokens"] == 15
    assert page.names == {"t": "Hi"}
    assert [bool(each["metrics"]) for each in page_of("three bubbles").answers] == [False] * 4 + [True]


def test_what_a_restart_made_void_is_an_error_in_its_place() -> None:
    page = page_of("restarted")
    assert page.errors == ["The server was restarted; this is said anew below."]
    assert page.thoughts == ""


@pytest.mark.parametrize("request_", [APPROVAL, ASKS])
def test_a_request_is_told_in_words_with_the_way_to_answer(request_: Any) -> None:
    words = request_words(request_, "en")
    for each in (
        ("web_fetch", "https://a.example/", "yes, no or always") if request_ is APPROVAL else ("Where?", "/skip")
    ):
        assert each in words
    assert request_words(request_, "zh") != words


def test_a_request_ends_the_stream_and_the_next_one_begins_with_the_reply() -> None:
    first, second = streams(entries("an approval"))
    page = Page()
    page.send("Read it")
    page.take(first)
    assert "web_fetch" in page.text
    assert not page.loading
    assert set(page.ids) == {None}, "there is no message yet that could be edited"
    page.send("yes")
    page.take(second)
    assert page.text.endswith("Read.")
    assert page.thoughts.split()[:1] == ["Approved"]
    assert page.ids[-1] == "m"


def test_requests_come_one_after_the_other_and_results_between_are_told_later() -> None:
    first, second, third = streams(entries("two approvals"))
    assert "a.example" in str(first)
    assert "b.example" not in str(first)
    assert "→ 2" in str(second)
    assert "b.example" in str(second)
    assert "Refused" in str(third)
    assert "Read." in str(third)


@pytest.mark.parametrize(
    ("name", "kind"), [("stopped while it asks", "stopGeneration"), ("failed while it asks", "abort")]
)
def test_a_run_that_ends_instead_of_a_reply_gives_the_send_button_back(name: str, kind: str) -> None:
    page = Page()
    page.send("/stop")
    assert [each["type"] for each in frames(entries(name), after=4)] == [kind]
    assert not page.take(frames(entries(name), after=4)).loading


def test_of_a_run_that_is_joined_late_answered_requests_end_no_stream() -> None:
    log = entries("an approval")
    page = Page()
    page.send("And then?")
    page.take(frames(log, answered=7))
    assert page.text.endswith("Read.")
    assert "a.example" in page.thoughts


def test_no_two_bubbles_of_a_run_have_the_same_uuid_whatever_stream_they_come_on() -> None:
    for name in LOGS:
        seen: set[str] = set()
        for stream in streams(entries(name)):
            uuids = {each["uuid"] for each in stream if each.get("type") == "textResponseChunk"}
            assert not uuids & seen
            seen |= uuids
