"""Every approval there is, a row for each kind: own, expired, altered and used ones are refused, on record."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import approvals, procedures
from byokeep.kernel.app import App
from byokeep.kernel.command import record
from byokeep.kernel.ports import Tx
from tests.flows import test_incident
from tests.support.broker import Person, Stand
from tests.support.connected import connect

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
BODIES: dict[str, dict[str, str]] = {}  # of the routes that take what is approved once more
Asked = Callable[[Stand], Awaitable[tuple[str, str]]]  # who approves, and the route of it


async def _act(_app: App, _actor: object, _run: Run) -> Fields:
    return {"count": 1}


STEP = Procedure(
    name="exercise", verb=Verb.KEY_STATE, startable=True,
    steps=(Step(name="act", act=_act, verb=Verb.KEY_STATE, approval=Verb.PROFILE_SHRED),),
)  # fmt: skip


async def asks(stand: Stand, path: str, who: str, body: Any, method: str = "POST") -> dict[str, Any]:
    status, reply = await stand.call(method, path, who, body)
    assert status in (201, 202), reply
    return dict(reply.get("waiting") or reply)


async def release_switch(stand: Stand) -> tuple[str, str]:
    scope = {"client_id": str(await stand.client()), "reason": "incident"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", scope))[0] == 200
    asked = await asks(stand, "/v1/switches/open-requests", "operator", scope)
    return "approver", f"/v1/switches/open-requests/{asked['id']}/approve"


async def start_canary(stand: Stand) -> tuple[str, str]:
    account = await connect(stand, await stand.client())
    assert (await test_incident.close(stand, account.client))[0] == 200
    await test_incident.back(stand, account.client)
    asked = (await test_incident.ask(stand, account.client))[1]
    return "approver", f"/v1/platforms/canary-requests/{asked['id']}/approve"


async def transfer_account(stand: Stand) -> tuple[str, str]:
    body = {"client_id": str(await stand.client()), "login": "x", "account": "1234567890", "reason": "account_was_sold"}
    asked = await asks(stand, "/v1/accounts/transfers", "operator", body)
    BODIES[asked["id"]] = {name: body[name] for name in ("client_id", "login", "account")}
    return "admin", f"/v1/accounts/transfers/{asked['id']}/approve"


async def give_rights(stand: Stand) -> tuple[str, str]:
    body = {"name": f"Bot {uuid4().hex[:6]}", "role": "dispatcher"}
    asked = await asks(stand, "/v1/machines", "admin", body)
    return "second admin", f"/v1/approvals/{asked['id']}/approve"


async def issue_token(stand: Stand) -> tuple[str, str]:
    machine = stand.subject("runner", "bot")
    asked = await asks(stand, f"/v1/machines/{machine.id}/tokens", "admin", {"days": 1})
    return "second admin", f"/v1/approvals/{asked['id']}/approve"


async def procedure_step(stand: Stand) -> tuple[str, str]:
    operator = stand.people["operator"].id
    actor = Actor(id=operator, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
    client = ClientId(await stand.client())
    run = (await procedures.begin_named(stand.app, actor, "exercise", client_id=client, object_id=uuid4())).run
    return "approver", f"/v1/procedures/{run.id}/approve"


async def break_glass(stand: Stand) -> tuple[str, str]:
    stand.db.sql("UPDATE byokeep.procedure_run SET state = 'aborted', closed_at = now(), closed_by = started_by"
                 " WHERE procedure = 'break_glass'")  # fmt: skip
    body = {"client_id": str(await stand.client()), "reason": "runner_down", "ticket": "INC-1"}
    asked = await asks(stand, "/v1/breakglass", "operator", body)
    return "approver", f"/v1/breakglass/{asked['id']}/approve"


@dataclass(frozen=True)
class Kind:
    """How it is asked for; where its flow says something else than the kernel's own word of a refusal."""

    ask: Asked
    says: dict[str, str] = field(default_factory=dict)


KINDS = {
    "open_switch": Kind(release_switch, {"approval_changed": "approval_unrecorded"}),
    "start_canary": Kind(start_canary, {"approval_changed": "approval_unrecorded"}),
    "transfer_account": Kind(transfer_account),
    "give_rights": Kind(give_rights),
    "issue_token": Kind(issue_token),
    # A request for another state of the run is none for this one.
    "procedure_step": Kind(
        procedure_step, {"approval_changed": "approval_expired", "approval_used": "nothing_to_approve"}
    ),
    "break_glass": Kind(break_glass),
}
HARM = {
    "same_person": "requested_by = '{approver}'",
    "approval_expired": "expires_at = now()",
    "approval_changed": "epoch = epoch + 1",
    "approval_unrecorded": "reason = reason",  # it was not written by whoever put the request on record
}


@pytest.mark.req("S-ASVS-7")
async def test_every_kind_of_approval_has_a_row(stand: Stand) -> None:
    """What the database takes as a kind is what is tried here: a new one is red until it has its row."""
    stand.app.procedures["exercise"] = STEP  # type: ignore[index]
    rule = stand.db.sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'approval_action_ck'")
    assert set(re.findall(r"'([a-z_]+)'", rule)) == set(KINDS)
    stand.subject("admin", "second")
    for action, kind in KINDS.items():
        for why, harm in HARM.items():
            if (action, why) != ("procedure_step", "approval_unrecorded"):  # its run says what is asked for and by whom
                await tried(stand, action, kind, why, harm)
        await tried(stand, action, kind, "approval_used", "")


async def tried(stand: Stand, action: str, kind: Kind, why: str, harm: str) -> None:
    who, path = await kind.ask(stand)
    newest = stand.db.sql("SELECT id FROM byokeep.approval ORDER BY requested_at DESC LIMIT 1")
    newest, approver = f"id = '{newest}'", person(stand, who)
    body = BODIES.get(path.split("/")[-2])
    assert stand.db.sql(f"SELECT action FROM byokeep.approval WHERE {newest}") == action
    if harm:
        stand.db.sql(f"UPDATE byokeep.approval SET {harm.format(approver=approver.id)} WHERE {newest}")
    else:
        assert (await stand.call("POST", path, approver, body))[0] == 200, action
    wanted, before = kind.says.get(why, why), recorded(stand, kind.says.get(why, why))
    status, reply = await stand.call("POST", path, approver, body)
    assert (status in (403, 409), reply["code"]) == (True, wanted), (action, why, reply)
    assert recorded(stand, wanted) == before + 1, (action, why)
    if harm:
        if why not in kind.says:
            assert stand.db.sql(f"SELECT approved_at IS NULL FROM byokeep.approval WHERE {newest}") == "t", (
                action,
                why,
            )
        stand.db.sql(f"UPDATE byokeep.approval SET expires_at = now() WHERE {newest}")


def recorded(stand: Stand, code: str) -> int:
    rows = stand.db.sql("SELECT count(*) FROM byokeep.audit_record WHERE outcome IN ('denied', 'failed')"
                        f" AND convert_from(payload, 'UTF8')::jsonb #>> '{{fields,reason}}' = '{code}'")  # fmt: skip
    return int(rows)


def person(stand: Stand, who: str) -> Person:
    """A person of the role who has asked for nothing."""
    return stand.subject(who.removeprefix("second "), "approves")


async def test_two_who_ask_for_the_same_at_once_have_one_request(stand: Stand) -> None:
    """The second waits for the first, and is given what that one asked for; another thing waits for nobody."""
    first, scope = stand.people["admin"].id, f"exercise/{uuid4()}"

    async def ask(tx: Tx, scope: str) -> approvals.Approval:
        said = {"action": approvals.GIVE_RIGHTS, "scope": scope, "epoch": 0, "reason": "exercise"}
        return await approvals.ask(tx, stand.app, first, **said)  # type: ignore[arg-type]

    async def later(scope: str) -> approvals.Approval:
        async with stand.app.db.begin(every_client=True) as tx:
            return await ask(tx, scope)

    async with stand.app.db.begin(every_client=True) as tx:
        made = await ask(tx, scope)
        second = asyncio.create_task(later(scope))
        assert not (await later(f"{scope}/other")).repeated
        done, _ = await asyncio.wait({second}, timeout=0.3)
        assert not done
        by = Actor(id=first, roles=frozenset({Role.ADMIN}), clients=None, request_id=uuid4())
        await record(tx, by, EventName.SWITCH_OPEN_REQUESTED, scope=scope, epoch=0, reason="exercise")
    again = await second
    assert (again.id, again.repeated, made.repeated) == (made.id, True, False)


async def test_asking_again_leads_past_a_request_that_nobody_can_approve_any_more(stand: Stand) -> None:
    """As after a backfill, or a dump of the database loaded table by table: its row is not as it was put on record."""
    scope = {"client_id": str(await stand.client()), "reason": "incident"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", scope))[0] == 200
    dead = await asks(stand, "/v1/switches/open-requests", "operator", scope)
    stand.db.sql(f"UPDATE byokeep.approval SET reason = reason WHERE id = '{dead['id']}'")
    route = "/v1/switches/open-requests/{}/approve"
    status, refused = await stand.call("POST", route.format(dead["id"]), "approver")
    assert (status, refused["code"], "Ask again" in refused["next_step"]) == (403, "approval_unrecorded", True)
    again = await asks(stand, "/v1/switches/open-requests", "operator", scope)
    assert again["id"] != dead["id"]
    assert (await stand.call("POST", "/v1/switches/open-requests", "operator", scope))[1]["id"] == again["id"]
    assert (await stand.call("POST", route.format(again["id"]), "approver"))[0] == 200


async def test_what_was_approved_twice_is_used_once(stand: Stand) -> None:
    """As when an approver was held, another one approved, and the first may approve again; held, it counted no more."""
    machine = stand.subject("runner", "bot")
    path, body, ids = f"/v1/machines/{machine.id}/tokens", {"days": 1}, list[str]()
    for name in ("second", "third"):
        approver = stand.subject("admin", name)
        ids.append((await asks(stand, path, "admin", body))["id"])
        assert (await stand.call("POST", f"/v1/approvals/{ids[-1]}/approve", approver))[0] == 200
        if name == "second":
            held = "UPDATE byokeep.subject SET held_until = {} WHERE id = '" + str(approver.id) + "'"
            stand.db.sql(held.format("now() + interval '1 hour'"))
    stand.db.sql(held.format("NULL"))
    assert ids[0] != ids[1]
    assert (await stand.call("POST", path, "admin", body))[0] == 201
    assert stand.db.sql("SELECT count(*) FROM byokeep.approval WHERE used_at IS NULL") == "0"
    assert "waiting" in (await stand.call("POST", path, "admin", body))[1]
