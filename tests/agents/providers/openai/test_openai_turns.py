"""A streamed completion becomes the same parts wherever it is cut, whichever server's habits it has.

One file, since each habit is a row or a test over the same few lines that feed an assembler.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from model_server import DONE, delta, frame, reasoning, reply, text, tool_calls

from deechat.agents.providers.base import Part, Reasoning, Retold, Text, Turn
from deechat.agents.providers.openai.chunks import BARE, Lines, Mender, field, mend
from deechat.agents.providers.openai.thinking import ThinkSplitter
from deechat.agents.providers.openai.turn import Assembler
from deechat.errors import ModelError
from deechat.events import ToolCall, Usage


def said(error: Any) -> ModelError:
    return ModelError(str(error))


def read(pieces: Iterable[bytes]) -> tuple[list[Part], list[Part]]:
    """Gives all parts, and what is joined of them: text, reasoning and the turn."""
    assembler = Assembler(said)
    parts = [part for piece in pieces for part in assembler.feed(piece)]
    parts += assembler.end()
    assert all(part.text for part in parts if isinstance(part, Text | Reasoning))
    return parts, [*folded(parts), parts[-1]]


def folded(parts: list[Part]) -> tuple[Reasoning, Text]:
    """Gives the thinking and the text that parts come to."""
    thought = words = ""
    for part in parts:
        match part:
            case Reasoning(text):
                thought += text
            case Text(text):
                words += text
            case Retold("thinking", said, anew):
                assert words == said
                thought, words = thought + anew, ""
            case Retold("text", said, anew):
                thought, words = thought.removesuffix(said), words + anew
    return Reasoning(thought), Text(words)


def heard(*chunks: Any, **options: Any) -> tuple[str, str, Turn]:
    """Gives the reasoning, the text and the turn of an answer of these chunks."""
    thought, words, turn = read([reply(*chunks, **options).whole()])[1]
    assert isinstance(thought, Reasoning)
    assert isinstance(words, Text)
    assert isinstance(turn, Turn)
    return thought.text, words.text, turn


def calls_of(*pieces: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    chunks = [delta(tool_calls=[piece]) for piece in pieces]
    return [(call.name, call.arguments) for call in heard(*chunks, **options)[2].calls]


def piece(arguments: Any = None, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


# --- borders -----------------------------------------------------------------------------------------------------

ODD = b": comment\r\n\r\nevent: message\r\nid: 7\r\nretry: 9\r\ndata:" + frame(delta(content="a"))[5:]
STREAMS = {
    "all kinds": reply(
        reasoning("Hé", size=1), text("Où 😀?", size=1), tool_calls(("a", {"x": "é"}), ("b", {})), tokens=(3, 4)
    ).whole(),
    "only the end": reply(text("Hmm, 6*7.\n</think>\n42", size=4)).whole(),
    "harmony": reply(text("<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b", size=9)).whole(),
    "think tags": reply(text(" \n<think>no </thin yes</think>\n<think>text", size=2)).whole(),
    "CRLF": reply(text("Hello", size=2)).whole().replace(b"\n", b"\r\n"),
    "CR": reply(text("Hello", size=2)).whole().replace(b"\n", b"\r"),
    "fields": b"\xef\xbb\xbf" + ODD + DONE,
    "raw UTF-8": 'data: {"choices":[{"delta":{"content":"é😀\u2028\x85"}}]}\n\n'.encode() + DONE,
    "surrogates": reply(delta(content="a\ud83d"), delta(content="\ude00b\ud83d"), delta(content="c\ude00")).whole(),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_at_every_byte_changes_nothing(name):
    stream = STREAMS[name]
    whole = read([stream])[1]
    for at in range(len(stream) + 1):
        assert read([stream[:at], stream[at:]])[1] == whole
    assert read(stream[at : at + 1] for at in range(len(stream)))[1] == whole


def test_each_stream_says_what_it_should():
    assert read([STREAMS["think tags"]])[1] == [Reasoning("no </thin yes"), Text("<think>text"), Turn("stop")]
    assert read([STREAMS["CR"]])[1][1] == Text("Hello")
    assert read([STREAMS["fields"]])[1][1] == Text("a")
    assert read([STREAMS["raw UTF-8"]])[1][1] == Text("é😀\u2028\x85")
    assert read([STREAMS["surrogates"]])[1][1] == Text("a😀b\ufffdc\ufffd")


def test_the_deltas_of_one_read_are_one_part_of_each_kind_in_order():
    stream = reply(reasoning("ab", size=1), text("cd", size=1), reasoning("e"), text("f")).whole()
    assert read([stream])[0] == [Reasoning("ab"), Text("cd"), Reasoning("e"), Text("f"), Turn("stop")]


def test_lines_end_at_cr_lf_and_crlf_only():
    lines = Lines()
    assert lines.feed("a\u2028b\x0bc\x85d\ne\rf\r\ng".encode()) == ["a\u2028b\x0bc\x85d".encode(), b"e", b"f"]
    assert lines.feed(b"h\n") == [b"gh"]
    assert lines.end() == b""


def test_a_line_is_a_name_and_a_value():
    assert field(b"data: x: y ") == (b"data", b"x: y")
    assert field(b"data:x") == (b"data", b"x")
    assert field(b"data") == (b"data", b"")
    assert field(b": comment") == (b"", b"comment")
    assert field(b" Data : x") == (b"data", b"x")
    assert field(b"[DONE]") == (b"data", b"[DONE]")
    assert field(b'{"x": 1}') == (BARE, b'{"x": 1}')


def test_a_crlf_that_is_cut_in_two_is_one_line_break():
    lines = Lines()
    assert [lines.feed(data) for data in (b"a\r", b"\nb\r", b"\r", b"\n", b"\nc")] == [[b"a"], [b"b"], [b""], [], [b""]]
    assert lines.end() == b"c"


# --- what ends it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_a_finish_reason_ends_a_turn_without_done(finish):
    assert heard("x", finish=finish, done=False)[2] == Turn(finish)


@pytest.mark.parametrize("finish", ["", None])
def test_done_ends_a_turn_without_a_finish_reason(finish):
    assert heard(delta(finish, content="x"), finish=None)[2] == Turn("stop")
    assert heard(tool_calls(("a", {})), finish=finish)[2].finish_reason == "tool_calls"


def test_neither_is_a_failure_though_text_came():
    with pytest.raises(ModelError, match="neither"):
        heard("x", finish=None, done=False)


def test_what_follows_done_is_not_read():
    assert heard("x", DONE, "y", b"data: {\n\n")[1] == "x"


def test_a_last_line_needs_no_line_break():
    assert read([reply("x", done=False, finish=None).whole() + b"data: [DONE]"])[1][1] == Text("x")


def test_a_last_line_that_is_cut_does_not_matter_after_a_finish_reason():
    assert read([reply("x", done=False).whole() + b'data: {"usage'])[1][1:] == [Text("x"), Turn("stop")]


@pytest.mark.parametrize("finish", ["stop", "", "function_call", "tool_calls"])
def test_calls_count_whatever_the_finish_reason_says(finish):
    assert heard(tool_calls(("a", {})), finish=finish)[2] == Turn("tool_calls", (ToolCall("", "a", "{}"),))


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("STOP", "stop"),
        ("end_turn", "end_turn"),
        ("tool-calls", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("refusal", "content_filter"),
        ({"type": "length", "length": 9}, "length"),
        ("a secret?", "other"),
    ],
)
def test_a_finish_reason_has_one_word_for_what_matters(word, finish):
    assert heard("x", delta(word), finish=None, done=False)[2] == Turn(finish)


@pytest.mark.parametrize("word", ["null", "None", 7, True, [], {}, ["stop"], {"type": 3}])
def test_what_is_no_word_is_no_finish_reason(word):
    with pytest.raises(ModelError, match="neither"):
        heard("x", delta(word), finish=None, done=False)


@pytest.mark.parametrize(
    "word",
    [
        *("error", "ERROR", "network_error", "insufficient_system_resource", "abort", "canceled"),
        *("server_error", "Internal-Error", "failed", "exception", "engine_error", "overloaded", "engine_crashed"),
        *("ERROR: died", "model_failed: 0x7f", {"type": "api_error"}),
    ],
)
def test_a_finish_reason_that_names_a_failure_is_one(word):
    with pytest.raises(ModelError, match="no reason given"):
        heard("x", finish=word)


def test_what_a_finish_reason_of_many_words_says_is_not_shown():
    with pytest.raises(ModelError) as caught:
        heard("x", finish="ERROR: key 12345 died")
    assert "12345" not in caught.value.message


def test_a_finish_reason_settles_an_answer_that_has_begun():
    assembler = Assembler(said)

    def settled_after(*chunks: Any) -> bool:
        list(assembler.feed(b"".join(map(frame, chunks))))
        return assembler.settled

    assert not settled_after(delta("stop"))
    assert not settled_after(delta("stop", reasoning_content="Hm"))
    assert not settled_after(delta(content="x"))
    assert not settled_after(delta("stop")), "it went on after one, so the next may be none either"
    list(assembler.feed(DONE))
    assert assembler.settled


def test_a_finish_reason_after_the_text_settles_until_more_comes():
    assembler = Assembler(said)
    list(assembler.feed(frame(delta(content="x")) + frame(delta("stop"))))
    assert assembler.settled
    list(assembler.feed(frame({"choices": [], "usage": {}})))
    assert assembler.settled
    assert list(assembler.feed(frame(delta(content="y")))) == [Text("y")]
    assert not assembler.settled
    assert list(assembler.end()) == [Turn("stop")]


@pytest.mark.parametrize(
    "chunks", [[], [delta(role="assistant", content="")], [{"choices": []}], [delta(tool_calls=[{}])]]
)
@pytest.mark.parametrize("finish", ["stop", "tool_calls", "odd", None])
def test_a_stream_that_says_nothing_is_no_answer(chunks, finish):
    with pytest.raises(ModelError, match="without saying anything") as caught:
        heard(*chunks, finish=finish)
    assert caught.value.code == "model_protocol"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_limit_or_a_filter_says_why_nothing_came(finish):
    assert heard(finish=finish) == ("", "", Turn(finish))


@pytest.mark.parametrize("said_before", [b"", frame(delta(content="x"))])
@pytest.mark.parametrize("tail", [DONE, b""])
def test_an_object_with_words_and_no_choices_is_the_reason_where_an_end_is_missing(said_before, tail):
    aside = frame({"code": 500, "message": "the upstream died"})
    with pytest.raises(ModelError, match="the upstream died"):
        read([said_before + aside + tail])


def test_an_object_with_words_is_harmless_beside_an_answer_with_its_end():
    aside = {"status": "busy", "message": "loading the model"}
    assert heard(aside, "x", finish="stop")[1] == "x"
    assert heard("a", aside, "x", finish=None)[1] == "ax"
    assert heard("x", aside, finish="stop")[1] == "x"


def test_an_empty_error_beside_text_is_none():
    chunks = [{**delta(content="x"), "error": {"code": "", "message": None}}, {**delta(content="y"), "error": ""}]
    assert heard(chunks)[1] == "xy"


# --- usage -------------------------------------------------------------------------------------------------------


def counting(**usage: Any) -> dict[str, Any]:
    return {**delta(content="x"), "usage": usage}


@pytest.mark.parametrize(
    ("chunks", "usage"),
    [
        ([counting(prompt_tokens=1, completion_tokens=1), counting(prompt_tokens=1, completion_tokens=2)], Usage(1, 2)),
        ([counting(prompt_tokens=1, completion_tokens=2), {"choices": [], "usage": None}], Usage(1, 2)),
        ([counting(prompt_tokens=None, completion_tokens=2)], None),
        ([{"choices": None, "usage": {}}], None),
        ([{"usage": {"prompt_tokens": 1.0, "completion_tokens": 2.0}}], Usage(1, 2)),
        ([counting(prompt_tokens="1", completion_tokens=-2)], None),
        ([{"usage": [1]}], None),
    ],
)
def test_the_last_usage_that_counts_both_is_the_turns(chunks, usage):
    assert heard("x", chunks)[2].usage == usage


# --- text and reasoning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_may_have_any_of_three_names(key):
    assert heard(reasoning("why", size=1, key=key), "so")[:2] == ("why", "so")


def test_reasoning_in_several_fields_of_a_delta_is_taken_once():
    assert heard(delta(reasoning_content="why", reasoning="why", thinking="why", content="so"))[:2] == ("why", "so")


@pytest.mark.parametrize(
    ("content", "thought", "words"),
    [
        (None, "", ""),
        ("", "", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image"}, 3], "", "ab"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}], "t", "a"),
        (["a", {"type": "text", "text": "b"}], "", "ab"),
        ({"type": "text", "text": "a"}, "", "a"),
    ],
)
def test_content_may_be_text_nothing_or_a_list(content, thought, words):
    assert heard(delta(content=content), "!")[:2] == (thought, words + "!")


def test_a_refusal_is_what_the_model_said():
    assert heard(delta(content=None, refusal="I can't."))[1] == "I can't."


def test_fields_nobody_needs_and_other_choices_are_passed_over():
    other = {"choices": [{"index": 1, "delta": {"content": "other"}}, {"index": 0, "delta": None}], "error": None}
    assert heard(other, {"odd": True}, delta(content="x", audio={"a": 1}), {"choices": [{}]})[1] == "x"


@pytest.mark.parametrize(
    ("answer", "thought", "words"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n <think>a</think>b", "a", "b"),
        ("<think></think>b", "", "b"),
        ("<think>\n \n</think>\nb", "", "b"),
        ("<think>\n a </think> b", "a ", "b"),
        ("<thin", "", "<thin"),
        ("<thinks>b", "", "<thinks>b"),
        (" <b>x", "", " <b>x"),
        ("  ", "", "  "),
        ("x<think>a</think>", "", "x<think>a</think>"),
        ("<think>a</think><think>b</think>", "a", "<think>b</think>"),
        ("<think><</think>b", "<", "b"),
        # other tags
        ("<Thinking>a</thinking>b", "a", "b"),
        ("<thought>a</think></thought>b", "a</think>", "b"),
        ("<reasoning>a</reasoning>b", "a", "b"),
        ("<seed:think>a</seed:think>b", "a", "b"),
        ("[THINK]a[/THINK]b", "a", "b"),
        ("[THIS] is [a list]", "", "[THIS] is [a list]"),
        ("\n◁think▷a◁/think▷b", "a", "b"),
        ("<|channel>thought\na<channel|>b", "a", "b"),
        ("<|START_THINKING|>a<|END_THINKING|>b", "a", "b"),
        # never closed: all of it is the answer
        ("<think>a", "", "<think>a"),
        ("<think>a</thi", "", "<think>a</thi"),
        ("<think>", "", "<think>"),
        ("<think>\n", "", "<think>\n"),
        ("<thinking>b", "", "<thinking>b"),
        ("<think>ä\n\nb</thought>", "", "<think>ä\n\nb</thought>"),
        # never opened: all of it so far was thinking
        ("a</think>b", "a", "b"),
        ("a\n</think>\n\nb", "a\n", "b"),
        ("  a.\n\nc: </think>", "", "  a.\n\nc: </think>"),
        ("So it is 42. </think> It is 42.", "So it is 42. ", "It is 42."),
        ("So it is 42 </think>\nIt is 42.", "So it is 42 ", "It is 42."),
        ("So it is 42 </think>  It is 42.", "So it is 42 ", "It is 42."),
        ('They say "hi"</think>b', 'They say "hi"', "b"),
        ("想一想。</think>四十二", "想一想。", "四十二"),
        ("想一想\n</think>四十二", "想一想\n", "四十二"),
        ("a<b>c</b></thinking>d</think>", "a<b>c</b>", "d</think>"),
        ("`a` and `b`</think>c", "`a` and `b`", "c"),
        ("```\n</p>\n```\n</think>c", "```\n</p>\n```\n", "c"),
        ("a[/THINK]b", "a", "b"),
        ("a◁/think▷b", "a", "b"),
        (" </think>b", "", "b"),
        # words of an answer
        ("It ends with </think> and no more.", "", "It ends with </think> and no more."),
        ("It ends with </think>", "", "It ends with </think>"),
        ("It ends with </think>.", "", "It ends with </think>."),
        ("It ends with `</think>`.", "", "It ends with `</think>`."),
        ('It ends with "</think>".', "", 'It ends with "</think>".'),
        ("It ends so (</think>).", "", "It ends so (</think>)."),
        ("使用</think>标签", "", "使用</think>标签"),
        ("使用 </think> 标签", "", "使用 </think> 标签"),
        ("```\nx\n</think>\n```", "", "```\nx\n</think>\n```"),
        ("Write <think>a</think> and <think>\n</think>.", "", "Write <think>a</think> and <think>\n</think>."),
        ("`<think>` begins it.\n</think> ends it.", "", "`<think>` begins it.\n</think> ends it."),
        ("<think> is a tag.", "", "<think> is a tag."),
        ("<think>, <thought> and others", "", "<think>, <thought> and others"),
        ("<think> begins and </think> ends it.", "", "<think> begins and </think> ends it."),
        ("<think> hm, 6*7.\n</think>\n42", "hm, 6*7.\n", "42"),
        # the harmony format
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "a", "b"),
        ("<|start|>assistant<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b<|return|>", "a", "b"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|>d",
            "ac",
            "d",
        ),
        ("<|channel|>final <|constrain|>json<|message|>{}", "", "{}"),
        ("<|channel|>final<|message|>a <|b|> <| c <", "", "a <|b|> <| c <"),
        ("<|start|>assistant<|message|>b", "", "b"),
        ("<|channel|>analysis<|message|>a", "", "a"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assist", "a", ""),
        ("<|channel|>final<|message|>a<|end|><|start|>assist", "", "a"),
        ("<|channel|>final<|message|>a, as <|channel|> is a token", "", "a, as <|channel|> is a token"),
        ("<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b <|start|>c", "a", "b <|start|>c"),
        ("<|channel|>final<|message|>a<|end|>b <|start|>", "", "ab <|start|>"),
        ("<|channel|> is a token", "", "<|channel|> is a token"),
        ("<|channel|> is a token" + " and so on" * 40, "", "<|channel|> is a token" + " and so on" * 40),
        ("<|chan", "", "<|chan"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, None])
def test_thinking_is_told_from_the_answer_and_nothing_is_swallowed(answer, thought, words, size):
    assert heard(text(answer, size=size))[:2] == (thought, words)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_thinking_that_was_cut_stays_thinking(finish):
    assert heard("<think>a", finish=finish)[:2] == ("a", "")
    assert heard("<|channel|>analysis<|message|>a", finish=finish)[:2] == ("a", "")


def test_a_header_that_was_cut_is_no_text():
    assert heard("<|channel|>final<|message|>a<|start|>assist", finish="length")[:2] == ("", "a")


def test_thinking_before_a_call_needs_no_closing_tag():
    assert heard("<think>a", tool_calls(("f", {})))[:2] == ("a", "")


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thinking_of_white_space_is_none(key):
    assert heard(reasoning(" \n", size=1, key=key), "b")[:2] == ("", "b")
    assert heard(reasoning(" \n a \n", size=1, key=key), "b")[:2] == (" \n a \n", "b")


def test_where_thinking_comes_beside_the_text_nothing_else_is_thinking_that_was_not_opened():
    assert heard(reasoning("a"), text("b</think>c", size=1))[:2] == ("a", "b</think>c")
    assert heard(reasoning("a"), text("\n</think>c", size=1))[:2] == ("a", "c")
    assert heard(reasoning("a"), text("<think>b</think>c", size=1))[:2] == ("ab", "c")
    assert heard(reasoning("a"), text("<think>b", size=1))[:2] == ("a", "<think>b")


def test_what_nothing_opened_is_told_anew_once_it_is_known():
    parts = read(text_reads("Hm", "m.</thi", "nk>42"))[0]
    assert parts[:-1] == [Text("Hm"), Text("m."), Retold("thinking", "Hmm.", "Hmm."), Text("42"), *parts[5:-1]]
    assert read(text_reads("Hmm.</think>42"))[0][:-1] == [Reasoning("Hmm."), Text("42")]


def text_reads(*words: str) -> list[bytes]:
    """Gives the reads of an answer, each of which says something."""
    return [*(frame(delta(content=word)) for word in words), frame(delta(finish="stop")), DONE]


def test_a_model_that_is_known_to_begin_with_thinking_needs_no_opening_tag():
    def heard_of(*words: str) -> tuple[str, str, bool | None]:
        assembler = Assembler(said, thinks=True)
        parts = [part for read in text_reads(*words) for part in assembler.feed(read)]
        parts += assembler.end()
        thought, answer = folded(parts)
        return thought.text, answer.text, assembler.learnt

    assert heard_of("Hm", "m </th", "ink>42") == ("Hmm ", "42", True)
    assert heard_of("\n<think>Hmm", "</think>42") == ("Hmm", "42", None)
    assert heard_of("It is", " 42.") == ("", "It is 42.", False)
    assert heard_of("</think>42") == ("", "42", True)


def test_a_closing_tag_is_looked_for_in_no_more_than_thinking_may_be():
    long = "word " * 60_000
    assert heard(text(long + "\n</think>b", size=5_000))[1].endswith("\n</think>b")
    many = "\nA `</think>` here." * 30
    assert heard(text(many + "\n</think>b", size=50))[1].endswith("\n</think>b")


def test_a_splitter_gives_at_once_what_is_sure():
    splitter = ThinkSplitter()
    assert splitter.feed("<think>ab") == [(Reasoning, "ab")]
    assert splitter.feed("c</th") == [(Reasoning, "c")]
    assert splitter.feed("ink>d") == [(Text, "d")]


# --- surrogates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("\ud83d\ude00", "😀"),
        ("\ud83d", "\ufffd"),
        ("x\ude00", "x\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("a\ude00\ud83db", "a\ufffd\ufffdb"),
        ("plain é 😀", "plain é 😀"),
    ],
)
def test_pairs_are_joined_and_lone_surrogates_replaced(broken, whole):
    assert mend(broken) == whole
    mender = Mender()
    assert "".join([*map(mender.feed, broken), mender.end()]) == whole


def test_pairs_split_across_deltas_are_joined_in_text_reasoning_and_arguments():
    calls = [delta(tool_calls=[piece(half, name="f", index=0)]) for half in ("\ud83d", "\ude00")]
    thought, words, turn = heard(reasoning("\ud83d\ude00", size=1), text("\ud83d\ude00", size=1), calls)
    assert (thought, words, turn.calls[0].arguments) == ("😀", "😀", "😀")


def test_no_lone_surrogate_is_left_anywhere():
    chunks = [delta(content="a\ud83d"), delta(reasoning_content="\ude00"), delta(finish="odd\ud83d")]
    details = delta(reasoning_details=[{"type": "x\ud83d", "data": {"\ude00": ["\ud83d"]}}])
    call = delta(tool_calls=[piece({"x": "\ud83d"}, name="f\ud83d", index=0)])
    thought, words, turn = heard(chunks, details, call, finish=None)
    json.dumps([thought, words, turn.finish_reason, turn.extra, [(c.name, c.arguments) for c in turn.calls]]).encode()
    assert turn.finish_reason == "other"
    for spoken in (thought, words, str(turn.extra), turn.calls[0].name, turn.calls[0].arguments):
        spoken.encode()
        assert "\ufffd" in spoken


# --- tool calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, None])
def test_calls_come_in_pieces_by_index(size):
    chunks = tool_calls(("a", '{"x": 1}'), ("b", '{"y": "z"}'), size=size)
    assert heard(chunks)[2].calls == (ToolCall("", "a", '{"x": 1}'), ToolCall("", "b", '{"y": "z"}'))


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        # whole in one chunk, without an id, without an index
        ([piece('{"x": 1}', name="a", index=0)], [("a", '{"x": 1}')]),
        ([piece('{"x": 1}', name="a")], [("a", '{"x": 1}')]),
        # neither index nor id: a name begins, the rest goes on
        ([piece("", name="a"), piece('{"x"'), piece(": 1}"), piece("{}", name="b")], [("a", '{"x": 1}'), ("b", "{}")]),
        # by id alone, mixed
        (
            [piece("{", name="a", id="1"), piece("[", name="b", id="2"), piece("}", id="1"), piece("]", id="2")],
            [("a", "{}"), ("b", "[]")],
        ),
        # the name again in each piece
        ([piece("{", name="a", index=0, id="1"), piece("}", name="a", index=0, id="1")], [("a", "{}")]),
        ([piece("{", name="a", index=0), piece("}", name="a", index=0)], [("a", "{}")]),
        ([piece("{", name="a"), piece("}", name="a")], [("a", "{}")]),
        ([piece("{", name="a", id="1"), piece("}", name="a", id="1")], [("a", "{}")]),
        # the same call twice, each whole
        ([piece("{}", name="a"), piece("{}", name="a")], [("a", "{}"), ("a", "{}")]),
        # the name in parts, and an empty one afterwards
        ([piece(name="get_", index=0), piece(name="it", index=0), piece("{}", name="", index=0)], [("get_it", "{}")]),
        # every call with index 0, told apart by id or by name
        ([piece("{}", name="a", index=0, id="1"), piece("{}", name="a", index=0, id="2")], [("a", "{}"), ("a", "{}")]),
        ([piece("{}", name="a", index=0), piece("{}", name="b", index=0)], [("a", "{}"), ("b", "{}")]),
        # another id in each piece of one call
        ([piece("{", name="a", index=0, id="1"), piece("}", index=0, id="2")], [("a", "{}")]),
        # an object instead of its text, nothing at all, something else
        ([piece({"x": "é"}, name="a", index=0)], [("a", '{"x": "é"}')]),
        ([piece(None, name="a", index=0), piece("", name="b", index=1)], [("a", "{}"), ("b", "{}")]),
        ([piece("no json", name="a", index=0)], [("a", "no json")]),
        # indices that do not count from 0
        ([piece("{}", name="a", index=5), piece("[]", name="b", index=3)], [("a", "{}"), ("b", "[]")]),
    ],
)
def test_calls_are_put_together_however_they_are_told_apart(pieces, calls):
    assert calls_of(*pieces) == calls


def test_several_calls_come_in_one_chunk():
    both = [piece("{}", name="a", index=0), piece("[]", name="b", index=1)]
    assert [call.name for call in heard(delta(tool_calls=both))[2].calls] == ["a", "b"]
    nameless = [piece("{}", name="a"), piece("[]", name="b")]
    assert [call.name for call in heard(delta(tool_calls=nameless))[2].calls] == ["a", "b"]


def test_a_legacy_function_call_is_a_call():
    chunks = [delta(function_call={"name": "a", "arguments": '{"x"'}), delta(function_call={"arguments": ": 1}"})]
    turn = heard(chunks, finish="function_call")[2]
    assert turn == Turn("tool_calls", (ToolCall("", "a", '{"x": 1}'),))


def test_text_and_calls_stand_in_one_turn():
    thought, words, turn = heard("Let me see. ", tool_calls(("a", {})), "Done.")
    assert (thought, words, len(turn.calls)) == ("", "Let me see. Done.", 1)


# --- what goes back ----------------------------------------------------------------------------------------------


def test_lists_of_reasoning_are_kept_and_their_pieces_joined():
    def details(*items: dict[str, Any]) -> dict[str, Any]:
        return delta(reasoning_details=list(items))

    turn = heard(
        details({"type": "reasoning.text", "index": 0, "text": "a", "signature": None}),
        details({"type": "reasoning.text", "index": 0, "text": "b", "signature": "s"}, {"type": "x", "data": "1"}),
        details({"type": "x", "data": "2"}),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "t"}]),
        delta(thinking_blocks=[{"type": "thinking", "thinking": "", "signature": "z"}]),
    )[2]
    assert turn.extra == {
        "reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
            {"type": "x", "data": "1"},
            {"type": "x", "data": "2"},
        ],
        "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "z"}],
    }


def test_reasoning_details_are_bounded():
    with pytest.raises(ModelError) as caught:
        heard([delta(reasoning_details=[{"data": "x" * 100_000}])] * 41)
    assert caught.value.code == "answer_too_long"


def test_extra_content_of_calls_is_kept_beside_them():
    signed = piece("{}", name="b", index=1, extra_content={"s": 1})
    turn = heard(delta(tool_calls=[piece("{}", name="a", index=0), signed]))[2]
    assert turn.extra == {"tool_calls": [None, {"s": 1}]}
