"""Claims about `deechat.agents.tools`: what makes a function a tool, and what stands between it and a model."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest

from deechat.agents.tools import (
    Image,
    Link,
    Source,
    Table,
    ToolContext,
    ToolError,
    ToolResult,
    builtin_tools,
    make_tool,
)
from deechat.agents.tools.context import LONGEST_LINE
from deechat.principal import OWNER, Principal


class Point(msgspec.Struct):
    x: int
    title: str = ""


def draw(
    shape: Literal["circle", "square"],
    at: Point,
    *,
    size: float = 1.0,
    copies: Annotated[int, msgspec.Meta(ge=1)] = 1,
    label: str | None = None,
    filled: bool = False,
) -> Any:
    """Draws a shape.

    It comes out as it went in: nothing is drawn.

    shape: what to draw,
        one of two
    at: where its middle is

    Nothing else happens.
    """
    return {"shape": shape, "x": at.x, "size": size, "copies": copies, "label": label, "filled": filled}


def echo(text: str) -> str:
    """Says it again."""
    return text


DRAW = make_tool(draw)
ECHO = make_tool(echo, repeatable=True, policy="allow")
WHOLE = '{"shape": "circle", "at": {"x": 1}}'


def refusal(text: str) -> str:
    with pytest.raises(ToolError) as caught:
        DRAW.arguments(text)
    return caught.value.message


def test_name_and_description_come_from_the_function() -> None:
    assert DRAW.name == "draw"
    assert DRAW.description == (
        "Draws a shape.\n\nIt comes out as it went in: nothing is drawn.\n\nNothing else happens."
    )


def test_the_schema_says_types_defaults_enums_and_words_and_is_whole_in_itself() -> None:
    properties = DRAW.parameters["properties"]
    assert DRAW.parameters["type"] == "object"
    assert "additionalProperties" not in DRAW.parameters  # Gemini refuses the word
    assert DRAW.parameters["required"] == ["shape", "at"]
    assert properties["shape"] == {
        "enum": ["circle", "square"],
        "type": "string",
        "description": "what to draw, one of two",
    }
    assert properties["at"]["properties"] == {"x": {"type": "integer"}, "title": {"type": "string", "default": ""}}
    assert properties["size"] == {"type": "number", "default": 1.0}
    assert properties["copies"] == {"type": "integer", "minimum": 1, "default": 1}
    assert properties["label"] == {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    assert "$ref" not in json.dumps(DRAW.parameters)


def test_a_tool_is_asked_about_and_not_repeated_unless_it_says_otherwise() -> None:
    assert (DRAW.policy, DRAW.repeatable) == ("ask", False)
    assert (ECHO.policy, ECHO.repeatable) == ("allow", True)


def test_the_built_in_tools_may_run_again_and_need_a_yes_where_they_reach_the_network() -> None:
    assert {tool.name: tool.policy for tool in builtin_tools()} == {
        "calculator": "allow",
        "current_time": "allow",
        "web_fetch": "ask",
        "ask_user": "allow",
    }
    assert all(tool.repeatable for tool in builtin_tools())


def test_arguments_are_those_that_were_given_and_run_gives_text() -> None:
    arguments = DRAW.arguments(WHOLE)
    assert arguments == {"shape": "circle", "at": {"x": 1, "title": ""}}
    assert json.loads(DRAW.run(arguments).text) == {
        "shape": "circle",
        "x": 1,
        "size": 1.0,
        "copies": 1,
        "label": None,
        "filled": False,
    }
    assert ECHO.run({"text": "as it is"}) == ToolResult("as it is")


def test_slips_with_one_meaning_only_are_taken_for_what_they_mean() -> None:
    text = '{"shape": "square", "at": {"x": "7"}, "size": "2.5", "copies": "3", "filled": "true", "label": null}'
    arguments = DRAW.arguments(text)
    assert arguments["at"]["x"] == 7
    assert (arguments["size"], arguments["copies"], arguments["filled"]) == (2.5, 3, True)
    assert arguments["label"] is None
    assert "size" not in DRAW.arguments('{"shape": "circle", "at": {"x": 1}, "size": null}')
    assert ECHO.arguments('{"text": "a raw\nline break"}') == {"text": "a raw\nline break"}


@pytest.mark.parametrize(
    "text",
    [
        "{}" + WHOLE,
        WHOLE + "{}",
        WHOLE + WHOLE.replace(" ", ""),
        WHOLE + "\n}",
        WHOLE[1:],
        "{" + WHOLE + "}",
        "{ {" + WHOLE + "}}",
        f"```json\n{WHOLE}\n```",
        f"```{WHOLE}```",
        f"\n```JSON {WHOLE}\n```\n",
        json.dumps(WHOLE),
        WHOLE + '""',
        '{"shape": "circle", "at": {"x": 1,},}',
        '{\\n"shape": "circle",\\n\\t"at": {"x": 1}}\\n',
    ],
)
def test_what_can_mean_one_object_only_is_taken_for_it(text: str) -> None:
    assert DRAW.arguments(text) == DRAW.arguments(WHOLE)


def test_what_stands_in_a_text_is_not_touched() -> None:
    text = 'a,} ```json {"b": [1,]} \\n {{'
    for end in ("", "}", '""'):
        assert ECHO.arguments(json.dumps({"text": text}) + end) == {"text": text}


@pytest.mark.parametrize(
    "text",
    [
        WHOLE + WHOLE.replace("1", "2"),  # which of the two?
        WHOLE + " more",
        f"Here: ```json\n{WHOLE}\n```",
        f"```json\n{WHOLE}",
        WHOLE[:-1],  # cut off
        WHOLE[1:-1],
        WHOLE[:-1] + ",",
        "{" + WHOLE,
        WHOLE + "[]",
        "{'shape': 'circle', 'at': {'x': 1}}",
        json.dumps(WHOLE[:-2]),
        '{"shape": "circle", "at": {"x": 1},, }',
        "{" * 500_000,
        '"' + '\\"' * 300_000,
        "```" + " " * 300_000 + "x",
        "{}" * 300_000 + "x",
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_what_may_mean_this_or_that_is_an_error(text: str) -> None:
    assert "arguments" in refusal(text)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_text_counts_as_no_arguments(text: str) -> None:
    current_time = builtin_tools()[1]
    assert current_time.arguments(text) == {}
    assert 'missing parameter "shape"' in refusal(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json", "not JSON"),
        ('{"shape": "circle"} more', "not JSON"),
        ('{"shape": "circle"', "not JSON"),
        ("[1, 2]", "must be a JSON object, not [1, 2]"),
        ("null", "must be a JSON object, not null"),
        ('"text"', 'must be a JSON object, not "text"'),
        ('{"shape": "circle", "shape": "square"}', 'the key "shape" is there more than once'),
        ('{"at": {"x": 1, "x": 2}}', 'the key "x" is there more than once'),
        ('{"size": NaN}', "NaN is no number"),
        ('{"size": -Infinity}', "-Infinity is no number"),
        ('{"size": 1e999}', "not JSON"),
        ('{"size": "nan"}', 'parameter "size"'),
        ('{"size": ' + "9" * 5000 + "}", "5000 digits is too long"),
        ('{"size": "' + "9" * 5000 + '"}', 'parameter "size"'),
        ('{"copies": "' + "9" * 5000 + '"}', 'parameter "copies"'),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"at":' * 100_000, "nested too deeply"),
        ('{"label": "\\ud800"}', "lone surrogate"),
        ('{"label": "\ud800"}', "lone surrogate"),
        ("\ufeff{}", "not JSON"),
        ("\x00", "not JSON"),
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_whatever_a_model_writes_gives_words_and_no_other_exception(text: str, words: str) -> None:
    message = refusal(text)
    assert words in message
    assert len(message) < 1_500


def test_an_error_names_the_parameter_what_was_expected_and_what_came() -> None:
    message = refusal('{"shape": "star", "at": {"x": "q"}, "copies": 0, "label": 5, "colour": "red"}')
    assert 'unknown parameter "colour"' in message
    assert 'one of "circle", "square", and was "star"' in message
    assert "Expected integer, got string - at `$.x`" in message
    assert "Expected integer >= 1" in message
    assert "must be string or null, and was 5" in message
    assert 'draw takes {"shape": ' in message


def test_an_error_stays_short_whatever_came() -> None:
    many = json.dumps({f"unknown{number}": "x" * 1000 for number in range(10_000)})
    assert len(refusal(many)) < 1_500
    assert len(refusal(json.dumps({"shape": "x" * 100_000, "at": ["y" * 100_000]}))) < 1_500


def test_arguments_that_a_person_edited_are_held_to_the_same_schema() -> None:
    assert DRAW.fit({"shape": "circle", "at": {"x": "2"}})["at"]["x"] == 2
    with pytest.raises(ToolError, match="must be a JSON object"):
        DRAW.fit(["circle"])
    with pytest.raises(ToolError, match='missing parameter "at"'):
        DRAW.fit({"shape": "circle"})


def test_what_the_function_raises_passes_through() -> None:
    def fail() -> str:
        """Fails."""
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        make_tool(fail).run({})


def test_lone_surrogates_in_a_result_become_replacement_characters_and_pairs_are_joined() -> None:
    def say() -> str:
        """Says what no encoder takes."""
        return "a\ud800b \ud83d\ude00 😀"

    assert make_tool(say).run({}) == ToolResult("a\ufffdb 😀 😀")


def test_a_function_that_says_too_little_is_its_authors_mistake() -> None:
    def no_hint(text) -> str:  # type: ignore[no-untyped-def]
        """Has no hint."""
        return str(text)

    def no_words(text: str) -> str:
        return text

    def only_parameters(text: str) -> str:
        """text: what to say"""
        return text

    def unresolved(text: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
        """Has a hint that is not there."""
        return str(text)

    def any_number(*texts: str) -> str:
        """Takes what has no name."""
        return "".join(texts)

    async def later(text: str) -> str:
        """Is a coroutine."""
        return text

    mistakes = {
        no_hint: "no type hint",
        no_words: "no docstring",
        only_parameters: "no docstring",
        unresolved: "cannot be resolved",
        any_number: "cannot be passed by name",
        later: "neither a coroutine",
    }
    for function, words in mistakes.items():
        with pytest.raises(TypeError, match=words):
            make_tool(function)
    with pytest.raises(TypeError, match="no name for a tool"):
        make_tool(lambda: "")


class Branch(msgspec.Struct):
    branches: list[Branch]


def test_a_type_that_holds_itself_has_no_schema_of_its_own() -> None:
    def grow(tree: Branch) -> str:
        """Grows."""
        return str(tree)

    with pytest.raises(TypeError, match="no JSON schema of its own"):
        make_tool(grow)


# -- the context and the result ----------------------------------------------------------------------------------------


def first(context: ToolContext, number: int, times: int = 2) -> str:
    """Tells its thread.

    context: no word for a model
    number: which one
    """
    return f"{context.thread} {context.principal.id} {context.language} {number * times}"


def between(number: int, context: ToolContext | None = None, times: int = 2) -> str:
    """Tells its thread.

    number: which one
    """
    assert context is not None
    return first(context, number, times)


def last(number: int, *, times: int = 2, around: Annotated[ToolContext | None, "the run"] = None) -> str:
    """Tells its thread.

    number: which one
    """
    return between(number, around, times)


def without(number: int, times: int = 2) -> str:
    """Tells its thread.

    number: which one
    """
    return str(number * times)


@pytest.mark.parametrize("function", [first, between, last])
def test_the_context_is_passed_in_and_never_part_of_the_schema_wherever_it_stands(function: Any) -> None:
    tool, plain = make_tool(function), make_tool(without)
    assert (tool.parameters, tool.description) == (plain.parameters, plain.description)
    assert json.loads(json.dumps(tool.parameters)) == tool.parameters
    context = ToolContext(thread="t", principal=Principal("somebody"), language="zh")
    assert tool.run(tool.arguments('{"number": 3}'), context).text == "t somebody zh 6"
    assert tool.run(tool.arguments('{"number": 3, "times": 3}')).text == f" {OWNER.id} en 9"
    name = tool.context
    with pytest.raises(ToolError, match=f'unknown parameter "{name}"'):
        tool.arguments(f'{{"number": 3, "{name}": {{"thread": "another"}}}}')
    with pytest.raises(ToolError, match=f'unknown parameter "{name}"'):
        tool.arguments(f'{{"number": 3, "{name}": null}}')


def test_a_tool_of_the_context_alone_takes_no_arguments_and_one_context_is_enough() -> None:
    def alone(context: ToolContext) -> str:
        """Tells its thread."""
        return context.thread

    def twice(one: ToolContext, other: ToolContext) -> str:
        """Takes two."""
        return one.thread + other.thread

    def several(contexts: list[ToolContext]) -> str:
        """Takes a list."""
        return str(contexts)

    tool = make_tool(alone)
    assert tool.parameters == {"type": "object", "properties": {}, "required": []}
    assert tool.run(tool.arguments(""), ToolContext(thread="t")).text == "t"
    with pytest.raises(TypeError, match="one and other"):
        make_tool(twice)
    with pytest.raises(TypeError, match="no JSON schema of its own"):
        make_tool(several)


HOSTILE = [
    ("two\nlines\r\n\u2028and\ttabs", "two lines and tabs"),
    ("a\ud800b \ud83d\ude00", "a\ufffdb 😀"),
    ("\x1b[31mred\x1b[0m\x07", "\x1b[31mred\x1b[0m\x07"),
    ("x" * 1_000_000, "x" * (LONGEST_LINE - 1) + "…"),
    ("\n" * 1_000_000, ""),
    ("😀" * 400, "😀" * 400),
    ("", ""),
]


@pytest.mark.parametrize(("text", "line"), HOSTILE, ids=range(len(HOSTILE)))
def test_progress_is_one_short_line_that_json_can_carry_whatever_is_said(text: str, line: str) -> None:
    said: list[tuple[str, float | None]] = []
    ToolContext(report=lambda *each: said.append(each)).progress(text)
    assert said == [(line, None)]
    msgspec.json.encode(said)


@pytest.mark.parametrize(
    ("share", "known"),
    [
        (0, 0.0),
        (0.5, 0.5),
        (1, 1.0),
        (-3.0, 0.0),
        (7.0, 1.0),
        (float("inf"), 1.0),
        (float("nan"), None),
        (1 / 3, 0.333),
    ],
)
def test_a_share_is_from_0_to_1_or_not_known(share: float, known: float | None) -> None:
    said: list[float | None] = []
    ToolContext(report=lambda _, each: said.append(each)).progress("Reading", share)
    assert said == [known]


def test_a_context_reports_nothing_once_the_call_is_over() -> None:
    said: list[str] = []
    context = ToolContext(report=lambda text, _: said.append(text))
    context.progress("one")
    context.end()
    context.progress("two")
    assert (said, context.cancelled) == (["one"], False)
    context.end(cancelled=True)
    context.end()
    assert context.cancelled


def test_a_source_counts_once_and_has_a_title() -> None:
    context = ToolContext()
    context.source("Two\nlines\ud800", "https://example.com/a", "A passage.")
    context.source("Again", "https://example.com/a")
    context.source("", "https://example.com/b\ud800")
    assert context.sources == (
        Source("https://example.com/a", "Two lines\ufffd", "A passage.", "https://example.com/a"),
        Source("https://example.com/b\ufffd", "https://example.com/b\ufffd", "", "https://example.com/b\ufffd"),
    )


def test_a_result_is_text_with_sources_and_parts_and_its_types_are_checked() -> None:
    whole = ToolResult(
        "Text",
        (Source("s", "Title", "Passage", "https://example.com/"),),
        (
            Image("data:image/png;base64,AA==", "A dot"),
            Link("https://example.com/", "Example"),
            Table(("a", "b"), (("1", "2"),)),
        ),
    )

    def give(kind: str) -> ToolResult:
        """Gives a result."""
        if kind == "lone":
            return ToolResult("a\ud800", (), (Link("https://example.com/", "b\udfff \ud83d\ude00"),))
        return whole if kind == "whole" else ToolResult(3)  # type: ignore[arg-type]

    tool = make_tool(give)
    assert tool.run({"kind": "whole"}) == whole
    assert tool.run({"kind": "lone"}) == ToolResult("a\ufffd", (), (Link("https://example.com/", "b\ufffd 😀"),))
    with pytest.raises(msgspec.ValidationError):
        tool.run({"kind": "wrong"})
