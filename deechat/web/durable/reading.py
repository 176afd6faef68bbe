"""The query of a read: where it begins, whether it waits, and its place in time."""

from __future__ import annotations

import math
import random
import re
import time
from typing import NamedTuple

from flask import request

from deechat.agents.plugins.durable import DIGITS
from deechat.errors import BadRequestError

LONG_POLL, SSE = "long-poll", "sse"
INTERVAL = 20  # seconds
EPOCH = 1_728_432_000  # 2024-10-09, 00:00 UTC: where the specification counts from
LARGEST_JITTER = 3600  # seconds


class Read(NamedTuple):
    """The wish of a reader: the entries after the SEQ `after`, or from now on where it is None; `live` is how."""

    after: int | None
    live: str | None


def read_query() -> Read:
    """Read `offset` and `live`. Raises `BadRequestError`."""
    offsets, live = request.args.getlist("offset"), request.args.get("live")
    if live not in {None, LONG_POLL, SSE}:
        raise BadRequestError(f"live is {str(live)[:40]!r}, but {LONG_POLL} or {SSE} is expected.")
    if len(offsets) > 1 or (live and not offsets):
        raise BadRequestError("One offset is expected: -1 is the beginning, now is the end.", code="bad_cursor")
    offset = offsets[0] if offsets else "-1"
    if offset == "now":
        return Read(None, live)
    if offset == "-1":
        return Read(0, live)
    if not re.fullmatch(f"[0-9]{{{DIGITS}}}", offset):
        raise BadRequestError(
            f"The offset is {offset[:40]!r}, but -1, now or one of Stream-Next-Offset is expected.", code="bad_cursor"
        )
    return Read(int(offset), live)


def next_cursor(now: float | None = None) -> str:
    """Return the number of the interval that it is, or one behind the reader's `cursor` where that is as far."""
    current = int(((time.time() if now is None else now) - EPOCH) // INTERVAL)
    theirs = request.args.get("cursor", "")
    if not re.fullmatch(r"[0-9]{1,15}", theirs) or int(theirs) < current:
        return str(current)
    return str(int(theirs) + math.ceil(random.randint(1, LARGEST_JITTER) / INTERVAL))  # noqa: S311 - no secret
