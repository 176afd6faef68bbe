"""A calculator that is exact where it can be and bounded in time and memory whatever it is given."""

from __future__ import annotations

import ast
import math

from deechat.agents.tools.base import ToolError
from deechat.agents.tools.calculator.arithmetic import (
    CONSTANTS,
    FUNCTIONS,
    NOT_REAL,
    OPERATORS,
    TOO_LARGE,
    Number,
    bounded,
    shown,
)
from deechat.agents.tools.calculator.expression import PERCENT, POSTFIX, Tree, read

_MOST_ARGUMENTS = {name: most for name, (_, _, most) in FUNCTIONS.items()}
_FACTORIAL = FUNCTIONS["factorial"][0]


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
    """Gives the expression's value. Raises `ToolError`, and nothing else, where there is none."""
    tree = read(expression, _MOST_ARGUMENTS, CONSTANTS)
    nodes: list[ast.expr] = []
    pending = [tree.root]
    while pending:  # no recursion: a sum of 500 terms is 500 deep
        nodes.append(pending.pop())
        pending.extend(_operands(nodes[-1]))
    values: dict[ast.expr, Number] = {}
    for node in reversed(nodes):  # operands come before what they are part of
        values[node] = _value(node, [values[operand] for operand in _operands(node)], tree)
    return values[tree.root]


def _operands(node: ast.expr) -> list[ast.expr]:
    """Lists what a node is made of. Raises `ToolError` for whatever is no arithmetic."""
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


def _value(node: ast.expr, operands: list[Number], tree: Tree) -> Number:
    """Gives a node's value from its operands' values, within bounds."""
    try:
        return bounded(_applied(node, operands, tree))
    except ZeroDivisionError as error:
        raise ToolError("Division by zero has no result.") from error
    except OverflowError as error:
        raise ToolError(TOO_LARGE) from error
    except (ValueError, TypeError) as error:
        raise ToolError(NOT_REAL) from error


def _applied(node: ast.expr, operands: list[Number], tree: Tree) -> Number:
    match node:
        case ast.Name(id=name):
            return _named(name, tree)
        case ast.BinOp(op=op):
            return OPERATORS[type(op)](operands[0], _part(node, operands))
        case ast.UnaryOp(op=op):
            return -operands[0] if isinstance(op, ast.USub) else operands[0]
        case ast.Subscript():
            return _postfixed(_postfix(node), operands[0])
        case ast.Call(func=ast.Name(id=name)):
            return _called(name, operands)
    raise ToolError("That is no arithmetic.")


def _named(name: str, tree: Tree) -> Number:
    if name in FUNCTIONS:
        raise ToolError(f"{name} needs its arguments in parentheses: {name}(2).")
    return tree.numbers[name] if name in tree.numbers else CONSTANTS[name]


def _called(name: str, values: list[Number]) -> Number:
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(values) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise ToolError(f"{name} takes {wanted} argument(s), not {len(values)}.")
    return function(*values)


def _postfixed(sign: int | None, value: Number) -> Number:
    if sign == PERCENT:
        return value / 100
    return _FACTORIAL(value) if sign == POSTFIX["!"] else value * math.pi / 180


def _postfix(node: ast.expr) -> int | None:
    """Names the sign after a number, as `expression.POSTFIX` does; None where there is none."""
    match node:
        case ast.Subscript(slice=ast.Constant(value=int(sign))):
            return sign
    return None


def _part(node: ast.BinOp, operands: list[Number]) -> Number:
    """Gives the right operand. A percentage added to something else is a percentage of it: 200 + 10% is 220."""
    left, right = operands
    if isinstance(node.op, ast.Add | ast.Sub) and _postfix(node.right) == PERCENT and not _is_percentage(node.left):
        return left * right
    return right


def _is_percentage(node: ast.expr) -> bool:
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        node = node.left
    return _postfix(node) == PERCENT
