"""Keys that guard browser profiles: made on record, rotated, moved, ended, and compared with their holder."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres.database import build_app
from byokeep.core.errors import Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.kek import KekFinding, Wrapped
from byokeep.core.keystate import TRANSITIONS, KeyState
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_record
from byokeep.operations.due import DueKind, read_due
from byokeep.profiles import kek, kek_tasks
from byokeep.profiles.kek import Dependent, Rotation
from byokeep.profiles.openings import stored
from byokeep.sealing.generation import Generation, StoredGeneration
from byokeep.sealing.transit import TransitKeys
from byokeep.worker.tasks import take_up_again
from tests.support.broker import Stand
from tests.support.keks import Keys, keys_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
async def keys(stand: Stand) -> AsyncIterator[Keys]:
    async with keys_on(stand) as made:
        yield made


def rows(keys: Keys, client: object) -> list[str]:
    return keys.sql(
        f"SELECT version, state FROM byokeep.kek_version WHERE client_id = '{client}' ORDER BY version"
    ).splitlines()


async def rotated(keys: Keys, client: object, expected: int) -> Rotation:
    found = await kek_tasks.rotate(keys.app, keys.person(), client, expected=expected, reason="scheduled")  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.req("R2.3-3")
async def test_a_key_is_in_the_inventory_before_its_first_use(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is there before the holder makes it, with every field; it protects after its row says active."""
    client, make, when_made = await keys.client(), TransitKeys.rotate, list[list[str]]()

    async def rotate(holder: TransitKeys, *given: Any, **named: Any) -> Any:
        when_made.append(rows(keys, client))
        return await make(holder, *given, **named)

    monkeypatch.setattr(TransitKeys, "rotate", rotate)
    assert await keys.kek(client) == await keys.kek(client) == 1
    assert rows(keys, client) == ["1|active"]
    assert when_made == [["1|pre_activation"]]
    made = [json.loads(one) for one in keys.stand.events("kek.made")]
    assert [(one["outcome"], one["fields"]["kek"]) for one in made] == [
        ("intended", f"development-{client}"), ("ok", f"development-{client}"),
    ]  # fmt: skip
    fields = made[0]["fields"]
    assert (fields["algorithm"], fields["bits"]) == ("aes256-gcm96", 256)
    assert {"protect_until", "process_until"} <= set(fields)
    assert (fields["owner"], fields["purpose"], fields["kek_version"]) == ("keys-team", "wrap", 1)
    assert fields == {**made[1]["fields"]}
    moved = keys.sql("SELECT kind, version, state_from, state_to, reason FROM byokeep.vault_key_transition")
    assert moved == "kek|1|pre_activation|active|made"
    assert await kek_tasks.check(keys.app, keys.system, client) == ()


async def moved(keys: Keys, client: ClientId, to: KeyState) -> None:
    async with keys.app.db.begin(client_id=client) as tx:
        version = await kek.held(tx, holder="transit", kek_id=f"development-{client}", version=1)
        await kek.move(tx, keys.app, keys.person(), version, to=to, reason="a_test")


async def finish(keys: Keys, rotation: Rotation, client: object, *, rounds: int = 20) -> Rotation:
    """Run what a worker would until the rotation is done."""
    for _ in range(rounds):
        async with keys.app.db.begin(every_client=True) as tx:
            now = await tx.one(Rotation, "kek_rotation_get", id=rotation.id)
        if now.state == "done":
            return now
        await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client, limit=2)  # type: ignore[arg-type]
    raise AssertionError("the rotation did not end")


async def hang_on_first(keys: Keys, client: UUID) -> int:
    """How many sealed profiles are listed with the first version of a client's key."""
    at = {"holder": "transit", "kek_id": f"development-{client}", "ids": None, "exposed": False, "limit": 100}
    async with keys.app.db.begin(every_client=True) as tx:
        return len(await tx.all(Dependent, "kek_dependents", **at, version=1))


@pytest.mark.req("R2.3-5", "R6.1-8", "S-NIST-9")
async def test_a_rotation_ends_when_every_wrap_has_moved(keys: Keys) -> None:
    """New keys name the new version, the old one only opens; all is readable meanwhile, and blobs stay as they are.

    Sixty days before a key's time is over it is due, and what hangs on it is listed until nothing is left.
    """
    client = await keys.client()
    profiles = [await keys.profile(client, generations=2) for _ in range(3)]
    assert await hang_on_first(keys, client) == 6
    life, limits = timedelta(days=keys.app.limits.kek_rotation_days), keys.app.limits
    async with keys.app.db.begin(every_client=True) as tx:
        for early, listed in ((timedelta(days=60), 1), (timedelta(days=61), 0)):
            at = keys.app.clock.now() + life - early
            due = await read_due(tx, limits, at, kind=DueKind.KEK, until=at + timedelta(days=60))
            assert len(due.items) == listed, early
    blobs = keys.sql("SELECT blob_key, blob_sha256, dek_id FROM byokeep.profile_generation ORDER BY 1")
    rotation = await rotated(keys, client, 1)
    assert (rotation.from_version, rotation.to_version, rotation.remaining, rotation.state) == (1, 2, 6, "rewrapping")
    assert rows(keys, client) == ["1|deactivated", "2|active"]
    assert await kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled") is None
    with pytest.raises(Conflict, match="kek_rotation_under_way"):
        await kek_tasks.rotate(keys.app, keys.person(), client, expected=2, reason="scheduled")
    with pytest.raises(Conflict) as refused:
        await keys.end(client, 1)
    assert (refused.value.code, refused.value.fields["dependents"]) == ("kek_has_dependents", 6)
    async with keys.custody(client) as custody:
        with pytest.raises(Rejected):  # the holder itself lets a named old version protect nothing
            await custody.keys._send("encrypt", keys.scope(client), {
                "plaintext": "QUJD", "key_version": 1, "context": "QUJD"})  # fmt: skip
        for profile in profiles:
            assert await keys.opens(custody, client, profile)
        assert await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client, limit=1) == 2
        for profile in profiles:  # half way
            for generation in (1, 2):
                assert await keys.opens(custody, client, profile, generation)
        done = await finish(keys, rotation, client)
        assert (done.moved, done.remaining) == (6, 0)
        assert await hang_on_first(keys, client) == 0
        for profile in profiles:
            for generation in (1, 2):
                assert await keys.opens(custody, client, profile, generation)
        fresh = (await keys.profiles(custody, client, 1))[0]
    assert keys.sql(f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{fresh}'") == "2"
    assert blobs == keys.sql(
        f"SELECT blob_key, blob_sha256, dek_id FROM byokeep.profile_generation WHERE profile_id <> '{fresh}' ORDER BY 1"
    )
    assert len(keys.stand.events("kek.rewrapped", "ok")) == 6
    (ended,) = keys.stand.events("kek.rotation_done", "ok")
    assert json.loads(ended)["fields"]["count"] == 6
    (turned,) = [json.loads(one) for one in keys.stand.events("kek.rotated", "ok")]
    assert (turned["fields"]["from_version"], turned["fields"]["kek_version"]) == (1, 2)
    assert turned["actor"] == str(keys.stand.people["operator"].id)
    assert await kek_tasks.check(keys.app, keys.system, client) == ()


async def test_what_a_rewrap_replaced_is_destroyed_and_the_rest_let_be(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old records go with the comparison of a quarter of an hour later, whatever became of a task; those that rows
    stand for stay, and a record of a key that nobody knows is not touched."""
    client = await keys.client()
    profile = await keys.profile(client, generations=2)
    ref = ProfileRef(client, profile)
    await finish(keys, await rotated(keys, client, 1), client)
    async with keys.custody(client) as custody:
        stray = replace(parse_record(await custody.read(ref, 1)), dek_id=uuid4())
        await custody.write(ref, stray.canonical, cas=4)
        assert await custody.live_versions(ref) == [1, 2, 3, 4, 5]
        monkeypatch.setattr(kek_tasks, "CHECK_EVERY_S", 0)
        for ended, left in (("1 minute", 5), ("16 minutes", 3)):
            keys.sql(f"UPDATE byokeep.kek_rotation SET ended_at = now() - interval '{ended}'")
            assert await kek_tasks.compare(keys.app) >= 1
            assert len(await custody.live_versions(ref)) == left
        assert await custody.live_versions(ref) == [3, 4, 5]
        leases = "SELECT count(*) FROM byokeep.lease"
        before = int(keys.sql(leases))
        assert await kek_tasks.compare(keys.app) >= 1  # nothing is left: the key, and one listing of records
        assert int(keys.sql(leases)) == before + 2
        assert await keys.opens(custody, client, profile, 1)
        assert await keys.opens(custody, client, profile, 2)


async def test_a_rewrap_waits_for_who_has_the_profile_open(keys: Keys) -> None:
    """An open profile keeps its record, so that its seal does not lose its place; it moves when it is closed."""
    client = await keys.client()
    busy, free = await keys.profile(client), await keys.profile(client)
    rotation = await rotated(keys, client, 1)
    job = keys.sql(f"SELECT job_id FROM byokeep.profile_generation WHERE profile_id = '{busy}'")
    keys.sql(
        "INSERT INTO byokeep.profile_opening (client_id, profile_id, epoch, generation, purpose, job_id, opener_id,"
        f" until) VALUES ('{client}', '{busy}', 3, 1, 'use', '{job}', '{uuid4()}', now() + interval '1 hour')"
    )
    assert await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client) == 1
    assert keys.sql(f"SELECT record_version FROM byokeep.profile_generation WHERE profile_id = '{busy}'") == "1"
    assert keys.sql("SELECT state FROM byokeep.kek_rotation") == "rewrapping"
    keys.sql("UPDATE byokeep.profile_opening SET until = now()")
    await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client)
    assert keys.sql("SELECT state FROM byokeep.kek_rotation") == "done"
    assert keys.sql(f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{free}'") == "2"


async def test_a_rotation_in_the_middle_of_a_comparison_is_no_finding(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBao was asked before the new version was made, and the rows are read after: it is asked again."""
    client = await keys.client()
    await keys.kek(client)
    compared, asked = kek_tasks.compared, list[int]()

    async def slowly(*given: Any) -> Any:
        status = await compared(*given)
        asked.append(status.newest)
        if len(asked) == 1:
            await rotated(keys, client, 1)
        return status

    monkeypatch.setattr(kek_tasks, "compared", slowly)
    assert await kek_tasks.check(keys.app, keys.system, client) == ()
    assert keys.stand.alerts() == []


async def test_two_passes_of_one_client_leave_nothing_that_no_row_stands_for(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes the record anew, the older one's row follows first: the other's is destroyed, the profile opens."""
    client = await keys.client()
    profile = await keys.profile(client)
    rotation, keep = await rotated(keys, client, 1), kek_tasks._keep
    both, kept = asyncio.Barrier(2), asyncio.Event()

    async def in_order(tx: Any, actor: Any, rotation: Any, row: Any, written: Any) -> bool:
        await both.wait()
        if written.version == 3:
            await kept.wait()
        done = await keep(tx, actor, rotation, row, written)
        kept.set()
        return done

    monkeypatch.setattr(kek_tasks, "_keep", in_order)
    async with asyncio.TaskGroup() as group:
        passes = [group.create_task(kek_tasks.rewrap(keys.app, keys.system, rotation.id, client)) for _ in range(2)]
    assert sorted(one.result() for one in passes) == [0, 1]
    (row,) = await keys.app.db.read(Generation, "generations_of", {
        "client_id": client, "profile_id": profile, "limit": 9}, client_id=client)  # fmt: skip
    assert row.record_version == 2
    async with keys.custody(client) as custody:
        await stored(custody, row, keys.app.environment, found=StoredGeneration())
        assert await keys.opens(custody, client, profile)
    assert keys.stand.alerts() == []


async def test_one_pass_of_a_client_is_worked_on_at_a_time(keys: Keys) -> None:
    """A round hands a rotation on while a worker is at it: that waits until the worker has done, or has died."""
    client = await keys.client()
    await keys.profile(client)
    await rotated(keys, client, 1)
    queue = build_app(keys.stand.db.url("byokeep_worker"))
    async with queue.open_async():
        worker = await queue.job_manager.register_worker()
        assert await queue.job_manager.fetch_job(None, worker)
        assert await kek_tasks.go_on(keys.app) == 1
        assert await queue.job_manager.fetch_job(None, worker) is None
        keys.sql("UPDATE procrastinate.procrastinate_workers SET last_heartbeat = now() - interval '10 minutes'")
        assert await take_up_again(queue) == 1
        assert await queue.job_manager.fetch_job(None, await queue.job_manager.register_worker())


async def test_a_record_that_is_not_its_rows_blocks_and_is_never_called_moved(keys: Keys) -> None:
    """An altered or missing record raises an alert; the others move; the rotation is not done and says what is left."""
    client = await keys.client()
    good, altered, gone = [await keys.profile(client) for _ in range(3)]
    keys.sql(f"UPDATE byokeep.profile_generation SET manifest_hash = sha256('other') WHERE profile_id = '{altered}'")
    async with keys.custody(client) as custody:
        await custody.destroy(ProfileRef(client, gone), [1])
    rotation = await rotated(keys, client, 1)
    for moved in (1, 0, 0):
        assert await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client) == moved
    assert keys.sql("SELECT state, moved FROM byokeep.kek_rotation") == "rewrapping|1"
    assert keys.stand.alerts() == ["kek_rewrap_blocked", "kek_rewrap_blocked"]
    assert keys.sql(f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{good}'") == "2"
    with pytest.raises(Conflict) as refused:
        await keys.end(client, 1)
    assert refused.value.fields["dependents"] == 2
    assert keys.stand.events("kek.rotation_done") == []


async def test_profiles_that_cannot_be_moved_keep_no_other_from_its_turn(keys: Keys) -> None:
    """As many as a task takes at once are blocked: the one after them is moved all the same."""
    client = await keys.client()
    *blocked, good = sorted([await keys.profile(client) for _ in range(3)])
    for one in blocked:
        keys.sql(f"UPDATE byokeep.profile_generation SET manifest_hash = sha256('other') WHERE profile_id = '{one}'")
    rotation = await rotated(keys, client, 1)
    for _ in range(50):
        if await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client, limit=2):
            break
    assert keys.sql(f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{good}'") == "2"


async def test_the_end_of_another_clients_version_is_not_done(keys: Keys) -> None:
    """A task that names one client and another's key ends nothing, of neither: not at the holder, not in a row."""
    mine, other = await keys.client(), await keys.client()
    for client in (mine, other):
        await keys.profile(client)
        await finish(keys, await rotated(keys, client, 1), client)
    approver = keys.person("approver")
    with pytest.raises(NotFound):
        await kek_tasks.end_versions(
            keys.app, approver, mine, kek_id=f"development-{other}", holder="transit", version=1, reason="not_needed"
        )
    for client in (mine, other):
        assert rows(keys, client) == ["1|deactivated", "2|active"]
        assert await kek_tasks.check(keys.app, keys.system, client) == ()


async def test_an_ended_version_stays_ended_as_its_tombstone(keys: Keys) -> None:
    """With nothing on it a version opens nothing any more, its row stays; what comes back is found and not opened."""
    client = await keys.client()
    profile = await keys.profile(client)
    ref = ProfileRef(client, profile)
    await finish(keys, await rotated(keys, client, 1), client)
    async with keys.custody(client) as custody:
        old = parse_record(await custody.read(ref, 1))
        assert await keys.end(client, 1) == 1
        wrapped = Wrapped(holder="transit", kek_id=old.kek.key_id, kek_version=1, ciphertext=old.wrapped_dek)
        with pytest.raises(Rejected):
            await custody.keys.unwrap(wrapped, keys.context(client, profile))
        assert await keys.opens(custody, client, profile)
    assert rows(keys, client) == ["1|destroyed", "2|active"]
    last = keys.sql("SELECT state_to, reason, by FROM byokeep.vault_key_transition ORDER BY at DESC LIMIT 1")
    assert last == f"destroyed|not_needed|{keys.stand.people['approver'].id}"
    assert await keys.end(client, 1) == 0
    with pytest.raises(Conflict) as refused:
        await keys.end(client, 2)
    assert refused.value.fields["dependents"] == 1
    other = await keys.client()
    await keys.kek(other)
    with pytest.raises(Rejected, match="bad_kek_version"):  # the newest stays, always
        await keys.end(other, 1)
    assert await kek_tasks.check(keys.app, keys.system, client) == ()
    await keys.as_root(("POST", f"tenant/keys/development-{client}/config", {"min_decryption_version": 1}))
    found = await kek_tasks.check(keys.app, keys.system, client)
    assert [(one.version, one.finding) for one in found] == [(1, KekFinding.BACK)]
    with pytest.raises(Rejected, match="key_state"):
        async with keys.app.db.begin(client_id=client) as tx:
            await kek.check_process(tx, keys.app, holder="transit", kek_id=f"development-{client}", version=1,
                                          protected_at=keys.app.clock.now())  # fmt: skip
    for state in ("active", "deactivated", "suspended", "pre_activation"):
        with pytest.raises(Rejected, match="key_state"):
            await moved(keys, client, KeyState(state))


async def test_profiles_of_three_versions_open_and_dependents_are_counted(keys: Keys) -> None:
    """Keys on versions 1, 2 and 3 all open; what hangs on each is listed; an end with dependents is refused."""
    client = await keys.client()
    made = []
    for version in (1, 2, 3):
        made.append(await keys.profile(client))
        if version < 3:
            rotation = await rotated(keys, client, version)
            keys.sql(f"UPDATE byokeep.kek_rotation SET state = 'done', ended_at = now() WHERE id = '{rotation.id}'")
    async with keys.custody(client) as custody:
        for profile in made:
            assert await keys.opens(custody, client, profile)
    async with keys.app.db.begin(every_client=True) as tx:
        at = {"holder": "transit", "kek_id": f"development-{client}", "ids": None, "exposed": False, "limit": 100}
        for version, profile in zip((1, 2, 3), made, strict=True):
            (one,) = await tx.all(Dependent, "kek_dependents", **at, version=version)
            assert (one.profile_id, one.client_id, one.kek_version) == (profile, client, version)
            assert one.accounts == (f"x/acme{profile.hex[:8]}",)
        assert len(await tx.all(Dependent, "kek_dependents", **at, version=None)) == 3
    for version, count in ((1, 1), (2, 2)):
        with pytest.raises(Conflict) as refused:
            await keys.end(client, version)
        assert (refused.value.code, refused.value.fields["dependents"]) == ("kek_has_dependents", count)
    name = f"tenant/keys/development-{client}"
    await keys.as_root(("DELETE", f"{name}/soft-delete", {}))
    found = await kek_tasks.check(keys.app, keys.system, client)
    assert {one.finding for one in found} == {KekFinding.DISABLED}
    assert "kek_disabled_outside" in keys.stand.alerts()


@pytest.mark.req("R9.2-2")
async def test_what_was_done_outside_is_found(keys: Keys) -> None:
    """A version made outside, one that is gone, one that may protect again: each a finding, an alert and a record."""
    client = await keys.client()
    await keys.profile(client)
    await rotated(keys, client, 1)
    name = f"tenant/keys/development-{client}"
    await keys.as_root(("POST", f"{name}/rotate", {}))
    assert [one.finding for one in await kek_tasks.check(keys.app, keys.system, client)] == [KekFinding.UNKNOWN]
    with pytest.raises(Integrity, match="kek_unknown_outside"):
        await keys.kek(client)
    await keys.as_root(("POST", f"{name}/config", {"min_encryption_version": 1, "min_decryption_version": 1}))
    assert {one.finding for one in await kek_tasks.check(keys.app, keys.system, client)} >= {KekFinding.PROTECTS}
    await keys.as_root(("POST", f"{name}/config", {"deletion_allowed": True}), ("DELETE", name, {}))
    found = await kek_tasks.check(keys.app, keys.system, client)
    assert {(one.version, one.finding) for one in found} == {(1, KekFinding.MISSING), (2, KekFinding.MISSING)}
    assert {"kek_missing_outside", "kek_unknown_outside", "kek_protects_outside"} <= set(keys.stand.alerts())
    said = [json.loads(one)["fields"] for one in keys.stand.events("kek.checked", "failed")]
    assert [one["cause"] for one in said[:1]] == ["kek_unknown_outside"]
    broken = replace(keys.app, custodian=Nowhere())  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await kek_tasks.check(broken, keys.system, client)
    assert json.loads(keys.stand.events("kek.checked", "failed")[-1])["fields"]["cause"] == "unknown"


class Nowhere:
    """A custodian that reaches nothing."""

    @contextlib.asynccontextmanager
    async def open_keys(self, job_id: object) -> AsyncIterator[None]:
        if job_id:
            raise Unavailable("store_unreachable")
        yield

    async def close(self, job_id: object) -> None:
        return None


@pytest.mark.req("R2.3-7", "S-NIST-1", "S-NIST-7")
async def test_moves_that_are_not_in_the_table_are_refused_and_edits_found(keys: Keys) -> None:
    """Every pair that is not in the table is refused; a state edited in the database is found as broken history."""
    client = await keys.client()
    await keys.profile(client)
    name = f"development-{client}"
    where = f"WHERE kek_id = '{name}' AND version = 1"
    for old in KeyState:
        for new in KeyState:
            if new in TRANSITIONS[old]:
                continue
            keys.sql(f"UPDATE byokeep.kek_version SET state = '{old}' {where}")
            with pytest.raises(Rejected, match="key_state"):
                await moved(keys, client, new)
    assert keys.sql("SELECT count(*) FROM byokeep.vault_key_transition WHERE kind = 'kek'") == "1"
    keys.sql(f"UPDATE byokeep.kek_version SET state = 'suspended' {where}")
    assert KekFinding.HISTORY in {one.finding for one in await kek_tasks.check(keys.app, keys.system, client)}
    keys.sql(f"UPDATE byokeep.kek_version SET state = 'active' {where}")
    assert await kek_tasks.check(keys.app, keys.system, client) == ()
    keys.sql(
        "INSERT INTO byokeep.vault_key_transition (id, kind, key_id, version, state_from, state_to, reason, by,"
        f" client_id) VALUES ('{uuid4()}', 'kek', '{name}', 1, 'active', 'suspended', 'forged', '{uuid4()}',"
        f" '{client}');"
        f"UPDATE byokeep.kek_version SET state = 'suspended' {where}"
    )  # a row of history without a record
    assert KekFinding.HISTORY in {one.finding for one in await kek_tasks.check(keys.app, keys.system, client)}
    keys.sql("UPDATE byokeep.profile_generation SET key_state = 'suspended'")
    await kek_tasks.check(keys.app, keys.system, client)
    assert {"kek_history_broken", "dek_history_broken"} <= set(keys.stand.alerts())


async def test_keys_that_end_in_one_step_have_a_history_in_order(keys: Keys) -> None:
    """Two moves in one transaction are no finding, neither new ones nor those of one time, nor is a clock set back."""
    client = await keys.client()
    async with keys.custody(client) as custody:
        made = await keys.profiles(custody, client, 6)

    async def rows() -> list[Generation]:
        async with keys.app.db.begin(client_id=client) as tx:
            return [(await tx.all(Generation, "generations_of", client_id=client, profile_id=one, limit=1))[0]
                    for one in made]  # fmt: skip

    async def checked() -> str:
        await kek_tasks.check(keys.app, keys.system, client)
        return str(json.loads(keys.stand.events("kek.checked")[-1])["fields"]["cause"])

    first, *others = await rows()
    edit = "ALTER TABLE byokeep.vault_key_transition DISABLE TRIGGER USER; UPDATE byokeep.vault_key_transition SET at ="
    async with keys.app.db.begin(client_id=client) as tx:
        await kek.move_key(tx, keys.app, keys.system, first, to=KeyState.DEACTIVATED, reason="superseded")
    keys.sql(f"{edit} at + interval '1 hour' WHERE kind = 'dek'")
    for row in (first, *others):
        async with keys.app.db.begin(client_id=client) as tx:
            await kek.destroy_key(tx, keys.app, keys.system, row)
    assert {one.key_state for one in await rows()} == {KeyState.DESTROYED}
    assert await checked() == "match"
    keys.sql(f"{edit} now() WHERE kind = 'dek'")
    assert await checked() == "match"
    assert "dek_history_broken" not in keys.stand.alerts()


@pytest.mark.req("S-NIST-1")
async def test_every_move_has_a_row_and_a_record_that_agree(keys: Keys) -> None:
    """Each legal move leaves time, actor and reason in the history and in the audit trail, and both say the same."""
    client = await keys.client()
    await keys.kek(client)
    name = f"development-{client}"
    for old, news in TRANSITIONS.items():
        for new in news:
            keys.sql(
                f"UPDATE byokeep.kek_version SET state = '{old}' WHERE kek_id = '{name}';"
                "ALTER TABLE byokeep.vault_key_transition DISABLE TRIGGER USER;"
                "DELETE FROM byokeep.vault_key_transition"
            )
            before = len(keys.stand.events("kek.state_changed", "ok"))
            await moved(keys, client, new)
            said = [json.loads(one) for one in keys.stand.events("kek.state_changed", "ok")][before:]
            row = keys.sql("SELECT state_from, state_to, reason, by, at IS NOT NULL FROM byokeep.vault_key_transition")
            (one,) = said
            fields = one["fields"]
            both = f"{fields['state_from']}|{fields['state_to']}|{fields['reason']}|{one['actor']}|t"
            assert row == both == f"{old}|{new}|a_test|{keys.person().id}|t"


async def test_a_rotation_cut_anywhere_is_finished_by_the_next(keys: Keys) -> None:
    """Cut after the announcement, before its limits were set, or before its row moved: begun again, one new version."""
    for cut in ("announced", "made", "limited"):
        client = await keys.client()
        await keys.profile(client)
        name = f"development-{client}"
        async with keys.app.db.begin(client_id=client) as tx:
            await kek.announce(tx, keys.app, keys.system, kek_id=name, version=2, client_id=client)
        if cut != "announced":
            async with keys.custody(client) as custody:
                if cut == "made":
                    await custody.keys._send("keys", keys.scope(client), {}, below="/rotate")
                else:
                    await custody.keys.rotate(keys.scope(client), expected=1)
        rotation = await rotated(keys, client, 1)
        assert (rotation.from_version, rotation.to_version) == (1, 2)
        assert rows(keys, client) == ["1|deactivated", "2|active"]
        await finish(keys, rotation, client)
        assert await kek_tasks.check(keys.app, keys.system, client) == ()


@pytest.mark.req("S-NIST-1", "S-NIST-7")
async def test_every_move_of_a_profiles_key_has_a_row_and_a_record_that_agree(keys: Keys) -> None:
    """As of a client's key; what is not in the table is refused, and leaves neither."""
    client = await keys.client()
    profile = await keys.profile(client)
    history = "SELECT state_from, state_to, reason, by FROM byokeep.vault_key_transition"
    for old in KeyState:
        for new in KeyState:
            keys.sql(
                f"UPDATE byokeep.profile_generation SET key_state = '{old}';"
                "ALTER TABLE byokeep.vault_key_transition DISABLE TRIGGER USER;"
                "DELETE FROM byokeep.vault_key_transition"
            )
            before = len(keys.stand.events("dek.state_changed", "ok"))
            async with keys.app.db.begin(client_id=client) as tx:
                about = {"client_id": client, "profile_id": profile, "limit": 1}
                (row,) = await tx.all(Generation, "generations_of", **about)
                act = kek.move_key(tx, keys.app, keys.person(), row, to=new, reason="a_test")
                if new in TRANSITIONS[old]:
                    await act
                else:
                    with pytest.raises(Rejected, match="key_state"):
                        await act
            said = [json.loads(one) for one in keys.stand.events("dek.state_changed", "ok")][before:]
            both = [f"{old}|{new}|a_test|{keys.person().id}"] if new in TRANSITIONS[old] else []
            assert keys.sql(history).splitlines() == both
            assert [
                "|".join((*(one["fields"][name] for name in ("state_from", "state_to", "reason")), one["actor"]))
                for one in said
            ] == both


async def test_a_suspended_version_does_not_come_back_beside_the_next_one(keys: Keys) -> None:
    """A rotation deactivates it as one that was active, and nothing makes it active again."""
    client = await keys.client()
    await keys.kek(client)
    await moved(keys, client, KeyState.SUSPENDED)
    await rotated(keys, client, 1)
    assert rows(keys, client) == ["1|deactivated", "2|active"]
    with pytest.raises(Rejected, match="key_state"):
        await moved(keys, client, KeyState.ACTIVE)
