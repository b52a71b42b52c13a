"""What one admin does not do alone: machines, approvers and admins take two, and what one gave approves nothing yet."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.broker import Person
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
PASSWORD = b"a long enough pass phrase"
BOT = {"name": "Bot", "role": "dispatcher", "all_clients": True}


async def refused(desk: Desk, method: str, path: str, who: str | Person, body: Any = None) -> tuple[int, str]:
    status, reply = await desk.call(method, path, who, body)
    return status, str(reply.get("code"))


async def waiting(desk: Desk, method: str, path: str, who: str | Person, body: Any) -> str:
    """What a call that takes two people answers: the id of the request."""
    status, reply = await desk.call(method, path, who, body)
    assert status == 202, reply
    return str(reply["waiting"]["id"])


async def person(desk: Desk, name: str, role: str, who: str | Person = "admin") -> Person:
    """A person as one admin makes one: invited, with a password of their own, logged in."""
    status, made = await desk.call("POST", "/v1/operators", who, {"name": name, "roles": [role], "all_clients": True})
    assert status == 201, made
    return await invite(desk, made["id"], name, who)


async def invite(desk: Desk, subject: str, name: str, who: str | Person = "admin") -> Person:
    status, issued = await desk.call("POST", f"/v1/operators/{subject}/tokens", who, {"days": 1})
    assert (status, issued["kind"]) == (201, "invitation")
    guest = Person(UUID(subject), issued["token"])
    assert (await desk.exchange("PUT", f"/v1/operators/{subject}/password", guest, raw=PASSWORD))[0] == 204
    status, session = await desk.call("POST", "/v1/session", None, {"name": name, "password": PASSWORD.decode()})
    assert status == 201, session
    return Person(UUID(subject), session["token"])


@pytest.mark.req("R4.1-12")
async def test_what_opens_jobs_or_approves_takes_two_admins(desk: Desk) -> None:
    """One admin alone makes no machine, approver or admin once two can sign in; another approves it once, in time."""
    status, alone = await desk.call("POST", "/v1/machines", "admin", {**BOT, "name": "Alone"})
    assert status == 201, alone
    second, machines = desk.stand.subject("admin", "second"), "SELECT count(*) FROM byokeep.subject WHERE name = 'Bot'"
    asked = await waiting(desk, "POST", "/v1/machines", "admin", BOT)
    assert desk.sql(machines) == "0"
    use = f"/v1/approvals/{asked}/approve"
    assert await refused(desk, "POST", use, "admin") == (403, "same_person")
    assert (await refused(desk, "POST", use, "operator"))[0] == 403
    [shown] = (await desk.call("GET", "/v1/approvals", second))[1]["approvals"]
    assert (shown["id"], shown["asked"]["name"], shown["asked"]["roles"]) == (asked, "Bot", ["dispatcher"])
    assert (shown["what"], shown["reason"]) == ("create the machine Bot (dispatcher)", "create")
    assert (await desk.call("POST", use, second))[0] == 200
    assert desk.sql(machines) == "1"
    assert desk.sql("SELECT created_by FROM byokeep.subject WHERE name = 'Bot'") == str(desk.people["admin"].id)
    status, used = await desk.call("POST", use, second)
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{second.id}'")
    assert (status, used["code"]) == (403, "approval_used")
    assert used["next_step"].startswith(f"{name} approved it at 20"), used
    for body in ({"name": "Eve", "roles": ["approver"]}, {"name": "Eve", "roles": ["admin"]}):
        late = await waiting(desk, "POST", "/v1/operators", "admin", body)
        desk.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE id = '{late}'")
        assert await refused(desk, "POST", f"/v1/approvals/{late}/approve", second) == (403, "approval_expired")
    twin = await waiting(desk, "POST", "/v1/operators", "admin", {"name": "ann", "roles": ["approver"]})
    ann = (await desk.call("POST", "/v1/operators", "admin", {"name": "Ann", "roles": ["auditor"]}))[1]["id"]
    use = f"/v1/approvals/{twin}/approve"
    assert await refused(desk, "POST", use, second) == (409, "name_like_another"), "who was made meanwhile"
    desk.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE id = '{twin}'")
    give = ("PATCH", f"/v1/operators/{ann}", "admin", {"roles": ["auditor", "approver"]})
    assert (first := await waiting(desk, *give)) == await waiting(desk, *give)
    [shown] = (await desk.call("GET", "/v1/approvals", second))[1]["approvals"]
    assert shown["what"] == "change Ann: roles auditor -> approver, auditor"
    assert (await desk.call("PATCH", f"/v1/operators/{ann}", "admin", {"all_clients": True}))[0] == 200
    assert await refused(desk, "POST", f"/v1/approvals/{first}/approve", second) == (403, "approval_changed")
    await desk.call("PATCH", f"/v1/machines/{alone['id']}", "admin", {"state": "disabled"})
    again = await waiting(desk, "PATCH", f"/v1/machines/{alone['id']}", "admin", {"state": "active"})
    assert (await desk.call("POST", f"/v1/approvals/{again}/approve", second))[1]["state"] == "active"
    assert len(desk.stand.events("operator.changed", "denied")) == 5


@pytest.mark.req("R4.1-12")
async def test_the_database_takes_no_second_person_on_trust(desk: Desk) -> None:
    """The broker's own role makes no machine without a used approval, and no approval by who asked for it."""
    from byokeep.core.model import Role
    from byokeep.tenancy.tokens import Subject
    from tests.support.people import subject_sql

    desk.stand.subject("admin", "second")
    bot = Subject(id=uuid4(), kind="machine", name="Bot", roles=frozenset({Role.RUNNER}), state="active",
                  all_clients=True, clients=frozenset())  # fmt: skip
    given, *statements = subject_sql(bot, desk.stand.app.installation_id).split(";")
    call, approval = next(one for one in statements if "subject_put" in one), given.split("'")[1]
    with psycopg.connect(desk.stand.db.conninfo("byokeep_broker"), autocommit=True) as broker:
        for changed in (call, call.replace(f"'{approval}'", "NULL")):
            with pytest.raises(psycopg.Error) as no:
                broker.execute(changed.encode())
            assert no.value.sqlstate == "BK006", changed
        ask = (
            "INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, approved_by, used_at,"
            f" expires_at) VALUES ('{approval}', 'give_rights', 'rights:{bot.id}:{bot.rights}', 0, 'x', '{{}}',"
            f" '{desk.stand.app.installation_id}', now() + interval '1 minute', now() + interval '1 hour')"
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            broker.execute(ask.format(desk.stand.app.installation_id).encode())
        broker.execute(ask.format(uuid4()).encode())
        broker.execute(call.encode())
    assert desk.sql("SELECT count(*) FROM byokeep.subject WHERE name = 'Bot'") == "1"


@pytest.mark.req("R4.1-12")
async def test_what_one_admin_gave_approves_nothing_yet(desk: Desk) -> None:
    """A made-up approver, and a real one who got a credential from an admin, wait; a second admin ends the wait."""
    early = await person(desk, "Early", "approver")
    client = await desk.stand.client("openai")
    kill = {"client_id": str(client), "reason": "a_test"}

    async def opens(who: Person) -> tuple[int, str]:
        assert (await desk.call("POST", "/v1/switches/close", "operator", kill))[0] == 200
        asked = (await desk.call("POST", "/v1/switches/open-requests", "operator", kill))[1]["id"]
        return await refused(desk, "POST", f"/v1/switches/open-requests/{asked}/approve", who)

    assert (await opens(early))[0] == 200, "before the first value nothing is held"
    puppet = await person(desk, "Puppet", "approver")
    assert await opens(puppet) == (403, "approval_held")
    assert (await desk.call("GET", "/v1/self", puppet))[1]["approvals_held"] is True
    assert "credentials_of_another_issued" not in desk.stand.alerts()
    taken = await invite(desk, str(early.id), "Early")
    assert await opens(taken) == (403, "approval_held")
    assert "credentials_of_another_issued" in desk.stand.alerts()
    kill["reason"] = "once_more"
    asked = (await desk.call("POST", "/v1/switches/open-requests", "operator", kill))[1]
    no = (await desk.call("POST", f"/v1/switches/open-requests/{asked['id']}/approve", taken))[1]
    assert "until 20" in no["next_step"], no
    assert "byokeep operator vouch Early" in no["next_step"], no
    whoami = (await desk.call("GET", "/v1/self", taken))[1]
    assert (whoami["name"], whoami["held_until"][:2]) == ("Early", "20")
    seen = whoami["issued_by_others"][0]
    admin = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['admin'].id}'")
    assert (seen["kind"], seen["by"]) == ("invitation", admin)
    second = desk.stand.subject("admin", "second")
    vouch = await waiting(desk, "POST", f"/v1/operators/{early.id}/vouch", "admin", None)
    assert await refused(desk, "POST", f"/v1/approvals/{vouch}/approve", "admin") == (403, "same_person")
    [shown] = (await desk.call("GET", "/v1/approvals", second))[1]["approvals"]
    assert (shown["what"], shown["reason"]) == ("vouch for Early: ends the hold on Early", "vouch")
    assert '"reason":"vouch"' in desk.stand.events("operator.changed", "intended")[-1]
    assert (await desk.call("POST", f"/v1/approvals/{vouch}/approve", second))[0] == 200
    assert (await opens(taken))[0] == 200
    assert await opens(puppet) == (403, "approval_held")
    assert desk.sql(
        f"SELECT extract(epoch FROM held_until - created_at)::int / 3600 FROM byokeep.subject WHERE id = '{puppet.id}'"
    ) in ("23", "24")  # fmt: skip
    # Ended in the row alone it is no end: nobody recorded it.
    desk.sql(f"UPDATE byokeep.subject SET held_until = now() WHERE id = '{puppet.id}'")
    assert await opens(puppet) == (401, "bad_token")
    assert "subject_unrecorded" in desk.stand.alerts()


@pytest.mark.req("R4.1-12")
async def test_an_invitation_sets_a_password_once_and_does_nothing_else(desk: Desk) -> None:
    """Whoever holds an admin's invitation reads nothing and acts on nothing; used once, it is over."""
    body = {"name": "Ann", "roles": ["auditor"], "all_clients": True}
    ann = (await desk.call("POST", "/v1/operators", "admin", body))[1]["id"]
    issued = (await desk.call("POST", f"/v1/operators/{ann}/tokens", "admin", {}))[1]
    guest = Person(UUID(ann), issued["token"])
    path = f"/v1/operators/{ann}/password"
    for method, other in (("GET", "/v1/operators"), ("GET", "/v1/audit"), ("GET", "/v1/clients"),
                          ("GET", "/v1/switches"), ("GET", "/v1/inventory"), ("GET", "/v1/alerts"),
                          ("POST", f"/v1/operators/{ann}/tokens")):  # fmt: skip
        status, reply = await desk.call(method, other, guest, {} if method == "POST" else None)
        assert (status, reply["code"]) == (403, "not_permitted"), other
    assert (await desk.call("GET", "/v1/self", guest))[1]["roles"] == ["invited"]
    other = desk.people["auditor"]
    assert (await desk.call("PUT", f"/v1/operators/{other.id}/password", guest, raw=PASSWORD))[0] == 403
    assert (await desk.exchange("PUT", path, guest, raw=PASSWORD))[0] == 204
    assert (await desk.call("PUT", path, guest, raw=PASSWORD))[0] == 401
    status, session = await desk.call("POST", "/v1/session", None, {"name": "Ann", "password": PASSWORD.decode()})
    who = Person(UUID(ann), session["token"])
    assert (await desk.call("GET", "/v1/audit", who))[0] == 200
    status, own = await desk.call("POST", f"/v1/operators/{ann}/tokens", who, {"days": 2})
    assert (status, own["kind"]) == (201, "api")
    assert (await desk.call("GET", "/v1/audit", Person(UUID(ann), own["token"])))[0] == 200
    assert desk.sql("SELECT count(*) FROM byokeep.subject WHERE held_until IS NOT NULL") == "0"


@pytest.mark.req("R4.1-12")
async def test_whom_an_alert_is_about_does_not_close_it(desk: Desk) -> None:
    """Neither a recovered admin nor who issued another's credentials closes the alert about it; another admin does."""
    from byokeep.tenancy.operators import recover

    second, me = desk.stand.subject("admin", "second"), desk.people["admin"]
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{me.id}'")
    asked = await recover(desk.stand.app, name)
    assert (await desk.call("POST", f"/v1/approvals/{asked.id}/approve", second))[0] == 200  # type: ignore[union-attr]
    await recover(desk.stand.app, name)
    await person(desk, "Nora", "auditor")
    nora = desk.sql("SELECT id FROM byokeep.subject WHERE name = 'Nora'")
    assert (await desk.call("POST", f"/v1/operators/{nora}/tokens", "admin", {}))[0] == 201
    alerts = {one["reason"]: one["id"] for one in (await desk.call("GET", "/v1/alerts", second))[1]["alerts"]}
    for reason in ("admin_recovered", "credentials_of_another_issued"):
        close = f"/v1/alerts/{alerts[reason]}/close"
        status, no = await desk.call("POST", close, "admin")
        assert (status, no["code"]) == (403, "same_person"), reason
        assert "Another operator or admin must close it" in no["next_step"]
        assert (await desk.call("POST", close, second))[0] == 200, reason


@pytest.mark.req("R4.1-12")
async def test_a_held_person_does_not_vouch_for_itself(desk: Desk) -> None:
    """A held admin does not ask for the end of the hold, or the one admin who made it would approve that."""
    await desk.stand.client("openai")
    puppet = await person(desk, "puppet", "admin")
    path = f"/v1/operators/{puppet.id}/vouch"
    assert await refused(desk, "POST", path, puppet) == (403, "own_rights")
    vouch = await waiting(desk, "POST", path, "admin", None)
    assert await refused(desk, "POST", f"/v1/approvals/{vouch}/approve", puppet) == (403, "approval_held")


STOPS: dict[str, tuple[str, str, Any]] = {
    "disabled": ("PATCH", "/v1/operators/{id}", {"state": "disabled"}),
    "without the role": ("PATCH", "/v1/operators/{id}", {"roles": ["auditor"]}),
    "without a token": ("DELETE", "/v1/tokens/{token}", None),
}


async def stop(desk: Desk, other: Person, way: str) -> None:
    method, path, body = STOPS[way]
    token = desk.sql(f"SELECT id FROM byokeep.api_token WHERE subject_id = '{other.id}' AND revoked_at IS NULL")
    status, reply = await desk.call(method, path.format(id=other.id, token=token), "admin", body)
    assert status == 200, reply


def made_by_broker(desk: Desk, *, asked_by: UUID | None = None) -> str:
    """What the database answers the broker's role that makes a machine, alone or with what somebody asked for."""
    from byokeep.core.model import Role
    from byokeep.tenancy.tokens import Subject
    from tests.support.people import subject_sql

    bot = Subject(id=uuid4(), kind="machine", name=f"Bot {str(uuid4())[:8]}", roles=frozenset({Role.RUNNER}),
                  state="active", all_clients=True, clients=frozenset())  # fmt: skip
    given, *statements = subject_sql(bot, desk.stand.app.installation_id).split(";")
    call, approval = next(one for one in statements if "subject_put" in one), given.split("'")[1]
    with psycopg.connect(desk.stand.db.conninfo("byokeep_broker"), autocommit=True) as broker:
        if asked_by is None:
            call = call.replace(f"'{approval}'", "NULL")
        else:
            broker.execute(given.replace(given.split("'")[9], str(asked_by)).encode())
        try:
            broker.execute(call.encode())
        except psycopg.Error as no:
            return str(no.sqlstate)
    return "made"


@pytest.mark.req("R4.1-12")
@pytest.mark.parametrize("way", list(STOPS))
async def test_who_stops_the_other_admin_is_not_alone_at_once(desk: Desk, way: str) -> None:
    """An admin stops another at once, which is told of, and makes no machine, approver or admin alone for a day."""
    other = desk.stand.subject("admin", "second")
    await stop(desk, other, way)
    assert (await desk.call("POST", "/v1/machines", other, BOT))[0] in (401, 403)
    for path, body in (("/v1/machines", BOT), ("/v1/operators", {"name": "Eve", "roles": ["approver"]}),
                       ("/v1/operators", {"name": "Eve", "roles": ["admin"]})):  # fmt: skip
        status, no = await desk.call("POST", path, "admin", body)
        assert (status, no["code"]) == (403, "second_admin_needed"), (path, no)
        assert "after 20" in no["next_step"]
    assert made_by_broker(desk) == "BK006"
    [alert] = [one for one in (await desk.call("GET", "/v1/alerts", "operator"))[1]["alerts"]
               if one["reason"] == "admin_stopped"]  # fmt: skip
    assert (alert["severity"], alert["object_id"]) == ("critical", str(other.id))
    assert await refused(desk, "POST", f"/v1/alerts/{alert['id']}/close", "admin") == (403, "same_person")
    await acknowledged(desk, alert["id"])
    status, bulk = await desk.call("POST", "/v1/alerts/close", "admin", {"severity": "critical"})
    assert (status, alert["id"] in [one["id"] for one in bulk["alerts"]], bulk["left"]) == (200, False, 1)
    assert await refused(desk, "POST", "/v1/alerts/close", "operator", {}) == (422, "filter_missing")
    seen = {"reason": "admin_stopped", "seen_until": alert["last_seen_at"]}
    status, bulk = await desk.call("POST", "/v1/alerts/close", "operator", seen)
    assert (status, bulk["alerts"]) == (200, []), "it happened when the caller had looked already"
    only = {"seen_until": alert["last_seen_at"]}
    assert await refused(desk, "POST", "/v1/alerts/close", "operator", only) == (422, "filter_missing")
    assert (await desk.call("POST", "/v1/alerts/close", "auditor", {"severity": "info"}))[0] == 403
    back = {"roles": ["admin"], "state": "active"}
    assert (await desk.call("PATCH", f"/v1/operators/{other.id}", "admin", back))[0] == 200
    assert desk.sql(f"SELECT held_until IS NULL FROM byokeep.subject WHERE id = '{other.id}'") == "t"
    assert made_by_broker(desk) == "BK006", "let back in without a way in, the other counts on"
    assert (await desk.call("POST", f"/v1/alerts/{alert['id']}/close", "operator"))[0] == 200
    desk.sql(f"UPDATE byokeep.subject SET admin_until = now() WHERE id = '{other.id}'")
    # Back with the role comes the token that was left.
    after = (202, "BK006") if way == "without the role" else (201, "made")
    assert ((await desk.call("POST", "/v1/machines", "admin", BOT))[0], made_by_broker(desk)) == after


async def acknowledged(desk: Desk, alert: str) -> None:
    """Who took an alert is seen, and it stays open; in bulk those that nobody took; not by whom it tells of."""
    one, many, critical = f"/v1/alerts/{alert}/acknowledge", "/v1/alerts/acknowledge", {"severity": "critical"}
    assert await refused(desk, "POST", one, "admin") == (403, "same_person")
    assert await refused(desk, "POST", one, "auditor") == (403, "not_permitted")
    assert await refused(desk, "POST", many, "operator", {}) == (422, "filter_missing")
    status, bulk = await desk.call("POST", many, "admin", critical)
    assert (status, alert in [row["id"] for row in bulk["alerts"]], bulk["left"]) == (200, False, 1)
    took = str(desk.people["operator"].id)
    status, bulk = await desk.call("POST", many, "operator", critical)
    assert (status, {row["acknowledged_by"] for row in bulk["alerts"]}, bulk["left"]) == (200, {took}, 0)
    assert (await desk.call("POST", many, "operator", critical))[1] == {"alerts": [], "left": 0}
    assert await refused(desk, "POST", one, "operator") == (409, "alert_taken")
    shown = (await desk.call("GET", f"/v1/alerts/{alert}", "auditor"))[1]["alert"]
    assert (shown["acknowledged_by"], bool(shown["acknowledged_at"]), shown["closed_at"]) == (took, True, None)
    third = desk.stand.subject("operator", "third")
    assert (await desk.call("POST", one, third))[1]["acknowledged_by"] == str(third.id), "another one takes over"
    assert len(desk.stand.events("alert.acknowledged", "ok")) >= 2


@pytest.mark.req("R4.1-12")
async def test_a_mistaken_admin_who_never_signed_in_delays_nobody(desk: Desk) -> None:
    """An admin without any credential does not count when disabled; one who stopped counting comes back by two only."""
    status, eve = await desk.call("POST", "/v1/operators", "admin", {"name": "Eve", "roles": ["admin"]})
    assert status == 201
    assert (await desk.call("PATCH", f"/v1/operators/{eve['id']}", "admin", {"state": "disabled"}))[0] == 200
    assert (await desk.call("POST", "/v1/machines", "admin", BOT))[0] == 201
    desk.stand.subject("admin", "second")
    await waiting(desk, "PATCH", f"/v1/operators/{eve['id']}", "admin", {"state": "active"})


@pytest.mark.req("R4.1-12")
async def test_the_host_lets_a_stopped_admin_back_in(desk: Desk) -> None:
    """Within a day whom another stopped is an admin again by the host's credentials, and stops the other; not later."""
    from byokeep.core.errors import NotFound
    from byokeep.tenancy.operators import recover

    other = desk.stand.subject("admin", "second")
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{other.id}'")
    await stop(desk, other, "without the role")
    await stop(desk, other, "disabled")
    invitation = (await recover(desk.stand.app, name)).reveal()  # type: ignore[union-attr]
    guest = Person(other.id, invitation if isinstance(invitation, str) else invitation.decode())
    assert (await desk.exchange("PUT", f"/v1/operators/{other.id}/password", guest, raw=PASSWORD))[0] == 204
    session = (await desk.call("POST", "/v1/session", None, {"name": name, "password": PASSWORD.decode()}))[1]
    back, me = Person(other.id, session["token"]), desk.people["admin"]
    assert (await desk.call("PATCH", f"/v1/operators/{me.id}", back, {"state": "disabled"}))[0] == 200
    assert (await desk.call("GET", "/v1/operators", "admin"))[0] == 401
    desk.sql(f"UPDATE byokeep.subject SET admin_until = now() WHERE id = '{me.id}'")
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{me.id}'")
    with pytest.raises(NotFound, match="no_such_admin"):
        await recover(desk.stand.app, name)


@pytest.mark.req("R4.1-12")
async def test_what_a_held_admin_asks_for_is_nobodys(desk: Desk) -> None:
    """Whom one admin made or gave credentials neither asks for what that admin approves, nor closes alerts about it."""
    other = desk.stand.subject("admin", "second")
    await desk.stand.client("openai")
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{other.id}'")
    assert made_by_broker(desk, asked_by=other.id) == "made"
    taken = await invite(desk, str(other.id), name)
    assert await refused(desk, "POST", "/v1/machines", taken, BOT) == (403, "approval_held")
    assert made_by_broker(desk, asked_by=other.id) == "BK006"
    puppet, third = await person(desk, "Puppet", "operator"), desk.stand.subject("admin", "third")
    client = desk.sql("SELECT id FROM byokeep.client")
    transfer = {"client_id": client, "login": "x", "account": "1", "reason": "a_test"}
    assert await refused(desk, "POST", "/v1/accounts/transfers", puppet, transfer) == (403, "approval_held")
    assert (await desk.call("POST", "/v1/accounts/transfers", "operator", transfer))[0] == 201
    await stop(desk, third, "disabled")
    alerts = {one["reason"]: one["id"] for one in (await desk.call("GET", "/v1/alerts", puppet))[1]["alerts"]}
    for reason in ("admin_stopped", "credentials_of_another_issued"):
        for who in (puppet, taken):
            close = f"/v1/alerts/{alerts[reason]}/close"
            assert await refused(desk, "POST", close, who) == (403, "same_person"), reason
    assert desk.not_once_on_record() == []


def as_broker(desk: Desk, statements: str, *, without: bool = False) -> str:
    """What the database answers the broker's role, with what `tests.support.people` makes, or without its approval."""
    approval, call = "", statements
    if statements.startswith("INSERT"):
        approval, call = statements.split(";", 1)
    call = next(one for one in call.split(";") if one.startswith("SELECT"))
    if without:
        call = call.replace(f"'{approval.split(chr(39))[1]}'", "NULL")
    with psycopg.connect(desk.stand.db.conninfo("byokeep_broker"), autocommit=True) as broker:
        try:
            broker.execute(call.encode())
        except psycopg.Error as no:
            return str(no.sqlstate)
    return "done"


@pytest.mark.req("R4.1-12")
async def test_a_machines_next_token_takes_two_admins(desk: Desk) -> None:
    """One admin alone gets no token of a machine that there is; the old one works on until the new one is collected."""
    from tests.support.people import token_sql

    status, bot = await desk.call("POST", "/v1/machines", "admin", BOT)
    assert status == 201, bot
    tokens, body = f"/v1/machines/{bot['id']}/tokens", {"days": 1, "overlap_s": 604_800}
    status, first = await desk.call("POST", tokens, "admin", {"days": 1})
    assert status == 201, "there is one admin"
    second = desk.stand.subject("admin", "second")
    asked = await waiting(desk, "POST", tokens, "admin", body)
    # A row that says so without the second admin's record lets nobody collect.
    desk.sql(f"UPDATE byokeep.approval SET approved_by = '{second.id}', approved_at = now() WHERE id = '{asked}'")
    asked = await waiting(desk, "POST", tokens, "admin", body)
    assert await waiting(desk, "POST", tokens, "admin", body) == asked
    for path in (f"/v1/machines/{desk.people[one].id}/tokens" for one in ("dispatcher", "runner", "custodian")):
        await waiting(desk, "POST", path, "admin", {"days": 1})
    alone = token_sql(UUID(bot["id"]), b"h" * 32, desk.stand.app.installation_id)
    assert as_broker(desk, alone, without=True) == "BK006"
    use = f"/v1/approvals/{asked}/approve"
    assert await refused(desk, "POST", use, "admin") == (403, "same_person")
    shown = (await desk.call("GET", "/v1/approvals", second))[1]["approvals"][0]
    assert (shown["what"], shown["reason"]) == ("issue a token for 1 day to the machine Bot (dispatcher)", "token")
    assert (await desk.call("POST", use, second))[1]["name"] == "Bot"
    assert (await refused(desk, "POST", use, second)) == (403, "approval_used")
    assert asked not in str((await desk.call("GET", "/v1/approvals", second))[1])
    old = Person(UUID(bot["id"]), first["token"])
    assert (await desk.stand.call("GET", "/v1/self", old))[0] == 200
    await waiting(desk, "POST", tokens, second, body)  # collected by who asked, and for what was asked
    await waiting(desk, "POST", tokens, "admin", body | {"days": 30})
    status, issued = await desk.call("POST", tokens, "admin", body)
    assert status == 201, issued
    for token in (first, issued):
        who = Person(UUID(bot["id"]), token["token"])
        assert (await desk.stand.call("GET", "/v1/self", who))[0] == 200
    assert await waiting(desk, "POST", tokens, "admin", body) != asked, "once"
    # Who made a machine with a second's approval holds its token anyway, and renews it alone; nobody else does.
    made = await waiting(desk, "POST", "/v1/machines", "admin", BOT | {"name": "Bot 2"})
    mine = (await desk.call("POST", f"/v1/approvals/{made}/approve", second))[1]["id"]
    for _ in range(2):
        assert (await desk.call("POST", f"/v1/machines/{mine}/tokens", "admin", {"days": 1}))[0] == 201
    await waiting(desk, "POST", f"/v1/machines/{mine}/tokens", second, {"days": 1})
    await desk.stand.client("openai")
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['admin'].id}'")
    taken = await invite(desk, str(desk.people["admin"].id), name, second)
    no = await refused(desk, "POST", f"/v1/machines/{mine}/tokens", taken, {"days": 1})
    assert no == (403, "approval_held"), "the other admin may hold these credentials"
    assert desk.not_once_on_record() == []


async def test_what_somebody_approved_who_was_stopped_since_counts_no_more(desk: Desk) -> None:
    """It may have been a thief of that account: what was not used yet takes another approval."""
    _, bot = await desk.call("POST", "/v1/machines", "admin", BOT)
    second, third = desk.stand.subject("admin", "second"), desk.stand.subject("admin", "third")
    ask = ("POST", f"/v1/machines/{bot['id']}/tokens", "admin", {"days": 1})
    asked = await waiting(desk, *ask)
    assert (await desk.call("POST", f"/v1/approvals/{asked}/approve", second))[0] == 200
    off = await desk.call("PATCH", f"/v1/operators/{second.id}", third, {"state": "disabled"})
    assert off[0] == 200, off
    again = await waiting(desk, *ask)
    assert again != asked
    assert (await desk.call("POST", f"/v1/approvals/{again}/approve", third))[0] == 200
    assert (await desk.call(*ask))[0] == 201


@pytest.mark.req("R4.1-12")
async def test_wider_clients_of_a_machine_take_two_admins(desk: Desk) -> None:
    """One admin alone gives a machine no client more, in use or not; narrowing is one person's act."""
    from dataclasses import replace

    from byokeep.core.model import Role
    from byokeep.tenancy.tokens import Subject
    from tests.support.people import subject_sql

    one, other = str(await desk.stand.client("openai")), str(await desk.stand.client("openai"))
    bot = (await desk.call("POST", "/v1/machines", "admin", {"name": "Bot", "role": "runner", "clients": [one]}))[1]
    path, second = f"/v1/machines/{bot['id']}", desk.stand.subject("admin", "second")
    everything = await waiting(desk, "PATCH", path, "admin", {"all_clients": True})
    await waiting(desk, "PATCH", path, "admin", {"clients": [one, other]})
    await waiting(desk, "PATCH", path, "admin", {"clients": [other]})
    row = Subject(id=UUID(bot["id"]), kind="machine", name="Bot", roles=frozenset({Role.RUNNER}), state="active",
                  all_clients=False, clients=frozenset({UUID(one)}))  # fmt: skip
    for wider in (replace(row, all_clients=True), replace(row, clients=frozenset({UUID(other)}))):
        for state in ("active", "disabled"):
            call = subject_sql(replace(wider, state=state), desk.stand.app.installation_id, new=False)
            assert as_broker(desk, call, without=True) == "BK006", wider
    [shown] = [a for a in (await desk.call("GET", "/v1/approvals", second))[1]["approvals"] if a["id"] == everything]
    assert shown["what"].startswith(f"change Bot: clients {one} -> all")
    assert (await desk.call("POST", f"/v1/approvals/{everything}/approve", second))[1]["all_clients"] is True
    for narrow in ({"all_clients": False, "clients": [one]}, {"clients": []}, {"state": "disabled"}):
        assert (await desk.call("PATCH", path, "admin", narrow))[0] == 200, narrow
    await waiting(desk, "PATCH", path, "admin", {"all_clients": True})


@pytest.mark.req("R4.1-12")
async def test_how_long_a_stopped_admin_counts_stands_on_record(desk: Desk) -> None:
    """The owner who ends, in the row alone, the day for which a stopped admin counts is found."""
    for way in STOPS:
        other = desk.stand.subject("admin", f"other {way}")
        await stop(desk, other, way)
        recorded = f"SELECT byokeep.subject_recorded('{other.id}')"
        assert desk.sql(recorded) == "t", way
        desk.sql(f"UPDATE byokeep.subject SET admin_until = NULL WHERE id = '{other.id}'")
        assert desk.sql(recorded) == "f", way


@pytest.mark.req("R4.1-12")
@pytest.mark.parametrize("role", ["byokeep_web", "byokeep_auditor"])
async def test_no_role_keeps_the_end_of_a_persons_access_waiting(desk: Desk, role: str) -> None:
    """Neither the lock of before nor an open transaction on the platform's chain keeps out who disables or revokes."""
    from tests.flows.test_switches import holding

    key = "hashtextextended('byokeep:subjects', 0)"
    with psycopg.connect(desk.stand.db.conninfo(role), autocommit=True) as advisory:
        advisory.execute(f"SELECT pg_advisory_lock({key})".encode())
        for way in ("without a token", "disabled"):
            other = desk.stand.subject("auditor", way)
            await stop(desk, other, way)
            assert (await desk.call("GET", "/v1/self", other))[0] == 401
        assert advisory.execute("SELECT 1").fetchone() == (1,), "it kept nobody waiting"
    for way in ("without a token", "disabled"):
        other = desk.stand.subject("auditor", f"{way} 2")
        async with holding(desk.stand, role):
            await stop(desk, other, way)
        assert (await desk.call("GET", "/v1/self", other))[0] == 401
    assert "audit_chain_held" in desk.stand.alerts()
