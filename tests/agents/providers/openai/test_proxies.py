"""Proxies that the environment names: used by those that they are for, named in words where they fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Client
from model_server import ModelServer, free_port, status
from openai_rig import Rig, joined, notices
from server import Server
from socks_proxy import SocksProxy

from deechat.agents.providers.base import Text
from deechat.agents.providers.openai.client import Address
from deechat.agents.providers.openai.proxies import proxy_for

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
SECRET = "p4ss-of-mine"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def socks(rig: Rig) -> Iterator[SocksProxy]:
    with SocksProxy({"models.invalid": rig.server.port, "192.0.2.7": rig.server.port}) as proxy:
        yield proxy


# -- SOCKS -------------------------------------------------------------------------------------------------------------


# OpenHands/OpenHands-CLI#632, Realiserad/fish-ai#475; `socks` is GNOME's: GuDaStudio/GrokSearch#6, huggingface/tau#221
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5", "socks"])
@pytest.mark.parametrize("host", ["models.invalid", "192.0.2.7"])
def test_a_server_is_asked_through_a_socks_proxy_which_looks_its_name_up(
    rig: Rig, socks: SocksProxy, monkeypatch: pytest.MonkeyPatch, scheme: str, host: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://{socks.place}/")
    provider = rig.make(base_url=f"http://{host}:8000/v1")
    assert provider.models() == ["fake-1"]
    rig.server.script("through", "again")
    assert joined(rig.ask(provider=provider), Text) == "through"
    assert joined(rig.ask(provider=provider), Text) == "again"
    assert set(socks.asked) == {(host, 8000)}


def test_a_socks_proxy_may_want_a_password(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with SocksProxy({"models.invalid": rig.server.port}, password=("me", "p@ss/word")) as socks:
        monkeypatch.setenv("all_proxy", f"socks5h://me:p%40ss%2Fword@{socks.place}")
        rig.server.script("through")
        assert joined(rig.ask(provider=rig.make(base_url="http://models.invalid/v1", model="m")), Text) == "through"
        monkeypatch.setenv("all_proxy", f"socks5h://me:{SECRET}@{socks.place}")
        error = rig.fails(provider=rig.make(base_url="http://models.invalid/v1", model="m"))
        assert (error.code, SECRET in error.message) == ("model_unreachable", False)
        assert f"socks5h://{socks.place}" in error.message
        assert "ALL_PROXY" in error.message


@pytest.mark.parametrize("answer", [b"", b"\x05", b"\x05\x09", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\xff"])
def test_what_is_no_socks_proxy_is_named(
    rig: Rig, socks: SocksProxy, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    socks.answer = answer
    monkeypatch.setenv("ALL_PROXY", f"socks5://{socks.place}")
    error = rig.fails(provider=rig.make(base_url="http://models.invalid/v1", model="m"))
    assert error.code == "model_unreachable"
    assert f"socks5://{socks.place}" in error.message


def test_a_server_that_a_socks_proxy_does_not_reach_is_named_with_it(
    rig: Rig, socks: SocksProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://{socks.place}")
    error = rig.fails(provider=rig.make(base_url="http://elsewhere.invalid/v1", model="m"))
    assert error.code == "model_unreachable"
    for words in ("http://elsewhere.invalid/v1", "refused", f"socks5://{socks.place}", "ALL_PROXY", "NO_PROXY"):
        assert words in error.message


# -- which, and for whom -----------------------------------------------------------------------------------------------


def test_each_scheme_has_its_proxy_and_all_has_the_rest(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{rig.server.port}")
    rig.server.script("through")
    assert joined(rig.ask(provider=rig.make(base_url="http://models.invalid/v1", model="m")), Text) == "through"
    assert rig.server.requests[-1].path == "http://models.invalid/v1/chat/completions"


# The library made the proxy also for those that NO_PROXY exempts: liuzhao1225/YouDub-webui#75.
BROKEN = ("socks5://127.0.0.1:1", "socks9://127.0.0.1:1", "http://127.0.0.1:1", "http://[::1", "nonsense")
EXEMPT = {
    "*": "models.invalid",
    "models.invalid": "models.invalid",
    "MODELS.invalid.": "models.invalid",
    "invalid": "models.invalid",
    ".invalid": "models.invalid",
    "*.invalid": "models.invalid",
    ".models.invalid": "models.invalid",
    "a.example, models.invalid": "models.invalid",
    "a.example models.invalid": "models.invalid",
    "models.invalid:8000": "models.invalid",
    "http://models.invalid": "models.invalid",
    "192.0.2.7": "192.0.2.7",
    "192.0.2.0/24": "192.0.2.7",
    "192.0.2.7:8000": "192.0.2.7",
    "2001:db8::7": "[2001:db8::7]",
    "[2001:db8::7]:8000": "[2001:db8::7]",
    "2001:db8::/32": "[2001:db8::7]",
}
PROXIED = {
    "": "models.invalid",
    "odels.invalid": "models.invalid",
    "www.models.invalid": "models.invalid",
    "models.invalid:8001": "models.invalid",
    "192.0.2.0/29": "192.0.2.9",
    "192.0.2.7/x, [, ]:, ::::/9, http://": "192.0.2.7",
}


@pytest.mark.parametrize("listed", EXEMPT)
@pytest.mark.parametrize("value", BROKEN)
def test_whom_no_proxy_names_is_asked_directly_whatever_the_proxy_is(
    monkeypatch: pytest.MonkeyPatch, listed: str, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setenv("NO_PROXY", listed)
    assert proxy_for(f"http://{EXEMPT[listed]}:8000/v1") is None


@pytest.mark.parametrize("listed", PROXIED)
def test_whom_it_does_not_name_is_not(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", listed)
    proxy = proxy_for(f"http://{PROXIED[listed]}:8000/v1")
    assert proxy is not None
    assert proxy.shown == "socks5://127.0.0.1:1080"


def test_a_server_that_is_exempt_is_asked_by_our_own_transport(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    host = "127.0.0.1.nip.invalid"
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", host)
    provider = rig.make(base_url=f"http://{host}/v1", model="m")
    assert not Address.of(f"http://{host}/v1", None).is_local
    assert provider._client()._transport is not None


# -- what cannot be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ALL_PROXY", "socks4://127.0.0.1:1", "socks4://127.0.0.1:1"),
        ("ALL_PROXY", f"socks9://me:{SECRET}@127.0.0.1:1", "socks9://***@127.0.0.1:1"),
        ("HTTP_PROXY", "ftp://127.0.0.1:1", "ftp://127.0.0.1:1"),
        ("HTTP_PROXY", "://", "not shown"),
        ("HTTP_PROXY", "http://", "http://"),
        ("HTTP_PROXY", f"http://me:{SECRET}@[::1", "http://***@[::1"),
        ("HTTP_PROXY", "http://127.0.0.1:99999", "http://127.0.0.1:99999"),
        ("HTTP_PROXY", "none of yours", "none of yours"),
        ("HTTP_PROXY", f"http://127.0.0.1:x{SECRET}", "http://***"),
    ],
)
def test_a_proxy_with_nonsense_is_named_by_its_variable(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str
) -> None:
    monkeypatch.setenv(name, value)
    error = rig.fails(provider=rig.make(base_url="http://models.invalid/v1", model="m"))
    assert error.code == "model_unreachable"
    for words in ("http://models.invalid/v1", name, shown, "socks5"):
        assert words in error.message
    assert SECRET not in error.message


@pytest.mark.parametrize("value", ["http://127.0.0.1:{}", "127.0.0.1:{}", " http://127.0.0.1:{}/ "])
def test_a_proxy_that_is_not_there_is_named_and_no_other_setting_is_blamed_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", value.format(port))
    error = rig.fails(provider=rig.make(base_url="http://models.invalid/v1", model="m"))
    assert error.code == "model_unreachable"
    for words in ("http://models.invalid/v1", f"http://127.0.0.1:{port}", "HTTP_PROXY", "NO_PROXY"):
        assert words in error.message


def test_a_proxy_that_wants_a_password_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer() as proxy:
        proxy.answer = lambda _: status(407, "who are you")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        error = rig.fails(provider=rig.make(base_url="http://models.invalid/v1", model="m"))
        assert error.code == "model_unreachable"
        assert "407" in error.message
        assert f"http://127.0.0.1:{proxy.port}" in error.message


def test_a_question_goes_through_the_whole_program(serve: Callable[..., Server], model: ModelServer) -> None:
    with SocksProxy({"models.invalid": model.port}) as socks:
        settings = {"OPENAI_BASE_URL": "http://models.invalid/v1", "DEECHAT_PROVIDER": "openai"}
        client = Client(serve(**settings, ALL_PROXY=f"socks5h://{socks.place}", NO_PROXY="", no_proxy=""))
        model.script("through")
        assert client.ask("Hello").text == "through"
        assert client.get("/api/models")["current"] == "fake-1"
        socks.names.clear()
        model.end()  # also the connections that wait for the next question
        socks.wait_passed_on()
        ending = client.ask("Hello").ending
        assert ending is not None
        assert ending["code"] == "model_unreachable"
        assert f"socks5h://{socks.place}" in ending["error"]
        model.listen()


def test_a_refusal_of_a_proxy_is_tried_again_and_then_told(
    rig: Rig, socks: SocksProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://{socks.place}")
    names = dict(socks.names)
    socks.names.clear()

    def back(_: float) -> None:
        socks.names.update(names)

    rig.server.script("at last")
    parts = rig.ask(provider=rig.make(base_url="http://models.invalid/v1", model="m", sleep=back))
    assert (joined(parts, Text), notices(parts)) == ("at last", ["model_retry"])


def test_the_terminal_says_that_a_socks_proxy_is_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    command = [Path(sys.executable).with_name("deechat"), "chat", "--server", "http://192.0.2.1:8000"]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "http://192.0.2.1:8000" in done.stderr
    assert "SOCKS" in done.stderr
