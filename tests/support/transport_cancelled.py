"""A process of the tests: forty greenlets ask, are cancelled, and it is counted how many sockets are open then.

It writes "ready", reads a line, cancels, writes how many were cancelled, how many sockets are left and how many
turns of the event loop it took, and reads another line.
"""

from gevent import monkey

monkey.patch_all()

import ssl  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
import httpx2  # noqa: E402

from deechat.agents.providers.openai.transport import Transport  # noqa: E402
from deechat.errors import Cancelled  # noqa: E402
from deechat.net.pool import Pool  # noqa: E402

URL, SIZE = sys.argv[1], int(sys.argv[2])
trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
transport = Transport(Pool(trust, max_idle=10, idle_seconds=4), httpx2.HTTPTransport(verify=trust))
client = httpx2.Client(transport=transport, timeout=30, trust_env=False)
cancelled: list[None] = []
turns: list[None] = []


def ask() -> None:
    try:
        with client.stream("POST", URL, content=b"x" * SIZE) as response:
            for _ in response.iter_raw():
                pass
    except Cancelled:
        cancelled.append(None)


def sockets() -> int:
    links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists())
    return sum(str(link).startswith("socket:") for link in links)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


before = sockets()
greenlets = [gevent.spawn(ask) for _ in range(40)]
gevent.sleep(0.2)
say("ready")
gevent.get_hub().threadpool.apply(sys.stdin.readline)
turn = gevent.get_hub().loop.prepare()
turn.start(turns.append, None)
for greenlet in greenlets:
    greenlet.kill(Cancelled(), block=False)
gevent.joinall(greenlets)
gevent.sleep(0)
turn.stop()
turn.close()
say(len(cancelled), sockets() - before, len(turns))
sys.stdin.readline()
