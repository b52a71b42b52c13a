"""Order, locks and two people: what can not be skipped, done twice, done alone or done past a broken check."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.provisioning import MACHINES
from byokeep.adapters.system import SystemClock
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.model import API_PROVIDERS
from byokeep.core.secret import Secret
from byokeep.jobs import effect
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.broker import Person, Stand
from tests.support.web import Desk, desk_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def ready(stand: Stand) -> tuple[UUID, dict[str, Any]]:
    client = await stand.client("openai")
    stand.account(client)
    return client, await stand.lease(await stand.job(client))


async def close(stand: Stand, client: Any) -> dict[str, Any]:
    status, reply = await stand.call(
        "POST", "/v1/switches/close", "operator", {"client_id": str(client), "reason": "a_test"}
    )
    assert status == 200, reply
    return dict(reply)


async def ask_to_open(stand: Stand, client: Any) -> dict[str, Any]:
    body = {"client_id": str(client), "reason": "incident_over"}
    status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", body)
    assert status == 201, wish
    return dict(wish)


async def approve(stand: Stand, wish: str, who: str | Person = "approver") -> tuple[int, str]:
    status, reply = await stand.call("POST", f"/v1/switches/open-requests/{wish}/approve", who)
    return status, str(reply.get("code", ""))


@pytest.mark.req("S-ASVS-4")
async def test_steps_can_not_be_skipped_or_swapped(desk: Desk) -> None:
    """No key before enrolment, no lease or evidence before verification, no permit before a lease, none after."""
    stand = desk.stand
    status, made = await desk.call("POST", "/v1/clients", "admin", {"name": "Acme Bakery"})
    assert status == 201
    client = UUID(made["id"])
    assert (await desk.put(client, desk.canary()))[1]["code"] == "client_not_active"
    body = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
    assert (await stand.call("POST", "/v1/jobs", "dispatcher", body))[1]["code"] == "client_not_active"
    assert (await stand.call("POST", f"/v1/clients/{client}/enroll", "admin"))[0] == 200
    status, done = await desk.put(client, desk.canary())
    assert status == 202
    state = {"to": "active", "reason": "a_test"}
    assert (await desk.call("POST", f"/v1/refs/{done['ref']}/state", "operator", state))[1]["code"] == (
        "state_by_proof_only"
    )
    stand.account(client)
    job = await stand.job(client)
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[1]["code"] == "credential_not_usable"
    assert (await stand.permit(str(uuid4())))[0] == 404
    status, early = await desk.call("POST", f"/v1/evidence/{done['sop']}", "auditor")
    assert status in (409, 422), early
    assert not stand.events("evidence.signed")
    await desk.work()
    assert (await desk.call("POST", f"/v1/evidence/{done['sop']}", "auditor"))[0] == 200
    lease = await stand.lease(job)
    desk.sql(
        f"UPDATE byokeep.platform_account SET identity = 'unchecked', identified_at = NULL WHERE client_id = '{client}'"
    )
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "identity_unproven"
    seen = {"lease_id": lease["lease_id"], "id": "acme", "username": "acme", "display_name": "Acme Ltd"}
    assert (await stand.call("POST", f"/v1/accounts/{client}/x/acme/identity", "runner", seen))[0] == 200
    status, permit = await stand.permit(lease["lease_id"])
    assert status == 201
    assert (await stand.call("POST", f"/v1/jobs/{job}/close", "runner"))[0] == 200
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "job_not_open"
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[1]["code"] == "job_not_open"
    outcome = f"/v1/permits/{permit['permit_id']}/close"
    assert (await stand.call("POST", outcome, "runner", {"outcome": "done"}))[0] == 200
    assert (await stand.call("POST", outcome, "runner", {"outcome": "failed"}))[1]["code"] == "already_done"
    assert (await approve(stand, str(uuid4())))[0] == 404


@pytest.mark.req("S-ASVS-6")
async def test_fifty_at_once_are_one(desk: Desk) -> None:
    """Fifty parallel values for one place, permits under one key, closes and approvals: one of each happens."""
    stand = desk.stand
    client, lease = await ready(stand)
    fresh = await stand.client()
    values = [desk.canary() for _ in range(50)]
    answers = await asyncio.gather(*(answered(partial(desk.put, fresh, value)) for value in values))
    assert sorted(status for status, _ in answers) == [202] + [409] * 49
    assert desk.sql(f"SELECT count(*), max(version) FROM byokeep.credential_ref WHERE client_id = '{fresh}'") == "1|1"
    await desk.work()
    assert await stand.intake.current_version(_place(fresh)) == 1
    asks = (answered(partial(stand.permit, lease["lease_id"], "one-key-for-all")) for _ in range(50))
    permits = await asyncio.gather(*asks)
    assert sorted(status for status, _ in permits) == [201] + [409] * 49
    permit = next(reply["permit_id"] for status, reply in permits if status == 201)
    place = f"/v1/permits/{permit}/close"
    closes = await asyncio.gather(
        *(
            answered(partial(stand.call, "POST", place, "runner", {"outcome": outcome}))
            for outcome in ("done", "failed") * 25
        )
    )
    assert sorted({status for status, _ in closes}) == [200, 409]
    assert len(stand.events("permit.closed")) == 1
    await close(stand, client)
    wish = await ask_to_open(stand, client)
    approvals = await asyncio.gather(*(answered(partial(approve, stand, wish["id"])) for _ in range(50)))
    assert sorted(approvals) == [(200, "")] + [(403, "approval_used")] * 49
    assert len(stand.events("switch.opened", "ok")) == 1


async def answered(act: Callable[[], Awaitable[tuple[int, Any]]]) -> tuple[int, Any]:
    """What somebody gets who asks again as long as the answer is that nothing was done: busy, or too many calls."""
    async with asyncio.timeout(90):
        while True:
            status, reply = await act()
            if status not in (429, 503):
                return status, reply
            await asyncio.sleep(1.0)


def _place(client: UUID) -> Any:
    from byokeep.core.model import ClientId, Provider
    from byokeep.core.ref import SecretRef

    return SecretRef(ClientId(client), Provider.OPENAI)


@pytest.mark.req("S-ASVS-7", "S-OWASP-28")
async def test_opening_takes_two_people_for_exactly_what_was_asked(stand: Stand) -> None:
    """An approval shows scope and state, is another person's, works once, in time, and for that state alone."""
    client, _ = await ready(stand)
    closed = await close(stand, client)
    wish = await ask_to_open(stand, client)
    assert (wish["scope"], wish["epoch"]) == (f"client:{client}", closed["epoch"])
    assert wish["requested_by"] == str(stand.people["operator"].id)
    lasts = stand.db.sql(
        f"SELECT extract(epoch FROM expires_at - requested_at) FROM byokeep.approval WHERE id = '{wish['id']}'"
    )
    assert 0 < float(lasts) <= 900
    for role in ("operator", "admin", "auditor", "runner", "dispatcher"):
        assert (await approve(stand, wish["id"], role))[0] == 403
    # even who could ask and approve can not approve what they asked for; the database refuses it as well
    both = stand.people["approver"]
    stand.db.sql(f"UPDATE byokeep.approval SET requested_by = '{both.id}' WHERE id = '{wish['id']}'")
    assert await approve(stand, wish["id"]) == (403, "same_person")
    with pytest.raises(Unavailable):
        stand.db.sql(f"UPDATE byokeep.approval SET approved_by = '{both.id}' WHERE id = '{wish['id']}'")
    stand.db.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE id = '{wish['id']}'")
    # changed between asking and executing: closed again, so another state than the one that was approved
    wish = await ask_to_open(stand, client)
    await close(stand, client)
    assert await approve(stand, wish["id"]) == (403, "epoch_changed")
    assert await approve(stand, wish["id"]) == (403, "approval_used")
    # changed in the row itself: another scope than the one whose state was seen
    wish = await ask_to_open(stand, client)
    stand.db.sql(f"UPDATE byokeep.approval SET scope = 'global' WHERE id = '{wish['id']}'")
    assert (await approve(stand, wish["id"]))[0] in (403, 409)
    # and another client, whose switch was closed as often
    other = await stand.client()
    while (await close(stand, other))["epoch"] < wish["epoch"]:
        pass
    stand.db.sql(f"UPDATE byokeep.approval SET scope = 'client:{other}' WHERE id = '{wish['id']}'")
    assert await approve(stand, wish["id"]) == (403, "approval_unrecorded")
    assert stand.db.sql("SELECT bool_and(closed) FROM byokeep.switch WHERE client_id IS NOT NULL") == "t"
    late = await ask_to_open(stand, client)
    stand.db.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE id = '{late['id']}'")
    assert await approve(stand, late["id"]) == (403, "approval_expired")
    good = await ask_to_open(stand, client)
    assert await approve(stand, good["id"]) == (200, "")
    assert await approve(stand, good["id"]) == (403, "approval_used")
    opened = json.loads(stand.events("switch.opened", "ok")[-1])
    assert opened["actor"] == str(both.id)
    assert opened["fields"]["scope"] == f"client:{client}"


def _no_audit(stand: Stand) -> Callable[[], str]:
    kind = "byokeep.{}(uuid, text, uuid, uuid, uuid, text, bytea)"
    stand.db.sql(f"ALTER FUNCTION {kind.format('audit_append')} RENAME TO gone")
    return lambda: stand.db.sql(f"ALTER FUNCTION {kind.format('gone')} RENAME TO audit_append")


def _no_switch(stand: Stand) -> Callable[[], str]:
    stand.db.sql("UPDATE byokeep.switch SET epoch = -1 WHERE scope = 'global'")
    return lambda: stand.db.sql("UPDATE byokeep.switch SET epoch = 0 WHERE scope = 'global'")


def _no_facts(stand: Stand) -> Callable[[], str]:
    stand.db.sql("REVOKE SELECT ON byokeep.credential_ref FROM byokeep_broker")
    return lambda: stand.db.sql("GRANT SELECT ON byokeep.credential_ref TO byokeep_broker")


def _no_account(stand: Stand) -> Callable[[], str]:
    stand.db.sql("ALTER TABLE byokeep.platform_account RENAME TO away")
    return lambda: stand.db.sql("ALTER TABLE byokeep.away RENAME TO platform_account")


def _no_way_back(stand: Stand) -> Callable[[], str]:
    stand.db.sql("INSERT INTO byokeep.reenabling (client_id, platform, cause, stage, stages, number, taken, done, way,"
                 " revision) SELECT id, 'x', 'revoked', 'canary', '{}', 9, 0, 0, 1, 1 FROM byokeep.client")  # fmt: skip
    return lambda: stand.db.sql("DELETE FROM byokeep.reenabling")


@pytest.mark.req("S-OWASP-30")
async def test_a_broken_check_is_a_refusal(stand: Stand) -> None:
    """Policy, switch, facts, account, stage or audit away: no permit whatever the runner proposes; well again: one."""
    _, lease = await ready(stand)
    for breaks in (_no_audit, _no_switch, _no_facts, _no_account, _no_way_back):
        mend = breaks(stand)
        try:
            status, reply = await stand.permit(lease["lease_id"])
        finally:
            mend()
        assert status in (403, 503), (breaks.__name__, reply)
        assert "permit_id" not in reply
    for broken in (RuntimeError("x"), KeyError("x"), AssertionError("x")):
        with mock.patch.object(effect, "check_effect", side_effect=broken):
            status, reply = await stand.permit(lease["lease_id"])
        assert (status, reply["code"]) == (403, "gate_error")
    for proposal in ({"effect": "unheard_of"}, {"lane": "fax"}, {"platform": "openai"}, {"version": 2}, {"effect": ""}):
        assert (await stand.permit(lease["lease_id"], **proposal))[0] == 403
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit") == "0"
    assert "gate_error" in stand.alerts()
    assert (await stand.permit(lease["lease_id"]))[0] == 201


@pytest.mark.req("S-VAULT-15")
async def test_ending_a_parent_ends_all_below_and_nothing_beside(stand: Stand) -> None:
    """A killed client's, a closed job's and a disabled runner's leases are refused everywhere from the reply on."""
    (a, lease_a), (b, lease_b) = await ready(stand), await ready(stand)
    runner = stand.subject("runner", "second")
    own = await stand.job(b, runner_id=str(runner.id))
    own_lease = await stand.lease(own, runner)
    await close(stand, a)
    stand.db.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{runner.id}'")
    assert (await stand.call("GET", f"/v1/leases/{lease_a['lease_id']}", "runner"))[0] == 403
    assert (await stand.permit(lease_a["lease_id"]))[0] == 403
    for path in (f"/v1/leases/{own_lease['lease_id']}", "/v1/self"):
        assert (await stand.call("GET", path, runner))[0] == 401
    async with BaoHttp(stand.store.address) as http:
        with pytest.raises(Denied):
            await lease_login(http, Secret(lease_a["jwt"]), "use-openai")
        # the neighbour's leases go on, at broker and store
        assert (await stand.call("GET", f"/v1/leases/{lease_b['lease_id']}", "runner"))[0] == 200
        fresh = await stand.lease(await stand.job(b))
        token = await lease_login(http, Secret(fresh["jwt"]), "use-openai")
        pin = fresh["secrets"]["openai"]
        await read_secret(http, token, pin["path"], pin["version"], fresh["lease_id"])
        # short by themselves: what was logged in lives for seconds
        assert (await stand.call("POST", f"/v1/jobs/{own}/close", "dispatcher"))[0] == 200
        await asyncio.sleep(3.2)
        with pytest.raises(Denied):
            await read_secret(http, token, pin["path"], pin["version"], fresh["lease_id"])
        with pytest.raises(Denied):
            await lease_login(http, Secret(own_lease["jwt"]), "use-openai")


@pytest.mark.req("S-VAULT-20")
async def test_one_clients_flood_is_its_own(stand: Stand) -> None:
    """A client's writes over its budget get 429 with a time to wait; another client's are served meanwhile."""
    async with desk_on(stand, clock=StillClock()) as desk:  # all in one moment, however slow the machine is
        await _flood(desk)


class StillClock(SystemClock):
    """No time passes between two calls."""

    def monotonic(self) -> float:
        return 0.0


async def _flood(desk: Desk) -> None:
    stand = desk.stand
    busy, calm = await stand.client("openai"), await stand.client("openai")
    path = "/v1/clients/{}/accounts"
    body = {"platform": "skool", "account": "bad name!", "username": "a", "display_name": "A"}
    limit = desk.web.limits.client_writes_per_minute
    answers = [await desk.call("POST", path.format(busy), "operator", body) for _ in range(limit + 5)]
    assert [status for status, _ in answers] == [422] * limit + [429] * 5
    late = [reply for status, reply in answers if status == 429]
    assert all(reply["retry_after_s"] >= 1 for reply in late)
    assert (await desk.call("POST", path.format(calm), "operator", body))[0] == 422
    assert (await desk.put(calm, desk.canary()))[0] == 202
    assert (await desk.put(busy, desk.canary()))[0] == 429
    assert (await desk.call("PUT", f"/v1/clients/{busy}/logo", "operator", raw=b""))[0] == 429
    await stand.lease(await stand.job(busy))  # reading what is there is another budget


@pytest.mark.req("S-OWASP-24")
async def test_same_names_of_two_clients_never_meet(desk: Desk) -> None:
    """Same account, provider and idempotency key for two clients: own permit, own value, own row; no tenant label."""
    stand = desk.stand
    clients = [await stand.client() for _ in range(2)]
    keys = {}
    leases = {}
    for client in clients:
        keys[client] = await stand.key(client, "openai")
        stand.account(client, account="acme")
        leases[client] = await stand.lease(await stand.job(client))
    permits = [await stand.permit(leases[client]["lease_id"], "the-same-key") for client in clients]
    assert [status for status, _ in permits] == [201, 201]
    assert permits[0][1]["permit_id"] != permits[1][1]["permit_id"]
    async with BaoHttp(stand.store.address) as http:
        for client in clients:
            lease = await stand.lease(await stand.job(client))
            token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
            pin = lease["secrets"]["openai"]
            value = await read_secret(http, token, pin["path"], pin["version"], lease["lease_id"])
            assert value.matches(keys[client].encode())
    async with stand.keep() as keep:  # one process of a runner, both clients at once
        jobs = [await stand.job(client) for client in clients]
        async with keep.attach(jobs[0]) as first, keep.attach(jobs[1]) as second:
            for _ in range(3):  # the second time from memory
                assert (await first.secret("openai")).matches(keys[clients[0]].encode())
                assert (await second.secret("openai")).matches(keys[clients[1]].encode())
    # one client's object under the other's id is nobody's, however warm the memory of the process
    narrow = stand.subject("runner", "narrow", clients=(clients[0],))
    assert (await stand.call("GET", f"/v1/leases/{leases[clients[1]]['lease_id']}", narrow))[0] == 404
    reader = stand.subject("operator", "reader", clients=(clients[0],))
    for at, status in ((0, 200), (1, 404), (1, 404)):
        assert (await stand.call("GET", f"/v1/jobs/{jobs[at]}", reader))[0] == status
    doubled = desk.sql(
        "SELECT conrelid::regclass FROM pg_constraint WHERE contype = 'u' AND conrelid IN ('byokeep.job'::regclass,"
        " 'byokeep.lease'::regclass, 'byokeep.permit'::regclass) AND pg_get_constraintdef(oid) = 'UNIQUE (id)'"
    ).split()
    assert len(doubled) == 3  # so the same id can not stand for two clients
    for http_of in (desk, stand):
        for path in ("/metrics", "/v1/metrics"):
            assert (await http_of.call("GET", path, "admin"))[0] == 404
    tasks = desk.sql("SELECT args FROM procrastinate.procrastinate_jobs")
    assert all(key not in tasks for key in keys.values())


@pytest.mark.req("S-OWASP-33")
async def test_nobody_reads_more_than_its_job(stand: Stand) -> None:
    """Of all stored keys a lease reads its job's alone; no process and no person reads any at any time."""
    providers = ("openai", "anthropic", "kie")
    clients = [await stand.client(*providers) for _ in range(2)]
    places = [f"kv/data/clients/{client}/providers/{provider}" for client in clients for provider in providers]
    own = f"kv/data/clients/{clients[0]}/providers/openai"
    lease = await stand.lease(await stand.job(clients[0]))

    async def reach(http: BaoHttp, token: Secret) -> list[str]:
        found = []
        for place in places:
            try:
                await http.request("GET", place, token=token)
            except Denied:
                continue
            found.append(place)
        return found

    async with BaoHttp(stand.store.address) as http:
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        assert await reach(http, token) == [own]
        for machine in MACHINES:
            file = json.loads((stand.store.home / "credentials" / f"{machine}.approle").read_text())
            body = {"role_id": file["role_id"], "secret_id": file["secret_id"]}
            reply = await http.request("POST", "auth/approle/login", body=body)
            assert await reach(http, Secret(reply.auth["client_token"])) == []
        for person in stand.people.values():
            assert await reach(http, Secret(person.token)) == []
    from byokeep.core.policy import GRANTS, Verb

    assert GRANTS[Verb.KEY_READ] == frozenset()
    assert set(providers) <= {str(provider) for provider in API_PROVIDERS}
