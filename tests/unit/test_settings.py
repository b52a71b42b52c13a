"""Settings: unknown ones refuse, secrets in them refuse, insecure addresses refuse."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from byokeep import settings
from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.blobs.s3 import S3Artifacts
from byokeep.core.errors import Rejected, Unavailable
from byokeep.processes.wiring import artifact_store, rooms
from byokeep.settings import GROUPS, NUMBER_SETTINGS, check_address, default_home, load, parse_bucket, shown, to_toml
from tests.support.disk import on_disk

KEY = "sk-ant-api03-" + "Zq8vT1nW4xY7" * 4


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an empty environment and an empty home."""
    import os

    for name in [name for name in os.environ if name.startswith("BYOKEEP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))


def refused(code: str, **overrides: object) -> Rejected:
    """Load and return the refusal."""
    with pytest.raises(Rejected) as caught:
        load(**overrides)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert KEY not in f"{caught.value}{caught.value.next_step}"
    return caught.value


def test_an_unknown_variable_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in an environment variable does not start with a default instead."""
    monkeypatch.setenv("BYOKEEP_STORE_ADRESS", "https://vault.example.org")
    found = refused("unknown_setting")
    assert found.fields["setting"] == "BYOKEEP_STORE_ADRESS"
    assert found.next_step.startswith("It is a variable of the environment: remove it")
    assert "Did you mean BYOKEEP_STORE_ADDRESS?" in found.next_step


def test_an_unknown_key_in_the_file_refuses(tmp_path: Path) -> None:
    """The file is as strict as the environment."""
    (tmp_path / "config.toml").write_text('colour = "red"\n')
    found = refused("unknown_setting")
    assert found.fields["setting"] == "colour"
    assert found.next_step == f"It stands in {tmp_path / 'config.toml'}: remove it, or see docs/settings.md."
    (tmp_path / "config.toml").write_text('web_lisen = "127.0.0.1:0"\n')
    assert refused("unknown_setting").next_step.endswith("Did you mean web_listen?")
    table = '[provider_urls]\nkie = "http://127.0.0.1:1/kie"\n'
    (tmp_path / "config.toml").write_text(table + 'backup_target = "/mnt/b"\n')
    found = refused("bad_setting")
    assert found.fields["setting"] == "backup_target"
    assert "what stands below [provider_urls] belongs to it. Move backup_target above" in found.next_step
    (tmp_path / "config.toml").write_text(table * 2)
    assert "and is not at line 3; see" in refused("config_not_toml").next_step


def test_a_settings_file_that_others_may_write_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the store that we trust: open to others or another's, it is not read; ours and root's are."""
    file = tmp_path / "config.toml"
    file.write_text('log_level = "DEBUG"\n')
    for mode in (0o666, 0o602, 0o660):
        file.chmod(mode)
        assert f"chmod go-w {file}" in refused("config_too_open").next_step
        assert "chmod go-w" in refused("config_too_open", config=file).next_step
    file.chmod(0o644)
    assert load().log_level == "DEBUG"
    monkeypatch.setattr(settings.os, "geteuid", lambda: file.stat().st_uid + 1)
    if file.stat().st_uid:  # root's own is anybody's to read
        refused("config_too_open")
        return
    assert load().log_level == "DEBUG"
    os.chown(file, 12345, 12345)
    refused("config_too_open")


def test_a_settings_file_in_a_closed_home_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not even look whether there is one does not go on without it."""
    monkeypatch.setattr(os, "stat", Mock(side_effect=PermissionError(13, "closed")))
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "closed")))
    assert f"{tmp_path / 'config.toml'} cannot be read" in refused("config_unreadable").next_step


@pytest.mark.parametrize("text", ["= broken", "\x00", 'home = "x', "[[log_dir]]\n"])
def test_a_broken_file_refuses(tmp_path: Path, text: str) -> None:
    """A file that is not TOML, or whose types are wrong, is a rejection with a next step."""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(Rejected) as caught:
        load()
    assert caught.value.next_step or caught.value.code == "bad_setting"


def test_a_secret_in_a_setting_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key under an innocent name is found by its shape and not printed."""
    monkeypatch.setenv("BYOKEEP_TOKEN_FILE", KEY)
    assert refused("secret_in_setting").fields["setting"] == "token_file"


@pytest.mark.parametrize(
    "address",
    ["http://vault.example.org", "https://user:pw@vault.example.org", "https://h/?token=x", "ftp://h", "vault:8200",
     "http://169.254.169.254", "http://localhost.example.org"],
)  # fmt: skip
def test_insecure_addresses_refuse(address: str) -> None:
    """Plain http leaves the machine; user info and queries carry values."""
    with pytest.raises(Rejected) as caught:
        check_address("store_address", address)
    assert caught.value.code == "insecure_address"


@pytest.mark.parametrize("address", ["https://vault.example.org:8200", "http://127.0.0.1:8200", "http://[::1]:1",
                                     "unix:///run/bao.sock", ""])  # fmt: skip
def test_secure_addresses_pass(address: str) -> None:
    """https anywhere, http on loopback, unix sockets."""
    check_address("store_address", address)


def test_test_hooks_refuse_in_production(tmp_path: Path) -> None:
    """Simulated providers can not be configured in production."""
    (tmp_path / "config.toml").write_text(
        'environment = "production"\n[provider_urls]\nopenai = "http://127.0.0.1:1"\n'
    )
    refused("test_hook_in_production")


@pytest.mark.parametrize("name", ["provider_urls", "platform_urls", "website_urls"])
@pytest.mark.parametrize(
    "url", ["https://api.openai.com", "http://10.0.0.9:1", "127.0.0.1:1", "ws://127.0.0.1:1", "http://[::1", ""]
)
def test_a_simulator_elsewhere_refuses(url: str, name: str) -> None:
    """It is on this machine: a provider's or platform's own address is not to be had by a setting."""
    assert refused("bad_setting", **{name: {"openai": url}}).fields["setting"] == name


@pytest.mark.parametrize("url", ["//u:p@db.example.org/b", "//u@example.org/b", "//db/b?password=x", "//db/b?user=x"])
def test_a_credential_in_the_database_url_refuses(url: str) -> None:
    """Database credentials live in a service or pass file."""
    assert refused("bad_setting", database_url=f"postgresql+psycopg:{url}").fields["setting"] == "database_url"


@pytest.mark.parametrize("url", ["//db.example.org/b", "//10.0.0.9/b?sslmode=require", "///b?host=db.example.org",
                                 "///b?host=/run&host=10.0.0.9", "//db/b?sslmode=verify-full&sslmode=x"])  # fmt: skip
def test_a_database_elsewhere_needs_verified_tls(url: str) -> None:
    """Another host is reached over TLS whose name is checked, or not at all."""
    assert refused("insecure_address", database_url=f"postgresql+psycopg:{url}").fields["setting"] == "database_url"


@pytest.mark.parametrize("url", ["//db.example.org/b?sslmode=verify-full", "//127.0.0.1:5433/b", "///b?host=/run/pg"])
def test_a_database_with_verified_tls_or_on_this_host_passes(url: str) -> None:
    """Unix sockets and loopback need no TLS."""
    assert load(database_url=f"postgresql+psycopg:{url}").embedded_database is False


@pytest.mark.parametrize("text", ["http://[::1", "https://h:99999", "https://h:x"])
def test_what_is_no_address_refuses(text: str) -> None:
    """A broken address is a rejection, not a traceback."""
    refused("bad_setting", store_address=text)


@pytest.mark.parametrize("listen", ["10.0.0.300:8420", "[:::::]:1", "127.0.0.1:70000"])
def test_a_process_listens_at_an_address(listen: str) -> None:
    """One that is mistyped is said so: nothing starts there, and no doctor could judge it."""
    assert refused("bad_setting", broker_listen=listen).fields["setting"] == "broker_listen"


def test_the_variables_of_a_job_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command under `byokeep job run` may run byokeep itself; a name beside the listed ones still refuses."""
    monkeypatch.setenv("BYOKEEP_JOB", "6f1c")
    monkeypatch.setenv("BYOKEEP_SECRET_OPENAI_FILE", "/dev/fd/7")
    monkeypatch.setenv("BYOKEEP_SECRET_X_ACME_FILE", "/dev/fd/8")
    load()
    for name in ("BYOKEEP_SECRET_OPENAI", "BYOKEEP_SECRET_NOBODY_FILE", "BYOKEEP_SECRET_XACME_FILE", "BYOKEEP_JOBS"):
        monkeypatch.setenv(name, "x")
        assert refused("unknown_setting").fields["setting"] == name
        monkeypatch.delenv(name)


@pytest.mark.parametrize("path", ["/srv/task-force-one", "/srv/risk_accepted", "/srv/desk-1"])
def test_words_that_only_hold_sk_pass(path: str) -> None:
    """The shape of a key begins where a word begins."""
    assert str(load(home=path).home) == path


@pytest.mark.parametrize("value", ["300.0.0.0/8", "10.0.0.1/8", "anywhere"])
def test_networks_that_are_none_refuse(value: str) -> None:
    """A typo in the networks does not mean "from anywhere"."""
    given = {"store_address": "https://bao.example.org", "lease_cidrs": value}
    assert refused("bad_setting", **given).fields["setting"] == "lease_cidrs"


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "99999999", "9" * 5000, True])
def test_numbers_that_are_none_refuse(value: object) -> None:
    """A cap that can not be read is not "no cap"."""
    given: dict[str, object] = {"store_address": "https://bao.example.org", "store_calls_per_second": value}
    assert refused("bad_setting", **given).fields["setting"] == "store_calls_per_second"


def test_what_cannot_be_switched_off_has_a_least_number() -> None:
    """And each a largest."""
    for name, (least, most) in NUMBER_SETTINGS.items():
        for value in (least - 1, most + 1):
            assert refused("bad_setting", **{name: value}).fields["setting"] == name
    assert all(NUMBER_SETTINGS[name][0] for name in ("approval_hold_hours", "kek_rotation_days", "backup_keep"))


@pytest.mark.parametrize("given", [{"lease_cidrs": "10.0.0.0/8"}, {"store_calls_per_second": 5}])
@pytest.mark.parametrize("address", ["", "unix:///run/bao.sock"])
def test_bounds_by_address_refuse_where_there_is_no_address(given: dict[str, object], address: str) -> None:
    """A unix socket has no client address, so a bound on it would hold nobody or everybody."""
    refused("bad_setting", store_address=address, **given)


def test_the_settings_file_that_is_handed_on_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the supervisor writes for its processes reads back as its own settings."""
    monkeypatch.delenv("BYOKEEP_HOME")
    given = load(
        home=tmp_path / "a \"quoted\" place", environment="staging", store_address="https://bao.example.org",
        lease_cidrs="10.0.0.0/8, 192.0.2.0/24", store_calls_per_second=7, provider_urls={"openai": "http://127.0.0.1:1"},
    )  # fmt: skip
    file = tmp_path / "run.toml"
    file.write_text(to_toml(given))
    assert load(file) == given
    assert given.networks == ("10.0.0.0/8", "192.0.2.0/24")
    file.write_text(to_toml(given, sources=True))
    with pytest.raises(Rejected, match="bad_setting"):  # of a person's own file we say where a setting comes from
        load(file)
    file = tmp_path / "run-settings.toml"
    file.write_text(to_toml(given, sources=True))
    assert load(file).sources == given.sources
    file.write_text('[sources]\nlog_level = "nobody"\n')
    with pytest.raises(Rejected, match="bad_setting"):
        load(file)


def test_settings_are_shown_with_their_source_and_without_what_a_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, a variable, the command line and the default are told apart; credentials are named or not, no more."""
    secret = tmp_path / "api.token"
    secret.write_text("bko_" + "A" * 43)
    monkeypatch.setenv("BYOKEEP_LOG_LEVEL", "DEBUG")
    file = tmp_path / "config.toml"
    file.write_text(f'token_file = "{secret}"\nbackup_endpoint = "https://a:b@s3.example.org/x"\nlog_level = "INFO"\n'
                    'backup_target = "s3://copies"\n'
                    'database_url = "postgresql+psycopg://127.0.0.1:5432/byokeep?sslpassword=hunter2"\n')  # fmt: skip
    found = shown(load(file, web_listen="127.0.0.1:1", provider_urls={"openai": "http://127.0.0.1:1/deep"}))
    rows = {name: (value, by) for group in found.values() for name, value, by in group}
    assert list(found) == list(GROUPS)
    assert rows["log_level"] == ("DEBUG", "environment")
    assert rows["web_listen"] == ("127.0.0.1:1", "command line")
    assert rows["broker_listen"] == ("127.0.0.1:8421", "default")
    assert rows["token_file"] == ("set", "file")
    assert rows["runner_token_file"] == ("not set", "default")
    assert rows["provider_urls"] == ("openai", "command line")
    assert rows["backup_endpoint"] == ("https://s3.example.org/x", "file")
    assert rows["database_url"] == ("postgresql+psycopg://127.0.0.1:5432/byokeep", "file")
    assert not {text for text in ("hunter2", "bko_", "a:b", str(secret), "deep") if text in str(found)}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("store_program_sha256", {"store_program": "/usr/bin/bao"}),
        ("store_program", {"store_program_sha256": "a" * 64}),
        ("store_program", {"store_program": "bin/bao", "store_program_sha256": "a" * 64}),
        ("store_program_sha256", {"store_program": "/usr/bin/bao", "store_program_sha256": "A" * 64}),
        ("store_program", {"store_program": "/usr/bin/bao", "store_program_sha256": "a" * 64,
                           "store_address": "https://bao.internal:8200"}),
    ],
)  # fmt: skip
def test_a_program_of_ones_own_is_named_with_its_digest(name: str, given: dict[str, str]) -> None:
    """A path without a digest, a digest without a path, and either for a store that we do not start refuse."""
    assert refused("bad_setting", **given).fields["setting"] == name
    both = load(store_program="/usr/bin/bao", store_program_sha256="a" * 64)
    assert both.file("store_program") == Path("/usr/bin/bao")


def test_a_bucket_is_told_from_a_directory_and_refused_when_it_is_not_plain(tmp_path: Path) -> None:
    """Buckets and prefixes of plain characters; nothing of S3 without a bucket; rooms large enough for a profile."""
    assert parse_bucket(load(artifact_store="s3://profiles").artifact_store) == ("profiles", "")
    assert parse_bucket(load(artifact_store="s3://profiles/a/b").artifact_store) == ("profiles", "a/b/")
    assert parse_bucket(load(artifact_store=str(tmp_path)).artifact_store) is None
    for bad in (
        "s3://",
        "s3://X",
        "s3://profiles/../x",
        "s3://profiles/a//b",
        "s3://key:value@profiles",
        "gs://profiles",
    ):
        assert refused("bad_setting", artifact_store=bad).fields["setting"] == "artifact_store"
    refused("bad_setting", artifact_endpoint="https://s3.example.org")
    refused("insecure_address", artifact_store="s3://profiles", artifact_endpoint="http://s3.example.org")
    refused("bad_setting", room_mebibytes=63)
    refused("bad_setting", room_dir="rooms")
    refused("bad_setting", backup_target="copies")


def test_the_places_of_profiles_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory below home, a bucket, a bucket without its library; a room on a disk is refused."""
    assert isinstance(artifact_store(load()), LocalArtifacts)
    assert (tmp_path / "artifacts").stat().st_mode & 0o777 == 0o700
    assert isinstance(artifact_store(load(artifact_store="s3://profiles")), S3Artifacts)
    monkeypatch.delitem(sys.modules, "byokeep.adapters.blobs.s3")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(Rejected, match="extra_missing"):
        artifact_store(load(artifact_store="s3://profiles"))
    with on_disk() as disk, pytest.raises(Unavailable, match="no_memory_backed_place"):
        rooms(load(room_dir=str(disk / "rooms")))


def test_signing_in_elsewhere_takes_all_that_it_needs(tmp_path: Path) -> None:
    """An issuer in clear or with a query, a part left out, a group that gives no role of people: refused, by name."""
    good: dict[str, Any] = {
        "sso_issuer": "https://login.example/realms/a", "sso_client_id": "byokeep",
        "console_origin": "https://keep.example", "sso_groups": {"CN=ops, O=a": "operator every-client"},
    }  # fmt: skip
    assert load(**good).sso_groups == good["sso_groups"]
    again = tmp_path / "again.toml"
    again.write_text(to_toml(load(**good)))
    again.chmod(0o600)
    assert load(again) == load(**good)
    assert load(**good | {"sso_issuer": "http://127.0.0.1:9000"}).sso_issuer
    for issuer in ("http://login.example", "https://login.example/?a=b", "https://a:b@login.example", "unix:///a"):
        assert refused("insecure_address" if "unix" not in issuer else "bad_setting", **good | {"sso_issuer": issuer})
    for name in ("sso_client_id", "console_origin", "sso_groups"):
        assert refused("bad_setting", **good | {name: {} if name == "sso_groups" else ""}).fields["setting"] == name
    assert refused("bad_setting", **good, sso_scopes="profile").fields["setting"] == "sso_scopes"
    for gives in ("runner", "contact", "root", "operator  auditor", "", "operator acme"):
        assert refused("bad_setting", **good | {"sso_groups": {"a": gives}}).fields["setting"] == "sso_groups"


def test_the_origin_of_the_console_is_an_address_that_a_passkey_can_belong_to() -> None:
    """https and a name, or http on localhost; a path, an address, another scheme, capitals: refused."""
    for good in ("https://keep.agency.example", "https://keep.agency.example:8443", "http://localhost:8420"):
        assert load(console_origin=good).console_origin == good
    bad_ones = (
        "http://keep.agency.example", "https://192.0.2.7", "https://192.0.2.7:8420", "http://127.0.0.1:8420",
        "https://keep.agency.example/", "https://Keep.example", "keep.example", "https://a@b.example",
    )  # fmt: skip
    for bad in bad_ones:
        assert refused("bad_setting", console_origin=bad).fields["setting"] == "console_origin"


def test_an_empty_home_is_not_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment it is none, as for the SDK; in a settings file it is refused."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "CONFIG"):
        monkeypatch.setenv(f"BYOKEEP_{name}", "")
    assert load().home == default_home()
    file = tmp_path / "some.toml"
    file.write_text('home = ""\n')
    with pytest.raises(Rejected, match="bad_setting"):
        load(file)
