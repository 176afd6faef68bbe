"""The run as a tool sees it, and a result with more than text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from deechat.events import Part, Source

LONGEST_LINE = 500  # characters of a line of progress, and of a source's title

Report = Callable[[str, float | None], object]  # takes a line for a person, and the share that is done


class ToolResult(msgspec.Struct, frozen=True):
    """The result of a call: text for the model, and sources and parts that a person sees beside it.

    `sources` are the texts that it rests on, `parts` are images, links and tables.
    """

    text: str
    sources: tuple[Source, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Principal:
    """The person who asks. Today there is one, `OWNER`."""

    id: str


OWNER = Principal("owner")


class ToolContext:
    """The side of a run that its tools see, one a call. A tool that wants it has a parameter of this type.

    `thread` is the id of the run's thread, `principal` the person who asks, `language` the BCP 47 tag of a language.
    `sources` are those that the tool has named so far. `cancelled` turns true when the call was stopped. The tool's own
    greenlet learns of that by `Cancelled`, raised wherever it waits; work that it started elsewhere has to look here.
    """

    __slots__ = ("_report", "_sources", "cancelled", "language", "principal", "thread")

    def __init__(
        self, *, thread: str = "", principal: Principal = OWNER, language: str = "en", report: Report | None = None
    ) -> None:
        self.thread, self.principal, self.language = thread, principal, language
        self.cancelled = False
        self._report = report
        self._sources: dict[str, Source] = {}

    def progress(self, text: str, share: float | None = None) -> None:
        """Show a line to the run's viewers; `share` is the part that is done, 0 to 1, where that is known.

        It may be called as often as one likes: of lines that come fast only some are shown, the newest last. It yields
        to other greenlets, and a stop is raised here, so a tool that computes for long should call it. It is for the
        tool's greenlet and those that it spawns, not for threads.
        """
        if self._report is not None:
            if share is not None:
                share = None if math.isnan(share) else round(min(max(share, 0.0), 1.0), 3)
            self._report(one_line(text), share)

    def source(self, title: str, url: str, text: str = "") -> None:
        """Name a source of the result: a page, and the passage of it that counts. The same URL counts once."""
        url = sound(url)
        self._sources.setdefault(url, Source(url, one_line(title) or url, sound(text), url))

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(self._sources.values())

    def end(self, *, cancelled: bool = False) -> None:
        """Report nothing from now on: the call has its result, or was stopped."""
        self._report = None
        self.cancelled = self.cancelled or cancelled


def one_line(text: str) -> str:
    """Return the text on one line of at most `LONGEST_LINE` characters."""
    line = " ".join(sound(text[: 10 * LONGEST_LINE]).split())
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def sound(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which no JSON can carry."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
