"""The SOPs and a rotation as an operator does them in the console: Chromium, the keyboard alone, the API's records."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.support.connect import Office, back
from tests.support.console import HOSTILE, Visit
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
    assert "There is a key of openai already" in await page.content()
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


async def test_an_account_and_its_profile_with_the_keyboard_alone(office: Office, axe: str) -> None:
    """SOP 5.2 and the beginning of 5.3: a wrong account beside the expected one, then the right one, then disconnected.

    Neither the code nor what binds the answer is on a page afterwards.
    """
    desk, faults = office.desk, []
    await office.set_apps("x")
    client = await office.client()
    async with screen_on(desk, axe) as screen:
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
