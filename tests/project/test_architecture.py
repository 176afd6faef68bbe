"""The house's rules, held by the tree itself: who imports what, how long a file is, what one place alone may do."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "deechat"
LONGEST_FILE = 600

# What each part may import of ours, and which libraries. A part is a module, or a package with all below it; the
# longest name that fits counts. `docs/design.md` shows the same table with its reasons.
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "principal": (set(), set()),
    "locale": (set(), set()),
    "typed": ({"locale"}, set()),
    "events": (set(), {"msgspec"}),
    "messages": ({"events"}, {"msgspec"}),
    "config": ({"errors"}, set()),
    "net": ({"errors"}, {"gevent", "h11", "httptools"}),
    "server": ({"config", "errors", "net"}, {"gevent", "gunicorn"}),
    "store": ({"events", "errors", "net", "principal"}, {"gevent", "msgspec"}),
    "store.sqlite": (
        {"store.base", "events", "errors", "net", "principal", "server.folder"},
        {"gevent", "msgspec", "sqlite_utils"},
    ),
    "log": ({"store.base", "events", "errors", "net"}, {"gevent", "msgspec"}),
    "agents.providers": ({"events", "messages", "errors", "locale", "net"}, {"httpx2", "msgspec", "openai"}),
    "agents.tools": (
        {"principal", "events", "errors", "locale", "net"},
        {"msgspec", "requests", "resiliparse", "urllib3"},
    ),
    "agents.plugins": ({"events", "agents.state", "locale"}, {"msgspec"}),
    "agents": (
        {"principal", "agents.providers", "agents.tools", "events", "messages", "errors", "locale"},
        {"msgspec"},
    ),
    "runs": (
        {"principal", "log", "store.base", "agents", "net", "events", "messages", "errors", "locale"},
        {"gevent", "msgspec"},
    ),
    "web": (
        {
            *{"runs", "store.base", "agents.plugins", "agents.tools", "config", "net", "server.logs", "events"},
            *{"errors", "locale", "messages", "principal", "typed", "web.websocket"},
        },
        {"flask", "itsdangerous", "msgspec", "werkzeug"},
    ),
    # The one module of `web` with a greenlet of its own for each connection.
    "web.websocket": (
        {"errors", "net", "web.bodies", "web.streams"},
        {"flask", "gevent", "wsproto"},
    ),
    "terminal": ({"config", "locale", "net", "typed"}, {"requests"}),
    "cli": ({"config", "errors", "server", "store.sqlite.backup", "terminal"}, set()),
    "application": ({"*"}, {"flask", "gevent"}),
    "": ({"agents.tools", "application", "config"}, {"flask"}),
}
STANDARD = set(__import__("sys").stdlib_module_names)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(name: str) -> str:
    fitting = [part for part in MAY_IMPORT if part and (name == part or name.startswith(part + "."))]
    return max(fitting, key=len, default="")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            found |= {name if _is_module(name) else module for name in names}
    return found


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    name = name_of(path)
    part = part_of(name)
    ours, libraries = MAY_IMPORT[part]
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top == "deechat":
            other = imported.removeprefix("deechat").removeprefix(".")
            allowed = any(other == each or other.startswith(each + ".") for each in ours)
            assert part_of(other) == part or "*" in ours or allowed, f"{name} may not import {imported}"
        elif top not in STANDARD:
            assert top in libraries, f"{name} may not import {imported}"


def test_the_table_names_every_part_of_the_tree() -> None:
    names = {name_of(path) for path in modules()}
    for part in MAY_IMPORT:
        assert part in names, f"the table names {part}, which is not there"
    assert {name for name in names if not part_of(name)} == {""}


def test_every_file_of_the_package_is_installed_with_it() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    installed = {
        path
        for each in tools["setuptools"]["package-data"]["deechat"]
        for path in PACKAGE.glob(each.replace("**", "**/*"))
    }
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert installed >= files


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_file_is_longer_than_one_can_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_sql_stands_in_the_modules_of_the_database_alone() -> None:
    keywords = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM")
    holders = {name_of(path) for path in modules() if any(word in path.read_text() for word in keywords)}
    assert {name for name in holders if not name.startswith("store.sqlite.")} == set()
    users = {name_of(path) for path in modules() if "sqlite3" in imports_of(path)}
    assert {name for name in users if not name.startswith("store.sqlite.")} == set()


def test_no_placeholder_has_a_number() -> None:
    """Python 3.12 takes `?1` for a name, and warns when a sequence is bound to it."""
    numbered = re.compile(r"\?[0-9]")
    for path in (PACKAGE / "store" / "sqlite").glob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert [text for text in texts if isinstance(text, str) and numbered.search(text)] == [], path


def test_a_migration_calls_no_code_that_may_change() -> None:
    """But for checksums, which are the same for ever, and events, which are read for ever."""
    ours = {
        name: {each for each in imports_of(PACKAGE / "store" / "sqlite" / name) if each.startswith("deechat.")}
        for name in ("schema.py", "first_blocks.py")
    }
    sqlite = "deechat.store.sqlite"
    assert ours["first_blocks.py"] == {"deechat.events", f"{sqlite}.checksums"}
    assert ours["schema.py"] == {
        "deechat.errors", f"{sqlite}.checksums", f"{sqlite}.first_blocks", f"{sqlite}.integrity"
    }  # fmt: skip


def test_the_settings_are_read_at_one_place_and_the_rest_of_the_environment_at_two() -> None:
    readers = {name_of(path) for path in modules() if "os.environ" in path.read_text() or "getenv" in path.read_text()}
    assert readers == {"config", "cli", "server.serving"}


def test_threads_of_the_system_are_the_databases_and_those_that_look_names_up() -> None:
    holders = {name_of(path) for path in modules() if "gevent.event" in path.read_text()}
    assert holders == {"net.lookups", "store.memory", "store.sqlite.database"}
    assert {name_of(path) for path in modules() if "ThreadPool" in path.read_text()} == {
        "net.lookups",
        "store.sqlite.database",
    }
