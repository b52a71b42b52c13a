"""Passkeys in a real Chromium with an authenticator of its protocol: added, used, copied, in wrong hands, lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import BrowserContext, CDPSession, Page

from tests.support.broker import POST, Person
from tests.support.console import PASSWORD, Visit, named, on_loopback
from tests.support.portal import Guest, code_for, invited
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
]  # fmt: skip

SESSION = "__Host-byokeep"
GO = "Sign in with a passkey"
CODE = re.compile(r"[A-Z2-7]{5}-[A-Z2-7]{5}")


@dataclass
class Keyring:
    """A person at a browser with an authenticator; ``said``: what Chromium says of the pages."""

    desk: Desk
    page: Page
    url: str
    cdp: CDPSession
    authenticator: str
    said: list[str] = field(default_factory=list)

    async def with_password(self, name: str) -> None:
        await self.page.goto(f"{self.url}/console/sign-in?next=/console/you")
        field = self.page.get_by_role("textbox", name="Name", exact=True)
        if await field.is_editable():
            await field.fill(name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()

    async def with_passkey(self) -> None:
        await self.page.goto(f"{self.url}/console/sign-in?next=/console/you")
        await self.page.get_by_role("button", name=GO).click()

    async def add(self, name: str = "laptop") -> None:
        await self.page.goto(f"{self.url}/console/you")
        await self.page.get_by_label("Its name").fill(name)
        await self.page.get_by_role("button", name="Add a passkey").click()

    async def credentials(self) -> list[dict[str, Any]]:
        found = await self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.authenticator})
        return list(found["credentials"])

    async def look(self, name: str) -> None:
        if place := os.environ.get("BYOKEEP_SHOTS"):
            for theme in ("light", "dark"):
                await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                await self.page.screenshot(path=f"{place}/{name}-{theme}.png", full_page=True)


@pytest.fixture
async def ring(desk: Desk, context: BrowserContext) -> AsyncIterator[Keyring]:
    async with on_loopback(desk) as url, context:
        page = await context.new_page()
        cdp = await context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                   "isUserVerified": True}  # fmt: skip
        made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        ring = Keyring(desk, page, url, cdp, made["authenticatorId"])
        page.on("console", lambda message: ring.said.append(message.text))
        yield ring


@pytest.mark.req("S-ASVS-21")
async def test_a_passkey_signs_in_and_a_unproved_does_no_more(ring: Keyring) -> None:
    """Added, it opens the console and proves its owner anew; password and code do neither; removed, they do again.

    By the password a session of the command line is left, which proves nobody: it gives no token, asks for no release.
    """
    desk, page = ring.desk, ring.page
    name, me = await named(desk, desk.people["operator"]), desk.people["operator"]
    other = Visit(desk)
    await other.sign_in("operator")
    shell = (await desk.call("POST", "/v1/session", body={"name": name, "password": PASSWORD}))[1]["token"]
    await ring.with_password(name)
    await page.wait_for_url("**/you")
    await ring.add()
    await page.get_by_role("button", name="Remove laptop").wait_for()
    await ring.look("you-passkey")
    await ring.add("the same laptop")
    await page.get_by_text("This device has a passkey of yours already").wait_for()
    assert await page.get_by_text("The browser returned no passkey").count() == 0
    assert (await other.ask("GET", "/console/you")).status == 303  # what was opened without it has ended
    over = await desk.call("GET", "/v1/self", Person(me.id, shell))  # and that of the command line: nobody stole it
    assert (over[0], over[1]["code"], "token_reuse" in desk.stand.alerts()) == (401, "session_over", False)
    (added,) = desk.stand.events("passkey.added", "ok")
    assert json.loads(added)["fields"]["subject"] == str(me.id)
    assert "passkey_added" in desk.stand.alerts()

    await page.context.clear_cookies()
    await ring.with_password(name)
    await page.get_by_text("The password is right. Now use your passkey.").wait_for()
    await ring.look("passkey-needed")
    (denied,) = desk.stand.events("session.login", "denied")  # whoever has the password: by name, and told of
    assert json.loads(denied)["object"] == str(me.id)
    assert "password_without_passkey" in desk.stand.alerts()
    session = (await desk.call("POST", "/v1/session", body={"name": name, "password": PASSWORD}))[1]["token"]
    made = await desk.call("POST", "/v1/session/code", Person(me.id, session))
    assert (made[0], made[1]["code"]) == (403, "passkey_in_its_place")
    for path, body in ((f"/v1/operators/{me.id}/tokens", {}), ("/v1/switches/open-requests", {"reason": "over"})):
        made = await desk.call("POST", path, Person(me.id, session), body)
        assert (made[0], made[1]["code"]) == (401, "step_up_required")
    assert (await desk.call("GET", "/v1/switches", Person(me.id, session)))[0] == 200
    await page.get_by_role("button", name=GO).click()
    await page.wait_for_url("**/you")
    login = json.loads(desk.stand.events("session.login", "ok")[-1])["fields"]
    assert login["passkey"] == json.loads(added)["fields"]["passkey"]
    await page.get_by_role("button", name="Make a code").click()  # so the command line has what a passkey proved
    code = await page.get_by_text(re.compile("^bko_")).inner_text()
    status, shell = await desk.call("POST", "/v1/session", body={"code": code})
    assert (status, shell["kind"]) == (201, "cli")
    assert (await desk.call("POST", f"/v1/operators/{me.id}/tokens", Person(me.id, shell["token"]), {}))[0] == 201

    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'console'")
    await page.goto(f"{ring.url}/console/you")
    await page.get_by_role("button", name="Remove laptop").click()
    await page.get_by_text("Prove that it is you").first.wait_for()
    await ring.with_password(name)
    await page.get_by_text("Now use your passkey.").wait_for()
    await page.get_by_role("button", name=GO).click()
    await page.wait_for_url("**/you")
    await page.get_by_role("button", name="Remove laptop").click()
    await page.get_by_text("None. With one,").wait_for()
    assert len(desk.stand.events("passkey.removed", "ok")) == 1
    await page.context.clear_cookies()
    await ring.with_passkey()  # the authenticator has it, and we do not any more
    await page.get_by_role("alert").filter(has_text="You are not signed in").wait_for()
    await ring.with_password(name)
    await page.wait_for_url("**/you")
    assert [one for one in ring.said if "401" not in one] == []


async def test_a_copied_passkey_is_refused_and_told_of(ring: Keyring) -> None:
    """A count that goes back, an owner who was not verified, a row that no record carries: refused, each."""
    desk, page = ring.desk, ring.page
    name = await named(desk, desk.people["approver"])
    await ring.with_password(name)
    await page.wait_for_url("**/you")
    await ring.add()
    await page.get_by_role("button", name="Remove laptop").wait_for()

    async def refused() -> None:
        await page.context.clear_cookies()
        await ring.with_passkey()
        await page.get_by_role("alert").filter(has_text="You are not signed in").wait_for()

    at = {"authenticatorId": ring.authenticator}
    await ring.cdp.send("WebAuthn.setUserVerified", at | {"isUserVerified": False})
    await page.context.clear_cookies()
    await ring.with_passkey()
    await page.get_by_text("The browser returned no passkey").wait_for()

    async def asked_for_less(route: Any) -> None:
        reply = await route.fetch()
        await route.fulfill(response=reply, json=await reply.json() | {"userVerification": "discouraged"})

    await page.route("**/console/passkey", asked_for_less)
    await refused()
    await page.unroute("**/console/passkey")
    assert desk.stand.alerts() == ["passkey_added"]
    await ring.cdp.send("WebAuthn.setUserVerified", at | {"isUserVerified": True})
    desk.sql("UPDATE byokeep.passkey SET uses = uses + 1000")
    await refused()
    assert sorted(desk.stand.alerts()) == ["passkey_added", "passkey_cloned"]
    desk.sql("UPDATE byokeep.passkey SET uses = uses - 1000, public_half = '\\x00'")
    await refused()
    await page.context.clear_cookies()
    assert sorted(desk.stand.alerts()) == ["passkey_added", "passkey_cloned"]
    assert len(desk.stand.events("session.login", "denied")) == 3


async def test_a_challenge_is_one_browser_s_and_used_once(ring: Keyring) -> None:
    """Another browser's answer, the same one twice, one after five minutes, a made-up one: refused and on record."""
    desk, page = ring.desk, ring.page
    name = await named(desk, desk.people["operator"])
    await ring.with_password(name)
    await page.wait_for_url("**/you")
    await ring.add()
    await page.get_by_role("button", name="Remove laptop").wait_for()
    await page.context.clear_cookies()
    sent: list[str] = []

    async def hold(route: Any) -> None:
        sent.append(route.request.post_data)
        await route.fulfill(status=204)  # the page stays

    await page.route("**/console/sign-in", hold)
    for _ in range(2):
        await page.goto(f"{ring.url}/console/sign-in?next=/console")
        count = len(sent)
        await page.get_by_role("button", name=GO).click()
        while len(sent) == count:
            await page.wait_for_timeout(20)
    mine = {one["name"]: one["value"] for one in await page.context.cookies()}
    headers = {"Host": ring.url.removeprefix("http://"), "Origin": ring.url, "Sec-Fetch-Site": "same-origin",
               "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip

    async def post(body: str, cookies: dict[str, str]) -> int:
        return (await Visit(desk, dict(cookies)).ask("POST", "/console/sign-in", data=body.encode(), **headers)).status

    stranger = Visit(desk)
    await stranger.get("/console/sign-in")
    theirs = "&".join(["form=" + stranger.word, *(part for part in sent[1].split("&") if not part.startswith("form="))])
    assert await post(sent[0], mine) == 401  # the browser was given another one since
    assert await post(sent[1], mine) == 401  # and that was used up by the wrong answer
    assert await post(theirs, stranger.cookies) == 401
    await page.goto(f"{ring.url}/console/sign-in?next=/console")
    await page.get_by_role("button", name=GO).click()
    while len(sent) == 2:
        await page.wait_for_timeout(20)
    assert await post(theirs, stranger.cookies) == 401
    assert await post(sent[2], mine) == 303
    assert await post(sent[2], mine) == 401
    assert len(desk.stand.events("session.login", "denied")) == 5
    assert "passkey_cloned" not in desk.stand.alerts()  # the second answer met no challenge

    await page.goto(f"{ring.url}/console/sign-in?next=/console")
    await page.get_by_role("button", name=GO).click()
    while len(sent) == 3:
        await page.wait_for_timeout(20)
    guess = 401
    while guess == 401:  # who comes from the same address, such as a proxy's, and guesses codes
        guess = (await desk.call("POST", "/v1/session/console", body={"code": "x" * 43}))[0]
    assert guess == 429
    assert await post(sent[3], mine) == 303  # keeps nobody out who was asked


async def test_an_invitation_takes_the_passkeys_away(ring: Keyring) -> None:
    """Who lost them sets a password with an invitation of an admin's: held, told of, and the passkeys are gone."""
    desk, page = ring.desk, ring.page
    name, me = await named(desk, desk.people["operator"]), desk.people["operator"]
    login = {"name": name, "password": PASSWORD}
    session = (await desk.call("POST", "/v1/session", body=login))[1]["token"]
    token = (await desk.call("POST", f"/v1/operators/{me.id}/tokens", Person(me.id, session), {}))[1]["token"]
    await ring.with_password(name)
    await page.wait_for_url("**/you")
    await ring.add()
    await page.get_by_role("button", name="Remove laptop").wait_for()
    session = (await desk.call("POST", "/v1/session", body=login))[1]["token"]
    for shown, status in ((session, 401), (token, 204)):  # a password opened the one, and proves nobody any more
        own = await desk.call("PUT", f"/v1/operators/{me.id}/password", Person(me.id, shown), raw=PASSWORD.encode())
        assert own[0] == status
    assert desk.stand.events("passkey.removed") == []
    invited = await desk.call("POST", f"/v1/operators/{me.id}/tokens", "admin", {"days": 1})
    assert invited[0] == 201
    person = Person(me.id, invited[1]["token"])
    for method, path, body in (
        ("POST", "/v1/passkeys/options", None), ("POST", "/v1/passkeys", {"name": "x", "passkey": "{}"}),
    ):  # fmt: skip
        status, reply = await desk.call(method, path, person, body)
        assert (status, reply["code"]) == (403, "not_in_the_console")
    again = await desk.call("PUT", f"/v1/operators/{me.id}/password", person, raw=PASSWORD.encode())
    assert again[0] == 204
    assert len(desk.stand.events("passkey.removed", "ok")) == 1
    assert "credentials_of_another_issued" in desk.stand.alerts()
    visit = Visit(desk)
    assert (await visit.sign_in("operator")).status == 303


async def test_a_contact_persons_passkey_takes_the_place_of_mailed_codes(ring: Keyring) -> None:
    """At the portal it alone signs in, and no code is mailed; it opens no console; removed, codes do; ended, none."""
    desk, page = ring.desk, ring.page
    one, address = await invited(desk, await desk.stand.client("openai"), name="Ada of Acme"), "ada@keys.example"

    async def add() -> None:
        await page.goto(f"{ring.url}/portal/you")
        await page.get_by_label("What do you call it").fill("phone")
        await page.get_by_role("button", name="Add a passkey").click()
        await page.get_by_role("button", name="Remove phone").wait_for()

    async def with_passkey() -> None:
        await page.context.clear_cookies()
        await page.goto(f"{ring.url}/portal/sign-in")
        await page.get_by_role("button", name=GO).click()

    await page.goto(f"{ring.url}/portal/invitation#{one.invited['token']}", wait_until="commit")
    for name in ("What is your e-mail address?", "What is the code?"):
        await page.get_by_label(name).fill(address if "address" in name else await code_for(address))
        await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Ada of Acme").click()
    await page.get_by_text("None. With one,").wait_for()
    back, seen = Guest(desk), len(POST)
    await back.get("/portal/sign-in")
    await back.send("/portal/sign-in", address=address)
    before = await code_for(address, after=seen)
    await add()
    await ring.look("portal-you")
    assert "passkey_added" in desk.stand.alerts()
    assert (await back.send("/portal/code", address=address, code=before)).status == 401
    seen = len(POST)
    await back.send("/portal/sign-in", address=address)
    for _ in range(400):
        if len(POST) > seen:
            break
        await asyncio.sleep(0.05)
    ((to, _, said),) = POST[seen:]
    assert (to, "You have a passkey there" in said, CODE.search(said)) == (address, True, None)
    assert desk.sql("SELECT count(*) FROM byokeep.api_token WHERE kind = 'mailed' AND revoked_at IS NULL") == "0"
    await with_passkey()
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    assert json.loads(desk.stand.events("session.login", "ok")[-1])["fields"]["kind"] == "portal"
    await page.context.clear_cookies()
    await ring.with_passkey()
    await page.get_by_role("alert").filter(has_text="You are not signed in").wait_for()

    await with_passkey()
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'portal'")
    await page.goto(f"{ring.url}/portal/you")
    await page.get_by_role("button", name="Remove phone").click()
    await page.get_by_role("button", name=GO).click()  # it takes a sign-in of the last 5 minutes
    await page.get_by_role("link", name="Ada of Acme").click()
    await page.get_by_role("button", name="Remove phone").click()
    await page.get_by_text("None. With one,").wait_for()
    seen = len(POST)
    await back.send("/portal/sign-in", address=address)
    assert (await back.send("/portal/code", address=address, code=await code_for(address, after=seen))).status == 303
    await add()
    assert (await desk.call("DELETE", f"/v1/contacts/{one.invited['id']}", "operator"))[0] == 200
    await with_passkey()
    await page.get_by_role("alert").filter(has_text="You are not signed in").wait_for()
    assert [text for text in ring.said if "401" not in text] == []
