"""How the program logs: for a person on a terminal, else one JSON object a line, always to stderr."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any


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
    """Gives the `logging.config` dictionary; `terminal` None asks stderr."""
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
            # gunicorn's own talk at each start is for debugging; what it warns of is for everyone.
            "gunicorn.error": {
                "level": "DEBUG" if level == "DEBUG" else "WARNING",
                "handlers": ["stderr"],
                "propagate": False,
            },
            # They log each address they ask, with what stands in its query.
            **{name: {"level": "WARNING"} for name in ("httpx2", "httpcore2", "openai")},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": False},
        },
    }
