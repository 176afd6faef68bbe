"""Reads arithmetic as people and models write it, into a tree of Python's grammar.

Only tokens of the calculator's own reach Python's parser: numbers are kept aside and stand there as `_0`, `_1`, …, and
what follows a number (`17%`, `5!`, `30°`) as an index, which binds as tightly. So quotes, dots, brackets, keywords and
names that nobody knows never get there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from deechat.agents.tools.base import ToolError

LONGEST = 1_000  # characters
LARGEST_EXPONENT = 4_000  # of a literal such as 1e300

POSTFIX = {"%": 0, "!": 1, "°": 2}
PERCENT = POSTFIX["%"]

_WORDS = {"of": "*", "x": "*", "mod": "%"}
_SIGNS = {"^": "**"}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_ALIKE = str.maketrans(
    {"×": "*", "✕": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "π": "pi", "τ": "tau"}
    | {"²": "^2", "³": "^3", "√": "sqrt"}
)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?")
_GROUPED_ARGUMENT = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})*,0[0-9]{2}(?![0-9])")
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]*)"
    r"|(?P<sign>\*\*|//|[-+*/%^(),!°])"
)
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression: its syntax, and the numbers that the names `_0`, `_1`, … stand for."""

    root: ast.expr
    numbers: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    spaced: bool  # white space stands before it

    @property
    def ends_operand(self) -> bool:
        return (
            self.kind == "number" or self.text in {")", *POSTFIX} or (self.kind == "name" and self.text not in _WORDS)
        )

    @property
    def starts_operand(self) -> bool:
        return self.kind == "number" or self.text == "(" or (self.kind == "name" and self.text not in _WORDS)


def read(text: str, functions: Mapping[str, int], constants: Collection[str]) -> Tree:
    """Reads an expression that uses these functions (name and most arguments) and constants.

    Raises `ToolError` with words for everything that is no such expression.
    """
    if len(text) > LONGEST:
        raise ToolError(f"The expression has {len(text):,} characters; at most {LONGEST:,} are taken.")
    text = text.translate(_WIDE).translate(_ALIKE).strip().rstrip("=?").rstrip()
    if not text:
        raise ToolError("The expression is empty.")
    numbers: dict[str, Fraction] = {}
    tokens = list(_tokens(text, functions))
    _check_names(tokens, {*functions, *constants, *_WORDS})
    source = " ".join(_rendered(tokens, numbers))
    try:
        return Tree(ast.parse(source, mode="eval").body, numbers)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(
            "The expression cannot be read: an operator, a number or a parenthesis is missing or misplaced. "
            "Write it like 3 * (4 + 5), with every * in its place."
        ) from error


def _tokens(text: str, functions: Mapping[str, int]) -> Iterator[_Token]:
    """Parts the text into tokens. A comma between digits groups thousands, unless it may part arguments."""
    at, last = 0, ""
    most = [1]  # arguments that may stand inside the open parentheses
    while at < len(text):
        space = _SPACE.match(text, at)
        start = space.end() if space else at
        match = _number(text, start, most[-1]) or _TOKEN.match(text, start)
        if not match:
            raise ToolError(f"The calculator does not know {text[start]!r}: it takes numbers, operators and functions.")
        kind, word = match.lastgroup or "number", match[0].lower()
        if word == "(":
            most.append(functions.get(last, 1))
        elif word == ")" and len(most) > 1:
            most.pop()
        yield _Token(kind, word, start > at)
        at, last = match.end(), word


def _number(text: str, start: int, most: int) -> re.Match[str] | None:
    """Finds a number with grouped thousands where it can be nothing else."""
    if most == 1:
        return _GROUPED.match(text, start)
    if match := _GROUPED_ARGUMENT.match(text, start):
        raise ToolError(f"{match[0]} may be one number or several; write thousands without a comma.")
    return None


def _check_names(tokens: list[_Token], known: set[str]) -> None:
    for token in tokens:
        if token.kind == "name" and token.text not in known:
            names = ", ".join(sorted(known - set(_WORDS)))
            raise ToolError(f"The calculator does not know {token.text[:40]!r}. It knows: {names}.")


def _rendered(tokens: list[_Token], numbers: dict[str, Fraction]) -> Iterator[str]:
    """Gives each token as Python writes it, and keeps the numbers aside."""
    following: list[_Token | None] = [*tokens[1:], None]
    for token, after in zip(tokens, following, strict=True):
        if token.text == "!" and after and after.text == "!":
            raise ToolError("5!! may mean two things; write (5!)! or the product itself.")
        if token.kind == "number":
            name = f"_{len(numbers)}"
            numbers[name] = _value(token.text)
            yield name
        elif token.text in POSTFIX and not (token.text == "%" and _is_modulo(token, after)):
            yield f"[{POSTFIX[token.text]}]"
        else:
            yield _WORDS.get(token.text) or _SIGNS.get(token.text, token.text)


def _is_modulo(percent: _Token, after: _Token | None) -> bool:
    """`7 % 3` is modulo and so is `7 % -3`; `7%`, `7% of 3`, `7% * 3` and `7% - 3` are percent."""
    if after is None:
        return False
    return after.starts_operand or (after.text in {"+", "-"} and percent.spaced)


def _value(text: str) -> Fraction:
    text = text.replace(",", "").replace("_", "")
    _, _, exponent = text.partition("e")
    if len(exponent.lstrip("+-0")) > len(str(LARGEST_EXPONENT)) or abs(int(exponent or 0)) > LARGEST_EXPONENT:
        raise ToolError(f"The number {text[:40]} is too large or too small for this calculator.")
    return Fraction(text)
