"""The measurement of many streams runs through; what it measures is for a person to read, not for a test to judge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench" / "streams.py"


def test_quick_measurement_completes_every_stream() -> None:
    """Twenty streams at 50 tokens a second all come to their end, with every token."""
    process = subprocess.Popen(
        [sys.executable, BENCH, "--quick"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started goes with it
    )
    try:
        said, problems = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, problems
    figures = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in said.splitlines()}
    assert figures["streams complete"] == "20 of 20"
    assert figures["streams lost"] == "0"
    assert int(figures["events stored"]) == int(figures["frames sent"])
