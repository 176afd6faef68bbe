"""Looks names up on threads of the system, since a look-up takes no deadline and nothing can end it.

The threads are a pool of their own. A look-up that hangs holds one of them for as long as the system lets it; the hub,
the threads that everything else shares and a fetch whose time is up are free meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from gevent import monkey
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from deechat.net.deadline import Deadline

MOST = 32  # look-ups at once; the system gives up a name with silent servers after half a minute or so
IDLE = 30  # seconds after which a thread without work ends

_here = monkey.get_original("threading", "local")()  # gevent's own is of each greenlet


def system_addresses(host: str) -> list[str]:
    """Return a host's addresses as the system knows them. Blocks. Raises `OSError` or `UnicodeError`."""
    found = monkey.get_original("socket", "getaddrinfo")(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Lookups:
    """The look-ups of one thread's hub, at most `most` at once; those of one name share one."""

    def __init__(self, look_up: Callable[[str], list[str]] = system_addresses, most: int = MOST) -> None:
        self._look_up = look_up
        self._threads = ThreadPool(most, idle_task_timeout=IDLE)
        self._free = BoundedSemaphore(most)
        self._under_way: dict[str, AsyncResult[list[str] | Exception]] = {}

    @classmethod
    def here(cls) -> Lookups:
        """Return the look-ups of this thread's hub."""
        lookups: Lookups | None = getattr(_here, "lookups", None)
        if lookups is None:
            lookups = _here.lookups = cls()
        return lookups

    def addresses(self, host: str, seconds: float) -> list[str]:
        """Return a host's addresses. Raises `TimeoutError` when they are not known in time, and the look-up's errors.

        A look-up that is late goes on. Further callers for the same name wait for it too.
        """
        deadline = Deadline(seconds)
        answer = self._under_way.get(host)
        if answer is None:
            if not self._free.acquire(timeout=seconds):
                raise TimeoutError("as many names are being looked up as can be at once")
            answer = self._under_way.get(host)
            if answer is None:
                answer = self._begin(host)
            else:  # begun by another caller that waited for a place
                self._free.release()
        answer.wait(deadline.left(least=0.0))
        if not answer.ready():
            raise TimeoutError("the look-up takes longer")
        found = answer.get()
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found or []

    def _begin(self, host: str) -> AsyncResult[list[str] | Exception]:
        answer = self._under_way[host] = self._threads.spawn(self._looked_up, host)
        answer.rawlink(lambda _: self._over(host))
        return answer

    def _looked_up(self, host: str) -> list[str] | Exception:
        try:
            return self._look_up(host)
        except Exception as error:  # noqa: BLE001  # raised by `addresses`; from a thread gevent would log it too
            return error

    def _over(self, host: str) -> None:
        del self._under_way[host]
        self._free.release()
