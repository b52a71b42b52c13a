"""SOP 5.1 cut off at its worst moments: between the store's write and the database's commit, and around it."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.backup import backups
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Provider, Role
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import open_custody
from byokeep.keys import onboard as onboarding
from byokeep.keys import verify_key as verifying
from byokeep.keys.onboard import Onboarded, OnboardRequest, onboard, sweep_orphans
from byokeep.keys.verify_key import Task, verify_key
from byokeep.worker.ports import LeasedValues
from byokeep_redact.search import Sweep
from tests.support.console import Visit
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


class CutOffIntake:
    """Writes, and loses the answer."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def put(self, ref: SecretRef, value: Secret, *, cas: int) -> Any:
        await self._real.put(ref, value, cas=cas)
        raise Unavailable("store_timeout")


class NoWrite(CutOffIntake):
    """Answers, and does not write."""

    async def put(self, ref: SecretRef, value: Secret, *, cas: int) -> Any:
        raise Unavailable("store_unreachable")


class DatabaseDown:
    """Works for a number of transactions, then no more."""

    def __init__(self, real: Any, good: int) -> None:
        self._real, self._good = real, good

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def begin(self, **scope: Any) -> Any:
        self._good -= 1
        if self._good < 0:
            raise Unavailable("database_unavailable")
        return self._real.begin(**scope)


async def submit(desk: Desk, client: UUID, value: bytes, **changed: Any) -> Onboarded:
    actor = Actor(id=desk.people["operator"].id, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
    return await onboard(
        replace(desk.web, **changed), actor, client_id=ClientId(client), provider="openai", value=Secret(value),
        wish=OnboardRequest(),
    )  # fmt: skip


def place(client: UUID) -> SecretRef:
    return SecretRef(ClientId(client), Provider.OPENAI)


@pytest.mark.req("R1.1-5", "R5.1-4")
async def test_repeating_a_cut_off_onboarding_stores_no_second_version(desk: Desk) -> None:
    """With the database gone after the write there is no success; the same call later adopts what was written."""
    client = await desk.stand.client()
    value = desk.canary()
    with pytest.raises(Unavailable):
        await submit(desk, client, value, db=DatabaseDown(desk.web.db, 1))
    assert await desk.stand.intake.live_versions(place(client)) == [1]
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref") == "0"
    _status, inventory = await desk.call("GET", "/v1/inventory", "operator")
    assert inventory["result"] == "match"  # announced, so explained
    done = await submit(desk, client, value)
    assert done.version == 1
    assert await desk.stand.intake.live_versions(place(client)) == [1]
    await desk.work()
    assert (await desk.sop(str(done.sop_id)))["state"] == "complete"
    dump = desk.stand.db.server.run_tool("pg_dump", "-d", desk.stand.db.name, "--inserts")
    assert Sweep(desk.canaries).scan_bytes(dump, source="dump").clean


async def test_a_lost_answer_of_the_store_is_adopted_too(desk: Desk) -> None:
    """When the store wrote but its answer was lost, repeating the call finds the version and records it."""
    client = await desk.stand.client()
    value = desk.canary()
    with pytest.raises(Unavailable):
        await submit(desk, client, value, intake=CutOffIntake(desk.web.intake))
    done = await submit(desk, client, value)
    assert (done.version, await desk.stand.intake.live_versions(place(client))) == (1, [1])


@pytest.mark.req("R5.1-4")
async def test_no_write_no_row(desk: Desk) -> None:
    """With the store away, from the start or when it is to write, nothing is stored and no reference exists."""

    class Away:
        def __getattr__(self, name: str) -> Any:
            async def away(*_: Any, **__: Any) -> Any:
                raise Unavailable("store_unreachable")

            return away

    client = await desk.stand.client()
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=Away())
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=NoWrite(desk.web.intake))
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref") == "0"
    assert await desk.stand.intake.current_version(place(client)) == 0


async def test_another_value_waits_until_the_sweep_has_cleaned_up(desk: Desk) -> None:
    """A cut-off value blocks another one with a conflict; the sweep destroys it, says so, and frees the place."""
    client = await desk.stand.client()
    first, second = desk.canary(), desk.canary()
    with pytest.raises(Unavailable):
        await submit(desk, client, first, intake=CutOffIntake(desk.web.intake))
    with pytest.raises(Conflict) as refused:
        await submit(desk, client, second)
    assert refused.value.code == "onboarding_in_progress"
    assert await sweep_orphans(desk.worker) == 0  # too young to count as cut off
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    assert await desk.stand.intake.live_versions(place(client)) == []
    assert len(desk.stand.events("key.orphan_found")) == len(desk.stand.events("key.orphan_destroyed")) == 1
    assert len(desk.stand.events("client_key_onboarding_failed")) == 1
    assert await sweep_orphans(desk.worker, older_than_s=0) == 0
    done = await submit(desk, client, second)
    assert (done.version, await desk.stand.intake.live_versions(place(client))) == (2, [2])


async def test_the_sweep_spares_what_is_on_record(desk: Desk) -> None:
    """Beside an orphan the pinned version and an older one stay as they are."""
    client = await desk.stand.client()
    await desk.onboard(client)
    await desk.onboard(client)
    desk.sql("UPDATE byokeep.procedure_run SET state = 'complete', closed_at = now() WHERE procedure = 'rotate_key'")
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    assert await desk.stand.intake.live_versions(place(client)) == [1, 2, 3]
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    assert await desk.stand.intake.live_versions(place(client)) == [1, 2]


async def test_a_sweep_that_can_not_clean_raises_an_alert_and_tries_again(desk: Desk) -> None:
    """While no custody lease can be had the orphan stays, people are told, and a later sweep destroys it."""
    client = await desk.stand.client()
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    desk.sql("UPDATE byokeep.client SET state = 'suspended'")
    assert await sweep_orphans(desk.worker, older_than_s=0) == 0
    assert "orphan_not_destroyed" in desk.stand.alerts()
    desk.sql("UPDATE byokeep.client SET state = 'active'")
    desk.sql("UPDATE byokeep.switch SET closed = true WHERE scope = 'global'")  # as in a restored home
    assert await sweep_orphans(desk.worker, older_than_s=0) == 0
    assert await desk.stand.intake.live_versions(place(client)) == [1]
    desk.sql("UPDATE byokeep.switch SET closed = false WHERE scope = 'global'")
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    assert await desk.stand.intake.live_versions(place(client)) == []


async def test_places_that_cannot_be_cleaned_keep_no_other_from_its_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as a sweep takes at once are a suspended client's: another's orphan is destroyed all the same."""
    monkeypatch.setattr(onboarding, "_AT_ONCE", 1)
    held, other = await desk.stand.client(), await desk.stand.client()
    for client in (held, other):
        with pytest.raises(Unavailable):
            await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    desk.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{held}'")
    for _ in range(30):
        if await sweep_orphans(desk.worker, older_than_s=0):
            break
    assert await desk.stand.intake.live_versions(place(other)) == []
    assert await desk.stand.intake.live_versions(place(held)) == [1]


@pytest.mark.req("R9.2-3")
async def test_after_a_restore_nothing_goes_without_a_second_person(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older restore left is found, told and kept; an operator asks, an approver lets exactly that be destroyed.

    What is cut off after the restore is swept as ever, and one who asked approves nothing. A worker that is cut off
    once the store has destroyed leaves no destruction without its record.
    """
    client = await desk.stand.client()
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    said: dict[str, Any] = {"backup": str(uuid4()), "epoch": 0, "count": 0, "found": 0}
    await backups.say(desk.stand.app, EventName.BACKUP_RESTORED, said)
    assert await sweep_orphans(desk.worker, older_than_s=0) == 0
    assert await desk.stand.intake.live_versions(place(client)) == [1]
    assert "orphan_kept" in desk.stand.alerts()
    assert (len(desk.stand.events("key.orphan_found")), desk.stand.events("key.orphan_destroyed")) == (1, [])
    _, listed = await desk.call("GET", "/v1/inventory", "operator")
    assert listed["orphans"] == [{"client_id": str(client), "provider": "openai", "versions": [1]}]

    with pytest.raises(Unavailable):  # cut off after the restore
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    assert await desk.stand.intake.live_versions(place(client)) == [1]

    ask = f"/v1/clients/{client}/providers/openai/purge"
    assert (await desk.call("POST", ask, "approver"))[0] == 403
    status, asked = await desk.call("POST", ask, "operator")
    assert (status, (await desk.call("POST", ask, "operator"))[1]["id"]) == (201, asked["id"])
    await desk.work()
    assert await desk.stand.intake.live_versions(place(client)) == [1]
    _, shown = await desk.call("GET", f"/v1/procedures/{asked['id']}", "approver")
    assert (shown["waits_for"], shown["facts"]) == ("approval", {"provider": "openai", "version_1": 1})
    visit = Visit(desk)
    await visit.sign_in("approver")
    name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")
    for page in ("approvals", f"procedures/{asked['id']}"):  # what is approved stands where it is approved
        text = (await visit.get(f"/console/{page}")).text
        assert all(one in text for one in (name, "provider openai", "version 1")), page
        assert "version 2" not in text
    approve = f"/v1/procedures/{asked['id']}/approve"
    assert (await desk.call("POST", approve, "operator"))[0] == 403
    late = await desk.stand.intake.put(place(client), Secret("written after it was asked for"), cas=2)
    real, cut = LeasedValues.destroy, []

    async def cut_off(custody: LeasedValues, ref: SecretRef, versions: Any) -> None:
        await real(custody, ref, versions)
        if not cut:  # what a kill between the store's answer and the record of it leaves
            cut.append(versions)
            raise Unavailable("store_unreachable")

    monkeypatch.setattr(LeasedValues, "destroy", cut_off)
    assert (await desk.call("POST", approve, "approver"))[0] == 200
    await desk.work()
    assert (cut, len(desk.stand.events("key.orphan_destroyed"))) == ([[1]], 1)
    await desk.retry_now()
    assert await desk.stand.intake.live_versions(place(client)) == [late.version]  # what nobody approved stays
    _, shown = await desk.call("GET", f"/v1/procedures/{asked['id']}", "operator")
    assert (shown["state"], len(desk.stand.events("key.orphan_destroyed"))) == ("complete", 2)
    other = f"/v1/clients/{client}/providers/kie/purge"
    assert (await desk.call("POST", other, "operator"))[1]["code"] == "no_orphans"


async def test_a_sweep_after_the_runs_own_job_opens_another(desk: Desk) -> None:
    """A worker that was away until the onboarding's job had ended still cleans up."""
    client = await desk.stand.client()
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    desk.sql("UPDATE byokeep.job SET state = 'expired'")
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    assert await desk.stand.intake.live_versions(place(client)) == []


async def test_a_sweep_ends_no_job_of_other_work(desk: Desk) -> None:
    """A verification that waits for its next attempt still has its custody after the sweep of the same place."""
    client = ClientId(await desk.stand.client())
    with pytest.raises(Unavailable):
        await submit(desk, client, desk.canary(), intake=CutOffIntake(desk.web.intake))
    async with desk.web.db.begin(client_id=client) as tx:
        job = await open_custody(tx, desk.web, client, Provider.OPENAI, uuid4())
    assert await sweep_orphans(desk.worker, older_than_s=0) == 1
    async with desk.worker.custodian.open(job) as custody:
        assert await custody.live_versions(place(client)) == []


async def test_a_run_that_was_swept_can_not_be_recorded_late(desk: Desk) -> None:
    """An onboarding that comes back after the sweep ended its run conflicts and leaves no reference."""
    client = await desk.stand.client()

    class SweptMeanwhile(CutOffIntake):
        async def put(self, ref: SecretRef, value: Secret, *, cas: int) -> Any:
            written = await self._real.put(ref, value, cas=cas)
            assert await sweep_orphans(desk.worker, older_than_s=0) == 1
            return written

    with pytest.raises(Conflict) as late:
        await submit(desk, client, desk.canary(), intake=SweptMeanwhile(desk.web.intake))
    assert late.value.code == "superseded"
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref") == "0"


async def test_a_task_that_runs_twice_changes_nothing_the_second_time(desk: Desk) -> None:
    """A repeated verification of a closed run, or of a version no longer pinned, is called superseded."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    job = desk.sql("SELECT id FROM byokeep.job LIMIT 1")
    task = Task(
        client_id=ClientId(client), ref_id=UUID(done["ref"]), version=1, sop_id=UUID(done["sop"]), job_id=UUID(job)
    )
    assert await verify_key(desk.worker, task, last_attempt=True) == "superseded"
    assert await verify_key(desk.worker, replace(task, version=2), last_attempt=True) == "superseded"
    assert await verify_key(desk.worker, replace(task, client_id=ClientId(uuid4())), last_attempt=True) == "superseded"
    assert len(desk.stand.events("client_key_onboarded")) == 1


async def test_a_run_whose_version_serves_again_meanwhile_calls_it_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of a version that neither serves nor waits ends where that is seen: no verification that looked at nothing
    is on record of the key, should it serve again by then."""
    client, real = await desk.stand.client(), verifying._record
    status, reply = await desk.put(client, desk.canary())
    assert status == 202
    moved = f"UPDATE byokeep.credential_ref SET version = {{}} WHERE client_id = '{client}'"

    async def later(*given: Any) -> str:
        desk.sql(moved.format(1))
        return await real(*given)

    desk.sql(moved.format(2))
    monkeypatch.setattr(verifying, "_record", later)
    await desk.work()
    run = await desk.sop(reply["sop"])
    assert (run["state"], run["reason"], desk.stand.events("key.verified")) == ("failed", "superseded", [])
