"""What was said is changed without loss: branches that are left stay, and the next prompt follows what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import gevent
import pytest
from runs_rig import House, wait_until

from deechat.agents.providers.base import Scripted, Text
from deechat.errors import NotFoundError
from deechat.principal import OWNER, Principal
from deechat.runs.edits import Edits
from deechat.store.base import InsertMessage, StoredMessage, Thread
from deechat.store.memory import MemoryStore

STRANGER = Principal("stranger")
TOOL = {"kind": "tool", "call_id": "c"}


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore()
    yield made
    made.close()


@pytest.fixture
def thread(store: MemoryStore) -> Thread:
    thread = store.new_thread(OWNER, store.workspace(OWNER, "default"), "Sums")
    parent = None
    for name in ("p1", "a1", "p2", "a2", "p3", "a3"):
        role = "user" if name[0] == "p" else "assistant"
        parts = {"parts": [{"kind": "text", "length": 6}]} if role == "assistant" else {}
        store.write(InsertMessage(StoredMessage(name, thread.id, parent, role, f"Say {name}", 2.0, None, parts)))
        parent = name
    return thread


def edits_of(store: MemoryStore) -> Edits:
    lock: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext()  # noqa: E731
    return Edits(store, lock, lambda *_: None)


def shown(store: MemoryStore, thread: Thread) -> list[str]:
    return [each.id for each in edits_of(store).branch(OWNER, thread)]


@pytest.mark.parametrize(
    ("message", "left"), [("a3", "p1 a1 p2 a2"), ("p3", "p1 a1 p2 a2"), ("a2", "p1 a1"), ("p2", "p1 a1"), ("p1", "")]
)
def test_the_next_prompt_takes_the_place_of_the_one_that_is_left(
    store: MemoryStore, thread: Thread, message: str, left: str
) -> None:
    edits_of(store).rewind(OWNER, message)
    assert shown(store, thread) == left.split()
    assert len(store.messages(OWNER, thread)) == 6, "nothing is lost"


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        (["a1"], "p2 a2 p3 a3"),
        (["p2"], "p1 a1 p3 a3"),
        (["a3"], "p1 a1 p2 a2"),
        (["a2", "a3"], "p1 a1"),
        (["a3", "a2"], "p1 a1"),
        (["a1", "a2", "a3"], ""),
        (["a1", "a1"], "p2 a2 p3 a3"),
    ],
)
def test_an_exchange_is_taken_out_of_the_conversation(
    store: MemoryStore, thread: Thread, taken: list[str], left: str
) -> None:
    for each in taken:
        edits_of(store).remove(OWNER, each)
    assert shown(store, thread) == left.split()
    assert len(store.messages(OWNER, thread)) == 6, "nothing is lost"


def test_an_answer_that_goes_on_from_another_belongs_to_the_same_exchange(store: MemoryStore, thread: Thread) -> None:
    store.write(InsertMessage(StoredMessage("a4", thread.id, "a3", "assistant", "more", 3.0)))
    edits_of(store).remove(OWNER, "a4")
    assert shown(store, thread) == ["p1", "a1", "p2", "a2"]


def test_a_prompt_is_written_anew_by_its_id_or_by_that_of_its_answer(store: MemoryStore, thread: Thread) -> None:
    edits = edits_of(store)
    edits.rewrite(OWNER, "p1", "user", "One")
    edits.rewrite(OWNER, "a2", "user", "Two")
    edits.rewrite(OWNER, "a3", "assistant", "Three")
    assert [each.content for each in edits.branch(OWNER, thread)] == [
        *("One", "Say a1", "Two", "Say a2", "Say p3", "Three"),
    ]
    with pytest.raises(NotFoundError):
        edits.rewrite(OWNER, "p1", "assistant", "x")


def test_of_an_answer_the_text_behind_its_last_call_is_written_anew(store: MemoryStore, thread: Thread) -> None:
    parts = [{"kind": "text", "length": 5}, TOOL, {"kind": "text", "length": 6}]
    answer = StoredMessage("a4", thread.id, "p3", "assistant", "Wait.\n\nDone", 3.0, None, {"parts": parts}, "[1]")
    store.write(InsertMessage(answer))
    edits_of(store).rewrite(OWNER, "a4", "assistant", "Ready.")
    changed = store.message(OWNER, thread, "a4")
    assert (changed.content, changed.turns) == ("Wait.\n\nReady.", "")
    assert changed.details["parts"] == [{"kind": "text", "length": 5}, TOOL, {"kind": "text", "length": 8}]


def test_a_fork_has_copies_up_to_a_message(store: MemoryStore, thread: Thread) -> None:
    edits = edits_of(store)
    edits.rewind(OWNER, "a3")
    for last, count in (("a1", 2), (None, 4)):
        fork = edits.fork(OWNER, thread, last)
        copies = edits.branch(OWNER, fork)
        assert [each.content for each in copies] == [f"Say {name}" for name in ("p1", "a1", "p2", "a2")[:count]]
        assert {each.id for each in copies}.isdisjoint({"p1", "a1", "p2", "a2"})
        assert fork.name == "Sums"
    with pytest.raises(NotFoundError):
        edits.fork(OWNER, thread, "x")


def test_a_score_is_kept_and_taken_back(store: MemoryStore, thread: Thread) -> None:
    for score in (True, False, None):
        edits_of(store).rate(OWNER, "a1", score)
        assert store.message(OWNER, thread, "a1").details["feedback"] is score


def test_another_principals_messages_are_not_found(store: MemoryStore, thread: Thread) -> None:
    edits = edits_of(store)
    for act in (
        lambda: edits.rewind(STRANGER, "a3"),
        lambda: edits.remove(STRANGER, "a3"),
        lambda: edits.rewrite(STRANGER, "a3", "assistant", "x"),
        lambda: edits.rate(STRANGER, "a3", True),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert shown(store, thread) == ["p1", "a1", "p2", "a2", "p3", "a3"]


def ever() -> Any:
    gevent.sleep(60)


def test_an_exchange_that_is_being_answered_is_stopped_and_does_not_come_back(
    store: MemoryStore, tmp_path: Path
) -> None:
    house = House(tmp_path / "none", Scripted([Text("Half"), ever]), store=store)
    thread = house.thread()
    run = house.start(thread)
    (prompt,) = store.messages(OWNER, thread)
    wait_until(lambda: house.runs.view(OWNER, run).last_seq >= 4)
    house.runs.edits.remove(OWNER, prompt.id)
    house.runs.stop(OWNER, run)  # it has ended by then
    assert house.runs.edits.branch(OWNER, thread) == []
