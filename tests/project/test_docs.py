"""The documents say what is so: names, defaults, commands and links are compared with the code, and curl is run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from server import ROOT, Server
from test_architecture import MAY_IMPORT, PACKAGE, modules, name_of

from deechat import create_app, events
from deechat.agents.plugins import deechat as table_of_frames
from deechat.agents.tools import make_tool
from deechat.config import TABLE, Settings, as_markdown
from deechat.errors import MODEL_CODES
from deechat.locale import ENGLISH, words
from deechat.web.errors import _WORDS as FRAMEWORK

README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
OPENAI = (ROOT / "docs" / "openai.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "design").glob("*.md"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

VARIABLES = {row.variable for row in TABLE.values()}
# Events by the name of their frame, where that is not the event's own in camel case.
NAMES = {
    "ThreadRenamed": "rename_thread",
    "Status": "statusResponse",
    "TextChunk": "textResponseChunk",
    "TextClosed": "textResponseChunk",
    "StepRetold": "stepRestarted",
    "RunCompleted": "finalizeResponseStream",
    "RunStopped": "stopGeneration",
    "RunFailed": "abort",
}


def blocks(document: str, language: str = "") -> list[str]:
    """Gives the document's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, flags=re.DOTALL | re.MULTILINE)


def table(document: str, head: str) -> dict[str, list[str]]:
    """Gives the rows below a table's head, by their first cell."""
    rows = document.partition(f"| {head} |")[2].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows]
    return {first: rest for first, *rest in cells}


def sources() -> str:
    return "\n".join(path.read_text() for path in modules())


# -- the protocol ------------------------------------------------------------------------------------------------------


def frames() -> dict[str, list[dict[str, object]]]:
    """Gives the protocol's example frames by the heading that they stand below."""
    found = {}
    for section in PROTOCOL.split("\n### ")[1:]:
        name = re.match(r"`(\w+)`", section)
        assert name
        found[name[1]] = [json.loads(each) for each in blocks(section, "json")]
    return found


@pytest.mark.parametrize("event", get_args(events.AnyEvent), ids=lambda event: event.__name__)
def test_every_event_has_its_frame_in_the_protocol_with_an_example_that_is_whole(event: type) -> None:
    name = NAMES.get(event.__name__) or event.__name__[0].lower() + event.__name__[1:]
    examples = frames()[name]
    assert examples
    for example in examples:
        assert name in (example.get("type"), example.get("action"))
    fields = table_of_frames._FIELDS[event]
    tree = ast.parse(Path(table_of_frames.__file__).read_text())
    (function,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == fields.__name__
    ]
    (given,) = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    assert isinstance(given, ast.Dict)
    keys = {key.value for key in given.keys if isinstance(key, ast.Constant)}
    assert any(keys <= set(example) for example in examples), f"no example of {name} has all of {keys}"


def test_every_frame_of_the_protocol_is_one_of_ours() -> None:
    ours = {NAMES.get(name, name[0].lower() + name[1:]) for name in (each.__name__ for each in table_of_frames._FIELDS)}
    assert set(frames()) == ours
    assert {"heartbeat", "resync"} <= set(re.findall(r'"type":"(\w+)"', PROTOCOL))


def test_every_route_stands_in_the_protocol(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path / "data", provider="offline"))
    documented = set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", PROTOCOL, flags=re.MULTILINE))
    names = {
        "<slug>": "SLUG",
        "<thread_slug>": "THREAD",
        "<run_id>": "RUN",
        "<path:filename>": "PATH",
        "<path:model>": "MODEL",
        "<response_id>": "ID",
        "<chat_id>": "CHAT",
    }
    served = set()
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for ours, theirs in names.items():
            path = path.replace(ours, theirs)
        served |= {f"{method} {path}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert documented == served


def error_codes() -> set[str]:
    """Gives every error code in the code base."""
    text = sources()
    codes = set(re.findall(r'\bcode(?:: str)? ?= ?"([a-z_]+)"', text))
    codes |= set(re.findall(r'(?:RunFailed|_fail)\(\s*"([a-z_]+)"', text))
    codes |= set(re.findall(r'_Refusal\([\w.]+, "([a-z_]+)"', text))
    return codes | MODEL_CODES | {code for code, _ in FRAMEWORK.values()}


def test_every_error_code_stands_in_the_protocol_and_no_other() -> None:
    codes = error_codes()
    assert {"internal_error", "interrupted", "storage_failed", "run_active"} <= codes
    for code in codes:
        assert f"`{code}`" in PROTOCOL + OPENAI, f"{code} is not in the protocol"
    tables = re.findall(r"^\| \d{3} \| `(\w+)` \|", PROTOCOL, flags=re.MULTILINE)
    models = re.findall(r"^\| [^|]+ \| `(\w+)` \|", PROTOCOL.partition("| the server | `code`")[2], flags=re.MULTILINE)
    assert set(tables) <= codes
    assert set(models) == MODEL_CODES


def test_the_status_codes_of_the_protocol_are_those_of_the_words() -> None:
    said = re.findall(r"The codes: (.*?)\.", PROTOCOL)
    codes = {f"status.{code}" for code in re.findall(r"`(\w+)`", *said)}
    assert codes == {key for key in words("agent", ENGLISH) if key.startswith("status.")}


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [README, PROTOCOL], ids=["README", "protocol"])
def test_the_table_of_settings_is_the_one_that_the_code_has(document: str) -> None:
    head, _, rows = as_markdown().partition("\n")
    shown = document.partition(f"\n{head}\n")[2].partition("\n\n")[0] + "\n"
    assert shown == rows, "put there what `deechat settings` prints"


def test_the_table_of_settings_has_a_row_for_each_and_says_something_of_it() -> None:
    rows = table(as_markdown(), "variable | value | default | meaning")
    assert {name.strip("`") for name in rows} == VARIABLES
    assert all(len(cells) == 3 and all(cells) for cells in rows.values())
    defaults = {name.strip("`"): default for name, (_, default, _) in rows.items()}
    assert defaults["DEECHAT_DATA"] == "`./data`"
    assert defaults["DEECHAT_HEARTBEAT"] == "`15`"
    assert defaults["DEECHAT_PASSWORD"] == "none"


def test_only_settings_are_named_as_settings() -> None:
    everything = sources() + "".join(path.read_text() for path in DOCUMENTS)
    everything += "".join(path.read_text() for path in (PACKAGE / "static" / "js").rglob("*.js"))
    named = set(re.findall(r"\bDEECHAT_[A-Z_]*[A-Z]\b", everything))
    assert "DEECHAT_PASSWORD" in named
    assert named <= VARIABLES


# -- the design --------------------------------------------------------------------------------------------------------


def test_the_import_table_is_the_one_that_the_tree_is_held_to() -> None:
    def names(cell: str) -> set[str]:
        return {"*"} if cell.startswith("everything") else set(re.findall(r"`([\w.]+)`", cell))

    rows = table(DESIGN, "part | of ours | libraries")
    written = {name.strip("`"): (names(ours), names(libraries)) for name, (ours, libraries) in rows.items()}
    written[""] = written.pop("__init__")
    assert written == MAY_IMPORT


def test_the_layout_names_every_module_and_nothing_that_is_not_there() -> None:
    (layout,) = [each for each in blocks(DESIGN) if "gunicorn.conf.py" in each]
    named: set[Path] = set()
    folder = [ROOT]
    for line in layout.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.findall(r"(?<!\S)[.\w/-]+(?:/|\.\w+)(?!\S)", line.split("    ")[0] if depth == 0 else line[:60]):
            path = folder[depth] / name
            assert path.exists(), f"the layout names {path}"
            named.add(path)
            if name.endswith("/"):
                folder[depth + 1 :] = [path]
    missing = {name_of(path) for path in modules() if path not in named and path.name != "__init__.py"}
    assert missing == set()


def test_every_dependency_has_its_reason() -> None:
    reasons = PAGES["dependencies"]
    rows = table(reasons, "library | why | what else was looked at")
    needed = {re.split(r"[<>=]", each)[0] for each in PROJECT["dependencies"]}
    assert {name.strip("`") for name in rows} == needed
    assert all(len(cells) == 2 and all(cells) for cells in rows.values())
    for each in PROJECT["optional-dependencies"]["dev"]:
        assert f"`{re.split(r'[<>=]', each)[0]}`" in reasons
    for each in json.loads((PACKAGE / "static" / "vendor" / "manifest.json").read_text()):
        assert each["name"] in reasons.lower()


def test_the_design_leads_to_each_of_its_pages() -> None:
    assert set(re.findall(r"\(design/([a-z0-9]+)\.md\)", DESIGN)) == set(PAGES)
    for name, page in PAGES.items():
        assert len(page.splitlines()) <= 80, name
        for path in re.findall(r"`((?:deechat|tests|bench|scripts|docs)/[\w./]+)`", page):
            assert (ROOT / path).exists(), (name, path)


# -- the README --------------------------------------------------------------------------------------------------------


def test_its_make_targets_exist_and_the_check_of_a_change_calls_them() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = "\n".join(blocks(README, "sh"))
    used = set(re.findall(r"\bmake ([a-z]+)\b", commands)) | set(re.findall(r"`make ([a-z]+)`", README))
    assert {"run", "test", "lint"} <= used <= targets
    check = ROOT / ".ci" / "run"
    assert os.access(check, os.X_OK)
    lines = check.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test"]


def test_its_curl_session_gives_what_is_said(server: Server, tmp_path: Path) -> None:
    (session,) = [each for each in blocks(README, "sh") if "curl -s" in each]
    assert len(session.splitlines()) == 6
    script = session.replace("http://127.0.0.1:8000", server.url)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    ids = [int(number) for number in re.findall(r"^id: (\d+)$", done.stdout, flags=re.MULTILINE)]
    last = max(ids)
    assert ids == [*range(1, last + 1), *range(9, last + 1)]
    first, again = done.stdout.split("retry: 1500\n")[1:]
    assert "397.8" in first
    replay = again.partition('{"run":')[0]
    assert first.endswith(replay)
    assert '"status":"ended"' in again
    assert '"stopped":false' in again


def test_its_tool_is_one() -> None:
    (source,) = blocks(README, "python")
    assert len(source.strip().splitlines()) == 6
    names: dict[str, object] = {"secrets": __import__("secrets")}
    exec(compile(source, "README.md", "exec"), names)
    tool = make_tool(names["roll"], policy="allow")  # type: ignore[arg-type]
    assert tool.description == "Rolls a die and returns what came up."
    assert tool.parameters["properties"]["sides"]["description"] == "how many sides the die has"
    assert tool.run(tool.arguments('{"sides": 1}')).text == "1"


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_what_is_there(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{document.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    for name in re.findall(r"\b(?:tests|docs|deechat|scripts|bench)/[\w/.-]*\w\.\w+", document.read_text()):
        assert (ROOT / name).exists(), f"{document.name} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_kernel_of_a_machine_is_named(document: Path) -> None:
    """Figures are of a kind of machine; a kernel's version tells which one it was, and nothing that anyone can use."""
    assert re.findall(r"Linux \d[\w.-]*|\b\d+\.\d+\.\d+-(?=[\w.-]*[a-z])[\w.-]+", document.read_text()) == []


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[([\w.]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == PROJECT["version"]
