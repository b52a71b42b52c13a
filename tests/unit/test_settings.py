"""Settings: unknown ones refuse, secrets in them refuse, insecure addresses refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from byokeep.core.errors import Rejected
from byokeep.settings import check_address, load

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
    assert refused("unknown_setting").fields["setting"] == "BYOKEEP_STORE_ADRESS"


def test_an_unknown_key_in_the_file_refuses(tmp_path: Path) -> None:
    """The file is as strict as the environment."""
    (tmp_path / "config.toml").write_text('colour = "red"\n')
    assert refused("unknown_setting").fields["setting"] == "colour"


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
    (tmp_path / "config.toml").write_text('environment = "production"\n[provider_urls]\nopenai = "http://127.0.0.1:1"\n')
    refused("test_hook_in_production")


def test_a_password_in_the_database_url_refuses() -> None:
    """Database credentials live in a service or pass file."""
    refused("bad_setting", database_url="postgresql+psycopg://u:p@db.example.org/byokeep")
