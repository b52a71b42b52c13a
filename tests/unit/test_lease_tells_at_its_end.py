"""What was done under leases is told: together, in nobody's way, again while the broker is busy, and not for ever."""

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
        self.by = list[tuple[Secret, list[Any]]]()
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
            self.taken += body["leases"]
            self.by.append((token, body["leases"]))
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
async def test_a_busy_broker_is_told_again_at_the_end(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Whatever the first five attempts meet, the sixth is taken; then nothing more is said."""
    told = Told(monkeypatch, lambda word: Unavailable(code) if word <= 5 else None)
    held = await told.used()
    lease_id = held.id
    await held.close()
    assert told.words == 0  # who waits for a secret does not wait for this
    await told.broker.close()
    assert told.words == 6
    assert told.taken == [{"lease_id": lease_id, "logins": 1, "reads": {"openai": 1}}]
    await told.broker.close()
    assert told.words == 6


async def test_leases_of_a_process_are_told_of_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred and one leases, the first word meets a busy broker: three words, and each lease in one of them."""
    told = Told(monkeypatch, lambda word: Unavailable("broker_timeout") if word == 1 else None)
    token = Secret(b"t")
    ids = [str(uuid.uuid4()) for _ in range(101)]
    for lease_id in ids:
        told.broker.tally.attempt(lease_id, token, "openai", http.now())
        told.broker.tally.attempt(lease_id, token, "openai/webhook", http.now())
        told.broker.tally.over(lease_id)
    await told.broker.close()
    assert told.words == 3
    assert told.taken == [{"lease_id": one, "logins": 2, "reads": {"openai": 2}} for one in ids]


async def test_each_holder_tells_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of two holders in one process go in two words, each with its holder's token."""
    told = Told(monkeypatch, lambda _: None)
    one, other = Secret(b"one"), Secret(b"other")
    for token in (one, other, one):
        told.broker.tally.attempt(str(uuid.uuid4()), token, "openai", http.now())
    await told.broker.close()
    assert [(token, len(said)) for token, said in told.by] == [(one, 2), (other, 1)]


@pytest.mark.parametrize(("error", "words"), [(Unavailable("broker_timeout"), 10), (NotFound("not_found"), 1)])
async def test_telling_is_bounded(monkeypatch: pytest.MonkeyPatch, error: ByokeepError, words: int) -> None:
    """A broker that never takes it is asked ten times; one that says no, once. The end comes either way."""
    told = Told(monkeypatch, lambda _: error)
    held = await told.used()
    await held.close()
    await told.broker.close()
    assert (told.words, told.taken, held.holds) == (words, [], False)


async def test_a_broker_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it has one deadline, and the secrets are gone before the first word."""
    monkeypatch.setattr(http, "TELL_FOR_S", 0.01)
    told = Told(monkeypatch, lambda _: None)
    told.hangs = True
    held = await told.used()
    await held.close()
    assert held.cached == {}
    await told.broker.close()
    assert (told.words, told.taken) == (1, [])


async def test_a_lease_is_told_of_while_its_process_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that was closed, denied or is dead at the store is told of soon, past a broker that was busy; one that
    still serves is not."""
    monkeypatch.setattr(http, "TELL_EVERY_S", 0.0)
    told = Told(monkeypatch, lambda word: Unavailable("broker_timeout") if word <= 5 else None)
    closed, denied, serves = await told.used(), await told.used(), await told.used()
    dead = str(uuid.uuid4())
    told.broker.tally.attempt(dead, denied._token, "openai", http.now() - http.TELL_AFTER_S)
    await closed.close()
    denied.stop(NotFound("not_found"))
    while len(told.taken) < 3:
        await asyncio.sleep(0)
    assert {one["lease_id"] for one in told.taken} == {closed.id, denied.id, dead}
    await serves.close()
    await told.broker.close()
    assert len(told.taken) == 4


async def test_a_process_that_lives_on_tells_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was kept from listening for long hears of it in the end; beyond an hour, and of more leases than
    are kept, it does not: the oldest are left out."""
    monkeypatch.setattr(http, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(http, "MAX_KEPT", 3)
    told = Told(monkeypatch, lambda word: Unavailable("database_busy") if word <= 4 else None)
    ids = [str(uuid.uuid4()) for _ in range(4)]
    token = Secret(b"t")
    for lease_id, ago in zip(ids, (30, 30, 3500, 3601), strict=True):
        told.broker.tally.attempt(lease_id, token, "openai", http.now() - ago)
    while told.words < 5 and told.broker.tally._uses:
        await asyncio.sleep(0)
    await told.broker.close()
    assert [one["lease_id"] for one in told.taken] == ids[1:3]


@pytest.mark.parametrize("after", range(8))
async def test_who_is_cancelled_while_a_lease_ends_is_cancelled(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """However far a job is with its end, a cancellation is not lost: what it waits for was cancelled by itself too."""
    told = Told(monkeypatch, lambda _: None)

    async def job() -> None:
        held = await told.used()
        held._beat = asyncio.create_task(ends_late())
        ending.set()
        await held.close()
        told.broker.tally._telling = asyncio.create_task(ends_late())
        await asyncio.sleep(0)
        await told.broker.close()
        pytest.fail("went on as if nobody had cancelled it")

    async def ends_late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(2):
                await asyncio.sleep(0)

    ending = asyncio.Event()
    running = asyncio.create_task(job())
    await ending.wait()
    for _ in range(after):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
