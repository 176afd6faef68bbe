"""`POST /v1/chat/completions`: the client brings the whole conversation each time, and leaves with the answer."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from msgspec import Struct

from deechat.agents.plugins.openai.chat import Chat
from deechat.errors import ModelError
from deechat.events import RunFailed, Terms
from deechat.principal import Principal
from deechat.web.gate import asker
from deechat.web.openai.messages import read_chat
from deechat.web.openai.models import workspace_of
from deechat.web.openai.parameters import Limit, Temperature, may_call, read, read_key, read_tools, refuse
from deechat.web.openai.starting import Piece, Starting
from deechat.web.services import Services
from deechat.web.streams import View

Json = dict[str, Any]

# Fields that would change the answer's shape, and their values that are served. docs/openai.md names the ignored ones.
_SERVED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "audio": (),
    "web_search_options": (),
}
# Of failures of the model server that asking again would not help, the SDKs must not ask again by themselves.
_STATUS = {"context_length": 400, "model_not_found": 404, "model_auth": 400, "model_rate_limited": 429}


class _Options(Struct):
    include_usage: bool | None = None


class _Body(Struct):
    model: str
    messages: list[Json]
    stream: bool | None = None
    stream_options: _Options | None = None
    temperature: Temperature | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    tools: list[Json] | None = None
    tool_choice: Any = None


def make(services: Services) -> Blueprint:
    """Make the route of chat completions."""
    streams, starting = services.streams, Starting(services)
    blueprint = Blueprint("openai_chat", __name__, url_prefix="/v1/chat")

    @blueprint.post("/completions")
    def complete() -> Response:
        body, fields = read(_Body)
        refuse(fields, _SERVED)
        principal = asker()
        piece: list[Piece] = []

        def find() -> View:
            piece.append(_piece(services, starting, principal, body))
            return View(piece[0].run, after=0, last_seq=1)

        counts = bool(body.stream_options and body.stream_options.include_usage)
        if body.stream:
            return streams.open(find, lambda _run: Chat(piece[0].segment, counts=counts), left_stops=True)
        run, chat = streams.whole(find, lambda _run: Chat(piece[0].segment), left_stops=True)
        if chat.failure:
            raise failed(chat.failure)
        response = jsonify(chat.whole())
        response.headers["X-Run-Id"] = run.id
        return response

    return blueprint


def _piece(services: Services, starting: Starting, principal: Principal, body: _Body) -> Piece:
    workspace = workspace_of(services.store, principal, body.model)
    told, key = read_chat(body.messages), read_key()
    going_on = starting.of_results(principal, workspace, told)
    if going_on is not None:
        return going_on
    terms = Terms(
        instructions="\n\n".join(told.instructions),
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        tools=read_tools(body.tools),
        calls=may_call(body.tool_choice),
        page=request.host_url,
        echo={"model": body.model},
    )
    return starting.begin(principal, workspace, None, told, terms, where="messages", key=key)


def failed(failure: RunFailed) -> ModelError:
    """Return the error of a run that failed before anything of it was sent."""
    error = ModelError(failure.message, code=failure.code)
    error.status = _STATUS.get(failure.code, 502)
    return error
