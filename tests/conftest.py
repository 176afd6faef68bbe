"""Fixtures: real servers, a scripted model server, and clients that check every run they saw when the test is over."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from client import Client, Stream
from every_run import EveryRun
from model_server import ModelServer
from npm_client import Npm
from server import Server
from terminal_rig import Person
from zoo_rig import House

from deechat.log.journal import Journal
from deechat.principal import OWNER
from deechat.store.base import Thread
from deechat.store.sqlite.database import Database
from deechat.store.sqlite.store import SQLiteStore

_servers: list[Server] = []


def pytest_configure(config: pytest.Config) -> None:
    """Lets every run of the suite pass every dialect."""
    config.pluginmanager.register(EveryRun(), "every_run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds the logs of all servers to the report of a test that failed."""
    report = yield
    if report.failed:
        for server in _servers:
            report.sections.append((f"log of the server on port {server.port}", server.log))
    return report


@pytest.fixture(autouse=True)
def streams_are_closed() -> Iterator[None]:
    """Closes the streams that a test opened and left."""
    yield
    while Stream.opened:
        Stream.opened.pop().close()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Finds what a module's tests left open while that module is still to blame: `ResourceWarning` is an error."""
    yield
    gc.collect()


def _run(folder: Path, **settings: str) -> Iterator[Server]:
    server = Server(folder, **settings)
    _servers.append(server)
    try:
        yield server.start()
    finally:
        server.kill()
        _servers.remove(server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers by itself, shared by the tests of a module."""
    yield from _run(tmp_path_factory.mktemp("server"))


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server, in a thread of its own."""
    client = Client(server).new_thread()
    yield client
    client.check_all()


@pytest.fixture(scope="module")
def shared_model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


@pytest.fixture(scope="module")
def agent_server(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks the module's model server."""
    settings = model_settings(shared_model)
    yield from _run(tmp_path_factory.mktemp("agent"), **settings)


@pytest.fixture
def model(shared_model: ModelServer) -> ModelServer:
    """The module's model server, with nothing in its script and memory."""
    shared_model._script.clear()
    shared_model.requests.clear()
    shared_model.answer = None
    return shared_model


@pytest.fixture(scope="module")
def asking_server(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of `tooled`, that asks the module's model server, and a person about the tool `pay`."""
    folder = tmp_path_factory.mktemp("asking")
    (folder / "go").touch()
    for server in _run(folder, app="tooled:app", HOOKS=str(folder), **model_settings(shared_model)):
        update = f"{server.url}/api/workspace/default/update"
        assert requests.post(update, json={"policies": {"pay": "ask"}}, timeout=60).status_code == 200
        yield server


@pytest.fixture
def agent(agent_server: Server, model: ModelServer) -> Iterator[Client]:
    """A client of the shared server that asks `model`, in a thread of its own."""
    client = Client(agent_server).new_thread()
    yield client
    client.check_all()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The zoo's house, shared by the animals that a module walks past."""
    with ModelServer() as model:
        for server in _run(tmp_path_factory.mktemp("zoo"), **model_settings(model)):
            yield House(server, model)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of one's own: `serve(DEECHAT_HEARTBEAT="0.2")`; with `model=`, one that asks it."""
    started: list[Iterator[Server]] = []

    def start(model: ModelServer | None = None, **settings: str) -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        running = _run(folder, **((model_settings(model) if model else {}) | settings))
        started.append(running)
        return next(running)

    yield start
    for running in started:
        next(running, None)


@pytest.fixture
def person() -> Iterator[Callable[..., Person]]:
    """Seats people at terminals: `person(server, "--new")`; the arguments are those of `Person`."""
    people: list[Person] = []

    def sit_down(server: Server, *options: str, **settings: str) -> Person:
        people.append(Person(server, *options, **settings))
        return people[-1]

    yield sit_down
    for each in people:
        each.close()


@pytest.fixture(scope="module")
def npm() -> Iterator[Callable[[str], Npm]]:
    """Runs scripts of tests/web/npm, each once: `npm("agui.js")`. Skips the tests where npm's packages are missing."""
    started: dict[str, Npm] = {}

    def start(script: str) -> Npm:
        if script not in started:
            started[script] = Npm(script)
        return started[script]

    yield start
    for each in started.values():
        each.close()


@pytest.fixture
def nobody(tmp_path: Path) -> Server:
    """A server that is described and does not run."""
    return Server(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of the test's own, without a server."""
    database = Database(tmp_path / "test.sqlite3", patience=0.5)
    database.start()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Iterator[SQLiteStore]:
    store = SQLiteStore(database)
    yield store
    store.tidy()  # its sweeper would wake in another test


@pytest.fixture
def thread(store: SQLiteStore) -> Thread:
    return store.new_thread(OWNER, store.workspace(OWNER, "default"), None)


@pytest.fixture
def journal(store: SQLiteStore) -> Journal:
    return Journal(store)


def model_settings(model: ModelServer) -> dict[str, str]:
    """Gives the settings of a server that asks this model server."""
    return {
        "DEECHAT_PROVIDER": "openai",
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "sk-a-secret-that-nobody-may-see",
        "DEECHAT_MODEL": "fake-1",
    }
