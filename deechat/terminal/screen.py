"""Where the chat writes: a person's terminal, or a pipe that gets the answers alone.

On a terminal everything appears as it comes. Where standard output is no terminal it carries the text of answers and
nothing else, each step's text once it is whole, since what a restart of the server makes void cannot be taken back from
a pipe; all other words go to standard error. Where nobody types, only what has to be known is said beside the answer.
"""

from __future__ import annotations

from typing import Any, TextIO

from deechat.agents.plugins.terminal import LACKS, Flow, Terminal, kind_of

Frame = dict[str, Any]
_NEEDED = {"toolApprovalRequest", "clarificationRequest", "stepRestarted", "resync", "stopGeneration", "abort"}
_WHOLE = {"stepFinished", "finalizeResponseStream", "stopGeneration", "abort"}


def _is_needed(frame: Frame) -> bool:
    """Whether the frame is the answer's text, a question, or trouble, an answer that lacks something included."""
    kind = frame.get("type", "")
    return kind == "textResponseChunk" or kind in _NEEDED or frame.get("finishReason") in LACKS


class Sink:
    """One output, and where its cursor stands."""

    def __init__(self, stream: TextIO, *, language: str, colour: bool) -> None:
        self._stream = stream
        self.terminal = Terminal(language=language, colour=colour)
        self.flow = Flow()

    def put(self, kind: str, piece: str) -> None:
        words = self.flow.join(kind, piece)
        if words:
            self._stream.write(words)
            self._stream.flush()

    def end_line(self) -> None:
        if self.flow.open:
            self._stream.write("\n")
            self._stream.flush()
        self.flow.broken()


class Screen:
    """Shows frames and words; `out` and `err` are the standard streams, `colour` is what the person allows.

    `quiet` leaves out how an answer came about, its tools and its cost for instance.
    """

    def __init__(self, out: TextIO, err: TextIO, *, language: str, colour: bool, quiet: bool = False) -> None:
        self._out = Sink(out, language=language, colour=colour and out.isatty())
        self._rest = self._out if out.isatty() else Sink(err, language=language, colour=colour and err.isatty())
        self._quiet = quiet
        self._held: list[str] = []

    def show(self, frame: Frame) -> bool:
        """Shows the frame; says whether anything of it can be seen."""
        kind = kind_of(frame)
        if kind == "textResponseChunk" and self._rest is not self._out:
            self._held.append(frame["textResponse"])
            return False
        if kind in _WHOLE:
            self._release()
        if kind in {"stepRestarted", "stepRetold", "resync"}:
            self._held.clear()
        if kind == "stepRetold" and self._rest is not self._out:
            return False  # nothing of it was shown
        if self._quiet and not _is_needed(frame):
            return False
        piece = self._rest.terminal.show(frame)
        self._rest.put(kind, piece)
        return bool(piece)

    def note(self, words: str, style: str = "dim") -> None:
        """Shows words of the chat's own as lines."""
        self._rest.put("note", self._rest.terminal.paint(style, words + "\n"))

    def hint(self, words: str) -> None:
        """Shows what is expected of the person, and leaves the cursor behind it."""
        self._rest.put("hint", self._rest.terminal.paint("bold", words))

    def entered(self) -> None:
        """Notes that the person has pressed Enter, which the terminal itself shows."""
        self._rest.flow.broken()

    def echoed(self) -> None:
        """Notes that the terminal shows `^C` and leaves the cursor behind it."""
        self._rest.flow.open = True

    def end(self) -> None:
        """Ends what an answer left open, a line without its end for instance."""
        self._release()
        self._out.end_line()
        self._rest.end_line()

    def _release(self) -> None:
        text, self._held = "".join(self._held), []
        self._out.put("textResponseChunk", self._out.terminal.paint("plain", text))
