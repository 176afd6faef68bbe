"""Settings: what they default to, and that a value which does not parse says so in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deechat.config import Settings, unknown_settings
from deechat.errors import SettingError


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
        ("OPENAI_BASE_URL", "localhost:11434"),
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


def test_secrets_are_not_shown() -> None:
    settings = Settings.read({"OPENAI_API_KEY": "sk-secret", "DEECHAT_PASSWORD": "letmein"})
    assert "sk-secret" not in repr(settings)
    assert "letmein" not in repr(settings)


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingError) as caught:
        Settings.read({"OPENAI_API_KEY": "sk-schlüssel"})
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "schlüssel" not in str(caught.value)


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
