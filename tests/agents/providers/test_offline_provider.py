"""Claims about the offline provider: it always answers, in the language of the question, and shows the tools."""

from __future__ import annotations

import random
import re
import string
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from deechat.agents.providers.base import Question, Text, ToolSpec, Turn
from deechat.agents.providers.offline import OfflineProvider
from deechat.agents.tools import ToolError, builtin_tools
from deechat.agents.tools.ask import questions_of
from deechat.events import ToolCall
from deechat.messages import REFUSED, UNANSWERED, AssistantMessage, Message, SystemMessage, ToolMessage, UserMessage

TOOLS = {tool.name: tool for tool in builtin_tools()}
SPECS = [ToolSpec(tool.name, tool.description, tool.parameters) for tool in TOOLS.values()]


def turn(messages: Sequence[Message], *, tools: Sequence[ToolSpec] = SPECS, choice: str = "auto") -> tuple[str, Turn]:
    """Asks once, and checks the contract of the seam: pieces of text, then exactly one turn."""
    question = Question(messages, tools=tools, tool_choice="none" if choice == "none" else "auto")
    *pieces, last = OfflineProvider(lambda _: None).ask(question)
    assert all(isinstance(piece, Text) and piece.text for piece in pieces)
    assert isinstance(last, Turn)
    assert last.finish_reason == ("tool_calls" if last.calls else "stop")
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)), last


def result(call: ToolCall) -> ToolMessage:
    try:
        content = TOOLS[call.name].run(TOOLS[call.name].arguments(call.arguments)).text
        return ToolMessage(call.id, call.name, content)
    except ToolError as error:
        return ToolMessage(call.id, call.name, error.message, is_error=True)


def talk(text: str) -> str:
    """Does what the loop does: asks, runs the calls, and asks again with their results."""
    messages: list[Message] = [SystemMessage("Be helpful."), UserMessage(text)]
    said, last = turn(messages)
    if not last.calls:
        return said
    calls = tuple(msgspec.structs.replace(call, id=f"call{at}") for at, call in enumerate(last.calls))
    answer, after = turn([*messages, AssistantMessage(said, calls), *map(result, calls)])
    assert not after.calls
    return answer


def test_it_has_one_model() -> None:
    provider = OfflineProvider()
    assert (provider.name, provider.models(), provider.default_model()) == ("offline", ["offline"], "offline")


def test_arithmetic_is_done_by_the_calculator() -> None:
    said, last = turn([UserMessage("what is 17% of 2,340?")])
    assert said == ""
    assert last.calls == (ToolCall("", "calculator", '{"expression":"17% of 2,340"}'),)
    assert talk("what is 17% of 2,340?") == "`17% of 2,340` = **397.8**"


def test_arithmetic_and_time_in_one_question_are_two_calls_at_once() -> None:
    _, last = turn([UserMessage("what is 2^10 and what time is it in Tokyo?")])
    assert [call.name for call in last.calls] == ["calculator", "current_time"]
    answer = talk("what is 2^10 and what time is it in Tokyo?")
    assert "**1024**" in answer
    assert "In Tokyo it is **" in answer
    assert "(UTC+09:00)" in answer


def test_it_answers_in_the_language_of_the_question() -> None:
    answer = talk("2^10 是多少，东京现在几点？")
    assert "`2^10` = **1024**" in answer
    assert "东京现在是" in answer
    assert "连接模型" in talk("写一首诗")
    assert "no language model is connected" in talk("write a poem")


def asked_for(message: str) -> list[tuple[str, dict[str, object]]]:
    """Gives the calls that it answers a message with: the tool's name and the arguments."""
    return [(call.name, msgspec.json.decode(call.arguments)) for call in turn([UserMessage(message)])[1].calls]


def sums(message: str) -> list[object]:
    return [arguments["expression"] for name, arguments in asked_for(message) if name == "calculator"]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("what is 17% of 2,340?", ["17% of 2,340"]),
        ("what's 3*(4+5)?", ["3*(4+5)"]),
        ("calculate sqrt(2) * 10", ["sqrt(2) * 10"]),
        ("please compute (1+2)/3.", ["(1+2)/3"]),
        ("and what is 6*7?", ["6*7"]),
        ("Hello, what is 2+2?", ["2+2"]),
        ("2^10 是多少", ["2^10"]),
        ("2340 的 17% 是多少", ["17% of 2340"]),
        ("10 除以 4 等于多少", ["10 / 4"]),
        ("12 divided by 4", ["12 / 4"]),
        ("100减去37", ["100 - 37"]),
        ("３×（４＋５）", ["3×(4+5)"]),
        ("2+2=", ["2+2"]),
        ("what is 10-3", ["10-3"]),
        ("-5 + 3", ["-5 + 3"]),
        ("7 % 3", ["7 % 3"]),
        ("what is 3 x 4?", ["3 x 4"]),
        ("what is 5!?", ["5!"]),
        ("sin(30°)", ["sin(30°)"]),
        ("max(2, 3)", ["max(2, 3)"]),
        ("what is 1/0?", ["1/0"]),
        ("What is 2**100 and 5*6?", ["2**100", "5*6"]),
        ("计算 12*3 和 4/2", ["12*3", "4/2"]),
        ("1+1 and 1+1", ["1+1"]),
    ],
)
def test_a_clause_that_is_a_sum_is_given_to_the_calculator(message: str, found: list[str]) -> None:
    assert sums(message) == found


@pytest.mark.parametrize(
    "message",
    [
        "2026-11-23",
        "what is 2026-11-23?",
        "11/23/2026",
        "call 555-1234",
        "电话是 400-800-1234",
        "python 3.11",
        "v1.2-3",
        "is it open 24/7?",
        "/usr/lib/python3/4",
        "http://a.b/1+2",
        "127.0.0.1:8000",
        "C++ 17",
        "UTC+8",
        "GPT-4",
        "5-10 people",
        "1/2 cup of sugar",
        "the 1920x1080 screen",
        "100% sure",
        "ratio 3:4",
        "1. do this\n2. do that",
        "what is 5G?",
        "42",
        "第3/4章",
        "1+" * 5000 + "1",
    ],
    ids=lambda message: ascii(message[:24]),
)
def test_numbers_in_other_talk_are_left_alone(message: str) -> None:
    assert sums(message) == []


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("what time is it?", ""),
        ("what's the time at the moment?", ""),
        ("what is today's date?", ""),
        ("What time is it in Tokyo?", "Tokyo"),
        ("what time is it in New York right now?", "New York"),
        ("current time in London", "London"),
        ("what is the time in UTC+8?", "UTC+8"),
        ("what time is it in Asia/Shanghai", "Asia/Shanghai"),
        ("what time is it in the UK?", "UK"),
        ("现在几点", ""),
        ("请问几点了", ""),
        ("今天星期几？", ""),
        ("东京现在几点？", "东京"),
        ("北京時間現在幾點", "北京"),
        ("请告诉我纽约现在的时间", "纽约"),
        ("2+2是多少，伦敦现在几点？", "伦敦"),
        ("What is the time complexity of quicksort?", None),
        ("what time does the shop open?", None),
        ("date format in Python", None),
        ("it is time to go", None),
        ("what day is it tomorrow?", None),
        ("明天几号？", None),
        ("what time is it next Monday?", None),
    ],
)
def test_questions_for_the_time_name_their_place(message: str, place: str | None) -> None:
    places = [arguments.get("timezone", "") for name, arguments in asked_for(message) if name == "current_time"]
    assert places == ([] if place is None else [place])


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("sources", ["README.md", "docs/curl.md", "deechat/**/*.js*"])
def test_what_the_documents_and_the_page_suggest_shows_a_tool(sources: str) -> None:
    text = "".join(path.read_text() for path in ROOT.glob(sources))
    suggested = {
        "what is 17% of 2,340?": "calculator",
        "What is 17% of 2,340?": "calculator",
        "2340 的 17% 是多少": "calculator",
        "what is 2^10?": "calculator",
        "and what is 6*7?": "calculator",
        "What time is it in Tokyo?": "current_time",
        "东京现在几点？": "current_time",
        "ask me something": "ask_user",
        "问我一个问题": "ask_user",
        "read https://example.org": "web_fetch",
        "打开 https://example.org": "web_fetch",
        "read https://three.invalid/again": "web_fetch",
    }
    found = {message: name for message, name in suggested.items() if message in text}
    assert len(found) >= 3
    for message, name in found.items():
        assert [each for each, _ in asked_for(message)] == [name], message


@pytest.mark.parametrize("ask", ["help", "帮助"])
def test_every_example_of_its_help_shows_a_tool(ask: str) -> None:
    first = talk(ask).partition("\n\n")[0]
    examples = ["".join(found) for found in re.findall(r"\*([^*]+)\*|`([^`]+)`|“([^”]+)”", first)]
    assert all(asked_for(example) for example in examples)
    tools = {name for example in examples for name, _ in asked_for(example)}
    assert tools == {"calculator", "current_time", "web_fetch", "ask_user"}


# -- always an answer --------------------------------------------------------------------------------------------------

PIECES = [
    *("what is", "what time is it", "in", "ask me", "something", "read", "https://example.org", "and", "plus", "sqrt("),
    *("现在", "几点", "的", "17%", "多少", "打开", "问我", "今天", "明天", "和", "加", "？", "，", "１", "＋"),
    *("1", "2.5", ",", "+", "*", "^", "(", ")", "!", "°", "e", "pi", "x", " ", "\n", "\t", "?", "=", "-", "%"),
    *("```", "<b>", "{", "}", "{asked}", "`", '"', "\\", "\ud800", "\udfff", "\x00", "😀", "سلام", "\u2028"),
]


def some_text(chance: random.Random) -> str:
    """Gives a text by chance: pieces of what it understands, printable characters, or any characters at all."""
    kind = chance.randrange(3)
    if kind == 0:
        return chance.choice(["", " "]).join(chance.choices(PIECES, k=chance.randrange(12)))
    if kind == 1:
        return "".join(chance.choices(string.printable, k=chance.randrange(40)))
    return "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(20)))


def test_it_answers_any_text_and_any_result_in_the_language_of_the_text() -> None:
    chance = random.Random(14)
    kinds = set()
    for _ in range(3_000):
        text, content = some_text(chance), some_text(chance)
        is_chinese = re.search(r"[\u3400-\u9fff]", text) is not None
        said, last = turn([UserMessage(text)])
        assert bool(said) is not bool(last.calls)
        kinds |= {call.name for call in last.calls}
        if said:
            assert (re.search(r"[\u3400-\u9fff]", said) is not None) is is_chinese, text
        for number, call in enumerate(last.calls):
            TOOLS[call.name].arguments(call.arguments)  # fits the schema
            made = msgspec.structs.replace(call, id=f"call{number}")
            given = ToolMessage(made.id, made.name, content, is_error=chance.random() < 0.5)
            assert turn([UserMessage(text), AssistantMessage("", (made,)), given])[0]
    assert kinds == set(TOOLS)


def test_small_talk_gets_short_answers_without_tools() -> None:
    for message in ("hi", "Hello!", "你好", "thanks", "谢谢！"):
        said, last = turn([UserMessage(message)])
        assert not last.calls
        assert 0 < len(said) < 300


@pytest.mark.parametrize("message", ["help", "帮助", "why is the sky blue?", "为什么天是蓝的？"])
def test_else_it_explains_how_to_connect_a_model_with_commands_to_copy(message: str) -> None:
    said = talk(message)
    blocks = re.findall(r"^```sh\n(.+?)^```$", said, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for words in (
        "ollama pull",
        "llama-server",
        "lms server start",
        "OPENAI_BASE_URL=",
        "OPENAI_API_KEY=",
        "DEECHAT_MODEL=",
    ):
        assert any(words in block for block in blocks), words


OTHERS = [spec for spec in SPECS if spec.name != "calculator"]


@pytest.mark.parametrize(("tools", "choice"), [((), "auto"), (SPECS, "none"), (OTHERS, "auto")])
def test_without_its_tools_it_says_so_instead_of_calculating(tools: Sequence[ToolSpec], choice: str) -> None:
    said, last = turn([UserMessage("2+2")], tools=tools, choice=choice)
    assert not last.calls
    assert "`calculator`" in said
    assert "4" not in said


def test_an_error_of_a_tool_is_told_kindly() -> None:
    assert talk("what is 1/0?") == "Sorry, I could not work out `1/0`. Division by zero has no result."
    assert "no time zone 'Atlantis'" in talk("what time is it in Atlantis?")
    call = ToolCall("call0", "calculator", '{"expression":"1+1"}')
    asked: list[Message] = [UserMessage("1+1"), AssistantMessage("", (call,))]
    assert "Sorry" in turn([*asked, ToolMessage("call0", "calculator", "The call was cancelled.")])[0]


def test_results_are_phrased_also_when_no_more_tools_may_be_used() -> None:
    call = ToolCall("call0", "calculator", '{"expression":"1+1"}')
    asked: list[Message] = [UserMessage("1+1"), AssistantMessage("", (call,)), ToolMessage("call0", "calculator", "2")]
    assert turn(asked, choice="none")[0] == "`1+1` = **2**"


def test_only_what_was_said_last_is_answered() -> None:
    call = ToolCall("call0", "calculator", '{"expression":"1+1"}')
    earlier: list[Message] = [
        UserMessage("1+1"),
        AssistantMessage("", (call,)),
        ToolMessage("call0", "calculator", "2"),
        AssistantMessage("`1+1` = **2**"),
    ]
    _, last = turn([*earlier, UserMessage("and 2*3")])
    assert [each.arguments for each in last.calls] == ['{"expression":"2*3"}']


def test_a_message_that_joins_while_tools_run_leaves_the_first_question_its_answer() -> None:
    call = ToolCall("call0", "calculator", '{"expression":"1+1"}')
    asked: list[Message] = [UserMessage("1+1"), AssistantMessage("", (call,)), ToolMessage("call0", "calculator", "2")]
    said, last = turn([*asked, UserMessage("and 2*3")])
    assert said == "`1+1` = **2**"
    assert [each.arguments for each in last.calls] == ['{"expression":"2*3"}']
    assert turn([*asked, UserMessage("thanks")])[0] == "`1+1` = **2**\n\nYou are welcome!"


def test_results_of_calls_that_nobody_remembers_are_still_told() -> None:
    messages: list[Message] = [UserMessage("go on"), ToolMessage("lost", "weather", "rain")]
    assert turn(messages)[0] == "weather: rain"
    assert "2" in turn([UserMessage("1+1"), ToolMessage("lost", "calculator", "2")])[0]


def test_no_messages_are_no_reason_to_fail() -> None:
    assert turn([])[0]
    assert turn([UserMessage("")])[0]
    assert turn([UserMessage("\x00 \ufffd 😀")])[0]
    assert turn([UserMessage("\ud800几点")])[1].calls[0].arguments == "{}"


@pytest.mark.parametrize("message", ["help", "帮助"])
def test_an_answer_streams_in_pieces_for_no_longer_than_a_person_likes_to_wait(message: str) -> None:
    pauses: list[float] = []
    pieces = list(OfflineProvider(pauses.append).ask(Question([UserMessage(message)])))
    assert len(pieces) > 50
    assert len(pauses) == len(pieces) - 2
    assert sum(pauses) < 1.5


def test_reading_takes_no_long_time_whatever_was_written() -> None:
    # Measured at 10 ms at most; a text longer than 1,000 characters is not looked through at all.
    hard = [
        "(" * 1000,
        "1 " * 500,
        "sqrt(" * 200,
        "9," * 500,
        "9" * 1000,
        "1,234" * 200,
        "1e5" * 333 + "a",
        "1e55" * 249 + "a",
        " plus" * 200,
        " " * 999 + "a",
        "现在" * 500,
        "what time is it " + "in a" * 200,
    ]
    began = time.process_time()
    for message in [*hard, *(message * 1000 for message in hard)]:
        turn([UserMessage(message)])
    assert time.process_time() - began < 5.0


# -- asking and reading ------------------------------------------------------------------------------------------------

WEB = ToolSpec("web_fetch", "Reads a page.", {"type": "object", "properties": {"url": {"type": "string"}}})
ASK = ToolSpec("ask_user", "Asks.", {"type": "object", "properties": {"questions": {"type": "array"}}})


@pytest.mark.parametrize(
    ("message", "page"),
    [
        ("read https://example.org", "https://example.org"),
        ("Please summarize https://example.org/a?b=1+2.", "https://example.org/a?b=1+2"),
        ("can you open (https://example.org/x_(y))?", "https://example.org/x_(y)"),
        ("fetch http://127.0.0.1:8000/1+2, please", "http://127.0.0.1:8000/1+2"),
        ("打开https://example.org，谢谢", "https://example.org"),
        ("把 https://example.org/页 总结一下", "https://example.org/"),
        ("读取 https://example.org。", "https://example.org"),
        ("https://example.org", None),
        ("is https://example.org down?", None),
        ("read the manual", None),
        ("open the window", None),
    ],
)
def test_a_page_is_read_for_whoever_says_so(message: str, page: str | None) -> None:
    pages = [arguments for name, arguments in asked_for(message) if name == "web_fetch"]
    assert pages == ([{"url": page}] if page else [])


def told(message: str, name: str, content: str) -> str:
    """Gives what it says when the tool gave the content."""
    _, last = turn([UserMessage(message)], tools=[WEB, ASK])
    (call,) = (msgspec.structs.replace(call, id="c1") for call in last.calls)
    assert call.name == name
    asked: list[Message] = [UserMessage(message), AssistantMessage("", (call,)), ToolMessage("c1", name, content)]
    return turn(asked, tools=[WEB, ASK])[0]


def test_a_page_is_told_by_its_beginning_and_a_refusal_by_its_words() -> None:
    said = told("read https://example.org", "web_fetch", "Example Domain\n\n" + "word " * 1000)
    assert said.startswith("This came from https://example.org:\n\n> Example Domain\n>\n> word word")
    assert said.endswith(" word …")
    assert len(said) < 700
    assert told("打开 https://example.org", "web_fetch", "Refused.") == "读取 https://example.org 得到：\n\n> Refused."


def test_a_page_and_a_sum_are_two_wishes() -> None:
    _, last = turn([UserMessage("read https://example.org/3*4 and tell me what is 2+3")], tools=[WEB, *SPECS])
    assert [call.name for call in last.calls] == ["calculator", "web_fetch"]
    assert last.calls[0].arguments == '{"expression":"2+3"}'


@pytest.mark.parametrize(
    "message",
    [
        "ask me something",
        "Ask me a question!",
        "please ask me some questions",
        "ask me anything, please",
        "问我一个问题",
        "请问我几个问题吧",
        "考考我",
        "向我提问",
    ],
)
def test_whoever_wants_to_be_asked_is_asked_a_question_of_each_kind(message: str) -> None:
    _, last = turn([UserMessage(message)], tools=[ASK])
    (call,) = last.calls
    tool = TOOLS["ask_user"]
    questions = questions_of(tool.arguments(call.arguments))
    kinds = [(each["kind"], each.get("multiSelect", False), each.get("allowOther", False)) for each in questions]
    assert kinds == [("input", False, False), ("choice", False, False), ("choice", True, True)]


@pytest.mark.parametrize(
    "message", ["ask me tomorrow", "may I ask you something?", "请问几点了", "don't ask me anything"]
)
def test_other_talk_of_asking_is_no_such_wish(message: str) -> None:
    assert "ask_user" not in [name for name, _ in asked_for(message)]


def test_answers_are_told_in_the_language_of_the_wish() -> None:
    content = "Which city do you live in?: Paris\nTea or coffee?: (skipped)"
    said = told("ask me something", "ask_user", content)
    assert said.endswith("\n\n- Which city do you live in?: Paris\n- Tea or coffee?: (skipped)")
    assert told("问我一个问题", "ask_user", "喝茶还是咖啡？: (skipped)").endswith("\n\n- 喝茶还是咖啡？: （跳过）")


def test_its_help_names_what_else_can_be_tried_without_a_model() -> None:
    assert "ask me something" in talk("help")
    assert "read https://example.org" in talk("help")
    assert "问我一个问题" in talk("帮助")
    assert "打开 https://example.org" in talk("帮助")
    assert "`web_fetch`" in turn([UserMessage("read https://example.org")], tools=[])[0]


def without(message: str, content: str) -> str:
    """What it says when its one call came to nothing, for this reason."""
    said, last = turn([UserMessage(message)])
    (call,) = [msgspec.structs.replace(call, id="a") for call in last.calls]
    failed = ToolMessage("a", call.name, content, is_error=True)
    return turn([UserMessage(message), AssistantMessage(said, (call,)), failed])[0]


@pytest.mark.parametrize(
    ("message", "content", "words"),
    [
        ("read https://example.org", REFUSED, "You refused it, so I did not read https://example.org."),
        ("打开 https://example.org", REFUSED, "您已拒绝，所以没有读取 https://example.org。"),
        ("what is 2+2?", REFUSED, "You refused it, so I did not use `calculator`."),
        ("计算 2+2", REFUSED, "您已拒绝，所以没有使用 `calculator`。"),
        ("read https://example.org", UNANSWERED, "Nobody said yes or no, so I did not read https://example.org."),
        ("打开 https://example.org", UNANSWERED, "没有人允许或拒绝，所以没有读取 https://example.org。"),
        ("what is 2+2?", UNANSWERED, "Nobody said yes or no, so I did not use `calculator`."),
        ("计算 2+2", UNANSWERED, "没有人允许或拒绝，所以没有使用 `calculator`。"),
        ("ask me something", UNANSWERED, "My questions were not answered. Say “ask me something” to be asked again."),
        ("问我一个问题", UNANSWERED, "我的提问没有得到回答。输入“问我一个问题”可以重新提问。"),
        (
            "read https://a.invalid",
            "The host was not found.",
            "I could not read https://a.invalid. The host was not found.",
        ),
        (
            "打开 https://a.invalid",
            "The host was not found.",
            "无法读取 https://a.invalid。原因：The host was not found.",
        ),
        ("ask me something", "Interrupted.", "I could not ask you. Interrupted."),
        ("问我一个问题", "Interrupted.", "未能提问。原因：Interrupted."),
    ],
)
def test_it_says_what_did_not_happen_and_nothing_that_is_for_a_model(message: str, content: str, words: str) -> None:
    assert without(message, content) == words
