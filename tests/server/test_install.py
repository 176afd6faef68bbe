"""`make run` and its kin on a stranger's machine: what is said when something is missing, and what is done only once.

No test needs a network: what is installed is a project of the test's own, which builds itself and needs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_server import free_port
from server import ROOT, wait_until

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "deechat"
version = "1"
requires-python = ">=3.11"
optional-dependencies = {dev = []}
"""
BACKEND = """
import os, time, zipfile
METADATA = "Metadata-Version: 2.1\\nName: deechat\\nVersion: 1\\nProvides-Extra: dev\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"

def build_editable(folder, config_settings=None, metadata_directory=None):
    open("begun", "w").close()
    while os.path.exists("hold"):
        time.sleep(0.02)
    if os.path.exists("fail"):
        raise SystemExit("the build fails")
    name = "deechat-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for file, text in {"METADATA": METADATA, "WHEEL": WHEEL, "RECORD": ""}.items():
            wheel.writestr("deechat-1.dist-info/" + file, text)
    return name
"""
APP = 'print("serving")\n'


class Folder:
    """A folder as somebody clones it, with our Makefile and scripts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: subprocess.CompletedProcess[str] | None = None
        path.mkdir()
        shutil.copytree(ROOT / "scripts", path / "scripts")
        shutil.copy(ROOT / "Makefile", path)
        (path / "app.py").write_text(APP)
        (path / "pyproject.toml").write_text(PROJECT)
        (path / "backend.py").write_text(BACKEND)

    def needs_more(self) -> None:
        """Lets the project ask for what is not on this disk."""
        needing = PROJECT.replace("requires = []", 'requires = ["setuptools>=77"]')
        (self.path / "pyproject.toml").write_text(needing)

    def make(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Calls make, with this interpreter as `python3` and without a network."""
        return subprocess.run(
            ["make", *words],
            cwd=self.path,
            env=surroundings(self.path, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    bin_folder = folder / "bin"
    if not bin_folder.exists():
        bin_folder.mkdir()
        script(bin_folder / "python3", f'exec "{os.path.realpath(sys.executable)}" "$@"')
    path = f"{bin_folder}:{os.environ['PATH']}"
    return ours | {"PATH": path, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"} | more


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder in which `make run` was called once."""
    folder = Folder(tmp_path_factory.mktemp("clone") / "deechat")
    folder.first = folder.make("run")
    return folder


@pytest.fixture
def folder(installed: Folder) -> Folder:
    """The same, with nothing to do."""
    (installed.path / "pyproject.toml").write_text(PROJECT)
    installed.make("run")
    return installed


# -- installing --------------------------------------------------------------------------------------------------------


def test_the_first_call_says_what_it_does_and_the_second_says_nothing(installed: Folder) -> None:
    assert installed.first is not None
    assert installed.first.returncode == 0, installed.first.stdout
    making, installing, *_ = installed.first.stdout.splitlines()
    assert re.fullmatch(r"Making \.venv with Python 3\.\d+\.\S+ \.\.\.", making)
    assert re.fullmatch(r"Installing DeeChat .* MB, once\) \.\.\.", installing)
    assert installed.first.stdout.endswith("\nserving\n")
    assert installed.make("run").stdout == "serving\n"


def test_the_tools_of_the_tests_come_when_they_are_needed_and_the_server_is_among_them(folder: Folder) -> None:
    assert "dev" not in (folder.path / ".venv" / ".installed").read_text()
    assert "the tools of its tests" in folder.make("install").stdout
    log = folder.path / ".venv" / "install.log"
    log.unlink()
    assert folder.make("install").stdout == ""
    assert folder.make("run").stdout == "serving\n"
    assert not log.exists(), "pip was called again"


def test_an_installation_that_failed_or_was_interrupted_is_taken_up(folder: Folder) -> None:
    (folder.path / "pyproject.toml").write_text(PROJECT + "# another version\n")
    (folder.path / "fail").touch()
    failed = folder.make("run")
    assert failed.returncode != 0
    assert "serving" not in failed.stdout
    assert "All that it said: .venv/install.log" in failed.stdout
    (folder.path / "fail").unlink()
    (folder.path / "begun").unlink()
    (folder.path / "hold").touch()
    with subprocess.Popen(
        ["make", "run"],
        cwd=folder.path,
        env=surroundings(folder.path),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    ) as process:
        wait_until((folder.path / "begun").exists, timeout=120)
        os.killpg(process.pid, signal.SIGKILL)
    (folder.path / "hold").unlink()
    again = folder.make("run")
    assert "Installing" in again.stdout
    assert again.stdout.endswith("\nserving\n")
    assert folder.make("run").stdout == "serving\n"


def no_index() -> dict[str, str]:
    return {"PIP_NO_INDEX": "1"}


def closed_port() -> dict[str, str]:
    index = f"http://127.0.0.1:{free_port()}/simple"
    return {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": index, "PIP_RETRIES": "1", "no_proxy": "127.0.0.1"}


@pytest.mark.parametrize("network", [no_index, closed_port])
def test_a_missing_network_is_named(folder: Folder, network: Callable[[], dict[str, str]]) -> None:
    folder.needs_more()
    done = folder.make("run", **network())
    assert done.returncode != 0
    assert "no package index" in done.stdout
    assert "Is this machine on the network?" in done.stdout
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) < 12


def test_a_moved_folder_asks_for_make_clean(folder: Folder) -> None:
    before = folder.path
    folder.path = before.rename(before.with_name("elsewhere"))
    moved = folder.make("run")
    folder.path = folder.path.rename(before)
    assert moved.returncode != 0
    assert f"was made as {before / '.venv'}" in moved.stdout
    assert "'make clean'" in moved.stdout
    assert "serving" not in moved.stdout
    assert folder.make("run").stdout == "serving\n"


def test_another_python_than_the_one_that_is_there_asks_for_make_clean(folder: Folder) -> None:
    script(folder.path / "bin" / "python3.99", 'echo "Python 3.99.0"')
    other = folder.make("run", "PYTHON=python3.99")
    assert other.returncode != 0
    assert "'make clean'" in other.stdout
    assert folder.make("run", "PYTHON=python3").stdout == "serving\n"


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("python3.98", ['test "$1" = -V && echo "Python 3.9.8" || exit 1'], "is Python 3.9.8"),
        ("python3.97", [], "was not found"),
        ("python3.96", ['test "$1" = -V && echo "Python 3.96.0"; test "$1" = -c'], "apt-get install -y python3-venv"),
    ],
    ids=["too old", "none", "without venv"],
)
def test_a_python_that_cannot_do_it_is_named(tmp_path: Path, name: str, lines: list[str], words: str) -> None:
    folder = Folder(tmp_path / "deechat")
    surroundings(folder.path)
    if lines:
        script(folder.path / "bin" / name, *lines)
    done = folder.make("run", f"PYTHON={name}")
    assert done.returncode != 0
    assert words in done.stdout


# -- the tests' own programs -------------------------------------------------------------------------------------------


def programs(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Looks for the tests' programs as an ordinary user whose PATH has none of them."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir(exist_ok=True)
    script(bin_folder / "id", "echo 1000")
    node = tmp_path / "venv" / "lib" / "python3" / "site-packages" / "playwright" / "driver" / "node"
    node.parent.mkdir(parents=True, exist_ok=True)
    script(node, "exit 127")
    shell = shutil.which("sh") or "sh"
    command = [shell, str(ROOT / "scripts" / "programs.sh"), *options, str(tmp_path / "venv")]
    return subprocess.run(
        command, env={"PATH": str(bin_folder)}, capture_output=True, text=True, check=False, timeout=60
    )


def test_programs_that_are_missing_stand_in_one_line_and_keep_nothing_from_running(tmp_path: Path) -> None:
    done = programs(tmp_path)
    assert done.returncode == 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "Chromium" in line
    assert re.search(r"sudo apt-get install .*\bchromium\b.*\blibatomic1\b", line)


def test_whoever_needs_all_of_them_is_told_by_the_exit_code(tmp_path: Path) -> None:
    assert programs(tmp_path, "--all").returncode == 1


def test_without_chromium_the_tests_of_the_page_are_one_line_of_what_was_left_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/page/test_page_modules.py"]
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "Chromium is not on the PATH" in line


# -- the check of a change ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git") is None, reason="git makes the copy")
def test_the_check_runs_in_a_copy_of_the_last_commit_as_a_stranger_has_it(tmp_path: Path) -> None:
    project = tmp_path / "some-name"
    shutil.copytree(ROOT / ".ci", project / ".ci")
    (project / "scripts").mkdir()
    script(project / "scripts" / "programs.sh", "exit 0")
    (tmp_path / "bin").mkdir()
    script(
        tmp_path / "bin" / "make",
        'echo "$1 in $(basename "$PWD"): ${PYTHONUNBUFFERED-unset} ${PYTHONDONTWRITEBYTECODE-unset} $(cat note)"',
        'pwd >>"$SEEN"',
    )
    (project / "note").write_text("committed")
    who = ["-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, timeout=60)
    (project / "note").write_text("changed")
    seen = tmp_path / "seen"
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEEN": str(seen),
    }
    done = subprocess.run(
        [project / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{target} in deechat: unset unset committed" for target in ("lint", "test")]
    assert "not committed" in done.stderr
    assert not any(Path(place).exists() for place in seen.read_text().splitlines())


# -- the linter of the page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [[], ["exit 1"]], ids=["no node", "an old one"])
def test_without_a_node_that_fits_the_page_is_not_linted_and_one_line_says_so(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("node", "npm") if lines else ():
        script(tmp_path / "bin" / name, *lines)
    command = [shutil.which("sh") or "sh", str(ROOT / "scripts" / "lint_js.sh"), str(tmp_path / "venv")]
    done = subprocess.run(
        command, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "was not checked: that needs node" in line
