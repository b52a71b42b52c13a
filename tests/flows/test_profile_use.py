"""A runner and a sealed profile at the broker: who may open it, one at a time, and for how long."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.profile import MAX_REKEY_DAYS
from tests.support.broker import Person, Stand
from tests.support.connected import connect
from tests.support.profiles import Profile, hold, put_profile, store_blob

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
BROWSER: dict[str, Any] = {"secrets": ["profile"], "lanes": ["browser"], "platforms": ["tiktok"]}


class Run:
    """One client with a profile, and a job of the runner's that declares it."""

    def __init__(self, stand: Stand, profile: Profile, account: UUID, job: UUID) -> None:
        self.stand, self.profile, self.account, self.job = stand, profile, account, job
        self.lease: dict[str, Any] = {}

    async def leased(self) -> Run:
        self.lease = await self.stand.lease(self.job)
        return self

    async def at(
        self, below: str = "", body: Any = None, *, method: str = "POST", who: str | Person = "runner", **other: Any
    ) -> tuple[int, Any]:
        path = f"/v1/jobs/{other.get('job', self.job)}/profiles/{other.get('profile', self.profile.id)}/openings{below}"
        return await self.stand.call(method, path, who, body)

    async def open(self, **other: Any) -> tuple[int, Any]:
        return await self.at(body={"lease_id": other.pop("lease", self.lease.get("lease_id", str(uuid4())))}, **other)

    async def opened(self) -> int:
        status, reply = await self.open()
        assert status == 201, reply
        return int(reply["epoch"])

    async def identified(self, identity: str = "match") -> None:
        """What the job reports of the account in its browser."""
        seen = {"unknown": {"id": None}, "mismatch": {"id": "another"}}.get(identity, {})
        body = {"lease_id": self.lease["lease_id"], "lane": "browser", "id": "acme", "username": "acme",
                "display_name": "Acme Ltd"} | seen  # fmt: skip
        path = f"/v1/accounts/{self.profile.client}/tiktok/acme/identity"
        status, reply = await self.stand.call("POST", path, "runner", body)
        assert (status, reply["identity"]) == (200, identity), reply

    def known(self, identity: str) -> None:
        """What the broker knows of the account, from whomever."""
        self.stand.db.sql(
            f"UPDATE byokeep.platform_account SET identity = '{identity}', identified_at = clock_timestamp()"
            f" WHERE id = '{self.account}'"
        )

    async def act(self, **wish: Any) -> str:
        status, reply = await self.stand.permit(
            self.lease["lease_id"], platform="tiktok", lane="browser", **wish
        )  # fmt: skip
        return "permit" if status == 201 else str(reply["code"])


async def running(stand: Stand, client: UUID | None = None, **spec: Any) -> Run:
    """A job with a use lease for the profile of the account acme at tiktok."""
    client = client or await stand.client("openai")
    account = stand.account(client, platform="tiktok", lanes="browser")
    profile = put_profile(stand, client, account)
    return await Run(stand, profile, account, await stand.job(client, **BROWSER | spec)).leased()


async def second(run: Run, who: Person | None = None) -> Run:
    """Another job for the same profile; of another runner, if one is named."""
    other = {} if who is None else {"runner_id": str(who.id)}
    job = await run.stand.job(run.profile.client, **BROWSER | other)
    made = Run(run.stand, run.profile, run.account, job)
    made.lease = await run.stand.lease(job, who or "runner")
    return made


def switch(stand: Stand, scope: str, client: UUID | None) -> None:
    """A closed switch, as a kill leaves it in the database."""
    owner = "NULL" if client is None else f"'{client}'"
    stand.db.sql(
        "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) SELECT"
        f" '{scope}', {owner}, true, 1, 'a_test', id, id FROM byokeep.installation"
        " ON CONFLICT (scope) DO UPDATE SET closed = true"
    )


async def test_a_lease_pins_the_record_of_each_usable_profile(stand: Stand) -> None:
    """Named profile/PLATFORM/ACCOUNT with generation and blob; of declared platforms and own profiles alone."""
    run = await running(stand, platforms=["tiktok", "x"])
    client, profile = run.profile.client, run.profile
    put_profile(stand, client, stand.account(client, platform="skool", lanes="browser"))
    put_profile(stand, client, stand.account(client, platform="x", lanes="browser"), state="quarantined")
    await running(stand)
    lease = await stand.lease(run.job)
    assert lease["secrets"] == {
        "profile/tiktok/acme": {
            "path": profile.path, "version": 1, "profile_id": str(profile.id), "generation": 1,
            "blob_key": f"clients/{client}/profiles/{profile.id}/1-{profile.dek}",
        }
    }  # fmt: skip
    assert lease["kind"] == "use"
    assert lease["store"]["roles"] == {"profile/tiktok/acme": "use-profile"}
    hybrid = await stand.job(client, secrets=["openai", "profile"], lanes=["api", "browser"], platforms=["tiktok"])
    assert set((await stand.lease(hybrid))["secrets"]) == {"openai", "profile/tiktok/acme"}


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"lanes": ["api"]}, "profile_without_lane"),
        ({"lanes": []}, "profile_without_lane"),
        ({"platforms": []}, "profile_without_lane"),
        ({"secrets": ["profiles"]}, "unknown_name"),
        ({"secrets": ["profile", "profile"]}, "repeated_name"),
    ],
)
async def test_a_job_declares_a_profile_with_its_lane_and_platforms(stand: Stand, spec: Any, code: str) -> None:
    """Without them there is nothing that a profile could be used for."""
    client = await stand.client()
    body = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "effects": ["publish"]}
    status, reply = await stand.call("POST", "/v1/jobs", "dispatcher", body | BROWSER | spec)
    assert (status, reply["code"]) == (422, code)


@pytest.mark.req("R5.3-21")
@pytest.mark.parametrize(
    "change",
    [
        "profile SET state = 'sealed'",
        "profile SET state = 'confirmed'",
        "profile SET state = 'quarantined'",
        "profile SET state = 'retired'",
        "profile SET state = 'shredded'",
        "profile SET validated_generation = 0",
        "profile_generation SET key_state = 'compromised'",
        "profile_generation SET key_state = 'destroyed'",
        "profile_generation SET gone_at = now()",
        f"profile_generation SET sealed_at = now() - interval '{MAX_REKEY_DAYS} days'",
        "profile_account SET retired_at = now()",
    ],
)
async def test_what_is_not_valid_and_current_is_not_leased_nor_opened(stand: Stand, change: str) -> None:
    """Each fact that speaks against a profile: no lease, no opening, no permit; whatever was granted before."""
    run = await running(stand)
    epoch = await run.opened()
    await run.identified()
    assert await run.act() == "permit"
    assert (await run.at(f"/{epoch}/end", {"cause": "closed"}))[0] == 200
    stand.db.sql(f"UPDATE byokeep.{change}")
    assert (await run.open())[0] == 403
    status, reply = await stand.call("POST", f"/v1/jobs/{run.job}/leases", "runner")
    assert (status, reply["code"]) == (403, "profile_not_usable")
    hold(stand, run.profile, run.job)
    await run.identified()
    assert await run.act() == "profile_not_usable"


async def test_a_generation_that_a_worker_sealed_since_waits_for_its_proof(stand: Stand) -> None:
    """Sealed again by a job that had it open as the right account it stays usable; sealed by custody it does not."""
    run = await running(stand)
    other = await second(run)
    sealed = (
        "INSERT INTO byokeep.profile_generation SELECT client_id, profile_id, 2, gen_random_uuid(), holder, kek_id,"
        " kek_version, 'b2', blob_sha256, blob_size, packed_size, manifest_hash, 2, browser_version, 'active', now(),"
        f" sealed_by, JOB FROM byokeep.profile_generation {run.profile.of};"
        f"UPDATE byokeep.profile SET generation = 2 {run.profile.where};"
    )
    custody = "job_id"
    stand.db.sql(sealed.replace("JOB", custody))
    assert (await run.open())[1]["code"] == "profile_not_usable"
    stand.db.sql(f"UPDATE byokeep.profile_generation SET job_id = '{other.job}' {run.profile.of} AND generation = 2")
    assert (await run.open())[1]["code"] == "profile_not_usable"  # a use job, but one that never said it seals
    stand.db.sql(f"UPDATE byokeep.job SET sealing_at = now() WHERE id = '{other.job}'")
    assert (await run.open())[0] == 201


async def test_open_show_life_take_the_blob_and_end(stand: Stand) -> None:
    """The whole way of a use, each step on record with epoch, generation and job."""
    run = await running(stand)
    await store_blob(stand, run.profile)
    status, opening = await run.open()
    digest = hashlib.sha256(run.profile.blob).digest()
    row = opening.pop("generation")
    assert (status, opening) == (
        201, {"epoch": 3, "life_s": 5, "beat_s": 1.0, "packing": "portable", "environment": "development"}
    )  # fmt: skip
    assert (row["generation"], row["dek_id"], row["record_version"]) == (1, str(run.profile.dek), 1)
    assert (row["blob_sha256"], row["blob_size"]) == (digest.hex(), len(run.profile.blob))
    assert await run.at("/3/beat") == (200, {"valid_for_s": 5})
    path = f"http://broker/v1/jobs/{run.job}/profiles/{run.profile.id}/openings/3/blob"
    token = {"Authorization": f"Bearer {stand.people['runner'].token}"}
    async with stand.http.get(path, headers=token) as reply:
        assert reply.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
        assert await reply.read() == run.profile.blob
    assert await run.at("/3/end", {"cause": "closed"}) == (200, {"status": "ended"})
    assert await run.at("/3/end", {"cause": "closed"}) == (200, {"status": "ended"})
    assert (await run.at("/3/end", {"cause": "anything"}))[0] == 422
    assert (await run.at("/3/beat"))[1]["code"] == "opening_lost"
    assert (await run.at("/3/blob", method="GET"))[1]["code"] == "opening_lost"
    opened, ended = stand.events("profile.opened"), stand.events("profile.opening_ended")
    assert (len(opened), len(ended)) == (1, 1)
    for said in (f'"job":"{run.job}"', '"epoch":3', '"generation":1', '"kind":"use"'):
        assert said in opened[0]
        assert said in ended[0]
    assert f'"lease":"{run.lease["lease_id"]}"' in opened[0]
    assert '"cause":"closed"' in ended[0]


async def test_a_blob_that_is_not_there_is_an_error_before_the_reply(stand: Stand) -> None:
    """Not an empty or cut-off body: the store's own code."""
    run = await running(stand)
    epoch = await run.opened()
    status, reply = await run.at(f"/{epoch}/blob", method="GET")
    assert (status, reply["code"]) == (404, "blob_missing")
    assert (
        stand.db.sql(f"SELECT state, reason FROM byokeep.profile {run.profile.where}").strip() == "quarantined|altered"
    )
    assert "profile_integrity" in stand.alerts()


async def test_one_opener_at_a_time(stand: Stand) -> None:
    """Of many at once one gets in; the others hear since when it is open, and nothing of who has it."""
    run = await running(stand)
    stranger = stand.subject("runner", "Another")
    jobs = [run, await second(run), await second(run, stranger), await second(run)]
    tries = await asyncio.gather(
        *(one.open(who=stranger if one is jobs[2] else "runner") for one in jobs for _ in range(3))
    )
    assert sorted(status for status, _ in tries) == [201] + [409] * 11
    for status, reply in tries:
        if status == 409:
            assert reply["code"] == "profile_in_use"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reply["since"])
            assert set(reply) == {"type", "title", "status", "code", "request_id", "next_step", "since"}
    assert len(stand.events("profile.opened")) == 1


async def test_who_lost_the_opening_can_not_go_on_nor_seal(stand: Stand) -> None:
    """A runner that showed no life is out: the next one gets a higher epoch, and the old one is refused everywhere."""
    run = await running(stand)
    old = await run.opened()
    await run.identified()
    stand.db.sql(f"UPDATE byokeep.profile_opening SET until = now() {run.profile.of}")
    assert (await run.at(f"/{old}/beat"))[1]["code"] == "opening_lost"
    other = await second(run)
    new = await other.opened()
    assert new == old + 1
    for below, body in (
        ("beat", None), ("sealing", None), ("seals", {"base": 1, "dek_id": str(uuid4())}),
    ):  # fmt: skip
        for epoch in (old, new):  # the new one's number does not help the old job
            status, reply = await run.at(f"/{epoch}/{below}", body)
            assert status == 409, (below, epoch)
            assert reply["code"] in ("opening_lost", "job_not_sealing")
    assert (await run.at(f"/{old}/end", {"cause": "closed"}))[0] == 200  # says nothing, ends nothing
    assert (await other.at(f"/{new}/beat"))[0] == 200
    assert await run.act() == "profile_not_open"
    assert stand.db.sql(f"SELECT generation FROM byokeep.profile {run.profile.where}").strip() == "1"


async def test_others_get_the_answer_of_what_is_not_there(stand: Stand) -> None:
    """Another runner, another client's profile, an undeclared platform or lane, a lease of another job, people."""
    run = await running(stand)
    foreign = await running(stand)
    stranger = stand.subject("runner", "Another")
    assert (await run.open(who=stranger))[0] == 404
    assert (await run.open(profile=foreign.profile.id))[0] == 404
    assert (await run.open(profile=uuid4()))[0] == 404
    assert (await run.open(job=foreign.job))[0] == 404
    for role in ("operator", "dispatcher", "custodian", "auditor"):
        assert (await run.open(who=role))[0] == 403
    assert (await run.open(lease=foreign.lease["lease_id"]))[1]["code"] == "lease_expired"
    plain = Run(stand, run.profile, run.account, await stand.job(run.profile.client, platforms=["tiktok"]))
    assert (await (await plain.leased()).open())[1]["code"] == "lane_not_declared"
    stand.account(run.profile.client, platform="x", lanes="browser")
    stand.db.sql(f"UPDATE byokeep.job SET platforms = '{{x}}' WHERE id = '{run.job}'")
    assert (await run.open())[1]["code"] == "platform_not_declared"
    assert stand.events("profile.opened") == []


@pytest.mark.parametrize("scope", ["global", "lane:browser", "client:{}", "client:{}:lane:browser"])
async def test_each_switch_over_a_browser_closes_it(stand: Stand, scope: str) -> None:
    """The holder hears it at its next question; the opening stays until it has said that the browser is gone."""
    run = await running(stand)
    other = await running(stand)
    epoch, elsewhere = await run.opened(), await other.opened()
    switch(stand, scope.format(run.profile.client), run.profile.client if "{}" in scope else None)
    status, reply = await run.at(f"/{epoch}/beat")
    assert (status, reply["code"]) == (403, "switch_closed")
    assert (await other.at(f"/{elsewhere}/beat"))[0] == (200 if "{}" in scope else 403)
    stand.db.sql(f"SELECT 1 FROM byokeep.profile_opening {run.profile.of} AND until > now()")
    assert (await run.at(f"/{epoch}/blob", method="GET"))[0] == 403
    assert (await run.open())[1]["code"] == "switch_closed"
    assert (await run.at(f"/{epoch}/end", {"cause": "stopped"}))[0] == 200


@pytest.mark.parametrize("scope", ["client:{}:lane:api", "client:{}:platform:x"])
async def test_other_switches_leave_a_browser_open(stand: Stand, scope: str) -> None:
    """Another lane's or platform's switch is about effects, which the gate denies."""
    run = await running(stand)
    epoch = await run.opened()
    switch(stand, scope.format(run.profile.client), run.profile.client)
    assert (await run.at(f"/{epoch}/beat"))[0] == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("job SET state = 'closed', closed_at = now()", "job_not_open"),
        ("job SET expires_at = now()", "job_not_open"),
        ("client SET state = 'suspended'", "client_not_active"),
        ("profile SET state = 'quarantined'", "opening_lost"),
    ],
)
async def test_what_ends_a_run(stand: Stand, change: str, code: str) -> None:
    """The job's end, the client's, the profile's: the holder is told to close."""
    run = await running(stand)
    epoch = await run.opened()
    stand.db.sql(f"UPDATE byokeep.{change}")
    assert (await run.at(f"/{epoch}/beat"))[1]["code"] == code


async def test_the_gate_asks_for_this_job_s_own_open_profile(stand: Stand) -> None:
    """A browser act needs the profile open here, and the account seen in it since; another lane's proof is none."""
    run = await running(stand)
    await run.identified()
    assert await run.act() == "profile_not_open"
    epoch = await run.opened()
    assert await run.act() == "identity_unproven"
    run.known("match")  # as a look of ours by API, or another job's
    assert await run.act() == "identity_unproven"
    await run.identified("unknown")
    assert await run.act() == "identity_unproven"
    run.known("mismatch")
    assert await run.act() == "identity_mismatch"
    run.known("unchecked")
    await run.identified()
    assert await run.act() == "permit"
    other = await second(run)
    assert await other.act() == "profile_not_open"
    await run.at(f"/{epoch}/end", {"cause": "closed"})
    assert await run.act() == "profile_not_open"
    new = await other.opened()
    assert await other.act() == "identity_unproven"  # what the first job saw was another run
    assert (await other.at(f"/{new}/end", {"cause": "closed"}))[0] == 200


@pytest.mark.parametrize("connected", [False, True])
async def test_a_website_need_not_show_every_name(stand: Stand, connected: bool) -> None:
    """In the browser lane the id decides, and what is shown must be right; the API lane asks for every name."""
    client = await stand.client("openai")
    if connected:
        face = (await connect(stand, client, "tiktok", "acme", lanes="browser")).face
    else:
        stand.account(client, platform="tiktok", lanes="browser")
        face = {"id": "acme", "username": "acme", "display_name": "Acme Ltd"}
    lease = await stand.lease(await stand.job(client, lanes=["browser"], platforms=["tiktok"]))

    async def said(lane: str = "browser", **seen: str | None) -> str:
        body = {"lease_id": lease["lease_id"], "lane": lane} | face | seen
        status, reply = await stand.call("POST", f"/v1/accounts/{client}/tiktok/acme/identity", "runner", body)
        return str(reply["identity"]) if status == 200 else str(status)

    assert await said() == "match"
    assert await said(username=None) == "match"
    assert await said(username=None, display_name=None) == "match"
    assert await said(id=None) == "unknown"
    assert await said(id="another") == "mismatch"
    assert await said(id="another", username=None, display_name=None) == "mismatch"
    assert await said(username=None, display_name="Another Ltd") == ("drift" if connected else "mismatch")
    assert await said("api", username=None) == ("drift" if connected else "unknown")
    assert await said("fax") == "422"


@pytest.mark.parametrize(
    ("identity", "cause", "reason"),
    [
        ("match", "wrong_account", "wrong_account"), ("mismatch", "closed", "wrong_account"),
        ("match", "logged_out", "logged_out"), ("match", "challenge", "challenge"),
        ("mismatch", "logged_out", "wrong_account"),
    ],
)  # fmt: skip
async def test_a_session_that_a_person_must_look_at_is_quarantined(
    stand: Stand, identity: str, cause: str, reason: str
) -> None:
    """Another's, ended, or asked for something, as the runner says or the broker saw: out of use; people are told."""
    run = await running(stand)
    epoch = await run.opened()
    await run.identified(identity)
    await run.identified()  # which takes no mismatch back
    assert (await run.at(f"/{epoch}/end", {"cause": cause}))[0] == 200
    assert stand.db.sql(f"SELECT state, reason FROM byokeep.profile {run.profile.where}").split("|") == [
        "quarantined", reason,
    ]  # fmt: skip
    assert "profile_quarantined" in stand.alerts()
    assert len(stand.events("profile.quarantined")) == 1
    assert (await run.open())[1]["code"] == "profile_not_usable"


@pytest.mark.parametrize(
    ("cause", "alert"),
    [("not_identified", "profile_not_identified"), ("killed", "browser_killed"), ("failed", ""), ("stopped", "")],
)
async def test_how_a_run_ended_is_told_to_people_where_they_must_look(stand: Stand, cause: str, alert: str) -> None:
    """A session that could not be checked, a browser that had to be killed; the profile itself stays as it is."""
    run = await running(stand)
    epoch = await run.opened()
    assert (await run.at(f"/{epoch}/end", {"cause": cause}))[0] == 200
    assert [one for one in stand.alerts() if one.startswith(("profile", "browser"))] == ([alert] if alert else [])
    assert f'"cause":"{cause}"' in stand.events("profile.opening_ended")[-1]
    assert (await run.open())[0] == 201
