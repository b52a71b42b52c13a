"""The console: who signs in, how long that holds, and that nothing but a page of ours acts for somebody."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import re

import pytest

from byokeep.core.errors import Unavailable
from tests.support.broker import Person
from tests.support.console import PASSWORD, SAME, Visit, code_of, named
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

SESSION = "__Host-byokeep"
KEPT = "Path=/; Secure; HttpOnly; SameSite=Strict"


def aged(desk: Desk, what: str, minutes: int) -> None:
    """A session of the console that is so much older, or was not used for so long."""
    desk.sql(f"UPDATE byokeep.api_token SET {what} = {what} - interval '{minutes} minutes' WHERE kind = 'console'")


def logins(desk: Desk) -> list[str]:
    kinds = [json.loads(text)["fields"]["kind"] for text in desk.stand.events("session.login", "ok")]
    return [kind for kind in kinds if kind == "console"]


@pytest.mark.req("S-ASVS-19")
async def test_each_sign_in_is_a_new_session_and_ends_the_one_before(desk: Desk) -> None:
    """A session that was there before, given by whoever, is not the one after it; the old one opens nothing more."""
    visit = Visit(desk, cookies={SESSION: "bko_" + "A" * 43})
    first = await visit.sign_in("operator")
    assert (first.status, first.at) == (303, "/console")
    (cookie,) = [one for one in first.cookies if one.startswith(SESSION + "=bko_")]
    assert cookie.endswith(KEPT)
    before = visit.cookies[SESSION]
    assert before != "bko_" + "A" * 43
    assert "operator" in (await visit.get()).text
    await visit.sign_in("operator")
    assert visit.cookies[SESSION] != before
    assert (await Visit(desk, cookies={SESSION: before}).ask("GET", "/console/you")).status == 303
    assert logins(desk) == ["console", "console"]
    assert len(desk.stand.events("session.logout", "ok")) == 1
    rows = desk.sql("SELECT keyed_hash::text FROM byokeep.api_token WHERE kind = 'console'")
    assert before not in rows
    assert before[4:] not in rows


@pytest.mark.req("S-ASVS-20")
async def test_a_session_ends_when_it_is_not_used_and_after_eight_hours(desk: Desk) -> None:
    """29 idle minutes are used on, 31 are the end, which is no alert; use for 8 hours is the end, too."""
    visit = Visit(desk)
    await visit.sign_in("operator")
    aged(desk, "seen_at", 29)
    assert (await visit.ask("GET", "/console/you")).status == 200
    aged(desk, "seen_at", 29)  # the page before began the half hour anew
    assert (await visit.ask("GET", "/console/you")).status == 200
    aged(desk, "seen_at", 31)
    token = visit.cookies[SESSION]
    over = await visit.ask("GET", "/console/you")
    assert (over.status, over.at) == (303, "/console/sign-in?next=%2Fconsole%2Fyou")
    assert SESSION not in visit.cookies
    assert (await desk.call("GET", "/v1/self", Person(desk.people["operator"].id, token)))[1]["code"] == "session_over"
    assert desk.stand.alerts() == []

    await visit.sign_in("operator")
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '8 hours', expires_at = now()"
             " WHERE kind = 'console'")  # fmt: skip
    assert (await visit.ask("GET", "/console/you")).status == 303
    with pytest.raises(Unavailable):  # a token only ends
        desk.sql("UPDATE byokeep.api_token SET expires_at = now() + interval '1 hour' WHERE kind = 'console'")


@pytest.mark.req("S-ASVS-21")
async def test_sessions_end_with_what_they_stand_on(desk: Desk) -> None:
    """Signing out, out everywhere, a new password, other roles, a disabled person: the next page is the sign-in."""
    admin, operator = desk.people["admin"], desk.people["operator"]

    async def there(visit: Visit) -> bool:
        return (await visit.ask("GET", "/console/you")).status == 200

    one, other = Visit(desk), Visit(desk)
    for visit in (one, other):
        await visit.sign_in("operator")
    kept = dict(one.cookies)
    await one.get()
    out = await one.send("/console/sign-out")
    assert (out.status, out.at, out.headers["Clear-Site-Data"]) == (303, "/console/sign-in", '"cache", "storage"')
    assert SESSION not in one.cookies
    assert not await there(Visit(desk, cookies=kept))
    assert desk.stand.alerts() == ["token_reuse"]  # somebody kept it
    assert await there(other)

    await one.sign_in("operator")
    await one.get()
    assert (await one.send("/console/sign-out", everywhere="yes")).status == 303
    assert not await there(other)
    for end in (
        ("PUT", f"/v1/operators/{operator.id}/password", operator, None, b"another long password"),
        ("PATCH", f"/v1/operators/{operator.id}", admin, {"roles": ["auditor"]}, None),
        ("PATCH", f"/v1/operators/{operator.id}", admin, {"state": "disabled"}, None),
    ):
        code = await code_of(desk, "operator")
        await other.get("/console/sign-in")
        assert (await other.send("/console/sign-in", code=code)).status == 303
        assert await there(other)
        method, path, who, body, raw = end
        assert (await desk.call(method, path, who, body, raw=raw))[0] in (200, 204)
        assert not await there(other), end


async def test_a_code_opens_one_session_within_two_minutes(desk: Desk) -> None:
    """Looking at the page burns nothing; twice, late, another's word or a console's own: refused alike, on record."""
    visit = Visit(desk)
    code = await code_of(desk, "approver")
    for _ in range(3):
        assert (await visit.get("/console/sign-in")).status == 200
    assert (await desk.call("GET", "/v1/self", Person(desk.people["approver"].id, code)))[0] == 401
    answers = await asyncio.gather(*(Visit(desk, dict(visit.cookies), visit.word).send("/console/sign-in", code=code)
                                     for _ in range(5)))  # fmt: skip
    assert sorted(one.status for one in answers) == [303, 401, 401, 401, 401]
    late = await code_of(desk, "approver")
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '3 minutes', expires_at = now()"
             " WHERE kind = 'code' AND revoked_at IS NULL")  # fmt: skip
    texts = []
    for wrong in (code, late, "bko_" + "x" * 43, desk.people["approver"].token):
        refused = await visit.send("/console/sign-in", code=wrong)
        assert refused.status == 401
        assert wrong not in refused.text
        texts.append(re.sub(r'value="[0-9a-f]{64}"|\d\d:\d\dZ', "", refused.text))
    assert len(set(texts)) == 1
    assert len(desk.stand.events("session.login", "denied")) == 8
    mine = next(one for one in answers if one.status == 303).cookies[0].partition("=")[2].partition(";")[0]
    status, reply = await desk.call("POST", "/v1/session/code", Person(desk.people["approver"].id, mine))
    assert (status, reply["code"]) == (403, "no_code_here")
    assert (await desk.call("POST", "/v1/session/code", "runner"))[1]["code"] == "not_permitted"


@pytest.mark.req("S-ASVS-24")
async def test_a_failed_sign_in_tells_nothing_and_is_braked(desk: Desk) -> None:
    """A wrong password and a name that nobody has: one page, one status; the sixth try of a name waits."""
    name = await named(desk, desk.people["operator"])
    visit, pages = Visit(desk), []
    await visit.get("/console/sign-in")
    for tried in (name, "nobody like this"):
        refused = await visit.send("/console/sign-in", name=tried, password="wrong wrong wrong")
        assert refused.status == 401
        pages.append(re.sub(r'value="[0-9a-f]{64}"|\d\d:\d\dZ', "", refused.text))
    assert pages[0] == pages[1]
    for _ in range(4):
        await visit.send("/console/sign-in", name=name, password="wrong wrong wrong")
    braked = await visit.send("/console/sign-in", name=name, password=PASSWORD)
    assert braked.status == 429
    assert "Wait" in braked.text
    assert SESSION not in visit.cookies


@pytest.mark.req("S-ASVS-18")
async def test_only_a_form_of_ours_acts(desk: Desk) -> None:
    """Other sites, other sessions' forms, none, doubled or foreign fields: refused, on record, and nothing is done."""
    visit, stranger = Visit(desk), Visit(desk)
    await visit.sign_in("operator")
    await stranger.get("/console/sign-in")
    page = await visit.get()
    for name, value in (
        ("Referrer-Policy", "same-origin"), ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"), ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ):  # fmt: skip
        assert page.headers.getall(name) == [value]  # type: ignore[attr-defined]
    (policy,) = page.headers.getall("Content-Security-Policy")  # type: ignore[attr-defined]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
                 "require-trusted-types-for 'script'"):  # fmt: skip
        assert part in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "<script" not in page.text
    assert "style=" not in page.text
    form, said = {"form": visit.word}, "content-type"
    refused = [
        ({"data": form, "Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}, "other site"),
        ({"data": form, "Origin": "https://byokeep.example", "Sec_Fetch_Site": "same-site"}, "other site"),
        ({"data": form, "Origin": "null", "Sec_Fetch_Site": "same-origin"}, "other site"),
        ({"data": form}, "other site"),
        ({"data": {"form": stranger.word}, **SAME}, "old form"),
        ({"data": {"form": ""}, **SAME}, "old form"),
        ({"data": {"everywhere": "yes"}, **SAME}, "old form"),
        ({"data": [("form", visit.word), ("form", visit.word)], **SAME}, "bad request"),
        ({"data": form | {"role": "admin"}, **SAME}, "bad request"),
        ({"data": json.dumps(form), said: "text/plain", **SAME}, "unsupported media type"),
    ]
    for given, why in refused:
        answer = await visit.ask("POST", "/console/sign-out", **given)  # type: ignore[arg-type]
        assert answer.status in (403, 415, 422), why
        assert why in answer.text, (given, answer.text)
    assert (await visit.ask("GET", "/console/you")).status == 200
    assert desk.stand.events("session.logout") == []
    routes = [json.loads(text)["fields"].get("route") for text in desk.stand.events("access.decided")]
    assert routes.count("console.sign_out") == len(refused)
    assert (await visit.ask("GET", "/console/sign-out")).status == 405
    async with desk.http.get("http://web/v1/self", headers={"Cookie": f"{SESSION}={visit.cookies[SESSION]}"}) as reply:
        assert reply.status == 401  # the cookie is for pages alone


async def test_signing_in_leads_to_a_page_of_the_console_and_nowhere_else(desk: Desk) -> None:
    """Other hosts, other schemes, other paths: the first page. From another site there is one step more."""
    for given, leads in (
        ("/console/you", "/console/you"), ("/console/clients?find=a", "/console/clients?find=a"),
        ("//evil.example", "/console"), ("https://evil.example/", "/console"), ("/v1/self", "/console"),
        ("/console/../v1", "/console"), ("/console//evil", "/console"), ("javascript:alert(1)", "/console"),
        ("/console\\evil", "/console"), ("/console\r\nX: y", "/console"),
    ):  # fmt: skip
        visit = Visit(desk)
        assert (await visit.sign_in("operator", next=given)).at == leads, given
    hop = await Visit(desk).ask("GET", "/console/you", Sec_Fetch_Site="cross-site")
    assert hop.status == 200
    assert 'content="0; url=/console/you"' in hop.text


async def test_what_releases_or_gives_rights_takes_a_fresh_proof(desk: Desk) -> None:
    """Six minutes after the sign-in a session asks for no release, approves nothing, makes no token and no password."""
    visit = Visit(desk)
    await visit.sign_in("operator")
    operator = Person(desk.people["operator"].id, visit.cookies[SESSION])
    asks = [
        ("POST", "/v1/switches/open-requests", {"reason": "over"}, None),
        ("POST", f"/v1/operators/{operator.id}/tokens", {"days": 1}, None),
        ("PUT", f"/v1/operators/{operator.id}/password", None, b"another long password"),
    ]
    assert (await desk.call("POST", "/v1/switches/close", operator, {"reason": "test"}))[0] == 200
    aged(desk, "created_at", 6)
    for method, path, body, raw in asks:
        status, reply = await desk.call(method, path, operator, body, raw=raw)
        assert (status, reply["code"]) == (401, "step_up_required"), path
    assert (await desk.call("POST", "/v1/switches/close", operator, {"reason": "test"}))[
        0
    ] == 200  # stopping needs none
    await visit.sign_in("operator")
    operator = Person(operator.id, visit.cookies[SESSION])
    for method, path, body, raw in asks:
        assert (await desk.call(method, path, operator, body, raw=raw))[0] in (201, 204), path


async def test_no_page_is_shown_without_a_session(desk: Desk) -> None:
    """Every page of the console but the one to sign in: a stranger, and any other token, is led there or refused."""
    open_to_all = {"GET /console/style.css", "GET /console/icon.svg", "GET /console/sign-in", "POST /console/sign-in"}
    routes = {f"{method} {route.path}" for route in desk.api.routes for method in getattr(route, "methods", None) or ()
              if getattr(route, "path", "").startswith("/console")}  # fmt: skip
    assert open_to_all < routes
    for cookies in ({}, {SESSION: desk.people["runner"].token}, {SESSION: "bko_" + "A" * 43}, {SESSION: "x"}):
        for route in sorted(routes - open_to_all):
            method, _, path = route.partition(" ")
            visit = Visit(desk, dict(cookies))
            answer = await visit.ask(method, re.sub(r"{[a-z_]+}", "018f3c1e-0000-7000-8000-000000000000", path), **SAME)
            assert (answer.status, answer.at[:16]) == (303, "/console/sign-in"), (route, answer.text)
            assert SESSION not in visit.cookies


async def test_web_can_neither_revive_nor_make_a_session(desk: Desk) -> None:
    """What web may say is that a session that works is in use: one that ended idle, or was ended, stays ended."""
    visit = Visit(desk)
    await visit.sign_in("operator")
    token = visit.cookies[SESSION]
    aged(desk, "seen_at", 31)
    async with desk.web.db.begin(every_client=True) as tx:
        for one in desk.sql("SELECT id FROM byokeep.api_token WHERE kind = 'console'").split():
            await tx.all(None, "session_seen", id=one)
    assert (await visit.ask("GET", "/console/you")).status == 303
    kinds = desk.sql("SELECT has_function_privilege('byokeep_web', p.oid, 'EXECUTE') FROM pg_proc p"
                     " WHERE proname IN ('token_issue', 'token_end', 'session_seen') ORDER BY proname")  # fmt: skip
    assert kinds.split() == ["t", "f", "f"]
    assert token not in json.dumps([desk.stand.events(name) for name in ("session.login", "access.decided")])
