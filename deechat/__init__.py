"""DeeChat: a self-hosted AI chat and agent server. One process, one SQLite file, one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask

    from deechat.agents.tools import Tool
    from deechat.config import Settings

__all__ = ["create_app"]


def create_app(settings: Settings | None = None, tools: Iterable[Tool] = ()) -> Flask:
    """Make the application; None reads the settings from the environment. Nothing is opened or started by it.

    `tools` are the agent's besides the built-in ones; one of the same name takes the built-in one's place.

    Raises `SettingError` for a setting that does not parse.
    """
    # Imported here, since gunicorn's master imports this package for its settings before gevent has patched anything.
    from deechat.application import Application  # noqa: PLC0415

    return Application(settings, tools).app
