"""Asking a person what a run asks: an approval, or questions of each kind.

An asker takes lines one by one. It gives the body for `respond` once it has all it needs; words when a line does not
fit; None when it goes on with what `hint` says then.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from deechat.terminal.words import Say

Json = dict[str, Any]
Taken = Json | str | None

_YES = {"y", "yes", "是", "好", "同意"}
_NO = {"n", "no", "否", "不", "拒绝"}
_ALWAYS = {"a", "always", "总是"}
_EDIT = {"e", "edit", "改", "修改"}


class Asker(Protocol):
    """Somebody is asked for one request."""

    request_id: str

    @property
    def hint(self) -> str:
        """Says what is expected next, on one line."""
        ...

    def take(self, line: str) -> Taken:
        """Takes the next line."""
        ...

    def again(self) -> None:
        """Begins anew, after the server found that the answer does not fit."""
        ...

    def nobody(self) -> Json | None:
        """Gives the answer of nobody; None when there has to be one."""
        ...


class Approval:
    """Asks for a yes."""

    def __init__(self, frame: Json, say: Say) -> None:
        self.request_id = frame["requestId"]
        self._arguments = frame["payload"]
        self._say = say
        self._editing = False

    @property
    def hint(self) -> str:
        return self._say("edit_hint" if self._editing else "approval_hint")

    def take(self, line: str) -> Taken:
        if self._editing:
            return self._edited(line)
        word = line.strip().lower()
        if word in _YES | _NO | _ALWAYS:
            return self._body(approved=word not in _NO, **({"always": True} if word in _ALWAYS else {}))
        if word not in _EDIT:
            return self._say("approval_keys")
        self._editing = True
        return self._say("edit", given=json.dumps(self._arguments, ensure_ascii=False))

    def again(self) -> None:
        # What does not fit are edited arguments: they are asked for again.
        pass

    def nobody(self) -> Json | None:
        return self._body(approved=False)

    def _edited(self, line: str) -> Taken:
        if not line.strip():
            self._editing = False
            return None
        try:
            arguments = json.loads(line)
        except ValueError as exc:
            return self._say("no_json", why=exc)
        if not isinstance(arguments, dict):
            return self._say("no_json", why=type(arguments).__name__)
        return self._body(approved=True, arguments=arguments)

    def _body(self, **answer: Any) -> Json:
        return {"requestId": self.request_id, **answer}


class Questions:
    """Asks one question after the other. An empty line skips one, where that is allowed."""

    def __init__(self, frame: Json, say: Say) -> None:
        self.request_id = frame["requestId"]
        self._questions = frame["questions"]
        self._may_skip = frame["allowSkip"]
        self._say = say
        self._answers: list[Json] = []

    @property
    def hint(self) -> str:
        question = self._questions[len(self._answers)]
        how = ["how_text"]
        if question["kind"] == "choice":
            how = ["how_choices" if question.get("multiSelect") else "how_choice"]
        if self._may_skip:
            how.append("how_skip")
        return self._say(
            "question_hint",
            number=len(self._answers) + 1,
            count=len(self._questions),
            question=" ".join(question["question"].split())[:100],
            how=" ".join(filter(None, map(self._say, how))),
        )

    def take(self, line: str) -> Taken:
        text = line.strip()
        if not text and not self._may_skip:
            return self._say("must_answer")
        answer = _fit(self._questions[len(self._answers)], text) if text else None
        if text and answer is None:
            return self._which_numbers()
        self._answers.append({"skipped": answer is None, "answer": answer})
        return self._body() if len(self._answers) == len(self._questions) else None

    def again(self) -> None:
        self._answers.clear()

    def nobody(self) -> Json | None:
        return {"requestId": self.request_id, "skipped": True} if self._may_skip else None

    def _body(self) -> Json:
        if all(each["skipped"] for each in self._answers):
            return {"requestId": self.request_id, "skipped": True}
        return {"requestId": self.request_id, "answers": list(self._answers)}

    def _which_numbers(self) -> str:
        question = self._questions[len(self._answers)]
        key = "numbers_several" if question.get("multiSelect") else "numbers"
        return self._say(key, most=len(question["options"]))


def _fit(question: Json, text: str) -> str | list[str] | None:
    """Gives the answer that the text means; None when it means none."""
    if question["kind"] != "choice":
        return text
    options, other = question["options"], question.get("allowOther", False)
    if question.get("multiSelect"):
        return _several(options, text, other=other)
    return _option(options, text) or (text if other else None)


def _several(options: list[str], text: str, *, other: bool) -> list[str] | None:
    """Gives what is chosen of several, by number or as it is written; own words are one of them where `other` allows.

    None when a part of the text is no option and may not be an own one.
    """
    if whole := _option(options, text):
        return [whole]
    separators = r"[\s,，、;；]+" if re.fullmatch(r"[\d\s,，、;；]+", text) else r"\s*[,，、;；]\s*"
    parts = [part for part in re.split(separators, text) if part]
    meant = [_option(options, part) for part in parts]
    if None in meant and not other:
        return None
    if not any(meant):
        return [text]
    return list(dict.fromkeys(option or part for option, part in zip(meant, parts, strict=True)))


def _option(options: list[str], part: str) -> str | None:
    """Gives the option that the words or the number mean."""
    if part in options:
        return part
    if re.fullmatch(r"[0-9]{1,3}", part):
        return options[int(part) - 1] if 1 <= int(part) <= len(options) else None
    return next((option for option in options if option.lower() == part.lower()), None)


ASKERS: dict[str, type[Approval] | type[Questions]] = {
    "toolApprovalRequest": Approval,
    "clarificationRequest": Questions,
}
