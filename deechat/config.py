"""The settings: read once from the environment, typed and frozen. Nothing else reads the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from deechat.errors import SettingError

T = TypeVar("T")

PREFIX = "DEECHAT_"  # of the settings that are ours alone

LOG_LEVELS = ("debug", "info", "warning", "error")
PROVIDERS = ("auto", "openai", "offline")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person may set; times are in seconds. What is or may hold a secret stays out of its `repr`."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    model: str | None = None
    provider: str = "auto"
    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 8000
    password: str | None = field(default=None, repr=False)
    max_tokens: int | None = None
    context: int | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] | None = None
    max_tool_rounds: int = 10
    heartbeat: float = 15.0
    first_byte_timeout: float = 300.0
    stall_timeout: float = 120.0
    recover: float = 900.0
    max_streams: int = 1000
    max_runs: int = 200
    log_level: str = "info"
    ephemeral_disk: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Reads the variables of the wire contract's section 1; an empty one counts as not set.

        Raises `SettingError` with one line that names the variable, its value without what is secret, and what was
        expected.
        """
        take = _Reader(environment)
        settings = cls(
            api_key=take("OPENAI_API_KEY", _key, None, show=_hidden),
            base_url=take("OPENAI_BASE_URL", _url, None, show=shown_address),
            model=take("DEECHAT_MODEL", _text, None),
            provider=take("DEECHAT_PROVIDER", _one_of(PROVIDERS), "auto"),
            data=take("DEECHAT_DATA", _folder, Path("data")),
            host=take("DEECHAT_HOST", _text, "127.0.0.1"),
            port=take("PORT", _whole(1, 65_535), 8000),
            password=take("DEECHAT_PASSWORD", _text, None, show=_hidden),
            max_tokens=take("DEECHAT_MAX_TOKENS", _whole(1, 10_000_000), None),
            context=take("DEECHAT_CONTEXT", _whole(1_000, 10_000_000), None),
            proxies=take("FORWARDED_ALLOW_IPS", _networks, None),
            max_tool_rounds=take("DEECHAT_MAX_TOOL_ROUNDS", _whole(1, 1000), 10),
            heartbeat=take("DEECHAT_HEARTBEAT", _seconds, 15.0),
            first_byte_timeout=take("DEECHAT_FIRST_BYTE_TIMEOUT", _seconds, 300.0),
            stall_timeout=take("DEECHAT_STALL_TIMEOUT", _seconds, 120.0),
            recover=take("DEECHAT_RECOVER", _seconds_or_none, 900.0),
            max_streams=take("DEECHAT_MAX_STREAMS", _whole(1, 100_000), 1000),
            max_runs=take("DEECHAT_MAX_RUNS", _whole(1, 100_000), 200),
            log_level=take("DEECHAT_LOG_LEVEL", _one_of(LOG_LEVELS), "info"),
            ephemeral_disk="DYNO" in environment,
        )
        if settings.provider == "openai" and not (settings.api_key or settings.base_url):
            raise SettingError(
                "DEECHAT_PROVIDER is 'openai', but neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: set one of them."
            )
        return settings


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """Says of each variable that looks like a setting and is none, in a line without its value, what may be meant."""
    names = _Names()
    Settings.read(names)
    known = [name.removeprefix(PREFIX) for name in names.asked if name.startswith(PREFIX)]
    lines = []
    for name in sorted(name for name in environment if name.startswith(PREFIX) and name not in names.asked):
        near = get_close_matches(name.removeprefix(PREFIX).upper(), known, n=1)
        meant = f"; {PREFIX}{near[0]} may be meant" if near else ""
        lines.append(f"{name} is not a setting and does nothing{meant}.")
    return lines


class _Names(dict[str, str]):
    """An empty environment that notes which variables are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.append(name)
        return default


class _Reader:
    """Takes one variable at a time and says in words when its value does not parse.

    `show` gives the value as a person may see it; None when it must not be shown.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(
        self, name: str, parse: Callable[[str], T], default: T, *, show: Callable[[str], str | None] = str
    ) -> T:
        text = self._environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            shown = show(text)
            if shown is None:
                raise SettingError(f"{name} does not fit: {exc} is expected. Its value is not shown.") from None
            raise SettingError(f"{name} is {shown!r}, but {exc} is expected.") from None


def _text(text: str) -> str:
    return text


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of a user without an entry, as in a container, where HOME is not set either
        raise ValueError("a folder without ~, since no home folder is known,") from None


def _key(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("a key of letters, digits and signs of ASCII, without spaces,")
    return text


def _hidden(_text: str) -> None:
    """Shows nothing."""


def shown_address(text: str) -> str | None:
    """Gives an address, or what was meant as one, without a user, a password and a query: they may be secret.

    None where nothing of it can be shown, since a key may have been put in the address's place.
    """
    scheme, sign, rest = text.partition("://")
    if not sign:
        return text if _HARMLESS.fullmatch(text) else None
    if not re.fullmatch(r"(?i)[a-z][a-z0-9+.-]{0,10}", scheme):
        return None
    user, at, place = rest.rpartition("@")
    query = _QUERY.search(place)
    place = place[: query.start()] if query else place
    # A sign before the last @ begins a query or stands in a password: nobody can say which.
    if _QUERY.search(user) or not _PLACE.fullmatch(place):
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at else ''}{place}{query[0] + '***' if query else ''}"


_QUERY = re.compile("[?#]")
# A host with a port; or a word that is too short to be a key.
_HARMLESS = re.compile(r"(?!sk-)[\w.-]+:\d{1,5}(/[\w./-]*)?|(?!sk-)[\w./ -]{1,20}")
# A host, without or with brackets that are whole, a port of digits, a path. A password without its host is none.
_PLACE = re.compile(r"([\w. -]*|\[[0-9a-fA-F:.%]*\]?)(:\d*)?(/.*)?", re.DOTALL)


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError("one of " + ", ".join(words))
        return text.lower()

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def _number(text: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(expected) from None


def _seconds(text: str) -> float:
    expected = "a number of seconds above 0 and up to 86400"
    value = _number(text, expected)
    if not 0 < value <= 86_400:
        raise ValueError(expected)
    return value


def _seconds_or_none(text: str) -> float:
    expected = "a number of seconds from 0 up"
    value = _number(text, expected)
    if not 0 <= value < float("inf"):
        raise ValueError(expected)
    return value


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    if text == "*":
        text = "0.0.0.0/0, ::/0"
    try:
        return tuple(ip_network(each.strip(), strict=False) for each in text.split(","))
    except ValueError:
        raise ValueError("addresses or networks with commas between, such as 10.0.0.0/8, or * for everybody") from None


def _url(text: str) -> str:
    """Takes an address of a model server; what was left out is added where one thing alone can be meant."""
    expected = "an address such as http://127.0.0.1:11434/v1"
    text = _QUOTED.sub(r"\2", text).strip()
    text = _with_scheme(text) if "://" not in text else text
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in text):
        raise ValueError(expected)
    return text.rstrip("/")


_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)  # a file of variables may keep its quotes
_BARE = re.compile(r"(?!sk-)(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(/[^?#@]*)?", re.ASCII)
_PUBLIC = re.compile(r"[\w.-]*\.(?!local$|lan$|internal$|localhost$)[a-z]{2,}", re.IGNORECASE)


def _with_scheme(text: str) -> str:
    """Adds the scheme that was left out: HTTPS for a name of the internet, unless a port says otherwise.

    A word alone is no host but `localhost`: it may be a key.
    """
    bare = _BARE.fullmatch(text.removeprefix("//"))
    if bare is None:
        return text
    host, port, _ = bare.groups()
    public = bool(_PUBLIC.fullmatch(host))
    if not (port or public or host.lower() == "localhost" or host.startswith("[") or _DIGITS.fullmatch(host)):
        return text
    return f"{'https' if port == ':443' or (public and not port) else 'http'}://{bare[0]}"


_DIGITS = re.compile(r"[\d.]+\.[\d.]+", re.ASCII)
