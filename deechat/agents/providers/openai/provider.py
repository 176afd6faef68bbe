"""Any OpenAI-compatible model server, over chat completions.

The SDK makes requests and names errors; the stream is read here. Nothing here reads the environment, and the SDK is
imported when it is first needed: it takes half a second and 37 MiB.
"""

from __future__ import annotations

import importlib
import json
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import msgspec

from deechat.agents.providers.base import Notice, Part, Question, Room, Turn
from deechat.agents.providers.openai.client import CONNECT_SECONDS, OUR_TRANSPORT, Address, Client
from deechat.agents.providers.openai.context_length import Contexts
from deechat.agents.providers.openai.faults import Faults, ModelFault, Origin, broken, words_in
from deechat.agents.providers.openai.listing import MAX_LISTING, Row, default_of, rows_in
from deechat.agents.providers.openai.profiles import NO_FIELD, NO_TOOLS, THINKS_IN, UNOPENED, Profile, Profiles
from deechat.agents.providers.openai.proxies import NoProxyError
from deechat.agents.providers.openai.refusals import Lesson, lesson_of
from deechat.agents.providers.openai.request import Body, Habits, body_of
from deechat.agents.providers.openai.response import Answer, Patience
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import Cancelled, ModelError
from deechat.messages import THOUGHT
from deechat.net.connection import Watch
from deechat.net.rounds import Alone

RETRIES = 2
MOST_LESSONS = 8  # that one question may teach: a server that changes its mind each time is left alone
MOST_MODELS = 2  # that one question may change to, likewise
MAX_RETRY_AFTER = 30.0
USAGE_SECONDS = 5.0  # for the tokens that follow a finish reason, where [DONE] does not come
DRAIN_SECONDS = 0.05  # for the end of the body after [DONE], without which its connection cannot be used again

_NOT_HEARD = frozenset({"model_unreachable", "model_timeout", "model_rate_limited"})  # they tell nothing of an address

log = logging.getLogger(__name__)


def load_sdk() -> Any:
    """Import the SDK and all that it would import at the first request, a twentieth of a second more."""
    for name in ("httpcore2", "openai.resources.chat", "openai.resources.models", OUR_TRANSPORT):
        importlib.import_module(name)
    return importlib.import_module("openai")


class OpenAIProvider:
    """A model server at `base_url`, OpenAI's own without one.

    `model` is asked for where none was chosen. `is_found`: no setting names the server, so a model that was chosen may
    be another server's; where this one does not have it, its own default answers. The timeouts are in seconds of
    silence. `profiles` keep the learnt habits of servers. `watch` makes the readers of connections. `load` gives the
    SDK. `sleep` waits before a retry: `backoff` seconds the first time, twice that the second, a little more by chance.
    """

    name = "openai"

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        model: str | None = None,
        is_found: bool = False,
        first_byte_timeout: float = 300,
        stall_timeout: float = 120,
        profiles: Profiles | None = None,
        watch: Watch = Alone,
        load: Callable[[], Any] = load_sdk,
        sleep: Callable[[float], object] = time.sleep,
        backoff: float = 0.5,
    ) -> None:
        self._address = Address.of(base_url, api_key)
        self._origin: Origin = "found" if is_found else "setting" if base_url else "default"
        self._faults = Faults(self._address.url, self._address.secrets, self._origin, self._address.hint)
        self._is_open = self._address.below is not None  # whether a path may still have to be added
        self._is_found = is_found
        self._model = model or None
        self._found: str | None = None
        self._gone: set[str] = set()  # chosen names that the server does not have
        self._first_byte, self._stall = first_byte_timeout, stall_timeout
        self._load, self._sleep, self._backoff, self._watch = load, sleep, backoff, watch
        self._profile = Profile(profiles or Profiles(), self._address.url)
        self._contexts = Contexts(self._profile, self._look if self._origin != "default" else None)
        self._lock = threading.Lock()
        self._loaded: Client | None = None
        self._left: Client | None = None  # for the address without its path: a question may be about to use it

    def models(self) -> list[str]:
        """List the server's models. Raises `ModelError`."""
        rows = self._listing()
        self._contexts.take_listing(rows)
        names = [row.name for row in rows]
        self._gone.difference_update(names)
        if self._found not in names:
            self._found = default_of(rows, self._address.host)
        return names

    def _listing(self) -> list[Row]:
        """Ask for the list of models, below `/v1` too where the address has no path; then all is asked there."""
        client, address = self._client(), self._address
        try:
            rows = self._listed(client, address, self._faults)
        except ModelError as fault:
            if self._address is not address:  # another question has found the path meanwhile
                return self._listing()
            if not self._is_open or address.below is None or fault.code in _NOT_HEARD:
                raise
            return self._listing_below(client, address.below, fault)
        self._is_open = False
        return rows

    def _find_path(self) -> None:
        if self._is_open:
            with suppress(ModelError):  # the question itself reports the fault
                self.models()

    def _listing_below(self, before: Client, address: Address, fault: ModelError) -> list[Row]:
        faults = Faults(address.url, address.secrets, self._origin, address.hint)
        client = self._made(self._load(), address)
        rows, second = list[Row](), None
        try:
            rows = self._listed(client, address, faults)
        except ModelError as exc:
            second = exc
        if second and (second.code != "model_auth" or fault.code == "model_auth"):
            client.close()
            self._is_open = second.code in _NOT_HEARD
            raise fault
        with self._lock:
            is_first = self._loaded is before
            if is_first:
                log.info("the model server at %s is asked at %s", self._address.url, address.url)
                self._address, self._faults, self._loaded, self._is_open = address, faults, client, False
                self._left = before
        if not is_first:
            client.close()
        if second:
            raise second
        return rows

    def _listed(self, client: Client, address: Address, faults: Faults) -> list[Row]:
        """Return the rows of the list of models. Raises `ModelError`, also where the answer is no list."""
        patience = Patience(min(self._first_byte, CONNECT_SECONDS), min(self._stall, CONNECT_SECONDS))
        body = bytearray()
        with (
            _closed_when_cancelled(),
            self._translating(client, "", patience, faults),
            client.models(patience.limit) as response,
        ):
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_LISTING or patience.left() < 0.01:
                    raise broken("its list of models does not end")
        try:
            return rows_in(bytes(body))
        except (ValueError, RecursionError):
            raise _no_list(bytes(body), address, faults) from None

    def default_model(self) -> str | None:
        """Name the configured model, else the server's first that can chat; None when it has none."""
        if self._model is not None and self._model not in self._gone:
            return self._model
        if self._found is None:
            self.models()
        return self._found

    def model_for(self, wanted: str | None) -> str | None:
        """Name the model that answers where this one was chosen: it, as far as is known, or else the default."""
        return wanted if wanted and wanted not in self._gone else self.default_model()

    def room(self, model: str | None) -> Room:
        """Say how much the model reads at once; look it up where no list told it. Raises `ModelError`."""
        name = self.model_for(model)
        if name is None:
            return Room()
        if self._contexts.wants_listing(name):
            with suppress(ModelError):  # the question itself reports the fault
                self.models()
        return self._contexts.room(name)

    def _look(self, path: str, body: dict[str, Any] | None, seconds: float) -> Any:
        return self._client().look(path, body, seconds)

    def close(self) -> None:
        """Close idle connections. The provider can be used again."""
        with self._lock:
            clients = [client for client in (self._loaded, self._left) if client is not None]
            self._loaded = self._left = None
        for client in clients:
            client.close()

    def ask(self, question: Question) -> Generator[Part, None, None]:
        """Ask, again where that may help, and yield the parts of the turn. Raises `ModelError`."""
        self._find_path()
        model = self.model_for(question.model)
        if question.model and model and model != question.model:
            yield Notice("model_changed", {"before": question.model, "model": model})
        if model is None:
            raise ModelError(
                f"The model server at {self._address.url} lists no model that can chat. Set DEECHAT_MODEL.",
                code="model_not_found",
            )
        yield from self._ask_until_it_works(question, model)

    def _ask_until_it_works(self, question: Question, model: str) -> Generator[Part, None, None]:
        failed = _Failed(self._backoff)
        lessons: list[Lesson] = []  # believed once the request that heeds them works
        taken = others = 0
        while True:
            habits = self._profile.of(model) | {each.code: each.params for each in lessons}
            body = body_of(question, model, habits, self._profile.server)
            try:
                yield from self._ask_once(body, question.tokens)
            except ModelFault as exc:
                fault = exc
                self._contexts.learn(model, fault, question.tokens)
            else:
                for each in lessons:
                    self._profile.learn(model if each.per_model else None, each.code, each.params)
                return
            other = self._instead_of(model, fault) if others < MOST_MODELS else None
            lesson = None if other or fault.late else lesson_of(fault, body, again=failed.times > 0)
            if other is not None:
                yield Notice("model_changed", {"before": model, "model": other})
                model, lessons, others = other, [], others + 1
            elif lesson is not None and taken < MOST_LESSONS and not _is_heeded(lesson, lessons, habits):
                lessons.append(lesson)
                taken += 1
                yield from _told(lesson, model)
            else:
                yield failed.again(fault, model)
                self._sleep(failed.wait)
            del fault  # its traceback holds the body that was sent, for as long as the next answer takes

    def _instead_of(self, model: str, fault: ModelFault) -> str | None:
        """Name the model to ask where the server no longer has one that no setting of this server named."""
        if fault.code != "model_not_found" or not (self._is_found or model == self._found):
            return None
        with suppress(ModelError):
            if model not in self.models():
                self._gone.add(model)
                other = self.default_model()
                return other if other != model else None
        return None

    def _ask_once(self, body: Body, estimated: int) -> Generator[Part, None, None]:
        client, model = self._client(), body.model
        patience = Patience(self._first_byte, self._stall)
        with (
            _closed_when_cancelled(),
            self._translating(client, model, patience),
            client.ask(body.take()) as answer,
        ):
            try:
                yield from self._turn(client, answer, patience, body, estimated)
            except Cancelled as cancelled:
                noticed = time.monotonic()
                answer.close()
                cancelled.upstream_closed_ms = round((time.monotonic() - noticed) * 1000)
                raise

    def _turn(
        self, client: Client, answer: Answer, patience: Patience, body: Body, estimated: int
    ) -> Generator[Part, None, None]:
        model = body.model
        turn = Assembler(
            lambda error: self._faults.said(error, model, late=turn.spoke),
            self._faults.clean,
            answer.content_type,
            tools=body.tools,
            thinks=body.thinks,
        )
        with closing(answer.reads(patience)) as pieces:
            try:
                for piece in pieces:
                    said = False
                    for part in turn.feed(piece):
                        said = True
                        yield part
                    if not said:
                        time.sleep(0)  # a flood that says nothing must not keep the hub from the others
                    if (turn.settled or patience.is_ending) and self._is_over(turn, patience):
                        break
            except client.foreign:
                if not turn.settled:
                    yield from turn.rest()
                    raise
            if turn.done:
                _drain(client, pieces, patience)
        for part in turn.end():
            yield self._noted(part, turn, model, estimated) if isinstance(part, Turn) else part

    def _noted(self, turn: Turn, told: Assembler, model: str, estimated: int) -> Turn:
        """Note how the model's thinking came, and on a turn with calls in which field it is wanted back.

        The server's count of the question's tokens is compared with our estimate.
        """
        if turn.usage is not None:
            self._contexts.count(model, estimated, turn.usage.prompt_tokens)
        if told.learnt is not None:
            (self._profile.learn if told.learnt else self._profile.forget)(model, UNOPENED)
        if told.thought_in is None:
            return turn
        self._profile.learn(model, THINKS_IN, {"field": told.thought_in})
        if not turn.calls:
            return turn
        came = {"field": told.thought_in, "server": self._profile.server, "model": model}
        return msgspec.structs.replace(turn, extra={**turn.extra, THOUGHT: came})

    def _is_over(self, turn: Assembler, patience: Patience) -> bool:
        """Return whether nothing more has to be read; set how long the end may take to come."""
        if not turn.settled:
            patience.go_on()
            return False
        if turn.done or patience.over():
            return True
        patience.end_within(min(self._stall, USAGE_SECONDS))
        return False

    @contextmanager
    def _translating(
        self, client: Client, model: str, patience: Patience, faults: Faults | None = None
    ) -> Iterator[None]:
        try:
            yield
        except client.foreign as exc:
            # `from None`: the foreign error holds the request with its key, and the server's words as they came.
            raise (faults or self._faults).of(exc, model, patience.limit, client.proxy) from None

    def _client(self) -> Client:
        with self._lock:
            if self._loaded is None:
                if not self._address.is_sendable:
                    raise ModelError("OPENAI_API_KEY holds characters that cannot be sent.", code="model_auth")
                self._loaded = self._made(self._load(), self._address)
            return self._loaded

    def _made(self, sdk: Any, address: Address) -> Client:
        try:
            return Client(sdk, address, self._first_byte, self._watch)
        except NoProxyError as exc:
            words = f"The model server at {address.url} cannot be asked: {exc}."
            raise ModelError(words, code="model_unreachable") from None
        except Exception as exc:  # noqa: BLE001  # the environment's proxies and certificates fail in a library's ways
            why = self._faults.clean(f"{type(exc).__name__}: {exc}")
            words = f"The model server at {address.url} cannot be asked ({why}). "
            words += f"{self._faults.advice['url']} Check the proxies and certificates that the environment names."
            raise ModelError(words, code="model_unreachable") from None


def _no_list(body: bytes, address: Address, faults: Faults) -> ModelError:
    """Return the error of an answer that is no list of models, in the server's own words where it has some."""
    with suppress(ValueError, RecursionError):
        answer = json.loads(body)
        if isinstance(answer, dict) and answer.get("error"):
            words = f"The model server at {address.url} says: {faults.clean(words_in(answer))}. {faults.advice['url']}"
            return ModelError(words + address.hint, code="model_error")
    return broken(f"what it has at {address.url}/models is no list of models.{address.hint}".removesuffix("."))


class _Failed:
    """Counts the failures of a question, and says whether and when it is asked again: `wait` is in seconds."""

    def __init__(self, backoff: float) -> None:
        self._backoff = backoff
        self.times = 0
        self.wait = 0.0

    def again(self, fault: ModelFault, model: str) -> Notice:
        """Return the notice of another try; raise the fault where it would not help."""
        self.times += 1
        attempts = {"attempt": self.times, "attempts": RETRIES}
        if fault.garbled and not fault.late and self.times <= RETRIES:
            self.wait = 0.0  # the server is well, and the model may do better at once
            return Notice("call_garbled", {"model": model, **attempts})
        asked = fault.retry_after or 0.0
        if not fault.again or self.times > RETRIES or asked > MAX_RETRY_AFTER:
            raise fault
        chance = random.uniform(1, 1.25)  # noqa: S311 - so that not all come again at once
        self.wait = round(max(self._backoff * 2 ** (self.times - 1) * chance, asked), 2)
        return Notice("model_retry", {"why": fault.why, "seconds": self.wait, **attempts})


def _is_heeded(lesson: Lesson, lessons: list[Lesson], habits: Habits) -> bool:
    """Return whether a request heeded a lesson already, or one like it: taken again it would change nothing."""
    return habits.get(lesson.code) == lesson.params or any(each.code == lesson.code for each in lessons)


def _told(lesson: Lesson, model: str) -> Iterator[Notice]:
    """Yield the notice of a lesson that changes the answer for a person."""
    if lesson.code == NO_TOOLS:
        yield Notice("tools_refused", {"model": model})
    elif lesson.code == f"{NO_FIELD}:max_completion_tokens":
        yield Notice("limit_refused", {"model": model})


@contextmanager
def _closed_when_cancelled() -> Iterator[None]:
    """Note on a `Cancelled` that a connection was being opened: on its way here it has closed it."""
    try:
        yield
    except Cancelled as cancelled:
        # Its traceback would keep the frames, and they a socket in the midst of a TLS handshake.
        traceback.clear_frames(cancelled.__traceback__)
        if cancelled.upstream_closed_ms is None:
            cancelled.upstream_closed_ms = 0
        raise


def _drain(client: Client, pieces: Iterator[bytes], patience: Patience) -> None:
    """Read to the body's end for a moment, so that the connection can be used again."""
    patience.end_within(DRAIN_SECONDS)
    with suppress(*client.foreign):
        while not patience.over() and next(pieces, None) is not None:
            pass
