"""A client of the server under test, that keeps what it saw of every run, and holds the server to it.

`Client.check_all` is the claim behind all others: whatever was read live is, byte for byte, what a replay gives from
any place in it, and what the database holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import requests
from server import Server

from deechat.agents.plugins.base import Plugin
from deechat.agents.plugins.deechat import DeeChat
from deechat.agents.plugins.sse import SSE

ENDINGS = {"finalizeResponseStream", "stopGeneration", "abort"}
MOST_REPLAYS = 60  # cursors from which a long run is read again; a short one from each
OPENING = b"retry: 1500\n"  # how a stream begins, in the block of its first frame
Frame = dict[str, Any]


@dataclass
class Block:
    """One block of a stream as it came: `seq` is None where it has no id (heartbeats, resync).

    `opening` are the bytes that a stream begins with, before its first block; `raw` is the frame without them.
    """

    raw: bytes
    seq: int | None
    event: str | None
    data: Frame
    opening: bytes = b""

    @property
    def type(self) -> str | None:
        return self.data.get("type")


def parse(raw: bytes, first: bool = False) -> Block:
    """Reads a block strictly: each field at most once, `data` one line of JSON, `id` digits.

    The first one of a stream begins with the stream's opening.
    """
    opening = OPENING if first else b""
    assert raw.startswith(opening), raw
    raw = raw.removeprefix(opening)
    fields: dict[str, str] = {}
    for line in raw.decode().removesuffix("\n\n").split("\n"):
        name, colon, value = line.partition(": ")
        assert colon, f"a line that is no field: {line!r}"
        assert name in {"id", "event", "data"}, f"{name} is no field of a block"
        assert name not in fields, f"{name} twice in one block"
        fields[name] = value
    seq = int(fields["id"]) if "id" in fields else None
    assert "data" in fields, f"an empty event: {raw!r}"
    return Block(raw, seq, fields.get("event"), json.loads(fields["data"]), opening)


class Stream:
    """One open stream, block by block. `blocks` and `frames` are what was read so far.

    `opened` are all of the test in progress, which are closed at its end: a test may leave one in its midst.
    """

    opened: ClassVar[list[Stream]] = []

    def __init__(self, response: requests.Response) -> None:
        self.opened.append(self)
        self.response = response
        self.blocks: list[Block] = []
        self._rest = b""
        self._chunks = response.iter_content(chunk_size=None)

    @property
    def run_id(self) -> str:
        return self.response.headers["X-Run-Id"]

    @property
    def numbered(self) -> list[Block]:
        return [block for block in self.blocks if block.seq is not None]

    @property
    def frames(self) -> list[Frame]:
        return [block.data for block in self.numbered]

    @property
    def last_seq(self) -> int:
        return self.numbered[-1].seq or 0 if self.numbered else 0

    @property
    def text(self) -> str:
        return text_of(self.frames)

    @property
    def ending(self) -> Frame | None:
        return next((frame for frame in self.frames if frame.get("type") in ENDINGS), None)

    def __iter__(self) -> Iterator[Block]:
        """Reads on to the stream's end; a cut connection ends it too."""
        while True:
            while b"\n\n" in self._rest:
                raw, _, self._rest = self._rest.partition(b"\n\n")
                block = parse(raw + b"\n\n", first=not self.blocks)
                self.blocks.append(block)
                yield block
            try:
                self._rest += next(self._chunks)
            except (StopIteration, requests.RequestException):
                return

    def read_until(self, wanted: str) -> Block:
        """Reads on until a frame of the type, or with the text, came."""
        for block in self:
            said = block.type == "textResponseChunk" and wanted in self.text
            if said or wanted in (block.type, block.event):
                return block
        raise AssertionError(f"the stream ended without {wanted!r}; it had {self.types}")

    def read(self) -> Stream:
        """Reads to the end."""
        with closing(self.response):
            for _ in self:
                pass
        return self

    @property
    def types(self) -> list[str | None]:
        return [block.type or block.event for block in self.blocks]

    def close(self) -> None:
        self.response.close()


def text_of(frames: list[Frame], kind: str = "textResponseChunk") -> str:
    """Gives the answer's text, or its thinking (`reasoningChunk`), as a page would show it."""
    pieces: list[tuple[int, str]] = []
    for seq, frame in enumerate(frames, start=1):
        if frame.get("type") == kind:
            pieces.append((seq, frame["textResponse"]))
        if frame.get("type") == "stepRestarted":
            pieces = [piece for piece in pieces if piece[0] <= frame["afterId"]]
    return "".join(text for _, text in pieces)


@dataclass
class Client:
    """Speaks to a server and remembers the streams."""

    server: Server
    workspace: str = "default"
    thread: str = "default"
    headers: dict[str, str] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Makes one request, without a session, so that no connection is left open. Redirects are not followed."""
        options.setdefault("timeout", 60)
        options.setdefault("allow_redirects", False)
        headers = {**self.headers, **options.pop("headers", {})}
        return requests.request(method, self.server.url + path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        """Gets JSON that must be there."""
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.call("POST", path, json={} if body is None else body, **options)

    @property
    def thread_path(self) -> str:
        return f"/api/workspace/{self.workspace}/thread/{self.thread}"

    def new_thread(self, name: str | None = None) -> Client:
        """Makes a thread and gives a client of it, which shares this one's memory."""
        body = {} if name is None else {"name": name}
        slug = self.post(f"/api/workspace/{self.workspace}/thread/new", body).json()["thread"]["slug"]
        return Client(self.server, self.workspace, slug, self.headers, self.streams, self.gone)

    def send(self, message: str, **body: Any) -> Stream:
        """Sends a message and gives the open stream."""
        headers = body.pop("headers", {})
        path = f"{self.thread_path}/stream-chat"
        response = self.post(path, {"message": message, **body}, stream=True, headers=headers)
        assert response.status_code == 200, response.text
        return self._keep(Stream(response))

    def ask(self, message: str, **body: Any) -> Stream:
        """Sends a message and reads the answer to its end."""
        return self.send(message, **body).read()

    def follow(self, run_id: str, after: int | None = None, **options: Any) -> Stream:
        """Opens the run's stream after the cursor."""
        params = {} if after is None else {"after": str(after)}
        response = self.call("GET", f"/api/runs/{run_id}/events", params=params, stream=True, **options)
        assert response.status_code == 200, (response.status_code, response.text)
        return self._keep(Stream(response))

    def go_on(self, run_id: str) -> Stream:
        """Asks for the rest of an answer that was broken off."""
        response = self.post(f"/api/runs/{run_id}/continue", stream=True)
        assert response.status_code == 200, response.text
        return self._keep(Stream(response))

    def _keep(self, stream: Stream) -> Stream:
        self.streams.append(stream)
        return stream

    def run(self, run_id: str) -> Any:
        return self.get(f"/api/runs/{run_id}")["run"]

    def stop(self, run_id: str) -> Any:
        response = self.post(f"/api/runs/{run_id}/stop")
        assert response.status_code == 200, response.text
        return response.json()

    def history(self) -> list[Any]:
        return self.get(f"{self.thread_path}/chats")["history"]  # type: ignore[no-any-return]

    def delete(self) -> None:
        """Deletes the thread; its runs are checked no more."""
        self.gone |= {stream.run_id for stream in self.streams}
        assert self.call("DELETE", self.thread_path).status_code == 200

    def wait_ended(self, run_id: str, timeout: float = 30) -> Any:
        """Waits until the run has ended and gives it."""
        deadline = time.monotonic() + timeout
        while (run := self.run(run_id))["status"] != "ended":
            assert time.monotonic() < deadline, f"the run did not end: {run}"
            time.sleep(0.02)
        return run

    # -- the claim behind all others -----------------------------------------------------------------------------------

    def check_all(self) -> None:
        """Checks every run of which anything was seen."""
        for stream in self.streams:
            stream.close()
        for run_id in {stream.run_id for stream in self.streams} - self.gone:
            self.check(run_id)

    def check(self, run_id: str) -> list[Block]:
        """Checks a run, which must have ended: the log, its replays and everything seen live are the same bytes."""
        run = self.get(f"/api/runs/{run_id}")["run"]
        assert run["status"] == "ended", f"a test left it open, and its stream would never end: {run}"
        whole = self._replay(run_id, 0)
        seqs = [block.seq for block in whole]
        assert seqs == list(range(1, len(whole) + 1)), f"gaps in {seqs}"
        endings = [block.seq for block in whole if block.type in ENDINGS]
        assert endings == [len(whole)], f"endings at {endings} of {len(whole)}"
        assert [block.raw for block in whole] == self._from_database(run_id, whole[0].data)
        step = max(1, len(whole) // MOST_REPLAYS)
        for after in range(0, len(whole), step):
            assert [block.raw for block in self._replay(run_id, after)] == [block.raw for block in whole[after:]]
        by_seq = {block.seq: block.raw for block in whole}
        for stream in self.streams:
            if stream.run_id == run_id:
                seen = stream.numbered
                assert [block.raw for block in seen] == [by_seq[block.seq] for block in seen]
                assert [block.seq for block in seen[1:]] == [(block.seq or 0) + 1 for block in seen[:-1]]
        return whole

    def _replay(self, run_id: str, after: int) -> list[Block]:
        response = self.call("GET", f"/api/runs/{run_id}/events", params={"after": str(after)}, stream=True)
        assert response.status_code == 200, (response.status_code, response.text)
        return Stream(response).read().numbered

    def _from_database(self, run_id: str, first: Frame) -> list[bytes]:
        plugin = Plugin(DeeChat(first["id"]), SSE())
        return [plugin.frame(entry) for entry in self.server.entries(run_id)]
