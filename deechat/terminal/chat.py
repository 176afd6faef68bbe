"""The chat itself: a line is a message or a command, an answer follows, until the input ends."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import quote

import requests

from deechat.terminal.answer import LEFT, Answer
from deechat.terminal.keyboard import Keyboard
from deechat.terminal.link import Link, RefusedError, UnreachableError, persist
from deechat.terminal.screen import Screen
from deechat.terminal.words import Say

PROMPT = "> "
MOST_THREADS = 50  # that /threads shows
INTERRUPTED = 130  # the exit code of what Ctrl-C ended


class Chat:
    """A conversation in one thread at a time.

    `alive` says whether a server that is away may come back, `own` that it ends with this chat.
    """

    def __init__(
        self,
        link: Link,
        screen: Screen,
        keyboard: Keyboard,
        say: Say,
        *,
        workspace: str,
        alive: Callable[[], bool],
        own: bool = False,
    ) -> None:
        self._link, self._screen, self._keyboard, self._say, self._alive = link, screen, keyboard, say, alive
        self._own = own
        self._workspace = f"/api/workspace/{workspace}"
        self._thread: str | None = None  # None: a new one, which is made when something is said in it
        self._last_run: str | None = None
        self._pending: deque[str] = deque()
        self._interrupted = False
        self._code: int | None = None  # set once the chat is to end
        self._failed = False

    def run(self, thread: str | None) -> int:
        """Talks until the input ends and gives the exit code; `thread` None is a new one.

        Raises `RefusedError` and `UnreachableError` when there is no such place or no server at the start.
        """
        self._enter(thread)
        while self._code is None and (line := self._next()) is not None:
            self._do(line)
        return self._code if self._code is not None else int(self._failed and not self._keyboard.interactive)

    def _next(self) -> str | None:
        while not self._pending:
            try:
                return self._keyboard.take(PROMPT)
            except KeyboardInterrupt:
                self._screen.entered()
                if self._interrupted or not self._keyboard.interactive:
                    self._code = 0 if self._keyboard.interactive else INTERRUPTED
                    return None
                self._interrupted = True
                self._screen.note("\n" + self._say("again_leaves"))
        return self._pending.popleft()

    def _do(self, line: str) -> None:
        self._screen.entered()
        self._interrupted = False
        name, _, rest = line.strip().partition(" ")
        try:
            if name in self._COMMANDS:
                self._COMMANDS[name](self, rest.strip())
            elif name.startswith("/") and name[1:].isalpha() and not rest:
                self._screen.note(self._say("no_command", name=name))
            elif line.strip():
                self._ask(line)
        except (RefusedError, UnreachableError) as exc:
            self._screen.note(str(exc), "red")
            self._failed = True
            self._end_without_server()
        except KeyboardInterrupt:
            self._interrupted = True
            if not self._keyboard.interactive:
                self._code = INTERRUPTED

    # -- messages ------------------------------------------------------------------------------------------------------

    def _ask(self, message: str) -> None:
        # The same id when it is sent again after a broken connection: the server then joins the run that it began.
        body = {"message": message, "clientRequestId": str(uuid.uuid4())}
        if self._thread is None:
            self._thread = self._link.call("POST", f"{self._workspace}/thread/new", {})["thread"]["slug"]
        try:
            self._begin(f"{self._path}/stream-chat", body)
        except RefusedError as exc:
            if exc.code != "run_active" or exc.run_id is None:
                raise
            self._screen.note(self._say("busy"))
            self._pending.appendleft(message)
            self._attend(exc.run_id, None)

    def _begin(self, path: str, body: dict[str, Any]) -> None:
        lost = lambda: self._screen.note(self._say("lost"))  # noqa: E731 - said at one place
        opened = persist(lambda: self._link.stream("POST", path, body), on_lost=lost, alive=self._alive)
        if opened is not None:
            self._attend(opened.headers["X-Run-Id"], opened)

    def _attend(self, run_id: str, opened: requests.Response | None) -> None:
        self._last_run = run_id
        answer = Answer(run_id, self._link, self._screen, self._keyboard, self._say, waiting=self._pending)
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
        self._end_without_server()

    def _end_without_server(self) -> None:
        if not self._alive():
            self._code = 1

    # -- commands ------------------------------------------------------------------------------------------------------

    def _continue(self, _rest: str) -> None:
        run_id = self._last_run or self._last_run_of_the_thread()
        if run_id is None:
            self._screen.note(self._say("nothing_to_continue"))
            return
        self._begin(f"/api/runs/{run_id}/continue", {})

    def _last_run_of_the_thread(self) -> str | None:
        if self._thread is None:
            return None
        history = self._link.call("GET", f"{self._path}/chats?limit=10")["history"]
        return next((each["run"] for each in reversed(history) if each.get("run")), None)

    def _stop(self, _rest: str) -> None:
        self._screen.note(self._say("no_answer_to_stop"))

    def _new(self, _rest: str) -> None:
        self._enter(None)

    def _threads(self, rest: str) -> None:
        page = self._link.call("GET", f"{self._workspace}/threads?limit={MOST_THREADS}")
        threads = page["threads"]
        if rest.isdigit() and 1 <= int(rest) <= len(threads):
            self._enter(threads[int(rest) - 1]["slug"])
            return
        lines = [
            f"{'*' if each['slug'] == self._thread else ' '} {number}) {self._named(each)}  --thread {each['slug']}"
            for number, each in enumerate(threads, start=1)
        ]
        if page.get("next"):
            lines.append(self._say("newest_threads", count=len(threads)))
        self._screen.note("\n".join(lines) or self._say("no_threads"))

    def _named(self, thread: dict[str, Any]) -> str:
        return " ".join((thread["name"] or self._say("unnamed")).split())

    def _help(self, _rest: str) -> None:
        self._screen.note(self._say("help"))

    def _quit(self, _rest: str) -> None:
        self._code = int(self._failed and not self._keyboard.interactive)

    _COMMANDS: ClassVar[dict[str, Callable[[Chat, str], None]]] = {
        "/continue": _continue,
        "/stop": _stop,
        "/new": _new,
        "/threads": _threads,
        "/help": _help,
        "/quit": _quit,
        "/exit": _quit,
    }

    def _enter(self, slug: str | None) -> None:
        """Goes to the thread, and to the answer that is being made there; None is a new thread."""
        self._thread, self._last_run = slug, None
        active = self._link.call("GET", f"{self._path}/chats?limit=1")["activeRun"] if slug is not None else None
        # Of a new thread the answer says whether the workspace exists.
        query = "limit=1" if slug is None else f"slug={quote(slug)}"
        listed = self._link.call("GET", f"{self._workspace}/threads?{query}")["threads"]
        if self._keyboard.interactive:
            name = self._named(listed[0]) if slug is not None else self._say("unnamed")
            place = f"{self._workspace.rpartition('/')[2]} / {name}"
            self._screen.note(self._say("greeting", url=self._link.shown, place=place))
        if active is not None:
            self._screen.note(self._say("joined"))
            self._attend(active, None)

    @property
    def _path(self) -> str:
        return f"{self._workspace}/thread/{self._thread}"
