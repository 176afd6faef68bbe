"""Lists of models: reading a server's, and choosing from it when nobody chose."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from deechat.agents.providers.openai.speech import mend

MAX_LISTING = 8_000_000
LONGEST_NAME = 200  # as many characters as a workspace's model may have
_NO_CHAT = re.compile(
    r"(?<![a-z])(\w*embed\w*|bge|minilm|tts|\w*whisper\w*|transcribe|audio|realtime|speech"
    r"|dall-?e|images?|imagen|sora|stable-diffusion|\w*moderation\w*|\w*rerank\w*)(?![a-z])",
    re.IGNORECASE,
)


def can_chat(name: str) -> bool:
    """Says whether a model's name is not that of an embedding, speech, image, moderation or ranking model."""
    return _NO_CHAT.search(name) is None


def names_in(body: bytes) -> list[str]:
    """Gives the names in the answer to `GET /models`, in its order. Raises `ValueError` when it is no such answer."""
    answer: Any = msgspec.json.decode(body)
    rows = answer.get("data") if isinstance(answer, dict) else answer
    if rows is None and isinstance(answer, dict) and answer.get("object") == "list":
        rows = []  # Ollama's, before a model was pulled
    if not isinstance(rows, list):
        raise ValueError("it is no list of models")  # noqa: TRY004 - the value came over the wire
    names = (row.get("id") for row in rows if isinstance(row, dict))
    return [mend(name) for name in names if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME]
