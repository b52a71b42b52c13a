"""A month of an agency's work in minutes, with faults of chance: accounts and tokens renewed, logs rotated, backups.

A day is a round: what ends by the calendar is moved a day nearer to its end, every account's tokens are due once, the
store's logs are rotated, a backup is made. Faults come while the renewals and the jobs of a client go on. The clock
that our own processes see is read from a file, so that it can jump; store, database and platform keep theirs.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from uuid import UUID

import pyrage

from byokeep.adapters.openbao.embedded import audit_files
from byokeep.processes import backup
from byokeep.settings import Settings, load
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support import forks
from tests.support.disk import filled, small_disk
from tests.support.hang import hung
from tests.support.reaper import Chains, chains, own_refresher
from tests.support.stack import Work, World, family, lives, until

PARTS = ("store", "database", "broker", "killswitch", "web", "worker", "refresher")
KINDS = ("kill",) * 5 + ("stop",) * 2 + ("provider",) * 2 + ("full", "clock", "frozen", "engaged", "engaged")
DISK_MB, MORE_MB = 192, 2  # room for replies and copies of backups, and more for each account: their records are kept
KEEPS = 3  # backups
PER_CLIENT = 10  # accounts
KEYS = 5  # clients with an API key of their own, the one whose jobs go on among them
JUMPS_S = (-7200, -90, 90, 7200, 400 * 86_400)


@dataclass
class Soak:
    """A stack in its month.

    Attributes:
        room_mb: Of the disk for replies of renewals and copies of backups.
        sizes: After each day, bytes by directory.
        tried: Jobs that were refused while a kill held.
    """

    made: Chains
    work: Work
    dice: random.Random
    disk: Path
    clock: Path
    identity: Path
    keys: dict[str, bytes] = field(repr=False)
    room_mb: int = DISK_MB
    faults: Counter[str] = field(default_factory=Counter)
    sizes: list[dict[str, int]] = field(default_factory=list)
    tried: int = 0
    backups: int = 0
    renewals: int = 0

    @property
    def world(self) -> World:
        return self.made.world

    @property
    def settings(self) -> Settings:
        return load(home=self.world.home)

    async def sql(self, statement: str) -> str:
        return await self.made._asked(statement)

    async def month(self, days: int, kinds: Sequence[str]) -> None:
        """Let the days go by, with these faults spread over them."""
        of_day = [list[str]() for _ in range(days)]
        for kind in kinds:
            self.dice.choice(of_day).append(kind)
        for day in range(days):
            began = time.monotonic()
            await self._day(of_day[day])
            self.sizes.append(sizes(self.world.home, self.disk))
            grown = {name: size >> 20 for name, size in self.sizes[-1].items() if size >> 20}
            sys.stdout.write(
                f"day {day + 1}: {time.monotonic() - began:.0f} s, faults {self.faults.total()}, MiB {grown}\n"
            )

    async def _day(self, kinds: list[str]) -> None:
        await self._back()
        local = "subject_id IN (SELECT id FROM byokeep.subject WHERE name LIKE 'local-%')"
        earlier = "created_at = created_at - interval '1 day', expires_at = expires_at - interval '1 day'"
        await self.sql(f"UPDATE byokeep.api_token SET {earlier} WHERE {local} AND expires_at > now()")
        await self.world.stack._hourly()
        began = await self.sql("SELECT clock_timestamp()")
        renewing = asyncio.create_task(self._renew_all(began))
        try:
            for kind in kinds:
                await asyncio.sleep(self.dice.random())
                await getattr(self, f"_{kind}")()
                self.faults[kind] += 1
                await self._back()
            await renewing
        finally:
            renewing.cancel()
        await self._rotate_logs()
        await backup.create(self.settings)
        self.backups += 1
        await self.work.goes_on(60)

    async def _renew_all(self, began: str) -> None:
        """Every account is due, and again until it was renewed: what a platform or a kill held up is not waited for."""
        old = f"FROM byokeep.account_grant WHERE obtained_at < '{began}'"
        again = (
            f"UPDATE byokeep.account_grant SET due_at = now(), tries = 0 WHERE account_id IN (SELECT account_id {old})"
        )
        before, ends = await self._version_sum(), time.monotonic() + 600
        while left := int(await self.sql(f"SELECT count(*) {old}")):
            assert time.monotonic() < ends, await self.sql(
                f"SELECT state, reason, tries, count(*) {old} GROUP BY 1, 2, 3"
            )
            await self.sql(f"{again} AND state = 'live' AND (due_at > now() OR tries > 0)")
            if self.made.owner is not None and self.made.owner.poll() is not None:
                self.made.owner = own_refresher(self.world)
            await asyncio.sleep(min(2.0, 0.2 + left / 100))
        self.renewals += await self._version_sum() - before

    async def _version_sum(self) -> int:
        return int(await self.sql("SELECT sum(version) FROM byokeep.account_grant"))

    async def _back(self) -> None:
        await until(self.made._answers, 90, "everything back")

    async def _kill(self) -> None:
        part = self.dice.choice(PARTS)
        await until(lambda: self.made._strike(part), 60, f"{part} to kill")

    async def _stop(self) -> None:
        """The store or the database ends in order and is away for a while; jobs are refused meanwhile."""
        part = self.dice.choice(("store", "database"))
        first = self.world.stack.pid(part)
        os.kill(first, signal.SIGTERM if part == "store" else signal.SIGINT)
        await until(lambda: not lives(first), 60, f"the end of the {part}")
        await asyncio.sleep(self.dice.random())

    async def _provider(self) -> None:
        """The platform says that it is too much, or is down, for some renewals."""
        status, times = self.dice.choice((429, 503, 0)), self.dice.randint(1, 40)
        more = {"status": status} if status else {}
        await self.made.bench.fault("x", "status" if status else "reset", times=times, **more)

    async def _full(self) -> None:
        """No room for replies of renewals and for backups: nothing is renewed, and a backup says so."""
        with filled(self.disk):
            with contextlib.suppress(Exception):
                await backup.create(self.settings)
            await asyncio.sleep(1)

    async def _clock(self) -> None:
        """Our processes' clock jumps, and back after a while."""
        self.clock.write_text(str(self.dice.choice(JUMPS_S)))
        await asyncio.sleep(1 + 2 * self.dice.random())
        self.clock.write_text("0")

    async def _frozen(self) -> None:
        """A part does nothing for seconds and then goes on as if it were the same moment."""
        pid = self.world.stack.pid(self.dice.choice(("broker", "worker", "store")))
        if pid and lives(pid):
            with hung(*family(pid)):
                await asyncio.sleep(1 + 3 * self.dice.random())

    async def _engaged(self) -> None:
        """A kill, of the client or of everything, and mostly a part killed under it: no effect until two release it."""
        scope = {} if self.dice.random() < 0.3 else {"client_id": self.work._client}
        close = ("operator", "POST", "/v1/switches/close", scope | {"reason": "soak"})

        async def acknowledged() -> bool:
            return (await self.world.ask(*close)).status == 200

        await until(acknowledged, 90, "a kill")
        await self.world.settled()  # what had its permit before has acted
        before, refused = await self.world.effects(), len(self.work.refused)
        if self.dice.random() < 0.7:
            await self._kill()
        await until(lambda: len(self.work.refused) > refused + 3, 60, "jobs that are refused")
        assert await self.world.effects() == before, "an effect while killed"
        self.tried += len(self.work.refused) - refused

        async def released() -> bool:
            asked = await self.world.ask("operator", "POST", "/v1/switches/open-requests", scope | {"reason": "over"})
            path = f"/v1/switches/open-requests/{(asked.document or {}).get('id')}/approve"
            return asked.status == 201 and (await self.world.ask("approver", "POST", path)).status == 200

        await until(released, 120, "the release")

    async def _rotate_logs(self) -> None:
        """As the runbook says: moved beside, and the store told; the broker goes on."""
        await self._back()
        for file in audit_files(self.world.home).values():
            file.replace(file.with_name(file.name + ".1"))
        os.kill(self.world.stack.pid("store"), signal.SIGHUP)

        async def healthy() -> bool:
            return bool(((await self.world.ask("auditor", "GET", "/v1/audit/health")).document or {}).get("healthy"))

        await until(healthy, 30, "devices that record in the new files")

    async def nothing_lost(self) -> None:
        """Every key is read byte for byte, and every account's stored token opens it at the platform."""
        for client, value in self.keys.items():
            await until(lambda client=client, value=value: self.world.reads(client, "openai", value), 30, "a key")
        states = await self.sql("SELECT state, count(*) FROM byokeep.account_grant GROUP BY 1")
        assert states == f"live|{len(self.made.accounts)}", states
        token = self.made.bench.stand.home / "custodian.token"
        token.write_text((self.world.home / "credentials" / "worker.token").read_text())
        for number in range(0, len(self.made.accounts), 8):
            some = self.made.accounts[number : number + 8]
            assert all(await asyncio.gather(*(self.made.bench.works(one) for one in some))), [one.name for one in some]

    def swept(self, *, whole: bool) -> int:
        """Look for keys and tokens in the logs, or in every file, and beside the home; returns how many were read."""
        bench = self.made.bench
        seen = [*bench.seen[:8], *bench.seen[-8:]]
        canaries = [Canary(f"token{number}", one.reveal()) for number, one in enumerate(seen)]
        canaries += [Canary(f"key{number}", value) for number, value in enumerate(self.keys.values())]
        home = self.world.home
        places = [home] if whole else [home / name for name in ("logs", "store-audit", "checkpoints", "config.toml")]
        report = Sweep(canaries).scan_paths([*places, self.disk])
        assert not report.findings, [finding.label for finding in report.findings]
        return int(report.sources_scanned)


def sizes(*places: Path) -> dict[str, int]:
    """Bytes on disk by directory, those of the home by their names."""
    found: Counter[str] = Counter()
    for number, place in enumerate(places):
        for path in place.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    name = path.parent.name if number else path.relative_to(place).parts[0]
                    found[name] += path.stat().st_blocks * 512
    return dict(found)


@asynccontextmanager
async def soak(seed: int, accounts: int, place: Path) -> AsyncIterator[Soak]:
    """A supervised stack with so many accounts, a client whose jobs go on, and a small disk for replies and backups."""
    key = pyrage.x25519.Identity.generate()
    identity, clock, dice = place / "backup.key", place / "clock", random.Random(seed)
    identity.write_text(f"{key}\n")
    identity.chmod(0o600)
    clock.write_text("0")
    room_mb = DISK_MB + MORE_MB * accounts
    with small_disk(place / "disk", room_mb, mode="0700") as disk, mock.patch.dict(forks.MORE, TEST_CLOCK=str(clock)):
        for name in ("slots", "copies"):
            (disk / name).mkdir(mode=0o700)
        config = f'backup_recipients = "{key.to_public()}"\nbackup_target = "{disk / "copies"}"\n'
        config += f'backup_keep = {KEEPS}\nslots_dir = "{disk / "slots"}"\n'
        async with chains(seed, 0, graceful=True, steady=True, config=config) as made:
            for first in range(0, accounts, PER_CLIENT):
                await made.connect(min(PER_CLIENT, accounts - first), UUID(await made.world.client()))
            clients = [await made.world.client() for _ in range(KEYS)]
            keys, client = {one: await made.world.onboard(one) for one in clients}, clients[0]
            await made.world.account(client, "acme")
            async with Work(made.world, client, "acme", keys[client]) as work:
                yield Soak(made, work, dice, disk, clock, identity, keys, room_mb)
