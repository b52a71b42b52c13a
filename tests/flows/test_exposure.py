"""Exposure reports: who read a credential, what was done with it, and what nobody knows."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.audit.log import public_keys
from byokeep.client import verify as offline
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.incidents import exposure
from byokeep.jobs.jobs import open_custody
from tests.support.broker import Stand, running_store
from tests.support.connected import connect, put_access
from tests.support.postgres_rows import append_sql
from tests.support.profiles import put_profile, store_blob

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
pytestmark = pytest.mark.usefixtures("nobody_counts")
store = pytest.fixture(scope="module")(running_store)  # a report of 72 hours reads all of its logs


def running(stand: Stand, *, but: int = -1) -> None:
    """The installation is known to have run in each of the last hours but one."""
    stand.db.sql(
        "INSERT INTO byokeep.audit_epoch (number, at, leaf, heads)"
        " SELECT 1000000 + n, date_trunc('hour', now()) - n * interval '1 hour' + interval '1 minute', '', ''"
        f" FROM generate_series(0, 80) AS n WHERE n <> {but}"
    )


async def report(stand: Stand, who: Any = "operator", status: int = 200, **asked: Any) -> Any:
    got, reply = await stand.call("POST", "/v1/exposure", who, {name: str(v) if isinstance(v, UUID | datetime) else v
                                                               for name, v in asked.items()})  # fmt: skip
    assert got == status, reply
    return reply


def ref_of(stand: Stand, client: UUID) -> UUID:
    return UUID(stand.db.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'"))


def figures(model: str = "gpt-5", *, but: int | None = None, **changed: Any) -> dict[str, Any]:
    """What a provider's page counted, for each of the last 73 hours but one."""
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=72)
    requests = [None if n == but else n for n in range(73)]
    return {"model": model, "since": first.isoformat(), "requests": requests} | changed


def why(reply: Any, section: str) -> list[str]:
    return sorted(one["why"] for one in reply["report"]["gaps"] if one["section"] == section)


@pytest.mark.req("R7.1-5")
@pytest.mark.req("R7.1-7")
async def test_each_read_and_call_is_there_and_the_totals_are_the_chains(stand: Stand) -> None:
    """Each read with who, job, time and version as the store logged it; calls with tool, digest and outcome; only this
    key's; the leases are as many as the chain has; what nobody told of is a gap, not zero."""
    running(stand)
    client, other = await stand.client("openai", "anthropic"), await stand.client("openai")
    ref = UUID(stand.db.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id='{client}' AND provider='openai'"))
    jobs = []
    for version in (1, 2):
        if version > 1:
            await stand.key(client, "openai", version=version)
            stand.db.sql("SET SESSION AUTHORIZATION byokeep_owner; SELECT byokeep.state_rows()")
        jobs.append(await stand.job(client, secrets=["openai", "anthropic"]))
        async with stand.keep() as keep, keep.attach(jobs[-1]) as job:
            await job.secret("openai")
            await job.secret("anthropic")
            job.called("openai", "responses.create", 200, args="sk-a very secret prompt")
        await stand.call("POST", f"/v1/jobs/{jobs[-1]}/close", "dispatcher")
    async with stand.keep() as keep, keep.attach(await stand.job(other)) as job:
        await job.secret("openai")
    made = await report(stand, ref_id=ref, provider_usage=[figures()])
    found, runner = made["report"], str(stand.people["runner"].id)
    assert [(one["by"], one["job_id"], one["version"], one["secret"]) for one in found["reads"]] == [
        (runner, str(jobs[0]), 1, "openai"), (runner, str(jobs[1]), 2, "openai"),
    ]  # fmt: skip
    assert all(one["at"].endswith("Z") and one["store_request"] and one["lease_id"] for one in found["reads"])
    assert [(one["what"], one["tool"], one["outcome"], one["job_id"]) for one in found["calls"]] == [
        ("call", "responses.create", "ok", str(job)) for job in jobs
    ]
    assert all(len(one["args_digest"]) == 64 for one in found["calls"])
    on_chain = stand.db.sql(
        f"SELECT count(*) FROM byokeep.audit_record WHERE chain = '{client}' AND event = 'lease.issued'"
    )
    assert found["totals"] == {"leases_on_chain": int(on_chain), "reads_at_store": 2, "calls": 2, "readers": 1}
    assert (found["gaps"], found["state"], found["since_is"]) == ([], "complete", "assumed")
    assert "secret prompt" not in json.dumps(made)
    whole = await report(stand, client_id=client)
    assert (whole["report"]["totals"]["reads_at_store"], why(whole, "provider_usage")) == (4, ["no_source"])
    # One of our own workers, who looks after the key, could read it as well.
    async with stand.app.db.begin(client_id=client) as tx:
        ours = await open_custody(tx, stand.app, ClientId(client), "openai")
    assert (await stand.call("POST", f"/v1/jobs/{ours}/leases", "custodian"))[0] == 201
    made = await report(stand, ref_id=ref, provider_usage=[figures()])
    assert [one["kind"] for one in made["report"]["leases"]] == ["use", "use", "custody"]
    # A job that told nothing, a call that is missing: unknown. So is a read that the holder did not tell of.
    lease = await stand.lease(await stand.job(client))
    made = await report(stand, ref_id=ref, provider_usage=[figures()])
    assert (why(made, "calls"), made["report"]["state"]) == (["job_open"], "incomplete")
    assert [one["lease"] for one in made["report"]["gaps"]] == [lease["lease_id"]]
    stand.db.sql("DELETE FROM byokeep.tool_call; DELETE FROM byokeep.lease_calls")
    assert len(why(await report(stand, ref_id=ref), "calls")) == 3
    old = (datetime.now(UTC) - timedelta(days=36)).isoformat()  # of before calls are kept one by one
    assert "not_kept" in why(await report(stand, ref_id=ref, since=old, any_span=True), "calls")


@pytest.mark.req("R7.1-5")
async def test_what_differs_from_the_store_or_the_chain_is_a_gap(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without a record, a record without a row, a read under no lease, another number than was told, a log that
    cannot be read or begins late: each is named, and the report is not complete."""
    running(stand, but=5)
    client = await stand.client("openai")
    ref = ref_of(stand, client)
    job_id = await stand.job(client)
    async with stand.keep() as keep, keep.attach(job_id) as job:
        await job.secret("openai")
    await stand.call("POST", f"/v1/jobs/{job_id}/close", "dispatcher")
    asked = {"ref_id": ref, "provider_usage": [figures()]}
    assert why(await report(stand, **asked), "reads") == []
    stand.db.sql(
        "CREATE TEMP TABLE one AS SELECT * FROM byokeep.lease WHERE kind = 'use';"
        " UPDATE one SET id = gen_random_uuid(), issued_at = issued_at + interval '1 microsecond';"
        " INSERT INTO byokeep.lease SELECT * FROM one"
    )
    assert why(await report(stand, **asked), "reads") == ["lease_unrecorded"]
    stand.db.sql("DELETE FROM byokeep.lease WHERE id NOT IN (SELECT object_id FROM byokeep.audit_record)")
    entries = type(stand.app.store_audit).entries

    async def changed(self: Any, device: str, *, since: datetime) -> Any:
        async for entry in entries(self, device, since=since):
            if str(client) in entry.path and entry.operation == "read":
                yield replace(entry, lease_header="", **more)
            else:
                yield entry

    monkeypatch.setattr(type(stand.app.store_audit), "entries", changed)
    more: dict[str, Any] = {}
    assert why(await report(stand, **asked), "reads") == ["read_unexplained", "reads_differ"]

    async def unread(self: Any, device: str, *, since: datetime) -> Any:
        raise Unavailable("store_audit_unreadable")
        yield

    monkeypatch.setattr(type(stand.app.store_audit), "entries", unread)
    dark = await report(stand, **asked)
    assert "store_log_unread" in why(dark, "reads")
    assert dark["report"]["state"] == "incomplete"
    monkeypatch.setattr(type(stand.app.store_audit), "entries", entries)
    stand.db.sql("UPDATE byokeep.installation SET created_at = now() - interval '90 days'")
    assert why(await report(stand, **asked), "reads") == ["store_log_begins_late"]
    assert "not_running" in why(await report(stand, **asked), "calls")
    devices = type(stand.app.store_audit).devices

    async def blank(self: Any) -> Any:
        return [replace(one, recording_since=None) for one in await devices(self)]

    monkeypatch.setattr(type(stand.app.store_audit), "devices", blank)
    made = (await report(stand, **asked))["report"]
    [late] = [one for one in made["gaps"] if one["why"] == "store_log_begins_late"]
    assert late["until"] == made["until"]


@pytest.mark.req("R7.1-6")
async def test_the_providers_own_figures_are_a_series_and_its_holes_are_gaps(stand: Stand) -> None:
    """Without a source the section is a gap; with figures it is a series for each model; a missing hour is named."""
    running(stand)
    client = await stand.client("openai")
    none = await report(stand, client_id=client)
    assert (none["report"]["provider_usage"], why(none, "provider_usage")) == (
        {"source": "none", "series": []}, ["no_source"],
    )  # fmt: skip
    assert none["report"]["state"] == "incomplete"
    both = [figures(), figures("gpt-5-mini")]
    full = await report(stand, client_id=client, provider_usage=both)
    series = full["report"]["provider_usage"]["series"]
    assert (full["report"]["state"], len(series), {one["model"] for one in series}) == (
        "complete", 146, {"gpt-5", "gpt-5-mini"},
    )  # fmt: skip
    hole = await report(stand, client_id=client, provider_usage=[figures(), figures("gpt-5-mini", but=9)])
    assert (why(hole, "provider_usage"), hole["report"]["state"]) == (["hour_missing"], "incomplete")
    await stand.key(client, "anthropic")  # of which provider they are nobody said: the other's are missing
    several = await report(stand, client_id=client, provider_usage=both)
    assert (why(several, "provider_usage"), several["report"]["state"]) == (["no_source"], "incomplete")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for bad in (
        [figures(), figures()], [figures(since="yesterday")], [figures(requests=[-1])], [figures("a b")],
        [figures("sk-" + "aB3" * 12)], [figures(since=(now - timedelta(days=9)).isoformat())],
        [figures(since=(now + timedelta(minutes=1)).isoformat())], [figures(requests=[0] * 75)],
    ):  # fmt: skip
        await report(stand, client_id=client, status=422, provider_usage=bad)


@pytest.mark.req("R7.1-5")
async def test_a_span_of_24_to_72_hours_and_another_only_on_purpose(stand: Stand) -> None:
    """No estimate = 72 hours, marked; shorter or longer takes the flag; garbage is refused; so are strangers."""
    now = datetime.now(UTC)
    running(stand)
    client, other = await stand.client("openai"), await stand.client("openai")
    assumed = (await report(stand, client_id=client))["report"]
    length = datetime.fromisoformat(assumed["until"]) - datetime.fromisoformat(assumed["since"])
    assert (assumed["since_is"], length) == ("assumed", timedelta(hours=72))
    hours = {name: (now - timedelta(hours=n)).isoformat() for name, n in {"short": 2, "good": 30, "long": 80}.items()}
    named = (await report(stand, client_id=client, since=hours["good"]))["report"]
    assert named["since_is"] == "named"
    for edge in (timedelta(hours=72, minutes=1), timedelta(hours=23, minutes=58)):  # `--since 72h`, some moments later
        await report(stand, client_id=client, since=(datetime.now(UTC) - edge).isoformat())
    for one in ("short", "long"):
        assert (await report(stand, client_id=client, since=hours[one], status=422))["code"] == "unusual_span"
        await report(stand, client_id=client, since=hours[one], any_span=True)
    later = (now + timedelta(hours=1)).isoformat()
    for bad in (
        {"since": later}, {"since": later, "any_span": True}, {"since": "soon"}, {"until": "2026-13-01"},
        {"since": "2020-01-01T00:00:00Z", "any_span": True}, {"ref_id": str(client)}, {"account_id": "x"},
    ):  # fmt: skip
        assert (await stand.call("POST", "/v1/exposure", "operator", {"client_id": str(client)} | bad))[0] in (404, 422)
    ref = ref_of(stand, client)
    assert (await report(stand, ref_id=ref, profile_id=ref, status=422))["code"] == "one_subject"
    assert (await stand.call("POST", "/v1/exposure", "operator", {}))[0] == 422
    stranger = stand.subject("operator", "stranger", clients=(other,))
    for asked in ({"client_id": client}, {"ref_id": ref}):
        await report(stand, stranger, 404, **asked)
    for role in ("admin", "approver", "runner"):
        await report(stand, role, 403, client_id=client)


@pytest.mark.req("S-NIST-6")
async def test_a_report_is_signed_on_record_and_works_for_a_key_that_was_destroyed(
    stand: Stand, tmp_path: Path
) -> None:
    """Its digest is on the client's record; the file verifies offline and not when changed; a destroyed key has one."""
    running(stand)
    client = await stand.client("openai")
    ref = ref_of(stand, client)
    async with stand.keep() as keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
    for state in ("deactivated", "destroyed"):
        stand.db.sql(f"UPDATE byokeep.credential_ref SET state = '{state}' WHERE id = '{ref}'")
    incident, everybodys = uuid4(), uuid4()
    for number, whose in ((incident, f"'{client}'"), (everybodys, "NULL")):
        stand.db.sql(
            "INSERT INTO byokeep.incident (id, client_id, kind, severity, source, dedup_key, noticed_at, began_at,"
            f" began_assumed, opened_by) VALUES ('{number}', {whose}, 'lockout', 'P1', 'person', '{number}', now(),"
            f" now() - interval '48 hours', false, '{stand.people['operator'].id}')"
        )
    other, narrow = await stand.client("openai"), stand.subject("operator", "narrow", clients=(client,))
    for who, wrong in (("operator", {"client_id": other, "incident_id": incident}), ("operator", {"incident_id": ref}),
                       (narrow, {"incident_id": everybodys})):  # fmt: skip
        await report(stand, who, 404, **{"client_id": client} | wrong)
    made = await report(stand, ref_id=ref, incident_id=incident)
    assert made["report"]["totals"]["reads_at_store"] == 1
    said = json.loads(stand.events("exposure.reported")[-1])
    assert said["fields"]["digest"] == made["digest"]
    assert (said["object"], said["client"], said["fields"]["verification"]) == (str(ref), str(client), "incomplete")
    assert (said["fields"]["incident"], said["fields"]["count"]) == (str(incident), 1)
    keys, file = await public_keys(stand.app), tmp_path / "report.json"
    file.write_text(made["envelope"])
    held = offline.verify_report(file, keys)
    assert held is not None
    assert (held["digest"], held["complete"], held["reads"]) == (made["digest"], False, 1)
    envelope = json.loads(made["envelope"])
    for change in ({"payload": envelope["payload"][:-8] + "AAAAAAA="}, {"payloadType": "text/plain"}):
        file.write_text(json.dumps(envelope | change, separators=(",", ":"), sort_keys=True))
        with pytest.raises(Integrity):
            offline.verify_report(file, keys)


async def test_an_account_has_a_report_of_its_own(stand: Stand) -> None:
    """It shows the reads of this account's tokens alone; what is no profile has no report."""
    running(stand)
    client = await stand.client("openai")
    one, two = await connect(stand, client, name="one"), await connect(stand, client, name="two")
    for account in (one, two):
        await put_access(stand, account, "access-token-value")
    async with stand.keep() as keep, keep.attach(await stand.job(client, secrets=["x"])) as job:
        await job.secret("x/one")
    found = (await report(stand, account_id=one.id))["report"]
    assert [one["secret"] for one in found["reads"]] == ["x"]
    assert found["about"] == {"kind": "account", "id": str(one.id), "secret": "x"}
    assert (await report(stand, account_id=two.id))["report"]["reads"] == []
    await report(stand, profile_id=one.id, status=404)


@pytest.mark.req("R7.1-5")
async def test_a_lease_of_before_the_span_counts_while_its_job_goes_on(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder has the key in memory, and is among those who could read it until the job is over."""
    monkeypatch.setattr(exposure, "_LEASE_LIFE", timedelta())
    client = await stand.client("openai")
    job = await stand.job(client)
    lease = (await stand.lease(job))["lease_id"]

    async def now(**asked: Any) -> Any:
        since = datetime.now(UTC).isoformat()
        return await report(stand, client_id=client, since=since, any_span=True, **asked)

    held = await now()
    assert [one["lease_id"] for one in held["report"]["leases"]] == [lease]
    assert not {"reads_differ", "lease_unrecorded", "lease_row_missing"} & set(why(held, "reads"))
    stand.db.sql("CREATE TEMP TABLE one AS SELECT * FROM byokeep.lease WHERE kind = 'use';"
                 " UPDATE one SET id = gen_random_uuid(); INSERT INTO byokeep.lease SELECT * FROM one")  # fmt: skip
    assert "lease_unrecorded" in why(await now(), "reads")
    await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    over = await now()
    assert (over["report"]["leases"], "lease_unrecorded" in why(over, "reads")) == ([], False)


async def test_a_profiles_report_shows_who_opened_it(stand: Stand) -> None:
    """The openings on the client's chain, and the reads of its record that follow them, belong to the job; one of
    before the span counts while its job goes on."""
    running(stand)
    client = await stand.client("openai")
    profile = put_profile(stand, client, stand.account(client, platform="tiktok", lanes="browser"))
    await store_blob(stand, profile)
    job = await stand.job(client, secrets=["profile"], lanes=["browser"], platforms=["tiktok"])
    lease = await stand.lease(job)
    path = f"/v1/jobs/{job}/profiles/{profile.id}/openings"
    status, reply = await stand.call("POST", path, "runner", {"lease_id": lease["lease_id"]})
    assert status == 201, reply
    found = (await report(stand, profile_id=profile.id))["report"]
    assert [(one["job_id"], one["lease_id"], one["kind"]) for one in found["leases"]] == [
        (str(job), lease["lease_id"], "use")
    ]
    assert found["totals"]["leases_on_chain"] == 1
    assert "job_open" in [one["why"] for one in found["gaps"]]
    for count in (1, 0):
        asked = {"profile_id": profile.id, "since": datetime.now(UTC).isoformat(), "any_span": True}
        assert len((await report(stand, **asked))["report"]["leases"]) == count
        await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")


async def test_a_reader_is_named_by_what_the_store_saw_and_not_by_what_he_says(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads as somebody else, or with a lease's token that is over, and names a lease of ours is nobody of ours.

    Who reads under a grant of break glass is its holder, and the grant is among who could.
    """
    running(stand)
    client = await stand.client("openai")
    ref, job = ref_of(stand, client), await stand.job(client)
    asked = {"ref_id": ref, "provider_usage": [figures()]}
    async with stand.keep() as keep, keep.attach(job) as held:
        await held.secret("openai")
        lease = held.lease.id
    await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    entries = type(stand.app.store_audit).entries
    more: dict[str, Any] = {}

    async def changed(self: Any, device: str, *, since: datetime) -> Any:
        async for entry in entries(self, device, since=since):
            mine = str(client) in entry.path and entry.operation == "read"
            yield replace(entry, **more) if mine else entry

    monkeypatch.setattr(type(stand.app.store_audit), "entries", changed)
    runner, found = str(stand.people["runner"].id), await report(stand, **asked)
    assert [(one["by"], one["lease_id"]) for one in found["report"]["reads"]] == [(runner, lease)]
    request = found["report"]["reads"][0]["store_request"]
    for one in ({"entity_id": str(uuid4())}, {"at": datetime.now(UTC) - timedelta(minutes=9)}):
        more = one
        made = await report(stand, **asked)
        assert [(one["by"], one["lease_id"]) for one in made["report"]["reads"]] == [(None, None)]
        assert why(made, "reads") == ["read_unexplained"]
    more, holder, grant = {"lease_header": "", "entity_id": ""}, stand.people["operator"].id, uuid4()
    actor = Actor(id=holder, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
    about = {"run": str(grant), "ticket": "inc-1"}
    given: dict[EventName, dict[str, Any]] = {
        EventName.GLASS_REQUESTED: {"scope": "openai", "life_s": 600, "digest": "d1"},
        EventName.GLASS_ISSUED: {"scope": "openai", "life_s": 600, "jwt_iat": 1, "jwt_exp": 2},
        EventName.GLASS_USED: {"path": "kv/data/x", "store_request": request},
    }
    with psycopg.connect(stand.db.conninfo("byokeep_broker")) as session:
        for event, fields in given.items():
            outcome = Outcome.INTENDED if event is EventName.GLASS_ISSUED else Outcome.OK
            session.execute(append_sql(Event(name=event, actor=actor, outcome=outcome, client_id=client,
                                             object_id=grant, fields=about | fields)))  # fmt: skip
    made = await report(stand, **asked)
    assert [(one["by"], one["grant_id"]) for one in made["report"]["reads"]] == [(str(holder), str(grant))]
    assert [(one["by"], one["scope"]) for one in made["report"]["grants"]] == [(str(holder), "openai")]
    assert why(made, "reads") == ["reads_differ"]


async def test_an_identity_token_is_a_read_of_its_key(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a keyless key the token opens the provider: who had one is in the report, and one more than told is a gap."""
    running(stand)
    client = await stand.client("openai")
    job = await stand.job(client)
    async with stand.keep() as keep, keep.attach(job) as held:
        await held.secret("openai")
    await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    entries, taken = type(stand.app.store_audit).entries, 1

    async def changed(self: Any, device: str, *, since: datetime) -> Any:
        async for entry in entries(self, device, since=since):
            yield entry
            for number in range(taken if str(client) in entry.path and entry.operation == "read" else 0):
                place, request = f"identity/oidc/token/{client}-openai", f"{number}-{entry.request_id}"
                yield replace(entry, path=place, request_id=request, version=0)

    monkeypatch.setattr(type(stand.app.store_audit), "entries", changed)
    for taken in (1, 2):
        made = await report(stand, ref_id=ref_of(stand, client), provider_usage=[figures()])
        reads = made["report"]["reads"]
        assert sorted(one["what"] for one in reads) == [*["identity_token"] * taken, "value"]
        assert {one["by"] for one in reads} == {str(stand.people["runner"].id)}
        assert why(made, "reads") == ([] if taken == 1 else ["reads_differ"])


async def test_two_reports_are_made_at_once_and_a_third_is_asked_to_come_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads whole logs: nobody holds the broker up with them."""
    client, gate, inside = await stand.client("openai"), asyncio.Event(), 0
    real = exposure.report

    async def slow(*given: Any) -> Any:
        nonlocal inside
        inside += 1
        await gate.wait()
        return await real(*given)

    monkeypatch.setattr(exposure, "report", slow)
    two = [asyncio.create_task(report(stand, client_id=client)) for _ in range(2)]
    while inside < 2:
        await asyncio.sleep(0.01)
    assert (await report(stand, client_id=client, status=503))["code"] == "broker_busy"
    gate.set()
    await asyncio.gather(*two)
    await report(stand, client_id=client)
