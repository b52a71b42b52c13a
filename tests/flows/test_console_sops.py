"""The SOPs and a rotation as an operator does them in the console: Chromium, the keyboard alone, the API's records."""

from __future__ import annotations

import pytest

from tests.support.screen import Screen
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
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
