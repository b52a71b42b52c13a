"""A lease that ends is told of: the SDK tries again while the broker is busy, for a bounded number of times."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from byokeep.client import http, lease
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import ByokeepError, NotFound, Unavailable
from byokeep.core.secret import Secret


class Told:
    """A broker that grants, and answers each word about a lease as ``answer`` says of how many came before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int], ByokeepError | None]) -> None:
        self.answer, self.words, self.taken = answer, 0, list[dict[str, Any]]()
        self.hangs = False
        self.broker = Broker(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none")))
        monkeypatch.setattr(self.broker, "_call", self._call)
        monkeypatch.setattr(self.broker, "store", lambda _: SimpleNamespace(may_be_behind=False))
        monkeypatch.setattr(lease, "lease_login", AsyncMock(side_effect=lambda *_, **__: Secret(b"b.token")))
        monkeypatch.setattr(lease, "read_secret", AsyncMock(side_effect=lambda *_: Secret(b"the-value-of-it")))
        monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.0)
        monkeypatch.setattr(http, "LAST_PAUSE_S", 0.0)

    async def _call(
        self, method: str, path: str, token: Secret, body: Any = None, *, timeout_s: float | None
    ) -> dict[str, Any]:
        if path.endswith("/use"):
            self.words += 1
            if self.hangs:
                await asyncio.Event().wait()
            if (error := self.answer(self.words)) is not None:
                raise error
            self.taken.append({"path": path, **body})
            return {"status": "told"}
        pin = {"path": "kv/clients/c/providers/openai", "version": 1}
        store = {"address": "unix:///s", "roles": {"openai": "use-openai"}}
        return {"lease_id": str(uuid.uuid4()), "jwt": "a.b.c", "life_s": 5, "store": store, "secrets": {"openai": pin}}

    async def used(self) -> HeldLease:
        """A lease under which one secret was read."""
        held = HeldLease(self.broker, Secret(b"t"), uuid.uuid4())
        await held.secret("openai")
        return held


@pytest.mark.parametrize("code", ["broker_timeout", "database_busy", "broker_busy"])
async def test_a_busy_broker_is_told_again_when_a_lease_ends(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Whatever the first five attempts meet, the sixth is taken; then nothing more is said."""
    told = Told(monkeypatch, lambda word: Unavailable(code) if word <= 5 else None)
    held = await told.used()
    lease_id = held.id
    await held.close()
    assert told.words == 6
    assert told.taken == [{"path": f"/v1/leases/{lease_id}/use", "logins": 1, "reads": {"openai": 1}}]
    await held.close()
    assert told.words == 6


async def test_what_was_told_is_not_told_again_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two leases the second meets a busy broker once: three words, one for the first."""
    told = Told(monkeypatch, lambda word: Unavailable("broker_timeout") if word == 2 else None)
    held = await told.used()
    await held._take()
    held._drop("openai")
    await held.secret("openai")
    await held.close()
    assert (told.words, len({one["path"] for one in told.taken}), len(told.taken)) == (3, 2, 2)


@pytest.mark.parametrize(("error", "words"), [(Unavailable("broker_timeout"), 10), (NotFound("not_found"), 1)])
async def test_telling_is_bounded(monkeypatch: pytest.MonkeyPatch, error: ByokeepError, words: int) -> None:
    """A broker that never takes it is asked ten times; one that says no, once. The end comes either way."""
    told = Told(monkeypatch, lambda _: error)
    held = await told.used()
    await held.close()
    assert (told.words, told.taken, held.holds) == (words, [], False)


async def test_a_broker_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it has one deadline, and the secrets are gone before the first word."""
    monkeypatch.setattr(lease, "TELL_FOR_S", 0.01, raising=False)
    told = Told(monkeypatch, lambda _: None)
    told.hangs = True
    held = await told.used()
    closing = asyncio.create_task(held.close())
    while not told.words:
        await asyncio.sleep(0)
    assert held.cached == {}
    await closing
    assert told.taken == []


async def test_a_denial_that_ends_a_lease_is_followed_by_the_same_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat ends after a denial, so its last word is not left to the job's end, which may be far."""
    told = Told(monkeypatch, lambda word: Unavailable("broker_timeout") if word <= 5 else None)
    held = await told.used()
    held._end(NotFound("not_found"))
    await held._keep_alive()
    assert (told.words, len(told.taken)) == (6, 1)
    await held.close()
