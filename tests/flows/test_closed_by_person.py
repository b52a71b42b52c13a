"""A person closes a platform (runbook 7.2): every account there comes back by its own login, or not at all."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from byokeep.accounts import maintenance
from byokeep.core.reenable import RecoveryCause
from byokeep.jobs import reenabling
from byokeep.tenancy.scopes import hold_open
from tests.support.connect import Office

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def close(office: Office, client: UUID, cause: str = "compromised") -> None:
    body = {"client_id": str(client), "platform": "x", "cause": cause}
    status, reply = await office.desk.stand.call("POST", "/v1/platforms/close", "operator", body)
    assert (status, reply["stage"]) == (200, "closed"), reply


def stage(office: Office, client: UUID) -> str:
    return office.sql(f"SELECT stage FROM byokeep.reenabling WHERE client_id = '{client}' AND platform = 'x'")


async def told(office: Office, client: UUID, name: str) -> tuple[str, str, str]:
    seen = await office.state(client, "x", name)
    return seen["state"], seen["policy"], seen["reason"]


async def two(office: Office) -> UUID:
    """A client with two accounts that may act, and one at another platform."""
    client = await office.client()
    for login, name, account in (("x", "acme", "acme"), ("x", "other", "bravo"), ("tiktok", "acme", "acme")):
        await office.connected(client, login, name, account=account)
        assert (await office.act(client, login, "lane", {"policy": "api"}, name))[0] == 200
    return client


async def leased(office: Office, client: UUID, platform: str) -> tuple[int, Any]:
    """Ask for a lease of a job that declared a platform's tokens."""
    stand = office.desk.stand
    job = await stand.job(client, secrets=[platform], platforms=[platform])
    return await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")


OUT = ("needs_reauth", "off", "closed_by_person")
BACK = ("connected", "off", "")


@pytest.mark.req("R7.2-3", "R7.2-4")
@pytest.mark.parametrize("cause", ["compromised", "revoked", "identity_mismatch"])
async def test_each_account_needs_its_own_login(office: Office, cause: str) -> None:
    """Grants over, lanes off, no lease; the login of one, or of a new account, does not bring the other back. Another
    platform and another client run on."""
    client, bystander = await two(office), await office.client()
    stand = office.desk.stand
    assert (await leased(office, client, "x"))[0] == 201
    await close(office, client, cause)
    assert [await told(office, client, name) for name in ("acme", "other")] == [OUT, OUT]
    assert (await leased(office, client, "x"))[0] != 201
    assert (await office.state(client, "tiktok"))["policy"] == "api"
    assert (await leased(office, client, "tiktok"))[0] == 201
    said = [json.loads(one)["fields"] for one in stand.events("account.reauth_needed")]
    assert [(one["reason"], one["cause"]) for one in said] == [("closed_by_person", cause)] * 2
    await office.social.tell(
        "accounts", platform="x", account="new", id="77", username="new", display_name="New", posts=1
    )
    await office.connected(client, "x", "brand-new", account="new")
    await office.connected(client, "x", "acme")
    assert stage(office, client) == "closed"
    assert [await told(office, client, name) for name in ("acme", "other")] == [BACK, OUT]
    status, refused = await office.act(client, "x", "lane", {"policy": "api"}, "other")
    assert (status, refused["code"]) == (409, "account_not_verified")
    await office.connected(client, "x", "other", account="bravo")
    assert stage(office, client) == "permitted"
    assert [await told(office, client, name) for name in ("acme", "other")] == [BACK, BACK]
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[0] == 200
    assert (await office.act(bystander, "x", "verify"))[0] == 404


@pytest.mark.req("R7.2-3")
async def test_an_account_that_is_disconnected_is_not_waited_for(office: Office) -> None:
    """Disconnected by a person, before or after its end at the platform: the other one's login leads back alone."""
    for ended in (False, True):
        client = await office.client()
        await office.connected(client, "x", "acme")
        await office.connected(client, "x", "other", account="bravo")
        await close(office, client)
        assert (await office.act(client, "x", "disconnect", name="other"))[0] == 200
        if ended:
            assert await maintenance.end_disconnected(office.app) >= 1
        await office.connected(client, "x", "acme")
        assert stage(office, client) == "permitted"
        await office.act(client, "x", "disconnect")
        while await maintenance.end_disconnected(office.app):
            pass
        office.sql(f"UPDATE byokeep.account_grant SET external_id = account_id::text WHERE client_id = '{client}'")


@pytest.mark.parametrize("cause", ["lockout", "missing_scope"])
async def test_what_doubts_no_token_leaves_what_is_connected(office: Office, cause: str) -> None:
    """The platform is closed, nothing may act; the accounts stay as they are, and the first login leads on."""
    client = await two(office)
    await close(office, client, cause)
    assert [await told(office, client, name) for name in ("acme", "other")] == [("connected", "api", "")] * 2
    lease = (await leased(office, client, "x"))[1]["lease_id"]
    assert (await office.desk.stand.permit(lease))[1]["code"] == "platform_closed"
    await office.connected(client, "x", "acme")
    assert stage(office, client) == "permitted"


@pytest.mark.req("R7.2-3")
async def test_a_login_that_was_begun_before_the_close_is_none(office: Office) -> None:
    """Of a connected account and of a new one: refused, its tokens destroyed, the account as it was. Nor does one that
    was begun between two closes count; one that was begun after the last does."""
    client = await office.client()
    first = await office.connected(client, "x", "acme")
    old = await office.begin(client, "x", "acme")
    said = await office.consent(old["authorize_url"], "x")
    assert (await office.bring(client, old, said))[0] == 200
    new = await office.begin(client, "x", "brand-new")
    await close(office, client)
    said = await office.consent(new["authorize_url"], "x", "bravo")
    assert (await office.bring(client, new, said))[0] == 200
    assert await office.finish() == 2
    for begun in (old, new):
        done = await office.look(client, begun)
        assert (done["state"], done["reason"]) == ("failed", "begun_before_close")
    assert (await office.live(client, "x", first["account_id"]))["tokens"] == [1]
    await office.nothing_kept_of(client, "x", new["account_id"])
    assert (await told(office, client, "acme"), stage(office, client)) == (OUT, "closed")
    between = await office.begin(client, "x", "acme")
    said = await office.consent(between["authorize_url"], "x")
    await office.bring(client, between, said)
    await close(office, client)
    assert await office.finish() == 1
    assert (await office.look(client, between))["reason"] == "begun_before_close"
    await office.connected(client, "x", "acme")
    assert (await told(office, client, "acme"), stage(office, client)) == (BACK, "permitted")
    again = await office.begin(client, "x", "acme")  # and lost anew by what we noticed ourselves, on its way back
    app = office.desk.stand.app
    async with app.db.begin(client_id=client) as tx:
        await reenabling.lose(tx, app, app.system(), client, "x", RecoveryCause.LOCKOUT)
    said = await office.consent(again["authorize_url"], "x")
    await office.bring(client, again, said)
    assert await office.finish() == 1
    assert (await office.look(client, again))["reason"] == "begun_before_close"
    assert stage(office, client) == "closed"


@pytest.mark.req("R7.2-3")
async def test_no_machine_s_login_brings_one_of_several_back(office: Office) -> None:
    """While another account waits as well, a login that no person of the client began is refused all the same."""
    client = await two(office)
    await close(office, client)
    begun = await office.begin(client, "x", "acme")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200
    machine = office.desk.stand.people["custodian"].id
    office.sql(f"UPDATE byokeep.connection SET started_by = '{machine}' WHERE id = '{begun['connection']}'")
    assert await office.finish() == 1
    assert (await office.look(client, begun))["reason"] == "reauth_needs_a_person"
    assert (await told(office, client, "acme"), stage(office, client)) == (OUT, "closed")


async def test_whoever_holds_the_platform_s_lock_keeps_nothing_in_use(office: Office) -> None:
    """The close does not wait for ever, and the accounts are out of use when it is answered."""
    client = await two(office)
    held, over = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with office.desk.stand.app.db.begin(client_id=client) as tx:
            await hold_open(tx, [f"client:{client}:platform:x"], at_once=True)
            held.set()
            await over.wait()

    holder = asyncio.create_task(hold())
    await held.wait()
    try:
        await close(office, client)
        assert [await told(office, client, name) for name in ("acme", "other")] == [OUT, OUT]
    finally:
        over.set()
        await asyncio.gather(holder, return_exceptions=True)
