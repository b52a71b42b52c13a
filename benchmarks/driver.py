"""What a transaction of five statements costs this process: our own trips, the driver below them, and asyncpg.

Rules
- All ask the same of the same server over the same socket, one transaction at a time.
- What counts is the client's CPU: the server's is the same for all, and waiting for it costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from benchmarks.report import ROOT, Row
from benchmarks.start import new_home
from byokeep.adapters.postgres.connections import PipelineConnection, driver_arguments, travel
from byokeep.adapters.postgres.embedded import EmbeddedPostgres

TIMES: Final = 2000
PEER_PYTHON: Final = ROOT / ".venv-peers" / "bin" / "python"  # tools/peers.sh makes it
# With binds as the driver, and as asyncpg, spell them.
STATEMENTS: Final = (
    "SELECT set_config('byokeep.client', %(id)s, true)",
    "SELECT pg_advisory_xact_lock_shared(%(key)s)",
    "SELECT count(*) AS found FROM pg_class WHERE oid = CAST(%(key)s AS bigint)",
    "SELECT CAST(%(id)s AS text) AS id, now() AS at",
    "SELECT CAST(%(key)s AS bigint) + 1 AS next",
)
PARAMS: Final = {"id": "5d7f6a34-4b71-4a52-8a3f-0d8a1a3e2f10", "key": 4711}
ASYNCPG: Final = """
import json, resource, sys, time
import asyncpg, uvloop
host, user, database, times, statements, params = json.loads(sys.argv[1])
async def main():
    connection = await asyncpg.connect(host=host, user=user, database=database)
    prepared = [(text.replace("%(id)s", "$1").replace("%(key)s", "$1"), params["id" if "(id)" in text else "key"])
                for text in statements]
    async def once():
        async with connection.transaction():
            for text, value in prepared:
                await connection.fetch(text, value)
    for _ in range(200):
        await once()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(times):
        await once()
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took]))
uvloop.run(main())
"""


async def driver() -> list[Row]:
    """Measure each; the first row is ours and the base of the ratios."""
    home = new_home()
    server = EmbeddedPostgres(home)
    try:
        await server.start()
        arguments = driver_arguments(server.url("byokeep_broker"), "bench")
        found = {"own trips": await _timed(await _own(arguments))}
        found["psycopg, one by one"] = await _timed(await _plain(arguments))
        if PEER_PYTHON.exists():
            found["asyncpg, one by one"] = await _asyncpg(arguments)
    finally:
        await server.stop()
        shutil.rmtree(home, ignore_errors=True)
    base = found["own trips"][0]
    return [
        Row(
            what=f"five statements in a transaction, {name}",
            p50=f"{cpu / TIMES * 1e6:.0f} us CPU",
            p99=f"{took / TIMES * 1e6:.0f} us",
            ratio=f"{cpu / base:.2f}x ours",
        )
        for name, (cpu, took) in found.items()
    ]


async def _timed(once: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    for _ in range(200):
        await once()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(TIMES):
        await once()
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took


async def _own(arguments: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    connection = await PipelineConnection.connect(**arguments, autocommit=True, row_factory=dict_row)
    asked = [("BEGIN", None), *((text, PARAMS) for text in STATEMENTS), ("COMMIT", None)]

    async def once() -> None:
        if (await travel(connection, asked)).error is not None:
            raise RuntimeError("a statement was refused")

    return once


async def _plain(arguments: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    connection = await psycopg.AsyncConnection.connect(**arguments, row_factory=dict_row)

    async def once() -> None:
        async with connection.transaction():
            for text in STATEMENTS:
                await (await connection.execute(text, PARAMS)).fetchall()

    return once


async def _asyncpg(arguments: dict[str, Any]) -> tuple[float, float]:
    asked = [arguments["host"], arguments["user"], arguments["dbname"], TIMES, STATEMENTS, PARAMS]
    peer = await asyncio.create_subprocess_exec(
        str(PEER_PYTHON), "-c", ASYNCPG, json.dumps(asked), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await peer.communicate()
    cpu, took = json.loads(said)
    return cpu, took
