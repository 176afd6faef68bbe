"""Settings: what they default to, and that a value which does not parse says so in one line."""

from __future__ import annotations

import re
import traceback
from dataclasses import fields
from pathlib import Path

import pytest

import deechat
from deechat.agents.providers.openai.client import Address
from deechat.config import CONTEXT, MAX_TOKENS, TABLE, TEMPERATURE, Bounds, Settings, unknown_settings
from deechat.errors import SettingError

PACKAGE = Path(deechat.__file__).parent


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    settings = Settings.read({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8000, Path("data"))
    assert (settings.provider, settings.model, settings.password) == ("auto", None, None)
    assert (settings.max_tool_rounds, settings.heartbeat) == (10, 15)
    assert (settings.first_byte_timeout, settings.stall_timeout, settings.recover) == (300, 120, 900)
    assert (settings.max_streams, settings.max_runs) == (1000, 200)


def test_a_variable_that_is_empty_counts_as_not_set() -> None:
    assert Settings.read({"PORT": "", "DEECHAT_PASSWORD": " ", "OPENAI_API_KEY": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.0"),
        ("PORT", "٣"),
        ("DEECHAT_HEARTBEAT", "0"),
        ("DEECHAT_HEARTBEAT", "nan"),
        ("DEECHAT_HEARTBEAT", "soon"),
        ("DEECHAT_FIRST_BYTE_TIMEOUT", "-1"),
        ("DEECHAT_STALL_TIMEOUT", "1e9"),
        ("DEECHAT_RECOVER", "inf"),
        ("DEECHAT_MAX_TOOL_ROUNDS", "many"),
        ("DEECHAT_MAX_STREAMS", "-5"),
        ("DEECHAT_MAX_RUNS", "0"),
        ("DEECHAT_PROVIDER", "openia"),
        ("DEECHAT_LOG_LEVEL", "loud"),
        ("OPENAI_BASE_URL", "local"),
        ("OPENAI_BASE_URL", "ftp://localhost/v1"),
        ("OPENAI_BASE_URL", "http://local host/v1"),
        ("OPENAI_BASE_URL", "http://localhost:99999/v1"),
        ("OPENAI_BASE_URL", "http://[::1/v1"),
    ],
)
def test_a_value_that_does_not_parse_is_named_with_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.read({name: value})
    message = str(caught.value)
    assert name in message
    assert repr(value) in message
    assert "is expected" in message
    assert "\n" not in message


def test_asking_for_openai_without_a_server_says_what_to_set() -> None:
    with pytest.raises(SettingError, match="OPENAI_API_KEY"):
        Settings.read({"DEECHAT_PROVIDER": "openai"})


# Every setting that is a secret or may hold one, with values that a start takes and values that it refuses.
SECRET = "hunter2-of-mine"
TAKEN = [
    ("OPENAI_API_KEY", SECRET),
    ("DEECHAT_PASSWORD", SECRET),
    ("OPENAI_BASE_URL", f"http://user:{SECRET}@example.org/v1"),
    ("OPENAI_BASE_URL", f"http://{SECRET}@example.org/v1"),
    ("OPENAI_BASE_URL", f"http://example.org/v1?key={SECRET}"),
]
REFUSED = [
    ("OPENAI_API_KEY", f"ü{SECRET}", None),
    ("OPENAI_BASE_URL", f"http://user:{SECRET}@host:99999/v1", "http://***@host:99999/v1"),
    ("OPENAI_BASE_URL", f"http://{SECRET}@host:99999/v1", "http://***@host:99999/v1"),
    ("OPENAI_BASE_URL", f"http://user:a@{SECRET}@host:99999/v1", "http://***@host:99999/v1"),
    ("OPENAI_BASE_URL", f"http://user:a/{SECRET}@host:99999/v1", "http://***@host:99999/v1"),
    ("OPENAI_BASE_URL", f"http://user:a?{SECRET}@host:99999/v1", "http://***"),
    ("OPENAI_BASE_URL", f"http://user:a#{SECRET}@host:99999/v1", "http://***"),
    ("OPENAI_BASE_URL", f"http://user:a {SECRET}@host/v1", "http://***@host/v1"),
    ("OPENAI_BASE_URL", f"http://user:{SECRET}", "http://***"),
    ("OPENAI_BASE_URL", f"http://host:99999/v1?key={SECRET}", "http://host:99999/v1?***"),
    ("OPENAI_BASE_URL", f"http://host:99999/v1?key=a@{SECRET}", "http://***"),
    ("OPENAI_BASE_URL", f"http://host:99999/v1#{SECRET}", "http://host:99999/v1#***"),
    ("OPENAI_BASE_URL", f"ftp://user:{SECRET}@host/v1", "ftp://***@host/v1"),
    ("OPENAI_BASE_URL", f"user:{SECRET}@host:11434/v1", None),
    ("OPENAI_BASE_URL", f"host:11434/v1?key={SECRET}", None),
    ("OPENAI_BASE_URL", f"sk-{SECRET}", None),
    ("OPENAI_BASE_URL", f"{SECRET}:{SECRET}://host", None),
]


def test_the_settings_that_may_hold_a_secret_are_these() -> None:
    settings = Settings(api_key=SECRET, base_url=SECRET, password=SECRET)
    hidden = {each.name for each in fields(Settings) if not each.repr}
    assert hidden == {"api_key", "base_url", "password"}
    assert SECRET not in repr(settings)


def test_each_setting_has_a_row_and_each_row_a_field_with_its_default() -> None:
    assert [each.name for each in fields(Settings)] == [*TABLE, "ephemeral_disk"]
    assert len({row.variable for row in TABLE.values()}) == len(TABLE)
    for name, row in TABLE.items():
        assert getattr(Settings(), name) == row.default
        if row.default is not None:
            assert row.kind.parse(f"{row.default}") == row.default


@pytest.mark.parametrize(("name", "bounds"), [("DEECHAT_MAX_TOKENS", MAX_TOKENS), ("DEECHAT_CONTEXT", CONTEXT)])
def test_a_number_may_be_its_bounds_and_nothing_beyond(name: str, bounds: Bounds) -> None:
    for value in bounds:
        assert value in (Settings.read({name: str(value)}).max_tokens, Settings.read({name: str(value)}).context)
    for value in (bounds.least - 1, bounds.most + 1):
        with pytest.raises(SettingError, match=f"from {bounds.least} to {bounds.most} is expected"):
            Settings.read({name: str(value)})


@pytest.mark.parametrize(
    ("element", "bounds"), [("set-max-tokens", MAX_TOKENS), ("set-context", CONTEXT), ("set-temperature", TEMPERATURE)]
)
def test_the_page_takes_numbers_within_the_same_bounds(element: str, bounds: Bounds) -> None:
    script = "".join(path.read_text() for path in (PACKAGE / "static" / "js").rglob("*.js"))
    found = re.findall(rf"{element}\b[^;]*?\bmin\W+(\d+)\W+max\W+(\d+)", script)
    assert [(int(least), int(most)) for least, most in found] == [bounds]


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_a_secret_that_is_taken_is_not_shown(name: str, value: str) -> None:
    settings = Settings.read({name: value})
    assert settings != Settings()
    assert SECRET not in repr(settings)
    assert SECRET not in repr(Address.of(settings.base_url, settings.api_key))
    assert SECRET not in Address.of(settings.base_url, settings.api_key).url


@pytest.mark.parametrize(("name", "value", "shown"), REFUSED)
def test_a_secret_that_is_refused_is_not_shown(name: str, value: str, shown: str | None) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.read({name: value})
    message = "".join(traceback.format_exception(caught.value))
    assert SECRET not in message
    assert caught.value.message.startswith(name)
    if shown is None:
        assert "Its value is not shown." in message
    else:
        assert f"{name} is {shown!r}, but" in message
    assert "is expected" in message


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one_and_without_its_value() -> None:
    environment = {
        "DEECHAT_HEARTBEET": "3",
        "DEECHAT_PASWORD": "secret",
        "DEECHAT_X": "y",
        "DEECHAT_HOST": "h",
        "HOME": "/",
    }
    assert unknown_settings(environment) == [
        "DEECHAT_HEARTBEET is not a setting and does nothing; DEECHAT_HEARTBEAT may be meant.",
        "DEECHAT_PASWORD is not a setting and does nothing; DEECHAT_PASSWORD may be meant.",
        "DEECHAT_X is not a setting and does nothing.",
    ]
    assert unknown_settings({"DEECHAT_DATA": "x", "DEECHAT_RECOVER": ""}) == []
