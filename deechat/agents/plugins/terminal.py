"""Frames as text for a terminal, in English and 中文.

What a model, a tool or a page said never reaches the terminal as more than letters: every piece goes through `clean`,
and styles are put around it only after that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from deechat.agents.plugins.base import Frame, frame_of
from deechat.agents.plugins.terminal_words import clean, words
from deechat.events import CUT, FILTERED, SILENT, Entry

SHORT = 300  # characters of a tool's result
LONGEST_VALUE = 4_000  # characters of an argument: who says yes to it has to see it
ASKING = "ask_user"  # its call and its result hold what was shown as the request and its answer
FLOWING = {"textResponseChunk", "reasoningChunk"}  # one piece goes on where the one before ended

LACKS = {CUT: "cut", FILTERED: "filtered", SILENT: "silent"}  # finish reason → words for what an answer lacks

_STYLES = {"dim": "\x1b[2m", "bold": "\x1b[1m", "red": "\x1b[31m", "plain": ""}

Say = Callable[..., str]
Pieces = list[tuple[str, str]]  # style and words


def kind_of(frame: Frame) -> str:
    """Gives what a frame is to a terminal: its type, or "stepRetold"."""
    return "stepRetold" if "retold" in frame else frame.get("type", "")


class Flow:
    """Sets pieces apart: what does not go on where the piece before ended begins a line of its own."""

    def __init__(self) -> None:
        self._kind = ""
        self._stands = False  # whether the thinking that comes next stands above already
        self.open = False  # whether the cursor stands within a line

    def join(self, kind: str, piece: str) -> str:
        """Gives the piece as it follows the one before; `kind` is that of its frame."""
        stands, self._stands = self._stands, kind == "stepRetold"
        if stands and kind == "reasoningChunk":
            return ""
        goes_on = kind == self._kind and kind in FLOWING
        if kind in FLOWING and not goes_on:
            piece = piece.lstrip("\n")  # a later step's text sets itself apart from earlier text
            piece = piece if kind != "reasoningChunk" or piece.strip() else ""
        if not piece:
            return ""
        begin = "\n" if self.open and not goes_on else ""
        mark = "💭 " if kind == "reasoningChunk" and not goes_on else ""
        self._kind, self.open = kind, not piece.endswith("\n")
        return begin + mark + piece

    def broken(self) -> None:
        """Notes that somebody else, a person's Enter for instance, has ended the line."""
        self._kind, self.open = "", False


class Terminal:
    """The plugin of a terminal; `colour` allows styles. `show` depends on the frame alone.

    A stream's frames are joined by the plugin's own `Flow`; status frames are shown, as on the page.
    """

    content_type = "text/plain; charset=utf-8"

    def __init__(self, message_id: str = "", *, language: str = "en", colour: bool = False) -> None:
        self._message_id = message_id
        self._language = language if language in {"en", "zh"} else "en"
        self._colour = colour
        self._flow = Flow()

    def show(self, frame: Frame) -> str:
        """Gives the frame as text; '' for one that a terminal leaves out, and for types of a later version."""
        shown = _SHOWN.get(kind_of(frame), _nothing)
        return "".join(self.paint(style, text) for style, text in shown(frame, self.say))

    def paint(self, style: str, text: str) -> str:
        """Gives the text cleaned, and in the style; line breaks at its end stay outside of the style."""
        said = clean(text)
        body = said.rstrip("\n")
        if not body or not self._colour or style == "plain":
            return said
        return f"{_STYLES[style]}{body}\x1b[0m{said[len(body) :]}"

    def say(self, key: str, **params: object) -> str:
        """Gives words of the table in this terminal's language."""
        return words(key, self._language, **params)

    def opening(self) -> bytes:
        return b""

    def frame(self, entry: Entry) -> bytes:
        frame = frame_of(entry, self._message_id)
        return self._flow.join(kind_of(frame), self.show(frame)).encode()

    def heartbeat(self, last_seq: int) -> bytes:  # noqa: ARG002 - a person needs no sign of life
        return b""

    def resync(self) -> bytes:
        return self._flow.join("resync", self.show({"type": "resync"})).encode()


# -- the table ---------------------------------------------------------------------------------------------------------


def _nothing(_frame: Frame, _say: Say) -> Pieces:
    return []


def _started(frame: Frame, say: Say) -> Pieces:
    return [("dim", say("continues") + "\n")] if frame["continues"] else []


def _status(frame: Frame, _say: Say) -> Pieces:
    # The invocation that follows says the same, with the arguments.
    return [] if frame["code"] == "tool_call" else [("dim", frame["textResponse"] + "\n")]


def _reasoning(frame: Frame, _say: Say) -> Pieces:
    return [("dim", frame["textResponse"])]


def _text(frame: Frame, _say: Say) -> Pieces:
    return [("plain", frame["textResponse"])]


def _invocation(frame: Frame, say: Say) -> Pieces:
    if frame["name"] == ASKING:
        return []
    given = "".join(f"  {name}: {_line(_value(value), say)}" for name, value in frame["arguments"].items())
    return [("dim", say("arguments", name=frame["name"], given=given) + "\n")]


def _result(frame: Frame, say: Say) -> Pieces:
    if frame["name"] == ASKING and not frame["isError"]:
        return []
    took = say("took", seconds=f"{frame['seconds']:.1f}") if frame["seconds"] >= 0.1 else ""
    key, content = "error" if frame["isError"] else "result", _line(frame["content"], say)
    return [("dim", say(key, name=frame["name"], content=content, took=took) + "\n")]


def _approval(frame: Frame, say: Say) -> Pieces:
    about = f"   {_line(frame['description'], say)}\n" if frame["description"] else ""
    given = "".join(f"   {name}: {_block(_value(value), say)}\n" for name, value in frame["payload"].items())
    head = say("approval", name=frame["skillName"])
    return [("bold", head + "\n"), ("dim", about), ("plain", given), ("dim", say("approval_can") + "\n")]


def _questions(frame: Frame, say: Say) -> Pieces:
    pieces: Pieces = [("bold", say("questions") + "\n")]
    for number, question in enumerate(frame["questions"], start=1):
        pieces.append(("plain", f"   {number}. {_block(question['question'], say)}\n"))
        if question["kind"] == "choice":
            pieces += _options(question, say)
    return pieces


def _options(question: dict[str, Any], say: Say) -> Pieces:
    descriptions = question.get("optionDescriptions") or []
    pieces: Pieces = []
    for at, option in enumerate(question["options"]):
        pieces.append(("plain", f"      {at + 1}) {_line(option, say)}"))
        about = descriptions[at] if at < len(descriptions) else ""
        pieces.append(("dim", (f" · {_line(about, say)}" if about else "") + "\n"))
    hints = {"several": question.get("multiSelect"), "other": question.get("allowOther")}
    return [*pieces, *(("dim", say(key) + "\n") for key, true in hints.items() if true)]


def _input(frame: Frame, say: Say) -> Pieces:
    return [("dim", say("answered", summary=_line(frame["summary"], say)) + "\n")]


def _steered(frame: Frame, say: Say) -> Pieces:
    return [("dim", say("steered", message=_line(frame["message"], say)) + "\n")]


def _restarted(_frame: Frame, say: Say) -> Pieces:
    return [("bold", say("restarted") + "\n")]


def _summarized(frame: Frame, say: Say) -> Pieces:
    return [("dim", say("summarized") + "\n")] if frame["summary"] else []


def _retold(frame: Frame, say: Say) -> Pieces:
    return [("bold", say("was_thinking" if frame["retold"] == "thinking" else "was_text") + "\n")]


def _resync(_frame: Frame, say: Say) -> Pieces:
    return [("bold", say("resync") + "\n")]


def _completed(frame: Frame, say: Say) -> Pieces:
    pieces: Pieces = []
    for number, source in enumerate(frame["sources"], start=1):
        pieces.append(("dim", say("source", number=number, title=_line(source["title"], say)) + "\n"))
    if frame["finishReason"] in LACKS:
        pieces.append(("bold", say(LACKS[frame["finishReason"]]) + "\n"))
    return [*pieces, ("dim", _metrics(frame["metrics"], say) + "\n")]


def _metrics(metrics: dict[str, Any], say: Say) -> str:
    about = "≈ " if metrics.get("estimated") else ""
    parts = [
        _line(metrics["model"] or "?", say),
        say("tokens", about=about, prompt=metrics["prompt_tokens"], completion=metrics["completion_tokens"]),
        say("speed", speed=f"{metrics['outputTps']:.0f}") if metrics["outputTps"] else "",
        say("first", seconds=f"{metrics['ttft']:.1f}") if metrics["ttft"] is not None else "",
        say("lasted", seconds=f"{metrics['duration']:.1f}"),
    ]
    return " · ".join(part for part in parts if part)


def _stopped(_frame: Frame, say: Say) -> Pieces:
    return [("bold", say("stopped") + "\n")]


def _failed(frame: Frame, say: Say) -> Pieces:
    return [("red", say("failed", error=_block(frame["error"], say)) + "\n")]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(text: str, say: Say) -> str:
    """Gives the text on one line, cut to what a person takes in at a glance."""
    said = " ".join(clean(text).split())
    return said if len(said) <= SHORT else said[:SHORT] + say("more", count=len(said) - SHORT)


def _block(text: str, say: Say) -> str:
    """Gives the text with its lines, further ones set in: none can pass for a line of ours."""
    said = clean(text)
    if len(said) > LONGEST_VALUE:
        said = said[:LONGEST_VALUE] + say("more", count=len(said) - LONGEST_VALUE)
    return said.replace("\n", "\n      ")


_SHOWN: dict[str, Callable[[Frame, Say], Pieces]] = {
    "runStarted": _started,
    "stepStarted": _nothing,
    "statusResponse": _status,
    "reasoningChunk": _reasoning,
    "textResponseChunk": _text,
    "stepFinished": _nothing,
    "toolCallInvocation": _invocation,
    "toolCallResult": _result,
    "toolApprovalRequest": _approval,
    "clarificationRequest": _questions,
    "inputReceived": _input,
    "steered": _steered,
    "stepRestarted": _restarted,
    "historySummarized": _summarized,
    "stepRetold": _retold,
    "resync": _resync,
    "finalizeResponseStream": _completed,
    "stopGeneration": _stopped,
    "abort": _failed,
}
