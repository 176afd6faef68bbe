"""How much each model of a server reads at once, from its lists, its own routes, its refusals and its counts.

Servers tell the length in the rows of their list of models, in routes of their own, or in the words of a refusal. The
tokens that they count in a question correct our estimate of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from deechat.agents.providers.base import Room
from deechat.agents.providers.openai.faults import ModelFault
from deechat.agents.providers.openai.listing import Row
from deechat.agents.providers.openai.profiles import READS, Profile

T = TypeVar("T")

LEAST, MOST = 512, 100_000_000  # tokens of a length that is believed
LOOK_AGAIN = 300.0  # seconds: a server may be started anew with another length
LOOK_SOON = 10.0  # seconds, where the length is a guess until the model is loaded
LOOK_SECONDS = 2.0  # for all routes together on which a server tells a model's length beside the protocol
MOST_MODELS = 5_000  # models of a server of which something is kept
MAX_PARAMETERS = 64_000  # characters of a model's parameters that are read
USUAL = 4096  # where a server loads a model with its own default, and the model is not loaded yet
COUNTED_FROM = 500  # estimated tokens of a question: in a shorter one the template's own weigh too much
RATIOS = (0.5, 4.0)  # bounds of its count / our estimate

Look = Callable[[str, "dict[str, Any] | None"], Any]  # a path of the server and a body to its JSON; None without one
TimedLook = Callable[[str, "dict[str, Any] | None", float], Any]  # likewise, in so many seconds

# Fields of a model's row: the length that it is served with, and the length that it could have.
_SERVED = (
    ("loaded_context_length",),
    ("meta", "n_ctx"),
    ("max_model_len",),
    ("context_length",),
    ("context_window",),
    ("max_context_length",),
    ("max_input_tokens",),
)
_POSSIBLE = (("max_context_length",), ("meta", "n_ctx_train"))
_ALSO = ("top_provider", "context_length")  # of the provider that answers, where several serve a model

_NUMBER = r"(\d[\d,_]*)"
_LIMITS = [
    re.compile(pattern.replace("#", _NUMBER))
    for pattern in (
        r'"n_ctx": #',
        r"n_ctx: #",
        r"maximum (?:context|prompt|model|input) length (?:is|of) #",
        r"context limit: [\d,]+ \+ [\d,]+ > #",
        r"tokens > # maximum",
        r"with # maximum context",
        r"context length of only #",
        r"context (?:length|window|size)\D{0,30}#",
        r"number of tokens allowed \(#",
        r"must be <= #",
        r"limit #, requested",
    )
]
_SENT = [
    re.compile(pattern.replace("#", _NUMBER))
    for pattern in (
        r'"n_prompt_tokens": #',
        r"n_keep: #",
        r"\(# (?:in the messages|in your prompt|of text input)",
        r"(?:resulted in|request has|contains?|keep the first|prompt is too long:|context limit:) (?:at least )?#",
        r"(?:token count|requested tokens|the input) \(#",
        r"given: #",
        r"requested:? (?:about )?#",
    )
]


class Told(NamedTuple):
    """A model's length by its server's word, None where unknown, and the length that it could have by a setting."""

    length: int | None
    could: int | None = None
    remedy: str = ""
    is_guess: bool = False


class Contexts:
    """The lengths of the models of one server; a learnt length is noted in its `profile`.

    `look` asks a route of its own; None where there are none to ask. The newest list of models is kept.
    """

    def __init__(
        self, profile: Profile, look: TimedLook | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._profile, self._look, self._clock = profile, look, clock
        self._listed: dict[str, Told] = {}
        self._wanted: dict[str, float] = {}
        self._looked: dict[str, tuple[float, Told]] = {}
        self._ratios: dict[str, float] = {}

    def take_listing(self, rows: Iterable[Row]) -> None:
        """Take the lengths from the server's list of models; those of the list before are gone."""
        self._listed = {row.name: _told_in(row.fields) for row in islice(rows, MOST_MODELS)}

    def wants_listing(self, model: str) -> bool:
        """Say whether the list of models has to be read for this one; once in a while, where it does not name it."""
        if model in self._listed or self._clock() - self._wanted.get(model, -LOOK_AGAIN) < LOOK_AGAIN:
            return False
        _keep(self._wanted, model, self._clock())
        return True

    def room(self, model: str) -> Room:
        """Return the room of a model; a length that no list tells is looked up, again after a while."""
        told = self._listed.get(model, Told(None))
        if told.length is None:
            told = self._looked_up(model, told)
        return Room(
            self._learnt_of(model) or told.length,
            self._ratios.get(model, 1.0),
            told.could,
            told.remedy or "its settings",
        )

    def _looked_up(self, model: str, listed: Told) -> Told:
        until, told = self._looked.get(model, (float("-inf"), listed))
        if self._look is None or self._clock() < until:
            return told
        look = self._within(LOOK_SECONDS, self._look)
        found = next((found for probe in PROBES if (found := probe(look, model))), None)
        told = found or listed
        _keep(self._looked, model, (self._clock() + (LOOK_SOON if told.is_guess else LOOK_AGAIN), told))
        return told

    def _within(self, seconds: float, timed: TimedLook) -> Look:
        """Return a `Look` whose calls have so many seconds together."""
        until = self._clock() + seconds

        def look(path: str, body: dict[str, Any] | None) -> Any:
            left = until - self._clock()
            return timed(path, body, left) if left > 0 else None

        return look

    def learn(self, model: str, fault: ModelFault, estimated: int) -> None:
        """Take the model's length from the words of a refusal of that kind, or else half of the tokens sent."""
        if fault.code != "context_length":
            return
        evidence = fault.evidence
        limit, sent = _number(_LIMITS, evidence), _number(_SENT, evidence)
        if estimated and sent and limit and sent > limit // 2:
            _keep(self._ratios, model, min(max(sent / estimated, RATIOS[0]), RATIOS[1]))
        elif estimated and limit:
            _keep(self._ratios, model, min(max(self._ratios.get(model, 1.0), limit / estimated), RATIOS[1]))
        self._learn(model, limit or max(LEAST, int(estimated * self._ratios.get(model, 1.0)) // 2))

    def count(self, model: str, estimated: int, counted: int) -> None:
        """Compare the server's count of a question's tokens with our estimate.

        A server that counts far fewer has left out the rest, without a word; the count tells its length.
        """
        if estimated < COUNTED_FROM:
            return
        ratio = counted / estimated
        if RATIOS[0] <= ratio <= RATIOS[1]:
            _keep(self._ratios, model, ratio)
        elif ratio < RATIOS[0] and (length := _clipped_at(counted)):
            self._learn(model, length)

    def _learn(self, model: str, length: int) -> None:
        self._profile.learn(model, READS, {"tokens": length})

    def _learnt_of(self, model: str) -> int | None:
        return _length(self._profile.of(model).get(READS, {}).get("tokens"))


def _keep(kept: dict[str, T], model: str, value: T) -> None:
    """Keep a value of a model; of too many models the one that was known first is forgotten."""
    kept[model] = value
    if len(kept) > MOST_MODELS:
        del kept[next(iter(kept))]


def _clipped_at(counted: int) -> int | None:
    """Return the length of a context that so many tokens fill, or fill to its half and a few that are always kept.

    Lengths are powers of two. None when it is near none.
    """
    for length in (1 << power for power in range(10, 21)):
        if length * 0.98 <= counted <= length:
            return length
        if length < counted <= length + 8:
            return 2 * length
    return None


def _number(patterns: list[re.Pattern[str]], words: str) -> int | None:
    found = (match for pattern in patterns if (match := pattern.search(words)))
    return next((number for match in found if (number := _length(re.sub("[,_]", "", match[1])))), None)


def _length(value: Any) -> int | None:
    """Return a length that can be believed; it came over the wire and may be anything."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and LEAST <= value <= MOST
    return int(value) if whole else None


def _at(row: Any, path: tuple[str, ...]) -> int | None:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return _length(row)


def _told_in(row: Mapping[str, Any]) -> Told:
    length, could = (next(filter(None, (_at(row, path) for path in paths)), None) for paths in (_SERVED, _POSSIBLE))
    provided = _at(row, _ALSO)
    return Told(min(length, provided) if length and provided else length or provided, could)


# -- routes of servers' own --------------------------------------------------------------------------------------------


def _of_model(answer: Any, name: str, model: str) -> dict[str, Any] | None:
    """Return the row of a model in the list that stands under this name in an answer."""
    rows = answer.get(name) if isinstance(answer, dict) else None
    wanted = (model, f"{model}:latest")
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return next((row for row in found if any(row.get(key) in wanted for key in ("id", "model", "name"))), None)


def _ollama(look: Look, model: str) -> Told | None:
    """Ask for the loaded models and their lengths, and for the length that the model could have."""
    running = look("/api/ps", None)
    if not isinstance(running, dict) or "models" not in running:
        return None
    said = look("/api/show", {"model": model})
    shown = said if isinstance(said, dict) else {}
    info = shown.get("model_info")
    info = info if isinstance(info, dict) else {}
    lengths = [_length(value) for name, value in info.items() if name.endswith(".context_length")]
    could = next(filter(None, lengths), None)
    loaded = _at(_of_model(running, "models", model), ("context_length",))
    known = loaded or _num_ctx(shown.get("parameters"))
    return Told(known or min(could or USUAL, USUAL), could, "OLLAMA_CONTEXT_LENGTH", is_guess=not loaded)


def _num_ctx(parameters: Any) -> int | None:
    """Return the length among a model's own parameters, one a line. A pattern over lines may take long for any text."""
    lines = parameters[:MAX_PARAMETERS].splitlines() if isinstance(parameters, str) else []
    named = (words[1] for line in lines if len(words := line.split(None, 2)) > 1 and words[0] == "num_ctx")
    return next(filter(None, map(_length, named)), None)


def _llama_cpp(look: Look, _model: str) -> Told | None:
    length = _at(look("/props", None), ("default_generation_settings", "n_ctx"))
    return Told(length, remedy="--ctx-size") if length else None


def _lm_studio(look: Look, model: str) -> Told | None:
    row = _of_model(look("/api/v0/models", None), "data", model)
    length = _at(row, ("loaded_context_length",))
    if length is None:
        return None
    return Told(length, _at(row, ("max_context_length",)), "the context length with which it loads the model")


PROBES: tuple[Callable[[Look, str], Told | None], ...] = (_ollama, _llama_cpp, _lm_studio)
