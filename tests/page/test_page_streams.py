"""How the page reads a stream, follows a run and draws a text that grows, tried inside Chromium."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser_support import Tab, run
from playwright.sync_api import Browser
from server import Server

pytest_plugins = ["browser_fixtures"]

# -- the stream --------------------------------------------------------------------------------------------------------

STREAM = (
    'retry: 1500\nid: 1\ndata: {"a":"né 😀"}\n\n: a comment\nevent: heartbeat\ndata: {}\n\ndata: one\ndata: two\n\n'
)
EVENTS = [
    {"event": "message", "data": '{"a":"né 😀"}', "id": 1},
    {"event": "heartbeat", "data": "{}", "id": None},
    {"event": "message", "data": "one\ntwo", "id": None},
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_stream_is_read_alike_wherever_it_is_cut(module_tab: Tab, end: str) -> None:
    read = """
        const bytes = new TextEncoder().encode(a);
        const all = [];
        for (let size = 1; size <= bytes.length; size += 1) {
            const events = [], waits = [];
            const parser = new m.SseParser((event) => events.push(event), (wait) => waits.push(wait));
            for (let at = 0; at < bytes.length; at += size) parser.feed(bytes.slice(at, at + size));
            all.push(JSON.stringify([events, waits]));
        }
        return [...new Set(all)];
    """
    results = run(module_tab, "sse", read, STREAM.replace("\n", end))
    assert [json.loads(each) for each in results] == [[EVENTS, [1500]]]


# A scripted `fetch`: each entry is what one request gets. A body is a list of pieces; "hold" leaves it open.
FETCH = """
    const asked = [], heard = [], real = window.fetch;
    const open = (pieces, signal) => new ReadableStream({
        start(controller) {
            for (const piece of pieces) if (piece !== 'hold') controller.enqueue(new TextEncoder().encode(piece));
            if (pieces.includes('hold'))
                signal.addEventListener('abort', () => controller.error(new DOMException('', 'AbortError')));
            else controller.close();
        },
    });
    window.fetch = async (path, options) => {
        if (path === 'api/runs/run') return Response.json({ run: { lastEventId: 0 } }); // nothing is held back
        if (!path.startsWith('api/runs/run/')) return real(path, options); // the page's own
        const { headers, signal } = options;
        asked.push([headers['Last-Event-ID'] ?? null, Math.round(performance.now())]);
        const [status, pieces, extra] = a[asked.length - 1] ?? [204, null];
        if (status === 0) throw new TypeError('no network');
        return new Response(pieces && open(pieces, signal), { status, headers: extra ?? {} });
    };
    const stream = new m.RunStream('run');
    for (const name of ['frame', 'reset', 'end', 'gone', 'fault'])
        stream.addEventListener(name, ({ detail }) => heard.push([name, detail.seq ?? detail.error?.code ?? null]));
    const over = new Promise((resolve) => {
        for (const name of ['end', 'gone', 'fault']) stream.addEventListener(name, resolve);
    });
    stream.follow();
"""
FOLLOW = FETCH + "await over; window.fetch = real; return { asked, heard };"


def piece(seq: int, kind: str = "textResponseChunk") -> str:
    return f'id: {seq}\ndata: {{"type": "{kind}", "textResponse": "x"}}\n\n'


QUICK = "retry: 20\n"


@pytest.mark.parametrize(
    ("answers", "cursors", "heard"),
    [
        pytest.param(
            [[200, [QUICK, piece(1)]], [0, None], [502, ["no"]], [200, [piece(2), piece(3, "abort")]]],
            [None, "1", "1", "1"],
            [["frame", 1], ["frame", 2], ["frame", 3], ["end", None]],
            id="a stream that closes without an ending is followed again from the cursor",
        ),
        pytest.param(
            [[200, [QUICK, piece(1), piece(2)]], [200, ['data: {"type": "resync"}\n\n', piece(1), piece(2, "abort")]]],
            [None, "2"],
            [["frame", 1], ["frame", 2], ["reset", None], ["frame", 1], ["frame", 2], ["end", None]],
            id="a resync forgets everything",
        ),
        pytest.param(
            [[200, [QUICK, piece(1)]], [200, [piece(1), piece(2, "stopGeneration")]]],
            [None, "1"],
            [["frame", 1], ["frame", 2], ["end", None]],
            id="a frame that comes again is not heard again",
        ),
        pytest.param([[204, None]], [None], [["end", None]], id="an ended run with nothing more"),
        pytest.param([[404, ["{}"]]], [None], [["gone", None]], id="a deleted run"),
        pytest.param(
            [[403, ['{"error": {"code": "foreign_origin", "message": "no"}}']]],
            [None],
            [["fault", "foreign_origin"]],
            id="a refusal",
        ),
    ],
)
def test_the_supervisor_follows_a_run_to_its_end(module_tab: Tab, answers: Any, cursors: Any, heard: Any) -> None:
    result = run(module_tab, "stream", FOLLOW, answers)
    assert [cursor for cursor, _at in result["asked"]] == cursors
    assert result["heard"] == heard


def test_the_supervisor_stays_away_as_long_as_it_is_asked_to(module_tab: Tab) -> None:
    answers = [[200, [QUICK]], [503, ["full"], {"Retry-After": "1"}], [204, None]]
    asked = run(module_tab, "stream", FOLLOW, answers)["asked"]
    assert asked[2][1] - asked[1][1] >= 1000


def test_a_person_who_comes_back_does_not_wait_for_the_next_attempt(module_tab: Tab) -> None:
    wake = """
        await new Promise((resolve) => setTimeout(resolve, 200));
        dispatchEvent(new Event('online'));
        await over; window.fetch = real; return { asked, heard };
    """
    answers = [[200, [QUICK]], [503, ["full"], {"Retry-After": "30"}], [204, None]]
    asked = run(module_tab, "stream", FETCH + wake, answers)["asked"]
    assert asked[2][1] - asked[1][1] < 5000


POLL = """
    const { network } = await import('/static/js/stream/network.js');
    const asked = [], heard = [], real = window.fetch;
    window.fetch = async (path, options) => {
        if (!path.startsWith('api/runs/run/')) return real(path, options); // the page's own
        asked.push(path.split('?')[1]);
        const [status, body] = a[asked.length - 1] ?? [204, null];
        if (status === 0) throw new TypeError('no network');
        return body ? Response.json(body, { status }) : new Response(null, { status });
    };
    network.held = true;
    const stream = new m.RunStream('run');
    for (const name of ['frame', 'reset', 'end', 'gone'])
        stream.addEventListener(name, ({ detail }) => heard.push([name, detail.seq ?? null]));
    await new Promise((resolve) => {
        for (const name of ['end', 'gone']) stream.addEventListener(name, resolve);
        stream.follow();
    });
    network.held = false;
    window.fetch = real;
    return { asked, heard };
"""


def pieces(*frames: tuple[int, str], ended: bool = False) -> dict[str, Any]:
    return {"frames": [{"id": seq, "data": {"type": kind}} for seq, kind in frames], "ended": ended}


@pytest.mark.parametrize(
    ("answers", "asked", "heard"),
    [
        pytest.param(
            [[200, pieces((1, "stepStarted"))], [0, None], [200, pieces((1, "x"), (2, "abort"), ended=True)]],
            ["wait=25&after=0", "wait=25&after=1", "wait=1&after=1"],
            [["frame", 1], ["frame", 2], ["end", None]],
            id="from the cursor, and soon after a trouble",
        ),
        pytest.param(
            [
                [200, pieces((1, "stepStarted"))],
                [200, {"frames": [{"data": {"type": "resync"}}, {"id": 1, "data": {"type": "x"}}], "ended": True}],
            ],
            ["wait=25&after=0", "wait=25&after=1"],
            [["frame", 1], ["reset", None], ["frame", 1], ["end", None]],
            id="a resync forgets everything, and an end without its frame is one",
        ),
        pytest.param([[404, {}]], ["wait=25&after=0"], [["gone", None]], id="a deleted run"),
    ],
)
def test_where_streams_are_held_back_pieces_are_asked_for(
    module_tab: Tab, answers: Any, asked: Any, heard: Any
) -> None:
    assert run(module_tab, "stream", POLL, answers) == {"asked": asked, "heard": heard}


@pytest.mark.parametrize(("heartbeat", "seconds"), [(None, 40), ("15", 40), ("60", 130), ("0.5", 11)])
def test_a_connection_that_missed_two_heartbeats_is_opened_again(
    browser: Browser, server: Server, heartbeat: str | None, seconds: int
) -> None:
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.clock.install()
    tab = Tab(server, page).open()
    page.evaluate(
        "async (a) => { const m = await import('/static/js/stream/stream.js'); "
        + FETCH
        + "window.asked = asked; window.over = over.then(() => { window.fetch = real; return asked.length; }); }",
        [[200, [QUICK, piece(1), "hold"], {"X-Heartbeat": heartbeat} if heartbeat else {}], [200, [piece(2, "abort")]]],
    )
    page.wait_for_function("asked.length === 1")
    page.clock.run_for((seconds - 1) * 1000)
    assert page.evaluate("asked.length") == 1
    page.clock.run_for(15_000)  # it looks every few seconds, and waits before it asks again
    assert page.evaluate("window.over") == 2
    context.close()
    tab.check()


# -- Markdown ----------------------------------------------------------------------------------------------------------

DOCUMENT = """\
# A title

A paragraph with **bold**, *emphasis*, `code` and a [link](https://example.org/a_b),
and a second line
#no heading

1. one

   still one

2. two
   - inner
   - inner

     deep

Setext
---

- a
- b

para
- list after a paragraph

> quote
lazy line

| a | b |
|---|:-:|
| 1 | 2 |

```py
def f():

    return "``"
```

    indented

~~~
open to the end

- not a list
[ref] text
"""
HTML = "const show = (node) => node.innerHTML.replace(/\\n+/g, '\\n');"


@pytest.mark.parametrize("step", [1, 2, 7, 50])
def test_a_text_that_grew_looks_like_one_that_was_there_at_once(module_tab: Tab, step: int) -> None:
    compare = (
        HTML
        + """
        const grown = document.createElement('div'), whole = document.createElement('div');
        const growing = new m.GrowingMarkdown(grown);
        const wrong = [];
        for (let end = 0; end <= a.text.length + a.step; end += a.step) {
            const text = a.text.slice(0, end);
            growing.update(text);
            whole.replaceChildren(m.render(text));
            const [one, other] = [grown, whole].map((node) => show(node).trim());
            if (one !== other) wrong.push([end, one.slice(-200), other.slice(-200)]);
        }
        return wrong;
    """
    )
    assert run(module_tab, "markdown", compare, {"text": DOCUMENT, "step": step}) == []


def test_a_reference_that_is_defined_at_the_end_is_a_link_when_the_text_is_whole(module_tab: Tab) -> None:
    grow = """
        const node = document.createElement('div'), growing = new m.GrowingMarkdown(node);
        for (let end = 0; end <= a.length; end += 1) growing.update(a.slice(0, end));
        growing.update(a, true);
        return node.querySelector('a')?.href ?? null;
    """
    text = "See [the page].\n\nMore.\n\nAnd more.\n\n[the page]: https://example.org/\n"
    assert run(module_tab, "markdown", grow, text) == "https://example.org/"


def test_blocks_that_are_done_are_not_drawn_again(module_tab: Tab) -> None:
    grow = """
        const node = document.createElement('div');
        let drawn = 0;
        const growing = new m.GrowingMarkdown(node, (fragment) => (drawn += fragment.children.length));
        const paragraph = 'Some words of an answer, as long as a line is.\\n\\n';
        let text = paragraph.repeat(3), first = null;
        growing.update(text);
        first = node.firstElementChild;
        for (let n = 0; n < 2000; n += 1) growing.update((text += n % 10 ? ' word' : '\\n\\nNext '));
        return { drawn, same: node.firstElementChild === first, count: node.childElementCount };
    """
    result = run(module_tab, "markdown", grow)
    assert result["same"]
    assert result["count"] > 200
    assert result["drawn"] < 3 * 2000  # about one a step, however long the text has become


def test_a_code_block_that_grows_keeps_its_nodes(module_tab: Tab) -> None:
    grow = """
        const node = document.createElement('div'), growing = new m.GrowingMarkdown(node);
        growing.update('Intro.\\n\\n```py\\nx = 1\\n');
        const code = node.querySelector('code');
        growing.update('Intro.\\n\\n```py\\nx = 1\\ny = "<b>"\\n');
        return [node.querySelector('code') === code, code.textContent];
    """
    assert run(module_tab, "markdown", grow) == [True, 'x = 1\ny = "<b>"\n']
