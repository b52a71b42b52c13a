"""The SOPs and a rotation as an operator does them in the console: Chromium, the keyboard alone, the API's records."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from playwright.async_api import BrowserContext

from byokeep.kernel import procedures
from byokeep_sim import SimKeyState
from tests.flows.test_rotation import desk_place, later, one_run
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
    mine, theirs = told(desk, client), told(desk, str(same))
    assert "key.write rejected" in mine
    assert [one for one in mine if one.startswith("key.") and "rejected" not in one] == [
        one for one in theirs if one.startswith("key.")
    ]
    assert "client_key_onboarded ok" in mine

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
        theirs = told(desk, str(there))
        begun = "connection.started ok"
        assert mine[len(mine) - mine[::-1].index(begun) :] == theirs[theirs.index(begun) + 1 :]
        assert faults == []
        assert [one for one in screen.said if "422" not in one] == []
