"""The check of every run that the suite leaves is itself whole, and can fail."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

import every_run
import pytest
from whole_logs import LOGS

from deechat.agents import plugins
from deechat.agents.plugins.agui import AGUI
from deechat.agents.plugins.base import Dialect, Frame, FromStart
from deechat.agents.plugins.openai.segments import Segments
from deechat.agents.plugins.parts import InParts
from deechat.events import Entry

PARTS_OF_SOME = {Dialect, FromStart, InParts, Segments}


def test_every_dialect_is_looked_at() -> None:
    found = {
        each
        for info in pkgutil.walk_packages(plugins.__path__, "deechat.agents.plugins.")
        for each in vars(importlib.import_module(info.name)).values()
        if isinstance(each, type) and hasattr(each, "fold")
    }
    assert found - PARTS_OF_SOME == set(every_run.DIALECTS)


def test_sound_folds_have_no_fault() -> None:
    for entries in LOGS.values():
        assert list(every_run.faults_of(entries)) == []


def test_a_fold_that_knows_its_viewer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(AGUI):
        """Leaves one frame more out for whoever comes back."""

        def fold(self, entry: Entry) -> Iterable[Frame]:
            frames = list(super().fold(entry))
            return frames[1:] if self._cursor != (0, 0) else frames

    monkeypatch.setattr(every_run, "AGUI", Forgetful)
    assert any("AGUI" in fault for entries in LOGS.values() for fault in every_run.faults_of(entries))
