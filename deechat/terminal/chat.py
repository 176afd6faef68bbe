"""`deechat chat`: from its options to its exit code, a line is a message or a command, and an answer follows.

It talks to the server that is running or else to one of its own.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import requests

from deechat import locale
from deechat.config import Settings, shown_address
from deechat.locale import Say
from deechat.terminal.answer import LEFT, Answer
from deechat.terminal.client import Client, OwnServer, RefusedError, StartError, UnreachableError, retry
from deechat.terminal.keyboard import Keyboard
from deechat.terminal.screen import Screen

PROMPT = "> "
MOST_THREADS = 50  # that /threads shows
INTERRUPTED = 128 + signal.SIGINT  # the exit code after Ctrl-C
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104 - no address to go to


def run(
    settings: Settings, environment: Mapping[str, str], *, server: str | None, workspace: str, thread: str | None
) -> int:
    """Chat until the person leaves or the input ends, and return the exit code.

    `server` is an address, None the settings' own; `workspace` and `thread` are slugs, None a new thread.
    """
    language = language_of(environment)
    say = partial(locale.say, "terminal", language)
    for stream in filter(None, (sys.stdin, sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")
    typed = sys.stdin is not None and sys.stdin.isatty()
    screen = Screen(sys.stdout, sys.stderr, say, colour=not environment.get("NO_COLOR"), quiet=not typed)
    keyboard = Keyboard(sys.stdin, interactive=typed and sys.stdout.isatty())

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)  # so that a server of this chat's own is ended with it
    signal.signal(signal.SIGHUP, leave)
    try:
        client = Client(address(server, settings, say), say, password=settings.password, language=language)
        if server or client.online():
            return Chat(client, screen, keyboard, say, workspace=workspace).run(thread)
        with closing(OwnServer(environment)) as own:
            away, client = client, Client(own.url, say, password=settings.password, language=language)
            try:
                own.start(client)
            except StartError as exc:
                screen.note(f"{say('no_start', url=away.url)}\n{exc}", "red")
                return 1
            if keyboard.interactive:
                screen.note(say("own_server"))
            code = Chat(client, screen, keyboard, say, workspace=workspace, own=own).run(thread)
            if not own.alive():
                screen.note(f"{say('server_ended')}\n{own.tail()}", "red")
            return code
    except (RefusedError, UnreachableError) as exc:
        screen.note(str(exc), "red")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has left; the text that is still buffered goes nowhere, without words at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def address(server: str | None, settings: Settings, say: Say) -> str:
    """Return the address of the server that the option names, or of the settings' own as this machine reaches it.

    Raise `UnreachableError` when the option is no address of a server.
    """
    if not server:
        host = _ANYWHERE.get(settings.host, settings.host)
        return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    try:
        parts = urlsplit(server)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UnreachableError(say("bad_address", url=shown_address(server) or "***"))
    return server.rstrip("/")


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language that the locale's variables ask for, the strongest first (POSIX, 8.2)."""
    asked = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return locale.choose([re.split("[.@]", asked)[0]])


class Chat:
    """A conversation in one thread at a time; `own` is a server that ends with this chat."""

    def __init__(
        self,
        client: Client,
        screen: Screen,
        keyboard: Keyboard,
        say: Say,
        *,
        workspace: str,
        own: OwnServer | None = None,
    ) -> None:
        self._client, self._screen, self._keyboard, self._say, self._own = client, screen, keyboard, say, own
        self._workspace = f"/api/workspace/{workspace}"
        self._thread: str | None = None  # None: a new one, which is made when something is said in it
        self._last_run: str | None = None
        self._waiting: deque[str] = deque()  # lines to be sent, oldest first
        self._interrupted = False
        self._code: int | None = None  # set once the chat is to end
        self._failed = False

    def run(self, thread: str | None) -> int:
        """Talk until the input ends and return the exit code; `thread` None is a new one.

        Raise `RefusedError` or `UnreachableError` when there is no such place or no server at the start.
        """
        self._enter(thread)
        while self._code is None:
            line = self._next_line()
            if line is None:
                break
            self._screen.entered()
            self._interrupted = False
            try:
                self._handle(line)
            except (RefusedError, UnreachableError) as exc:
                self._screen.note(str(exc), "red")
                self._failed = True
                if not self._alive():
                    self._code = 1
            except KeyboardInterrupt:
                self._interrupted = True
                if not self._keyboard.interactive:
                    self._code = INTERRUPTED
        return self._code if self._code is not None else int(self._failed and not self._keyboard.interactive)

    def _next_line(self) -> str | None:
        while not self._waiting:
            try:
                return self._keyboard.read(PROMPT)
            except KeyboardInterrupt:
                self._screen.entered()
                if self._interrupted or not self._keyboard.interactive:
                    self._code = 0 if self._keyboard.interactive else INTERRUPTED
                    return None
                self._interrupted = True
                self._screen.note("\n" + self._say("again_leaves"))
        return self._waiting.popleft()

    def _handle(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        match name:
            case "/continue":
                self._continue()
            case "/stop":
                self._screen.note(self._say("no_answer_to_stop"))
            case "/new":
                self._enter(None)
            case "/threads":
                self._threads(rest.strip())
            case "/help":
                self._screen.note(self._say("help"))
            case "/quit" | "/exit":
                self._code = int(self._failed and not self._keyboard.interactive)
            case _ if name.startswith("/") and name[1:].isalpha() and not rest.strip():
                self._screen.note(self._say("no_command", name=name))
            case _ if name:
                self._ask(line)

    def _alive(self) -> bool:
        """Return whether a server that is away may come back."""
        return self._own is None or self._own.alive()

    # -- answers -------------------------------------------------------------------------------------------------------

    def _ask(self, message: str) -> None:
        # The same id when it is sent again after a broken connection: the server then joins the run that it began.
        body = {"message": message, "clientRequestId": str(uuid.uuid4()), "transport": "sse"}
        is_new = self._thread is None
        if is_new:
            self._thread = self._client.request("POST", f"{self._workspace}/thread/new", {})["thread"]["slug"]
        try:
            self._begin(f"{self._path}/stream-chat", body)
        except RefusedError as exc:
            if is_new and exc.status in {400, 413}:  # the message does not fit, so the thread stays empty
                with suppress(RefusedError, UnreachableError):
                    self._client.request("DELETE", self._path)
                self._thread = None
            if exc.code != "run_active" or exc.run_id is None:
                raise
            self._screen.note(self._say("busy"))
            self._waiting.appendleft(message)
            self._attend(exc.run_id, None)

    def _continue(self) -> None:
        run_id = self._last_run
        if run_id is None and self._thread is not None:
            history = self._client.request("GET", f"{self._path}/chats?limit=10")["history"]
            run_id = next((each["run"] for each in reversed(history) if each.get("run")), None)
        if run_id is None:
            self._screen.note(self._say("nothing_to_continue"))
        else:
            self._begin(f"/api/runs/{run_id}/continue", {})

    def _begin(self, path: str, body: dict[str, Any]) -> None:
        def on_lost() -> None:
            self._screen.note(self._say("lost"))

        opened = retry(lambda: self._client.stream("POST", path, body), on_lost, self._alive)
        if opened is not None:
            self._attend(opened.headers["X-Run-Id"], opened)

    def _attend(self, run_id: str, opened: requests.Response | None) -> None:
        self._last_run = run_id
        answer = Answer(run_id, self._client, self._screen, self._keyboard, self._say, waiting=self._waiting)
        answer.attend(opened, self._alive)
        self._interrupted = answer.interrupted
        if answer.lacks and self._keyboard.interactive:
            self._screen.note(self._say("can_continue"))
        self._failed |= answer.outcome != "completed" or answer.refused
        if answer.outcome == LEFT:
            self._code = 0 if self._keyboard.interactive else INTERRUPTED
            self._screen.note(self._say("goes_on_later" if self._own else "goes_on"))
        elif answer.interrupted and not self._keyboard.interactive:
            self._code = INTERRUPTED
        if not self._alive():
            self._code = 1

    # -- threads -------------------------------------------------------------------------------------------------------

    def _enter(self, slug: str | None) -> None:
        """Go to the thread, and to the answer that is being made there; None is a new thread."""
        self._thread, self._last_run = slug, None
        active = self._client.request("GET", f"{self._path}/chats?limit=1")["activeRun"] if slug is not None else None
        # Of a new thread the list says whether the workspace exists.
        query = "limit=1" if slug is None else f"slug={quote(slug)}"
        listed = self._client.request("GET", f"{self._workspace}/threads?{query}")["threads"]
        if self._keyboard.interactive:
            name = self._named(listed[0]) if slug is not None else self._say("unnamed")
            place = f"{self._workspace.rpartition('/')[2]} / {name}"
            self._screen.note(self._say("greeting", url=self._client.shown, place=place))
        if active is not None:
            self._screen.note(self._say("joined"))
            self._attend(active, None)

    def _threads(self, number: str) -> None:
        """List the threads, or go to the one with the number in that list."""
        page = self._client.request("GET", f"{self._workspace}/threads?limit={MOST_THREADS}")
        threads = page["threads"]
        if number.isdigit() and 1 <= int(number) <= len(threads):
            self._enter(threads[int(number) - 1]["slug"])
            return
        lines = [
            f"{'*' if each['slug'] == self._thread else ' '} {at}) {self._named(each)}  --thread {each['slug']}"
            for at, each in enumerate(threads, start=1)
        ]
        if page.get("next"):
            lines.append(self._say("newest_threads", count=len(threads)))
        self._screen.note("\n".join(lines) or self._say("no_threads"))

    def _named(self, thread: dict[str, Any]) -> str:
        return " ".join((thread["name"] or self._say("unnamed")).split())

    @property
    def _path(self) -> str:
        return f"{self._workspace}/thread/{self._thread}"
