"""Usage of credentials: what runners tell of their calls, what is unknown, and which hours are unusual."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from byokeep.client import calls as told_calls
from byokeep.core.errors import Rejected
from byokeep.keys.usage import watch_usage
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def used(desk: Desk, client: UUID, who: Any = "operator", query: str = "") -> Any:
    ref = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}' AND provider = 'openai'")
    status, reply = await desk.call("GET", f"/v1/refs/{ref}/used{query}", who)
    assert status == 200, reply
    return reply


async def usage(desk: Desk, query: str = "", who: Any = "operator") -> Any:
    status, reply = await desk.call("GET", f"/v1/usage{query}", who)
    assert status == 200, reply
    return reply


def seen(desk: Desk, hours: int, *, but: str = "false") -> None:
    """A checkpoint in each of the last hours, but some: the installation is known to have run."""
    desk.sql(
        "INSERT INTO byokeep.audit_epoch (number, at, leaf, heads)"
        " SELECT 1000000 + n, date_trunc('hour', now()) - n * interval '1 hour' + interval '1 minute', '', ''"
        f" FROM generate_series(0, {hours - 1}) AS n WHERE NOT ({but})"
    )
    desk.sql("UPDATE byokeep.installation SET created_at = now() - interval '90 days'")


async def test_calls_that_a_runner_tells_are_the_keys_usage(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lease, permit and each call stand there with job, tool and outcome; totals are the records'; nothing is a gap."""
    monkeypatch.setattr(told_calls, "SAY_EVERY_S", 0.05)
    stand = desk.stand
    client = await stand.client("openai")
    seen(desk, 26)
    job_id = await stand.job(client)
    async with stand.keep() as keep, keep.attach(job_id) as job:
        await job.secret("openai")
        job.called("openai", "responses.create", 200, args="the same")
        job.called("openai", "responses.create", 429, args=b"the same")
        job.called("openai", "files.list", "failed")
        for bad in ({"tool": "Files List"}, {"tool": "sk_" + "a1" * 12}, {"outcome": "fine"}):
            with pytest.raises(Rejected):
                job.called(**{"secret": "openai", "tool": "x", "outcome": 200} | bad)  # type: ignore[arg-type]
    found = await used(desk, client)
    seen_as = [(one["what"], one["tool"], one["outcome"], one["reads"]) for one in found["uses"]]
    assert sorted(seen_as, key=str) == [
        ("call", "files.list", "failed", None), ("call", "responses.create", "limited", None),
        ("call", "responses.create", "ok", None), ("lease", "", "ok", 1),
    ]  # fmt: skip
    assert {one["job_id"] for one in found["uses"]} == {str(job_id)}
    assert {one["actor_name"] for one in found["uses"]} == {
        desk.sql("SELECT name FROM byokeep.subject WHERE roles = '{runner}' ORDER BY created_at LIMIT 1")
    }
    same = {one["args_digest"] for one in found["uses"] if one["tool"] == "responses.create"}
    assert len(same) == 1
    assert "the same" not in json.dumps(found)
    assert found["gaps"] == []
    assert [json.loads(row)["fields"]["count"] for row in desk.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE event = 'lease.calls_told'"
    ).splitlines()] == [3]  # fmt: skip
    [hour] = (await usage(desk, f"?client_id={client}"))["hours"]
    counted = {name: hour[name] for name in ("leases", "permits", "calls", "calls_failed", "untold")}
    leases = int(
        desk.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE chain = '{client}' AND event = 'lease.issued'")
    )
    assert counted == {"leases": leases, "permits": 0, "calls": 3, "calls_failed": 2, "untold": 0}
    one = await used(desk, client, query="?limit=2")
    rest = await used(desk, client, query=f"?limit=2&until={one['next']}")
    assert (one["left"], rest["left"], rest["next"]) == (2, 0, None)
    assert len({each["id"] for each in one["uses"] + rest["uses"]}) == 4


@pytest.mark.req("S-NIST-14")
async def test_everybody_who_had_to_do_with_a_key_is_in_one_list(desk: Desk) -> None:
    """Who stored it, each who got leave to read it and for which job, who ended it; nobody of another key."""
    stand = desk.stand
    client = await stand.client()
    ref = (await desk.onboard(client))["ref"]
    await desk.onboard(client, provider="anthropic")
    job_id, other = await stand.job(client), await stand.job(client, secrets=["anthropic"])
    async with stand.keep() as keep:
        for job, name in ((job_id, "openai"), (other, "anthropic")):
            async with keep.attach(job) as held:
                await held.secret(name)
    ended = {"to": "deactivated", "reason": "not_used"}
    assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", ended))[0] == 200
    status, page = await desk.call("GET", f"/v1/audit?client_id={client}&key={ref}&limit=500", "auditor")
    assert (status, page["next"]) == (200, None), page
    people = {who: str(person.id) for who, person in desk.people.items()}
    told = {(one["event"], one["actor"]) for one in page["records"]}
    assert ("key.write", people["operator"]) in told
    assert ("key.state_changed", people["operator"]) in told
    assert {who for event, who in told if event == "lease.issued"} == {people["runner"], people["custodian"]}
    leases = [one["fields"] for one in page["records"] if one["event"] == "lease.issued"]
    assert {one["secrets"] for one in leases} == {"openai"}
    assert str(job_id) in {one["job"] for one in leases}
    assert {one["object"] for one in page["records"] if one["event"] != "lease.issued"} == {ref}


async def test_a_clients_calls_are_told_by_the_client_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes the calls says nothing: they stand in the key's usage, without what was sent."""
    monkeypatch.setattr(told_calls, "SAY_EVERY_S", 0.05)
    client = await desk.stand.client("openai")
    seen(desk, 26)
    answers = httpx2.MockTransport(lambda request: httpx2.Response(int(request.url.params["status"])))
    async with desk.stand.keep() as keep, keep.attach(await desk.stand.job(client)) as job:
        await job.secret("openai")
        transport: Any = job.transport("openai", answers)
        async with httpx2.AsyncClient(transport=transport, base_url="https://provider.example") as http:
            for status in (200, 429):
                await http.post("/v1/chat/completions", params={"status": status, "q": "canary"}, json={"q": "canary"})
    found = await used(desk, client)
    calls = sorted((one["tool"], one["outcome"]) for one in found["uses"] if one["what"] == "call")
    assert calls == [("post.chat.completions", "limited"), ("post.chat.completions", "ok")]
    assert "canary" not in json.dumps(found)


async def test_what_nobody_told_of_is_unknown_and_not_zero(desk: Desk) -> None:
    """A job that tells nothing, lost calls, an hour without a sign of life: named, and no number stands there."""
    stand = desk.stand
    client = await stand.client("openai")
    seen(desk, 26)
    lease = await stand.lease(await stand.job(client))
    found = await used(desk, client)
    assert [(one["why"], one["lease_id"]) for one in found["gaps"]] == [("job_open", lease["lease_id"])]
    [hour] = (await usage(desk, f"?client_id={client}"))["hours"]
    assert (hour["leases"], hour["calls"], hour["calls_failed"], hour["untold"]) == (1, None, None, 1)
    call = {"id": str(uuid4()), "secret": "openai", "tool": "a.b", "outcome": "ok", "age_ms": 5}
    path = f"/v1/leases/{lease['lease_id']}/calls"
    for _ in range(2):  # told again after a lost reply
        assert (await stand.call("POST", path, "runner", {"calls": [call], "total": 2}))[0] == 200
    assert [one["why"] for one in (await used(desk, client))["gaps"]] == ["calls_missing"]
    [hour] = (await usage(desk, f"?client_id={client}"))["hours"]
    assert (hour["calls"], hour["untold"]) == (1, 1)
    late = call | {"id": str(uuid4())}  # what was missing when the number was said stays in doubt
    assert (await stand.call("POST", path, "runner", {"calls": [late], "total": 2}))[0] == 200
    assert [one["why"] for one in (await used(desk, client))["gaps"]] == ["calls_missing"]
    since = (datetime.now(UTC) - timedelta(hours=40)).isoformat().replace("+", "%2B")
    gaps = (await used(desk, client, query=f"?since={since}"))["gaps"]
    assert [one["why"] for one in gaps] == ["calls_missing", "not_running"]
    # Who may tell, and of what.
    other = await stand.lease(await stand.job(await stand.client("openai")))
    stranger = stand.subject("runner", "stranger")
    assert (await stand.call("POST", path, stranger, {"calls": [], "total": 0}))[0] == 404
    for bad in ({"tool": "AKIA" + "Q7" * 10}, {"tool": "Not a word"}, {"outcome": "great"}, {"args": "plain"}):
        body = {"calls": [call | {"id": str(uuid4())} | bad], "total": None}
        status = (await stand.call("POST", f"/v1/leases/{other['lease_id']}/calls", "runner", body))[0]
        assert status == 422, bad
    undeclared = call | {"id": str(uuid4()), "secret": "anthropic"}
    await stand.call("POST", path, "runner", {"calls": [undeclared], "total": None})
    assert desk.sql(f"SELECT count(*) FROM byokeep.tool_call WHERE client_id = '{client}'") == "2"


@pytest.mark.req("R11.2-1")
async def test_a_month_of_usage_adds_up_and_a_missing_day_is_a_gap(desk: Desk) -> None:
    """Sums of a seeded month are the rows'; a day without a sign of life is a gap; only one's own clients are seen."""
    stand = desk.stand
    client, other = await stand.client("openai"), await stand.client("openai")
    seen(desk, 24 * 31, but="n BETWEEN 240 AND 263")
    history(desk, client, await stand.job(client), days=29, each=3, skip=10)
    month = (datetime.now(UTC) - timedelta(days=30) + timedelta(hours=1)).isoformat().replace("+", "%2B")
    found = await usage(desk, f"?client_id={client}&since={month}")
    counted = desk.sql(f"SELECT count(*) FROM byokeep.lease WHERE client_id = '{client}' AND kind = 'use'")
    assert sum(one["leases"] for one in found["hours"]) == int(counted) > 50
    days = [gap for gap in found["gaps"] if gap["why"] == "not_running"]
    assert len(days) == 1
    assert datetime.fromisoformat(days[0]["until"]) - datetime.fromisoformat(days[0]["since"]) == timedelta(hours=24)
    assert "not_kept" not in {gap["why"] for gap in found["gaps"]}
    long = (datetime.now(UTC) - timedelta(days=40)).isoformat().replace("+", "%2B")  # of before calls are kept
    assert "not_kept" in {gap["why"] for gap in (await usage(desk, f"?client_id={client}&since={long}"))["gaps"]}
    narrow = stand.subject("operator", "narrow", clients=(other,))
    mine = await usage(desk, f"?since={month}", narrow)
    assert {one["client_id"] for one in mine["hours"] + mine["compared"]} <= {str(other)}
    assert (await desk.call("GET", f"/v1/usage?client_id={client}", narrow))[0] == 404
    for who, status in (("approver", 403), ("admin", 403), ("runner", 401)):
        assert (await desk.call("GET", "/v1/usage", who))[0] == status
    for query in ("?since=yesterday", "?provider=nobody", "?since=2020-01-01T00:00:00Z", "?client_id=x"):
        assert (await desk.call("GET", "/v1/usage" + query, "operator"))[0] == 422, query


def history(
    desk: Desk, client: UUID, job: UUID, *, days: int, each: int, skip: int = 0, now: int = 0, earlier: int = 0
) -> None:
    """Leases in the last whole hour's hour of each day before, and ``now`` in that hour itself; some hours earlier."""
    runner = desk.people["runner"].id
    desk.sql(
        "INSERT INTO byokeep.lease (id, client_id, job_id, runner_id, kind, secrets, jwt_iat, jwt_exp, issued_at,"
        f" expires_at) SELECT gen_random_uuid(), '{client}', '{job}', '{runner}', 'use', '{{openai}}', 1, 2, at, at"
        f" FROM (SELECT date_trunc('hour', now()) - interval '{earlier} hours 50 minutes' - n * interval '1 day'"
        f" + k * interval '1 second' AS at FROM generate_series(0, {days}) AS n,"
        f" generate_series(1, greatest({each}, {now})) AS k"
        f" WHERE n <> {skip or -1} AND k <= CASE n WHEN 0 THEN {now} ELSE {each} + n % 2 END) AS times"
    )


@pytest.mark.parametrize(
    ("days", "known", "before", "now", "verdict"),
    [
        (28, 28, 30, 300, "unusual"), (28, 28, 30, 50, "usual"), (28, 28, 1, 9, "usual"), (5, 28, 30, 200, "unknown"),
        (28, 5, 30, 200, "unknown"),  # days of which nobody knows are no zeros
    ],
)  # fmt: skip
async def test_an_hour_is_held_against_the_same_hour_of_the_days_before(
    desk: Desk, days: int, known: int, before: int, now: int, verdict: str
) -> None:
    """Far above the usual raises one alert, told once, and an incident; a little more, and too few days to compare
    with, raise none. What is usual for another client says nothing."""
    client, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    job = await desk.stand.job(client)
    seen(desk, 24 * known + 2)
    history(desk, client, job, days=days, each=before, now=now)
    history(desk, other, await desk.stand.job(other), days=28, each=250)
    [found] = (await usage(desk, f"?client_id={client}"))["compared"]
    assert (found["measure"], found["number"], found["days"], found["verdict"]) == (
        "leases",
        now,
        min(days, known),
        verdict,
    )
    raised = ["usage_unusual"] if verdict == "unusual" else []
    for _ in range(2):
        assert await watch_usage(desk.worker) == len(raised) * (not _)
    rows = desk.sql(
        "SELECT reason || ' ' || count || ' ' || client_id FROM byokeep.alert WHERE reason = 'usage_unusual'"
    )
    assert rows == "".join(f"{reason} 1 {client}" for reason in raised)
    opened = desk.sql(
        "SELECT kind, client_id, began_at = date_trunc('hour', now()) - interval '1 hour' FROM byokeep.incident"
    )
    assert opened == "".join(f"usage_anomaly|{client}|t" for _ in raised)
    if raised:
        desk.sql("UPDATE byokeep.alert SET closed_at = now() WHERE reason = 'usage_unusual'")
        assert await watch_usage(desk.worker) == 0


async def used_at_another_hour(desk: Desk) -> tuple[UUID, UUID]:
    """A client whose key was used for weeks, each day nine hours earlier; returns it and its job."""
    client = await desk.stand.client("openai")
    job = await desk.stand.job(client)
    seen(desk, 24 * 28 + 2)
    history(desk, client, job, days=27, each=30, earlier=9)
    return client, job


async def test_use_at_an_hour_at_which_there_was_none_on_any_day_is_unusual(desk: Desk) -> None:
    """A key that was used each day at another hour alone: the days count, with nothing at this hour."""
    client, job = await used_at_another_hour(desk)
    history(desk, client, job, days=0, each=0, now=200)
    [found] = (await usage(desk, f"?client_id={client}"))["compared"]
    assert (found["number"], found["days"], found["median"], found["verdict"]) == (200, 27, 0, "unusual")
    assert await watch_usage(desk.worker) == 1
    opened = desk.sql("SELECT kind, client_id FROM byokeep.incident")
    assert opened == f"usage_anomaly|{client}"


async def test_a_job_that_moved_to_another_hour_is_soon_usual_there(desk: Desk) -> None:
    """Once there was use at this hour only the days since then count, and not those of the hour before the move."""
    client, job = await used_at_another_hour(desk)
    history(desk, client, job, days=8, each=30, now=30)
    [found] = (await usage(desk, f"?client_id={client}"))["compared"]
    assert (found["number"], found["days"], found["verdict"]) == (30, 8, "usual")


async def test_old_calls_go_and_are_said_to_be_gone(desk: Desk) -> None:
    """After 35 days a call is forgotten; no younger one goes; the time before is a gap."""
    client = await desk.stand.client("openai")
    seen(desk, 24)
    lease = (await desk.stand.lease(await desk.stand.job(client)))["lease_id"]
    calls = [{"id": str(uuid4()), "secret": "openai", "tool": "a.b", "outcome": "ok", "age_ms": 0} for _ in range(2)]
    assert (await desk.stand.call("POST", f"/v1/leases/{lease}/calls", "runner", {"calls": calls, "total": 2}))[
        0
    ] == 200
    old = calls[0]["id"]
    desk.sql(f"UPDATE byokeep.tool_call SET told_at = now() - interval '36 days' WHERE id = '{old}'")
    async with desk.worker.db.begin(every_client=True) as tx:
        assert await tx.one(int, "calls_forget") == 1
    assert desk.sql(f"SELECT id FROM byokeep.tool_call WHERE client_id = '{client}'") == calls[1]["id"]
    since = (datetime.now(UTC) - timedelta(days=40)).isoformat().replace("+", "%2B")
    assert "not_kept" in {one["why"] for one in (await usage(desk, f"?client_id={client}&since={since}"))["gaps"]}
