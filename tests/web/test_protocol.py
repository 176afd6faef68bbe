"""The wire contract's stream and messages, seen by a plain HTTP client of the real server."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest
from client import Client, Stream
from model_server import Answer, ModelServer, nap, reasoning, reply, text, tool_calls
from server import Server

SUM = [("calculator", {"expression": "2+3"})]


def test_an_answer_is_the_frames_of_the_contract_in_their_order(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(*SUM)), reply(reasoning("Hm."), text("It is 5."), tokens=(7, 3)))
    stream = agent.ask("What is 2+3?")
    assert stream.types == [
        "runStarted",
        None,
        "stepStarted",
        "stepFinished",
        "statusResponse",
        "toolCallInvocation",
        "toolCallResult",
        "stepStarted",
        "reasoningChunk",
        "textResponseChunk",
        "stepFinished",
        "textResponseChunk",
        "finalizeResponseStream",
    ]
    assert [block.opening for block in stream.blocks] == [b"retry: 1500\n", *[b""] * (len(stream.blocks) - 1)]
    assert stream.frames[1]["action"] == "rename_thread"


def test_a_stream_says_what_proxies_and_pages_must_know(client: Client) -> None:
    headers = client.ask("hi").response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Heartbeat"] == "15"
    assert uuid.UUID(headers["X-Run-Id"])


def test_text_and_endings_share_the_message_id_and_nothing_else_does(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(*SUM)), reply(text("5")))
    frames = agent.ask("2+3?").frames
    ident = frames[0]["id"]
    assert {frame["id"] for frame in frames} == {ident}
    for seq, frame in enumerate(frames, start=1):
        grouped = frame.get("type") in {"textResponseChunk", "finalizeResponseStream"}
        assert frame["uuid"] == (ident if grouped else f"{ident}:{seq}")


def test_the_message_of_an_answer_is_what_its_frames_said(agent: Client, model: ModelServer) -> None:
    model.script(
        reply(text("Let me see."), tool_calls(*SUM)), reply(reasoning("Easy."), text("It is 5.", size=3), tokens=(9, 4))
    )
    stream = agent.ask("What is 2+3?")
    question, answer = agent.history()
    assert question["content"] == "What is 2+3?"
    assert question["role"] == "user"
    assert answer["parentId"] == question["chatId"]
    assert answer["chatId"] == stream.frames[0]["id"]
    assert answer["run"] == stream.run_id
    assert answer["content"] == stream.text == "Let me see.\n\nIt is 5."
    assert answer["reasoning"] == "Easy."
    assert (answer["type"], answer["reason"], answer["sources"]) == ("chat", "completed", [])
    assert answer["metrics"] == stream.frames[-1]["metrics"]
    (call,) = answer["toolCalls"]
    assert (call["name"], call["arguments"], call["content"], call["isError"]) == (
        "calculator",
        {"expression": "2+3"},
        "5",
        False,
    )
    assert "error" not in answer


def test_metrics_sum_the_steps_as_the_model_server_counts_them(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(*SUM), tokens=(10, 5)), reply(text("5"), tokens=(20, 1)))
    metrics = agent.ask("2+3?").frames[-1]["metrics"]
    assert (metrics["prompt_tokens"], metrics["completion_tokens"], metrics["total_tokens"]) == (30, 6, 36)
    assert "estimated" not in metrics
    assert metrics["model"] == "fake-1"
    assert 0 < metrics["ttft"] <= metrics["duration"]
    assert set(metrics) == {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "outputTps",
        "ttft",
        "duration",
        "model",
    }


def test_metrics_say_when_they_are_estimates(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("Four words of text.")))
    metrics = agent.ask("hi").frames[-1]["metrics"]
    assert metrics["estimated"] is True
    assert metrics["completion_tokens"] > 0


def test_only_the_first_run_of_an_unnamed_thread_names_it(client: Client) -> None:
    first, second = client.ask("Hello there, DeeChat"), client.ask("And again")
    assert first.frames[1] == {
        "id": first.frames[0]["id"],
        "uuid": first.frames[0]["id"] + ":2",
        "action": "rename_thread",
        "thread": {"slug": client.thread, "name": "Hello there, DeeChat"},
    }
    assert first.frames[0]["thread"]["name"] is None
    assert "rename_thread" not in [frame.get("action") for frame in second.frames]
    assert second.frames[0]["thread"]["name"] == "Hello there, DeeChat"


def test_a_named_thread_keeps_its_name(server: Server) -> None:
    client = Client(server).new_thread("Mine")
    assert "rename_thread" not in [frame.get("action") for frame in client.ask("hi").frames]
    threads = client.get("/api/workspace/default/threads")["threads"]
    assert threads[0] == {**threads[0], "slug": client.thread, "name": "Mine"}


# -- cursors -----------------------------------------------------------------------------------------------------------


def test_a_cursor_at_the_end_of_an_ended_run_gets_204(client: Client) -> None:
    stream = client.ask("hi")
    response = client.call("GET", f"/api/runs/{stream.run_id}/events", params={"after": stream.last_seq})
    assert (response.status_code, response.content) == (204, b"")


def test_a_cursor_beyond_the_end_is_told_to_forget_and_gets_everything(client: Client) -> None:
    stream = client.ask("hi")
    for cursor in (stream.last_seq + 1, "9" * 400, "0" * 30 + "999999"):
        again = client.follow(stream.run_id, headers={"Last-Event-ID": str(cursor)}).read()
        assert again.blocks[0].data == {"type": "resync"}
        assert again.blocks[0].seq is None
        assert again.frames == stream.frames


def test_the_header_wins_over_the_query(client: Client) -> None:
    stream = client.ask("hi")
    again = client.follow(stream.run_id, after=1, headers={"Last-Event-ID": "3"}).read()
    assert again.numbered[0].seq == 4


def test_a_cursor_that_is_no_digits_is_a_400(client: Client) -> None:
    run = client.ask("hi").run_id
    for cursor in ("x", "-1", "1.5", "²", "1 2", "٣"):
        response = client.call("GET", f"/api/runs/{run}/events", params={"after": cursor})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_cursor")


def test_head_runs_nothing_and_holds_no_place(client: Client, serve: Callable[..., Server]) -> None:
    small = Client(serve(DEECHAT_MAX_STREAMS="1"))
    run = small.ask("hi").run_id
    for _ in range(3):
        response = small.call("HEAD", f"/api/runs/{run}/events")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Type"].startswith("text/event-stream")
    assert small.call("HEAD", f"{small.thread_path}/stream-chat").status_code == 405
    small.check_all()


def test_followers_that_come_at_any_time_see_the_same(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("word " * 40, size=5), rate=200))
    stream = agent.send("Count")
    stream.read_until("stepStarted")
    followers: list[Stream] = []

    def follow() -> None:
        follower = Stream(agent.call("GET", f"/api/runs/{stream.run_id}/events", stream=True))
        followers.append(follower.read())

    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    stream.read()
    for thread in threads:
        thread.join(30)
    assert len(followers) == 8
    assert all(follower.frames == stream.frames for follower in followers)


def test_a_viewer_that_leaves_changes_nothing(agent: Client, model: ModelServer) -> None:
    model.script(reply(text("word " * 40, size=5), rate=200))
    stream = agent.send("Count")
    stream.read_until("word")
    stream.close()
    assert agent.wait_ended(stream.run_id)["reason"] == "completed"
    assert agent.history()[1]["content"] == "word " * 40


def test_every_answer_says_how_often_heartbeats_come(serve: Callable[..., Server]) -> None:
    client = Client(serve(DEECHAT_HEARTBEAT="0.25", DEECHAT_PASSWORD="secret"))
    for path in ("/api/ping", "/api/workspaces", "/api/nothing"):
        assert client.call("GET", path).headers["X-Heartbeat"] == "0.25", path
    client.headers["Authorization"] = "Bearer secret"
    run_id = client.ask("hi").run_id
    for options in ({"Accept": "application/x-ndjson"}, {"Accept": "text/event-stream"}):
        response = client.call("GET", f"/api/runs/{run_id}/events", headers=options, stream=True)
        assert response.headers["X-Heartbeat"] == "0.25"
        response.close()


def test_a_stream_of_a_run_that_waits_begins_at_once_and_without_an_empty_event(client: Client) -> None:
    asking = client.send("ask me something")
    asking.read_until("clarificationRequest")
    response = client.call("GET", f"/api/runs/{asking.run_id}/events?after={asking.last_seq}", stream=True)
    pieces = response.iter_content(chunk_size=None)
    assert next(pieces) == b"retry: 1500\n"  # long before the first heartbeat; the block goes on with what comes next
    client.stop(asking.run_id)
    rest = b"".join(pieces)
    assert rest.startswith(b"id: %d\n" % (asking.last_seq + 1))
    assert b"retry" not in rest


def test_a_silent_model_server_means_heartbeats(serve: Callable[..., Server], model: ModelServer) -> None:
    client = Client(serve(model=model, DEECHAT_HEARTBEAT="0.2"))
    gate = model.gate()
    model.script(reply(gate, text("At last.")))
    stream = client.send("Well?")
    beats = [stream.read_until("heartbeat") for _ in range(3)]
    assert [beat.data for beat in beats] == [{"type": "heartbeat", "lastEventId": 3}] * 3
    assert all(beat.seq is None for beat in beats)
    gate.release()
    assert stream.read().text == "At last."
    client.check_all()


# -- one run a thread --------------------------------------------------------------------------------------------------


def test_a_thread_has_one_run_at_a_time(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(gate, text("Done.")))
    stream = agent.send("First")
    response = agent.post(f"{agent.thread_path}/stream-chat", {"message": "Second"})
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "run_active"
    assert response.json()["error"]["runId"] == stream.run_id
    chats = agent.get(f"{agent.thread_path}/chats")
    assert chats["activeRun"] == stream.run_id
    assert [message["content"] for message in chats["history"]] == ["First"]
    assert agent.run(stream.run_id)["status"] == "running"
    gate.release()
    stream.read()
    assert agent.get(f"{agent.thread_path}/chats")["activeRun"] is None
    assert agent.run(stream.run_id) == {
        **agent.run(stream.run_id),
        "status": "ended",
        "reason": "completed",
        "pending": [],
        "model": "fake-1",
        "lastEventId": stream.last_seq,
    }


def test_the_same_request_again_joins_the_first_run_and_runs_nothing(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(gate, text("Once.")))
    first = agent.send("Hello", clientRequestId="abc")
    second = agent.send("Hello", clientRequestId="abc")
    assert second.run_id == first.run_id
    gate.release()
    assert first.read().frames == second.read().frames
    third = agent.ask("Hello", clientRequestId="abc")
    assert third.frames == first.frames
    assert len(model.asked) == 1
    other = agent.post(f"{agent.thread_path}/stream-chat", {"message": "Bye", "clientRequestId": "abc"})
    assert other.status_code == 422
    elsewhere = agent.new_thread()
    model.script("Twice.")
    assert elsewhere.ask("Hello", clientRequestId="abc").text == "Twice."


def test_the_same_request_many_times_at_once_is_one_run(agent: Client, model: ModelServer) -> None:
    model.script(reply(nap(0.1), text("Once.")))
    runs: list[str] = []

    def send() -> None:
        response = agent.post(
            f"{agent.thread_path}/stream-chat", {"message": "Hello", "clientRequestId": "x"}, stream=True
        )
        runs.append(Stream(response).read().run_id)

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(runs) == 10
    assert len(set(runs)) == 1
    assert len(model.asked) == 1


# -- history -----------------------------------------------------------------------------------------------------------


def test_the_model_is_shown_the_thread_and_its_tool_calls(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(*SUM)), reply(text("5.")), "Six.")
    agent.ask("2+3?")
    agent.ask("plus one?")
    system, *messages = model.asked[-1]["messages"]
    assert system["role"] == "system"
    assert [(each["role"], each.get("content")) for each in messages] == [
        ("user", "2+3?"),
        ("assistant", messages[1].get("content")),
        ("tool", "5"),
        ("assistant", "5."),
        ("user", "plus one?"),
    ]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]


def test_a_branch_leaves_out_what_it_does_not_follow(agent: Client, model: ModelServer) -> None:
    model.script("One.", "Two.", "Other two.", "Fresh.")
    agent.ask("first")
    after_first = agent.history()[-1]["chatId"]
    agent.ask("second")
    agent.ask("another second", parentId=after_first)
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == ["first", "One.", "another second"]
    history = agent.history()
    assert history[4]["parentId"] == after_first
    agent.ask("from the start", parentId="")
    assert [each["content"] for each in model.asked[-1]["messages"][1:]] == ["from the start"]
    assert agent.history()[-2]["parentId"] is None


def test_a_conversation_that_fits_is_sent_whole(agent: Client, model: ModelServer) -> None:
    model.answer = lambda question: f"answer {len(question['messages'])}"
    for number in range(12):
        agent.ask(f"question {number}")
    sent = model.asked[-1]["messages"][1:]
    assert [message["role"] for message in sent] == ["user", "assistant"] * 11 + ["user"]
    assert (sent[0]["content"], sent[-1]["content"]) == ("question 0", "question 11")


def test_history_comes_in_pages(agent: Client, model: ModelServer) -> None:
    model.answer = lambda _question: "Yes."
    for number in range(3):
        agent.ask(str(number))
    everything = agent.history()
    assert len(everything) == 6
    last = agent.get(f"{agent.thread_path}/chats", params={"limit": "2"})["history"]
    assert last == everything[4:]
    earlier = agent.get(f"{agent.thread_path}/chats", params={"limit": "3", "before": last[0]["chatId"]})["history"]
    assert earlier == everything[1:4]


def test_the_default_thread_has_two_paths_and_is_listed_once_it_has_messages(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    assert client.get("/api/workspace/default/threads")["threads"] == []
    response = client.post("/api/workspace/default/stream-chat", {"message": "hi"}, stream=True)
    Stream(response).read()
    assert client.get("/api/workspace/default/chats") == client.get("/api/workspace/default/thread/default/chats")
    assert len(client.history()) == 2
    assert [each["slug"] for each in client.get("/api/workspace/default/threads")["threads"]] == ["default"]
    assert client.call("DELETE", "/api/workspace/default/thread/default").status_code == 200
    assert client.history() == []
    assert client.get("/api/workspace/default/threads")["threads"] == []


# -- how long an answer may be -----------------------------------------------------------------------------------------


def test_the_limit_of_tokens_is_the_workspaces_or_else_the_settings(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    client = Client(serve(model=model, DEECHAT_MAX_TOKENS="500"))
    path = "/api/workspace/default"

    def asked(**changes: int | None) -> int | None:
        answer = client.post(f"{path}/update", changes).json()["workspace"]
        assert answer["maxTokens"] == client.get(path)["workspace"]["maxTokens"] == changes.get("maxTokens")
        model.script("Yes.")
        client.ask("hi")
        return model.asked[-1].get("max_tokens")  # type: ignore[no-any-return]

    assert asked() == 500
    assert asked(maxTokens=20) == 20
    assert asked(maxTokens=None) == 500
    client.check_all()


def test_without_a_limit_none_is_sent(agent: Client, model: ModelServer) -> None:
    model.script("Yes.")
    agent.ask("hi")
    assert not {"max_tokens", "max_completion_tokens"} & set(model.asked[-1])


@pytest.mark.parametrize(
    ("answer", "remark"),
    [(reply(reasoning("Hm.")), "no_text"), (reply("We the", finish="content_filter"), "content_filter")],
)
def test_an_answer_that_lacks_something_is_complete_and_can_be_continued(
    agent: Client, model: ModelServer, answer: Answer, remark: str
) -> None:
    model.script(answer, "Here.")
    first = agent.ask("Go")
    assert first.ending is not None
    assert (first.ending["reason"], first.ending["finishReason"]) == ("completed", remark)
    assert agent.history()[-1]["finishReason"] == remark
    second = agent._keep(Stream(agent.post(f"/api/runs/{first.run_id}/continue", stream=True))).read()
    assert second.text == "Here."


def test_an_answer_that_was_cut_at_the_limit_is_complete_and_can_be_continued(
    agent: Client, model: ModelServer
) -> None:
    model.script(reply(text("Once upon a"), finish="length"), reply(text(" time there"), finish="length"), " was.")
    first = agent.ask("A story")
    assert first.ending is not None
    assert (first.ending["reason"], first.ending["finishReason"]) == ("completed", "length")
    assert agent.history()[-1]["finishReason"] == "length"
    second = agent.post(f"/api/runs/{first.run_id}/continue", stream=True)
    second = agent._keep(Stream(second)).read()
    assert second.frames[0]["continues"] == first.run_id
    assert [each["content"] for each in model.asked[-1]["messages"][1:3]] == ["A story", "Once upon a"]
    third = agent._keep(Stream(agent.post(f"/api/runs/{second.run_id}/continue", stream=True))).read()
    assert [each["content"] for each in agent.history()[1:]] == ["Once upon a", " time there", " was."]
    assert "finishReason" not in agent.history()[-1]
    refused = agent.post(f"/api/runs/{third.run_id}/continue")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "run_completed")


# -- workspaces and threads --------------------------------------------------------------------------------------------


def test_a_workspace_decides_about_prompt_model_temperature_and_tools(agent: Client, model: ModelServer) -> None:
    slug = agent.post("/api/workspace/new", {"name": "Law & Order"}).json()["workspace"]["slug"]
    assert slug == "law-order"
    changes = {"systemPrompt": "Be brief.", "model": "fake-2", "temperature": 0.5, "mode": "chat"}
    answer = agent.post(f"/api/workspace/{slug}/update", changes)
    assert answer.json() == {"workspace": {**answer.json()["workspace"], **changes}, "message": None}
    client = Client(agent.server, slug, streams=agent.streams)
    model.script("Yes.", "Yes.")
    assert client.ask("hi").frames[0]["model"] == "fake-2"
    asked = model.asked[-1]
    assert (asked["model"], asked["temperature"], asked["messages"][0]["content"]) == ("fake-2", 0.5, "Be brief.")
    assert "tools" not in asked
    agent.post(f"/api/workspace/{slug}/update", {"mode": "agent", "tools": {"calculator": "deny"}})
    client.ask("hi")
    assert [tool["function"]["name"] for tool in model.asked[-1]["tools"]] == ["current_time", "web_fetch", "ask_user"]


def test_a_policy_that_is_the_default_is_not_kept(client: Client) -> None:
    slug = client.post("/api/workspace/new", {"name": "Policies"}).json()["workspace"]["slug"]
    answer = client.post(f"/api/workspace/{slug}/update", {"tools": {"calculator": "allow", "current_time": "deny"}})
    assert answer.json()["workspace"]["tools"] == {"current_time": "deny"}


def test_slugs_are_unique_and_never_change(client: Client) -> None:
    first, second, third = (
        client.post("/api/workspace/new", {"name": name}).json()["workspace"] for name in ("Twin", "Twin", "知识库")
    )
    assert (first["slug"], second["slug"], third["slug"]) == ("twin", "twin-2", "workspace")
    renamed = client.post("/api/workspace/twin/update", {"name": "Single"}).json()["workspace"]
    assert (renamed["slug"], renamed["name"]) == ("twin", "Single")


def test_the_last_workspace_stays(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    assert client.call("DELETE", "/api/workspace/default").status_code == 409
    client.post("/api/workspace/new", {"name": "Other"})
    assert client.call("DELETE", "/api/workspace/default").status_code == 200
    assert [each["slug"] for each in client.get("/api/workspaces")["workspaces"]] == ["other"]
    assert client.call("GET", "/api/workspace/default").status_code == 404


def test_deleting_a_thread_or_a_workspace_stops_its_run_first(agent: Client, model: ModelServer) -> None:
    agent.post("/api/workspace/new", {"name": "Doomed"})
    for delete, thread in ((agent.delete, agent), (None, Client(agent.server, "doomed"))):
        gate = model.gate()
        model.script(reply(text("So"), gate))
        stream = thread.send("Go")
        stream.read_until("So")
        if delete:
            delete()
        else:
            assert agent.call("DELETE", "/api/workspace/doomed").status_code == 200
        assert stream.read().frames[-1]["type"] == "stopGeneration"
        assert model.wait_closed()
        model.requests.clear()
        assert agent.call("GET", f"/api/runs/{stream.run_id}").status_code == 404
        agent.gone.add(stream.run_id)


def test_who_sees_a_run_end_because_its_thread_is_deleted_finds_the_thread_gone(
    agent: Client, model: ModelServer
) -> None:
    for _ in range(10):
        thread = agent.new_thread()
        model.script(reply(text("So"), model.gate()))
        stream = thread.send("Go")
        stream.read_until("So")
        deleting = threading.Thread(target=thread.delete)
        deleting.start()
        assert stream.read().frames[-1]["type"] == "stopGeneration"
        assert agent.call("GET", f"{thread.thread_path}/chats").status_code == 404
        deleting.join()
        agent.gone.add(stream.run_id)


def test_threads_come_newest_activity_first(client: Client) -> None:
    older, newer = client.new_thread("older"), client.new_thread("newer")
    newer.ask("hi")
    older.ask("hi")
    slugs = [each["slug"] for each in client.get("/api/workspace/default/threads")["threads"]]
    assert slugs.index(older.thread) < slugs.index(newer.thread)


def test_models_are_listed_with_who_answers(agent: Client, client: Client, model: ModelServer) -> None:
    assert agent.get("/api/models") == {"models": [{"id": "fake-1"}], "provider": "openai", "current": "fake-1"}
    assert client.get("/api/models") == {"models": [{"id": "offline"}], "provider": "offline", "current": "offline"}


# -- limits ------------------------------------------------------------------------------------------------------------


def test_beyond_the_limits_there_is_a_503_that_says_when_to_come_again(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    client = Client(serve(model=model, DEECHAT_MAX_STREAMS="2", DEECHAT_MAX_RUNS="1"))
    gate = model.gate()
    model.script(reply(gate, text("Done.")))
    first = client.send("Hold")
    other = client.new_thread()
    refused = other.post(f"{other.thread_path}/stream-chat", {"message": "Me too"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert other.history() == []
    second = client.follow(first.run_id)
    crowded = client.call("GET", f"/api/runs/{first.run_id}/events")
    assert crowded.status_code == 503
    assert client.call("GET", "/api/ping").status_code == 200
    gate.release()
    assert first.read().frames == second.read().frames
    client.check_all()


def test_status_words_are_in_the_language_of_the_request_and_stay_so(agent: Client, model: ModelServer) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "1+"}))), "Oh.")
    stream = agent.ask("1+?", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    status = next(frame for frame in stream.frames if frame.get("type") == "statusResponse")
    assert (status["code"], status["params"]) == ("tool_call", {"name": "calculator"})
