"""The current time, here and anywhere. Only names out of the IANA database ever reach the file system."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache

from deechat.agents.tools.base import ToolError
from deechat.locale import understood

LONGEST = 64
FARTHEST = timedelta(hours=14)  # no place is farther from UTC

_REGIONS = frozenset(
    {"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
_NO_PLACES = frozenset({"Factory", "localtime", "posixrules"})
_HERE = frozenset({"", "local", "here", "server"})
_OFFSET = re.compile(r"(?:utc|gmt)? ?([+-]) ?([0-9]{1,2})(?::?([0-9]{2}))?")


def current_time(timezone: str = "") -> str:
    """Tells the current date, weekday and time, here or in a time zone.

    timezone: an IANA name such as Europe/Paris, a large city, or an offset such as UTC+8; empty for the server's own
    """
    zone, name = _zone(timezone)
    now = datetime.now(zone) if zone else datetime.now().astimezone()
    return described(now, name)


def described(now: datetime, name: str) -> str:
    """Return a time that knows its zone as text: in words, and on a second line as ISO 8601 with the offset."""
    offset = now.strftime("%z")
    where = f"in {name}" if name else f"on the server's clock ({now.tzname()})"
    words = f"{now:%A}, {now.day} {now:%B %Y}, {now:%H:%M:%S} {where}, UTC{offset[:3]}:{offset[3:5]}"
    return f"{words}\n{now.isoformat(timespec='seconds')}"


def _zone(name: str) -> tuple[tzinfo | None, str]:
    """Return a zone and its proper name; None for the server's own. Raises `ToolError` with names that come near."""
    if len(name) > LONGEST:
        raise ToolError(f"A time zone's name has at most {LONGEST} characters, not {len(name):,}.")
    asked = _plain(name)
    if asked in _HERE:
        return None, ""
    if asked in _known():
        return zoneinfo.ZoneInfo(_known()[asked]), _known()[asked]
    if match := _OFFSET.fullmatch(asked):
        return _offset(*match.groups(default="0"))
    near = dict.fromkeys(_known()[each] for each in difflib.get_close_matches(asked, _known(), n=5, cutoff=0.7))
    hint = (
        f"Did you mean {', '.join(near)}?"
        if near
        else "Give an IANA name such as Europe/Paris or an offset like UTC+8."
    )
    raise ToolError(f"There is no time zone {name!a}. {hint}")


def _offset(sign: str, hours: str, minutes: str) -> tuple[tzinfo, str]:
    size = timedelta(hours=int(hours), minutes=int(minutes))
    if size > FARTHEST or int(minutes) > 59:
        raise ToolError(f"No time zone is {hours}:{minutes.zfill(2)} away from UTC; 14:00 is the most.")
    zone = timezone(-size if sign == "-" else size)
    return zone, f"UTC{sign}{hours.zfill(2)}:{minutes.zfill(2)}"


def _plain(name: str) -> str:
    """Return a name so that names which are the same to a person are equal."""
    return " ".join(name.replace("_", " ").replace("−", "-").replace("＋", "+").casefold().split())


@cache
def _known() -> dict[str, str]:
    """Return IANA's names by plain ones: a city's last component counts, a full name before it, our own names last."""
    zones = sorted(zoneinfo.available_timezones() - _NO_PLACES, key=lambda zone: (zone.count("/"), zone))
    cities = [zone for zone in zones if zone.partition("/")[0] in _REGIONS]
    known = {_plain(zone): zone for zone in zones}
    for zone in cities:
        known.setdefault(_plain(zone.rpartition("/")[2]), zone)
    for place, zone in PLACES.items():
        known.setdefault(_plain(place), zone)
    return known


# Names by which people call time zones, beyond those of the IANA database, in lower case.
PLACES: dict[str, str] = {
    name.strip(): zone
    for places in understood("places").values()
    for zone, names in places.items()
    for name in names.split(",")
}
