"""The Responses API, of the real server over a scripted model server; every event and resource is validated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import openai
import pytest
import requests
from model_server import ModelServer, reasoning, reply, status, text, tool_calls
from open_responses import check_resource, check_stream
from openai_sdk import WEATHER, events, sdk
from server import Server, wait_until

Seen = list[tuple[str | None, dict[str, Any]]]
TOOL: Any = {"type": "function", **WEATHER["function"]}  # type: ignore[dict-item]
FETCH = tool_calls(("web_fetch", {"url": "https://nowhere.invalid/"}))


@pytest.fixture
def client(agent_server: Server, model: ModelServer) -> Iterator[openai.OpenAI]:
    with sdk(agent_server) as client:
        yield client


@pytest.fixture
def post(agent_server: Server, model: ModelServer) -> Callable[..., Seen]:
    """Streams a response: `post(input="Hello")`."""

    def post(**body: Any) -> Seen:
        fields = {"model": "deechat", "stream": True, **body}
        with requests.post(f"{agent_server.url}/v1/responses", json=fields, stream=True, timeout=30) as answer:
            assert answer.status_code == 200, answer.text
            return list(events(answer))

    return post


def again(server: Server, response_id: str, after: int | None = None) -> Seen:
    cursor = "" if after is None else f"&starting_after={after}"
    address = f"{server.url}/v1/responses/{response_id}?stream=true{cursor}"
    with requests.get(address, stream=True, timeout=30) as answer:
        assert answer.status_code == 200, answer.text
        return list(events(answer))


def kinds(seen: Seen) -> list[str]:
    return [event["type"].removeprefix("response.") for _, event in seen]


# -- one response ------------------------------------------------------------------------------------------------------


def test_a_whole_response_is_the_resource(client: openai.OpenAI, model: ModelServer) -> None:
    model.script(reply(reasoning("Hm."), text("Hi there.", 3), tokens=(7, 3)))
    answer = client.responses.create(
        model="deechat",
        input="Hello",
        instructions="Be brief.",
        temperature=0.5,
        max_output_tokens=99,
        metadata={"a": "b"},
    )
    assert answer.output_text == "Hi there."
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert (answer.status, answer.metadata, answer.instructions) == ("completed", {"a": "b"}, "Be brief.")
    assert answer.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    check_resource(answer.model_dump(mode="json"))
    assert client.responses.retrieve(answer.id).model_dump() == answer.model_dump()
    (asked,) = model.asked
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (asked["temperature"], asked["max_tokens"]) == (0.5, 99)


def test_a_stream_has_every_event_in_order(post: Callable[..., Seen], model: ModelServer) -> None:
    model.script(reply(reasoning("Hm."), text("Hi there.", 3), tokens=(7, 3)))
    seen = post(input=[{"role": "user", "content": "Hello"}])
    check_stream(seen)
    assert [kind for kind, _ in groupby(kinds(seen))] == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]


def test_tools_of_ours_are_items_of_theirs(post: Callable[..., Seen], model: ModelServer) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "6*7"}))), "42.")
    resource = check_stream(post(input="6*7?"))
    call, message = resource["output"]
    assert (call["type"], call["name"], call["output"], call["status"]) == ("mcp_call", "calculator", "42", "completed")
    assert message["content"][0]["text"] == "42."


def test_a_stream_comes_again_from_every_number(
    post: Callable[..., Seen], model: ModelServer, agent_server: Server
) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "6*7"}))), reply(text("It is 42.", 2)))
    seen = post(input="6*7?")
    response_id = seen[-1][1]["response"]["id"]
    assert again(agent_server, response_id) == seen
    for number in range(len(seen) - 1):
        assert again(agent_server, response_id, number) == seen[number + 1 :]
    beyond = requests.get(
        f"{agent_server.url}/v1/responses/{response_id}?stream=true&starting_after={len(seen)}", timeout=9
    )
    assert (beyond.status_code, beyond.json()["error"]["param"]) == (400, "starting_after")


def test_a_stream_that_is_cut_after_each_event_is_whole_across_a_kill(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    gate = model.gate()
    model.script(reply(text("Hi there, you.", 3), gate, text("!")))
    got: list[Any] = []
    stream = client.responses.create(model="deechat", input="Hello", stream=True, background=True)
    got.append(next(stream))
    stream.response.close()
    response_id = got[0].response.id
    while got[-1].type != "response.completed":
        stream = client.responses.retrieve(response_id, stream=True, starting_after=got[-1].sequence_number)
        got.append(next(stream))
        stream.response.close()
        if len(got) == 5:
            gate.release()
    assert [event.sequence_number for event in got] == list(range(len(got)))
    agent_server.kill()
    agent_server.start()
    replay = list(client.responses.retrieve(response_id, stream=True))
    assert [each.model_dump() for each in replay] == [each.model_dump() for each in got]


def test_a_step_that_a_kill_cut_off_is_void_and_told_anew(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    gate = model.gate()
    model.script(reply(text("Half a"), gate), reply(text("Whole.")))
    stream = client.responses.create(model="deechat", input="Hello", stream=True)
    response_id = ""
    for event in stream:
        if event.type == "response.created":
            response_id = event.response.id
        if event.type == "response.output_text.delta":
            break
    agent_server.kill()
    agent_server.start()
    seen = again(agent_server, response_id)
    resource = check_stream(seen)
    assert [item["content"][0]["text"] for item in resource["output"]] == ["Whole."]
    done = [event["item"] for _, event in seen if event["type"] == "response.output_item.done"]
    assert [item["status"] for item in done] == ["incomplete", "completed"]


# -- background, cancel, delete ----------------------------------------------------------------------------------------


def test_one_in_the_background_is_there_at_once_and_ends_by_itself(client: openai.OpenAI, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Hi"), gate, text(" there")))
    answer = client.responses.create(model="deechat", input="Hello", background=True)
    assert answer.status == "queued"
    assert client.responses.retrieve(answer.id).status == "in_progress"
    gate.release()
    wait_until(lambda: client.responses.retrieve(answer.id).status == "completed")
    assert client.responses.retrieve(answer.id).output_text == "Hi there"


def test_a_cancelled_one_stays_cancelled(client: openai.OpenAI, model: ModelServer, agent_server: Server) -> None:
    model.script(reply(text("Hi"), model.gate()))
    answer = client.responses.create(model="deechat", input="Hello", background=True)
    assert model.wait_asked()
    for _ in range(2):
        assert client.responses.cancel(answer.id).status == "cancelled"
    assert client.responses.retrieve(answer.id).status == "cancelled"
    assert check_stream(again(agent_server, answer.id))["status"] == "cancelled"
    assert model.wait_closed()


def test_a_lost_connection_stops_nothing(client: openai.OpenAI, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Hi"), gate, text(" there")))
    stream = client.responses.create(model="deechat", input="Hello", stream=True)
    first: Any = next(stream)
    stream.response.close()
    gate.release()
    wait_until(lambda: client.responses.retrieve(first.response.id).status == "completed")


def test_a_deleted_one_is_gone(client: openai.OpenAI, model: ModelServer) -> None:
    model.script("One.", "Two.")
    one = client.responses.create(model="deechat", input="1")
    two = client.responses.create(model="deechat", input="2", previous_response_id=one.id)
    with pytest.raises(openai.BadRequestError):
        client.responses.delete(one.id)
    client.responses.delete(two.id)
    for each in (one, two):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(each.id)


def test_one_that_is_not_stored_is_gone_once_it_was_told(client: openai.OpenAI, model: ModelServer) -> None:
    model.script("One.")
    one = client.responses.create(model="deechat", input="1", store=False)
    assert one.output_text == "One."

    def is_gone() -> bool:
        try:
            client.responses.retrieve(one.id)
        except openai.NotFoundError:
            return True
        return False

    wait_until(is_gone)


# -- chains ------------------------------------------------------------------------------------------------------------


def test_a_response_follows_the_previous_one_without_its_instructions(
    client: openai.OpenAI, model: ModelServer
) -> None:
    model.script("One.", "Two.", "Other.")
    one = client.responses.create(model="deechat", input="1", instructions="In French.")
    two = client.responses.create(model="deechat", input="2", previous_response_id=one.id)
    other = client.responses.create(model="deechat", input="3", previous_response_id=one.id)
    assert (two.previous_response_id, other.previous_response_id) == (one.id, one.id)
    sent = [[each["content"] for each in asked["messages"][1:]] for asked in model.asked]
    assert sent == [["1"], ["1", "One.", "2"], ["1", "One.", "3"]]
    assert "French" not in str(model.asked[1])
    items = client.responses.input_items.list(two.id).data
    assert [item.content[0].text for item in items] == ["2"]  # type: ignore[union-attr]


def test_the_clients_calls_come_out_and_their_results_let_the_run_go_on(
    client: openai.OpenAI, model: ModelServer, agent_server: Server
) -> None:
    model.script(reply(text("Let me see."), tool_calls(("get_weather", {"city": "Paris"}))), "Rain.")
    one = client.responses.create(model="deechat", input="Weather?", tools=[TOOL])
    assert [item.type for item in one.output] == ["message", "function_call"]
    assert one.status == "completed"
    check_resource(one.model_dump(mode="json"))
    call: Any = one.output[1]
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        client.responses.create(model="deechat", input="And?", previous_response_id=one.id)
    agent_server.kill()
    agent_server.start()
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    two = client.responses.create(model="deechat", input=result, previous_response_id=one.id, tools=[TOOL])
    assert (two.output_text.strip(), two.previous_response_id) == ("Rain.", one.id)
    assert [item.type for item in client.responses.input_items.list(two.id).data] == ["function_call_output"]
    assert client.responses.create(model="deechat", input=result, previous_response_id=one.id).id == two.id
    other: Any = [{**result[0], "output": "sun"}]
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="deechat", input=other, previous_response_id=one.id)
    assert client.responses.retrieve(one.id).model_dump() == one.model_dump()
    assert len(model.asked) == 2


@pytest.mark.parametrize("approve", [True, False])
def test_a_tool_that_needs_a_yes_asks_for_it(
    post: Callable[..., Seen], client: openai.OpenAI, model: ModelServer, approve: bool
) -> None:
    model.script(reply(FETCH), "So it is.")
    one = check_stream(post(input="Read it."))
    (request,) = one["output"]
    assert (request["type"], request["name"]) == ("mcp_approval_request", "web_fetch")
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
    two = check_stream(post(input=[answer], previous_response_id=one["id"]))
    call = two["output"][0]
    assert (call["type"], call["approval_request_id"], call["status"]) == ("mcp_call", request["id"], "failed")
    assert ("refused" in call["error"]["content"][0]["text"]) != approve
    assert two["output"][-1]["content"][0]["text"] == "So it is."


def test_a_conversation_is_compacted_and_goes_on(client: openai.OpenAI, model: ModelServer) -> None:
    model.script("One.", "They counted.", "Two.")
    one = client.responses.create(model="deechat", input="1")
    compaction = client.responses.compact(model="deechat", previous_response_id=one.id)
    assert compaction.object == "response.compaction"
    (item,) = compaction.output
    assert [each["content"] for each in model.asked[1]["messages"][1:3]] == ["1", "One."]
    following: Any = [item.model_dump(exclude_none=True), {"role": "user", "content": "2"}]
    client.responses.create(model="deechat", input=following)
    assert "> They counted." in model.asked[2]["messages"][1]["content"]


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_failure_is_an_event_and_a_resource(
    post: Callable[..., Seen], client: openai.OpenAI, model: ModelServer
) -> None:
    model.script(status(401, "no"))
    seen = post(input="Hello")
    resource = check_stream(seen)
    assert kinds(seen)[-2:] == ["error", "failed"]
    assert resource["error"]["code"] == seen[-2][1]["code"] == "model_auth"
    assert client.responses.retrieve(resource["id"]).status == "failed"


def test_an_answer_that_was_cut_is_incomplete(post: Callable[..., Seen], model: ModelServer) -> None:
    model.script(reply(text("Half"), finish="length"))
    resource = check_stream(post(input="Hello"))
    assert (resource["status"], resource["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


BAD: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_none"}, "previous_response_id"),
    ({"previous_response_id": f"resp_{'0' * 32}_0"}, "previous_response_id"),
    ({"input": []}, "input"),
    ({"input": " "}, "input"),
    ({"input": [{"type": "computer_call"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].image_url",
    ),
    ({"input": [{"type": "compaction", "encrypted_content": "theirs"}]}, "input[0].encrypted_content"),
    ({"temperature": -1}, "temperature"),
    ({"max_output_tokens": "many"}, "max_output_tokens"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [{"type": "function", "name": "f", "function": None}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": "f"}]}, "tools[0]"),
    ({"text": {"format": {"type": "json_object"}}}, "text"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"background": True, "store": False}, "background"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[str(fields)[:60] for fields, _ in BAD])
def test_what_does_not_fit_is_refused_and_named(
    client: openai.OpenAI, model: ModelServer, fields: dict[str, Any], param: str
) -> None:
    for streamed in (False, True):
        body = {"model": "deechat", "input": "Hello", "stream": streamed, **fields}
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/responses", body=body, cast_to=object)
        assert caught.value.param == param
    assert not model.asked


def test_what_is_not_there_is_not_found(client: openai.OpenAI) -> None:
    for name in ("resp_none", f"resp_{'0' * 32}_0"):
        for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(name)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-4o", input="Hello")
