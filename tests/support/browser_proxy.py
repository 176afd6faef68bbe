"""A proxy that keeps event streams back until they have ended, as some of those in companies and phones do."""

from __future__ import annotations

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from server import Server


class Proxy:
    """Stands before a server and looks like one to a `Tab`: it has a `url`.

    `held`: what of an event stream waits for its end, "all" with its head, or its "body" alone.
    """

    def __init__(self, server: Server, held: str = "all") -> None:
        self.server = server
        self.held = held
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):  # one side has left
                    proxy._answer(self)

            do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        there = http.client.HTTPConnection("127.0.0.1", self.server.port)
        with contextlib.closing(there):
            there.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                there.putheader(name, value)
            there.endheaders(body)
            with contextlib.closing(there.getresponse()) as response:
                self._hand_on(handler, response)

    def _hand_on(self, handler: BaseHTTPRequestHandler, response: http.client.HTTPResponse) -> None:
        stream = (response.getheader("Content-Type") or "").startswith("text/event-stream")
        if stream and self.held == "body":
            self._head(handler, response, {"Connection": "close"})
            handler.wfile.flush()
            handler.wfile.write(response.read())
            handler.close_connection = True
        else:
            whole = response.read()
            self._head(handler, response, {"Content-Length": str(len(whole))})
            handler.wfile.write(whole)

    def _head(self, handler: BaseHTTPRequestHandler, response: http.client.HTTPResponse, more: dict[str, str]) -> None:
        ours = {"connection", "content-length", "transfer-encoding", "keep-alive", "server", "date"}
        handler.send_response(response.status)
        for name, value in [*response.getheaders(), *more.items()]:
            if name.lower() not in ours or name in more:
                handler.send_header(name, value)
        handler.end_headers()
