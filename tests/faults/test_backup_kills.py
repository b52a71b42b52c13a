"""Backups in numbers, and ``kill -9`` while one is made or restored: nothing half done counts."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyrage
import pytest

from byokeep.backup import archive
from byokeep.core.errors import Conflict
from byokeep.settings import RESTORING, load
from tests.support.backups import keys_in_numbers, site_of
from tests.support.cli import Shell
from tests.support.stack import ForkedStack, new_home, until

pytestmark = pytest.mark.timeout(900)
LIMIT_S = 60.0  # runbook section 9: 1,000 keys and 200 profiles, made, restored and verified


@pytest.mark.campaign
@pytest.mark.parametrize(("clients", "profiles"), [(4, 4), (200, 200)], ids=["few", "many"])
async def test_keys_and_profiles_in_numbers(tmp_path: Path, clients: int, profiles: int) -> None:
    """Made, restored on an empty directory and verified; every key and every profile is what it was. A handful of both
    is restored by ``e2e/test_backup_whole.py`` as well."""
    async with site_of(tmp_path) as site:
        values = await keys_in_numbers(site.world, clients)
        owners = [await site.world.client() for _ in range(max(1, profiles // 10))]
        sealed = {owner: await site.vault.seal(owner, profiles // len(owners)) for owner in owners}
        home, began = new_home(), time.monotonic()
        try:
            code, made = await site.run("create")
            assert code == 0, made
            created = time.monotonic() - began
            done = await site.restored(made["file"], home)
            took = time.monotonic() - began
            assert (done.missing, done.orphans) == ([], [])
            sizes = f"{len(values)} keys, {profiles} profiles"
            sys.stderr.write(f"{sizes}: made in {created:.1f} s, restored and verified after {took:.1f} s\n")
            assert took < LIMIT_S or clients < 200
            async with site.again(home) as (_, opens):
                for path, value in values.items():
                    assert await opens.value(path) == value
                for owner, digests in sealed.items():
                    assert await opens.opened(owner, list(digests)) == digests
        finally:
            shutil.rmtree(home)


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.campaign)], ids=["few", "many"])
async def test_killed_while_a_backup_is_made_or_restored(tmp_path: Path, kills: int) -> None:
    """What lies where backups lie is whole or is not there, the next one is made; a home that a restore was killed in
    starts nothing, nothing of it runs on, and a restore again succeeds."""
    seed = random.randrange(1 << 32)
    sys.stderr.write(f"seed {seed}\n")
    drawn = random.Random(seed)
    async with site_of(tmp_path) as site:
        await site.vault.seal(await site.world.client(), 2)
        keys = [pyrage.x25519.Identity.from_str(site.identity.read_text().strip())]
        began = time.monotonic()
        code, made = await site.run("create")
        assert code == 0, made
        took = time.monotonic() - began
        killed = 0
        while killed < kills:
            process = await site.shell.start("backup", "create")
            await asyncio.sleep(drawn.uniform(0, took))
            with suppress(ProcessLookupError):  # the first one took longer than this, which was done before
                process.kill()
            await process.communicate()
            killed += process.returncode == -signal.SIGKILL
            for place in (Path(made["file"]).parent, site.target):
                for file in place.glob("*.age"):
                    with file.open("rb") as content:
                        archive.read(content, keys)
        code, made = await site.run("create")
        assert code == 0, made
        assert {one.name for one in Path(made["file"]).parent.iterdir() if one.suffix != ".age"} == {"lock"}
        assert {one.suffix for one in site.target.iterdir()} == {".age"}

        outside, home = tmp_path / "outside", new_home()
        shutil.copytree(site.world.home / "checkpoints", outside)
        words = [
            "backup", "restore", made["file"], "--identity-file", str(site.identity),
            "--seal-key-file", str(site.world.home / "keys" / "seal.key"), "--checkpoints", str(outside),
            "--accept-loss", "--json",
        ]  # fmt: skip
        for key in (site.world.home / "keys").glob("recovery*.key"):
            words += ["--recovery-key-file", str(key)]
        try:
            for number in range(max(1, kills // 4)):
                process = await Shell(home).start(*words)
                mark = ("keys", "openbao", "credentials", "postgres")[number % 4]
                await until(lambda mark=mark: (home / mark).exists(), 120, mark)  # type: ignore[misc]
                await asyncio.sleep(drawn.uniform(0, 2))
                process.send_signal(signal.SIGKILL)
                await process.communicate()
                assert (home / RESTORING).exists()
                with pytest.raises(Conflict, match="restore_unfinished"):
                    await ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")).start()
            ran = await Shell(home).run(*words, within_s=300)
            assert ran.code == 0, ran.said
            assert json.loads(ran.out)["missing"] == []
            assert not (home / RESTORING).exists()
        finally:
            shutil.rmtree(home)
