"""Catalogues: all have the same keys, a request gets its language, and one more file is one more language."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from browser_support import OpenTab
from client import Client
from playwright.sync_api import expect
from server import ROOT, Server
from terminal_rig import chat

from deechat.locale import ENGLISH, LANGUAGES, choose, say, tag_of, understood, words

pytest_plugins = ["browser_fixtures"]

FOLDER = ROOT / "deechat" / "locale"
FILES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_bytes()) for path in FOLDER.glob("*.json")}
SAID = [section for section in FILES[ENGLISH] if section not in {"tag", "understood"}]


# -- what stands in them -----------------------------------------------------------------------------------------------


def placeholders(said: Any) -> list[str]:
    return sorted(re.findall(r"\{\w+", said)) if isinstance(said, str) else []


def test_the_languages_are_the_files() -> None:
    assert set(LANGUAGES) == set(FILES) >= {"en", "zh"}
    assert LANGUAGES[0] == ENGLISH
    assert [tag_of(language) for language in ("en", "zh")] == ["en", "zh-CN"]


@pytest.mark.parametrize("language", sorted(FILES))
def test_a_language_has_no_key_and_no_placeholder_that_english_lacks(language: str) -> None:
    assert FILES[language].keys() <= FILES[ENGLISH].keys()
    for section in SAID:
        english = FILES[ENGLISH][section]
        for key, said in FILES[language].get(section, {}).items():
            assert placeholders(said) == placeholders(english[key]), key
            assert type(said) is type(english[key]), key


@pytest.mark.parametrize("section", SAID)
def test_chinese_lacks_nothing(section: str) -> None:
    english, chinese = FILES["en"][section], FILES["zh"][section]
    assert list(chinese) == list(english)
    for key in english:
        assert bool(str(chinese[key]).strip()) == bool(str(english[key]).strip()), key
        assert section != "page" or chinese[key].strip(), key


def test_a_missing_key_is_said_in_english() -> None:
    assert words("terminal", "fr-CH") == words("terminal", "en")
    assert say("agent", "fr", "status.tool_call", name="x") == "🔧 x"


def test_words_without_parameters_stay_as_they_are() -> None:
    assert say("terminal", "en", "failed") == "✗ {error}"
    assert say("terminal", "zh-Hant", "failed", error="{x}") == "✗ {x}"


def test_what_is_understood_counts_in_every_language() -> None:
    assert set(understood("yes")) == set(LANGUAGES)
    assert list(understood("letters")) == ["zh"]


@pytest.mark.parametrize(
    ("tags", "language"),
    [
        ([], "en"),
        (["*"], "en"),
        (["fr"], "en"),
        (["zh"], "zh"),
        (["zh-Hant-TW", "en"], "zh"),
        (["zh_CN"], "zh"),
        (["ZH-cn"], "zh"),
        (["zhx"], "en"),
        (["fr", "zh-CN", "en"], "zh"),
        (["en-US", "zh"], "en"),
        ([""], "en"),
    ],
)
def test_the_first_tag_that_is_spoken_counts(tags: list[str], language: str) -> None:
    assert choose(tags) == language


def test_the_page_brings_its_words_along_in_the_language_of_the_browser(server: Server) -> None:
    for accepted, tag, hello in (
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN", "有什么可以帮您？"),
        ("en;q=0.1, zh-TW;q=0.9", "zh-CN", "有什么可以帮您？"),
        ("zh;q=0, en-GB", "en", "What can I help with?"),
        ("fr", "en", "What can I help with?"),
    ):
        answer = requests.get(server.url, headers={"Accept-Language": accepted}, timeout=20)
        assert f'<html lang="{tag}">' in answer.text
        assert "Accept-Language" in answer.headers["Vary"]
        (data,) = re.findall(r'<template id="words">(.*?)</template>', answer.text)
        shown = json.loads(data)
        assert shown["hello"] == hello
        assert shown["habit.no_tools"] == words("agent", tag)["habit.no_tools"]
        assert (f'<p class="noscript">{shown["noScript"]}</p>') in answer.text


# -- a third language --------------------------------------------------------------------------------------------------


def marked(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: each if key in {"kind", "inputType"} else marked(each) for key, each in said.items()}
    if isinstance(said, list):
        return [marked(each) for each in said]
    return f"¡{said}" if isinstance(said, str) else said


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose program has one file more: Esperanto, which has English's words with a mark, and lacks some."""
    folder = tmp_path_factory.mktemp("third")
    program = folder / "program"
    shutil.copytree(ROOT / "deechat", program / "deechat", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, program)
    words_of = {section: marked(FILES[ENGLISH][section]) for section in SAID}
    del words_of["page"]["example3"], words_of["terminal"]["lasted"], words_of["refused"]
    words_of["page"]["hello"] += " &amp; </template><b>"
    words_of["understood"] = {"work_out": "kiom estas", "places": {"Asia/Tokyo": "tokio"}, "yes": ["jes"]}
    (program / "deechat" / "locale" / "eo.json").write_text(json.dumps(words_of))
    server = Server(folder, PYTHONPATH=f"{program}:{Path(__file__).parents[1] / 'support'}")
    server.root = program
    try:
        yield server.start()
    finally:
        server.kill()


def test_the_page_speaks_a_third_language(open_tab: OpenTab, third: Server) -> None:
    tab = open_tab(third, locale="eo").open()
    expect(tab.page.locator("html")).to_have_attribute("lang", "eo")
    expect(tab.page.get_by_role("heading", name="¡What can I help with? &amp; </template><b>")).to_be_visible()
    assert tab.page.locator(".example").all_inner_texts()[1:] == ["¡What time is it in Tokyo?", "What can you do?"]
    tab.page.get_by_role("textbox", name="¡Message").fill("Kiom estas 6*7?")
    tab.page.keyboard.press("Enter")
    expect(tab.answer).to_contain_text("¡6*7 = 42")
    expect(tab.answer.locator("dee-tool")).to_contain_text("calculator")
    other = open_tab(third, locale="zh-CN").open()
    expect(other.page.get_by_role("heading", name="有什么可以帮您？")).to_be_visible()


def test_the_agent_speaks_a_third_language_and_understands_it(third: Server) -> None:
    client = Client(third, headers={"Accept-Language": "eo-XX, zh;q=0.9"}).new_thread()
    assert client.ask("Kiom estas 6*7?").text == "¡`6*7` = **42**"
    assert client.ask("hi").text.startswith("¡Hello!")
    assert client.ask("你好").text.startswith("你好！")
    statuses = [frame for frame in client.ask("1+1").frames if frame["type"] == "statusResponse"]
    assert "¡🔧 calculator" in [frame["textResponse"] for frame in statuses]
    spoken = Client(third, headers={"Accept-Language": "en"}).new_thread().ask("what time is it in tokio").text
    assert spoken.startswith("In tokio it is")


def test_the_terminal_speaks_a_third_language(third: Server) -> None:
    done = chat(third, "/nothing\n6*7\n", LANG="eo.UTF-8", PYTHONPATH=third.settings["PYTHONPATH"])
    assert done.stdout == "¡`6*7` = **42**\n"
    assert "¡There is no command /nothing" in done.stderr
