"""The page's modules without a person: what they claim, tried inside Chromium, and what holds them to the server."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from browser_support import Tab, run
from client import Client, parse
from model_answers import reasoning, reply, status, text, tool_calls
from model_server import ModelServer
from server import Server

from deechat.agents.plugins import deechat as table_of_frames
from deechat.errors import MODEL_CODES
from deechat.locale import ENGLISH, words

pytest_plugins = ["browser_fixtures"]

DEECHAT = Path(__file__).parents[2] / "deechat"
JS = DEECHAT / "static" / "js"
SOURCES = {path.relative_to(JS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(JS.rglob("*.js"))}


# -- words -------------------------------------------------------------------------------------------------------------


def test_every_string_that_is_used_exists_and_every_one_that_exists_is_used() -> None:
    keys = set(words("page", ENGLISH))
    code = "\n".join(source for name, source in SOURCES.items() if name != "core/words.js")
    called = set(re.findall(r'\bt\("([^"]+)"', code))
    assert called <= keys
    quoted = set(re.findall(r'"([\w.]+)"', code + SOURCES["core/words.js"]))
    assert {key for key in keys if "." not in key} - {"noScript"} <= quoted  # the template says that one


def test_the_page_translates_every_code_of_the_server(module_tab: Tab) -> None:
    known = set(
        run(module_tab, "words", "return Object.keys(JSON.parse(document.getElementById('words').content.textContent))")
    )
    agent, page = words("agent", ENGLISH), words("page", ENGLISH)
    assert known == page.keys() | {key for key in agent if key.startswith(("status.", "habit."))}
    assert {f"error.{code}" for code in {*MODEL_CODES, "internal_error", "storage_failed", "interrupted"}} <= known
    for key in page.keys() & agent.keys():
        assert set(re.findall(r"\{(\w+)\}", page[key])) <= set(re.findall(r"\{(\w+)\}", agent[key])), key


# -- the table of frames -----------------------------------------------------------------------------------------------


def test_every_frame_of_the_wire_stands_in_the_dispatch_table(module_tab: Tab) -> None:
    source = inspect.getsource(table_of_frames)
    sent = set(re.findall(r'"type": "(\w+)"', source)) | set(re.findall(r'"action": "(\w+)"', source))
    sent -= {"heartbeat", "resync"}  # which are no events
    assert len(sent) == 20
    assert set(run(module_tab, "transcript", "return Object.keys(m.FRAMES)")) == sent


# -- the fold ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(agent_server: Server, shared_model: ModelServer) -> dict[str, list[list[Any]]]:
    """Frames of real runs, as [SEQ, frame], by what happened in them."""
    client = Client(agent_server).new_thread()
    calls = tool_calls(("calculator", {"expression": "1+1"}), ("calculator", {"expression": "1/0"}))
    shared_model.script(
        reply(reasoning("Hm, " * 5, size=3), text("I will add.", size=2), calls),
        reply(text("It is **2**.", size=4)),
        status(401, "no"),
    )
    runs = {"tools": client.ask("Add"), "failed": client.ask("Fail")}
    shared_model.script(reply(text("Some words"), shared_model.gate()))
    stopped = client.send("Talk")
    stopped.read_until("Some words")
    client.stop(stopped.run_id)
    runs["stopped"] = stopped.read()
    return {name: [[block.seq, parse(block.raw).data] for block in each.numbered] for name, each in runs.items()}


FOLD = """
    const fold = (frames) => {
        const message = m.newMessage();
        for (const [seq, frame] of frames) m.fold(message, seq, frame);
        return message;
    };
"""


@pytest.mark.parametrize("name", ["tools", "failed", "stopped"])
def test_frames_that_come_twice_change_nothing(
    module_tab: Tab, recorded: dict[str, list[list[Any]]], name: str
) -> None:
    frames = recorded[name]
    once = run(module_tab, "transcript", FOLD + "return fold(a)", frames)
    assert once["ending"]
    twice = [each for at in range(len(frames)) for each in (frames[at], frames[max(0, at - 3)], frames[at])]
    assert run(module_tab, "transcript", FOLD + "return fold(a)", twice) == once
    assert run(module_tab, "transcript", FOLD + "return fold([...a, ...a])", frames) == once


def test_a_run_with_tools_folds_to_its_parts_in_order(module_tab: Tab, recorded: dict[str, list[list[Any]]]) -> None:
    message = run(module_tab, "transcript", FOLD + "return fold(a)", recorded["tools"])
    kinds = [(part["kind"], part.get("state")) for part in message["parts"]]
    assert kinds == [
        ("reasoning", None), ("text", None), ("tool", "done"), ("tool", "error"), ("text", None)
    ]  # fmt: skip
    assert run(module_tab, "transcript", FOLD + "return m.textOf(fold(a))", recorded["tools"]).split() == [
        "I", "will", "add.", "It", "is", "**2**."
    ]  # fmt: skip
    assert message["ending"]["reason"] == "completed"
    assert message["metrics"]["model"] == "fake-1"


def numbered(*frames: dict[str, Any]) -> list[list[Any]]:
    return [[seq, frame] for seq, frame in enumerate(frames, start=1)]


def test_a_restarted_step_takes_back_what_it_said(module_tab: Tab) -> None:
    chunk = lambda words: {"type": "textResponseChunk", "textResponse": words}  # noqa: E731
    frames = numbered(
        {"type": "stepStarted", "step": 1},
        chunk("kept "),
        chunk("lost"),
        {"type": "reasoningChunk", "textResponse": "lost too"},
        {"type": "stepRestarted", "step": 1, "afterId": 2},
        chunk("new"),
    )
    message = run(module_tab, "transcript", FOLD + "return fold(a)", frames)
    assert [(part["kind"], part["text"]) for part in message["parts"]] == [("text", "kept new")]
    assert message["anew"] is True
    over = run(module_tab, "transcript", FOLD + "return fold(a)", [*frames, [7, {"type": "stepFinished", "step": 1}]])
    assert over["anew"] is False


def test_what_was_told_apart_wrongly_is_told_anew_without_a_word_of_a_restart(module_tab: Tab) -> None:
    frames = numbered(
        {"type": "stepStarted", "step": 1},
        {"type": "textResponseChunk", "textResponse": "Hmm."},
        {"type": "stepRestarted", "step": 1, "afterId": 1, "retold": "thinking"},
        {"type": "reasoningChunk", "textResponse": "Hmm."},
        {"type": "textResponseChunk", "textResponse": "42"},
    )
    message = run(module_tab, "transcript", FOLD + "return fold(a)", frames)
    assert [(part["kind"], part["text"]) for part in message["parts"]] == [("reasoning", "Hmm."), ("text", "42")]
    assert message["anew"] is False


def test_requests_and_answers_of_the_next_protocol_step_fold_to_cards(module_tab: Tab) -> None:
    frames = numbered(
        {"type": "toolApprovalRequest", "requestId": "a", "toolCallId": "c", "skillName": "fetch", "payload": {"u": 1}},
        {"type": "clarificationRequest", "requestId": "b", "questions": [{"kind": "input", "question": "Who?"}]},
        {"type": "inputReceived", "requestId": "a", "approved": True, "summary": "yes"},
        {"type": "steered", "message": "faster"},
        {"type": "stopGeneration", "reason": "stopped"},
    )
    parts = run(module_tab, "transcript", FOLD + "return fold(a)", frames)["parts"]
    assert [(part["kind"], part.get("state")) for part in parts] == [
        ("approval", "answered"), ("questions", "void"), ("steered", None)
    ]  # fmt: skip
    drawn = """
        await import('/static/js/elements/dee-answer.js');
        const node = Object.assign(document.createElement('dee-answer'), { item: { message: fold(a), live: false } });
        document.querySelector('main').append(node);
        const words = node.innerText;
        node.remove();
        return words;
    """
    words = run(module_tab, "transcript", FOLD + drawn, frames)
    for shown in ("fetch\nyes", "No longer open", "Who?", "faster", "You stopped this answer."):
        assert shown in words


def test_a_question_and_a_refused_tool_have_one_card_each(module_tab: Tab) -> None:
    question = {"type": "clarificationRequest", "requestId": "b", "toolCallId": "d", "questions": [{"question": "?"}]}
    frames = numbered(
        {"type": "toolApprovalRequest", "requestId": "a", "toolCallId": "c", "skillName": "fetch", "payload": {}},
        question,
        {"type": "inputReceived", "requestId": "a", "approved": False, "summary": "no"},
        {"type": "inputReceived", "requestId": "b", "answers": [{"skipped": True, "answer": None}], "summary": ""},
        {"type": "toolCallResult", "toolCallId": "c", "name": "fetch", "content": "refused", "isError": True},
        {"type": "toolCallInvocation", "toolCallId": "d", "name": "ask_user", "arguments": {}},
        {"type": "toolCallResult", "toolCallId": "d", "name": "ask_user", "content": "", "isError": False},
    )
    message = run(module_tab, "transcript", FOLD + "return fold(a)", frames)
    assert [part["kind"] for part in message["parts"]] == ["approval", "questions"]
    waits = FOLD + "return a.map((_, end) => m.isWaiting(fold(a.slice(0, end))))"
    assert run(module_tab, "transcript", waits, frames) == [False, True, True, True, False, False, False]


def test_progress_is_a_calls_last_line_until_its_result_and_begins_anew_after_a_restart(module_tab: Tab) -> None:
    progress = lambda text, share=None: {"type": "toolProgress", "toolCallId": "c", "text": text, "share": share}  # noqa: E731
    invocation = {"type": "toolCallInvocation", "toolCallId": "c", "name": "walk", "arguments": {}}
    frames = numbered(
        progress("of a call that nobody knows"),
        invocation,
        progress("one", 0.5),
        progress("two"),
        invocation,
        progress("three"),
        {"type": "toolCallResult", "toolCallId": "c", "name": "walk", "content": "", "isError": False},
        progress("too late"),
    )
    steps = FOLD + "return a.map((_, end) => fold(a.slice(0, end + 1)).parts.map((part) => part.progress))"
    one, two, three = {"text": "one", "share": 0.5}, {"text": "two", "share": None}, {"text": "three", "share": None}
    assert run(module_tab, "transcript", steps, frames) == [[], [None], [one], [two], [None], [three], [None], [None]]


def test_a_card_shows_web_addresses_as_links_and_anything_else_as_words(module_tab: Tab) -> None:
    evil = '<img src=x onerror="document.title=1">'
    source = {"id": "1", "text": "", "score": None}
    frames = numbered(
        {"type": "toolCallInvocation", "toolCallId": "c", "name": "walk", "arguments": {}},
        {"type": "toolProgress", "toolCallId": "c", "name": "walk", "text": evil, "share": 0.25},
        {
            "type": "toolCallResult", "toolCallId": "c", "name": "walk", "content": "", "isError": False,
            "sources": [
                {**source, "title": evil, "chunkSource": "https://a.example/?q=<b>"},
                {**source, "title": "", "chunkSource": "HTTP://b.example/"},
                {**source, "title": "File", "chunkSource": "file:///etc/passwd"},
            ],
            "parts": [
                {"kind": "link", "url": "javascript:document.title=1", "title": "Bad"},
                {"kind": "link", "url": " javascript:document.title=1"},
                {"kind": "link", "url": "https://c.example/", "title": "Good"},
                {"kind": "hologram", "url": "https://d.example/"},
                {"kind": "table", "head": ["a"], "rows": [["1"]]},
            ],
        },
    )  # fmt: skip
    drawn = """
        await import('/static/js/elements/dee-tool.js');
        const node = document.createElement('dee-tool');
        document.querySelector('main').append(node);
        const seen = [];
        for (const end of [2, 3]) {
            node.show(fold(a.slice(0, end)).parts[0], { heard: false });
            const progress = node.querySelector('.tool-progress');
            seen.push([progress?.textContent ?? null, progress?.querySelector('progress').value ?? null]);
        }
        const hrefOf = (row) => row.querySelector('a')?.href ?? null;
        const rows = [...node.querySelectorAll('li')].map((row) => [row.textContent, hrefOf(row)]);
        const heads = [...node.querySelectorAll('h4')].map((head) => head.textContent);
        const images = node.querySelectorAll('img').length;
        const rels = [...node.querySelectorAll('a')].map((link) => `${link.rel} ${link.target}`);
        node.remove();
        return { seen, rows, heads, images, rels };
    """
    found = run(module_tab, "transcript", FOLD + drawn, frames)
    assert found["seen"] == [[evil, 0.25], [None, None]]
    assert found["rows"] == [
        [evil, "https://a.example/?q=%3Cb%3E"],
        ["HTTP://b.example/", "http://b.example/"],
        ["File", None],
        ["Bad", None],
        [" javascript:document.title=1", None],
        ["Good", "https://c.example/"],
    ]
    assert found["heads"] == ["Arguments", "Result", "Sources", "Links"]
    assert found["images"] == 0
    assert set(found["rels"]) == {"noopener noreferrer _blank"}


def test_the_branch_that_ends_in_the_last_message_is_shown(module_tab: Tab) -> None:
    tree = {"1": None, "2": "1", "3": "2", "4": "3", "5": "2", "6": "5"}
    history = [{"chatId": chat, "parentId": parent} for chat, parent in tree.items()]
    show = "return m.lastBranch(a).map(message => message.chatId)"
    assert run(module_tab, "branch", show, history) == ["1", "2", "5", "6"]
    assert run(module_tab, "branch", show, history[3:]) == ["5", "6"]
    assert run(module_tab, "branch", show, []) == []


def test_branches_go_through_continued_answers_and_can_be_chosen(module_tab: Tab) -> None:
    tree = {"p": None, "stopped": "p", "continued": "stopped", "p2": None, "a2": "p2", "q": "continued"}
    history = [
        {"chatId": chat, "parentId": parent, "role": "user" if chat in {"p", "p2", "q"} else "assistant"}
        for chat, parent in tree.items()
    ]
    show = "return m.lastBranch(a).map(message => message.chatId)"
    assert run(module_tab, "branch", show, history) == ["p", "stopped", "continued", "q"]
    assert run(module_tab, "branch", show, history[:-1]) == ["p2", "a2"]
    assert run(module_tab, "branch", "return m.leafBelow(a, 'p')", history[:-1]) == "continued"
    siblings = "return m.siblingsOf(a, a[3]).map(message => message.chatId)"
    assert run(module_tab, "branch", siblings, history) == ["p", "p2"]
    assert run(module_tab, "branch", "return m.lastBranch(a, 'a2').map(each => each.chatId)", history) == ["p2", "a2"]


# -- the list of chats -------------------------------------------------------------------------------------------------


Part = tuple[list[str], str | None]  # slugs, and the cursor behind them


def listed(*slugs: str) -> list[dict[str, Any]]:
    """Gives threads whose time of activity is their number."""
    return [{"slug": slug, "updatedAt": int(slug.strip("abc"))} for slug in slugs]


@pytest.mark.parametrize(
    ("before", "page", "then"),
    [
        pytest.param(([], None), (["9", "8"], "p1"), (["9", "8"], "p1"), id="the first look"),
        pytest.param((["9", "8", "7", "6"], "p2"), (["9", "8"], "p1"), (["9", "8", "7", "6"], "p2"), id="nothing new"),
        pytest.param((["9", "8", "7"], "p2"), (["10", "9"], "p1"), (["10", "9", "8", "7"], "p2"), id="a new one"),
        pytest.param((["9", "8", "7"], "p2"), (["9", "7"], "p1"), (["9", "7"], "p1"), id="one was deleted"),
        pytest.param((["9", "8", "7"], "p2"), (["20", "19"], "p1"), (["20", "19"], "p1"), id="too much is new"),
        pytest.param((["9", "8", "7"], "p2"), (["9", "8"], None), (["9", "8"], None), id="all others were deleted"),
        pytest.param((["9", "8"], None), (["10", "9"], "p1"), (["10", "9"], "p1"), id="it became longer than a page"),
    ],
)
def test_a_newer_first_page_goes_into_the_list(module_tab: Tab, before: Part, page: Part, then: Part) -> None:
    given = [{"threads": listed(*slugs), "next": after} for slugs, after in (before, page)]
    got = run(module_tab, "threads", "return m.withFirst(a[0], a[1])", given)
    assert ([each["slug"] for each in got["threads"]], got["next"]) == then


def test_the_next_page_and_the_open_chat_stand_once_in_the_list(module_tab: Tab) -> None:
    known = {"threads": listed("9", "8", "3"), "next": "p1"}  # 3 is open, and on no page yet
    more = {"threads": listed("7", "3"), "next": None}
    got = run(module_tab, "threads", "return m.withNext(a[0], a[1])", [known, more])
    assert ([each["slug"] for each in got["threads"]], got["next"]) == (["9", "8", "7", "3"], None)
    for slug, slugs in (("5", ["9", "8", "5", "3"]), ("3", ["9", "8", "3"]), ("1", ["9", "8", "3", "1"])):
        got = run(module_tab, "threads", "return m.withOpen(a[0], a[1])", [known, *listed(slug)])
        assert [each["slug"] for each in got["threads"]] == slugs


# -- the files ---------------------------------------------------------------------------------------------------------


def test_the_page_names_every_module_so_that_none_waits_for_another(server: Server) -> None:
    page = Client(server).call("GET", "/").text
    named = re.findall(r'<link rel="modulepreload" href="static/([^"]+)">', page)
    vendored = [f"vendor/{path.name}" for path in (DEECHAT / "static" / "vendor").glob("*.js")]
    modules = [f"js/{name}" for name in SOURCES if not name.startswith("workers/")]  # a worker is loaded on first need
    assert sorted(named) == sorted([*modules, *vendored])
    sheets = re.findall(r'<link rel="stylesheet" href="static/css/([^"]+)">', page)
    css = DEECHAT / "static" / "css"
    assert sheets[0] == "base.css"
    assert sorted(sheets) == sorted(path.relative_to(css).as_posix() for path in css.rglob("*.css"))
    assert sheets == sorted(sheets, key=lambda sheet: sheet.startswith("elements/"))


def test_a_module_imports_from_its_own_folder_and_those_before_it() -> None:
    folders = ["workers", "core", "stream", "thread", "elements", "page"]
    for name, source in SOURCES.items():
        for path in re.findall(r'(?:from|import) "(\.[^"]+)"', source):
            target = (JS / name).parent.joinpath(path).resolve()
            if target.is_relative_to(JS):
                used = target.relative_to(JS).parts[0]
                assert folders.index(used) <= folders.index(name.split("/")[0]), f"{name} imports {path}"


def test_no_module_goes_around_the_sanitiser_or_loads_from_elsewhere() -> None:
    for name, source in SOURCES.items():
        code = re.sub(r"//.*", "", source)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code), (
            name
        )
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", re.sub(r"SAFE_LINK = .*", "", code)), name
        assert len(source.splitlines()) <= 300, name


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by_the_wall", "counted"),
    [("- 86400e3", (0, 60_000)), ("+ 86400e3", (86_400_000, 86_460_000)), ("", (0, 60_000))],
    ids=["set back", "asleep, or set ahead", "as it is"],
)
def test_no_silence_gets_shorter_by_a_clock_that_was_set(
    module_tab: Tab, by_the_wall: str, counted: tuple[float, float]
) -> None:
    passed = run(
        module_tab,
        "clock",
        f"""const real = Date.now;
        const before = m.now();
        Date.now = () => real() {by_the_wall};
        try {{ return [m.now() - before, m.now() - m.now()]; }} finally {{ Date.now = real; m.now(); }}""",
    )
    assert counted[0] <= round(passed[0]) <= counted[1]  # a sum of fractions may lack the last digit
    assert passed[1] <= 0


def test_no_module_measures_time_with_the_wall_clock() -> None:
    measured = {name for name, source in SOURCES.items() if "Date.now" in source}
    assert measured == {"core/clock.js", "core/api.js"}, "api.js compares it with a date"
