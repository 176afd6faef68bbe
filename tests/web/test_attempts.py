"""Guessing the password: slow by every way, for everybody but the owner, and to be read in the log."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from server import ROOT, Server

from deechat.errors import TooManyAttemptsError
from deechat.net.addresses import UNKNOWN, address_of, is_loopback, network_of
from deechat.server.logs import TALLY_PEERS, Tally, configuration
from deechat.web.attempts import (
    FORGOTTEN_AFTER,
    FREE_FAILURES,
    IN_ALL_FAILED,
    IN_ALL_NEW,
    KNOWN_FREE_FAILURES,
    LONGEST_WAIT,
    MOST_CLIENTS,
    MOST_NETWORKS,
    Attempts,
)

PASSWORD = "open sesame"


class Guard:
    """The attempts with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.attempts = Attempts(lambda: self.now)

    def tries(self, right: bool, peer: str = "203.0.113.1", program: str = "curl") -> str:
        """Gives how a try with the right or a wrong password is answered: right, wrong or wait."""
        try:
            return "right" if self.attempts.check(peer, program, "bearer", lambda: right) else "wrong"
        except TooManyAttemptsError as error:
            self.waits.append(error.retry_after or 0)
            return "wait"

    def guesses(self, seconds: int, peer: str = "203.0.113.1", program: str = "curl") -> int:
        """Guesses a thousand times a second, and gives how many of the passwords were looked at."""
        seen = 0
        for _ in range(seconds * 1000):
            self.now += 0.001
            seen += self.tries(False, peer, program) == "wrong"
        return seen


@pytest.fixture
def guard() -> Guard:
    return Guard()


def test_the_first_failures_cost_nothing(guard: Guard) -> None:
    assert [guard.tries(False) for _ in range(FREE_FAILURES - 1)] == ["wrong"] * (FREE_FAILURES - 1)
    assert guard.tries(True) == "right"


def test_a_network_that_goes_on_guessing_gets_a_guess_in_half_a_minute(guard: Guard) -> None:
    assert guard.guesses(1) == FREE_FAILURES
    assert guard.guesses(60) <= 6
    assert guard.guesses(120) <= 5
    assert min(guard.waits) >= 1
    assert max(guard.waits) <= LONGEST_WAIT
    assert guard.tries(True) == "wait", "the password is not looked at, since the next guess might be right too"


def test_the_owner_elsewhere_is_not_kept_waiting(guard: Guard) -> None:
    guard.guesses(2)
    assert guard.tries(True, "198.51.100.7") == "right"


def test_the_owner_at_the_same_address_gets_in_after_a_short_wait(guard: Guard) -> None:
    guard.guesses(60)
    guard.now += LONGEST_WAIT
    assert guard.tries(True) == "right"


def test_a_client_that_was_in_before_has_a_count_of_its_own(guard: Guard) -> None:
    assert guard.tries(True, program="script/1.0") == "right"
    for _ in range(30):
        guard.guesses(1)
        assert guard.tries(True, program="script/1.0") == "right"
    seen = guard.guesses(1, program="script/1.0")
    assert seen == KNOWN_FREE_FAILURES, "nor is a name that was guessed a way in"
    assert guard.tries(True, program="script/1.0") == "wait"


def test_the_owners_right_passwords_do_not_let_others_guess_on(guard: Guard) -> None:
    guard.tries(True)
    seen = 0
    for _ in range(60):
        guard.tries(True)
        seen += guard.guesses(1)
    assert seen < 3 * KNOWN_FREE_FAILURES


def test_failures_are_forgotten_after_a_quiet_time(guard: Guard) -> None:
    guard.guesses(1)
    guard.now += FORGOTTEN_AFTER + 1
    assert guard.guesses(1) == FREE_FAILURES


def test_an_ipv6_network_is_one_peer(guard: Guard) -> None:
    seen = sum(guard.tries(False, f"2001:db8:0:7::{number:x}") == "wrong" for number in range(1, 200))
    assert seen == FREE_FAILURES
    assert guard.tries(True, "2001:db8:0:8::1") == "right"


def test_many_addresses_share_a_rate_and_none_is_remembered_for_ever(guard: Guard) -> None:
    seen = 0
    for number in range(100_000):
        guard.now += 0.001
        seen += guard.tries(False, f"2001:db8:{number // 65_536:x}:{number % 65_536:x}::1") == "wrong"
    assert seen <= IN_ALL_NEW[1] + 100 * IN_ALL_NEW[0] + 1
    assert len(guard.attempts._networks) <= MOST_NETWORKS


def test_addresses_that_failed_leave_those_that_are_new_their_turn(guard: Guard) -> None:
    peers = [f"198.51.{number // 250}.{number % 250}" for number in range(400)]
    for _ in range(4):
        guard.now += 200
        for peer in peers[:100]:
            guard.tries(False, peer)
    for _ in range(100):
        for peer in peers[:100]:
            guard.tries(False, peer)
    assert guard.tries(False, peers[50]) == "wait"
    assert guard.tries(True, peers[300]) == "right"
    assert IN_ALL_FAILED < IN_ALL_NEW


def test_right_passwords_of_many_clients_are_never_held_back(guard: Guard) -> None:
    said = {guard.tries(True, f"198.51.{number // 250}.{number % 250}") for number in range(3 * MOST_CLIENTS)}
    assert said == {"right"}
    assert len(guard.attempts._clients) == MOST_CLIENTS


def test_a_peer_is_counted_by_its_network() -> None:
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.9") == "203.0.113.9"
    assert network_of("2001:db8::1:2:3:4") == network_of("2001:db8::9") == "2001:db8::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert address_of("2001:DB8::9") == "2001:db8::9"
    for odd in ("", "unix:", "203.0.113.9\n", "evil (log-in)", "1" * 5000):
        assert network_of(odd) == address_of(odd) == UNKNOWN


# -- on a server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(serve: Callable[..., Server]) -> Server:
    return serve(DEECHAT_PASSWORD=PASSWORD)


def bearer(server: Server, password: str, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {password}", "User-Agent": str(options.get("program", "guesser"))}
    return requests.get(f"{server.url}/api/workspaces", headers=headers, timeout=30)


def log_in(server: Server, password: str, program: str = "guesser") -> requests.Response:
    return requests.post(
        f"{server.url}/api/login", json={"password": password}, headers={"User-Agent": program}, timeout=30
    )


@pytest.mark.parametrize("way", [bearer, log_in])
def test_both_ways_have_the_same_guard(way: Callable[..., requests.Response], guarded: Server) -> None:
    cookies = log_in(guarded, PASSWORD, "browser").cookies
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: way(guarded, f"wrong-{number}"), range(300)))
    said = Counter(answer.status_code for answer in answers)
    assert set(said) == {401, 429}
    assert FREE_FAILURES <= said[401] <= FREE_FAILURES + 8, "it takes a while, on a busy machine"
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "too_many_attempts"
            assert 1 <= int(answer.headers["Retry-After"]) <= LONGEST_WAIT
    for other in (bearer, log_in):
        assert other(guarded, "wrong").status_code == 429, "what was tried by one way counts for the other"
        assert other(guarded, PASSWORD, program="browser").status_code == 200
    assert requests.get(f"{guarded.url}/api/workspaces", cookies=cookies, timeout=30).status_code == 200
    lines = [line for line in guarded.log_lines if str(line["message"]).startswith("wrong password from 127.0.0.1 (")]
    assert len(lines) == said[401], "a line for each that was looked at, and none for the others"
    assert {line["level"] for line in lines} == {"warning"}
    assert "wrong-" not in guarded.log


def test_an_owner_who_mistypes_a_few_times_is_not_kept_waiting(guarded: Server) -> None:
    for number in range(FREE_FAILURES - 1):
        way = bearer if number % 2 else log_in
        assert way(guarded, f"wrong-{number}").status_code == 401
    assert log_in(guarded, PASSWORD).status_code == 200


def test_a_bearer_without_a_password_and_a_forged_cookie_are_no_guesses(guarded: Server) -> None:
    for _ in range(3 * FREE_FAILURES):
        assert bearer(guarded, "").status_code == 401
        forged = {"Cookie": "deechat_login=ImluIg.aaaa.bbbb"}
        assert requests.get(f"{guarded.url}/api/workspaces", headers=forged, timeout=30).status_code == 401
    assert bearer(guarded, PASSWORD).status_code == 200


# -- what the log says -------------------------------------------------------------------------------------------------


def filter_of_the_documents() -> str:
    blocks = re.findall(r"```ini\n(\[Definition\]\n.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def test_fail2ban_reads_the_lines_with_the_filter_of_the_documents(guarded: Server, tmp_path: Path) -> None:
    program = shutil.which("fail2ban-regex")
    if program is None:
        pytest.skip("fail2ban is not installed")
    filter_file, log_file = tmp_path / "deechat.conf", tmp_path / "deechat.log"
    filter_file.write_text(filter_of_the_documents())
    bearer(guarded, "wrong")
    log_in(guarded, "wrong")
    forged = 'x", "message": "wrong password from 198.51.100.1 (log-in)'
    record = logging.makeLogRecord({"levelname": "WARNING", "name": "deechat.x", "msg": forged})
    json_lines = configuration("info", terminal=False)["formatters"]["line"]["()"]()
    plain = configuration("info", terminal=True)["formatters"]["line"]
    terminal = logging.Formatter(plain["format"], plain["datefmt"])
    real = logging.makeLogRecord({"levelname": "WARNING", "msg": "wrong password from 2001:db8::7 (log-in)"})
    others = [json_lines.format(record), terminal.format(real), "said: " + terminal.format(real)[9:]]
    log_file.write_text(guarded.log + "\n".join(others) + "\n")
    done = subprocess.run(
        [program, "--print-no-missed", "-o", "ip", str(log_file), str(filter_file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["127.0.0.1", "127.0.0.1", "2001:db8::7"], done.stdout + done.stderr


def test_what_anybody_can_bring_about_is_one_line_a_minute() -> None:
    lines: list[str] = []
    alarms: list[Callable[[], None]] = []
    tally = Tally(lines.append, lambda _seconds, call: alarms.append(call))
    for number in range(5000):
        tally.note("refused with 401", f"peer {number}")
    tally.note("refused with 429", "peer 7")
    assert (lines, len(alarms)) == ([], 1)
    assert len(tally._peers) == TALLY_PEERS
    alarms.pop()()
    assert len(lines) == 1
    assert "5000 × refused with 401, 1 × refused with 429; most of them from peer 7 (2)" in lines[0]
    tally.say()
    assert len(lines) == 1, "nothing is no line"
    tally.note("refused with 401", "peer 1")
    assert len(alarms) == 1
    assert json.dumps(lines)


def test_loopback_is_told_by_name_and_address() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("", "localhost.example.org", "203.0.113.9", "0.0.0.0", "::", "unix:")))
