"""The provider reaches its server over TLS, through proxies and whatever the server speaks, with the transport on."""

from __future__ import annotations

import contextlib
import random
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from model_server import ModelServer, delta, reply, text
from openai_rig import HELLO, Rig, joined
from server import ROOT
from transport_rig import (
    CHUNKED,
    HEAD,
    Server,
    chunk,
    chunks,
    client,
    pieces,
    sends,
    transport,
    waits_for_leave,
)

from deechat.agents.providers.base import Text, Turn
from deechat.agents.providers.openai.provider import OpenAIProvider
from deechat.errors import ModelError
from deechat.net.connection import SIZE, Connection, Origin, ReadError
from deechat.net.pool import Pool

NAME = "models.example"
ANSWER = CHUNKED + b"".join(map(chunk, reply(text("Hello", size=1)).body)) + b"0\r\n\r\n"  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives a folder with an authority of our own, `ca.pem`, and what it signed for `NAME` and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    # As docs/deploy.md says it is made.
    (commands,) = re.findall(r"```sh\n(openssl req .*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    commands = commands.replace("DNS:models.example", "DNS:models.example,IP:127.0.0.1")
    subprocess.run(["sh", "-euc", commands], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def secure(authority: Path) -> Iterator[Server]:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    with Server(tls=trust) as server:
        yield server


def trusting(authority: Path) -> httpx2.BaseTransport:
    trust = ssl.create_default_context(cafile=authority / "ca.pem")
    trust.verify_flags |= ssl.VERIFY_X509_STRICT  # as by default from Python 3.13 on
    return transport(trust)


def test_a_trusted_server_is_asked_over_tls_and_its_connection_kept(secure: Server, authority: Path) -> None:
    secure.script = [CHUNKED + chunks(b"abc")] * 3
    with client(trusting(authority)) as http:
        for _ in range(3):
            assert pieces(http, secure.url) == [b"abc"]
    assert secure.connections == 1


def test_records_that_came_together_are_one_piece(secure: Server, authority: Path) -> None:
    secure.script = [sends(CHUNKED, 0.1, *[chunk(b"data: x\n\n")] * 50, b"0\r\n\r\n")]
    with client(trusting(authority)) as http, http.stream("POST", secure.url) as response:
        time.sleep(0.4)  # by then the server has sent all
        came = list(response.iter_raw())
    assert b"".join(came) == b"data: x\n\n" * 50
    assert len(came) < 5


def test_a_body_larger_than_records_and_reads_comes_whole(secure: Server, authority: Path) -> None:
    large = b"0123456789" * 100_000
    secure.script = [CHUNKED + chunks(large), HEAD + b"Content-Length: 1000000\r\n\r\n" + large]
    with client(trusting(authority)) as http:
        assert [b"".join(pieces(http, secure.url)) == large for _ in range(2)] == [True, True]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_comes_over_tls_in_any_pieces_comes_whole(authority: Path, version: ssl.TLSVersion) -> None:
    chance = random.Random(7)
    tokens = [b"%d " % number * chance.choice([1, 1, 1, 50, 4_000]) for number in range(300)]
    # Some in a record with others, some alone, some after a pause, and some behind more records than a read takes.
    pauses = [0.002 if chance.random() < 0.3 else b"" for _ in range(150)] + [b""] * 150
    paced = [each for token, pause in zip(tokens, pauses, strict=True) for each in (chunk(token), pause) if each]
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    trust.minimum_version = trust.maximum_version = version
    with Server(tls=trust) as server, client(trusting(authority)) as http:
        for _ in range(2):
            server.script = [sends(CHUNKED, *paced, b"0\r\n\r\n")]
            assert b"".join(pieces(http, server.url)) == b"".join(tokens)


@pytest.mark.parametrize("gathers", [True, False], ids=["epoll", "no epoll"])
def test_what_openssl_holds_back_is_not_waited_for(
    secure: Server, authority: Path, gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that ends within a record leaves the rest of it where no descriptor tells of it."""
    if not gathers:
        monkeypatch.delattr(select, "EPOLLET")
    body = chunk(b"x" * 70_000)
    odd, full, rest = body[:100], body[100 : 100 + SIZE], body[100 + SIZE :]
    seen = threading.Event()

    def step(sock: socket.socket) -> None:
        sends(CHUNKED, 0.1, odd, full)(sock)
        seen.wait(30)
        sock.sendall(rest + b"0\r\n\r\n")

    secure.script = [step]
    with client(trusting(authority)) as http, http.stream("POST", secure.url) as response:
        time.sleep(0.5)  # by then all but the rest has come
        size = 0
        for piece in response.iter_raw():  # a read that waited for more would be a timeout
            size += len(piece)
            if size > SIZE:
                seen.set()
        assert size == 70_000


def test_silence_over_tls_is_told_in_time(secure: Server, authority: Path) -> None:
    """Though the server's tickets come after the handshake, which are records with nothing in them for a reader."""
    secure.script = [sends(CHUNKED, chunk(b"abc"), 5.0)]
    with client(trusting(authority), timeout=0.3) as http, pytest.raises(httpx2.ReadTimeout):
        pieces(http, secure.url)


@pytest.mark.parametrize("unwraps", [True, False], ids=["with a word", "without one"])
def test_a_stream_cut_off_over_tls_is_a_failure(secure: Server, authority: Path, unwraps: bool) -> None:
    def cut(sock: Any) -> None:
        sock.sendall(CHUNKED + chunk(b"abc"))
        if unwraps:
            with contextlib.suppress(OSError):
                sock.unwrap()
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

    secure.script = [cut]
    with client(trusting(authority)) as http, pytest.raises(httpx2.HTTPError) as caught:
        pieces(http, secure.url)
    assert isinstance(caught.value, httpx2.RemoteProtocolError | httpx2.ReadError)


class Scripted:
    """A socket over TLS on which something has come, and whose reads give what was scripted."""

    def __init__(self, *outcomes: bytes | OSError) -> None:
        self._outcomes = list(outcomes)
        self._ends = socket.socketpair()
        self._ends[1].send(b"what was received")
        self.fileno = self._ends[0].fileno

    def close(self) -> None:
        for each in self._ends:
            each.close()

    def settimeout(self, timeout: float | None) -> None: ...

    def recv(self, size: int) -> bytes:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome


def scripted(*outcomes: bytes | OSError) -> Connection:
    return Connection(Origin(is_secure=True, host=NAME, port=443), Scripted(*outcomes))  # type: ignore[arg-type]


def test_an_error_behind_a_record_is_no_end() -> None:
    """After which OpenSSL looks as if all had ended well."""
    with contextlib.closing(scripted(b"abc", ConnectionResetError("reset"), b"")) as connection:
        assert connection.read(1) == b"abc"
        with pytest.raises(ReadError, match="reset"):
            connection.read(1)


def test_a_reader_that_has_to_write_first_looks_again() -> None:
    empty = ssl.SSLWantReadError()
    outcomes = (ssl.SSLWantWriteError(), ssl.SSLWantWriteError(), b"abc", empty, b"def", ssl.SSLWantWriteError())
    with contextlib.closing(scripted(*outcomes)) as connection:
        assert connection.read(5.0) == b"abc"
        assert connection.read(0.05) == b"def", "too late too: it may be that only its round had not come yet"


@pytest.mark.parametrize("unwraps", [True, False], ids=["with a word", "without one"])
def test_a_body_up_to_the_end_ends_over_tls_as_with_the_ordinary_transport(
    secure: Server, authority: Path, unwraps: bool
) -> None:
    def end(sock: Any) -> None:
        sock.sendall(HEAD + b"\r\nabc")
        if unwraps:
            with contextlib.suppress(OSError):
                sock.unwrap()
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

    trust = ssl.create_default_context(cafile=authority / "ca.pem")
    for each in (transport(trust), httpx2.HTTPTransport(verify=trust)):
        secure.script = [end]
        with client(each) as http, http.stream("POST", secure.url) as response:
            time.sleep(0.1)  # so that the end is there with the body
            assert b"".join(response.iter_raw()) == b"abc"


def test_a_connection_closed_while_idle_over_tls_is_not_used(secure: Server, authority: Path) -> None:
    secure.script = [sends(CHUNKED + chunks(b"abc"), None), CHUNKED + chunks(b"abc")]
    with client(trusting(authority)) as http:
        pieces(http, secure.url)
        assert secure.wait(lambda: secure.ended == 1)
        assert pieces(http, secure.url) == [b"abc"]
    assert secure.connections == 2


def test_a_server_that_nobody_vouches_for_is_not_asked(secure: Server, authority: Path) -> None:
    other_name = secure.url.replace("127.0.0.1", "localhost")  # which is not in the certificate
    for asked, url in ((transport(), secure.url), (trusting(authority), other_name)):
        with client(asked) as http, pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            pieces(http, url)
    assert secure.requests == []


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `NAME` lead here, so that a server here is a distant one."""
    real = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host in {NAME, NAME.encode()} else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def provider_of(url: str) -> OpenAIProvider:
    return OpenAIProvider(base_url=url, model="m", first_byte_timeout=10, stall_timeout=10, sleep=lambda _: None)


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the hosts that were asked by our transport."""
    asked: list[str] = []
    ask = Pool.ask

    def noting(self: Any, origin: Origin, *more: Any) -> Any:
        asked.append(origin.host)
        return ask(self, origin, *more)

    monkeypatch.setattr(Pool, "ask", noting)
    return asked


@pytest.mark.usefixtures("named")
def test_a_distant_server_is_trusted_through_the_file_of_the_environment(
    secure: Server, authority: Path, direct: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://{NAME}:{secure.port}/v1"
    with contextlib.closing(provider_of(url)) as provider, pytest.raises(ModelError) as caught:
        list(provider.ask(HELLO))
    assert caught.value.code == "model_unreachable"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    secure.script = [ANSWER]
    with contextlib.closing(provider_of(url)) as provider:
        assert joined(list(provider.ask(HELLO)), Text) == "Hello"
    assert set(direct) == {NAME}


@pytest.mark.usefixtures("named")
def test_a_server_here_is_trusted_through_the_file_of_the_environment_too(
    secure: Server, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(provider_of(secure.url)) as provider, pytest.raises(ModelError) as caught:
        list(provider.ask(HELLO))
    assert caught.value.code == "model_unreachable"
    assert "SSL_CERT_FILE" in caught.value.message
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    secure.script = [ANSWER]
    with contextlib.closing(provider_of(secure.url)) as provider:
        assert joined(list(provider.ask(HELLO)), Text) == "Hello"


class Proxy(Server):
    """Passes on what it gets, to the port it was given; `seen` are the first lines of what was asked of it."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.target = port
        self.seen: list[bytes] = []
        self.script = [self.pass_on] * 9

    def pass_on(self, sock: socket.socket) -> None:
        request = self.requests[-1]
        self.seen.append(request.partition(b"\r\n")[0])
        with socket.create_connection(("127.0.0.1", self.target)) as upstream:
            if request.startswith(b"CONNECT"):
                sock.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
            else:
                upstream.sendall(request)
            self._start(_pump, sock, upstream)
            _pump(upstream, sock)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.usefixtures("named")
def test_a_distant_server_is_asked_through_the_proxies_of_the_environment(
    secure: Server, authority: Path, direct: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    with Server(ANSWER) as plain, Proxy(plain.port) as forward, Proxy(secure.port) as tunnel:
        secure.script = [ANSWER]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{forward.port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{tunnel.port}")
        for url in (f"http://{NAME}:{plain.port}/v1", f"https://{NAME}:{secure.port}/v1"):
            with contextlib.closing(provider_of(url)) as provider:
                assert joined(list(provider.ask(HELLO)), Text) == "Hello"
        assert forward.seen == [f"POST http://{NAME}:{plain.port}/v1/chat/completions HTTP/1.1".encode()]
        assert tunnel.seen == [f"CONNECT {NAME}:{secure.port} HTTP/1.1".encode()]
    assert direct == []


@pytest.mark.usefixtures("named")
def test_a_server_here_is_asked_directly_whatever_proxies_there_are(
    direct: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    with Server(ANSWER) as plain, contextlib.closing(provider_of(f"http://127.0.0.1:{plain.port}/v1")) as provider:
        assert joined(list(provider.ask(HELLO)), Text) == "Hello"
    assert direct == ["127.0.0.1"]


@pytest.mark.parametrize(
    "options", [{}, {"encoding": "gzip"}, {"framing": "close", "version": "1.0"}, {"framing": "close"}]
)
def test_a_turn_is_the_same_behind_a_proxy_and_without_one(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = reply(text("Hello wörld", size=1), delta(reasoning_content="Hm"), tokens=(1, 2), **options)
    with Rig() as rig, ModelServer() as distant:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{distant.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        rig.server.script(answer)
        distant.script(answer)
        ours = rig.ask()
        ordinary = rig.ask(provider=rig.make(base_url="http://models.invalid/v1", model="fake-1"))
    assert joined(ours, Text) == joined(ordinary, Text) == "Hello wörld"
    assert isinstance(ours[-1], Turn)
    assert ours[-1] == ordinary[-1]


def test_the_first_byte_may_take_longer_than_the_next_ones() -> None:
    silent = waits_for_leave(CHUNKED + chunk(b": ping\n\n"))
    with Server(silent) as server:
        asked = OpenAIProvider(base_url=server.url, model="m", first_byte_timeout=60, stall_timeout=0.3)
        with contextlib.closing(asked), pytest.raises(ModelError) as caught:
            list(asked.ask(HELLO))
        assert server.wait(lambda: server.ended == 1)
    assert caught.value.code == "model_timeout"
    assert "0.3 s" in caught.value.message


def test_the_transport_is_not_loaded_before_the_sdk_is() -> None:
    """The libraries below it take 37 MiB with it, and are there when a model is asked first."""
    code = "import sys, deechat.agents.providers.openai.provider\n"
    code += "sys.exit(not {'httpx2', 'httptools'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
