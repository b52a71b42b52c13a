"""Checklists: filled in by looking, one planted fault after the other; signed by who saw them, or missed."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import ProbedStoreHealth
from byokeep.adapters.system import SystemClock
from byokeep.core.errors import Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.kernel.command import record
from byokeep.kernel.ports import DeviceHealth, StoreLook
from byokeep.keys.usage import watch_usage
from byokeep.operations import checklist, checks
from byokeep.operations.checklist import watch_checklists
from tests.flows.test_due import served
from tests.flows.test_usage import history, seen
from tests.support.broker import Stand
from tests.support.openbao import plain_openbao
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

CLEAN = {"result": "clean", "sources": 12, "found": 0, "unknown": 0, "live": True, "digest": "a" * 64}


async def fill(desk: Desk, kind: str = "daily", who: Any = "auditor") -> dict[str, Any]:
    """The checklist as it stands, well within its ten seconds."""
    began = time.monotonic()
    status, found = await desk.call("POST", "/v1/checklists/fill", who, {"checklist": kind})
    assert status == 200, found
    assert time.monotonic() - began < 10
    assert found["all_ok"] is all(one["state"] == "ok" for one in found["items"])
    return dict(found)


async def not_ok(desk: Desk, kind: str = "daily") -> dict[str, tuple[str, str]]:
    """What is not ok, by name: its state and code. Each says what to do."""
    items = (await fill(desk, kind))["items"]
    assert all(bool(one["next_step"].strip()) for one in items if one["state"] != "ok")
    assert all(bool(one["code"]) for one in items if one["state"] != "ok")
    return {one["name"]: (one["state"], one["code"]) for one in items if one["state"] != "ok"}


def logged_in(audit: FileStoreAudit) -> Iterator[str]:
    """The logins that the store's first audit file has."""
    [file, *_] = audit._files.values()
    yield from (line for line in Path(file).read_text().splitlines() if '"auth/approle/login"' in line)


async def sign(desk: Desk, found: dict[str, Any], who: Any = "auditor", **more: Any) -> tuple[int, Any]:
    body = {"checklist": found["checklist"], "seen": found["digest"]} | more
    return await desk.call("POST", "/v1/checklists/sign", who, body)


async def scanned(desk: Desk, **told: Any) -> None:
    status, said = await desk.call("POST", "/v1/leaks/scans", "auditor", CLEAN | told)
    assert status == 204, said


def rounds_taken(desk: Desk) -> None:
    """The queue took the round that compares usage just now."""
    desk.sql(
        "INSERT INTO procrastinate.procrastinate_periodic_defers (task_name, defer_timestamp, periodic_id)"
        " VALUES ('watch_usage', extract(epoch FROM now()), '') ON CONFLICT DO NOTHING"
    )


@contextlib.contextmanager
def planted(desk: Desk, reason: str, key: str, client: UUID) -> Iterator[None]:
    desk.sql(
        "INSERT INTO byokeep.alert (id, client_id, reason, severity, dedup_key)"
        f" VALUES ('{uuid4()}', '{client}', '{reason}', 'critical', '{key}')"
    )
    yield
    desk.sql(f"DELETE FROM byokeep.alert WHERE reason = '{reason}'")


@contextlib.asynccontextmanager
async def well(desk: Desk) -> AsyncIterator[UUID]:
    """An installation of which nothing is to be said daily; yields a client of it that was used for weeks."""
    client = await desk.stand.client("openai")
    seen(desk, 24 * 28 + 2)
    history(desk, client, await desk.stand.job(client), days=28, each=30, now=30)
    rounds_taken(desk)
    await scanned(desk)
    yield client


@pytest.mark.req("R10.1-1", "R10.1-2")
async def test_the_store_its_audit_and_its_disk_are_looked_at_now(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed, standby, slow, silent, out of step; a device gone, none left, a full disk: exactly its line."""
    app = desk.stand.app
    audit = app.store_audit
    assert isinstance(audit, FileStoreAudit)
    async with well(desk):
        assert await not_ok(desk) == {}
        async with plain_openbao(tmp_path, audit=True) as (http, root):
            await http.request("POST", "sys/seal", token=root)
            with monkeypatch.context() as fault:
                fault.setattr(app.store_health, "look", ProbedStoreHealth(http, audit._login).look)
                assert await not_ok(desk) == {"vault": ("failed", "store_sealed")}
        logins = len(list(logged_in(audit)))
        assert (await app.store_health.look()).took_s > 0
        assert len(list(logged_in(audit))) > logins  # a look writes, and the store has it on record
        credentials = tmp_path / "refused.approle"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps({"role_id": str(uuid4()), "secret_id": str(uuid4())}))
        refused = ProbedStoreHealth(audit._login.http, AppRoleLogin(audit._login.http, credentials))
        with monkeypatch.context() as fault:  # it answers that it is well, and takes no write
            fault.setattr(app.store_health, "look", refused.look)
            assert await not_ok(desk) == {"vault": ("unknown", "credentials_refused")}
        for state, took_s, code in (("standby", 0.0, "store_standby"), ("serving", 1.5, "store_slow")):
            found = StoreLook(state=state, at=datetime.now(UTC), took_s=took_s)
            with monkeypatch.context() as fault:

                async def look(found: StoreLook = found) -> StoreLook:
                    return found

                fault.setattr(app.store_health, "look", look)
                assert await not_ok(desk) == {"vault": ("failed", code)}

        async def silent() -> StoreLook:
            raise Unavailable("store_timeout")

        with monkeypatch.context() as fault:
            fault.setattr(app.store_health, "look", silent)
            assert await not_ok(desk) == {"vault": ("unknown", "store_timeout")}
        for off_s in (-60, 60):
            with monkeypatch.context() as fault:
                at = staticmethod(lambda off_s=off_s: datetime.now(UTC) + timedelta(seconds=off_s))
                fault.setattr(SystemClock, "now", at)
                assert await not_ok(desk) == {"vault": ("failed", "clock_skew")}
        with monkeypatch.context() as fault:
            fault.setitem(audit._files, "gone", tmp_path / "no-such.log")
            gone = {"audit_devices": ("failed", "missing"), "disk": ("unknown", "disk_not_seen")}
            assert await not_ok(desk) == gone
        with monkeypatch.context() as fault:
            fault.setattr(audit, "_files", {})
            assert (await not_ok(desk))["audit_devices"] == ("failed", "no_audit_device")
        with monkeypatch.context() as fault:

            async def not_synced(*_: Any) -> bool:
                return False

            fault.setattr(audit, "_synced", not_synced)
            assert await not_ok(desk) == {"audit_devices": ("failed", "hung")}
        with monkeypatch.context() as fault:
            fault.setattr(audit, "_min_free", 1 << 60)
            assert await not_ok(desk) == {"disk": ("failed", "disk_low")}
        first, *others = await audit.devices()
        assert others
        with monkeypatch.context() as fault:

            async def full() -> list[DeviceHealth]:  # root's reserve still takes what the store writes
                return [replace(first, healthy=False, reason="disk_low", disk_free_bytes=0), *others]

            fault.setattr(audit, "devices", full)
            assert await not_ok(desk) == {"disk": ("failed", "disk_low")}
        with planted(desk, "disk_reserve_missing", "state/reserve", uuid4()):
            assert await not_ok(desk) == {"disk": ("failed", "disk_reserve_missing")}
        assert await not_ok(desk) == {}


@pytest.mark.req("R10.1-3", "R10.1-4")
async def test_leaks_and_usage_are_known_or_not_ok(desk: Desk) -> None:
    """No scan, half a scan, a finding, an alert; nothing used, too few days, no round, a spike: exactly its line."""
    assert await not_ok(desk) == {
        "leak_scan": ("unknown", "not_scanned"), "usage": ("unknown", "usage_not_compared"),
    }  # fmt: skip
    rounds_taken(desk)
    await scanned(desk)
    assert await not_ok(desk) == {"usage": ("unknown", "no_data")}
    client = await desk.stand.client("openai")
    seen(desk, 24 * 28 + 2)
    job = await desk.stand.job(client)
    history(desk, client, job, days=3, each=30, now=200)
    assert await not_ok(desk) == {"usage": ("unknown", "no_baseline")}
    history(desk, client, job, days=28, each=30)
    assert await not_ok(desk) == {}
    assert await watch_usage(desk.worker) == 1
    assert await not_ok(desk) == {"usage": ("failed", "usage_unusual")}
    [usage] = [one for one in (await fill(desk))["items"] if one["name"] == "usage"]
    assert usage["figures"]["where"] == f"Client {client.hex[:8]} openai"
    desk.sql("DELETE FROM byokeep.alert; DELETE FROM byokeep.incident")
    await scanned(desk, result="unknown", unknown=3)
    assert await not_ok(desk) == {"leak_scan": ("unknown", "scan_not_whole")}
    other = "b" * 64
    await scanned(desk, digest=other)  # of other paths: it says nothing of these
    await scanned(desk, live=False)  # of the same, and it could not see what the other one looked for
    assert await not_ok(desk) == {"leak_scan": ("unknown", "scan_not_whole")}
    await scanned(desk)
    assert await not_ok(desk) == {}
    await scanned(desk, result="findings", found=2)
    assert await not_ok(desk) == {
        "leak_alerts": ("failed", "leak_scan_found"), "leak_scan": ("failed", "leak_scan_found"),
    }  # fmt: skip
    desk.sql("DELETE FROM byokeep.alert")
    await scanned(desk)
    with planted(desk, "key_leak_suspected", "a key", client):
        assert await not_ok(desk) == {"leak_alerts": ("failed", "key_leak_suspected")}
        shown = await fill(desk)
        with planted(desk, "key_leak_suspected", "another key", await desk.stand.client()):
            status, refused = await sign(desk, shown, tickets={"leak_alerts": "OPS-1"})
            assert (status, refused["code"]) == (409, "checklist_changed")
    with planted(desk, "orphan_kept", "an orphan", client):
        assert await not_ok(desk) == {"kept_orphans": ("failed", "orphan_kept")}
    with planted(desk, "key_leak_suspected", "a key", client):
        desk.sql("UPDATE byokeep.alert SET closed_at = now(), closed_by = id")  # it was one all the same, since
        assert await not_ok(desk) == {"leak_alerts": ("failed", "key_leak_suspected")}
    desk.sql(
        "INSERT INTO byokeep.incident (id, client_id, kind, severity, source, dedup_key, noticed_at, began_at,"
        f" began_assumed, opened_by) VALUES ('{uuid4()}', '{client}', 'suspected_leak', 'P1', 'a_person', 'a/leak',"
        f" now(), now(), false, '{desk.people['operator'].id}')"
    )
    assert await not_ok(desk) == {"leak_alerts": ("failed", "suspected_leak")}
    desk.sql("UPDATE byokeep.incident SET closed_at = now(), closed_by = opened_by")  # and over before anybody looked
    assert await not_ok(desk) == {"leak_alerts": ("failed", "suspected_leak")}
    for bad in ({"sources": 0}, {"found": 1}, {"unknown": 1}, {"result": "findings"}):
        assert (await desk.call("POST", "/v1/leaks/scans", "auditor", CLEAN | bad))[0] == 422, bad
    of_one = desk.stand.subject("auditor", "of one", clients=(client,))
    for who in ("operator", of_one):
        assert (await desk.call("POST", "/v1/leaks/scans", who, CLEAN))[0] == 403


async def drilled(stand: Stand, outcome: Outcome) -> None:
    async with stand.app.db.begin(every_client=True) as tx:
        said = {"drill": str(uuid4()), "digest": str(len(outcome.value)) * 64}
        about = stand.app.installation_id
        await record(tx, stand.app.system(), EventName.DRILL_COMPLETED, said, outcome=outcome, object_id=about)


@pytest.mark.req("R10.3-1")
async def test_a_drill_and_the_internal_secrets_in_time(desk: Desk) -> None:
    """None is due yet; overdue; failed; passed, with its report: and the platform's own secrets, late or half done."""
    assert await not_ok(desk, "monthly") == {}
    [drill, _] = (await fill(desk, "monthly"))["items"]
    assert drill["figures"]["last"] == "none made yet"  # said plainly, until it is due
    desk.sql("UPDATE byokeep.installation SET created_at = now() - interval '20 days'")
    assert await not_ok(desk, "monthly") == {}
    desk.sql("UPDATE byokeep.installation SET created_at = now() - interval '93 days'")
    run = uuid4()
    desk.sql(
        "INSERT INTO byokeep.procedure_run (id, procedure, object_id, state, asked_by, started_by, closed_at,"
        f" closed_by) VALUES ('{run}', 'rotate_internal', '{uuid4()}', 'complete', '{run}', '{run}', now(), '{run}')"
    )
    assert await not_ok(desk, "monthly") == {"drill": ("failed", "drill_overdue")}
    await drilled(desk.stand, Outcome.OK)
    [drill, _] = (await fill(desk, "monthly"))["items"]
    assert (drill["state"], drill["figures"]["report"]) == ("ok", "2" * 64)
    await drilled(desk.stand, Outcome.FAILED)
    [drill, _] = (await fill(desk, "monthly"))["items"]
    assert (drill["code"], drill["figures"]["report"]) == ("drill_failed", "6" * 64)  # the one to read, not one before
    assert await not_ok(desk, "monthly") == {"drill": ("failed", "drill_failed")}
    await drilled(desk.stand, Outcome.INTENDED)
    assert await not_ok(desk, "monthly") == {"drill": ("unknown", "drill_not_over")}
    await drilled(desk.stand, Outcome.OK)
    desk.sql("UPDATE byokeep.procedure_run SET closed_at = now() - interval '31 days'")
    assert await not_ok(desk, "monthly") == {"internal_tokens": ("failed", "internal_rotation_overdue")}
    desk.sql("UPDATE byokeep.procedure_run SET state = 'failed', reason = 'store_denied', closed_at = NULL")
    assert await not_ok(desk, "monthly") == {"internal_tokens": ("failed", "rotation_not_done")}


@pytest.mark.req("R10.2-1", "R10.4-1")
async def test_the_due_list_is_signed_as_it_was_seen(desk: Desk) -> None:
    """Unseen, seen by another, grown since: conflicts; what is overdue takes a ticket; the record has the digest."""
    client = await desk.stand.client("openai")
    found = await fill(desk, "weekly")
    assert await not_ok(desk, "weekly") == {}
    assert (await sign(desk, found, "operator"))[1]["code"] == "checklist_not_seen"
    assert (await sign(desk, found | {"digest": "0" * 64}))[1]["code"] == "checklist_not_seen"
    desk.sql(
        "UPDATE byokeep.credential_ref SET created_at = now() - interval '80 days',"
        f" rotation_due_at = now() - interval '1 day' WHERE client_id = '{client}'"
    )
    status, refused = await sign(desk, found)
    assert (status, refused["code"]) == (409, "checklist_changed")
    assert await not_ok(desk, "weekly") == {"rotation_due": ("failed", "rotation_overdue")}
    found = await fill(desk, "weekly")
    assert ("overdue", "openai") in [(one["state"], one["name"]) for one in found["due"]]
    assert (await sign(desk, found))[1]["code"] == "ticket_missing"
    assert (await sign(desk, found, tickets={"nothing": "OPS-1"}))[1]["code"] == "no_such_item"
    assert (await sign(desk, found, tickets={"rotation_due": "it was hot"}))[1]["code"] == "bad_ticket"
    slip = {"rotation_due": "OPS-12", "new_access": "OPS-13"}  # which is ok
    assert (await sign(desk, found, tickets=slip))[1]["code"] == "ticket_not_needed"
    status, signed = await sign(desk, found, tickets={"rotation_due": "OPS-12"})
    assert (status, signed["signed_by"]) == (200, str(desk.people["auditor"].id))
    ticked = [json.loads(row)["fields"] for row in desk.stand.events("checklist.ticked")]
    assert {(one["item"], one["verification"], one.get("ticket")) for one in ticked} == {
        ("rotation_due", "failed", "ops-12"), ("new_access", "ok", None), ("unused_grants", "ok", None),
    }  # fmt: skip
    assert {one["digest"] for one in ticked} == {found["digest"]}
    assert (await sign(desk, await fill(desk, "weekly")))[1]["code"] == "checklist_signed"
    refusals = {json.loads(row)["fields"]["reason"] for row in desk.stand.events("checklist.signed", "failed")}
    assert refusals == {"checklist_not_seen", "checklist_changed", "checklist_signed"}


@pytest.mark.req("R10.2-2")
async def test_what_is_new_is_reviewed_once_and_what_comes_after_the_listing_is_shown_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New paths, roles and grants with who can read them; one added between list and signature is not absorbed."""
    stand = desk.stand
    client = await stand.client("openai")
    status, said = await desk.put(client, desk.canary("anthropic"), "anthropic")
    assert status == 202, said
    await desk.work()
    found = await fill(desk, "weekly")
    path = f"clients/{client}/providers/anthropic"
    [new] = [one for one in found["access"] if one["what"].endswith(path)]
    assert (times := [one["at"] for one in found["access"]]) == sorted(times)
    assert (new["kind"], new["event"], new["client_id"]) == ("path", "key.stored", str(client))
    assert new["by"] == str(desk.people["operator"].id)
    runners = desk.sql(
        "SELECT name FROM byokeep.subject WHERE roles && '{runner,custodian}' ORDER BY name"
    ).splitlines()
    assert new["readers"] == runners
    assert {"admin", "operator", "runner"} <= {one["what"] for one in found["access"] if one["kind"] == "role"}
    stranger = stand.subject("runner", "new")
    status, refused = await sign(desk, found)
    assert (status, refused["code"]) == (409, "checklist_changed")
    found = await fill(desk, "weekly")
    assert str(stranger.id) in {one["object_id"] for one in found["access"]}
    await fill(desk, "weekly", "operator")
    asked, both = checklist._ask_all, asyncio.Barrier(2)

    async def at_once(*given: Any) -> Any:
        seen = await asked(*given)
        await both.wait()
        return seen

    with monkeypatch.context() as fault:
        fault.setattr(checklist, "_ask_all", at_once)
        signed = await asyncio.gather(sign(desk, found), sign(desk, found, "operator"))
    assert sorted((status, said.get("code")) for status, said in signed) == [(200, None), (409, "checklist_signed")]
    assert len(stand.events("checklist.signed", "ok")) == 1
    assert len(stand.events("checklist.ticked")) == 3
    after = await stand.client("openai")
    for one in (client, after):
        assert (await desk.put(one, desk.canary("google"), "google"))[0] == 202
    assert (await desk.put(client, desk.canary("anthropic"), "anthropic"))[0] == 202  # another version of a known path
    left = [(one["kind"], one["client_id"], one["what"]) for one in (await fill(desk, "weekly"))["access"]]
    paths = {("path", str(one), f"kv/clients/{one}/providers/google") for one in (client, after)}
    assert (len(left), set(left)) == (2, paths)


@pytest.mark.req("R10.2-2")
async def test_what_nobody_uses_is_flagged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, a machine and a person of long ago that nobody used, each alone, with the command that stops it."""
    stand = desk.stand
    client = await stand.client("openai")
    await stand.lease(await stand.job(client))
    old = "SET created_at = now() - interval '91 days'"
    desk.sql(f"UPDATE byokeep.credential_ref {old}")
    assert await not_ok(desk, "weekly") == {}
    unused = await stand.client("openai")
    ref = desk.sql(f"UPDATE byokeep.credential_ref {old} WHERE client_id = '{unused}' RETURNING id").split()[0]
    machine, person = stand.subject("runner", "idle"), stand.subject("auditor", "idle")  # each with a token that lives
    for change, item, command in (
        ("", ref, f"byokeep key state {ref} suspended --reason unused"),
        (f"UPDATE byokeep.subject {old} WHERE id = '{machine.id}'", str(machine.id),
         f"byokeep operator change {machine.id} --state disabled"),
        (f"UPDATE byokeep.subject {old} WHERE id = '{person.id}'", str(person.id),
         f"byokeep operator change {person.id} --state disabled"),
    ):  # fmt: skip
        if change:
            desk.sql(change)
        assert await not_ok(desk, "weekly") == {"unused_grants": ("failed", "unused_grants")}
        assert (item, command) in [(one["item"], one["command"]) for one in (await fill(desk, "weekly"))["unused"]]
    with monkeypatch.context() as fault:
        fault.setattr(checks, "MOST", 1)
        assert (await not_ok(desk, "weekly"))["unused_grants"] == ("unknown", "list_too_long")
    await fill(desk, "daily", person)  # which is on record
    assert str(person.id) not in {one["item"] for one in (await fill(desk, "weekly"))["unused"]}


@pytest.mark.req("R10.4-1")
async def test_a_day_is_signed_on_the_day_or_missed(desk: Desk, tmp_path: Path) -> None:
    """Back-dating is refused, a missed day stays missed and is told of, also while the broker is away."""
    desk.sql("UPDATE byokeep.installation SET created_at = now() - interval '4 days'")
    await scanned(desk)
    found = await fill(desk)
    today = datetime.fromisoformat(found["period"])
    await watch_checklists(desk.stand.app)
    told = "SELECT dedup_key FROM byokeep.alert WHERE reason = 'checklist_missed' AND closed_at IS NULL ORDER BY 1"
    assert desk.sql(told) == "state/checklist/daily"
    yesterday = f"{today - timedelta(days=1):%Y-%m-%d}"
    tickets = {one["name"]: "OPS-1" for one in found["items"] if one["state"] != "ok"}
    status, refused = await sign(desk, found, period=yesterday, tickets=tickets)
    assert (status, refused["code"]) == (422, "checklist_back_dated")
    status, signed = await sign(desk, found, period=found["period"], tickets=tickets)
    assert status == 200, signed
    await watch_checklists(desk.stand.app)
    assert desk.sql(told) == ""
    status, listed = await desk.call("GET", "/v1/checklists", "auditor")  # of `web`, which asks no broker
    assert status == 200
    assert [(one["period"], one["state"]) for one in listed["daily"]] == [
        (f"{today - timedelta(days=back):%Y-%m-%d}", "missed" if back else "signed") for back in range(4)
    ]  # fmt: skip
    [signed_off, *_] = listed["daily"]
    assert (signed_off["signed_by"], signed_off["not_ok"]) == (str(desk.people["auditor"].id), len(tickets))
    only = desk.stand.subject("operator", "of one", clients=(await desk.stand.client(),))
    assert (await desk.call("POST", "/v1/checklists/fill", only, {"checklist": "daily"}))[0] == 403


async def test_the_command_says_what_to_do_and_prints_a_page(desk: Desk, tmp_path: Path) -> None:
    """Its exit code is that of the worst item; the page is whole by itself; what it prints signs."""
    async with served(desk, tmp_path) as shell:
        page = tmp_path / "daily.html"
        ran = await shell("checklist", "daily", "--page", str(page))
        found = json.loads(ran.out)
        assert ran.code == 4
        told = await shell("checklist", "daily", as_json=False)
        assert "byokeep leaks scan PATHS --live --record" in told.err + told.out
        assert "byokeep checklist sign daily --seen" in told.err
        other = await shell("checklist", "daily", as_json=False, who="approver")
        assert ("checklist sign" in other.err, "An admin, an operator or an auditor signs it off." in other.err) == (
            False, True
        )  # fmt: skip
        text = page.read_text("utf-8")
        assert all(one["name"] in text for one in found["items"])
        assert re.search(r"Installation at 127\.0\.0\.1:\d+, looked at [-0-9]{10} [:0-9]{8}Z by auditor", text)
        assert "`" not in text
        assert "<th>ticket</th>" in text
        assert not [word for word in ("<script", "http://", "https://", "src=", "href=") if word in text]
        (tmp_path / "clean.txt").write_text("nothing in here")
        scan = ("leaks", "scan", str(tmp_path / "clean.txt"), "--record")
        assert (await shell(*scan)).code == 0
        assert (await not_ok(desk))["leak_scan"] == ("unknown", "scan_without_live_values")
        assert (await shell(*scan, "--live")).code == 4  # there is no live value yet
        assert (await desk.put(await desk.stand.client(), desk.canary("openai"), "openai"))[0] == 202
        await desk.work()
        assert (await shell(*scan, "--live")).code == 0
        ran = await shell("checklist", "daily")
        found = json.loads(ran.out)
        assert {one["name"]: one["state"] for one in found["items"]}["leak_scan"] == "ok"
        bad = [one["name"] for one in found["items"] if one["state"] != "ok"]
        tickets = [word for name in bad for word in ("--ticket", f"{name}=OPS-7")]
        assert (await shell("checklist", "sign", "daily", "--seen", found["digest"])).code == 2
        twice = await shell("checklist", "sign", "daily", "--seen", found["digest"], *tickets, *tickets)
        assert (twice.code, json.loads(twice.out)["error"]["code"]) == (2, "bad_ticket")
        for slip, code in ((("--seen", "0000"), "bad_digest"), (("--seen", "0" * 64, "--period", "now"), "bad_date")):
            ran = await shell("checklist", "sign", "daily", *slip, *tickets)
            assert (ran.code, json.loads(ran.out)["error"]["code"]) == (2, code)
        assert (await shell("checklist", "sign", "daily", "--seen", found["digest"], *tickets)).code == 0
        listed = json.loads((await shell("checklist", "list", "daily")).out)
        assert [one["state"] for one in listed["daily"]] == ["signed"]
        told = await shell("checklist", "list", as_json=False)
        signed, *_, to_do = [line.split() for line in told.out.splitlines()[1:]]
        [who] = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{desk.people['auditor'].id}'").splitlines()
        assert (signed[0], signed[2], to_do[0], to_do[-1]) == ("daily", "signed", "monthly", "-")
        assert who in told.out
        told = await shell("checklist", "daily", as_json=False)
        assert f"It was signed by {who}, " in told.err + told.out
        told = await shell("checklist", "weekly", as_json=False)
        assert re.search(rf"operator\.created +{who} +auditor", told.out), told.out
        assert re.search(r" - +providers/openai ", told.out), told.out  # the client has a column of its own
        assert (await shell("checklist", "monthly")).code == 0
        assert (await shell("checklist", "weekly")).code == 0
