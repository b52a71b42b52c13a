"""Tokens are renewed before they end, once, whatever the platform does, and nothing ends in silence."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.accounts import recovery
from byokeep.accounts.accounts import declare_gone, list_refreshers
from byokeep.accounts.maintenance import IDLE_DAYS, clear_slots, remind
from byokeep.accounts.model import OAuthGrant, OurApp
from byokeep.accounts.refresh import renew
from byokeep.accounts.tasks import run
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.fault import Fault
from byokeep.core.model import Actor, Role
from byokeep.core.refresh import RefreshRules, TokenModel
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.kernel.ports import ValueCustody
from byokeep.platforms.client import PlatformClient
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support.broker import Stand
from tests.support.renewal import PLATFORMS, Account, Bench, bench_on
from tests.support.social import DAY, Around
from tests.support.web import telemetry_in

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
async def bench(stand: Stand) -> AsyncIterator[Bench]:
    async with bench_on(stand) as made:
        yield made


async def one(bench: Bench, account: Account) -> str:
    """Renew one account here and now, errors included."""
    async with bench.db.begin(client_id=account.client_id) as tx:
        grant = await tx.one(OAuthGrant, "refresh_grant", client_id=account.client_id, account_id=account.id)
    return await renew(bench.app, grant)


async def many(bench: Bench, platform: str, number: int) -> None:
    if platform == "linkedin":  # its refresh token ends a year after the consent, whatever is renewed
        await bench.social.tell("rules", platform=platform, access_ttl_s=5 * DAY)
    account = await bench.connect(platform)
    before, first = await bench.calls(account), (await bench.stored(account))[1]
    for count in range(number):
        assert await bench.round() == [], "renewed before it was due"
        await bench.to_due(account)
        if count % 10 == 0:
            assert await bench.works(account), "the old token ended before the new one was asked for"
        assert await bench.round() == ["renewed"], count
        if count % 10 == 0:
            assert await bench.works(account)
    version, tokens, access = await bench.stored(account)
    grant, rotates = bench.grant(account), platform in ("x", "tiktok")
    assert (version, grant["version"], grant["access_version"], grant["tries"]) == (*[number + 1] * 3, 0)
    assert access == tokens.access.reveal().decode()
    if first.refresh is not None and tokens.refresh is not None:  # a reply without one keeps the one that is there
        assert first.refresh.matches(tokens.refresh) is not rotates
    assert await bench.calls(account) - before == number
    assert [row["phase"] for row in bench.journals(account)] == ["placed"] * number
    assert len(bench.audited(account, "tokens.refreshed")) == number
    assert bench.stand.alerts() == []
    assert await bench.works(account)


@pytest.mark.req("R6.1-2")
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_renewed_again_and_again(bench: Bench, platform: str) -> None:
    """Each renewal when it is due: one call, the next version pinned, the account never without a living token."""
    await many(bench, platform, 3)


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_fifty_renewals_over_simulated_months(bench: Bench, platform: str) -> None:
    """The same fifty times over months."""
    await many(bench, platform, 50)


async def crowd(bench: Bench, *, accounts: int, callers: int, rounds: int, longest_s: float) -> None:
    """Runners find the same token refused, round after round, with three refreshers and a platform that is slow.

    Accounts go through their rounds side by side. The first round of each has the longest delay there is.
    """
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    made = []
    for number in range(accounts):
        name = f"crowd{number}"
        await bench.social.tell(
            "accounts", platform="x", account=name, id=f"8{number:08}", username=name, display_name=name
        )
        made.append(await bench.connect("x", name))
    renewals = [bench.renewals(app) for app in (bench.app, bench.refresher("second"), bench.refresher("third"))]
    looking = [asyncio.create_task(again(bench, one)) for one in renewals]
    delays = [[longest_s, *(dice.uniform(0, longest_s) for _ in range(rounds - 1))] for _ in made]
    await asyncio.gather(*(one_crowd(bench, *one, callers=callers) for one in zip(made, delays, strict=True)))
    for task in looking:
        task.cancel()
    for each in renewals:
        await each.settle()
    calls = [await bench.calls(account) for account in made]
    sys.stdout.write(f"{callers} callers, {accounts * rounds} rounds: {sum(calls)} calls\n")
    assert calls == [rounds] * accounts
    for account in made:
        assert bench.grant(account)["version"] == rounds + 1
        assert await bench.works(account)


async def one_crowd(bench: Bench, account: Account, delays: list[float], *, callers: int) -> None:
    job = await bench.stand.job(account.client_id, secrets=["x"], effects=[], ttl_s=3600)

    async def ask(seen: int) -> bool:
        body = {"secret": f"x/{account.name}-x", "version": seen}
        for _ in range(20):  # 64 at once may find the database busy, which the SDK asks again for
            status, reply = await bench.stand.call("POST", f"/v1/jobs/{job}/renewals", "runner", body)
            if reply.get("code") not in ("database_busy", "no_connection_free"):
                break
            await asyncio.sleep(0.2)
        assert status == 202, reply
        return bool(reply["asked"])

    async def version() -> int:
        async with bench.db.begin(client_id=account.client_id) as tx:
            return (
                await tx.one(OAuthGrant, "refresh_grant", client_id=account.client_id, account_id=account.id)
            ).access_version

    for number, delay in enumerate(delays):
        seen, before = await version(), await bench.calls(account)
        await bench.fault("x", "late", delay_s=delay)
        assert (await asyncio.gather(*(ask(seen) for _ in range(callers)))).count(True) == 1
        async with asyncio.timeout(max(delays) + 60):
            while await version() == seen:
                await asyncio.sleep(0.1)
        assert await bench.calls(account) - before == 1, number
        assert not await ask(seen)


async def again(bench: Bench, renewals: Any) -> None:
    while True:
        await renewals.resume()
        await renewals.start_due()
        await asyncio.sleep(0.1)


@pytest.mark.req("R6.1-2")
async def test_sixty_four_callers_cause_one_renewal(bench: Bench) -> None:
    """However many ask, and however many refreshers there are: one call each round."""
    await crowd(bench, accounts=1, callers=64, rounds=5, longest_s=0.8)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_sixty_four_callers_a_hundred_rounds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred rounds, with a platform that takes up to 45 seconds: a hundred calls."""
    monkeypatch.setattr(recovery, "ASKED_MOST", 100)
    await crowd(bench, accounts=5, callers=64, rounds=20, longest_s=45.0)


async def test_who_asks_does_not_hurry_a_renewal_that_failed(bench: Bench) -> None:
    """A platform that is down is asked in our own time, however often jobs find their token refused."""
    account = await bench.connect("x")
    job = await bench.stand.job(account.client_id, secrets=["x"], effects=[])
    path, body = f"/v1/jobs/{job}/renewals", {"secret": "x/acme-x", "version": 1}
    assert (await bench.stand.call("POST", path, "runner", body))[1] == {"asked": True}
    await bench.fault("x", "status", status=503, retry_after_s=600)
    before = await bench.calls(account)
    assert await bench.round() == ["retry"]
    for _ in range(5):
        assert (await bench.stand.call("POST", path, "runner", body))[1] == {"asked": False}
        assert await bench.round() == []
    assert await bench.calls(account) - before == 1
    assert (bench.grant(account)["due_at"] - bench.clock.now()).total_seconds() > 590


@pytest.mark.req("R6.1-3")
async def test_an_outage_changes_nothing_but_the_next_try(bench: Bench) -> None:
    """Answers of 503 are tried again at growing distances; grant, tokens and lanes stay; then it is renewed."""
    account = await bench.connect("x")
    await bench.to_due(account)
    await bench.fault("x", "status", status=503, times=6)
    before, waits = await bench.calls(account), []
    for tries in range(1, 7):
        assert await bench.round() == ["retry"]
        grant = bench.grant(account)
        assert (grant["state"], grant["version"], grant["tries"]) == ("live", 1, tries)
        waits.append((grant["due_at"] - bench.clock.now()).total_seconds())
        assert await bench.round() == [], "asked again before its time"
        await bench.to_due(account)
    assert all(later > earlier for earlier, later in pairwise(waits)), waits
    assert await bench.round() == ["renewed"]
    assert bench.grant(account)["tries"] == 0
    assert await bench.calls(account) - before <= 7
    assert bench.stand.alerts() == []


@pytest.mark.parametrize("platform", ["x", "tiktok"])
async def test_a_lost_reply_of_a_strict_platform_is_asked_for_once_more_and_then_reported(
    bench: Bench, platform: str
) -> None:
    """The old token is shown once more; the refusal says that the chain is lost, and everybody hears of it."""
    account = await bench.connect(platform)
    await bench.to_due(account)
    await bench.fault(platform, "reset", when="after")
    before = await bench.calls(account)
    assert await bench.round() == ["chain_broken"]
    assert await bench.calls(account) - before == 2
    await ended(bench, account, "chain_broken", "chain_broken")
    assert bench.journals(account)[-1]["phase"] == "broken"
    assert len(bench.audited(account, "tokens.chain_broken")) == 1


@pytest.mark.parametrize("platform", ["linkedin", "youtube", "instagram", "meta"])
async def test_a_lost_reply_costs_nothing_where_the_token_stays(bench: Bench, platform: str) -> None:
    """Where the same token serves again it is shown again, and the account is renewed."""
    account = await bench.connect(platform)
    await bench.to_due(account)
    await bench.fault(platform, "reset", when="after")
    assert await bench.round() == ["renewed"]
    assert await bench.works(account)
    assert bench.stand.alerts() == []


async def test_a_lost_reply_costs_nothing_within_a_grace(bench: Bench) -> None:
    """A platform that takes a spent token for a minute gets it again within that minute."""
    await bench.social.tell("rules", platform="x", grace_s=60)
    rules = RefreshRules(model=TokenModel.ROTATING_GRACE, grace_s=60)
    changed = replace(bench.app.logins["x"], refresh_rules=rules)
    bench.app = replace(bench.app, logins={**bench.app.logins, "x": changed})
    account = await bench.connect("x")
    await bench.to_due(account)
    await bench.fault("x", "reset", when="after", times=2)
    assert await bench.round() == ["renewed"]
    assert await bench.works(account)


@pytest.mark.parametrize("kind", ["truncated", "huge"])
async def test_a_reply_of_which_a_part_came_is_a_lost_one(bench: Bench, kind: str) -> None:
    """Half a reply, or one too long, may have held the tokens: asked once more, then reported; nothing of it stored."""
    account = await bench.connect("x")
    await bench.to_due(account)
    await bench.fault("x", kind)
    assert await bench.round() == ["chain_broken"]
    assert (await bench.stored(account))[0] == 1
    await ended(bench, account, "chain_broken", "chain_broken")


@pytest.mark.parametrize("kind", ["garbage", "html", "empty"])
async def test_a_reply_that_can_not_be_read_is_never_stored(bench: Bench, kind: str) -> None:
    """Garbage instead of an answer: the token is shown once more; the stored one is given up for nothing."""
    account = await bench.connect("x")
    await bench.to_due(account)
    await bench.fault("x", kind)
    assert await bench.round() == ["renewed"]
    version, tokens, _ = await bench.stored(account)
    assert version == 2
    assert tokens.refresh is not None
    assert await bench.works(account)


class Meddling(Around):
    """A platform port that lets a test act while a request is under way."""

    def __init__(self, inner: PlatformClient, act: Any) -> None:
        super().__init__(inner)
        self._act = act

    async def refresh(self, tokens: TokenSet, *, landed: Any) -> TokenSet | Fault:
        await self._act(self.inner, tokens)
        return await self.inner.refresh(tokens, landed=landed)


def meddle(bench: Bench, act: Any) -> None:
    make = bench.app.platform

    def made(app: OurApp, secret: Secret | None) -> PlatformClient:
        wrapped: Any = Meddling(make(app, secret), act)
        return wrapped  # type: ignore[no-any-return]

    bench.app = replace(bench.app, platform=made)


async def nothing(*_: Any) -> None:
    pass


async def test_what_nobody_foresaw_holds_up_no_other_account(bench: Bench) -> None:
    """Whatever one account's renewal raises, another client's is renewed in that round; people hear of it at once."""
    odd, good = await bench.connect("x"), await bench.connect("x", "bravo")

    async def fail(_: PlatformClient, tokens: TokenSet) -> None:
        if tokens.access.matches(first.access):
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "odd")

    _, first, _ = await bench.stored(odd)
    for account in (odd, good):
        await bench.to_due(account)
    meddle(bench, fail)
    renewals = bench.renewals()
    assert sorted(await bench.round(renewals)) == ["failed_unicodeencodeerror", "renewed"]
    assert bench.stand.alerts() == ["renewal_overdue"]
    assert await bench.round(renewals) == [], "asked again without a pause"
    assert await bench.works(good)


@pytest.mark.req("R6.1-3")
async def test_a_siblings_tokens_are_adopted_after_a_refusal(bench: Bench) -> None:
    """A refused token is no dead grant when the store has a newer one: that one is pinned, and nothing is reported."""
    account = await bench.connect("x")
    await bench.to_due(account)

    async def sibling(platform: PlatformClient, tokens: TokenSet) -> None:
        newer = await platform.refresh(tokens, landed=nothing)
        assert isinstance(newer, TokenSet)
        await bench.store(account, newer, cas=1)
        await bench.social.tell("faults", provider="x", kind="refusal", case="expired", match={"call": "refresh"})

    meddle(bench, sibling)
    assert await bench.round() == ["adopted"]
    grant = bench.grant(account)
    assert (grant["state"], grant["version"]) == ("live", 2)
    assert await bench.works(account)
    assert bench.stand.alerts() == []


async def test_tokens_that_somebody_else_stored_are_adopted_without_a_call(bench: Bench) -> None:
    """A store that is ahead of the pins, as after a crash between the two, costs no call."""
    account = await bench.connect("x")
    await bench.to_due(account)
    fresh = await bench.consent("x")
    await bench.store(account, fresh, cas=1)
    before = await bench.calls(account)
    assert await bench.round() == ["adopted"]
    assert await bench.calls(account) == before
    assert bench.grant(account)["version"] == 2


async def refused(bench: Bench, account: Account, code: str) -> None:
    """Renewing is refused with a code, and the platform hears nothing."""
    before = await bench.calls(account)
    for _ in range(5):
        with pytest.raises((Denied, Unavailable, Integrity, Conflict)) as caught:
            await one(bench, account)
        if caught.value.code not in ("database_busy", "database_unavailable", "no_connection_free"):
            break  # a busy machine's database gives up a statement at times: that is neither
    assert caught.value.code == code
    assert await bench.calls(account) == before
    assert bench.grant(account)["version"] == 1


async def test_nothing_is_asked_on_a_copy_or_behind_a_switch(bench: Bench) -> None:
    """Another installation's id, a closed switch of any width, a suspended client: no call leaves."""
    account = await bench.connect("x")
    await bench.to_due(account)
    sql, here = bench.stand.db.sql, bench.app.installation_id
    for scope in ("global", f"client:{account.client_id}", f"client:{account.client_id}:platform:x"):
        owner = "NULL" if scope == "global" else f"'{account.client_id}'"
        sql(
            "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) VALUES"
            f" ('{scope}', {owner}, true, 1, 'test', '{here}', '{here}')"
            " ON CONFLICT (scope) DO UPDATE SET closed = true"
        )
        await refused(bench, account, "switch_closed")
        sql(f"UPDATE byokeep.switch SET closed = false WHERE scope = '{scope}'")
    bench.app, ours = replace(bench.app, installation_id=UUID(int=5)), bench.app
    await refused(bench, account, "other_installation")  # a copy that was given an id of its own
    bench.app = ours
    sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{account.client_id}'")
    await refused(bench, account, "client_not_active")
    sql(f"UPDATE byokeep.client SET state = 'active' WHERE id = '{account.client_id}'")
    before = await bench.calls(account)
    renewals = bench.renewals()
    while bench.grant(account)["version"] == 1:  # a lease lives for seconds: a busy machine may be too late for one
        await bench.to_due(account)  # what was refused before, or came too late, waits longer each time
        await bench.round(renewals)
        await asyncio.sleep(1)
    assert await bench.calls(account) - before == 1


async def test_nothing_is_asked_with_a_store_that_was_rolled_back(bench: Bench) -> None:
    """Pins that the store does not have stop everything, with an alert: what it holds may be spent."""
    account = await bench.connect("x")
    await bench.to_due(account)
    bench.stand.db.sql(f"UPDATE byokeep.account_grant SET version = 3 WHERE account_id = '{account.id}'")
    before = await bench.calls(account)
    assert await bench.round() == ["halted"]
    assert await bench.calls(account) == before
    assert bench.stand.alerts() == ["store_rolled_back"]


async def test_nothing_is_asked_without_a_place_for_the_reply(bench: Bench) -> None:
    """A disk that is full before the request is a delay; the token is not spent."""
    account = await bench.connect("x")
    await bench.to_due(account)

    class Full:
        has, clear = bench.app.slots.has, bench.app.slots.clear

        async def prepare(self, _: UUID) -> None:
            raise Unavailable("no_room_to_land")

    full: Any = Full()
    bench.app, ours = replace(bench.app, slots=full), bench.app
    await refused(bench, account, "no_room_to_land")
    bench.app = ours
    assert await one(bench, account) == "renewed"


async def test_a_slot_that_a_renewal_left_goes_and_no_other(bench: Bench) -> None:
    """Of an ended renewal it is removed; of one that is open, and of one that no row knows, it stays."""
    account, held_up = await bench.connect("x"), await bench.connect("tiktok")
    await bench.to_due(account)
    assert await one(bench, account) == "renewed"
    journal = "SELECT id FROM byokeep.refresh_journal WHERE account_id = '{}' AND ended_at IS {} NULL LIMIT 1"
    ended = UUID(bench.stand.db.sql(journal.format(account.id, "NOT")))
    await bench.to_due(held_up)
    await bench.fault("tiktok", "status", status=503, times=1)
    assert await one(bench, held_up) != "renewed"
    still_open, unknown = UUID(bench.stand.db.sql(journal.format(held_up.id, ""))), uuid4()
    for slot in (ended, still_open, unknown):
        await bench.app.slots.prepare(slot)
    assert await clear_slots(bench.app) == 1
    assert {*await bench.app.slots.all()} == {still_open, unknown}


async def test_a_clock_behind_the_tokens_stops_renewals(bench: Bench) -> None:
    """Tokens of the future say that this machine's clock is wrong."""
    account = await bench.connect("x")
    bench.stand.db.sql(
        "UPDATE byokeep.account_grant SET obtained_at = now() + interval '1 day', due_at = now()"
        f" WHERE account_id = '{account.id}'"
    )
    await refused(bench, account, "clock_unsound")


@pytest.mark.req("R6.1-2", "S-OAUTH-7")
async def test_a_landed_reply_is_placed_when_the_store_is_back(bench: Bench) -> None:
    """The store refuses the write after the platform answered: the reply waits in its slot; no second call."""
    account = await bench.connect("x")
    await bench.to_due(account)
    custodian = bench.app.custodian

    class Away:
        close = custodian.close

        @asynccontextmanager
        async def open(self, job_id: UUID) -> AsyncIterator[ValueCustody]:
            async with custodian.open(job_id) as custody:

                async def write(ref: Any, value: Secret, *, cas: int) -> Any:
                    if str(ref.part) == "tokens":
                        raise Unavailable("store_unreachable")
                    return await type(custody).write(custody, ref, value, cas=cas)

                custody.write = write  # type: ignore[method-assign]
                yield custody

    away: Any = Away()
    bench.app, ours = replace(bench.app, custodian=away), bench.app
    before = await bench.calls(account)
    with pytest.raises(Unavailable):
        await one(bench, account)
    assert await bench.calls(account) - before == 1
    journal = bench.journals(account)[-1]
    assert journal["phase"] == "landed"
    assert await ours.slots.has(UUID(journal["id"]))
    bench.app = ours
    assert await bench.round() == ["renewed"]
    assert await bench.calls(account) - before == 1
    assert not await ours.slots.has(UUID(journal["id"]))
    assert await bench.works(account)


async def ended(bench: Bench, account: Account, reason: str, cause: str) -> None:
    """The grant has ended, the account is off, the platform closed, people know, and nothing more is asked."""
    grant, sql = bench.grant(account), bench.stand.db.sql
    assert (grant["state"], grant["reason"], grant["due_at"]) == ("needs_reauth", reason, None)
    assert sql(f"SELECT lanes FROM byokeep.platform_account WHERE id = '{account.id}'") == "{}"
    way = sql(f"SELECT stage, cause FROM byokeep.reenabling WHERE client_id = '{account.client_id}'")
    assert way == f"closed|{cause}"
    assert {f"account_{reason}", "platform_closed"} <= set(bench.stand.alerts())
    before = await bench.calls(account)
    await bench.advance(days=2)
    assert await bench.round() == []
    assert await bench.calls(account) == before


@pytest.mark.req("S-OAUTH-7")
@pytest.mark.parametrize("platform", ["tiktok", "x"])  # whose tokens are good once
async def test_a_stolen_token_that_was_used_ends_in_reauth_and_an_alert(bench: Bench, platform: str) -> None:
    """A thief renews with our token: ours is refused, which is taken for theft and not tried again in silence."""
    account = await bench.connect(platform)
    _, stolen, _ = await bench.stored(account)
    assert stolen.refresh is not None
    assert (await bench.social.refresh(platform, stolen.refresh.reveal().decode())).status == 200
    await bench.to_due(account)
    before = await bench.calls(account)
    assert await bench.round() == ["reuse_suspected"]
    assert await bench.calls(account) - before == 1
    await ended(bench, account, "reuse_suspected", "compromised")
    assert len(bench.audited(account, "account.reauth_needed")) == 1


@pytest.mark.req("R6.1-3")
@pytest.mark.parametrize(
    ("platform", "happened", "reason", "cause", "most"),
    [
        ("youtube", "revoked", "reauth", "revoked", 2),
        ("linkedin", "revoked", "reauth", "revoked", 2),
        ("tiktok", "revoked", "reuse_suspected", "compromised", 2),
        ("x", "revoked", "reuse_suspected", "compromised", 2),
        ("meta", "revoked", "reauth", "revoked", 2),
        ("instagram", "revoked", "reauth", "revoked", 2),
    ],
)
async def test_a_revoked_grant_ends_in_reauth(
    bench: Bench, platform: str, happened: str, reason: str, cause: str, most: int
) -> None:
    """What the person took back is not asked for again and again: one more try at most, then a person must act."""
    account = await bench.connect(platform)
    await bench.to_due(account)
    await bench.social.tell("grants", platform=platform, account="acme", event=happened)
    before = await bench.calls(account)
    assert await bench.round() == [reason]
    assert 1 <= await bench.calls(account) - before <= most
    await ended(bench, account, reason, cause)


@pytest.mark.parametrize("platform", ["meta", "instagram"])
async def test_a_lock_that_a_renewal_meets_ends_the_grant(bench: Bench, platform: str) -> None:
    """The platform says that the person must act there: one call, no retry, the platform is closed for it."""
    account = await bench.connect(platform)
    await bench.to_due(account)
    await bench.social.tell("grants", platform=platform, account="acme", event="lockout")
    before = await bench.calls(account)
    assert await bench.round() == ["locked"]
    assert await bench.calls(account) - before == 1
    await ended(bench, account, "locked", "lockout")


@pytest.mark.req("S-OAUTH-6")
async def test_a_renewal_that_grants_more_is_told(bench: Bench) -> None:
    """Scopes that nobody had granted come with a renewal: a warning; the same scopes again: none."""
    account = await bench.connect("x")
    await bench.to_due(account)
    assert await bench.round() == ["renewed"]
    assert bench.stand.alerts() == []
    for family in bench.social.sim.social.worlds["x"].ledger.families:
        family.scopes = (*family.scopes, "like.write")
    await bench.to_due(account)
    assert await bench.round() == ["renewed"]
    assert bench.stand.alerts() == ["scopes_wider_than_before"]


async def test_a_renewal_that_grants_too_little_is_a_loss(bench: Bench) -> None:
    """What the purposes do not need may go; what they need is a loss: the new pair is kept, and nothing acts there."""
    account = await bench.connect("x")
    sql = bench.stand.db.sql
    sql(f"UPDATE byokeep.account_grant SET purposes = '{{publish}}' WHERE account_id = '{account.id}'")
    families = bench.social.sim.social.worlds["x"].ledger.families
    needed = bench.app.logins["x"].scopes_for("read", "publish")
    for family in families:
        family.scopes = tuple(sorted(needed))
    await bench.to_due(account)
    assert await bench.round() == ["renewed"], "all that is needed is there"
    for family in families:
        family.scopes = tuple(scope for scope in family.scopes if scope != "tweet.write")
    await bench.to_due(account)
    assert await bench.round() == ["missing_scope"]
    await ended(bench, account, "missing_scope", "missing_scope")


@pytest.mark.req("S-OAUTH-8")
async def test_people_are_told_before_a_grant_ends(bench: Bench) -> None:
    """A grant near its end, and one that was not renewed for long, however far its end, raise one alert each, and only
    one."""
    account, idle = await bench.connect("tiktok"), await bench.connect("youtube")
    far = await bench.connect("x")
    assert await remind(bench.app) == 0
    sql = bench.stand.db.sql
    sql(f"UPDATE byokeep.account_grant SET alarm_at = now() WHERE account_id = '{account.id}'")
    for one, alarm_at in ((idle, "NULL"), (far, "now() + interval '200 days'")):
        sql(
            f"UPDATE byokeep.account_grant SET obtained_at = now() - interval '{IDLE_DAYS + 1} days',"
            f" alarm_at = {alarm_at} WHERE account_id = '{one.id}'"
        )
    assert await remind(bench.app) == 3
    assert await remind(bench.app) == 0
    assert bench.stand.alerts() == ["account_idle_reauth_due"] * 2 + ["account_reauth_due"]


async def left_behind(bench: Bench, account: Account, phase: str) -> UUID:
    """What a machine that died an hour ago left of a renewal; returns the owner of its slots."""
    other = bench.refresher("other")
    sent = "NULL" if phase == "started" else "now()"
    bench.stand.db.sql(
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,"
        f" opened_at, expires_at) SELECT '{UUID(int=9)}', '{account.client_id}', id, id, 'custody', '{{x}}', '{{}}',"
        " '{}', '{}', now() - interval '60 minutes', now() - interval '45 minutes' FROM byokeep.subject LIMIT 1;"
        "INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, sent_at, owner, job_id,"
        f" started_at) VALUES ('{UUID(int=8)}', '{account.client_id}', '{account.id}', 1, '{phase}', {sent},"
        f" '{other.owner}', '{UUID(int=9)}', now() - interval '1 hour')"
    )
    return other.owner


async def test_another_machines_renewal_is_left_alone_and_told_of(bench: Bench) -> None:
    """A journal of other slots is not touched; people hear of it when it does not end."""
    account = await bench.connect("x")
    await bench.to_due(account)
    await left_behind(bench, account, "sent")
    before = await bench.calls(account)
    assert await bench.round() == []
    assert await bench.calls(account) == before
    assert bench.stand.alerts() == ["renewal_of_another_owner"]


async def gone(bench: Bench, owner: UUID, who: str = "admin", reason: str = "machine_lost") -> int:
    """Say that a machine is gone, as somebody of that role."""
    stand = bench.stand
    db = PostgresDatabase(stand.db.url("byokeep_web"), pool_size=1)
    bench.stack.push_async_callback(db.close)
    roles = frozenset({Role(who)})
    actor = Actor(id=stand.people[who].id, roles=roles, clients=None, request_id=UUID(int=3))
    ports: Any = SimpleNamespace(**{n: getattr(bench.app, n) for n in ("clock", "ids", "installation_id", "recorded")},
                                 db=db)  # fmt: skip
    assert [one.owner for one in await list_refreshers(ports, replace(actor, roles=frozenset({Role.AUDITOR})))]
    return await declare_gone(ports, actor, owner, reason)


@pytest.mark.parametrize("phase", ["started", "sent", "landed"])
@pytest.mark.parametrize("spent", [False, True], ids=["unspent", "spent"])
async def test_what_a_machine_that_is_gone_left_is_taken_up(bench: Bench, phase: str, spent: bool) -> None:
    """An admin says so, with a reason, on record; the account is renewed, or its chain is reported as broken when the
    token was spent there. None is dropped."""
    account = await bench.connect("x")
    await bench.to_due(account)
    if spent:
        _, tokens, _ = await bench.stored(account)
        assert tokens.refresh is not None
        assert (await bench.social.refresh("x", tokens.refresh.reveal().decode())).status == 200
    owner = await left_behind(bench, account, phase)
    for who in ("operator", "approver", "auditor"):
        with pytest.raises(Denied, match="not_permitted"):
            await gone(bench, owner, who)
    with pytest.raises(Rejected, match="bad_reason"):
        await gone(bench, owner, reason="It burnt down")
    with pytest.raises(NotFound):
        await gone(bench, UUID(int=77))
    assert await bench.round() == []
    assert await gone(bench, owner) == 1
    broken = "reuse_suspected" if phase == "started" else "chain_broken"
    assert await bench.round() == [broken if spent else "renewed"]
    if spent:
        await ended(bench, account, broken, "compromised" if phase == "started" else "chain_broken")
    else:
        assert await bench.works(account)
    assert bench.stand.db.sql("SELECT count(*) FROM byokeep.refresh_journal WHERE ended_at IS NULL") == "0"
    assert [json.loads(one)["fields"] for one in bench.stand.events("refresher.declared_gone", "ok")] == [
        {"count": 1, "reason": "machine_lost"}
    ]


async def test_a_machine_that_works_is_not_gone(bench: Bench) -> None:
    """One that began a renewal minutes ago is left alone; of two that take over only one renews."""
    account = await bench.connect("x")
    await bench.to_due(account)
    owner = await left_behind(bench, account, "sent")
    bench.stand.db.sql("UPDATE byokeep.refresh_journal SET started_at = now() - interval '5 minutes'")
    with pytest.raises(Conflict, match="refresher_alive"):
        await gone(bench, owner)
    assert await bench.round() == []
    bench.stand.db.sql("UPDATE byokeep.refresh_journal SET started_at = now() - interval '1 hour'")
    await gone(bench, owner)
    before, others = await bench.calls(account), bench.renewals(bench.refresher("third"))
    await asyncio.gather(bench.round(), bench.round(others))
    assert await bench.calls(account) - before == 1
    assert bench.grant(account)["version"] == 2


async def test_who_stops_lets_renewals_end(bench: Bench) -> None:
    """Told to stop while the platform takes its time, the refresher takes nothing new and waits for the reply."""
    account, later = await bench.connect("x"), await bench.connect("tiktok")
    sql, stop = bench.stand.db.sql, asyncio.Event()
    await bench.fault("x", "late", delay_s=3)
    before = await bench.calls(account)
    sql(f"UPDATE byokeep.account_grant SET due_at = now() WHERE account_id = '{account.id}'")
    running = asyncio.create_task(run(bench.app, stop=stop))
    while await bench.calls(account) == before:
        await asyncio.sleep(0.02)
    stop.set()
    sql(f"UPDATE byokeep.account_grant SET due_at = now() WHERE account_id = '{later.id}'")
    await running
    assert bench.grant(account)["version"] == 2
    assert bench.grant(later)["version"] == 1
    assert await bench.works(account)


async def test_no_token_stands_anywhere_but_in_the_store(bench: Bench) -> None:
    """After renewals, a crash with a landed reply, a broken chain: no token in database, slots, logs or spans."""
    with telemetry_in(bench.stand.home / "logs"):
        first, second = await bench.connect("x"), await bench.connect("tiktok")
        for account in (first, second):
            await bench.to_due(account)
        await bench.fault("tiktok", "reset", when="after")
        assert sorted(await bench.round()) == ["chain_broken", "renewed"]
        await bench.to_due(first)
        bodies: list[bytes] = []
        await cut_off(bench, first, bodies)
        for account in (first, second):
            await bench.stored(account)
    dump = bench.stand.db.server.run_tool("pg_dump", f"--dbname={bench.stand.db.name}")
    sweep = Sweep([Canary(f"token{number}", one.reveal()) for number, one in enumerate(bench.seen)])
    assert len(bench.seen) > 6
    assert sweep.scan_bytes(bodies[0] + bench.seen[0].reveal(), source="control").findings
    files = [path for place in ("slots", "logs") for path in (bench.stand.home / place).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".slot", ".log", ".jsonl"}
    for source, data in [("dump", dump), *((path.name, path.read_bytes()) for path in files)]:
        report = sweep.scan_bytes(data, source=source)
        assert (report.findings, report.unreadable) == ((), ()), source
    assert b"refresh_journal" in dump


async def cut_off(bench: Bench, account: Account, bodies: list[bytes]) -> None:
    """End a renewal after its reply was landed; notes what came."""

    class Watched:
        has, clear, prepare, landed = (getattr(bench.app.slots, n) for n in ("has", "clear", "prepare", "landed"))

        async def land(self, journal_id: UUID, key: Secret, **more: Any) -> None:
            await bench_slots.land(journal_id, key, **more)
            bodies.append(more["body"].reveal())
            raise asyncio.CancelledError

    bench_slots, watched = bench.app.slots, Watched()
    odd: Any = watched
    bench.app, ours = replace(bench.app, slots=odd), bench.app
    with pytest.raises(asyncio.CancelledError):
        await one(bench, account)
    bench.app = ours
    assert await ours.slots.has(UUID(bench.journals(account)[-1]["id"]))
