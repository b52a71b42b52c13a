"""An account is connected anew while its tokens are being renewed: what the replaced login still gives is given back.

Real store and database, simulated platforms; a person's new login is committed as connecting commits it, in any order
with a renewal that is cut off where a kill could cut it.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from byokeep.accounts import leftovers, refresh_journal
from byokeep.core.ref import SecretPart
from tests.flows.test_disconnect_race import killed
from tests.support.broker import Stand
from tests.support.renewal import Account, Bench, bench_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
async def bench(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(leftovers, "PAUSES_S", (0.0, 0.0))
    async with bench_on(stand) as made:
        yield made


async def due(bench: Bench, platform: str) -> Account:
    """A connected account whose tokens are due. At X an earlier login lives on here, as if the platform let it."""
    if platform == "x":
        await bench.social.tell("rules", platform="x", single_grant=False)
    account = await bench.connect(platform)
    await bench.to_due(account)
    return account


def taken(bench: Bench, account: Account) -> None:
    """A consent of the account is being finished."""
    bench.stand.db.sql(
        "INSERT INTO byokeep.connection (id, client_id, account_id, job_id, sop_id, login, state_hash, binding_hash,"
        " redirect_uri, started_by, expires_at, request_id, state)"
        f" SELECT gen_random_uuid(), client_id, '{account.id}', id, gen_random_uuid(), '{account.platform}',"
        " sha256(gen_random_uuid()::text::bytea), sha256('b'), 'http://127.0.0.1:8431/callback', gen_random_uuid(),"
        " now() + interval '10 minutes', gen_random_uuid(), 'taken'"
        f" FROM byokeep.job WHERE client_id = '{account.client_id}' LIMIT 1"
    )


async def stored(bench: Bench, account: Account) -> tuple[int, int]:
    """A person has logged in anew, and the tokens lie in the store; returns their versions."""
    taken(bench, account)
    tokens = await bench.consent(account.platform, account.name)
    async with bench.custody(account) as custody:
        newest = await custody.newest(account.place(SecretPart.TOKENS))
    return await bench.store(account, tokens, cas=newest)


def committed(bench: Bench, account: Account, version: int, access: int) -> None:
    """What the end of a consent commits, as far as a renewal looks at it."""
    where = f"client_id = '{account.client_id}' AND account_id = '{account.id}'"
    bench.stand.db.sql(
        "BEGIN; INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, facts, state, closed_at,"
        " asked_by, started_by) SELECT sop_id, client_id, 'connect_account', account_id, jsonb_build_object('provider',"
        f" '{account.provider.value}', 'version', {version}), 'complete', now(), started_by, started_by"
        f" FROM byokeep.connection WHERE {where} AND state = 'taken';"
        f"UPDATE byokeep.connection SET state = 'connected', ended_at = now() WHERE {where} AND state = 'taken';"
        f"UPDATE byokeep.account_grant SET version = {version}, access_version = {access}, state = 'live', reason = '',"
        f" due_at = due_at + interval '30 days', tries = 0 WHERE {where};"
        f"UPDATE byokeep.credential_ref SET version = {version} WHERE {where}; COMMIT"
    )


async def taken_back(bench: Bench, account: Account, version: int, access: int) -> None:
    """The consent failed after it had stored its tokens: they are destroyed."""
    async with bench.custody(account) as custody:
        await custody.destroy(account.place(SecretPart.TOKENS), [version])
        await custody.destroy(account.place(SecretPart.ACCESS), [access])
    bench.stand.db.sql(
        "UPDATE byokeep.connection SET state = 'failed', reason = 'account_taken', ended_at = now()"
        f" WHERE account_id = '{account.id}' AND state = 'taken'"
    )


async def reconnect(bench: Bench, account: Account) -> int:
    """All of a new login; returns the version of its tokens."""
    version, access = await stored(bench, account)
    committed(bench, account, version, access)
    return version


async def only_the_new_login_lives(bench: Bench, account: Account, version: int, *, families: int = 1) -> None:
    """The new login is pinned, is the newest that the store has, and works; so many logins live at the platform."""
    assert (bench.grant(account)["version"], (await bench.stored(account))[0]) == (version, version)
    assert await bench.works(account)
    async with bench.custody(account) as custody:
        assert await custody.live_versions(account.place(SecretPart.TOKENS)) == [1, version]
    live = [one for one in await bench.social.families(account.platform) if one["state"] == "live"]
    assert len(live) == families, live
    assert all(one["ended_at"] for one in bench.journals(account))
    assert bench.audited(account, "tokens.refreshed") == []
    assert not list((bench.stand.home / "slots").glob("*.slot"))
    assert await bench.round() == []


def given_back(bench: Bench, account: Account) -> list[str]:
    return [
        one["fields"]["verification"]
        for one in bench.audited(account, "grant.revoked")
        if one["fields"]["reason"] == "came_too_late"
    ]


@pytest.mark.parametrize(
    ("platform", "proved", "left", "families"),
    [("x", "confirmed", [], 1), ("tiktok", "unconfirmed", ["replaced_tokens_left"], 2)],
)
async def test_a_reply_that_comes_after_the_reconnect_is_given_back(
    bench: Bench, platform: str, proved: str, left: list[str], families: int
) -> None:
    """Revoked where that leaves the new login alone; where it would end that too nothing is revoked, and people hear of
    a refresh token that may live on. The new login is never touched."""
    account = await due(bench, platform)
    renewals = await bench.under_way(account)
    version = await reconnect(bench, account)
    await renewals.settle()
    assert bench.ended == ["given_back"]
    assert given_back(bench, account) == [proved]
    assert bench.stand.alerts() == left
    await only_the_new_login_lives(bench, account, version, families=families)
    assert ("revoke" in await bench.social.calls(platform, account.name)) is (platform == "x")


@pytest.mark.parametrize("works", [True, False])
async def test_a_reconnect_after_the_pair_was_put_in_place(
    bench: Bench, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other order: the store has the late pair, no pin does, and the new login comes. Its version is destroyed;
    where the platform does not end it people hear of it."""
    account = await due(bench, "x")
    real, came = refresh_journal.placed, 0

    async def placed(*said: Any, **more: Any) -> bool:
        nonlocal came
        came = await reconnect(bench, account)
        return await real(*said, **more)

    monkeypatch.setattr(refresh_journal, "placed", placed)
    if not works:
        await bench.fault("x", "status", call="revoke", status=503, times=100)
    assert await bench.round() == ["given_back"]
    assert came == 3
    assert given_back(bench, account) == ["confirmed" if works else "unconfirmed"]
    assert bench.stand.alerts() == ([] if works else ["replaced_tokens_left"])
    await only_the_new_login_lives(bench, account, came, families=1 if works else 2)


async def test_no_request_leaves_after_the_reconnect(bench: Bench) -> None:
    """A person logs in just before the request leaves: nothing is asked with the replaced token."""
    account = await due(bench, "x")
    prepare, ours = bench.app.slots.prepare, bench.app
    came = 0

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(ours.slots, name)

        async def prepare(self, journal_id: Any) -> None:
            nonlocal came
            await prepare(journal_id)
            came = await reconnect(bench, account)

    slow: Any = Slow()
    bench.app = replace(ours, slots=slow)
    before = await bench.calls(account)
    assert await bench.round() == ["disconnected"]
    bench.app = ours
    assert await bench.calls(account) == before
    assert bench.stand.alerts() == []
    await only_the_new_login_lives(bench, account, came, families=2)  # the first login was not asked to end


@pytest.mark.parametrize(
    ("point", "came", "proved", "left"),
    [
        ("landed", "given_back", ["confirmed"], []), ("written", "given_back", ["confirmed"], []),
        ("sent", "disconnected", [], ["replaced_tokens_left"]),
    ],
)  # fmt: skip
async def test_a_kill_before_the_reconnect_leaves_nothing(
    bench: Bench, point: str, came: str, proved: list[str], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each point, then connected anew: at the next start the pair is revoked and destroyed; of a reply
    that is lost people hear."""
    account = await due(bench, "x")
    await killed(bench, account, point, monkeypatch)
    version = await reconnect(bench, account)
    assert await bench.round() == [came]
    assert (given_back(bench, account), bench.stand.alerts()) == (proved, left)
    await only_the_new_login_lives(bench, account, version, families=2 if point == "sent" else 1)


async def test_tokens_of_a_consent_that_is_not_on_record_are_adopted_by_nobody(bench: Bench) -> None:
    """The reply comes between the store's write of a new login and its commit: nothing is pinned, and the pair waits in
    its slot until the consent has ended; then it is given back."""
    account = await due(bench, "x")
    renewals = await bench.under_way(account)
    version, access = await stored(bench, account)
    await renewals.settle()
    assert bench.grant(account)["version"] == 1
    assert bench.journals(account)[-1]["ended_at"] is None
    committed(bench, account, version, access)
    assert await bench.round() == ["given_back"]
    assert given_back(bench, account) == ["confirmed"]
    await only_the_new_login_lives(bench, account, version)


@pytest.mark.parametrize("leaves", [False, True], ids=["before the request", "before the reply"])
async def test_a_consent_that_is_taken_back_stops_no_renewal(bench: Bench, leaves: bool) -> None:
    """What it wrote and destroyed has only used up a number: the next pair is put after it, and so is one whose reply
    came while the consent had the place; nobody has to log in again."""
    account = await due(bench, "x")
    renewals = await bench.under_way(account) if leaves else None
    version, access = await stored(bench, account)
    if renewals is not None:
        await renewals.settle()
        assert bench.grant(account)["version"] == 1
    await taken_back(bench, account, version, access)
    assert await bench.round() == ["renewed"]
    assert (version, bench.grant(account)["version"]) == (2, 3)
    assert await bench.works(account)
    await bench.to_due(account)
    assert await bench.round() == ["renewed"]
    assert await bench.works(account)
    assert bench.stand.alerts() == []


async def test_a_token_that_is_refused_after_a_consent_was_taken_back_ends_the_grant(bench: Bench) -> None:
    """There is no sibling's pair to adopt: a person must log in again, and is told."""
    account = await due(bench, "x")
    await taken_back(bench, account, *await stored(bench, account))
    await bench.social.tell("grants", platform="x", account="acme", event="revoked")
    assert await bench.round() == ["reuse_suspected"]
    assert bench.grant(account)["state"] == "needs_reauth"
