"""How the program logs: for a person on a terminal, else one JSON object a line, always to stderr."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

TALLY_SECONDS = 60.0
TALLY_PEERS = 1000


class Tally:
    """Counts events that any peer can bring about, and that would flood the log; says them in one line a minute.

    `later` calls a function after so many seconds.
    """

    def __init__(self, log: Callable[[str], object], later: Callable[[float, Callable[[], None]], object]) -> None:
        self._log = log
        self._later = later
        self._counts: Counter[str] = Counter()
        self._peers: Counter[str] = Counter()

    def note(self, event: str, peer: str) -> None:
        """Count an event of a peer. `event` is one of few texts."""
        if not self._counts:
            self._later(TALLY_SECONDS, self.say)
        self._counts[event] += 1
        if peer in self._peers or len(self._peers) < TALLY_PEERS:
            self._peers[peer] += 1

    def say(self) -> None:
        """Log the counts since the last line, if there are any."""
        if not self._counts:
            return
        events = ", ".join(f"{count} × {event}" for event, count in self._counts.most_common())
        peers = ", ".join(f"{peer} ({count})" for peer, count in self._peers.most_common(3))
        self._counts.clear()
        self._peers.clear()
        self._log(f"in the last {TALLY_SECONDS:.0f} s: {events}; most of them from {peers}")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: `at` in Unix seconds, `level`, `logger`, `message`, and `error` if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def configuration(level: str, *, terminal: bool | None = None) -> dict[str, Any]:
    """Return the `logging.config` dictionary; `terminal` None asks stderr."""
    if terminal is None:
        terminal = sys.stderr.isatty()
    level = level.upper()
    plain = {"format": "%(asctime)s %(levelname)-7s %(message)s", "datefmt": "%H:%M:%S"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": plain if terminal else {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "deechat": {"level": level, "handlers": ["stderr"], "propagate": False},
            # gunicorn's own lines at each start are for debugging; its warnings are for everyone.
            "gunicorn.error": {
                "level": "DEBUG" if level == "DEBUG" else "WARNING",
                "handlers": ["stderr"],
                "propagate": False,
            },
            # They log each address they ask, with its query.
            **{name: {"level": "WARNING"} for name in ("httpx2", "httpcore2", "openai")},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": False},
        },
    }
