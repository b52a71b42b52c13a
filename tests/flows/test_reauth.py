"""Runbook 7.2 with real logins: only the right person, as the right account, with all permissions, leads back.

And how a look finds a loss: another account, a lock, a grant that is over and has nothing to be renewed with.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from byokeep.accounts import maintenance
from byokeep.accounts.model import OAuthGrant
from byokeep.core.identity import Face
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from tests.support.connect import Office
from tests.support.social import SECRET

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


def way(office: Office, client: UUID, platform: str = "x") -> str:
    """Where the platform stands, and why it was closed last."""
    return office.sql(
        f"SELECT stage, cause FROM byokeep.reenabling WHERE client_id = '{client}' AND platform = '{platform}'"
    )


def held(office: Office, client: UUID) -> str:
    return office.sql(f"SELECT state, version, external_id FROM byokeep.account_grant WHERE client_id = '{client}'")


async def close(office: Office, client: UUID) -> None:
    body = {"client_id": str(client), "platform": "x", "cause": "compromised"}
    status, reply = await office.desk.stand.call("POST", "/v1/platforms/close", "operator", body)
    assert (status, reply["stage"]) == (200, "closed"), reply


async def denied(office: Office, client: UUID) -> str:
    """Why a job may not publish."""
    stand = office.desk.stand
    if not office.sql(f"SELECT 1 FROM byokeep.credential_ref WHERE client_id = '{client}' AND provider = 'openai'"):
        await stand.key(client, "openai")
    lease = await stand.lease(await stand.job(client, secrets=["openai"]))
    status, reply = await stand.permit(lease["lease_id"])
    return "" if status == 201 else str(reply["code"])


async def failed(office: Office, client: UUID, reason: str, **more: Any) -> dict[str, Any]:
    """A login that does not lead back: refused with its reason, and everything stays as it was."""
    before = way(office, client), held(office, client)
    done = await office.connect(client, "x", **more)
    assert (done["state"] in ("failed", "quarantined"), done["reason"]) == (True, reason), done
    assert (way(office, client), held(office, client)) == before
    assert (await office.live(client, "x", done["account_id"]))["tokens"] == [1]
    assert await denied(office, client) == "platform_closed"
    return done


@pytest.mark.req("R7.2-4")
async def test_another_account_or_none_leads_nowhere(office: Office) -> None:
    """Logging in again as another account is refused, and so is one whose identity nobody can tell: still closed."""
    client = await office.client()
    await office.connected(client, "x")
    await close(office, client)
    other = await failed(office, client, "other_account", account="bravo")
    assert other["state"] == "quarantined"
    for fault in ({"kind": "status", "status": 503}, {"kind": "reset"}, {"kind": "wrong_identity", "lie": "null_id"}):
        await office.fault("x", fault.pop("kind"), "identity", **fault)
        reason = "other_account" if "lie" in fault else "identity_unchecked"
        await failed(office, client, reason)
    await office.connected(client, "x")
    assert way(office, client) == "permitted|compromised"
    steps = [json.loads(one)["fields"]["stage"] for one in office.desk.stand.events("platform.reenabling_stepped")]
    assert steps == ["reauthorised", "identified", "permitted"]


@pytest.mark.req("R7.2-5")
async def test_missing_or_untold_permissions_lead_nowhere(office: Office) -> None:
    """Fewer than are needed is refused and lists them; a reply that tells none is refused: still closed."""
    client, oauth = await office.client(), PLATFORM_DESCRIPTORS["x"].oauth
    await office.connected(client, "x", purposes=["publish"])
    await close(office, client)
    kept = [*oauth.scopes["connect"], *oauth.scopes["read"]]
    await failed(office, client, "missing_scope", purposes=["publish"], consent={"scopes": kept})
    said = json.loads(office.desk.stand.events("platform_connect_failed")[-1])["fields"]
    assert set(said["missing"].split(",")) == set(oauth.scopes["publish"]) - set(kept)
    await office.fault("x", "no_scope", "token")
    begun = await office.begin(client, "x", purposes=["publish"])
    answer = await office.consent(begun["authorize_url"], "x")
    await office.bring(client, begun, answer)
    assert await office.finish() == 1
    assert (await office.look(client, begun))["state"] == "failed"
    assert way(office, client) == "closed|compromised"
    await office.connected(client, "x", purposes=["publish"])
    assert way(office, client) == "permitted|compromised"


@pytest.mark.req("R7.2-3")
@pytest.mark.parametrize("who", ["runner", "custodian", "left", "elsewhere"])
async def test_a_login_that_no_person_of_the_client_began_opens_nothing(office: Office, who: str) -> None:
    """A machine, somebody who has left, an operator of another client: the closed platform stays closed, the tokens
    that such a login brought are destroyed, and who they were for is on record."""
    client, stand = await office.client(), office.desk.stand
    await office.connected(client, "x")
    await close(office, client)
    before = held(office, client)
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    assert (await office.bring(client, begun, said))[0] == 200
    if who == "elsewhere":
        begun_by = stand.subject("operator", "Other", clients=(await office.client(),)).id
    elif who == "left":
        begun_by = stand.subject("operator", "Left").id
        office.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{begun_by}'")
    else:
        begun_by = stand.people[who].id
    office.sql(f"UPDATE byokeep.connection SET started_by = '{begun_by}' WHERE id = '{begun['connection']}'")
    assert await office.finish() == 1
    row = office.sql(f"SELECT state, reason FROM byokeep.connection WHERE id = '{begun['connection']}'")
    assert row == "failed|reauth_needs_a_person"
    assert way(office, client) == "closed|compromised"
    assert held(office, client) == before
    assert (await office.live(client, "x", begun["account_id"]))["tokens"] == [1]
    assert len(stand.events("platform_connected")) == 1
    assert await denied(office, client) == "platform_closed"


async def look(office: Office, client: UUID, login: str) -> None:
    """A look on demand, by the refresher."""
    assert (await office.act(client, login, "verify"))[0] == 202
    assert await maintenance.check_due(office.app) == 1


async def test_another_account_at_a_look_closes_the_platform(office: Office) -> None:
    """Lanes off, the grant over, the platform closed, people told; the login of a second account does not lead back,
    the right one does."""
    client = await office.client()
    await office.connected(client, "x")
    await office.connected(client, "x", "second", account="bravo")
    assert (await office.act(client, "x", "lane", {"policy": "api"}))[0] == 200
    await office.fault("x", "wrong_identity", "identity", lie="other")
    await look(office, client, "x")
    state = await office.state(client, "x")
    assert (state["state"], state["reason"], state["policy"]) == ("mismatch", "identity_mismatch", "off")
    assert state["next"] == "connect"
    assert way(office, client) == "closed|identity_mismatch"
    assert {"other_account", "platform_closed", "account_identity_mismatch"} <= set(office.desk.stand.alerts())
    assert len(office.desk.stand.events("account.reauth_needed")) == 1
    assert await denied(office, client) == "platform_closed"
    assert (await office.act(client, "x", "verify"))[1]["code"] == "account_not_connected"
    await office.connected(client, "x", "second", account="bravo")
    assert way(office, client) == "closed|identity_mismatch"
    await office.connected(client, "x")
    assert way(office, client) == "permitted|identity_mismatch"
    assert (await office.state(client, "x"))["state"] == "connected"


@pytest.mark.req("R6.3-3")
@pytest.mark.parametrize("login", ["x", "youtube", "instagram"])
async def test_a_locked_account_closes_the_platform_at_once(office: Office, login: str) -> None:
    """The platform says that the account is locked: no renewal is tried; a person must act there, then log in."""
    client = await office.client()
    done = await office.connected(client, login)
    await office.social.tell("grants", platform=login, account="acme", event="lockout")
    await look(office, client, login)
    state = await office.state(client, login)
    assert (state["state"], state["reason"], state["policy"]) == ("needs_reauth", "locked", "off")
    platform = PLATFORM_DESCRIPTORS[login].provider.value
    assert way(office, client, platform) == "closed|lockout"
    assert {"account_locked", "platform_closed"} <= set(office.desk.stand.alerts())
    opened = office.sql("SELECT kind, source, object_id FROM byokeep.incident")
    assert opened == f"lockout|platform|{done['account_id']}"
    where = f"WHERE account_id = '{done['account_id']}'"
    assert office.sql(f"SELECT due_at IS NULL FROM byokeep.account_grant {where}") == "t"
    assert "refresh" not in await office.social.calls(login)
    await office.social.tell("grants", platform=login, account="acme", event="unlocked")
    await office.connected(client, login)
    assert way(office, client, platform) == "permitted|lockout"


@pytest.mark.req("R6.3-3")
@pytest.mark.parametrize(("login", "event"), [("x", "checkpoint"), ("linkedin", "lockout")])
async def test_a_lock_by_an_unknown_code_is_an_incident_of_its_account_alone(
    office: Office, login: str, event: str
) -> None:
    """A lock or a challenge by a code that nobody knows: an incident of that account, its lanes off, an alert.

    The client's second account keeps its grant and its lanes; another client's platform stays open.
    """
    client, other = await office.client(), await office.client()
    done = await office.connected(client, login)
    second = await office.connected(client, login, "second", account="bravo")
    await office.social.tell(
        "accounts", platform=login, account="charlie", id="77", username="charlie", display_name="C"
    )
    await office.connected(other, login, account="charlie")
    office.sql("UPDATE byokeep.platform_account SET lanes = '{api,browser}'")
    await office.social.tell("grants", platform=login, account="acme", event=event)
    await look(office, client, login)
    state = await office.state(client, login)
    assert (state["state"], state["reason"], state["policy"]) == ("needs_reauth", "lock_unknown", "off")
    assert office.desk.stand.alerts().count("account_lock_unknown") == 1
    found = office.sql("SELECT client_id, kind, source, object_kind, object_id FROM byokeep.incident").splitlines()
    assert found == [f"{client}|lockout|platform|account|{done['account_id']}"]
    beside = office.sql(f"SELECT g.state, a.lanes FROM byokeep.account_grant g JOIN byokeep.platform_account a"
                        f" ON a.id = g.account_id WHERE g.account_id = '{second['account_id']}'")  # fmt: skip
    assert beside == "live|{api,browser}"
    assert way(office, other, PLATFORM_DESCRIPTORS[login].provider.value) == ""


async def test_a_grant_without_a_renewal_ends_when_its_platform_says_so(office: Office) -> None:
    """LinkedIn gives most apps no refresh token: a token that is over, and is called so twice, takes a login."""
    client = await office.client()
    await office.social.tell(
        "apps", platform="linkedin", client_id="app", client_secret=SECRET,
        redirect_uris=["http://127.0.0.1:8431/linkedin"], partner=False,
    )  # fmt: skip
    await office.fault("linkedin", "refusal", "identity", case="revoked")  # said of a token that was just given
    done = await office.connected(client, "linkedin")
    assert (await office.tokens(client, "linkedin", done["account_id"])).refresh is None
    await office.fault("linkedin", "refusal", "identity", case="revoked")  # said once, falsely
    await look(office, client, "linkedin")
    assert (await office.state(client, "linkedin"))["state"] == "connected"
    await office.social.tell("grants", platform="linkedin", account="acme", event="revoked")
    await look(office, client, "linkedin")
    state = await office.state(client, "linkedin")
    assert (state["state"], state["reason"], state["policy"]) == ("needs_reauth", "reauth", "off")
    assert way(office, client, "linkedin") == "closed|revoked"
    assert "account_reauth" in office.desk.stand.alerts()


async def test_a_look_that_comes_too_late_ends_nothing(office: Office) -> None:
    """The account was connected anew while the platform was asked with the old token: that answer counts no more."""
    client = await office.client()
    await office.connected(client, "x")
    async with office.app.db.begin(client_id=client) as tx:
        account_id = UUID((await office.state(client, "x"))["id"])
        old = await tx.one(OAuthGrant, "grant_of", client_id=client, account_id=account_id)
    await office.connected(client, "x")
    await office.fault("x", "wrong_identity", "identity", lie="other")
    assert await maintenance.check(office.app, office.app.logins["x"], old) == "superseded"
    assert way(office, client) == ""
    assert (await office.state(client, "x"))["state"] == "connected"
    assert office.desk.stand.alerts() == []


async def test_a_look_hides_no_other_account_that_one_beside_it_found(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two refreshers look at once: what the first heard before is not written over what the second found."""
    client = await office.client()
    await office.connected(client, "x")
    async with office.app.db.begin(client_id=client) as tx:
        account_id = UUID((await office.state(client, "x"))["id"])
        grant = await tx.one(OAuthGrant, "grant_of", client_id=client, account_id=account_id)
    right = Face(account_id=grant.external_id, username="acme", display_name="Acme", link=None)
    said = iter([("", (right,)), ("", (replace(right, account_id="another"),))])
    monkeypatch.setattr(maintenance, "_asked", AsyncMock(side_effect=said))
    as_it_was, second = maintenance._as_it_was, list[asyncio.Task[str]]()

    async def beside(tx: Any, one: OAuthGrant) -> bool:
        held = await as_it_was(tx, one)
        if not second:
            second.append(asyncio.create_task(maintenance.check(office.app, office.app.logins["x"], one)))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not second[0].done() and office.sql(waiting) == "0":
                await asyncio.sleep(0.01)
        return held

    monkeypatch.setattr(maintenance, "_as_it_was", beside)
    await maintenance.check(office.app, office.app.logins["x"], grant)
    assert await second[0] == "mismatch"
    assert (await office.state(client, "x"))["identity"] == "mismatch"
