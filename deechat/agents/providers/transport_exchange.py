"""One request and its response on a connection, as far as the response's head.

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


class Exchange:
    """The request and its response. Whatever fails closes the connection first."""

    def __init__(self, connection: Connection, request: httpx2.Request) -> None:
        self._connection = connection
        self._request = request
        self._timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        self._h11 = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._is_sent = self._is_heard = False

    @property
    def is_untaken(self) -> bool:
        """Says whether asking again is safe: no byte came, and the request did not go out whole or only reads."""
        return not self._is_heard and (not self._is_sent or self._request.method == "GET")

    def response(self, release: Callable[[Connection], None]) -> httpx2.Response:
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
        return httpx2.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=body,
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason, "body": body},
        )

    def _send(self) -> None:
        """Sends it in one piece, so that the usual one is one packet."""
        request = self._request
        events = (
            h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw),
            h11.Data(data=request.content),
            h11.EndOfMessage(),
        )
        data = b"".join([self._h11.send(event) or b"" for event in events])
        try:
            self._connection.write(data, self._timeouts.get("write"))
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
