"""The switch of the browser lane for every client at once (runbook 7.3, step 1)."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.errors import Unavailable
from byokeep.core.model import Actor, Role
from byokeep.jobs.lease import heartbeat
from byokeep.tenancy.scopes import GLOBAL, effect_scopes, parse_scope, scope_from_name
from tests.support.broker import Stand
from tests.support.profiles import hold, put_profile, reported

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
EVERYBODY = {"lane": "browser"}


async def close(stand: Stand, who: Any = "operator", **scope: Any) -> tuple[int, Any]:
    return await stand.call("POST", "/v1/switches/close", who, {"reason": "profile_vault_suspected"} | scope)


async def browsing(stand: Stand) -> tuple[UUID, str]:
    """A client with an account in either lane and a lease that may act in both."""
    client = await stand.client("openai")
    stand.account(client)
    profile = put_profile(stand, client, stand.account(client, platform="tiktok", lanes="browser"))
    job = await stand.job(client, platforms=["x", "tiktok"], lanes=["api", "browser"])
    hold(stand, profile, job)
    lease = str((await stand.lease(job))["lease_id"])
    await reported(stand, client, lease)
    return client, lease


def with_profile(stand: Stand, client: UUID, kind: str = "use") -> None:
    """Let the client's open jobs hold a browser profile."""
    effects = ", effects = '{}', platforms = '{}', lanes = '{}'" if kind == "custody" else ""
    stand.db.sql(f"UPDATE byokeep.job SET secrets = '{{openai,profile}}', kind = '{kind}'{effects}"
                 f" WHERE client_id = '{client}' AND state = 'open' AND reason <> 'enroll'")  # fmt: skip


async def heard(stand: Stand, lease: str) -> Any:
    return (await stand.call("GET", f"/v1/leases/{lease}", "runner"))[1].get("code", "goes_on")


async def stops(stand: Stand, client: UUID, lease: str) -> bool:
    """Whether the holder of a profile of this client is told to close its browser."""
    with_profile(stand, client)
    told = await heard(stand, lease)
    stand.db.sql("UPDATE byokeep.job SET secrets = '{openai}' WHERE 'profile' = ANY (secrets)")
    return told in ("switch_closed", "switch_unknown")


async def test_the_browser_lane_closes_for_everybody(stand: Stand) -> None:
    """Every client's browser acts and profiles stop with the reply, their API acts go on; two people open it again."""
    both = [await browsing(stand), await browsing(stand)]
    for client, lease in both:
        assert (await stand.permit(lease, platform="tiktok", lane="browser"))[0] == 201
        assert not await stops(stand, client, lease)
    status, reply = await close(stand, **EVERYBODY)
    assert (status, reply["scope"], reply["client_id"], reply["closed"]) == (200, "lane:browser", None, True)
    for client, lease in both:
        assert (await stand.permit(lease, platform="tiktok", lane="browser"))[1]["code"] == "switch_closed"
        assert (await stand.permit(lease))[0] == 201
        assert await stops(stand, client, lease)
    with_profile(stand, both[0][0])
    assert await heard(stand, both[0][1]) == "switch_closed"
    assert await heard(stand, both[1][1]) == "goes_on"
    assert stand.db.sql("SELECT count(*) FROM byokeep.job WHERE state = 'killed'") == "0"
    stand.db.sql("UPDATE byokeep.job SET secrets = '{openai}' WHERE 'profile' = ANY (secrets)")
    body = EVERYBODY | {"reason": "incident_over"}
    status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", body)
    assert status == 201
    assert (await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "operator"))[0] == 403
    assert (await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver"))[0] == 200
    for client, lease in both:
        assert (await stand.permit(lease, platform="tiktok", lane="browser"))[0] == 201
        assert not await stops(stand, client, lease)


@pytest.mark.req("R7.3-2")
async def test_the_browser_lane_closes_for_one_client(stand: Stand) -> None:
    """Only that client's browsers stop; a client that nobody knows is refused, and nothing closes."""
    (client, lease), (other, other_lease) = await browsing(stand), await browsing(stand)
    for unknown, expected in ((str(uuid4()), 404), ("all", 422), ("", 422), ("*", 422)):
        assert (await close(stand, client_id=unknown, **EVERYBODY))[0] == expected
    assert (await close(stand, client=str(client), **EVERYBODY))[0] == 422  # a name that is misspelt is not "all"
    assert stand.db.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"
    assert (await close(stand, client_id=str(client), **EVERYBODY))[1]["scope"] == f"client:{client}:lane:browser"
    assert await stops(stand, client, lease)
    assert not await stops(stand, other, other_lease)
    assert (await stand.permit(lease, platform="tiktok", lane="browser"))[1]["code"] == "switch_closed"
    assert (await stand.permit(other_lease, platform="tiktok", lane="browser"))[0] == 201
    with_profile(stand, client)
    with_profile(stand, other)
    assert (await heard(stand, lease), await heard(stand, other_lease)) == ("switch_closed", "goes_on")


async def test_the_worker_keeps_its_custody_while_the_lane_is_off(stand: Stand) -> None:
    """The way out of a break-in needs the worker: custody of a profile lives on, and a client's switch ends it."""
    client, lease = await browsing(stand)
    with_profile(stand, client, kind="custody")
    assert (await close(stand, **EVERYBODY))[0] == 200
    assert await heard(stand, lease) == "goes_on"
    assert (await close(stand, client_id=str(client)))[0] == 200
    assert await heard(stand, lease) == "switch_closed"


async def test_people_of_some_clients_close_the_lane_and_do_not_open_it(stand: Stand) -> None:
    """Whoever is assigned to some clients may stop the lane of all, and let none of the others back in."""
    client = await stand.client()
    narrow = stand.subject("operator", "narrow", clients=(client,))
    assert (await close(stand, narrow, **EVERYBODY))[0] == 200
    status, reply = await stand.call(
        "POST", "/v1/switches/open-requests", narrow, EVERYBODY | {"reason": "incident_over"}
    )
    assert (status, reply["code"]) == (403, "not_permitted")
    listed = (await stand.call("GET", "/v1/switches", narrow))[1]["switches"]
    assert {one["scope"]: one["closed"] for one in listed} == {"global": False, "lane:browser": True}


async def test_no_browser_act_is_younger_than_the_closing_of_the_lane(stand: Stand) -> None:
    """Loops ask for permits while the lane closes: not one is issued after the acknowledgement."""
    _, lease = await browsing(stand)
    acked, late, issued = 0.0, 0, 0

    async def loop() -> None:
        nonlocal late, issued
        while True:
            asked = time.monotonic()
            status, reply = await stand.permit(lease, platform="tiktok", lane="browser")
            if status != 201:
                assert reply["code"] == "switch_closed"
                return
            issued += 1
            late += bool(acked) and asked > acked

    loops = [asyncio.create_task(loop()) for _ in range(8)]
    async with asyncio.timeout(60):
        while issued <= 8:
            await asyncio.sleep(0.01)
    assert (await close(stand, **EVERYBODY))[0] == 200
    acked = time.monotonic()
    await asyncio.gather(*loops)
    assert (late, issued > 8) == (0, True)


async def test_a_switch_that_can_not_be_read_closes_the_browser(stand: Stand) -> None:
    """No global switch, another installation's record, a database that is away: the browser may not stay open."""
    client, lease = await browsing(stand)
    stand.db.sql("UPDATE byokeep.switch SET epoch = -1 WHERE scope = 'global'")
    assert await stops(stand, client, lease)
    stand.db.sql("UPDATE byokeep.switch SET epoch = 0 WHERE scope = 'global'")
    assert not await stops(stand, client, lease)

    class Away:
        def __getattr__(self, name: str) -> Any:
            if name == "read":
                raise Unavailable("database_unavailable")
            return getattr(stand.app.db, name)

    runner = Actor(id=stand.people["runner"].id, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())
    with pytest.raises(Unavailable):
        await heartbeat(replace(stand.app, db=Away()), runner, UUID(lease))  # type: ignore[arg-type]


def test_scopes_stand_in_one_order() -> None:
    """An act of the browser lane names that lane between everything and the client; names come back as scopes."""
    client = uuid4()
    scopes = effect_scopes(client, "tiktok", "browser")
    assert scopes == [GLOBAL, "lane:browser", f"client:{client}", f"client:{client}:platform:tiktok",
                      f"client:{client}:lane:browser"]  # fmt: skip
    assert "lane:api" not in effect_scopes(client, "x", "api")
    for scope in scopes:
        found = scope_from_name(scope)
        assert found.name == scope
        assert found.wider == [one for one in scopes if one in found.wider]  # wide to narrow, as everywhere
    assert parse_scope(None, None, "browser").wider == [GLOBAL]
    assert parse_scope(client, None, "browser").wider == [GLOBAL, "lane:browser", f"client:{client}"]
    assert parse_scope(client, None, "api").wider == [GLOBAL, f"client:{client}"]
