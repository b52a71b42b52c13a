"""The console's ways to look: the audit explorer, who used a key, people, the search, in a real Chromium."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from byokeep.client import verify as offline
from byokeep.console import explore
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity
from byokeep.keys import usage
from byokeep.operations import lists
from tests.flows.test_provider_usage import used
from tests.flows.test_rotation import administered
from tests.flows.test_usage import seen
from tests.support.console import SAME, Visit, hostile
from tests.support.screen import Screen
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen"
]  # fmt: skip


async def test_an_auditor_looks_at_records_people_and_names(screen: Screen) -> None:
    """Filter, drawer, proof and its result, people, search: nothing against them; what is cut is said."""
    page, desk, faults = screen.page, screen.desk, []
    client, _ = await hostile(desk)
    ref = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'")  # noqa: S608
    for number in range(104):
        call = ("POST", "/v1/audit/checkpoint") if 50 < number < 54 else ("GET", "/v1/audit?limit=1")
        await desk.call(*call, "auditor")
    await screen.sign_in("auditor")

    async def look(name: str, path: str) -> None:
        reply = await page.goto(screen.url + path)
        assert reply is not None
        assert reply.ok, f"{path}: {reply.status}"
        faults.extend(await screen.judged(name))

    await look("audit", "/console/audit")
    text = await page.locator("main").inner_text()
    assert "100 records; " in text
    assert "folded away: show them" in text
    shown = await page.locator("tbody td:first-child").all_inner_texts()
    await page.get_by_role("link", name="Older").click()
    older = await page.locator("tbody td:first-child").all_inner_texts()
    assert int(older[0]) < int(shown[-1])
    await page.goto(f"{screen.url}/console/audit?client={client}&outcome=ok")
    await page.locator("tbody a").first.click()
    assert set(parse_qs(urlsplit(page.url).query)) == {"client", "outcome", "record"}
    await page.get_by_role("heading", name="Record").wait_for()
    faults += await screen.judged("record")
    await page.get_by_role("link", name="Close").click()
    assert "record=" not in page.url
    await page.get_by_role("button", name="Prove this client's records now").click()
    await page.get_by_text("They hold.").wait_for()
    faults += await screen.judged("proved")
    await page.go_back()
    await page.get_by_role("button", name="Verify the whole log now").click()
    await page.get_by_text("It holds.").wait_for()
    await look("used", f"/console/used/{ref}?since=7d")
    await look("people", "/console/people?kind=machine")
    await page.get_by_role("link", name="runner").first.click()
    await page.get_by_text("Lease", exact=True).wait_for()
    faults += await screen.judged("person")
    await look("settings", "/console/settings")
    assert await page.get_by_role("row", name="log_level INFO default").count() == 1
    assert await page.get_by_role("row", name="token_file not set default").count() == 3
    await look("search", "/console/search?find=a")
    assert faults == []
    assert screen.said == []


async def test_who_used_a_key_yesterday_in_two_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in the search, then the link; what nobody told of is a gap, and another's key is not found.

    Where too much is unknown for one page, the menu's link to the usage still leads to its filter.
    """
    visit = Visit(desk)
    client = await desk.stand.client("openai")
    job = await desk.stand.job(client, secrets=["openai"])
    await desk.stand.lease(job)
    desk.sql("UPDATE byokeep.lease SET issued_at = now() - interval '1 day'")
    name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
    await visit.sign_in("operator")
    found = await visit.get(f"/console/search?find={name}/openai")
    (at,) = {part.partition('"')[0] for part in found.raw.split('href="') if part.startswith("/console/used/")}
    used = await visit.get(at.replace("&amp;", "&"))
    assert used.status == 200
    spans = {part.split(">")[1].partition("<")[0]: part.partition('"')[0] for part in used.raw.split('href="?')[1:]}
    assert re.findall(r'aria-current="true" href="[^"]+">([^<]+)', used.raw) == ["24 hours"]
    yesterday = await visit.get(at.partition("?")[0] + "?" + spans["Yesterday"].replace("&amp;", "&"))
    assert "runner" in yesterday.text
    assert "The job is still open" in yesterday.text
    monkeypatch.setattr(usage, "MOST_UNTOLD", 0)
    much = await visit.get("/console/usage")
    assert (much.status, "Give a client or a provider" in much.text) == (422, True)
    assert f'<option value="{client}">{name}</option>' in much.raw
    monkeypatch.undo()
    none = await visit.get(f"/console/used/{UUID(int=5)}")
    assert (none.status, "Search for its name" in none.text) == (404, True)
    done, of = await desk.onboard(await desk.stand.client()), f"/console/keys/{at.split('/')[3].partition('?')[0]}"
    assert (await visit.get(f"/console/keys/{done['ref']}?sop={done['sop']}")).status == 200
    assert ((await visit.get(of)).status, (await visit.get(f"{of}?sop={done['sop']}")).status) == (200, 404)


def beside_the_loop(patch: pytest.MonkeyPatch, at: Any, name: str) -> list[str]:
    """Have a function tell in which threads it worked: the event loop's would keep everybody waiting."""
    real, where = getattr(at, name), []

    def told(*given: Any) -> Any:
        where.append(threading.current_thread().name)
        return real(*given)

    patch.setattr(at, name, told)
    return where


async def test_a_proof_is_given_to_a_page_of_ours_alone(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the form's word, as an operator, or with a session that is not fresh: no file, no verification."""
    verified = beside_the_loop(monkeypatch, explore, "verify_client_proof")
    visit = Visit(desk)
    client = str(await desk.stand.client())
    await visit.sign_in("auditor")
    await visit.get("/console/audit")
    forged = await visit.ask("POST", "/console/audit/proof", data={"client": client, "act": "keep"}, **SAME)
    assert (forged.status, forged.headers.get("Content-Disposition")) == (403, None)
    kept = await visit.send("/console/audit/proof", client=client, act="keep")
    assert kept.headers["Content-Disposition"] == f'attachment; filename="proof-{client}.json"'
    proof, keys = tmp_path / "proof.json", tmp_path / "keys.txt"
    proof.write_text(kept.raw)
    keys.write_text((await desk.call("GET", "/v1/audit/keys", "auditor"))[1])
    assert offline.verify_proof(proof, offline.read_keys(keys)).chain == UUID(client)
    assert "They hold." in (await visit.send("/console/audit/proof", client=client, act="show")).text
    assert (len(verified), threading.current_thread().name in verified) == (1, False)
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'console'")
    again = await visit.send("/console/audit/verified", verify="1")
    assert (again.status, again.at) == (303, "/console/sign-in?next=%2Fconsole")
    await visit.sign_in("operator")
    may = (await visit.get("/console/search?find=cl")).raw.partition("<main")[2]
    assert ("Stop a client" in may, "New client" in may) == (True, False)
    for path in ("audit", "people", "settings"):
        shown = await visit.get(f"/console/{path}")
        assert (shown.status, "is on record" in shown.text) == (403, True)
    assert (await visit.send("/console/audit/proof", client=client, act="keep")).status == 403


async def test_a_provider_is_asked_by_whoever_may_see_usage(desk: Desk) -> None:
    """An approver, who sees keys and no usage, has no administrator's key used by sending the page's form."""
    visit, client = Visit(desk), await desk.stand.client("openai")
    await administered(desk, client, "openai")
    runs = "SELECT count(*) FROM byokeep.procedure_run WHERE procedure = 'provider_usage'"
    for who, status, asked in (("approver", 403, "0"), ("operator", 303, "1")):
        await visit.sign_in(who)
        await visit.get("/console/you")
        assert ((await visit.send("/console/usage/ask", client=str(client))).status, desk.sql(runs)) == (status, asked)


async def test_a_list_leaves_the_house_signed_and_says_what_it_lacks(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CSV and JSON agree by digest, verify offline, count what is left; changed, or not just signed in: refused."""
    visit = Visit(desk)
    client = str(await desk.stand.client("openai"))
    label = name = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
    file, keys = tmp_path / "list.json", tmp_path / "keys.txt"
    keys.write_text((await desk.call("GET", "/v1/audit/keys", "auditor"))[1])
    await visit.sign_in("auditor")
    await visit.get(f"/console/clients?find={name}")
    stated = beside_the_loop(monkeypatch, lists.evidence, "list_statement")
    kept = await visit.take("clients", "csv", find=name)
    assert (len(stated), threading.current_thread().name in stated) == (1, False)
    packed = zipfile.ZipFile(io.BytesIO(kept))
    assert packed.namelist() == ["clients.csv", "clients.signed.json"]
    table = packed.read("clients.csv")
    assert table.decode().splitlines()[1].startswith(f"{name},{client},active,")
    file.write_bytes(packed.read("clients.signed.json"))
    held = offline.verify_report(file, offline.read_keys(keys))
    assert held is not None
    assert (held["rows"], held["left"], held["left_is"]) == (1, 0, "exact")
    assert (held["client"], held["filter"]) == ("none named", f"find {name}")
    auditor = desk.people["auditor"].id
    signer = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{auditor}'")  # noqa: S608
    assert (held["made_by"], held["made_by_name"]) == (str(auditor), signer)
    assert held["csv_sha256"] == sha256(table).hexdigest()
    monkeypatch.setattr(lists, "MOST", 5)
    monkeypatch.setattr(lists, "MAX_RECORDS", 5)
    file.write_bytes(await visit.take("audit", "json"))
    held = offline.verify_report(file, offline.read_keys(keys))
    assert held is not None
    assert held["rows"] == 5
    assert int(held["left"]) > 5
    cut = zipfile.ZipFile(io.BytesIO(await visit.take("audit", "csv")))
    assert cut.read("NOT-ALL-OF-IT.txt").startswith(b"Cut: ")
    assert {one.compress_type for one in cut.infolist()} == {zipfile.ZIP_DEFLATED}
    said = json.loads(file.read_bytes())
    inner = json.loads(b64decode(said["payload"]))
    inner["predicate"]["left"] = 0
    said["payload"] = b64encode(canonical_json(inner)).decode()
    file.write_bytes(canonical_json(said))
    with pytest.raises(Integrity):
        offline.verify_report(file, offline.read_keys(keys))
    desk.sql(
        "INSERT INTO byokeep.alert (id, reason, severity, dedup_key)"
        " VALUES (gen_random_uuid(), 'store_audit_behind', 'warning', 'a test')"
    )
    there = {"alerts": int(desk.sql("SELECT count(*) FROM byokeep.alert WHERE closed_at IS NULL")),
             "due": len((await desk.call("GET", "/v1/due", "operator"))[1]["items"]),
             "people": int(desk.sql("SELECT count(*) FROM byokeep.subject"))}  # fmt: skip
    of_one = await visit.take("audit", "csv", client=client, outcome="ok")
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    one = zipfile.ZipFile(io.BytesIO(of_one))
    assert one.namelist()[:2] == [f"audit-{slug}.csv", f"audit-{slug}.signed.json"]
    file.write_bytes(one.read(f"audit-{slug}.signed.json"))
    held = offline.verify_report(file, offline.read_keys(keys))
    assert held is not None
    assert (held["client"], held["filter"]) == (f"{name} ({client})", "outcome ok")  # whose, and what of it
    for name, many in there.items():
        file.write_bytes(await visit.take(name, "json"))
        held = offline.verify_report(file, offline.read_keys(keys))
        assert held is not None, name
        assert (held["rows"], held["left"], held["left_is"], many > 0) == (many, 0, "exact", True), name
    await desk.stand.job(UUID(client))
    desk.stand.account(UUID(client), account="acme1")
    for path, body in (
        ("incidents", {"kind": "other", "client_id": client}),
        ("breakglass",
         {"client_id": client, "scope": "all", "reason": "runner_down", "ticket": "INC-42", "life_s": 900}),
    ):
        assert (await desk.call("POST", f"/v1/{path}", "operator", body))[0] == 201, path
    of = {"client": client}
    for name, asked, cells in (
        ("keys", of, {"provider": "openai", "state": "active", "client_id": client}), ("jobs", of, {"state": "open"}),
        ("accounts", of, {"account": "acme1", "lanes": "api"}), ("procedures", of, {"procedure": "break_glass"}),
        ("incidents", {}, {"kind": "other", "state": "open", "client": label}),
        ("approvals", {}, {"kind": "break_glass", "what": "all, ticket inc-42", "client": label}),
    ):
        file.write_bytes(await visit.take(name, "json", **asked))
        held = offline.verify_report(file, offline.read_keys(keys))
        assert held is not None, name
        assert (held["left"], held["left_is"]) == (0, "exact"), name
        said = json.loads(b64decode(json.loads(file.read_bytes())["payload"]))["predicate"]
        rows = [dict(zip(said["columns"], row, strict=True)) for row in said["rows"]]
        assert [row for row in rows if cells.items() <= row.items()], (name, rows)
    other = str(await desk.stand.client())
    file.write_bytes(await visit.take("jobs", "json", client=other))
    assert client not in b64decode(json.loads(file.read_bytes())["payload"]).decode()
    machines = int(desk.sql("SELECT count(*) FROM byokeep.subject WHERE kind = 'machine'"))
    assert machines > 0
    desk.sql("INSERT INTO byokeep.subject (id, kind, name, roles) SELECT gen_random_uuid(), 'operator', 'many ' || n,"
             " '{auditor}' FROM generate_series(1, 1001) n; INSERT INTO byokeep.client (id, name, risk, created_by)"
             " SELECT gen_random_uuid(), 'many ' || n, 'standard', gen_random_uuid() FROM generate_series(1, 1001) n")
    assert len((await desk.call("GET", "/v1/operators", "auditor"))[1]["operators"]) == there["people"] + 1001
    assert len((await desk.call("GET", "/v1/clients", "auditor"))[1]["clients"]) > 1001
    for kind, rows in (("operator", there["people"] - machines + 1001), ("machine", machines)):
        file.write_bytes(await visit.take("people", "json", kind=kind))
        held = offline.verify_report(file, offline.read_keys(keys))
        assert held is not None
        assert (held["rows"], held["left_is"]) == (rows, "exact")
    exported = [json.loads(one)["fields"]["kind"] for one in desk.stand.events("list.exported", "ok")]
    assert exported == [
        "clients", "audit", "audit", "audit", "alerts", "due", "people", "keys", "jobs", "accounts", "procedures",
        "incidents", "approvals", "jobs", "people", "people",
    ]  # fmt: skip
    odd = await visit.send("/console/export", **{"list": "due", "asked": "a=1&" * 21, "as": "json"})
    assert (odd.status, "bad request" in odd.text) == (422, True)
    narrow = desk.stand.subject("operator", "narrow", clients=(await desk.stand.client(),))
    asked = {"list": "clients", "asked": {"find": label}}
    status, reply = await desk.call("POST", "/v1/lists/sign", narrow, asked)
    assert (status, json.loads(b64decode(reply["payload"]))["predicate"]["rows"]) == (200, [])
    for bad in ({"list": "secrets"}, {"list": "due", "asked": {"find": "x"}}, {"list": "due", "asked": {"days": "-1"}},
                {"list": "keys"}, {"list": "incidents", "asked": {"state": "x"}}):  # fmt: skip
        assert (await desk.call("POST", "/v1/lists/sign", "auditor", bad))[0] == 422, bad
    assert (await desk.call("POST", "/v1/lists/sign", "operator", {"list": "audit"}))[0] == 403
    for name in ("keys", "jobs", "accounts", "procedures", "incidents"):
        body = {"list": name, "asked": {"client": client}}
        assert (await desk.call("POST", "/v1/lists/sign", narrow, body))[0] == 404, name
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '6 minutes' WHERE kind = 'console'")
    old = await visit.send("/console/export", **{"list": "due", "asked": "", "as": "json"})
    assert (old.status, old.at) == (303, "/console/sign-in?next=%2Fconsole")


@pytest.mark.req("R11.2-1")
@pytest.mark.req("R11.2-2")
@pytest.mark.req("R11.2-3")
async def test_usage_shows_what_is_known_and_marks_what_is_not(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are the records'; untold calls and hours are gaps; refusals with reason; a cost where told; own alone."""
    page, desk = screen.page, screen.desk
    seen(desk, 24 * 31, but="n BETWEEN 6 AND 8")
    client, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    value = desk.canary("openrouter")
    await desk.onboard(client, value, provider="openrouter")
    await administered(desk, client, "openrouter")
    used(desk, "openrouter", big=3)
    told, untold = [(await desk.stand.lease(await desk.stand.job(client)))["lease_id"] for _ in range(2)]
    await desk.stand.lease(await desk.stand.job(other))
    calls = [
        {"id": str(uuid4()), "secret": "openai", "tool": "a.b", "outcome": out, "age_ms": 5} for out in ("ok", "failed")
    ]
    path = f"/v1/leases/{told}/calls"
    assert (await desk.stand.call("POST", path, "runner", {"calls": calls, "total": 2}))[0] == 200
    for _ in range(3):
        assert (await desk.stand.permit(untold))[0] == 403
    await screen.sign_in()
    await page.goto(f"{screen.url}/console/usage?client={client}&since=7d")
    await page.get_by_role("button", name="Ask the providers what they counted").click()
    await desk.work()
    faults, shown = [], {}
    for name, query in (("usage", f"client={client}&since=7d"), ("usage-day", "since=24h")):
        await page.goto(f"{screen.url}/console/usage?{query}")
        faults += await screen.judged(name)
        for row in (
            await page.get_by_role("region", name="By client and provider").locator("tbody tr").all_inner_texts()
        ):
            cells = row.split("\t")
            shown[name, cells[0], cells[1]] = cells[2:]
    label = desk.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
    assert shown["usage", label, "openai"][0] == "2"
    assert shown["usage", label, "openai"][3:5] == ["2 or more", "1 or more"]
    counted = int(shown["usage", label, "openrouter"][5].split()[0])
    assert 48 * 3 <= counted <= 72 * 3  # of the days that are over, one more where midnight passed meanwhile
    assert shown["usage", label, "openrouter"][6] == f"{counted / 1000:.2f} USD"
    assert shown["usage", label, "openai"][5:] == ["not known", "not known"]
    assert {name for kind, name, _ in shown if kind == "usage"} == {label}
    assert await page.locator("svg.picture .gap").count() > 2
    refused = await page.get_by_role("region", name="Refused").inner_text()
    assert "\t3\t" in refused
    assert shown["usage", label, "x"][2] == "3"
    jobs = await page.get_by_role("region", name="By job").locator("tbody tr").all_inner_texts()
    assert sorted(row.split("\t")[6] for row in jobs) == ["2", "not known", "not known"]
    for text in (value.decode(), value.decode()[10:], f"admin-openrouter-{client.hex}"):
        assert text not in await page.content()
    assert faults == []
    assert screen.said == []
    narrow = desk.stand.subject("operator", "narrow", clients=(other,))
    # Into the hour that is compared.
    desk.sql("UPDATE byokeep.lease SET issued_at = date_trunc('hour', now()) - interval '30 minutes'")
    for who, whose in (("operator", {str(client), str(other)}), (narrow, {str(other)})):
        status, found = await desk.call("GET", "/v1/usage", who)
        assert status == 200
        parts = ("hours", "refused", "jobs", "counted", "compared")
        assert {one["client_id"] for part in parts for one in found[part]} == whose
        assert {one["client_id"] for one in found["compared"]} == whose
    assert (await desk.call("GET", f"/v1/usage?client_id={client}", narrow))[0] == 404
    asked = {"list": "usage", "asked": {"since": "7d"}}
    _, signed = await desk.call("POST", "/v1/lists/sign", narrow, asked)
    table = json.loads(b64decode(signed["payload"]))["predicate"]
    assert {row[table["columns"].index("client_id")] for row in table["rows"]} == {str(other)}
    status, signed = await desk.call("POST", "/v1/lists/sign", "operator", asked)
    table = json.loads(b64decode(signed["payload"]))["predicate"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    cost = {(row["client_id"], row["provider"]): row["cost_micro_usd"] for row in rows}
    assert cost[str(client), "openrouter"] == counted * 1000
    assert cost[str(other), "openai"] == "unknown"
    assert table["left_is"] == "exact"
    real = usage.usage

    async def cut(*given: Any) -> usage.Usage:
        found = await real(*given)
        leases = replace(found.parts.refused[0], what="lease", provider="", number=4)
        return replace(found, parts=replace(found.parts, refused=(*found.parts.refused, leases), more_refused=9))

    monkeypatch.setattr(usage, "usage", cut)  # as of a span with more reasons than are read
    _, signed = await desk.call("POST", "/v1/lists/sign", "operator", asked)
    table = json.loads(b64decode(signed["payload"]))["predicate"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert (table["left"], table["left_is"]) == (9, "at_least")
    assert {row["leases_refused"] for row in rows if not row["provider"]} == {"4 or more"}
    assert {row["permits_refused"] for row in rows if row["provider"] == "x"} == {"3 or more"}
