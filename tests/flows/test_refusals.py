"""Every refusal of every route is on record exactly once, whoever was refused and whatever the reason."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
import secrets
from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.broker.app import create_app as create_broker
from byokeep.core.errors import Denied
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb
from byokeep.kernel.command import MANY, command, permit
from byokeep.tenancy.authenticate import authenticate
from tests.e2e.test_onboard_matrix import RULES
from tests.flows.test_hardening_callers import NOBODY, OPEN, filled, routes_of
from tests.support.broker import Person
from tests.support.vault import Vault
from tests.support.web import REFUSED, Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.vault",
]  # fmt: skip

UNKNOWN = Person(uuid4(), "bko_" + secrets.token_urlsafe(32))
STRANGERS = (None, UNKNOWN)
ROLES = ("operator", "approver", "admin", "auditor", "runner", "dispatcher", "custodian")
# What any caller with a token of ours may ask; there is nobody whom a role would refuse.
# What every person may ask for; machines have no business at web and are told so by 401.
OF_EVERYBODY = {
    "DELETE /v1/sessions", "GET /v1/self", "GET /v1/gate/schema", "GET /v1/alerts", "GET /v1/apps",
    "GET /v1/checklists", "GET /v1/clients",
    "GET /v1/due",
    "GET /v1/incidents", "GET /v1/keks", "GET /v1/logins", "GET /v1/notifications", "GET /v1/procedures",
    "GET /v1/vault-incidents", "POST /v1/inventory/checks",
    # Of nobody here: it takes a session of the portal, so each of these is a stranger.
    "DELETE /v1/portal/session", "POST /v1/portal/passkeys", "POST /v1/portal/passkeys/options",
    "DELETE /v1/portal/passkeys/{passkey_id}",
}  # fmt: skip


async def ask(http: Any, route: str, who: Person | None, body: Any = None) -> tuple[int, str, str]:
    """One call with made-up ids; returns status, code and the id of the request that was refused."""
    method, _, path = route.partition(" ")
    headers = {} if who is None else {"Authorization": f"Bearer {who.token}"}
    sent = body if body is not None or method in ("GET", "DELETE") else {}
    async with http.request(method, "http://host" + filled(path), headers=headers, json=sent) as reply:
        if reply.content_type == "text/event-stream":  # it has no end
            return reply.status, "", ""
        text = await reply.text()
        said = json.loads(text) if reply.status >= 400 else {}
        return reply.status, said.get("code", ""), said.get("request_id", "")


@pytest.mark.req("R1.4-1", "S-OWASP-18")
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.campaign)])
async def test_every_refusal_of_every_route_is_on_record_once(desk: Desk, whole: bool) -> None:
    """All routes of web and broker, called by nobody, with an unknown token and by each role, until one was refused for
    its role and, where a client is named, one for the client: one record a refusal, and none on a chain of a client
    that does not exist, which is refused wherever it is named."""
    stand = desk.stand
    broker = create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords())
    asked: dict[str, str] = {}
    refused: Counter[str] = Counter()
    routes = [(api, http, route) for api, http in ((desk.api, desk.http), (broker, stand.http))
              for route in sorted(routes_of(api) - OPEN)]  # fmt: skip
    for at, (_, http, route) in enumerate(routes):
        first = at % len(ROLES)
        seen, wanted = set[int](), {403, 404} if "{client_id}" in route else {403}
        for caller in (*STRANGERS, *ROLES[first:], *ROLES[:first]):
            if wanted <= seen and not whole:
                break
            who = desk.people[caller] if isinstance(caller, str) else caller
            status, code, request = await ask(http, route, who)
            assert "{client_id}" not in route or status >= 400, (route, caller)  # no client is not an empty one
            seen.add(status)
            if status in REFUSED:
                asked[request] = f"{route} {caller} {code}"
                refused[route] += status != 401
                refused[f"{route} 401"] += status == 401
    assert len(routes) > 100
    assert [route for *_, route in routes if not refused[f"{route} 401"]] == []
    assert {route for *_, route in routes if not refused[route]} <= OF_EVERYBODY
    assert desk.not_once_on_record(asked) == []
    assert len(asked) > 600
    assert desk.sql("SELECT count(*) FROM byokeep.audit_head WHERE chain = '" + NOBODY + "'") == "0"


@pytest.mark.req("R1.4-1")
async def test_a_body_or_path_that_cannot_be_read_is_on_record_too(desk: Desk) -> None:
    """Refusals before any flow was reached: who asked stands on the record when the token was good."""
    stand, admin = desk.stand, desk.people["admin"]
    for http, method, path, who, more in (
        (desk.http, "POST", "/v1/clients", admin, {"data": b"{"}),
        (desk.http, "GET", "/v1/clients/not-an-id", admin, {}),
        (desk.http, "POST", "/v1/session", None, {"json": {"name": "x"}}),
        (desk.http, "GET", "/v1/self?x=1", admin, {}),
        (desk.http, "POST", "/v1/jobs/not-an-id/close", admin, {}),
        (stand.http, "GET", "/v1/jobs/not-an-id", admin, {}),
        (stand.http, "GET", "/v1/leases/not-an-id", admin, {}),
    ):
        headers = {} if who is None else {"Authorization": f"Bearer {who.token}"}
        if "data" in more:
            headers["Content-Type"] = "application/json"
        async with http.request(method, "http://host" + path, headers=headers, **more) as reply:
            said = await reply.json(content_type=None)
            if said["code"] == "not_found":  # no such route
                assert method == "POST"
                continue
            assert reply.status in REFUSED
        assert desk.not_once_on_record({said["request_id"]: path}) == []
        record = desk.sql(
            f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE request_id = '{said['request_id']}'"
        )
        fields = json.loads(record)
        known = who is not None and "?" not in path
        assert fields["actor"] == str(admin.id if known else desk.web.installation_id), path
        assert fields["fields"]["reason"] == said["code"]
        assert fields["fields"]["route"]


@pytest.mark.req("R1.4-1")
async def test_what_one_person_may_not_do_alone_is_on_record(vault: Vault) -> None:
    """Closing an incident, destroying its profiles and shredding one, by who asked for it: refused, one record each."""
    client, profile = await vault.valid("x")
    approver = vault.desk.people["approver"].id
    status, work = await vault.call("POST", f"/v1/profiles/{profile}/shred")
    assert status == 202, work
    vault.sql(f"UPDATE byokeep.profile_work SET asked_by = '{approver}' WHERE kind = 'shred'")
    shred = f"/v1/profiles/{profile}/shred/approve"
    assert (await vault.call("POST", shred, who="approver"))[1]["code"] == "same_person"
    said = {"client_id": str(client), "cause": "artifact_store_exposure"}
    status, incident = await vault.call("POST", "/v1/vault-incidents", said, "approver")
    assert status == 201, incident
    one = f"/v1/vault-incidents/{incident['incident']}"
    assert (await vault.call("POST", f"{one}/close", who="approver"))[1]["code"] == "same_person"
    assert (await vault.call("POST", f"{one}/approve", who="approver"))[1]["code"] == "nothing_to_confirm"
    vault.sql(f"UPDATE byokeep.profile_work SET incident_id = '{incident['incident']}' WHERE kind = 'shred'")
    assert (await vault.call("POST", f"{one}/approve", who="approver"))[1]["code"] == "same_person"
    assert sorted(call.split()[-1] for call in vault.desk.refused.values()) == [
        "nothing_to_confirm", "same_person", "same_person", "same_person",
    ]  # fmt: skip
    assert vault.desk.not_once_on_record() == []


@pytest.mark.req("S-OWASP-23", "S-VAULT-7")
async def test_another_clients_object_answers_like_none(desk: Desk) -> None:
    """Every route with an id of somebody else's job, lease, permit, key or request, and with one that nobody has: the
    same status and reply, to each role that is assigned to another client and to another machine of the same one."""
    stand = desk.stand
    theirs, own = await stand.client("openai"), await stand.client()
    stand.account(theirs)
    job = await stand.job(theirs)
    lease = (await stand.lease(job))["lease_id"]
    permit = (await stand.permit(lease))[1]["permit_id"]
    done = await desk.onboard(theirs, desk.canary("anthropic"), "anthropic")
    asked = await desk.call("POST", "/v1/switches/close", "operator", {"client_id": str(theirs), "reason": "a_test"})
    assert asked[0] == 200, asked
    wish = {"client_id": str(theirs), "reason": "a_test"}
    request = (await desk.call("POST", "/v1/switches/open-requests", "operator", wish))[1]["id"]
    real = {"client_id": str(theirs), "job_id": str(job), "lease_id": lease, "permit_id": permit, "ref_id": done["ref"],
            "sop_id": done["sop"], "request_id": request}  # fmt: skip
    broker = create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords())
    compared, fits = 0, dict[str, list[dict[str, Any]]]()
    machines = {name: real[name] for name in ("job_id", "lease_id", "permit_id")}
    callers = [(role, own, real) for role in ("operator", "approver", "auditor", "runner", "dispatcher", "custodian")]
    callers += [(role, theirs, machines) for role in ("runner", "dispatcher", "custodian")]
    for role, client, ids in callers:
        who = stand.subject(role, "narrow", clients=(client,))
        for api, http in ((desk.api, desk.http), (broker, stand.http)):
            for route in sorted(routes_of(api)):
                if any(part[1:-1] in ids for part in route.split("/")):
                    answers = []
                    for filling in (ids, dict.fromkeys(ids, NOBODY)):
                        path = "/".join(filling.get(part[1:-1], part) for part in route.split("/"))
                        answers.append(await answer(http, path, who, fits.setdefault(route, bodies_for(route, real))))
                    assert answers[0] == answers[1], (route, role)
                    assert answers[0][0] >= 400, (route, role)
                    compared += 1
    assert compared > 200


def bodies_for(route: str, ids: dict[str, str]) -> list[dict[str, Any]]:
    """What may fit a route, the likeliest first."""
    rule = RULES.get(route)
    return [*([rule.sent(ids | {"profile_id": NOBODY})] if rule and isinstance(rule.body, dict) else []), *BODIES]


async def answer(http: Any, route: str, who: Person, bodies: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """One call with the first of these bodies that fits, which is the only one left once that is known, or the first if
    none does; returns status and reply without what differs by itself."""
    method, _, path = route.partition(" ")
    path = filled(path.replace("{epoch}", "1"))
    for at, body in enumerate((None,) if method in ("GET", "DELETE") else tuple(bodies)):
        headers = {"Authorization": f"Bearer {who.token}"}
        async with http.request(method, "http://host" + path, headers=headers, json=body) as reply:
            said = json.loads(await reply.text() or "{}")
            if said.get("code") != "bad_request":
                if body is not None and (at or reply.status not in (401, 403, 404)):  # of these nobody looked at it
                    bodies[:] = [body]
                break
    else:
        bodies[1:] = []
    return reply.status, {name: text for name, text in said.items() if name != "request_id"}


# One of them fits each route's shape, so that the answer is about the object.
BODIES: tuple[dict[str, Any], ...] = (
    {}, {"reason": "a_test"}, {"reason": "Not A Code"}, {"outcome": "done"}, {"secret": "x/acme", "version": 1},
    {"logins": 1, "reads": {}},
    {"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
     "idempotency_key": "a-strangers-key"},
)  # fmt: skip


@pytest.mark.req("R1.4-1")
async def test_a_client_that_does_not_exist_is_refused_wherever_it_is_named(desk: Desk) -> None:
    """In a query or a body, too, nobody's id is 404 to people of all clients, and begins no chain."""
    named = {"client_id": NOBODY}
    x = {"platform": "x"}
    for method, path, who, body in (
        ("GET", f"/v1/audit?client_id={NOBODY}", "auditor", None),
        ("POST", "/v1/audit/export", "auditor", named),
        ("POST", "/v1/switches/close", "operator", named | {"reason": "a_test"}),
        ("POST", "/v1/switches/open-requests", "operator", named | {"reason": "a_test"}),
        ("POST", "/v1/platforms/close", "operator", named | x | {"cause": "compromised"}),
        ("POST", "/v1/platforms/canary-requests", "operator", named | x | {"reason": "a_test"}),
        ("POST", "/v1/accounts/transfers", "operator",
         named | {"login": "x", "account": "1", "reason": "a_test"}),
        ("POST", "/v1/vault-incidents", "operator", named | {"cause": "artifact_store_exposure"}),
    ):  # fmt: skip
        status, reply = await desk.call(method, path, who, body)
        assert (status, reply["code"]) == (404, "not_found"), (path, reply)
    assert desk.sql("SELECT count(*) FROM byokeep.audit_head WHERE chain = '" + NOBODY + "'") == "0"


@pytest.mark.req("R4.1-9", "R1.4-1")
async def test_a_denial_within_a_command_is_counted_once(desk: Desk) -> None:
    """One that a command within a command has recorded leaves one record, and counts as one on the alert."""
    app, who = desk.web, desk.people["auditor"].id
    actor = Actor(id=who, roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
    for _ in range(MANY + 1):
        with pytest.raises(Denied):
            async with command(app, actor, Verb.AUDIT_READ):
                await permit(app, actor, Verb.KEY_WRITE)
    assert len(desk.stand.events("access.decided", "denied")) == MANY + 1
    assert desk.sql("SELECT count, object_id FROM byokeep.alert WHERE reason = 'repeated_denials'") == f"2|{who}"
