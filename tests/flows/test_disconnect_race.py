"""An account is disconnected while its tokens are being renewed: nothing that the platform gave lives on, in any order.

Real store and database, simulated platforms; a renewal is cut off where a kill could cut it.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from byokeep.accounts import leftovers, maintenance, refresh_journal
from byokeep.core.ref import SecretPart
from tests.support.broker import Stand
from tests.support.renewal import Account, Bench, bench_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
PARTS = (SecretPart.TOKENS, SecretPart.ACCESS, SecretPart.LANDING)


@pytest.fixture
async def bench(stand: Stand) -> AsyncIterator[Bench]:
    async with bench_on(stand) as made:
        yield made


def disconnect(bench: Bench, account: Account) -> None:
    """What a person's disconnect commits."""
    where = f"client_id = '{account.client_id}' AND account_id = '{account.id}'"
    bench.stand.db.sql(
        f"BEGIN; UPDATE byokeep.account_grant SET due_at = NULL, changed_at = clock_timestamp() WHERE {where};"
        f"UPDATE byokeep.credential_ref SET state = 'deactivated' WHERE {where}; COMMIT"
    )


async def end(bench: Bench) -> None:
    await maintenance.end_disconnected(bench.app)


def stands(bench: Bench, account: Account) -> tuple[str, str]:
    row = bench.grant(account)
    return row["state"], row["reason"]


async def nothing_lives(bench: Bench, account: Account, reason: str) -> None:
    """The grant is over as it was proved; no token lives at the platform or in the store; nothing is under way."""
    assert stands(bench, account) == ("revoked", reason)
    async with bench.custody(account) as custody:
        live = {part.value: await custody.live_versions(account.place(part)) for part in PARTS}
    assert not any(live.values()), live
    alive = [
        token["kind"]
        for family in await bench.social.families(account.platform)
        if family["account"] == account.name
        for token in family["tokens"]
        if token["state"] == "live"
    ]
    assert alive == []
    assert all(one["ended_at"] for one in bench.journals(account))
    assert bench.audited(account, "tokens.refreshed") == []
    assert not list((bench.stand.home / "slots").glob("*.slot"))
    state = bench.stand.db.sql(f"SELECT state FROM byokeep.credential_ref WHERE account_id = '{account.id}'")
    assert state == "destroyed"


async def waits(bench: Bench, account: Account) -> None:
    """The end is tried, and waits: nothing is revoked and nothing is said to be over."""
    for _ in range(3):
        await end(bench)
        assert stands(bench, account) == ("live", "revoking")
    assert "revoke" not in await bench.social.calls(account.platform, account.name)


@pytest.mark.req("S-OAUTH-9")
@pytest.mark.parametrize("platform", ["x", "tiktok", "youtube"])
async def test_a_reply_that_comes_after_the_disconnect_is_revoked(bench: Bench, platform: str) -> None:
    """The reply is under way while a person disconnects: the end waits for it and revokes what it brought."""
    account = await bench.connect(platform)
    await bench.to_due(account)
    renewals = await bench.under_way(account)
    disconnect(bench, account)
    await waits(bench, account)
    await renewals.settle()
    assert bench.ended == ["handed_over"]
    assert bench.grant(account)["version"] == 1
    await end(bench)
    await nothing_lives(bench, account, "confirmed")
    assert bench.stand.alerts() == []
    assert await bench.round() == []


@pytest.mark.parametrize("ended", [False, True], ids=["ending", "ended"])
async def test_no_request_leaves_after_the_disconnect(bench: Bench, ended: bool) -> None:
    """A person disconnects just before the request leaves: nothing is asked, also when the grant is over by then."""
    account = await bench.connect("x")
    await bench.to_due(account)
    prepare = bench.app.slots.prepare

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(ours.slots, name)

        async def prepare(self, journal_id: Any) -> None:
            await prepare(journal_id)
            disconnect(bench, account)
            if ended:
                await end(bench)

    ours, odd = bench.app, Slow()
    slots: Any = odd
    bench.app = replace(ours, slots=slots)
    before = await bench.calls(account)
    assert await bench.round() == ["disconnected"]
    assert await bench.calls(account) == before
    await end(bench)
    await nothing_lives(bench, account, "confirmed")


@pytest.mark.parametrize("step", ["written", "pinned"])
async def test_a_disconnect_while_the_new_pair_is_put_in_place(
    bench: Bench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person disconnects between store and pins, or right after them: the new pair is what is revoked."""
    account = await bench.connect("x")
    await bench.to_due(account)
    real = refresh_journal.placed

    async def placed(*args: Any, **more: Any) -> bool:
        if step == "written":
            disconnect(bench, account)
        done = await real(*args, **more)
        if step == "pinned":
            disconnect(bench, account)
        return done

    monkeypatch.setattr(refresh_journal, "placed", placed)
    assert await bench.round() == ["handed_over" if step == "written" else "renewed"]
    await end(bench)
    if step == "pinned":  # it was renewed before, and that stands on record
        assert stands(bench, account) == ("revoked", "confirmed")
        assert {one["state"] for one in await bench.social.families("x")} == {"dead"}
        return
    await nothing_lives(bench, account, "confirmed")


async def killed(bench: Bench, account: Account, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a renewal as a kill would: when its request has left, its reply was landed, or its pair was written."""
    ours = bench.app

    class Dying:
        def __init__(self, inner: Any, name: str) -> None:
            self._inner, self._name = inner, name

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._inner, name)
            if name != self._name:
                return found

            async def act(*args: Any, **more: Any) -> Any:
                await found(*args, **more) if point != "sent" else None
                raise asyncio.CancelledError

            return act

    changed: dict[str, Any] = {}
    if point == "landed":
        changed["slots"] = Dying(ours.slots, "land")
    if point == "sent":
        changed["platform"] = lambda *args: Dying(ours.platform(*args), "refresh")
    with monkeypatch.context() as patched:
        if point == "written":

            async def placed(*_: Any, **__: Any) -> bool:
                raise asyncio.CancelledError

            patched.setattr(refresh_journal, "placed", placed)
        bench.app = replace(ours, **changed)
        assert await bench.round() == []
    bench.app = ours
    assert bench.journals(account)[-1]["ended_at"] is None


KILLS = [("landed", "handed_over", "confirmed"), ("written", "handed_over", "confirmed"),
         ("sent", "disconnected", "unconfirmed")]  # fmt: skip


@pytest.mark.parametrize(
    ("point", "came", "reason", "first"),
    [
        (*one, first)
        for one in KILLS
        for first in ("killed", "disconnected")
        if (one[0], first) != ("written", "disconnected")
    ],
)
async def test_a_kill_in_between_leaves_nothing(
    bench: Bench, point: str, came: str, reason: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each point while the account is disconnected: at the next start the pair is revoked and destroyed; of a
    reply that is lost nobody says that its end was proved."""
    account = await bench.connect("x")
    await bench.to_due(account)
    if first == "disconnected":
        real = refresh_journal.mark_sent

        async def mark_sent(*args: Any, **more: Any) -> bool:
            done = await real(*args, **more)
            disconnect(bench, account)
            return done

        monkeypatch.setattr(refresh_journal, "mark_sent", mark_sent)
    await killed(bench, account, point, monkeypatch)
    if first == "killed":
        disconnect(bench, account)
    await waits(bench, account)
    before = await bench.calls(account)
    assert await bench.round() == [came]
    assert await bench.calls(account) == before
    await end(bench)
    await nothing_lives(bench, account, reason)
    assert bench.stand.alerts() == (["revocation_unconfirmed"] if reason == "unconfirmed" else [])


@pytest.mark.parametrize("works", [True, False])
async def test_a_pair_that_comes_when_all_is_over_is_revoked_alone(
    bench: Bench, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was away for longer than the end waits: the end is called unconfirmed, and told; the machine comes
    back, revokes what lay in its slot and destroys it; where the platform does not do it people hear of it."""
    account = await bench.connect("x")
    await bench.to_due(account)
    await killed(bench, account, "landed", monkeypatch)
    disconnect(bench, account)
    await waits(bench, account)
    bench.stand.db.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '16 minutes'")
    await bench.fault("x", "feigned", call="revoke", times=2)  # a spent token: the platform says yes, and nothing ends
    await end(bench)
    if stands(bench, account)[0] != "revoked":  # the old access token still lives; asked for the last time
        bench.stand.db.sql("UPDATE byokeep.account_grant SET changed_at = now() - interval '1 day', tries = 6")
        await bench.fault("x", "feigned", call="revoke", times=2)
        await end(bench)
    assert stands(bench, account) == ("revoked", "unconfirmed")
    assert bench.stand.alerts() == ["revocation_unconfirmed"]
    assert {one["state"] for one in await bench.social.families("x")} != {"dead"}, "nothing is left to be revoked"
    monkeypatch.setattr(leftovers, "PAUSES_S", (0.0, 0.0))
    if not works:
        await bench.fault("x", "status", call="revoke", status=503, times=100)
    assert await bench.round() == ["given_back"]
    said = [json.loads(text)["fields"] for text in bench.stand.events("grant.revoked")]
    late = [one["verification"] for one in said if one.get("reason") == "came_too_late"]
    assert late == ["confirmed" if works else "unconfirmed"]
    assert await bench.round() == []
    if works:
        await nothing_lives(bench, account, "unconfirmed")


@pytest.mark.parametrize("platform", ["tiktok", "linkedin"])
async def test_an_access_token_that_expired_by_itself_proves_no_end(bench: Bench, platform: str) -> None:
    """Only the access token can be revoked there, and it is over: the refresh token may live, and people are told."""
    account = await bench.connect(platform)
    await bench.advance(days=61)
    disconnect(bench, account)
    await end(bench)
    assert stands(bench, account) == ("revoked", "unconfirmed")
    assert bench.stand.alerts() == ["revocation_unconfirmed"]
