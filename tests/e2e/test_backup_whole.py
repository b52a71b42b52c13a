"""A backup of everything, taken while others write, and what is there after it was restored on an empty directory."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pyrage
import pytest
import pytest_asyncio

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.backup import archive
from byokeep.core.backup import BackupRefused
from byokeep.core.errors import ByokeepError, Conflict, Denied
from byokeep.processes import wiring
from byokeep.settings import RESTORING, load
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support.backups import Site, Vault, site_of
from tests.support.cli import Shell
from tests.support.disk import filled
from tests.support.stack import PROVIDERS, ForkedStack, World, new_home, until

REFUSED = (
    "SELECT count(*) FROM byokeep.audit_record WHERE event = 'backup.verified' AND outcome = 'rejected'"
    " AND convert_from(payload, 'UTF8') LIKE '%shares_refused%'"
)
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]
PAUSE_S = 0.1  # of whoever writes: each key is then verified, which costs more than its writing


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site_of(tmp_path_factory.mktemp("offline")) as made:
        yield made


@dataclass
class Writers:
    """People who hand in keys one after the other: where one was put, and what was acknowledged, in order."""

    world: World
    places: set[str] = field(default_factory=set)  # of the last one nobody may have heard
    acknowledged: list[tuple[str, str, bytes]] = field(default_factory=list)
    sealed: dict[UUID, bytes] = field(default_factory=dict)

    async def run(self, vault: Vault, clients: list[str], own: str) -> None:
        async def seal() -> None:
            while True:
                self.sealed |= await vault.seal(own)
                await asyncio.sleep(PAUSE_S)

        async def hand_in(client: str) -> None:
            for provider in PROVIDERS * 50:
                value = await self.world.new_key(provider)
                self.places.add(f"{client}/providers/{provider}")
                if (await self.world.put(client, provider, value)).status == 202:
                    self.acknowledged.append((client, provider, value))
                await asyncio.sleep(PAUSE_S)

        await asyncio.gather(seal(), *(hand_in(client) for client in clients))


async def shares_of(site: Site) -> tuple[list[Path], list[Path]]:
    """Three shares of the private key and of the seal key, of which two are enough; they lie where nobody puts them."""
    keys = site.world.home / "keys"
    for file, name in ((site.identity, "of-backup"), (keys / "seal.key", "of-seal")):
        words = ("split", str(file), str(keys / name), "--shares", "3", "--threshold", "2")
        assert (await site.run(*words))[0] == 0
    return sorted((keys / "of-backup").iterdir()), sorted((keys / "of-seal").iterdir())


async def refused_without_enough(
    site: Site, made: dict[str, Any], home: Path, key: list[Path], seal: list[Path]
) -> None:
    """One share, one twice, one of another key: the same refusal by whoever asks, and a home that starts nothing."""
    ran = await site.run("verify", made["id"], "--identity-file", str(key[0]))
    assert (ran[0], "shares_refused" in str(ran[1])) == (3, True)
    assert await site.world.sql(REFUSED) == "1"
    said = set()
    tries: list[dict[str, Any]] = [
        {"identity": key[:1], "seal_key": seal},
        {"identity": key, "seal_key": [seal[0], seal[0]]},
        {"identity": [key[0], seal[1]], "seal_key": seal},
    ]
    for given in tries:
        with pytest.raises(Denied, match="shares_refused") as refused:
            await site.restored(made["file"], home, **given)
        said.add((str(refused.value), refused.value.next_step))
        assert [path.name for path in home.iterdir()] == [RESTORING]
    assert len(said) == 1
    another = site.identity.with_name("another-seal.key")
    another.touch(mode=0o600)
    another.write_bytes(bytes(range(32)))
    with pytest.raises(BackupRefused, match="backup_refused"):  # fails later, and forgets nothing of it
        await site.restored(made["file"], home, seal_key=another)
    assert [path.name for path in home.iterdir()] == [RESTORING]
    with pytest.raises(Conflict, match="restore_unfinished"):
        await ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")).start()


@pytest.mark.req("R9.1-1", "R9.1-2")
async def test_a_backup_under_writes_is_one_point(site: Site, tmp_path: Path) -> None:
    """What was acknowledged before it began is there after a restore and nothing is half there. No value stands in the
    file, nor a share of a key: two of three restore it, fewer nothing. A full disk away from here ends it with 4 and an
    alert, and the backup before stays."""
    world, vault = site.world, site.vault
    clients = [await world.client() for _ in range(3)]
    values = {client: await world.onboard(client) for client in clients}
    own, busy = await world.client(), [await world.client() for _ in range(3)]
    parts = await shares_of(site)
    writers = Writers(world)
    writing = asyncio.create_task(writers.run(vault, busy, own))
    try:
        while len(writers.acknowledged) < 6 or not writers.sealed:
            await asyncio.sleep(0.05)
            assert not writing.done()
        before, sealed = list(writers.acknowledged), dict(writers.sealed)
        code, made = await site.run("create")
        assert code == 0, made
        assert len(writers.acknowledged) > len(before), "nobody wrote meanwhile"
    finally:
        writing.cancel()
        await asyncio.wait({writing})

    file = Path(made["file"])
    copy = site.target / file.name
    assert {one.stat().st_mode & 0o777 for one in (file, copy)} == {0o600}
    keys = [pyrage.x25519.Identity.from_str(site.identity.read_text().strip())]
    plain = tmp_path / "plain"
    with file.open("rb") as content, plain.open("wb") as out:
        archive.read(content, keys, lambda _: out.write)
    told = [value for _, _, value in writers.acknowledged] + list(values.values())
    split = [share.read_bytes().split()[4] for part in parts for share in part]
    told += [*split, (world.home / "keys" / "seal.key").read_bytes()]
    sweep = Sweep([Canary(f"key {number}", value) for number, value in enumerate(told)])
    report = sweep.scan_paths([file, copy, plain])
    assert report.clean, report
    assert sweep.scan_bytes(plain.read_bytes() + told[0], source="planted").findings

    with filled(site.target):
        code, _ = await site.run("create")
        halves = ("split", str(site.identity), str(site.target / "halves"), "--shares", "2", "--threshold", "2")
        assert (await site.run(*halves))[0] == 2
        assert not (site.target / "halves").exists()
    assert code == 4
    assert "backup_failed" in await world.alerts()
    assert [one.name for one in site.target.glob("*.age")] == [file.name]
    assert [one.name for one in file.parent.glob("*.age")] == [file.name]
    code, opened = await site.run("verify", made["id"], "--identity-file", str(site.identity))
    assert (code, opened["on_record"]) == (0, True)

    home = new_home()
    try:
        await refused_without_enough(site, made, home, *parts)
        done = await site.restored(made["file"], home, identity=parts[0][1:], seal_key=parts[1][:2])
        assert done.missing == []
        held = [one.read_bytes() for one in home.rglob("*") if one.is_file()]
        assert held
        assert not [share for share in split for content in held if share in content]
        for orphan in done.orphans:  # nothing but what was written after the database had been dumped
            assert any(place in orphan for place in writers.places) or own in orphan, orphan
        async with site.again(home) as (new, opens):
            for client, value in values.items():
                assert await opens.value(f"clients/{client}/providers/openai") == value
            assert await new.sql(REFUSED) == "3"  # what the empty home had refused
            kept = await new.sql("SELECT client_id || '/' || provider FROM byokeep.credential_ref")
            runs = await new.sql("SELECT client_id || '/' || (facts ->> 'provider') FROM byokeep.procedure_run")
            assert {f"{client}/{provider}" for client, provider, _ in before} <= {*kept.split(), *runs.split()}
            found = await opens.opened(own, list(sealed))
            assert found == sealed
    finally:
        shutil.rmtree(home)


@pytest.mark.req("R9.1-1")
async def test_who_takes_the_snapshot_reads_nothing(site: Site) -> None:
    """The identity of backups takes a snapshot, and is refused a value, a record, a decryption, a restore."""
    world, client = site.world, await site.world.client()
    await world.onboard(client)
    (profile,) = await site.vault.seal(client)
    async with wiring.store_http(world.stack.settings) as http:
        login = AppRoleLogin(http, world.home / "credentials" / "backup.approle")
        assert (await login.request("GET", "tenant/keys/development-" + client)).data["latest_version"] == 1
        tries = [
            ("GET", f"kv/data/clients/{client}/providers/openai", None),
            ("GET", f"kv/data/clients/{client}/profiles/{profile}", None),
            ("POST", f"tenant/decrypt/development-{client}", {"ciphertext": "vault:v1:AAAA", "context": "AAAA"}),
            ("POST", f"tenant/encrypt/development-{client}", {"plaintext": "AAAA", "context": "AAAA"}),
            ("POST", "sys/storage/raft/snapshot", {}),
            ("GET", "sys/policies/acl/backup", None),
        ]
        for method, path, body in tries:
            with pytest.raises(Denied):
                await login.request(method, path, body=body)
        await login.close()


@dataclass
class Lifetime:
    """A key's life by commands. Each is first refused for what it lacks, and has done nothing then."""

    site: Site
    place: Path
    client: str = ""

    async def done(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Any:
        """Run a command that ends well; returns its document."""
        token = self.site.world.token_file(who)
        ran = await self.site.shell.run(*words, "--json", token=token, stdin=stdin)
        assert ran.code == 0, ran.said
        return ran.document if ran.out else None

    async def lacks(self, step: str, *words: str, who: str = "operator", stdin: bytes | None = None) -> None:
        """Run a command that is refused and says what comes first."""
        ran = await self.site.shell.run(*words, token=self.site.world.token_file(who), stdin=stdin)
        assert ran.code, ran.said
        assert step in " ".join(ran.err.split()), ran.said

    async def live(self) -> dict[str, str]:
        """Create, store, access, rotate, revoke, audit; returns what is on record of each: event and what it is of."""
        world, given = self.site.world, await self.site.world.new_key("heygen")
        self.client = client = (await self.done("client", "create", "A whole life", who="admin"))["id"]
        add = ("key", "add", client, "heygen")
        await self.done("client", "suspend", client, who="admin")
        await self.lacks("resume a suspended one", *add, stdin=given)
        assert await self.done("key", "list", client) == []
        await self.done("client", "resume", client, who="admin")
        stored = await self.done(*add, stdin=given)
        [ref] = await self.done("key", "list", client)

        read, mark = ("job", "run", "--client", client, "--secret"), self.place / "ran"
        await self.lacks("Add this client's own key first", *read, "openai", "--", "touch", str(mark))
        assert not mark.exists()
        await self.lacks("", *read, "heygen", "--", "sh", "-c", "test ! -s $0", "{heygen}")  # it is there
        jobs = [one for one in await self.done("job", "list", client) if one["kind"] == "use"]
        assert [one["state"] for one in jobs] == ["closed"] * 2
        [job] = [one for one in jobs if one["secrets"] == ["heygen"]]

        turn = ("rotate", "start", ref["id"])
        await self.lacks("Add the new key: `byokeep key add", *turn, "--mint")
        assert await self.done("rotate", "status", "--ref", ref["id"]) == []
        run = await self.done(*turn)
        about = {"provider": "heygen", "key": given.decode(), "state": "revoked", "account_id": "heygen-acme"}
        async with world.http.post(f"{world.sim.url}/_sim/keys", json=about) as reply:
            reply.raise_for_status()
        await self.done(*add, "--no-wait", stdin=await world.new_key("heygen"))

        async def rotated() -> bool:
            return bool((await self.done("rotate", "status", run["id"]))["ended"])

        await until(rotated, 60, "the rotation's end")
        keys = self.place / "keys.txt"
        await self.done("audit", "keys", str(keys), who="auditor")
        for number, procedure in enumerate((stored["id"], run["id"])):
            file = self.place / f"evidence-{number}.json"
            await self.done("evidence", "export", procedure, str(file))
            assert (await self.done("evidence", "verify", str(file), "--keys", str(keys)))["state"] == "ok"

        end, why = ("key", "state", ref["id"]), ("--reason", "contract_over")
        await self.lacks("the next state can be: compromised, deactivated, suspended", *end, "destroyed", *why)
        assert (await self.done("key", "show", ref["id"]))["state"] == "active"
        await self.done(*end, "deactivated", *why)

        log = self.place / "log.jsonl"
        await self.done("audit", "export", str(log), "--client", client, who="auditor")
        await self.lacks("Give --keys FILE, which `byokeep audit keys", "audit", "verify", str(log), who="auditor")
        await self.done("audit", "checkpoint", who="auditor")
        proof = self.place / "proof.json"
        await self.done("audit", "proof", client, str(proof), who="auditor")
        await self.done("audit", "check-proof", str(proof), "--keys", str(keys))
        return {
            "client.created": client, "key.stored": ref["id"], "job.opened": job["id"], "key.rotation": ref["id"],
            "key.state_changed": ref["id"], "audit.exported": client,
        }  # fmt: skip

    async def recovered(self, file: str, home: Path) -> Any:
        """Recover all of it by a command, into an empty home."""
        keys, outside = self.site.world.home / "keys", self.place / "outside"
        shutil.copytree(self.site.world.home / "checkpoints", outside)
        words = ["backup", "restore", file, "--identity-file", str(self.site.identity), "--accept-loss", "--json"]
        words += ["--seal-key-file", str(keys / "seal.key")]
        for key in keys.glob("recovery*.key"):
            words += ["--recovery-key-file", str(key)]
        refused = await Shell(home).run(*words)
        assert (refused.code, "Give --checkpoints DIR" in refused.err) == (2, True), refused.said
        assert not list(home.iterdir())
        ran = await Shell(home).run(*words, "--checkpoints", str(outside), within_s=300)
        assert ran.code == 0, ran.said
        return ran.document


async def on_record(world: World, lived: dict[str, str], client: str) -> dict[str, list[str]]:
    """The hashes of the records by which each verb is proved."""
    found: dict[str, list[str]] = {}
    for event, about in lived.items():
        page = await world.must("auditor", "GET", f"/v1/audit?client_id={client}&event={event}&outcome=ok")
        found[event] = [one["hash"] for one in page["records"] if one["object"] == about]
    return found


@pytest.mark.req("R9.2-1", "R9.2-2", "R0-5")
async def test_sealed_profiles_open_after_a_restore_or_are_named(site: Site, tmp_path: Path) -> None:
    """Under three versions of a KEK each opens to what was sealed; what lacks its blob or its key is named, and so is
    what has no row, each way; nothing of it is removed. Without what lies outside, people are told.

    Before the backup a key lives its life by commands, the last of which is the restore: each is on record, and still.
    """
    world, vault = site.world, site.vault
    life = Lifetime(site, tmp_path)
    lived = await life.live()
    proved = await on_record(world, lived, life.client)
    assert all(proved.values()), proved
    client = await world.client()
    sealed: list[dict[UUID, bytes]] = []
    with world.frozen("worker"):  # which would move what is under older versions
        for version in range(3):
            if version:
                await vault.rotate(client, version)
            sealed.append(await vault.seal(client, 2 if version == 0 else 1))
        whole = {profile: digest for part in sealed for profile, digest in part.items()}
        code, made = await site.run("create")
        assert (code, made["missing"]) == (0, []), made
        first, second = sealed[0]
        (file,) = (world.home / "artifacts" / client / str(first)).iterdir()
        lost = file.relative_to(world.home / "artifacts")
        newer = tmp_path / "newer"
        shutil.copytree(world.home / "artifacts", newer)
        (world.home / "artifacts" / lost).unlink()
        await world.sql(f"UPDATE byokeep.profile_generation SET record_version = 7 WHERE profile_id = '{second}'")
        code, lacking = await site.run("create")
        assert (code, lacking["missing"]) == (5, [str(lost)])
        assert "backup_incomplete" in await world.alerts()
        code, said = await site.run("verify", lacking["id"], "--identity-file", str(site.identity))
        assert (code, "backup_incomplete" in str(said)) == (5, True)
        later = await vault.seal(client)  # of no row in the backup

    home = new_home()
    try:
        recovered = await life.recovered(made["file"], home)
        assert (recovered["missing"], [one for one in recovered["orphans"] if client in one]) == ([], [])
        async with site.again(home) as (new, opens):
            assert await on_record(new, lived, life.client) == proved
            [recovery] = (await new.must("auditor", "GET", "/v1/audit?event=backup.restored"))["records"]
            assert (recovery["outcome"], recovery["fields"]["backup"]) == ("ok", recovered["id"])
            at = f"/v1/keks/development-{client}"
            for version, part in enumerate(sealed, start=1):
                found = await new.must("auditor", "GET", f"{at}/dependents?version={version}")
                assert found["count"] == len(part)
                assert await opens.opened(client, list(part)) == part
                if version < 3:
                    path = f"{at}/versions/{version}/end"
                    refused = await new.ask("approver", "POST", path, {"reason": "not_needed"})
                    assert (refused.status, refused.code) == (409, "kek_has_dependents")
    finally:
        shutil.rmtree(home)

    home = new_home()
    (newer / lost).unlink()
    (blob,) = [one for one in (world.home / "artifacts").rglob("*.sealed") if str(next(iter(later))) in str(one)]
    stray = newer / blob.relative_to(world.home / "artifacts")
    stray.parent.mkdir(parents=True)
    shutil.copyfile(blob, stray)
    try:
        done = await site.restored(lacking["file"], home, client, artifacts=newer, checkpoints=None)
        assert done.behind is None
        assert [line.split()[0] for line in done.missing] == ["profile_record_missing", "profile_blob_missing"]
        assert (str(second) in done.missing[0], str(first) in done.missing[1]) == (True, True)
        (orphan,) = done.orphans
        assert orphan.startswith(f"profile_blob_orphan {client}/{next(iter(later))} ")
        assert (home / "artifacts" / stray.relative_to(newer)).exists()
        async with site.again(home) as (new, opens):
            assert {"tombstones_lost", "restore_skewed"} <= await new.alerts()
            with pytest.raises(ByokeepError, match="blob_missing"):
                await opens.opened(client, [first])
            others = [one for one in whole if one not in (first, second)]
            assert await opens.opened(client, others) == {one: whole[one] for one in others}
    finally:
        shutil.rmtree(home)
