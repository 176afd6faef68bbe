"""What is known of model servers, what is learnt of them, and for how long it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from client import Client
from model_server import ModelServer, reasoning, reply, status, text, tool_calls
from openai_rig import CLOCK, HELLO, Rig, joined, notices
from server import Server
from strict_server import no_system, strict

from deechat.agents.providers.base import Question, Text, Turn
from deechat.agents.providers.openai.profiles import LASTS, MOST, UNOPENED, Profile, Profiles
from deechat.agents.providers.openai.refusals import REFUSALS
from deechat.events import ToolCall
from deechat.locale import ENGLISH, words
from deechat.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage

TOOLED = Question(HELLO.messages, tools=[CLOCK])
REFUSED = status(400, "this model does not support tools")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def tools_sent(rig: Rig) -> list[bool]:
    return ["tools" in body for body in rig.server.asked]


def test_a_refusal_is_asked_again_after_an_hour(rig: Rig) -> None:
    clock = Clock()
    provider = rig.make(profiles=Profiles(clock))
    rig.server.script(REFUSED, "a", "b", "c", "d")
    rig.ask(TOOLED, provider)
    clock.now += LASTS - 1
    assert notices(rig.ask(TOOLED, provider)) == []
    clock.now += 1
    assert notices(rig.ask(TOOLED, provider)) == []
    assert tools_sent(rig) == [True, False, False, True]
    clock.now -= 10 * LASTS  # a clock that was set back forgets sooner
    rig.ask(TOOLED, provider)
    assert tools_sent(rig)[-1]


def test_a_refusal_is_not_believed_when_the_request_that_heeds_it_fails_too(rig: Rig) -> None:
    rig.server.script(REFUSED, status(400, "the queue is full"), "a")
    assert "the queue is full" in rig.fails(TOOLED).message
    rig.ask(TOOLED)
    assert tools_sent(rig) == [True, False, True]


def test_a_refusal_is_not_believed_when_the_answer_is_left(rig: Rig) -> None:
    gate = rig.server.gate()
    rig.server.script(REFUSED, reply(text("Half"), gate), "a")
    parts = rig.provider.ask(TOOLED)
    while next(parts) != Text("Half"):
        pass
    parts.close()
    rig.ask(TOOLED)
    assert tools_sent(rig) == [True, False, True]


NO_SYSTEM = [
    "System role not supported",
    "Template error: invalid operation: System role not supported (in <string>:1)",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "Developer instruction is not enabled for models/gemma-3-27b-it",
    "unknown variant `system`, expected `user` or `assistant`",
    "message role not supported yet: system",
    "Invalid role: system",
    "'system' is not one of ['user', 'assistant'] - 'messages.0.role'",
    "Only user and assistant roles are supported!",
    "messages.0.role: Input should be 'user' or 'assistant'",
    "Conversation roles must alternate user/assistant/user/assistant/...",
]
NO_NULL = [
    "Invalid 'content': 'content' field must be a string or an array of objects.",
    "Invalid value for 'content': expected a string, got null.",
    "invalid message content type: <nil>",
    "'content' is a required property - 'messages.1'",
    "messages[1].content: Input should be a valid string",
    "null is not allowed as content",
]
NO_FIELD = [
    "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'F' is unsupported)]",
    "messages.1.assistant.F: property 'messages.1.assistant.F' is unsupported",
    "Unrecognized request argument supplied: F",
    "messages.1.assistant.F: Extra inputs are not permitted",
]
DEMANDS = [
    "Missing `reasoning_content` field in the assistant message at message index 1.",
    "The `reasoning_content` in the thinking mode must be passed back to the API.",
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
]


@pytest.mark.parametrize("words", NO_SYSTEM)
def test_a_refused_system_role_is_known_by_its_words(rig: Rig, words: str) -> None:
    rig.server.script(status(400, words), "a")
    rig.ask(Question([SystemMessage("Be kind."), UserMessage("Hello")]))
    assert [message["role"] for message in rig.server.asked[-1]["messages"]] == ["user"]


@pytest.mark.parametrize("words", NO_NULL)
def test_a_refused_null_is_known_by_its_words(rig: Rig, words: str) -> None:
    rig.server.script(status(400, words), "a")
    rig.ask(Question([UserMessage("When?"), CALLED, NOON], tools=[CLOCK]))
    assert rig.server.asked[-1]["messages"][1]["content"] == ""
    assert tools_sent(rig) == [True, True]


@pytest.mark.parametrize("words", NO_FIELD)
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_refused_field_is_known_by_its_words(rig: Rig, words: str, field: str) -> None:
    turn = turned(rig, key=field)
    rig.server.script(status(400, words.replace("F", field)), "a")
    rig.ask(Question([UserMessage("When?"), turn, NOON], tools=[CLOCK]))
    assert field in rig.server.asked[-2]["messages"][1]
    assert field not in rig.server.asked[-1]["messages"][1]
    assert tools_sent(rig) == [True, True, True]


@pytest.mark.parametrize("words", DEMANDS)
def test_a_demanded_thought_is_known_by_its_words(rig: Rig, words: str) -> None:
    rig.server.script(status(400, words), "a")
    rig.ask(Question([UserMessage("When?"), CALLED, NOON], tools=[CLOCK]))
    assert thoughts(rig) == [""]
    assert tools_sent(rig) == [True, True]


def test_what_the_model_wrote_is_no_evidence_however_it_reads(rig: Rig) -> None:
    words = "error parsing tool call: raw='tools are not supported, temperature is unknown', err=EOF"
    rig.server.script(status(500, words), status(400, words), "a", "b")
    assert notices(rig.ask(TOOLED)) == ["call_garbled", "call_garbled"]
    rig.ask(TOOLED)
    assert all(tools_sent(rig))
    assert rig.slept == [0.0, 0.0]


def test_an_error_may_be_nested_as_deeply_as_it_likes(rig: Rig) -> None:
    rig.server.script(status(400, b'{"error": ' + b'{"a": [' * 300 + b"1" + b"]}" * 300 + b"}"))
    assert rig.fails(TOOLED).code == "model_error"


def test_a_call_that_nobody_can_read_behind_the_first_words_is_an_error(rig: Rig) -> None:
    rig.server.script(reply(text("Half "), {"error": {"message": "x", "code": "tool_use_failed"}}))
    assert rig.fails(TOOLED).code == "model_error"
    assert len(rig.server.asked) == 1


CALLED = AssistantMessage("", (ToolCall("a", "clock", "{}"),))
NOON = ToolMessage("a", "clock", "noon")


def thoughts(rig: Rig) -> list[str | None]:
    return [message.get("reasoning_content") for message in rig.server.asked[-1]["messages"] if "tool_calls" in message]


def turned(rig: Rig, thought: str = "I look.", key: str = "reasoning_content") -> AssistantMessage:
    """Has the model think and call, and gives the turn as the fold of its log would."""
    rig.server.script(reply(reasoning(thought, key=key), tool_calls(("clock", "{}"))))
    turn = rig.ask(TOOLED)[-1]
    assert isinstance(turn, Turn)
    return AssistantMessage("", CALLED.calls, turn.extra, thought)


def test_a_thought_goes_back_to_the_server_and_model_that_thought_it_also_after_a_restart(rig: Rig) -> None:
    turn = turned(rig)
    asked = [UserMessage("When?"), turn, NOON, AssistantMessage("Noon."), UserMessage("And?"), CALLED, NOON]
    rig.server.script("a", "b", "c")
    rig.ask(Question(asked, tools=[CLOCK]), rig.make())
    assert thoughts(rig) == ["I look.", ""]
    rig.ask(Question(asked, model="other", tools=[CLOCK]), rig.make())
    assert thoughts(rig) == [None, None]
    with Rig() as elsewhere:
        elsewhere.server.script("d")
        elsewhere.ask(Question(asked, tools=[CLOCK]))
        assert thoughts(elsewhere) == [None, None]


def test_another_servers_thought_is_none_of_this_ones(rig: Rig) -> None:
    with Rig() as elsewhere:
        foreign = turned(elsewhere, "Elsewhere.")
    turn = turned(rig)
    rig.server.script("a")
    rig.ask(Question([UserMessage("When?"), foreign, NOON, turn, NOON], tools=[CLOCK]))
    assert thoughts(rig) == ["", "I look."]


def test_the_systems_words_stand_before_the_users_where_there_is_no_such_role(rig: Rig) -> None:
    rig.server.answer = strict(lambda _: "Yes.", no_system)
    assert joined(rig.ask(Question([SystemMessage("Be kind."), UserMessage("Hello")])), Text) == "Yes."
    assert rig.server.asked[-1]["messages"] == [{"role": "user", "content": "Be kind.\n\nHello"}]


@pytest.mark.parametrize("name", ["gemma-2-9b-it", "gemma2:27b", "google/gemma-7b-it", "gemma:2b", "codegemma-1.1-7b"])
def test_a_family_is_known_by_its_name(name: str) -> None:
    assert list(Profile(Profiles(), "http://x").of(name)) == ["no_system"]


@pytest.mark.parametrize(
    "name", ["gemma-3-27b-it", "gemma3:4b", "gemma4:e4b", "embeddinggemma", "medgemma-27b", "llama"]
)
def test_another_family_is_not(name: str) -> None:
    assert Profile(Profiles(), "http://x").of(name) == {}


def test_what_is_learnt_is_bounded() -> None:
    profiles = Profiles(Clock())
    for number in range(MOST + 10):
        profiles.learn("http://x", f"model-{number}", "no_tools")
    assert len(profiles.shown(None)) == MOST
    assert profiles.of("http://x", "model-5") == {}
    assert "no_tools" in profiles.of("http://x", "model-15")
    assert profiles.of("http://y", "model-15") == {}


def test_what_an_answer_proves_wrong_is_forgotten_of_its_server_alone() -> None:
    profiles = Profiles()
    here, there = Profile(profiles, "http://here"), Profile(profiles, "http://there")
    for profile in (here, there):
        profile.learn("m", UNOPENED)
    here.forget("m", UNOPENED)
    assert (here.of("m"), there.of("m")) == ({}, {UNOPENED: {}})


def test_each_habit_has_words() -> None:
    codes = {row.code.partition(":")[0] for row in REFUSALS}
    codes |= {"thinks_in", "thinks_unopened", "no_tool_choice", "reads"}
    assert {f"habit.{code}" for code in codes} == {key for key in words("agent", ENGLISH) if key.startswith("habit.")}


def test_a_model_that_marks_only_the_end_of_its_thinking_is_known_from_the_next_answer_on(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    client = Client(serve(model))
    model.script(*[reply(text("Hm, 6*7.</think>It is 42.", size=4))] * 2, reply(text("Hello!", size=2)))
    for retold, known in ((1, ["thinks_unopened"]), (0, ["thinks_unopened"]), (1, [])):
        stream = client.ask("What is 6*7?")
        assert stream.types.count("stepRestarted") == retold
        assert [row["code"] for row in client.get("/api/models/profile")["profile"]] == known
    assert stream.text == "Hello!"
    assert [each.get("reasoning") for each in client.get(f"{client.thread_path}/chats")["history"][1::2]] == [
        "Hm, 6*7.",
        "Hm, 6*7.",
        "",
    ]


def test_what_was_learnt_is_listed_and_forgotten(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model))
    model.answer = strict(lambda _: reply(reasoning("Hm."), text("Yes.")), no_system)
    client.ask("Hello")
    rows = client.get("/api/models/profile", headers={"Accept-Language": "zh"})["profile"]
    assert [(row["code"], row["params"], row["model"]) for row in rows] == [
        ("thinks_in", {"field": "reasoning_content"}, "fake-1"),
        ("no_system", {}, "fake-1"),
    ]
    assert rows[1]["text"] == "不接受系统角色"
    assert rows[1]["learntAt"] > 1_700_000_000
    assert client.get("/api/models/profile?model=other")["profile"] == []
    left = client.post("/api/models/forget", {"code": "no_system", "model": "fake-1"}).json()["profile"]
    assert [row["code"] for row in left] == ["thinks_in"]
    assert client.post("/api/models/forget").json()["profile"] == []
    client.ask("Again")
    assert [body["messages"][0]["role"] for body in model.asked] == ["system", "user", "system", "user"]
