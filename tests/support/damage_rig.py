"""Flips bits of a real server's files, starts the server over them and compares all that it shows with the truth.

`bench/damage.py` runs whole campaigns with it.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from client import Client
from server import Server

from deechat.store.base import InsertMessage, StoredMessage
from deechat.store.sqlite.changes import apply

ASKED = (
    "what is 17% of 2,340?",
    "2340 的 17% 是多少",
    "help",
    "帮助：这一行应当原样保存，一个字也不能少。",
    "12 * 12",
    "A line of its own, told apart from all others by the number {number}. 每一行都有自己的编号。" * 60,
)
WAITING = ("ask me something", "read https://example.org")
LONG = ("all work and no play " * 4_000, "只工作不玩耍，聪明孩子也变傻。" * 2_000)
THREADS = 4
LEAF_OF_A_TABLE = 0x0D
Truth = dict[str, Any]  # an address of the API: the JSON that it answers


def build(folder: Path, threads: int = THREADS, *, long: int = 40) -> Server:
    """Starts a server and fills it with workspaces, threads, messages, runs that ended and runs that wait.

    So many messages are `long`: in a small file 200 flipped bits always hit the tables' definitions, and the start is
    refused.
    """
    server = Server(folder).start()
    try:
        _fill(server, threads, long)
    except BaseException:
        server.kill()
        raise
    return server


def _fill(server: Server, threads: int, long: int) -> None:
    client = Client(server)
    client.post("/api/workspace/new", {"name": "Zweite Werkstatt"})
    client.post("/api/workspace/default/update", {"systemPrompt": "Answer in one sentence. 只用一句话回答。"})
    for number in range(threads):
        thread = client.new_thread(f"Thread {number} 线程")
        for asked in ASKED:
            thread.ask(asked.format(number=number))
        thread.send(WAITING[number % 2]).read_until(
            "clarificationRequest" if number % 2 == 0 else "toolApprovalRequest"
        )
    thread = client.new_thread("Long messages")
    with closing(sqlite3.connect(server.database, timeout=10)) as connection:
        (thread_id,) = connection.execute("SELECT id FROM thread WHERE slug = ?", (thread.thread,)).fetchone()
        for number in range(long):
            text = f"{number}: {LONG[number % 2]}"
            message = StoredMessage(f"long-{number}", thread_id, None, "user", text, 1_795_000_000.5 + number)
            apply(connection, InsertMessage(message))
        connection.commit()
    client.check_all = lambda: None  # type: ignore[method-assign] # some of its runs wait
    for stream in client.streams:
        stream.close()


def addresses(server: Server) -> Truth:
    """Reads everything that the server has, by all addresses that show it."""
    client, truth = Client(server), {}

    def get(path: str) -> Any:
        truth[path] = client.get(path)
        return truth[path]

    for workspace in get("/api/workspaces")["workspaces"]:
        at = f"/api/workspace/{workspace['slug']}"
        get(at)
        for thread in get(f"{at}/threads")["threads"]:
            chats = get(f"{at}/thread/{thread['slug']}/chats")
            runs = {each["run"] for each in chats["history"] if each.get("run")} | {chats["activeRun"]}
            for run_id in sorted(runs - {None}):
                get(f"/api/runs/{run_id}")
                get(f"/api/runs/{run_id}/events?after=0&wait=0")
    return truth


def change_kind(path: Path, table: str, column: str, where: str, value: str) -> None:
    """Makes a value one of a kind that its STRICT column never takes, as one flipped bit of its row's head does."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as other:
        (sql,) = other.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        loose = sql.replace("STRICT", "")
        for kind in ("INTEGER", "REAL", "BLOB", "TEXT"):
            loose = loose.replace(f"{column} {kind} NOT NULL", column)
        for made in (loose, sql):
            other.execute("PRAGMA writable_schema = ON")
            other.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (made, table))
            other.execute("PRAGMA writable_schema = RESET")
            if made is loose:
                assert other.execute(f"UPDATE {table} SET {column} = {value} WHERE {where}").rowcount == 1


def all_of(body: bytes) -> Sequence[int]:
    """Gives each place of a file."""
    return range(len(body))


def heads_of(body: bytes) -> Sequence[int]:
    """Gives the places of a database where the head of a row stands: its lengths and the kinds of its values.

    https://sqlite.org/fileformat2.html#record_format
    """
    size = int.from_bytes(body[16:18], "big")
    places: list[int] = []
    for page in range(size, len(body), size):  # behind the first, whose rows are the tables' definitions
        if body[page] != LEAF_OF_A_TABLE:
            continue
        for cell in range(int.from_bytes(body[page + 3 : page + 5], "big")):
            pointer = page + 8 + 2 * cell
            start = page + int.from_bytes(body[pointer : pointer + 2], "big")
            _, at = _varint(body, start)  # the size of the row
            _, at = _varint(body, at)  # its number
            head, _ = _varint(body, at)
            places += range(start, at + head)
    return places


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Gives a number of one to nine bytes, and the place behind it."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | body[place] & 0x7F
        if body[place] < 0x80:
            return value, place + 1
    return value << 8 | body[at + 8], at + 9


@dataclass
class Found:
    """One round: whether the start was refused in words, and which addresses told the truth, a word, or neither."""

    target: str
    refused: str = ""
    told: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def flip(path: Path, places: int, chance: random.Random, among: Callable[[bytes], Sequence[int]] = all_of) -> None:
    """Flips one bit at each of so many places of the file, or of those `among` its bytes."""
    body = bytearray(path.read_bytes())
    candidates = among(bytes(body))
    for place in chance.sample(candidates, min(places, len(candidates))):
        body[place] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(body))


def check(server: Server, truth: Truth, target: str) -> Found:
    """Starts the server over damaged files and compares all that it shows with the truth."""
    found = Found(target)
    server.log_file.unlink(missing_ok=True)
    try:
        server.start()
    except (AssertionError, UnicodeDecodeError):
        log = server.log_file.read_text(errors="replace")
        lines = [line for line in log.splitlines() if "cannot start" in line]
        found.refused = lines[0] if lines else "REFUSED WITHOUT A WORD: " + log[-600:]
        server.kill()
        return found
    try:
        ping = requests.get(server.url + "/api/ping", timeout=10).json()
        found.told = str(ping.get("storage") or "")
        for path, true in truth.items():
            _compare(server, path, true, found)
    finally:
        server.kill()
    return found


def _compare(server: Server, path: str, true: Any, found: Found) -> None:
    response = requests.get(server.url + path, timeout=30)
    if response.status_code != 200:
        error = response.json().get("error", {})
        known = response.status_code in {500, 503} and error.get("code") != "internal_error"
        # A 404 is a loss, and in silence unless the database is known to be damaged.
        word = known or bool(found.told)
        found.counts[f"error {error.get('code')}"] += 1
        if error.get("code") == "internal_error":
            found.wrong.append(f"{path}: {response.text[:200]} {server.log[-3000:]}")
        elif not word:
            found.wrong.append(f"{path}: {response.status_code} {response.text[:200]}")
        return
    shown = response.json()
    if shown == true:
        found.counts["true"] += 1
        return
    if "run" in true and found.told and shown["run"]["reason"] == "interrupted":
        found.counts["given up, in words"] += 1  # a run whose log cannot be read
        return
    lost, changed = _differences(true, shown)
    if changed and found.told and found.target == "wal":
        # An older state, from which answers went on, or were ended in words: no text may be another than the true one.
        texts = [each["content"] for each in true.get("history", [])]
        said = [(each["content"], each.get("reason") == "interrupted") for each in shown.get("history", [])]
        changed = [
            content
            for content, cut in said
            if content not in texts and not (cut and any(each.startswith(content) for each in texts))
        ]
        lost = lost or ["what came last"]
    if changed:
        found.counts["changed"] += 1
        found.wrong.append(f"{path}: shows as true: {changed[:3]}")
    elif found.told:
        found.counts["incomplete, in words"] += 1
    else:
        found.counts["lost in silence"] += 1
        found.wrong.append(f"{path}: lost in silence: {lost[:3]}")


def _differences(true: Any, shown: Any) -> tuple[list[str], list[str]]:
    """Gives what is missing and what is another than the true one, of lists by their elements."""
    lost, changed = [], []
    for key, value in true.items():
        if isinstance(value, list):
            missing = [json.dumps(each, ensure_ascii=False)[:160] for each in value if each not in shown.get(key, [])]
            foreign = [json.dumps(each, ensure_ascii=False)[:160] for each in shown.get(key, []) if each not in value]
            lost += missing
            changed += foreign
        elif shown.get(key) is None and value is not None:
            lost.append(key)
        elif shown.get(key) != value:
            changed.append(f"{key}: {str(shown.get(key))[:160]}")
    return lost, changed


def one_round(template: Path, truth: Truth, folder: Path, target: str, *, places: int, seed: int) -> Found:
    """Copies a data folder, flips bits of its database, of the heads of its rows or of its WAL, and looks what a server
    makes of them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    server = Server(folder)
    shutil.copytree(template, server.database.parent)
    damaged = server.database.with_name(server.database.name + "-wal") if target == "wal" else server.database
    flip(damaged, places, random.Random(seed), heads_of if target == "heads" else all_of)
    return check(server, truth, target)
