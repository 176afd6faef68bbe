"""Lists come in pages that end by rows and by bytes, and every row is on one of them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from client import Client
from server import Server

from deechat.store.base import PAGE_BYTES
from deechat.store.sqlite import checksums

WORDS = "Wörter 世界 "


def write(server: Server, sql: str, rows: list[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(server.database, timeout=10)) as connection:
        connection.executemany(sql, rows)
        checksums.fill(connection)
        connection.commit()


def put_messages(client: Client, contents: list[str]) -> list[str]:
    """Writes messages into the client's thread; gives their ids."""
    [(thread_id,)] = client.server.rows("SELECT id FROM thread WHERE slug = ?", client.thread)
    rows = [(str(uuid.uuid4()), thread_id, content) for content in contents]
    sql = "INSERT INTO message (id, thread_id, role, content, sent_at) VALUES (?, ?, 'user', ?, 1.0)"
    write(client.server, sql, rows)
    return [row[0] for row in rows]


def chats(client: Client, **params: object) -> Any:
    return client.get(f"{client.thread_path}/chats", params=params)


def pages_of_chats(client: Client, **params: object) -> Iterator[list[Any]]:
    """Gives the pages from the newest on, as a client reads them."""
    page = chats(client, **params)
    yield page["history"]
    while page.get("more"):
        page = chats(client, before=page["history"][0]["chatId"], **params)
        yield page["history"]


# -- messages ----------------------------------------------------------------------------------------------------------


def test_an_ordinary_thread_is_one_page_and_says_no_more_than_before(client: Client) -> None:
    ids = put_messages(client, ["Hello"] * 1000)
    page = chats(client)
    assert set(page) == {"history", "activeRun"}
    assert [each["chatId"] for each in page["history"]] == ids


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_a_page_says_whether_there_are_earlier_messages(client: Client, count: int) -> None:
    ids = put_messages(client, [str(number) for number in range(8)])
    page = chats(client, limit=count)
    assert [each["chatId"] for each in page["history"]] == ids[-count:]
    assert page.get("more", False) is (count < 8)
    before = chats(client, limit=count, before=page["history"][0]["chatId"])["history"]
    assert [each["chatId"] for each in before] == ids[-2 * count : -count]


@pytest.mark.parametrize("size", [400_000, PAGE_BYTES + 1])
def test_large_messages_make_pages_of_few_and_each_is_on_one(client: Client, size: int) -> None:
    text = (WORDS * (size // len(WORDS.encode()) + 1)).encode()[:size].decode(errors="ignore")
    ids = put_messages(client, [text] * 9)
    pages = list(pages_of_chats(client))
    assert [each["chatId"] for page in reversed(pages) for each in page] == ids
    assert all(each["content"] == text for page in pages for each in page)
    assert {len(page) for page in pages} == (
        {PAGE_BYTES // size, 9 % (PAGE_BYTES // size)} - {0} if size < PAGE_BYTES else {1}
    )


def test_a_page_is_cut_by_the_details_of_its_answers_too(client: Client) -> None:
    [(thread_id,)] = client.server.rows("SELECT id FROM thread WHERE slug = ?", client.thread)
    details = json.dumps({"reasoning": "x" * 900_000})
    sql = "INSERT INTO message (id, thread_id, role, content, sent_at, details) VALUES (?, ?, 'assistant', 'Hi', 1, ?)"
    write(client.server, sql, [(str(uuid.uuid4()), thread_id, details) for _ in range(5)])
    assert [len(page) for page in pages_of_chats(client)] == [2, 2, 1]


# -- threads and workspaces --------------------------------------------------------------------------------------------


@pytest.fixture
def full(serve: Callable[..., Server]) -> Client:
    """A server with 2,500 threads, a few of the same moment, and 1,203 workspaces."""
    server = serve()
    [(workspace_id,)] = server.rows("SELECT id FROM workspace")
    write(
        server,
        "INSERT INTO thread (id, workspace_id, slug, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        [(str(uuid.uuid4()), workspace_id, f"t{each}", 1.0, each // 3 + 0.1) for each in range(2500)],
    )
    write(
        server,
        "INSERT INTO workspace (id, slug, name, created_at, system_prompt) VALUES (?, ?, 'W', ?, ?)",
        [
            (str(uuid.uuid4()), f"w{each}", 2e9 + each / 3, "x" * (500_000 if each > 1199 else 0))
            for each in range(1202)
        ],
    )
    return Client(server)


def pages(client: Client, path: str, name: str, **params: object) -> Iterator[list[Any]]:
    page = client.get(path, params=params)
    yield page[name]
    while "next" in page:
        page = client.get(path, params={**params, "after": page["next"]})
        yield page[name]


@pytest.mark.parametrize(("limit", "sizes"), [(None, [1000, 1000, 500]), (999, [999, 999, 502]), (500, [500] * 5)])
def test_every_thread_is_on_one_page_newest_first(full: Client, limit: int | None, sizes: list[int]) -> None:
    params = {} if limit is None else {"limit": limit}
    found = list(pages(full, "/api/workspace/default/threads", "threads", **params))
    assert [len(page) for page in found] == sizes
    whole = [each for page in found for each in page]
    assert {each["slug"] for each in whole} == {f"t{each}" for each in range(2500)}
    assert [each["updatedAt"] for each in whole] == sorted((each["updatedAt"] for each in whole), reverse=True)


def test_a_cursor_stays_good_when_its_thread_moves_or_goes(full: Client) -> None:
    path = "/api/workspace/default/threads"
    first = full.get(path, params={"limit": "10"})
    second = full.get(path, params={"limit": "10", "after": first["next"]})["threads"]
    last = first["threads"][-1]["slug"]
    full.post(f"/api/workspace/default/thread/{last}/stream-chat", {"message": "hi"})
    assert full.get(path, params={"limit": "10", "after": first["next"]})["threads"] == second
    full.call("DELETE", f"/api/workspace/default/thread/{last}")
    assert full.get(path, params={"limit": "10", "after": first["next"]})["threads"] == second


def test_every_workspace_is_on_one_page_oldest_first(full: Client) -> None:
    found = list(pages(full, "/api/workspaces", "workspaces"))
    assert [len(page) for page in found] == [1000, 203]
    slugs = [each["slug"] for page in found for each in page]
    assert slugs == ["default", *(f"w{each}" for each in range(1202))]


def test_one_thread_can_be_asked_for(full: Client) -> None:
    path = "/api/workspace/default/threads"
    assert [each["slug"] for each in full.get(path, params={"slug": "t7"})["threads"]] == ["t7"]
    assert [each["slug"] for each in full.get(path, params={"slug": "default"})["threads"]] == ["default"]
    assert full.call("GET", path, params={"slug": "nothing"}).status_code == 404


@pytest.mark.parametrize(
    "after", ["x", "1", ":", "1:", "-1:a", "1e3:a", "nan:a", "1:a b", "1:" + "a" * 200, "1.5:\0", "٣:a"]
)
@pytest.mark.parametrize("path", ["/api/workspaces", "/api/workspace/default/threads"])
def test_a_cursor_that_no_answer_gave_is_refused(client: Client, path: str, after: str) -> None:
    response = client.call("GET", path, params={"after": after})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1.5"])
@pytest.mark.parametrize("path", ["/api/workspaces", "/api/workspace/default/threads"])
def test_a_limit_is_a_number_of_rows(client: Client, path: str, limit: str) -> None:
    assert client.call("GET", path, params={"limit": limit}).status_code == 400


def test_workspaces_of_one_name_get_slugs_of_their_own(client: Client) -> None:
    made = [client.post("/api/workspace/new", {"name": "Same"}).json()["workspace"]["slug"] for _ in range(9)]
    assert made == ["same", *(f"same-{number}" for number in range(2, 10))]
    client.call("DELETE", "/api/workspace/same-3")
    again = {client.post("/api/workspace/new", {"name": "Same"}).json()["workspace"]["slug"] for _ in range(3)}
    assert len(again | set(made)) in {11, 12}
    assert not again & (set(made) - {"same-3"})
