"""The habits of model servers and of families of models: those known beforehand, and those learnt by asking.

A habit is a code and the values for its words. `KNOWN` is the one place in which a vendor or a family has a name. All
other habits are learnt: from a refusal that the retry proved right, or from an answer. A learnt habit holds for an hour
and is then tried again, since a server changes its mind, or its version.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

LASTS = 3600.0  # seconds for which something learnt holds
MOST = 1_000  # habits that are kept: the names of models come from outside

# Habits of servers, by code; `REFUSALS` and `body_of` give the meaning of each for a request.
NO_SYSTEM = "no_system"
NO_TOOLS = "no_tools"
NO_TOOL_CHOICE = "no_tool_choice"
NO_NULL = "no_null_content"
ONE_CALL = "one_call_a_turn"
ONE_VOICE = "text_or_thought"  # beside calls either text or a thought goes back, not both
NO_EFFORT = "no_thought_with_tools"
THINKS_IN = "thinks_in"  # `field`: where its thoughts come, and go back beside calls
UNOPENED = "thinks_unopened"  # its text begins with thinking that only a closing tag tells from the answer
READS = "reads"  # `tokens`: as much as it reads at once
NO_FIELD = "no_field"  # and ":" and the name of a field of the body, or of a message, that is refused


class Family(NamedTuple):
    """Models whose habits are known beforehand: a pattern of their names, and the habits."""

    name: re.Pattern[str]
    habits: tuple[str, ...]


# Only habits that cannot be learnt, or not without harm.
KNOWN = (
    # Gemma 1 and 2: their template knows no system role, and some servers answer a bare 500 (sgl-project/sglang#892).
    # A server that would have taken it puts the words in the same place.
    Family(re.compile(r"(?<![a-z])(code)?gemma(-1\.1|-?2)?[-:]\d+b", re.IGNORECASE), (NO_SYSTEM,)),
)


# The models to begin with at a host that has dozens and says nothing of them but their names: the first that it lists.
FIRST_CHOICES = {"api.openai.com": ("gpt-6-luna", "gpt-5.4-mini", "gpt-4.1-mini")}


class Habit(msgspec.Struct, frozen=True):
    """A habit of a model at a server, or of all its models (`model` None).

    `at` is when it was learnt, in Unix seconds; None: it is known beforehand, and cannot be forgotten.
    """

    server: str
    model: str | None
    code: str
    params: dict[str, Any] = {}
    at: float | None = None

    @property
    def words(self) -> tuple[str, dict[str, Any]]:
        """The code of its words, and the values for them: a field has its name behind the code."""
        code, _, field = self.code.partition(":")
        return code, {**self.params, "field": field} if field else self.params


class Profiles:
    """The habits of all servers. They are in memory alone: after a restart each costs one refused request."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._learnt: dict[tuple[str, str | None, str], Habit] = {}

    def learn(self, server: str, model: str | None, code: str, params: Mapping[str, Any] | None = None) -> None:
        """Note a habit, from now on."""
        key = (server, model, code)
        self._learnt.pop(key, None)
        self._learnt[key] = Habit(server, model, code, dict(params or {}), self._clock())
        while len(self._learnt) > MOST:
            del self._learnt[next(iter(self._learnt))]

    def forget(self, code: str | None = None, model: str | None = None, server: str | None = None) -> None:
        """Forget a habit of this model, or of all models; without a code all learnt habits.

        At this server; at all servers without one.
        """
        for key, habit in list(self._learnt.items()):
            if (code is None or (habit.code, habit.model) == (code, model)) and server in {None, habit.server}:
                self._learnt.pop(key, None)

    def of(self, server: str, model: str) -> dict[str, dict[str, Any]]:
        """Return the habits that count for a model: the values for the words of each, by its code."""
        ours = [each for each in self._holding() if each.server == server and each.model in {None, model}]
        return {each.code: each.params for each in (*known_of(model), *ours)}

    def shown(self, model: str | None) -> list[Habit]:
        """List the habits that count for a model: first the known ones, then the learnt ones, oldest first.

        Without a model: all learnt ones.
        """
        learnt = self._holding()
        if model is None:
            return learnt
        return known_of(model) + [each for each in learnt if each.model in {None, model}]

    def _holding(self) -> list[Habit]:
        """List the learnt habits that hold, oldest first."""
        now = self._clock()
        # Once the clock was set back a habit's moment is still to come: such a habit is tried again, too.
        return [
            each for each in list(self._learnt.values()) if each.at is not None and each.at <= now < each.at + LASTS
        ]


def known_of(model: str) -> list[Habit]:
    """List the habits that are known beforehand of a model, at all servers."""
    return [Habit("", model, code) for family in KNOWN if family.name.search(model) for code in family.habits]


class Profile(NamedTuple):
    """One server's part of the profiles."""

    profiles: Profiles
    server: str

    def of(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the habits that count for a model."""
        return self.profiles.of(self.server, model)

    def learn(self, model: str | None, code: str, params: Mapping[str, Any] | None = None) -> None:
        """Note a habit."""
        self.profiles.learn(self.server, model, code, params)

    def forget(self, model: str, code: str) -> None:
        """Forget a habit that an answer proved wrong."""
        self.profiles.forget(code, model, self.server)
