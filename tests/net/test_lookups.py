"""Claims about looking names up: one that hangs holds itself alone, however many hang."""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from client import Client
from model_server import ModelServer, reply, tool_calls
from server import Server

from deechat.net.lookups import MOST, Lookups


class Silence:
    """A look-up that hangs in its thread for names that begin with "silent", until it is over; counts all."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            with self._lock:
                pass
        if host == "unknown":
            raise socket.gaierror(-2, "Name or service not known")
        return [host + "'s"]

    def end(self) -> None:
        self._lock.release()


@pytest.fixture
def silence() -> Iterator[Silence]:
    silence = Silence()
    yield silence
    with contextlib.suppress(RuntimeError):
        silence.end()


def late(lookups: Lookups, host: str) -> None:
    with pytest.raises(TimeoutError):
        lookups.addresses(host, 0.02)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        gevent.sleep(0.01)


def test_look_ups_that_hang_hold_no_other(silence: Silence) -> None:
    lookups = Lookups(silence, most=8)
    for number in range(7):
        late(lookups, f"silent{number}")
    assert lookups.addresses("good", 20) == ["good's"]
    with pytest.raises(socket.gaierror):
        lookups.addresses("unknown", 20)
    assert len(silence.asked) == 9


def test_where_all_places_hang_others_are_told_in_their_own_time_and_served_when_one_is_free(silence: Silence) -> None:
    lookups = Lookups(silence, most=4)
    for number in range(4):
        late(lookups, f"silent{number}")
    late(lookups, "good")
    assert "good" not in silence.asked  # nor is it looked up later, when nobody waits for it
    waiting = gevent.spawn(lookups.addresses, "good", 20)
    also = gevent.spawn(lookups.addresses, "good", 20)
    gevent.sleep(0.05)
    silence.end()
    assert waiting.get(timeout=20) == ["good's"]
    assert also.get(timeout=20) == ["good's"]
    until(lambda: not lookups._under_way)
    assert lookups._free.counter == 4


def test_one_name_is_looked_up_once_however_many_ask(silence: Silence) -> None:
    lookups = Lookups(silence, most=2)
    asking = [gevent.spawn(lookups.addresses, "silent", 20) for _ in range(50)]
    late(lookups, "silent")
    assert lookups.addresses("good", 20) == ["good's"]
    silence.end()
    gevent.joinall(asking, timeout=20)
    assert [each.get() for each in asking] == [["silent's"]] * 50
    assert silence.asked == ["silent", "good"]
    assert lookups.addresses("silent", 20) == ["silent's"]
    assert silence.asked == ["silent", "good", "silent"]  # nothing is remembered


def test_threads_of_other_hubs_have_look_ups_of_their_own() -> None:
    mine, others = Lookups.here(), []
    thread = threading.Thread(target=lambda: others.append(Lookups.here()))
    thread.start()
    thread.join()
    assert others
    assert others[0] is not mine
    assert Lookups.here() is mine


# -- in a server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(serve: Callable[..., Server], tmp_path: Path) -> Iterator[tuple[Client, ModelServer]]:
    os.mkfifo(tmp_path / "silence")
    with ModelServer() as model:
        server = serve(model=model, app="hanging:app", HOOKS=str(tmp_path), FETCH_SECONDS="5")
        yield Client(server), model


def _calling(calls: dict[str, Any]) -> Callable[[Any], Any]:
    """Gives the rule of a model that makes these calls for each message, and then has done."""

    def answer(question: Any) -> Any:
        last = question["messages"][-1]
        return reply(tool_calls(*calls[last["content"]])) if last["role"] == "user" else "Done."

    return answer


def results(client: Client) -> list[str]:
    return [each["content"] for each in client.history()[-1]["toolCalls"]]


def test_pages_whose_names_are_silent_leave_everybody_else_alone(
    hanging: tuple[Client, ModelServer], tmp_path: Path
) -> None:
    client, model = hanging
    silent = [("fetch", {"url": f"http://page{number}.silent.example/"}) for number in range(12)]
    calls = ("fetch", {"url": "http://inside.example/"}), ("ask_system", {"host": "inside.example"})
    model.answer = _calling({"Read them all": silent, "And mine": calls})
    threads = client.new_thread(), client.new_thread()
    held = threads[0].send("Read them all")
    deadline = time.monotonic() + 20
    while not (tmp_path / "ran").exists() or len((tmp_path / "ran").read_text().split()) < 12:
        assert time.monotonic() < deadline, "twelve look-ups hang at once"
        time.sleep(0.02)
    threads[1].ask("And mine")
    refused, found = results(threads[1])
    assert "leads to 127.0.0.1, which is not an address of the public Internet" in refused
    assert found == "127.0.0.1"
    held.read()
    told = results(threads[0])
    assert len(told) == 12
    assert all("could not be looked up in time" in words for words in told)
    assert "page7.silent.example" in told[7]
    assert MOST > 12


def test_a_server_leaves_whatever_hangs(hanging: tuple[Client, ModelServer], tmp_path: Path) -> None:
    client, model = hanging
    model.script(reply(tool_calls(("fetch", {"url": "http://page.silent.example/"}))), "So be it.")
    client.ask("Read it")
    assert (tmp_path / "ran").read_text() == "page.silent.example\n"
    assert client.server.terminate() == 0
