"""Chromium for the tests: tabs that watch themselves.

A tab notes every console error, every uncaught exception and every request to a host other than the server's; a test in
which one of them happened fails, unless it said before that it expects them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect
from server import Server

PATIENCE = 15_000  # milliseconds
STATIC = Path(__file__).parents[2] / "deechat" / "static"

# Chromium without a window never hides a tab, so the page is told so.
HIDING = """
    let hidden = false;
    Object.defineProperty(document, "visibilityState", { get: () => (hidden ? "hidden" : "visible") });
    Object.defineProperty(document, "hidden", { get: () => hidden });
    window.hide = (value) => { hidden = value; document.dispatchEvent(new Event("visibilitychange")); };
"""


class Tab:
    """One tab on a server's page, with the words of a person for what can be done there."""

    def __init__(self, server: Server, page: Page) -> None:
        self.server = server
        self.page = page
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.posts: list[Request] = []
        self._expected: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("request", self._requested)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != urlsplit(self.server.url).netloc:
            self.foreign.append(request.url)
        if request.method == "POST":
            self.posts.append(request)

    def expect_errors(self, pattern: str) -> None:
        """Says that console errors with this pattern are part of the test."""
        self._expected.append(pattern)

    def check(self) -> None:
        """Claims that nothing went wrong that was not expected, and that no other host was asked."""
        wrong = [each for each in self.errors if not any(re.search(pattern, each) for pattern in self._expected)]
        assert not wrong, f"errors in the browser: {wrong}"
        assert not self.foreign, f"requests to other hosts: {self.foreign}"

    # -- what a person does --------------------------------------------------------------------------------------------

    def open(self, path: str = "/") -> Tab:
        self.page.goto(self.server.url + path)
        return self

    def send(self, text: str) -> None:
        self.field.fill(text)
        self.field.press("Enter")

    def ask(self, text: str) -> Tab:
        """Sends and waits until the answer is there."""
        before = self.answers.count()
        self.send(text)
        expect(self.answers).to_have_count(before + 1)
        return self.wait_done()

    def wait_done(self) -> Tab:
        """Waits until no answer is being made and the last one shows its time, which comes last of all."""
        expect(self.page.locator("dee-answer[live]")).to_have_count(0)
        expect(self.answers.last.locator(".facts")).to_have_text(re.compile(r"\d ?(s|ms|秒|毫秒)$"))
        return self

    def come_back(self) -> None:
        """What the browser says when a person comes to this tab from another one."""
        self.page.wait_for_timeout(1100)  # looks for news are at least a second apart
        self.page.evaluate("dispatchEvent(new Event('focus'))")

    def beside(self, other: Tab) -> Tab:
        """Goes to where another tab is."""
        self.page.goto(other.page.url)
        return self

    def with_clock(self) -> Tab:
        """Makes `hide` and `later` work in what is opened from now on."""
        self.page.add_init_script(HIDING)
        self.page.clock.install()
        return self

    def hide(self, hidden: bool = True) -> None:
        """A person looks elsewhere, or comes back."""
        self.page.evaluate("value => hide(value)", hidden)

    def later(self, seconds: float) -> None:
        """Lets so much time pass in the page at once."""
        self.page.clock.fast_forward(round(seconds * 1000))

    # -- what a person sees --------------------------------------------------------------------------------------------

    @property
    def field(self) -> Locator:
        return self.page.get_by_role("textbox", name=re.compile("^(Message|消息)$"))

    @property
    def answers(self) -> Locator:
        return self.page.locator("dee-answer")

    @property
    def prompts(self) -> Locator:
        return self.page.locator(".bubble")

    @property
    def answer(self) -> Locator:
        return self.answers.last

    @property
    def card(self) -> Locator:
        """The request that waits for an answer."""
        return self.page.locator(".request:not(.done)")

    @property
    def done_card(self) -> Locator:
        """The requests that are over."""
        return self.page.locator(".request.done")

    @property
    def queued(self) -> Locator:
        return self.page.get_by_role("list", name="Queued messages").get_by_role("listitem")

    @property
    def threads(self) -> Locator:
        return self.page.locator(".threads li")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def thread(self) -> str:
        """The slug of the open thread."""
        return self.page.url.rsplit("/", 1)[-1]

    def picture(self) -> str:
        """The conversation as words, for comparing two looks at it."""
        return self.page.locator(".messages").inner_text()


def artifact(name: str) -> Path:
    """Gives a path for a picture that a person may want to look at."""
    folder = Path(__file__).parents[1] / ".artifacts"
    folder.mkdir(exist_ok=True)
    return folder / re.sub(r"[^\w.-]+", "_", name)


OpenTab = Callable[..., Tab]


def run(tab: Tab, module: str, script: str, argument: Any = None) -> Any:
    """Runs `script`, an async function's body, with the module as `m` and the argument as `a`.

    The module is named without its folder, since no two have the same name.
    """
    (path,) = (STATIC / "js").rglob(f"{module}.js")
    address = f"/static/{path.relative_to(STATIC).as_posix()}"
    return tab.page.evaluate(f"async (a) => {{ const m = await import('{address}'); {script} }}", argument)
