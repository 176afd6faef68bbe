"""A request's bytes: made anew, or from a form that many requests have in common. It knows no connection.

h11 writes the heads, as it does in the HTTP library's own transport, so that both send the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h11
import httpx2

MAX_HEAD = 100_000  # bytes of a response's, about as many as the HTTP library takes
_END = h11.EndOfMessage()

Timeouts = dict[str, float | None]


class Outgoing:
    """A request's bytes, and `state`, which gives h11's of a connection once they are out.

    `only_reads`: the server changes nothing by it, so it may be sent twice. This can serve a second connection as long
    as nothing was heard on the first, since `state` is told of nothing before; whether that is safe, the exchange says.
    """

    __slots__ = ("data", "only_reads", "state", "timeouts")

    def __init__(
        self, data: bytes, state: Callable[[], h11.Connection], timeouts: Timeouts, *, only_reads: bool
    ) -> None:
        self.data = data
        self.state = state
        self.timeouts = timeouts
        self.only_reads = only_reads

    @classmethod
    def of(cls, request: httpx2.Request) -> Outgoing:
        """Writes a request. Raises `LocalProtocolError` when it cannot be written."""
        state = _fresh()
        with translated():
            head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            data = b"".join([state.send(event) or b"" for event in (head, h11.Data(data=request.content), _END)])
        return cls(data, lambda: state, request.extensions.get("timeout", {}), only_reads=request.method == "GET")


class Form:
    """Requests that are alike but for their bodies: what h11 makes of their head is made once.

    To write and check each head anew took an eighth of all that the start of an answer costs.
    """

    def __init__(self, like: httpx2.Request) -> None:
        headers = [*like.headers.raw, (b"Content-Length", b"0")]
        with translated():
            head = h11.Request(method=like.method, target=like.url.raw_path, headers=headers)
            # The length stands last, so the last 0 is it.
            self._begin, _, self._end = (_fresh().send(head) or b"").rpartition(b"0")
        # h11 is told of the same request without a body and with these fields alone: how the response is framed depends
        # on the method, whether the connection is used again on `Connection`, and nothing on the rest.
        kept = [(name, value) for name, value in head.headers if name in {b"host", b"connection"}]
        self._told = h11.Request(method=like.method, target=b"/", headers=kept)
        self._timeouts: Timeouts = like.extensions.get("timeout", {})

    def request(self, body: bytes) -> Outgoing:
        """Writes the request with this body."""
        data = b"%b%d%b%b" % (self._begin, len(body), self._end, body)
        return Outgoing(data, self._state, self._timeouts, only_reads=False)

    def _state(self) -> h11.Connection:
        state = _fresh()
        state.send(self._told)
        state.send(_END)
        return state


def _fresh() -> h11.Connection:
    return h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)


@contextmanager
def translated() -> Iterator[None]:
    """Names h11's errors as the HTTP library does."""
    try:
        yield
    except h11.LocalProtocolError as exc:
        raise httpx2.LocalProtocolError(str(exc)) from exc
    except h11.RemoteProtocolError as exc:
        raise httpx2.RemoteProtocolError(str(exc)) from exc
