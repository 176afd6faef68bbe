"""gunicorn's settings for a DeeChat that is measured: its own, and an observer on the worker's hub.

The observer sleeps 10 ms again and again and notes how late it woke, which is how long the hub had no time for a
greenlet that was ready. It also times commits and full garbage collections. With `BENCH_SAMPLE` set it looks a few
hundred times a second at the hub's stack (bench/sampler.py). On SIGUSR2 it writes its notes to the file that
`BENCH_REPORT` names; times are seconds of the monotonic clock. All of it costs about half a percent.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from deechat.server import serving
from deechat.server.serving import *  # noqa: F403 - gunicorn takes each setting by its name

INTERVAL = 0.01


class Observer:
    """Everything it noted, each as `[when it began, seconds]`; commits also have the number of their jobs."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self.ticks: list[tuple[float, float]] = []
        self.commits: list[tuple[float, float, int]] = []
        self.collections: list[tuple[float, float]] = []
        self.sampled: dict[str, float] = {}
        self._collecting = 0.0

    def watch(self) -> None:
        """Sleeps and notes, for ever."""
        import gevent  # noqa: PLC0415 - gunicorn's master reads this file, and must not load it

        while True:
            began = time.monotonic()
            gevent.sleep(INTERVAL)
            self.ticks.append((began, time.monotonic() - began - INTERVAL))

    def collect(self, phase: str, info: dict[str, int]) -> None:
        """Is a callback of the garbage collector; only full collections count."""
        if info["generation"] < 2:
            return
        if phase == "start":
            self._collecting = time.monotonic()
        else:
            self.collections.append((self._collecting, time.monotonic() - self._collecting))

    def time_commits(self) -> None:
        """Puts a clock around the database's commits, as the hub sees them."""
        from deechat.store.sqlite.database import Database  # noqa: PLC0415 - see above

        commit = Database._commit

        def timed(database: Any, batch: Any, *more: Any) -> Any:
            began = time.monotonic()
            try:
                return commit(database, batch, *more)
            finally:
                self.commits.append((began, time.monotonic() - began, len(batch)))

        Database._commit = timed  # type: ignore[method-assign]

    def sample(self) -> None:
        """Begins to look at the hub's stack."""
        sys.path.append(str(Path(__file__).parent))
        from sampler import Sampler  # noqa: PLC0415 - only for a profile

        self.sampled = Sampler().start()

    def write(self) -> None:
        noted = {"ticks": self.ticks, "commits": self.commits, "collections": self.collections, "sampled": self.sampled}
        draft = self._report.with_suffix(".part")
        draft.write_text(json.dumps(noted | {"process": time.process_time(), "hub": time.thread_time()}))
        draft.replace(self._report)


def post_worker_init(worker: Any) -> None:
    """Starts the application as ever, and watches."""
    import gevent  # noqa: PLC0415 - see above

    observer = Observer(Path(os.environ["BENCH_REPORT"]))
    observer.time_commits()
    gc.callbacks.append(observer.collect)
    gevent.signal_handler(signal.SIGUSR2, observer.write)
    serving.post_worker_init(worker)
    gevent.spawn(observer.watch)
    if os.environ.get("BENCH_SAMPLE"):
        observer.sample()
