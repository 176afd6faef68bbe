"""Responses over a WebSocket when the log cannot be followed to its end: the client is told, and nobody waits."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from flask import Flask
from runs_rig import House, wait_until

from deechat.agents.providers.base import Scripted, Text
from deechat.principal import OWNER
from deechat.web.openai.socket import _Talk
from deechat.web.services import Services
from deechat.web.streams import Streams
from deechat.web.websocket import WebSocket


class Wire:
    """A socket whose client sends one message, and then says nothing more."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.closed: object = None
        self.sent: list[dict[str, Any]] = []
        self._said = [json.dumps(message)]

    def receive(self) -> str | None:
        return self._said.pop() if self._said else None

    def send(self, *texts: bytes) -> None:
        self.sent += map(json.loads, texts)


def ever() -> Any:
    gevent.sleep(60)


@pytest.mark.parametrize("ends", ["suspended", "left"])
def test_a_response_that_cannot_be_told_to_its_end_ends_all_the_same(
    tmp_path: Path, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deechat.web.openai.socket.LOOK", 0.02)
    house = House(tmp_path / "test.sqlite3", Scripted([Text("One"), ever]))
    services = SimpleNamespace(
        store=house.store, runs=house.runs, streams=Streams(house.runs, most=5, heartbeat=15.0), tools={}
    )
    wire = Wire({"type": "response.create", "model": "deechat", "input": "Go"})

    def talk() -> None:
        with Flask("test").test_request_context():
            _Talk(cast("Services", services), OWNER).session(cast("WebSocket", wire))

    talking = gevent.spawn(talk)
    wait_until(lambda: any(each["type"] == "response.output_text.delta" for each in wire.sent))
    (runner,) = house.registry
    if ends == "left":
        wire.closed = "by the client"
    else:
        house.journal.suspend(runner.log)
    talking.get(timeout=10)
    told = [(each["status"], each["error"]["code"]) for each in wire.sent if each["type"] == "error"]
    assert told == ([(503, "busy")] if ends == "suspended" else [])
    assert house.runs.view(OWNER, runner.run.id).status == "running", "a lost connection stops nothing"
    house.journal.unsuspend(runner.log)
    house.runs.stop(OWNER, runner.run.id)
    house.store.close()
