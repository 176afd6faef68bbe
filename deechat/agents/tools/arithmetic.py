"""The calculator's numbers: exact fractions as long as that is cheap, floats after, and never more than the bounds.

Every operation here checks the size of its result before it computes it, or computes one that is small in any case. An
operation without a value raises `ToolError` with words.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from functools import reduce

from deechat.agents.tools.base import ToolError

Number = Fraction | float
Function = Callable[..., Number]

WHOLE_BITS = 14_000  # about 4,200 digits; Python writes no more than 4,300
PART_BITS = 2_000  # of a fraction's numerator or denominator; beyond, a float is exact enough
MOST_FACTORS = 1_500  # 1500! still fits WHOLE_BITS
SHOWN_DIGITS = 1_000
EXACT_DIGITS = 20
ROUNDED_DIGITS = 15
NOISE = 1e-15  # by which a float's sine may miss zero

TOO_LARGE = "The result is too large for this calculator."
TOO_SMALL = "The result is too close to zero for this calculator."
NOT_REAL = "The result is not a real number, or the function is not defined there."


def bounded(value: Number) -> Number:
    """Return the value, as a float if it is a fraction too long to go on with. Raises `ToolError` beyond bounds."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ToolError(TOO_LARGE if math.isinf(value) else NOT_REAL)
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if value.denominator == 1:
        if bits > WHOLE_BITS:
            raise ToolError(TOO_LARGE)
        return value
    return value if bits <= PART_BITS else _nonzero(float(value))


def power(base: Number, exponent: Number) -> Number:
    """Return a power: exact where the result is within bounds, which is known before it is computed."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = math.log2(max(abs(base.numerator), base.denominator))
        if bits == 0 or abs(exponent) <= WHOLE_BITS / bits:
            return Fraction(base**exponent.numerator)
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    result = math.pow(base, exponent)
    return result if base == 0 else _nonzero(result)


OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: _exact(left // right),
    ast.Mod: operator.mod,
    ast.Pow: power,
}


def shown(value: Number) -> str:
    """Return a number as text: whole ones in full up to a bound, others with 15 digits, or 20 if exact."""
    if isinstance(value, float):
        return _written(Decimal(format(value, f".{ROUNDED_DIGITS}g")))
    if value.denominator == 1:
        digits = len(str(abs(value.numerator)))
        if digits <= SHOWN_DIGITS:
            return str(value.numerator)
        return f"about {Decimal(value.numerator):.{ROUNDED_DIGITS - 1}e} ({digits:,} digits)"
    exact = Context(prec=EXACT_DIGITS)
    quotient = exact.divide(Decimal(value.numerator), Decimal(value.denominator))
    return _written(Context(prec=ROUNDED_DIGITS).plus(quotient) if exact.flags[Inexact] else quotient)


def _written(value: Decimal) -> str:
    if not value:
        return "0"
    value = value.normalize(Context(prec=EXACT_DIGITS))
    if -7 <= value.adjusted() <= EXACT_DIGITS:
        return format(value, "f")
    mantissa, _, exponent = format(value, "e").partition("e")
    return f"{mantissa}e{int(exponent)}"


def _nonzero(value: float) -> float:
    """Refuse a zero that only stands for a value too small."""
    if value == 0:
        raise ToolError(TOO_SMALL)
    return value


def _exact(value: Number | int) -> Number:
    return value if isinstance(value, float) else Fraction(value)


def _plain(value: Number) -> int | float:
    """Return a number that the math module takes: an int of any size, or a float."""
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def _whole(value: Number) -> int:
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    raise ToolError(f"A whole number is needed, not {shown(value)}.")


def _real(function: Callable[..., float]) -> Function:
    return lambda *values: float(function(*map(_plain, values)))


def _root(value: Number) -> Number:
    """Return the square root, an exact one of squares."""
    if isinstance(value, Fraction) and value >= 0:
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root * root == value:
            return root
    return math.sqrt(_plain(value))


def _rounded(value: Number, places: Number = Fraction(0)) -> Number:
    """Round halves away from zero, as taught in school."""
    digits = _whole(places)
    if abs(digits) > EXACT_DIGITS * ROUNDED_DIGITS:
        raise ToolError(f"round cannot round to {digits} places.")
    scale = Fraction(10**digits) if digits >= 0 else Fraction(1, 10**-digits)
    size = Fraction(math.floor(abs(Fraction(value)) * scale + Fraction(1, 2))) / scale
    return size if value >= 0 else -size


def _wave(function: Callable[[float], float]) -> Function:
    """Make sine and cosine zero where only the float of pi keeps them from it."""

    def wave(value: Number) -> Number:
        result = function(_plain(value))
        return Fraction(0) if abs(result) < NOISE and not -1 <= value <= 1 else result

    return wave


_sine, _cosine = _wave(math.sin), _wave(math.cos)


def _factorial(value: Number) -> Number:
    count = _whole(value)
    if count > MOST_FACTORS:
        raise ToolError(f"factorial takes at most {MOST_FACTORS}; {TOO_LARGE}")
    return Fraction(math.factorial(count))


def _chosen(function: Callable[[int, int], int], factors: Callable[[int, int], int]) -> Function:
    """Make comb and perm refuse arguments that take too many factors."""

    def chosen(items: Number, taken: Number | None = None) -> Number:
        count = _whole(items)
        picked = count if taken is None else _whole(taken)
        if count.bit_length() > 64 or factors(count, picked) > MOST_FACTORS:
            raise ToolError(TOO_LARGE)
        return Fraction(function(count, picked))

    return chosen


def _folded(function: Callable[[int, int], int]) -> Function:
    def step(left: Number, right: Number) -> Number:
        return bounded(Fraction(function(_whole(left), _whole(right))))

    return lambda *values: reduce(step, values, values[0])


ANY = 1_000  # as many arguments as an expression may be long

_REAL = (
    *("cbrt", "log10", "log2", "exp", "degrees", "radians"),
    *("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
)
FUNCTIONS: dict[str, tuple[Function, int, int]] = {
    # name: the function, the fewest and the most arguments
    **{name: (_real(getattr(math, name)), 1, 1) for name in _REAL},
    "sqrt": (_root, 1, 1),
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "floor": (lambda value: Fraction(math.floor(value)), 1, 1),
    "ceil": (lambda value: Fraction(math.ceil(value)), 1, 1),
    "min": (lambda *values: min(values), 1, ANY),
    "max": (lambda *values: max(values), 1, ANY),
    "sum": (lambda *values: reduce(lambda left, right: bounded(left + right), values), 1, ANY),
    "log": (_real(math.log), 1, 2),
    "ln": (_real(math.log), 1, 1),
    "sin": (_sine, 1, 1),
    "cos": (_cosine, 1, 1),
    "tan": (lambda value: _sine(value) / _cosine(value), 1, 1),
    "atan2": (_real(math.atan2), 2, 2),
    "hypot": (_real(math.hypot), 1, ANY),
    "factorial": (_factorial, 1, 1),
    "gcd": (_folded(math.gcd), 1, ANY),
    "lcm": (_folded(math.lcm), 1, ANY),
    "comb": (_chosen(math.comb, lambda count, picked: min(picked, count - picked)), 2, 2),
    "perm": (_chosen(math.perm, lambda _, picked: picked), 1, 2),
}
CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}
