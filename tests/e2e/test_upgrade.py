"""The way from one release to the next and back, on a home that the release before left; and what is asked before."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pyrage
import pytest
import pytest_asyncio

from byokeep.adapters.openbao.provisioning import SETTLE_S
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.core.errors import ByokeepError, Conflict
from byokeep.processes import upgrade
from byokeep.processes.installation import BOUND
from byokeep.processes.restore import Brought, restore
from byokeep.processes.upgrade import examine_upgrade
from byokeep.settings import RESTORING, Settings, load
from byokeep_sim import start
from tests.support.cli import Shell
from tests.support.clusters import copied
from tests.support.forks import soon_settled
from tests.support.previous import Previous, code_of, environment_of, previous
from tests.support.stack import ForkedStack, World, configure, new_home, running_stack, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@dataclass
class Asked:
    """A stack about to be upgraded."""

    world: World
    shell: Shell
    identity: Path

    async def found(self) -> dict[str, tuple[str, str]]:
        outcomes = await examine_upgrade(load(home=self.world.home))
        assert all(one.ok or one.next_step for one in outcomes)
        return {one.name: (one.state.value, one.code) for one in outcomes}

    async def wrong(self) -> dict[str, tuple[str, str]]:
        return {name: said for name, said in (await self.found()).items() if said[0] != "ok"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path_factory.mktemp("offline") / "backup.key"
    identity.write_text(f"{key}\n")
    identity.chmod(0o600)
    async with running_stack() as world:
        config = world.home / "config.toml"
        config.write_text(f'backup_recipients = "{key.to_public()}"\n' + config.read_text())
        yield Asked(world, Shell(world.home), identity)


async def test_an_upgrade_is_asked_for_before_it_is_done(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine lines, green with a backup that was opened today; whatever is planted is exactly its line, with a fix."""
    assert await asked.wrong() == {"backup": ("failed", "none_opened")}
    ran = await asked.shell.run("doctor", "--upgrade", "--json")
    assert ran.code == 4
    made: Any = json.loads((await asked.shell.run("backup", "create", "--json")).out)
    assert await asked.wrong() == {"backup": ("failed", "none_opened")}
    opened = await asked.shell.run("backup", "verify", made["id"], "--identity-file", str(asked.identity))
    assert opened.code == 0, opened.said
    assert await asked.wrong() == {}
    assert len(await asked.found()) == 9
    ran = await asked.shell.run("doctor", "--upgrade")
    assert ran.code == 0, ran.said
    home, sql = asked.world.home, asked.world.sql

    with monkeypatch.context() as planted:
        planted.setattr(upgrade, "_FRESH", upgrade.timedelta(0))
        assert await asked.wrong() == {"backup": ("failed", "too_old")}
    with monkeypatch.context() as planted:
        planted.setattr(upgrade, "_RESERVE", 1 << 60)
        assert await asked.wrong() == {"disk": ("failed", "disk_low")}
    with monkeypatch.context() as planted:
        planted.setattr(upgrade, "PROCEDURES", {})
        assert await asked.wrong() == {}, "nothing is under way"
    run = "gen_random_uuid(), 'unheard_of', gen_random_uuid(), gen_random_uuid(), gen_random_uuid()"
    columns = "id, procedure, object_id, asked_by, started_by"
    await sql(f"SET session_replication_role = replica; INSERT INTO byokeep.procedure_run ({columns}) VALUES ({run})")
    assert await asked.wrong() == {"procedures": ("failed", "procedure_unknown")}
    await sql(
        "SET session_replication_role = replica; DELETE FROM byokeep.procedure_run WHERE procedure = 'unheard_of'"
    )
    stands = await sql("SELECT version_num FROM byokeep.alembic_version")
    await sql("UPDATE byokeep.alembic_version SET version_num = '9999'; UPDATE byokeep.schema_objects"
              " SET runs_from = '9999'")  # fmt: skip
    assert await asked.wrong() == {"schema": ("failed", "schema_newer")}
    await sql(f"UPDATE byokeep.alembic_version SET version_num = '{stands}'; UPDATE byokeep.schema_objects"
              f" SET runs_from = '{stands}'")  # fmt: skip
    (home / RESTORING).touch()
    assert await asked.wrong() == {"home": ("failed", "restore_unfinished")}
    (home / RESTORING).unlink()
    bound = (home / BOUND).read_text()
    (home / BOUND).write_text(bound.replace("byokeep-home/1", "byokeep-home/2"))
    assert await asked.wrong() == {"home": ("failed", "format_unknown")}
    (home / BOUND).write_text(bound)
    with asked.world.frozen("database"), monkeypatch.context() as planted:
        planted.setattr(upgrade, "_WITHIN_S", 1.0)
        found = await asked.wrong()
    assert {name for name, (state, _) in found.items() if state == "unknown"} >= {"schema", "backup", "procedures"}


def of(home: Path) -> Settings:
    return load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")


@asynccontextmanager
async def restored(place: Path) -> AsyncIterator[tuple[World, Previous]]:
    """A home made of what the release before left, and everything around it; nothing runs in it yet."""
    before, home, sim = previous(place), new_home(), await start()
    keys = {name: place / f"{name}.key" for name in ("backup", "seal", "recovery")}
    brought = Brought(
        identity=keys["backup"], seal_key=keys["seal"], recovery_keys=[keys["recovery"]],
        checkpoints=place / "checkpoints", accept_loss=True,
    )  # fmt: skip
    try:
        with copied():
            done = await restore(of(home), str(place / "backup.age"), brought)
        assert (done.missing, done.orphans) == ([], [])
        configure(home, sim)
        async with aiohttp.ClientSession() as http:
            yield World(home, None, sim, http), before  # type: ignore[arg-type]  # each stack is started by the test
    finally:
        await sim.stop()
        shutil.rmtree(home)


@asynccontextmanager
async def up(world: World) -> AsyncIterator[World]:
    """This release on a home."""
    world.stack = ForkedStack(of(world.home))
    try:
        await world.stack.start()
        yield world
    finally:
        await world.stack.stop()


async def people(world: World, before: Previous) -> None:
    """Those of the release before sign in, and open what came up closed."""
    for role, (name, password) in before.said["people"].items():
        world.tokens[role] = "none"
        session = await world.must(role, "POST", "/v1/session", {"name": name, "password": password})
        world.tokens[role] = session["token"]
    asked = await world.must("operator", "POST", "/v1/switches/open-requests", {"reason": "original_is_gone"})
    await world.must("approver", "POST", f"/v1/switches/open-requests/{asked['id']}/approve")


async def serves(world: World, before: Previous) -> None:
    """The key is read byte for byte, the chains verify."""
    client, value = before.said["client"], before.said["value"].encode()
    deadline = time.monotonic() + SETTLE_S + 60
    while True:  # a restore makes a new key of leases, which the broker signs with once it is settled
        try:
            async with world.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
                assert (await job.secret("openai")).matches(value)
            break
        except ByokeepError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(2)
    verified = await world.must("auditor", "POST", "/v1/audit/verify")
    assert verified["state"] == "ok"
    assert verified["records"] > 20


async def test_a_home_of_the_release_before_serves(tmp_path: Path) -> None:
    """Restored from its backup, brought up by this one: its key is served, its chains verify, its profile opens."""
    with soon_settled():
        async with restored(tmp_path) as (world, before), up(world):
            await people(world, before)
            await serves(world, before)
            await world.onboard(before.said["client"], "anthropic")
            shell = Shell(world.home)
            words = ("profile", "rekey", before.said["profile"], "--json")
            ran = await shell.run(*words, token=world.token_file("operator"), within_s=150)
            assert (ran.code, ran.document["result"]) == (0, "rekeyed"), ran.said
            await serves(world, before)


@asynccontextmanager
async def older(tree: Path, world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """The release before on a home: until it is up, or has ended by itself."""
    listens = {"BYOKEEP_WEB_LISTEN": "127.0.0.1:0", "BYOKEEP_BROKER_LISTEN": "127.0.0.1:0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "byokeep.cli", "up", "--home", str(world.home), stderr=asyncio.subprocess.PIPE,
        env=environment_of(tree) | listens,
    )  # fmt: skip
    file = world.home / "stack.json"
    try:
        await until(lambda: file.exists() or process.returncode is not None, 180, "the release before")
        if file.exists():
            told = json.loads(file.read_text())
            world.stack = SimpleNamespace(web_url=told["web_url"], broker_url=told["broker_url"])  # type: ignore[assignment]
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


STANDS = (
    "SELECT version_num FROM byokeep.alembic_version; SELECT digest, runs_from FROM byokeep.schema_objects;"
    " SELECT count(*), max(at) FROM byokeep.audit_record; SELECT count(*) FROM byokeep.audit_vocabulary"
)


@pytest.mark.campaign
async def test_there_and_back_on_one_home(tmp_path: Path) -> None:
    """The release before, this one, a newer schema that takes the release before, and back: each serves; where it takes
    it no more, that is refused with what to do, and nothing is changed."""
    async with restored(tmp_path) as (world, before):
        with code_of(before.said["commit"]) as tree:
            async with older(tree, world) as process:
                assert process.returncode is None
                await people(world, before)
                await serves(world, before)
            async with up(world):
                await serves(world, before)
                await world.sql("ALTER TABLE byokeep.alert ADD COLUMN later text;"
                                " UPDATE byokeep.alembic_version SET version_num = '9999'")  # fmt: skip
            async with older(tree, world) as process:
                assert process.returncode is None
                await serves(world, before)
                await world.onboard(before.said["client"], "anthropic")
            async with up(world):
                await serves(world, before)
                await world.sql("UPDATE byokeep.schema_objects SET runs_from = '9999'")
            said = await stands(world)
            async with older(tree, world) as process:
                assert process.stderr is not None
                assert "later release migrated this database" in " ".join(
                    (await process.stderr.read()).decode().split()
                )
                assert await process.wait() == Conflict.exit_code
            assert await stands(world) == said


async def stands(world: World) -> str:
    """What the database says with nothing else running."""
    server = EmbeddedPostgres(world.home)
    await server.start()
    try:
        return str(await server.as_superuser(STANDS, database="byokeep"))
    finally:
        await server.stop()
