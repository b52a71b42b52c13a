"""kill -9 while tokens are being renewed: a whole stack with accounts on a platform whose tokens live for seconds.

``Chains`` holds the accounts, kills, and says which chains broke and which of those nobody was told of. It does not
wait for rest between two kills: only that the process whose turn it is runs again, and that a renewal has just left.
For web and worker, which have no part in one, that is waited for a second: they may die while others come back.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import BaoIntake
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.core.errors import ByokeepError
from byokeep.core.model import Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.processes.wiring import store_address
from byokeep.settings import load
from byokeep.wire.bao_http import BaoHttp
from tests.support.broker import Person
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import state_rows
from tests.support.renewal import PLATFORMS, Account, Bench, bench_on
from tests.support.social import SECRET, Social, running_platforms
from tests.support.stack import PROVIDERS, ForkedStack, World, environment, lives, new_home, supervised, until

ROOT = Path(__file__).parents[2]
OTHERS = ("store", "database", "broker", "web", "worker")
LIFE_S = 6  # of an access token, so that each account is renewed every three seconds
SHORT_S = 2  # where there is one account alone
BESIDE_S = 1.0  # in which a renewal is waited for when what is killed has no part in it
GRACE_S = 60  # for which the graceful platform takes a spent token
FLIGHT_S = 0.03  # a reply is under way for this long
WORK_S = 0.03  # what a naive client does before it has written the new token


@dataclass
class _Ports:
    clock: SystemClock
    ids: SystemIds
    installation_id: UUID
    environment: Environment
    limits: ServiceLimits


@dataclass
class StackStand:
    """As much of a broker's stand as a bench asks for, on a whole stack."""

    world: World
    db: FreshDatabase
    intake: BaoIntake
    home: Path
    app: _Ports
    url: str
    people: dict[str, Person]

    async def client(self) -> UUID:
        return UUID(await self.world.client())

    def account(self, client: UUID, platform: str, account: str) -> UUID:
        account_id = uuid4()
        state_rows(
            self.db,
            "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
            f" identity, identified_at, created_by) VALUES ('{account_id}', '{client}', '{platform}', '{account}',"
            f" '{account}', 'Acme Ltd', '{{api}}', 'match', now(), '{uuid4()}')",
        )
        return account_id


@dataclass
class Chains:
    """Accounts that are renewed all the time, and what became of them.

    Attributes:
        struck: Renewals that were between their request and the store when a kill came.
        owner: The refresher, when it is the test's own and not the stack's.
    """

    world: World
    bench: Bench
    dice: random.Random
    accounts: list[Account] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    struck: int = 0
    broken: int = 0
    silent: list[str] = field(default_factory=list)
    owner: subprocess.Popen[bytes] | None = None
    slowest_s: float = 0.0

    async def connect(self, number: int, client: UUID | None = None) -> None:
        for _ in range(number):
            name = f"chain{len(self.accounts)}"
            await self.bench.social.tell(
                "accounts", platform="x", account=name, id=f"9{len(self.accounts):08}", username=name, display_name=name
            )
            self.accounts.append(await self.bench.connect("x", name, client))

    async def hurry(self, life_s: float) -> None:
        """Let renewals be due at half of a token's life: the product keeps a pause that the storm does not have."""
        due = f"obtained_at + interval '{life_s / 2} seconds'"
        while True:
            await self._asked(
                f"UPDATE byokeep.account_grant SET due_at = {due} WHERE state = 'live' AND due_at > {due} AND tries = 0"
            )
            await asyncio.sleep(0.3)

    async def kill(self, count: int, parts: tuple[str, ...]) -> None:
        """Kill that many times, in strict rotation, each time just after the platform got a renewal."""
        killed = dict.fromkeys(parts, 0)
        for number, part in zip(range(count), itertools.cycle(parts), strict=False):
            began = time.monotonic()
            pid = 0
            while not pid:  # one that has just ended by itself is waited for again
                await until(lambda part=part: self._runs(part, killed[part]), 60, f"{part} again")
                await self._request(BESIDE_S if part in ("web", "worker") else None)
                await asyncio.sleep(self.dice.uniform(0, FLIGHT_S + 0.06))
                pid = self._strike(part)
            killed[part] = pid
            if part == "refresher" or part == parts[-1]:
                await self._look()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if number % 100 == 99:
                sys.stdout.write(f"{number + 1} kills, {self.broken} broken, silent {self.silent}\n")
        await until(self._answers, 60, "everything back")
        await self.mend()

    def _runs(self, part: str, killed: int) -> bool:
        pid = self._pid(part)
        return pid != 0 and pid != killed and lives(pid)

    def _pid(self, part: str) -> int:
        if part == "refresher" and self.owner is not None:
            return self.owner.pid
        return self.world.stack.pid(part)

    def _strike(self, part: str) -> int:
        """Kill it, if it runs; returns its pid, or 0."""
        pid = self._pid(part)
        if not pid or not lives(pid):
            return 0
        for child in self.world.stack._children.values():
            child.deaths = 0  # the growing pause of a crash loop is not what is looked at here
        os.kill(pid, signal.SIGKILL)
        self.kills[part] += 1
        if self.owner is not None and part == "refresher":
            self.owner.wait()
            self.owner = own_refresher(self.world)
        return pid

    async def _answers(self) -> bool:
        return (await self.world.ask("operator", "GET", "/v1/switches", within_s=3)).status == 200

    async def _request(self, within_s: float | None = None) -> None:
        """Wait until the platform has got one more renewal; at most so long, where that is said."""
        before, began = self._received(), time.monotonic()
        ends, looks = began + (within_s or 90), began + 2
        while self._received() == before:
            if time.monotonic() > ends:
                assert within_s is not None, "nothing is renewed"
                return
            if time.monotonic() > looks:  # what the last kill broke may have been reported just now
                await self._mend_reported()
                looks = time.monotonic() + 2
            await asyncio.sleep(0.005)

    def _received(self) -> int:
        """How many renewals the platform got; read where it runs, for it is looked at every few milliseconds."""
        calls = self.bench.social.sim.social.worlds["x"].ledger.calls()
        return sum(int(one.get("refresh", {}).get("received", 0)) for one in calls.values())

    async def _look(self) -> None:
        """Count what the last kill struck, and connect anew what has been reported as broken by now."""
        found = await self._asked(
            "SELECT count(*) FROM byokeep.refresh_journal WHERE ended_at IS NULL AND phase IN ('sent', 'landed')"
        )
        self.struck += int(found or 0)
        await self._mend_reported()

    async def _mend_reported(self) -> None:
        states = await self._states()
        for account in self.accounts:
            await self._mended(account, states[account.id][0])

    async def _asked(self, statement: str) -> str:
        """Ask the database, which may be on its way back."""
        for _ in range(100):
            with contextlib.suppress(ByokeepError, subprocess.SubprocessError, OSError, RuntimeError, AssertionError):
                return await asyncio.to_thread(self.bench.stand.db.sql, statement)
            await asyncio.sleep(0.3)
        raise AssertionError("the database does not come back")

    async def _mended(self, account: Account, state: str) -> None:
        if state != "live":
            self.broken += 1
            await self._reported(account, state)
            await self._again(account)

    async def mend(self, within_s: float = 90) -> None:
        """Wait until every chain has gone on or was reported; connect those anew that broke."""
        was, ends = await self._states(), time.monotonic() + within_s
        while True:
            now = await self._states()
            stuck = [a for a in self.accounts if now[a.id][0] == "live" and now[a.id][1] <= was[a.id][1]]
            if not stuck:
                break
            if time.monotonic() > ends:
                self.silent += [f"{a.name}: {self.bench.journals(a)[-1:]}" for a in stuck]
                break
            await asyncio.sleep(0.2)
        await self._mend_reported()

    async def _states(self) -> dict[UUID, tuple[str, int]]:
        rows = (await self._asked("SELECT account_id, state, version FROM byokeep.account_grant")).splitlines()
        parts = (row.split("|") for row in rows)
        return {UUID(account): (state, int(version)) for account, state, version in parts}

    async def _reported(self, account: Account, state: str) -> None:
        sql = self.bench.stand.db.sql
        record = sql(
            f"SELECT count(*) FROM byokeep.audit_record WHERE object_id = '{account.id}' AND event IN"
            " ('tokens.chain_broken', 'account.reauth_needed')"
        )
        alert = sql(
            f"SELECT count(*) FROM byokeep.alert WHERE object_id = '{account.id}' AND reason LIKE 'account_%'"
            " AND closed_at IS NULL"
        )
        way = sql(
            f"SELECT count(*) FROM byokeep.reenabling WHERE client_id = '{account.client_id}' AND stage = 'closed'"
        )
        why = sql(f"SELECT reason FROM byokeep.account_grant WHERE account_id = '{account.id}'")
        sys.stdout.write(f"{account.name}: {why}\n")
        if (state, int(record) > 0, alert, way) != ("needs_reauth", True, "1", "1"):
            self.silent.append(f"{account.name}: {state} {record} {alert} {way}")

    async def _again(self, account: Account) -> None:
        """A person logs in again."""
        for _ in range(20):
            try:
                tokens = await self.bench.consent("x", account.name)
                newest = (await self.bench.stored(account))[0]
                version, access = await self.bench.store(account, tokens, cas=newest)
                break
            except ByokeepError:
                await asyncio.sleep(0.5)
        else:
            raise AssertionError("could not be connected again")
        self.bench.stand.db.sql(
            f"UPDATE byokeep.alert SET closed_at = now() WHERE object_id = '{account.id}';"
            f"DELETE FROM byokeep.reenabling WHERE client_id = '{account.client_id}';"
            f"UPDATE byokeep.account_grant SET state = 'live', reason = '', version = {version}, access_version ="
            f" {access}, due_at = now(), tries = 0 WHERE account_id = '{account.id}'"
        )
        state_rows(self.bench.stand.db)


@asynccontextmanager
async def chains(
    seed: int, accounts: int, *, graceful: bool = False, steady: bool = False, config: str = "",
) -> AsyncIterator[Chains]:  # fmt: skip
    """A supervised stack whose refresher renews accounts all the time.

    Args:
        graceful: The platform takes a spent token for a minute, and a refresher of the test's own knows that.
        steady: Tokens live as long as the platform's do; the test says when they are due.
        config: More settings, and with them the simulated vendors of API keys.
    """
    sys.stdout.write(f"seed {seed}\n")
    home = new_home()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        social = await stack.enter_async_context(running_platforms())
        await social.tell(
            "rules", platform="x", grace_s=GRACE_S if graceful else 0,
            access_ttl_s=7200 if steady else SHORT_S if accounts == 1 else LIFE_S,
        )  # fmt: skip
        await social.tell(
            "faults", provider="x", kind="late", delay_s=FLIGHT_S, match={"call": "refresh"}, times=100_000
        )
        urls = "".join(f'{name} = "{social.sim.base_url(name)}"\n' for name in PLATFORMS)
        vendors = "".join(f'{name} = "{social.sim.base_url(name)}"\n' for name in PROVIDERS) if config else ""
        (home / "config.toml").write_text(f"{config}[provider_urls]\n{vendors}[platform_urls]\n{urls}")
        parts = ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
        stack.push_async_callback(parts.stop)
        await parts.start()
        world = World(home, parts, social.sim, social.http)
        await world.people()
        owner = None
        if graceful:
            theirs = parts._children.pop("refresher").process
            theirs.terminate()
            theirs.wait(30)
            owner = own_refresher(world)
        await stack.enter_async_context(supervised(world))
        bench = await stack.enter_async_context(_bench(stack, world, social))
        made = Chains(world, bench, random.Random(seed), owner=owner)
        await made.connect(accounts)
        hurry = None if steady else asyncio.create_task(made.hurry(SHORT_S if accounts == 1 else LIFE_S))
        try:
            yield made
        finally:
            if hurry is not None:
                hurry.cancel()
            if made.owner is not None:
                made.owner.kill()
                made.owner.wait()


def own_refresher(world: World) -> subprocess.Popen[bytes]:
    """Start a refresher that knows of the platform's grace."""
    home = world.stack.settings.home
    with (home / "own-refresher.err").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.graceful", "--config", str(home / "run-settings.toml")],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment(), cwd=ROOT,
        )  # fmt: skip


@asynccontextmanager
async def _bench(stack: contextlib.AsyncExitStack, world: World, social: Social) -> AsyncIterator[Bench]:
    server: Any = world.stack._database
    db = FreshDatabase(server, "byokeep")
    http = await stack.enter_async_context(BaoHttp(store_address(world.stack.settings), timeout_s=5))
    login = AppRoleLogin(http, world.home / "credentials" / "web.approle")
    stack.push_async_callback(login.close)
    installation = UUID(db.sql("SELECT id FROM byokeep.installation"))
    token = (world.home / "credentials" / "worker.token").read_text().strip()
    custodian = Person(UUID(db.sql("SELECT id FROM byokeep.subject WHERE name = 'local-worker'")), token)
    ports = _Ports(SystemClock(), SystemIds(), installation, Environment.DEVELOPMENT, ServiceLimits())
    stand: Any = StackStand(
        world, db, BaoIntake(login), world.home, ports, world.stack.broker_url, {"custodian": custodian}
    )
    async with bench_on(stand, slots=world.home / "slots-of-the-test", social=social) as bench:
        yield bench


# A client as they are written: renew, work a little, write the file.
NAIVE = """
import base64, http.client, json, sys, time, urllib.parse
host, path, file, app, secret, life, work = sys.argv[1:]
auth = base64.b64encode(f"{app}:{secret}".encode()).decode()
while True:
    token = open(file).read()
    to = http.client.HTTPConnection(host, timeout=10)
    body = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": token})
    to.request("POST", path, body, {"Authorization": "Basic " + auth,
                                    "Content-Type": "application/x-www-form-urlencoded"})
    reply = to.getresponse()
    answer = json.loads(reply.read())
    if reply.status != 200:
        sys.exit(3)
    time.sleep(float(work))
    open(file, "w").write(answer["refresh_token"])
    time.sleep(float(life))
"""


async def naive(made: Chains, kills: int) -> int:
    """The same kills for a naive client; returns how many broke its chain."""
    social, broken = made.bench.social, 0
    await social.tell("accounts", platform="x", account="naive", id="777", username="naive", display_name="naive")
    base = social.sim.base_url("x").removeprefix("http://")
    host, _, rest = base.partition("/")
    file = made.world.home / "naive.token"
    for _ in range(kills):
        tokens = await made.bench.consent("x", "naive")
        assert tokens.refresh is not None
        file.write_text(tokens.refresh.reveal().decode())
        before = await _naive_calls(social)
        process = subprocess.Popen(
            [sys.executable, "-c", NAIVE, host, f"/{rest}/api.x.com/2/oauth2/token", str(file), "app", SECRET, "1",
             str(WORK_S)], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        while await _naive_calls(social) == before:
            await asyncio.sleep(0.002)
        await asyncio.sleep(made.dice.uniform(0, FLIGHT_S + 0.06))
        process.kill()
        process.wait()
        shown = file.read_text()
        broken += not shown or (await social.refresh("x", shown)).status != 200
    return broken


async def _naive_calls(social: Social) -> int:
    return int((await social.calls("x", "naive")).get("refresh", {}).get("received", 0))
