"""Each route says what it needs, and shows a person what is theirs and nothing of anyone else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from deechat import create_app
from deechat.application import Application
from deechat.config import Settings
from deechat.principal import OWNER, Principal
from deechat.web import gate
from deechat.web.gate import NEEDS, Gate, Need

SOCKETS = {"invocations.converse"}  # answers 426 to all that is no handshake, whose run it may be
STRANGER = Principal("stranger")
# Fits each route that takes a body: fields that it does not know are left out.
BODY = {"message": "Hello", "name": "New", "requestId": "none", "skipped": True}
_SAID = {"id": "u", "role": "user", "content": "Hello", "parts": [{"type": "text", "text": "Hello"}]}
BODY |= {"threadId": "foreign", "runId": "one", "id": "foreign", "messages": [_SAID]}


def addresses(app: Flask, **values: str) -> list[tuple[str, str, str]]:
    """Gives each route as its endpoint, method and address, those that delete last, and of these the deepest first."""
    found = []
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", values.get(name, "x")).replace(f"<path:{name}>", "css/base.css")
        found += [(rule.endpoint, method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    return sorted(found, key=lambda each: (each[1] == "DELETE", each[1], len(each[2]) * (-1) ** (each[1] == "DELETE")))


def call(http: FlaskClient, method: str, path: str, who: Principal = OWNER, **body: Any) -> tuple[int, Any]:
    """Gives the status and the JSON of an answer; of a stream only the status."""
    options: dict[str, Any] = {} if method in {"GET", "DELETE"} else {"json": BODY | body}
    with closing(http.open(path, method=method, headers={"X-Who": who.id}, **options)) as response:
        return response.status_code, response.json if response.is_json else None


# -- the table ---------------------------------------------------------------------------------------------------------


def test_each_route_has_its_row_and_each_row_its_route(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path / "data", provider="offline"))
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(NEEDS)


def test_a_route_without_a_row_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(NEEDS, "runs.show")
    with pytest.raises(LookupError, match=r"runs\.show"):
        create_app(Settings(data=tmp_path / "data", provider="offline"))


def test_with_a_password_a_stranger_is_refused_where_a_person_is_needed_and_nowhere_else(tmp_path: Path) -> None:
    application = Application(Settings(data=tmp_path / "data", provider="offline", password="open sesame"))
    http = application.app.test_client()
    try:
        for endpoint, method, path in addresses(application.app):
            status, answer = call(http, method, path)
            code = (answer or {}).get("error", {}).get("code")
            is_refused = status == 401 and code == ("invalid_api_key" if path.startswith("/v1/") else "login_required")
            assert is_refused == (NEEDS[endpoint] is Need.PERSON), (method, path, status)
        assert call(http, "GET", "/api/nowhere")[0] == 401, "an address that leads nowhere tells a stranger nothing"
    finally:
        application.close()


# -- two persons -------------------------------------------------------------------------------------------------------


class GateForTwo(Gate):
    """A gate that believes whoever says who they are."""

    def principal(self) -> Principal:
        return Principal(request.headers["X-Who"])


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    monkeypatch.setattr("deechat.application.Gate", GateForTwo)
    application = Application(Settings(data=tmp_path / "data", provider="offline"))
    application.start()
    yield application
    application.close()


def test_each_route_answers_404_for_what_is_anothers_and_lists_nothing_of_it(application: Application) -> None:
    http = application.app.test_client()
    at = "/api/workspace/default"
    thread = call(http, "POST", f"{at}/thread/new")[1]["thread"]["slug"]
    with closing(
        http.post(f"{at}/thread/{thread}/stream-chat", json={"message": "ask me something"}, headers={"X-Who": "owner"})
    ) as response:
        run_id = response.headers["X-Run-Id"]
        assert any(b"clarificationRequest" in piece for piece in iter(response.response))
    with gevent.Timeout(10):
        while not (pending := call(http, "GET", f"/api/runs/{run_id}")[1]["run"]["pending"]):
            gevent.sleep(0.01)
    request_id = pending[0]["requestId"]
    of_one = [
        (method, path)
        for endpoint, method, path in addresses(application.app, slug="default", thread_slug=thread, run_id=run_id)
        if NEEDS[endpoint] is Need.PERSON
        and endpoint not in SOCKETS
        and any(each in path for each in ("default", run_id))
    ]
    shown = [path for method, path in of_one if method == "GET" and not path.endswith(("/events", "/stream"))]

    def seen() -> list[tuple[int, Any]]:
        return [call(http, "GET", path) for path in ("/api/workspaces", f"{at}/threads?limit=9", *shown)]

    assert call(http, "GET", "/api/workspaces", STRANGER) == (200, {"workspaces": []}), "a principal begins with none"
    theirs = call(http, "POST", "/api/workspace/new", STRANGER)[1]["workspace"]["slug"]
    before = seen()
    for method, path in of_one:
        status, answer = call(http, method, path, STRANGER, requestId=request_id)
        assert (status, answer["error"]["code"]) == (404, "not_found"), (method, path)
        if thread in path and (method, path) != ("POST", f"/api/ai/default/{thread}"):  # which makes one of that name
            status, _ = call(http, method, path.replace("default", theirs), STRANGER)
            assert status == 404, "nor is it in a workspace of one's own"
    assert seen() == before
    assert [each["slug"] for each in call(http, "GET", "/api/workspaces", STRANGER)[1]["workspaces"]] == [theirs]
    assert call(http, "GET", f"/api/workspace/{theirs}/threads", STRANGER)[1] == {"threads": []}
    assert call(http, "GET", f"/api/workspace/{theirs}/chats", STRANGER)[1] == {"history": [], "activeRun": None}
    for method, path in of_one:
        assert call(http, method, path, OWNER, requestId=request_id)[0] != 404, (method, path)


def test_a_request_that_nobody_made_has_no_asker(application: Application) -> None:
    with application.app.test_request_context("/api/ping"), pytest.raises(AttributeError):
        gate.asker()
