"""The page in a real Chromium: an answer looks the same live, stored, and stored by a version before."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from browser_support import OpenTab, Tab, run
from client import Client
from model_answers import reasoning, reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server, wait_until
from some_answers import answer_of, some_log

from deechat.agents.plugins.deechat import frame_of
from deechat.runs.answers import BESIDE_BYTES
from deechat.store.sqlite import checksums
from deechat.web.shapes import message_json

pytest_plugins = ["browser_fixtures"]


@pytest.fixture
def client(serve: Callable[..., Server], model: ModelServer, tmp_path: Path) -> Client:
    return Client(serve(model=model, app="tooled:app", HOOKS=str(tmp_path)))


@pytest.fixture
def tab(open_tab: OpenTab, client: Client) -> Tab:
    return open_tab(client.server).open()


SAME = """
    const { fromHistory } = await import('/static/js/thread/history.js');
    const shown = ({ parts, ending, metrics, sources, id, runId }) => ({
        ending, metrics, sources, id, runId,
        parts: parts.map(({ kind, name, text, state, summary, content, seconds, arguments: given, ...part }) => ({
            kind, name, text, state, summary, content, seconds, given, approved: part.approved ?? null,
            answers: part.answers ?? null, questions: part.questions, sources: part.sources, parts: part.parts,
            code: part.code, params: part.params,
        })),
    });
    const live = m.newMessage();
    for (const [seq, frame] of a.frames) m.fold(live, seq, frame);
    live.metrics ??= a.stored.metrics; // as the page does with those of a run that did not complete
    return [shown(live), shown(fromHistory(a.stored))];
"""


@pytest.mark.parametrize("seed", range(40))
def test_a_stored_answer_has_the_parts_that_its_frames_fold_to(module_tab: Tab, seed: int) -> None:
    entries = some_log(random.Random(seed))
    given = {
        "frames": [[entry.seq, frame_of(entry, "m")] for entry in entries],
        "stored": message_json(answer_of(entries)),
    }
    live, stored = run(module_tab, "transcript", SAME, json.loads(json.dumps(given)))
    assert stored["parts"] == live["parts"]
    assert stored == live


def logs_read(tab: Tab) -> list[str]:
    """Notes from now on which logs the page asks for."""
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    return asked


def open_all(tab: Tab) -> str:
    """Opens every card and every thought, and gives all words."""
    for summary in tab.answer.locator("summary").all():
        summary.click()
    return tab.picture()


def as_before(client: Client) -> None:
    """Leaves all messages as a version without parts wrote them."""
    with closing(sqlite3.connect(client.server.database)) as connection, connection:
        for message, details in connection.execute("SELECT id, details FROM message").fetchall():
            kept = {name: value for name, value in json.loads(details).items() if name != "parts"}
            checksums.change(connection, "message", message, details=json.dumps(kept))


def test_an_answer_with_everything_looks_the_same_after_a_reload_and_asks_for_no_log(
    tab: Tab, client: Client, model: ModelServer, tmp_path: Path
) -> None:
    client.post("/api/workspace/default/update", {"tools": {"look": "ask"}})
    question = {"questions": [{"question": "Which way?"}]}
    model.script(
        reply(reasoning("Let me think. "), text("First I walk. "), tool_calls(("walk", {}))),
        reply(text("Then I look."), tool_calls(("look", {"at": "the map"}), ("ask_user", question))),
        reply(reasoning("What was it? "), text("Half a "), model.gate()),
        reply(reasoning("Nearly there."), text("Home, in the **end**.")),
    )
    tab.expect_errors(r"net::ERR_")
    tab.send("Go home")
    expect(tab.page.locator("dee-tool .tool-progress")).to_have_text("Step 1 of 3")
    tab.field.fill("Mind the dog")
    tab.field.press("Enter")
    expect(tab.page.locator(".steered:not(.pending)")).to_contain_text("Mind the dog")
    (tmp_path / "go").touch()
    tab.button("Allow").click()
    tab.page.get_by_role("textbox", name="Which way?").fill("Left")
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.page.get_by_text("Half a")).to_be_visible()
    client.server.kill()
    client.server.start()
    expect(tab.page.get_by_text("Home, in the end.")).to_be_visible()
    tab.wait_done()
    live = open_all(tab)
    for words in ("Let me think.", "First I walk.", "Mind the dog", "Which way?", "Left", "the map", "Nearly there."):
        assert words in live
    assert "Half a" not in live
    for _ in ("stored", "as a version before stored it"):
        asked = logs_read(tab)
        tab.page.reload()
        tab.wait_done()
        assert open_all(tab) == live
        tab.page.wait_for_timeout(300)
        assert not asked
        client.server.terminate()
        as_before(client)
        client.server.start()


@pytest.mark.parametrize("look", [("en-US", "light", "Image"), ("zh-CN", "dark", "图片")], ids=["light", "dark, 中文"])
def test_pictures_and_tables_stand_in_the_card_live_and_stored(
    open_tab: OpenTab, client: Client, model: ModelServer, look: tuple[str, str, str]
) -> None:
    locale, scheme, nameless = look
    tab = open_tab(client.server, locale=locale, color_scheme=scheme).open()
    model.script(reply(tool_calls(("draw", {}))), reply(text("Drawn.")))
    tab.ask("Draw")
    for stored in (False, True):
        if stored:
            tab.page.reload()
            tab.wait_done()
        card = tab.answer.locator("dee-tool")
        card.locator("summary").click()
        picture = card.get_by_role("img", name="A <b>pixel</b>")
        expect(picture).to_be_visible()
        wait_until(lambda picture=picture: picture.evaluate("image => image.naturalWidth") == 1)  # type: ignore[misc]
        expect(card.get_by_role("img", name=nameless)).to_be_visible()
        expect(card.locator("img")).to_have_count(2)
        link = card.get_by_role("link", name="Elsewhere")
        expect(link).to_have_attribute("href", "https://pictures.example/a.png")
        expect(card.locator("figure").nth(3)).to_have_text(nameless)
        table = card.get_by_role("table", name="Prices")
        expect(table.get_by_role("columnheader")).to_have_text(["What", "<i>Price</i>"])
        expect(table.get_by_role("cell")).to_have_text(["Tea", "3", "咖啡", "4"])
        expect(card.locator("b, i")).to_have_count(0)
        assert card.evaluate("card => card.scrollWidth <= card.clientWidth")


def test_what_a_message_has_no_room_for_is_read_when_its_card_is_opened(
    tab: Tab, client: Client, model: ModelServer
) -> None:
    calls = tool_calls(*[("draw", {"size": BESIDE_BYTES // 8}) for _ in range(9)])
    model.script(reply(calls), reply(text("Drawn.")))
    tab.ask("Draw")
    client.thread = tab.thread
    assert [each.get("cut") for each in client.history()[-1]["toolCalls"]] == [None] * 7 + [True] * 2
    asked = logs_read(tab)
    tab.page.reload()
    tab.wait_done()
    cards = tab.answer.locator("dee-tool")
    cards.first.locator("summary").click()
    expect(cards.first.locator("img")).to_have_count(2)
    expect(cards.last.locator("img")).to_have_count(0)
    assert not asked
    tab.page.evaluate("for (const card of document.querySelectorAll('dee-tool details')) card.open = true")
    for card in cards.all():
        expect(card.locator("img")).to_have_count(2)
    expect(cards.last.get_by_role("table")).to_be_visible()
    cards.last.locator("summary").click()
    cards.last.locator("summary").click()
    tab.page.wait_for_timeout(300)
    assert len(asked) == 2, "one for each card whose result had no room"
