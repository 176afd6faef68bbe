"""Read rounds: ready sockets are read in one round, and nothing that has come is waited for."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent
import pytest

from deechat.net import rounds as rounds_module
from deechat.net.rounds import Readable, ReadRounds
from deechat.net.wait import Waiter

LONG = 30.0  # seconds that no test waits
Pair = tuple[Readable, socket.socket]


@dataclass
class Pace:
    """How far apart rounds are, as a test wishes it."""

    interval: float = 0.0


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture
def those(pace: Pace) -> Iterator[ReadRounds]:
    """The rounds in which the test reads."""
    made = ReadRounds(pace)
    yield made
    made.close()


@pytest.fixture(params=["gathered", "alone"])
def connect(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, those: ReadRounds
) -> Iterator[Callable[[], Pair]]:
    """Makes connections, and gives the reader of one end and the socket of the other."""
    if request.param == "alone":
        monkeypatch.delattr(select, "EPOLLET", raising=False)  # as where the system has no epoll
    made: list[tuple[Readable, socket.socket, socket.socket]] = []

    def connection() -> Pair:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        readable = those.readable(ours.fileno())
        made.append((readable, ours, theirs))
        return readable, theirs

    yield connection
    for readable, ours, theirs in made:
        readable.close()
        ours.close()
        theirs.close()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many go on in each round that lets anybody in."""
    sizes: list[int] = []
    resume = Waiter.resume

    def counting(ready: list[Readable]) -> None:
        if ready:
            sizes.append(len(ready))
        resume(ready)

    monkeypatch.setattr(Waiter, "resume", staticmethod(counting))
    return sizes


@pytest.fixture
def slow(pace: Pace) -> None:
    """Rounds of which each comes a while after the one before."""
    pace.interval = 0.1


def test_what_comes_is_read(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    gevent.spawn(theirs.send, b"abc")
    assert readable.read(100, LONG) == b"abc"
    gevent.spawn_later(0.01, theirs.send, b"def")
    assert readable.read(100, LONG) == b"def"


def test_what_had_come_before_is_read(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    theirs.send(b"abc")
    gevent.sleep(0.01)
    assert readable.read(100, LONG) == b"abc"


def test_what_came_while_nobody_waited_is_read(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    for piece in (b"abc", b"def"):
        theirs.send(piece)
        gevent.sleep(0.01)
    assert readable.read(100, LONG) == b"abcdef"
    theirs.send(b"ghi")
    gevent.sleep(0.01)
    assert readable.read(100, LONG) == b"ghi"


def test_more_than_a_read_takes_is_left_for_the_next_one(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    theirs.send(b"abcdefgh")
    assert [readable.read(3, LONG) for _ in range(3)] == [b"abc", b"def", b"gh"]
    assert_silent(readable)


@pytest.mark.parametrize("size", [2, 3, 100])
def test_the_end_behind_what_came_is_told_however_little_was_read(connect: Callable[[], Pair], size: int) -> None:
    readable, theirs = connect()
    theirs.send(b"abc")
    theirs.close()
    gevent.sleep(0.01)
    came = []
    while data := readable.read(size, LONG):
        came.append(data)
    assert b"".join(came) == b"abc"
    assert readable.read(size, LONG) == b"", "said again to whoever asks again"


def test_the_end_may_come_between_being_told_and_reading(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    gevent.spawn(theirs.send, b"abc")
    assert readable.wait(LONG) is True
    readable.is_empty = False
    theirs.close()
    assert readable.read(100, LONG) == b"abc"
    assert readable.read(100, LONG) == b""


def test_being_told_of_what_was_read_already_is_no_arrival(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    theirs.send(b"abc")
    assert os.read(readable.descriptor, 100) == b"abc"
    assert_silent(readable)
    theirs.send(b"def")
    assert readable.read(100, LONG) == b"def"


def test_silence_is_told_in_time(connect: Callable[[], Pair]) -> None:
    readable, _ = connect()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        readable.read(100, 0.05)
    assert time.monotonic() - began >= 0.05


def test_who_reads_can_be_killed(connect: Callable[[], Pair]) -> None:
    readable, theirs = connect()
    reader = gevent.spawn(readable.read, 100, LONG)
    gevent.sleep(0.01)
    reader.kill()
    theirs.send(b"abc")
    gevent.sleep(0.01)
    assert readable.read(100, LONG) == b"abc", "what came for one that is gone is there for the next"


def test_a_descriptor_that_is_used_again_belongs_to_the_new_one(connect: Callable[[], Pair], those: ReadRounds) -> None:
    readable, _ = connect()
    ours, theirs = socket.socketpair()
    with theirs:
        first = those.readable(ours.fileno())
        number = ours.fileno()
        first.close()
        ours.close()
        again, other = socket.socketpair()
        with again, other:
            again.setblocking(False)
            second = those.readable(again.fileno())
            assert again.fileno() == number, "the system gives the lowest number that is free"
            other.send(b"abc")
            assert second.read(100, LONG) == b"abc"
            second.close()
    assert_silent(readable)


def test_closing_twice_leaves_the_next_one_with_that_number_alone(those: ReadRounds) -> None:
    ours, theirs = socket.socketpair()
    first, number = those.readable(ours.fileno()), ours.fileno()
    first.close()
    ours.close()
    theirs.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        second = those.readable(ours.fileno())
        assert ours.fileno() == number
        first.close()
        gevent.spawn(theirs.send, b"abc")
        assert second.read(100, LONG) == b"abc"
        second.close()


def test_closing_a_closed_descriptor_is_no_error(those: ReadRounds) -> None:
    ours, theirs = socket.socketpair()
    readable = those.readable(ours.fileno())
    ours.close()
    theirs.close()
    readable.close()
    readable.close()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_what_comes_within_an_interval_is_let_in_together(
    connect: Callable[[], Pair], rounds: list[int], those: ReadRounds
) -> None:
    pairs = [connect() for _ in range(20)]
    readers = [gevent.spawn(readable.read, 100, LONG) for readable, _ in pairs]
    those.run()  # from here on the next round is a while away
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
        gevent.sleep(0)
    gevent.joinall(readers, timeout=LONG)
    assert [reader.value for reader in readers] == [b"%d" % number for number in range(20)]
    assert rounds == [20]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_the_first_after_a_silence_waits_for_nothing(
    connect: Callable[[], Pair], rounds: list[int], those: ReadRounds
) -> None:
    readable, theirs = connect()
    those.run()
    gevent.sleep(0.15)
    turns = gevent.get_hub().loop.iteration
    theirs.send(b"abc")
    assert readable.read(100, LONG) == b"abc"
    assert gevent.get_hub().loop.iteration - turns <= 3
    assert rounds == [1]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_what_came_in_time_is_no_silence_though_its_round_is_to_come(
    connect: Callable[[], Pair], those: ReadRounds
) -> None:
    readable, theirs = connect()
    those.run()  # from here on the next round is a while away
    theirs.send(b"abc")
    assert readable.read(100, 0.01) == b"abc"


@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_who_writes_faster_than_it_is_read_is_not_waited_for(connect: Callable[[], Pair], pace: Pace) -> None:
    readable, theirs = connect()
    theirs.send(b"x" * rounds_module.LARGE)
    assert readable.read(rounds_module.LARGE + 1, LONG) == b"x" * rounds_module.LARGE
    pace.interval = 2 * LONG
    gevent.spawn(theirs.send, b"abc")
    assert readable.wait(LONG) is True
    assert os.read(readable.descriptor, 100) == b"abc"
    gevent.spawn(theirs.send, b"def")
    assert readable.wait(0.05) is False, "which is waited for, as nothing large came before it"


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_a_round_may_be_asked_for_before_its_time(connect: Callable[[], Pair], those: ReadRounds) -> None:
    readable, theirs = connect()
    reader = gevent.spawn(readable.read, 100, LONG)
    gevent.sleep(0)
    those.run()
    theirs.send(b"abc")
    those.run_soon()
    gevent.sleep(0)
    gevent.sleep(0)
    assert reader.value == b"abc"


@pytest.mark.parametrize("connect", ["gathered"], indirect=True)
def test_an_error_in_a_round_keeps_nobody_from_the_next_ones(
    connect: Callable[[], Pair], pace: Pace, capfd: pytest.CaptureFixture[str]
) -> None:
    pace.interval = 0.02  # so that rounds follow a timer
    (bad, to_bad), (good, to_good) = connect(), connect()

    def fail() -> None:
        bad.read(100, LONG)
        bad.read(100, LONG)
        raise ValueError("its own business")

    gevent.spawn_raw(fail)  # whose error comes up to the hub
    for number in range(5):
        to_bad.send(b"x")
        gevent.spawn(to_good.send, b"%d" % number)
        assert good.wait(2.0) is True
        assert os.read(good.descriptor, 100) == b"%d" % number
    assert "its own business" in capfd.readouterr().err


def test_closed_rounds_are_run_no_more_and_their_readers_wait_alone(those: ReadRounds) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        readable = those.readable(ours.fileno())
        readers = gevent.spawn(lambda: (readable.read(100, LONG), those.close()))
        gevent.sleep(0)
        theirs.send(b"abc")
        readers.get(timeout=LONG)  # in a round, which finds itself closed
        those.run_soon()
        gevent.sleep(0.01)
        readable.close()
        alone = those.readable(ours.fileno())
        gevent.spawn(theirs.send, b"def")
        assert alone.read(100, LONG) == b"def"
        alone.close()


def test_rounds_that_were_asked_for_may_be_closed_before(those: ReadRounds, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        readable = those.readable(ours.fileno())
        those.run_soon()
        those.close()
        gevent.sleep(0.01)
        readable.close()
    assert "Traceback" not in capfd.readouterr().err


def assert_silent(readable: Readable) -> None:
    with pytest.raises(TimeoutError):
        readable.read(100, 0.01)
