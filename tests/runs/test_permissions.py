"""What a person allows belongs to one tool in one workspace, and a change of it leaves everything else as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client import Client
from conftest import _run, model_settings
from model_server import ModelServer, reply, tool_calls
from server import Server

SCOPED = ("web_fetch", "read_folder", "call_number")
UPDATE = "/api/workspace/default/update"


@pytest.fixture(scope="module")
def tooled(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = model_settings(shared_model) | {"HOOKS": str(tmp_path_factory.mktemp("hooks"))}
    yield from _run(tmp_path_factory.mktemp("tooled"), app="tooled:app", **settings)


@pytest.fixture
def client(tooled: Server) -> Iterator[Client]:
    client = Client(tooled)
    update(client, tools={}, allowed={name: [] for name in SCOPED})
    yield client.new_thread()
    client.check_all()


def update(client: Client, **fields: Any) -> None:
    answer = client.post(UPDATE, fields)
    assert answer.status_code == 200, answer.text


def allowed(client: Client, workspace: str = "default") -> dict[str, list[str]]:
    """What is allowed for good, by its tool, where there is anything."""
    tools = client.get(f"/api/workspace/{workspace}/tools")["tools"]
    return {each["name"]: each["allowed"] for each in tools if each.get("allowed")}


def policies(client: Client) -> dict[str, str]:
    """The policies that differ from the tools' own."""
    return dict(client.get("/api/workspace/default")["workspace"]["tools"])


def asked_for(client: Client, model: ModelServer, tool: str, **arguments: str) -> tuple[str, dict[str, Any] | None]:
    """Has the tool called; gives the run, and the request where one was made."""
    model.script(reply(tool_calls((tool, arguments))), "Done.")
    stream = client.new_thread().send("Go")
    for block in stream:
        if block.type in {"toolApprovalRequest", "finalizeResponseStream"}:
            break
    pending = client.run(stream.run_id)["pending"]
    return stream.run_id, pending[0] if pending else None


def answer(client: Client, run_id: str, request: dict[str, Any] | None, **more: Any) -> None:
    assert request is not None, "nobody was asked"
    body = {"requestId": request["requestId"], "approved": True, **more}
    assert client.post(f"/api/runs/{run_id}/respond", body).status_code == 200
    client.wait_ended(run_id)


# -- the API -----------------------------------------------------------------------------------------------------------


def test_a_list_belongs_to_the_tool_that_is_named(client: Client) -> None:
    update(client, allowed={"read_folder": ["/home", "/etc", "/home"]})
    update(client, allowed={"web_fetch": ["example.org"]})
    assert allowed(client) == {"read_folder": ["/etc", "/home"], "web_fetch": ["example.org"]}
    update(client, allowed={"read_folder": ["/tmp"], "call_number": ["110"]})
    assert allowed(client) == {"read_folder": ["/tmp"], "web_fetch": ["example.org"], "call_number": ["110"]}
    update(client, allowed={"read_folder": []})
    assert allowed(client) == {"web_fetch": ["example.org"], "call_number": ["110"]}


def test_the_older_name_is_that_of_one_tools_list(client: Client) -> None:
    update(client, allowed={"read_folder": ["/home"]})
    update(client, allowedHosts=["example.org"])
    assert allowed(client) == {"read_folder": ["/home"], "web_fetch": ["example.org"]}
    tools = client.get("/api/workspace/default/tools")["tools"]
    assert {each["name"]: each["allowedHosts"] for each in tools if "allowedHosts" in each} == {
        "web_fetch": ["example.org"]
    }
    assert {each["name"]: each["scope"] for each in tools if "scope" in each} == {
        "web_fetch": "host",
        "read_folder": "folder",
        "call_number": "scope",
    }
    update(client, allowedHosts=[])
    assert allowed(client) == {"read_folder": ["/home"]}


def test_what_is_revoked_leaves_the_list_as_it_is_by_then(client: Client) -> None:
    update(client, allowed={"read_folder": ["/a", "/b"], "call_number": ["/a"]})
    update(client, revoked={"read_folder": ["/a"]})  # as by one page
    update(client, revoked={"read_folder": ["/b", "/c"]})  # as by another, that still shows /a
    assert allowed(client) == {"call_number": ["/a"]}


def test_a_policy_changes_alone(client: Client) -> None:
    update(client, policies={"look": "ask", "pay": "deny"})
    update(client, policies={"look": "deny"})
    assert policies(client) == {"look": "deny", "pay": "deny"}
    update(client, policies={"look": "allow"})  # its own
    assert policies(client) == {"pay": "deny"}
    update(client, tools={"look": "ask"})
    assert policies(client) == {"look": "ask"}, "`tools` replaces them all"


def test_a_change_that_does_not_fit_changes_nothing(client: Client) -> None:
    update(client, allowed={"read_folder": ["/home"]}, policies={"pay": "deny"})
    for fields in (
        {"allowed": {"read_folder": [], "nothing": ["x"]}},
        {"allowed": {"read_folder": [], "look": ["x"]}},
        {"revoked": {"read_folder": ["/home"], "look": []}},
        {"policies": {"pay": "allow", "nothing": "ask"}},
        {"policies": {"pay": "allow"}, "allowed": {"look": []}},
    ):
        refused = client.post(UPDATE, fields)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "bad_request"
    assert (allowed(client), policies(client)) == ({"read_folder": ["/home"]}, {"pay": "deny"})


# -- the card ----------------------------------------------------------------------------------------------------------


def test_always_holds_for_this_scope_of_this_tool_in_this_workspace(client: Client, model: ModelServer) -> None:
    update(client, allowed={"call_number": ["/etc"]})
    answer(client, *asked_for(client, model, "read_folder", folder="/home"), always=True)
    assert allowed(client) == {"call_number": ["/etc"], "read_folder": ["/home"]}
    assert policies(client) == {}
    assert asked_for(client, model, "read_folder", folder="/home")[1] is None
    others = [("read_folder", {"folder": "/etc"}), ("call_number", {"number": "/home"})]
    for tool, arguments in others:
        run_id, request = asked_for(client, model, tool, **arguments)
        assert request is not None
        client.stop(run_id)
        model._script.clear()
    slug = client.post("/api/workspace/new", {"name": "Other"}).json()["workspace"]["slug"]
    assert allowed(client, slug) == {}
    other = Client(client.server, workspace=slug)
    run_id, request = asked_for(other, model, "read_folder", folder="/home")
    assert request is not None
    other.stop(run_id)
    model._script.clear()


def test_always_with_changed_arguments_holds_for_those(client: Client, model: ModelServer) -> None:
    run_id, request = asked_for(client, model, "read_folder", folder="/etc")
    answer(client, run_id, request, always=True, arguments={"folder": "/home"})
    assert allowed(client) == {"read_folder": ["/home"]}
    run_id, request = asked_for(client, model, "read_folder", folder="/etc")
    assert request is not None
    client.stop(run_id)
    model._script.clear()


def test_a_yes_without_always_allows_nothing_more(client: Client, model: ModelServer) -> None:
    answer(client, *asked_for(client, model, "read_folder", folder="/home"))
    assert (allowed(client), policies(client)) == ({}, {})
