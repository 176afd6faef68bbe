"""A page as a process of its own reads it and as a model is given it. It fetches nothing and knows no HTML itself."""

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
from deechat.net.checked import Allowance

READER = (sys.executable, "-I", "-X", "utf8", str(Path(__file__).with_name("reader.py")))
MOST_READERS = 2  # at once; each takes a core, and up to `reader.MEMORY`
MOST_ANSWER = 1_000_000  # bytes

MOST_BYTES = 15_500  # of the text for a model, but for the notes; the loop cuts at 16,000, which would take the links
MOST_TEXT = 12_000
MOST_TITLE = 600
MOST_LINK_TEXT = 3_000
MOST_LINKS = 40

_readers = threading.BoundedSemaphore(MOST_READERS)


class Page(msgspec.Struct, frozen=True):
    """A page as the process tells it: nothing but its types may be trusted."""

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
    """Return a page as it was read. Raises `TimeoutError` at the deadline, and `ToolError` where it cannot be read."""
    seconds = math.ceil(allowance.left())
    question = {"url": url, "is_html": is_html, "charset": charset, "size": len(body), "seconds": seconds}
    if not _readers.acquire(timeout=allowance.left()):
        raise TimeoutError("the time is up")
    try:
        answer = _ask(command, json.dumps(question).encode() + b"\n" + body, allowance)
        return msgspec.json.decode(answer, type=Page)
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        raise ToolError(
            f"The page at {url} came, but it could not be read: its HTML is too large or broken."
        ) from error
    finally:
        _readers.release()


def _ask(command: Sequence[str], question: bytes, allowance: Allowance) -> bytes:
    """Return the answer of the process. It is gone when this returns or raises, also when it is cancelled.

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
        finally:
            process.kill()
            process.wait()


def as_text(page: Page, url: str, cut_at: str = "") -> str:
    """Return a page as text for a model: title, URL, text, links. Nothing in it is longer than its share.

    `cut_at` is the size at which the page was cut, "" where it is whole.
    """
    head = f"# {_cut(page.title, MOST_TITLE)}\n{url}" if page.title else url
    links = "\n".join(["Links:", *_links(page.links)])
    text = _cut(page.text, min(MOST_TEXT, MOST_BYTES - len((head + links).encode("utf-8", "replace"))))
    left_out = max(page.length, len(page.text)) - len(text)
    parts = [head, text or "(There is no text on this page. It may need scripts, which are not run.)"]
    if left_out > 0:
        parts.append(f"[{left_out:,} more characters of this page are left out.]")
    if cut_at:
        parts.append(f"[The page is longer than {cut_at}; only so much of it was read.]")
    if "\n" in links:
        parts.append(links)
    return "\n\n".join(parts)


def _links(links: list[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    room = MOST_LINK_TEXT
    for label, url in links:
        line = f"- [{label or url}]({url})"
        if len(lines) < MOST_LINKS and len(line.encode("utf-8", "replace")) < room and url.startswith("http"):
            lines.append(line)
            room -= len(line.encode("utf-8", "replace")) + 1
    return lines


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
