"""What the tests' model server can be told to answer: chunks, bytes, silences and breaks.

An answer is an `Answer`, or a str for `reply(text(str))`. `reply` takes chunks (the lists that `text`, `reasoning`,
`tool_calls`, `usage` give, or one's own dicts), bytes that are sent as they are, and moves: a gate (silence until it is
released), `nap(seconds)`, `cut()` (a reset) and `drop()` (an end without the framing's end). Each piece is one send,
and one HTTP chunk where the framing is chunked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol


class Wire(Protocol):
    """The connection as a move sees it."""

    def wait(self, seconds: float) -> None:
        """Is silent for so long."""

    def end(self, *, reset: bool = False) -> None:
        """Ends the connection and the answer."""


Chunk = dict[str, Any]
CHUNK_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "fake-1"}
DONE = b"data: [DONE]\n\n"


Move = Callable[[Any], None]
Item = Chunk | bytes | Move


@dataclass
class Answer:
    """What is sent for one request.

    `framing`: "chunked"; "length"; "close" (unframed, ended by closing; a content-length in `headers` may lie);
    "raw" (no head either: the pieces are all that is sent). `rate` is in pieces a second.
    `encoding` "gzip" or "deflate" compresses, flushed piece by piece.
    """

    body: list[bytes | Move] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream; charset=utf-8"})
    framing: str = "chunked"
    version: str = "1.1"
    rate: float | None = None
    encoding: str | None = None

    def whole(self) -> bytes:
        """Gives the body's bytes, without framing and moves."""
        return b"".join(piece for piece in self.body if isinstance(piece, bytes))


def frame(chunk: Chunk) -> bytes:
    """Gives a chunk as one `data:` line."""
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> Chunk:
    """Gives a chunk whose one choice has these fields in its delta."""
    return {**CHUNK_HEAD, "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def _cut_up(text: str, size: int | None) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)] if size else [text]


def text(text: str, size: int | None = None) -> list[Chunk]:
    """Gives the chunks of a text, `size` characters each, or one for all."""
    return [delta(content=piece) for piece in _cut_up(text, size)]


def reasoning(text: str, size: int | None = None, key: str = "reasoning_content") -> list[Chunk]:
    """Gives the chunks of thinking, under the key that the server is to use."""
    return [delta(**{key: piece}) for piece in _cut_up(text, size)]


def tool_calls(*calls: tuple[str, Any], size: int | None = None) -> list[Chunk]:
    """Gives the chunks of calls, each (name, arguments): the head, then the arguments in pieces of `size`, by index."""
    chunks = []
    for index, (name, arguments) in enumerate(calls):
        words = arguments if isinstance(arguments, str) else json.dumps(arguments)
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        chunks.append(delta(tool_calls=[head]))
        chunks += [
            delta(tool_calls=[{"index": index, "function": {"arguments": piece}}]) for piece in _cut_up(words, size)
        ]
    return chunks


def usage(prompt: int, completion: int) -> Chunk:
    """Gives the chunk that counts tokens."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**CHUNK_HEAD, "choices": [], "usage": counts}


def reply(
    *items: Item | str | Iterable[Item],
    finish: str | None = "auto",
    tokens: tuple[int, int] | None = None,
    done: bool = True,
    **options: Any,
) -> Answer:
    """Gives a streamed answer: the items, the finish reason, the tokens (prompt, completion), `[DONE]`.

    `finish` "auto" is "tool_calls" when there are calls, else "stop"; None leaves it out. `options` are `Answer`'s.
    """
    pieces = list(_flat(items))
    calls = any(isinstance(piece, dict) and _has_calls(piece) for piece in pieces)
    if finish is not None:
        pieces.append(delta(finish=("tool_calls" if calls else "stop") if finish == "auto" else finish))
    if tokens:
        pieces.append(usage(*tokens))
    if done:
        pieces.append(DONE)
    return Answer([frame(piece) if isinstance(piece, dict) else piece for piece in pieces], **options)


def _flat(items: Iterable[Any]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, str):
            yield from text(item)
        elif isinstance(item, dict | bytes) or callable(item):
            yield item
        else:
            yield from _flat(item)


def _has_calls(chunk: Chunk) -> bool:
    return any("tool_calls" in (choice.get("delta") or {}) for choice in chunk.get("choices") or ())


def stream(*pieces: bytes | Move, **options: Any) -> Answer:
    """Gives an event stream of exactly these pieces."""
    return Answer(list(pieces), **options)


def status(code: int, body: Any = "", **headers: str) -> Answer:
    """Gives a whole answer with this status: a str is OpenAI's error object with it as message, bytes are as they are.

    Header names are written with `_` for `-`.
    """
    if isinstance(body, str):
        body = {"error": {"message": body, "type": "error", "param": None, "code": None}}
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer([data], code, {"content-type": "application/json", **named}, framing="length")


def nap(seconds: float) -> Move:
    """Gives a move that is silent for a while."""

    def move(connection: Wire) -> None:
        connection.wait(seconds)

    return move


def cut() -> Move:
    """Gives a move that resets the connection."""

    def move(connection: Wire) -> None:
        connection.end(reset=True)

    return move


def drop() -> Move:
    """Gives a move that closes the connection without the framing's end."""

    def move(connection: Wire) -> None:
        connection.end()

    return move
