"""Proxies before a server: four real ones, as they come and with the lines that a transport needs, and three bad ones.

python bench/proxies.py KIND PORT UPSTREAM     one of the bad ones, until its standard input ends
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers import _free_port

MODULES = Path("/usr/lib/apache2/modules")
CHUNK = 65_536
IDLE_SECONDS = 4.0  # in the place of 60, where heartbeats come each second in the place of each fifteenth
SWITCH = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
)


@dataclass(frozen=True)
class Front:
    """A proxy that can be run: its name in the table, its command, and the folder and port it works with."""

    name: str
    command: list[str]
    port: int
    is_ours: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Run it until it listens; yield its port."""
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                    break
                time.sleep(0.05)
            yield self.port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def every(folder: Path, upstream: int) -> list[Front]:
    """Return all that this machine has programs for."""
    fronts = [bad(kind, upstream) for kind in ("no Upgrade", "buffers")]
    writers = {
        "nginx": lambda at: _nginx(at, upstream, "", ""),
        "nginx, 4 lines more": lambda at: _nginx(
            at, upstream, SWITCH, "map $http_upgrade $connection_upgrade { default upgrade; '' close; }"
        ),
        "haproxy": lambda at: _haproxy(at, upstream),
        "caddy": lambda at: _caddy(at, upstream),
        "apache2": lambda at: _apache(at, upstream, ""),
        "apache2, 1 line more": lambda at: _apache(at, upstream, " upgrade=websocket"),
    }
    for number, (name, write) in enumerate(writers.items()):
        program = shutil.which(name.partition(",")[0], path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            continue
        at = folder / str(number)
        at.mkdir(mode=0o755)
        port, arguments = write(at)
        fronts.append(Front(name, [program, *arguments], port))
    return fronts


def bad(kind: str, upstream: int) -> Front:
    """Return a proxy that does one thing wrong: "no Upgrade", "buffers", or "cuts when idle"."""
    port = _free_port()
    return Front(kind, [sys.executable, __file__, kind, str(port), str(upstream)], port, is_ours=True)


def _nginx(at: Path, upstream: int, lines: str, around: str) -> tuple[int, list[str]]:
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{kind}_temp_path {at}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    site = f"server {{ listen 127.0.0.1:{port}; location / {{ {lines} proxy_pass http://127.0.0.1:{upstream}; }} }}"
    file = at / "nginx.conf"
    file.write_text(
        f"{user}\ndaemon off;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{around}\n{site}\n}}\n"
    )
    return port, ["-p", str(at), "-e", str(at / "error.log"), "-c", str(file)]


def _haproxy(at: Path, upstream: int) -> tuple[int, list[str]]:
    port = _free_port()
    file = at / "haproxy.cfg"
    file.write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"listen web\n bind 127.0.0.1:{port}\n server deechat 127.0.0.1:{upstream}\n"
    )
    return port, ["-db", "-f", str(file)]


def _caddy(at: Path, upstream: int) -> tuple[int, list[str]]:
    port = _free_port()
    file = at / "Caddyfile"
    file.write_text(
        f"{{\n admin off\n auto_https off\n storage file_system {at}/state\n}}\n"
        f"http://127.0.0.1:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{upstream}\n}}\n"
    )
    return port, ["run", "--adapter", "caddyfile", "--config", str(file)]


def _apache(at: Path, upstream: int, more: str) -> tuple[int, list[str]]:
    port = _free_port()
    names = ("mpm_event", "authz_core", "unixd", "proxy", "proxy_http", "headers")
    loaded = "".join(
        f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names if (MODULES / f"mod_{name}.so").exists()
    )
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    file = at / "apache.conf"
    file.write_text(
        f"ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nDefaultRuntimeDir {at}\nErrorLog {at}/error.log\n"
        f"Listen 127.0.0.1:{port}\n{loaded}{user}ProxyPass / http://127.0.0.1:{upstream}/{more}\n"
    )
    return port, ["-f", str(file), "-DFOREGROUND"]


# -- the bad ones ------------------------------------------------------------------------------------------------------


async def _serve(kind: str, port: int, upstream: int) -> None:
    async def one(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", upstream)
        last = [time.monotonic()]
        there = asyncio.create_task(_requests(kind, client, to_server, last))
        back = asyncio.create_task(_responses(kind, server, to_client, last))
        while not (there.done() and back.done()) and not back.done():
            await asyncio.wait({back}, timeout=0.2)
            if kind == "cuts when idle" and time.monotonic() - last[0] > IDLE_SECONDS:
                break
        for task in (there, back):
            task.cancel()
        for writer in (to_client, to_server):
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", port)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


async def _requests(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: list[float]) -> None:
    while data := await reader.read(CHUNK):
        last[0] = time.monotonic()
        if kind == "no Upgrade":  # headers of one hop are not passed on (RFC 9110, section 7.6.1)
            data = b"\r\n".join(
                line
                for line in data.split(b"\r\n")
                if not line.lower().startswith((b"upgrade:", b"connection: upgrade"))
            )
        writer.write(data)
        await writer.drain()


async def _responses(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: list[float]) -> None:
    held = b""
    while data := await reader.read(CHUNK):
        last[0] = time.monotonic()
        if kind == "buffers":  # a response whole, and nothing of it before
            held += data
            is_whole = held.endswith(b"0\r\n\r\n") or b"content-length" in held.lower()
            if not is_whole:
                continue
            data, held = held, b""
        writer.write(data)
        await writer.drain()
    writer.write(held)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
