"""A run's frames, brought from a thread: each once, in order, across every break of the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from deechat.terminal.link import Link, RefusedError, UnreachableError, frames, persist

ENDINGS = {"finalizeResponseStream", "stopGeneration", "abort"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame of the run, or the order to forget all of them."""

    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection broke (`back` false), or is there again."""

    back: bool


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing comes any more; `problem` says why, where no ending did."""

    problem: str | None = None


Deliver = Callable[[Shown | Lost | Over], None]


class Watch:
    """Follows one run. The last thing delivered is an `Over`, always."""

    def __init__(self, link: Link, run_id: str, alive: Callable[[], bool]) -> None:
        self._link = link
        self._path = f"/api/runs/{run_id}/events"
        self._alive = alive
        self._last = 0
        self._away = False

    def start(self, opened: requests.Response | None, deliver: Deliver) -> None:
        """Begins with a stream that is open, or with None from the run's start; returns at once."""
        threading.Thread(target=self._run, args=(opened, deliver), daemon=True).start()

    def _run(self, opened: requests.Response | None, deliver: Deliver) -> None:
        problem: str | None = "a mistake in this program"  # which Python itself shows, as it ends this thread
        try:
            while True:
                opened = opened or self._again(deliver)
                if opened is None or self._bring(opened, deliver):
                    break
                opened = None
            problem = None
        except (RefusedError, UnreachableError) as exc:
            problem = str(exc)
        finally:
            deliver(Over(problem))

    def _again(self, deliver: Deliver) -> requests.Response | None:
        def lost() -> None:
            self._away = True
            deliver(Lost(back=False))

        opened = persist(
            lambda: self._link.stream("GET", f"{self._path}?after={self._last}"), on_lost=lost, alive=self._alive
        )
        if self._away:
            self._away = False
            deliver(Lost(back=True))
        return opened

    def _bring(self, opened: requests.Response, deliver: Deliver) -> bool:
        """Delivers what comes; says whether the run's ending did."""
        for frame in frames(opened):
            if frame.get("type") == "resync":
                self._last = 0
            elif frame.get("seq", 0) <= self._last:  # a heartbeat, or seen before
                continue
            self._last = frame.get("seq", 0)
            deliver(Shown(frame))
            if frame.get("type") in ENDINGS:
                return True
        return False
