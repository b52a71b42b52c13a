"""A job seals the profile that it had open: no permit any more, custody of that profile alone, write-once, fenced."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.ports import BaoProfileRecords
from byokeep.core import next_steps
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import Actor, ClientId, Environment, ProfileId, Provider, Role
from byokeep.core.ref import KeyRef, ProfileRef
from byokeep.core.sealed_record import FOR_ROTATION, KEPT, LOW, SealedRecord
from byokeep.core.sealed_record import MAGIC as SEALED_MAGIC
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.profiles import checkout, openings
from byokeep.tenancy.scopes import STORE_WITHIN_S
from byokeep.wire.bao_http import BaoHttp, StoredVersion, lease_login, read_secret, write_secret
from tests.flows.test_profile_use import Run, running, second
from tests.support.broker import Stand, reconciled
from tests.support.postgres_rows import state_rows
from tests.support.profiles import put_profile

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
NEW = SEALED_MAGIC + b"another generation" * 1000
ACME = ExpectedAccount(
    platform=Provider.TIKTOK, account="acme", account_id="acme", username="acme", display_name="Acme Ltd"
)  # fmt: skip


async def put(
    run: Run, epoch: int, dek: UUID, data: bytes | AsyncIterator[bytes], **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a blob as the SDK does."""
    path = f"http://broker/v1/jobs/{run.job}/profiles/{run.profile.id}/openings/{epoch}/seals/{dek}/blob"
    sent = {"Authorization": f"Bearer {run.stand.people['runner'].token}", "Content-Type": "application/octet-stream"}
    async with run.stand.http.put(path, data=data, headers=sent | headers) as reply:
        return reply.status, await reply.json(content_type=None)


async def closed(stand: Stand, **spec: Any) -> tuple[Run, int]:
    """A run whose browser was in as the right account and is closed."""
    run = await running(stand, **spec)
    epoch = await run.opened()
    await run.identified()
    return run, epoch


async def put_record(run: Run, text: bytes, *, cas: int) -> StoredVersion:
    """Write a record as the worker's custody does; the job is one of the worker's."""
    job = await run.stand.job(
        run.profile.client, kind="custody", runner_id=str(run.stand.people["custodian"].id), secrets=["profile"],
        platforms=[], lanes=[], effects=[],
    )  # fmt: skip
    lease = await run.stand.lease(job, "custodian")
    async with BaoHttp(run.stand.store.address, timeout_s=5) as bao:
        token = await lease_login(bao, Secret(lease["jwt"]), "custody-profile", lease_id=lease["lease_id"])
        return await write_secret(bao, token, run.profile.path, Secret(text), cas=cas, lease_id=lease["lease_id"])


def record_of(run: Run, dek: UUID, blob: Mapping[str, Any], **other: Any) -> SealedRecord:
    """The record that the SDK makes; ``other`` changes it, or its manifest."""
    place = {name: other.pop(name) for name in list(other) if name in Manifest.__dataclass_fields__}
    made = Manifest(
        environment=Environment.DEVELOPMENT, client_id=ClientId(run.profile.client),
        profile_id=ProfileId(run.profile.id), generation=2, platforms=(Provider.TIKTOK,), accounts=(ACME,),
        created_by=run.stand.people["runner"].id, created_at=datetime(2026, 1, 1, tzinfo=UTC),
        packing=Packing.PORTABLE, browser_version="156.0.8078.79",
    )  # fmt: skip
    record = SealedRecord(
        manifest=replace(made, **place), dek_id=dek, wrapped_dek="vault:v1:" + "QUJD" * 20,
        kek=KeyRef("transit", f"development-{run.profile.client}"), kek_version=1,
        blob_sha256=bytes.fromhex(blob["blob_sha256"]), blob_size=blob["blob_size"], packed_size=4096,
    )  # fmt: skip
    return replace(record, **other)


def said(record: SealedRecord, blob: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    """What the SDK sends."""
    return {"base": 1, "record": record.canonical.decode(), "receipt": blob["receipt"]} | other


async def stored_versions(run: Run) -> int:
    """The newest version of the profile's record."""
    return await run.stand.app.records.newest(ProfileRef(ClientId(run.profile.client), run.profile.id))


@pytest.mark.parametrize(
    ("identity", "code"),
    [("unknown", "identity_unproven"), ("mismatch", "identity_mismatch"), ("", "identity_unproven")],
)
async def test_only_what_was_seen_to_be_the_right_account_s_is_sealed(stand: Stand, identity: str, code: str) -> None:
    """Not seen since the opening, not readable, another's: nothing of that session is kept; the job stays as it is."""
    run = await running(stand)
    epoch = await run.opened()
    if identity:
        await run.identified(identity)
    status, reply = await run.at(f"/{epoch}/sealing")
    assert (status, reply["code"]) == (403, code)
    assert stand.db.sql(f"SELECT sealing_at IS NULL FROM byokeep.job WHERE id = '{run.job}'").strip() == "t"


async def test_what_another_lane_saw_meanwhile_proves_nothing_and_costs_no_session(stand: Stand) -> None:
    """A look of ours at an account of the profile: a match is no proof, one that failed is no doubt, and another's
    account is sealed no more; the profile stays in use, for this browser did not show it."""
    run, epoch = await closed(stand)
    other = stand.account(run.profile.client, "x", lanes="browser")
    stand.db.sql(
        "INSERT INTO byokeep.profile_account (client_id, profile_id, account_id, platform) VALUES"
        f" ('{run.profile.client}', '{run.profile.id}', '{other}', 'x')"
    )
    look = "UPDATE byokeep.platform_account SET identified_at = clock_timestamp(), identity ="
    stand.db.sql(f"{look} 'mismatch' WHERE id = '{other}'")
    assert (await run.at(f"/{epoch}/sealing"))[1]["code"] == "identity_mismatch"
    assert (await run.at(f"/{epoch}/end", {"cause": "closed"}))[0] == 200
    assert stand.db.sql(f"SELECT state FROM byokeep.profile {run.profile.where}").strip() == "valid"
    epoch = await run.opened()
    stand.db.sql(f"{look} 'match'")
    assert (await run.at(f"/{epoch}/sealing"))[1]["code"] == "identity_unproven"
    await run.identified()
    stand.db.sql(f"{look} 'unknown'")
    assert (await run.at(f"/{epoch}/sealing"))[0] == 200


async def test_a_sealing_job_acts_no_more_and_has_custody_of_this_profile_alone(stand: Stand) -> None:
    """No permit, no use lease, none of its other secrets; the use lease that it held is told to stop."""
    run, epoch = await closed(stand, secrets=["openai", "profile"], lanes=["api", "browser"])
    other = await running(stand, client=None)
    assert set(run.lease["secrets"]) == {"openai", "profile/tiktok/acme"}
    status, permit = await stand.permit(run.lease["lease_id"], "act-0001", platform="tiktok", lane="browser")
    assert status == 201
    assert (await run.at(f"/{epoch}/sealing"))[1]["code"] == "permits_open"
    done = f"/v1/permits/{permit['permit_id']}/close"
    assert (await stand.call("POST", done, "runner", {"outcome": "done"}))[0] == 200
    for _ in range(2):
        assert await run.at(f"/{epoch}/sealing") == (200, {"status": "sealing"})
    assert len(stand.events("job.sealing")) == 1
    assert await run.act() == "job_sealing"
    status, reply = await stand.call("GET", f"/v1/leases/{run.lease['lease_id']}", "runner")
    assert (status, reply["code"]) == (403, "job_not_open")
    lease = await stand.lease(run.job)
    assert (lease["kind"], list(lease["secrets"])) == ("custody", [f"profile/{run.profile.id}"])
    assert lease["store"]["roles"] == {f"profile/{run.profile.id}": "seal-profile"}
    assert (await stand.call("GET", f"/v1/leases/{lease['lease_id']}", "runner"))[0] == 200
    status, reply = await stand.permit(lease["lease_id"], platform="tiktok", lane="browser")
    assert (status, reply["code"]) == (403, "job_sealing")
    async with BaoHttp(stand.store.address, timeout_s=5) as bao:
        for role in ("use-profile", "custody-profile", "use-openai", "custody-openai"):
            with pytest.raises(Denied, match="lease_refused"):
                await lease_login(bao, Secret(lease["jwt"]), role, lease_id=lease["lease_id"])
        token = await lease_login(bao, Secret(lease["jwt"]), "seal-profile", lease_id=lease["lease_id"])
        sister = put_profile(stand, run.profile.client, stand.account(run.profile.client, "skool", lanes="browser"))
        for path in (
            sister.path,
            run.profile.path,
            other.profile.path,
            f"kv/clients/{run.profile.client}/providers/openai",
        ):
            with pytest.raises(Denied, match="store_denied"):
                await write_secret(bao, token, path, Secret("x"), cas=0, lease_id=lease["lease_id"])
            with pytest.raises(Denied, match="store_denied"):
                await read_secret(bao, token, path, 1, lease["lease_id"])
    assert (await run.open())[1]["code"] == "job_sealing"
    assert (await run.at(f"/{epoch}/blob", method="GET"))[1]["code"] == "job_sealing"
    assert (await run.at(f"/{epoch}/beat"))[0] == 200
    stand.db.sql(f"UPDATE byokeep.profile_opening SET until = now() {run.profile.of}")
    status, reply = await stand.call("POST", f"/v1/jobs/{run.job}/leases", "runner")
    assert (status, reply["code"]) == (403, "profile_not_open")


async def test_no_permit_is_younger_than_the_sealing(stand: Stand) -> None:
    """Loops ask for permits while the job begins to seal: none is issued after the answer, none was open at it."""
    run, epoch = await closed(stand, lanes=["api", "browser"], secrets=["openai", "profile"])
    issued = asyncio.Event()

    async def loop(number: int) -> None:
        for count in range(1000):
            status, reply = await stand.permit(
                run.lease["lease_id"], f"act-{number:02}-{count:05}", platform="tiktok", lane="browser"
            )
            if status != 201:
                assert reply["code"] == "job_sealing"
                return
            issued.set()
            closing = await stand.call("POST", f"/v1/permits/{reply['permit_id']}/close", "runner", {"outcome": "done"})
            assert closing[0] == 200

    async def begin() -> None:
        await issued.wait()
        while (await run.at(f"/{epoch}/sealing"))[1].get("code") == "permits_open":
            pass

    async with asyncio.timeout(60):
        await asyncio.gather(begin(), *(loop(number) for number in range(6)))
    young = stand.db.sql(
        "SELECT count(*) FROM byokeep.permit p JOIN byokeep.job j ON j.id = p.job_id"
        f" WHERE j.id = '{run.job}' AND (p.issued_at > j.sealing_at OR p.closed_at > j.sealing_at)"
    )
    assert young.strip() == "0"
    assert int(stand.db.sql("SELECT count(*) FROM byokeep.permit")) > 0


@pytest.mark.req("R5.3-10", "R5.3-12", "R5.3-13")
async def test_blob_then_record_then_row(stand: Stand) -> None:
    """The whole way of a seal: announced, written once, recorded, opening ended; the next job opens what was sealed."""
    run, epoch = await closed(stand)
    dek, since = uuid4(), stand.app.clock.now()
    body = {"base": 1, "dek_id": str(dek)}
    used = stand.db.sql("SELECT dek_id FROM byokeep.profile_generation").strip()
    for early in (body, body | {"dek_id": used}):  # who may not seal is told nothing of a key's id, and opens no alert
        assert (await run.at(f"/{epoch}/seals", early))[1]["code"] == "job_not_sealing"
    assert (await run.at(f"/{epoch}/sealing"))[0] == 200
    foreign = f"/v1/jobs/{run.job}/profiles/{uuid4()}/openings/{epoch}/seals"
    assert (await stand.call("POST", foreign, "runner", body | {"dek_id": used}))[0] == 404
    assert "duplicate_key_material" not in stand.alerts()
    assert (await put(run, epoch, dek, NEW))[1]["code"] == "seal_not_announced"
    assert (await run.at(f"/{epoch}/seals", body | {"base": 2}))[1]["code"] == "generation_moved"
    assert (await run.at(f"/{epoch}/seals", body | {"dek_id": used}))[1]["code"] == "duplicate_key_material"
    status, plan = await run.at(f"/{epoch}/seals", body)
    assert status == 201, plan
    assert (plan["generation"], plan["path"]) == (2, run.profile.path)
    assert plan["created_by"] == str(stand.people["runner"].id)
    assert (await put(run, epoch, dek, b"PK\x03\x04" + bytes(500)))[1]["code"] == "not_sealed"
    assert (await put(run, epoch, dek, NEW, **{"Content-Type": "text/plain"}))[0] == 415
    status, blob = await put(run, epoch, dek, NEW)
    assert status == 201, blob
    assert (blob["blob_sha256"], blob["blob_size"]) == (hashlib.sha256(NEW).hexdigest(), len(NEW))
    assert (await put(run, epoch, dek, NEW))[1]["code"] == "artifact_exists"
    made_at = datetime.fromisoformat(plan["created_at"])
    assert abs((stand.app.clock.now() - made_at).total_seconds()) < 60
    made = record_of(run, dek, blob, created_at=made_at)
    below, good = f"/{epoch}/seals/{dek}/record", said(made, blob)
    for wrong, code in (
        ({"blob_sha256": bytes(32)}, "bad_receipt"), ({"blob_size": 7}, "bad_receipt"),
        ({"dek_id": uuid4()}, "bad_seal"),
        ({"generation": 3}, "bad_seal"), ({"profile_id": ProfileId(uuid4())}, "bad_seal"),
        ({"client_id": ClientId(uuid4())}, "bad_seal"), ({"environment": Environment.STAGING}, "bad_seal"),
        ({"created_by": uuid4()}, "bad_seal"), ({"packing": Packing.FULL}, "bad_seal"),
        ({"created_at": made_at - timedelta(seconds=1)}, "bad_seal"),
        ({"accounts": (replace(ACME, account="other"),)}, "bad_seal"),
        ({"platforms": (Provider.X,), "accounts": (replace(ACME, platform=Provider.X),)}, "bad_seal"),
    ):  # fmt: skip
        text = record_of(run, dek, blob, **{"created_at": made_at} | wrong).canonical.decode()
        assert (await run.at(below, good | {"record": text}))[1]["code"] == code, wrong
    for broken, code in (
        ({"receipt": "00" * 32}, "bad_receipt"), ({"base": 2}, "generation_moved"), ({"record": "{}"}, "bad_seal"),
        ({"record": good["record"] + " "}, "bad_seal"), ({"record": "x" * 200_000}, "bad_request"),
        ({"record": "x" * 400_000}, "body_too_large"), ({"base": 0}, "bad_request"),
    ):  # fmt: skip
        assert (await run.at(below, good | broken))[1]["code"] == code, broken
    assert (await run.at(f"/{epoch}/seals/{uuid4()}/record", good))[1]["code"] == "seal_not_announced"
    assert await stored_versions(run) == 0
    for _ in range(2):
        status, reply = await run.at(below, good)
        assert (status, reply) == (200, {"generation": 2}), list(reply.items())
        assert await stored_versions(run) == 1
    row = stand.db.sql(
        "SELECT p.state, p.generation, p.validated_generation, p.due_at > now() + interval '29 days', g.dek_id,"
        f" g.job_id FROM byokeep.profile p JOIN byokeep.profile_generation g ON g.profile_id = p.id AND"
        f" g.generation = p.generation WHERE p.id = '{run.profile.id}'"
    )
    assert row.strip().split("|") == ["valid", "2", "1", "t", str(dek), str(run.job)]
    assert (len(stand.events("profile.seal", "intended")), len(stand.events("profile.sealed"))) == (1, 1)
    assert len(stand.events("profile.opening_ended")) == 1
    assert json.loads(stand.events("profile.sealed")[0])["fields"]["store_request"]
    other = await second(run)
    status, opening = await other.open()
    assert (status, opening["generation"]["generation"], opening["epoch"]) == (201, 2, epoch + 1)
    path = f"/{opening['epoch']}/blob"
    token = {"Authorization": f"Bearer {stand.people['runner'].token}"}
    at = f"http://broker/v1/jobs/{other.job}/profiles/{run.profile.id}/openings{path}"
    async with stand.http.get(at, headers=token) as reply:
        assert await reply.read() == NEW
    assert (await other.at(f"{path.removesuffix('/blob')}/end", {"cause": "closed"}))[0] == 200
    state_rows(stand.db)
    stated = await reconciled(stand, since)
    assert (stated.state, stated.findings) == ("clean", ()), stated
    stand.db.sql(  # rows that were put back: what the chain says was sealed is newer
        "BEGIN; SET LOCAL session_replication_role = replica;"
        f"DELETE FROM byokeep.profile_generation {run.profile.of} AND generation = 2;"
        f"UPDATE byokeep.profile SET generation = 1, validated_generation = 1 {run.profile.where}; COMMIT"
    )
    status, reply = await (await second(run)).open()
    assert (status, reply["code"]) == (403, "profile_not_usable")
    state = stand.db.sql(f"SELECT state || '/' || reason FROM byokeep.profile {run.profile.where}")
    assert state.strip() == "quarantined/generation_rolled_back"
    assert "profile_integrity" in stand.alerts()


async def test_a_seal_expects_the_very_accounts_that_the_opened_one_expects(stand: Stand) -> None:
    """Another id or shown name under the account's own name is refused, of a job that never took the record too; not
    what we call otherwise since it was sealed. Where the opened row does not say, the id must be the registered one."""
    run = await running(stand)
    other_id = {"account_id": "2"}
    for base, wrong in ((1, (other_id,)), (2, (other_id, {"username": "other"}, {"display_name": None}))):
        run = await second(run)
        epoch, dek = await run.opened(), uuid4()
        await run.identified()
        assert (await run.at(f"/{epoch}/sealing"))[0] == 200
        _, plan = await run.at(f"/{epoch}/seals", {"base": base, "dek_id": str(dek)})
        _, blob = await put(run, epoch, dek, NEW)
        same: dict[str, Any] = {"generation": base + 1, "created_at": datetime.fromisoformat(plan["created_at"])}
        for changed in wrong:
            made = record_of(run, dek, blob, accounts=(replace(ACME, **changed),), **same)
            status, reply = await run.at(f"/{epoch}/seals/{dek}/record", said(made, blob, base=base))
            assert (status, reply.get("code")) == (422, "bad_seal"), changed
        if base == 2:
            stand.db.sql(f"UPDATE byokeep.platform_account SET display_name = 'Renamed' WHERE id = '{run.account}'")
        good = said(record_of(run, dek, blob, **same), blob, base=base)
        assert await run.at(f"/{epoch}/seals/{dek}/record", good) == (200, {"generation": base + 1})
    assert await stored_versions(run) == 2


async def test_who_lost_the_opening_loses_the_seal(stand: Stand) -> None:
    """Between announcing and recording somebody else opens it: blob, record and row of the first are refused."""
    run, epoch = await closed(stand)
    await run.at(f"/{epoch}/sealing")
    dek = uuid4()
    await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(dek)})
    _, blob = await put(run, epoch, dek, NEW)
    stand.db.sql(f"UPDATE byokeep.profile_opening SET until = now() {run.profile.of}")
    other = await second(run)
    assert (await other.open())[0] == 201
    status, reply = await run.at(f"/{epoch}/seals/{dek}/record", said(record_of(run, dek, blob), blob))
    assert (status, reply["code"]) == (409, "opening_lost")
    assert await stored_versions(run) == 0
    assert (await put(run, epoch, uuid4(), NEW))[0] == 409
    assert (await stand.call("POST", f"/v1/jobs/{run.job}/leases", "runner"))[0] == 403
    assert stand.db.sql(f"SELECT generation FROM byokeep.profile {run.profile.where}").strip() == "1"


async def test_a_blob_has_a_bound(stand: Stand, store: Any) -> None:
    """What is longer than the limit is cut off at it and leaves nothing, however it is sent."""
    run, epoch = await closed(stand)
    await run.at(f"/{epoch}/sealing")
    dek = uuid4()
    await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(dek)})
    small = replace(stand.app, limits=replace(stand.app.limits, profile_blob_max=len(NEW) - 1))
    actor = Actor(id=stand.people["runner"].id, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(NEW), 1000):
            yield NEW[at : at + 1000]

    with pytest.raises(Rejected, match="blob_too_large"):
        await checkout.put_blob(small, actor, run.job, run.profile.id, epoch, dek, pieces())
    assert [one for one in (stand.home / "artifacts").rglob("*") if one.is_file()] == []
    assert (await put(run, epoch, dek, NEW))[0] == 201


async def test_a_record_that_the_store_did_not_take_in_time_stands_for_nothing(stand: Stand) -> None:
    """The store is silent: an answer in two seconds, no generation; asked again it is sealed, once."""
    run, epoch = await closed(stand)
    await run.at(f"/{epoch}/sealing")
    dek = uuid4()
    _, plan = await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(dek)})
    _, blob = await put(run, epoch, dek, NEW)
    made_at = datetime.fromisoformat(plan["created_at"])
    text, receipt = record_of(run, dek, blob, created_at=made_at).canonical, blob["receipt"]

    class Silent(BaoProfileRecords):
        async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
            await asyncio.Event().wait()
            raise AssertionError

    actor = Actor(id=stand.people["runner"].id, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())
    deaf = replace(stand.app, records=Silent(stand.app.records._login))
    since = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="store_timeout"):
        await checkout.record(deaf, actor, run.job, run.profile.id, epoch, 1, dek, text, receipt)
    assert asyncio.get_running_loop().time() - since < STORE_WITHIN_S + 1
    assert stand.db.sql(f"SELECT generation FROM byokeep.profile {run.profile.where}").strip() == "1"
    body = {"base": 1, "record": text.decode(), "receipt": receipt}
    assert await run.at(f"/{epoch}/seals/{dek}/record", body) == (200, {"generation": 2})
    assert await stored_versions(run) == 1


async def test_a_job_learns_in_time_that_cut_off_seals_fill_the_history(stand: Stand) -> None:
    """With half of the room gone its seal is announced, and people are told; with all of it gone nothing is announced,
    people are told that too, and the answer names what to do."""
    run, epoch = await closed(stand)
    assert (await run.at(f"/{epoch}/sealing"))[0] == 200
    ref = ProfileRef(ClientId(run.profile.client), run.profile.id)

    async def announced(newest: int) -> tuple[int, str]:
        while (now := await stored_versions(run)) < newest:
            await stand.app.records.write(ref, b"of a seal that was cut off", cas=now)
        status, reply = await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(uuid4())})
        return status, reply.get("next_step", "")

    assert (await announced(LOW - 1), stand.alerts()) == ((201, ""), [])
    assert (await announced(LOW), stand.alerts()) == ((201, ""), ["record_history_low"])
    intended = len(stand.events("profile.seal"))
    status, step = await announced(KEPT - FOR_ROTATION)
    assert (status, sorted(stand.alerts())) == (409, ["record_history_full", "record_history_low"])
    assert "byokeep kek rotate" in step
    assert len(stand.events("profile.seal")) == intended


async def test_an_opening_announces_few_seals(stand: Stand) -> None:
    """Each announced one may bring a blob of its own: a fourth is refused, one that is announced again is not."""
    run, epoch = await closed(stand)
    assert (await run.at(f"/{epoch}/sealing"))[0] == 200
    deks = [uuid4() for _ in range(checkout.MOST_SEALS + 1)]
    replies = [await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(dek)}) for dek in (*deks, deks[0])]
    assert [reply.get("code") for _, reply in replies] == [None] * checkout.MOST_SEALS + ["too_many_seals", None]
    assert stand.alerts() == ["too_many_seals"]
    assert (await put(run, epoch, deks[-1], NEW))[1]["code"] == "seal_not_announced"


async def test_a_broker_that_dies_before_its_commit_left_a_seal_that_was_cut_off(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has the record, no row follows: the store's entry is told as cut off, with what to do, and stays so
    when the job seals again; a second write that the announcement can not stand for is not excused by it."""
    run, epoch = await closed(stand)
    await run.at(f"/{epoch}/sealing")
    dek, since = uuid4(), stand.app.clock.now()
    status, plan = await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(dek)})
    assert status == 201
    _, blob = await put(run, epoch, dek, NEW)
    made = record_of(run, dek, blob, created_at=datetime.fromisoformat(plan["created_at"]))
    actor = Actor(id=stand.people["runner"].id, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())

    async def killed(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(openings, "record", killed)
        with pytest.raises(asyncio.CancelledError):
            await checkout.record(
                stand.app, actor, run.job, run.profile.id, epoch, 1, dek, made.canonical, blob["receipt"]
            )
    assert await stored_versions(run) == 1
    assert stand.events("profile.sealed") == []

    async def found() -> list[tuple[str, str, UUID | None]]:
        state_rows(stand.db)
        stated = await reconciled(stand, since)
        return [(one.reason, one.severity, one.client_id) for one in stated.findings]

    cut_off = ("write_cut_off", "warning", run.profile.client)
    assert await found() == [cut_off]
    assert stand.alerts() == ["write_cut_off"]
    assert "cut_off" in next_steps.of_alert("write_cut_off")
    assert await run.at(f"/{epoch}/seals/{dek}/record", said(made, blob)) == (200, {"generation": 2})
    ref = ProfileRef(ClientId(run.profile.client), run.profile.id)
    await stand.app.records.write(ref, b"planted", cas=2)
    assert await found() == [cut_off, ("write_unexplained", "critical", run.profile.client)]


async def test_a_record_that_nobody_announced_is_found(stand: Stand) -> None:
    """Somebody writes a record as the broker, past its routes: nothing explains that entry of the store's own log."""
    run, since = await running(stand), stand.app.clock.now()
    await stand.app.records.write(ProfileRef(ClientId(run.profile.client), run.profile.id), b"planted", cas=0)
    state_rows(stand.db)
    stated = await reconciled(stand, since)
    found = [(one.reason, one.client_id) for one in stated.findings]
    assert found == [("write_unexplained", run.profile.client)]


@pytest.mark.parametrize("scope", ["lane:browser", "client:{}"])
async def test_a_switch_stops_a_seal_too(stand: Stand, scope: str) -> None:
    """While the lane is off nothing is sealed: what moved since is lost, and the last generation stays."""
    from tests.flows.test_profile_use import switch

    run, epoch = await closed(stand)
    await run.at(f"/{epoch}/sealing")
    switch(stand, scope.format(run.profile.client), run.profile.client if "{}" in scope else None)
    assert (await run.at(f"/{epoch}/seals", {"base": 1, "dek_id": str(uuid4())}))[1]["code"] == "switch_closed"
    assert (await stand.call("POST", f"/v1/jobs/{run.job}/leases", "runner"))[1]["code"] == "switch_closed"
    assert (await run.at(f"/{epoch}/end", {"cause": "stopped"}))[0] == 200
