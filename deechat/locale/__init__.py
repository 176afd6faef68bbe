"""The words that people read: one file a language beside this module, for the page, the agent and the terminal.

A language is there when its file is: `de.json` is named by the language's tag. English is complete. A key that another
language lacks is said in English, except in `understood`, which holds what people say: it counts in all languages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ENGLISH = "en"
Say = Callable[..., str]  # says a key of one section in one language: `partial(say, section, language)`

_FILES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_bytes()) for path in sorted(Path(__file__).parent.glob("*.json"))
}
_WORDS: dict[str, dict[str, dict[str, Any]]] = {
    language: {name: words | file.get(name, {}) for name, words in _FILES[ENGLISH].items() if isinstance(words, dict)}
    for language, file in _FILES.items()
}
LANGUAGES = tuple(sorted(_FILES, key=lambda language: language != ENGLISH))  # English first


def choose(tags: Iterable[str]) -> str:
    """Return the language of the first tag that one fits, as `zh` fits `zh-Hant-TW` (RFC 4647, 3.4); else English."""
    for tag in tags:
        asked = f"{tag.replace('_', '-').lower()}-"
        if fitting := [language for language in LANGUAGES if asked.startswith(f"{language.lower()}-")]:
            return max(fitting, key=len)
    return ENGLISH


def tag_of(language: str) -> str:
    """Return the tag by which browsers choose letters and fonts: `zh-CN` of `zh`."""
    return str(_FILES[language].get("tag", language))


def words(section: str, language: str) -> Mapping[str, Any]:
    """Return a section's words by their keys. The language may be any tag."""
    return (_WORDS.get(language) or _WORDS[choose([language])])[section]


def say(section: str, language: str, key: str, /, **params: object) -> str:
    """Return the words of a key, with the parameters filled in; without any the words stay as they are."""
    said = str(words(section, language)[key])
    return said.format(**params) if params else said


def understood(key: str) -> dict[str, Any]:
    """Return what a key means in each language that has it, English first."""
    meant = {language: _FILES[language].get("understood", {}).get(key) for language in LANGUAGES}
    return {language: each for language, each in meant.items() if each is not None}
