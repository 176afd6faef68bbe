"""The chat's side of the wire: plain HTTP, JSON bodies, and streams as lines of JSON.

Everything that can go wrong comes out as one of two errors: the server said no, or there is no server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from deechat.config import shown_address
from deechat.net.addresses import is_loopback
from deechat.terminal.words import Say

T = TypeVar("T")
Json = dict[str, Any]

CONNECT, ANSWER = 5.0, 40.0  # seconds
HEARTBEAT = 15.0  # seconds between two of a stream's signs of life, of a server that does not say so
LATE = 5.0  # seconds that one may be late; when two have not come, the stream is opened again
PATIENCE = 60.0  # seconds that a server may be away
_AWAY = {502, 503, 504}


class RefusedError(Exception):
    """The server said no: `str(error)` is for a person."""

    def __init__(self, message: str, status: int, code: str = "", run_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.run_id = status, code, run_id


class UnreachableError(Exception):
    """No server answered, or it went away before its answer was whole."""


class Link:
    """One server, by its address. Safe to use from several threads: each call has a connection of its own."""

    def __init__(self, url: str, say: Say, *, password: str | None = None, language: str = "en") -> None:
        self.url = url
        self.shown = shown_address(url) or "***"  # it may hold a password
        self._say = say
        self._password = password
        self._headers = {"Accept-Language": language}
        self._heartbeat = HEARTBEAT

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Makes a request and gives its JSON. Raises `RefusedError` and `UnreachableError`."""
        response = self._request(method, path, body, accept="application/json", silence=ANSWER)
        with response:
            return self._json(response)

    def stream(self, method: str, path: str, body: Json | None = None) -> requests.Response | None:
        """Opens a stream, which the caller closes; None when there is nothing to come (204). Raises likewise."""
        response = self._request(method, path, body, accept="application/x-ndjson", silence=self._silence)
        if response.status_code == 200 and response.headers.get("Content-Type", "").startswith("application/x-ndjson"):
            return response
        with response:
            if response.status_code == 204:
                return None
            self._json(response)
            raise self._no_deechat(response)

    def online(self) -> bool:
        """Says whether a DeeChat server answers; never raises."""
        try:
            return self.call("GET", "/api/ping").get("online") is True
        except (RefusedError, UnreachableError):
            return False

    def _request(self, method: str, path: str, body: Json | None, *, accept: str, silence: float) -> requests.Response:
        session = requests.Session()
        # Not through a proxy of the environment, which could not reach this machine's own loopback.
        session.trust_env = not is_loopback(urlsplit(self.url).hostname or "")
        try:
            response = session.request(
                method,
                self.url + path,
                json=body if body is not None else ({} if method == "POST" else None),
                headers={**self._headers, "Accept": accept},
                auth=self._authorize,
                timeout=(CONNECT, silence),
                allow_redirects=False,  # the password goes to this address alone
                stream=True,
            )
        except (requests.RequestException, OSError) as exc:
            raise self._unreachable(exc) from exc
        with suppress(ValueError):
            self._heartbeat = float(response.headers.get("X-Heartbeat", self._heartbeat))
        return response

    @property
    def _silence(self) -> float:
        return max(ANSWER, 2 * (self._heartbeat + LATE))

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Given also without a password: requests would take one from ~/.netrc.
        if self._password is not None:
            request.headers["Authorization"] = b"Bearer " + self._password.encode()
        return request

    def _json(self, response: requests.Response) -> Json:
        """Gives the JSON object of an answer, as an error where it is one."""
        try:
            answer = json.loads(response.content)
        except (requests.RequestException, OSError) as exc:
            raise self._unreachable(exc) from exc
        except ValueError:
            answer = None
        if isinstance(answer, dict) and response.status_code < 300:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise self._refused(response.status_code, answer["error"])
        raise self._no_deechat(response)

    def _refused(self, status: int, error: Json) -> RefusedError:
        message = str(error.get("message", ""))
        if status == 401:
            message = self._say("password_wrong" if self._password else "password_needed", url=self.shown)
        return RefusedError(message, status, str(error.get("code", "")), error.get("runId"))

    def _no_deechat(self, response: requests.Response) -> RefusedError:
        if response.is_redirect:
            message = self._say("redirected", url=self.shown, target=response.headers["Location"])
        else:
            message = self._say("no_deechat", url=self.shown, status=response.status_code)
        return RefusedError(message, response.status_code)

    def _unreachable(self, exc: Exception) -> UnreachableError:
        why = "timeout" if isinstance(exc, requests.Timeout) else _innermost(exc)
        return UnreachableError(self._say("unreachable", url=self.shown, why=why))


def frames(response: requests.Response) -> Iterator[Json]:
    """Yields the frames of a stream until it closes, however it closes; a line that is not whole is left out."""
    rest = b""
    with response:
        try:
            for chunk in response.iter_content(chunk_size=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except (requests.RequestException, OSError, ValueError):
            return


def persist(attempt: Callable[[], T], on_lost: Callable[[], object], alive: Callable[[], bool]) -> T:
    """Gives what the attempt gives, trying again while the server is away.

    `on_lost` is called once, when it first fails. Raises what the attempt raised when `PATIENCE` is over, or when the
    server will not come back (`alive`).
    """
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        try:
            return attempt()
        except (UnreachableError, RefusedError) as exc:
            away = isinstance(exc, UnreachableError) or exc.status in _AWAY
            if not away or time.monotonic() > deadline or not alive():
                raise
            if pause == 0.1:
                on_lost()
            time.sleep(pause)
            pause = min(2 * pause, 2.0)


def _innermost(exc: BaseException) -> str:
    """Gives the words of what went wrong first, below all that wrapped it."""
    while exc.__context__ is not None:
        exc = exc.__context__
    if isinstance(exc, requests.exceptions.InvalidSchema):  # of a proxy's address too
        return str(exc).rstrip(".")
    return getattr(exc, "strerror", None) or type(exc).__name__
