"""The tool with which the agent asks a person: the kinds of questions, and which answers fit them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from deechat.agents.tools.base import ToolError

LONGEST_ANSWER = 20_000
Json = dict[str, Any]


class Question(Struct, rename="camel", omit_defaults=True):
    """A question as a model writes it: one flat type, which small models fill in more reliably than a union."""

    question: Annotated[str, Meta(min_length=1, max_length=2000)]
    kind: Literal["input", "choice"] = "input"
    input_type: Literal["text", "textarea", "number", "date", "email", "url"] = "text"
    placeholder: Annotated[str, Meta(max_length=200)] = ""
    options: Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=30)] = []
    option_descriptions: Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(max_length=30)] = []
    multi_select: bool = False
    allow_other: bool = False


def ask_user(questions: Annotated[list[Question], Meta(min_length=1, max_length=4)]) -> str:
    """Asks the user one to four questions and waits for the answers, however long that takes.

    Use it when you cannot go on well without knowing something that only the user can say.

    questions: each either of kind "input" (free text; inputType says what is expected) or of kind "choice" (with
        options; optionDescriptions may explain each, multiSelect allows several, allowOther allows an own answer)
    """
    raise NotImplementedError("a person answers")


def questions_of(arguments: Json) -> tuple[Json, ...]:
    """Return the questions of a call in the contract's two kinds. Raises `ToolError` with words for the model."""
    return tuple(_question(each) for each in arguments["questions"])


def _question(given: Json) -> Json:
    if not given["question"].strip():
        raise ToolError("A question must not be blank.")
    options = given.get("options", [])
    if given.get("kind", "input") == "input" and not options:
        kind = {"kind": "input", "question": given["question"], "inputType": given.get("inputType", "text")}
        return kind | {"placeholder": given.get("placeholder", "")}
    if len(options) < 2 or len(set(options)) < len(options):
        raise ToolError(f"The choice {given['question'][:80]!r} needs at least two options, each of them once.")
    descriptions = given.get("optionDescriptions", [])
    return {
        "kind": "choice",
        "question": given["question"],
        "options": options,
        "optionDescriptions": descriptions if len(descriptions) == len(options) else [],
        "multiSelect": given.get("multiSelect", False),
        "allowOther": given.get("allowOther", False),
    }


# -- answers -----------------------------------------------------------------------------------------------------------


def answers_to(questions: Sequence[Json], given: object, *, allow_skip: bool) -> tuple[Json, ...]:
    """Return a person's answers, checked against the questions: `{skipped, answer}` each, in their order.

    Raises `ValueError` that names the fault.
    """
    if not isinstance(given, list) or len(given) != len(questions):
        raise ValueError(f"answers must be a list with an answer to each of the {len(questions)} questions")
    pairs = zip(questions, given, strict=True)
    return tuple(_answer(number, *pair, allow_skip) for number, pair in enumerate(pairs, start=1))


def skipped(questions: Sequence[Json]) -> tuple[Json, ...]:
    """Return the answers of a person who skips all questions."""
    return tuple({"skipped": True, "answer": None} for _ in questions)


def _answer(number: int, question: Json, given: object, allow_skip: bool) -> Json:
    def refuse(why: str) -> NoReturn:
        raise ValueError(f"the answer to question {number} ({question['question'][:60]!r}) {why}")

    if not isinstance(given, dict):
        refuse("must be an object with the fields skipped and answer")
    is_skipped = given.get("skipped", False)
    if not isinstance(is_skipped, bool):
        refuse("must have true or false in skipped")
    if is_skipped:
        return {"skipped": True, "answer": None} if allow_skip else refuse("must not be skipped")
    check = _CHECKS[question.get("inputType", "choice")]
    return {"skipped": False, "answer": check(question, given.get("answer"), refuse)}


Refuse = Callable[[str], NoReturn]


def _text(_question: Json, answer: object, refuse: Refuse) -> str:
    if not isinstance(answer, str) or not answer.strip():
        refuse("must be a text that is not blank; skip it instead")
    if len(answer) > LONGEST_ANSWER:
        refuse(f"must have {LONGEST_ANSWER} characters at most")
    return answer.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _number(question: Json, answer: object, refuse: Refuse) -> str:
    text = str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer
    text = _text(question, text, refuse).strip()
    if not re.fullmatch(r"[-+]?[0-9]{1,400}([.,][0-9]{1,400})?([eE][-+]?[0-9]{1,4})?", text):
        refuse(f"must be a number, not {text[:40]!r}")
    return text


def _date(question: Json, answer: object, refuse: Refuse) -> str:
    text = _text(question, answer, refuse).strip()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        refuse(f"must be a date such as 2026-11-23, not {text[:40]!r}")


def _email(question: Json, answer: object, refuse: Refuse) -> str:
    text = _text(question, answer, refuse).strip()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        refuse(f"must be an e-mail address, not {text[:40]!r}")
    return text


def _url(question: Json, answer: object, refuse: Refuse) -> str:
    text = _text(question, answer, refuse).strip()
    try:
        parts = urlsplit(text)
        sound = bool(parts.scheme and parts.netloc) and not re.search(r"\s", text)
    except ValueError:
        sound = False
    return text if sound else refuse(f"must be an address such as https://example.org, not {text[:40]!r}")


def _choice(question: Json, answer: object, refuse: Refuse) -> str | list[str]:
    if not question["multiSelect"]:
        return _option(question, answer, refuse)
    chosen = answer if isinstance(answer, list) else [answer]
    if not chosen or len(chosen) > len(question["options"]) + 10:
        refuse("must be a list of options; skip it instead of choosing none")
    return list(dict.fromkeys(_option(question, each, refuse) for each in chosen))


def _option(question: Json, answer: object, refuse: Refuse) -> str:
    if answer in question["options"]:
        return str(answer)
    if not question["allowOther"]:
        refuse(f"must be one of its options: {', '.join(question['options'])[:200]}")
    return _text(question, answer, refuse)


_CHECKS: dict[str, Callable[[Json, object, Refuse], Any]] = {
    "text": _text,
    "textarea": _text,
    "number": _number,
    "date": _date,
    "email": _email,
    "url": _url,
    "choice": _choice,
}


# -- words -------------------------------------------------------------------------------------------------------------


def told(questions: Sequence[Json], answers: Sequence[Json]) -> str:
    """Return the answers as text for the model: a line a question."""
    return "\n".join(f"{q['question']}: {shown(a) or '(skipped)'}" for q, a in zip(questions, answers, strict=True))


def shown(answer: Json) -> str:
    """Return an answer as text; '' for one that was skipped."""
    value = answer["answer"]
    if answer["skipped"]:
        return ""
    return ", ".join(value) if isinstance(value, list) else str(value)
