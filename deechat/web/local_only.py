"""Who is outside while there is no password: everybody but the people at this machine.

A request is from here when its connection is on loopback, `Host` is this machine's own name (a page elsewhere can point
a name of its own at 127.0.0.1: DNS rebinding), no header names somebody elsewhere, and the process at the other end of
the connection speaks for itself alone. A refused client is told in words, a browser by a page; so is the log.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from flask import Response, make_response, render_template, request

from deechat.errors import ForbiddenError
from deechat.locale import ENGLISH, tag_of, words
from deechat.net.addresses import is_loopback
from deechat.web.bodies import read_language
from deechat.web.forwarded import front
from deechat.web.loopback import Neighbours

JUDGED_FOR = 1.0  # seconds for which a connection that was let in is not looked at again: its process may change
TOLD_AGAIN = 600.0  # seconds after which the log says again that a peer is refused
PEERS_KEPT = 1000  # peers of which it is known when the log said so

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    """A key of the section `refused`."""
    found: str
    """The findings, for the log."""


class Outside:
    """Refuses who is not at this machine."""

    def __init__(self) -> None:
        self._neighbours = Neighbours()
        # The findings of each connection, which the server names by its socket, and when.
        self._judged: WeakKeyDictionary[Any, tuple[float, _Refusal | None]] = WeakKeyDictionary()
        self._told: OrderedDict[str, float] = OrderedDict()

    def refuse(self) -> Response | None:
        """Return the page that refuses the request, None when it is from here.

        Raises `ForbiddenError` with the code `password_required` where no page is expected.
        """
        refusal = self._find()
        if refusal is None:
            return None
        self._tell(refusal)
        if request.method == "GET" and "text/html" in request.headers.get("Accept", "") and request.path == "/":
            language = read_language()
            said = words("refused", language)
            page = render_template("refused.html", words=said, why=said[refusal.reason], tag=tag_of(language))
            response = make_response(page, 403)
            response.headers["Cache-Control"] = "no-store"
            response.headers["Vary"] = "Accept, Accept-Language"
            return response
        said = words("refused", ENGLISH)
        raise ForbiddenError(f"{said['rule']} {said[refusal.reason]} {said['do']}", code="password_required")

    def _find(self) -> _Refusal | None:
        here = front()
        if not here.direct:
            return _Refusal("proxy", "it came over a Unix socket, as proxies do")
        if not is_loopback(here.direct):
            return _Refusal("elsewhere", "it is another machine")
        if here.names_elsewhere:
            return _Refusal("spoken_for", "a proxy's header names another machine")
        if not here.is_for_here:
            return _Refusal("name", f"it asked for the name {' and '.join(here.hosts)[:100]!r}")
        return self._of_connection()

    def _of_connection(self) -> _Refusal | None:
        connection = request.environ.get("gunicorn.socket")
        if connection is None:  # called within the process, as by a test
            return None
        now = time.monotonic()
        known = self._judged.get(connection)
        if known and (known[1] or now - known[0] < JUDGED_FOR):  # a refusal stays
            return known[1]
        try:
            there, here = connection.getpeername()[:2], connection.getsockname()[:2]
        except OSError:
            return _Refusal("hidden", "it has left")
        stranger = self._neighbours.stranger(there, here)
        refusal = None if stranger is None else _Refusal("hidden" if stranger.hidden else "proxy", stranger.words)
        self._judged[connection] = now, refusal
        return refusal

    def _tell(self, refusal: _Refusal) -> None:
        """Log the refusal, once in a while for each peer."""
        peer, now = front().peer, time.monotonic()
        if now - self._told.get(peer, -TOLD_AGAIN) < TOLD_AGAIN:
            return
        self._told[peer] = now
        self._told.move_to_end(peer)
        if len(self._told) > PEERS_KEPT:
            self._told.popitem(last=False)
        log.warning("refused %s: %s; DEECHAT_PASSWORD lets others in", peer or "a proxy", refusal.found)
