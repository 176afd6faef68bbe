"""gunicorn's settings and hooks, and the one way in which the server is started.

`gunicorn.conf.py`, `python app.py` and the command `deechat` all end here. gunicorn's master imports this module before
anything is patched, so it imports nothing that opens sockets or needs `ssl`.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from typing import Any, NoReturn

from gunicorn.glogging import Logger as GunicornLogger

from deechat.config import Settings, unknown_settings
from deechat.errors import SettingError
from deechat.folder import DataFolder
from deechat.logs import configuration

_EVERYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 - what `bind` may be, and no address to go to
BOOT_ERROR = 3  # gunicorn ends the master too when a worker leaves with it

log = logging.getLogger("deechat")


def leave(problem: object) -> NoReturn:
    """Ends the process with one line for a person."""
    raise SystemExit(f"DeeChat cannot start: {problem}")


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's, without a line for each request: it would be put together, and then nobody takes it."""

    def access(self, *_: object) -> None:
        pass


try:
    _settings = Settings.read(os.environ)
except SettingError as _exc:
    leave(_exc)

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = 1  # whatever WEB_CONCURRENCY says: one process holds the data folder
worker_class = "deechat.worker.Worker"
worker_connections = _settings.max_streams + 200  # places for requests besides the streams
timeout = 30
graceful_timeout = 18  # above the 10 s that steps in progress have; then gunicorn kills
keepalive = 20
max_requests = 0
preload_app = False
control_socket_disable = True
accesslog = None
logger_class = Logger
logconfig_dict = configuration(_settings.log_level)


def on_starting(server: Any) -> None:
    """Says in one line what would keep a worker from starting, before there is one."""
    for line in unknown_settings(os.environ):
        log.warning("%s", line)
    os.umask(0o077)  # what is kept is for its owner alone, also in a folder that others may look into
    if server.cfg.workers != 1:
        leave(f"workers is {server.cfg.workers}, but DeeChat is one process: leave --workers out.")
    if "GUNICORN_FD" not in os.environ and "LISTEN_FDS" not in os.environ:
        for address in server.address:
            _check_address(address)
    folder = DataFolder(_settings.data)
    try:
        folder.hold()
        if folder.was_used:
            folder.secret()
        folder.release()
    except SettingError as exc:
        leave(exc)


def when_ready(server: Any) -> None:
    """Says where to go."""
    for address in server.address:
        if isinstance(address, tuple):
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            if host in _EVERYWHERE:
                host = "localhost"
            log.info("DeeChat is at http://%s:%s", host, address[1])


def post_worker_init(worker: Any) -> None:
    """Starts the application in its worker, before the first request."""
    try:
        worker.wsgi.extensions["deechat"].start()
    except SettingError as exc:
        print(f"DeeChat cannot start: {exc}", file=sys.stderr, flush=True)
        sys.exit(BOOT_ERROR)


def worker_exit(_server: Any, worker: Any) -> None:
    """Commits what is left."""
    application = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("deechat")
    if application is not None:
        application.close()


def _check_address(address: Any) -> None:
    if not isinstance(address, tuple):
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                leave(f"port {address[1]} is in use on {address[0]}: stop what uses it, or set PORT to another one.")
            leave(f"it cannot listen on {address[0]}:{address[1]} ({exc.strerror}): set DEECHAT_HOST and PORT.")
        except OverflowError:
            leave(f"{address[1]} is no port: take one from 1 to 65535.")


def serve() -> None:
    """Serves through gunicorn until it is told to stop."""
    from gunicorn.app.wsgiapp import WSGIApplication  # noqa: PLC0415 - gunicorn itself imports this module

    sys.argv = ["deechat", "--config", "python:deechat.serving", "deechat:create_app()"]
    WSGIApplication("%(prog)s [OPTIONS]").run()
