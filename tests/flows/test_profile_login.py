"""SOP 5.3 from the first step to the seal: who logs in, who confirms, what is sealed where, and what is not."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.errors import Conflict, Denied, Unavailable
from byokeep.core.kek import KeyContext, Wrapped
from byokeep.core.model import ClientId, ProfileId
from byokeep.core.policy import Verb, authorise
from byokeep.core.profile import Purpose
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_artifact_key, parse_record
from byokeep.profiles import openings
from byokeep.profiles.profiles import Profile
from tests.support.connected import connect
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]


@pytest.mark.req("R5.3-5")
async def test_a_profile_is_one_client_s_and_its_id_is_random(vault: Vault) -> None:
    """The id is a random UUID of ours, bound to its client; under another client it is refused, and not seen there."""
    client, other = await vault.client(), await vault.client()
    made = {await vault.create(client, platform) for platform in ("x", "skool", "tiktok")}
    assert len(made) == 3
    assert all(one.version == 4 for one in made)
    one = next(iter(made))
    assert vault.sql(f"SELECT client_id FROM byokeep.profile WHERE id = '{one}'") == str(client)
    with pytest.raises(Exception, match="postgres_admin_failed"):
        vault.sql(
            "INSERT INTO byokeep.profile (id, client_id, packing, created_by) VALUES"
            f" ('{one}', '{other}', 'portable', '{vault.desk.people['operator'].id}')"
        )
    assert vault.sql(f"SELECT count(*) FROM byokeep.profile WHERE id = '{one}'") == "1"
    stranger = vault.desk.stand.subject("operator", clients=(other,))
    assert (await vault.desk.call("GET", f"/v1/profiles/{one}", stranger))[0] == 404
    assert json.loads(vault.events("profile.created")[0])["object"] in {str(each) for each in made}


async def test_an_account_has_one_living_profile(vault: Vault) -> None:
    """A second profile of the same account is refused and names the first."""
    client = await vault.client()
    first = await vault.create(client)
    status, reply = await vault.call(
        "POST", f"/v1/clients/{client}/profiles", {"accounts": [{"platform": "x", "account": "acme"}]}
    )
    assert (status, reply["code"], reply["profile"]) == (409, "account_has_profile", str(first))


@pytest.mark.req("R5.3-13")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"accounts": []}, "bad_request"),
        ({"accounts": [{"platform": "openai", "account": "acme"}]}, "not_a_platform"),
        ({"accounts": [{"platform": "x", "account": "nobody"}]}, "unknown_account"),
        ({"accounts": [{"platform": "x", "account": "acme"}, {"platform": "x", "account": "acme"}]}, "bad_accounts"),
        ({"accounts": [{"platform": "x", "account": "acme"}], "id": "x"}, "bad_request"),
        ({"accounts": [{"platform": "x", "account": "acme"}], "created_by": "somebody"}, "bad_request"),
        ({"accounts": [{"platform": "x", "account": "acme"}], "created_at": "2020-01-01T00:00:00Z"}, "bad_request"),
    ],
)
async def test_what_is_no_profile_is_refused(vault: Vault, body: dict[str, object], code: str) -> None:
    """No account, an unknown one, one twice, or an id of the caller's own: nothing is made."""
    client = await vault.client()
    vault.desk.stand.account(client, "x", "acme")
    status, reply = await vault.call("POST", f"/v1/clients/{client}/profiles", body)
    assert (status, reply["code"]) == (422, code)
    assert vault.sql("SELECT count(*) FROM byokeep.profile") == "0"


@pytest.mark.req("R5.3-6")
async def test_a_person_logs_in_and_confirms_and_it_is_on_record(vault: Vault) -> None:
    """Who confirmed, when, and what they saw; before that nothing can be sealed, and no process can do it for them."""
    client = await vault.client()
    profile = await vault.create(client)
    async with vault.app.db.begin(client_id=ClientId(client)) as tx:
        now = await tx.one(Profile, "profile_get", client_id=client, id=profile)
        opening = await openings.take(
            tx, vault.app, vault.app.system(), now, purpose=Purpose.LOGIN, job_id=await _job(vault, client)
        )
        with pytest.raises(Conflict) as early:
            await openings.announce(
                tx, vault.app, vault.app.system(), now, opening, dek_id=vault.app.ids.uuid(), newest=0
            )
        assert early.value.code == "profile_state"
        await openings.end(tx, vault.app.system(), now, opening)
    for role in ("admin", "approver", "auditor", "dispatcher", "runner", "custodian"):
        status, _ = await vault.call("POST", f"/v1/profiles/{profile}/confirm", {"seen": {"x": "acme"}}, role)
        assert status in (401, 403, 404), role
    with pytest.raises(Denied):
        authorise(vault.app.system(), Verb.PROFILE_CONFIRM)
    assert await vault.log_in(profile) == "sealed"
    said = json.loads(vault.events("profile.confirmed", "ok")[0])
    assert said["actor"] == str(vault.desk.people["operator"].id)
    assert said["roles"] == ["operator"]
    assert said["fields"]["observed_id"] == said["fields"]["expected_id"]
    assert vault.sql("SELECT at IS NOT NULL FROM byokeep.audit_record WHERE event = 'profile.confirmed'") == "t"
    row = vault.sql(f"SELECT confirmed_by, confirmed_at IS NOT NULL FROM byokeep.profile WHERE id = '{profile}'")
    assert row == f"{vault.desk.people['operator'].id}|t"
    assert vault.script.logins == 1
    name = vault.sql("SELECT name FROM byokeep.client")
    assert vault.script.told == [{
        "client": name, "profile": str(profile), "account": "x/acme",
        "then": f"byokeep profile confirm {profile} x/ACCOUNT",
    }]  # fmt: skip


async def _job(vault: Vault, client: UUID) -> UUID:
    from byokeep.core.model import PROFILE, LeaseKind
    from byokeep.jobs.jobs import JobSpec, open_job

    spec = JobSpec(client_id=ClientId(client), runner_id=None, kind=LeaseKind.CUSTODY, secrets=(PROFILE,))
    async with vault.app.db.begin(client_id=client) as tx:
        return (await open_job(tx, vault.app, vault.app.system(), spec)).id


async def test_a_person_who_saw_another_account_confirms_nothing(vault: Vault) -> None:
    """The wrong name is refused, on record, and the browser goes on waiting; the right one is taken afterwards."""
    client = await vault.client()
    profile = await vault.create(client)
    vault.script.session = b"session" * 100
    work = await vault.ask(profile, "login")
    doing = asyncio.create_task(vault.do(profile, work))
    await vault.until(profile, work, "waiting")
    for seen, code in (({"x": "acme2"}, "other_account"), ({"skool": "acme"}, "platform_not_named")):
        status, reply = await vault.call("POST", f"/v1/profiles/{profile}/confirm", {"seen": seen})
        assert (status, reply["code"]) == (422, code)
    assert vault.state(profile) == "created/0"
    assert len(vault.events("profile.confirmed", "rejected")) == 2
    status, _ = await vault.call("POST", f"/v1/profiles/{profile}/confirm", {"seen": {"x": "@acme"}})
    assert status == 200
    assert await doing == "sealed"
    assert (await vault.call("POST", f"/v1/profiles/{profile}/confirm", {"seen": {"x": "acme"}}))[0] == 409


@pytest.mark.req("R2.3-2", "R5.3-1", "R5.3-9", "R5.3-10", "R5.3-11", "R5.3-12", "R5.3-13")
async def test_blob_and_record_lie_apart_and_say_what_they_must(vault: Vault) -> None:
    """The blob under its client's prefix, written once; manifest and wrapped key in the store and nowhere else."""
    client, profile = await vault.sealed("x", "skool")
    (blob,) = vault.blobs()
    assert blob.relative_to(vault.artifacts).parts[:2] == (str(client), str(profile))
    record = parse_record(await vault.record(client, profile))
    manifest = record.manifest
    assert (manifest.client_id, manifest.profile_id, manifest.generation) == (client, profile, 1)
    assert [one.value for one in manifest.platforms] == ["skool", "x"]
    assert [(one.platform.value, one.account_id) for one in manifest.accounts] == [("skool", "acme"), ("x", "acme")]
    sealed = json.loads(vault.events("profile.sealed", "ok")[0])
    assert str(manifest.created_by) == sealed["actor"]
    row = vault.sql("SELECT extract(epoch FROM sealed_at)::bigint FROM byokeep.profile_generation")
    assert abs(int(row) - int(manifest.created_at.timestamp())) < 3600
    for path in vault.artifacts.rglob("*"):
        assert not path.is_file() or record.wrapped_dek.encode() not in path.read_bytes(), path
    assert manifest.hash.hex() == sealed["fields"]["manifest"]
    accounts = vault.sql("SELECT encode(accounts_hash, 'hex') FROM byokeep.profile_generation")
    assert accounts == manifest.accounts_hash.hex()
    assert sealed["fields"]["store_request"]
    dump = vault.sql("SELECT string_agg(g::text, ' ') FROM byokeep.profile_generation g")
    assert record.wrapped_dek not in dump
    vault.sql(f"UPDATE byokeep.profile SET created_at = created_at - interval '1 day' WHERE id = '{profile}'")
    assert await vault.done(profile, "rekey") == "rekeyed"
    again = parse_record(await vault.record(client, profile))
    row = vault.sql("SELECT extract(epoch FROM max(sealed_at))::bigint FROM byokeep.profile_generation")
    assert abs(int(row) - int(again.manifest.created_at.timestamp())) < 3600  # of this seal, not of the profile
    assert again.dek_id != record.dek_id
    assert again.wrapped_dek != record.wrapped_dek
    context = KeyContext(environment=vault.app.environment, client_id=ClientId(client), profile_id=ProfileId(profile))
    async with vault.custody(client, profile) as held:
        first, second = [
            await held.keys.unwrap(
                Wrapped(holder="transit", kek_id=one.kek.key_id, kek_version=1, ciphertext=one.wrapped_dek),
                context,
            )
            for one in (record, again)
        ]
    assert not first.matches(second.reveal())  # the key itself is another, not its wrapping alone


@pytest.mark.req("R5.3-12")
async def test_a_connected_account_is_expected_by_the_id_that_its_platform_told(vault: Vault) -> None:
    """What the platform said at the consent stands in the manifest, not our name for the account, and is held to."""
    client = await vault.client()
    account = await connect(vault.desk.stand, client)
    body = {"accounts": [{"platform": "x", "account": "acme"}]}
    status, made = await vault.call("POST", f"/v1/clients/{client}/profiles", body)
    assert status == 201, made
    vault.script.blind = True  # it would tell another id from ours
    assert await vault.log_in(UUID(made["profile"])) == "sealed"
    (one,) = parse_record(await vault.record(client, UUID(made["profile"]))).manifest.accounts
    assert (one.account, one.account_id) == ("acme", account.external_id)
    vault.sql("UPDATE byokeep.account_grant SET username = 'acme_now'")
    (row,) = (await vault.call("GET", f"/v1/clients/{client}/profiles"))[1]["profiles"]
    assert row["accounts"] == (await vault.call("GET", f"/v1/profiles/{made['profile']}"))[1]["accounts"]
    vault.sql("UPDATE byokeep.account_grant SET state = 'revoked'")  # the website's login stays
    assert await vault.done(UUID(made["profile"]), "validate") == "valid"


@pytest.mark.parametrize(
    ("shows", "cause"),
    [
        (("mismatch", "other_id", "evil"), "other_id"),
        (("mismatch", "logged_out", None), "logged_out"),
        (("mismatch", "challenge", None), "challenge"),
        (("mismatch", "ambiguous", None), "ambiguous"),
        (("drift", "name_changed", "acme"), "name_changed"),
    ],
)
async def test_another_account_seals_nothing(vault: Vault, shows: tuple[str, str, str | None], cause: str) -> None:
    """Whatever is not the one account, on any platform: nothing is sealed, the profile is out of use, people know."""
    client = await vault.client()
    profile = await vault.create(client, "tiktok", "x")  # the first shows the right account
    vault.script.shows["x"] = shows
    assert await vault.log_in(profile) == "other_account"
    assert vault.state(profile) == "quarantined/0"
    assert not vault.blobs()
    said = json.loads(vault.events("profile.quarantined")[0])
    assert said["fields"]["cause"] == cause
    assert "profile_quarantined" in vault.desk.stand.alerts()
    assert not vault.events("profile.seal")
    assert (await vault.show(profile))["work"]["reason"] == "other_account"
    # A fresh login as the right account brings it back.
    vault.script.shows.clear()
    assert await vault.log_in(profile) == "sealed"
    assert vault.state(profile) == "sealed/1"


async def test_a_platform_that_can_not_be_reached_says_nothing(vault: Vault) -> None:
    """Could not be looked at: nothing is sealed, and nothing is held against the profile."""
    client = await vault.client()
    profile = await vault.create(client)
    vault.script.shows["x"] = ("unknown", "unreachable", None)
    assert await vault.log_in(profile) == "identity_unchecked"
    assert vault.state(profile) == "confirmed/0"
    assert not vault.blobs()


async def test_a_browser_that_was_killed_is_not_sealed(vault: Vault) -> None:
    """An unclean end may have lost cookies: nothing is sealed."""
    client = await vault.client()
    profile = await vault.create(client)
    vault.script.clean = False
    assert await vault.log_in(profile) == "not_closed_cleanly"
    assert vault.state(profile) == "confirmed/0"
    assert not vault.blobs()


@pytest.mark.req("R2.3-2")
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.campaign)])
async def test_key_material_that_repeats_is_refused(vault: Vault, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """No two of many keys are alike; a source of randomness that repeats itself seals nothing, and people are told."""
    client, profile = await vault.sealed()
    context = KeyContext(
        environment=vault.app.environment, client_id=ClientId(client), profile_id=ProfileId(profile)
    )  # fmt: skip
    wrapped, keys = set(), set()
    async with vault.custody(client, profile) as held:
        for _ in range(count):
            dek = vault.app.sealer.new_dek()
            keys.add(bytes(dek.reveal()))
            wrapped.add((await held.keys.wrap(dek, context)).ciphertext)
    assert len(keys) == len(wrapped) == len({vault.app.ids.uuid() for _ in range(count)}) == count
    used = UUID(vault.sql("SELECT dek_id FROM byokeep.profile_generation"))

    work = await vault.ask(profile, "rekey")
    stuck = replace(vault.app, ids=_OnlyDeks(vault.app.ids, used))
    monkeypatch.setattr(vault, "app", stuck)
    assert await vault.do(profile, work) == "duplicate_key_material"
    assert vault.state(profile) == "sealed/1"
    assert "duplicate_key_material" in vault.desk.stand.alerts()
    assert len(vault.blobs()) == 1
    monkeypatch.undo()
    _, other = await vault.sealed()  # another client's: a key's id is used once, by whomever
    work = await vault.ask(other, "rekey")
    monkeypatch.setattr(vault, "app", stuck)
    assert await vault.do(other, work) == "duplicate_key_material"
    assert vault.state(other) == "sealed/1"


class _OnlyDeks:
    """Randomness that is stuck where the id of a key is drawn; elsewhere it goes on."""

    def __init__(self, real: object, used: UUID) -> None:
        self.real, self.used = real, used

    def uuid(self) -> UUID:
        import inspect

        stack = [frame.function for frame in inspect.stack()[1:3]]
        return self.used if "reseal" in stack else self.real.uuid()  # type: ignore[attr-defined]

    def token(self) -> str:
        return self.real.token()  # type: ignore[attr-defined]


@pytest.mark.req("R5.3-8")
async def test_an_artifact_store_that_is_full_leaves_no_record(vault: Vault) -> None:
    """The store of blobs refuses in the middle: unavailable, nothing in it, and no record in the secret store."""
    client = await vault.client()
    profile = await vault.create(client)

    class Full:
        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        async def put(self, client_id: UUID, key: object, chunks: Any) -> None:
            async for _ in chunks:
                raise Unavailable("artifact_store_full")

    real = vault.app.artifacts
    vault.app = replace(vault.app, artifacts=Full(real))
    assert await vault.log_in(profile, b"a session" * 300_000) == "artifact_store_full"
    assert not vault.blobs()
    ref = ProfileRef(ClientId(client), profile)
    async with vault.custody(client, profile) as held:
        assert await held.newest(ref) == 0
    vault.app = replace(vault.app, artifacts=real)
    assert await vault.log_in(profile) == "sealed"
    (blob,) = vault.blobs()
    assert blob.relative_to(vault.artifacts).parts[:2] == (str(client), str(profile))
    key = parse_artifact_key(blob.relative_to(vault.artifacts).as_posix())
    with pytest.raises(Denied, match="may_not_remove"):
        await vault.desk.stand.app.artifacts.delete(client, key)

    async def other() -> AsyncIterator[bytes]:
        yield b"BYOKSEAL another"

    with pytest.raises(Conflict, match="artifact_exists"):
        await vault.desk.stand.app.artifacts.put(client, key, other())


async def test_who_cancels_a_login_leaves_nothing(vault: Vault) -> None:
    """The worker stops, the address goes away, nothing is sealed."""
    client = await vault.client()
    profile = await vault.create(client)
    work = await vault.ask(profile, "login")
    doing = asyncio.create_task(vault.do(profile, work))
    await vault.until(profile, work, "waiting")
    assert (await vault.show(profile))["work"]["result"] == ""
    vault.script.done.set()  # the person presses Done, and confirms nothing yet
    for _ in range(60):
        shown = (await vault.show(profile))["work"]
        if shown["result"]:
            break
        await asyncio.sleep(0.1)
    assert (shown["state"], shown["result"]) == ("waiting", "login_done")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/cancel"))[0] == 200
    assert await doing == "work_ended"
    assert work in vault.notes.taken
    assert not vault.blobs()
    assert (await vault.show(profile))["work"]["state"] == "cancelled"


async def test_a_cancelled_login_ends_at_its_first_platform_too(vault: Vault) -> None:
    """The person has not pressed Done at the first of two: cancelling ends the browser there, unasked."""
    client = await vault.client()
    profile = await vault.create(client, "x", "tiktok")
    vault.script.leaves = False
    work = await vault.ask(profile, "login")
    doing = asyncio.create_task(vault.do(profile, work))
    for _ in range(200):
        if vault.script.logins:
            break
        await asyncio.sleep(0.05)
    assert (await vault.call("POST", f"/v1/profiles/{profile}/cancel"))[0] == 200
    assert await asyncio.wait_for(doing, 60) == "work_ended"
    assert (vault.script.logins, work in vault.notes.taken) == (1, True)


async def test_a_kill_ends_a_login_that_waits(vault: Vault) -> None:
    """The client's switch is closed: within seconds the browser is gone, its address too, and nothing is sealed."""
    client = await vault.client()
    profile = await vault.create(client)
    work = await vault.ask(profile, "login")
    doing = asyncio.create_task(vault.do(profile, work))
    await vault.until(profile, work, "waiting")
    body = {"client_id": str(client), "reason": "suspected_leak"}
    status, reply = await vault.desk.stand.call("POST", "/v1/switches/close", "operator", body)
    assert status == 200, reply
    assert await asyncio.wait_for(doing, 60) in ("switch_closed", "job_not_open", "client_not_active")
    assert work in vault.notes.taken
    assert not vault.blobs()


async def test_one_piece_of_work_at_a_time(vault: Vault) -> None:
    """A second wish is refused while the first is under way."""
    _, profile = await vault.sealed()
    await vault.ask(profile, "validate")
    status, reply = await vault.call("POST", f"/v1/profiles/{profile}/rekey")
    assert (status, reply["code"]) == (409, "work_under_way")


async def test_work_asked_for_in_vain_is_refused_and_on_record(vault: Vault) -> None:
    """Nothing sealed: no proof, no key, no restore."""
    client = await vault.client()
    profile = await vault.create(client)
    for act, body in (("validate", None), ("rekey", None), ("restore", {"generation": 1})):
        status, reply = await vault.call("POST", f"/v1/profiles/{profile}/{act}", body)
        assert (status, reply["code"]) == (409, "profile_state")
    assert len(vault.events("profile.work_asked", "failed")) == 3
