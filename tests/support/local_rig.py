"""A server that looks for a model server of its machine, at ports that a test gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from client import Client
from model_server import ModelServer
from server import Server


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finding(serve: Callable[..., Server], *servers: ModelServer, **settings: str) -> Client:
    ports = ",".join(str(server.port) for server in servers)
    client = Client(serve(app="finding:app", DEECHAT_PROVIDER="auto", PORTS=ports, **settings))
    until(lambda: client.get("/api/models")["current"])  # a machine that is busy takes seconds to import the SDK
    return client
