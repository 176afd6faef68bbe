"""Puts a chat together: the language, the streams, the server it talks to; and takes all of it apart again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import NoReturn, TextIO
from urllib.parse import urlsplit

from deechat.config import Settings, shown_address
from deechat.terminal.chat import Chat
from deechat.terminal.keyboard import Keyboard
from deechat.terminal.link import Link, RefusedError, UnreachableError
from deechat.terminal.screen import Screen
from deechat.terminal.server import OwnServer, StartError, address
from deechat.terminal.words import Say, language_of, speaker


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; `thread` None is a new one, `server` None the settings' own address."""

    server: str | None
    workspace: str
    thread: str | None


def run(options: Options, settings: Settings, environment: Mapping[str, str]) -> int:
    """Chats until the person leaves or the input ends, and gives the exit code."""
    language = language_of(environment)
    say = speaker(language)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # they are text streams over bytes
    colour, quiet = not environment.get("NO_COLOR"), not _is_person(sys.stdin)
    screen = Screen(sys.stdout, sys.stderr, language=language, colour=colour, quiet=quiet)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # so that a server of this chat's own is ended with it
    try:
        return _run(options, settings, environment, screen, say)
    except (RefusedError, UnreachableError) as exc:
        screen.note(str(exc), "red")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read has left; what is still buffered goes nowhere, without words at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _run(options: Options, settings: Settings, environment: Mapping[str, str], screen: Screen, say: Say) -> int:
    keyboard = Keyboard(_descriptor(sys.stdin), interactive=_is_person(sys.stdin) and _is_person(sys.stdout))
    url = _checked(options.server, say) if options.server else address(settings.host, settings.port)

    def talk(link: Link, own: OwnServer | None = None) -> int:
        alive = own.alive if own else lambda: True
        chat = Chat(link, screen, keyboard, say, workspace=options.workspace, alive=alive, own=own is not None)
        return chat.run(options.thread)

    def link_to(url: str) -> Link:
        return Link(url, say, password=settings.password, language=language_of(environment))

    link = link_to(url)
    if options.server or link.online():
        return talk(link)
    with closing(OwnServer(environment)) as own:
        link = link_to(own.url)
        try:
            own.start(link)
        except StartError as exc:
            screen.note(f"{say('no_start', url=url)}\n{exc}", "red")
            return 1
        if keyboard.interactive:
            screen.note(say("own_server"))
        code = talk(link, own)
        if not own.alive():
            screen.note(f"{say('server_ended')}\n{own.tail()}", "red")
        return code


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _is_person(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _descriptor(stream: TextIO | None) -> int | None:
    with suppress(OSError, ValueError):
        return stream.fileno() if stream is not None else None
    return None


def _checked(url: str, say: Say) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UnreachableError(say("bad_address", url=shown_address(url) or "***"))
    return url.rstrip("/")
