"""Claims about `current_time`: which zones it knows, and that a name cannot lead it anywhere else."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone

import pytest

from deechat.agents.tools import ToolError
from deechat.agents.tools.clock import PLACES, current_time, described


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.splitlines()[1])


def refusal(name: str) -> str:
    with pytest.raises(ToolError) as caught:
        current_time(name)
    return caught.value.message


def test_a_time_is_told_in_words_and_as_iso_8601() -> None:
    when = datetime(2026, 11, 3, 9, 5, 7, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert described(when, "Asia/Kathmandu") == (
        "Tuesday, 3 November 2026, 09:05:07 in Asia/Kathmandu, UTC+05:45\n2026-11-03T09:05:07+05:45"
    )


@pytest.mark.parametrize("name", ["", "  ", "local", "here"])
def test_without_a_name_it_is_the_servers_own_time(name: str) -> None:
    told = moment(current_time(name))
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=1)
    assert told.utcoffset() == datetime.now().astimezone().utcoffset()


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        ("asia/tokyo", "Asia/Tokyo"),
        ("Tokyo", "Asia/Tokyo"),
        ("东京", "Asia/Tokyo"),
        ("Beijing", "Asia/Shanghai"),
        ("北京", "Asia/Shanghai"),
        ("new york", "America/New_York"),
        ("New_York", "America/New_York"),
        ("纽约", "America/New_York"),
        ("London", "Europe/London"),
        ("UK", "Europe/London"),
        ("india", "Asia/Kolkata"),
        ("Indianapolis", "America/Indianapolis"),
        ("utc", "UTC"),
        ("Z", "UTC"),
    ],
)
def test_zones_cities_and_countries_are_known_by_their_usual_names(name: str, zone: str) -> None:
    told = current_time(name)
    assert f" in {zone}, " in told
    assert moment(told).utcoffset() == datetime.now(zoneinfo.ZoneInfo(zone)).utcoffset()


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("UTC+8", 480), ("GMT-3", -180), ("UTC−3", -180), ("+05:30", 330), ("+0530", 330), ("utc + 5:45", 345)],
)
def test_offsets_are_known(name: str, minutes: int) -> None:
    assert moment(current_time(name)).utcoffset() == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("name", "near"), [("Tokio", "Asia/Tokyo"), ("Pariss", "Europe/Paris"), ("Shangai", "Shanghai")]
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, near: str) -> None:
    message = refusal(name)
    assert repr(name) in message
    assert near in message


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "Asia/../../etc/passwd",
        "Asia/Tokyo/..",
        "Asia/",
        "Europe",
        ".",
        "zone.tab",
        "tzdata.zi",
        "localtime",
        "posixrules",
        "Factory",
        "a\0b",
        "\ud800",
        "x" * 1_000_000,
        "UTC+15",
        "UTC+8:75",
        "UTC+999",
        "+٣",
        "8",
    ],
    ids=lambda name: ascii(name[:24]),
)
def test_no_name_leads_out_of_the_zones(name: str) -> None:
    message = refusal(name)
    assert len(message) < 400
    assert re.fullmatch(r"[ -~]+", message)


def test_every_place_has_a_zone_that_exists() -> None:
    assert set(PLACES.values()) <= zoneinfo.available_timezones()
    assert all(current_time(place) for place in PLACES)
