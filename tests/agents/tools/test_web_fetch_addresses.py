"""Claims about which addresses, names and URLs `web_fetch` goes to at all. Nothing here is connected."""

from __future__ import annotations

import re
import socket

import pytest

from deechat.agents.tools import ToolError, builtin_tools
from deechat.agents.tools.web.urls import host_of, next_target, target_of
from deechat.net.addresses import is_address, is_inside, is_public
from deechat.net.checked import Allowance, connect_address

PORTS = frozenset({80, 443})


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "93.184.216.34", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
        *("192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.254", "168.63.129.15"),
        *("2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2400:cb00::1", "2001:4860:4860::8888"),
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
        *("192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2002:7f00:1::1", "2002:808:808::1"),
        *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
        *("3fff::1", "3ffe::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fec0::1", "ff02::1"),
        *("fe80::1%eth0", "2606:4700::1%1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1"),
        *("", "localhost", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "8.8.8.8:80", "[::1]", "١.١.١.١", "8.8.8.08"),
    ],
)
def test_all_others_are_not_nor_is_what_is_no_address(address: str) -> None:
    assert not is_public(address)


def test_names_of_the_inside_are_known_whatever_they_resolve_to() -> None:
    inside = ["localhost", "a.localhost", "metadata.google.internal", "printer.local", "x.home.arpa", "metadata.goog"]
    assert all(map(is_inside, [*inside, "metadata", "instance-data", "instance-data.ec2.internal"]))
    assert not any(map(is_inside, ["example.com", "notlocalhost", "local.example.com", "international"]))


@pytest.mark.parametrize(
    ("url", "host", "port", "whole"),
    [
        ("http://example.com", "example.com", 80, "http://example.com/"),
        ("  HTTPS://Example.COM:443/A?b=C#d \n", "example.com", 443, "https://example.com/A?b=C"),
        ("http://example.com:443/", "example.com", 443, "http://example.com:443/"),
        ("http://example.com./x", "example.com", 80, "http://example.com/x"),
        ("http://bücher.example/ü ö", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example/%C3%BC%20%C3%B6"),
        ("http://例え.jp/", "xn--r8jz45g.jp", 80, "http://xn--r8jz45g.jp/"),
        ("http://[2606:4700:0:0::1111]/", "2606:4700::1111", 80, "http://[2606:4700::1111]/"),
        ("http://_dmarc.example.com/", "_dmarc.example.com", 80, "http://_dmarc.example.com/"),
        ("http://example.com?q=a@b", "example.com", 80, "http://example.com/?q=a@b"),
        # These lead to an address inside, which is found where it is resolved; a parser may not hide it.
        ("http://0x7F.1/", "0x7f.1", 80, "http://0x7f.1/"),
        ("http://2130706433/", "2130706433", 80, "http://2130706433/"),
        ("http://127.0.0.1#@example.com/", "127.0.0.1", 80, "http://127.0.0.1/"),
        ("http://127.0.0.1?@example.com/", "127.0.0.1", 80, "http://127.0.0.1/?@example.com/"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1", 80, None),
    ],
)
def test_a_url_is_read_as_it_is_requested(url: str, host: str, port: int, whole: str | None) -> None:
    target = target_of(url)
    if host.startswith("::ffff:"):
        host = target.host
        assert not is_public(host)
    assert (target.host, target.port) == (host, port)
    assert whole is None or target.url == whole
    if is_public(host) or not is_address(host):
        assert host_of({"url": url}) == host
    else:
        with pytest.raises(ToolError, match="not an address of the public Internet"):
            host_of({"url": url})


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "   ",
            "example.com",
            "//example.com/",
            "/path",
            "http:",
            "http://",
            "http:///example.com",
            "http:example.com",
        ),
        *(
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:text/html,x",
            "javascript:alert(1)",
        ),
        *("http+unix://%2Ftmp/x", "httpx://example.com/", "view-source:http://example.com", "jar:http://example.com!/"),
        *(
            "http://user@example.com/",
            "http://user:pw@example.com/",
            "http://:pw@example.com/",
            "http://a@b@example.com/",
        ),
        *("http://evil@127.0.0.1/", "http://example.com@127.0.0.1/", "http://example.com%40127.0.0.1/"),
        *("http://example.com:22/", "http://example.com:8080/", "http://example.com:0/", "http://example.com:65536/"),
        *(
            "http://example.com:-80/",
            "http://example.com:80a/",
            "http://example.com:８０80/",
            "http://example.com:80:80/",
        ),
        *(
            "http://example.com\\@127.0.0.1/",
            "http:\\\\127.0.0.1\\",
            "http://exa\tmple.com/",
            "http://example.com/\r\nX: y",
        ),
        *("http://example.com/\0", "http://exa\nmple.com/", "http://example.com/\u2028x", "http://example.com/\x85x"),
        *(
            "http://[::1%25lo]/",
            "http://[::1%lo]/",
            "http://[fe80::1%25eth0]/",
            "http://[::1",
            "http://::1/",
            "http://[v1.x]/",
        ),
        *(
            "http://[127.0.0.1]/",
            "http://[::1]x/",
            "http://exa mple.com/",
            "http://example.com../",
            "http://.example.com/",
        ),
        *("http://./", "http://a..b/", "http://*.example.com/", "http://exa,mple.com/", "http://%31%32%37.0.0.1/"),
        *(
            "http://127。0。0。1/",
            "http://①②⑦.0.0.1/",
            "http://127.0.0.1。/",
            "http://０x7f.1/",
            "http://１２７.0.0.1/",
        ),
        *("http://localhost/", "http://LOCALHOST./", "http://ⓛocalhost/", "http://x.localhost/", "http://metadata/"),
        *(
            "http://metadata.google.internal/",
            "http://metadata.google.internal./",
            "http://metadata。google。internal/",
        ),
        *(
            f"http://{'a' * 300}.com/",
            f"http://example.com/{'a' * 5000}",
            f"http://example.com/{'ü' * 1000}",
            f"http://{'ü' * 100}.example/",
            "http://\ud800.com/",
        ),
    ],
    ids=lambda url: ascii(url[:40]),
)
def test_a_url_that_is_no_plain_one_is_refused_with_words_and_has_no_host(url: str) -> None:
    with pytest.raises(ToolError) as caught:
        target_of(url)
    assert len(caught.value.message) < 500
    caught.value.message.encode()
    with pytest.raises(ToolError, match=re.escape(caught.value.message)):
        host_of({"url": url})


@pytest.mark.parametrize("arguments", [{}, {"url": None}, {"url": 5}, {"url": ["http://example.com"]}])
def test_a_call_without_a_url_has_no_host(arguments: dict[str, object]) -> None:
    with pytest.raises(ToolError, match="The URL is empty"):
        host_of(arguments)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00::1]"])
def test_a_private_address_is_refused_before_anyone_is_asked(host: str) -> None:
    tool = {each.name: each for each in builtin_tools()}["web_fetch"]
    with pytest.raises(ToolError, match="is not an address of the public Internet, so it is refused"):
        tool.check_scope({"url": f"http://{host}/"})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:8201/", "127.0.0.1 is not an address of the public Internet"),
        ("https://[fd00::1]:9000/x", "fd00::1 is not an address of the public Internet"),
        ("http://localhost:8201/", "localhost is a name inside this machine's network"),
        ("http://example.com:8201/", "asks for port 8201"),
    ],
)
def test_an_address_that_would_not_do_on_any_port_is_refused_for_what_it_is(url: str, words: str) -> None:
    with pytest.raises(ToolError, match=re.escape(words)):
        host_of({"url": url})


def test_a_location_is_read_against_the_page_that_gave_it() -> None:
    here = target_of("https://example.com/a/b?c")
    for location, url in {
        "d": "https://example.com/a/d",
        "/d e": "https://example.com/d%20e",
        " /d ": "https://example.com/d",
        "//other.example/x": "https://other.example/x",
        "?x": "https://example.com/a/b?x",
        "http://example.com/": "http://example.com/",
        "/ü".encode().decode("latin-1"): "https://example.com/%C3%BC",
        "/\xfc": "https://example.com/%C3%BC",
    }.items():
        assert next_target(here, location, ports=PORTS).url == url


def test_only_numbers_are_connected() -> None:
    with pytest.raises(ValueError, match="localhost"):
        connect_address("localhost", 80, Allowance(1), 1)


def test_what_is_connected_is_closed_when_it_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):  # an open socket would be a ResourceWarning, which fails the test
        connect_address("127.0.0.1", port, Allowance(1), 1)
