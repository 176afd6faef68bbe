"""A server over a database in which bits were flipped: it shows the truth, an error, less in words, or a falsehood.

`python bench/damage.py ROUNDS PLACES database|heads|wal FOLDER [FIRST]` flips one bit at each of so many places of
a copy of the database, of the heads of its rows, or of its write-ahead log after a kill, starts the server over it and
reads everything through the API.
The folder keeps the built database, so that the next campaign of the same version need not build it again; a round is
had again by its number.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from damage_rig import Truth, addresses, build, one_round


def main() -> None:
    rounds, places, target, kept = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    first = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    template, truth = _template(kept, target)
    sizes = {path.name: path.stat().st_size for path in template.iterdir()}
    print(f"{len(truth)} addresses, {sizes}", flush=True)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(first, first + rounds):
            found = one_round(template, truth, Path(temporary) / "round", target, places=places, seed=number)
            total["rounds refused in words" if found.refused else "rounds served"] += 1
            total["rounds with a word at large"] += bool(found.told)
            total["rounds with something wrong"] += bool(found.wrong) or "WITHOUT" in found.refused
            total.update(found.counts)
            if found.wrong or "WITHOUT" in found.refused:
                print(f"round {number}:", *(found.wrong[:4] or [found.refused]), sep="\n   ", flush=True)
    print(f"{rounds} rounds of {places} places of the {target}:", flush=True)
    for name, count in sorted(total.items()):
        print(f"  {name}: {count}", flush=True)


def _template(kept: Path, target: str) -> tuple[Path, Truth]:
    truth_file = kept / "truth.json"
    if not truth_file.exists():
        (kept / "wal").mkdir(parents=True)
        (kept / "database").mkdir()
        server = build(kept / "wal", threads=12, long=150)
        truth_file.write_text(json.dumps(addresses(server)))
        server.kill()
        shutil.copytree(kept / "wal" / "data", kept / "database" / "data")
        with closing(sqlite3.connect(kept / "database" / "data" / "deechat.sqlite3")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return kept / ("wal" if target == "wal" else "database") / "data", json.loads(truth_file.read_text())


if __name__ == "__main__":
    main()
