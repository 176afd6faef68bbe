"""The text of a call's arguments to a JSON value: strictly, and where that fails by its one possible meaning.

A model, and the server or gateway before it, slips in a few ways that leave no doubt: see `read`. A text that may mean
several things, or is cut off, is an error that the model is told of: nothing is run on a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

LONGEST_INTEGER = 1000  # digits; Python itself writes no more than 4300
MOST_LAYERS = 10  # of braces around an object
MOST_TIMES = 100  # that one object is said
_FENCE = "```"
_LANGUAGE = re.compile(r"\w*")
_UNBRACED = re.compile(r'"(?:[^"\\]|\\.)*+"\s*:', re.DOTALL)
_WRAPPED = re.compile(r"\s*\{(?=\s*\{)")
# A string of JSON, which stays as it is, or one that has no end; and signs that mean nothing outside of strings: a
# comma before a bracket, and white space that was written as letters.
_OUTSIDE = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*[}\]])|\\[nrt]', re.DOTALL)
_BLANKS = re.compile(r"\s*")
_BEHIND = re.compile(r"[\s}]*")  # braces too many


def read(text: str) -> Any:
    """Read JSON, strictly where it matters: no key twice, no NaN, nothing that could not be written again.

    Taken for their meaning are: a code fence around it; an object in braces, without its first or with too many behind
    it; an empty object, or an empty text, beside the real one; the same object again; an object in a text; a comma too
    many; line breaks as letters between values. Raises `ValueError` or `RecursionError` for anything else.
    """
    try:
        value = _checked(_decoder.decode(text))
    except json.JSONDecodeError:
        objects = list(_objects(text))
        if len({json.dumps(each, sort_keys=True) for each in objects}) != 1:
            raise
        return _checked(objects[0])
    return _said(value) if isinstance(value, str) else value


def _said(value: str) -> Any:
    """Return the object that stands in a text, or else the text."""
    if not value.lstrip().startswith("{"):
        return value
    try:
        return _checked(_decoder.decode(value))
    except json.JSONDecodeError:
        return value


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of which a text consists; none where it consists of anything else, or may be cut off."""
    text, layers = _unwrapped(_OUTSIDE.sub(lambda found: found[1] or " ", _unfenced(text.strip())))
    text = "{" + text if _UNBRACED.match(text) else text
    values, at = [], 0
    while not _BEHIND.fullmatch(text, at):
        try:
            value, at = _decoder.raw_decode(text, _blanks_end(text, at))
        except json.JSONDecodeError:
            return
        values.append(value)
        if len(values) > MOST_TIMES:
            return
    is_whole = text.count("}", at) >= layers
    if is_whole and values and all(isinstance(value, dict) or value == "" for value in values):
        yield from [value for value in values if value] or [{}]


def _unfenced(text: str) -> str:
    """Return a text without its code fence."""
    if not (len(text) > 2 * len(_FENCE) and text.startswith(_FENCE) and text.endswith(_FENCE)):
        return text
    text = text[len(_FENCE) : -len(_FENCE)]
    language = _LANGUAGE.match(text)
    return text[language.end() :] if language else text


def _unwrapped(text: str) -> tuple[str, int]:
    """Return a text without the braces in front of its first object, and their number."""
    at = layers = 0
    while layers < MOST_LAYERS and (wrapped := _WRAPPED.match(text, at)):
        at, layers = wrapped.end(), layers + 1
    return text[at:], layers


def _blanks_end(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _checked(value: Any) -> Any:
    msgspec.json.encode(value)  # lone surrogates fail here
    json.dumps(value, allow_nan=False)  # 1e999 fails here
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, each in pairs:
        if name in value:
            raise ValueError(f"the key {json.dumps(name[:80])} is there more than once")
        value[name] = each
    return value


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError(f"a number of {len(digits)} digits is too long")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


# A raw line break inside a string is a slip with one meaning only, so `strict` is off.
_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_number, strict=False)
