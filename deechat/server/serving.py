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

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as GunicornLogger

from deechat.config import Settings, unknown_settings
from deechat.errors import SettingError
from deechat.net.addresses import is_loopback
from deechat.server.admission import IDLE_SECONDS, INSIDE, OUTSIDE, SPARE
from deechat.server.folder import DataFolder, keep_temporary_files
from deechat.server.logs import configuration

_EVERYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 - values of `bind` that are no address to go to

log = logging.getLogger("deechat")


def leave(problem: object) -> NoReturn:
    """End the process with one line for a person."""
    raise SystemExit(f"DeeChat cannot start: {problem}")


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's, without a line for each request, which would be put together and then dropped."""

    def access(self, *_: object) -> None:
        pass


try:
    _settings = Settings.read()
except SettingError as _exc:
    leave(_exc)

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = 1  # WEB_CONCURRENCY does not count: one process holds the data folder
worker_class = "deechat.server.worker.Worker"
worker_connections = _settings.max_streams + INSIDE + OUTSIDE + SPARE
timeout = 30
graceful_timeout = 18  # above the 10 s that steps in progress have; then gunicorn kills
keepalive = int(IDLE_SECONDS)
max_requests = 0
preload_app = False
control_socket_disable = True
# gunicorn believes no header about paths, schemes and peers: deechat/web/forwarded.py alone decides which are believed.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
accesslog = None
logger_class = Logger
logconfig_dict = configuration(_settings.log_level)


def on_starting(server: Any) -> None:
    """End the start with one line where no worker could start, before there is one."""
    for line in unknown_settings():
        log.warning("%s", line)
    os.umask(0o077)  # stored files are for their owner alone, also in a folder that others may look into
    if server.cfg.workers != 1:
        leave(f"workers is {server.cfg.workers}, but DeeChat is one process: leave --workers out.")
    _check_worker(server.worker_class)
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
    if place := keep_temporary_files(folder.path):  # else gunicorn would end in a traceback
        os.environ["TMPDIR"] = str(place)
        log.warning("no folder for temporary files can be written: they are in %s; TMPDIR can name another", place)
    chosen = server.cfg.worker_tmp_dir
    if chosen and not os.access(chosen, os.W_OK | os.X_OK):
        leave(f"--worker-tmp-dir is {chosen!r}, a folder that cannot be written: leave it out.")


def when_ready(server: Any) -> None:
    """Warn of an address that other machines reach while there is no password."""
    # The addresses that it really listens on: under a Procfile they are no setting of ours.
    bound = [listener.sock.getsockname() for listener in server.LISTENERS]
    public = [_in_words(address) for address in bound if not (isinstance(address, tuple) and is_loopback(address[0]))]
    if _settings.password is None and public:
        log.warning(
            "DeeChat listens on %s, but there is no DEECHAT_PASSWORD: "
            "all requests that come from elsewhere are refused. Set DEECHAT_PASSWORD to serve others.",
            " and ".join(public),
        )


def post_worker_init(worker: Any) -> None:
    """Start the application in its worker, before the first request."""
    try:
        names = [name for sock in worker.sockets if isinstance(name := sock.getsockname(), tuple)]
        with worker.showing_life():
            worker.wsgi.extensions["deechat"].start(name[1] for name in names)
    except SettingError as exc:
        print(f"DeeChat cannot start: {exc}", file=sys.stderr, flush=True)
        sys.exit(Arbiter.WORKER_BOOT_ERROR)  # which ends the master too
    for name in names:
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        log.info("DeeChat is at http://%s:%s", "localhost" if host in _EVERYWHERE else host, name[1])


def worker_exit(_server: Any, worker: Any) -> None:
    """Close the application, which commits the rest."""
    application = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("deechat")
    if application is not None:
        application.close()


def _check_worker(kind: type) -> None:
    from deechat.server.worker import Worker  # noqa: PLC0415 - gunicorn has imported it by now, this module must not

    if not issubclass(kind, Worker):
        leave(
            f"the worker is {kind.__name__}, in which one stream may keep everybody else waiting: "
            "leave --worker-class out."
        )


def _in_words(address: Any) -> str:
    if not isinstance(address, tuple):
        return str(address)
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


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
    """Serve through gunicorn until it is told to stop."""
    from gunicorn.app.wsgiapp import WSGIApplication  # noqa: PLC0415 - gunicorn itself imports this module

    sys.argv = ["deechat", "--config", "python:deechat.server.serving", "deechat:create_app()"]
    WSGIApplication("%(prog)s [OPTIONS]").run()
