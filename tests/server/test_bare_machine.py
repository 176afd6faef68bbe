"""A machine that offers little: a root that cannot be written, no folder for temporary files, no home.

Seen by benoitc/gunicorn#2859 and #2976, meeb/tubesync#458, MinBZK/mijn-bureau-infra#371.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from client import Client
from server import GUNICORN, ROOT, Server

from deechat.config import Settings
from deechat.errors import SettingError
from deechat.server.folder import keep_temporary_files

PATIENCE = 60
# All is read-only but the first argument, a folder; then the rest is run.
READ_ONLY = (
    'mount --bind "$1" "$1" && mount -o remount,ro,bind / && mount -t tmpfs -o ro tmpfs /dev/shm && shift && exec "$@"'
)


def _may_unshare() -> bool:
    tool = shutil.which("unshare")
    return bool(tool) and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not _may_unshare(), reason="mounts of its own are for the superuser")


@contextmanager
def on_a_read_only_root(folder: Path, **settings: str) -> Iterator[Server]:
    kept = folder / "kept"
    kept.mkdir()
    server = Server(folder, DEECHAT_DATA=str(kept / "data"), **settings)
    command = ["unshare", "-m", "sh", "-ec", READ_ONLY, "sh", kept, GUNICORN, "app:app"]
    with server.log_file.open("ab") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{server.port}"],
            cwd=ROOT,
            env=server.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(PATIENCE * 50):
            assert process.poll() is None, server.log
            if server.answers():
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)
        yield server
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@needs_mounts
def test_it_serves_on_a_root_that_is_read_only(tmp_path: Path) -> None:
    with on_a_read_only_root(tmp_path) as server:
        client = Client(server)
        assert "4" in client.ask("2+2").text
        client.check_all()
        assert "TMPDIR" in server.log
        assert "Traceback" not in server.log
    assert sorted(each.name for each in (tmp_path / "kept" / "data").iterdir()) == ["deechat.sqlite3", "lock", "secret"]


@needs_mounts
@pytest.mark.parametrize("home", ["", "/nothing"])
def test_it_needs_no_home(tmp_path: Path, home: str) -> None:
    with on_a_read_only_root(tmp_path, HOME=home) as server:
        assert "4" in Client(server).ask("2+2").text


@needs_mounts
def test_a_data_folder_on_a_read_only_root_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path)
    command = ["unshare", "-m", "sh", "-ec", READ_ONLY, "sh", "/proc", GUNICORN, "app:app", "--bind", "127.0.0.1:0"]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=server.environment(), capture_output=True, timeout=PATIENCE
    )
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("DeeChat cannot start: ")
    for words in (server.settings["DEECHAT_DATA"], "Read-only file system", "DEECHAT_DATA"):
        assert words in line
    assert done.returncode != 0


def test_temporary_files_are_in_the_data_folder_only_where_no_other_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert keep_temporary_files(Path("/nothing")) is None
    assert tempfile.gettempdir() == str(tmp_path)

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert keep_temporary_files(tmp_path / "data") == tmp_path / "data"
    assert tempfile.tempdir == str(tmp_path / "data")


def test_a_folder_for_the_worker_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path)
    command = [GUNICORN, "app:app", "--bind", f"127.0.0.1:{server.port}", "--worker-tmp-dir", "/nothing"]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=server.environment(), capture_output=True, timeout=PATIENCE
    )
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("DeeChat cannot start: --worker-tmp-dir is '/nothing'")
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=2)


def test_a_home_of_somebody_who_is_not_there_is_told_in_words() -> None:
    with pytest.raises(SettingError, match="DEECHAT_DATA is '~nobody-at-all/data', but a folder without ~"):
        Settings.read({"DEECHAT_DATA": "~nobody-at-all/data"})
