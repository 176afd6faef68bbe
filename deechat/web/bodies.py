"""The bodies of the contract as types, and one way to read them.

Unknown fields are ignored. Values that do not fit raise `BadRequestError`, which names the field and the
expected value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from flask import request
from msgspec import UNSET, Meta, Struct, UnsetType
from werkzeug.exceptions import HTTPException

from deechat.config import CONTEXT, MAX_TOKENS, TEMPERATURE
from deechat.errors import BadRequestError, TooLargeError, UnsupportedMediaError
from deechat.locale import choose
from deechat.store.base import Position
from deechat.web.connection import connection

JSON, PLAIN = "application/json", "text/plain"
LARGEST_BODY = 8_000_000  # bytes
LARGEST_LOG_IN = 1_000_000  # bytes; anybody may send one
LONGEST_WAIT = 30.0  # seconds that a poll may take
T = TypeVar("T")

Message = Annotated[str, Meta(min_length=1, max_length=200_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Id = Annotated[str, Meta(max_length=200)]


Transport = Literal["sse", "websocket", "hybrid"]


class StreamChat(Struct, rename="camel"):
    message: Message
    attachments: list[Any] | None = None
    parent_id: Id | None = None
    client_request_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    transport: Transport | None = None


class Respond(Struct, rename="camel"):
    """A reply; whether the rest fits is said once it is known for which request it is."""

    request_id: Annotated[str, Meta(min_length=1)]
    approved: Any = None
    arguments: Any = None
    always: Any = None
    skipped: Any = None
    answers: Any = None
    output: Any = None


class Steer(Struct):
    message: Message


class Forget(Struct):
    """A habit of a model, or with `model` null of all of them; without a code everything that was learnt."""

    code: Id | None = None
    model: Id | None = None


class NewWorkspace(Struct):
    name: Name


Policies = dict[str, Literal["allow", "ask", "deny"]]
Scopes = Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=1000)]


class UpdateWorkspace(Struct, rename="camel"):
    """Changes of a workspace. `tools` replaces all policies; the fields below it change the tools that they name."""

    name: Name | UnsetType = UNSET
    system_prompt: Annotated[str, Meta(max_length=200000)] | UnsetType | None = UNSET
    model: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType | None = UNSET
    mode: Literal["agent", "chat", "query"] | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=TEMPERATURE.least, le=TEMPERATURE.most)] | UnsetType | None = UNSET
    max_tokens: Annotated[int, Meta(ge=MAX_TOKENS.least, le=MAX_TOKENS.most)] | UnsetType | None = UNSET
    context: Annotated[int, Meta(ge=CONTEXT.least, le=CONTEXT.most)] | UnsetType | None = UNSET
    tools: Policies | UnsetType = UNSET
    policies: Policies | UnsetType = UNSET
    transport: Transport | UnsetType | None = UNSET
    allowed: dict[str, Scopes] | UnsetType = UNSET
    revoked: dict[str, Scopes] | UnsetType = UNSET
    allowed_hosts: Scopes | UnsetType = UNSET


class NewThread(Struct):
    name: Name | None = None


class UpdateThread(Struct):
    name: Name


class LogIn(Struct):
    password: Annotated[str, Meta(max_length=10_000)]


class Nothing(Struct):
    """A body with nothing in it that matters."""


def is_anythingllm() -> bool:
    """Return whether AnythingLLM's page asks: it names its time zone, and has a word for no key.

    No form of another site can send either header, so that nothing is won by it.
    """
    return "X-Timezone" in request.headers or request.headers.get("Authorization") == "null"


def read_body(kind: type[T], most: int = LARGEST_BODY, *, types: Collection[str] = (JSON,)) -> T:
    """Read the request's body of at most `most` bytes as the type; an empty one is `{}`.

    `types` are the content types that JSON may come as: pages of some protocols send it as `PLAIN`, AnythingLLM's to
    every route. The gate refuses pages of other sites, whatever the type.
    Raises `TooLargeError`, `UnsupportedMediaError` and `BadRequestError`.
    """
    raw = _read_raw(most)
    if raw and request.mimetype not in types and not (request.mimetype == PLAIN and is_anythingllm()):
        raise UnsupportedMediaError(
            f"The body must be application/json, and was sent as {request.mimetype[:80] or 'no type at all'}."
        )
    try:
        value = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequestError(f"The body is not JSON that can be read: {exc}.", code="bad_json") from exc
    if not isinstance(value, dict):
        raise BadRequestError("The body must be a JSON object.", code="bad_json")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise BadRequestError(_in_words(str(exc))) from exc


def _read_raw(most: int) -> bytes:
    """Return the body's bytes. Raises `TooLargeError`, and `BadRequestError` when they end too early."""
    length = request.content_length or 0
    if length > most:
        raise TooLargeError(f"The body is larger than the {most // 1_000_000} MB that are taken.")
    # One more than is taken: the framework cuts a body without a length there, and a cut one must not pass as whole.
    request.max_content_length = most + 1
    whole = False
    here = connection()
    here.begin_body()
    try:
        raw = request.get_data(cache=False)
        whole = length <= len(raw) <= most
    except HTTPException:
        raise
    except Exception as exc:  # each WSGI server has errors of its own for a body that it cannot read
        raise BadRequestError("The body could not be read: it is malformed, or it broke off.", code="bad_body") from exc
    finally:
        here.end_body(whole=whole)
    if len(raw) > most:
        raise TooLargeError(f"The body is larger than the {most // 1_000_000} MB that are taken.")
    if not whole:
        raise BadRequestError("The body is shorter than its Content-Length says.", code="bad_body")
    return raw


def not_blank(name: str, text: str) -> str:
    """Return the text. Raises `BadRequestError` when it is all blank."""
    if not text.strip():
        raise BadRequestError(f"The field {name!r} must not be blank.")
    return text


def read_count(name: str, default: int, most: int) -> int:
    """Read a whole number from 1 to `most` out of the query string. Raises `BadRequestError`."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise BadRequestError(f"{name} is {text[:40]!r}, but a whole number from 1 to {most} is expected.")
    return int(text)


def read_position(beginning: Position) -> Position:
    """Read out of `?after=` where a list goes on, as the answer before it said in `next`: a time and an id.

    Raises `BadRequestError` with the code `bad_cursor`.
    """
    text = request.args.get("after", "")
    if not text:
        return beginning
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,20})?):([-0-9A-Za-z]{1,80})", text)
    if not found:
        raise BadRequestError(
            f"after is {text[:40]!r}, but the next of an earlier answer is expected.", code="bad_cursor"
        )
    return float(found[1]), found[2]


def position(time: float, row_id: str) -> str:
    """Return the cursor that `read_position` reads."""
    return f"{time!r}:{row_id}"


def read_language() -> str:
    """Read from `Accept-Language` which language the page and the agent shall speak."""
    return choose(tag for tag, quality in request.accept_languages if quality > 0)


def read_wait() -> float | None:
    """Read from `?wait=` how many seconds a poll may take; None when it is not there. Raises `BadRequestError`."""
    text = request.args.get("wait")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?", text) or float(text) > LONGEST_WAIT:
        raise BadRequestError(f"wait is {text[:40]!r}, but seconds from 0 to {LONGEST_WAIT:.0f} are expected.")
    return float(text)


def read_left_stops() -> bool:
    """Read from `?disconnect=` whether a viewer that hangs up stops the run. Raises `BadRequestError`."""
    text = request.args.get("disconnect", "keep")
    if text not in {"keep", "stop"}:
        raise BadRequestError(f"disconnect is {text[:40]!r}, but stop or keep is expected.")
    return text == "stop"


_PLAIN_TYPES = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def _in_words(fault: str) -> str:
    """Turn "Expected `str`, got `int` - at `$.message`" into a sentence about the field."""
    what, _, where = fault.partition(" - at ")
    field = where.strip("`").removeprefix("$").removeprefix(".")
    plain = what
    for name, word in _PLAIN_TYPES.items():
        plain = plain.replace(f"`{name}`", word)
    plain = re.sub(r"a text of length <= (\d+)", r"a text of \1 characters at most", plain.replace("`", ""))
    return f"The field {field!r} does not fit: {plain[0].lower()}{plain[1:]}." if field else f"{plain}."
