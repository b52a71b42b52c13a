"""A worker that does nothing but rewrap, to be killed: ``python -m tests.support.rewrap_worker`` with JSON on stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.client import ClientSettings
from byokeep.core.model import ClientId, Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.profiles import kek_tasks
from byokeep.profiles.kek import KekApp, Rotation
from byokeep.worker.ports import BrokerCustodian


async def main(said: dict[str, Any]) -> None:
    db = PostgresDatabase(said["database"])
    settings = ClientSettings(broker_url=said["broker"], runner_token_file=Path(said["token"]), attempts=2)
    app = KekApp(
        db=db, clock=SystemClock(), ids=SystemIds(), installation_id=UUID(said["installation"]),
        environment=Environment.DEVELOPMENT, limits=ServiceLimits(), artifacts=LocalArtifacts(Path(said["artifacts"])),
        custodian=BrokerCustodian(settings, Environment.DEVELOPMENT),
    )  # fmt: skip
    print("go", flush=True)  # what its killer waits for
    while True:
        await kek_tasks.rewrap(app, app.system(), UUID(said["rotation"]), ClientId(UUID(said["client"])), limit=1)
        print("moved", flush=True)  # so that it is killed early in its work on a fast machine too
        async with db.begin(every_client=True) as tx:
            if (await tx.one(Rotation, "kek_rotation_get", id=UUID(said["rotation"]))).state == "done":
                break
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
