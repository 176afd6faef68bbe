"""Ends of answers: what says that an answer is whole, and what does not."""

from __future__ import annotations

from model_server import reply, text, tool_calls

from zoo.animal import Animal

ANIMALS = (
    Animal(
        "as-documented",
        "platform.openai.com/docs/api-reference/chat/streaming",
        answers=(reply(tool_calls(("calculator", {"expression": "6*7"}))), reply(text("It is 42.", 3))),
        text="It is 42.",
        calls=[("calculator", {"expression": "6*7"})],
        finish="stop",
        notices=[],
    ),
)
