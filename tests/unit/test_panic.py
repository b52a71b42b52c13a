"""`byokeep kill panic` where the store names nobody and the database is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from byokeep.core.errors import Unavailable
from byokeep.http.emergency import Emergency
from byokeep.processes import panic
from byokeep.settings import Settings


@pytest.mark.parametrize("engages", [True, False])
async def test_everything_of_nobody_counts_only_with_the_switch(engages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was stopped unless the switch is engaged, which then stops whoever comes."""

    async def cutoff(*_: Any) -> Any:
        async def entities(_: Any) -> list[str]:
            return []

        return SimpleNamespace(entities=entities, disable=disable)

    @asynccontextmanager
    async def app(_: Any) -> AsyncIterator[Any]:
        if not engages:
            raise Unavailable("database_unavailable")
        yield SimpleNamespace(system=lambda: None, telling=set())

    told: list[Any] = []

    async def engage(*_: Any) -> None:
        return

    async def tell_panic(_: Any, client_id: Any) -> None:
        told.append(client_id)

    async def disable(*_: Any) -> None:
        return

    monkeypatch.setattr("byokeep.processes.wiring.emergency_of", lambda _: Emergency())
    monkeypatch.setattr("byokeep.processes.wiring.panic_cutoff", cutoff)
    monkeypatch.setattr("byokeep.processes.wiring.kill_app", app)
    monkeypatch.setattr(panic, "engage", engage)
    monkeypatch.setattr(panic, "tell_panic", tell_panic)
    if engages:
        assert await panic.panic(Settings(), None) == {"entities": 0, "database": "engaged"}
        assert told == [None]  # people hear of it
        return
    with pytest.raises(Unavailable, match="nobody_cut_off") as caught:
        await panic.panic(Settings(), None)
    assert caught.value.exit_code == 4
