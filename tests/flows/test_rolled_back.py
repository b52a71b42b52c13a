"""An older database written in place: the gate closes, what was stopped stays stopped, and two people decide."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.audit.disclosure import copy
from byokeep.audit.log import REASON, checkpoint, public_keys, verify
from byokeep.client.verify import read_keys, verify_consistency, verify_epochs, verify_export
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.jobs import gatekeep, switches
from byokeep.jobs.gatekeep import at_start, closing
from byokeep.processes import serve
from byokeep.tenancy.clients import suspend_client
from tests.support.broker import Stand
from tests.vectors import independent_verify

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'byokeep' AND tablename <> 'alembic_version'"


def keep_old(stand: Stand) -> None:
    """Keep every row as it is now."""
    stand.db.sql(
        "CREATE SCHEMA IF NOT EXISTS old;"
        + "".join(f"CREATE TABLE old.{name} AS TABLE byokeep.{name};" for name in stand.db.sql(TABLES).split())
    )


def put_back(stand: Stand) -> None:
    """Write the kept rows in place, past every trigger, as who owns the machine can."""
    names = stand.db.sql(TABLES).split()
    steps = ["BEGIN", "SET session_replication_role = replica"]
    for name in names:
        steps += [
            f"ALTER TABLE byokeep.{name} DISABLE TRIGGER ALL",
            f"DELETE FROM byokeep.{name}",
            f"INSERT INTO byokeep.{name} SELECT * FROM old.{name}",
            f"ALTER TABLE byokeep.{name} ENABLE TRIGGER ALL",
        ]
    stand.db.sql("; ".join([*steps, "COMMIT"]))


def a_person(role: Role) -> Actor:
    return Actor(id=uuid4(), roles=frozenset({role}), clients=None, request_id=uuid4())


async def disable(stand: Stand, subject: UUID) -> None:
    """As the broker does it: the row, and its record."""
    db = PostgresDatabase(stand.db.url("byokeep_broker"), pool_size=1)
    try:
        stand.db.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{subject}'")
        async with db.begin(every_client=True) as tx:
            await tx.append(
                Event(name=EventName.OPERATOR_CHANGED, actor=a_person(Role.ADMIN), outcome=Outcome.OK,
                      object_id=subject, fields={"subject": str(subject)})
            )  # fmt: skip
    finally:
        await db.close()


async def release(stand: Stand) -> tuple[int, Any]:
    status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", {"reason": "restore_accepted"})
    assert status == 201, wish
    return await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver")


def switch(stand: Stand, scope: str = "global") -> str:
    return stand.db.sql(f"SELECT closed, reason FROM byokeep.switch WHERE scope = '{scope}'")


@pytest.mark.req("S-TLOG-3")
@pytest.mark.parametrize("covered", [True, False], ids=["checkpointed", "copied alone"])
async def test_an_older_database_closes_the_gate_until_two_people_decide(
    stand: Stand, tmp_path: Path, covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills and revocations hold, nothing is leased, and a release makes the older database the new base, for good."""
    app, place = stand.app, stand.home / "checkpoints"
    client, killed, suspended = [await stand.client("openai") for _ in range(3)]
    lost = stand.subject("operator", "lost")
    disabled = stand.subject("operator", "disabled")
    expired = stand.subject("operator", "expired")
    stand.account(client)
    job = await stand.job(client)
    lease = await stand.lease(job)
    await checkpoint(app)
    await copy(app)
    keep_old(stand)
    old_note = tmp_path / "old-note"
    old_note.write_bytes((place / "checkpoint").read_bytes())

    body = {"client_id": str(killed), "reason": "suspected_leak"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
    stand.db.sql(f"UPDATE byokeep.api_token SET revoked_at = now() WHERE subject_id = '{lost.id}'")
    stand.db.sql(
        f"UPDATE byokeep.api_token SET revoked_at = now(), expires_at = now() WHERE subject_id = '{expired.id}'"
    )
    await disable(stand, disabled.id)
    await suspend_client(app, a_person(Role.ADMIN), ClientId(suspended))
    assert await gatekeep.hold(app) == 0
    if covered:
        await checkpoint(app)
    await copy(app)
    noted = (place / "tombstones").read_text()
    assert f"switch:client:{killed} " in noted
    assert f"subject:{disabled.id} " in noted
    assert f"client:{suspended} " in noted
    assert len(noted.splitlines()) == 4, "and the one token that lives"

    put_back(stand)
    assert (await stand.permit(lease["lease_id"]))[0] == 201, "the older database opens everything"
    assert (await stand.call("GET", "/v1/switches", lost))[0] == 200

    engage = switches.engage
    for stuck in (None, killed):  # where the gate, or the client's switch, cannot be engaged nothing is served

        async def busy(*given: Any, stuck: UUID | None = stuck) -> Any:
            if given[2].client_id == stuck:
                raise Unavailable("database_busy")
            return await engage(*given)

        with monkeypatch.context() as held:
            held.setattr(switches, "engage", busy)
            with pytest.raises(Unavailable, match="database_busy"):
                await at_start(app)
        assert REASON in stand.alerts()
    await at_start(app)
    assert switch(stand) == f"t|{REASON}"
    assert switch(stand, f"client:{killed}") == f"t|{gatekeep.REASON}"
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    spec = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
    assert (await stand.call("POST", "/v1/jobs", "dispatcher", spec))[1]["code"] == "switch_closed"
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 403
    for person in (lost, disabled):
        assert (await stand.call("GET", "/v1/switches", person))[0] == 401
    assert stand.db.sql(f"SELECT state FROM byokeep.client WHERE id = '{suspended}'") == "suspended"
    assert {REASON, gatekeep.REASON} <= set(stand.alerts())
    records = [stand.events(name, "ok") for name in ("switch.closed", "token.revoked", "operator.changed",
                                                     "client.suspended")]  # fmt: skip
    assert [len(found) for found in records] == [2, 1, 1, 1]

    epoch = stand.db.sql("SELECT epoch FROM byokeep.switch WHERE scope = 'global'")
    for work in (checkpoint, copy):
        with contextlib.suppress(Integrity):
            await closing(app, work(app))
    assert await gatekeep.hold(app) == 0
    assert stand.db.sql("SELECT epoch FROM byokeep.switch WHERE scope = 'global'") == epoch, "engaged once"

    of_the_base = {REASON, "audit_copy_diverged"} | ({"checkpoint_refused"} if covered else set())
    before = set(stand.alerts())
    assert of_the_base <= before
    status, reply = await release(stand)
    assert (status, reply.get("closed")) == (200, False), reply
    assert set(stand.alerts()) == before - {REASON}, "that of the closed gate is over, and no other"
    await checkpoint(app)
    await copy(app)
    await at_start(app)
    assert await gatekeep.hold(app) == 0
    assert switch(stand).startswith("f|")
    assert switch(stand, f"client:{killed}").startswith("t|"), "each kill is released by itself"
    assert (await stand.lease(await stand.job(client)))["lease_id"]
    report = await verify(app, a_person(Role.AUDITOR))
    assert report.malformed == ()
    assert stand.events("checkpoint.signed")[-2].count(f'"reason":"{REASON}"') == 1

    keys = tmp_path / "keys.txt"
    keys.write_text(str(await public_keys(app)))
    trusted = read_keys(keys)
    base = verify_epochs(place / "epochs.jsonl", trusted).base
    assert base == 2
    verify_consistency(old_note, place / "checkpoint", place / "epochs.jsonl", trusted)
    assert verify_export([place / "copy" / f"audit-{base}.jsonl"], trusted, epochs=place / "epochs.jsonl").covered
    with pytest.raises(Integrity):
        verify_export([place / "copy" / "audit.jsonl"], trusted, epochs=place / "epochs.jsonl")
    independent_verify.epochs_of(place / "epochs.jsonl", independent_verify.keys_of(keys))


@pytest.mark.req("R7.1-3")
@pytest.mark.parametrize("every", [False, True])
async def test_a_kill_survives_restarts_and_a_database_that_lost_it(
    stand: Stand, every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a client, of its lanes, of everything: engaged after each start, also of a database of before; the job that it
    stops clears it by no call; where it cannot be read nothing passes."""
    app = stand.app
    client, other = await stand.client("openai"), await stand.client("openai")
    stand.account(client)
    lease = await stand.lease(await stand.job(client))
    keep_old(stand)
    lane = {"client_id": str(other), "lane": "api", "reason": "suspected_leak"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", lane))[0] == 200
    await gatekeep.hold(app)
    whole = {"reason": "suspected_leak"} | ({} if every else {"client_id": str(client)})
    status, killed = await stand.call("POST", "/v1/switches/close", "operator", whole)
    assert status == 200
    scope = killed["scope"]
    put_back(stand)  # the kill was a moment ago: nothing of ours knows of it, and the store does
    assert switch(stand, scope) in ("", "f|installed")
    await stand.job(other)  # its record has the number of the one that was lost
    for looked, code in ((_away, "store_unreachable"), (_denied, "cut_off_unreadable")):
        with monkeypatch.context() as store:
            store.setattr(type(app.cutoff), "disabled", looked)
            with pytest.raises(Unavailable, match=code):
                await at_start(app)
    for _ in range(2):  # and another start, or the next node's
        await at_start(app)
        assert switch(stand, scope) == "t|cut_off_unexplained"
    assert switch(stand, f"client:{other}:lane:api") == f"t|{gatekeep.REASON}"
    assert "cut_off_unexplained" in stand.alerts()
    wish = whole | {"reason": "let_me_go"}
    for who in ("runner", "dispatcher"):
        assert (await stand.call("POST", "/v1/switches/open-requests", who, wish))[0] == 403
    status, asked = await stand.call("POST", "/v1/switches/open-requests", "operator", wish)
    assert status == 201, asked
    assert (await stand.call("POST", f"/v1/switches/open-requests/{asked['id']}/approve", "runner"))[0] == 403
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_closed"
    stand.db.sql(f"DELETE FROM byokeep.switch WHERE scope IN ('{scope}', 'global')")
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "switch_unknown", "none to read counts as engaged"


async def _away(*_: object) -> bool:
    raise Unavailable("store_unreachable")


async def _denied(*_: object) -> bool | None:
    """A policy of before, which does not let us look."""
    return None


async def test_a_person_who_was_let_back_in_is_not_shut_out_again(stand: Stand) -> None:
    """While its record stands in the database the database has the last word: released kills stay released."""
    client = await stand.client()
    person = stand.subject("operator", "back")
    await disable(stand, person.id)
    body = {"client_id": str(client), "reason": "drill"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
    assert await gatekeep.hold(stand.app) == 0
    stand.db.sql(f"UPDATE byokeep.subject SET state = 'active' WHERE id = '{person.id}'")
    wish = (await stand.call("POST", "/v1/switches/open-requests", "operator", body | {"reason": "drill_over"}))[1]
    assert (await stand.call("POST", f"/v1/switches/open-requests/{wish['id']}/approve", "approver"))[0] == 200
    assert await gatekeep.hold(stand.app) == 0
    assert switch(stand, f"client:{client}").startswith("f|")
    assert (await stand.call("GET", "/v1/switches", person))[0] == 200


async def test_an_approval_from_before_the_loss_does_not_accept_it(stand: Stand) -> None:
    """It was given for a switch that nobody had lost anything behind: nothing opens, and the log keeps its base."""
    app = stand.app
    assert (await stand.call("POST", "/v1/switches/close", "operator", {"reason": "drill"}))[0] == 200
    status, wish = await stand.call("POST", "/v1/switches/open-requests", "operator", {"reason": "drill_over"})
    await checkpoint(app)
    keep_old(stand)
    await disable(stand, stand.subject("operator", "disabled").id)
    await checkpoint(app)
    put_back(stand)
    await at_start(app)
    size = (await app.checkpoints.latest())[0].size
    path = f"/v1/switches/open-requests/{wish['id']}/approve"
    status, refused = await stand.call("POST", path, "approver")
    assert (status, refused["code"]) == (403, "epoch_changed")
    state = (await app.checkpoints.latest())[0]
    assert (state.base, state.size) == (0, size)


async def test_a_rebase_cut_off_is_finished_by_the_next_release(stand: Stand) -> None:
    """The store is away when two people release: nothing opens; asked again, the very epoch is signed and all opens."""
    app = stand.app
    await stand.client()
    await checkpoint(app)
    keep_old(stand)
    await stand.client()
    await checkpoint(app)
    put_back(stand)
    await at_start(app)
    published = stand.app.checkpoints.publish

    async def away(_: object) -> None:
        raise Unavailable("file_unusable")

    stand.app.checkpoints.publish = away  # type: ignore[method-assign]
    assert (await release(stand))[0] == 503
    assert switch(stand) == f"t|{REASON}"
    stand.app.checkpoints.publish = published  # type: ignore[method-assign]
    assert (await release(stand))[0] == 200
    await checkpoint(app)
    assert (await app.checkpoints.latest())[0].size == 4
    assert (await verify(app, a_person(Role.AUDITOR))).epochs == 4


async def test_nothing_is_served_before_the_look_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that could not look at what stands outside does not listen."""
    steps: list[str] = []

    async def note(name: str, *_: object) -> None:
        steps.append(name)
        if name == "look":
            raise Unavailable("database_unavailable")

    @contextlib.asynccontextmanager
    async def ports(_: object) -> AsyncIterator[Any]:
        yield type("App", (), {"db": None})()

    monkeypatch.setattr(serve.wiring, "broker_app", ports)
    for name, step in (("must_be_bounded", "bounded"), ("must_record", "record"), ("at_start", "look"),
                       ("_listen", "listen")):  # fmt: skip
        monkeypatch.setattr(serve, name, partial(note, step))
    with pytest.raises(Unavailable):
        await serve._broker(None)  # type: ignore[arg-type]
    assert steps == ["bounded", "record", "look"]
