"""The two documents that anybody may ask `web` for: however many ask, the store hears of it once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.openbao import ports
from byokeep.adapters.openbao.ports import BaoIntake
from byokeep.core.errors import ByokeepError, NotFound, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef


class Store:
    """A store that counts what it is asked for, and the clock of this machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.now = list[str](), 1000.0
        self.error: ByokeepError | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        monkeypatch.setattr("byokeep.adapters.openbao.ports.time", SimpleNamespace(monotonic=lambda: self.now))
        http: Any = SimpleNamespace(request=self._request)
        self.intake = BaoIntake(SimpleNamespace(http=http, request=self._request))  # type: ignore[arg-type]

    async def _request(self, method: str, path: str, **_: Any) -> Any:
        if method == "GET":
            self.asked.append(path.rpartition("/")[2])
            found = len(self.asked)
            await self.answers.wait()
            if self.error is not None:
                raise self.error
            return SimpleNamespace(data={"read": found})
        return SimpleNamespace(data={})


async def test_a_flood_of_strangers_is_one_request_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty at once and fifty one after the other: one read of each document, and the next after a minute."""
    store = Store(monkeypatch)
    store.answers.clear()
    crowd = [asyncio.ensure_future(store.intake.discovery("keys")) for _ in range(50)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    store.answers.set()
    store.now += ports.PUBLIC_FAILED_FOR_S  # who went away is asked for again, once
    said = await asyncio.gather(*crowd[1:])
    assert (said, store.asked) == ([{"read": 2}] * 49, ["keys", "keys"])
    for _ in range(50):
        await store.intake.discovery("keys")
        await store.intake.discovery("openid-configuration")
    assert store.asked == ["keys", "keys", "openid-configuration"]
    store.now += 59.9
    await store.intake.discovery("keys")
    store.now += 0.2
    assert await store.intake.discovery("keys") == {"read": 4}


async def test_a_failure_is_asked_again_after_two_seconds_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for everybody, an error of one's own each; the store that is back is seen two seconds later."""
    store = Store(monkeypatch)
    for error in (Unavailable("store_sealed"), NotFound("store_not_found")):
        store.error, store.asked = error, []
        for _ in range(20):
            with pytest.raises(type(error), match=error.code) as caught:
                await store.intake.discovery("keys")
            assert caught.value is not error
            assert not caught.value.on_record
            caught.value.on_record = True
        assert store.asked == ["keys"]
        store.now += 2.0
    store.error = None
    assert await store.intake.discovery("keys") == {"read": 2}


async def test_a_new_clients_public_key_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept, or is being read, before the client's key was made is shown to nobody after it."""
    store = Store(monkeypatch)
    await store.intake.discovery("keys")
    store.now += 61
    store.answers.clear()
    before = asyncio.ensure_future(store.intake.discovery("keys"))
    await asyncio.sleep(0)
    await store.intake.trust(SecretRef(ClientId(uuid4()), Provider.OPENAI), "a")
    store.answers.set()
    assert await before == {"read": 2}
    assert await store.intake.discovery("keys") == {"read": 3}
