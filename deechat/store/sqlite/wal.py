"""The write-ahead log, looked at before SQLite opens it: https://sqlite.org/fileformat2.html#the_write_ahead_log

SQLite reads the log up to the first frame that does not fit and overwrites the rest without a word. At the end that is
right: a transaction that the power cut off was confirmed to nobody. In the middle it loses what was.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

HEADER, FRAME = 32, 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}  # the byte order of its checksums
_SALTS_APART = 4  # bits in which a damaged salt may differ from the true one; chance alone gives that once in 100,000


class Frame(NamedTuple):
    """A frame of this round of the log. `commits`: a transaction ends with it."""

    fits: bool
    commits: bool


def read(path: Path) -> list[Frame] | None:
    """Return the frames of the log's present round, those after the first bad one too; None without a sound header."""
    with path.open("rb") as file:
        header = file.read(HEADER)
        if len(header) < HEADER:
            return []
        magic, _, size, _, salt1, salt2, *sums = struct.unpack(">8I", header)
        order = _MAGIC.get(magic)
        if order is None or size < 512 or _sum(header[: HEADER - 8], (0, 0), order) != tuple(sums):
            return None
        frames: list[Frame] = []
        running, fits, foreign = (sums[0], sums[1]), True, 0
        while len(frame := file.read(FRAME + size)) == FRAME + size:
            _, commits, its1, its2, *stored = struct.unpack(">6I", frame[:FRAME])
            if its1 != salt1 and (its2 ^ salt2).bit_count() > _SALTS_APART:
                foreign, fits = foreign + 1, False  # of an earlier round, unless one of this round follows
                continue
            if fits:
                running = _sum(frame[FRAME:], _sum(frame[:8], running, order), order)
                fits = (its1, its2, *running) == (salt1, salt2, *stored)
            frames += [Frame(False, False)] * foreign
            frames.append(Frame(fits, commits != 0))
            foreign = 0
    return frames


def damage(path: Path) -> str | None:
    """Return what of the log SQLite will pass over although it may have been confirmed; None when that is nothing."""
    frames = read(path)
    if frames is None:
        return f"the header of {path.name} does not fit, and all changes in it are passed over"
    bad = [frame for frame in frames if not frame.fits]
    commits = sum(frame.commits for frame in bad)
    if not bad or (len(bad) == 1 and not commits):
        return None  # of a transaction that was being written
    if commits > 1 or (commits and not bad[-1].commits):
        return f"{path.name} does not fit in its middle, and the last {len(bad)} of its {len(frames)} pages are lost"
    return (
        f"the last change in {path.name} does not fit and is passed over: the machine lost its power while that was "
        "written, and then nobody was told that it was kept, or the file was damaged"
    )


def _sum(part: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = before
    for even, odd in struct.iter_unpack(f"{order}II", part):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
