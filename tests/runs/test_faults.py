"""Whatever a model server does, the run ends once, with its code, and what had been said stays in the thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from client import Client
from model_answers import Answer, cut, delta, drop, reasoning, reply, status, stream, text, tool_calls
from model_server import ModelServer, free_port
from server import Server, wait_until

SECRET = "sk-a-secret-that-nobody-may-see"
HALF = text("Half an answ")
# What the model server does, the code, and a word that the person must read.
FAULTS: dict[str, tuple[Answer, str, str]] = {
    "401": (status(401, {"error": {"message": f"bad key {SECRET}"}}), "model_auth", "OPENAI_API_KEY"),
    "403": (status(403, "no"), "model_auth", "OPENAI_API_KEY"),
    "404": (status(404, {"error": {"message": "no such model"}}), "model_not_found", "fake-1"),
    "429 that asks for an hour": (status(429, "slow", retry_after="3600"), "model_rate_limited", ""),
    "too long a context": (
        status(400, {"error": {"code": "context_length_exceeded", "message": "maximum context length is 10"}}),
        "context_length",
        "",
    ),
    "another 400": (status(400, {"error": {"message": "I do not like it"}}), "model_error", "I do not like it"),
    "an error in the stream": (reply(*HALF, {"error": {"message": f"gone {SECRET}"}}), "model_error", "gone"),
    "a redirect": (status(302, "", location="http://evil.example/v1"), "model_protocol", "evil.example"),
    "a page instead of a stream": (
        Answer([b"<html>"], headers={"content-type": "text/html"}, framing="length"),
        "model_protocol",
        "",
    ),
    "a line that is no JSON": (stream(b"data: {nonsense\n\n"), "model_protocol", ""),
    "a connection that is reset": (reply(*HALF, cut()), "model_protocol", ""),
    "a connection that just ends": (reply(*HALF, drop()), "model_protocol", ""),
    "an end without an end": (reply(*HALF, finish=None, done=False), "model_protocol", ""),
    "an endless answer": (reply(*[text("x" * 100_000)] * 11), "answer_too_long", "1 MB"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_run_with_its_code_and_keeps_what_was_said(
    agent: Client, model: ModelServer, fault: str
) -> None:
    answer, code, words = FAULTS[fault]
    model.script(answer)
    model.answer = lambda _question: "Well again."  # after a summary, where the answer was endless
    stream = agent.ask("Go")
    ending = stream.frames[-1]
    assert (ending["type"], ending["code"], ending["reason"]) == ("abort", code, "failed")
    assert words in ending["error"]
    kept = agent.history()[-1]
    assert (kept["content"], kept["reason"], kept["code"], kept["error"]) == (
        stream.text,
        "failed",
        code,
        ending["error"],
    )
    assert SECRET not in agent.call("GET", f"/api/runs/{stream.run_id}/events").text
    assert SECRET not in agent.server.log
    assert agent.ask("Again").text == "Well again."


def test_what_is_retried_says_so_and_goes_on(agent: Client, model: ModelServer) -> None:
    model.script(status(503, "busy"), status(429, "slow", retry_after="0"), "At last.")
    stream = agent.ask("Go")
    assert stream.text == "At last."
    codes = [frame["code"] for frame in stream.frames if frame.get("type") == "statusResponse"]
    assert codes == ["model_retry", "model_retry"]
    assert len(model.asked) == 3


@pytest.mark.parametrize(("number", "code"), [(500, "model_error"), (429, "model_rate_limited")])
def test_retries_end_after_two(agent: Client, model: ModelServer, number: int, code: str) -> None:
    model.answer = lambda _question: status(number, "no", retry_after="0")
    assert agent.ask("Go").frames[-1]["code"] == code
    assert len(model.asked) == 3


def test_a_server_that_is_not_there_is_named(serve: Callable[..., Server]) -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    for settings in ({"DEECHAT_MODEL": "m"}, {}):
        client = Client(serve(DEECHAT_PROVIDER="openai", OPENAI_BASE_URL=address, **settings))
        ending = client.ask("Go").frames[-1]
        assert (ending["type"], ending["code"]) == ("abort", "model_unreachable")
        assert address in ending["error"]
        client.check_all()


def test_silence_before_and_after_the_first_byte_is_a_timeout(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model=model, DEECHAT_FIRST_BYTE_TIMEOUT="0.4", DEECHAT_STALL_TIMEOUT="0.4"))
    for before in ([], [text("Half")]):
        model.script(reply(*before, model.gate()))
        ending = client.ask("Go").frames[-1]
        assert (ending["type"], ending["code"]) == ("abort", "model_timeout")
        assert "0.4" in ending["error"]
    assert client.history()[-1]["content"] == "Half"
    assert model.wait_closed(2)
    client.check_all()


def test_the_model_is_the_servers_first_that_can_chat(serve: Callable[..., Server]) -> None:
    with ModelServer("text-embedding-3", "whisper-1", "good-model", "other") as model:
        client = Client(serve(DEECHAT_PROVIDER="openai", OPENAI_BASE_URL=model.base_url))
        # A run does not wait for long until the server has told its models.
        wait_until(lambda: client.get("/api/models")["current"] == "good-model")
        model.script("Hi.")
        assert client.ask("Hello").frames[0]["model"] == "good-model"
        assert model.asked[0]["model"] == "good-model"
        assert client.get("/api/models")["current"] == "good-model"
        client.check_all()


def test_a_server_that_takes_no_tools_is_asked_without_them_from_then_on(serve: Callable[..., Server]) -> None:
    with ModelServer() as model:
        client = Client(serve(model=model))
        model.script(status(400, {"error": {"message": "fake-1 does not support tools"}}), "Plain.", "Plain again.")
        stream = client.ask("Hello")
        assert stream.text == "Plain."
        assert "tools_refused" in [frame.get("code") for frame in stream.frames]
        assert client.ask("Hello").text == "Plain again."
        assert ["tools" in asked for asked in model.asked] == [True, False, False]
        client.check_all()


# -- what a sound model server may do ----------------------------------------------------------------------------------

THREE: list[tuple[str, Any]] = [("calculator", {"expression": f"{number}*10"}) for number in (1, 2, 3)]


def calls_and_results(frames: list[dict[str, Any]]) -> tuple[list[Any], dict[str, str]]:
    invoked = [frame for frame in frames if frame.get("type") == "toolCallInvocation"]
    results = {frame["toolCallId"]: frame["content"] for frame in frames if frame.get("type") == "toolCallResult"}
    return [(frame["toolCallId"], frame["arguments"]) for frame in invoked], results


def without_ids(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for chunk in chunks:
        for call in chunk["choices"][0]["delta"]["tool_calls"]:
            call.pop("id", None)
    return chunks


@pytest.mark.parametrize(
    "chunks",
    [
        tool_calls(*THREE, size=3),
        tool_calls(*THREE),
        without_ids(tool_calls(*THREE, size=4)),
        [
            delta(
                tool_calls=[
                    {"index": at, "function": {"name": name, "arguments": f'{{"expression": "{at + 1}*10"}}'}}
                    for at, (name, _) in enumerate(THREE)
                ]
            )
        ],
    ],
    ids=["in pieces", "heads and arguments", "in pieces, without ids", "all in one chunk"],
)
def test_three_calls_of_one_turn_are_all_run(agent: Client, model: ModelServer, chunks: list[Any]) -> None:
    model.script(reply(chunks), "Done.")
    stream = agent.ask("Go")
    invoked, results = calls_and_results(stream.frames)
    assert [arguments["expression"] for _, arguments in invoked] == ["1*10", "2*10", "3*10"]
    assert len({call_id for call_id, _ in invoked}) == 3
    assert [results[call_id] for call_id, _ in invoked] == ["10", "20", "30"]
    sent = model.asked[1]["messages"]
    assert [each["content"] for each in sent if each["role"] == "tool"] == ["10", "20", "30"]
    assert stream.text == "Done."


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_comes_under_any_of_its_names(agent: Client, model: ModelServer, key: str) -> None:
    model.script(reply(reasoning("Let me think", size=4, key=key), text("Yes.")))
    stream = agent.ask("Go")
    assert stream.text == "Yes."
    thought = [frame["textResponse"] for frame in stream.frames if frame.get("type") == "reasoningChunk"]
    assert "".join(thought) == "Let me think"


@pytest.mark.parametrize("size", [1, 3, None])
def test_reasoning_between_tags_is_never_mixed_into_the_answer(
    agent: Client, model: ModelServer, size: int | None
) -> None:
    model.script(reply(text("<think>Let me think</think>Yes.", size=size)))
    stream = agent.ask("Go")
    assert (stream.text, agent.history()[-1]["reasoning"]) == ("Yes.", "Let me think")


def test_a_stream_cut_anywhere_is_never_a_half_answer_called_complete(agent: Client, model: ModelServer) -> None:
    whole = reply(text("Grüße, 世界 😀!", size=2), tokens=(5, 3))
    recorded = whole.whole()
    for end in range(0, len(recorded), 37):
        model.script(stream(recorded[:end], framing="close"))
        thread = agent.new_thread()
        frames = thread.ask("Go").frames
        if frames[-1]["type"] == "abort":
            assert frames[-1]["code"] == "model_protocol"
        else:
            assert thread.history()[-1]["content"] == "Grüße, 世界 😀!"


# -- what could keep everybody else waiting ----------------------------------------------------------------------------


def flood(block: bytes) -> Callable[[Any], None]:
    """Sends the block again and again until the client has had enough."""

    def send(connection: Any) -> None:
        while True:
            connection.send(b"%x\r\n%b\r\n" % (len(block), block))

    return send


SAYS_NOTHING = {
    "empty lines": b"\n" * 65_536,
    "comments": b": keep\n" * 9_000,
    "empty deltas": b'data: {"choices":[]}\n\n' * 3_000,
}


@pytest.mark.parametrize("block", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_a_flood_that_says_nothing_can_be_stopped(agent: Client, model: ModelServer, block: bytes) -> None:
    model.script(reply(flood(block)))
    stream = agent.send("Go")
    assert model.wait_asked()  # the step is told before the model is asked
    assert agent.call("GET", "/api/ping", timeout=10).status_code == 200
    assert agent.stop(stream.run_id)["stopped"] is True
    assert model.wait_closed(timeout=5)


def test_thousands_of_calls_in_one_turn_are_refused(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(*[("calculator", "{}")] * 2_000)))
    ending = agent.ask("Go").frames[-1]
    assert (ending["code"], "1000" in ending["error"]) == ("model_protocol", True)


SLOW_TO_READ = {"exceed": "exceed" * 5_000, "title": "<title" * 200_000, "long": "a" * 500_000 + " " * 500_000}


@pytest.mark.parametrize("words", SLOW_TO_READ.values(), ids=SLOW_TO_READ)
def test_words_made_to_be_slow_to_read_are_read(agent: Client, model: ModelServer, words: str) -> None:
    model.script(status(400, {"error": {"message": words}}), reply({"error": {"message": words}}))
    for _ in range(2):
        assert agent.ask("Go").frames[-1]["code"] == "model_error"


def test_a_name_that_a_model_made_up_does_not_fail_later_turns(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(("get weather \u540d", "{}"))), "Sorry.")
    agent.ask("Go")
    (call,) = model.asked[1]["messages"][2]["tool_calls"]
    assert call["function"]["name"] == "get_weather__"


def test_a_finish_reason_that_is_no_word_is_not_passed_on(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("Hi"), finish=SECRET))
    stream = agent.ask("Go")
    assert (stream.text, stream.frames[-1]["finishReason"]) == ("Hi", "other")
