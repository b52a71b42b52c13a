"""Rotation of a key: the current version serves until a proved cutover, and the old one ends only when it is dead."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.errors import Unavailable
from byokeep_sim import SimKeyState
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
SKIP = "?skip_rehearsal=true"


async def rotation(desk: Desk, run: str) -> dict[str, Any]:
    status, found = await desk.call("GET", f"/v1/rotations/{run}", "operator")
    assert status == 200, found
    return dict(found)


async def resume(desk: Desk, run: str, accept: str = "", expect: int = 200) -> dict[str, Any]:
    status, found = await desk.call("POST", f"/v1/rotations/{run}/resume", "operator", {"accept": accept})
    assert status == expect, found
    await desk.work()
    return await rotation(desk, run) if expect == 200 else dict(found)


async def served(desk: Desk, client: UUID, provider: str = "openai") -> int:
    """The version that a new job's lease pins."""
    job = await desk.stand.job(client, secrets=[provider])
    version = (await desk.stand.lease(job))["secrets"][provider]["version"]
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher"))[0] == 200
    return int(version)


class Ahead:
    """A clock that is 25 hours fast."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=25)

    def monotonic(self) -> float:
        return time.monotonic()


def later(desk: Desk) -> None:
    """Let the overlap be over, for the workers."""
    desk.worker = replace(desk.worker, clock=Ahead())


async def begun(desk: Desk, client: UUID, query: str = "", provider: str = "openai") -> tuple[bytes, bytes, str, str]:
    """A key that serves and another one that was pasted beside it: both values, the reference, the rotation."""
    old, new = desk.canary(provider), desk.canary(provider)
    first = await desk.onboard(client, old, provider)
    status, second = await desk.put(client, new, provider, query=query)
    assert (status, second["serves"], second["ref"]) == (202, 1, first["ref"]), second
    await desk.work()
    return old, new, first["ref"], second["rotation"]


async def test_a_key_is_rotated_step_by_step(desk: Desk) -> None:
    """The old serves until the cutover and is good until it is revoked; then a call proves that it is dead."""
    client = await desk.stand.client()
    old, _, ref, run = await begun(desk, client)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"], found["waits_for"]) == ("waiting", "not_rehearsed", "person")
    assert f"byokeep rotate resume {run} --accept not_rehearsed" in found["next_step"]
    assert [one["step"] for one in found["steps"]] == ["create", "verify"]
    assert await served(desk, client) == 1
    assert (await desk.ref(ref))["candidate"] == 2
    found = await resume(desk, run, "not_rehearsed")
    assert (found["state"], found["missing"][0], found["waits_for"]) == ("running", "soak", "time")
    assert await served(desk, client) == 2
    later(desk)
    assert (await resume(desk, run))["reason"] == "soak_unknown"
    assert (await resume(desk, run, "soak_unknown"))["reason"] == "revoke_by_hand"
    # Nobody revoked it: what a person says is not believed.
    found = await resume(desk, run, "revoke_by_hand")
    assert (found["state"], found["reason"], found["missing"]) == (
        "waiting",
        "old_key_alive",
        ["prove_dead", "destroy"],
    )
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    found = await resume(desk, run)
    assert (found["state"], found["missing"]) == ("complete", [])
    assert (await desk.ref(ref))["id"] == ref
    assert await desk.web.intake.live_versions(desk_place(client)) == [2]
    assert await served(desk, client) == 2


def desk_place(client: UUID) -> Any:
    from byokeep.core.model import ClientId, Provider
    from byokeep.core.ref import SecretRef

    return SecretRef(ClientId(client), Provider.OPENAI)


@pytest.mark.parametrize("state", ["revoked", "rate_limited"])
async def test_a_value_that_is_not_proved_changes_nothing_and_another_one_follows(desk: Desk, state: str) -> None:
    """A typo, or a provider that limits calls, stops the rotation with its reason; the next value joins the run."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    _, second = await desk.put(client, desk.canary(state=state), query=SKIP)
    await desk.work()
    for _ in range(5):
        await desk.retry_now()
    found = await rotation(desk, second["rotation"])
    reason = "invalid_key" if state == "revoked" else state
    assert (found["state"], found["reason"], found["missing"][0]) == ("failed", reason, "verify")
    assert await served(desk, client) == 1
    _, third = await desk.put(client, desk.canary(state="valid"), query=SKIP)
    assert (third["rotation"], third["version"], third["serves"]) == (second["rotation"], 3, 1)
    await desk.work()
    found = await rotation(desk, second["rotation"])
    assert (found["version"], found["missing"][0]) == (3, "soak")
    assert await served(desk, client) == 3
    assert (await desk.ref(first["ref"]))["version"] == 3


async def test_another_accounts_key_waits_for_a_person(desk: Desk) -> None:
    """A foreign account's good key serves nobody before somebody says that it is meant; that is on record."""
    client = await desk.stand.client()
    await desk.onboard(client)
    _, second = await desk.put(client, desk.canary(account="other"), query=SKIP)
    await desk.work()
    found = await rotation(desk, second["rotation"])
    assert (found["state"], found["reason"]) == ("waiting", "other_account")
    assert await served(desk, client) == 1
    assert (await resume(desk, second["rotation"], "not_rehearsed", 409))["code"] == "nothing_to_accept"
    assert (await resume(desk, second["rotation"], "other_account"))["missing"][0] == "soak"
    assert await served(desk, client) == 2


async def test_a_provider_that_tells_no_account_is_rotated_too(desk: Desk) -> None:
    """Where nobody can compare accounts the rotation goes on and says so."""
    client = await desk.stand.client()
    run = (await begun(desk, client, SKIP, "kie"))[3]
    assert (await rotation(desk, run))["missing"][0] == "soak"
    said = desk.sql(
        "SELECT convert_from(payload, 'UTF8')::jsonb #>> '{fields,cause}' FROM byokeep.audit_record"
        " WHERE event = 'key.rotation' AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'verify'"
    )
    assert said == "account_not_told"


@pytest.mark.req("R6.2-10")
async def test_one_rotation_of_a_key_at_a_time(desk: Desk) -> None:
    """A second start and a second value are refused, also of two at the same moment; nothing of the value is stored."""
    client = await desk.stand.client()
    first = await desk.onboard(client, desk.canary())
    path = f"/v1/refs/{first['ref']}/rotations"
    codes = sorted(
        [status for status, _ in await asyncio.gather(*(desk.call("POST", path, "operator", {}) for _ in range(4)))]
    )
    assert codes == [201, 409, 409, 409]
    run = (await desk.call("GET", path, "operator"))[1]["rotations"][0]["id"]
    assert (await rotation(desk, run))["waits_for"] == "person"
    status, second = await desk.put(client, desk.canary(), query=SKIP)
    assert (status, second["rotation"]) == (202, run), second
    await desk.work()
    status, refused = await desk.put(client, desk.canary())
    assert (status, refused["code"]) == (409, "rotation_in_flight")
    assert await desk.web.intake.live_versions(desk_place(client)) == [1, 2]
    with pytest.raises(Unavailable):  # of the database
        desk.sql("INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)"
                 " SELECT gen_random_uuid(), client_id, procedure, object_id, asked_by, started_by"
                 " FROM byokeep.procedure_run WHERE procedure = 'rotate_key'")  # fmt: skip


async def test_an_abort_takes_the_new_value_away(desk: Desk) -> None:
    """Before the cutover: the old goes on serving, the new one is gone from the store, another rotation may begin."""
    client = await desk.stand.client()
    _, _, ref, run = await begun(desk, client)
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[1]["code"] == "not_cut_over"
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    assert (await rotation(desk, run))["state"] == "aborted"
    found = await desk.ref(ref)
    assert (found["version"], found["candidate"], found["verification"]) == (1, None, "verified")
    assert await desk.web.intake.live_versions(desk_place(client)) == [1]
    assert await served(desk, client) == 1
    assert (await desk.put(client, desk.canary()))[1]["rotation"] != run


async def test_a_rollback_pins_the_old_version_until_it_is_dead(desk: Desk) -> None:
    """After the cutover the old one is back with one call and its due date; one that is dead is never pinned again."""
    client = await desk.stand.client()
    old, _, ref, run = await begun(desk, client)
    before = await desk.ref(ref)
    await resume(desk, run, "not_rehearsed")
    assert await served(desk, client) == 2
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[1]["code"] == "cut_over_already"
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    assert (await rotation(desk, run))["state"] == "aborted"
    assert await desk.ref(ref) == before | {"candidate": None}
    assert await served(desk, client) == 1
    value = desk.canary()
    again = (await desk.put(client, value, query=SKIP))[1]["rotation"]
    await desk.work()
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    assert (await desk.call("POST", f"/v1/rotations/{again}/rollback", "operator"))[0] == 200
    await desk.work()
    assert await served(desk, client) == 3
    assert "rollback_impossible" in desk.stand.alerts()


@pytest.mark.req("R6.2-5")
async def test_the_old_ends_after_the_jobs_that_hold_it_and_only_by_a_refusal(desk: Desk) -> None:
    """Asked to end now, it waits for a job that was given it; a provider that is down proves nothing."""
    client = await desk.stand.client()
    old, new = desk.canary(), desk.canary()
    await desk.onboard(client, old)
    job = await desk.stand.job(client)
    await desk.stand.lease(job)
    run = (await desk.put(client, new, query=SKIP + "&old_ends=now"))[1]["rotation"]
    await desk.work()
    assert await served(desk, client) == 2
    assert (await rotation(desk, run))["missing"][0] == "revoke"
    await desk.retry_now(1)
    assert (await rotation(desk, run))["missing"][0] == "revoke"
    await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    desk.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '10 seconds'")
    await desk.retry_now(1)
    assert (await rotation(desk, run))["reason"] == "revoke_by_hand"
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 503, "times": 50})
    found = await resume(desk, run, "revoke_by_hand")
    assert (found["state"], found["missing"][0]) == ("running", "prove_dead")
    desk.sim.faults.clear()
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    await desk.retry_now()
    assert (await rotation(desk, run))["state"] == "complete"
    status, late = await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator")
    assert (status, late["code"]) == (409, "procedure_goes_on")
