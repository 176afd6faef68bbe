"""What the routes call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from deechat.runs import Runs
from deechat.store import Store
from deechat.web.streams import Streams


class Models(Protocol):
    """Says which models there are, as `GET /api/models` has it."""

    def __call__(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The services that routes work with. `tool_policies` are the tools' own, by name."""

    store: Store
    runs: Runs
    streams: Streams
    models: Models
    tool_policies: dict[str, str]
