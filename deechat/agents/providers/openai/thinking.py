"""Tells thinking from the answer in a text, in the dialects that models have for it, across pieces.

Thinking stands at the head of a text, between a pair of tags of `PAIRS` or in the channels of the harmony format. Two
things show only later, and the words until then are told anew (`Retold`):

- The opening tag may be in the model's template, so that a text begins with thinking and nothing says so before the
  closing tag. It counts where nothing opened it and it does not stand there as a word: see `_Before`.
- A tag that is never closed may be a word of the answer, or be forgotten. Where the turn ends by itself and calls no
  tool, all that stands behind it is the answer, the tag included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from deechat.agents.providers.base import Reasoning, Retold, Text
from deechat.agents.providers.openai.chunks import Kind, Said

# Opening and closing tags, in letters of any case.
PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
LONGEST_HEAD = 1_000  # white space that is waited through for a tag
LONGEST_HEADER = 200  # characters of the harmony format between `<|start|>` or `<|channel|>` and `<|message|>`
WATCHED = 250_000  # characters in which a closing tag is looked for that nothing opened
MOST_WORDS = 20  # closing tags that were words; where more come the answer speaks of them
_CLOSING_OF = dict(PAIRS)
_OPENING_OF = {closing: opening for opening, closing in PAIRS}
_TOKENS = tuple(f"<|{name}|>" for name in ("start", "channel", "message", "constrain", "end", "return", "call"))
_HEADS = ("<|start|>", "<|channel|>")
_ANSWERS = {"", "assistant", "final"}  # the other channels are for thoughts, and for calls that were left in the text
_WORD = re.compile(r"[ \t]+[a-z]|[ \t]*[,;:)]")  # the text behind a tag that is a word
_SENTENCE_ENDS = frozenset(".!?…。！？")
_QUOTES = frozenset("\"'`“‘«")
_BRACKETS = frozenset("([{</|「『《（")
_FENCE = re.compile(r"^[^\S\n]*```", re.MULTILINE)


def _any_of(tags: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)), re.IGNORECASE | re.ASCII)


def _beginnings(tags: Iterable[str]) -> frozenset[str]:
    return frozenset(tag[:size] for tag in tags for size in range(1, len(tag)))


_OPENED, _CLOSED, _TOKEN = _any_of(_CLOSING_OF), _any_of(_OPENING_OF), _any_of(_TOKENS)
_OF_CLOSING, _OF_TOKENS = _beginnings(_OPENING_OF), _beginnings(_TOKENS)
_OF_HEADS = _beginnings([*_CLOSING_OF, *_OPENING_OF, *_HEADS]) | {""}
_LONGEST = max(map(len, [*_CLOSING_OF, *_OPENING_OF, *_TOKENS]))

Told = Said | Retold


class ThinkSplitter:
    """Tells thinking from the answer in one turn's text.

    White space before and behind a tag is dropped with it, and so is a closing tag at the head. Tags of other pairs and
    behind the thinking are text like any other, and so is a false beginning of one.

    `thinks`: the model is known to begin with thinking that nothing opens. `learnt` says at the end whether it did,
    None where nothing showed it. Once `is_past` is true all that comes is text.
    """

    def __init__(self, *, thinks: bool = False) -> None:
        self.at_head = True
        self.is_past = False
        self.learnt: bool | None = None
        self._thinks, self._beside = thinks, False
        self._watching: Callable[[str], list[Told]] = self._watch
        self._state: Callable[[str], list[Told]] = self._head
        self._held = ""
        self._opened, self._tag, self._closing = False, "", _CLOSED
        self._blanks: list[str] = []  # behind the tag, while nothing else was thought
        self._before, self._looked = _Before(), 0  # and how many pieces of `_said` it has
        self._said: list[str] = []  # as text that may yet be thinking, or as thinking that may yet be text
        self._watched = self._words = 0
        self._header: str | None = None  # of the harmony format, as it came; None behind it
        self._messages = False  # whether it had any
        self._in_text = False  # whether text was said that nothing has ended
        self._kind: Kind = Text

    def feed(self, piece: str) -> list[Told]:
        """Take a piece, return the parts that are sure, in order and without empty texts."""
        if not piece:
            return []
        text, self._held = self._held + piece, ""
        return self._state(text)

    def passes(self, piece: str) -> bool:
        """Return whether a piece is text as it stands, and take it if it is: then `feed` would give nothing else.

        Nearly all pieces are, so that this is asked for each: no tag begins without one of three letters.
        """
        if self._held or self._state is not self._watching or "<" in piece or "[" in piece or "◁" in piece:
            return False
        self._said.append(piece)
        self._watched += len(piece)
        return True

    def think_beside(self) -> None:
        """Note that thinking came beside the text: then none stands in it that nothing opened."""
        self._thinks, self._beside = False, True
        if self._state is self._watching:
            self._state = self._after

    def end(self, *, is_answer: bool) -> list[Told]:
        """Return the text that was held back. `is_answer`: the turn ended by itself and calls no tool."""
        held, self._held = self._held, ""
        if self._state == self._harmony and self._header is not None:
            is_text = not self._messages or (self._in_text and is_answer)
            return _told(Text, self._header + held) if is_text else []
        inside = self._state == self._inside or (self._state == self._harmony and self._kind is Reasoning)
        if not inside:
            return _told(Text, held)
        if not is_answer:
            return _told(Reasoning, held)
        if self._thinks and not self._opened:
            self.learnt = False
        tag, said = "".join([self._tag, *self._blanks]), "".join(self._said)
        return [Retold("text", said, tag + said), *_told(Text, held)] if said else _told(Text, tag + held)

    # -- the states: each takes the held text and a piece, and returns the parts that are sure ---------------------

    def _head(self, text: str) -> list[Told]:
        begun = text.lstrip()
        if found := _OPENED.match(begun):
            return self._open(text, begun, found[0])
        if (found := _CLOSED.match(begun)) and not self._thinks:
            self.at_head = False
            return self._begin_answer(begun[found.end() :])
        if begun.startswith(_HEADS):
            self.at_head, self._state = False, self._harmony
            return self._harmony(begun)
        if len(text) <= LONGEST_HEAD and begun[:_LONGEST].lower() in _OF_HEADS:
            self._held = text
            return []
        self.at_head = False
        self._state = self._inside if self._thinks else self._after if self._beside else self._watching
        return [(Text, text)] if self.passes(text) else self._state(text)

    def _open(self, text: str, begun: str, opening: str) -> list[Told]:
        rest = begun[len(opening) :]
        blanks = len(rest) - len(rest.lstrip(" \t"))
        if blanks == len(rest) <= LONGEST_HEAD:
            self._held = text
            return []
        self.at_head = False
        if blanks <= LONGEST_HEAD and _WORD.match(rest):
            self._tag, self._state = text[: len(text) - len(rest) + blanks], self._watching
            return self._watch(text)
        self._opened, self._tag, self._closing = True, opening, _any_of([_CLOSING_OF[opening.lower()]])
        self._state = self._inside
        return self._inside(rest)

    def _inside(self, text: str) -> list[Told]:
        if not self._said:
            blanks = len(text) - len(text.lstrip())
            self._blanks.append(text[:blanks])
            text = text[blanks:]
        found = self._closing.search(text)
        if found:
            if not self._opened:
                self.learnt = True
            return _told(Reasoning, text[: found.start()]) + self._begin_answer(text[found.end() :])
        sure = self._keep(text, _OF_CLOSING)
        self._said += [sure] if sure else []
        return _told(Reasoning, sure)

    def _watch(self, text: str) -> list[Told]:
        if self._watched > WATCHED:
            self._state, self._said = self._after, []
            return self._after(text)
        at = 0
        for found in _CLOSED.finditer(text, 0, WATCHED - self._watched + _LONGEST):
            if self._words > MOST_WORDS or self._watched + found.start() > WATCHED:
                break
            self._look(text[at : found.start()])
            at = found.start()
            ends = self._before.ends_thinking(found[0].lower(), text[found.end() :])
            if ends is None:
                self._held = text[at:]
                return self._pass(text[:at], looked=at)
            if ends:
                return self._end_thinking(text[:at], text[found.end() :])
            self._words += 1
        return self._pass(self._keep(text, _OF_CLOSING), looked=at)

    def _look(self, text: str) -> None:
        """Look at the text since the last look, and at this text behind it."""
        self._before.add("".join([*self._said[self._looked :], text]))
        self._looked = len(self._said)

    def _harmony(self, text: str) -> list[Told]:
        told: list[Told] = []
        at = 0
        for found in _TOKEN.finditer(text):
            told += self._in_channel(text[at : found.start()])
            self._turn(found[0].lower())
            at = found.end()
        return told + self._in_channel(self._keep(text[at:], _OF_TOKENS))

    def _answer(self, text: str) -> list[Told]:
        text = text.lstrip()
        if not text:
            return []
        self._state = self._after
        return self._after(text)

    def _after(self, text: str) -> list[Told]:
        self.is_past = True
        return _told(Text, text)

    # -- shared by the states ----------------------------------------------------------------------------------------

    def _keep(self, text: str, beginnings: frozenset[str]) -> str:
        """Hold back a possible beginning of a tag at the end of a text; return the rest."""
        at = max(text.rfind("<"), text.rfind("["), text.rfind("◁"))
        if at < 0 or text[at : at + _LONGEST].lower() not in beginnings:
            return text
        self._held = text[at:]
        return text[:at]

    def _pass(self, text: str, *, looked: int) -> list[Told]:
        """Note a text that may yet turn out to be thinking, and whose first `looked` characters were looked at."""
        if looked:
            self._said.append(text[:looked])
            self._looked = len(self._said)
        self._said.append(text[looked:])
        self._watched += len(text)
        if self._words > MOST_WORDS:
            self._state, self._said = self._after, []
        return _told(Text, text)

    def _end_thinking(self, thought: str, answer: str) -> list[Told]:
        """Turn all text so far into thinking, which ends with a tag that nothing opened."""
        self.learnt = True
        said, tag = "".join(self._said), self._tag
        if said:
            anew: list[Told] = [Retold("thinking", said, said.removeprefix(tag))]
            return anew + _told(Reasoning, thought) + self._begin_answer(answer)
        return _told(Reasoning, thought.removeprefix(tag)) + self._begin_answer(answer)

    def _begin_answer(self, text: str) -> list[Told]:
        self._state, self._said = self._answer, []
        return self._answer(text)

    def _turn(self, mark: str) -> None:
        """Follow a token of the harmony format."""
        if mark in _HEADS:
            self._header = (self._header or "") + mark
        elif mark == "<|message|>":
            channel = (self._header or "").rpartition("|>")[2].split()
            self._kind = Text if (channel[0] if channel else "") in _ANSWERS else Reasoning
            self._header, self._said, self._messages, self._in_text = None, [], True, False
        elif self._header is not None:
            self._header += mark
        else:
            self._kind, self._said, self._in_text = Text, [], False

    def _in_channel(self, text: str) -> list[Told]:
        if self._header is None:
            if self._kind is Reasoning:
                text = text if self._said else text.lstrip()
                self._said += [text] if text else []
            self._in_text = self._kind is Text and (self._in_text or bool(text.strip()))
            return _told(self._kind, text)
        self._header += text
        if len(self._header) <= LONGEST_HEADER:
            return []
        header, self._header, self._kind, self._in_text = self._header, None, Text, True  # it speaks of the format
        return _told(Text, header)


def _told(kind: Kind, text: str) -> list[Told]:
    return [(kind, text)] if text else []


class _Before:
    """The text before a closing tag that nothing opened, as far as it counts. It looks at each character once."""

    def __init__(self) -> None:
        self._fences = self._quotes = 0  # lines that begin with ```, but for the last one, and back quotes in it
        self._head = self._tail = ""  # of the last line: its first letters, and its last two with a blank behind them
        self._opened: set[str] = set()
        self._recent = ""  # the end of the text in small letters, as long as half a tag may be; all of it `at_start`
        self._at_start = True

    def add(self, text: str) -> None:
        """Take the next text."""
        self._note_opened(text.lower())
        line, broke, rest = text.partition("\n")
        self._go_on(line)
        if broke:
            lines, _, line = rest.rpartition("\n")
            self._fences += (self._head == "```") + len(_FENCE.findall(lines))
            self._quotes, self._head, self._tail = 0, "", ""
            self._go_on(line)

    def _go_on(self, part: str) -> None:
        self._quotes += part.count("`")
        if len(self._head) < 3:
            self._head = (self._head + part).lstrip()[:3]
        line = self._tail + part
        said = line.rstrip(" \t")
        self._tail = said[-2:] + line[len(said) :][:1]

    def _note_opened(self, text: str) -> None:
        """Note the tags that were opened, other than by a word at the very beginning."""
        text = self._recent + text
        if self._at_start:
            text = text.lstrip()
        for opening in _CLOSING_OF.keys() - self._opened:
            if text.find(opening, 1 if self._at_start else 0) >= 0:
                self._opened.add(opening)
        self._at_start = self._at_start and len(text) < _LONGEST
        self._recent = text if self._at_start else text[1 - _LONGEST :]

    def ends_thinking(self, closing: str, after: str) -> bool | None:
        """Return whether a closing tag that nothing opened ends a model's thinking, or is a word of its answer.

        It is a word in code, in quotes, and where the same tag was opened before. It ends thinking at the beginning of
        a line, behind a sentence, and right behind a word; behind a blank where a line ends or a sentence begins. None:
        the text behind it has to come first.
        """
        is_code = (self._fences + (self._head == "```")) % 2 == 1 or self._quotes % 2 == 1
        if is_code or _OPENING_OF[closing] in self._opened:
            return False
        said = self._tail.rstrip(" \t")
        if not said or said[-1] in _SENTENCE_ENDS:
            return True
        if said[-1] in _BRACKETS or (said[-1] in _QUOTES and (len(said) == 1 or said[-2] in " \t(")):
            return False
        if said == self._tail:
            return said[-1] < "\u2e80"  # scripts without blanks have words right before the tag
        follows = after.lstrip(" \t")
        if len(after) - len(follows) > LONGEST_HEAD:
            return False
        return None if not follows else follows[0] == "\n" or follows[0].isupper() or follows[0].isdigit()
