"""Incidents, break glass, checklists, backups and the calendar, by keyboard alone in Chromium; what is on record."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from playwright.async_api import Page

from byokeep.core.events import EventName, Outcome
from byokeep.core.reenable import IdentityChecked, Reauthorised, ScopesChecked
from byokeep.jobs import reenabling
from byokeep.kernel.record import record
from tests.support.connected import connect
from tests.support.console import HOSTILE, Visit
from tests.support.profiles import put_profile
from tests.support.screen import Screen
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


async def test_a_leaked_key_is_led_from_opening_to_close(screen: Screen) -> None:
    """Opened, stopped, rotated, reported, told and closed by keyboard; each step on record as the command has it."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client()
    ref = (await desk.onboard(client, provider="openrouter"))["ref"]
    await screen.sign_in()
    await screen.press("Incidents", role="link")
    faults += await screen.judged("incidents-empty")
    await screen.press("Open an incident", role="link")
    await screen.choose("Client", desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'"))
    await screen.press("Show what it may be about")
    await screen.choose("What happened, or may have", "suspected leak")
    await screen.choose("About", "key openrouter")
    await screen.write("Since how many hours it may have been so", "30")
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
    await screen.write("Where the postmortem stands: an https address or a number", "https://wiki.example.com/pm/12")
    await screen.press("Keep it")
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
    put_profile(desk.stand, client, desk.stand.account(client))
    await page.goto(f"{screen.url}/console/incidents/new?client={client}")
    await screen.press("Open it for these profiles")
    faults += await screen.judged("vault")
    await screen.press("See that it is off")
    await page.get_by_role("button", name="End the sessions").wait_for()
    await screen.press("End the sessions")
    await page.get_by_text("wait for worker").wait_for()
    where = page.url.removeprefix(screen.url)
    desk.sql("UPDATE byokeep.profile_incident_item SET session = 'unsupported'")
    await page.goto(screen.url + where)
    faults += await screen.judged("vault-by-hand")
    await page.get_by_role("button", name="I ended it there: the session at").click()
    await page.get_by_role("button", name="Make the new profiles").wait_for()
    assert [it["stage"] for it in said(desk, "vault_incident.stepped")][-2:] == ["lane_off", "sessions_ended"]
    await approver.get(where)
    refused = [(await approver.send(f"{where}/vault", act=act, profile="", platform="")).status
               for act in ("recreated", "closed", "destroy", "x")]  # fmt: skip
    assert refused == [403, 409, 409, 422]
    everybody = await other.send("/console/incidents/vault", client="", cause="drill")
    assert (everybody.status, "Choose whose" in everybody.text) == (422, True)
    evil = " ".join(HOSTILE)[:300].replace("'", "''")
    desk.sql(f"UPDATE byokeep.incident SET ticket = '{evil}', postmortem = '{evil}'")
    faults += await screen.look("incident-hostile", f"/console/incidents/{one}?records=1")
    assert "<script>document" in await page.inner_text("main")
    assert faults == []
    await nothing_ran(screen)


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


async def test_break_glass_is_asked_for_approved_and_ended(screen: Screen) -> None:
    """Asked for by keyboard, approved by another; the page shows the holder the command, and no token anywhere."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client("openai")
    await desk.onboard(client)
    await screen.sign_in()
    faults += await screen.look("glass-empty", "/console/break-glass")
    await screen.choose("What", "openai")
    await screen.write("Reason, as a code", "runner_down")
    await screen.write("Ticket", "INC-42")
    await screen.press("Ask for it")
    one = page.url.rpartition("/")[2]
    own = Visit(desk)
    await own.sign_in("operator")
    await own.get(f"/console/break-glass/{one}")
    refused = await own.send(f"/console/break-glass/{one}", act="approve")
    assert (refused.status, "You may not do this" in refused.text) == (403, True)
    approver = Visit(desk)
    await approver.sign_in("approver")
    assert "breakglass open" not in (await approver.get(f"/console/break-glass/{one}")).text
    early = await approver.send(f"/console/break-glass/{one}", act="close")
    leads = '<a class="button" href="/console/break-glass">Go to break glass</a>'  # where its command's work is done
    assert (early.status, early.raw.count(leads)) == (409, 1)
    assert (await approver.send(f"/console/break-glass/{one}", act="approve")).status == 303
    assert "breakglass open" not in (await approver.get(f"/console/break-glass/{one}")).text  # the holder's alone
    await page.reload()
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
    for name in ("requested", "approved", "issued", "revoked"):
        assert len(desk.stand.events(f"breakglass.{name}", "ok")) == 1, name
    assert faults == []
    await nothing_ran(screen)


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
    assert faults == []
    await nothing_ran(screen)


async def test_what_comes_round_is_looked_at_and_signed(screen: Screen) -> None:
    """A checklist is signed as it was seen, with its tickets; backups, drills and the month show what is on record."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client("openai")
    await desk.onboard(client)
    desk.sql("UPDATE byokeep.credential_ref SET created_at = now() - interval '99 days',"
             " rotation_due_at = now() - interval '9 days'")  # fmt: skip
    await screen.sign_in()
    for name, path in (("recovery-empty", "/recovery"), ("drills-empty", "/recovery?show=drills")):
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
    await screen.press("Checklists", role="link")
    faults += await screen.judged("checklists")
    await screen.press("Go through the weekly checklist", role="link")
    faults += await screen.judged("checklist-ask")
    assert said(desk, "checklist.shown") == []  # a page that shows asks nothing, and leaves no record
    await screen.press("Ask them now")
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
    await screen.press("Ask them now")
    for number, label in enumerate(bad):
        await screen.write(label, f"OPS-{number}")
    await screen.press("Sign it off")
    await page.wait_for_url("**/checklists")
    signed = said(desk, "checklist.signed")
    assert [(it["checklist"], it["failed"]) for it in signed] == [("weekly", len(bad))]
    tickets = {it["ticket"] for it in said(desk, "checklist.ticked") if it.get("ticket")}
    assert tickets == {f"ops-{number}" for number in range(len(bad))}
    await page.goto(f"{screen.url}/console/checklists/weekly")
    await screen.press("Ask them now")
    assert await page.get_by_role("button", name="Sign it off").count() == 0
    assert len(said(desk, "checklist.shown")) == 3
    then = await page.locator("#signed").inner_text()  # what was signed, with its tickets and digest
    assert all(f"ops-{number}" in then for number in range(len(bad)))
    assert said(desk, "checklist.signed")[0]["digest"] in then
    assert faults == []
    await nothing_ran(screen)


async def _tickets(page: Page) -> AsyncIterator[str]:
    """The labels of the fields for tickets."""
    for box in await page.locator("label[for^=ticket-]").all():
        yield await box.inner_text()
