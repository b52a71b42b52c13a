"""SOP 5.1 from the submitted value to the closed run, on real servers."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.evidence import ITEMS_OF, ONBOARD
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel.app import LeakCount
from byokeep.keys.verify_key import verdict
from byokeep.operations import notify
from byokeep_redact.search import Sweep
from byokeep_sim import SimKeyState
from tests.support.broker import reconciled
from tests.support.postgres_rows import pointed, points
from tests.support.web import Desk

SKIP = "?skip_rehearsal=true"
LATE = timedelta(minutes=1)
pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


def payloads(desk: Desk, event: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.stand.events(event)]


@pytest.mark.req("R5.1-1", "R5.1-12", "R5.1-13", "R5.1-14")
async def test_onboarding_ends_with_evidence(desk: Desk) -> None:
    """A submitted key is stored at its path, verified in a job, checked for leaks, and its run is complete."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    sop, ref = await desk.sop(done["sop"]), await desk.ref(done["ref"])
    assert (sop["state"], sop["missing"]) == ("complete", []), sop
    assert ref["secret_ref"] == f"vault://kv/clients/{client}/providers/openai"
    assert (ref["version"], ref["state"], ref["verification"]) == (1, "active", "verified")
    [stored], [verified], [onboarded] = (
        payloads(desk, name) for name in ("key.stored", "key.verified", "client_key_onboarded")
    )
    assert stored["fields"]["path"] == f"kv/clients/{client}/providers/openai"
    assert stored["fields"]["version"] == 1
    assert stored["actor"] == str(desk.people["operator"].id)
    assert verified["fields"]["endpoint"] == "openai.models"
    assert verified["fields"]["job"]
    assert onboarded["fields"]["sop"] == done["sop"]
    assert sop["store_request"] == stored["fields"]["store_request"] != ""

    refused = await desk.stand.client()
    await desk.call("POST", f"/v1/clients/{refused}/suspend", "admin")
    status, reply = await desk.put(refused, desk.canary())
    assert (status, reply["code"]) == (422, "client_not_active")
    for state in ("enrolling", "closed"):
        desk.sql(f"UPDATE byokeep.client SET state = '{state}' WHERE id = '{refused}'")
        status, reply = await desk.put(refused, desk.canary())
        assert (status, reply["code"]) == (422, "client_not_active"), state
    nobody = uuid4()
    assert (await desk.put(nobody, desk.canary()))[0] == 404
    assert await desk.stand.intake.current_version(_place(nobody)) == 0
    assert await desk.stand.intake.current_version(_place(refused)) == 0
    for bad in (str(client).upper(), str(client).replace("-", ""), f"{client}x", "%2e%2e"):
        place = f"/v1/clients/{bad}/providers/openai/value"
        assert (await desk.call("PUT", place, "operator", raw=desk.canary()))[0] in (404, 422), bad
    assert await desk.stand.intake.current_version(_place(client)) == 1


def _place(client: Any) -> Any:
    from byokeep.core.model import ClientId, Provider
    from byokeep.core.ref import SecretRef

    return SecretRef(ClientId(client), Provider.OPENAI)


@pytest.mark.req("R5.1-6")
async def test_the_value_is_read_by_the_verification_job_alone(desk: Desk) -> None:
    """The custodian's lease of the run's own job reads the value; with the store unreachable it stays pending."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    [lease] = payloads(desk, "lease.issued")
    [verified] = payloads(desk, "key.verified")
    assert lease["actor"] == str(desk.people["custodian"].id)
    assert lease["fields"]["job"] == verified["fields"]["job"]
    assert lease["fields"]["kind"] == "custody"
    assert desk.sql(f"SELECT state FROM byokeep.job WHERE id = '{verified['fields']['job']}'") == "closed"

    other = await desk.stand.client()
    status, reply = await desk.put(other, desk.canary())
    assert status == 202
    good, desk.worker = desk.worker, _without_store(desk)
    await desk.work()
    assert (await desk.sop(reply["sop"]))["state"] == "running"
    await desk.retry_now()
    desk.worker = good
    sop, ref = await desk.sop(reply["sop"]), await desk.ref(reply["ref"])
    assert (sop["state"], sop["reason"]) == ("failed", "store_unreachable")
    assert (ref["state"], ref["verification"]) == ("pre_activation", "pending")
    assert [p["outcome"] for p in payloads(desk, "key.verified")] == ["ok", "failed"]
    assert done["ref"] != reply["ref"]


def _without_store(desk: Desk) -> Any:
    from contextlib import asynccontextmanager
    from dataclasses import replace

    from byokeep.core.errors import Unavailable

    class Away:
        @asynccontextmanager
        async def open(self, job_id: Any) -> Any:
            raise Unavailable("store_unreachable")
            yield

    return replace(desk.worker, custodian=Away())


@pytest.mark.req("R5.1-4")
async def test_a_new_value_renews_the_same_reference(desk: Desk) -> None:
    """The second value adds a version to the same row; the first goes on serving until the second is verified."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    before = await desk.ref(first["ref"])
    status, second = await desk.put(client, desk.canary(), query="?risk=high&rotation_days=30&skip_rehearsal=true")
    assert status == 202
    assert (second["ref"], second["version"], second["serves"]) == (first["ref"], 2, 1)
    assert await desk.ref(first["ref"]) == before | {"candidate": 2}
    job = await desk.stand.job(client)
    assert (await desk.stand.lease(job))["secrets"]["openai"]["version"] == 1
    await desk.work()
    ref = await desk.ref(first["ref"])
    assert (ref["version"], ref["verification"], ref["state"], ref["candidate"]) == (2, "verified", "active", None)
    assert (ref["risk"], ref["rotation_due_at"], ref["rotation_days"]) == ("high", second["rotation_due_at"], 30)
    assert ref["created_at"] > before["created_at"]
    assert (await desk.stand.lease(job))["secrets"]["openai"]["version"] == 2
    pinned = desk.sql(
        "SELECT convert_from(payload, 'UTF8')::jsonb #>> '{fields,from_version}' FROM byokeep.audit_record"
        f" WHERE chain = '{client}' AND event = 'key.pinned' AND object_id = '{first['ref']}'"
    )
    assert pinned == "1"
    assert desk.sql(f"SELECT count(*) FROM byokeep.credential_ref WHERE client_id = '{client}'") == "1"
    status, reply = await desk.put(client, desk.canary(), **{"X-Byokeep-Version": "1"})
    assert (status, reply["code"]) == (409, "stale_version")


@pytest.mark.req("R5.1-10")
@pytest.mark.parametrize(("answer", "waits"), [("revoked", False), ("rate_limited", True)])
async def test_a_new_value_that_is_not_proved_takes_nothing_out_of_service(
    desk: Desk, answer: str, waits: bool
) -> None:
    """A refused new value is dropped, one that cannot be checked waits; jobs go on with the old one all the same."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    before = await desk.ref(first["ref"])
    value = desk.canary(state=answer)
    status, second = await desk.put(client, value, query=SKIP)
    assert (status, second["serves"]) == (202, 1)
    await desk.work()
    if waits:
        run = await desk.sop(second["sop"])
        assert (run["state"], run["reason"]) == ("running", "rate_limited")
        assert run["next_step"].startswith("The provider is limiting calls: attempt 2 of 5 follows by itself in 2 s.")
    for _ in range(5):
        await desk.retry_now()
    assert (await desk.sop(second["sop"]))["state"] == "failed"
    assert await desk.ref(first["ref"]) == before | {"candidate": 2 if waits else None}
    job = await desk.stand.job(client)
    assert (await desk.stand.lease(job))["secrets"]["openai"]["version"] == 1
    desk.sim.book.keys.put("openai", value.decode(), SimKeyState.VALID, None)
    status, again = await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator")
    assert (status, again["version"]) == (202, 2 if waits else 1)
    await desk.work()
    run = await desk.sop(again["sop"])
    assert (run["state"], run["reason"]) == ("complete", "")
    assert (await desk.ref(first["ref"]))["version"] == (2 if waits else 1)


async def test_a_new_value_without_a_balance_waits(desk: Desk) -> None:
    """A good key whose balance is used up takes no working one's place; it does after a top-up and another check."""
    client = await desk.stand.client()
    first = await desk.onboard(client, provider="kie")
    value = desk.canary("kie", state="no_credit")
    _, second = await desk.put(client, value, "kie", query=SKIP)
    await desk.work()
    sop = await desk.sop(second["sop"])
    assert (sop["state"], sop["reason"]) == ("failed", "verified_no_quota")
    ref = await desk.ref(first["ref"])
    assert (ref["version"], ref["candidate"], ref["verification"]) == (1, 2, "verified")
    assert "key_no_quota" in desk.stand.alerts()
    desk.sim.book.keys.put("kie", value.decode(), SimKeyState.VALID, None)
    await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator")
    await desk.work()
    assert (await desk.ref(first["ref"]))["version"] == 2


@pytest.mark.req("R5.1-11")
async def test_a_new_value_in_a_log_leaves_the_old_one_in_service(desk: Desk) -> None:
    """A candidate that stands in a log is dropped with an alert; neither it nor its interval ever serves."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    value = desk.canary()
    status, second = await desk.put(client, value, query="?rotation_days=45")
    with (desk.files / "web.log").open("ab") as file:
        file.write(b'{"at": "2999-01-01T00:00:00Z", "event": "' + value + b'"}\n')
    await desk.work()
    assert (await desk.sop(second["sop"]))["reason"] == "secret_in_logs"
    assert (await desk.ref(first["ref"]))["rotation_days"] is None
    ref = await desk.ref(first["ref"])
    assert (status, ref["version"], ref["candidate"], ref["verification"]) == (202, 1, None, "verified")
    assert "secret_in_logs" in desk.stand.alerts()


async def test_a_marked_key_takes_its_candidate_along(desk: Desk) -> None:
    """A reference that was marked while a new value waited is not revived by it; the run says so."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    _, second = await desk.put(client, desk.canary())
    body = {"to": "compromised", "reason": "seen_in_chat"}
    assert (await desk.call("POST", f"/v1/refs/{first['ref']}/state", "operator", body))[0] == 200
    await desk.work()
    assert (await desk.sop(second["sop"]))["reason"] == "reference_ended"
    ref = await desk.ref(first["ref"])
    assert (ref["version"], ref["state"], ref["candidate"]) == (1, "compromised", None)
    _, third = await desk.put(client, desk.canary())
    assert (third["ref"] == first["ref"], third["serves"]) == (False, None)


async def test_a_killed_client_takes_a_replacement_that_waits(desk: Desk) -> None:
    """Added while the kill switch is engaged: stored, it waits, the check ends with the reason; verified afterwards."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    body = {"client_id": str(client), "reason": "suspected_leak"}
    status, closed = await desk.stand.call("POST", "/v1/switches/close", "operator", body)
    assert (status, closed["closed"]) == (200, True)
    status, reply = await desk.put(client, desk.canary(), query=SKIP)
    assert (status, reply["version"], reply["ref"]) == (202, 2, first["ref"])
    await desk.work()
    await desk.retry_now()
    sop, ref = await desk.sop(reply["sop"]), await desk.ref(first["ref"])
    assert (sop["state"], sop["reason"]) == ("failed", "switch_closed")
    assert (ref["version"], ref["candidate"]) == (1, 2)
    wish = (await desk.stand.call("POST", "/v1/switches/open-requests", "operator", body | {"reason": "replaced"}))[1]
    opened = await desk.stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver")
    assert opened[0] == 200
    status, again = await desk.call("POST", f"/v1/refs/{first['ref']}/verify", "operator")
    assert status == 202
    await desk.work()
    assert (await desk.sop(again["sop"]))["state"] == "complete"
    ref = await desk.ref(first["ref"])
    assert (ref["version"], ref["verification"]) == (2, "verified")


@pytest.mark.req("R5.1-5", "R1.3-3", "R3.2-5")
async def test_the_due_date_follows_provider_risk_and_wish(desk: Desk) -> None:
    """High risk means 30 days, no wish the provider's default, a wish counts inside 30 to 90 days."""
    wanted = {"?risk=high": "risk_high_30d", "": "provider_default_90d", "?rotation_days=45": "client_preference_45d"}
    for query, rule in wanted.items():
        client = await desk.stand.client()
        status, reply = await desk.put(client, desk.canary(), query=query)
        assert (status, reply.get("rule")) == (202, rule)
        await desk.work()
    risky = await desk.stand.client()
    desk.sql(f"UPDATE byokeep.client SET risk = 'high' WHERE id = '{risky}'")
    _, reply = await desk.put(risky, desk.canary(), query="?risk=standard")  # which is less than the client's own
    assert reply["rule"] == "risk_high_30d"
    assert [p["fields"]["rule"] for p in payloads(desk, "key.stored")] == [*wanted.values(), "risk_high_30d"]
    due = "SELECT round(extract(epoch FROM rotation_due_at - created_at) / 86400) FROM byokeep.credential_ref"
    assert desk.sql(f"{due} ORDER BY created_at").split() == ["30", "90", "45", "30"]
    for days in ("29", "91", "0", "1e2", "-30", "999999999999"):
        status, reply = await desk.put(client, desk.canary(), query=f"?rotation_days={days}")
        assert status == 422, days
    status, reply = await desk.put(client, desk.canary(), query="?rotation_days=91")
    assert (reply["code"], reply["minimum"], reply["maximum"]) == ("rotation_days_out_of_range", 30, 90)
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref WHERE rotation_due_at IS NULL") == "0"


@pytest.mark.req("R6.1-1", "R6.1-9")
async def test_a_chosen_interval_counts_from_the_value_and_is_on_record(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """45 days: due 45 days after it came, listed ahead, overdue then, kept by the next value; who, why, old, new.

    29, 91, 0, -1 and a text change nothing, nor is anything overdue put off.
    """
    client = await desk.stand.client()
    key = (await desk.onboard(client))["ref"]

    async def choose(days: object, reason: str = "client_wish", who: str = "operator") -> tuple[int, Any]:
        return await desk.call("POST", f"/v1/refs/{key}/interval", who, {"days": days, "reason": reason})

    async def stands() -> list[str]:
        """How the key stands on the list that nobody asks a time of."""
        _, found = await desk.call("GET", f"/v1/due?kind=key&client_id={client}", "operator")
        return [one["state"] for one in found["items"]]

    async def due(ahead: int) -> tuple[int, int]:
        """How many rows of the key are listed by a day, and after how many days it is due."""
        until = (datetime.now(UTC) + timedelta(days=ahead)).isoformat()
        _, found = await desk.call("GET", f"/v1/due?kind=key&client_id={client}&until={quote(until)}", "operator")
        age = "SELECT round(extract(epoch FROM rotation_due_at - created_at) / 86400) FROM byokeep.credential_ref"
        return len(found["items"]), int(desk.sql(f"{age} WHERE id = '{key}'"))

    assert await due(46) == (0, 90)
    for bad in (29, 91, 0, -1, "30d; drop"):
        assert (await choose(bad))[0] == 422, bad
    assert (await choose(45, reason="Not a code"))[1]["code"] == "bad_reason"
    assert (await choose(45, who="approver"))[0] == 403
    assert await due(46) == (0, 90)
    assert [(await choose(45))[0], await due(44), await due(46)] == [200, (0, 45), (1, 45)]
    assert await stands() == []
    for when, state in (("+ interval '7 days'", "due"), ("- interval '1 second'", "overdue")):
        made_due = f"created_at = now() - interval '1 day', rotation_due_at = now() {when}"
        desk.sql(f"UPDATE byokeep.credential_ref SET {made_due} WHERE id = '{key}'")
        assert await stands() == [state]
    as_chosen = "created_at = now(), rotation_due_at = now() + interval '45 days'"
    desk.sql(f"UPDATE byokeep.credential_ref SET {as_chosen} WHERE id = '{key}'")
    said = [p for p in payloads(desk, "key.interval_set") if p["outcome"] == "ok"]
    assert [(p["actor"], p["fields"]["reason"], p["fields"].get("from_days"), p["fields"]["days"]) for p in said] == [
        (str(desk.people["operator"].id), "client_wish", None, 45)
    ]
    assert said[0]["fields"]["due_at"] < said[0]["fields"]["from_due_at"]
    await desk.put(client, desk.canary())  # a later value: nobody names an interval again
    waits = "SELECT round(extract(epoch FROM candidate_due_at - candidate_at) / 86400) FROM byokeep.credential_ref"
    assert desk.sql(f"{waits} WHERE id = '{key}'") == "45"
    past = "created_at = now() - interval '60 days', rotation_due_at = now() - interval '15 days'"
    desk.sql(f"UPDATE byokeep.credential_ref SET {past} WHERE id = '{key}'")
    assert [(await choose(90))[0], await due(0)] == [200, (1, 45)]
    said = [p["fields"] for p in payloads(desk, "key.interval_set") if p["outcome"] == "ok"]
    assert sorted((one.get("from_days", 0), one["days"]) for one in said) == [(0, 45), (45, 90)]
    kept = "SELECT COALESCE(candidate_days, rotation_days) FROM byokeep.credential_ref"
    assert desk.sql(f"{kept} WHERE id = '{key}'") == "90"  # the value that waits does not bring 45 back
    made_due = "created_at = now() - interval '1 day', rotation_due_at = now() - interval '1 second'"
    desk.sql(f"UPDATE byokeep.credential_ref SET {made_due} WHERE id = '{key}'")
    with monkeypatch.context() as slow:  # a clock of `web` that is behind puts nothing off that is due
        slow.setattr(type(desk.web.clock), "now", lambda _: datetime.now(UTC) - timedelta(seconds=30))
        assert [(await choose(90))[0], await due(0)] == [200, (1, 1)]
    risky = await desk.stand.client()
    _, reply = await desk.put(risky, desk.canary(), query="?risk=high")
    key = reply["ref"]
    assert (await choose(45))[1]["code"] == "risk_decides"
    client = await desk.stand.client()
    key = (await desk.onboard(client))["ref"]
    await desk.put(client, desk.canary(), query="?risk=high")  # it waits beside one of standard risk
    assert (await choose(90))[1]["code"] == "risk_decides"
    assert (desk.sql(f"{waits} WHERE id = '{key}'"), (await due(0))[1]) == ("30", 90)
    assert (await choose(30))[0] == 200
    assert (desk.sql(f"{waits} WHERE id = '{key}'"), (await due(0))[1]) == ("30", 30)


async def test_a_verification_that_could_not_be_recorded_is_not_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers died four times, and then the database was away: it is asked again, as often as it takes."""
    client = await desk.stand.client()
    status, reply = await desk.put(client, desk.canary())
    assert status == 202
    desk.sql("UPDATE procrastinate.procrastinate_jobs SET attempts = 4 WHERE task_name = 'verify_key'")

    async def away(*_: Any) -> str:
        raise Unavailable("database_unreachable")

    with monkeypatch.context() as broken:
        broken.setattr("byokeep.keys.verify_key._record", away)
        for _ in range(3):
            await desk.retry_now(1)
    assert (await desk.sop(reply["sop"]))["state"] == "running"
    await desk.retry_now(1)
    assert (await desk.sop(reply["sop"]))["state"] == "complete"


@pytest.mark.req("R5.1-7")
async def test_one_get_and_no_redirect(desk: Desk) -> None:
    """The provider sees exactly one GET with the key in its header; a redirect is not followed and fails the run."""
    client = await desk.stand.client()
    await desk.onboard(client)
    [seen] = list(desk.sim.book.log.entries)
    assert (seen["method"], seen["path"], seen["key_in_url"]) == ("GET", "/openai/v1/models", False)
    away = {"kind": "redirect", "location": "http://127.0.0.1:1/elsewhere", "times": 9}
    desk.sim.faults.add({"provider": "openai", **away})
    done = await desk.onboard(client)
    assert "with a redirect, which was not followed: attempt 2 of 5" in (await desk.sop(done["sop"]))["next_step"]
    await desk.retry_now()
    sop = await desk.sop(done["sop"])
    assert (sop["state"], sop["reason"]) == ("failed", "redirect_refused")
    assert desk.sim.book.log.seen == 6


async def test_a_key_that_serves_is_not_lost_to_an_answer_that_says_nothing_of_it(desk: Desk) -> None:
    """Verified again behind a proxy that redirects, or by a provider that forbids the call, it serves on and the run
    says why; one that its provider refuses is served no more."""
    client = await desk.stand.client()
    ref, job = (await desk.onboard(client))["ref"], await desk.stand.job(client)
    for fault, status, reason, known in (
        ({"kind": "redirect", "location": "http://127.0.0.1:1/elsewhere"}, 201, "redirect_refused", "verified"),
        ({"kind": "status", "status": 403}, 201, "forbidden", "verified"),
        ({"kind": "status", "status": 401}, 403, "invalid_key", "failed"),
    ):
        desk.sim.faults.clear()
        desk.sim.faults.add({"provider": "openai", "times": 9, **fault})
        assert (await desk.call("POST", f"/v1/refs/{ref}/verify", "operator"))[0] == 202
        await desk.retry_now()
        assert json.loads(desk.stand.events("client_key_onboarding_failed")[-1])["fields"]["reason"] == reason
        assert (await desk.ref(ref))["verification"] == known
        assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == status


@pytest.mark.req("R5.1-8")
async def test_a_reply_that_holds_the_key_is_dropped(desk: Desk) -> None:
    """A body that reflects the key fails the run, raises an alert, and nothing of it is kept."""
    client = await desk.stand.client()
    desk.sim.faults.add({"provider": "openai", "kind": "echo_key"})
    done = await desk.onboard(client)
    assert (await desk.sop(done["sop"]))["reason"] == "reflected"
    assert "key_reflected" in desk.stand.alerts()
    [note] = payloads(desk, "key.verified")
    allowed = {"provider", "version", "sop", "job", "verification", "endpoint", "http_status", "latency_ms", "attempts"}
    assert set(note["fields"]) <= allowed | {"account_hash"}
    for provider in ("openrouter", "heygen"):  # whose replies hold a label of the key, a name and an address
        await desk.onboard(client, desk.canary(provider, account="whose@example.test"), provider=provider)
    notes = payloads(desk, "key.verified")
    assert [one["outcome"] for one in notes] == ["failed", "ok", "ok"]
    assert all(one["fields"]["account_hash"] for one in notes[1:])
    assert "example.test" not in json.dumps(notes)
    await _clean(desk)


@pytest.mark.req("R5.1-10", "R5.1-13", "R5.1-14")
async def test_every_bad_answer_has_its_own_reason(desk: Desk) -> None:
    """Each way an identity call can fail gives a distinct reason, and the key stays unusable; one of which nothing was
    learnt is not called bad, and serves once it was learnt."""
    client = await desk.stand.client()
    reasons = set()
    for state in (SimKeyState.REVOKED, SimKeyState.RATE_LIMITED, SimKeyState.RESTRICTED, SimKeyState.GEO_BLOCKED):
        status, reply = await desk.put(client, desk.canary(state=state.value))
        assert status == 202
        await desk.work()
        await desk.retry_now()
        reasons.add((await desk.sop(reply["sop"]))["reason"])
    for fault in (
        {"kind": "status", "status": 404}, {"kind": "status", "status": 500}, {"kind": "status", "status": 418},
        {"kind": "garbage"}, {"kind": "redirect", "location": "http://127.0.0.1:1/elsewhere"},
    ):  # fmt: skip
        desk.sim.faults.clear()
        desk.sim.faults.add({"provider": "openai", "times": 99, **fault})
        status, reply = await desk.put(client, desk.canary())
        await desk.work()
        await desk.retry_now()
        sop, ref = await desk.sop(reply["sop"]), await desk.ref(reply["ref"])
        reasons.add(sop["reason"])
        assert sop["state"] == "failed"
        assert (ref["verification"], ref["state"]) == ("pending", "pre_activation")
    assert len(reasons) == 9, reasons
    assert {one["fields"]["reason"] for one in payloads(desk, "client_key_onboarding_failed")} == reasons
    assert payloads(desk, "client_key_onboarded") == []
    job = await desk.stand.job(client)
    status, reply = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (403, "credential_not_usable")
    desk.sim.faults.clear()
    assert (await desk.call("POST", f"/v1/refs/{ref['id']}/verify", "operator"))[0] == 202
    await desk.work()
    assert (await desk.ref(ref["id"]))["verification"] == "verified"


@pytest.mark.req("R5.1-11")
async def test_a_key_in_a_log_is_quarantined(desk: Desk) -> None:
    """The key planted in a log line fails the run, quarantines the credential and raises an alert."""
    client = await desk.stand.client()
    value = desk.canary()
    status, reply = await desk.put(client, value)
    with (desk.files / "web.log").open("ab") as file:
        file.write(b'{"at": "2999-01-01T00:00:00Z", "event": "' + value + b'"}\n')
    await desk.work()
    sop, ref = await desk.sop(reply["sop"]), await desk.ref(reply["ref"])
    assert (sop["state"], sop["reason"], ref["verification"]) == ("failed", "secret_in_logs", "quarantined")
    assert "secret_in_logs" in desk.stand.alerts()
    assert payloads(desk, "client_key_onboarded") == []
    status, reply = await desk.call("POST", f"/v1/refs/{ref['id']}/verify", "operator")
    assert (status, reply["code"]) == (422, "credential_quarantined")


@pytest.mark.req("R5.1-11")
async def test_nothing_searched_is_no_pass(desk: Desk) -> None:
    """A log that can not be read leaves the run incomplete; once it can, verifying again completes it."""
    client = await desk.stand.client()
    status, reply = await desk.put(client, desk.canary())
    hidden = desk.files / "elsewhere"
    (desk.files / "spans.jsonl").rename(hidden)
    await desk.work()
    sop = await desk.sop(reply["sop"])
    assert (sop["state"], sop["missing"]) == ("incomplete", ["leak_check_pass", "onboarding_event"])
    [check] = payloads(desk, "key.leak_checked")
    assert (check["outcome"], check["fields"]["verification"]) == ("failed", "unknown")
    hidden.rename(desk.files / "spans.jsonl")
    for empty in (LeakCount(sources=2, lines=0, spans=9, found=0, readable=True),
                  LeakCount(sources=2, lines=9, spans=0, found=0, readable=True)):  # fmt: skip
        assert verdict(empty) == "unknown"
    status, again = await desk.call("POST", f"/v1/refs/{reply['ref']}/verify", "operator")
    assert (status, again["sop"]) == (202, reply["sop"])
    await desk.work()
    assert (await desk.sop(reply["sop"]))["state"] == "complete"
    passed = payloads(desk, "key.leak_checked")[-1]["fields"]
    assert passed["lines"] > 0
    assert passed["spans"] > 0
    assert passed["found"] == 0


@pytest.mark.req("R5.1-15")
async def test_withheld_or_foreign_evidence_is_named(desk: Desk) -> None:
    """With each piece of evidence taken away, or another run's in its place, the run says which one is missing."""
    client, other = await desk.stand.client(), await desk.stand.client()
    done = await desk.onboard(client)
    foreign = await desk.onboard(other, provider="anthropic")
    for name in ITEMS_OF[ONBOARD]:
        kept, theirs = (desk.sql(pointed(one["sop"], name)) for one in (done, foreign))
        for wrong in ("NULL", "1", theirs if theirs != kept else "2"):
            desk.sql(points(done["sop"], name, wrong))
            sop = await desk.sop(done["sop"])
            assert sop["state"] != "complete", (name, wrong)
            assert name in sop["missing"], (name, wrong, sop)
        desk.sql(points(done["sop"], name, kept))
    assert (await desk.sop(done["sop"]))["state"] == "complete"


@pytest.mark.req("R5.1-3", "R5.1-16")
async def test_what_is_no_key_is_refused_and_not_echoed(desk: Desk) -> None:
    """Wrong forms are refused with a code, nothing is stored, and neither reply, log nor record shows the value."""
    client = await desk.stand.client()
    key = desk.canary()
    bad = {
        b"": "empty_value", b"x": "too_short", b"   ": "empty_value", key + b"\n": "trailing_newline",
        key[:20] + b"\0" + key[20:]: "control_characters", key[:9] + b"\x1b" + key[9:]: "control_characters",
        key + "\u200b".encode(): "invisible_characters", "“".encode() + key: "not_ascii",
        key.replace(b"s", "\u0455".encode(), 1): "not_ascii", b"```" + key + b"```": "code_fence",
        b'{"key": "' + key + b'"}': "json_not_key", b"-----BEGIN RSA PRIVATE KEY-----\n" + key: "pem_not_key",
        key * 8: "too_long", key * 400: "body_too_large", desk.canary("anthropic"): "format_mismatch",
    }  # fmt: skip
    for value, code in bad.items():
        status, reply = await desk.put(client, value)
        assert (status, reply["code"]) == (413 if code == "body_too_large" else 422, code), code
        assert key.decode()[10:30] not in json.dumps(reply)
        told = {"type", "title", "status", "code", "next_step", "provider", "request_id", "maximum", "limit"}
        assert set(reply) <= told, "how long it was is nobody's business"
    status, reply = await desk.call(
        "PUT",
        f"/v1/clients/{client}/providers/openai/value",
        "operator",
        raw=key,
        headers={"Content-Type": "text/plain"},
    )
    assert (status, reply["code"]) == (415, "unsupported_media_type")
    assert await desk.stand.intake.current_version(_place(client)) == 0
    refused = [p for p in payloads(desk, "key.write") if p["outcome"] == "rejected"]
    assert [p["fields"]["reason"] for p in refused] == [*bad.values(), "unsupported_media_type"]
    await _clean(desk)


@pytest.mark.req("R5.1-14")
async def test_an_onboarding_that_the_store_refuses_is_on_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that surely did not happen ends its run with the event of failure, and the place is free again."""
    client = await desk.stand.client()

    async def refuses(*_: object, **__: object) -> None:
        raise Conflict("stale_version")

    with monkeypatch.context() as patched:
        patched.setattr(desk.web.intake, "put", refuses)
        assert (await desk.put(client, desk.canary()))[0] == 409
    [failed] = payloads(desk, "client_key_onboarding_failed")
    assert (failed["outcome"], failed["fields"]["reason"]) == ("failed", "stale_version")
    assert desk.sql("SELECT state, reason FROM byokeep.procedure_run") == "failed|stale_version"
    assert (await desk.put(client, desk.canary()))[0] == 202


@pytest.mark.req("R5.1-17", "S-ASVS-6")
async def test_an_onboarding_waits_while_another_one_decides(desk: Desk) -> None:
    """Who comes second for a client and provider stands in line until the first one's transaction ends; nobody else."""
    client, other = await desk.stand.client(), await desk.stand.client()
    async with desk.web.db.begin(client_id=client) as tx:
        await tx.all(None, "ref_lock", client_id=client, provider="openai")
        second = asyncio.create_task(desk.put(client, desk.canary()))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not second.done() and desk.sql(waiting) == "0":
            await asyncio.sleep(0.02)
        assert not second.done()
        assert (await desk.put(client, desk.canary("anthropic"), "anthropic"))[0] == 202
        assert (await desk.put(other, desk.canary()))[0] == 202
        assert not second.done()
    assert (await second)[0] == 202


@pytest.mark.req("R5.1-17")
async def test_of_two_onboardings_at_once_one_wins(desk: Desk) -> None:
    """Of parallel submissions one is stored and the others conflict; the store holds one version."""
    client = await desk.stand.client()
    replies = await asyncio.gather(*(desk.put(client, desk.canary()) for _ in range(4)))
    assert sorted(status for status, _ in replies) == [202, 409, 409, 409], replies
    assert await desk.stand.intake.live_versions(_place(client)) == [1]
    await desk.work()
    live = desk.sql(f"SELECT count(*), max(version) FROM byokeep.credential_ref WHERE client_id = '{client}'")
    assert live == "1|1"
    [winner] = [reply for status, reply in replies if status == 202]
    assert (await desk.sop(winner["sop"]))["state"] == "complete"
    await _clean(desk)


@pytest.mark.parametrize("first", [True, False])
async def test_one_value_that_comes_twice_at_once_is_stored_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Both callers are told of one version and one run, a client's first or the next of one that serves, also when the
    one that wrote it is slower; it is verified once, and each write in the store is on record."""
    since, client = desk.stand.app.clock.now(), await desk.stand.client()
    if not first:
        await desk.onboard(client)
    intake, both = desk.web.intake, asyncio.Barrier(2)
    real = type(intake).put

    async def slow(ref: Any, value: Secret, *, cas: int) -> Any:
        await both.wait()
        done = await real(intake, ref, value, cas=cas)
        while desk.stand.events("key.stored")[newest - 1 :] == []:  # the other one is first to put it on record
            await asyncio.sleep(0.02)
        return done

    monkeypatch.setattr(intake, "put", slow)
    value, newest = desk.canary(), 1 if first else 2
    replies = await asyncio.gather(*(desk.put(client, value) for _ in range(2)))
    assert [status for status, _ in replies] == [202, 202], replies
    one, other = (reply for _, reply in replies)
    assert {name for name in one if one[name] != other[name]} <= {"joined", "rotation_due_at"}
    assert await desk.stand.intake.live_versions(_place(client)) == [*range(1, newest + 1)]
    await desk.work()
    assert (await desk.sop(one["sop"]))["state"] == "complete"
    assert (await desk.ref(one["ref"]))["version" if first else "candidate"] == newest
    assert (await reconciled(desk.stand, since)).findings == ()


@pytest.mark.req("R1.3-4")
async def test_one_value_at_two_clients_is_told_to_operators_of_all(desk: Desk) -> None:
    """The same key under two clients raises a platform alert that no one assigned to one client can see."""
    first, second = await desk.stand.client(), await desk.stand.client()
    value = desk.canary()
    one, two = await desk.onboard(first, value), await desk.onboard(second, value)
    assert {**one, "ref": 0, "sop": 0, "rotation_due_at": 0} == {**two, "ref": 0, "sop": 0, "rotation_due_at": 0}
    own = desk.stand.subject("operator", "of one", clients=(second,))
    for who, sees in (("operator", True), (own, False)):
        status, reply = await desk.call("GET", "/v1/alerts", who)
        assert status == 200
        assert ("shared_value" in [alert["reason"] for alert in reply["alerts"]]) is sees
    [event] = payloads(desk, "key.shared_value_found")
    assert (event["client"], event["object"], event["fields"]["ref"]) == (None, two["ref"], one["ref"])
    assert (await desk.sop(two["sop"]))["state"] == "complete"
    twice = desk.canary("kie")
    here, there = await desk.onboard(first, twice, "kie"), await desk.onboard(first, twice, "heygen")
    *_, event = payloads(desk, "key.shared_value_found")  # one client, two purposes
    assert (event["client"], event["object"], event["fields"]["ref"]) == (None, there["ref"], here["ref"])


@pytest.mark.req("R1.1-1")
async def test_the_database_and_the_logs_hold_no_value(desk: Desk) -> None:
    """After onboardings, good and bad, no key is in a dump of the database or in a log; a planted one is found."""
    client = await desk.stand.client()
    for provider in ("openai", "anthropic", "google", "openrouter", "kie", "heygen"):
        done = await desk.onboard(client, provider=provider)
        assert (await desk.sop(done["sop"]))["state"] == "complete", provider
    await desk.onboard(client, desk.canary(state="revoked"))
    await _clean(desk)
    planted = desk.canaries[0].value.decode()
    desk.sql(f"COMMENT ON TABLE byokeep.client IS '{planted}'")
    assert not Sweep(desk.canaries).scan_bytes(_dump(desk), source="dump").clean


@pytest.mark.req("R5.1-3")
async def test_messages_about_keys_that_came_in_carry_no_value(desk: Desk) -> None:
    """All that people are told of after onboardings, good, bad and of another client's key: that, and no value."""
    sent: list[str] = []

    async def send(target: str, title: str, body: str, weight: str) -> str:
        sent.extend((target, title, body, weight))
        return ""

    worker = desk.worker
    app = notify.NotifyApp(
        db=worker.db, clock=worker.clock, ids=worker.ids, installation_id=worker.installation_id,
        environment=worker.environment, limits=worker.limits, targets=lambda: ["chat", "mail"], send=send,
    )  # fmt: skip
    value = desk.canary()
    for client in (await desk.stand.client(), await desk.stand.client()):
        await desk.onboard(client, value)
        await desk.onboard(client, desk.canary("anthropic", state="revoked"), provider="anthropic")
    desk.sql("UPDATE byokeep.credential_ref SET rotation_due_at = now() + interval '1 day'")
    await notify.remind(app)
    assert await notify.deliver(app) >= 2
    told = "\n".join(sent)
    assert "shared_value" in told
    assert "openai" in told
    assert Sweep(desk.canaries).scan_bytes(told.encode(), source="messages").clean
    assert not Sweep(desk.canaries).scan_bytes((told + value.decode()).encode(), source="messages").clean


def _dump(desk: Desk) -> bytes:
    return desk.stand.db.server.run_tool("pg_dump", "-d", desk.stand.db.name, "--inserts")


async def _clean(desk: Desk) -> None:
    """No canary in the dump, the logs and the spans."""
    sweep = Sweep(desk.canaries)
    dump = _dump(desk)
    assert b"audit_record" in dump
    report = sweep.scan_bytes(dump, source="dump") + sweep.scan_paths([desk.files])
    assert report.clean, report


async def test_a_value_that_came_meanwhile_stays_findable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole onboarding between the look at the store and the announcement: the second is refused, and the fingerprint
    by which a leak of the first is found stays."""
    client, first = await desk.stand.client(), desk.canary()
    look, kept = desk.web.intake.current_version, list[str]()
    found = "SELECT version, digests FROM byokeep.leak_fingerprint"

    async def meanwhile(ref: SecretRef) -> int:
        current = await look(ref)
        monkeypatch.undo()
        await desk.onboard(client, first)
        kept.append(desk.sql(found))
        return current

    monkeypatch.setattr(desk.web.intake, "current_version", meanwhile)
    status, refused = await desk.put(client, desk.canary())
    assert (status, refused["code"]) == (409, "stale_version")
    assert [desk.sql(found)] == kept
