"""Runbook 7.2: a platform is closed by one person, and comes back by a login, two checks and a canary."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.errors import Conflict, Denied
from byokeep.core.reenable import Event, IdentityChecked, Reauthorised, RecoveryCause, Reenable, ScopesChecked, Stage
from byokeep.jobs import reenabling
from byokeep.jobs.jobs import expire
from tests.support.broker import Person, Stand
from tests.support.connected import Account, connect

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def close(stand: Stand, client: UUID, who: str | Person = "operator", **changed: Any) -> tuple[int, Any]:
    body = {"client_id": str(client), "platform": "x", "cause": "compromised", **changed}
    return await stand.call("POST", "/v1/platforms/close", who, body)


async def ask(stand: Stand, client: UUID, who: str | Person = "operator", **changed: Any) -> tuple[int, Any]:
    body = {"client_id": str(client), "platform": "x", "reason": "ours_again", **changed}
    return await stand.call("POST", "/v1/platforms/canary-requests", who, body)


async def approve(stand: Stand, request: str, who: str | Person = "approver") -> tuple[int, Any]:
    return await stand.call("POST", f"/v1/platforms/canary-requests/{request}/approve", who)


async def back(stand: Stand, client: UUID) -> None:
    """What connecting again does: a person's login, both checks, a live grant; and a lane that is set anew."""
    stand.db.sql(
        f"UPDATE byokeep.account_grant SET state = 'live', reason = '' WHERE client_id = '{client}';"
        f"UPDATE byokeep.platform_account SET lanes = '{{api}}' WHERE client_id = '{client}'"
    )
    for event in (Reauthorised(by_person=True), IdentityChecked(True), ScopesChecked(frozenset())):
        await step(stand, client, event)


async def step(stand: Stand, client: UUID, event: Event) -> Reenable | None:
    async with stand.app.db.begin(client_id=client) as tx:
        return await reenabling.step(tx, stand.app, stand.app.system(), client, "x", event)


async def in_canary(stand: Stand) -> tuple[Account, str]:
    """An account whose platform is at the first stage of its canary, and a lease of a job there."""
    account = await connect(stand, await stand.client())
    assert (await close(stand, account.client))[0] == 200
    await back(stand, account.client)
    status, asked = await ask(stand, account.client)
    assert status == 201, asked
    status, state = await approve(stand, asked["id"])
    assert (status, state["stage"], state["acts"]) == (200, "canary", 1), state
    lease = await stand.lease(await stand.job(account.client, secrets=["x"]))
    return account, lease["lease_id"]


async def race(stand: Stand, leases: list[str]) -> tuple[list[str], list[str]]:
    """Many ask at once; returns the permits given and the reasons of the others."""
    answers = await asyncio.gather(*(stand.permit(lease) for lease in leases))
    given = [reply["permit_id"] for status, reply in answers if status == 201]
    return given, [reply["code"] for status, reply in answers if status != 201]


async def end(stand: Stand, permits: list[str], outcome: str = "done") -> None:
    for answer in await asyncio.gather(
        *(stand.call("POST", f"/v1/permits/{permit}/close", "runner", {"outcome": outcome}) for permit in permits)
    ):
        assert answer == (200, {"state": outcome})


async def standing(stand: Stand, client: UUID) -> dict[str, Any]:
    status, reply = await stand.call("GET", f"/v1/clients/{client}/platforms", "auditor")
    assert status == 200
    return dict(reply["platforms"][0])


@pytest.mark.req("R7.2-6")
async def test_jobs_side_by_side_never_get_more_than_a_stage_has(stand: Stand) -> None:
    """Sixty-four at once, over two jobs: one, five, twenty permits not one more; a stage ends by success alone."""
    account, first = await in_canary(stand)
    second = (await stand.lease(await stand.job(account.client, secrets=["x"])))["lease_id"]
    for acts in (1, 5, 20):
        given, others = await race(stand, [first, second] * 32)
        assert len(given) == acts
        assert set(others) <= {"canary_stage_full", "database_busy", "no_connection_free"}
        seen = await standing(stand, account.client)
        assert (seen["stage"], seen["acts"], seen["taken"], seen["done"]) == ("canary", acts, acts, 0)
        again, others = await race(stand, [first] * 4)
        assert (again, set(others)) == ([], {"canary_stage_full"})
        # Whoever wants it all at once meets a conflict, in every stage.
        status, reply = await ask(stand, account.client, stage="open")
        assert (status, reply["code"]) == (409, "reenable_out_of_order")
        await end(stand, given)
    assert (await standing(stand, account.client))["stage"] == "open"
    assert len((await race(stand, [first, second] * 16))[0]) == 32
    steps = [json.loads(one)["fields"] for one in stand.events("platform.reenabling_stepped", "ok")]
    assert [step["stage"] for step in steps] == [
        "reauthorised", "identified", "permitted", "canary", "canary", "canary", "open",
    ]  # fmt: skip
    assert [step["number"] for step in steps[3:6]] == [0, 1, 2]


async def test_one_key_takes_one_act_of_a_stage(stand: Stand) -> None:
    """Sixteen ask under one key at once: one permit, and the others leave no act taken behind."""
    account, lease = await in_canary(stand)
    await end(stand, (await race(stand, [lease]))[0])
    answers = await asyncio.gather(*(stand.permit(lease, "post-0001") for _ in range(16)))
    assert [status for status, _ in answers].count(201) == 1
    assert {reply["code"] for status, reply in answers if status != 201} <= {
        "in_progress",
        "database_busy",
        "no_connection_free",
    }
    assert (await standing(stand, account.client))["taken"] == 1
    given, _ = await race(stand, [lease] * 16)
    assert len(given) == 4


@pytest.mark.req("R7.2-6")
@pytest.mark.parametrize("ending", ["failed", "unknown"])
async def test_an_act_that_fails_or_is_lost_closes_the_platform_again(stand: Stand, ending: str) -> None:
    """In the second stage, with four that succeeded: closed, an alert, and the way begins with a login."""
    account, lease = await in_canary(stand)
    await end(stand, (await race(stand, [lease]))[0])
    given, _ = await race(stand, [lease] * 5)
    stand.db.sql("UPDATE byokeep.alert SET closed_at = now()")
    await end(stand, given[:4])
    if ending == "failed":
        await end(stand, given[4:], "failed")
    else:
        stand.db.sql(f"UPDATE byokeep.permit SET expires_at = now() WHERE id = '{given[4]}'")
        assert await expire(stand.app) == (0, 1)
    seen = await standing(stand, account.client)
    assert (seen["stage"], seen["cause"], seen["number"]) == ("closed", "canary_failed", 0)
    assert "platform_closed" in stand.alerts()
    assert (await stand.permit(lease))[1]["code"] == "platform_closed"
    assert (await ask(stand, account.client))[1]["code"] == "reenable_out_of_order"
    # Late word that it did happen is taken, and opens nothing.
    if ending == "unknown":
        await end(stand, given[4:])
        assert (await standing(stand, account.client))["stage"] == "closed"


async def test_the_canary_takes_two_people_and_the_state_they_saw(stand: Stand) -> None:
    """The same person, an operator, a second use, a state that changed: denied, on record; nothing begins."""
    account = await connect(stand, await stand.client())
    assert (await ask(stand, account.client))[1]["code"] == "platform_not_lost"
    await close(stand, account.client)
    assert (await ask(stand, account.client))[1]["code"] == "reenable_out_of_order"
    await back(stand, account.client)
    for who in ("approver", "auditor", "dispatcher", "runner", "admin"):
        assert (await ask(stand, account.client, who))[1]["code"] == "not_permitted"
    _, asked = await ask(stand, account.client)
    status, again = await ask(stand, account.client)
    assert (status, again["id"], again["repeated"]) == (200, asked["id"], True)
    assert (await approve(stand, asked["id"], "operator"))[1]["code"] == "not_permitted"
    stand.db.sql(f"UPDATE byokeep.approval SET requested_by = '{stand.people['approver'].id}'")
    assert (await approve(stand, asked["id"]))[1]["code"] == "same_person"
    stand.db.sql("UPDATE byokeep.approval SET expires_at = now()")
    _, asked = await ask(stand, account.client)
    await close(stand, account.client, cause="revoked")
    assert (await approve(stand, asked["id"]))[1]["code"] == "epoch_changed"
    assert (await approve(stand, str(uuid4())))[0] == 404
    await back(stand, account.client)
    _, fresh = await ask(stand, account.client)
    assert fresh["id"] != asked["id"]
    assert (await approve(stand, fresh["id"]))[0] == 200
    used = (await approve(stand, fresh["id"]))[1]
    assert (used["code"], " approved it at " in used["next_step"]) == ("approval_used", True)
    assert len(stand.events("platform.reenabling_stepped", "denied")) == 3


async def test_one_person_closes_at_once(stand: Stand) -> None:
    """An operator, approver or admin alone; no machine, no auditor; and not what has no way back or is no cause."""
    account = await connect(stand, await stand.client())
    for who in ("runner", "dispatcher", "custodian", "auditor"):
        assert (await close(stand, account.client, who))[1]["code"] == "not_permitted"
    assert (await close(stand, account.client, platform="skool"))[1]["code"] == "no_way_back"
    assert (await close(stand, account.client, platform="myspace"))[1]["code"] == "unknown_platform"
    assert (await close(stand, account.client, cause="canary_failed"))[1]["code"] == "unknown_cause"
    assert (await close(stand, uuid4()))[0] == 404
    theirs = stand.subject("operator", "Other", clients=(await stand.client(),))
    assert (await close(stand, account.client, theirs))[0] == 404
    status, state = await close(stand, account.client)
    assert (status, state["stage"], state["cause"]) == (200, "closed", "compromised")
    assert stand.alerts().count("platform_closed") == 1


@pytest.mark.req("R7.2-3")
async def test_only_a_person_s_login_leads_back(stand: Stand) -> None:
    """A renewal that goes well changes nothing; machines and our own tasks are refused; there is no other door."""
    account = await connect(stand, await stand.client())
    lease = (await stand.lease(await stand.job(account.client, secrets=["x"])))["lease_id"]
    await close(stand, account.client)
    # What a background renewal leaves behind: new versions, a live grant, a fresh verification.
    stand.db.sql(
        "UPDATE byokeep.account_grant SET state = 'live', version = 2, access_version = 2, verified_at = now(),"
        f" reason = '' {account.where}"
    )
    assert (await stand.permit(lease))[1]["code"] == "platform_closed"
    for machine in ("runner", "dispatcher", "custodian"):
        async with stand.app.db.begin(client_id=account.client) as tx:
            by_person = await reenabling.is_person(tx, account.client, stand.people[machine].id)
        with pytest.raises(Denied, match="reauth_needs_a_person"):
            await step(stand, account.client, Reauthorised(by_person=by_person))
        assert (await ask(stand, account.client, machine))[1]["code"] == "not_permitted"
    with pytest.raises(Conflict, match="reenable_out_of_order"):
        await step(stand, account.client, IdentityChecked(True))
    assert (await standing(stand, account.client))["stage"] == "closed"
    async with stand.app.db.begin(client_id=account.client) as tx:
        by_person = await reenabling.is_person(tx, account.client, stand.people["operator"].id)
    state = await step(stand, account.client, Reauthorised(by_person=by_person))
    assert state is not None
    assert state.stage is Stage.REAUTHORISED


async def test_closing_waits_for_the_decisions_under_way(stand: Stand) -> None:
    """Permits are asked for all the time; after the close is acknowledged not one is issued."""
    account = await connect(stand, await stand.client())
    lease = (await stand.lease(await stand.job(account.client, secrets=["x"])))["lease_id"]
    given: list[float] = []
    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            if (await stand.permit(lease))[0] == 201:
                given.append(time.monotonic())

    callers = [asyncio.create_task(go_on()) for _ in range(8)]
    await asyncio.sleep(0.5)
    assert (await close(stand, account.client))[0] == 200
    issued = stand.db.sql("SELECT count(*) FROM byokeep.permit").strip()
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*callers)
    assert given
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit").strip() == issued


async def test_a_loss_found_by_another_process_closes_at_once(stand: Stand) -> None:
    """The cause that a refresher finds stands in the status and in the record, with the account."""
    account = await connect(stand, await stand.client())
    async with stand.app.db.begin(client_id=account.client) as tx:
        await reenabling.lose(
            tx, stand.app, stand.app.system(), account.client, "x", RecoveryCause.CHAIN_BROKEN, account_id=account.id
        )
    assert (await standing(stand, account.client))["cause"] == "chain_broken"
    [payload] = stand.events("platform.closed")
    assert json.loads(payload)["fields"] == {
        "account": str(account.id), "cause": "chain_broken", "platform": "x", "way": 1,
    }  # fmt: skip
