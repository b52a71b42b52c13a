"""Runbook 7.3: the vault of browser profiles is suspected compromised, from the opening to the end."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.errors import Unavailable
from byokeep.sealing.transit import TransitKeys
from byokeep.worker.ports import LeasedProfile
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]
STEPS = ("lane-off", "sessions", "recreate", "rekey", "validate")


class Way:
    """One incident, as the people lead it."""

    def __init__(self, vault: Vault, found: dict[str, Any]) -> None:
        self.vault, self.found = vault, found

    @property
    def id(self) -> str:
        return str(self.found["incident"])

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(self.found["items"])

    async def step(self, name: str, who: str = "operator", body: Any = None) -> tuple[int, Any]:
        status, reply = await self.vault.call("POST", f"/v1/vault-incidents/{self.id}/{name}", body, who)
        if status == 200:
            self.found = reply
        return status, reply

    async def must(self, name: str, step: str, who: str = "operator", body: Any = None) -> None:
        status, reply = await self.step(name, who, body)
        assert (status, reply.get("step")) == (200, step), reply

    async def works(self, kind: str) -> list[str]:
        """Do what workers were asked for; returns what came of it."""
        rows = self.vault.sql(
            "SELECT profile_id, id FROM byokeep.profile_work WHERE ended_at IS NULL AND state IN ('asked', 'confirmed')"
            f" AND kind = '{kind}' AND incident_id = '{self.id}' ORDER BY asked_at"
        ).splitlines()
        return [await self.vault.do(*(UUID(one) for one in row.split("|"))) for row in rows]

    async def lane(self, **scope: Any) -> None:
        status, reply = await self.vault.desk.stand.call(
            "POST", "/v1/switches/close", "operator", {"lane": "browser", "reason": "profile_vault_suspected"} | scope
        )
        assert status == 200, reply


def to_do(way: Way) -> set[str]:
    return {one["to_do"] for one in way.items}


async def about(vault: Vault, profile: UUID) -> tuple[str | None, str]:
    found = (await vault.call("GET", f"/v1/profiles/{profile}"))[1]
    return found["incident"], found["next_step"]


async def to_new_profiles(way: Way) -> None:
    """From the closed lane to new profiles in which nobody has logged in yet."""
    await way.must("sessions", "lane_off")
    await way.works("logout")
    await way.must("sessions", "sessions_ended")
    await way.must("recreate", "sessions_ended")


async def to_rekeyed(vault: Vault, way: Way) -> UUID:
    """From the closed lane to old keys that are destroyed, with new profiles; returns the first."""
    await to_new_profiles(way)
    made = list(dict.fromkeys(UUID(one["new_profile"]) for one in way.items))
    for new in made:
        assert await vault.log_in(new) == "sealed"
    await way.must("recreate", "recreated")
    await way.must("rekey", "recreated")
    await way.must("approve", "recreated", "approver")
    assert set(await way.works("shred")) == {"shredded"}
    await way.must("rekey", "rekeyed")
    return made[0]


async def opened(vault: Vault, **body: Any) -> Way:
    said = {"cause": "suspected_leak"} | body
    status, reply = await vault.call("POST", "/v1/vault-incidents", said)
    assert status == 201, reply
    return Way(vault, reply)


@pytest.mark.req("R6.1-6", "R7.3-4", "R7.3-5", "R7.3-7")
async def test_the_way_out_from_the_opening_to_the_end(vault: Vault) -> None:
    """Five steps in one order, each on record; nothing of the old session is left, nothing was called done early."""
    canary = b"cookie-canary-" + bytes(range(200)) * 50
    client, profile = await vault.valid("x", "tiktok", session=canary)
    assert await vault.done(profile, "rekey") == "rekeyed"  # a key of before, too
    assert await vault.done(profile, "validate") == "valid"
    keys = vault.sql(f"SELECT dek_id FROM byokeep.profile_generation WHERE profile_id = '{profile}'").splitlines()
    way = await opened(vault, client_id=str(client))
    assert (way.found["step"], len(way.items), way.found["since_assumed"]) == ("opened", 2, True)
    assert await about(vault, profile) == (way.id, f"An incident is open: `byokeep incident vault status {way.id}`.")
    for name in STEPS[1:]:
        status, reply = await way.step(name)
        assert (status, reply["code"]) == (409, "vault_out_of_order"), name
        assert f"`byokeep incident vault status {way.id}`" in reply["next_step"]
    assert (await way.step("lane-off"))[1]["code"] == "lane_not_off"
    # What every procedure can do leads it no other way: it is begun by its own command, does its own checks, and stays.
    run = f"/v1/procedures/{way.id}"
    begun = {"procedure": "profile_incident", "client_id": str(client), "object": way.id}
    for path, body, code in (
        ("/v1/procedures", begun, "unknown_procedure"), (f"{run}/abort", None, "procedure_goes_on"),
        (f"{run}/resume", None, "lane_not_off"), (f"{run}/approve", None, "nothing_to_approve"),
    ):  # fmt: skip
        assert (await vault.desk.call("POST", path, "operator", body))[1]["code"] == code
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    assert (await vault.desk.call("GET", run, "operator"))[1]["missing"][0] == "sessions_ended"
    assert (await way.step("recreate"))[1]["code"] == "vault_out_of_order"

    await way.must("sessions", "lane_off")
    assert to_do(way) == {"wait_for_worker"}
    assert await way.works("logout") == ["revoked"]
    await way.must("sessions", "sessions_ended")
    assert {one["session"] for one in way.items} == {"revoked"}

    await way.must("recreate", "sessions_ended")  # new profiles stand, and nobody logged in yet
    assert way.found["left"]["recreated"] == 2
    (new,) = {one["new_profile"] for one in way.items}
    assert new != str(profile)
    assert to_do(way) == {"log_in"}
    assert (await about(vault, UUID(new)))[0] == way.id
    for act, body in (("validate", None), ("restore", {"generation": 1}), ("rekey", None), ("login", None)):
        assert (await vault.call("POST", f"/v1/profiles/{profile}/{act}", body))[0] == 409, act
    assert (await way.step("rekey"))[1]["code"] == "vault_out_of_order"
    vault.script.opened.clear()
    assert await vault.log_in(UUID(new), b"fresh-session" * 1000) == "sealed"
    assert vault.script.opened == [b""]  # a clean browser: nothing was carried over
    work = f"UPDATE byokeep.profile_work SET kind = '{{}}' WHERE profile_id = '{new}'"
    vault.sql(work.format("restore"))  # sealed by something else than a person's login
    await way.must("recreate", "sessions_ended")
    vault.sql(work.format("login"))
    await way.must("recreate", "recreated")

    await way.must("rekey", "recreated")
    states = vault.sql(f"SELECT DISTINCT key_state FROM byokeep.profile_generation WHERE profile_id = '{profile}'")
    assert states == "compromised"
    assert to_do(way) == {"approve_destruction"}
    assert (await way.step("approve"))[0] == 403  # another person
    await way.must("approve", "recreated", "approver")
    assert to_do(way) == {"wait_for_worker"}
    assert await way.works("shred") == ["shredded"]
    await way.must("rekey", "rekeyed")
    moves = vault.sql(
        f"SELECT state_to FROM byokeep.vault_key_transition WHERE key_id = '{keys[0]}' ORDER BY at"
    ).splitlines()
    assert moves == ["compromised", "destroyed"]
    fresh = vault.sql(f"SELECT dek_id FROM byokeep.profile_generation WHERE profile_id = '{new}'")
    assert fresh not in keys

    assert (await way.step("close", "approver"))[1]["code"] == "vault_out_of_order"
    await way.must("validate", "rekeyed")
    assert await way.works("validate") == ["valid"]
    await way.must("validate", "validated")
    assert all(one["proved"] and one["wrong_account_at"] for one in way.items)
    assert (await way.step("close"))[0] == 403
    where = f"WHERE id = '{way.id}'"
    first = vault.sql(f"SELECT evidence ->> 'lane_off' FROM byokeep.procedure_run {where}")
    evidence = "UPDATE byokeep.procedure_run SET evidence = evidence || jsonb_build_object('lane_off', {}) {}"
    vault.sql(evidence.format(1, where))  # a row that says so is no record of a step
    assert (await way.step("close", "approver"))[1]["code"] == "evidence_missing"
    vault.sql(evidence.format(first, where))
    await way.must("close", "closed", "approver")
    assert await about(vault, UUID(new)) == (None, "Nothing to do: it can be used.")
    gone = (await vault.call("GET", f"/v1/profiles/{profile}"))[1]
    assert (gone["state"], gone["due_at"], gone["due_cause"], gone["incident"]) == ("shredded", None, "", None)
    assert [one["step"] for one in way.found["evidence"]] == [
        "lane_off", "sessions_ended", "recreated", "rekeyed", "validated",
    ]  # fmt: skip
    assert (way.found["missing"], way.found["left"]["validated"]) == ([], 0)
    assert len(vault.events("vault_incident.closed", "ok")) == 1
    assert vault.sql(f"SELECT due_cause FROM byokeep.profile WHERE id = '{profile}'") == "incident"  # the mark stays
    assert canary in vault.rooms.visible  # the old session was in the old profile
    assert vault.rooms.visible[-1] == b"fresh-session" * 1000  # and what the new one was proved with is not it
    assert not any(str(profile) in str(path) for path in vault.blobs())


async def test_a_key_that_was_destroyed_in_order_before_does_not_keep_the_incident_open(vault: Vault) -> None:
    """Retention took one key before the incident and one during it; all others are marked and destroyed."""
    client, profile = await vault.valid()
    for _ in range(4):
        assert await vault.done(profile, "rekey") == "rekeyed"
    await vault.care()
    way = await opened(vault, client_id=str(client), cause="artifact_store_exposure")
    assert (way.items[0]["keys"], way.items[0]["keys_destroyed"]) == (5, 1)
    assert await way.works("rekey") == ["rekeyed"]
    await vault.care()
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    assert (way.items[0]["keys"], way.items[0]["keys_destroyed"]) == (6, 2)
    await to_rekeyed(vault, way)
    assert (way.items[0]["keys_destroyed"], way.found["left"]["rekeyed"]) == (6, 0)
    marked = "SELECT count(*) FROM byokeep.vault_key_transition WHERE kind = 'dek' AND state_to = 'compromised'"
    assert vault.sql(marked) == "4"


async def test_a_destruction_that_was_cut_off_is_finished_and_stops_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store went away in the middle of one: step 4 is asked again and waits, and ends after the next round."""
    client, _ = await vault.valid()
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")

    async def away(*_: object) -> None:
        raise Unavailable("store_unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(LeasedProfile, "destroy", away)
        with pytest.raises(AssertionError, match="store_unreachable"):
            await to_rekeyed(vault, way)
    await way.must("rekey", "recreated")
    assert await vault.care() == 1
    await way.must("rekey", "rekeyed")


@pytest.mark.req("R6.1-6")
async def test_a_scope_and_a_cause_must_be_meant(vault: Vault) -> None:
    """No scope, both, an unknown client, cause or time: refused, and nothing is opened, least of all for everybody."""
    empty = str(await vault.client())
    client = str((await vault.sealed())[0])
    for body, code in (
        ({}, "scope_missing"), ({"client_id": empty}, "nothing_sealed"),
        ({"client_id": client, "everybody": True}, "scope_missing"),
        ({"client_id": client, "cause": "bad_luck"}, "unknown_cause"),
        ({"client_id": client, "since": "2999-01-01T00:00:00Z"}, "bad_since"),
        ({"client_id": client, "since": "yesterday"}, "bad_since"), ({"client_id": str(uuid4())}, "not_found"),
        ({"client_id": "all"}, "bad_request"), ({"client_id": client, "lane": "browser"}, "bad_request"),
    ):  # fmt: skip
        status, reply = await vault.call("POST", "/v1/vault-incidents", {"cause": "suspected_leak"} | body)
        assert (status in (404, 422), reply["code"]) == (True, code), body
    for who, status in (("auditor", 403), ("runner", 401), ("dispatcher", 401), ("custodian", 401)):
        body = {"cause": "suspected_leak", "client_id": client}
        assert (await vault.call("POST", "/v1/vault-incidents", body, who))[0] == status, who
    assert vault.sql("SELECT count(*) FROM byokeep.profile_incident") == "0"
    way = await opened(vault, client_id=client, since="2026-01-02T03:04:05Z")
    assert (way.found["since_assumed"], way.found["since"][:10], way.found["everybody"]) == (False, "2026-01-02", False)
    for again in ({"client_id": client}, {"everybody": True}):
        status, reply = await vault.call("POST", "/v1/vault-incidents", {"cause": "drill"} | again)
        assert (status, reply["code"], reply["incident"]) == (409, "incident_open", way.id)
        assert f"`byokeep incident vault status {way.id}`" in reply["next_step"]
    other = await vault.client()
    stranger = vault.desk.stand.subject("operator", clients=(other,))
    assert (await vault.desk.call("GET", f"/v1/vault-incidents/{way.id}", stranger))[0] == 404
    assert (await vault.desk.call("POST", "/v1/vault-incidents", stranger, {"cause": "drill", "everybody": True}))[
        0
    ] == 403


@pytest.mark.req("R6.1-6")
async def test_an_incident_makes_all_profiles_due_and_its_end_clears_no_mark(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every profile of the client is due at once and listed so, another client's is not; closing leaves the marks."""
    client, profile = await vault.valid()
    other, second = await vault.valid()
    way = await opened(vault, client_id=str(client))
    mark = "SELECT due_at <= now(), due_cause FROM byokeep.profile WHERE id = "
    assert vault.sql(f"{mark}'{profile}'") == "t|incident"
    assert vault.sql(f"{mark}'{second}'") == "f|"
    due = (await vault.call("GET", f"/v1/clients/{client}/profiles?due=true"))[1]["profiles"]
    assert [one["profile"] for one in due] == [str(profile)]
    assert (await vault.call("GET", f"/v1/clients/{other}/profiles?due=true"))[1]["profiles"] == []
    assert json.loads(vault.events("profile.due")[0])["fields"]["incident"] == way.id
    vault.sql(f"UPDATE byokeep.procedure_run SET state = 'complete', closed_at = now(), closed_by = started_by"
              f" WHERE id = '{way.id}'")  # fmt: skip
    assert vault.sql(f"{mark}'{profile}'") == "t|incident"
    monkeypatch.setattr("byokeep.profiles.incident.MAX_ROWS", 1)  # everybody is more than a list shows
    everyone = await opened(vault, everybody=True)
    assert {one["profile"] for one in everyone.items} == {str(profile), str(second)}
    assert vault.sql(f"{mark}'{second}'") == "t|incident"


@pytest.mark.req("R6.3-4")
async def test_an_exposed_store_puts_every_profile_of_it_under_a_new_key(vault: Vault) -> None:
    """All profiles of the inventory are listed, each lane is off, each new sealing is queued; a profile that refuses
    stays listed, nothing calls it done, and step 1 takes it up."""
    _, first = await vault.valid("x", "tiktok")
    _, second = await vault.valid()
    other, busy = await vault.valid()
    vault.sql("UPDATE byokeep.platform_account SET lanes = '{api,browser}'")
    assert (await vault.call("POST", f"/v1/profiles/{busy}/validate"))[0] == 202  # work under way: no other is taken
    way = await opened(vault, everybody=True, cause="artifact_store_exposure")
    inventory = vault.sql("SELECT count(*) FROM byokeep.profile WHERE generation > 0")
    assert (way.found["profiles"], inventory) == (3, "3")
    assert {one["profile"] for one in way.items} == {str(first), str(second), str(busy)}
    assert vault.sql("SELECT DISTINCT lanes FROM byokeep.platform_account") == "{api}"
    queued = ("SELECT profile_id FROM byokeep.profile_work WHERE kind = 'rekey' AND ended_at IS NULL"
              f" AND incident_id = '{way.id}'")  # fmt: skip
    assert set(vault.sql(queued).splitlines()) == {str(first), str(second)}
    assert way.found["left"]["exposed"] == 1
    assert len(vault.events("account.lanes_set")) == 4
    # Two are sealed anew; the third is free again, refused once more by a broken blob, and taken up with step 1.
    assert sorted(await way.works("rekey")) == ["rekeyed", "rekeyed"]
    assert {vault.state(one) for one in (first, second)} == {"valid/2"}
    work = vault.sql(f"SELECT id FROM byokeep.profile_work WHERE profile_id = '{busy}' AND ended_at IS NULL")
    assert await vault.do(busy, UUID(work)) == "valid"
    await way.lane()
    await way.must("lane-off", "lane_off")
    assert (way.found["left"]["exposed"], vault.sql(queued)) == (0, str(busy))
    (blob,) = vault.blobs(other)
    held = blob.read_bytes()
    blob.unlink()
    assert await way.works("rekey") == ["blob_missing"]
    way.found = (await vault.call("GET", f"/v1/vault-incidents/{way.id}"))[1]
    assert (way.found["left"]["exposed"], to_do(way)) == (1, {"", "lane_off_again"})
    blob.write_bytes(held)


@pytest.mark.req("R7.3-3")
async def test_a_session_that_was_not_ended_is_never_shown_as_ended(vault: Vault) -> None:
    """Unsupported, failed or unknown opens a task for a person; the step ends when a person ended each of them."""
    client, profile = await vault.valid("x", "tiktok", "skool")
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    body = {"profile": str(profile), "platform": "skool"}
    assert (await way.step("sessions/end", body=body))[1]["code"] == "nothing_to_end"
    vault.script.ends = {"skool": "unsupported", "tiktok": "raises"}
    await way.must("sessions", "lane_off")
    assert await way.works("logout") == ["not_all_revoked"]
    await way.must("sessions", "lane_off")
    assert {one["platform"]: one["session"] for one in way.items} == {
        "x": "revoked", "tiktok": "failed", "skool": "unsupported",
    }  # fmt: skip
    assert way.found["left"]["by_hand"] == 2
    assert vault.desk.stand.alerts().count("session_to_end_by_hand") == 2
    assert [
        json.loads(one)["fields"]["verification"] for one in vault.events("vault_incident.session_ended", "ok")
    ] == ["revoked"]
    assert (await way.step("recreate"))[1]["code"] == "vault_out_of_order"
    for platform, unknown in (("skool", uuid4()), ("linkedin", profile)):
        said = {"profile": str(unknown), "platform": platform}
        assert (await way.step("sessions/end", body=said))[0] == 404
    assert (await way.step("sessions/end", body={"profile": str(profile), "platform": "x"}))[1]["code"] == (
        "nothing_to_end"
    )
    await way.must("sessions/end", "lane_off", body=body)
    assert way.found["left"]["sessions"] == 1
    await way.must("sessions/end", "sessions_ended", body=body | {"platform": "tiktok"})
    by_hand = [one for one in way.items if one["session"] == "ended_by_hand"]
    assert {one["session_by"] for one in by_hand} == {str(vault.desk.people["operator"].id)}


async def test_a_profile_that_can_not_be_opened_ends_no_session(vault: Vault) -> None:
    """A blob that is gone, a worker that died: the session counts as failed, and a person ends it."""
    client, _ = await vault.valid()
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    for path in vault.blobs(client):
        path.unlink()
    await way.must("sessions", "lane_off")
    assert await way.works("logout") == ["blob_missing"]
    await way.must("sessions", "lane_off")
    assert [one["session"] for one in way.items] == ["failed"]
    assert "session_to_end_by_hand" in vault.desk.stand.alerts()


async def test_a_profile_that_waits_for_its_seal_or_was_destroyed_meanwhile_stops_no_step(vault: Vault) -> None:
    """Of one that a person confirmed again, the old session is ended; of one that is gone, a person ends it."""
    client, profile = await vault.valid()
    vault.sql("UPDATE byokeep.profile SET state = 'quarantined'")
    vault.script.clean = False
    assert await vault.log_in(profile) == "not_closed_cleanly"
    assert vault.state(profile) == "confirmed/1"
    other = await vault.create(client, "x", account="beta")
    vault.script.clean = True
    assert await vault.log_in(other) == "sealed"
    work = await vault.ask(other, "shred")
    assert (await vault.call("POST", f"/v1/profiles/{other}/shred/approve", who="approver"))[0] == 202
    way = await opened(vault, client_id=str(client))
    assert await vault.do(other, work) == "shredded"
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    await way.must("sessions", "lane_off")
    assert await way.works("logout") == ["revoked"]
    await way.must("sessions", "lane_off")
    assert {one["profile"]: one["session"] for one in way.items} == {str(profile): "revoked", str(other): "failed"}
    await way.must("sessions/end", "sessions_ended", body={"profile": str(other), "platform": "x"})
    await way.must("recreate", "sessions_ended")
    for one in way.items:
        assert await vault.log_in(UUID(one["new_profile"])) == "sealed"
    await way.must("recreate", "recreated")
    await way.must("rekey", "recreated")
    await way.must("approve", "recreated", "approver")
    assert await way.works("shred") == ["shredded"]
    await way.must("rekey", "rekeyed")


@pytest.mark.req("R7.3-6")
async def test_the_lane_stays_off_until_a_wrong_account_was_caught(vault: Vault) -> None:
    """A check that takes any account for the right one stops the procedure; the lane is not opened before its end."""
    client, profile = await vault.valid()
    vault.sql(f"UPDATE byokeep.platform_account SET lanes = '{{api,browser}}' WHERE client_id = '{client}'")
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    new = await to_rekeyed(vault, way)
    vault.script.blind = True
    await way.must("validate", "rekeyed")
    assert await way.works("validate") == ["wrong_account_not_caught"]
    await way.must("validate", "rekeyed")
    assert (way.found["left"]["validated"], way.items[0]["proved"]) == (1, False)
    assert (await way.step("close", "approver"))[1]["code"] == "vault_out_of_order"
    scope = {"client_id": str(client), "lane": "browser"}

    async def open_lane() -> tuple[int, Any]:
        stand = vault.desk.stand
        status, wish = await stand.call(
            "POST", "/v1/switches/open-requests", "operator", scope | {"reason": "incident_over"}
        )
        assert status in (200, 201), wish
        return await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver")

    assert (await open_lane())[1]["code"] == "vault_incident_open"
    whose = f"UPDATE byokeep.procedure_run SET client_id = {{}} WHERE id = '{way.id}'"
    vault.sql(whose.format("NULL"))  # one of everybody's profiles holds it as well
    assert (await open_lane())[1]["code"] == "vault_incident_open"
    vault.sql(whose.format(f"'{client}'"))
    # a proof without the probe, by the ordinary way, does not do either
    vault.script.blind = False
    for work in vault.sql(
        "SELECT id FROM byokeep.profile_work WHERE ended_at IS NULL AND kind = 'validate'"
    ).splitlines():
        assert await vault.do(new, UUID(work)) == "valid"
    vault.sql("UPDATE byokeep.profile_incident_item SET wrong_account_at = NULL")
    assert await vault.done(new, "validate") == "valid"
    await way.must("validate", "rekeyed")
    assert await way.works("validate") == ["valid"]
    await way.must("validate", "validated")
    caught = [json.loads(one)["fields"] for one in vault.events("profile.validated", "rejected")]
    assert {(one["platform"], one["verification"]) for one in caught} == {("x", "wrong_account")}
    lanes = f"SELECT DISTINCT lanes FROM byokeep.platform_account WHERE client_id = '{client}'"
    assert vault.sql(lanes) == "{api}"  # the switch alone lets nothing act with the new profile
    assert (await open_lane())[0] == 200
    assert vault.sql(lanes) == "{api}"
    offs = [json.loads(one)["fields"] for one in vault.events("account.lanes_set", "ok")]
    assert [(one["platform"], one["lanes"]) for one in offs] == [("x", "api")]
    assert profile != new


@pytest.mark.req("R7.3-5")
async def test_wrapping_old_keys_anew_does_not_count(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the holder of keys there is no new key and no step on; a rewrap of the old key, or one that was only
    destroyed, leaves the step open; a lane that opens stops it all."""
    client, profile = await vault.valid()
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    await to_new_profiles(way)

    async def away(*_: object) -> None:
        raise Unavailable("store_unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(TransitKeys, "wrap", away)
        assert await vault.log_in(UUID(way.items[0]["new_profile"])) == "store_unreachable"
        await way.must("recreate", "sessions_ended")
        assert vault.sql("SELECT closed FROM byokeep.switch WHERE scope LIKE '%lane:browser'") == "t"
    assert await vault.log_in(UUID(way.items[0]["new_profile"])) == "sealed"
    await way.must("recreate", "recreated")
    where = f"WHERE profile_id = '{profile}'"
    vault.sql(f"UPDATE byokeep.profile_generation SET kek_version = 2 {where}")
    await way.must("rekey", "recreated")
    assert way.found["left"]["rekeyed"] == 1
    vault.sql(f"UPDATE byokeep.profile_generation SET key_state = 'destroyed', gone_at = now() {where}")
    await way.must("rekey", "recreated")  # destroyed by an edit: no move says so
    assert way.items[0]["keys_destroyed"] == 0
    vault.sql("UPDATE byokeep.switch SET closed = false WHERE scope LIKE '%lane:browser'")
    status, reply = await way.step("rekey")
    assert (status, reply["code"]) == (409, "lane_not_off")
    job = vault.sql(f"SELECT job_id FROM byokeep.profile_generation {where}")
    vault.sql("UPDATE byokeep.switch SET closed = true WHERE scope LIKE '%lane:browser'")
    vault.sql(
        "INSERT INTO byokeep.profile_opening (client_id, profile_id, epoch, generation, purpose, job_id, opener_id,"
        f" until) VALUES ('{client}', '{profile}', 9, 1, 'use', '{job}', '{uuid4()}', now() + interval '1 minute')"
        " ON CONFLICT (client_id, profile_id) DO UPDATE SET purpose = 'use', until = excluded.until"
    )
    status, reply = await way.step("rekey")
    assert (status, reply["code"], reply["count"]) == (409, "browsers_still_open", 1)


async def rekeyed(vault: Vault) -> tuple[Way, UUID, UUID]:
    """An incident whose new profile stands and whose old keys are gone: (the incident, the old one, the new one)."""
    client, profile = await vault.valid()
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    status, reply = await vault.call("POST", f"/v1/profiles/{profile}/shred")
    assert (status, reply["code"]) == (409, "incident_needs_profile")  # its keys were not called compromised yet
    named = {"incident": way.id}
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred", named))[1]["code"] == "incident_needs_profile"
    new = await to_rekeyed(vault, way)
    return way, profile, new


async def destroyed(vault: Vault, way: Way, profile: UUID) -> None:
    """Destroy a new profile, in the incident's name."""
    status, reply = await vault.call("POST", f"/v1/profiles/{profile}/shred")
    assert (status, reply["code"], reply["incident"]) == (409, "incident_needs_profile", way.id)
    assert f"--incident {way.id}" in reply["next_step"]
    other = {"incident": str(uuid4())}
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred", other))[0] == 409
    status, work = await vault.call("POST", f"/v1/profiles/{profile}/shred", {"incident": way.id})
    assert status == 202, work
    assert (await way.step("approve", "approver"))[1]["code"] == "nothing_to_confirm"  # of the old ones there is none
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", None, "approver"))[0] == 202
    assert await vault.do(profile, UUID(work["work"])) == "shredded"
    way.found = (await vault.call("GET", f"/v1/vault-incidents/{way.id}"))[1]
    assert to_do(way) == {"make_another"}


@pytest.mark.req("R7.3-4", "R7.3-6")
async def test_a_new_profile_that_was_destroyed_gets_another_in_its_place(vault: Vault) -> None:
    """Destroying it needs the incident's name; the incident then wants another one, proved like the first, and ends."""
    way, _, new = await rekeyed(vault)
    await destroyed(vault, way, new)
    status, reply = await way.step("validate")
    assert (status, reply["code"]) == (409, "new_profile_gone")
    assert f"byokeep incident vault recreate {way.id}" in reply["next_step"]
    await way.must("recreate", "rekeyed")
    another = UUID(way.items[0]["new_profile"])
    assert (another != new, to_do(way)) == (True, {"log_in"})
    assert (await way.step("validate"))[1]["code"] == "profile_state"  # nobody logged in yet
    assert await vault.log_in(another) == "sealed"
    await way.must("validate", "rekeyed")
    assert await way.works("validate") == ["valid"]
    await way.must("validate", "validated")
    await destroyed(vault, way, another)  # and once more, when all was proved
    status, reply = await way.step("close", "approver")
    assert (status, reply["code"]) == (409, "vault_step_left")
    scope = {"client_id": way.found["client_id"], "lane": "browser", "reason": "incident_over"}
    stand = vault.desk.stand
    wish = (await stand.call("POST", "/v1/switches/open-requests", "operator", scope))[1]
    status, reply = await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver")
    assert (status, reply["code"]) == (409, "vault_incident_open")
    assert f"`byokeep incident vault status {way.id}`" in reply["next_step"]
    account = f"/v1/clients/{way.found['client_id']}/profiles"
    said = (await vault.call("GET", f"/v1/profiles/{another}"))[1]["accounts"]
    named = [{"platform": one["platform"], "account": one["account"]} for one in said]
    status, made = await vault.call("POST", account, {"accounts": named, "replaces": str(another)})
    assert status == 201, made
    assert await vault.log_in(UUID(made["profile"])) == "sealed"
    await way.must("validate", "validated")
    assert (way.items[0]["new_profile"], way.items[0]["proved"]) == (made["profile"], False)
    assert await way.works("validate") == ["valid"]
    await way.must("validate", "validated")
    await way.must("close", "closed", "approver")


async def test_a_replacement_of_other_accounts_does_not_take_the_place(vault: Vault) -> None:
    """The incident is about certain accounts: a profile of another one proves nothing for them."""
    way, _, new = await rekeyed(vault)
    await destroyed(vault, way, new)
    client = way.found["client_id"]
    taken = vault.sql(f"SELECT account_id FROM byokeep.profile_account WHERE profile_id = '{new}'")
    other = str(uuid4())
    vault.sql(
        "INSERT INTO byokeep.platform_account SELECT (jsonb_populate_record(a, jsonb_build_object('id',"
        f" '{other}'::text, 'account', 'someone_else'))).* FROM byokeep.platform_account a WHERE a.id = '{taken}'"
    )
    accounts = [{"platform": way.items[0]["platform"], "account": "someone_else"}]
    body = {"accounts": accounts, "replaces": str(new)}
    status, made = await vault.call("POST", f"/v1/clients/{client}/profiles", body)
    assert status == 201, made
    way.found = (await vault.call("GET", f"/v1/vault-incidents/{way.id}"))[1]
    assert (way.items[0]["new_profile"], to_do(way)) == (str(new), {"make_another"})


async def test_a_new_profile_that_is_out_of_use_holds_up_no_other(vault: Vault) -> None:
    """Step 5 has the other one proved, and says of the first why it cannot be."""
    client, _ = await vault.valid()
    assert await vault.log_in(await vault.create(client, account="beta")) == "sealed"
    way = await opened(vault, client_id=str(client))
    await way.lane(client_id=str(client))
    await way.must("lane-off", "lane_off")
    await to_rekeyed(vault, way)
    vault.sql(f"UPDATE byokeep.profile SET state = 'quarantined' WHERE id = '{way.items[0]['new_profile']}'")
    assert (await way.step("validate"))[1]["code"] == "profile_state"
    assert await way.works("validate") == ["valid"]
