"""Events and resources of the Responses API, held to the models of Open Responses (PyPI: openresponses-types).

`mcp_call` and `mcp_approval_request` items and their events are OpenAI's own: Open Responses leaves them out, so they
are held to the types of `openai`.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

from openai.types import responses
from openresponses_types import types
from pydantic import BaseModel

ITEMS = ("mcp_call", "mcp_approval_request")


def _by_type() -> dict[str, type[BaseModel]]:
    found: dict[str, Any] = {}
    for name, each in inspect.getmembers(types, inspect.isclass):
        if name.endswith("StreamingEvent"):
            (kind,) = each.model_fields["type"].annotation
            found[kind.value] = each
    return found


EVENTS = _by_type()
OPENAI_EVENTS = {
    get_args(each.model_fields["type"].annotation)[0]: each
    for each in get_args(get_args(responses.ResponseStreamEvent)[0])
}


def _without_ours(resource: dict[str, Any]) -> dict[str, Any]:
    return {**resource, "output": [item for item in resource["output"] if item["type"] not in ITEMS]}


def _with_a_code_of_theirs(resource: dict[str, Any]) -> dict[str, Any]:
    # `openai` knows a few codes alone, which it does not check; ours say more.
    error = resource["error"]
    return {**resource, "error": error and {**error, "code": "server_error"}}


def check_resource(resource: dict[str, Any]) -> None:
    types.ResponseResource.model_validate(_without_ours(resource), strict=False)
    responses.Response.model_validate(_with_a_code_of_theirs(resource))


def check_event(name: str | None, event: dict[str, Any]) -> None:
    assert name == event["type"]
    theirs = {**event, "response": _with_a_code_of_theirs(event["response"])} if "response" in event else event
    OPENAI_EVENTS[event["type"]].model_validate(theirs)
    if "response" in event:
        event = {**event, "response": _without_ours(event["response"])}
    item = event.get("item")
    if event["type"].startswith("response.mcp_call") or (item and item["type"] in ITEMS):
        return
    EVENTS[event["type"]].model_validate(event)


def check_stream(seen: list[tuple[str | None, dict[str, Any]]], first: int = 0) -> dict[str, Any]:
    """Holds a whole stream to its order and its numbers; gives the last event's resource."""
    for name, event in seen:
        check_event(name, event)
    assert [event["sequence_number"] for _, event in seen] == list(range(first, first + len(seen)))
    kinds = [event["type"] for _, event in seen]
    assert first or kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in {"response.completed", "response.failed", "response.incomplete"}
    resource: dict[str, Any] = seen[-1][1]["response"]
    check_resource(resource)
    return resource
