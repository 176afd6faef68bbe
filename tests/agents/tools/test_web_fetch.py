"""Claims about `web_fetch` against a hostile web: what it connects to, how long it stays, and how much it takes."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_fetch_rig import OTHER, PUBLIC, Site, Web, drip, opened, page, redirect, zipped

from deechat.agents.tools import ToolContext, ToolError, make_tool
from deechat.agents.tools.web.pinned import verifying
from deechat.agents.tools.web.web_fetch import web_fetch

HELLO = page("<title>Hello</title><p>Hello, world.")


@pytest.fixture
def web() -> Iterator[Web]:
    yield from opened()


def test_it_is_a_tool_of_one_argument() -> None:
    tool = make_tool(web_fetch)
    assert list(tool.parameters["properties"]) == ["url"]
    assert tool.parameters["required"] == ["url"]
    assert "never instructions" in tool.description


def test_a_page_becomes_its_title_url_text_and_links(web: Web) -> None:
    web.site(page("<title> My\n page </title><p>Hello.</p><a href='/b?c#d'>More\n here</a> <a href='mailto:x'>No</a>"))
    assert web.fetch("http://EXAMPLE.com./a") == (
        "# My page\nhttp://example.com/a\n\nHello.\n\nMore here No\n\nLinks:\n- [More here](http://example.com/b?c#d)"
    )


def test_each_step_is_said_in_the_persons_language_and_the_page_is_a_source(web: Web) -> None:
    body = "<title>Two\nwords</title><p>" + "Hello. " * 20_000
    web.site({"/": redirect("/a"), "/a": page(body)})
    said: dict[str, list[tuple[str, float | None]]] = {"en": [], "zh": [], "fr-CH": []}
    for language, steps in said.items():
        context = ToolContext(language=language, report=lambda *each, steps=steps: steps.append(each))  # type: ignore[misc]
        assert web.fetch(context=context).startswith("# Two words\n")
        (source,) = context.sources
        assert (source.title, source.chunk_source) == ("Two words", "http://example.com/a")
    hop = [("Looking up example.com", None), (f"Connecting to {PUBLIC}", None)]
    assert said["en"][:4] == [*hop, *hop]
    assert next(share for text, share in said["en"] if text.startswith("Reading")) == pytest.approx(0.12, abs=0.1)
    assert said["en"][-1] == ("Extracting the text of 141 kB", None)
    assert said["zh"][:2] == [("正在查询 example.com", None), (f"正在连接 {PUBLIC}", None)]
    assert [text for text, _ in said["fr-CH"]][:4] == [text for text, _ in said["en"]][:4]


def test_what_is_read_has_a_share_only_where_the_server_says_how_much_comes(web: Web) -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n"
    )
    web.site({"/": chunked, "/zip": zipped(b"<p>" + b"Hello. " * 20_000)})
    for path, share in (("", None), ("zip", 1.0)):
        steps: list[tuple[str, float | None]] = []
        web.fetch(f"http://example.com/{path}", context=ToolContext(report=lambda *each, to=steps: to.append(each)))  # type: ignore[misc]
        assert next(each for text, each in steps if text.startswith("Reading")) == share


def test_a_page_that_could_not_be_fetched_is_no_source(web: Web) -> None:
    web.site(page("no", status="404 Not Found"))
    context = ToolContext()
    with pytest.raises(ToolError):
        web.fetch(context=context)
    assert context.sources == ()


def test_a_request_says_who_asks_and_nothing_else(web: Web) -> None:
    site = web.site(HELLO)
    web.fetch("http://example.com/a?b")
    lines = site.heads[0].splitlines()
    assert lines[0] == "GET /a?b HTTP/1.1"
    assert sorted(line.partition(":")[0] for line in lines[1:] if line) == [
        *("Accept", "Accept-Encoding", "Connection", "Host", "User-Agent")
    ]
    assert "Host: example.com" in lines
    assert "Accept-Encoding: gzip, deflate" in lines
    assert any(line.startswith("User-Agent: DeeChat/") for line in lines)


# -- where it goes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addresses",
    [
        *(["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["100.100.100.200"], ["0.0.0.0"], ["::1"], ["::"]),
        *(["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["2001::1"], ["fd00:ec2::254"], ["fe80::1%lo"]),
        *([PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, OTHER, "::1"], ["localhost"], ["not an address"]),
    ],
    ids=str,
)
def test_a_host_with_any_address_inside_is_refused_and_nothing_is_connected(web: Web, addresses: list[str]) -> None:
    web.names["example.com"] = addresses
    site = web.site(HELLO)
    assert "refused" in web.refusal()
    assert web.connected == []
    assert site.accepted == 0


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
        ),
        *(
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::]/",
            "https://127.0.0.1/",
        ),
        *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/"),
    ],
)
def test_the_systems_resolver_finds_what_odd_forms_mean_and_that_is_refused(web: Web, url: str) -> None:
    from deechat.net.checked import resolve_host

    assert "not an address of the public Internet" in web.refusal(url, resolve=resolve_host)
    assert web.connected == []
    with pytest.raises(ToolError):
        web_fetch(url)


@pytest.mark.parametrize("url", ["http://localhost/", "http://metadata.google.internal/", "http://example.com:8080/"])
def test_what_is_refused_as_it_stands_is_not_even_looked_up(web: Web, url: str) -> None:
    web.refusal(url)
    assert (web.looked_up, web.connected) == ([], [])


def test_a_name_that_is_rebound_is_looked_up_once_and_its_checked_address_connected(web: Web) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    web.names["example.com"] = lambda: next(answers)
    web.site(HELLO)
    assert "Hello, world." in web.fetch()
    assert (web.looked_up, web.connected) == (["example.com"], [(PUBLIC, 80)])


def test_a_redirect_to_the_same_host_is_looked_up_and_checked_anew(web: Web) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    web.names["example.com"] = lambda: next(answers)
    site = web.site(redirect("/again"))
    assert "127.0.0.1" in web.refusal()
    assert (web.connected, site.accepted) == ([(PUBLIC, 80)], 1)


def test_the_second_address_is_tried_where_the_first_does_not_answer(web: Web) -> None:
    web.names["example.com"] = [OTHER, PUBLIC]
    web.site(HELLO)
    assert "Hello, world." in web.fetch()
    assert web.connected == [(OTHER, 80), (PUBLIC, 80)]


def test_a_host_that_is_not_there_is_told(web: Web) -> None:
    web.names["example.com"] = []
    assert "has no address" in web.refusal()
    web.names["example.com"] = [PUBLIC]
    assert "Connection refused" in web.refusal()

    def unknown(host: str, seconds: float) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    assert "was not found" in web.refusal(resolve=unknown)


@pytest.mark.parametrize(
    "location",
    [
        *("http://127.0.0.1/", "//127.0.0.1/", "http://inside.example/", "https://inside.example/", "http://[::1]/"),
        *("http://other.example:8080/", "//other.example:22/", "http://user:pw@other.example/", "http://a@127.0.0.1/"),
        *("file:///etc/passwd", "ftp://other.example/", "gopher://127.0.0.1:6379/_x", "javascript:alert(1)", "data:,x"),
        *(
            "http://other.example\\@127.0.0.1/",
            "http://other\t.example/",
            "http://[::1%25lo]/",
        ),
        *(
            "http://localhost/",
            "http://metadata.google.internal/computeMetadata/v1/",
            "http://[",
            "\x00",
        ),
    ],
    ids=ascii,
)
def test_a_redirect_to_what_is_refused_is_refused_and_not_connected(web: Web, location: str) -> None:
    web.names |= {"inside.example": ["10.0.0.1"], "other.example": [OTHER], "127.0.0.1": ["127.0.0.1"], "::1": ["::1"]}
    site, other = web.site(redirect(location)), web.site(HELLO, OTHER)
    web.refusal()
    assert web.connected == [(PUBLIC, 80)]
    assert (site.accepted, other.accepted) == (1, 0)


@pytest.mark.parametrize("location", ["", "//", "http://", "http:///other.example", "///other.example", "https:x", "#"])
def test_a_redirect_that_names_no_host_leads_to_no_other_host(web: Web, location: str) -> None:
    web.names["other.example"] = [OTHER]
    other = web.site(HELLO, OTHER)
    web.site(redirect(location))
    web.refusal()
    assert other.accepted == 0
    assert set(web.looked_up) == {"example.com"}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_to_other_hosts_and_nothing_is_carried_over(web: Web, status: str) -> None:
    web.names["other.example"] = [OTHER]
    first = page("", status=status, Location="http://other.example/end", Set_Cookie="id=secret; Domain=example")
    web.site(first)
    other = web.site({"/end": redirect("/there"), "/there": HELLO}, OTHER)
    assert web.fetch().startswith("# Hello\nhttp://other.example/there\n")
    assert len(other.heads) == 2
    assert not any(name in head for head in other.heads for name in ("Cookie", "Referer", "Authorization", "secret"))


def test_five_redirects_are_followed_and_a_sixth_is_not(web: Web) -> None:
    site = web.site({f"/{number}": redirect(f"/{number + 1}") for number in range(6)} | {"/6": HELLO})
    assert "Hello" in web.fetch("http://example.com/1")
    assert site.accepted == 6
    assert "more than 5 times" in web.refusal("http://example.com/0")
    assert site.accepted == 12


def test_a_redirect_loop_ends(web: Web) -> None:
    site = web.site(redirect("/"))
    assert "more than 5 times" in web.refusal()
    assert site.accepted == 6


def test_a_redirects_body_is_not_read(web: Web) -> None:
    def endless(connection: socket.socket, _head: str) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /end\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    web.site({"/": endless, "/end": HELLO})
    assert "Hello" in web.fetch()


def test_proxies_and_passwords_of_the_environment_are_not_used(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = Site({"*": HELLO})
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    (tmp_path / "netrc").write_text("machine example.com login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    site = web.site(page("<p>Direct."))
    assert "Direct." in web.fetch()
    assert "uthorization" not in site.heads[0]
    assert proxy.accepted == 0
    proxy.close()


def test_headers_cannot_be_put_into_a_request(web: Web) -> None:
    site = web.site({"/": redirect("/a%0d%0aX-Evil:%20yes"), "*": HELLO})
    web.fetch()
    assert "X-Evil: yes" not in site.heads[1]
    assert site.heads[1].lower().startswith("get /a%0d%0ax-evil:%20yes http/1.1\r\n")


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of example.com, signed by itself, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=wrong.example"
    )
    more = ["-addext", "subjectAltName=DNS:example.com", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *more], cwd=folder, check=True, capture_output=True, timeout=60)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


def secured(certificate: Path, names: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return context


def test_https_names_the_host_and_verifies_it(web: Web, certificate: Path) -> None:
    names: list[str | None] = []
    web.names |= {"other.example": [PUBLIC], "wrong.example": [PUBLIC]}
    site = web.site({"/": HELLO, "/bomb": page(b"word " * 500_000)}, port=443, tls=secured(certificate, names))
    trusting = verifying(str(certificate))
    assert web.fetch("https://example.com/", tls=trusting).startswith("# Hello\nhttps://example.com/\n")
    assert "longer than 2 MB" in web.fetch("https://example.com/bomb", tls=trusting)
    assert "Host: example.com\r\n" in site.heads[0]
    assert names == ["example.com", "example.com"]
    for name in (
        "other.example",
        "wrong.example",
    ):  # the second is the certificate's common name, which counts for nothing
        words = web.refusal(f"https://{name}/", tls=trusting)
        assert "does not verify" in words
        assert "mismatch" in words
    assert len(site.heads) == 2 or set(site.heads[2:]) == {""}


def test_a_certificate_of_its_own_making_is_refused_by_default(web: Web, certificate: Path) -> None:
    web.site(HELLO, port=443, tls=secured(certificate, []))
    words = web.refusal("https://example.com/")
    assert "does not verify (self-signed certificate)" in words
    assert "Nothing was fetched" in words


def test_what_is_not_tls_is_told_and_http_is_not_tried(web: Web) -> None:
    site = web.site(HELLO, port=443, waits=False)
    assert "No safe connection" in web.refusal("https://example.com/")
    assert web.connected == [(PUBLIC, 443)]
    assert site.accepted == 1


def test_a_tls_handshake_that_drips_is_left_at_the_deadline(web: Web) -> None:
    web.site(drip(b"\x16\x03\x03\x40\x00", b"\x02"), port=443, waits=False)
    assert "within 0.5 seconds" in web.refusal("https://example.com/", seconds=0.5)


def test_https_may_lead_to_http_and_the_page_says_where_it_came_from(web: Web, certificate: Path) -> None:
    web.site(redirect("http://example.com/"), port=443, tls=secured(certificate, []))
    web.site(HELLO)
    assert web.fetch("https://example.com/", tls=verifying(str(certificate))).startswith(
        "# Hello\nhttp://example.com/\n"
    )


def test_the_defaults_are_strict() -> None:
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    with listener, pytest.raises(ToolError, match="Only the ports 80 and 443"):
        web_fetch(f"http://127.0.0.1:{listener.server_port}/")
