"""A function's own description: its words, its parameters' types, and the JSON schema that follows from them.

A function that does not say enough is its author's mistake and gets a `TypeError`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from deechat.agents.tools.context import ToolContext

Parameters = Mapping[str, inspect.Parameter]


def parameters_of(function: Callable[..., Any], tool: str) -> Parameters:
    """List the parameters. Raises `TypeError` where a model could not pass one by name, or could not wait."""
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"tool {tool}: a tool is a plain function, neither a coroutine nor a generator")
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"tool {tool}: parameter {name} cannot be passed by name")
    return parameters


def hints_of(function: Callable[..., Any], tool: str, parameters: Parameters) -> dict[str, Any]:
    """Return every parameter's type. Raises `TypeError` for a parameter without."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {tool}: a type hint cannot be resolved: {error}") from error
    for name in parameters:
        if name not in hints:
            raise TypeError(f"tool {tool}: parameter {name} has no type hint")
    return {name: hints[name] for name in parameters}


def context_of(tool: str, hints: Mapping[str, Any]) -> str | None:
    """Return the parameter that takes the `ToolContext`, or None. Raises `TypeError` where there are several."""
    names = [name for name, hint in hints.items() if _is_context(hint)]
    if len(names) > 1:
        raise TypeError(f"tool {tool}: one parameter may take the context, not {' and '.join(names)}")
    return names[0] if names else None


def _is_context(hint: Any) -> bool:
    """Say whether the hint is `ToolContext`, with None beside it or without, annotated or not."""
    if get_origin(hint) is Annotated:
        return _is_context(get_args(hint)[0])
    if get_origin(hint) in {Union, UnionType}:
        return any(map(_is_context, get_args(hint)))
    return hint is ToolContext


def words_of(function: Callable[..., Any], tool: str, parameters: Parameters) -> tuple[str, dict[str, str]]:
    """Part the docstring into the tool's description and its parameters' descriptions."""
    rest: list[str] = []
    words: dict[str, str] = {}
    current = None
    for line in (inspect.getdoc(function) or "").splitlines():
        name, colon, text = line.partition(":")
        if colon and name in parameters:
            current = name
            words[name] = text.strip()
        elif current and line.startswith(" "):
            words[current] += " " + line.strip()
        else:
            current = None
            rest.append(line)
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(rest)).strip()
    if not description:
        raise TypeError(f"tool {tool}: it has no docstring to describe it")
    return description, words


def schema_of(tool: str, parameters: Parameters, hints: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """Return the schema of the arguments: an object with these parameters, without any `$ref`.

    It does not say that no others are taken: models need not hear it, and Gemini refuses `additionalProperties`.
    """
    return {
        "type": "object",
        "properties": _properties(tool, parameters, hints, words),
        "required": [each.name for each in parameters.values() if each.default is each.empty],
    }


def _properties(tool: str, parameters: Parameters, hints: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """Return each parameter's schema, with its description and default."""
    try:
        schemas, components = msgspec.json.schema_components(list(hints.values()))
        properties = {name: _whole(schema, components) for name, schema in zip(hints, schemas, strict=True)}
    except (TypeError, RecursionError) as error:
        raise TypeError(f"tool {tool}: a parameter's type has no JSON schema of its own: {error}") from error
    for name, schema in properties.items():
        if words.get(name):
            schema["description"] = words[name]
        if parameters[name].default is not parameters[name].empty:
            schema["default"] = msgspec.to_builtins(parameters[name].default)
    return properties


def _whole(schema: Any, components: dict[str, Any]) -> Any:
    """Put the target of a `$ref` in its place, and name an enum's type, which some model servers insist on."""
    if isinstance(schema, list):
        return [_whole(each, components) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = components[schema["$ref"].rpartition("/")[2]]
        return _whole(target | {key: value for key, value in schema.items() if key != "$ref"}, components)
    whole = {key: _whole(each, components) for key, each in schema.items() if key != "title" or isinstance(each, dict)}
    enum = schema.get("enum")
    if isinstance(enum, list) and all(isinstance(each, str) for each in enum):
        whole["type"] = "string"
    return whole
