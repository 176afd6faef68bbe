"""Real proxies before a server: nginx, Caddy, HAProxy and Apache, with the blocks of docs/deploy.md or as they come.

Each listens on all addresses of this machine, as in life, and the tests reach it over loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from client import Client
from model_server import free_port
from server import ROOT, Server

DOCUMENT = (ROOT / "docs" / "deploy.md").read_text()
MODULES = Path("/usr/lib/apache2/modules")
SILENCE = 2  # seconds that the proxies bear, in the place of the document's 90
NAME = "chat.example.org"


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


NGINX, CADDY, HAPROXY, APACHE = map(program, ("nginx", "caddy", "haproxy", "apache2"))
OPENSSL = shutil.which("openssl")


def block(language: str, containing: str = "") -> str:
    """Gives the document's one block of the language that holds the text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if containing in each]
    return str(found)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Replaces each once; what is not there exactly once is a mistake of the test, or of the document."""
    for old, new in pairs:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    return text


def certificate(folder: Path) -> None:
    """Makes a key and a certificate for 127.0.0.1, also as one file."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "chain.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", f"subjectAltName=IP:127.0.0.1,DNS:{NAME}", "-addext", "keyUsage=digitalSignature,keyCertSign"],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "chain.pem").read_text() + (folder / "key.pem").read_text())


@dataclass
class Proxied(Client):
    """A client that comes through a proxy, as a browser that asked for `name` would."""

    url: str = ""
    certificate: str | bool = True
    name: str = ""

    @property
    def origin(self) -> str:
        return self.url.replace("127.0.0.1", self.name or "127.0.0.1")

    def as_browser(self, name: str) -> Proxied:
        """Sends what a browser sends that knows the server by this name."""
        self.name = name
        host = self.origin.partition("://")[2]
        self.headers |= {"Host": host, "Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return self

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        options.setdefault("allow_redirects", False)
        headers = {**self.headers, **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, verify=self.certificate, **options)


@dataclass(frozen=True)
class Front:
    """One way to put a proxy before the server."""

    id: str
    binary: str | None
    https: bool
    kind: str
    line: str = ""
    """A line more than nothing, for the proxies as they come; `documented` for the document's block."""

    @contextmanager
    def before(self, server: Server, folder: Path) -> Iterator[Proxied]:
        """Runs it before the server and gives a client that comes through it."""
        if self.binary is None or (self.https and OPENSSL is None):
            pytest.skip(f"{self.kind} or openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        if self.https:
            certificate(folder)
        port = free_port()
        write = {"nginx": _nginx, "caddy": _caddy, "haproxy": _haproxy, "apache": _apache}[self.kind]
        with running(write(self, folder, port, server.port), port, folder):
            scheme = "https" if self.https else "http"
            pinned = str(folder / "chain.pem") if self.https else True
            yield Proxied(server, url=f"{scheme}://127.0.0.1:{port}", certificate=pinned)


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Runs a program until it listens, and ends it and its children."""
    log = (folder / "output.log").open("wb")
    # Caddy keeps its state in the home folder.
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            said = (folder / "output.log").read_text()
            assert process.poll() is None, f"{command[0]} ended at its start: {said}"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, f"{command[0]} does not listen: {said}"
                time.sleep(0.02)
            else:
                break
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        log.close()


def nginx_around(folder: Path, sites: str) -> list[str]:
    """Writes what nginx needs around its sites, and gives the command."""
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    file = folder / "nginx.conf"
    file.write_text(
        f"{user}\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{sites}\n}}\n"
    )
    return [str(NGINX), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]


def nginx_site(folder: Path, port: int, upstream: int) -> str:
    """Gives the document's block on our port, with our certificate."""
    return replaced(
        block("nginx", "ssl_certificate"),
        ("listen 443", f"listen {port}"),
        (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(folder / "chain.pem")),
        (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(folder / "key.pem")),
        ("proxy_pass http://127.0.0.1:8000;", f"proxy_pass http://127.0.0.1:{upstream};"),
        ("proxy_read_timeout 90s;", f"proxy_read_timeout {SILENCE}s;"),
    )


def _nginx(front: Front, folder: Path, port: int, upstream: int) -> list[str]:
    if front.line == "documented":
        return nginx_around(folder, nginx_site(folder, port, upstream))
    if front.line == "behind":
        inner = free_port()
        (passed,) = re.findall(r"proxy_pass_header X-Accel-Buffering;", block("nginx", "proxy_pass_header"))
        name, lines = f"server_name {NAME};", "location / {\n"
        site = nginx_site(folder, inner, upstream).replace(lines, f"{lines}{passed}\n")
        plain = replaced(site, (f"listen {inner} ssl http2;", f"listen 127.0.0.1:{inner};"), (name, ""))
        plain = re.sub(r"ssl_certificate.*;", "", plain).replace(
            "X-Forwarded-Proto $scheme", "X-Forwarded-Proto $http_x_forwarded_proto"
        )
        return nginx_around(folder, nginx_site(folder, port, inner) + plain)
    site = f"server {{ listen {port}; location / {{ {front.line} proxy_pass http://127.0.0.1:{upstream}; }} }}"
    return nginx_around(folder, site)


def _caddy(front: Front, folder: Path, port: int, upstream: int) -> list[str]:
    site = block("caddyfile", f"{NAME} {{\n    reverse_proxy")
    pairs = [("127.0.0.1:8000", f"127.0.0.1:{upstream}")]
    if front.https:
        pairs.append((f"{NAME} {{", f"https://:{port} {{\n tls {folder}/chain.pem {folder}/key.pem"))
    else:
        pairs.append((f"{NAME} {{", f"http://:{port} {{"))
    return caddy_around(folder, replaced(site, *pairs))


def caddy_around(folder: Path, sites: str) -> list[str]:
    """Writes what Caddy needs around its sites, and gives the command."""
    file = folder / "Caddyfile"
    file.write_text(f"{{\n admin off\n auto_https disable_redirects\n skip_install_trust\n}}\n{sites}")
    return [str(CADDY), "run", "--adapter", "caddyfile", "--config", str(file)]


def _haproxy(front: Front, folder: Path, port: int, upstream: int) -> list[str]:
    if front.line == "documented":
        site = replaced(
            block("haproxy"),
            ("bind :443", f"bind :{port}"),
            (f"/etc/haproxy/{NAME}.pem", str(folder / "both.pem")),
            ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
            ("timeout client  90s", f"timeout client {SILENCE}s"),
            ("timeout server  90s", f"timeout server {SILENCE}s"),
        )
    else:
        site = (
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen web\n bind :{port}\n server deechat 127.0.0.1:{upstream}\n"
        )
    file = folder / "haproxy.cfg"
    file.write_text(site)
    return [str(HAPROXY), "-db", "-f", str(file)]


def _apache(front: Front, folder: Path, port: int, upstream: int) -> list[str]:
    if front.line == "documented":
        site = replaced(
            block("apache"),
            ("*:443", f"*:{port}"),
            (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(folder / "chain.pem")),
            (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(folder / "key.pem")),
            ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
            ("timeout=90", f"timeout={SILENCE}"),
        )
    else:
        site = f"ProxyPass / http://127.0.0.1:{upstream}/\n"
    names = ("mpm_event", "authz_core", "unixd", "ssl", "socache_shmcb", "proxy", "proxy_http", "headers")
    loaded = "".join(
        f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names if (MODULES / f"mod_{name}.so").exists()
    )
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    file = folder / "apache.conf"
    file.write_text(
        f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n"
        f"ErrorLog {folder}/error.log\nListen {port}\n{loaded}{user}{site}"
    )
    return [str(APACHE), "-f", str(file), "-DFOREGROUND"]


DOCUMENTED = [
    Front("nginx", NGINX, https=True, kind="nginx", line="documented"),
    Front("nginx behind nginx", NGINX, https=True, kind="nginx", line="behind"),
    Front("caddy", CADDY, https=True, kind="caddy"),
    Front("haproxy", HAPROXY, https=True, kind="haproxy", line="documented"),
    Front("apache", APACHE, https=True, kind="apache", line="documented"),
]
BARE = [
    Front("bare nginx", NGINX, https=False, kind="nginx"),
    Front("nginx that keeps the host", NGINX, https=False, kind="nginx", line="proxy_set_header Host $http_host;"),
    Front("nginx with proxy_params", NGINX, https=False, kind="nginx", line="include /etc/nginx/proxy_params;"),
    Front("bare caddy", CADDY, https=False, kind="caddy"),
    Front("bare haproxy", HAPROXY, https=False, kind="haproxy"),
    Front("bare apache", APACHE, https=False, kind="apache"),
]
EVERY = [*DOCUMENTED, *BARE]


def each(fronts: list[Front]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("front", fronts, ids=lambda front: front.id.replace(" ", "-"))
