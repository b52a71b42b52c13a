"""What a provider counted, asked with the client's administrator key for an exposure report."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.model import ClientId, Provider
from byokeep.core.procedure import Run
from byokeep.kernel import procedures
from byokeep.keys import provider_usage
from byokeep_sim import SimKeyState
from tests.flows.test_exposure import running, why
from tests.flows.test_rotation import administered
from tests.support.broker import running_store
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
store = pytest.fixture(scope="module")(running_store)  # a report reads its logs of 30 hours
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


async def report(desk: Desk, *, work: bool = True, **asked: Any) -> Any:
    """A report, with a worker at work meanwhile."""
    said = {"since": (NOW - timedelta(hours=30)).isoformat(), **asked}
    task = asyncio.create_task(desk.stand.call("POST", "/v1/exposure", "operator", said))
    while not task.done():
        if work:
            await desk.work()
        await asyncio.sleep(0.05)
    status, reply = await task
    assert status == 200, reply
    return reply


def used(desk: Desk, provider: str, **models: int) -> None:
    """Each hour of three days each model was called so often."""
    hours = [int((NOW - timedelta(hours=n)).timestamp()) for n in range(72)]
    desk.sim.book.usage[provider] = {key: {"m/" + name: many for name, many in models.items()} for key in hours}


@pytest.mark.req("R7.1-6")
async def test_providers_tell_what_they_counted_and_what_they_do_not_is_a_gap(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series for provider and model, page by page; hours that are not over, or that nobody told of, are unknown, and
    so is a provider without a source, one that is away, limits, refuses or garbles: the report is not complete."""
    running(desk.stand)
    client = await desk.stand.client()
    for provider in ("openai", "anthropic", "openrouter", "heygen"):
        await desk.onboard(client, provider=provider)
    refs = dict(one.split("|") for one in desk.sql("SELECT provider, id FROM byokeep.credential_ref").splitlines())
    until, about = NOW.isoformat(), {"ref_id": refs["openai"]}
    assert why(await report(desk, until=until, **about), "provider_usage") == ["no_source"]
    for provider in ("openai", "anthropic", "openrouter"):
        await administered(desk, client, provider)
        used(desk, provider, big=3, small=1)
    desk.sim.book.page = 7
    made = await report(desk, until=until, **about)
    found = made["report"]["provider_usage"]
    assert (found["source"], list(found["asked_at"]), why(made, "provider_usage")) == ("provider", ["openai"], [])
    assert made["report"]["state"] == "complete", made["report"]["gaps"]
    assert {(one["provider"], one["model"], one["hours"], one["requests"]) for one in found["series"]} == {
        ("openai", "m/big", 1, 3), ("openai", "m/small", 1, 1),
    }  # fmt: skip
    assert len(found["series"]) == 60
    assert {one["hour"] for one in found["series"]} == {
        (NOW - timedelta(hours=n + 1)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(30)
    }
    # The use of the administrator's key is on record, on the key's own page.
    admin = desk.sql("SELECT id FROM byokeep.credential_ref WHERE purpose = 'admin' AND provider = 'openai'")
    assert admin in desk.stand.events("key.rotation", "intended")[-1]

    # Of a client: each provider in its unit; one that tells nobody is named, though its key is over, and so is the hour
    # that is not.
    desk.sql("UPDATE byokeep.credential_ref SET state = 'deactivated' WHERE provider = 'heygen'")
    made = await report(desk, client_id=str(client))
    series = made["report"]["provider_usage"]["series"]
    assert {one["tokens"] for one in series if one["provider"] == "anthropic" and one["model"] == "m/big"} == {9}
    assert {(one["hours"], one["requests"]) for one in series if one["model"] == "m/big"
            and one["provider"] == "openrouter"} <= {(24, 72), (24, 3 * (NOW.hour + 48) % 72)}  # fmt: skip
    gaps = [(one["provider"], one["why"]) for one in made["report"]["gaps"] if one["section"] == "provider_usage"]
    assert gaps == [
        ("anthropic", "not_counted_yet"), ("heygen", "no_source"), ("openai", "not_counted_yet"),
        ("openrouter", "not_counted_yet"),
    ]  # fmt: skip
    assert made["report"]["state"] == "incomplete"

    # A bucket that was left out, a model that looks like a key, figures that somebody changed in their row.
    desk.sim.book.untold = {int((NOW - timedelta(hours=n)).timestamp()) for n in (5, 6)}
    desk.sim.book.usage["openai"][int((NOW - timedelta(hours=2)).timestamp())] = {"sk-" + "aB3" * 12: 5}
    made = await report(desk, until=until, **about)
    [gap] = [one for one in made["report"]["gaps"] if one["section"] == "provider_usage"]
    assert (gap["why"], gap["since"], gap["until"]) == (
        "hour_missing", f"{NOW - timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
        f"{NOW - timedelta(hours=4):%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip
    assert ("unnamed", 5) in {(one["model"], one["requests"]) for one in made["report"]["provider_usage"]["series"]}
    newest = "SELECT run_id FROM byokeep.provider_usage ORDER BY told_at DESC LIMIT 1"
    run_id = UUID(desk.sql(newest))
    app = desk.stand.app
    async with app.db.begin(every_client=True) as tx:
        run = await tx.one(Run, "procedure_get", id=run_id)
    assert isinstance(await provider_usage.told(app, app.system(), run, ends=0.0), provider_usage.Counted)
    desk.sql("UPDATE byokeep.provider_usage SET told = replace(told, '3', '4')")
    assert await provider_usage.told(app, app.system(), run, ends=0.0) == "procedure_unproved"

    # Away, limited, garbled in the middle, refused: unknown, and the question is over.
    monkeypatch.setattr(provider_usage, "WAIT_S", 1.5)
    for fault, reason in (
        ({"kind": "status", "status": 503, "times": 99}, "not_answered"),
        ({"kind": "status", "status": 429, "times": 99}, "not_answered"),
        ({"kind": "garbage", "times": 99}, "provider_admin_garbage"),
        ({"kind": "status", "status": 403, "times": 99}, "usage_not_allowed"),
    ):  # fmt: skip
        desk.sim.faults.clear()
        desk.sim.faults.add({"provider": "openai", **fault})
        made = await report(desk, until=until, **about)
        assert (why(made, "provider_usage"), made["report"]["provider_usage"]["series"]) == ([reason], []), reason
    desk.sim.faults.clear()
    assert "admin_key_refused" not in desk.stand.alerts()  # one that may not read what was used rotates well
    # The worker is done just when nobody waits any longer: what it told counts.
    with monkeypatch.context() as late:
        whole = procedures.end

        async def end(*given: Any, **named: Any) -> Any:
            late.setattr(procedures, "end", whole)
            await desk.work()
            return await whole(*given, **named)

        late.setattr(procedures, "end", end)
        span = (NOW - timedelta(hours=2), NOW)
        run = await provider_usage.ask(app, app.system(), ClientId(client), Provider.OPENAI, *span)
        assert run is not None
        assert isinstance(await provider_usage.told(app, app.system(), run, ends=0.0), provider_usage.Counted)
    desk.sim.book.keys.put("openai", f"admin-openai-{client.hex}", SimKeyState.REVOKED, "acme")
    assert why(await report(desk, until=until, **about), "provider_usage") == ["admin_key_refused"]
    # With a key that is known to be refused no rotation begins that would need it; with another one it does.
    path = f"/v1/refs/{refs['openai']}/rotations"
    status, refused = await desk.call("POST", path, "operator", {"mint": True})
    assert (status, refused["code"], "refuses the administrator key" in refused["next_step"]) == (
        422, "cannot_mint", True
    )  # fmt: skip
    await administered(desk, client, "openai")
    assert (await desk.call("POST", path, "operator", {"mint": True}))[0] == 201
    left = desk.sql("SELECT count(*) FROM byokeep.procedure_run WHERE procedure = 'provider_usage'"
                    " AND closed_at IS NULL")  # fmt: skip
    assert left == "0"
