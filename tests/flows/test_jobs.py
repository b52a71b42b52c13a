"""Jobs: who opens them for whom, what they may declare, how they end."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from byokeep.core.model import ClientId, LeaseKind
from byokeep.jobs.jobs import JobSpec, expire, open_job
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def test_a_job_is_opened_read_and_closed_once(stand: Stand) -> None:
    """A dispatcher opens a job, its runner reads it, closing twice is one ending, and each step is recorded."""
    client = await stand.client("openai")
    job = await stand.job(client)
    status, seen = await stand.call("GET", f"/v1/jobs/{job}", "runner")
    assert (status, seen["state"], seen["secrets"], seen["effects"]) == (200, "open", ["openai"], ["publish"])
    assert [(await stand.call("POST", f"/v1/jobs/{job}/close", "runner"))[0] for _ in range(2)] == [200, 200]
    assert (await stand.call("GET", f"/v1/jobs/{job}", "dispatcher"))[1]["state"] == "closed"
    assert len(stand.events("job.opened", "ok")) == len(stand.events("job.closed", "ok")) == 1


async def test_jobs_are_listed_to_whom_they_concern(stand: Stand) -> None:
    """An operator sees a client's jobs, newest first; a runner its own; others nothing, nor any of another client."""
    client, other = await stand.client("openai"), await stand.client("openai")
    second = stand.subject("runner", "second")
    jobs = [await stand.job(client), await stand.job(client, runner_id=str(second.id))]
    await stand.job(other)
    await stand.call("POST", f"/v1/jobs/{jobs[0]}/close", "dispatcher")

    async def seen(who: Any, of: Any = client) -> Any:
        status, reply = await stand.call("GET", f"/v1/clients/{of}/jobs", who)
        use = [one for one in reply.get("jobs", []) if one["kind"] == "use"]
        return [(one["id"], one["state"]) for one in use] if status == 200 else (status, reply["code"])

    both = [(str(jobs[1]), "open"), (str(jobs[0]), "closed")]
    assert await seen("operator") == await seen("auditor") == await seen("dispatcher") == both
    assert await seen(second) == both[:1]
    assert await seen("admin") == (403, "not_permitted")
    assert await seen(stand.subject("operator", "narrow", clients=(other,))) == (404, "not_found")
    assert await seen("operator", uuid4()) == (404, "not_found")


async def test_our_own_custody_crowds_no_job_out(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is as long for each kind."""
    client = await stand.client("openai")
    older, newer = await stand.job(client), await stand.job(client)
    custody = "kind = 'custody', effects = '{}', platforms = '{}', lanes = '{}'"
    stand.db.sql(f"UPDATE byokeep.job SET {custody} WHERE id = '{newer}'")
    monkeypatch.setattr("byokeep.jobs.jobs.MAX_JOBS", 1)
    found = (await stand.call("GET", f"/v1/clients/{client}/jobs", "operator"))[1]["jobs"]
    assert [(one["id"], one["kind"]) for one in found] == [(str(newer), "custody"), (str(older), "use")]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"secrets": ["aws"]}, "unknown_name"),
        ({"secrets": ["OpenAI"]}, "unknown_name"),
        ({"secrets": ["openai", "openai"]}, "repeated_name"),
        ({"platforms": ["myspace"]}, "unknown_name"),
        ({"lanes": ["fax"]}, "unknown_name"),
        ({"effects": ["everything"]}, "unknown_name"),
        ({"secrets": [], "effects": []}, "nothing_declared"),
        ({"kind": "custody"}, "custody_has_no_effects"),
        ({"kind": "both"}, "bad_request"),
        ({"ttl_s": 0}, "bad_ttl"),
        ({"ttl_s": 86_401}, "bad_ttl"),
        ({"ttl_s": True}, "bad_request"),
        ({"runner_id": str(uuid4())}, "unknown_runner"),
        ({"client_id": "{0}"}, "bad_request"),
        ({"tenant": "x"}, "bad_request"),
    ],
)
async def test_what_could_not_be_meant_is_rejected(stand: Stand, spec: dict[str, Any], code: str) -> None:
    """A job with a name, number or combination that is not published is refused and not stored."""
    client = await stand.client()
    body = {
        "client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"],
        "platforms": ["x"], "lanes": ["api"], "effects": ["publish"],
    }  # fmt: skip
    status, reply = await stand.call("POST", "/v1/jobs", "dispatcher", body | spec)
    assert (status, reply["code"]) == (422, code)
    assert stand.db.sql("SELECT count(*) FROM byokeep.job WHERE reason <> 'enroll'") == "0"


async def test_only_a_dispatcher_of_the_client_opens_jobs(stand: Stand) -> None:
    """Other roles are denied; a dispatcher of another client is told the client does not exist."""
    client, other = await stand.client(), await stand.client()
    body = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
    for role in ("admin", "operator", "approver", "auditor", "runner", "custodian"):
        status, reply = await stand.call("POST", "/v1/jobs", role, body)
        assert (status, reply["code"]) == (403, "not_permitted")
    stranger = stand.subject("dispatcher", clients=(other,))
    assert (await stand.call("POST", "/v1/jobs", stranger, body))[0] == 404
    assert (await stand.call("POST", "/v1/jobs", stranger, body | {"client_id": str(uuid4())}))[0] == 404
    assert (await stand.call("POST", "/v1/jobs", stranger, body | {"client_id": str(other)}))[0] == 201
    runner = stand.subject("runner", clients=(other,))
    status, reply = await stand.call("POST", "/v1/jobs", "dispatcher", body | {"runner_id": str(runner.id)})
    assert (status, reply["code"]) == (422, "unknown_runner")


async def test_a_client_that_is_not_active_gets_no_job(stand: Stand) -> None:
    """Suspended and closed clients get no job; another machine does not see a job that is not its own."""
    client = await stand.client()
    job = await stand.job(client)
    other = stand.subject("runner")
    assert (await stand.call("GET", f"/v1/jobs/{job}", other))[0] == 404
    assert (await stand.call("POST", f"/v1/jobs/{job}/close", other))[0] == 404
    for state in ("suspended", "closed", "enrolling"):
        stand.db.sql(f"UPDATE byokeep.client SET state = '{state}' WHERE id = '{client}'")
        body = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
        status, reply = await stand.call("POST", "/v1/jobs", "dispatcher", body)
        assert (status, reply["code"]) == (409, "client_not_active")


async def test_the_system_opens_custody_jobs_in_its_own_transaction(stand: Stand) -> None:
    """A flow opens a verification job with its other rows; it falls to the longest-standing custodian."""
    client = ClientId(await stand.client())
    stand.subject("custodian")
    spec = JobSpec(client_id=client, runner_id=None, kind=LeaseKind.CUSTODY, secrets=("openai",))
    async with stand.app.db.begin(client_id=client) as tx:
        job = await open_job(tx, stand.app, stand.app.system(), spec)
    assert job.runner_id == stand.people["custodian"].id
    lease = await stand.lease(job.id, "custodian")
    assert lease["store"]["roles"] == {"openai": "custody-openai"}
    assert lease["secrets"]["openai"]["version"] == 0
    assert (await stand.permit(lease["lease_id"], who="custodian"))[0] == 403


async def test_what_time_ended_is_written_down(stand: Stand) -> None:
    """An overdue job reads as expired before the sweep, is written as expired by it once, and stays so."""
    client = await stand.client("openai")
    job, fresh = await stand.job(client), await stand.job(client)
    stand.db.sql(
        "UPDATE byokeep.job SET opened_at = opened_at - interval '1 hour', expires_at = now() - interval '1 second'"
        f" WHERE id = '{job}'"
    )
    assert (await stand.call("GET", f"/v1/jobs/{job}", "runner"))[1]["state"] == "expired"
    assert await expire(stand.app) == (1, 0)
    assert await expire(stand.app) == (0, 0)
    assert len(stand.events("job.expired")) == 1
    assert (await stand.call("POST", f"/v1/jobs/{job}/close", "runner"))[1]["state"] == "expired"
    assert (await stand.call("GET", f"/v1/jobs/{fresh}", "runner"))[1]["state"] == "open"
