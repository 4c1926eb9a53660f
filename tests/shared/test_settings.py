from pathlib import Path

import pytest

from turnout.shared.errors import SettingsError
from turnout.shared.settings import Settings, load


def test_every_wrong_setting_is_named_and_no_password_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNOUT_AMQP_URL", "http://user:sesame@host/")
    monkeypatch.setenv("TURNOUT_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    assert "TURNOUT_AMQP_URL" in str(caught.value)
    assert "TURNOUT_LOG_LEVEL" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_an_address_setting_takes_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_AMQP_URL", "amqp://one/, amqps://two/")
    assert load(Settings).amqp_urls == ("amqp://one/", "amqps://two/")


def test_a_setting_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "turnout_redis_url").write_text("redis://elsewhere:1/0\n")
    monkeypatch.setenv("TURNOUT_SECRETS_DIR", str(tmp_path))
    assert load(Settings).redis_url.get_secret_value() == "redis://elsewhere:1/0"


def test_a_missing_directory_of_secrets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_SECRETS_DIR", "/nowhere/at/all")
    with pytest.raises(SettingsError, match="/nowhere/at/all"):
        load(Settings)


def test_no_secret_is_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_AMQP_URL", "amqp://user:sesame@host/")
    assert "sesame" not in repr(load(Settings))
