"""Signed evidence of an onboarding, from a real database to a stranger's verifier."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres import connections
from byokeep.audit.disclosure import sign_evidence
from byokeep.audit.log import checkpoint, public_keys
from byokeep.client.verify import read_keys, verify_evidence
from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, Role
from tests.support.audit_broker import Broker, audit_broker
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import OPERATOR, installation_sql, points

pytest_plugins = ["tests.support.postgres_fixtures"]
STEPS = {
    "vault_write_event": ("byokeep_web", EventName.KEY_STORED),
    "verification_success": ("byokeep_worker", EventName.KEY_VERIFIED),
    "leak_check_pass": ("byokeep_worker", EventName.KEY_LEAK_CHECKED),
    "onboarding_event": ("byokeep_worker", EventName.KEY_ONBOARDED),
}


class Run:
    """One onboarding with all its records."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.client, self.ref, self.sop, self.job = uuid4(), uuid4(), uuid4(), uuid4()
        self.operator = Actor(
            id=OPERATOR, roles=frozenset({Role.OPERATOR}), clients=frozenset({self.client}), request_id=uuid4()
        )

    async def make(self, *, without: str = "") -> dict[str, int]:
        """Append the records and the row that names them; returns their numbers."""
        path = f"kv/clients/{self.client}/providers/openai"
        facts: dict[str, dict[str, str | int]] = {
            "vault_write_event": {"path": path, "store_request": str(uuid4())},
            "verification_success": {"job": str(self.job), "endpoint": "openai.models", "http_status": 200},
            "leak_check_pass": {"lines": 12, "spans": 3, "found": 0},
            "onboarding_event": {"job": str(self.job)},
        }
        await self.broker.record(self.client, EventName.JOB_OPENED, object_id=self.job)
        seqs = {}
        for column, (role, event) in STEPS.items():
            seqs[column] = await self.broker.record(
                self.client, event, role=role, object_id=self.ref, outcome=Outcome.OK, provider="openai", version=1,
                sop=str(self.sop), **facts[column],
            )  # fmt: skip
        columns = {name: seq for name, seq in seqs.items() if name != without}
        await self.broker.sql(
            f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{self.client}',"
            f" 'Client {self.client.hex[:8]}', '{OPERATOR}');"
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by, state,"
            f" closed_at, facts, evidence) VALUES ('{self.sop}', '{self.client}', 'onboard_key', '{self.ref}',"
            f" '{OPERATOR}', '{OPERATOR}', 'complete', now(), '{json.dumps({'provider': 'openai', 'version': 1})}',"
            f" '{json.dumps(columns)}')"
        )
        return seqs


@pytest.fixture
async def run(postgres: FreshDatabase, tmp_path: Path) -> AsyncIterator[Run]:
    await postgres.ask(installation_sql())
    async with audit_broker(postgres, tmp_path / "checkpoints") as broker:
        yield Run(broker)


@pytest.mark.req("R5.1-12", "S-TLOG-9")
async def test_a_bundle_verifies_with_the_public_keys_alone(run: Run, tmp_path: Path) -> None:
    """Write, verification, leak check and onboarding stand in it; one changed byte or another key is refused."""
    seqs = await run.make()
    bundle = await sign_evidence(run.broker.app, run.operator, run.sop)
    path, keys_path = tmp_path / "bundle.json", tmp_path / "keys.txt"
    path.write_bytes(bundle)
    keys_path.write_text(str(await public_keys(run.broker.app)))
    report = verify_evidence(path, read_keys(keys_path))
    about = report.onboarding
    assert report.complete
    assert (about.client, about.ref, about.sop, about.version) == (run.client, run.ref, run.sop, 1)
    assert about.items == seqs
    path.write_bytes(bundle.replace(b"A", b"B", 1))
    with pytest.raises(Integrity):
        verify_evidence(path, read_keys(keys_path))
    signed = await run.broker.sql(
        f"SELECT count(*) FROM byokeep.audit_record WHERE chain = '{run.client}' AND event = 'evidence.signed'"
    )
    assert signed == "1"


@pytest.mark.req("R5.1-15")
@pytest.mark.parametrize("missing", STEPS)
async def test_a_run_without_an_item_is_not_signed_and_the_item_is_named(run: Run, missing: str) -> None:
    """Each of the four withheld in turn: refused with its name, nothing signed, nothing on record."""
    await run.make(without=missing)
    with pytest.raises(Conflict, match="sop_incomplete") as caught:
        await sign_evidence(run.broker.app, run.operator, run.sop)
    assert caught.value.fields["missing"] == missing
    assert await run.broker.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'evidence.signed'") == "0"


@pytest.mark.req("R5.1-15")
async def test_a_record_of_another_client_is_no_evidence(run: Run) -> None:
    """A row that names a number at which another client's or another event's record stands is incomplete."""
    seqs = await run.make()
    other = Run(run.broker)
    await other.make()
    for column in STEPS:
        elsewhere = seqs["vault_write_event"] - 1  # the job's record
        await run.broker.sql(points(run.sop, column, elsewhere))
        with pytest.raises(Conflict, match="sop_incomplete"):
            await sign_evidence(run.broker.app, run.operator, run.sop)
        await run.broker.sql(points(run.sop, column, seqs[column]))
    await run.broker.sql(f"UPDATE byokeep.procedure_run SET object_id = '{other.ref}' WHERE id = '{run.sop}'")
    with pytest.raises(Conflict, match="sop_incomplete"):
        await sign_evidence(run.broker.app, run.operator, run.sop)


async def test_a_tampered_chain_gives_no_evidence(run: Run) -> None:
    """The record between two items was edited: the log does not verify, nothing is signed."""
    await run.make()
    await run.broker.tamper(
        f"UPDATE byokeep.audit_record SET at = at + interval '1 second' WHERE chain = '{run.client}' AND seq = 3"
    )
    with pytest.raises(Integrity, match="audit_chain_broken"):
        await sign_evidence(run.broker.app, run.operator, run.sop)


async def test_who_may_not_read_evidence_gets_none(run: Run) -> None:
    """Roles without the verb are denied; another client's run answers like one that does not exist."""
    await run.make()

    def actor(role: Role, clients: frozenset[UUID] | None) -> Actor:
        return Actor(id=uuid4(), roles=frozenset({role}), clients=clients, request_id=uuid4())

    with pytest.raises(Denied, match="not_permitted"):
        await sign_evidence(run.broker.app, actor(Role.RUNNER, None), run.sop)
    for who, sop in ((actor(Role.OPERATOR, frozenset({uuid4()})), run.sop), (run.operator, uuid4())):
        with pytest.raises(NotFound):
            await sign_evidence(run.broker.app, who, sop)


async def test_a_signer_that_is_down_gives_no_evidence(run: Run) -> None:
    """Unavailable, and the next call goes on."""
    await run.make()
    run.broker.signer.down = True
    with pytest.raises(Unavailable):
        await sign_evidence(run.broker.app, run.operator, run.sop)
    run.broker.signer.down = False
    assert await sign_evidence(run.broker.app, run.operator, run.sop)


async def grow(run: Run, count: int) -> None:
    """So many later records of the client. They are not even whole: whoever reads one finds a broken chain."""
    await run.broker.tamper(
        "INSERT INTO byokeep.audit_record (chain, seq, at, event, actor_id, object_id, request_id, outcome, writer,"
        f" payload, hash) SELECT h.chain, h.seq + n, clock_timestamp(), 'lease.issued', '{OPERATOR}', '{run.ref}',"
        f" '{OPERATOR}', 'ok', 'byokeep_broker', convert_to('{{}}', 'UTF8'), sha256(int8send(n))"
        f" FROM byokeep.audit_head h, generate_series(1, {count}) n WHERE h.chain = '{run.client}';"
        f"UPDATE byokeep.audit_head SET seq = seq + {count}, hash = sha256(int8send({count}))"
        f" WHERE chain = '{run.client}'; ANALYZE byokeep.audit_record"
    )


@pytest.mark.req("S-TLOG-9")
async def test_a_bundle_ends_at_the_first_checkpoint_that_covers_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 100 and with 20,000 later records of the client: the same bytes, the same rows read, and none of them."""
    await run.make()
    await checkpoint(run.broker.app)
    read: list[int] = []
    rows = connections._rows

    def counted(*args: Any) -> connections.Rows:
        found = rows(*args)
        read.append(len(found))
        return found

    monkeypatch.setattr(connections, "_rows", counted)
    bundles, work = set(), set()
    for count in (100, int(os.environ.get("EVIDENCE_RECORDS", "20000"))):
        await grow(run, count)
        read.clear()
        bundles.add(await sign_evidence(run.broker.app, run.operator, run.sop))
        work.add(sum(read))
    assert len(bundles) == len(work) == 1
    assert work.pop() < 30
    assert b"lease.issued" not in b64decode(json.loads(bundles.pop())["payload"])


async def test_items_far_apart_come_in_pieces_of_their_own(run: Run, tmp_path: Path) -> None:
    """The write of a key that is verified much later: what lies between is neither carried nor needed."""
    await run.make()
    app = run.broker.app
    await checkpoint(app)
    for _ in range(40):
        await run.broker.record(run.client, EventName.JOB_OPENED, object_id=run.job)
    verified = {}
    facts: dict[str, dict[str, str | int]] = {
        "verification_success": {"job": str(run.job), "endpoint": "openai.models", "http_status": 200},
        "leak_check_pass": {"lines": 12, "spans": 3, "found": 0}, "onboarding_event": {"job": str(run.job)},
    }  # fmt: skip
    for column, (role, event) in list(STEPS.items())[1:]:
        verified[column] = await run.broker.record(
            run.client, event, role=role, object_id=run.ref, outcome=Outcome.OK, provider="openai", version=1,
            sop=str(run.sop), **facts[column],
        )  # fmt: skip
    for name, seq in verified.items():
        await run.broker.sql(points(run.sop, name, seq))
    bundle = await sign_evidence(app, run.operator, run.sop)
    said = json.loads(b64decode(json.loads(bundle)["payload"]))["predicate"]
    assert [len(piece["records"]) for piece in said["pieces"]] == [4, 4]
    path, keys_path = tmp_path / "bundle.json", tmp_path / "keys.txt"
    path.write_bytes(bundle)
    keys_path.write_text(str(await public_keys(app)))
    assert verify_evidence(path, read_keys(keys_path)).complete
