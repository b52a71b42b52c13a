"""The audit: durable appends against bare one-row commits of the same database; verifying against bare SHA-256."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import psycopg

from benchmarks.load import in_turns
from benchmarks.report import Row, row_of
from benchmarks.stage import Stage
from byokeep.adapters.postgres.connections import driver_arguments
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.audit import (
    GENESIS,
    Record,
    canonical_payload,
    chain_hash,
    export_line,
    parse_lines,
    verify_chain,
)
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.processes.wiring import database_url

TURN_S: Final = 2.0
TURNS: Final = 2
RECORDS: Final = 200_000
_TABLE: Final = """\
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE IF NOT EXISTS bench.plain (
    chain uuid, seq bigint, at timestamptz, event text, actor_id uuid, object_id uuid, request_id uuid, outcome text,
    writer text, payload bytea, hash bytea, PRIMARY KEY (chain, seq));
CREATE SEQUENCE IF NOT EXISTS bench.number CACHE 100
"""
_INSERT: Final = """\
INSERT INTO bench.plain VALUES (%s, nextval('bench.number'), clock_timestamp(), %s, %s, %s, %s, %s, 'bench', %s, %s)"""


def _event(client: UUID | None) -> Event:
    actor = Actor(id=uuid4(), roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())
    fields = {"effect": "publish", "platform": "x", "lane": "api", "idempotency": "0" * 64, "lease": str(uuid4()),
              "job": str(uuid4()), "account": str(uuid4())}  # fmt: skip
    return Event(name=EventName.PERMIT_ISSUED, actor=actor, outcome=Outcome.INTENDED,
                 client_id=None if client is None else ClientId(client), object_id=uuid4(), fields=fields)  # fmt: skip


async def audit(ready: Stage) -> list[Row]:
    rows = []
    settings = ready.scene.stack.settings
    async with AsyncExitStack() as stack:
        db = PostgresDatabase(database_url(settings, "byokeep_broker"), pool_size=16)
        stack.push_async_callback(db.close)
        bare = []
        for _ in range(16):
            arguments = driver_arguments(database_url(settings, "byokeep_owner"), "bench")
            bare.append(await psycopg.AsyncConnection.connect(**arguments, autocommit=True))  # type: ignore[arg-type]
            stack.push_async_callback(bare[-1].close)
        await bare[0].execute(_TABLE)
        chains = [UUID(client) for client in ready.clients] * 2
        own = [ClientId(uuid4()) for _ in range(16)]  # 16 chains; a chain needs no client behind it

        async def plain(number: int) -> None:
            event = _event(own[number])
            payload = canonical_payload(event)
            said = (own[number], event.name.value, event.actor.id, event.object_id, event.actor.request_id,
                    event.outcome.value, payload, hashlib.sha256(payload).digest())  # fmt: skip
            await bare[number].execute(_INSERT, said)

        async def append(chain: UUID) -> None:
            async with db.begin(client_id=chain) as tx:
                await tx.append(_event(chain))

        async def separate(number: int) -> None:
            await append(own[number])

        async def one_chain(_: int) -> None:
            await append(chains[0])

        for callers in (1, 16):
            acts = {"plain": plain, "separate": separate, "one": one_chain}
            if callers == 1:
                del acts["separate"]
            runs = await in_turns(acts, callers=callers, seconds=TURN_S, turns=TURNS, pids=ready.pids)
            base = runs["plain"].per_second
            rows.append(row_of("one-row INSERT, committed", runs["plain"]))
            for name, what in (("separate", "audit record, a chain each"), ("one", "audit record, one chain")):
                if name in runs:
                    rows.append(row_of(what, runs[name], ratio=f"{runs[name].per_second / base:.2f}x rate"))
    return rows


def _records(chain: UUID) -> list[Record]:
    payload = canonical_payload(_event(chain))
    records, prev = [], GENESIS
    for seq in range(1, RECORDS + 1):
        at = 1_700_000_000_000_000 + seq
        digest = chain_hash(prev=prev, chain=chain, seq=seq, at_us=at, writer="byokeep_broker", payload=payload)
        records.append(Record(chain, seq, at, "byokeep_broker", payload, digest))
        prev = digest
    return records


async def verify(_: Stage) -> list[Row]:
    return await asyncio.to_thread(_verify)


def _verify() -> list[Row]:
    chain = uuid4()
    records = _records(chain)
    frame = bytes(17 + 32 + 36 + len("byokeep_broker"))  # what stands before the payload
    messages = [frame + record.payload for record in records]
    bare = _best(lambda: [hashlib.sha256(message).digest() for message in messages])
    memory = _best(lambda: verify_chain(records, chain=chain))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "export.jsonl"
        prev = GENESIS
        with file.open("wb") as out:
            for record in records:
                out.write(export_line(record, prev=prev) + b"\n")
                prev = record.hash
        with file.open("rb") as lines:
            began = time.perf_counter()
            verify_chain(parse_lines(lines), chain=chain)
            exported = time.perf_counter() - began
    size = len(messages[0])
    return [
        Row(what=f"bare SHA-256 of {size} bytes", rate=f"{RECORDS / bare:,.0f}/s"),
        Row(what="audit records verified in memory", rate=f"{RECORDS / memory:,.0f}/s",
            ratio=f"{bare / memory:.2f}x rate", aim=">= 200,000/s", held=RECORDS / memory >= 200_000),
        Row(what="audit records parsed from an export and verified", rate=f"{RECORDS / exported:,.0f}/s",
            ratio=f"{bare / exported:.2f}x rate"),
    ]  # fmt: skip


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
