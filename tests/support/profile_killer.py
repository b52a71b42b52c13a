"""One worker that does one piece of work on a profile and stops at a point, to be killed there. Run as a program.

Reads one JSON object: ``database``, ``broker``, ``token``, ``artifacts``, ``installation``, ``client``, ``work``,
``point`` (empty: it goes through to the end). Prints the point's name when it is there and stands still, all of it:
where a point lies beside the work, it would go on until the kill comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.client import ClientSettings
from byokeep.core.model import ClientId, Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.profiles import openings
from byokeep.profiles.login import ProfileApp
from byokeep.profiles.tasks import do_work
from byokeep.sealing.sealer import Sealer
from byokeep.worker.ports import BrokerCustodian
from tests.support.vault import NoNotes, NoProofs, Script, ScriptedRooms, digest

# In the order in which a rekey comes by them; the first four are an opening's too.
OPENING = ("opened", "record_read", "unwrapped", "blob_half_read")
SEALING = ("announced", "wrapped", "blob_half_written", "blob_written", "record_written", "before_commit", "committed")
POINTS = (*OPENING, *SEALING)


class Stop:
    """Waits for the kill at one point."""

    def __init__(self, point: str) -> None:
        self.point = point

    async def at(self, point: str) -> None:
        if point == self.point:
            sys.stdout.write(f"{point}\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGSTOP)


class Store:
    """An artifact store with points in it."""

    def __init__(self, real: Any, stop: Stop) -> None:
        self.real, self.stop = real, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def put(self, client_id: UUID, key: Any, chunks: Any) -> Any:
        async def watched() -> AsyncIterator[bytes]:
            async for piece in chunks:
                yield piece
                await self.stop.at("blob_half_written")

        stored = await self.real.put(client_id, key, watched())
        await self.stop.at("blob_written")
        return stored

    async def get(self, client_id: UUID, key: Any, expected: Any) -> AsyncGenerator[bytes, None]:
        async for piece in self.real.get(client_id, key, expected):
            yield piece
            await self.stop.at("blob_half_read")


class Keys:
    """A holder of keys with points in it."""

    def __init__(self, real: Any, stop: Stop) -> None:
        self.real, self.stop = real, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def wrap(self, *said: Any) -> Any:
        found = await self.real.wrap(*said)
        await self.stop.at("wrapped")
        return found

    async def unwrap(self, *said: Any) -> Any:
        found = await self.real.unwrap(*said)
        await self.stop.at("unwrapped")
        return found


class Custodian:
    """A custodian with points in it."""

    def __init__(self, real: Any, stop: Stop) -> None:
        self.real, self.stop = real, stop

    @contextlib.asynccontextmanager
    async def open_profile(self, job_id: UUID, profile_id: UUID) -> AsyncIterator[Any]:
        async with self.real.open_profile(job_id, profile_id) as held:
            held.keys = Keys(held.keys, self.stop)
            read, write = held.read, held.write

            async def reading(*said: Any) -> Any:
                found = await read(*said)
                await self.stop.at("record_read")
                return found

            async def writing(*said: Any, **more: Any) -> Any:
                found = await write(*said, **more)
                await self.stop.at("record_written")
                return found

            held.read, held.write = reading, writing
            yield held

    async def close(self, job_id: UUID) -> None:
        await self.real.close(job_id)


def watch_the_book(stop: Stop) -> None:
    """Put points around what the database is told."""
    take, announce, record = openings.take, openings.announce, openings.record

    async def taking(*said: Any, **more: Any) -> Any:
        found = await take(*said, **more)
        asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(stop.at("opened")))
        return found

    async def announcing(*said: Any, **more: Any) -> Any:
        found = await announce(*said, **more)
        asyncio.get_running_loop().call_later(0, lambda: asyncio.ensure_future(stop.at("announced")))
        return found

    async def recording(*said: Any, **more: Any) -> Any:
        found = await record(*said, **more)
        await stop.at("before_commit")
        return found

    openings.take, openings.announce, openings.record = taking, announcing, recording


async def main(given: dict[str, str]) -> None:
    stop = Stop(given["point"])
    watch_the_book(stop)
    db = PostgresDatabase(given["database"])
    settings = ClientSettings(broker_url=given["broker"], runner_token_file=Path(given["token"]), attempts=1)
    custodian = BrokerCustodian(settings, Environment.DEVELOPMENT)
    app = ProfileApp(
        db=db, clock=SystemClock(), ids=SystemIds(), installation_id=UUID(given["installation"]),
        environment=Environment.DEVELOPMENT, limits=ServiceLimits(), custodian=Custodian(custodian, stop),
        sealer=Sealer(), artifacts=Store(LocalArtifacts(Path(given["artifacts"]), may_remove=True), stop),
        rooms=ScriptedRooms(Script()), notes=NoNotes(), proofs=NoProofs(), owner=uuid4(), digest=digest,
    )  # fmt: skip
    result = await do_work(app, ClientId(UUID(given["client"])), UUID(given["work"]))
    await stop.at("committed")
    sys.stdout.write(f"end {result}\n")
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
