"""A rotation's second half: 1,000 wrapped keys moved to a new version, everything readable, beside the bare engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import structlog

from benchmarks.load import Run
from benchmarks.report import Row, row_of
from byokeep.core.kek import KeyContext, Wrapped
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_record
from byokeep.profiles import kek_tasks
from byokeep.profiles.kek import Rotation
from tests.support.broker import Stand, Store, standing
from tests.support.keks import Keys, keys_on
from tests.support.openbao import running_openbao
from tests.support.postgres import fresh_database, running_postgres, short_home

PROFILES: Final = 250
GENERATIONS: Final = 4
WITHIN_S: Final = 30.0
CALLERS: Final = kek_tasks.AT_ONCE


async def rewrap() -> list[Row]:
    """Measure a rewrap on real servers, with a reader at work all the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the broker is in here
    async with real_stand() as stand, keys_on(stand) as keys:
        client = await keys.client()
        async with keys.custody(client) as custody:
            profiles = await keys.profiles(custody, client, PROFILES, generations=GENERATIONS)
        rotation = await kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled")
        assert rotation is not None
        bare = await _bare(keys, client, profiles)
        reading = asyncio.create_task(_readers(keys, client, profiles))
        began = time.perf_counter()
        while True:
            await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client)
            async with keys.app.db.begin(every_client=True) as tx:
                now = await tx.one(Rotation, "kek_rotation_get", id=rotation.id)
            if now.state == "done":
                break
        took = time.perf_counter() - began
        reading.cancel()
        reads = await reading
    count = PROFILES * GENERATIONS
    return [
        Row(
            what=f"{count:,} wrapped keys moved to a new version, on record", callers=CALLERS, p50=f"{took:.1f} s",
            rate=f"{count / took:,.0f}/s", ratio=f"{count / took / bare.per_second:.2f} of bare",
            aim=f"<= {WITHIN_S:.0f} s", held=now.moved == count and took <= WITHIN_S and not reads.failures,
            note=f"{len(reads.took)} reads meanwhile, {sum(reads.failures.values())} refused",
        ),
        row_of("of these, the bare engine: login and transit rewrap", bare),
    ]  # fmt: skip


async def _bare(keys: Keys, client: UUID, profiles: list[UUID]) -> Run:
    """The same number of `rewrap` calls alone, with the login that each is made under."""
    run = Run(CALLERS)
    async with keys.custody(client) as custody:
        record = parse_record(await custody.read(ProfileRef(keys.scope(client).client_id, profiles[0]), 1))
        wrapped = Wrapped(holder="transit", kek_id=record.kek.key_id, kek_version=record.kek_version,
                          ciphertext=record.wrapped_dek)  # fmt: skip
        context: KeyContext = keys.context(client, profiles[0])
        left = iter(range(PROFILES * GENERATIONS))

        async def caller() -> None:
            for _ in left:
                start = time.perf_counter()
                await custody.keys.rewrap(wrapped, context)
                run.took.append(time.perf_counter() - start)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        run.seconds = time.perf_counter() - began
    return run


async def _readers(keys: Keys, client: UUID, profiles: list[UUID]) -> Run:
    """Open what the rows stand for until told to stop; what a reader was refused counts as a failure."""
    run = Run(1)
    with contextlib.suppress(asyncio.CancelledError):
        async with keys.custody(client) as custody:
            while True:
                start = time.perf_counter()
                profile = secrets.choice(profiles)
                try:
                    opened = await _opens(keys, custody, client, profile)
                except Exception as error:  # whatever it is, it was not readable
                    opened, name = False, type(error).__name__
                else:
                    name = "other_key"
                if not opened:
                    run.failures[name] += 1
                run.took.append(time.perf_counter() - start)
    return run


async def _opens(keys: Keys, custody: object, client: UUID, profile: UUID) -> bool:
    rows = await asyncio.to_thread(
        keys.sql,
        "SELECT record_version || '/' || dek_id FROM byokeep.profile_generation"  # noqa: S608 - made-up ids
        f" WHERE profile_id = '{profile}' ORDER BY generation DESC LIMIT 1",
    )
    version, dek_id = rows.split("/")
    read = getattr(custody, "read")  # noqa: B009
    record = parse_record(await read(ProfileRef(keys.scope(client).client_id, profile), int(version)))
    wrapped = Wrapped(holder="transit", kek_id=record.kek.key_id, kek_version=record.kek_version,
                      ciphertext=record.wrapped_dek)  # fmt: skip
    dek = await getattr(custody, "keys").unwrap(wrapped, keys.context(client, profile))  # noqa: B009
    return str(record.dek_id) == dek_id and bytes(dek.reveal()) == keys.deks[record.dek_id]


@contextlib.asynccontextmanager
async def real_stand() -> AsyncIterator[Stand]:
    """A broker on a real store and a real database of their own, which end with the block."""
    home, server = short_home(), running_postgres()
    postgres = await asyncio.to_thread(server.__enter__)
    try:
        async with running_openbao(home) as bao:
            database = await asyncio.to_thread(fresh_database, postgres)
            async with standing(database, Store(bao, home)) as stand:
                yield stand
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
        shutil.rmtree(home, ignore_errors=True)
