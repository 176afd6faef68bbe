"""One request on a connection, and its response as far as the response's head.

h11 makes and reads the heads, as it does in the HTTP library's own transport, so that both take and refuse the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h11
import httpx2

from deechat.agents.providers.transport_body import Body, Chunked, Deadline, Framing, Unchunked
from deechat.agents.providers.transport_socket import Connection

MAX_HEAD = 100_000  # bytes, about as many as the HTTP library takes
MAX_INTERIM = 100  # answers that only say that one is coming


Timeouts = dict[str, float | None]


class Message:
    """A request's bytes, and h11's state of a connection once they are out.

    `only_reads`: the server changes nothing by it, so it may be sent twice.
    """

    __slots__ = ("data", "only_reads", "state", "timeouts")

    def __init__(
        self, data: bytes, state: h11.Connection, timeouts: dict[str, float | None], *, only_reads: bool
    ) -> None:
        self.data = data
        self.state = state
        self.timeouts = timeouts
        self.only_reads = only_reads

    @classmethod
    def of(cls, request: httpx2.Request) -> Message:
        """Writes a request. Raises `LocalProtocolError` when it cannot be written."""
        state = _fresh()
        with _translated():
            head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            data = b"".join([state.send(event) or b"" for event in (head, h11.Data(data=request.content), _END)])
        return cls(data, state, request.extensions.get("timeout", {}), only_reads=request.method == "GET")


class Form:
    """Requests that are alike but for their bodies: what h11 makes of their head is made once.

    To write and check each head anew took an eighth of all that the start of an answer costs.
    """

    def __init__(self, like: httpx2.Request) -> None:
        headers = [*like.headers.raw, (b"Content-Length", b"0")]
        with _translated():
            head = h11.Request(method=like.method, target=like.url.raw_path, headers=headers)
            self._begin, _, self._end = (_fresh().send(head) or b"").rpartition(b"0")
        # For what follows h11 has to know no more of a request than whether it leaves the connection open.
        kept = [(name, value) for name, value in head.headers if name in {b"host", b"connection"}]
        self._told = h11.Request(method=like.method, target=b"/", headers=kept)
        self._timeouts: Timeouts = like.extensions.get("timeout", {})

    def message(self, body: bytes) -> Message:
        """Writes the request with this body."""
        state = _fresh()
        state.send(self._told)
        state.send(_END)
        data = b"%b%d%b%b" % (self._begin, len(body), self._end, body)
        return Message(data, state, self._timeouts, only_reads=False)


_END = h11.EndOfMessage()


def _fresh() -> h11.Connection:
    return h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)


class Exchange:
    """A request and its response's head. Whatever fails closes the connection first."""

    def __init__(self, connection: Connection, message: Message) -> None:
        self._connection = connection
        self._message = message
        self._timeouts = message.timeouts
        self._h11 = message.state
        self._is_sent = self._is_heard = False

    @property
    def is_untaken(self) -> bool:
        """Says whether asking again is safe: no byte came, and the request did not go out whole or only reads."""
        return not self._is_heard and (not self._is_sent or self._message.only_reads)

    def answer(self, release: Callable[[Connection], None]) -> tuple[h11.Response, Body]:
        """Sends the request and reads the head. `release` gets the connection when it can have another request."""
        try:
            with _translated():
                self._send()
                head = self._head()
                framing = self._framing(head)
            body = Body(self._connection, framing, self._timeouts.get("read"), release if self._is_sent else _drop)
        except BaseException:
            self._connection.close()
            raise
        return head, body

    def _send(self) -> None:
        """Sends it in one piece, so that the usual one is one packet."""
        try:
            self._connection.write(self._message.data, self._timeouts.get("write"))
            self._is_sent = True
        except httpx2.WriteError:
            pass  # a server may answer and close before it has read all, and then its answer counts

    def _head(self) -> h11.Response:
        """Reads to the end of the head. All of it has to be there in the time for one read, however it drips."""
        deadline = Deadline(self._timeouts.get("read"))
        for _ in range(MAX_INTERIM):
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                self._hear(deadline)
            if isinstance(event, h11.Response):
                return event
        raise httpx2.RemoteProtocolError("it announced its answer without end")

    def _hear(self, deadline: Deadline) -> None:
        raw = self._connection.read(deadline.left())
        if not raw:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        self._is_heard = True
        self._h11.receive_data(raw)

    def _framing(self, head: h11.Response) -> Framing:
        is_chunked = any(name == b"transfer-encoding" for name, _ in head.headers)  # h11 takes no other one
        if not is_chunked or head.status_code in {204, 304}:
            return Unchunked(self._h11)
        return Chunked(self._h11.trailing_data[0], keeps_alive=_keeps_alive(head))


def response_of(head: h11.Response, body: Body) -> httpx2.Response:
    """Gives an answer as the HTTP library has it."""
    return httpx2.Response(
        head.status_code,
        headers=head.headers.raw_items(),
        stream=body,
        extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason, "body": body},
    )


def _drop(connection: Connection) -> None:
    """Takes a connection whose request did not go out whole."""
    connection.close()


def _keeps_alive(head: h11.Response) -> bool:
    """Says whether a connection is to be used again; RFC 9112, section 9.3, without HTTP/1.0's own ways."""
    options = b",".join(value for name, value in head.headers if name == b"connection").lower().split(b",")
    return head.http_version >= b"1.1" and b"close" not in {option.strip() for option in options}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except h11.LocalProtocolError as exc:
        raise httpx2.LocalProtocolError(str(exc)) from exc
    except h11.RemoteProtocolError as exc:
        raise httpx2.RemoteProtocolError(str(exc)) from exc
