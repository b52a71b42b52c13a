"""Settings of the SDK: the local stack's websites are those that its processes open."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from byokeep.client import Keep
from byokeep.client.settings import ClientSettings, from_environment
from byokeep.core.errors import Rejected, Unavailable

X = "http://127.0.0.1:8430/web/x"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of a stack that listens."""
    monkeypatch.delenv("BYOKEEP_CONFIG", raising=False)
    monkeypatch.delenv("BYOKEEP_BROKER_URL", raising=False)
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))
    (tmp_path / "stack.json").write_text('{"broker_url": "http://127.0.0.1:8421"}')
    return tmp_path


def test_the_websites_are_those_of_the_home_s_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found without a word more; the file that BYOKEEP_CONFIG names comes first; no file is no website."""
    assert from_environment().site_urls == {}
    (home / "config.toml").write_text(f'web_listen = "127.0.0.1:8420"\n[website_urls]\nx = "{X}"\n')
    assert from_environment() == ClientSettings(
        broker_url="http://127.0.0.1:8421", runner_token_file=home / "credentials" / "runner.token", site_urls={"x": X}
    )
    (home / "other.toml").write_text('[website_urls]\nmeta = "http://127.0.0.1:1/web/meta"\n')
    monkeypatch.setenv("BYOKEEP_CONFIG", str(home / "other.toml"))
    assert from_environment().site_urls == {"meta": "http://127.0.0.1:1/web/meta"}


@pytest.mark.parametrize("text", ["[website_urls\n", 'website_urls = "x"\n', "[website_urls]\nx = 1\n", "\udcff"])
def test_a_file_that_is_no_settings_file_refuses(home: Path, text: str) -> None:
    """Rather than to open the true website with a simulated account's session."""
    (home / "config.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Rejected, match="bad_setting"):
        from_environment()


def test_a_stack_that_was_killed_gets_no_token(home: Path) -> None:
    """Nobody holds its home, so another program may have its port; one that is held is used."""
    with (home / "byokeep.pid").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert from_environment().broker_url == "http://127.0.0.1:8421"
    with pytest.raises(Unavailable, match="no_broker"):
        from_environment()


def test_credentials_in_a_closed_home_are_none_to_this_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, of which a runner names the broker and its own token alone: no foreign error comes of it."""
    real = os.stat

    def closed(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if "dispatcher" in str(path):
            raise PermissionError(13, "closed", str(path))
        return real(path, *given, **named)

    monkeypatch.setenv("BYOKEEP_BROKER_URL", "http://127.0.0.1:8421")
    monkeypatch.setattr(os, "stat", closed)
    assert from_environment().dispatcher_token_file is None


async def test_what_could_not_be_entered_is_not_open(tmp_path: Path) -> None:
    """Without a runner's token nothing is begun, and whoever goes on all the same is told so."""
    keep = Keep(ClientSettings(broker_url="http://127.0.0.1:9", runner_token_file=tmp_path / "none", attempts=1))
    with pytest.raises(Rejected, match="token_file_unreadable"):
        await keep.__aenter__()
    with pytest.raises(Unavailable, match="keep_not_open"):
        await keep.attach(uuid4()).__aenter__()


async def test_a_client_is_named_by_its_id(tmp_path: Path) -> None:
    """A name is refused before anybody is asked, with where the id is shown."""
    keep = Keep(ClientSettings(broker_url="http://127.0.0.1:9", runner_token_file=tmp_path / "none", attempts=1))
    with pytest.raises(Rejected, match="bad_client_id") as refused:
        await keep.job(client="Acme Bakery").__aenter__()
    assert "`byokeep client list`" in refused.value.next_step
