"""What docs/deploy.md says, done: nginx runs with its block; the unit, the image and the backup name what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from client import Client
from model_server import ModelServer, free_port, reply, text
from server import ROOT, Server

DOCUMENT = (ROOT / "docs" / "deploy.md").read_text()
NGINX = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def block(language: str, containing: str = "") -> str:
    """Gives the document's one block of the language that holds the text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if containing in each]
    return str(found)


@dataclass
class Proxied(Client):
    """A client that comes through nginx."""

    url: str = ""
    certificate: str = ""

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        headers = {**self.headers, **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, verify=self.certificate, **options)


def certificate(folder: Path) -> None:
    """Makes a key and a certificate for 127.0.0.1."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "chain.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip


def configuration(folder: Path, port: int, upstream: int) -> str:
    """Gives the document's block, on our port with our certificate, in the least that nginx needs around it."""
    site = block("nginx")
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/letsencrypt/live/chat.example.org/fullchain.pem", str(folder / "chain.pem")),
        ("/etc/letsencrypt/live/chat.example.org/privkey.pem", str(folder / "key.pem")),
        ("proxy_pass http://127.0.0.1:8000;", f"proxy_pass http://127.0.0.1:{upstream};"),
    ):
        assert site.count(old) == 1, old
        site = site.replace(old, new)
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    return (
        f"{user}\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{site}\n}}\n"
    )


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        assert process.poll() is None, "nginx ended at its start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)
        else:
            return


@contextmanager
def nginx(folder: Path, server: Server) -> Iterator[Proxied]:
    """Runs nginx before the server and gives a client that comes through it."""
    assert NGINX is not None
    folder.mkdir()
    certificate(folder)
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, port, server.port))
    command = [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]
    tested = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True, timeout=20)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield Proxied(server, url=f"https://127.0.0.1:{port}", certificate=str(folder / "chain.pem"))
    finally:
        process.terminate()
        process.wait(10)


@needs_nginx
@needs_openssl
def test_frames_come_one_by_one_through_nginx_and_heartbeats_too(
    serve: Callable[..., Server], model: ModelServer, tmp_path: Path
) -> None:
    server = serve(model=model, DEECHAT_HEARTBEAT="0.2")
    words = ["One ", "two ", "three."]
    gates = [model.gate() for _ in words]
    pieces = [each for word, gate in zip(words, gates, strict=True) for each in (text(word), gate)]
    model.script(reply(*pieces))
    with nginx(tmp_path / "nginx", server) as client:
        stream = client.send("Count", headers={"Origin": client.url})
        for word, gate in zip(words, gates, strict=True):
            # The model server says nothing more before the gate opens: what is here came without being pushed.
            stream.read_until(word)
            stream.read_until("heartbeat")
            gate.release()
        assert stream.read().text == "One two three."
        assert stream.frames[-1]["type"] == "finalizeResponseStream"
        assert client.follow(stream.run_id, after=4).read().frames == stream.frames[4:]
        client.check_all()


@needs_nginx
@needs_openssl
def test_who_may_come_in_through_nginx_without_a_password(server: Server, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", server) as client:
        assert client.call("GET", "/api/workspaces").status_code == 200
        refusals = {
            "a page of another site": ({"Origin": "https://example.org"}, "foreign_origin"),
            "somebody elsewhere": ({"X-Forwarded-For": "203.0.113.9"}, "password_required"),
            "the public name": ({"Host": "chat.example.org"}, "password_required"),
        }
        for who, (headers, code) in refusals.items():
            refused = client.post("/api/workspace/new", {"name": "No"}, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, code), who


@needs_nginx
@needs_openssl
def test_with_a_password_the_log_in_is_for_https_and_streams_flow(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(DEECHAT_PASSWORD="open sesame")
    with nginx(tmp_path / "nginx", server) as client:
        client.headers = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        assert client.call("GET", "/api/ping").json() == {"online": True}
        assert client.call("GET", "/api/workspaces").json()["error"]["code"] == "login_required"
        login = client.post("/api/login", {"password": "open sesame"})
        assert login.json() == {"loggedIn": True}
        cookie = login.headers["Set-Cookie"]
        assert all(part in cookie for part in ("; Secure", "; HttpOnly", "; SameSite=Lax"))
        client.headers["Cookie"] = cookie.partition(";")[0]
        client.thread = client.post("/api/workspace/default/thread/new").json()["thread"]["slug"]
        assert client.ask("2+3").text == "`2+3` = **5**"
        large = client.post(f"{client.thread_path}/stream-chat", {"message": "x" * 2_000_000})
        assert large.json()["error"]["code"] == "bad_request", "nginx lets it pass, and DeeChat says what is wrong"
        client.check_all()


def test_the_unit_starts_what_an_installation_has(tmp_path: Path) -> None:
    unit = block("ini")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, flags=re.MULTILINE)
    program, *arguments = start.split()
    assert program == "/opt/deechat/.venv/bin/gunicorn"
    assert Path(sys.executable).with_name(Path(program).name).exists()
    assert arguments == ["app:app", "--bind", "127.0.0.1:8000"]
    patience = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)[0])
    assert patience >= 15 + 10, "gunicorn's graceful_timeout and the closing of the database"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    file = tmp_path / "deechat.service"
    file.write_text(unit.replace(program, sys.executable).replace("/opt/deechat", str(ROOT)))
    command = ["systemd-analyze", "verify", str(file)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    faults = [line for line in checked.stderr.splitlines() if str(file) in line or "Unknown" in line]
    assert faults == []


def test_the_image_installs_what_there_is_and_runs_a_command_of_ours(server: Server) -> None:
    lines = block("dockerfile").replace("\\\n", " ").splitlines()
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.strip()}
    version = re.fullmatch(r"python:(3\.\d+)-slim", said["FROM"])
    assert version
    assert int(version[1].split(".")[1]) >= int(PROJECT["requires-python"].rpartition(".")[2])
    assert json.loads(said["CMD"]) == ["deechat"]
    assert "deechat" in PROJECT["scripts"]
    assert all((ROOT / name).exists() for name in (PROJECT["readme"], *PROJECT["license-files"]))
    settings = dict(pair.split("=") for pair in said["ENV"].split())
    assert settings["DEECHAT_DATA"] == said["VOLUME"]
    assert said["USER"] != "root"
    program, *arguments = json.loads(said["HEALTHCHECK"].removeprefix("CMD "))
    assert program == "python"
    for port, code in ((server.port, 0), (free_port(), 1)):
        environment = {**os.environ, "PORT": str(port)}
        command = [sys.executable, *arguments]
        healthy = subprocess.run(command, check=False, env=environment, capture_output=True, timeout=20)
        assert healthy.returncode == code


def test_a_backup_of_a_running_server_is_whole(client: Client, tmp_path: Path) -> None:
    client.ask("2+3")
    stream = client.send("help")
    stream.read_until("textResponseChunk")
    target = tmp_path / "monday.sqlite3"
    line = block("sh", "deechat backup").strip().replace("/backups/monday.sqlite3", str(target))
    line = line.replace(".venv/bin/deechat", f"{sys.executable} -c 'from deechat.cli import main; main()'")
    subprocess.run(line, shell=True, env=client.server.environment(), cwd=ROOT, check=True, timeout=60)
    stream.read()
    copy = sqlite3.connect(target)
    try:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        contents = [row[0] for row in copy.execute("SELECT content FROM message ORDER BY number")]
    finally:
        copy.close()
    assert contents[-3:] == ["2+3", "`2+3` = **5**", "help"]


def test_what_a_heroku_style_host_looks_for_is_there() -> None:
    process = (ROOT / "Procfile").read_text()
    assert process == "web: gunicorn app:app --bind 0.0.0.0:$PORT\n"
    for name in re.findall(r"`(Procfile|requirements\.txt|\.python-version)`", DOCUMENT):
        assert (ROOT / name).read_text().strip()
