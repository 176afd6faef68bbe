"""The settings, as one table: the fields of `Settings`.

Each field is a row: its type is for the program, its `setting(…)` for a person. `deechat settings` prints the table;
README.md and docs/protocol.md hold it word by word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from deechat.errors import SettingError

T = TypeVar("T")
D = TypeVar("D")

PREFIX = "DEECHAT_"  # of the settings that are ours alone


class Bounds(NamedTuple):
    """The least and the most that a number may be."""

    least: int
    most: int


# These can be set for a workspace too, in a request's body.
MAX_TOKENS = Bounds(1, 10_000_000)
CONTEXT = Bounds(1_000, 10_000_000)
TEMPERATURE = Bounds(0, 2)  # of a workspace alone


# -- kinds of values ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of values. `parse` raises `ValueError` for a text that is none of the `expected` values.

    `show` returns as much of a text as a person may see in a log; None shows nothing. Values of a kind with a `show` of
    its own may hold a secret.
    """

    parse: Callable[[str], T]
    expected: str
    show: Callable[[str], str | None] = str


def one_of(*words: str) -> Kind[str]:
    """Return the kind of these words, in letters of any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind(parse, "one of " + ", ".join(words))


def whole(bounds: Bounds) -> Kind[int]:
    """Return the kind of whole numbers within the bounds, in ASCII's digits."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and bounds.least <= int(text) <= bounds.most):
            raise ValueError
        return int(text)

    return Kind(parse, f"a whole number from {bounds.least} to {bounds.most}")


def _period(text: str) -> float:
    if not 0 < (value := float(text)) <= 86_400:
        raise ValueError
    return value


def _age(text: str) -> float:
    if not 0 <= (value := float(text)) < float("inf"):
        raise ValueError
    return value


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of a user without an entry, as in a container, where HOME is not set either
        raise ValueError from None


def _key(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError
    return text


def _hidden(_text: str) -> None:
    """Show nothing."""


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    if text == "*":
        text = "0.0.0.0/0, ::/0"
    return tuple(ip_network(each.strip(), strict=False) for each in text.split(","))


_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_OWN_PORTS = {"http": "80", "https": "443"}


def _origins(text: str) -> tuple[str, ...]:
    """Return origins as a browser sends them: in small letters, and without the port that is the scheme's own."""
    found = []
    for each in text.lower().split(","):
        match = _ORIGIN.fullmatch(each.strip())
        if match is None or not 0 < int(match[3] or 1) < 65_536:
            raise ValueError
        scheme, host, port = match.groups()
        found.append(f"{scheme}://{host}" + (f":{port}" if port and port.lstrip("0") != _OWN_PORTS[scheme] else ""))
    return tuple(found)


def shown_address(text: str) -> str | None:
    """Return an address, or a text meant as one, without its user, password and query: they may be secret.

    Return None where nothing of it can be shown, since a key may have been put in the address's place.
    """
    scheme, sign, rest = text.partition("://")
    if not sign:
        return text if _HARMLESS.fullmatch(text) else None
    if not re.fullmatch(r"(?i)[a-z][a-z0-9+.-]{0,10}", scheme):
        return None
    user, at, place = rest.rpartition("@")
    query = _QUERY.search(place)
    place = place[: query.start()] if query else place
    # A sign before the last @ begins a query or stands in a password; the two cannot be told apart.
    if _QUERY.search(user) or not _PLACE.fullmatch(place):
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at else ''}{place}{query[0] + '***' if query else ''}"


_QUERY = re.compile("[?#]")
# A host with a port; or a word that is too short to be a key.
_HARMLESS = re.compile(r"(?!sk-)[\w.-]+:\d{1,5}(/[\w./-]*)?|(?!sk-)[\w./ -]{1,20}")
# A host, without or with brackets that are whole, a port of digits, a path. A password without its host is none.
_PLACE = re.compile(r"([\w. -]*|\[[0-9a-fA-F:.%]*\]?)(:\d*)?(/.*)?", re.DOTALL)


def _url(text: str) -> str:
    """Return the address of a model server; parts that were left out are added where only one can be meant."""
    text = _QUOTED.sub(r"\2", text).strip()
    text = _with_scheme(text) if "://" not in text else text
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in text):
        raise ValueError
    return text.rstrip("/")


_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)  # a file of variables may keep its quotes
_BARE = re.compile(r"(?!sk-)(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(/[^?#@]*)?", re.ASCII)
_PUBLIC = re.compile(r"[\w.-]*\.(?!local$|lan$|internal$|localhost$)[a-z]{2,}", re.IGNORECASE)


def _with_scheme(text: str) -> str:
    """Add the scheme that was left out: HTTPS for a name of the internet, unless a port says otherwise.

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


TEXT = Kind(str, "a text")
PASSWORD = Kind(str, "a text", _hidden)
KEY = Kind(_key, "a key in ASCII without spaces", _hidden)
ADDRESS = Kind(_url, "an address such as http://127.0.0.1:11434/v1", shown_address)
FOLDER = Kind(_folder, "a folder without ~, or with that of a home folder that is there")
NETWORKS = Kind(_networks, "addresses or networks with commas between, such as 10.0.0.0/8, or * for everybody")
ORIGINS = Kind(_origins, "origins with commas between, such as http://localhost:3000, each without a path")
PERIOD = Kind(_period, "a number of seconds above 0 and up to 86400")
AGE = Kind(_age, "a number of seconds from 0 up")


# -- the table ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table: an environment variable, the kind of its values, its default, and a sentence for a person."""

    variable: str
    kind: Kind[Any]
    default: Any
    words: str

    def read(self, environment: Mapping[str, str]) -> Any:
        """Return the variable's value, the default where it is empty; raise `SettingError` where it does not parse."""
        text = environment.get(self.variable, "").strip()
        if not text:
            return self.default
        try:
            return self.kind.parse(text)
        except ValueError:
            shown, expected = self.kind.show(text), self.kind.expected
        if shown is None:
            raise SettingError(f"{self.variable} does not fit: {expected} is expected. Its value is not shown.")
        raise SettingError(f"{self.variable} is {shown!r}, but {expected} is expected.")


def setting(variable: str, kind: Kind[T], default: D, words: str) -> T | D:
    """Return the field of a setting. A value that may hold a secret stays out of the settings' `repr`."""
    row = Setting(variable, kind, default, words)
    return cast("T | D", field(default=default, repr=kind.show is str, metadata={"setting": row}))


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of all settings. Times are in seconds."""

    api_key: str | None = setting(
        "OPENAI_API_KEY", KEY, None, "the model server's key; a server that wants none takes any"
    )
    base_url: str | None = setting(
        "OPENAI_BASE_URL",
        ADDRESS,
        None,
        "the model server's address; with a key alone, OpenAI's own. `/v1` is found where no path is given",
    )
    model: str | None = setting(
        "DEECHAT_MODEL",
        TEXT,
        None,
        "the model; without it the server's first that is known to chat, on OpenAI's own address `gpt-6-luna`",
    )
    provider: str = setting(
        "DEECHAT_PROVIDER",
        one_of("auto", "openai", "offline"),
        "auto",
        "`openai`, `offline`, or `auto`: a key or an address, else a model server found on this machine, else offline",
    )
    data: Path = setting(  # noqa: RUF009 - it is a field
        "DEECHAT_DATA", FOLDER, Path("data"), "the folder of everything that is kept; one process at a time holds it"
    )
    host: str = setting("DEECHAT_HOST", TEXT, "127.0.0.1", "the address to listen on")
    port: int = setting("PORT", whole(Bounds(1, 65_535)), 8000, "the port to listen on")
    password: str | None = setting(
        "DEECHAT_PASSWORD",
        PASSWORD,
        None,
        "lets others in; without a password only requests from this machine are served",
    )
    max_tokens: int | None = setting(
        "DEECHAT_MAX_TOKENS",
        whole(MAX_TOKENS),
        None,
        "tokens that the model may answer with in one step; none: no limit is sent. A workspace may differ",
    )
    context: int | None = setting(
        "DEECHAT_CONTEXT",
        whole(CONTEXT),
        None,
        "tokens that the model reads at once, its answer included; none: as its server tells. A workspace may differ",
    )
    proxies: tuple[IPv4Network | IPv6Network, ...] | None = setting(
        "FORWARDED_ALLOW_IPS", NETWORKS, None, "proxies that may say who asks, besides those on this machine"
    )
    origins: tuple[str, ...] | None = setting(
        "DEECHAT_ORIGINS", ORIGINS, None, "pages elsewhere that may ask; all others are refused"
    )
    max_tool_rounds: int = setting(
        "DEECHAT_MAX_TOOL_ROUNDS", whole(Bounds(1, 1000)), 10, "rounds of tool calls in one answer"
    )
    heartbeat: float = setting("DEECHAT_HEARTBEAT", PERIOD, 15.0, "seconds of silence on a stream before a heartbeat")
    first_byte_timeout: float = setting(
        "DEECHAT_FIRST_BYTE_TIMEOUT", PERIOD, 300.0, "seconds that a model server may be silent before its first byte"
    )
    stall_timeout: float = setting(
        "DEECHAT_STALL_TIMEOUT", PERIOD, 120.0, "seconds that a model server may be silent after its first byte"
    )
    recover: float = setting(
        "DEECHAT_RECOVER",
        AGE,
        900.0,
        "answers whose last event is older than this at the start are ended, younger ones go on; 0: none goes on",
    )
    transport: str = setting(
        "DEECHAT_TRANSPORT",
        one_of("sse", "websocket", "hybrid"),
        "sse",
        "the way of an answer that `stream-chat` begins: `sse`, `websocket`, or `hybrid`, which is SSE until the agent "
        "needs a person. A workspace may differ",
    )
    max_streams: int = setting("DEECHAT_MAX_STREAMS", whole(Bounds(1, 100_000)), 1000, "streams that are open at once")
    max_runs: int = setting("DEECHAT_MAX_RUNS", whole(Bounds(1, 100_000)), 200, "answers that are made at once")
    log_level: str = setting(
        "DEECHAT_LOG_LEVEL", one_of("debug", "info", "warning", "error"), "info", "the least that is logged"
    )
    ephemeral_disk: bool = False  # no setting: a host that sets DYNO has such a disk

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables; an empty one counts as not set.

        Raise `SettingError` with one line that names the variable, its value without secrets, and the expected values.
        """
        values = {name: row.read(environment) for name, row in TABLE.items()}
        settings = cls(**values, ephemeral_disk="DYNO" in environment)
        if settings.provider == "openai" and not (settings.api_key or settings.base_url):
            raise SettingError(
                "DEECHAT_PROVIDER is 'openai', but neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: set one of them."
            )
        return settings


# The rows by the names of their fields.
TABLE: dict[str, Setting] = {
    each.name: each.metadata["setting"] for each in fields(Settings) if "setting" in each.metadata
}


def unknown_settings(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a line for each variable that looks like a setting and is none, without its value."""
    ours = {row.variable for row in TABLE.values()}
    known = [name.removeprefix(PREFIX) for name in ours if name.startswith(PREFIX)]
    lines = []
    for name in sorted(name for name in environment if name.startswith(PREFIX) and name not in ours):
        near = get_close_matches(name.removeprefix(PREFIX).upper(), known, n=1)
        meant = f"; {PREFIX}{near[0]} may be meant" if near else ""
        lines.append(f"{name} is not a setting and does nothing{meant}.")
    return lines


def as_markdown() -> str:
    """Return the table as README.md and docs/protocol.md show it."""
    rows = [
        f"| `{row.variable}` | {row.kind.expected} | {_default(row.default)} | {row.words} |\n"
        for row in TABLE.values()
    ]
    return "| variable | value | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`./{value}`" if isinstance(value, Path) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
