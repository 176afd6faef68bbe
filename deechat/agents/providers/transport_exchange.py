"""One request on a connection, and its response as far as the response's head.

h11 makes and reads the heads, as it does in the HTTP library's own transport, so that both take and refuse the same.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
import httpx2

from deechat.agents.providers.transport_body import Body, Chunked, Deadline, Framing, Unchunked
from deechat.agents.providers.transport_request import Outgoing, translated
from deechat.agents.providers.transport_socket import Connection

MAX_INTERIM = 100  # answers that only say that one is coming


class Exchange:
    """A request and its response's head. Whatever fails closes the connection first."""

    def __init__(self, connection: Connection, request: Outgoing) -> None:
        self._connection = connection
        self._request = request
        self._timeouts = request.timeouts
        self._h11 = request.state
        self._is_sent = self._is_heard = False

    @property
    def is_untaken(self) -> bool:
        """Says whether asking again is safe: no byte came, and the request did not go out whole or only reads."""
        return not self._is_heard and (not self._is_sent or self._request.only_reads)

    def answer(self, release: Callable[[Connection], None]) -> tuple[h11.Response, Body]:
        """Sends the request and reads the head. `release` gets the connection when it can have another request."""
        try:
            with translated():
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
            self._connection.write(self._request.data, self._timeouts.get("write"))
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
