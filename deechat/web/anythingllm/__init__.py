"""The routes of AnythingLLM's own page, whose front end runs over DeeChat as it is (docs/anythingllm.md).

Its page shares some addresses with our own and reads other answers there: `views` gives those to it alone.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from deechat.errors import DeeChatError
from deechat.web.anythingllm import chat, edits, lists, system
from deechat.web.gate import Gate
from deechat.web.services import Services


def make(services: Services, gate: Gate) -> Blueprint:
    """Make the routes that are that page's alone, and its views of the routes that it shares with ours."""
    blueprint = Blueprint("anythingllm", __name__)
    blueprint.register_error_handler(DeeChatError, _in_its_shape)
    system.add(blueprint, services, gate)
    edits.add(blueprint, services)
    blueprint.before_app_request(lists.views(services, {"chats.stream_chat": chat.make(services)}))
    lists.add(blueprint, services)
    return blueprint


def _in_its_shape(error: DeeChatError) -> tuple[Response, int]:
    # `error` as everywhere else, and beside it the words where this page looks for them.
    shape = {"success": False, "error": {"code": error.code, "message": error.message}, "message": error.message}
    return jsonify(shape), error.status
