"""`openai` for Python as tests use it, and the bytes of a stream for those that count events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import requests
from server import Server

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def sdk(server: Server, key: str = "any", **options: Any) -> openai.OpenAI:
    """A client that asks once."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, **options)


def events(response: requests.Response) -> Iterator[tuple[str | None, Any]]:
    """The events of a stream, each its name and its data, until `[DONE]`, which has to come; nothing follows it."""
    done = False
    for block in response.iter_lines(delimiter=b"\n\n", chunk_size=1):
        if not block or block.startswith(b":"):
            continue
        assert not done, block
        lines = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        assert set(lines) <= {"event", "data"}, block
        done = lines["data"] == "[DONE]"
        if not done:
            yield lines.get("event"), json.loads(lines["data"])
    assert done
