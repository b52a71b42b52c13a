"""Keys that guard browser profiles, as people ask for them: over HTTP, through the queue, done by the worker."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.postgres.database import build_app
from byokeep.core.audit import canonical_payload
from byokeep.core.errors import Denied, Integrity, Rejected, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.kek import check_rotation_days
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, Role
from byokeep.kernel.asking import digest_of
from byokeep.kernel.command import open_alert
from byokeep.profiles import kek, kek_tasks
from byokeep.profiles.kek_tasks import register
from byokeep.settings import load
from tests.support.keks import Keys, keys_on
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
]


OPEN = "task_name = 'kek_end' AND status = 'todo'"


class Asked(Keys):
    """A desk beside the worker for keys."""

    desk: Desk

    async def call(self, method: str, path: str, who: str = "operator", body: Any = None) -> tuple[int, Any]:
        return await self.desk.call(method, path, who, body)

    async def work(self) -> None:
        """Run what waits in the queue."""
        queue = build_app(self.stand.db.url("byokeep_worker"))
        register(queue, self.app)
        queue.periodic_registry.periodic_tasks.clear()
        async with queue.open_async():
            await queue.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)

    async def listed(self, who: str = "operator") -> list[dict[str, Any]]:
        status, found = await self.call("GET", "/v1/keks", who)
        assert status == 200, found
        return list(found["keks"])


@pytest.fixture
async def asked(desk: Desk) -> AsyncIterator[Asked]:
    async with keys_on(desk.stand) as made:
        one = Asked(made.stand, made.app, made.deks)
        one.desk = desk
        yield one
        assert desk.not_once_on_record() == []


@pytest.mark.req("R6.1-7")
async def test_a_rotation_is_asked_for_and_done_on_record(asked: Asked) -> None:
    """The worker makes the version in the name of who asked; a policy that says nothing or over 366 days is refused."""
    client = await asked.client()
    await asked.profile(client)
    for days in (None, 0, 367):
        with pytest.raises(Rejected, match="kek_rotation_days_out_of_range"):
            check_rotation_days(days)
    for text in ("0", "367", "never", ""):
        with pytest.raises(Rejected):
            load(environ={"BYOKEEP_KEK_ROTATION_DAYS": text})
    path = f"/v1/clients/{client}/kek/rotate"
    for who, status in (("auditor", 403), ("approver", 403), ("admin", 403), ("runner", 401), ("custodian", 401)):
        assert (await asked.call("POST", path, who, {"reason": "scheduled"}))[0] == status, who
    assert (await asked.call("POST", path, body={"reason": "Because!"}))[1]["code"] == "bad_reason"
    assert await asked.call("POST", path, body={"reason": "scheduled"}) == (
        202, {"client_id": str(client), "after_version": 1},
    )  # fmt: skip
    await asked.work()
    assert [(one["version"], one["state"], one["dependents"]) for one in await asked.listed()] == [
        (1, "deactivated", 0), (2, "active", 1),
    ]  # fmt: skip
    (turned,) = [json.loads(one) for one in asked.stand.events("kek.rotated", "ok")]
    assert turned["actor"] == str(asked.stand.people["operator"].id)
    assert (turned["fields"]["from_version"], turned["fields"]["kek_version"]) == (1, 2)
    assert len(asked.stand.events("kek.rotation_done", "ok")) == 1
    assert (await asked.call("POST", f"/v1/clients/{client}/kek/rewrap"))[1]["code"] == "nothing_to_rewrap"
    fresh = await asked.profile(client, platform="tiktok")
    assert asked.sql(f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{fresh}'") == "2"


async def test_a_rotation_that_ran_out_of_tries_is_taken_up_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the name of who asked for it, so another person ends the old version; a refused one waits for a person."""
    client, refused = await asked.client(), await asked.client()

    async def away(*_: object) -> str:
        raise Unavailable("store_unreachable")

    for one in (client, refused):
        await asked.kek(one)
    monkeypatch.setattr(kek_tasks, "confirm", away)
    for one in (client, refused):
        with pytest.raises(Unavailable):
            await kek_tasks.rotate(asked.app, asked.person("approver"), one, expected=1, reason="scheduled")
    monkeypatch.undo()
    assert await kek_tasks.go_on(asked.app) == 0  # its task may still be at it
    asked.sql("UPDATE byokeep.kek_version SET made_at = made_at - interval '2 minutes' WHERE version = 2")
    async with asked.app.db.begin(client_id=refused) as tx:
        await open_alert(tx, asked.app, asked.system, reason="kek_not_moved", client_id=refused)
    assert await kek_tasks.go_on(asked.app) == 1
    assert await kek_tasks.go_on(asked.app) == 0  # it waits
    await asked.work()
    states = "SELECT string_agg(version || state, ',' ORDER BY version) FROM byokeep.kek_version WHERE client_id ="
    assert asked.sql(f"{states} '{client}'") == "1deactivated,2active"
    assert asked.sql(f"{states} '{refused}'") == "1active,2pre_activation"
    with pytest.raises(Denied, match="same_person"):
        await asked.end(client, 1)


async def test_a_check_that_was_not_made_is_unknown(asked: Asked) -> None:
    """Before the first comparison the list says unknown; then match; another client's key is not shown."""
    client, other = await asked.client(), await asked.client()
    await asked.kek(client)
    await asked.kek(other)
    assert {one["check"] for one in await asked.listed()} == {"unknown"}
    assert (await asked.call("POST", f"/v1/clients/{client}/kek/check", "auditor"))[0] == 202
    await asked.work()
    assert {one["kek"]: one["check"] for one in await asked.listed()} == {
        f"development-{client}": "match", f"development-{other}": "unknown",
    }  # fmt: skip
    foreign = asked.stand.subject("auditor", clients=(await asked.client(),))
    assert await asked.listed(foreign) == []
    for path in ("dependents", "versions/1/history"):
        assert (await asked.call("GET", f"/v1/keks/development-{client}/{path}", foreign))[0] == 404


@pytest.mark.req("R2.3-6")
async def test_an_old_version_is_ended_by_another_person(asked: Asked) -> None:
    """Refused with the count while something hangs on it; then an approver ends it, and never who deactivated it."""
    client = await asked.client()
    profile = await asked.profile(client, generations=2)  # the older one can be restored
    await kek_tasks.rotate(asked.app, asked.person("approver"), client, expected=1, reason="scheduled")
    name = f"development-{client}"
    path = f"/v1/keks/{name}/versions/1/end"
    status, reply = await asked.call("POST", path, "approver", {"reason": "not_needed"})
    assert (status, reply["code"], reply["dependents"]) == (409, "kek_has_dependents", 2)
    found = (await asked.call("GET", f"/v1/keks/{name}/dependents?version=1", "auditor"))[1]
    assert (found["count"], found["dependents"][0]["profile"]) == (2, str(profile))
    assert found["dependents"][0]["accounts"] == [f"x/acme{profile.hex[:8]}"]
    await asked.work()
    assert (await asked.call("POST", path, "approver", {"reason": "not_needed"}))[1]["code"] == "same_person"
    assert (await asked.call("POST", path, "operator", {"reason": "not_needed"}))[0] == 403
    asked.sql(f"UPDATE byokeep.vault_key_transition SET by = '{asked.stand.people['operator'].id}' WHERE kind = 'kek'")
    newest = f"/v1/keks/{name}/versions/2/end"
    assert (await asked.call("POST", newest, "approver", {"reason": "not_needed"}))[1]["code"] == "kek_has_dependents"
    assert (await asked.call("POST", path, "approver", {"reason": "not_needed"}))[0] == 202
    other = asked.stand.subject("approver", "second")
    status, waits = await asked.desk.call("POST", path, other, {"reason": "not_needed"})
    assert (status, waits["code"], waits["asked_by"]) == (
        409, "kek_end_waiting", str(asked.stand.people["approver"].id),
    )  # fmt: skip
    assert asked.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE request_id = '{waits['request']}'") == "1"
    assert asked.sql("SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE task_name = 'kek_end'") == "1"
    await asked.work()
    moves = (await asked.call("GET", f"/v1/keks/{name}/versions/1/history"))[1]["moves"]
    assert [(one["to"], one["by"] == str(asked.stand.people["approver"].id)) for one in moves] == [
        ("active", False), ("deactivated", False), ("destroyed", True),
    ]  # fmt: skip
    assert moves[-1]["reason"] == "not_needed"
    assert datetime.fromisoformat(moves[-1]["at"])
    assert [(one["version"], one["state"]) for one in await asked.listed()] == [(1, "destroyed"), (2, "active")]
    async with asked.custody(client) as custody:
        shown = await custody.keys.versions(asked.scope(client))
    assert [one.number for one in shown.versions] == [2]  # the store itself opens nothing with the other


async def test_an_end_that_takes_older_versions_along_takes_another_person_for_each(asked: Asked) -> None:
    """Who let an older one protect nothing more does not end it by ending a younger one; refused twice."""
    client = await asked.client()
    await asked.kek(client)
    name = f"development-{client}"
    for expected, who in ((1, "approver"), (2, "operator")):
        await kek_tasks.rotate(asked.app, asked.person(who), client, expected=expected, reason="scheduled")
        await asked.work()
        asked.sql("UPDATE byokeep.kek_rotation SET state = 'done', ended_at = now() WHERE ended_at IS NULL")
    assert [one["state"] for one in await asked.listed()] == ["deactivated", "deactivated", "active"]
    path = f"/v1/keks/{name}/versions/2/end"
    status, reply = await asked.call("POST", path, "approver", {"reason": "not_needed"})
    assert (status, reply["code"]) == (403, "same_person")
    with pytest.raises(Denied, match="same_person"):
        await kek_tasks.end_versions(
            asked.app, asked.person("approver"), client, kek_id=name, holder="transit", version=2,
            reason="not_needed",
        )  # fmt: skip
    assert [one["state"] for one in await asked.listed()] == ["deactivated", "deactivated", "active"]
    other = asked.stand.subject("approver", "a second approver")
    assert (await asked.desk.call("POST", path, other, {"reason": "not_needed"}))[0] == 202
    await asked.work()
    assert [one["state"] for one in await asked.listed()] == ["destroyed", "destroyed", "active"]


async def test_ends_of_two_versions_are_both_done(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for one after the other and find OpenBao away: neither gives way, neither is given up."""
    client = await asked.client()
    await asked.kek(client)
    for expected in (1, 2):
        await kek_tasks.rotate(asked.app, asked.person(), client, expected=expected, reason="scheduled")
    for version in (1, 2):
        path = f"/v1/keks/development-{client}/versions/{version}/end"
        assert (await asked.call("POST", path, "approver", {"reason": "not_needed"}))[0] == 202, version
    at_last = f"UPDATE procrastinate.procrastinate_jobs SET attempts = 9, scheduled_at = NULL WHERE {OPEN}"
    with monkeypatch.context() as away:
        away.setattr(kek_tasks, "compared", AsyncMock(side_effect=Unavailable("store_unreachable")))
        asked.sql(at_last)
        await asked.work()
    assert asked.sql(f"SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE {OPEN}") == "2"
    asked.sql(at_last)
    await asked.work()
    assert [one["state"] for one in await asked.listed()] == ["destroyed", "destroyed", "active"]


@pytest.mark.req("S-NIST-16")
async def test_a_compromise_lists_every_key_and_is_done_at_zero(asked: Asked) -> None:
    """Also keys that a rewrap moved away count; all are compromised, and every profile that one of them ever guarded is
    due, though sealed anew since; the plan is done when none is left."""
    client, other = await asked.client(), await asked.client()
    moved, stays = await asked.profile(client), await asked.profile(other)
    name = f"development-{client}"
    assert (await asked.call("GET", f"/v1/keks/{name}/versions/1/plan"))[1]["code"] == "kek_not_compromised"
    await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": "scheduled"})
    await asked.work()
    late = await asked.profile(client, platform="tiktok")  # under version 2: not of it
    asked.sql(
        f"""INSERT INTO byokeep.profile_generation SELECT (jsonb_populate_record(g, jsonb_build_object(
            'generation', 2, 'dek_id', gen_random_uuid(), 'blob_key', blob_key || '-2'))).*
            FROM byokeep.profile_generation g WHERE profile_id = '{moved}';
            UPDATE byokeep.profile SET generation = 2 WHERE id = '{moved}'"""
    )
    path = f"/v1/keks/{name}/versions/1/compromise"
    assert (await asked.call("POST", path, "auditor", {"reason": "suspected_leak"}))[0] == 403
    status, plan = await asked.call("POST", path, "approver", {"reason": "suspected_leak"})
    assert (status, plan["state"], plan["remaining"], plan["done"]) == (200, "compromised", 1, False)
    assert [(one["profile"], one["client_id"], one["accounts"]) for one in plan["left"]] == [
        (str(moved), str(client), [f"x/acme{moved.hex[:8]}"])
    ]
    states = dict(
        row.split("|")
        for row in asked.sql(
            "SELECT profile_id, key_state FROM byokeep.profile_generation WHERE generation = 1"
        ).splitlines()
    )
    assert states == {str(moved): "compromised", str(stays): "active", str(late): "active"}
    assert "kek_compromised" in asked.stand.alerts()
    assert asked.sql("SELECT id FROM byokeep.profile WHERE due_cause = 'incident'") == str(moved)
    for state in ("destroyed",):
        asked.sql(f"UPDATE byokeep.profile_generation SET key_state = '{state}' WHERE profile_id = '{moved}'")
    plan = (await asked.call("GET", f"/v1/keks/{name}/versions/1/plan"))[1]
    assert (plan["found"], plan["remaining"], plan["done"]) == (1, 0, True)


async def test_who_has_logged_in_afresh_since_is_asked_for_no_other_login(asked: Asked) -> None:
    """Of profiles whose first key was exposed: what a job sealed anew is due, what was restored after the login, and
    what that login itself sealed."""
    client = await asked.client()
    platforms = "x", "tiktok", "linkedin", "meta"
    used, again, back, first = [await asked.profile(client, platform=platform) for platform in platforms]
    await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": "scheduled"})
    await asked.work()
    sealed = (used, 2, "validate"), (again, 2, "login"), (back, 2, "login"), (back, 3, "restore")
    for profile, generation, kind in sealed:
        job, of = uuid4(), f"profile_id = '{profile}' AND generation ="
        asked.sql(
            f"""INSERT INTO byokeep.job SELECT (jsonb_populate_record(j, jsonb_build_object('id', '{job}'))).*
                FROM byokeep.job j JOIN byokeep.profile_generation g ON g.job_id = j.id WHERE {of} 1;
                INSERT INTO byokeep.profile_generation SELECT (jsonb_populate_record(g, jsonb_build_object(
                'generation', {generation}, 'dek_id', gen_random_uuid(), 'blob_key', blob_key || '-{generation}',
                'job_id', '{job}'))).* FROM byokeep.profile_generation g WHERE {of} 1;
                INSERT INTO byokeep.profile_work (id, client_id, profile_id, job_id, kind, state, asked_by,
                confirmed_by, confirmed_at, ended_at) SELECT '{job}', client_id, profile_id, job_id, '{kind}', 'done',
                sealed_by, sealed_by, now(), now() FROM byokeep.profile_generation WHERE {of} {generation};
                UPDATE byokeep.profile SET generation = {generation} WHERE id = '{profile}'"""
        )
    asked.sql(
        f"""INSERT INTO byokeep.profile_work (id, client_id, profile_id, job_id, kind, state, asked_by, confirmed_by,
            confirmed_at, ended_at) SELECT job_id, client_id, profile_id, job_id, 'login', 'done', sealed_by, sealed_by,
            now(), now() FROM byokeep.profile_generation WHERE profile_id = '{first}'"""
    )
    path = f"/v1/keks/development-{client}/versions/1/compromise"
    assert (await asked.call("POST", path, "approver", {"reason": "suspected_leak"}))[0] == 200
    due = asked.sql("SELECT id FROM byokeep.profile WHERE due_cause = 'incident'").splitlines()
    assert set(due) == {str(used), str(back), str(first)}


async def test_a_rotation_leaves_what_is_compromised_where_it_is(asked: Asked) -> None:
    """No version that is compromised opens anything, a rewrap included; its end still waits until the keys are gone."""
    client = await asked.client()
    seen = await asked.profile(client)
    path = f"/v1/keks/development-{client}/versions/1"
    assert (await asked.call("POST", f"{path}/compromise", "approver", {"reason": "suspected_leak"}))[0] == 200
    await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": "compromised"})
    await asked.work()
    row = asked.sql(f"SELECT kek_version, key_state FROM byokeep.profile_generation WHERE profile_id = '{seen}'")
    assert row == "1|compromised"
    assert asked.sql("SELECT state, moved FROM byokeep.kek_rotation") == "done|0"
    assert asked.stand.events("kek.rewrapped") == []
    states = [(one["version"], one["state"]) for one in await asked.listed()]
    assert sorted(states) == [(1, "compromised"), (2, "active")]
    status, reply = await asked.call("POST", f"{path}/end", "approver", {"reason": "not_needed"})
    assert (status, reply["code"]) == (409, "kek_has_dependents")


async def test_a_version_that_an_older_database_lacks_is_passed(asked: Asked) -> None:
    """Put back alone, it has no row for what OpenBao made since. An operator names the newest such version: they count
    as compromised, the next one protects, and an open rotation goes on to it. A first version has none before it."""
    client, first = await asked.client(), await asked.client()
    profile, kek_id = await asked.profile(client), f"development-{client}"
    await kek_tasks.rotate(asked.app, asked.person(), client, expected=1, reason="scheduled")
    asked.sql("SET search_path = procrastinate; DELETE FROM procrastinate_jobs")  # its rewrap is under way
    rotate = ("POST", f"tenant/keys/{kek_id}/rotate", dict[str, object]())
    made: dict[str, object] = {"type": "aes256-gcm96", "derived": True}
    await asked.as_root(rotate, rotate, ("POST", f"tenant/keys/development-{first}", made))
    for whose, version in ((client, 4), (first, 1)):
        with pytest.raises(Integrity, match="kek_unknown_outside"):
            await asked.kek(whose)
        said = {"reason": "older_database", "past": version}
        assert (await asked.call("POST", f"/v1/clients/{whose}/kek/rotate", body=said))[0] == 202
    path = f"/v1/clients/{client}/kek/rotate"
    assert (await asked.call("POST", path, body={"reason": "again", "past": 2}))[1]["code"] == "bad_kek_version"
    await asked.work()
    states = {(one["client_id"], one["version"]): (one["state"], one["dependents"]) for one in await asked.listed()}
    gone, old = ("compromised", 0), ("deactivated", 0)
    assert states == {
        (str(client), 1): old, (str(client), 2): old, (str(client), 3): gone, (str(client), 4): gone,
        (str(client), 5): ("active", 1), (str(first), 1): gone, (str(first), 2): ("active", 0),
    }  # fmt: skip
    assert asked.sql("SELECT count(*) FROM byokeep.kek_rotation WHERE state = 'rewrapping'") == "0"
    async with asked.custody(client) as custody:
        assert await asked.opens(custody, client, profile)
    for whose in (client, first):
        assert await kek_tasks.check(asked.app, asked.system, whose) == ()
        assert await asked.kek(whose) == (5 if whose == client else 2)
    assert await asked.end(client, 4) == 4


async def test_a_compromise_of_the_version_that_a_rotation_goes_to_keeps_nobody_from_the_next(asked: Asked) -> None:
    """What the rotation had not moved yet moves to the next version; it had been refused until the rotation ended."""
    client = await asked.client()
    profile = await asked.profile(client)
    await kek_tasks.rotate(asked.app, asked.person(), client, expected=1, reason="scheduled")
    path = f"/v1/keks/development-{client}/versions/2/compromise"
    assert (await asked.call("POST", path, body={"reason": "suspected_leak"}))[0] == 200
    said = {"reason": "compromised"}
    assert (await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body=said))[0] == 202
    await asked.work()
    row = f"SELECT kek_version, key_state FROM byokeep.profile_generation WHERE profile_id = '{profile}'"
    assert asked.sql(row) == "3|active"
    assert asked.sql("SELECT from_version, to_version, state, moved FROM byokeep.kek_rotation") == "2|3|done|1"


@pytest.mark.req("S-NIST-6")
async def test_a_compromise_after_the_end_is_recorded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destroyed version keeps its row; that it was compromised can still be said, also again if that was cut off, and
    its impact is still told."""
    client = await asked.client()
    profile = await asked.profile(client)
    await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": "scheduled"})
    await asked.work()
    await asked.end(client, 1)
    path = f"/v1/keks/development-{client}/versions/1/compromise"
    with monkeypatch.context() as cut:
        cut.setattr(kek, "compromise_key", AsyncMock(side_effect=Unavailable("database_unavailable")))
        assert (await asked.call("POST", path, body={"reason": "found_later"}))[0] == 503
    status, plan = await asked.call("POST", path, body={"reason": "found_later"})
    assert (status, plan["state"], plan["compromised_at"] is not None) == (200, "destroyed", True)
    assert [one["profile"] for one in plan["left"]] == [str(profile)]
    assert (await asked.call("POST", path, body={"reason": "found_later"}))[1]["code"] == "key_moved"
    assert await kek_tasks.check(asked.app, asked.system, client) == ()


async def test_a_compromise_waits_for_a_seal_and_not_the_seal_for_it(asked: Asked) -> None:
    """Whoever seals or rewraps changes its rows and records it then; so does a compromise, or each would wait."""
    client = await asked.client()
    profile = await asked.profile(client)
    path = f"/v1/keks/development-{client}/versions/1/compromise"
    with psycopg.connect(asked.stand.db.conninfo("byokeep_worker")) as seal:
        seal.execute("SELECT set_config('byokeep.client_id', %s, true)", [str(client)])
        held = "SELECT dek_id FROM byokeep.profile_generation WHERE profile_id = %s FOR UPDATE"
        assert seal.execute(held, [profile]).fetchall()
        marked = asyncio.create_task(asked.call("POST", path, body={"reason": "exposed"}))
        await asyncio.sleep(0.5)
        assert not marked.done()
        async with asked.app.db.begin(every_client=True) as tx:
            known = (await kek.versions(tx, ids=[client]))[-1]
            await kek.note(tx, EventName.KEK_CHECKED, asked.system, known, Outcome.OK, found=0)
    assert (await marked)[0] == 200


async def use(asked: Asked, client: UUID, *, protected_ago: timedelta = timedelta(0)) -> str:
    """What a wrap and an unwrap with version 1 come to: two codes."""
    codes = []
    at = {"holder": "transit", "kek_id": f"development-{client}", "version": 1}
    async with asked.app.db.begin(client_id=client) as tx:
        now = (await kek.held(tx, kek_id=str(at["kek_id"]), version=1)).now
    for act in ("protect", "process"):
        try:
            async with asked.app.db.begin(client_id=client) as tx:
                if act == "protect":
                    await kek.check_protect(tx, asked.app, **at)  # type: ignore[arg-type]
                else:
                    await kek.check_process(
                        tx,
                        asked.app,
                        **at,  # type: ignore[arg-type]
                        protected_at=now - protected_ago,
                    )
            codes.append("ok")
        except (Rejected, Denied) as error:
            codes.append(error.code)
    return " ".join(codes)


@pytest.mark.req("R2.3-4", "S-NIST-4", "S-NIST-8")
async def test_each_state_and_period_lets_do_what_it_may(asked: Asked) -> None:
    """State first, then the periods: what may wrap, and what may unwrap."""
    client = await asked.client()
    await asked.kek(client)
    where = f"WHERE kek_id = 'development-{client}'"
    asked.sql(f"UPDATE byokeep.kek_version SET made_at = now() - interval '100 days' {where}")
    day = timedelta(days=1)
    assert await use(asked, client, protected_ago=day) == "ok ok"
    for state, said in (
        ("pre_activation", "key_state key_state"), ("deactivated", "key_state ok"),
        ("compromised", "key_state key_compromised"), ("destroyed", "key_state key_state"),
    ):  # fmt: skip
        asked.sql(f"UPDATE byokeep.kek_version SET state = '{state}' {where}")
        assert await use(asked, client, protected_ago=day) == said, state
    over = "protect_until = now() - interval '1 hour', process_until = now() + interval '1 day'"
    asked.sql(f"UPDATE byokeep.kek_version SET state = 'active', {over} {where}")
    assert await use(asked, client, protected_ago=day) == "key_period_over ok"
    asked.sql(f"UPDATE byokeep.kek_version SET process_until = now() - interval '1 minute' {where}")
    for state, said in (("active", "key_period_over"), ("deactivated", "key_state")):
        asked.sql(f"UPDATE byokeep.kek_version SET state = '{state}' {where}")
        assert await use(asked, client, protected_ago=day) == f"{said} key_period_over"
    for wrong in ("process_until = protect_until - interval '1 day'", "protect_until = now() + interval '3 years'"):
        with pytest.raises(Unavailable):  # the database refuses it
            asked.sql(f"UPDATE byokeep.kek_version SET {wrong} {where}")


@pytest.mark.req("S-NIST-3")
async def test_a_suspended_key_opens_what_is_older_than_its_suspension(asked: Asked) -> None:
    """It protects nothing; what was sealed before opens, what is stamped inside the span does not, then or later."""
    client = await asked.client()
    await asked.kek(client)
    name = f"development-{client}"
    asked.sql(f"UPDATE byokeep.kek_version SET made_at = now() - interval '100 days' WHERE kek_id = '{name}'")
    async with asked.app.db.begin(client_id=client) as tx:
        version = await kek.held(tx, holder="transit", kek_id=name, version=1)
        await kek.move(tx, asked.app, asked.person(), version, to=KeyState.SUSPENDED, reason="a_test")
    assert await use(asked, client, protected_ago=timedelta(hours=1)) == "key_state ok"
    assert await use(asked, client) == "key_state protected_in_suspension"
    async with asked.app.db.begin(client_id=client) as tx:
        version = await kek.held(tx, holder="transit", kek_id=name, version=1)
        await kek.move(tx, asked.app, asked.person(), version, to=KeyState.ACTIVE, reason="a_test")
    asked.sql(
        "ALTER TABLE byokeep.vault_key_transition DISABLE TRIGGER USER; UPDATE byokeep.vault_key_transition SET at = at"
        " - CASE state_to WHEN 'suspended' THEN interval '2 days' ELSE interval '1 day' END WHERE reason = 'a_test'"
    )
    for hours, said in ((1, "ok ok"), (36, "ok protected_in_suspension"), (72, "ok ok")):
        assert await use(asked, client, protected_ago=timedelta(hours=hours)) == said, hours
    asked.sql(  # an earlier suspension counts beside the last one
        "INSERT INTO byokeep.vault_key_transition (id, client_id, kind, key_id, version, state_from, state_to, reason,"
        " by, at) SELECT gen_random_uuid(), client_id, kind, key_id, version, state_from, state_to, reason, by,"
        " at - interval '10 days' FROM byokeep.vault_key_transition WHERE reason = 'a_test'"
    )
    for days, said in ((11.5, "ok protected_in_suspension"), (10.5, "ok ok"), (1.5, "ok protected_in_suspension")):
        assert await use(asked, client, protected_ago=timedelta(days=days)) == said, days
    # Once the period in which it may protect is over, nothing brings it back.
    asked.sql(
        "UPDATE byokeep.kek_version SET state = 'suspended', protect_until = now() - interval '1 hour',"
        f" process_until = now() + interval '1 day' WHERE kek_id = '{name}'"
    )
    async with asked.app.db.begin(client_id=client) as tx:
        version = await kek.held(tx, holder="transit", kek_id=name, version=1)
        with pytest.raises(Rejected, match="key_period_over"):
            await kek.move(tx, asked.app, asked.person(), version, to=KeyState.ACTIVE, reason="a_test")


async def test_what_is_due_is_said(asked: Asked) -> None:
    """A version past its interval is due on the list with an alert, later overdue; a new version takes both away."""
    client = await asked.client()
    await asked.kek(client)
    assert [one["urgency"] for one in await asked.listed()] == [""]
    for days, said in ((366, "due"), (380, "overdue")):
        asked.sql(
            f"UPDATE byokeep.kek_version SET made_at = now() - interval '{days} days',"
            " protect_until = now() + interval '300 days', process_until = now() + interval '900 days'"
        )
        assert [one["urgency"] for one in await asked.listed()] == [said]
        assert await kek_tasks.tell_due(asked.app) == 1
        assert f"kek_{said}" in asked.stand.alerts()
    await asked.call("POST", f"/v1/clients/{client}/kek/rotate", body={"reason": "scheduled"})
    await asked.work()
    assert [one["urgency"] for one in await asked.listed()] == ["", ""]
    assert await kek_tasks.tell_due(asked.app) == 0


def forged(asked: Asked, role: str, task: str, said: dict[str, str], *, record: dict[str, str] | None = None) -> None:
    """Put a task into the queue past our code, as web's role or, where that may not, as nobody who is refused."""
    client = said["client_id"]
    with psycopg.connect(asked.stand.db.conninfo(role), autocommit=True) as connection:
        connection.execute("SET search_path = procrastinate, byokeep")
        if record is not None:
            actor = Actor(
                id=UUID(said["asked_by"]), roles=frozenset({Role.OPERATOR}), clients=None,
                request_id=UUID(said["request_id"]),
            )  # fmt: skip
            payload = canonical_payload(Event(
                name=EventName.ACCESS, actor=actor, outcome=Outcome.INTENDED, client_id=UUID(client),
                object_id=UUID(client), fields=record,
            ))  # fmt: skip
            connection.execute(
                "SELECT byokeep.audit_append(%s, 'access.decided', %s, %s, %s, 'intended', %s)",
                [client, said["asked_by"], client, said["request_id"], payload],
            )
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args) VALUES"
            " ('default', %s, %s, %s)",
            [task, f"{task}:{client}", json.dumps(said)],
        )


async def test_a_task_that_nobody_asked_for_is_not_done(asked: Asked) -> None:
    """A rotation, an end and a check are done by their record alone: not for an asker who is made up, disabled or of
    another client, not with other arguments than were asked for; the broker asks for none; each is an alert."""
    client = await asked.client()
    name, path = f"development-{client}", f"/v1/clients/{client}/kek/rotate"
    await asked.profile(client)
    operator, approver = (str(asked.stand.people[role].id) for role in ("operator", "approver"))
    await asked.call("POST", path, body={"reason": "scheduled"})
    asked.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{operator}'")
    await asked.work()  # who asked may not any more
    asked.sql(f"UPDATE byokeep.subject SET state = 'active' WHERE id = '{operator}'")
    assert [one["version"] for one in await asked.listed()] == [1]
    await asked.call("POST", path, body={"reason": "scheduled"})
    await asked.work()
    before = [(one["version"], one["state"]) for one in await asked.listed()]
    assert before == [(1, "deactivated"), (2, "active")]

    rotated = json.loads(asked.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE outcome = 'intended' AND"
        f" event = 'access.decided' AND chain = '{client}' ORDER BY seq DESC LIMIT 1"
    ))  # fmt: skip
    genuine = {"client_id": str(client), "asked_by": operator, "request_id": rotated["request"]}
    elsewhere = str(asked.stand.subject("operator", "another", clients=(await asked.client(),)).id)
    made_up = str(uuid4())
    turn = {"expected": "2", "reason": "scheduled"}
    end = {"kek_id": name, "holder": "transit", "version": "1", "reason": "not_needed"}
    tries = 1
    for task, verb, more, who in (
        ("kek_rotate", "kek.rotate", turn, operator), ("kek_rotate", "kek.rotate", turn, made_up),
        ("kek_rotate", "kek.rotate", turn, approver), ("kek_rotate", "kek.rotate", turn, elsewhere),
        ("kek_end", "kek.end", end, operator), ("kek_end", "kek.end", end, made_up),
        ("kek_check", "kek.check", {}, made_up),
    ):  # fmt: skip
        said = {**genuine, "asked_by": who, **more}
        written = {"verb": verb, "task": digest_of(task, said)}
        for record in (None, written, {**written, "task": digest_of(task, {**said, "reason": "other"})}):
            if record == written and who == operator and task == "kek_rotate":
                continue  # web's own word for somebody who may: on record so
            forged(asked, "byokeep_web", task, said, record=record)
            await asked.work()
            tries += 1
            assert asked.sql("SELECT sum(count) FROM byokeep.alert WHERE reason = 'task_not_asked_for'") == str(tries)
    said = {**genuine, **turn}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # the broker asks for none
        forged(asked, "byokeep_broker", "kek_rotate", said)
    forged(asked, "byokeep_web", "kek_rotate", {**genuine, "expected": "1", "reason": "scheduled"})
    await asked.work()  # as it was asked for, and done: done once
    assert [(one["version"], one["state"]) for one in await asked.listed()] == before
    assert asked.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'kek.checked'") == "0"
