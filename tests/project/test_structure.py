"""The figures of the structure are printed by a script that anyone can run from a clone."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "structure.py"
FIGURES = [
    r"modules at the top of deechat/: (\d+) \(.*\bconfig\b.*\)",
    r"longest flat folder of Python: (\d+) files \(deechat/.*/\)",
    r"longest flat folder of JavaScript: (\d+) files \(deechat/static/.*/\)",
    r"depth of the import graph: (\d+) modules \(.* > .*\)",
    r"cycles between rooms: (\d+) \(.+\)",
    r"lines of a function: median (\d+), p90 (\d+), max (\d+) \((\d+) functions\)",
    r"lines of Python in deechat/: (\d+), of code (\d+)",
    r"lines of Python in all, tests too: (\d+), of code (\d+)",
    r"one plain answer of a model server enters: (\d+) functions in (\d+) files",
    r"one plain answer without a model enters: (\d+) functions in (\d+) files",
]
_spec = spec_from_file_location("structure", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
structure = module_from_spec(_spec)
_spec.loader.exec_module(structure)


def test_each_figure_is_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--names"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(said) == len(FIGURES)
    for line, figure in zip(said, FIGURES, strict=True):
        found = re.fullmatch(figure, line)
        assert found, line
        numbers = [int(number) for number in found.groups()]
        assert all(numbers) or line.startswith("cycles")
    # One function of each: a request's, the agent's on its greenlet, the writer's in its thread.
    for name in ("stream_chat", "run", "Database._commit"):
        assert re.search(rf"\b{name}\b", done.stdout), f"{name} was not seen"


def test_a_clone_without_libraries_gets_all_figures_but_those_of_an_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-S", SCRIPT], capture_output=True, text=True, timeout=600, check=False, env={}
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(FIGURES) - 1
    assert "gevent is not installed" in done.stdout.splitlines()[-1]


def test_the_longest_chain_counts_all_of_a_cycle_that_it_passes() -> None:
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"b", "e"}, "d": {"e"}, "e": set()}
    assert structure.cycles(graph) == [["b", "c"]]
    assert structure.longest_chain(graph) == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1\n\n# why\ny = 2  # so\n", 2),
        ('"""Says\n\nmuch."""\n', 0),
        ('def f():\n    """Say it."""\n    return """\n    a\n    """\n', 4),
        ("x = (\n    # nothing\n    1,\n)\n", 3),
    ],
)
def test_a_line_of_code_is_one_that_holds_some(text: str, code: int, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    assert structure.lines([path]) == (len(text.splitlines()), code)
