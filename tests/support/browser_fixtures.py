"""Fixtures of the browser tests; a test module takes them with `pytest_plugins = ["browser_fixtures"]`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import playwright
import pytest
from browser_support import PATIENCE, OpenTab, Tab, artifact
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from server import Server

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
expect.set_options(timeout=PATIENCE)  # a busy machine starts a server slowly

NAMES = ("chromium", "chromium-browser", "google-chrome")


LEFT_OUT = "The tests of the page in a browser were left out"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remembers that a test failed, so that its tabs leave a picture; all that need a browser are skipped at one place.

    pytest's summary has a line for each place, and one is enough for what is missing once.
    """
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed  # type: ignore[attr-defined]
    if report.skipped and isinstance(report.longrepr, tuple) and LEFT_OUT in report.longrepr[2]:
        report.longrepr = (__file__, 1, report.longrepr[2])
    return report


def _driver_lacks() -> str | None:
    """Says what keeps Playwright's own node from starting, such as a library of the system; None when it starts."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    if not node.exists():
        return None
    ran = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return ran.stderr.strip() if ran.returncode else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium, without a window."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if missing := "Chromium is not on the PATH" if path is None else _driver_lacks():
        pytest.skip(f"{LEFT_OUT}: {missing}; see scripts/programs.sh.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_tab(browser: Browser, request: pytest.FixtureRequest, serve: object) -> Iterator[OpenTab]:
    """Opens tabs: `open_tab(server, locale="zh-CN")`; `beside=tab` opens it in the same browser, with its cookies.

    It names `serve` so that tabs are closed before the servers of a test are: a page may still be asking something.
    """
    tabs: list[Tab] = []
    contexts: list[BrowserContext] = []

    def open_tab(server: Server, beside: Tab | None = None, **options: Any) -> Tab:
        if beside is None:
            contexts.append(browser.new_context(**{"locale": "en-US", **options}))
        tab = Tab(server, beside.page.context.new_page() if beside else contexts[-1].new_page())
        tabs.append(tab)
        return tab

    yield open_tab
    failed = getattr(request.node, "failed", False)
    for number, tab in enumerate(tabs):
        if failed and not tab.page.is_closed():
            tab.page.screenshot(path=artifact(f"{request.node.name}-{number}.png"))
    for context in contexts:
        context.close()
    for tab in tabs:
        tab.check()


@pytest.fixture(scope="module")
def module_tab(browser: Browser, server: Server) -> Iterator[Tab]:
    """One tab for all tests of a module that leave nothing behind in it."""
    context = browser.new_context(locale="en-US")
    tab = Tab(server, context.new_page()).open()
    yield tab
    context.close()
    tab.check()
