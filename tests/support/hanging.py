"""DeeChat on a machine whose name servers are silent for some names: `hanging:app`, for gunicorn.

A look-up below `.silent.example` notes itself in `ran` of the folder that HOOKS names and hangs, in the system's own
call as far as Python can tell, until somebody writes to the pipe `silence` there. `inside.example` leads to this
machine. Nothing else is looked up: no test asks the network.
"""

from __future__ import annotations

import _socket
import os
import socket
from pathlib import Path
from typing import Any

HOOKS = Path(os.environ["HOOKS"])
_system = _socket.getaddrinfo


def _getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.endswith(".silent.example"):
        with (HOOKS / "ran").open("a") as ran:
            ran.write(f"{name}\n")
        (HOOKS / "silence").read_bytes()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    if name.endswith("example"):
        return _system("127.0.0.1", *arguments, **options)
    return _system(host, *arguments, **options)


_socket.getaddrinfo = _getaddrinfo  # before gevent, whose own resolver calls it too

from gevent import monkey  # noqa: E402 - after the patch

monkey.patch_all()

from deechat import create_app  # noqa: E402 - after the patching
from deechat.agents.tools import make_tool  # noqa: E402
from deechat.agents.tools.web.web_fetch import Fetcher  # noqa: E402

_fetcher = Fetcher(seconds=float(os.environ.get("FETCH_SECONDS", "15")))


def fetch(url: str) -> str:
    """Fetches like web_fetch, without a yes.

    url: the page's address
    """
    return _fetcher.fetch(url)


def ask_system(host: str) -> str:
    """Looks a name up in the way of everything else in the process: a model server's, for instance.

    host: the name
    """
    return str(socket.getaddrinfo(host, 80)[0][4][0])


app = create_app(tools=[make_tool(fetch, policy="allow"), make_tool(ask_system, policy="allow")])
