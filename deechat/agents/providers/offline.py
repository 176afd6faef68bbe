"""Answers without a model server: sums, the time, pages and questions by tools, else how to connect a model.

It goes through the same loop as a model: it asks for tool calls and phrases their results. It reads a message clause by
clause, by patterns, and guesses nothing. The words in them are those that each language has in `understood`; how a sum,
an address or a date is written is the same in all, and stands here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from deechat import locale
from deechat.agents.providers.base import Part, Question, Room, Text, Turn
from deechat.events import ToolCall
from deechat.locale import ENGLISH, understood, words
from deechat.messages import REFUSED, UNANSWERED, UNSAID, AssistantMessage, Message, ToolMessage, UserMessage

CALCULATOR, CLOCK, WEB, ASK = "calculator", "current_time", "web_fetch", "ask_user"
ENOUGH = 32_768  # tokens of a conversation, of which the last message is read
LONGEST = 1_000  # characters of a message that is read; a longer one is for a model
MOST_CALLS = 4
LONGEST_EXCERPT = 600  # characters of a page
LONGEST_STREAM = 1.2  # seconds for a whole answer, however long
PAUSE = 0.02  # seconds between two pieces, at most

_PIECE = re.compile(r"[\u3400-\u9fff]{1,2}[^\w\s]*|[^\s\u3400-\u9fff]+\s*|\s+")


class OfflineProvider:
    """The provider without a model. `pause` is called with seconds between two pieces of an answer."""

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
        """Answer the last message: with the results of the calls if there are some, else with calls or words."""
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
    """Return the turn's words and its calls."""
    messages = question.messages
    said = [(at, message.text) for at, message in enumerate(messages) if isinstance(message, UserMessage)]
    if not said:
        return _topic_words("help", _language("", question.language)), ()
    (last, text), before = said[-1], said[-2:-1]
    language = _language(text, question.language)
    if results := _phrased(messages[last + 1 :], language):
        return results, ()
    topic, calls = _read(text, language)
    names = {call.name for call in calls}
    told = "" if calls else _topic_words(topic, language)
    if calls and (question.tool_choice == "none" or names - {tool.name for tool in question.tools}):
        told, calls = locale.say("offline", language, "no_tools", names="`, `".join(sorted(names))), ()
    for at, asked in before:
        since = [message for message in messages[at + 1 : last] if message != AssistantMessage(UNSAID)]
        if since and isinstance(since[-1], ToolMessage):
            # The message joined while tools ran: the one before it gets its answer first.
            told = f"{_phrased(since, _language(asked, question.language))}\n\n{told}".rstrip()
    return told, calls


def _topic_words(topic: str, language: str) -> str:
    """Return what is said of a topic; of some, how to connect a model too."""
    told = locale.say("offline", language, topic)
    return f"{told}\n\n{locale.say('offline', language, 'connect')}" if topic in {"help", "no_model"} else told


# -- reading -----------------------------------------------------------------------------------------------------------


def _any(key: str) -> str:
    """Return a pattern for what a key means in any language."""
    return "|".join(understood(key).values())


_TOPIC = {topic: re.compile(_any(topic), re.IGNORECASE) for topic in ("greeting", "thanks", "help")}
_CLAUSES = re.compile(rf"[;，。?\n]|{_any('next_clause')}", re.IGNORECASE)

# An address alone is no wish: a person has to say that it is to be read.
_ADDRESS = re.compile(r"https?://[^\s\u3000-\u9fff\uff00-\uffef<>\"'`]+", re.IGNORECASE)
_TO_READ = re.compile(_any("read_page"), re.IGNORECASE)
_ASK_ME = re.compile(_any("ask_me"), re.IGNORECASE)
_TIMES = [re.compile(pattern, re.IGNORECASE) for pattern in understood("time").values()]
# A sum is all of a clause but the words that ask for it. The possessive group reads each character once.
_ASKED = re.compile(rf"(?:{_any('before_sum')})?(?:{_any('work_out')})?[\s:]*", re.IGNORECASE)
_ENDS = "=. " + "".join(understood("sum_ends").values())
_SIGNS = {word.lower(): sign for signs in understood("signs").values() for word, sign in signs.items()}
_SIGN = re.compile(rf"\s*({'|'.join(map(re.escape, sorted(_SIGNS, key=len, reverse=True)))})\s*", re.IGNORECASE)
_PERCENT_OF = re.compile(rf"([0-9.,]+)\s*(?:{_any('whole_before_percent')})\s*([0-9.]+\s*%)")
_SUM = re.compile(
    r"(?=.*(?:[0-9]|pi|π))(?=.*[^0-9.,\s])"
    r"(?:[-+*/^%()!°×÷·−√π²³.,\s]|[0-9](?:e[+-]?[0-9]+)?|(?:of|mod|x|pi|tau)(?![a-z])|(?<![0-9.])e(?![a-z])"
    r"|(?:a?(?:sin|cos|tan)h?|atan2|sqrt|cbrt|abs|round|floor|ceil|min|max|sum|log(?:2|10)?|ln|exp|degrees|radians"
    r"|factorial|gcd|lcm|comb|perm|hypot)(?=\())++",
    re.IGNORECASE,
)
_DATE = re.compile(r"[0-9]{4}([-/])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/])[0-9]{1,2}\2[0-9]{4}")
_WIDE = {ord(wide): chr(ord(wide) - 0xFEE0) for wide in "０１２３４５６７８９＋－＊／（）％．＾＝？！；："}
_LETTERS = {language: re.compile(letters) for language, letters in understood("letters").items()}


def _language(text: str, asked_in: str) -> str:
    """Return the language to answer in: the one whose letters stand in the text, else the person's, else English.

    The person's counts where it has no letters of its own: somebody whose language is Chinese has written another one.
    """
    own = (language for language, letters in _LETTERS.items() if letters.search(text))
    return next(own, ENGLISH if asked_in in _LETTERS else asked_in)


def _read(text: str, language: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Return the calls that a message asks for; where there are none, a topic."""
    text = text.encode("utf-8", "replace").decode().strip()
    if len(text) > LONGEST:
        return "no_model", ()
    plain = text.rstrip("?？!！.。~～ ") or text
    topic = next((topic for topic, pattern in _TOPIC.items() if pattern.fullmatch(plain)), "no_model")
    page: list[ToolCall] = []
    if address := _ADDRESS.search(text):
        text = f"{text[: address.start()]} {text[address.end() :]}"
        if _TO_READ.search(text):
            url = address[0].rstrip(".,;:!?")
            page = [_call(WEB, url=url.removesuffix(")") if url.count(")") > url.count("(") else url)]
    calls: list[ToolCall] = []
    for part in _CLAUSES.split(text.translate(_WIDE)):
        clause = " ".join(part.split())
        if _ASK_ME.fullmatch(clause.rstrip("!.")):
            calls.append(_call(ASK, questions=words("offline", language)["questions"]))
        elif asked := next(filter(None, (pattern.fullmatch(clause) for pattern in _TIMES)), None):
            place = asked.groupdict().get("place")
            calls.append(_call(CLOCK, timezone=place) if place else _call(CLOCK))
        elif expression := _expression(clause):
            calls.append(_call(CALCULATOR, expression=expression))
    return topic, tuple(dict.fromkeys(calls + page))[:MOST_CALLS]


def _expression(clause: str) -> str:
    """Return the expression that a clause asks for, "" where it is no sum."""
    rest = _ASKED.sub("", clause, count=1).rstrip(_ENDS)
    rest = _SIGN.sub(lambda sign: f" {_SIGNS[sign[1].lower()]} ", _PERCENT_OF.sub(r"\2 of \1", rest))
    return rest if _SUM.fullmatch(rest) and not _DATE.fullmatch(rest) else ""


def _call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall("", name, msgspec.json.encode(arguments).decode())


# -- telling -----------------------------------------------------------------------------------------------------------

_VALUE = re.compile(r"-?[0-9][0-9.]*(?:e-?[0-9]+)?|about -?[0-9.]+e[+-]?[0-9]+ \([0-9,]+ digits\)")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}")
_ABOUT = {CALCULATOR: "expression", CLOCK: "timezone", WEB: "url"}  # the argument that a result is about
_NOT_DONE = {REFUSED: "refused", UNANSWERED: "unanswered"}


def _phrased(messages: Sequence[Message], language: str) -> str:
    """Return the results among messages in words, each in a paragraph of its own."""
    calls = {call.id: call for message in messages if isinstance(message, AssistantMessage) for call in message.calls}
    results = [message for message in messages if isinstance(message, ToolMessage)]
    return "\n\n".join(_paragraph(calls.get(each.call_id), each, language) for each in results)


def _paragraph(call: ToolCall | None, given: ToolMessage, language: str) -> str:
    """Return a result in words. Without its call the arguments are unknown."""
    try:
        arguments = msgspec.json.decode(call.arguments if call else "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        arguments = {}
    known, say = words("offline", language), partial(locale.say, "offline", language)
    name, result = given.name, given.content
    asked = str(arguments.get(_ABOUT.get(name, ""), ""))
    if given.is_error and result in _NOT_DONE:
        key = f"{_NOT_DONE[result]}_{name}"
        return say(key, asked=asked) if key in known else say(_NOT_DONE[result], asked=name)
    if name == CALCULATOR:
        return say("value" if _VALUE.fullmatch(result) else "no_value", asked=asked, result=result)
    if name == CLOCK and (iso := _ISO.search(result)):
        now = datetime.fromisoformat(iso[0])
        moment = {"time": f"{now:%H:%M}", "weekday": known["weekdays"][now.weekday()], "date": f"{now:%Y-%m-%d}"}
        return say("time_there" if asked else "time_here", asked=asked, offset=iso[0][-6:], **moment)
    if name in {CLOCK, WEB, ASK} and (given.is_error or name == CLOCK):
        return say(f"no_{name}", asked=asked, result=result)
    if name == WEB:
        text = result.strip()
        if len(text) > LONGEST_EXCERPT:
            text = text[:LONGEST_EXCERPT].rsplit(maxsplit=1)[0] + " …"
        result = "\n".join(f"> {line}".rstrip() for line in text.splitlines())
    elif name == ASK:
        lines = [line.replace("(skipped)", known["skipped"]) for line in result.splitlines() if line.strip()]
        result = "\n".join(f"- {line}" for line in lines)
    return say(f"result_{name}" if name in {WEB, ASK} else "result", asked=asked or name, result=result)
