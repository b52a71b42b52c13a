"""A broker on a real database, a real checkpoint directory, a seeded signer and a simulated store audit."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.files.checkpoints import CheckpointDirectory
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Environment, Role
from byokeep.kernel.app import BrokerApp, ServiceLimits
from byokeep.procedures import PROCEDURES
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import INSTALLATION
from tests.support.signer import SeededSigner
from tests.support.store_audit import SimulatedStoreAudit


class RealClock:
    """The machine's clock, moved by ``ahead``."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


class RealIds:
    """The operating system's randomness."""

    def uuid(self) -> UUID:
        return uuid4()

    def token(self) -> str:
        return os.urandom(32).hex()


@dataclass
class Broker:
    """What a test handles: the app, and doors past it for tampering."""

    app: BrokerApp
    database: FreshDatabase
    folder: Path
    signer: SeededSigner
    store: SimulatedStoreAudit
    clock: RealClock
    auditor: Actor

    async def record(self, client: UUID | None, event: EventName = EventName.LEASE_ISSUED, *, role: str = "",
                     outcome: Outcome = Outcome.OK, object_id: UUID | None = None,
                     **fields: str | int) -> int:  # fmt: skip
        """Append a record as the broker, or as another role; returns its number."""
        db = PostgresDatabase(self.database.url(role), pool_size=1) if role else self.app.db
        try:
            async with db.begin(every_client=True) as tx:
                return (await tx.append(
                    Event(name=event, actor=self.app.system(), outcome=outcome, client_id=client, object_id=object_id,
                          fields=fields)
                )).seq  # fmt: skip
        finally:
            if isinstance(db, PostgresDatabase) and role:
                await db.close()

    async def tamper(self, sql: str) -> None:
        """Change the database as somebody who owns the machine would: without triggers."""
        tables = ("audit_record", "audit_head", "audit_epoch")
        off = "".join(f"ALTER TABLE byokeep.{table} DISABLE TRIGGER USER;" for table in tables)
        on = "".join(f"ALTER TABLE byokeep.{table} ENABLE TRIGGER USER;" for table in tables)
        await self.database.ask(off + sql + ";" + on)

    async def sql(self, statement: str) -> str:
        """Run SQL as superuser; returns what it prints."""
        return await self.database.ask(statement)

    async def alerts(self) -> list[str]:
        """Reasons of the open alerts."""
        return (await self.sql("SELECT reason FROM byokeep.alert WHERE closed_at IS NULL ORDER BY reason")).split()

    async def rows(self, name: str, **params: Any) -> list[Any]:
        """Rows of a named statement."""
        async with self.app.db.begin(every_client=True) as tx:
            return await tx.all(lambda row: row, name, **params)


@asynccontextmanager
async def audit_broker(database: FreshDatabase, folder: Path) -> AsyncIterator[Broker]:
    """Start one on a migrated database without rows."""
    await database.ask(
        f"INSERT INTO byokeep.installation (id, environment, store_recorded_at) VALUES"
        f" ('{INSTALLATION}', 'development', 'infinity')"
        " ON CONFLICT DO NOTHING"
    )
    signer, store, clock = SeededSigner(), SimulatedStoreAudit(), RealClock()
    db = PostgresDatabase(database.url("byokeep_broker"), pool_size=4)
    directory = CheckpointDirectory(folder, origin=f"byokeep/{INSTALLATION}")
    app = BrokerApp(
        db=db, clock=clock, ids=RealIds(), installation_id=INSTALLATION, environment=Environment.DEVELOPMENT,
        procedures=PROCEDURES,
        limits=ServiceLimits(), signer=signer, cutoff=None, store_audit=store, store_health=None, checkpoints=directory,  # type: ignore[arg-type]
        token_key=lambda data: data, machine_key=lambda data: data,
        store_address="", artifacts=LocalArtifacts(folder / "artifacts"),
        records=None, tombstones=None, glass=None,  # type: ignore[arg-type]
    )  # fmt: skip
    for proof in (app.store_recording, app.platform_chain):
        proof.proved(math.inf)
    auditor = Actor(id=uuid4(), roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
    try:
        yield Broker(app, database, folder, signer, store, clock, auditor)
    finally:
        directory.close()
        await db.close()


def on_database(broker: Broker, database: FreshDatabase) -> tuple[Broker, PostgresDatabase]:
    """The same broker on another database: what a restore amounts to."""
    db = PostgresDatabase(database.url("byokeep_broker"), pool_size=2)
    return replace(broker, app=replace(broker.app, db=db), database=database), db
