"""Who is outside while there is no password: everybody but the people at this machine.

A request is from here when its connection is on loopback, `Host` is this machine's own name (a page elsewhere can point
a name of its own at 127.0.0.1: DNS rebinding), no header names somebody elsewhere, and the process at the other end of
the connection speaks for itself alone. Whoever is refused is told in words, a browser by a page; so is the log.
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
from deechat.net.addresses import is_loopback
from deechat.web.forwarded import front
from deechat.web.loopback import Neighbours

JUDGED_FOR = 1.0  # seconds for which a connection that was let in is not looked at again: its process may change
TOLD_AGAIN = 600.0  # seconds after which the log says again that a peer is refused
PEERS_KEPT = 1000  # peers of which it is known when the log said so

log = logging.getLogger(__name__)

_LANGUAGES = ("en", "zh")
_WORDS = {
    "en": {
        "title": "DeeChat serves only its own machine",
        "rule": "Without a password DeeChat serves only this machine, under the name localhost.",
        "elsewhere": "The request came from another machine.",
        "spoken_for": "The request came through a proxy, on behalf of another machine.",
        "name": "The request asked for another name than localhost.",
        "proxy": "The request came from a program that also serves other machines, such as a proxy.",
        "hidden": "The program that asks cannot be looked into: it may be a tunnel, another user's, or in a container.",
        "do": "Set DEECHAT_PASSWORD to serve others.",
        "yours": "If this DeeChat is yours, start it with a password:",
    },
    "zh": {
        "title": "DeeChat 只为本机服务",
        "rule": "没有设置密码时，DeeChat 只为它所在的机器服务，而且只接受 localhost 这个名字。",
        "elsewhere": "这个请求来自另一台机器。",
        "spoken_for": "这个请求经由代理，代表另一台机器。",
        "name": "这个请求使用的名字不是 localhost。",
        "proxy": "发出这个请求的程序也为其他机器服务，例如反向代理。",
        "hidden": "无法查看发出这个请求的程序：它可能是隧道，属于其他用户，或在容器里。",
        "do": "要为其他人服务，请设置 DEECHAT_PASSWORD。",
        "yours": "如果这个 DeeChat 是您的，请设置密码后重新启动：",
    },
}


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    """A key of the words."""
    found: str
    """What was found, for the log."""


class Outside:
    """Refuses who is not at this machine."""

    def __init__(self) -> None:
        self._neighbours = Neighbours()
        # What was found of each connection, which the server names by its socket, and when.
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
            language = request.accept_languages.best_match(_LANGUAGES, _LANGUAGES[0])
            words = _WORDS[language]
            page = render_template("refused.html", words=words, why=words[refusal.reason], language=language)
            response = make_response(page, 403)
            response.headers["Cache-Control"] = "no-store"
            response.headers["Vary"] = "Accept, Accept-Language"
            return response
        words = _WORDS["en"]
        raise ForbiddenError(f"{words['rule']} {words[refusal.reason]} {words['do']}", code="password_required")

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
