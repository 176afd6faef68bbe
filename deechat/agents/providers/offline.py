"""Answers without a model server: arithmetic, dates, pages and questions by calling the tools, else how to connect a
model.

It goes through the same loop as a model does: it asks for tool calls and phrases their results. It imitates nothing and
guesses nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from deechat.agents.providers.base import (
    REFUSED,
    UNANSWERED,
    UNSAID,
    AssistantMessage,
    Message,
    Part,
    Question,
    Room,
    Text,
    ToolMessage,
    Turn,
    UserMessage,
)
from deechat.agents.providers.offline_reading import Wish, read
from deechat.agents.providers.offline_words import QUESTIONS, SKIPPED, say, weekday
from deechat.events import ToolCall

CALCULATOR, CLOCK, WEB, ASK = "calculator", "current_time", "web_fetch", "ask_user"
ENOUGH = 32_768  # tokens of a conversation, of which the last message is read
LONGEST_EXCERPT = 600  # characters of a page
LONGEST_STREAM = 1.2  # seconds for a whole answer, however long
PAUSE = 0.02  # seconds between two pieces, at most

_PIECE = re.compile(r"[\u3400-\u9fff]{1,2}[^\w\s]*|[^\s\u3400-\u9fff]+\s*|\s+")
_VALUE = re.compile(r"-?[0-9][0-9.]*(?:e-?[0-9]+)?|about -?[0-9.]+e[+-]?[0-9]+ \([0-9,]+ digits\)")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}")


class OfflineProvider:
    """The provider for when there is no model. `pause` is called with seconds between two pieces of an answer."""

    name = "offline"

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._pause = pause

    def models(self) -> list[str]:
        return ["offline"]

    def model_for(self, wanted: str | None) -> str | None:  # noqa: ARG002 - there is no other
        return self.default_model()

    def default_model(self) -> str | None:
        return "offline"

    def room(self, model: str | None) -> Room:  # noqa: ARG002 - there is no other
        return Room(ENOUGH, writes=False)

    def ask(self, question: Question) -> Generator[Part, None, None]:
        """Answers the last message: with the results of the calls if there are some, else with calls or words."""
        text, calls = _answer(question)
        yield from self._streamed(text)
        yield Turn("tool_calls" if calls else "stop", calls)

    def _streamed(self, text: str) -> Iterator[Text]:
        pieces = _PIECE.findall(text)
        for at, piece in enumerate(pieces):
            if at:
                self._pause(min(PAUSE, LONGEST_STREAM / len(pieces)))
            yield Text(piece)


def _answer(question: Question) -> tuple[str, tuple[ToolCall, ...]]:
    """Gives the turn's words and its calls."""
    messages = question.messages
    said = [(at, message.text) for at, message in enumerate(messages) if isinstance(message, UserMessage)]
    if not said:
        return say("help", "en"), ()
    last, text = said[-1]
    if results := _results(messages[last + 1 :]):
        return _phrased(results, read(text)), ()
    words, calls = _taken_up(read(text), question)
    before, text = said[-2] if len(said) > 1 else (last, "")
    since = [message for message in messages[before + 1 : last] if message != AssistantMessage(UNSAID)]
    if since and isinstance(since[-1], ToolMessage):
        # Somebody steered while the tools ran: what was asked before gets its answer first.
        words = f"{_phrased(_results(since), read(text))}\n\n{words}".rstrip()
    return words, calls


def _taken_up(wish: Wish, question: Question) -> tuple[str, tuple[ToolCall, ...]]:
    """Gives the words or the calls that a wish takes."""
    calls = _calls(wish)
    names = {call.name for call in calls}
    if not calls:
        return say(wish.topic or "no_model", wish.language), ()
    if question.tool_choice == "none" or names - {tool.name for tool in question.tools}:
        return say("no_tools", wish.language, names="`, `".join(sorted(names))), ()
    return "", calls


def _calls(wish: Wish) -> tuple[ToolCall, ...]:
    """Lists the calls that the wish takes."""
    calls = [_call(CALCULATOR, {"expression": expression}) for expression in wish.sums]
    if wish.place is not None or wish.day:
        calls.append(_call(CLOCK, {"timezone": wish.place} if wish.place else {}))
    if wish.page:
        calls.append(_call(WEB, {"url": wish.page}))
    if wish.asked:
        calls.append(_call(ASK, {"questions": QUESTIONS[wish.language]}))
    return tuple(calls)


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    return ToolCall("", name, msgspec.json.encode(arguments).decode())


def _results(messages: Sequence[Message]) -> list[tuple[ToolCall, ToolMessage]]:
    """Pairs the calls since the last thing that was said by a person with what they gave."""
    calls = {call.id: call for message in messages if isinstance(message, AssistantMessage) for call in message.calls}
    return [
        (calls.get(message.call_id, ToolCall(message.call_id, message.name, "{}")), message)
        for message in messages
        if isinstance(message, ToolMessage)
    ]


def _phrased(results: list[tuple[ToolCall, ToolMessage]], wish: Wish) -> str:
    """Says what the calls gave, each in a paragraph of its own."""
    return "\n\n".join(_paragraph(call, given, wish) for call, given in results)


def _paragraph(call: ToolCall, given: ToolMessage, wish: Wish) -> str:
    phrases = {CALCULATOR: _value, CLOCK: _time, WEB: _page, ASK: _answers}
    not_done = {REFUSED: "refused", UNANSWERED: "unanswered"}.get(given.content) if given.is_error else None
    if not_done:
        suffix = {WEB: "_page", ASK: "_questions"}.get(call.name, "")
        return say(not_done + suffix, wish.language, asked=_argument(call, "url") or call.name)
    if given.is_error and call.name in {WEB, ASK}:
        return say(f"no_{call.name}", wish.language, asked=_argument(call, "url"), result=given.content)
    return phrases.get(call.name, _other)(call, given.content, wish)


def _value(call: ToolCall, content: str, wish: Wish) -> str:
    key = "value" if _VALUE.fullmatch(content) else "no_value"
    return say(key, wish.language, asked=_argument(call, "expression"), result=content)


def _time(call: ToolCall, content: str, wish: Wish) -> str:
    match = _ISO.search(content)
    if not match:
        return say("no_time", wish.language, result=content)
    now = datetime.fromisoformat(match[0])
    if wish.day:
        return _day(wish.day, now.date(), wish.language)
    place = _argument(call, "timezone")
    return say(
        "time_there" if place else "time_here",
        wish.language,
        asked=place,
        time=f"{now:%H:%M}",
        weekday=weekday(now.weekday(), wish.language),
        date=f"{now:%Y-%m-%d}",
        offset=match[0][-6:],
    )


def _day(day: date, today: date, language: str) -> str:
    """Says how far a day is from today, and which day of the week it is."""
    days = (day - today).days
    key = "day_today" if not days else "day_ahead" if days > 0 else "day_past"
    named = weekday(day.weekday(), language)
    unit = "day" if abs(days) == 1 else "days"
    return say(key, language, day=day, today=today, days=abs(days), unit=unit, weekday=named)


def _page(call: ToolCall, content: str, wish: Wish) -> str:
    """Tells how a page begins; to sum it up takes a model."""
    text = content.strip()
    if len(text) > LONGEST_EXCERPT:
        text = text[:LONGEST_EXCERPT].rsplit(maxsplit=1)[0] + " …"
    quoted = "\n".join(f"> {line}".rstrip() for line in text.splitlines())
    return say("page", wish.language, asked=_argument(call, "url") or call.name, result=quoted)


def _answers(_call: ToolCall, content: str, wish: Wish) -> str:
    lines = [line.replace("(skipped)", SKIPPED[wish.language]) for line in content.splitlines() if line.strip()]
    return say("answers", wish.language, result="\n".join(f"- {line}" for line in lines))


def _other(call: ToolCall, content: str, wish: Wish) -> str:
    return say("other_result", wish.language, asked=call.name, result=content)


def _argument(call: ToolCall, name: str) -> str:
    """Gives an argument of a call that this provider wrote, '' if it is not there."""
    try:
        return str(msgspec.json.decode(call.arguments, type=dict[str, Any]).get(name, ""))
    except msgspec.DecodeError:
        return ""
