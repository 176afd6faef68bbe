"""Every way in which a model server can fail has its code and its words, and no secret in them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from model_server import (
    DONE,
    Answer,
    cut,
    delta,
    drop,
    frame,
    free_port,
    nap,
    reasoning,
    reply,
    status,
    stream,
    text,
    tool_calls,
)
from openai_rig import HELLO, Rig, joined

from deechat.agents.providers.base import Part, Reasoning, Text, Turn
from deechat.agents.providers.openai.faults import Faults, retry_after, words_in
from deechat.errors import MODEL_CODES, ModelError


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def event(error: object) -> Answer:
    return stream(frame({"error": error}))


TOO_LONG = [
    {"message": "Too much.", "code": "context_length_exceeded"},
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "the request exceeds the available context size. try increasing the context size",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "the input length exceeds the context length",
    "Please reduce the length of the messages or completion.",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "input length and `max_tokens` exceed context limit: 1 + 2 > 3",
]
HTML = b"<!doctype html><html><head><title>Welcome</title></head></html>"
AS_HTML = {"content-type": "text/html"}

ROWS = [
    *((status(code, "no"), "model_auth", "OPENAI_API_KEY") for code in (401, 403)),
    (status(404, "no such thing"), "model_not_found", "fake-1"),
    (status(404, HTML, content_type="text/html"), "model_not_found", "http://127.0.0.1"),
    (status(400, "The model `fake-1` does not exist"), "model_not_found", "fake-1"),
    (status(400, "x is not a valid model ID"), "model_not_found", "fake-1"),
    (status(429, "slow down", retry_after="99"), "model_rate_limited", "99 s"),
    *((status(400, {"error": words}), "context_length", "longer than fake-1 can read") for words in TOO_LONG),
    *((event(words), "context_length", "longer than fake-1 can read") for words in TOO_LONG),
    (status(413, "prompt is too long"), "context_length", "prompt is too long"),
    (status(400, "bad thing"), "model_error", "bad thing"),
    (status(409, {"detail": "in conflict"}), "model_error", "in conflict"),
    (status(418, b"plain words"), "model_error", "plain words"),
    (status(402, {"error": "pay first"}), "model_error", "pay first"),
    (status(422, {"detail": [{"loc": ["body"], "msg": "odd body"}]}), "model_error", "odd body"),
    (event({"message": "it burns", "code": 500}), "model_error", "it burns"),
    (event("only words"), "model_error", "only words"),
    (event({"message": "busy", "code": 429}), "model_rate_limited", "busy"),
    (event({"message": "x", "type": "rate_limit_error"}), "model_rate_limited", "again"),
    (stream(b'event: error\ndata: {"message": "odd"}\n\n'), "model_error", "odd"),
    (stream(b"event: error\ndata: not even JSON\n\n"), "model_error", "not even JSON"),
    (stream(b'data: {"object": "error", "message": "vLLM"}\n\n'), "model_error", "vLLM"),
    (stream(b'{"error": "no field name"}\n'), "model_error", "no field name"),
    (event({"message": "a list", "code": [429]}), "model_error", "a list"),
    (event({"message": "an object", "code": {"status": 429}}), "model_error", "an object"),
    (status(302, location="https://u:pw@elsewhere.example/x?key=1"), "model_protocol", "(elsewhere.example)"),
    (status(307, location="/login"), "model_protocol", "redirects are not followed"),
    (status(308, location="http://[bad"), "model_protocol", "redirects are not followed"),
    (status(304), "model_protocol", "nowhere"),
    (stream(HTML, headers=AS_HTML), "model_protocol", "text/html"),
    (status(200, {"object": "chat.completion", "choices": []}), "model_protocol", "application/json"),
    (stream(b"data: {not json}\n\n"), "model_protocol", "not a chunk of JSON"),
    (stream(b'data: {"choices": \n\n'), "model_protocol", "not a chunk of JSON"),
    (stream(b'data: {"choices": \ndata: {"choices": []}\n\n'), "model_protocol", "not a chunk of JSON"),
    (stream(b"data: {'choices': [{'delta': {'content': 'x'}}]}\n\n"), "model_protocol", "not a chunk of JSON"),
    (stream(b'data: {"choices": [{"delta": {"content": "x"}}]} {"x": \n\n'), "model_protocol", "not a chunk of JSON"),
    (reply("x", delta(error={"message": "in the delta"})), "model_error", "in the delta"),
    (stream(b'{\n"choices": [\n'), "model_protocol", "not a chunk of JSON"),
    (stream(b'data: {"x": ' + b"[" * 100_000 + b"\n\n"), "model_protocol", "nested too deeply"),
    (stream(*[b'data: {"x' + b"x" * 50_000 + b"\n"] * 81), "model_protocol", "more than 4 MB"),
    (stream(b"data: [1, 2]\n\n"), "model_protocol", "neither a finish_reason nor [DONE]"),
    (stream(b'data: {"a": "\\ud83d", "b": NaN}\n\n'), "model_protocol", "neither a finish_reason nor [DONE]"),
    (stream(b"data: no such thing here\n\n"), "model_protocol", "but said: no such thing here"),
    (stream(b'error: {"message": "a field"}\n\n', DONE), "model_error", "a field"),
    (stream(b"error: plain words\n\n", DONE), "model_error", "plain words"),
    (stream(b'event: error\ndata: {\ndata: "message": "over lines"}\n\n'), "model_error", "over lines"),
    (stream(frame({"type": "error", "message": "typed"})), "model_error", "typed"),
    (event({"error": {"message": "within", "code": 429}}), "model_rate_limited", "within"),
    (status(200, {"detail": "Not Found"}), "model_error", "Not Found"),
    (Answer([b"Ollama is running"], headers={"content-type": "text/plain"}), "model_protocol", "Ollama is running"),
    (stream(*[b"x" * 100_000] * 41), "model_protocol", "more than 4 MB"),
    (reply("half", finish=None, done=False), "model_protocol", "neither a finish_reason nor [DONE]"),
    (stream(), "model_protocol", "neither a finish_reason nor [DONE]"),
    (reply("x", cut()), "model_protocol", "broken off"),
    (reply("x", drop()), "model_protocol", "broken off"),
    (Answer([drop()], framing="raw"), "model_protocol", "broken off"),
    (Answer([cut()], framing="raw"), "model_protocol", "broken off"),
    (Answer([b"SSH-2.0-thing\r\n"], framing="raw"), "model_protocol", "broken off"),
    (stream(b"data: {", framing="close", headers={"content-length": "99"}), "model_protocol", "broken off"),
    (
        stream(b"no gzip", headers={"content-type": "text/event-stream", "content-encoding": "gzip"}),
        "model_protocol",
        "unpacked",
    ),
    (reply(delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])), "model_protocol", "without a name"),
    (reply(text("x" * 1_000_001, size=50_000)), "answer_too_long", "1 MB"),
    (reply(reasoning("é" * 500_001, size=50_000)), "answer_too_long", "1 MB"),
    (reply(tool_calls(("f", '{"a": "' + "x" * 1_000_001), size=50_000)), "answer_too_long", "1 MB"),
    (reply("x" * 600_000, reasoning("y" * 400_001)), "answer_too_long", "1 MB"),
]


@pytest.mark.parametrize(("answer", "code", "words"), ROWS)
def test_each_failure_has_its_code_and_says_what_was_wrong(rig, answer, code, words):
    rig.server.script(answer)
    error = rig.fails()
    assert (error.code, len(rig.server.asked)) == (code, 1)
    assert words in error.message
    assert code in MODEL_CODES
    assert error.__cause__ is None


def test_a_megabyte_is_not_too_long(rig):
    rig.server.script(reply(text("x" * 1_000_000, size=50_000)))
    assert len(joined(rig.ask(), Text)) == 1_000_000


@pytest.mark.parametrize("code", [500, 503])
def test_a_server_error_after_retries_has_the_servers_words(rig, code):
    rig.server.script(*[status(code, {"error": {"message": "out of\x00 memory\r\n"}})] * 3)
    error = rig.fails()
    assert (error.code, error.message) == ("model_error", f"The model server failed ({code}): out of memory")


def test_a_rate_limit_after_retries_says_when_to_try_again(rig):
    rig.server.script(*[status(429, "slow", retry_after="7")] * 3)
    error = rig.fails()
    assert (error.code, error.retry_after) == ("model_rate_limited", 7)
    assert "Try again in 7 s." in error.message


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:{port}/v1",
        "https://127.0.0.1:{port}/v1",
        "http://models.invalid/v1",
        "ftp://127.0.0.1/v1",
        "127.0.0.1/v1",
    ],
)
def test_a_server_that_cannot_be_reached_is_named_by_its_base_url(rig, base_url):
    url = base_url.format(port=free_port())
    error = rig.fails(provider=rig.make(base_url=url, model="m", first_byte_timeout=5))
    assert error.code == "model_unreachable"
    assert url in error.message
    assert "Errno" not in error.message + error.why


def test_tls_with_a_server_that_has_none_is_unreachable(rig):
    rig.server.script(*[Answer([b"HTTP/1.1 400 No\r\n\r\n"], framing="raw")] * 3)
    url = f"https://127.0.0.1:{rig.server.port}/v1"
    assert rig.fails(provider=rig.make(base_url=url, model="m", first_byte_timeout=0.3)).code == "model_unreachable"


def test_an_errors_body_without_end_is_read_no_further_than_needed(rig):
    rig.server.script(Answer([b"x" * 8000] * 10_000, 400, {"content-type": "text/plain"}))
    error = rig.fails()
    assert error.code == "model_error"
    assert len(error.message) < 700
    assert rig.server.wait_closed()


def test_an_errors_body_that_breaks_off_leaves_the_status(rig):
    rig.server.script(Answer([b"half", cut()], 401, {"content-type": "text/plain"}))
    assert rig.fails().code == "model_auth"


def test_what_was_said_before_a_fault_comes_before_it(rig):
    rig.server.script(stream(b"".join(frame(chunk) for chunk in text("Hello", size=1)) + b"data: {\n\n"))
    seen: list[Part] = []
    with pytest.raises(ModelError):
        seen.extend(rig.provider.ask(HELLO))
    assert rig.server.asked
    rig.server.script(stream(b"".join(frame(chunk) for chunk in text("Hello", size=1)) + b"data: {\n\n"))
    parts = rig.provider.ask(HELLO)
    assert next(parts) == Text("Hello")
    with pytest.raises(ModelError):
        next(parts)


KEY = "my-own-key-42"
LEAKY = f"Incorrect API key provided: {KEY}. Bearer {KEY} sk-proj-abc_DEF-123 at http://me:hunter2@host/ c2VjcmV0"


@pytest.mark.parametrize(
    "answer",
    [
        *(status(code, LEAKY) for code in (400, 401, 403, 404, 418)),
        status(429, LEAKY, retry_after="99"),
        status(400, LEAKY.encode()),
        event({"message": LEAKY}),
        event(LEAKY),
    ],
)
def test_no_secret_is_in_a_message_a_traceback_or_a_log(rig, answer, caplog):
    caplog.set_level(logging.DEBUG)
    url = rig.server.base_url.replace("//", "//me:hunter2@")
    provider = rig.make(base_url=url, api_key=KEY)
    rig.server.script(answer)
    error = rig.fails(provider=provider)
    told = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error)["message"]) + caplog.text
    for secret in (KEY, "abc_DEF", "hunter2", "me:"):
        assert secret not in told


def test_a_connection_error_holds_no_secret_either(rig):
    url = f"http://me:hunter2@127.0.0.1:{free_port()}/v1?key=hidden"
    error = rig.fails(provider=rig.make(base_url=url, model="m"))
    assert "hunter2" not in error.message
    assert "hidden" not in error.message


@pytest.mark.parametrize("key", ["schlüssel-1", "line\nbreak", "nul\x00byte"])
def test_a_key_that_no_header_can_carry_is_said_before_anything_is_sent(rig, key):
    error = rig.fails(provider=rig.make(api_key=key, model="m"))
    assert error.code == "model_auth"
    assert "OPENAI_API_KEY" in error.message
    assert key not in error.message
    assert rig.server.connections == 0


UNEXPECTED = {"error": "Unexpected endpoint or method. (POST /chat/completions)"}


def test_an_address_that_is_not_known_is_named_and_so_is_the_usual_one(rig):
    url = rig.server.base_url.removesuffix("/v1")
    rig.server.script(status(200, UNEXPECTED))
    error = rig.fails(provider=rig.make(base_url=url, model="m"))
    assert error.code == "model_error"
    assert UNEXPECTED["error"] in error.message
    assert "OPENAI_BASE_URL. The addresses of most model servers end in /v1." in error.message


def test_no_other_address_is_named_where_it_has_a_version(rig):
    rig.server.script(status(200, UNEXPECTED), status(404, "page not found"))
    for error in (rig.fails(), rig.fails()):
        assert "most model servers" not in error.message
        assert "OPENAI_BASE_URL" in error.message


def test_a_listing_that_is_not_there_leaves_no_hole_in_the_words(rig):
    rig.server.models = status(404, b"<html><title>404 Not Found</title></html>", content_type="text/html")
    with pytest.raises(ModelError) as caught:
        rig.provider.models()
    assert caught.value.code == "model_not_found"
    assert "lists no models (404: 404 Not Found)" in caught.value.message
    assert "  " not in caught.value.message


def test_long_words_are_cut():
    assert len(Faults("http://x").clean("word " * 1000)) == 500


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, ""),
        ({}, ""),
        ({"error": {"message": "m"}}, "m"),
        ({"error": "e"}, "e"),
        ({"message": "m", "code": 1}, "m"),
        ([{"msg": "a"}, "b"], "a; b"),
        ("<html><TITLE>Bad gateway</TITLE>", "Bad gateway"),
        ("<p>", "an HTML page"),
        ("<?xml version='1.0'?><Error><Message>no such deployment</Message></Error>", "no such deployment"),
        ({"odd": 1}, '{"odd": 1}'),
        ({"error": True, "message": "m"}, "m"),
        ({"error": {"code": 7}}, '{"error": {"code": 7}}'),
        ({"error": "Bad Request", "message": "m"}, "Bad Request: m"),
        ({"error": {"message": "m"}, "message": "m"}, "m"),
        ({"title": "Not Found", "status": 404, "detail": "no account"}, "Not Found: no account"),
        ({"error": {"message": "wrapped", "metadata": {"raw": '{"error": "really"}'}}}, "wrapped: really"),
        ({"error": {"message": "m", "metadata": {"provider_name": "p"}}}, "m"),
        ({"Response": {"Error": {"Code": "x", "Message": "m"}}}, "m"),
        ({"base_resp": {"status_code": 1, "status_msg": "m"}}, "m"),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b"),
        ('{"error": {"message": "m"}}', "m"),
        ('{"error":', '{"error":'),
        ('event: error\ndata: {"error": "m"}\n\n', "m"),
        ("data: words", "words"),
        ({"error": 7}, "7"),
    ],
)
def test_the_words_of_an_error_body_are_found(body, words):
    assert words_in(body) == words


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0.5", 0.5), ("-1", 0), ("inf", None), ("nan", None), ("soon", None), ("", None), (formatdate(0), 0)],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date_counts_from_now():
    assert (retry_after({"retry-after": formatdate(9_999_999_999, usegmt=True)}) or 0) > 3500


@pytest.mark.parametrize("now", [0.0, 9_999_999_000.0])
def test_a_retry_after_that_is_a_date_is_told_by_the_clock_of_who_sent_it(now: float) -> None:
    headers = {"date": formatdate(now, usegmt=True), "retry-after": formatdate(now + 7, usegmt=True)}
    assert retry_after(headers) == 7


RECORDED = reply(
    reasoning("Hm", size=1), text("Hé", size=1), tool_calls(("clock", {"z": "é"}), size=4), tokens=(5, 6)
).whole()


@pytest.mark.parametrize("ending", ["cut", "drop", "close"])
def test_a_stream_cut_at_any_byte_is_whole_or_a_failure(rig, ending):
    rig.server.script(stream(RECORDED))
    whole = rig.ask()
    codes, longest_failure = set(), 0
    finished = RECORDED.index(b'"finish_reason": "tool_calls"')
    step = 1 if ending == "close" else 13  # the parsing sees every byte, the transport's ways to end it some
    for at in range(0, len(RECORDED), step):
        piece = RECORDED[:at]
        moves = {"cut": [piece, nap(0.001), cut()], "drop": [piece, drop()], "close": [piece]}[ending]
        rig.server.script(stream(*moves, framing="close" if ending == "close" else "chunked"))
        try:
            parts = rig.ask()
        except ModelError as error:
            codes.add(error.code)
            longest_failure = at
        else:
            assert at > finished
            assert joined(parts, Text) == joined(whole, Text)
            assert joined(parts, Reasoning) == joined(whole, Reasoning)
            turn, expected = parts[-1], whole[-1]
            assert isinstance(turn, Turn)
            assert isinstance(expected, Turn)
            assert turn.calls == expected.calls
    assert codes == {"model_protocol"}
    assert longest_failure < len(RECORDED) - len(DONE)
