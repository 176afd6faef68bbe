"""No secret of the settings is shown, whatever goes wrong: in no log, frame, list of models or start that fails."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from model_server import ModelServer, cut, free_port, reply, status
from server import Server

USER, PASSWORD, TOKEN = "bearer-of-rings", "p%40ss-of-mine/too", "token-of-mine"
KEY = "sk-key-of-mine"
FORMS = [
    *(USER, "p%40ss-of-mine", "p@ss-of-mine", "ss-of-mine", TOKEN, KEY),
    base64.b64encode(f"{USER}:p@ss-of-mine/too".encode()).decode(),
]


def secret_url(port: int) -> str:
    return f"http://{USER}:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{port}/v1?token={TOKEN}"


def shown(text: str) -> list[str]:
    return [form for form in FORMS if form.lower() in text.lower()]


def told(model: ModelServer) -> str:
    """Everything that the model server was sent, as it may come back in an error."""
    return json.dumps([[request.path, request.headers] for request in model.requests])


def test_a_model_server_that_fails_and_repeats_what_it_was_sent_gets_no_secret_shown(
    serve: Callable[..., Server],
) -> None:
    with ModelServer() as model:
        server = serve(
            DEECHAT_PROVIDER="openai",
            OPENAI_BASE_URL=secret_url(model.port),
            OPENAI_API_KEY=KEY,
            DEECHAT_MODEL="fake-1",
            DEECHAT_LOG_LEVEL="debug",
            DEECHAT_PASSWORD="door-of-mine",
        )
        client = Client(server, headers={"Authorization": "Bearer door-of-mine"})
        everything = " ".join(FORMS)
        answers = [
            status(401, everything),
            status(404, everything),
            status(400, everything),
            status(302, location=secret_url(1)),
            status(200, f"<html><title>{everything}</title>".encode()),
            reply("Hal", cut()),
        ]
        for answer in answers:
            model.script(answer)
            assert client.ask("Go").ending["type"] == "abort"
            model.models = answer
            client.get("/api/models")
        # All of it was sent, so that there was something to show.
        assert TOKEN in told(model)
        assert FORMS[-1] in told(model)
        seen = json.dumps([client.get("/api/models"), client.history()])
        seen += "".join(block.raw.decode() for stream in client.streams for block in stream.blocks)
        assert shown(seen) == []
        assert "127.0.0.1" in seen
        assert shown(server.log) == []
        assert "door-of-mine" not in server.log + seen
        client.check_all()


def test_a_model_server_that_is_not_there_gets_no_secret_shown(serve: Callable[..., Server]) -> None:
    client = Client(serve(DEECHAT_PROVIDER="openai", OPENAI_BASE_URL=secret_url(free_port()), OPENAI_API_KEY=KEY))
    ending = client.ask("Go").ending
    assert ending is not None
    assert ending["code"] == "model_unreachable"
    assert shown(json.dumps([ending, client.get("/api/models")]) + client.server.log) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "socks9://user:p@ss-of-mine@127.0.0.1:1"),
        ("HTTP_PROXY", "socks5://user:p@ss-of-mine@127.0.0.1:1"),
        ("HTTP_PROXY", "http://user:p@ss-of-mine@[::1"),
        ("HTTP_PROXY", "http://user:p@ss-of-mine@127.0.0.1:1"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_in_words_without_its_password(
    serve: Callable[..., Server], name: str, value: str
) -> None:
    server = serve(
        DEECHAT_PROVIDER="openai", OPENAI_BASE_URL="http://model.example/v1", DEECHAT_MODEL="m", **{name: value}
    )
    client = Client(server)
    ending = client.ask("Go").ending
    assert ending is not None
    assert ending["code"] == "model_unreachable"
    assert "http://model.example/v1" in ending["error"]
    assert shown(json.dumps([ending, client.get("/api/models")]) + server.log) == []


@pytest.mark.parametrize("command", [["-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0"], ["app.py"]])
def test_a_start_that_fails_says_why_without_the_secret(tmp_path: Path, command: list[str]) -> None:
    server = Server(tmp_path, OPENAI_BASE_URL=secret_url(99999), OPENAI_API_KEY=KEY)
    root = Path(__file__).parents[2]
    started = [sys.executable, *command]
    done = subprocess.run(
        started, check=False, cwd=root, env=server.environment(), capture_output=True, text=True, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "OPENAI_BASE_URL" in said
    assert "127.0.0.1:99999/v1?***" in said
    assert shown(said) == []
