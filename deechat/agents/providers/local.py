"""The model server that runs on this machine: when the one that was found stops, another is looked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeVar

import msgspec

from deechat.agents.providers.base import Notice, Part, Provider, Question, Room, asking
from deechat.errors import ModelError

LOOK_AGAIN = 15.0  # seconds from one look to the next, where there is none
LOOK_SOON = 2.0  # likewise, where there was one, which may be about to come back
MOVES = 3  # times that a question goes on at another server, or once more at the same

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Server:
    """A server that was found. `names` are its models as far as they are known, `foreign` those of others alone."""

    def __init__(self, url: str, provider: Provider) -> None:
        self.url, self.provider = url, provider
        self.shown = url.removesuffix("/v1")
        self.names: frozenset[str] = frozenset()
        self.foreign: frozenset[str] = frozenset()

    def models(self) -> list[str]:
        names = self.provider.models()
        self.names = frozenset(names)
        return names

    def model_for(self, wanted: str | None) -> str | None:
        return self.provider.model_for(None if wanted in self.foreign else wanted)

    def room(self, model: str | None) -> Room:
        return self.provider.room(None if model in self.foreign else model)

    def follow(self, before: _Server, wanted: str | None) -> None:
        """Take the place of another server, whose models may still be chosen somewhere."""
        with suppress(ModelError):  # then it is asked for the chosen model, and its answer tells
            self.models()
            others = {*before.names, *before.foreign, wanted or ""}
            self.foreign = frozenset(others - self.names)


def _tell(before: _Server | None, now: _Server | None) -> None:
    if now is not None:
        log.info("answers come from the model server at %s, which was found on this machine", now.shown)
    elif before is not None:
        log.warning("the model server at %s, which was found on this machine, no longer answers", before.shown)


class Local:
    """Asks the model server whose base URL `find` gives, through the provider that `connect` makes of it.

    There is no look as long as it answers. When it cannot be reached, `find` is asked at once, and the same question
    goes on at the server that runs instead, if nothing of its answer was shown. `lost` is the address of the last
    server, while there is none.
    """

    name = "openai"

    def __init__(
        self,
        *,
        find: Callable[[], str | None],
        connect: Callable[[str], Provider],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find, self._connect, self._clock = find, connect, clock
        self._server: _Server | None = None
        self._looked_at: float | None = None
        self._looking = threading.Lock()
        self.lost: str | None = None

    def is_there(self) -> bool:
        """Return whether a server is there for a new question; may look for one, which takes 300 ms."""
        pause = LOOK_SOON if self.lost else LOOK_AGAIN
        if self._server is None:
            self._look(unless_since=self._clock() - pause)
        return self._server is not None

    def models(self) -> list[str]:
        return self._told(_Server.models)

    def default_model(self) -> str | None:
        return self._told(lambda server: server.provider.default_model())

    def model_for(self, wanted: str | None) -> str | None:
        return self._told(lambda server: server.model_for(wanted))

    def room(self, model: str | None) -> Room:
        return self._told(lambda server: server.room(model))

    def ask(self, question: Question) -> Generator[Part, None, None]:
        """Ask, at another server where the one that was found is gone, and say so. Raises `ModelError`."""
        broken_off = False
        for left in reversed(range(MOVES)):
            server, said = self._there(), False
            if question.model in server.foreign:
                question = msgspec.structs.replace(question, model=None)
            with asking(server.provider, question) as parts:
                try:
                    for part in parts:
                        said = said or not isinstance(part, Notice)
                        yield part
                except ModelError as exc:
                    fault = exc
                else:
                    return
            if said or not left:
                raise fault
            if fault.code == "model_protocol" and not broken_off and self._find() != server.url:
                broken_off = True  # it may have ended just now: asked once more, it answers or cannot be reached
                continue
            now = self._instead_of(server, fault)
            if now is not server:
                now.follow(server, question.model)
                model = now.model_for(question.model)
                params = {"before": server.shown, "server": now.shown, "model": model or "?"}
                yield Notice("model_server_changed", params)
                question = msgspec.structs.replace(question, model=model)
            del fault  # its traceback holds the question, for as long as the next answer takes

    def _told(self, tell: Callable[[_Server], T]) -> T:
        server = self._there()
        try:
            return tell(server)
        except ModelError as fault:
            now = self._instead_of(server, fault)
        if now is not server:
            now.follow(server, None)
        return tell(now)

    def _there(self) -> _Server:
        """Return the server; look for one at once where there is none. Raises `ModelError`."""
        if self._server is None:
            self._look(unless_since=self._clock())
        if self._server is None:
            raise self._gone()
        return self._server

    def _instead_of(self, server: _Server, fault: ModelError) -> _Server:
        """Return the server that runs now, which may be the same. Raises the fault, or says that there is none."""
        if fault.code != "model_unreachable":
            raise fault
        since = self._clock()
        if self._server is None or self._server.url == server.url:  # else another question has looked already
            self._look(unless_since=since)
        if self._server is None:
            raise self._gone() from None
        return self._server

    def _look(self, unless_since: float) -> None:
        """Look, unless there was a look since a moment: a caller that comes during a look takes its result."""
        with self._looking:
            if self._looked_at is not None and self._looked_at > unless_since:
                return
            url = self._find()
            self._looked_at = self._clock()
            before = self._server
            if before is None or before.url != url:
                self._server = None if url is None else _Server(url, self._connect(url))
                _tell(before, self._server)
            if self._server is not None:
                self.lost = None
            elif before is not None:
                self.lost = before.shown

    def _gone(self) -> ModelError:
        gone = (
            f"The model server at {self.lost} that was found on this machine no longer answers; no other one runs here."
        )
        none = "This was begun with a model server that was found on this machine, and none runs here now."
        advice = (
            "Start it again, or another one, and then try again. Until then new questions are answered without a model."
        )
        return ModelError(f"{gone if self.lost else none} {advice}", code="model_unreachable")
