"""People who sign in at an OpenID provider: a certified one in Chromium, by keyboard; and all that must not work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page

from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.core.errors import Unavailable
from byokeep.kernel.app import ServiceLimits
from byokeep.tenancy.sso import REDIRECT
from byokeep.wire.transport import Outbound
from tests.support import npm
from tests.support.broker import ELSEWHERE, Person, Store, standing
from tests.support.console import PASSWORD, SAME, Shown, Visit, named, on_loopback
from tests.support.openid import CLIENT, SECRET, Provider, ours, provider
from tests.support.ports import free_port
from tests.support.postgres import drop_database, fresh_database
from tests.support.web import Desk, desk_on
from tests.support.website import fresh

SESSION = "__Host-byokeep"
pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

GROUPS = {
    "operators": "operator every-client", "auditors": "auditor every-client", "approvers": "approver every-client",
    "admins": "admin every-client", "acme": "operator 00000000-0000-4000-8000-000000000001",
}  # fmt: skip


@contextlib.asynccontextmanager
async def desk_with(
    server: EmbeddedPostgres, store: Store, issuer: str, origin: str, groups: dict[str, str] = GROUPS
) -> AsyncIterator[Desk]:
    """A desk whose people sign in at an issuer."""
    database = fresh_database(server)
    limits = ServiceLimits(console_origin=origin, sso="login.example", sso_groups=dict(groups))
    try:
        async with Outbound() as http:
            ELSEWHERE.append(ours(http, issuer, origin + REDIRECT))
            try:
                async with standing(database, store, limits=limits) as stand, desk_on(stand) as desk:
                    yield desk
            finally:
                ELSEWHERE.clear()
    finally:
        drop_database(database)


@pytest.fixture
async def there() -> AsyncIterator[Provider]:
    async with provider(f"http://localhost:{free_port()}{REDIRECT}") as made:
        yield made


@pytest.fixture
async def desk(there: Provider, postgres_server: EmbeddedPostgres, store: Store) -> AsyncIterator[Desk]:
    async with desk_with(postgres_server, store, there.base, there.redirect.removesuffix(REDIRECT)) as made:
        yield made


async def invited(desk: Desk, who: str) -> str:
    """An invitation that the admin issues."""
    path = f"/v1/operators/{desk.people[who].id}/tokens"
    status, made = await desk.call("POST", path, "admin", {"days": 1})
    assert status == 201, made
    return str(made["token"])


async def begin(visit: Visit, to: str = "", **fields: str) -> str:
    """Where a browser is sent."""
    await visit.get("/console/sign-in")
    shown = await visit.send("/console/sso/begin", next=to, **fields)
    assert shown.status == 200, shown.text
    found = re.search(r'<a href="([^"]+/authorize[^"]+)"', shown.raw)
    assert found, shown.text
    return unescape(found[1])


async def back(visit: Visit, brought: dict[str, str]) -> Shown:
    """What a browser gets that comes back: the hop, the page with the button, and what that leads to."""
    path = f"{REDIRECT}?{urlencode(brought)}"
    cookies = visit.cookies
    visit.cookies = {}  # SameSite=Strict
    hop = await visit.ask("GET", path, Sec_Fetch_Site="cross-site")
    assert (hop.status, hop.cookies) == (200, [])
    assert hop.headers["Referrer-Policy"] == "strict-origin"  # neither a style sheet nor the button tells the code on
    visit.cookies = cookies
    assert (await visit.ask("GET", path, Sec_Fetch_Site="same-origin")).status == 200
    return await visit.send(REDIRECT, **brought)


async def sign_in(
    desk: Desk, there: Provider, subject: str = "ann", *groups: str, visit: Visit | None = None, **fields: str
) -> tuple[Visit, Shown]:
    visit = visit or Visit(desk)
    return visit, await back(visit, there.let_in(await begin(visit, **fields), subject, list(groups)))


def denied(desk: Desk) -> list[str]:
    return [json.loads(one)["fields"]["reason"] for one in desk.stand.events("session.login", "denied")]


def row(desk: Desk, who: str) -> str:
    return desk.sql(f"SELECT array_to_string(roles, ',') || ' ' || state FROM byokeep.subject"  # noqa: S608
                    f" WHERE id = '{desk.people[who].id}'")  # fmt: skip


async def test_an_invitation_links_somebody_once_and_nothing_else_does(desk: Desk, there: Provider) -> None:
    """Without one nobody comes in; with one its owner does, from then on without; used, over or another's: refused."""
    _, shown = await sign_in(desk, there, "ann", "operators")
    assert shown.status == 422
    assert "Ask an admin for an invitation" in shown.text
    invitation = await invited(desk, "operator")
    visit, shown = await sign_in(desk, there, "ann", "operators", invitation=invitation, to="/console/you")
    assert (shown.status, shown.at) == (303, "/console/you")
    (linked,) = desk.stand.events("sso.linked", "ok")
    login = json.loads(desk.stand.events("session.login", "ok")[-1])["fields"]
    assert login["sso"] == json.loads(linked)["fields"]["digest"]
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['operator'].id}'")  # noqa: S608
    assert name in (await visit.get("/console/you")).text
    _, shown = await sign_in(desk, there, "ann", "operators")
    assert shown.status == 303
    assert (await Visit(desk).get("/console/sign-in")).text.count("login.example") >= 1

    other = Visit(desk)
    await other.get("/console/sign-in")
    shown = await other.send("/console/sso/begin", next="", invitation=invitation)  # it was used
    assert shown.status == 401
    shown = await other.send("/console/sso/begin", next="", invitation=desk.people["auditor"].token)  # it is none
    assert shown.status == 422
    for_auditor = await invited(desk, "auditor")
    _, shown = await sign_in(desk, there, "ann", "auditors", invitation=for_auditor)
    assert "linked to somebody else" in shown.text
    # An invitation that ends between the two halves links nobody.
    visit = Visit(desk)
    address = await begin(visit, invitation=for_auditor)
    path, shows = f"/v1/operators/{desk.people['auditor'].id}/password", {"Authorization": f"Bearer {for_auditor}"}
    assert (await desk.call("PUT", path, None, raw=PASSWORD.encode(), headers=shows))[0] == 204
    assert "The invitation has ended" in (await back(visit, there.let_in(address, "eve", ["auditors"]))).text
    assert denied(desk) == ["sso_unknown", "sso_taken", "bad_invitation"]
    # A link that no record of ours made signs nobody in.
    desk.sql("UPDATE byokeep.sso_link SET record_seq = record_seq - 1")
    _, shown = await sign_in(desk, there, "ann", "operators")
    assert (shown.status, denied(desk)[-1]) == (422, "sso_unknown")


async def test_groups_are_read_at_each_sign_in_and_take_what_they_no_longer_give(desk: Desk, there: Provider) -> None:
    """Roles move with the groups and sessions end; what takes two admins is kept, never given; without a group: out."""
    invitation = await invited(desk, "operator")
    visit, shown = await sign_in(desk, there, "ann", "operators", "approvers", invitation=invitation)
    assert (shown.status, row(desk, "operator")) == (303, "operator active")
    _, shown = await sign_in(desk, there, "ann", "auditors", "operators")
    assert (shown.status, row(desk, "operator")) == (303, "operator active")  # what one has stays
    _, shown = await sign_in(desk, there, "ann", "auditors", "admins")
    assert (shown.status, row(desk, "operator")) == (303, "auditor active")  # and no admin
    changed = json.loads(desk.stand.events("operator.changed", "ok")[-1])["fields"]
    assert (changed["reason"], changed["roles"]) == ("groups", "auditor")
    assert (await visit.ask("GET", "/console/you")).status == 303  # the session with the role that went
    _, shown = await sign_in(desk, there, "pat", "approvers", invitation=await invited(desk, "approver"))
    assert (shown.status, row(desk, "approver")) == (303, "approver active")
    _, shown = await sign_in(desk, there, "pat", "staff")
    assert (shown.status, row(desk, "approver")) == (422, "approver disabled")
    assert "None of your groups" in shown.text
    assert "Ask an admin of byokeep" in shown.text
    assert (await desk.call("GET", "/v1/self", "approver"))[0] == 401  # tokens of theirs, too
    assert (await sign_in(desk, there, "pat", "approvers"))[1].status == 422  # an admin lets them in again
    # Of somebody who is being linked nothing changes; and one whose groups the provider does not say loses nothing.
    _, shown = await sign_in(desk, there, "una", "staff", invitation=await invited(desk, "auditor"))
    assert (shown.status, row(desk, "auditor")) == (422, "auditor active")
    there.claims = {"groups": None}
    _, shown = await sign_in(desk, there, "ann")
    assert ("claim groups" in shown.text, row(desk, "operator")) == (True, "auditor active")
    there.claims = {}
    # The last admin stays one, and does not come in so.
    admin = desk.people["admin"]
    status, second = await desk.call("POST", "/v1/operators", "admin", {"name": "second", "roles": ["admin"],
                                                                        "all_clients": True})  # fmt: skip
    assert status == 201, second
    made = (await desk.call("POST", f"/v1/operators/{second['id']}/tokens", "admin", {"days": 1}))[1]["token"]
    _, shown = await sign_in(desk, there, "root", "admins", invitation=made)
    assert shown.status == 303
    desk.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{admin.id}'")  # noqa: S608
    _, shown = await sign_in(desk, there, "root", "operators")
    assert (shown.status, denied(desk)[-1]) == (409, "last_admin")
    assert desk.sql(f"SELECT roles FROM byokeep.subject WHERE id = '{second['id']}'") == "{admin}"  # noqa: S608


async def test_a_sign_in_ends_in_the_browser_that_began_it_once(desk: Desk, there: Provider) -> None:
    """Another browser or state, an answer twice or unasked for, an error, another issuer, a link out: on record."""
    invitation = await invited(desk, "operator")
    _, shown = await sign_in(desk, there, "ann", "operators", invitation=invitation)
    assert shown.status == 303
    mine, theirs = Visit(desk), Visit(desk)
    brought = there.let_in(await begin(mine), "ann", ["operators"])
    await theirs.get("/console/sign-in")
    assert (await back(theirs, brought)).status == 422  # login CSRF: what the attacker began, in the victim's browser
    await begin(theirs)
    assert (await back(theirs, brought)).status == 422  # and though that one began another
    shown = await back(mine, brought)
    assert shown.status == 303
    assert (await back(mine, brought)).status == 422  # replayed
    for change, reason in (
        ({"state": "x" * 43}, "sso_not_begun"), ({"iss": "https://other.example"}, "sso_answer_refused"),
        ({"error": "access_denied"}, "sso_refused_there"), ({"code": ""}, "sso_refused_there"),
    ):  # fmt: skip
        visit = Visit(desk)
        brought = there.let_in(await begin(visit), "ann", ["operators"])
        shown = await back(visit, brought | change)
        assert (shown.status, denied(desk)[-1]) == (422, reason)
        assert (await back(visit, brought)).status == 422  # the first answer used it up
        assert "__Host-byokeep" not in visit.cookies
    assert denied(desk).count("sso_not_begun") == 3 + 5
    # The session before is another's no more, and nobody is led away.
    visit, shown = await sign_in(desk, there, "ann", "operators", to="https://evil.example/console")
    first = visit.cookies["__Host-byokeep"]
    assert shown.at == "/console"
    _, shown = await sign_in(desk, there, "ann", "operators", visit=visit, to="//evil.example")
    assert shown.at == "/console"
    assert visit.cookies["__Host-byokeep"] != first
    old = Visit(desk, {"__Host-byokeep": first})
    assert (await old.ask("GET", "/console/you")).status == 303
    # From another site, or without the word of the page, nothing begins.
    assert (await visit.ask("POST", "/console/sso/begin", data={"form": visit.word, "next": "", "invitation": ""},
                            Origin="https://evil.example", Sec_Fetch_Site="cross-site")).status == 403  # fmt: skip


async def test_a_logout_there_ends_the_sessions_of_before(
    desk: Desk, there: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the linked person alone, on record, and no session that began later; forged or stale: nothing ends. Each reply
    says nothing of people."""

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("database_unreachable")

    told = "http://web/console/sso/logout"

    async def send(**fields: str) -> tuple[int, bytes]:
        async with desk.http.post(told, data=fields) as reply:
            assert reply.headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in reply.headers
            return reply.status, await reply.read()

    visit, shown = await sign_in(desk, there, "ann", "operators", invitation=await invited(desk, "operator"))
    other, also = await sign_in(desk, there, "oda", "auditors", invitation=await invited(desk, "auditor"))
    assert (shown.status, also.status) == (303, 303)
    for bad in ({}, {"logout_token": ""}, {"logout_token": "x" * 20_000}, {"logout_token": there.logout(iat=1)},
                {"logout_token": there.token("n" * 43, {"sub": "ann"})}, {"token": there.logout()}):  # fmt: skip
        assert await send(**bad) == (400, b""), bad
    assert await send(logout_token=there.logout("nobody-here")) == (200, b"")
    assert (await visit.ask("GET", "/console/you")).status == 200
    token = there.logout()
    assert await send(logout_token=token) == (200, b"")
    ended = await visit.ask("GET", "/console/you")
    assert (ended.status, ended.at[:16]) == (303, "/console/sign-in")
    assert (await other.ask("GET", "/console/you")).status == 200
    last = json.loads(desk.stand.events("token.revoked", "ok")[-1])
    assert last["fields"]["subject"] == str(desk.people["operator"].id)
    assert last["fields"]["reason"] == "logged_out_there"
    assert "token_reuse" not in desk.stand.alerts()  # their browser still shows its cookie
    again, shown = await sign_in(desk, there, "ann", "operators")
    assert shown.status == 303

    async def code() -> str:
        await again.get("/console/you")
        return re.findall(r"<code>(bko_[A-Za-z0-9_-]{43})</code>", (await again.send("/console/you/code")).raw)[0]

    def earlier() -> str:
        return there.logout(iat=int(time.time()) - 90)  # shown again, or kept back

    used, spare = await code(), await code()
    status, shell = await desk.call("POST", "/v1/session", body={"code": used})
    assert status == 201, shell
    for _ in range(2):
        assert await send(logout_token=earlier()) == (200, b"")
        assert (await again.ask("GET", "/console/you")).status == 200  # it began when the token was made already
    # Which console made the code of a session on the command line nobody knows: one that should have ended, perhaps.
    assert (await desk.call("GET", "/v1/self", Person(desk.people["operator"].id, shell["token"])))[0] == 401
    assert (await desk.call("POST", "/v1/session", body={"code": spare}))[1]["code"] == "bad_code"
    token = there.logout()
    with monkeypatch.context() as broken:  # what ended nothing may be sent again
        broken.setattr("byokeep.tenancy.tokens.revoke_all", away)
        assert await send(logout_token=token) == (400, b"")
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '50 seconds' WHERE kind = 'console'")
    assert await send(logout_token=earlier()) == (200, b"")  # the provider's clock may be a minute behind
    assert (await again.ask("GET", "/console/you")).status == 303
    again, shown = await sign_in(desk, there, "ann", "operators")
    assert await send(logout_token=token) == (200, b"")
    assert (await again.ask("GET", "/console/you")).status == 303
    again, shown = await sign_in(desk, there, "ann", "operators")
    there.down = True
    assert await send(logout_token=there.logout()) == (400, b"")
    there.down = False
    assert (await again.ask("GET", "/console/you")).status == 200


async def test_each_sign_in_is_a_fresh_proof_and_a_provider_that_is_away_lets_nobody_in(
    desk: Desk, there: Provider
) -> None:
    """An old sign-in there counts for nothing; a new one is the step up; away, the page says so and passwords work."""
    name = await named(desk, desk.people["operator"])
    visit, shown = await sign_in(desk, there, "ann", "operators", invitation=await invited(desk, "operator"))
    assert shown.status == 303
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'console'")
    shown = await visit.ask("POST", "/console/passkeys/options", data={"form": visit.word},
                            Origin="https://byokeep.example", Sec_Fetch_Site="same-origin")  # fmt: skip
    await visit.get("/console/you")
    shown = await visit.send("/console/passkeys/options")
    assert (shown.status, "/console/sign-in" in shown.at) == (303, True)
    there.claims = {"auth_time": 1}
    _, shown = await sign_in(desk, there, "ann", "operators", visit=visit)
    assert (shown.status, denied(desk)[-1]) == (422, "sso_answer_refused")
    there.claims = {}
    _, shown = await sign_in(desk, there, "ann", "operators", visit=visit)
    assert shown.status == 303
    await visit.get("/console/you")
    assert (await visit.send("/console/passkeys/options")).status == 200

    address = await begin(visit)
    there.down = True
    shown = await back(visit, there.let_in(address, "ann", ["operators"]))
    assert (shown.status, "does not answer as it should" in shown.text) == (503, True)
    assert denied(desk)[-1] == "sso_unreachable"
    other = Visit(desk)
    await other.get("/console/sign-in")
    shown = await other.send("/console/sso/begin", next="", invitation="")
    assert (shown.status, "You can still sign in with a password or a passkey" in shown.text) == (503, True)
    assert (await other.send("/console/sign-in", name=name, password=PASSWORD)).status == 303  # break-glass


async def test_clients_are_those_that_the_groups_name_where_any_group_names_some(desk: Desk, there: Provider) -> None:
    """Somebody of one client's group sees that client alone; an id that is no client's gives nothing and takes nothing.

    The clients of a group whose role is not given are not given to another role.
    """
    client = await desk.stand.client("openai")
    invitation = await invited(desk, "operator")
    groups: Any = desk.stand.app.limits.sso_groups
    groups["acme"] = f"operator {client} 00000000-0000-4000-8000-000000000001"

    async def clients(*of: str, **fields: str) -> str:
        visit, shown = await sign_in(desk, there, "ann", *of, **fields)
        assert (shown.status, row(desk, "operator")) == (303, "operator active")
        return re.findall(r"<dt>Clients</dt><dd>(\w+)</dd>", (await visit.get("/console/you")).raw)[0]

    assert await clients("acme", invitation=invitation) == "1"
    assert await clients("acme", "auditors") == "1"  # an auditor's clients are no operator's
    assert await clients("acme", "approvers") == "1"
    groups["all"] = "every-client"
    assert await clients("acme", "all") == "all"  # a group without a role counts for whichever stays
    groups["acme"] = "operator"
    assert await clients("acme") == "0"  # no group of theirs names a client any more
    assert await clients("acme", "operators") == "all"


async def test_what_no_group_stands_for_is_not_taken_and_a_fault_there_takes_nothing(
    desk: Desk, there: Provider
) -> None:
    """Roles that the settings have no group for stay; no group, or only what takes two admins, changes nothing."""
    groups: Any = desk.stand.app.limits.sso_groups
    _, shown = await sign_in(desk, there, "ann", "approvers", invitation=await invited(desk, "operator"))
    assert (shown.status, row(desk, "operator")) == (422, "operator active")  # an approver by the groups alone
    _, shown = await sign_in(desk, there, "ann", "operators", invitation=await invited(desk, "operator"))
    assert shown.status == 303
    _, shown = await sign_in(desk, there, "ann")
    assert (shown.status, denied(desk)[-1], row(desk, "operator")) == (422, "sso_no_group", "operator active")
    del groups["approvers"]
    _, shown = await sign_in(desk, there, "pat", "staff", invitation=await invited(desk, "approver"))
    assert (shown.status, row(desk, "approver")) == (303, "approver active")


async def test_a_link_is_told_of_and_shown_and_ends_with_what_replaces_it(desk: Desk, there: Provider) -> None:
    """People are told, and passkeys of before end; a password by a later invitation ends it, and so does disabling."""
    operator = desk.people["operator"].id
    desk.sql("INSERT INTO byokeep.passkey (id, subject_id, identifier, public_half, uses, name) VALUES"  # noqa: S608
             f" (gen_random_uuid(), '{operator}', '\\x{'ab' * 16}', '\\x01', 0, 'old')")  # fmt: skip
    invitation = await invited(desk, "operator")
    _, shown = await sign_in(desk, there, "ann", "operators", invitation=invitation)
    assert shown.status == 303
    assert "sso_linked" in desk.stand.alerts()
    assert desk.sql("SELECT count(*) FROM byokeep.passkey WHERE ended_at IS NULL") == "0"
    path = f"/v1/operators/{desk.people['operator'].id}/password"
    shows = {"Authorization": f"Bearer {await invited(desk, 'operator')}"}
    assert (await desk.call("PUT", path, None, raw=PASSWORD.encode(), headers=shows))[0] == 204
    _, shown = await sign_in(desk, there, "ann", "operators")
    assert (shown.status, denied(desk)[-1]) == (422, "sso_unknown")
    await shown_and_ended(desk, there)
    for who in ("auditor", "approver"):  # the account is free for another once its owner is disabled
        _, shown = await sign_in(desk, there, "ann", f"{who}s", invitation=await invited(desk, who))
        assert shown.status == 303, who
        path = f"/v1/operators/{desk.people[who].id}"
        assert (await desk.call("PATCH", path, "admin", {"state": "disabled"}))[0] == 200
    assert len(desk.stand.events("sso.linked", "ok")) == len(desk.stand.events("sso.unlinked", "ok")) + 1 == 6


async def shown_and_ended(desk: Desk, there: Provider) -> None:
    """A link is on the pages and in the replies, without whose account it is; its owner and an admin end it there."""
    operator, page = desk.people["operator"].id, f"/console/people/{desk.people['operator'].id}"
    link, gone = f"/v1/operators/{operator}/link", len(desk.stand.events("sso.unlinked", "ok"))
    admin, auditor = Visit(desk), Visit(desk)
    assert ((await admin.sign_in("admin")).status, (await auditor.sign_in("auditor")).status) == (303, 303)
    for ends in ("operator", "admin"):
        visit, shown = await sign_in(desk, there, "ann", "operators", invitation=await invited(desk, "operator"))
        assert shown.status == 303
        digest = desk.sql("SELECT encode(identity, 'hex') FROM byokeep.sso_link")
        for who, at in ((visit, "/console/you"), (admin, page), (auditor, page)):
            one = await who.get(at)
            assert "An account at an OpenID provider, linked 20" in one.raw
            assert "sign-ins go to <bdi>login.example</bdi>" in one.raw
            assert digest not in one.raw
            assert not re.search(r"\bann\b", one.text)
            assert ("End the link" in one.text) is (who is not auditor)
        rows = (await desk.call("GET", "/v1/operators", "admin"))[1]["operators"]
        assert [one["id"] for one in rows if one["linked_at"]] == [str(operator)]
        assert (await desk.call("GET", "/v1/self", Person(operator, visit.cookies[SESSION])))[1]["linked_at"]
        assert (await desk.call("GET", "/v1/self", "admin"))[1]["linked_at"] is None
        assert (await desk.call("DELETE", link, "auditor"))[1]["code"] == "not_permitted"
        other, shown = await sign_in(desk, there, "ann", "operators")
        assert shown.status == 303
        who, at = (visit, "/console/you") if ends == "operator" else (admin, page)
        assert (await who.ask("POST", "/console/sso/unlink", data={"form": "x", "id": operator}, **SAME)).status == 403
        await who.get(at)
        assert [(one := await who.send("/console/sso/unlink", id=str(operator))).status, one.at] == [303, at]
        assert "linked 20" not in (await who.get(at)).text
        assert (await visit.ask("GET", "/console/you")).status == (200 if ends == "operator" else 303)
        assert (await other.ask("GET", "/console/you")).status == 303
        _, shown = await sign_in(desk, there, "ann", "operators")
        assert (shown.status, denied(desk)[-1]) == (422, "sso_unknown")
        said = json.loads(desk.stand.events("sso.unlinked", "ok")[-1])
        assert (said["actor"], said["fields"]["digest"]) == (str(desk.people[ends].id), digest)
        assert (await desk.call("DELETE", link, "admin"))[1]["code"] == "not_linked"
    assert len(desk.stand.events("sso.unlinked", "ok")) == gone + 2
    # Who ends another admin's only way in would be the only admin at once.
    status, second = await desk.call("POST", "/v1/operators", "admin",
                                     {"name": "second", "roles": ["admin"], "all_clients": True})  # fmt: skip
    assert status == 201, second
    made = (await desk.call("POST", f"/v1/operators/{second['id']}/tokens", "admin", {"days": 1}))[1]["token"]
    _, shown = await sign_in(desk, there, "root", "admins", invitation=made)
    assert shown.status == 303
    status, reply = await desk.call("DELETE", f"/v1/operators/{second['id']}/link", "admin")
    assert (status, reply["code"]) == (403, "only_way_in")
    assert (await sign_in(desk, there, "root", "admins"))[1].status == 303


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parents[1] / "support" / "oidc"
    return npm.installed(source, tmp_path_factory.mktemp("oidc"), "signs people in at a certified OpenID provider")


@contextlib.asynccontextmanager
async def certified(installed: Path, redirect: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        "node", "people.mjs", redirect, cwd=installed, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "NODE_ENV": "test", "OIDC_CLIENT_SECRET": SECRET},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        while not (line := (await process.stdout.readline()).decode()).startswith("http://"):
            assert line, "the server ended before it listened"
        yield line.strip(), process
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


async def say(process: asyncio.subprocess.Process, *words: str) -> None:
    """Tell the provider somebody's groups."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write((" ".join(words) + "\n").encode())
    assert await process.stdout.readline() == b"said\n"


async def by_keyboard(page: Page, name: str, invitation: str = "") -> None:
    """From the page to sign in, to the provider's own, and back: nothing is clicked."""
    if invitation:
        await page.get_by_label("Invitation, the first time only").focus()
        await page.keyboard.type(invitation)
        await page.keyboard.press("Enter")
    else:
        await page.get_by_role("button", name="Sign in at login.example").focus()
        await page.keyboard.press("Enter")
    await page.locator("input[name=login]").wait_for()
    await page.locator("input[name=login]").focus()
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type("any")
    await page.keyboard.press("Enter")
    await page.locator("button:focus", has_text="Finish signing in").wait_for()  # by itself, once the page is drawn
    await page.keyboard.press("Enter")


async def test_somebody_signs_in_at_a_certified_provider_by_keyboard(
    installed: Path, postgres_server: EmbeddedPostgres, store: Store
) -> None:
    """With the invitation first, then without; to prove who it is; and not at all once the group is gone."""
    origin = f"http://localhost:{free_port()}"
    async with (
        certified(installed, origin + REDIRECT) as (issuer, process),
        desk_with(postgres_server, store, issuer, origin) as desk,
        on_loopback(desk) as url,
        fresh() as browser,
    ):
        page = await browser.context.new_page()
        said: list[str] = []
        await page.route(re.compile("^https:"), lambda route: route.abort())  # a font of the provider's pages
        page.on("console", lambda message: said.append(message.text) if url in message.location["url"] else None)
        await say(process, "ann", "operators", "staff")
        await page.goto(f"{url}/console/sign-in?next=/console/you")
        await by_keyboard(page, "ann", await invited(desk, "operator"))
        await page.wait_for_url("**/console/you")
        assert CLIENT not in page.url
        desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'console'")
        await page.goto(f"{url}/console/sign-in?next=/console/you")
        await page.get_by_text("Prove that it is you").first.wait_for()
        await by_keyboard(page, "ann")  # asked again, though the provider has a session
        await page.wait_for_url("**/console/you")
        assert len(desk.stand.events("sso.linked", "ok")) == 1
        await page.context.clear_cookies()
        await say(process, "ann", "staff")
        await page.goto(f"{url}/console/sign-in")
        await by_keyboard(page, "ann")
        await page.get_by_role("alert").filter(has_text="None of your groups").wait_for()
        assert row(desk, "operator") == "operator disabled"
        assert [one for one in said if "422" not in one] == []
