"""The disk is full, or another program holds the database: what is told, what is kept, and that all goes on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client
from model_server import ModelServer, reply, text
from server import Server, wait_until


class Locked:
    """Another program that holds the write lock."""

    def __init__(self, server: Server) -> None:
        self._connection = sqlite3.connect(server.database, isolation_level=None, timeout=5)

    def __enter__(self) -> Locked:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_a_lock_of_three_seconds_only_delays(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model=model)).new_thread()
    gate = model.gate()
    model.script(reply(text("Half "), gate, text("and half.")))
    stream = client.send("Go")
    stream.read_until("Half")
    reader = threading.Thread(target=stream.read)
    with Locked(client.server):
        gate.release()
        reader.start()
        time.sleep(3)
        (on_disk,) = client.server.rows("SELECT max(seq) FROM event WHERE run_id = ?", stream.run_id)[0]
        assert stream.last_seq == on_disk, "something was shown that is not on disk"
        assert client.run(stream.run_id)["status"] == "running"
    reader.join(30)
    assert stream.text == "Half and half."
    assert stream.frames[-1]["type"] == "finalizeResponseStream"
    client.check_all()


def test_a_lock_of_thirty_seconds_ends_the_runs_and_passes(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server).new_thread()
    idle = client.new_thread()
    gate = model.gate()
    model.script(reply(text("Half "), gate, text("and half.")), "Fresh.")
    stream = client.send("Go")
    stream.read_until("Half")
    with Locked(server):
        began = time.monotonic()
        gate.release()
        stream.read()
        assert stream.ending is None, "the stream closes without an ending"
        refused = idle.post(f"{idle.thread_path}/stream-chat", {"message": "hi"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert client.history()[0]["content"] == "Go", "reads go on"
        assert client.follow(stream.run_id).read().frames == stream.frames
        assert client.call("GET", "/api/ping").status_code == 200
        time.sleep(max(0.0, 30 - (time.monotonic() - began)))
    ended = client.wait_ended(stream.run_id)
    assert ended["reason"] == "failed"
    ending = client.follow(stream.run_id, after=stream.last_seq).read().frames[-1]
    assert (ending["type"], ending["code"]) == ("abort", "storage_failed")
    assert client.history()[-1]["content"].startswith("Half ")
    assert idle.history() == [], "what was refused was not stored"
    assert idle.ask("hi").text == "Fresh."
    client.check_all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("making a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Writes until the disk is full."""
    stuffing = folder / "stuffing"
    with stuffing.open("wb", buffering=0) as out:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    out.write(b"x" * size)
            except OSError:
                continue
    return stuffing


def test_a_full_disk_ends_the_runs_and_room_lets_all_go_on(
    serve: Callable[..., Server], model: ModelServer, small_disk: Path
) -> None:
    server = serve(model=model, DEECHAT_DATA=str(small_disk / "data"))
    client = Client(server).new_thread()
    idle = client.new_thread()
    gate = model.gate()
    model.script(reply(text("Half "), gate, text("words " * 20_000, size=600), rate=400), "Fresh.")
    stream = client.send("Go")
    stream.read_until("Half")
    stuffing = fill(small_disk)
    gate.release()
    stream.read()
    assert stream.ending is None
    refused = idle.post(f"{idle.thread_path}/stream-chat", {"message": "hi"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
    assert client.history()[0]["content"] == "Go", "reads go on"
    stuffing.unlink()
    assert client.wait_ended(stream.run_id)["reason"] == "failed"
    ending = client.follow(stream.run_id, after=stream.last_seq).read().frames[-1]
    assert (ending["type"], ending["code"]) == ("abort", "storage_failed")
    wait_until(lambda: idle.post(f"{idle.thread_path}/update", {"name": "Works"}).status_code == 200)
    assert idle.ask("hi").text == "Fresh."
    client.check_all()


def test_a_full_disk_at_the_start_says_so(serve: Callable[..., Server], small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(AssertionError, match="cannot") as caught:
        serve(DEECHAT_DATA=str(small_disk / "data"))
    assert "Traceback" not in str(caught.value)


def test_a_stop_on_a_full_disk_loses_nothing(
    serve: Callable[..., Server], model: ModelServer, small_disk: Path
) -> None:
    server = serve(model=model, DEECHAT_DATA=str(small_disk / "data"))
    client = Client(server).new_thread()
    model.script("words " * 20_000)
    said = client.ask("Go").text
    stuffing = fill(small_disk)
    server.terminate(40)
    stuffing.unlink()
    server.start()
    assert client.history()[-1]["content"] == said
    client.check_all()
