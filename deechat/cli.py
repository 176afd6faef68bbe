"""The `deechat` command: `deechat` and `deechat serve` serve, `deechat chat` talks to the agent in the terminal."""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version

_ABOUT = "DeeChat: an AI chat and agent server. All settings come from the environment."
_CHAT = """Talks to the agent, at the server that is running or else at one of its own over the same data folder.
Lines of a pipe are sent one after another: echo "what is 17% of 2,340?" | deechat chat"""


def main() -> None:
    """Does what the command line says; without a command it serves."""
    arguments = _parser().parse_args()
    if arguments.command == "chat":
        raise SystemExit(_chat(arguments))
    from deechat import serving  # noqa: PLC0415 - it reads the settings when it is imported

    serving.serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deechat", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"DeeChat {version('deechat')}")
    commands = parser.add_subparsers(dest="command", metavar="serve | chat")
    commands.add_parser("serve", help="serves, as without a command", description=_ABOUT)
    chat = commands.add_parser("chat", help="talks to the agent here in the terminal", description=_CHAT)
    chat.add_argument("--workspace", metavar="SLUG", default="default", help="the workspace (default: default)")
    place = chat.add_mutually_exclusive_group()
    place.add_argument("--thread", metavar="SLUG", default="default", help="the thread (default: default)")
    place.add_argument("--new", action="store_true", help="begin a new thread")
    chat.add_argument("--server", metavar="URL", help="the server (default: the one of DEECHAT_HOST and PORT)")
    return parser


def _chat(arguments: argparse.Namespace) -> int:
    # Not above: whoever serves needs none of it.
    from deechat.config import Settings  # noqa: PLC0415
    from deechat.errors import SettingError  # noqa: PLC0415
    from deechat.terminal import session  # noqa: PLC0415

    try:
        settings = Settings.read(os.environ)
    except SettingError as exc:
        raise SystemExit(f"DeeChat cannot start: {exc}") from None
    thread = None if arguments.new else arguments.thread
    return session.run(session.Options(arguments.server, arguments.workspace, thread), settings, os.environ)
