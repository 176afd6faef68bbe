"""DeeChat with a WebSocket of the tests at /api/echo: `echo_sockets:app`.

GET /api/closes says how each was closed, by its query (`/api/echo?NAME`).

It says back what it is told, but for `give N` (N bytes), `close CODE WORDS`, `fail` (an error of the program), `nap`
(the session reads nothing until it is told so by POST /api/wake).
"""

from __future__ import annotations

from functools import partial

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - after the patching
from flask import Response, jsonify, request  # noqa: E402

from deechat import create_app  # noqa: E402
from deechat.web.websocket import Close, Sockets, WebSocket  # noqa: E402

app = create_app()
_sockets: Sockets = app.extensions["deechat"]._sockets
_closes: dict[str, Close | None] = {}
_napping: list[bool] = []


def _session(name: str, websocket: WebSocket) -> None:
    try:
        while (message := websocket.receive()) is not None:
            word, _, rest = message.partition(" ")
            if word == "give":
                websocket.send("é" * (int(rest) // 2))
            elif word == "close":
                code, _, reason = rest.partition(" ")
                websocket.close(int(code), reason)
            elif word == "fail":
                raise LookupError("as it was asked to")
            elif word == "nap":
                _napping.append(True)
                while _napping:
                    gevent.sleep(0.01)
            else:
                websocket.send(message)
    finally:
        _closes[name] = websocket.closed


@app.get("/api/echo", websocket=True)
def echo() -> Response:
    return _sockets.serve(partial(_session, request.query_string.decode()))


@app.get("/api/closes")
def closes() -> Response:
    return jsonify({name: each and list(each) for name, each in _closes.items()})


@app.post("/api/wake")
def wake() -> Response:
    _napping.clear()
    return jsonify({})
