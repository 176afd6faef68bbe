"""Fetches the browser libraries of `deechat/static/vendor` from the npm registry, as its manifest names them.

    python scripts/vendor.py            the manifest's versions again; a file that differs from its hash is an error
    python scripts/vendor.py --latest   the newest versions; the manifest is written anew, for a person to review

Needs npm, which only this script does: the files are kept in the tree, each an unchanged file of its package.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[1] / "deechat" / "static" / "vendor"
MANIFEST = VENDOR / "manifest.json"


def pack(spec: str, folder: Path) -> Path:
    """Downloads a package; npm checks it against the registry's integrity hash. Gives the tarball."""
    command = ["npm", "pack", spec, "--json", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return max(folder.glob("*.tgz"), key=lambda path: path.stat().st_mtime_ns)


def member(tarball: Path, name: str) -> bytes:
    """Reads one file of a package."""
    with tarfile.open(tarball) as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None, f"{tarball.name} has no {name}"
        return file.read()


def refresh(entry: dict[str, Any], latest: bool) -> dict[str, Any]:
    """Writes the files of one manifest entry. Gives the entry as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        spec = f"{entry['name']}@{'latest' if latest else entry['version']}"
        tarball = pack(spec, Path(folder))
        package = json.loads(member(tarball, "package.json"))
        files = [fetch(tarball, file, latest) for file in entry["files"]]
    print(f"{entry['name']} {package['version']} ({package['license']})")
    return {**entry, "version": package["version"], "licence": package["license"], "files": files}


def fetch(tarball: Path, file: dict[str, str], latest: bool) -> dict[str, str]:
    """Writes one file, unless it is not the one that the manifest knows."""
    body = member(tarball, file["from"])
    found = hashlib.sha256(body).hexdigest()
    if not latest and found != file["sha256"]:
        sys.exit(f"{file['from']} has the hash {found}, the manifest says {file['sha256']}. Nothing was written.")
    path = VENDOR / file["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return {**file, "sha256": found}


def main() -> None:
    latest = "--latest" in sys.argv[1:]
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    manifest = [refresh(entry, latest) for entry in manifest]
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
