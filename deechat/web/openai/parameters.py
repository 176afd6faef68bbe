"""The fields of requests, checked: those that hold for a run, and those that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from flask import request
from msgspec import Meta, Struct

from deechat.config import MAX_TOKENS, TEMPERATURE
from deechat.events import ClientTool
from deechat.web.bodies import JSON, PLAIN, read_body
from deechat.web.openai.errors import FieldError

Json = dict[str, Any]
T = TypeVar("T")

Temperature = Annotated[float, Meta(ge=TEMPERATURE.least, le=TEMPERATURE.most)]
Limit = Annotated[int, Meta(ge=1, le=MAX_TOKENS.most)]
LONGEST_KEY = 200


class _Function(Struct):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


def read(kind: type[T]) -> tuple[T, Json]:
    """Read the request's body as the type; return it and all fields that came. Raises `FieldError`."""
    return convert(read_body(Json, types=(JSON, PLAIN)), kind)


def convert(body: Json, kind: type[T]) -> tuple[T, Json]:
    """Return the fields as the type, and as they came. Raises `FieldError`."""
    try:
        return msgspec.convert(body, kind), body
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at ")
        field = where.strip("`").removeprefix("$.") or None
        if field is None and "required field" in what:
            field = what.rpartition(" ")[2].strip("`")
        raise FieldError(f"{what.replace('`', '')}{f' in {field}' if field else ''}.", field) from exc


def refuse(body: Json, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise `FieldError` for a field whose value is none of those that are served; null is as good as left out."""
    for name, values in allowed.items():
        value = body.get(name)
        if value is not None and value not in values:
            served = " or ".join(msgspec.json.encode(each).decode() for each in values)
            rest = f"only {served} is" if served else "it is not"
            raise FieldError(f"{name} is not served here with this value: {rest} taken.", name, "unsupported_value")


def read_tools(tools: list[Json] | None) -> tuple[ClientTool, ...]:
    """Return the tools of the client: functions, with their fields at the top or below `function`."""
    found: dict[str, ClientTool] = {}
    for number, each in enumerate(tools or ()):
        place = f"tools[{number}]"
        if each.get("type") != "function":
            raise FieldError(
                f"Tools of the type {str(each.get('type'))[:80]!r} are not served: DeeChat's own tools are there "
                "without being asked for, and functions of the client are taken.",
                place,
                "unsupported_value",
            )
        try:
            function = msgspec.convert(each.get("function", each), _Function)
        except msgspec.ValidationError as exc:
            raise FieldError(f"The tool does not fit: {str(exc).replace('`', '')}.", place) from exc
        if function.name in found:
            raise FieldError(f"Two tools have the name {function.name!r}.", place)
        parameters = function.parameters or {"type": "object", "properties": {}}
        found[function.name] = ClientTool(function.name, function.description or "", parameters)
    return tuple(found.values())


def may_call(choice: object) -> bool:
    """Return whether the model may call tools. Raises `FieldError` for a choice that would force it to."""
    if choice not in (None, "auto", "none"):
        raise FieldError('tool_choice is "auto" or "none" here: no model is forced to call a tool.', "tool_choice")
    return choice != "none"


def read_key() -> str | None:
    """Return the header `Idempotency-Key`. Raises `FieldError` when it is too long."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and len(key) > LONGEST_KEY:
        raise FieldError(f"Idempotency-Key is longer than {LONGEST_KEY} characters.", "Idempotency-Key")
    return key or None
