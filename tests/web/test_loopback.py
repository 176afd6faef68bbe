"""Who is at the other end of a loopback connection: real processes, real sockets, and how much is read to find out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from server import Server

from deechat.errors import ForbiddenError
from deechat.web import local_only, loopback
from deechat.web.loopback import Neighbours

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a connection")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can be somebody else")
NOBODY = 65534

# Connects to argv[1], listens as argv[2] says, and tells when it is done; a line on its input lets it go on.
CLIENT = """
import ctypes, os, socket, sys
port, how, user = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
"x".encode("idna")  # what a name needs may be out of reach later
if user:
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if the program had been started by this user
def listen(host, family=socket.AF_INET, protocol=0):
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind((host, 0))
    listener.listen()
    return listener
kept = []
def split():
    if os.fork():
        os.wait()
        sys.exit()
if how.startswith("split"):
    kept.append(listen("0.0.0.0"))
    split()
    kept.pop().close()
if how == "split twice":
    split()
if how == "split, another title":
    with open("/proc/self/stat") as stat:  # fields 48 and 49: where the command line stands
        start, end = map(int, stat.read().rpartition(")")[2].split()[45:47])
    ctypes.memset(start, ord("x"), end - start - 1)
if how == "split, another script":
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], str(port), "", "0"])
if how == "everywhere":
    kept.append(listen("0.0.0.0"))
if how == "everywhere, IPv6":
    kept.append(listen("::", socket.AF_INET6))
if how == "everywhere, MPTCP":
    kept.append(listen("0.0.0.0", protocol=262))
if how == "here":
    kept += [listen("127.0.0.1"), listen("127.0.0.7")]
for line in sys.stdin:
    if line == "listen\\n":
        kept.append(listen("0.0.0.0"))
    kept.append(socket.socket())
    kept[-1].connect(("127.0.0.1", port))
    print("done", flush=True)
"""

SPLIT = ["split", "split twice", "split, another title", "split, another script"]


class Door:
    """A listening socket of ours, and those who come."""

    def __init__(self, host: str = "127.0.0.1", family: int = socket.AF_INET) -> None:
        self.listener = socket.socket(family)
        if family == socket.AF_INET6:
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.listener.bind((host, 0))
        self.listener.listen(2000)
        self.port = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    def next(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Gives both ends of the next connection."""
        connection, there = self.listener.accept()
        self.accepted.append(connection)
        return there[:2], connection.getsockname()[:2]

    def close(self) -> None:
        for each in [self.listener, *self.accepted]:
            each.close()


@pytest.fixture
def door() -> Iterator[Door]:
    with closing(Door()) as door:
        yield door


@pytest.fixture
def start(door: Door) -> Iterator[Callable[..., Callable[..., Any]]]:
    """Starts a client of the door; what is given connects once more and gives both ends."""
    started: list[subprocess.Popen[str]] = []

    def start(how: str = "", user: int = 0) -> Callable[..., Any]:
        command = [sys.executable, "-c", CLIENT, str(door.port), how, str(user)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)

        def connect(word: str = "connect") -> Any:
            assert process.stdin
            assert process.stdout
            process.stdin.write(word + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n", "the client could not do it"
            return door.next()

        return connect

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate(timeout=10)


def test_a_program_of_this_machine_is_at_home(start: Callable[..., Callable[..., Any]]) -> None:
    for how in ("", "here"):
        assert Neighbours().stranger(*start(how)()) is None, how


@pytest.mark.parametrize("how", ["everywhere", "everywhere, IPv6", "everywhere, MPTCP", *SPLIT])
def test_a_program_that_other_machines_reach_is_a_stranger(how: str, start: Callable[..., Callable[..., Any]]) -> None:
    if "MPTCP" in how and not Path("/proc/sys/net/mptcp/enabled").exists():
        pytest.skip("this kernel has no MPTCP")
    stranger = Neighbours().stranger(*start(how)())
    assert stranger is not None
    assert not stranger.hidden
    assert "python" in stranger.words
    assert "also listens on" in stranger.words


# Takes connections from everywhere and runs another program on each, which asks at argv[1].
INETD = """
import socket, subprocess, sys
listener = socket.create_server(("0.0.0.0", 0))
print(listener.getsockname()[1], flush=True)
accepted, _ = listener.accept()
connect = f"exec 3<>/dev/tcp/127.0.0.1/{sys.argv[1]}; read line"
subprocess.run(["bash", "-c", connect], stdin=accepted, check=False)
"""


def test_a_program_that_is_run_on_an_accepted_connection_is_a_stranger(door: Door) -> None:
    command = [sys.executable, "-c", INETD, str(door.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with socket.create_connection(("127.0.0.1", port := int(process.stdout.readline()))):
            stranger = Neighbours().stranger(*door.next())
    assert stranger is not None
    assert not stranger.hidden
    assert stranger.words.startswith("bash (")
    assert f"also answers at port {port}," in stranger.words


# Takes connections from everywhere and hands each to the process that listens at the Unix socket argv[1].
ACCEPTOR = """
import socket, sys
listener = socket.create_server(("0.0.0.0", 0))
print(listener.getsockname()[1], flush=True)
worker = socket.socket(socket.AF_UNIX)
worker.connect(sys.argv[1])
while True:
    accepted, _ = listener.accept()
    socket.send_fds(worker, [b"x"], [accepted.fileno()])
    accepted.close()
"""
# Connects to argv[2] by itself if argv[3] says so, and when it was handed a connection.
WORKER = """
import socket, sys
kept = []
def connect():
    kept.append(socket.create_connection(("127.0.0.1", int(sys.argv[2]))))
with socket.socket(socket.AF_UNIX) as place:
    place.bind(sys.argv[1])
    place.listen()
    if sys.argv[3] == "first":
        connect()
    print("ready", flush=True)
    acceptor, _ = place.accept()
while True:
    kept.append(socket.recv_fds(acceptor, 1, 1)[1])
    connect()
"""


@pytest.mark.parametrize("netlink", [True, False], ids=["netlink", "proc"])
@pytest.mark.parametrize("when", ["first", "later"])
def test_a_program_that_is_handed_accepted_connections_is_a_stranger(
    when: str, netlink: bool, door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not netlink:

        def refuse(*_: object, **__: object) -> None:
            raise OSError("there is no such netlink here")

        monkeypatch.setattr(loopback, "_ask", refuse)
    neighbours, place = Neighbours(), str(tmp_path / "handed")
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> str:
        processes.append(subprocess.Popen([sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True))
        stdout = processes[-1].stdout
        assert stdout
        return stdout.readline()

    try:
        assert run(WORKER, place, str(door.port), when) == "ready\n"
        if when == "first":
            assert neighbours.stranger(*door.next()) is None
        port = int(run(ACCEPTOR, place))
        with socket.create_connection(("127.0.0.1", port)):
            stranger = neighbours.stranger(*door.next())
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=10)
    assert stranger is not None
    assert f"also answers at port {port}," in stranger.words


def test_the_kernel_lists_the_connections_at_each_of_many_ports_and_no_others() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(41)]
        for each in listeners:
            stack.enter_context(socket.create_connection(each.getsockname()))
        accepted = [stack.enter_context(each.accept()[0]) for each in listeners]
        expected = {os.fstat(each.fileno()).st_ino: each.getsockname()[1] for each in accepted[1:]}
        assert loopback._accepted(set(expected.values())) == expected
        assert loopback._accepted({accepted[0].getsockname()[1]}).keys() == {os.fstat(accepted[0].fileno()).st_ino}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loopback, "_listed", lambda: pytest.fail("the kernel does not take the filter"))
            assert loopback._accepted(set(expected.values())) == expected


def test_a_known_program_is_looked_into_again_after_a_while(
    start: Callable[..., Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours, connect = Neighbours(), start()
    looked: list[object] = []
    plain = Neighbours._look
    monkeypatch.setattr(Neighbours, "_look", lambda *args: looked.append(args) or plain(*args))
    for _ in range(3):
        assert neighbours.stranger(*connect()) is None
    assert len(looked) == 1
    monkeypatch.setattr(loopback, "KNOWN_FOR", 0.0)
    assert neighbours.stranger(*connect()) is None
    assert len(looked) == 2


def test_a_program_that_started_the_server_may_ask_it_although_others_reach_it(server: Server) -> None:
    with socket.create_server(("0.0.0.0", 0)):
        assert requests.get(f"{server.url}/api/workspaces", timeout=10).status_code == 200
        code = f"import requests; print(requests.get('{server.url}/api/workspaces', timeout=10).status_code)"
        child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=20)
        assert child.stdout == "200\n"


def test_a_program_that_becomes_one_is_noticed_at_its_next_connection(start: Callable[..., Callable[..., Any]]) -> None:
    neighbours, connect = Neighbours(), start()
    assert neighbours.stranger(*connect()) is None
    assert neighbours.stranger(*connect()) is None
    stranger = neighbours.stranger(*connect("listen"))
    assert stranger is not None
    assert not stranger.hidden


def test_one_that_has_left_is_nobodys(door: Door) -> None:
    socket.create_connection(("127.0.0.1", door.port)).close()
    stranger = Neighbours().stranger(*door.next())
    assert stranger is not None
    assert stranger.hidden


@pytest.mark.parametrize("to", ["127.0.0.1", "127.0.0.7", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("netlink", [True, False], ids=["netlink", "proc"])
def test_each_way_to_write_loopback_is_found(to: str, netlink: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not netlink:

        def refuse(*_: object, **__: object) -> None:
            raise OSError("there is no such netlink here")

        monkeypatch.setattr(loopback, "_ask", refuse)
    try:
        door = Door("::", socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with closing(door), closing(socket.create_connection((to, door.port))):
        # It listens for others, so it is found to be a stranger, by name.
        stranger = Neighbours().stranger(*door.next())
        assert stranger is not None
        assert not stranger.hidden, stranger.words
        door.listener.close()
        assert Neighbours().stranger(*_ends(door)) is None


def _ends(door: Door) -> tuple[tuple[str, int], tuple[str, int]]:
    connection = door.accepted[-1]
    return connection.getpeername()[:2], connection.getsockname()[:2]


@needs_root
def test_the_superuser_looks_into_everybodys_programs(start: Callable[..., Callable[..., Any]]) -> None:
    assert Neighbours().stranger(*start(user=NOBODY)()) is None
    stranger = Neighbours().stranger(*start("everywhere", user=NOBODY)())
    assert stranger is not None
    assert not stranger.hidden


@needs_root
def test_a_user_looks_into_their_own_programs_alone(
    start: Callable[..., Callable[..., Any]],
) -> None:
    connections = {"mine": start(user=NOBODY)(), "roots": start()(), "proxy": start("everywhere", user=NOBODY)()}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        said = {name: Neighbours().stranger(*ends) for name, ends in connections.items()}
        os.write(writer, repr({name: each and (each.hidden, each.words) for name, each in said.items()}).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    found = eval(os.read(reader, 10_000))
    os.close(reader)
    assert found["mine"] is None
    assert found["roots"][0] is True
    assert "another user (uid 0)" in found["roots"][1]
    assert found["proxy"][0] is False


def test_where_the_system_does_not_tell_the_address_decides_alone(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.create_connection(("127.0.0.1", door.port)), closing(socket.create_server(("0.0.0.0", 0))):
        assert Neighbours().stranger(*door.next()) is None


def test_where_linux_does_not_tell_everybody_is_a_stranger(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(loopback, "_ask", refuse)
    monkeypatch.setattr(loopback, "_read_list", refuse)
    with socket.create_connection(("127.0.0.1", door.port)):
        stranger = Neighbours().stranger(*door.next())
    assert stranger is not None
    assert stranger.hidden
    assert "Permission denied" in stranger.words


def test_the_thousandth_connection_of_a_program_costs_no_more_than_the_second(
    start: Callable[..., Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours, connect = Neighbours(), start()
    assert neighbours.stranger(*connect()) is None
    looked: list[object] = []
    for name in ("readlink", "listdir"):
        plain = getattr(os, name)

        def counted(*arguments: Any, plain: Callable[..., Any] = plain, **options: Any) -> Any:
            looked.append(arguments)
            return plain(*arguments, **options)

        monkeypatch.setattr(os, name, counted)
    for _ in range(200):
        assert neighbours.stranger(*connect()) is None
    assert len(looked) <= 200 * 3


def test_an_old_connection_is_looked_at_again_as_cheaply_whichever_it_is(
    start: Callable[..., Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [start() for _ in range(2 * loopback.GUESSED)]
    neighbours, connections = Neighbours(), [connect() for _ in range(20) for connect in clients]
    for each in connections:
        assert neighbours.stranger(*each) is None
    looked: list[object] = []
    for name in ("readlink", "listdir"):
        plain = getattr(os, name)

        def counted(*arguments: Any, plain: Callable[..., Any] = plain, **options: Any) -> Any:
            looked.append(arguments)
            return plain(*arguments, **options)

        monkeypatch.setattr(os, name, counted)
    for each in connections:
        assert neighbours.stranger(*each) is None
    assert len(looked) == len(connections)


def test_a_connection_that_was_refused_is_not_looked_up_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(local_only.time, "monotonic", lambda: now[0])
    asked: list[object] = []
    plain = Neighbours.stranger
    monkeypatch.setattr(Neighbours, "stranger", lambda *args: asked.append(args) or plain(*args))
    gate, app = local_only.Outside(), Flask("deechat")
    with socket.create_connection(("127.0.0.1", door.port)), closing(socket.create_server(("0.0.0.0", 0))):
        door.next()
        overrides = {"REMOTE_ADDR": "127.0.0.1", "gunicorn.socket": door.accepted[0]}
        for _ in range(3):
            with app.test_request_context("/", environ_overrides=overrides), pytest.raises(ForbiddenError):
                gate.refuse()
            now[0] += local_only.JUDGED_FOR
    assert len(asked) == 1


def test_a_proxy_that_is_refused_again_and_again_is_not_looked_for_everywhere(
    start: Callable[..., Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours, proxy = Neighbours(), start("everywhere")
    younger = [start() for _ in range(loopback.GUESSED + 2)]
    for connect in younger:
        connect()
    assert neighbours.stranger(*proxy()) is not None
    opened: list[object] = []
    plain = loopback._open
    monkeypatch.setattr(loopback, "_open", lambda pid: opened.append(pid) or plain(pid))
    for _ in range(10):
        assert neighbours.stranger(*proxy()) is not None
    # Those that began last, the proxy, and above it up to two of the same program: the tests, and who started them.
    assert len(opened) <= 10 * (loopback.GUESSED + 3)


def test_a_connection_is_looked_up_once_a_second_and_not_for_each_request(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(local_only.time, "monotonic", lambda: now[0])
    asked: list[object] = []
    plain = Neighbours.stranger
    monkeypatch.setattr(Neighbours, "stranger", lambda *args: asked.append(args) or plain(*args))
    gate, app = local_only.Outside(), Flask("deechat")
    with socket.create_connection(("127.0.0.1", door.port)):
        door.next()
        overrides = {"REMOTE_ADDR": "127.0.0.1", "gunicorn.socket": door.accepted[0]}
        for lookups in (1, 2, 3):
            for _ in range(5):
                with app.test_request_context("/", environ_overrides=overrides):
                    assert gate.refuse() is None
            assert len(asked) == lookups
            now[0] += local_only.JUDGED_FOR


COME = r"""
exec 3<>/dev/tcp/127.0.0.1/{port}
printf 'GET /api/workspaces HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
cat <&3
"""


def test_programs_that_come_and_go_leave_nothing_open_in_the_server(server: Server) -> None:
    def come(times: int) -> int:
        for _ in range(times):
            command = ["bash", "-c", COME.format(port=server.port)]
            said = subprocess.run(command, check=True, capture_output=True, timeout=20).stdout
            assert said.startswith(b"HTTP/1.0 200 "), said
        (worker,) = server.workers
        return len(list(Path(f"/proc/{worker}/fd").iterdir()))

    before = come(3)
    assert come(loopback.REMEMBERED + 10) <= before + loopback.REMEMBERED
    assert "Exception" not in server.log
