"""Backups on the host: made of a stack that runs, kept, opened to prove them, refused when they were changed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyrage
import pytest
import pytest_asyncio

from byokeep.adapters.blobs.s3 import S3Artifacts, S3Files
from byokeep.audit.log import checkpoint
from byokeep.backup import archive
from byokeep.backup.places import digest_of
from byokeep.core import backup
from byokeep.core.backup import BackupRefused
from byokeep.core.checkpoint import PublicKeys
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.processes import doctor, wiring
from byokeep.processes.backup import alone, backup_target, create, fetch, listed, verify
from byokeep.processes.restore import Brought, restore
from byokeep.reconciliation.reconcile import SETTLE, reconcile
from byokeep.settings import RESTORING, Settings, default_home, load
from tests.support.buckets import credentials_file, new_bucket, s3_client, s3_server
from tests.support.cli import Ran, Shell
from tests.support.clusters import copied
from tests.support.stack import ForkedStack, World, new_home, running_stack, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@dataclass
class Vault:
    """A stack, the offline key of its backups, and where their copies go."""

    world: World
    shell: Shell
    identity: Path
    target: Path
    client: str
    value: bytes

    @property
    def settings(self) -> Settings:
        return load(home=self.world.home)

    async def run(self, *words: str, **variables: str) -> Ran:
        return await self.shell.run(*words, **variables)

    async def create(self) -> dict[str, Any]:
        done = await self.run("backup", "create", "--json")
        assert done.code == 0, done.err
        made: dict[str, Any] = json.loads(done.out)
        return made

    async def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((await self.run("backup", "list", "--json")).out)
        return found


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def vault(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vault]:
    place = tmp_path_factory.mktemp("offline")
    key = pyrage.x25519.Identity.generate()
    identity, target = place / "backup.key", place / "elsewhere"
    identity.write_text(f"# made by a test\n{key}\n")
    identity.chmod(0o600)
    target.mkdir()
    async with running_stack() as world:
        config = world.home / "config.toml"
        lines = f'backup_recipients = "{key.to_public()}"\nbackup_target = "{target}"\nbackup_keep = 2\n'
        config.write_text(lines + config.read_text())
        client = await world.client()
        value = await world.onboard(client)
        yield Vault(world, Shell(world.home), identity, target, client, value)


@pytest.mark.req("S-OWASP-7")
async def test_a_backup_is_made_closed_copied_and_counts_once_opened(vault: Vault) -> None:
    """It is 0600, lies away from here too, holds no value, share or recovery key; list tells made from opened."""
    made = await vault.create()
    file = Path(made["file"])
    assert [one.stat().st_mode & 0o777 for one in (file, file.parent)] == [0o600, 0o700]  # nobody else reads it
    told = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
    assert "Limit: byokeep does not see who reads such a file." in told  # whoever may read everything here
    copied = vault.target / file.name
    assert copied.read_bytes() == file.read_bytes()
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert (one["verified_at"], one["counts"]) == (None, False)

    parts: dict[str, bytearray] = {}

    def sinks(part: backup.Part) -> archive.Sink:
        return parts.setdefault(part.name, bytearray()).extend

    keys = [pyrage.x25519.Identity.from_str(vault.identity.read_text().splitlines()[1])]
    with file.open("rb") as content:
        manifest, _, _ = archive.read(content, keys, sinks)
    assert set(parts) == {part.name for part in manifest.parts}
    assert {"credentials/provisioner.approle", "checkpoints/epochs.jsonl", "checkpoints/tombstones"} <= set(parts)
    plain = b"".join([file.read_bytes(), *parts.values()])
    seal = (vault.world.home / "keys" / "seal.key").read_bytes()
    (recovery,) = (vault.world.home / "keys").glob("recovery*.key")
    for hidden in (vault.value, seal, recovery.read_bytes().strip(), vault.world.tokens["admin"].encode()):
        assert hidden not in plain
    assert not list((vault.world.home / "backups").glob(".work*/*"))

    opened = await vault.run("backup", "verify", made["id"], "--identity-file", str(vault.identity), "--json")
    assert opened.code == 0, opened.err
    assert json.loads(opened.out)["on_record"] is True
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert one["counts"] is True
    assert one["verified_at"] > "2020"


async def test_a_bucket_gets_copies_as_a_directory_does(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written once, read back, listed, brought here and removed there with its time; what was altered on the way is no
    backup, what is altered there is refused once it is here, and a bucket that is away fails the backup."""
    with s3_server() as url:
        bucket, client = new_bucket(url), s3_client(url)
        settings = replace(
            vault.settings, backup_target=f"s3://{bucket}/copies", backup_endpoint=url, backup_keep=1,
            backup_credentials_file=str(credentials_file(tmp_path)),
        )  # fmt: skip

        def there() -> list[str]:
            found = client.list_objects_v2(Bucket=bucket).get("Contents", ())
            return [one["Key"] for one in found if one["Key"] != "copies/probe"]

        def replaced(content: bytes) -> None:
            client.put_object(Bucket=bucket, Key=key, Body=content)

        assert [one.ok for one in [*doctor._target(settings), *doctor._target(settings)]] == [True, True]
        real_ask = S3Artifacts.ask

        def may_list_only(self: S3Artifacts, call: str, **given: object) -> Any:
            if call == "put_object":
                raise Denied("artifact_store_refused")
            return real_ask(self, call, **given)

        with monkeypatch.context() as patched:
            patched.setattr(S3Artifacts, "ask", may_list_only)
            [seen] = doctor._target(settings)
            assert "Backups cannot be copied" in seen.next_step
        monkeypatch.setattr("byokeep.adapters.blobs.s3.PART", 5 << 20)  # the least that a server takes
        place, large = backup_target(settings), tmp_path / "large"
        assert place is not None
        for size in (0, 5 << 20, (10 << 20) + 1):
            large.write_bytes(os.urandom(size))
            place.put("large", large)
            assert digest_of(place, "large", lambda: None) == archive.part_of("large", large).sha256
            place.remove("large")
        first = await create(settings)
        key = f"copies/{first.file.name}"
        content = first.file.read_bytes()
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == content
        (one,) = [row for row in await listed(settings) if row["id"] == str(first.manifest.id)]
        assert one["files"] == [str(first.file), f"s3://{bucket}/{key}"]
        with pytest.raises(Conflict, match="artifact_exists"):
            place.put(first.file.name, first.file)

        for number, bad in enumerate((content[:-1], content[:-7] + b"altered", content[: len(content) // 2], b"")):
            replaced(bad)
            fetched = tmp_path / str(number)
            fetched.mkdir()
            told, file = fetch(settings, str(first.manifest.id), fetched)
            assert (told, file) == (f"s3://{bucket}/{key}", fetched / first.file.name)
            with pytest.raises(BackupRefused):
                await verify(settings, str(file), vault.identity)
        replaced(content)
        _, good = fetch(settings, first.file.name, tmp_path)
        assert good.stat().st_mode & 0o777 == 0o600
        assert await verify(settings, str(good), vault.identity) == (first.manifest, True)
        with pytest.raises(NotFound, match="backup_not_found"):
            fetch(settings, str(uuid4()), tmp_path)

        real, before = S3Files.pieces, sorted((vault.world.home / "backups").glob("*.age"))
        monkeypatch.setattr(S3Files, "pieces", lambda self, name: [*real(self, name), b"more"])
        with pytest.raises(Unavailable, match="backup_target_unavailable"):
            await create(settings)
        monkeypatch.setattr(S3Files, "pieces", real)
        assert (there(), sorted((vault.world.home / "backups").glob("*.age"))) == ([key], before)

        second = await create(settings)
        third = await create(settings)  # the second goes, the first was opened
        assert there() == sorted([key, f"copies/{third.file.name}"])
        assert not second.file.exists()
        later = datetime.now(UTC) + timedelta(days=1)
        with monkeypatch.context() as patched:  # as of a bucket whose lock keeps what is old
            patched.setattr(S3Files, "held", lambda self, name: name == third.file.name)
            for _ in range(2):
                await create(settings)
        assert await removed(vault, str(third.manifest.id)) == ["intended 1", "ok 1"]
        locked = new_bucket(url, locked=True)
        lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": later}
        client.put_object(Bucket=locked, Key="kept", Body=b"1", **lock)
        client.put_object(Bucket=locked, Key="free", Body=b"1")
        away = backup_target(replace(settings, backup_target=f"s3://{locked}"))
        assert away is not None
        assert (away.held("kept"), away.held("free")) == (True, False)
    rows = {row["id"]: row for row in await listed(settings)}  # the server is gone: what is here, the rest is unknown
    proved, gone = rows[str(first.manifest.id)], rows[str(second.manifest.id)]
    assert (proved["files"], proved["counts"], proved["unknown"]) == ([str(first.file)], True, settings.backup_target)
    assert (gone["files"], gone["counts"]) == ([], False)  # nobody opened it: it counts wherever it is as nothing
    [seen] = doctor._target(settings)  # the server is gone
    assert seen.next_step
    with pytest.raises(Unavailable, match="backup_target_unavailable"):
        await create(settings)


async def test_what_a_backup_asks_the_store_for_is_explained(vault: Vault) -> None:
    """A reconciliation behind it finds nothing that is its own."""
    await vault.create()
    await asyncio.sleep(SETTLE.total_seconds() + 1)
    token = vault.world.token_file("auditor")
    ran = await vault.shell.run("audit", "reconcile", "--minutes", "5", token=token)
    assert ran.code == 0, ran.out + ran.err


@pytest.mark.req("R9.1-4")
async def test_a_backup_away_or_a_wrong_key_is_refused_and_told(vault: Vault, tmp_path: Path) -> None:
    """Target down: 4, an alert, no new file, those before stay; no recipient and another key are refused. One beside
    another pages nobody; opened where the installation is away ends with 4, where there is none with 0."""
    made = await vault.create()
    before = sorted((vault.world.home / "backups").glob("*.age"))
    vault.target.rename(vault.target.with_name("gone"))
    try:
        ran = await vault.run("backup", "create")
        assert (ran.code, "backup_target" in ran.err) == (4, True)
        assert ("The directory of backup_target does not exist" in " ".join(ran.err.split()), "errno" in ran.err) == (
            True,
            False,
        )
        assert sorted((vault.world.home / "backups").glob("*.age")) == before
        assert "backup_failed" in await vault.world.alerts()
    finally:
        vault.target.with_name("gone").rename(vault.target)
    ran = await vault.run("backup", "create", BYOKEEP_BACKUP_RECIPIENTS="")
    assert (ran.code, "age-keygen" in ran.err) == (2, True)

    other = vault.identity.with_name("other.key")
    other.write_text(str(pyrage.x25519.Identity.generate()) + "\n")
    other.chmod(0o600)
    ran = await vault.run("backup", "verify", made["id"], "--identity-file", str(other))
    assert (ran.code, "not a key of this backup" in ran.err, "damaged" in ran.err) == (2, True, False)
    assert "backup_not_opened" not in await vault.world.alerts()
    damaged = vault.identity.with_name("damaged.age")
    damaged.write_bytes(Path(made["file"]).read_bytes()[:-1])
    ran = await vault.run("backup", "verify", str(damaged), "--identity-file", str(vault.identity))
    assert (ran.code, "damaged" in ran.err, "Keep it" in " ".join(ran.err.split())) == (5, True, True)
    assert "backup_not_opened" in await vault.world.alerts()
    said = await vault.world.sql(
        "SELECT outcome || ' ' || (convert_from(payload, 'UTF8')::jsonb #>> '{fields,reason}')"
        " FROM byokeep.audit_record WHERE event = 'backup.verified' ORDER BY seq DESC LIMIT 2"
    )
    assert said.splitlines() == ["rejected not_opened", "rejected not_its_key"]
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert one["verified_at"] is None
    await vault.create()
    assert "backup_failed" not in await vault.world.alerts()  # that state is over
    with alone(vault.world.home / "backups" / "lock", Conflict("another_test")):
        ran = await vault.run("backup", "create")
    assert (ran.code, "Another backup is running here" in ran.err) == (6, True), ran.said
    assert "backup_failed" not in await vault.world.alerts()
    away, nothing = tmp_path / "away", new_home()
    away.mkdir(0o700)
    words = ("backup", "verify", made["file"], "--identity-file", str(vault.identity), "--json")
    ran = await vault.run(*words, BYOKEEP_CREDENTIALS_DIR=str(away))
    assert (ran.code, json.loads(ran.out)["signature"]) == (4, "not checked"), ran.said
    ran = await Shell(nothing).run(*words)
    assert (ran.code, json.loads(ran.out)["signature"]) == (4, "not checked"), ran.said
    public = tmp_path / "public-keys.txt"
    async with wiring.broker_app(vault.settings) as app:
        own = PublicKeys(log=(), evidence=await app.signer.public_keys("evidence"))
    for keys, code in ((own, 0), (PublicKeys(log=(), evidence={"1": bytes(32)}), 5)):
        public.write_text(str(keys))
        ran = await Shell(nothing).run(*words, "--keys", str(public))
        assert ran.code == code, ran.said


async def test_old_backups_go_and_the_newest_that_was_opened_stays(vault: Vault) -> None:
    """Of two that are kept, here and away, an older one that was opened is not removed; what goes is on record.

    For one time all of a day stay; one that cannot be removed is on record as that.
    """
    proved = await vault.create()
    opened = await vault.run("backup", "verify", proved["id"], "--identity-file", str(vault.identity))
    assert opened.code == 0
    newer = [(await vault.create())["id"] for _ in range(3)]
    stays = {proved["id"], *newer[-2:]}
    for place in (vault.world.home / "backups", vault.target):
        assert {file.name[17:53] for file in place.glob("*.age")} == stays
    assert await removed(vault, newer[0]) == ["intended 2", "ok 2"]

    ran = await vault.run("backup", "create", "--keep-days", "1", "--json")
    stays |= {(latest := json.loads(ran.out)["id"])}
    assert {file.name[17:53] for file in vault.target.glob("*.age")} == stays
    for refused in ("-1", "36601"):
        assert (await vault.run("backup", "create", "--keep-days", refused)).code == 2
    (stuck,) = vault.target.glob(f"*-{newer[1]}.age")
    stuck.unlink()
    stuck.mkdir()
    stays = {proved["id"], latest, (await vault.create())["id"]}
    assert await removed(vault, newer[1]) == ["intended 2", "failed 2"]
    stuck.rmdir()
    assert {file.name[17:53] for file in vault.target.glob("*.age")} == stays
    assert await removed(vault, proved["id"]) == []


async def removed(vault: Vault, backup_id: str) -> list[str]:
    """What the records say of a backup's removal, each with in how many places it lay."""
    said = "convert_from(payload, 'UTF8')::jsonb -> 'fields'"
    rows = await vault.world.sql(
        f"SELECT outcome || ' ' || ({said} ->> 'count') FROM byokeep.audit_record"  # noqa: S608
        f" WHERE event = 'backup.removed' AND {said} ->> 'backup' = '{backup_id}' ORDER BY seq"
    )
    return str(rows).splitlines()


def brought(vault: Vault, checkpoints: Path | None, **more: Any) -> Brought:
    """What people bring to a restore; the seal key and the recovery key come from where they were put away."""
    keys = vault.world.home / "keys"
    return Brought(
        identity=vault.identity, seal_key=keys / "seal.key",
        recovery_keys=more.pop("recovery", sorted(keys.glob("recovery*.key"))),
        checkpoints=checkpoints, accept_loss=more.pop("accept_loss", True), **more,
    )  # fmt: skip


async def one_at_a_time(settings: Settings, file: str, what: Brought) -> None:
    """While one restore reads, a second of that home is refused at once, and the home says that it is taken."""
    reads, go = threading.Event(), threading.Event()

    def slowly(*_: object, **__: object) -> None:
        reads.set()
        go.wait(60)
        raise BackupRefused("snapshot")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byokeep.processes.restore.opened", slowly)
        first = asyncio.create_task(restore(settings, file, what))
        await asyncio.to_thread(reads.wait, 60)
    try:
        with pytest.raises(Conflict, match="restore_running"):
            await restore(settings, file, what)
        assert [path.name for path in settings.home.iterdir()] == [RESTORING]
    finally:
        go.set()
        with pytest.raises(BackupRefused):
            await first
    assert not list(settings.home.iterdir())


@pytest.mark.campaign
@pytest.mark.req("R9.1-4")
async def test_of_two_hundred_damaged_backups_none_leaves_anything_in_the_home(vault: Vault, tmp_path: Path) -> None:
    """Of a real one: bits flipped, cut, added to, mixed with another one, for another environment: each is refused."""
    seed = random.randrange(1 << 32)
    sys.stderr.write(f"seed {seed}\n")
    drawn, home = random.Random(seed), new_home()
    content, other = [Path((await vault.create())["file"]).read_bytes() for _ in range(2)]
    outside, file = tmp_path / "outside", tmp_path / "damaged.age"
    shutil.copytree(vault.world.home / "checkpoints", outside)
    codes: Counter[str] = Counter()
    try:
        for number in range(200):
            at, environment = drawn.randrange(100, len(content)), "development"
            if number % 5 == 0:
                damaged = content[:at] + bytes([content[at] ^ 1 << drawn.randrange(8)]) + content[at + 1 :]
            elif number % 5 == 1:
                damaged = content[:at]
            elif number % 5 == 2:
                damaged = content[:at] + drawn.randbytes(drawn.randrange(1, 50)) + content[at:]
            elif number % 5 == 3:
                damaged = content[:at] + other[at:]
            else:
                damaged, environment = content, drawn.choice(("staging", "production"))
            file.write_bytes(damaged)
            with pytest.raises(ByokeepError) as refused:
                await restore(load(home=home, environment=environment), str(file), brought(vault, outside))
            codes[refused.value.code] += 1
            assert not list(home.iterdir()), number
    finally:
        shutil.rmtree(home)
    sys.stderr.write(f"{dict(codes)}\n")
    assert set(codes) <= {"backup_refused", "not_a_key_of_this_backup"}


@pytest.mark.req("R9.1-4", "R9.1-5")
async def test_a_restored_home_is_closed_and_revives_nothing(vault: Vault, tmp_path: Path) -> None:
    """Whatever is wrong, the home stays empty; restored, all is closed, and what was stopped since stays so."""
    world, client = vault.world, await vault.world.client()
    await world.onboard(client)
    lacking = await world.client()
    await world.onboard(lacking)
    await world.sql(f"UPDATE byokeep.credential_ref SET version = 7 WHERE client_id = '{lacking}'")  # noqa: S608
    async with wiring.web_app(vault.settings) as web:
        spare = SecretRef(ClientId(UUID(client)), Provider.OPENAI)
        await web.intake.put(spare, Secret("of no row"), cas=1)
    made = await vault.create()
    ref = (await world.must("operator", "GET", f"/v1/clients/{client}/refs"))["refs"][0]["id"]
    token = await world.sql("SELECT t.id FROM byokeep.api_token t JOIN byokeep.subject s ON s.id = t.subject_id"
                            " WHERE s.name LIKE 'auditor-%' AND t.kind = 'session'")  # fmt: skip
    ended = world.tokens["auditor"]
    await world.must("operator", "POST", "/v1/switches/close", {"client_id": client, "reason": "test"})
    await world.must("admin", "DELETE", f"/v1/tokens/{token}")
    await world.must("operator", "POST", f"/v1/refs/{ref}/state", {"to": "compromised", "reason": "a_test"})

    async def noted() -> bool:
        kept = (world.home / "checkpoints" / "tombstones").read_text()
        copied = (world.home / "checkpoints" / "copy" / "audit.jsonl").read_text()
        return f"switch:client:{client}" in kept and token in kept and "compromised" in copied

    await until(noted, 30, "what was ended outside of the database")
    async with wiring.broker_app(vault.settings) as app:
        await checkpoint(app)
    outside = tmp_path / "outside"
    shutil.copytree(world.home / "checkpoints", outside)

    home = new_home()
    settings = load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")

    async def refused(code: str, file: str, what: Brought, settings: Settings = settings, *, says: str = "") -> None:
        with pytest.raises(ByokeepError, match=code) as refusal:
            await restore(settings, file, what)
        assert says in refusal.value.next_step
        assert not list(settings.home.iterdir()), code

    damaged, foreign = tmp_path / "damaged.age", tmp_path / "foreign"
    content = bytearray(Path(made["file"]).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    await refused("backup_refused", str(damaged), brought(vault, outside), says="damaged")
    with pytest.MonkeyPatch.context() as patch:  # the signature comes before the parts, and a link before anything
        patch.setattr("byokeep.processes.backup.DumpProof", None)
        not_ours = brought(vault, outside, evidence={"1": bytes(32)})
        await refused("backup_refused", made["file"], not_ours, says="forged")
    links = tmp_path / "links"
    (links / "a" / "b").mkdir(parents=True)
    (links / "a" / "b" / "1.sealed").symlink_to(made["file"])
    await refused("backup_refused", made["file"], brought(vault, outside, artifacts=links), says="holds a link")
    identity = tmp_path / "another.key"
    identity.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    identity.chmod(0o600)
    await refused("not_a_key_of_this_backup", made["file"], replace(brought(vault, outside), identity=identity))
    await refused("backup_behind", made["file"], brought(vault, outside, accept_loss=False))
    await refused("tombstones_missing", made["file"], brought(vault, tmp_path))
    foreign.mkdir()
    (foreign / "tombstones").touch()
    (foreign / "epochs.jsonl").write_bytes(b"")
    await refused("backup_refused", made["file"], brought(vault, foreign))
    at_once = load(home=home, checkpoint_dir=str(outside))
    await refused("restore_outside_home", made["file"], brought(vault, outside), at_once)
    assert (outside / "tombstones").is_file()
    elsewhere = load(home=home, environment="staging")
    await refused("backup_refused", made["file"], brought(vault, outside), elsewhere, says="BYOKEEP_ENVIRONMENT")
    another = tmp_path / "seal.key"
    another.write_bytes(bytes(range(32)))
    another.chmod(0o600)
    await one_at_a_time(settings, made["file"], brought(vault, outside))
    if os.geteuid() == 0:  # PostgreSQL's account gets in nowhere: said before any work
        private = new_home(tmp_path / "private")
        private.chmod(0o700)
        await refused("home_not_reachable", made["file"], brought(vault, outside), load(home=private))
    cut_off = home / RESTORING
    cut_off.touch()
    (home / "half").touch()
    with pytest.raises(Conflict, match="restore_unfinished"):
        await ForkedStack(settings).start()
    await refused("backup_refused", made["file"], replace(brought(vault, outside), seal_key=another), says="seal key")
    await refused("recovery_quorum_missing", made["file"], brought(vault, outside, recovery=[]))
    other = new_home(tmp_path / "taken")
    (other / "a").touch()
    with pytest.raises(Conflict, match="home_not_empty"):
        await restore(load(home=other), made["file"], brought(vault, outside))
    assert [path.name for path in other.iterdir()] == ["a"]

    with copied():
        done = await restore(settings, made["file"], brought(vault, outside))
    assert done.missing == [f"key clients/{lacking}/providers/openai version 7"]
    assert done.orphans == [f"key clients/{client}/providers/openai version 2"]
    assert done.behind
    assert done.again >= 2
    assert any(ref in line for line in done.to_do)
    kept = load(home / "config.toml.restored")
    assert kept.home == default_home(), "the old host's places are not taken over"
    assert (kept.backup_recipients, kept.backup_target) == (vault.settings.backup_recipients, str(vault.target))
    assert "config.toml.restored" in done.to_do[-1]
    assert json.loads((home / "restored.json").read_text())["to_do"] == done.to_do
    stack = ForkedStack(settings)
    try:
        await stack.start()
        new = replace(world, home=home, stack=stack)
        found = {one["scope"]: one["closed"] for one in (await new.must("admin", "GET", "/v1/switches"))["switches"]}
        assert found["global"] is True
        assert found[f"client:{client}"] is True
        assert {"installation_copied", "withdrawal_undone", "restore_to_do"} <= await new.alerts()
        await asyncio.sleep(SETTLE.total_seconds() + 1)
        async with wiring.broker_app(settings) as app:  # what the restore itself asked of the store is explained
            report = await reconcile(app, app.system(), since=app.clock.now() - timedelta(hours=1))
        assert {one.reason for one in report.findings} == {"key_unrecorded"}  # the test's own, of `lacking`
        assert (await replace(new, tokens={"old": ended}).ask("old", "GET", "/v1/self")).status == 401
    finally:
        await stack.stop()
        shutil.rmtree(home)
