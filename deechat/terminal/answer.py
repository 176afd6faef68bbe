"""One answer, from its first frame to its ending: shown, steered, stopped, and answered where it asks.

Frames, lines and Ctrl-C come through one queue, so that nothing interrupts anything and no frame is lost.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

import requests

from deechat.locale import Say
from deechat.terminal.client import ENDINGS, Client, Lost, Over, Received, RefusedError, UnreachableError, follow
from deechat.terminal.keyboard import Keyboard
from deechat.terminal.screen import LACKS, Screen
from deechat.typed import ALWAYS, EDIT, NO, YES, meant

Json = dict[str, Any]

LEFT, LOST = "left", "lost"  # how watching ends without the run's own ending
_LATER = {"new", "threads", "continue"}  # commands that have to wait until the answer is over


@dataclass(frozen=True, slots=True)
class Line:
    """A typed line; None is the end of the input."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ctrl-C."""


Event = Received | Lost | Over | Line | Interrupt


class Answer:
    """One run, while a person looks at it.

    After `attend`, `outcome` is `completed`, `stopped`, `failed` or `interrupted` as the run's ending says, or `LEFT`
    or `LOST`; `lacks` says that it completed without all of an answer, `refused` that it asked and no person was there.
    `waiting` are the lines that were typed and are to be sent after this run, oldest first. Lines that come too late
    for it are added there, and so are all that are typed while others wait: a line never overtakes an earlier one.
    """

    def __init__(
        self, run_id: str, client: Client, screen: Screen, keyboard: Keyboard, say: Say, *, waiting: deque[str]
    ) -> None:
        self.run_id = run_id
        self.outcome = ""
        self.interrupted = False
        self.refused = False
        self.lacks = False
        self._waiting = waiting
        self._client, self._screen, self._keyboard, self._say = client, screen, keyboard, say
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._open: dict[str, Asker] = {}
        self._hinted = False

    def attend(self, opened: requests.Response | None, alive: Callable[[], bool]) -> None:
        """Show the run until it is over or the person leaves; `opened` is its stream, None to open it."""
        arguments = (self._client, self.run_id, opened, alive, self._queue.put)
        threading.Thread(target=follow, args=arguments, daemon=True).start()
        # `SimpleQueue.put` may be called from a signal's handler.
        before = signal.signal(signal.SIGINT, lambda *_: self._queue.put(Interrupt()))
        try:
            while not self.outcome:
                # A request is asked once everything that has come was shown.
                if self._open and not self._hinted and self._queue.empty():
                    self._screen.hint(next(iter(self._open.values())).hint)
                    self._hinted = True
                if self._hinted or self._keyboard.interactive:
                    self._keyboard.start_reading(lambda text: self._queue.put(Line(text)))
                self._handle(self._queue.get())
        finally:
            signal.signal(signal.SIGINT, before)
        self._keyboard.stop_reading()
        while not self._queue.empty():
            event = self._queue.get()
            if isinstance(event, Line) and event.text:
                self._waiting.append(event.text)
        self._screen.end()

    def _handle(self, event: Event) -> None:
        match event:
            case Received(frame):
                self._on_frame(frame)
            case Lost(back):
                self._note("back" if back else "lost")
            case Over(problem):
                if problem:
                    self._screen.note(problem, "red")
                self.outcome = LOST
            case Interrupt():
                if self.interrupted:  # it was stopped and is not over yet: the second one leaves
                    self.outcome = LEFT
                self.interrupted = True
                self._hinted = False
                self._screen.interrupted()
                self._stop()
            case Line(None):
                self._on_end_of_input()
            case Line(str(text)):
                self._on_line(text)

    def _on_frame(self, frame: Json) -> None:
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

    def _on_line(self, text: str) -> None:
        interactive, said = self._keyboard.interactive, text.strip()
        if interactive:
            self._screen.entered()
        if interactive and said in {"/stop", "/quit", "/help"}:
            self._command(said)
        elif said.startswith("/") and said[1:].split(" ")[0] in _LATER:
            self._note("not_now", name=said)
        elif self._open and self._hinted:
            self._reply(next(iter(self._open.values())), text)
        elif not interactive:
            self._waiting.append(text)
        elif said and self._waiting:
            self._screen.note(self._say("behind"))
            self._waiting.append(text)
        elif said:
            self._steer(text)

    def _on_end_of_input(self) -> None:
        if self._keyboard.interactive:
            self.outcome = LEFT
            return
        self.refused = True
        self._screen.note(self._say("nobody_refuses"))
        for asker in list(self._open.values()):
            body = asker.refusal()
            if body is None:
                self._stop()
            else:
                self._respond(asker, body)

    def _command(self, name: str) -> None:
        if name == "/stop":
            self._stop()
        elif name == "/quit":
            self.outcome = LEFT
        else:
            self._note("help")

    def _note(self, key: str, **params: object) -> None:
        """Show words beside an open request, which is asked again below them."""
        self._screen.note(self._say(key, **params))
        self._hinted = False

    # -- to the server -------------------------------------------------------------------------------------------------

    def _reply(self, asker: Asker, line: str) -> None:
        self._hinted = False
        taken = asker.accept(line)
        if isinstance(taken, str):
            self._screen.note(taken)
        elif taken is not None:
            self._respond(asker, taken)

    def _respond(self, asker: Asker, body: Json) -> None:
        try:
            self._client.request("POST", f"/api/runs/{self.run_id}/respond", body)
        except RefusedError as exc:
            if exc.status == 400:
                self._screen.note(str(exc), "red")
                asker.reset()
                return
            self._screen.note(self._say("answered_elsewhere") if exc.status == 409 else str(exc))
        except UnreachableError as exc:
            self._screen.note(str(exc), "red")
            asker.reset()
            return
        self._close(asker.request_id)

    def _close(self, request_id: str) -> None:
        self._open.pop(request_id, None)
        self._hinted = False

    def _steer(self, message: str) -> None:
        try:
            self._client.request("POST", f"/api/runs/{self.run_id}/steer", {"message": message})
        except (RefusedError, UnreachableError) as exc:
            if isinstance(exc, RefusedError) and exc.status == 409:
                self._screen.note(self._say("kept"))
                self._waiting.append(message)
            else:
                self._screen.note(str(exc), "red")

    def _stop(self) -> None:
        try:
            self._client.request("POST", f"/api/runs/{self.run_id}/stop")
        except (RefusedError, UnreachableError) as exc:
            self._screen.note(str(exc), "red")


# -- the requests of an answer -----------------------------------------------------------------------------------------


class Asker(Protocol):
    """Make the response to one request of lines that a person types."""

    request_id: str

    @property
    def hint(self) -> str:
        """Return the words for the expected input, on one line."""
        ...

    def accept(self, line: str) -> Json | str | None:
        """Take the next line; return the body for `respond` once it is whole, words if the line does not fit."""
        ...

    def reset(self) -> None:
        """Begin anew, after the server found that the response does not fit."""
        ...

    def refusal(self) -> Json | None:
        """Return the body where no person is there to respond; None when there has to be a response."""
        ...


class Approval:
    """Ask for a yes."""

    def __init__(self, frame: Json, say: Say) -> None:
        self.request_id = frame["requestId"]
        self._arguments = frame["payload"]
        self._say = say
        self._editing = False

    @property
    def hint(self) -> str:
        return self._say("edit_hint" if self._editing else "approval_hint")

    def accept(self, line: str) -> Json | str | None:
        word = line.strip().lower()
        if self._editing:
            if word:
                return self._edited(line)
            self._editing = False
            return None
        if word in YES | NO | ALWAYS:
            always = {"always": True} if word in ALWAYS else {}
            return {"requestId": self.request_id, "approved": word not in NO, **always}
        if word not in EDIT:
            return self._say("approval_keys")
        self._editing = True
        return self._say("edit", given=json.dumps(self._arguments, ensure_ascii=False))

    def _edited(self, line: str) -> Json | str:
        try:
            arguments = json.loads(line)
        except ValueError as exc:
            return self._say("no_json", why=exc)
        if not isinstance(arguments, dict):
            return self._say("no_json", why=type(arguments).__name__)
        return {"requestId": self.request_id, "approved": True, "arguments": arguments}

    def reset(self) -> None:
        pass  # edited arguments do not fit: they are asked for again

    def refusal(self) -> Json | None:
        return {"requestId": self.request_id, "approved": False}


class Questions:
    """Ask one question after the other. An empty line skips one, where that is allowed."""

    def __init__(self, frame: Json, say: Say) -> None:
        self.request_id = frame["requestId"]
        self._questions = frame["questions"]
        self._may_skip = frame["allowSkip"]
        self._say = say
        self._answers: list[Json] = []

    @property
    def hint(self) -> str:
        question = self._questions[len(self._answers)]
        how = ["how_text"]
        if question["kind"] == "choice":
            how = ["how_choices" if question.get("multiSelect") else "how_choice"]
        if self._may_skip:
            how.append("how_skip")
        return self._say(
            "question_hint",
            number=len(self._answers) + 1,
            count=len(self._questions),
            question=" ".join(question["question"].split())[:100],
            how=" ".join(filter(None, map(self._say, how))),
        )

    def accept(self, line: str) -> Json | str | None:
        question, text = self._questions[len(self._answers)], line.strip()
        if not text and not self._may_skip:
            return self._say("must_answer")
        answer = meant(question, text) if text else None
        if text and answer is None:
            several = question.get("multiSelect")
            return self._say("numbers_several" if several else "numbers", most=len(question["options"]))
        self._answers.append({"skipped": answer is None, "answer": answer})
        if len(self._answers) < len(self._questions):
            return None
        if all(each["skipped"] for each in self._answers):
            return {"requestId": self.request_id, "skipped": True}
        return {"requestId": self.request_id, "answers": list(self._answers)}

    def reset(self) -> None:
        self._answers.clear()

    def refusal(self) -> Json | None:
        return {"requestId": self.request_id, "skipped": True} if self._may_skip else None


ASKERS: dict[str, type[Approval] | type[Questions]] = {
    "toolApprovalRequest": Approval,
    "clarificationRequest": Questions,
}
