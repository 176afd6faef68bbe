"""What is believed of a proxy's headers, value by value; tests/web/test_fronts.py holds real proxies to it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask

from deechat.web.forwarded import PROXIES, Front, peer, read_front

HERE = "127.0.0.1"
EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def read(direct: str = HERE, proxies: tuple[Any, ...] = (), **headers: str) -> Front:
    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return read_front({"REMOTE_ADDR": direct, **environ}, proxies)


@pytest.mark.parametrize(
    ("direct", "said", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody says of another who it is
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("10.0.0.5", "198.51.100.1", "10.0.0.5"),
        (HERE, "", HERE),
        (HERE, "198.51.100.1", "198.51.100.1"),
        ("::1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", "198.51.100.1"),  # a Unix socket
        ("", "", ""),
        (HERE, "192.0.2.66, 198.51.100.1", "198.51.100.1"),  # the first is the client's own invention
        (HERE, "192.0.2.66, 198.51.100.1, 127.0.0.1", "198.51.100.1"),  # a proxy behind a proxy, both here
        (HERE, "127.0.0.1, ::1", HERE),
        (HERE, "198.51.100.1:4711", "198.51.100.1"),
        (HERE, "[2001:DB8::1]:4711", "2001:db8::1"),
        (HERE, "2001:db8::1", "2001:db8::1"),
        (HERE, "::ffff:198.51.100.1", "198.51.100.1"),
        (HERE, "198.51.100.1, unknown", HERE),
        (HERE, "198.51.100.1, " + "9" * 5000, HERE),
    ],
)
def test_who_asks_is_the_last_address_that_a_proxy_of_this_machine_saw(direct: str, said: str, expected: str) -> None:
    assert read(direct, x_forwarded_for=said).peer == expected


def test_a_proxy_elsewhere_is_believed_where_it_is_named() -> None:
    named = (ip_network("10.0.0.0/8"),)
    assert read("10.0.0.5", named, x_forwarded_for="192.0.2.66, 198.51.100.1").peer == "198.51.100.1"
    assert read("10.0.0.5", named, x_forwarded_for="198.51.100.1, 10.0.0.6").peer == "198.51.100.1"
    assert read("203.0.113.9", named, x_forwarded_for="198.51.100.1").peer == "203.0.113.9"
    assert read("203.0.113.9", EVERYBODY, x_forwarded_for="192.0.2.66, 198.51.100.1").peer == "198.51.100.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_for": "198.51.100.1"},
        {"x_forwarded_for": "127.0.0.1, 198.51.100.1"},
        {"x_forwarded_for": "198.51.100.1, 127.0.0.1"},
        {"x_forwarded_for": "localhost"},
        {"x_real_ip": "198.51.100.1"},
        {"cf_connecting_ip": "198.51.100.1"},
        {"true_client_ip": "2001:db8::1"},
        {"forwarded": "for=198.51.100.1;proto=https"},
        {"forwarded": 'for=127.0.0.1, for="[2001:db8::1]:4711"'},
        {"forwarded": "for = 198.51.100.1, for=127.0.0.1"},
        {"forwarded": 'for=127.0.0.1, FOR =\t"198.51.100.1"'},
        {"forwarded": "for=127.0.0.1;host=chat.example.org"},
        {"forwarded": "for=127.0.0.1, proto=https"},
        {"x_original_forwarded_for": "198.51.100.1"},
        {"cf_connecting_ipv6": "2001:db8::1"},
        {"x_envoy_external_address": "198.51.100.1"},
        {"x_proxyuser_ip": "198.51.100.1"},
        {"forwarded": "for=_hidden"},
        {"forwarded": "proto=https"},
        {"via": "1.1 varnish"},
        {"x_forwarded_for": "127.0.0.1", "x_real_ip": "198.51.100.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("direct", [HERE, "203.0.113.9"])
def test_a_header_that_names_somebody_elsewhere_is_believed_of_everybody(direct: str, headers: dict[str, str]) -> None:
    assert read(direct, **headers).names_elsewhere


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_forwarded_for": ""},
        {"x_forwarded_for": "127.0.0.1, ::1"},
        {"x_real_ip": "::ffff:127.0.0.1"},
        {"forwarded": 'for="[::1]:4711";proto=http'},
        {"forwarded": 'for = 127.0.0.1;host="LocalHost:8000", for=::1'},
        {"cf_connecting_ipv6": "::1"},
        {"x_forwarded_for": "127.0.0.1", "via": "1.1 varnish"},
    ],
    ids=str,
)
def test_headers_that_name_this_machine_change_nothing(headers: dict[str, str]) -> None:
    assert not read(**headers).names_elsewhere


def test_the_name_that_was_asked_for_must_be_this_machines() -> None:
    assert read(host="LocalHost:8000").is_for_here
    assert not read(host="chat.example.org").is_for_here
    assert not read(host="chat.example.org", x_forwarded_host="localhost").is_for_here
    assert not read(host="localhost", x_forwarded_host="chat.example.org").is_for_here
    assert not read(host="localhost", x_forwarded_host="localhost, chat.example.org").is_for_here
    assert read(host="127.0.0.1:8000", x_forwarded_host="LocalHost").is_for_here


@pytest.mark.parametrize(
    ("host", "scheme", "netloc", "expected"),
    [
        ("chat.example.org", "https", "chat.example.org", True),
        ("chat.example.org:443", "https", "chat.example.org", True),
        ("chat.example.org", "https", "Chat.Example.org:443", True),
        ("chat.example.org:80", "http", "chat.example.org", True),
        ("chat.example.org:80", "https", "chat.example.org", False),
        ("chat.example.org:443", "http", "chat.example.org", False),
        ("chat.example.org", "https", "chat.example.org:8443", False),
        ("[::1]", "http", "[::1]:80", True),
        ("[::1]:80", "http", "[::1]", True),
        ("chat.example.org", "ftp", "chat.example.org", False),
        ("", "http", "", False),
        ("chat.example.org", "https", "evil@chat.example.org", False),
    ],
)
def test_a_page_is_ours_when_host_and_port_are_a_schemes_own_port_included(
    host: str, scheme: str, netloc: str, expected: bool
) -> None:
    assert read(host=host).is_own(scheme, netloc) is expected


def test_the_name_before_a_proxy_is_taken_from_a_trusted_one_alone() -> None:
    headers = {"host": "127.0.0.1:8000", "x_forwarded_host": "chat.example.org"}
    assert read(**headers).is_own("https", "chat.example.org")
    assert not read("203.0.113.9", **headers).is_own("https", "chat.example.org")


def test_https_is_what_a_proxy_says_in_either_way() -> None:
    assert read(x_forwarded_proto="https").https
    assert read(x_forwarded_proto="https, http").https
    assert read(forwarded="for=127.0.0.1;Proto=https").https
    assert not read(x_forwarded_proto="http").https
    assert not read().https


def test_within_a_request_it_is_asked_for_without_arguments() -> None:
    app = Flask(__name__)
    headers = {"X-Forwarded-For": "198.51.100.1"}
    for direct, proxies, expected in (
        (HERE, (), "198.51.100.1"),
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", EVERYBODY, "198.51.100.1"),
    ):
        app.config[PROXIES] = proxies
        with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": direct}):
            assert peer() == expected
