"""A store that is too old is refused wherever we begin to use it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from byokeep.adapters.openbao import embedded
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.openbao.provisioning import Desired, provision, require_version
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.processes import doctor
from byokeep.settings import Settings
from byokeep.wire.bao_http import BaoReply


class Store:
    """Says its version and answers nothing else."""

    def __init__(self, version: str) -> None:
        self.version, self.asked = version, [""]

    async def request(self, method: str, path: str, **_: Any) -> BaoReply:
        self.asked.append(path)
        assert path == "sys/seal-status"
        return BaoReply(200, {"version": self.version, "sealed": False}, "")

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("version", ["2.6.2", "2.7.2", "2.10.0", "3.0.0", "v2.6.2", "2.6.3-beta1", "2.7.2+ent"])
async def test_the_minimum_and_what_is_newer_pass(version: str) -> None:
    """Numbers are compared as numbers; what is shown names the minimum."""
    assert await require_version(Store(version)) == f"{version}, at least 2.6.2 is needed"  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["2.6.1", "2.5.0", "1.21.0", "0.9"])
async def test_what_is_older_is_refused(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, at provisioning before anything is written, and by the doctor; the step says what to do."""
    with pytest.raises(Rejected, match="openbao_too_old") as caught:
        await require_version(Store(version))  # type: ignore[arg-type]
    assert caught.value.next_step == "Upgrade OpenBao to 2.6.2 or a later release."
    store = Store(version)
    with pytest.raises(Rejected, match="openbao_too_old"):
        await provision(store, Secret(b"root"), Desired(installation_id=None), credentials_dir=tmp_path)  # type: ignore[arg-type]
    assert store.asked[1:] == ["sys/seal-status"]
    monkeypatch.setattr(doctor.wiring, "store_http", lambda *_, **__: Store(version))
    node = EmbeddedOpenBao(tmp_path)
    ready, stopped = AsyncMock(), AsyncMock()
    monkeypatch.setattr(embedded, "BaoHttp", lambda *_, **__: Store(version))
    monkeypatch.setattr(node, "_prepare", lambda: shutil.which("true"))
    monkeypatch.setattr(node, "_until_active", ready)
    monkeypatch.setattr(node, "stop", stopped)
    for part in ("logs", "openbao"):
        (tmp_path / part).mkdir(mode=0o700)
    with pytest.raises(Rejected, match="openbao_too_old"):
        await node.start()
    assert (ready.await_count, stopped.await_count) == (1, 1), "an embedded one of the operator's own is stopped again"
    row = await doctor._store(Settings(home=tmp_path))
    assert (row.state, row.code, "2.6.2" in row.next_step) == ("failed", "openbao_too_old", True)


@pytest.mark.parametrize("version", ["", "latest", "2", "two.six.two"])
async def test_a_version_that_cannot_be_told_is_no_pass(version: str) -> None:
    """Could not be checked is not passed."""
    with pytest.raises(Unavailable, match="openbao_version_unknown"):
        await require_version(Store(version))  # type: ignore[arg-type]
