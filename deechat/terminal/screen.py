"""The screen of the chat: frames as text, and the standard streams that they are written to.

Words of a model, a tool or a page never reach the terminal as more than letters: every piece passes `clean`, and styles
are put around it only after that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TextIO

from deechat.locale import Say

Frame = dict[str, Any]
Pieces = list[tuple[str, str]]  # style and words

SHORT = 300  # characters of a tool's result
GLANCE = 50  # characters of a line of progress: it must not wrap, since it is replaced
LONGEST_VALUE = 4_000  # characters of an argument: a person has to see it before a yes
ASKING = "ask_user"  # its call and its result repeat the request and its answer, which were shown
FLOWING = {"textResponseChunk", "reasoningChunk"}  # one piece goes on where the one before ended
REPLACING = {"toolProgress", "toolCallResult"}  # take the place of a line of progress right before

LACKS = {"length": "cut", "content_filter": "filtered", "no_text": "silent"}  # finish reason → the kind of lack

_NEEDED = {"toolApprovalRequest", "clarificationRequest", "stepRestarted", "resync", "stopGeneration", "abort"}
_WHOLE = {"stepFinished", "finalizeResponseStream", "stopGeneration", "abort"}


class Output:
    """Write pieces to one stream, and begin a line for each that does not go on where the one before ended.

    Where colour is shown lines can be erased too, so a tool's lines of progress stand one in the place of the other.
    """

    def __init__(self, stream: TextIO, *, colour: bool = False) -> None:
        self._stream = stream
        self._kind = ""
        self._ended_early = False  # by `give_way`
        self.colour = colour and stream.isatty()
        self.within_line = False  # where the cursor stands

    def write(self, kind: str, piece: str) -> None:
        """Write a piece; `kind` is that of its frame."""
        goes_on = kind == self._kind and kind in FLOWING
        if kind in FLOWING and not goes_on:
            piece = piece.lstrip("\n")  # a later step's text sets itself apart from earlier text
            piece = piece if kind != "reasoningChunk" or piece.strip() else ""
        if not piece:
            return
        if self._ended_early and goes_on:
            piece = piece.removeprefix("\n")
        begin = "\n" if self.within_line and not goes_on else ""
        if self.colour and self._kind == "toolProgress" and kind in REPLACING:
            begin = _REPLACE
        mark = "💭 " if kind == "reasoningChunk" and not goes_on else ""
        self._kind, self.within_line, self._ended_early = kind, not piece.endswith("\n"), False
        self._stream.write(begin + mark + piece)
        self._stream.flush()

    def end_line(self) -> None:
        """End an open line; nothing goes on behind it."""
        self.give_way()
        self.line_ended()

    def line_ended(self) -> None:
        """Note that the line was ended from outside, by a person's Enter for instance."""
        self._kind, self.within_line, self._ended_early = "", False, False

    def give_way(self) -> None:
        """End an open line for words on another stream. Text that goes on later leaves out its first line break."""
        if self.within_line:
            self._stream.write("\n")
            self._stream.flush()
            self.within_line, self._ended_early = False, True


class Screen:
    """Show frames and the chat's own words; `out` and `err` are the standard streams.

    On a terminal everything appears as it comes. Where standard output is no terminal it carries the text of answers
    and nothing else, each step's text once it is whole, since text that a restart of the server makes void cannot be
    taken back from a pipe; all other words go to standard error. Both may still be one file or one window: no line of
    one begins within a line of the other. `colour` allows styles; `quiet` leaves out how an answer came about, its
    tools and its cost for instance.
    """

    def __init__(self, out: TextIO, err: TextIO, say: Say, *, colour: bool, quiet: bool = False) -> None:
        self._out = Output(out, colour=colour)
        self._notes = self._out if out.isatty() else Output(err, colour=colour)
        self._say, self._quiet = say, quiet
        self._held: list[str] = []  # a step's text until it is whole

    def show(self, frame: Frame) -> bool:
        """Show the frame; return whether anything of it can be seen."""
        kind = kind_of(frame)
        if kind == "textResponseChunk" and self._notes is not self._out:
            self._held.append(frame["textResponse"])
            return False
        if kind in _WHOLE:
            self._release()
        if kind in {"stepRestarted", "stepRetold", "resync"}:
            self._held.clear()
        if kind == "stepRetold" and self._notes is not self._out:
            return False  # nothing of it was shown
        needed = kind == "textResponseChunk" or frame.get("type") in _NEEDED or frame.get("finishReason") in LACKS
        if self._quiet and not needed:
            return False
        piece = render(frame, self._say, colour=self._notes.colour)
        self._write_note(kind, piece)
        return bool(piece)

    def note(self, words: str, style: str = "dim") -> None:
        """Show words of the chat's own as lines."""
        self._write_note("note", paint(style, words + "\n", colour=self._notes.colour))

    def hint(self, words: str) -> None:
        """Show the words for the expected input, and leave the cursor behind them."""
        self._write_note("hint", paint("bold", words, colour=self._notes.colour))

    def entered(self) -> None:
        """Note that the person has pressed Enter, which the terminal itself shows."""
        self._notes.line_ended()

    def interrupted(self) -> None:
        """Note that the terminal shows `^C` and leaves the cursor behind it."""
        self._notes.within_line = True

    def end(self) -> None:
        """End an answer's output: write text that is still held, and end open lines."""
        self._release()
        self._out.end_line()
        self._notes.end_line()

    def _write_note(self, kind: str, piece: str) -> None:
        if piece and self._notes is not self._out:
            self._out.give_way()
        self._notes.write(kind, piece)

    def _release(self) -> None:
        text, self._held = "".join(self._held), []
        if text and self._notes is not self._out:
            self._notes.give_way()
        self._out.write("textResponseChunk", paint("plain", text, colour=False))


# -- frames as text ----------------------------------------------------------------------------------------------------


def kind_of(frame: Frame) -> str:
    """Return a frame's type, or "stepRetold" for a restart whose text was taken for something else."""
    return "stepRetold" if "retold" in frame else frame.get("type", "")


def render(frame: Frame, say: Say, *, colour: bool = False) -> str:
    """Return the frame as text; '' for one that a terminal leaves out, and for types of a later version."""
    pieces = _PIECES.get(kind_of(frame), _nothing)(frame, say)
    return "".join(paint(style, text, colour=colour) for style, text in pieces)


def paint(style: str, text: str, *, colour: bool) -> str:
    """Return the text cleaned, and in the style; line breaks at its end stay outside of the style."""
    said = clean(text)
    body = said.rstrip("\n")
    if not body or not colour or style == "plain":
        return said
    return f"{_STYLES[style]}{body}\x1b[0m{said[len(body) :]}"


_REPLACE = "\x1b[A\x1b[2K"  # cursor up, erase the line (ECMA-48, 8.3.22 and 8.3.41)
_STYLES = {"dim": "\x1b[2m", "bold": "\x1b[1m", "red": "\x1b[31m"}


def _nothing(_frame: Frame, _say: Say) -> Pieces:
    return []


def _line(style: str, key: str) -> Callable[[Frame, Say], Pieces]:
    """Return a renderer of words that stand on a line and say nothing of the frame."""
    return lambda _frame, say: [(style, say(key) + "\n")]


def _invocation(frame: Frame, say: Say) -> Pieces:
    if frame["name"] == ASKING:
        return []
    given = "".join(f"  {name}: {_short(_value(value), say)}" for name, value in frame["arguments"].items())
    return [("dim", say("arguments", name=frame["name"], given=given) + "\n")]


def _progress(frame: Frame, say: Say) -> Pieces:
    said = " ".join(clean(frame["text"]).split())
    text = said if len(said) <= GLANCE else said[:GLANCE] + "…"
    share = "" if frame["share"] is None else say("share", percent=f"{frame['share']:.0%}")
    return [("dim", say("progress", name=frame["name"], text=text, share=share) + "\n")]


def _result(frame: Frame, say: Say) -> Pieces:
    if frame["name"] == ASKING and not frame["isError"]:
        return []
    took = say("took", seconds=f"{frame['seconds']:.1f}") if frame["seconds"] >= 0.1 else ""
    key, content = "error" if frame["isError"] else "result", _short(frame["content"], say)
    return [("dim", say(key, name=frame["name"], content=content, took=took) + "\n")]


def _approval(frame: Frame, say: Say) -> Pieces:
    about = f"   {_short(frame['description'], say)}\n" if frame["description"] else ""
    given = "".join(f"   {name}: {_block(_value(value), say)}\n" for name, value in frame["payload"].items())
    head = say("approval", name=frame["skillName"])
    return [("bold", head + "\n"), ("dim", about), ("plain", given), ("dim", say("approval_can") + "\n")]


def _questions(frame: Frame, say: Say) -> Pieces:
    pieces: Pieces = [("bold", say("questions") + "\n")]
    for number, question in enumerate(frame["questions"], start=1):
        pieces.append(("plain", f"   {number}. {_block(question['question'], say)}\n"))
        if question["kind"] != "choice":
            continue
        descriptions = question.get("optionDescriptions") or []
        for at, option in enumerate(question["options"]):
            about = descriptions[at] if at < len(descriptions) else ""
            pieces.append(("plain", f"      {at + 1}) {_short(option, say)}"))
            pieces.append(("dim", (f" · {_short(about, say)}" if about else "") + "\n"))
        hints = {"several": question.get("multiSelect"), "other": question.get("allowOther")}
        pieces += [("dim", say(key) + "\n") for key, true in hints.items() if true]
    return pieces


def _completed(frame: Frame, say: Say) -> Pieces:
    pieces: Pieces = []
    for number, source in enumerate(frame["sources"], start=1):
        pieces.append(("dim", say("source", number=number, title=_short(source["title"], say)) + "\n"))
    if frame["finishReason"] in LACKS:
        pieces.append(("bold", say(LACKS[frame["finishReason"]]) + "\n"))
    metrics = frame["metrics"]
    about = "≈ " if metrics.get("estimated") else ""
    parts = [
        _short(metrics["model"] or "?", say),
        say("tokens", about=about, prompt=metrics["prompt_tokens"], completion=metrics["completion_tokens"]),
        say("speed", speed=f"{metrics['outputTps']:.0f}") if metrics["outputTps"] else "",
        say("first", seconds=f"{metrics['ttft']:.1f}") if metrics["ttft"] is not None else "",
        say("lasted", seconds=f"{metrics['duration']:.1f}"),
    ]
    return [*pieces, ("dim", " · ".join(part for part in parts if part) + "\n")]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str, say: Say) -> str:
    """Return the text on one line, cut to `SHORT` characters."""
    said = " ".join(clean(text).split())
    return said if len(said) <= SHORT else said[:SHORT] + say("more", count=len(said) - SHORT)


def _block(text: str, say: Say) -> str:
    """Return the text with its lines, further ones set in: none can pass for a line of ours."""
    said = clean(text)
    if len(said) > LONGEST_VALUE:
        said = said[:LONGEST_VALUE] + say("more", count=len(said) - LONGEST_VALUE)
    return said.replace("\n", "\n      ")


_PIECES: dict[str, Callable[[Frame, Say], Pieces]] = {
    "runStarted": lambda frame, say: [("dim", say("continues") + "\n")] if frame["continues"] else [],
    "stepStarted": _nothing,
    # The invocation that follows a status of a tool's call says the same, with the arguments.
    "statusResponse": lambda frame, _: [] if frame["code"] == "tool_call" else [("dim", frame["textResponse"] + "\n")],
    "reasoningChunk": lambda frame, _: [("dim", frame["textResponse"])],
    "textResponseChunk": lambda frame, _: [("plain", frame["textResponse"])],
    "stepFinished": _nothing,
    "toolCallInvocation": _invocation,
    "toolProgress": _progress,
    "toolCallResult": _result,
    "toolApprovalRequest": _approval,
    "clarificationRequest": _questions,
    "clientCall": lambda frame, _: [("dim", f"{clean(frame['name'])} …\n")],
    "inputReceived": lambda frame, say: [("dim", say("answered", summary=_short(frame["summary"], say)) + "\n")],
    "steered": lambda frame, say: [("dim", say("steered", message=_short(frame["message"], say)) + "\n")],
    "stepRestarted": _line("bold", "restarted"),
    "stepRetold": lambda frame, say: [
        ("bold", say("was_thinking" if frame["retold"] == "thinking" else "was_text") + "\n")
    ],
    "historySummarized": lambda frame, say: [("dim", say("summarized") + "\n")] if frame["summary"] else [],
    "resync": _line("bold", "resync"),
    "finalizeResponseStream": _completed,
    "stopGeneration": _line("bold", "stopped"),
    "abort": lambda frame, say: [("red", say("failed", error=_block(frame["error"], say)) + "\n")],
}


# -- letters alone -----------------------------------------------------------------------------------------------------

# CSI, the strings (OSC, DCS, ...) with their terminator, and all other escapes (ECMA-48, 5.3 to 5.6).
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONE = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text without anything that a terminal would obey, except line breaks and tabs.

    Control characters and escape sequences could forge a prompt, rename the window or write files; marks that turn the
    direction of writing could make a person say yes to words that do not stand there.
    """
    plain = _CONTROL.sub("", _ESCAPE.sub("", text)).replace("\u2028", "\n").replace("\u2029", "\n")
    return _LONE.sub("\ufffd", plain)
