"""AnythingLLM's page over HTTP: each route in the shape that its page reads, and a chat as its reducer sees it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from anythingllm_page import Page
from client import Client
from model_server import ModelServer, cut, reply, text, tool_calls
from server import Server, wait_until

from deechat.web.gate import COOKIE

THEIRS = {"X-Timezone": "UTC", "X-Language": "en-US", "Authorization": "null"}
PLAIN = "text/plain;charset=UTF-8"
PASSWORD = "correct horse"


class Site:
    """One thread as the page has it open."""

    def __init__(self, server: Server, thread: str | None = None) -> None:
        self.server = server
        made = self.call("POST", "/workspace/default/thread/new") if thread is None else None
        self.slug = made["thread"]["slug"] if made else thread
        self.path = f"/workspace/default/thread/{self.slug}"
        self.page = Page()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Sends as the page does: JSON as plain text."""
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": PLAIN}
        return requests.request(
            method, f"{self.server.url}/api{path}", data=data, headers={**THEIRS, **kind, **headers}, timeout=30
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        response = self.send(method, path, body)
        assert response.status_code == 200, response.text
        return response.json()

    def frames(self, message: str) -> Iterator[dict[str, Any]]:
        """Sends a prompt and gives the frames as they come."""
        with closing(
            requests.post(
                f"{self.server.url}/api{self.path}/stream-chat",
                data=json.dumps({"message": message, "attachments": []}),
                headers={**THEIRS, "Content-Type": PLAIN},
                stream=True,
                timeout=30,
            )
        ) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def ask(self, message: str) -> Page:
        self.page.send(message)
        return self.page.take(self.frames(message))

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.call("GET", f"{self.path}/chats")["history"]  # type: ignore[no-any-return]

    @property
    def said(self) -> list[str]:
        return [each["content"] for each in self.history]


@pytest.fixture
def site(server: Server) -> Site:
    return Site(server)


# -- the routes of a visit ---------------------------------------------------------------------------------------------


def test_a_visit_gets_each_answer_in_its_shape(site: Site) -> None:
    assert site.call("GET", "/onboarding") == {"onboardingComplete": True}
    results = site.call("GET", "/setup-complete")["results"]
    assert {**results, "RequiresAuth": False, "MultiUserMode": False, "MemoryEnabled": False} == results
    assert {"LLMProvider", "LLMModel", "TextToSpeechProvider", "SpeechToTextProvider"} <= set(results)
    logo = site.send("GET", "/system/logo?theme=dark")
    assert (logo.status_code, logo.content) == (204, b"")
    assert json.loads(site.call("GET", "/system/footer-data")["footerData"]) == []
    assert site.call("GET", "/system/support-email") == {"supportEmail": None}
    assert site.send("GET", "/system/document-processing-status").status_code == 503, "there are no documents"
    of = "/workspace/default"
    assert site.call("GET", f"{of}/suggested-messages") == {"success": True, "suggestedMessages": []}
    assert site.call("GET", f"{of}/is-agent-command-available") == {"showAgentCommand": False}
    files = site.call("GET", f"{of}/parsed-files?threadSlug={site.slug}")
    assert files == {"files": [], "contextWindow": None, "currentContextTokenCount": 0}
    assert site.call("GET", "/system/refresh-user") == {"success": True, "user": None, "message": None}
    assert site.send("GET", "/system/check-token").status_code == 200
    assert site.call("GET", "/workspaces/default/memories") == {"memories": {"global": [], "workspace": []}}
    assert site.call("GET", "/system/slash-command-presets") == {"presets": []}
    assert site.call("GET", "/mcp-servers/list")["servers"] == []
    assert site.call("GET", "/agent-flows/list")["flows"] == []
    assert site.call("GET", "/system/multi-user-mode") == {"multiUserMode": False}
    assert site.send("GET", f"{of}/tts/x").status_code == 204
    assert site.call("POST", "/agent-skills/whitelist/add", {"skillName": "web_fetch"})["success"] is False


def test_a_workspace_is_made_shown_and_renamed_in_plain_text(site: Site) -> None:
    made = site.call("POST", "/workspace/new", {"name": "Plans"})
    slug = made["workspace"]["slug"]
    site.call("POST", f"/workspace/{slug}/update", {"name": "Better plans"})
    shown = site.call("GET", f"/workspace/{slug}")["workspace"]
    assert (shown["name"], shown["chatModel"]) == ("Better plans", "offline")
    assert slug in [each["slug"] for each in site.call("GET", "/workspaces")["workspaces"]]
    found = site.call("POST", "/workspace/search", {"searchTerm": "better"})
    assert found == {"workspaces": [{"slug": slug, "name": "Better plans"}], "threads": []}
    assert site.send("DELETE", f"/workspace/{slug}").ok


def test_plain_text_is_json_for_this_page_alone(server: Server) -> None:
    path = f"{server.url}/api/workspace/new"
    assert requests.post(path, b'{"name": "x"}', headers={"Content-Type": PLAIN}, timeout=9).status_code == 415
    theirs = {"Content-Type": PLAIN, "X-Timezone": "UTC", "Origin": "https://evil.example"}
    assert requests.post(path, b'{"name": "x"}', headers=theirs, timeout=9).status_code == 403


def test_threads_have_names_and_the_default_one_is_a_count(server: Server) -> None:
    site, default = Site(server), Site(server, "default")
    workspace = site.call("POST", "/workspace/new", {"name": "Threads"})["workspace"]["slug"]
    of = f"/workspace/{workspace}"
    assert site.call("GET", f"{of}/threads") == {"threads": [], "defaultThreadChatCount": 0}
    thread = site.call("POST", f"{of}/thread/new")["thread"]["slug"]
    default.path = of
    default.ask("hello")
    listed = site.call("GET", f"{of}/threads")
    assert [(each["slug"], each["name"]) for each in listed["threads"]] == [(thread, "Thread")]
    assert listed["defaultThreadChatCount"] > 0
    site.call("POST", f"{of}/thread/{thread}/update", {"name": "Trip"})
    found = site.call("POST", "/workspace/search", {"searchTerm": "TRIP"})["threads"]
    assert found == [{"slug": thread, "name": "Trip", "workspace": {"slug": workspace, "name": "Threads"}}]
    other = site.call("POST", f"{of}/thread/new")["thread"]["slug"]
    assert site.send("DELETE", f"{of}/thread-bulk-delete", {"slugs": [thread, "gone", other]}).ok
    assert site.call("GET", f"{of}/threads")["threads"] == []


def test_our_own_page_gets_its_own_answers_at_the_same_addresses(site: Site) -> None:
    site.ask("hello")
    ours = Client(site.server, thread=str(site.slug))
    history = ours.get(f"{ours.thread_path}/chats")["history"]
    assert [each["role"] for each in history] == ["user", "assistant"]
    assert {"parts", "toolCalls", "run"} <= set(history[1])
    assert "attachments" not in history[0]


# -- a chat ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_same_live_and_after_a_reload(site: Site) -> None:
    page = site.ask("What is 17% of 2,340?")
    assert "397.8" in page.text
    assert "calculator" in page.thoughts
    assert not page.loading
    assert page.names == {site.slug: "What is 17% of 2,340?"}
    prompt, answer = site.history
    assert (prompt["role"], prompt["content"], prompt["attachments"]) == ("user", "What is 17% of 2,340?", [])
    assert "calculator" in answer["content"]
    assert "397.8" in answer["content"]
    assert {prompt["chatId"], answer["chatId"]} == {page.ids[-1]}, "the page deletes both by one id"
    assert answer["metrics"]["model"] == "offline"
    assert {"role", "content", "chatId", "sentAt", "type", "sources", "metrics", "feedbackScore", "outputs"} <= set(
        answer
    )


def test_a_question_is_answered_by_the_next_prompt(site: Site) -> None:
    page = site.ask("ask me something")
    assert "Tea or coffee?" in page.text
    assert not page.loading
    assert "Tea or coffee?" in site.said[-1], "it waits on after a reload"
    assert "3 questions" in site.ask("blue").errors[0]
    page = site.ask("Paris\n2\nWriting")
    assert "Coffee" in page.text
    answer = site.history[-1]
    assert answer["clarifyingQuestions"][0]["result"]["answers"][0] == {"skipped": False, "answer": "Paris"}


def test_what_is_refused_is_said_in_words_on_the_page(site: Site) -> None:
    site.page.send("hello")
    body = {"message": "hello", "attachments": [{"name": "a.txt"}]}
    response = site.send("POST", f"{site.path}/stream-chat", body)
    assert response.status_code == 200
    site.page.take([json.loads(response.text.removeprefix("data: "))])
    assert site.page.errors == ["Attachments are not taken yet."]
    assert not site.page.loading
    gone = Site(site.server, "gone").ask("hello")
    assert "no thread" in gone.errors[0]


# -- what was said is changed ------------------------------------------------------------------------------------------


@pytest.fixture
def talk(site: Site) -> Site:
    for prompt in ("1 + 1", "2 + 2", "3 + 3"):
        site.ask(prompt)
    return site


def test_regenerating_leaves_the_answer_for_another_one(talk: Site) -> None:
    last = talk.history[-1]["chatId"]
    talk.call("DELETE", "/workspace/default/delete-chats", {"chatIds": [last]})
    assert talk.said[0::2] == ["1 + 1", "2 + 2"]
    talk.ask("3 + 3")
    assert talk.said[0::2] == ["1 + 1", "2 + 2", "3 + 3"]
    assert talk.history[-1]["chatId"] != last
    ours = Client(talk.server, thread=str(talk.slug))
    assert len(ours.get(f"{ours.thread_path}/chats")["history"]) == 8, "the first answer is a branch of its own"


@pytest.mark.parametrize("bound", ["prompt", "answer"])
def test_an_edited_prompt_takes_the_place_of_all_behind_it(talk: Site, bound: str) -> None:
    starting = talk.history[2 if bound == "prompt" else 3]["chatId"]
    talk.call("DELETE", f"{talk.path}/delete-edited-chats", {"startingId": starting})
    talk.ask("5 + 5")
    assert talk.said[0::2] == ["1 + 1", "5 + 5"]


def test_a_deleted_exchange_is_gone_and_the_model_is_not_shown_it(talk: Site) -> None:
    middle = talk.history[3]["chatId"]
    assert talk.call("PUT", f"/workspace/workspace-chats/{middle}") == {"success": True, "error": None}
    assert talk.said[0::2] == ["1 + 1", "3 + 3"]
    wrong = talk.send("PUT", "/workspace/workspace-chats/nothing")
    assert (wrong.status_code, wrong.json()["success"]) == (404, False)


def test_a_text_is_saved_in_place(talk: Site) -> None:
    history = talk.history
    path = f"{talk.path}/update-chat"
    talk.call("POST", path, {"chatId": history[0]["chatId"], "newText": "One and one", "role": "user"})
    edited = "<think>\n\n🔧 x\n</think>\n\nTwo."
    talk.call("POST", path, {"chatId": history[1]["chatId"], "newText": edited, "role": "assistant"})
    after = talk.history
    assert after[0]["content"] == "One and one"
    assert after[1]["content"].endswith("Two.")
    assert after[1]["content"].count("<think>") == 1
    assert talk.send("POST", path, {"chatId": "nothing", "newText": "x"}).status_code == 404


def test_the_log_of_an_answer_keeps_what_was_said_when_its_text_is_saved_anew(talk: Site) -> None:
    ((run_id,),) = talk.server.rows("SELECT run_id FROM message WHERE id = ?", talk.history[-1]["chatId"])
    blocks = "SELECT count(*) FROM block WHERE run_id = ?"
    wait_until(lambda: talk.server.rows(blocks, run_id) == [(1,)])
    log = talk.server.entries(str(run_id))
    talk.call(
        "POST", f"{talk.path}/update-chat", {"chatId": talk.history[-1]["chatId"], "newText": "6!", "role": "assistant"}
    )
    assert talk.history[-1]["content"].endswith("6!")
    assert talk.server.entries(str(run_id)) == log


def test_a_score_stays(talk: Site) -> None:
    answer = talk.history[-1]["chatId"]
    talk.call("POST", f"/workspace/default/chat-feedback/{answer}", {"feedback": True})
    assert talk.history[-1]["feedbackScore"] is True
    assert talk.send("POST", "/workspace/default/chat-feedback/nothing", {"feedback": True}).status_code == 400


def test_a_fork_begins_with_the_same_words(talk: Site) -> None:
    body = {"threadSlug": talk.slug, "chatId": talk.history[3]["chatId"]}
    fork = Site(talk.server, talk.call("POST", "/workspace/default/thread/fork", body)["newThreadSlug"])
    assert fork.said == talk.said[:4]
    fork.ask("4 + 4")
    assert talk.said[0::2] == ["1 + 1", "2 + 2", "3 + 3"]
    assert talk.send("DELETE", talk.path).ok
    assert fork.said[0::2] == ["1 + 1", "2 + 2", "4 + 4"]


# -- a run that goes on ------------------------------------------------------------------------------------------------


FETCH = ("web_fetch", {"url": "https://one.invalid/"})


@pytest.fixture
def made(agent_server: Server) -> Site:
    """A thread whose answers the scripted model makes."""
    return Site(agent_server)


@pytest.mark.parametrize(
    ("word", "said", "heard"),
    [("yes", "Approved", None), ("No.", "Refused", None), ("Try example.org", "Refused", "Try example.org")],
)
def test_an_approval_is_answered_by_the_next_prompt(
    made: Site, model: ModelServer, word: str, said: str, heard: str | None
) -> None:
    model.script(reply(text("Look."), tool_calls(FETCH)), "Well.")
    page = made.ask("Read it")
    assert "https://one.invalid/" in page.text
    assert "yes, no or always" in page.text
    page = made.ask(word)
    assert said in page.thoughts
    assert page.text.endswith("Well.")
    messages = model.asked[-1]["messages"]
    assert [each["content"] for each in messages if each["role"] == "user"] == ["Read it", *([heard] if heard else [])]
    assert [each["role"] for each in made.history][-1] == "assistant"


def test_a_run_that_waits_stands_there_after_a_reload_as_its_stream_showed_it(made: Site, model: ModelServer) -> None:
    think = [{"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}]
    model.script(reply(*think, text("Look."), tool_calls(FETCH)), reply(text("More."), tool_calls(FETCH)), "Well.")
    page = made.ask("Read it")
    assert made.said[1:] == [each["content"] for each in page.answers]
    page = made.ask("yes")
    again = Page().take([])
    again.shown = made.history[1:]
    assert again.text.count("Look.") == again.text.count("More.") == 1
    assert again.text.count("needs your approval") == 1, "the request that has its answer is a thought now"
    assert "Approved" in again.thoughts
    assert made.ask("no").text.endswith("Well.")


def test_a_run_over_a_socket_that_waits_tells_after_a_reload_how_to_come_to_its_card(
    made: Site, model: ModelServer
) -> None:
    slug = made.call("POST", "/workspace/new", {"name": "Sockets"})["workspace"]["slug"]
    made.call("POST", f"/workspace/{slug}/update", {"transport": "hybrid"})
    made.path = f"/workspace/{slug}"
    model.script(reply(text("Look."), tool_calls(FETCH)))
    made.ask("Read it")
    request = made.said[-1]
    assert "needs your approval" in request
    assert "with its buttons" in request
    assert "yes, no or always" not in request
    made.call("DELETE", f"/workspace/{slug}")


@pytest.mark.parametrize("transport", ["sse", "hybrid"])
def test_a_run_that_waits_for_another_clients_tool_says_so(made: Site, model: ModelServer, transport: str) -> None:
    slug = made.call("POST", "/workspace/new", {"name": "Shared"})["workspace"]["slug"]
    made.call("POST", f"/workspace/{slug}/update", {"transport": transport})
    message = {"id": "u", "role": "user", "content": "Look"}
    body = {"threadId": "theirs", "runId": "r", "messages": [message], "tools": [{"name": "look_around"}]}
    model.script(reply(text("Hm."), tool_calls(("look_around", {}))))
    assert requests.post(f"{made.server.url}/api/agui/{slug}", json=body, timeout=60).status_code == 200
    made.path = f"/workspace/{slug}/thread/theirs"
    assert "result of look_around" in made.said[-1]
    if transport == "sse":
        assert "result of look_around" in made.ask("And?").answers[-1]["error"]
        assert made.ask("/stop").answers
    made.call("DELETE", f"/workspace/{slug}")


def test_always_allows_the_host_for_good(made: Site, model: ModelServer) -> None:
    model.script(reply(tool_calls(FETCH)), "One.", reply(tool_calls(FETCH)), "Two.")
    made.ask("Read it")
    made.ask("always")
    assert made.ask("Again").text.endswith("Two.")


def test_the_stop_button_that_hangs_up_stops_the_run_and_the_text_stays(made: Site, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Half"), gate))
    made.page.send("Go")
    frames = made.frames("Go")
    for frame in frames:
        made.page.take([frame])
        if "Half" in made.page.text:
            break
    gate.wait_reached()
    assert made.page.loading
    frames.close()  # type: ignore[attr-defined]
    wait_until(lambda: made.call("GET", f"{made.path}/chats")["activeRun"] is None)
    assert made.said == ["Go", "Half"]
    ours = Client(made.server, thread=str(made.slug)).get(f"/api{made.path}/chats")["history"]
    assert ours[-1]["reason"] == "stopped"


def test_a_prompt_into_a_thread_whose_run_is_active_joins_that_run(made: Site, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Half"), gate, text(" an answer")), "And in euros.")
    ours = Client(made.server, thread=str(made.slug))
    stream = ours.send("Go")
    stream.read_until("Half")
    gate.wait_reached()
    made.page.send("In euros")
    for frame in made.frames("In euros"):
        made.page.take([frame])
        if "In euros" in made.page.thoughts or "Half" in made.page.text:
            gate.release()
    assert made.page.text.split() == ["Half", "an", "answer", "And", "in", "euros."]
    assert model.asked[-1]["messages"][-1]["content"] == "In euros"
    assert len([each for each in made.history if each["role"] == "user"]) == 2


def test_an_edit_stops_the_run_that_is_under_way(made: Site, model: ModelServer) -> None:
    model.script("One.")
    made.ask("Go")
    gate = model.gate()
    model.script(reply(text("Half"), gate), "Other.")
    ours = Client(made.server, thread=str(made.slug))
    stream = ours.send("And on")
    stream.read_until("Half")
    gate.wait_reached()
    made.call("DELETE", f"{made.path}/delete-edited-chats", {"startingId": made.history[0]["chatId"]})
    made.ask("Go elsewhere")
    assert made.said == ["Go elsewhere", "Other."]
    assert stream.read().ending["type"] == "stopGeneration"  # type: ignore[index]


def _is_reached(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def test_a_server_that_leaves_gives_the_send_button_back_and_the_text_stays(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    gate = model.gate()
    model.script(reply(text("Half"), gate, tool_calls(("calculator", {"expression": "1 + 1"}))), "Two.")
    server = serve(model)
    site = Site(server)
    site.page.send("Go")
    for frame in site.frames("Go"):
        site.page.take([frame])
        if site.page.text == "Half":
            gate.wait_reached()
            assert site.page.loading
            assert server._process is not None
            server._process.terminate()
            wait_until(lambda: not _is_reached(server))
            gate.release()  # the step ends, and the next one is the next server's
    assert not site.page.loading
    assert re.fullmatch(r"Half\*The connection to this answer has ended\. .*\*", site.page.text)
    assert server.terminate() == 0


def test_a_failure_leaves_what_was_said_live_and_after_a_reload(made: Site, model: ModelServer) -> None:
    model.script(reply(text("Half"), cut()))
    page = made.ask("Go")
    assert page.text == "Half"
    assert len(page.errors) == 1
    history = made.history
    assert [each["content"] for each in history][:2] == ["Go", "Half"]
    assert history[-1]["error"] == page.errors[0]


# -- the log-in --------------------------------------------------------------------------------------------------------


def test_a_token_for_the_password_is_good_as_bearer_and_as_cookie(tmp_path: Path) -> None:
    server = Server(tmp_path, DEECHAT_PASSWORD=PASSWORD)
    try:
        site = Site(server.start(), "default")
        assert site.call("GET", "/setup-complete")["results"]["RequiresAuth"] is True
        assert site.send("GET", "/system/check-token").status_code == 401
        assert "What was sent" not in site.send("GET", "/workspaces").text
        wrong = site.send("POST", "/request-token", {"password": "guess"})
        assert wrong.status_code == 401
        assert wrong.json() == {"valid": False, "token": None, "message": "That is not the password."}
        given = site.send("POST", "/request-token", {"password": PASSWORD})
        answer = given.json()
        assert (answer["valid"], answer["message"]) == (True, None)
        for headers in (
            {"Authorization": f"Bearer {answer['token']}"},
            {"Cookie": f"{COOKIE}={given.cookies[COOKIE]}"},
        ):
            assert site.send("GET", "/system/check-token", **headers).status_code == 200
            assert site.send("GET", "/system/refresh-user", **headers).json()["success"] is True
        forged = {"Authorization": f"Bearer {answer['token']}x"}
        assert site.send("GET", "/workspaces", **forged).status_code == 401
        assert requests.post(f"{server.url}/api/logout", cookies=given.cookies, timeout=9).ok
        ended = {"Authorization": f"Bearer {answer['token']}"}
        assert site.send("GET", "/workspaces", **ended).status_code == 401, "a log-out ends the token too"
    finally:
        server.kill()
