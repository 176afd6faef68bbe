"""Replies as a person types them: yes, no or always, and the options of a choice by their number or their words."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from deechat.locale import understood

Json = dict[str, Any]

YES, NO, ALWAYS, EDIT = (
    frozenset(chain.from_iterable(understood(key).values())) for key in ("yes", "no", "always", "edit")
)


def meant(question: Json, text: str) -> str | list[str] | None:
    """Return the answer that the text means; None when it means none.

    Options are chosen by number or as they are written, several of them where `multiSelect` allows; words of the
    person's own are an answer, or one of several, where `allowOther` does.
    """
    if question["kind"] != "choice":
        return text
    options, other = question["options"], question.get("allowOther", False)
    whole = _option(options, text)
    if not question.get("multiSelect"):
        return whole or (text if other else None)
    if whole:
        return [whole]
    separators = r"[\s,，、;；]+" if re.fullmatch(r"[\d\s,，、;；]+", text) else r"\s*[,，、;；]\s*"
    parts = [part for part in re.split(separators, text) if part]
    chosen = [_option(options, part) for part in parts]
    if None in chosen and not other:
        return None
    if not any(chosen):
        return [text]
    return list(dict.fromkeys(option or part for option, part in zip(chosen, parts, strict=True)))


def _option(options: list[str], part: str) -> str | None:
    """Return the option that the words or the number mean."""
    if part in options:
        return part
    if re.fullmatch(r"[0-9]{1,3}", part):
        return options[int(part) - 1] if 1 <= int(part) <= len(options) else None
    return next((option for option in options if option.lower() == part.lower()), None)
