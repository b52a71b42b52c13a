"""The console: who signs in, how long that holds, and that nothing but a page of ours acts for somebody."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from copy import copy
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from starlette.responses import JSONResponse

from byokeep.accounts import accounts
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.backup import backups
from byokeep.breakglass import watch
from byokeep.console.accounts import MOST_JOBS
from byokeep.console.pages import ENDED, Console
from byokeep.core.errors import Unavailable
from byokeep.core.events import EventName, FieldValue
from byokeep.core.model import ClientId
from byokeep.jobs.jobs import MAX_JOBS
from byokeep.kernel import procedures
from byokeep.kernel.command import raise_alert, record
from byokeep.kernel.views import MOST_OF_TOKEN
from byokeep.tenancy import authenticate, clients
from byokeep.web import forward
from tests.flows.test_drills import moved
from tests.flows.test_procedures import EXERCISE, started
from tests.support.broker import Person
from tests.support.console import ORIGIN, PASSWORD, SAME, Visit, code_of, hostile, named, trail
from tests.support.profiles import put_profile
from tests.support.web import Desk, known

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

SESSION = "__Host-byokeep"
SCRIPTS = [f'<script src="/console/{name}.js" defer>' for name in ("live", "passkey")]
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
    await one.get("/console/you")
    out = await one.send("/console/sign-out")
    assert (out.status, out.at, out.headers["Clear-Site-Data"]) == (303, "/console/sign-in", '"cache", "storage"')
    assert SESSION not in one.cookies
    assert (await Visit(desk, cookies=dict(kept)).ask("GET", "/console/live")).status in (303, 401)
    assert desk.stand.alerts() == []  # a page that is still open asks by itself
    assert not await there(Visit(desk, cookies=kept))
    assert desk.stand.alerts() == ["token_reuse"]  # somebody kept it
    assert await there(other)

    await one.sign_in("operator")
    await one.get("/console/you")
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
    assert (status, reply["kind"]) == (201, "cli_code")  # for the other place: it prolongs no session of the console
    assert (await visit.send("/console/sign-in", code=reply["token"])).status == 401
    assert (await desk.call("POST", "/v1/session/code", "runner"))[1]["code"] == "not_permitted"


async def test_a_code_of_the_console_logs_in_on_the_command_line_once(desk: Desk) -> None:
    """Twice, late, of the other place: refused alike. The session is a proof for five minutes, and makes no code."""
    visit, me = Visit(desk), desk.people["operator"]
    assert (await visit.sign_in("operator")).status == 303
    theirs = await code_of(desk, "operator")

    async def made() -> str:
        await visit.get("/console/you")
        shown = await visit.send("/console/you/code")
        assert shown.status == 200, shown.text
        return re.findall(r"<code>(bko_[A-Za-z0-9_-]{43})</code>", shown.raw)[0]

    async def log_in(code: str, **more: str) -> tuple[int, Any]:
        return await desk.call("POST", "/v1/session", body={"code": code} | more)

    code = await made()
    assert code not in (await visit.get("/console/you")).raw
    assert (await desk.call("GET", "/v1/self", Person(me.id, code)))[0] == 401
    other = Visit(desk)
    await other.get("/console/sign-in")
    assert (await other.send("/console/sign-in", code=code)).status == 401
    answers = await asyncio.gather(*(log_in(code) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [201, 401, 401, 401, 401]
    shell = Person(me.id, next(one["token"] for status, one in answers if status == 201))
    assert json.loads(desk.stand.events("session.login", "ok")[-1])["fields"]["kind"] == "cli"
    late = await made()
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '3 minutes', expires_at = now()"
             " WHERE kind = 'cli_code' AND revoked_at IS NULL")  # fmt: skip
    for wrong in (code, late, theirs, me.token):
        status, reply = await log_in(wrong)
        assert (status, reply["code"]) == (401, "bad_code")
    assert (await log_in(theirs, name="x", password="y"))[1]["code"] == "bad_request"
    assert len(desk.stand.events("session.login", "denied")) == 9
    assert (await desk.call("POST", "/v1/session/code", shell))[1]["code"] == "no_code_here"
    path, body = f"/v1/operators/{me.id}/tokens", {"days": 1}
    assert (await desk.call("POST", path, shell, body))[0] == 201
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes'"
             " WHERE kind IN ('cli', 'console')")  # fmt: skip
    assert (await desk.call("POST", path, shell, body))[1]["code"] == "step_up_required"
    assert (await desk.call("GET", "/v1/self", shell))[0] == 200
    await visit.get("/console/you")
    shown = await visit.send("/console/you/code")
    assert (shown.status, "/console/sign-in" in shown.at) == (303, True)
    await visit.get("/console/you")
    assert (await visit.send("/console/sign-out", everywhere="yes")).status == 303
    assert (await desk.call("GET", "/v1/self", shell))[0] == 401


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
    page = await visit.get("/console/you")
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
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    for path in ("/portal/sign-in", "/portal/invitation", "/portal/nothing"):  # the other site, with headers of its own
        other = await Visit(desk).ask("GET", path, Accept="text/html")
        (policy,) = other.headers.getall("Content-Security-Policy")  # type: ignore[attr-defined]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
    assert re.findall("<script[^>]*>[^<]*", page.raw) == SCRIPTS
    assert "style=" not in page.text
    form, said = {"form": visit.word}, "content-type"
    refused = [
        ({"data": form, "Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}, "other site"),
        ({"data": form, "Origin": "https://byokeep.example", "Sec_Fetch_Site": "same-site"}, "other site"),
        ({"data": form, "Origin": "null", "Sec_Fetch_Site": "same-origin"}, "other site"),
        ({"data": form, "Origin": "https://[", "Sec_Fetch_Site": "same-origin"}, "other site"),
        ({"data": form}, "other site"),
        ({"data": form, "Origin": "https://not-byokeep.example"}, "other site"),
        ({"data": form, "Origin": "https://byokeep.example.evil.example"}, "other site"),
        ({"data": {"form": stranger.word}, **SAME}, "old form"),
        ({"data": {"form": ""}, **SAME}, "old form"),
        ({"data": {"everywhere": "yes"}, **SAME}, "old form"),
        ({"data": [("form", visit.word), ("form", visit.word)], **SAME}, "bad request"),
        ({"data": form | {"role": "admin"}, **SAME}, "bad request"),
        ({"data": form | {"everywhere": "\0"}, **SAME}, "bad request"),
        ({"data": json.dumps(form), said: "text/plain", **SAME}, "unsupported media type"),
    ]
    for given, why in refused:
        answer = await visit.ask("POST", "/console/sign-out", **given)  # type: ignore[arg-type]
        assert answer.status in (403, 415, 422), why
        assert why in answer.text, (given, answer.text)
        assert ("<h1>This page is out of date</h1>" in answer.raw) == (why == "old form"), answer.text
    assert (await visit.ask("GET", "/console/you")).status == 200
    assert desk.stand.events("session.logout") == []
    routes = [json.loads(text)["fields"].get("route") for text in desk.stand.events("access.decided")]
    assert routes.count("console.sign_out") == len(refused)
    assert (await visit.ask("GET", "/console/sign-out")).status == 405
    async with desk.http.get("http://web/v1/self", headers={"Cookie": f"{SESSION}={visit.cookies[SESSION]}"}) as reply:
        assert reply.status == 401  # the cookie is for pages alone


async def test_an_address_that_no_page_has_is_a_page(desk: Desk) -> None:
    """A browser is told with a page, in the console and the portal, and where it goes on; the API answers JSON.

    Without a session each address leads to the page to sign in, so that nobody learns which there are.
    """
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    visit, stranger = Visit(desk), Visit(desk)
    await visit.sign_in("operator")
    real = await visit.ask("GET", "/console/you", **browser)
    for method, path, status, said in (
        ("GET", "/console/nothing", 404, "No page has this address"), ("GET", "/console/", 404, "No page has"),
        ("GET", "/console//clients", 404, "No page has"), ("GET", "/console/clients%2fa", 404, "No page has"),
        ("GET", "/console/sign-out", 405, "only from the page that leads to it"),
        ("DELETE", "/console/clients", 405, "only from the page"), ("POST", "/console/nothing", 404, "No page has"),
    ):  # fmt: skip
        shown = await visit.ask(method, path, **browser)
        assert (shown.status, said in shown.text) == (status, True), (path, shown.text)
        assert '<a class="button" href="/console">Go to the first page</a>' in shown.raw
        assert '<nav aria-label="Pages">' in shown.raw
        assert ("Allow" in shown.headers) == (status == 405)
        for name in (
            "Content-Type", "Content-Security-Policy", "Cache-Control", "Referrer-Policy", "X-Content-Type-Options",
            "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
        ):  # fmt: skip
            assert shown.headers[name] == real.headers[name], (path, name)
        for site, at in (("/console", path), ("/portal", path.replace("/console", "/portal"))):
            asked = await stranger.ask(method, at, **browser)
            assert (asked.status, asked.at.partition("?")[0]) == (303, f"{site}/sign-in"), at
        program = await visit.ask(method, path)
        assert (program.status, json.loads(program.raw)["status"]) == (status, status)
    for path in ("/v1/nothing", "/v1//self", "/v1"):
        reply = await visit.ask("GET", path, **browser)
        assert (reply.status, json.loads(reply.raw)["code"]) == (404, "not_found")
    for who in (visit, stranger):
        assert (await who.ask("GET", "/", **browser)).at == "/console"
        for path in ("/nothing", "/consol/you", "//", "/healthz/x"):
            shown = await who.ask("GET", path, **browser)
            assert (shown.status, "No page has this address" in shown.text) == (404, True), path
            assert '<a class="button" href="/console">Go to the first page</a>' in shown.raw
            assert shown.headers["Content-Security-Policy"] == real.headers["Content-Security-Policy"]
        for path in ("/", "/nothing"):
            assert json.loads((await who.ask("GET", path)).raw)["code"] == "not_found"


async def test_signing_in_leads_to_a_page_of_the_console_and_nowhere_else(desk: Desk) -> None:
    """Other hosts, other schemes, other paths: the first page. From another site there is one step more."""
    for given, leads in (
        ("/console/you", "/console/you"), ("/console/clients?find=a", "/console/clients?find=a"),
        ("//evil.example", "/console"), ("https://evil.example/", "/console"), ("/v1/self", "/console"),
        ("/console/../v1", "/console"), ("/console//evil", "/console"), ("javascript:alert(1)", "/console"),
        ("/console/clients/a/accounts/x/Acme_b.c", "/console/clients/a/accounts/x/Acme_b.c"),
        ("/console/.../a", "/console"), ("/console\\evil", "/console"), ("/console\r\nX: y", "/console"),
    ):  # fmt: skip
        visit = Visit(desk)
        assert (await visit.sign_in("operator", next=given)).at == leads, given
    hop = await Visit(desk).ask("GET", "/console/you", Sec_Fetch_Site="cross-site")
    assert hop.status == 200
    assert 'content="0; url=/console/you"' in hop.text


async def test_what_releases_or_gives_rights_takes_a_fresh_proof(desk: Desk) -> None:
    """Six minutes after the sign-in a session asks for no release, and gives nobody a token, password or invitation.

    Nor does it serve a key again that was suspended, begin its rotation, or take anything of the audit out.
    """
    visit, client = Visit(desk), await desk.stand.client("openai")
    await visit.sign_in("operator")
    operator = Person(desk.people["operator"].id, visit.cookies[SESSION])
    key = desk.sql(f"SELECT '/v1/refs/' || id FROM byokeep.credential_ref WHERE client_id = '{client}'")
    asks = [
        ("POST", "/v1/switches/open-requests", {"reason": "over"}, None),
        ("POST", f"{key}/state", {"to": "active", "reason": "over"}, None),
        ("POST", f"{key}/rotations", {}, None),
        ("POST", f"/v1/operators/{operator.id}/tokens", {"days": 1}, None),
        ("POST", f"/v1/clients/{await desk.stand.client()}/contacts", {}, None),
        ("PUT", f"/v1/operators/{operator.id}/password", None, b"another long password"),
    ]
    assert (await desk.call("POST", "/v1/switches/close", operator, {"reason": "test"}))[0] == 200
    watch = Visit(desk)
    await watch.sign_in("auditor")
    auditor = Person(desk.people["auditor"].id, watch.cookies[SESSION])
    exports = [("/v1/audit/export", {}), (f"/v1/audit/proof/{client}", None), (f"/v1/evidence/{uuid4()}", None),
               ("/v1/due/sign", {})]  # fmt: skip
    assert (await desk.call("POST", "/v1/audit/export", auditor, {}))[0] == 200
    aged(desk, "created_at", 6)
    for path, body in exports:
        status, reply = await desk.call("POST", path, auditor, body)
        assert (status, reply["code"]) == (401, "step_up_required"), path
    suspend = {"to": "suspended", "reason": "leak"}
    assert (await desk.call("POST", f"{key}/state", operator, suspend))[0] == 200
    for method, path, body, raw in asks:
        status, reply = await desk.call(method, path, operator, body, raw=raw)
        assert (status, reply["code"]) == (401, "step_up_required"), path
    assert (await desk.call("POST", "/v1/switches/close", operator, {"reason": "test"}))[
        0
    ] == 200  # stopping needs none
    await visit.sign_in("operator")
    operator = Person(operator.id, visit.cookies[SESSION])
    for method, path, body, raw in asks:
        assert (await desk.call(method, path, operator, body, raw=raw))[0] in (200, 201, 204), path


@pytest.mark.req("S-ASVS-21")
async def test_an_open_page_is_told_of_stops_and_ends_with_its_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view each second of one's own clients, which uses no session; eight pages, and all end when the session does.

    What could not be looked at is not told. A page that is open does not keep its session from ending idle.
    """
    mine, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    for scope in ({"client_id": str(mine)}, {"client_id": str(other)}, {"lane": "browser"}):
        assert (await desk.call("POST", "/v1/switches/close", "admin", {"reason": "leak"} | scope))[0] == 200
    desk.people["operator"] = desk.stand.subject("operator", "somebody", clients=(mine,))
    visit = Visit(desk)
    await visit.sign_in("operator")
    aged(desk, "seen_at", 29)
    seen = desk.sql("SELECT seen_at FROM byokeep.api_token WHERE kind = 'console'")
    desk.sql("UPDATE byokeep.installation SET store_recorded_at = clock_timestamp() + interval '1 hour'")
    shown = {"Cookie": f"{SESSION}={visit.cookies[SESSION]}"}
    looked_up, found = list[str](), authenticate._found

    async def noted(app: Any, token: str) -> Any:
        looked_up.append(token)
        return await found(app, token)

    monkeypatch.setattr(authenticate, "_found", noted)
    async with AsyncExitStack() as held:
        for number in range(MOST_OF_TOKEN):
            assert len(looked_up) == number  # who it is, and whether it has ended, is one question
            reply = await held.enter_async_context(desk.http.get("http://web/console/live", headers=shown))
            assert (reply.status, reply.content_type) == (200, "text/event-stream")
            assert reply.headers["Cache-Control"] == "no-store"
        async with desk.http.get("http://web/console/live", headers=shown) as full:
            assert full.status == 429
        for _ in range(2):  # the second comes by itself
            assert await reply.content.readline() == b"event: engaged\n"
            said = json.loads((await reply.content.readline()).removeprefix(b"data: "))
            assert {one["scope"] for one in said["engaged"]} == {f"client:{mine}", "lane:browser"}
            assert said["recording"] is True
            assert await reply.content.readline() == b"\n"
        assert desk.sql("SELECT seen_at FROM byokeep.api_token WHERE kind = 'console'") == seen
        desk.sql("UPDATE byokeep.installation SET store_recorded_at = clock_timestamp() - interval '1 minute'")
        async with asyncio.timeout(60):
            while b'"recording": false' not in await reply.content.readline():
                pass
            aged(desk, "seen_at", 2)  # nobody used it for 31 minutes
            assert (await reply.read()).endswith(b"event: ended\ndata: {}\n\n")
    async with asyncio.timeout(60):  # the others end in the same moment, in any order
        while desk.web.views._following:
            await asyncio.sleep(0.01)
    for cookies in (dict(visit.cookies), {}):  # a page that asks again is told, and another's new session stays
        asked = Visit(desk, cookies)
        over = await asked.ask("GET", "/console/live", Accept="text/event-stream")
        assert (over.status, over.raw, over.headers["Content-Type"][:17]) == (200, ENDED, "text/event-stream")
        assert (asked.cookies, over.cookies) == (cookies, [])
    assert (await visit.ask("GET", "/console/live")).at[:16] == "/console/sign-in"
    assert desk.stand.alerts() == []


async def test_no_page_is_shown_without_a_session(desk: Desk) -> None:
    """Every page of the console but the one to sign in: a stranger, and any other token, is led there or refused."""
    open_to_all = {
        "GET /console/style.css",
        "GET /console/icon.svg",
        "GET /console/live.js",
        "GET /console/passkey.js",
        "POST /console/passkey",
        "GET /console/sso",
        "POST /console/sso",
        "POST /console/sso/begin",
        "POST /console/sso/logout",
        "GET /console/sign-in",
        "POST /console/sign-in",
    }
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
    for mode, kept in (("navigate", True), ("cors", False)):  # what a page loads leaves the form of another as it is
        visit = Visit(desk)
        await visit.ask("GET", "/console/sign-in", **{"Sec-Fetch-Mode": mode})
        assert bool(visit.cookies) is kept


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


async def to_decide(visit: Visit) -> tuple[int, int]:
    """How much the menu says that somebody may approve, and how much their page of approvals offers."""
    headers = {"Cookie": f"{SESSION}={visit.cookies[SESSION]}"}
    async with visit.desk.http.get("http://web/console/live", headers=headers) as stream:
        first = (await stream.content.readuntil(b"\n\n")).decode()
    told = re.match(r"event: waits\ndata: (\d+)\n", first)
    return int(told[1]) if told else 0, (await visit.get("/console/approvals")).raw.count(">Approve</button>")


async def every_kind_waits(
    desk: Desk, client: UUID, operator: Visit, approver: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break glass, a step and new rights wait for whoever may approve each, of their clients; what is over does not.

    What an older broker does not say of them yet is unknown, and said to be.
    """
    known(desk, EXERCISE)
    glass = {"client_id": str(client), "scope": "openai", "reason": "runner_down", "ticket": "INC-42", "life_s": 900}
    assert (await desk.call("POST", "/v1/breakglass", "operator", glass))[0] == 201
    begun = await started(desk, "exercise", client)
    await desk.work()
    other, admin = Visit(desk), Visit(desk)
    asking = desk.people["admin"]
    desk.people["approver"] = desk.stand.subject("approver", "elsewhere", clients=(await desk.stand.client(),))
    desk.people["admin"] = desk.stand.subject("admin", "second")
    await other.sign_in("approver")
    await admin.sign_in("admin")
    assert (await desk.call("POST", "/v1/machines", asking, {"name": "Two", "role": "runner"}))[0] == 202
    assert [await to_decide(one) for one in (approver, admin, other, operator)] == [(2, 2), (1, 1), (0, 0), (0, 0)]
    at = "SELECT to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || 'Z' FROM byokeep.approval"
    lapses = desk.sql(f"{at} WHERE action = 'break_glass'")
    page = await approver.get("/console/approvals")
    assert f"it lapses at {lapses}" in page.text
    (href,) = re.findall(r'href="(/console/break-glass/[^"]+)"', page.raw)
    for one in (approver, operator):
        assert f"<dt>Lapses at</dt><dd>{lapses} <small>in 14 min</small>" in (await one.get(href)).raw
    with monkeypatch.context() as older:
        fetch = Console.fetch

        async def without(*call: Any, **more: Any) -> bytes:
            return (await fetch(*call, **more)).replace(b'"lapses_at"', b'"of_another_release"')

        older.setattr(Console, "fetch", without)
        page = await approver.get("/console/approvals")
        assert (page.status, "An upgrade is not over" in page.text) == (503, True)
        assert "Could not check approvals" in (await approver.get()).text
    await approver.get("/console/approvals")
    assert (await approver.send("/console/approvals", kind="step", id=begun["id"])).status == 303
    desk.sql("UPDATE byokeep.approval SET expires_at = requested_at + interval '1 microsecond' WHERE used_at IS NULL")
    assert [(await to_decide(one))[0] for one in (approver, admin)] == [0, 0]


def answered(status: int, **said: Any) -> Any:
    """`Console.fetch` where the other process answers this to every call."""
    fetch, reply = Console.fetch, JSONResponse(said, status)

    async def instead(console: Console, *call: Any, **more: Any) -> bytes:
        other = copy(console)
        other._send = AsyncMock(return_value=reply)
        return await fetch(other, *call, **more)

    return instead


async def test_a_stop_is_released_by_two_people(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stop ends is named before; who asks does not let it go; the records are those of the command line."""
    stand = desk.stand
    client = await stand.client("openai")
    await stand.job(client)
    operator, approver = Visit(desk), Visit(desk)
    await operator.sign_in("operator")
    await approver.sign_in("approver")
    runner = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['runner'].id}'")
    look = await operator.get(f"/console/kill?look=1&client_id={client}")
    assert "ends 1 running job for good" in look.text
    assert runner in look.text
    wrong = await operator.get(f"/console/kill?look=1&client_id={client}&platform=x&lane=api")  # the form stays
    assert (wrong.status, "bad scope" in wrong.text) == (422, True)
    assert [f'<option{it} selected>' in wrong.raw for it in (f' value="{client}"', "")] == [True, True]
    assert stand.events("switch.closed") == []
    for kind, code, of in (("unavailable", 503, {}), ("rate_limited", 429, {"retry_after_s": 1})):
        with monkeypatch.context() as away:
            away.setattr(Console, "fetch", answered(code, type=f"urn:x:{kind}", code="told_so", next_step="", **of))
            unsure = await operator.send("/console/kill/stop", client_id=str(client), reason="suspected_leak")
        assert (unsure.status, "It is not known whether it was done" in unsure.text) == (code, code == 503)
        assert "is on record" not in unsure.text
    assert (await operator.send("/console/kill/stop", client_id=str(client), reason="suspected_leak")).status == 303
    first = await operator.get("/console")
    assert "is stopped" in first.text
    for page in ("", "/clients"):  # one that takes no query, and one that takes others
        assert (await operator.get(f"/console{page}?unknown=1")).status == 422
    assert re.search(r'No backup is set up.*?href="/console/recovery"', first.raw, re.DOTALL)
    assert "The store is cut off, too." in (await operator.get("/console/kill")).text
    for page in ("clients", f"clients/{client}"):
        shown = (await operator.get(f"/console/{page}")).raw.partition("<h2>")[0]
        assert ('class="tag bad">stopped</span>' in shown, 'class="tag good">active</span>' in shown) == (True, False)
    aged(desk, "created_at", 6)
    await operator.get("/console/kill")
    step_up = await operator.send("/console/kill/release", client_id=str(client), reason="cause_removed")
    assert (step_up.status, step_up.at[:16]) == (303, "/console/sign-in")
    assert "Prove that it is you" in (await operator.get(step_up.at)).text
    await operator.sign_in("operator")
    await operator.get("/console/kill")
    assert (await operator.send("/console/kill/release", client_id=str(client), reason="cause_removed")).status == 303
    mine = await operator.get("/console/approvals")
    assert "You asked for it: another person must approve it." in mine.text
    (asked,) = desk.sql("SELECT id FROM byokeep.approval WHERE action = 'open_switch'").split()
    await approver.sign_in("approver")
    theirs = await approver.get("/console/approvals")
    assert f'value="{asked}"' in theirs.raw
    assert [await to_decide(one) for one in (operator, approver)] == [(0, 0), (1, 1)]
    with monkeypatch.context() as noted:
        fetch, asked_for = Console.fetch, list[tuple[Any, ...]]()

        async def once(console: Console, who: Any, *call: Any, **more: Any) -> bytes:
            asked_for.append(call[:2])
            return await fetch(console, who, *call, **more)

        noted.setattr(Console, "fetch", once)
        assert "Decide" in (await approver.get()).raw.partition("Approval</span>")[2]
    assert asked_for.count(("GET", "/v1/breakglass")) == 1
    assert len(set(asked_for)) == len(asked_for)  # each part is asked for once, for whatever rows it has
    assert "Approval</span>" not in (await operator.get()).raw
    await operator.get("/console/approvals")
    await approver.get("/console/approvals")
    own = await operator.send("/console/approvals", kind="release", id=asked)
    assert (own.status, "You may not do this" in own.text) == (403, True)
    early = await approver.get(f"/console/kill?released=client:{client}")
    assert "is released." not in early.text  # it says what is so, whatever the address claims
    let = await approver.send("/console/approvals", kind="release", id=asked)
    assert let.status == 303
    assert "is released.</strong> Nothing else is stopped." in (await approver.get(let.at)).raw
    assert 'class="tag good">active</span>' in (await operator.get("/console/clients")).raw
    assert "Nothing waits" in (await approver.get("/console/approvals")).text
    assert "Nothing is stopped." in (await operator.get("/console/kill")).text
    narrow = stand.subject("operator", "narrow", clients=(await stand.client(),))
    of_all, desk.people["operator"] = desk.people["operator"], narrow
    held = Visit(desk)
    await held.sign_in("operator")
    desk.people["operator"] = of_all
    assert "Nothing needs you now" in (calm := (await held.get("/console")).text)
    assert "Not shown to you: checklists, backups." in calm
    assert "backup was opened" not in calm, "what was not asked is not said to be well"
    opened = json.loads(stand.events("switch.opened")[-1])
    assert opened["actor"] == str(desk.people["approver"].id)
    await one_lane_is_stopped(desk, operator, approver)
    await every_kind_waits(desk, client, operator, approver, monkeypatch)
    made: dict[str, FieldValue] = {"backup": str(uuid4()), "digest": "ab" * 32}
    await backups.say(stand.app, EventName.BACKUP_CREATED, made | {"size": 9, "count": 3})
    assert "No backup has ever been opened" in (await operator.get("/console")).text
    await backups.say(stand.app, EventName.BACKUP_VERIFIED, made)
    assert "Backup</span>" not in (await operator.get("/console")).raw
    moved(stand, "event LIKE 'backup.%'")
    assert "Every backup that was opened is dated in the future" in (await operator.get("/console")).text


async def one_lane_is_stopped(desk: Desk, operator: Visit, approver: Visit) -> None:
    """A lane of a client: its jobs go on, the store is not cut off, and the records are those of the command."""
    mine, theirs = [await desk.stand.client("openai") for _ in range(2)]
    for client in (mine, theirs):
        await desk.stand.job(client)
    look = await operator.get(f"/console/kill?look=1&client_id={mine}&lane=api")
    assert "This job goes on, and what it does in this scope is refused" in look.text
    of = [{"client_id": str(client), "lane": "api"} for client in (mine, theirs)]
    stopped = await operator.send("/console/kill/stop", **of[0], platform="", reason="suspected_leak")
    assert stopped.status == 303, stopped.text
    assert desk.sql(f"SELECT scope FROM byokeep.switch WHERE closed AND scope LIKE '%{mine}%'") == (
        f"client:{mine}:lane:api"
    )
    assert desk.sql("SELECT count(*) FROM byokeep.job WHERE state = 'open'") == "2"
    shown = await operator.get(f"/console/clients/{mine}")
    assert 'class="tag bad">partly stopped</span>' in shown.raw
    await operator.get("/console/kill")
    asked = await operator.send("/console/kill/release", **of[0], platform="", reason="cause_removed")
    assert asked.status == 303, asked.text
    (wish,) = re.findall(r'name="id" value="([^"]+)"', (await approver.get("/console/kill")).raw)
    let = await approver.send("/console/approvals", kind="release", id=wish)
    assert "is released." in (await approver.get(let.at)).text
    path = "/v1/switches"
    assert (await desk.call("POST", f"{path}/close", "operator", of[1] | {"reason": "suspected_leak"}))[0] == 200
    wish = (await desk.call("POST", f"{path}/open-requests", "operator", of[1] | {"reason": "cause_removed"}))[1]["id"]
    assert (await desk.call("POST", f"{path}/open-requests/{wish}/approve", "approver"))[0] == 200
    led = [trail(desk, f"chain = '{client}' AND event LIKE 'switch.%'") for client in (mine, theirs)]
    assert led[0] == led[1]
    assert [one.partition(" [")[0] for one in led[0] if " ok" in one] == [
        "switch.closed ok", "switch.open_requested ok", "switch.opened ok",
    ]  # fmt: skip


async def opens_what_it_shows(visit: Visit, role: str, *, every: bool) -> None:
    """What the menu shows is let in; a link to what is refused would make a record of a refusal."""
    shown = await visit.get()
    menu = re.findall(r'href="([^"]+)"', re.search(r'<nav aria-label="Pages">.*?</nav>', shown.raw, re.DOTALL)[0])  # type: ignore[index]
    assert "/console/clients" in menu
    assert ("/console/people" in menu) == (role in ("admin", "auditor"))
    assert ("/console/audit" in menu) == (role == "auditor" and every)
    for path in menu:
        assert (await visit.get(path)).status == 200, path


@pytest.mark.parametrize("role", ["admin", "operator", "approver", "auditor"])
async def test_each_role_sees_its_own_and_another_s_client_is_none(desk: Desk, role: str) -> None:
    """Each page answers each role; what it may not see is said and not asked for, so that nothing is refused."""
    client, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    whole = Visit(desk)
    await whole.sign_in(role)
    read = len(desk.stand.events("due.listed", "ok"))
    for path in ("", "/recovery"):  # they take some rows of the list of what is due, which nobody reads there
        assert (await whole.get(f"/console{path}")).status == 200
    assert len(desk.stand.events("due.listed", "ok")) == read
    await opens_what_it_shows(whole, role, every=True)
    assert len(desk.stand.events("due.listed", "ok")) == read + 1
    due = (await whole.get("/console/due?days=400")).raw.partition("<tbody")[2]
    leads = set(re.findall(r'<td[^>]*><a href="([^"]+)">', due))
    assert any("/people/" in one for one in leads) == (role in ("admin", "auditor"))  # others see the command alone
    assert "/console/break-glass" in leads
    for one in leads:
        assert (await whole.get(one)).status == 200, one
    desk.people[role] = desk.stand.subject(role, "somebody", clients=(client,))
    visit = Visit(desk)
    await visit.sign_in(role)
    for path in ("", "/clients", f"/clients/{client}", f"/clients/{client}/contacts", "/alerts", "/due", "/approvals",
                 "/kill", "/you", "/procedures", "/incidents", "/incidents/new", "/break-glass", "/due/month",
                 "/revocations"):  # fmt: skip
        shown = await visit.get(f"/console{path}")
        assert shown.status == 200, shown.text
    await opens_what_it_shows(visit, role, every=False)
    assert desk.stand.events("access.decided", "denied") == []
    people = f"/console/clients/{client}/contacts"
    shown = await visit.get(people)
    assert ("Make the invitation" in shown.text) is (role == "operator")
    asked = await visit.send(people, name=f"Ada of {role}", days="7")
    if role == "operator":
        link = re.findall(r"<code>(http[^<]+)</code>", asked.text)
        assert [it.partition("#")[0] for it in link] == [f"{desk.web.limits.console_origin}/portal/invitation"]
        again = await visit.send(people, name=f"Ada of {role}", days="7")
        assert (again.status, "can come in still" in again.text) == (409, True)
        shown = await visit.get(people)
        assert link[0] not in shown.text  # this once
        end = re.findall(r'action="([^"]+/end)"', shown.raw)[0]
        auditor = Visit(desk)
        await auditor.sign_in("auditor")
        ada = (await auditor.get(f"/console/people/{end.split('/')[-2]}")).text
        assert ("The people of" in ada, "key.write" in ada, "Password" in ada) == (True, False, False)
        assert (await visit.send(end)).at == people
        assert "/end" not in (await visit.get(people)).raw
        await visit.get("/portal/invitation")
        stranger = await visit.send("/portal/invitation", link=link[0])
        assert (stranger.status, "This invitation does not work" in stranger.text) == (401, True)
    else:
        assert (asked.status, "You may not do this" in asked.text) == (403, True)
    page = await visit.get(f"/console/clients/{other}")
    nobody = await visit.get("/console/clients/018f3c1e-0000-7000-8000-000000000000")
    masked = [re.sub(r"[0-9a-f-]{36}|value=.[0-9a-f]{64}|\d\d:\d\dZ", "", one.raw) for one in (page, nobody)]
    assert (page.status, nobody.status) == (404, 404)
    assert masked[0] == masked[1]
    assert str(other) not in (await visit.get("/console/clients")).raw
    if role not in ("operator", "admin"):
        stopped = await visit.send("/console/alerts", id=str(other), act="close")
        assert (stopped.status, "You may not do this" in stopped.text) == (403, True)


async def proved(desk: Desk, client: UUID) -> dict[UUID, str]:
    """Profiles of the client's accounts, each with a picture on record; its digest by the profile."""
    found, app = {}, desk.worker
    for number, row in enumerate(desk.sql("SELECT id FROM byokeep.platform_account ORDER BY account").splitlines()):
        made = put_profile(desk.stand, client, UUID(row))
        found[made.id] = f"{number:064x}"[::-1]
        said = {"profile": made.id, "generation": 1, "platform": "x", "screenshot": found[made.id]}
        async with app.db.begin(client_id=client) as tx:
            await record(tx, app.system(), EventName.PROFILE_VALIDATED, said, client_id=ClientId(client),
                         object_id=made.id)  # fmt: skip
    return found


async def test_no_text_is_markup_and_no_value_is_on_a_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever names hold stands there as text; of a stored key nothing stands anywhere, and the search finds one.

    The gallery of profiles shows the picture of each beside it, and asks for all of them at once.
    """
    client, names = await hostile(desk)
    pictures = await proved(desk, UUID(client))
    value = desk.canary()
    assert (await desk.put(UUID(client), value))[0] in (200, 201, 202)
    await desk.work()
    visit = Visit(desk)
    await visit.sign_in("operator")
    pages = [await visit.get(f"/console{path}") for path in
             ("", "/clients", f"/clients/{client}", "/alerts", "/due?days=400", "/approvals",
              f"/kill?look=1&client_id={client}", "/you", "/sign-in")]  # fmt: skip
    monkeypatch.setitem(procedures.found_runs.__kwdefaults__ or {}, "limit", 1)
    oldest = (await visit.get("/console/procedures?procedure=onboard_key")).text  # filtered before it is cut
    assert "Onboard key" in oldest.partition("Steps proved")[2]
    assert "more that are not listed" in (await visit.get("/console/procedures")).text
    monkeypatch.undo()
    runs = (await desk.call("GET", "/v1/procedures", "operator"))[1]["procedures"]
    assert {"onboard_key", "rotate_key"} <= {one["procedure"] for one in runs}
    for run in runs:
        shown = await visit.get(f"/console/procedures/{run['id']}")
        assert all(step["hash"][:16] in shown.raw and f"record {step['seq']}," in shown.raw for step in run["steps"])
        assert shown.raw.count('class="step is-') == len(run["steps"]) + len(run["missing"])
        pages.append(shown)
        if run["procedure"].startswith("rotate"):
            pages.append(await visit.get(f"/console/rotations/{run['id']}"))
    refs = (await desk.call("GET", f"/v1/clients/{client}/refs", "operator"))[1]["refs"]
    for path in ("procedures?state=complete", f"clients/{client}/new-key", f"keys/{refs[0]['id']}",
                 f"keys/{refs[0]['id']}/rotate", f"clients/{client}/new-account", f"clients/{client}/jobs",
                 f"clients/{client}/accounts/x/acme0"):  # fmt: skip
        pages.append(await visit.get(f"/console/{path}"))
    asked: list[str] = []
    read = PostgresDatabase.read

    async def counted(self: PostgresDatabase, shape: type, statement: str, *given: Any, **how: Any) -> list[object]:
        asked.append(statement)
        return await read(self, shape, statement, *given, **how)

    monkeypatch.setattr(PostgresDatabase, "read", counted)
    gallery = await visit.get(f"/console/clients/{client}/profiles")
    assert asked.count("profile_proofs") == 1
    rows = gallery.raw.split('<li class="row')[1:]
    assert len(rows) == len(pictures) == len(names)
    for row in rows:
        [profile] = re.findall(r"/console/profiles/([0-9a-f-]+)", row)
        assert re.findall("<code>([0-9a-f]{16})</code>", row) == [pictures[UUID(profile)][:16]]
    assert [name for name in names if name.isprintable() and name not in gallery.text] == []
    pages += [gallery, await visit.get(f"/console/profiles/{next(iter(pictures))}")]
    assert next(iter(pictures.values()))[:16] in pages[-1].raw
    assert {one.status for one in pages} == {200}
    raw = "".join(one.raw for one in pages)
    assert raw.count("<script") == raw.count('<script src="/console/')  # our own files alone
    assert "<svg" not in raw
    assert "onerror=document" not in raw.replace("<img src=x onerror=document".replace("<", "&lt;"), "")
    assert (
        "49"
        not in re.sub(r"[0-9a-f-]{36}|[0-9a-f]{8,}", "", pages[2].raw)
        .partition("<h2>Accounts")[2]
        .partition("</section>")[0]
    )
    for name in names:
        shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
        assert shown in pages[2].text, name
    swept = value.decode()
    places = [one.raw + json.dumps(list(one.headers.items())) for one in pages]
    assert not any(swept in place or swept[8:40] in place or swept[-6:] in place for place in places)
    desk.sql(f"UPDATE byokeep.platform_account SET display_name = '{swept}' WHERE account = 'acme0'")
    assert swept in (await visit.get(f"/console/clients/{client}")).raw  # the search would have found it


async def test_a_form_that_is_refused_is_shown_again_with_what_to_do(desk: Desk) -> None:
    """Each form comes back as it was filled in, with the refusal above it, which is on record once."""
    client, account = await desk.stand.client("openai"), "acme"
    profile = put_profile(desk.stand, client, desk.stand.account(client, account=account)).id
    ref = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'")
    at, secret = f"/console/clients/{client}", b"a-secret-that-is-made-up-0123456789"
    our = urlencode({"app_id": "app", "redirect_uri": "https://byokeep.example/portal/connected"})
    assert (await desk.call("PUT", f"/v1/apps/x?{our}", "admin", raw=secret))[0] == 200
    for who, path, fields in (
        ("operator", f"{at}/accounts/x/{account}", {"act": "lane", "policy": "fast"}),
        ("operator", f"{at}/new-account", {"platform": "x", "account": "../.."}),
        ("operator", f"/console/profiles/{profile}", {"act": "open", "x": "acme"}),
        ("operator", f"{at}/consents", {"login": "myspace", "account": "a", "engage": "yes", "pick": "../.."}),
        ("operator", "/console/break-glass", {
            "client": str(client), "scope": "openai", "reason": "runner_down", "ticket": "../..", "minutes": "7",
        }),
        ("operator", f"{at}/contacts", {"name": "Ada", "days": "99"}),
        ("operator", f"{at}/colour", {"colour": "#zzzzzz"}),
        ("operator", f"{at}/new-key", {"provider": "openai", "value": "x"}),
        ("operator", f"/console/keys/{ref}/rotate", {"old_ends": "never"}),
        ("operator", "/console/incidents/new", {"kind": "suspected_leak", "client": str(client)}),
        ("admin", "/console/new-client", {"name": "", "risk": "standard"}),
    ):  # fmt: skip
        visit = Visit(desk)
        await visit.sign_in(who)
        await visit.get("/console/you")
        shown = await visit.send(path, **fields)
        assert (shown.status, "This was not done: " in shown.text) == (422, True), (path, shown.text)
        kept = [f'value="{text}"' for text in fields.values() if text in ("Ada", "../..", "runner_down", "7")]
        kept += ['value="yes" checked'] * ("engage" in fields) + ['"openai" selected'] * ("scope" in fields)
        assert all(text in shown.raw for text in kept), path
    assert desk.not_once_on_record() == []


async def test_what_reads_the_log_of_the_store_has_time_for_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break glass that is ended and reviewed through web is told as that, also where its log takes longer to read."""
    client, at, real = await desk.stand.client("openai"), "/v1/breakglass", watch.look
    body = {"client_id": str(client), "scope": "openai", "reason": "runner_down", "ticket": "INC-42"}
    grant = (await desk.call("POST", at, "operator", body))[1]["id"]
    for act, who in (("approve", "approver"), ("open", "operator")):
        assert (await desk.call("POST", f"{at}/{grant}/{act}", who))[0] == 200

    async def slowly(*given: Any) -> Any:
        await asyncio.sleep(0.6)
        return await real(*given)

    monkeypatch.setattr(watch, "look", slowly)
    monkeypatch.setattr(forward, "_ANSWER_S", 0.5)
    for act, body, then in (("revoke", None, "to_review"), ("review", {}, "to_close")):
        status, said = await desk.call("POST", f"{at}/{grant}/{act}", "operator", body)
        assert (status, said.get("status")) == (200, then), said


async def test_a_report_of_more_hours_than_there_were_is_refused(desk: Desk) -> None:
    """What no calendar holds is the visitor's mistake, as anywhere else."""
    visit, client = Visit(desk), await desk.stand.client("openai")
    await visit.sign_in("operator")
    await visit.get("/console/incidents/new")
    about = "key:" + desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'")
    opened = await visit.send("/console/incidents/new", kind="suspected_leak", client=str(client), about=about)
    assert (await visit.get(opened.at)).status == 200
    assert (await visit.send(f"{opened.at}/report", hours="999999999")).status == 422


async def test_lists_are_paged_and_filtered_by_their_address(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty rows a page, none lost between two; a wrong filter says so; what is kept in the address is escaped.

    A client that was made while the broker was away is there, and its page says what is left.
    """
    for number in range(53):
        name = f"Client {number:02d}"
        desk.sql("INSERT INTO byokeep.client (id, name, state, risk, created_by) VALUES"
                 f" (gen_random_uuid(), '{name}', 'active', 'standard', '{desk.people['admin'].id}')")  # fmt: skip
    visit = Visit(desk)
    await visit.sign_in("operator")
    shown = [re.findall(r"Client \d\d", (await visit.get(f"/console/clients?page={at}")).text) for at in (1, 2)]
    assert [len(one) for one in shown] == [50, 3]
    assert len({*shown[0], *shown[1]}) == 53
    one = await visit.get("/console/clients?find=client+07")
    assert re.findall(r"Client \d\d", one.text) == ["Client 07"]
    assert "No client matches" in (await visit.get("/console/clients?find=%22%3E%3Cscript%3E")).text
    assert (await visit.get("/console/clients?find=%22%3E%3Cscript%3E")).raw.count("<script") == 1
    for wrong in ("/due?kind=nothing", "/clients?page=x", "/alerts?client=x", "/kill?look=1&platform=mars", "/due?a=1"):
        assert (await visit.get(f"/console{wrong}")).status == 422, wrong
    await raise_alert(desk.stand.app, reason="usage_unusual", key="1", severity="warning")
    at = "/console/alerts?severity=warning"
    about = re.findall(r'name="id" value="([^"]+)"', (await visit.get(at)).raw)[0]
    sent = {"form": visit.word, "id": about, "act": "take"}
    taken = await visit.ask("POST", "/console/alerts", data=sent, **SAME, Referer=f"{ORIGIN}{at}")
    assert (taken.status, taken.at, "taken by" in (await visit.get(at)).text) == (303, at, True)  # the filter stays
    client = await desk.stand.client("openai")
    for number in range(2):
        desk.stand.account(client, account=f"acme{number}")
    page = f"/console/clients/{client}"
    assert "There may be more" not in (await visit.get(page)).text
    with monkeypatch.context() as few:
        for place in (accounts, clients):
            few.setattr(place, "MAX_ROWS", 2)
        assert "There may be more than these 2" in (await visit.get(page)).text, "a list that was cut says so"
    assert MOST_JOBS == MAX_JOBS
    admin = Visit(desk)
    await admin.sign_in("admin")
    await admin.get("/console/new-client")
    with monkeypatch.context() as away:
        away.setattr(Console, "ask", AsyncMock(side_effect=Unavailable("broker_unreachable")))
        made = await admin.send("/console/new-client", name="Half made", risk="standard")
    assert made.status == 303, made.text
    assert "Finish its creation" in (await admin.get(made.at)).text
