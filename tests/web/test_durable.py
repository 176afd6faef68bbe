"""A run as a Durable Stream: what there is, long polls, events, and how it is closed."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import Any

import pytest
import requests
from client import Client
from model_server import ModelServer, reply, text

from deechat.web.durable.reading import EPOCH, INTERVAL

Json = dict[str, Any]


def read(client: Client, run_id: str, method: str = "GET", **params: str) -> requests.Response:
    headers = {"If-None-Match": tag} if (tag := params.pop("tag", "")) else {}
    url = f"{client.server.url}/api/durable/{run_id}"
    return requests.request(method, url, params=params, headers=headers, timeout=40)


def next_offset(answer: requests.Response) -> str:
    return str(answer.headers["Stream-Next-Offset"])


def events(answer: requests.Response) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in answer.content.decode().split("\n\n") if block and block[0] != ":"]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_an_ended_run_is_read_whole_and_closed(client: Client) -> None:
    stream = client.ask("2+2")
    whole = read(client, stream.run_id)
    assert whole.json() == stream.frames
    assert whole.headers["Content-Type"] == "application/json"
    assert (whole.headers["Stream-Up-To-Date"], whole.headers["Stream-Closed"]) == ("true", "true")
    assert whole.headers["Cache-Control"].startswith("private, no-cache")
    assert "no-store" not in whole.headers["Cache-Control"]
    assert read(client, stream.run_id, offset="-1").json() == stream.frames
    head = read(client, stream.run_id, "HEAD")
    assert (head.status_code, next_offset(head), head.headers["Stream-Closed"]) == (200, next_offset(whole), "true")
    assert (head.headers["Cache-Control"], head.headers["Content-Type"]) == ("no-store", "application/json")
    at_end = read(client, stream.run_id, offset=next_offset(whole))
    assert (at_end.json(), at_end.headers["Stream-Closed"]) == ([], "true")
    tags = [whole.headers["ETag"], at_end.headers["ETag"]]
    assert len(set(tags)) == 2
    assert read(client, stream.run_id, tag=tags[0]).status_code == 304
    assert read(client, stream.run_id, offset=next_offset(whole), tag=tags[0]).status_code == 200


def test_each_offset_gives_the_rest_and_offsets_sort_as_texts(client: Client) -> None:
    stream = client.ask("2+2")
    controls = [
        data for name, data in events(read(client, stream.run_id, offset="-1", live="sse")) if name == "control"
    ]
    offsets = [each["streamNextOffset"] for each in controls]
    assert len(offsets) == len(stream.frames)
    assert all(one < two for one, two in pairwise(offsets))
    for at, offset in enumerate(offsets, 1):
        assert read(client, stream.run_id, offset=offset).json() == stream.frames[at:]


def test_events_are_the_frames_each_with_its_offset_and_end_closed(client: Client) -> None:
    stream = client.ask("2+2")
    answer = read(client, stream.run_id, offset="-1", live="sse")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    told = events(answer)
    assert [data[0] for name, data in told if name == "data"] == stream.frames
    assert [name for name, _ in told] == ["data", "control"] * len(stream.frames)
    assert [each for _, each in told if "streamClosed" in each] == [told[-1][1]]
    assert told[-1][1]["upToDate"] is told[-1][1]["streamClosed"] is True
    closed = events(read(client, stream.run_id, offset=told[-1][1]["streamNextOffset"], live="sse"))
    assert [name for name, _ in closed] == ["control"]
    assert closed[0][1]["streamClosed"] is True


def test_a_run_at_work_is_open_and_a_long_poll_waits_for_more(agent: Client, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("One "), gate, text("two")))
    stream = agent.send("Count")
    stream.read_until("One")
    run_id = stream.run_id
    first = read(agent, run_id)
    assert first.json() == stream.frames
    assert first.headers["Stream-Up-To-Date"] == "true"
    assert "Stream-Closed" not in first.headers
    assert "Stream-Closed" not in read(agent, run_id, "HEAD").headers
    now = read(agent, run_id, offset="now")
    assert (now.json(), next_offset(now), now.headers["Cache-Control"]) == ([], next_offset(first), "no-store")
    assert "ETag" not in now.headers
    answers: list[requests.Response] = []
    for offset in (next_offset(first), "now"):
        ask = {"offset": offset, "live": "long-poll"}
        threading.Thread(target=lambda ask=ask: answers.append(read(agent, run_id, **ask)), daemon=True).start()
    with requests.get(
        f"{agent.server.url}/api/durable/{run_id}", params={"offset": "now", "live": "sse"}, stream=True, timeout=40
    ) as live:
        lines = live.iter_lines(chunk_size=1)
        assert next(lines) == b"event: control"
        control = json.loads(next(lines).removeprefix(b"data: "))
        assert (control["streamNextOffset"], control["upToDate"]) == (next_offset(first), True)
        assert not answers, "there was nothing to give yet"
        gate.release()
        rest = b"\n".join(lines)
    stream.read()
    said = [json.loads(line[6:])[0] for line in rest.split(b"\n") if line.startswith(b"data: [")]
    assert said == stream.frames[len(first.json()) :]
    for _ in range(200):
        if len(answers) == 2:
            break
        threading.Event().wait(0.05)
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == said[: len(answer.json())]
        assert answer.headers["Stream-Cursor"].isdigit()
    closed = read(agent, run_id, offset=next_offset(read(agent, run_id)), live="long-poll")
    assert (closed.status_code, closed.content, closed.headers["Stream-Closed"]) == (204, b"", "true")
    assert closed.headers["Stream-Up-To-Date"] == "true"
    assert first.headers["ETag"] != read(agent, run_id).headers["ETag"]


def test_the_cursor_of_live_reads_is_the_interval_and_never_goes_back(client: Client) -> None:
    run_id = client.ask("2+2").run_id
    first = int(read(client, run_id, offset="-1", live="long-poll").headers["Stream-Cursor"])
    assert abs(first - (client.run(run_id)["startedAt"] - EPOCH) / INTERVAL) < 1000
    for theirs in (first, first + 5000):
        after = int(read(client, run_id, offset="-1", live="long-poll", cursor=str(theirs)).headers["Stream-Cursor"])
        assert theirs < after <= theirs + 180 + 1
    (_, control), *_ = [each for each in events(read(client, run_id, offset="-1", live="sse")) if each[0] == "control"]
    assert int(control["streamCursor"]) >= first


@pytest.mark.parametrize(
    "params",
    [
        {"offset": ""},
        {"offset": "1"},
        {"offset": "-2"},
        {"offset": "0000000000000009,1"},
        {"offset": "0999999999999999"},
        {"live": "sse"},
        {"live": "long-poll"},
        {"offset": "-1", "live": "often"},
    ],
)
def test_a_wrong_wish_is_refused_in_words(client: Client, params: dict[str, str]) -> None:
    answer = read(client, client.ask("2+2").run_id, **params)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (400, True)


def test_it_is_only_read(client: Client) -> None:
    run_id = client.ask("2+2").run_id
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        answer = read(client, run_id, method)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    for method in ("GET", "HEAD"):
        assert read(client, "none", method).status_code == 404
