"""Runbook 4.2: one person opens a client's secrets for minutes; another approves, others hear, and it is reviewed."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from byokeep.adapters.openbao.audit import OTHER_NODE
from byokeep.adapters.openbao.breakglass import BaoBreakGlass
from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.openbao.provisioning import GLASS, generate_root, lease_roles, retire_roots
from byokeep.adapters.system import SystemClock
from byokeep.audit.alerts import close_alert
from byokeep.breakglass import cli, grants, model, watch
from byokeep.core.errors import ByokeepError, Denied, Integrity, Rejected, Unavailable
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.kernel.freshness import Freshness
from byokeep.kernel.ports import DeviceHealth, StoreEntry
from byokeep.operations.due import DueKind, read_due
from byokeep.reconciliation.reconcile import reconcile
from byokeep.wire.bao_http import BaoHttp, _failure
from tests.support.broker import Person, Stand
from tests.support.connected import connect, put_access

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
PATH = "/v1/breakglass"
ASKED = {"scope": "openai", "reason": "runner_down", "ticket": "INC-42", "life_s": 900}


async def ask(stand: Stand, client: UUID, who: str | Person = "operator", **changed: Any) -> tuple[int, Any]:
    return await stand.call("POST", PATH, who, ASKED | {"client_id": str(client)} | changed)


async def do(stand: Stand, grant: str, what: str, who: str | Person) -> tuple[int, Any]:
    return await stand.call("POST", f"{PATH}/{grant}/{what}", who, {} if what == "review" else None)


async def approved(stand: Stand, client: UUID, **changed: Any) -> str:
    status, grant = await ask(stand, client, **changed)
    assert (status, grant["status"]) == (201, "requested"), grant
    status, grant = await do(stand, grant["id"], "approve", "approver")
    assert (status, grant["status"]) == (200, "approved"), grant
    return str(grant["id"])


async def opened(stand: Stand, client: UUID, **changed: Any) -> dict[str, Any]:
    grant = await approved(stand, client, **changed)
    status, reply = await do(stand, grant, "open", "operator")
    assert (status, reply["status"]) == (200, "open"), reply
    return dict(reply)


@contextlib.asynccontextmanager
async def at_store(stand: Stand) -> AsyncIterator[Callable[..., Awaitable[tuple[int, Any]]]]:
    """Whoever holds a token and calls the store itself; no client of ours."""
    socket = stand.store.address.removeprefix("unix://")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket, limit=0)) as http:

        async def call(method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
            headers = {"X-Vault-Token": token} if token else {}
            async with http.request(method, f"http://openbao/v1/{path}", headers=headers, json=body) as reply:
                raw = await reply.read()
                return reply.status, json.loads(raw) if raw.strip() else None

        yield call


@contextlib.asynccontextmanager
async def root(stand: Stand) -> AsyncIterator[tuple[BaoHttp, Secret]]:
    """The store's administrator, for as long as it takes to do it harm."""
    async with BaoHttp(stand.store.address, timeout_s=10) as http:
        provisioner, _ = await log_in(http, stand.store.home / "credentials" / "provisioner.approle")
        token = await generate_root(http, provisioner, stand.store.bao.server.recovery_keys())
        try:
            yield http, token
        finally:
            await retire_roots(http, token)


class Later(SystemClock):
    """Half a minute from now, when the store's log of now may be judged."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=30)


class SetBack(SystemClock):
    """An hour ago."""

    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


def kinds(stand: Stand, grant: str) -> list[str]:
    """The events on record of a grant, each once, in order, with the outcome."""
    rows = stand.db.sql(
        f"SELECT event || ':' || outcome FROM byokeep.audit_record WHERE object_id = '{grant}'"
        " AND event LIKE 'breakglass.%' ORDER BY seq"
    )
    return list(dict.fromkeys(row.removeprefix("breakglass.") for row in rows.splitlines()))


def said(stand: Stand, grant: str) -> list[dict[str, Any]]:
    rows = stand.db.sql(
        f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE object_id = '{grant}'"
        " AND event LIKE 'breakglass.%' ORDER BY seq"
    )
    return [json.loads(row)["fields"] for row in rows.splitlines()]


async def end(stand: Stand, grant: str) -> None:
    """Bring a grant that was opened to its close, for the next one."""
    await do(stand, grant, "revoke", "operator")
    assert (await do(stand, grant, "review", "operator"))[0] == 200
    assert (await do(stand, grant, "close", "approver"))[0] == 200


@pytest.mark.req("R3.1-4", "R4.2-3", "R4.2-5", "R4.2-6", "R4.2-7", "R4.2-8")
async def test_from_the_request_to_the_close_of_its_review(stand: Stand) -> None:
    """Every kind of event by the grant's id; what was read is due; the holder silences nothing; two people close it."""
    client, other = await stand.client("openai", "anthropic"), await stand.client("openai")
    began = stand.app.clock.now()
    value = stand.db.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}' AND provider = 'openai'")
    opening = await opened(stand, client)
    grant = opening["id"]
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_used"
    assert stand.alerts() == ["break_glass_opened"]
    listed = (await stand.call("GET", PATH, "auditor"))[1]["grants"]
    assert [one["id"] for one in listed] == [grant]
    assert opening["wrapping_token"] not in json.dumps(listed)
    async with at_store(stand) as call:
        for _ in range(2):  # a look uses nothing up
            looked = (await call("POST", "sys/wrapping/lookup", body={"token": opening["wrapping_token"]}))[1]["data"]
            made = {"creation_path": opening["creation_path"], "creation_time": opening["wrapped_at"]}
            assert looked == made | {"creation_ttl": opening["wrapped_for_s"]}
            assert 0 < looked["creation_ttl"] <= 300
        status, unwrapped = await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"])
        token = unwrapped["auth"]["client_token"]
        assert (status, unwrapped["auth"]["renewable"], unwrapped["auth"]["lease_duration"]) == (200, False, 900)
        here = f"kv/data/clients/{client}/providers"
        assert (await call("GET", f"{here}/openai", token))[1]["data"]["data"]["value"].startswith("value-of-openai")
        identity = ("GET", f"identity/oidc/token/{client}-openai")  # a provider's token got by it would outlive this
        outside = identity, ("GET", f"{here}/anthropic"), ("GET", f"kv/data/clients/{other}/providers/openai")
        config = (
            ("GET", "sys/audit"),
            ("PUT", "sys/audit/more"),
            ("GET", "sys/policies/acl/broker"),
            ("LIST", "kv/metadata"),
        )
        wider = ("POST", "auth/token/renew-self"), ("POST", "auth/token/create"), ("PUT", f"{here}/openai")
        for method, path in (*outside, *config, *wider):
            assert (await call(method, path, token, None if method in ("GET", "LIST") else {}))[0] == 403, path
        await watch.watch(stand.app)
        assert {"break_glass_opened", "break_glass_used"} == set(stand.alerts())
        assert stand.db.sql("SELECT DISTINCT severity FROM byokeep.alert") == "critical"  # told within seconds
        await watch.watch(stand.app)  # nothing is told twice
        assert len(stand.events("breakglass.used", "ok")) == 1
        assert (await do(stand, grant, "review", "operator"))[1]["code"] == "not_to_review"
        status, ended = await do(stand, grant, "revoke", "approver")
        assert (status, ended["status"]) == (200, "to_review")
        assert (await call("GET", f"{here}/openai", token))[0] == 403
    assert (await ask(stand, client))[1]["code"] == "break_glass_taken"
    await closed_by_others(stand, grant)
    due = stand.db.sql(f"SELECT rotation_due_at <= now() FROM byokeep.credential_ref WHERE id = '{value}'")
    assert due == "t"
    assert kinds(stand, grant) == [
        "requested:ok", "approved:ok", "issued:intended", "issued:ok", "issued:denied", "unwrapped:ok", "used:ok",
        "used:denied", "reviewed:failed", "revoked:ok", "closed:failed", "reviewed:ok", "closed:denied", "closed:ok",
    ]  # fmt: skip
    assert all(one["run"] == grant and one["ticket"] == "inc-42" for one in said(stand, grant))
    assert {one["reason"] for one in said(stand, grant)} >= {"runner_down"}
    later = replace(stand.app, clock=Later())
    run = await reconcile(later, stand.app.system(), since=began)
    strange = [one.reason for one in run.findings if one.reason not in ("key_unrecorded", "write_unexplained")]
    assert (run.unread, strange, run.logins >= 1) == ((), [], True)
    assert (await ask(stand, client))[0] == 201


async def closed_by_others(stand: Stand, grant: str) -> None:
    """The way from the end of a grant to its close, and who may not go it."""
    assert (await do(stand, grant, "close", "approver"))[1]["code"] == "not_reviewed"
    second = stand.subject("approver", "second")
    status, review = await do(stand, grant, "review", "approver")
    assert (status, review["status"], review["gaps_accepted"]) == (200, "to_close", False)
    assert [one["path"] for one in review["uses"] if one["outcome"] == "ok"][-1].endswith("/providers/openai")
    again = (await do(stand, grant, "review", "approver"))[1]
    assert (again["code"], f"breakglass close {grant}" in again["next_step"]) == ("not_to_review", True)
    assert (await do(stand, grant, "close", "operator"))[0] == 403
    assert (await do(stand, grant, "close", "approver"))[1]["code"] == "same_person"
    with pytest.raises(Denied, match="same_person"):  # who held it has become an approver
        await grants.close(stand.app, replace(holder(stand), roles=frozenset({Role.APPROVER})), UUID(grant))
    for one in stand.db.sql("SELECT id FROM byokeep.alert WHERE closed_at IS NULL").split():
        with pytest.raises(Denied) as refused:
            await close_alert(stand.app, holder(stand), UUID(one))
        assert refused.value.code == "same_person"
    status, closed = await do(stand, grant, "close", second)
    assert (status, closed["status"]) == (200, "closed")


@pytest.mark.req("R3.1-4", "R4.2-6")
async def test_of_100_who_unwrap_one_gets_the_token_and_the_grant_is_over(stand: Stand) -> None:
    """At once, at the real store: one winner, whose token is ended as soon as the others are seen; a critical alert."""
    client = await stand.client("openai")
    opening = await opened(stand, client)
    grant, wrapping = opening["id"], opening["wrapping_token"]
    async with at_store(stand) as call:
        answers = await asyncio.gather(*(call("POST", "sys/wrapping/unwrap", wrapping) for _ in range(100)))
        [token] = [reply["auth"]["client_token"] for status, reply in answers if status == 200]
        others = [status for status, _ in answers if status != 200]
        assert len(others) == 99
        assert set(others) <= {400, 500}, "the store itself says 500 to one that came while the token was being used up"
        here = f"kv/data/clients/{client}/providers/openai"
        assert (await call("GET", here, token))[0] == 200
        await watch.watch(stand.app)
        assert (await call("GET", here, token))[0] == 403
    shown = (await stand.call("GET", f"{PATH}/{grant}", "auditor"))[1]
    assert shown["status"] == "to_review"
    assert [one["event"] for one in shown["uses"]].count("breakglass.unwrapped") == 1
    assert others.count(400) <= [one["event"] for one in shown["uses"]].count("breakglass.misused") <= 99
    assert "break_glass_misused" in stand.alerts()
    assert "revoked:ok" in kinds(stand, grant)
    await end(stand, grant)
    # Only the store's own word for an accessor of the past is taken for an end.
    await stand.app.glass.revoke("x" * 24, accessor(stand, grant, "accessor"), accessor(stand, grant, "wrap_accessor"))
    for status in (500, 400, 404):
        failing = BaoBreakGlass(Failing(status))  # type: ignore[arg-type]
        with pytest.raises(ByokeepError):
            await failing.revoke("x" * 24)
    # A wrapping token that was ended, or whose time is over, gives nothing: its first unwrap fails, and that is misuse.
    opening = await opened(stand, client)
    await stand.app.glass.revoke(accessor(stand, opening["id"], "wrap_accessor"))
    async with at_store(stand) as call:
        assert (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[0] == 400
    await watch.watch(stand.app)
    assert (await stand.call("GET", f"{PATH}/{opening['id']}", "auditor"))[1]["status"] == "to_review"
    await end(stand, opening["id"])
    # The holder's own command tells of it at once.
    opening = await opened(stand, client)
    incident = "SELECT kind FROM byokeep.incident WHERE closed_at IS NULL"
    assert stand.db.sql(incident) == "break_glass"  # by what the store's log showed
    stand.db.sql("DELETE FROM byokeep.incident")
    another = stand.subject("operator", "another")
    assert (await do(stand, opening["id"], "misused", another))[1]["code"] == "not_the_holder"
    assert (await do(stand, opening["id"], "misused", "operator"))[1]["status"] == "to_review"
    assert (await do(stand, opening["id"], "misused", "operator"))[1]["code"] == "not_open"
    assert stand.db.sql(incident) == "break_glass"
    await end(stand, opening["id"])
    await one_answer_for_each(stand, client)
    await not_hidden_behind_others(stand, client)


async def one_answer_for_each(stand: Stand, client: UUID) -> None:
    """Used, over, unknown or cut short, a wrapping token gets one answer; whose it was, and is known, is told."""
    with patched(model, "WRAPPED", timedelta(seconds=1)):
        over = await opened(stand, client)
        async with at_store(stand) as call:
            await asyncio.sleep(1.2)
            shown = [over["wrapping_token"], over["wrapping_token"][:-4], "s.AbCdEfGhIjKlMnOpQrStUvWx"]
            answers = [await call("POST", "sys/wrapping/unwrap", one) for one in shown]
    await watch.watch(stand.app)
    assert (await stand.call("GET", f"{PATH}/{over['id']}", "auditor"))[1]["status"] == "to_review"
    assert "misused:failed" in kinds(stand, over["id"])
    await end(stand, over["id"])
    used = await opened(stand, client)
    async with at_store(stand) as call:
        assert (await call("POST", "sys/wrapping/unwrap", used["wrapping_token"]))[0] == 200
        answers.append(await call("POST", "sys/wrapping/unwrap", used["wrapping_token"]))
    assert [answer == answers[0] for answer in answers] == [True] * 4, answers
    assert answers[0][0] == 400
    await watch.watch(stand.app)
    await end(stand, used["id"])


async def not_hidden_behind_others(stand: Stand, client: UUID) -> None:
    """However many harmless requests were made before: what is read is due, a second unwrap ends the grant."""
    opening = await opened(stand, client)
    grant, seen = opening["id"], watch.Seen()
    with patched(watch, "_EACH", 3):
        async with at_store(stand) as call:
            token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
            for path in ("sys/audit", "sys/auth", *["sys/mounts"] * 4):
                assert (await call("GET", path, token))[0] == 403
            await watch.watch(stand.app, seen)
            assert len(seen) == len(await stand.app.store_audit.devices())
            for path in ("sys/mounts", "sys/host-info", f"kv/data/clients/{client}/providers/openai"):
                await call("GET", path, token)
            of = f"byokeep.credential_ref WHERE client_id = '{client}'"
            due = f"SELECT count(*) FROM {of} AND rotation_due_at <= now()"
            stand.db.sql("UPDATE " + of.replace(" WHERE", " SET rotation_due_at = now() + interval '9 days' WHERE"))
            await watch.watch(stand.app, seen)
            assert stand.db.sql(due) == "1"
            before = await reads_of(stand, client)
            assert (await call("GET", f"kv/data/clients/{client}/providers/openai", token))[0] == 200
            await watch.watch(stand.app, seen)
            assert (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[0] == 400
            await watch.watch(stand.app, seen)
            assert (await call("GET", f"kv/data/clients/{client}/providers/openai", token))[0] == 403
        # What is not on record by itself is this grant's all the same, by the token that the store saw.
        assert (await reads_of(stand, client)) - before == Counter({(str(stand.people["operator"].id), grant): 1})
        assert "revoked:ok" in kinds(stand, grant)
        await only_by_a_whole_log(stand, grant)
        gone = LogOf(stand.app.store_audit, lambda one: replace(one, recording_since=None))
        app = replace(stand.app, store_audit=gone)  # a log that is gone for good is taken upon oneself, on record
        await watch.review(app, holder(stand), UUID(grant), accept_gaps=True)
        assert said(stand, grant)[-1]["cause"] == "log_not_whole"
        status, review = await stand.call("GET", f"{PATH}/{grant}", "operator")
    assert (status, review["gaps_accepted"], "is gone" in review["next_step"]) == (200, True, True)
    told = {(one["path"], one["outcome"]): one["count"] for one in review["uses"] if one["event"] == "breakglass.used"}
    assert told[("other", "denied")] == 5  # beside the first of them
    assert sum(one["count"] for one in review["uses"] if one["event"] == "breakglass.used") == 10


async def reads_of(stand: Stand, client: UUID) -> Counter[tuple[str | None, str | None]]:
    """Who read the client's values, and under which grant, as an exposure report says it."""
    status, made = await stand.call("POST", "/v1/exposure", "operator", {"client_id": str(client)})
    assert status == 200, made
    return Counter((one["by"], one["grant_id"]) for one in made["report"]["reads"])


class LogOf:
    """The store's log, as if of other devices."""

    def __init__(self, real: Any, change: Callable[[DeviceHealth], DeviceHealth], torn: bool = False) -> None:
        self._real, self._change, self._torn = real, change, torn

    async def devices(self) -> list[DeviceHealth]:
        return [self._change(one) for one in await self._real.devices()]

    async def hash(self, device: str, value: Secret) -> str:
        return str(await self._real.hash(device, value))

    async def entries(self, device: str, *, since: datetime) -> AsyncIterator[StoreEntry]:
        async for entry in self._real.entries(device, since=since):
            yield replace(entry, kind="torn") if self._torn else entry


async def only_by_a_whole_log(stand: Stand, grant: str) -> None:
    """One that begins after the opening, has a torn line, or is not of each node: the review is refused."""
    real = stand.app.store_audit
    for log in (
        LogOf(real, lambda one: replace(one, recording_since=stand.app.clock.now())),
        LogOf(real, lambda one: replace(one, recording_since=None)),
        LogOf(real, lambda one: one, torn=True),
        LogOf(real, lambda one: replace(one, name=OTHER_NODE)),
    ):
        with pytest.raises(Unavailable) as refused:
            await watch.review(replace(stand.app, store_audit=log), holder(stand), UUID(grant))
        assert refused.value.code == "store_audit_unreadable"


class Failing:
    """A store that answers nothing but a failure."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def request(self, *_: Any, **__: Any) -> Any:
        raise _failure(self._status, {"errors": ["1 error occurred"]}, "")


def accessor(stand: Stand, grant: str, name: str) -> str:
    return str(next(one[name] for one in said(stand, grant) if name in one))[2:]


@pytest.mark.req("R4.2-2", "R4.2-6", "R4.2-7")
async def test_a_grant_ends_by_the_stores_clock_and_by_ours_and_nobody_makes_it_longer(stand: Stand) -> None:
    """Of no length, a negative or a too long one: refused. A second one lives a second; what is not unwrapped ends."""
    client = await stand.client("openai")
    for life_s in (0, -900, 3601, 2**31, 2**63):
        status, reply = await ask(stand, client, life_s=life_s)
        assert (status, reply["code"]) == (422, "bad_duration" if life_s < 2**63 else "bad_json"), life_s
    opening = await opened(stand, client, life_s=1)
    grant = opening["id"]
    async with at_store(stand) as call:
        token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
        async with root(stand) as (http, admin):
            with pytest.raises(ByokeepError):
                await http.request(
                    "POST", "auth/token/renew", token=admin, body={"token": Secret(token), "increment": "1h"}
                )
        await asyncio.sleep(1.5)
        assert (await call("GET", f"kv/data/clients/{client}/providers/openai", token))[0] == 403
    # However far back a host's clock was set: the database says when it is over, and the row says no later time.
    stand.db.sql(f"UPDATE byokeep.procedure_run SET facts = facts || '{{\"life_s\": 1}}' WHERE id = '{grant}'")
    await watch.watch(replace(stand.app, clock=SetBack()))
    assert "expired:ok" in kinds(stand, grant)
    assert (await stand.call("GET", f"{PATH}/{grant}", "operator"))[1]["status"] == "to_review"
    await end(stand, grant)
    opening = await opened(stand, client)
    with patched(model, "WRAPPED", timedelta(0)):
        await watch.watch(stand.app)
    assert [one["cause"] for one in said(stand, opening["id"]) if "cause" in one] == ["not_unwrapped"]
    async with at_store(stand) as call:
        assert (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[0] == 400
    assert "break_glass_review_overdue" not in stand.alerts()
    async with stand.app.db.begin(every_client=True) as tx:
        now = stand.app.clock.now()
        found = await read_due(tx, stand.app.limits, now, kind=DueKind.BREAK_GLASS, until=now + timedelta(days=2))
    assert opening["id"] in [row.item for row in found.items]
    with patched(model, "REVIEW_WITHIN", timedelta(seconds=-5)):
        await watch.watch(stand.app)
        assert "break_glass_review_overdue" in stand.alerts()
        counted = "SELECT count FROM byokeep.alert WHERE reason = 'break_glass_review_overdue'"
        once = stand.db.sql(counted)
        await watch.watch(stand.app)
        assert stand.db.sql(counted) == once
    await end(stand, opening["id"])
    assert "break_glass_review_overdue" not in stand.alerts()
    # A kill switch engaged afterwards ends it for good: no release gives the token back.
    opening = await opened(stand, client, scope="all")
    async with at_store(stand) as call:
        token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
        assert (await call("GET", f"kv/data/clients/{client}/providers/openai", token))[0] == 200
        account = await connect(stand, client, "x")  # live, and with no time for its renewal
        await put_access(stand, account, "an access token")
        place = f"kv/data/clients/{client}/providers/x/accounts/{account.id}/access"
        assert (await call("GET", place, token))[0] == 200
        body = {"client_id": str(client), "platform": "tiktok", "reason": "leak"}
        assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
        await watch.watch(stand.app)
        assert (await call("GET", f"kv/data/clients/{client}/providers/openai", token))[0] == 403
    assert [one["cause"] for one in said(stand, opening["id"]) if "cause" in one] == ["switch_closed"]
    assert "break_glass_not_renewed" in stand.alerts()
    assert "used:ok" in kinds(stand, opening["id"])


async def test_a_switch_that_nobody_can_read_counts_as_engaged(stand: Stand) -> None:
    """One of another installation, an unreadable and a missing one stop break glass as they stop leases, and end
    what is open."""
    client = await stand.client("openai")
    opening = await opened(stand, client)
    stand.db.sql("UPDATE byokeep.switch SET epoch = -1")
    await watch.watch(stand.app)
    assert [one["cause"] for one in said(stand, opening["id"]) if "cause" in one] == ["switch_unknown"]
    await end(stand, opening["id"])
    grant = UUID(await approved(stand, client))
    elsewhere = replace(stand.app, installation_id=uuid4())
    for change, app in (
        ("UPDATE byokeep.switch SET epoch = 0", elsewhere), ("UPDATE byokeep.switch SET epoch = -1", stand.app),
        ("DELETE FROM byokeep.switch", stand.app),
    ):  # fmt: skip
        stand.db.sql(change)
        with pytest.raises(Denied) as refused:
            await grants.open_glass(app, holder(stand), grant)
        assert refused.value.code == "switch_unknown", change


@contextlib.contextmanager
def patched(where: Any, name: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, value)
        yield


@pytest.mark.req("R4.2-1", "R4.2-8")
async def test_one_role_one_grant_and_no_way_past_the_audit(stand: Stand) -> None:
    """A second role under any name, a changed or a missing one: nothing opens, an alert that ends with it. No audit, no
    opening; a kill switch goes before; of two who ask at once one is told no.
    """
    client, other = await stand.client("openai"), await stand.client("openai")
    answers = await asyncio.gather(ask(stand, client), ask(stand, other), ask(stand, client))
    assert sorted(status for status, _ in answers) == [201, 409, 409]
    [grant] = [reply["id"] for status, reply in answers if status == 201]
    client = next(UUID(reply["client_id"]) for status, reply in answers if status == 201)
    assert {reply["code"] for status, reply in answers if status == 409} == {"break_glass_taken"}
    assert (await do(stand, grant, "approve", "approver"))[0] == 200
    wanted = lease_roles(stand.store.bao.desired)
    role, place = wanted[GLASS], "auth/lease/cel/role"
    async with root(stand) as (http, admin):

        async def put(name: str, body: Any) -> None:
            await http.request("DELETE", f"{place}/{name}", token=admin)
            if body is not None:
                await http.request("POST", f"{place}/{name}", token=admin, body=body)

        longer = role | {"cel_program": {"expression": role["cel_program"]["expression"].replace("3600", "36000")}}
        for name, body in (
            ("breakglass2", role), ("use-openai", role), ("use-openai", longer), (GLASS, longer), (GLASS, None),
        ):  # fmt: skip
            await put(name, body)
            assert (await do(stand, grant, "open", "operator"))[1]["code"] == "break_glass_role_not_alone", name
            assert "break_glass_role_not_alone" in stand.alerts()
            await put(name, wanted.get(name))
            await watch.watch_role(stand.app)
            assert "break_glass_role_not_alone" not in stand.alerts()
    for proof, code in (("store_recording", "store_not_recording"), ("platform_chain", "audit_chain_held")):
        dead = Freshness(1.0, lambda code=code: Unavailable(code))  # type: ignore[misc]
        for on_host in (False, True):
            app = replace(stand.app, on_host=on_host, **{proof: dead})
            with pytest.raises(Unavailable) as refused:
                await grants.open_glass(app, holder(stand), UUID(grant))
            assert refused.value.code == code
    assert (await stand.call("POST", "/v1/switches/close", "operator", {"client_id": str(client), "reason": "leak"}))[0]
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "switch_closed"
    assert [one.get("reason") for one in said(stand, grant)].count("break_glass_role_not_alone") == 5


def holder(stand: Stand) -> Actor:
    return Actor(id=stand.people["operator"].id, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())


@pytest.mark.req("R4.2-3", "R4.2-4", "S-OWASP-28")
async def test_what_is_opened_is_what_another_person_approved(stand: Stand) -> None:
    """No reason, no ticket, no approval, one's own, an old, an altered, a used one, an approver who may no more."""
    client = await stand.client("openai")
    bad = ("reason", ""), ("reason", "Because I want"), ("ticket", ""), ("ticket", "a ticket"), ("scope", "?")
    for changed in ({name: text} for name, text in (*bad, ("ticket", "sk-" + "a" * 24))):
        status, _ = await ask(stand, client, **changed)
        assert status == 422, changed
    assert (await ask(stand, client, "approver"))[0] == 403
    grant, approver = (await ask(stand, client))[1]["id"], stand.people["approver"].id
    by = "UPDATE byokeep.approval SET approved_by = {}, approved_at = {} WHERE used_at IS NULL"
    stand.db.sql(by.format(f"'{approver}'", "now()"))  # a row that says so, without the record of who approves
    assert (await do(stand, grant, "open", "operator"))[0] == 403
    stand.db.sql(by.format("NULL", "NULL"))
    assert (await do(stand, grant, "approve", "approver"))[1]["code"] == "approval_unrecorded"
    assert (await do(stand, grant, "deny", "approver"))[0] == 200
    grant = (await ask(stand, client))[1]["id"]
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_missing"
    assert (await do(stand, grant, "approve", "operator"))[1]["code"] == "not_permitted"
    assert (await do(stand, grant, "approve", "approver"))[0] == 200
    assert (await do(stand, grant, "open", stand.subject("operator", "another")))[1]["code"] == "not_the_holder"
    for fact, worth in (("scope", '"all"'), ("life_s", "3600"), ("cause", '"other"')):
        kept = stand.db.sql(f"SELECT facts FROM byokeep.procedure_run WHERE id = '{grant}'")
        stand.db.sql(
            f"UPDATE byokeep.procedure_run SET facts = facts || '{{\"{fact}\": {worth}}}' WHERE id = '{grant}'"
        )
        assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_changed", fact
        stand.db.sql(f"UPDATE byokeep.procedure_run SET facts = '{kept}' WHERE id = '{grant}'")
    drill = "UPDATE byokeep.procedure_run SET procedure = 'break_glass{}' WHERE id = '{}'"
    stand.db.sql(drill.format("_drill", grant))  # of which nobody asks for a review
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_changed"
    stand.db.sql(drill.format("", grant))
    with pytest.raises(Denied, match="approval_held"):  # an admin issued the holder a token meanwhile, alone
        await grants.open_glass(stand.app, replace(holder(stand), held=True), UUID(grant))
    stand.db.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{approver}'")
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approver_gone"
    stand.db.sql(f"UPDATE byokeep.subject SET state = 'active' WHERE id = '{approver}'")
    stand.db.sql(f"UPDATE byokeep.subject SET all_clients = false WHERE id = '{approver}'")
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approver_gone"
    stand.db.sql(f"UPDATE byokeep.subject SET all_clients = true WHERE id = '{approver}'")
    stand.db.sql("UPDATE byokeep.approval SET expires_at = now() WHERE used_at IS NULL")
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_expired"
    await watch.watch(stand.app)
    assert (await do(stand, grant, "open", "operator"))[1]["code"] == "approval_expired"
    assert (await stand.call("GET", f"{PATH}/{grant}", "operator"))[1]["status"] == "expired"
    assert {one["reason"] for one in said(stand, grant)} >= {
        "approval_missing", "not_the_holder", "approval_changed", "approver_gone", "approval_expired",
    }  # fmt: skip
    denied = (await ask(stand, client))[1]["id"]
    assert (await do(stand, denied, "deny", "approver"))[1]["status"] == "denied"
    assert (await do(stand, denied, "approve", "approver"))[1]["code"] == "approval_used"
    assert kinds(stand, denied) == ["requested:ok", "denied:ok", "approved:denied"]
    assert stand.db.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'breakglass.issued'"
                        " AND outcome IN ('ok', 'intended')") == "0"  # fmt: skip


@pytest.mark.req("S-OWASP-6")
async def test_a_drill_proves_that_the_door_opens(stand: Stand) -> None:
    """Approved by another, unwrapped, the marker read and nothing else, ended: on record, and the next one is due a
    quarter later; else it counts for none, nor does one that a clock which ran ahead dated."""
    client = await stand.client("openai")
    stand.db.sql("UPDATE byokeep.installation SET created_at = now() - interval '80 days'")

    async def stands() -> tuple[bool, int]:
        """Whether the list knows of a drill, and in how many days the next is due."""
        known = (await stand.call("GET", PATH, "auditor"))[1]["last_drill_at"] is not None
        now = stand.app.clock.now()
        async with stand.app.db.begin(every_client=True) as tx:
            rows = await read_due(tx, stand.app.limits, now, kind=DueKind.BREAK_GLASS, until=now + timedelta(days=600))
        [days] = [row.days for row in rows.items if row.item == "drill"]
        return known, days or 0

    assert await stands() == (False, 10)
    opening = await opened(stand, client, scope="drill", reason="drill", life_s=60)
    assert (await do(stand, opening["id"], "revoke", "operator"))[1]["status"] == "closed"
    assert "drilled:failed" in kinds(stand, opening["id"])
    assert await stands() == (False, 10)
    _, asked = await ask(stand, client, scope="drill", reason="drill", life_s=60)
    _, told = await do(stand, asked["id"], "approve", "approver")
    assert "`byokeep breakglass drill" in told["next_step"]
    _, opening = await do(stand, asked["id"], "open", "operator")
    async with at_store(stand) as call:
        token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
        assert (await call("GET", "kv/data/platform/breakglass-drill", token))[0] == 200
        await watch.watch(stand.app)
        assert set(stand.alerts()) == {"break_glass_drilled"}  # nobody is told that secrets were read
        for path in (f"kv/data/clients/{client}/providers/openai", "kv/data/platform/token-key"):
            assert (await call("GET", path, token))[0] == 403
    assert (await do(stand, opening["id"], "revoke", "operator"))[1]["status"] == "closed"
    assert kinds(stand, opening["id"])[-1] == "drilled:ok"
    assert "break_glass_used" in stand.alerts()  # it tried more than a drill does
    assert await stands() == (True, 90)
    stand.db.sql("ALTER TABLE byokeep.audit_record DISABLE TRIGGER USER;"
                 " UPDATE byokeep.audit_record SET at = at + interval '390 days' WHERE event = 'breakglass.drilled';"
                 " ALTER TABLE byokeep.audit_record ENABLE TRIGGER USER")  # fmt: skip
    assert await stands() == (False, 10)


@pytest.mark.req("R3.1-5", "R4.2-6")
async def test_a_wrapping_token_that_is_used_by_another_way_ends_the_grant(stand: Stand) -> None:
    """A thief who wraps it anew, or takes what is in it past the request that unwraps: seen at once, an incident, and
    the token is ended. Looking where it was made, as the holder's own command does, is no misuse. It opens no other
    route, of ours or of the store's, and shown twice in one request it is used up for nothing."""
    client = await stand.client("openai")
    here = f"kv/data/clients/{client}/providers/openai"
    for method, path in (("POST", "sys/wrapping/rewrap"), ("GET", "cubbyhole/response")):
        opening = await opened(stand, client)
        wrapping = opening["wrapping_token"]
        async with at_store(stand) as call:
            assert (await call("POST", "sys/wrapping/lookup", body={"token": wrapping}))[0] == 200
            await watch.watch(stand.app)
            assert (await stand.call("GET", f"{PATH}/{opening['id']}", "operator"))[1]["status"] == "open"
            if method == "GET":
                status, taken = await call(method, path, wrapping)
            else:  # somebody with a right of their own at the store
                async with root(stand) as (_, admin):
                    status, taken = await call(method, path, admin.reveal().decode(), {"token": wrapping})
            assert status == 200, (path, taken)
            if method == "GET":
                token = json.loads(taken["data"]["response"])["auth"]["client_token"]
            else:
                stolen = taken["wrap_info"]["token"]
                token = (await call("POST", "sys/wrapping/unwrap", stolen))[1]["auth"]["client_token"]
            assert (await call("GET", here, token))[0] == 200
            await watch.watch(stand.app)
            assert (await call("GET", here, token))[0] == 403
        assert "misused:failed" in kinds(stand, opening["id"])
        assert stand.db.sql("SELECT kind FROM byokeep.incident WHERE closed_at IS NULL") == "break_glass"
        stand.db.sql("DELETE FROM byokeep.incident")
        await end(stand, opening["id"])
    opening = await opened(stand, client)
    wrapping = opening["wrapping_token"]
    for path in (PATH, f"{PATH}/{opening['id']}", "/v1/self", "/v1/switches", f"/v1/clients/{client}/refs"):
        assert (await stand.call("GET", path, Person(uuid4(), wrapping)))[0] in (401, 404), path
    async with at_store(stand) as call:
        for path in (here, "auth/token/lookup-self", "sys/mounts"):
            assert (await call("GET", path, wrapping))[0] == 403, path
    await watch.watch(stand.app)
    assert "misused:failed" in kinds(stand, opening["id"])
    stand.db.sql("DELETE FROM byokeep.incident")
    await end(stand, opening["id"])
    opening = await opened(stand, client)
    wrapping = opening["wrapping_token"]
    async with at_store(stand) as call:  # in both header and body
        both = await call("POST", "sys/wrapping/unwrap", wrapping, {"token": wrapping})
        assert both[0] == 500, both
        assert (await call("POST", "sys/wrapping/unwrap", wrapping))[0] == 400  # it is used up
    await watch.watch(stand.app)
    assert "misused:failed" in kinds(stand, opening["id"])
    await end(stand, opening["id"])


@pytest.mark.req("S-VAULT-17")
async def test_what_is_handed_over_is_wrapped_and_not_for_long(stand: Stand) -> None:
    """For no time, for a month, or not at all: refused; a token that came unwrapped was ended before anybody had it."""
    client = await stand.client("openai")
    for life in (timedelta(0), timedelta(seconds=601), timedelta(days=30)):
        with patched(model, "WRAPPED", life):
            grant = await approved(stand, client)
            assert (await do(stand, grant, "open", "operator"))[1]["code"] == "bad_wrapping_life", life
        await do(stand, grant, "revoke", "operator")
        stand.db.sql(f"UPDATE byokeep.procedure_run SET closed_at = now(), state = 'failed' WHERE id = '{grant}'")
    login, given = stand.app.glass._login.http, list[str]()  # type: ignore[attr-defined]
    real = login.request

    async def bare(method: str, path: str, *, wrap_ttl_s: int | None = None, **more: Any) -> Any:
        reply = await real(method, path, **more)
        if wrap_ttl_s is not None:
            given.append(reply.auth["client_token"])
        return reply

    grant = await approved(stand, client)
    with patched(login, "request", bare):
        assert (await do(stand, grant, "open", "operator"))[1]["code"] == "not_wrapped"
    async with at_store(stand) as call:
        assert (await call("GET", f"kv/data/clients/{client}/providers/openai", given[0]))[0] == 403


@pytest.mark.req("S-VAULT-16")
@pytest.mark.parametrize("came", ["nothing", "used", "over", "made elsewhere", "wrapped again", "as given"])
async def test_the_holders_command_refuses_what_is_not_as_it_was_wrapped(
    stand: Stand, came: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own look says where and when the token was made; all but the one that was given is refused, and told."""
    client = await stand.client("openai")
    with patched(model, "WRAPPED", timedelta(seconds=1)) if came == "over" else contextlib.nullcontext():
        opening = await opened(stand, client)

    async def broker(method: str, path: str) -> Any:
        status, reply = await stand.call(method, path, "operator")
        assert status == 200, reply
        return reply

    monkeypatch.setattr(cli, "call_broker", broker)
    monkeypatch.setattr(cli, "session", lambda: SimpleNamespace(settings=SimpleNamespace(file=lambda _: None)))
    async with at_store(stand) as call, root(stand) as (_, admin):
        if came == "nothing":
            del opening["wrapping_token"]
        elif came == "used":
            await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"])
        elif came == "over":
            await asyncio.sleep(1.2)
        elif came == "made elsewhere":  # below the same prefix
            opening["wrapping_token"] = await wrapped_elsewhere(stand, admin)
        elif came == "wrapped again":
            body = {"token": opening["wrapping_token"]}
            status, taken = await call("POST", "sys/wrapping/rewrap", admin.reveal().decode(), body)
            assert (status, taken["wrap_info"]["creation_path"]) == (200, opening["creation_path"])
            opening["wrapping_token"] = taken["wrap_info"]["token"]
    if came == "as given":
        older = {name: value for name, value in opening.items() if name != "wrapped_at"}
        with pytest.raises(Rejected, match="wrapped_at_missing"):  # of the broker of a release before
            await cli._unwrapped(older)
        assert isinstance(await cli._unwrapped(opening), Secret)
        assert "misused:failed" not in kinds(stand, opening["id"])
        return
    with pytest.raises(Integrity, match="wrapping_token_misused"):
        await cli._unwrapped(opening)
    assert "misused:failed" in kinds(stand, opening["id"])
    assert "break_glass_misused" in stand.alerts()
    assert (await stand.call("GET", f"{PATH}/{opening['id']}", "auditor"))[1]["status"] == "to_review"


async def wrapped_elsewhere(stand: Stand, admin: Secret) -> str:
    """A wrapping token of another answer of the store, whose path begins as the one of a grant does."""
    socket = stand.store.address.removeprefix("unix://")
    headers = {"X-Vault-Token": admin.reveal().decode(), "X-Vault-Wrap-TTL": "60"}
    made = f"http://openbao/v1/auth/lease/cel/role/{GLASS}"
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as http,
        http.get(made, headers=headers) as reply,
    ):
        return str((await reply.json())["wrap_info"]["token"])


@pytest.mark.req("R4.2-7")
async def test_an_end_that_was_cut_off_or_raced_is_an_end(stand: Stand) -> None:
    """The holder tells of a misuse, and the process dies before the token is ended: the next look ends it. A round that
    looks at the grant in the moment of its revocation does not leave it open."""
    client = await stand.client("openai")
    here, real = f"kv/data/clients/{client}/providers/openai", stand.app.glass

    class Dies(BaoBreakGlass):
        async def revoke(self, *accessors: str) -> None:
            raise SystemError("killed")

    opening = await opened(stand, client)
    async with at_store(stand) as call:
        token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
        cut_off = replace(stand.app, glass=Dies(real._login))  # type: ignore[attr-defined]
        with pytest.raises(SystemError):
            await watch.misused(cut_off, holder(stand), UUID(opening["id"]))
        assert (await call("GET", here, token))[0] == 200
        await watch.watch(stand.app)
        assert (await call("GET", here, token))[0] == 403
    assert [one["cause"] for one in said(stand, opening["id"]) if "cause" in one] == ["told_by_holder", "misused"]
    await end(stand, opening["id"])
    opening, asked = await opened(stand, client), []

    class Raced(BaoBreakGlass):
        async def revoke(self, *accessors: str) -> None:
            await real.revoke(*accessors)
            asked.append(accessors)
            if len(asked) == 2:
                stand.db.sql(f"UPDATE byokeep.procedure_run SET revision = revision + 1 WHERE id = '{opening['id']}'")

    raced = replace(stand.app, glass=Raced(real._login))  # type: ignore[attr-defined]
    ended = await watch.revoke(raced, holder(stand), UUID(opening["id"]))
    assert (ended.status, len(asked)) == ("to_review", 3)
    await end(stand, opening["id"])


@pytest.mark.req("R4.2-1", "R4.2-2", "R4.2-4", "R4.2-8")
async def test_whoever_loses_the_right_or_is_too_late_gets_nothing(stand: Stand) -> None:
    """Of 100 who approve, and of 100 who open at once, one does. A kill switch that is engaged while the store answers
    goes before. A holder who is disabled or held, loses the role or the client, has no token any more. Machines ask for
    none.
    """
    client = await stand.client("openai")
    here = f"kv/data/clients/{client}/providers/openai"
    for who in ("runner", "dispatcher"):
        assert (await ask(stand, client, who))[0] == 403
    grant = (await ask(stand, client))[1]["id"]
    for who in ("runner", "dispatcher", "auditor", "admin"):
        assert (await do(stand, grant, "approve", who))[0] == 403
    approving = await asyncio.gather(*(do(stand, grant, "approve", "approver") for _ in range(100)))
    answers = await asyncio.gather(*(do(stand, grant, "open", "operator") for _ in range(100)))
    for replies in (approving, answers):  # a busy machine has no connection free for some: they get nothing done
        assert [status for status, _ in replies if status not in (403, 503)] == [200]
        assert {reply["code"] for status, reply in replies if status == 503} <= {"no_connection_free"}
    assert {reply["code"] for status, reply in answers if status == 403} == {"approval_used"}
    assert kinds(stand, grant).count("issued:ok") == 1
    await end(stand, grant)
    operator = stand.people["operator"].id
    of = f"byokeep.subject SET {{}} WHERE id = '{operator}'"
    for gone, back in (("state = 'disabled'", "state = 'active'"), ("roles = '{auditor}'", "roles = '{operator}'"),
                       ("all_clients = false", "all_clients = true"),
                       ("held_until = now() + interval '1 day'", "held_until = NULL")):  # fmt: skip
        opening = await opened(stand, client)
        async with at_store(stand) as call:
            token = (await call("POST", "sys/wrapping/unwrap", opening["wrapping_token"]))[1]["auth"]["client_token"]
            assert (await call("GET", here, token))[0] == 200
            stand.db.sql("UPDATE " + of.format(gone))
            await watch.watch(stand.app)
            assert (await call("GET", here, token))[0] == 403, gone
        stand.db.sql("UPDATE " + of.format(back))
        assert [one["cause"] for one in said(stand, opening["id"]) if "cause" in one] == ["holder_gone"]
        await end(stand, opening["id"])
    grant = await approved(stand, client, scope="all")
    real, given = stand.app.glass, []

    class Meanwhile(BaoBreakGlass):
        async def issue(self, *args: Any, **more: Any) -> Any:
            given.append(await real.issue(*args, **more))
            body = {"client_id": str(client), "platform": "tiktok", "reason": "leak"}
            assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
            return given[0]

    meanwhile = Meanwhile(stand.app.glass._login)  # type: ignore[attr-defined]
    with pytest.raises(Denied) as refused:
        await grants.open_glass(replace(stand.app, glass=meanwhile), holder(stand), UUID(grant))
    assert refused.value.code == "switch_closed"
    async with at_store(stand) as call:
        assert (await call("POST", "sys/wrapping/unwrap", given[0].token))[0] == 400
    assert "issued:denied" in kinds(stand, grant)


async def test_what_is_denied_while_the_store_answers_is_not_handed_over(stand: Stand) -> None:
    """The approver says no while the store makes the token: it stays denied, and the token is worth nothing."""
    client = await stand.client("openai")
    grant, real, given = await approved(stand, client), stand.app.glass, []

    class Meanwhile(BaoBreakGlass):
        async def issue(self, *args: Any, **more: Any) -> Any:
            given.append(await real.issue(*args, **more))
            assert (await do(stand, grant, "deny", "approver"))[1]["status"] == "denied"
            return given[0]

    meanwhile = replace(stand.app, glass=Meanwhile(real._login))  # type: ignore[attr-defined]
    with pytest.raises(Denied, match="approval_used"):
        await grants.open_glass(meanwhile, holder(stand), UUID(grant))
    async with at_store(stand) as call:
        assert (await call("POST", "sys/wrapping/unwrap", given[0].token))[0] == 400
    assert (await stand.call("GET", f"{PATH}/{grant}", "operator"))[1]["status"] == "denied"
    assert kinds(stand, grant)[-2:] == ["denied:ok", "issued:denied"]
