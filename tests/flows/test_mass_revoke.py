"""Many keys and accounts revoked at once: cut off together, ended one by one, and never called more than is proved."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.accounts import maintenance
from byokeep.adapters.postgres.database import PostgresDatabase, PostgresTransaction
from byokeep.core.errors import Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Provider
from byokeep.incidents import mass_revoke
from byokeep.kernel import procedures
from byokeep.kernel.procedures import go_on
from byokeep.keys import administration
from byokeep_sim import SimKeyState
from tests.support.postgres_rows import state_rows
from tests.support.renewal import bench_on
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
PATH = "/v1/mass-revocations"
MANY = 500


async def ask(desk: Desk, path: str = "", who: Any = "operator", status: int = 202, **body: Any) -> Any:
    said = {name: str(one) if isinstance(one, UUID | datetime) else one for name, one in body.items()}
    got, reply = await desk.call("POST", PATH + path, who, {"reason": "provider_breached"} | said)
    assert got == status, reply
    return reply


async def shown(desk: Desk, run: Any) -> Any:
    status, reply = await desk.call("GET", f"{PATH}/{run['run']['id']}", "operator")
    assert status == 200, reply
    return reply


def states(found: Any) -> dict[str, int]:
    return dict(Counter(one["state"] for one in found["items"]))


def connections(desk: Desk, count: int, *clients: UUID, platform: str = "x") -> None:
    """Live accounts, connected on record, spread over clients."""
    by, listed = desk.people["operator"].id, ",".join(f"'{one}'::uuid" for one in clients)
    desk.sql(
        "CREATE TEMP TABLE made AS SELECT gen_random_uuid() AS id, n,"
        f" (ARRAY[{listed}])[1 + n % {len(clients)}] AS client FROM generate_series(1, {count}) AS n;"
        "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
        f" identity, identified_at, created_by) SELECT id, client, '{platform}', 'acme' || n, 'acme' || n, 'Acme',"
        f" '{{api}}', 'match', now(), '{by}' FROM made;"
        "INSERT INTO byokeep.account_grant (client_id, account_id, provider, login, app_id, external_id, username,"
        " display_name, state, version, access_version, scopes_known, obtained_by, verified_at, due_at)"
        f" SELECT client, id, '{platform}', '{platform}', 'our-app', 'ext' || n, 'acme' || n, 'Acme', 'live', 1, 1,"
        f" true, '{by}', now(), now() FROM made;"
        "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, environment, secret_ref, version,"
        " state, verification, risk, created_by, rotation_due_at, account_id) SELECT gen_random_uuid(), client,"
        f" '{platform}', 'oauth_token_set', 'account', 'development', 'vault://kv/clients/' || client ||"
        f" '/providers/{platform}/accounts/' || id || '/tokens', 1, 'active', 'verified', 'standard', '{by}',"
        " now() + interval '60 days', id FROM made;"
        "DROP TABLE made"
    )
    state_rows(desk.stand.db)


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that this process sends in the block, by name."""
    sent: list[str] = []
    for name in ("one", "maybe", "all", "ahead", "append"):
        real = getattr(PostgresTransaction, name)

        def counted(self: Any, *given: Any, _real: Any = real, **more: Any) -> Any:
            sent.append(next((one for one in given if isinstance(one, str)), "append"))
            return _real(self, *given, **more)

        monkeypatch.setattr(PostgresTransaction, name, counted)
    yield sent
    monkeypatch.undo()


async def ended(desk: Desk, reason: str, *accounts: str) -> None:
    """What the refresher leaves of a disconnected account: its grant over, and how on record."""
    worker = PostgresDatabase(desk.stand.db.url("byokeep_worker"), pool_size=1)
    try:
        for account in accounts:
            client = UUID(desk.sql(f"SELECT client_id FROM byokeep.platform_account WHERE id = '{account}'"))
            async with worker.begin(client_id=client) as tx:
                await tx.all(None, "grant_ended", client_id=client, account_id=UUID(account), reason=reason)
                outcome = Outcome.FAILED if reason == "unconfirmed" else Outcome.OK
                await tx.append(Event(name=EventName.GRANT_REVOKED, actor=desk.stand.app.system(), outcome=outcome,
                                      client_id=client, object_id=UUID(account),
                                      fields={"verification": reason}))  # fmt: skip
    finally:
        await worker.close()


async def test_five_hundred_are_cut_off_in_one_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six statements for a hundred of them, in one transaction; each on its client's record; no lease passes."""
    clients = [await desk.stand.client("openai") for _ in range(5)]
    counts = []
    for count, platform in ((5, "tiktok"), (MANY, "x")):
        connections(desk, count, *clients, platform=platform)
        job = await desk.stand.job(clients[0], secrets=[platform], platforms=[platform])
        with statements(monkeypatch) as sent:
            made = await ask(desk, provider=platform)
        counts.append(Counter(one for one in sent if not one.startswith("switch_")))  # of the broker's rounds
        assert (made["left"], states(made)) == (count, {"pending": count})
        assert (await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    parts = {name: many - counts[0][name] for name, many in counts[1].items() if many != counts[0][name]}
    assert set(parts.values()) == {parts["revocation_record"]} == {MANY // 100 - 1}, parts
    assert len(parts) == 6
    assert desk.sql("SELECT DISTINCT state FROM byokeep.credential_ref WHERE provider = 'x'") == "deactivated"
    assert desk.sql("SELECT count(*) FROM byokeep.platform_account WHERE lanes <> '{}'") == "0"
    assert desk.sql("SELECT count(DISTINCT xmin::text) FROM byokeep.credential_ref WHERE provider = 'x'") == "1"
    assert desk.sql("SELECT count(*) FROM byokeep.account_grant WHERE due_at IS NOT NULL") == "0"
    assert desk.sql(
        "SELECT count(*) FROM byokeep.revocation_item i JOIN byokeep.audit_record r ON r.chain = i.client_id"
        " AND r.seq = i.cut_seq AND r.object_id = i.object_id AND r.event = 'account.lanes_set'"
    ) == str(MANY + 5)
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref WHERE state = 'active' AND provider = 'openai'") == "5"
    # Three ends out of four are no success, and each is a task.
    items = [one["object_id"] for one in made["items"]]
    for at, reason in enumerate(("confirmed", "unconfirmed", "not_offered")):
        await ended(desk, reason, *items[at * 4 : at * 4 + 4])
    await go_on(desk.worker)
    await desk.work()
    found = await shown(desk, made)
    assert states(found) == {"revoked": 4, "unconfirmed": 4, "unsupported": 4, "pending": MANY - 12}
    assert (found["left"], found["run"]["state"]) == (MANY - 4, "running")
    assert all(one["seq"] for one in found["items"] if one["state"] != "pending")
    assert found["items"][-1]["state"] == "revoked"
    assert "revocation_by_hand" in desk.stand.alerts()


async def test_what_is_left_is_listed_until_a_person_settles_it(desk: Desk) -> None:
    """Not done while one is unconfirmed or cannot be ended by a call; a person's word settles it, and does not make it
    revoked; then the run is complete, and its evidence can be signed."""
    client = await desk.stand.client()
    connections(desk, 3, client)
    by_hand = desk.stand.account(client, account="by_hand")
    made = await ask(desk, provider="x", client_id=client)
    items = [one["object_id"] for one in made["items"] if one["object_id"] != str(by_hand)]
    for reason, item in zip(("confirmed", "unconfirmed", "not_offered"), items, strict=True):
        await ended(desk, reason, item)
    await go_on(desk.worker)
    await desk.work()
    found = await shown(desk, made)
    assert (found["run"]["state"], found["run"]["reason"], found["left"]) == ("failed", "revoke_by_hand", 3)
    assert {one["object_id"]: one["state"] for one in found["items"]} == {
        items[0]: "revoked", items[1]: "unconfirmed", items[2]: "unsupported", str(by_hand): "unsupported",
    }  # fmt: skip
    status, _ = await desk.call("POST", f"{PATH}/{made['run']['id']}/items/{items[0]}/settle", "operator")
    assert status == 409
    open_ = "SELECT count(*) FROM byokeep.alert WHERE reason = 'revocation_by_hand' AND closed_at IS NULL"
    for item in (items[1], items[2], str(by_hand)):
        path = f"{PATH}/{made['run']['id']}/items/{item}/settle"
        assert (await desk.call("POST", path, "approver"))[0] == 403
        assert desk.sql(open_) == "1"
        assert (await desk.call("POST", path, "operator"))[0] == 200
        assert (await desk.call("POST", path, "operator"))[0] == 409
    assert desk.sql(open_) == "0"  # with the last one, and not before
    await desk.retry_now()
    found = await shown(desk, made)
    assert (found["run"]["state"], found["left"], desk.sql(open_)) == ("complete", 0, "0")
    assert states(found) == {"revoked": 1, "unconfirmed": 1, "unsupported": 2}
    assert all(one["settled_by"] for one in found["items"] if one["state"] != "revoked")
    with psycopg.connect(desk.stand.db.conninfo("byokeep_web")) as web:  # what a thief of web's role cannot say
        web.execute("SELECT set_config('byokeep.scope', 'all', false)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            web.execute("UPDATE byokeep.revocation_item SET state = 'revoked' WHERE state = 'unconfirmed'")
    signed, evidence = await desk.stand.call("POST", f"/v1/evidence/{made['run']['id']}", "operator")
    assert (signed, "payload" in evidence) == (200, True)


async def test_a_key_is_ended_at_its_provider_and_proved_dead(desk: Desk) -> None:
    """With an administrator's key the provider ends it, and refuses it when asked; without one it is a person's task,
    and a person's word is held against the provider: a key that still works is not settled."""
    able, unable = await desk.stand.client(), await desk.stand.client()
    keys = {client: desk.canary("openrouter") for client in (able, unable)}
    for client in (able, unable):
        await desk.onboard(client, keys[client], "openrouter")
    admin = f"admin-openrouter-{able.hex}".encode()
    desk.sim.book.keys.put("openrouter", admin.decode(), SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{able}/providers/openrouter/admin?at="
    assert (await desk.call("PUT", path, "operator", raw=admin))[0] == 201
    made = await ask(desk, provider="openrouter")
    assert states(made) == {"pending": 2}
    await go_on(desk.worker)
    await desk.work()
    found = await shown(desk, made)
    assert {one["client_id"]: (one["state"], one["cause"]) for one in found["items"]} == {
        str(able): ("revoked", "refused_by_provider"), str(unable): ("unsupported", "no_admin_key"),
    }  # fmt: skip
    [item] = [one["object_id"] for one in found["items"] if one["client_id"] == str(unable)]
    path = f"{PATH}/{made['run']['id']}/items/{item}/settle"
    assert (await desk.call("POST", path, "operator"))[0] == 200
    await desk.retry_now()
    found = await shown(desk, made)
    [one] = [one for one in found["items"] if one["client_id"] == str(unable)]
    assert (one["state"], one["cause"], one["settled_by"]) == ("failed", "old_key_alive", None)
    desk.sim.book.keys.put("openrouter", keys[unable].decode(), SimKeyState.REVOKED, "acme")
    assert (await desk.call("POST", path, "operator"))[0] == 200
    await desk.retry_now()
    [one] = [one for one in (await shown(desk, made))["items"] if one["client_id"] == str(unable)]
    assert (one["state"], one["cause"]) == ("revoked", "refused_by_provider")


async def with_admin(desk: Desk) -> UUID:
    """A client with an administrator's key and a key at OpenRouter."""
    client = await desk.stand.client()
    await desk.onboard(client, desk.canary("openrouter"), "openrouter")
    admin = f"admin-openrouter-{client.hex}".encode()
    desk.sim.book.keys.put("openrouter", admin.decode(), SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{client}/providers/openrouter/admin?at="
    assert (await desk.call("PUT", path, "operator", raw=admin))[0] == 201
    return client


async def one_of(desk: Desk, run: Any) -> tuple[str, str]:
    [one] = (await shown(desk, run))["items"]
    return one["state"], one["cause"]


@pytest.mark.parametrize("held", ["kill", "suspended", "closed"])
async def test_what_nobody_may_do_now_is_done_once_they_may(desk: Desk, held: str) -> None:
    """Under a kill, which comes first, nothing is asked or told of a key and nothing given up; after it the key ends at
    its provider."""
    client = await with_admin(desk)
    body = {"client_id": str(client), "reason": "provider_breached"}
    if held == "kill":
        assert (await desk.stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
    made = await ask(desk, provider="openrouter")
    if held != "kill":
        desk.sql(f"UPDATE byokeep.client SET state = '{held}' WHERE id = '{client}'")
    await go_on(desk.worker)
    await desk.work()
    if held == "closed":  # for good
        assert (await one_of(desk, made)) == ("unconfirmed", "client_closed")
        return
    assert (await one_of(desk, made)) == ("pending", "switch_closed" if held == "kill" else "client_not_active")
    told = "SELECT count(*), (SELECT changed_at FROM byokeep.revocation_item) FROM byokeep.job WHERE kind = 'custody'"
    before = desk.sql(told)
    await desk.retry_now(1)
    assert (desk.sql(told), "revocation_refused" in desk.stand.alerts()) == (before, False)
    if held == "kill":
        wish = (await desk.stand.call("POST", "/v1/switches/open-requests", "operator", body))[1]
        assert (await desk.stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver"))[0] == 200
    desk.sql(f"UPDATE byokeep.client SET state = 'active' WHERE id = '{client}'")
    await desk.retry_now()
    assert (await one_of(desk, made)) == ("revoked", "refused_by_provider")


async def test_what_failed_is_tried_again_when_its_run_is_resumed(desk: Desk) -> None:
    """A person who has mended the cause resumes the run, and settles nothing that nobody ended by hand."""
    client = await with_admin(desk)
    admin = f"admin-openrouter-{client.hex}"
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.REVOKED, "acme")
    made = await ask(desk, provider="openrouter")
    await go_on(desk.worker)
    await desk.work()
    assert (await one_of(desk, made)) == ("failed", "provider_refused")
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.MANAGEMENT, "acme")
    assert (await desk.call("POST", f"/v1/procedures/{made['run']['id']}/resume", "operator"))[0] == 200
    await desk.retry_now()
    assert (await one_of(desk, made)) == ("revoked", "refused_by_provider")


async def test_what_is_settled_tries_nothing_else_again(desk: Desk) -> None:
    """A person's word about one item of a run that stopped leaves what failed of another to whoever resumes it."""
    client = await with_admin(desk)
    admin = f"admin-openrouter-{client.hex}"
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.REVOKED, "acme")
    keyless = await desk.stand.client("openrouter")
    item = desk.sql(
        f"UPDATE byokeep.credential_ref SET provider_place = 'resource=one' WHERE client_id = '{keyless}' RETURNING id"
    ).split()[0]
    state_rows(desk.stand.db)
    made = await ask(desk, provider="openrouter")
    await go_on(desk.worker)
    await desk.work()
    assert states(await shown(desk, made)) == {"failed": 1, "unsupported": 1}
    desk.sim.book.keys.put("openrouter", admin, SimKeyState.MANAGEMENT, "acme")
    assert (await desk.call("POST", f"{PATH}/{made['run']['id']}/items/{item}/settle", "operator"))[0] == 200
    await desk.retry_now()
    found = await shown(desk, made)
    assert (states(found), found["run"]["state"], found["left"]) == ({"failed": 1, "unsupported": 1}, "failed", 1)


async def test_two_people_who_settle_the_last_two_items_at_once_end_the_run(desk: Desk) -> None:
    """The second sees what the first said, and that nothing is left."""
    items = []
    for _ in range(2):
        keyless = f"client_id = '{await desk.stand.client('openrouter')}'"
        place = f"UPDATE byokeep.credential_ref SET provider_place = 'resource=one' WHERE {keyless} RETURNING id"
        items += desk.sql(place).split()[:1]
    state_rows(desk.stand.db)
    made = await ask(desk, provider="openrouter")
    await go_on(desk.worker)
    await desk.work()
    settled = {"run_id": UUID(made["run"]["id"]), "object_id": UUID(items[0]), "by": desk.stand.people["operator"].id}
    async with desk.worker.db.begin(every_client=True) as tx:
        assert await tx.all(UUID, "revocation_settle", **settled)
        path = f"{PATH}/{made['run']['id']}/items/{items[1]}/settle"
        other = asyncio.create_task(desk.call("POST", path, "operator"))
        await asyncio.sleep(0.3)
        assert not other.done()
    assert (await other)[0] == 200
    await desk.work()
    found = await shown(desk, made)
    assert (found["run"]["state"], found["left"]) == ("complete", 0)


async def test_a_provider_that_was_not_called_refused_nothing(desk: Desk) -> None:
    """A value that somebody else works with is left to a person, and nothing says that its provider was told."""
    client, other = await with_admin(desk), await desk.stand.client()
    await desk.onboard(other, desk.canaries[-1].value, "openrouter")
    made = await ask(desk, provider="openrouter", client_id=client)
    await go_on(desk.worker)
    await desk.work()
    assert (await one_of(desk, made)) == ("failed", "not_called")
    assert desk.stand.events("key.rotation") == []


async def test_tries_are_counted_for_each_version(desk: Desk) -> None:
    """What an unreachable administration did not end of one version costs another version none of its tries."""
    client = await desk.stand.client("openrouter")
    ref = UUID(desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'"))
    run: Any = SimpleNamespace(id=uuid4(), client_id=client, object_id=ref, provider=Provider.OPENROUTER,
                               at={"client_id": client, "id": ref})  # fmt: skip
    tries = [
        await administration.not_answered(desk.worker, desk.worker.system(), run, "revoke", "away", version=version)
        for version in (1, 1, 2)
    ]
    assert tries == [1, 2, 1]


async def test_what_is_settled_while_its_run_stops_is_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that saw nothing pending stops no run of which a person has settled something meanwhile."""
    client, key = await desk.stand.client(), desk.canary("openrouter")
    await desk.onboard(client, key, "openrouter")
    made = await ask(desk, provider="openrouter")
    desk.sim.book.keys.put("openrouter", key.decode(), SimKeyState.REVOKED, "acme")
    path, real = f"{PATH}/{made['run']['id']}/items/{made['items'][0]['object_id']}/settle", procedures._stop

    async def stops(*given: Any) -> None:
        monkeypatch.setattr(procedures, "_stop", real)
        assert (await desk.call("POST", path, "operator"))[0] == 200
        await real(*given)

    monkeypatch.setattr(procedures, "_stop", stops)
    await go_on(desk.worker)
    await desk.work()
    await desk.retry_now()
    assert (await one_of(desk, made)) == ("revoked", "refused_by_provider")
    assert (await shown(desk, made))["run"]["state"] == "complete"


async def test_one_that_hangs_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each of some uses a whole step up, the next look begins with those that were not reached."""
    clients = sorted([await desk.stand.client("openai") for _ in range(3)])
    made = await ask(desk, provider="openai")

    async def hangs(app: Any, actor: Any, key: Any) -> bool:
        if key.client_id != clients[-1]:
            raise TimeoutError  # as when the limit of a step ends it
        return False

    monkeypatch.setattr(mass_revoke, "_ended", hangs)
    await go_on(desk.worker)
    await desk.work()
    await desk.retry_now(3)
    assert states(await shown(desk, made)) == {"pending": 2, "unsupported": 1}


async def test_a_revocation_that_was_killed_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut before the commit nothing is cut off; after it, before anybody was told, a round takes it up; cut within the
    work at the providers, what is on record stays and the rest goes on."""
    client = await desk.stand.client()
    connections(desk, 4, client)

    async def dies(*_: Any, **__: Any) -> Any:
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(procedures, "passed", dies)
        assert (await desk.call("POST", PATH, "operator", {"reason": "breach", "provider": "x"}))[0] == 503
    assert desk.sql("SELECT count(*) FROM byokeep.revocation_item") == "0"
    assert desk.sql("SELECT DISTINCT state FROM byokeep.credential_ref") == "active"
    with monkeypatch.context() as patched:
        patched.setattr(procedures, "wake", dies)
        assert (await desk.call("POST", PATH, "operator", {"reason": "breach", "provider": "x"}))[0] == 503
    assert desk.sql("SELECT DISTINCT state FROM byokeep.credential_ref") == "deactivated"
    run = UUID(desk.sql("SELECT id FROM byokeep.procedure_run"))
    desk.sql("UPDATE byokeep.procedure_run SET started_at = started_at - interval '2 minutes'")
    items = desk.sql("SELECT object_id FROM byokeep.revocation_item ORDER BY object_id").split()
    await ended(desk, "confirmed", *items)
    real, seen = mass_revoke._say, []

    async def once(*given: Any) -> None:
        if seen:
            raise SystemError("killed")
        seen.append(await real(*given))

    with monkeypatch.context() as patched:
        patched.setattr(mass_revoke, "_say", once)
        await go_on(desk.worker)
        await desk.work()
    assert desk.sql("SELECT count(*) FROM byokeep.revocation_item WHERE state = 'revoked'") == "1"
    await go_on(desk.worker)
    await desk.retry_now()
    found = await shown(desk, {"run": {"id": str(run)}})
    assert (found["run"]["state"], states(found)) == ("complete", {"revoked": 4})


async def test_by_runner_and_by_time_what_was_given_out_and_nothing_else(desk: Desk) -> None:
    """What jobs of a runner were given, or anybody in a span; a dry run names it and changes nothing; who sees some
    clients names one; garbage is refused."""
    stand = desk.stand
    used, idle = await stand.client("openai", "anthropic"), await stand.client("openai")
    connections(desk, 2, used)
    other = stand.subject("runner", "other")
    await stand.lease(await stand.job(used, secrets=["openai", "x"]))
    await stand.lease(await stand.job(idle, runner_id=str(other.id)), other)
    before = desk.sql("SELECT string_agg(state, ',' ORDER BY id) FROM byokeep.credential_ref")
    dry = await ask(desk, "/preview", status=200, runner_id=stand.people["runner"].id)
    assert sorted((one["client_id"], one["provider"]) for one in dry["targets"]) == sorted(
        [(str(used), "openai"), (str(used), "x"), (str(used), "x")]
    )
    assert dry["jobs"] == 1
    assert desk.sql("SELECT string_agg(state, ',' ORDER BY id) FROM byokeep.credential_ref") == before
    now = datetime.now(UTC)
    span = await ask(desk, "/preview", status=200, since=now - timedelta(hours=1))
    assert {one["client_id"] for one in span["targets"]} == {str(used), str(idle)}
    # Leased two hours ago: a job that goes on holds it still; one that was closed before the span held nothing in it.
    desk.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '2 hours'")
    desk.sql("UPDATE byokeep.job SET state = 'closed', closed_at = now() - interval '90 minutes', opened_at = now() -"
             f" interval '2 hours' WHERE client_id = '{idle}' AND kind = 'use'")  # fmt: skip
    for held in ({}, {"runner_id": stand.people["runner"].id}):
        found = (await ask(desk, "/preview", status=200, since=now - timedelta(minutes=1), **held))["targets"]
        assert {(one["client_id"], one["provider"]) for one in found} == {(str(used), "openai"), (str(used), "x")}
    for nothing in ({"since": now - timedelta(hours=9), "until": now - timedelta(hours=8)}, {"runner_id": uuid4()}):
        assert (await ask(desk, "/preview", status=200, **nothing))["targets"] == []
        assert (await ask(desk, status=422, **nothing))["code"] == "nothing_fits"
    for bad in ({}, {"provider": "myspace"}, {"provider": "x", "reason": "It leaked!"}, {"since": "soon"},
                {"provider": "openai", "until": now}, {"since": now, "until": now},
                {"since": now + timedelta(hours=1)}):  # fmt: skip
        await ask(desk, status=422, **bad)
    narrow = stand.subject("operator", "narrow", clients=(idle,))
    await ask(desk, "", narrow, 404, provider="openai")
    await ask(desk, "", narrow, 404, provider="openai", client_id=used)
    await ask(desk, "", narrow, 404, provider="openai", client_id=idle, incident_id=used)
    for role in ("admin", "approver", "auditor"):
        await ask(desk, "", role, 403, provider="openai")
    made = await ask(desk, runner_id=stand.people["runner"].id)
    assert len(made["items"]) == 3
    assert desk.sql(f"SELECT state FROM byokeep.credential_ref WHERE client_id = '{idle}'") == "active"
    assert desk.sql("SELECT state FROM byokeep.credential_ref WHERE provider = 'anthropic'") == "active"
    killed = desk.sql("SELECT DISTINCT client_id FROM byokeep.job WHERE state = 'killed'")
    assert killed == str(used)
    assert (await desk.call("GET", f"{PATH}/{made['run']['id']}", narrow))[0] == 404
    assert desk.not_once_on_record() == []


async def test_the_refresher_ends_what_was_cut_off(desk: Desk) -> None:
    """End to end: the platform hears of it, refuses the token afterwards, and the record of that is the proof."""
    async with bench_on(desk.stand) as bench:
        account = await bench.connect("x")
        made = await ask(desk, provider="x")
        await maintenance.end_disconnected(bench.app)
        await go_on(desk.worker)
        await desk.work()
        found = await shown(desk, made)
        assert (found["run"]["state"], states(found)) == ("complete", {"revoked": 1})
        [one] = found["items"]
        proof = json.loads(desk.sql(
            "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record"
            f" WHERE chain = '{account.client_id}' AND seq = {one['seq']}"
        ))  # fmt: skip
        assert (proof["event"], proof["fields"]["verification"]) == ("grant.revoked", "confirmed")
        assert "revoke" in await bench.social.calls("x", account.name)


async def test_each_version_of_a_key_that_may_be_alive_is_revoked_by_itself(desk: Desk) -> None:
    """What a rotation has not ended yet, and what it has made: the run is not done while one of them is alive at the
    provider, and a rotation that ends closes no alert of it meanwhile."""
    soaking, waiting = await desk.stand.client(), await desk.stand.client()
    keys: dict[UUID, list[bytes]] = {soaking: [], waiting: []}
    for client, query in ((soaking, "?skip_rehearsal=true"), (waiting, "")):
        keys[client] = [desk.canary(), desk.canary()]
        await desk.onboard(client, keys[client][0])
        assert (await desk.put(client, keys[client][1], query=query))[0] == 202
        await desk.work()
    assert desk.sql("SELECT string_agg(version || '/' || coalesce(candidate_version, 0), ' ' ORDER BY version)"
                    " FROM byokeep.credential_ref") == "1/2 2/0"  # fmt: skip
    dry = await ask(desk, "/preview", status=200, provider="openai")
    assert [one["version"] for one in dry["targets"]] == [2, 1, 2, 1]
    made = await ask(desk, provider="openai")
    assert sorted((one["client_id"], one["version"]) for one in made["items"]) == sorted(
        (str(client), version) for client in keys for version in (1, 2)
    )
    await go_on(desk.worker)
    await desk.work()
    for client, alive in ((waiting, None), (soaking, 1)):
        for version, value in enumerate(keys[client], 1):
            if version != alive:
                desk.sim.book.keys.put("openai", value.decode(), SimKeyState.REVOKED, "acme")
        item = next(one["object_id"] for one in made["items"] if one["client_id"] == str(client))
        assert (await desk.call("POST", f"{PATH}/{made['run']['id']}/items/{item}/settle", "operator"))[0] == 200
        await desk.retry_now()
    found = await shown(desk, made)
    assert {(one["client_id"], one["version"]): (one["state"], one["cause"]) for one in found["items"]} == {
        (str(waiting), 1): ("revoked", "refused_by_provider"), (str(waiting), 2): ("revoked", "refused_by_provider"),
        (str(soaking), 2): ("revoked", "refused_by_provider"), (str(soaking), 1): ("failed", "old_key_alive"),
    }  # fmt: skip
    assert (found["run"]["state"], found["left"]) == ("failed", 1)
    desk.sql("UPDATE byokeep.procedure_run SET closed_at = now(), state = 'aborted' WHERE procedure LIKE 'rotate%'")
    desk.sql("SELECT * FROM byokeep.reminders_over('{}')")
    assert "old_key_alive" in desk.stand.alerts()
    desk.sim.book.keys.put("openai", keys[soaking][0].decode(), SimKeyState.REVOKED, "acme")
    assert (await desk.call("POST", f"{PATH}/{made['run']['id']}/items/{item}/settle", "operator"))[0] == 200
    await desk.retry_now()
    assert (await shown(desk, made))["run"]["state"] == "complete"
    desk.sql("SELECT * FROM byokeep.reminders_over('{}')")
    assert "old_key_alive" not in desk.stand.alerts()


async def test_a_key_that_somebody_else_ends_meanwhile_stops_no_revocation(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who compromises a key at the same moment waits, and everything is cut off; a keyless one is a person's task."""
    client, other = await desk.stand.client("openai"), await desk.stand.client("openai")
    keyless = desk.sql(
        "UPDATE byokeep.credential_ref SET provider_place = 'rule=fdrl_1,service_account=svac_1'"
        f" WHERE client_id = '{other}' RETURNING id"
    ).split()[0]
    ref = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'")
    real, blocked = mass_revoke._targets, []

    async def raced(*given: Any) -> Any:
        found = await real(*given)
        try:
            desk.sql(
                "BEGIN; SET LOCAL lock_timeout = '300ms';"
                f" UPDATE byokeep.credential_ref SET state = 'compromised' WHERE id = '{ref}'; COMMIT"
            )
        except Unavailable as error:
            blocked.append(error.code)
        return found

    state_rows(desk.stand.db)
    monkeypatch.setattr(mass_revoke, "_targets", raced)
    made = await ask(desk, provider="openai")
    assert (blocked, len(made["items"])) == (["postgres_admin_failed"], 2)
    await go_on(desk.worker)
    await desk.work()
    path = f"{PATH}/{made['run']['id']}/items/{keyless}/settle"
    for settled in (False, True):
        [one] = [one for one in (await shown(desk, made))["items"] if one["object_id"] == keyless]
        assert (one["state"], one["cause"], bool(one["settled_by"])) == ("unsupported", "keyless", settled)
        if not settled:
            assert (await desk.call("POST", path, "operator"))[0] == 200
            await desk.retry_now()


async def test_where_a_whole_consent_ends_that_is_told_before_and_after(desk: Desk) -> None:
    """At Meta an account ends with all that its owner consented to: the platform is named, no other client."""
    client, other = await desk.stand.client(), await desk.stand.client()
    connections(desk, 2, client, other, platform="meta")
    connections(desk, 1, client)
    seen = await ask(desk, "/preview", status=200, provider="meta", client_id=client)
    assert (len(seen["targets"]), seen["others_end"]) == (1, ["meta"])
    made = await ask(desk, provider="meta", client_id=client)
    assert (made["others_end"], (await shown(desk, made))["others_end"]) == (["meta"], ["meta"])
    assert (await ask(desk, "/preview", status=200, provider="x"))["others_end"] == []
