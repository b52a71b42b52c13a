"""The portal: a client's person is invited, enters, replaces and ends keys, and reaches nothing else."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from byokeep.console import visit
from byokeep.core import png as picture
from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Provider, Role
from byokeep.core.ref import SecretRef
from byokeep.http.emergency import Emergency
from byokeep.kernel import sops
from byokeep.keys import onboard, refs
from byokeep.tenancy import contact_routes
from byokeep.tenancy.tokens import Subject, new_token, put
from byokeep_redact.search import Sweep
from tests.flows.test_hardening_callers import filled, sent
from tests.flows.test_rotation import administered
from tests.support.broker import POST, Person
from tests.support.console import SAME, Shown, Visit
from tests.support.pixels import png
from tests.support.portal import SESSION, Guest, code_for, guest, invited
from tests.support.web import Desk

BACK = "https://byokeep.example/portal/connected"
CONSENT = "__Host-byokeep-portal-consent"
pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def test_an_invitation_is_looked_at_freely_and_redeemed_once(desk: Desk) -> None:
    """Previews burn nothing; of three who redeem one gets in; withdrawn, late and used ones say the same.

    Nobody is let in before a code came back from the address: one that went to a stranger is worth nothing there.
    """
    client = await desk.stand.client("openai")
    one = await invited(desk, client, name="Ada of Acme")
    for _ in range(3):
        page = await one.look()
        assert (page.status, "You are invited to look after the keys of" in page.text) == (200, True)
        assert page.headers["Cache-Control"] == "no-store"
        assert "script-src" not in page.headers["Content-Security-Policy"]  # it is the page before that has one
    assert one.invited["token"] not in desk.sql("SELECT string_agg(keyed_hash::text, ' ') FROM byokeep.api_token")
    ask = {"link": one.invited["token"], "address": "nobody"}
    bad = await one.send("/portal/invitation/code", **ask)
    assert (bad.status, "There is a problem" in bad.text) == (422, True)
    seen, wrong, ada = len(POST), "adda@client.example", "ada@client.example"
    mistyped = await one.send("/portal/invitation/code", **ask | {"address": wrong})
    assert (mistyped.status, f"on its way to <bdi>{wrong}" in mistyped.text) == (200, True)
    theirs, stranger = await code_for(wrong, after=seen), Guest(desk)
    await stranger.get("/portal/sign-in")
    assert (await stranger.send("/portal/code", address=wrong, code=theirs)).status == 401
    assert (await one.accept(ada, theirs)).status == 401  # it is good for its address alone
    assert (await one.accept(ada, "")).status == 401
    assert SESSION not in one.cookies
    assert desk.sql("SELECT count(*) FROM byokeep.contact_address") == "0"
    await one.send("/portal/invitation/code", **ask | {"address": " Ada@client.example"})
    code = await code_for(ada, after=seen)
    assert (await one.accept(wrong, theirs)).status == 401  # and until the next is asked for
    guests = [Guest(desk, dict(one.cookies), one.word, one.invited) for _ in range(3)]
    answers = await asyncio.gather(*(it.accept(ada, code) for it in guests))
    assert sorted(it.status for it in answers) == [303, 401, 401]
    home = await guests[[it.status for it in answers].index(303)].get("/portal")
    assert "Keys and accounts of" in home.text
    for _ in range(4):
        more = await invited(desk, client)
        assert (await more.redeem("ada@client.example")).at == "/portal"
    full = await invited(desk, client)
    await full.look()
    asked = await full.send("/portal/invitation/code", link=full.invited["token"], address="ada@client.example")
    assert asked.status == 200  # only who reads its mails is told that an address is full
    assert "is used for 5 clients already" in (await full.redeem("ada@client.example")).text
    full.cookies |= more.cookies
    assert (await full.redeem()).at == "/portal"
    assert (await more.ask("GET", "/portal")).at.startswith("/portal/sign-in")  # the session before has ended
    assert (await full.ask("GET", "/portal")).status == 200
    gone = await invited(desk, client)
    assert (await desk.call("DELETE", f"/v1/contacts/{gone.invited['id']}", "operator"))[0] == 200
    late = await invited(desk, client)
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '8 days', expires_at = now()"
             f" WHERE subject_id = '{late.invited['id']}'")  # fmt: skip
    for name, before in (("Bea", "uninvited"), ("Bea 2", "idle")):  # the same person again, by the same command
        bea = await invited(desk, client, name="Bea")
        assert (bea.invited["name"], bea.invited["portal"]) == (name, desk.web.limits.console_origin), before
        path = f"/v1/clients/{client}/contacts"
        status, refused = await desk.call("POST", path, "operator", {"name": "Bea"})
        assert (status, refused["code"]) == (409, "contact_can_come_in")
        status, twin = await desk.call("POST", path, "operator", {"name": bea.invited["name"].upper()})
        assert (status, twin["code"]) == (409, "name_like_another")
        assert f"byokeep client uninvite {bea.invited['id']}" in refused["next_step"]
        if before == "uninvited":
            assert (await desk.call("DELETE", f"/v1/contacts/{bea.invited['id']}", "operator"))[0] == 200
        else:
            assert (await bea.redeem()).at == "/portal"
            assert (await desk.call("POST", path, "operator", {"name": "Bea"}))[0] == 409
            desk.sql("UPDATE byokeep.api_token SET seen_at = seen_at - interval '31 minutes'"
                     f" WHERE kind = 'portal' AND subject_id = '{bea.invited['id']}'")  # fmt: skip
    named = "UPDATE byokeep.subject SET name = '{}' WHERE id = '" + str(desk.stand.subject("auditor", "new").id) + "'"
    desk.sql(named.format("BEA 3"))
    status, twin = await desk.call("POST", path, "operator", {"name": "Bea"})
    assert (status, twin["code"]) == (409, "name_like_another"), "what it would be given reads like the auditor's"
    desk.sql(named.format("Somebody"))
    assert (await invited(desk, client, name="Bea")).invited["name"] == "Bea 3"
    assert desk.sql("SELECT string_agg(state, ' ' ORDER BY name) FROM byokeep.subject"
                    " WHERE name LIKE 'Bea%'") == "disabled disabled active"  # fmt: skip
    for over in (one, gone, late):
        refused = await Guest(desk, invited=over.invited).look()
        assert (refused.status, "This invitation does not work" in refused.text) == (401, True)
    approver = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['approver'].id}'")
    for like in (approver.upper(), f"{approver}."):  # what the contact person does would read as the approver's
        status, twin = await desk.call("POST", f"/v1/clients/{client}/contacts", "operator", {"name": like})
        assert (status, twin["code"]) == (409, "name_like_another")
    assert (await desk.call("POST", f"/v1/clients/{client}/contacts", "operator", {"days": 31}))[0] == 422
    assert (await desk.call("POST", f"/v1/clients/{client}/contacts", "auditor", {}))[0] == 403
    listed = (await desk.call("GET", f"/v1/clients/{client}/contacts", "operator"))[1]["contacts"]
    assert [(it["state"], it["address"]) for it in listed if it["name"] == "Ada of Acme"] == [("active", ada)]
    assert [it["address"] for it in listed if it["id"] == gone.invited["id"]] == [""]
    assert len(desk.stand.events("operator.created", "ok")) >= 3


async def test_what_another_clients_person_is_called_nobody_learns(desk: Desk) -> None:
    """Two clients' people may have one name, and the second's operator is not told of the first; none of the
    agency's has it as well, and nobody signs in by it with a password."""
    name, clients = f"Ada {uuid4().hex[:6]}", [await desk.stand.client("openai") for _ in range(2)]
    for one in clients:
        narrow = desk.stand.subject("operator", clients=(one,))
        assert (await invited(desk, one, narrow, name=name)).invited["name"] == name
    for path, body in (("/v1/operators", {"roles": ["auditor"]}), ("/v1/machines", {"role": "runner"})):
        status, reply = await desk.call("POST", path, "admin", {"name": name, **body})
        assert (status, reply["code"]) == (409, "operator_exists")
    status, reply = await desk.call("POST", "/v1/session", None, {"name": name, "password": "x" * 12})
    assert (status, reply["code"]) == (401, "bad_login")


async def test_a_key_is_entered_checked_replaced_and_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong vendor, broken and good keys; a second one starts the rotation; ending one tells the agency."""
    client = await desk.stand.client()
    one = await guest(desk, client)
    await one.get("/portal/keys/new?provider=openai")
    wrong = desk.canary("anthropic")
    refused = await one.send("/portal/keys/new", provider="openai", key=wrong.decode())
    assert refused.status == 422
    assert "It has the form of a key of anthropic" in refused.text
    assert wrong.decode() not in refused.raw
    value = desk.canary("openai")
    stored = await one.send("/portal/keys/new", provider="openai", key=value.decode())
    assert stored.status == 303, stored.text
    looking = await one.get(stored.at)
    assert "is being asked whether the key works" in looking.text
    whole = sops.sop_status

    async def meanwhile(*given: Any) -> Any:  # the check ends while the page looks
        status = await whole(*given)
        await desk.work()
        return status

    with monkeypatch.context() as racing:
        racing.setattr(sops, "sop_status", meanwhile)
        page = await one.get(stored.at)
    assert "The key works." in page.text
    assert "not in use yet" not in page.text
    home = await one.get("/portal")
    assert "in use" in home.text
    again = await one.send("/portal/keys/new", provider="openai", key=desk.canary("openai").decode())
    assert again.status == 303, again.text
    await desk.work()
    assert "A replacement is under way" in (await one.get(again.at)).text
    shown = await one.get("/portal/keys/new?provider=openai")  # before anything is pasted
    late = await one.send("/portal/keys/new", provider="openai", key=desk.canary("openai").decode())
    told = r"A new key was entered on \d{4}-\d\d-\d\d and is being put in place. You can enter another one after that"
    for page, status in ((shown, 200), (late, 409)):
        assert (page.status, re.search(told, page.text) is not None) == (status, True), page.text
        assert ('name="key"' in page.raw, "byokeep rotate" in page.text) == (False, False), "it has no command line"
    ref = stored.at.partition("?")[0]
    assert (await one.send(f"{ref}/end", why="")).status == 422
    with monkeypatch.context() as away:
        away.setattr(refs, "change_state", AsyncMock(side_effect=Unavailable("database_unavailable")))
        unsure = await one.send(f"{ref}/end", why="unused")
    assert (unsure.status, "It is not known whether it was done" in unsure.text) == (503, True)
    assert "Nothing was changed" not in unsure.text
    change, seen = refs.change_state, visit.logins.session_seen
    with monkeypatch.context() as full:  # a disk without room: the reserve is given back, and who ends a key is heard
        full.setattr(Emergency, "_give_back", AsyncMock(return_value=True))
        full.setattr(visit.logins, "session_seen", failing_once(seen))
        full.setattr(refs, "change_state", failing_once(change))
        done = await one.send(f"{ref}/end", why="unused")
    assert done.at == ref
    for page in ("/portal", ref):
        shown = (await one.get(page)).text
        assert "ended" in shown
        assert "works" not in shown, f"{page}: a key that has ended does nothing any longer"
    assert desk.stand.alerts() == ["client_revoked"]
    for _ in range(6):  # looking again at a key that worked forgives no wrong one
        tried = await one.send("/portal/keys/new", provider="openai", key=wrong.decode())
        assert (await one.get(stored.at)).status == 200
    assert tried.status == 429


@pytest.mark.req("R11.1-1", "R11.1-2")
async def test_a_key_goes_to_the_store_alone_and_serves_once_it_passed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """In no row, log or span, also where the store is down; a bad one serves no job; who tries many waits."""
    client = await desk.stand.client()
    one, place = await guest(desk, client), SecretRef(ClientId(client), Provider("openai"))
    await one.get("/portal/keys/new?provider=openai")

    async def enter(value: bytes) -> Shown:
        return await one.send("/portal/keys/new", provider="openai", key=value.decode())

    bad, good = desk.canary(state="revoked"), desk.canary()
    with monkeypatch.context() as down:
        down.setattr(type(desk.web.intake), "put", AsyncMock(side_effect=Unavailable("store_unreachable")))
        gone = await enter(bad)
    assert (gone.status, bad.decode() in gone.raw) == (503, False)
    assert await desk.stand.intake.current_version(place) == 0
    stored = await enter(bad)
    assert (stored.status, await desk.stand.intake.current_version(place)) == (303, 1)
    await desk.work()
    page = await one.get(stored.at)
    assert "The provider does not know this key." in page.text
    assert (await desk.ref(stored.at.partition("?")[0].rpartition("/")[2]))["verification"] == "failed"
    job = await desk.stand.job(client)
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    stored = await enter(good)
    await desk.work()
    assert "The key works." in (await one.get(stored.at)).text
    assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 201
    tries = list[int]()
    for other in [desk.canary("anthropic") for _ in range(6)]:
        shown = await enter(other)
        tries.append(shown.status)
        assert other.decode()[:20] not in shown.raw  # nor its beginning
        await one.get(stored.at)  # a look at a key that works lets nobody try more
    assert tries == [422, 422, 422, 422, 422, 429]
    assert (await enter(desk.canary())).status == 429  # one that is good gets the same answer
    dump = desk.stand.db.server.run_tool("pg_dump", "-d", desk.stand.db.name, "--inserts")
    assert b"audit_record" in dump
    assert '"/portal/keys/new"' in (desk.files / "web.log").read_text()
    sweep = Sweep(desk.canaries)
    assert (sweep.scan_bytes(dump, source="dump") + sweep.scan_paths([desk.files])).clean


def holding(value: bytes, frames: Iterable[FrameType]) -> set[str]:
    """Which variables of ours hold a value in the clear, as text, as bytes or in what they show of themselves."""
    ours = [frame for frame in frames if "/src/byokeep/" in frame.f_code.co_filename]
    return {f"{frame.f_code.co_name}.{name}" for frame in ours for name, one in frame.f_locals.items()
            if value.decode() in repr(one)}  # fmt: skip


async def test_a_key_from_a_form_is_in_no_variable_of_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """From portal, console and API: while it is stored, and in the traceback of a refusal, it is wrapped."""
    client, other, third = [await desk.stand.client() for _ in range(3)]
    one, operator, whole = await guest(desk, client), Visit(desk), onboard.onboard
    await operator.sign_in("operator")
    seen: list[tuple[set[str], set[str], set[str]]] = []

    async def watched(*given: Any, **named: Any) -> Any:
        stack = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]
        try:
            return await whole(*given, **named)
        except ByokeepError as error:
            stack += [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            stack += [frame for frame, _ in traceback.walk_tb(getattr(error.__context__, "__traceback__", None))]
            raise
        finally:
            seen.append((holding(key, stack), holding(b"openai", stack), {it.f_code.co_name for it in stack}))

    monkeypatch.setattr(onboard, "onboard", watched)
    for provider, status in (("anthropic", 422), ("openai", 303)):
        key = desk.canary(provider)
        await one.get("/portal/keys/new?provider=openai")
        given = await one.send("/portal/keys/new", provider="openai", key=f" {key.decode()}\r\n")
        assert given.status == status, given.text
        key = desk.canary(provider)
        await operator.get(f"/console/clients/{other}/new-key")
        given = await operator.send(f"/console/clients/{other}/new-key", provider="openai", value=f"{key.decode()} ")
        assert given.status == status, given.text
        key = desk.canary(provider)
        assert (await desk.put(third, key))[0] == (422 if status == 422 else 202)
    assert len(seen) == 6
    for found, providers, names in seen:
        assert found == set()
        assert providers  # the search finds what is there
        assert names & {"entered", "key_taken_in", "put_value"}
    assert "check_secret" in seen[0][2]  # the traceback was looked through, down to where it was refused
    for twice in ("key=a&key=b", "key=a", "k%65y=a", "key"):
        sent = f"form={one.word}&provider=openai&{twice}"
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | SAME
        assert (await one.ask("POST", "/portal/keys/new", data=sent, **headers)).status == 422, twice


@pytest.mark.req("S-ASVS-20")
async def test_a_session_of_the_portal_ends_after_half_an_hour_without_use(desk: Desk) -> None:
    """29 idle minutes are used on, 31 are the end."""
    one = await guest(desk, await desk.stand.client("openai"))
    for minutes, at in ((29, ""), (29, ""), (31, "/portal/sign-in")):
        desk.sql(f"UPDATE byokeep.api_token SET seen_at = now() - interval '{minutes} minutes' WHERE kind = 'portal'")
        assert (await one.ask("GET", "/portal")).at.partition("?")[0] == at


@pytest.mark.req("S-ASVS-25")
async def test_a_contact_person_reaches_no_route_of_the_api_or_the_console(desk: Desk) -> None:
    """Every route of both documents, and every page: 401 for the session of a contact person, as for a stranger."""
    client = await desk.stand.client("openai")
    one = await guest(desk, client)
    asked = 0
    for api, http in (("web", desk.http), ("broker", desk.stand.http)):
        document = json.loads(Path(f"docs/openapi/{api}.json").read_text())
        for path, methods in document["paths"].items():
            for method, said in methods.items():
                if said.get("security") == [] or path.startswith("/v1/portal"):
                    continue
                status, code, _ = await sent(http, method.upper(), filled(path), one.cookies[SESSION])
                assert (status, code) == (401, "bad_token"), (api, method, path)
                asked += 1
    assert asked > 200
    own = Guest(desk, {"__Host-byokeep": one.cookies[SESSION]})
    for page in ("", "/clients", f"/clients/{client}", "/alerts", "/due", "/approvals", "/kill", "/you"):
        refused = await own.ask("GET", "/console" + page)
        assert (refused.status, refused.at.partition("?")[0]) == (303, "/console/sign-in"), page
    lost = await one.ask("GET", "/portal/nothing", Accept="text/html")
    assert (lost.status, '<a class="button" href="/portal">Go to the first page</a>' in lost.raw) == (404, True)
    assert "script-src" not in lost.headers["Content-Security-Policy"]
    both = one.cookies | {"__Host-byokeep": "made-up"}
    for cookies, home in ((one.cookies, "/portal"), (both, "/console"), ({}, "/console")):
        visit = Guest(desk, dict(cookies))
        assert (await visit.ask("GET", "/", Accept="text/html")).at == home
        assert f'<a class="button" href="{home}">' in (await visit.ask("GET", "/nothing", Accept="text/html")).raw
    assert '<a href="/portal">' in (await Guest(desk).ask("GET", "/console/sign-in")).raw
    operator = Guest(desk, {SESSION: desk.people["operator"].token})
    assert (await operator.ask("GET", "/portal")).at.startswith("/portal/sign-in")
    invitation = (await invited(desk, client)).invited["token"]
    assert (await desk.call("GET", "/v1/self", Person(one.person.id, invitation)))[0] == 401
    password = await desk.call("PUT", f"/v1/operators/{one.person.id}/password", one.person, raw=b"a long password")
    assert password[0] == 401
    admin = await desk.call("POST", f"/v1/operators/{one.person.id}/tokens", "admin", {"days": 20})
    assert (admin[0], admin[1]["code"]) == (422, "contact_person")
    for change in ({"roles": ["operator"]}, {"clients": []}, {"all_clients": True}):
        assert (await desk.call("PATCH", f"/v1/operators/{one.person.id}", "admin", change))[0] in (403, 422), change
    assert (await desk.call("DELETE", f"/v1/contacts/{one.person.id}", "operator"))[0] == 200
    back = await desk.call("PATCH", f"/v1/operators/{one.person.id}", "admin", {"state": "active"})
    assert (back[0], back[1]["code"]) == (422, "wrong_kind_of_role")


async def test_the_database_lets_a_contact_person_be_nothing_else(desk: Desk) -> None:
    """The broker's own role: no other role, no second or other client, no token of the API, none that lasts."""
    client, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    one = await guest(desk, client)
    app, actor = desk.stand.app, Actor(id=uuid4(), roles=frozenset(), clients=None, request_id=uuid4())
    async with app.db.begin(every_client=True) as tx:
        subject = await tx.one(Subject, "subject_get", id=one.person.id)
    wide = [
        replace(subject, roles=frozenset({Role.OPERATOR})), replace(subject, all_clients=True),
        replace(subject, roles=frozenset({Role.CONTACT, Role.AUDITOR})), replace(subject, clients=frozenset()),
        replace(subject, clients=frozenset({other})), replace(subject, clients=frozenset({client, other})),
    ]  # fmt: skip
    for wider in wide:
        with pytest.raises(ByokeepError):
            async with app.db.begin(every_client=True) as tx:
                await put(tx, app, actor, wider, new=False)
    with pytest.raises(ByokeepError, match="operator_exists"):  # their name is theirs at this client
        async with app.db.begin(every_client=True) as tx:
            await put(tx, app, actor, replace(subject, id=uuid4()), new=True)
    self_ = replace(actor, id=subject.id)
    for kind, life_s, by in (("api", 60, self_), ("session", 60, self_), ("console", 60, self_), ("code", 60, self_),
                             ("portal", 28_801, self_), ("portal", 60, actor), ("mailed", 601, self_),
                             ("invitation", 31 * 86_400, actor)):  # fmt: skip
        event = EventName.LOGIN if kind in ("session", "console", "portal") else EventName.TOKEN_ISSUED
        with pytest.raises(ByokeepError):
            async with app.db.begin(every_client=True) as tx:
                await new_token(tx, app, by, subject, kind=kind, life_s=life_s, event=event)
    async with app.db.begin(every_client=True) as tx:
        assert await tx.one(Subject, "subject_get", id=one.person.id) == subject


async def test_a_code_that_is_not_mailed_is_not_told_as_mailed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many mails are on their way as may be, whoever asks for one is told to wait."""
    monkeypatch.setattr(contact_routes, "_MOST_MAILS", 0)
    visit = Guest(desk)
    await visit.get("/portal/sign-in")
    for _ in range(6):  # what was not mailed counts as no try
        shown = await visit.send("/portal/sign-in", address="ada@client.example")
        assert (shown.status, "a code is on its way" in shown.text, "Wait 5 s" in shown.text) == (429, False, True)
    one = await invited(desk, await desk.stand.client())
    await one.look()
    issued = len(desk.stand.events("token.issued"))
    for _ in range(6):  # here, too; and no code is made
        asked = await one.send("/portal/invitation/code", link=one.invited["token"], address="ada@client.example")
        assert (asked.status, "Wait 5 s" in asked.text) == (429, True)
    assert len(desk.stand.events("token.issued")) == issued
    monkeypatch.undo()
    asked = await one.send("/portal/invitation/code", link=one.invited["token"], address="ada@client.example")
    assert "on its way to" in asked.text


@pytest.mark.req("R11.1-4")
async def test_nobody_sees_or_changes_what_is_another_clients(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page of the portal with B's session and A's ids: not found, nothing changes, no name of A's anywhere."""
    mine, theirs = await desk.stand.client("openai"), await desk.stand.client()
    a, b = await guest(desk, mine), await guest(desk, theirs)
    account = desk.stand.account(mine, account="acme-of-a")
    await a.get("/portal/keys/new?provider=anthropic")
    entered = await a.send("/portal/keys/new", provider="anthropic", key=desk.canary("anthropic").decode())
    await desk.work()
    ref, run = entered.at.partition("?")[0].rpartition("/")[2], entered.at.partition("=")[2]
    await app_at(desk)
    begun = await a.send(f"/portal/accounts/{account}/connect")
    assert begun.status == 200, begun.text
    connection, state = a.cookies[CONSENT].partition(".")[0], re.findall(r"state=([A-Za-z0-9_-]+)", begun.raw)[0]
    ids = {"ref_id": ref, "account_id": str(account), "connection_id": connection}
    own = await guest(desk, mine)
    for page in (
        f"keys/{ref}?run={run}",
        f"accounts/{account}",
        f"connections/{connection}",
    ):  # A's own pages show them
        assert (await own.get("/portal/" + page)).status == 200, page
    await b.get("/portal")
    before = desk.sql("SELECT string_agg(state || version, ',' ORDER BY id) FROM byokeep.credential_ref")
    asked = set()
    for route in pages_of(desk.api):
        method, _, path = route.partition(" ")
        if "{" not in path:
            continue
        at = path.format(**ids)
        for query in ("", f"?run={run}") if path == "/portal/keys/{ref_id}" else ("",):
            fields = {"why": "unused"} if path == "/portal/keys/{ref_id}/end" else {}
            shown = await (b.ask("GET", at + query) if method == "GET" else b.send(at, **fields))
            assert shown.status == 404, (route, shown.text)
            assert "acme-of-a" not in shown.text
        asked.add(route)
    assert len(asked) == 8
    logo = png(40, 30)
    loop, real = threading.get_ident(), picture.rewritten

    def packed(raw: bytes) -> bytes:
        assert threading.get_ident() != loop  # it takes long enough for others to wait
        return real(raw)

    monkeypatch.setattr(picture, "rewritten", packed)
    for raw, status in ((b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422), (logo + b"more", 422), (logo, 200)):
        made = await desk.call("PUT", f"/v1/clients/{mine}/logo", "operator", raw=raw)
        assert made[0] == status, made
    assert (await desk.call("PUT", f"/v1/clients/{mine}/logo", "auditor", raw=logo))[0] == 403
    shown = await a.ask("GET", "/portal/logo.png")
    assert (shown.status, shown.headers["Content-Type"]) == (200, "image/png")
    assert shown.headers.getall("X-Content-Type-Options") == ["nosniff"]  # type: ignore[attr-defined]
    assert shown.headers.getall("Content-Security-Policy") == ["sandbox; default-src 'none'"]  # type: ignore[attr-defined]
    drawn = (await a.ask("GET", "/portal/colours.css")).raw
    assert 'aspect-ratio: 40 / 30; background-image: url("/portal/logo.png")' in drawn
    assert "/portal/logo.png" not in (await b.ask("GET", "/portal/colours.css")).raw
    assert (await b.ask("GET", "/portal/logo.png")).status == 404
    assert (await Guest(desk).ask("GET", "/portal/logo.png")).at.startswith("/portal/sign-in")
    await desk.call("PUT", f"/v1/clients/{mine}/logo", "operator", raw=b"")
    assert (await a.ask("GET", "/portal/logo.png")).status == 404
    await b.get("/portal")
    held = dict(b.cookies)
    b.cookies[CONSENT] = a.cookies[CONSENT]  # A's consent, answered by B
    assert (await b.send("/portal/connected", address=f"{BACK}?state={state}&code=a-code-made-up")).status == 404
    b.cookies = held
    told = f"SELECT state FROM byokeep.connection WHERE id = '{connection}'"
    assert desk.sql(told) == "started"
    elsewhere = await a.send("/portal/connected", address=f"https://else.example/cb?state={state}&code=a-code-made-up")
    assert (elsewhere.status, desk.sql(told)) == (422, "started")
    for wrong in ("no address", f"{BACK}?code=a-code-made-up"):  # what no flow has refused is on record, too
        refused = await a.send("/portal/connected", address=wrong)
        assert (refused.status, "Paste the whole address" in refused.text) == (422, True)
    assert desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE outcome = 'rejected'"
                    " AND convert_from(payload, 'UTF8') LIKE '%not_the_answer%'") == "2"  # fmt: skip
    await a.get("/portal")
    assert (await a.send(f"/portal/connected?state={state}&code=a-code-that-is-made-up")).status == 303
    assert desk.sql(told) == "answered"
    assert "is being asked whose account it is" in (await a.get(f"/portal/connections/{connection}")).text
    for state, reason, words in (("quarantined", "other_account", "logged in there as another account"),
                                 ("failed", "bad_code", "tell the agency: bad code")):  # fmt: skip
        desk.sql(f"UPDATE byokeep.connection SET state = '{state}', reason = '{reason}' WHERE id = '{connection}'")
        over = (await a.get(f"/portal/connections/{connection}")).text
        assert ("It was not connected" in over, words in over, "Look again" in over) == (True, True, False), over
    assert before == desk.sql("SELECT string_agg(state || version, ',' ORDER BY id) FROM byokeep.credential_ref")
    home = (await b.get("/portal")).text
    assert ref not in home
    assert "acme-of-a" not in home
    foreign = Guest(desk, {SESSION: b.cookies[SESSION]}, a.word)
    assert (await foreign.send("/portal/keys/new", provider="openai", key="x")).status == 403  # A's form, B's session
    alone = await b.ask("POST", "/portal/keys/new", data={"provider": "openai", "key": "x"}, **SAME)
    assert alone.status == 403
    more = await b.send("/portal/keys/new", provider="openai", key="x", client_id=str(mine))
    assert more.status == 422
    for name in ("X-Client-Id", "X-Tenant", "X-Forwarded-User"):
        assert (await b.ask("GET", f"/portal/keys/{ref}", **{name.replace("-", "_"): str(mine)})).status == 404
    elsewhere = await b.ask("POST", "/portal/keys/new", data={"form": b.word, "provider": "openai", "key": "x"},
                            Origin="https://else.example", Sec_Fetch_Site="cross-site")  # fmt: skip
    assert elsewhere.status == 403
    await administered(desk, mine, "openai")  # what is theirs, and no key that is entered here
    admin = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{mine}' AND purpose = 'admin'")
    await own.get("/portal")
    assert (await own.ask("GET", f"/portal/keys/{admin}")).status == 404
    assert (await own.send(f"/portal/keys/{admin}/end", why="unused")).status == 404
    auditor = Guest(desk, {SESSION: desk.people["auditor"].token})  # who may look may not write, here or there
    assert (await auditor.ask("GET", "/portal/keys/new")).at.startswith("/portal/sign-in")
    assert (await desk.put(mine, desk.canary(), who="auditor"))[0] == 403


def failing_once(act: Any) -> Any:
    """``act``, which cannot be done the first time."""
    failed: list[Exception] = []

    async def tried(*given: Any, **named: Any) -> Any:
        if not failed:
            failed.append(Unavailable("database_unavailable"))
            raise failed[0]
        return await act(*given, **named)

    return tried


async def app_at(desk: Desk) -> None:
    """Our app at a platform that leads people back to the portal."""
    query = urlencode({"app_id": "app", "redirect_uri": BACK})
    status, reply = await desk.call("PUT", f"/v1/apps/x?{query}", "admin", raw=b"a-secret-that-is-made-up-0123456789")
    assert status in (200, 201), reply


def pages_of(api: Any) -> set[str]:
    """Every method and path of the portal."""
    found: set[str] = set()

    def walk(routes: Any) -> None:
        for route in routes:
            if getattr(route, "methods", None):
                if route.path.startswith("/portal"):
                    found.update(f"{method} {route.path}" for method in route.methods if method != "HEAD")
            else:
                walk(getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", ()))

    walk(api.routes)
    return found


async def test_a_mailed_code_signs_in_once_and_tells_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known and unknown addresses get one answer; a code works once, ten minutes, for its address; guesses wait."""
    client = await desk.stand.client("openai")
    address = f"ada-{uuid4().hex[:8]}@client.example"
    one = await invited(desk, client)
    assert "A code is mailed to it now" in (await one.look()).text
    with monkeypatch.context() as unset:  # no mail server: no page promises a code
        unset.setattr("tests.support.broker.UNSET", ["yes"])
        shown = await one.look()
        assert ("code is mailed to it now" in shown.text, "You cannot accept it yet" in shown.text) == (False, True)
        for _ in range(6):  # and counts as no try
            asked = await one.send("/portal/invitation/code", link=one.invited["token"], address=address)
            assert (asked.status, "You cannot accept it yet" in asked.text) == (409, True)
        assert (await invited(desk, client)).invited["mails"] is False
        await one.get("/portal/sign-in")
        asked = await one.send("/portal/sign-in", address="nobody@client.example")
        assert ("a code is on its way" in asked.text, "No code can be mailed" in asked.text) == (False, True)
    assert (await one.redeem(address)).status == 303
    await one.get("/portal")
    out = await one.send("/portal/sign-out")
    assert (out.at, out.headers["Clear-Site-Data"]) == ("/portal/sign-in", '"cache", "storage"')
    assert (await one.ask("GET", "/portal")).at.startswith("/portal/sign-in")
    back, seen, pages = Guest(desk), len(POST), []
    await back.get("/portal/sign-in")
    for to in (address, "x" * len(address.partition("@")[0]) + "@client.example"):
        shown = await back.send("/portal/sign-in", address=to)
        assert shown.status == 200
        pages.append(re.sub(r'value="[0-9a-f]{64}"|\d\d:\d\dZ', "", shown.text.replace(to, "")))
    assert pages[0] == pages[1]
    first = await code_for(address, after=seen)
    seen = len(POST)
    await back.send("/portal/sign-in", address=address)
    code = await code_for(address, after=seen)
    assert not [to for to, _, _ in POST if to.startswith("x")]
    assert code not in desk.sql("SELECT string_agg(keyed_hash::text, ' ') FROM byokeep.api_token")
    for tried, to in ((first, address), ("AAAAA-AAAAA", address), (code, "x" + address)):
        refused = await back.send("/portal/code", address=to, code=tried)
        assert (refused.status, "There is a problem" in refused.text) == (401, True)
    assert (await desk.call("GET", "/v1/self", Person(uuid4(), code)))[0] == 401
    assert (await back.send("/portal/code", address=address, code=code.lower().replace("-", " "))).at == "/portal"
    assert "Keys and accounts of" in (await back.get("/portal")).text
    again = Guest(desk)
    await again.get("/portal/sign-in")
    assert (await again.send("/portal/code", address=address, code=code)).status == 401
    seen = len(POST)
    await again.send("/portal/sign-in", address=address)
    late = await code_for(address, after=seen)
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '11 minutes', expires_at = now()"
             " WHERE kind = 'mailed' AND revoked_at IS NULL")  # fmt: skip
    assert (await again.send("/portal/code", address=address, code=late)).status == 401
    seen = len(POST)
    await again.send("/portal/sign-in", address=address)
    good = await code_for(address, after=seen)
    desk.sql(f"UPDATE byokeep.client SET state = 'closed' WHERE id = '{client}'")
    assert (await again.send("/portal/code", address=address, code=good)).status == 401
    assert (await back.ask("GET", "/portal")).at.startswith("/portal/sign-in")
    seen = len(POST)
    assert (await again.send("/portal/sign-in", address=address)).status == 200
    statuses = [  # however it is written it is one address
        (await again.send("/portal/code", address=address + " " * n, code="BBBBB-22222")).status for n in range(8)
    ]
    assert statuses[-1] == 429
    asks = [(await again.send("/portal/sign-in", address="nobody@client.example")).status for _ in range(8)]
    assert asks[-1] == 429

    lost = await invited(desk, await desk.stand.client("openai"))
    assert (await lost.redeem("ada@away.example")).status == 303
    await again.send("/portal/sign-in", address="ada@away.example")
    for _ in range(200):
        if "portal_mail_failing" in desk.stand.alerts():
            break
        await asyncio.sleep(0.05)
    assert "portal_mail_failing" in desk.stand.alerts()
    assert not [to for to, _, _ in POST[seen:] if to == address]  # a closed client's are mailed nothing
    assert (await desk.call("DELETE", f"/v1/contacts/{lost.invited['id']}", "operator"))[0] == 200
    assert (await lost.ask("GET", "/portal")).at.startswith("/portal/sign-in")
