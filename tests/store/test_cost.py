"""What a route or a writer's job costs beside what is stored: counted in steps of SQLite's machine and in calls of our
functions, never in time.

The same tour of every route is made in a database with nothing else in it, with 10,000 rows of everything, and with
100,000: other workspaces, threads, messages, runs that have ended and that wait, blocks and events.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import gevent
import pytest
from journal_rig import entries_of

from deechat.application import Application
from deechat.config import Settings
from deechat.events import Entry, RunStarted, RunStopped, TextChunk, encode
from deechat.principal import OWNER
from deechat.store.base import AllowTool, NoteRetries
from deechat.store.sqlite import checksums, compaction, deletion, schema, sweeper
from deechat.store.sqlite.changes import apply
from deechat.web.anythingllm import system

SIZES = (0, 10_000, 100_000)
DEFAULT = "/api/workspace/default"
OPEN_RUNS = 50  # at most, that are at work when a server starts
# Indexes that hold a few rows however much there is, and lists of which a page is read from the beginning.
MAY_BE_SCANNED = re.compile(
    r"SCAN (run USING (COVERING )?INDEX run_at_work|thread USING (COVERING )?INDEX thread_deleted"
    r"|workspace USING (COVERING )?INDEX (workspace_deleted|workspace_listed)|pulse|CONSTANT ROW)\b"
)
SORTED = ("RECURSIVE branch", "FROM event WHERE number >= ")  # what a model is shown, and a slice at the start
GROWING = re.compile(r"(SCAN (workspace|thread|message|run|event|block)\b.*|USE TEMP B-TREE.*)")

# Other rows, in SQL alone: `?` of each.
NOISE = """
INSERT INTO workspace (id, slug, name, created_at) SELECT 'w' || n, 'w' || n, 'W', 1000 + n FROM many;
INSERT INTO thread (id, workspace_id, slug, created_at, updated_at)
    SELECT 't' || n, (SELECT id FROM workspace WHERE slug = 'default'), 't' || n, 1000 + n, 1000 + n FROM many;
INSERT INTO thread (id, workspace_id, slug, created_at, updated_at)
    SELECT 'd' || n, 'w' || n, 'default', 1000 + n, 1000 + n FROM many;
INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, ended_at, reason)
    SELECT 'r' || n, 't' || n, 'a' || n, 'p' || n, 'en', 1000 + n, 2000 + n, 'completed' FROM many;
INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, rests, asks)
    SELECT 'o' || n, 't' || n, 'x' || n, 'y' || n, 'en', 3000 + n, 1, '[]' FROM many;
INSERT INTO message (id, thread_id, role, content, sent_at) SELECT 'p' || n, 't' || n, 'user', 'Hello', n FROM many;
INSERT INTO message (id, thread_id, role, content, sent_at, run_id)
    SELECT 'a' || n, 't' || n, 'assistant', 'Hello', n, 'r' || n FROM many;
INSERT INTO block (run_id, last_seq, body) SELECT 'r' || n, 9, x'00' FROM many;
INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, ended_at, reason)
    SELECT 'c' || n, 'crowded', 'b' || n, 'q' || n, 'en', 1000 + n, 2000 + n, 'stopped' FROM many;
INSERT INTO message (id, thread_id, role, content, sent_at, run_id)
    SELECT 'b' || n, 'crowded', 'assistant', 'Hello', n, 'c' || n FROM many;
"""
EVENTS = "INSERT INTO event (run_id, seq, at, body) SELECT 'o1', n, 1.0, x'7b7d' FROM many"


def many(sql: str, count: int) -> str:
    numbers = f"SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {count}"
    return sql.replace("FROM many", f"FROM (WITH RECURSIVE many(n) AS ({numbers}) SELECT n FROM many)")


@dataclass
class Tour:
    """One application and what its requests cost."""

    application: Application
    size: int
    steps: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    statements: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _count: int = 0
    _place: str = ""

    def __post_init__(self) -> None:
        database = self.application._database
        self.database = database
        self.http = self.application.app.test_client()
        for connection in (database._reader, database._writer):
            assert connection is not None
            connection.set_progress_handler(self._step, 1)
            connection.set_trace_callback(self._note)

    def _note(self, sql: str) -> None:
        self.statements[self._place].add(sql)

    def _step(self) -> int:
        self._count += 1
        return 0

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        gevent.sleep(0.05)  # what went before is over
        self._place, self._count, calls = name, 0, 0

        def note(frame: FrameType, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call" and "/deechat/" in frame.f_code.co_filename

        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)
        self.steps[name], self.calls[name], self._place = self._count, calls, ""

    def call(
        self, name: str, method: str, path: str, body: Any = None, *, status: int = 200, headers: Any = None
    ) -> Any:
        with self.counting(name):
            options = {} if body is None and method in {"GET", "DELETE", "HEAD"} else {"json": body or {}}
            response = self.http.open(path, method=method, headers=headers, **options)
            data = response.get_data()
        assert response.status_code == status, (name, response.status_code, data[:300])
        self.run_id = response.headers.get("X-Run-Id", "")
        response.close()
        return json.loads(data) if response.mimetype == "application/json" else data

    def new_thread(self) -> str:
        return str(self.http.post(f"{DEFAULT}/thread/new", json={}).json["thread"]["slug"])

    def ask(self, message: str, path: str) -> str:
        """Sends a prompt and reads the answer as far as it goes without a person; gives the run's id."""
        with closing(self.http.post(f"{path}/stream-chat", json={"message": message})) as response:
            for piece in response.response:
                if b"finalizeResponseStream" in piece or b"clarificationRequest" in piece:
                    break
            return str(response.headers["X-Run-Id"])

    def waiting(self) -> str:
        run_id = self.ask("ask me something", f"{DEFAULT}/thread/{self.new_thread()}")
        with gevent.Timeout(10):
            while not self.database.read("SELECT 1 FROM run WHERE id = ? AND rests = 1", run_id):
                gevent.sleep(0.01)
        return run_id


def tour_routes(tour: Tour) -> None:
    """Calls every route once, by its method and rule."""
    call = tour.call
    ok = "what is 17% of 2,340?"
    call("GET /", "GET", "/")
    call("GET /static/<path:filename>", "GET", "/static/css/base.css")
    call("GET /api/ping", "GET", "/api/ping")
    call("POST /api/login", "POST", "/api/login", {"password": "x"})
    call("POST /api/logout", "POST", "/api/logout", {})
    call("GET /api/models", "GET", "/api/models")
    call("GET /api/models/profile", "GET", "/api/models/profile?model=a")
    call("POST /api/models/forget", "POST", "/api/models/forget", {})
    body = {"model": "deechat", "messages": [{"role": "user", "content": ok}]}
    call("POST /v1/chat/completions", "POST", "/v1/chat/completions", body)
    told = {"model": "deechat", "input": ok}
    made = call("POST /v1/responses", "POST", "/v1/responses", told)["id"]
    call("GET /v1/responses", "GET", "/v1/responses", status=405)
    call("POST /v1/responses/compact", "POST", "/v1/responses/compact", told)
    call("GET /v1/responses/<response_id>", "GET", f"/v1/responses/{made}")
    call("POST /v1/responses/<response_id>/cancel", "POST", f"/v1/responses/{made}/cancel")
    call("GET /v1/responses/<response_id>/input_items", "GET", f"/v1/responses/{made}/input_items")
    call("DELETE /v1/responses/<response_id>", "DELETE", f"/v1/responses/{made}")
    call("GET /v1/models", "GET", "/v1/models?limit=3")
    call("GET /v1/models/<path:model>", "GET", "/v1/models/deechat")
    call("GET /api/workspaces", "GET", "/api/workspaces?limit=3")
    of = "/api/workspace/<slug>"
    made = call("POST /api/workspace/new", "POST", "/api/workspace/new", {"name": "W"})["workspace"]["slug"]
    call(f"GET {of}", "GET", DEFAULT)
    call(f"POST {of}/update", "POST", f"{DEFAULT}/update", {"name": "New"})
    call(f"GET {of}/tools", "GET", f"{DEFAULT}/tools")
    call(f"DELETE {of}", "DELETE", f"/api/workspace/{made}")
    for _ in range(5):
        tour.new_thread()
    call(f"GET {of}/threads", "GET", f"{DEFAULT}/threads?limit=3")
    slug = call(f"POST {of}/thread/new", "POST", f"{DEFAULT}/thread/new")["thread"]["slug"]
    of_thread, thread = f"{of}/thread/<thread_slug>", f"{DEFAULT}/thread/{slug}"
    call(f"POST {of_thread}/update", "POST", f"{thread}/update", {"name": "Other"})
    call(f"POST {of_thread}/stream-chat", "POST", f"{thread}/stream-chat", {"message": ok})
    call(f"GET {of_thread}/chats", "GET", f"{thread}/chats?limit=2")
    call(f"DELETE {of_thread}", "DELETE", thread)
    call(f"POST {of}/stream-chat", "POST", f"{DEFAULT}/stream-chat", {"message": ok})
    run_id = tour.run_id
    call(f"GET {of}/chats", "GET", f"{DEFAULT}/chats?limit=2")
    of_run = "/api/runs/<run_id>"
    call(f"GET {of_run}", "GET", f"/api/runs/{run_id}")
    call("GET /api/durable/<run_id>", "GET", f"/api/durable/{run_id}")
    call("GET /api/agent-invocation/<run_id>", "GET", f"/api/agent-invocation/{run_id}", status=426)
    call(f"GET {of_run}/events", "GET", f"/api/runs/{run_id}/events?after=3")
    tour_dialects(tour)
    waiting = tour.waiting()
    call("GET a waiting run", "GET", f"/api/runs/{waiting}")
    call(f"POST {of_run}/steer", "POST", f"/api/runs/{waiting}/steer", {"message": "In short."}, status=202)
    request = tour.http.get(f"/api/runs/{waiting}").json["run"]["pending"][0]["requestId"]
    call(f"POST {of_run}/respond", "POST", f"/api/runs/{waiting}/respond", {"requestId": request, "skipped": True})
    stopped = tour.waiting()
    call(f"POST {of_run}/stop", "POST", f"/api/runs/{stopped}/stop")
    with closing(tour.http.post(f"/api/runs/{tour.waiting()}/stop", json={})):
        pass
    call(f"POST {of_run}/continue", "POST", f"/api/runs/{stopped}/continue")


def tour_dialects(tour: Tour) -> None:
    """Calls the routes of other protocols."""
    call, ok = tour.call, "what is 17% of 2,340?"
    said = {"id": "u", "role": "user", "content": ok, "parts": [{"type": "text", "text": ok}]}
    agui = "/api/agui/default"
    call("POST /api/agui/<slug>", "POST", agui, {"threadId": "a", "runId": "one", "messages": [said]})
    call("GET /api/agui/<slug>", "GET", f"{agui}?runId=one")
    call("a thread of AG-UI", "GET", f"{agui}?threadId=a")
    ai, of = "/api/ai/default", "/api/ai/<slug>"
    call(f"POST {of}", "POST", ai, {"id": "b", "messages": [said]})
    call(f"POST {of}/<thread_slug>", "POST", f"{ai}/c", {"messages": [said]})
    run_id = tour.run_id
    call(f"GET {of}/<thread_slug>/stream", "GET", f"{ai}/c/stream", status=204)
    call(f"GET {of}/<thread_slug>/<run_id>/stream", "GET", f"{ai}/c/{run_id}/stream?startIndex=-3")


def tour_anythingllm(tour: Tour) -> None:
    """Calls the routes that AnythingLLM's page alone calls, and its views of those that it shares with ours."""
    call, theirs = tour.call, {"X-Timezone": "UTC"}
    for path, answer in (system.OPEN | system.EMPTY | system.EMPTY_IN_WORKSPACE).items():
        assert call(f"GET /api{path}", "GET", f"/api{path.replace('<slug>', 'default')}") == answer
    call("GET /api/setup-complete", "GET", "/api/setup-complete")
    call("GET /api/system/logo", "GET", "/api/system/logo", status=204)
    of, thread_slug = "/api/workspace/<slug>", tour.new_thread()
    call(f"GET {of}/parsed-files", "GET", f"{DEFAULT}/parsed-files")
    call(f"GET {of}/tts/<chat_id>", "GET", f"{DEFAULT}/tts/x", status=204)
    call("GET /api/system/document-processing-status", "GET", "/api/system/document-processing-status", status=503)
    call("POST /api/request-token", "POST", "/api/request-token", {"password": "x"})
    call("POST /api/agent-skills/whitelist/add", "POST", "/api/agent-skills/whitelist/add", {"skillName": "x"})
    of_thread, thread = f"{of}/thread/<thread_slug>", f"{DEFAULT}/thread/{thread_slug}"
    for name in ("one", "two", "three"):
        tour.ask(name, thread)
    tour.ask("hello", DEFAULT)
    call("theirs: a prompt", "POST", f"{thread}/stream-chat", {"message": "hello"}, headers=theirs)
    call("theirs: a workspace", "GET", DEFAULT, headers=theirs)
    history = call("theirs: chats", "GET", f"{thread}/chats", headers=theirs)["history"]
    ids = [each["chatId"] for each in history if each["role"] == "assistant"]
    mine = call("GET default", "GET", f"{DEFAULT}/chats?limit=1")["history"][-1]["chatId"]
    changed = {"chatId": ids[0], "newText": "New"}
    call(f"POST {of_thread}/update-chat", "POST", f"{thread}/update-chat", changed)
    call(f"POST {of}/update-chat", "POST", f"{DEFAULT}/update-chat", {**changed, "chatId": mine})
    call(f"POST {of}/chat-feedback/<chat_id>", "POST", f"{DEFAULT}/chat-feedback/{ids[0]}", {"feedback": True})
    forked = call(f"POST {of}/thread/fork", "POST", f"{DEFAULT}/thread/fork", {"threadSlug": thread_slug})
    path = "/api/workspace/workspace-chats"
    call(f"PUT {path}/<chat_id>", "PUT", f"{path}/{ids[1]}")
    call(f"DELETE {of}/delete-chats", "DELETE", f"{DEFAULT}/delete-chats", {"chatIds": ids[2:3]})
    edited = "delete-edited-chats"
    call(f"DELETE {of_thread}/{edited}", "DELETE", f"{thread}/{edited}", {"startingId": ids[0]})
    call(f"DELETE {of}/{edited}", "DELETE", f"{DEFAULT}/{edited}", {"startingId": mine})
    slugs = [forked["newThreadSlug"]]
    call(f"DELETE {of}/thread-bulk-delete", "DELETE", f"{DEFAULT}/thread-bulk-delete", {"slugs": slugs})
    # A search looks at names, and lists have no pages for this page: each ends at a number.
    for name, method, address, body in (
        ("POST /api/workspace/search", "POST", "/api/workspace/search", {"searchTerm": "no such"}),
        ("theirs: workspaces", "GET", "/api/workspaces", None),
        ("theirs: threads", "GET", f"{DEFAULT}/threads", None),
    ):
        call(name, method, address, body, headers=theirs)
        tour.steps[name] = tour.calls[name] = 0


def tour_lists(tour: Tour) -> None:
    """Reads pages of two sizes, from the beginning and further on, in a thread and a workspace with very much in it."""
    crowded = f"{DEFAULT}/thread/crowded/chats"
    for limit in (10, 100):
        page = tour.call(f"threads {limit}", "GET", f"{DEFAULT}/threads?limit={limit}")
        assert len(page["threads"]) == limit
        tour.call(f"threads {limit} later", "GET", f"{DEFAULT}/threads?limit={limit}&after={page['next']}")
        page = tour.call(f"workspaces {limit}", "GET", f"/api/workspaces?limit={limit}")
        assert len(page["workspaces"]) == limit
        page = tour.call(f"chats {limit}", "GET", f"{crowded}?limit={limit}")
        assert len(page["history"]) == limit
        before = page["history"][0]["chatId"]
        tour.call(f"chats {limit} later", "GET", f"{crowded}?limit={limit}&before={before}")


def tour_work(tour: Tour) -> None:
    """Does what no request does: the sweeper, the removal of what was deleted, what a start and a restart look for."""
    path = f"{DEFAULT}/thread/{tour.new_thread()}"
    for _ in range(3):
        tour.ask("hello", path)
    with tour.counting("removing a thread"):
        assert tour.http.delete(path).status_code == 200
        with gevent.Timeout(60):
            while tour.application._store.deletion._greenlet is not None:
                gevent.sleep(0.01)
    with tour.counting("a slice with nothing to do"):
        assert tour.database.write(deletion.delete_slice) is False
    with tour.counting("looking for events"):
        tour.database.look(compaction.numbers)
    with tour.counting("a sweep"):
        tour.database.write(lambda connection: compaction.delete_compacted(connection, range(1, 200)))
    waiting = tour.waiting()
    thread_id = tour.application._store.run(OWNER, waiting).thread_id
    for name, work in (
        ("noting a try", lambda connection: apply(connection, NoteRetries(waiting, 1))),
        (
            "allowing for good",
            lambda connection: apply(connection, AllowTool(thread_id, "web_fetch", None, "example.org")),
        ),
        ("packing what a process left", lambda connection: compaction.compact_rows(connection, range(1, 200))),
    ):
        with tour.counting(name):
            tour.database.write(work)
    with tour.counting("giving a run up"):
        tour.application._runs.journal.abandon(waiting).wait()
    with tour.counting("what a start takes up"):
        assert len(tour.application._store.unfinished_runs()) <= OPEN_RUNS


def build(folder: Path, size: int) -> Application:
    application = Application(Settings(data=folder / "data", provider="offline"))
    application._folder.hold()
    application._database.start()
    application._database.close()
    application._folder.release()
    with closing(sqlite3.connect(folder / "data" / "deechat.sqlite3", isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000", "foreign_keys = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO thread (id, workspace_id, slug, created_at, updated_at)"
            " SELECT 'crowded', id, 'crowded', 1, 1 FROM workspace WHERE slug = 'default'"
        )
        for statement in schema._statements(many(NOISE, max(size, 300))):
            connection.execute(statement)
        checksums.fill(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    application.start()
    application._database.write(lambda connection: connection.execute(many(EVENTS, max(size, 300))))
    return application


@pytest.fixture(scope="module")
def tours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tour]]:
    made: list[Tour] = []
    patch = pytest.MonkeyPatch()
    for name in ("DELAY", "SELDOM"):
        patch.setattr(sweeper, name, 3600.0)  # it is tried by itself
    for size in SIZES:
        application = build(tmp_path_factory.mktemp(f"rows-{size}"), size)
        try:
            made.append(Tour(application, size))
            for each in (tour_routes, tour_anythingllm, tour_lists, tour_work):
                each(made[-1])
        finally:
            if size != SIZES[-1]:
                application.close()
    yield made
    made[-1].application.close()
    patch.undo()


def test_every_route_is_on_the_tour(tours: list[Tour]) -> None:
    rules = {
        f"{method} {rule.rule}"
        for rule in tours[-1].application.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert rules == {name for name in tours[-1].steps if re.match("[A-Z]+ /", name)}


def test_nothing_costs_by_what_else_is_stored(tours: list[Tour]) -> None:
    empty, some, much = (tour.steps for tour in tours)
    grown = {
        name: (steps, some[name], much[name])
        for name, steps in empty.items()
        if max(some[name], much[name]) > 1.5 * steps + 300
    }
    assert grown == {}
    empty, some, much = (tour.calls for tour in tours)
    assert {name: most for name in empty if (most := max(some[name], much[name])) > 1.2 * empty[name] + 50} == {}


def test_a_page_costs_by_its_length(tours: list[Tour]) -> None:
    for tour in tours:
        for name in ("threads", "workspaces", "chats"):
            assert tour.steps[f"{name} 100"] <= 11 * tour.steps[f"{name} 10"], name
        for name in ("threads", "chats"):
            assert tour.steps[f"{name} 100 later"] <= 1.5 * tour.steps[f"{name} 100"], name


def test_no_statement_looks_through_a_table_that_grows(tours: list[Tour]) -> None:
    connection = tours[-1].database._reader
    assert connection is not None
    connection.set_trace_callback(None)
    found = []
    for place, statements in tours[-1].statements.items():
        for sql in statements:
            if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", sql):
                continue
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
                if (
                    GROWING.match(detail)
                    and not MAY_BE_SCANNED.match(detail)
                    and not any(each in sql for each in SORTED)
                ):
                    found.append((place, detail, sql[:200]))
    assert not found, "\n".join(sorted({f"{detail}: {sql}" for _, detail, sql in found}))


def test_each_foreign_key_finds_its_children_by_an_index(tours: list[Tour]) -> None:
    """A delete of a parent looks for its children: without an index, at all of them."""
    look = tours[-1].database.read
    keys = 0
    for (table,) in look("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        columns = [row[3] for row in look(f"PRAGMA foreign_key_list({table})")]
        whole = [row[1] for row in look(f"PRAGMA index_list({table})") if not row[4]]
        firsts = {look(f"PRAGMA index_info({index})")[0][2] for index in whole}
        for column in columns:
            keys += 1
            assert column in firsts, f"nothing finds the rows of {table} by {column}"
            (plan,) = look(f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = ?", "x")
            assert str(plan[3]).startswith("SEARCH"), plan
    assert keys == 6


# -- logs --------------------------------------------------------------------------------------------------------------

LONG = 50_000


def log_of(length: int, run_id: str, *, ended: bool) -> list[Entry]:
    first = Entry(1, 1000.0, RunStarted(run_id, f"{run_id}-message", "default", "t1", None, "m"))
    chunks = [Entry(seq, 1000.0 + seq / 100, TextChunk(f"word{seq} ")) for seq in range(2, length + 1)]
    return [first, *chunks[:-1], Entry(length, 2000.0, RunStopped())] if ended else [first, *chunks]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each block had that was read."""
    sizes: list[int] = []
    unpack = compaction.unpack

    def counted(*arguments: Any, **options: Any) -> list[Entry]:
        entries = unpack(*arguments, **options)
        sizes.append(len(entries))
        return entries

    monkeypatch.setattr(compaction, "unpack", counted)
    return sizes


@pytest.fixture
def long_runs(tours: list[Tour]) -> Callable[[bool], str]:
    """Stores a run with a long log, which has ended or waits."""
    tour = tours[-1]

    def store(ended: bool) -> str:
        number = len(tour.database.read("SELECT 1 FROM run WHERE id LIKE 'long%'"))
        run_id = f"long{number}"
        entries, thread = log_of(LONG, run_id, ended=ended), tour.new_thread()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO run (id, thread_id, message_id, parent_id, language, started_at, ended_at, reason, rests,"
                " asks) SELECT ?, id, ?, 'p', 'en', 1, ?, ?, ?, ? FROM thread WHERE slug = ?",
                (run_id, f"{run_id}-message", 2.0 if ended else None, "stopped" if ended else None, int(not ended),
                 "[7]", thread),
            )  # fmt: skip
            compaction.compact(connection, run_id, entries)
            columns = checksums.COVERED["run"].columns
            row = connection.execute(f"SELECT {columns} FROM run WHERE id = ?", (run_id,)).fetchone()
            checksum = checksums.of_row("run", row[:-1])
            connection.execute("UPDATE run SET checksum = ? WHERE id = ?", (checksum, run_id))

        tour.database.write(work)
        return run_id

    return store


def test_a_look_at_a_long_log_reads_its_block_and_the_one_with_the_ending(
    tours: list[Tour], long_runs: Callable[[bool], str], decoded: list[int]
) -> None:
    http, run_id = tours[-1].http, long_runs(True)
    assert http.get(f"/api/runs/{run_id}").json["run"]["lastEventId"] == LONG
    assert decoded == []
    for after, first in ((0, 1), (LONG // 2, LONG // 2 + 1), (LONG - 3, LONG - 2)):
        page = http.get(f"/api/runs/{run_id}/events?after={after}&wait=0").json
        assert page["frames"][0]["id"] == first
    assert len(decoded) == 6
    assert http.get(f"/api/runs/{run_id}/events?after={LONG}").status_code == 204
    assert max(decoded) <= compaction.ENTRIES
    assert http.get(f"/api/runs/{run_id}/events?after={LONG - 3}").get_data().count(b"data: ") == 3
    assert len(decoded) == 8


def test_a_look_at_a_run_that_waits_reads_where_it_asked(
    tours: list[Tour], long_runs: Callable[[bool], str], decoded: list[int]
) -> None:
    run = tours[-1].http.get(f"/api/runs/{long_runs(False)}").json["run"]
    assert (run["status"], run["lastEventId"], len(run["pending"])) == ("waiting", LONG, 1)
    assert decoded == [compaction.ENTRIES]


def test_the_whole_of_a_long_log_is_read_once_for_a_stream(
    tours: list[Tour], long_runs: Callable[[bool], str], decoded: list[int]
) -> None:
    body = tours[-1].http.get(f"/api/runs/{long_runs(True)}/events").get_data()
    assert body.count(b"data: ") == LONG
    assert sum(decoded) == LONG + decoded[0], "the last block is also looked at before the first frame"
    assert max(decoded) <= compaction.ENTRIES


def test_a_message_to_a_run_that_waits_is_a_block_more_and_leaves_the_others(
    tours: list[Tour], monkeypatch: pytest.MonkeyPatch
) -> None:
    tour = tours[-1]
    run_id = tour.waiting()
    packed: list[int] = []
    pack = compaction.pack
    monkeypatch.setattr(compaction, "pack", lambda entries, *rest: packed.append(len(entries)) or pack(entries, *rest))
    before = tour.database.read("SELECT rowid, body FROM block WHERE run_id = ?", run_id)
    for number in range(3):
        assert tour.http.post(f"/api/runs/{run_id}/steer", json={"message": f"More {number}"}).status_code == 202
        with gevent.Timeout(10):
            while len(packed) <= number:
                gevent.sleep(0.01)
    tour.database.write(lambda _: None)
    assert packed == [1, 1, 1]
    after = tour.database.read("SELECT rowid, body FROM block WHERE run_id = ?", run_id)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 3
    assert [encode(each.event) for each in entries_of(tour.application._runs.journal, run_id)][-1] == (
        b'{"event":"Steered","message":"More 2"}'
    )
