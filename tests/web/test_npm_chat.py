"""`useChat` of the AI SDK with each of its transports, unmodified, in React: cuts, approvals, reloads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from cutting_proxy import EventCutter
from model_server import ModelServer, reasoning, reply, text, tool_calls
from npm_client import Npm
from server import Server

Json = dict[str, Any]
PAY = ("pay", {"amount": 1})
LAST = (b'"finish"', b"[DONE]")
QUESTION = {"kind": "input", "question": "Where?", "inputType": "text", "placeholder": ""}
TRANSPORTS = ("default", "workflow")


@dataclass
class Page:
    """A page with a chat, that is one thread."""

    npm: Npm
    server: str  # its address, or that of a proxy before it
    transport: str
    thread: str = field(default_factory=lambda: uuid.uuid4().hex)
    messages: list[Json] = field(default_factory=list)
    resume: bool = False
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        given = {"name": self.name, "threadId": self.thread, "transport": self.transport}
        given |= {"messages": self.messages, "resume": self.resume}
        self.npm.call("open", url=f"{self.server}/api/ai/default", **given)

    def begin(self, command: str, **given: Any) -> Callable[[], Any]:
        return self.npm.begin(command, name=self.name, **given)

    def answer(self, words: str = "") -> Json:
        """Gives the last message once the chat is ready and that one is an answer with these words."""
        return self._message(lambda status, message: status == "ready" and words in text_of(message))

    def streaming(self, words: str) -> Json:
        """Gives the answer as far as it is, once it has these words."""
        return self._message(lambda _status, message: words in text_of(message))

    def asked(self) -> str:
        """Gives the id of the one request that the chat is ready to answer."""
        message = self._message(lambda status, message: status == "ready" and bool(requests_in(message)))
        [request] = requests_in(message)
        return request

    def _message(self, claim: Callable[[str, Json], bool]) -> Json:
        found: list[Json] = []

        def holds() -> bool:
            if (states := self.told("status")) and states[-1]["messages"]:
                message = states[-1]["messages"][-1]
                if message["role"] == "assistant" and claim(states[-1]["status"], message):
                    found.append(message)
            return bool(found)

        self.npm.wait(holds)
        return found[-1]

    def told(self, word: str) -> list[Json]:
        return [each for each in self.npm.told if each["name"] == self.name and word in each]

    @property
    def errors(self) -> list[str]:
        return [each["error"] for each in self.told("error")]


def text_of(message: Json) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def requests_in(message: Json) -> list[str]:
    """Gives the ids of the requests that a message has and nobody has answered."""
    return [part["approval"]["id"] for part in message["parts"] if part.get("state") == "approval-requested"]


@pytest.fixture
def node(npm: Callable[[str], Npm]) -> Npm:
    return npm("chat.js")


@pytest.fixture
def server(asking_server: Server) -> Server:
    return asking_server


def said(words: str) -> Json:
    return {"text": words, "id": uuid.uuid4().hex}


def long_answer(model: ModelServer) -> Callable[[], None]:
    """Scripts an answer of many chunks that stops in its middle until the function is called."""
    gate = model.gate()
    model.script(
        reply(reasoning("Let me think about it.", 3), text("Let me look. ", 2), tool_calls(("look", {"at": "it"}))),
        reply(text("One two three ", 2), gate, text("four five six.", 2)),
    )
    return gate.release


def undisturbed(page: Page, server: Server, prompt: Json) -> Json:
    """Gives the answer as a page has it that sends the same message once more, and is cut off nowhere."""
    other = Page(page.npm, server.url, page.transport, page.thread)
    other.begin("say", **prompt)()
    assert other.errors == []
    return other.answer()


@pytest.mark.parametrize(("transport", "most"), [("workflow", 3), ("patient", 10**9)])
def test_the_workflow_transport_brings_a_message_whole_that_is_cut_after_every_fourth_chunk(
    server: Server, model: ModelServer, node: Npm, transport: str, most: int
) -> None:
    go_on, prompt = long_answer(model), said("Go")
    with EventCutter(server, every=4, last=LAST, most=most) as proxy:
        page = Page(node, proxy.url, transport)
        sent = page.begin("say", **prompt)
        page.streaming("One two three ")
        go_on()
        sent()
        assert proxy.cuts >= 3
    message = page.answer("five six.")
    assert text_of(message) == "Let me look. \n\nOne two three four five six."
    assert page.errors == []
    assert undisturbed(page, server, prompt) == message
    assert len(model.asked) == 2  # neither coming back nor the same message again asked anything


def test_the_default_transport_brings_a_message_whole_after_three_cuts_when_the_page_resumes(
    server: Server, model: ModelServer, node: Npm
) -> None:
    go_on, prompt = long_answer(model), said("Go")
    with EventCutter(server, every=4, last=LAST, most=3) as proxy:
        page = Page(node, proxy.url, "default")
        page.begin("say", **prompt)
        for cut in range(1, 4):
            node.wait(lambda cut=cut: len(page.errors) == cut)  # type: ignore[misc]
            page.begin("resume")
        page.streaming("One two three ")
        go_on()
        message = page.answer("five six.")
        assert proxy.cuts == 3
    assert [each["role"] for each in page.told("status")[-1]["messages"]] == ["user", "assistant"]
    assert undisturbed(page, server, prompt) == message
    assert len(model.asked) == 2


@pytest.mark.parametrize("approved", [True, False])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_approval_is_answered_and_the_run_goes_on(
    server: Server, model: ModelServer, node: Npm, transport: str, approved: bool
) -> None:
    model.script(reply(text("I would pay. "), tool_calls(PAY)), reply("So be it."))
    page = Page(node, server.url, transport)
    page.begin("say", **said("Pay"))()
    page.begin("approve", id=page.asked(), approved=approved)()
    message = page.answer("So be it.")
    [call] = [part for part in message["parts"] if part["type"] == "dynamic-tool"]
    assert call["state"] == ("output-available" if approved else "output-denied")
    assert call.get("output") == ("pay is done" if approved else None)
    assert text_of(message) == "I would pay. \n\nSo be it."
    assert page.errors == []
    history = requests.get(f"{server.url}/api/workspace/default/thread/{page.thread}/chats", timeout=60).json()
    assert [each["content"] for each in history["history"]] == ["Pay", "I would pay. \n\nSo be it."]


def test_the_rest_after_an_approval_comes_across_cuts(server: Server, model: ModelServer, node: Npm) -> None:
    model.script(reply(text("I would pay now. ", 2), tool_calls(PAY)), reply(text("It is paid by now.", 2)))
    with EventCutter(server, every=4, last=LAST) as proxy:
        page = Page(node, proxy.url, "patient")
        page.begin("say", **said("Pay"))()
        request, cuts = page.asked(), proxy.cuts
        page.begin("approve", id=request, approved=True)()
        message = page.answer("It is paid by now.")
        assert proxy.cuts > cuts > 0
    assert text_of(message) == "I would pay now. \n\nIt is paid by now."
    assert page.errors == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_questions_are_answered_by_a_reason(server: Server, model: ModelServer, node: Npm, transport: str) -> None:
    model.script(reply(tool_calls(("ask_user", {"questions": [QUESTION]}))), reply("There, then."))
    page = Page(node, server.url, transport)
    page.begin("say", **said("Ask me"))()
    page.begin("approve", id=page.asked(), approved=True, reason="Over there")()
    message = page.answer("There, then.")
    [call] = [part for part in message["parts"] if part["type"] == "dynamic-tool"]
    assert "Over there" in call["output"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_that_is_loaded_again_joins_the_answer(
    server: Server, model: ModelServer, node: Npm, transport: str
) -> None:
    go_on, prompt = long_answer(model), said("Go")
    page = Page(node, server.url, transport)
    page.begin("say", **prompt)
    page.streaming("One two three ")
    history = page.told("status")[-1]["messages"][:1]
    page.begin("close")()
    again = Page(node, server.url, transport, page.thread, history, resume=True)
    again.streaming("One two three ")
    go_on()
    message = again.answer("four five six.")
    assert again.errors == []
    assert undisturbed(again, server, prompt) == message


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_that_is_loaded_again_answers_the_approval(
    server: Server, model: ModelServer, node: Npm, transport: str
) -> None:
    model.script(reply(text("I would pay. "), tool_calls(PAY)), reply("It is paid."))
    page = Page(node, server.url, transport)
    page.begin("say", **said("Pay"))()
    page.asked()
    history = page.told("status")[-1]["messages"][:1]
    page.begin("close")()
    again = Page(node, server.url, transport, page.thread, history, resume=True)
    again.begin("approve", id=again.asked(), approved=True)()
    assert text_of(again.answer("It is paid.")) == "I would pay. \n\nIt is paid."
    assert again.errors == []


def test_a_page_of_a_thread_that_rests_joins_nothing_and_asks_again(
    server: Server, model: ModelServer, node: Npm
) -> None:
    model.script(reply("Yes."), reply("No."))
    page = Page(node, server.url, "default")
    page.begin("say", **said("Go"))()
    page.answer("Yes.")
    history = page.told("status")[-1]["messages"]
    again = Page(node, server.url, "default", page.thread, history, resume=True)
    again.begin("resume")()
    assert text_of(again.answer()) == "Yes."
    again.begin("regenerate")()
    assert text_of(again.answer("No.")) == "No."
    assert again.errors == []
