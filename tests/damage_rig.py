"""Flips bits of a real server's files, starts the server over them and compares all that it shows with the truth.

`bench/damage.py` runs whole campaigns with it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from client import Client
from server import Server

ASKED = (
    "what is 17% of 2,340?",
    "2340 的 17% 是多少",
    "help",
    "帮助：这一行应当原样保存，一个字也不能少。",
    "12 * 12",
    "A line of its own, told apart from all others by the number {number}. 每一行都有自己的编号。" * 60,
)
WAITING = ("ask me something", "read https://example.org")
THREADS = 4
Truth = dict[str, Any]  # an address of the API: the JSON that it answers


def build(folder: Path, threads: int = THREADS) -> Server:
    """Starts a server and fills it with workspaces, threads, messages, runs that ended and runs that wait."""
    server = Server(folder).start()
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
    client.check_all = lambda: None  # type: ignore[method-assign] # some of its runs wait
    for stream in client.streams:
        stream.close()
    return server


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
            runs = {each["runId"] for each in chats["history"] if each.get("runId")} | {chats["activeRun"]}
            for run_id in sorted(runs - {None}):
                get(f"/api/runs/{run_id}")
                get(f"/api/runs/{run_id}/events?after=0&wait=0")
    return truth


@dataclass
class Found:
    """One round: whether the start was refused in words, and which addresses told the truth, a word, or neither."""

    target: str
    refused: str = ""
    told: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def flip(path: Path, places: int, chance: random.Random) -> None:
    """Flips one bit at each of so many places of the file."""
    body = bytearray(path.read_bytes())
    for place in chance.sample(range(len(body)), min(places, len(body))):
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
    """Copies a data folder, flips bits of its database or of its WAL, and looks what a server makes of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    server = Server(folder)
    shutil.copytree(template, server.database.parent)
    damaged = server.database if target == "database" else server.database.with_name(server.database.name + "-wal")
    flip(damaged, places, random.Random(seed))
    return check(server, truth, target)
