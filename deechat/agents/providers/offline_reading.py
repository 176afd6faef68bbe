"""What the offline provider understands of a message: small talk, arithmetic, times and dates, pages to read, and the
wish to be asked something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from deechat.agents.providers.offline_sums import LONGEST, sums


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants. `topic` is a key of `offline_words`, None for what is not understood.

    `place` is a place's name as it was written, '' for here, None when nobody asked for a time. `page` is the address
    of a page to read; `asked` says that somebody wants to be asked something.
    """

    language: str
    topic: str | None = None
    sums: tuple[str, ...] = ()
    place: str | None = None
    day: date | None = None
    page: str | None = None
    asked: bool = False


_CHINESE = re.compile(r"[\u3400-\u9fff]")
_TOPICS = {
    "greeting": r"(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day))(?: there| deechat)?"
    r"|你好呀?|您好|嗨|哈喽|哈啰|早上好|早安|下午好|晚上好|在吗",
    "thanks": r"(?:many |ok,? )?(?:thanks|thank you|thx|ty|cheers)(?: (?:a lot|very much|so much))?"
    r"|谢谢(?:你|您|啦)?|多谢|感谢",
    "goodbye": r"bye(?:[ -]?bye)?|goodbye|see you(?: later)?|good night|再见|拜拜|晚安",
    "who": r"who are you|what are you|what(?:'s| is) your name|are you (?:an? )?(?:ai|bot|llm|language model|human)"
    r"|你是谁|你是什么|你叫什么(?:名字)?|你是(?:人工智能|机器人|ai|什么模型)吗?|介绍一下你?自己",
    "help": r"help(?: me)?|/help|\?|what can you do|what do you do|how do i (?:start|connect a model|use (?:this|you))"
    r"|how (?:to|can i) connect (?:a|the) (?:real )?model|帮助|帮帮我|你能做什么|你会(?:做)?什么|怎么用|如何使用"
    r"|(?:怎么|如何|怎样)连接(?:语言)?模型",
}
_TOPIC = {name: re.compile(rf"(?:{pattern})[\s!！.。?？~～]*", re.IGNORECASE) for name, pattern in _TOPICS.items()}

_TIME = re.compile(
    r"\bwhat(?:(?:['’]?s| is)(?= the| current| local)(?: the)?(?: current| local| exact)?)? (?:time|date)"
    r"(?= *(?:[?.!,]|$|is it\b|in\b|at\b|now\b|today\b|right\b|and\b|here\b|there\b))"
    r"|\b(?:what(?:['’]s| is)? )?today['’]?s date\b|\bwhat day (?:is (?:it|today)|of the week)\b|\btime is it\b"
    r"|\b(?:current|local) (?:date and time|time and date|time|date) (?:in|at|now)\b"
    r"|^\W*(?:(?:current|local) )?(?:time|date)(?: (?:now|today|please)| in .+)?\W*$"
    r"|\btell me the (?:time|date)\b"
    r"|[几幾][点點]|什么时间|什么时候了|(?:现在|当前|現在)的?[时時][间間]|几月几[号日]|几号|今天的?日期|什么日期|星期[几幾]|周几|礼拜几|北京时间",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\b(?:in|at|for)\s+(?P<place>(?:the |St\. )?[A-Za-zÀ-ÿ][\w À-ÿ.'’/+:-]{1,40}?)"
    r"\s*(?=$|[?!,;]|\.(?:\s|$)|\b(?:and|right now|now|today|at the moment|please|currently)\b)",
    re.IGNORECASE,
)
_NO_PLACE = frozenset({"the moment", "moment", "here", "my place", "all", "this moment"})
_CLAUSES = re.compile(r"[，,。；;？?！!\n]|以及|还有|和|并且")
_ZH_FILLERS = re.compile(
    r"请问|请|告诉我|我想知道|知道|你|现在|現在|当前|今天|今日|此刻|这里|那里|那边|是|在|的|了|吗|呢|啊|到底"
    r"|[几幾][点點]钟?|什么时间|什么时候|当地|[时時][间間]|几月几[号日]|几号|日期|什么|星期几|周几|礼拜几|多少|[\s：:“”\"]"
)
_DAY = re.compile(r"(?<![\d-])(\d{4})[-/年.](\d{1,2})[-/月.](\d{1,2})日?(?![\d-])")
_ABOUT_A_DAY = re.compile(
    r"\b(?:days?|weekday|how long|until|till|since)\b|几天|多少天|多久|星期几|周几|礼拜几|哪天|倒计时", re.IGNORECASE
)

# An address alone is no wish: somebody has to say that it is to be read.
_READ = re.compile(
    r"\b(?:read|fetch|open|load|visit|summari[sz]e)\b|打开|打開|读取|读一?下|抓取|访问|看一?下|看看|总结|概括",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"https?://[^\s\u3000-\u9fff\uff00-\uffef<>\"'`]+", re.IGNORECASE)
_ASK_ME = re.compile(
    r"(?:(?:can|could) you )?(?:please )?ask me (?:something|anything|(?:a|some|a few|two|three)(?: \w+)? questions?)"
    r"(?:,? please)?"
    r"|请?你?来?(?:问|考)(?:一下|考)?我(?:[一几两三]?个|一些|些|点)?(?:问题|什么|东西)?吧?"
    r"|请?向我提(?:个|一个|几个)?问题?吧?",
    re.IGNORECASE,
)


def read(message: str) -> Wish:
    """Says what a message wants, as far as can be told without a model."""
    language = "zh" if _CHINESE.search(message) else "en"
    text = message.encode("utf-8", "replace").decode().strip()  # a lone surrogate could not be passed on
    if len(text) > LONGEST:
        return Wish(language)
    topic = next((name for name, pattern in _TOPIC.items() if pattern.fullmatch(text)), None)
    if topic:
        return Wish(language, topic)
    if _ASK_ME.fullmatch(text.strip("!！.。?？~～ ")):
        return Wish(language, asked=True)
    page, text = _page(text)
    return Wish(language, None, tuple(sums(text)), _place(text), _day(text), page)


def _page(text: str) -> tuple[str | None, str]:
    """Gives the address of the page that is to be read, and the text without it."""
    address = _ADDRESS.search(text)
    if not address:
        return None, text
    rest = f"{text[: address.start()]} {text[address.end() :]}"
    if not _READ.search(rest):
        return None, text
    return _without_the_sentences_end(address[0]), rest


def _without_the_sentences_end(address: str) -> str:
    bare = address.rstrip(".,;:!?")
    return bare.removesuffix(")") if bare.count(")") > bare.count("(") else bare


def _day(text: str) -> date | None:
    """Gives the date that the message asks about."""
    match = _DAY.search(text)
    if not match or not _ABOUT_A_DAY.search(text):
        return None
    try:
        return date(*map(int, match.groups()))
    except ValueError:
        return None


_OTHER_DAY = re.compile(
    r"\b(?:tomorrow|yesterday|next|last|ago)\b|明天|明日|昨天|昨日|后天|後天|前天|下周|上周", re.IGNORECASE
)


def _place(text: str) -> str | None:
    """Names the place whose time is asked for: '' is here, None is no such question."""
    asked = _TIME.search(text)
    if not asked or _OTHER_DAY.search(text):  # better no answer than today's to a question for tomorrow
        return None
    if _CHINESE.search(asked[0]):
        return _chinese_place(text)
    place = _PLACE.search(text, asked.start())
    name = re.sub(r"^the (?=\w+$)", "", place["place"].strip(" .'’"), flags=re.IGNORECASE) if place else ""
    return "" if name.lower() in _NO_PLACE else name


def _chinese_place(text: str) -> str:
    """Takes from the clause that asks what is left without the words for asking."""
    clause = next(clause for clause in [*_CLAUSES.split(text), text] if _TIME.search(clause))
    if "北京时间" in clause:
        return "北京"
    rest = _ZH_FILLERS.sub("", _DAY.sub("", clause))
    return rest if len(rest) <= 20 else ""
