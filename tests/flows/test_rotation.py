"""Rotation of a key: the current version serves until a proved cutover, and the old one ends only when it is dead."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.providers.issuer import ProviderIssuer
from byokeep.core.errors import Conflict, Denied, Unavailable
from byokeep.core.events import Outcome
from byokeep.core.model import Provider
from byokeep.core.procedure import Run
from byokeep.core.secret import Secret
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from byokeep.keys import mint, old_version
from byokeep.keys.onboard import sweep_orphans
from byokeep.operations.notify import NotifyApp, remind
from byokeep.wire import fingerprints
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from byokeep.worker.ports import LeasedValues
from byokeep_sim import SimKeyState
from tests.flows.test_webhook_secrets import put as webhook_put
from tests.support.broker import reconciled
from tests.support.console import Visit
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
SKIP = "?skip_rehearsal=true"
RETIRED = {"to": "deactivated", "reason": "by_hand"}


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
    visit = Visit(desk)
    await visit.sign_in("operator")
    shown = (await visit.get("/console")).text
    assert ("Rotation of a key waits for a person" in shown, "Failed" in shown) == (True, False)
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
    assert (found["state"], found["missing"], found["version"], found["from_version"]) == ("complete", [], 2, 1)
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
    _, second = await desk.put(client, desk.canary(state=state), query=SKIP + "&old_ends=1h")
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
    kept = f"SELECT facts->>'grace_s' FROM byokeep.procedure_run WHERE id = '{found['id']}'"  # noqa: S608
    assert desk.sql(kept) == "3600"  # the second value said nothing of the old key's end
    assert await served(desk, client) == 3
    assert (await desk.ref(first["ref"]))["version"] == 3


@pytest.mark.parametrize("by", ["pasted", "minted"])
async def test_values_that_come_to_nothing_push_out_no_key_that_serves(desk: Desk, by: str) -> None:
    """The store keeps twenty versions of a place: writes that were cut off, values that were refused and keys that were
    made use them up, and the key in use is read all the same."""
    since, client = desk.stand.app.clock.now(), await desk.stand.client()
    old, place = desk.canary("openrouter"), replace(desk_place(client), provider=Provider.OPENROUTER)
    ref = (await desk.onboard(client, old, "openrouter"))["ref"]
    await administered(desk, client, "openrouter")
    for newest in range(1, 20):
        await desk.web.intake.put(place, Secret("cut off"), cas=newest)
    for state in ("revoked", "revoked", "valid") if by == "pasted" else ():
        status, added = await desk.put(client, desk.canary("openrouter", state=state), "openrouter")
        assert status == 202, added
        await desk.work()
    if by == "minted":
        await minted(desk, ref, skip_rehearsal=False)
    assert await desk.web.intake.current_version(place) == (23 if by == "pasted" else 21)
    job = await desk.stand.job(client, secrets=["openrouter"])
    lease = await desk.stand.lease(job)
    async with BaoHttp(lease["store"]["address"]) as store:
        jwt, role, lease_id = Secret(lease["jwt"]), lease["store"]["roles"]["openrouter"], lease["lease_id"]
        token = await lease_login(store, jwt, role, lease_id=lease_id)
        assert (await read_secret(store, token, place.path, 1, lease_id)).reveal() == old
    stated = await reconciled(desk.stand, since)
    assert {one.reason for one in stated.findings} == {"write_unexplained"}  # those that were cut off before a record


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
    facts = "facts || '{\"accept_other_account\": 1}'"  # no row says what a person accepted
    desk.sql(f"UPDATE byokeep.procedure_run SET facts = {facts} WHERE id = '{second['rotation']}'")  # noqa: S608
    assert (await resume(desk, second["rotation"]))["reason"] == "other_account"
    # Another value joins the run instead; the foreign one is gone from the store once somebody has said what it is for.
    _, third = await desk.put(client, desk.canary(), query=SKIP + "&old_ends=now")
    assert (third["rotation"], third["version"]) == (second["rotation"], 3)
    await desk.work()
    assert await served(desk, client) == 3
    desk.sim.book.keys.put("openai", desk.canaries[0].value.decode(), SimKeyState.REVOKED, None)
    desk.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '10 seconds'")
    later(desk)
    for accepted in ("", "soak_unknown", "revoke_by_hand"):
        found = await rotation(desk, second["rotation"])
        await resume(desk, second["rotation"], accepted if found["reason"] == accepted else "")
    assert (await rotation(desk, second["rotation"]))["state"] == "complete"
    task = (await unused(desk, second["ref"]))["id"]  # alive at its provider: a person says what becomes of it
    assert await desk.web.intake.live_versions(desk_place(client)) == [2, 3]
    assert (await hand_on(desk, task))["reason"] == "revoke_by_hand"
    assert (await resume(desk, task, "stays_alive"))["state"] == "complete"
    assert await desk.web.intake.live_versions(desk_place(client)) == [3]
    _, fourth = await desk.put(client, desk.canary(account="other"), query=SKIP)
    await desk.work()
    assert (await resume(desk, fourth["rotation"], "other_account"))["missing"][0] == "soak"
    assert await served(desk, client) == 4


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


@pytest.mark.req("R6.2-9")
async def test_an_abort_takes_the_new_value_away(desk: Desk) -> None:
    """Before the cutover: the old goes on serving, the new one is gone from the store, another rotation may begin."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client)
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[1]["code"] == "not_cut_over"
    desk.sim.book.keys.put("openai", new.decode(), SimKeyState.REVOKED, None)  # else it is ended there first
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    assert (await rotation(desk, run))["state"] == "aborted"
    found = await desk.ref(ref)
    assert (found["version"], found["candidate"], found["verification"]) == (1, None, "verified")
    assert await served(desk, client) == 1
    assert await desk.web.intake.live_versions(desk_place(client)) == [1]
    assert (await desk.put(client, desk.canary()))[1]["rotation"] != run


async def test_a_value_whose_destruction_was_cut_off_is_told_as_destroyed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies when the store has destroyed a key's value: the next one puts that on record."""
    client = await desk.stand.client()
    old, _, _, run = await begun(desk, client, SKIP)
    later(desk)
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    whole, dies = old_version.record, [True]

    async def dying(*given: Any, **said: Any) -> Any:
        if said["outcome"] is Outcome.OK and dies and dies.pop():
            raise Unavailable("killed")
        return await whole(*given, **said)

    monkeypatch.setattr(old_version, "record", dying)
    await resume(desk, run)
    await resume(desk, run, "soak_unknown")
    await resume(desk, run, "revoke_by_hand")
    assert await desk.web.intake.live_versions(desk_place(client)) == [2]
    await desk.retry_now(2)
    assert (dies, (await rotation(desk, run))["state"]) == ([], "complete")
    told = [json.loads(one)["outcome"] for one in desk.stand.events("key.destroyed")]
    assert told == ["intended", "ok"]


async def test_a_rollback_pins_the_old_version_until_it_is_dead(desk: Desk) -> None:
    """After the cutover the old one is back with one call and its due date; one that is dead is never pinned again."""
    client = await desk.stand.client()
    old, _, ref, run = await begun(desk, client)
    before = await desk.ref(ref)
    await resume(desk, run, "not_rehearsed")
    assert await served(desk, client) == 2
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[1]["code"] == "cut_over_already"
    wish = {"days": 30, "reason": "client_wish"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/interval", "operator", wish))[0] == 200
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    assert (await rotation(desk, run))["state"] == "aborted"
    back = await desk.ref(ref)
    age = "SELECT rotation_due_at - created_at = interval '30 days' FROM byokeep.credential_ref"
    assert desk.sql(f"{age} WHERE id = '{ref}'") == "t"  # as was chosen in the overlap
    assert {name for name in back if back[name] != before[name]} <= {"candidate", "rotation_due_at", "rotation_days"}
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
    """Asked to end now, it waits for a job that was given it; a provider that is down, or refuses everybody, proves
    nothing; then its value is gone."""
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
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 403, "times": 50})
    await desk.retry_now()
    found = await rotation(desk, run)
    assert (found["reason"], found["missing"][0]) == ("old_key_not_proved", "prove_dead")
    shown = (await desk.call("GET", f"/v1/procedures/{run}", "operator"))[1]["next_step"]
    assert shown == f"It stopped: old_key_not_proved. How to continue: `byokeep rotate status {run}`."
    desk.sim.faults.clear()
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, run))["state"] == "complete"
    assert await desk.web.intake.live_versions(desk_place(client)) == [2]
    status, late = await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator")
    assert (status, late["code"]) == (409, "procedure_over")


PLACES = {
    "openai": "project=proj_1,account=svc_1", "google": "project=p-1,account=byokeep", "openrouter": "",
    "anthropic": "",
}  # fmt: skip


async def administered(desk: Desk, client: UUID, provider: str) -> None:
    """The client's administrator key is in the store, and the vendor knows it."""
    value = f"admin-{provider}-{client.hex}".encode()
    desk.sim.book.keys.put(provider, value.decode(), SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{client}/providers/{provider}/admin?at={PLACES[provider]}"
    status, reply = await desk.call("PUT", path, "operator", raw=value)
    assert (status, reply["kind"], reply["purpose"]) == (201, "provider_admin_key", "admin"), reply


async def test_where_keys_are_holds_no_key_and_a_leaked_admin_key_is_named_as_one(desk: Desk) -> None:
    """A key that was pasted as a place is refused, on record without it; who finds an administrator's key reads so."""
    client, slip = await desk.stand.client(), "sk-or-1a2b3c"
    path = f"/v1/clients/{client}/providers/openai/admin?at=project={slip}"
    status, refused = await desk.call("PUT", path, "operator", raw=b"admin-key-of-the-client")
    assert (status, refused["code"]) == (422, "bad_provider_place")
    assert slip not in desk.sql("SELECT string_agg(convert_from(payload, 'UTF8'), ' ') FROM byokeep.audit_record")
    # Nor is one taken that a rotation could not use: a name that is misspelt, or only half of what the calls need.
    for at, step in (("project=p,acount=svc", "project=ID,account=ID"), ("project=p", "project=ID,account=ID"),
                     ("project=p,account=me@p.example", "before the @")):  # fmt: skip
        path = f"/v1/clients/{client}/providers/openai/admin?at={at}"
        status, refused = await desk.call("PUT", path, "operator", raw=b"admin-key-of-the-client")
        assert (status, refused["code"]) == (422, "bad_provider_place"), at
        assert step in refused["next_step"]
    path = f"/v1/clients/{client}/providers/openrouter/admin?at=workspace_id=ws-1"
    status, refused = await desk.call("PUT", path, "operator", raw=b"admin-key-of-the-client")
    assert (status, refused["next_step"]) == (422, "Leave it out: this provider has none.")
    await administered(desk, client, "openai")
    status, found = await desk.call("GET", "/v1/leaks/fingerprints", desk.stand.subject("auditor"))
    assert {row["label"].partition(" ref=")[0] for row in found["fingerprints"]["digests"]} == {"openai/admin v1"}


async def test_what_cannot_be_an_accounts_administrator_key_takes_no_place(desk: Desk) -> None:
    """Another provider's key, a slip and a first key without its place are refused; a later one keeps the place."""
    client = await desk.stand.client()
    path = f"/v1/clients/{client}/providers/{{}}/admin"
    for provider, value, code in (
        ("openrouter", desk.canary("openai"), "format_mismatch"), ("openrouter", b"hello", "bad_admin_key"),
        ("openai", b"admin-key-of-the-client", "bad_provider_place"),
    ):  # fmt: skip
        status, refused = await desk.call("PUT", path.format(provider), "operator", raw=value)
        assert (status, refused["code"]) == (422, code), refused
        assert code != "bad_admin_key" or "administrator key" in refused["next_step"]
    await administered(desk, client, "openai")
    assert (await desk.call("PUT", path.format("openai"), "operator", raw=desk.canary("openrouter")))[0] == 422
    assert (await desk.call("PUT", path.format("openai"), "operator", raw=b"next-key-of-the-client"))[0] == 201
    kept = desk.sql("SELECT version, provider_place FROM byokeep.credential_ref WHERE purpose = 'admin'").strip()
    assert kept == f"2|{PLACES['openai']}"


def keys_of(desk: Desk, provider: str) -> list[str]:
    """The states of the account's keys at the vendor."""
    return sorted(str(one.state) for one in desk.sim.book.keys.of_account(provider, "acme"))


async def minted(desk: Desk, ref: str, **wish: Any) -> str:
    body = {"mint": True, "skip_rehearsal": True, "old_ends": "now", **wish}
    status, begun = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", body)
    assert status == 201, begun
    await desk.work()
    return str(begun["id"])


async def test_a_minted_key_that_was_taken_back_ends_after_the_jobs_that_hold_it(desk: Desk) -> None:
    """A job was given the new key and the rotation is rolled back: the key lives at the provider until the job ends."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    run = await minted(desk, first["ref"], old_ends="24h")
    job = await desk.stand.job(client, secrets=["openrouter"])
    assert (await desk.stand.lease(job))["secrets"]["openrouter"]["version"] == 2
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    assert await served(desk, client, "openrouter") == 1
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("undoing", ["valid", "valid"])
    await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    await desk.retry_now(1)
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("aborted", ["revoked", "valid"])
    assert await served(desk, client, "openrouter") == 1


@pytest.mark.req("R11.3-1")
@pytest.mark.parametrize("provider", ["openrouter", "openai", "google"])
async def test_a_key_is_made_and_ended_at_its_provider(desk: Desk, provider: str) -> None:
    """With an administrator's key a whole rotation runs by itself; the old key is dead and nothing is left over."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider=provider)
    status, refused = await desk.call("POST", f"/v1/refs/{first['ref']}/rotations", "operator", {"mint": True})
    assert (status, refused["code"]) == (422, "cannot_mint")
    await administered(desk, client, provider)
    desk.sim.book.late = provider == "openai"  # it takes a key a while after it has ended it
    run = await minted(desk, first["ref"])
    if provider == "openai":
        found = await rotation(desk, run)
        assert (found["state"], found["missing"], desk.stand.alerts()) == ("running", ["prove_dead", "destroy"], [])
        await desk.retry_now(1)
    found = await rotation(desk, run)
    if provider == "google":  # it lists no part of a value, so nobody can tell which one was pasted
        assert found["reason"] == "revoke_by_hand"
    else:
        assert (found["state"], found["missing"], keys_of(desk, provider)) == ("complete", [], ["revoked", "valid"])
    if provider == "openai":  # it ends by itself, some weeks after it is due
        assert list(desk.sim.book.lives_s.values()) == [120 * 86_400]
    assert await served(desk, client, provider) == 2
    _, prints = await desk.call("GET", "/v1/leaks/fingerprints", desk.stand.subject("auditor"))
    assert prints["unknown"] == []
    assert any(one["label"].startswith(f"{provider} v2 ") for one in prints["fingerprints"]["digests"])
    assert (await desk.ref(first["ref"]))["id"] == first["ref"]
    ends = (await desk.ref(first["ref"]))["expires_at"]
    assert (ends is not None) == (provider == "openai")
    if ends is not None:
        assert timedelta(days=119) < datetime.fromisoformat(ends) - datetime.now(UTC) <= timedelta(days=120)
        again = (await desk.put(client, desk.canary(), query=SKIP))[1]["rotation"]
        await desk.work()
        assert (await desk.ref(first["ref"]))["expires_at"] is None  # a pasted one tells no end
        assert (await desk.call("POST", f"/v1/rotations/{again}/rollback", "operator"))[0] == 200
        await desk.work()
        assert (await desk.ref(first["ref"]))["expires_at"] == ends
        # Past its end it serves nobody, and another one is made all the same.
        past = "SET session_replication_role = replica; UPDATE byokeep.credential_ref SET expires_at = now()"
        desk.sql(f"{past} WHERE id = '{first['ref']}'")
        job = await desk.stand.job(client)
        assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
        await minted(desk, first["ref"])
        assert await served(desk, client, provider) == 4
        assert (await desk.ref(first["ref"]))["expires_at"] > ends


async def test_what_was_minted_is_known_by_its_id(desk: Desk) -> None:
    """A Gemini key that was made here is ended by its id: its provider lists no part of it."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="google")
    await administered(desk, client, "google")
    run = await minted(desk, first["ref"])
    desk.sim.book.keys.put("google", desk.canaries[0].value.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, run, "revoke_by_hand"))["state"] == "complete"
    assert (await rotation(desk, await minted(desk, first["ref"])))["state"] == "complete"
    assert keys_of(desk, "google") == ["revoked", "revoked", "valid"]


async def test_a_rotation_with_an_administrators_key_is_explained(desk: Desk) -> None:
    """Its storing and reading are byokeep's own: the log of the store shows nothing that must be called tampering."""
    since, client = desk.stand.app.clock.now(), await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    assert (await rotation(desk, await minted(desk, first["ref"])))["state"] == "complete"
    stated = await reconciled(desk.stand, since)
    assert (stated.state, stated.findings) == ("clean", ()), stated


async def test_the_first_key_of_a_google_project_is_made_there(desk: Desk) -> None:
    """The project lists no key as yet, which leaves the list out; the new one is bound to a service account."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client, desk.canary("google", account="elsewhere"), "google"))["ref"]
    await administered(desk, client, "google")
    run = await minted(desk, ref)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"], keys_of(desk, "google")) == ("waiting", "revoke_by_hand", ["valid"])


async def test_the_old_one_is_switched_off_at_anthropic(desk: Desk) -> None:
    """The client pastes the new key; the old one is found by its label and set inactive."""
    client = await desk.stand.client()
    await administered(desk, client, "anthropic")
    run = (await begun(desk, client, SKIP + "&old_ends=now", "anthropic"))[3]
    assert ((await rotation(desk, run))["state"], keys_of(desk, "anthropic")) == ("complete", ["disabled", "valid"])


@pytest.mark.parametrize("shown", ["", "as the new one", "little"])
async def test_a_key_that_nobody_can_tell_from_another_is_ended_by_a_person(desk: Desk, shown: str) -> None:
    """Of an account with many keys every page is read; a label that fits the key in use too, or shows little beyond
    what all keys begin with, names none: nothing is ended."""
    desk.sim.book.page = 2
    client, keys = await desk.stand.client(), desk.sim.book.keys
    await administered(desk, client, "openrouter")
    for number in range(5):
        keys.put("openrouter", f"sk-or-v1-{client.hex}{number:032x}", SimKeyState.VALID, "acme")
    old, new = desk.canary("openrouter"), desk.canary("openrouter")
    at, text = ("openrouter", keys.digest(old.decode())), old.decode()
    if shown == "as the new one":
        new = old[:16] + new[16:-4] + old[-4:]
        there = keys.put("openrouter", new.decode(), SimKeyState.VALID, "acme")
        keys._known["openrouter", keys.digest(new.decode())] = replace(there, hint="...")
    elif shown:
        keys._known[at] = replace(keys._known[at], hint=f"{text[:12]}...{text[-2:]}")
    alive = keys_of(desk, "openrouter").count("valid")
    await desk.onboard(client, old, "openrouter")
    _, second = await desk.put(client, new, "openrouter", query=SKIP + "&old_ends=now")
    await desk.work()
    found = await rotation(desk, second["rotation"])
    assert (found["state"], found["reason"]) == (("waiting", "revoke_by_hand") if shown else ("complete", ""))
    assert alive - keys_of(desk, "openrouter").count("valid") == (0 if shown else 1)


@pytest.mark.req("R11.3-4")
async def test_a_refused_administrators_key_pauses_the_rotation_and_nothing_takes_its_place(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is apart from the keys of jobs, and the one key that is tried, on record before each call: revoked at the
    provider it stops the rotation with an alert, the key in use serves, and nothing else is asked until another one is
    given."""
    client = await desk.stand.client()
    value = desk.canary("openrouter")
    first = await desk.onboard(client, value, "openrouter")
    await administered(desk, client, "openrouter")
    path = f"/v1/clients/{client}/providers/openrouter/admin?at="
    status, refused = await desk.call("PUT", path, "operator", raw=value)
    assert (status, refused["code"]) == (422, "admin_key_serves")
    # Nor the other way round: the administrator's key is given to no job, as its first key or in another one's place.
    for at in (client, await desk.stand.client()):
        admins = desk.canary("openrouter", state="")
        path_ = f"/v1/clients/{at}/providers/openrouter/admin?at="
        assert (await desk.call("PUT", path_, "operator", raw=admins))[0] == 201
        status, refused = await desk.put(at, admins, "openrouter")
        assert (status, refused["code"]) == (422, "admin_key_serves")
    # The client gives another one; the one before lives on at the provider, and that one is revoked.
    before, second = f"admin-openrouter-{client.hex}", f"second-openrouter-{client.hex}"
    desk.sim.book.keys.put("openrouter", second, SimKeyState.REVOKED, "acme")
    assert (await desk.call("PUT", path, "operator", raw=second.encode()))[0] == 201
    desk.sim.book.log.entries.clear()
    found = await rotation(desk, await minted(desk, first["ref"]))
    for _ in range(3):
        await desk.retry_now(1)
        await procedures.go_on(desk.worker)
    assert (found["state"], found["reason"], found["missing"][0]) == ("failed", "admin_key_refused", "create")
    assert desk.stand.alerts().count("admin_key_refused") == 1
    assert (await served(desk, client, "openrouter"), keys_of(desk, "openrouter")) == (1, ["revoked", "valid"])
    asked = [one for one in desk.sim.book.log.entries if "/api/v1/keys" in one["path"]]
    assert [one["auth"]["hash"] for one in asked] == [desk.sim.book.keys.digest(second)]
    # It is good again, and the rotation goes on; each use stands on record before the call.
    desk.sim.book.keys.put("openrouter", before, SimKeyState.REVOKED, "acme")
    desk.sim.book.keys.put("openrouter", second, SimKeyState.MANAGEMENT, "acme")
    whole, on_record = desk.worker.issuer.revoke, list[list[str]]()

    def calls() -> list[str]:
        return [json.loads(one)["fields"]["stage"] for one in desk.stand.events("key.rotation", "intended")]

    async def looked_at(*given: Any) -> None:
        on_record.append(calls())
        await whole(*given)

    monkeypatch.setattr(desk.worker.issuer, "revoke", looked_at)
    found = await resume(desk, found["id"])
    assert (found["state"], await served(desk, client, "openrouter")) == ("complete", 2)
    assert calls() == ["mint_call", "revoke_call"]
    assert on_record == [calls()]


@pytest.mark.req("R11.3-3")
@pytest.mark.parametrize("cause", ["admin_key_refused", "provider_admin_unreachable"])
async def test_an_administration_that_ends_nothing_leaves_it_to_a_person(desk: Desk, cause: str) -> None:
    """It refuses the administrator's key, or is away time and again: people are told, and a person revokes by hand."""
    client = await desk.stand.client()
    await administered(desk, client, "openrouter")
    if cause == "admin_key_refused":
        admin = f"admin-openrouter-{client.hex}"
        desk.sim.book.keys.put("openrouter", admin, SimKeyState.REVOKED, "acme")
    else:
        desk.sim.faults.add(
            {"provider": "openrouter", "kind": "status", "status": 503, "match": {"path": "/api/v1/keys"}, "times": 50}
        )
    run = (await begun(desk, client, SKIP + "&old_ends=now", "openrouter"))[3]
    for _ in range(6):
        await desk.retry_now(1)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"]) == ("waiting", "revoke_by_hand")
    assert "revocation_refused" in desk.stand.alerts()
    failed = desk.sql(
        "SELECT count(*) FROM byokeep.audit_record WHERE event = 'key.rotation' AND outcome = 'failed'"  # noqa: S608
        f" AND convert_from(payload, 'UTF8')::jsonb #>> '{{fields,cause}}' = '{cause}'"
    )
    assert failed == ("1" if cause == "admin_key_refused" else "5")
    assert (await resume(desk, run, "revoke_by_hand"))["reason"] == "old_key_alive"


async def test_a_rollback_that_is_refused_waits_for_a_person(desk: Desk) -> None:
    """The administrator's key is refused while a minted key is taken back: told once, gone on with when resumed."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    run, admin = await minted(desk, first["ref"], skip_rehearsal=False), f"admin-openrouter-{client.hex}"
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.REVOKED, "acme")
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    for _ in range(3):
        await desk.retry_now(1)
        await procedures.go_on(desk.worker)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"], found["waits_for"]) == ("undoing", "admin_key_refused", "person")
    assert "undo_refused" in desk.stand.alerts()
    assert desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'procedure.stepped'") == "2"
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.MANAGEMENT, "acme")
    assert (await resume(desk, run))["state"] == "aborted"
    assert keys_of(desk, "openrouter") == ["revoked", "valid"]


@pytest.mark.req("R11.3-3")
async def test_keys_that_are_made_and_never_arrive_are_not_made_for_ever(desk: Desk) -> None:
    """The provider makes a key and breaks off, each time: after five the rotation stops with an alert."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    desk.sim.faults.add(
        {"provider": "openrouter", "kind": "reset", "match": {"method": "POST"}, "when": "after", "times": 50}
    )
    run = await minted(desk, first["ref"])
    for _ in range(8):
        await procedures.wake(desk.worker, await one_run(desk, run))
        await desk.retry_now(1)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"], desk.sim.book.minted) == ("failed", "mint_gave_up", 5)
    assert keys_of(desk, "openrouter").count("valid") == 1
    assert "mint_gave_up" in desk.stand.alerts()


async def test_a_leak_ends_what_a_rotation_made_that_it_takes_the_place_of(desk: Desk) -> None:
    """A key was minted and waits for its cutover when the one in use leaks: both end at the provider."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    await minted(desk, first["ref"], skip_rehearsal=False)
    assert keys_of(desk, "openrouter") == ["valid", "valid"]
    status, _ = await desk.call("POST", f"/v1/refs/{first['ref']}/rotations", "operator", {"leaked": True})
    assert status == 201
    await desk.work()
    assert keys_of(desk, "openrouter") == ["revoked", "revoked"]


@pytest.mark.req("R11.3-3")
async def test_a_mint_whose_answer_is_lost_leaves_no_key_behind(desk: Desk) -> None:
    """The provider made a key and the answer broke off: the next attempt ends that one before it makes another."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    desk.sim.faults.add(
        {"provider": "openrouter", "kind": "reset", "match": {"method": "POST"}, "when": "after", "times": 2}
    )
    run = await minted(desk, first["ref"])
    assert (await rotation(desk, run))["missing"][0] == "create"
    assert await served(desk, client, "openrouter") == 1
    for _ in range(3):
        await desk.retry_now(1)
    assert (await rotation(desk, run))["state"] == "complete"
    assert keys_of(desk, "openrouter").count("valid") == 1


async def to_be_minted(desk: Desk) -> tuple[UUID, str]:
    """A client with a key and an administrator's key at its provider; returns the client and the key's reference."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    await administered(desk, client, "openrouter")
    return client, ref


def overtaken(desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str, own: str, then: Callable[[], None]) -> None:
    """Have the first worker stall in a call, before its own is made or after, or until the second one makes its own;
    another takes its step up meanwhile."""
    owner: Any = LeasedValues if call == "write" else ProviderIssuer
    whole, late, came = getattr(owner, call), list[Any](), list[Any]()

    async def stalled(*given: Any, **more: Any) -> Any:
        late.append((given, more))
        if len(late) == 2 and own == "between":
            came.append(await whole(*late[0][0], **late[0][1]))
        if len(late) > 1:
            return await whole(*given, **more)
        if own == "before":
            came.append(await whole(*given, **more))
        run = UUID(desk.sql("SELECT id FROM byokeep.procedure_run WHERE procedure = 'rotate_key_minted'"))
        with suppress(Conflict):
            await procedures.resume(desk.worker, desk.worker.system(), run)
        then()
        return came[0] if came else await whole(*given, **more)

    monkeypatch.setattr(owner, call, stalled)


OVERTAKEN = [("keys", "after"), ("mint", "before"), ("mint", "after"), ("write", "before"), ("write", "after"),
             ("write", "between")]  # fmt: skip


@pytest.mark.parametrize(("call", "own"), OVERTAKEN)
async def test_a_mint_that_two_workers_do_at_once_leaves_one_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str, own: str
) -> None:
    """One stalls and another takes its step up: what comes of the first is ended, and nothing of the second, with whose
    key the rotation goes on; if the first one's value takes the place of the second's, neither key lives."""
    client, ref = await to_be_minted(desk)
    overtaken(desk, monkeypatch, call, own, lambda: None)
    run = await minted(desk, ref)
    if own == "between":
        assert ((await rotation(desk, run))["reason"], keys_of(desk, "openrouter")) == (
            "stale_version", ["revoked", "revoked", "valid"],
        )  # fmt: skip
        await resume(desk, run)
    await desk.retry_now(2)
    found = await rotation(desk, run)
    assert (found["state"], keys_of(desk, "openrouter")[-2:]) == ("complete", ["revoked", "valid"])
    assert await served(desk, client, "openrouter") == found["version"]
    assert "revocation_refused" not in desk.stand.alerts()


async def test_a_key_of_an_overtaken_mint_that_cannot_be_ended_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider is away when a stalled worker ends what it was given: no other attempt looks, so people are told."""
    _, ref = await to_be_minted(desk)
    away = {"provider": "openrouter", "kind": "reset", "match": {"method": "DELETE"}}
    overtaken(desk, monkeypatch, "mint", "after", lambda: desk.sim.faults.add(away))
    await minted(desk, ref, skip_rehearsal=False)
    assert (keys_of(desk, "openrouter"), "revocation_refused" in desk.stand.alerts()) == (["valid"] * 3, True)


@pytest.mark.parametrize("away", [False, True])
async def test_a_made_key_whose_step_is_cut_off_is_ended_at_once_or_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """The store hangs until the step's time is over: no key waits at the provider for what comes next, and where it
    refuses that end, too, people are told; the next attempt ends it."""
    _, ref = await to_be_minted(desk)
    whole, limits, timeout = LeasedValues.write, list[asyncio.Timeout](), asyncio.timeout

    def limited(delay: float | None) -> asyncio.Timeout:
        limits.extend([timeout(delay)])
        return limits[-1] if delay == procedures.STEP_LIMIT_S else limits.pop()

    async def hangs(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(LeasedValues, "write", whole)
        if away:
            desk.sim.faults.add({"provider": "openrouter", "kind": "reset", "match": {"method": "DELETE"}, "times": 1})
        limits[-1].reschedule(0)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "timeout", limited)
    monkeypatch.setattr(LeasedValues, "write", hangs)
    run = await minted(desk, ref)
    assert keys_of(desk, "openrouter") == (["valid", "valid"] if away else ["revoked", "valid"])
    assert ("revocation_refused" in desk.stand.alerts()) is away
    for _ in range(3):
        await desk.retry_now(1)
    assert (await rotation(desk, run))["state"] == "complete"
    assert keys_of(desk, "openrouter").count("valid") == 1


async def until_one_waits(desk: Desk, by: asyncio.Task[Any]) -> None:
    """Wait until a session waits for another's lock, or a task is over."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while not by.done() and desk.sql(waits) == "0":
        await asyncio.sleep(0.01)


async def test_a_key_that_is_called_compromised_while_another_one_is_put_down(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls it so waits for the worker, which waits for nobody: nothing is refused, and the new key ends."""
    _, ref = await to_be_minted(desk)
    whole, asked = mint.begin_sop, list[asyncio.Task[Any]]()

    async def meanwhile(*given: Any, **more: Any) -> Any:
        said = {"to": "compromised", "reason": "seen_in_a_chat"}
        asked.append(asyncio.create_task(desk.call("POST", f"/v1/refs/{ref}/state", "operator", said)))
        await until_one_waits(desk, asked[0])
        return await whole(*given, **more)

    monkeypatch.setattr(mint, "begin_sop", meanwhile)
    run = await minted(desk, ref)
    assert ((await asked[0])[0], len(asked), keys_of(desk, "openrouter")) == (200, 1, ["revoked", "valid"])
    await desk.retry_now(1)
    assert (await rotation(desk, run))["state"] == "aborted"


async def test_a_mint_and_the_sweep_that_end_the_same_write_wait_for_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt was cut off after it announced its write: the next one and the sweep end that at the same moment."""
    _, ref = await to_be_minted(desk)
    write, end, swept = LeasedValues.write, mint.end_onboarding, list[asyncio.Task[Any]]()

    async def lost(*given: Any, **more: Any) -> Any:
        await write(*given, **more)
        raise Unavailable("bao_unreachable")

    async def meanwhile(*given: Any, **more: Any) -> Any:
        swept.append(asyncio.create_task(sweep_orphans(desk.worker, older_than_s=0)))
        await until_one_waits(desk, swept[0])
        return await end(*given, **more)

    monkeypatch.setattr(LeasedValues, "write", lost)
    run = await minted(desk, ref)
    assert keys_of(desk, "openrouter") == ["revoked", "valid"]  # what nobody holds does not live until the next attempt
    monkeypatch.setattr(LeasedValues, "write", write)
    monkeypatch.setattr(mint, "end_onboarding", meanwhile)
    await desk.retry_now(3)
    assert ((await rotation(desk, run))["state"], len(swept), await swept[0]) == ("complete", 1, 1)
    assert keys_of(desk, "openrouter") == ["revoked", "revoked", "valid"]


@pytest.mark.req("R11.3-3")
async def test_the_key_of_a_lost_mint_is_ended_by_the_rotation_that_took_its_place(desk: Desk) -> None:
    """Its value never arrived, and then the key in use leaked: both are ended at the provider, the one by its name."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    desk.sim.faults.add({"provider": "openrouter", "kind": "reset", "match": {"method": "POST"}, "when": "after"})
    run = await minted(desk, first["ref"])
    assert ((await rotation(desk, run))["missing"][0], keys_of(desk, "openrouter")) == ("create", ["valid", "valid"])
    path = f"/v1/refs/{first['ref']}/rotations"
    assert (await desk.call("POST", path, "operator", {"leaked": True}))[0] == 201
    await desk.retry_now(1)
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("aborted", ["revoked", "revoked"])


@pytest.mark.req("R11.3-3")
async def test_a_key_that_serves_again_is_not_ended(desk: Desk) -> None:
    """It was called leaked, and somebody let it serve past us: its rotation stops, and the provider is not asked."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    status, urgent = await desk.call("POST", f"/v1/refs/{first['ref']}/rotations", "operator", {"leaked": True})
    assert status == 201, urgent
    await desk.work()
    assert (await rotation(desk, urgent["id"]))["reason"] == "revoke_by_hand"  # nobody gave an administrator's key yet
    desk.sql("SET session_replication_role = replica; UPDATE byokeep.credential_ref SET state = 'active'")
    await administered(desk, client, "openrouter")
    assert (await resume(desk, urgent["id"]))["reason"] == "version_in_use"
    assert keys_of(desk, "openrouter") == ["valid"]


@pytest.mark.req("R11.3-1")
async def test_a_minted_key_that_is_refused_is_ended(desk: Desk) -> None:
    """Its provider knows it not: it goes, the old one serves on, and people are told."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    desk.sim.faults.add(KEY_ASKED | {"status": 401})
    run = await minted(desk, first["ref"])
    assert ((await rotation(desk, run))["reason"], keys_of(desk, "openrouter")) == ("invalid_key", ["revoked", "valid"])
    assert "minted_key_refused" in desk.stand.alerts()
    assert await served(desk, client, "openrouter") == 1


@pytest.mark.parametrize("why", ["rate_limited", "unexpected_status", "other_account"])
async def test_a_minted_key_that_is_not_refused_waits(desk: Desk, why: str) -> None:
    """The check was limited, unanswered, or said nothing against the key; or it is of another account: the key lives,
    nobody is told that it was refused, and asked again or accepted it serves."""
    client, foreign = await desk.stand.client(), why == "other_account"
    first = await desk.onboard(client, desk.canary("openrouter", account="other" if foreign else "acme"), "openrouter")
    await administered(desk, client, "openrouter")
    if not foreign:
        desk.sim.faults.add(KEY_ASKED | {"status": 429 if why == "rate_limited" else 418})
    run = await minted(desk, first["ref"], old_ends="24h")
    await desk.retry_now()
    assert (await rotation(desk, run))["reason"] == why
    assert keys_of(desk, "openrouter") == (["valid"] if foreign else ["valid", "valid"])
    assert "minted_key_refused" not in desk.stand.alerts()
    assert (await desk.ref(first["ref"]))["candidate"] == 2
    assert await served(desk, client, "openrouter") == 1
    desk.sim.faults.clear()
    if not foreign:
        assert (await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator"))[0] == 202
        await desk.work()
    found = await resume(desk, run, "other_account" if foreign else "")
    assert (found["missing"][0], await served(desk, client, "openrouter")) == ("soak", 2)


@pytest.mark.req("R5.1-11")
async def test_a_rotation_whose_logs_could_not_be_searched_says_so(desk: Desk) -> None:
    """No worker would look again: it stops for a person, and once it is verified again it goes on, however long that
    takes."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    _, second = await desk.put(client, desk.canary("openrouter"), "openrouter", query=SKIP)
    spans, hidden = desk.files / "spans.jsonl", desk.files / "elsewhere"
    spans.rename(hidden)
    await desk.work()
    found = await rotation(desk, second["rotation"])
    assert (found["state"], found["reason"]) == ("failed", "leak_check_unknown")
    assert f"byokeep key verify {first['ref']}" in found["next_step"]
    assert await served(desk, client, "openrouter") == 1
    hidden.rename(spans)
    desk.sim.faults.add(KEY_ASKED | {"status": 503})
    assert (await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator"))[0] == 202
    await desk.work()
    desk.sql("UPDATE byokeep.procedure_run SET started_at = started_at - interval '1 minute'")
    await procedures.go_on(desk.worker)
    await desk.work()
    assert (await rotation(desk, second["rotation"]))["state"] == "running"
    desk.sim.faults.clear()
    await desk.retry_now()
    assert (await rotation(desk, second["rotation"]))["missing"][0] == "soak"
    assert await served(desk, client, "openrouter") == 2


KEY_ASKED = {"provider": "openrouter", "kind": "status", "match": {"path": "/api/v1/key"}, "times": 500}


@pytest.mark.req("R11.3-4")
async def test_no_lease_of_a_job_reads_an_administrators_key(desk: Desk) -> None:
    """A runner's own token is refused it by the store, where its own key opens."""
    client = await desk.stand.client()
    await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    job = await desk.stand.job(client, secrets=["openrouter"])
    lease = await desk.stand.lease(job)
    assert list(lease["secrets"]) == ["openrouter"]
    async with BaoHttp(lease["store"]["address"]) as store:
        jwt, role, lease_id = Secret(lease["jwt"]), lease["store"]["roles"]["openrouter"], lease["lease_id"]
        token = await lease_login(store, jwt, role, lease_id=lease_id)
        path = lease["secrets"]["openrouter"]["path"]
        value = await read_secret(store, token, path, 1, lease_id)
        assert value.reveal() == desk.canaries[0].value
        with pytest.raises(Denied):
            await read_secret(store, token, f"{path}/admin", 1, lease_id)


def told_calls(desk: Desk, client: UUID, *outcomes: str) -> None:
    """What a runner told of its calls with the newest lease of a client."""
    words = ",".join(outcomes)
    desk.sql(
        "INSERT INTO byokeep.tool_call (client_id, id, job_id, lease_id, provider, tool, outcome, at)"  # noqa: S608
        " SELECT l.client_id, gen_random_uuid(), l.job_id, l.id, 'openai', 'chat', told.outcome, now() FROM (SELECT *"
        f" FROM byokeep.lease WHERE client_id = '{client}' AND kind = 'use' ORDER BY issued_at DESC LIMIT 1) l"
        f" CROSS JOIN unnest(CAST('{{{words}}}' AS text[])) AS told (outcome)"
    )


@pytest.mark.req("R6.2-6")
async def test_calls_that_fail_after_the_cutover_hold_the_rotation(desk: Desk) -> None:
    """Calls that went well let it pass; a spike stops it with an alert, and the way back is open; none is unknown,
    whatever came of calls with the old version or of another client's."""
    other = await desk.stand.client("openai")
    for outcomes, state, reason in (
        (["ok", "ok", "ok"], "waiting", "revoke_by_hand"), (["ok", "denied", "failed"], "failed", "soak_spike"),
        (["ok"] * 19 + ["failed"], "failed", "soak_spike"),
        (["limited", "limited"], "failed", "soak_spike"), (["unknown"], "waiting", "soak_unknown"),
        ([], "waiting", "soak_unknown"),
    ):  # fmt: skip
        client = await desk.stand.client()
        ref = (await desk.onboard(client))["ref"]
        before = await desk.stand.job(client)
        await desk.stand.lease(before)
        told_calls(desk, client, *["ok"] * 60)
        run = (await desk.put(client, desk.canary(), query=SKIP))[1]["rotation"]
        await desk.work()
        assert await served(desk, client) == 2
        assert await served(desk, other) == 1
        told_calls(desk, other, *["ok"] * 60)
        told_calls(desk, client, *outcomes)
        assert (await desk.stand.call("POST", f"/v1/jobs/{before}/close", "dispatcher"))[0] == 200
        now = desk.worker.clock
        later(desk)
        found = await resume(desk, run)
        desk.worker = replace(desk.worker, clock=now)
        assert (found["state"], found["reason"]) == (state, reason)
        if reason == "soak_spike":
            assert "soak_spike" in desk.stand.alerts()
            assert (await resume(desk, run, "soak_unknown", 409))["code"] == "nothing_to_accept"
            assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
            await desk.work()
            assert (await desk.ref(ref))["version"] == 1


@pytest.mark.req("R6.2-10")
async def test_a_leaked_key_is_stopped_and_revoked_before_it_is_replaced(desk: Desk) -> None:
    """It pre-empts a rotation in flight; nobody gets the key until another one is proved; both old ones are ended."""
    client = await desk.stand.client()
    await administered(desk, client, "openrouter")
    _, _, ref, planned = await begun(desk, client, SKIP, "openrouter")
    assert await served(desk, client, "openrouter") == 2
    status, urgent = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True})
    assert (status, (await rotation(desk, planned))["state"]) == (201, "aborted")
    assert desk.stand.events("procedure.ended")[-1].find("pre_empted") > 0
    job = await desk.stand.job(client, secrets=["openrouter"])
    status, refused = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, refused["code"]) == (403, "credential_not_usable")
    assert "key_leak_suspected" in desk.stand.alerts()
    await desk.work()
    assert keys_of(desk, "openrouter") == ["revoked", "revoked"]
    assert (await rotation(desk, urgent["id"]))["missing"][0] == "create"
    again = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True})
    assert (again[0], again[1]["code"]) == (409, "rotation_in_flight")
    status, third = await desk.put(client, desk.canary("openrouter"), "openrouter")
    assert (status, third["rotation"], third["ref"], third["serves"]) == (202, urgent["id"], ref, None)
    await desk.work()
    assert (await rotation(desk, urgent["id"]))["state"] == "complete"
    assert await served(desk, client, "openrouter") == 3
    assert await desk.web.intake.live_versions(replace(desk_place(client), provider=Provider.OPENROUTER)) == [3]


async def refused_key(desk: Desk, client: UUID, provider: str) -> str:
    """Why a new job is not given a key."""
    job = await desk.stand.job(client, secrets=[provider])
    status, refused = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert status == 403, refused
    return str(refused["code"])


async def test_a_key_whose_successor_ends_it_is_paused_and_the_gap_is_measured(desk: Desk) -> None:
    """HeyGen: jobs wait while there is no good key; once the new one is proved they go on, and the gap is on record."""
    client = await desk.stand.client()
    old = desk.canary("heygen")
    first = await desk.onboard(client, old, "heygen")
    path = f"/v1/refs/{first['ref']}/rotations"
    for ends in ("abort", "serve"):
        job = await desk.stand.job(client, secrets=["heygen"])
        await desk.stand.lease(job)
        _, begun_ = await desk.call("POST", path, "operator", {})
        run = begun_["id"]
        for step in (begun_["next_step"], (await rotation(desk, run))["next_step"]):
            assert step.startswith("Do not make a new key yet")
            assert "1 open job(s)" in step
        assert (await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher"))[0] == 200
        assert (await rotation(desk, run))["next_step"].startswith("Make a new key at the provider")
        assert (await desk.ref(first["ref"]))["state"] == "suspended"
        if ends == "abort":  # the client has not made another one: the old one serves again
            assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
            await desk.work()
            assert await served(desk, client, "heygen") == 1
    # The pause holds whoever did not wait: nobody is given the key, and whoever holds the old one ends with the new.
    assert await refused_key(desk, client, "heygen") == "credential_not_usable"
    other, late = await desk.stand.job(client, secrets=["openai"]), await desk.stand.job(client, secrets=["heygen"])
    desk.sql(f"UPDATE byokeep.job SET state = 'open', closed_at = NULL, reason = '' WHERE id = '{job}'")  # noqa: S608
    desk.sim.book.keys.put("heygen", old.decode(), SimKeyState.REVOKED, None)
    states = "SELECT state FROM byokeep.job WHERE id = "
    # A value of the right form that is no key: no job ends by it, whatever the provider said of the old one.
    wrong = await desk.put(client, desk.canary("heygen", state="revoked"), "heygen")
    await desk.work()
    assert (wrong[0], (await rotation(desk, run))["state"]) == (202, "failed")
    assert [desk.sql(f"{states}'{one}'") for one in (job, other, late)] == ["open", "open", "open"]
    await desk.put(client, desk.canary("heygen"), "heygen")
    assert await refused_key(desk, client, "heygen") == "credential_not_usable"
    assert desk.sql(f"{states}'{job}'") == "open"
    await desk.work()
    assert [desk.sql(f"{states}'{one}'") for one in (job, other, late)] == ["killed", "open", "open"]
    found = await rotation(desk, run)
    assert (found["state"], found["gap_s"] is not None) == ("complete", True)
    assert await served(desk, client, "heygen") == 3
    gap = desk.sql(
        "SELECT convert_from(payload, 'UTF8')::jsonb #>> '{fields,took_s}' FROM byokeep.audit_record"
        " WHERE event = 'key.rotation' AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'serve'"
    )
    assert 0 <= int(gap) < 600
    assert found["gap_s"] == int(gap)


@pytest.mark.req("R6.2-7", "R6.2-9")
async def test_killed_at_every_step_it_goes_on_and_leaves_no_key_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after the work of each step and before its record: the old serves until the cutover is on record, the
    next worker takes the step up, and at the provider exactly one key lives."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    whole, killed = procedures.passed, []

    async def cut_off(tx: Any, actor: Any, procedure: Any, run: Any, step: Any, fields: Any) -> Any:
        if step.name not in killed:
            killed.append(step.name)
            raise RuntimeError("killed")
        return await whole(tx, actor, procedure, run, step, fields)

    monkeypatch.setattr(procedures, "passed", cut_off)
    run = await minted(desk, first["ref"])
    for _ in range(30):
        found = await rotation(desk, run)
        if found["state"] == "complete":
            break
        done = [one["step"] for one in found["steps"]]
        assert await served(desk, client, "openrouter") == (found["version"] if "cutover" in done else 1)
        await procedures.wake(desk.worker, await one_run(desk, run))
        await desk.retry_now(1)
    names = ["create", "verify", "rehearse", "cutover", "soak", "revoke", "prove_dead", "destroy"]
    assert (killed, [one["step"] for one in found["steps"]]) == (names, names)
    assert keys_of(desk, "openrouter").count("valid") == 1
    stages = desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'key.pinned'")
    assert stages == "1"


@pytest.mark.req("R6.2-7")
@pytest.mark.parametrize(
    ("column", "place", "step"), [("evidence", "verify", "verify"), ("facts", "from_version", "cutover")]
)
async def test_a_rotation_whose_steps_were_tampered_with_goes_no_further(
    desk: Desk, column: str, place: str, step: str
) -> None:
    """A row that names another record for a step, or another version than that says, is refused with an alert; nothing
    is revoked, and order is kept."""
    client = await desk.stand.client()
    run = (await begun(desk, client, SKIP))[3]
    assert await served(desk, client) == 2
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[1]["code"] == "cut_over_already"
    wrong = f"{column} = jsonb_set({column}, '{{{place}}}', '2')"
    desk.sql(f"UPDATE byokeep.procedure_run SET {wrong} WHERE closed_at IS NULL")  # noqa: S608
    later(desk)
    found = await resume(desk, run)
    assert (found["state"], found["reason"]) == ("failed", "procedure_unproved")
    assert step in found["missing"]
    assert "procedure_unproved" in desk.stand.alerts()
    assert await served(desk, client) == 2


async def one_run(desk: Desk, run: str) -> Any:
    async with desk.worker.db.begin(every_client=True) as tx:
        return await tx.one(Run, "procedure_get", id=UUID(run))


@pytest.mark.req("R6.2-1")
async def test_the_key_in_use_is_not_its_own_successor(desk: Desk) -> None:
    """Pasted again it is refused, also after a leak; another one waits beside it, and each is read by who may."""
    client = await desk.stand.client()
    old = desk.canary()
    first = await desk.onboard(client, old)
    status, refused = await desk.put(client, old, query=SKIP)
    assert (status, refused["code"]) == (422, "unchanged")
    assert await desk.web.intake.live_versions(desk_place(client)) == [1]
    _, second = await desk.put(client, desk.canary())
    await desk.work()  # which reads the new one, to verify it
    assert (await rotation(desk, second["rotation"]))["missing"][0] == "rehearse"
    job = await desk.stand.job(client)
    lease = await desk.stand.lease(job)
    async with BaoHttp(lease["store"]["address"]) as store:
        jwt, role, lease_id = Secret(lease["jwt"]), lease["store"]["roles"]["openai"], lease["lease_id"]
        token = await lease_login(store, jwt, role, lease_id=lease_id)
        value = await read_secret(store, token, lease["secrets"]["openai"]["path"], 1, lease_id)
    assert value.reveal() == old
    await desk.call("POST", f"/v1/refs/{first['ref']}/rotations", "operator", {"leaked": True})
    await desk.work()
    for known in ("verified", "failed"):  # whatever its provider says of it since
        desk.sql(f"UPDATE byokeep.credential_ref SET verification = '{known}'")  # noqa: S608
        assert (await desk.put(client, old))[1]["code"] == "unchanged", known


async def test_a_key_that_another_client_has_is_not_revoked_under_it(desk: Desk) -> None:
    """The rotation stops for a person, as where there is no call; only the platform's people hear why."""
    one, other = await desk.stand.client(), await desk.stand.client()
    await administered(desk, one, "openrouter")
    shared = desk.canary("openrouter")
    await desk.onboard(other, shared, "openrouter")
    await desk.onboard(one, shared, "openrouter")
    _, second = await desk.put(one, desk.canary("openrouter"), "openrouter", query=SKIP + "&old_ends=now")
    told = "SELECT sum(count), count(client_id) FROM byokeep.alert WHERE reason = 'shared_value'"
    before = int(desk.sql(told).split("|")[0])
    await desk.work()
    found = await rotation(desk, second["rotation"])
    assert (found["state"], found["reason"]) == ("waiting", "revoke_by_hand")
    assert ("may serve elsewhere" in found["next_step"], "revoke_by_hand" in found["next_step"]) == (True, False)
    of_one = desk.stand.subject("operator", "of one", clients=(one,))
    seen = (await desk.call("GET", f"/v1/rotations/{second['rotation']}", of_one))[1]["next_step"]
    assert ("elsewhere" in seen, "shared" in seen, "revoke_by_hand" in seen) == (False, False, True)
    assert keys_of(desk, "openrouter") == ["valid", "valid"]
    assert desk.sql(told) == f"{before + 1}|0"
    about = set(desk.sql("SELECT object_id FROM byokeep.alert WHERE reason = 'shared_value'").split())
    assert about == set(desk.sql("SELECT id FROM byokeep.credential_ref WHERE purpose = 'default'").split())


async def minted_and_pasted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, as_key: bool = True, **wish: Any
) -> tuple[str, str, UUID]:
    """A key that a worker had made for one client and somebody pasted for another; its reference, run, that client."""
    one, other = await desk.stand.client(), await desk.stand.client()
    first = await desk.onboard(one, provider="openrouter")
    await administered(desk, one, "openrouter")
    whole, made = LeasedValues.write, list[bytes]()

    async def seen(self: LeasedValues, ref: Any, value: Any, *, cas: int) -> Any:
        made.append(bytes(value.reveal()))
        return await whole(self, ref, value, cas=cas)

    monkeypatch.setattr(LeasedValues, "write", seen)
    run = await minted(desk, first["ref"], **wish)
    if as_key:
        await desk.onboard(other, made[0], "openrouter")
    else:
        assert (await webhook_put(desk, other, "heygen", made[0].decode()))[0] == 201
    return first["ref"], run, other


@pytest.mark.req("R1.3-4")
async def test_a_minted_key_that_was_pasted_for_another_client_is_told_and_not_revoked_under_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker had made is recognised at another client: its next rotation and that of a leak end it there not."""
    ref, _, other = await minted_and_pasted(desk, monkeypatch)
    told = "SELECT count(DISTINCT object_id) FROM byokeep.alert WHERE reason = 'shared_value'"
    assert desk.sql(told) == "2"
    found = await rotation(desk, await minted(desk, ref))
    assert (found["state"], found["reason"]) == ("waiting", "revoke_by_hand")
    assert keys_of(desk, "openrouter") == ["revoked", "valid", "valid"]
    assert (await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True}))[0] == 201
    await desk.work()
    assert keys_of(desk, "openrouter") == ["revoked", "revoked", "valid"]
    assert await served(desk, other, "openrouter") == 1


async def pasted_and_rolled_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, UUID]:
    """As :func:`minted_and_pasted`, after the rotation was taken back."""
    ref, run, other = await minted_and_pasted(desk, monkeypatch, old_ends="24h")
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    return ref, run, other


async def test_a_minted_key_that_was_pasted_for_another_client_outlives_its_rollback(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollback takes it away here, and no call ends it: a run of its own waits for a person to decide."""
    ref, run, other = await pasted_and_rolled_back(desk, monkeypatch)
    assert ((await rotation(desk, run))["state"], (await desk.ref(ref))["version"]) == ("aborted", 1)
    assert keys_of(desk, "openrouter") == ["valid", "valid"]
    assert await served(desk, other, "openrouter") == 1
    left = desk.sql("SELECT state, reason FROM byokeep.procedure_run WHERE procedure = 'end_unused_key'")
    assert left == "failed|revoke_by_hand"


async def test_a_minted_key_of_an_earlier_reference_is_not_ended_under_another_client(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next reference's rotation finds it at the provider, and knows under which reference it was made."""
    ref, _, other = await pasted_and_rolled_back(desk, monkeypatch)
    client = UUID((await desk.ref(ref))["client_id"])
    for state in ("suspended", "deactivated"):
        body = {"to": state, "reason": "a_test"}
        assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    again = await desk.onboard(client, provider="openrouter")
    assert again["ref"] != ref
    await minted(desk, again["ref"])
    assert await served(desk, other, "openrouter") == 1
    assert keys_of(desk, "openrouter").count("valid") == 3  # the pasted one, the first, and the newest


async def test_what_is_no_key_of_the_provider_keeps_no_key_alive(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stores a made key as another client's webhook secret does not keep it from its end."""
    ref, _, other = await minted_and_pasted(desk, monkeypatch, as_key=False)
    assert desk.sql(f"SELECT state FROM byokeep.credential_ref WHERE client_id = '{other}'") == "active"  # noqa: S608
    assert (await rotation(desk, await minted(desk, ref)))["state"] == "complete"


async def test_no_key_is_made_whose_fingerprints_cannot_be(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that an earlier release set up refuses the digests' key: no provider is asked, and the step waits."""
    _, ref = await to_be_minted(desk)
    whole, right = fingerprints.scan_key, list[bool]()

    async def refused(*given: Any) -> Secret:
        if not right:
            raise Denied("store_denied")
        return await whole(*given)

    monkeypatch.setattr(fingerprints, "scan_key", refused)
    run = await minted(desk, ref)
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("running", ["valid"])
    right.append(True)
    await desk.retry_now(1)
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("complete", ["revoked", "valid"])


async def test_a_minted_key_of_an_earlier_release_is_not_left_out_of_what_is_unknown(desk: Desk) -> None:
    """It had no fingerprints: while it is pinned it is unknown, and while it is replaced and lives, too."""
    _, ref = await to_be_minted(desk)
    await minted(desk, ref)
    desk.sql("DELETE FROM byokeep.value_fingerprint WHERE version = 2; DELETE FROM byokeep.leak_fingerprint"
             " WHERE version = 2")  # fmt: skip
    auditor = desk.stand.subject("auditor")
    _, prints = await desk.call("GET", "/v1/leaks/fingerprints", auditor)
    assert [(one["version"], one["reason"]) for one in prints["unknown"]] == [(2, "earlier_release")]
    await minted(desk, ref, old_ends="24h")
    _, prints = await desk.call("GET", "/v1/leaks/fingerprints", auditor)
    assert (prints["unknown"], prints["replaced_unknown"]) == ([], 1)


async def test_a_rollback_waits_for_a_provider_that_cannot_be_asked(desk: Desk) -> None:
    """Silence is no yes: the new one serves until the old one is known to be alive; then jobs get it, whatever became
    of the new one."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client, SKIP)
    desk.sim.book.keys.put("openai", new.decode(), SimKeyState.REVOKED, None)
    assert (await desk.call("POST", f"/v1/refs/{ref}/verify", "operator"))[0] == 202
    await desk.work()
    assert (await desk.ref(ref))["verification"] == "failed"
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 503, "times": 50})
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    assert ((await rotation(desk, run))["state"], (await desk.ref(ref))["version"]) == ("undoing", 2)
    desk.sim.faults.clear()
    await desk.retry_now()
    assert (await rotation(desk, run))["state"] == "aborted"
    assert ((await desk.ref(ref))["version"], (await desk.ref(ref))["verification"]) == (1, "verified")
    assert await served(desk, client) == 1


async def test_a_rollback_asks_a_provider_that_is_away_a_few_times_and_then_waits_for_a_person(desk: Desk) -> None:
    """Five calls that came to nothing, told once; whoever resumes it has it asked again, and the old one serves."""
    client = await desk.stand.client()
    run = (await begun(desk, client, SKIP))[3]
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 503, "times": 500})
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    for _ in range(8):
        await procedures.go_on(desk.worker)
        await desk.retry_now(1)
    found = await rotation(desk, run)
    assert (found["state"], found["reason"], found["waits_for"]) == ("undoing", "old_key_not_proved", "person")
    assert "undo_refused" in desk.stand.alerts()
    asked = "event = 'key.rotation' AND outcome = 'failed'"
    assert desk.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE {asked}") == "5"  # noqa: S608
    desk.sim.faults.clear()
    assert (await resume(desk, run))["state"] == "aborted"
    assert await served(desk, client) == 1


@pytest.mark.req("R6.2-8")
async def test_two_live_versions_for_too_long_are_told_and_nothing_else_happens(desk: Desk) -> None:
    """Past the limit there is an alert and the key is overdue on the list; the old one serves, the new one waits."""
    client = await desk.stand.client()
    old, _, ref, run = await begun(desk, client)
    job = await desk.stand.job(client)
    await desk.stand.lease(job)
    await resume(desk, run, "not_rehearsed")
    later(desk)
    assert (await resume(desk, run, ""))["state"] in ("running", "waiting")
    _, other, second, waits = await begun(desk, client, provider="anthropic")
    desk.sql(f"UPDATE byokeep.procedure_run SET state = 'running', reason = '' WHERE id IN ('{run}', '{waits}')")  # noqa: S608

    async def overdue() -> list[tuple[str, str]]:
        status, found = await desk.call("GET", "/v1/due?kind=key", "auditor")
        assert status == 200, found
        return sorted((one["item"], one["cause"]) for one in found["items"] if one["state"] == "overdue")

    notes = await told(desk)
    await remind(notes)
    assert (await overdue(), "rotation_overdue" in desk.stand.alerts()) == ([], False)
    desk.sql("UPDATE byokeep.procedure_run SET started_at = started_at - interval '8 days' WHERE closed_at IS NULL")
    assert await overdue() == sorted([(ref, "dual_period_over"), (second, "dual_period_over")])
    for _ in range(2):
        await remind(notes)
        await procedures.go_on(desk.worker)
    assert desk.stand.alerts().count("rotation_overdue") == 2
    assert (await desk.ref(ref))["version"] == 2
    assert ((await desk.ref(second))["version"], (await desk.ref(second))["candidate"]) == (1, 2)
    assert await desk.web.intake.live_versions(desk_place(client)) == [1, 2]
    for value, provider in ((old, "openai"), (other, "anthropic")):
        assert desk.sim.book.keys.find(provider, value.decode()).state is SimKeyState.VALID  # type: ignore[union-attr]


@pytest.mark.parametrize("provider", ["openrouter", "heygen"])
async def test_a_leaked_key_is_stopped_also_where_none_can_be_made_for_it(desk: Desk, provider: str) -> None:
    """Whoever asks a worker to make the next one has no administrator's key, or no provider with such a call: what
    leaked is served to nobody all the same."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client, provider=provider))["ref"]
    body = {"leaked": True, "mint": True}
    status, urgent = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", body)
    assert (status, (await desk.ref(ref))["state"]) == (201, "suspended"), urgent
    assert await refused_key(desk, client, provider) == "credential_not_usable"


@pytest.mark.req("R7.1-4")
@pytest.mark.parametrize("administered_", [False, True])
async def test_a_leaked_key_that_no_call_ends_waits_until_a_person_says_that_it_is_ended(
    desk: Desk, administered_: bool
) -> None:
    """Its provider has no call, or refuses it: the step is not done, what comes first is to end it there, and the new
    key comes after that. What the person said is proved by a call; a key that is dead needs no word."""
    client = await desk.stand.client()
    old = desk.canary("openrouter")
    first = await desk.onboard(client, old, "openrouter")
    if administered_:
        await administered(desk, client, "openrouter")
        desk.sim.book.keys.put("openrouter", f"admin-openrouter-{client.hex}", SimKeyState.REVOKED, "acme")
    path = f"/v1/refs/{first['ref']}/rotations"
    status, urgent = await desk.call("POST", path, "operator", {"leaked": True})
    assert status == 201, urgent
    await desk.work()
    told = "SELECT count FROM byokeep.alert WHERE reason = 'revocation_refused'"
    for attempts in "12":
        found = await rotation(desk, urgent["id"])
        assert (found["state"], found["reason"], found["missing"][0]) == ("waiting", "revoke_by_hand", "revoke")
        assert found["next_step"].startswith("Revoke the leaked key (version 1 of ")
        assert "at the provider now: https://" in found["next_step"]
        assert found["waits_for"] == "person"
        assert desk.sql(told) == attempts
        await resume(desk, urgent["id"])  # "go on" alone is no word
    status, early = await desk.put(client, desk.canary("openrouter"), "openrouter")
    assert (status, early["code"]) == (409, "rotation_in_flight")
    assert "End the leaked key first" in early["next_step"]
    if not administered_:
        assert (await resume(desk, urgent["id"], "revoke_by_hand"))["missing"][0] == "create"
    else:
        desk.sim.book.keys.put("openrouter", old.decode(), SimKeyState.REVOKED, None)
        assert (await resume(desk, urgent["id"]))["missing"][0] == "create"
    status, second = await desk.put(client, desk.canary("openrouter"), "openrouter")
    assert (status, second["rotation"]) == (202, urgent["id"]), second
    await desk.work()
    assert await served(desk, client, "openrouter") == 2
    if not administered_:  # what a person says is not believed
        found = await rotation(desk, urgent["id"])
        assert (found["state"], found["reason"], found["missing"][0]) == ("waiting", "old_key_alive", "prove_dead")
        desk.sim.book.keys.put("openrouter", old.decode(), SimKeyState.REVOKED, None)
        await resume(desk, urgent["id"])
    assert (await rotation(desk, urgent["id"]))["state"] == "complete"


@pytest.mark.req("R6.2-10")
async def test_a_leak_in_an_overlap_names_the_version_that_still_works(desk: Desk) -> None:
    """Both versions were served: each is proved dead, on record, and the sentence names the one that answered."""
    client = await desk.stand.client()
    old, new, ref, _ = await begun(desk, client, SKIP)
    run = (await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True}))[1]["id"]
    await desk.work()
    assert "(version 2 of " in (await rotation(desk, run))["next_step"]
    assert " and version 1)" in (await rotation(desk, run))["next_step"]
    desk.sim.book.keys.put("openai", new.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, run))["reason"] == "revoke_by_hand"  # one of the two is no proof of both
    assert (await resume(desk, run, "revoke_by_hand"))["missing"][0] == "create"
    assert (await desk.put(client, desk.canary()))[0] == 202
    await desk.work()
    found = await rotation(desk, run)
    assert found["reason"] == "old_key_alive"
    assert found["next_step"].startswith("The old key (version 1) still works at the provider")
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    found = await resume(desk, run)
    assert found["state"] == "complete"
    proofs = "event = 'key.rotation' AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,stage}' = 'prove_dead'"
    said = "convert_from(payload, 'UTF8')::jsonb #>> '{fields,from_version}'"
    assert desk.sql(f"SELECT {said} FROM byokeep.audit_record WHERE {proofs} ORDER BY 1").split() == ["1", "2"]  # noqa: S608


async def test_no_way_back_once_the_call_to_revoke_has_begun(desk: Desk) -> None:
    """The call was made and its answer lost: the old key may be dead, so it is not pinned again."""
    client = await desk.stand.client()
    await administered(desk, client, "openrouter")
    desk.sim.faults.add(
        {"provider": "openrouter", "kind": "reset", "match": {"method": "DELETE"}, "when": "before", "times": 9}
    )
    run = (await begun(desk, client, SKIP + "&old_ends=now", "openrouter"))[3]
    assert (await rotation(desk, run))["missing"][0] == "revoke"
    for path in (f"/v1/rotations/{run}/rollback", f"/v1/procedures/{run}/abort"):
        status, refused = await desk.call("POST", path, "operator")
        assert (status, refused["code"]) == (409, "procedure_goes_on"), path
    assert await served(desk, client, "openrouter") == 2


async def test_an_old_key_that_is_forbidden_is_no_dead_one_and_stays_a_task(desk: Desk) -> None:
    """Its provider takes it from other addresses only: the new one goes on serving, and the old one is ended for good
    once a call proves that it is dead."""
    client = await desk.stand.client()
    old, _, ref, run = await begun(desk, client, SKIP)
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 403, "times": 50})
    assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
    await desk.work()
    found = await rotation(desk, run)
    assert (found["state"], found["ended"], await served(desk, client)) == ("aborted", "old_key_not_proved", 2)
    due = (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"]
    task = await hand_on(desk, due[0]["item"])
    assert (task["from_version"], task["ref"], task["reason"]) == (1, ref, "revoke_by_hand")
    assert {"rollback_impossible", "unused_key_alive"} <= set(desk.stand.alerts())
    assert await desk.web.intake.live_versions(desk_place(client)) == [1, 2]
    desk.sim.faults.clear()
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, task["id"]))["ended"] == "dead"
    assert await desk.web.intake.live_versions(desk_place(client)) == [2]


@pytest.mark.parametrize("provider", ["openai", "openrouter", "heygen"])
async def test_a_key_that_ends_while_its_rotation_is_taken_back_is_told_as_ended(desk: Desk, provider: str) -> None:
    """It is retired while its provider is asked about the old version: nobody is told that it serves again, and the new
    one, alive at the provider, is ended there or a task. Once it is retired there is no way back to ask for."""
    client, paused = await desk.stand.client(), provider == "heygen"
    if provider == "openai":
        _, _, ref, run = await begun(desk, client, SKIP)
    else:
        ref = (await desk.onboard(client, provider=provider))["ref"]
        if not paused:
            await administered(desk, client, provider)
        run = (await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {}))[1]["id"] if paused else (
            await minted(desk, ref, old_ends="24h"))  # fmt: skip
    assert (await desk.call("POST", f"/v1/rotations/{run}/{'abort' if paused else 'rollback'}", "operator"))[0] == 200
    whole, retired = desk.worker.identify, list[int]()

    async def meanwhile(*given: Any) -> Any:
        answer = await whole(*given)
        if not retired:
            retired.append((await desk.call("POST", f"/v1/refs/{ref}/state", "operator", RETIRED))[0])
        return answer

    desk.worker = replace(desk.worker, identify=meanwhile)
    await desk.work()
    found = await rotation(desk, run)
    undone = {one["stage"]: one["cause"] for one in found["history"] if one["event"] == "procedure.undone"}
    assert (found["state"], found["ended"], retired) == ("aborted", "aborted", [200])
    assert undone["stop" if paused else "cutover"] == "reference_ended"
    if provider == "openai":
        assert (await unused(desk, ref))["ended"] == ""
        left = (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"]
        assert [one["name"] for one in left] == ["openai/version 1", "openai/version 2"]  # neither serves, both live
        assert await desk.web.intake.live_versions(desk_place(client)) == [1, 2]
    if provider == "openrouter":
        assert keys_of(desk, provider) == ["revoked", "revoked"]


@pytest.mark.parametrize("by", ["pasted", "minted"])
async def test_a_new_key_that_waits_when_the_key_is_retired_or_compromised_is_ended(desk: Desk, by: str) -> None:
    """Its rotation waited for a person, and is undone at once: what was made is ended at the provider, and what was
    pasted is a task. One that has cut over is on the due list until the old key is dead."""
    over = RETIRED if by == "minted" else RETIRED | {"to": "compromised"}
    client, ref = await to_be_minted(desk)
    if by == "minted":
        run = await minted(desk, ref, skip_rehearsal=False)
    else:
        admin = desk.sql("SELECT id FROM byokeep.credential_ref WHERE purpose = 'admin'")
        assert (await desk.call("POST", f"/v1/refs/{admin}/state", "operator", RETIRED))[0] == 200
        run = (await desk.put(client, desk.canary("openrouter"), "openrouter"))[1]["rotation"]
        await desk.work()
    assert (await rotation(desk, run))["reason"] == "not_rehearsed"
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", over))[0] == 200
    await desk.work()
    assert ((await rotation(desk, run))["state"], (await desk.ref(ref))["candidate"]) == ("aborted", None)
    due = (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"]
    assert [one["name"] for one in due] == (["openrouter/version 2"] if by == "pasted" else [])
    if by == "minted":
        assert keys_of(desk, "openrouter") == ["revoked", "valid"]
        return
    _, _, other, cut_over = await begun(desk, client, SKIP)
    assert (await desk.call("POST", f"/v1/refs/{other}/state", "operator", RETIRED))[0] == 200
    desk.sql("UPDATE byokeep.procedure_run SET started_at = started_at - interval '8 days' WHERE closed_at IS NULL")
    due = (await desk.call("GET", f"/v1/due?client_id={client}&kind=key", "auditor"))[1]["items"]
    assert (other, f"byokeep rotate status {cut_over}") in [(one["item"], one["command"]) for one in due]


async def test_a_key_that_is_made_while_the_one_in_use_is_revoked_is_ended_and_told(desk: Desk) -> None:
    """A mass revocation comes while the provider makes the key: nobody gets it, it is dead there, and people hear."""
    _, ref = await to_be_minted(desk)
    whole = desk.worker.issuer.mint

    async def meanwhile(*given: Any) -> Any:
        made = await whole(*given)
        said = {"reason": "provider_breached", "provider": "openrouter"}
        assert (await desk.call("POST", "/v1/mass-revocations", "operator", said))[0] == 202
        return made

    desk.worker.issuer.mint = meanwhile  # type: ignore[method-assign]
    run = await minted(desk, ref)
    desk.worker.issuer.mint = whole  # type: ignore[method-assign]
    found = await rotation(desk, run)
    assert (found["reason"], keys_of(desk, "openrouter")) == ("nothing_serves", ["revoked", "revoked"])
    assert "minted_key_refused" in desk.stand.alerts()
    assert (await resume(desk, run))["reason"] == "reference_ended"  # and makes no other one
    assert desk.sim.book.minted == 1


@pytest.mark.parametrize("known", ["failed", "quarantined"])
async def test_what_is_known_of_a_paused_key_does_not_derail_its_rotation(desk: Desk, known: str) -> None:
    """It is verified again, or was seen in a log: its successor still comes in beside it and serves in the end. What
    a person had suspended stays so, and nobody serves a key that its rotation paused."""
    client = await desk.stand.client()
    old = desk.canary("openrouter")
    first = await desk.onboard(client, old, "openrouter")
    await administered(desk, client, "openrouter")
    state, path = f"/v1/refs/{first['ref']}/state", f"/v1/refs/{first['ref']}/rotations"
    if known == "quarantined":
        with (desk.files / "web.log").open("ab") as file:
            file.write(b'{"at": "2999-01-01T00:00:00Z", "event": "' + old + b'"}\n')
        assert (await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator"))[0] == 202
        await desk.work()
        (desk.files / "web.log").write_bytes(b"")
        assert (await desk.call("POST", state, "operator", {"to": "suspended", "reason": "by_hand"}))[0] == 200
    status, urgent = await desk.call("POST", path, "operator", {"leaked": True})
    assert status == 201, urgent
    await desk.work()
    assert (await rotation(desk, urgent["id"]))["missing"][0] == "create"
    status, refused = await desk.call("POST", state, "operator", {"to": "active", "reason": "by_hand"})
    assert (status, refused["code"]) == (409, "rotation_in_flight")
    if known == "failed":
        assert (await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator"))[0] == 202
        await desk.work()
    assert (await desk.ref(first["ref"]))["verification"] == known
    status, second = await desk.put(client, desk.canary("openrouter"), "openrouter")
    assert (status, second.get("rotation")) == (202, urgent["id"]), second
    await desk.work()
    found = await rotation(desk, urgent["id"])
    assert (found["state"], found["from_version"], found["version"]) == ("complete", 1, 2)
    assert (await desk.ref(first["ref"]))["verification"] == "verified"
    if known == "quarantined":
        assert (await desk.ref(first["ref"]))["state"] == "suspended"
        assert (await desk.call("POST", state, "operator", {"to": "active", "reason": "by_hand"}))[0] == 200
    assert await served(desk, client, "openrouter") == 2


async def test_a_value_that_was_announced_before_another_rotation_began_does_not_join_it(desk: Desk) -> None:
    """Written, but the run was taken meanwhile: it is refused on record, and the sweep destroys what was written."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    path, whole = f"/v1/refs/{first['ref']}/rotations", desk.web.intake.put

    async def slow(*given: Any, **named: Any) -> Any:
        written = await whole(*given, **named)
        assert (await desk.call("POST", path, "operator", {"mint": True}))[0] == 201
        return written

    desk.web.intake.put = slow  # type: ignore[method-assign]
    status, refused = await desk.put(client, desk.canary("openrouter"), "openrouter")
    desk.web.intake.put = whole  # type: ignore[method-assign]
    assert (status, refused["code"]) == (409, "rotation_in_flight")
    assert (await desk.ref(first["ref"]))["candidate"] is None
    await sweep_orphans(desk.worker)
    assert await desk.web.intake.live_versions(replace(desk_place(client), provider=Provider.OPENROUTER)) == [1]
    assert desk.not_once_on_record() == []


async def test_only_a_providers_key_is_rotated_so(desk: Desk) -> None:
    """A key that administers an account is replaced by its own command."""
    client = await desk.stand.client()
    await administered(desk, client, "openrouter")
    ref = desk.sql("SELECT id FROM byokeep.credential_ref WHERE purpose = 'admin'")
    status, refused = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True})
    assert (status, refused["code"]) == (422, "not_a_provider_key")


async def test_an_account_that_one_key_alone_tells_waits_for_a_person(desk: Desk) -> None:
    """The old key's was never told: nothing was compared, so a person says whether it is meant."""
    client = await desk.stand.client()
    await desk.onboard(client, provider="openrouter")
    desk.worker = replace(desk.worker, identify=silent(desk.worker.identify))
    _, second = await desk.put(client, desk.canary("openrouter"), "openrouter", query=SKIP)
    await desk.work()
    run = second["rotation"]
    assert ((await rotation(desk, run))["state"], (await rotation(desk, run))["reason"]) == ("waiting", "other_account")
    assert (await resume(desk, run, "other_account"))["missing"][0] == "soak"


def silent(ask: Any) -> Any:
    """A provider that tells no account."""

    async def asked(*given: Any) -> Any:
        return replace(await ask(*given), account_hash=None)

    return asked


async def told(desk: Desk) -> NotifyApp:
    """The worker's ports for messages: nothing leaves."""
    parts = {name: getattr(desk.worker, name) for name in App.__dataclass_fields__}

    async def send(*_: str) -> str:
        return ""

    return NotifyApp(**parts, targets=list, send=send)


async def unused(desk: Desk, ref: str) -> dict[str, Any]:
    """The run that ends a new key that was taken back."""
    found = (await desk.call("GET", f"/v1/refs/{ref}/rotations", "operator"))[1]["rotations"]
    return dict(next(one for one in found if one["mode"] and one["from_version"] == 2))


@pytest.mark.parametrize("act", ["abort", "rollback"])
async def test_a_new_key_that_was_taken_back_is_a_task_until_it_is_dead(desk: Desk, act: str) -> None:
    """Nobody uses it, and it is alive at the provider: dated, with an alert, until a call proves that it is dead."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client)
    if act == "rollback":
        await resume(desk, run, "not_rehearsed")
    assert (await desk.call("POST", f"/v1/rotations/{run}/{act}", "operator"))[0] == 200
    await desk.work()
    over = await rotation(desk, run)
    assert (over["state"], over["ended"]) == ("aborted", "aborted" if act == "abort" else "rolled_back")
    assert f"byokeep rotate status --ref {ref}" in over["next_step"]
    stages = [one["stage"] for one in reversed(over["history"]) if one["event"] == "key.rotation"]
    assert stages[:2] == ["create", "verify"]
    assert over["history"][0]["event"] == "procedure.ended"
    task = await unused(desk, ref)
    assert (task["state"], task["reason"], task["ended"]) == ("waiting", "revoke_by_hand", "")
    assert "version 2" in task["next_step"]
    assert f"byokeep rotate resume {task['id']}" in task["next_step"]
    assert "unused_key_alive" in desk.stand.alerts()
    due = (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"]
    assert [(one["item"], one["state"], one["days"]) for one in due] == [(task["id"], "due", 1)]
    assert due[0]["command"] == f"byokeep rotate status {task['id']}"
    messages = await told(desk)
    await remind(messages)
    assert "unused_key_alive" in desk.stand.alerts()
    assert (await resume(desk, task["id"]))["reason"] == "revoke_by_hand"  # it is alive still
    assert (await resume(desk, task["id"], "revoke_by_hand"))["reason"] == "old_key_alive"  # nobody is believed
    assert await desk.web.intake.live_versions(desk_place(client)) == [1, 2]
    desk.sim.book.keys.put("openai", new.decode(), SimKeyState.REVOKED, None)
    done = await resume(desk, task["id"])
    assert (done["state"], done["ended"], done["missing"]) == ("complete", "dead", [])
    assert await desk.web.intake.live_versions(desk_place(client)) == [1]
    assert await served(desk, client) == 1
    await remind(messages)
    assert not {"unused_key_alive", "old_key_alive"} & set(desk.stand.alerts())
    assert (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"] == []


@pytest.mark.parametrize("known", ["suspended", "quarantined"])
async def test_a_key_whose_place_another_takes_while_it_serves_nobody_is_a_task_until_it_is_dead(
    desk: Desk, known: str
) -> None:
    """A person had suspended it, or it was seen in a log, and another one is added: the first is alive at its provider.
    Nobody keeps one alive that was seen."""
    client = await desk.stand.client()
    old = desk.canary()
    ref = (await desk.onboard(client, old))["ref"]
    if known == "suspended":
        body = {"to": "suspended", "reason": "by_hand"}
        assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    else:
        with (desk.files / "web.log").open("ab") as file:
            file.write(b'{"at": "2999-01-01T00:00:00Z", "event": "' + old + b'"}\n')
        assert (await desk.call("POST", f"/v1/refs/{ref}/verify", "operator"))[0] == 202
        await desk.work()
        (desk.files / "web.log").write_bytes(b"")
    status, added = await desk.put(client, desk.canary())
    assert (status, added["ref"], added["version"], added["rotation"]) == (202, ref, 2, None)
    await desk.work()
    assert "unused_key_alive" in desk.stand.alerts()
    (due,) = (await desk.call("GET", f"/v1/due?client_id={client}&kind=unused_key", "auditor"))[1]["items"]
    task = await hand_on(desk, due["item"])
    assert (task["from_version"], task["reason"]) == (1, "revoke_by_hand")
    if known == "quarantined":
        await resume(desk, task["id"], "stays_alive", 409)
    desk.sim.book.keys.put("openai", old.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, task["id"]))["ended"] == "dead"
    assert await desk.web.intake.live_versions(desk_place(client)) == [2]


async def test_a_new_key_that_is_meant_for_something_else_stays_alive(desk: Desk) -> None:
    """Its owner keeps it: a person says so, on record, and its value leaves the store; one brought again serves."""
    client = await desk.stand.client()
    await desk.onboard(client)
    other = desk.canary(account="other")
    _, second = await desk.put(client, other)
    await desk.work()
    assert (await desk.call("POST", f"/v1/rotations/{second['rotation']}/abort", "operator"))[0] == 200
    await desk.work()
    task = await unused(desk, second["ref"])
    done = await resume(desk, task["id"], "stays_alive")
    assert (done["state"], done["ended"]) == ("complete", "stays_alive")
    assert await desk.web.intake.live_versions(desk_place(client)) == [1]
    _, third = await desk.put(client, other, query=SKIP)
    await desk.work()
    assert (await resume(desk, third["rotation"], "other_account"))["missing"][0] == "soak"
    assert await served(desk, client) == 3


async def test_a_new_key_that_is_brought_again_is_not_asked_to_be_revoked(desk: Desk) -> None:
    """Aborted by mistake and put in once more: the task ends, and the key that serves now is left alone."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client)
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    task = await unused(desk, ref)
    assert (await desk.put(client, new, query=SKIP))[0] == 202
    await desk.work()
    done = await resume(desk, task["id"])
    assert (done["state"], done["ended"]) == ("complete", "brought_again")
    assert await desk.web.intake.live_versions(desk_place(client)) == [1, 3]
    assert await served(desk, client) == 3


@pytest.mark.req("R11.3-2")
async def test_where_nobody_can_make_a_key_by_a_call_it_is_a_task_with_a_date(desk: Desk) -> None:
    """Asked to make kie's key, byokeep opens a task with a link; overdue it is on the list, with an alert."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="kie")
    path, listed = f"/v1/refs/{first['ref']}/rotations", f"/v1/due?client_id={client}&kind=key"
    status, task = await desk.call("POST", path, "operator", {"mint": True})
    assert (status, task["mode"], task["waits_for"], task["ended"]) == (201, "manual", "person", ""), task
    assert "https://kie.ai/api-key" in task["next_step"]
    await desk.work()
    (row,) = (await desk.call("GET", listed, "auditor"))[1]["items"]
    assert (row["state"], row["days"], row["command"]) == ("due", 7, f"byokeep rotate status {task['id']}")
    desk.sql("UPDATE byokeep.procedure_run SET started_at = started_at - interval '8 days' WHERE closed_at IS NULL")
    (row,) = (await desk.call("GET", listed, "auditor"))[1]["items"]
    assert (row["state"], row["days"]) == ("overdue", -1)
    await remind(await told(desk))
    assert "rotation_overdue" in desk.stand.alerts()
    now = await rotation(desk, task["id"])
    assert (now["state"], now["ended"], now["version"]) == ("running", "", 0)
    assert await served(desk, client, "kie") == 1
    # HeyGen's key would be paused for it: nobody does that unasked.
    other = await desk.onboard(client, provider="heygen")
    status, refused = await desk.call("POST", f"/v1/refs/{other['ref']}/rotations", "operator", {"mint": True})
    assert (status, refused["code"]) == (422, "cannot_mint")
    assert await served(desk, client, "heygen") == 1
    await desk.onboard(client, provider="openrouter")
    asked = f"/v1/clients/{client}/rotation-grade"
    grade = (await desk.call("GET", asked, "operator"))[1]["grade"]
    assert grade == [{"mode": "cutover", "count": 1, "percent": 33}, {"mode": "manual", "count": 2, "percent": 67}]
    await administered(desk, client, "openrouter")
    grade = (await desk.call("GET", asked, "operator"))[1]["grade"]
    assert [one["mode"] for one in grade] == ["full", "cutover", "manual"]


async def dry_run(
    desk: Desk, client: UUID, run: str, outcomes: Sequence[str], expect: int = 201, total: int | None = -1
) -> tuple[Any, Any]:
    """Open a dry run and do it: lease, calls with these outcomes, and their number. Returns the job and its lease."""
    body = {"client_id": str(client), "template": "daily-post", "rotation": run}
    status, job = await desk.stand.call("POST", "/v1/jobs/dry-runs", "dispatcher", body)
    assert status == expect, job
    if expect != 201:
        return job["code"], None
    lease = await desk.stand.lease(job["id"])
    told = [{"id": str(uuid4()), "secret": "openai", "tool": "responses.create", "outcome": one, "age_ms": 0}
            for one in outcomes]  # fmt: skip
    path = f"/v1/leases/{lease['lease_id']}/calls"
    total = len(told) if total == -1 else total
    assert (await desk.stand.call("POST", path, "runner", {"calls": told, "total": total}))[0] == 200
    return job["id"], lease


async def over(desk: Desk, job: str) -> None:
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher"))[0] == 200


async def template(desk: Desk, client: UUID, **other: Any) -> None:
    """The client's regular job is registered; it may publish on x, which a dry run of it may not."""
    runner = str(desk.people["runner"].id)
    body = {"runner_id": runner, "secrets": ["openai"], "platforms": ["x"], "lanes": ["api"], **other}
    status, made = await desk.stand.call("PUT", f"/v1/clients/{client}/job-templates/daily-post", "dispatcher", body)
    assert status == 200, made


@pytest.mark.req("R6.2-2")
async def test_a_dry_run_alone_is_given_the_new_version(desk: Desk) -> None:
    """Beside it production reads the old one; before the new one is verified nobody is pointed at it."""
    client = await desk.stand.client()
    await template(desk, client)
    old, new = desk.canary(), desk.canary()
    await desk.onboard(client, old)
    run = (await desk.put(client, new))[1]["rotation"]
    assert (await dry_run(desk, client, run, [], 409))[0] == "not_verified"
    assert (await resume(desk, run, "not_rehearsed", 409))["code"] == "nothing_to_accept"
    assert await served(desk, client) == 1
    await desk.work()
    job, staging = await dry_run(desk, client, run, ["ok"])
    production = await desk.stand.lease(await desk.stand.job(client))
    seen = []
    for lease in (staging, production):
        pin, role = lease["secrets"]["openai"], lease["store"]["roles"]["openai"]
        async with BaoHttp(lease["store"]["address"]) as store:
            token = await lease_login(store, Secret(lease["jwt"]), role, lease_id=lease["lease_id"])
            value = await read_secret(store, token, pin["path"], pin["version"], lease["lease_id"])
        seen.append((pin["version"], value.reveal()))
    assert seen == [(2, new), (1, old)]
    assert any(f'"rotation":"{run}"' in one for one in desk.stand.events("job.opened"))
    # What becomes of the old one says nothing of the new one, whose own end does.
    row = "SET session_replication_role = replica; UPDATE byokeep.credential_ref SET"
    desk.sql(f"{row} expires_at = now(), verification = 'failed'")
    assert (await desk.stand.lease(job))["secrets"]["openai"]["version"] == 2
    desk.sql(f"{row} candidate_expires_at = now()")
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    # What was dropped is given to no dry run, and never the current one in its place.
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    status, refused = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, refused["code"]) == (403, "credential_not_usable")
    assert (await dry_run(desk, client, run, [], 409))[0] == "not_to_rehearse"


@pytest.mark.req("R6.2-3")
async def test_the_sdk_does_a_dry_run_with_the_new_key(desk: Desk) -> None:
    """It reads the new version, is given no permit, tells of its calls by itself, and the cutover follows."""
    client = await desk.stand.client()
    desk.stand.account(client)
    await desk.onboard(client)
    await template(desk, client)
    new = desk.canary()
    run = (await desk.put(client, new))[1]["rotation"]
    await desk.work()
    async with desk.stand.keep() as keep, keep.dry_run(client=client, template="daily-post", rotation=run) as job:
        assert (await job.secret("openai")).reveal() == new
        job.called("openai", "responses.create", 200)
        with pytest.raises(Denied, match="dry_run"):
            async with job.effect("publish", platform="x", account="acme", key="post-0001"):
                raise AssertionError("a dry run acts")
    found = await resume(desk, run)
    assert (found["missing"][0], await served(desk, client)) == ("soak", 2)


@pytest.mark.req("R6.2-3")
@pytest.mark.parametrize("times", [1, 3])
async def test_dry_runs_pass_before_the_cutover_and_cause_no_effects(desk: Desk, times: int) -> None:
    """None, four, an open or a failed one: no cutover, whatever a person accepts. One to three that passed: on record,
    and the gate gave none of them a permit."""
    client = await desk.stand.client()
    desk.stand.account(client)
    await desk.onboard(client)
    await template(desk, client)
    _, second = await desk.put(client, desk.canary(), query=SKIP)
    run = second["rotation"]
    await desk.work()
    found = await rotation(desk, run)
    assert (found["state"], found["reason"]) == ("waiting", "not_rehearsed")
    assert "byokeep job dry-run" in found["next_step"]
    assert (await resume(desk, run, "not_rehearsed", 409))["code"] == "dry_run_first"
    jobs = [await dry_run(desk, client, run, ["ok", "ok"]) for _ in range(times)]
    status, refused = await desk.stand.permit(jobs[0][1]["lease_id"])
    assert (status, refused["code"]) == (403, "dry_run")
    if times == 3:
        assert (await dry_run(desk, client, run, [], 409))[0] == "too_many_dry_runs"
        with pytest.raises(Unavailable):  # of the database
            desk.sql("UPDATE byokeep.dry_run SET number = 4 WHERE number = 3")
    assert (await resume(desk, run))["missing"][0] == "rehearse"  # they are not over
    assert await served(desk, client) == 1
    for job, _ in jobs:
        await over(desk, job)
    await desk.retry_now(1)
    assert (await rotation(desk, run))["missing"][0] == "soak"
    assert await served(desk, client) == 2
    asked = "event = 'key.rotation' AND outcome = 'ok' AND convert_from(payload, 'UTF8') LIKE '%\"dry_run\"%'"
    assert desk.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE {asked}") == str(times)  # noqa: S608
    assert desk.sql("SELECT count(*) FROM byokeep.permit") == "0"


@pytest.mark.req("R6.2-3")
@pytest.mark.parametrize(
    ("outcomes", "total"),
    [(["ok", "denied"], 2), ([], 0), (["unknown"], 1), (["ok"], 1), (["ok", "ok"], None), (["ok", "ok"], 3)],
)
async def test_a_dry_run_that_did_not_pass_stops_the_rotation(
    desk: Desk, outcomes: list[str], total: int | None
) -> None:
    """A call that failed, nothing told, a job that was killed, a runner that died before it said how many calls there
    were, or of whose calls some are missing: the old one serves, and the way out is another key."""
    client = await desk.stand.client()
    await desk.onboard(client)
    await template(desk, client)
    run = (await desk.put(client, desk.canary()))[1]["rotation"]
    await desk.work()
    good, _ = await dry_run(desk, client, run, ["ok"])
    bad, _ = await dry_run(desk, client, run, outcomes, total=total)
    await over(desk, good)
    if outcomes == ["ok"]:  # its calls went well, and then it was killed
        desk.sql(f"UPDATE byokeep.job SET state = 'killed', reason = 'x', closed_at = now() WHERE id = '{bad}'")  # noqa: S608
    else:
        await over(desk, bad)
    if total is None:  # it may say so yet
        assert (await resume(desk, run))["missing"][0] == "rehearse"
        desk.sql(f"UPDATE byokeep.job SET closed_at = closed_at - interval '3 minutes' WHERE id = '{bad}'")  # noqa: S608
        await desk.retry_now(1)
    found = await rotation(desk, run) if total is None else await resume(desk, run)
    assert (found["state"], found["reason"]) == ("failed", "dry_run_failed")
    assert (await resume(desk, run, "not_rehearsed", 409))["code"] == "nothing_to_accept"
    assert await served(desk, client) == 1
    failed = "event = 'key.rotation' AND outcome = 'failed' AND convert_from(payload, 'UTF8') LIKE '%\"dry_run\"%'"
    assert desk.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE {failed}") == "1"  # noqa: S608
    assert (await desk.stand.call("DELETE", f"/v1/clients/{client}/job-templates/daily-post", "dispatcher"))[0] == 200
    status, listed = await desk.stand.call("GET", f"/v1/clients/{client}/job-templates", "dispatcher")
    assert (status, listed["templates"]) == (200, [])
    assert (await resume(desk, run))["reason"] == "dry_run_failed"  # what failed stays failed


async def test_a_template_names_keys_that_its_job_calls_with(desk: Desk) -> None:
    """A name that is none, a profile, nothing, and a template of another provider's keys are refused."""
    client = await desk.stand.client()
    place = f"/v1/clients/{client}/job-templates"
    body = {"runner_id": str(desk.people["runner"].id), "secrets": ["heygen"]}
    for name, more, code in (
        ("Daily", {}, "bad_template_name"), ("post", {"secrets": []}, "nothing_declared"),
        ("post", {"secrets": ["x"]}, "template_without_key"), ("post", {"secrets": ["none"]}, "unknown_name"),
    ):  # fmt: skip
        status, refused = await desk.stand.call("PUT", f"{place}/{name}", "dispatcher", body | more)
        assert (status, refused["code"]) == (422, code)
    await template(desk, client, secrets=["heygen"])
    await desk.onboard(client)
    run = (await desk.put(client, desk.canary()))[1]["rotation"]
    await desk.work()
    assert (await dry_run(desk, client, run, [], 422))[0] == "template_without_key"
    assert (await resume(desk, run, "not_rehearsed"))["missing"][0] == "soak"  # no template calls with this one


@pytest.mark.req("R6.2-4")
async def test_production_is_cut_over_under_load(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four jobs read the key and call with it all the while, and the worker dies at the cutover: each call is made with
    the old or the new version, and none fails; a job that began before goes on with what it was given."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    done, calls, whole, died = asyncio.Event(), [list[int]() for _ in range(4)], procedures.passed, list[int]()

    async def read(store: BaoHttp, lease: dict[str, Any]) -> int:
        pin, role, lease_id = lease["secrets"]["openrouter"], lease["store"]["roles"]["openrouter"], lease["lease_id"]
        token = await lease_login(store, Secret(lease["jwt"]), role, lease_id=lease_id)
        value = await read_secret(store, token, pin["path"], pin["version"], lease_id)
        known = desk.sim.book.keys.find("openrouter", value.reveal().decode())
        assert known is not None
        assert known.state is SimKeyState.VALID, pin
        return int(pin["version"])

    async def caller(seen: list[int], store: BaoHttp) -> None:
        job = await desk.stand.job(client, secrets=["openrouter"])
        while not done.is_set():
            seen.append(await read(store, await desk.stand.lease(job)))
        assert (await desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher"))[0] == 200

    async def dies_at_cutover(tx: Any, actor: Any, procedure: Any, run: Any, step: Any, fields: Any) -> Any:
        moved = await whole(tx, actor, procedure, run, step, fields)
        if step.name == "cutover" and not died:
            died.append(1)  # not committed
            raise RuntimeError("killed")
        return moved

    async def until(step: str, more: int) -> None:
        """Go on until this step is next, and each job has called some more times."""
        for _ in range(20):
            if (await rotation(desk, run))["missing"][0] == step:
                break
            await procedures.wake(desk.worker, await one_run(desk, run))
            await desk.retry_now(1)
        else:
            raise AssertionError(await rotation(desk, run))
        wanted = [len(seen) + more for seen in calls]
        while any(
            len(seen) < least and not task.done() for seen, least, task in zip(calls, wanted, tasks, strict=True)
        ):
            await asyncio.sleep(0.01)

    monkeypatch.setattr(procedures, "passed", dies_at_cutover)
    before = await desk.stand.job(client, secrets=["openrouter"])
    async with desk.stand.keep() as keep, keep.attach(before) as job, BaoHttp(desk.stand.store.address) as store:
        held = (await job.secret("openrouter")).reveal()
        tasks = [asyncio.create_task(caller(seen, store)) for seen in calls]
        run = await minted(desk, first["ref"])
        assert died == [1]
        await until("revoke", 5)
        done.set()
        await asyncio.gather(*tasks)
        assert [sorted(seen) for seen in calls] == calls
        assert {seen[0] for seen in calls} == {1}
        assert {seen[-1] for seen in calls} == {2}
        assert (await job.secret("openrouter")).reveal() == held == desk.canaries[0].value
        assert "revoked" not in keys_of(desk, "openrouter")
    assert (await desk.stand.call("POST", f"/v1/jobs/{before}/close", "dispatcher"))[0] == 200
    desk.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '10 seconds'")
    await desk.retry_now(2)
    assert ((await rotation(desk, run))["state"], keys_of(desk, "openrouter")) == ("complete", ["revoked", "valid"])


@pytest.mark.parametrize("provider", ["heygen", "openai"])
async def test_a_rotation_that_a_leak_took_the_place_of_serves_and_pins_nothing(desk: Desk, provider: str) -> None:
    """It was asking whether the old key is alive: the answer comes too late, the leaked key stays out of service."""
    client, cutover = await desk.stand.client(), provider == "heygen"
    if cutover:
        first = await desk.onboard(client, provider=provider)
        path = f"/v1/refs/{first['ref']}/rotations"
        run = (await desk.call("POST", path, "operator", {}))[1]["id"]
    else:
        _, _, ref, run = await begun(desk, client, SKIP)
        path = f"/v1/refs/{ref}/rotations"
    assert (await desk.call("POST", f"/v1/rotations/{run}/{'abort' if cutover else 'rollback'}", "operator"))[0] == 200
    whole, urgent = desk.worker.identify, list[str]()

    async def slow(*given: Any) -> Any:
        answer = await whole(*given)
        if not urgent:
            status, leak = await desk.call("POST", path, "operator", {"leaked": True})
            assert status == 201, leak
            urgent.append(leak["id"])
        return answer

    desk.worker = replace(desk.worker, identify=slow)
    await desk.work()
    assert (await rotation(desk, run))["state"] == "aborted"
    found = await rotation(desk, urgent[0])
    assert (found["reason"], found["missing"][0]) == ("revoke_by_hand", "revoke")
    now = await desk.ref(path.split("/")[3])
    assert (now["state"], now["version"]) == ("suspended", 1 if cutover else 2)


async def hand_on(desk: Desk, run: str) -> dict[str, Any]:
    """Let the minute pass in which nobody looks at a new run."""
    await procedures.wake(desk.worker, await one_run(desk, run))
    await desk.work()
    return await rotation(desk, run)


@pytest.mark.parametrize("at", ["waits", "goes_back"])
async def test_a_new_key_that_a_leak_found_beside_the_old_is_a_task_until_it_is_dead(desk: Desk, at: str) -> None:
    """It waits, or was taken back a moment ago: its rotation ends, and somebody still looks after what it leaves."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client, "" if at == "waits" else SKIP)
    if at == "goes_back":
        assert (await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator"))[0] == 200
        whole = desk.worker.custodian.open
        opened = list[int]()

        def away(job: Any) -> Any:
            opened.append(1)
            if len(opened) > 1:  # the old one is pinned, the new one is not taken away yet
                raise Unavailable("store_unreachable")
            return whole(job)

        desk.worker.custodian.open = away  # type: ignore[method-assign]
        await desk.work()
        desk.worker.custodian.open = whole  # type: ignore[method-assign]
        assert ((await rotation(desk, run))["state"], (await desk.ref(ref))["version"]) == ("undoing", 1)
    status, urgent = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True})
    assert (status, (await rotation(desk, run))["state"]) == (201, "aborted"), urgent
    await desk.work()
    task = await unused(desk, ref)
    assert "unused_key_alive" in desk.stand.alerts()
    assert (await hand_on(desk, task["id"]))["reason"] == "revoke_by_hand"
    desk.sim.book.keys.put("openai", desk.canaries[0].value.decode(), SimKeyState.REVOKED, None)
    assert (await resume(desk, urgent["id"]))["missing"][0] == "create"
    await desk.put(client, desk.canary())
    await desk.work()
    assert (await rotation(desk, urgent["id"]))["state"] == "complete"
    assert await desk.web.intake.live_versions(desk_place(client)) == [2, 3]
    desk.sim.book.keys.put("openai", new.decode(), SimKeyState.REVOKED, None)
    done = await resume(desk, task["id"])
    assert (done["state"], done["ended"]) == ("complete", "dead")
    assert await desk.web.intake.live_versions(desk_place(client)) == [3]


async def test_a_value_that_another_takes_the_place_of_is_a_task_until_it_is_dead(desk: Desk) -> None:
    """A good key was found in a log while it was verified, and another one was brought: the first lives on, so its end
    is begun. One that the provider refused needs none."""
    client = await desk.stand.client()
    await desk.onboard(client)
    _, typo = await desk.put(client, desk.canary(state="revoked"))
    await desk.work()
    first = desk.canary()
    _, second = await desk.put(client, first)
    with (desk.files / "web.log").open("ab") as file:
        file.write(b'{"at": "2999-01-01T00:00:00Z", "event": "' + first + b'"}\n')
    await desk.work()
    (desk.files / "web.log").write_bytes(b"")
    run, ref = second["rotation"], second["ref"]
    assert ((await rotation(desk, run))["reason"], run) == ("secret_in_logs", typo["rotation"])
    assert (await desk.put(client, desk.canary()))[1]["rotation"] == run
    await desk.work()
    found = (await desk.call("GET", f"/v1/refs/{ref}/rotations", "operator"))[1]["rotations"]
    (task,) = [one for one in found if one["id"] != run]
    assert task["from_version"] == 3
    assert (await hand_on(desk, task["id"]))["reason"] == "revoke_by_hand"
    assert 3 in await desk.web.intake.live_versions(desk_place(client))


@pytest.mark.parametrize("state", ["billing_blocked", "rate_limited", "expired"])
async def test_a_new_key_that_is_no_good_any_more_is_not_cut_over_to(desk: Desk, state: str) -> None:
    """It was verified, and looked at again before the cutover: its balance is gone, or nobody could check it. Or it
    waited for longer than it lives."""
    client = await desk.stand.client()
    _, new, ref, run = await begun(desk, client)

    async def looked_at(now: SimKeyState) -> dict[str, Any]:
        desk.sim.book.keys.put("openai", new.decode(), now, "acme")
        assert (await desk.call("POST", f"/v1/refs/{ref}/verify", "operator"))[0] == 202
        await desk.work()
        await desk.retry_now()
        return await rotation(desk, run)

    row = "SET session_replication_role = replica; UPDATE byokeep.credential_ref SET candidate_expires_at ="
    if state == "expired":
        desk.sql(f"{row} now()")
    else:
        await looked_at(SimKeyState(state))
    found = await resume(desk, run, "not_rehearsed")
    assert (found["state"], found["missing"][0]) == ("failed", "cutover")
    assert found["reason"] in ("verified_no_quota", "no_credit", "rate_limited", "candidate_gone")
    assert await served(desk, client) == 1
    desk.sql(f"{row} NULL")
    assert (await looked_at(SimKeyState.VALID))["missing"][0] == "soak"
    assert await served(desk, client) == 2


async def test_the_cutover_was_when_its_record_says(desk: Desk) -> None:
    """A worker whose clock is slow: a job that was given the old version is waited for, and its calls measure nothing
    of the new one."""
    client = await desk.stand.client()
    await desk.onboard(client)
    await desk.stand.lease(await desk.stand.job(client))
    run = (await desk.put(client, desk.canary(), query=SKIP))[1]["rotation"]
    await desk.work()
    desk.sql("UPDATE byokeep.procedure_run SET facts = jsonb_set(facts, '{pinned_at}', '\"2020-01-01T00:00:00.0Z\"')"
             " WHERE closed_at IS NULL")  # fmt: skip
    told_calls(desk, client, "ok", "ok")
    later(desk)
    assert (await resume(desk, run))["reason"] == "soak_unknown"
    found = await resume(desk, run, "soak_unknown")
    assert (found["state"], found["missing"][0]) == ("running", "revoke")


@pytest.mark.parametrize("made", [True, False])
async def test_a_mint_whose_administrators_key_is_gone_can_be_aborted(desk: Desk, made: bool) -> None:
    """People are told; the key that was made is a task until it is dead, and another rotation may begin."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="openrouter")
    await administered(desk, client, "openrouter")
    path = f"/v1/refs/{first['ref']}/rotations"
    if made:
        run = await minted(desk, first["ref"], skip_rehearsal=False)
    else:
        run = str((await desk.call("POST", path, "operator", {"mint": True}))[1]["id"])
    admin = desk.sql("SELECT id FROM byokeep.credential_ref WHERE purpose = 'admin'")
    assert (await desk.call("POST", f"/v1/refs/{admin}/state", "operator", RETIRED))[0] == 200
    await desk.work()
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    assert ((await rotation(desk, run))["state"], await served(desk, client, "openrouter")) == ("aborted", 1)
    assert "revocation_refused" in desk.stand.alerts()
    if made:
        task = await unused(desk, first["ref"])
        assert (task["reason"], keys_of(desk, "openrouter")) == ("revoke_by_hand", ["valid", "valid"])
    assert (await desk.call("POST", path, "operator", {}))[0] == 201
