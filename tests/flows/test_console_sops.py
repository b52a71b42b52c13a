"""The SOPs and a rotation as an operator does them in the console: Chromium, the keyboard alone, the API's records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from playwright.async_api import BrowserContext

from byokeep.kernel import procedures
from byokeep_sim import SimKeyState
from tests.flows.test_rotation import administered, desk_place, later, one_run
from tests.support.cli import Shell
from tests.support.connect import Office, back
from tests.support.console import HOSTILE, Visit, alike, named, trail
from tests.support.screen import Screen, screen_on
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
    "tests.support.connect",
]  # fmt: skip


def told(desk: Desk, client: str) -> list[str]:
    """What is on record of a client, as the events that its chain holds."""
    return desk.sql(
        f"SELECT event || ' ' || outcome FROM byokeep.audit_record WHERE chain = '{client}'"  # noqa: S608
        " AND event NOT IN ('key.metadata_read', 'key.listed', 'audit.read') ORDER BY seq"
    ).splitlines()


@pytest.mark.req("R5.1-2")
async def test_a_client_and_its_key_with_the_keyboard_alone(screen: Screen) -> None:
    """SOP 5.1 from the first page to its evidence, and the rotation after it, with the records of the API.

    What is typed into the field of a key is on no page afterwards: not when it was refused, not when one goes back.
    """
    page, desk, faults = screen.page, screen.desk, []
    await screen.sign_in("admin")
    await screen.press("Clients", role="link")
    await screen.press("New client", role="link")
    faults += await screen.judged("new-client")
    await screen.write("Name", "Acme Bakery")
    await screen.press("Create the client")
    client = page.url.rpartition("/")[2]
    assert desk.sql(f"SELECT name || ' ' || state FROM byokeep.client WHERE id = '{client}'") == "Acme Bakery active"  # noqa: S608
    await page.context.clear_cookies()

    await screen.sign_in()
    await screen.press("Clients", role="link")
    await screen.press("Acme Bakery", role="link")
    await screen.press("Put a key in", role="link")
    other, first = desk.canary("anthropic"), desk.canary()

    async def brought(value: bytes) -> None:
        await screen.choose("Provider", "openai")
        await screen.write("Key", value.decode())
        assert await page.locator("#value").get_attribute("type") == "password"  # nobody reads along
        async with page.expect_navigation():
            await page.keyboard.press("Enter")

    await brought(other)
    assert "form of a key of anthropic" in await page.get_by_role("alert").inner_text()
    await screen.swept(other)
    faults += await screen.judged("new-key-refused")
    await brought(first)
    await page.get_by_text("being verified").wait_for()
    await screen.swept(other, first)
    await desk.work()
    await screen.press("Look again", role="link")
    await page.get_by_text("Verified: the provider knows the new key").wait_for()
    faults += await screen.judged("key")
    same = await desk.stand.client()
    assert (await desk.put(same, desk.canary()))[0] == 202
    await desk.work()
    mine = told(desk, client)
    assert "key.write rejected" in mine
    assert "client_key_onboarded ok" in mine
    led = [trail(desk, f"chain = '{it}' AND outcome <> 'rejected' AND event ~ '^(key[.]|client_key)'")
           for it in (client, same)]  # fmt: skip
    assert led[0] == led[1]
    since = {it: int(desk.sql(f"SELECT max(seq) FROM byokeep.audit_record WHERE chain = '{it}'"))  # noqa: S608
             for it in (client, same)}  # fmt: skip

    await screen.press("Rotate it", role="link")
    faults += await screen.judged("rotate")
    await screen.reach("radio", "As usual, 24 hours after the cutover")
    await page.keyboard.press("ArrowDown")
    await screen.reach("checkbox", "Cut over without a dry run of the new key")
    await page.keyboard.press("Space")
    await screen.press("Begin the rotation")
    next_step = await page.locator("p", has_text="Next:").inner_text()
    assert next_step.endswith("then add it: Put the new key in.")  # what stands there, and no command
    run = page.url.rpartition("/")[2]
    assert desk.sql(f"SELECT facts->>'grace_s' FROM byokeep.procedure_run WHERE id = '{run}'") == "3600"  # noqa: S608
    await screen.press("Put the new key in", role="link")
    assert "the old key ends: one hour after the cutover." in (await page.inner_text("main")).lower()
    assert await page.get_by_role("radio").count() == 0  # it was chosen when the rotation began
    assert "starts a rotation" not in await page.content()
    second = desk.canary()
    await brought(second)
    await screen.swept(second)
    await page.go_back()
    assert await screen.ask("document.getElementById('value').value") == ""
    await screen.swept(first, second)
    await desk.work()
    await page.goto(f"{screen.url}/console/rotations/{run}")
    faults += await screen.judged("rotation")
    await screen.swept(first, second)
    assert desk.sql(f"SELECT facts->>'grace_s' FROM byokeep.procedure_run WHERE id = '{run}'") == "3600"  # noqa: S608
    assert "the old key ends: one hour after the cutover." in (await page.inner_text("main")).lower()
    serves = f"SELECT version FROM byokeep.credential_ref WHERE client_id = '{client}'"  # noqa: S608
    assert desk.sql(serves) == "2"
    await screen.press("Go back to the old key")
    await desk.work()
    await page.reload()
    assert desk.sql(serves) == "1"
    await page.get_by_text("rolled back").first.wait_for()
    await rolled_back_by_command(desk, same)
    led = [trail(desk, f"chain = '{it}' AND seq > {seq} AND event !~ '^(job|lease)[.]'") for it, seq in since.items()]
    assert [pair for pair in zip(*led, strict=True) if pair[0] != pair[1]] == []
    assert [one for one in led[0] if '"stage": "cutover"' in one and '"grace_s": 3600' in one]  # the overlap chosen
    assert [one.partition(" [")[0] for one in led[0]].count("key.pinned ok") == 2  # there, and back
    await page.goto(f"{screen.url}/console/clients/{client}")
    await screen.press("openai", role="link")
    await screen.press("It leaked", role="link")
    await page.get_by_text("A rotation that revokes first begins").wait_for()
    faults += await screen.judged("leaked")
    assert desk.sql(serves.replace("version", "state")) == "active"  # looked at, and no more
    await screen.press("It leaked: stop and revoke it now")
    assert desk.sql(serves.replace("version", "state")) == "suspended"
    await desk.work()
    await page.reload()
    await page.get_by_text("Revoke the leaked key").wait_for()
    step = page.get_by_role("listitem").filter(has_text="The old key is revoked")
    assert (await step.get_by_text("done", exact=True).count(), await step.get_by_text("waits").count() > 0) == (
        0,
        True,
    )
    leaked_run = page.url
    await screen.press("go through its steps", role="link")
    assert await page.locator(f'a[href$="{leaked_run.rpartition("/")[2]}"]').count() == 1
    await page.goto(f"{screen.url}/console/clients/{client}")
    await screen.press("openai", role="link")
    assert "Verified: the provider knows" not in await page.inner_text("main")
    await screen.press("Go on with its rotation", role="link")
    assert page.url == leaked_run
    assert "key_leak_suspected" in desk.stand.alerts()
    shown = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
    assert (shown["ended"], [one["step"] for one in shown["steps"]]) == ("rolled_back", [])
    await unreachable_is_not_invalid(desk)
    await side_ways_of_a_rotation(desk)
    assert faults == []
    assert [one for one in screen.said if "422" not in one] == []


async def test_a_rotation_to_the_proved_end_of_the_old_key(screen: Screen, tmp_path: Path) -> None:
    """Begun, brought, verified, cut over, waited for, revoked, proved dead: by keyboard, and with the command.

    The records are the same, and so is the signed evidence, which the page hands out.
    """
    page, desk, faults = screen.page, screen.desk, []
    mine, theirs = [await desk.stand.client() for _ in range(2)]
    old = [desk.canary() for _ in range(2)]
    refs = [(await desk.onboard(it, value))["ref"] for it, value in zip((mine, theirs), old, strict=True)]
    since = {it: int(desk.sql(f"SELECT max(seq) FROM byokeep.audit_record WHERE chain = '{it}'"))  # noqa: S608
             for it in (mine, theirs)}  # fmt: skip
    for who in ("operator", "auditor"):
        await named(desk, desk.people[who])  # a new password ends the token that there was
        (tmp_path / f"{who}.token").touch(mode=0o600)
        (tmp_path / f"{who}.token").write_text(desk.people[who].token)

    async def shell(*words: str, who: str = "operator", stdin: bytes | None = None) -> Any:
        token = tmp_path / f"{who}.token"
        url = screen.url.replace("localhost", "127.0.0.1")  # a command takes no name for this machine
        ran = await Shell(tmp_path).run(*words, "--json", "--url", url, token=token, stdin=stdin)
        assert ran.code == 0, ran.said
        return ran.document if ran.out else None

    def serves(it: UUID) -> str:
        return desk.sql(f"SELECT version || ' ' || state FROM byokeep.credential_ref WHERE client_id = '{it}'")  # noqa: S608

    await screen.sign_in()
    await page.goto(f"{screen.url}/console/keys/{refs[0]}")
    await screen.press("Rotate it", role="link")
    await screen.press("Begin the rotation")
    at = page.url
    run = at.rpartition("/")[2]
    await screen.press("Put the new key in", role="link")
    new = desk.canary()
    await screen.choose("Provider", "openai")
    await screen.write("Key", new.decode())
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    other = (await shell("rotate", "start", refs[1]))["id"]
    await shell("key", "add", str(theirs), "openai", "--no-wait", stdin=desk.canary())
    await desk.work()

    async def steps(*buttons: str) -> list[str]:
        """What is done, next or waits, after these buttons were pressed and the workers went on."""
        for button in buttons:
            await page.goto(at)
            await screen.press(button)
            accepts = ("--accept", button.removeprefix("Accept: ").replace(" ", "_")) if ":" in button else ()
            await shell("rotate", "resume", other, *accepts)
            await desk.work()
        await page.goto(at)
        return [" ".join(await one.locator("strong, .tag").all_inner_texts())
                for one in await page.locator(".step").all()]  # fmt: skip

    assert (await steps())[:3] == [
        "The new key is brought done", "The new key is verified done", "Dry run with the new key waits",
    ]  # fmt: skip
    assert [serves(it) for it in (mine, theirs)] == ["1 active"] * 2
    assert (await steps("Accept: not rehearsed"))[3:5] == ["Jobs get the new key done", "Old and new side by side next"]
    assert "its time" in await page.locator("dl.facts").inner_text()
    assert [serves(it) for it in (mine, theirs)] == ["2 active"] * 2
    faults += await screen.judged("rotation-overlap")
    later(desk)  # the overlap is over
    for one in (run, other):
        await procedures.wake(desk.worker, await one_run(desk, one))
    await desk.work()
    assert (await steps())[4] == "Old and new side by side waits"
    assert (await steps("Accept: soak unknown"))[5] == "The old key is revoked waits"
    told_so = await steps("Accept: revoke by hand")  # nobody did: what a person says is not believed
    assert told_so[5:7] == ["The old key is revoked done", "The old key is proved dead waits"]
    for value in old:
        desk.sim.book.keys.put("openai", value.decode(), SimKeyState.REVOKED, None)
    assert [one for one in await steps("Go on") if not one.endswith(" done")] == ["Dry run with the new key skipped"]
    by = await page.get_by_role("listitem").filter(has_text="Dry run with the new key").inner_text()
    assert f"by {await named(desk, desk.people['operator'])}" in by  # who accepted it
    assert "replaced" in await page.locator("h1").inner_text()
    assert "old key alive" in await page.inner_text("table")
    faults += await screen.judged("rotation-complete")
    for it in (mine, theirs):
        assert await desk.web.intake.live_versions(desk_place(it)) == [2]
    await page.get_by_text("Whose ids are in it").click()
    ids = await page.locator("details dl").inner_text()
    assert desk.sql(f"SELECT object_id FROM byokeep.procedure_run WHERE id = '{run}'") in ids  # noqa: S608
    assert await named(desk, desk.people["operator"]) in ids
    await screen.reach("button", "Get its signed evidence")
    async with page.expect_download() as download:
        await page.keyboard.press("Enter")
    assert (await download.value).suggested_filename == f"evidence-{run}.json"
    reader = Visit(desk)  # this browser keeps no file
    await reader.sign_in("operator")
    await reader.get(f"/console/rotations/{run}")
    (tmp_path / "mine.json").write_text((await reader.send("/console/audit/evidence", run=run)).raw)
    for name in ("theirs.json", "again.json"):
        await shell("evidence", "export", other, str(tmp_path / name))
    await shell("audit", "keys", str(tmp_path / "keys.txt"), who="auditor")
    proved = [await shell("evidence", "verify", str(tmp_path / f"{whose}.json"), "--keys", str(tmp_path / "keys.txt"))
              for whose in ("mine", "theirs")]  # fmt: skip
    about = [it["procedure"] | {"items": list(it["procedure"]["items"])} for it in proved]
    assert [it["sop"] for it in about] == [run, other]
    assert alike(about[0]) == alike(about[1])
    led = [trail(desk, f"chain = '{it}' AND seq > {seq} AND event !~ '^(job|lease)[.]'") for it, seq in since.items()]
    assert [pair for pair in zip(*led, strict=True) if pair[0] != pair[1]] == []
    happened = [one.partition(" {")[0] for one in led[0]]
    for event in ("key.pinned", "key.verified", "key.rotation", "procedure.stepped", "evidence.signed"):
        assert any(one.startswith(event) for one in happened), (event, happened)
    assert faults == []


async def rolled_back_by_command(desk: Desk, client: UUID) -> None:
    """A rotation begun, brought, cut over and taken back, as the commands send it."""
    ref = (await desk.call("GET", f"/v1/clients/{client}/refs", "operator"))[1]["refs"][0]["id"]
    wish = {"old_ends": "1h", "skip_rehearsal": True}
    status, begun = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", wish)
    assert status == 201, begun
    assert (await desk.put(client, desk.canary()))[0] == 202
    await desk.work()
    assert (await desk.call("POST", f"/v1/rotations/{begun['id']}/rollback", "operator"))[0] == 200
    await desk.work()


@dataclass
class Ways:
    """Two clients of one provider: whose key is rotated on the pages, and whose with the calls of the commands."""

    desk: Desk
    visit: Visit
    provider: str
    clients: list[UUID]
    old: list[bytes]
    refs: list[str]
    since: list[str]
    runs: list[str]

    async def begin(self, **wish: str) -> None:
        """Begin both, and let the workers go on; the form of the pages has the names of the call."""
        shown = await self.visit.get(f"/console/keys/{self.refs[0]}/rotate")
        assert ('name="mint"' in shown.raw) == ("mint" in wish), self.provider
        begun = await self.visit.send(f"/console/keys/{self.refs[0]}/rotate", **wish)
        said = {name: text if name == "old_ends" else True for name, text in wish.items()}
        status, other = await self.desk.call("POST", f"/v1/refs/{self.refs[1]}/rotations", "operator", said)
        assert (begun.status, status) == (303, 201), (begun.text, other)
        self.runs = [begun.at.rpartition("/")[2], other["id"]]
        await self.desk.work()

    async def bring(self, *, account: str = "acme", **wish: str) -> None:
        """Bring both their new keys."""
        form = f"/console/clients/{self.clients[0]}/new-key"
        await self.visit.get(f"{form}?provider={self.provider}")
        values = [self.desk.canary(self.provider, account=account) for _ in range(2)]
        taken = await self.visit.send(form, provider=self.provider, value=values[0].decode(), **wish)
        query = "?skip_rehearsal=true" if wish else ""
        status, other = await self.desk.put(self.clients[1], values[1], self.provider, query=query)
        assert (taken.status, status) == (303, 202), (taken.text, other)
        [mine] = self.desk.sql(
            f"SELECT id FROM byokeep.procedure_run WHERE client_id = '{self.clients[0]}'"  # noqa: S608
            " AND procedure LIKE 'rotate%' AND closed_at IS NULL"
        ).split()
        self.runs = [mine, other["rotation"]]
        await self.desk.work()

    async def shown(self) -> str:
        """The page of the rotation."""
        return (await self.visit.get(f"/console/rotations/{self.runs[0]}")).raw

    async def go_on(self, accept: str = "") -> None:
        """Resume both; a button for what is accepted stands on the page."""
        button = f"Accept: {accept.replace('_', ' ')}" if accept else ">Go on<"
        assert button in await self.shown()
        at = f"/console/rotations/{self.runs[0]}"
        assert (await self.visit.send(at, act="resume", accept=accept)).status == 303
        path = f"/v1/rotations/{self.runs[1]}/resume"
        assert (await self.desk.call("POST", path, "operator", {"accept": accept}))[0] == 200
        await self.desk.work()

    async def end(self, *stages: str) -> None:
        """Both went the same way, field by field, by these stages."""
        led = [trail(self.desk, f"chain = '{it}' AND seq > {seq} AND event !~ '^(job|lease)[.]'")
               for it, seq in zip(self.clients, self.since, strict=True)]  # fmt: skip
        assert [pair for pair in zip(*led, strict=True) if pair[0] != pair[1]] == []
        assert [one for one in stages if not any(f'"stage": "{one}"' in it for it in led[0])] == []


async def side_ways_of_a_rotation(desk: Desk) -> None:
    """A worker makes the key; its successor ends it; it is another account's; it leaked, and a person ended it.

    Each is begun, continued and accepted on its pages, with the records of the commands.
    """
    visit = Visit(desk)
    await visit.sign_in("operator")

    async def ways(provider: str, *, managed: bool = False) -> Ways:
        clients = [await desk.stand.client() for _ in range(2)]
        old = [desk.canary(provider) for _ in clients]
        refs = [(await desk.onboard(it, value, provider))["ref"] for it, value in zip(clients, old, strict=True)]
        for client in clients if managed else ():
            await administered(desk, client, provider)
        since = [desk.sql(f"SELECT max(seq) FROM byokeep.audit_record WHERE chain = '{it}'") for it in clients]  # noqa: S608
        return Ways(desk, visit, provider, clients, old, refs, since, [])

    one = await ways("openrouter", managed=True)
    await one.begin(old_ends="now", skip_rehearsal="yes", mint="yes")
    assert "replaced" in await one.shown()
    await one.end("create", "cutover", "revoke", "prove_dead")

    one = await ways("heygen")
    assert "making a new key ends the old one" in (await visit.get(f"/console/keys/{one.refs[0]}/rotate")).text
    await one.begin()
    shown = await one.shown()
    assert ("Put the new key in" in shown, "The old key ends" in shown) == (True, False)
    for value in one.old:
        desk.sim.book.keys.put("heygen", value.decode(), SimKeyState.REVOKED, None)
    await one.bring()
    assert "replaced" in await one.shown()
    await one.end("stop", "cutover", "serve")

    one = await ways("openai")
    await one.bring(account="other", old_ends="", skip_rehearsal="yes")
    assert "Put another key in" in await one.shown()
    await one.go_on("other_account")
    shown = await one.shown()
    assert ("Old and new side by side" in shown, "/new-key" in shown) == (True, False)  # it takes no other key now
    await one.end("accept", "verify", "cutover")

    one = await ways("openrouter")
    shown = (await visit.get(f"/console/keys/{one.refs[0]}/rotate?leaked=1")).text
    assert "No job gets it from now on" in shown
    begun = await visit.send(f"/console/keys/{one.refs[0]}/rotate", leaked="yes")
    status, other = await desk.call("POST", f"/v1/refs/{one.refs[1]}/rotations", "operator", {"leaked": True})
    assert (begun.status, status) == (303, 201)
    one.runs = [begun.at.rpartition("/")[2], other["id"]]
    await desk.work()
    assert "/new-key" not in await one.shown()  # it is ended first
    await one.go_on("revoke_by_hand")
    assert "Put the new key in" in await one.shown()
    await one.bring()
    for value in one.old:
        desk.sim.book.keys.put("openrouter", value.decode(), SimKeyState.REVOKED, None)
    await one.go_on()
    assert "replaced" in await one.shown()
    await one.end("stop", "accept", "revoke", "serve", "prove_dead")


async def unreachable_is_not_invalid(desk: Desk) -> None:
    """A provider that is down refuses no key; what is done with a key and its client then is done as over the API."""
    operator, admin = Visit(desk), Visit(desk)
    await operator.sign_in("operator")
    await admin.sign_in("admin")
    mine, theirs = await desk.stand.client(), await desk.stand.client()
    await admin.get(f"/console/clients/{mine}")
    await operator.get(f"/console/clients/{mine}/new-key")
    desk.sim.faults.add({"provider": "openai", "kind": "status", "status": 503, "times": 99})
    given = {"provider": "openai", "value": desk.canary().decode(), "old_ends": ""}
    taken = await operator.send(f"/console/clients/{mine}/new-key", **given)
    assert taken.status == 303, taken.text
    await desk.work()
    waits = (await operator.get(taken.at)).text
    assert "The provider is down: attempt 2 of" in waits
    await desk.retry_now()
    told_so = (await operator.get(taken.at)).text
    assert "Nobody could tell yet whether version 1 is good: provider down." in told_so
    assert "was refused" not in waits + told_so
    desk.sim.faults.clear()
    key = taken.at.partition("?")[0]
    again = await operator.send(key, to="verify", reason="")
    await desk.work()
    assert "Verified: the provider knows the new key" in (await operator.get(again.at)).text

    other = (await desk.onboard(theirs))["ref"]
    before = len(told(desk, str(mine))), len(told(desk, str(theirs)))
    for to, answers in (
        ("suspended", 303),
        ("active", 303),
        ("deactivated", 303),
        ("active", 422),
        ("compromised", 303),
    ):
        assert (await operator.send(key, to=to, reason="a_test")).status == answers, to
        status, _ = await desk.call("POST", f"/v1/refs/{other}/state", "operator", {"to": to, "reason": "a_test"})
        assert status == (200 if answers == 303 else answers), to
    page = await operator.get(key)
    assert "If it is not ended at openai, end it there now: https://" in page.text
    assert "Verified: the provider" not in page.text
    assert "/console/incidents/" in page.raw
    assert "It never serves again" in (await operator.get(f"/console/keys/{other}/rotate?leaked=1")).text
    for act in ("suspend", "resume"):
        assert (await operator.send(f"/console/clients/{mine}", act=act)).status == 403
        assert (await desk.call("POST", f"/v1/clients/{theirs}/{act}", "operator"))[0] == 403
        assert (await admin.send(f"/console/clients/{mine}", act=act)).status == 303
        assert (await desk.call("POST", f"/v1/clients/{theirs}/{act}", "admin"))[0] == 200
    done = told(desk, str(mine))[before[0] :]
    assert {"key.state_changed ok", "client.suspended ok", "client.resumed ok"} <= set(done)
    assert done == told(desk, str(theirs))[before[1] :]
    third = await desk.stand.client()
    await desk.onboard(third)
    run = (await desk.put(third, desk.canary(state="revoked")))[1]["rotation"]
    await desk.work()
    stopped = await operator.get(f"/console/rotations/{run}")
    assert "The provider does not know the new key" in stopped.text
    assert f'/console/clients/{third}/new-key?provider=openai"' in stopped.raw  # where another one is put in
    assert "byokeep key add" not in stopped.text
    form = (await operator.get(f"/console/clients/{third}/new-key")).raw
    assert ('<a href="?provider=openai">' in form, "<option>openai" in form) == (True, False)
    given |= {"value": desk.canary().decode(), "old_ends": "now"}  # of a form that was open when the rotation began
    assert (await operator.send(f"/console/clients/{third}/new-key", **given)).status == 303
    kept = f"SELECT facts->>'grace_s' || ' ' || (facts->>'version') FROM byokeep.procedure_run WHERE id = '{run}'"  # noqa: S608
    assert desk.sql(kept) == "86400 3"


async def test_an_account_and_its_profile_with_the_keyboard_alone(
    office: Office, axe: str, context: BrowserContext
) -> None:
    """SOP 5.2 and the beginning of 5.3: a wrong account beside the expected one, then the right one, then disconnected.

    Neither the code nor what binds the answer is on a page afterwards.
    """
    desk, faults = office.desk, []
    await office.set_apps("x")
    client = await office.client()
    async with screen_on(desk, axe, context) as screen:
        page, root = screen.page, f"/console/clients/{client}"
        await screen.sign_in()
        await page.goto(screen.url + root)
        await screen.press("Add an account", role="link")
        faults += await screen.judged("new-account")

        async def consented(account: str) -> None:
            faults.extend(await screen.judged(f"consent-{account}"))
            out = page.get_by_role("link", name="Go to the platform, in a new tab")
            said = await office.consent(str(await out.get_attribute("href")), "x", account)
            await screen.write("The address", f"{back('x')}?{urlencode(said)}")
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await screen.swept(said["code"].encode().rjust(48, b"-"))
            assert await office.finish() == 1, await page.inner_text("main")
            await page.reload()

        await screen.choose("Login", "X")
        await screen.write("Our name for the account", "acme")
        await screen.press("Begin the consent")
        await screen.write("The address", "http://127.0.0.1:8431/x?state=wrong&code=abc")
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        assert "wrong state" in await page.get_by_role("alert").inner_text()
        await page.goto(f"{screen.url}{root}/new-account")
        await screen.choose("Login", "X")
        await screen.write("Our name for the account", "acme")
        await screen.press("Begin the consent")
        await consented("acme")
        await page.get_by_text("Connected.").wait_for()
        mine = told(desk, str(client))
        begun = f"chain = '{client}' AND event = 'connection.started' AND outcome = 'ok'"
        since = desk.sql(f"SELECT max(seq) FROM byokeep.audit_record WHERE {begun}")  # noqa: S608
        led = trail(desk, f"chain = '{client}' AND seq > {since} AND event !~ '^(job|lease)[.]'")
        await screen.press("See the account", role="link")
        faults += await screen.judged("account")
        await screen.press("Connect it again")
        await consented("bravo")
        await page.get_by_text("Who was expected, and who answered").wait_for()
        faults += await screen.judged("other-account")
        other = page.url.rpartition("/")[2]
        await page.goto(f"{screen.url}{root}")
        await screen.press("acme", role="link")
        await screen.press("Make a browser profile")
        faults += await screen.judged("profile")
        assert "A person logs in once: Open a browser to log in." in await page.inner_text("main")
        await screen.press("Open a browser to log in")
        await screen.press("End this work")
        assert desk.sql("SELECT state FROM byokeep.profile_work") == "cancelled"
        faults += await screen.look("profiles", f"{root}/profiles")
        await desk.stand.job(client)
        faults += await screen.look("jobs", f"{root}/jobs")
        await page.goto(f"{screen.url}{root}/accounts/x/acme")
        await screen.press("Disconnect it")
        await page.get_by_text("disconnecting").first.wait_for()
        evil = [f"{number} {name}" for number, name in enumerate(HOSTILE) if name.isascii()]
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in evil)
        desk.sql(f"UPDATE byokeep.connection SET offered = ARRAY[{quoted}]")  # noqa: S608
        desk.sql(f"UPDATE byokeep.platform_account SET username = (ARRAY[{quoted}])[1]")  # noqa: S608
        faults += await screen.look("consent-hostile", f"{root}/consents/{other}")
        assert "<script>document" in await page.inner_text("main")
        assert await page.title() != "run"
        assert {"platform_connected ok", "tokens.stored ok", "account.verified ok"} <= set(mine)
        there = await office.client()
        await office.connected(there, "x", account="bravo")
        theirs = trail(desk, f"chain = '{there}' AND event !~ '^(job|lease)[.]'")
        assert [pair for pair in zip(led, theirs[-len(led) :], strict=True) if pair[0] != pair[1]] == []
        await registered_by_hand(office)
        assert faults == []
        assert [one for one in screen.said if "422" not in one] == []


async def registered_by_hand(office: Office) -> None:
    """SOP 5.2 where there is no consent page: what the form registers is on record as what the command registers."""
    desk, visit = office.desk, Visit(office.desk)
    await visit.sign_in("operator")
    mine, theirs = [await office.client() for _ in range(2)]
    given = {"platform": "skool", "account": "acme-community", "username": "acme", "display_name": "Acme Ltd"}
    await visit.get(f"/console/clients/{mine}/new-account")
    wrong = await visit.send(f"/console/clients/{mine}/new-account", **given | {"account": "no such name"})
    assert (wrong.status, 'value="Acme Ltd"' in wrong.raw) == (422, True)  # what was typed is not lost
    made = await visit.send(f"/console/clients/{mine}/new-account", **given)
    assert (made.status, "registered by hand" in (await visit.get(made.at)).text) == (303, True)
    path = f"/v1/clients/{theirs}/accounts"
    assert (await desk.call("POST", path, "operator", given | {"account": "no such name"}))[0] == 422
    assert (await desk.call("POST", path, "operator", given))[0] == 201
    led = [trail(desk, f"chain = '{it}' AND event LIKE 'account.%'") for it in (mine, theirs)]
    assert led[0] == led[1]
    assert [one.partition(" [")[0] for one in led[0]] == ["account.registered rejected", "account.registered ok"]
    desk.sql("UPDATE byokeep.account_grant SET reauth_at = now() + interval '3 days' WHERE state = 'live'")
    due = (await visit.get("/console/due?kind=oauth")).raw.partition("<tbody")[2]
    leads = re.findall(r'<td[^>]*><a href="(/console/clients/[^"]+/accounts/[^"]+)">', due)
    assert leads
    assert {(await visit.get(one)).status for one in leads} == {200}
