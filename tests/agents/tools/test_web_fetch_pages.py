"""Claims about how pages become text: what is kept, in which letters, and in which process."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from resiliparse.parse.html import HTMLTree
from web_fetch_rig import Web, opened, page

from deechat.agents.tools import ToolError
from deechat.agents.tools.web.page import MOST_LINKS, READER, Page, read_page
from deechat.agents.tools.web.reader import MOST_NODES, MOST_TEXT, described, encoding_of, linked
from deechat.net.checked import Allowance

HERE = "http://example.com/a/b"


@pytest.fixture
def web() -> Iterator[Web]:
    yield from opened()


def read(html: str | bytes, *, is_html: bool = True, seconds: float = 20, command: Sequence[str] = READER) -> Page:
    body = html if isinstance(html, bytes) else html.encode()
    allowance = Allowance(seconds)
    return read_page(body, is_html=is_html, charset="", url=HERE, allowance=allowance, command=command)


def children() -> list[str]:
    return Path(f"/proc/self/task/{Path('/proc/thread-self').resolve().name}/children").read_text().split()


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_main_content_is_kept_and_what_surrounds_it_is_not() -> None:
    words = "Bees dance to tell each other where the flowers are. " * 12
    found = read(
        "<title>Bees</title><nav><ul><li><a href=/home>Home</a><li>Menu</ul></nav>"
        "<div class=cookie-banner>cookies</div>"
        f"<main><article><h1>The dance</h1><p>{words}<p>{words}"
        "<script>evil()</script><style>p{}</style></article></main>"
        "<aside class=sidebar>Buy now</aside><footer>Imprint</footer>"
    )
    assert found.title == "Bees"
    assert found.text.startswith("The dance\n\nBees dance")
    assert found.length == len(found.text)
    for other in ("Menu", "cookies", "evil", "p{", "Buy now", "Imprint"):
        assert other not in found.text


@pytest.mark.parametrize(
    "html",
    [
        *("<nav>Only words here</nav>", "<footer>Only words here</footer>", "<div class=sidebar>Only words here</div>"),
        *("Only words here", "<ul><li>Only words here</ul>", "<body>Only words here", "</p></div>Only words here<p"),
        *("<table><tr><td>Only words here", "<p>Only <b><i>words</b> here</i>", "<form><input>Only words here"),
        *("<html><head></html>Only words here<!-- <p>", "<div>" * 300 + "Only words here", "<p>Only words here\0</p>"),
    ],
)
def test_a_page_without_main_content_or_order_still_gives_its_text(html: str) -> None:
    assert "Only words here" in " ".join(read(html).text.split())


@pytest.mark.parametrize(
    "html", ["", "\0", "<", "<script>x</script>", "<!DOCTYPE html><html></html>", "<frameset></frameset>x"]
)
def test_a_page_without_text_says_so(web: Web, html: str) -> None:
    web.site(page(html))
    assert "no text on this page" in web.fetch() or html == "<"


def test_links_are_absolute_http_once_each_and_the_main_contents_first() -> None:
    html = (
        "<nav><a href='/nav'>Nav</a></nav><main><a href='c'> To\n c </a><a href='c#again'>c again</a></main>"
        "<a href='#here'>top</a><a href='b#x'>self</a><a href='//other.example/y'>y</a><a href='https://s.example'></a>"
        "<a href='javascript:alert(1)'>j</a><a href='mailto:a@b'>m</a><a href='data:,x'>d</a><a href='ftp://f/'>f</a>"
        "<a href='http://[bad'>bad</a><a href='/ü ö)\"<>'>u</a><a href='\tja\nvascript:x'>t</a><a>n</a>"
    )
    assert read(html).links == [
        ("To c", "http://example.com/a/c"),
        ("Nav", "http://example.com/nav"),
        ("y", "http://other.example/y"),
        ("", "https://s.example"),
        ("u", "http://example.com/ü%20ö)%22%3C%3E"),
    ]
    assert read("<base href='//cdn.example/d/'><a href='e'>e</a>").links == [("e", "http://cdn.example/d/e")]


def test_many_links_and_long_texts_are_bounded_and_the_links_are_not_cut_off(web: Web) -> None:
    links = "".join(f"<a href='/{number}/{'x' * (number % 120)}'>{'ü' * number}</a> " for number in range(1000))
    web.site(page(f"<title>{'ö' * 5000}</title><p>{'Wörter 😀 ' * 50_000}</p>{links}"))
    text = web.fetch(f"http://example.com/{'a' * 3_900}")
    assert len(text.encode()) < 16_000
    assert "more characters of this page are left out.]" in text
    shown = text.partition("\n\nLinks:\n")[2].splitlines()
    assert 20 < len(shown) <= MOST_LINKS
    assert all(line.startswith("- [") and line.endswith(")") for line in shown)


@pytest.mark.parametrize(
    "links",
    [
        "".join(f"<p><a href='/{number}'>Link</a> words</p>" for number in range(40_000)),
        "<p><a href='/same'>Link</a> words</p>" * 40_000,
    ],
    ids=["each another", "all the same"],
)
def test_a_page_of_links_takes_a_fraction_of_the_processor_time_that_a_reader_has(links: str) -> None:
    body = f"<main>{links}</main>".encode()
    question = {"url": HERE, "is_html": True, "charset": "", "size": len(body), "seconds": 8}  # of the processor
    asked = json.dumps(question).encode() + b"\n" + body
    ran = subprocess.run(READER, input=asked, capture_output=True, timeout=300, check=False)
    assert ran.returncode == 0, "it was killed at its limit"
    assert len(json.loads(ran.stdout)["links"]) in {1, 200}


@pytest.mark.parametrize(
    "shape",
    [
        *("<nav><a href='/{}'>x</a></nav>", "<main><a href='/same'>{}</a></main>", "<h2>{}</h2>", "<ul><li>{}"),
        *(
            "<table><tr><td>{}</table>",
            "<div>{}",
            "<article><a href>{}",
            "<!-- {} -->",
            "<p>{}<br>",
            "<script>{}</script>",
        ),
        *("<table><td><a href={}>x", "<base href=/{}>", "<b>{}<p>"),
    ],
)
def test_a_page_of_twice_the_length_takes_twice_the_work(shape: str) -> None:
    def work(length: int) -> int:
        tree = HTMLTree.parse("".join(shape.format(number) for number in range(length)))
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        sys.setprofile(count)
        try:
            list(linked(tree, HERE))
        finally:
            sys.setprofile(None)
        return calls

    assert work(1000) < 2.2 * work(500)


def test_a_page_without_end_is_looked_through_for_links_up_to_a_bound() -> None:
    tree = HTMLTree.parse("<br>" * MOST_NODES + "<a href=/late>Late</a>")
    assert list(linked(tree, HERE)) == []
    assert list(linked(HTMLTree.parse("<br>" * 1000 + "<a href=/early>Early</a>"), HERE)) != []


def test_what_nested_lists_grow_to_is_counted_but_not_cleaned() -> None:
    found = read("<main>" + "<ul><li>x" * 4_000, seconds=20)
    assert len(found.text) <= MOST_TEXT
    assert found.length > 1_000_000


def test_long_plain_text_is_cut_and_says_how_much_is_left_out(web: Web) -> None:
    web.site(page("1234567890" * 100_000, "text/plain"))
    text = web.fetch()
    assert text.endswith("1234567890\n\n[988,000 more characters of this page are left out.]")


# -- letters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("ü 中文".encode(), "", "ü 中文"),
        ("ü".encode("latin-1"), "iso-8859-1", "ü"),
        (b"\x80 \x93x\x94", "ISO-8859-1", "€ “x”"),
        ("中文".encode("gbk"), "GB2312", "中文"),
        ("中文".encode("big5"), "Big5", "中文"),
        ("日本".encode("cp932"), "Shift_JIS", "日本"),
        ("日本".encode("iso2022_jp"), "iso-2022-jp", "日本"),
        ("한국".encode("euc_kr"), "euc-kr", "한국"),
        ("мир".encode("koi8_r"), "KOI8-R", "мир"),
        ("мир".encode("cp1251"), "windows-1251", "мир"),
        (b"\xef\xbb\xbf" + "ü".encode(), "latin1", "ü"),
        (b"\xff\xfe" + "ü".encode("utf-16-le"), "utf-8", "ü"),
        (b"\xfe\xff" + "ü".encode("utf-16-be"), "", "ü"),
        (b"\xfc x", "", "\ufffd x"),
        (b"\xed\xa0\x80 x", "utf-8", "\ufffd\ufffd\ufffd x"),
        (b"\x00\xd8x\x00", "utf-16le", "\ufffdx"),
        ("<meta charset=gbk>中".encode("gbk"), "", "<meta charset=gbk>中"),
        ("<META content='x; charset=koi8-r'>м".encode("koi8_r"), "", "<META content='x; charset=koi8-r'>м"),
        ("<meta charset=gbk>ü".encode(), "utf-8", "<meta charset=gbk>ü"),
        ("<meta charset=utf-16>ü".encode(), "", "<meta charset=utf-16>ü"),
        ("<?xml encoding='windows-1251'?>м".encode("cp1251"), "", "<?xml encoding='windows-1251'?>м"),
        *[("ü".encode(), name, "ü") for name in ("unknown", "punycode", "unicode_escape", "idna", "zlib", "../x")],
    ],
)  # fmt: skip
def test_letters_come_out_as_the_header_the_mark_or_the_page_says(body: bytes, charset: str, text: str) -> None:
    encoding, mark = encoding_of(body, charset, is_html=True)
    assert body[mark:].decode(encoding, "replace") == text


def test_no_lone_surrogate_and_no_control_character_comes_out(web: Web) -> None:
    web.site(
        page(
            "<title>&#xd800;a\x1b[31m</title><p>&#xdfff;b\x00\x07&#x80;&#0;\x85 c<a href='/\ud800'>d</a>".encode(
                "utf-8", "surrogatepass"
            )
        )
    )
    text = web.fetch()
    text.encode()
    assert not any(ord(letter) < 32 and letter != "\n" for letter in text)
    assert "a" in text


@pytest.mark.parametrize(
    "charset", ["KOI8-R", "utf-8", "gb2312", "Shift_JIS", "windows-1251", "iso-2022-jp", "utf-16le"]
)
def test_the_charset_of_the_header_reaches_the_reader(web: Web, charset: str) -> None:
    web.site(page("<p>мир".encode(charset), f'text/html; charset="{charset}"'))
    assert web.fetch().endswith("\n\nмир")


# -- the process -------------------------------------------------------------------------------------------------------


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "import os, sys; sys.stdin.buffer.read(); os.kill(os.getpid(), 11)",
        "raise SystemExit(1)",
        "pass",
        "import sys; sys.stdin.buffer.read(); print('no JSON')",
        "import sys; sys.stdin.buffer.read(); print('{}')",
        "import sys; sys.stdin.buffer.read(); print('[]')",
        'import sys; sys.stdin.buffer.read(); print(\'{"title": 1, "text": "", "length": 0, "links": []}\')',
        "import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write(b'\\xff\\xfe')",
        "import sys; sys.stdin.buffer.read(); sys.stdout.write('x' * 50_000_000)",
    ],
)
def test_a_reader_that_crashes_or_babbles_is_an_error_in_words(web: Web, code: str) -> None:
    web.site(page("<p>x" * 100_000))
    assert "could not be read" in web.refusal(read=partial(read_page, command=child(code)))
    assert children() == []


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(600)", "while True: pass", "import sys; sys.stdin.buffer.read()\nwhile 1: pass"]
)
def test_a_reader_that_is_late_is_killed_at_the_deadline(web: Web, code: str) -> None:
    web.site(page("<p>x" * 400_000))
    assert "within 0.6 seconds" in web.refusal(read=partial(read_page, command=child(code)), seconds=0.6)
    assert children() == []


def test_a_reader_that_is_not_there_is_an_error_in_words() -> None:
    with pytest.raises(ToolError, match="could not be read"):
        read("x", command=("/nowhere/python",))


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 400_000,
        "<b>" * 300_000,
        "<p " + " ".join(f"a{number}" for number in range(200_000)) + ">",
        "<a><b><i><u>" * 99_000,
    ],
    ids=["deep", "bold", "attributes", "adoption"],
)
def test_a_page_that_takes_the_parser_for_ever_ends_at_the_deadline(html: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with contextlib.suppress(TimeoutError, ToolError):
        read(html[:2_000_000], seconds=1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 2.5  # of the processor, which no load makes longer
    assert children() == []


def test_the_reader_has_given_up_files_processes_and_memory_before_it_reads() -> None:
    code = """
import os, resource, runpy, socket, subprocess, sys
module = runpy.run_path(sys.argv[1])
module["confine"](7)
def refused(act):
    try:
        act()
    except (OSError, MemoryError):
        return True
    return False
print([
    refused(lambda: open("/etc/passwd")), refused(lambda: open("/tmp/x", "w")), refused(socket.socket),
    refused(lambda: bytearray(1 << 30)),
    resource.getrlimit(resource.RLIMIT_CPU)[0],
    resource.getrlimit(resource.RLIMIT_CORE)[0],
])
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, READER[-1]], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.stdout.strip() == "[True, True, True, True, 7, 0]", ran.stderr


def test_a_reader_whose_asker_is_gone_ends_without_an_answer() -> None:
    question = json.dumps({"url": HERE, "is_html": True, "charset": "", "size": 100, "seconds": 5}).encode() + b"\n<p>x"
    ran = subprocess.run(READER, input=question, capture_output=True, timeout=30, check=False)
    assert (ran.stdout, ran.returncode) == (b"", 0)


def test_a_reader_that_lies_cannot_bring_in_more_than_a_page(web: Web) -> None:
    web.site(page("<p>x"))
    lie = Page(
        "t" * 99_999, "x\ud800" * 99_999, -5, [("l", "javascript:x"), ("m" * 9999, "http://x"), ("ok", "http://y")]
    )
    text = web.fetch(read=lambda *_, **__: lie)
    assert len(text.encode()) < 16_000
    assert text.endswith("Links:\n- [ok](http://y)")


def test_what_the_reader_gives_is_what_it_says_it_gives() -> None:
    given = described(b"<title>T</title><p>x<a href='/y'>y</a>", True, "utf-8", HERE)
    assert given == {"title": "T", "text": "xy", "length": 2, "links": [["y", "http://example.com/y"]]}


CANCEL = """
from gevent import monkey; monkey.patch_all()
import gc, glob, os, sys, time, gevent, socket
sys.path.insert(0, sys.argv[1])
from functools import partial
from web_fetch_rig import Web, page
from deechat.errors import Cancelled
from deechat.agents.tools.web.page import read_page
from deechat.agents.tools.web.web_fetch import Fetcher

def slow(connection, head):
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\n\\r\\n")
    gevent.sleep(0.03)
    connection.sendall(b"<p>x")

def children():
    return open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()

web = Web()
web.site(slow)
sleeper = (sys.executable, "-I", "-c", "import sys, time; sys.stdin.readline() and time.sleep(60)")
fetcher = web.fetcher(read=partial(read_page, command=sleeper), seconds=20)
ended, seen = [], 0

def run():
    try:
        fetcher.fetch("http://example.com/")
    except Cancelled:
        ended.append(1)

def descriptors():
    return [os.readlink(each) for each in glob.glob("/proc/self/fd/*") if os.path.islink(each)]

def count():
    gc.collect()
    return len([each for each in descriptors() if "socket" in each or "pipe" in each])

first = gevent.spawn(run); gevent.sleep(0.3); assert children(); first.kill(Cancelled()); gevent.sleep(0.1)
before = count()
for step in range(60):
    greenlets = [gevent.spawn(run) for _ in range(2)]
    gevent.sleep(step * 0.002)
    while step >= 40 and not children():
        gevent.sleep(0.01)
    seen += bool(children())
    gevent.killall(greenlets, Cancelled(), block=True, timeout=5)
deadline = time.monotonic() + 5
while children() and time.monotonic() < deadline:
    gevent.sleep(0.05)
print(children(), count() - before, seen > 10, len(ended) > 100)
reader = web.fetcher()
print(reader.fetch("http://example.com/").replace("\\n", " "), flush=True)  # os._exit writes nothing out
os._exit(0)
"""


def test_a_cancel_at_any_moment_leaves_no_process_and_no_socket() -> None:
    command = [sys.executable, "-c", CANCEL, str(Path(__file__).parents[2] / "support")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines() == ["[] 0 True True", "http://example.com/  x"], ran.stdout + ran.stderr
