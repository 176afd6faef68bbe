"""A clock that counts evenly while the machine runs, for everything that measures how long something took.

The wall clock says which day it is, and jumps when a person or a time server sets it; `time.monotonic` stands still on
some systems while a laptop sleeps. This one does neither, and goes on across processes until the next boot.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

# On Linux CLOCK_MONOTONIC leaves the machine's sleep out; on macOS it counts it, and there is no CLOCK_BOOTTIME.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT = Path("/proc/sys/kernel/random/boot_id")

# Returns seconds since some moment of this boot. No function of ours: it is called for each token.
steady = partial(time.clock_gettime, _CLOCK)


def boot_id() -> str | None:
    """Return the name of this boot of the machine, within which `steady` goes on; None where the system has none."""
    try:
        return _BOOT.read_text().strip() or None
    except (OSError, UnicodeError):
        return None
