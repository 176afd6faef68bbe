"""Errors from outside, translated once: one table from a foreign error to ours.

It reads errors of the SDK, of its HTTP library and of our own connections by their class names, which the last two
share, so that none has to be imported here.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from deechat.agents.providers.openai.proxies import Proxy
from deechat.errors import ModelError

MAX_WORDS = 500
MAX_READ = 20_000  # characters of a server's words that are looked at
MOST_FIELDS = 100  # of an object are looked at, and as many items of a list
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum (context|prompt|model|input) length"
    r"|(exceed\w{0,10}|(larger|longer|greater) than|too (long|large)).{0,60}\b(context|maximum number of tokens)"
    r"|context (length|size|window|limit).{0,60}(exceed|overflow)|(prompt|input|messages?) (is|are) too long"
    r"|reduce the length of (the|your) (messages|prompt|input)|too many (input |prompt )?tokens"
    r"|request too large for|context length of only|max_new_tokens` must be"
    r"|no user query found in messages"  # a template's words, where Ollama had cut the question from the front
)
_NO_MODEL = re.compile(
    r"model_not_found|model[^.]{0,80}(not found|not exist|unknown)|(invalid|unknown|no such) model|not a valid model"
)
_NO_ROUTE = re.compile(
    r"(unexpected|unknown|unsupported|no such|invalid) (endpoint|url|path|route|request url)|cannot (post|get) /"
)
# The model wrote a call that its server could not read: a bad throw, and another one may be better.
_GARBLED = re.compile(
    r"tool_use_failed|output_parse_failed|failed_generation|error parsing tool.?call|tool call validation failed"
    r"|failed to (call a function|parse (the |a )?(tool|function).?calls?|parse input at pos)"
    r"|failed to parse json: unexpected end"
)
# Fields in which a server repeats the model's text or its own input. They say nothing of the request.
_REPEATED = frozenset({"failed_generation", "input"})
_FAILURES = frozenset(map(str, range(400, 600)))
_DEEPEST = 20
_RAW = re.compile(r"\braw=.*", re.DOTALL)
_LIMIT = re.compile(r"rate[_ ]limit|too many requests")
_SECRETS = re.compile(
    r"(?<![A-Za-z])sk-[\w*.-]+|(?<=//)[^/\s@]+@|(?i:(?<=bearer )|(?<=basic ))\S+"
    r"|(?i:(?<=api key: )|(?<=api key provided: )|(?<=api_key=))\S+"
)


class ModelFault(ModelError):  # noqa: N818 - an error like its base, and a fault of the server
    """A `ModelError` with the facts by which the provider decides whether to ask again.

    `again`: the same request may succeed later; `why` names the fault in a word. `evidence` holds the server's words on
    the request, in lower case: it is matched, never shown. `garbled`: the server could not read the model's call.
    `late`: a part of the answer had been said before.
    """

    def __init__(self, message: str, *, code: str, foreign: Foreign, again: bool = False, why: str = "") -> None:
        super().__init__(message, code=code, retry_after=foreign.retry_after)
        self.status_said = foreign.status
        self.evidence = foreign.evidence
        self.garbled = foreign.garbled
        self.again = again
        self.why = why
        self.late = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """The facts of a foreign error, with nothing of the SDK left in it and `words` already clean.

    `status` is 0 where there was no answer. `kinds` are the names of the error's class and of its bases.
    """

    kinds: frozenset[str] = frozenset()
    status: int = 0
    words: str = ""
    evidence: str = ""
    garbled: bool = False
    retry_after: float | None = None
    location: str = ""

    def is_a(self, *kinds: str) -> bool:
        """Return whether the error is one of these classes."""
        return not self.kinds.isdisjoint(kinds)


class Row(NamedTuple):
    """A row of the table: an error for which `claim` holds gets this code and these words."""

    claim: Callable[[Foreign], bool]
    code: str
    words: str
    again: bool = False


def _too_long(foreign: Foreign) -> bool:
    if foreign.status in {401, 403} or foreign.kinds:
        return False
    if foreign.status == 429:  # a limit a minute that one request passes alone: no waiting helps
        return "request too large" in foreign.evidence
    return bool(_CONTEXT.search(foreign.evidence))


def _unknown_model(foreign: Foreign) -> bool:
    return foreign.status == 404 or (foreign.status in {400, 422} and bool(_NO_MODEL.search(foreign.evidence)))


def _limited(foreign: Foreign) -> bool:
    if foreign.status == 429:
        return True
    return not foreign.status and bool(_LIMIT.search(foreign.evidence))


def _no_route(foreign: Foreign) -> bool:
    return not foreign.status and not foreign.kinds and bool(_NO_ROUTE.search(foreign.evidence))


Origin = Literal["setting", "default", "found"]

# Advice by the origin of the server's address: only a setting that was made is blamed.
ADVICE: dict[Origin, dict[str, str]] = {
    "setting": {
        "url": "Check OPENAI_BASE_URL.",
        "runs": "Check OPENAI_BASE_URL and that it runs.",
        "key": "Check OPENAI_API_KEY and OPENAI_BASE_URL.",
        "name": "Check DEECHAT_MODEL and OPENAI_BASE_URL.",
    },
    "default": {
        "url": "OPENAI_BASE_URL can name another one.",
        "runs": "Check the network.",
        "key": "Check OPENAI_API_KEY.",
        "name": "Check DEECHAT_MODEL.",
    },
    "found": {
        "url": "It was found on this machine; OPENAI_BASE_URL can name another one.",
        "runs": "It was found on this machine; check that it runs.",
        "key": "It was found on this machine; with OPENAI_BASE_URL set to it, OPENAI_API_KEY can give its key.",
        "name": "It was found on this machine; choose one of its models.",
    },
}

# The first row whose claim holds counts, so the more specific stands first.
NO_LISTING = Row(
    lambda foreign: foreign.status == 404,
    "model_not_found",
    "The model server at {base_url} lists no models ({status}: {words}). {url}{hint}",
)
TABLE = (
    Row(_too_long, "context_length", "The conversation is longer than {model} can read: {words}"),
    Row(
        lambda foreign: foreign.status in {401, 403},
        "model_auth",
        "The model server at {base_url} did not accept the key or the request ({status}: {words}). {key}",
    ),
    Row(
        lambda foreign: foreign.status == 407,
        "model_unreachable",
        "The model server at {base_url} was not asked: a proxy before it wants a user and a password (407).",
    ),
    Row(
        _unknown_model,
        "model_not_found",
        "The model server at {base_url} has no model {model} ({words}). {name}{hint}",
    ),
    Row(_limited, "model_rate_limited", "The model server takes no more requests now ({words}). {later}", again=True),
    Row(
        lambda foreign: 300 <= foreign.status < 400,
        "model_protocol",
        "The model server at {base_url} did not answer but pointed elsewhere ({where}); redirects are not followed."
        " {url}",
    ),
    Row(
        lambda foreign: foreign.status >= 500, "model_error", "The model server failed ({status}): {words}", again=True
    ),
    Row(lambda foreign: foreign.status > 0, "model_error", "The model server refused the request ({status}): {words}"),
    Row(_no_route, "model_error", "The model server at {base_url} does not know this address: {words} {url}{hint}"),
    Row(lambda foreign: not foreign.kinds, "model_error", "The model server ended its answer with an error: {words}"),
    Row(
        lambda foreign: "CERTIFICATE_VERIFY_FAILED" in foreign.words,
        "model_unreachable",
        "The model server at {base_url} cannot be trusted ({words}). {url} "
        "SSL_CERT_FILE can name an authority of your own.",
    ),
    Row(
        lambda foreign: foreign.is_a("ConnectError", "ConnectTimeout", "ProxyError", "SSLError"),
        "model_unreachable",
        "The model server at {base_url} cannot be reached ({words}). {runs}",
        again=True,
    ),
    Row(
        lambda foreign: foreign.is_a("UnsupportedProtocol", "InvalidURL", "LocalProtocolError"),
        "model_unreachable",
        "The model server at {base_url} cannot be asked ({words}). {url}",
    ),
    Row(
        lambda foreign: foreign.is_a("ReadTimeout", "WriteTimeout"),
        "model_timeout",
        "The model server at {base_url} was silent for {waited:g} s.",
    ),
    Row(
        lambda foreign: foreign.is_a("DecodingError"),
        "model_protocol",
        "The model server's answer cannot be used: it was compressed and cannot be unpacked ({words}).",
    ),
    Row(lambda foreign: bool(foreign.kinds), "model_protocol", "The model server's answer was broken off ({words})."),
)


def broken(what: str) -> ModelError:
    """Return the error of an answer that does not keep to the protocol."""
    return ModelError(f"The model server's answer cannot be used: {what}.", code="model_protocol")


class Faults:
    """Translates the errors of one server. `secrets` never stand in its words.

    `hint` names a likely mistake in the address, for where nothing is found there.
    """

    def __init__(self, base_url: str, secrets: Iterable[str] = (), origin: Origin = "setting", hint: str = "") -> None:
        self._base_url, self._hint = base_url, hint
        self.advice = ADVICE[origin]
        # A key of three letters protects nothing, and cutting it out would make holes in every word.
        self._secrets = [secret for secret in secrets if len(secret) > 3]

    def of(self, exc: Exception, model: str, waited: float, proxy: Proxy | None = None) -> ModelFault:
        """Return the fault of an error of the SDK, its HTTP library or our connections; `proxy` stood between."""
        fault = self._of(exc, model, waited)
        if proxy is not None and fault.code == "model_unreachable":
            fault.message += f" It is asked through the proxy {proxy.shown}, which {proxy.variable} names;"
            fault.message += " NO_PROXY names the servers that are asked without it."
            fault.args = (fault.message,)
        return fault

    def _of(self, exc: Exception, model: str, waited: float) -> ModelFault:
        response = getattr(exc, "response", None)
        if response is None:
            # The SDK wraps its HTTP library's error, which has the better name.
            cause = (exc.__cause__ if "APIConnectionError" in _kinds(exc) else None) or exc
            return self._translated(Foreign(kinds=_kinds(cause), words=self.clean(_reason(cause))), model, waited)
        body = _few(getattr(exc, "body", None))
        foreign = Foreign(
            status=response.status_code,
            words=self.clean(words_in(body)),
            evidence=_evidence(body),
            garbled=is_garbled(body),
            retry_after=retry_after(response.headers),
            location=self.clean(_host(response.headers.get("location", ""))),
        )
        return self._translated(foreign, model, waited)

    def said(self, error: Any, model: str, *, late: bool = True) -> ModelFault:
        """Translate an error object that came in a stream, `late` behind a part of the answer."""
        error = _few(error)
        inner = error.get("error") if isinstance(error, dict) else None
        holders = [each for each in (error, inner) if isinstance(each, dict)]
        # It may be anything, a list too.
        codes = [str(each.get(name)) for each in holders for name in ("code", "status_code") if each.get(name)]
        code = next((each for each in codes if each in _FAILURES), "")
        foreign = Foreign(
            status=429 if code == "429" else 0,
            words=self.clean(words_in(error)),
            evidence=_evidence(error),
            garbled=is_garbled(error),
        )
        fault = self._translated(foreign, model, 0)
        if code:
            fault.status_said = int(code)
        fault.again, fault.late = False, late
        return fault

    def clean(self, words: str) -> str:
        """Return words fit for a message: without secrets and control characters, in one line, cut."""
        words = words[:MAX_READ]
        for secret in self._secrets:
            words = re.sub(re.escape(secret), "***", words, flags=re.IGNORECASE)
        words = _SECRETS.sub("***", words)
        words = " ".join("".join(char if char.isprintable() else " " for char in words[: 10 * MAX_WORDS]).split())
        return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"

    def _translated(self, foreign: Foreign, model: str, waited: float) -> ModelFault:
        row = next(row for row in (TABLE if model else (NO_LISTING, *TABLE)) if row.claim(foreign))
        words = row.words.format(
            base_url=self._base_url,
            model=model,
            status=foreign.status,
            words=foreign.words or "no reason given",
            later=_later(foreign.retry_after),
            where=foreign.location or "nowhere",
            waited=waited,
            hint=self._hint,
            **self.advice,
        )
        why = str(foreign.status) if foreign.status else foreign.words
        return ModelFault(words.strip(), code=row.code, foreign=foreign, again=row.again, why=why)


# Where servers keep the words for a person, the general before the particular: OpenAI and most, FastAPI, problem+json,
# gateways that wrap another server's words.
_WORDS = (
    "title",
    "error",
    "errors",
    "message",
    "detail",
    "msg",
    "error_msg",
    "error_message",
    "error_description",
    "status_msg",
    "reason",
    "base_resp",
    "response",
    "metadata",
    "raw",
)
_DEPTH = 6
_EVENT = re.compile(r"(?:(?:event|id|retry):[^\r\n]*[\r\n]+|:[^\r\n]*[\r\n]+)*data:([^\r\n]*)")


def words_in(body: Any) -> str:
    """Return the words for a person in an error body of any server's form; HTML gives its title."""
    words = reason_in(body)
    if words or not body:
        return words
    try:
        return json.dumps(body)
    except RecursionError:
        return ""


def reason_in(body: Any, depth: int = _DEPTH) -> str:
    """Return the words for a person in an error body; "" where none stand at a known place."""
    if not depth or not body or isinstance(body, bool):
        return ""
    if isinstance(body, dict):
        named = {str(name).lower(): value for name, value in islice(body.items(), MOST_FIELDS)}
        return ": ".join(_distinct(reason_in(named.get(name), depth - 1) for name in _WORDS))
    if isinstance(body, list):
        return "; ".join(filter(None, (reason_in(item, depth - 1) for item in body[:5])))
    return _unwrapped(str(body).strip(), depth)


def _distinct(found: Iterable[str]) -> list[str]:
    words: list[str] = []
    for each in found:
        if each and not any(each in other for other in words):
            words = [other for other in words if other not in each] + [each]
    return words


def _unwrapped(text: str, depth: int) -> str:
    """Return the words in a text that is a page, an event, or JSON once more."""
    if text.startswith("<"):
        title = re.search(r"(?is)<title[^<>]{0,200}>([^<]*)", text[:MAX_READ])
        words = title[1] if title else re.sub(r"<[^<>]*>", " ", text[:MAX_READ])
        return words.strip() or "an HTML page"
    if event := _EVENT.match(text[:MAX_READ]):
        return reason_in(event[1], depth - 1) or text
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return reason_in(json.loads(text), depth - 1) or text
    return text


def retry_after(headers: Any) -> float | None:
    """Return the seconds of `Retry-After`, which is a number or an HTTP date; None without a usable one.

    A date is compared with the response's own `Date`: the clocks of two machines may differ by hours.
    """
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - _sent_at(headers)
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _sent_at(headers: Any) -> float:
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except ValueError:
        return time.time()


def _later(seconds: float | None) -> str:
    return "Try again in a minute." if seconds is None else f"Try again in {math.ceil(seconds)} s."


def _host(location: str) -> str:
    """Return where a redirect points, without the parts of a URL that may be secret."""
    if not location:
        return ""
    try:
        return urlsplit(location).hostname or "another page of the same host"
    except ValueError:
        return "no valid URL"


def _kinds(exc: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(exc).__mro__)


def _reason(exc: BaseException) -> str:
    return re.sub(r"\[Errno -?\d+\] ", "", str(exc)) or type(exc).__name__


def is_garbled(body: Any) -> bool:
    """Return whether a server reports that it could not read the model's call."""
    return bool(_GARBLED.search(_lower(body)))


def _evidence(body: Any) -> str:
    return _RAW.sub("", _lower(_own(body)))


def _lower(body: Any) -> str:
    try:
        return json.dumps(body, ensure_ascii=False)[:MAX_READ].lower()
    except RecursionError:
        return ""


def _few(body: Any, depth: int = _DEEPEST) -> Any:
    """Return the first fields and items of an error, which may be as long as a line, and none that lie too deep."""
    if not isinstance(body, dict | list):
        return body
    if not depth:
        return None
    if isinstance(body, list):
        return [_few(each, depth - 1) for each in body[:MOST_FIELDS]]
    return {name: _few(value, depth - 1) for name, value in islice(body.items(), MOST_FIELDS)}


def _own(body: Any, depth: int = _DEEPEST) -> Any:
    """Return an error without the fields that only repeat, that have no value, or that lie too deep."""
    if not depth or not isinstance(body, dict | list):
        return None if isinstance(body, dict | list) else body
    if isinstance(body, list):
        return [_own(each, depth - 1) for each in body]
    own = {key: value for key, value in body.items() if key not in _REPEATED and value is not None}
    return {key: _own(value, depth - 1) for key, value in own.items()}
