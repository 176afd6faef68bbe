"""All dialects in one table, each with the cursors that it may be asked for: live and replayed frames have to be equal.

`TABLE` has a row for each class; tests/agents/plugins/test_every_dialect.py looks that none is missing.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import deechat
from deechat.agents.plugins.agui import AGUI
from deechat.agents.plugins.aisdk import AISDK
from deechat.agents.plugins.anythingllm import AnythingLLM
from deechat.agents.plugins.base import Dialect, FromStart, Plugin
from deechat.agents.plugins.deechat import DeeChat
from deechat.agents.plugins.openai.chat import Chat
from deechat.agents.plugins.openai.responses import Responses
from deechat.agents.plugins.sse import SSE
from deechat.agents.plugins.websocket import AgentSocket
from deechat.events import ClarificationRequest, ClientCall, Entry, ToolApprovalRequest
from deechat.store.base import RunRow
from deechat.web.transports import Switch

Log = Sequence[Entry]
NEVER = 10**9  # no wait before it ends a stream
_WIRE = SSE(retries=False)
_RUN = RunRow("r", "t", "m", "p", None, None, None, "en", 0.0, None, None)


class Sent(NamedTuple):
    """A frame as it went out at once, so that nothing that is done to it later counts; `id` is its cursor."""

    seq: int
    id: int | str | None
    sent: bytes


class Replay(NamedTuple):
    """A cursor, the frames that live came behind it, and those of a fold for a viewer that comes back with it."""

    cursor: object
    live: list[Sent]
    replayed: list[Sent]


def fold(dialect: Dialect, log: Log) -> list[Sent]:
    """Return the frames of a log up to the dialect's end."""
    sent: list[Sent] = []
    for entry in log:
        sent += [Sent(entry.seq, frame.id, _WIRE.encode(frame)) for frame in dialect.fold(entry)]
        if dialect.over:
            break
    return sent


def _by_seq(make: Callable[[int], Dialect], log: Log, most: int) -> Iterator[Replay]:
    """Try each place in the log as the cursor; a dialect may end at a wait, and the live one is asked on behind it."""
    live: list[Sent] = []
    whole = make(0)
    for entry in log:
        live += [Sent(entry.seq, frame.id, _WIRE.encode(frame)) for frame in whole.fold(entry)]
    for after in some(range(len(log) + 1), most):
        dialect, replayed, last = make(after), [], 0
        for entry in log:
            last = entry.seq
            replayed += [Sent(entry.seq, frame.id, _WIRE.encode(frame)) for frame in dialect.fold(entry)]
            if dialect.over:
                break
        yield Replay(after, [each for each in live if after < each.seq <= last], replayed)


def _deechat(log: Log, most: int) -> Iterator[Replay]:
    live = fold(DeeChat("m"), log)
    for after in some(range(len(log) + 1), most):
        plugin = Plugin(DeeChat("m"), _WIRE)
        replayed = [Sent(entry.seq, entry.seq, plugin.frame(entry)) for entry in log[after:]]
        yield Replay(after, live[after:], replayed)


def _agui(log: Log, most: int) -> Iterator[Replay]:
    for resumed, until in _parts(log):
        live = fold(AGUI("run", resumed=resumed, until=until), log)
        yield Replay((resumed, None), live, fold(AGUI("run", resumed=resumed, until=until), log))
        for at in some(range(len(live)), most):
            seq, _, number = str(live[at].id).partition(".")
            replayed = fold(AGUI("run", (int(seq), int(number)), resumed=resumed, until=until), log)
            yield Replay((resumed, live[at].id), live[at + 1 :], replayed)


def _aisdk(log: Log, most: int) -> Iterator[Replay]:
    for resumed, until in _parts(log):
        live = fold(AISDK(resumed=resumed, until=until), log)
        chunks = len(live) - bool(live and live[-1].sent == b"data: [DONE]\n\n")
        for start in some(range(chunks + 1), most):
            yield Replay((resumed, start), live[start:], fold(AISDK(start, resumed=resumed, until=until), log))


def _parts(log: Log) -> Iterator[tuple[tuple[str, ...], int | None]]:
    """Yield what chooses a stream: the whole run, its first part, and the part behind each request."""
    yield (), NEVER
    yield (), None
    for entry in log:
        if isinstance(entry.event, ToolApprovalRequest | ClarificationRequest | ClientCall):
            yield (entry.event.request_id,), None


def _responses(log: Log, most: int) -> Iterator[Replay]:
    for segment in range(_segments(log) + 1):
        live = fold(Responses(segment), log)
        for number in some(range(len(live)), most):
            yield Replay((segment, number - 1), live[number:], fold(Responses(segment, number - 1), log))


def _chat(log: Log, _most: int) -> Iterator[Replay]:
    for segment in range(_segments(log) + 1):
        live = fold(Chat(segment, counts=True), log)
        yield Replay((segment, None), live, fold(Chat(segment, counts=True), log))


def _segments(log: Log) -> int:
    last = Chat(NEVER)
    for entry in log:
        last.fold(entry)
    return last.at


def _anythingllm(log: Log, most: int) -> Iterator[Replay]:
    for answered in (0, NEVER):
        yield from _by_seq(lambda after, answered=answered: AnythingLLM("m", after=after, answered=answered), log, most)


def _agent_socket(log: Log, most: int) -> Iterator[Replay]:
    yield from _by_seq(lambda after: AgentSocket("m", after), log, most)


def _switch(log: Log, _most: int) -> Iterator[Replay]:
    """A stream that has no cursor hands over to one that has: both together are the whole."""
    yield Replay(None, fold(Switch(_RUN, None), log), fold(Switch(_RUN, None), log))
    live = fold(Switch(_RUN, DeeChat("m")), log)
    yield Replay(None, live, fold(Switch(_RUN, DeeChat("m")), log))


TABLE: dict[type[Any], Callable[[Log, int], Iterator[Replay]]] = {
    DeeChat: _deechat,
    AGUI: _agui,
    AISDK: _aisdk,
    Responses: _responses,
    Chat: _chat,
    AnythingLLM: _anythingllm,
    AgentSocket: _agent_socket,
    Switch: _switch,
}


def some(cursors: range, most: int) -> Iterator[int]:
    """Yield all cursors, or of very many the first, the last and others evenly between."""
    if len(cursors) <= most:
        yield from cursors
        return
    ends = most // 4
    step = (len(cursors) - 1) / (most - 1)
    yield from sorted({*cursors[:ends], *cursors[-ends:], *(cursors[int(at * step)] for at in range(most))})


def check(log: Log, most: int, table: dict[type[Any], Callable[[Log, int], Iterator[Replay]]] = TABLE) -> int:
    """Return how many cursors were tried. Raise `AssertionError` for the first one whose replay differs."""
    tried = 0
    for dialect, replays in table.items():
        for cursor, live, replayed in replays(log, most):
            tried += 1
            if live != replayed:
                raise AssertionError(f"{dialect.__name__} from the cursor {cursor}: {difference(live, replayed)}")
    return tried


def difference(live: list[Sent], replayed: list[Sent]) -> str:
    """Return the first frame that differs."""
    at = next((at for at, both in enumerate(zip(live, replayed, strict=False)) if both[0] != both[1]), None)
    if at is None:
        at = min(len(live), len(replayed))
    return f"frame {at} was live {live[at : at + 1]}, and is replayed as {replayed[at : at + 1]}"


def all_dialects() -> set[type[Any]]:
    """Return the dialects of the program: classes with a fold that no other one derives from."""
    found: set[type[Any]] = set()
    for module in pkgutil.walk_packages(deechat.__path__, "deechat."):
        if module.name.startswith(("deechat.agents.plugins", "deechat.web")):
            classes = inspect.getmembers(import_module(module.name), inspect.isclass)
            found |= {each for _, each in classes if hasattr(each, "fold") and hasattr(each, "over")}
    found -= {Dialect, FromStart}
    return {each for each in found if not any(each in other.__mro__[1:] for other in found)}
