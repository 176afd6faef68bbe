"""The SDK's client for one server. It takes from the environment only trusted authorities and a distant server's proxy.

The SDK makes the pattern of a request for a completion, once. The requests that go out are copies with a body of their
own, sent by our own transport, or by the HTTP client where an HTTP proxy stands between: the SDK took more processor
time to make each anew than all the rest of asking.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import re
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from deechat.agents.providers.openai.proxies import proxy_for
from deechat.agents.providers.openai.response import Answer, Patience
from deechat.net.addresses import is_loopback
from deechat.net.connection import NetError, Watch

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # servers without keys take any
MAX_IDLE = 10  # idle connections; in the HTTP library's pool, for proxies, each costs every request a poll
IDLE_SECONDS = 4.0  # servers commonly close theirs after 5, and a request must not meet that moment
CONNECT_SECONDS = 10.0
OUR_TRANSPORT = "deechat.agents.providers.openai.transport"  # loaded with the SDK, whose HTTP library it needs
MAX_LOOK = 512_000  # bytes: Ollama shows a quarter of it for a model with a thousand tensors
_CUTS = re.compile("[:/@?#]|%(?:3A|2F|40|3F|23)", re.IGNORECASE)
# The end of an address that was copied from an example of a request.
_PASTED = re.compile(r"((/chat)?/completions|(?<=/v1)/(models|responses|embeddings))?/*$")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address and its credentials.

    `url` holds neither a password nor the `query`, which follows each path, so a person may be shown it. `secrets` are
    those of the key, the user and the query, in each form in which an error may repeat them.
    """

    url: str
    query: str = field(repr=False)
    authorization: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    is_local: bool

    @classmethod
    def of(cls, base_url: str | None, api_key: str | None) -> Address:
        """Return the address of the settings. A user in the URL goes before the key, as HTTP's own way."""
        key = (api_key or "").strip()
        parts = urlsplit((base_url or OPENAI_URL).strip())
        user, _, place = parts.netloc.rpartition("@")
        token = base64.b64encode(unquote(user).encode()).decode()
        path = _PASTED.sub("", re.sub("//+", "/", parts.path))
        return cls(
            url=urlunsplit((parts.scheme, place, path, "", "")),
            query=parts.query,
            authorization=f"Basic {token}" if user else f"Bearer {key or NO_KEY}",
            secrets=_secrets(key, user, token, parts.query),
            is_local=is_loopback(parts.hostname or ""),
        )

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def below(self) -> Address | None:
        """The address with `/v1` where the path was left out; None where there is a path."""
        return None if urlsplit(self.url).path else replace(self, url=f"{self.url}/v1")

    @property
    def hint(self) -> str:
        """Advice where nothing is found at this address; empty where it looks like others."""
        return "" if re.search(r"/v\d", self.url) else " The addresses of most model servers end in /v1."

    @property
    def is_sendable(self) -> bool:
        """Whether a header can carry the authorization."""
        return self.authorization.isascii() and self.authorization.isprintable()


def _secrets(key: str, user: str, token: str, query: str) -> tuple[str, ...]:
    values = [value for _, value in parse_qsl(query)]
    pieces = _CUTS.split(user)  # a wrong split of an address repeats a part of a password
    forms = [key, token, user, *user.split(":"), *pieces, query, *values, *[quote(value, safe="") for value in values]]
    found = [*forms, *map(unquote, forms)]
    # The longest first: of a secret that holds another nothing is left over.
    return tuple(sorted({secret for secret in found if secret}, key=lambda secret: (-len(secret), secret)))


class Client:
    """The SDK, loaded, and its client.

    `foreign` are the errors that asking and reading may raise. `watch` makes the readers of its connections. `close`
    closes the idle ones.
    """

    def __init__(self, module: Any, address: Address, patience: float, watch: Watch) -> None:
        http = importlib.import_module("httpx2")  # the SDK's own, so it is loaded by now
        ours = importlib.import_module(OUR_TRANSPORT)
        self._module, self._library, self._address = module, http, address
        trust = http.create_ssl_context(_trust(address), trust_env=True)  # by SSL_CERT_FILE and SSL_CERT_DIR
        self.foreign: tuple[type[Exception], ...] = (
            NetError,
            module.OpenAIError,
            http.HTTPError,
            http.StreamError,
            http.InvalidURL,
            ssl.SSLError,
        )
        self.proxy = None if address.is_local else proxy_for(address.url)
        self._transport = ours.make_transport(
            trust, self.proxy, max_idle=MAX_IDLE, idle_seconds=IDLE_SECONDS, watch=watch
        )
        self._http = http.Client(
            timeout=http.Timeout(patience, connect=min(patience, CONNECT_SECONDS), pool=None),
            limits=http.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_SECONDS),
            follow_redirects=False,
            trust_env=False,
            verify=trust,
            transport=self._transport,
            proxy=self.proxy.url if self.proxy and self._transport is None else None,
            event_hooks={"request": [self._aim], "response": [ours.bound_error]},
        )
        self._sdk = self._over(self._http)

    def _aim(self, request: Any) -> None:
        """Put the address's query behind the path; the SDK would put the path behind the query."""
        if self._address.query:
            request.url = request.url.copy_with(query=self._address.query.encode())

    def _over(self, http_client: Any) -> Any:
        """Return the SDK's client over a client of its HTTP library."""
        sdk = self._module.OpenAI(
            base_url=self._address.url,
            api_key=NO_KEY,  # the header below goes out, so that no key of the environment does
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            default_headers={"Authorization": self._address.authorization},
            max_retries=0,
            http_client=http_client,
        )
        sdk.organization = sdk.project = None  # an empty one would be sent as a header
        return sdk

    @functools.cached_property
    def _pattern(self) -> Any:
        """The SDK's request for a completion, noted where it would have gone out."""
        noted = []

        def note(request: Any) -> Any:
            noted.append(request)
            return self._library.Response(200)

        nowhere = self._library.MockTransport(note)
        with self._library.Client(
            timeout=self._http.timeout, trust_env=False, transport=nowhere, event_hooks={"request": [self._aim]}
        ) as http_client:
            chat = self._over(http_client).chat.completions.with_streaming_response
            with chat.create(model="", messages=[], stream=True):
                pass
        del noted[0].headers["content-length"]  # each body has its own
        return noted[0]

    def ask(self, body: bytes) -> Answer:
        """Ask for a streamed completion; return the answer, open, and keep nothing of the body.

        Raises the errors of `foreign`, the SDK's `APIStatusError` among them.
        """
        response = self._send_by_library(body) if self._form is None else self._form(body)
        if isinstance(response, Answer):
            return response
        response.request = self._pattern  # the one that was sent is as long as the conversation
        if not response.is_success:
            raise self._refusal(response)
        return Answer(response.headers.get("content-type", ""), response)

    @functools.cached_property
    def _form(self) -> Callable[[bytes], Any] | None:
        """Sends a request like the pattern over our own connections. None where an HTTP proxy stands between."""
        form: Callable[[bytes], Any] | None = self._transport and self._transport.form(self._pattern)
        return form

    def _send_by_library(self, body: bytes) -> Any:
        like = self._pattern
        request = self._library.Request(
            like.method, like.url, headers=like.headers, content=body, extensions=like.extensions
        )
        return self._http.send(request, stream=True)

    def _refusal(self, response: Any) -> Exception:
        """Read an error's body; return the SDK's error of it."""
        with closing(response):
            response.read()
        said: Any = response.text.strip()
        with suppress(ValueError, RecursionError):
            said = json.loads(said)
        status_error: Exception = self._module.APIStatusError(
            f"Error code: {response.status_code}", response=response, body=said
        )
        return status_error

    def models(self, timeout: float) -> Any:
        """Ask for the models; return a context manager of the response."""
        return self._sdk.models.with_streaming_response.list(timeout=timeout)

    def look(self, path: str, body: Any, seconds: float) -> Any:
        """Ask a route of the server's own, beside the protocol; return its JSON, None where none comes in time."""
        patience = Patience(seconds, seconds)
        patience.end_within(seconds)
        parts = urlsplit(self._address.url)
        url = urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix("/v1") + path))
        method = "GET" if body is None else "POST"
        headers = {"Authorization": self._address.authorization, "Accept-Encoding": "identity"}
        with (
            suppress(ValueError, RecursionError, *self.foreign),
            self._http.stream(method, url, headers=headers, json=body, timeout=seconds) as response,
        ):
            if not response.is_success or "content-encoding" in response.headers:  # it may unpack to a huge one
                return None
            said = bytearray()
            with closing(Answer("", response).reads(patience)) as pieces:
                for piece in pieces:
                    said += piece
                    if len(said) > MAX_LOOK or patience.over():
                        return None
            return json.loads(said)
        return None

    def close(self) -> None:
        self._http.close()


def _trust(address: Address) -> bool | ssl.SSLContext:
    """Return the trusted authorities: the usual ones, which take 40 ms to load, or none where there is no TLS."""
    return address.url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
