"""The audit log on a real database: signed, copied, exported, proved, verified; every tampering refused."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.files.checkpoints import CheckpointDirectory
from byokeep.adapters.postgres.database import build_app
from byokeep.audit import disclosure, log
from byokeep.audit.disclosure import RecordFilter, RecordPage, RecordWindow, client_proof, copy, export, read_audit
from byokeep.audit.log import check_heartbeat, checkpoint, note_keys, origin, public_keys, verify
from byokeep.client.verify import read_keys, verify_consistency, verify_epochs, verify_export, verify_proof
from byokeep.core.audit import parse_lines, verify_chain
from byokeep.core.checkpoint import open_checkpoint
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.kernel.app import EVERY_MINUTE
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.worker import tasks
from tests.support.audit_broker import Broker, audit_broker, on_database
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import INSTALLATION
from tests.vectors import independent_verify

pytest_plugins = ["tests.support.postgres_fixtures"]
ALICE, BOB = uuid4(), uuid4()


@pytest.fixture
async def broker(postgres: FreshDatabase, tmp_path: Path) -> AsyncIterator[Broker]:
    async with audit_broker(postgres, tmp_path / "checkpoints") as found:
        yield found


async def filled(broker: Broker, epochs: int = 2) -> None:
    """Records of two clients, an epoch after each round."""
    for _ in range(epochs):
        for client in (ALICE, ALICE, BOB):
            await broker.record(client, kind="use", secrets="openai")
        await checkpoint(broker.app)


async def keys_file(broker: Broker) -> Path:
    path = broker.folder / "keys.txt"
    path.write_text(str(await public_keys(broker.app)))
    return path


@pytest.mark.req("S-TLOG-2", "S-TLOG-10")
async def test_each_run_signs_one_more_epoch_also_when_nothing_happened(broker: Broker) -> None:
    """Checkpoints grow by one, cover every chain, and verify offline; an idle minute has its own."""
    await filled(broker)
    first = await checkpoint(broker.app)
    idle = await checkpoint(broker.app)
    assert (idle.size, first.size) == (4, 3)
    newest = open_checkpoint((broker.folder / "checkpoint").read_bytes(), await note_keys(broker.app),
                             origin=origin(broker.app))  # fmt: skip
    assert (newest.size, newest.root.hex()) == (idle.size, idle.root_hex)
    keys = read_keys(await keys_file(broker))
    state = verify_epochs(broker.folder / "epochs.jsonl", keys)
    assert {head.chain for head in state.heads.values()} == {ALICE, BOB, INSTALLATION}
    independent_verify.epochs_of(broker.folder / "epochs.jsonl", independent_verify.keys_of(broker.folder / "keys.txt"))
    signed = await broker.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'checkpoint.signed'")
    assert signed == "4"


async def test_a_long_log_is_read_once_and_by_one_at_a_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of which the database reads no record twice; whoever asks meanwhile is told to wait.

    Of the heads that were published few are held at a time, however many there are.
    """
    monkeypatch.setattr(log, "BATCH", 4)
    monkeypatch.setattr(log, "EPOCHS", 2)
    await filled(broker, 9)
    await checkpoint(broker.app)
    asked, batches, batch, after = list[int](), list[int](), log._batch, log.records_after
    held = list[int]()

    def noted(rows: list[Row], at: Any, points: log.Points, *more: Any) -> Any:
        batches.append(len(rows))
        held.append(sum(map(len, points.values())))
        return batch(rows, at, points, *more)

    class Spans:
        async def all(self, _: object, __: str, **spans: list[int]) -> list[Any]:
            asked.append(sum(spans["upto"]) - sum(spans["after"]))
            return []

    async def looked_at(tx: Tx, *more: Any) -> list[Any]:
        await after(Spans(), *more)  # type: ignore[arg-type]
        return await after(tx, *more)

    monkeypatch.setattr(log, "_batch", noted)
    monkeypatch.setattr(log, "records_after", looked_at)
    report = await verify(broker.app, broker.auditor)
    assert sum(batches) == report.records > 20
    assert max(batches) == 4
    assert 3 < max(held) < 7  # the heads of two epochs; 27 were published
    assert asked == batches  # no row is asked for twice
    async with broker.app.db.begin(every_client=True) as tx:
        assert await tx.one(bool, "audit_verify_lock")
        with pytest.raises(Conflict, match="verification_running"):
            await verify(broker.app, broker.auditor)
    assert sum(batches) == report.records
    assert (await verify(broker.app, broker.auditor)).records == report.records + 1  # the record of the first


@pytest.mark.req("S-TLOG-10")
async def test_a_missing_heartbeat_raises_an_alert(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """No epoch yet, or the newest one too old: an alert is open; with a fresh one there is none. The worker looks each
    minute, a process of its own: a broker that is dead tells nobody."""
    assert await check_heartbeat(broker.app) is None
    assert await broker.alerts() == ["checkpoint_overdue"]
    await broker.sql("UPDATE byokeep.alert SET closed_at = now()")
    await checkpoint(broker.app)
    assert (await check_heartbeat(broker.app) or 0) < 60
    assert await broker.alerts() == []
    await broker.tamper("UPDATE byokeep.audit_epoch SET at = now() - interval '10 minutes'")
    assert (await check_heartbeat(broker.app) or 0) > 500
    assert await broker.alerts() == ["checkpoint_overdue"]
    await broker.sql("UPDATE byokeep.alert SET closed_at = now()")
    monkeypatch.setattr(tasks, "SETTLED_S", 0.0)
    queue = build_app(broker.database.url("byokeep_worker"))
    tasks.register(queue, broker.app)  # type: ignore[arg-type]
    watch = queue.periodic_registry.periodic_tasks["watch_checkpoints", ""]
    assert watch.cron == EVERY_MINUTE
    await watch.task.func(timestamp=0)
    assert await broker.alerts() == ["checkpoint_overdue"]


@pytest.mark.parametrize("fault", ["signer", "directory"])
async def test_a_run_cut_off_after_its_commit_is_finished_by_the_next(
    broker: Broker, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signer or directory down after the commit: the same epoch is signed later, none twice, none left out."""
    await filled(broker, 1)
    await broker.record(ALICE, kind="use")
    with monkeypatch.context() as patch:
        if fault == "signer":
            patch.setattr(broker.signer, "down", True)
        else:

            async def refuse(_: object) -> None:
                raise Unavailable("file_unusable")

            patch.setattr(type(broker.app.checkpoints), "publish", lambda _, epoch: refuse(epoch))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await checkpoint(broker.app)
    assert await broker.sql("SELECT count(*) FROM byokeep.audit_epoch") == "2"
    assert (await broker.app.checkpoints.latest())[0].size == 1
    assert (await checkpoint(broker.app)).size == 3
    assert (await verify(broker.app, broker.auditor)).epochs == 3
    assert await broker.alerts() == []


async def test_two_brokers_sign_one_log(broker: Broker) -> None:
    """Runs at the same time on one database and one directory give each number once."""
    await filled(broker, 1)
    async with audit_broker(broker.database, broker.folder) as second:
        both = (broker.app, second.app) * 3
        results = await asyncio.gather(*(checkpoint(app) for app in both), return_exceptions=True)
    assert not [result for result in results if isinstance(result, BaseException)]
    report = await verify(broker.app, broker.auditor)
    assert report.epochs == 1 + len(both)


TAMPERING = {
    "payload edited": "UPDATE byokeep.audit_record SET payload = convert_to(replace(convert_from(payload, 'UTF8'),"
                      " 'openai', 'google'), 'UTF8') WHERE chain = '{alice}' AND seq = 2",
    "time edited": "UPDATE byokeep.audit_record SET at = at + interval '1 second' WHERE chain = '{alice}' AND seq = 2",
    "writer edited": "UPDATE byokeep.audit_record SET writer = 'byokeep_web' WHERE chain = '{alice}' AND seq = 2",
    "hash edited": "UPDATE byokeep.audit_record SET hash = sha256('x') WHERE chain = '{alice}' AND seq = 4",
    "removed": "DELETE FROM byokeep.audit_record WHERE chain = '{alice}' AND seq = 2",
    "tail cut": "DELETE FROM byokeep.audit_record WHERE chain = '{alice}' AND seq = 4; UPDATE byokeep.audit_head h"
                " SET seq = 3, hash = (SELECT hash FROM byokeep.audit_record WHERE chain = h.chain AND seq = 3)"
                " WHERE chain = '{alice}'",
    "moved to another client": "DELETE FROM byokeep.audit_record WHERE chain = '{bob}' AND seq = 2;"
                               " UPDATE byokeep.audit_record SET chain = '{bob}', seq = 2"
                               " WHERE chain = '{alice}' AND seq = 2",
    "reordered": "UPDATE byokeep.audit_record SET seq = 100 WHERE chain = '{alice}' AND seq = 1;"
                 " UPDATE byokeep.audit_record SET seq = 1 WHERE chain = '{alice}' AND seq = 2;"
                 " UPDATE byokeep.audit_record SET seq = 2 WHERE chain = '{alice}' AND seq = 100",
    "inserted beyond the head": "INSERT INTO byokeep.audit_record SELECT chain, seq + 1, at, event, actor_id,"
                                " object_id, request_id, outcome, writer, payload, hash FROM byokeep.audit_record"
                                " WHERE chain = '{alice}' AND seq = 4",
    "chain removed": "DELETE FROM byokeep.audit_record WHERE chain = '{bob}';"
                     " DELETE FROM byokeep.audit_head WHERE chain = '{bob}'",
    "head edited": "UPDATE byokeep.audit_head SET hash = sha256('x') WHERE chain = '{alice}'",
    **{
        f"column {column} edited": f"UPDATE byokeep.audit_record SET {column} = {value} WHERE chain = '{{alice}}'"
                                   " AND seq = 2"
        for column, value in (("actor_id", "'{bob}'"), ("object_id", "'{bob}'"), ("request_id", "'{bob}'"),
                              ("event", "'key.listed'"), ("outcome", "'denied'"))
    },
    "epoch edited": "UPDATE byokeep.audit_epoch SET leaf = leaf || ' ' WHERE number = 0",
    "epoch removed": "DELETE FROM byokeep.audit_epoch WHERE number = 1",
}  # fmt: skip


@pytest.mark.req("S-TLOG-4", "S-TLOG-10")
@pytest.mark.parametrize("name", TAMPERING)
async def test_every_tampering_with_the_database_is_found(broker: Broker, name: str) -> None:
    """Before it the log verifies; after it, it does not, an alert is open, and the failure is on record."""
    await filled(broker)
    report = await verify(broker.app, broker.auditor)
    assert (report.epochs, report.chains, report.records) == (2, 3, 8)
    assert report.uncovered == 1
    await broker.tamper(TAMPERING[name].format(alice=ALICE, bob=BOB))
    with pytest.raises(Integrity):
        await verify(broker.app, broker.auditor)
    assert await broker.alerts() == ["audit_log_broken"]
    outcomes = await broker.sql("SELECT outcome FROM byokeep.audit_record WHERE event = 'audit.verified' ORDER BY seq")
    assert outcomes.split() == ["ok", "failed"]


@pytest.mark.req("S-TLOG-3")
@pytest.mark.parametrize("name", ["hash edited", "tail cut", "chain removed", "head edited", "epoch removed"])
async def test_nothing_is_signed_over_a_log_that_lost_what_was_published(broker: Broker, name: str) -> None:
    """The next run refuses, tells people and publishes nothing."""
    await filled(broker)
    await broker.tamper(TAMPERING[name].format(alice=ALICE, bob=BOB))
    published = (broker.folder / "epochs.jsonl").read_bytes()
    for _ in range(2):
        with pytest.raises(Integrity):
            await checkpoint(broker.app)
    assert (broker.folder / "epochs.jsonl").read_bytes() == published
    assert await broker.alerts() == ["checkpoint_refused"]


@pytest.mark.req("S-TLOG-3")
async def test_a_record_changed_before_its_first_checkpoint_is_not_covered_up(broker: Broker) -> None:
    """What is newer than the last checkpoint is hashed again before the next one signs it."""
    await filled(broker, 1)
    await broker.record(ALICE, kind="use", secrets="openai")
    await broker.tamper(TAMPERING["payload edited"].format(alice=ALICE, bob=BOB).replace("seq = 2", "seq = 3"))
    with pytest.raises(Integrity, match=f"audit_chain_broken chain={ALICE} reason=edited seq=3"):
        await checkpoint(broker.app)


@pytest.mark.req("S-TLOG-3")
async def test_an_older_database_restored_and_appended_to_is_refused(broker: Broker) -> None:
    """A copy from before the last epoch, brought back and used: the signer refuses and an alert is open in it."""
    await filled(broker)
    restored = FreshDatabase(broker.database.server, broker.database.name + "_restored")
    await broker.app.db.close()  # type: ignore[attr-defined]
    broker.database.leave()
    await broker.database.server.as_superuser(
        f"CREATE DATABASE {restored.name} OWNER byokeep_owner TEMPLATE {broker.database.name};"
        f" GRANT CONNECT ON DATABASE {restored.name} TO byokeep_broker"
    )
    again, db = on_database(broker, broker.database)
    await filled(again, 1)
    await db.close()
    older, db = on_database(broker, restored)
    try:
        for _ in range(2):
            await older.record(ALICE, kind="use", secrets="openai")
            with pytest.raises(Integrity, match="reason=database_rolled_back"):
                await checkpoint(older.app)
        assert await older.alerts() == ["checkpoint_refused"]
    finally:
        await db.close()
        await older.database.server.as_superuser(f"DROP DATABASE {restored.name} WITH (FORCE)")


@pytest.mark.req("S-TLOG-3")
async def test_a_log_written_anew_and_signed_with_the_true_key_does_not_fit_a_kept_checkpoint(
    broker: Broker, tmp_path: Path
) -> None:
    """Who owns database, signer and directory can make a new log; anybody who kept one old note sees it."""
    await filled(broker)
    kept = tmp_path / "kept-elsewhere"
    kept.write_bytes((broker.folder / "checkpoint").read_bytes())
    await broker.tamper(
        "DELETE FROM byokeep.audit_record; DELETE FROM byokeep.audit_head; DELETE FROM byokeep.audit_epoch"
    )
    async with audit_broker(broker.database, tmp_path / "forged") as owned:
        await filled(owned, 3)
        keys = read_keys(await keys_file(owned))
        assert verify_epochs(tmp_path / "forged" / "epochs.jsonl", keys).size == 3
        with pytest.raises(Integrity, match="bad_consistency_proof"):
            verify_consistency(kept, tmp_path / "forged" / "checkpoint", tmp_path / "forged" / "epochs.jsonl", keys)


@pytest.mark.req("S-TLOG-8")
async def test_both_eras_verify_after_the_log_key_was_rotated(broker: Broker) -> None:
    """A new key version signs from the next epoch on; all epochs verify with the file of all versions only."""
    await filled(broker, 1)
    old_keys = read_keys(await keys_file(broker))
    broker.signer.rotate("checkpoints")
    await filled(broker, 1)
    assert (await verify(broker.app, broker.auditor)).epochs == 2
    keys = read_keys(await keys_file(broker))
    assert verify_epochs(broker.folder / "epochs.jsonl", keys).size == 2
    with pytest.raises(Integrity, match="unverified_note"):
        verify_epochs(broker.folder / "epochs.jsonl", old_keys)


async def test_the_second_copy_goes_on_from_its_end_and_verifies_offline(broker: Broker) -> None:
    """Every record once, in order; a run with nothing new adds nothing; the copy verifies against the epochs."""
    await filled(broker)
    assert await copy(broker.app) == 8
    await filled(broker, 1)
    assert await copy(broker.app) == 4
    assert await copy(broker.app) == 0
    keys = read_keys(await keys_file(broker))
    path = broker.folder / "copy" / "audit.jsonl"
    report = verify_export([path], keys, epochs=broker.folder / "epochs.jsonl")
    assert (report.records, report.covered, report.epochs, report.whole) == (12, 11, 3, False)
    assert report.checkpoint_at is not None
    independent_verify.check_export(
        path, independent_verify.epochs_of(broker.folder / "epochs.jsonl",
                                           independent_verify.keys_of(broker.folder / "keys.txt")), whole=True,
    )  # fmt: skip


@pytest.mark.req("S-OWASP-15", "S-TLOG-3")
@pytest.mark.parametrize("name", ["hash edited", "tail cut", "chain removed"])
async def test_copy_and_database_that_differ_are_reported_as_tampering(broker: Broker, name: str) -> None:
    """The copy is not added to, and a critical alert is open."""
    await filled(broker)
    await copy(broker.app)
    before = (broker.folder / "copy" / "audit.jsonl").read_bytes()
    await broker.tamper(TAMPERING[name].format(alice=ALICE, bob=BOB))
    with pytest.raises(Integrity, match="audit_copy_diverged"):
        await copy(broker.app)
    assert (broker.folder / "copy" / "audit.jsonl").read_bytes() == before
    assert await broker.alerts() == ["audit_copy_diverged"]


@pytest.mark.req("R1.4-4")
async def test_an_export_is_on_record_before_its_first_line(broker: Broker) -> None:
    """The record names who, which chain and how much; when it can not be written, nothing is read."""
    await filled(broker)
    lines = [line async for line in await export(broker.app, broker.auditor, ALICE)]
    assert verify_chain(parse_lines(lines), chain=ALICE).seq == 4
    said = json.loads(await broker.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE event = 'audit.exported'"
    ))  # fmt: skip
    assert said["actor"] == str(broker.auditor.id)
    assert said["fields"] == {"chain": str(ALICE), "first_seq": 1, "last_seq": 4, "count": 4}
    platform = [line async for line in await export(broker.app, broker.auditor, INSTALLATION)]
    assert verify_chain(parse_lines(platform), chain=INSTALLATION).seq == 2
    count = await broker.sql("SELECT count(*) FROM byokeep.audit_record")
    async with broker.app.db.begin(every_client=True) as tx:
        # Holds the chain's lock for longer than anybody waits: the export's own record can not be written.
        await tx.append(
            Event(name=EventName.JOB_OPENED, actor=broker.app.system(), outcome=Outcome.OK, client_id=ALICE)
        )
        with pytest.raises(Unavailable):
            await export(broker.app, broker.auditor, ALICE)
    assert int(await broker.sql("SELECT count(*) FROM byokeep.audit_record")) == int(count) + 1


@pytest.mark.req("R1.4-4")
async def test_a_query_is_on_record_before_anything_is_read(broker: Broker) -> None:
    """Each look at a chain has its record; when that cannot be written, nothing is shown."""
    await broker.sql(f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{ALICE}', 'Alice', '{INSTALLATION}')")
    await filled(broker)
    append = "FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea)"
    for client in (ALICE, None):
        shown = (await read_audit(broker.app, broker.auditor, client, RecordWindow())).records
        assert shown
        assert await broker.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'audit.read'") != "0"
        await broker.sql(f"REVOKE EXECUTE ON {append} FROM byokeep_broker")
        with pytest.raises(ByokeepError):
            await read_audit(broker.app, broker.auditor, client, RecordWindow())
        await broker.sql(f"GRANT EXECUTE ON {append} TO byokeep_broker")
    assert await broker.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'audit.read'") == "2"


async def test_a_list_for_people_cuts_nothing_without_saying_so(broker: Broker, monkeypatch: Any) -> None:
    """Filters, pages by cursor that together are everything once, heartbeats counted, and a look that ends is told."""
    await broker.sql(f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{ALICE}', 'Alice', '{INSTALLATION}')")
    await filled(broker, 3)

    async def page(client: Any = None, before: int | None = None, limit: int = 4, **wanted: Any) -> RecordPage:
        window = RecordWindow(before=before, limit=limit)
        return await read_audit(broker.app, broker.auditor, client, window, RecordFilter(**wanted))

    whole = await page(ALICE, limit=500)
    assert (whole.left, whole.next, whole.folded, whole.counted) == (0, None, 0, True)
    pages, seqs = [await page(ALICE)], []
    assert pages[0].left == len(whole.records) - 4
    while pages[-1].next is not None:
        pages.append(await page(ALICE, pages[-1].next))
    for one in pages:
        seqs += [record.seq for record in one.records]
    assert seqs == [record.seq for record in whole.records]
    assert whole.records[-1].said["actor"] == str(INSTALLATION)
    assert whole.records[-1].actor_name == "byokeep"

    beats = await page(limit=500, event="checkpoint.signed")
    folded = await page(limit=500, fold=True)
    assert len(beats.records) == 3
    assert folded.folded == 3
    assert {record.said["event"] for record in folded.records} == {"audit.read"}
    assert [one.said["event"] for one in (await page(limit=500, event="checkpoint.", outcome="denied")).records] == []
    assert (await page(actor=uuid4())).records == ()
    with pytest.raises(Rejected, match="unknown_event"):
        await page(event="nonsense")
    with monkeypatch.context() as narrow:  # with a filter that nothing fits: bounded, and said
        narrow.setattr(disclosure, "MOST_PASSED", 5)
        newest = int(await broker.sql(f"SELECT seq FROM byokeep.audit_head WHERE chain = '{ALICE}'"))
        cut = [await page(ALICE, actor=uuid4())]
        assert (cut[0].records, cut[0].left, cut[0].counted) == ((), 0, False)
        assert cut[0].next == newest + 1 - 5
        while cut[-1].next is not None:
            cut.append(await page(ALICE, cut[-1].next, actor=uuid4()))
        assert cut[-1].counted
        assert len(cut) >= newest // 5
    monkeypatch.setattr(disclosure, "MOST_LOOKED_AT", 2)
    short = await page(ALICE, limit=4)
    assert (len(short.records), short.left, short.counted) == (2, 0, False)
    assert short.next == short.records[-1].seq


async def test_an_export_of_a_damaged_chain_stops_at_the_damage(broker: Broker) -> None:
    """Lines before it are given out; then it fails, and never ends as if it were whole."""
    await filled(broker)
    await broker.tamper(TAMPERING["payload edited"].format(alice=ALICE, bob=BOB))
    with pytest.raises(Integrity, match=f"audit_chain_broken chain={ALICE} reason=edited seq=2"):
        async for _ in await export(broker.app, broker.auditor, ALICE):
            pass
    await broker.tamper(f"DELETE FROM byokeep.audit_record WHERE chain = '{BOB}'")
    with pytest.raises(Integrity, match=f"audit_chain_broken chain={BOB}"):
        async for _ in await export(broker.app, broker.auditor, BOB):
            pass


@pytest.mark.req("S-TLOG-9")
async def test_a_clients_proof_needs_nothing_but_the_public_key(broker: Broker, tmp_path: Path) -> None:
    """A stranger checks all of one client's records, by two verifiers, and sees nothing of another client."""
    await filled(broker)
    await broker.record(ALICE, kind="use")
    path = tmp_path / "proof.json"
    path.write_bytes(await client_proof(broker.app, broker.auditor, ALICE))
    keys = read_keys(await keys_file(broker))
    proof = verify_proof(path, keys)
    assert (proof.chain, proof.records) == (ALICE, 6)
    independent_verify.check_proof(path, independent_verify.keys_of(broker.folder / "keys.txt"))
    assert str(BOB) not in path.read_text()
    assert await broker.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE chain = '{ALICE}'") == "6"


async def test_who_may_not_read_the_log_may_not_export_prove_verify_or_sign(broker: Broker) -> None:
    """Other roles are denied; another client's chain answers like one that does not exist; nothing goes on record."""
    await filled(broker, 1)
    operator = Actor(id=uuid4(), roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
    elsewhere = Actor(id=uuid4(), roles=frozenset({Role.AUDITOR}), clients=frozenset({BOB}), request_id=uuid4())
    count = await broker.sql("SELECT count(*) FROM byokeep.audit_record")
    for call in (
        export(broker.app, operator, ALICE), client_proof(broker.app, operator, ALICE), verify(broker.app, operator),
        checkpoint(broker.app, operator),
    ):  # fmt: skip
        with pytest.raises(Denied, match="not_permitted"):
            await call
    with pytest.raises(NotFound):  # the platform's chain names every client
        await export(broker.app, elsewhere, INSTALLATION)
    for chain, actor in ((ALICE, elsewhere), (uuid4(), broker.auditor)):
        with pytest.raises(NotFound):
            await export(broker.app, actor, chain)
        with pytest.raises(NotFound):
            await client_proof(broker.app, actor, chain)
    assert await broker.sql("SELECT count(*) FROM byokeep.audit_record") == count


async def test_nothing_published_is_not_a_pass(broker: Broker) -> None:
    """A log without a checkpoint can not be called verified."""
    await broker.record(ALICE, EventName.JOB_OPENED)
    with pytest.raises(Unavailable, match="nothing_published"):
        await verify(broker.app, broker.auditor)


@pytest.mark.req("S-TLOG-3")
async def test_epochs_that_were_cut_off_the_published_log_are_missed(broker: Broker, tmp_path: Path) -> None:
    """Also by a broker that starts afterwards; one epoch may be waiting for its signature, two may not. Of one that was
    cut off the next run signs the very same again, byte for byte."""
    await filled(broker, 3)
    lines = (broker.folder / "epochs.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (1, 2):
        cut = tmp_path / f"cut-{kept}"
        cut.mkdir(mode=0o700)
        (cut / "epochs.jsonl").write_bytes(b"".join(lines[:kept]))
        store = CheckpointDirectory(cut, origin=origin(broker.app))
        app = replace(broker.app, checkpoints=store)
        if kept == 2:
            assert (await verify(app, broker.auditor)).epochs == 2
            assert (await checkpoint(app)).size == 4
            assert (await verify(app, broker.auditor)).epochs == 4
            assert (cut / "epochs.jsonl").read_bytes().splitlines(keepends=True)[:3] == lines
        else:
            with pytest.raises(Integrity, match="published_epochs_lost"):
                await verify(app, broker.auditor)
        store.close()
    assert await broker.alerts() == ["audit_log_broken"]


async def test_a_malformed_record_is_named_and_hides_nothing_else(broker: Broker) -> None:
    """One that got past the database's own check is a finding, with its place; tampering elsewhere is still found."""
    await filled(broker, 1)
    bad = '{"event":"job.opened", "outcome":"ok"}'
    await broker.tamper(
        "INSERT INTO byokeep.audit_record (chain, seq, at, event, actor_id, request_id, outcome, writer, payload, hash)"
        f" SELECT h.chain, h.seq + 1, t.at, 'job.opened', '{BOB}', '{BOB}', 'ok', 'byokeep_web', p.payload, sha256("
        "convert_to('byokeep/audit/v1', 'UTF8') || '\\x00'::bytea || h.hash || uuid_send(h.chain)"
        " || int8send(h.seq + 1) || int8send((extract(epoch FROM t.at) * 1000000)::bigint)"
        " || int4send(11) || convert_to('byokeep_web', 'UTF8') || p.payload)"
        " FROM byokeep.audit_head h, (SELECT clock_timestamp() AS at) t,"
        f" (SELECT convert_to('{bad}', 'UTF8') AS payload) p WHERE h.chain = '{ALICE}';"
        "UPDATE byokeep.audit_head h SET seq = r.seq, hash = r.hash FROM byokeep.audit_record r"
        f" WHERE h.chain = '{ALICE}' AND r.chain = h.chain AND r.seq = h.seq + 1"
    )
    await filled(broker, 1)
    report = await verify(broker.app, broker.auditor)
    assert [(one.chain, one.seq, one.code) for one in report.malformed] == [(ALICE, 3, "bad_audit_payload")]
    assert report.records == 9
    assert await broker.alerts() == ["audit_record_malformed"]
    await broker.tamper(TAMPERING["payload edited"].format(alice=BOB, bob=ALICE))
    with pytest.raises(Integrity, match=f"audit_chain_broken chain={BOB} reason=edited seq=2"):
        await verify(broker.app, broker.auditor)
