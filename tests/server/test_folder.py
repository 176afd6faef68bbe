"""The data folder: one holder at a time, files that only their owner reads."""

from __future__ import annotations

import errno
import fcntl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deechat.errors import SettingError, StorageUnavailableError
from deechat.server.folder import DataFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "data")
    folder.hold()
    assert mode(folder.path) == 0o700
    folder.release()


def test_one_at_a_time_holds_it_and_the_second_leaves_with_words(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.hold()
    with pytest.raises(SettingError, match="in use by another DeeChat"):
        second.hold(patience=0.2)
    first.release()
    second.hold(patience=0)
    second.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(SettingError, match=r"a file is in its place\. Set DEECHAT_DATA to a folder") as caught:
            DataFolder(place).hold()
        assert "writable" not in str(caught.value)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    secret = folder.secret()
    assert len(secret) == 32
    assert DataFolder(tmp_path).secret() == secret
    assert mode(tmp_path / "secret") == 0o600
    assert not (tmp_path / "secret.new").exists()


def test_a_half_written_secret_is_made_anew_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    assert len(DataFolder(tmp_path).secret()) == 32
    (tmp_path / "secret").write_text("not hex")
    with pytest.raises(SettingError, match="damaged"):
        DataFolder(tmp_path).secret()


HOLDER = """
import sys
from pathlib import Path
from deechat.server.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.hold()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_let_go_of_when_its_process_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(SettingError):
            DataFolder(tmp_path).hold(patience=0)
        holder.kill()
    folder = DataFolder(tmp_path)
    folder.hold(patience=0)
    folder.release()


# -- a hold that nobody takes away -------------------------------------------------------------------------------------


class Earlier:
    """A process of a version that locked the file `lock` alone."""

    def __init__(self, folder: Path) -> None:
        self._lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise

    def close(self) -> None:
        self._lock.close()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    folder.hold(patience=0)
    folder.database.write_bytes(b"")
    folder.check_in_place()
    yield folder
    folder.release()


def test_a_removed_lock_lets_nobody_in_and_is_made_again(held: DataFolder) -> None:
    (held.path / "lock").unlink()
    with pytest.raises(SettingError, match="in use by another DeeChat"):
        DataFolder(held.path).hold(patience=0)
    (held.path / "lock").unlink(missing_ok=True)
    held.check_in_place()
    with pytest.raises(BlockingIOError):
        Earlier(held.path)


def test_a_version_that_locks_the_file_alone_and_this_one_keep_each_other_out(held: DataFolder) -> None:
    with pytest.raises(BlockingIOError):
        Earlier(held.path)
    held.release()
    earlier = Earlier(held.path)
    with pytest.raises(SettingError, match="in use by another DeeChat"):
        DataFolder(held.path).hold(patience=0)
    earlier.close()
    held.hold(patience=0)


def test_a_folder_that_an_earlier_version_took_is_given_up(held: DataFolder) -> None:
    (held.path / "lock").unlink()
    earlier = Earlier(held.path)
    with pytest.raises(StorageUnavailableError, match="another DeeChat has taken"):
        held.check_in_place()
    earlier.close()


@pytest.mark.parametrize("lose", ["folder", "file", "replaced"])
def test_files_that_are_not_in_their_place_are_missed_until_they_are_back(held: DataFolder, lose: str) -> None:
    place = held.path if lose == "folder" else held.database
    aside = place.with_name("aside")
    place.rename(aside)
    if lose == "replaced":
        place.write_bytes(b"")
    with pytest.raises(StorageUnavailableError, match="while the server runs") as caught:
        held.check_in_place()
    assert str(held.database) in str(caught.value)
    if lose == "replaced":
        place.unlink()
    aside.rename(place)
    held.check_in_place()


def test_a_lock_that_cannot_be_had_again_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DataFolder(tmp_path)
    folder.hold()
    folder.database.write_bytes(b"")
    folder.check_in_place()
    (tmp_path / "lock").unlink()

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", no_locks)
        with pytest.raises(StorageUnavailableError, match="No locks available"):
            folder.check_in_place()
    folder.check_in_place()
    folder.release()
