"""Chat completions, as `openai` for Python asks for them, of the real server over a scripted model server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from model_server import ModelServer, reasoning, reply, status, text, tool_calls
from openai_sdk import WEATHER, events, sdk
from server import Server, wait_until

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(agent_server: Server, model: ModelServer) -> Iterator[openai.OpenAI]:
    with sdk(agent_server) as client:
        yield client


def log(server: Server, run_id: str) -> list[str]:
    return [type(entry.event).__name__ for entry in server.entries(run_id)]


def test_a_whole_answer_has_text_thinking_tokens_and_the_run(client: openai.OpenAI, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm."), text("Hi there.", 3), tokens=(7, 3)))
    raw = client.chat.completions.with_raw_response.create(model="deechat", messages=HELLO)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.model == "deechat"
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Hi there.", "stop")
    assert choice.message.model_extra == {"reasoning_content": "Hm."}
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert raw.headers["X-Run-Id"].replace("-", "") in answer.id


def test_a_stream_says_the_same(client: openai.OpenAI, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm."), text("Hi there.", 3), tokens=(7, 3)))
    stream = client.chat.completions.create(
        model="deechat", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    said = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in said) == "Hi there."
    assert "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in said) == "Hm."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 10
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_model_is_asked_with_the_whole_conversation_and_the_parameters(
    client: openai.OpenAI, model: ModelServer
) -> None:
    model.script("Done.")
    client.chat.completions.create(
        model="deechat",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "Two"},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "Three"}]},
        ],
        temperature=0.25,
        max_completion_tokens=77,
    )
    (asked,) = model.asked
    assert [(each["role"], each["content"]) for each in asked["messages"]] == [
        ("system", "Be brief.\n\nBe kind."),
        ("user", "One"),
        ("assistant", "Two"),
        ("user", "Three"),
    ]
    assert (asked["temperature"], asked["max_tokens"]) == (0.25, 77)


def test_pictures_are_handed_on(client: openai.OpenAI, model: ModelServer) -> None:
    model.script("A dot.")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    content: Any = [{"type": "text", "text": "What is it?"}, picture]
    client.chat.completions.create(model="deechat", messages=[{"role": "user", "content": content}])
    assert model.asked[0]["messages"][-1]["content"] == content


def test_tools_of_ours_run_here_and_show_as_thinking(client: openai.OpenAI, model: ModelServer) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "6*7"}))), "42.")
    chunks = list(client.chat.completions.create(model="deechat", messages=HELLO, stream=True))
    thought = "".join(
        (chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in chunks if chunk.choices
    )
    assert "calculator" in thought
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_tool_that_would_ask_is_refused_with_the_pages_address(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    model.script(reply(tool_calls(("web_fetch", {"url": "https://example.org/"}))), "I could not.")
    client.chat.completions.create(model="deechat", messages=HELLO)
    assert agent_server.url in model.asked[1]["messages"][-1]["content"]
    assert "ask_user" not in [tool["function"]["name"] for tool in model.asked[0]["tools"]]


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_of_the_clients_tools_come_out_and_their_results_go_on_in_the_same_run(
    client: openai.OpenAI, model: ModelServer, agent_server: Server, streamed: bool
) -> None:
    calls = tool_calls(("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"}), size=4)
    model.script(reply(text("Let me see."), calls), "Paris 12, Rome 20.")
    made: Any = []
    if streamed:
        stream = client.chat.completions.create(model="deechat", messages=HELLO, tools=[WEATHER], stream=True)  # type: ignore[call-overload]
        for chunk in stream:
            made += chunk.choices[0].delta.tool_calls or []
            last = chunk
        assert last.choices[0].finish_reason == "tool_calls"
        message = {"role": "assistant", "content": "Let me see.", "tool_calls": [_plain(each) for each in made]}
    else:
        answer = client.chat.completions.create(model="deechat", messages=HELLO, tools=[WEATHER])  # type: ignore[list-item]
        assert answer.choices[0].finish_reason == "tool_calls"
        made = answer.choices[0].message.tool_calls
        message = answer.choices[0].message.model_dump(exclude_none=True)
    assert [each.function.arguments for each in made] == ['{"city": "Paris"}', '{"city": "Rome"}']
    results = [{"role": "tool", "tool_call_id": each.id, "content": str(number)} for number, each in enumerate(made)]
    raw = client.chat.completions.with_raw_response.create(
        model="deechat",
        messages=[*HELLO, message, *results],
        tools=[WEATHER],  # type: ignore[list-item]
    )
    assert raw.parse().choices[0].message.content == "\n\nParis 12, Rome 20."
    run_id = raw.headers["X-Run-Id"]
    assert run_id.replace("-", "") in made[0].id
    assert log(agent_server, run_id).count("ClientCall") == 2
    assert [each["content"] for each in model.asked[1]["messages"] if each["role"] == "tool"] == ["0", "1"]


def _plain(call: Any) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": call.function.model_dump()}


def test_results_of_calls_that_no_run_waits_for_are_history(client: openai.OpenAI, model: ModelServer) -> None:
    model.script("Rain.")
    call = {"id": "call_of_elsewhere", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_of_elsewhere", "content": "rain"},
    ]
    tools: Any = [WEATHER]
    answer = client.chat.completions.create(model="deechat", messages=messages, tools=tools)
    assert answer.choices[0].message.content == "Rain."
    sent = model.asked[0]["messages"]
    assert [each["role"] for each in sent[1:]] == ["user", "assistant", "tool"]
    assert sent[2]["tool_calls"][0]["id"] == sent[3]["tool_call_id"]


def test_results_for_another_model_leave_the_run_that_waits_alone(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    made = requests.post(f"{agent_server.url}/api/workspace/new", json={"name": "Other"}, timeout=10).json()
    model.script(reply(tool_calls(("get_weather", {"city": "Paris"}))), "Rain.")
    tools: Any = [WEATHER]
    raw = client.chat.completions.with_raw_response.create(model="deechat", messages=HELLO, tools=tools)
    (call,) = raw.parse().choices[0].message.tool_calls or ()
    told: Any = [{"role": "assistant", "content": None, "tool_calls": [_plain(call)]}]
    told.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
    other = f"deechat/{made['workspace']['slug']}"
    answer = client.chat.completions.create(model=other, messages=[*HELLO, *told], tools=tools)
    assert (answer.model, answer.choices[0].message.content) == (other, "Rain.")
    run = requests.get(f"{agent_server.url}/api/runs/{raw.headers['X-Run-Id']}", timeout=10).json()["run"]
    assert run["status"] == "waiting"


def test_a_call_waits_on_after_a_kill(model: ModelServer, agent_server: Server, client: openai.OpenAI) -> None:
    model.script(reply(tool_calls(("get_weather", {"city": "Paris"}))), "Rain.")
    tools: Any = [WEATHER]
    answer = client.chat.completions.create(model="deechat", messages=HELLO, tools=tools, temperature=0.5)
    call = (answer.choices[0].message.tool_calls or [])[0]
    agent_server.kill()
    agent_server.start()
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    message: Any = answer.choices[0].message.model_dump(exclude_none=True)
    answer = client.chat.completions.create(model="deechat", messages=[*HELLO, message, result], tools=tools)
    assert answer.choices[0].message.content == "Rain."
    assert model.asked[1]["temperature"] == 0.5


def test_a_closed_connection_stops_the_run(client: openai.OpenAI, model: ModelServer, agent_server: Server) -> None:
    for streamed in (True, False):
        gate = model.gate()
        model.script(reply(text("Hi"), gate, text(" there")))
        body = {"model": "deechat", "messages": HELLO, "stream": streamed}
        before = len(model.closed)
        if streamed:
            with requests.post(f"{agent_server.url}/v1/chat/completions", json=body, stream=True, timeout=30) as answer:
                run_id = answer.headers["X-Run-Id"]
                next(answer.iter_content(1))
            wait_until(lambda run_id=run_id: log(agent_server, run_id)[-1] == "RunStopped")
        else:
            with pytest.raises(requests.ReadTimeout):
                requests.post(f"{agent_server.url}/v1/chat/completions", json=body, timeout=1)
        wait_until(lambda before=before: len(model.closed) > before)


def test_the_same_key_gives_the_same_run(agent_server: Server, client: openai.OpenAI, model: ModelServer) -> None:
    model.script("Once.")
    answers = [
        client.chat.completions.create(model="deechat", messages=HELLO, extra_headers={"Idempotency-Key": "k-1"})
        for _ in range(2)
    ]
    assert len({answer.id for answer in answers}) == 1
    assert len(model.asked) == 1


def test_its_threads_stand_in_no_list(agent_server: Server, client: openai.OpenAI, model: ModelServer) -> None:
    before = requests.get(f"{agent_server.url}/api/workspace/default/threads", timeout=10).json()
    model.script("Hi.")
    client.chat.completions.create(model="deechat", messages=HELLO)
    assert requests.get(f"{agent_server.url}/api/workspace/default/threads", timeout=10).json() == before


BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"temperature": 7}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0]"),
    ({"functions": [{"name": "a"}]}, "functions"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    ({"messages": [{"role": "bard", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "content": "a"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
    ({"messages": "Hello"}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[str(fields)[:60] for fields, _ in BAD])
def test_what_does_not_fit_is_refused_and_named(
    client: openai.OpenAI, model: ModelServer, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"model": "deechat", "messages": HELLO, **fields}, cast_to=object)
    assert caught.value.param == param
    assert not model.asked


def test_a_missing_field_is_named(client: openai.OpenAI) -> None:
    for name in ("model", "messages"):
        body = {"model": "deechat", "messages": HELLO}
        del body[name]
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/chat/completions", body=body, cast_to=object)
        assert caught.value.param == name
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert missing.value.code == "model_not_found"


def test_a_model_server_that_fails_is_told_by_the_class_of_its_error(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    model.script(status(401, "no"), status(401, "no"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="deechat", messages=HELLO)
    assert caught.value.code == "model_auth"
    with pytest.raises(openai.APIError, match="401") as streamed:
        list(client.chat.completions.create(model="deechat", messages=HELLO, stream=True))
    assert streamed.value.code == "model_auth"


def test_the_stream_is_plain_data_and_ends_with_done(agent_server: Server, model: ModelServer) -> None:
    model.script("Hi.")
    body = {"model": "deechat", "messages": HELLO, "stream": True}
    with requests.post(f"{agent_server.url}/v1/chat/completions", json=body, stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        seen = list(events(answer))
    assert {name for name, _ in seen} == {None}
