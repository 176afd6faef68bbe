"""How often a password may be tried: one guard for every way in.

Two limits hold each guess. One is by network: after a few failures its next guess has to wait, longer each time. The
other is in all: networks that failed before share a slow rate, and new ones a faster one, so that guesses from
everywhere at once stay few, and somebody from a new place still gets a turn.

A client that logged in before, known by its network and the name of its program, has a count of its own. So those who
guess from the same address do not shut it out, and in its name nobody can guess faster than in another.
While a client has to wait its password is not looked at, also if it is the right one: else waiting would cost a guesser
nothing.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from deechat.errors import TooManyAttemptsError
from deechat.net.addresses import address_of, network_of

FREE_FAILURES = 10  # of a network in a row, before it has to wait
KNOWN_FREE_FAILURES = 30  # of a client that logged in before
LONGEST_WAIT = 30.0  # seconds; the first wait is one, and each further one twice as long
FORGOTTEN_AFTER = 900.0  # seconds without a failure
FORGIVEN_EVERY = 60.0  # seconds after which a right password ends a client's failures once more
FIRST_TRIES = 3  # of a network are at the rate of new networks
IN_ALL_NEW = (5.0, 100.0)  # guesses a second, and at once, of networks that are new
IN_ALL_FAILED = (1.0, 100.0)  # of networks that failed before
MOST_NETWORKS, MOST_CLIENTS = 10_000, 1_000
LONGEST_NAME = 200  # characters

K = TypeVar("K")

log = logging.getLogger(__name__)


class _Record:
    """The failures of a network or a client."""

    def __init__(self) -> None:
        self.failures = 0
        self.last = 0.0  # when the last one was
        self.free_at = 0.0  # when the next guess may be
        self.forgiven = float("-inf")


class _Rate:
    """A token bucket."""

    def __init__(self, a_second: float, at_once: float) -> None:
        self._a_second = a_second
        self._at_once = self._left = at_once
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds after which there is a token, 0 if there is one."""
        self._left = min(self._at_once, self._left + (now - self._at) * self._a_second)
        self._at = now
        return max(0.0, (1 - self._left) / self._a_second)

    def take(self) -> None:
        self._left -= 1


class Attempts:
    """All recent attempts. They are kept in memory alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._networks: OrderedDict[str, _Record] = OrderedDict()
        self._clients: OrderedDict[tuple[str, str], _Record] = OrderedDict()
        self._new = _Rate(*IN_ALL_NEW)
        self._failed = _Rate(*IN_ALL_FAILED)

    def check(self, peer: str, program: str, way: str, is_right: Callable[[], bool]) -> bool:
        """Return whether the password is right. `program` is the client's name for itself, `way` how it came.

        Raises `TooManyAttemptsError`, without a look at the password, while the client has to wait.
        """
        now = self._clock()
        network = network_of(peer)
        client = (network, program[:LONGEST_NAME])
        known = self._clients.get(client)
        record = known or self._networks.get(network) or _Record()
        if record.last + FORGOTTEN_AFTER < now:
            record.failures = 0
        self._refuse_for(record.free_at - now)
        rate = self._new if record.failures < FIRST_TRIES else self._failed
        if known is None:
            self._refuse_for(rate.wait(now))
        if is_right():
            self._forgive(client, known or _Record(), now)
            return True
        record.failures += 1
        record.last = now
        beyond = record.failures - (FREE_FAILURES if known is None else KNOWN_FREE_FAILURES)
        if beyond >= 0:
            record.free_at = now + min(LONGEST_WAIT, 2.0 ** min(beyond, 10))
        if known is None:
            rate.take()
            _keep(self._networks, network, record, MOST_NETWORKS)
        log.warning("wrong password from %s (%s)", address_of(peer), way)
        return False

    def _refuse_for(self, seconds: float) -> None:
        if seconds > 0:
            raise TooManyAttemptsError(
                "Too many wrong passwords were tried: wait a moment, then try again.", retry_after=max(1.0, seconds)
            )

    def _forgive(self, client: tuple[str, str], record: _Record, now: float) -> None:
        if record.failures and record.forgiven + FORGIVEN_EVERY < now:
            record.failures = 0
            record.forgiven = now
        _keep(self._clients, client, record, MOST_CLIENTS)


def _keep(records: OrderedDict[K, _Record], key: K, record: _Record, most: int) -> None:
    records[key] = record
    records.move_to_end(key)
    if len(records) > most:
        records.popitem(last=False)
