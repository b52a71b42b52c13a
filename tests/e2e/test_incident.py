"""Runbook 7.2 from detection to open, on a real stack, with the operators' commands alone; acts are a runner's.

And a machine that renewed tokens and is lost.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from byokeep.core.errors import ByokeepError
from tests.support.cli import Shell
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.social import ACCOUNTS
from tests.support.stack import World, running_stack

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@pytest.fixture
async def owner(world: World) -> AsyncIterator[Owner]:
    async with aiohttp.ClientSession() as http:
        yield Owner(world, Shell(world.home), http, free_port())


async def publish(owner: Owner, client: str, outcomes: list[str]) -> None:
    """One job that publishes once; what came of it."""
    url = f"{owner.world.sim.platform_url}/x/acme"
    try:
        async with (
            owner.world.keep() as keep,
            keep.job(client=client, secrets=["x"], platforms=["x"], effects=["publish"]) as job,
        ):
            await job.secret("x/acme")
            async with job.effect("publish", platform="x", account="acme", key=f"post-{uuid4()}"):
                (await owner.http.post(f"{url}/posts", json={"text": "hello"})).raise_for_status()
        outcomes.append("done")
    except ByokeepError as error:
        outcomes.append(error.code)


async def published(owner: Owner, client: str, number: int = 1) -> list[str]:
    outcomes: list[str] = []
    for _ in range(number):
        await publish(owner, client, outcomes)
    return outcomes


def rows(document: Any, name: str) -> list[dict[str, Any]]:
    """The rows of a list that was printed as JSON."""
    return list(document if isinstance(document, list) else document[name])


async def status(owner: Owner, client: str) -> dict[str, Any]:
    found = await owner.json("incident", "platform", "status", client, who="auditor")
    return dict(found["platforms"][0]) if found["platforms"] else {}


@pytest.mark.req("R7.2-1", "R7.2-3", "R7.2-6")
async def test_a_revoked_account_comes_back_by_commands_alone(owner: Owner) -> None:
    """The owner takes the consent back: found, closed, people told, nothing published. A login, the word of two people,
    one, five and twenty acts lead back; whoever asks for more at once, alone, or too early is refused."""
    client = await owner.world.client()
    await owner.prepare("x")
    assert (await owner.connect(client, "x"))[0].code == 0
    await owner.json("account", "lane", client, "x", "acme", "api")
    assert await published(owner, client) == ["done"]
    # Detection: the platform refuses our token, the renewal finds out why.
    await owner.tell("grants", platform="x", account="acme", event="revoked")
    await owner.run("account", "verify", client, "x", "acme")
    for _ in range(60):
        if (found := await status(owner, client)).get("stage") == "closed":
            break
        await asyncio.sleep(0.5)
    assert (found["stage"], found["cause"]) == ("closed", "compromised")
    listed = await owner.run("alert", "list", "--json")  # it ends with 1: a critical one is among them
    reasons = {one["reason"] for one in rows(listed.document, "alerts")}
    assert {"account_reuse_suspected", "platform_closed"} <= reasons
    state = await owner.json("account", "show", client, "x", "acme")
    assert (state["state"], state["policy"], state["next"]) == ("needs_reauth", "off", "connect")
    assert set(await published(owner, client)) <= {"credential_not_usable", "platform_closed"}
    assert await owner.world.effects() == 1
    # Too early: nothing but a login leads on.
    canary = ("incident", "platform", "canary", client, "x", "--reason", "access_is_ours_again")
    assert (await owner.run(*canary)).code == 6
    assert (await owner.run("account", "lane", client, "x", "acme", "api")).code == 6
    # Another account's login does not.
    assert (await owner.connect(client, "x", account="bravo"))[0].code == 6
    assert (await status(owner, client))["stage"] == "closed"
    await owner.tell("accounts", platform="x", posts=3, **ACCOUNTS["x"][0])
    back = (await owner.connect(client, "x"))[0]
    assert back.code == 0
    for step in (f"account lane {client} x acme api", f"incident platform canary {client} x"):
        assert step in back.err
    assert (await status(owner, client))["stage"] == "permitted"
    await owner.json("account", "lane", client, "x", "acme", "api")
    assert await published(owner, client) == ["platform_closed"]
    asked = await owner.json(*canary)
    approve = ("incident", "platform", "approve", asked["id"])
    assert (await owner.run(*approve)).code == 3
    assert (await owner.json(*approve, who="approver"))["stage"] == "canary"
    assert (await owner.run(*approve, who="approver")).code == 3
    for acts in (1, 5, 20):
        found = await status(owner, client)
        assert (found["stage"], found["acts"], found["done"]) == ("canary", acts, 0)
        assert await published(owner, client, acts) == ["done"] * acts
    assert (await status(owner, client))["stage"] == "open"
    assert await published(owner, client, 2) == ["done"] * 2
    assert await owner.world.effects() == 1 + 1 + 5 + 20 + 2
    listed = await owner.json("audit", "list", "--client", client, "--limit", "500", who="auditor")
    steps = [one for one in rows(listed, "records") if one["event"] == "platform.reenabling_stepped"]
    assert [one["outcome"] for one in steps].count("ok") == 7  # login, two checks, three stages, open
    assert (await owner.run("audit", "verify", who="auditor")).code == 0


async def test_renewals_of_a_lost_machine_are_taken_up_at_an_admin_s_word(owner: Owner) -> None:
    """The machine and what it left are listed; nobody but an admin may say that it is gone, and not without a reason or
    of one that nobody knows; then the account is renewed within seconds."""
    client, lost, job = await owner.world.client(), uuid4(), uuid4()
    await owner.prepare("x")
    assert (await owner.connect(client, "x", account="bravo"))[0].code == 0
    where = f"client_id = '{client}'"
    await owner.world.sql(
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,"
        f" opened_at, expires_at) SELECT '{job}', '{client}', id, id, 'custody', '{{x}}', '{{}}', '{{}}', '{{}}',"
        " now() - interval '60 minutes', now() - interval '45 minutes' FROM byokeep.subject LIMIT 1;"
        "INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, sent_at, owner, job_id,"
        f" started_at) SELECT '{uuid4()}', client_id, account_id, version, 'sent', now() - interval '1 hour',"
        f" '{lost}', '{job}', now() - interval '1 hour' FROM byokeep.account_grant WHERE {where};"
        f"UPDATE byokeep.account_grant SET due_at = now() WHERE {where}"
    )
    listed = rows(await owner.json("account", "refreshers", who="admin"), "refreshers")
    assert [(one["owner"], one["renewals"], one["gone"]) for one in listed] == [(str(lost), 1, False)]
    gone = ("account", "refresher-gone", str(lost), "--reason")
    assert (await owner.run(*gone, "machine_lost")).code == 3
    assert (await owner.run(*gone, "It burnt", who="admin")).code == 2
    assert (await owner.run("account", "refresher-gone", str(uuid4()), "--reason", "lost", who="admin")).code == 3
    version = f"SELECT version FROM byokeep.account_grant WHERE {where}"
    await asyncio.sleep(6)  # a round of taking up what was cut off
    assert await owner.world.sql(version) == "1"
    assert (await owner.json(*gone, "machine_lost", who="admin"))["renewals"] == 1
    for _ in range(60):
        if await owner.world.sql(version) == "2":
            break
        await asyncio.sleep(0.5)
    assert await owner.world.sql(version) == "2"
    assert rows(await owner.json("account", "refreshers", who="admin"), "refreshers") == []
