"""One gate before every route: it refuses strangers, and makes a principal of a credential.

`NEEDS` says the needs of each route. A route that needs a person is called once the credential that came, of any kind,
has become a `Principal`; the route takes it from `asker`.

Without a password the server is for the people at this machine alone (`local_only`), with one for all who know it.
Requests that change something must not come from another site, unless it is one of the origins that a setting names:
their pages may ask (CORS), and read the answers. No cookie of theirs is asked for: they show the password as a bearer.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Collection
from enum import Enum
from functools import cached_property
from typing import cast
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, g, jsonify, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from deechat.errors import ForbiddenError, UnauthorizedError
from deechat.principal import OWNER, Principal
from deechat.server.logs import Tally
from deechat.web.attempts import Attempts
from deechat.web.bodies import LARGEST_LOG_IN, LogIn, Nothing, read_body
from deechat.web.connection import connection, is_handshake
from deechat.web.forwarded import front, is_own_name, peer
from deechat.web.local_only import Outside
from deechat.web.logins import EndedLogins

COOKIE = "deechat_login"
WRONG_PASSWORD_SECONDS = 0.5
COOKIE_SECONDS = 30 * 24 * 3600
NO_KEY = "null"  # a page's way to send no Authorization
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Headers of answers that pages of other origins may read, besides those that browsers always show.
_EXPOSED = (
    "X-Run-Id, X-Heartbeat, X-Storage, Retry-After, Location, X-Workflow-Run-Id, X-Workflow-Stream-Tail-Index, "
    "X-Vercel-AI-UI-Message-Stream"
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "*, Authorization",  # which the star leaves out
    "Access-Control-Max-Age": "600",
}
_REFUSED = frozenset({401, 403, 413, 429})

log = logging.getLogger(__name__)


class Need(Enum):
    """The thing that a request has to show before its route is called."""

    NOTHING = "nothing, wherever it comes from"
    PLACE = "that it comes from where the server is reached: without a password, from this machine"
    PERSON = "who asks, besides"


# By endpoint. Routes that need no person hold nothing of anyone: the sign of life, and the page's shell, which logs in.
NEEDS = {
    "pages.ping": Need.NOTHING,
    "pages.index": Need.PLACE,
    "static": Need.PLACE,
    "gate.log_in": Need.PLACE,
    "gate.log_out": Need.PLACE,
    "pages.models": Need.PERSON,
    "pages.profile": Need.PERSON,
    "pages.forget": Need.PERSON,
    "workspaces.list_workspaces": Need.PERSON,
    "workspaces.new_workspace": Need.PERSON,
    "workspaces.show_workspace": Need.PERSON,
    "workspaces.update_workspace": Need.PERSON,
    "workspaces.delete_workspace": Need.PERSON,
    "workspaces.list_tools": Need.PERSON,
    "threads.list_threads": Need.PERSON,
    "threads.new_thread": Need.PERSON,
    "threads.update_thread": Need.PERSON,
    "threads.delete_thread": Need.PERSON,
    "chats.chats": Need.PERSON,
    "chats.stream_chat": Need.PERSON,
    "invocations.converse": Need.PERSON,
    "runs.show": Need.PERSON,
    "runs.events": Need.PERSON,
    "runs.respond": Need.PERSON,
    "runs.steer": Need.PERSON,
    "runs.stop": Need.PERSON,
    "runs.go_on": Need.PERSON,
    "openai_chat.complete": Need.PERSON,
    "openai_models.list_models": Need.PERSON,
    "openai_models.show_model": Need.PERSON,
    "openai_responses.create": Need.PERSON,
    "openai_socket.talk": Need.PERSON,
    "openai_responses.show": Need.PERSON,
    "openai_responses.cancel": Need.PERSON,
    "openai_responses.delete": Need.PERSON,
    "openai_responses.input_items": Need.PERSON,
    "openai_responses.compact": Need.PERSON,
    "agui.run": Need.PERSON,
    "agui.look": Need.PERSON,
    "aisdk.chat": Need.PERSON,
    "aisdk.stream": Need.PERSON,
    "anythingllm.open": Need.PLACE,
    "anythingllm.setup": Need.PLACE,
    "anythingllm.logo": Need.PLACE,
    "anythingllm.request_token": Need.PLACE,
    "anythingllm.empty": Need.PERSON,
    "anythingllm.documents": Need.PERSON,
    "anythingllm.whitelist": Need.PERSON,
    "anythingllm.parsed_files": Need.PERSON,
    "anythingllm.search": Need.PERSON,
    "anythingllm.delete_threads": Need.PERSON,
    "anythingllm.fork": Need.PERSON,
    "anythingllm.update_chat": Need.PERSON,
    "anythingllm.delete_edited_chats": Need.PERSON,
    "anythingllm.delete_chats": Need.PERSON,
    "anythingllm.delete_chat": Need.PERSON,
    "anythingllm.feedback": Need.PERSON,
    "anythingllm.speech": Need.PERSON,
}


def check_needs(app: Flask) -> None:
    """Raise `LookupError` when a route of the application has no row in `NEEDS`."""
    lacking = {rule.endpoint for rule in app.url_map.iter_rules()} - NEEDS.keys()
    if lacking:
        raise LookupError(f"The table NEEDS does not say what these routes need: {', '.join(sorted(lacking))}.")


def asker() -> Principal:
    """Return who asks, in a route that needs a person."""
    return cast("Principal", g.principal)


class Gate:
    """Checks each request against the password (None: only this machine) before any route sees it."""

    def __init__(
        self,
        password: str | None,
        secret: Callable[[], bytes],
        ended: EndedLogins,
        later: Callable[[float, Callable[[], None]], object],
        origins: Collection[str] = (),
    ) -> None:
        """`later` calls a function after so many seconds. Pages of the `origins` may ask."""
        self._origins = frozenset(origins)
        self._password = password
        self._secret = secret
        self._ended = ended
        self._attempts = Attempts()
        self.refusals = Tally(log.info, later)
        self._outside = Outside()

    @cached_property
    def _signer(self) -> URLSafeTimedSerializer:
        # The password is part of the key: when it changes, everyone logs in again.
        key = hmac.new(self._secret(), (self._password or "").encode(), hashlib.sha256).hexdigest()
        return URLSafeTimedSerializer(key, salt="deechat-login")

    @property
    def guarded(self) -> bool:
        """Whether there is a password."""
        return self._password is not None

    def guard(self, app: Flask) -> None:
        """Put the gate before the application's routes, and the log-in beside them."""
        app.before_request(_stay_outside)
        app.before_request(self.check)
        app.before_request(_come_in)
        app.after_request(self._count_refusal)
        if self._origins:
            app.after_request(self._share)
        app.jinja_env.globals["guarded"] = self.guarded
        blueprint = Blueprint("gate", __name__)
        blueprint.post("/api/login", endpoint="log_in")(self.log_in)
        blueprint.post("/api/logout", endpoint="log_out")(self.log_out)
        app.register_blueprint(blueprint)

    def check(self) -> Response | None:
        """Let the request pass, or return the page that refuses it. Raises `ForbiddenError` and `UnauthorizedError`."""
        need = _need()
        if need is Need.NOTHING:
            return None
        if self._password is None and (refusal := self._outside.refuse()):
            return refusal
        is_invited = request.headers.get("Origin") in self._origins
        if is_invited and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return Response(status=204, headers=_PREFLIGHT)  # browsers ask without a credential
        # Browsers send a WebSocket's handshake with cookies, for any page, and no CORS holds it back.
        if not is_invited and (request.method not in _SAFE or is_handshake()):
            _check_same_site(behind_proxy=self._password is not None)
        if need is Need.PERSON:
            g.principal = self.principal()
        return None

    def principal(self) -> Principal:
        """Return who asks, by the cookie, by the bearer, or by neither where only this machine is let in.

        Raises `UnauthorizedError` and `TooManyAttemptsError`.
        """
        if self._password is not None and not self._knows_password():
            sent = request.headers.get("Authorization", NO_KEY)
            shown = "" if sent == NO_KEY else " What was sent as Authorization is not it."
            raise UnauthorizedError(f"Log in first: this server has a password.{shown}")
        return OWNER

    def log_in(self) -> Response:
        """Set the cookie for a sender of the password. Raises `UnauthorizedError` and `TooManyAttemptsError`."""
        token = self.let_in(read_body(LogIn, LARGEST_LOG_IN).password)
        response = jsonify({"loggedIn": True})
        self.set_cookie(response, token)
        return response

    def let_in(self, password: str) -> str:
        """Return a token for the password, good as the cookie and as the bearer.

        Raises `UnauthorizedError` and `TooManyAttemptsError`.
        """
        given = password.encode()
        if self._password is not None and not self._try("log-in", lambda: self._is_password(given)):
            time.sleep(WRONG_PASSWORD_SECONDS)  # of this request's greenlet alone: guessing is slow, serving is not
            raise UnauthorizedError("That is not the password.", code="wrong_password")
        return str(self._signer.dumps(f"in {secrets.token_urlsafe(9)}"))  # no two are alike, so that each can be ended

    def set_cookie(self, response: Response, token: str) -> None:
        """Put the token into the response as the cookie, where there is a password."""
        if self._password is not None:
            response.set_cookie(
                COOKIE,
                token,
                max_age=COOKIE_SECONDS,
                httponly=True,
                samesite="Lax",
                secure=front().https,
            )

    def log_out(self) -> Response:
        """Make the request's cookie worthless, for ever and everywhere, and take it from the browser."""
        read_body(Nothing, LARGEST_LOG_IN)
        cookie = request.cookies.get(COOKIE, "")
        if self._is_signed(cookie):
            self._ended.end(cookie, time.time() + COOKIE_SECONDS)
        response = jsonify({"loggedIn": False})
        response.delete_cookie(COOKIE, httponly=True, samesite="Lax")
        return response

    def _knows_password(self) -> bool:
        cookie = request.cookies.get(COOKIE, "") if "HTTP_COOKIE" in request.environ else ""
        if self._is_token(cookie):
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        # A header is bytes, read here as Latin-1 (PEP 3333); who sends other letters may have meant either encoding.
        forms = [given.strip().encode(encoding, "replace") for encoding in ("utf-8", "latin-1")]
        if scheme.lower() != "bearer" or not given.strip():
            return False
        return self._try("bearer", lambda: any(self._is_password(form) for form in forms))

    def _is_token(self, given: str) -> bool:
        return bool(given) and self._is_signed(given) and given not in self._ended

    def _is_signed(self, cookie: str) -> bool:
        try:
            self._signer.loads(cookie, max_age=COOKIE_SECONDS)
        except BadSignature:
            return False
        return True

    def _try(self, way: str, is_right: Callable[[], bool]) -> bool:
        return self._attempts.check(peer(), request.headers.get("User-Agent", ""), way, is_right)

    def _count_refusal(self, response: Response) -> Response:
        if response.status_code in _REFUSED:
            self.refusals.note(f"refused with {response.status_code}", peer())
        return response

    def _share(self, response: Response) -> Response:
        """Let pages of the invited origins read the answer."""
        response.vary.add("Origin")
        origin = request.headers.get("Origin", "")
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        return response

    def _is_password(self, given: bytes) -> bool:
        return hmac.compare_digest(given, (self._password or "").encode())


def _stay_outside() -> None:
    connection().stay_outside(peer())


def _need() -> Need:
    return NEEDS.get(request.endpoint or "", Need.PERSON)  # an address that leads nowhere tells a stranger nothing


def _come_in() -> None:
    if _need() is Need.PERSON:
        connection().come_in()


def _check_same_site(*, behind_proxy: bool) -> None:
    # Sec-Fetch-Site: W3C Fetch Metadata, which no page can set; `none` is a person's own doing, such as a bookmark.
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site in {"cross-site", "same-site"}:
        raise ForbiddenError("A page of another site may not do this here.", code="foreign_origin")
    # A proxy may have changed Host, or taken its port, so that a browser's own word counts. Without a password no name
    # but this machine's own is served.
    if origin is None or _is_own(origin) or (site == "same-origin" and (behind_proxy or _is_of_here(origin))):
        return
    raise ForbiddenError(
        f"A page of another site may not do this here: Origin is {origin[:200]!r}, and Host is {front().host[:200]!r}. "
        "If both are yours, let your proxy pass Host on: `proxy_set_header Host $http_host;` in nginx, "
        "`ProxyPreserveHost On` in Apache.",
        code="foreign_origin",
    )


def _is_own(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return front().is_own(parts.scheme, parts.netloc)


def _is_of_here(origin: str) -> bool:
    return is_own_name(origin.lower().partition("://")[2])
