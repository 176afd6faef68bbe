"""One answer, from its first frame to its ending: shown, steered, stopped, and asked for what it asks.

Everything that happens meanwhile comes through one queue: frames, lines and Ctrl-C, so that nothing interrupts anything
and no frame is lost.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ClassVar

import requests

from deechat.agents.plugins.terminal import LACKS
from deechat.terminal.keyboard import Keyboard
from deechat.terminal.link import Link, RefusedError, UnreachableError
from deechat.terminal.prompts import ASKERS, Asker
from deechat.terminal.screen import Screen
from deechat.terminal.watch import ENDINGS, Lost, Over, Shown, Watch
from deechat.terminal.words import Say

LEFT, LOST = "left", "lost"  # how watching ends without the run's own ending


@dataclass(frozen=True, slots=True)
class Line:
    """What was typed; None is the end of the input."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C."""


class Answer:
    """One run, while somebody looks at it.

    After `attend`, `outcome` is `completed`, `stopped`, `failed` or `interrupted` as the run's ending says, or `LEFT`
    or `LOST`; `lacks` says that it completed without all of an answer, `refused` that it asked and nobody was there.
    `waiting` are the lines that were typed and are to be sent after this run, oldest first. Lines that come too late
    for it are added there, and so are all that are typed while others wait: a line never overtakes an earlier one.
    """

    def __init__(
        self, run_id: str, link: Link, screen: Screen, keyboard: Keyboard, say: Say, *, waiting: deque[str]
    ) -> None:
        self.run_id = run_id
        self.outcome = ""
        self.interrupted = False
        self.refused = False
        self.lacks = False
        self._waiting = waiting
        self._link, self._screen, self._keyboard, self._say = link, screen, keyboard, say
        self._queue: SimpleQueue[Shown | Lost | Over | Line | Interrupt] = SimpleQueue()
        self._open: dict[str, Asker] = {}
        self._hinted = False

    def attend(self, opened: requests.Response | None, alive: Callable[[], bool]) -> None:
        """Shows the run until it is over or the person leaves."""
        Watch(self._link, self.run_id, alive).start(opened, self._queue.put)
        with self._interrupts():
            while not self.outcome:
                self._ask()
                event = self._queue.get()
                self._HANDLERS[type(event)](self, event)
        self._keyboard.call_off()
        while not self._queue.empty():
            event = self._queue.get()
            if isinstance(event, Line) and event.text:
                self._waiting.append(event.text)
        self._screen.end()

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        # Into the queue like all else; `SimpleQueue.put` may be called from a signal's handler.
        before = signal.signal(signal.SIGINT, lambda *_: self._queue.put(Interrupt()))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self) -> None:
        """Asks what is open, once all that has come was shown, and has a line brought where one is of use."""
        if self._open and not self._hinted and self._queue.empty():
            self._screen.hint(next(iter(self._open.values())).hint)
            self._hinted = True
        if self._hinted or self._keyboard.interactive:
            self._keyboard.want(lambda text: self._queue.put(Line(text)))

    # -- what happens --------------------------------------------------------------------------------------------------

    def _on_frame(self, event: Shown) -> None:
        frame = event.frame
        kind = frame.get("type", "")
        if self._screen.show(frame):
            self._hinted = False
        if kind in ASKERS:
            self._open[frame["requestId"]] = ASKERS[kind](frame, self._say)
        elif kind == "inputReceived":
            self._close(frame["requestId"])
        elif kind == "resync":
            self._open.clear()
        elif kind in ENDINGS:
            self.outcome = frame["reason"]
            self.lacks = frame.get("finishReason") in LACKS

    def _on_lost(self, event: Lost) -> None:
        self._screen.note(self._say("back" if event.back else "lost"))
        self._hinted = False

    def _on_over(self, event: Over) -> None:
        if event.problem:
            self._screen.note(event.problem, "red")
        self.outcome = LOST

    def _on_interrupt(self, _event: Interrupt) -> None:
        if self.interrupted:  # it was stopped and is not over yet: the second one leaves
            self.outcome = LEFT
        self.interrupted = True
        self._hinted = False
        self._screen.echoed()
        self._stop()

    def _on_line(self, event: Line) -> None:
        if self._keyboard.interactive and event.text is not None:
            self._screen.entered()
        if event.text is None:
            self._on_end_of_input()
        elif event.text.strip() in _COMMANDS and self._keyboard.interactive:
            _COMMANDS[event.text.strip()](self)
        elif event.text.lstrip().startswith("/") and event.text.strip()[1:].split(" ")[0] in _LATER:
            self._screen.note(self._say("not_now", name=event.text.strip()))
            self._hinted = False
        elif self._open and self._hinted:
            self._reply(next(iter(self._open.values())), event.text)
        elif not self._keyboard.interactive:
            self._waiting.append(event.text)
        elif event.text.strip() and self._waiting:
            self._keep(event.text, "behind")
        elif event.text.strip():
            self._steer(event.text)

    def _on_end_of_input(self) -> None:
        if self._keyboard.interactive:
            self.outcome = LEFT
            return
        self.refused = True
        self._screen.note(self._say("nobody_refuses"))
        for asker in list(self._open.values()):
            body = asker.nobody()
            if body is None:
                self._stop()
            else:
                self._respond(asker, body)

    _HANDLERS: ClassVar[dict[type, Callable[[Answer, Any], None]]] = {
        Shown: _on_frame,
        Lost: _on_lost,
        Over: _on_over,
        Line: _on_line,
        Interrupt: _on_interrupt,
    }

    # -- what the person does ------------------------------------------------------------------------------------------

    def _reply(self, asker: Asker, line: str) -> None:
        self._hinted = False
        taken = asker.take(line)
        if isinstance(taken, str):
            self._screen.note(taken)
        elif taken is not None:
            self._respond(asker, taken)

    def _respond(self, asker: Asker, body: dict[str, Any]) -> None:
        try:
            self._link.call("POST", f"/api/runs/{self.run_id}/respond", body)
        except RefusedError as exc:
            if exc.status == 400:
                self._screen.note(str(exc), "red")
                asker.again()
                return
            self._screen.note(self._say("answered_elsewhere") if exc.status == 409 else str(exc))
        except UnreachableError as exc:
            self._screen.note(str(exc), "red")
            asker.again()
            return
        self._close(asker.request_id)

    def _close(self, request_id: str) -> None:
        self._open.pop(request_id, None)
        self._hinted = False

    def _steer(self, message: str) -> None:
        try:
            self._link.call("POST", f"/api/runs/{self.run_id}/steer", {"message": message})
        except RefusedError as exc:
            if exc.status == 409:
                self._keep(message, "kept")
            else:
                self._screen.note(str(exc), "red")
        except UnreachableError as exc:
            self._screen.note(str(exc), "red")

    def _keep(self, message: str, why: str) -> None:
        self._screen.note(self._say(why))
        self._waiting.append(message)

    def _stop(self) -> None:
        try:
            self._link.call("POST", f"/api/runs/{self.run_id}/stop")
        except (RefusedError, UnreachableError) as exc:
            self._screen.note(str(exc), "red")

    def _leave(self) -> None:
        self.outcome = LEFT

    def _help(self) -> None:
        self._screen.note(self._say("help"))
        self._hinted = False


_COMMANDS: dict[str, Callable[[Answer], None]] = {
    "/stop": Answer._stop,
    "/quit": Answer._leave,
    "/help": Answer._help,
}
_LATER = {"new", "threads", "continue"}
