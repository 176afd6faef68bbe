"""The vendored browser libraries are what the manifest says, and nobody goes around it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "deechat" / "static"
VENDOR = STATIC / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
FILES = [(entry, file) for entry in MANIFEST for file in entry["files"]]


@pytest.mark.parametrize(("entry", "file"), FILES, ids=[file["file"] for _, file in FILES])
def test_a_vendored_file_has_the_hash_of_the_manifest(entry: dict[str, str], file: dict[str, str]) -> None:
    assert hashlib.sha256((VENDOR / file["file"]).read_bytes()).hexdigest() == file["sha256"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])
    assert entry["licence"]


def test_every_file_beside_the_manifest_is_in_it() -> None:
    there = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert there == {file["file"] for _, file in FILES} | {"manifest.json"}


def test_each_library_has_its_licence_beside_it() -> None:
    for entry in MANIFEST:
        assert any(file["from"] == "LICENSE" for file in entry["files"]), entry["name"]


def test_each_library_is_imported_by_one_module() -> None:
    importers = [
        (library, path.name)
        for path in (STATIC / "js").rglob("*.js")
        for library in re.findall(r"vendor/([\w-]+)", path.read_text(encoding="utf-8"))
    ]
    assert sorted(importers) == [
        ("dompurify", "markdown.js"),
        ("highlight", "highlighting.js"),
        ("katex", "typeset.js"),
        ("lit-html", "dom.js"),
        ("markdown-it", "markdown.js"),
    ]
