"""Signing secrets of webhooks: from an operator's hand through the store to a server that verifies what it is sent."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from byokeep.adapters.system import SystemClock
from byokeep.backup import backups
from byokeep.client import webhooks as sdk
from byokeep.client.job import Job
from byokeep.client.webhooks import JobWebhooks
from byokeep.core.errors import ByokeepError, Denied, Unauthenticated, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.sealed_record import KEPT
from byokeep.core.secret import Secret
from byokeep.keys.webhooks import sweep_webhooks
from byokeep.reconciliation.reconcile import reconcile
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from byokeep.worker.ports import LeasedValues
from byokeep_sim.platforms.webhooks import signature
from tests.support.social import Social, running_platforms
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
SENDERS = ["heygen", "linkedin", "meta", "tiktok", "x", "youtube"]
BODY = b'{"event":"video.done","text":"caf\\u00e9"}'


def made_up() -> str:
    return "whsec-" + secrets.token_hex(16)


async def put(desk: Desk, client: UUID, sender: str, value: str, *, keep_s: int | None = None) -> tuple[int, Any]:
    query = "" if keep_s is None else f"?keep_previous_s={keep_s}"
    path = f"/v1/clients/{client}/providers/{sender}/webhook{query}"
    return await desk.call("PUT", path, "operator", raw=value.encode())


async def client_with(desk: Desk, sender: str, *values: str, keep_s: int = 3600) -> UUID:
    """A client whose sender's secrets were stored one after the other; HeyGen's has a key as well."""
    client = await desk.stand.client(*(["heygen"] if sender == "heygen" else []))
    for value in values:
        status, reply = await put(desk, client, sender, value, keep_s=keep_s)
        assert status == 201, reply
    return client


@asynccontextmanager
async def holding(desk: Desk, client: UUID, sender: str) -> AsyncIterator[Job]:
    """A job of the SDK that declares a sender."""
    job = await desk.stand.job(client, secrets=[sender], effects=[], platforms=[], lanes=[])
    async with desk.stand.keep(attempts=1) as keep, keep.attach(job) as held:
        yield held


@dataclass
class Server:
    """A customer's server: what it handled, and at which address."""

    hooks: JobWebhooks
    url: str = ""
    handled: list[bytes] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            async with self.hooks.delivery(request.headers.items(), body):
                self.handled.append(body)
        except ByokeepError as error:
            return web.Response(status=error.http_status)
        return web.Response(status=204)

    async def send(self, body: bytes, headers: Mapping[str, str]) -> int:
        async with aiohttp.ClientSession() as http, http.post(self.url, data=body, headers=headers) as reply:
            return reply.status


@asynccontextmanager
async def customer(hooks: JobWebhooks) -> AsyncIterator[Server]:
    server, app = Server(hooks), web.Application()
    app.add_routes([web.post("/hook", server.receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        yield running


def signed(sender: str, secret: str, body: bytes = BODY, *, ago: int = 0) -> dict[str, str]:
    return signature(sender, secret, body, int(time.time()) - ago)


@pytest.mark.req("R2.1-9")
async def test_a_delivery_passes_by_the_clients_own_secret_alone(desk: Desk) -> None:
    """2xx for the client's secret; 401 and no handler for wrong, absent, foreign, altered, old or repeated ones."""
    for sender in SENDERS:
        await own_secret_alone(desk, sender)


async def own_secret_alone(desk: Desk, sender: str) -> None:
    own, foreign = made_up(), made_up()
    client = await client_with(desk, sender, own)
    await client_with(desk, sender, foreign)
    async with holding(desk, client, sender) as job, customer(await job.webhook(sender)) as server:
        bad = [
            (BODY, {}), (BODY, signed(sender, made_up())), (BODY, signed(sender, foreign)),
            (BODY + b" ", signed(sender, own)),
        ]  # fmt: skip
        if sender == "tiktok":
            bad += [(BODY, signed(sender, own, ago=301)), (BODY, signed(sender, own, ago=-302))]
        assert [await server.send(*one) for one in bad] == [401] * len(bad)
        assert server.handled == []
        good = signed(sender, own)
        assert [await server.send(BODY, good), await server.send(BODY, good)] == [204, 401]
        assert server.handled == [BODY]


@pytest.mark.req("R2.1-9")
async def test_while_one_secret_replaces_another_both_verify(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs through the rotation takes old and new, and the old one no longer once its span is over."""
    monkeypatch.setattr(sdk, "AGAIN_S", 0.0)
    old, new = made_up(), made_up()
    client = await client_with(desk, "heygen", old)
    async with holding(desk, client, "heygen") as job, customer(await job.webhook("heygen")) as server:
        status, reply = await put(desk, client, "heygen", new, keep_s=3600)
        assert (status, reply["version"], reply["previous_version"]) == (201, 2, 1)
        bodies = [b'{"n":%d}' % n for n in range(4)]
        assert await server.send(bodies[0], signed("heygen", new, bodies[0])) == 204
        assert await server.send(bodies[1], signed("heygen", old, bodies[1])) == 204
        desk.sql(
            "UPDATE byokeep.credential_ref SET previous_until = now() - interval '1 second'"
            f" WHERE client_id = '{client}' AND purpose = 'webhook'"
        )
        monkeypatch.setattr(sdk, "FRESH_S", 0.0)
        server.hooks = await job.webhook("heygen")
        await server.hooks.secrets(fresh_s=0.0)
        assert await server.send(bodies[2], signed("heygen", old, bodies[2])) == 401
        assert await server.send(bodies[3], signed("heygen", new, bodies[3])) == 204
        assert len(server.handled) == 3


@pytest.mark.req("R2.1-9")
async def test_without_a_secret_nothing_is_let_pass(desk: Desk) -> None:
    """No secret stored, and one that was retired while the server ran: 401, and no handler."""
    client = await client_with(desk, "heygen")
    async with holding(desk, client, "heygen") as job:
        with pytest.raises(Unauthenticated) as caught:
            await job.webhook("heygen")
        assert (caught.value.code, caught.value.http_status) == ("webhook_no_key", 401)
        async with customer(JobWebhooks("heygen", job.lease.signing)) as server:
            assert await server.send(BODY, signed("heygen", "")) == 401
            assert await server.send(BODY, {}) == 401
            own = made_up()
            assert (await put(desk, client, "heygen", own))[0] == 201
            await server.hooks.secrets(fresh_s=0.0)
            assert await server.send(BODY, signed("heygen", own)) == 204
            path = f"/v1/clients/{client}/providers/heygen/webhook/retire"
            status, reply = await desk.call("POST", path, "operator", {"reason": "not_used"})
            assert (status, reply["state"]) == (200, "deactivated")
            with pytest.raises(Unauthenticated):
                await server.hooks.secrets(fresh_s=0.0)
            assert await server.send(b"{}", signed("heygen", own, b"{}")) == 401
            assert server.handled == [BODY]
    (gone,) = desk.stand.events("webhook_secret.retired", "ok")
    said = json.loads(gone)["fields"]
    assert said.pop("row")
    assert said == {"provider": "heygen", "version": 1, "reason": "not_used"}


async def test_what_the_simulated_senders_sign_verifies_through_the_store(desk: Desk, social: Social) -> None:
    """Each simulated sender's delivery passes with the secret that was stored, and with another it does not."""
    for sender in SENDERS:
        own = made_up()
        client = await client_with(desk, sender, own)
        async with holding(desk, client, sender) as job, customer(await job.webhook(sender)) as server:
            spec = {"platform": sender, "deliver_to": server.url}
            assert (await social.tell("webhooks", payload={"n": 1}, secret=own, **spec))["status"] == 204
            assert (await social.tell("webhooks", payload={"n": 2}, secret=made_up(), **spec))["status"] == 401
            assert [json.loads(body) for body in server.handled] == [{"n": 1}]


@pytest.mark.req("S-OWASP-4")
async def test_a_lease_pins_both_versions_for_its_client_alone(desk: Desk) -> None:
    """The store gives the pinned versions to the client's lease; another client's lease is refused at its wall; past
    the secret's time no lease has it."""
    old, new = made_up(), made_up()
    client = await client_with(desk, "tiktok", old, new)
    other = await client_with(desk, "tiktok", made_up())
    spec: dict[str, Any] = {"secrets": ["tiktok"], "effects": [], "platforms": [], "lanes": []}
    lease = await desk.stand.lease(await desk.stand.job(client, **spec))
    place = f"kv/clients/{client}/providers/tiktok/webhook"
    assert lease["secrets"] == {
        "tiktok/webhook": {"path": place, "version": 2}, "tiktok/webhook/previous": {"path": place, "version": 1},
    }  # fmt: skip
    assert set(lease["store"]["roles"].values()) == {"use-tiktok"}

    async def read(of: dict[str, Any], version: int) -> bytes:
        async with BaoHttp(of["store"]["address"]) as http:
            token = await lease_login(http, Secret(of["jwt"]), "use-tiktok", lease_id=of["lease_id"])
            return (await read_secret(http, token, place, version, of["lease_id"])).reveal()

    assert [await read(lease, 2), await read(lease, 1)] == [new.encode(), old.encode()]
    with pytest.raises(Denied) as caught:
        await read(await desk.stand.lease(await desk.stand.job(other, **spec)), 2)
    assert caught.value.code == "store_denied"
    desk.sql(f"UPDATE byokeep.credential_ref SET expires_at = now() WHERE client_id = '{client}'")
    status, reply = await desk.stand.call("POST", f"/v1/jobs/{await desk.stand.job(client, **spec)}/leases", "runner")
    assert (status, reply["code"]) == (403, "missing_credential")


async def test_a_senders_secret_is_enough_where_the_client_never_had_a_key_of_it(desk: Desk) -> None:
    """A job that only receives deliveries needs no key of that provider; where one was retired it is refused."""
    client = await desk.stand.client()
    assert (await put(desk, client, "heygen", made_up()))[0] == 201
    spec: dict[str, Any] = {"secrets": ["heygen"], "effects": [], "platforms": [], "lanes": []}
    lease = await desk.stand.lease(await desk.stand.job(client, **spec))
    assert list(lease["secrets"]) == ["heygen/webhook"]
    key = await desk.onboard(client, desk.canary("heygen"), "heygen")
    lease = await desk.stand.lease(await desk.stand.job(client, **spec))
    assert sorted(lease["secrets"]) == ["heygen", "heygen/webhook"]
    await desk.call("POST", f"/v1/refs/{key['ref']}/state", "operator", {"to": "deactivated", "reason": "not_used"})
    status, reply = await desk.stand.call("POST", f"/v1/jobs/{await desk.stand.job(client, **spec)}/leases", "runner")
    assert (status, reply["code"]) == (403, "credential_not_usable")


async def test_what_can_not_be_a_signing_secret_is_stored_nowhere(desk: Desk) -> None:
    """Wrong senders, forms and spans are refused by a code, and nothing is written."""
    client = await desk.stand.client()
    for sender, value, query, code in (
        ("openai", "x" * 32, "", "no_webhooks"),
        ("skool", "x" * 32, "", "no_webhooks"),
        ("nobody", "x" * 32, "", "unknown_provider"),
        ("tiktok", "x" * 15, "", "bad_webhook_secret"),
        ("tiktok", "x" * 513, "", "bad_webhook_secret"),
        ("tiktok", "x" * 20 + " y", "", "bad_webhook_secret"),
        ("tiktok", "x" * 20 + "\n", "", "bad_webhook_secret"),
        ("tiktok", "x" * 32, "?keep_previous_s=2592001", "keep_previous_out_of_range"),
        ("tiktok", "x" * 32, "?keep_previous_s=-1", "bad_number"),
        ("tiktok", "x" * 32, "?keep=1", "unexpected_query"),
    ):
        path = f"/v1/clients/{client}/providers/{sender}/webhook{query}"
        status, reply = await desk.call("PUT", path, "operator", raw=value.encode())
        assert (status, reply["code"]) in ((400, code), (422, code))
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref").strip() == "0"
    assert desk.stand.events("webhook_secret.stored", "ok") == []


async def test_who_may_store_list_and_retire(desk: Desk) -> None:
    """Operators of the client alone; the list names no value; nothing to retire is not found."""
    client = await client_with(desk, "x", value := made_up())
    path = f"/v1/clients/{client}/providers/x/webhook"
    for who in ("admin", "approver", "auditor"):
        assert (await desk.call("PUT", path, who, raw=made_up().encode()))[0] == 403
        assert (await desk.call("POST", path + "/retire", who, {"reason": "not_used"}))[0] == 403
    stranger = desk.stand.subject("operator", clients=())
    assert (await desk.call("PUT", path, stranger, raw=made_up().encode()))[0] == 404
    assert (await desk.call("GET", f"/v1/clients/{client}/webhooks", stranger))[0] == 404
    status, listed = await desk.call("GET", f"/v1/clients/{client}/webhooks", "auditor")
    assert (status, [one["version"] for one in listed["webhooks"]]) == (200, [1])
    (one,) = listed["webhooks"]
    assert (one["state"], one["verification"], one["rotation_due_at"] is None) == ("active", "pending", False)
    assert value not in json.dumps(listed)
    status, _ = await desk.call("POST", path + "/retire", "operator", {"reason": "not_used", "previous_only": True})
    assert status == 404
    status, ended = await desk.call(
        "POST", path + "/retire", "operator", {"reason": "not_used", "previous_only": False}
    )
    assert (status, ended["state"], ended["rotation_due_at"]) == (200, "deactivated", None)


async def test_inventory_and_leak_fingerprints_know_signing_secrets(desk: Desk) -> None:
    """The inventory compares it with its own place in the store, and a leaked copy can be looked for."""
    client = await client_with(desk, "meta", made_up(), made_up())
    status, found = await desk.call("GET", "/v1/inventory", "operator")
    assert (status, found["result"], [item["store"] for item in found["items"]]) == (200, "match", ["present"])
    status, live = await desk.call("GET", "/v1/leaks/fingerprints", "auditor")
    assert status == 200, live
    # Both are live: the current one by its reference, the one before it because the store still holds it.
    assert (live["values"], live["unknown"], str(client) in json.dumps(live)) == (2, [], True)


async def test_the_audit_of_the_store_explains_writes_and_reads(desk: Desk) -> None:
    """Stored twice and read under a lease: the reconciliation is clean; without its lease a login is found."""

    class Ahead(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(seconds=12)

    since = desk.stand.app.clock.now()
    client = await client_with(desk, "tiktok", made_up(), made_up())
    async with holding(desk, client, "tiktok") as job:
        assert len(await (await job.webhook("tiktok")).secrets()) == 2
    app = replace(desk.stand.app, clock=Ahead())
    result = await reconcile(app, app.system(), since=since)
    assert (result.state, result.findings) == ("clean", ())
    assert result.logins >= 2
    desk.sql("UPDATE byokeep.lease SET secrets = '{openai}'")
    result = await reconcile(app, app.system(), since=since)
    assert {finding.reason for finding in result.findings} >= {"login_unexplained"}


async def held(desk: Desk, client: UUID, sender: str) -> list[int]:
    """The versions that the store still holds, as web may see them."""
    return await desk.web.intake.live_versions(SecretRef(ClientId(client), Provider(sender), SecretPart.WEBHOOK))


@pytest.mark.parametrize("sender", ["heygen", "x"])
async def test_what_holds_no_more_is_destroyed_in_the_store(desk: Desk, sender: str) -> None:
    """A secret that was replaced stays for its span and is destroyed after it, on record; one replaced at once is
    destroyed at once; a retired one leaves nothing, and its reference ends as destroyed."""
    client = await client_with(desk, sender, made_up(), made_up(), keep_s=3600)
    assert await sweep_webhooks(desk.worker) == 0
    assert await held(desk, client, sender) == [1, 2]
    desk.sql("UPDATE byokeep.credential_ref SET previous_until = now() WHERE previous_until IS NOT NULL")
    assert await sweep_webhooks(desk.worker) == 1
    assert await held(desk, client, sender) == [2]
    assert await sweep_webhooks(desk.worker) == 0
    assert (await put(desk, client, sender, made_up()))[0] == 201
    status, reply = await desk.call("GET", f"/v1/clients/{client}/webhooks", "operator")
    assert (status, reply["webhooks"][0]["version"], reply["webhooks"][0]["previous_version"]) == (200, 3, None)
    assert await sweep_webhooks(desk.worker) == 1
    assert await held(desk, client, sender) == [3]
    path = f"/v1/clients/{client}/providers/{sender}/webhook/retire"
    status, _ = await desk.call("POST", path, "operator", {"reason": "not_used", "previous_only": False})
    assert status == 200
    assert await sweep_webhooks(desk.worker) == 1
    assert await held(desk, client, sender) == []
    where = f"WHERE client_id = '{client}' AND purpose = 'webhook'"
    assert desk.sql(f"SELECT state, version FROM byokeep.credential_ref {where}") == "destroyed|3"
    assert await sweep_webhooks(desk.worker) == 0
    said = [json.loads(line) for line in desk.stand.events("key.destroyed")]
    assert [(one["outcome"], one["fields"]["version"]) for one in said] == [
        (outcome, version) for version in (1, 2, 3) for outcome in ("intended", "ok")
    ]
    new = made_up()
    assert (await put(desk, client, sender, new))[0] == 201
    async with holding(desk, client, sender) as job, customer(await job.webhook(sender)) as server:
        assert await server.send(BODY, signed(sender, new)) == 204


async def test_a_value_that_is_being_stored_is_not_swept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reaches the store between the sweep's look at what is on its way and its look at the versions stays."""
    client = await client_with(desk, "x", made_up(), made_up(), keep_s=0)
    intake, real, late = desk.web.intake, LeasedValues.live_versions, []
    put_, written, recorded = type(intake).put, asyncio.Event(), asyncio.Event()

    async def slow(ref: Any, value: Secret, *, cas: int) -> Any:
        done = await put_(intake, ref, value, cas=cas)
        written.set()
        await recorded.wait()
        return done

    async def meanwhile(custody: Any, place: Any) -> Any:
        late.append(asyncio.create_task(put(desk, client, "x", made_up())))
        await written.wait()
        return await real(custody, place)

    monkeypatch.setattr(intake, "put", slow)
    monkeypatch.setattr(LeasedValues, "live_versions", meanwhile)
    assert await sweep_webhooks(desk.worker) == 0
    recorded.set()
    assert (await late[0])[0] == 201
    monkeypatch.undo()
    assert await held(desk, client, "x") == [1, 2, 3]
    assert await sweep_webhooks(desk.worker) == 2
    assert await held(desk, client, "x") == [3]


async def test_a_secret_that_came_meanwhile_stays_findable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another was stored between the look at the store and the announcement: this one is refused, and the fingerprint
    by which a leak of the other is found stays."""
    client = await client_with(desk, "x", made_up())
    look, kept = desk.web.intake.current_version, list[str]()
    found = "SELECT version, digests FROM byokeep.leak_fingerprint ORDER BY version"

    async def meanwhile(ref: SecretRef) -> int:
        current = await look(ref)
        monkeypatch.undo()
        assert (await put(desk, client, "x", made_up()))[0] == 201
        kept.append(desk.sql(found))
        return current

    monkeypatch.setattr(desk.web.intake, "current_version", meanwhile)
    status, refused = await put(desk, client, "x", made_up())
    assert (status, refused["code"]) == (409, "stale_version")
    assert [desk.sql(found)] == kept


def cut_off_after(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes every secret from now on, and nobody hears of it."""
    intake = desk.web.intake
    put_ = type(intake).put

    async def cut_off(ref: Any, value: Secret, *, cas: int) -> Any:
        await put_(intake, ref, value, cas=cas)
        raise Unavailable("store_unreachable")

    monkeypatch.setattr(intake, "put", cut_off)


async def test_a_sweep_that_may_not_begin_opens_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a write may be on its way no custody is asked for, to destroy what holds no more."""
    client = await client_with(desk, "x", made_up(), made_up(), keep_s=0)
    cut_off_after(desk, monkeypatch)
    assert (await put(desk, client, "x", made_up()))[0] == 503
    assert await sweep_webhooks(desk.worker) == 0
    assert desk.sql("SELECT count(*) FROM byokeep.job WHERE 'x' = ANY (secrets)") == "0"


@pytest.mark.parametrize("part", ["webhook", "admin"])
async def test_what_was_cut_off_pushes_no_secret_out_of_the_store(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """More secrets than the store keeps of a place, none of them recorded: the one that holds is still there."""
    client, sender = await desk.stand.client(), "x" if part == "webhook" else "openrouter"
    path = f"/v1/clients/{client}/providers/{sender}/{part}"
    assert (await desk.call("PUT", path, "operator", raw=made_up().encode()))[0] == 201
    with monkeypatch.context() as patched:
        cut_off_after(desk, patched)
        for _ in range(KEPT + 1):
            assert (await desk.call("PUT", path, "operator", raw=made_up().encode()))[0] == 503
    place = SecretRef(ClientId(client), Provider(sender), SecretPart(part))
    assert 1 in await desk.web.intake.live_versions(place)


@pytest.mark.req("R9.2-3")
async def test_a_write_that_was_cut_off_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that reached the store and no record: while it may be on its way it is left alone, then it is destroyed,
    also when it was the first of its sender; what holds stays. One from before a restore goes by approval alone."""
    client = await client_with(desk, "x", made_up())
    other = await desk.stand.client()
    cut_off_after(desk, monkeypatch)
    for one in (client, other):
        assert (await put(desk, one, "x", made_up()))[0] == 503
    monkeypatch.undo()
    assert (await held(desk, client, "x"), await held(desk, other, "x")) == ([1, 2], [1])
    assert await sweep_webhooks(desk.worker) == 0  # too young to count as cut off
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 2
    assert (await held(desk, client, "x"), await held(desk, other, "x")) == ([1], [])
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 0
    assert len(desk.stand.events("key.orphan_destroyed")) == 2
    assert desk.stand.alerts() == []
    assert (await put(desk, other, "x", made_up()))[0] == 201
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 0
    assert (await held(desk, client, "x"), await held(desk, other, "x")) == ([1], [2])

    # An older restore: what may have had a row then is kept and told, what was cut off after it goes as ever.
    cut_off_after(desk, monkeypatch)
    assert (await put(desk, client, "x", made_up()))[0] == 503
    restored: dict[str, Any] = {"backup": str(uuid4()), "epoch": 0, "count": 0, "found": 0}
    await backups.say(desk.stand.app, EventName.BACKUP_RESTORED, restored)
    assert (await put(desk, client, "x", made_up()))[0] == 503
    monkeypatch.undo()
    for _ in range(2):
        await sweep_webhooks(desk.worker, older_than_s=0)
        assert await held(desk, client, "x") == [1, 3]
    assert desk.stand.alerts() == ["webhook_secret_not_destroyed"]
    ask = f"/v1/clients/{client}/providers/x/purge"
    status, asked = await desk.call("POST", ask, "operator")
    assert (status, asked["facts"]) == (201, {"provider": "x", "webhook_3": 3})
    await desk.work()
    assert await held(desk, client, "x") == [1, 3]
    assert (await desk.call("POST", f"/v1/procedures/{asked['id']}/approve", "approver"))[0] == 200
    await desk.work()
    assert await held(desk, client, "x") == [1]
    assert (await desk.call("POST", ask, "operator"))[1]["code"] == "no_orphans"
    found, gone = (desk.stand.events(f"key.orphan_{word}")[-1] for word in ("found", "destroyed"))
    assert all(json.loads(one)["fields"]["version"] == 3 and "/x/webhook" in one for one in (found, gone))
    desk.sql("UPDATE byokeep.alert SET closed_at = now(), closed_by = id")
    assert (await put(desk, client, "x", made_up()))[0] == 201  # which ends it
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 1
    assert (await held(desk, client, "x"), desk.stand.alerts()) == ([5], [])
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 0


async def test_a_kill_switch_is_no_reason_to_say_that_a_secret_was_not_destroyed(desk: Desk) -> None:
    """While it is engaged nobody has custody; once it is released the next round destroys what holds no more."""
    client = await client_with(desk, "tiktok", made_up(), made_up(), keep_s=0)
    scope = {"client_id": str(client), "reason": "incident"}
    assert (await desk.stand.call("POST", "/v1/switches/close", "operator", scope))[0] == 200
    assert await sweep_webhooks(desk.worker, older_than_s=0) == 0
    assert "webhook_secret_not_destroyed" not in desk.stand.alerts()
    assert await held(desk, client, "tiktok") == [1, 2]
