"""Backups on the host: made of a stack that runs, kept, opened to prove them, refused when they were changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
import pytest_asyncio

from byokeep.backup import archive
from byokeep.core import backup
from byokeep.settings import Settings, load
from tests.support.cli import Ran, Shell
from tests.support.stack import World, running_stack

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


async def test_a_backup_is_made_closed_copied_and_counts_once_opened(vault: Vault) -> None:
    """It is 0600, lies away from here too, holds no value, share or recovery key; list tells made from opened."""
    made = await vault.create()
    file = Path(made["file"])
    assert file.stat().st_mode & 0o777 == 0o600
    copied = vault.target / file.name
    assert copied.read_bytes() == file.read_bytes()
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert (one["verified_at"], one["counts"]) == ("never", "no")

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
    assert json.loads(opened.out)["on_record"] == "yes"
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert one["counts"] == "yes"
    assert one["verified_at"] > "2020"


async def test_a_backup_away_or_a_wrong_key_is_refused_and_told(vault: Vault) -> None:
    """Target down: 4, an alert, no new file, those before stay; no recipient and another key are refused."""
    made = await vault.create()
    before = sorted((vault.world.home / "backups").glob("*.age"))
    vault.target.rename(vault.target.with_name("gone"))
    try:
        ran = await vault.run("backup", "create")
        assert (ran.code, "backup_target" in ran.err) == (4, True)
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
    assert ran.code == 5
    assert "backup_not_opened" in await vault.world.alerts()
    (one,) = [row for row in await vault.listed() if row["id"] == made["id"]]
    assert one["verified_at"] == "never"
    await vault.create()
    assert "backup_failed" not in await vault.world.alerts()  # that state is over


async def test_old_backups_go_and_the_newest_that_was_opened_stays(vault: Vault) -> None:
    """Of two that are kept, here and away, an older one that was opened is not among those removed."""
    proved = await vault.create()
    opened = await vault.run("backup", "verify", proved["id"], "--identity-file", str(vault.identity))
    assert opened.code == 0
    newer = [(await vault.create())["id"] for _ in range(3)]
    stays = {proved["id"], *newer[-2:]}
    for place in (vault.world.home / "backups", vault.target):
        assert {file.name[17:53] for file in place.glob("*.age")} == stays
