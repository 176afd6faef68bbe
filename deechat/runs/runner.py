"""One run in memory: the greenlet that drives the agent's loop into the log, its tools' greenlets, and its ending.

The greenlet is there while the run has something to do. It leaves when the log says that a person has to answer first,
or that the run has ended; each addition of an entry asks `ensure_running` for a new one. Neither yields to another
greenlet between looking at the state and acting on it, so no answer meets a run that has just gone to sleep.

There is one ending. Its first claimer writes it: the greenlet when the loop is through or fails, a stop, or the
storage when it gave up. From the claim on the greenlet can append nothing.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cached_property
from typing import NoReturn

import gevent
from gevent.queue import Empty, SimpleQueue

from deechat.agents import loop
from deechat.agents.context import AgentHandler
from deechat.agents.state import LONGEST_RUN, Move, RunState, fold
from deechat.errors import Cancelled, DeeChatError, ModelError, StorageUnavailableError
from deechat.events import (
    AnyEvent,
    Ending,
    Entry,
    HistorySummarized,
    InputReceived,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    Steered,
    StepFinished,
    Terms,
    TextChunk,
    TextClosed,
    ToolCallResult,
    ToolProgress,
)
from deechat.log.journal import UNCOMMITTED_BYTES, Journal, Log
from deechat.messages import UNANSWERED
from deechat.runs.answers import answer
from deechat.store.base import Change, InsertMessage, KeepSummary, NoteRetries, RunRow

TURN = 2_000  # characters that a run takes in before others have their turn: a few milliseconds of work
EVENT = 64  # characters that an event is counted for, however short it is
PROGRESS_SECONDS = 0.5  # between two lines of one call
PATIENCE_WITH_CANCELLED = 5.0  # seconds that a cancelled greenlet may take to clean up
NEVER_STARTED = "It was not started: the run ended first."

_SAID = (TextChunk, ReasoningChunk)  # a union would be made anew for each piece

log = logging.getLogger(__name__)


class GreenletCrew:
    """Runs tools side by side, each on a greenlet of its own."""

    def __init__(self) -> None:
        self.greenlets: list[gevent.Greenlet[..., None]] = []
        self._pending = 0
        self._lines: dict[str, ToolProgress] = {}  # the newest of each call that was not yielded
        self._next: dict[str, float] = {}  # when the next of each call may be

    @cached_property
    def _results(self) -> SimpleQueue[ToolCallResult | None]:
        return SimpleQueue()  # 2 kB, and most runs call no tool

    def start(self, work: Callable[[], ToolCallResult]) -> None:
        self._pending += 1
        self.greenlets.append(gevent.spawn(self._run, work))

    def _run(self, work: Callable[[], ToolCallResult]) -> None:
        with suppress(Cancelled):  # the canceller records the end of the call
            self._results.put(work())

    def wake(self) -> None:
        """Let the waiter for results look at the state: a person has said something."""
        if self._pending:
            self._results.put(None)

    def report(self, progress: ToolProgress) -> None:
        if progress.call_id not in self._lines:
            self.wake()
        self._lines[progress.call_id] = progress
        gevent.sleep(0)

    def results(self) -> Iterator[ToolCallResult | ToolProgress | None]:
        while self._pending:
            now = time.monotonic()
            for call_id in [each for each in self._lines if self._next.get(each, 0.0) <= now]:
                self._next[call_id] = now + PROGRESS_SECONDS
                yield self._lines.pop(call_id)
            until = min((self._next.get(each, 0.0) for each in self._lines), default=None)
            try:
                result = self._results.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except Empty:
                continue  # a line may be yielded now
            if result is not None:
                self._pending -= 1
                self._lines.pop(result.call_id, None)
            yield result
        self.greenlets.clear()
        self._next.clear()


class _Leaving(BaseException):
    """The process is going away, and the loop was about to begin something new."""


class Runner:
    """A run that has not ended. `state` is the fold of everything appended, committed or not.

    `build` makes its handler, on its greenlet; `on_rest` is called there when it has nothing more to do.
    """

    def __init__(
        self,
        run: RunRow,
        run_log: Log,
        journal: Journal,
        *,
        build: Callable[[RunRow, Terms | None], AgentHandler],
        on_rest: Callable[[Runner], None],
        state: RunState | None = None,
    ) -> None:
        self.run = run
        self.log = run_log
        self.state = state if state and state.last_seq == len(run_log.entries) else fold(run_log.entries)
        self._journal = journal
        self._build = build
        self._on_rest = on_rest
        self._crew = GreenletCrew()
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._turn = 0
        self._claimed = False
        self._leaving = False
        self.retried = run.retries > 0  # the row counts deaths, which a whole step sets back
        self.held = False  # it is not its turn yet
        self.owes_ending = False  # claimed by the storage, which writes the ending when it can
        self.last_try = False  # its rows were lost before, so it is given up when they are lost again

    @property
    def working(self) -> bool:
        """Whether it has a greenlet."""
        return self._greenlet is not None

    @property
    def settled(self) -> bool:
        """Whether nothing is under way: no greenlet, nothing to do, all on disk. Such a run needs no memory."""
        idle = not self.working and not self._claimed and not self.state.has_work
        return idle and self.log.committed == self.state.last_seq

    def ensure_running(self, *, begun: bool = False) -> None:
        """Let the loop run, on a greenlet of its own, if there is something to do and nobody does it.

        `begun`: its step is new, and the model was not asked yet.
        """
        if self._greenlet is None and self.state.has_work and not (self.held or self._claimed or self._leaving):
            self._greenlet = gevent.spawn(self._work, begun)

    def leave(self) -> None:
        """Begin nothing new: a step or tool that is in progress may finish, then the greenlet leaves."""
        self._leaving = True

    def join(self, timeout: float) -> None:
        """Return when the greenlet has left, or after `timeout` seconds, cancelled then; no ending is written."""
        if self._greenlet is not None:
            self._greenlet.join(timeout)
        if not self._claimed:
            self._claimed = True
            self.cancel(Cancelled())

    # -- the greenlet --------------------------------------------------------------------------------------------------

    def _work(self, begun: bool) -> None:
        too_long = ModelError("The run took more than an hour and was ended.", code="answer_too_long")
        left = LONGEST_RUN - self.state.metrics().duration
        try:
            with gevent.Timeout(max(left, 0.001), too_long):
                self._drive(self._build(self.run, self.state.started.terms if self.state.started else None), begun)
        except Cancelled:
            return  # who cancelled writes the ending
        except StorageUnavailableError:
            pass  # without a disk nobody can
        except DeeChatError as exc:
            self._fail(exc.code, exc.message)
        except BaseException:  # also others than `Exception`s, such as a `gevent.Timeout` that nobody caught
            number = uuid.uuid4().hex[:12]
            log.exception("run %s met a mistake in the program (%s)", self.run.id, number)
            self._fail("internal_error", f"Something went wrong inside DeeChat; its log names it as {number}.")
        self._greenlet = None
        self._on_rest(self)

    def _drive(self, handler: AgentHandler, begun: bool) -> None:
        try:
            while self.state.has_work:
                self._go_on(handler, begun)
                begun = False
                if self.state.ending is None:
                    self._journal.wait_committed(self.log, self.state.last_seq)
        except _Leaving:
            for event in self._crew.results():
                if event is not None:
                    if self._claimed:
                        self._wait_for_cancel()
                    self._record(event)

    def _go_on(self, handler: AgentHandler, begun: bool) -> None:
        with closing(loop.run(handler, self.state, self._crew, begun=begun)) as events:
            try:
                for event in events:
                    self._take(event)
            except Cancelled as stop:
                with suppress(Cancelled):
                    events.throw(stop)
                raise

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, RunCompleted):
            self._complete(event)
            return
        if self._leaving and event.commit_first:
            raise _Leaving
        if self._claimed:
            self._wait_for_cancel()
        entry = self._record(event)
        if event.commit_first:
            self._journal.wait_committed(self.log, entry.seq)
            return
        if self.log.uncommitted_bytes > UNCOMMITTED_BYTES:  # asked here too: a call less for each token
            self._journal.wait_for_room(self.log)
        # A fast model server is never waited for, so that nobody else would have a turn.
        self._turn += EVENT + (len(event.text) if isinstance(event, _SAID) else 0)
        if self._turn >= TURN:
            self._turn = 0
            gevent.sleep(0)

    def _complete(self, event: RunCompleted) -> None:
        # An answer that cannot be stored is not complete: the storage may end this run until all of it is on disk.
        self._journal.wait_committed(self.log, self.state.last_seq)
        if not self.state.unread and self.claim():  # a message that joined meanwhile is read first
            self.end(event)
        if self._claimed and self.state.ending is not event:
            self._wait_for_cancel()

    def _wait_for_cancel(self) -> NoReturn:
        """Leave a run whose ending somebody else writes: he is about to cancel this greenlet, once."""
        gevent.sleep(2 * PATIENCE_WITH_CANCELLED)
        raise Cancelled

    def _record(self, event: AnyEvent, *changes: Change) -> Entry:
        if self.retried and isinstance(event, StepFinished):
            self.retried, changes = False, (*changes, NoteRetries(self.run.id, 0))
        if isinstance(event, HistorySummarized) and event.text:
            changes = (*changes, KeepSummary(event.upto, event.text))
        entry = self._journal.append(self.log, event, *changes)
        self.state.apply(entry)
        return entry

    def _fail(self, code: str, message: str) -> None:
        if self.claim():
            self.cancel(Cancelled())
            self.end(RunFailed(code, message))

    def add(self, event: InputReceived | Steered, *changes: Change) -> Entry:
        """Append a person's answer or message, whose move was legal in this moment, and let the run go on with it."""
        if isinstance(event, InputReceived) and not self.state.at_work:
            self.log.set_clock()  # days may have passed; how long a person took is not measured
        entry = self._record(event, *changes)
        self._crew.wake()
        self.ensure_running()
        return entry

    def allows(self, move: Move) -> bool:
        """Whether the move is legal now; nothing is once the ending was claimed."""
        return not self._claimed and self.state.allows(move)

    # -- the ending ----------------------------------------------------------------------------------------------------

    def claim(self) -> bool:
        """Take the right to write the ending; true for the first caller alone. Never yields to another greenlet."""
        if not self.allows("stop"):
            return False
        self._claimed = True
        return True

    def cancel(self, stop: Cancelled) -> None:
        """End the run's greenlet and its tools', each once, and give them some time to clean up."""
        greenlets = [each for each in (self._greenlet, *self._crew.greenlets) if each is not None]
        others = [each for each in greenlets if each is not gevent.getcurrent()]
        gevent.killall(others, stop, block=False)
        gevent.joinall(others, timeout=PATIENCE_WITH_CANCELLED)

    def end(self, ending: Ending, *, cut_off: str = "Cancelled before it was done.") -> Entry:
        """Append the ending with the message that it makes, for its claimer. Never yields to another greenlet.

        Calls without a result get one, so that the next turn is valid: `cut_off` for those that had started.
        """
        for each in self.state.calls.values():
            if each.result is None:
                words = cut_off if each.arguments is not None else UNANSWERED if each.is_open else NEVER_STARTED
                self._record(ToolCallResult(each.call.id, each.call.name, words, is_error=True))
        if isinstance(ending, RunCompleted):
            self._record(TextClosed(ending.sources))
        message = answer(self.run, self.state, ending, self.state.metrics(self.log.now()), time.time())
        return self._record(ending, InsertMessage(message))
