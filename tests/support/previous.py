"""What a release leaves behind, for the next one to begin with: a backup of a small home, its keys, its schema.

``python -m tests.support.previous COMMIT`` makes `tests/contract/releases/home.tar.gz` and `rNNNN.sql` with the code of
a commit, which it takes out of the history: the release before, by `docs/adr/0079`. Every key in it is made up.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests" / "contract" / "releases"
HOME = RELEASES / "home.tar.gz"
KEYS = ("backup.key", "seal.key", "recovery.key")


@dataclass(frozen=True)
class Previous:
    """The release before, taken out of the archive.

    Attributes:
        place: Holds `backup.age`, the keys of ``KEYS`` and `checkpoints/`.
        said: ``commit``, ``schema``, ``client``, ``value``, ``profile``, name and password of ``people`` by role,
            ``statements`` by name.
    """

    place: Path
    said: dict[str, Any]


def previous(place: Path) -> Previous:
    """Take the release before out of the archive, into an empty directory."""
    with tarfile.open(HOME) as archive:
        archive.extractall(place, filter="data")
    for name in KEYS:
        (place / name).chmod(0o600)
    return Previous(place, json.loads((place / "said.json").read_text()))


@contextmanager
def code_of(commit: str) -> Iterator[Path]:
    """The tree of a commit in a directory of its own; fails where the history is cut off before it."""
    place = Path(tempfile.mkdtemp(prefix="byk-code-"))
    place.chmod(0o755)
    made = subprocess.run(
        ["git", "archive", commit, "src", "tests", "docs"], cwd=ROOT, capture_output=True, check=False
    )
    assert made.returncode == 0, f"{commit} is not in this history: git fetch --unshallow"
    try:
        with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
            archive.extractall(place, filter="data")
        yield place
    finally:
        shutil.rmtree(place)


def environment_of(tree: Path) -> dict[str, str]:
    """An environment in which an interpreter runs a tree's code."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BYOKEEP_")}
    return kept | {"PYTHONPATH": f"{tree / 'src'}:{tree}"}


def main(commit: str) -> None:
    """Make the archive and the dump anew, with the code of a commit."""
    whole = subprocess.run(["git", "rev-parse", commit], cwd=ROOT, capture_output=True, text=True, check=True)
    with code_of(commit) as tree, tempfile.TemporaryDirectory() as place:
        # The older release's own modules, and this file as the program that uses them.
        words = [sys.executable, __file__, "--inside", whole.stdout.strip(), place]
        subprocess.run(words, cwd=tree, env=environment_of(tree), check=True)
        for dump in Path(place).glob("r*.sql"):
            shutil.move(dump, RELEASES / dump.name)
        with tarfile.open(HOME, "w:gz") as archive:
            archive.add(place, arcname=".")
    sys.stdout.write(f"{HOME.name}: {HOME.stat().st_size >> 10} KiB of {commit}\n")


async def _inside(commit: str, place: Path) -> None:
    """In the older tree: a client with a key and a sealed profile, and a backup of it."""
    import aiohttp
    import pyrage

    from byokeep.adapters.postgres.database import load as statements
    from tests.e2e.test_profiles import ACME, Office
    from tests.support.cli import Shell
    from tests.support.stack import running_stack

    key = pyrage.x25519.Identity.generate()
    (place / "backup.key").write_text(f"{key}\n")
    async with running_stack() as world, aiohttp.ClientSession() as http:
        people = {}
        for role in ("operator", "approver", "auditor"):
            name, password = f"{role}-before", secrets.token_urlsafe(16)
            body = {"name": name, "roles": [role], "clients": [], "all_clients": True}
            made = await world.must("admin", "POST", "/v1/operators", body)
            invitation = await world.must("admin", "POST", f"/v1/operators/{made['id']}/tokens", {"days": 1})
            world.tokens[name], people[role] = invitation["token"], [name, password]
            await world.ask(name, "PUT", f"/v1/operators/{made['id']}/password", raw=password.encode())
        client = await world.client("Acme Ltd")
        value, office = await world.onboard(client), Office(world, Shell(world.home), http)
        await office.site()
        profile = await office.profile(client, ACME["id"])
        await office.logged_in(profile)
        await office.json("profile", "confirm", profile, "skool/acme.bakery")
        await world.must("auditor", "POST", "/v1/audit/checkpoint")
        config = world.home / "config.toml"
        config.write_text(f'backup_recipients = "{key.to_public()}"\n' + config.read_text())
        ran = await Shell(world.home).run("backup", "create", "--json")
        assert ran.code == 0, ran.said
        made = ran.document
        await world.must("auditor", "POST", "/v1/audit/checkpoint")
        shutil.copyfile(made["file"], place / "backup.age")
        shutil.copyfile(world.home / "keys" / "seal.key", place / "seal.key")
        shutil.copyfile(world.home / "keys" / "recovery.key", place / "recovery.key")
        shutil.copytree(world.home / "checkpoints", place / "checkpoints")
        schema = await world.sql("SELECT version_num FROM byokeep.alembic_version")
    said = {"commit": commit, "schema": schema, "client": client, "value": value.decode(), "people": people}
    said["profile"] = profile
    (place / "said.json").write_text(json.dumps(said | {"statements": dict(statements())}))


def _dump(place: Path) -> None:
    from tests.contract.test_postgres_migrations import dump
    from tests.support.postgres import fresh_database, running_postgres
    from tests.support.postgres_rows import populate

    with running_postgres() as server:
        database = fresh_database(server)
        populate(database)
        schema = database.sql("SELECT version_num FROM byokeep.alembic_version")
        (place / f"r{schema}.sql").write_bytes(dump(database))


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.path[0] = ""  # not where this file lies
        asyncio.run(_inside(sys.argv[2], Path(sys.argv[3])))
        _dump(Path(sys.argv[3]))
    else:
        main(sys.argv[1])
