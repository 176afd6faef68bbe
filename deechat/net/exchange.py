"""One request on a connection, and its response as far as the response's head."""

from __future__ import annotations

from collections.abc import Callable

import h11
import httpx2

from deechat.net.body import Body, Chunked, Deadline, Framing, Unchunked
from deechat.net.connection import Connection
from deechat.net.head import Head, read_plainly
from deechat.net.request import Outgoing, translated

MAX_INTERIM = 100  # answers that only say that one is coming


class Exchange:
    """A request and its response's head. Whatever fails closes the connection first."""

    def __init__(self, connection: Connection, request: Outgoing) -> None:
        self._connection = connection
        self._request = request
        self._timeouts = request.timeouts
        self._is_sent = self._is_heard = False

    @property
    def is_untaken(self) -> bool:
        """Says whether asking again is safe: no byte came, and the request did not go out whole or only reads."""
        return not self._is_heard and (not self._is_sent or self._request.only_reads)

    def answer(self, release: Callable[[Connection], None]) -> tuple[Head, Body]:
        """Sends the request and reads the head. `release` gets the connection when it can have another request."""
        try:
            with translated():
                self._send()
                head, framing = self._head()
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

    def _head(self) -> tuple[Head, Framing]:
        """Reads to the end of the head. All of it has to be there in the time for one read, however it drips."""
        deadline = Deadline(self._timeouts.get("read"))
        raw = self._hear(deadline)
        if plain := read_plainly(raw):
            head, rest = plain
            return head, Chunked(rest, keeps_alive=head.keeps_alive)
        state = self._request.state()
        state.receive_data(raw)
        head = Head.of(self._any_head(state, deadline))
        if not head.is_chunked:
            return head, Unchunked(state)
        return head, Chunked(state.trailing_data[0], keeps_alive=head.keeps_alive)

    def _any_head(self, state: h11.Connection, deadline: Deadline) -> h11.Response:
        for _ in range(MAX_INTERIM):
            while (event := state.next_event()) is h11.NEED_DATA:
                state.receive_data(self._hear(deadline))
            if isinstance(event, h11.Response):
                return event
        raise httpx2.RemoteProtocolError("it announced its answer without end")

    def _hear(self, deadline: Deadline) -> bytes:
        raw = self._connection.read(deadline.left())
        if not raw:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        self._is_heard = True
        return raw


def _drop(connection: Connection) -> None:
    """Takes a connection whose request did not go out whole."""
    connection.close()
