"""What docs/deploy.md says, done: the unit, the image and the backup name what exists. Proxies: test_fronts.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from client import Client
from fronts_rig import DOCUMENT, block
from model_server import free_port
from server import ROOT, Server

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_unit_starts_what_an_installation_has(tmp_path: Path) -> None:
    unit = block("ini", "[Unit]")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, flags=re.MULTILINE)
    program, *arguments = start.split()
    assert program == "/opt/deechat/.venv/bin/gunicorn"
    assert Path(sys.executable).with_name(Path(program).name).exists()
    assert arguments == ["app:app", "--bind", "127.0.0.1:8000"]
    patience = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)[0])
    assert patience >= 15 + 10, "gunicorn's graceful_timeout and the closing of the database"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    file = tmp_path / "deechat.service"
    file.write_text(unit.replace(program, sys.executable).replace("/opt/deechat", str(ROOT)))
    command = ["systemd-analyze", "verify", str(file)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    faults = [line for line in checked.stderr.splitlines() if str(file) in line or "Unknown" in line]
    assert faults == []


def test_the_image_installs_what_there_is_and_runs_a_command_of_ours(server: Server) -> None:
    lines = block("dockerfile").replace("\\\n", " ").splitlines()
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.strip()}
    version = re.fullmatch(r"python:(3\.\d+)-slim", said["FROM"])
    assert version
    assert int(version[1].split(".")[1]) >= int(PROJECT["requires-python"].rpartition(".")[2])
    assert json.loads(said["CMD"]) == ["deechat"]
    assert "deechat" in PROJECT["scripts"]
    assert all((ROOT / name).exists() for name in (PROJECT["readme"], *PROJECT["license-files"]))
    settings = dict(pair.split("=") for pair in said["ENV"].split())
    assert settings["DEECHAT_DATA"] == said["VOLUME"]
    assert said["USER"] != "root"
    program, *arguments = json.loads(said["HEALTHCHECK"].removeprefix("CMD "))
    assert program == "python"
    for port, code in ((server.port, 0), (free_port(), 1)):
        environment = {**os.environ, "PORT": str(port)}
        command = [sys.executable, *arguments]
        healthy = subprocess.run(command, check=False, env=environment, capture_output=True, timeout=20)
        assert healthy.returncode == code


def test_a_backup_of_a_running_server_is_whole(client: Client, tmp_path: Path) -> None:
    client.ask("2+3")
    stream = client.send("help")
    stream.read_until("textResponseChunk")
    target = tmp_path / "monday.sqlite3"
    line = block("sh", "deechat backup").strip().replace("/backups/monday.sqlite3", str(target))
    line = line.replace(".venv/bin/deechat", f"{sys.executable} -c 'from deechat.cli import main; main()'")
    subprocess.run(line, shell=True, env=client.server.environment(), cwd=ROOT, check=True, timeout=60)
    stream.read()
    copy = sqlite3.connect(target)
    try:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        contents = [row[0] for row in copy.execute("SELECT content FROM message ORDER BY number")]
    finally:
        copy.close()
    assert contents[-3:] == ["2+3", "`2+3` = **5**", "help"]


def test_what_a_heroku_style_host_looks_for_is_there() -> None:
    process = (ROOT / "Procfile").read_text()
    assert process == "web: gunicorn app:app --bind 0.0.0.0:$PORT\n"
    for name in re.findall(r"`(Procfile|requirements\.txt|\.python-version)`", DOCUMENT):
        assert (ROOT / name).read_text().strip()
