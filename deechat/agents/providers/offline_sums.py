"""Finds arithmetic in prose, and leaves alone what only looks like it: dates, phone numbers, versions, paths.

It does not calculate. What it finds goes to the calculator as it was written, with words for operators made signs. In
doubt it finds nothing: an explanation is better than the value of a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LONGEST = 1_000  # characters; a longer message is no question for a calculator
LONGEST_RUN = 500  # tokens
MOST = 4  # sums in one message

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+(?:_[0-9]+)*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+"
_FUNCTION = (
    r"(?:sqrt|cbrt|abs|round|floor|ceil|min|max|sum|log10|log2|log|ln|exp|a?(?:sin|cos|tan)h?|atan2"
    r"|degrees|radians|factorial|gcd|lcm|comb|perm|hypot)(?=\s*\()"
)
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER})|(?<![A-Za-z])(?:(?P<function>{_FUNCTION})|(?P<constant>(?:pi|tau|e)(?![A-Za-z0-9])|π)"
    r"|(?P<operator>(?:of|mod|x)(?![A-Za-z])))|(?P<sign>\*\*|//|[-+*/^×÷−·])"
    r"|(?P<after>[!°²³])|(?P<percent>%)|(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<space>[ \t]+)|(?P<other>.|\n)",
    re.IGNORECASE,
)

# Words become signs that nobody types by chance, so that they count as meant.
_OPERAND = r"(?<=[0-9)%!²³eiuπ])\s*"
_NEXT = r"\s*(?=[-−(]?\s*(?:[0-9.√(]|pi\b|e\b|tau\b|[a-z0-9]+\())"
_SPOKEN = [
    (r"百分之\s*([0-9.]+)", r"\1%"),
    (r"([0-9.,]+)\s*的\s*([0-9.]+)\s*%", r"\2% of \1"),
    (r"([0-9.]+)\s*的\s*([0-9.]+)\s*次方", r"\1^\2"),
    (r"(?<=[0-9)])\s*(?:的平方根)", " 的平方根"),
    (r"([0-9.]+) 的平方根", r"sqrt(\1)"),
    (r"(?<=[0-9)])\s*的?平方(?!米|公里|厘米)", "^2"),
    (r"(?<=[0-9)])\s*的?立方(?!米|厘米)", "^3"),
    (r"(?:根号|√)\s*([0-9.]+)", r"sqrt(\1)"),
    (r"√\s*\(", "sqrt("),
    (r"\b(?:the )?square root of\s+([0-9.,]*[0-9])", r"sqrt(\1)"),
    (r"\b(?:the )?cube root of\s+([0-9.,]*[0-9])", r"cbrt(\1)"),
    (r"\b(?:the )?factorial of\s+([0-9]+)", r"factorial(\1)"),
    (r"(?<=[0-9])\s*per ?cent\b", "%"),
    (rf"{_OPERAND}(?:squared)\b", "^2"),
    (rf"{_OPERAND}(?:cubed)\b", "^3"),
    (rf"{_OPERAND}(?:to the power of|raised to(?: the power of)?){_NEXT}", " ^ "),
    (rf"{_OPERAND}(?:plus|加上?){_NEXT}", " + "),
    (rf"{_OPERAND}(?:minus|减去?){_NEXT}", " − "),
    (rf"{_OPERAND}(?:times|multiplied by|乘以?|乘上){_NEXT}", " × "),
    (rf"{_OPERAND}(?:divided by|除以){_NEXT}", " ÷ "),
    (rf"{_OPERAND}(?:modulo){_NEXT}", " mod "),
    (r"(?<![-–—])[$€£¥￥](?=[0-9])", ""),
]

_WIDE = {ord(wide): chr(ord(wide) - 0xFEE0) for wide in "０１２３４５６７８９＋－＊／（）％．＾＝"}

_ASKED_BEFORE = re.compile(
    r"(?:\b(?:what(?:['’]?s| is| are)|calculate|compute|evaluate|work out|solve|how much (?:is|are))"
    r"(?: the (?:result|value) of)?"
    r"|计算(?:一下)?|算(?:一下|算)?|请问|求)\s*[:：]?\s*$",
    re.IGNORECASE,
)
_AND_BEFORE = re.compile(r"(?:\band|[,，;；和、])\s*$", re.IGNORECASE)
_ENDS_AFTER = re.compile(r"\s*(?:$|[?？=。!！,，;；、]|\.(?:\s|$)|and\b|和|是|等于|得|equals?\b)", re.IGNORECASE)
_ASKED_AFTER = re.compile(r"\s*(?:等于|是多少|得多少|是几|得几|=\s*[?？]?\s*$)")
_STICKS_BEFORE = re.compile(r"[A-Za-z0-9_./\\:#@~&=<>-]$")
_STICKS_AFTER = re.compile(r"[A-Za-z0-9_/\\@:~]|\.[A-Za-z0-9]|-[A-Za-z0-9]")
_NO_SUM = re.compile(
    r"(?:19|20)[0-9]{2}(?:-(?:0[1-9]|1[0-2])|([-/])[0-9]{1,2}\1[0-9]{1,2})|[0-9]{1,2}[-/][0-9]{1,2}[-/](?:[0-9]{2}|[0-9]{4})"
    r"|24/7|9/11|50/50|\+.*|0[0-9]+-[0-9-]+|[0-9]{3}-[0-9]{4}|[0-9]{2,4}-[0-9]{3,4}-[0-9]{3,8}"
)
_WEAK = {"-", "/", "x"}  # prose has these between numbers too

_Tokens = Sequence[re.Match[str]]


def sums(message: str) -> list[str]:
    """Lists the expressions that the message asks for, in order, each once, at most `MOST`."""
    if len(message) > LONGEST or "```" in message:
        return []
    text = spoken(message)
    found: list[str] = []
    for run in _runs(text):
        for start, end in _expressions(run):
            window = run[start:end]
            if not _is_cut(run, start, end) and _is_meant(text, window, bool(found)):
                found.append(text[window[0].start() : window[-1].end()])
    return list(dict.fromkeys(found))[:MOST]


def spoken(message: str) -> str:
    """Writes spoken arithmetic with signs: `12 divided by 4` becomes `12 ÷ 4`."""
    message = message.translate(_WIDE)
    for pattern, written in _SPOKEN:
        message = re.sub(pattern, written, message, flags=re.IGNORECASE)
    return message


def _runs(text: str) -> Iterator[list[re.Match[str]]]:
    """Parts the text where something stands that no expression holds; spaces are left out."""
    run: list[re.Match[str]] = []
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "other":
            yield run
            run = []
        elif token.lastgroup != "space" and len(run) < LONGEST_RUN:
            run.append(token)
    yield run


def _expressions(run: _Tokens) -> Iterator[tuple[int, int]]:
    """Finds the longest expressions of a run, from left to right, as slices."""
    start = 0
    while start < len(run):
        end = _end(run, start)
        if end > start:
            yield start, end
        start = max(end, start + 1)


def _end(run: _Tokens, start: int) -> int:
    """Says where the longest expression that begins here ends; `start` itself where none does."""
    best, open_calls, wants_operand = start, list[bool](), True
    for at in range(start, len(run)):
        kind = run[at].lastgroup
        if kind == "percent" and not wants_operand:
            wants_operand = _binds(run, at)
        elif wants_operand:
            if kind not in {"number", "constant", "function", "open"} and run[at][0] not in "+-−":
                break
            wants_operand = kind not in {"number", "constant"}
            if kind == "open":
                open_calls.append(at > start and run[at - 1].lastgroup == "function")
        elif kind == "close" and open_calls:
            open_calls.pop()
        elif kind in {"sign", "operator"} or (kind == "comma" and open_calls and open_calls[-1]):
            wants_operand = True
        elif kind != "after":
            break
        if not wants_operand and not open_calls:
            best = at + 1
    return best


def _binds(run: _Tokens, at: int) -> bool:
    """Says whether the percent sign stands between two operands, as modulo."""
    return at + 1 < len(run) and run[at + 1].lastgroup in {"number", "constant", "function", "open"}


def _is_cut(run: _Tokens, start: int, end: int) -> bool:
    """Says whether this is only the sound part of something that is not: `4+5` in `3*(4+5`, `2+2` in `2+2*`."""
    before, after = run[start - 1 : start], run[end : end + 1]
    return any(token.lastgroup in {"open", "sign", "function"} for token in before) or any(
        token.lastgroup == "sign" for token in after
    )


def _is_meant(text: str, window: _Tokens, goes_on: bool) -> bool:
    """Says whether somebody wants this calculated, or only wrote numbers."""
    before, after = text[: window[0].start()], text[window[-1].end() :]
    if _STICKS_BEFORE.search(before) or _STICKS_AFTER.match(after):
        return False
    signs = _binary(window)
    kinds = {token.lastgroup for token in window}
    if "number" not in kinds or not (signs or kinds & {"function", "after"}):
        return "function" in kinds and bool(kinds & {"number", "constant"})
    return _is_strong(signs, kinds) or _is_asked(text[window[0].start() : window[-1].end()], before, after, goes_on)


def _binary(window: _Tokens) -> list[str]:
    """Lists the operators that stand between operands."""
    return [
        token[0].lower()
        for at, token in enumerate(window)
        if (at and token.lastgroup in {"sign", "operator"}) or (token.lastgroup == "percent" and _binds(window, at))
    ]


def _is_strong(signs: list[str], kinds: set[str | None]) -> bool:
    """Says whether the signs alone show that it is arithmetic."""
    if "function" in kinds or set(signs) - _WEAK - {"of"}:
        return True
    return bool(signs) and ("percent" in kinds or ("open" in kinds and len(signs) > 1))


def _is_asked(expression: str, before: str, after: str, goes_on: bool) -> bool:
    """Says whether the words around it ask for its value, or nothing stands around it."""
    if _NO_SUM.fullmatch(expression):
        return False
    if _ASKED_AFTER.match(after):
        return True
    asked = not before.strip() or _ASKED_BEFORE.search(before) or (goes_on and _AND_BEFORE.search(before))
    return bool(asked) and bool(_ENDS_AFTER.match(after)) and not (expression.endswith("!") and not before.strip())
