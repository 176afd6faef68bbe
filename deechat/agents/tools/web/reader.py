"""Makes readable text of a page's bytes: a program of its own, since the server's process should parse no such bytes.

Its standard input is a line of JSON (`url`, `is_html`, `charset`, `size`, `seconds`) and then `size` bytes; its
standard output is one JSON object, as `described` gives it. It is run by its path and imports nothing of ours, so that
it starts at once. Before it parses anything it gives up all that it does not need: time, memory, files, processes.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree, Node

MEMORY = 512 * 1024 * 1024
MOST_TEXT = 40_000  # characters that are handed on
MOST_CLEANED = 400_000  # characters of a page that are cleaned: indents of nested lists make the square of its length
MOST_PLAIN = 160_000  # bytes that are decoded where the text is taken as it comes
MOST_LINKS = 200  # that are handed on
LONGEST_LINK = 1_000
LONGEST_LABEL = 100
MOST_NODES = 200_000  # of a page that are looked through for links: about a second
LEAST_TEXT = 200  # characters of main content; with fewer the whole body is taken

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([a-zA-Z0-9_.:-]{1,40})", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Labels as the web uses them, their letters and digits alone, to the encodings that browsers take for them. Only these:
# among Python's other codecs are some that take a minute for a page or make lone surrogates.
_ENCODINGS = {
    **dict.fromkeys(("utf8", "unicode11utf8", "xunicode20utf8"), "utf-8"),
    **dict.fromkeys(("ascii", "usascii", "latin1", "l1", "iso88591", "windows1252", "cp1252", "ansi"), "cp1252"),
    **{f"{prefix}{number}": f"cp{number}" for prefix in ("windows", "cp", "xcp") for number in range(1250, 1259)},
    **{f"iso8859{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **dict.fromkeys(("iso88599", "latin5"), "cp1254"),
    **dict.fromkeys(("windows874", "tis620", "iso885911"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk", "xgbk", "gb18030", "cp936", "gb231280", "chinese"), "gb18030"),
    **dict.fromkeys(("big5", "big5hkscs", "xxbig5", "cnbig5", "cp950"), "big5hkscs"),
    **dict.fromkeys(("shiftjis", "sjis", "xsjis", "mskanji", "windows31j", "cp932"), "cp932"),
    **dict.fromkeys(("eucjp", "xeucjp"), "euc_jp"),
    **dict.fromkeys(("euckr", "ksc56011987", "ksc5601", "cp949", "windows949", "korean"), "cp949"),
    "latin2": "iso8859-2",
    "iso2022jp": "iso2022_jp",
    "macintosh": "mac_roman",
    "mac": "mac_roman",
    "koi8r": "koi8_r",
    "koi8": "koi8_r",
    "koi8u": "koi8_u",
    "cp866": "cp866",
    "ibm866": "cp866",
    "utf16": "utf-16-le",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "unicode": "utf-16-le",
}


def main() -> None:
    """Read the question, and answer. A question that is not whole, since its asker is gone, is not answered."""
    question = json.loads(sys.stdin.buffer.readline(64_000) or "{}")
    body = sys.stdin.buffer.read(question.get("size", 0))
    if not question or len(body) < question["size"]:
        return
    encoding, mark = encoding_of(body, question["charset"], is_html=question["is_html"])
    codecs.lookup(encoding)  # a module of Python's, which cannot be opened any more once this is confined
    confine(question["seconds"])
    page = described(body[mark:], question["is_html"], encoding, question["url"])
    sys.stdout.buffer.write(json.dumps(page).encode())
    sys.stdout.buffer.flush()


def confine(seconds: int) -> None:
    """Give up, for good, further files, processes, core dumps, and more time and memory than a page takes."""
    os.nice(5)
    os.closerange(3, 4096)
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 3,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # some systems do not know all of them
            resource.setrlimit(limit, (most, most))


def described(body: bytes, is_html: bool, encoding: str, url: str) -> dict[str, Any]:
    """Return `title`, `text`, `length` (of the whole text, in characters) and `links`, pairs of label and URL.

    Bytes that do not fit the encoding become U+FFFD.
    """
    if not is_html:
        text = clean(body[:MOST_PLAIN].decode(encoding, "replace"))
        # The part that was not decoded is counted by its bytes.
        return {"title": "", "text": text[:MOST_TEXT], "length": len(text) + len(body[MOST_PLAIN:]), "links": []}
    tree = HTMLTree.parse(body.decode(encoding, "replace"))
    raw = readable(tree)
    text, rest = clean(raw[:MOST_CLEANED]), len(raw) - min(len(raw), MOST_CLEANED)
    links = [list(link) for link in linked(tree, url)]
    return {
        "title": one_line(tree.title or "", 300),
        "text": text[:MOST_TEXT],
        "length": len(text) + rest,
        "links": links,
    }


def readable(tree: HTMLTree) -> str:
    """Return the main content; where there is next to none, all of the body's text."""
    text = extract_plain_text(tree, main_content=True, alt_texts=False)
    return text if len(text) >= LEAST_TEXT else extract_plain_text(tree, main_content=False, alt_texts=False)


def linked(tree: HTMLTree, url: str) -> Iterator[tuple[str, str]]:
    """Yield the links to other pages, each once, those of the main content first."""
    seen = {urldefrag(url).url}
    base = _base(tree, url)
    for anchor in _anchors(tree):
        target = _absolute(base, anchor.getattr("href") or "")
        if target and urldefrag(target).url not in seen:
            seen.add(urldefrag(target).url)
            yield one_line(_label(anchor), LONGEST_LABEL), target
            if len(seen) > MOST_LINKS:
                return


def _anchors(tree: HTMLTree) -> Iterator[ElementNode]:
    """Yield the elements `a` with a `href`: those of the main content as they come, then the others.

    The tree is gone through node by node: to get the n-th element that a selector found takes as long as to find them
    all, so that their list takes the square of its length.
    """
    others = []
    for node, is_main in itertools.islice(_nodes(tree), MOST_NODES):
        if isinstance(node, ElementNode) and node.tag == "a" and node.hasattr("href"):
            if is_main:
                yield node
            else:
                others.append(node)
    yield from others


def _nodes(tree: HTMLTree) -> Iterator[tuple[Node, bool]]:
    """Yield all nodes in the order of the page, and whether each is inside of main content."""
    node: Node | None = tree.document
    around = 0  # elements of main content that the node is in
    while node is not None:
        yield node, around > 0
        following = node.first_child
        around += following is not None and _is_main(node)
        while following is None:
            following = node.next
            if following is None:
                node = node.parent
                if node is None:
                    return
                around -= _is_main(node)
        node = following


def _is_main(node: Node) -> bool:
    return isinstance(node, ElementNode) and (node.tag in {"main", "article"} or node.getattr("role") == "main")


def _label(anchor: ElementNode) -> str:
    return anchor.text or anchor.getattr("aria-label") or anchor.getattr("title") or ""


def _base(tree: HTMLTree, url: str) -> str:
    element = tree.document.query_selector("base[href]") if tree.document else None
    return _absolute(url, element.getattr("href") or "") or url if element else url


def _absolute(base: str, href: str) -> str:
    """Return the http(s) URL that a link leads to, quoted where it has to be; '' where it is none."""
    try:
        url = urljoin(base, re.sub(r"[\t\r\n]", "", href).strip())
    except ValueError:
        return ""
    url = re.sub(r"[\s<>\"\\]", lambda found: "".join(f"%{each:02X}" for each in found[0].encode()), url)
    return url if re.match(r"https?://[^/?#]", url, re.IGNORECASE) and len(url) <= LONGEST_LINK else ""


def encoding_of(body: bytes, charset: str, *, is_html: bool) -> tuple[str, int]:
    """Return the encoding by the byte order mark, the header or the page itself, and the mark's length."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return encoding, len(mark)
    return _known(charset) or (_declared(body[:2048]) if is_html or body[:5] == b"<?xml" else "") or "utf-8", 0


def _declared(head: bytes) -> str:
    found = _META.search(head) or _XML.search(head)
    encoding = _known(found[1].decode()) if found else ""
    # A page whose declaration could be read as ASCII is not in UTF-16.
    return "utf-8" if encoding.startswith("utf-16") else encoding


def _known(label: str) -> str:
    return _ENCODINGS.get(re.sub(r"[^a-z0-9]", "", label.lower()[:40]), "")


def clean(text: str) -> str:
    """Return the text without control characters, and without more than one empty line in a row."""
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n[ \t]*\n(?:[ \t]*\n)+", "\n\n", text).strip()


def one_line(text: str, longest: int) -> str:
    line = " ".join(_CONTROLS.sub(" ", text[: longest * 20]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


if __name__ == "__main__":
    main()
