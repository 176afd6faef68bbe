"""The one place that wires: it makes every part from the settings and hands each the parts that it needs.

Making an application opens and starts nothing. `start` does: gunicorn's worker calls it before the first request, and a
request that is made within the process, without any server, calls it too.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import gevent
from flask import request
from gevent.lock import BoundedSemaphore

from deechat.agents.providers.base import Provider
from deechat.agents.providers.chooser import Chooser
from deechat.agents.providers.discovery import find_local_server
from deechat.agents.providers.local import Local
from deechat.agents.providers.offline import OfflineProvider
from deechat.agents.providers.openai.profiles import Profiles
from deechat.agents.providers.openai.provider import OpenAIProvider, load_sdk
from deechat.agents.tools import Tool, builtin_tools
from deechat.config import CONTEXT, Settings
from deechat.errors import Cancelled, DamagedError, ModelError, UnsupportedServerError
from deechat.locale import say
from deechat.net.connection import Watch
from deechat.net.rounds import ReadRounds
from deechat.runs.service import Runs
from deechat.server.folder import DataFolder
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore
from deechat.web import make_app
from deechat.web.gate import Gate
from deechat.web.logins import EndedLogins
from deechat.web.services import Services
from deechat.web.streams import Streams
from deechat.web.transports import Transports
from deechat.web.websocket import Sockets

MODELS_PATIENCE = 10.0  # seconds that the list of models may take
FIRST_COME = 0.5  # seconds for requests that waited for the server, before the SDK is imported beside them
# Seconds that one thread may keep Python's lock from another, the hub from the writer or the import of the SDK from the
# hub; and that the hub runs callbacks before it looks at sockets again.
TURN = 0.000_5
PATIENCE_WITH_STEPS = 10.0  # seconds that steps in progress have when the server is asked to leave

log = logging.getLogger(__name__)


class Application:
    """Everything that one process serves with. `app` is the WSGI application."""

    def __init__(self, settings: Settings | None = None, tools: Iterable[Tool] = ()) -> None:
        _check_server()
        self.settings = settings or Settings.read()
        self._folder = DataFolder(self.settings.data)
        self._database = Database(self._folder.database, in_place=self._folder.check_in_place, listener=self)
        self._store = SQLiteStore(self._database)
        self._own_ports = {self.settings.port}
        self._profiles = Profiles()
        # Model servers are read in rounds, and the reads of one round go into one commit.
        self._rounds = ReadRounds(self._database.commit_rate)
        self._chooser = _chooser(self.settings, self._own_ports, self._profiles, self._rounds.readable)
        by_name = {tool.name: tool for tool in (*builtin_tools(), *tools)}
        self._runs = Runs(
            self._store,
            self._chooser,
            by_name,
            max_runs=self.settings.max_runs,
            max_tool_rounds=self.settings.max_tool_rounds,
            max_tokens=self.settings.max_tokens,
            context=self.settings.context,
            least_context=CONTEXT.least,
            recover=self.settings.recover,
        )
        self._started = False
        self._told = False  # that another server has it
        self._leaving: gevent.Greenlet[..., None] | None = None
        self._starting = BoundedSemaphore(1)
        streams = Streams(self._runs, most=self.settings.max_streams, heartbeat=self.settings.heartbeat)
        self._sockets = Sockets(streams)
        services = Services(
            store=self._store,
            runs=self._runs,
            streams=streams,
            sockets=self._sockets,
            transports=Transports(self._store, self._runs, streams, self.settings.transport),
            models=self._models,
            profile=self._profile,
            forget=self._profiles.forget,
            tools=by_name,
        )
        self._gate = Gate(
            self.settings.password,
            self._folder.secret,
            EndedLogins(self._store),
            later=gevent.spawn_later,
            origins=self.settings.origins or (),
        )
        self.app = make_app(services, self._gate, self.settings.proxies or ())
        self.app.extensions["deechat"] = self
        self.app.before_request_funcs.setdefault(None, []).insert(0, self._start_for_request)

    def start(self, ports: Iterable[int] = ()) -> None:
        """Take the data folder, open the database and let the runs go on that an earlier process left open; once.

        `ports` are those that it is served on: no model server is looked for there.
        Raises `SettingError` in words when the folder or the database cannot be used.
        """
        if self._started:
            return
        self._own_ports.update(ports)
        with self._starting:  # the first requests of a server without gunicorn's hook may come together
            self._start_once()

    def _start_for_request(self) -> None:
        """Start for a caller within the process. Raises `UnsupportedServerError` when a server is between."""
        if self._started:
            return
        if "REMOTE_PORT" in request.environ and self._leaving is None:
            error = UnsupportedServerError(str(request.environ.get("SERVER_SOFTWARE") or "another server"))
            if not self._told:
                log.error("%s", error)
                self._told = True
            raise error
        self.start()

    def _start_once(self) -> None:
        if self._started:
            return
        gevent.config.track_greenlet_tree = False  # each would keep the stack that it was spawned from, 1 kB
        sys.setswitchinterval(TURN)
        gevent.get_hub().NOT_ERROR += (Cancelled,)  # a stop was asked for: no traceback of it
        self._folder.hold()
        try:
            self._database.start(used=self._folder.was_used, before_commit=self._rounds.run_soon)
            self._folder.secret()  # after the database: it shows that there was one
            if self._store.available:
                self._take_over()
        except BaseException:
            self._let_go()
            raise
        self._started = True
        gevent.spawn(self._warm_up)

    def _take_over(self) -> None:
        """Take over the runs that an earlier process left open."""
        try:
            self._store.take_over()
            self._runs.recovery.at_start()
        except DamagedError:
            log.exception("not every answer that was being made can go on")

    def storage_changed(self, available: bool) -> None:
        self._runs.recovery.on_storage(available)

    def leave(self) -> None:
        """Begin to leave, and return at once: streams and sockets end without an ending, so that viewers come again.

        No run begins anything new, and steps in progress have `PATIENCE_WITH_STEPS` to finish. After that, all stay in
        the log as they are.
        """
        if self._leaving is None:
            self._sockets.leave()
            self._runs.journal.close()
            self._leaving = gevent.spawn(self._runs.registry.leave, PATIENCE_WITH_STEPS)

    def close(self) -> None:
        """Leave, commit the rest and let go of the data folder."""
        if self._started:
            self._started = False
            self._gate.refusals.say()
            self.leave()
            if self._leaving is not None:
                self._leaving.join()
            stored = self._store.available
            self._let_go()
            if stored:
                log.info("stopped, and all is stored")
            else:
                log.warning("stopped while nothing could be stored: what was said last may be missing")

    def _let_go(self) -> None:
        """Close the database and let go of the folder."""
        self._rounds.close()
        self._store.close()
        self._folder.release()

    def _warm_up(self) -> None:
        """Do the work beside the start that the first question would otherwise wait for."""
        if self.settings.ephemeral_disk:
            log.warning(
                "this host's disk is gone after each restart, and every conversation with it; "
                "docs/deploy.md names hosts with volumes"
            )
        provider = self._chooser.current()
        if provider.name == OpenAIProvider.name:
            gevent.sleep(FIRST_COME)
            _load_openai()
        try:
            log.info("answers come from: %s, model %s", provider.name, provider.default_model())
        except ModelError as exc:
            log.warning("the model server does not say which models it has: %s", exc)
        _spare_collections()

    def _models(self) -> dict[str, Any]:
        provider = self._chooser.current()
        answer = self._models_of(provider)
        if "error" in answer and self._chooser.current().name != provider.name:  # it was found, and has just gone
            answer = self._models_of(self._chooser.current())
        return answer

    def _profile(self, model: str | None, language: str) -> list[dict[str, Any]]:
        rows = []
        for habit in self._profiles.shown(model):
            code, params = habit.words
            text = say("agent", language, f"habit.{code}", **params)
            shown = {"code": habit.code, "params": params, "text": text}
            rows.append({**shown, "model": habit.model, "learntAt": habit.at})
        return rows

    def _models_of(self, provider: Provider) -> dict[str, Any]:
        answer: dict[str, Any] = {"models": [], "provider": provider.name, "current": None}
        if isinstance(provider, Local):
            answer["found"] = True
        try:
            with gevent.Timeout(MODELS_PATIENCE, ModelError("The model server did not list its models in time.")):
                answer["models"] = [{"id": name} for name in provider.models()]
                answer["current"] = provider.default_model()
        except ModelError as exc:
            answer |= {"current": self.settings.model, "error": {"code": exc.code, "message": exc.message}}
        return answer


def _check_server() -> None:
    """End a start by gunicorn without our settings: its own workers would let one stream keep all others waiting."""
    arbiter = sys.modules.get("gunicorn.arbiter")
    if arbiter and "deechat.server.serving" not in sys.modules:
        sys.stderr.write(f"DeeChat cannot start: {UnsupportedServerError('gunicorn without gunicorn.conf.py')}\n")
        sys.stderr.flush()
        raise SystemExit(arbiter.Arbiter.WORKER_BOOT_ERROR)  # which ends its master too


def _chooser(settings: Settings, own_ports: Collection[int], profiles: Profiles, watch: Watch) -> Chooser:
    connect = partial(_connect, settings, profiles, watch)
    offline = OfflineProvider()
    fixed: Provider | None = None
    if settings.provider == "offline":
        fixed = offline
    elif settings.provider == "openai" or settings.api_key or settings.base_url:
        fixed = connect(settings.base_url)
    local = Local(find=partial(find_local_server, own_ports), connect=partial(connect, is_found=True))
    return Chooser(fixed=fixed, offline=offline, local=local)


def _connect(
    settings: Settings, profiles: Profiles, watch: Watch, base_url: str | None, *, is_found: bool = False
) -> OpenAIProvider:
    return OpenAIProvider(
        base_url=base_url,
        is_found=is_found,
        api_key=settings.api_key,
        model=settings.model,
        first_byte_timeout=settings.first_byte_timeout,
        stall_timeout=settings.stall_timeout,
        profiles=profiles,
        watch=watch,
        load=_load_openai,
    )


def _load_openai() -> Any:
    # In a thread: on the hub its half second would stall every stream.
    return gevent.get_hub().threadpool.apply(load_sdk)


def _spare_collections() -> None:
    """Let garbage collections pass over all that is loaded, and make them short, and full ones rare.

    Each collection looks at all long-lived objects that have come since the one before: 75 to 90 ms of the hub for
    200,000 objects. The middle ones come after 25,000, and the full ones, which take 130 ms, after millions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 800)
