"""The system's figures of a process, statistics of many figures, and a description of the machine."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
ROOT = Path(__file__).parent.parent


def many_files() -> None:
    """Lets this process, and those that it starts, open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def no_collections() -> None:
    """Keeps the garbage collector of a process of the rig from adding pauses to a measurement."""
    gc.freeze()
    gc.disable()


def cpu_seconds(pid: int) -> float:
    """Gives the processor time that a process has used, all its threads' and the system's for it."""
    # The process's own clock, as clock_getcpuclockid(3) names it: /proc/PID/stat counts in steps of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def memory_mib(pid: int) -> float:
    """Gives the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib(pid: int) -> float:
    """Gives the most resident memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def queued_seconds(pid: int) -> float:
    """Gives how long a process's main thread was ready and had no processor, where the kernel says so."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class Watch:
    """Looks at a process's memory and at this process's own lateness every 50 ms, for as long as a measurement runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most_mib = memory_mib(pid)
        self.late: list[float] = []

    async def run(self, interval: float = 0.05) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(interval)
            self.late.append(time.monotonic() - began - interval)
            self.most_mib = max(self.most_mib, memory_mib(self._pid))


def percentile(values: Sequence[float], share: float) -> float:
    """Gives the value that `share` of the values do not exceed; 0 of none. Sorted values cost nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    """Gives the middle one, or the mean of the two in the middle; 0 of none."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if not ordered:
        return 0.0
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def machine() -> dict[str, Any]:
    """Describes the machine, and how busy it was just before."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": names[0] if names else platform.machine(),
        "processors": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "load_before": os.getloadavg()[0],
    }
