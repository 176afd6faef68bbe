"""The server that the chat talks to: requests and streams over HTTP, and a server of its own where none runs.

A request that fails raises `RefusedError` when the server said no, `UnreachableError` when none answered.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from deechat.config import shown_address
from deechat.locale import Say
from deechat.net.addresses import is_loopback

T = TypeVar("T")
Json = dict[str, Any]

CONNECT, ANSWER = 5.0, 40.0  # seconds
HEARTBEAT = 15.0  # seconds between the heartbeats of a stream, of a server that does not say so
LATE = 5.0  # seconds that a heartbeat may be late; when two have not come, the stream is opened again
PATIENCE = 60.0  # seconds that a server may be away
ENDINGS = {"finalizeResponseStream", "stopGeneration", "abort"}
_AWAY = {502, 503, 504}


class RefusedError(Exception):
    """The server said no; `str(error)` is for a person."""

    def __init__(self, message: str, status: int, code: str = "", run_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.run_id = status, code, run_id


class UnreachableError(Exception):
    """No server answered, or it went away before its answer was whole."""


class Client:
    """Make requests to one server. Safe to use from several threads: each request has a connection of its own."""

    def __init__(self, url: str, say: Say, *, password: str | None = None, language: str = "en") -> None:
        self.url = url
        self.shown = shown_address(url) or "***"  # the address may hold a password
        self._say = say
        self._password = password
        self._headers = {"Accept-Language": language}
        self._heartbeat = HEARTBEAT

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a request and return its JSON. Raise `RefusedError` or `UnreachableError`."""
        with self._send(method, path, body, accept="application/json", silence=ANSWER) as response:
            return self._json(response)

    def stream(self, method: str, path: str, body: Json | None = None) -> requests.Response | None:
        """Return an open stream, which the caller closes; None when nothing is to come (204). Raise like `request`."""
        silence = max(ANSWER, 2 * (self._heartbeat + LATE))
        response = self._send(method, path, body, accept="application/x-ndjson", silence=silence)
        if response.status_code == 200 and response.headers.get("Content-Type", "").startswith("application/x-ndjson"):
            return response
        with response:
            if response.status_code == 204:
                return None
            self._json(response)
            raise self._not_deechat(response)

    def online(self) -> bool:
        """Return whether a DeeChat server answers; never raise."""
        try:
            return self.request("GET", "/api/ping").get("online") is True
        except (RefusedError, UnreachableError):
            return False

    def _send(self, method: str, path: str, body: Json | None, *, accept: str, silence: float) -> requests.Response:
        session = requests.Session()
        # A proxy of the environment could not reach this machine's own loopback.
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

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Passed to requests even without a password: it would take one from ~/.netrc.
        if self._password is not None:
            request.headers["Authorization"] = b"Bearer " + self._password.encode()
        return request

    def _json(self, response: requests.Response) -> Json:
        """Return the JSON object of a response, or raise the error that it tells."""
        try:
            answer = json.loads(response.content)
        except (requests.RequestException, OSError) as exc:
            raise self._unreachable(exc) from exc
        except ValueError:
            answer = None
        if isinstance(answer, dict) and response.status_code < 300:
            return answer
        if not isinstance(answer, dict) or not isinstance(answer.get("error"), dict):
            raise self._not_deechat(response)
        error, message = answer["error"], str(answer["error"].get("message", ""))
        if response.status_code == 401:
            message = self._say("password_wrong" if self._password else "password_needed", url=self.shown)
        raise RefusedError(message, response.status_code, str(error.get("code", "")), error.get("runId"))

    def _not_deechat(self, response: requests.Response) -> RefusedError:
        if response.is_redirect:
            message = self._say("redirected", url=self.shown, target=response.headers["Location"])
        else:
            message = self._say("no_deechat", url=self.shown, status=response.status_code)
        return RefusedError(message, response.status_code)

    def _unreachable(self, exc: BaseException) -> UnreachableError:
        """Return the error in the words of the innermost exception, below all that wrapped it."""
        inner = exc
        while inner.__context__ is not None:
            inner = inner.__context__
        if isinstance(exc, requests.Timeout):
            why = "timeout"
        elif isinstance(inner, requests.exceptions.InvalidSchema):  # of a proxy's address too
            why = str(inner).rstrip(".")
        else:
            why = getattr(inner, "strerror", None) or type(inner).__name__
        return UnreachableError(self._say("unreachable", url=self.shown, why=why))


# -- across broken connections -----------------------------------------------------------------------------------------


def retry(attempt: Callable[[], T], on_lost: Callable[[], object], alive: Callable[[], bool]) -> T:
    """Return the result of the attempt, trying again while the server is away.

    Call `on_lost` once, at the first failure. Raise the attempt's error when `PATIENCE` is over, or when the server
    will not come back (`alive`).
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


@dataclass(frozen=True, slots=True)
class Received:
    """A frame of the run, or the order to forget all of them (`resync`)."""

    frame: Json


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection broke (`back` false), or is there again."""

    back: bool


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more comes; `problem` says why, where no ending did."""

    problem: str | None = None


def follow(
    client: Client,
    run_id: str,
    opened: requests.Response | None,
    alive: Callable[[], bool],
    deliver: Callable[[Received | Lost | Over], object],
) -> None:
    """Deliver a run's frames, each once and in order across broken connections; the last delivery is an `Over`.

    Begin with the stream `opened`, or with None at the run's first frame. Return when the run ended or the server is
    away for good.
    """
    last, lost = 0, False

    def on_lost() -> None:
        nonlocal lost
        lost = True
        deliver(Lost(back=False))

    def reopen() -> requests.Response | None:
        return client.stream("GET", f"/api/runs/{run_id}/events?after={last}")

    problem: str | None = "a mistake in this program"  # Python itself shows it, as it ends this thread
    try:
        ended = False
        while not ended:
            opened = opened or retry(reopen, on_lost, alive)
            if lost:
                lost = False
                deliver(Lost(back=True))
            if opened is None:
                break
            for frame in _frames(opened):
                if frame.get("type") != "resync" and frame.get("seq", 0) <= last:  # a heartbeat, or delivered before
                    continue
                last = frame.get("seq", 0)
                deliver(Received(frame))
                ended = frame.get("type") in ENDINGS
                if ended:
                    break
            opened = None
        problem = None
    except (RefusedError, UnreachableError) as exc:
        problem = str(exc)
    finally:
        deliver(Over(problem))


def _frames(response: requests.Response) -> Iterator[Json]:
    """Yield a stream's frames until it closes, however it closes; leave out a line that is not whole."""
    rest = b""
    with response:
        try:
            for chunk in response.iter_content(chunk_size=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except (requests.RequestException, OSError, ValueError):
            return


# -- a server of the chat's own ----------------------------------------------------------------------------------------

START = 30.0  # seconds
LEAVE = 20.0  # seconds, somewhat more than gunicorn's own graceful_timeout
TAIL = 6  # lines of a log that are shown

# These would have gunicorn listen elsewhere than it is told to.
_GUNICORN = {"GUNICORN_CMD_ARGS", "GUNICORN_FD", "LISTEN_FDS", "LISTEN_PID"}


class StartError(Exception):
    """The server did not start; `str(error)` is the end of its log."""


class OwnServer:
    """Run a server in a child process, from `start` to `close`.

    It is the real one, in a session of its own, so that Ctrl-C does not reach it. It serves a free port of 127.0.0.1
    over the same settings and data folder, and ends with the chat.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {name: value for name, value in environment.items() if name not in _GUNICORN}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, client: Client) -> None:
        """Start it and return when it answers the client. Raise `StartError`."""
        log, name = tempfile.mkstemp(prefix="deechat-chat-", suffix=".log")
        self._log = Path(name)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from deechat.server.serving import serve; serve()"],
                env={**self._environment, "DEECHAT_HOST": "127.0.0.1", "PORT": str(self._port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        deadline = time.monotonic() + START
        while not client.online():
            if not self.alive() or time.monotonic() > deadline:
                raise StartError(self.tail())
            time.sleep(0.05)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tail(self) -> str:
        """Return the last lines of its log."""
        text = self._log.read_text(errors="replace") if self._log else ""
        return "\n".join(text.splitlines()[-TAIL:])

    def close(self) -> None:
        """End it and wait until it has let go of the data folder."""
        if self._process is not None:
            # Nothing may come between: a server that is left behind holds the data folder.
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
            try:
                self._process.terminate()
                self._process.wait(LEAVE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
            self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None
