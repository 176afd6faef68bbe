"""Has a page read by a process of its own, and ends that process whatever happens. It knows no HTML itself."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deechat.agents.tools.base import ToolError
from deechat.agents.tools.web.timed import Allowance

READER = (sys.executable, "-I", "-X", "utf8", str(Path(__file__).with_name("reader.py")))
MOST_READERS = 2  # at once; each takes a core, and up to `reader.MEMORY`
MOST_ANSWER = 1_000_000  # bytes

_readers = threading.BoundedSemaphore(MOST_READERS)


class Page(msgspec.Struct, frozen=True):
    """What the process says of a page: nothing that may be trusted but for its types."""

    title: str
    text: str
    length: int
    links: list[tuple[str, str]]


def read_page(
    body: bytes,
    *,
    is_html: bool,
    charset: str,
    url: str,
    allowance: Allowance,
    command: Sequence[str] = READER,
) -> Page:
    """Gives a page's text. Raises `TimeoutError` at the deadline, and `ToolError` where it cannot be read."""
    seconds = math.ceil(allowance.left())
    question = {"url": url, "is_html": is_html, "charset": charset, "size": len(body), "seconds": seconds}
    if not _readers.acquire(timeout=allowance.left()):
        raise TimeoutError("the time is up")
    try:
        answer = _asked(command, json.dumps(question).encode() + b"\n" + body, allowance)
        return msgspec.json.decode(answer, type=Page)
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        raise ToolError(
            f"The page at {url} came, but it could not be read: its HTML is too large or broken."
        ) from error
    finally:
        _readers.release()


def _asked(command: Sequence[str], question: bytes, allowance: Allowance) -> bytes:
    """Gives what the process answers. It is gone when this returns or raises, also when it is cancelled.

    It is asked over a socket, which can keep a deadline. A process that was started but is not known yet, since a
    cancel came in the middle of the start, finds the other end closed and no whole question, and ends by itself.
    """
    ours, its = socket.socketpair()
    with ours, its:
        process = subprocess.Popen(  # noqa: S603  # a constant; nothing of the page is part of it
            command, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL, cwd="/", env={}, close_fds=True
        )
        try:
            its.close()
            return _exchanged(ours, question, allowance)
        finally:
            process.kill()
            process.wait()


def _exchanged(ours: socket.socket, question: bytes, allowance: Allowance) -> bytes:
    ours.settimeout(allowance.left())
    ours.sendall(question)
    ours.shutdown(socket.SHUT_WR)
    answer = bytearray()
    while True:
        ours.settimeout(allowance.left())
        data = ours.recv(65_536)
        answer += data
        if len(answer) > MOST_ANSWER:
            raise ValueError("the answer is too long")
        if not data:
            return bytes(answer)
