"""Makes a tool of a plain function: a name, words, a schema for its parameters, and a check against it.

All of it comes from the function itself, its type hints and its docstring. This module knows no model, no run and no
particular tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from deechat.agents.tools.arguments import read
from deechat.agents.tools.context import ToolContext, ToolResult, sound
from deechat.agents.tools.signature import context_of, hints_of, parameters_of, schema_of, words_of
from deechat.errors import DeeChatError

MOST_FAULTS = 10  # named in one error

Policy = Literal["allow", "ask", "deny"]


class ToolError(DeeChatError):
    """A tool cannot carry out its call; the words are for the model, so that it can correct itself."""

    status = 400
    code = "tool_error"


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function that a model may call.

    `parameters` is a JSON schema of type object, whole in itself (no `$ref`). `repeatable`: a second run after a crash
    does no harm. `policy` holds where no other was chosen. `hints` are the parameters' types.

    `asks`: it asks a person instead of doing anything, so it is never run. `scope` returns the object, such as a host,
    that an "always allow" of these arguments covers, and raises `ToolError` where they name none that could be allowed;
    None: it covers the tool with any arguments. `scope_name` is the word for such an object, such as "host".

    `context` is the name of the parameter that takes the `ToolContext`, which no model gives; None where there is none.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    repeatable: bool
    policy: Policy
    function: Callable[..., Any]
    hints: dict[str, Any]
    asks: bool = False
    scope: Callable[[dict[str, Any]], str] | None = None
    scope_name: str = "scope"
    context: str | None = None

    def arguments(self, text: str) -> dict[str, Any]:
        """Read the model's arguments and fit them to the schema; no text at all is an empty object.

        A slip with one meaning only is taken for that meaning: see `deechat.agents.tools.arguments`.

        Raises `ToolError`, and nothing else, for any text of a model.
        """
        return self.fit(_read(text)) if text.strip() else self.fit({})

    def fit(self, given: object) -> dict[str, Any]:
        """Return the arguments as JSON values that fit the schema. Parameters that were left out stay out.

        A number written as a string, and null for a parameter that has a default, are taken for their meaning.
        Raises `ToolError` that names the faults, all at once.
        """
        if not isinstance(given, dict):
            raise ToolError(f"The arguments must be a JSON object, not {_shown(given)}. {self._usage()}")
        known = self.parameters["properties"]
        faults = [f"unknown parameter {json.dumps(str(name)[:80])}" for name in given if name not in known]
        faults += [f"missing parameter {json.dumps(name)}" for name in self.parameters["required"] if name not in given]
        fitted = {}
        for name in [name for name in known if name in given]:
            if given[name] is None and "default" in known[name] and not _takes_null(known[name]):
                continue
            try:
                fitted[name] = _fit(given[name], self.hints[name])
            except (ValueError, RecursionError) as error:
                faults.append(_fault(name, given[name], known[name], error))
        if faults:
            raise ToolError(f"The arguments do not fit: {'; '.join(faults[:MOST_FAULTS])}. {self._usage()}")
        return fitted

    def check_scope(self, arguments: dict[str, Any]) -> None:
        """Raise `ToolError` where the arguments name nothing that a person could allow: the call could only fail."""
        if self.scope is not None:
            self.scope(arguments)

    def run(self, arguments: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Call the function with arguments of `arguments` or `fit`. A value that is no text and no result becomes JSON.

        `context` None: no run shows it. The function's errors pass through. Lone surrogates become U+FFFD.
        """
        values = {name: msgspec.convert(value, self.hints[name], strict=False) for name, value in arguments.items()}
        if self.context is not None:
            values[self.context] = context or ToolContext()
        result = self.function(**values)
        if isinstance(result, ToolResult):
            text = json.dumps(msgspec.to_builtins(result), ensure_ascii=False)
            return msgspec.json.decode(sound(text), type=ToolResult)
        return ToolResult(sound(result if isinstance(result, str) else msgspec.json.encode(result).decode()))

    def _usage(self) -> str:
        """Describe the tool's parameters, as in `calculator takes {"expression": string}`."""
        required = self.parameters["required"]
        names = [
            f"{json.dumps(name)}{'' if name in required else ' (optional)'}: {_expected(schema)}"
            for name, schema in self.parameters["properties"].items()
        ]
        return f"{self.name} takes {{{', '.join(names)}}}"


def make_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    repeatable: bool = False,
    policy: Policy = "ask",
    asks: bool = False,
    scope: Callable[[dict[str, Any]], str] | None = None,
    scope_name: str = "scope",
) -> Tool:
    """Make a tool of a function with type hints and a docstring; the options are `Tool`'s.

    The docstring's lines `parameter: its meaning` describe the parameters (deeper indented lines go on), the rest of it
    the tool. A parameter of the type `ToolContext` is no part of the schema, wherever it stands. Raises `TypeError` for
    a function that does not say enough about itself to be one.
    """
    name = name or function.__name__
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise TypeError(f"{name!r} is no name for a tool: letters, digits, _ and - are, up to 64 of them")
    parameters = parameters_of(function, name)
    hints = hints_of(function, name, parameters)
    description, words = words_of(function, name, parameters)
    context = context_of(name, hints)
    given = {each: parameter for each, parameter in parameters.items() if each != context}
    hints = {each: hints[each] for each in given}
    schema = schema_of(name, given, hints, words)
    return Tool(name, description, schema, repeatable, policy, function, hints, asks, scope, scope_name, context)


def _read(text: str) -> Any:
    """Read the model's arguments; every fault of theirs becomes a `ToolError`."""
    try:
        return read(text)
    except RecursionError as error:
        raise ToolError("The arguments are nested too deeply.") from error
    except UnicodeError as error:
        raise ToolError("The arguments hold a lone surrogate, which is no character.") from error
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}. Send one JSON object.") from error


def _fit(value: Any, hint: Any) -> Any:
    """Convert to the type and back to JSON values. Raises `ValueError` for a value that does not fit or is not JSON."""
    fitted = msgspec.to_builtins(msgspec.convert(value, hint, strict=False))
    json.dumps(fitted, allow_nan=False)
    return fitted


def _takes_null(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", [])]
    return any(kind.get("type") in {"null", None} and "anyOf" not in kind and "enum" not in kind for kind in kinds)


_JSON_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}


def _fault(name: str, value: Any, schema: dict[str, Any], error: Exception) -> str:
    """Name the parameter that is wrong, the expected type and the value that came."""
    why = re.sub(r"`(\w+)`", lambda match: _JSON_NAMES.get(match[1], match[1]), str(error)[:200])
    return f"parameter {json.dumps(name)}: {why}; it must be {_expected(schema)}, and was {_shown(value)}"


def _expected(schema: dict[str, Any]) -> str:
    """Describe in a few words the values that fit the schema."""
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_expected(each) for each in schema["anyOf"])
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"array of {_expected(schema['items'])}"
    return str(schema.get("type", "any value"))


def _shown(value: object) -> str:
    """Show the head of a value of any kind."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return f"a {_JSON_NAMES.get(type(value).__name__, 'value')} that cannot be shown"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= 80 else text[:80] + " …"
