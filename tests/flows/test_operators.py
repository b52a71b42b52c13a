"""People, machines, tokens and sessions, over HTTP on a real database."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import json
import zlib
from contextlib import closing
from functools import partial
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.core.errors import Conflict, Unauthenticated
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.tenancy import logins, passkeys, tokens
from byokeep.tenancy.authenticate import authenticate
from byokeep.tenancy.operators import bootstrap
from byokeep.tenancy.schemas import SOURCE
from byokeep.web.app import create_app as create_web
from tests.support.broker import Person
from tests.support.stack import until
from tests.support.web import Desk, serving_web

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
PASSWORD = "a long enough pass phrase"


async def create(desk: Desk, name: str, *roles: str, **more: Any) -> dict[str, Any]:
    status, reply = await desk.call("POST", "/v1/operators", "admin", {"name": name, "roles": list(roles), **more})
    assert status == 201, reply
    return dict(reply)


async def token_for(desk: Desk, subject: str, room: str = "operators", **body: Any) -> Person:
    """A machine's new token; a person's session, by way of an invitation and a password that the person sets."""
    status, reply = await desk.call("POST", f"/v1/{room}/{subject}/tokens", "admin", body)
    assert status == 201, reply
    if room == "machines":
        return Person(UUID(subject), reply["token"])
    invited = Person(UUID(subject), reply["token"])
    assert (await desk.exchange("PUT", f"/v1/operators/{subject}/password", invited, raw=PASSWORD.encode()))[0] == 204
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{subject}'")
    status, reply = await login(desk, name, PASSWORD)
    assert status == 201, reply
    return Person(UUID(subject), reply["token"])


async def login(desk: Desk, name: str, password: str) -> tuple[int, Any]:
    return await desk.call("POST", "/v1/session", None, {"name": name, "password": password})


@pytest.mark.req("S-ASVS-23")
async def test_the_first_admin_is_made_once_and_invited_for_a_day(desk: Desk) -> None:
    """A fresh database has no identity; bootstrap gives one random invitation and then never again. It opens nothing
    but sets one password, once, within a day."""
    nobody = "DELETE FROM byokeep.api_token; DELETE FROM byokeep.subject;"
    desk.sql(nobody)
    for who in ("admin", "operator", "auditor"):
        assert (await desk.call("GET", "/v1/self", who))[0] == 401
    results = await asyncio.gather(bootstrap(desk.stand.app), bootstrap(desk.stand.app), return_exceptions=True)
    [token] = [found for found in results if isinstance(found, Secret)]
    [error] = [found for found in results if isinstance(found, Conflict)]
    assert error.code == "already_set_up"
    first = Person(uuid4(), token.reveal().decode())
    assert len(first.token) == 47
    assert first.token.startswith("bko_")
    assert desk.sql("SELECT expires_at - created_at FROM byokeep.api_token") == "1 day"
    me = (await desk.call("GET", "/v1/self", first))[1]["id"]
    for method, path in (("GET", "/v1/operators"), ("GET", "/v1/clients"), ("POST", f"/v1/operators/{me}/tokens")):
        status, reply = await desk.call(method, path, first, {} if method == "POST" else None)
        assert (status, "`byokeep operator password`" in reply["next_step"]) == (403, True), path
    password = ("PUT", f"/v1/operators/{me}/password")
    at_once = await asyncio.gather(*(desk.exchange(*password, first, raw=PASSWORD.encode()) for _ in range(2)))
    assert sorted(reply[0] for reply in at_once) == [204, 401]
    assert (await desk.exchange(*password, first, raw=b"the password of a thief"))[0] == 401
    assert (await login(desk, "first-admin", PASSWORD))[0] == 201
    desk.sql(nobody)
    other = Person(uuid4(), (await bootstrap(desk.stand.app)).reveal().decode())
    assert other.token != first.token
    me = (await desk.call("GET", "/v1/self", other))[1]["id"]
    desk.sql("UPDATE byokeep.api_token SET created_at = now() - interval '25 hours', expires_at = now()")
    assert (await desk.exchange("PUT", f"/v1/operators/{me}/password", other, raw=PASSWORD.encode()))[0] == 401


async def test_a_password_ends_the_invitation_of_the_first_admin_and_none_that_its_holder_took(desk: Desk) -> None:
    """What the installation issued is no second way in; an own token works on, also at the next password."""
    desk.sql("DELETE FROM byokeep.api_token; DELETE FROM byokeep.subject;")
    given = (await bootstrap(desk.stand.app)).reveal().decode()
    me = (await desk.call("GET", "/v1/self", Person(uuid4(), given)))[1]["id"]
    first = Person(UUID(me), given)
    path = f"/v1/operators/{me}/password"
    assert (await desk.exchange("PUT", path, first, raw=PASSWORD.encode()))[0] == 204
    assert (await desk.call("GET", "/v1/self", first))[0] == 401
    session = Person(first.id, (await login(desk, "first-admin", PASSWORD))[1]["token"])
    own = Person(first.id, (await desk.call("POST", f"/v1/operators/{me}/tokens", session, {}))[1]["token"])
    assert (await desk.exchange("PUT", path, own, raw=PASSWORD.encode() + b"!"))[0] == 204
    assert [(await desk.call("GET", "/v1/self", one))[0] for one in (first, session, own)] == [401, 401, 200]


@pytest.mark.req("R4.1-12")
async def test_duties_do_not_meet_in_one_hand(desk: Desk) -> None:
    """Forbidden pairs are refused whole, nobody changes their own rights, and a change holds for a live token."""
    for roles in (["operator", "approver"], ["admin", "operator"], ["operator", "auditor"], ["admin", "approver"]):
        status, reply = await desk.call("POST", "/v1/operators", "admin", {"name": "Ann", "roles": roles})
        assert (status, reply["code"]) == (422, "forbidden_role_pair"), roles
    for roles in (["runner"], ["operator", "runner"], ["system"]):
        status, reply = await desk.call("POST", "/v1/operators", "admin", {"name": "Ann", "roles": roles})
        assert (status, reply["code"]) == (422, "bad_request"), roles
    status, reply = await desk.call("POST", "/v1/operators", "admin", {"name": "Ann", "roles": []})
    assert (status, reply["code"]) == (422, "no_roles")
    admin = desk.people["admin"].id
    for body in ({"roles": ["operator"]}, {"all_clients": True}, {"state": "active"}, {"clients": []}):
        status, reply = await desk.call("PATCH", f"/v1/operators/{admin}", "admin", body)
        assert (status, reply["code"]) == (403, "own_rights"), body
    ann = await create(desk, "Ann", "operator")
    for body in ({"name": "ANN", "roles": ["auditor"]}, {"name": "Ann.", "roles": ["approver"]}):
        status, reply = await desk.call("POST", "/v1/operators", "admin", body)
        assert (status, reply["code"]) == (409, "name_like_another"), body
    status, reply = await desk.call("POST", "/v1/machines", "admin", {"name": "ann", "role": "runner"})
    assert (status, reply["code"]) == (409, "name_like_another")
    who = await token_for(desk, ann["id"])
    status, reply = await desk.call("PATCH", f"/v1/operators/{ann['id']}", who, {"roles": ["admin"]})
    assert (status, reply["code"]) == (403, "not_permitted")
    status, reply = await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"roles": ["operator", "approver"]})
    assert (status, reply["code"]) == (422, "forbidden_role_pair")
    assert (await desk.call("GET", "/v1/audit", who))[0] == 403
    assert (await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"roles": ["auditor"]}))[0] == 200
    assert (await desk.call("GET", "/v1/self", who))[0] == 401
    assert (await desk.call("GET", "/v1/self", await token_for(desk, ann["id"])))[1]["roles"] == ["auditor"]


async def test_the_last_admin_stays(desk: Desk) -> None:
    """Of two admins who take each other's role away at once, one fails, and one admin is left."""
    other = desk.stand.subject("admin", "other")
    status, _reply = await desk.call("PATCH", f"/v1/operators/{other.id}", "admin", {"roles": ["auditor"]})
    assert status == 200
    other = desk.stand.subject("admin", "third")
    first = desk.people["admin"]
    replies = await asyncio.gather(
        desk.call("PATCH", f"/v1/operators/{other.id}", first, {"state": "disabled"}),
        desk.call("PATCH", f"/v1/operators/{first.id}", other, {"state": "disabled"}),
    )
    assert sorted(status for status, _ in replies) != [200, 200], replies
    left = desk.sql("SELECT count(*) FROM byokeep.subject WHERE 'admin' = ANY(roles) AND state = 'active'")
    assert left == "1"


@pytest.mark.req("S-ASVS-26", "R4.1-8")
async def test_what_is_taken_away_is_gone_at_the_next_call(desk: Desk) -> None:
    """Disabling, unassigning and revoking hold for the very next call of a live token."""
    client = await desk.stand.client()
    ann = await create(desk, "Ann", "operator", clients=[str(client)])
    who = await token_for(desk, ann["id"])
    status, made = await desk.put(client, desk.canary(), who=who)
    assert status == 202
    await desk.work()
    status, run = await desk.call("POST", f"/v1/refs/{made['ref']}/rotations", who, {})
    assert status == 201, run
    for event in ("key.stored", "procedure.started"):
        assert ann["id"] in {json.loads(said)["actor"] for said in desk.stand.events(event)}, event
    other = await desk.stand.client()
    status, reply = await desk.put(other, desk.canary(), who=who)
    assert (status, reply["code"]) == (404, "not_found")
    theirs = (await desk.onboard(other))["ref"]
    assert (await desk.call("POST", f"/v1/refs/{theirs}/rotations", who, {}))[0] == 404
    await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"clients": []})
    assert (await desk.call("POST", f"/v1/refs/{made['ref']}/rotations", who, {}))[0] == 404
    assert (await desk.put(client, desk.canary(), who=who))[0] == 404
    await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"state": "disabled"})
    assert (await desk.put(client, desk.canary(), who=who))[0] == 401
    status, reply = await desk.call("POST", f"/v1/operators/{ann['id']}/tokens", "admin", {})
    assert (status, reply["code"]) == (422, "subject_disabled")
    await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"state": "active"})
    assert (await desk.put(client, desk.canary(), who=who))[0] == 401
    again = await token_for(desk, ann["id"])
    status, reply = await desk.call("GET", f"/v1/operators/{ann['id']}/tokens", "admin")
    [live] = reply["tokens"]
    assert live["kind"] == "session"
    assert "token" not in live
    assert (await desk.call("DELETE", f"/v1/tokens/{live['id']}", "admin"))[0] == 200
    assert (await desk.call("GET", "/v1/self", again))[0] == 401


async def test_rotation_overlaps_as_long_as_was_asked(desk: Desk) -> None:
    """A new token ends the older ones at once, or lets them run out after the overlap."""
    made = {"name": "Runner one", "role": "runner", "all_clients": True}
    status, machine = await desk.call("POST", "/v1/machines", "admin", made)
    assert status == 201
    first = await token_for(desk, machine["id"], "machines")
    assert first.token.startswith("bkr_")
    second = await token_for(desk, machine["id"], "machines", overlap_s=2)
    assert [(await desk.stand.call("GET", "/v1/self", who))[0] for who in (first, second)] == [200, 200]
    await asyncio.sleep(2.2)
    assert [(await desk.stand.call("GET", "/v1/self", who))[0] for who in (first, second)] == [401, 200]
    third = await token_for(desk, machine["id"], "machines")
    assert [(await desk.stand.call("GET", "/v1/self", who))[0] for who in (second, third)] == [401, 200]
    for body in ({"days": 0}, {"days": 91}, {"overlap_s": -1}, {"overlap_s": 999999}):
        assert (await desk.call("POST", f"/v1/machines/{machine['id']}/tokens", "admin", body))[0] == 422


@pytest.mark.req("S-ASVS-3")
async def test_the_database_holds_no_usable_credential(desk: Desk) -> None:
    """Passwords stand as Argon2id strings with parameters; a stolen token column opens nothing."""
    ann = await create(desk, "Ann", "operator")
    who = await token_for(desk, ann["id"])
    path = f"/v1/operators/{ann['id']}/password"
    for short in (b"", b"eleven char", b"x" * 257):
        assert (await desk.call("PUT", path, who, raw=short))[0] == 422
    phc = desk.sql(f"SELECT password_phc FROM byokeep.subject WHERE id = '{ann['id']}'")
    assert phc.startswith("$argon2id$v=19$m=")
    assert PASSWORD not in phc
    assert Passwords()._hasher.memory_cost >= 19 * 1024
    assert Passwords()._hasher.time_cost >= 2
    stored = desk.sql(
        "SELECT string_agg(encode(keyed_hash, 'hex') || ' ' || encode(keyed_hash, 'base64'), ' ')"
        " FROM byokeep.api_token"
    )
    for text in stored.split():
        assert (await desk.call("GET", "/v1/self", Person(uuid4(), text)))[0] == 401
        assert (await desk.call("GET", "/v1/self", Person(uuid4(), "bko_" + text[:43])))[0] == 401
    for other in ("operator", "admin"):
        status, reply = await desk.call("PUT", path, other, raw=PASSWORD.encode())
        assert (status, reply["code"]) == (403, "not_yours")


async def with_password(desk: Desk, name: str) -> dict[str, Any]:
    made = await create(desk, name, "auditor", all_clients=True)
    who = await token_for(desk, made["id"])
    assert (await desk.exchange("DELETE", "/v1/session", who))[0] == 204
    return made


@pytest.mark.req("S-ASVS-19", "S-ASVS-21")
async def test_a_session_is_new_each_time_and_ends(desk: Desk) -> None:
    """Each login makes another token; logout, a new password, a role change and 8 hours end it.

    What it asked for and was not done by then comes to nothing: no password, token or passkey outlives it.
    """
    ann = await with_password(desk, "Ann")
    who = [Person(UUID(ann["id"]), (await login(desk, "Ann", PASSWORD))[1]["token"]) for _ in range(4)]
    assert len({person.token for person in who}) == 4
    assert len(who[0].token) == 47
    shown = "".join(person.token[4:] for person in who).encode()
    assert len(zlib.compress(shown, 9)) > len(shown) * 3 // 4  # 6 random bits in each character
    assert desk.sql("SELECT max(expires_at - created_at) FROM byokeep.api_token WHERE kind = 'session'") == "08:00:00"
    assert (await desk.exchange("DELETE", "/v1/session", who[0]))[0] == 204
    assert [(await desk.call("GET", "/v1/self", person))[0] for person in who] == [401, 200, 200, 200]
    desk.sql("UPDATE byokeep.api_token SET created_at = now() - interval '8 hours', expires_at = now()"
             " WHERE created_at = (SELECT min(created_at) FROM byokeep.api_token"
             " WHERE kind = 'session' AND revoked_at IS NULL)")  # fmt: skip
    assert [(await desk.call("GET", "/v1/self", person))[0] for person in who] == [401, 401, 200, 200]
    stolen = (await desk.call("POST", "/v1/session/console", None, {"name": "Ann", "password": PASSWORD}))[1]["token"]
    app, late = desk.stand.app, await authenticate(desk.stand.app, stolen, uuid4())  # whose calls are under way
    given, browser = passkeys.Challenges(app.clock), Mock(made=Mock(return_value=(b"identifier", b"public", 0)))
    given.give(f"add:{late.token_id}", b"challenge")
    await desk.exchange("PUT", f"/v1/operators/{ann['id']}/password", who[3], raw=PASSWORD.encode() + b"!")
    for act in (
        logins.set_password(app, Passwords(), late, late.id, password=Secret(PASSWORD), length=len(PASSWORD)),
        tokens.issue_token(app, late, late.id), passkeys.add(app, browser, given, late, said="{}", name="mine"),
    ):
        with pytest.raises(Unauthenticated, match="bad_token"):
            await act
    assert [(await desk.call("GET", "/v1/self", person))[0] for person in who] == [401, 401, 401, 401]
    assert (await login(desk, "Ann", PASSWORD))[0] == 401
    new = Person(UUID(ann["id"]), (await login(desk, "Ann", PASSWORD + "!"))[1]["token"])
    await desk.call("PATCH", f"/v1/operators/{ann['id']}", "admin", {"roles": ["approver"]})
    assert (await desk.call("GET", "/v1/self", new))[0] == 401


async def test_a_password_that_is_replaced_while_it_is_checked_opens_nothing(desk: Desk) -> None:
    """Its owner sets another one in that moment: no session of the old one begins after all of them ended."""
    ann = await with_password(desk, "Ann")
    session = Person(UUID(ann["id"]), (await login(desk, "Ann", PASSWORD))[1]["token"])

    class Slow(Passwords):
        async def matches(self, phc: str | None, password: Secret) -> bool:
            same = await super().matches(phc, password)
            new = PASSWORD.encode() + b"!"
            assert (await desk.exchange("PUT", f"/v1/operators/{ann['id']}/password", session, raw=new))[0] == 204
            return same

    with pytest.raises(Unauthenticated, match="bad_login"):
        await logins.log_in(
            desk.stand.app, Slow(), name="Ann", password=Secret(PASSWORD), request_id=uuid4()
        )  # fmt: skip
    assert (await login(desk, "Ann", PASSWORD + "!"))[0] == 201


async def test_a_code_opens_nothing_that_outlives_the_end_of_all_sessions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever signs out everywhere while a code is being redeemed ends what it opens, too."""
    ann = await with_password(desk, "Ann")
    shell = Person(UUID(ann["id"]), (await login(desk, "Ann", PASSWORD))[1]["token"])
    code = (await desk.call("POST", "/v1/session/code", shell))[1]["token"]
    app, real, ending = desk.stand.app, tokens.new_session, list[asyncio.Task[None]]()
    actor = await authenticate(app, shell.token, uuid4())

    async def slow(*given: Any, **more: Any) -> Any:
        ending.append(asyncio.create_task(logins.log_out_everywhere(app, actor)))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: desk.sql(waits) != "0", 5, "its turn", each_s=0.02)
        return await real(*given, **more)

    monkeypatch.setattr(tokens, "new_session", slow)
    opened = await logins.redeem_code(app, shown=code, request_id=uuid4())
    await ending[0]
    assert (await desk.call("GET", "/v1/self", Person(actor.id, opened.text)))[0] == 401


async def test_no_session_of_the_database_keeps_people_from_signing_in(desk: Desk) -> None:
    """One that hangs while it changes who may do what is ended, and that is told."""
    await with_password(desk, "Ann")
    with closing(psycopg.connect(desk.stand.db.conninfo("byokeep_broker"))) as hung:
        hung.execute("SET idle_in_transaction_session_timeout = 0")
        hung.execute("SELECT byokeep.subject_lock()")
        assert (await login(desk, "Ann", PASSWORD))[0] == 201
    assert "audit_chain_held" in desk.stand.alerts()


@pytest.mark.req("S-ASVS-8")
async def test_guessing_is_braked_and_locks_nobody_else_out(desk: Desk) -> None:
    """After five failures a name is braked with 429; other names log in as before."""
    await with_password(desk, "Ann")
    await with_password(desk, "Bob")
    seen = [(await login(desk, "Ann", "wrong password"))[0] for _ in range(7)]
    assert seen == [401] * 5 + [429] * 2
    status, headers, reply = await desk.exchange("POST", "/v1/session", None, {"name": "ann", "password": PASSWORD})
    assert (status, reply["code"]) == (429, "too_many_requests")
    assert int(headers["Retry-After"]) >= 1
    assert (await login(desk, "Bob", PASSWORD))[0] == 201
    events = desk.stand.events("session.login", "denied")
    assert len(events) == 5


@pytest.mark.req("S-ASVS-8")
async def test_a_storm_on_one_name_keeps_nobody_else_behind_the_same_proxy_out(desk: Desk) -> None:
    """Hundreds of wrong passwords for one person, all from one address: another logs in from there all the same."""
    await with_password(desk, "Ann")
    await with_password(desk, "Bob")
    storm = [(await login(desk, "Ann", "wrong password"))[0] for _ in range(300)]
    assert set(storm) == {401, 429}
    assert storm.count(401) < 10
    assert (await login(desk, "Bob", PASSWORD))[0] == 201


@pytest.mark.req("S-ASVS-27")
async def test_web_decides_nothing_about_people(desk: Desk) -> None:
    """A web that takes anybody for an admin makes nobody, approves nothing and lets nobody in: the broker asks."""
    admin, second = desk.people["admin"], desk.stand.subject("admin", "second")
    made = {"name": "Bot", "role": "dispatcher", "all_clients": True}
    status, waits = await desk.call("POST", "/v1/machines", "admin", made)
    assert status == 202
    claims: list[UUID] = [admin.id, second.id]

    async def anybody(token: str, request: UUID, **_: bool) -> Actor:
        return Actor(id=claims[len(token) % 2], roles=frozenset({Role.ADMIN}), clients=None, request_id=request)

    before = desk.sql("SELECT (SELECT count(*) FROM byokeep.subject), (SELECT count(*) FROM byokeep.api_token)")
    api = create_web(desk.web, anybody, broker_address=desk.stand.url)
    async with serving_web(api, desk.stand.home / "x.sock") as http:
        for method, path, body in (
            ("POST", "/v1/machines", made), ("POST", f"/v1/approvals/{waits['waiting']['id']}/approve", None),
            ("POST", f"/v1/operators/{admin.id}/tokens", {}), ("DELETE", "/v1/session", None),
            ("PUT", f"/v1/operators/{admin.id}/password", {"a": "password of twenty"}),
            ("POST", "/v1/session", {"name": "Ann", "password": PASSWORD}),
        ):  # fmt: skip
            headers = {"Authorization": "Bearer bko_" + "x" * 43}
            async with http.request(method, "http://web" + path, headers=headers, json=body) as reply:
                assert reply.status == 401, path
    assert desk.sql("SELECT (SELECT count(*) FROM byokeep.subject), (SELECT count(*) FROM byokeep.api_token)") == before


async def test_without_the_broker_nobody_logs_in_and_who_is_logged_in_stays(desk: Desk) -> None:
    """Login, logout and a new password answer 503 and say what to do; a session of before goes on."""
    ann = await with_password(desk, "Ann")
    who = Person(UUID(ann["id"]), (await login(desk, "Ann", PASSWORD))[1]["token"])
    api = create_web(desk.web, partial(authenticate, desk.web), broker_address="unix:///nonexistent/broker.sock")
    headers = {"Authorization": f"Bearer {who.token}"}
    before = desk.sql("SELECT count(*) FROM byokeep.api_token")
    async with serving_web(api, desk.stand.home / "x.sock") as http:
        for method, path, body in (
            ("POST", "/v1/session", {"name": "Ann", "password": PASSWORD}), ("DELETE", "/v1/session", None),
            ("PUT", f"/v1/operators/{ann['id']}/password", {"a": "password of twenty"}),
        ):  # fmt: skip
            async with http.request(method, "http://web" + path, headers=headers, json=body) as reply:
                said = await reply.json(content_type=None)
                assert (reply.status, said["code"]) == (503, "broker_unreachable"), path
                assert said["next_step"]
        async with http.get("http://web/v1/self", headers=headers) as reply:
            assert reply.status == 200
    assert desk.sql("SELECT count(*) FROM byokeep.api_token") == before
    client = await desk.stand.client()
    approver = desk.stand.subject("operator", "killer")
    kill = {"client_id": str(client), "reason": "a_test"}
    assert (await desk.call("POST", "/v1/switches/close", approver, kill))[0] == 200


@pytest.mark.req("S-ASVS-8")
async def test_the_address_of_a_guess_is_the_one_that_web_saw(desk: Desk) -> None:
    """A caller's own header says nothing about where it calls from; the broker gets a login from web with no token."""
    await with_password(desk, "Ann")
    seen = []
    for number in range(7):
        body = {"name": "Ann", "password": "wrong password"}
        headers = {SOURCE: f"198.51.100.{number}", "X-Forwarded-For": f"198.51.100.{number}"}
        seen.append((await desk.call("POST", "/v1/session", "admin", body, headers=headers))[0])
    assert seen == [401] * 5 + [429] * 2
    # Straight at the broker, where web's word counts, a name has its bound from all addresses together.
    tried = []
    for number in range(9):
        headers = {SOURCE: f"198.51.100.{number}"}
        async with desk.stand.http.post(
            "http://broker/v1/session", json={"name": "Ann", "password": "no"}, headers=headers
        ) as reply:
            tried.append(reply.status)
    assert tried == [401] * 5 + [429] * 4


async def test_guessing_from_many_addresses_is_an_alert_whoever_is_guessed(desk: Desk) -> None:
    """Ten failed passwords of one person, or for names that nobody has, alert once each; nine do not."""
    ann = await with_password(desk, "Ann")
    passwords = Passwords(memory_kib=64, time_cost=1)

    async def guess(name: str) -> None:  # beside the brake, which knows addresses
        with pytest.raises(Unauthenticated):
            await logins.log_in(desk.stand.app, passwords, name=name, password=Secret("no"), request_id=uuid4())

    for number in range(9):
        await guess("Ann")
        await guess(f"nobody {number}")
    assert "password_guessing" not in desk.stand.alerts()
    await guess("Ann")
    await guess("nobody again")
    told = desk.sql("SELECT object_id, severity FROM byokeep.alert WHERE reason = 'password_guessing' ORDER BY 1")
    assert told.splitlines() == [f"{ann['id']}|warning", "|warning"]


@pytest.mark.req("S-ASVS-24")
async def test_a_name_that_does_not_exist_answers_the_same_at_the_same_cost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, disabled and wrong all answer alike, and a password is worked on every time."""
    ann = await with_password(desk, "Ann")
    gone = await with_password(desk, "Gone")
    await desk.call("PATCH", f"/v1/operators/{gone['id']}", "admin", {"state": "disabled"})
    await create(desk, "No password", "operator")
    bodies = []
    for name, password in (("Ann", "wrong password"), ("Nobody", PASSWORD), ("Gone", PASSWORD), ("No password", "")):
        status, reply = await login(desk, name, password)
        assert status == 401
        bodies.append({**reply, "request_id": ""})
    assert all(body == bodies[0] for body in bodies), ann
    work: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Passwords, "_check", lambda _, phc, __: bool(work.append(phc)))
        for name in ("Ann", "Nobody at all", "Gone", "No password"):
            assert (await login(desk, name, PASSWORD))[0] == 401
    assert len(work) == 4, "a name that does not exist cost less"
    calls = []

    class Counting(Passwords):
        def _check(self, phc: str, password: Secret) -> bool:
            calls.append(phc.split("$")[3])
            return super()._check(phc, password)

    counting = Counting(memory_kib=64, time_cost=1)
    real = await counting.hash(Secret(PASSWORD))
    assert await counting.matches(real, Secret(PASSWORD)) is True
    assert await counting.matches(None, Secret("no such person")) is False
    assert calls[0] == calls[1]


async def test_a_machine_has_no_password_and_one_role(desk: Desk) -> None:
    """A machine can not log in, and its role is what it was created with."""
    made = {"name": "Runner one", "role": "runner"}
    _, machine = await desk.call("POST", "/v1/machines", "admin", made)
    who = await token_for(desk, machine["id"], "machines")
    path = f"/v1/operators/{machine['id']}/password"
    status, reply = await desk.call("PUT", path, who, raw=PASSWORD.encode())
    assert (status, reply["code"]) == (422, "machine_has_no_password")
    assert (await desk.call("PUT", path, "admin", raw=PASSWORD.encode()))[0] == 403
    status, reply = await desk.call("PATCH", f"/v1/machines/{machine['id']}", "admin", {"roles": ["custodian"]})
    assert (status, reply["code"]) == (422, "role_is_fixed")
    status, reply = await desk.call("PATCH", f"/v1/machines/{machine['id']}", "admin", {"roles": ["operator"]})
    assert (status, reply["code"]) == (422, "wrong_kind_of_role")
    status, reply = await desk.call(
        "POST", "/v1/machines", "admin", {"name": "Two", "role": "runner", "clients": [str(uuid4())]}
    )
    assert (status, reply["code"]) == (422, "unknown_client")
    assert desk.sql("SELECT count(*) FROM byokeep.subject WHERE name = 'Two'") == "0"


async def test_an_auditor_of_some_clients_sees_nobody_and_no_client_of_others(desk: Desk) -> None:
    """Who shares a client, or has all of them, is listed, with these clients alone; everybody else is like nobody. What
    goes over every client, and the requests about people, are refused; an auditor of all clients gets all of it."""
    stand = desk.stand
    mine, other = await stand.client(), await stand.client()
    auditor = stand.subject("auditor", "narrow", clients=(mine,))
    both = stand.subject("operator", "both", clients=(mine, other))
    foreign = stand.subject("operator", "foreign", clients=(other,))
    runner = stand.subject("runner", "machine", clients=(other,))
    status, found = await desk.call("GET", "/v1/operators", auditor)
    listed = {one["id"]: one for one in found["operators"]}
    assert status == 200
    assert not {str(foreign.id), str(runner.id)} & set(listed)
    assert listed[str(both.id)]["clients"] == listed[str(auditor.id)]["clients"] == [str(mine)]
    assert str(stand.people["admin"].id) in listed
    assert str(other) not in str(found)
    for one, room, status in (
        (both, "operators", 200), (auditor, "operators", 200), (foreign, "operators", 404), (runner, "machines", 404),
        (Person(uuid4(), ""), "operators", 404),
    ):  # fmt: skip
        assert (await desk.call("GET", f"/v1/{room}/{one.id}/tokens", auditor))[0] == status, one
    for name, there in (("both", True), ("foreign", False), ("machine", False)):
        text = desk.sql(f"SELECT name FROM byokeep.subject WHERE name LIKE '{name} %'")
        body = {"kinds": ["operator", "machine"], "name": text}
        status, named = await desk.call("POST", "/v1/names/find", auditor, body)
        assert (status, text in str(named)) == (200, there)
        assert text in str(await desk.call("POST", "/v1/names/find", "auditor", body))
    runs: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/v1/audit/verify", None), ("POST", "/v1/audit/reconcile", {"minutes": 1}),
        ("POST", "/v1/audit/checkpoint", None), ("GET", "/v1/approvals", None),
    )  # fmt: skip
    for method, path, body in runs:
        status, reply = await desk.call(method, path, auditor, body)
        assert (status, reply["code"]) == (403, "not_permitted"), path
        assert (await desk.call(method, path, "auditor", body))[0] == 200, path
    everybody = (await desk.call("GET", "/v1/operators", "auditor"))[1]["operators"]
    assert {str(one.id) for one in (both, foreign, runner, auditor)} <= {one["id"] for one in everybody}
    narrow_admin = stand.subject("admin", "narrow admin", clients=(mine,))
    assert len((await desk.call("GET", "/v1/operators", narrow_admin))[1]["operators"]) == len(everybody) + 1
