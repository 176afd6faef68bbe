"""Logs that have ended are asked for again, not sent again: for the one who has them, and for nobody else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import msgspec
import pytest
import requests
from client import Client
from model_server import ModelServer, reply, text
from server import Server
from whole_logs import LOGS

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.deechat import DeeChat
from deechat.agents.plugins.sse import SSE
from deechat.events import Entry
from deechat.store.base import RunRow
from deechat.web.streams import View, _frames

WAYS = [{}, {"wait": "0"}]


def get(client: Client, run_id: str, method: str = "GET", after: int = 0, **options: object) -> requests.Response:
    params = {"after": str(after), **(options.pop("params", None) or {})}  # type: ignore[dict-item]
    url = f"{client.server.url}/api/runs/{run_id}/events"
    return requests.request(method, url, params=params, timeout=30, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_the_log_of_an_ended_run_is_not_sent_to_who_has_it(client: Client, way: dict[str, str]) -> None:
    run_id = client.ask("2+2").run_id
    first = get(client, run_id, params=way)
    tag = first.headers["ETag"]
    assert not tag.startswith("W/")
    assert first.headers["Cache-Control"].startswith("private, no-cache")
    vary = {each.strip().lower() for each in first.headers["Vary"].split(",")}
    assert {"accept", "last-event-id", "cookie", "authorization"} <= vary
    for known in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        again = get(client, run_id, params=way, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert [again.headers[name] for name in ("ETag", "Cache-Control")] == [tag, first.headers["Cache-Control"]]
    other = get(client, run_id, params=way, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    head = get(client, run_id, "HEAD", params=way)
    assert (head.status_code, head.headers["ETag"]) == (200, tag)
    assert get(client, run_id, "HEAD", params=way, headers={"If-None-Match": tag}).status_code == 304


def test_a_tag_is_of_a_run_a_cursor_and_an_encoding(client: Client) -> None:
    one, two = client.ask("2+2").run_id, client.ask("3+3").run_id
    lines = {"Accept": "application/x-ndjson"}
    answers = [
        get(client, one),
        get(client, two),
        get(client, one, after=1),
        get(client, one, after=999),
        get(client, one, headers=lines),
        get(client, one, params={"wait": "0"}),
        get(client, one, after=1, params={"wait": "0"}),
    ]
    tags = [each.headers["ETag"] for each in answers]
    assert len(set(tags)) == len({each.content for each in answers}) == len(answers)
    assert get(client, one, headers={"Last-Event-ID": "1"}).headers["ETag"] == tags[2]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_has_not_ended_has_no_tag(agent: Client, model: ModelServer, way: dict[str, str]) -> None:
    gate = model.gate()
    model.script(reply(text("So"), gate))
    stream = agent.send("Go")
    stream.read_until("So")
    with get(agent, stream.run_id, params=way, headers={"If-None-Match": "*"}, stream=True) as answer:
        assert answer.status_code == 200
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] in {"no-store", "no-cache, no-transform"}
    gate.release()
    stream.read()
    assert "ETag" in get(agent, stream.run_id, params=way).headers


def test_a_tag_opens_nothing_to_strangers_and_nothing_that_was_deleted(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD="a password")
    key = {"Authorization": "Bearer a password"}
    sent = requests.post(
        f"{server.url}/api/workspace/default/thread/default/stream-chat",
        headers=key,
        json={"message": "2+2"},
        timeout=30,
    )
    run_id = sent.headers["X-Run-Id"]
    for path in (f"/api/runs/{run_id}/events", f"/api/runs/{run_id}/events?wait=0", f"/api/durable/{run_id}"):
        tag = requests.get(server.url + path, headers=key, timeout=30).headers["ETag"]
        stranger = requests.get(server.url + path, headers={"If-None-Match": tag}, timeout=30)
        assert stranger.status_code == 401
        assert "ETag" not in stranger.headers
        assert stranger.headers["Cache-Control"] == "no-store"
        known = requests.get(server.url + path, headers=key | {"If-None-Match": tag}, timeout=30)
        assert known.status_code == 304


def test_the_same_tag_is_of_the_same_bytes_after_a_restart(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    run_id = client.ask("2+2").run_id
    before = get(client, run_id)
    server.kill()
    server.start()
    after = get(client, run_id)
    assert (after.headers["ETag"], after.content) == (before.headers["ETag"], before.content)
    assert json.loads(get(client, run_id, params={"wait": "0"}).content)["ended"] is True


def test_a_kept_answer_that_is_not_whole_is_cut_and_never_ends_in_order() -> None:
    run = RunRow("r", "t", "m", "p", None, None, None, "en", 1.0, ended_at=2.0, reason="completed")
    log = LOGS["plain"]

    def sent(entries: list[Entry], run: RunRow) -> bytes:
        plugin = Plugin(DeeChat("m"), SSE())
        view = View(run, 0, log[-1].seq)
        return b"".join(_frames((batch for batch in [entries]), plugin, 0, view, math.inf))

    assert sent(log, run).count(b"\n\n") == len(log)
    with pytest.raises(ConnectionResetError):
        sent(log[:-1], run)
    assert sent(log[:-1], msgspec.structs.replace(run, ended_at=None)).count(b"\n\n") == len(log) - 1
