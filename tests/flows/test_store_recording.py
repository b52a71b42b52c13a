"""A store that may not record: nothing is leased and no value is taken in; kills go on; it comes back by itself."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import time
from dataclasses import replace
from unittest.mock import AsyncMock, Mock

import pytest
from procrastinate.periodic import PeriodicDeferrer

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.embedded import audit_files
from byokeep.broker.app import READY_FOR_S
from byokeep.broker.rounds import Rounds
from byokeep.core.errors import Denied
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel.app import APPENDED_FOR_S, RECORDED_FOR_S
from byokeep.kernel.command import raise_alert
from byokeep.kernel.restored import watch_store_age
from byokeep.kernel.worker_rounds import late_rounds, watch_worker
from byokeep.processes.doctor import _rounds
from tests.support.profiles import put_profile
from tests.support.queue import known
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


class Full:
    """No reserve to hold."""

    def hold(self) -> bool:
        return True


class Blind(FileStoreAudit):
    """Looks for the marks where no device writes: what the broker sees of a store without its audit devices."""

    def __init__(self, desk: Desk) -> None:
        files = audit_files(desk.stand.store.home)
        elsewhere = {name: desk.stand.home / f"{name}.jsonl" for name in files}
        for path in elsewhere.values():
            path.touch()
        super().__init__(desk.stand.app.store_audit._login, elsewhere, deadline_s=0.1)  # type: ignore[attr-defined]


@pytest.mark.req("R8.2-3", "R1.4-2")
async def test_without_proof_that_the_store_records_nothing_is_leased_or_taken_in(desk: Desk) -> None:
    """Proof too old: leases and intake answer 503, no version is written, a kill works; one probe opens both again."""
    stand, state = desk.stand, desk.stand.app.store_recording
    client = await stand.client("openai")
    other = await stand.client()
    job = await stand.job(client)
    blind = Rounds(replace(stand.app, store_audit=Blind(desk)), Full())
    sighted = Rounds(stand.app, Full())
    await stand.lease(job)

    state.proved_at = stand.app.clock.monotonic() - RECORDED_FOR_S - 1
    desk.sql("UPDATE byokeep.installation SET store_recorded_at = now() - interval '16 seconds'")
    await blind._probe()  # finds no mark, so it proves nothing
    assert "store_not_recording" in stand.alerts()
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (503, "store_not_recording")
    status, reply = await stand.call("GET", "/readyz")
    assert (status, reply["part"], reply["reason"]) == (503, "recording", "store_not_recording")
    for path in (f"/v1/clients/{other}/providers/openai/value", f"/v1/clients/{other}/providers/x/webhook"):
        status, reply = await desk.call("PUT", path, "operator", raw=desk.canary())
        assert (status, reply["code"]) == (503, "store_not_recording"), path
    place = SecretRef(ClientId(other), Provider.OPENAI)
    assert await stand.intake.current_version(place) == 0
    assert desk.sql("SELECT count(*) FROM byokeep.procedure_run") == "0"
    wish = {"client_id": str(other), "reason": "test"}
    status, reply = await stand.call("POST", "/v1/switches/close", "operator", wish)
    assert status == 200, reply

    await sighted._probe()
    assert (await stand.call("GET", "/readyz"))[0] == 200
    # What told of the outage is closed by the round that sees its end; that a store answered and wrote nothing is not.
    assert set(stand.alerts()) == {"audit_device_unhealthy"}
    closed = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'alert.closed' AND actor_id = chain"
    assert stand.db.sql(closed) == "1"
    state.proved_at = stand.app.clock.monotonic() - RECORDED_FOR_S + READY_FOR_S - 0.5
    assert (await stand.call("GET", "/readyz"))[0] == 503, "whoever is told that it is ready asks a moment later"
    await stand.lease(job)
    await sighted._probe()
    third = await stand.client()
    assert (await desk.put(third, desk.canary()))[0] == 202


async def test_a_store_that_is_older_than_the_database_is_told(desk: Desk) -> None:
    """It lacks the version of the key that was stored last. A later key mends nothing: a person closes the alert."""
    stand = desk.stand
    await watch_store_age(stand.app)
    client = await stand.client("openai")
    await watch_store_age(stand.app)
    assert stand.alerts() == []
    stand.db.sql("UPDATE byokeep.credential_ref SET version = 2")
    await watch_store_age(stand.app)
    assert stand.alerts() == ["store_behind"]
    await stand.key(client, "openai", version=2)
    await watch_store_age(stand.app)
    assert stand.alerts() == ["store_behind"]


async def test_a_store_that_is_older_is_told_by_its_profiles_and_clients(desk: Desk) -> None:
    """The record of the profile that was sealed last is missing there; so is whom a kill would cut off."""
    stand = desk.stand
    client = await stand.client("openai")
    await watch_store_age(stand.app)
    assert stand.alerts() == []
    stand.db.sql("UPDATE byokeep.client SET entity_id = gen_random_uuid()")
    older = Mock(newest=AsyncMock(side_effect=Denied("store_denied")))  # a policy from before `byokeep init`
    with pytest.raises(Denied):
        await watch_store_age(replace(stand.app, records=older))
    assert stand.alerts() == ["store_behind"]
    profile = put_profile(stand, client, stand.account(client)).id  # of which the store has no record
    await watch_store_age(stand.app)
    keys = stand.db.sql("SELECT dedup_key FROM byokeep.alert WHERE reason = 'store_behind' ORDER BY 1").splitlines()
    assert keys == sorted([f"store_behind/{client}/entity", f"store_behind/{client}/{profile}"])


async def test_a_store_that_is_older_is_told_by_every_kind_of_secret(desk: Desk) -> None:
    """Of an account's tokens, a signing secret and an administrator's key it lacks the version stored last."""
    stand = desk.stand
    client, by = await stand.client(), stand.people["operator"].id
    account = stand.account(client)
    places = {f"x/accounts/{account}/tokens": ("oauth_token_set", "account", f"'{account}'"),
              "openai/admin": ("provider_admin_key", "admin", "NULL"),
              "x/webhook": ("webhook_signing_secret", "webhook", "NULL")}  # fmt: skip
    for place, (kind, purpose, whose) in places.items():
        stand.db.sql(
            "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, account_id, environment,"
            " secret_ref, version, state, verification, risk, created_by, rotation_due_at) VALUES (gen_random_uuid(),"
            f" '{client}', '{place.split('/')[0]}', '{kind}', '{purpose}', {whose}, 'development',"
            f" 'vault://kv/clients/{client}/providers/{place}', 1, 'active', 'verified', 'standard', '{by}',"
            " now() + interval '90 days')"
        )
    await stand.intake.put(SecretRef(ClientId(client), Provider.X, SecretPart.WEBHOOK), Secret("of-a-webhook"), cas=0)
    await watch_store_age(stand.app)
    keys = stand.db.sql("SELECT dedup_key FROM byokeep.alert WHERE reason = 'store_behind' ORDER BY 1").splitlines()
    del places["x/webhook"]  # which the store has
    assert keys == sorted(f"store_behind/{client}/{place}" for place in places)


async def test_a_new_broker_has_no_proof(desk: Desk) -> None:
    """Before its first probe, and when no device is declared, nothing is leased."""
    stand = desk.stand
    client = await stand.client("openai")
    job = await stand.job(client)
    stand.app.store_recording.proved_at = float("-inf")
    none = FileStoreAudit(stand.app.store_audit._login, {})  # type: ignore[attr-defined]
    await Rounds(replace(stand.app, store_audit=none), Full())._probe()
    assert set(stand.alerts()) == {"no_audit_device", "store_not_recording"}
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 503


async def test_while_no_round_gets_a_record_onto_the_platform_s_chain_nothing_is_given(desk: Desk) -> None:
    """No alert could be raised then: leases and permits answer 503, a kill works; the next record opens both again."""
    stand, chain = desk.stand, desk.stand.app.platform_chain
    client = await stand.client("openai")
    job = await stand.job(client)
    lease = await stand.lease(job)
    chain.proved_at = stand.app.clock.monotonic() - APPENDED_FOR_S - 1
    await raise_alert(stand.app, reason="clock_jump", key="test", severity="warning")
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (503, "audit_chain_held")
    status, reply = await stand.permit(lease["lease_id"])
    assert (status, reply["code"]) == (503, "audit_chain_held")
    wish = {"client_id": str(await stand.client()), "reason": "test"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", wish))[0] == 200
    await Rounds(stand.app, Full())._checkpoint()
    assert (await stand.permit(lease["lease_id"]))[1].get("code") != "audit_chain_held"
    await stand.lease(job)


async def test_a_round_of_the_worker_that_does_not_come_is_told_of(desk: Desk) -> None:
    """Gone, or kept out by what holds its key: an alert of the broker and a failed line of the doctor; over, closed."""
    stand, queue = desk.stand, known(desk.stand.db.url("byokeep_worker"))
    assert set((await late_rounds(stand.app.db)).values()) == {False}
    assert (await _rounds(stand.app.db)).state == "unknown"
    async with queue.open_async():

        async def minute() -> dict[str, bool]:
            """Five minutes are over; a worker puts in the rounds of this one, and they are done."""
            desk.sql("UPDATE procrastinate.procrastinate_periodic_defers SET defer_timestamp = defer_timestamp - 301")
            deferrer = PeriodicDeferrer(queue.periodic_registry)
            await deferrer.defer_jobs(deferrer.get_previous_tasks(at=time.time()))
            desk.sql("SET search_path = procrastinate; DELETE FROM procrastinate_jobs WHERE scheduled_at IS NULL")
            await watch_worker(stand.app)
            return await late_rounds(stand.app.db)

        assert await minute() == {}
        assert stand.alerts() == []
        desk.sql(
            "SET search_path = procrastinate; INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock,"
            " scheduled_at) VALUES ('default', 'verify_key', 'kek_care', '2099-01-01')"
        )
        assert await minute() == {"kek_care": True}
        assert stand.alerts() == ["worker_rounds_late"]
        said = await _rounds(stand.app.db)
        assert (said.state, said.code, said.figures) == ("failed", "late", {"rounds": "kek_care"})
        desk.sql("SET search_path = procrastinate; DELETE FROM procrastinate_jobs")
        desk.sql(  # by a clock that ran ahead, of a round that came since
            "INSERT INTO procrastinate.procrastinate_periodic_defers (task_name, defer_timestamp, periodic_id)"
            " VALUES ('due_round', extract(epoch FROM now()) + 86400, '')"
        )
        assert await minute() == {}
        assert stand.alerts() == []
        # A worker without a browser does no profile_care, which is late only where there are profiles.
        desk.sql("DELETE FROM procrastinate.procrastinate_periodic_defers WHERE task_name = 'profile_care'")
        assert await late_rounds(stand.app.db) == {}
        client, by = await stand.client(), stand.people["operator"].id
        made = "INSERT INTO byokeep.profile (id, client_id, packing, created_by) VALUES"
        desk.sql(f"{made} (gen_random_uuid(), '{client}', 'portable', '{by}')")
        assert await late_rounds(stand.app.db) == {"profile_care": False}
