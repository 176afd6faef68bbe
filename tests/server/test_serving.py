"""The start, the stop and what stands between: every way to start it, every fault in one line, nobody holds it up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from client import Client
from model_server import ModelServer, reply, text, tool_calls
from server import GUNICORN, ROOT, Command, Server, spawn

from deechat.config import as_markdown
from deechat.server.folder import DataFolder

DEECHAT = Path(sys.executable).with_name("deechat")
PATIENCE = 60  # seconds: a guard, no claim
PATIENT = "--graceful-timeout 600"  # so long gunicorn itself waits for connections

WAYS: dict[str, Command] = {
    "gunicorn": [GUNICORN, "app:app", "--bind", "127.0.0.1:{port}"],
    "python app.py": [sys.executable, "app.py"],
    "deechat": [DEECHAT],
}
every_way = pytest.mark.parametrize("way", WAYS)


@dataclass
class Started:
    """A server that was started by a command of one's own."""

    server: Server
    process: subprocess.Popen[bytes]

    def end(self, sign: int) -> int:
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE)

    def wait(self) -> Started:
        deadline = time.monotonic() + PATIENCE
        while not self.server.answers():
            assert self.process.poll() is None, self.server.log
            assert time.monotonic() < deadline, self.server.log
            time.sleep(0.02)
        return self


@contextmanager
def started(folder: Path, command: Command, cwd: Path = ROOT, **settings: str) -> Iterator[Started]:
    """Starts the command and gives it when it answers; all its processes are gone afterwards."""
    server = Server(folder)
    process = spawn(server, command, cwd, **settings)
    try:
        yield Started(server, process).wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def check_refused(folder: Path, command: Command, *words: str, **settings: str) -> None:
    """Holds a start that cannot be to one line in words, and an exit code that says so."""
    server = Server(folder)
    process = spawn(server, command, **settings)
    try:
        code = process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    (line,) = server.log.splitlines()
    assert line.startswith("DeeChat cannot start: "), line
    for word in words:
        assert word in line
    assert code not in (0, None)
    server.log_file.unlink()


def wait_for(claim: Callable[[], Any], log: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, f"it did not come to pass\n{log()}"
        time.sleep(0.05)


# -- a start -----------------------------------------------------------------------------------------------------------


@every_way
def test_each_way_to_start_it_serves_says_where_and_leaves_when_asked(way: str, tmp_path: Path) -> None:
    with started(tmp_path, WAYS[way]) as it:
        client = Client(it.server)
        assert client.ask("hello").frames[-1]["reason"] == "completed"
        assert requests.get(it.server.url, timeout=10).status_code == 200
        client.check_all()
        assert it.end(signal.SIGTERM) == 0
        said = [line["message"] for line in it.server.log_lines]
        assert said.count(f"DeeChat is at {it.server.url}") == 1
        assert said[-1] == "stopped, and all is stored"
        assert "Traceback" not in it.server.log


def test_the_command_serves_from_any_folder_and_keeps_its_data_there(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    with started(home, [DEECHAT], elsewhere, DEECHAT_DATA="") as it:
        assert requests.get(it.server.url, timeout=10).status_code == 200
        assert (elsewhere / "data" / "deechat.sqlite3").exists()
        assert it.end(signal.SIGTERM) == 0


def test_the_command_says_its_version_and_what_it_is_without_a_start(tmp_path: Path) -> None:
    for option in ("--version", "--help"):
        done = subprocess.run(
            [DEECHAT, option], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        assert "DeeChat" in done.stdout
        assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_table_of_settings_without_a_start_and_whatever_is_set(tmp_path: Path) -> None:
    environment = os.environ | {"PORT": "none", "DEECHAT_PASSWORD": "hunter2"}
    command = [DEECHAT, "settings"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert (done.stdout, done.stderr) == (as_markdown(), "")
    assert list(tmp_path.iterdir()) == []


def test_the_host_may_ask_for_many_workers_and_gets_one(tmp_path: Path) -> None:
    with started(tmp_path, WAYS["gunicorn"], WEB_CONCURRENCY="4") as it:
        it.server._process = it.process
        assert len(it.server.workers) == 1
        it.server._process = None


def test_a_host_whose_disk_does_not_last_is_named_in_the_log(tmp_path: Path) -> None:
    with started(tmp_path, WAYS["gunicorn"], DYNO="web.1") as it:
        wait_for(lambda: [line for line in it.server.log_lines if "disk is gone" in str(line["message"])])
        (line,) = [line for line in it.server.log_lines if "disk is gone" in str(line["message"])]
        assert (line["level"], "docs/deploy.md" in str(line["message"])) == ("warning", True)
        assert (ROOT / "docs" / "deploy.md").exists()


def test_a_log_that_no_terminal_reads_is_one_json_object_a_line(tmp_path: Path) -> None:
    with started(tmp_path, WAYS["gunicorn"], DEECHAT_LOG_LEVEL="debug") as it:
        Client(it.server).ask("hello")
        requests.get(f"{it.server.url}/api/nothing", timeout=10)
        with socket.create_connection(("127.0.0.1", it.server.port), timeout=10) as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            connection.recv(1000)
        assert it.end(signal.SIGTERM) == 0
        lines = [json.loads(line) for line in it.server.log.splitlines()]
        assert len(lines) > 5
        for line in lines:
            assert {"at", "level", "logger", "message"} <= set(line)
            assert isinstance(line["at"], float)


# -- a start that cannot be --------------------------------------------------------------------------------------------


@every_way
def test_a_port_that_is_in_use_is_named(way: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [str(part).replace("{port}", port) for part in WAYS[way]]
        # `Server` has a port of its own in PORT: what counts is the one that is in use.
        check_refused(tmp_path, ["env", f"PORT={port}", *command], f"port {port} is in use", "PORT")


def test_a_data_folder_that_is_in_use_is_named(tmp_path: Path) -> None:
    holder = DataFolder(tmp_path / "data")
    holder.hold()
    try:
        check_refused(tmp_path, WAYS["gunicorn"], str(tmp_path / "data"), "in use by another DeeChat", "DEECHAT_DATA")
    finally:
        holder.release()


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/nothing/data")):
        check_refused(tmp_path, WAYS["gunicorn"], str(folder), "DEECHAT_DATA", DEECHAT_DATA=str(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_data_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    check_refused(tmp_path, WAYS["gunicorn"], str(tmp_path / "data"), "Permission denied")


def test_a_damaged_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text("not hex")
    check_refused(tmp_path, WAYS["gunicorn"], str(tmp_path / "data" / "secret"), "remove it")


@pytest.mark.parametrize(
    "content", [b"no database " * 100, b"SQLite format 3\0" + b"\xff" * 4080], ids=["words", "torn"]
)
def test_a_file_that_is_no_database_is_named_and_left_alone(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "data" / "deechat.sqlite3"
    file.parent.mkdir()
    file.write_bytes(content)
    server = Server(tmp_path)
    process = spawn(server, WAYS["gunicorn"])
    try:
        assert process.wait(PATIENCE) not in (0, None)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    (line,) = [line for line in server.log.splitlines() if line.startswith("DeeChat cannot start: ")]
    assert str(file) in line
    assert "Traceback" not in server.log
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("way", "name", "value"),
    [
        ("gunicorn", "PORT", "http"),
        ("gunicorn", "DEECHAT_HEARTBEAT", "soon"),
        ("gunicorn", "DEECHAT_MAX_STREAMS", "-5"),
        ("gunicorn", "DEECHAT_PROVIDER", "openia"),
        ("python app.py", "DEECHAT_LOG_LEVEL", "loud"),
        ("deechat", "OPENAI_BASE_URL", "ftp://localhost:11434"),
    ],
)
def test_a_setting_that_does_not_parse_is_named_with_its_value(way: str, name: str, value: str, tmp_path: Path) -> None:
    check_refused(tmp_path, ["env", f"{name}={value}", *WAYS[way]], name, repr(value), "is expected")
    assert not (tmp_path / "data").exists()


def test_a_setting_that_another_one_needs_is_named(tmp_path: Path) -> None:
    check_refused(tmp_path, WAYS["gunicorn"], "DEECHAT_PROVIDER", "OPENAI_API_KEY", DEECHAT_PROVIDER="openai")


def test_a_mistyped_setting_is_named_at_the_start_without_its_value(tmp_path: Path) -> None:
    with started(tmp_path, WAYS["gunicorn"], DEECHAT_PASWORD="none-of-your-business") as it:
        told = [str(line["message"]) for line in it.server.log_lines if "DEECHAT_PASWORD" in str(line["message"])]
        assert told == ["DEECHAT_PASWORD is not a setting and does nothing; DEECHAT_PASSWORD may be meant."]
        assert "none-of-your-business" not in it.server.log


def test_more_than_one_worker_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path, [*WAYS["gunicorn"], "--workers", "2"], "workers is 2", "one process")
    check_refused(tmp_path, WAYS["gunicorn"], "workers is 3", GUNICORN_CMD_ARGS="--workers=3")


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_worker_that_is_not_ours_is_refused(kind: str, tmp_path: Path) -> None:
    check_refused(tmp_path, [*WAYS["gunicorn"], "-k", kind], "the worker is", "leave --worker-class out")


def ended(server: Server, command: Command, cwd: Path, **settings: str) -> int:
    """Gives the exit code of a command that must end by itself."""
    process = spawn(server, command, cwd, **settings)
    try:
        return process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.mark.parametrize(
    "options", ["", "-k sync", "-k gthread --threads 4", "-k gevent", "-k gevent -w 2", "--preload"]
)
def test_gunicorn_without_our_settings_ends_in_one_line_that_names_the_way(options: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    # gunicorn looks for gunicorn.conf.py where it is started, not where --chdir goes.
    code = ended(server, [GUNICORN, "--chdir", ROOT, *WAYS["gunicorn"][1:], *options.split()], tmp_path)
    said = {line for line in server.log.splitlines() if "DeeChat" in line}
    assert len(said) == 1, server.log
    (line,) = said
    assert line.startswith("DeeChat cannot start: It was started by gunicorn without gunicorn.conf.py")
    assert "--config FOLDER/gunicorn.conf.py" in line
    assert code not in (0, None)
    if "-w 2" not in options:  # gunicorn's own master stumbles when two workers leave at once
        assert "Traceback" not in server.log
    assert not (tmp_path / "data").exists()


def test_what_that_line_names_is_a_way(tmp_path: Path) -> None:
    command = [GUNICORN, "--config", ROOT / "gunicorn.conf.py", "--chdir", ROOT, *WAYS["gunicorn"][1:]]
    with started(tmp_path, command, tmp_path) as it:
        assert Client(it.server).ask("hello").frames[-1]["reason"] == "completed"


def test_another_server_serves_nothing_and_says_so(tmp_path: Path) -> None:
    server = Server(tmp_path)
    process = spawn(server, [sys.executable, "-m", "flask", "--app", "app", "run", "--port", "{port}"])
    try:
        wait_for(lambda: _asks(server), lambda: server.log)
        for path in ("/api/ping", "/", "/api/workspaces"):
            answer = requests.get(server.url + path, timeout=10)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "unsupported_server")
            assert "gunicorn app:app" in answer.json()["error"]["message"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert "It was started by Werkzeug" in server.log
    assert not (tmp_path / "data").exists()


def _asks(server: Server) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(server.url, timeout=2).status_code > 0
    return False


def warnings_of(server: Server) -> list[str]:
    return [str(line["message"]) for line in server.log_lines if line["level"] == "warning"]


def test_a_start_that_others_reach_without_a_password_is_warned_of_by_where_it_listens(tmp_path: Path) -> None:
    everywhere = [GUNICORN, "app:app", "--bind", "0.0.0.0:{port}"]  # the Procfile's line
    for name, command, settings, expected in (
        ("open", everywhere, {}, True),
        ("guarded", everywhere, {"DEECHAT_PASSWORD": "open sesame"}, False),
        ("here", [GUNICORN, "app:app", "--bind", "localhost:{port}"], {"DEECHAT_HOST": "0.0.0.0"}, False),
    ):
        (tmp_path / name).mkdir()
        with started(tmp_path / name, command, **settings) as it:
            told = [line for line in warnings_of(it.server) if "DEECHAT_PASSWORD" in line]
            assert bool(told) is expected, (name, told)
            if expected:
                assert f"0.0.0.0:{it.server.port}" in told[0]


def test_gunicorn_believes_no_header_about_paths_and_schemes(tmp_path: Path) -> None:
    with started(tmp_path, WAYS["gunicorn"], FORWARDED_ALLOW_IPS="*") as it:
        for headers in (
            {"SCRIPT_NAME": "/api", "PATH_INFO": "/"},
            {"SCRIPT_NAME": "/elsewhere"},
            {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"},
            {"X-Forwarded-Protocol": "ssl", "X-Forwarded-Proto": "http"},
        ):
            answer = requests.get(f"{it.server.url}/api/ping", headers=headers, timeout=10)
            assert (answer.status_code, answer.json()) == (200, {"online": True}), headers
        assert "Traceback" not in it.server.log


@pytest.mark.parametrize("host", ["203.0.113.9", "no-such-host.invalid", "a b"])
def test_an_address_where_it_cannot_listen_is_named(host: str, tmp_path: Path) -> None:
    check_refused(tmp_path, WAYS["python app.py"], host, "DEECHAT_HOST", DEECHAT_HOST=host)


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    check_refused(tmp_path, [GUNICORN, "app:app", "--bind", "127.0.0.1:99999"], "99999", "65535")


# -- the application without its server --------------------------------------------------------------------------------

IMPORT = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
import app
print(threading.active_count(), sorted(os.listdir(".")), len(os.listdir("/proc/self/task")))
"""

TALK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from app import app
client = app.test_client()
print(client.get("/api/ping").json, client.get("/").status_code)
stream = client.post("/api/workspace/default/stream-chat", json={"message": "hello"})
print(stream.status_code, stream.headers["Content-Type"])
frames = [json.loads(line[6:]) for line in stream.text.split("\\n") if line.startswith("data: ")]
print(frames[0]["type"], frames[-1]["type"])
again = client.get(f"/api/runs/{stream.headers['X-Run-Id']}/events")
print(again.text == stream.text, len(client.get("/api/workspace/default/chats").json["history"]))
print(client.post("/api/workspace/new", data="{", content_type="application/json").status_code)
print(client.get("/api/workspaces", headers={"Host": "evil.example"}).status_code)
app.extensions["deechat"].close()
"""


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**Server(folder).environment(), "DEECHAT_DATA": "data"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(ROOT)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_import_of_the_application_starts_and_makes_nothing(tmp_path: Path) -> None:
    done = run_script(IMPORT, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["1", "[]", "1"]
    assert list(tmp_path.iterdir()) == []


def test_the_application_works_without_gunicorn(tmp_path: Path) -> None:
    done = run_script(TALK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'online': True} 200",
        "200 text/event-stream; charset=utf-8",
        "runStarted finalizeResponseStream",
        "True 2",
        "400",
        "403",
    ]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "data" / "deechat.sqlite3").exists()


# -- an end ------------------------------------------------------------------------------------------------------------


@contextmanager
def connected(server: Server, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection on which this was sent, and nothing more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        yield connection


def _read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        received += connection.recv(65_536)
    return received


KEPT = b"GET /api/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_at_once_though_connections_are_idle_and_a_stream_is_open(
    sign: int, serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model, GUNICORN_CMD_ARGS=PATIENT)
    client = Client(server)
    model.script(reply(tool_calls(("ask_user", {"questions": [{"question": "Which?"}]}))))
    stream = client.send("Go")
    stream.read_until("clarificationRequest")  # a step in progress would be given its time
    with connected(server, KEPT) as kept, connected(server) as silent, connected(server, KEPT[:20]) as half:
        assert _read_until(kept, b"}\n").startswith(b"HTTP/1.1 200 OK")
        assert server._process is not None
        server._process.send_signal(sign)
        assert server._process.wait(PATIENCE) == 0
        assert stream.read().ending is None
        assert [connection.recv(65_536) for connection in (kept, silent, half)] == [b"", b"", b""]
    server._process = None
    assert "Traceback" not in server.log
    server.start()
    assert client.run(stream.run_id)["status"] == "waiting"
    client.stop(stream.run_id)
    client.check_all()


def test_connections_that_come_while_it_leaves_hold_nothing_up(serve: Callable[..., Server]) -> None:
    server = serve(GUNICORN_CMD_ARGS=PATIENT)
    assert server._process is not None
    late: list[socket.socket] = []
    began = time.monotonic()
    server._process.terminate()
    try:
        while time.monotonic() - began < 0.4:
            with contextlib.suppress(ConnectionRefusedError):
                late.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            time.sleep(0.02)
        assert server._process.wait(PATIENCE) == 0
        server._process = None
    finally:
        for connection in late:
            connection.close()


def test_a_request_that_is_under_way_is_answered_before_it_leaves(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model)
    gate = model.gate()
    model.script(reply(text("So"), gate))
    stream = Client(server).send("Go")
    stream.read_until("So")
    head = b"POST /api/workspace/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connected(server, head + b'Content-Length: 14\r\n\r\n{"name":') as connection:
        time.sleep(0.3)  # until the request is being read
        assert server._process is not None
        server._process.terminate()
        time.sleep(0.3)
        connection.sendall(b'"Now"}')
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    assert server.terminate() == 0
    assert server.rows("SELECT slug FROM workspace WHERE name = 'Now'") == [("now",)]


def test_another_worker_comes_when_one_is_killed(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    client.ask("hello")
    (worker,) = server.workers
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in server.workers and server.answers(), lambda: server.log)
    assert len(server.workers) == 1
    assert len(client.history()) == 2
    assert client.ask("again").frames[-1]["reason"] == "completed"
    client.check_all()


# -- those who are slow ------------------------------------------------------------------------------------------------


def test_who_reads_nothing_of_a_long_answer_holds_nobody_up(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model)
    client = Client(server)
    model.script("word " * 100_000, "Quick.")
    whole = client.ask("A long one")
    request = f"GET /api/runs/{whole.run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    stalled = []
    try:
        for _ in range(20):
            connection = socket.socket()
            stalled.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(PATIENCE)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request)
        time.sleep(0.5)
        for _ in range(20):
            assert requests.get(f"{server.url}/api/ping", timeout=5).status_code == 200
        other = client.new_thread()
        assert other.ask("A quick one").text == "Quick."
        assert client.follow(whole.run_id).read().frames == whole.frames
        assert b"text/event-stream" in stalled[0].recv(65_536), "the slow one is still served"
    finally:
        for connection in stalled:
            connection.close()
    client.check_all()


def test_who_sends_half_a_request_and_waits_holds_nobody_up(server: Server) -> None:
    head = b"POST /api/workspace/default/stream-chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    halves = [
        b"",
        b"POST /api/works",
        head,
        head + b"Content-Length: 20\r\n\r\n",
        head + b'Content-Length: 20\r\n\r\n{"message"',
        head + b'Transfer-Encoding: chunked\r\n\r\n14\r\n{"message"',
    ]
    connections = []
    try:
        for half in halves * 10:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            connections.append(connection)
            connection.sendall(half)
        client = Client(server).new_thread()
        for _ in range(20):
            assert requests.get(f"{server.url}/api/ping", timeout=5).status_code == 200
        assert client.ask("hello").frames[-1]["reason"] == "completed"
        client.check_all()
        connections[4].sendall(b': "hello"}')
        assert b"text/event-stream" in connections[4].recv(65_536), "who goes on is served"
    finally:
        for connection in connections:
            connection.close()
    wait_for(lambda: requests.get(f"{server.url}/api/ping", timeout=5).status_code == 200)
    assert "Traceback" not in server.log


def test_many_connections_that_say_nothing_leave_room_for_others(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_MAX_STREAMS="1")
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) for _ in range(150)]
    try:
        for _ in range(5):
            assert requests.get(f"{server.url}/api/ping", timeout=5).status_code == 200
    finally:
        for connection in connections:
            connection.close()
