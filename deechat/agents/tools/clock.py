"""The current time, here and anywhere. Only names out of the IANA database ever reach the file system."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache

from deechat.agents.tools.base import ToolError

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
_CALLED: dict[str, str] = {
    # zone: its other names, parted by commas
    "Asia/Shanghai": "china, beijing, peking, shenzhen, guangzhou, hangzhou, chengdu, nanjing, wuhan, xian, "
    "中国, 北京, 上海, 深圳, 广州, 杭州, 成都, 南京, 武汉, 西安, 重庆, 天津, 苏州, 北京时间",
    "Asia/Hong_Kong": "hongkong, hk, 香港",
    "Asia/Macau": "macao, 澳门",
    "Asia/Taipei": "taiwan, 台北, 臺北, 台湾",
    "Asia/Urumqi": "乌鲁木齐, 新疆",
    "Asia/Tokyo": "japan, osaka, kyoto, jst, 日本, 东京, 東京, 大阪, 京都",
    "Asia/Seoul": "korea, south korea, kst, 韩国, 首尔",
    "Asia/Singapore": "新加坡",
    "Asia/Kuala_Lumpur": "malaysia, 马来西亚, 吉隆坡",
    "Asia/Bangkok": "thailand, 泰国, 曼谷",
    "Asia/Ho_Chi_Minh": "vietnam, hanoi, 越南, 河内, 胡志明市",
    "Asia/Manila": "philippines, 菲律宾, 马尼拉",
    "Asia/Jakarta": "雅加达",
    "Asia/Kolkata": "india, delhi, new delhi, mumbai, bombay, bangalore, bengaluru, chennai, hyderabad, "
    "印度, 新德里, 德里, 孟买",
    "Asia/Karachi": "pakistan, islamabad, lahore, 巴基斯坦",
    "Asia/Dubai": "uae, abu dhabi, 阿联酋, 迪拜",
    "Asia/Riyadh": "saudi arabia, 沙特, 利雅得",
    "Asia/Tehran": "德黑兰, 伊朗",
    "Asia/Jerusalem": "以色列, 耶路撒冷",
    "Europe/Istanbul": "türkiye, ankara, 土耳其, 伊斯坦布尔",
    "Europe/Moscow": "st petersburg, saint petersburg, 莫斯科, 圣彼得堡",
    "Europe/Kyiv": "ukraine, 乌克兰, 基辅",
    "Europe/London": "uk, england, scotland, wales, britain, great britain, united kingdom, edinburgh, manchester, "
    "bst, 英国, 伦敦",
    "Europe/Dublin": "ireland, 爱尔兰, 都柏林",
    "Europe/Lisbon": "里斯本, 葡萄牙",
    "Europe/Madrid": "spain, barcelona, 西班牙, 马德里, 巴塞罗那",
    "Europe/Paris": "france, lyon, 法国, 巴黎",
    "Europe/Brussels": "belgium, 比利时, 布鲁塞尔",
    "Europe/Amsterdam": "netherlands, the netherlands, holland, rotterdam, 荷兰, 阿姆斯特丹",
    "Europe/Berlin": "germany, munich, münchen, hamburg, frankfurt, cologne, köln, stuttgart, "
    "德国, 柏林, 慕尼黑, 法兰克福",
    "Europe/Zurich": "switzerland, geneva, zürich, bern, basel, 瑞士, 苏黎世, 日内瓦",
    "Europe/Vienna": "austria, 奥地利, 维也纳",
    "Europe/Rome": "italy, milan, 意大利, 罗马, 米兰",
    "Europe/Athens": "greece, 希腊, 雅典",
    "Europe/Stockholm": "sweden, 瑞典, 斯德哥尔摩",
    "Europe/Oslo": "norway, 挪威, 奥斯陆",
    "Europe/Copenhagen": "denmark, 丹麦, 哥本哈根",
    "Europe/Helsinki": "finland, 芬兰, 赫尔辛基",
    "Europe/Warsaw": "波兰, 华沙",
    "Europe/Prague": "czechia, 捷克, 布拉格",
    "Africa/Cairo": "埃及, 开罗",
    "Africa/Lagos": "nigeria, 尼日利亚",
    "Africa/Nairobi": "kenya, 肯尼亚, 内罗毕",
    "Africa/Johannesburg": "south africa, cape town, 南非, 开普敦, 约翰内斯堡",
    "America/New_York": "nyc, new york city, boston, washington, washington dc, washington d.c., philadelphia, miami, "
    "atlanta, eastern, et, edt, 纽约, 紐約, 华盛顿, 波士顿, 迈阿密",
    "America/Chicago": "houston, dallas, austin, texas, 芝加哥, 休斯顿, 休斯敦, 达拉斯",
    "America/Denver": "salt lake city, 丹佛",
    "America/Los_Angeles": "la, california, san francisco, seattle, silicon valley, san diego, las vegas, "
    "pacific time, pt, pst, pdt, 洛杉矶, 旧金山, 西雅图, 硅谷, 加州, 拉斯维加斯",
    "America/Anchorage": "alaska, 阿拉斯加",
    "Pacific/Honolulu": "hawaii, 夏威夷, 檀香山",
    "America/Toronto": "ottawa, montreal, 多伦多, 渥太华, 蒙特利尔",
    "America/Vancouver": "温哥华",
    "America/Mexico_City": "墨西哥城",
    "America/Sao_Paulo": "são paulo, rio, rio de janeiro, brasilia, 圣保罗, 里约热内卢, 巴西利亚",
    "America/Argentina/Buenos_Aires": "argentina, 阿根廷, 布宜诺斯艾利斯",
    "America/Lima": "peru, 秘鲁, 利马",
    "America/Bogota": "colombia, bogotá, 哥伦比亚, 波哥大",
    "Australia/Sydney": "canberra, aest, 悉尼, 堪培拉",
    "Australia/Melbourne": "墨尔本",
    "Australia/Brisbane": "布里斯班",
    "Australia/Perth": "珀斯",
    "Pacific/Auckland": "new zealand, wellington, 新西兰, 奥克兰, 惠灵顿",
    "UTC": "z, world time, 世界时",
}

PLACES: dict[str, str] = {name.strip(): zone for zone, names in _CALLED.items() for name in names.split(",")}
