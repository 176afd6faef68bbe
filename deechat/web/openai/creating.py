"""A new response: its fields, the run that it begins, or the one that goes on from a previous response."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Annotated, Any

from flask import request
from msgspec import Meta, Struct

from deechat.errors import ConflictError, NotFoundError
from deechat.events import Terms
from deechat.principal import Principal
from deechat.store.base import Workspace
from deechat.web.openai.errors import FieldError
from deechat.web.openai.messages import Told, long, read_items
from deechat.web.openai.models import workspace_of
from deechat.web.openai.parameters import Limit, Temperature, may_call, read_tools, refuse
from deechat.web.openai.starting import Piece, Starting
from deechat.web.services import Services

Json = dict[str, Any]

_TEXT = {"type": "text"}
# Fields that would change what comes back, and their values that are served. docs/openai.md names the ignored ones.
_SERVED: dict[str, tuple[Any, ...]] = {
    "text": ({"format": _TEXT}, {"format": _TEXT, "verbosity": "medium"}, {"verbosity": "medium"}, {}),
    "top_logprobs": (0,),
    "conversation": (),
    "prompt": (),
    "truncation": ("disabled", "auto"),
}
_ECHOED = (
    *("frequency_penalty", "max_tool_calls", "parallel_tool_calls", "presence_penalty", "prompt_cache_key"),
    *("reasoning", "safety_identifier", "service_tier", "tool_choice", "top_p", "truncation"),
)
_ID = re.compile(r"resp_([0-9a-f]{32})_([0-9]{1,6})")


class Body(Struct):
    """The fields of a new response that are looked into."""

    model: str
    input: str | list[Json] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_output_tokens: Limit | None = None
    metadata: dict[str, str] | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None
    reasoning: Json | None = None
    parallel_tool_calls: bool | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    max_tool_calls: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A new response as it was asked for."""

    model: str
    told: Told
    terms: Terms
    previous: str | None
    stream: bool
    background: bool
    store: bool


def run_id_of(response_id: str) -> tuple[str, int] | None:
    """Return the run and the number of its piece that a response's id names; None for an id that is none of ours."""
    found = _ID.fullmatch(response_id)
    return (long(found[1]), int(found[2])) if found else None


class Creating:
    """Makes responses."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.starting = Starting(services)

    def read(self, body: Body, fields: Json) -> Wish:
        """Check a request's fields, within a request. Raises `FieldError`."""
        refuse(fields, _SERVED)
        told = read_items(body.input)
        store = body.store is not False
        if body.background and not store:
            raise FieldError("A response in the background is stored: nobody could fetch it else.", "background")
        tools = read_tools(body.tools)
        echo: Json = {name: fields[name] for name in _ECHOED if fields.get(name) is not None}
        echo |= {
            "model": body.model,
            "instructions": body.instructions,
            "metadata": body.metadata or {},
            "previous_response_id": body.previous_response_id,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "max_output_tokens": body.max_output_tokens,
            "background": bool(body.background),
            "store": store,
            "tools": [_tool_json(each) for each in body.tools or ()],
        }
        terms = Terms(
            instructions="\n\n".join(filter(None, (body.instructions, *told.instructions))),
            temperature=body.temperature,
            max_tokens=body.max_output_tokens,
            tools=tools,
            calls=may_call(body.tool_choice),
            approvals=True,
            page=request.host_url,
            echo=echo,
        )
        previous = body.previous_response_id
        return Wish(body.model, told, terms, previous, bool(body.stream), bool(body.background), store)

    def piece(
        self, principal: Principal, wish: Wish, key: str | None, *, kept: Container[str] = frozenset[str]()
    ) -> Piece:
        """Return the piece of a run that is the response, begun by now. Raises `FieldError` and as `Runs.start`.

        `kept` are ids of responses that are not stored and may be gone on from all the same.
        """
        workspace = workspace_of(self._services.store, principal, wish.model)
        if wish.previous is not None:
            return self._behind(principal, workspace, wish, key, kept)
        wish.told.check_calls("input")
        return self.starting.begin(principal, workspace, None, wish.told, wish.terms, where="input", key=key)

    def _behind(
        self,
        principal: Principal,
        workspace: Workspace,
        wish: Wish,
        key: str | None,
        kept: Container[str],
    ) -> Piece:
        previous = wish.previous or ""
        run_id, segment = run_id_of(previous) or ("", 0)
        try:
            view, stand = self.starting.stand(principal, run_id)
        except NotFoundError as exc:
            raise unknown_previous(previous) from exc
        if stand.echo.get("store") is False and previous not in kept:
            raise unknown_previous(previous)
        if view.workspace.id != workspace.id:
            raise FieldError("The previous response was made by another model.", "model")
        if segment > stand.at:
            raise unknown_previous(previous)
        if segment == stand.at and stand.resting and view.status == "waiting":
            return self.starting.go_on(principal, view, stand, wish.told)
        if segment < stand.at:
            again = self.starting.came_before(principal, run_id, segment + 1, wish.told)
            if again is None:
                words = f"{previous} went on already: its calls were answered, and {previous} cannot be gone on from."
                raise FieldError(words, "previous_response_id", "already_answered")
            return again
        if view.status != "ended":
            words = "The previous response is still being made; wait for it or cancel it."
            raise ConflictError(words, code="run_active")
        if stand.state.pending:
            words = "The previous response was stopped before its calls were answered."
            raise FieldError(words, "previous_response_id")
        wish.told.check_calls("input")
        return self.starting.begin(
            *(principal, view.workspace, view.thread, wish.told, wish.terms),
            where="input",
            key=key,
            parent_id=view.run.message_id,
        )


def unknown_previous(previous: str) -> FieldError:
    """Return the error for a previous response that is not there."""
    words = f"Previous response with id {previous[:100]!r} not found."
    return FieldError(words, "previous_response_id", "previous_response_not_found")


def _tool_json(tool: Json) -> Json:
    fields = {"description": None, "parameters": None, "strict": None}
    return {"type": "function", **fields, **tool.get("function", {}), **tool}
