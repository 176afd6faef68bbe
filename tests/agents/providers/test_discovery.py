"""A model server on this machine is found if it lists a model that can chat, soon enough, and is not ourselves."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from model_server import Answer, ModelServer, drop, free_port, nap, status, stream
from server import ROOT

from deechat.agents.providers import discovery
from deechat.agents.providers.discovery import find_local_server


def test_the_first_that_lists_a_model_is_found_by_its_base_url():
    with ModelServer() as first, ModelServer() as second:
        candidates = [free_port(), first.port, second.port]
        assert find_local_server({1}, 5, candidates) == first.base_url
        assert find_local_server({first.port}, 5, candidates) == second.base_url
        assert [request.path for request in first.requests] == ["/v1/models"]


def test_our_own_port_is_never_connected_to():
    with ModelServer() as ours:
        assert find_local_server({ours.port}, 5, [ours.port]) is None
        assert ours.connections == 0


def test_nothing_is_found_where_nobody_listens():
    assert find_local_server({1}, 5, [free_port()]) is None


@pytest.mark.parametrize(
    "models",
    [
        [],
        ["nomic-embed-text", "whisper-1"],
        status(200, b"<html>welcome</html>"),
        status(200, b'{"data": null}'),
        status(200, b"[" * 100_000),
        status(404, "no"),
        status(302, location="http://127.0.0.1:1/v1/models"),
        status(401, {"data": [{"id": "llama3"}]}),
        Answer([b"SSH-2.0\r\n"], framing="raw"),
        Answer([drop()], framing="raw"),
        Answer([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"], framing="raw"),
    ],
)
def test_a_server_without_a_usable_list_is_not_found(models):
    with ModelServer() as server:
        server.models = models
        assert find_local_server({1}, 2, [server.port]) is None


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_list_may_be_framed_in_any_way(framing):
    with ModelServer() as server:
        body = b'{"object": "list", "data": [{"id": "llama3"}]}'
        server.models = Answer([body], 200, {"content-type": "application/json"}, framing=framing)
        assert find_local_server({1}, 2, [server.port]) == server.base_url


def test_who_is_silent_or_drips_is_given_up_in_time_and_the_next_one_found():
    with ModelServer() as silent, ModelServer() as dripping, ModelServer() as good:
        silent.models = Answer([silent.gate()], framing="raw")
        dripping.models = stream(*[b"x", nap(0.05)] * 1000)
        assert find_local_server({1}, 1, [silent.port, dripping.port, good.port]) == good.base_url
        assert silent.wait_closed()
        assert dripping.wait_closed(), "it was listened to until its last drop"


@pytest.mark.parametrize(
    "flood",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 2000] * 10,
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n" * 10_000] * 10],
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 60_000] * 10],
        [b"HTTP/1.1 200 OK\r\n", *[b"A: " + b"b" * 60_000 + b"\r\n"] * 10],
    ],
    ids=["interim", "chunks", "body", "head"],
)
def test_of_whoever_has_the_port_no_more_is_read_than_a_list_may_have(flood, monkeypatch):
    read = []
    plain = discovery._Reader.readinto

    def counting(reader, buffer):
        read.append(plain(reader, buffer))
        return read[-1]

    monkeypatch.setattr(discovery._Reader, "readinto", counting)
    with ModelServer() as server:
        server.models = Answer(flood, framing="raw")
        assert find_local_server({1}, 30, [server.port]) is None
    assert sum(read) <= discovery.MAX_FOUND + io.DEFAULT_BUFFER_SIZE


def test_what_is_no_model_server_leaves_nothing_behind_and_no_words():
    """Python's development mode tells of what is closed late, on every version; from 3.13 on it is told anyway."""
    code = "import sys, deechat.agents.providers.discovery as d; d.find_local_server({1}, 2, [int(sys.argv[1])])"
    with ModelServer() as server:
        for models in (
            Answer([b"SSH-2.0\r\n"], framing="raw"),
            status(404, "no"),
            status(200, b"<html>welcome</html>"),
        ):
            server.models = models
            command = [sys.executable, "-X", "dev", "-c", code, str(server.port)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
            assert done.stdout + done.stderr == ""
