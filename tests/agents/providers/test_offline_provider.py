"""Claims about the offline provider: what it takes for arithmetic or a date, how it uses the tools, what it says."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from deechat.agents.providers.base import (
    REFUSED,
    UNANSWERED,
    AssistantMessage,
    Message,
    Question,
    SystemMessage,
    Text,
    ToolMessage,
    ToolSpec,
    Turn,
    UserMessage,
)
from deechat.agents.providers.offline import OfflineProvider
from deechat.agents.providers.offline_reading import read
from deechat.agents.providers.offline_sums import sums
from deechat.agents.providers.offline_words import WORDS
from deechat.agents.tools import ToolError, builtin_tools
from deechat.agents.tools.ask import questions_of
from deechat.events import ToolCall

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
        content = TOOLS[call.name].run(TOOLS[call.name].arguments(call.arguments))
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


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("what is 17% of 2,340?", ["17% of 2,340"]),
        ("what's 3*(4+5)?", ["3*(4+5)"]),
        ("calculate sqrt(2) * 10", ["sqrt(2) * 10"]),
        ("2^10 是多少", ["2^10"]),
        ("12 divided by 4", ["12 ÷ 4"]),
        ("15 percent of 80", ["15% of 80"]),
        ("3 加 5", ["3 + 5"]),
        ("100减去37", ["100 − 37"]),
        ("10 除以 4 等于多少", ["10 ÷ 4"]),
        ("2340的17%是多少", ["17% of 2340"]),
        ("16的平方根", ["sqrt(16)"]),
        ("2的10次方", ["2^10"]),
        ("９×９", ["9×9"]),
        ("2+2=", ["2+2"]),
        ("10-3", ["10-3"]),
        ("What is 10-3?", ["10-3"]),
        ("what is 1920/2", ["1920/2"]),
        ("-5 + 3", ["-5 + 3"]),
        ("7 % 3", ["7 % 3"]),
        ("what is 3 x 4?", ["3 x 4"]),
        ("12 plus 7 times 3", ["12 + 7 × 3"]),
        ("what is 5 squared?", ["5^2"]),
        ("2 to the power of 8", ["2 ^ 8"]),
        ("the square root of 2", ["sqrt(2)"]),
        ("what is 5!?", ["5!"]),
        ("$5 * 3", ["5 * 3"]),
        ("sin(30°)", ["sin(30°)"]),
        ("(see 3*4)", ["3*4"]),
        ("I have 3 apples and 4+5 pears", ["4+5"]),
        ("please compute (1+2)/3.", ["(1+2)/3"]),
        ("What is 2**100 and 5*6?", ["2**100", "5*6"]),
        ("计算 12*3 和 4/2", ["12*3", "4/2"]),
        ("what is 1/0?", ["1/0"]),
    ],
)
def test_arithmetic_is_found_in_prose(message: str, found: list[str]) -> None:
    assert sums(message) == found


@pytest.mark.parametrize(
    "message",
    [
        "2026-11-23",
        "what is 2026-11-23?",
        "due 11/23/2026",
        "in 2026/11/23",
        "2020-2024 report",
        "call 555-1234",
        "555-1234",
        "+1 (555) 123-4567",
        "010-12345678",
        "电话是 400-800-1234",
        "138-0013-8000",
        "python 3.11",
        "3.11.2-1",
        "v1.2-3",
        "is it open 24/7?",
        "24/7",
        "/usr/lib/python3/4",
        "C:\\foo\\1\\2",
        "file-2.txt",
        "http://a.b/1+2",
        "127.0.0.1:8000",
        "10.0.0.0/8",
        "C++",
        "C++ 17",
        "C++11 and C++14",
        "i++ ; 5",
        "UTC+8",
        "GPT-4",
        "COVID-19",
        "HTTP/2",
        "5-10 people",
        "$5-$10",
        "a 3-day trip",
        "1/2 cup of sugar",
        "pages 3 - 4",
        "2 of 3 people",
        "the 1920x1080 screen",
        "100% sure",
        "I have 5!",
        "**5**",
        "ratio 3:4",
        "1:30-2:45",
        "1. do this\n2. do that",
        "3*(4+5",
        "2+2*",
        "what is 5G?",
        "ISBN 978-3-16-148410-0",
        "第3/4章",
        "```\n1+1\n```",
        "1+" * 5000 + "1",
    ],
    ids=lambda message: ascii(message[:24]),
)
def test_what_only_looks_like_arithmetic_is_left_alone(message: str) -> None:
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
        ("今天星期几？", ""),
        ("东京现在几点", "东京"),
        ("北京時間現在幾點", "北京"),
        ("请告诉我纽约现在的时间", "纽约"),
        ("2+2是多少，伦敦现在几点？", "伦敦"),
        ("What is time?", None),
        ("What is the time complexity of quicksort?", None),
        ("what time does the shop open?", None),
        ("date format in Python", None),
        ("it is time to go", None),
    ],
)
def test_questions_for_the_time_name_their_place(message: str, place: str | None) -> None:
    assert read(message).place == place


def test_a_question_about_a_day_is_answered_from_the_clock() -> None:
    today = datetime.now(UTC).date()
    assert re.search(r"2126-01-01 is a Tuesday, \*\*\d{5}\*\* days from today", talk("how many days until 2126-01-01?"))
    assert "2126-01-01 是星期二" in talk("距离2126年1月1日还有几天？")
    assert "before today" in talk("how many days since 2000-01-01?")
    assert f"{today} is today" in talk(f"how many days until {today}?") or today != datetime.now(UTC).date()
    assert read("how many days until 2027-02-30?").day is None


def test_small_talk_gets_short_answers_without_tools() -> None:
    for message in ("hi", "Hello!", "你好", "who are you?", "thanks", "谢谢！", "再见"):
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
    # Measured at 30 ms at most; what is longer than 1,000 characters is not looked through at all.
    hard = [
        "(" * 1000,
        "1 " * 500,
        "sqrt(" * 200,
        "9," * 500,
        "9" * 1000,
        "1,234" * 200,
        "what time is it " + "in a" * 200,
    ]
    began = time.process_time()
    for message in [*hard, *(message * 1000 for message in hard)]:
        read(message)
    assert time.process_time() - began < 5.0


def test_everything_is_said_in_both_languages() -> None:
    assert all(set(words) == {"en", "zh"} for words in WORDS.values())


@pytest.mark.parametrize("words", ["what day is it tomorrow?", "明天几号？", "what time is it next Monday?"])
def test_another_day_is_not_answered_with_this_one(words):
    assert read(words).place is None


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
    assert read(message).page == page
    _, last = turn([UserMessage(message)], tools=[WEB])
    arguments = [msgspec.json.decode(call.arguments) for call in last.calls if call.name == "web_fetch"]
    assert arguments == ([{"url": page}] if page else [])


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
    assert not read(message).asked


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
        ("打开 https://example.org", REFUSED, "你已拒绝，所以没有读取 https://example.org。"),
        ("what is 2+2?", REFUSED, "You refused it, so I did not use `calculator`."),
        ("计算 2+2", REFUSED, "你已拒绝，所以没有使用 `calculator`。"),
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
