"""Answers that never change, kept by the browser that got them and by nobody else.

A kept answer is shown again only after the server was asked (`no-cache`): so a log-out and a deletion count at once.
`private` and `Vary` keep it from caches that several people share, and from the next person at the same browser.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

_CACHING = "private, no-cache, no-transform"
_VARIES = ("Accept", "Last-Event-ID", "Cookie", "Authorization")


def revalidated(tag: str | None, make: Callable[[], Response]) -> Response:
    """Return the answer of `make` under an entity tag, or 304 where the client has it.

    The same tag has to stand for the same bytes for ever; without one the answer may change, and is only made.
    """
    if tag is None:
        return make()
    response = Response(status=304) if request.if_none_match.contains_weak(tag) else make()
    response.set_etag(tag)
    response.headers["Cache-Control"] = _CACHING
    response.vary.update(_VARIES)
    return response
