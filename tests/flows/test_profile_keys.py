"""New keys for a profile, older generations back, the end; what is due; and what cut-off seals leave behind."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.backup import backups
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.events import EventName
from byokeep.core.evidence import ITEMS_OF, PROFILE
from byokeep.core.kek import KeyContext
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.profiles import profiles, tasks
from byokeep.profiles.kek import BLOB_ORPHAN
from byokeep.profiles.profiles import Profile
from byokeep.profiles.tasks import _sweep
from byokeep.profiles.vault_check import check_vault
from byokeep.worker.ports import LeasedProfile
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support.broker import running_store
from tests.support.postgres_rows import pointed, points
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]
store = pytest.fixture(scope="module")(running_store)  # all of it is searched


# First: it reads all of the store, in which the others leave much.
@pytest.mark.req("R0-3")
async def test_a_data_key_is_at_rest_in_wrapped_form_alone(vault: Vault) -> None:
    """The keys of a seal and a rekey are in no blob, record, row, log or file of the store; planted ones are found.
    A holder that wraps nothing gets no blob stored."""
    noting = _Noting(vault.app.sealer)
    vault.app = replace(vault.app, sealer=noting)
    client, profile = await vault.valid()
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert len(noting.made) >= 2
    sweep = Sweep([Canary(f"dek-{number}", made) for number, made in enumerate(noting.made)])
    stand = vault.desk.stand
    records = [await vault.record(client, profile, version) for version in (1, 2)]

    def found(*more: Path) -> Any:
        seen = sweep.scan_paths([vault.desk.files, stand.home / "artifacts", *more])
        for record in records:
            seen += sweep.scan_bytes(record, source="record")
        dump = stand.db.server.run_tool("pg_dump", "-d", stand.db.name, "--inserts")
        return seen + sweep.scan_bytes(dump, source="dump")

    report = found(stand.store.home)
    assert report.clean, report
    planted = base64.b64encode(noting.made[0]).decode()
    records.append(planted.encode())
    vault.sql(f"COMMENT ON TABLE byokeep.client IS '{planted}'")
    (stand.home / "artifacts" / "planted").write_bytes(noting.made[1])
    (vault.desk.files / "planted.log").write_text(noting.made[1].hex())
    assert {one.source.rpartition("/")[2] for one in found().findings} >= {"record", "dump", "planted", "planted.log"}
    (stand.home / "artifacts" / "planted").unlink()

    blobs = len(vault.blobs())
    for spelling in (
        lambda dek: base64.b64encode(dek).decode(), lambda dek: f"vault:v1:{dek.hex()}",
        lambda dek: base64.urlsafe_b64encode(dek).decode(),
    ):  # fmt: skip
        with_holder = vault.app
        custodian, sealer = _Unwrapping(vault.app.custodian, spelling), _Telling(vault.app.sealer)
        vault.app = replace(vault.app, custodian=custodian, sealer=sealer)
        assert await vault.done(profile, "rekey") == "dek_not_wrapped"
        vault.app = with_holder
        assert len(vault.blobs()) == blobs


async def test_a_rekey_is_a_new_key_and_a_new_blob_and_is_proved(vault: Vault) -> None:
    """Another key, another blob, the same session; the old key protects nothing more, and the new state is proved."""
    client, profile = await vault.valid(session=b"the session" * 5000)
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert vault.state(profile) == "valid/2"
    assert vault.script.opened[-1] == b"the session" * 5000
    keys = vault.sql(f"SELECT DISTINCT dek_id FROM byokeep.profile_generation WHERE profile_id = '{profile}'")
    assert len(keys.splitlines()) == 2
    assert len(vault.blobs(client)) == 2
    await vault.care()
    states = vault.sql("SELECT key_state FROM byokeep.profile_generation ORDER BY generation").splitlines()
    assert states == ["deactivated", "active"]
    moved = json.loads(vault.events("dek.state_changed")[0])["fields"]
    assert (moved["state_from"], moved["state_to"], moved["generation"]) == ("active", "deactivated", 1)


async def test_older_generations_are_kept_for_a_while_and_then_destroyed(vault: Vault) -> None:
    """The newest and three more stay; what is older loses its record and its blob, and its key is destroyed."""
    client, profile = await vault.sealed()
    for _ in range(4):
        assert await vault.done(profile, "rekey") == "rekeyed"
    await vault.care()
    await vault.care()
    states = vault.sql("SELECT key_state FROM byokeep.profile_generation ORDER BY generation").splitlines()
    assert states == ["destroyed", "deactivated", "deactivated", "deactivated", "active"]
    assert len(vault.blobs(client)) == 4
    assert vault.sql("SELECT count(*) FROM byokeep.profile_generation WHERE gone_at IS NOT NULL") == "1"
    status, reply = await vault.call("POST", f"/v1/profiles/{profile}/restore", {"generation": 1})
    assert (status, reply["code"]) == (409, "key_not_usable")


async def test_profiles_that_nobody_may_work_on_keep_no_other_from_its_turn(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as a round takes at once are a suspended client's: another's replaced key is stopped all the same."""
    monkeypatch.setattr(tasks, "RETIRED_AT_ONCE", 1)
    clients = [await vault.sealed() for _ in range(2)]
    for _, profile in clients:
        assert await vault.done(profile, "rekey") == "rekeyed"
    (client, held), (_, other) = sorted(clients, key=lambda one: one[1])
    vault.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{client}'")
    old = "UPDATE byokeep.profile_generation SET key_state = 'destroyed' WHERE generation = 1 AND profile_id"
    vault.sql(f"{old} = '{held}'")
    for _ in range(50):
        await tasks.retire_keys(vault.app)
    found = "SELECT key_state FROM byokeep.profile_generation WHERE generation = 1 AND profile_id"
    assert vault.sql(f"{found} = '{other}'") == "deactivated"


async def test_an_older_generation_comes_back_as_a_new_one(vault: Vault) -> None:
    """Its content under a new number and a new key; one whose key was compromised, and the newest, do not come back."""
    client, profile = await vault.sealed(session=b"first" * 1000)
    assert await vault.log_in(profile, b"second" * 1000) == "sealed"
    assert await vault.done(profile, "restore", {"generation": 1}) == "restored"
    assert vault.state(profile) == "valid/3"
    assert vault.script.opened[-1] == b"first" * 1000
    assert len(vault.blobs(client)) == 3
    assert json.loads(vault.events("profile.restored")[0])["fields"]["number"] == 1
    for wanted, code in ((3, "already_newest"), (9, "no_such_generation")):
        status, reply = await vault.call("POST", f"/v1/profiles/{profile}/restore", {"generation": wanted})
        assert (status, reply["code"]) == (422, code)
    vault.sql("UPDATE byokeep.profile_generation SET key_state = 'compromised' WHERE generation = 2")
    status, reply = await vault.call("POST", f"/v1/profiles/{profile}/restore", {"generation": 2})
    assert (status, reply["code"]) == (409, "key_not_usable")


async def test_two_people_destroy_a_profile_and_nothing_brings_it_back(vault: Vault) -> None:
    """An operator asks, an approver agrees; keys, records and blobs are gone, and old copies of both open nothing."""
    client, profile = await vault.valid()
    record, blobs = await vault.record(client, profile), {blob: blob.read_bytes() for blob in vault.blobs(client)}
    work = await vault.ask(profile, "shred")
    assert await vault.do(profile, work) == "not_ours"
    assert vault.state(profile) == "valid/1"
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve"))[0] == 403
    status, _ = await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver")
    assert status == 202
    assert await vault.do(profile, work) == "shredded"
    assert vault.state(profile) == "shredded/1"
    assert not vault.blobs(client)
    row = vault.sql("SELECT key_state, gone_at IS NOT NULL FROM byokeep.profile_generation")
    assert row == "destroyed|t"
    assert json.loads(vault.events("profile.shredded", "ok")[0])["fields"]["count"] == 1
    # A backup of both stores is played back.
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        await held.write(ref, record, cas=await held.newest(ref))
    for blob, content in blobs.items():
        blob.write_bytes(content)
    for act, body in (("validate", None), ("rekey", None), ("restore", {"generation": 1}), ("login", None)):
        assert (await vault.call("POST", f"/v1/profiles/{profile}/{act}", body))[0] == 409, act
    # The account is free for another profile.
    body = {"accounts": [{"platform": "x", "account": "acme"}]}
    assert (await vault.call("POST", f"/v1/clients/{client}/profiles", body))[0] == 201


async def test_a_shred_that_was_cut_off_is_finished_by_the_clock(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store went away in the middle, and nobody can ask again: the next round leaves no record, blob or key."""
    client, profile = await vault.valid()
    work = await vault.ask(profile, "shred")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver"))[0] == 202
    with monkeypatch.context() as patched:
        patched.setattr(LeasedProfile, "destroy", _away)
        assert await vault.do(profile, work) == "store_unreachable"
    assert (vault.state(profile), len(vault.blobs(client))) == ("shredded/1", 1)
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred"))[1]["code"] == "profile_state"
    held = "UPDATE byokeep.profile_opening SET opened_at = now(), until = now() + interval"
    vault.sql(f"{held} '1 minute'")
    assert (await vault.care(), len(vault.blobs(client))) == (0, 1), "its worker is at it"
    vault.sql(f"{held} '0'")
    assert await vault.care() == 1
    async with vault.custody(client, profile) as custody:
        assert await custody.live_versions(ProfileRef(ClientId(client), profile)) == []
    assert not vault.blobs(client)
    assert vault.sql("SELECT key_state, gone_at IS NOT NULL FROM byokeep.profile_generation") == "destroyed|t"
    assert vault.proofs.removed == [profile]
    assert [json.loads(one)["fields"]["count"] for one in vault.events("profile.shredded", "ok")] == [1]
    assert await vault.care() == 0


async def test_a_shred_that_no_worker_took_up_can_be_asked_again(vault: Vault) -> None:
    """Approved, and its task died before it began: after an hour it is over, and not before."""
    _, profile = await vault.valid()
    work = await vault.ask(profile, "shred")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver"))[0] == 202
    vault.sql("UPDATE byokeep.profile_work SET asked_at = now() - interval '2 hours' WHERE ended_at IS NULL")
    assert await vault.care() == 0
    vault.sql("UPDATE byokeep.profile_work SET confirmed_at = now() - interval '61 minutes' WHERE ended_at IS NULL")
    assert await vault.care() == 1
    assert vault.sql(f"SELECT state, reason FROM byokeep.profile_work WHERE id = '{work}'") == "failed|not_taken_up"
    assert vault.state(profile) == "valid/1"
    assert await vault.ask(profile, "shred") != work


@pytest.mark.req("R5.3-1", "R5.3-3")
async def test_without_the_holder_of_keys_there_is_no_blob(vault: Vault) -> None:
    """The store sealed off before or when a key is wrapped: unavailable, no blob, no generation; later it works."""
    client = await vault.client()
    profile = await vault.create(client)
    holder = _NotedHolder(vault.app.custodian)
    vault.app = replace(vault.app, custodian=holder)
    assert await vault.log_in(profile) == "store_unreachable"
    assert not vault.blobs()
    assert vault.state(profile) == "created/0", "no person typed a password for nothing"
    holder.down, holder.left = False, 1  # the wrap that confirms the key, and none of a blob's
    assert await vault.log_in(profile) == "store_unreachable"
    assert not vault.blobs()
    assert vault.state(profile) == "confirmed/0"
    holder.left, holder.wrapped = 9, []
    assert await vault.log_in(profile) == "sealed"
    (context,) = [one for one in holder.wrapped if one.profile_id == profile]  # one wrap beside the key's confirmation
    assert (context.client_id, context.profile_id) == (client, profile)
    wrapped = json.loads(vault.events("profile.sealed")[0])["fields"]
    assert wrapped["kek"] == f"development-{client}"
    assert wrapped["holder"] == "transit"


@pytest.mark.req("R2.3-3", "R5.3-1")
async def test_without_randomness_there_is_no_key(vault: Vault) -> None:
    """The system's source gives nothing: unavailable, no key is wrapped, no blob, no generation; later it works."""
    client = await vault.client()
    profile = await vault.create(client)
    vault.app = replace(vault.app, sealer=_Dry(vault.app.sealer))
    assert await vault.log_in(profile) == "no_randomness"
    assert not vault.blobs()
    assert vault.sql("SELECT count(*) FROM byokeep.profile_generation") == "0"
    assert vault.state(profile) == "confirmed/0"
    vault.app = replace(vault.app, sealer=vault.app.sealer.real)
    assert await vault.log_in(profile) == "sealed"
    meant, done = vault.events("profile.seal", "intended"), vault.events("profile.sealed")
    assert json.loads(meant[-1])["fields"]["dek"] == json.loads(done[0])["fields"]["dek"]


class _Noting:
    """A sealer that keeps a copy of each key it makes."""

    def __init__(self, real: Any) -> None:
        self.real, self.made = real, list[bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def new_dek(self) -> Secret:
        dek: Secret = self.real.new_dek()
        self.made.append(bytes(dek.reveal()))
        return dek


class _Telling(_Noting):
    """A sealer whose keys look different in each alphabet."""

    def new_dek(self) -> Secret:
        return Secret(b"\xfb\xff" * 16)


class _Unwrapping:
    """A custodian whose holder of keys gives a key back as it is."""

    def __init__(self, real: Any, spelling: Any) -> None:
        self.real, self.spelling = real, spelling

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @asynccontextmanager
    async def open_profile(self, job_id: UUID, profile_id: UUID) -> Any:
        async with self.real.open_profile(job_id, profile_id) as held:
            real, spelling = held.keys, self.spelling

            class Keys:
                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

                async def wrap(self, dek: Any, context: KeyContext) -> Any:
                    return replace(await real.wrap(dek, context), ciphertext=spelling(bytes(dek.reveal())))

            held.keys = Keys()
            yield held


class _Dry:
    """A sealer on a system that gives no randomness for keys; everything else of it works."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def new_dek(self) -> Secret:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("byokeep.sealing.sealer.os.urandom", _nothing)
            return self.real.new_dek()


def _nothing(_: int) -> bytes:
    raise OSError


async def _away(*_: object) -> None:
    raise Unavailable("store_unreachable")


class _NotedHolder:
    """A custodian whose leases reach the records; its holder of keys is away while ``down`` and after ``left`` wraps,
    and notes its wraps."""

    def __init__(self, real: Any) -> None:
        self.real, self.down, self.left = real, True, 9
        self.wrapped: list[KeyContext] = []

    def open_profile(self, job_id: UUID, profile_id: UUID) -> Any:
        import contextlib

        @contextlib.asynccontextmanager
        async def opened() -> Any:
            async with self.real.open_profile(job_id, profile_id) as held:
                real, seen = held.keys, self

                class Noted:
                    def __getattr__(self, name: str) -> Any:
                        return getattr(real, name)

                    async def unwrap(self, *said: Any) -> Any:
                        if seen.down:
                            raise Unavailable("store_unreachable")
                        return await real.unwrap(*said)

                    async def wrap(self, dek: Any, context: KeyContext) -> Any:
                        if seen.down or not seen.left:
                            raise Unavailable("store_unreachable")
                        seen.left -= 1
                        seen.wrapped.append(context)
                        return await real.wrap(dek, context)

                held.keys = Noted()
                yield held

        return opened()

    async def close(self, job_id: UUID) -> None:
        await self.real.close(job_id)


async def test_of_two_sealers_the_one_with_the_opening_wins(vault: Vault) -> None:
    """Whoever lost the opening is told so at the end, and what it wrote is taken away by the sweep."""
    client, profile = await vault.sealed()
    work = await vault.ask(profile, "rekey")
    vault.script.pause = None
    slow = _SlowStore(vault.app.artifacts)
    vault.app = replace(vault.app, artifacts=slow)
    doing = asyncio.create_task(vault.do(profile, work))
    await slow.reached.wait()
    # Its opening is taken for dead, and another seals meanwhile.
    vault.sql(
        "UPDATE byokeep.profile_opening SET opened_at = now() - interval '1 hour', until = now() - interval '1 second'"
        f" WHERE profile_id = '{profile}'"
    )
    vault.sql(f"UPDATE byokeep.profile_work SET state = 'failed', ended_at = now() WHERE id = '{work}'")
    vault.app = replace(vault.app, artifacts=slow.real)
    assert await vault.done(profile, "rekey") == "rekeyed"
    slow.go.set()
    assert await doing in ("opening_lost", "stale_version", "work_ended")
    assert vault.state(profile).endswith("/2")
    before = len(vault.blobs(client))
    await vault.care()
    assert len(vault.blobs(client)) == 2 <= before
    assert json.loads(vault.events("profile.seal", "failed")[0])["fields"]["reason"] == "cut_off"
    assert await vault.done(profile, "validate") == "valid"
    assert await vault.care() == 0
    # A round that asked just before a seal was recorded takes nothing of it away.
    row = {"client_id": client, "profile_id": profile, "payload": vault.events("profile.seal", "intended")[-1].encode()}
    assert await _sweep(vault.app, row, older=False) is False
    assert len(vault.blobs(client)) == 2
    assert await vault.done(profile, "validate") == "valid"


class _SlowStore:
    """An artifact store that waits in the middle of a write."""

    def __init__(self, real: Any) -> None:
        self.real, self.reached, self.go = real, asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def put(self, client_id: UUID, key: Any, chunks: Any) -> Any:
        async def slowly() -> Any:
            async for piece in chunks:
                self.reached.set()
                await self.go.wait()
                yield piece

        return await self.real.put(client_id, key, slowly())


@pytest.mark.req("R5.3-9")
async def test_a_vault_that_refuses_the_record_leaves_a_blob_for_the_sweep(vault: Vault) -> None:
    """The write of the record fails after the blob's: no generation; the sweep takes the blob away (R5.3-9)."""
    client = await vault.client()
    profile = await vault.create(client)
    custodian = vault.app.custodian
    vault.app = replace(vault.app, custodian=_NoRecords(custodian))
    assert await vault.log_in(profile) == "store_unreachable"
    assert len(vault.blobs(client)) == 1
    assert vault.state(profile) == "confirmed/0"
    vault.app = replace(vault.app, custodian=custodian)
    assert await vault.care() >= 1
    assert not vault.blobs(client)
    run = vault.sql(f"SELECT state FROM byokeep.procedure_run WHERE object_id = '{profile}'")
    assert run == "failed"
    assert json.loads(vault.events("browser_profile_creation_failed")[0])["fields"]["cause"] == "store_unreachable"
    assert await vault.log_in(profile) == "sealed"
    assert await vault.done(profile, "validate") == "valid"
    newest = (await vault.show(profile))["sop"]
    assert (await vault.desk.sop(newest))["state"] == "complete"

    # Begun before a restore: its end may have been on record, so nothing of it is destroyed, and people are told.
    vault.app = replace(vault.app, custodian=_NoRecords(custodian))
    assert await vault.log_in(await vault.create(client, account="other")) == "store_unreachable"
    vault.app, kept = replace(vault.app, custodian=custodian), vault.blobs(client)
    restored: dict[str, Any] = {"backup": str(uuid4()), "epoch": 0, "count": 0, "found": 0}
    await backups.say(vault.desk.stand.app, EventName.BACKUP_RESTORED, restored)
    await vault.care()
    assert (len(kept), vault.blobs(client)) == (2, kept)
    assert "orphan_kept" in vault.desk.stand.alerts()
    assert json.loads(vault.events("profile.seal", "failed")[-1])["fields"]["reason"] == "orphan_kept"


async def test_the_sweep_of_a_cut_off_seal_ends_no_newer_opening(vault: Vault) -> None:
    """Another seal is on its way when the round comes by: what was cut off is taken away, and the other one counts."""
    client, profile = await vault.sealed()
    ours = vault.app
    vault.app = replace(ours, custodian=_NoRecords(ours.custodian))
    assert await vault.done(profile, "rekey") == "store_unreachable"
    slow = _SlowStore(ours.artifacts)
    vault.app = replace(ours, artifacts=slow)
    doing = asyncio.create_task(vault.done(profile, "rekey"))
    await slow.reached.wait()
    vault.app = ours
    assert await vault.care() == 1
    slow.go.set()
    assert await doing == "rekeyed"
    assert (vault.state(profile), len(vault.blobs(client))) == ("valid/2", 2)


async def test_what_a_seal_left_long_ago_is_taken_away_once_it_is_found(vault: Vault) -> None:
    """Nobody swept for more than a week, as while a client is stopped: a comparison finds it, the sweep takes it."""
    client, profile = await vault.sealed()
    ours = vault.app
    vault.app = replace(ours, custodian=_NoRecords(ours.custodian))
    assert await vault.done(profile, "rekey") == "store_unreachable"
    vault.app = ours
    vault.sql("ALTER TABLE byokeep.audit_record DISABLE TRIGGER USER;"
              " UPDATE byokeep.audit_record SET at = at - interval '8 days' WHERE event = 'profile.seal';"
              " ALTER TABLE byokeep.audit_record ENABLE TRIGGER USER")  # fmt: skip
    assert (await vault.care(), len(vault.blobs(client))) == (0, 2)
    (found,) = (await check_vault(vault.app, vault.app.system(), ClientId(client)))[0]
    assert (found.finding, found.profile_id) == (BLOB_ORPHAN, profile)
    assert (await vault.care(), len(vault.blobs(client))) == (1, 1)
    assert await check_vault(vault.app, vault.app.system(), ClientId(client)) == ([], {})
    assert await vault.done(profile, "validate") == "valid"


class _NoRecords:
    """A custodian whose leases can not write records."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def open_profile(self, job_id: UUID, profile_id: UUID) -> Any:
        import contextlib

        @contextlib.asynccontextmanager
        async def opened() -> Any:
            async with self.real.open_profile(job_id, profile_id) as held:

                async def deaf(*_: object, **__: object) -> None:
                    raise Unavailable("store_unreachable")

                held.write = deaf
                yield held

        return opened()

    async def close(self, job_id: UUID) -> None:
        await self.real.close(job_id)


@pytest.mark.req("R6.1-5")
async def test_a_profile_comes_due_and_overdue_and_is_stopped(vault: Vault) -> None:
    """Due after thirty days, told once; after sixty an alert that a person must see, and no job may open it."""
    client, profile = await vault.valid()
    row = vault.sql("SELECT due_at - sealed_at FROM byokeep.profile p JOIN byokeep.profile_generation g ON true")
    assert row == "30 days"
    assert not (await vault.call("GET", f"/v1/clients/{client}/profiles?due=true"))[1]["profiles"]
    vault.sql("UPDATE byokeep.profile SET due_at = due_at - interval '30 days 1 second'")
    assert await vault.care() >= 1
    due = (await vault.call("GET", f"/v1/clients/{client}/profiles?due=true"))[1]["profiles"]
    assert [(one["profile"], one["due_cause"]) for one in due] == [(str(profile), "interval")]
    assert "profile_due" in vault.desk.stand.alerts()
    assert len(vault.events("profile.due")) == 1
    assert await vault.care() == 0
    usable = f"SELECT byokeep.profile_usable('{client}', '{profile}')"
    assert vault.sql(usable) == "t"
    vault.sql("UPDATE byokeep.profile_generation SET sealed_at = sealed_at - interval '60 days 1 second'")
    await vault.care()
    assert "profile_overdue" in vault.desk.stand.alerts()
    assert vault.sql(usable) == "f"
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert vault.sql(usable) == "t"
    assert vault.sql("SELECT due_cause FROM byokeep.profile") == ""
    from byokeep.core.errors import Rejected
    from byokeep.settings import load

    for days in (29, 61):
        with pytest.raises(Rejected):
            load(home=vault.desk.stand.home, profile_rekey_days=str(days))


async def test_an_account_says_what_its_browser_lane_waits_for(vault: Vault) -> None:
    """The lane is enabled, so the profile counts: proved nothing is next; too old, altered or gone, the command is."""
    client, profile = await vault.valid()

    async def account() -> tuple[str, str | None]:
        (one,) = (await vault.call("GET", f"/v1/clients/{client}/accounts"))[1]["accounts"]
        return one["next"], one["profile"]

    vault.sql("UPDATE byokeep.profile_generation SET sealed_at = sealed_at - interval '61 days'")
    assert await account() == ("", str(profile))  # nobody asked for the lane
    vault.sql("UPDATE byokeep.platform_account SET lanes = '{browser}'")
    assert await account() == ("profile rekey", str(profile))
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert await account() == ("", str(profile))
    vault.sql("UPDATE byokeep.profile SET state = 'sealed', validated_generation = 0")
    assert await account() == ("profile validate", str(profile))
    vault.sql("UPDATE byokeep.profile SET state = 'quarantined'")
    assert await account() == ("profile login", str(profile))
    work = await vault.ask(profile, "shred")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver"))[0] == 202
    assert await vault.do(profile, work) == "shredded"
    assert vault.sql("SELECT lanes FROM byokeep.platform_account") == "{browser}"
    assert await account() == ("profile create", None)


@pytest.mark.req("R6.1-6")
async def test_an_incident_makes_every_profile_of_its_client_due(vault: Vault) -> None:
    """All of this client's, also one that is out of use, none of another's; shown on the list; nothing but a new key
    takes the mark off."""
    client, profile = await vault.valid()
    held = await vault.create(client, "tiktok")
    assert await vault.log_in(held) == "sealed"
    vault.sql(f"UPDATE byokeep.profile SET state = 'quarantined' WHERE id = '{held}'")
    _, other = await vault.valid()
    async with vault.desk.web.db.begin(client_id=client) as tx:
        marked = await profiles.mark_due(tx, vault.app.system(), ClientId(client), incident=uuid4())
    assert set(marked) == {profile, held}
    due = (await vault.call("GET", f"/v1/clients/{client}/profiles?due=true"))[1]["profiles"]
    assert {(one["profile"], one["due_cause"]) for one in due} == {(str(one), "incident") for one in (profile, held)}
    assert vault.sql(f"SELECT due_cause FROM byokeep.profile WHERE id = '{other}'") == ""
    assert await vault.done(profile, "validate") == "valid"
    assert vault.sql(f"SELECT due_cause FROM byokeep.profile WHERE id = '{profile}'") == "incident"
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert vault.sql(f"SELECT due_cause FROM byokeep.profile WHERE id = '{profile}'") == ""


@pytest.mark.req("R5.3-19", "R5.3-20", "R5.3-21")
async def test_the_evidence_is_the_seal_and_a_proof_of_the_newest_generation(vault: Vault) -> None:
    """Withheld each: incomplete, and the lane can not be enabled. A newer seal leaves the proof behind."""
    client = await vault.client()
    profile = await vault.create(client, "skool")
    sop = vault.sql(f"SELECT id FROM byokeep.procedure_run WHERE object_id = '{profile}'")
    lane = f"/v1/clients/{client}/accounts/skool/acme/lane"
    assert (await vault.desk.sop(sop))["missing"] == [
        "vault_write_event", "runner_validation_proof", "browser_profile_created",
    ]  # fmt: skip
    refused = (await vault.call("POST", lane, {"policy": "browser"}))[1]
    assert refused["code"] == "profile_not_proved"
    assert f"`byokeep profile show {profile}`" in refused["next_step"]
    assert await vault.log_in(profile) == "sealed"
    assert (await vault.desk.sop(sop))["state"] != "complete"
    assert (await vault.call("POST", lane, {"policy": "browser"}))[1]["code"] == "profile_not_proved"
    assert await vault.done(profile, "validate") == "valid"
    found = await vault.desk.sop(sop)
    assert found["state"] == "complete"
    assert found["version"] == 1
    assert set(found["evidence"]) == {"vault_write_event", "runner_validation_proof", "browser_profile_created"}
    status, reply = await vault.call("POST", lane, {"policy": "browser"})
    assert (status, reply["lanes"]) == (200, ["browser"])
    proof = json.loads(vault.events("profile.validated", "ok")[0])["fields"]
    assert proof["profile"] == str(profile)
    assert proof["expected_id"] == proof["observed_id"]
    assert proof["screenshot"]
    for column in ITEMS_OF[PROFILE]:
        kept = vault.sql(pointed(sop, column))
        vault.sql(points(sop, column, "NULL"))
        assert (await vault.desk.sop(sop))["state"] == "incomplete", column
        assert (await vault.call("POST", lane, {"policy": "browser"}))[1]["code"] == "profile_not_proved", column
        vault.sql(points(sop, column, kept))
    status, bundle = await vault.desk.call("POST", f"/v1/evidence/{sop}", "auditor")
    assert status in (200, 201), bundle
    said = base64.b64decode(bundle["payload"]).decode()
    assert all(
        one in said for one in ("vault_write_event", "runner_validation_proof", proof["screenshot"], str(profile))
    )
    # Sealed since: the proof is of an older generation.
    assert await vault.log_in(profile) == "sealed"
    found = await vault.desk.sop(sop)
    assert found["state"] == "incomplete"
    assert "runner_validation_proof" in found["missing"]
    status, reply = await vault.desk.call("POST", f"/v1/evidence/{sop}", "auditor")
    assert (status, reply["code"]) == (409, "sop_incomplete")
    # Raw SQL does not help: the gate looks at the profile itself.
    vault.sql("UPDATE byokeep.platform_account SET lanes = '{browser}'")
    assert vault.sql(f"SELECT byokeep.profile_usable('{client}', '{profile}')") == "f"
    assert await vault.done(profile, "validate") == "valid"
    assert (await vault.desk.sop(sop))["state"] == "complete"


@pytest.mark.req("R2.3-4")
async def test_what_the_state_of_its_key_forbids_is_not_sealed_and_not_opened(vault: Vault) -> None:
    """Each state of the KEK: what may not be sealed makes no blob, what may not be opened shows nothing, on record."""
    client, profile = await vault.valid()
    blobs = vault.blobs(client)
    for state, seals, opens in (
        ("deactivated", "key_state", "valid"),
        ("compromised", "key_state", "key_compromised"), ("destroyed", "key_state", "key_state"),
    ):  # fmt: skip
        vault.sql(f"UPDATE byokeep.kek_version SET state = '{state}' WHERE client_id = '{client}'")
        seen, told = len(vault.rooms.visible), len(vault.events("profile.work_ended", "failed"))
        assert await vault.done(profile, "validate") == opens, state
        assert len(vault.rooms.visible) == seen + (opens == "valid"), state
        assert await vault.log_in(profile) == seals, state
        assert vault.blobs(client) == blobs, state
        assert len(vault.events("profile.work_ended", "failed")) > told, state
    vault.sql(f"UPDATE byokeep.kek_version SET state = 'active' WHERE client_id = '{client}'")
    assert await vault.log_in(profile) == "sealed"


async def test_a_retired_profile_is_opened_by_nobody_and_its_place_is_free(vault: Vault) -> None:
    """Recreating from scratch: the old one is refused, the new one names it."""
    client, profile = await vault.valid()
    async with vault.desk.web.db.begin(client_id=client) as tx:
        old = await tx.one(Profile, "profile_get", client_id=client, id=profile)
        await profiles.retire(tx, vault.app.system(), old, cause="recreated")
    for act, body in (("validate", None), ("rekey", None), ("restore", {"generation": 1}), ("login", None)):
        assert (await vault.call("POST", f"/v1/profiles/{profile}/{act}", body))[0] == 409, act
    body = {"accounts": [{"platform": "x", "account": "acme"}], "replaces": str(profile)}
    status, made = await vault.call("POST", f"/v1/clients/{client}/profiles", body)
    assert status == 201
    assert made["replaces"] == str(profile)
    assert made["profile"] != str(profile)
    async with vault.desk.web.db.begin(client_id=client) as tx:
        with pytest.raises(Conflict):
            await profiles.retire(tx, vault.app.system(), replace(old, state=profiles.ProfileState.RETIRED), cause="x")


async def test_work_that_its_rows_people_did_not_ask_for_on_record_is_not_done(vault: Vault) -> None:
    """A row that was made up, and a second person who stands in the row alone: refused with an alert, and all stays."""
    _, profile = await vault.valid()
    before, approver = vault.state(profile), vault.desk.stand.people["approver"].id
    asked = await vault.ask(profile, "shred")
    vault.sql(
        f"UPDATE byokeep.profile_work SET state = 'confirmed', confirmed_by = '{approver}', confirmed_at = now()"
        f" WHERE id = '{asked}'"
    )
    assert await vault.do(profile, asked) == "not_asked_for"
    for kind, by in (("rekey", vault.desk.stand.people["operator"].id), ("validate", uuid4())):
        made = uuid4()
        vault.sql(
            "INSERT INTO byokeep.profile_work (id, client_id, profile_id, job_id, kind, asked_by)"
            f" SELECT '{made}', client_id, profile_id, job_id, '{kind}', '{by}' FROM byokeep.profile_work"
            f" WHERE id = '{asked}'"
        )
        assert await vault.do(profile, made) == "not_asked_for", kind
    assert vault.state(profile) == before
    assert vault.sql("SELECT sum(count) FROM byokeep.alert WHERE reason = 'task_not_asked_for'") == "3"
    assert len(vault.blobs()) == 1
