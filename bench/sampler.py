"""Where the processor's time goes, by part: a look at the hub's stack a few hundred times a second of processor time.

The signal of the kernel's profiling timer comes after so much processor time of the whole process. Python calls its
handler on the main thread, which is the hub's, with the frame of the running greenlet. Each look counts for the
hub's own processor time since the look before, so that the time of the writer thread, which makes the timer run too, is
not taken for the hub's.

A look belongs to the part of the innermost frame that has one. Compiled code has no frames: its time falls to its
caller, and that of the event loop and of the switches to the line that had been waiting. A line that waits is therefore
`wake-up`. The HTTP library belongs to the request as long as the SDK's client is on the stack, else to the reading.
"""

from __future__ import annotations

import linecache
import signal
import time
from types import CodeType, FrameType

INTERVAL = 0.002  # seconds of processor time; the kernel makes it a whole tick of its clock, most often 4 ms
PARTS = {
    "read": "reading the model server's answer",
    "decode": "its bytes to text: lines, JSON, parts of a turn",
    "loop": "the agent's loop, the run and its state",
    "log": "appending, committing as the hub sees it, following",
    "writer": "the writer thread: SQLite",
    "wake-up": "the event loop and the switches between greenlets",
    "encode": "entries to frames",
    "send": "frames to the client's socket",
    "ask": "a run's start: the request to the model server",
    "request": "a run's start: the client's request, its prompt, its thread",
    "gc": "the garbage collector",
    "other": "everything else",
}
# The first that fits a frame's FILE:FUNCTION counts; the frames are gone through from the innermost outwards.
RULES = (
    ("bench/observed.py:collect", "gc"),  # which the collector calls when it is through
    ("/bench/", "other"),
    ("gevent/hub.py", "wake-up"),
    ("gevent/timeout.py", "wake-up"),
    ("deechat/net/wait.py", "wake-up"),
    ("deechat/net/rounds.py:read", "read"),
    ("deechat/net/rounds.py", "wake-up"),
    ("deechat/net/", "read"),
    ("deechat/server/worker.py:sendall", "send"),
    ("openai/request.py", "ask"),
    ("openai/resources/", "ask"),
    ("openai/chunks.py", "decode"),
    ("openai/turn.py", "decode"),
    ("openai/calls.py", "decode"),
    ("openai/thinking.py", "decode"),
    ("agents/providers/", "read"),
    ("site-packages/openai/", "read"),
    ("site-packages/httpx2/", "read"),
    ("site-packages/httpcore2/", "read"),
    ("site-packages/h11/", "read"),
    ("site-packages/urllib3/", "read"),
    ("deechat/log/journal.py", "log"),
    ("deechat/log/batch.py", "log"),
    ("deechat/store/sqlite/database.py", "log"),
    ("deechat/events.py", "log"),
    ("agents/plugins/", "encode"),
    ("web/streams.py", "encode"),
    ("gunicorn/http/wsgi.py", "send"),
    ("gunicorn/util.py", "send"),
    ("werkzeug/wsgi.py", "send"),
    ("deechat/agents/", "loop"),
    ("deechat/runs/runner.py", "loop"),
    ("deechat/", "request"),
    ("site-packages/flask/", "request"),
    ("site-packages/werkzeug/", "request"),
    ("site-packages/gunicorn/", "request"),
)
WAITING = ("gevent.sleep(", ".wait(", "_wait(", "switch(", "time.sleep(", ".get()", "joinall(")
ASKING = "openai/_base_client.py"


class Sampler:
    """Adds up seconds by `PART FUNCTION`, in a dict that `start` gives and that grows from then on."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._parts: dict[CodeType, str | None] = {}
        self._waiting: dict[tuple[CodeType, int], bool] = {}
        self._last = 0.0

    def start(self) -> dict[str, float]:
        """Begins; call it on the main thread."""
        self._last = time.thread_time()
        signal.signal(signal.SIGPROF, self._look)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        return self._seconds

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        name = "other ?" if frame is None else self._name(frame)
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def _name(self, innermost: FrameType) -> str:
        code = innermost.f_code
        where = f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_name}"
        if self._waits(innermost):
            return f"wake-up {where}"
        found: str | None = None
        frame: FrameType | None = innermost
        while frame is not None:
            if ASKING in frame.f_code.co_filename:
                return f"ask {where}"
            if found is None:
                found = self._part(frame.f_code)
            frame = frame.f_back
        return f"{found or 'other'} {where}"

    def _part(self, code: CodeType) -> str | None:
        if code not in self._parts:
            where = f"{code.co_filename}:{code.co_name}"
            self._parts[code] = next((part for fragment, part in RULES if fragment in where), None)
        return self._parts[code]

    def _waits(self, frame: FrameType) -> bool:
        key = (frame.f_code, frame.f_lineno or 0)  # some instructions belong to no line
        if key not in self._waiting:
            line = linecache.getline(frame.f_code.co_filename, key[1])
            self._waiting[key] = any(call in line for call in WAITING)
        return self._waiting[key]
