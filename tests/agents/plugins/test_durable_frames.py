"""The dialect of Durable Streams: frozen events, and each control event where it belongs."""

from __future__ import annotations

import json
from typing import get_args

from golden import GOLDEN
from whole_logs import LOGS, WARNING, folded

from deechat.agents.plugins.base import bytes_of
from deechat.agents.plugins.durable import Durable, array_of, offset_of
from deechat.events import AnyEvent, Entry


def test_each_event_has_the_frame_that_it_always_had_and_its_offset_behind_it() -> None:
    assert {type(event) for event, _, _ in GOLDEN} == set(get_args(AnyEvent))
    for event, _, fields in GOLDEN:
        data, control = Durable("i", 7, "5").fold(Entry(7, 0.0, event))
        assert (data.name, control.name) == ("data", "control")
        assert bytes_of(data.data).decode() == f'[{{"id":"i",{fields}}}]', WARNING
        closed = {"streamClosed": True} if event.ends else {}
        assert control.data == {
            "streamNextOffset": "0000000000000007",
            "streamCursor": "5",
            "upToDate": True,
            **closed,
        }


def test_a_viewer_is_up_to_date_from_where_the_log_ended_when_it_came() -> None:
    log = LOGS["plain"]
    controls = [frame.data for frame in folded(Durable("m", 4, "1"), log) if frame.name == "control"]
    assert ["upToDate" in control for control in controls] == [entry.seq >= 4 for entry in log]


def test_an_array_has_the_frames_one_after_the_other() -> None:
    log = LOGS["tools"]
    one_by_one = [json.loads(array_of([entry], "m"))[0] for entry in log]
    assert json.loads(array_of(log, "m")) == one_by_one
    assert array_of([], "m") == b"[]"


def test_offsets_sort_as_texts() -> None:
    seqs = [0, 1, 9, 10, 99, 1000, 10**12]
    assert sorted(map(offset_of, reversed(seqs))) == [offset_of(seq) for seq in seqs]
