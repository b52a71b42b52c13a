"""What a process is told that has no identity, whatever else is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from byokeep.core.errors import Unavailable
from byokeep.processes import wiring
from byokeep.settings import Settings


@pytest.mark.parametrize("name", ["web_app", "broker_app", "kill_app", "worker_app", "refresher_app"])
async def test_a_process_without_its_identity_is_told_so_before_any_server_is_asked(name: str, tmp_path: Path) -> None:
    """A database that would refuse it, as after a rotation of logins, is not asked first."""
    settings = Settings(
        home=tmp_path, credentials_dir=str(tmp_path), database_url="postgresql://localhost:1/byokeep",
        store_address="http://127.0.0.1:1",
    )  # fmt: skip
    more: list[Any] = [None] if name == "worker_app" else []
    with pytest.raises(Unavailable, match="credentials_missing"):
        async with getattr(wiring, name)(settings, *more):
            pass
