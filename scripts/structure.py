"""Prints the figures of the structure: how the code is laid out, and how much of it one answer passes through.

    python scripts/structure.py            # a figure a line
    python scripts/structure.py --names    # and the functions that an answer enters

All but the last figures need the standard library alone; those run the program, in the environment of `make install`.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deechat"
OURS = f"{PACKAGE}/"
NOT_OURS = {".venv", "build", "vendor", "__pycache__"}
# Pieces of a function that some versions of Python run in frames of their own.
NO_FUNCTIONS = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

Graph = Mapping[str, set[str]]


def python_files(folder: Path) -> list[Path]:
    """Return the Python files below a folder that are ours, in order."""
    return sorted(path for path in folder.rglob("*.py") if not NOT_OURS & set(path.relative_to(ROOT).parts))


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    """Return the full name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Return the modules of the package that each of its modules imports, wherever the import stands in its file."""
    files = {name_of(path): path for path in python_files(PACKAGE)}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        imported: set[str] = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= (below & files.keys()) or {node.module}
        graph[name] = (imported & files.keys()) - {name}
    return graph


def room_graph(graph: Graph) -> dict[str, set[str]]:
    """Return the same between rooms: the folders of the package, and the modules at its top."""

    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    rooms: dict[str, set[str]] = {room(name): set() for name in graph}
    for name, imported in graph.items():
        rooms[room(name)] |= {room(each) for each in imported} - {room(name)}
    return rooms


def reachable(graph: Graph, start: str) -> set[str]:
    """Return all that can be reached from a node by one edge or more."""
    found: set[str] = set()
    ahead = [*graph[start]]
    while ahead:
        if (node := ahead.pop()) not in found:
            found.add(node)
            ahead += graph[node]
    return found


def cycles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes of which each reaches each other, in order."""
    reached = {node: reachable(graph, node) for node in graph}
    groups = {tuple(sorted(each for each in reached[node] if node in reached[each])) for node in graph}
    return [list(group) for group in sorted(groups) if group]


def longest_chain(graph: Graph) -> list[str]:
    """Return the longest chain in which each node has an edge to the next; a cycle is left where it closes."""
    looped = {node: set(group) for group in cycles(graph) for node in group}
    chains: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        if node not in chains:
            group = looped.get(node, {node})
            ahead = {each for member in group for each in graph[member]} - group
            below = max((chain(each) for each in sorted(ahead)), key=len, default=[])
            chains[node] = [*sorted(group), *below]
        return chains[node]

    return max((chain(node) for node in sorted(graph)), key=len)


def longest_folder(suffix: str) -> tuple[str, int]:
    """Return the folder of the package with the most files of a kind directly in it, and their number."""
    counts: dict[str, int] = {}
    for path in PACKAGE.rglob(f"*{suffix}"):
        if not NOT_OURS & set(path.parts):
            folder = f"{path.parent.relative_to(ROOT)}/"
            counts[folder] = counts.get(folder, 0) + 1
    return max(counts.items(), key=lambda each: each[1])


def function_lines(files: Iterable[Path]) -> list[int]:
    """Return the lines of each function from its `def` to its end, docstring included, in order of size."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for path in files for node in ast.walk(parsed(path)) if isinstance(node, kinds))
    return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def lines(files: Iterable[Path]) -> tuple[int, int]:
    """Return how many lines the files have, and how many of them hold code: no blank, no comment, no docstring."""
    whole = code = 0
    for path in files:
        texts = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Expr) and _is_text(node.value)]
        told = {number for node in texts for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            whole += 1
            code += bool(line.strip()) and not line.lstrip().startswith("#") and number not in told
    return whole, code


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def entered_by_an_answer() -> dict[str, set[tuple[str, str]]]:
    """Return the file and the name of each of our functions that run between a question's POST and its last frame.

    Once for an answer of the tests' model server, once for one without a model. The application runs in this process,
    all its threads and greenlets are watched, and an answer before it warms all up. gunicorn and its worker are not in
    it. Raise `ImportError` where the libraries are not installed.
    """
    from gevent import monkey  # noqa: PLC0415 - the other figures need no library

    monkey.patch_all()
    import greenlet  # noqa: PLC0415

    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    from model_server import ModelServer  # noqa: PLC0415

    from deechat.application import Application  # noqa: PLC0415
    from deechat.config import Settings  # noqa: PLC0415

    entered: set[tuple[str, str]] | None = None

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file, name = frame.f_code.co_filename, frame.f_code.co_qualname
        if entered is not None and event == "call" and file.startswith(OURS) and not name.endswith(NO_FUNCTIONS):
            entered.add((file.removeprefix(OURS), name))

    threading.setprofile(note)  # for threads that begin from now on: the database's
    greenlet.settrace(lambda *_: sys.setprofile(note))  # each greenlet has a profile of its own
    found = {}
    with tempfile.TemporaryDirectory() as folder, ModelServer() as model:
        model.answer = lambda _: "It is a plain answer."
        settings = Settings(data=Path(folder), provider="openai", base_url=model.base_url, model="fake-1")
        for name, each in (
            ("of a model server", settings),
            ("without a model", Settings(data=Path(folder) / "offline", provider="offline")),
        ):
            with contextlib.closing(Application(each)) as application:
                ask = partial(
                    application.app.test_client().post, "/api/workspace/default/stream-chat", json={"message": "hello"}
                )
                assert "finalizeResponseStream" in ask().text
                entered = set()
                assert "finalizeResponseStream" in ask().text
                found[name], entered = entered, None
    return found


def main() -> None:
    """Print a figure a line."""
    top = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    print(f"modules at the top of deechat/: {len(top)} ({', '.join(top)})")
    for kind, suffix in (("Python", ".py"), ("JavaScript", ".js")):
        folder, count = longest_folder(suffix)
        print(f"longest flat folder of {kind}: {count} files ({folder})")
    graph = import_graph()
    chain = [name.removeprefix("deechat.") for name in longest_chain(graph)]
    print(f"depth of the import graph: {len(chain)} modules ({' > '.join(chain)})")
    found = [" <> ".join(name.removeprefix("deechat.") for name in group) for group in cycles(room_graph(graph))]
    print(f"cycles between rooms: {len(found)} ({'; '.join(found) or 'none'})")
    sizes = function_lines(python_files(PACKAGE))
    middle, high = sizes[len(sizes) // 2], sizes[len(sizes) * 9 // 10]
    print(f"lines of a function: median {middle}, p90 {high}, max {sizes[-1]} ({len(sizes)} functions)")
    for place, folder in (("deechat/", PACKAGE), ("all, tests too", ROOT)):
        whole, code = lines(python_files(folder))
        print(f"lines of Python in {place}: {whole}, of code {code}")
    try:
        answers = entered_by_an_answer()
    except ImportError as exc:
        print(f"one plain answer: not counted, since {exc.name} is not installed: make install")
        return
    for kind, entered in answers.items():
        files = sorted({file for file, _ in entered})
        print(f"one plain answer {kind} enters: {len(entered)} functions in {len(files)} files")
        for file in files if "--names" in sys.argv else ():
            print(f"  {file}: {', '.join(sorted(name for each, name in entered if each == file))}")


if __name__ == "__main__":
    main()
