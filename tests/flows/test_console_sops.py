"""The SOPs and a rotation as an operator does them in the console: Chromium, the keyboard alone, the API's records."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.support.connect import Office, back
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
    await screen.press("Rotate it", role="link")
    await screen.press("It leaked: stop and revoke it now")
    assert desk.sql(serves.replace("version", "state")) == "suspended"
    assert "key_leak_suspected" in desk.stand.alerts()
    shown = (await desk.call("GET", f"/v1/rotations/{run}", "operator"))[1]
    assert (shown["ended"], [one["step"] for one in shown["steps"]]) == ("rolled_back", [])
    assert faults == []
    assert [one for one in screen.said if "422" not in one] == []


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
        await screen.press("See the account", role="link")
        faults += await screen.judged("account")
        await screen.press("Connect it again")
        await consented("bravo")
        await page.get_by_text("Who was expected, and who answered").wait_for()
        faults += await screen.judged("other-account")
        await page.goto(f"{screen.url}{root}")
        await screen.press("acme", role="link")
        await screen.press("Make a browser profile")
        faults += await screen.judged("profile")
        await screen.press("Open a browser to log in")
        await screen.press("End this work")
        assert desk.sql("SELECT state FROM byokeep.profile_work") == "cancelled"
        faults += await screen.look("profiles", f"{root}/profiles")
        await desk.stand.job(client)
        faults += await screen.look("jobs", f"{root}/jobs")
        await page.goto(f"{screen.url}{root}/accounts/x/acme")
        await screen.press("Disconnect it")
        await page.get_by_text("disconnecting").first.wait_for()
        mine = told(desk, str(client))
        assert {"platform_connected ok", "tokens.stored ok", "account.verified ok"} <= set(mine)
        assert faults == []
        assert [one for one in screen.said if "422" not in one] == []
