"""The kill switch: closes alone and at once, holds at the store, opens in pairs."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.openbao import ports as openbao_ports
from byokeep.adapters.openbao.ports import EntityCutoff
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Denied, NotFound, Pending, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.jobs import switches
from byokeep.kernel.app import ServiceLimits
from byokeep.kernel.command import open_alert, raise_alert
from byokeep.tenancy.scopes import parse_scope
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.broker import Stand, broker_ports, standing
from tests.support.postgres import drop_database, fresh_database, short_home
from tests.support.profiles import hold, put_profile, reported

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def close(stand: Stand, who: str = "operator", **scope: Any) -> tuple[int, Any]:
    return await stand.call("POST", "/v1/switches/close", who, {"reason": "suspected_leak"} | scope)


async def reopen(stand: Stand, **scope: Any) -> tuple[int, Any]:
    status, wish = await stand.call(
        "POST", "/v1/switches/open-requests", "operator", {"reason": "incident_over"} | scope
    )
    assert status == 201, wish
    return await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver")


async def store_serves(lease: dict[str, Any]) -> bool:
    async with BaoHttp(lease["store"]["address"]) as http:
        try:
            token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
            await read_secret(http, token, lease["secrets"]["openai"]["path"], 1, lease["lease_id"])
        except Denied:
            return False
    return True


def names_its_switch(refusal: dict[str, Any], scope: str, reason: str = "suspected_leak") -> None:
    """A refusal says which switch it is, why, and who may release it."""
    assert (refusal["code"], refusal["scope"], refusal["reason"]) == ("switch_closed", scope, reason)
    assert f"Kill switch {scope} is engaged: {reason}." in refusal["next_step"]
    assert "operator asks to release it (`byokeep kill off`), and an approver approves it." in refusal["next_step"]


async def ready(stand: Stand) -> tuple[UUID, dict[str, Any]]:
    client = await stand.client("openai")
    stand.account(client)
    return client, await stand.lease(await stand.job(client))


async def test_a_client_is_cut_off_at_broker_and_store(stand: Stand) -> None:
    """When the close is acknowledged, lease, heartbeat, permit and store refuse; another client goes on."""
    client, lease = await ready(stand)
    other, other_lease = await ready(stand)
    assert await store_serves(lease)
    status, reply = await close(stand, client_id=str(client))
    assert (status, reply["closed"], reply["epoch"], reply["store_cut_off"]) == (200, True, 1, True)
    assert not await store_serves(lease)
    names_its_switch((await stand.permit(lease["lease_id"]))[1], f"client:{client}")
    names_its_switch((await stand.call("GET", f"/v1/leases/{lease['lease_id']}", "runner"))[1], f"client:{client}")
    assert (
        stand.db.sql(f"SELECT state FROM byokeep.job WHERE client_id = '{client}' AND reason <> 'enroll'") == "killed"
    )
    fields = json.loads(stand.events("switch.store_cut_off")[0])["fields"]
    assert fields["entities"] == 1
    assert fields["took_us"] > 0
    assert (await stand.permit(other_lease["lease_id"]))[0] == 201
    assert await store_serves(await stand.lease(await stand.job(other)))


async def test_the_global_switch_stops_every_client(stand: Stand) -> None:
    """One act stops all clients at broker and store; opening it lets back those whose own switch is open."""
    first, first_lease = await ready(stand)
    second, second_lease = await ready(stand)
    assert (await close(stand, client_id=str(first)))[0] == 200
    assert (await close(stand, reason="incident"))[0] == 200
    names_its_switch((await stand.permit(first_lease["lease_id"]))[1], "global", "incident")  # the widest is named
    assert not await store_serves(first_lease)
    assert not await store_serves(second_lease)
    body = {"client_id": str(second), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
    assert (await stand.call("POST", "/v1/jobs", "dispatcher", body))[1]["code"] == "switch_closed"
    assert (await reopen(stand))[0] == 200
    assert await store_serves(await stand.lease(await stand.job(second)))
    assert (await stand.call("POST", "/v1/jobs", "dispatcher", body | {"client_id": str(first)}))[0] == 403
    assert (await reopen(stand, client_id=str(first)))[0] == 200
    assert await store_serves(await stand.lease(await stand.job(first)))


async def test_a_client_opened_under_a_closed_global_switch_stays_out(stand: Stand) -> None:
    """Opening a client's own switch lets nobody in while the global one is closed."""
    client, _ = await ready(stand)
    assert (await close(stand, client_id=str(client)))[0] == (await close(stand))[0] == 200
    assert (await reopen(stand, client_id=str(client)))[0] == 200
    jwt = await stand.app.signer.sign_jwt(
        {"iss": f"byokeep/{stand.app.installation_id}", "aud": "openbao", "sub": "x", "job_id": "x",
         "client_id": str(client), "kind": "use", "secrets": ["openai"],
         "iat": int(time.time()), "nbf": int(time.time()), "exp": int(time.time()) + 3}
    )  # fmt: skip
    async with BaoHttp(stand.store.address) as http:
        with pytest.raises(Denied):
            await lease_login(http, Secret(jwt), "use-openai")
        assert (await reopen(stand))[0] == 200
        await lease_login(http, Secret(await stand.app.signer.sign_jwt(_again(jwt))), "use-openai")


def _again(jwt: str) -> dict[str, Any]:
    import base64

    claims = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))
    now = int(time.time())
    return dict(claims) | {"iat": now, "nbf": now, "exp": now + 3}


@pytest.mark.parametrize("scope", [{"platform": "x"}, {"lane": "api"}])
async def test_a_narrow_switch_stops_its_effects_only(stand: Stand, scope: dict[str, str]) -> None:
    """A platform's or lane's switch denies its effects and leaves the lease and other effects alone."""
    client = await stand.client("openai")
    stand.account(client)
    profile = put_profile(stand, client, stand.account(client, platform="tiktok", lanes="browser"))
    job = await stand.job(client, platforms=["x", "tiktok"], lanes=["api", "browser"])
    hold(stand, profile, job)
    lease = await stand.lease(job)
    await reported(stand, client, lease["lease_id"])
    status, reply = await close(stand, client_id=str(client), **scope)
    assert (status, reply["store_cut_off"]) == (200, False)
    names_its_switch((await stand.permit(lease["lease_id"]))[1], reply["scope"])
    assert (await stand.permit(lease["lease_id"], platform="tiktok", lane="browser"))[0] == 201
    assert (await stand.call("GET", f"/v1/leases/{lease['lease_id']}", "runner"))[0] == 200
    assert await store_serves(lease)
    assert (await reopen(stand, client_id=str(client), **scope))[0] == 200
    assert (await stand.permit(lease["lease_id"]))[0] == 201


async def test_a_dry_run_names_the_jobs_and_stops_none(stand: Stand) -> None:
    """Of a client or all: the jobs that end. Of a platform or lane: those whose acts it refuses. Nothing is changed."""
    client, other = await stand.client("openai"), await stand.client("openai")
    posts, reads = await stand.job(client), await stand.job(client, platforms=[], lanes=[], effects=[])
    others, over = await stand.job(other), await stand.job(client)
    assert (await stand.call("POST", f"/v1/jobs/{over}/close", "dispatcher"))[0] == 200

    async def named(who: Any = "operator", **scope: Any) -> tuple[bool, set[str]]:
        status, found = await stand.call("POST", "/v1/switches/preview", who, scope)
        assert (status, found["more"]) == (200, False), found
        return found["ends_jobs"], {job["id"] for job in found["jobs"]}

    assert await named(client_id=str(client)) == (True, {str(posts), str(reads)})
    assert await named(client_id=str(client), platform="x") == (False, {str(posts)})
    assert await named(client_id=str(client), lane="browser") == (False, set())
    assert await named() == (True, {str(posts), str(reads), str(others)})
    mine = stand.subject("operator", clients=(other,))
    assert await named(mine) == (True, {str(others)})  # it would stop all; whose jobs those are is not everybody's
    body = {"client_id": str(client)}
    assert (await stand.call("POST", "/v1/switches/preview", mine, body))[0] == 404
    for role in ("dispatcher", "runner", "custodian", "auditor"):
        assert (await stand.call("POST", "/v1/switches/preview", role, {}))[0] == 403
    assert stand.db.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"
    assert stand.db.sql("SELECT count(*) FROM byokeep.job WHERE state = 'open'") == "3"


async def test_a_scope_and_reason_must_be_meant(stand: Stand) -> None:
    """Platform without client, both platform and lane, unknown names and prose as reason are refused."""
    client = str(await stand.client())
    for body in (
        {"platform": "x"}, {"lane": "api"}, {"client_id": client, "platform": "x", "lane": "api"},
        {"platform": "x", "lane": "browser"}, {"client_id": "all", "lane": "browser"}, {"lane": "Browser"},
        {"client_id": client, "platform": "openai"}, {"client_id": client, "lane": "fax"},
        {"client_id": client, "reason": "The key leaked!"}, {"client_id": client, "reason": ""},
        {"client_id": client.upper()}, {"client": client},
    ):  # fmt: skip
        assert (await close(stand, **body))[0] == 422, body
    assert (await close(stand, client_id=str(uuid4())))[0] == 404
    assert (await close(stand, client_id=str(uuid4()), lane="browser"))[0] == 404
    for role in ("dispatcher", "runner", "custodian", "auditor"):
        assert (await close(stand, role))[0] == 403
    stranger = stand.subject("operator", clients=())
    body = {"client_id": client, "reason": "drill"}
    assert (await stand.call("POST", "/v1/switches/close", stranger, body))[0] == 404
    assert stand.db.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"


async def test_opening_needs_two_people_once_and_in_time(stand: Stand) -> None:
    """The asker can not approve, an approval works once, within fifteen minutes, for the state that was seen."""
    client = str((await ready(stand))[0])
    wish_body = {"client_id": client, "reason": "incident_over"}
    status, refused = await stand.call("POST", "/v1/switches/open-requests", "operator", wish_body)
    assert (status, refused["code"], "already released" in refused["next_step"]) == (409, "switch_not_closed", True)
    unknown = {"client_id": str(uuid4()), "reason": "incident_over"}
    assert (await stand.call("POST", "/v1/switches/open-requests", "operator", unknown))[0] == 404
    await close(stand, client_id=client)

    async def ask() -> str:
        status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", wish_body)
        assert status == 201
        return f"/v1/switches/open-requests/{wish['id']}/approve"

    first = await ask()
    for role, expected in (("operator", 403), ("admin", 403), ("auditor", 403), ("runner", 403)):
        assert (await stand.call("POST", first, role))[0] == expected
    stand.db.sql("UPDATE byokeep.approval SET requested_by = '" + str(stand.people["approver"].id) + "'")
    assert (await stand.call("POST", first, "approver"))[1]["code"] == "same_person"
    stand.db.sql("UPDATE byokeep.approval SET expires_at = now()")
    second = await ask()
    assert (await close(stand, client_id=client))[1]["epoch"] == 2
    assert (await stand.call("POST", second, "approver"))[1]["code"] == "epoch_changed"
    third = await ask()
    stand.db.sql("UPDATE byokeep.approval SET expires_at = now() WHERE used_at IS NULL")
    assert (await stand.call("POST", third, "approver"))[1]["code"] == "approval_expired"
    fourth = await ask()
    answers = await asyncio.gather(*(stand.call("POST", fourth, "approver") for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 403, 403, 403, 403]
    used = (await stand.call("POST", fourth, "approver"))[1]
    assert used["code"] == "approval_used"
    assert re.match(r".+ approved it at \d{4}-\d\d-\d\d \d\d:\d\dZ\. If `byokeep kill", used["next_step"])
    assert (await stand.call("POST", f"/v1/switches/open-requests/{uuid4()}/approve", "approver"))[0] == 404
    assert (await stand.call("POST", "/v1/switches/open-requests", "operator", wish_body))[1]["code"] == (
        "switch_not_closed"
    )
    assert len(stand.events("switch.opened", "ok")) == 1
    assert len(stand.events("switch.opened", "denied")) >= 4


async def test_people_of_some_clients_stop_everything_and_open_nothing_of_it(stand: Stand) -> None:
    """The global switch is opened by two people of all clients; those of one may close it, ask for and approve none."""
    client = await stand.client()
    operator, approver = (stand.subject(role, clients=(client,)) for role in ("operator", "approver"))
    body = {"reason": "suspected_leak"}
    assert (await stand.call("POST", "/v1/switches/close", operator, body))[0] == 200
    status, reply = await stand.call("POST", "/v1/switches/open-requests", operator, {"reason": "incident_over"})
    assert (status, reply["code"]) == (403, "not_permitted")
    status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", {"reason": "incident_over"})
    assert status == 201
    status, reply = await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", approver)
    assert (status, reply["code"]) == (403, "not_permitted")
    assert stand.db.sql("SELECT closed FROM byokeep.switch WHERE scope = 'global'") == "t"
    assert stand.events("switch.opened", "denied")
    assert (await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver"))[0] == 200


async def test_a_closed_switch_has_one_request_to_open(stand: Stand) -> None:
    """Asking again, by many at once, names the request that waits; it is listed until it is void, used or too old."""
    client, other = str(await stand.client()), str(await stand.client())
    second = stand.subject("operator", "second")
    narrow = stand.subject("operator", "narrow", clients=(UUID(other),))

    async def listed(who: Any = "approver") -> list[Any]:
        return list((await stand.call("GET", "/v1/switches", who))[1]["requests"])

    for ends in ("close", "expire", "approve"):
        await close(stand, client_id=client)
        assert await listed() == []
        body = {"client_id": client, "reason": "incident_over"}
        answers = await asyncio.gather(
            *(stand.call("POST", "/v1/switches/open-requests", who, body) for who in ["operator", second] * 4)
        )
        assert sorted((status, reply["repeated"]) for status, reply in answers) == [(200, True)] * 7 + [(201, False)]
        (wish,) = {reply["id"] for _, reply in answers}
        (shown,) = await listed()
        assert (shown["id"], shown["scope"], shown["reason"]) == (wish, f"client:{client}", "incident_over")
        assert await listed(narrow) == []
        if ends == "expire":
            stand.db.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE id = '{wish}'")
            assert await listed() == []
        elif ends == "approve":
            assert (await stand.call("POST", f"/v1/switches/open-requests/{wish}/approve", "approver"))[0] == 200
            assert await listed() == []
    assert len(stand.events("switch.open_requested", "ok")) == 3


async def test_the_rule_of_reasons_is_in_the_refusal(stand: Stand) -> None:
    """A reason that is no code is refused with the rule; an open switch is said to be open whatever the reason."""
    client = str(await stand.client())
    for reason in ("x", "Because I say so", "a" * 64):
        status, reply = await close(stand, client_id=client, reason=reason)
        assert (status, reply["code"], "2 to 63" in reply["next_step"]) == (422, "bad_reason", True)
    status, reply = await stand.call(
        "POST", "/v1/switches/open-requests", "operator", {"client_id": client, "reason": "x"}
    )
    assert (status, reply["code"]) == (409, "switch_not_closed")


async def test_an_unreachable_store_leaves_the_switch_closed_and_is_tried_again(stand: Stand) -> None:
    """The caller hears 503 store_cut_off_pending, nothing is served here, opening waits, and a retry finishes it."""
    client, lease = await ready(stand)
    actor = Actor(id=stand.people["operator"].id, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())

    class Unreachable:
        async def disable(self, *entity_ids: str) -> None:
            raise Unavailable("store_unreachable")

        async def enable(self, *entity_ids: str) -> None:
            raise Unavailable("store_unreachable")

        async def enroll(self, jwt: str) -> str:
            raise Unavailable("store_unreachable")

    cut = replace(stand.app, cutoff=Unreachable())
    with pytest.raises(Pending) as caught:
        await switches.close(cut, actor, parse_scope(client, None, None), "suspected_leak")
    assert (caught.value.code, caught.value.exit_code) == ("store_cut_off_pending", 7)
    assert caught.value.next_step.startswith("Engaged; store half still to come.")
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    with pytest.raises(Unavailable):
        await switches.cut_off_pending(cut)
    for _ in range(90):  # the served broker finds it by itself, once nobody can be at it any more
        if stand.db.sql("SELECT store_cut_off FROM byokeep.switch WHERE closed") == "t":
            break
        await asyncio.sleep(0.1)
    assert not await store_serves(lease)
    assert stand.db.sql("SELECT store_cut_off FROM byokeep.switch WHERE closed") == "t"
    assert await switches.cut_off_pending(stand.app) == 0
    assert len(stand.events("switch.store_cut_off")) == 1


async def test_a_cut_off_that_the_round_finishes_first_is_recorded_once(stand: Stand) -> None:
    """The round takes the same cut-off while the caller's is at the store: one record, one answer."""
    client = await stand.client("openai")

    class Overtaken(EntityCutoff):
        async def disable(self, *entity_ids: str) -> None:
            await stand.app.cutoff.disable(*entity_ids)
            async with asyncio.timeout(60):  # the row is committed meanwhile
                while not await switches.cut_off_pending(stand.app):
                    await asyncio.sleep(0.01)

    app, actor = replace(stand.app, cutoff=Overtaken(stand.app.signer._login)), stand.app.system()  # type: ignore[attr-defined]
    switch = await switches.engage(app, actor, parse_scope(client, None, None), "drill")
    assert switch.store_cut_off
    assert len(stand.events("switch.store_cut_off")) == 1


@pytest.mark.parametrize("scope", ["client", "global"])
@pytest.mark.parametrize("looks", [True, False])
async def test_a_killed_client_let_in_at_the_store_is_cut_off_again(stand: Stand, scope: str, looks: bool) -> None:
    """The broker's identity lets the entity in past us: within a round it is out again, told of where we may look."""
    client, lease = await ready(stand)
    other, open_lease = await ready(stand)
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    cutoff = stand.app.cutoff
    if not looks:  # a store of one's own that was not provisioned since

        class Blind(EntityCutoff):
            async def disabled(self, entity_id: str) -> bool | None:
                return None

        cutoff = Blind(cutoff._login)  # type: ignore[attr-defined]
    app = replace(stand.app, cutoff=cutoff)
    await close(stand, **({"client_id": str(client)} if scope == "client" else {}))
    assert await switches.cut_off_again(app) == 0
    assert stand.alerts() == []
    await stand.app.cutoff.enable(entity)
    assert await switches.cut_off_again(app) == (1 if looks else 0)
    assert await stand.app.cutoff.disabled(entity) is True
    assert not await store_serves(lease)
    assert stand.alerts() == (["cut_off_undone"] if looks else [])
    status, _ = await reopen(stand, **({"client_id": str(client)} if scope == "client" else {}))
    assert status == 200
    assert await switches.cut_off_again(app) == 0
    assert await stand.app.cutoff.disabled(entity) is False
    if scope == "client":
        assert await stand.app.cutoff.disabled(stand.db.sql(
            f"SELECT entity_id FROM byokeep.client WHERE id = '{other}'")) is False  # fmt: skip
        assert open_lease


@pytest.mark.parametrize("scope", ["client", "global"])
async def test_a_kill_of_a_client_that_the_store_does_not_know_holds_and_ends(
    stand: Stand, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store from before its enrolment lets nobody in under it: the kill holds once nothing signed before is alive."""
    client, _ = await ready(stand)
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    lost, _ = await ready(stand)
    stand.db.sql(f"UPDATE byokeep.client SET entity_id = gen_random_uuid() WHERE id = '{lost}'")
    assert await switches.follow_store(stand.app) == [], "a broker starts beside it"
    what = {"client_id": str(lost)} if scope == "client" else {}
    assert (await close(stand, **what))[1]["code"] == "store_cut_off_pending"
    assert stand.db.sql("SELECT store_cut_off FROM byokeep.switch WHERE closed") == "f"
    monkeypatch.setattr(openbao_ports, "_OUTLIVED_S", 0.0)
    await switches.cut_off_pending(stand.app)
    assert stand.db.sql("SELECT store_cut_off FROM byokeep.switch WHERE closed") == "t"
    if scope == "global":  # the one that is not known keeps no other from being looked after
        await stand.app.cutoff.enable(entity)
        assert await switches.cut_off_again(stand.app) == 1
        assert await stand.app.cutoff.disabled(entity) is True
    assert (await reopen(stand, **what))[0] == 200
    assert await stand.app.cutoff.disabled(entity) is False


async def test_those_that_the_store_does_not_know_are_passed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is waited for once, whoever else is not known yet; one that the store knows again is waited for anew."""
    seconds, known = [0.0], set[str]()
    monkeypatch.setattr(openbao_ports, "time", SimpleNamespace(monotonic=lambda: seconds[0]))

    async def request(_: str, path: str, **__: object) -> None:
        if path.rpartition("/")[2] not in known:
            raise NotFound("not_found")

    cutoff = EntityCutoff(cast("Any", SimpleNamespace(request=request)))
    one, other = str(uuid4()), str(uuid4())
    for at, asked, passes in (
        (0, (one,), False), (20, (one, other), False), (66, (one, other), False), (86, (one, other), True),
        (87, (one,), False), (153, (one,), True), (154, (one,), False),
    ):  # fmt: skip
        seconds[0] = float(at)
        with contextlib.nullcontext() if passes else pytest.raises(Unavailable, match="entity_unknown"):
            await cutoff.disable(*asked)
    known.add(one)
    await cutoff.disable(one)
    known.remove(one)
    seconds[0] = 300.0
    with pytest.raises(Unavailable, match="entity_unknown"):
        await cutoff.disable(one)


async def test_an_opening_and_the_cutting_off_again_do_not_cross(stand: Stand) -> None:
    """What looked undone is judged anew under the switch's lock: a client that was opened meanwhile stays in."""
    client, _ = await ready(stand)
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    await close(stand, client_id=str(client))

    class Late(EntityCutoff):
        async def disabled(self, entity_id: str) -> bool | None:
            assert (await reopen(stand, client_id=str(client)))[0] == 200
            return False

    late = Late(stand.app.cutoff._login)  # type: ignore[attr-defined]
    assert await switches.cut_off_again(replace(stand.app, cutoff=late)) == 0
    assert await stand.app.cutoff.disabled(entity) is False
    assert stand.alerts() == []


@pytest.mark.parametrize("scope", ["client", "global"])
async def test_a_kill_after_forged_leases_is_not_released_before_the_key_was_rotated(stand: Stand, scope: str) -> None:
    """The refusal names the command; a rotation of before the alert does not count, one since does. Closing the alert
    does not, nor does a service's own word for a rotation."""
    client, _ = await ready(stand)
    what = {"client_id": str(client)} if scope == "client" else {}
    rotated = Event(name=EventName.CONFIG_CHANGED, actor=stand.app.system(), outcome=Outcome.OK,
                    fields={"component": "lease-key"})  # fmt: skip
    owner = PostgresDatabase(stand.db.url("byokeep_owner"), pool_size=1)
    for _ in range(2):
        async with owner.begin() as tx:
            await tx.append(rotated)
        await raise_alert(stand.app, reason="login_unexplained", key="reconcile/login", severity="critical")
        await close(stand, **what)
        status, reply = await reopen(stand, **what)
        assert (status, reply["code"]) == (409, "lease_key_suspect")
        assert "byokeep incident rotate-leases" in reply["next_step"]
        async with stand.app.db.begin(every_client=True) as tx:
            await tx.append(rotated)
        stand.db.sql("UPDATE byokeep.alert SET closed_at = now()")
        assert (await reopen(stand, **what))[1]["code"] == "lease_key_suspect"
        async with owner.begin() as tx:
            await tx.append(rotated)
        assert (await reopen(stand, **what))[0] == 200
    await owner.close()


async def test_an_open_alert_that_counts_another_forged_login_after_a_rotation_holds_the_release(stand: Stand) -> None:
    """The alert of the first login is open still and counts the second, so its opening lies before the rotation. What
    happened before the rotation, and is only found or counted again afterwards, holds nothing."""
    await ready(stand)
    owner = PostgresDatabase(stand.db.url("byokeep_owner"), pool_size=1)

    async def counted(at: datetime) -> None:
        async with stand.app.db.begin(every_client=True) as tx:
            await open_alert(tx, stand.app, None, reason="login_unexplained", key="reconcile/login", at=at)  # fmt: skip

    before = datetime.now(UTC)
    await counted(before)
    async with owner.begin() as tx:
        await tx.append(Event(name=EventName.CONFIG_CHANGED, actor=stand.app.system(), outcome=Outcome.OK,
                              fields={"component": "lease-key"}))  # fmt: skip
    await owner.close()
    await counted(before)
    await close(stand)
    assert (await reopen(stand))[0] == 200
    await counted(datetime.now(UTC))
    assert stand.db.sql("SELECT count FROM byokeep.alert WHERE reason = 'login_unexplained'") == "2"
    await close(stand)
    status, reply = await reopen(stand)
    assert (status, reply["code"]) == (409, "lease_key_suspect")


async def test_whoever_holds_the_lock_can_not_keep_a_kill_out(stand: Stand) -> None:
    """A session that sits on the scope's lock delays a kill by seconds; it holds all the same, and people are told."""
    client, lease = await ready(stand)
    key = f"byokeep.scope_lock_key('client:{client}')"
    async with await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_broker"), autocommit=True) as holder:
        await holder.execute(f"SELECT pg_advisory_lock_shared({key})")
        async with asyncio.timeout(60):  # the lock is held for ever
            status, reply = await close(stand, client_id=str(client))
        assert (status, reply["closed"], reply["store_cut_off"]) == (200, True, True), reply
    assert not await store_serves(lease)
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    await told(stand)


async def told(stand: Stand) -> None:
    """People are told of ended sessions; a kill's answer does not wait for that."""
    async with asyncio.timeout(20):
        while "switch_lock_held" not in stand.alerts():
            await asyncio.sleep(0.05)


HOLDS = {
    "byokeep_web": ("access.decided", "denied"), "byokeep_worker": ("access.decided", "denied"),
    "byokeep_broker": ("audit.hashed", "ok"), "byokeep_auditor": ("audit.read", "ok"),
}  # fmt: skip


@contextlib.asynccontextmanager
async def holding(stand: Stand, role: str, client: UUID | None = None) -> AsyncIterator[Any]:
    """A session of a service's role that appended a record and does not commit, whatever its role's settings say."""
    event, outcome = HOLDS[role]
    by, chain = uuid4(), client or stand.app.installation_id
    said = canonical_json(
        {"v": 1, "event": event, "outcome": outcome, "actor": str(by), "roles": ["auditor"],
         "client": str(client) if client else None, "object": None, "request": str(by), "fields": {}}
    )  # fmt: skip
    async with await psycopg.AsyncConnection.connect(stand.db.conninfo(role), autocommit=True) as held:
        await held.execute("SET idle_in_transaction_session_timeout = 0")
        await held.execute("BEGIN")
        await held.execute(
            "SELECT byokeep.audit_append(%s, %s, %s, NULL, %s, %s, %s)", (chain, event, by, by, outcome, said)
        )
        yield held
        with contextlib.suppress(psycopg.Error):
            await held.rollback()


@pytest.mark.parametrize("role", HOLDS)
async def test_no_role_of_the_database_keeps_the_global_kill_out(stand: Stand, role: str) -> None:
    """An open transaction on the platform's chain is ended for a kill, which holds at once and is on record."""
    _, lease = await ready(stand)
    async with holding(stand, role), holding_next(stand, role):
        assert (await stand.permit(lease["lease_id"]))[0] == 201, "a permit does not wait for the platform's chain"
        status, reply = await close(stand)
        assert (status, reply.get("closed"), reply.get("store_cut_off")) == (200, True, True), reply
    assert not await store_serves(lease)
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    assert len(stand.events("switch.closed")) == 1
    assert stand.events("switch.store_cut_off")
    await told(stand)


@contextlib.asynccontextmanager
async def holding_next(stand: Stand, role: str) -> AsyncIterator[None]:
    """Another session of the role, which stands in line for the same chain."""

    async def wait() -> None:
        with contextlib.suppress(psycopg.Error):
            async with holding(stand, role):
                await asyncio.sleep(30)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.2)
    yield
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def test_no_role_of_the_database_keeps_a_person_in(stand: Stand) -> None:
    """Ending a token and disabling its person end who holds the platform's chain, and tell of it."""
    runner = stand.people["runner"].id
    token = stand.db.sql(f"SELECT id FROM byokeep.api_token WHERE subject_id = '{runner}'").split()[0]
    for method, path, body in (
        ("DELETE", f"/v1/tokens/{token}", None), ("PATCH", f"/v1/operators/{runner}", {"state": "disabled"})
    ):  # fmt: skip
        stand.db.sql("DELETE FROM byokeep.alert")
        async with holding(stand, "byokeep_web"):
            status, reply = await stand.call(method, path, "admin", body)
            assert status == 200, reply
        assert "audit_chain_held" in stand.alerts()


async def test_a_client_s_held_chain_does_not_keep_its_kill_out(stand: Stand) -> None:
    """The same for the kill of one client, whose chain is held; nobody else's session is touched."""
    client, lease = await ready(stand)
    other, _ = await ready(stand)
    async with holding(stand, "byokeep_worker", client), holding(stand, "byokeep_web", other) as spared:
        status, reply = await close(stand, client_id=str(client))
        assert (status, reply.get("closed"), reply.get("store_cut_off")) == (200, True, True), reply
        await spared.execute("SELECT 1")
    assert not await store_serves(lease)


async def test_only_who_keeps_the_broker_waiting_can_be_ended(stand: Stand) -> None:
    """It ends nobody for another's session, none for one that does not wait, and no other role may call it."""
    mine = await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_broker"), autocommit=True)
    web = await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_web"), autocommit=True)
    async with mine, web, holding(stand, "byokeep_web") as held:

        async def ended(pid: int) -> int:
            row = await (await mine.execute("SELECT byokeep.end_blockers(%s::integer)", (pid,))).fetchone()
            return int((row or (0,))[0])

        assert await ended(mine.info.backend_pid) == 0
        async with holding_next(stand, "byokeep_worker"):
            await asyncio.sleep(1.2)
            waiting = int(stand.db.sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                       " AND usename = 'byokeep_worker'"))  # fmt: skip
            assert await ended(waiting) == 0, "the worker's session is not the broker's"
        await held.execute("SELECT 1")
        for role in ("byokeep_web", "byokeep_worker", "byokeep_auditor"):
            async with await psycopg.AsyncConnection.connect(stand.db.conninfo(role)) as other:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await other.execute("SELECT byokeep.end_blockers(1)")


async def test_a_slow_store_does_not_hold_a_kill_for_long(stand: Stand) -> None:
    """With a store that never answers a kill is effective here and answers without it (S-ASVS-33)."""
    client, lease = await ready(stand)
    actor = Actor(id=stand.people["operator"].id, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())

    answered: list[str] = []

    class Slow:
        async def disable(self, *entity_ids: str) -> None:
            await asyncio.sleep(60)
            answered.extend(entity_ids)

        async def enable(self, *entity_ids: str) -> None:
            await asyncio.sleep(60)

        async def enroll(self, jwt: str) -> str:
            await asyncio.sleep(60)
            return ""

    task = asyncio.create_task(
        switches.close(replace(stand.app, cutoff=Slow()), actor, parse_scope(client, None, None), "drill")
    )
    await asyncio.sleep(0.5)
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    with pytest.raises(Unavailable):
        await task
    assert answered == []


@pytest.mark.parametrize("scope", ["client", "global", "platform"])
async def test_no_permit_is_issued_after_the_acknowledgement(stand: Stand, scope: str) -> None:
    """Sixteen loops ask for permits while a close runs: not one permit is younger than its record."""
    client, lease = await ready(stand)
    acked = 0.0
    late = 0
    issued = 0

    async def loop() -> None:
        nonlocal late, issued
        while True:
            asked = time.monotonic()
            status, reply = await stand.permit(lease["lease_id"])
            if status == 201:
                issued += 1
                late += bool(acked) and asked > acked
            elif reply["code"] in ("switch_closed", "job_not_open"):
                return

    loops = [asyncio.create_task(loop()) for _ in range(16)]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(60):  # a busy machine may need longer to be in the thick of it
        while issued <= 16:
            await asyncio.sleep(0.01)
    body: dict[str, Any] = {} if scope == "global" else {"client_id": str(client)}
    if scope == "platform":
        body["platform"] = "x"
    status, _ = await close(stand, **body)
    acked = time.monotonic()
    await asyncio.gather(*loops)
    assert (status, late) == (200, 0)
    assert issued > 16
    order = stand.db.sql(
        "SELECT count(*) FROM byokeep.permit"
        " WHERE issued_at > (SELECT max(at) FROM byokeep.audit_record WHERE event = 'switch.closed')"
    )
    assert order == "0"


async def test_enrolment_is_idempotent_and_waits_for_open_switches(stand: Stand) -> None:
    """Enrolling again gives the same entity; a closed switch, a wrong role or a suspended client is refused."""
    client = await stand.client()
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    assert await stand.call("POST", f"/v1/clients/{client}/enroll", "admin") == (200, {"state": "active"})
    assert stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'") == entity
    assert len(stand.events("client.enrolled", "ok")) == 1
    fresh = uuid4()
    stand.db.sql(
        f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{fresh}', 'Client fresh',"
        f" '{stand.people['admin'].id}')"
    )
    for role in ("operator", "approver", "dispatcher", "runner"):
        assert (await stand.call("POST", f"/v1/clients/{fresh}/enroll", role))[0] == 403
    await close(stand)
    assert (await stand.call("POST", f"/v1/clients/{fresh}/enroll", "admin"))[1]["code"] == "switch_closed"
    await reopen(stand)
    stand.db.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{fresh}'")
    assert (await stand.call("POST", f"/v1/clients/{fresh}/enroll", "admin"))[1]["code"] == "client_not_enrolling"
    assert (await stand.call("POST", f"/v1/clients/{uuid4()}/enroll", "admin"))[0] == 404


async def test_a_client_that_was_suspended_during_a_kill_works_once_it_is_resumed(stand: Stand) -> None:
    """The release lets it in at the store as well: nobody else would, and the next start would call that a kill."""
    client = await stand.client("openai")
    assert (await stand.call("POST", f"/v1/clients/{client}/suspend", "admin"))[0] == 200
    await close(stand)
    assert (await reopen(stand))[0] == 200
    assert (await stand.call("POST", f"/v1/clients/{client}/resume", "admin"))[0] == 200
    assert await store_serves(await stand.lease(await stand.job(client)))
    assert await switches.follow_store(stand.app) == []


async def test_switches_are_listed_to_those_they_concern(stand: Stand) -> None:
    """Everybody sees the global switch and those of their clients; a missing global switch is an error."""
    client, other = await stand.client(), await stand.client()
    await close(stand, client_id=str(client))
    await close(stand, client_id=str(other))
    mine = stand.subject("operator", clients=(client,))
    status, reply = await stand.call("GET", "/v1/switches", mine)
    assert (status, [found["scope"] for found in reply["switches"]]) == (200, [f"client:{client}", "global"])
    assert len((await stand.call("GET", "/v1/switches", "auditor"))[1]["switches"]) == 3
    assert (await stand.call("GET", "/v1/switches", "custodian"))[0] == 403
    stand.db.sql("DELETE FROM byokeep.switch WHERE scope = 'global'")
    assert (await stand.call("GET", "/v1/switches", "operator"))[0] == 503


async def test_killing_with_two_hundred_leases_ends_them_all(stand: Stand) -> None:
    """F6: twenty kills of clients with two hundred live leases between them: none permits anything afterwards."""
    clients = [await stand.client("openai") for _ in range(20)]
    leases: list[dict[str, Any]] = []
    for client in clients:
        job = await stand.job(client)
        leases += await asyncio.gather(*(stand.lease(job) for _ in range(10)))
    for client in clients:
        assert (await close(stand, client_id=str(client)))[0] == 200
    assert len(leases) == 200
    for lease in leases[::10]:
        assert (await stand.permit(lease["lease_id"]))[1]["code"] in ("switch_closed", "job_not_open")
    assert stand.db.sql("SELECT count(*) FROM byokeep.job WHERE state = 'open'") == "0"


@pytest.mark.req("S-ASVS-33")
async def test_two_hundred_callers_of_a_slow_store_do_not_hold_a_kill(postgres_server: Any, store: Any) -> None:
    """While two hundred leases wait for a signature, a kill is acknowledged at once and permits are still decided."""

    class SlowSigner:
        def __init__(self, real: Any) -> None:
            self.real, self.slow, self.told = real, False, asyncio.Event()

        async def sign_jwt(self, claims: dict[str, Any]) -> str:
            if self.slow:
                await self.told.wait()
                raise Unavailable("store_timeout")
            return str(await self.real.sign_jwt(claims))

    signer, home = SlowSigner(None), short_home()
    database = fresh_database(postgres_server)
    try:
        async with (
            broker_ports(database, store, home) as ports,
            standing(database, store, signer=signer, limits=ServiceLimits(client_leases_per_second=10_000)) as stand,
        ):
            signer.real = ports.signer
            client, lease = await ready(stand)
            _, other_lease = await ready(stand)
            job = await stand.job(client)
            signer.slow = True
            calls = [asyncio.create_task(stand.call("POST", f"/v1/jobs/{job}/leases", "runner")) for _ in range(200)]
            await asyncio.sleep(1)
            assert (await close(stand, client_id=str(client)))[0] == 200
            assert (await stand.permit(other_lease["lease_id"]))[0] == 201
            signer.told.set()  # until now no signature was made or refused
            assert {status for status, _ in await asyncio.gather(*calls)} <= {503, 403}
            assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    finally:
        drop_database(database)
        shutil.rmtree(home, ignore_errors=True)
