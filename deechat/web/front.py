"""Who asks."""

from __future__ import annotations

from flask import request


def peer() -> str:
    """Return the address that asks, for counting and for the log."""
    return request.remote_addr or ""
