"""What does not fit is refused in the contract's words, stores nothing and takes nobody with it, on every route.

One file, since all of it walks one table of routes and fields.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from client import Client
from server import Server
from werkzeug.routing import Map

from deechat import create_app
from deechat.config import Settings

LARGEST_BODY = 8_000_000
JSON = "application/json"
WRONG = {"a number": 7, "a fraction": 1.5, "a yes": True, "a list": ["a"], "an object": {"a": 1}, "a text": "a"}


@dataclass(frozen=True)
class Field:
    """What a field takes: kinds of value by their name in `WRONG`, and what of those is still refused."""

    takes: tuple[str, ...] = ("a text",)
    required: bool = False
    null: bool = False
    empty: bool = False
    blank: bool = False
    longest: int | None = None
    refused: tuple[Any, ...] = ()

    def bad(self) -> Iterator[Any]:
        """Gives values that must be refused."""
        yield from (value for kind, value in WRONG.items() if kind not in self.takes)
        if not self.null:
            yield None
        if not self.empty and "a text" in self.takes:
            yield ""
        if not self.blank and "a text" in self.takes:
            yield from (" ", "\n\t\r\n", "\u00a0\u2003\u3000")
        if self.longest is not None:
            yield from ("x" * (self.longest + 1), "\N{GRINNING FACE}" * (self.longest + 1))
        yield from self.refused


@dataclass(frozen=True)
class Route:
    """A line of the contract's table. `good` is a body that is taken, None where there is no body to read."""

    method: str
    rule: str
    good: dict[str, Any] | None = None
    fields: dict[str, Field] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"

    def path(self, **ids: str) -> str:
        """Gives the path with these ids as they stand, and those of things that are there for the rest."""
        return re.sub(r"<([^>]+)>", lambda found: ids.get(found[1], IDS[found[1]]), self.rule)


PASSWORD = Field(required=True, empty=True, blank=True, longest=10_000)
NAME = Field(required=True, longest=200)
HABIT = Field(null=True, empty=True, blank=True, longest=200)
MESSAGE = Field(required=True, longest=200_000)
POLICIES = ({"calculator": "perhaps"}, {"calculator": None}, {"nothing": "allow"})
SCOPES = (
    *({"nothing": ["a"]}, {"calculator": ["a"]}, {"calculator": []}, {"web_fetch": "a"}, {"web_fetch": None}),
    *({"web_fetch": [1]}, {"web_fetch": ["x" * 301]}, {"web_fetch": ["a"] * 1001}),
)
WORKSPACE = {
    "name": Field(longest=200),
    "systemPrompt": Field(null=True, empty=True, blank=True, longest=200_000),
    "model": Field(null=True, longest=200),
    "mode": Field(refused=("Agent", "query", "agent ", "\0")),
    "temperature": Field(("a number", "a fraction"), null=True, refused=(-0.1, 2.1, 7, -1, 10**18, -(10**18))),
    "maxTokens": Field(("a number",), null=True, refused=(0, -1, 10_000_001, 10**18, "9")),
    "allowedHosts": Field(("a list",), refused=([1], [None], ["x" * 301], ["a"] * 1001)),
    "tools": Field(("an object",), refused=POLICIES),
    "policies": Field(("an object",), refused=POLICIES),
    "allowed": Field(("an object",), refused=SCOPES),
    "revoked": Field(("an object",), refused=SCOPES),
}
CHAT = {
    "message": MESSAGE,
    "attachments": Field(("a list",), null=True, refused=(["a"], [{"name": "a.txt"}], [None])),
    "parentId": Field(
        null=True, empty=True, blank=True, longest=200, refused=("nothing", "\0", "\N{PILE OF POO}", "'--")
    ),
    "clientRequestId": Field(null=True, blank=True, longest=200),
}
HELLO = {"message": "hello"}
OF_WORKSPACE = "/api/workspace/<slug>"
OF_THREAD = OF_WORKSPACE + "/thread/<thread_slug>"
OF_RUN = "/api/runs/<run_id>"
# The wire contract's section 2, line by line. Lines whose route is still to come are tried from the day it does.
CONTRACT = [
    Route("GET", "/"),
    Route("GET", "/static/<path:filename>"),
    Route("POST", "/api/login", {"password": "x"}, {"password": PASSWORD}),
    Route("POST", "/api/logout", {}),
    Route("GET", "/api/ping"),
    Route("GET", "/api/models"),
    Route("GET", "/api/models/profile"),
    Route("POST", "/api/models/forget", {}, {"code": HABIT, "model": HABIT}),
    Route("GET", "/api/workspaces"),
    Route("POST", "/api/workspace/new", {"name": "New"}, {"name": NAME}),
    Route("GET", OF_WORKSPACE),
    Route("POST", f"{OF_WORKSPACE}/update", {}, WORKSPACE),
    Route("GET", f"{OF_WORKSPACE}/tools"),
    Route("DELETE", OF_WORKSPACE),
    Route("GET", f"{OF_WORKSPACE}/threads"),
    Route("POST", f"{OF_WORKSPACE}/thread/new", {}, {"name": Field(null=True, longest=200)}),
    Route("POST", f"{OF_THREAD}/update", {"name": "New"}, {"name": NAME}),
    Route("DELETE", OF_THREAD),
    Route("GET", f"{OF_THREAD}/chats"),
    Route("GET", f"{OF_WORKSPACE}/chats"),
    Route("POST", f"{OF_THREAD}/stream-chat", HELLO, CHAT),
    Route("POST", f"{OF_WORKSPACE}/stream-chat", HELLO, CHAT),
    Route("GET", OF_RUN),
    Route("GET", f"{OF_RUN}/events"),
    Route("POST", f"{OF_RUN}/stop", {}),
    Route("POST", f"{OF_RUN}/respond", {"requestId": "x", "approved": True}, {"requestId": Field(required=True)}),
    Route("POST", f"{OF_RUN}/steer", HELLO, {"message": MESSAGE}),
    Route("POST", f"{OF_RUN}/continue", {}),
    Route("GET", "/api/agui/<slug>"),
    Route("GET", "/api/durable/<run_id>"),
    Route("GET", "/api/ai/<slug>/<thread_slug>/stream"),
    Route("GET", "/api/ai/<slug>/<thread_slug>/<run_id>/stream"),
]  # fmt: skip
# Other protocols': a thread that they name is made, JSON may be plain text, and their fields have tests of their own.
FOREIGN = [
    Route("POST", "/api/agui/<slug>", {"threadId": "a", "runId": "b", "messages": []}),
    Route("POST", "/api/ai/<slug>", {"id": "a", "messages": []}),
    Route("POST", "/api/ai/<slug>/<thread_slug>", {"messages": []}),
]
OTHERS = ("anythingllm", "openai_")  # blueprints with errors of their own shape, and tests beside theirs
IDS = {"slug": "default", "thread_slug": "default", "path:filename": "css/base.css"}  # and `run_id`, once there is one

HOSTILE = {
    "unknown": "no-such-thing",
    "NUL": "a%00b",
    "NUL alone": "%00",
    "a way up": "..%2f..%2f..%2fetc%2fpasswd",
    "a way up, twice encoded": "%252e%252e%252f",
    "10,000 characters": "a" * 10_000,
    "emoji": quote("\N{PILE OF POO}" * 20),
    "quotes": quote("'; DROP TABLE run; --\""),
    "a pattern": quote("d%f_ult*"),
    "not UTF-8": "%ff%fe",
    "a surrogate": "%ed%a0%80",
    "half an escape": "%",
    "line ends": "a%0d%0aX-Evil:%20yes",
    "markup": quote("<script>alert(1)</script>"),
    "the default in capitals": "DEFAULT",
    "a number": "1",
}

BROKEN_JSON = {
    "words": b"not json",
    "half an object": b'{"message": "hel',
    "two objects": b'{"message": "hello"} {}',
    "single quotes": b"{'message': 'hello'}",
    "a comment": b'{"message": "hello"} // please',
    "spaces": b"   ",
    "not UTF-8": b'{"message": "\xff\xfe"}',
    "UTF-16": '{"message": "hello", "name": "New"}'.encode("utf-16"),
    "NaN": b'{"message": NaN, "name": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "less than everything": b'{"temperature": -Infinity}',
    "a number without bounds": b'{"temperature": 1e999}',
    "a number of 5,000 digits": b'{"temperature": ' + b"9" * 5000 + b"}",
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists in a field": b'{"message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half a pair": b'{"message": "\\ud83d", "name": "\\ud83d"}',
    "the other half": b'{"message": "\\ude00", "name": "\\ude00"}',
    "a pair the wrong way": b'{"message": "\\ude00\\ud83d", "name": "\\ude00\\ud83d"}',
    "an escape that is none": b'{"message": "\\x41", "name": "\\x41"}',
    "a line end in a text": b'{"message": "a\nb", "name": "a\nb"}',
    "NUL": b"\0",
    "a list": b'["message", "hello"]',
    "a text": b'"hello"',
    "a number": b"7",
    "true": b"true",
    "null": b"null",
}


def url_map() -> Map:
    return create_app(Settings(provider="offline", data=Path("nowhere"))).url_map


def served() -> set[str]:
    """The contract's routes of the app as `METHOD rule`; HEAD and OPTIONS come with GET.

    Those of `OTHERS` have errors of their own shape, and so has a WebSocket's.
    """
    rules = [rule for rule in url_map().iter_rules() if not (rule.endpoint.startswith(OTHERS) or rule.websocket)]
    return {f"{method} {rule.rule}" for rule in rules for method in rule.methods - {"HEAD", "OPTIONS"}}


SERVED = served()
ROUTES = [route for route in CONTRACT if str(route) in SERVED]
READING = [route for route in ROUTES if route.good is not None]
every_route = pytest.mark.parametrize("route", ROUTES, ids=str)
every_body = pytest.mark.parametrize("route", READING, ids=str)
every_json = pytest.mark.parametrize("route", [*READING, *FOREIGN], ids=str)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]  # type: ignore[no-any-return]


def send(server: Server, method: str, target: str, body: Any = None, kind: str | None = JSON, **headers: str) -> Answer:
    """Sends exactly this: the target as it stands, the body as bytes, as chunks or as JSON."""
    if body is not None and not isinstance(body, bytes | Iterator):
        body = json.dumps(body)
    if body is not None and kind is not None:
        headers["Content-Type"] = kind
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def send_bytes(server: Server, raw: bytes) -> Answer:
    """Sends bytes that no client would, says that nothing follows, and reads the one answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split()[1]), headers, body)


def check_refused(answer: Answer, *statuses: int) -> None:
    """Holds an answer to the contract's form of errors."""
    said = (answer.status, answer.body[:300])
    assert answer.status in (statuses or range(400, 500)), said
    assert answer.headers["content-type"] == JSON, said
    assert answer.headers["x-content-type-options"] == "nosniff", said
    assert not any(name.startswith("access-control-") for name in answer.headers), said
    assert set(json.loads(answer.body)) == {"error"}, said
    code, message = answer.error["code"], answer.error["message"]
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", code), said
    assert re.search(r"\w \w", message), f"words for a person, not {message!r}"
    assert not re.search(r"Traceback|File \"|site-packages|0x[0-9a-f]{6}", message), said


@pytest.fixture(scope="module", autouse=True)
def existing(server: Server) -> None:
    """A run that has ended, in a thread of its own, so that routes of runs have one."""
    IDS["run_id"] = Client(server).new_thread("Before").ask("hello").run_id
    Client(server).get("/api/workspace/default/chats")  # makes the default thread


def stored(server: Server) -> list[object]:
    return [server.rows(f"SELECT * FROM {table} ORDER BY 1") for table in ("workspace", "thread", "message", "run")]


@pytest.fixture
def unmoved(server: Server) -> Iterator[Server]:
    """The server, which must hold the same after the test, in the same worker, without a mistake in its log."""
    workers, before, logged = server.workers, stored(server), len(server.log)
    yield server
    assert server.workers == workers
    assert stored(server) == before
    assert not re.search(r'Traceback|"level": "error"', server.log[logged:])


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_route_of_the_app_stands_in_the_table() -> None:
    assert SERVED - {str(route) for route in [*CONTRACT, *FOREIGN]} == set()


def test_the_table_says_for_every_route_whether_it_reads_a_body() -> None:
    assert all((route.method == "POST") == (route.good is not None) for route in CONTRACT)
    assert len(READING) >= 8


# -- bodies ------------------------------------------------------------------------------------------------------------


@every_body
def test_a_field_with_a_value_that_does_not_fit_is_refused(route: Route, unmoved: Server) -> None:
    for name, each in route.fields.items():
        for value in each.bad():
            answer = send(unmoved, "POST", route.path(), {**(route.good or {}), name: value})
            check_refused(answer, 404 if name == "parentId" and value in each.refused else 400)
            if answer.status == 400 and name != "attachments":
                assert name.lower() in answer.error["message"].lower(), (name, value, answer.error)


@every_body
def test_a_missing_field_is_named(route: Route, unmoved: Server) -> None:
    for name in [name for name, each in route.fields.items() if each.required]:
        body = {other: value for other, value in (route.good or {}).items() if other != name}
        for answer in (send(unmoved, "POST", route.path(), body), send(unmoved, "POST", route.path())):
            check_refused(answer, 400)
            assert name in answer.error["message"]


@every_json
def test_a_body_that_is_no_json_object_is_refused(route: Route, unmoved: Server) -> None:
    for body in BROKEN_JSON.values():
        answer = send(unmoved, "POST", route.path(), body)
        check_refused(answer, 400)
        assert answer.error["code"] == "bad_json", body[:80]


@every_body
def test_of_a_field_that_comes_twice_the_last_counts(route: Route, unmoved: Server) -> None:
    for name in route.fields:
        good = json.dumps((route.good or {}).get(name))
        check_refused(send(unmoved, "POST", route.path(), f'{{"{name}": {good}, "{name}": [[7]]}}'.encode()), 400)


@every_json
def test_what_is_not_sent_as_json_is_a_415(route: Route, unmoved: Server) -> None:
    body = json.dumps(route.good).encode()
    form = "multipart/form-data; boundary=x"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        form,
        "application/jsonp",
        "text/json",
        "",
        "\xff",
        None,
    ):
        if kind == "text/plain" and route in FOREIGN:
            continue
        answer = send(unmoved, "POST", route.path(), body, kind)
        check_refused(answer, 415)
        assert answer.error["code"] == "unsupported_media_type"


@every_json
def test_a_body_over_8_mb_is_a_413_with_and_without_its_length(route: Route, unmoved: Server) -> None:
    # A whole good body and then blanks: cut at the limit it would pass for a good one.
    body = json.dumps(route.good).encode().ljust(LARGEST_BODY + 1)
    for form in (body, iter([body]), iter([body[:100], body[100:]]), body + body[:1_000_000]):
        answer = send(unmoved, "POST", route.path(), form)
        check_refused(answer, 413)
        assert answer.error["code"] == "too_large"


def test_a_body_of_8_mb_is_read(unmoved: Server) -> None:
    body = b'{"name": ""}'.ljust(LARGEST_BODY)
    for form in (body, iter([body])):
        check_refused(send(unmoved, "POST", "/api/workspace/new", form), 400)


@every_body
def test_unknown_fields_change_nothing(route: Route, unmoved: Server) -> None:
    more = {"": 1, "self": {"a": [None]}, "__proto__": {}, "id": "x", "slug": "evil", "\0": "\0"}
    for name, each in route.fields.items():
        if each.required:
            answer = send(unmoved, "POST", route.path(), {**more, **(route.good or {}), name: None})
            check_refused(answer, 400)
            assert name in answer.error["message"]


def test_unknown_fields_are_ignored_and_an_empty_body_is_an_empty_object(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    run_id, IDS["run_id"] = IDS["run_id"], client.ask("hello").run_id
    try:
        for route in READING:
            if route.rule.endswith(("/respond", "/steer", "/continue")):
                continue  # they ask for a run that is open
            answer = send(server, "POST", route.path(), {**(route.good or {}), "id": "x", "slug": "evil", "more": [{}]})
            assert answer.status == 200, (str(route), answer.body)
            if not any(each.required for each in route.fields.values()):
                assert send(server, "POST", route.path()).status == 200
                assert send(server, "POST", route.path(), kind=None).status == 200
            client.wait_ended(client.follow(IDS["run_id"]).run_id)
    finally:
        IDS["run_id"] = run_id
    assert [each["slug"] for each in client.get("/api/workspaces")["workspaces"]] == ["default", "new"]
    client.check_all()


def test_a_charset_beside_the_type_is_fine(unmoved: Server) -> None:
    answer = send(unmoved, "POST", "/api/login", {"password": "x"}, "Application/JSON; charset=utf-8")
    assert answer.status == 200


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [route for route in ROUTES if "<" in route.rule], ids=str)
def test_an_id_that_nothing_has_is_a_404_however_it_is_written(route: Route, unmoved: Server) -> None:
    for name in re.findall(r"<([^>]+)>", route.rule):
        for kind, text in HOSTILE.items():
            answer = send(unmoved, route.method, route.path(**{name: text}), route.good)
            check_refused(answer, 414 if kind == "10,000 characters" else 404)
            assert "x-evil" not in answer.headers


@every_route
def test_a_method_that_an_address_does_not_take_is_a_405(route: Route, unmoved: Server) -> None:
    allowed = set(url_map().bind("localhost").allowed_methods(route.path()))
    assert route.method in allowed
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - allowed:
        answer = send(unmoved, method, route.path(), route.good)
        check_refused(answer, 405)
        assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api",
        "/api/",
        "/api/nothing",
        "/api/ping/",
        "/api/workspace",
        "/api/workspace/",
        "/api/workspace/default/",
        "/api/workspace/default/nothing",
        "/api/workspace/default/thread",
        "/api//ping",
        "/api/workspace//chats",
        "/api/runs",
        "/static",
        "/static/",
        "/static/nothing.js",
        "/static/%2e%2e/application.py",
        "/static/../application.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..%5capplication.py",
        "/deechat/application.py",
        "/%00",
        "/.env",
        "/data/secret",
    ],
)
def test_there_is_nothing_at_other_addresses(path: str, unmoved: Server) -> None:
    check_refused(send(unmoved, "GET", path), 404)
    for method in ("POST", "DELETE"):
        check_refused(send(unmoved, method, path), 404, 405)


# -- cursors and pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cursor",
    ["x", "-1", "+1", "1.5", "1e3", "0x1", "1 2", "1,2", "NaN", "null", "\u00b2", "'", "\x0c", "9" * 3000 + "x"],
)
def test_a_cursor_that_is_no_digits_is_a_400_in_the_header_and_in_the_query(cursor: str, unmoved: Server) -> None:
    path = f"/api/runs/{IDS['run_id']}/events"
    answers = [send(unmoved, "GET", f"{path}?after={quote(cursor)}")]
    if cursor.isprintable():
        answers.append(send(unmoved, "GET", path, **{"Last-Event-ID": cursor}))
        answers.append(send(unmoved, "GET", f"{path}?after=1", **{"Last-Event-ID": cursor}))
    for answer in answers:
        check_refused(answer, 400)
        assert answer.error["code"] == "bad_cursor"


@pytest.mark.parametrize("cursor", ["%00", "%ff", "1%00", "%D9%A3", "%F0%9D%9F%99"])
def test_a_cursor_of_other_signs_is_a_400(cursor: str, unmoved: Server) -> None:
    check_refused(send(unmoved, "GET", f"/api/runs/{IDS['run_id']}/events?after={cursor}"), 400)


@pytest.mark.parametrize("path", ["/api/workspace/default/chats", "/api/workspace/default/thread/default/chats"])
def test_a_page_of_the_history_that_cannot_be_is_refused(path: str, unmoved: Server) -> None:
    for limit in ("0", "-1", "1001", "x", "1.5", "1e2", "%D9%A3", "%00", "%20", "9" * 3000):
        check_refused(send(unmoved, "GET", f"{path}?limit={limit}"), 400)
    for kind, before in HOSTILE.items():
        check_refused(send(unmoved, "GET", f"{path}?before={before}"), 414 if kind == "10,000 characters" else 404)


# -- below the application ---------------------------------------------------------------------------------------------

HOST = b"Host: localhost\r\n"
POST = b"POST /api/workspace/default/stream-chat HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
GET = b"GET /api/ping HTTP/1.1\r\n" + HOST
WHOLE = b'{"message": "hello"}'


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /api/ping\r\n\r\n", 400),
        (b"GET api/ping HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /api/ping HTTP/7.7\r\n" + HOST + b"\r\n", 400),
        (b"GET /api/runs/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (GET + b"X: " + b"a" * 10_000 + b"\r\n\r\n", 431),
        (GET + b"X: a\r\n" * 200 + b"\r\n", 431),
        (GET + b"no colon\r\n\r\n", 400),
        (GET + b"X: a\r\n folded\r\n\r\n", 400),
        (GET + b"X: a\0b\r\n\r\n", 400),
        (GET + b"Expect: miracles\r\n\r\n", 417),
        (POST + b"Content-Length: abc\r\n\r\n" + WHOLE, 400),
        (POST + b"Content-Length: -1\r\n\r\n" + WHOLE, 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + WHOLE, 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n" + WHOLE, 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + WHOLE, 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + WHOLE, 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + WHOLE + b"XX0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + WHOLE[:5], 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + WHOLE + b"\r\n", 400),
        (POST + b"Content-Length: 100\r\n\r\n" + WHOLE, 400),
        (POST + b"Content-Length: 100\r\n\r\n", 400),
        (POST + b"Content-Length: 999999999999\r\n\r\n" + WHOLE, 413),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, bytes) else "",
)
def test_what_is_hardly_http_is_answered_in_the_same_form(raw: bytes, status: int, unmoved: Server) -> None:
    check_refused(send_bytes(unmoved, raw), status)


def test_hostile_headers_are_no_mistake_of_the_program(unmoved: Server) -> None:
    headers = {
        "Accept-Language": ["zh;q=nan,en;q=1e999;;;,\xff", ";;;;", "x" * 5000, "*;q=-1"],
        "Accept": ["\xff/\xff;q=x"],
        "Cookie": ["=;;;=;deechat_login=\xff", "deechat_login=" + "." * 3000, 'deechat_login="\\999"'],
        "Authorization": ["Bearer", "Bearer \xff", "Basic !", "\xff", "Digest a=b"],
        "Range": ["bytes=9-1", "bytes=" + "0-1," * 500],
        "If-Modified-Since": ["Fri, 99 Foo 99999 99:99:99"],
        "If-None-Match": ['W/"', "*"],
        "Last-Event-ID": ["\xff"],
        "X-Forwarded-Host": ["\xff", "a" * 300],  # another name than this machine's: refused before the body is read
        "X-Forwarded-Prefix": ["/../"],
    }
    for name, values in headers.items():
        for value in values:
            for path in ("/", "/api/models", "/static/css/base.css", "/api/workspaces"):
                assert send(unmoved, "GET", path, **{name: value}).status < 500, (name, value, path)
            refusal = 403 if name == "X-Forwarded-Host" else 400
            assert send(unmoved, "POST", "/api/workspace/new", **{name: value}).status == refusal, (name, value)


# -- chance ------------------------------------------------------------------------------------------------------------


class Chance:
    """Bodies by chance, always the same ones: mostly near to what is taken, sometimes far from it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        signs = "ab \n\0\"'\\/{}[]%_\u202e\u00e9\u4e2d\ufeff\ufffd\N{PILE OF POO}"
        return "".join(self.random.choices(signs, k=self.random.choice([0, 1, 3, 30, 300])))

    def value(self, depth: int = 0) -> Any:
        whole = self.random.choice([0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30])
        plain = [None, True, False, whole, self.random.uniform(-3, 3), 1e308, -0.0, self.text(), self.text()]
        if depth < 3 and self.random.random() < 0.3:
            count = self.random.randrange(4)
            if self.random.random() < 0.5:
                return [self.value(depth + 1) for _ in range(count)]
            return {self.text(): self.value(depth + 1) for _ in range(count)}
        return self.random.choice(plain)

    def body(self, route: Route) -> bytes:
        body = dict(route.good or {})
        for name in self.random.sample([*route.fields, "more"], k=self.random.randint(1, len(route.fields) + 1)):
            body[name] = self.value()
        raw = bytearray(json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode())
        if self.random.random() < 0.3:
            for _ in range(self.random.randint(1, 4)):
                raw[self.random.randrange(len(raw))] = self.random.randrange(256)
        return bytes(raw[: self.random.randrange(len(raw))] if self.random.random() < 0.1 else raw)


def test_no_body_by_chance_meets_a_mistake_of_the_program(serve: Callable[..., Server]) -> None:
    server = serve()
    client, chance, statuses = Client(server), Chance(20261123), set()
    workers, run = server.workers, client.ask("hello").run_id
    for route in READING:
        path = route.rule.replace("<slug>", "default").replace("<thread_slug>", "default").replace("<run_id>", run)
        for _ in range(60):
            body = chance.body(route)
            response = client.call("POST", path, data=body, headers={"Content-Type": JSON}, stream=True)
            statuses.add(response.status_code)
            assert response.status_code < 500, (path, body, response.text)
            if response.status_code >= 400:
                check_refused(Answer(response.status_code, dict(response.headers.lower_items()), response.content))
            response.close()
    assert {200, 400} <= statuses, "chance found both sides"
    assert server.workers == workers
    assert not re.search(r'Traceback|"level": "error"', server.log)
