"""The services that the routes call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deechat.agents.tools.base import Tool
from deechat.runs.service import Runs
from deechat.store.base import Store
from deechat.web.streams import Streams
from deechat.web.transports import Transports
from deechat.web.websocket import Sockets


@dataclass(frozen=True, slots=True)
class Services:
    """The services that routes work with.

    `models` says which models there are, as `GET /api/models` has it. `profile` says what is known of a model, in a
    language, and `forget` forgets learnt habits: one of a model by its code, or all. `tools` are the
    agent's, by name.
    """

    store: Store
    runs: Runs
    streams: Streams
    sockets: Sockets
    transports: Transports
    models: Callable[[], dict[str, Any]]
    profile: Callable[[str | None, str], list[dict[str, Any]]]
    forget: Callable[[str | None, str | None], None]
    tools: Mapping[str, Tool]
