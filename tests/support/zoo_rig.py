"""The zoo's house: one server that asks one model server; each animal has a workspace and a model's name of its own.

So none learns of others, and any walk through the zoo (over HTTP, in the page, in the terminal, with curl) may share
the house. `tests/conftest.py` has it as the fixture `house`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import zoo
from client import Client
from model_server import ModelServer
from server import Server
from zoo.animal import Animal

_FILES = [module.name for module in pkgutil.iter_modules(zoo.__path__) if module.name != "animal"]
KINDS: dict[str, tuple[Animal, ...]] = {name: importlib.import_module(f"zoo.{name}").ANIMALS for name in _FILES}
ANIMALS = [animal for kind in KINDS.values() for animal in kind]


def called(frames: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Gives the name and the arguments of each call that ran."""
    return [(each["name"], each["arguments"]) for each in frames if each.get("type") == "toolCallInvocation"]


class House:
    """Lets animals answer, one at a time."""

    def __init__(self, server: Server, model: ModelServer) -> None:
        self.server, self.model = server, model
        self._rooms: dict[str, str] = {}  # animal's name → workspace's slug
        self._plain: dict[str, Any] | None = None  # the settings of the shared workspace as they were
        model.models = ["fake-1", *(animal.name for animal in ANIMALS)]
        model.rows = {animal.name: animal.row for animal in ANIMALS}

    def room(self, animal: Animal) -> Client:
        """Gives a client in the animal's workspace, which is made when it is first asked for."""
        if animal.name not in self._rooms:
            client = Client(self.server)
            made = client.post("/api/workspace/new", {"name": animal.name}).json()["workspace"]
            self._rooms[animal.name] = made["slug"]
            self.furnish(made["slug"], {"model": animal.name, **animal.settings})
        return Client(self.server, workspace=self._rooms[animal.name])

    def furnish(self, workspace: str, settings: dict[str, Any]) -> None:
        """Changes settings of a workspace."""
        response = Client(self.server).post(f"/api/workspace/{workspace}/update", settings)
        assert response.status_code == 200, response.text

    def admit(self, animal: Animal, workspace: str | None = None) -> Client:
        """Lets the animal answer the next questions, and gives a client in its workspace, or in one that all share."""
        self.model._script.clear()
        self.model.requests.clear()
        self.model.answer, self.model.routes = animal.rule, animal.routes
        if animal.answers:
            self.model.script(*animal.answers)
        if workspace is None:
            return self.room(animal)
        client = Client(self.server, workspace=workspace)
        if self._plain is None:
            found = client.get(f"/api/workspace/{workspace}")["workspace"]
            self._plain = {name: found[name] for each in ANIMALS for name in each.settings}
        self.furnish(workspace, {**self._plain, "model": animal.name, **animal.settings})
        return client

    def asked(self, animal: Animal) -> list[Any]:
        """Gives the bodies that the animal was asked with."""
        return [question for question in self.model.asked if question["model"] == animal.name]
