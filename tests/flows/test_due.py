"""What is due: one list over every kind, by date, for those who may see it; reminders and starts come from it."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from byokeep.audit.log import public_keys
from byokeep.client import verify as offline
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.operations.notify import NotifyApp, deliver
from byokeep.operations.starts import start_due
from byokeep.profiles.kek_requests import hand_on
from byokeep.profiles.kek_tasks import asked
from tests.support.broker import listening
from tests.support.cli import Ran, Shell
from tests.support.ports import free_port
from tests.support.vault import Vault
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.vault",
]  # fmt: skip


async def due(vault: Vault, who: Any = "auditor", **query: str) -> dict[str, Any]:
    """The list as this person sees it."""
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    status, found = await vault.call("GET", f"/v1/due?{asked}" if asked else "/v1/due", who=who)
    assert status == 200, found
    return dict(found)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat().replace("+00:00", "Z")


@contextlib.asynccontextmanager
async def served(desk: Desk, place: Path) -> AsyncIterator[Any]:
    """``byokeep WORDS`` against the desk's ``web``, as a JSON document unless said otherwise."""
    port = free_port()
    server = Server(desk.api, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    task = asyncio.create_task(server.serve())
    await listening(port)

    async def shell(*words: str, who: str = "auditor", as_json: bool = True) -> Ran:
        token = place / f"{who}.token"
        token.touch(mode=0o600)
        token.write_text(desk.people[who].token)
        flags = ("--json",) if as_json else ()
        return await Shell(place).run(*words, *flags, "--url", f"http://127.0.0.1:{port}", token=token)

    try:
        yield shell
    finally:
        server.stop()
        await task


async def every_kind(vault: Vault) -> UUID:
    """A client with something of every kind, the platform's own beside it."""
    client, _ = await vault.valid()
    await vault.desk.onboard(client)
    account = vault.sql(f"SELECT id FROM byokeep.platform_account WHERE client_id = '{client}' LIMIT 1").strip()
    by = vault.desk.people["operator"].id
    vault.sql(f"""
        INSERT INTO byokeep.account_grant (client_id, account_id, provider, login, app_id, external_id, state, version,
            scopes_known, obtained_by, reauth_at)
        SELECT '{client}', '{account}', 'x', 'x', 'app', '{client.hex}', 'live', 1, true,
            '{by}', now() + interval '5 days';
        INSERT INTO byokeep.platform_app (login, provider, environment, app_id, redirect_uri, secret_version, set_at,
            set_by)
        VALUES ('x', 'x', 'development', 'a''pp', 'https://a.example/x', 1, now() - interval '366 days', '{by}')
        ON CONFLICT DO NOTHING;
    """)
    return client


async def test_one_list_holds_every_kind_by_date_for_those_who_may_see_it(vault: Vault, tmp_path: Path) -> None:
    """Each kind with its date, state, names and command; what is others' stays hidden; a look is told."""
    client = await every_kind(vault)
    other, _ = await vault.valid()
    found = await due(vault, until=in_days(400))
    kinds = [one["kind"] for one in found["items"] if one["client_id"] == str(client)]
    assert kinds == ["oauth", "profile", "key", "kek"]
    assert {one["kind"] for one in found["items"]} >= {"app_secret", "machine_token"}
    dates = [one["due_at"] for one in found["items"]]
    assert (dates == sorted(dates), found["more"], found["items"][0]["kind"]) == (True, 0, "app_secret")
    first, account = found["items"][0], next(one for one in found["items"] if one["kind"] == "oauth")
    assert (first["state"], first["days"], first["client_id"]) == ("overdue", -1, None)
    assert first["command"].endswith("""--app-id 'a'"'"'pp' --redirect-uri https://a.example/x""")
    assert (account["state"], account["days"], account["name"]) == ("due", 5, "x/acme")
    assert account["client"] == vault.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'").strip()

    soon = await due(vault)  # within 14 days
    assert {one["kind"] for one in soon["items"]} == {"app_secret", "machine_token", "oauth"}
    assert soon["digest"] == (await due(vault))["digest"] != found["digest"]
    seen = vault.events("due.listed")
    assert soon["digest"] in seen[-1]

    one = vault.desk.stand.subject("operator", clients=(other,))
    own = await due(vault, who=one, until=in_days(400))
    assert {row["client_id"] for row in own["items"]} == {str(other)}
    assert (await vault.call("GET", f"/v1/due?client_id={client}", who=one))[0] == 404
    assert {row["client_id"] for row in (await due(vault, client_id=str(client)))["items"]} == {str(client)}
    assert [row["kind"] for row in (await due(vault, kind="kek", until=in_days(400)))["items"]] == ["kek", "kek"]
    for query in ("kind=keks", "until=soon", "client_id=x", "limit=1"):
        assert (await vault.call("GET", f"/v1/due?{query}", who="auditor"))[0] == 422

    async with served(vault.desk, tmp_path) as shell:
        sheet = tmp_path / "due.csv"
        told = await shell("rotate", "due", "--until", "400d", "--client", str(client), "--csv", str(sheet))
        assert told.code == 0, told.said
        assert [row["kind"] for row in csv.DictReader(sheet.open())] == kinds
        assert (await shell("rotate", "due", "--csv", str(sheet))).code == 2
        assert [row["kind"] for row in csv.DictReader(sheet.open())] == kinds
        shown = await shell("rotate", "due", as_json=False)
        assert soon["digest"] in shown.err
        told = await shell("rotate", "due", "--until", "400", "--client", str(client))
        assert [row["kind"] for row in told.document["items"]] == kinds
        day = f"{datetime.now(UTC) + timedelta(days=5):%Y-%m-%d}"  # the whole of it
        after = f"{datetime.now(UTC) + timedelta(days=6):%Y-%m-%dT00:00:00Z}"
        assert (await shell("rotate", "due", "--until", day)).document["until"] == after
        assert (await shell("rotate", "due", "--until", "soon")).code == 2
        assert f"account connect {client} x acme" in shown.out


async def test_the_list_leaves_as_a_signed_document(vault: Vault, tmp_path: Path) -> None:
    """It says what the list says, names who asked, verifies offline and not when changed; it is on record."""
    client = await every_kind(vault)
    stand, file = vault.desk.stand, tmp_path / "due.json"
    status, envelope = await stand.call("POST", "/v1/due/sign", "auditor", {"client_id": str(client)})
    assert status == 200, envelope
    file.write_bytes(canonical_json(envelope))
    keys = await public_keys(stand.app)
    held = offline.verify_report(file, keys)
    seen = await due(vault, client_id=str(client))
    assert held is not None
    assert (held["digest"], held["items"], held["client"]) == (seen["digest"], len(seen["items"]), str(client))
    assert [seen["digest"] in one for one in vault.events("due.listed")] == [True, True]
    said = json.loads(b64decode(envelope["payload"]))["predicate"]
    assert said["made_by"] == str(vault.desk.people["auditor"].id)
    assert "auditor" in said["made_by_name"]
    assert [one["name"] for one in said["items"]] == [one["name"] for one in seen["items"]]
    changed = canonical_json(envelope | {"payload": b64encode(b64decode(envelope["payload"]) + b" ").decode()})
    file.write_bytes(changed)
    with pytest.raises(Integrity):
        offline.verify_report(file, keys)
    one = stand.subject("auditor", clients=())
    assert (await stand.call("POST", "/v1/due/sign", one, {"client_id": str(client)}))[0] == 404
    assert (await stand.call("POST", "/v1/due/sign", "runner", {}))[0] == 403


async def test_what_is_overdue_replaced_doubted_or_without_a_date_is_on_the_list(vault: Vault) -> None:
    """At its date an item is overdue; a waiting candidate is under way; a compromised key is due; none is unknown."""
    client, profile = await vault.valid()
    await vault.desk.onboard(client)
    ref = vault.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'").strip()

    async def states() -> dict[str, tuple[str, str]]:
        found = (await due(vault, client_id=str(client), until=in_days(0)))["items"]
        return {one["kind"]: (one["state"], one["cause"]) for one in found}

    assert await states() == {}
    before = (await due(vault))["digest"]
    vault.sql(f"""
        UPDATE byokeep.credential_ref SET created_at = now() - interval '91 days', rotation_due_at = now()
         WHERE id = '{ref}';
        UPDATE byokeep.profile SET due_at = NULL WHERE id = '{profile}'""")
    assert await states() == {"key": ("overdue", ""), "profile": ("unknown", "")}
    assert (await due(vault))["digest"] != before
    said = {"to": "compromised", "reason": "seen_in_chat"}
    assert (await vault.call("POST", f"/v1/refs/{ref}/state", said))[0] == 200
    assert (await states())["key"] == ("overdue", "compromised")
    await vault.desk.onboard(client)
    assert "key" not in await states()
    assert (await vault.desk.put(client, vault.desk.canary()))[0] == 202  # not yet verified
    assert (await states())["key"] == ("under_way", "")
    stopped = "UPDATE byokeep.procedure_run SET state = 'failed', reason = 'not_rehearsed'"
    vault.sql(f"{stopped} WHERE procedure = 'rotate_key'")
    assert (await states())["key"] == ("under_way", "not_rehearsed")  # a person is asked, and has a day
    vault.sql(
        "UPDATE byokeep.procedure_run SET started_at = now() - interval '25 hours' WHERE procedure = 'rotate_key'"
    )
    assert (await states())["key"] == ("overdue", "not_rehearsed")
    (row,) = (await due(vault, client_id=str(client), kind="key"))["items"]
    run = vault.sql("SELECT id FROM byokeep.procedure_run WHERE procedure = 'rotate_key'").strip()
    assert row["command"] == f"byokeep rotate status {run}"
    # Under way is no excuse once its date has passed; and no other procedure about the key counts.
    vault.sql(f"""UPDATE byokeep.procedure_run SET state = 'running', reason = '' WHERE id = '{run}';
        UPDATE byokeep.credential_ref SET rotation_due_at = now() WHERE client_id = '{client}'""")
    assert (await states())["key"] == ("overdue", "")
    client, _ = await vault.valid()
    await vault.desk.onboard(client)
    vault.sql(f"""UPDATE byokeep.credential_ref SET rotation_due_at = now() + interval '5 days'
         WHERE client_id = '{client}';
        INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)
        SELECT gen_random_uuid(), client_id, 'exercise', id, created_by, created_by FROM byokeep.credential_ref
         WHERE client_id = '{client}'""")
    (row,) = (await due(vault, client_id=str(client), kind="key"))["items"]
    assert (row["state"], row["command"]) == ("due", f"byokeep key add {client} openai")
    # A key that administers the account makes another one only where the provider has a call for it.
    for provider, command in (("openai", "rotate start"), ("anthropic", "key add")):
        vault.sql(f"""SET session_replication_role = replica; UPDATE byokeep.credential_ref SET provider = '{provider}',
            secret_ref = regexp_replace(secret_ref, 'providers/[a-z]+', 'providers/{provider}')
            WHERE client_id = '{client}'""")
        if provider == "openai":
            vault.sql(f"""SET session_replication_role = replica; INSERT INTO byokeep.credential_ref
                SELECT (jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(), 'state', 'active',
                    'kind', 'provider_admin_key', 'purpose', 'admin', 'rotation_due_at', now() + interval '99 days',
                    'secret_ref', r.secret_ref || '/admin'))).* FROM byokeep.credential_ref r
                 WHERE r.client_id = '{client}' AND r.state = 'active'""")
        (row,) = (await due(vault, client_id=str(client), kind="key"))["items"]
        assert row["command"].startswith(f"byokeep {command} ")


async def test_profiles_and_their_keys_are_renewed_by_the_clock(vault: Vault) -> None:
    """What is due of these is begun as a person begins it, on record, and is done; its role begins nothing else."""
    client, profile = await vault.valid()
    vault.sql(f"UPDATE byokeep.profile SET due_at = now() - interval '1 hour' WHERE id = '{profile}'")
    assert await start_due(vault.app) == 1
    assert await start_due(vault.app) == 0
    found = {one["kind"]: one["state"] for one in (await due(vault, client_id=str(client)))["items"]}
    assert found["profile"] == "under_way"
    work = UUID(vault.sql(f"SELECT id FROM byokeep.profile_work WHERE profile_id = '{profile}' AND ended_at IS NULL"))
    assert await vault.do(profile, work) == "rekeyed"
    assert (await vault.show(profile))["generation"] == 2
    assert "profile" not in {one["kind"] for one in (await due(vault, client_id=str(client)))["items"]}
    vault.sql(f"UPDATE byokeep.kek_version SET made_at = now() - interval '366 days' WHERE client_id = '{client}'")
    assert await start_due(vault.app) == 1
    queued = "SELECT task_name FROM procrastinate.procrastinate_jobs WHERE queueing_lock = 'kek_rotate:" + f"{client}'"
    assert vault.sql(queued).strip() == "kek_rotate"
    args = "SELECT args FROM procrastinate.procrastinate_jobs WHERE task_name = 'kek_rotate'"
    ids = json.loads(vault.sql(args))
    await asked(vault.app, "kek_rotate", Verb.KEK_ROTATE, **ids)
    with pytest.raises(Integrity, match="not_asked_for"):
        await asked(vault.app, "kek_rotate", Verb.KEK_ROTATE, **ids | {"expected": "7"})
    async with vault.app.db.begin(every_client=True) as tx:  # an end of a key is no work of the clock's
        await hand_on(tx, vault.app.system(request := uuid4()), "kek_end", Verb.KEK_END, client, version="1")
    ids = {"client_id": str(client), "asked_by": ids["asked_by"], "request_id": str(request), "version": "1"}
    with pytest.raises(Integrity, match="not_asked_for"):
        await asked(vault.app, "kek_end", Verb.KEK_END, **ids)
    assert len(vault.events("due.started", "ok")) == 2
    for kind in ("shred", "login"):
        with pytest.raises(Unavailable):
            vault.desk.stand.db.sql(f"""SET ROLE byokeep_worker; SET byokeep.scope = 'all';
                INSERT INTO byokeep.profile_work (id, client_id, profile_id, kind, asked_by)
                VALUES (gen_random_uuid(), '{client}', '{profile}', '{kind}', gen_random_uuid())""")


async def test_a_message_is_tried_on_the_way_of_every_alert(vault: Vault, tmp_path: Path) -> None:
    """`notify test` tells what each target made of it; without one it says so; who may not, and whose it is not."""
    taken: list[str] = []

    async def send(target: str, title: str, body: str, weight: str) -> str:
        taken.append(f"{target} {body}")
        return "" if target == "oncall" else "not_delivered"

    names: list[str] = []
    worker = vault.desk.worker
    app = NotifyApp(
        **{name: getattr(worker, name) for name in App.__dataclass_fields__}, targets=lambda: names, send=send
    )
    stop = asyncio.Event()

    async def rounds() -> None:
        while not stop.is_set():
            await deliver(app)
            await asyncio.sleep(0.1)

    going = asyncio.create_task(rounds())
    async with served(vault.desk, tmp_path) as shell:
        names.append("oncall")
        ran = await shell("notify", "test", who="operator")
        assert (ran.code, [(one["target"], one["state"]) for one in ran.document]) == (0, [("oncall", "sent")])
        names.append("other")
        ran = await shell("notify", "test", who="operator")
        assert ran.code == 4
        assert {(one["target"], one["state"], one["failure"]) for one in ran.document} >= {
            ("oncall", "sent", ""), ("other", "failing", "not_delivered")
        }  # fmt: skip
        shown = await shell("notify", "list", as_json=False)
        assert "not_delivered" in shown.out
    stop.set()
    await going
    still_open = "SELECT count(*) FROM byokeep.alert WHERE reason = 'notification_test' AND closed_at IS NULL"
    assert vault.sql(still_open).strip() == "0"
    assert all("notification_test" in one for one in taken)
    assert (await vault.call("POST", "/v1/notifications/test", who="auditor"))[0] == 403
    one = vault.desk.stand.subject("auditor", clients=(await vault.client(),))
    assert await vault.call("GET", "/v1/notifications", who=one) == (200, {"notifications": []})


async def test_rotations_are_listed_with_their_end_and_what_is_next(vault: Vault, tmp_path: Path) -> None:
    """Each names its client and its own next step; one that was taken back says so, with its records; and the grade."""
    desk = vault.desk
    client, _ = await vault.valid()
    await desk.onboard(client)
    run = (await desk.put(client, desk.canary()))[1]["rotation"]
    await desk.work()
    assert (await desk.call("POST", f"/v1/rotations/{run}/abort", "operator"))[0] == 200
    await desk.work()
    name = vault.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'").strip()
    async with served(desk, tmp_path) as shell:
        listed = await shell("rotate", "status", who="operator", as_json=False)
        assert listed.code == 0, listed.said
        assert listed.out.count(name) == 2
        rows = {one["id"]: one for one in (await shell("rotate", "status", who="operator")).document}
        (task,) = rows.keys() - {run}
        assert f"rotate resume {task} --accept stays_alive" in listed.out
        assert "aborted" in listed.out
        shown = await shell("rotate", "status", run, who="operator", as_json=False)
        assert shown.code == 0, shown.said
        assert f"rotate status --ref {rows[run]['ref']}" in shown.err
        assert {"procedure.ended", "verify", "left_alive"} & set(shown.out.split()) == {"procedure.ended", "verify"}
        runs = await shell("procedure", "list", "--client", str(client), who="operator", as_json=False)
        assert ("waiting" in runs.out, "failed" in runs.out) == (True, False)
        done = await shell("rotate", "resume", task, "--accept", "stays_alive", who="operator")
        assert done.code == 0, done.said
        told = await shell("key", "history", rows[run]["ref"], as_json=False)
        assert "accept" in told.out.split()  # the stage of a step
        (share,) = (await shell("rotate", "grade", str(client), who="operator")).document
        assert (share["mode"], share["percent"]) == ("manual", 100)
