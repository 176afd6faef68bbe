"""The calculator: reads arithmetic as people and models write it, and works it out within bounds.

Only tokens of its own reach Python's parser: numbers are kept aside and stand there as names such as `_3`, and a sign
that follows a number (`17%`, `5!`, `30°`) stands there as an index, which binds as tightly. Quotes, dots, brackets,
keywords and unknown names never get there. The tree that comes back is walked, never compiled.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from deechat.agents.tools.arithmetic import (
    CONSTANTS,
    FUNCTIONS,
    NOT_REAL,
    OPERATORS,
    TOO_LARGE,
    Function,
    Number,
    bounded,
    shown,
)
from deechat.agents.tools.base import ToolError

LONGEST = 1_000  # characters
LARGEST_EXPONENT = 4_000  # of a literal such as 1e300


def calculator(expression: str) -> str:
    """Works out an arithmetic expression and returns the result.

    It knows + - * / // % ** (or ^), parentheses, percent (17% of 2340; 200 + 10% is 220), factorial (5!), pi, e, tau,
    and sqrt, cbrt, abs, round, floor, ceil, min, max, sum, log (natural, or log(x, base)), ln, log10, log2, exp, sin,
    cos, tan, asin, acos, atan, atan2, sinh, cosh, tanh, degrees, radians, hypot, factorial, gcd, lcm, comb, perm.
    Angles are in radians; 30° works too.

    expression: what to work out, such as 3 * (4 + 5) or 17% of 2,340
    """
    return shown(evaluate(expression))


def evaluate(expression: str) -> Number:
    """Return the expression's value. Raises `ToolError`, and nothing else, where there is none."""
    root, names = _read(expression)
    nodes: list[ast.expr] = []
    pending = [root]
    while pending:  # no recursion: a sum of 500 terms is 500 deep
        nodes.append(pending.pop())
        pending.extend(_operands(nodes[-1]))
    values: dict[ast.expr, Number] = {}
    for node in reversed(nodes):  # operands come before the node that they are part of
        try:
            values[node] = bounded(_applied(node, [values[operand] for operand in _operands(node)], names))
        except ZeroDivisionError as error:
            raise ToolError("Division by zero has no result.") from error
        except OverflowError as error:
            raise ToolError(TOO_LARGE) from error
        except (ValueError, TypeError) as error:
            raise ToolError(NOT_REAL) from error
    return values[root]


# -- reading -----------------------------------------------------------------------------------------------------------

_POSTFIX: dict[str, Function] = {
    "%": lambda value: value / 100,
    "!": FUNCTIONS["factorial"][0],
    "°": lambda value: value * math.pi / 180,
}
_WORDS = {"of": "*", "x": "*", "mod": "%"}
_SIGNS = {**_WORDS, "^": "**"}
_KNOWN = {*FUNCTIONS, *CONSTANTS, *_WORDS}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_ALIKE = str.maketrans(
    {"×": "*", "✕": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "π": "pi", "τ": "tau"}
    | {"²": "^2", "³": "^3", "√": "sqrt"}
)
_GROUPED = re.compile(r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?)")
_GROUPED_ARGUMENT = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})*,0[0-9]{2}(?![0-9])")
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]*)"
    r"|(?P<sign>\*\*|//|[-+*/%^(),!°])"
    r"|(?P<space>\s+)"
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str | None
    text: str
    spaced: bool  # white space stands before it

    @property
    def starts_operand(self) -> bool:
        return self.kind == "number" or self.text == "(" or (self.kind == "name" and self.text not in _WORDS)


def _read(text: str) -> tuple[ast.expr, dict[str, Number]]:
    """Return an expression's syntax, and the values of the names in it."""
    if len(text) > LONGEST:
        raise ToolError(f"The expression has {len(text):,} characters; at most {LONGEST:,} are taken.")
    text = text.translate(_WIDE).translate(_ALIKE).strip().rstrip("=?").rstrip()
    if not text:
        raise ToolError("The expression is empty.")
    tokens = list(_tokens(text))
    for token in tokens:
        if token.kind == "name" and token.text not in _KNOWN:
            known = ", ".join(sorted(_KNOWN - set(_WORDS)))
            raise ToolError(f"The calculator does not know {token.text[:40]!r}. It knows: {known}.")
    names = dict(CONSTANTS)
    source = " ".join(_rendered(tokens, names))
    try:
        return ast.parse(source, mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(
            "The expression cannot be read: an operator, a number or a parenthesis is missing or misplaced. "
            "Write it like 3 * (4 + 5), with every * in its place."
        ) from error


def _tokens(text: str) -> Iterator[_Token]:
    """Part the text into tokens. A comma between digits groups thousands, unless it may part arguments."""
    at, last, spaced = 0, "", False
    most = [1]  # arguments that may stand inside the open parentheses
    while at < len(text):
        if most[-1] > 1 and (match := _GROUPED_ARGUMENT.match(text, at)):
            raise ToolError(f"{match[0]} may be one number or several; write thousands without a comma.")
        match = (_GROUPED.match(text, at) if most[-1] == 1 else None) or _TOKEN.match(text, at)
        if not match:
            raise ToolError(f"The calculator does not know {text[at]!r}: it takes numbers, operators and functions.")
        at = match.end()
        if match.lastgroup == "space":
            spaced = True
            continue
        word = match[0].lower()
        if word == "(":
            most.append(FUNCTIONS[last][2] if last in FUNCTIONS else 1)
        elif word == ")" and len(most) > 1:
            most.pop()
        yield _Token(match.lastgroup, word, spaced)
        last, spaced = word, False


def _rendered(tokens: list[_Token], names: dict[str, Number]) -> Iterator[str]:
    """Yield each token as Python writes it. Numbers are put into `names`."""
    following: list[_Token | None] = [*tokens[1:], None]
    for token, after in zip(tokens, following, strict=True):
        if token.text == "!" and after and after.text == "!":
            raise ToolError("5!! may mean two things; write (5!)! or the product itself.")
        if token.kind == "number":
            name = f"_{len(names)}"
            names[name] = _number(token.text)
            yield name
        elif token.text in _POSTFIX and not (token.text == "%" and _is_modulo(token, after)):
            yield f"['{token.text}']"
        else:
            yield _SIGNS.get(token.text, token.text)


def _is_modulo(percent: _Token, after: _Token | None) -> bool:
    """`7 % 3` is modulo and so is `7 % -3`; `7%`, `7% of 3`, `7% * 3` and `7% - 3` are percent."""
    return after is not None and (after.starts_operand or (after.text in {"+", "-"} and percent.spaced))


def _number(text: str) -> Fraction:
    text = text.replace(",", "").replace("_", "")
    _, _, exponent = text.partition("e")
    if len(exponent.lstrip("+-0")) > len(str(LARGEST_EXPONENT)) or abs(int(exponent or 0)) > LARGEST_EXPONENT:
        raise ToolError(f"The number {text[:40]} is too large or too small for this calculator.")
    return Fraction(text)


# -- working out -------------------------------------------------------------------------------------------------------


def _operands(node: ast.expr) -> list[ast.expr]:
    """Return the nodes that a node's value is made of. Raises `ToolError` for a node that is no arithmetic."""
    match node:
        case ast.Name():
            return []
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.Subscript(value=value):
            return [value]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return arguments
        case ast.Call():
            raise ToolError("An operator is missing before a parenthesis: write 2 * (3 + 4).")
        case ast.Tuple():
            raise ToolError(
                "A comma stands where none can: write thousands as 1,234 or 1234 and a decimal point as 0.5."
            )
    raise ToolError("That is no arithmetic.")


def _applied(node: ast.expr, operands: list[Number], names: dict[str, Number]) -> Number:
    """Return a node's value from its operands' values."""
    match node:
        case ast.Name(id=name) if name in FUNCTIONS:
            raise ToolError(f"{name} needs its arguments in parentheses: {name}(2).")
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=op, right=right):
            value, other = operands
            if isinstance(op, ast.Add | ast.Sub) and _is_percent(right) and not _is_percentage(left):
                other = value * other  # 200 + 10% is 220
            return OPERATORS[type(op)](value, other)
        case ast.UnaryOp(op=op):
            return -operands[0] if isinstance(op, ast.USub) else operands[0]
        case ast.Subscript(slice=ast.Constant(value=str(sign))):
            return _POSTFIX[sign](operands[0])
        case ast.Call(func=ast.Name(id=name)):
            function, fewest, most = FUNCTIONS[name]
            if not fewest <= len(operands) <= most:
                wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
                raise ToolError(f"{name} takes {wanted} argument(s), not {len(operands)}.")
            return function(*operands)
    raise ToolError("That is no arithmetic.")


def _is_percent(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "%"


def _is_percentage(node: ast.expr) -> bool:
    """Whether a node is a percent, or a sum or difference that begins with one."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        node = node.left
    return _is_percent(node)
