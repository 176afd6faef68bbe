"""Readers of event streams that others wrote: each gets a run whole across three cuts, and nothing beside it.

The npm ones are installed by scripts/programs.sh; where they are not, their tests are skipped.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import httpx_sse
import pytest
import requests
import sseclient
from client import ENDINGS, Client, Stream
from cutting_proxy import CuttingProxy
from model_server import Gate, ModelServer, reasoning, reply, text, tool_calls
from npm_client import PACKAGES, SCRIPTS, find_node
from server import Server

CUTS = 3
WORDS = 'né 😀 \u2028 \u2029 \x85 \x0b \r\n\n data: forged \n\nid: 999\n 中文 \\ "quoted" '


class Message(NamedTuple):
    """What a reader hands over."""

    event: str
    id: str
    data: str


Read = Callable[[str, str | None], Iterator[Message]]  # of an address, after an id


def by_httpx_sse(url: str, last: str | None) -> Iterator[Message]:
    with httpx.Client(timeout=60) as client:
        headers = {"Last-Event-ID": last} if last else {}
        with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
            for each in source.iter_sse():
                yield Message(each.event, each.id, each.data)


def by_sseclient(url: str, last: str | None) -> Iterator[Message]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    with requests.get(url, headers=headers, stream=True, timeout=60) as response:
        for each in sseclient.SSEClient(response).events():
            yield Message(each.event, each.id or "", each.data)


def read_on(read: Read, url: str) -> list[Message]:
    """Reads a run to its ending, from where the reader was whenever the connection is cut."""
    messages: list[Message] = []
    last: str | None = None
    for _ in range(CUTS + 1):
        try:
            for message in read(url, last):
                messages.append(message)
                last = message.id or last
                if json.loads(message.data).get("type") in ENDINGS:
                    return messages
        except (httpx.TransportError, requests.RequestException):
            continue
    raise AssertionError(f"the run's ending did not come: {messages[-1:]}")


def events_of(messages: list[Message]) -> list[tuple[int, str]]:
    """Gives the run's events as they were handed over; heartbeats are none, and nothing else may have come."""
    events = [each for each in messages if each.event != "heartbeat"]
    assert {each.event or "message" for each in events} == {"message"}
    assert all(json.loads(each.data)["type"] == "heartbeat" for each in messages if each not in events)
    return [(int(each.id), each.data) for each in events]


class Making(NamedTuple):
    """A run that is being made: it has said much, and waits for `gate` before it says more."""

    client: Client
    stream: Stream
    gate: Gate

    @property
    def path(self) -> str:
        return f"/api/runs/{self.stream.run_id}/events"

    def expected(self) -> list[tuple[int, str]]:
        """Gives the log's events as the wire has them, once the run has ended."""
        blocks = self.client.check(self.stream.run_id)
        return [(block.seq or 0, block.raw.decode().partition("data: ")[2].removesuffix("\n\n")) for block in blocks]


@pytest.fixture
def making(serve: Callable[..., Server], model: ModelServer) -> Making:
    gate = model.gate()
    said = reply(reasoning(WORDS, size=3), text(WORDS, size=5), tool_calls(("calculator", {"expression": "2+3"})))
    model.script(said, reply(text("and "), gate, text(WORDS * 3, size=7)))
    client = Client(serve(model=model, DEECHAT_HEARTBEAT="0.3"))
    stream = client.send("Go on.")
    stream.read_until("and ")
    return Making(client, stream, gate)


def cuts_of(making: Making, chance: random.Random) -> list[int]:
    """Chooses where to cut: in what the run has said so far, wherever that is; each connection gets less far."""
    said = sum(len(block.raw) for block in making.stream.blocks)
    return [chance.randrange(said // number) for number in range(1, CUTS + 1)]


@pytest.mark.parametrize("read", [by_httpx_sse, by_sseclient])
def test_a_python_reader_gets_a_run_whole_across_three_cuts(making: Making, read: Read) -> None:
    chance = random.Random(5)
    results: list[list[Message]] = []

    def watch(url: str) -> None:
        results.append(read_on(read, url + making.path))

    with ExitStack() as stack:
        proxies = [stack.enter_context(CuttingProxy(making.client.server, cuts_of(making, chance))) for _ in range(12)]
        threads = [threading.Thread(target=watch, args=(proxy.url,), daemon=True) for proxy in proxies]
        for thread in threads:
            thread.start()
        assert all(proxy.all_cut.wait(60) and proxy.heartbeat.wait(60) for proxy in proxies)
        making.gate.release()
        for thread in threads:
            thread.join(60)
    making.stream.read()
    expected = making.expected()
    assert [events_of(each) for each in results] == [expected] * len(proxies)
    assert any(message.event == "heartbeat" for each in results for message in each)


@pytest.fixture
def node() -> str:
    """The program that runs what npm has."""
    return find_node()


@pytest.mark.parametrize("reader", ["eventsource", "fetch-event-source"])
def test_a_reader_of_npm_gets_a_run_whole_across_three_cuts(making: Making, node: str, reader: str) -> None:
    chance = random.Random(5)
    with ExitStack() as stack:
        proxies = [stack.enter_context(CuttingProxy(making.client.server, cuts_of(making, chance))) for _ in range(6)]
        orders = [
            {"name": number, "reader": reader, "url": proxy.url + making.path} for number, proxy in enumerate(proxies)
        ]
        process = subprocess.Popen(
            [node, SCRIPTS / "readers.js", PACKAGES, json.dumps(orders)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            assert all(proxy.all_cut.wait(60) and proxy.heartbeat.wait(60) for proxy in proxies)
            making.gate.release()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    making.stream.read()
    told = [json.loads(line) for line in out.splitlines()]
    results = [
        [Message(each["event"], each["id"], each["data"]) for each in told if each["name"] == order["name"]]
        for order in orders
    ]
    assert [events_of(each) for each in results] == [making.expected()] * len(proxies)
    assert any(message.event == "heartbeat" for each in results for message in each)
