"""Every dialect, live and replayed; tests/support/every_run.py does the same with each run of the suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dialects import TABLE, Log, Replay, Sent, all_dialects, check, fold
from every_run import is_of_a_run, shape_of
from openai_logs import LOGS as OPENAI_LOGS
from openai_logs import entries
from whole_logs import LOGS, some_logs

from deechat.agents.plugins.aisdk import AISDK
from deechat.agents.plugins.base import Frame
from deechat.events import Entry, TextChunk

MANY = 25
ALL = 10**6


def test_no_dialect_is_missing_in_the_table() -> None:
    assert {each.__name__ for each in all_dialects()} == {each.__name__ for each in TABLE}


@pytest.mark.parametrize("name", [*LOGS, *OPENAI_LOGS])
def test_a_replay_from_each_cursor_is_the_rest_of_what_was_live(name: str) -> None:
    log = LOGS[name] if name in LOGS else entries(name)
    assert check(log, ALL) > len(log)


def test_likewise_with_logs_drawn_by_chance() -> None:
    assert sum(check(log, 12) for log in some_logs(MANY) if is_of_a_run(log)) > MANY * 50


class Forgetful(AISDK):
    """A fold that leaves out a frame for those who come back."""

    def fold(self, entry: Entry) -> list[Frame]:
        frames = list(super().fold(entry))
        return frames[1:] if self._start == 3 else frames


def test_a_replay_that_differs_is_found_and_named() -> None:
    def forgetful(log: Log, _most: int) -> Iterator[Replay]:
        live = fold(Forgetful(), log)
        for start in range(5):
            yield Replay(start, live[start:], fold(Forgetful(start), log))

    with pytest.raises(AssertionError, match=r"Forgetful from the cursor 3: frame 0 was live"):
        check(LOGS["plain"], ALL, {Forgetful: forgetful})


def test_a_frame_that_is_changed_after_it_was_sent_counts_as_it_was_sent() -> None:
    sent = fold(AISDK(), LOGS["plain"])
    assert all(isinstance(each, Sent) and isinstance(each.sent, bytes) for each in sent)


def test_logs_that_differ_only_in_how_many_pieces_they_have_are_one_shape() -> None:
    log = LOGS["plain"]
    at = next(at for at, entry in enumerate(log) if isinstance(entry.event, TextChunk))
    assert shape_of([*log[:at], log[at], *log[at:]]) == shape_of(log)
    assert shape_of(log[:at]) != shape_of(log)
