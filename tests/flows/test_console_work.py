"""Incidents, break glass, checklists, backups and the calendar, by keyboard alone in Chromium; what is on record."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import pytest
from playwright.async_api import Page

from byokeep.core.events import EventName, Outcome
from byokeep.core.next_steps import of_alert
from byokeep.core.reenable import Event, IdentityChecked, Reauthorised, ScopesChecked
from byokeep.jobs import reenabling
from byokeep.kernel import procedures
from byokeep.kernel.command import raise_alert, record
from byokeep.kernel.probes import ProbeOutcome, ok
from byokeep.operations import checklist, checks
from byokeep.operations.checks import Checklist
from tests.flows.test_incidents import asked, stepped
from tests.flows.test_rotation import administered
from tests.flows.test_vault_incident import Way
from tests.support.cli import Shell
from tests.support.connected import Account, connect
from tests.support.console import HOSTILE, Visit, alike, trail
from tests.support.screen import Screen
from tests.support.vault import Vault, vault_on
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("nobody_counts")


def said(desk: Desk, event: str, outcome: str = "ok") -> list[dict[str, object]]:
    """What records of an event say, in order."""
    return [json.loads(text)["fields"] for text in desk.stand.events(event, outcome)]


async def nothing_ran(screen: Screen) -> None:
    """Nothing that was shown ran or was refused by the pages' own policy."""
    assert await screen.page.title() != "run"
    assert [one for one in screen.said if "Security Policy" in one or "Trusted" in one] == []


async def logged_in(screen: Screen, vault: Vault, profile: UUID) -> None:
    """The rest of SOP 5.3: a browser at a worker, who is logged in there as a person sees it, and the seal."""
    await screen.page.goto(f"{screen.url}/console/profiles/{profile}")
    vault.script.session = secrets.token_bytes(30_000)
    await screen.press("Open a browser to log in")
    work = UUID(vault.sql(f"SELECT id FROM byokeep.profile_work WHERE profile_id = '{profile}' AND ended_at IS NULL"))
    doing = asyncio.create_task(vault.do(profile, work))
    await vault.until(profile, work, "waiting")
    await screen.press("Look again", role="link")
    for platform, seen in vault.seen(profile).items():
        await screen.write(f"User name or id that {platform} shows", seen)
    await screen.press("Confirm and seal")
    assert await doing == "sealed"


async def profiles_led_to_the_end(screen: Screen, vault: Vault, client: UUID, approver: Visit) -> list[str]:
    """Runbook 7.3 of a client whose lanes are stopped, to its close and the release of both lanes, as two people."""
    page, desk, faults = screen.page, screen.desk, []
    vault.script.ends = {"tiktok": "unsupported"}
    old = await vault.create(client, "x", "tiktok")
    await logged_in(screen, vault, old)
    await page.reload()
    await screen.press("Prove it")
    work = UUID(vault.sql(f"SELECT id FROM byokeep.profile_work WHERE profile_id = '{old}' AND ended_at IS NULL"))
    assert await vault.do(old, work) == "valid"
    await page.reload()
    assert "Proved\nyes" in await page.locator("dl.facts").inner_text()
    faults += await screen.judged("profile-proved")
    await page.goto(f"{screen.url}/console/incidents/new?client={client}")
    await screen.choose("Why", "suspected leak")
    await screen.press("Open it for these profiles")
    faults += await screen.judged("vault")
    where = page.url.removeprefix(screen.url)
    way = Way(vault, {"incident": where.rpartition("/")[2]})
    await screen.press("See that it is off")
    await screen.press("End the sessions")
    assert await way.works("logout") == ["not_all_revoked"]
    await page.goto(screen.url + where)
    faults += await screen.judged("vault-by-hand")
    await screen.press(f"I ended it there: the session at tiktok of {str(old)[:8]}")
    await approver.get(where)
    refused = [(await approver.send(f"{where}/vault", act=act, profile="", platform="")).status
               for act in ("recreated", "closed", "destroy", "x")]  # fmt: skip
    assert refused == [403, 409, 409, 422]
    await screen.press("Make the new profiles")
    new = UUID(vault.sql(f"SELECT id FROM byokeep.profile WHERE client_id = '{client}' AND id <> '{old}'"))
    await logged_in(screen, vault, new)
    await page.goto(screen.url + where)
    await screen.press("Make the new profiles")
    await screen.press("Mark the old keys compromised")
    await screen.sits_down("approver", where)
    await screen.press("Approve that the old profiles are destroyed")
    assert await way.works("shred") == ["shredded"]
    await screen.sits_down("operator", where)
    await screen.press("Mark the old keys compromised")
    await screen.press("Prove them")
    assert await way.works("validate") == ["valid"]
    await page.goto(screen.url + where)
    await screen.press("Prove them")
    faults += await screen.judged("vault-proved")
    await page.goto(f"{screen.url}/console/kill")
    for _ in ("api", "browser"):
        await screen.write("Why it may go on, as a code", "cause_removed")
        await screen.press("Ask for the release")
    await screen.sits_down("approver", where)
    await screen.press("Close it")
    assert await page.locator(".step.is-done").count() == 6
    for _ in ("api", "browser"):
        await page.goto(f"{screen.url}/console/kill")
        await screen.press("Release")
        await page.get_by_text("is released.").wait_for()
    assert desk.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"
    await screen.sits_down("operator", where)
    await told_and_closed(screen)
    there = await vault.client()
    their_incident = await led_by_command(vault, there)
    lines = [await on_record(desk, it) for it in (way.id, their_incident)]
    assert lines[0] == lines[1]
    assert lines[0][-1].startswith("incident.closed ")
    ours = "'^(vault_incident[.]|profile[.]|dek[.]|account[.]lanes|switch[.]open)'"
    mine, theirs = (trail(desk, f"chain = '{it}' AND outcome IN ('ok', 'intended') AND event ~ {ours}")
                    for it in (client, there))  # fmt: skip
    assert [pair for pair in zip(mine, theirs, strict=True) if pair[0] != pair[1]] == []
    happened = {one.partition(" [")[0] for one in mine}
    assert {"vault_incident.closed ok", "switch.opened ok", "profile.shredded ok"} <= happened
    return faults


async def on_record(desk: Desk, incident: str) -> list[str]:
    """What was done about an incident, field by field."""
    found = (await desk.call("GET", f"/v1/incidents/{incident}/timeline", "operator"))[1]["records"]
    return [f"{it['event']} {alike(it['said'] | {'version': ''})}" for it in found
            if it["outcome"] == "ok" and it["event"] != "audit.read"]  # fmt: skip


async def told_and_closed(screen: Screen) -> None:
    """The postmortem of the incident that is shown, and its end."""
    await screen.write("Where the postmortem is: an https address or a number", "OPS-77")
    await screen.press("Save it")
    await screen.press("Close the incident")
    assert "closed" in await screen.page.locator("h1").inner_text()


async def led_by_command(vault: Vault, client: UUID) -> str:
    """The same over the API, as the commands send it; returns the incident."""
    old = await vault.create(client, "x", "tiktok")
    assert await vault.log_in(old) == "sealed"
    assert await vault.done(old, "validate") == "valid"
    way = Way(vault, (await vault.call("POST", "/v1/vault-incidents", {"cause": "suspected_leak",
                                                                      "client_id": str(client)}))[1])  # fmt: skip
    lanes = [{"client_id": str(client), "lane": lane} for lane in ("api", "browser")]
    for lane in lanes:
        await way.lane(**lane)
    await way.must("lane-off", "lane_off")
    await way.must("sessions", "lane_off")
    await way.works("logout")
    await way.must("sessions/end", "sessions_ended", body={"profile": str(old), "platform": "tiktok"})
    await way.must("recreate", "sessions_ended")
    assert await vault.log_in(UUID(way.items[0]["new_profile"])) == "sealed"
    await way.must("recreate", "recreated")
    await way.must("rekey", "recreated")
    await way.must("approve", "recreated", "approver")
    await way.works("shred")
    await way.must("rekey", "rekeyed")
    await way.must("validate", "rekeyed")
    await way.works("validate")
    await way.must("validate", "validated")
    wishes = [(await vault.desk.stand.call("POST", "/v1/switches/open-requests", "operator",
                                           lane | {"reason": "cause_removed"}))[1]["id"] for lane in lanes]  # fmt: skip
    await way.must("close", "closed", "approver")
    for wish in wishes:
        path = f"/v1/switches/open-requests/{wish}/approve"
        assert (await vault.desk.stand.call("POST", path, "approver"))[0] == 200
    await asked(vault.desk, f"/{way.id}/postmortem", {"reference": "OPS-77"})
    await asked(vault.desk, f"/{way.id}/close")
    return way.id


async def test_a_leaked_key_is_led_from_opening_to_close(screen: Screen) -> None:
    """Opened, stopped, rotated, reported, told and closed by keyboard; each step on record as the command has it."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client()
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    await administered(desk, client, "openrouter")
    await screen.sign_in()
    await screen.press("Incidents", role="link")
    faults += await screen.judged("incidents-empty")
    await screen.press("Open an incident", role="link")
    await screen.choose("Client", desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'"))
    await screen.press("Show what it may be about")
    await screen.choose("What happened, or may have", "suspected leak")
    await screen.choose("About", "key openrouter")
    await screen.write("How many hours ago it may have begun", "30")
    faults += await screen.judged("incident-new")
    await screen.press("Open it")
    await page.get_by_text("Playbook: provider key leaked").wait_for()
    one = page.url.rpartition("/")[2]
    assert await page.get_by_role("button", name="Begin the rotation").count() == 0  # the next step alone has a form
    other = Visit(desk)
    await other.sign_in("operator")
    await other.get(f"/console/incidents/{one}")
    early = await other.send(f"/console/incidents/{one}/step", step="rotate", accept_gaps="", ticket="")
    assert (early.status, "step out of order" in early.text) == (409, True)
    await screen.press("Stop it now")
    assert desk.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "2"
    await screen.press("Begin the rotation")
    assert (await desk.ref(ref))["state"] == "suspended"
    await desk.work()  # the old key is revoked first
    await page.goto(f"{screen.url}/console/clients/{client}/new-key?provider=openrouter")
    await screen.write("Key", desk.canary("openrouter").decode())
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await desk.work()
    await page.goto(f"{screen.url}/console/incidents/{one}")
    await screen.press("Pass with this report")
    await page.get_by_text("report missing").wait_for()
    await screen.press("Back", role="link")
    await screen.press("Make the report")
    await page.get_by_text("It is not complete").wait_for()
    assert "not known" in await page.locator("#report dl div", has_text="Uses").inner_text()  # no zero
    faults += await screen.judged("incident-report")
    saved = await other.send(f"/console/incidents/{one}/report", hours="24", save="1")
    assert saved.headers["Content-Disposition"].startswith("attachment")
    signed = json.loads(saved.raw)
    assert signed["payloadType"]
    await screen.reach("checkbox", "I accept what the newest report does not know, on record")
    await page.keyboard.press("Space")
    await screen.press("Pass with this report")
    await screen.write("Where the ticket is: its number or address", "OPS-1234")
    await screen.press("Tell the ticket")
    await screen.press("It is written")
    await page.get_by_text("postmortem missing").wait_for()
    await screen.press("Back", role="link")
    await screen.write("Where the postmortem is: an https address or a number", "https://wiki.example.com/pm/12")
    await screen.press("Save it")
    await screen.press("It is written")
    await screen.press("Close the incident")
    await page.get_by_text("playbook not done").wait_for()
    await screen.press("Back", role="link")
    await screen.press("List every record that names it", role="link")
    assert [it["stage"] for it in said(desk, "incident.stepped")] == [
        "kill",
        "rotate",
        "report",
        "ticket",
        "postmortem",
    ]
    assert [it["stage"] for it in said(desk, "incident.changed")] == ["report_gaps", "postmortem"]
    assert desk.sql(f"SELECT ticket FROM byokeep.incident WHERE id = '{one}'") == "OPS-1234"
    await screen.choose("Severity", "P3")
    await screen.press("Set it")
    await page.get_by_text("Lower it to P3").wait_for()
    await screen.press("Incidents", role="link")
    faults += await screen.judged("incidents")
    await desk.work()
    approver = Visit(desk)
    await approver.sign_in("approver")
    assert "Lower it to P3" in (await approver.get(f"/console/incidents/{one}")).text
    run = desk.sql("SELECT id FROM byokeep.procedure_run WHERE procedure = 'lower_severity'")
    approved = await approver.send("/console/approvals", kind="step", id=run)
    assert approved.status == 303, approved.text
    await desk.work()
    assert desk.sql(f"SELECT severity FROM byokeep.incident WHERE id = '{one}'") == "P3"
    async with vault_on(desk) as vault:
        faults += await profiles_led_to_the_end(screen, vault, client, approver)
    await screen.sits_down("operator", f"/console/incidents/{one}")
    await screen.press("It is released")
    await screen.press("Close the incident")
    assert "closed" in await page.locator("h1").inner_text()
    stages = [it["stage"] for it in said(desk, "incident.stepped")]
    assert stages[-1] == "release"
    there = await desk.stand.client()
    ways = ((client, one), (there, await leak_led_by_command(desk, there)))
    lines = []
    for whose, incident in ways:
        lines.append(await on_record(desk, incident))
        lines.append(trail(desk, f"chain = '{whose}' AND outcome IN ('ok', 'intended')"
                                 " AND event ~ '^(key|switch|exposure)[._]'"))  # fmt: skip
    assert lines[0] == lines[2]
    assert lines[1] == lines[3]
    everybody = await other.send("/console/incidents/vault", client="", cause="drill")
    assert (everybody.status, "Choose whose" in everybody.text) == (422, True)
    evil = " ".join(HOSTILE)[:300].replace("'", "''")
    desk.sql(f"UPDATE byokeep.incident SET ticket = '{evil}', postmortem = '{evil}'")
    faults += await screen.look("incident-hostile", f"/console/incidents/{one}?records=1")
    assert "<script>document" in await page.inner_text("main")
    await page.set_viewport_size({"width": 768, "height": 800})
    await page.goto(f"{screen.url}/console/clients/{client}")
    wide = await screen.ask("[...document.querySelectorAll('.wide')].map(one => one.scrollWidth - one.clientWidth)")
    await page.goto(f"{screen.url}/console/alerts")  # what is said of each is no thin column
    said_in = await screen.ask("document.querySelector('.what').clientWidth > 350")
    assert (str(wide).strip("[0, ]"), said_in) == ("", True)
    await page.goto(f"{screen.url}/console/incidents/{one}?records=1")
    assert await page.get_by_role("cell", name="Incident opened").count() == 1  # in words, as on the page of a key
    assert faults == []
    await nothing_ran(screen)


async def leak_led_by_command(desk: Desk, client: UUID) -> str:
    """Runbook 7.1 over the API, as the commands send it, step by step as the keyboard did; returns the incident."""
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    await administered(desk, client, "openrouter")
    about = {"kind": "suspected_leak", "object_kind": "key", "object": ref, "client_id": str(client)}
    began = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
    one = str((await asked(desk, "", about | {"began_at": began}, expect=201))["id"])
    lanes = [{"client_id": str(client), "lane": lane} for lane in ("api", "browser")]
    for lane in lanes:
        body = lane | {"reason": "suspected_leak"}
        assert (await desk.call("POST", "/v1/switches/close", "operator", body))[0] == 200
    await stepped(desk, one, "kill")
    await stepped(desk, one, "rotate")
    await desk.work()
    assert (await desk.put(client, desk.canary("openrouter"), "openrouter"))[0] == 202
    await desk.work()
    for hours in (None, 24):
        since = {} if hours is None else {"since": (datetime.now(UTC) - timedelta(hours=hours)).isoformat()}
        body = {"incident_id": one, "ref_id": ref} | since
        assert (await desk.call("POST", "/v1/exposure", "operator", body))[0] == 200
    await stepped(desk, one, "report", accept_gaps=True)
    await stepped(desk, one, "ticket", ticket="OPS-1234")
    await asked(desk, f"/{one}/postmortem", {"reference": "https://wiki.example.com/pm/12"})
    await stepped(desk, one, "postmortem")
    await asked(desk, f"/{one}/severity", {"severity": "P3"})
    await desk.work()
    run = desk.sql(
        "SELECT id FROM byokeep.procedure_run WHERE procedure = 'lower_severity' ORDER BY started_at"
    ).split()
    assert (await desk.call("POST", f"/v1/procedures/{run[-1]}/approve", "approver"))[0] == 200
    await desk.work()
    path = "/v1/switches/open-requests"
    wishes = [
        (await desk.call("POST", path, "operator", lane | {"reason": "cause_removed"}))[1]["id"] for lane in lanes
    ]
    for wish in wishes:
        assert (await desk.call("POST", f"{path}/{wish}/approve", "approver"))[0] == 200
    await stepped(desk, one, "release")
    await asked(desk, f"/{one}/close")
    return one


async def test_a_lost_token_is_led_back_with_the_canary_of_two(desk: Desk) -> None:
    """The pages close the platform, show how far it is, and let another person than who asked begin the canary."""
    account = await connect(desk.stand, await desk.stand.client())
    operator, approver = Visit(desk), Visit(desk)
    await operator.sign_in("operator")
    await approver.sign_in("approver")
    form = await operator.get("/console/incidents/new?kind=lockout")
    given = {"kind": "lockout", "client": str(account.client), "about": "", "severity": "", "hours": "31"}
    refused = await operator.send("/console/incidents/new", **given)
    assert (refused.status, "Give the account that it is about: <strong>About</strong>." in refused.text) == (422, True)
    assert "--account" not in refused.text
    form = await operator.send("/console/incidents/new", show="1", **given)
    for page in (refused, form):  # nothing that was chosen is lost
        assert (f'value="{account.client}" selected' in page.raw, 'value="31"' in page.raw) == (True, True)
    assert desk.sql("SELECT count(*) FROM byokeep.incident") == "0"
    assert f'value="account:{account.id}"' in form.raw
    opened = await operator.send("/console/incidents/new", kind="lockout", client=str(account.client), hours="",
                                 about=f"account:{account.id}", severity="")  # fmt: skip
    assert opened.status == 303, opened.text
    page = opened.at

    async def step(name: str) -> int:
        await operator.get(page)
        return (await operator.send(f"{page}/step", step=name, accept_gaps="", ticket="")).status

    assert await step("validate") == 409
    assert await step("close") == 303
    assert "x, closed" in (await operator.get(page)).text
    for name, events in (
        ("reauth", (Reauthorised(by_person=True),)), ("validate", (IdentityChecked(True), ScopesChecked(frozenset()))),
    ):  # fmt: skip
        assert await step(name) == 409
        async with desk.stand.app.db.begin(client_id=account.client) as tx:
            for event in events:
                await reenabling.step(tx, desk.stand.app, desk.stand.app.system(), account.client, "x", event)
        assert await step(name) == 303
    asked = await operator.send(f"{page}/canary", reason="access_is_ours_again")
    assert asked.status == 303, asked.text
    assert "Let the canary begin" not in (await operator.get(page)).text
    theirs = await approver.get(page)
    found = re.search(r'action="[^"]+/let-canary">.*?name="id" value="([^"]+)"', theirs.raw)
    assert found is not None, theirs.text
    begun = await approver.send(f"{page}/let-canary", id=found[1])
    assert begun.status == 303, begun.text
    assert await step("canary") == 303
    assert re.search(r"x, canary: 0 of \d+ acts of stage 1 of \d", (await operator.get(page)).text)
    stages = [it["stage"] for it in said(desk, "incident.stepped")]
    assert stages == ["close", "reauth", "validate", "canary"]
    assert re.search(r"Lockout of \S.* is not dealt with", (await operator.get("/console")).text)
    runner = desk.people["runner"].id
    name = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{runner}'").replace(" ", "%20")
    look = "/console/revocations?look=1&reason=leak&provider=openai&runner="
    assert f'name="runner" type="text" maxlength="120" value="{runner}"' in (await operator.get(look + name)).raw
    nobody = await operator.get(look + "nobody")
    assert (nobody.status, "No one machine is called that" in nobody.text) == (422, True)


async def account_led_back(screen: Screen) -> None:
    """Runbook 7.2 by keyboard, as two people, and over the API as the commands send it: the records are the same."""
    page, desk = screen.page, screen.desk
    mine, theirs = [await connect(desk.stand, await desk.stand.client()) for _ in range(2)]
    way = {"reauth": (Reauthorised(by_person=True),), "validate": (IdentityChecked(True), ScopesChecked(frozenset()))}
    buttons = {"reauth": "It is connected again", "validate": "They were compared"}

    async def comes(of: Account, *events: Event) -> None:
        async with desk.stand.app.db.begin(client_id=of.client) as tx:
            for event in events:
                await reenabling.step(tx, desk.stand.app, desk.stand.app.system(), of.client, "x", event)

    def is_open(of: Account) -> None:
        desk.sql(f"UPDATE byokeep.reenabling SET stage = 'open' WHERE client_id = '{of.client}'")

    await screen.sits_down("operator", f"/console/incidents/new?client={mine.client}")
    await screen.choose("What happened, or may have", "lockout")
    await screen.choose("About", "account x")
    await screen.press("Open it")
    at = page.url.removeprefix(screen.url)
    await screen.press("Close it now")
    for name, events in way.items():
        await comes(mine, *events)
        await screen.press(buttons[name])
    await screen.write("Why, as a code", "access_is_ours_again")
    await screen.press("Ask for the canary")
    await screen.sits_down("approver", at)
    await screen.press("Let the canary begin")
    await screen.sits_down("operator", at)
    await screen.press("It has begun")
    is_open(mine)
    await screen.press("It is open again")
    await told_and_closed(screen)

    about = {"kind": "lockout", "client_id": str(theirs.client), "object_kind": "account", "object": str(theirs.id)}
    one = (await asked(desk, "", about, expect=201))["id"]
    of = {"client_id": str(theirs.client), "platform": "x"}
    assert (await desk.call("POST", "/v1/platforms/close", "operator", of | {"cause": "lockout"}))[0] == 200
    await stepped(desk, one, "close")
    for name, events in way.items():
        await comes(theirs, *events)
        await stepped(desk, one, name)
    path = "/v1/platforms/canary-requests"
    wish = (await desk.call("POST", path, "operator", of | {"reason": "access_is_ours_again"}))[1]["id"]
    assert (await desk.call("POST", f"{path}/{wish}/approve", "approver"))[0] == 200
    await stepped(desk, one, "canary")
    is_open(theirs)
    await stepped(desk, one, "reopen")
    await asked(desk, f"/{one}/postmortem", {"reference": "OPS-77"})
    await asked(desk, f"/{one}/close")
    lines = [await on_record(desk, it) for it in (at.rpartition("/")[2], str(one))]
    assert lines[0] == lines[1]
    assert lines[0][-1].startswith("incident.closed ")
    led = [trail(desk, f"chain = '{it.client}' AND event LIKE 'platform.%'") for it in (mine, theirs)]
    assert led[0] == led[1]
    assert len(led[0]) > 4  # the close, the login, both comparisons, the canary


async def test_break_glass_is_asked_for_approved_ended_and_reviewed(screen: Screen) -> None:
    """To its close by keyboard, as two people; the page shows the holder the command, and no token anywhere.

    What is on record is what the command line's way leaves.
    """
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client("openai")
    await desk.onboard(client)
    await screen.sign_in()
    faults += await screen.look("glass-empty", "/console/break-glass")
    assert await page.get_by_label("Client").first.input_value() == ""  # whose secrets, a person says
    name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")
    await screen.choose("Client", name)
    await screen.choose("What", "openai")
    await screen.write("Reason, as a code", "runner_down")
    await screen.write("Ticket", "INC-42")
    await screen.press("Ask for it")
    one = page.url.rpartition("/")[2]
    at = f"/console/break-glass/{one}"
    own = Visit(desk)
    await own.sign_in("operator")
    await own.get(at)
    refused = await own.send(at, act="approve")
    assert (refused.status, "You may not do this" in refused.text) == (403, True)
    approver = Visit(desk)
    await approver.sign_in("approver")
    assert "breakglass open" not in (await approver.get(at)).text
    early = await approver.send(at, act="close")
    leads = '<a class="button" href="/console/break-glass">Go to break glass</a>'  # where its command's work is done
    assert (early.status, early.raw.count(leads)) == (409, 1)
    await screen.sits_down("approver", at)
    await screen.press("Approve")
    assert "breakglass open" not in await page.inner_text("main")  # the holder's alone
    await screen.sits_down("operator", at)
    assert f"byokeep breakglass open {one} --save glass.json" in await page.inner_text("main")
    faults += await screen.judged("glass-approved")
    status, opened = await desk.call("POST", f"/v1/breakglass/{one}/open", "operator")  # what the command sends
    assert status == 200, opened
    await page.reload()
    await page.get_by_text("End it as soon as it is done").wait_for()
    faults += await screen.judged("glass-open")
    assert opened["wrapping_token"] not in await page.content()
    await screen.press("End it now")
    await page.get_by_role("heading", name="Review", exact=True).wait_for()
    faults += await screen.judged("glass-review")
    faults += await screen.look("glass", "/console/break-glass")
    assert await page.get_by_role("button", name="Ask for it").count() == 0  # the review comes before the next use
    await screen.press("Go on with it", role="link")
    await screen.press("I have looked at all of it")
    await page.get_by_role("heading", name="Close", exact=True).wait_for()
    assert await page.get_by_role("button", name="Close it").count() == 0  # another person closes it
    await screen.sits_down("approver", at)
    await screen.press("Close it")
    assert "Closed" in await page.locator("dl.facts").inner_text()
    asked = {"client_id": str(client), "scope": "openai", "reason": "runner_down", "ticket": "INC-42", "life_s": 900}
    other = (await desk.call("POST", "/v1/breakglass", "operator", asked))[1]["id"]
    for act, who in (("approve", "approver"), ("open", "operator"), ("revoke", "operator"), ("review", "operator"),
                     ("close", "approver")):  # fmt: skip
        body = {} if act == "review" else None
        assert (await desk.call("POST", f"/v1/breakglass/{other}/{act}", who, body))[0] == 200, act
    on_record = [
        desk.sql(f"SELECT event || ' ' || outcome FROM byokeep.audit_record WHERE object_id = '{grant}'"
                 " AND outcome IN ('ok', 'intended') ORDER BY seq") for grant in (one, other)
    ]  # fmt: skip
    assert on_record[0] == on_record[1]
    assert on_record[0].endswith("breakglass.reviewed ok\nbreakglass.closed ok")
    await glass_denied(screen, client)
    await stopped_and_let_go(screen, client)
    assert faults == []
    await nothing_ran(screen)


async def glass_denied(screen: Screen, client: UUID) -> None:
    """A request is denied by an approver, among the approvals and on its page, and taken back: as the commands do."""
    page, desk, grants = screen.page, screen.desk, []
    name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")
    what = f"Let a person read the openai secrets of {name} for 15 minutes: runner down, ticket inc-43"
    for who, place, no in (
        ("approver", "/console/approvals", f"Deny: {what}"), ("approver", "", "Deny"), ("operator", "", "Take it back"),
    ):  # fmt: skip
        await screen.sits_down("operator", "/console/break-glass")
        await screen.choose("Client", name)
        await screen.choose("What", "openai")
        await screen.write("Reason, as a code", "runner_down")
        await screen.write("Ticket", "INC-43")
        await screen.press("Ask for it")
        grants.append(page.url.rpartition("/")[2])
        if who == "approver":
            await screen.sits_down(who, place or f"/console/break-glass/{grants[-1]}")
        await screen.press(no)
        assert page.url.endswith(f"/console/break-glass/{grants[-1]}")
        assert "denied" in await page.locator("h1").inner_text()
        assert "By nobody." in await page.inner_text("main")
    await page.goto(f"{screen.url}/console/approvals")
    await page.get_by_text("Nothing waits for a second person").wait_for()
    asked = {"client_id": str(client), "scope": "openai", "reason": "runner_down", "ticket": "INC-43", "life_s": 900}
    theirs = []
    for who in ("approver", "approver", "operator"):
        theirs.append((await desk.call("POST", "/v1/breakglass", "operator", asked))[1]["id"])
        assert (await desk.call("POST", f"/v1/breakglass/{theirs[-1]}/deny", who))[1]["status"] == "denied"
    for mine, other in zip(grants, theirs, strict=True):
        led = [trail(desk, f"object_id = '{it}'") for it in (mine, other)]
        assert led[0] == led[1]
        assert [one.partition(" [")[0] for one in led[0] if one.startswith("breakglass")] == [
            "breakglass.requested ok", "breakglass.denied ok",
        ]  # fmt: skip


async def stopped_and_let_go(screen: Screen, client: UUID) -> None:
    """A client is stopped; a release that nobody approves in time lapses, the next one is let: as the commands do.

    Nobody says no to a release: whoever does not want it lets it lapse.
    """
    page, desk = screen.page, screen.desk
    other = await desk.stand.client("openai")
    since = {it: int(desk.sql(f"SELECT coalesce(max(seq), 0) FROM byokeep.audit_record WHERE chain = '{it}'"))
             for it in (client, other)}  # fmt: skip
    lapse = "UPDATE byokeep.approval SET expires_at = now() WHERE action = 'open_switch' AND used_at IS NULL"

    async def asks() -> None:
        await screen.sits_down("operator", "/console/kill")
        await screen.write("Why it may go on, as a code", "cause_removed")
        await screen.press("Ask for the release")
        await page.get_by_text("It lapses at").wait_for()
        assert await page.get_by_role("button", name="Release").count() == 0  # another person's
        await screen.sits_down("approver", "/console/kill")

    await screen.sits_down("operator", "/console/kill")
    await screen.choose("Client", desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'"))
    await screen.press("See what it would stop")
    assert desk.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"  # looked at, and no more
    await screen.write("Reason, as a code", "suspected_leak")
    await screen.press("Stop now")
    await page.get_by_text("The store is cut off, too.").wait_for()
    await asks()
    desk.sql(lapse)
    await screen.press("Release")
    await page.get_by_text("approval expired").wait_for()
    await page.goto(f"{screen.url}/console/kill")
    await page.get_by_text("An approver, once it is asked for").wait_for()
    assert desk.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "1"
    await asks()
    await screen.press("Release")
    await page.get_by_text("Nothing else is stopped.").wait_for()
    assert desk.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"

    of, path = {"client_id": str(other)}, "/v1/switches/open-requests"
    for in_time in (False, True):
        if not in_time:
            assert (await desk.call("POST", "/v1/switches/close", "operator", of | {"reason": "suspected_leak"}))[
                0
            ] == 200
        wish = (await desk.call("POST", path, "operator", of | {"reason": "cause_removed"}))[1]["id"]
        if not in_time:
            desk.sql(lapse)
        assert (await desk.call("POST", f"{path}/{wish}/approve", "approver"))[0] == (200 if in_time else 403)
    led = [trail(desk, f"chain = '{it}' AND seq > {seq}") for it, seq in since.items()]
    assert led[0] == led[1]
    assert [one.partition(" [")[0] for one in led[0] if one.startswith("switch.open")] == [
        "switch.open_requested ok", "switch.opened denied",
        "switch.open_requested ok", "switch.opened intended", "switch.opened ok",
    ]  # fmt: skip


async def test_many_are_revoked_at_once_with_a_proof_of_each(screen: Screen) -> None:
    """By keyboard: what it would cut off is named before, each item has its record, what is left is settled by hand."""
    page, desk, faults = screen.page, screen.desk, []
    clients = [await desk.stand.client() for _ in range(2)]
    refs = [(await desk.onboard(client))["ref"] for client in clients]
    await desk.stand.job(clients[0])
    await screen.sign_in()
    await page.goto(f"{screen.url}/console/revocations")
    await screen.choose("Provider or platform", "openai")
    await screen.write("Reason, as a code", "provider_breached")
    await screen.press("See what it would revoke")
    assert "Revoke 2 keys and accounts?" in await page.inner_text("main")
    faults += await screen.judged("revocations-look")
    assert [(await desk.ref(ref))["state"] for ref in refs] == ["active", "active"]  # nothing is done by looking
    late = (await desk.onboard(await desk.stand.client()))["ref"]  # given out after the look
    await screen.press("Revoke all of it now")
    await page.get_by_text("Look again, then revoke").wait_for()
    assert [(await desk.ref(ref))["state"] for ref in (*refs, late)] == ["active"] * 3
    desk.sql(f"UPDATE byokeep.credential_ref SET state = 'deactivated' WHERE id = '{late}'")
    await page.go_back()
    await screen.press("Revoke all of it now")
    await page.get_by_text("0 of 2 are ended at their providers").wait_for()
    assert [(await desk.ref(ref))["state"] for ref in refs] == ["compromised", "compromised"]
    changed = [it["reason"] for it in said(desk, "key.state_changed") if it["state_to"] == "compromised"]
    assert changed == ["provider_breached"] * 2
    await desk.work()
    await page.reload()
    faults += await screen.judged("revocation")
    status, told = await desk.call("GET", f"/v1/mass-revocations/{page.url.rpartition('/')[2]}", "operator")
    assert status == 200
    shown = await page.locator("tbody tr").all_inner_texts()
    for item in told["items"]:
        assert any(f"record {item['seq']}" in row and item["client_name"] in row for row in shown), item
    left = [item for item in told["items"] if item["state"] != "revoked"]
    assert len(left) == 2  # these clients gave no administrator's key
    aged = "UPDATE byokeep.api_token SET created_at = clock_timestamp() - interval '{} minutes' WHERE kind = 'console'"
    at = page.url
    desk.sql(aged.format(6))
    await screen.press(f"I ended it there, in all its versions: openai of {left[0]['client_name']}, version 1")
    await page.get_by_text("Prove that it is you").first.wait_for()  # a word on record is no stop
    desk.sql(aged.format(0))
    await page.goto(at)
    for item in left:
        await screen.press(f"I ended it there, in all its versions: openai of {item['client_name']}, version 1")
    await page.get_by_text("2 of 2 are ended at their providers").wait_for()
    await screen.press("Mass revocations", role="link")
    faults += await screen.judged("revocations")
    await account_led_back(screen)
    assert faults == []
    await nothing_ran(screen)


async def test_what_comes_round_is_looked_at_and_signed(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checklist is signed as it was seen, with its tickets; backups, drills and the month show what is on record."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client("openai")
    await desk.onboard(client)
    desk.sql("UPDATE byokeep.credential_ref SET created_at = now() - interval '99 days',"
             " rotation_due_at = now() - interval '9 days'")  # fmt: skip
    await screen.sign_in()
    for name, path in (("recovery-empty", "/recovery"), ("drills-empty", "/recovery?show=drills"),
                       ("restores-empty", "/recovery?show=restores")):  # fmt: skip
        faults += await screen.look(name, f"/console{path}")
    app, drill, backup = desk.stand.app, uuid4(), uuid4()
    about = app.installation_id
    async with app.db.begin(every_client=True) as tx:
        for event, outcome, fields in (
            (EventName.BACKUP_CREATED, Outcome.OK,
             {"backup": str(backup), "digest": "b" * 64, "size": 5_000_000, "count": 7}),
            (EventName.DRILL_COMPLETED, Outcome.INTENDED, {"drill": str(uuid4()), "seed": 7}),
            (EventName.DRILL_COMPLETED, Outcome.INTENDED, {"drill": str(drill), "seed": 7}),
            (EventName.DRILL_COMPLETED, Outcome.FAILED,
             {"drill": str(drill), "digest": "d" * 64, "seed": 7, "rto_s": 754, "stage": "verify_clients",
              "reason": "key_not_there"}),
        ):  # fmt: skip
            await record(tx, app.system(), event, fields, outcome=outcome, object_id=about)
    faults += await screen.look("recovery", "/console/recovery")
    [row] = await page.locator("section + nav + .wide tbody tr").all_inner_texts()
    assert "never" in row
    assert str(backup) in row
    await screen.press("Recovery drills, 2", role="link")
    faults += await screen.judged("drills")
    rows = await page.locator("nav + .wide tbody tr").all_inner_texts()
    assert "at verify clients: key not there" in rows[0]
    assert "0 h 12 min 34 s" in rows[0]
    assert "it does not count" in rows[1]
    await page.locator("nav + .wide tbody tr a").first.click()
    faults += await screen.judged("drill")
    steps = [text.split("\n")[0] for text in await page.locator(".step").all_inner_texts()]
    proved = ["Restore passed", "References passed", "Clients failed"]
    assert steps == [*proved, "No effect not run", "Break glass not run"]
    assert "key not there" in await page.locator(".step.is-stopped").inner_text()
    await page.goto(f"{screen.url}/console/recovery?show=drills")
    await page.locator("nav + .wide tbody tr a").nth(1).click()
    assert "only the host knows" in await page.inner_text("main")
    assert await page.locator(".step.is-done").count() == 0
    faults += await screen.look("due-month", "/console/due/month")
    assert "overdue or without a date" in await page.inner_text("main")
    assert "openai" in await page.inner_text(".danger")  # whatever the month
    later = (datetime.now(UTC).replace(day=15) + timedelta(days=62)).strftime("%Y-%m")
    await page.goto(f"{screen.url}/console/due/month?month={later}")
    assert "openai" in await page.inner_text(".danger")
    await page.goto(f"{screen.url}/console/due/month?month={later}&kind=profile")
    assert "Nothing of that is due in" in await page.inner_text("main")
    assert await page.locator(".month .some").count() == 0
    await screen.press("Checklists", role="link")
    faults += await screen.judged("checklists")
    await screen.press("Go through the weekly checklist", role="link")
    faults += await screen.judged("checklist-ask")
    assert said(desk, "checklist.shown") == []  # a page that shows asks nothing, and leaves no record
    await screen.press("Check them now")
    faults += await screen.judged("checklist")
    bad = [box async for box in _tickets(page)]
    assert bad
    for number, label in enumerate(bad):
        await screen.write(label, f"OPS-{number}")
    await page.emulate_media(media="print")
    assert not await page.get_by_role("button", name="Sign it off").is_visible()
    await page.emulate_media(media="screen")
    desk.sql("UPDATE byokeep.credential_ref SET rotation_due_at = now() - interval '8 days'")
    await screen.press("Sign it off")
    await page.get_by_text("checklist changed").wait_for()
    await page.goto(f"{screen.url}/console/checklists/weekly")
    await screen.press("Check them now")
    for number, label in enumerate(bad):
        await screen.write(label, f"OPS-{number}")
    await screen.press("Sign it off")
    await page.get_by_text("It was signed off").wait_for()
    faults += await screen.judged("checklist-signed")
    signed = said(desk, "checklist.signed")
    assert [(it["checklist"], it["failed"]) for it in signed] == [("weekly", len(bad))]
    tickets = {it["ticket"] for it in said(desk, "checklist.ticked") if it.get("ticket")}
    assert tickets == {f"ops-{number}" for number in range(len(bad))}
    asked = await page.locator("#signed").inner_text()  # what was signed, with its tickets and digest
    await page.goto(f"{screen.url}/console/checklists")
    await page.get_by_role("row").filter(has_text="signed").get_by_role("link").click()
    await screen.press("Check them now")
    await page.get_by_text("How it stands now").first.wait_for()
    assert await page.get_by_role("button", name="Sign it off").count() == 0
    assert len(said(desk, "checklist.shown")) == 3
    for then in (asked, await page.locator("#signed").inner_text()):
        assert all(f"ops-{number}" in then for number in range(len(bad)))
        assert said(desk, "checklist.signed")[0]["digest"] in then
    await signed_like_the_command(screen, client, tmp_path, monkeypatch)
    faults += await restored(screen, client, str(backup))
    assert faults == []
    await nothing_ran(screen)


async def signed_like_the_command(screen: Screen, client: UUID, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other two checklists by keyboard, then all three with the command for an earlier day: the same records."""
    page, desk = screen.page, screen.desk

    def well(name: str) -> Callable[[checks.ChecklistLook], Awaitable[ProbeOutcome]]:
        return AsyncMock(return_value=ok(name))

    daily = [replace(one, probe=well(one.name)) if one.name in ("vault", "audit_devices", "disk") else one
             for one in checks.CHECKS[Checklist.DAILY]]  # fmt: skip
    monkeypatch.setitem(checks.CHECKS, Checklist.DAILY, daily)  # what this machine's load would answer differently
    for kind in ("daily", "monthly"):
        await page.goto(f"{screen.url}/console/checklists")
        await screen.press(f"Go through the {kind} checklist", role="link")
        await screen.press("Check them now")
        bad = [box async for box in _tickets(page)]
        assert bad, await page.inner_text("main")
        for label in bad:
            await screen.write(label, f"OPS-{bad.index(label)}")
        await screen.press("Sign it off")
        await page.get_by_text("It was signed off").wait_for()
    then = desk.sql("SELECT clock_timestamp()")
    await desk.onboard(client, provider="google")  # what there is to review of the client, and of the platform
    desk.stand.subject("runner", "of later")
    of = checklist.period_of
    monkeypatch.setattr(checklist, "period_of", lambda kind, now: of(kind, now - timedelta(days=40)))
    (token := place / "operator.token").touch(mode=0o600)
    token.write_text(desk.people["operator"].token)
    for kind in Checklist:
        asked = ("--json", "--url", screen.url.replace("localhost", "127.0.0.1"))
        found = (await Shell(place).run("checklist", kind, *asked, token=token)).document
        assert "items" in found, found
        names = [one["name"] for one in found["items"] if one["state"] != "ok"]
        slips = [word for at, name in enumerate(names) for word in ("--ticket", f"{name}=OPS-{at}")]
        ran = await Shell(place).run("checklist", "sign", kind, "--seen", found["digest"], *slips, *asked, token=token)
        assert ran.code == 0, ran.said
    about = ", ".join(f"'{checks.object_of(desk.web.installation_id, kind)}'" for kind in Checklist)
    mine, theirs = ([re.sub(r'(access.reviewed.*"count": )\d+', r"\1", one)  # once all since the set-up is new
                     for one in trail(desk, f"object_id IN ({about}) AND outcome = 'ok' AND at {when} '{then}'")]
                    for when in ("<=", ">"))  # fmt: skip
    assert sorted(set(mine)) == sorted(set(theirs))  # the weekly one was looked at more than once
    for event, count in (("access.reviewed", 2), ("checklist.shown", 3), ("checklist.signed", 3),
                         ("checklist.ticked", sum(map(len, checks.CHECKS.values())))):  # fmt: skip
        assert sum(one.startswith(event) for one in theirs) == count, event
        assert sum(one.startswith(event) for one in mine) == count or event == "checklist.shown"


async def restored(screen: Screen, client: UUID, backup: str) -> list[str]:
    """A restore stands with its record, who let it go, and what it left open: an alert, a request to destroy."""
    page, desk, app = screen.page, screen.desk, screen.desk.stand.app
    left = {"backup": backup, "epoch": 3, "count": 1, "found": 2}
    async with app.db.begin(client_id=client) as tx:
        run = await procedures.insert_run(tx, app, app.system(), app.procedures["purge_orphans"], client_id=client,
                                     object_id=uuid4(), facts={"provider": "openai", "version_7": 7})  # fmt: skip
    async with app.db.begin(every_client=True) as tx:
        await record(tx, app.system(), EventName.BACKUP_RESTORED, left, object_id=app.installation_id)
    await raise_alert(app, reason="restore_to_do", key="backup/restore_to_do", severity="critical")
    assert (await desk.call("POST", "/v1/switches/close", "operator", {"reason": "restored"}))[0] == 200
    await screen.sits_down("operator", "/console/recovery")
    await screen.press("Restores, 1", role="link")
    faults = await screen.judged("restores")
    steps, text = page.locator(".step"), await page.inner_text("main")
    assert [await steps.nth(at).locator(".tag").inner_text() for at in (0, 1)] == ["done", "next"]
    seq = desk.sql("SELECT seq FROM byokeep.audit_record WHERE event = 'backup.restored'")
    assert f"Proved by record {seq}," in await steps.nth(0).inner_text()
    for told_so in (backup, "Restore to do: " + of_alert("restore_to_do").replace("`", "")):
        assert told_so in text, told_so
    assert await page.locator(f'a[href="/console/procedures/{run.id}"]').count() == 1
    await screen.press("Go to the kill switch", role="link")
    await screen.write("Why it may go on, as a code", "worked_through")
    await screen.press("Ask for the release")
    wish = (await desk.call("GET", "/v1/switches", "approver"))[1]["requests"][0]["id"]
    assert (await desk.call("POST", f"/v1/switches/open-requests/{wish}/approve", "approver"))[0] == 200
    await page.goto(f"{screen.url}/console/recovery?show=restores")
    seq = desk.sql("SELECT max(seq) FROM byokeep.audit_record WHERE event = 'switch.opened' AND outcome = 'ok'")
    assert f"Proved by record {seq}," in await steps.nth(1).inner_text()
    return faults


async def _tickets(page: Page) -> AsyncIterator[str]:
    """The labels of the fields for tickets."""
    for box in await page.locator("label[for^=ticket-]").all():
        yield await box.inner_text()
