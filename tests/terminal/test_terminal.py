"""`deechat chat` as a person and a pipe have it: the real command, against real servers, in a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from client import Client
from model_server import ModelServer, free_port, reasoning, reply, status, text, tool_calls
from server import ROOT, Server, wait_until
from terminal_rig import COMMAND, Person, chat, environment

from deechat.locale import say
from deechat.terminal.answer import Questions
from deechat.terminal.chat import language_of
from deechat.terminal.client import LEAVE, RefusedError, UnreachableError, retry
from deechat.terminal.client import Client as TerminalClient
from deechat.terminal.screen import Screen


def test_how_far_a_tool_is_stands_on_one_line_that_is_replaced(
    serve: Callable[..., Server], model: ModelServer, person: Callable[..., Person], tmp_path: Path
) -> None:
    server = serve(model=model, app="tooled:app", HOOKS=str(tmp_path))
    model.script(reply(tool_calls(("walk", {"steps": 3}))), reply(text("Well.")))
    somebody = person(server, "--new", NO_COLOR="")
    somebody.type("Walk\n")
    somebody.see("walk … Step 1 of 3  (33%)")
    (tmp_path / "step-1").touch()
    replaced = "\x1b[A\x1b[2K"
    assert replaced in somebody.see("walk … Step 2 of 3  (67%)")
    (tmp_path / "go").touch()
    assert replaced in somebody.see("walk → It is there.")
    somebody.see("Well.")


# -- a pipe ------------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_the_answer_alone(server: Server) -> None:
    done = chat(server, "what is 17% of 2,340?\n", "--new")
    assert (done.returncode, done.stdout, done.stderr) == (0, "`17% of 2,340` = **397.8**\n", "")


def test_a_person_whose_answers_go_to_a_file_sees_the_rest_at_the_terminal() -> None:
    told = io.StringIO()
    told.isatty = lambda: True  # type: ignore[method-assign]
    for quiet in (False, True):
        screen = Screen(io.StringIO(), told, partial(say, "terminal", "en"), colour=False, quiet=quiet)
        screen.show({"type": "toolCallResult", "name": "calculator", "content": "4", "isError": False, "seconds": 0})
        assert told.getvalue() == "   calculator → 4\n"


def test_a_pipe_gets_no_thinking_that_came_as_text() -> None:
    frames: list[dict[str, object]] = [
        {"type": "textResponseChunk", "textResponse": "Hmm."},
        {"type": "stepRestarted", "step": 1, "afterId": 2, "retold": "thinking"},
        {"type": "reasoningChunk", "textResponse": "Hmm."},
        {"type": "textResponseChunk", "textResponse": "42"},
        {"type": "stepFinished", "step": 1, "finishReason": "stop"},
    ]
    for is_terminal, answer, beside in (
        (False, "42", "💭 Hmm.\n"),
        (True, "Hmm.\n↻ So far that was thinking:\n💭 Hmm.\n42", ""),
    ):
        out, told = io.StringIO(), io.StringIO()
        out.isatty = lambda is_terminal=is_terminal: is_terminal  # type: ignore[method-assign,misc]
        screen = Screen(out, told, partial(say, "terminal", "en"), colour=False)
        for frame in frames:
            screen.show(frame)
        assert (out.getvalue(), told.getvalue()) == (answer, beside)


def test_where_both_streams_are_one_no_line_begins_within_another() -> None:
    answer = [
        {"type": "textResponseChunk", "textResponse": "Let me ask."},
        {"type": "stepFinished", "step": 1, "finishReason": "tool_calls"},
        {"type": "toolCallResult", "name": "calculator", "content": "4", "isError": False, "seconds": 0},
        {"type": "stepFinished", "step": 2, "finishReason": "tool_calls"},
        {"type": "textResponseChunk", "textResponse": "\n\nIt is 4."},
        {"type": "stepFinished", "step": 3, "finishReason": "stop"},
    ]
    both, alone = io.StringIO(), io.StringIO()
    for out, told in ((both, both), (alone, io.StringIO())):
        screen = Screen(out, told, partial(say, "terminal", "en"), colour=False)
        for frame in answer:
            screen.show(frame)
            if frame["type"] == "toolCallResult":
                screen.hint("   1/1 Sure?> ")
        screen.note("The connection is gone; trying again …")
        screen.end()
    assert both.getvalue() == (
        "Let me ask.\n   calculator → 4\n   1/1 Sure?> \n\nIt is 4.\nThe connection is gone; trying again …\n"
    )
    assert alone.getvalue() == "Let me ask.\n\nIt is 4.\n"


def test_lines_of_a_pipe_are_sent_one_after_another_and_answer_what_is_asked(server: Server) -> None:
    done = chat(server, "ask me something\nParis\n\n1, dancing\n\nwhat is 2+2?", "--new")
    assert done.returncode == 0
    said = done.stdout
    assert "Which city do you live in?: Paris\n" in said
    assert "Tea or coffee?: (skipped)\n" in said
    assert "?: Writing, dancing\n" in said
    assert said.endswith("\n`2+2` = **4**\n")
    assert "1/3 Which city do you live in? (Enter skips)>" in done.stderr
    one = chat(server, "ask me something\nParis\n\nTokens\n", "--new", together=True)
    assert re.search(r"^   3/3 .*\(Enter skips\)> \nThank you\.", one.stdout, re.MULTILINE)
    assert one.stdout.endswith("?: Tokens\n")


def test_where_the_input_is_over_a_request_is_refused(server: Server) -> None:
    done = chat(server, "ask me something\nParis\n", "--new")
    assert done.returncode == 1  # it did not get what it asked for
    assert "Nobody is here to answer" in done.stderr
    assert done.stdout.count("(skipped)") == 3
    done = chat(server, "read https://one.invalid/\n", "--new")
    assert (done.returncode, done.stdout) == (1, "You refused it, so I did not read https://one.invalid/.\n")


def test_an_answer_that_fails_gives_exit_code_1_and_its_words(agent_server: Server, model: ModelServer) -> None:
    model.script(status(401, "no"), "Fine.")
    done = chat(agent_server, "hi\nhi again\n", "--new")
    assert (done.returncode, done.stdout) == (1, "Fine.\n")
    assert "✗ " in done.stderr
    assert "OPENAI_API_KEY" in done.stderr


def test_a_pipe_keeps_to_its_thread(server: Server, client: Client) -> None:
    assert chat(server, "1+1\n", "--thread", client.thread).returncode == 0
    assert [each["content"] for each in client.history()] == ["1+1", "`1+1` = **2**"]


# -- which server ------------------------------------------------------------------------------------------------------


def test_without_a_server_it_starts_one_over_the_same_data_and_ends_it(nobody: Server) -> None:
    folder = nobody.folder / "temporary"
    folder.mkdir()
    for line in ("what is 17% of 2,340?\n", "2^10\n"):  # the second time the data folder is free again
        done = chat(nobody, line, TMPDIR=str(folder))
        assert done.returncode == 0, done.stderr
        assert "**" in done.stdout
    assert len(nobody.rows("SELECT * FROM message")) == 4
    assert list(folder.iterdir()) == []  # the log is gone too


def test_a_server_of_its_own_ends_with_the_chat_however_that_ends(
    nobody: Server, person: Callable[..., Person]
) -> None:
    somebody = person(nobody)
    url = re.search(r"http://127\.0\.0\.1:\d+", somebody.see("/help"))
    assert url
    assert requests.get(f"{url[0]}/api/ping", timeout=5).json() == {"online": True}
    somebody.process.send_signal(signal.SIGHUP)  # the window was closed
    assert somebody.leave() == 128 + signal.SIGHUP
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url[0]}/api/ping", timeout=5)


def test_a_server_of_its_own_has_longer_to_leave_than_it_may_take() -> None:
    served = (ROOT / "deechat" / "server" / "serving.py").read_text()
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)", served, flags=re.MULTILINE)
    assert int(graceful) < LEAVE


def test_a_start_that_fails_is_said_with_the_server_s_own_words(nobody: Server) -> None:
    (nobody.folder / "data").write_text("no folder")
    done = chat(nobody, "hi\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"No server is running at {nobody.url}, and one of this chat's own did not start:\n" in done.stderr
    assert "DeeChat cannot start: " in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_do_not_parse_are_named(server: Server) -> None:
    done = chat(server, "hi\n", PORT="many")
    assert done.returncode == 1
    assert done.stderr.startswith("DeeChat cannot start: PORT is 'many'")


def test_a_server_that_is_named_and_does_not_answer_is_said(server: Server, shared_model: ModelServer) -> None:
    port = free_port()
    done = chat(server, "hi\n", "--server", f"http://127.0.0.1:{port}/")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"No DeeChat server answers at http://127.0.0.1:{port} (Connection refused).\n"
    done = chat(server, "hi\n", "--server", f"http://127.0.0.1:{shared_model.port}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    done = chat(server, "hi\n", "--server", "localhost")
    assert "such as http://127.0.0.1:8000" in done.stderr


def test_a_password_is_sent_and_one_that_is_wrong_or_lacks_is_said(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD="ein Süßes 密码")
    assert chat(server, "1+1\n").stdout == "`1+1` = **2**\n"
    wrong = chat(server, "1+1\n", DEECHAT_PASSWORD="wrong")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == f"DEECHAT_PASSWORD is not the password of the server at {server.url}.\n"
    none = chat(server, "1+1\n", DEECHAT_PASSWORD="")
    assert none.stderr == f"The server at {server.url} has a password: set DEECHAT_PASSWORD to it.\n"


def test_a_new_thread_in_which_nothing_is_said_is_not_made(serve: Callable[..., Server], person) -> None:
    server = serve()
    made = "SELECT slug FROM thread WHERE slug != 'default'"
    assert chat(server, "", "--new").returncode == 0
    assert chat(server, "/continue\n/new\n/threads\n", "--new").returncode == 0
    refused = chat(server, "x" * 200_001 + "\n", "--new")
    assert (refused.returncode, refused.stderr.count("does not fit")) == (1, 1)
    somebody = person(server, "--new")
    somebody.say("/new")
    somebody.see("new thread")
    somebody.say("/continue")
    somebody.see("There is no answer here to go on with.")
    somebody.say("/quit")
    assert somebody.leave() == 0
    assert server.rows(made) == []
    assert chat(server, "1+1\n2+2\n", "--new").returncode == 0
    assert len(server.rows(made)) == 1


def test_a_place_that_is_not_there_is_said_in_the_server_s_words(server: Server) -> None:
    for options in (("--thread", "nowhere"), ("--workspace", "nowhere"), ("--workspace", "nowhere", "--new")):
        done = chat(server, "", *options)
        assert done.returncode == 1
        assert "nowhere" in done.stderr


def test_of_very_many_threads_the_newest_are_listed(serve: Callable[..., Server]) -> None:
    server = serve()
    for number in range(52):
        requests.post(f"{server.url}/api/workspace/default/thread/new", json={"name": f"Chat {number}"}, timeout=10)
    listed = chat(server, "/threads\n", "--thread", "default").stderr
    assert re.findall(r"Chat (\d+)", listed) == [str(number) for number in range(51, 1, -1)]
    assert "These are the 50 with the newest messages." in listed


# -- a person ----------------------------------------------------------------------------------------------------------


def test_a_person_asks_and_reads_in_order(server: Server, person: Callable[..., Person]) -> None:
    somebody = person(server, "--new")
    somebody.say("what is 17% of 2,340?")
    shown = somebody.see("tokens")
    assert re.search(r"🔧 calculator .*\n   calculator → 397\.8\n`17% of 2,340` = \*\*397\.8\*\*\noffline · ", shown)
    somebody.say("/nonsense")
    somebody.see("There is no command /nonsense")
    somebody.say("/threads")
    assert re.search(r"\* 1\) what is 17% of 2,340\?  --thread \S+\n", somebody.see("\n> "))
    somebody.type("/new\n")
    somebody.see("new thread")
    somebody.say("/threads 1")
    somebody.see("what is 17% of 2,340?")
    somebody.say("/stop")
    somebody.see("No answer is being made.")
    somebody.say("/quit")
    assert somebody.leave() == 0
    assert "\x1b[3" not in somebody.seen  # NO_COLOR


def test_what_is_typed_meanwhile_steers_and_ctrl_c_stops(agent: Client, model: ModelServer, person) -> None:
    first, second = model.gate(), model.gate()
    model.script(reply("I think ", first, "so."), reply("Shorter: ", second, "no"))
    somebody = person(agent.server, "--thread", agent.thread)
    somebody.say("should I?")
    somebody.see("I think ")
    somebody.type("be short\n")
    wait_until(lambda: "be short" in str(agent.server.rows("SELECT body FROM event")))
    first.release()
    assert "↪ taken up: be short\nso.\n\nShorter: " in somebody.see("Shorter: ")
    somebody.type("\x03")
    somebody.see("■ Stopped.\n")
    somebody.interrupt_at_the_prompt()
    assert somebody.leave() == 0
    assert [each["reason"] for each in agent.history() if each["role"] == "assistant"] == ["stopped"]


def test_an_answer_that_lacks_something_says_so_and_can_be_gone_on_with(
    agent: Client, model: ModelServer, person: Callable[..., Person]
) -> None:
    model.script(
        reply(text("Once upon a"), finish="length"), reply(reasoning("Hm.")), reply(finish="content_filter"), " time."
    )
    somebody = person(agent.server, "--new")
    for said, remark in (
        ("A story", "The model reached its limit; the answer is cut there."),
        ("/continue", "The model ended its turn without saying anything more."),
        ("/continue", "The model's provider filtered this answer"),
    ):
        somebody.say(said)
        somebody.see(remark)
        somebody.see("/continue goes on; or ask again.")
    somebody.say("/continue")
    somebody.see(" time.")
    model.script(reply(reasoning("Hm.")))
    done = chat(agent.server, "hi\n", "--new")
    assert (done.returncode, done.stdout) == (0, "")
    assert "without saying anything more" in done.stderr


def test_a_first_ctrl_c_at_the_prompt_says_what_a_second_does(server: Server, person: Callable[..., Person]) -> None:
    somebody = person(server, "--new")
    somebody.interrupt_at_the_prompt()
    somebody.see("Ctrl-C again, or Ctrl-D, leaves.")
    somebody.say("1+1")
    somebody.see("**2**")
    somebody.interrupt_at_the_prompt()
    somebody.see("Ctrl-C again")
    somebody.interrupt_at_the_prompt()
    assert somebody.leave() == 0


def test_an_approval_is_given_refused_and_edited_until_it_fits(server: Server, person: Callable[..., Person]) -> None:
    slug = Client(server).post("/api/workspace/new", {"name": "Careful"}).json()["workspace"]["slug"]
    Client(server).post(f"/api/workspace/{slug}/update", {"tools": {"calculator": "ask"}})
    somebody = person(server, "--workspace", slug)
    somebody.say("1+1")
    assert "expression: 1+1\n" in somebody.see("y/n/a/e> ")
    somebody.type("perhaps\n")
    somebody.see("y, n, a or e.")
    for line, answer in (("e", '"expression": "1+1"'), ("nonsense", "no JSON"), ('{"expression": 3}', "do not fit")):
        somebody.see("> ")
        somebody.type(line + "\n")
        somebody.see(answer)
    somebody.see("JSON> ")
    somebody.type('{"expression": "6*7"}\n')
    somebody.see("calculator → 42")
    somebody.say("2+2")
    somebody.see("y/n/a/e> ")
    somebody.type("n\n")
    somebody.see("✗ The user refused")
    somebody.say("3+3")
    somebody.see("y/n/a/e> ")
    somebody.type("a\n")
    somebody.see("calculator → 6")
    somebody.say("4+4")
    assert "yes" not in somebody.see("calculator → 8")


def test_an_answer_of_somebody_else_closes_the_question(
    client: Client, server: Server, person: Callable[..., Person]
) -> None:
    somebody = person(server, "--thread", client.thread)
    somebody.say("ask me something")
    somebody.see("1/3 ")
    run_id = client.get(f"{client.thread_path}/chats")["activeRun"]
    (request,) = client.run(run_id)["pending"]
    body = {"requestId": request["requestId"], "skipped": True}
    assert client.post(f"/api/runs/{run_id}/respond", body).status_code == 200
    somebody.see("✓ ")
    assert somebody.see("(skipped)")
    somebody.say("1+1")
    somebody.see("**2**")


def test_who_leaves_an_answer_finds_it_again(client: Client, server: Server, person: Callable[..., Person]) -> None:
    somebody = person(server, "--thread", client.thread)
    somebody.say("ask me something")
    somebody.see("1/3 ")
    somebody.type("\x04")
    somebody.see("The answer goes on at the server.")
    assert somebody.leave() == 0
    back = person(server, "--thread", client.thread)
    back.see("An answer is being made here")
    assert "The agent asks:" in back.see("1/3 ")
    back.type("Paris\n")
    back.see("2/3 ")
    back.type("/stop\n")
    back.see("■ Stopped.")
    back.say("/continue")
    assert "↪ goes on" in back.see("tokens")


def test_two_people_in_a_thread_do_not_talk_over_each_other(client: Client, server: Server) -> None:
    asking = client.send("ask me something")
    asking.read_until("clarificationRequest")
    done = chat(server, "London\nCoffee\n1\n1+1\n", "--thread", client.thread)
    assert done.returncode == 0, done.stderr
    assert "London" in done.stdout
    assert done.stdout.endswith("`1+1` = **2**\n")
    asking.read()


def test_in_chinese_it_speaks_chinese(server: Server, person: Callable[..., Person]) -> None:
    somebody = person(server, "--new", LANG="zh_CN.UTF-8", NO_COLOR="")
    somebody.see("查看命令")
    somebody.say("问我一个问题")
    assert "智能体想问" in somebody.see("1/3 您住在哪座城市？")
    somebody.type("北京\n")
    somebody.see("2/3")
    somebody.type("\x03")
    somebody.see("已停止")
    somebody.see("> ")
    somebody.type("\x04")
    assert somebody.leave() == 0
    assert "\x1b[2m" in somebody.seen


# -- breaks ------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_and_started_again_costs_no_word(
    serve: Callable[..., Server], shared_model: ModelServer, model: ModelServer, person: Callable[..., Person]
) -> None:
    server = serve(shared_model)
    gate = model.gate()
    model.script(reply("Half of ", gate, "it"), "The whole answer.")
    somebody = person(server)
    somebody.say("tell me")
    piped = subprocess.Popen(
        [COMMAND, "chat"],
        env=environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    somebody.see("Half of ")
    server.kill()
    somebody.see("The connection is gone; trying again …")
    server.start()
    shown = somebody.see("The whole answer.")
    assert "Connected again." in shown
    assert "this step begins anew" in shown
    out, err = piped.communicate(timeout=20)  # joined the same answer, and has it once
    assert (piped.returncode, out.decode()) == (0, "The whole answer.\n"), err.decode()


def test_where_a_server_of_its_own_dies_the_chat_says_so_and_ends(
    nobody: Server, person: Callable[..., Person]
) -> None:
    somebody = person(nobody)
    somebody.say("ask me something")
    somebody.see("1/3 ")
    (process,) = children(somebody.process.pid)
    os.killpg(process, signal.SIGKILL)
    somebody.see("This chat's own server has ended:")
    assert somebody.leave() == 1


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_a_model_and_a_tool_say_cannot_reach_the_terminal_s_controls(
    agent: Client, model: ModelServer, person: Callable[..., Person]
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5m\r\x08forged"
    model.script(reply(text(evil, size=1)))
    somebody = person(agent.server, "--thread", agent.thread)
    somebody.say("do it")
    shown = somebody.see("tokens")
    somebody.see("> ")
    assert "forged" in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.replace("\x1b[?2004l", "").replace("\r", ""))


# -- parts -------------------------------------------------------------------------------------------------------------


def test_it_imports_neither_the_server_s_framework_nor_its_patching() -> None:
    code = "import sys; import deechat.cli, deechat.terminal.chat as _; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "deechat.terminal.chat" in loaded
    assert not loaded & {"flask", "gevent", "gunicorn", "msgspec", "openai"}
    assert not loaded & {"deechat.server.serving", "deechat.application", "deechat.agents", "deechat.events"}


def test_the_command_says_its_version_and_its_commands() -> None:
    done = subprocess.run([COMMAND, "--version"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"DeeChat \d+\.\d+\.\d+\n", done.stdout)
    told = subprocess.run([COMMAND, "--help"], check=True, capture_output=True, text=True).stdout
    assert "serve" in told
    assert "chat" in told
    about = subprocess.run([COMMAND, "chat", "--help"], check=True, capture_output=True, text=True).stdout
    assert "17% of 2,340" in " ".join(about.split())


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN", "LC_ALL": ""}, "zh"),
    ],
)
def test_the_language_is_that_of_the_locale(locale: dict[str, str], language: str) -> None:
    assert language_of(locale) == language


CHOICE = {"kind": "choice", "question": "Which?", "options": ["Red", "Light blue", "3"]}


@pytest.mark.parametrize(
    ("question", "line", "answer"),
    [
        (CHOICE, "2", "Light blue"),
        (CHOICE, "light BLUE", "Light blue"),
        (CHOICE, "3", "3"),
        (CHOICE, "4", None),
        (CHOICE, "green", None),
        (CHOICE, "1,2", None),
        (CHOICE | {"allowOther": True}, "green", "green"),
        (CHOICE | {"multiSelect": True}, "1, 2", ["Red", "Light blue"]),
        (CHOICE | {"multiSelect": True}, "2 1 2", ["Light blue", "Red"]),
        (CHOICE | {"multiSelect": True}, "light blue、red", ["Light blue", "Red"]),
        (CHOICE | {"multiSelect": True}, "1, green", None),
        (CHOICE | {"multiSelect": True, "allowOther": True}, "1, dark green", ["Red", "dark green"]),
        (CHOICE | {"multiSelect": True, "allowOther": True}, "dark, but green", ["dark, but green"]),
        ({"kind": "input", "question": "Why?"}, " because ", "because"),
    ],
)
def test_a_line_means_the_options_that_it_names(question, line: str, answer) -> None:
    frame = {"requestId": "q", "questions": [question], "allowSkip": False}
    taken = Questions(frame, partial(say, "terminal", "en")).accept(line)
    if answer is None:
        assert isinstance(taken, str)
    else:
        assert taken == {"requestId": "q", "answers": [{"skipped": False, "answer": answer}]}


def test_a_question_that_needs_an_answer_is_not_skipped() -> None:
    questions = Questions({"requestId": "q", "questions": [CHOICE], "allowSkip": False}, partial(say, "terminal", "en"))
    assert questions.accept("  ") == "This one needs an answer."
    assert questions.refusal() is None


def test_what_a_server_refuses_is_not_tried_again_and_what_it_cannot_do_now_is() -> None:
    answers: list[Exception] = [UnreachableError("away"), RefusedError("busy", 503), RefusedError("no", 404)]
    lost: list[None] = []

    def attempt() -> None:
        raise answers.pop(0)

    with pytest.raises(RefusedError, match="no"):
        retry(attempt, on_lost=lambda: lost.append(None), alive=lambda: True)
    assert (answers, len(lost)) == ([], 1)
    answers.append(UnreachableError("for good"))
    with pytest.raises(UnreachableError):
        retry(attempt, on_lost=lambda: None, alive=lambda: False)


@pytest.mark.parametrize(("heartbeat", "patience"), [("0.2", 40), ("15", 40), ("60", 130)])
def test_a_stream_may_be_silent_for_two_heartbeats_of_its_server(
    serve: Callable[..., Server], heartbeat: str, patience: float
) -> None:
    server = serve(DEECHAT_HEARTBEAT=heartbeat)
    asking = Client(server).send("ask me something")
    asking.read_until("clarificationRequest")
    terminal = TerminalClient(server.url, partial(say, "terminal", "en"))
    terminal.request("GET", "/api/ping")
    stream = terminal.stream("GET", f"/api/runs/{asking.run_id}/events")
    assert stream is not None
    with stream:
        assert stream.raw.connection.sock.gettimeout() == patience
    asking.close()


def test_it_serves_when_it_is_told_to(nobody: Server) -> None:
    command = [COMMAND, "serve"]
    process = subprocess.Popen(command, env=environment(nobody), cwd=nobody.folder, stderr=subprocess.DEVNULL)
    try:
        wait_until(nobody.answers)
    finally:
        process.terminate()
        assert process.wait(25) == 0
