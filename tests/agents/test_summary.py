"""Summaries of what no longer fits: written once, kept with the branch, through stops, kills and forks."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest
from client import Client
from model_server import Answer, ModelServer, reply, status, text, tool_calls
from server import Server

from deechat import config
from deechat.agents.providers.base import Scripted
from deechat.principal import Principal
from deechat.runs.handlers import FIRST, Handlers
from deechat.store.base import InsertMessage, KeepSummary, RunRow, StoredMessage, Thread
from deechat.store.sqlite.checksums import COVERED
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore

LONG = "notes of the day " * 350  # 1,500 tokens
CONTEXT = "6000"
NOTES = "They took notes."


def asks_for_summary(question: Any) -> bool:
    return str(question["messages"][0]["content"]).startswith("Summarize the conversation")


def summaries(model: ModelServer) -> list[Any]:
    return [question for question in model.asked if asks_for_summary(question)]


def sent(question: Any) -> int:
    """Counts a question's tokens as we estimate them, more or less."""
    return len(str(question["messages"])) // 4


def rule(*answers: Answer | str) -> Callable[[Any], Answer | str]:
    """Makes a rule that gives these answers to what asks for summaries, one each, and then `NOTES`."""
    left = list(answers)

    def answer(question: Any) -> Answer | str:
        if not asks_for_summary(question):
            return reply(text("Noted."), tokens=(sent(question), 3))
        return left.pop(0) if left else reply(text(NOTES), tokens=(2000, 50))

    return answer


def frames(stream: Any, kind: str) -> list[Any]:
    return [frame for frame in stream.frames if frame.get("type") == kind]


def codes(stream: Any) -> list[str]:
    return [frame["code"] for frame in frames(stream, "statusResponse")]


@pytest.fixture
def narrow(serve: Callable[..., Server], model: ModelServer) -> Client:
    """A client of a server whose model reads little, in a thread with two long turns: the next one needs a summary."""
    model.answer = rule()
    client = Client(serve(model=model, DEECHAT_CONTEXT=CONTEXT)).new_thread()
    for number in range(2):
        client.ask(f"{number}: {LONG}")
    assert not summaries(model)
    return client


def test_the_oldest_turns_become_a_summary_once_and_later_runs_use_it(narrow: Client, model: ModelServer) -> None:
    stream = narrow.ask(f"2: {LONG}")
    assert codes(stream) == ["summarizing"]
    (summary,) = frames(stream, "historySummarized")
    history = narrow.history()
    assert summary["summary"] == NOTES
    assert summary["upTo"] in [message["chatId"] for message in history[:-2]]
    assert history[-1]["summary"] == NOTES
    assert history[-1]["metrics"]["prompt_tokens"] == 2000 + sent(model.asked[-1]), "its tokens count"
    assert history[-1]["metrics"]["completion_tokens"] == 53
    (asked,) = summaries(model)
    assert "0: notes" in asked["messages"][1]["content"]
    assert "tools" not in asked
    messages = model.asked[-1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert NOTES in messages[1]["content"]
    assert messages[1]["content"].strip().endswith(f"2: {LONG}".strip())
    later = narrow.ask("And in short?")
    assert codes(later) == []
    assert NOTES in model.asked[-1]["messages"][1]["content"]
    assert len(summaries(model)) == 1
    narrow.check_all()


def test_a_second_summary_takes_in_the_first(narrow: Client, model: ModelServer) -> None:
    narrow.ask(f"2: {LONG}")
    model.answer = rule("All of it.")
    narrow.ask(f"3: {LONG}")
    narrow.ask(f"4: {LONG}")
    assert len(summaries(model)) == 2
    assert NOTES in summaries(model)[1]["messages"][1]["content"]
    first = model.asked[-1]["messages"][1]["content"]
    assert "All of it." in first
    assert NOTES not in first
    narrow.check_all()


def test_a_kill_in_the_midst_of_a_summary_asks_for_it_again(narrow: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.answer = rule(reply(text("Half a summ"), gate))
    stream = narrow.send(f"2: {LONG}")
    gate.wait_reached()
    narrow.server.kill()
    narrow.server.start()
    again = narrow.follow(stream.run_id, after=0).read()
    assert len(frames(again, "stepRestarted")) == 1
    assert [frame["summary"] for frame in frames(again, "historySummarized")] == [NOTES]
    assert again.ending is not None
    assert again.ending["reason"] == "completed"
    assert len(summaries(model)) == 2
    narrow.check_all()


def test_a_kill_after_a_summary_does_not_make_it_again(narrow: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.answer = lambda question: NOTES if asks_for_summary(question) else reply(text("Half"), gate)
    stream = narrow.send(f"2: {LONG}")
    stream.read_until("Half")
    narrow.server.kill()
    model.answer = rule()
    narrow.server.start()
    again = narrow.follow(stream.run_id, after=0).read()
    assert len(frames(again, "historySummarized")) == 1
    assert again.text == "Noted."
    assert len(summaries(model)) == 1
    assert NOTES in model.asked[-1]["messages"][1]["content"]
    narrow.check_all()


def test_a_stop_cancels_a_summary_and_the_next_question_makes_it(narrow: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.answer = rule(reply(text("Half a summ"), gate))
    stream = narrow.send(f"2: {LONG}")
    gate.wait_reached()
    assert narrow.stop(stream.run_id)["stopped"]
    stream.read()
    assert stream.ending is not None
    assert stream.ending["type"] == "stopGeneration"
    assert stream.ending["upstreamClosedMs"] is not None
    assert model.wait_closed()
    assert not frames(stream, "historySummarized")
    after = narrow.ask("And now?")
    assert [frame["summary"] for frame in frames(after, "historySummarized")] == [NOTES]
    narrow.check_all()


def test_forks_share_a_summary_and_an_edit_before_it_has_none(narrow: Client, model: ModelServer) -> None:
    stream = narrow.ask(f"2: {LONG}")
    (summary,) = frames(stream, "historySummarized")
    history = narrow.history()
    covered = [message["chatId"] for message in history].index(summary["upTo"])
    narrow.ask(f"Another third: {LONG}", parentId=history[3]["chatId"])
    assert len(summaries(model)) == 1, "the same beginning is never summarized twice"
    assert NOTES in model.asked[-1]["messages"][1]["content"]
    assert covered >= 1
    narrow.ask("Another first", parentId="")
    assert NOTES not in str(model.asked[-1]["messages"])
    narrow.ask("Another second", parentId=history[0]["chatId"] if covered > 0 else "")
    assert NOTES not in str(model.asked[-1]["messages"])
    narrow.check_all()


@pytest.mark.parametrize(
    "failing",
    [status(400, "no"), status(401, "no"), reply(text(" ")), reply(text("x"), finish=None, done=False)],
    ids=["refused", "not let in", "nothing said", "cut off"],
)
def test_where_no_summary_comes_the_answer_is_made_without(narrow: Client, model: ModelServer, failing: Answer) -> None:
    model.answer = rule(failing)
    stream = narrow.ask(f"2: {LONG}")
    assert codes(stream) == ["summarizing", "history_left_out"]
    assert [frame["summary"] for frame in frames(stream, "historySummarized")] == [""]
    assert stream.text == "Noted."
    assert "summary" not in narrow.history()[-1]
    assert [message["role"] for message in model.asked[-1]["messages"]] == ["system", "user"]
    narrow.check_all()


def test_a_summary_that_is_itself_refused_as_too_long_is_asked_for_with_less(
    narrow: Client, model: ModelServer
) -> None:
    too_long = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."
    model.answer = rule(status(400, too_long))
    stream = narrow.ask(f"2: {LONG}")
    assert [frame["summary"] for frame in frames(stream, "historySummarized")] == [NOTES]
    first, second = (len(each["messages"][1]["content"]) for each in summaries(model))
    assert second <= first // 2 + 500
    narrow.check_all()


def test_a_second_refusal_is_an_error_that_says_what_to_do(agent: Client, model: ModelServer) -> None:
    model.answer = lambda _question: status(400, "prompt is too long: 9000 tokens > 1200 maximum")
    agent.ask("short")
    assert len(model.asked) == 1, "there is nothing to leave out"
    stream = agent.ask(LONG)
    assert stream.ending is not None
    assert stream.ending["code"] == "context_length"
    assert "a shorter message" in stream.ending["error"]


def test_a_refusal_after_something_was_said_is_not_asked_again(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    error = b'data: {"error": {"message": "the request exceeds the available context size", "n_ctx": 4096}}\n\n'
    client = Client(serve(model=model)).new_thread()
    for _ in range(2):
        model.script(reply(text("Noted.")))
        client.ask(LONG)
    model.script(reply(text("I beg"), error, finish=None, done=False))
    stream = client.ask("Go on")
    assert stream.ending is not None
    assert (stream.text, stream.ending["code"]) == ("I beg", "context_length")
    assert len(model.asked) == 3
    client.check_all()


def test_an_answer_that_is_continued_after_a_summary_keeps_what_it_said(narrow: Client, model: ModelServer) -> None:
    model.answer = lambda question: (
        NOTES if asks_for_summary(question) else reply(text("The first half"), finish="length")
    )
    stream = narrow.ask(f"2: {LONG}")
    model.answer = rule()
    response = narrow.post(f"/api/runs/{stream.run_id}/continue", {}, stream=True)
    assert response.status_code == 200
    narrow.follow(response.headers["X-Run-Id"], after=0).read()
    response.close()
    messages = model.asked[-1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert NOTES in messages[1]["content"]
    assert messages[2]["content"] == "The first half"
    assert len(summaries(model)) == 1


def test_forty_questions_with_tools_pass_a_server_that_counts_otherwise(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    rng, refusals, limit = random.Random(7), [], 4096

    def strict(question: Any) -> Answer | str:
        count = len(json.dumps([question["messages"], question.get("tools")])) * 2 // 5  # 2.5 letters a token
        messages = question["messages"]
        roles = [message["role"] for message in messages if message["role"] != "system"]
        if count + question.get("max_tokens", 256) > limit:
            refusals.append(count)
            return status(400, f"This model's maximum context length is {limit} tokens, you requested {count + 256}.")
        if roles[0] != "user":
            return status(400, "Conversation roles must alternate user/assistant/user/assistant/...")
        tokens = (count, 40)
        if asks_for_summary(question):
            return reply(text("It was about sums and notes."), tokens=tokens)
        if roles[-1] == "user" and "sum" in messages[-1]["content"][-40:]:
            return reply(tool_calls(("calculator", {"expression": f"{rng.randint(1, 99)}*7"})), tokens=tokens)
        return reply(text("So it is. " * rng.randint(1, 60)), tokens=tokens)

    model.answer = strict
    client = Client(serve(model=model)).new_thread()
    for number in range(40):
        asked = f"{number}: " + "notes of the day " * rng.choice([1, 10, 60]) + rng.choice(["and the sum?", "and?"])
        stream = client.ask(asked)
        assert stream.ending is not None
        assert stream.ending["reason"] == "completed", (number, stream.ending)
    assert len(refusals) == 1, "once it is learnt nothing is refused"
    assert 2 <= len(summaries(model)) <= 15
    client.check_all()


def test_a_workspace_s_context_counts_more_than_the_setting(narrow: Client, model: ModelServer) -> None:
    narrow.post("/api/workspace/default/update", {"context": 100_000})
    assert narrow.get("/api/workspace/default")["workspace"]["context"] == 100_000
    narrow.ask(f"2: {LONG}")
    assert not summaries(model)
    assert len(model.asked[-1]["messages"]) == 6
    narrow.post("/api/workspace/default/update", {"context": None})
    assert narrow.get("/api/workspace/default")["workspace"]["context"] is None
    narrow.ask("And now?")
    assert len(summaries(model)) == 1


def test_a_server_that_gives_a_model_little_is_told_of_once(serve: Callable[..., Server], model: ModelServer) -> None:
    loaded = {"models": [{"name": "fake-1:latest", "context_length": 4096}]}
    model.routes = {"/api/ps": loaded, "/api/show": {"model_info": {"qwen3.context_length": 40960}}}
    model.answer = rule()
    try:
        client = Client(serve(model=model)).new_thread()
        streams = [client.ask(f"{number}: {LONG}") for number in range(6)]
    finally:
        model.routes = {}
    told = [
        frame for stream in streams for frame in frames(stream, "statusResponse") if frame["code"] == "context_small"
    ]
    assert [frame["params"] for frame in told] == [
        {"model": "fake-1", "could": 40960, "length": 4096, "remedy": "OLLAMA_CONTEXT_LENGTH"}
    ]
    assert "OLLAMA_CONTEXT_LENGTH" in told[0]["textResponse"]
    client.check_all()


def test_a_deleted_thread_leaves_no_summary(narrow: Client) -> None:
    narrow.ask(f"2: {LONG}")
    with closing(sqlite3.connect(narrow.server.database)) as connection:
        assert connection.execute("SELECT count(*) FROM summary").fetchone() == (1,)
        narrow.delete()
        deadline = time.monotonic() + 20
        while connection.execute("SELECT count(*) FROM summary").fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)


# -- what it costs -----------------------------------------------------------------------------------------------------


class Counting(SQLiteStore):
    """A store that counts the messages that it reads for a model, and how often it reads."""

    read, reads = 0, 0

    def branch(self, principal: Principal, thread_id: str, last_id: str | None, length: int) -> list[StoredMessage]:
        found = super().branch(principal, thread_id, last_id, length)
        self.read, self.reads = self.read + len(found), self.reads + 1
        return found

    def summary(self, principal: Principal, messages: Sequence[StoredMessage]) -> tuple[int, str] | None:
        self.reads += 1
        return super().summary(principal, messages)


def spoken(database: Database, thread: Thread, count: int, size: int = 60) -> str:
    """Writes a conversation; gives the id of its last message, a person's."""
    last: str | None = None
    works = []
    for number in range(count):
        role = "user" if (count - number) % 2 else "assistant"
        turns = "[]" if role == "user" else ""
        works.append(
            InsertMessage(StoredMessage(f"m{number}", thread.id, last, role, "word " * size, 1.0, turns=turns))
        )
        last = f"m{number}"

    SQLiteStore(database).write(*works)
    return str(last)


def made(database: Database, thread: Thread, last: str, length: int | None = None) -> tuple[Counting, Any]:
    provider = Scripted()
    provider.length = length
    store = Counting(database)
    handlers = Handlers(
        store, choose=lambda _: provider, tools={}, max_tool_rounds=10, least_context=config.CONTEXT.least
    )
    record = RunRow("r", thread.id, "a", last, None, None, "scripted-1", "en", 1.0)
    return store, handlers.build_handler(record)


@pytest.mark.parametrize("count", [1, 7, 19])
def test_a_short_thread_is_read_at_once(database: Database, thread: Thread, count: int) -> None:
    store, handler = made(database, thread, spoken(database, thread, count, size=4))
    assert (store.read, store.reads) == (count, 1)
    assert len(handler.history) == count


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_of_a_long_thread_no_more_is_read_than_fills_the_context(
    database: Database, thread: Thread, count: int
) -> None:
    last = spoken(database, thread, count)
    store, handler = made(database, thread, last, 8192)
    weight = 60 * 5 // 4
    assert 8192 / weight <= store.read <= 8192 / weight + 100 + FIRST
    assert handler.history[-1].text == "word " * 60
    SQLiteStore(database).write(KeepSummary(f"m{count - 40}", "All before."))
    again, handler = made(database, thread, last, 8192)
    assert again.read <= FIRST + 100, "a summary ends the reading"
    assert (len(handler.history), handler.summary) == (39, "All before.")


def test_the_summary_that_reaches_furthest_counts_and_a_damaged_one_does_not(
    database: Database, thread: Thread
) -> None:
    last = spoken(database, thread, 19)
    for number in (3, 9):
        SQLiteStore(database).write(KeepSummary(f"m{number}", f"Up to {number}."))
    SQLiteStore(database).write(KeepSummary("m9", "Another."))
    SQLiteStore(database).write(KeepSummary("nobody", "Nothing."))
    _, handler = made(database, thread, last)
    assert (handler.summary, len(handler.history)) == ("Up to 9.", 9)
    database.write(lambda connection: connection.execute("UPDATE summary SET text = 'x' WHERE message_id = 'm9'"))
    _, handler = made(database, thread, last)
    assert (handler.summary, len(handler.history)) == ("Up to 3.", 15)
    assert "summary 'm9'" in (database.damage.words or "")
    assert database.read("SELECT count(*) FROM summary") == [(2,)]
    assert COVERED["summary"].columns == "message_id, text, checksum"
