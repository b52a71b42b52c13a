"""Incidents: opened by people and by what was noticed, looked at, led through their playbook, closed with evidence."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from byokeep.client.http import error_from
from byokeep.core.errors import ByokeepError
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.model import ClientId, Provider
from byokeep.core.reenable import CanaryStarted, Event, IdentityChecked, Reauthorised, RecoveryCause, ScopesChecked
from byokeep.core.ref import SecretRef
from byokeep.jobs import reenabling
from byokeep.jobs.jobs import in_custody
from byokeep.kernel import incidents
from byokeep.kernel.command import open_alert, record
from byokeep.kernel.incidents import MOST_A_DAY
from byokeep.keys import usage
from byokeep.operations.notify import NotifyApp, deliver
from byokeep_sim import SimKeyState
from tests.support.broker import Person, listening
from tests.support.cli import Shell
from tests.support.connected import connect
from tests.support.ports import free_port
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
pytestmark = pytest.mark.usefixtures("nobody_counts")


async def asked(
    desk: Desk, path: str, body: Any = None, who: str | Person = "operator", *, expect: int = 200
) -> dict[str, Any]:
    """A call about incidents, and its reply."""
    status, found = await desk.call("POST", f"/v1/incidents{path}", who, body)
    assert status == expect, found
    if status >= 400:
        assert error_from(status, found).next_step == found["next_step"]  # one that is too long is shown to nobody
    return dict(found)


async def shown(desk: Desk, incident: str, who: str | Person = "operator") -> dict[str, Any]:
    status, found = await desk.call("GET", f"/v1/incidents/{incident}", who)
    assert status == 200, found
    return dict(found)


async def listed(desk: Desk, who: str | Person = "operator", query: str = "") -> list[dict[str, Any]]:
    status, found = await desk.call("GET", f"/v1/incidents{query}", who)
    assert status == 200, found
    return list(found["incidents"])


async def timeline(desk: Desk, incident: str) -> list[tuple[str, str, str]]:
    """Event, outcome and what a step or a refusal says, of each record that names an incident."""
    status, found = await desk.call("GET", f"/v1/incidents/{incident}/timeline", "operator")
    assert status == 200, found
    return [(one["event"], one["outcome"], str(one["said"].get("stage") or one["said"].get("reason") or ""))
            for one in found["records"]]  # fmt: skip


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


@pytest.mark.req("R6.3-5")
async def test_an_incident_keeps_source_time_scope_and_since_when(desk: Desk) -> None:
    """What is known is kept as it was said; where nobody knows since when, 72 hours are assumed and marked."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client))["ref"]
    about = {"kind": "suspected_leak", "object_kind": "key", "object": ref}
    made = await asked(desk, "", about | {"noticed_at": ago(hours=2), "began_at": ago(hours=30)}, expect=201)
    assert (made["client_id"], made["object_id"], made["source"], made["severity"], made["playbook"]) == (
        str(client), ref, "person", "P1", "provider_key_leaked",
    )  # fmt: skip
    span = datetime.fromisoformat(made["noticed_at"]) - datetime.fromisoformat(made["began_at"])
    assert (made["began_assumed"], round(span.total_seconds())) == (False, 28 * 3600)
    assert (await asked(desk, "", about, expect=409))["code"] == "incident_open"
    for again in ({"severity": "P0", "began_at": ago(hours=10)}, {"began_at": ago(hours=50)}):
        assert (await asked(desk, "", about | again, expect=409))["code"] == "incident_open"
        stands = await shown(desk, made["id"])  # said again: the worse and the earlier word holds
        span = datetime.fromisoformat(stands["noticed_at"]) - datetime.fromisoformat(stands["began_at"])
        assert (stands["severity"], round(span.total_seconds())) == ("P0", (28 if "severity" in again else 48) * 3600)
    assert (await asked(desk, "", about | {"began_at": ago(hours=1)}, expect=409))["code"] == "incident_open"
    again = await shown(desk, made["id"])
    span = datetime.fromisoformat(again["noticed_at"]) - datetime.fromisoformat(again["began_at"])
    assert (again["severity"], round(span.total_seconds()), again["began_assumed"]) == ("P0", 48 * 3600, False)
    changed = [json.loads(text)["fields"] for text in desk.stand.events("incident.changed", "ok")]
    assert [(fields["stage"], fields["severity"]) for fields in changed] == [("noticed_again", "p0")] * 2
    assert (await asked(desk, "", about | {"severity": "P2"}, expect=422))["code"] == "severity_too_low"
    other = await asked(desk, "", {"kind": "other", "client_id": str(client), "noticed_at": ago(hours=1)}, expect=201)
    span = datetime.fromisoformat(other["noticed_at"]) - datetime.fromisoformat(other["began_at"])
    assert (other["began_assumed"], round(span.total_seconds())) == (True, 72 * 3600)
    said = desk.sql(
        "SELECT string_agg(convert_from(payload, 'UTF8')::jsonb #>> '{fields,reason}', ',') FROM byokeep.audit_record"
        f" WHERE event = 'incident.opened' AND outcome = 'ok' AND chain = '{client}'"
    )
    assert said == "since_assumed"
    late = {"began_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    assert (await asked(desk, "", {"kind": "other", "client_id": str(client)} | late, expect=422))[
        "code"
    ] == "bad_since"
    assert [one["severity"] for one in await listed(desk)] == ["P0", "P2"]
    assert "incident_opened" in desk.stand.alerts()


async def test_another_clients_incident_is_none(desk: Desk) -> None:
    """Nobody opens, reads or closes one of a client that is not theirs; everybody's takes people of all clients."""
    own, other = await desk.stand.client(), await desk.stand.client()
    ref = (await desk.onboard(other))["ref"]
    narrow = desk.stand.subject("operator", "narrow", clients=(own,))
    made = await asked(desk, "", {"kind": "other", "client_id": str(other)}, expect=201)
    everybodys = await asked(desk, "", {"kind": "drill"}, expect=201)
    for body, status in (
        ({"kind": "other", "client_id": str(other)}, 404),
        ({"kind": "suspected_leak", "object_kind": "key", "object": ref}, 404),
        ({"kind": "suspected_leak", "object_kind": "key", "object": ref, "client_id": str(own)}, 404),
        ({"kind": "drill"}, 403),
        ({"kind": "other", "client_id": str(uuid4())}, 404),
        ({"kind": "theft", "client_id": str(own)}, 422),
        ({"kind": "suspected_leak", "client_id": str(own)}, 422),
        ({"kind": "suspected_leak", "client_id": str(own), "object_kind": "key"}, 422),
        ({"kind": "lockout", "object_kind": "key", "object": ref}, 404),
        ({"kind": "other", "client_id": str(own), "severity": "P3"}, 422),
    ):
        assert (await desk.call("POST", "/v1/incidents", narrow, body))[0] == status, body
    for one in (made["id"], everybodys["id"]):
        for method, path in (("GET", ""), ("GET", "/timeline"), ("POST", "/close")):
            assert (await desk.call(method, f"/v1/incidents/{one}{path}", narrow))[0] == 404
    assert await listed(desk, narrow) == []
    assert (await desk.call("POST", "/v1/incidents", "auditor", {"kind": "drill"}))[0] == 403
    named = {"kinds": ["incident"], "name": "everybody/drill"}
    found = await desk.call("POST", "/v1/names/find", "operator", named)
    assert [one["id"] for one in found[1]["found"]] == [everybodys["id"]]
    for name in ("everybody/drill", "everybody"):  # nor is it found by whoever may not look at it
        found = await desk.call("POST", "/v1/names/find", narrow, named | {"name": name})
        assert found[1] == {"found": [], "near": []}
    assert desk.not_once_on_record() == []


@pytest.mark.req("R7.1-9")
async def test_a_p1_is_closed_with_its_postmortem_and_a_p2_without(desk: Desk) -> None:
    """What a postmortem says stays where it is: its digest and address are kept; a secret in its place is refused."""
    client = await desk.stand.client()
    grave = await asked(desk, "", {"kind": "runner_compromise", "client_id": str(client)}, expect=201)
    path = f"/{grave['id']}"
    assert (await asked(desk, path + "/close", expect=409))["code"] == "postmortem_missing"
    for reference, code in (("", "postmortem_missing"), ("sk-" + "a" * 20, "secret_like_content"),
                            ("two words", "bad_reference")):  # fmt: skip
        assert (await asked(desk, path + "/postmortem", {"reference": reference}, expect=422))["code"] == code
    digest = sha256(b"what happened").hexdigest()
    told = await asked(desk, path + "/postmortem", {"reference": "https://wiki.example.com/pm/12", "sha256": digest})
    assert (told["postmortem_sha256"], told["state"]) == (digest, "open")
    assert (await asked(desk, path + "/close"))["state"] == "closed"
    assert (await asked(desk, path + "/close", expect=409))["code"] == "incident_closed"
    small = await asked(desk, "", {"kind": "usage_anomaly", "client_id": str(client)}, expect=201)
    assert (await asked(desk, f"/{small['id']}/close"))["state"] == "closed"
    assert await listed(desk, query="?state=open") == []
    assert await timeline(desk, grave["id"]) == [
        ("incident.opened", "ok", "since_assumed"), ("alert.raised", "ok", "incident_opened"),
        ("incident.closed", "failed", "postmortem_missing"), ("incident.changed", "rejected", "postmortem_missing"),
        ("incident.changed", "rejected", "secret_like_content"), ("incident.changed", "rejected", "bad_reference"),
        ("incident.changed", "ok", "postmortem"), ("incident.closed", "ok", ""),
        ("incident.closed", "failed", "incident_closed"),
    ]  # fmt: skip


async def test_an_incident_of_another_kind_is_no_way_around_a_playbook(desk: Desk) -> None:
    """It gets one, or a reason on record why none applies: at P1 two people do, who see what they approve."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client))["ref"]
    about = {"kind": "other", "object_kind": "key", "object": ref}
    made = await asked(desk, "", about | {"severity": "P1"}, expect=201)
    one, told = made["id"], {"reference": "https://wiki.example.com/pm/12"}
    assert f"byokeep incident playbook {one}" in made["next_step"]
    await asked(desk, f"/{one}/postmortem", told)
    assert (await asked(desk, f"/{one}/close", expect=409))["code"] == "playbook_not_chosen"
    for said, code in (({"playbook": "sell"}, "unknown_playbook"), ({"playbook": "none"}, "bad_reason"),
                       ({"playbook": "social_token_lost"}, "object_missing")):  # fmt: skip
        assert (await asked(desk, f"/{one}/playbook", said, expect=422))["code"] == code
    none = {"playbook": "none", "reason": "test_key_alone"}
    run = (await asked(desk, f"/{one}/playbook", none))["next_step"].split()[-1].rstrip("`.")
    await desk.work()
    assert (await asked(desk, f"/{one}/close", expect=409))["code"] == "playbook_not_chosen"
    waits = (await desk.call("GET", f"/v1/procedures/{run}", "approver"))[1]
    assert (waits["waits_for"], waits["facts"]) == ("approval", {"reason": "test_key_alone"})
    assert (await desk.call("POST", f"/v1/procedures/{run}/approve", "operator"))[0] == 403
    assert (await desk.call("POST", f"/v1/procedures/{run}/approve", "approver"))[1]["facts"] == {}
    await desk.work()
    assert (await asked(desk, f"/{one}/close"))["state"] == "closed"
    # At P2 one person says so; called worse later, it takes the second one.
    small = (await asked(desk, "", {"kind": "other", "client_id": str(client)}, expect=201))["id"]
    assert (await asked(desk, f"/{small}/close", expect=409))["code"] == "playbook_not_chosen"
    assert "incident close" in (await asked(desk, f"/{small}/playbook", none))["next_step"]
    await asked(desk, f"/{small}/severity", {"severity": "P1"})
    await asked(desk, f"/{small}/postmortem", told)
    assert (await asked(desk, f"/{small}/close", expect=409))["code"] == "playbook_not_chosen"
    # With a playbook it is one of that kind, as bad as those are, and led by its steps.
    led = (await asked(desk, "", about, expect=201))["id"]
    chosen = await asked(desk, f"/{led}/playbook", {"playbook": "provider_key_leaked"})
    assert (chosen["kind"], chosen["severity"], chosen["missing"][0]) == ("suspected_leak", "P1", "kill")
    assert (await asked(desk, f"/{led}/playbook", none, expect=409))["code"] == "playbook_chosen"
    twin = (await asked(desk, "", about, expect=201))["id"]
    twice = await asked(desk, f"/{twin}/playbook", {"playbook": "provider_key_leaked"}, expect=409)
    assert twice["code"] == "incident_open"
    assert (await asked(desk, f"/{twin}/playbook", none, who="auditor", expect=403))["code"] == "not_permitted"


async def test_who_notices_something_and_who_leads_an_incident_never_wait_for_each_other(desk: Desk) -> None:
    """The chain's lock comes first, the incident's row second, for whoever records and whoever leads."""
    client, app = await desk.stand.client(), desk.stand.app
    made = await asked(desk, "", {"kind": "usage_anomaly", "client_id": str(client)}, expect=201)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    began = datetime.now(UTC) - timedelta(days=4)
    told = {"reference": "https://wiki.example.com/pm/12"}
    for path, body in (("severity", {"severity": "P1"}), ("postmortem", told), ("close", None)):
        began -= timedelta(days=1)
        async with app.db.begin(client_id=client) as tx:
            await open_alert(tx, app, app.system(), reason="usage_unusual", client_id=client, key=path)
            leads = asyncio.create_task(desk.call("POST", f"/v1/incidents/{made['id']}/{path}", "operator", body))
            while desk.sql(waiting) == "0" and not leads.done():
                await asyncio.sleep(0.01)
            await incidents.opened(
                tx, app, app.system(), IncidentKind.USAGE_ANOMALY, client_id=client, source=IncidentSource.USAGE,
                began_at=began,
            )  # fmt: skip
        status, found = await leads
        assert (status, found["began_at"][:16]) == (200, began.isoformat()[:16]), (path, found)


async def test_a_timeline_is_paged_through_records_of_one_moment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pages sees each record once, also where several are of the same time."""
    client = await desk.stand.client()
    one = (await asked(desk, "", {"kind": "drill", "client_id": str(client)}, expect=201))["id"]
    for severity in ("P2", "P1", "P0"):
        await asked(desk, f"/{one}/severity", {"severity": severity})
    path = f"/v1/incidents/{one}/timeline"
    whole = [record["seq"] for record in (await desk.call("GET", path, "operator"))[1]["records"]]
    desk.sql("ALTER TABLE byokeep.audit_record DISABLE TRIGGER USER;"
             f" UPDATE byokeep.audit_record SET at = date_trunc('second', now()) WHERE chain = '{client}'")  # fmt: skip
    seen: list[int] = []
    after: str | None = ""
    while after is not None:
        status, page = await desk.call("GET", f"{path}?limit=2{after and '&after=' + after}", "operator")
        assert status == 200, page
        seen += [record["seq"] for record in page["records"]]
        after = page["next"]
    assert (len(whole), seen[: len(whole)], len(set(seen))) == (5, whole, len(seen))  # behind them the looks themselves
    with monkeypatch.context() as most:
        most.setattr("byokeep.incidents.incidents.MOST_RECORDS", 3)
        status, page = await desk.call("GET", f"{path}?limit=4", "operator")
    assert (status, len(page["records"]), page["next"] is not None) == (200, 3, True), "more than a page was asked for"
    at = "2026-01-31T12:00:00Z"
    for bad in ("yesterday", f"{at}/x/1", f"{at}/{one}/x", f"{at}/{one}"):
        assert (await desk.call("GET", f"{path}?after={bad}", "operator"))[0] == 422


async def leaked(desk: Desk) -> tuple[UUID, str, str]:
    """A client whose administrator key is in the store, its key, and an incident: somebody suspects that it leaked."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    value = f"admin-openrouter-{client.hex}".encode()
    desk.sim.book.keys.put("openrouter", value.decode(), SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{client}/providers/openrouter/admin"
    assert (await desk.call("PUT", path, "operator", raw=value))[0] == 201
    made = await asked(desk, "", {"kind": "suspected_leak", "object_kind": "key", "object": ref}, expect=201)
    return client, ref, made["id"]


async def kill(desk: Desk, client: UUID, who: str | Person = "approver", **scope: str) -> None:
    """Engage the switches of both lanes of a client, or the one that is named."""
    for where in [scope] if scope else [{"lane": "api"}, {"lane": "browser"}]:
        body = {"client_id": str(client), "reason": "suspected_leak", **where}
        assert (await desk.call("POST", "/v1/switches/close", who, body))[0] == 200


async def release(desk: Desk, client: UUID, who: str | Person, **scope: str) -> tuple[int, Any]:
    """Ask for a switch of the client to be released, and approve it."""
    body = {"client_id": str(client), "reason": "incident_over", **scope}
    status, wish = await desk.call("POST", "/v1/switches/open-requests", "operator", body)
    assert status == 201, wish
    return await desk.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", who)


async def reported(
    desk: Desk, ref: str, incident: str, *, complete: bool, since: timedelta = timedelta(hours=73)
) -> None:
    """An exposure report for the incident, as the broker puts it on record."""
    body = {"ref_id": ref, "incident_id": incident}
    status, made = await desk.call("POST", "/v1/exposure", "operator", body)
    assert (status, made["report"]["state"]) == (200, "incomplete"), made
    if complete:
        app, actor = desk.stand.app, replace(desk.stand.app.system(), id=desk.people["operator"].id)
        async with app.db.begin(every_client=True) as tx:
            found = desk.sql(f"SELECT client_id FROM byokeep.incident WHERE id = '{incident}'")
            now = datetime.now(UTC)
            await record(tx, actor, EventName.EXPOSURE_REPORTED, client_id=UUID(found), object_id=UUID(ref),
                         since=now - since, until=now, verification="complete", incident=incident,
                         digest="0" * 64)  # fmt: skip


async def stepped(desk: Desk, incident: str, name: str, *, expect: int = 200, **more: Any) -> dict[str, Any]:
    return await asked(desk, f"/{incident}/step", {"step": name} | more, expect=expect)


async def passed_to_release(desk: Desk, incident: str, ref: str) -> None:
    """Pass what comes between the rotation and the release."""
    await reported(desk, ref, incident, complete=True)
    await asked(desk, f"/{incident}/postmortem", {"reference": "https://wiki.example.com/pm/12"})
    for name in ("report", "ticket", "postmortem"):
        await stepped(desk, incident, name)


@pytest.mark.req("R7.1-4", "R7.1-10")
async def test_a_leaked_key_is_led_from_the_kill_to_the_release(desk: Desk) -> None:
    """Kill, rotation, report, ticket, postmortem, release: in this order alone, each by what stands; the key is dead
    inside at once; whoever engaged the switch or led the playbook does not release it, and nobody before its end."""
    client, ref, one = await leaked(desk)
    job = await desk.stand.job(client, secrets=["openrouter"])
    holds = (await desk.stand.lease(await desk.stand.job(client, secrets=["openrouter"])))["lease_id"]
    assert (await stepped(desk, one, "rotate", expect=409))["code"] == "step_out_of_order"
    assert (await stepped(desk, one, "kill", expect=409))["code"] == "kill_not_engaged"
    assert (await stepped(desk, one, "sell", expect=422))["code"] == "unknown_step"
    second = desk.stand.subject("approver", "second")
    await kill(desk, client)
    assert (await stepped(desk, one, "kill"))["missing"][0] == "rotate"
    for early in ("report", "ticket", "postmortem", "release", "kill"):
        assert (await stepped(desk, one, early, expect=409))["code"] == "step_out_of_order"
    assert (await release(desk, client, second, lane="api"))[1]["code"] == "incident_holds_kill"
    await kill(desk, client, who="operator", platform="x")  # what does not stop everything is not held
    assert (await release(desk, client, second, platform="x"))[0] == 200
    assert (await desk.stand.call("GET", f"/v1/leases/{holds}", "runner"))[0] == 200
    found = await stepped(desk, one, "rotate")
    assert (await desk.ref(ref))["state"] == "suspended"
    assert (await desk.stand.call("GET", f"/v1/leases/{holds}", "runner"))[1]["code"] == "job_not_open"
    assert [one for one in desk.stand.events("key.rotation", "ok") if '"count":2' in one and '"stage":"stop"' in one]
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] in (403, 409)
    early = await stepped(desk, one, "report", expect=409)
    assert (early["code"], f"--key {ref} --incident {one}`" in early["next_step"]) == ("report_missing", True)
    await reported(desk, ref, one, complete=False)
    assert (await stepped(desk, one, "report", expect=409))["code"] == "report_incomplete"
    await reported(desk, ref, one, complete=True, since=timedelta(hours=24))  # of a part of it alone
    assert (await stepped(desk, one, "report", expect=409))["code"] == "report_incomplete"
    await reported(desk, ref, one, complete=True)
    await stepped(desk, one, "report")
    unnamed = await desk.call("POST", f"/v1/procedures/{one}/resume", "operator")
    assert (unnamed[0], unnamed[1]["code"]) == (422, "unknown_step")
    twice = await asyncio.gather(*(desk.call("POST", f"/v1/incidents/{one}/step", "operator",
                                             {"step": "ticket", "ticket": "OPS-1234"}) for _ in range(2)))  # fmt: skip
    assert sorted(status for status, _ in twice) == [200, 409]
    assert (await shown(desk, one))["missing"][0] == "postmortem"
    assert (await stepped(desk, one, "postmortem", expect=409))["code"] == "postmortem_missing"
    await asked(desk, f"/{one}/postmortem", {"reference": "https://wiki.example.com/pm/12"})
    await stepped(desk, one, "postmortem")
    assert (await release(desk, client, second, lane="api"))[1]["code"] == "rotation_not_complete"
    assert (await stepped(desk, one, "release", expect=409))["code"] == "rotation_not_complete"
    await desk.work()
    assert (await desk.put(client, desk.canary("openrouter"), "openrouter"))[0] == 202
    await desk.work()
    assert (await desk.call("GET", f"/v1/rotations/{found['rotation']}", "operator"))[1]["state"] == "complete"
    assert (await stepped(desk, one, "release", expect=409))["code"] == "kill_not_released"
    assert (await asked(desk, f"/{one}/close", expect=409))["code"] == "playbook_not_done"
    await kill(desk, client, who="operator")  # engaged anew by another one: who did first is still known
    assert (await release(desk, client, "approver", lane="api"))[1]["code"] == "same_person"  # who engaged it
    rotator = desk.stand.subject("approver", "rotator")  # who had begun the rotation, and did nothing else
    desk.sql(f"UPDATE byokeep.procedure_run SET started_by = '{rotator.id}' WHERE id = '{found['rotation']}'")
    assert (await release(desk, client, rotator, lane="api"))[1]["code"] == "same_person"
    assert (await release(desk, client, second, lane="api"))[0] == 200
    assert (await stepped(desk, one, "release", expect=409))["code"] == "kill_not_released"
    assert (await release(desk, client, second, lane="browser"))[0] == 200
    done = await stepped(desk, one, "release")
    assert (done["missing"], [step["step"] for step in done["steps"]]) == (
        [], ["kill", "rotate", "report", "ticket", "postmortem", "release"],
    )  # fmt: skip
    assert (await asked(desk, f"/{one}/close"))["state"] == "closed"
    line = await timeline(desk, one)
    assert [said for event, outcome, said in line if (event, outcome) == ("incident.stepped", "ok")] == [
        "kill", "rotate", "report", "ticket", "postmortem", "release",
    ]  # fmt: skip
    refused = [
        said for event, outcome, said in line if event == "incident.stepped" and outcome in ("failed", "rejected")
    ]
    assert len(refused) == 16
    assert desk.not_once_on_record() == []


@pytest.mark.req("R7.1-10")
async def test_a_row_releases_nothing_and_the_gaps_of_a_report_are_accepted_by_name(desk: Desk) -> None:
    """Who can write the run's row does not pass its steps; gaps pass in a person's name, and the record says so."""
    client, ref, one = await leaked(desk)
    await kill(desk, client)
    for name in ("kill", "rotate"):
        await stepped(desk, one, name)
    await reported(desk, ref, one, complete=False)
    forged = "jsonb_build_object('report', 1, 'ticket', 2, 'postmortem', 3)"
    desk.sql(f"UPDATE byokeep.procedure_run SET evidence = evidence || {forged} WHERE id = '{one}'")
    second = desk.stand.subject("approver", "second")
    assert (await release(desk, client, second, lane="api"))[1]["code"] == "incident_holds_kill"
    desk.sql("UPDATE byokeep.procedure_run SET evidence = evidence - '{report,ticket,postmortem}'::text[]")
    await stepped(desk, one, "report", accept_gaps=True)
    said = [json.loads(text)["fields"] for text in desk.stand.events("incident.stepped", "ok")]
    assert [fields["cause"] for fields in said if fields["stage"] == "report"] == ["gaps_accepted"]
    said = [json.loads(text)["fields"] for text in desk.stand.events("incident.changed", "ok")]
    digests = [json.loads(text)["fields"]["digest"] for text in desk.stand.events("exposure.reported", "ok")]
    assert [(fields["stage"], fields["digest"]) for fields in said] == [("report_gaps", digests[-1])]


@pytest.mark.req("R7.1-8")
async def test_the_ticket_is_told_ids_and_codes_and_waits_while_its_sink_is_down(desk: Desk) -> None:
    """The update is queued in the step; pending while nothing can be delivered; then it is sent, without values."""
    client, ref, one = await leaked(desk)
    await kill(desk, client)
    for name in ("kill", "rotate"):
        await stepped(desk, one, name)
    await reported(desk, ref, one, complete=True)
    await stepped(desk, one, "report")
    secret = "sk-" + "a1" * 12
    assert (await stepped(desk, one, "ticket", ticket=secret, expect=422))["code"] == "secret_like_content"
    assert (await stepped(desk, one, "ticket"))["ticket_state"] == "pending"
    assert (await stepped(desk, one, "ticket", ticket=secret, expect=422))["code"] == "secret_like_content"
    assert (await stepped(desk, one, "ticket", ticket="OPS-7"))["ticket"] == "OPS-7"  # known a moment later
    assert (await stepped(desk, one, "ticket", ticket="OPS-8", expect=409))["code"] == "step_out_of_order"
    assert desk.stand.events("incident.changed", "ok")
    told: list[str] = []
    down = {"tickets", "chat"}

    async def send(target: str, _title: str, body: str, _kind: str) -> str:
        told.append(body)
        return "unreachable" if target in down else ""

    worker = desk.worker
    app = NotifyApp(
        db=worker.db, clock=worker.clock, ids=worker.ids, installation_id=worker.installation_id,
        environment=worker.environment, limits=worker.limits, targets=lambda: ["tickets", "chat"], send=send,
    )  # fmt: skip
    assert await deliver(app) == 0
    assert (await shown(desk, one))["ticket_state"] == "pending"
    for left, state in (({"chat"}, "pending"), (set[str](), "sent")):  # of two that are to be told each has to be
        desk.sql("UPDATE byokeep.notification SET next_at = now()")
        down = left
        assert await deliver(app) == 1
        assert (await shown(desk, one))["ticket_state"] == state
    assert ((await shown(desk, one))["ticket_state"], (await shown(desk, one))["ticket"]) == ("sent", "OPS-7")
    (line,) = [text for text in told[-1].splitlines() if text.startswith("incident suspected_leak")]
    assert one in line
    assert "suspected_leak" in line
    assert "exposure report: record " in line
    assert secret not in "".join(told)


@pytest.mark.req("R7.1-9")
async def test_a_lower_severity_takes_a_second_person_and_a_higher_one_does_not(desk: Desk) -> None:
    """A P1 is not closed as a P2 by who would like to: another person approves, on record, or it stays P1."""
    client = await desk.stand.client()
    grave = (await asked(desk, "", {"kind": "runner_compromise", "client_id": str(client)}, expect=201))["id"]
    many = await asyncio.gather(*(asked(desk, f"/{grave}/severity", {"severity": "P2"}) for _ in range(5)))
    asked_ = many[0]
    run = asked_["next_step"].split()[-1].rstrip("`.")
    await desk.work()
    assert {one["next_step"] for one in many} == {asked_["next_step"]}, "one request waits for the same"
    waiting = desk.sql("SELECT count(*) FROM byokeep.approval WHERE action = 'procedure_step' AND used_at IS NULL")
    assert (waiting, len(desk.stand.events("procedure.started", "ok"))) == ("1", 1)
    assert (asked_["severity"], (await shown(desk, grave))["severity"]) == ("P1", "P1")
    assert (await asked(desk, f"/{grave}/close", expect=409))["code"] == "postmortem_missing"
    assert (await desk.call("POST", f"/v1/procedures/{run}/approve", "operator"))[0] == 403
    assert (await desk.call("POST", f"/v1/procedures/{run}/approve", "approver"))[0] == 200
    await desk.work()
    assert (await shown(desk, grave))["severity"] == "P2"
    assert (await asked(desk, f"/{grave}/severity", {"severity": "P0"}))["severity"] == "P0"
    assert (await asked(desk, f"/{grave}/severity", {"severity": "P0"}, expect=409))["code"] == "severity_same"
    assert (await asked(desk, f"/{grave}/severity", {"severity": "P9"}, expect=422))["code"] == "unknown_severity"
    said = [json.loads(text)["fields"] for text in desk.stand.events("incident.changed", "ok")]
    assert [(fields["stage"], fields["severity"]) for fields in said] == [("lower", "p2"), ("severity", "p0")]
    asked_ = await asked(desk, f"/{grave}/severity", {"severity": "P1"})
    run = asked_["next_step"].split()[-1].rstrip("`.")
    desk.sql(
        f"UPDATE byokeep.incident SET severity = 'P2' WHERE id = '{grave}'"
    )  # what was asked of is another thing now
    await desk.work()
    assert (await desk.call("POST", f"/v1/procedures/{run}/approve", "approver"))[0] == 200
    await desk.work()
    assert (await shown(desk, grave))["severity"] == "P2"
    assert (await desk.call("GET", f"/v1/procedures/{run}", "operator"))[1]["reason"] == "approval_changed"


@pytest.mark.req("R7.1-9")
async def test_a_lost_token_is_led_from_the_close_to_the_reopening(desk: Desk) -> None:
    """Closed, logged in to again, compared, a canary, open: each step when the platform is there and not before."""
    account = await connect(desk.stand, await desk.stand.client())
    client = str(account.client)
    about = {"kind": "token_compromised", "object_kind": "account", "object": str(account.id)}
    made = await asked(desk, "", about, expect=201)
    one = made["id"]
    assert (made["playbook"], made["platform"], made["missing"][0]) == ("social_token_lost", "x", "close")
    assert (await stepped(desk, one, "close", expect=409))["code"] == "platform_not_closed"
    lost = {"client_id": client, "platform": "x", "cause": "compromised"}
    assert (await desk.call("POST", "/v1/platforms/close", "operator", lost))[0] == 200
    desk.sql(f"UPDATE byokeep.reenabling SET closed_at = now() - interval '1 hour' WHERE client_id = '{client}'")
    assert (await stepped(desk, one, "close", expect=409))["code"] == "platform_not_closed"  # an earlier loss
    assert (await desk.call("POST", "/v1/platforms/close", "operator", lost))[0] == 200
    await stepped(desk, one, "close")
    for early in ("validate", "canary", "reopen"):
        assert (await stepped(desk, one, early, expect=409))["code"] == "step_out_of_order"

    async def came(*events: Event) -> None:
        for event in events:
            async with desk.stand.app.db.begin(client_id=account.client) as tx:
                await reenabling.step(tx, desk.stand.app, desk.stand.app.system(), account.client, "x", event)

    to_do = {
        "reauth": came(Reauthorised(by_person=True)),
        "validate": came(IdentityChecked(True), ScopesChecked(frozenset())),
        "canary": came(CanaryStarted()),
    }
    for name, happens in to_do.items():
        assert (await stepped(desk, one, name, expect=409))["code"] == "platform_not_so_far"
        await happens
        await stepped(desk, one, name)
    assert (await stepped(desk, one, "reopen", expect=409))["code"] == "platform_not_so_far"
    desk.sql(f"UPDATE byokeep.reenabling SET stage = 'open' WHERE client_id = '{client}'")
    assert (await stepped(desk, one, "reopen"))["missing"] == []
    assert (await asked(desk, f"/{one}/close", expect=409))["code"] == "postmortem_missing"
    assert (await stepped(desk, one, "reopen", expect=409))["code"] == "step_out_of_order"


@pytest.mark.req("R6.3-1")
async def test_a_suspected_leak_opens_one_incident_and_stops_the_key(desk: Desk) -> None:
    """Called compromised, or rotated as leaked: one open incident of the key, P1, and nobody gets it."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client))["ref"]
    body = {"to": "compromised", "reason": "seen_in_chat"}
    for who, status in (("auditor", 403), ("approver", 403), (desk.stand.subject("operator", "o", clients=()), 404)):
        assert (await desk.call("POST", f"/v1/refs/{ref}/state", who, body))[0] == status
        assert (await desk.call("POST", f"/v1/refs/{ref}/rotations", who, {"leaked": True}))[0] == status
    assert await listed(desk) == []
    status, urgent = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {"leaked": True})
    assert status == 201, urgent
    (made,) = await listed(desk)
    assert (made["kind"], made["severity"], made["source"], made["object_id"], made["began_assumed"]) == (
        "suspected_leak", "P1", "person", ref, True,
    )  # fmt: skip
    job = await desk.stand.job(client, secrets=["openai"])
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    assert [one["id"] for one in await listed(desk)] == [made["id"]]
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    await kill(desk, client)
    await stepped(desk, made["id"], "kill")
    assert (await stepped(desk, made["id"], "rotate"))["rotation"] == urgent["id"]
    # A key that was called compromised first is replaced by another one, verified as ever.
    other, value = await desk.stand.client(), desk.canary("openai")
    ref = (await desk.onboard(other, value))["ref"]
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    (made,) = await listed(desk, query=f"?client_id={other}")
    await kill(desk, other)
    await stepped(desk, made["id"], "kill")
    assert (await stepped(desk, made["id"], "rotate", expect=409))["code"] == "key_not_replaced"
    new = (await desk.onboard(other))["ref"]
    ending = (await stepped(desk, made["id"], "rotate"))["rotation"]
    assert ending not in (new, ref)
    await desk.work()  # nobody can revoke it by a call: it is alive, whatever serves in its place
    await passed_to_release(desk, made["id"], ref)
    second = desk.stand.subject("approver", "second")
    assert (await release(desk, other, second, lane="api"))[1]["code"] == "rotation_not_complete"
    assert (await stepped(desk, made["id"], "release", expect=409))["code"] == "rotation_not_complete"
    kept = await desk.call("POST", f"/v1/rotations/{ending}/resume", "operator", {"accept": "stays_alive"})
    assert (kept[0], kept[1]["code"]) == (409, "nothing_to_accept"), "a leaked key stays alive by nobody's word"
    async with desk.stand.app.db.begin(client_id=other) as tx:  # a rotation of the new one leaves that value alone
        asked_of = {"client_id": other, "id": UUID(new), "run": uuid4()}
        assert await tx.all(int, "rotation_versions_of_others", **asked_of) == [1]
    desk.sim.book.keys.put("openai", value.decode(), SimKeyState.REVOKED, None)
    accept = await desk.call("POST", f"/v1/rotations/{ending}/resume", "operator", {"accept": "revoke_by_hand"})
    assert accept[0] == 200, accept
    await desk.work()
    assert (await desk.call("GET", f"/v1/rotations/{ending}", "operator"))[1]["state"] == "complete"
    status, kept = await desk.call("GET", "/v1/inventory", "operator")  # what the playbook destroyed is not missing
    stored = {one["id"]: one["store"] for one in kept["items"]}
    assert (status, stored[ref], stored[new], "missing" in stored.values()) == (200, "destroyed", "present", False)
    assert (await release(desk, other, second, lane="api"))[0] == 200


@pytest.mark.req("R7.1-4")
@pytest.mark.parametrize("asked_of", ["", "the_provider"])
async def test_a_leak_ends_what_jobs_hold_of_a_key_that_was_replaced_or_retired_before(
    desk: Desk, asked_of: str
) -> None:
    """Called compromised in an overlap: the version before ends at once as well, without its hours of grace, and people
    are told once that no call ends it. Called so after it was retired, as its playbook asks: jobs that were given it
    end, and those with the key after it go on."""
    client = await desk.stand.client()
    if asked_of:  # which refuses its administrator's key
        admin = f"/v1/clients/{client}/providers/openai/admin?at=project=proj_1,account=svc_1"
        assert (await desk.call("PUT", admin, "operator", raw=b"admin-key-of-the-client"))[0] == 201
    ref = (await desk.onboard(client))["ref"]
    run = (await desk.put(client, desk.canary(), query="?skip_rehearsal=true"))[1]["rotation"]
    await desk.work()
    assert (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]["missing"][0] == "soak"
    body = {"to": "compromised", "reason": "seen_in_chat"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    (made,) = await listed(desk, query=f"?client_id={client}")
    await kill(desk, client)
    await stepped(desk, made["id"], "kill")
    await stepped(desk, made["id"], "rotate", expect=409)
    await desk.call("POST", f"/v1/rotations/{run}/resume", "operator", {})
    await desk.work()
    found = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
    assert (found["missing"][0], found["reason"]) == ("revoke", "revoke_by_hand")
    told = desk.sql("SELECT count FROM byokeep.alert WHERE reason = 'revocation_refused'")
    if asked_of:  # of both versions: the one that served when it leaked has a run of its own
        failed = [json.loads(one)["fields"] for one in desk.stand.events("key.rotation", "failed")]
        assert (sorted(one["version"] for one in failed), told) == ([1, 2], "2")
        return
    assert told == "1"

    other = await desk.stand.client()
    ref = (await desk.onboard(other))["ref"]
    jobs = [await desk.stand.job(other)]
    await desk.stand.lease(jobs[0])
    retired = {"to": "deactivated", "reason": "by_hand"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", retired))[0] == 200
    await desk.onboard(other)
    jobs.append(await desk.stand.job(other))
    await desk.stand.lease(jobs[1])
    desk.sql(f"UPDATE byokeep.lease SET issued_at = issued_at + interval '10 seconds' WHERE job_id = '{jobs[1]}'")
    made = await asked(desk, "", {"kind": "suspected_leak", "object_kind": "key", "object": ref}, expect=201)
    await kill(desk, other)
    await stepped(desk, made["id"], "kill")
    refused = await stepped(desk, made["id"], "rotate", expect=409)
    assert refused["code"] == "key_not_replaced"
    assert f"byokeep key state {ref} compromised" in refused["next_step"]
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    assert [desk.sql(f"SELECT state FROM byokeep.job WHERE id = '{one}'") for one in jobs] == ["killed", "open"]
    assert json.loads(desk.stand.events("key.state_changed")[-1])["fields"]["count"] == 1


@pytest.mark.req("R7.1-2")
async def test_a_key_is_verified_while_its_client_is_killed_and_nothing_is_written(desk: Desk) -> None:
    """The playbook's switches stop every effect and no verification, a worker's or a runner's; one that asks for a
    write is refused."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client))["ref"]
    desk.stand.account(client)
    lease = await desk.stand.lease(await desk.stand.job(client))
    await kill(desk, client)
    asked_before = desk.stand.events("key.verified", "ok")
    status, begun = await desk.call("POST", f"/v1/refs/{ref}/verify", "operator")
    assert status == 202, begun
    job = desk.sql(f"SELECT id FROM byokeep.job WHERE client_id = '{client}' AND kind = 'custody' AND state = 'open'")
    own = await desk.stand.lease(UUID(job), "custodian")
    for lane in ("api", "browser"):
        assert (await desk.stand.permit(own["lease_id"], who="custodian", lane=lane))[0] == 403
        assert (await desk.stand.permit(lease["lease_id"], lane=lane))[1]["code"] == "switch_closed"
    reads = await desk.stand.job(client, platforms=[], lanes=[], effects=[])
    async with desk.stand.keep() as keep, keep.attach(reads) as held:
        assert (await held.secret("openai")).reveal() == desk.canaries[-1].value
        assert (await desk.stand.permit(held.lease.id))[0] == 403
    await desk.work()
    assert len(desk.stand.events("key.verified", "ok")) == len(asked_before) + 1
    assert (await desk.ref(ref))["verification"] == "verified"
    assert desk.sql(f"SELECT count(*) FROM byokeep.permit WHERE client_id = '{client}'") == "0"


@pytest.mark.req("R7.1-4")
@pytest.mark.parametrize("after", ["rotate", "create"])
async def test_a_key_that_is_called_compromised_in_its_emergency_rotation_is_still_led_to_its_end(
    desk: Desk, after: str
) -> None:
    """Its reference is over, so that no new value comes to it: the run goes on to the proof, and the kill is released;
    a value that waited there is ended as well."""
    client, ref, one = await leaked(desk)
    await kill(desk, client)
    await stepped(desk, one, "kill")
    run = (await stepped(desk, one, "rotate"))["rotation"]
    await desk.work()
    if after == "create":
        assert (await desk.put(client, desk.canary("openrouter"), "openrouter"))[0] == 202
    body = {"to": "compromised", "reason": "seen_in_chat"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200
    await desk.work()
    await desk.onboard(client, provider="openrouter")
    await passed_to_release(desk, one, ref)
    second = desk.stand.subject("approver", "second")
    waits = await stepped(desk, one, "release", expect=409)
    assert waits["code"] == ("kill_not_released" if after == "create" else "rotation_not_complete")
    await desk.work()
    found = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
    assert (found["state"], found["missing"]) == ("complete", [])
    for lane in ("api", "browser"):
        assert (await release(desk, client, second, lane=lane))[0] == 200
    assert (await stepped(desk, one, "release"))["missing"] == []
    left = desk.sql(f"SELECT count(*) FROM byokeep.procedure_run WHERE procedure = 'end_unused_key' AND"
                    f" client_id = '{client}'")  # fmt: skip
    assert int(left) == (after == "create")


@pytest.mark.parametrize("gone", [False, True])
async def test_a_key_that_was_retired_before_it_leaked_is_led_to_its_end(desk: Desk, gone: bool) -> None:
    """The rotation of the key after it leaves its value alone, by which a call proves that it is dead. Where the store
    has lost that, a person accepts it by name, and the kill is released all the same."""
    client, ref, one = await leaked(desk)
    place, retired = SecretRef(ClientId(client), Provider.OPENROUTER), {"to": "deactivated", "reason": "by_hand"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", retired))[0] == 200
    await desk.onboard(client, provider="openrouter")
    query = "?skip_rehearsal=true&old_ends=now"
    again = (await desk.put(client, desk.canary("openrouter"), "openrouter", query=query))[1]["rotation"]
    await desk.work()
    assert (await desk.call("GET", f"/v1/rotations/{again}", "operator"))[1]["state"] == "complete"
    assert await desk.web.intake.live_versions(place) == [1, 3]
    if gone:
        at = desk.worker.custodian
        async with in_custody(desk.worker, at.open, at.close, place.client_id, "openrouter") as custody:
            await custody.destroy(place, [1])
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", retired | {"to": "compromised"}))[0] == 200
    await kill(desk, client)
    await stepped(desk, one, "kill")
    run = (await stepped(desk, one, "rotate"))["rotation"]
    await desk.work()
    if gone:
        found = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
        assert (found["state"], found["reason"], found["waits_for"]) == ("waiting", "old_value_gone", "person")
        accept = {"accept": "old_value_gone"}
        assert f"--accept {accept['accept']}" in found["next_step"]
        assert "old_key_not_proved" in desk.stand.alerts()
        assert (await desk.call("POST", f"/v1/rotations/{run}/resume", "operator", accept))[0] == 200
        await desk.work()
    found = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
    assert (found["state"], found["ended"]) == ("complete", "old_value_gone" if gone else "dead")
    assert await desk.web.intake.live_versions(place) == [3]
    stored = {item["id"]: item["store"] for item in (await desk.call("GET", "/v1/inventory", "operator"))[1]["items"]}
    assert stored[ref] == ("missing" if gone else "destroyed")
    await passed_to_release(desk, one, ref)
    second = desk.stand.subject("approver", "second")
    for lane in ("api", "browser"):
        assert (await release(desk, client, second, lane=lane))[0] == 200
    assert (await stepped(desk, one, "release"))["missing"] == []


async def test_an_unusual_hour_opens_an_incident_of_its_client_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients' hours are unusual, and one cannot be told of: the other's incident is there, with its evidence; what
    one client had enough of for a day opens none more, and takes nothing from another."""
    loud, quiet = await desk.stand.client("openai"), await desk.stand.client("openai")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    refs = {client: UUID(desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'"))
            for client in (loud, quiet)}  # fmt: skip

    def hours(measure: str, *clients: UUID) -> None:
        rows = [usage.ComparedUsage(client_id=one, provider="openai", ref_id=refs.get(one), hour=hour, measure=measure,
                                    number=200, days=28, median=20.0, deviation=1.0) for one in clients]  # fmt: skip

        async def compared(*_: Any) -> list[usage.ComparedUsage]:
            return rows

        monkeypatch.setattr(usage, "_compared", compared)

    hours("leases", uuid4(), quiet)  # nobody's: there is no such client
    with pytest.raises(ByokeepError):
        await usage.watch_usage(desk.worker)
    (made,) = await listed(desk)
    assert (made["client_id"], made["kind"], made["severity"], made["source"], made["object_id"], made["playbook"]) == (
        str(quiet), "usage_anomaly", "P2", "usage", str(refs[quiet]), "provider_key_leaked",
    )  # fmt: skip
    assert datetime.fromisoformat(made["began_at"]) == hour
    assert (await asked(desk, f"/{made['id']}/close"))["state"] == "closed"
    desk.sql("INSERT INTO byokeep.incident (id, client_id, kind, severity, source, dedup_key, noticed_at, began_at,"
             f" began_assumed, opened_by) SELECT gen_random_uuid(), '{loud}', 'lockout', 'P2', 'platform',"
             f" 'lockout/' || n, now(), now(), false, '{loud}' FROM generate_series(1, {MOST_A_DAY}) AS n")  # fmt: skip
    hours("permits", loud, quiet)
    assert await usage.watch_usage(desk.worker) == 2
    opened = [one["client_id"] for one in await listed(desk, query="?state=open") if one["kind"] == "usage_anomaly"]
    assert opened == [str(quiet)]
    assert desk.stand.alerts().count("incidents_limited") == 1


async def test_a_lost_platform_opens_an_incident(desk: Desk) -> None:
    """A lockout as the platform says it and a compromise as a person does; a second word about the same opens none."""
    client = await desk.stand.client()
    account = await connect(desk.stand, client)
    for cause in (RecoveryCause.LOCKOUT, RecoveryCause.LOCKOUT, RecoveryCause.MISSING_SCOPE):
        async with desk.stand.app.db.begin(client_id=client) as tx:
            await reenabling.lose(
                tx, desk.stand.app, desk.stand.app.system(), client, "x", cause, account_id=account.id
            )
    (made,) = await listed(desk)
    assert (made["kind"], made["source"], made["object_id"], made["platform"], made["playbook"]) == (
        "lockout", "platform", str(account.id), "x", "social_token_lost",
    )  # fmt: skip
    lost = {"client_id": str(client), "platform": "x", "cause": "compromised"}
    assert (await desk.call("POST", "/v1/platforms/close", "operator", lost))[0] == 200
    assert [(one["kind"], one["source"]) for one in await listed(desk)] == [
        ("token_compromised", "person"), ("lockout", "platform"),
    ]  # fmt: skip


async def test_the_commands_take_names_and_say_what_is_next(desk: Desk, tmp_path: Path) -> None:
    """From the key's name to the timeline: each command says what is next."""
    client = await desk.stand.client()
    await desk.onboard(client)
    name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")
    server = Server(desk.api, address="127.0.0.1", port=(port := free_port()), interface=Interfaces.ASGI,
                    log_enabled=False)  # fmt: skip
    task = asyncio.create_task(server.serve())
    await listening(port)
    token = tmp_path / "operator.token"
    token.touch(mode=0o600)
    token.write_text(desk.people["operator"].token)
    document = tmp_path / "postmortem.md"
    document.write_bytes(b"what happened")

    async def run(*words: str, code: int = 0) -> str:
        ran = await Shell(tmp_path).run(*words, "--url", f"http://127.0.0.1:{port}", token=token)
        assert ran.code == code, ran.err
        return " ".join((ran.out + ran.err).split())

    try:
        said = await run("key", "state", f"{name}/openai", "compromised", "--reason", "seen_in_chat")
        (made,) = await listed(desk)
        assert f"byokeep incident step {made['id']} kill" in said
        assert f"byokeep incident step {made['id']} release" in said
        assert "incident show" in await run("incident", "list", "--client", name)
        where = f"{name}/suspected_leak"
        assert "assumed: unknown" in await run("incident", "show", where)
        assert "step_out_of_order" in await run("incident", "step", where, "ticket", code=6)
        assert "rotate" in await run("incident", "step", where)
        assert "done kill" in (await run("incident", "show", where)).lower()
        await run("incident", "postmortem", where, "--file", str(document))
        assert (await listed(desk))[0]["postmortem_sha256"] == sha256(b"what happened").hexdigest()
        assert "incident.stepped kill" in await run("incident", "timeline", where)
        assert "byokeep procedure approve" in await run("incident", "severity", where, "P3")
    finally:
        server.stop()
        await task
