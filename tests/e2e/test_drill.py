"""Recovery drills on the host: a backup restored apart, verified without an effect or a renewal, and reported."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pyrage
import pytest

from byokeep.adapters.openbao.login import log_in
from byokeep.audit.disclosure import RecordFilter, RecordWindow, read_audit
from byokeep.core.drill import STEPS
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected
from byokeep.core.model import Actor, ClientId, Role
from byokeep.processes import doctor, drill, drill_place, restore, wiring
from byokeep.processes.drill_steps import Drilled
from byokeep.processes.restore import Brought
from byokeep.settings import Settings, load
from tests.e2e.test_profiles import ACME, Office
from tests.support import forks
from tests.support.cli import Ran, Shell
from tests.support.clusters import copied
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.stack import ForkedStack, World, new_home, running_stack

pytestmark = pytest.mark.timeout(600)


@dataclass
class Site:
    """A stack with clients, and the keys that people bring to a drill."""

    world: World
    shell: Shell
    identity: Path
    clients: list[str]
    values: list[bytes]

    @property
    def settings(self) -> Settings:
        return load(home=self.world.home)

    @property
    def brought(self) -> Brought:
        keys = self.world.home / "keys"
        return Brought(
            identity=self.identity, seal_key=keys / "seal.key", recovery_keys=sorted(keys.glob("recovery*.key")),
            checkpoints=self.world.home / "checkpoints", accept_loss=True,
        )  # fmt: skip

    async def backed_up(self) -> str:
        """Make a backup and open it; returns its id."""
        made = await self.shell.run("backup", "create", "--json")
        assert made.code == 0, made.err
        backup = str(made.document["id"])
        opened = await self.shell.run("backup", "verify", backup, "--identity-file", str(self.identity))
        assert opened.code == 0, opened.err
        return backup

    async def any_backup(self) -> None:
        """See that there is one of what has been the same since the stack was filled."""
        if not list((self.world.home / "backups").glob("*.age")):
            await self.backed_up()

    async def drill(self, *words: str) -> Ran:
        own = self.brought
        brought = ("--identity-file", str(own.identity), "--seal-key-file", str(own.seal_key))
        recovery = ("--recovery-key-file", str(own.recovery_keys[0]))
        return await self.shell.run("drill", "run", *words, *brought, *recovery, "--json", within_s=300, **forks.MORE)

    def nothing_left(self) -> None:
        assert not (self.world.home / "drill").exists()

    async def recorded(self) -> list[dict[str, Any]]:
        """What is on record of drills, the newest first."""
        said = await self.world.sql(
            "SELECT outcome, convert_from(payload, 'UTF8')::jsonb ->> 'fields' FROM byokeep.audit_record"
            " WHERE event = 'drill.completed' ORDER BY seq DESC"
        )
        rows = [line.partition("|") for line in said.splitlines()]
        return [{"outcome": outcome, **json.loads(fields)} for outcome, _, fields in rows]

    async def token_calls(self) -> int:
        """How many calls the token endpoints of all platforms have seen."""
        async with self.world.http.get(f"{self.world.sim.url}/_sim/tokens") as reply:
            calls = (await reply.json())["calls"]
        return sum(len(one) for one in calls.values())


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path_factory.mktemp("offline") / "backup.key"
    identity.write_text(f"{key}\n")
    identity.chmod(0o600)
    async with running_stack() as world:
        config = world.home / "config.toml"
        config.write_text(f'backup_recipients = "{key.to_public()}"\n' + config.read_text())
        clients = [await world.client() for _ in range(3)]
        values = [await world.onboard(client) for client in clients]
        yield Site(world, Shell(world.home, loaded=True), identity, clients, values)


@pytest.fixture(autouse=True)
def _clusters_are_copies() -> Iterator[None]:
    with copied():
        yield


@pytest.fixture
def quick() -> Iterator[None]:
    """What a drill starts of ours is forked, and its store's new key of leases soon settled."""
    with forks.standing(), forks.soon_settled():
        yield


def steps_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["step"]: one for one in report["steps"]}


@pytest.mark.usefixtures("quick")
@pytest.mark.req("R9.3-2", "R9.3-4", "R9.3-5", "R9.3-6")
async def test_a_drill_restores_verifies_and_lets_nothing_out(site: Site, tmp_path: Path) -> None:
    """All steps pass; publishing is refused though everything is released; nothing is left, all is on record, and the
    report is checked in another directory, altered it is not."""
    world = site.world
    async with aiohttp.ClientSession() as http:
        owner, office = Owner(world, site.shell, http, free_port()), Office(world, site.shell, http)
        await owner.prepare("x")
        assert (await owner.connect(site.clients[0], "x"))[0].code == 0
        await owner.json("account", "lane", site.clients[0], "x", "acme", "api")
        await office.site()
        profile = await office.profile(site.clients[1], ACME["id"])
        await office.logged_in(profile)
        assert (await office.json("profile", "confirm", profile, "skool/acme.bakery"))["result"] == "sealed"
    backup = await site.backed_up()
    before = await world.effects(), await site.token_calls()
    ran = await site.drill("--seed", "7")
    assert ran.code == 0, ran.said
    told = ran.document
    assert [one["state"] for one in told["steps"]] == ["passed"] * len(STEPS), told
    assert (told["outcome"], told["backup"], told["seed"]) == ("passed", backup, 7)
    assert set(told["clients"]) == set(site.clients)
    assert (await world.effects(), await site.token_calls()) == before
    assert told["run_by"] == pwd.getpwuid(os.getuid()).pw_name
    site.nothing_left()
    steps = {name: one["evidence"] for name, one in steps_of(told).items()}
    assert (steps["restore_secrets"]["store"], steps["restore_secrets"]["audit_devices"]) == ("unsealed", 2)
    assert steps["verify_clients"]["egress"] == ["openai.models:3", "x.identity:1"]
    assert (steps["verify_clients"]["credentials"], steps["verify_clients"]["switch"]) == (4, "released")
    assert (steps["verify_clients"]["profile"], steps["verify_clients"]["profiles_opened"]) == (profile, 1)
    assert (steps["publish_refused"]["refused"], steps["publish_refused"]["cause"]) == (6, "disaster_recovery_drill")
    assert steps["break_glass"]["marker"] == "read"
    assert told["rto_s"] > 0
    assert 0 <= told["rpo_s"] < 600
    (record, begun, *_) = await site.recorded()
    assert begun == {"outcome": "intended", "drill": told["id"], "seed": 7}
    wanted = {name: told[name] for name in ("digest", "seed", "rto_s", "rpo_s", "backup")}
    assert record == {"outcome": "ok", "drill": told["id"], **wanted}
    assert "recovery_drill_failed" not in await world.alerts()

    report, keys = tmp_path / "report.json", tmp_path / "keys.txt"
    shutil.copyfile(told["report"], report)
    assert (await site.shell.run("audit", "keys", str(keys), token=world.token_file("auditor"))).code == 0
    elsewhere = Shell(tmp_path / "no-home")
    checked = await elsewhere.run("evidence", "verify", str(report), "--keys", str(keys), "--json")
    assert checked.code == 0, checked.said
    assert (checked.document["digest"], checked.document["outcome"]) == (told["digest"], "passed")
    content = json.loads(report.read_bytes())
    content["payload"] = content["payload"][:-8] + "AAAA" + content["payload"][-4:]
    report.write_text(json.dumps(content, separators=(",", ":")))
    assert (await elsewhere.run("evidence", "verify", str(report), "--keys", str(keys))).code == 5


@pytest.mark.usefixtures("quick")
@pytest.mark.req("R9.3-5", "R9.3-6")
async def test_what_a_drill_restored_reaches_nobody_and_a_refused_key_fails_it(site: Site) -> None:
    """It has no network but its own loopback, no stack starts in its home, production's store lets none of its
    credentials in; and a key that its provider refuses fails the verification, by name and answer.

    What the drill says of refused effects stands in the restored database, whose switches two people had released.
    """
    await site.any_backup()
    production, place = site.settings, new_home() / "drill"
    file = sorted((site.world.home / "backups").glob("*.age"))[-1]
    work = Drilled(production=production, place=place, file=file, brought=site.brought, seed=7, say=lambda _: None)
    dead = {"provider": "openai", "key": site.values[0].decode(), "state": "revoked", "account_id": "openai-acme"}
    try:
        await work.acts["restore_secrets"]()
        assert work.network == "none"
        lines = Path(f"/proc/{work.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in lines] == ["lo"]
        with pytest.raises(Conflict, match="home_of_a_drill"):
            await ForkedStack(work.settings).start()
        tried = 0
        async with wiring.store_http(production) as theirs:
            for one in sorted((place / "home" / "credentials").glob("*.approle")):
                with pytest.raises(ByokeepError) as refused:
                    await log_in(theirs, one)
                assert refused.value.code == "credentials_refused", one
                tried += 1
        assert tried >= 3
        async with site.world.http.post(f"{site.world.sim.url}/_sim/keys", json=dead) as reply:
            reply.raise_for_status()
        await work.acts["restore_refs"]()
        with pytest.raises(Integrity, match="client_not_verified"):
            await work.acts["verify_clients"]()
        assert f"{site.clients[0]}/openai:invalid_key" in work.evidence["refused"]
        before = await site.world.effects()
        await work.acts["publish_refused"]()
        assert await site.world.effects() == before
        asked = []
        async with wiring.broker_app(work.settings) as app:
            reader = Actor(id=uuid4(), roles=frozenset({Role.AUDITOR}), clients=None, request_id=uuid4())
            here = {"installation_id": app.installation_id}
            closed = await app.db.read(dict, "switch_engaged", here, every_client=True)
            for client in map(ClientId, map(UUID, site.clients)):
                permits = RecordFilter(event="permit.issued")
                page = await read_audit(app, reader, client, RecordWindow(limit=500), permits)
                asked += [(one.said["outcome"], one.said["fields"].get("reason")) for one in page.records]
        assert closed == [], "nothing else than the drill refuses it"
        assert asked == [("denied", "disaster_recovery_drill")] * 6
    finally:
        with contextlib.suppress(OSError):
            await work.close()
        drill_place.shred(place)


async def test_a_drill_that_is_interrupted_leaves_nothing_and_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off while a thread writes what is restored, and while the store starts, it ends as interrupted, on record as
    failed; the next one may begin."""
    await site.any_backup()
    place, cut = restore._place, threading.Event()

    def late(*words: Any) -> None:
        place(*words)
        assert cut.wait(20)
        (site.world.home / "drill" / "home" / "keys").mkdir(parents=True, exist_ok=True)

    with monkeypatch.context() as slow:
        slow.setattr(restore, "_place", late)
        running = asyncio.create_task(drill.run(site.settings, "", site.brought, seed=7, say=lambda _: None))
        while not (site.world.home / "drill" / "home" / "keys" / "seal.key").exists():
            await asyncio.sleep(0.05)
            assert not running.done()
        running.cancel()
        asyncio.get_running_loop().call_later(0.2, cut.set)
        with pytest.raises(asyncio.CancelledError):
            await running
    site.nothing_left()
    (told, *_) = await site.recorded()
    assert (told["outcome"], told["reason"]) == ("failed", "interrupted")
    running = asyncio.create_task(drill.run(site.settings, "", site.brought, seed=7, say=lambda _: None))
    while not (site.world.home / "drill" / "home" / "openbao").exists():
        await asyncio.sleep(0.05)
        assert not running.done()
    with pytest.raises(Conflict, match="drill_running"):
        await drill.run(site.settings, "", site.brought, seed=7, say=lambda _: None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    site.nothing_left()
    (told, *_) = await site.recorded()
    assert (told["outcome"], told["reason"]) == ("failed", "interrupted")


async def test_a_drill_that_is_killed_is_on_record_and_what_it_left_is_removed(site: Site) -> None:
    """With SIGKILL the keys stay: the doctor names them, whoever runs the stack removes them, the record says begun."""
    await site.any_backup()
    own, home = site.brought, site.world.home
    words = ("--identity-file", str(own.identity), "--seal-key-file", str(own.seal_key))
    running = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("byokeep"), "drill", "run", "--home", str(home), *words,
        "--recovery-key-file", str(own.recovery_keys[0]), "--seed", "5",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    while not (home / "drill" / "home" / "keys" / "seal.key").exists():
        await asyncio.sleep(0.05)
        assert running.returncode is None
    drill_place.clear(home)
    assert not drill_place.left_behind(home)
    assert (home / "drill").exists()  # it is under way
    running.send_signal(signal.SIGKILL)
    await running.wait()
    assert [(one.name, one.code) for one in doctor._drill(site.settings)] == [("recovery drill", "drill_left_behind")]
    await asyncio.to_thread(drill_place.clear, home)
    site.nothing_left()
    assert not list(doctor._drill(site.settings))
    (told, *_) = await site.recorded()
    assert (told["outcome"], told["seed"]) == ("intended", 5)


@pytest.mark.req("R9.3-2")
async def test_a_wrong_seal_key_fails_the_drill_and_no_key_is_no_drill(site: Site, tmp_path: Path) -> None:
    """Another seal key ends it at the first step; a file that is none, a private key of another backup, or a seed that
    no report has, begins nothing."""
    await site.any_backup()
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(bytes(len((site.world.home / "keys" / "seal.key").read_bytes())))
    wrong.chmod(0o600)
    done = await drill.run(site.settings, "", replace(site.brought, seal_key=wrong), seed=7, say=lambda _: None)
    site.nothing_left()
    report = done.report.members()
    assert [one["state"] for one in report["steps"]] == ["failed", *["not_run"] * 4]
    (told, begun, *_) = await site.recorded()
    assert (told["outcome"], told["stage"], told["reason"]) == ("failed", "restore_secrets", "seal_key")
    assert begun["outcome"] == "intended"
    before = await site.recorded()
    other = tmp_path / "other.key"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    other.chmod(0o600)
    for more, code in (({"recovery_keys": [tmp_path / "none.key"]}, "credentials_missing"),
                       ({"identity": other}, "not_a_key_of_this_backup")):  # fmt: skip
        with pytest.raises(ByokeepError, match=code):
            await drill.run(site.settings, "", replace(site.brought, **more), seed=7, say=lambda _: None)
    with pytest.raises(Rejected, match="bad_seed"):
        await drill.run(site.settings, "", site.brought, seed=-1, say=lambda _: None)
    assert await site.recorded() == before


@pytest.mark.req("R9.3-3", "R9.3-4")
async def test_a_dangling_reference_fails_the_drill(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose version the store does not have ends it at that step: listed, told, on record, the rest not run. With
    one of three clients stopped there are two to verify, and nobody would have been asked."""
    world, (client, _, stopped) = site.world, site.clients
    row = f"UPDATE byokeep.credential_ref SET version = {{}} WHERE client_id = '{client}'"
    at, few, close = {"client_id": stopped, "reason": "test"}, dict[str, Any](), Drilled.close

    async def asked_on(work: Drilled) -> None:
        work.evidence = few
        with pytest.raises(Conflict, match="too_few_clients"):
            await work.acts["verify_clients"]()
        await close(work)

    monkeypatch.setattr(Drilled, "close", asked_on)
    await world.must("operator", "POST", "/v1/switches/close", at)
    await world.sql(row.format(7))
    try:
        await site.backed_up()
        done = await drill.run(site.settings, "", site.brought, seed=7, say=lambda _: None)
    finally:
        await world.sql(row.format(1))
        wish = await world.must("operator", "POST", "/v1/switches/open-requests", at)
        await world.must("approver", "POST", f"/v1/switches/open-requests/{wish['id']}/approve")
    site.nothing_left()
    assert done.file.stat().st_mode & 0o777 == 0o600
    report = done.report.members()
    states = [one["state"] for one in report["steps"]]
    assert states == ["passed", "failed", "not_run", "not_run", "not_run"], report
    assert report["rto_s"] is None
    assert (steps_of(report)["restore_secrets"]["evidence"]["network"], report["network"]) == ("none", "none")
    refs = steps_of(report)["restore_refs"]
    assert refs["reason"] == "refs_dangling"
    assert refs["evidence"]["dangling"] == [f"key clients/{client}/providers/openai version 7"]
    assert few == {"switch": "released", "clients": 2}
    (told, *_) = await site.recorded()
    assert (told["outcome"], told["stage"], told["reason"]) == ("failed", "restore_refs", "refs_dangling")
    assert "recovery_drill_failed" in await world.alerts()
