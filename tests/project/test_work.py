"""What a fixed piece of work may cost, counted and not timed: a machine that is busy changes none of these numbers.

Each bound stands well above what the work takes today and far below what it would take if somebody committed, sent,
woke or decoded once for each token again, where today many go together.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import gevent
import greenlet
import pytest
from model_server import ModelServer, delta, frame, reply
from openai_rig import HELLO, Rig
from runs_rig import House

import deechat
from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.deechat import DeeChat
from deechat.agents.plugins.sse import SSE
from deechat.agents.providers.base import Scripted, Text, Turn
from deechat.agents.providers.openai.turn import Assembler
from deechat.application import Application
from deechat.config import Settings
from deechat.events import Entry, RunStarted, RunStopped, TextChunk
from deechat.log.journal import Log
from deechat.principal import OWNER
from deechat.store.base import RunRow
from deechat.store.sqlite.database import Job

TOKENS = 500
OURS = f"{Path(deechat.__file__).parent}/"  # not what is installed below a folder of that name


# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that any connection runs, by its first word."""
    ran: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda sql: ran.append(sql.split()[0].upper()))
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return ran


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of everything that the main thread reads from a socket; the model server has threads of its own."""
    sizes: list[int] = []

    def counting(name: str) -> Callable[..., Any]:
        plain = getattr(socket.socket, name)

        def read(sock: socket.socket, *arguments: Any) -> Any:
            got = plain(sock, *arguments)
            if threading.current_thread() is threading.main_thread():
                sizes.append(got if isinstance(got, int) else len(got))
            return got

        return read

    for name in ("recv", "recv_into"):
        monkeypatch.setattr(socket.socket, name, counting(name))
    plain_read = os.read

    def read(descriptor: int, size: int) -> bytes:
        got = plain_read(descriptor, size)
        if threading.current_thread() is threading.main_thread():
            sizes.append(len(got))
        return got

    monkeypatch.setattr(os, "read", read)
    return sizes


@contextlib.contextmanager
def switches() -> Iterator[list[str]]:
    """Notes every switch between greenlets."""
    seen: list[str] = []
    before = greenlet.settrace(lambda event, _: seen.append(event))
    try:
        yield seen
    finally:
        greenlet.settrace(before)


@contextlib.contextmanager
def calls() -> Iterator[Counter[str]]:
    """Counts the calls of functions, of Python's and of C's."""
    counts: Counter[str] = Counter()

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            counts[event] += 1

    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)


@contextlib.contextmanager
def calls_by_place() -> Iterator[Counter[str]]:
    """Counts the calls of our own functions, in whatever greenlet of this thread they are made."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            counts[f"{frame.f_code.co_filename.removeprefix(OURS)}:{frame.f_code.co_name}"] += 1

    def follow(_event: str, _greenlets: object) -> None:
        sys.setprofile(note if counting else None)  # a greenlet has its own

    counting = True
    before = greenlet.settrace(follow)
    try:
        yield counts
    finally:
        counting = False
        gevent.sleep(0.01)
        greenlet.settrace(before)
        sys.setprofile(None)


class SlowDisk:
    """Holds the writer in the midst of a commit, so that what a run says meanwhile gathers, whatever the disk is."""

    def __init__(self) -> None:
        self.home: House | None = None
        self._begun = threading.Event()
        self._over = threading.Event()

    def begin(self) -> None:
        assert self.home is not None
        self.home.database.submit(Job(self._work))
        while not self._begun.is_set():
            gevent.sleep(0.001)

    def _work(self, _connection: sqlite3.Connection) -> None:
        self._begun.set()
        assert self._over.wait(30)

    def end(self) -> None:
        self._over.set()


@pytest.fixture
def slow() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def home(tmp_path: Path, statements: list[str], slow: SlowDisk) -> Iterator[House]:
    """A house whose model says many pieces while the disk is slow."""
    pieces = [Text(f"word{number} ") for number in range(TOKENS)]
    slow.home = House(tmp_path / "test.sqlite3", Scripted([slow.begin, *pieces, slow.end, Turn("stop")]), max_runs=100)
    yield slow.home
    slow.home.store.tidy()  # its sweeper would wake while another test counts
    slow.home.database.close()


def open_log(home: House, name: str) -> Log:
    record = RunRow(name, home.thread().id, f"{name}-message", f"{name}-prompt", None, None, "m", "en", 1.0)
    return home.journal.open(record, [RunStarted(name, record.message_id, "w", "t", None, "m")])


# -- the log -----------------------------------------------------------------------------------------------------------


def test_what_gathers_while_the_disk_is_slow_is_one_commit(home: House, statements: list[str]) -> None:
    thread = home.thread()
    statements.clear()
    events = home.events(home.start(thread))
    ran = Counter(statements)
    assert sum(isinstance(event, TextChunk) for event in events) <= TOKENS
    assert ran["COMMIT"] <= 8  # 4: the prompt with the first step, the slow one, all pieces, the ending
    assert ran["INSERT"] <= 25  # 13, of which 7 for 501 rows
    assert ran["SELECT"] + ran["WITH"] <= 15  # 7
    assert ran.total() <= 80  # 33


def test_the_rows_of_many_runs_share_a_commit_and_its_statements(home: House, statements: list[str]) -> None:
    logs = [open_log(home, f"run{number}") for number in range(50)]
    statements.clear()
    for _ in range(4):
        for log in logs:
            home.journal.append(log, TextChunk("Hello"))
    for log in logs:
        home.journal.wait_committed(log, len(log.entries))
    ran = Counter(statements)
    assert ran["COMMIT"] <= 2  # 1
    assert ran["INSERT"] <= 2  # 1
    assert ran.total() <= 8  # 3


def test_an_append_yields_to_nobody_and_costs_few_calls(home: House) -> None:
    log = open_log(home, "run")
    with switches() as switched, calls() as called:
        for number in range(TOKENS):
            home.journal.append(log, TextChunk(f"word{number} "))
    assert switched == []
    assert called.total() <= 25 * TOKENS  # 13 each
    home.journal.wait_committed(log, len(log.entries))


def test_a_follower_is_given_what_was_committed_together_at_once(home: House) -> None:
    log = open_log(home, "run")
    for number in range(TOKENS - 2):
        home.journal.append(log, TextChunk(f"word{number} "))
    home.journal.append(log, RunStopped())
    home.journal.wait_ended(log)
    assert len(list(home.journal.follow("run", 0, 10.0))) <= 2


def test_viewers_are_woken_by_commits_and_not_by_tokens(home: House) -> None:
    with switches() as switched:
        run = home.start(home.thread())
        viewers = [gevent.spawn(lambda: list(home.runs.follow(OWNER, run, 0, 10.0))) for _ in range(20)]
        gevent.joinall(viewers, timeout=30)
    batches = [len(viewer.get()) for viewer in viewers]
    assert max(batches) <= 12  # 5
    # Two for each piece, since a run lets others have their turn, and so many for each viewer.
    assert len(switched) <= 2.2 * TOKENS + 20 * 2 * max(batches) + 100


# -- the model server's answer -----------------------------------------------------------------------------------------


def lines(tokens: int, field: str = "content") -> bytes:
    return b"".join(frame(delta(**{field: f"word{number} "})) for number in range(tokens))


def decoding(pieces: list[bytes]) -> Counter[str]:
    """Counts the calls of decoding what reads brought, each of which is to be one part."""

    def answer(error: Any) -> Any:
        raise AssertionError(error)

    turn = Assembler(answer)
    with calls() as called:
        parts = [list(turn.feed(piece)) for piece in pieces]
    assert [len(each) for each in parts] == [1] * len(pieces), "what came together is one part"
    return called


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_decoding_a_token_takes_few_calls(field: str) -> None:
    called = decoding([lines(TOKENS, field)])
    assert called["call"] <= 50  # 22 for all
    assert called.total() <= 6 * TOKENS  # 3 each


def test_decoding_a_token_that_comes_alone_takes_few_calls() -> None:
    called = decoding([lines(1)] * TOKENS)
    assert called["call"] <= 20 * TOKENS  # 13 each
    assert called.total() <= 40 * TOKENS  # 27 each


def test_decoding_a_token_the_general_way_takes_few_calls() -> None:
    called = decoding([lines(TOKENS).replace(b"data: ", b"data:")])
    assert called["call"] <= 35 * TOKENS  # 25 each
    assert called.total() <= 60 * TOKENS  # 58 each


def test_a_frame_takes_few_calls() -> None:
    plugin = Plugin(DeeChat("message"), SSE())
    entries = [Entry(number, 1.0, TextChunk(f"word{number} ")) for number in range(TOKENS)]
    with calls() as called:
        frames = [plugin.frame(entry) for entry in entries]
    assert len(frames) == TOKENS
    assert called.total() <= 14 * TOKENS  # 7 each


# -- asking it ---------------------------------------------------------------------------------------------------------


def test_asking_takes_few_calls() -> None:
    """From the question to the first part of its answer, the provider's first question aside."""
    with Rig() as rig:
        provider = rig.make(model="m")
        rig.server.script("one", "two", "three")
        rig.ask(HELLO, provider)
        parts = provider.ask(HELLO)
        with calls() as called:
            assert next(parts) == Text("two")
        parts.close()
    assert called["call"] <= 280  # 145; 1,800 when the SDK made each request
    assert called.total() <= 550  # 275


# -- all of it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gathers", [True, False], ids=["epoll", "no epoll"])
def test_a_whole_answer_costs_by_reads_and_not_by_tokens(
    tmp_path: Path, statements: list[str], reads: list[int], gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the request to its last byte, through the application, with a model server that sends all at once."""
    if not gathers:
        monkeypatch.delattr(select, "EPOLLET")
    body = [delta("stop"), b"data: [DONE]\n\n"]
    with served(tmp_path) as (model, application):
        model.script(reply("Hello"), reply(lines(TOKENS), *body))
        ask(application, "Warm up")
        statements.clear()
        reads.clear()
        sends = ask(application, "And now all of it")
        ran = Counter(statements)
    said = b"".join(sends)
    frames = [json.loads(line[6:]) for line in said.split(b"\n") if line.startswith(b"data: ")]
    text = "".join(each.get("textResponse") or "" for each in frames if each["type"] == "textResponseChunk")
    assert text.split() == [f"word{number}" for number in range(TOKENS)]
    assert frames[-1]["type"] == "finalizeResponseStream"
    assert 0 < len(reads) <= 40  # 2 to 5, as the kernel cuts them
    assert len(frames) <= 50  # 17
    assert len(sends) <= 25  # 6
    assert ran["COMMIT"] <= 12  # 3 or 4
    assert ran["SELECT"] + ran["WITH"] <= 11  # 9: a tool costs none
    assert ran.total() <= 100  # 28 to 31


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[ModelServer, Application]]:
    """Gives an application that has started, and the model server that it asks."""
    with ModelServer() as model:
        settings = Settings(
            data=folder / "data", provider="openai", base_url=model.base_url, api_key="none", model="fake-1"
        )
        application = Application(settings)
        application.start()
        try:
            yield model, application
        finally:
            application.close()


def ask(application: Application, message: str) -> list[bytes]:
    """Sends a prompt; gives what is sent back, send by send."""
    client = application.app.test_client()
    response = client.post("/api/workspace/default/stream-chat", json={"message": message})
    assert response.status_code == 200, response.data
    return list(response.response)


# -- an answer of one token -------------------------------------------------------------------------------------------


def test_the_beginning_and_the_end_of_an_answer_take_few_calls(tmp_path: Path) -> None:
    counts: list[Counter[str]] = []
    with served(tmp_path) as (model, application):
        model.script(*[reply("Hello")] * 5)
        for _ in range(2):
            ask(application, "Warm up")
        gevent.sleep(0.5)  # what is done beside the start
        for _ in range(3):
            with calls_by_place() as called:
                said = b"".join(ask(application, "And one more"))
            assert b"finalizeResponseStream" in said
            counts.append(called)
    called = min(counts, key=Counter.total)  # an answer that comes in several reads takes more
    assert called.total() <= 720, called.most_common()  # 685


# -- a token that comes alone ------------------------------------------------------------------------------------------


ALONE = 50


def test_a_token_that_comes_alone_takes_few_calls_from_the_model_server_to_the_viewer(tmp_path: Path) -> None:
    with served(tmp_path) as (model, application):
        *gates, last = [model.gate() for _ in range(ALONE + 1)]
        paced = [piece for gate in gates for piece in (gate, frame(delta(content="word ")))]
        model.script(reply("Hello"), reply("First ", paced, last))
        ask(application, "Warm up")
        gevent.sleep(0.5)  # what is done beside the start
        client = application.app.test_client()
        sends = client.post("/api/workspace/default/stream-chat", json={"message": "Slowly"}).response
        said = b""
        while b"First" not in said:
            said += next(sends)
        with calls_by_place() as called:
            for gate in gates:
                gate.release()
                assert b"word" in next(sends)
        last.release()
        list(sends)
    # Of the 54 about half are for its round and its commit, which many share where there are many.
    assert called.total() <= 75 * ALONE, called.most_common()
    for place in (
        "agents/providers/openai/chunks.py:said_plainly",
        "log/journal.py:append",
        "agents/plugins/base.py:frame",
    ):
        assert called[place] == ALONE, called.most_common()
