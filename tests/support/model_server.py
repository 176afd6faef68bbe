"""The tests' own model server: OpenAI-compatible, scripted, over real HTTP on loopback, able to break in every way.

    with ModelServer() as server:
        server.script(reply(text("Hello")), status(429, "slow down"), "Bye")  # one answer a question, in order
        server.answer = lambda question: reply(text(question["model"]))       # or a rule, for when the script is over
        ...  # point a client at server.base_url, then look at server.requests, server.asked, server.wait_closed()

What can be answered is in `tests.model_answers`, whose names are here too. The server knows threads and plain sockets
only, a thread a connection, and nothing of DeeChat.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model_answers import (
    DONE,
    Answer,
    cut,
    delta,
    drop,
    frame,
    nap,
    reasoning,
    reply,
    status,
    stream,
    text,
    tool_calls,
    usage,
)

__all__ = [
    "DONE",
    "Answer",
    "Gate",
    "ModelServer",
    "Request",
    "cut",
    "delta",
    "drop",
    "frame",
    "free_port",
    "nap",
    "reasoning",
    "reply",
    "status",
    "stream",
    "text",
    "tool_calls",
    "usage",
]


class ClientClosedError(Exception):
    """The client closed its connection, or the server is being shut."""


class Gate:
    """A place in an answer where the server is silent until `release`; `reached` is set once an answer stands there."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self.reached = threading.Event()

    def release(self) -> None:
        """Lets pass whoever stands there, now and later."""
        self._writer.send(b".")

    def wait_reached(self, timeout: float = 30) -> None:
        """Waits until an answer stands there; raises `AssertionError` when none comes."""
        assert self.reached.wait(timeout), "no answer reached the gate"

    def __call__(self, connection: Connection) -> None:
        self.reached.set()
        connection.wait(also=self._reader)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@dataclass
class Request:
    """What a client asked: `body` is the parsed JSON or None, header names are in lower case.

    `finished` says that its whole answer was sent, `closed` when (by `time.monotonic`) the client closed before that.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    finished: bool = False
    closed: float | None = None

    @property
    def page(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]


class ServerEndedError(Exception):
    """The server itself ended the connection, as its script said."""


class Connection:
    """One client's socket, watched for its closing whenever nothing is sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_request(self) -> Request | None:
        """Reads the next request; None when the client left between two."""
        head = self._read_until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        data = self._read_exactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, json.loads(data) if data else None)

    def _read_until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(mark)
        return head

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise ClientClosedError
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def wait(self, seconds: float | None = None, also: socket.socket | None = None) -> None:
        """Is silent for so long, or until `also` can be read; raises `ClientClosedError` once the client left."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        ready = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
        if self.sock.fileno() in ready and not self.sock.recv(1, socket.MSG_PEEK):
            raise ClientClosedError

    def send(self, data: bytes) -> None:
        """Sends it, unless the client has left."""
        self.wait(0)
        self.sock.sendall(data)

    def end(self, *, reset: bool = False) -> None:
        """Ends the connection and the answer."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ServerEndedError

    def send_answer(self, answer: Answer) -> None:
        """Sends it whole; raises when either side ended it early."""
        if answer.framing != "raw":
            self.send(_head(answer))
        squeeze = _compressor(answer.encoding)
        began = time.monotonic()
        for number, piece in enumerate(answer.body):
            if answer.rate:
                self.wait(began + number / answer.rate - time.monotonic())
            if callable(piece):
                piece(self)
            else:
                self._send_piece(answer, squeeze(piece, last=number == len(answer.body) - 1))
        if answer.framing == "chunked":
            self.send(b"0\r\n\r\n")

    def _send_piece(self, answer: Answer, data: bytes) -> None:
        if data and answer.framing == "chunked":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.send(data)


def _head(answer: Answer) -> bytes:
    headers = dict(answer.headers)
    if answer.encoding:
        headers["content-encoding"] = answer.encoding
    if answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif answer.framing == "length":
        headers["content-length"] = str(len(answer.whole()))
    else:
        headers["connection"] = "close"
    lines = [
        f"HTTP/{answer.version} {answer.status} Scripted",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _compressor(encoding: str | None) -> Callable[..., bytes]:
    if encoding is None:
        return lambda data, *, last: data
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)

    def squeeze(data: bytes, *, last: bool) -> bytes:
        return packer.compress(data) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    return squeeze


Rule = Callable[[Any], Answer | str]


class ModelServer:
    """The server, listening from `__enter__` to `__exit__` on a free port of 127.0.0.1, for any number of connections.

    `models` are the names that `GET /v1/models` lists, or an `Answer` for it; `rows` gives a name's row further fields,
    and `routes` what is served beside the protocol, as JSON or an `Answer`, by the end of the path. `requests` has all
    that was asked, `asked` the bodies of the chat completions alone. A question beyond script and rule gets a 400 that
    says so.
    """

    def __init__(self, *models: str) -> None:
        self.models: list[str] | Answer = list(models or ["fake-1"])
        self.rows: dict[str, Any] = {}
        self.routes: dict[str, Any] = {}
        self.answer: Rule | None = None
        self.requests: list[Request] = []
        self.connections = 0
        self._script: list[Answer | str] = []
        self._gates: list[Gate] = []
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._port = 0
        self._listener: socket.socket | None = None

    def __enter__(self) -> ModelServer:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for thread in self._threads:
            thread.join(10)
        for gate in self._gates:
            gate.close()

    @property
    def port(self) -> int:
        return self._port

    @property
    def base_url(self) -> str:
        """The URL to give a client."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def asked(self) -> list[Any]:
        """The bodies of all chat completion requests, in order."""
        return [request.body for request in self.requests if request.page.endswith("/chat/completions")]

    @property
    def closed(self) -> list[Request]:
        """The requests whose client closed its connection before the answer was whole."""
        return [request for request in self.requests if request.closed is not None]

    def script(self, *answers: Answer | str) -> None:
        """Adds answers for the next chat completions, one each."""
        self._script += answers

    def gate(self) -> Gate:
        """Makes a gate, which is closed with the server."""
        gate = Gate()
        self._gates.append(gate)
        return gate

    def refuse(self) -> None:
        """Stops listening, so that new connections are refused; those that are open go on."""
        if self._listener is None:
            return
        _shut(self._listener)
        self._listener.close()
        self._listener = None

    def end(self) -> None:
        """Ends as a program does: all connections are closed and new ones refused. `listen` starts it again."""
        self.refuse()
        with self._changed:
            for sock in self._open:
                _shut(sock)

    def listen(self) -> None:
        """Listens (again, on the same port)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(1024)
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def wait_closed(self, count: int = 1, timeout: float = 30) -> bool:
        """Waits until so many clients have closed mid-answer; says whether they did."""
        return self.wait(lambda: len(self.closed) >= count, timeout)

    def wait_asked(self, count: int = 1, timeout: float = 30) -> bool:
        """Waits until so many chat completions were asked for; says whether they were."""
        return self.wait(lambda: len(self.asked) >= count, timeout)

    def wait(self, claim: Callable[[], bool], timeout: float = 30) -> bool:
        """Waits until a claim about this server holds; says whether it does."""
        with self._changed:
            return self._changed.wait_for(claim, timeout)

    @property
    def open_connections(self) -> int:
        """How many clients are connected, idle ones included."""
        return len(self._open)

    def _start(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(sock,), daemon=True)
        with self._changed:
            self._threads = [*(old for old in self._threads if old.is_alive()), thread]
            thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            connection = Connection(sock)
            while request := connection.read_request():
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                self._serve_one(connection, request)
        except (ServerEndedError, ClientClosedError, OSError, ValueError):
            pass  # ended as scripted, left, or speaks something else than HTTP (TLS, say)
        finally:
            self._note(lambda: self._open.discard(sock))
            sock.close()

    def _serve_one(self, connection: Connection, request: Request) -> None:
        try:
            answer = self._answer_to(request)
            connection.send_answer(answer)
            self._note(lambda: setattr(request, "finished", True))
            if answer.framing in {"close", "raw"}:
                connection.end()
        except (ClientClosedError, OSError):
            self._note(lambda: setattr(request, "closed", time.monotonic()))
            raise

    def _answer_to(self, request: Request) -> Answer:
        for path, body in self.routes.items():
            if request.page.endswith(path):
                return body if isinstance(body, Answer) else status(200, body)
        if request.page.endswith("/models") and "/api/" not in request.page:
            names = self.models
            return names if isinstance(names, Answer) else _listing(names, self.rows)
        if not request.page.endswith("/chat/completions"):
            return status(404, "no such page")
        with self._changed:
            answer = self._script.pop(0) if self._script else None
        if answer is None:
            answer = self.answer(request.body) if self.answer else status(400, "a question beyond the script")
        return reply(text(answer)) if isinstance(answer, str) else answer

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()


def _listing(names: list[str], fields: dict[str, Any]) -> Answer:
    head = {"object": "model", "created": 1700000000, "owned_by": "tests"}
    rows = [{"id": name, **head, **fields.get(name, {})} for name in names]
    return status(200, {"object": "list", "data": rows})


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """Gives a port of 127.0.0.1 on which nobody listens, so that connections to it are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
