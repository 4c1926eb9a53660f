import pytest

from turnout.router import topology
from turnout.router.registry import Snapshot
from turnout.router.settings import RouterSettings
from turnout.shared import keys, names
from turnout.shared.errors import SettingsError
from turnout.shared.settings import load


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "ALLOW_REMOTE", "TOKEN", "TLS_CERTIFICATE", "TLS_KEY"):
        monkeypatch.delenv(f"TURNOUT_ADMIN_{name}", raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_admin_api_listens_on_this_machine(host: str) -> None:
    assert load(RouterSettings, admin_host=host).admin_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "router.example.org", ""])
def test_it_listens_beyond_only_when_that_is_said(host: str) -> None:
    with pytest.raises(SettingsError, match="TURNOUT_ADMIN_ALLOW_REMOTE"):
        load(RouterSettings, admin_host=host)
    assert load(RouterSettings, admin_host=host, admin_allow_remote=True).admin_host == host
    tls = {"admin_tls_certificate": "admin.pem", "admin_tls_key": "admin.key"}
    assert load(RouterSettings, admin_host=host, **tls).admin_host == host


@pytest.mark.parametrize("given", ["admin_tls_certificate", "admin_tls_key"])
def test_a_certificate_and_its_key_are_set_together(given: str) -> None:
    with pytest.raises(SettingsError, match="TURNOUT_ADMIN_TLS_KEY"):
        load(RouterSettings, **{given: "admin.pem"})


def test_a_token_of_another_form_is_refused_and_not_repeated() -> None:
    token = keys.new_key(keys.ADMIN_TOKEN).text
    assert load(RouterSettings, admin_token=token).admin_token is not None
    for text in (token[:-1], keys.new_key().text, "secret"):
        with pytest.raises(SettingsError) as refused:
            load(RouterSettings, admin_token=text)
        assert "TURNOUT_ADMIN_TOKEN" in str(refused.value)
        assert text not in str(refused.value)


def test_a_database_that_cannot_be_used_is_refused_with_its_password_unsaid() -> None:
    with pytest.raises(SettingsError, match="TURNOUT_DATABASE_URL") as refused:
        load(RouterSettings, database_url="mysql://turnout:hush@127.0.0.1/turnout")
    assert "hush" not in str(refused.value)


def test_the_public_url_has_no_slash_at_its_end() -> None:
    url = load(RouterSettings, public_url="https://hooks.example.org/").public_url
    assert url == "https://hooks.example.org"


def test_what_is_kept_is_bounded_by_age_and_size_and_cannot_be_unbounded() -> None:
    wanted = topology.of(Snapshot(0, (), (), ()), load(RouterSettings))
    kept = {each.name: each.arguments for each in wanted.queues}
    for stream in (names.ARCHIVE, names.OUTCOMES):
        assert kept[stream]["x-max-age"] == "7D"
        assert 0 < kept[stream]["x-max-length-bytes"] <= 10_000_000_000
    settings = ("archive_max_bytes", "outcomes_max_bytes", "history_max_days", "history_max_bytes")
    for name in settings:
        assert getattr(load(RouterSettings), name) > 0
        with pytest.raises(SettingsError, match=name.upper()):
            load(RouterSettings, **{name: 0})
