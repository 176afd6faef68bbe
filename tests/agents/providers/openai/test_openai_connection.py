"""The provider waits as long as it may, lets go at once, and takes HTTP as it comes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from model_server import (
    DONE,
    Answer,
    ModelServer,
    cut,
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

from deechat.agents.providers.base import Reasoning, Text, Turn
from deechat.errors import Cancelled
from deechat.events import ToolCall, Usage


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def test_silence_before_the_headers_is_a_timeout_that_says_how_long(rig):
    provider = rig.make(model="m", first_byte_timeout=0.2)
    rig.server.script(Answer([rig.server.gate()], framing="raw"))
    error = rig.fails(provider=provider)
    assert error.code == "model_timeout"
    assert "0.2 s" in error.message
    assert rig.server.wait_closed()


def test_silence_between_headers_and_first_byte_counts_as_before_the_first_byte(rig):
    provider = rig.make(model="m", first_byte_timeout=0.2)
    rig.server.script(stream(rig.server.gate()))
    error = rig.fails(provider=provider)
    assert error.code == "model_timeout"
    assert "0.2 s" in error.message
    assert rig.server.wait_closed()


def test_the_first_byte_may_take_longer_than_the_next_ones(rig):
    provider = rig.make(model="m", first_byte_timeout=20, stall_timeout=0.5)
    rig.server.script(stream(nap(0.8), *reply("late").body), reply("x", rig.server.gate()))
    assert joined(rig.ask(provider=provider), Text) == "late"
    error = rig.fails(provider=provider)
    assert error.code == "model_timeout"
    assert "0.5 s" in error.message


def test_comments_and_empty_lines_keep_a_silent_answer_alive(rig):
    provider = rig.make(model="m", stall_timeout=1)
    beats = [b": ping\n\n", nap(0.3), b"\n", nap(0.3)] * 3
    rig.server.script(stream(*beats, *reply("at last").body))
    assert joined(rig.ask(provider=provider), Text) == "at last"


def test_nobody_waits_for_a_server_that_keeps_the_connection_open_after_done(rig):
    rig.server.script(stream(*reply("all").body, rig.server.gate()))
    assert rig.ask()[-1] == Turn("stop")
    assert rig.server.wait_closed()


def test_silence_after_a_finish_reason_is_no_failure(rig):
    provider = rig.make(model="m", stall_timeout=0.2)
    rig.server.script(reply("all", rig.server.gate(), done=False))
    rig.server.script(stream(*reply("all", done=False).body, rig.server.gate()))
    assert rig.fails(provider=provider).code == "model_timeout"
    assert rig.ask(provider=provider) == [Text("all"), Turn("stop")]


def test_usage_is_waited_for_after_the_finish_reason(rig):
    tokens = reply(finish=None, tokens=(1, 2)).body
    rig.server.script(stream(*reply("all", done=False).body, nap(0.2), *tokens))
    assert rig.ask()[-1] == Turn("stop", usage=Usage(1, 2))


def started(rig: Rig, answer: Answer) -> Any:
    rig.server.script(answer)
    parts = rig.provider.ask(HELLO)
    assert next(parts).text.startswith("x")  # a busy machine reads the next pieces with it
    return parts


@pytest.mark.parametrize("rate", [None, 20])
def test_cancelled_closes_the_connection_and_says_how_long_that_took(rig, rate):
    parts = started(rig, reply("x", text("y" * 500, size=1), rate=rate) if rate else reply("x", rig.server.gate()))
    cancelled = Cancelled()
    with pytest.raises(Cancelled) as caught:
        parts.throw(cancelled)
    assert caught.value is cancelled
    assert isinstance(cancelled.upstream_closed_ms, int)
    assert rig.server.wait_closed()
    assert rig.server.wait(lambda: rig.server.open_connections == 0)


def test_closing_the_generator_closes_the_connection(rig):
    parts = started(rig, reply("x", rig.server.gate()))
    parts.close()
    assert rig.server.wait_closed()


def test_cancelled_while_waiting_to_ask_again_had_nothing_to_close(rig):
    rig.server.script(status(500, "boom"))
    cancelled = Cancelled()

    def interrupted(_: float) -> None:
        raise cancelled

    provider = rig.make(model="m", sleep=interrupted)
    with pytest.raises(Cancelled):
        rig.ask(provider=provider)
    assert cancelled.upstream_closed_ms is None


def test_whole_answers_share_a_connection_and_broken_ones_do_not_return(rig):
    rig.server.script("a", "b", reply("c", cut()), "d")
    rig.ask()
    rig.ask()
    assert rig.server.connections == 1
    rig.fails()
    rig.ask()
    assert rig.server.connections == 2


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from deechat.agents.providers.base import (Question)
from deechat.messages import (UserMessage)
from deechat.agents.providers.openai.provider import OpenAIProvider
from deechat.errors import Cancelled

provider = OpenAIProvider(base_url=sys.argv[1], model=sys.argv[2])
closed = []

def ask():
    try:
        for part in provider.ask(Question([UserMessage("Hello")])):
            pass
    except Cancelled as cancelled:
        closed.append(cancelled.upstream_closed_ms)

greenlets = [gevent.spawn(ask) for _ in range(20)]
gevent.get_hub().threadpool.apply(sys.stdin.readline)
for greenlet in greenlets:
    greenlet.kill(Cancelled(), block=False)
gevent.joinall(greenlets)
print(closed, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("phase", ["before the headers", "before the first byte", "while streaming"])
def test_twenty_greenlets_are_cancelled_in_the_middle_and_all_their_connections_closed(rig, phase):
    gate = rig.server.gate()
    answers = {
        "before the headers": Answer([gate], framing="raw"),
        "before the first byte": stream(gate),
        "while streaming": reply(text("x" * 5000, size=1), rate=50),
    }
    rig.server.answer = lambda question: answers[question["model"]]
    with subprocess.Popen(
        [sys.executable, "-c", GEVENT, rig.server.base_url, phase],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert rig.server.wait_asked(20, timeout=120)
        client.stdin.write("now\n")
        client.stdin.flush()
        closed = client.stdout.readline()
        assert rig.server.wait_closed(20)
        client.stdin.write("bye\n")
    assert len(closed.split(",")) == 20
    assert "None" not in closed


@pytest.mark.parametrize(
    "options",
    [
        {"framing": "close"},
        {"framing": "close", "version": "1.0"},
        {"encoding": "gzip"},
        {"encoding": "deflate"},
        {"encoding": "gzip", "framing": "close"},
        {"headers": {"content-type": "Text/Event-Stream"}},
        {"headers": {}},
    ],
)
def test_an_answer_may_be_framed_compressed_and_typed_in_any_way(rig, options):
    rig.server.script(reply(reasoning("Hm", size=1), text("Hello wörld", size=1), tokens=(1, 2), **options))
    parts = rig.ask()
    assert joined(parts, Text) == "Hello wörld"
    assert parts[-1] == Turn("stop", usage=Usage(1, 2))


def test_all_that_one_read_brings_is_one_part_and_the_order_is_kept(rig):
    gate = rig.server.gate()
    body = b"".join(reply(reasoning("ab", size=1), text("cd", size=1), reasoning("ef", size=1)).body)  # type: ignore[arg-type]
    frames = [line + b"\n\n" for line in body.split(b"\n\n") if line]
    packed = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    rig.server.script(Answer([head, nap(0.3), packed, gate], framing="raw"))
    assert rig.ask() == [Reasoning("ab"), Text("cd"), Reasoning("ef"), Turn("stop")]


def test_what_came_is_given_at_once_though_half_a_chunk_follows(rig):
    gate = rig.server.gate()
    first, rest = b"data: " + b'{"choices":[{"delta":{"content":"now"}}]}\n\n', b"".join(reply("later").body)  # type: ignore[arg-type]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    half = b"%x\r\n%b\r\n%x" % (len(first), first, len(rest))
    rig.server.script(Answer([head, nap(0.2), half, gate, b"\r\n" + rest + b"\r\n0\r\n\r\n"], framing="raw"))
    parts = rig.provider.ask(HELLO)
    assert next(parts) == Text("now")
    gate.release()
    assert joined(list(parts), Text) == "later"


def test_a_loopback_server_is_never_asked_through_a_proxy(rig, monkeypatch):
    with ModelServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        provider = rig.make()
        rig.server.script("direct")
        assert joined(rig.ask(provider=provider), Text) == "direct"
        assert proxy.connections == 0


def test_a_distant_server_is_asked_through_the_proxy_of_the_environment(rig, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{rig.server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    provider = rig.make(base_url="http://models.invalid/v1", model="m")
    rig.server.script("through")
    assert joined(rig.ask(provider=provider), Text) == "through"
    assert rig.server.requests[0].path == "http://models.invalid/v1/chat/completions"


def test_no_key_organisation_or_url_is_taken_from_the_environment(rig, monkeypatch):
    for name in list(os.environ):
        if name.startswith("OPENAI_"):
            monkeypatch.delenv(name)
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"secret-{name}")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{free_port()}/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer secret-header")
    for key in (None, "", " "):
        provider = rig.make(api_key=key)
        rig.server.script("x")
        rig.ask(provider=provider)
        assert not any("secret" in value for request in rig.server.requests for value in request.headers.values())
    assert rig.server.requests[-1].headers["authorization"] == "Bearer none"


def test_a_user_in_the_base_url_goes_as_basic_authentication(rig):
    provider = rig.make(base_url=f"http://me:p%40ss@127.0.0.1:{rig.server.port}/v1/")
    rig.server.script("x")
    rig.ask(provider=provider)
    assert rig.server.requests[-1].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert rig.server.requests[-1].path == "/v1/chat/completions"


def test_a_stream_that_says_done_and_nothing_else_is_a_failure(rig):
    rig.server.script(stream(DONE))
    error = rig.fails()
    assert (error.code, len(rig.server.asked)) == ("model_protocol", 1)
    assert "without saying anything" in error.message


def test_calls_come_whole_through_the_wire(rig):
    rig.server.script(reply(tool_calls(("clock", {"zone": "UTC"}), ("sum", '{"x": "é"}'), size=1)))
    assert rig.ask() == [
        Turn("tool_calls", (ToolCall("", "clock", '{"zone": "UTC"}'), ToolCall("", "sum", '{"x": "é"}')))
    ]
