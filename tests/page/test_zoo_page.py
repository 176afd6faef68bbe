"""The zoo in the page: of each animal a person sees the answer, the thoughts, the tools, the error and the way on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser_support import Tab
from playwright.sync_api import Browser
from zoo.animal import Animal
from zoo_rig import ANIMALS, House

pytest_plugins = ["browser_fixtures"]

# What stands in the last answer. `drawn` is each text as it is shown, `meant` what the Markdown of its part gives.
PICTURE = """async () => {
    const { render } = await import('/static/js/elements/markdown/markdown.js');
    const { errorTitle } = await import('/static/js/core/words.js');
    const answer = [...document.querySelectorAll('dee-answer')].at(-1);
    const words = (node) => {
        const copy = node.cloneNode(true);
        for (const head of copy.querySelectorAll('.code-head')) head.remove();
        return copy.textContent;
    };
    const all = (selector) => [...answer.querySelectorAll(selector)];
    const parts = (name) => answer.item.message.parts.filter(({ kind }) => kind === name);
    const drawn = () => ['text', 'tool'].every((name) => parts(name).length === all(`dee-${name}`).length);
    for (let frame = 0; frame < 100 && !drawn(); frame += 1) await new Promise(requestAnimationFrame);
    const texts = parts('text').map(({ text }) => text);
    const tools = parts('tool');
    const ran = ({ arguments: given }) => given && !('' in given); // what cannot be read never ran
    const code = answer.item.message.ending?.code ?? null;
    return {
        said: texts.join(''),
        meant: texts.map((text) => render(text).textContent.trim()),
        drawn: all('dee-text').map((node) => words(node).trim()),
        thought: all('dee-reasoning .thoughts').map((node) => node.textContent),
        folds: all('dee-reasoning details').map((node) => node.open),
        cards: all('dee-tool').filter((_, at) => ran(tools[at])).map((node) => [
            node.querySelector('.tool-name').textContent, node.querySelector('pre').textContent,
        ]),
        error: all('.failure').map((node) => node.textContent).join(),
        code: code,
        title: errorTitle(code),
        notes: all('.note').map((node) => node.textContent),
        buttons: all('.answer-foot button').map((node) => node.ariaLabel ?? node.textContent),
    };
}"""
THERE = """slug => document.querySelector('dee-sidebar .workspace-switcher').value === slug
    && !document.querySelector('dee-answer')"""
OVER = """count => {
    const answers = document.querySelectorAll('dee-answer');
    if (answers.length !== count || document.querySelector('dee-answer[live]')) return false;
    const { item } = answers[count - 1], foot = answers[count - 1].querySelector('.answer-foot');
    // It is drawn anew a moment after the end, when there is much to draw.
    const way = item.message.ending?.reason === 'completed' || foot?.querySelector('button');
    return item.message.ending && foot.querySelector('.facts') && way;
}"""


@pytest.fixture(scope="module")
def visitor(browser: Browser, house: House) -> Iterator[Tab]:
    """One tab for the whole walk."""
    for animal in ANIMALS:
        house.room(animal)  # the page reads the workspaces when it is opened
    context = browser.new_context(locale="en-US")
    tab = Tab(house.server, context.new_page()).open()
    yield tab
    context.close()
    tab.check()


def look_at(visitor: Tab, house: House, animal: Animal) -> dict[str, Any]:
    """Says what is to be said and gives a picture of the last answer."""
    client = house.admit(animal)
    visitor.page.evaluate("slug => (location.hash = `#/${slug}`)", client.workspace)
    visitor.page.wait_for_function(THERE, arg=client.workspace)
    for count, words in enumerate(animal.says, start=1):
        visitor.send(words)
        visitor.page.wait_for_function(OVER, arg=count)
    seen: dict[str, Any] = visitor.page.evaluate(PICTURE)
    return seen


def look_again(visitor: Tab, animal: Animal) -> dict[str, Any]:
    """Goes away, comes back and gives a picture of the last answer as the history has it."""
    there = visitor.page.evaluate("location.hash")
    visitor.page.evaluate("location.hash = location.hash.split('/').slice(0, 2).join('/')")
    visitor.page.wait_for_function("!document.querySelector('dee-answer')")
    visitor.page.evaluate("hash => (location.hash = hash)", there)
    visitor.page.wait_for_function(OVER, arg=len(animal.says))
    seen: dict[str, Any] = visitor.page.evaluate(PICTURE)
    return seen


def arguments(shown: str) -> Any:
    return {} if shown == "none" else json.loads(shown)


@pytest.mark.parametrize("animal", ANIMALS, ids=repr)
def test_what_a_person_sees_of_it(visitor: Tab, house: House, animal: Animal) -> None:
    live = look_at(visitor, house, animal)
    for seen in (live, look_again(visitor, animal)):
        check(seen, animal)


def check(seen: dict[str, Any], animal: Animal) -> None:
    assert seen["drawn"] == seen["meant"]
    assert all(thought.strip() for thought in seen["thought"])
    assert not any(seen["folds"])
    if animal.text is not None:
        assert seen["said"] == animal.text
    if animal.thought is not None:
        assert "".join(seen["thought"]) == animal.thought
    if animal.calls is not None:
        assert [(name, arguments(shown)) for name, shown in seen["cards"]] == list(animal.calls)
    assert seen["code"] == animal.code
    for words in animal.words:
        assert words in seen["error"]
    if animal.reason in {"failed", "interrupted"}:
        assert seen["title"] in seen["error"]
        assert "Try again" in seen["buttons"]
    else:
        assert seen["error"] == ""
    if seen["said"]:
        assert "Copy the answer" in seen["buttons"]
    if animal.finish == "length":
        assert seen["notes"]
