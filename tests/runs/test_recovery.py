"""The server dies and comes back: nothing that anyone saw is missing, and the next turn is valid."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from client import Client, Stream
from model_server import ModelServer, reply, text, tool_calls
from server import Server

KILLS = 50
SERVERS = 2  # that are killed side by side
STREAMS = 4  # open on each when it is killed


def integrity(server: Server) -> str:
    connection = sqlite3.connect(server.database)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def test_fifty_kills_lose_no_frame_that_anyone_saw(serve: Callable[..., Server], model: ModelServer) -> None:
    model.answer = lambda _question: reply(text("word " * 400, size=5), rate=500)
    clients = [Client(serve(model=model, DEECHAT_RECOVER="0")) for _ in range(SERVERS)]
    with ThreadPoolExecutor(SERVERS) as side_by_side:
        list(side_by_side.map(kill_again_and_again, clients, range(SERVERS)))
    for client in clients:
        assert integrity(client.server) == "ok"
        assert len(client.streams) == KILLS // SERVERS * STREAMS
        for stream in client.streams:
            run = client.run(stream.run_id)
            assert (run["status"], run["reason"]) == ("ended", "interrupted")
        # Each run's log holds every frame that was seen, byte for byte, and ends once.
        client.check_all()


def kill_again_and_again(client: Client, seed: int) -> None:
    """Kills the client's server at a random moment of its streams, reads what was on its way, and starts it again."""
    chance = random.Random(seed)
    for _ in range(KILLS // SERVERS):
        streams = [client.new_thread().send("Go") for _ in range(STREAMS)]
        for stream in streams:
            stream.read_until("textResponseChunk")
        enough = time.monotonic() + chance.uniform(0, 0.15)
        for stream in streams:
            for _ in stream:
                if time.monotonic() > enough:
                    break
        client.server.kill()
        for stream in streams:
            stream.read()
        client.server.start()


def test_a_run_too_old_to_go_on_leaves_its_text_and_a_valid_next_turn(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model, DEECHAT_RECOVER="0")
    client = Client(server).new_thread()
    gate = model.gate()
    model.script(reply(text("Half an answ"), gate), "The rest.")
    stream = client.send("Go")
    stream.read_until("Half")
    server.kill()
    server.start()
    again = client.follow(stream.run_id, after=stream.last_seq).read()
    assert [frame["type"] for frame in again.frames][-1] == "abort"
    assert (again.frames[-1]["reason"], again.frames[-1]["code"]) == ("interrupted", "interrupted")
    answer = client.history()[-1]
    assert (answer["content"], answer["reason"], answer["code"]) == ("Half an answ", "interrupted", "interrupted")
    assert answer["error"]
    assert client.get(f"{client.thread_path}/chats")["activeRun"] is None
    client.ask("Go on")
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == ["Go", "Half an answ", "Go on"]
    client.check_all()


def test_a_run_too_old_to_go_on_after_its_tool_keeps_the_call(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model, DEECHAT_RECOVER="0")
    client = Client(server).new_thread()
    gate = model.gate()
    model.script(reply(tool_calls(("calculator", {"expression": "2+3"}))), reply(gate), "So it is five.")
    stream = client.send("2+3?")
    stream.read_until("toolCallResult")
    gate.wait_reached()
    server.kill()
    server.start()
    client.ask("Well?")
    sent = model.asked[-1]["messages"][1:]
    assert [each["role"] for each in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[2]["content"] == "5"
    client.check_all()


def test_a_killed_worker_is_replaced_and_viewers_come_back(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    gate = model.gate()
    model.script(reply(text("Half"), gate), "Whole")
    stream = client.send("Go")
    stream.read_until("Half")
    (worker,) = server.workers
    os.kill(worker, signal.SIGKILL)
    stream.read()
    deadline = time.monotonic() + 20
    while not server.answers():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = client.follow(stream.run_id, after=stream.last_seq).read()
    assert (again.text, again.frames[-1]["type"]) == ("Whole", "finalizeResponseStream")
    client.check_all()


def test_asked_to_leave_it_ends_streams_cleanly_and_goes(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    gate = model.gate()
    model.script(reply(text("Half"), gate), "Whole")
    stream = client.send("Go")
    stream.read_until("Half")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(f"GET /api/runs/{stream.run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seen = raw.recv(65_536)
        assert server.terminate(timeout=20) == 0
        while more := raw.recv(65_536):
            seen += more
    assert seen.endswith(b"\r\n0\r\n\r\n"), "the chunked body was cut, not ended"
    assert stream.read().ending is None
    assert "Traceback" not in server.log
    server.start()
    again = client.follow(stream.run_id, after=stream.last_seq).read()
    assert (again.text, again.frames[-1]["type"]) == ("Whole", "finalizeResponseStream")
    client.check_all()


@pytest.mark.parametrize("moment", ["idle", "answering"])
def test_a_second_server_waits_for_the_folder_and_gets_it(serve: Callable[..., Server], moment: str) -> None:
    first = serve()
    client = Client(first).new_thread()
    if moment == "answering":
        client.send("help").read_until("textResponseChunk")
    else:
        client.ask("hi")
    first.terminate()
    first.start()
    assert client.ask("hi").ending is not None
    for stream in client.streams:
        stream.close()


def test_a_stream_opened_before_the_restart_and_one_after_it_agree(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    model.script(reply(text("One two three", size=4)))
    before = client.ask("Count")
    server.kill()
    server.start()
    after: Stream = client.follow(before.run_id).read()
    assert [block.raw for block in after.blocks] == [block.raw for block in before.blocks]
