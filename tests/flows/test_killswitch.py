"""The kill process: it stops whatever a kill switch can stop, under roles that let nobody back in."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from byokeep.core.errors import Denied
from tests.flows.test_switches import close, names_its_switch, ready, reopen, store_serves
from tests.support.broker import Stand, killswitch

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
async def kill(stand: Stand) -> AsyncIterator[Stand]:
    async with killswitch(stand) as made:
        yield made


@pytest.mark.parametrize("scope", ["everything", "client", "platform", "lane", "browser_lane"])
async def test_it_engages_every_scope(stand: Stand, kill: Stand, scope: str) -> None:
    """What it acknowledges, broker and store refuse; what is outside of the scope goes on."""
    client, lease = await ready(stand)
    whole = scope in ("everything", "client")
    named: dict[str, Any] = {
        "everything": {}, "client": {"client_id": str(client)}, "platform": {"client_id": str(client), "platform": "x"},
        "lane": {"client_id": str(client), "lane": "api"}, "browser_lane": {"lane": "browser"},
    }[scope]  # fmt: skip
    assert (await kill.call("POST", "/v1/switches/preview", "operator", named))[1]["ends_jobs"] is whole
    status, reply = await close(kill, **named)
    assert (status, reply["closed"], reply["store_cut_off"]) == (200, True, whole), reply
    assert await store_serves(lease) is not whole
    status, refused = await stand.permit(lease["lease_id"])
    if scope == "browser_lane":
        assert status == 201
    else:
        names_its_switch(refused, reply["scope"])
    listed = (await kill.call("GET", "/v1/switches", "operator"))[1]["switches"]
    assert [one["scope"] for one in listed if one["closed"]] == [reply["scope"]]
    assert len(stand.events("switch.closed")) == 1
    assert (await close(kill, **named))[1]["epoch"] == reply["epoch"] + 1, "a second kill renews it"


async def test_it_lets_nobody_back_in(stand: Stand, kill: Stand) -> None:
    """It has no route that releases, and its roles at database and store could not."""
    client, _ = await ready(stand)
    assert (await close(kill, client_id=str(client)))[0] == 200
    body = {"client_id": str(client), "reason": "incident_over"}
    for path in ("/v1/switches/open-requests", f"/v1/switches/open-requests/{uuid4()}/approve", "/v1/jobs"):
        assert (await kill.call("POST", path, "operator", body))[0] in (404, 405)
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    with pytest.raises(Denied):
        await kill.app.cutoff.enable(entity)
    assert (await reopen(stand, client_id=str(client)))[0] == 200  # the broker does, with two people


async def test_strangers_and_machines_kill_nothing(stand: Stand, kill: Stand) -> None:
    """The kill process asks whose token it is, as the broker does."""
    client, lease = await ready(stand)
    for who in (None, "runner", "dispatcher", "custodian", "auditor"):
        status, _ = await kill.call("POST", "/v1/switches/close", who, {"client_id": str(client), "reason": "drill"})
        assert status == (401 if who is None else 403)
    stranger = stand.subject("operator", clients=())
    body = {"client_id": str(client), "reason": "drill"}
    assert (await kill.call("POST", "/v1/switches/close", stranger, body))[0] == 404
    assert (await stand.permit(lease["lease_id"]))[0] == 201


async def test_a_broker_that_hangs_in_a_decision_is_ended(stand: Stand, kill: Stand) -> None:
    """A stopped broker holds the locks of the decisions that it was in: the kill ends these, and people are told."""
    client, lease = await ready(stand)
    async with await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_broker")) as held:
        await held.execute(f"SELECT pg_advisory_xact_lock_shared(byokeep.scope_lock_key('client:{client}'))")
        async with asyncio.timeout(60):  # the lock is held for ever
            status, reply = await close(kill, client_id=str(client))
        assert (status, reply["store_cut_off"]) == (200, True)
        with pytest.raises(psycopg.OperationalError):  # ended, and not waited for until its own time was over
            await held.execute("SELECT 1")
    assert not await store_serves(lease)
    assert "switch_lock_held" in stand.alerts()
    took = stand.db.sql("SELECT convert_from(payload, 'UTF8')::jsonb -> 'fields' ->> 'epoch' FROM byokeep.audit_record"
                        " WHERE event = 'switch.closed'")  # fmt: skip
    assert took == "1", "engaged once, under its lock"
