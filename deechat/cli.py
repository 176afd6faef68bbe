"""The `deechat` command: serves, talks to the agent in the terminal, makes and restores backups."""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

_ABOUT = "DeeChat: an AI chat and agent server. All settings come from the environment."
_CHAT = """Talks to the agent, at the server that is running or else at one of its own over the same data folder.
Lines of a pipe are sent one after another: echo "what is 17% of 2,340?" | deechat chat"""

_BACKUP = """Copies the database to one file, as it stands at this moment, also while the server runs, and checks it.
The secret that signs log-ins is not in it."""
_RESTORE = """Puts a backup in the place of the database, which is kept beside it. The server has to be stopped.
A backup of an earlier version is brought along at the next start."""


def main() -> None:
    """Run the command of the command line; serve without one."""
    arguments = _parser().parse_args()
    if arguments.command == "chat":
        raise SystemExit(_chat(arguments))
    if arguments.command in {"backup", "restore"}:
        raise SystemExit(_files(arguments))
    if arguments.command == "settings":
        from deechat.config import as_markdown  # noqa: PLC0415

        print(as_markdown(), end="")
        return
    from deechat.server import serving  # noqa: PLC0415 - it reads the settings when it is imported

    serving.serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deechat", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"DeeChat {version('deechat')}")
    commands = parser.add_subparsers(dest="command", metavar="serve | chat | backup | restore | settings")
    commands.add_parser("serve", help="serves, as without a command", description=_ABOUT)
    chat = commands.add_parser("chat", help="talks to the agent here in the terminal", description=_CHAT)
    chat.add_argument("--workspace", metavar="SLUG", default="default", help="the workspace (default: default)")
    place = chat.add_mutually_exclusive_group()
    place.add_argument("--thread", metavar="SLUG", default="default", help="the thread (default: default)")
    place.add_argument("--new", action="store_true", help="begin a new thread")
    chat.add_argument("--server", metavar="URL", help="the server (default: the one of DEECHAT_HOST and PORT)")
    backup = commands.add_parser("backup", help="copies the database, also while the server runs", description=_BACKUP)
    backup.add_argument("file", metavar="FILE", nargs="?", help="the copy (default: deechat-DATE-TIME.sqlite3 here)")
    backup.add_argument("--force", action="store_true", help="replace FILE, and copy a damaged database too")
    restore = commands.add_parser("restore", help="puts a backup in the database's place", description=_RESTORE)
    restore.add_argument("file", metavar="FILE", help="the backup")
    restore.add_argument("--force", action="store_true", help="take a damaged backup too")
    commands.add_parser("settings", help="prints the table of all settings", description=_ABOUT)
    return parser


def _files(arguments: argparse.Namespace) -> int:
    """Make a backup or restores one; the exit code is 1 when that was not done, with the reason in one line."""
    from deechat.config import Settings  # noqa: PLC0415
    from deechat.errors import SettingError  # noqa: PLC0415
    from deechat.server.folder import DataFolder  # noqa: PLC0415
    from deechat.store.sqlite.backup import backup, restore  # noqa: PLC0415

    def progress(done: int, pages: int) -> None:
        if sys.stderr.isatty() and done < pages:
            print(f"{done * 100 // pages} % of {pages} pages", end="\r", file=sys.stderr, flush=True)

    os.umask(0o077)
    try:
        folder = DataFolder(Settings.read().data)
        if arguments.command == "restore":
            print(restore(folder, Path(arguments.file), force=arguments.force, progress=progress))
        else:
            target = Path(arguments.file or time.strftime("deechat-%Y%m%d-%H%M%S.sqlite3"))
            print(backup(folder, target, force=arguments.force, progress=progress))
    except SettingError as exc:
        print(f"deechat {arguments.command}: {exc}", file=sys.stderr)
        return 1
    return 0


def _chat(arguments: argparse.Namespace) -> int:
    # Not above: a server needs none of it.
    from deechat.config import Settings  # noqa: PLC0415
    from deechat.errors import SettingError  # noqa: PLC0415
    from deechat.server.folder import keep_temporary_files  # noqa: PLC0415
    from deechat.terminal import chat  # noqa: PLC0415

    try:
        settings = Settings.read()
    except SettingError as exc:
        raise SystemExit(f"DeeChat cannot start: {exc}") from None
    if settings.data.is_dir():  # else its server reports the fault
        keep_temporary_files(settings.data)
    thread = None if arguments.new else arguments.thread
    return chat.run(settings, os.environ, server=arguments.server, workspace=arguments.workspace, thread=thread)
