"""Chooses the provider: the one that the settings name, else a model server that is found, else the offline one."""

from __future__ import annotations

from collections.abc import Generator

from deechat.agents.providers.base import Notice, Part, Provider, Question
from deechat.agents.providers.local import Local
from deechat.errors import ModelError


class Chooser:
    """Gives the provider of a run.

    `fixed` answers always. Without it the model server of this machine answers. While there is none, `offline` answers
    new questions, but never a run that was begun with a model.
    """

    def __init__(self, *, fixed: Provider | None, offline: Provider, local: Local) -> None:
        self._fixed = fixed
        self._offline = offline
        self._local = local

    def current(self) -> Provider:
        """Return the provider for a new question; may look for a server, which takes 300 ms."""
        if self._fixed is not None:
            return self._fixed
        if self._local.is_there():
            return self._local
        return self._without_model()

    def _without_model(self) -> Provider:
        return _Instead(self._offline, self._local.lost) if self._local.lost else self._offline

    def of_run(self, model: str | None) -> Provider:
        """Return the provider for a run that was begun with a model, or None while none was known.

        Raises `ModelError` where only the offline helper is there for a run that a model began.
        """
        if model is not None and model == self._offline.default_model():
            return self._without_model()
        if self._fixed is self._offline:
            words = f"This answer was begun with the model {model or 'of a model server'}, and DEECHAT_PROVIDER is "
            words += "'offline' now. Send your message again to have it answered without a model."
            raise ModelError(words, code="model_unreachable")
        return self._fixed or self._local

    def going_on(self, model: str | None) -> Provider:
        """Return the provider for a new run that goes on from one which was begun with a model."""
        return self.current() if model == self._offline.default_model() else self.of_run(model)


class _Instead:
    """The offline helper, which says that a model server was there before."""

    def __init__(self, offline: Provider, lost: str) -> None:
        self._offline, self._lost = offline, lost
        self.name = offline.name
        self.models, self.default_model, self.model_for = offline.models, offline.default_model, offline.model_for
        self.room = offline.room

    def ask(self, question: Question) -> Generator[Part, None, None]:
        yield Notice("model_server_gone", {"server": self._lost})
        yield from self._offline.ask(question)
