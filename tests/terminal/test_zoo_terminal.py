"""The zoo in the terminal: one person walks past all animals in one chat, a pipe past two of each kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from terminal_rig import Person, chat
from zoo.animal import Animal
from zoo_rig import ANIMALS, KINDS, House

from deechat.terminal.screen import clean

WORKSPACE = "default"
TYPED = 1_000  # characters that a person types
STYLED = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m", re.DOTALL)
DIM = "2"
# The line with what an answer cost, or its error, is its last one but for hints; then comes the prompt.
OVER = re.compile(
    r"\n(?:\x1b\[2m[^\n]* · [\d.]+ s|\x1b\[31m✗ .*?|\x1b\[1m■ [^\n]*)\x1b\[0m(?:\n\x1b\[2m[^\n]*\x1b\[0m)*\n> ",
    re.DOTALL,
)
WALKED = [animal for animal in ANIMALS if all(len(words) <= TYPED and "\n" not in words for words in animal.says)]


@pytest.fixture(scope="module")
def walker(house: House) -> Iterator[Person]:
    """Somebody at a terminal, in a workspace whose model is changed from animal to animal."""
    somebody = Person(house.server, "--new", "--workspace", WORKSPACE, NO_COLOR="")
    somebody.see("> ")
    yield somebody
    somebody.close()


def walk_past(walker: Person, house: House, animal: Animal) -> str:
    """Says what is to be said in a new thread and gives what the terminal shows of the last answer."""
    house.admit(animal, WORKSPACE)
    walker.type("/new\n")
    walker.see("\n> ")
    for words in animal.says:
        walker.type(words + "\n")
        shown = walker.see(OVER)
    return shown


def bare(words: str) -> str:
    """Gives the words as a terminal lets them through, without spaces: where lines begin is the terminal's business."""
    return "".join(clean(words).split())


@pytest.mark.parametrize("animal", WALKED, ids=repr)
def test_what_a_terminal_shows_of_it(walker: Person, house: House, animal: Animal) -> None:
    shown = walk_past(walker, house, animal)
    plain = STYLED.sub("", shown)
    dim = [words for style, words in STYLED.findall(shown) if style == DIM]
    assert bare(animal.text or "") in bare(plain), shown
    thoughts = "".join(each for each in dim if not each.startswith(("🔧", "   ")))  # of tools
    if "↻" in shown:  # what turns out to be something else stays where it stands
        assert bare(animal.thought or "")[:10] in bare(re.sub(r"\x1b\[1m↻[^\n]*|💭", "", shown))
    elif animal.thought is not None:
        assert bare(animal.thought) in bare(thoughts), shown
        assert ("💭" in plain) == bool(animal.thought.strip()), shown
    called = [words for words in dim if words.startswith("🔧")]
    for name, arguments in animal.calls or ():
        values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in arguments.items()}
        assert f"🔧 {name}" + "".join(f"  {key}: {value}" for key, value in values.items()) in called
    assert ("\x1b[31m✗ " in shown) == (animal.reason in {"failed", "interrupted"})
    for words in animal.words:
        assert bare(words) in bare(shown)


def one_of(kind: Sequence[Animal], reason: str) -> list[Animal]:
    """Gives the kind's first animal that ends so, if there is one that answers a single message."""
    fit = (each for each in kind if each in WALKED and each.reason == reason and each.text and len(each.says) == 1)
    return list(islice(fit, 1))


PIPED = [animal for kind in KINDS.values() for reason in ("completed", "failed") for animal in one_of(kind, reason)]


@pytest.mark.parametrize("animal", PIPED, ids=repr)
def test_what_a_pipe_gets_of_it(house: House, animal: Animal) -> None:
    client = house.admit(animal)
    done = chat(house.server, f"{animal.says[0]}\n", "--new", "--workspace", client.workspace)
    assert bare(done.stdout) == bare(animal.text or "")
    assert done.returncode == (0 if animal.reason == "completed" else 1)
    for words in animal.words:
        assert bare(words) in bare(done.stderr)
