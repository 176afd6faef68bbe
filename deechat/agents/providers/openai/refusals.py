"""The lesson of a server's refusal: one table from words to a habit.

Only a refusal of the request is evidence: a 4xx. The model's text is none, and is left out of the words that are looked
at. Some servers refuse with 5xx, or in a stream without a status. There only words that cannot mean anything else
count, and with 5xx only when they were said twice. A lesson is believed when the request that heeds it works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from deechat.agents.providers.openai.chunks import KEPT_FIELDS, THOUGHT_FIELDS
from deechat.agents.providers.openai.faults import ModelFault
from deechat.agents.providers.openai.profiles import (
    NO_EFFORT,
    NO_FIELD,
    NO_NULL,
    NO_SYSTEM,
    NO_TOOL_CHOICE,
    NO_TOOLS,
    ONE_CALL,
    ONE_VOICE,
    THINKS_IN,
)
from deechat.agents.providers.openai.request import CALLS, TOOL_ROLE, Body

_DENIED = (
    r"(n't support|not support|unsupported|no support|no endpoints found|only the default|deprecated|requires? -"
    r"|not (enabled|available|allowed|permitted|implemented)|unknown|unrecognized|unexpected"
    r"|extra (inputs|fields)|extra_forbidden|additional propert)"
)
_REQUEST = frozenset({400, 422})
_TOOLS = r"(\btools?\b|\btool[_ -](choice|calls?|calling|use)|\bfunctions?\b|\bfunction[_ -]?call\w*)"
_NO_SCHEMA = r"^(?!.*schema)"  # a tool's schema that is refused is our mistake, and no reason to do without tools
# Every template that knows the roles takes the order of our messages, so a refusal of the order is one of a role.
_ORDER = r"roles? must alternate|alternate (between )?.?user|only .?user.? and .?assistant.? (roles|messages)"
_NO_ROLE = rf"({_DENIED}|invalid|not one of|no such|expected)"


def _near(what: str) -> str:
    return rf"{what}.{{0,120}}{_DENIED}|{_DENIED}.{{0,120}}{what}"


class Refusal(NamedTuple):
    """A part of requests that servers refuse.

    `shows` is the part's name in `Body.shows`, `words` match the refusal. `clearly` matches words that also count with
    a 5xx. The lesson is the habit `code`, of this model or of the whole server.
    """

    shows: str
    words: re.Pattern[str]
    code: str
    per_model: bool = True
    clearly: re.Pattern[str] | None = None
    statuses: frozenset[int] = _REQUEST


def _of(shows: str, words: str, code: str, clearly: str | None = None, **more: Any) -> Refusal:
    pattern = None if clearly is None else re.compile(clearly, re.DOTALL)
    return Refusal(shows, re.compile(words, re.DOTALL), code, clearly=pattern, **more)


def _field(name: str) -> Refusal:
    return _of(name, _near(rf"\b{name}\b"), f"{NO_FIELD}:{name}")


# The first row that fits is the one.
REFUSALS = (
    _of("stream_options", "stream_options|include_usage", f"{NO_FIELD}:stream_options", per_model=False),
    _of("text_and_thought", "both content and (thinking|reasoning)", ONE_VOICE, clearly="both content and thinking"),
    _field("temperature"),
    _field("max_tokens"),
    _field("max_completion_tokens"),
    *map(_field, (*THOUGHT_FIELDS, *KEPT_FIELDS, "extra_content")),
    _of(
        "null_content",
        r"\bcontent\b.{0,80}(\bnull\b|\bnil\b|\bnone\b|must be a string|expected a string|a valid string)"
        r"|\b(null|nil|none)\b.{0,40}\bcontent\b|\bcontent\b.{0,20}\brequired|required.{0,20}\bcontent\b",
        NO_NULL,
        clearly="content' field must be a string|message content type|expected a string, got null",
    ),
    _of(
        "system",
        rf"\bsystem\b.{{0,60}}{_NO_ROLE}|{_NO_ROLE}.{{0,60}}\bsystem\b|developer instruction is not enabled|{_ORDER}"
        r"|role.{0,80}(must|should) be.{0,30}\buser\b",
        NO_SYSTEM,
        clearly=rf"system role (is )?not supported|{_ORDER}",
    ),
    _of(
        "several_calls", r"single tool.?calls?|parallel (tool|function).?call", ONE_CALL, clearly="single tool.?calls?"
    ),
    _of(TOOL_ROLE, rf"{_ORDER}|\brole\b.{{0,60}}\btool\b|\btool\b.{{0,30}}\brole\b", NO_TOOLS, clearly=_ORDER),
    _of("tools", r"\breasoning_effort\b.{0,40}\bnone\b", NO_EFFORT),  # it names the tools too, and takes them
    _of(
        "tools",
        rf"{_NO_SCHEMA}.*({_near(_TOOLS)})",
        NO_TOOLS,
        clearly=rf"tools? param\w* requires|n[o']t support (for )?{_TOOLS}"
        rf"|{_TOOLS}( \w+){{0,2}} (is|are) (not|un).?(supported|enabled|implemented)",
        statuses=_REQUEST | {404, 405},
    ),
)

# Acts of a model that it would repeat as long as it sees tools: these count though the words are about a call.
DISOBEYED = (_of("tool_choice", "tool choice is none, but (the )?model called", NO_TOOL_CHOICE),)

_LACKS = r"(missing|must be (passed|sent|given|provided)|is required)"
_DEMANDS = [
    (field, re.compile(rf"\b{field}\b.{{0,60}}{_LACKS}|missing.{{0,40}}\b{field}\b", re.DOTALL))
    for field in THOUGHT_FIELDS
]
_NOTHING: Mapping[str, Any] = {}


class Lesson(NamedTuple):
    """A habit that a refusal suggests; it counts for this model, or for all of the server."""

    code: str
    params: Mapping[str, Any] = _NOTHING
    per_model: bool = True


def lesson_of(fault: ModelFault, body: Body, *, again: bool) -> Lesson | None:
    """Return the lesson of a refusal of this request, or of a demand; None for none.

    `again`: the same request failed before. A refusal of tools that came with `tool_choice` may be one of that field
    alone, and is taken for it.
    """
    if fault.code == "context_length":
        return None
    for row in DISOBEYED if fault.garbled else REFUSALS:
        if row.shows in body.shows and _fits(row, fault, again=again):
            code = NO_TOOL_CHOICE if row.code == NO_TOOLS and "tool_choice" in body.shows else row.code
            return Lesson(code, per_model=row.per_model)
    return None if fault.garbled else _demanded(fault, body)


def _fits(row: Refusal, fault: ModelFault, *, again: bool) -> bool:
    if fault.status_said in row.statuses:
        return bool(row.words.search(fault.evidence))
    # Without a status it came in a stream that says nothing else: some servers begin one before they look.
    counts = again if fault.status_said >= 500 else not fault.status_said
    return counts and row.clearly is not None and bool(row.clearly.search(fault.evidence))


def _demanded(fault: ModelFault, body: Body) -> Lesson | None:
    """Return the lesson of a server that wants thoughts back in a field that the request lacks; None for none."""
    if CALLS not in body.shows or fault.status_said not in _REQUEST:
        return None
    field = next((field for field, words in _DEMANDS if words.search(fault.evidence)), None)
    return Lesson(THINKS_IN, {"field": field}) if field and field not in body.shows else None
