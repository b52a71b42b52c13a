"""Who there is stands with its record: what somebody writes past it signs nobody in and is found within a minute."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.kernel.command import record_params
from byokeep.reconciliation.reconcile import reconcile
from byokeep.tenancy.tokens import Subject
from tests.support.audit_broker import RealClock
from tests.support.broker import Person, machine_key, token_key
from tests.support.people import subject_sql, token_sql
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def told(desk: Desk, who: Person) -> tuple[int, int]:
    """What web and the broker say to a token."""
    return (await desk.call("GET", "/v1/self", who))[0], (await desk.stand.call("GET", "/v1/self", who))[0]


async def found(desk: Desk) -> dict[str, set[UUID]]:
    """What the broker's own round reports about people and tokens."""

    class Ahead(RealClock):
        ahead = timedelta(seconds=12)

    app = replace(desk.stand.app, clock=Ahead())
    result = await reconcile(app, app.system(), since=datetime.now(UTC) - timedelta(seconds=5))
    said: dict[str, set[UUID]] = {}
    for one in result.findings:
        if one.object_id is not None:
            said.setdefault(one.reason, set()).add(one.object_id)
    return said


@pytest.mark.req("R4.1-12", "R2.2-3")
async def test_rows_past_their_records_sign_nobody_in(desk: Desk) -> None:
    """The owner makes a runner and tokens, gives roles, clients, time and another's token: all refused and reported."""
    stand, sql = desk.stand, desk.sql
    assert await found(desk) == {}
    puppet, admin = (
        Person(uuid4(), "bkr_" + secrets.token_urlsafe(32)),
        Person(uuid4(), "bko_" + secrets.token_urlsafe(32)),
    )
    for person, kind, role, key in (
        (puppet, "machine", "runner", machine_key),
        (admin, "operator", "admin", token_key),
    ):
        sql(
            f"INSERT INTO byokeep.subject (id, kind, name, roles, all_clients, record_seq) VALUES ('{person.id}',"
            f" '{kind}', 'Puppet {role}', ARRAY['{role}'], true, 1);"
            "INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at, record_seq) VALUES"
            f" ('{uuid4()}', '{person.id}', '\\x{key(person.token.encode()).hex()}', 'api',"
            " now() + interval '1 day', 1)"
        )  # fmt: skip
        assert await told(desk, person) == (401, 401)
    moved = {name: stand.subject(role, name) for name, role in (
        ("roles", "auditor"), ("state", "auditor"), ("clients", "auditor"), ("all", "auditor"), ("token", "auditor"),
        ("expiry", "auditor"), ("swapped", "auditor"), ("back", "auditor"))}  # fmt: skip
    client = await stand.client()
    token_of = {name: UUID(sql(f"SELECT id FROM byokeep.api_token WHERE subject_id = '{one.id}'"))
                for name, one in moved.items()}  # fmt: skip
    assert await told(desk, moved["roles"]) == (200, 200)
    ended = (await desk.call("DELETE", f"/v1/tokens/{token_of['back']}", "admin"))[0]
    assert ended == 200
    assert (await desk.call("PATCH", f"/v1/operators/{moved['state'].id}", "admin", {"state": "disabled"}))[0] == 200
    known = "bko_" + secrets.token_urlsafe(32)
    extra = token_sql(moved["state"].id, token_key(b"bko_of the disabled"), stand.app.installation_id)
    with pytest.raises(Exception, match="postgres_admin_failed"):
        sql(extra)  # no token for a disabled person
    sql(
        f"UPDATE byokeep.subject SET roles = ARRAY['admin'] WHERE id = '{moved['roles'].id}';"
        f"UPDATE byokeep.subject SET state = 'active' WHERE id = '{moved['state'].id}';"
        f"INSERT INTO byokeep.subject_client VALUES ('{moved['clients'].id}', '{client}');"
        f"UPDATE byokeep.subject SET all_clients = false WHERE id = '{moved['all'].id}';"
        "ALTER TABLE byokeep.api_token DISABLE TRIGGER api_token_only_ends;"
        f"UPDATE byokeep.api_token SET expires_at = expires_at + interval '1 day' WHERE id = '{token_of['expiry']}';"
        f"UPDATE byokeep.api_token SET revoked_at = NULL WHERE id = '{token_of['back']}';"
        f"UPDATE byokeep.api_token SET subject_id = '{desk.people['admin'].id}' WHERE id = '{token_of['token']}';"
        f"UPDATE byokeep.api_token SET keyed_hash = '\\x{token_key(known.encode()).hex()}'"
        f" WHERE id = '{token_of['swapped']}';"
        "ALTER TABLE byokeep.api_token ENABLE ALWAYS TRIGGER api_token_only_ends"
    )
    for name in ("roles", "clients", "all", "token", "expiry", "back"):
        assert await told(desk, moved[name]) == (401, 401), name
    assert await told(desk, Person(moved["swapped"].id, known)) == (401, 401)
    said = await found(desk)
    assert said["subject_unrecorded"] == {puppet.id, admin.id, *(moved[name].id for name in (
        "roles", "state", "clients", "all"))}  # fmt: skip
    for name in ("token", "expiry", "back", "swapped"):
        assert token_of[name] in said["token_unrecorded"], name
    assert len(said["token_unrecorded"]) == 6
    assert {"subject_unrecorded", "token_unrecorded"} <= set(stand.alerts())
    severities = sql("SELECT DISTINCT severity FROM byokeep.alert WHERE reason LIKE '%\\_unrecorded'")
    assert severities == "critical"
    # An older record that fits an older row does not stand for it either.
    again = stand.subject("auditor", "again")
    place = sql(f"SELECT record_seq FROM byokeep.subject WHERE id = '{again.id}'")
    assert (await desk.call("PATCH", f"/v1/operators/{again.id}", "admin", {"all_clients": False}))[0] == 200
    sql(f"UPDATE byokeep.subject SET all_clients = true, record_seq = {place} WHERE id = '{again.id}'")
    assert again.id in (await found(desk))["subject_unrecorded"]


@pytest.mark.req("S-ASVS-3")
async def test_a_password_put_into_the_row_opens_no_session(desk: Desk) -> None:
    """The owner gives a person a password of his own choice: the login answers as to a wrong one."""
    ann = desk.stand.subject("auditor", "Ann")
    phc = await Passwords(memory_kib=64, time_cost=1).hash(Secret("a password of the owner"))
    desk.sql(f"UPDATE byokeep.subject SET password_phc = '{phc}' WHERE id = '{ann.id}'")
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{ann.id}'")
    body = {"name": name, "password": "a password of the owner"}
    status, reply = await desk.call("POST", "/v1/session", None, body)
    assert (status, reply["code"]) == (401, "bad_login")


@pytest.mark.req("R4.1-12")
async def test_a_function_writes_no_row_that_its_record_does_not_name(desk: Desk) -> None:
    """Web makes no session; a record of another act, subject, role, right, token, life or kind is refused whole."""
    stand, place = desk.stand, desk.stand.app.installation_id
    bot = Subject(id=uuid4(), kind="machine", name="Bot", roles=frozenset({Role.RUNNER}), state="active",
                  all_clients=True, clients=frozenset())  # fmt: skip
    put = next(one for one in subject_sql(bot, place).split(";") if "subject_put" in one).replace(
        "SELECT FROM", "SELECT"
    )
    ann = stand.people["auditor"].id
    token = next(one for one in token_sql(ann, b"h" * 32, place).split(";") if "token_issue" in one)
    session, actor = uuid4(), Actor(id=ann, roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
    fields = {"subject": str(ann), "token": str(session), "kind": "session", "life_s": 60,
              "digest": sha256(b"s" * 32).hexdigest()}  # fmt: skip
    said = record_params(Event(name=EventName.LOGIN, actor=actor, outcome=Outcome.OK, object_id=ann, fields=fields))
    assert isinstance(said["payload"], bytes)
    login = (
        f"SELECT FROM byokeep.token_issue('{session}', '{ann}', '\\x{(b's' * 32).hex()}', 'session', 60, NULL, 0,"
        f" 'session.login', '{ann}', '{actor.request_id}', '\\x{said['payload'].hex()}')"
    )
    rows = "SELECT (SELECT count(*) FROM byokeep.subject) || ' ' || (SELECT count(*) FROM byokeep.api_token)"
    before, other = desk.sql(rows), str(uuid4())
    attempts = [
        ("byokeep_broker", put.replace("'runner'", "'dispatcher'")), ("byokeep_broker", put.replace("True", "False")),
        ("byokeep_broker", put.replace("'Bot'", "'Other'")), ("byokeep_broker", put.replace(str(bot.id), other, 1)),
        ("byokeep_broker", put.replace("machine.created", "machine.changed")),
        ("byokeep_broker", put.replace("'active'", "'disabled'")),
        ("byokeep_broker", token.replace("86400", "864000")), ("byokeep_broker", token.replace(str(ann), other, 1)),
        ("byokeep_broker", token.replace((b"h" * 32).hex(), (b"i" * 32).hex())),
        ("byokeep_broker", token.replace("'api'", "'session'")), ("byokeep_web", token), ("byokeep_web", login),
        ("byokeep_broker", login.replace("60, NULL", "61, NULL")),
        ("byokeep_broker", login.replace("'session'", "'api'")),
        ("byokeep_owner", put), ("byokeep_owner", token),
    ]  # fmt: skip
    for role, statement in attempts:
        with pytest.raises(psycopg.Error) as no, psycopg.connect(stand.db.conninfo(role), autocommit=True) as session_:
            session_.execute(statement.encode())
        assert (no.value.sqlstate or "")[:2] in ("BK", "42"), (role, statement, no.value.sqlstate)
        assert desk.sql(rows) == before, (role, statement)
    with psycopg.connect(stand.db.conninfo("byokeep_broker"), autocommit=True) as broker:
        broker.execute(login.encode())
    assert desk.sql(rows) != before
    # Web's key makes no machine's token: what it hashes is not looked up as one.
    custodian = stand.people["custodian"]
    assert token_key(custodian.token.encode()) != machine_key(custodian.token.encode())
    assert await told(desk, custodian) == (401, 200)


@pytest.mark.req("R4.1-12")
async def test_a_hold_that_somebody_cleared_signs_nobody_in(desk: Desk) -> None:
    """The owner ends or shortens the hold on a person: that person is reported; one who is held as recorded is not."""
    stand, sql = desk.stand, desk.sql
    await stand.client("openai")  # there is a key: what one admin gives is held
    people = {}
    for name in ("cleared", "shorter", "kept"):
        status, made = await desk.call("POST", "/v1/operators", "admin", {"name": name, "roles": ["auditor"]})
        assert status == 201, made
        assert made["held_until"]
        people[name] = made["id"]
    assert (await found(desk)).get("subject_unrecorded", set()) == set()
    sql(
        f"UPDATE byokeep.subject SET held_until = NULL WHERE id = '{people['cleared']}';"
        f"UPDATE byokeep.subject SET held_until = now() WHERE id = '{people['shorter']}'"
    )
    assert (await found(desk))["subject_unrecorded"] == {UUID(people["cleared"]), UUID(people["shorter"])}
    # A change by an admin says nothing away: it begins a hold anew, which is on record then.
    status, changed = await desk.call("PATCH", f"/v1/operators/{people['cleared']}", "admin", {"all_clients": True})
    assert status == 200
    assert changed["held_until"]
    assert (await found(desk))["subject_unrecorded"] == {UUID(people["shorter"])}
