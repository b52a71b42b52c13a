"""The record of an opened profile: the broker hands it to who has it open; the store shows it to no runner at all."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.ports import BaoProfileRecords
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Denied, Integrity, Rejected, Unavailable
from byokeep.core.kek import KekScope, KeyContext, Wrapped
from byokeep.core.model import ClientId, Environment
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.core.secret import Secret
from byokeep.profiles import checkout, openings
from byokeep.sealing.transit import TransitKeys
from byokeep.tenancy.scopes import STORE_WITHIN_S
from byokeep.wire.bao_http import BaoHttp, destroy_versions, lease_login, read_secret
from tests.flows.test_profile_reseal import put_record, record_of
from tests.flows.test_profile_use import Run, running, second, switch
from tests.support.broker import Stand, reconciled
from tests.support.postgres_rows import state_rows
from tests.support.profiles import put_profile

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
DEVELOPMENT = Environment.DEVELOPMENT


Held = tuple[BaoHttp, Secret, str]


class Logins:
    """What one job's leases open at the store; each act logs in anew, for a login lives two seconds."""

    def __init__(self, stand: Stand, bao: BaoHttp, job: UUID, role: str, who: str) -> None:
        self._stand, self._bao, self._job, self._role, self._who = stand, bao, job, role, who
        self.keys = TransitKeys(self, DEVELOPMENT)

    async def __call__(self) -> Held:
        lease = await self._stand.lease(self._job, self._who)
        token = await lease_login(self._bao, Secret(lease["jwt"]), self._role, lease_id=lease["lease_id"])
        return self._bao, token, lease["lease_id"]


@asynccontextmanager
async def custody(run: Run) -> AsyncIterator[Logins]:
    """The worker's logins, for what a test puts there."""
    stand = run.stand
    job = await stand.job(
        run.profile.client, kind="custody", runner_id=str(stand.people["custodian"].id), secrets=["profile"],
        platforms=[], lanes=[], effects=[],
    )  # fmt: skip
    async with BaoHttp(stand.store.address, timeout_s=5) as bao:
        yield Logins(stand, bao, job, "custody-profile", "custodian")


async def destroy(run: Run) -> None:
    """Version 1 of the record goes."""
    async with custody(run) as logins:
        bao, token, lease_id = await logins()
        await destroy_versions(bao, token, run.profile.path, [1], lease_id=lease_id)


def made(run: Run, wrapped: str = "vault:v1:" + "QUJD" * 20, **other: Any) -> SealedRecord:
    """The record of generation 1, as its seal made it; the row is made to agree."""
    blob = {"blob_sha256": hashlib.sha256(run.profile.blob).hexdigest(), "blob_size": len(run.profile.blob)}
    record = record_of(run, run.profile.dek, blob, **{"generation": 1, "wrapped_dek": wrapped} | other)
    run.stand.db.sql(
        f"UPDATE byokeep.profile_generation SET manifest_hash = '\\x{record.manifest.hash.hex()}' {run.profile.of}"
    )
    return record


async def recorded(stand: Stand, **spec: Any) -> tuple[Run, bytes]:
    """A run on a profile whose record lies in the store."""
    run = await running(stand, **spec)
    text = made(run).canonical
    await put_record(run, text, cas=0)
    return run, text


async def take(run: Run, epoch: int, **other: Any) -> tuple[int, bytes, str]:
    """Ask for the record: status, body, code of the refusal."""
    stand, who = run.stand, other.get("who", "runner")
    person = stand.people[who] if isinstance(who, str) else who
    path = f"/v1/jobs/{other.get('job', run.job)}/profiles/{other.get('profile', run.profile.id)}/openings"
    headers = {"Authorization": f"Bearer {person.token}"}
    async with stand.http.get(f"http://broker{path}/{epoch}/record", headers=headers) as reply:
        body = await reply.read()
        return reply.status, body, "" if reply.status == 200 else str(json.loads(body)["code"])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The profiles whose records the broker read."""
    seen: list[UUID] = []
    real = BaoProfileRecords.read

    async def read(self: BaoProfileRecords, ref: ProfileRef, version: int) -> bytes:
        seen.append(ref.profile_id)
        return await real(self, ref, version)

    monkeypatch.setattr(BaoProfileRecords, "read", read)
    return seen


def state(run: Run) -> str:
    return run.stand.db.sql(f"SELECT state || '/' || reason FROM byokeep.profile {run.profile.where}").strip()


async def test_a_use_lease_reads_no_record_and_unwraps_only_what_was_handed_to_it(stand: Stand) -> None:
    """OpenBao itself: the opened profile's record, a sister's, another client's answer 403 to every verb. The wrapped
    key that the broker hands out opens under its own profile and client alone."""
    run, foreign = await running(stand, platforms=["tiktok", "skool"]), await running(stand)
    client = run.profile.client
    sister = Run(
        stand, put_profile(stand, client, stand.account(client, "skool", lanes="browser")), run.account, run.job
    )
    deks = [Secret(secrets.token_bytes(32)) for _ in range(2)]
    async with custody(run) as held:
        await held.keys.rotate(KekScope(environment=DEVELOPMENT, client_id=ClientId(client)), expected=0)
        for one, dek in zip((run, sister), deks, strict=True):
            await put_record(one, made(one, (await held.keys.wrap(dek, context_of(one))).ciphertext).canonical, cas=0)
    await put_record(foreign, made(foreign).canonical, cas=0)
    epoch, garbage = await run.opened(), {"ciphertext": "vault:v1:QUJD", "context": "QUJD"}
    async with BaoHttp(stand.store.address, timeout_s=5) as bao:
        lease = await stand.lease(run.job)
        for role in ("custody-profile", "seal-profile", "use-openai"):
            with pytest.raises(Denied, match="lease_refused"):
                await lease_login(bao, Secret(lease["jwt"]), role, lease_id=lease["lease_id"])
        used = Logins(stand, bao, run.job, "use-profile", "runner")
        for one in (run, sister, foreign):
            below = one.profile.path.removeprefix("kv/")
            _, token, lease_id = await used()
            for method, part in (
                ("GET", "data"), ("GET", "metadata"), ("GET", "subkeys"), ("GET", "detailed-metadata"),
                ("LIST", "metadata"), ("SCAN", "metadata"), ("POST", "data"), ("POST", "destroy"), ("POST", "undelete"),
            ):  # fmt: skip
                with pytest.raises(Denied, match="store_denied"):
                    await bao.request(method, f"kv/{part}/{below}", token=token, lease_header=lease_id)
            with pytest.raises(Denied, match="store_denied"):
                await read_secret(bao, token, one.profile.path, 1, lease_id)
            with pytest.raises(Rejected):  # the login is alive, and not refused everything
                await bao.request("POST", f"tenant/decrypt/development-{client}", token=token, body=garbage)
        status, text, _ = await take(run, epoch)
        assert status == 200
        handed = wrapped_in(text)
        assert (await used.keys.unwrap(handed, context_of(run))).matches(deks[0].reveal())
        with pytest.raises(Integrity, match="wrapped_key_broken"):
            await used.keys.unwrap(handed, context_of(sister))
        assert (await take(run, epoch, profile=sister.profile.id))[2] == "opening_lost"  # the job could open it
        _, token, _ = await used()
        with pytest.raises(Denied, match="store_denied"):
            await bao.request(
                "POST", f"tenant/decrypt/development-{foreign.profile.client}", token=token, body=garbage
            )  # fmt: skip


def context_of(run: Run) -> KeyContext:
    return KeyContext(environment=DEVELOPMENT, client_id=ClientId(run.profile.client), profile_id=run.profile.id)


def wrapped_in(text: bytes) -> Wrapped:
    record = parse_record(text)
    return Wrapped(
        holder="transit",
        kek_id=record.kek.key_id,
        kek_version=record.kek_version,
        ciphertext=record.wrapped_dek,
    )


async def test_a_record_goes_to_who_has_it_open_and_to_nobody_else(stand: Stand, reads: list[UUID]) -> None:
    """Another epoch, job, runner, client, profile; people; an opening that ended, is old, or seals: nothing is read."""
    run, text = await recorded(stand)
    other, _ = await recorded(stand)
    stranger = stand.subject("runner", "Another")
    assert (await take(run, 1))[2] == "opening_lost"  # nobody has it open
    epoch, elsewhere = await run.opened(), await other.opened()
    job = await second(run)
    for wrong, code in (
        ({"who": stranger}, "not_found"), ({"profile": uuid4()}, "not_found"), ({"job": uuid4()}, "not_found"),
        ({"profile": other.profile.id}, "not_found"), ({"job": other.job}, "not_found"),
        ({"job": job.job}, "opening_lost"), ({"who": "operator"}, "not_permitted"),
        ({"who": "custodian"}, "not_permitted"), ({"who": "dispatcher"}, "not_permitted"),
        ({"who": "auditor"}, "not_permitted"), ({"who": "admin"}, "not_permitted"),
    ):  # fmt: skip
        assert (await take(run, epoch, **wrong))[2] == code, wrong
    assert [(await take(run, one))[2] for one in (epoch - 1, epoch + 1)] == ["opening_lost"] * 2
    assert reads == []
    for _ in range(2):
        assert await take(run, epoch) == (200, text, "")
    assert set(reads) == {run.profile.id}
    reads.clear()
    stand.db.sql(
        "UPDATE byokeep.profile_opening SET opened_at = now() - interval"
        f" '{checkout.FRESH_S + 1} seconds' {run.profile.of}"
    )
    assert (await take(run, epoch))[2] == "opening_not_fresh"
    assert (await run.at(f"/{epoch}/end", {"cause": "closed"}))[0] == 200
    assert (await take(run, epoch))[2] == "opening_lost"
    new = await job.opened()
    assert (await take(run, new))[2] == "opening_lost"
    await other.identified()
    assert (await other.at(f"/{elsewhere}/sealing"))[0] == 200
    assert (await take(other, elsewhere))[2] == "job_sealing"
    assert reads == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("job SET state = 'closed', closed_at = now()", "job_not_open"),
        ("job SET expires_at = now()", "job_not_open"),
        ("job SET lanes = '{api}'", "lane_not_declared"),
        ("client SET state = 'suspended'", "client_not_active"),
        ("profile SET state = 'quarantined'", "opening_lost"),
        ("profile_generation SET key_state = 'compromised'", "profile_not_usable"),
        ("profile_opening SET until = now()", "opening_lost"),
        ("profile_opening SET generation = 2", "opening_lost"),
    ],
)
async def test_what_ends_a_run_ends_the_handing_out(stand: Stand, reads: list[UUID], change: str, code: str) -> None:
    """The job's end, the client's, the profile's, its key's: refused before the store is asked."""
    run, _ = await recorded(stand)
    epoch = await run.opened()
    stand.db.sql(f"UPDATE byokeep.{change}")
    assert (await take(run, epoch))[2] == code
    assert reads == []


def other_accounts(run: Run, text: bytes) -> bytes:
    said = json.loads(text)
    manifest = json.loads(said["manifest"])
    manifest["accounts"][0]["account_id"] = "another"
    return canonical_json(said | {"manifest": canonical_json(manifest).decode()})


def sister_s(run: Run, text: bytes) -> bytes:
    return record_of(
        run, uuid4(), {"blob_sha256": "ab" * 32, "blob_size": 7}, generation=1, profile_id=uuid4()
    ).canonical  # fmt: skip


def other_blob(run: Run, text: bytes) -> bytes:
    return replace(parse_record(text), blob_sha256=bytes(32)).canonical


def keyless(run: Run, text: bytes) -> bytes:
    return canonical_json(json.loads(text) | {"wrapped_dek": ""})


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (other_accounts, "sealed_profile_altered"), (sister_s, "sealed_profile_altered"),
        (other_blob, "sealed_profile_altered"), (lambda *_: b"no record", "sealed_profile_altered"),
        (keyless, "dek_missing"),
    ],
    ids=["manifest", "another", "blob", "garbage", "key"],
)  # fmt: skip
async def test_a_record_that_is_not_what_was_sealed_goes_nowhere(stand: Stand, alter: Any, code: str) -> None:
    """An edited manifest, another profile's record, another blob's, garbage, no key: one code, no text, out of use."""
    run = await running(stand)
    altered = alter(run, made(run).canonical)
    await put_record(run, altered, cas=0)
    epoch = await run.opened()
    status, body, said = await take(run, epoch)
    assert (status, said) == (409, code)
    assert not any(word in body for word in (b"wrapped_dek", b"QUJDQUJD", b'manifest"', b"no record"))
    assert state(run) == "quarantined/altered"
    assert "profile_integrity" in stand.alerts()
    assert len(stand.events("profile.quarantined")) == 1
    assert (await take(run, epoch))[2] == "opening_lost"
    assert (await run.at(f"/{epoch}/end", {"cause": "altered"}))[0] == 200
    assert (await run.open())[1]["code"] == "profile_not_usable"


@pytest.mark.req("R5.3-24")
@pytest.mark.parametrize("how", ["put back", "never there", "destroyed"])
async def test_a_record_that_was_put_back_or_taken_away_opens_nothing(stand: Stand, how: str) -> None:
    """The same generation written once more is superseded; one that is gone is named as missing; out of use both."""
    run = await running(stand)
    text = made(run).canonical
    if how != "never there":
        await put_record(run, text, cas=0)
    if how == "put back":
        await put_record(run, text, cas=1)
    if how == "destroyed":
        await destroy(run)
    status, _, code = await take(run, await run.opened())
    assert (status, code) == (409, "superseded" if how == "put back" else "manifest_missing")
    assert state(run) == "quarantined/altered"


@pytest.mark.req("R5.3-24")
async def test_a_record_from_before_a_rotation_that_was_put_back_is_superseded(stand: Stand) -> None:
    """Its key was wrapped anew since, and the row followed: what was wrapped before is no newer wrapping."""
    run, text = await recorded(stand)
    after = replace(parse_record(text), wrapped_dek="vault:v2:" + "REVG" * 20, kek_version=2).canonical
    await put_record(run, after, cas=1)
    stand.db.sql(
        "INSERT INTO byokeep.kek_version SELECT (jsonb_populate_record(k, '{\"version\": 2}')).*"
        f" FROM byokeep.kek_version k WHERE k.client_id = '{run.profile.client}';"
        f" UPDATE byokeep.profile_generation SET kek_version = 2, record_version = 2 {run.profile.of}"
    )
    epoch = await run.opened()
    assert await take(run, epoch) == (200, after, "")
    await put_record(run, text, cas=2)
    assert (await take(run, epoch))[2] == "superseded"
    assert state(run) == "quarantined/altered"


async def test_a_key_that_is_wrapped_anew_meanwhile_is_no_tampering(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between row and store the record moves on and the old version is destroyed: the new one is handed out."""
    run, text = await recorded(stand)
    after = replace(parse_record(text), wrapped_dek="vault:v2:" + "REVG" * 20, kek_version=2).canonical
    real = BaoProfileRecords.newest

    async def moved(self: BaoProfileRecords, ref: ProfileRef) -> int:
        if await real(self, ref) == 1:
            await put_record(run, after, cas=1)
            await destroy(run)
            stand.db.sql(f"UPDATE byokeep.profile_generation SET record_version = 2 {run.profile.of}")
        return await real(self, ref)

    monkeypatch.setattr(BaoProfileRecords, "newest", moved)
    assert await take(run, await run.opened()) == (200, after, "")
    assert state(run) == "valid/"


@pytest.mark.parametrize("scope", [{}, {"lane": "browser"}, {"client_id": ""}, {"client_id": "", "lane": "browser"}])
async def test_no_record_is_read_once_a_kill_was_acknowledged(
    stand: Stand, scope: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loops ask for the record while a switch closes: the kill waits for what is being read, and none begins later."""
    run, text = await recorded(stand)
    epoch = await run.opened()
    clock, ended, first = asyncio.get_running_loop().time, [], asyncio.Event()
    real = BaoProfileRecords.read

    async def read(self: BaoProfileRecords, ref: ProfileRef, version: int) -> bytes:
        first.set()
        await asyncio.sleep(0.2)
        found = await real(self, ref, version)
        ended.append(clock())
        return found

    monkeypatch.setattr(BaoProfileRecords, "read", read)

    async def loop() -> str:
        while True:
            status, body, code = await take(run, epoch)
            if status != 200:
                return code
            assert body == text

    async def kill() -> float:
        await first.wait()
        named = {name: value or str(run.profile.client) for name, value in scope.items()}
        status, reply = await stand.call(
            "POST", "/v1/switches/close", "operator", {"reason": "a_test"} | named
        )  # fmt: skip
        assert status == 200, reply
        return clock()

    async with asyncio.timeout(60):
        acknowledged, *codes = await asyncio.gather(kill(), *(loop() for _ in range(4)))
    assert ended
    assert max(ended) < acknowledged
    assert set(codes) <= {"switch_closed", "job_not_open"}


async def test_a_kill_waits_for_a_silent_store_a_bounded_time(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many callers, a store that never answers: each hears so in two seconds, and the kill is not held up longer."""
    run, _ = await recorded(stand)
    epoch, clock, first = await run.opened(), asyncio.get_running_loop().time, asyncio.Event()

    async def silent(self: BaoProfileRecords, ref: ProfileRef, version: int) -> bytes:
        first.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(BaoProfileRecords, "read", silent)

    async def kill() -> float:
        await first.wait()
        since = clock()
        body = {"reason": "a_test", "client_id": str(run.profile.client), "lane": "browser"}
        assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
        return clock() - since

    took, *answers = await asyncio.gather(kill(), *(take(run, epoch) for _ in range(8)))
    assert took < STORE_WITHIN_S * 4, "it waited for one after the other"
    assert {code for _, _, code in answers} <= {"store_timeout", "switch_closed"}
    assert "store_timeout" in {code for _, _, code in answers}
    assert state(run) == "valid/"


async def test_a_switch_that_is_closed_is_heard_before_the_store_is_asked(stand: Stand, reads: list[UUID]) -> None:
    """As the row stands, whoever closed it."""
    run, _ = await recorded(stand)
    epoch = await run.opened()
    switch(stand, f"client:{run.profile.client}:lane:browser", run.profile.client)
    assert (await take(run, epoch))[2] == "switch_closed"
    assert reads == []


async def test_the_broker_s_readings_are_explained_by_openings_and_others_found(stand: Stand) -> None:
    """What was handed out is clean in the store's own log; what a stolen broker identity reads is a finding."""
    run, _ = await recorded(stand)
    other, _ = await recorded(stand)
    state_rows(stand.db)
    since = stand.app.clock.now()
    assert (await take(run, await run.opened()))[0] == 200
    stated = await reconciled(stand, since)
    assert (stated.state, stated.findings) == ("clean", ()), stated
    since = stand.app.clock.now()
    await stand.app.records.read(ProfileRef(ClientId(other.profile.client), other.profile.id), 1)
    stated = await reconciled(stand, since)
    assert [(one.reason, one.client_id) for one in stated.findings] == [("read_without_lease", other.profile.client)]


async def test_who_lost_the_opening_while_the_store_was_asked_gets_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opening ends between the question and the answer: refused, though the record was read."""
    run, _ = await recorded(stand)
    epoch = await run.opened()
    real = openings.stored

    async def ended(*given: Any, **named: Any) -> bytes:
        text = await real(*given, **named)
        assert (await run.at(f"/{epoch}/end", {"cause": "closed"}))[0] == 200
        return text

    monkeypatch.setattr(checkout, "stored", ended)
    status, _, code = await take(run, epoch)
    assert (status, code) == (409, "opening_lost")
    assert state(run) == "valid/"


async def test_a_store_that_can_not_be_asked_changes_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is no tampering: the profile stays in use."""
    run, _ = await recorded(stand)
    epoch = await run.opened()

    async def away(self: BaoProfileRecords, ref: ProfileRef) -> int:
        raise Unavailable("store_unreachable")

    monkeypatch.setattr(BaoProfileRecords, "newest", away)
    assert (await take(run, epoch))[0] == 503
    assert state(run) == "valid/"
