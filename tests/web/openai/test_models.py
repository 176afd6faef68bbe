"""`/v1` as `openai` for Python sees it: models, keys, and errors as its own classes."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest
import requests
from server import Server

PASSWORD = "a-long-password"


def sdk(server: Server, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def test_each_workspace_is_a_model(server: Server) -> None:
    requests.post(f"{server.url}/api/workspace/new", json={"name": "Green Tea"}, timeout=10).raise_for_status()
    with sdk(server) as client:
        listed = [model.id for model in client.models.list()]
        assert listed == ["deechat", "deechat/green-tea"]
        for model in listed:
            assert client.models.retrieve(model).id == model
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "GET /v1/models" in caught.value.message


def test_the_password_is_the_key(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    with sdk(server, PASSWORD) as client:
        assert client.models.list().data
    with sdk(server, "wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "invalid_request_error"


def test_an_unknown_address_below_v1_is_told_in_the_same_shape(server: Server) -> None:
    for method, path, status in (("GET", "/v1/assistants", 404), ("PUT", "/v1/models", 405)):
        answer = requests.request(method, server.url + path, timeout=10)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
    assert set(requests.get(f"{server.url}/api/nowhere", timeout=10).json()["error"]) == {"code", "message"}
