"""The write-ahead log before SQLite opens it: what it will pass over, and whether that may have been confirmed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deechat.store.sqlite import wal

CHANGES = 6


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a database that was killed after some transactions, of several pages each."""
    path = tmp_path / "live.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(CHANGES):
            connection.execute("INSERT INTO note VALUES (?)", (f"{number}" * 9_000,))
        for name in ("live.sqlite3", "live.sqlite3-wal"):
            shutil.copy(tmp_path / name, tmp_path / name.replace("live", "killed"))
    return tmp_path / "killed.sqlite3-wal"


def kept(log: Path) -> int:
    """What SQLite makes of it."""
    with closing(sqlite3.connect(log.with_name("killed.sqlite3"))) as connection:
        return int(connection.execute("SELECT count(*) FROM note").fetchone()[0])


def flip(log: Path, place: int) -> None:
    body = bytearray(log.read_bytes())
    body[place] ^= 0x10
    log.write_bytes(body)


def frames(log: Path) -> list[wal.Frame]:
    read = wal.read(log)
    assert read is not None
    return read


def test_a_sound_log_fits_to_its_end(log: Path) -> None:
    assert all(frame.fits for frame in frames(log))
    assert sum(frame.commits for frame in frames(log)) == CHANGES
    assert wal.damage(log) is None
    assert kept(log) == CHANGES


def size_of_frame(log: Path) -> int:
    return (log.stat().st_size - wal.HEADER) // len(frames(log))


@pytest.mark.parametrize("part", [0, 4, 9, 13, 18, wal.FRAME + 7])
def test_a_flipped_bit_in_the_middle_is_told_apart_wherever_it_is(log: Path, part: int) -> None:
    flip(log, wal.HEADER + 4 * size_of_frame(log) + part)
    assert "in its middle" in (wal.damage(log) or "")
    assert kept(log) < CHANGES


def test_a_flipped_bit_in_the_last_change_is_said(log: Path) -> None:
    flip(log, log.stat().st_size - 100)
    assert "the last change" in (wal.damage(log) or "")
    assert kept(log) == CHANGES - 1


def test_a_flipped_bit_in_the_header_is_said(log: Path) -> None:
    flip(log, 17)
    assert "header" in (wal.damage(log) or "")
    assert kept(log) == 0


@pytest.mark.parametrize("cut", [1, 3000, 4096, 4097, 9000])
def test_a_change_that_a_kill_cut_off_is_no_damage(log: Path, cut: int) -> None:
    body = log.read_bytes()
    log.write_bytes(body[:-cut])
    assert wal.damage(log) is None
    assert kept(log) == CHANGES - 1


def test_what_is_left_of_an_earlier_round_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "live.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE note (text TEXT)")
        connection.execute("INSERT INTO note VALUES (?)", ("a" * 90_000,))
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("INSERT INTO note VALUES ('b')")
        log = path.with_name("live.sqlite3-wal")
        assert log.stat().st_size > 90_000
        assert len(frames(log)) < 5
        assert wal.damage(log) is None


def test_no_log_and_an_empty_one_are_sound(tmp_path: Path) -> None:
    (tmp_path / "x-wal").write_bytes(b"")
    assert wal.damage(tmp_path / "x-wal") is None
