"""Incidents: opened by people and by what was noticed, looked at, led through their playbook, closed with evidence."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker import Person
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def asked(
    desk: Desk, path: str, body: Any = None, who: str | Person = "operator", *, expect: int = 200
) -> dict[str, Any]:
    """A call about incidents, and its reply."""
    status, found = await desk.call("POST", f"/v1/incidents{path}", who, body)
    assert status == expect, found
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
    assert [one["severity"] for one in await listed(desk)] == ["P1", "P2"]
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
    ):
        assert (await desk.call("POST", "/v1/incidents", narrow, body))[0] == status, body
    for one in (made["id"], everybodys["id"]):
        for method, path in (("GET", ""), ("GET", "/timeline"), ("POST", "/close")):
            assert (await desk.call(method, f"/v1/incidents/{one}{path}", narrow))[0] == 404
    assert await listed(desk, narrow) == []
    assert (await desk.call("POST", "/v1/incidents", "auditor", {"kind": "drill"}))[0] == 403
    found = await desk.call("POST", "/v1/names/find", "operator", {"kinds": ["incident"], "name": "everybody/drill"})
    assert [one["id"] for one in found[1]["found"]] == [everybodys["id"]]
    assert desk.not_once_on_record() == []


async def test_a_p1_is_closed_with_its_postmortem_and_a_p2_without(desk: Desk) -> None:
    """What a postmortem says stays where it is: its digest and address are kept; a secret in its place is refused."""
    client = await desk.stand.client()
    grave = await asked(desk, "", {"kind": "other", "client_id": str(client), "severity": "P1"}, expect=201)
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
    small = await asked(desk, "", {"kind": "other", "client_id": str(client)}, expect=201)
    assert (await asked(desk, f"/{small['id']}/close"))["state"] == "closed"
    assert await listed(desk, query="?state=open") == []
    assert await timeline(desk, grave["id"]) == [
        ("incident.opened", "ok", "since_assumed"), ("alert.raised", "ok", "incident_opened"),
        ("incident.closed", "failed", "postmortem_missing"), ("incident.changed", "rejected", "postmortem_missing"),
        ("incident.changed", "rejected", "secret_like_content"), ("incident.changed", "rejected", "bad_reference"),
        ("incident.changed", "ok", "postmortem"), ("incident.closed", "ok", ""),
        ("incident.closed", "failed", "incident_closed"),
    ]  # fmt: skip
