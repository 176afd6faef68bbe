"""SIGTERM: steps in progress get their time, streams end without an ending, and the next start takes up the rest."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from client import Client, Stream
from model_server import ModelServer, nap, reply, text, tool_calls
from server import Server

RUNS = 20
STREAMS = 200


def test_two_hundred_viewers_get_the_rest_from_the_next_server(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model)
    client = Client(server)
    words = "word " * 60
    gate = model.gate()  # all stand in the midst of an answer until the server leaves, however long that takes
    model.answer = lambda _question: reply(text(words[:20], size=5), gate, text(words[20:], size=5))
    streams = [client.new_thread().send(f"Go {number}") for number in range(RUNS)]
    streams += [client.follow(streams[number % RUNS].run_id) for number in range(STREAMS - RUNS)]
    for stream in streams:
        stream.read_until("textResponseChunk")
    server._process.terminate()  # type: ignore[union-attr]
    streams[0].read()  # until it has an end: the server is leaving
    gate.release()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(Stream.read, streams[1:]))
    assert all(stream.ending is None for stream in streams), "a stream was to end without an ending"
    assert server.terminate() == 0
    server.start()
    with ThreadPoolExecutor(20) as pool:
        rests = list(pool.map(lambda seen: rest_of(client, seen), streams))
    for stream, rest in zip(streams, rests, strict=True):
        frames = stream.frames + rest
        assert frames[-1]["type"] == "finalizeResponseStream"
        assert "".join(each["textResponse"] for each in frames if each.get("type") == "textResponseChunk") == words
    assert len(model.requests) == RUNS, "steps that could finish in time were asked for again"
    client.check_all()


def rest_of(client: Client, stream: Stream) -> list[dict[str, object]]:
    return client.follow(stream.run_id, after=stream.last_seq).read().frames


def test_a_step_that_takes_too_long_is_cut_and_runs_again(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script(reply(text("Half"), nap(600)), "Whole.")
    stream = client.send("Go")
    stream.read_until("Half")
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began > 9, "it was not given its time"
    assert model.wait_closed()
    server.start()
    rest = client.follow(stream.run_id, after=stream.last_seq).read()
    assert rest.frames[0]["type"] == "stepRestarted"
    assert client.follow(stream.run_id).read().text == "Whole."
    client.check_all()


def test_a_tool_that_finishes_in_time_is_not_run_again_and_nothing_new_begins(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path
) -> None:
    server = serve(model=model, app="tooled:app", HOOKS=str(tmp_path))
    client = Client(server).new_thread()
    model.script(reply(tool_calls(("pay", {}))), "Paid.")
    stream = client.send("Go")
    stream.read_until("toolCallInvocation")
    server._process.terminate()  # type: ignore[union-attr]
    stream.read()
    time.sleep(0.5)
    (tmp_path / "go").touch()
    assert server.terminate() == 0
    assert len(model.requests) == 1, "a step began while the server was leaving"
    server.start()
    frames = client.follow(stream.run_id, after=stream.last_seq).read().frames
    result = next(each for each in frames if each["type"] == "toolCallResult")
    assert (result["content"], result["isError"]) == ("pay is done", False)
    assert frames[-1]["type"] == "finalizeResponseStream"
    assert (tmp_path / "ran").read_text().split() == ["pay"]
    client.check_all()


def test_an_answer_while_the_server_leaves_is_kept_and_begins_nothing(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path
) -> None:
    server = serve(model=model, app="tooled:app", HOOKS=str(tmp_path))
    client = Client(server)
    client.post("/api/workspace/default/update", {"tools": {"pay": "ask"}})
    (tmp_path / "go").touch()
    model.script(reply(tool_calls(("pay", {}))), reply(text("Slow"), nap(3), text(" and sure")))
    waiting = client.new_thread().send("Pay")
    request = waiting.read_until("toolApprovalRequest").data or {}
    client.new_thread().send("Go").read_until("Slow")
    server._process.terminate()  # type: ignore[union-attr]
    time.sleep(0.05)
    body = {"requestId": request["requestId"], "approved": True}
    code = 0
    with contextlib.suppress(requests.ConnectionError):  # it may have closed its door already
        code = client.post(f"/api/runs/{waiting.run_id}/respond", body).status_code
    assert server.terminate() == 0
    assert not (tmp_path / "ran").exists(), "a tool began while the server was leaving"
    model.answer = lambda _question: reply(text("Paid."))
    server.start()
    if code != 200:
        client.post(f"/api/runs/{waiting.run_id}/respond", body)
    assert client.wait_ended(waiting.run_id)["reason"] == "completed"
    assert (tmp_path / "ran").read_text().split() == ["pay"]
    for stream in client.streams:
        client.wait_ended(stream.run_id)
    client.check_all()


def test_a_viewer_that_reads_nothing_does_not_hold_the_server(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script(reply(text("word " * 30_000, size=5)))
    run = client.ask("Go").run_id
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        path = f"/api/runs/{run}/events"
        for _ in range(20):  # more than the buffers between take
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1)
        assert server.terminate() == 0
    assert server.rows("SELECT closed_at IS NULL FROM pulse") == [(0,)], "the process did not get to let go of its data"
    server.start()
    client.check_all()


def test_restarts_that_were_asked_for_take_no_life(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script(reply(tool_calls(("ask_user", {"questions": [{"question": "Which?"}]}))), "Fine.")
    stream = client.send("Go")
    request = stream.read_until("clarificationRequest").data or {}
    for _ in range(4):
        assert server.terminate() == 0
        server.start()
    assert client.run(stream.run_id)["status"] == "waiting"
    client.post(f"/api/runs/{stream.run_id}/respond", {"requestId": request["requestId"], "skipped": True})
    assert client.wait_ended(stream.run_id)["reason"] == "completed"
    stream.read()
    client.check_all()
