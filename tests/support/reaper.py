"""kill -9 while tokens are being renewed: a whole stack with accounts on a platform whose tokens live for seconds.

``Chains`` holds the accounts, kills, and says in the end which chains broke and which of those nobody was told of.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
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

from byokeep.adapters.openbao.intake import BaoIntake
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.core.errors import ByokeepError
from byokeep.core.model import Environment
from byokeep.flows.app import Limits
from byokeep.settings import load
from byokeep.supervisor import Stack
from byokeep.wire.bao_http import BaoHttp
from byokeep.wiring import store_address
from tests.support.broker import Person
from tests.support.postgres import FreshDatabase
from tests.support.renewal import PLATFORMS, Account, Bench, bench_on
from tests.support.social import SECRET, Social, running_platforms
from tests.support.stack import World, lives, new_home, supervised, until

OTHERS = ("store", "database", "broker", "web", "worker")
LIFE_S = 4  # of an access token, so that each account is renewed every other second
FLIGHT_S = 0.03  # a reply is under way for this long
WORK_S = 0.03  # what a naive client does before it has written the new token


@dataclass
class _Ports:
    clock: SystemClock
    ids: SystemIds
    installation_id: UUID
    environment: Environment
    limits: Limits


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
        self.db.sql(
            "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
            f" identity, identified_at, created_by) VALUES ('{account_id}', '{client}', '{platform}', '{account}',"
            f" '{account}', 'Acme Ltd', '{{api}}', 'match', now(), '{uuid4()}')"
        )
        return account_id


@dataclass
class Chains:
    """Accounts that are renewed all the time, and what became of them."""

    world: World
    bench: Bench
    dice: random.Random
    accounts: list[Account] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    silent: list[str] = field(default_factory=list)

    async def connect(self, number: int) -> None:
        for _ in range(number):
            name = f"chain{len(self.accounts)}"
            await self.bench.social.tell(
                "accounts", platform="x", account=name, id=f"9{len(self.accounts):08}", username=name, display_name=name
            )
            self.accounts.append(await self.bench.connect("x", name))

    async def kill(self, count: int, parts: tuple[str, ...]) -> None:
        """Kill that many times, each time just after the platform got a request."""
        for _ in range(count):
            await until(self._answers, 60, "everything back")
            await self._request()
            await asyncio.sleep(self.dice.uniform(0, FLIGHT_S + 0.06))
            part = self.dice.choice(parts)
            pid = self.world.stack.pid(part)
            for child in self.world.stack._children.values():
                child.deaths = 0  # the growing pause of a crash loop is not what is looked at here
            if pid and lives(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[part] += 1
            if part == "refresher":
                await until(lambda was=pid: self.world.stack.pid("refresher") != was, 20, "a new refresher")
                await self.mend()
        await until(self._answers, 60, "everything back")
        await self.mend()

    async def _answers(self) -> bool:
        return (await self.world.ask("operator", "GET", "/v1/switches", within_s=3)).status == 200

    async def _request(self) -> None:
        """Wait until the platform has got one more renewal."""
        before, ends = await self._received(), time.monotonic() + 40
        while await self._received() == before:
            assert time.monotonic() < ends, "nothing is renewed"
            await asyncio.sleep(0.002)

    async def _received(self) -> int:
        calls = (await self.bench.social.show("tokens?platform=x&account=none"))["calls"]["x"]
        return sum(int(one.get("refresh", {}).get("received", 0)) for one in calls.values())

    async def mend(self) -> None:
        """Wait until every chain has gone on or was reported; connect those anew that broke."""
        was = self._states()
        ends = time.monotonic() + 45
        while True:
            now = self._states()
            stuck = [a for a in self.accounts if now[a.id][0] == "live" and now[a.id][1] <= was[a.id][1]]
            if not stuck:
                break
            if time.monotonic() > ends:
                self.silent += [f"{a.name}: {self.bench.journals(a)[-1:]}" for a in stuck]
                break
            await asyncio.sleep(0.2)
        for account in self.accounts:
            if now[account.id][0] != "live":
                self.broken += 1
                await self._reported(account, now[account.id][0])
                await self._again(account)

    def _states(self) -> dict[UUID, tuple[str, int]]:
        rows = self.bench.stand.db.sql("SELECT account_id, state, version FROM byokeep.account_grant").splitlines()
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


@asynccontextmanager
async def chains(seed: int, accounts: int, *, grace_s: int = 0) -> AsyncIterator[Chains]:
    """A supervised stack whose refresher renews accounts all the time."""
    sys.stdout.write(f"seed {seed}\n")
    home = new_home()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        social = await stack.enter_async_context(running_platforms())
        await social.tell("rules", platform="x", access_ttl_s=LIFE_S, grace_s=grace_s)
        await social.tell(
            "faults", provider="x", kind="late", delay_s=FLIGHT_S, match={"call": "refresh"}, times=100_000
        )
        urls = "".join(f'{name} = "{social.sim.base_url(name)}"\n' for name in PLATFORMS)
        (home / "config.toml").write_text(f"[platform_urls]\n{urls}")
        parts = Stack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
        stack.push_async_callback(parts.stop)
        await parts.start()
        world = World(home, parts, social.sim, social.http)
        await world.people()
        await stack.enter_async_context(supervised(world))
        bench = await stack.enter_async_context(_bench(stack, world, social))
        made = Chains(world, bench, random.Random(seed))
        await made.connect(accounts)
        yield made


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
    ports = _Ports(SystemClock(), SystemIds(), installation, Environment.DEVELOPMENT, Limits())
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
