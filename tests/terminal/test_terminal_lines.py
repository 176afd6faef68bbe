"""Every line that a person types at `deechat chat` arrives, once and in order, however fast they type."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from client import Client
from model_server import ModelServer, reply, text
from server import Server, wait_until
from terminal_rig import Person

from deechat.terminal.keyboard import Keyboard

LINES = 1000


def said(client: Client) -> list[str]:
    """Gives what a person said in the thread, in order: prompts, and what joined an answer."""
    history: list[Any] = []
    while page := client.get(f"{client.thread_path}/chats", params=before(history))["history"]:
        history = page + history
    return [words for each in history for words in ([each["content"]] if each["role"] == "user" else each["steered"])]


def before(history: list[Any]) -> dict[str, Any]:
    return {"limit": 200, **({"before": history[0]["chatId"]} if history else {})}


def test_a_question_hears_a_thousand_lines_that_do_not_fit_and_the_one_that_does(
    client: Client, server: Server, person: Callable[..., Person]
) -> None:
    somebody = person(server, "--thread", client.thread)
    somebody.say("read https://one.invalid/")
    somebody.see("y/n/a/e> ")
    for number in range(LINES):
        somebody.type(f"perhaps {number}\n")
        somebody.see("y, n, a or e.\n")
        somebody.see("y/n/a/e> ")
    somebody.type("n\n")
    somebody.see("You refused it")
    assert said(client) == ["read https://one.invalid/"]


def test_a_line_that_comes_while_the_one_before_is_handed_over_is_not_lost() -> None:
    lines: SimpleQueue[str | None] = SimpleQueue()

    def deliver(line: str | None) -> None:
        lines.put(line)
        time.sleep(0.001)  # the thread that brought it lives on

    there, here = os.pipe()
    with os.fdopen(there) as typed, os.fdopen(here, "wb", buffering=0) as typing:
        keyboard = Keyboard(typed, interactive=False)
        for number in range(LINES):
            keyboard.start_reading(deliver)
            typing.write(b"%d\n" % number)
            assert lines.get(timeout=10) == str(number)
        keyboard.stop_reading()


def test_lines_that_are_typed_ahead_are_said_in_their_order(
    agent: Client, model: ModelServer, person: Callable[..., Person]
) -> None:
    model.answer = lambda _request: reply(text("Fine."))
    somebody = person(agent.server, "--thread", agent.thread)
    somebody.see("\n> ")
    lines = [f"line {number}" for number in range(LINES // 5)]
    chance = random.Random(7)
    for piece in pieces("".join(line + "\n" for line in lines), chance):
        somebody.type(piece)
        somebody.look(chance.choice((0, 0, 0.01, 0.05)))
    wait_until(lambda: somebody.look() and said(agent)[-1:] == lines[-1:], timeout=60)
    assert said(agent) == lines


def test_a_line_does_not_overtake_one_that_waits_for_somebody_else_s_answer(
    agent: Client, model: ModelServer, person: Callable[..., Person]
) -> None:
    gate = model.gate()
    model.script(reply("Theirs: ", gate, "done."), "Mine.", "And that.")
    somebody = person(agent.server, "--thread", agent.thread)
    somebody.see("\n> ")
    agent.send("theirs").read_until("Theirs: ")
    somebody.type("first\n")
    somebody.see("yours comes next.")
    somebody.type("second\n")
    somebody.see("This line comes after those that wait.")
    gate.release()
    somebody.see("And that.")
    somebody.see("> ")
    assert said(agent) == ["theirs", "first", "second"]


def test_a_line_that_was_begun_during_an_answer_is_gone_on_with_at_the_prompt(
    agent: Client, model: ModelServer, person: Callable[..., Person]
) -> None:
    gate = model.gate()
    model.script(reply("One ", gate, "moment."), "Done.")
    somebody = person(agent.server, "--thread", agent.thread)
    somebody.see("\n> ")
    somebody.type("first\nsec")  # the second line's beginning comes before the terminal is given back
    somebody.see("One ")
    gate.release()
    somebody.see("\n> ")
    somebody.see("sec")
    somebody.type("ond\n")
    somebody.see("Done.")
    assert said(agent) == ["first", "second"]


def pieces(text: str, chance: random.Random) -> Iterator[str]:
    """Cuts a text into pieces of one to sixty characters, wherever that is."""
    at = 0
    while at < len(text):
        size = chance.randint(1, 60)
        yield text[at : at + size]
        at += size
