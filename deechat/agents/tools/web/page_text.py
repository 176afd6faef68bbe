"""A page as a model is given it: within bounds, whatever the page and its reader say. It fetches and parses nothing."""

from __future__ import annotations

from deechat.agents.tools.web.extraction import Page

MOST_BYTES = 15_500  # in all, but for the notes; the loop cuts at 16,000, which would take the links
MOST_TEXT = 12_000
MOST_TITLE = 600
MOST_LINK_TEXT = 3_000
MOST_LINKS = 40


def shown(page: Page, url: str, cut_at: str = "") -> str:
    """Writes a page for a model: title, URL, text, links. Nothing in it is longer than its share.

    `cut_at` says after how much the page was cut, where it was.
    """
    head = f"# {_cut(page.title, MOST_TITLE)}\n{url}" if page.title else url
    links = "\n".join(["Links:", *_links(page.links)])
    text = _cut(page.text, min(MOST_TEXT, MOST_BYTES - len((head + links).encode("utf-8", "replace"))))
    left_out = max(page.length, len(page.text)) - len(text)
    parts = [head, text or "(There is no text on this page. It may need scripts, which are not run.)"]
    if left_out > 0:
        parts.append(f"[{left_out:,} more characters of this page are left out.]")
    if cut_at:
        parts.append(f"[The page is longer than {cut_at}; only so much of it was read.]")
    if "\n" in links:
        parts.append(links)
    return "\n\n".join(parts)


def _links(links: list[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    room = MOST_LINK_TEXT
    for label, url in links:
        line = f"- [{label or url}]({url})"
        if len(lines) < MOST_LINKS and len(line.encode("utf-8", "replace")) < room and url.startswith("http"):
            lines.append(line)
            room -= len(line.encode("utf-8", "replace")) + 1
    return lines


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
