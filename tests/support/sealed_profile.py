"""A real profile, logged in by hand on the simulated website and sealed through the pipelines; and a run on it."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from byokeep.browser import launch, session
from byokeep.browser.archive import Pack
from byokeep.browser.launch import running
from byokeep.browser.rooms import contents
from byokeep.client import Keep
from byokeep.client.browser import leased_keys
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.kek import KekScope
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.profiles.openings import seal
from byokeep.sealing.generation import Sealing
from byokeep.sealing.sealer import Sealer
from byokeep.wire.bao_http import write_secret
from tests.support.broker import Stand
from tests.support.postgres import ENGINES
from tests.support.profiles import Profile, put_profile
from tests.support.website import ACME, Site, room, start_in

PLATFORM = "tiktok"
MEMORY = Path("/dev/shm")
NAME = f"{PLATFORM}/{ACME['id']}"


@dataclass(frozen=True)
class Taken:
    """A session that a person logged in to, as it is before it is sealed; ``since`` = a time before that login."""

    packing: Packing
    packed: Secret
    version: str  # of the browser
    canaries: tuple[bytes, ...]
    since: float

    def in_memory(self) -> list[Path]:
        """Files in shared memory that hold a credential of the session, whoever left them.

        What was last changed before the login, below a directory, is not read: nothing in it can be of the session.
        Nor are the engines of all the tests, with tens of thousands of files: the sweeps of tests/leak read theirs.
        """
        found = []
        for folder, below, names in os.walk(MEMORY):  # what goes away meanwhile is passed by
            below[:] = [name for name in below if not (folder == str(MEMORY) and name.startswith(ENGINES))]
            for name in names:
                with contextlib.suppress(OSError):
                    about = os.lstat(f"{folder}/{name}")
                    old = about.st_ctime < self.since and folder != str(MEMORY)
                    if stat.S_ISREG(about.st_mode) and not old:
                        data = Path(folder, name).read_bytes()
                        found += [Path(folder, name) for one in self.canaries if one in data][:1]
        return found


async def taken(site: Site, logged_in_as: str = "acme", packing: Packing = Packing.PORTABLE) -> Taken:
    """Log in as a person, and pack."""
    since = time.time() - 1  # a file's time is that of the last tick
    with room() as place:
        async with running(start_in(place)) as browser:
            await site.log_in(browser.page, PLATFORM, logged_in_as)
            document = session.written(await session.taken(browser))
            version = browser.version
        full = packing is Packing.FULL
        packed = document if not full else Secret(Pack(place / "p", contents(place / "p")).read())
    secrets = dict.fromkeys(re.findall(rb'"value":"([A-Za-z0-9_-]{20,})"', document.reveal()))
    return Taken(packing, packed, version, tuple(secrets), since)


@dataclass(frozen=True)
class Sealed:
    """A valid profile of generation 1 whose blob and record lie where they belong."""

    stand: Stand
    site: Site
    client: UUID
    account: UUID
    profile: Profile
    taken: Taken
    rooms: Path  # of this test's runners alone

    def keep(self, **settings: Any) -> Keep:
        """The SDK of a runner that knows where the simulated website is."""
        return self.stand.keep(site_urls={PLATFORM: self.site.sim.site_url(PLATFORM)}, room_dir=self.rooms, **settings)

    @asynccontextmanager
    async def job(self, keep: Keep, **spec: Any) -> Any:
        given = {"secrets": ["profile"], "platforms": [PLATFORM], "effects": ["publish"], "lanes": ["browser"]}
        async with keep.job(client=self.client, **given | spec) as job:
            yield job

    def left(self) -> list[object]:
        """What of a browser is left here: its processes, rooms, files that hold a credential."""
        here = list(self.rooms.iterdir()) if self.rooms.exists() else []
        return [*self.browsers(), *here, *self.taken.in_memory()]

    def browsers(self) -> frozenset[int]:
        """Processes of the browsers in this test's rooms."""
        return launch.of_directory(self.rooms)

    @property
    def page(self) -> str:
        return self.site.place(PLATFORM).at("https://www.tiktok.com/home")

    def row(self) -> list[str]:
        found = self.stand.db.sql(f"SELECT state, generation, reason FROM byokeep.profile {self.profile.where}")
        return found.strip().split("|")


def registered(stand: Stand, client: UUID) -> UUID:
    """The account as a person registered it: named by its stable id, with the names that the platform shows."""
    account = stand.account(client, PLATFORM, ACME["id"], lanes="browser", identity="unchecked")
    stand.db.sql(
        f"UPDATE byokeep.platform_account SET username = '{ACME['username']}',"
        f" display_name = '{ACME['display_name']}', identified_at = NULL WHERE id = '{account}'"
    )
    return account


@asynccontextmanager
async def sealed(stand: Stand, site: Site, taken: Taken) -> AsyncIterator[Sealed]:
    """Seal a session as custody does, and leave the rows that the procedures leave."""
    client = await stand.client()
    account = registered(stand, client)
    packing, version = taken.packing, taken.version
    profile = put_profile(stand, client, account)
    stand.db.sql(f"UPDATE byokeep.profile SET packing = '{packing.value}' {profile.where}")
    manifest = Manifest(
        environment=Environment.DEVELOPMENT, client_id=ClientId(client), profile_id=ProfileId(profile.id),
        generation=1, platforms=(Provider(PLATFORM),), created_by=stand.people["operator"].id,
        created_at=datetime.now(UTC).replace(microsecond=0), packing=packing, browser_version=version,
        accounts=(
            ExpectedAccount(
                platform=Provider(PLATFORM), account=ACME["id"], account_id=ACME["id"], username=ACME["username"],
                display_name=ACME["display_name"],
            ),
        ),
    )  # fmt: skip
    done, written = await in_custody(stand, client, profile, manifest, taken.packed)
    stand.db.sql(
        f"UPDATE byokeep.profile_generation SET holder = '{done.kek.holder}', kek_id = '{done.kek.key_id}',"
        f" kek_version = {done.kek_version}, blob_sha256 = '\\x{done.blob_sha256.hex()}', blob_size = {done.blob_size},"
        f" packed_size = {done.packed_size}, manifest_hash = '\\x{manifest.hash.hex()}',"
        f" accounts_hash = '\\x{manifest.accounts_hash.hex()}', record_version = {written.version},"
        f" browser_version = '{version}' {profile.of}"
    )
    rooms = Path(tempfile.mkdtemp(prefix="byk-rooms-", dir=MEMORY))
    try:
        yield Sealed(stand, site, client, account, profile, taken, rooms)
    finally:
        await launch.end_all(rooms)
        shutil.rmtree(rooms, ignore_errors=True)


class Custody:
    """What of the worker's custody makes a first generation."""

    def __init__(self, lease: HeldLease, name: str) -> None:
        self._lease, self._name = lease, name
        self.keys = leased_keys(lease, name, Environment.DEVELOPMENT)

    async def newest(self, ref: ProfileRef) -> int:
        return 0

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        store, token, path, _ = await self._lease.login(self._name)
        assert path == ref.path
        done = await write_secret(store, token, path, Secret(record), cas=cas, lease_id=self._lease.id)
        return Written(version=done.version, request_id=done.request_id)


async def in_custody(stand: Stand, client: UUID, profile: Profile, manifest: Manifest, packed: Secret) -> Any:
    """Seal under a custody lease, with a key of the client's own."""
    token_file = stand.home / "custodian.token"
    token_file.touch(mode=0o600)
    token_file.write_text(stand.people["custodian"].token)
    broker = Broker(ClientSettings(broker_url=stand.url, runner_token_file=token_file))
    job = await stand.job(
        client, kind="custody", runner_id=str(stand.people["custodian"].id), secrets=["profile"], platforms=[],
        lanes=[], effects=[],
    )  # fmt: skip
    lease = HeldLease(broker, Secret(stand.people["custodian"].token), job)
    try:
        await lease.open()
        held: Any = Custody(lease, f"profile/{profile.id}")
        scope = KekScope(environment=Environment.DEVELOPMENT, client_id=ClientId(client))
        await held.keys.rotate(scope, expected=0)
        sealing = Sealing(sealer=Sealer(), artifacts=stand.app.artifacts, keys=held.keys)
        return await seal(sealing, held, manifest, profile.dek, io.BytesIO(packed.reveal()), stays=0)
    finally:
        await lease.close()
        await broker.close()
